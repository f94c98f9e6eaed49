/* SPDX-License-Identifier: MIT */
/* lanes-recv.c - the receiving half of a queue or topic in shared memory.
 *
 * A queue's receiver claims a message, and it is its own until it is done with it or dead; it takes
 * a few from one lane, then goes on to the next, so that no sender starves another. A subscriber
 * goes along each lane by itself; what `select` passes over moves into this process's memory, up to
 * the stash. Where a publisher may overtake (lossy, or what is older than the subscription) the
 * message is copied, and counts only if it is whole after that.
 *
 * Only the receiving thread comes here, or whoever has guard[0]. */
#include "transport/shm/lanes.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/map.h"
#include "os/poll.h"
#include "shm/ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lanes ---- */

static void close_lane(struct lanes_in *in)
{
    naru__lanes_unmap(&in->lane);
    naru__lanes_unmap(&in->claims);
    free(in);
}

static int map_lane(struct shm_lanes *e, struct lanes_in *in)
{
    char name[24];
    const char *wrong = NULL;
    snprintf(name, sizeof name, "lane-%" PRIu32, in->index);
    int r = naru__lanes_map(&e->object, name, e->plan.file, false, &in->lane);
    if (r == 0 && !e->topic) {
        snprintf(name, sizeof name, "claims-%" PRIu32, in->index);
        r = naru__lanes_map(&e->object, name, naru__lane_claims_size(e->plan.slots), true,
                            &in->claims);
    }
    if (r == -ENOENT)
        return r;
    if (r < 0)
        return naru__fail(r, "%s: the lane of participant %" PRIu32 " cannot be mapped: %s%s",
                          lanes_name(e), in->index, naru__errno_text(r),
                          naru__lanes_limit(r, e->plan.file).text);
    const struct naru_lane_file *file = in->lane.memory;
    struct naru_lane_header header = file->header;
    wrong = naru__lane_check(&header, in->lane.size);
    if (!wrong && memcmp(&header, &e->plan, sizeof header) != 0)
        wrong = "it has another size than the object says";
    if (wrong)
        return naru__fail(-EPROTO, "%s: the lane of participant %" PRIu32 " is refused: %s",
                          lanes_name(e), in->index, wrong);
    naru__lane_receiver(&in->rx, file, &e->plan, in->claims.memory);
    return 0;
}

static bool is_gone(const struct lanes_in *in)
{
    /* acquire: pairs with the release in empty_lane() of lanes-left.c */
    return atomic_load_explicit(&in->rx.file->hints.gone, memory_order_acquire) != 0;
}

static bool has_taken(const struct shm_lanes *e, uint32_t lane)
{
    for (unsigned i = 0; i < e->channel.max_taken; i++)
        if (e->taken[i].number && e->taken[i].lane == lane)
            return true;
    return false;
}

/* Those that were taken away, with nothing in them; a damaged one may say so of itself, too. */
static void drop_gone(struct shm_lanes *e)
{
    unsigned n = e->n_in;
    e->n_in = 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t index = e->order[i];
        struct lanes_in *in = e->in[index];
        if (!is_gone(in) || has_taken(e, index)) {
            e->order[e->n_in++] = index;
            continue;
        }
        naru__segments_forget(e, index);
        close_lane(in);
        e->in[index] = NULL;
    }
    if (e->at >= e->n_in)
        e->at = 0;
}

/* A lane's first number: it is new, or goes on where one was taken away. */
static uint64_t begin_of(const struct shm_lanes *e, uint32_t index)
{
    /* relaxed: written before the lane was made */
    uint64_t next = atomic_load_explicit(&e->state->next[index], memory_order_relaxed);
    return next > 1 ? next : 1;
}

