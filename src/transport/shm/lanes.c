/* SPDX-License-Identifier: MIT */
/* lanes.c - taking part in a queue or topic in shared memory: opening, waiting, waking, leaving,
 * and cleaning up after those who died.
 *
 * Waking: a receiver that finds nothing sets its bit in `armed`, issues a barrier that reaches the
 * senders' cores (membarrier), looks once more, and sleeps on its bell, a futex in its record. A
 * sender that has published looks at the bits; whoever takes a bit away wakes that member. So a
 * sender that is alone awake pays two loads. One that is woken and leaves something passes it on.
 *
 * Death: a lock that falls free wakes nobody, so a sleeper that is not alone looks every 50 ms
 * whether somebody has died (one of all sleepers does), and naru_fd has an inotify descriptor that
 * tells when a lock falls. What a dead receiver had claimed is given back; a dead subscriber holds
 * nobody back; a dead sender's lane stays, for its messages do, and the next sender goes on in it.
 */
#include "transport/shm/lanes.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/futex.h"
#include "os/limit.h"
#include "os/map.h"
#include "os/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

enum { TICK_MS = 50, NAP_US = 200 };

/* ---- files ---- */

static int map_file(const struct naru_object *o, const char *name, uint64_t size, bool writable,
                    bool copy, struct lanes_map *ret_map)
{
    struct stat st;
    void *memory;
    int fd = naru__os_open_at(o->directory, name, (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW);
    int r = fd < 0 ? fd : naru__os_fstat(fd, &st);
    if (r == 0 && (!S_ISREG(st.st_mode) || st.st_size == 0 || (uint64_t)st.st_size < size))
        r = -EPROTO;
    if (r == 0)
        r = copy ? naru__os_map_copy(fd, (uint64_t)st.st_size, &memory)
                 : naru__os_map(fd, (uint64_t)st.st_size, writable, &memory);
    naru__os_close(fd);
    if (r == 0)
        *ret_map = (struct lanes_map){memory, (uint64_t)st.st_size};
    return r;
}

int naru__lanes_map(const struct naru_object *o, const char *name, uint64_t size, bool writable,
                    struct lanes_map *ret_map)
{
    return map_file(o, name, size, writable, false, ret_map);
}

int naru__lanes_copy(const struct naru_object *o, const char *name, uint64_t size,
                     struct lanes_map *ret_map)
{
    return map_file(o, name, size, false, true, ret_map);
}

int naru__lanes_make(const struct naru_object *o, const char *name, const char *what, uint64_t size,
                     struct lanes_map *ret_map)
{
    (void)naru__os_unlink_at(o->directory, name);
    int fd = naru__object_file(o, name, size);
    if (fd < 0)
        return fd;
    int r = naru__os_map(fd, size, true, &ret_map->memory);
    naru__os_close(fd);
    ret_map->size = size;
    return r < 0 ? naru__fail(r, "%s: its %s of %s cannot be mapped: %s%s", o->url, what,
                              naru__size_text(size).text, naru__errno_text(r),
                              naru__lanes_limit(r, size).text)
                 : 0;
}

int naru__lanes_name(const struct naru_object *o, const char *from, const char *to)
{
    int r = naru__os_replace_at(o->directory, from, to);
    return r < 0 ? naru__fail(r, "%s: its file cannot be called %s: %s", o->url, to,
                              naru__errno_text(r))
                 : 0;
}

struct naru_limit_text naru__lanes_limit(int code, uint64_t bytes)
{
    return code == -ENOMEM ? naru__limit_of_memory(code, bytes) : naru__limit_of_files(code);
}

void naru__lanes_unmap(struct lanes_map *m)
{
    if (m->memory)
        naru__os_unmap(m->memory, m->size);
    *m = (struct lanes_map){0};
}

/* ---- bits ---- */

static uint64_t bit(uint32_t member)
{
    return UINT64_C(1) << (member % 64);
}

static void set_bit(_Atomic uint64_t *words, uint32_t member)
{
    /* seq_cst: comes before the sleeper's second look, as the sender's publication comes before its
     * look at the bits; weaker, both could miss the other */
    atomic_fetch_or(&words[member / 64], bit(member));
}

/* Was it still there? Whoever takes it away owes the wake-up. */
static bool take_bit(_Atomic uint64_t *words, uint32_t member)
{
    return atomic_fetch_and(&words[member / 64], ~bit(member)) & bit(member);
}

static bool has_bit(const _Atomic uint64_t *words, uint32_t member)
{
    return atomic_load_explicit(&words[member / 64], memory_order_relaxed) & bit(member);
}

/* ---- waking ---- */

static void ring(const struct shm_lanes *e, uint32_t member, int thread)
{
    if (member >= naru__object_members(&e->object))
        return; /* a bit that nobody has set */
    _Atomic uint32_t *bell = &e->object.members[member].bell[thread];
    atomic_fetch_add(bell, 1);
    (void)naru__os_futex_wake(bell, 1);
    if (has_bit(e->state->by_socket, member))
        naru__object_knock(&e->object, member);
}

/* The look that comes after a publication: a fence only where the sleepers cannot issue it here. */
static void after_publication(const struct shm_lanes *e)
{
    if (__builtin_expect(atomic_load_explicit(&e->object.members[e->object.member].registered,
                                              memory_order_relaxed) != 0,
                         1))
        atomic_signal_fence(memory_order_seq_cst);
    else
        atomic_thread_fence(memory_order_seq_cst);
}

static bool wake_in(const struct shm_lanes *e, _Atomic uint64_t *words, int thread, bool all)
{
    for (uint32_t w = 0; w < NARU_LANES_MAX / 64; w++) {
        uint64_t armed = atomic_load_explicit(&words[w], memory_order_relaxed);
        for (; armed; armed &= armed - 1) {
            uint32_t member = w * 64 + (uint32_t)__builtin_ctzll(armed);
            if (member >= e->object.meta.members_max || !take_bit(words, member))
                continue;
            ring(e, member, thread);
            if (!all)
                return true;
        }
    }
    return false;
}

void naru__lanes_wake_receivers(struct shm_lanes *e)
{
    struct naru_lanes_state *s = e->state;
    uint64_t any = 0;
    after_publication(e);
    for (int i = 0; i < 4; i++) /* relaxed: ordered by after_publication() */
        any |= atomic_load_explicit(&s->armed_any[i], memory_order_relaxed) |
               atomic_load_explicit(&s->armed_select[i], memory_order_relaxed);
    if (__builtin_expect(any == 0, 1))
        return;
    (void)wake_in(e, s->armed_any, 0, e->topic);
    (void)wake_in(e, s->armed_select, 0, true);
}

void naru__lanes_wake_senders(struct shm_lanes *e, uint32_t lane)
{
    struct naru_lanes_state *s = e->state;
    after_publication(e);
    if (lane == NARU_LANES_MAX)
        (void)wake_in(e, s->armed_out, 1, true);
    else if (__builtin_expect(has_bit(s->armed_out, lane), 0) && take_bit(s->armed_out, lane))
        ring(e, lane, 1);
}

/* ---- the dead ---- */

struct naru_lane_header naru__lanes_plan(const uint64_t option[16])
{
    struct naru_lane_header plan = naru__lane_plan(option[LANES_CAPACITY], option[LANES_MESSAGES]);
    uint64_t history = option[LANES_HISTORY] + 1;
    return history < plan.slots ? plan : naru__lane_plan(option[LANES_CAPACITY], history);
}

int naru__lanes_check_sizes(const struct naru_object *o)
{
    const struct naru_object_meta *m = &o->meta;
    struct naru_lane_header plan = naru__lanes_plan(m->option);
    if (plan.slots == m->option[LANES_SLOTS] && plan.area == m->option[LANES_AREA] &&
        m->members_max == NARU_LANES_MAX && m->option[LANES_MAX_MESSAGE] <= NARU_MESSAGE_MAX)
        return 0;
    return naru__fail(-EPROTO, "%s: its meta is damaged: the sizes do not add up", o->url);
}

/* Do more than n take part? */
static bool outnumber(const struct shm_lanes *e, unsigned n)
{
    uint32_t records = naru__object_members(&e->object), there = 0;
    for (uint32_t i = 0; i < records && there <= n; i++)
        there += naru__member_role(
                     atomic_load_explicit(&e->object.members[i].who, memory_order_relaxed)) != 0;
    return there > n;
}

static bool alone(const struct shm_lanes *e)
{
    return !outnumber(e, 1);
}

int naru__lanes_clean(struct naru_object *o, uint32_t member)
{
    struct naru_lanes_state *s = (void *)o->state->kind;
    struct shm_lanes view = {.object = *o, .state = s, .topic = o->meta.what == NARU_OBJECT_TOPIC};
    char name[32];
    int r = naru__lanes_check_sizes(o);
    for (uint32_t lane = 0; r == 0 && !view.topic && lane < o->meta.members_max; lane++) {
        struct lanes_map claims;
        if (!has_bit(s->lanes, lane))
            continue;
        snprintf(name, sizeof name, "claims-%" PRIu32, lane);
        r = naru__lanes_map(o, name, naru__lane_claims_size(o->meta.option[LANES_SLOTS]), true,
                            &claims);
        if (r == -ENOENT) { /* it is being removed */
            r = 0;
            continue;
        }
        if (r < 0)
            return naru__fail(r, "%s: cleaning up after participant %" PRIu32 ": its claims: %s",
                              o->url, member, naru__errno_text(r));
        (void)naru__lane_clean(claims.memory, o->meta.option[LANES_SLOTS], member);
        naru__lanes_unmap(&claims);
    }
    if (r < 0)
        return r;
    (void)take_bit(s->by_socket, member);
    (void)take_bit(s->armed_any, member);
    (void)take_bit(s->armed_select, member);
    (void)take_bit(s->armed_out, member);
    naru__object_no_doorbell(o, member);
    /* all: what came back is for anybody, and may be more than one; and a subscriber's going lets
     * publishers go on */
    (void)wake_in(&view, s->armed_any, 0, true);
    (void)wake_in(&view, s->armed_select, 0, true);
    (void)wake_in(&view, s->armed_out, 1, true);
    return 0;
}

int naru__lanes_collect(struct shm_lanes *e)
{
    return naru__object_collect(&e->object, naru__lanes_clean);
}

/* One of all that wait looks, each tick. How many there were. */
static int look_for_dead(struct shm_lanes *e)
{
    uint64_t now = (uint64_t)naru__now();
    uint64_t last = atomic_load_explicit(&e->state->checked, memory_order_relaxed);
    if (now - last < (TICK_MS - 10) * UINT64_C(1000000) && now > last)
        return 0;
    if (!atomic_compare_exchange_strong(&e->state->checked, &last, now))
        return 0;
    return naru__lanes_collect(e);
}

/* Whoever sleeps alone sleeps without a tick, and this one could die between a message and the
 * wake-up. So before it sends any they are told that they are alone no more. */
static void greet(const struct shm_lanes *e)
{
    uint32_t n = naru__object_members(&e->object);
    for (uint32_t i = 0; i < n; i++)
        if (i != e->object.member && naru__member_role(atomic_load(&e->object.members[i].who))) {
            ring(e, i, 0);
            ring(e, i, 1);
        }
}

/* ---- waiting ---- */

static bool possible(struct shm_lanes *e, int events)
{
    return naru__object_removed(&e->object) ||
           (events & NARU_IN ? naru__lanes_come(e) : naru__lanes_moved(e));
}

static _Atomic uint64_t *words_of(const struct shm_lanes *e, int events, bool plain)
{
    return events & NARU_OUT ? e->state->armed_out
           : plain           ? e->state->armed_any
                             : e->state->armed_select;
}

/* Where participants outnumber the processors, what is waited for has mostly not had its turn yet:
 * who lets the others run finds many messages at once, where each sleep would cost a wake-up for
 * one, and the sleepers so woken would keep the sender from its next. Where other work makes turns
 * long, a sleeper's wake-up is quicker. */
static bool came_by_turns(struct shm_lanes *e, const struct naru_wait *w)
{
    enum { TURNS = 3, LONG_US = 4000, EACH_US = 100, PATIENCE = 64 };
    unsigned *others_work = &e->others_work[w->thread];
    if (w->slept || w->handle->never_spins || !outnumber(e, (unsigned)naru__cores()))
        return false;
    if (*others_work > 0) {
        --*others_work;
        return false;
    }
    int64_t last = naru__now();
    int64_t most = (LONG_US + EACH_US * (int64_t)naru__object_members(&e->object)) * NARU_US;
    for (int i = 0; i < TURNS && *others_work == 0; i++) {
        sched_yield();
        int64_t now = naru__now();
        if (now - last > most)
            *others_work = PATIENCE;
        last = now;
        if (possible(e, w->events))
            return true;
    }
    return false;
}

static int sleep_once(struct shm_lanes *e, struct naru_wait *w, bool plain)
{
    uint32_t me = e->object.member;
    _Atomic uint64_t *words = words_of(e, w->events, plain);
    _Atomic uint32_t *bell = &e->object.members[me].bell[w->thread];
    uint32_t value = atomic_load(bell);
    bool nap = !w->slept;
    int64_t until = NARU__NEVER;
    set_bit(words, me);
    if (nap)
        until = naru__now() + NAP_US * NARU_US; /* without the barrier, which interrupts senders */
    else if (naru__os_barrier() < 0)
        until = naru__now() + NARU_MS;
    else if (!alone(e) || naru__object_going(&e->object))
        until = naru__now() + TICK_MS * NARU_MS;
    int r = 0;
    if (!possible(e, w->events)) {
        bool guarded = e->guarded[w->thread];
        naru__lanes_unlock(e, w->thread);
        r = naru__wait_futex(w, bell, value, until);
        if (guarded)
            naru__lanes_lock(e, w->thread);
    }
    if (!take_bit(words, me))
        e->rung |= w->thread == 0;
    else if (r == 0 && !nap)
        r = look_for_dead(e);
    return r < 0 ? r : 0;
}

int naru__lanes_wait(struct shm_lanes *e, struct naru_wait *w, bool plain)
{
    enum { LOOKS = 100 };
    w->looks = true;
    int r = naru__lanes_check(e);
    if (r == 0)
        r = naru__wait_spin(w);
    if ((r == -EAGAIN || r == -ETIMEDOUT) && look_for_dead(e) > 0)
        return 0; /* who never waits long enough for a tick is owed what the dead had, too */
    if (r < 0)
        return r;
    if (r == 0)
        return came_by_turns(e, w) ? 0 : sleep_once(e, w, plain);
    for (int i = 0; i < LOOKS && !possible(e, w->events); i++)
        naru__relax();
    return 0;
}

/* ---- naru_fd ---- */

static int make_doorbell(struct shm_lanes *e)
{
    int r = naru__object_doorbell(&e->object, &e->doorbell);
    if (r < 0)
        return r;
    e->deaths = naru__os_watch_closes(e->object.file); /* or none: then it looks by itself */
    set_bit(e->state->by_socket, e->object.member);
    return 0;
}

/* Called under the handle's `arm`, by either thread. */
static int lanes_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct shm_lanes *e = (struct shm_lanes *)h;
    bool again = false;
    if (e->doorbell < 0) {
        int r = make_doorbell(e);
        if (r < 0)
            return r;
    }
    for (int d = NARU_IN; d <= NARU_OUT; d <<= 1) {
        _Atomic uint64_t *words = words_of(e, d, true);
        if (!(events & d) || has_bit(words, e->object.member))
            continue;
        naru__os_drain(e->doorbell);
        set_bit(words, e->object.member);
        again = true;
    }
    if (again && naru__os_barrier() < 0)
        ret_watch->again = naru__now() + NARU_MS;
    unsigned n = 0;
    ret_watch->fds[n++] = (struct pollfd){.fd = e->doorbell, .events = POLLIN};
    if (e->deaths >= 0) {
        naru__os_drain(e->deaths);
        ret_watch->fds[n++] = (struct pollfd){.fd = e->deaths, .events = POLLIN};
    } else if (!alone(e)) {
        ret_watch->again = naru__now() + TICK_MS * NARU_MS;
    }
    ret_watch->n = n;
    return 0;
}

