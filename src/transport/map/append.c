/* SPDX-License-Identifier: MIT */
/* append.c - the sending half of a journal: writing behind the tail under the senders' lock,
 * rolling to a new segment, and making the medium have it.
 *
 * Group commit: whoever owns the flush lock syncs all that counts by then; the others sleep until
 * `durable` has reached their message. Where several want to be synced it first lets them come.
 * After a flush has failed nobody knows what the medium has, and the kernel says so once alone: so
 * `failed` stays, and every sender that wants to be synced is told, until all have closed it and
 * one opens it again, who writes all that was not surely there anew (recover()). */
#include "base/crc32c.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/sync.h"
#include "transport/map/map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t wall_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- segments ---- */

static bool retains(const struct map_journal *e)
{
    const uint64_t *keep = e->object.meta.option;
    return keep[NARU_JOURNAL_KEEP_BYTES] || keep[NARU_JOURNAL_KEEP_TIME] ||
           keep[NARU_JOURNAL_KEEP_READ];
}

/* The one that was written stays mapped as long as it is kept, for its file will be used again: as
 * many as there is room for, and as address space allows. */
static void leave_segment(struct map_journal *e)
{
    enum { MOST = 256 << 20 }; /* bytes */
    uint64_t oldest = atomic_load(&e->state->oldest);
    struct map_segment *free = NULL;
    for (unsigned i = 0; i < MAP_SEGMENTS && retains(e) && (i + 1) * e->out.size <= MOST; i++) {
        if (e->past[i].number < oldest)
            naru__segment_close(&e->past[i]);
        if (!e->past[i].number)
            free = &e->past[i];
    }
    if (free) {
        *free = e->out;
        free->fd = naru__os_close(free->fd);
    } else {
        naru__segment_close(&e->out);
    }
    e->out = (struct map_segment){.fd = NARU__NO_FD};
}

static int have_tail(struct map_journal *e, uint64_t tail)
{
    uint64_t number = naru__place_segment(tail);
    if (e->out.number == number)
        return 0;
    leave_segment(e);
    int r = naru__segment_open(&e->object, number, true, &e->out);
    return r == -ENOENT
               ? naru__fail(-EPROTO, "%s: its segment %" PRIu64 " is gone", journal_name(e), number)
               : r;
}

/* One that is mapped still, and its file; NULL: it is not, or the file is another. */
static struct map_segment *past_of(struct map_journal *e, uint64_t number, int *ret_fd)
{
    char name[32];
    struct stat st;
    for (unsigned i = 0; i < MAP_SEGMENTS; i++) {
        if (e->past[i].number != number)
            continue;
        naru__segment_name(name, number);
        int fd = naru__os_open_at(e->object.directory, name, O_RDWR | O_NOFOLLOW);
        if (fd >= 0 && naru__os_fstat(fd, &st) == 0 && st.st_ino == e->past[i].inode) {
            *ret_fd = fd;
            return &e->past[i];
        }
        naru__os_close(fd);
        break;
    }
    return NULL;
}

/* What the next segment could be made of. name: the spare's; a spare's inode tells whose it is. */
static bool is_mine(const struct map_journal *e, unsigned spare, char name[32])
{
    struct stat st;
    snprintf(name, 32, NARU_SPARE_NAME, spare);
    return e->spare[spare].number && naru__os_stat_at(e->object.directory, name, &st) == 0 &&
           st.st_ino == e->spare[spare].inode;
}

/* A name for one more: one that nobody has, or another's. */
static unsigned spare_name(const struct map_journal *e, char name[32])
{
    unsigned spare = MAP_SPARES;
    struct stat st;
    for (unsigned i = 0; i < MAP_SPARES; i++) {
        if (is_mine(e, i, name))
            continue;
        bool free = naru__os_stat_at(e->object.directory, name, &st) == -ENOENT;
        if (free || spare == MAP_SPARES)
            spare = i;
        if (free)
            break;
    }
    snprintf(name, 32, NARU_SPARE_NAME, spare);
    return spare;
}

