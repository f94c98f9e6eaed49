/* SPDX-License-Identifier: MIT */
/* verify.c - reads a journal from end to end and compares every check sum. It takes part in nothing
 * and writes nothing. What is known to count and is not whole is damage; what lies behind the last
 * whole message, and is not known to count, is a torn tail: also segments that were being made when
 * the power went, in which nothing is. */
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
    uint64_t known;    /* sequence up to which all count */
    uint64_t end;      /* number of the segment in which the last whole message is */
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
        uint64_t next = naru__record_search(s->memory, s->size, at, s->seed, v->sequence - 1);
        bool behind =
            next &&
            ((const struct naru_record *)(const void *)(s->memory + next))->sequence >= v->sequence;
        if (behind || s->number < v->end || v->sequence <= v->known)
            note_damage(v, s->number, at);
        else
            report->torn += naru__segment_used(s->memory, at, s->size) - at;
        if (!behind)
            return 0;
        at = next;
        v->sequence = ((const struct naru_record *)(const void *)(s->memory + at))->sequence;
    }
}

/* Is a whole message in it, or something in the way of looking, which is told later? */
static bool begun(const struct naru_object *o, uint64_t number)
{
    struct map_segment s = {.fd = NARU__NO_FD};
    int r = naru__segment_open(o, number, false, &s);
    bool any = r == 0 && naru__record_search(s.memory, s.size, NARU_SEGMENT_RECORDS_AT, s.seed,
                                             s.first - 1) != 0;
    naru__segment_close(&s);
    return any || (r < 0 && r != -ENOENT && r != -EPROTO);
}

static void note_unbegun(struct verify *v, const struct map_segment *s)
{
    v->report->unbegun++;
    if (s->number)
        v->report->torn += naru__segment_used(s->memory, NARU_SEGMENT_RECORDS_AT, s->size) -
                           NARU_SEGMENT_RECORDS_AT;
}

/* 1: it was to be the first, and is gone. */
static int verify_one(struct verify *v, uint64_t number, bool first)
{
    struct map_segment s = {.fd = NARU__NO_FD};
    int r = naru__segment_open(v->o, number, false, &s);
    if (r == -ENOENT && first && number < v->end)
        return 1; /* trimmed meanwhile; or its file served another when the power went */
    if (number > v->end && v->sequence > v->known && (r == 0 || r == -ENOENT || r == -EPROTO)) {
        if (r != -ENOENT)
            note_unbegun(v, &s);
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
    else if (s.first != v->sequence) {
        note_damage(v, number, 0);
        v->sequence = s.first;
    }
    v->report->segments++;
    r = verify_segment(v, &s);
    v->done += s.size;
    naru__segment_close(&s);
    return r;
}

int naru__journal_verify(const struct naru_object *o, struct naru_journal_report *report,
                         int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    const struct naru_journal_state *s = (const void *)o->state->kind;
    struct verify v = {.o = o, .report = report, .progress = progress, .arg = arg};
    uint64_t first, last;
    int r = naru__segment_range(o->directory, &first, &last);
    *report = (struct naru_journal_report){.size = sizeof *report};
    if (r < 0)
        return naru__fail(-EPROTO, "%s has no segments: %s", o->url, naru__errno_text(r));
    if (atomic_load(&s->world) == naru__os_world(o->file)) {
        uint64_t current = naru__place_segment(atomic_load(&s->tail));
        v.known = atomic_load(&s->committed);
        if (last > current && current >= first)
            last = current; /* what is behind it counts for nothing: it is being made */
        v.end = last;
    } else {
        v.known = atomic_load(&s->durable);
        for (v.end = last; v.end > first && !begun(o, v.end);)
            v.end--;
    }
    v.all = (last - first + 1) * o->meta.option[NARU_JOURNAL_SEGMENT];
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
