/* SPDX-License-Identifier: MIT */
/* handle.c - checks of handles, waiting, cancelling, and the descriptor of naru_fd.
 *
 * Waiting is try, spin, sleep. A spin looks again for about what a wake-up costs; it is skipped on
 * one core and when it has not paid lately. A sleep is one ppoll on what the transport names plus
 * the handle's eventfd, through which naru_cancel speaks.
 *
 * Cancel: `cancelled` is set first, then the eventfds that exist are written; a waiter makes its
 * own first, then looks at `cancelled`, then sleeps. Both orders are sequentially consistent, so
 * one of the two sees the other. Each direction's thread has an eventfd of its own, for whoever
 * drains one takes the wake-up from everybody else who sleeps on it.
 *
 * naru_fd is an epoll set of the same descriptors and of the bell, an eventfd that says that
 * messages lie ready in memory. It is brought up to date at the end of each call, under `arm`. */
#include "core/handle.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/process.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/futex.h"
#include "os/limit.h"
#include "os/poll.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static const char *const noun_name[] = {
    "nothing", "stream",    "channel", "child",  "stream listener", "channel listener",
    "region",  "semaphore", "mutex",   "rwlock", "event",           "barrier",
    "server",  "client",    "call"};

/* ---- life ---- */

int naru__handle_init(struct naru_handle *h, enum naru_handle_noun noun,
                      const struct naru_handle_ops *ops, const char *name, int directions)
{
    h->name = naru__copy_text(name, strlen(name));
    if (!h->name)
        return -ENOMEM;
    h->noun = noun;
    h->process = naru__process();
    h->ops = ops;
    h->directions = directions;
    h->epoll = h->timer = NARU__NO_FD;
    h->wake[0] = h->wake[1] = h->bell = h->pidfd = NARU__NO_FD;
    h->want = directions & NARU_IN ? NARU_IN : NARU_OUT;
    h->spin[0].credit = h->spin[1].credit = 1;
    pthread_mutex_init(&h->arm, NULL);
    h->magic = NARU__MAGIC;
    return 0;
}

void naru__handle_deinit(struct naru_handle *h)
{
    if (h->magic != NARU__MAGIC)
        return;
    h->magic = 0;
    naru__os_close(h->epoll);
    naru__os_close(h->timer);
    naru__os_close(h->wake[0]);
    naru__os_close(h->wake[1]);
    naru__os_close(h->bell);
    naru__os_close(h->pidfd);
    pthread_mutex_destroy(&h->arm);
    free(h->name);
    h->name = NULL;
}

bool naru__is_owner(const struct naru_handle *h)
{
    return h->process == naru__process();
}

int naru__enter_any(const void *handle)
{
    const struct naru_handle *h = handle;
    if (!h)
        return naru__fail_static(-EINVAL, "the handle is NULL");
    if ((uintptr_t)h % _Alignof(struct naru_handle) || h->magic != NARU__MAGIC)
        return naru__fail_static(-EINVAL, "the pointer is not an open naru handle");
    if (!naru__is_owner(h))
        return naru__fail(
            -ECHILD,
            "%s belongs to the process that opened it and this is a forked child: "
            "adopt the end (naru_adopt) if it is one of a pair, else open it by name here",
            h->name);
    return 0;
}

int naru__enter(const void *handle, enum naru_handle_noun noun)
{
    const struct naru_handle *h = handle;
    int r = naru__enter_any(handle);
    if (r < 0)
        return r;
    if (h->noun != noun)
        return naru__fail(-EINVAL, "%s is a %s, and the call wants a %s", h->name,
                          noun_name[h->noun], noun_name[noun]);
    return 0;
}

int naru__check_options(const void *options, size_t size, const char *name)
{
    size_t given = 0;
    if (!options)
        return 0;
    memcpy(&given, options, sizeof given);
    if (given == size)
        return 0;
    return naru__fail(
        -EINVAL, "%s.size is %zu and this library's is %zu: set it to sizeof(struct %s)%s", name,
        given, size, name, given > size ? ", and use a library as new as the header" : "");
}