/* After lanes_watch has armed it: so what comes from here on is told. */
static bool lanes_ready(struct naru_handle *h, int events)
{
    struct shm_lanes *e = (struct shm_lanes *)h;
    if (naru__object_removed(&e->object))
        return true;
    for (int thread = 0; thread < 2; thread++) {
        int event = thread == 0 ? NARU_IN : NARU_OUT;
        if (!(events & event))
            continue;
        naru__lanes_lock(e, thread);
        bool ready = thread == 0 ? e->kept != NULL || naru__lanes_come(e) : naru__lanes_has_room(e);
        naru__lanes_unlock(e, thread);
        if (ready)
            return true;
    }
    return false;
}

/* ---- the handle ---- */

static void lanes_stats(struct naru_handle *h, struct naru_stats *stats)
{
    const struct shm_lanes *e = (const struct shm_lanes *)h;
    stats->capacity = e->plan.area;
    stats->capacity_asked = e->object.meta.option[LANES_CAPACITY];
}

static int lanes_wait_peers(naru_channel *channel, unsigned n, int64_t deadline)
{
    struct shm_lanes *e = lanes_of(channel);
    struct naru_wait w = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    uint32_t role = channel->handle.directions & NARU_OUT ? LANES_RECV : LANES_SEND;
    for (;;) {
        unsigned there = 0;
        uint32_t records_n = naru__object_members(&e->object);
        int r = naru__lanes_check(e);
        for (uint32_t i = 0; i < records_n; i++) {
            uint64_t who = atomic_load_explicit(&e->object.members[i].who, memory_order_acquire);
            if (i != e->object.member && naru__member_role(who) & role &&
                !naru__object_died(&e->object, i))
                there++;
        }
        if (r < 0 || there >= n)
            return r;
        r = naru__wait_tick(&w);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: %u of %u %s are there", lanes_name(e), there, n,
                              role == LANES_RECV ? "receivers" : "senders");
        if (r < 0)
            return r;
    }
}

