/* SPDX-License-Identifier: MIT */
/* journals.c - a look at journals: what the segments hold, how far the medium has it, where cursors
 * are and who has what of theirs, who sends and when it syncs, who waits. A part is a participant,
 * or a cursor that has a name (pid 0). */
#include "inspect/journal-view.h"
#include "inspect/snapshot.h"

#include "base/error.h"
#include "naru/journal.h"
#include "os/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct survey {
    naru_snapshot *snapshot;
    struct snapshot_view *view;
    const struct naru_object_view *v;
    const struct naru_journal_state *state;
    uint64_t first, last;                 /* sequences that are kept */
    uint64_t holds[NARU_JOURNAL_MEMBERS]; /* messages that a member has taken, of all cursors */
    uint64_t cursors;
    bool brief;
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed); /* these are copies */
}

static uint32_t load_lock(const naru_journal_lock *lock)
{
    return atomic_load_explicit(lock, memory_order_relaxed);
}

static uint32_t role_of(const struct survey *q, uint32_t i)
{
    return naru__member_role(load(&q->v->members[i].who));
}

static bool has_bit(const _Atomic uint64_t *words, uint32_t i)
{
    return load(&words[i / 64]) >> (i % 64) & 1;
}

static void number(const struct survey *q, struct snapshot_part *p, const char *name, uint64_t n)
{
    naru__snapshot_number(q->snapshot, q->view, p, name, NULL, n);
}

static void word(const struct survey *q, struct snapshot_part *p, const char *name,
                 const char *text)
{
    naru__snapshot_word(q->snapshot, q->view, p, name, text);
}

/* ---- cursors ---- */

struct place {
    const char *name; /* "-": none */
    uint64_t base, next, holds, back, redelivered, missed;
};

/* The same for all parts. */
static void show_place(const struct survey *q, struct snapshot_part *p, const struct place *c)
{
    word(q, p, "cursor", c->name);
    number(q, p, "position", c->base);
    number(q, p, "lag", c->base && c->base <= q->last ? q->last + 1 - c->base : 0);
    number(q, p, "holds", c->holds);
    number(q, p, "returned", c->back);
    number(q, p, "redelivered", c->redelivered);
    number(q, p, "missed", c->missed);
}

static void show_cursor(const struct survey *q, const struct naru_cursor_file *c,
                        const struct place *place)
{
    char text[40];
    struct snapshot_part *p = naru__snapshot_part(q->snapshot, q->view, 0);
    word(q, p, "record", "-");
    word(q, p, "role", c->topic ? "a subscriber's cursor" : "a queue's cursor");
    word(q, p, "since", naru__time_text(c->created, text));
    word(q, p, "life", "-");
    word(q, p, "stopped", "-");
    word(q, p, "asleep", "-");
    word(q, p, "waits_for", "-");
    word(q, p, "sync", "-");
    number(q, p, "sent_last", 0);
    show_place(q, p, place);
}

static int each_cursor(void *arg, const char *file)
{
    struct survey *q = arg;
    struct naru_cursor_file *c;
    if (strncmp(file, NARU_CURSOR_PREFIX, sizeof NARU_CURSOR_PREFIX - 1) != 0)
        return 0;
    int r = naru__journal_view_cursor(q->v, file, &c);
    if (r == -ENOENT || r == -EPROTO) /* it goes, or is being made, or whoever opens it is told */
        return 0;
    if (r < 0)
        return r;
    struct place place = {.name = file + sizeof NARU_CURSOR_PREFIX - 1,
                          .base = load(&c->base),
                          .next = load(&c->next),
                          .redelivered = load(&c->redelivered),
                          .missed = load(&c->missed)};
    for (uint32_t i = 0; i < NARU_CURSOR_WINDOW; i++) {
        uint64_t w = load(&c->entry[i].word);
        uint32_t member = w >> 4 & 0xfff;
        if (w >> 16 < place.base || w >> 16 >= place.next)
            continue;
        place.back += (w & 15) == NARU_CLAIM_RETURNED;
        place.holds += (w & 15) == NARU_CLAIM_TAKEN;
        if ((w & 15) == NARU_CLAIM_TAKEN && member < NARU_JOURNAL_MEMBERS)
            q->holds[member]++;
    }
    q->cursors++;
    if (!q->brief)
        show_cursor(q, c, &place);
    free(c);
    return 0;
}

