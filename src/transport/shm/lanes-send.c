/* SPDX-License-Identifier: MIT */
/* lanes-send.c - the sending half of a queue or topic in shared memory. A message of up to 96 bytes
 * lies in its slot, up to a quarter of the area there, a larger one in a segment. Nothing is
 * published before it is whole. Only the sending thread comes here, or whoever has guard[1]. */
#include "transport/shm/lanes.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/file.h"
#include "os/process.h"
#include "os/socket.h"
#include "shm/ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- this sender's lane ---- */

/* A lane and its claims have their names once they are whole, the claims first: so whoever opens a
 * lane, its claims, and then finds that it is not gone, has the two that belong together. */
static int make_lane(struct shm_lanes *e, const char *lane, const char *claims)
{
    char new_lane[32], new_claims[32];
    snprintf(new_lane, sizeof new_lane, "new-%s", lane);
    snprintf(new_claims, sizeof new_claims, "new-%s", claims);
    const struct naru_object *o = &e->object;
    int r = naru__lanes_make(o, new_lane, "lane", e->plan.file, &e->lane);
    if (r == 0 && !e->topic)
        r = naru__lanes_make(o, new_claims, "claims", naru__lane_claims_size(e->plan.slots),
                             &e->claims);
    if (r == 0) {
        naru__lane_begin(e->lane.memory, &e->plan, e->claims.memory, e->before + 1);
        r = e->topic ? 0 : naru__lanes_name(o, new_claims, claims);
    }
    if (r == 0)
        r = naru__lanes_name(o, new_lane, lane);
    if (r < 0) {
        (void)naru__os_unlink_at(o->directory, new_claims);
        (void)naru__os_unlink_at(o->directory, new_lane);
    }
    return r;
}

/* Its own word counts, and not its bit, which a maker that died may have left unsaid. 1: there is
 * none, or it is gone and whoever took it away has not come to the end. */
static int map_left(struct shm_lanes *e, const char *lane, const char *claims)
{
    int r = naru__lanes_map(&e->object, lane, e->plan.file, true, &e->lane);
    if (r == 0 && !e->topic)
        r = naru__lanes_map(&e->object, claims, naru__lane_claims_size(e->plan.slots), false,
                            &e->claims);
    if (r == -ENOENT && !naru__lanes_exists(e, e->object.member)) {
        naru__lanes_unmap(&e->lane);
        return 1;
    }
    if (r < 0)
        return naru__fail(r, "%s: a former sender's lane cannot be mapped: %s%s", lanes_name(e),
                          naru__errno_text(r), naru__lanes_limit(r, e->plan.file).text);
    const struct naru_lane_file *file = e->lane.memory;
    const char *wrong = naru__lane_check(&file->header, e->lane.size);
    if (!wrong && memcmp(&file->header, &e->plan, sizeof e->plan) != 0)
        wrong = "it has another size than the object says";
    if (wrong)
        return naru__fail(-EPROTO, "%s: a former sender's lane is refused: %s", lanes_name(e),
                          wrong);
    /* relaxed: this sender has the record's lock, as whoever set it had */
    if (!atomic_load_explicit(&file->hints.gone, memory_order_relaxed))
        return 0;
    naru__lanes_unmap(&e->lane);
    naru__lanes_unmap(&e->claims);
    return 1;
}

int naru__lanes_adopt(struct shm_lanes *e)
{
    e->blocks = naru__alloc(e->plan.slots * sizeof *e->blocks);
    if (!e->blocks)
        return -ENOMEM;
    naru__lane_sender(&e->tx, e->lane.memory, &e->plan, e->claims.memory, e->blocks,
                      naru__segment_in_use, e);
    return 0;
}

int naru__lanes_open_sender(struct shm_lanes *e)
{
    char lane[24], claims[24];
    uint32_t i = e->object.member;
    snprintf(lane, sizeof lane, "lane-%" PRIu32, i);
    snprintf(claims, sizeof claims, "claims-%" PRIu32, i);
    uint64_t next = atomic_load_explicit(&e->state->next[i], memory_order_relaxed);
    e->before = next > 1 ? next - 1 : 0;
    int r = map_left(e, lane, claims);
    bool adopted = r == 0;
    if (r > 0)
        r = make_lane(e, lane, claims);
    if (r == 0)
        r = naru__lanes_adopt(e);
    if (r < 0)
        return r;
    /* release: pairs with the acquire of whoever looks for lanes: it has its name */
    atomic_fetch_or_explicit(&e->state->lanes[i / 64], UINT64_C(1) << (i % 64),
                             memory_order_release);
    e->tx.free_segment = naru__segment_free;
    e->tx.keep = e->object.meta.option[LANES_HISTORY];
    e->tx.sender = naru__lanes_sender_id(e->object.generation, e->object.member);
    if (adopted)
        naru__segments_sweep(e);
    if (e->topic) {
        e->subscriber = naru__alloc(NARU_LANES_MAX * sizeof *e->subscriber);
        if (!e->subscriber)
            return -ENOMEM;
        e->epoch_out = atomic_load(&e->object.state->epoch) - 1;
    }
    return 0;
}

