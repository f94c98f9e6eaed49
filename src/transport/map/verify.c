/* SPDX-License-Identifier: MIT */
/* verify.c - reads a journal from end to end and compares every check sum. It takes part in nothing
 * and writes nothing.
 *
 * What is known to count and is not whole is damage. While the memory is right all that was sent
 * counts. After a loss of power what had been synced does: from the first message behind that which
 * is not whole, a torn tail goes to the end, with what is whole in it, for the kernel writes pages
 * in any order, and recovery cuts it all; also segments that were being made when the power went,
 * in which nothing is. */
#include "base/error.h"
#include "os/fd.h"
#include "os/sync.h"
#include "transport/map/map.h"

#include <errno.h>
#include <inttypes.h>

enum { STEP = 8 << 20 }; /* bytes between two words on the progress */

struct verify {
    const struct naru_object *o;
    struct naru_journal_report *report;
    int (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;
    bool right;        /* the memory is: nothing was lost with the power */
    bool ended;        /* the tail has begun */
    uint64_t known;    /* sequence up to which all count */
    uint64_t last;     /* number of the last segment */
    uint64_t sequence; /* of the next record */
    uint64_t done, all, told;
};

static int tell(struct verify *v, uint64_t done)
{
    if (!v->progress || (done < v->told + STEP && done < v->all))
        return 0;
    v->told = done;
    return v->progress(v->arg, done, v->all)
               ? naru__fail(-ECANCELED, "%s: verifying was ended", v->o->url)
               : 0;
}

static void note_damage(struct verify *v, uint64_t segment, uint64_t at)
{
    struct naru_journal_report *r = v->report;
    if (r->damaged++ == 0) {
        r->bad_segment = segment;
        r->bad_offset = at;
        r->bad_sequence = v->sequence;
    }
}

static uint64_t sequence_at(const struct map_segment *s, uint64_t at)
{
    return ((const struct naru_record *)(const void *)(s->memory + at))->sequence;
}

/* From there on it is torn. How many messages in it are whole? */
static uint64_t note_tail(struct verify *v, const struct map_segment *s, uint64_t at)
{
    uint64_t n = 0, after = s->first - 1, next = at;
    v->ended = true;
    v->report->torn += naru__segment_used(s->memory, at, s->size) - at;
    while ((next = naru__record_search(s->memory, s->size, next, s->seed, after))) {
        const struct naru_record *record = (const void *)(s->memory + next);
        after = record->sequence;
        n += record->type != 0;
        next += sizeof *record;
    }
    v->report->behind += n;
    return n;
}

/* It was not there when it was looked at, and has been sent meanwhile. */
static bool has_come(const struct verify *v, const struct map_segment *s, uint64_t at)
{
    /* acquire: pairs with the release of `committed` in append() */
    atomic_thread_fence(memory_order_acquire);
    return naru__record_check(s->memory, s->size, at, s->seed, v->sequence);
}

static int verify_segment(struct verify *v, const struct map_segment *s)
{
    struct naru_journal_report *report = v->report;
    uint64_t at = NARU_SEGMENT_RECORDS_AT;
    for (;;) {
        int r = tell(v, v->done + at);
        if (r < 0)
            return r;
        if (naru__record_check(s->memory, s->size, at, s->seed, v->sequence)) {
            const struct naru_record *record = (const void *)(s->memory + at);
            if (record->type == 0)
                return 0;
            report->records++;
            report->readable += report->damaged > 0;
            report->bytes += record->size;
            report->last = v->sequence++;
            at += naru__record_room(record->size);
            continue;
        }
        if (!v->right && v->sequence > v->known) {
            (void)note_tail(v, s, at);
            return 0;
        }
        uint64_t next = naru__record_search(s->memory, s->size, at, s->seed, v->sequence - 1);
        bool behind = next && sequence_at(s, next) >= v->sequence;
        if (has_come(v, s, at))
            continue;
        if (behind || s->number < v->last || v->sequence <= v->known)
            note_damage(v, s->number, at);
        else
            report->torn += naru__segment_used(s->memory, at, s->size) - at;
        if (!behind)
            return 0;
        at = next;
        v->sequence = sequence_at(s, at);
    }
}

/* A segment of the tail. */
static void verify_lost(struct verify *v, struct map_segment *s, int code)
{
    v->ended = true;
    if (code == -EPROTO || (code == 0 && note_tail(v, s, NARU_SEGMENT_RECORDS_AT) == 0))
        v->report->unbegun++;
}

/* 1: it was to be the first, and is gone. */
static int verify_one(struct verify *v, uint64_t number, bool first)
{
    struct map_segment s = {.fd = NARU__NO_FD};
    int r = naru__segment_open(v->o, number, false, &s);
    if (first && r == -ENOENT && number < v->last)
        return 1; /* trimmed meanwhile; or its file served another when the power went */
    if (first && r < 0 && naru__segment_lost(v->o, number, v->known, r) && !v->right) {
        v->report->unbegun += r == -EPROTO;
        return 1;
    }
    bool follows = first || s.first == v->sequence;
    if (!v->right && !first && (r == 0 || r == -ENOENT || r == -EPROTO) &&
        (v->ended || (v->sequence > v->known && (r < 0 || !follows)))) {
        verify_lost(v, &s, r);
        naru__segment_close(&s);
        return 0;
    }
    if (r == -ENOENT || r == -EPROTO) { /* its header, or all of it */
        note_damage(v, number, 0);
        return 0;
    }
    if (r < 0)
        return r;
    if (first)
        v->sequence = v->report->first = s.first;
    else if (!follows) {
        note_damage(v, number, 0);
        v->sequence = s.first;
    }
    uint64_t had = v->report->records + v->report->behind;
    r = verify_segment(v, &s);
    if (!first && v->ended && v->report->records + v->report->behind == had)
        v->report->unbegun++;
    else
        v->report->segments++;
    v->done += s.size;
    naru__segment_close(&s);
    return r;
}

int naru__journal_verify(const struct naru_object *o, struct naru_journal_report *report,
                         int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    const struct naru_journal_state *s = (const void *)o->state->kind;
    struct verify v = {.o = o, .report = report, .progress = progress, .arg = arg};
    uint64_t first = 1, last = 0;
    int r = naru__segment_range(o->directory, &first, &last);
    *report = (struct naru_journal_report){.size = sizeof *report};
    v.right = naru__journal_is_right(o);
    v.known = atomic_load(v.right ? &s->committed : &s->durable);
    if (r < 0 && (r != -ENOENT || v.right || v.known))
        return naru__fail(-EPROTO, "%s has no segments: %s", o->url, naru__errno_text(r));
    uint64_t current = naru__place_segment(atomic_load(&s->tail));
    if (v.right && last > current && current >= first)
        last = current; /* what is behind it counts for nothing: it is being made */
    v.last = last;
    v.all = (last - first + 1) * o->meta.option[NARU_JOURNAL_SEGMENT];
    r = 0;
    for (uint64_t n = first; n <= last && r == 0; n++) {
        r = verify_one(&v, n, n == first);
        if (r == 1) {
            first = n + 1;
            r = 0;
        }
    }
    if (r < 0)
        return r;
    if (v.progress)
        (void)v.progress(arg, v.all, v.all);
    return report->damaged > 0;
}