/* ---- participants ---- */

static const char *sync_text(uint64_t sync, char text[40])
{
    if (sync == 0)
        return "none";
    if (sync == (uint64_t)NARU_SYNC_EACH)
        return "each";
    snprintf(text, 40, "within %" PRIu64 " ms", (sync + NARU_MS - 1) / NARU_MS);
    return text;
}

static const char *role_text(uint32_t role)
{
    return (role & MAP_OPENING)            ? "opens it"
           : role == (MAP_SEND | MAP_RECV) ? "both"
           : role & MAP_SEND               ? "sends"
                                           : "receives";
}

/* What it sleeps for, and who could give it. */
static const char *wants(const struct survey *q, struct snapshot_part *p, uint32_t i)
{
    const struct naru_journal_state *s = q->state;
    bool append = has_bit(s->asleep[NARU_SLEEP_APPEND], i);
    bool durable = has_bit(s->asleep[NARU_SLEEP_DURABLE], i);
    uint32_t owner = append ? load_lock(&s->append) : durable ? load_lock(&s->flush) : 0;
    const char *what = append                                      ? "its turn to send"
                       : durable                                   ? "the medium"
                       : has_bit(s->asleep[NARU_SLEEP_CURSOR], i)  ? "its turn to receive"
                       : has_bit(s->asleep[NARU_SLEEP_MESSAGE], i) ? "a message"
                                                                   : NULL;
    if (!what)
        return "-";
    bool message = !append && !durable && !has_bit(s->asleep[NARU_SLEEP_CURSOR], i);
    if (has_bit(s->by_socket, i)) /* in a loop it waits for anything, and for nobody */
        return what;
    naru__snapshot_wants(q->snapshot, p, what, 1, message || owner == 0);
    if (owner > 0 && owner <= q->v->n)
        naru__snapshot_waits_for(q->snapshot, p, naru__member_pid(q->v, owner - 1), 1,
                                 append ? "sends" : "syncs");
    for (uint32_t k = 0; message && k < q->v->n; k++)
        if (k != i && role_of(q, k) & MAP_SEND)
            naru__snapshot_waits_for(q->snapshot, p, naru__member_pid(q->v, k), 1, "sends there");
    return what;
}

static void show_member(const struct survey *q, uint32_t i)
{
    uint32_t role = role_of(q, i);
    const _Atomic uint64_t *told = q->v->members[i].kind;
    struct snapshot_part *p = naru__snapshot_member(q->snapshot, q->view, q->v, i, role_text(role));
    struct place place = {.name = "-", .holds = i < NARU_JOURNAL_MEMBERS ? q->holds[i] : 0};
    char text[40];
    bool asleep = false;
    for (int set = 0; set < NARU_SLEEP_SETS; set++)
        asleep |= has_bit(q->state->asleep[set], i);
    word(q, p, "asleep", has_bit(q->state->by_socket, i) ? "in a loop" : asleep ? "yes" : "no");
    word(q, p, "waits_for", wants(q, p, i));
    word(q, p, "sync", role & MAP_SEND ? sync_text(load(&told[MAP_TOLD_SYNC]), text) : "-");
    number(q, p, "sent_last", role & MAP_SEND ? load(&told[MAP_TOLD_SENT]) : 0);
    place.base = role & MAP_RECV ? load(&told[MAP_TOLD_BASE]) : 0;
    if (place.base)
        place.name = "its own";
    show_place(q, p, &place);
}

/* ---- the whole ---- */