int naru__check_direction(const struct naru_handle *h, int direction)
{
    if (h->directions & direction)
        return 0;
    return naru__fail(-EOPNOTSUPP,
                      "%s: this end only %s; the other direction needs its own end, or a "
                      "two-way kind",
                      h->name, direction == NARU_IN ? "writes" : "reads");
}

/* ---- waiting ---- */

enum {
    SPIN_NS = 30000, /* about twice a wake-up of a sleeper on another core */
    SPIN_CREDIT = 8, /* failures in a row until spinning stops */
    SPIN_PROBE = 32  /* waits without spinning until it is tried again */
};

int naru__cores(void)
{
    static _Atomic int known; /* relaxed: an idempotent answer */
    int n = atomic_load_explicit(&known, memory_order_relaxed);
    if (n == 0) {
        n = naru__os_cores();
        atomic_store_explicit(&known, n, memory_order_relaxed);
    }
    return n;
}

int naru__check_waiting(unsigned flags)
{
    if (flags & NARU_SPIN && flags & NARU_SLEEP)
        return naru__fail(-EINVAL,
                          "NARU_SPIN and NARU_SLEEP exclude each other: give one, or none");
    return 0;
}

/* On one core the other side could not run while this one spins. */
void naru__set_waiting(struct naru_handle *h, unsigned flags)
{
    h->never_sleeps = flags & NARU_SPIN && naru__cores() >= 2;
    h->never_spins = flags & NARU_SLEEP;
    h->can_spin = !h->never_spins && naru__cores() >= 2;
}

/* Till when; 1: not at all. */
static int64_t spin_end(struct naru_handle *h, int thread, int64_t now)
{
    struct naru_spin *spin = &h->spin[thread];
    if (h->never_sleeps)
        return NARU__NEVER;
    if (h->never_spins || naru__cores() < 2)
        return 1;
    if (spin->credit <= 0 && ++spin->skipped < SPIN_PROBE)
        return 1;
    spin->skipped = 0;
    return now + SPIN_NS;
}

static int make_eventfd(struct naru_handle *h, _Atomic int *slot)
{
    int made = naru__os_eventfd();
    if (made < 0)
        return naru__fail(made, "%s: no eventfd for waiting: %s%s", h->name, naru__errno_text(made),
                          naru__limit_of_files(made).text);
    atomic_store(slot, made);
    return 0;
}

static void wake_sleeper(struct naru_handle *h, int thread)
{
    if (!h->word[thread])
        return;
    atomic_fetch_add(h->word[thread], 1);
    (void)naru__os_futex_wake(h->word[thread], INT_MAX);
}

static void signal_if_made(const _Atomic int *slot)
{
    int fd = atomic_load(slot);
    if (fd >= 0)
        naru__os_eventfd_signal(fd);
}

static bool take_cancel(struct naru_handle *h)
{
    return atomic_load(&h->cancelled) && atomic_exchange(&h->cancelled, 0);
}

static int sleep_on(struct naru_wait *w, const struct naru_watch *watch)
{
    struct naru_handle *h = w->handle;
    _Atomic int *wake = &h->wake[w->thread];
    if (*wake < 0) /* and look again: who came before it was there could not signal it */
        return make_eventfd(h, wake);
    struct pollfd fds[NARU__WATCH_MAX + 1];
    memcpy(fds, watch->fds, watch->n * sizeof *fds);
    fds[watch->n] = (struct pollfd){.fd = *wake, .events = POLLIN};
    if (take_cancel(h))
        return naru__fail(-ECANCELED, "%s: the wait was cancelled", h->name);
    int64_t until = watch->again < w->deadline ? watch->again : w->deadline;
    int r = naru__os_poll(fds, watch->n + 1, until);
    w->slept = true;
    naru__count(&h->counts.sleeps[w->thread], 1);
    if (r >= 0 && fds[watch->n].revents)
        naru__os_drain(*wake);
    if (r == -EINTR || r >= 0)
        return 0;
    return naru__fail(r, "%s: waiting failed: %s", h->name, naru__errno_text(r));
}

