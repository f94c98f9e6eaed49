/* SPDX-License-Identifier: MIT */
/* tour-walk.c - the input cut into messages small enough for the kernel's queues and datagrams.
 * Each begins with its place in the input. */
#include "tool/tour.h"

#include <string.h>

struct walk walk_begin(const struct part *p)
{
    return (struct walk){.cut = cut_begin(p->input.size)};
}

bool walk_next(const struct part *p, struct walk *w, struct message *m)
{
    if (w->left == 0) {
        if (!cut_next(&w->cut, &w->piece))
            return false;
        w->left = w->piece.size;
    }
    uint64_t at = w->piece.at + w->piece.size - w->left;
    size_t n = w->left < WALK_PIECE ? w->left : WALK_PIECE;
    memcpy(m->data, &at, WALK_HEAD);
    memcpy(m->data + WALK_HEAD, p->input.data + at, n);
    m->size = WALK_HEAD + n;
    m->number = w->number++;
    m->type = 1;
    w->left -= n;
    return true;
}

uint64_t walk_count(const struct part *p)
{
    struct walk w = walk_begin(p);
    struct message m;
    uint64_t n = 0;
    while (walk_next(p, &w, &m))
        n++;
    return n;
}

/* One message: of the input, and no earlier than the last of its type if one process sent all. */
bool walk_accept(struct part *p, const struct message *m, struct got *g)
{
    uint64_t at;
    memcpy(&at, m->data, WALK_HEAD);
    size_t n = m->size - WALK_HEAD;
    if (m->size <= WALK_HEAD || at > p->input.size || n > p->input.size - at || m->type > 7)
        return part_failed(p, "a message of %zu bytes, type %u, came that nobody sent", m->size,
                           m->type);
    if (g->whole && at < g->last[m->type])
        return part_failed(p, "the message at %llu came too late", (unsigned long long)at);
    g->last[m->type] = at + 1;
    if (g->whole)
        memcpy(g->whole + at, m->data + WALK_HEAD, n);
    else if (!judge_bytes(p, m->data + WALK_HEAD, at, n, n))
        return false;
    uint8_t digest[DIGEST];
    digest_of(m->data, m->size, digest);
    digest_add(p->report.digest, digest);
    p->report.bytes += n;
    p->report.messages++;
    g->begun = g->begun ? g->begun : now_ns();
    p->report.ns = now_ns() - g->begun;
    return true;
}