/* One that goes: if this sender has it mapped and nobody reads it, its file will be used again. */
static bool set_aside(struct map_journal *e, uint64_t number, uint64_t current)
{
    char name[32], to[32];
    unsigned spare = spare_name(e, to);
    int fd = NARU__NO_FD;
    struct map_segment *s = spare < MAP_SPARES ? past_of(e, number, &fd) : NULL;
    if (!s)
        return false;
    naru__segment_name(name, number);
    bool can = s->size == e->object.meta.option[NARU_JOURNAL_SEGMENT] &&
               naru__os_writes_in_place(fd) && naru__os_lock(fd, NARU_SEGMENT_READ, true) == 0;
    if (can)
        (void)naru__os_unlink_at(e->object.directory, to);
    if (!can || naru__os_rename_at(e->object.directory, name, to) < 0) {
        naru__os_close(fd); /* and with it the lock */
        return false;
    }
    naru__segment_close(&e->spare[spare]);
    e->spare[spare] = *s;
    e->spare[spare].fd = fd;
    e->spare[spare].gone = current;
    *s = (struct map_segment){.fd = NARU__NO_FD};
    return true;
}

/* Who has just come to its end lets go of it a message later: then its file can be used again. */
static bool is_read(struct map_journal *e, uint64_t number)
{
    int fd = NARU__NO_FD, r = 0;
    if (past_of(e, number, &fd)) {
        r = naru__os_lock_held(fd, NARU_SEGMENT_READ);
        naru__os_close(fd);
    }
    return r == 1;
}

/* The youngest segment that nobody has to keep, by the creator's options, if all from `before` on
 * stay; 0: none. */
static uint64_t youngest_to_go(struct map_journal *e, uint64_t before)
{
    const uint64_t *keep = e->object.meta.option;
    uint64_t oldest = atomic_load(&e->state->oldest), bytes = 0;
    uint64_t lowest = keep[NARU_JOURNAL_KEEP_READ] ? naru__cursors_lowest(&e->object) : 0;
    for (uint64_t n = before; n-- > oldest && n > 0;) { /* from the youngest on */
        struct map_segment next = {.fd = NARU__NO_FD};
        struct naru_segment_header header;
        char name[32];
        struct stat st;
        naru__segment_name(name, n);
        if (naru__os_stat_at(e->object.directory, name, &st) < 0 ||
            naru__segment_open(&e->object, n + 1, false, &next) < 0)
            return 0;
        memcpy(&header, next.memory, sizeof header);
        uint64_t ended = header.created, first = next.first;
        naru__segment_close(&next);
        bytes += (uint64_t)st.st_size;
        bool goes =
            (keep[NARU_JOURNAL_KEEP_BYTES] && bytes > keep[NARU_JOURNAL_KEEP_BYTES]) ||
            (keep[NARU_JOURNAL_KEEP_TIME] && ended + keep[NARU_JOURNAL_KEEP_TIME] < wall_clock()) ||
            (keep[NARU_JOURNAL_KEEP_READ] && lowest != UINT64_MAX && lowest >= first);
        if (goes && !(n == before - 1 && is_read(e, n)))
            return n;
    }
    return 0;
}

/* Only segments before that may go, or a loss of power would leave nothing: what was synced goes
 * when the medium has what replaces it. While nothing was, it is enough that sequences do not begin
 * again. Whether something was is read when nobody else is at it, so that none is promised later
 * without what goes now. */
static uint64_t may_go_before(const struct map_journal *e, uint64_t current, bool nobody_flushes)
{
    const struct naru_journal_state *s = e->state;
    if (atomic_load(&s->durable)) {
        uint64_t at = atomic_load(&s->durable_at);
        return at < current ? at : current;
    }
    uint64_t need = atomic_load(&s->committed) + NARU_JOURNAL_CEILING / 2;
    bool kept = atomic_load(&s->ceiling_kept) >= need;
    return nobody_flushes && kept ? current : 0;
}

