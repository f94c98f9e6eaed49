/* SPDX-License-Identifier: MIT */
/* segment.c - the files of a journal: making, mapping, finding a record in them. */
#include "base/error.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/map.h"
#include "os/sync.h"
#include "transport/map/map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char prefix[] = NARU_SEGMENT_PREFIX;

void naru__segment_name(char name[32], uint64_t number)
{
    snprintf(name, 32, NARU_SEGMENT_NAME, number);
}

static int refuse(const struct naru_object *o, const char *name, const char *why)
{
    return naru__fail(-EPROTO, "%s: %s is refused: %s", o->url, name, why);
}

int naru__segment_open(const struct naru_object *o, uint64_t number, bool writable,
                       struct map_segment *ret_segment)
{
    char name[32];
    struct stat st;
    struct naru_segment_header header;
    const char *why = NULL;
    void *memory;
    naru__segment_name(name, number);
    int fd = naru__os_open_at(o->directory, name, (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW);
    if (fd == -ENOENT)
        return fd;
    int r = fd < 0 ? fd : naru__os_fstat(fd, &st);
    if (r == 0 && !writable)
        r = naru__os_lock(fd, NARU_SEGMENT_READ, false);
    if (r == -EAGAIN) { /* its file is just getting another one's */
        naru__os_close(fd);
        return -ENOENT;
    }
    if (r < 0) {
        naru__os_close(fd);
        return naru__fail(r, "%s: opening %s failed: %s%s", o->url, name, naru__errno_text(r),
                          naru__limit_of_files(r).text);
    }
    uint64_t size = (uint64_t)st.st_size;
    if (!S_ISREG(st.st_mode) || size < NARU_SEGMENT_RECORDS_AT)
        r = refuse(o, name, "it is too short for a segment");
    else if ((r = naru__os_read_at(fd, &header, sizeof header, 0)) < 0)
        naru__fail(r, "%s: reading %s failed: %s", o->url, name, naru__errno_text(r));
    else if ((r = naru__segment_check(&header, number, size, &why)) == -EPROTO)
        refuse(o, name, why);
    else if (r == 0 && (r = naru__os_map(fd, header.bytes, writable, &memory)) < 0)
        naru__fail(r, "%s: %s, %s, cannot be mapped: %s%s", o->url, name,
                   naru__size_text(header.bytes).text, naru__errno_text(r),
                   naru__limit_of_memory(r, header.bytes).text);
    if (r < 0) {
        naru__os_close(fd);
        return r;
    }
    *ret_segment = (struct map_segment){.number = number,
                                        .memory = memory,
                                        .size = header.bytes,
                                        .first = header.first,
                                        .inode = st.st_ino,
                                        .seed = header.seed,
                                        .fd = fd,
                                        .by_write = naru__os_may_write_to(header.bytes)};
    return 0;
}

/* Its bytes never came to the medium. */
static bool is_blank(const struct naru_object *o, uint64_t number)
{
    static const struct naru_segment_header zeroes;
    struct naru_segment_header header = zeroes;
    char name[32];
    struct stat st;
    naru__segment_name(name, number);
    int fd = naru__os_open_at(o->directory, name, O_RDONLY | O_NOFOLLOW);
    bool blank = fd >= 0 && naru__os_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
                 (st.st_size < NARU_SEGMENT_RECORDS_AT ||
                  (naru__os_read_at(fd, &header, sizeof header, 0) == 0 &&
                   memcmp(&header, &zeroes, sizeof header) == 0));
    naru__os_close(fd);
    return blank;
}

/* Its file served another, which never got its name; or nothing of it was synced, as nothing at all
 * was. */
bool naru__segment_lost(const struct naru_object *o, uint64_t number, uint64_t known, int code)
{
    return code == -ENOENT || (code == -EPROTO && known == 0 && is_blank(o, number));
}

static uint32_t seed_of(const struct naru_object *o, uint64_t number)
{
    /* splitmix64's last step: Steele, Lea, Flood, OOPSLA 2014 */
    uint64_t z = o->meta.option[NARU_JOURNAL_SEED] + number * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(z ^ z >> 31);
}

static struct naru_segment_header header_of(const struct naru_object *o, uint64_t number,
                                            uint64_t first, uint64_t bytes)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    struct naru_segment_header header = {.magic = NARU_JOURNAL_MAGIC,
                                         .version = NARU_JOURNAL_VERSION,
                                         .number = number,
                                         .first = first,
                                         .bytes = bytes,
                                         .created =
                                             (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec,
                                         .seed = seed_of(o, number)};
    naru__segment_seal(&header);
    return header;
}

int naru__segment_make(const struct naru_object *o, uint64_t number, uint64_t first, uint64_t bytes,
                       struct map_segment *ret_segment)
{
    char name[32];
    void *memory;
    struct stat st;
    naru__segment_name(name, number);
    int r = naru__os_unlink_at(o->directory, name); /* a maker's who died at it */
    if (r < 0 && r != -ENOENT)
        return naru__fail(r, "%s: removing the half-made %s failed: %s", o->url, name,
                          naru__errno_text(r));
    int fd = naru__object_file(o, name, bytes);
    if (fd < 0)
        return fd;
    struct naru_segment_header header = header_of(o, number, first, bytes);
    r = naru__os_write_at(fd, &header, sizeof header, 0);
    if (r == 0)
        r = naru__os_fstat(fd, &st);
    if (r < 0)
        naru__fail(r, "%s: writing %s failed: %s", o->url, name, naru__errno_text(r));
    else if ((r = naru__os_map(fd, bytes, true, &memory)) < 0)
        naru__fail(r, "%s: %s, %s, cannot be mapped: %s%s", o->url, name,
                   naru__size_text(bytes).text, naru__errno_text(r),
                   naru__limit_of_memory(r, bytes).text);
    if (r < 0) {
        naru__os_close(fd);
        (void)naru__os_unlink_at(o->directory, name);
        return r;
    }
    *ret_segment = (struct map_segment){.number = number,
                                        .memory = memory,
                                        .size = bytes,
                                        .first = first,
                                        .inode = st.st_ino,
                                        .seed = header.seed,
                                        .fd = fd,
                                        .by_write = naru__os_may_write_to(bytes)};
    return 0;
}

int naru__segment_reuse(const struct naru_object *o, const char *name, uint64_t number,
                        uint64_t first, struct map_segment *s)
{
    char to[32];
    struct naru_segment_header header = header_of(o, number, first, s->size);
    naru__segment_name(to, number);
    /* before all else, and by one call: from then on nobody takes it for what it was */
    int r = naru__os_write_at(s->fd, &header, sizeof header, 0);
    if (r < 0)
        return r;
    memset(s->memory + sizeof header, 0, s->size - sizeof header);
    r = naru__os_unlink_at(o->directory, to); /* a maker's who died at it */
    if (r == 0 || r == -ENOENT)
        r = naru__os_rename_at(o->directory, name, to);
    if (r == 0)
        r = naru__os_unlock(s->fd, NARU_SEGMENT_READ);
    if (r < 0)
        return r;
    s->number = number;
    s->first = first;
    s->seed = header.seed;
    s->by_write = false; /* its pages are there */
    return 0;
}

int naru__segment_copy(const struct naru_object *o, const struct map_segment *s)
{
    char name[32], to[32];
    snprintf(name, sizeof name, NARU_SPARE_NAME, 0u);
    naru__segment_name(to, s->number);
    (void)naru__os_unlink_at(o->directory, name);
    int fd = naru__object_file(o, name, s->size);
    if (fd < 0)
        return fd;
    int r = naru__os_write_at(fd, s->memory, s->size, 0);
    if (r == 0)
        r = naru__os_sync_all(fd);
    if (r == 0)
        r = naru__os_replace_at(o->directory, name, to);
    naru__os_close(fd);
    if (r < 0)
        (void)naru__os_unlink_at(o->directory, name);
    return r;
}

void naru__spares_clean(const struct naru_object *o)
{
    for (unsigned i = 0; i < MAP_SPARES; i++) {
        char name[32];
        snprintf(name, sizeof name, NARU_SPARE_NAME, i);
        int fd = naru__os_open_at(o->directory, name, O_RDONLY | O_NOFOLLOW);
        if (fd >= 0 && naru__os_lock_held(fd, NARU_SEGMENT_READ) == 0)
            (void)naru__os_unlink_at(o->directory, name);
        naru__os_close(fd);
    }
}

void naru__segment_adopt(struct map_segment *s, struct map_segment *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct map_segment *other = &list[i];
        if (!other->number || other->users || other->inode != s->inode || other->size != s->size)
            continue;
        uint8_t *memory = s->memory; /* nothing of it was touched */
        s->memory = other->memory;
        other->memory = memory;
        naru__segment_close(other);
        return;
    }
}

