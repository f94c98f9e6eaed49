/* SPDX-License-Identifier: MIT */
/* segments.c - messages that are larger than a quarter of their lane's area: each has a file of its
 * own, `segment-I-K`, filled before it is published, kept for the next when it is done with. An id
 * is never used for another file, so a mapping that a receiver has kept is always the right one. */
#include "transport/shm/lanes.h"

#include "base/error.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST = 64 << 10, IDLE = 4 };

static void name_of(char name[40], uint32_t lane, uint32_t id)
{
    snprintf(name, 40, "segment-%" PRIu32 "-%" PRIu32, lane, id);
}

/* ---- the sender's ---- */

static void drop(struct shm_lanes *e, struct lanes_pooled *p)
{
    char name[40];
    name_of(name, e->object.member, p->id);
    (void)naru__os_unlink_at(e->object.directory, name);
    naru__lanes_unmap(&p->map);
    *p = (struct lanes_pooled){0};
}

static struct lanes_pooled *pooled(struct shm_lanes *e, uint32_t id)
{
    for (size_t i = 0; i < LANES_POOL; i++)
        if (e->pool[i].id == id)
            return &e->pool[i];
    return NULL;
}

static void drop_idle(struct shm_lanes *e, unsigned leave)
{
    unsigned idle = 0;
    for (size_t i = 0; i < LANES_POOL; i++)
        if (e->pool[i].id && !e->pool[i].busy && ++idle > leave)
            drop(e, &e->pool[i]);
}

void naru__segment_free(void *lanes, uint32_t id)
{
    struct shm_lanes *e = lanes;
    struct lanes_pooled *p = pooled(e, id);
    if (!p)
        return;
    p->busy = false;
    if (p->map.memory)
        drop_idle(e, IDLE);
    else
        drop(e, p); /* a former sender's */
}

void naru__segment_in_use(void *lanes, uint32_t id)
{
    struct shm_lanes *e = lanes;
    struct lanes_pooled *p = pooled(e, 0);
    if (p)
        *p = (struct lanes_pooled){.id = id, .busy = true};
}

static uint64_t on_their_way(const struct shm_lanes *e, unsigned *ret_n)
{
    uint64_t bytes = 0;
    unsigned n = 0;
    for (size_t i = 0; i < LANES_POOL; i++)
        if (e->pool[i].busy) {
            bytes += e->pool[i].map.size;
            n++;
        }
    *ret_n = n;
    return bytes;
}

static struct lanes_pooled *fitting(struct shm_lanes *e, uint64_t n)
{
    struct lanes_pooled *best = NULL;
    for (size_t i = 0; i < LANES_POOL; i++) {
        struct lanes_pooled *p = &e->pool[i];
        if (p->id && !p->busy && p->map.size >= n && (!best || p->map.size < best->map.size))
            best = p;
    }
    return best;
}

static int make(struct shm_lanes *e, uint64_t n, struct lanes_pooled *p)
{
    char name[40];
    uint64_t size = LEAST;
    while (size < n)
        size *= 2;
    struct naru_lane_hints *hints = &e->tx.file->hints;
    uint32_t id = (uint32_t)atomic_load_explicit(&hints->segment, memory_order_relaxed) + 1;
    id += id == 0;
    /* relaxed: the lane's next sender alone reads it; before there is a file of that name */
    atomic_store_explicit(&hints->segment, id, memory_order_relaxed);
    name_of(name, e->object.member, id);
    int fd = naru__object_file(&e->object, name, size);
    if (fd < 0)
        return fd;
    int r = naru__os_map(fd, size, true, &p->map.memory);
    naru__os_close(fd);
    if (r < 0) {
        (void)naru__os_unlink_at(e->object.directory, name);
        return naru__fail(r, "%s: a message of %s cannot be mapped: %s%s", lanes_name(e),
                          naru__size_text(n).text, naru__errno_text(r),
                          naru__lanes_limit(r, size).text);
    }
    p->map.size = size;
    p->id = id;
    return 0;
}