/* What nobody has to keep goes: whole segments before the current one. */
static void retain(struct map_journal *e, uint64_t current)
{
    struct naru_journal_state *s = e->state;
    if (!retains(e))
        return;
    bool nobody_flushes = atomic_load(&s->flush) == 0;
    uint64_t before = may_go_before(e, current, nobody_flushes);
    uint64_t last = youngest_to_go(e, before), oldest = atomic_load(&s->oldest);
    for (; oldest <= last; oldest++) { /* the oldest first: a death leaves no hole */
        char name[32];
        naru__segment_name(name, oldest);
        if (!set_aside(e, oldest, current))
            (void)naru__os_unlink_at(e->object.directory, name);
        atomic_store(&s->oldest, oldest + 1);
    }
    e->held_back = before < current && youngest_to_go(e, current) > 0;
}

/* Before the bytes of a spare change, the medium has to know that it is no segment any more: else,
 * after the loss of power, there would be a hole before what was synced. A flush that has come to a
 * later segment than the one it was removed at began after that, and synced the directory. While
 * nothing was synced, nothing is promised, and the first who does syncs it all. */
static bool is_surely_gone(const struct map_journal *e, const struct map_segment *spare)
{
    const struct naru_journal_state *s = e->state;
    return (atomic_load(&s->flush) == 0 && atomic_load(&s->durable) == 0) ||
           atomic_load(&s->durable_at) > spare->gone;
}

/* Makes the next segment of a spare. */
static int reuse(struct map_journal *e, uint64_t number, uint64_t first,
                 struct map_segment *ret_segment)
{
    char name[32];
    unsigned spare = 0;
    while (spare < MAP_SPARES && !(is_mine(e, spare, name) && is_surely_gone(e, &e->spare[spare])))
        spare++;
    if (spare == MAP_SPARES)
        return -EAGAIN;
    struct map_segment *s = &e->spare[spare];
    int r = naru__segment_reuse(&e->object, name, number, first, s);
    if (r == 0)
        *ret_segment = *s;
    else
        naru__segment_close(s);
    *s = (struct map_segment){.fd = NARU__NO_FD};
    return r;
}

/* Ends the current segment and begins the next, with room for so many bytes. */
static int roll(struct map_journal *e, uint64_t tail, uint64_t need)
{
    struct naru_journal_state *s = e->state;
    struct map_segment next = {.fd = NARU__NO_FD};
    uint64_t at = naru__place_offset(tail), number = e->out.number + 1;
    uint64_t sequence = atomic_load(&s->committed) + 1;
    uint64_t bytes = e->object.meta.option[NARU_JOURNAL_SEGMENT];
    need = (NARU_SEGMENT_RECORDS_AT + need + sizeof(struct naru_record) + 4095) & ~UINT64_C(4095);
    int r = -EAGAIN;
    if (need <= bytes)
        r = reuse(e, number, sequence, &next);
    if (r < 0)
        r = naru__segment_make(&e->object, number, sequence, need > bytes ? need : bytes, &next);
    if (r < 0)
        return r;
    /* its header reaches the medium before a message in it counts as synced: the flush syncs the
     * whole file, and the directory */
    atomic_store(&s->intent, naru__place(e->out.number, at + sizeof(struct naru_record)));
    struct naru_record *mark = (void *)(e->out.memory + at);
    *mark = (struct naru_record){.sequence = sequence, .time = wall_clock()};
    naru__record_seal(mark, e->out.seed);
    atomic_store(&s->tail, naru__place(number, NARU_SEGMENT_RECORDS_AT));
    atomic_store(&s->intent, 0);
    leave_segment(e);
    e->out = next;
    retain(e, number);
    return 0;
}

void naru__out_close(struct map_journal *e, bool owner)
{
    for (unsigned i = 0; i < MAP_SPARES; i++) {
        char name[32];
        if (owner && is_mine(e, i, name))
            (void)naru__os_unlink_at(e->object.directory, name);
        naru__segment_close(&e->spare[i]);
    }
    naru__segment_close(&e->out);
    for (unsigned i = 0; i < MAP_SEGMENTS; i++)
        naru__segment_close(&e->past[i]);
}

/* ---- appending ---- */

static uint32_t sender_id(const struct map_journal *e)
{
    return (uint32_t)(e->object.generation << 8 | e->object.member);
}

/* Memory that nobody has touched costs a page fault each 4 KiB, and to a journal nearly all of it
 * is such: three times what write(2) takes for many pages at once, and less than it takes for one
 * or two. So what is larger goes by that, from memory of this process's own, where the check sum is
 * made too. The kernel keeps a file's bytes once: what is written is there in every mapping. */