static void lanes_free(struct shm_lanes *e)
{
    bool owner = naru__is_owner(&e->channel.handle);
    naru__lanes_close_receiver(e, owner);
    naru__lanes_close_sender(e);
    if (e->object.generation && owner) {
        uint32_t member = e->object.member;
        if (e->doorbell >= 0) {
            (void)take_bit(e->state->by_socket, member);
            naru__object_no_doorbell(&e->object, member);
        }
        (void)take_bit(e->state->armed_any, member); /* naru_fd may have set them */
        (void)take_bit(e->state->armed_out, member);
        naru__object_leave(&e->object);
        if (e->topic)
            naru__lanes_wake_senders(e, NARU_LANES_MAX);
    }
    naru__os_close(e->doorbell);
    naru__os_close(e->deaths);
    naru__object_close(&e->object);
    pthread_mutex_destroy(&e->guard[0]);
    pthread_mutex_destroy(&e->guard[1]);
    naru__handle_deinit(&e->channel.handle);
    free(e);
}

static void lanes_close(naru_channel *channel, bool owner)
{
    (void)owner;
    lanes_free(lanes_of(channel));
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = lanes_watch,
    .ready = lanes_ready,
    .stats = lanes_stats,
};

static const struct naru_channel_ops channel_ops = {
    .size = sizeof channel_ops,
    .send = naru__lanes_send,
    .send_many = naru__lanes_send_many,
    .take = naru__lanes_take,
    .take_ready = naru__lanes_take_ready,
    .recv = naru__lanes_recv,
    .release = naru__lanes_release,
    .give_back = naru__lanes_give_back,
    .reserve = naru__lanes_reserve,
    .commit = naru__lanes_commit,
    .abandon = naru__lanes_abandon,
    .flush = naru__lanes_flush,
    .wait_peers = lanes_wait_peers,
    .close = lanes_close,
};

