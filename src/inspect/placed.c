/* SPDX-License-Identifier: MIT */
/* placed.c - locks that lie in a file, most often a region's, which keeps no list of them.
 *
 * Those that somebody takes part in the kernel knows: a participant holds a lock on a byte of the
 * file, far behind all others, whose place says where the lock lies (shm/object.h). The others are
 * told by their headers, at multiples of their alignment, in what the file holds: holes are not
 * looked at, and of a large file the first part alone. A header counts if an opener would take it;
 * all else that is read is believed as little as in other objects. */
#include "inspect/snapshot.h"

#include "base/error.h"
#include "base/memory.h"
#include "object/object.h"
#include "object/view.h"
#include "os/fd.h"
#include "os/file.h"
#include "shm/lock.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 128, LOCKS_MAX = 1024, ASKED_MAX = 4096, PARTS_MAX = 16384, BLOCK = 1 << 16 };
static const uint64_t searched_most = UINT64_C(256) << 20;

struct placed {
    int file;
    uint64_t size;
    uint64_t at[LOCKS_MAX]; /* rising */
    size_t n;
    bool whole; /* nothing was passed over */
};

/* Where it ends; 0: no lock lies there. */
static uint64_t end_of(const struct placed *p, uint64_t at)
{
    struct naru_object_meta m;
    if (at % ALIGN || at >= p->size || naru__os_read_at(p->file, &m, sizeof m, at) < 0 ||
        m.magic != NARU_OBJECT_MAGIC || m.version != NARU_OBJECT_VERSION ||
        m.what < NARU_OBJECT_SEMAPHORE || m.what > NARU_OBJECT_BARRIER ||
        m.signature != NARU_LOCK_VERSION || m.members_max == 0 ||
        m.members_max > NARU_LOCK_MEMBERS_MAX || naru__object_bytes(m.members_max) > p->size - at)
        return 0;
    return at + naru__object_bytes(m.members_max);
}

static void note(struct placed *p, uint64_t at)
{
    size_t i = p->n;
    while (i > 0 && p->at[i - 1] > at)
        i--;
    if (i > 0 && p->at[i - 1] == at)
        return;
    if (p->n == LOCKS_MAX) {
        p->whole = false;
        return;
    }
    memmove(&p->at[i + 1], &p->at[i], (p->n - i) * sizeof *p->at);
    p->at[i] = at;
    p->n++;
}

/* ---- those that are in use ---- */

/* The nearest header before the byte that somebody has locked. */
static bool header_of(const struct placed *p, uint64_t byte, uint64_t *ret_at)
{
    enum { WINDOW = NARU_OBJECT_MEMBERS_AT };
    unsigned char near[WINDOW + ALIGN];
    uint64_t last = byte / ALIGN * ALIGN, first = last < WINDOW ? 0 : last - WINDOW + ALIGN, magic;
    ssize_t got = naru__os_read_some_at(p->file, near, (size_t)(last - first) + ALIGN, first);
    for (uint64_t n = (last - first) / ALIGN + 1; n-- > 0;) {
        if ((int64_t)(n * ALIGN + sizeof magic) > got)
            continue;
        memcpy(&magic, near + n * ALIGN, sizeof magic);
        *ret_at = first + n * ALIGN;
        if (magic == NARU_OBJECT_MAGIC && end_of(p, *ret_at))
            return true;
    }
    return false;
}

/* One question a lock, and one a part of the file in which there is none: the larger part waits, so
 * that never more than 64 do. */
