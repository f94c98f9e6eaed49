/* SPDX-License-Identifier: MIT */
/* lanes-left.c - what senders have left in a queue or topic, and nobody needs: lanes with nothing
 * in them, files that nobody refers to.
 *
 * A lane belongs to a member's record. Whoever takes it away has the record's lock, and so is the
 * next sender for a moment: it finds the lane empty, and nobody can send there meanwhile. Who
 * has the lane mapped sees `gone` when the epoch has changed, and looks for the next of that name,
 * which goes on with the numbers: cursors count them. Killed in between: the lane is there, or it
 * says that it is gone and the next sender makes another, or files are left, which the next who
 * comes takes away (tests/models/left.pml). A dry run does the same on a copy, without the lock. */
#include "transport/shm/lanes.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct taking {
    struct shm_lanes *e; /* object.member: whose record it is */
    bool dry, lane;      /* lane: there is one, and it stays */
    struct lanes_left *left;
};

static _Atomic uint64_t *bits_of(const struct shm_lanes *e)
{
    return &e->state->lanes[e->object.member / 64];
}

static uint64_t bit_of(const struct shm_lanes *e)
{
    return UINT64_C(1) << (e->object.member % 64);
}

/* ---- the lane ---- */

static int map_file(const struct shm_lanes *e, const char *kind, uint64_t size, bool dry,
                    struct lanes_map *ret_map)
{
    char name[24];
    snprintf(name, sizeof name, "%s-%" PRIu32, kind, e->object.member);
    return dry ? naru__lanes_copy(&e->object, name, size, ret_map)
               : naru__lanes_map(&e->object, name, size, true, ret_map);
}

/* 1: there is none. */
static int map_lane(struct shm_lanes *e, bool dry)
{
    int r = map_file(e, "lane", e->plan.file, dry, &e->lane);
    if (r == 0 && !e->topic)
        r = map_file(e, "claims", naru__lane_claims_size(e->plan.slots), dry, &e->claims);
    if (r == -ENOENT && !naru__lanes_exists(e, e->object.member))
        return 1;
    if (r == 0 && memcmp(e->lane.memory, &e->plan, sizeof e->plan) != 0)
        r = -EPROTO;
    return r == 0 ? naru__lanes_adopt(e)
                  : naru__fail(r, "%s: the lane that participant %" PRIu32 " has left: %s",
                               lanes_name(e), e->object.member, naru__errno_text(r));
}

/* Has every subscriber that lives, lossy or not, seen all of it? */
static bool all_have_seen(const struct shm_lanes *e)
{
    char name[24];
    bool seen = true;
    for (uint32_t i = 0, n = naru__object_members(&e->object); i < n && seen; i++) {
        struct lanes_map map;
        /* acquire: pairs with the release in naru__object_appear: its cursors are set by then */
        uint64_t who = atomic_load_explicit(&e->object.members[i].who, memory_order_acquire);
        if (!(naru__member_role(who) & LANES_RECV) || naru__object_died(&e->object, i))
            continue;
        snprintf(name, sizeof name, "cursor-%" PRIu32, i);
        if (naru__lanes_map(&e->object, name, sizeof(struct naru_lane_cursors), false, &map) < 0)
            return false;
        const struct naru_lane_cursors *c = map.memory;
        /* acquire: as in done_by() */
        seen = atomic_load_explicit(&c->done[e->object.member], memory_order_acquire) + 1 >=
               e->tx.next;
        naru__lanes_unmap(&map);
    }
    return seen;
}

static void forget_segment(void *lanes, uint32_t id)
{
    struct shm_lanes *e = lanes;
    for (size_t i = 0; i < LANES_POOL; i++)
        if (e->pool[i].id == id)
            e->pool[i] = (struct lanes_pooled){0};
}

/* What is done with, though something before it is not. */
static void forget_done(struct shm_lanes *e)
{
    for (uint64_t n = e->tx.freed + 1; n < e->tx.next; n++) {
        uint64_t at = (n - 1) & e->tx.mask;
        /* relaxed: nothing of the message is read after it */
        if (e->blocks[at].segment &&
            atomic_load_explicit(&e->tx.claims->word[at], memory_order_relaxed) ==
                naru__claim(n, NARU_CLAIM_DONE, 0, 0))
            forget_segment(e, e->blocks[at].segment);
    }
}

static bool is_empty(struct shm_lanes *e)
{
    e->tx.free_segment = forget_segment;
    if (!e->topic && naru__lane_left(&e->tx) == 0)
        return true;
    if (!e->topic)
        forget_done(e);
    return e->topic &&
           (e->tx.next == 1 || (e->object.meta.option[LANES_HISTORY] == 0 && all_have_seen(e)));
}