/* What ends every wait: the time, or a cancellation. */
static int check_end(struct naru_wait *w, int64_t *ret_now)
{
    struct naru_handle *h = w->handle;
    if (take_cancel(h)) /* also with NARU_NOWAIT: a foreign loop makes no other calls */
        return naru__fail(-ECANCELED, "%s: the wait was cancelled", h->name);
    if (w->deadline == NARU__AT_ONCE)
        return naru__fail_static(-EAGAIN, "nothing can be done at once, and NARU_NOWAIT was given");
    *ret_now = naru__now();
    if (*ret_now >= w->deadline)
        return naru__fail(-ETIMEDOUT, "%s: the time given passed and %s", h->name,
                          w->events == NARU_IN ? "nothing came"
                                               : "there was no room, or no reader");
    return 0;
}

int naru__wait_spin(struct naru_wait *w)
{
    struct naru_handle *h = w->handle;
    int64_t now;
    int r = check_end(w, &now);
    if (r < 0)
        return r;
    if (w->spin_until == 0)
        w->spin_until = spin_end(h, w->thread, now);
    if (now >= w->spin_until)
        return 0;
    for (int i = 0; i < 24 && !w->looks; i++)
        naru__relax();
    return 1;
}

int naru__wait_futex(struct naru_wait *w, _Atomic uint32_t *word, uint32_t value, int64_t again)
{
    struct naru_handle *h = w->handle;
    if (take_cancel(h))
        return naru__fail(-ECANCELED, "%s: the wait was cancelled", h->name);
    int r = naru__os_futex_wait(word, value, again < w->deadline ? again : w->deadline);
    w->slept = true;
    naru__count(&h->counts.sleeps[w->thread], 1);
    if (r == 0 || r == -EINTR || r == -ETIMEDOUT)
        return 0;
    return naru__fail(r, "%s: waiting failed: %s", h->name, naru__errno_text(r));
}

int naru__wait_step(struct naru_wait *w)
{
    struct naru_handle *h = w->handle;
    int r = naru__wait_spin(w);
    if (r != 0)
        return r < 0 ? r : 0;
    struct naru_watch watch = {.again = NARU__NEVER};
    r = h->ops->watch(h, w->events, &watch);
    return r < 0 ? r : sleep_on(w, &watch);
}

int naru__wait_sleep(struct naru_wait *w)
{
    w->spin_until = 1;
    return naru__wait_step(w);
}

int naru__wait_tick(struct naru_wait *w)
{
    int64_t now;
    int r = check_end(w, &now);
    if (r < 0)
        return r;
    w->tick = w->tick == 0 ? 100000 : w->tick < 5000000 ? w->tick * 2 : 10000000;
    return sleep_on(w, &(struct naru_watch){.again = now + w->tick});
}

/* `deaf` is set before looking at `cancelled`, and naru_cancel sets that before looking at `deaf`:
 * one of the two sees the other, and whoever takes the mark away has the answer. */
int naru__wait_deaf(struct naru_wait *w)
{
    struct naru_handle *h = w->handle;
    atomic_store(&h->deaf[w->thread], true);
    naru__count(&h->counts.sleeps[w->thread], 1);
    if (take_cancel(h))
        return naru__fail(-ECANCELED, "%s: the wait was cancelled", h->name);
    return 0;
}

void naru__wait_hearing(struct naru_wait *w)
{
    atomic_store(&w->handle->deaf[w->thread], false);
}

void naru__wait_done(struct naru_wait *w)
{
    if (w->spin_until == 0 || w->spin_until == 1)
        return;
    struct naru_spin *spin = &w->handle->spin[w->thread];
    if (!w->slept)
        spin->credit = SPIN_CREDIT;
    else if (spin->credit > 0)
        spin->credit--;
}

/* ---- public, on every handle ---- */

/* Under arm. What naru_cancel wrote is told from what lies ready by `touched`, which it sets after
 * writing; a bell drained too late costs the owner one look for nothing. */
static void ring(struct naru_handle *h, bool ready)
{
    bool touched = atomic_exchange(&h->touched, false);
    if (!ready && (h->rung || touched))
        naru__os_drain(h->bell);
    bool again = !ready && atomic_load(&h->cancelled);
    if (again || (ready && !h->rung))
        naru__os_eventfd_signal(h->bell);
    h->rung = ready || again;
}