enum { BY_WRITE = 8 << 10, STAGE = 64 << 10 };

static void put_header(const struct map_journal *e, struct naru_record *to,
                       const struct naru_outgoing *out, uint64_t sequence, uint64_t now)
{
    *to = (struct naru_record){.size = (uint32_t)out->size,
                               .sequence = sequence,
                               .time = now,
                               .type = out->type,
                               .signature = out->signature,
                               .sender = sender_id(e)};
}

static void put_record(const struct map_journal *e, uint8_t *to, const struct naru_outgoing *out,
                       uint64_t sequence, uint64_t now)
{
    struct naru_record *record = (void *)to;
    naru__gather(out, 0, record->data, out->size);
    put_header(e, record, out, sequence, now);
    naru__record_seal(record, e->out.seed);
}

static int write_at(const struct map_journal *e, const void *data, size_t n, uint64_t at)
{
    int r = n ? naru__os_write_at(e->out.fd, data, n, at) : 0;
    return r < 0 ? naru__fail(r, "%s: writing %zu bytes into segment %" PRIu64 " failed: %s",
                              journal_name(e), n, e->out.number, naru__errno_text(r))
                 : 0;
}

/* One that is larger than the stage: its header comes last, with the sum of all. */
static int write_large(const struct map_journal *e, uint64_t at, const struct naru_outgoing *out,
                       uint64_t sequence, uint64_t now)
{
    struct naru_record header;
    put_header(e, &header, out, sequence, now);
    uint32_t crc = naru__record_sum(&header, e->out.seed);
    int r = 0;
    for (uint64_t from = 0; from < out->size && r == 0; from += STAGE) {
        size_t n = out->size - from < STAGE ? (size_t)(out->size - from) : STAGE;
        naru__gather(out, from, e->stage, n);
        crc = naru__crc32c(crc, e->stage, n);
        r = write_at(e, e->stage, n, at + sizeof header + from);
    }
    header.crc = crc;
    return r < 0 ? r : write_at(e, &header, sizeof header, at);
}

static int write_records(struct map_journal *e, uint64_t at, const struct naru_outgoing *out,
                         size_t n, uint64_t sequence, uint64_t now)
{
    size_t staged = 0;
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        uint64_t room = naru__record_room(out[i].size);
        if (room > STAGE - staged) {
            r = write_at(e, e->stage, staged, at);
            at += staged;
            staged = 0;
        }
        if (r == 0 && room > STAGE) {
            r = write_large(e, at, &out[i], sequence + i, now);
            at += room;
        } else if (r == 0) {
            memset(e->stage + staged + room - 8, 0, 8); /* behind its end: zeroes */
            put_record(e, e->stage + staged, &out[i], sequence + i, now);
            staged += room;
        }
    }
    return r < 0 ? r : write_at(e, e->stage, staged, at);
}

static bool by_write(struct map_journal *e, uint64_t bytes)
{
    if (bytes < BY_WRITE || !e->out.by_write)
        return false;
    if (!e->stage)
        e->stage = naru__alloc_raw(STAGE);
    return e->stage != NULL;
}

/* Under the lock: so many of the messages as there is room for, at least one. The order of steps,
 * for a death may come between any two: `intent`, the
 * records, `committed`, `tail`, `intent`. */