void naru__segment_close(struct map_segment *s)
{
    if (s->number) {
        naru__os_unmap(s->memory, s->size);
        naru__os_close(s->fd);
    }
    *s = (struct map_segment){.fd = NARU__NO_FD};
}

struct range {
    uint64_t first, last;
};

static int widen(void *arg, const char *name)
{
    struct range *range = arg;
    char *end;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return 0;
    uint64_t number = strtoull(name + sizeof prefix - 1, &end, 10);
    if (*end || number == 0 || number >> (64 - NARU_PLACE_BITS))
        return 0;
    range->first = range->first && range->first < number ? range->first : number;
    range->last = range->last > number ? range->last : number;
    return 0;
}

int naru__segment_range(int directory, uint64_t *ret_first, uint64_t *ret_last)
{
    struct range range = {0, 0};
    int r = naru__os_list(directory, true, widen, &range);
    if (r < 0)
        return r;
    *ret_first = range.first;
    *ret_last = range.last;
    return range.first ? 0 : -ENOENT;
}

/* What lies behind it somebody is making, or died at. */
static uint64_t current_segment(const struct naru_object *o)
{
    const struct naru_journal_state *state = (const void *)o->state->kind;
    /* acquire: pairs with the stores in append.c: up to there the headers are written */
    return naru__place_segment(atomic_load_explicit(&state->tail, memory_order_acquire));
}