static void find_used(struct placed *p)
{
    struct {
        uint64_t from, to;
    } later[64];
    size_t n = 0;
    uint64_t from = 0, to = p->size, byte, at;
    for (int asked = 0;; asked++) {
        if (asked == ASKED_MAX) {
            p->whole = false;
            return;
        }
        if (from >= to || naru__os_lock_find(p->file, NARU_OBJECT_REGION_LIFE_AT + from,
                                             NARU_OBJECT_REGION_LIFE_AT + to, &byte) <= 0) {
            if (n == 0)
                return;
            from = later[--n].from;
            to = later[n].to;
            continue;
        }
        byte -= NARU_OBJECT_REGION_LIFE_AT;
        uint64_t before = byte, behind = byte + 1;
        if (header_of(p, byte, &at)) {
            note(p, at);
            before = at;
            behind = at + NARU_OBJECT_MEMBERS_AT; /* whatever is locked of it */
        }
        behind = behind < to ? behind : to;
        before = before > from ? before : from;
        bool first = before - from <= to - behind;
        later[n].from = first ? behind : from;
        later[n++].to = first ? to : before;
        from = first ? from : behind;
        to = first ? before : to;
    }
}

/* ---- all ---- */

static int search(struct placed *p)
{
    uint64_t left = searched_most, from = 0, to;
    unsigned char *block = naru__alloc(BLOCK);
    if (!block)
        return -ENOMEM;
    for (uint64_t at = 0; at < p->size && naru__os_data_from(p->file, at, &from, &to) == 0;) {
        ssize_t got = 0;
        for (at = at > from ? at : from / ALIGN * ALIGN; at < to && left > 0;) {
            got = naru__os_read_some_at(p->file, block, BLOCK, at);
            if (got < ALIGN)
                break;
            uint64_t end = at + (uint64_t)got / ALIGN * ALIGN, next = at;
            left -= left < (uint64_t)got ? left : (uint64_t)got;
            while (next < end) {
                uint64_t magic, lock = 0;
                memcpy(&magic, block + (next - at), sizeof magic);
                if (magic == NARU_OBJECT_MAGIC && (lock = end_of(p, next)))
                    note(p, next);
                next = lock ? (lock + ALIGN - 1) / ALIGN * ALIGN : next + ALIGN;
            }
            at = next;
        }
        if (at < to && got < ALIGN) /* it has become shorter */
            break;
        if (at < to)
            p->whole = false;
        if (left == 0)
            break;
    }
    free(block);
    return 0;
}

/* ---- views ---- */

static int show(naru_snapshot *s, const struct placed *p, const char *url, uint64_t at,
                uint32_t *parts)
{
    char text[PATH_MAX + 40];
    struct naru_object_view v;
    snprintf(text, sizeof text, "%.*s at %" PRIu64, PATH_MAX, url, at);
    int r = naru__object_view_at(text, p->file, at, &v);
    if (r < 0)
        return r == -ENOMEM || r == -EMFILE || r == -ENFILE ? r : 0; /* it has just gone */
    if (at == 0 && v.meta.flags & NARU_OBJECT_WHOLE_FILE)
        v.url = url;
    bool brief = v.n > *parts;
    *parts -= brief ? 0 : v.n;
    r = naru__look_at_view(s, &v, naru__object_bytes(v.meta.members_max), brief);
    naru__object_view_close(&v);
    return r == -EPROTO ? 0 : r; /* its view says so, and hides no others */
}

int naru__look_at_locks_in(naru_snapshot *s, int file, const char *url, bool all,
                           struct naru_placed *ret_placed)
{
    struct stat st;
    struct placed *p = naru__alloc(sizeof *p);
    uint32_t parts = PARTS_MAX;
    if (!p)
        return -ENOMEM;
    int r = naru__os_fstat(file, &st);
    *p = (struct placed){.file = file, .size = r < 0 ? 0 : (uint64_t)st.st_size, .whole = true};
    if (p->size >= NARU_OBJECT_MEMBERS_AT)
        find_used(p);
    r = all && p->size >= NARU_OBJECT_MEMBERS_AT ? search(p) : 0;
    for (size_t i = 0; r == 0 && i < p->n; i++)
        r = show(s, p, url, p->at[i], &parts);
    *ret_placed = (struct naru_placed){p->n, p->whole};
    free(p);
    return r;
}