static int append(struct map_journal *e, const struct naru_outgoing *out, size_t n)
{
    struct naru_journal_state *s = e->state;
    uint64_t tail = atomic_load_explicit(&s->tail, memory_order_relaxed);
    int r = have_tail(e, tail);
    if (r < 0)
        return r;
    uint64_t at = naru__place_offset(tail), first = naru__record_room(out[0].size);
    const uint64_t end_mark = sizeof(struct naru_record);
    if (at % 8 || at < NARU_SEGMENT_RECORDS_AT || at > e->out.size || e->out.size - at < end_mark)
        return naru__fail(-EPROTO,
                          "%s: its next message would come to byte %" PRIu64 " of segment %" PRIu64
                          ", where none can be: its meta is damaged",
                          journal_name(e), at, e->out.number);
    if (e->out.size - at < first + end_mark) {
        r = roll(e, tail, first);
        if (r < 0)
            return r;
        at = NARU_SEGMENT_RECORDS_AT;
    }
    uint64_t end = at;
    size_t fits = 0;
    for (; fits < n && e->out.size - end >= naru__record_room(out[fits].size) + end_mark; fits++)
        end += naru__record_room(out[fits].size);
    uint64_t sequence = atomic_load_explicit(&s->committed, memory_order_relaxed);
    uint64_t now = wall_clock();
    atomic_store_explicit(&s->intent, naru__place(e->out.number, end), memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* a death sees the stores in this order */
    if (by_write(e, end - at)) {
        r = write_records(e, at, out, fits, sequence + 1, now);
        if (r < 0) { /* nothing of it counts, as if this one had died here */
            memset(e->out.memory + at, 0, end - at);
            atomic_store(&s->intent, 0);
            return r;
        }
    } else {
        for (size_t i = 0; i < fits; i++) {
            put_record(e, e->out.memory + at, &out[i], sequence + 1 + i, now);
            at += naru__record_room(out[i].size);
        }
    }
    sequence += fits;
    /* release: readers acquire what was written. Before the look at who sleeps: by the unlocking */
    atomic_store_explicit(&s->committed, sequence, memory_order_release);
    atomic_store_explicit(&s->tail, naru__place(e->out.number, end), memory_order_release);
    atomic_store_explicit(&s->intent, 0, memory_order_release);
    e->last = sequence;
    atomic_store_explicit(&e->object.members[e->object.member].kind[MAP_TOLD_SENT], sequence,
                          memory_order_relaxed); /* for looking at alone */
    return (int)fits;
}

/* ---- the medium ---- */

struct flush {
    uint64_t sequence, failures;
};

static bool is_flushed(struct map_journal *e, uint64_t arg)
{
    const struct flush *f = (const void *)(uintptr_t)arg;
    return atomic_load(&e->state->durable) >= f->sequence ||
           atomic_load(&e->state->failed) >> 16 != f->failures ||
           atomic_load(&e->state->flush) == 0;
}

/* Those whom a flush has served come back at about the same time, each a little after the other. If
 * the first of them flushed at once it would do so for itself alone, and the rest had to wait for
 * the flush after it. So it waits until there are as many messages as the last one brought, and one
 * more if it had to wait for that; but only a part of what a flush takes, if they do not come. */
static void let_others_come(struct map_journal *e, bool waited)
{
    enum { MOST = 8 }; /* ms: of a flush that is taken for usual */
    struct naru_journal_state *s = e->state;
    uint64_t enough = atomic_load(&s->durable) + atomic_load(&s->flushed) + waited;
    int64_t took = (int64_t)atomic_load(&s->flush_time);
    took = took < 0 || took > MOST * NARU_MS ? MOST * NARU_MS : took;
    int64_t end = naru__now() + took / 2;
    while (atomic_load(&s->committed) < enough && naru__now() < end)
        sched_yield();
}

static int sync_segment(struct map_journal *e, uint64_t number)
{
    char name[32];
    if (number == e->out.number)
        return naru__os_sync_data(e->out.fd);
    naru__segment_name(name, number);
    int fd = naru__os_open_at(e->object.directory, name, O_RDONLY | O_NOFOLLOW);
    if (fd == -ENOENT)
        return 0; /* trimmed */
    int r = fd < 0 ? fd : naru__os_sync_data(fd);
    naru__os_close(fd);
    return r;
}

/* Its own name is in the directory above. */
static int sync_name(struct map_journal *e)
{
    int above = naru__os_open_at(e->object.directory, "..", O_RDONLY | O_DIRECTORY);
    int r = naru__os_sync_all(e->object.file);
    if (r == 0)
        r = above < 0 ? above : naru__os_sync_all(above);
    naru__os_close(above);
    return r;
}

static int note_failure(struct naru_journal_state *s, int code)
{
    uint64_t failed = atomic_load(&s->failed);
    atomic_store(&s->failed, ((failed >> 16) + 1) << 16 | (uint64_t)-code);
    return code;
}

/* With the flush lock. What counts up to that sequence lies in segments up to that number. */
static int sync_up_to(struct map_journal *e, uint64_t sequence, uint64_t to)
{
    struct naru_journal_state *s = e->state;
    uint64_t from = atomic_load(&s->durable_at);
    bool first = atomic_load(&s->durable) == 0, rolled = to > from;
    uint64_t oldest, last;
    int64_t began = naru__now();
    int r = 0;
    if (to - from > 1) { /* of what is there alone, whatever the memory says */
        r = naru__segment_range(e->object.directory, &oldest, &last);
        from = r == 0 && from < oldest ? oldest : from;
        to = r == 0 && to > last ? last : to;
    }
    for (uint64_t n = from; n <= to && r == 0; n++)
        r = sync_segment(e, n);
    if (r == 0 && (rolled || first)) /* which segments there are, and which no more */
        r = naru__os_sync_all(e->object.directory);
    if (r == 0 && (first || e->new_directory))
        r = sync_name(e);
    if (r < 0)
        return note_failure(s, r);
    e->new_directory = false;
    atomic_store(&s->flushed, sequence - atomic_load(&s->durable));
    atomic_store(&s->durable_at, to);
    atomic_store(&s->durable, sequence);
    atomic_store(&s->flush_time, (uint64_t)(naru__now() - began));
    atomic_fetch_add(&s->flushes, 1);
    return 0;
}

static int sync_all(struct map_journal *e)
{
    uint64_t committed = atomic_load(&e->state->committed);
    /* read after `committed`: what counts lies in segments up to there */
    return sync_up_to(e, committed, naru__place_segment(atomic_load(&e->state->tail)));
}

static void end_flush(struct map_journal *e)
{
    atomic_exchange(&e->state->flush, 0);
    naru__journal_wake(&e->object, NARU_SLEEP_DURABLE, true);
}

/* With the flush lock, so that segments may go. A sender that has just rolled leaves out its new
 * one: of a file that is used again that would be zeroes, as many as there are messages. */
static int secure(struct map_journal *e)
{
    struct naru_journal_state *s = e->state;
    if (atomic_load(&s->failed))
        return -EIO; /* what the medium has by now nobody knows, so what was synced before stays */
    uint64_t durable = atomic_load(&s->durable);
    if (durable && e->out.number != naru__place_segment(atomic_load(&s->tail)))
        return sync_all(e);
    if (durable)
        return durable + 1 < e->out.first ? sync_up_to(e, e->out.first - 1, e->out.number - 1) : 0;
    uint64_t ceiling = atomic_load(&s->committed) + NARU_JOURNAL_CEILING;
    atomic_store(&s->ceiling, ceiling);
    int r = naru__os_sync_data(e->object.file);
    if (r < 0)
        return note_failure(s, r);
    atomic_store(&s->ceiling_kept, ceiling);
    return 0;
}

/* After a roll, and without the senders' lock: so that what was held back goes at the next one. Who
 * is about to sync by itself, or another who is at it, does the same. */
static void secure_rolled(struct map_journal *e)
{
    uint32_t owner = 0;
    e->held_back = false;
    if (e->sync == NARU_SYNC_EACH)
        return;
    if (atomic_compare_exchange_strong(&e->state->flush, &owner, e->object.member + 1)) {
        (void)secure(e);
        end_flush(e);
    } else {
        (void)naru__journal_collect(e); /* or it has died at it */
    }
}

static int flush_failed(const struct map_journal *e)
{
    int code = -(int)(atomic_load(&e->state->failed) & 0xffff);
    return naru__fail(-EIO,
                      "%s: the medium did not take what was written (%s), so nobody knows what it "
                      "has; what was sent before may be lost with the power. Close it everywhere, "
                      "look at the medium, and open it again",
                      journal_name(e), naru__errno_text(code));
}

/* Until the medium has all up to that sequence. */
static int flush_to(struct map_journal *e, uint64_t sequence, int64_t deadline)
{
    struct naru_journal_state *s = e->state;
    struct naru_wait w = naru__wait_begin(&e->channel.handle, NARU_OUT, deadline);
    struct flush f = {sequence, 0};
    bool waited = false;
    for (;;) {
        uint32_t owner = 0;
        if (atomic_load(&s->failed) >> 16 != f.failures)
            return flush_failed(e);
        if (atomic_load(&s->durable) >= sequence)
            return 0;
        int r = naru__journal_check(e);
        if (r < 0)
            return r;
        if (atomic_compare_exchange_strong(&s->flush, &owner, e->object.member + 1) ||
            (owner != e->object.member + 1 && /* this handle's other thread is at it */
             naru__journal_take_from_nobody(e, &s->flush, owner))) {
            if (atomic_load(&s->durable) < sequence) {
                let_others_come(e, waited);
                r = sync_all(e);
            }
            end_flush(e);
            return r < 0 ? flush_failed(e) : 0; /* all that counts, whatever `sequence` is */
        }
        waited = true;
        r = naru__journal_wait(e, &w, NARU_SLEEP_DURABLE, is_flushed, (uint64_t)(uintptr_t)&f);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r,
                              "%s: it was sent, and whether the medium has it is not known yet: "
                              "the time given passed",
                              journal_name(e));
        if (r < 0)
            return r;
    }
}

