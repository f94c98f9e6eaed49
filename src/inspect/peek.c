/* SPDX-License-Identifier: MIT */
/* peek.c - the messages of a queue or topic, one lane after the other, each in its order. A message
 * is copied, and counts only if its slot and its claim are after that what they were before: else
 * somebody has taken it meanwhile. */
#include "inspect/peek.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "core/transport.h"
#include "inspect/journal-messages.h"
#include "inspect/lane-view.h"
#include "object/object.h"
#include "os/fd.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct naru_peek {
    struct naru_object_view view;
    char *url;
    struct journal_messages *journal; /* if it is one */
    bool queue, open;      /* open: lane is */
    uint32_t index;        /* of the lane */
    struct lane_view lane;
    uint64_t at, end;      /* numbers */
    uint64_t back, n_back; /* those given back that are older than `at` come first */
    uint64_t *older;
    uint8_t *data;
    uint64_t room;
};

int naru__peek_open(const struct naru_url *url, naru_peek **ret_peek)
{
    naru_peek *p = naru__alloc(sizeof *p);
    if (!p)
        return -ENOMEM;
    int r = naru__object_view(url, &p->view);
    if (r < 0) {
        free(p);
        return r == -ENOTDIR ? naru__fail(-EOPNOTSUPP,
                                          "%s is no queue or topic: of others nothing waits where "
                                          "it could be seen",
                                          url->text)
                             : r;
    }
    uint32_t what = p->view.meta.what;
    p->queue = what == NARU_OBJECT_QUEUE;
    p->url = naru__copy_text(url->text, strlen(url->text));
    p->view.url = p->url;
    if (p->url && (p->queue || what == NARU_OBJECT_TOPIC)) {
        *ret_peek = p;
        return 0;
    }
    r = p->url && what == NARU_OBJECT_JOURNAL ? naru__journal_messages_open(&p->view, &p->journal)
                                              : -EOPNOTSUPP;
    if (r == 0) {
        *ret_peek = p;
        return 0;
    }
    if (r == -EOPNOTSUPP)
        r = p->url ? naru__fail(-EOPNOTSUPP, "%s is %s, and only queues and topics have messages",
                                url->text, naru__object_noun(what))
                   : -ENOMEM;
    naru__peek_close(p);
    return r;
}

void naru__peek_close(naru_peek *p)
{
    if (p->open)
        naru__lane_view_close(&p->lane);
    if (p->journal)
        naru__journal_messages_close(p->journal);
    naru__object_view_close(&p->view);
    free(p->older);
    free(p->data);
    free(p->url);
    free(p);
}

/* ---- lanes ---- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* What was given back after its sender had gone past it. */
static int find_older(naru_peek *p)
{
    enum { CHUNK = 512 };
    uint64_t words[CHUNK], slots = p->lane.header.slots;
    p->back = p->n_back = 0;
    free(p->older);
    p->older = naru__alloc_raw(NARU_LANE_HELD_MAX * 2 * sizeof *p->older);
    int r = p->older ? 0 : -ENOMEM;
    for (uint64_t at = 0; r == 0 && at < slots; at += CHUNK) {
        uint64_t n = slots - at < CHUNK ? slots - at : CHUNK;
        r = naru__lane_view_words(&p->lane, at, n, words);
        for (uint64_t k = 0; r == 0 && k < n; k++) {
            uint64_t number = naru__claim_number(words[k], p->lane.next);
            if (naru__claim_state(words[k]) == NARU_CLAIM_BACK && number > 0 &&
                number < p->lane.oldest && p->n_back < NARU_LANE_HELD_MAX * 2)
                p->older[p->n_back++] = number;
        }
    }
    if (r == 0)
        qsort(p->older, p->n_back, sizeof *p->older, compare);
    return r;
}

/* 1: there is one; 0: there are no more. */
static int next_lane(naru_peek *p)
{
    const struct naru_lanes_state *state = (const void *)p->view.state.kind;
    if (p->open) {
        naru__lane_view_close(&p->lane);
        p->open = false;
        p->index++;
    }
    for (; p->index < NARU_LANES_MAX; p->index++) {
        const _Atomic uint64_t *bits = &state->lanes[p->index / 64];
        if (!(atomic_load_explicit(bits, memory_order_relaxed) >> (p->index % 64) & 1))
            continue;
        int r = naru__lane_view(&p->view, p->index, &p->lane);
        if (r > 0)
            continue;
        if (r < 0) {
            p->index++; /* the next call goes on behind it */
            return r;
        }
        p->open = true;
        p->at = p->lane.oldest;
        p->end = p->lane.next;
        r = p->queue ? find_older(p) : 0;
        return r < 0 ? naru__fail(r, "%s: the lane of participant %" PRIu32 ": %s", p->url,
                                  p->index, naru__errno_text(r))
                     : 1;
    }
    return 0;
}

/* ---- messages ---- */

static int damaged(const naru_peek *p, uint64_t number, const char *what)
{
    return naru__fail(-EPROTO,
                      "%s: message %" PRIu64 " of participant %" PRIu32
                      " cannot be true, for %s: its memory is damaged",
                      p->url, number, p->index, what);
}