static void show_medium(const struct survey *q)
{
    const struct naru_journal_state *s = q->state;
    uint64_t failed = load(&s->failed), durable = load(&s->durable);
    number(q, NULL, "synced", durable);
    number(q, NULL, "not_synced", q->last > durable ? q->last - durable : 0);
    number(q, NULL, "flushes", load(&s->flushes));
    number(q, NULL, "failed_flushes", failed >> 16);
    if (failed)
        word(q, NULL, "last_failure", naru__errno_text(-(int)(failed & 0xffff)));
    number(q, NULL, "recoveries", load(&s->recoveries));
    naru__snapshot_number(q->snapshot, q->view, NULL, "cut", "bytes", load(&s->cut));
}

static void show_options(const struct survey *q)
{
    const uint64_t *option = q->v->meta.option;
    char text[40];
    naru__snapshot_number(q->snapshot, q->view, NULL, "capacity", "bytes",
                          option[NARU_JOURNAL_SEGMENT]);
    naru__snapshot_number(q->snapshot, q->view, NULL, "max_message", "bytes",
                          option[NARU_JOURNAL_MAX_MESSAGE]);
    naru__snapshot_number(q->snapshot, q->view, NULL, "keep_bytes", "bytes",
                          option[NARU_JOURNAL_KEEP_BYTES]);
    snprintf(text, sizeof text, "%" PRIu64 " s", option[NARU_JOURNAL_KEEP_TIME] / NARU_S);
    word(q, NULL, "keep_time", option[NARU_JOURNAL_KEEP_TIME] ? text : "for ever");
    word(q, NULL, "keep_unread", option[NARU_JOURNAL_KEEP_READ] ? "yes" : "no");
}

static int show_whole(struct survey *q)
{
    const struct naru_journal_state *s = q->state;
    struct journal_range range;
    struct naru_segment_header header = {.first = 0};
    uint64_t tail = load(&s->tail), oldest;
    int r = naru__journal_view_range(q->v, &range);
    for (oldest = range.first; r == 0 && oldest > 0 && oldest <= range.last; oldest++) {
        r = naru__journal_view_segment(q->v, oldest, &header);
        if (r == 0)
            break;
        r = r == -ENOENT ? 0 : r; /* it was trimmed meanwhile */
    }
    if (r == 0 && range.segments == 0)
        r = naru__fail(-EPROTO, "%s has no segments", q->v->url);
    if (r < 0)
        return r;
    q->first = header.first;
    q->last = load(&s->committed);
    bool current = naru__journal_view_current(q->v);
    uint64_t size = q->v->meta.option[NARU_JOURNAL_SEGMENT];
    uint64_t at = naru__place_offset(tail);
    /* what the memory says was true before the restart: the next to open it looks anew */
    word(q, NULL, "memory", current ? "true" : "of before a restart: naru verify reads the files");
    number(q, NULL, "kept", q->last + 1 > q->first ? q->last + 1 - q->first : 0);
    number(q, NULL, "first", q->first);
    number(q, NULL, "last", q->last);
    number(q, NULL, "segments", range.segments);
    number(q, NULL, "first_segment", range.first);
    number(q, NULL, "last_segment", naru__place_segment(tail));
    naru__snapshot_number(q->snapshot, q->view, NULL, "fill", "%",
                          size && at < size ? at * 100 / size : 100);
    show_medium(q);
    show_options(q);
    return 0;
}

int naru__look_at_journal(naru_snapshot *s, struct snapshot_view *view,
                          const struct naru_object_view *v, bool brief)
{
    struct survey q = {
        .snapshot = s, .view = view, .v = v, .state = (const void *)v->state.kind, .brief = brief};
    int r = show_whole(&q);
    if (r == 0)
        r = naru__os_list(v->directory, true, each_cursor, &q);
    if (r == 0)
        number(&q, NULL, "cursors", q.cursors);
    for (uint32_t i = 0; r == 0 && !brief && i < v->n; i++)
        if (role_of(&q, i))
            show_member(&q, i);
    return r;
}