/* The first from *number up to `last` that is there and has a whole header. -ENOENT: none is. */
static int next_segment(const struct naru_object *o, uint64_t *number, uint64_t last,
                        struct map_segment *ret_segment)
{
    int r = -ENOENT;
    for (; *number <= last; ++*number)
        if ((r = naru__segment_open(o, *number, false, ret_segment)) != -EPROTO && r != -ENOENT)
            return r;
    return -ENOENT;
}

/* The last segment whose first sequence is not above that, or the oldest. *ret_last: of all. */
static int find_segment(const struct naru_object *o, uint64_t sequence,
                        struct map_segment *ret_segment, uint64_t *ret_last)
{
    uint64_t low, high, current = current_segment(o);
    struct map_segment s = {.fd = NARU__NO_FD};
    int r = naru__segment_range(o->directory, &low, &high);
    if (r < 0)
        return naru__fail(r, "%s has no segments: %s", o->url, naru__errno_text(r));
    if (high > current)
        high = current < low ? low : current;
    *ret_last = high;
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2, whole = middle;
        r = next_segment(o, &whole, high, &s);
        if (r == -ENOENT) { /* trimmed meanwhile, or damaged */
            high = middle - 1;
            continue;
        }
        if (r < 0)
            return r;
        if (s.first > sequence)
            high = middle - 1;
        else
            low = whole;
        naru__segment_close(&s);
    }
    r = next_segment(o, &low, *ret_last, ret_segment);
    return r == -ENOENT
               ? naru__fail(-EAGAIN, "%s: its segments go while they are looked for", o->url)
               : r;
}

static bool at_sequence(const struct naru_record *r, uint64_t sequence)
{
    return r->sequence >= sequence;
}

/* Goes along from a segment's front until `until` says so, or nothing more counts. What is damaged
 * is passed over: whoever reads there is told. So who asks for a sequence that is begins there. */
static int walk(const struct naru_object *o, struct map_segment *s, uint64_t last,
                bool (*until)(const struct naru_record *, uint64_t), uint64_t arg,
                uint64_t *ret_place, uint64_t *ret_sequence)
{
    const struct naru_journal_state *state = (const void *)o->state->kind;
    uint64_t at = NARU_SEGMENT_RECORDS_AT, sequence = s->first, hole = 0, lost = 0;
    /* acquire: pairs with the store in append.c: what counts is written */
    uint64_t committed = atomic_load_explicit(&state->committed, memory_order_acquire);
    while (sequence <= committed) {
        const struct naru_record *r = (const void *)(s->memory + at);
        bool whole = naru__record_check(s->memory, s->size, at, s->seed, sequence);
        uint64_t next = 0;
        if (!whole) {
            next = naru__record_search(s->memory, s->size, at, s->seed, sequence);
            lost = hole ? lost : sequence;
            hole = hole ? hole : naru__place(s->number, at);
        }
        if (whole && r->type != 0) {
            if (until(r, arg)) {
                bool covers = hole && until == at_sequence && sequence > arg;
                *ret_place = covers ? hole : naru__place(s->number, at);
                *ret_sequence = covers ? lost : sequence;
                return 0;
            }
            hole = 0;
            at += naru__record_room(r->size);
            sequence++;
        } else if (next) {
            at = next;
            sequence = ((const struct naru_record *)(const void *)(s->memory + at))->sequence;
        } else {
            uint64_t number = s->number + 1, place = naru__place(s->number, at);
            naru__segment_close(s);
            int code = next_segment(o, &number, last, s);
            if (code == -ENOENT) { /* it was the last one */
                *ret_place = place;
                *ret_sequence = sequence;
                return 0;
            }
            if (code < 0)
                return code;
            at = NARU_SEGMENT_RECORDS_AT;
            sequence = s->first;
        }
    }
    *ret_place = naru__place(s->number, at);
    *ret_sequence = sequence;
    return 0;
}

static bool at_time(const struct naru_record *r, uint64_t since)
{
    return r->time >= since;
}

int naru__journal_find(const struct naru_object *o, uint64_t sequence, uint64_t *ret_place,
                       uint64_t *ret_sequence)
{
    struct map_segment s = {.fd = NARU__NO_FD};
    uint64_t last;
    int r = find_segment(o, sequence, &s, &last);
    if (r == 0)
        r = walk(o, &s, last, at_sequence, sequence, ret_place, ret_sequence);
    naru__segment_close(&s);
    return r;
}

/* Times need not rise with sequences, for clocks are set: the first that is not older counts. */
int naru__journal_find_time(const struct naru_object *o, int64_t since, uint64_t *ret_place,
                            uint64_t *ret_sequence)
{
    struct map_segment s = {.fd = NARU__NO_FD};
    uint64_t last;
    int r = find_segment(o, 0, &s, &last);
    if (r == 0)
        r = walk(o, &s, last, at_time, (uint64_t)since, ret_place, ret_sequence);
    naru__segment_close(&s);
    return r;
}