void naru__lanes_close_sender(struct shm_lanes *e)
{
    if (e->blocks && naru__is_owner(&e->channel.handle) && !e->topic)
        (void)naru__lane_left(&e->tx); /* frees those that are done with */
    if (e->lane.memory)
        naru__segments_close(e);
    if (e->subscriber)
        for (size_t i = 0; i < NARU_LANES_MAX; i++)
            naru__lanes_unmap(&e->subscriber[i].cursors);
    free(e->subscriber);
    free(e->blocks);
    naru__lanes_unmap(&e->lane);
    naru__lanes_unmap(&e->claims);
}

/* ---- whom a publisher waits for ---- */

/* The last number of this lane that subscriber i is done with; UINT64_MAX: it holds nobody back. */
static uint64_t done_by(struct shm_lanes *e, uint32_t i)
{
    char name[24];
    /* acquire: pairs with the release in naru__object_appear: its cursors are set by then */
    uint64_t who = atomic_load_explicit(&e->object.members[i].who, memory_order_acquire);
    if (!(naru__member_role(who) & LANES_RECV) || naru__member_role(who) & LANES_LOSSY)
        return UINT64_MAX;
    if (e->subscriber[i].who != who) {
        naru__lanes_unmap(&e->subscriber[i].cursors);
        snprintf(name, sizeof name, "cursor-%" PRIu32, i);
        if (naru__lanes_map(&e->object, name, sizeof(struct naru_lane_cursors), false,
                            &e->subscriber[i].cursors) < 0)
            return 0; /* not now; whoever removes it takes it from the members first */
        e->subscriber[i].who = who;
    }
    const struct naru_lane_cursors *c = e->subscriber[i].cursors.memory;
    /* acquire: pairs with the release in naru__lanes_release: it has read what is overwritten */
    uint64_t done = atomic_load_explicit(&c->done[e->object.member], memory_order_acquire);
    return done > e->before ? done : e->before;
}

/* ret_slowest: who it is; NARU_LANES_MAX: nobody. */
static uint64_t lowest(struct shm_lanes *e, uint32_t *ret_slowest)
{
    uint64_t limit = e->tx.next - 1;
    *ret_slowest = NARU_LANES_MAX;
    for (uint32_t i = 0, n = naru__object_members(&e->object); i < n; i++) {
        uint64_t done = done_by(e, i);
        if (done < limit) {
            limit = done;
            *ret_slowest = i;
        }
    }
    return limit;
}

/* A publisher that sees a new epoch before each message can have at most one on its way that a new
 * subscriber does not hold back: naru__lanes_subscribe counts on that. */
static void look_at_subscribers(struct shm_lanes *e)
{
    uint32_t slowest;
    /* acquire: pairs with the release in naru__object_changed() */
    uint32_t epoch = atomic_load_explicit(&e->object.state->epoch, memory_order_acquire);
    if (__builtin_expect(epoch == e->epoch_out, 1))
        return;
    e->tx.limit = lowest(e, &slowest);
    e->epoch_out = epoch;
}

static bool raise_limit(struct shm_lanes *e)
{
    uint32_t slowest;
    uint64_t before = e->tx.limit;
    e->tx.limit = lowest(e, &slowest);
    return e->tx.limit > before;
}

/* ---- room ---- */

static uint64_t within(const struct shm_lanes *e)
{
    return e->plan.area / 4;
}

bool naru__lanes_moved(struct shm_lanes *e)
{
    uint32_t slowest;
    return e->topic ? lowest(e, &slowest) > e->tx.limit : naru__lane_moved(&e->tx);
}

static bool room(struct shm_lanes *e, uint64_t n, uint64_t *ret_at)
{
    if (e->topic)
        look_at_subscribers(e);
    return naru__lane_room(&e->tx, n, ret_at) ||
           (e->topic && raise_limit(e) && naru__lane_room(&e->tx, n, ret_at));
}

bool naru__lanes_has_room(struct shm_lanes *e)
{
    uint64_t at;
    return room(e, within(e), &at);
}