static int open_lane(struct shm_lanes *e, uint32_t index)
{
    struct lanes_in *in = naru__alloc(sizeof *in);
    if (!in)
        return -ENOMEM;
    in->index = index;
    int r = map_lane(e, in);
    if (r < 0 || is_gone(in)) {
        close_lane(in);
        return r == -ENOENT ? 0 : r; /* it is being removed: everybody is told of that */
    }
    if (e->topic) {
        in->rx.low = naru__lane_oldest(&in->rx);
        if (e->subscribed && begin_of(e, index) < in->rx.low) /* a lossy one has missed those */
            in->rx.low = begin_of(e, index);
        in->checked = e->subscribed ? in->rx.low - 1 : naru__lane_next(&in->rx);
        /* release: as in move_cursor() */
        atomic_store_explicit(&e->cursors->done[index], in->rx.low - 1, memory_order_release);
    }
    e->in[index] = in;
    e->order[e->n_in++] = index;
    return 0;
}

/* Those that have come since the last look. */
static int find_lanes(struct shm_lanes *e)
{
    /* acquire: pairs with the release in naru__object_changed(): their bits are set by then */
    uint32_t epoch = atomic_load_explicit(&e->object.state->epoch, memory_order_acquire);
    drop_gone(e);
    for (uint32_t w = 0; w < NARU_LANES_MAX / 64; w++) {
        uint64_t bits = atomic_load_explicit(&e->state->lanes[w], memory_order_acquire);
        for (; bits; bits &= bits - 1) {
            uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(bits);
            int r = e->in[index] ? 0 : open_lane(e, index);
            if (r < 0)
                return r;
        }
    }
    e->epoch_in = epoch;
    return 0;
}

static inline bool others_came(const struct shm_lanes *e)
{
    return atomic_load_explicit(&e->object.state->epoch, memory_order_relaxed) != e->epoch_in;
}

static bool come(const struct shm_lanes *e, bool plain)
{
    if (others_came(e))
        return true;
    for (unsigned i = 0; i < e->n_in; i++) {
        const struct naru_lane_receiver *rx = &e->in[e->order[i]]->rx;
        if (naru__lane_arrived(rx, plain) || (rx->claims && naru__lane_given_back(rx, plain)))
            return true;
    }
    return false;
}

bool naru__lanes_come(struct shm_lanes *e)
{
    return come(e, e->plain);
}

/* Messages of one lane until the next one's turn; one that is not in its slot counts more. */
enum { RUN = 64, OUTSIDE = 4 };

static void next_lane(struct shm_lanes *e)
{
    e->run = 0;
    e->at = e->at + 1 < e->n_in ? e->at + 1 : 0;
}

static void count_run(struct shm_lanes *e, const struct naru_lane_item *item)
{
    e->run += item->size > NARU_LANE_INLINE ? OUTSIDE : 1;
    if (e->run >= RUN)
        next_lane(e);
}

/* ---- a subscriber's place ---- */

static uint64_t lowest_taken(const struct shm_lanes *e, uint32_t lane)
{
    uint64_t lowest = UINT64_MAX;
    for (unsigned i = 0; i < e->channel.max_taken; i++)
        if (e->taken[i].number && e->taken[i].lane == lane && e->taken[i].number < lowest)
            lowest = e->taken[i].number;
    return lowest;
}

/* Tells the publisher how far this subscriber is. */
static void move_cursor(struct shm_lanes *e, const struct lanes_in *in)
{
    uint64_t done = (in->outstanding ? lowest_taken(e, in->index) : in->rx.low) - 1;
    _Atomic uint64_t *cursor = &e->cursors->done[in->index];
    if (atomic_load_explicit(cursor, memory_order_relaxed) == done)
        return;
    /* release: pairs with the acquire in done_by(): what was read there was read before */
    atomic_store_explicit(cursor, done, memory_order_release);
    naru__lanes_wake_senders(e, in->index);
}

static int open_cursors(struct shm_lanes *e)
{
    char name[24];
    struct lanes_map map;
    snprintf(name, sizeof name, "cursor-%" PRIu32, e->object.member);
    int r = naru__lanes_make(&e->object, name, "file of cursors", sizeof *e->cursors, &map);
    if (r == 0)
        e->cursors = map.memory;
    return r;
}