int naru__journal_pay(struct map_journal *e, int64_t deadline)
{
    e->due = 0;
    return flush_to(e, e->last, deadline);
}

int naru__journal_sync(naru_channel *channel, int64_t deadline)
{
    struct map_journal *e = journal_of(channel);
    e->due = 0;
    return flush_to(e, atomic_load(&e->state->committed), deadline);
}

/* Have all who receive, and every cursor with a name, passed that? */
static bool all_passed(const struct map_journal *e, uint64_t sequence)
{
    uint64_t lowest = naru__cursors_lowest(&e->object);
    uint32_t n = naru__object_members(&e->object);
    if (lowest == UINT64_MAX && !e->topic)
        return false; /* a queue's messages wait for the first to come */
    for (uint32_t i = 0; i < n; i++) {
        const struct naru_object_member *m = &e->object.members[i];
        /* acquire: pairs with the release in advance() */
        uint64_t base = atomic_load_explicit(&m->kind[MAP_TOLD_BASE], memory_order_acquire);
        if (naru__member_role(atomic_load(&m->who)) & (MAP_RECV | MAP_OPENING) && base &&
            base < lowest && !naru__object_died(&e->object, i))
            lowest = base;
    }
    return lowest > sequence;
}

int naru__journal_flush(naru_channel *channel, int64_t deadline)
{
    struct map_journal *e = journal_of(channel);
    struct naru_wait w = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    uint64_t sequence = atomic_load(&e->state->committed);
    while (!all_passed(e, sequence)) {
        int r = naru__journal_check(e);
        if (r == 0)
            r = naru__wait_tick(&w);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: not every receiver is done with what was sent",
                              journal_name(e));
        if (r < 0)
            return r;
    }
    return 0;
}