/* ---- opening ---- */

struct options {
    enum naru_object_what what;
    int role;
    bool lossy;
    unsigned flags, max_taken;
    mode_t mode;
    size_t stash;
    uint64_t option[16];
};

static int agree(const struct naru_object *o, void *arg)
{
    static const char *const name[] = {[LANES_CAPACITY] = "capacity",
                                       [LANES_MESSAGES] = "messages",
                                       [LANES_MAX_MESSAGE] = "max_message",
                                       [LANES_RECEIVERS] = "receivers",
                                       [LANES_HISTORY] = "history"};
    const struct options *want = arg;
    for (size_t i = LANES_CAPACITY; i <= LANES_HISTORY; i++)
        if (want->option[i] && want->option[i] != o->meta.option[i])
            return naru__fail(-EEXIST,
                              "%s was made with .%s = %" PRIu64 ", and %" PRIu64
                              " is asked for: leave it 0 to take it as it is",
                              o->url, name[i], o->meta.option[i], want->option[i]);
    return 0;
}

/* A queue of one receiver has one. */
static int check_receivers(struct shm_lanes *e)
{
    uint32_t n = naru__object_members(&e->object);
    char program[32] = "";
    if (e->object.meta.option[LANES_RECEIVERS] != 1)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct naru_object_member *m = &e->object.members[i];
        if (i == e->object.member || !(naru__member_role(atomic_load(&m->who)) & LANES_RECV) ||
            naru__object_died(&e->object, i))
            continue;
        naru__os_program_of((pid_t)atomic_load(&m->pid), program, sizeof program);
        return naru__fail(-EBUSY,
                          "%s was made for one receiver, and process %" PRIu32 " (%s) receives",
                          lanes_name(e), atomic_load(&m->pid), program);
    }
    return 0;
}