int naru__segment_get(struct shm_lanes *e, uint64_t n, uint32_t *ret_id, void **ret_memory)
{
    unsigned busy;
    uint64_t bytes = on_their_way(e, &busy), most = 2 * (e->plan.file + n);
    if (busy >= 2 && (bytes + n > most || busy >= LANES_POOL - IDLE))
        return -EAGAIN;
    struct lanes_pooled *p = fitting(e, n);
    if (!p) {
        drop_idle(e, IDLE - 1);
        p = pooled(e, 0);
        int r = p ? make(e, n, p) : -EAGAIN;
        if (r == -ENOSPC) { /* what lies idle may be what is missing */
            drop_idle(e, 0);
            r = make(e, n, p);
        }
        if (r < 0)
            return r;
    }
    *ret_id = p->id;
    *ret_memory = p->map.memory;
    p->busy = true;
    return 0;
}

void naru__segments_close(struct shm_lanes *e)
{
    for (size_t i = 0; i < LANES_POOL; i++) {
        struct lanes_pooled *p = &e->pool[i];
        if (p->id && !p->busy && naru__is_owner(&e->channel.handle))
            drop(e, p);
        naru__lanes_unmap(&p->map);
    }
}

static int sweep_one(void *arg, const char *name)
{
    struct shm_lanes *e = arg;
    uint32_t lane, id;
    int end = 0;
    if (sscanf(name, "segment-%" SCNu32 "-%" SCNu32 "%n", &lane, &id, &end) != 2 || name[end] ||
        lane != e->object.member)
        return 0;
    if (!pooled(e, id))
        (void)naru__os_unlink_at(e->object.directory, name);
    return 0;
}

void naru__segments_sweep(struct shm_lanes *e)
{
    (void)naru__os_list(e->object.directory, true, sweep_one, e);
}

/* ---- the receiver's ---- */

static struct lanes_segment *place_for(struct shm_lanes *e)
{
    struct lanes_segment *oldest = NULL;
    for (size_t i = 0; i < LANES_SEGMENTS; i++) {
        struct lanes_segment *s = &e->segment[i];
        if (s->id == 0)
            return s;
        if (s->users == 0 && (!oldest || s->used < oldest->used))
            oldest = s;
    }
    if (oldest)
        naru__lanes_unmap(&oldest->map);
    return oldest;
}

int naru__segment_see(struct shm_lanes *e, uint32_t lane, uint32_t id, uint64_t n,
                      const uint8_t **ret_data, uint32_t *ret_place)
{
    char name[40];
    struct lanes_segment *s = NULL;
    for (size_t i = 0; i < LANES_SEGMENTS && !s; i++)
        if (e->segment[i].id == id && e->segment[i].lane == lane)
            s = &e->segment[i];
    if (!s) {
        s = place_for(e);
        if (!s)
            return -ENOBUFS;
        *s = (struct lanes_segment){0};
        name_of(name, lane, id);
        int r = naru__lanes_map(&e->object, name, 0, false, &s->map);
        if (r < 0)
            return r;
        s->lane = lane;
        s->id = id;
    }
    if (s->map.size < n)
        return -EPROTO;
    s->used = ++e->takes;
    s->users++;
    *ret_data = s->map.memory;
    *ret_place = (uint32_t)(s - e->segment) + 1;
    return 0;
}

void naru__segment_put(struct shm_lanes *e, uint32_t place)
{
    if (place)
        e->segment[place - 1].users--;
}

void naru__segment_done(struct shm_lanes *e, uint32_t place, uint32_t sender)
{
    char name[40];
    if (!place)
        return;
    const struct lanes_segment *s = &e->segment[place - 1];
    /* acquire: pairs with the release in naru__object_appear and _leave */
    uint64_t who = atomic_load_explicit(&e->object.members[s->lane].who, memory_order_acquire);
    if (!(naru__member_role(who) & LANES_SEND) ||
        naru__lanes_sender_id(who >> 16, s->lane) != sender) {
        name_of(name, s->lane, s->id);
        (void)naru__os_unlink_at(e->object.directory, name);
    }
    naru__segment_put(e, place);
}

void naru__segments_forget(struct shm_lanes *e, uint32_t lane)
{
    for (size_t i = 0; i < LANES_SEGMENTS; i++) {
        struct lanes_segment *s = &e->segment[i];
        if (lane != NARU_LANES_MAX && (s->lane != lane || s->users > 0))
            continue;
        naru__lanes_unmap(&s->map);
        s->id = 0;
    }
}