/* What the option asks for, after something was sent. A failure here is told: the messages count,
 * and whether they survive the loss of power is what is not known. */
static int keep_promise(struct map_journal *e, int64_t deadline)
{
    if (e->sync == 0)
        return 0;
    if (e->sync == NARU_SYNC_EACH)
        return flush_to(e, e->last, deadline);
    if (!e->due)
        e->due = naru__now() + e->sync;
    return 0;
}

/* ---- sending ---- */

static ssize_t send_some(struct map_journal *e, const struct naru_outgoing *out, size_t n,
                         int64_t deadline)
{
    struct naru_wait w = naru__wait_begin(&e->channel.handle, NARU_OUT, deadline);
    if (e->due && naru__now() >= e->due) {
        int r = naru__journal_pay(e, deadline);
        if (r < 0)
            return r;
    }
    if (e->sync && atomic_load(&e->state->failed))
        return flush_failed(e);
    int r = naru__journal_check(e);
    if (r == 0)
        r = naru__journal_lock(e, &e->state->append, NARU_SLEEP_APPEND, &w);
    if (r < 0)
        return r;
    int sent = append(e, out, n);
    naru__journal_unlock(e, &e->state->append, NARU_SLEEP_APPEND);
    naru__wait_done(&w);
    if (e->held_back)
        secure_rolled(e);
    if (sent < 0)
        return sent;
    naru__journal_wake(&e->object, NARU_SLEEP_MESSAGE, true);
    for (int i = 0; i < sent; i++)
        naru__count(&e->channel.handle.counts.bytes_sent, out[i].size);
    naru__count(&e->channel.handle.counts.sent, (uint64_t)sent);
    return sent;
}