static int read_payload(naru_peek *p, uint64_t number, const struct naru_lane_slot *slot,
                        uint64_t *ret_size)
{
    struct naru_lane_outside out = {.size = slot->size};
    char name[40];
    struct stat st;
    bool outside = slot->type & (uint32_t)NARU_LANE_OUTSIDE;
    if (outside)
        memcpy(&out, slot->data, sizeof out);
    if (!outside && out.size > NARU_LANE_INLINE)
        return damaged(p, number, "it is larger than its slot");
    uint64_t area = p->lane.header.file - p->lane.header.area;
    if (outside && !out.segment &&
        (out.at >= p->lane.header.area || out.size > p->lane.header.area - out.at))
        return damaged(p, number, "it lies outside of its lane");
    int file = p->lane.file;
    if (outside && out.segment) {
        snprintf(name, sizeof name, "segment-%" PRIu32 "-%" PRIu32, p->index, out.segment);
        file = naru__os_open_at(p->view.directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
        if (file == -ENOENT) /* it is done with */
            return -EAGAIN;
        int r = file < 0 ? file : naru__os_fstat(file, &st);
        if (r == 0 && (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < out.size))
            r = damaged(p, number, "it is larger than its segment");
        else if (r < 0)
            naru__fail(r, "%s: %s: %s", p->url, name, naru__errno_text(r));
        if (r < 0) {
            naru__os_close(file);
            return r;
        }
        area = out.at = 0;
    }
    int r = 0;
    if (out.size > p->room || !p->data) {
        free(p->data);
        p->room = out.size < 4096 ? 4096 : out.size;
        p->data = p->room <= SIZE_MAX ? naru__alloc_raw((size_t)p->room) : NULL;
        r = p->data ? 0 : -ENOMEM;
    }
    if (r == 0 && outside && out.size)
        r = naru__os_read_at(file, p->data, (size_t)out.size, area + out.at);
    else if (r == 0)
        memcpy(p->data, slot->data, (size_t)out.size);
    if (file != p->lane.file)
        naru__os_close(file);
    if (r < 0)
        naru__fail(r, "%s: message %" PRIu64 ": %s", p->url, number, naru__errno_text(r));
    *ret_size = out.size;
    return r;
}

static int claim_of(const naru_peek *p, uint64_t number, uint64_t *ret_word)
{
    *ret_word = 0;
    return p->queue ? naru__lane_view_words(&p->lane, (number - 1) & (p->lane.header.slots - 1), 1,
                                            ret_word)
                    : 0;
}

/* 1: message `number` is in ret; 0: it is none, is not wanted, or is not there any more. */
static int look(naru_peek *p, uint64_t number, bool older, int64_t select, struct naru_message *ret)
{
    struct naru_lane_slot slot, again;
    uint64_t before, after, size = 0, at = (number - 1) & (p->lane.header.slots - 1);
    int r = claim_of(p, number, &before);
    if (r == 0)
        r = naru__lane_view_slots(&p->lane, at, 1, &slot);
    if (r < 0)
        return naru__fail(r, "%s: message %" PRIu64 ": %s", p->url, number, naru__errno_text(r));
    bool told = p->queue && naru__claim_is_of(before, number);
    bool back = told && naru__claim_state(before) == NARU_CLAIM_BACK;
    uint64_t stamp = atomic_load_explicit(&slot.stamp, memory_order_relaxed);
    uint32_t type = slot.type & INT32_MAX;
    /* the slot of an older one may have been passed over, with a stamp of its own */
    bool there = older ? back : stamp == number && (back || !told);
    if (!there || !naru__select_wants(select, type))
        return 0;
    if (type == 0)
        return damaged(p, number, "it has no type");
    r = read_payload(p, number, &slot, &size);
    if (r < 0)
        return r == -EAGAIN ? 0 : r;
    r = naru__lane_view_slots(&p->lane, at, 1, &again);
    if (r == 0)
        r = claim_of(p, number, &after);
    if (r < 0)
        return naru__fail(r, "%s: message %" PRIu64 ": %s", p->url, number, naru__errno_text(r));
    if (memcmp(&slot, &again, sizeof slot) != 0 || before != after)
        return 0;
    *ret = (struct naru_message){.data = p->data,
                                 .size = (size_t)size,
                                 .info = {.type = type,
                                          .flags = back ? NARU_REDELIVERED : 0,
                                          .size = size,
                                          .sequence = slot.sequence,
                                          .sender = slot.sender}};
    return 1;
}

int naru__peek_next(naru_peek *p, int64_t select, struct naru_message *ret_message)
{
    if (p->journal)
        return naru__journal_messages_next(p->journal, select, ret_message);
    for (;;) {
        int r = 0;
        while (r == 0 && p->open && (p->back < p->n_back || p->at < p->end)) {
            bool older = p->back < p->n_back;
            uint64_t number = older ? p->older[p->back++] : p->at++;
            r = look(p, number, older, select, ret_message);
        }
        if (r == 0)
            r = next_lane(p);
        else
            return r;
        if (r <= 0)
            return r;
    }
}