/* Who stands in the way, when the time has passed. */
static int still_full(struct shm_lanes *e, int code)
{
    char program[32] = "";
    uint32_t i = NARU_LANES_MAX;
    if (e->topic)
        (void)lowest(e, &i);
    if (i == NARU_LANES_MAX)
        return naru__fail(code, "%s: full: %" PRIu64 " messages of this sender wait for a receiver",
                          lanes_name(e), naru__lane_left(&e->tx));
    pid_t pid = (pid_t)atomic_load(&e->object.members[i].pid);
    naru__os_program_of(pid, program, sizeof program);
    return naru__fail(code, "%s: full: subscriber %d (%s)%s has not received the last %" PRIu64,
                      lanes_name(e), (int)pid, program,
                      naru__os_is_stopped(pid) ? ", which is stopped," : "",
                      e->tx.next - 1 - done_by(e, i));
}

static int wait_for_room(struct shm_lanes *e, struct naru_wait *w)
{
    int r = naru__lanes_wait(e, w, false);
    return r == -ETIMEDOUT || r == -EAGAIN ? still_full(e, r) : r;
}

static int await_room(struct shm_lanes *e, uint64_t n, uint64_t *ret_at, int64_t deadline)
{
    struct naru_wait w = naru__wait_begin(&e->channel.handle, NARU_OUT, deadline);
    int r = 0;
    while (r == 0 && !room(e, n, ret_at))
        r = wait_for_room(e, &w);
    naru__wait_done(&w);
    return r;
}

/* A segment, if need be one of a message that is done with, or of a topic's oldest. */
static int get_segment(struct shm_lanes *e, uint64_t n, uint32_t *ret_id, void **ret_memory)
{
    int r = naru__segment_get(e, n, ret_id, ret_memory);
    if (r == -EAGAIN && e->topic)
        (void)raise_limit(e);
    while (r == -EAGAIN && naru__lane_advance(&e->tx))
        r = naru__segment_get(e, n, ret_id, ret_memory);
    return r;
}

static int await_segment(struct shm_lanes *e, uint64_t n, uint32_t *ret_id, void **ret_memory,
                         int64_t deadline)
{
    struct naru_wait w = naru__wait_begin(&e->channel.handle, NARU_OUT, deadline);
    uint64_t at;
    int r = await_room(e, 0, &at, deadline);
    while (r == 0 && (r = get_segment(e, n, ret_id, ret_memory)) == -EAGAIN)
        r = wait_for_room(e, &w);
    naru__wait_done(&w);
    return r;
}

/* ---- messages ---- */

static int send_large(struct shm_lanes *e, const struct naru_outgoing *out, int64_t deadline)
{
    struct naru_lane_outgoing m = {
        .type = out->type, .signature = out->signature, .size = out->size};
    void *memory;
    if (out->size > within(e)) {
        int r = await_segment(e, out->size, &m.segment, &memory, deadline);
        if (r < 0)
            return r;
    } else {
        int r = await_room(e, out->size, &m.at, deadline);
        if (r < 0)
            return r;
        memory = e->tx.area + m.at;
    }
    naru__gather(out, 0, memory, out->size);
    naru__lane_publish(&e->tx, &m);
    return 0;
}

/* Publishes; nobody is woken yet. */
static int send_one(struct shm_lanes *e, const struct naru_outgoing *out, int64_t deadline)
{
    uint64_t at;
    if (out->size > NARU_LANE_INLINE)
        return send_large(e, out, deadline);
    if (e->topic)
        look_at_subscribers(e);
    if (__builtin_expect(!naru__lane_has_slot(&e->tx), 0)) {
        int r = await_room(e, 0, &at, deadline);
        if (r < 0)
            return r;
    }
    uint8_t *data = naru__lane_slot(&e->tx)->data;
    if (out->n == 1)
        naru__ring_copy(data, out->vector->iov_base, out->size);
    else
        naru__gather(out, 0, data, out->size);
    naru__lane_publish_small(&e->tx, out->type, out->signature, (uint32_t)out->size);
    return 0;
}

/* How many wait: looked at seldom, for it reads what receivers write. */
static void sample(struct shm_lanes *e)
{
    uint32_t slowest;
    uint64_t last = e->tx.next - 1;
    uint64_t waiting = e->topic ? last - lowest(e, &slowest) : naru__lane_waiting(&e->tx);
    if (waiting > e->high_water) {
        e->high_water = waiting;
        naru__lanes_tell(e, LANES_COUNT_HIGH_WATER, waiting);
    }
    e->sample_at = e->tx.next + (e->tx.sequence < 64 ? e->tx.sequence : 64);
}

static void sent(struct shm_lanes *e, uint64_t n, uint64_t bytes)
{
    naru__lanes_wake_receivers(e);
    naru__count(&e->channel.handle.counts.sent, n);
    naru__lanes_tell(e, LANES_COUNT_SENT,
                     atomic_load_explicit(&e->channel.handle.counts.sent, memory_order_relaxed));
    if (__builtin_expect(e->tx.next >= e->sample_at, 0))
        sample(e);
    naru__count(&e->channel.handle.counts.bytes_sent, bytes);
}