int naru__journal_send(naru_channel *channel, const struct naru_outgoing *out, int64_t deadline)
{
    struct map_journal *e = journal_of(channel);
    ssize_t r = send_some(e, out, 1, deadline);
    return r < 0 ? (int)r : keep_promise(e, deadline);
}

ssize_t naru__journal_send_many(naru_channel *channel, const struct naru_message *messages,
                                size_t n, int64_t deadline)
{
    enum { AT_ONCE = 64 };
    struct map_journal *e = journal_of(channel);
    struct naru_outgoing out[AT_ONCE];
    struct iovec piece[AT_ONCE];
    size_t done = 0;
    while (done < n) {
        size_t k = n - done < AT_ONCE ? n - done : AT_ONCE;
        for (size_t i = 0; i < k; i++) {
            const struct naru_message *m = &messages[done + i];
            piece[i] = (struct iovec){m->data, m->size};
            out[i] = (struct naru_outgoing){
                .type = m->info.type, .vector = &piece[i], .n = 1, .size = m->size};
        }
        ssize_t r = send_some(e, out, k, deadline);
        if (r < 0)
            return done ? (ssize_t)done : r;
        done += (size_t)r;
    }
    int r = keep_promise(e, deadline);
    return r < 0 ? r : (ssize_t)done;
}

/* ---- trimming ---- */

/* With the senders' lock. 1: more would go if the medium had what comes after it. */
static int trim(struct map_journal *e, uint64_t before, uint64_t *bytes)
{
    struct map_segment next = {.fd = NARU__NO_FD};
    uint64_t first, last;
    int r = naru__segment_range(e->object.directory, &first, &last);
    bool nobody_flushes = atomic_load(&e->state->flush) == 0;
    /* what is behind the current one is what somebody died at */
    uint64_t current = naru__place_segment(atomic_load(&e->state->tail));
    uint64_t end = may_go_before(e, current, nobody_flushes);
    for (uint64_t n = first; r == 0 && n < last && n < current; n++) {
        char name[32];
        struct stat st;
        r = naru__segment_open(&e->object, n + 1, false, &next);
        if (r < 0 || next.first > before)
            break;
        naru__segment_close(&next);
        if (n >= end)
            return 1;
        naru__segment_name(name, n);
        if (naru__os_stat_at(e->object.directory, name, &st) < 0)
            st.st_size = 0;
        r = naru__os_unlink_at(e->object.directory, name);
        if (r < 0) {
            naru__fail(r, "%s: removing %s failed: %s", journal_name(e), name, naru__errno_text(r));
            break;
        }
        *bytes += (uint64_t)st.st_size;
        atomic_store(&e->state->oldest, n + 1); /* so that a death leaves none behind */
    }
    naru__segment_close(&next);
    return r == -ENOENT ? 0 : r; /* of a segment in the middle: somebody else trims too */
}

int naru__journal_trim(naru_channel *channel, uint64_t before, uint64_t *ret_bytes)
{
    struct map_journal *e = journal_of(channel);
    struct naru_wait w = naru__wait_begin(&channel->handle, NARU_OUT, NARU__NEVER);
    uint64_t bytes = 0;
    for (;;) {
        int r = naru__journal_lock(e, &e->state->append, NARU_SLEEP_APPEND, &w);
        if (r < 0)
            return r;
        r = trim(e, before, &bytes);
        naru__journal_unlock(e, &e->state->append, NARU_SLEEP_APPEND);
        if (r == 0)
            *ret_bytes = bytes;
        if (r <= 0)
            return r;
        r = naru__journal_lock(e, &e->state->flush, NARU_SLEEP_DURABLE, &w);
        if (r < 0)
            return r;
        r = secure(e);
        end_flush(e);
        if (r < 0)
            return flush_failed(e);
    }
}