static int join(struct shm_lanes *e, const struct options *o)
{
    uint32_t role = (o->role & NARU_RECV ? LANES_RECV : 0u) |
                    (o->role & NARU_SEND ? LANES_SEND : 0u) | (o->lossy ? LANES_LOSSY : 0u);
    int r = naru__object_join(&e->object, naru__lanes_clean);
    if (r < 0)
        return r;
    e->channel.handle.word[0] = &e->object.members[e->object.member].bell[0];
    e->channel.handle.word[1] = &e->object.members[e->object.member].bell[1];
    e->me = (struct naru_lane_claimer){.member = e->object.member,
                                       .generation = e->object.generation,
                                       .alone = e->object.meta.option[LANES_RECEIVERS] == 1};
    r = naru__lanes_collect(e);
    if (r >= 0)
        r = o->role & NARU_SEND ? naru__lanes_open_sender(e) : 0;
    if (r == 0 && o->role & NARU_RECV)
        r = naru__lanes_open_receiver(e);
    if (r < 0)
        return r;
    naru__object_appear(&e->object, role);
    greet(e);
    if (o->role & NARU_RECV)
        r = e->topic ? naru__lanes_subscribe(e) : check_receivers(e);
    if (r == 0 && naru__object_removed(&e->object))
        r = -EAGAIN; /* between finding it and joining it: find the next */
    return r;
}