int naru__lanes_open_receiver(struct shm_lanes *e)
{
    e->plain = true;
    e->taken = naru__alloc(e->channel.max_taken * sizeof *e->taken);
    if (!e->taken)
        return -ENOMEM;
    int r = e->topic ? open_cursors(e) : 0;
    if (r == 0)
        r = find_lanes(e);
    for (unsigned i = 0; r == 0 && e->topic && i < e->n_in; i++) {
        struct lanes_in *in = e->in[e->order[i]];
        if (e->object.meta.option[LANES_HISTORY] == 0)
            in->rx.low = naru__lane_next(&in->rx);
        atomic_store_explicit(&e->cursors->done[in->index], in->rx.low - 1, memory_order_relaxed);
    }
    return r;
}

/* The publishers can see this subscriber now, and after the barrier they do, before their next
 * message but one: from there on none overtakes it. What is older may have been overwritten. A
 * lane that is not there yet has a publisher that will see it before its first message. */
int naru__lanes_subscribe(struct shm_lanes *e)
{
    uint64_t history = e->object.meta.option[LANES_HISTORY];
    if (naru__os_barrier() < 0)
        (void)naru__os_poll(NULL, 0, naru__now() + NARU_MS);
    int r = find_lanes(e);
    for (unsigned i = 0; i < e->n_in; i++) {
        struct lanes_in *in = e->in[e->order[i]];
        uint64_t next = naru__lane_next(&in->rx), oldest = naru__lane_oldest(&in->rx);
        if (history && next > history && in->rx.low < next - history)
            in->rx.low = next - history;
        if (in->rx.low < oldest)
            in->rx.low = oldest;
        in->checked = next;
        move_cursor(e, in);
    }
    e->subscribed = r == 0;
    return r;
}

void naru__lanes_close_receiver(struct shm_lanes *e, bool owner)
{
    bool back = false;
    for (unsigned i = 0; e->taken && owner && !e->topic && i < e->channel.max_taken; i++) {
        const struct lanes_taken *t = &e->taken[i];
        if (!t->number)
            continue;
        naru__lane_give_back(&e->in[t->lane]->rx, t->number);
        back = true;
    }
    if (back)
        naru__lanes_wake_receivers(e);
    for (unsigned i = 0; i < e->n_in; i++)
        close_lane(e->in[e->order[i]]);
    while (e->kept) {
        struct lanes_kept *k = e->kept;
        e->kept = k->next;
        free(k);
    }
    naru__segments_forget(e, NARU_LANES_MAX);
    if (e->cursors)
        naru__os_unmap(e->cursors, sizeof *e->cursors);
    free(e->taken);
}

/* ---- looking ---- */

/* What was found: in a lane, or kept. */
struct found {
    struct lanes_in *in;
    struct naru_lane_item item;
    uint32_t place;           /* of its segment, 0: none */
    struct lanes_kept **kept; /* NULL: it is in the lane */
};

static int broken(const struct shm_lanes *e, const struct lanes_in *in)
{
    return naru__fail(-EPROTO,
                      "%s: what the sender of lane %" PRIu32
                      " published cannot be true: its memory "
                      "is damaged, and that message is passed over",
                      lanes_name(e), in->index);
}

static struct naru_info info_of(const struct shm_lanes *e, const struct naru_lane_item *i)
{
    return (struct naru_info){.type = i->type,
                              .flags = i->back ? NARU_REDELIVERED : 0,
                              .size = i->size,
                              .sequence = i->sequence,
                              .sender = i->sender,
                              .missed = e->missed};
}

/* Where the payload is. 0; -ENOBUFS; -ENOENT, -EPROTO without a sentence: it is not there. */
static int see(struct shm_lanes *e, struct found *f)
{
    if (f->item.data)
        return 0;
    int r =
        naru__segment_see(e, f->in->index, f->item.segment, f->item.size, &f->item.data, &f->place);
    if (r == -ENOBUFS)
        return naru__fail(r, "%s: %d large messages are taken and not released", lanes_name(e),
                          LANES_SEGMENTS);
    if (r < 0 && r != -ENOENT && r != -EPROTO)
        return naru__fail(r, "%s: a message of %s cannot be mapped: %s%s", lanes_name(e),
                          naru__size_text(f->item.size).text, naru__errno_text(r),
                          naru__lanes_limit(r, f->item.size).text);
    return r;
}