int naru__watch_arm(int epoll, struct naru_watch *old, const struct naru_watch *now)
{
    for (unsigned i = 0; i < old->n; i++) {
        bool stays = false;
        for (unsigned k = 0; k < now->n; k++)
            stays |= now->fds[k].fd == old->fds[i].fd;
        if (!stays)
            (void)naru__os_epoll_change(epoll, EPOLL_CTL_DEL, old->fds[i].fd, 0);
    }
    for (unsigned i = 0; i < now->n; i++) {
        const struct pollfd *p = &now->fds[i];
        uint32_t events =
            (p->events & POLLIN ? EPOLLIN : 0u) | (p->events & POLLOUT ? EPOLLOUT : 0u);
        int r = naru__os_epoll_change(epoll, EPOLL_CTL_ADD, p->fd, events);
        if (r == -EEXIST)
            r = naru__os_epoll_change(epoll, EPOLL_CTL_MOD, p->fd, events);
        if (r < 0)
            return r;
    }
    *old = *now;
    return 0;
}

static int arm_timer(struct naru_handle *h, int64_t again)
{
    if (again == NARU__NEVER && h->timer < 0)
        return 0;
    if (h->timer < 0) {
        int fd = naru__os_timerfd();
        if (fd < 0)
            return fd;
        int r = naru__os_epoll_change(h->epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
        if (r < 0) {
            naru__os_close(fd);
            return r;
        }
        h->timer = fd;
    }
    return naru__os_timerfd_set(h->timer, again);
}

static bool same_watch(const struct naru_watch *a, const struct naru_watch *b)
{
    if (a->n != b->n || a->again != b->again)
        return false;
    for (unsigned i = 0; i < a->n; i++)
        if (a->fds[i].fd != b->fds[i].fd || a->fds[i].events != b->fds[i].events)
            return false;
    return true;
}

static int rearm_locked(struct naru_handle *h)
{
    struct naru_watch now = {.again = NARU__NEVER};
    int r = h->ops->watch(h, h->want, &now);
    if (r >= 0 && !same_watch(&now, &h->armed)) {
        r = naru__watch_arm(h->epoll, &h->armed, &now);
        if (r >= 0)
            r = arm_timer(h, now.again);
        if (r < 0)
            naru__fail(r, "%s: its descriptor cannot be armed: %s%s", h->name, naru__errno_text(r),
                       naru__limit_of_files(r).text);
    }
    ring(h, r < 0 || (h->ops->ready && h->ops->ready(h, h->want)));
    return r;
}

void naru__rearm(struct naru_handle *h)
{
    pthread_mutex_lock(&h->arm);
    /* what cannot be armed is rung: the owner calls again and meets the error there */
    (void)rearm_locked(h);
    pthread_mutex_unlock(&h->arm);
}

/* A set remembers a closed description that a forked child still holds, and forgets one that nobody
 * does, though its number may be used again: so it is told beforehand. */
void naru__replace_fd(struct naru_handle *h, _Atomic int *slot, int fd)
{
    pthread_mutex_lock(&h->arm);
    int old = atomic_exchange(slot, fd);
    struct naru_watch *armed = &h->armed;
    for (unsigned i = 0; h->epoll >= 0 && i < armed->n; i++) {
        if (armed->fds[i].fd != old)
            continue;
        (void)naru__os_epoll_change(h->epoll, EPOLL_CTL_DEL, old, 0);
        armed->fds[i] = armed->fds[--armed->n];
        break;
    }
    naru__os_close(old);
    pthread_mutex_unlock(&h->arm);
}

void naru__nudge(struct naru_handle *h, int thread)
{
    signal_if_made(&h->wake[thread]);
}

static int make_epoll(struct naru_handle *h)
{
    int made = h->bell >= 0 ? 0 : make_eventfd(h, &h->bell);
    if (made < 0)
        return made;
    int fd = naru__os_epoll();
    if (fd < 0)
        return naru__fail(fd, "%s: no epoll descriptor: %s%s", h->name, naru__errno_text(fd),
                          naru__limit_of_files(fd).text);
    int r = naru__os_epoll_change(fd, EPOLL_CTL_ADD, h->bell, EPOLLIN);
    if (r < 0) {
        naru__fail(r, "%s: its descriptor cannot be armed: %s", h->name, naru__errno_text(r));
    } else {
        h->epoll = fd;
        h->armed = (struct naru_watch){.again = NARU__NEVER};
        r = rearm_locked(h);
    }
    if (r < 0) {
        h->epoll = naru__os_close(fd);
        h->timer = naru__os_close(h->timer);
    }
    return r < 0 ? r : 0;
}

int naru__handle_fd(struct naru_handle *h)
{
    if (h->kernels)
        return naru__fail(-EOPNOTSUPP, "%s has no descriptor: %s", h->name, h->kernels);
    if (!h->ops->watch)
        return naru__fail(-EOPNOTSUPP, "%s has nothing to wait for", h->name);
    pthread_mutex_lock(&h->arm);
    int r = h->epoll >= 0 ? 0 : make_epoll(h);
    pthread_mutex_unlock(&h->arm);
    return r < 0 ? r : h->epoll;
}

int naru__handle_want(struct naru_handle *h, int events)
{
    if (events & ~(NARU_IN | NARU_OUT) || events == 0)
        return naru__fail(-EINVAL, "naru_want: %d is neither NARU_IN, NARU_OUT nor both", events);
    for (int d = NARU_IN; d <= NARU_OUT; d <<= 1) {
        int r = events & d ? naru__check_direction(h, d) : 0;
        if (r < 0)
            return r;
    }
    pthread_mutex_lock(&h->arm);
    h->want = events;
    pthread_mutex_unlock(&h->arm);
    naru__leave(h);
    return 0;
}

int naru__handle_cancel(struct naru_handle *h)
{
    if (h->kernels)
        return naru__fail_static(-EOPNOTSUPP, h->kernels);
    atomic_store(&h->cancelled, 1);
    if ((atomic_load(&h->deaf[0]) || atomic_load(&h->deaf[1])) && take_cancel(h))
        return naru__fail_static(-EOPNOTSUPP,
                                 "a wait for ever on this kind is one system call, which nothing "
                                 "ends: wait with a timeout, or open with .cancellable");
    for (int i = 0; i < 2; i++) {
        signal_if_made(&h->wake[i]);
        wake_sleeper(h, i);
    }
    signal_if_made(&h->bell);
    atomic_store(&h->touched, true);
    return 0;
}

void naru__handle_stats(struct naru_handle *h, struct naru_stats *ret_stats)
{
#define READ(count) atomic_load_explicit(&h->counts.count, memory_order_relaxed)
    struct naru_stats stats = {
        .size = ret_stats->size,
        .sent = READ(sent),
        .received = READ(received),
        .bytes_sent = READ(bytes_sent),
        .bytes_received = READ(bytes_received),
        .dropped = READ(dropped),
        .held = READ(held),
        .sleeps = READ(sleeps[0]) + READ(sleeps[1]),
        .calls = READ(calls[0]) + READ(calls[1]),
    };
#undef READ
    if (h->ops->stats)
        h->ops->stats(h, &stats);
    *ret_stats = stats;
}

/* A forked child takes the handle: what the parent's copy waits with stays the parent's. */
int naru__handle_adopt(struct naru_handle *h)
{
    if (h->magic != NARU__MAGIC)
        return naru__fail_static(-EINVAL, "the pointer is not an open naru handle");
    if (!h->ops->adopt)
        return naru__fail(-EOPNOTSUPP,
                          "%s is not an end of a pair: open it by its name in this process",
                          h->name);
    if (naru__is_owner(h))
        return 0;
    int r = h->ops->adopt(h);
    if (r < 0)
        return r;
    h->epoll = naru__os_close(h->epoll);
    h->timer = naru__os_close(h->timer);
    for (int i = 0; i < 2; i++)
        h->wake[i] = naru__os_close(h->wake[i]);
    h->bell = naru__os_close(h->bell);
    atomic_store(&h->cancelled, 0);
    h->rung = false;
    pthread_mutex_init(&h->arm, NULL); /* whoever held it at the fork is not here */
    h->process = naru__process();
    return 0;
}