static int open_once(const struct naru_url *url, const struct options *o, naru_channel **ret_c)
{
    struct naru_object_want want = {.what = o->what,
                                    .signature = NARU_LANE_VERSION,
                                    .members_max = NARU_LANES_MAX,
                                    .flags = o->flags,
                                    .mode = o->mode,
                                    .agree = agree,
                                    .arg = (void *)(uintptr_t)o};
    struct naru_lane_header plan = naru__lanes_plan(o->option);
    memcpy(want.option, o->option, sizeof want.option);
    want.option[LANES_SLOTS] = plan.slots;
    want.option[LANES_AREA] = plan.area;
    struct shm_lanes *e = naru__alloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    e->object = NARU_OBJECT_NONE;
    e->doorbell = e->deaths = NARU__NO_FD;
    int r = naru__handle_init(&e->channel.handle, NARU__CHANNEL, &handle_ops, url->text,
                              (o->role & NARU_RECV ? NARU_IN : 0) |
                                  (o->role & NARU_SEND ? NARU_OUT : 0));
    if (r < 0) {
        free(e);
        return r;
    }
    pthread_mutex_init(&e->guard[0], NULL);
    pthread_mutex_init(&e->guard[1], NULL);
    e->channel.ops = &channel_ops;
    e->channel.selects = true;
    e->channel.max_name = ".max_message of the queue or topic";
    e->channel.max_taken = o->max_taken ? o->max_taken : 1024;
    e->stash = o->stash ? o->stash : 1 << 20;
    e->topic = o->what == NARU_OBJECT_TOPIC;
    e->lossy = o->lossy;
    r = naru__object_open(url, &want, &e->object);
    if (r == 0) {
        e->object.url = e->channel.handle.name;
        e->state = (void *)e->object.state->kind;
        e->plan = naru__lanes_plan(e->object.meta.option);
        e->channel.max_message = e->object.meta.option[LANES_MAX_MESSAGE]
                                     ? e->object.meta.option[LANES_MAX_MESSAGE]
                                     : NARU_MESSAGE_MAX;
        r = naru__lanes_check_sizes(&e->object);
    }
    if (r == 0)
        r = join(e, o);
    if (r < 0) {
        lanes_free(e);
        return r;
    }
    *ret_c = &e->channel;
    return 0;
}