/* 1: found, and claimed; 2: found, too large, not claimed; 0: nothing; or the error. */
static int look_in_queue(struct shm_lanes *e, const struct naru_lane_wish *wish, struct found *f)
{
    for (unsigned k = 0; k < e->n_in; k++) {
        struct lanes_in *in = e->in[e->order[e->at]];
        int r = naru__lane_claim(&in->rx, wish, &e->me, &f->item);
        if (r == 0) {
            next_lane(e);
            continue;
        }
        if (r < 0) {
            next_lane(e);
            return broken(e, in);
        }
        count_run(e, &f->item);
        f->in = in;
        f->kept = NULL;
        f->place = 0;
        if (r == 2)
            return r;
        r = f->item.size > wish->most ? -EPROTO : see(e, f); /* it was not as large before */
        if (r == -ENOENT || r == -EPROTO) {
            naru__lane_done(&in->rx, f->item.number);
            return naru__lanes_check(e) < 0 ? -EIDRM : broken(e, in);
        }
        if (r < 0) {
            naru__lane_give_back(&in->rx, f->item.number);
            naru__lanes_wake_receivers(e);
        }
        return r < 0 ? r : 1;
    }
    return 0;
}

/* select -t: the lowest type of all lanes, then a message of that type. */
static int look_for_lowest(struct shm_lanes *e, int64_t select, uint64_t most, struct found *f)
{
    enum { TRIES = 16 }; /* others may be faster; but what is never to be had is damaged */
    const struct naru_lane_wish any = {select, naru__select_wants, UINT64_MAX};
    for (int i = 0; i < TRIES; i++) {
        uint32_t lowest = 0;
        for (unsigned i = 0; i < e->n_in; i++) {
            uint32_t type = naru__lane_lowest(&e->in[e->order[i]]->rx, &any);
            if (type && (lowest == 0 || type < lowest))
                lowest = type;
        }
        if (lowest == 0)
            return 0;
        int r = look_in_queue(e, &(struct naru_lane_wish){lowest, naru__select_wants, most}, f);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- looking in a topic ---- */

static bool may_be_overtaken(const struct shm_lanes *e, const struct lanes_in *in)
{
    return e->lossy || in->rx.low <= in->checked;
}

static void passed(struct shm_lanes *e, struct lanes_in *in)
{
    in->rx.low++;
    move_cursor(e, in);
}

static void overtaken(struct shm_lanes *e, struct lanes_in *in, uint64_t next)
{
    if (in->rx.low > in->checked || e->lossy) {
        e->missed += next - in->rx.low;
        e->missed_all += next - in->rx.low;
        naru__lanes_tell(e, LANES_COUNT_MISSED, e->missed_all);
    }
    in->rx.low = next;
    move_cursor(e, in);
}

/* A copy in this process's memory. 0; 1: it was overtaken meanwhile. */
static int copy_of(struct shm_lanes *e, const struct found *f, struct lanes_kept **ret_kept)
{
    struct lanes_kept *k = naru__alloc_raw(sizeof *k + (size_t)f->item.size);
    if (!k)
        return -ENOMEM;
    *k = (struct lanes_kept){.info = info_of(e, &f->item), .signature = f->item.signature};
    naru__lane_peek(k->data, f->item.data, (size_t)f->item.size);
    if (may_be_overtaken(e, f->in) && !naru__lane_whole(&f->in->rx, f->item.number)) {
        free(k);
        return 1;
    }
    *ret_kept = k;
    return 0;
}

static int stash(struct shm_lanes *e, const struct found *f)
{
    struct lanes_kept *k, **end = &e->kept;
    if (e->kept_bytes + f->item.size > e->stash)
        return naru__fail(-ENOBUFS,
                          "%s: %s of other types wait and the stash has %s: receive those, or open "
                          "with a larger .stash",
                          lanes_name(e), naru__size_text(e->kept_bytes).text,
                          naru__size_text(e->stash).text);
    int r = copy_of(e, f, &k);
    if (r != 0)
        return r;
    while (*end)
        end = &(*end)->next;
    *end = k;
    e->kept_bytes += (size_t)f->item.size;
    e->missed = 0;
    naru__count(&e->channel.handle.counts.held, f->item.size);
    return 0;
}

/* 1: message `low` of the lane is wanted, and in f; 0: there is none. select NULL: none is wanted,
 * so all go to the stash. */
static int look_in_lane(struct shm_lanes *e, struct lanes_in *in, const int64_t *select,
                        struct found *f)
{
    uint64_t next;
    for (;;) {
        int r = naru__lane_look(&in->rx, &f->item, &next);
        if (r == 0)
            return 0;
        if (r < 0) {
            overtaken(e, in, next);
            continue;
        }
        f->in = in;
        f->kept = NULL;
        f->place = 0;
        r = see(e, f);
        if (r == -ENOENT || r == -EPROTO) {
            r = naru__lanes_check(e);
            if (r < 0)
                return r;
            overtaken(e, in, in->rx.low + 1);
            continue;
        }
        if (r < 0 || (select && naru__select_wants(*select, f->item.type)))
            return r < 0 ? r : 1;
        r = stash(e, f);
        naru__segment_put(e, f->place);
        if (r < 0)
            return r;
        if (r > 0)
            overtaken(e, in, in->rx.low + 1);
        else
            passed(e, in);
    }
}

static struct lanes_kept **kept_for(struct shm_lanes *e, int64_t select)
{
    struct lanes_kept **best = NULL;
    for (struct lanes_kept **k = &e->kept; *k; k = &(*k)->next) {
        if (!naru__select_wants(select, (*k)->info.type))
            continue;
        if (select >= 0)
            return k;
        if (!best || (*k)->info.type < (*best)->info.type)
            best = k;
    }
    return best;
}

static int look_in_topic(struct shm_lanes *e, int64_t select, struct found *f)
{
    if (select < 0) { /* the lowest of all: so all that is there is looked at first */
        for (unsigned i = 0; i < e->n_in; i++) {
            int r = look_in_lane(e, e->in[e->order[i]], NULL, f);
            if (r < 0)
                return r;
        }
    }
    f->kept = e->kept ? kept_for(e, select) : NULL;
    if (f->kept)
        return 1;
    for (unsigned k = 0; k < e->n_in; k++) {
        int r = look_in_lane(e, e->in[e->order[e->at]], &select, f);
        if (r == 0)
            next_lane(e);
        else if (r > 0)
            count_run(e, &f->item);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- waiting for it ---- */

/* most: bytes that the caller takes; a larger one is found, and left where it is. */
static int look(struct shm_lanes *e, int64_t select, uint64_t most, struct found *f)
{
    if (__builtin_expect(others_came(e), 0)) {
        int r = find_lanes(e);
        if (r < 0)
            return r;
    }
    if (e->topic)
        return look_in_topic(e, select, f);
    if (select < 0)
        return look_for_lowest(e, select, most, f);
    return look_in_queue(
        e, &(struct naru_lane_wish){select, select ? naru__select_wants : NULL, most}, f);
}

/* Somebody woke this one: if it leaves something, another is woken in turn. */
static void pass_on(struct shm_lanes *e)
{
    if (__builtin_expect(!e->rung, 1))
        return;
    e->rung = false;
    if (!e->topic && come(e, true))
        naru__lanes_wake_receivers(e);
}

static int find(struct shm_lanes *e, int64_t select, uint64_t most, int64_t deadline,
                struct found *f)
{
    int r = naru__lanes_check(e);
    if (r == 0)
        r = look(e, select, most, f);
    if (__builtin_expect(r != 0, 1)) {
        pass_on(e);
        return r < 0 ? r : 0;
    }
    struct naru_wait w = naru__wait_begin(&e->channel.handle, NARU_IN, deadline);
    e->plain = select == 0;
    do {
        r = naru__lanes_wait(e, &w, select == 0);
        if (r == 0)
            r = look(e, select, most, f);
    } while (r == 0);
    e->plain = true;
    naru__wait_done(&w);
    pass_on(e);
    return r < 0 ? r : 0;
}

static void count_received(struct shm_lanes *e, const struct naru_info *info)
{
    naru__count(&e->channel.handle.counts.received, 1);
    naru__count(&e->channel.handle.counts.bytes_received, info->size);
    naru__lanes_tell(
        e, LANES_COUNT_RECEIVED,
        atomic_load_explicit(&e->channel.handle.counts.received, memory_order_relaxed));
    if (__builtin_expect(info->flags & NARU_REDELIVERED, 0))
        naru__lanes_tell(e, LANES_COUNT_REDELIVERED, ++e->redelivered);
}

/* Nobody needs it here any more. */
static void done_with(struct shm_lanes *e, const struct found *f)
{
    if (e->topic) {
        naru__segment_put(e, f->place);
        passed(e, f->in);
    } else {
        naru__lane_done(&f->in->rx, f->item.number);
        naru__segment_done(e, f->place, f->item.sender);
        naru__lanes_wake_senders(e, f->in->index);
    }
}

static struct lanes_kept *unkeep(struct shm_lanes *e, struct lanes_kept **at)
{
    struct lanes_kept *k = *at;
    *at = k->next;
    e->kept_bytes -= (size_t)k->info.size;
    naru__count(&e->channel.handle.counts.held, (uint64_t)0 - k->info.size);
    return k;
}

/* ---- receiving by copy ---- */

static ssize_t recv_kept(struct shm_lanes *e, const struct found *f, void *buf, size_t cap,
                         struct naru_info *ret_info)
{
    *ret_info = (*f->kept)->info;
    if ((*f->kept)->info.size > cap)
        return -EMSGSIZE;
    struct lanes_kept *k = unkeep(e, f->kept);
    if (k->info.size)
        memcpy(buf, k->data, (size_t)k->info.size);
    free(k);
    return (ssize_t)ret_info->size;
}

static ssize_t recv_one(struct shm_lanes *e, int64_t select, void *buf, size_t cap,
                        struct naru_info *ret_info, int64_t deadline)
{
    struct found f;
    for (;;) {
        int r = find(e, select, cap, deadline, &f);
        if (r < 0)
            return r;
        if (f.kept)
            return recv_kept(e, &f, buf, cap, ret_info);
        *ret_info = info_of(e, &f.item);
        if (f.item.size > cap) {
            naru__segment_put(e, f.place);
            return -EMSGSIZE;
        }
        if (e->topic && f.item.size > 0)
            naru__lane_peek(buf, f.item.data, (size_t)f.item.size);
        else if (f.item.size <= NARU_LANE_INLINE)
            naru__ring_copy(buf, f.item.data, (size_t)f.item.size);
        else
            memcpy(buf, f.item.data, (size_t)f.item.size);
        if (e->topic && may_be_overtaken(e, f.in) && !naru__lane_whole(&f.in->rx, f.item.number)) {
            naru__segment_put(e, f.place);
            overtaken(e, f.in, f.in->rx.low + 1);
            continue;
        }
        done_with(e, &f);
        e->missed = 0;
        return (ssize_t)f.item.size;
    }
}

/* The next message of the lane at hand, if nothing at all is unusual: -EAGAIN, go the whole way. */
static ssize_t recv_small(struct shm_lanes *e, void *buf, size_t cap, struct naru_info *ret_info)
{
    if (e->n_in == 0 || others_came(e) || e->kept)
        return -EAGAIN;
    struct lanes_in *in = e->in[e->order[e->at]];
    struct naru_lane_receiver *rx = &in->rx;
    const struct naru_lane_slot *slot;
    uint64_t number = rx->low;
    if (e->topic) {
        slot = &rx->slots[(number - 1) & rx->mask];
        /* acquire: pairs with the release of the publication */
        if (atomic_load_explicit(&slot->stamp, memory_order_acquire) != number ||
            may_be_overtaken(e, in) || slot->size > cap || (int32_t)slot->type <= 0)
            return -EAGAIN;
    } else {
        slot = naru__lane_claim_small(rx, &e->me, cap, &number);
        if (!slot)
            return -EAGAIN;
    }
    /* read once more: whoever wrote it may write anything */
    uint32_t size = *(const volatile uint32_t *)&slot->size;
    uint32_t type = *(const volatile uint32_t *)&slot->type & INT32_MAX;
    size = size < NARU_LANE_INLINE ? size : NARU_LANE_INLINE;
    size = size < cap ? size : (uint32_t)cap;
    *ret_info = (struct naru_info){.type = type,
                                   .size = size,
                                   .sequence = slot->sequence,
                                   .sender = slot->sender,
                                   .missed = e->missed};
    e->missed = 0;
    naru__ring_copy(buf, slot->data, size);
    if (e->topic) {
        passed(e, in);
    } else {
        naru__lane_done(rx, number);
        naru__lanes_wake_senders(e, in->index);
    }
    if (++e->run >= RUN)
        next_lane(e);
    pass_on(e);
    return __builtin_expect(type != 0, 1) ? (ssize_t)size : broken(e, in);
}

ssize_t naru__lanes_recv(naru_channel *channel, int64_t select, void *buf, size_t cap,
                         struct naru_info *ret_info, int64_t deadline)
{
    struct shm_lanes *e = lanes_of(channel);
    naru__lanes_lock(e, 0);
    ssize_t r = select == 0 ? recv_small(e, buf, cap, ret_info) : -EAGAIN;
    if (r == -EAGAIN)
        r = recv_one(e, select, buf, cap, ret_info, deadline);
    if (r >= 0)
        count_received(e, ret_info);
    naru__lanes_unlock(e, 0);
    return r;
}

/* ---- receiving in place ---- */

enum { IN_LANE = 1, KEPT = 2 };

static void hand_out_kept(struct shm_lanes *e, struct lanes_kept *k, struct naru_message *ret)
{
    *ret = (struct naru_message){
        .data = k->data,
        .size = (size_t)k->info.size,
        .info = k->info,
        .internal = {(uint64_t)(uintptr_t)k, KEPT, (uint64_t)(uintptr_t)&e->channel, k->signature}};
}

static void hand_out(struct shm_lanes *e, struct found *f, struct naru_message *ret)
{
    while (e->taken[e->taken_at].number) /* there is a free one: max_taken was checked */
        e->taken_at = e->taken_at + 1 < e->channel.max_taken ? e->taken_at + 1 : 0;
    struct lanes_taken *t = &e->taken[e->taken_at];
    *t = (struct lanes_taken){f->in->index, f->place, f->item.sender, f->item.number};
    if (e->topic) {
        f->in->outstanding++;
        f->in->rx.low++;
    }
    *ret = (struct naru_message){.data = (void *)(uintptr_t)f->item.data,
                                 .size = (size_t)f->item.size,
                                 .info = info_of(e, &f->item),
                                 .internal = {(uint64_t)(uintptr_t)t, IN_LANE,
                                              (uint64_t)(uintptr_t)&e->channel, f->item.signature}};
    e->missed = 0;
}

/* 1: it was overtaken. */
static int take_copy(struct shm_lanes *e, struct found *f, struct naru_message *ret)
{
    struct lanes_kept *k;
    int r = copy_of(e, f, &k);
    naru__segment_put(e, f->place);
    if (r < 0)
        return r;
    if (r > 0) {
        overtaken(e, f->in, f->in->rx.low + 1);
        return 1;
    }
    passed(e, f->in);
    e->missed = 0;
    hand_out_kept(e, k, ret);
    return 0;
}

/* 0; 1: it was overtaken, look again. */
static int take_found(struct shm_lanes *e, struct found *f, struct naru_message *ret)
{
    int r = 0;
    if (f->kept)
        hand_out_kept(e, unkeep(e, f->kept), ret);
    else if (e->topic && may_be_overtaken(e, f->in))
        r = take_copy(e, f, ret);
    else
        hand_out(e, f, ret);
    if (r == 0)
        count_received(e, &ret->info);
    return r;
}

int naru__lanes_take(naru_channel *channel, int64_t select, int64_t deadline,
                     struct naru_message *ret_message)
{
    struct shm_lanes *e = lanes_of(channel);
    struct found f;
    int r;
    naru__lanes_lock(e, 0);
    do {
        r = find(e, select, UINT64_MAX, deadline, &f);
        if (r == 0)
            r = take_found(e, &f, ret_message);
    } while (r > 0);
    naru__lanes_unlock(e, 0);
    return r;
}

size_t naru__lanes_take_ready(naru_channel *channel, int64_t select, struct naru_message *ret,
                              size_t n)
{
    struct shm_lanes *e = lanes_of(channel);
    struct found f;
    size_t got = 0;
    naru__lanes_lock(e, 0);
    while (got < n && look(e, select, UINT64_MAX, &f) > 0) {
        int r = take_found(e, &f, &ret[got]);
        if (r < 0)
            break;
        got += r == 0;
    }
    naru__lanes_unlock(e, 0);
    return got;
}

static void end_taken(struct shm_lanes *e, struct lanes_taken *t, bool back)
{
    const struct lanes_taken was = *t;
    struct lanes_in *in = e->in[was.lane];
    t->number = 0;
    e->taken_at = (unsigned)(t - e->taken);
    if (!e->topic && !back) { /* in this order: a message that is not done needs its segment */
        naru__lane_done(&in->rx, was.number);
        naru__segment_done(e, was.segment, was.sender);
        naru__lanes_wake_senders(e, in->index);
        return;
    }
    naru__segment_put(e, was.segment);
    if (e->topic) {
        in->outstanding--;
        move_cursor(e, in);
    } else {
        naru__lane_give_back(&in->rx, was.number);
        naru__lanes_wake_receivers(e);
    }
}

void naru__lanes_release(naru_channel *channel, struct naru_message *m, size_t n)
{
    struct shm_lanes *e = lanes_of(channel);
    naru__lanes_lock(e, 0);
    for (size_t i = 0; i < n; i++) {
        void *what = (void *)(uintptr_t)m[i].internal[0];
        if (m[i].internal[1] == IN_LANE)
            end_taken(e, what, false);
        else
            free(what);
    }
    naru__lanes_unlock(e, 0);
}

/* A subscriber's message comes back to itself alone. */
static struct lanes_kept *kept_again(struct shm_lanes *e, struct naru_message *m)
{
    struct lanes_kept *k;
    if (m->internal[1] == KEPT) {
        k = (void *)(uintptr_t)m->internal[0];
    } else {
        k = naru__alloc_raw(sizeof *k + m->size);
        if (!k)
            return NULL;
        *k = (struct lanes_kept){.info = m->info, .signature = (uint32_t)m->internal[3]};
        if (m->size)
            memcpy(k->data, m->data, m->size);
        end_taken(e, (void *)(uintptr_t)m->internal[0], true);
    }
    k->info.flags |= NARU_REDELIVERED;
    return k;
}

static void keep_first(struct shm_lanes *e, struct lanes_kept *k)
{
    struct lanes_kept **at = &e->kept;
    while (*at && (*at)->info.sender == k->info.sender && (*at)->info.sequence < k->info.sequence)
        at = &(*at)->next;
    k->next = *at;
    *at = k;
    e->kept_bytes += (size_t)k->info.size;
    naru__count(&e->channel.handle.counts.held, k->info.size);
}

void naru__lanes_give_back(naru_channel *channel, struct naru_message *m, size_t n)
{
    struct shm_lanes *e = lanes_of(channel);
    naru__lanes_lock(e, 0);
    for (size_t i = n; i-- > 0;) { /* the last one first, so that the first comes first */
        if (!e->topic) {
            end_taken(e, (void *)(uintptr_t)m[i].internal[0], true);
            continue;
        }
        struct lanes_kept *k = kept_again(e, &m[i]);
        if (k)
            keep_first(e, k);
    }
    naru__lanes_unlock(e, 0);
}