int naru__lanes_send(naru_channel *channel, const struct naru_outgoing *out, int64_t deadline)
{
    struct shm_lanes *e = lanes_of(channel);
    naru__lanes_lock(e, 1);
    int r = naru__lanes_check(e);
    if (r == 0)
        r = send_one(e, out, deadline);
    if (r == 0)
        sent(e, 1, out->size);
    naru__lanes_unlock(e, 1);
    return r;
}

ssize_t naru__lanes_send_many(naru_channel *channel, const struct naru_message *m, size_t n,
                              int64_t deadline)
{
    struct shm_lanes *e = lanes_of(channel);
    naru__lanes_lock(e, 1);
    uint64_t bytes = 0;
    size_t i = 0;
    int r = naru__lanes_check(e);
    for (; i < n && r == 0; i++) {
        const struct iovec one = {m[i].data, m[i].size};
        r = send_one(e, &(struct naru_outgoing){m[i].info.type, 0, &one, 1, m[i].size},
                     i == 0 ? deadline : NARU__AT_ONCE);
        if (r == -EAGAIN && i > 0 && deadline != NARU__AT_ONCE) { /* let them come for these */
            naru__lanes_wake_receivers(e);
            r = send_one(e, &(struct naru_outgoing){m[i].info.type, 0, &one, 1, m[i].size},
                         deadline);
        }
        if (r < 0)
            break;
        bytes += m[i].size;
    }
    if (i > 0)
        sent(e, i, bytes);
    naru__lanes_unlock(e, 1);
    return i > 0 ? (ssize_t)i : r;
}

/* ---- in place ---- */

int naru__lanes_reserve(naru_channel *channel, size_t size, int64_t deadline, void **ret_data)
{
    struct shm_lanes *e = lanes_of(channel);
    naru__lanes_lock(e, 1);
    void *memory = NULL;
    int r = naru__lanes_check(e);
    e->reserved.segment = 0;
    e->reserved.at = 0;
    if (r == 0 && size > within(e)) {
        r = await_segment(e, size, &e->reserved.segment, &memory, deadline);
    } else if (r == 0) {
        r = await_room(e, size > NARU_LANE_INLINE ? size : 0, &e->reserved.at, deadline);
        memory =
            size > NARU_LANE_INLINE ? e->tx.area + e->reserved.at : naru__lane_slot(&e->tx)->data;
    }
    naru__lanes_unlock(e, 1);
    if (r == 0)
        *ret_data = memory;
    return r;
}

int naru__lanes_commit(naru_channel *channel, void *data, size_t size, uint32_t type)
{
    struct shm_lanes *e = lanes_of(channel);
    naru__lanes_lock(e, 1);
    int r = naru__lanes_check(e);
    if (r < 0 && e->reserved.segment)
        naru__segment_free(e, e->reserved.segment);
    if (r == 0) {
        uint8_t *slot = naru__lane_slot(&e->tx)->data;
        if (size <= NARU_LANE_INLINE && data != slot) { /* it came out small enough for the slot */
            memcpy(slot, data, size);
            if (e->reserved.segment)
                naru__segment_free(e, e->reserved.segment);
            e->reserved.segment = 0;
        }
        naru__lane_publish(&e->tx, &(struct naru_lane_outgoing){.type = type,
                                                                .size = size,
                                                                .at = e->reserved.at,
                                                                .segment = e->reserved.segment});
        sent(e, 1, size);
    }
    naru__lanes_unlock(e, 1);
    return r;
}

void naru__lanes_abandon(naru_channel *channel, void *data)
{
    struct shm_lanes *e = lanes_of(channel);
    naru__lanes_lock(e, 1);
    (void)data;
    if (e->reserved.segment)
        naru__segment_free(e, e->reserved.segment);
    e->reserved.segment = 0;
    naru__lanes_unlock(e, 1);
}

/* ---- the end ---- */

int naru__lanes_flush(naru_channel *channel, int64_t deadline)
{
    struct shm_lanes *e = lanes_of(channel);
    struct naru_wait w = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    uint32_t slowest;
    for (;;) {
        naru__lanes_lock(e, 1);
        uint64_t left = e->topic ? e->tx.next - 1 - lowest(e, &slowest) : naru__lane_left(&e->tx);
        naru__lanes_unlock(e, 1);
        int r = naru__lanes_check(e);
        if (r < 0 || left == 0)
            return r;
        r = naru__wait_tick(&w);
        if (r == 0)
            r = naru__lanes_collect(e);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: the last %" PRIu64 " have not been taken", lanes_name(e),
                              left);
        if (r < 0)
            return r;
    }
}
