/* SPDX-License-Identifier: MIT */
/* lane-view.c - a lane read from outside. */
#include "inspect/lane-view.h"

#include "base/error.h"
#include "os/fd.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

static int open_file(const struct naru_object_view *v, const char *kind, uint32_t i,
                     uint64_t *ret_size)
{
    char name[24];
    struct stat st;
    snprintf(name, sizeof name, "%s-%" PRIu32, kind, i);
    int fd = naru__os_open_at(v->directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    int r = fd < 0 ? fd : naru__os_fstat(fd, &st);
    if (r == 0 && !S_ISREG(st.st_mode))
        r = -EPROTO;
    if (r < 0) {
        naru__os_close(fd);
        return r;
    }
    *ret_size = (uint64_t)st.st_size;
    return fd;
}

int naru__lane_view_slots(const struct lane_view *l, uint64_t at, uint64_t n,
                          struct naru_lane_slot *slots)
{
    return naru__os_read_at(l->file, slots, n * sizeof *slots,
                            NARU_LANE_SLOTS_AT + at * sizeof *slots);
}

int naru__lane_view_words(const struct lane_view *l, uint64_t at, uint64_t n, uint64_t *words)
{
    return naru__os_read_at(l->claims, words, n * sizeof *words,
                            NARU_LANE_WORDS_AT + at * sizeof *words);
}

/* Along the stamps from where the hint points, which may be laps behind; a sender that goes on
 * meanwhile is not chased for ever. */
static int find_next(struct lane_view *l, uint64_t hint)
{
    enum { CHUNK = 64 };
    struct naru_lane_slot slots[CHUNK];
    uint64_t mask = l->header.slots - 1;
    l->next = hint ? hint : 1;
    for (uint64_t looks = 0; looks <= 2 * (mask + 1);) {
        uint64_t at = (l->next - 1) & mask, n = mask + 1 - at < CHUNK ? mask + 1 - at : CHUNK;
        int r = naru__lane_view_slots(l, at, n, slots);
        if (r < 0)
            return r;
        for (uint64_t k = 0; k < n && ((l->next - 1) & mask) == at + k; k++, looks++) {
            uint64_t stamp =
                atomic_load_explicit(&slots[k].stamp, memory_order_relaxed) & ~NARU_LANE_SKIP;
            if (stamp < l->next)
                return 0;
            l->next = stamp + 1;
        }
    }
    return 0;
}

static int read_lane(const struct naru_object_view *v, uint64_t size, struct lane_view *l,
                     const char **ret_wrong)
{
    struct naru_lane_hints hints;
    int r = naru__os_read_at(l->file, &l->header, sizeof l->header, 0);
    if (r < 0)
        return r;
    *ret_wrong = naru__lane_check(&l->header, size);
    if (!*ret_wrong && (l->header.slots != v->meta.option[LANES_SLOTS] ||
                        l->header.area != v->meta.option[LANES_AREA]))
        *ret_wrong = "it has another size than the object says";
    if (*ret_wrong)
        return -EPROTO;
    r = naru__os_read_at(l->file, &hints, sizeof hints, sizeof l->header);
    if (r == 0)
        r = find_next(l, atomic_load_explicit(&hints.next, memory_order_relaxed));
    uint64_t freed = atomic_load_explicit(&hints.freed, memory_order_relaxed);
    uint64_t least = l->next > l->header.slots ? l->next - l->header.slots : 1;
    l->oldest = freed + 1 > least && freed < l->next ? freed + 1 : least;
    return r;
}

int naru__lane_view(const struct naru_object_view *v, uint32_t i, struct lane_view *ret_lane)
{
    struct lane_view l = {.file = NARU__NO_FD, .claims = NARU__NO_FD};
    const char *wrong = NULL;
    uint64_t size = 0, claims = 0;
    int r = l.file = open_file(v, "lane", i, &size);
    if (r >= 0 && v->meta.what == NARU_OBJECT_QUEUE)
        r = l.claims = open_file(v, "claims", i, &claims);
    if (r == -ENOENT) { /* it is just made, or removed */
        naru__lane_view_close(&l);
        return 1;
    }
    if (r >= 0)
        r = read_lane(v, size, &l, &wrong);
    if (r == 0 && l.claims >= 0 && claims < naru__lane_claims_size(l.header.slots)) {
        wrong = "its claims are too short";
        r = -EPROTO;
    }
    if (r < 0) {
        naru__lane_view_close(&l);
        return naru__fail(r, "%s: the lane of participant %" PRIu32 " cannot be read: %s", v->url,
                          i, wrong ? wrong : naru__errno_text(r));
    }
    *ret_lane = l;
    return 0;
}

void naru__lane_view_close(struct lane_view *l)
{
    l->file = naru__os_close(l->file);
    l->claims = naru__os_close(l->claims);
}