static bool is_in_use(const struct shm_lanes *e, uint32_t segment)
{
    for (size_t i = 0; i < LANES_POOL; i++)
        if (e->pool[i].id == segment)
            return true;
    return false;
}

/* The files go after it, as those of a lane that is not there. */
static void empty_lane(struct shm_lanes *e)
{
    struct naru_lane_file *file = e->lane.memory;
    /* relaxed: for the next sender, who takes the record's lock */
    atomic_store_explicit(&e->state->next[e->object.member], e->tx.next, memory_order_relaxed);
    /* release: pairs with the acquire in is_gone(), whose reader then looks for another */
    atomic_store_explicit(&file->hints.gone, 1, memory_order_release);
    atomic_fetch_and_explicit(bits_of(e), ~bit_of(e), memory_order_release);
    naru__object_changed(&e->object);
}

/* ---- files ---- */

/* Is it one of this record's, which nobody needs? */
static bool is_left(const struct taking *t, const char *name)
{
    static const char *const kinds[] = {"lane", "claims",   "cursor",
                                        "bell", "new-lane", "new-claims"};
    uint32_t index = t->e->object.member, lane, id;
    char own[40];
    int end = 0;
    if (sscanf(name, "segment-%" SCNu32 "-%" SCNu32 "%n", &lane, &id, &end) == 2 && !name[end])
        return lane == index && !(t->lane && is_in_use(t->e, id));
    for (size_t i = t->lane ? 2 : 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(own, sizeof own, "%s-%" PRIu32, kinds[i], index);
        if (strcmp(name, own) == 0)
            return true;
    }
    return false;
}

static int take_file(void *arg, const char *name)
{
    struct taking *t = arg;
    if (!is_left(t, name))
        return 0;
    bool gone = t->dry || naru__os_unlink_at(t->e->object.directory, name) == 0;
    /* of an empty lane's two files it is the lane that counts */
    if (gone && strncmp(name, "lane-", 5) == 0)
        t->left->lanes++;
    else if (gone && strncmp(name, "claims-", 7) != 0)
        t->left->files++;
    return 0;
}

/* ---- */

static int take_from(struct taking *t)
{
    struct shm_lanes *e = t->e;
    int r = map_lane(e, t->dry);
    t->lane = r == 0 && !is_empty(e);
    if (r == 0 && !t->lane && !t->dry)
        empty_lane(e);
    if (r >= 0)
        (void)naru__os_list(e->object.directory, true, take_file, t);
    free(e->blocks);
    e->blocks = NULL;
    memset(e->pool, 0, sizeof e->pool); /* ids of a former sender's: nothing is mapped */
    naru__lanes_unmap(&e->lane);
    naru__lanes_unmap(&e->claims);
    return r < 0 ? r : 0;
}

/* Is it nobody's? Then it is held, but for a dry run. A dead member's is, once collected. */
static bool hold(struct naru_object *o, uint32_t i, bool dry, struct naru_life *ret_life)
{
    if (dry)
        return naru__os_life_held(o->file, o->life_at + i) == 0;
    if (naru__object_hold(o, i, ret_life) < 0)
        return false;
    if (naru__member_role(atomic_load_explicit(&o->members[i].who, memory_order_acquire)) == 0)
        return true;
    naru__os_life_drop(ret_life);
    return false;
}

int naru__lanes_take_away(struct naru_object *o, bool dry, struct lanes_left *ret_left)
{
    struct naru_lanes_state *s = (void *)o->state->kind;
    *ret_left = (struct lanes_left){0, 0};
    int r = naru__lanes_check_sizes(o);
    struct shm_lanes *e = r == 0 ? naru__alloc(sizeof *e) : NULL;
    if (!e)
        return r < 0 ? r : -ENOMEM;
    e->object = *o;
    e->state = s;
    e->topic = o->meta.what == NARU_OBJECT_TOPIC;
    e->plan = naru__lanes_plan(o->meta.option);
    e->channel.handle.name = (char *)(uintptr_t)o->url;
    struct taking t = {.e = e, .dry = dry, .left = ret_left};
    for (uint32_t i = 0, n = naru__object_members(o); r == 0 && i < n; i++) {
        struct naru_life life = {0};
        if (!hold(o, i, dry, &life))
            continue;
        e->object.member = i;
        r = take_from(&t);
        naru__os_life_drop(&life);
    }
    free(e);
    return r;
}