static int open_lanes(const struct naru_url *url, const struct options *o, naru_channel **ret_c)
{
    enum { TRIES = 100 };
    int r = -EAGAIN;
    for (int i = 0; i < TRIES && (r == -EAGAIN || r == -EIDRM); i++)
        r = open_once(url, o, ret_c);
    return r == -EAGAIN || r == -EIDRM
               ? naru__fail(-EBUSY, "%s is made and removed all the time by others", url->text)
               : r;
}

static int check_numbers(const char *url, uint64_t capacity, uint64_t messages)
{
    if (messages >= NARU_LANE_SLOTS_MAX)
        return naru__fail(-EINVAL, "%s: .messages or .history is %" PRIu64 " and the most is %d",
                          url, messages, NARU_LANE_SLOTS_MAX - 1);
    if (capacity > NARU_LANE_AREA_MAX)
        return naru__fail(-EINVAL, "%s: .capacity is %s and the most is %s", url,
                          naru__size_text(capacity).text, naru__size_text(NARU_LANE_AREA_MAX).text);
    return 0;
}

int naru__lanes_queue(const struct naru_url *url, int role, const struct naru_queue_options *o,
                      naru_channel **ret_c)
{
    int r = check_numbers(url->text, o->capacity, o->messages);
    if (r == 0 && o->receivers > 1)
        r = naru__fail(-EINVAL, "%s: .receivers is %u: 0 is any number, 1 is one", url->text,
                       o->receivers);
    if (r < 0)
        return r;
    const struct options want = {.what = NARU_OBJECT_QUEUE,
                                 .role = role,
                                 .flags = o->flags,
                                 .max_taken = o->max_taken,
                                 .mode = o->mode,
                                 .stash = o->stash,
                                 .option = {[LANES_CAPACITY] = o->capacity,
                                            [LANES_MESSAGES] = o->messages,
                                            [LANES_MAX_MESSAGE] = o->max_message,
                                            [LANES_RECEIVERS] = o->receivers}};
    return open_lanes(url, &want, ret_c);
}

int naru__lanes_topic(const struct naru_url *url, int role, const struct naru_topic_options *o,
                      naru_channel **ret_c)
{
    int r = check_numbers(url->text, o->capacity, o->history);
    if (r == 0 && o->lossy && !(role & NARU_RECV))
        r = naru__fail(-EINVAL, "%s: .lossy is a subscriber's, and this end only publishes",
                       url->text);
    if (r < 0)
        return r;
    const struct options want = {.what = NARU_OBJECT_TOPIC,
                                 .role = role,
                                 .lossy = o->lossy != 0,
                                 .flags = o->flags,
                                 .max_taken = o->max_taken,
                                 .mode = o->mode,
                                 .stash = o->stash,
                                 .option = {[LANES_CAPACITY] = o->capacity,
                                            [LANES_MAX_MESSAGE] = o->max_message,
                                            [LANES_HISTORY] = o->history}};
    return open_lanes(url, &want, ret_c);
}
