/* SPDX-License-Identifier: MIT */
/* end.c - an end of a connection in shared memory: making it, meeting the other, waiting, dying.
 *
 * Each end makes a file and two eventfds, its bells, and sends them over a unix socket. It reads
 * the other's when it first needs them. The socket is read again when it wakes a wait: a second
 * greeting comes from a program to which an unused end was passed; its end is the other's.
 *
 * Sleeping: the sleeper arms its word (odd), issues a barrier that reaches the other's core, looks
 * once more, and sleeps on its bell, the socket and a pidfd. Whoever publishes looks at the word
 * after it. The barrier is the sleeper's (membarrier) where the other end has registered for it;
 * else the other fences after each publication. So one of the two sees the other.
 *
 * Death: the socket hangs up, or, as a forked child that has inherited it keeps it open, the lock
 * falls that the holder has in its file (os/life.h). That wakes nobody, so a pidfd is watched;
 * where the pid means nothing (another namespace), the closing of the file; else the lock is looked
 * at every 50 ms. An end that its maker has not used yet may still be adopted: it ends by the
 * socket alone. What was published before is received first. */
#include "transport/shm/inside.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/map.h"
#include "os/poll.h"
#include "os/process.h"
#include "os/socket.h"
#include "transport/common/sockets.h"
#include "transport/shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- fork ---- */

/* A child that keeps the socket keeps its hang-up from the other end, which a process that goes on
 * by exec would then not tell of. So it closes the sockets of ends that it cannot adopt. */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shm_end *all;

static void before_fork(void)
{
    pthread_mutex_lock(&all_lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&all_lock);
}

static void in_child(void)
{
    while (all) { /* the copies stay the child's to close, each by itself */
        struct shm_end *e = all;
        all = e->next;
        e->next = e->previous = NULL;
        if (!e->maker)
            e->socket = naru__os_close(e->socket);
    }
    pthread_mutex_unlock(&all_lock);
}

static void register_fork(void)
{
    pthread_atfork(before_fork, after_fork, in_child);
}

static void enlist(struct shm_end *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_fork);
    pthread_mutex_lock(&all_lock);
    e->next = all;
    if (all)
        all->previous = e;
    all = e;
    pthread_mutex_unlock(&all_lock);
}

static void delist(struct shm_end *e)
{
    pthread_mutex_lock(&all_lock);
    if (e->next)
        e->next->previous = e->previous;
    if (e->previous)
        e->previous->next = e->next;
    else if (all == e) /* in a child it is in no list */
        all = e->next;
    pthread_mutex_unlock(&all_lock);
}

/* ---- greeting ---- */

#define GREETING_MAGIC UINT64_C(0x316f6c6c6568616e) /* "nahello1" */
enum { GREETING_FDS = 3 };

struct greeting {
    uint64_t magic;
    uint32_t version, pid;
};

static int greet(struct shm_end *e)
{
    struct greeting g = {GREETING_MAGIC, NARU_RING_VERSION, (uint32_t)getpid()};
    char path[40]; /* opened again, for reading alone; without /proc the seals have to do */
    snprintf(path, sizeof path, "/proc/self/fd/%d", e->memfd);
    int reader = naru__os_open(path, O_RDONLY);
    const int fds[GREETING_FDS] = {reader < 0 ? e->memfd : reader, e->bell_in, e->bell_out};
    union naru_ancillary ancillary;
    struct iovec bytes = {&g, sizeof g};
    struct msghdr m = {.msg_iov = &bytes, .msg_iovlen = 1};
    naru__descriptors_attach(&m, &ancillary, fds, GREETING_FDS);
    ssize_t r = naru__os_send(e->socket, &m, 0);
    naru__os_close(reader);
    e->greeted = true;
    if (r == sizeof g || r == -EPIPE || r == -ECONNRESET)
        return 0; /* it has gone already: whoever waits for it learns so */
    return naru__fail(r < 0 ? (int)r : -EIO, "%s: greeting failed: %s", name_of(e),
                      naru__errno_text(r < 0 ? (int)r : -EIO));
}

/* Descriptors on their way ahead of a message. */
#define PARCEL_MAGIC UINT64_C(0x316c65637261706e) /* "nparcel1" */

struct parcel {
    uint64_t magic, sequence;
    uint32_t n, reserved;
};

/* Under meet. */
static int take_parcel(struct shm_end *e, const struct parcel *is, const int *fds, size_t n,
                       bool cut)
{
    struct naru_parcel *p;
    int r = 0;
    if (is->n > NARU__FDS_MAX || n > is->n || (n < is->n && !cut))
        r = naru__fail(-EPROTO, "%s: %" PRIu32 " descriptors are announced, and %zu came",
                       name_of(e), is->n, n);
    else if (e->n_parcels + n > SHM_PARCELS_MAX)
        r = naru__fail(-EPROTO,
                       "%s: more than %d descriptors came with messages that were not received",
                       name_of(e), SHM_PARCELS_MAX);
    if (r == 0)
        r = naru__parcel_new(fds, cut ? 0 : n, cut ? is->n : 0, &p);
    if (r < 0 || cut)
        naru__descriptors_close(fds, n);
    if (r < 0)
        return r;
    p->sequence = is->sequence;
    p->next = e->parcels;
    e->parcels = p;
    e->n_parcels += p->n;
    return 0;
}

/* 1: a greeting is here; 0: none yet; -EPIPE: the end; -EPROTO. Takes parcels in. Under meet. */
static int hear(struct shm_end *e, int ret_fds[GREETING_FDS])
{
    union {
        struct greeting greeting;
        struct parcel parcel;
    } is;
    union naru_ancillary ancillary;
    struct iovec bytes = {&is, sizeof is};
    int fds[NARU__FDS_MAX];
    struct msghdr m;
    size_t n;
    ssize_t r;
    for (;;) {
        m = (struct msghdr){.msg_iov = &bytes, .msg_iovlen = 1};
        naru__descriptors_expect(&m, &ancillary);
        r = naru__os_receive(e->socket, &m, 0);
        if (r == -ECONNRESET) /* said once, of what it left unread: what it sent is still here */
            r = naru__os_receive(e->socket, &m, 0);
        if (r == -EAGAIN)
            return 0;
        if (r <= 0)
            return -EPIPE;
        n = naru__descriptors_of(&m, fds);
        if (r != sizeof is.parcel || is.parcel.magic != PARCEL_MAGIC)
            break;
        r = take_parcel(e, &is.parcel, fds, n, m.msg_flags & MSG_CTRUNC);
        if (r < 0)
            return (int)r;
    }
    const struct greeting g = is.greeting;
    bool whole = r >= (ssize_t)sizeof g; /* a longer one is cut */
    if (whole && n == GREETING_FDS && g.magic == GREETING_MAGIC && g.version == NARU_RING_VERSION) {
        memcpy(ret_fds, fds, sizeof(int) * GREETING_FDS);
        return 1;
    }
    naru__descriptors_close(fds, n);
    if (whole && m.msg_flags & MSG_CTRUNC && n < GREETING_FDS)
        return naru__fail(-EMFILE, "%s: the descriptors of the other end's greeting did not fit%s",
                          name_of(e), naru__limit_of_files(-EMFILE).text);
    if (whole && g.magic == GREETING_MAGIC && g.version != NARU_RING_VERSION)
        return naru__fail(-EPROTO, "%s: the other end speaks version %" PRIu32 ", this one %d",
                          name_of(e), g.version, NARU_RING_VERSION);
    return naru__fail(-EPROTO, "%s: what is at the other end does not greet as naru does",
                      name_of(e));
}

/* Under meet. Where its message's is in the list; NULL in it: none came. */
static struct naru_parcel **parcel_of(struct shm_end *e, uint64_t sequence)
{
    struct naru_parcel **at = &e->parcels;
    int fds[GREETING_FDS];
    /* it was sent before the message was published: if it is not here, it lies in the socket */
    while (*at && (*at)->sequence != sequence)
        at = &(*at)->next;
    if (*at)
        return at;
    int r = hear(e, fds);
    if (r > 0) /* of nobody who could greet now */
        naru__descriptors_close(fds, GREETING_FDS);
    if (r < 0 && r != -EPIPE)
        e->unmet = r;
    for (at = &e->parcels; *at && (*at)->sequence != sequence;)
        at = &(*at)->next;
    return at;
}

struct naru_parcel *naru__shm_parcel(struct shm_end *e, uint64_t sequence)
{
    pthread_mutex_lock(&e->meet);
    struct naru_parcel **at = parcel_of(e, sequence), *p = *at;
    if (p) {
        *at = p->next;
        e->n_parcels -= p->n;
    }
    pthread_mutex_unlock(&e->meet);
    return p;
}

size_t naru__shm_parcel_size(struct shm_end *e, uint64_t sequence)
{
    pthread_mutex_lock(&e->meet);
    const struct naru_parcel *p = *parcel_of(e, sequence);
    size_t n = p ? p->n : 0;
    pthread_mutex_unlock(&e->meet);
    return n;
}

int naru__shm_refused(struct shm_end *e)
{
    pthread_mutex_lock(&e->meet);
    int r = e->unmet ? e->unmet : -EPROTO;
    pthread_mutex_unlock(&e->meet);
    return r;
}

void naru__shm_keep_parcel(struct shm_end *e, struct naru_parcel *p)
{
    pthread_mutex_lock(&e->meet);
    p->next = e->parcels;
    e->parcels = p;
    e->n_parcels += p->n;
    pthread_mutex_unlock(&e->meet);
}

int naru__shm_send_parcel(struct shm_end *e, uint64_t sequence)
{
    struct naru_wait wait = naru__wait_begin(&e->channel.handle, NARU_OUT, e->parcel.deadline);
    struct parcel is = {.magic = PARCEL_MAGIC, .sequence = sequence, .n = (uint32_t)e->parcel.n};
    union naru_ancillary ancillary;
    struct iovec bytes = {&is, sizeof is};
    struct msghdr m = {.msg_iov = &bytes, .msg_iovlen = 1};
    naru__descriptors_attach(&m, &ancillary, e->parcel.fds, e->parcel.n);
    ssize_t r;
    while ((r = naru__os_send(e->socket, &m, 0)) == -EAGAIN)
        if ((r = naru__wait_tick(&wait)) < 0)
            return (int)r;
    if (r >= 0)
        return 0;
    if (r == -ETOOMANYREFS)
        return naru__parcel_too_many(name_of(e));
    if (r != -EPIPE && r != -ECONNRESET)
        return naru__fail((int)r, "%s: sending descriptors failed: %s", name_of(e),
                          naru__errno_text((int)r));
    int end = naru__shm_look_for_end(e);
    return end < 0 ? end : naru__fail(-ECONNRESET, "%s: the other end has gone", name_of(e));
}

/* Maps the other's file, if it is what it says. */
static int map_theirs(struct shm_end *e, int fd, const struct naru_ring_file **ret_file,
                      struct naru_ring_header *ret_header)
{
    struct stat st;
    void *memory;
    const char *wrong = NULL;
    int seals = naru__os_seals(fd);
    int r = naru__os_fstat(fd, &st);
    if (r < 0 || seals < 0 || !(seals & F_SEAL_SHRINK))
        wrong = "its file could shrink under the reader";
    else if ((uint64_t)st.st_size < NARU_RING_SLOTS_AT)
        wrong = "its file is too short";
    if (!wrong && (r = naru__os_map(fd, (uint64_t)st.st_size, false, &memory)) < 0)
        return naru__fail(r, "%s: the other end's memory (%s) cannot be mapped: %s%s", name_of(e),
                          naru__size_text((uint64_t)st.st_size).text, naru__errno_text(r),
                          naru__limit_of_memory(r, (uint64_t)st.st_size).text);
    if (!wrong) {
        memcpy(ret_header, memory, sizeof *ret_header);
        wrong = naru__ring_check(ret_header, (uint64_t)st.st_size);
        if (wrong)
            naru__os_unmap(memory, (uint64_t)st.st_size);
    }
    if (wrong)
        return naru__fail(-EPROTO, "%s: the other end's memory is refused: %s", name_of(e), wrong);
    *ret_file = memory;
    return 0;
}

static void forget_theirs(struct shm_end *e)
{
    while (e->parcels) {
        struct naru_parcel *p = e->parcels;
        e->parcels = p->next;
        naru__parcel_free(p);
    }
    e->n_parcels = 0;
    if (e->theirs)
        naru__os_unmap(e->theirs, e->other.file);
    e->theirs = NULL;
    free(e->items);
    e->items = NULL;
    e->their_file = naru__os_close(e->their_file);
    e->watched = naru__os_close(e->watched);
    e->watched_lock = 0;
    e->their_bell_in = naru__os_close(e->their_bell_in);
    e->their_bell_out = naru__os_close(e->their_bell_out);
}

static int take_in(struct shm_end *e, int fds[GREETING_FDS])
{
    const struct naru_ring_file *theirs = NULL;
    struct naru_ring_header other;
    int r = map_theirs(e, fds[0], &theirs, &other);
    if (r < 0)
        return r;
    struct naru_ring_item *items = naru__alloc(other.slots * sizeof *items);
    if (!items) {
        naru__os_unmap(theirs, other.file);
        return -ENOMEM;
    }
    forget_theirs(e);
    e->theirs = theirs;
    e->other = other;
    e->items = items;
    e->their_file = fds[0];
    e->their_bell_in = fds[1];
    e->their_bell_out = fds[2];
    naru__ring_receiver(&e->rx, theirs, &other, items, &e->mine->cursor.value);
    e->tx.cursor = &theirs->cursor.value;
    atomic_store_explicit(&e->next_seen, 1, memory_order_relaxed);
    struct stat st; /* for whoever looks from outside */
    uint64_t inode = naru__os_fstat(fds[0], &st) < 0 ? 0 : st.st_ino;
    atomic_store_explicit(&e->mine->life.other, inode, memory_order_relaxed);
    /* release: pairs with the acquire in naru__shm_met */
    atomic_store_explicit(&e->met, true, memory_order_release);
    for (int thread = 0; thread < 2; thread++) /* the other one may sleep on the socket for this */
        naru__nudge(&e->channel.handle, thread);
    return 0;
}

/* Under meet. 0: nothing new, or met; -EPIPE: the end; else the error. */
static int meet_once(struct shm_end *e)
{
    int fds[GREETING_FDS] = {NARU__NO_FD, NARU__NO_FD, NARU__NO_FD};
    struct stat st;
    if (e->unmet)
        return naru__fail(e->unmet,
                          "%s: what came by the other end's socket was refused (%s), and comes but "
                          "once: close this end, and connect again",
                          name_of(e), naru__errno_text(e->unmet));
    int r = e->greeted ? 0 : greet(e);
    if (r == 0)
        r = hear(e, fds);
    if (r < 0 && r != -EPIPE)
        e->unmet = r;
    if (r <= 0)
        return r;
    bool met = atomic_load_explicit(&e->met, memory_order_relaxed);
    bool again = met && naru__os_fstat(fds[0], &st) == 0 &&
                 st.st_ino == atomic_load_explicit(&e->mine->life.other, memory_order_relaxed);
    if (!met)
        r = take_in(e, fds);
    else if (!again) /* it could not be passed on, and greeted anew */
        r = naru__fail(-EPROTO, "%s: another end greets as the other one", name_of(e));
    if (r < 0)
        e->unmet = r;
    if (r < 0 || again)
        naru__descriptors_close(fds, GREETING_FDS);
    return r < 0 ? r : 0;
}

int naru__shm_meet(struct shm_end *e)
{
    pthread_mutex_lock(&e->meet);
    int r = meet_once(e);
    bool met = atomic_load_explicit(&e->met, memory_order_relaxed);
    if (r == -EPIPE)
        atomic_store_explicit(&e->gone, ECONNRESET, memory_order_relaxed);
    pthread_mutex_unlock(&e->meet);
    if (met)
        return 0;
    if (r == -EPIPE)
        return naru__fail(-ECONNRESET, "%s: the other end vanished before it greeted", name_of(e));
    return r < 0 ? r : -EAGAIN;
}

/* ---- the other's end ---- */

void naru__shm_say_state(struct shm_end *e, uint32_t state)
{
    _Atomic uint64_t *holder = &e->mine->life.holder;
    uint64_t is = atomic_load_explicit(holder, memory_order_relaxed);
    while (is >> 32 == (uint32_t)getpid() && (uint32_t)is < state)
        /* release: pairs with the acquire in naru__shm_state */
        if (atomic_compare_exchange_weak_explicit(holder, &is, is >> 32 << 32 | state,
                                                  memory_order_release, memory_order_relaxed))
            return;
}

int naru__shm_ended(const struct shm_end *e, bool finished)
{
    uint32_t pid = naru__shm_their_pid(e);
    if (finished)
        return naru__fail(-EPIPE, "%s: the other end has finished and all it sent was read",
                          name_of(e));
    return naru__fail(-ECONNRESET, "%s: the other end (pid %" PRIu32 ") vanished without finishing",
                      name_of(e), pid);
}

void naru__shm_use(struct shm_end *e)
{
    atomic_store_explicit(&e->used, true, memory_order_relaxed);
    naru__shm_say_state(e, NARU_RING_OPEN);
}

enum { TICK = 50 * 1000000 }; /* ns: where nothing tells of a death */

/* Is it this process that has the other end, too? */
static bool is_here(const struct shm_end *e)
{
    const struct naru_ring_life *life = &e->theirs->life;
    /* relaxed: the two are a holder's or two holders'; then the lock is another as well */
    return naru__shm_their_pid(e) == (uint32_t)getpid() &&
           atomic_load_explicit(&life->pid_namespace, memory_order_relaxed) ==
               atomic_load_explicit(&e->mine->life.pid_namespace, memory_order_relaxed);
}

/* Under meet. What wakes when the holder of the other end dies; NARU__NO_FD: nothing does. True: it
 * is another one than before. */
static bool watch_holder(struct shm_end *e)
{
    const struct naru_ring_life *life = &e->theirs->life;
    /* acquire: pairs with the release in claim(); whose lock it is was said before */
    uint64_t lock = atomic_load_explicit(&life->lock, memory_order_acquire);
    uint32_t pid = naru__shm_their_pid(e);
    if (lock == e->watched_lock && e->watched_lock != 0)
        return false;
    e->watched = naru__os_close(e->watched);
    e->watched_lock = lock;
    uint64_t namespace = atomic_load_explicit(&life->pid_namespace, memory_order_relaxed);
    uint64_t ours = atomic_load_explicit(&e->mine->life.pid_namespace, memory_order_relaxed);
    if (is_here(e))
        return true;
    int fd = namespace != 0 && namespace == ours ? naru__os_pidfd((pid_t)pid) : -ESRCH;
    e->watches_process = fd >= 0;
    if (fd < 0 && lock != 0)
        fd = naru__os_watch_closes(e->their_file);
    e->watched = fd >= 0 ? fd : NARU__NO_FD;
    return true;
}

/* Under meet. The lock of the other end's holder is free; what wakes may wake for less. */
static bool holder_died(struct shm_end *e)
{
    const struct naru_ring_life *life = &e->theirs->life;
    struct pollfd p = {.fd = e->watched, .events = POLLIN};
    /* Before its lock: a child that adopts has a new one before it says so, and what the maker left
     * would else be looked for by the old lock and found in the child's state. */
    uint32_t state = naru__shm_state(e);
    bool told = e->watched >= 0 && naru__os_poll(&p, 1, NARU__AT_ONCE) > 0;
    uint64_t again, lock = atomic_load_explicit(&life->lock, memory_order_acquire);
    if (told && !e->watches_process)
        naru__os_drain(e->watched);
    int held = lock == 0 ? !(told && e->watches_process) : 1;
    while (lock != 0) {
        held = naru__os_life_held(e->their_file, lock);
        /* acquire: a new holder has its lock before it says so, and the old one lets go after */
        again = atomic_load_explicit(&life->lock, memory_order_acquire);
        if (again == lock)
            break;
        lock = again;
    }
    if (told && held && e->watches_process) /* others run in its memory still, or it was adopted */
        e->watched = naru__os_close(e->watched);
    return held == 0 && state != NARU_RING_MADE && state != NARU_RING_LEFT;
}

int naru__shm_look_for_end(struct shm_end *e)
{
    bool met;
    pthread_mutex_lock(&e->meet);
    atomic_store_explicit(&e->looked, naru__now(), memory_order_relaxed);
    int r = meet_once(e);
    met = atomic_load_explicit(&e->met, memory_order_relaxed);
    if (r == -EPIPE || (met && holder_died(e)))
        atomic_store_explicit(&e->gone, ECONNRESET, memory_order_relaxed);
    bool gone = atomic_load_explicit(&e->gone, memory_order_relaxed);
    pthread_mutex_unlock(&e->meet);
    if (!met && gone)
        return naru__fail(-ECONNRESET, "%s: the other end vanished before it greeted", name_of(e));
    if (gone)
        return naru__shm_ended(e, naru__shm_state(e) >= NARU_RING_LEFT);
    return r < 0 && r != -EPIPE ? r : 0;
}

/* ---- waiting ---- */

static bool come(struct shm_end *e, int events)
{
    if (!atomic_load_explicit(&e->met, memory_order_acquire))
        return false;
    if (events & NARU_IN)
        return naru__shm_arrived(e) || naru__shm_state(e) >= NARU_RING_FINISHED;
    /* relaxed: a hint; naru__ring_refresh looks properly */
    return atomic_load_explicit(e->tx.cursor, memory_order_relaxed) != e->tx.consumed ||
           naru__shm_state(e) == NARU_RING_CLOSED;
}

int naru__shm_wait(struct shm_end *e, struct naru_wait *wait)
{
    enum { LOOKS = 100 };
    wait->looks = true;
    if (naru__wait_spins(wait))
        for (int i = 0; i < LOOKS; i++) {
            if (come(e, wait->events))
                return 0;
            naru__relax();
        }
    return naru__wait_step(wait);
}

bool naru__shm_asks(const struct shm_end *e, const struct naru_wait *wait)
{
    enum { EVERY = 1000000 }; /* ns: for who never sleeps */
    if (wait->slept)
        return true;
    if (wait->deadline != NARU__AT_ONCE && !naru__wait_never_sleeps(wait))
        return false;
    return naru__now() - atomic_load_explicit(&e->looked, memory_order_relaxed) > EVERY;
}

/* Makes the word odd, or even; a new odd number is a new sleep. Both directions' threads may come
 * here, by naru_fd. */
static void set_armed(struct naru_ring_word *word, bool armed)
{
    uint64_t is = atomic_load_explicit(&word->value, memory_order_relaxed);
    while (armed || is & 1)
        /* relaxed: arm() fences; that it is over needs no order, a ring too many does no harm */
        if (atomic_compare_exchange_weak_explicit(&word->value, &is, is + (armed && is & 1 ? 2 : 1),
                                                  memory_order_relaxed, memory_order_relaxed))
            return;
}

/* What the sleeper says, and then looks once more. False: there is something already. */
static bool arm(struct shm_end *e, int events, int64_t *ret_again)
{
    enum { NAP = 1000000 }; /* ns: where no barrier reaches the other end */
    bool out = events == NARU_OUT;
    struct naru_ring_word *word = out ? &e->mine->armed_out : &e->mine->armed_in;
    bool armed = atomic_load_explicit(&word->value, memory_order_relaxed) & 1;
    bool rung = naru__os_eventfd_take(out ? e->bell_out : e->bell_in);
    if (rung || !armed || !atomic_load_explicit(&e->armed_well[out], memory_order_relaxed)) {
        set_armed(word, true);
        atomic_thread_fence(memory_order_seq_cst);
        bool well = !atomic_load_explicit(&e->theirs->life.registered, memory_order_relaxed) ||
                    naru__os_barrier() == 0;
        /* relaxed: armed by one thread and found so by another, the barrier is over in either case
         */
        atomic_store_explicit(&e->armed_well[out], well, memory_order_relaxed);
        if (!well)
            *ret_again = naru__now() + NAP;
    } /* else as before, and unrung: whoever publishes rings */
    if (!come(e, events))
        return true;
    naru__nudge(&e->channel.handle, out); /* it may sleep on the bell that was emptied here */
    return false;
}

void naru__shm_waited(struct shm_end *e, struct naru_wait *wait)
{
    naru__wait_done(wait);
    if (wait->slept && e->channel.handle.epoll < 0)
        set_armed(wait->events == NARU_OUT ? &e->mine->armed_out : &e->mine->armed_in, false);
}

static int end_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct shm_end *e = of_handle(h);
    bool met = naru__shm_met(e) == 0;
    bool quiet = true;
    unsigned n = 0;
    if (atomic_load_explicit(&e->gone, memory_order_relaxed)) {
        ret_watch->again = naru__now();
        return 0;
    }
    if (met && events & NARU_IN) {
        quiet &= arm(e, NARU_IN, &ret_watch->again);
        ret_watch->fds[n++] = (struct pollfd){.fd = e->bell_in, .events = POLLIN};
    }
    if (met && events & NARU_OUT) {
        quiet &= arm(e, NARU_OUT, &ret_watch->again);
        if (!(events & NARU_IN)) /* what it does not want may stand in the way */
            naru__shm_ring_receiver(e);
        ret_watch->fds[n++] = (struct pollfd){.fd = e->bell_out, .events = POLLIN};
    }
    pthread_mutex_lock(&e->meet);
    if (met && watch_holder(e) && holder_died(e)) { /* before it was watched: nothing will tell */
        atomic_store_explicit(&e->gone, ECONNRESET, memory_order_relaxed);
        quiet = false;
    }
    ret_watch->fds[n++] = (struct pollfd){.fd = e->socket, .events = POLLIN};
    if (e->watched >= 0)
        ret_watch->fds[n++] = (struct pollfd){.fd = e->watched, .events = POLLIN};
    else if (met && !is_here(e) && ret_watch->again > naru__now() + TICK)
        ret_watch->again = naru__now() + TICK;
    pthread_mutex_unlock(&e->meet);
    ret_watch->n = n;
    if (!quiet)
        ret_watch->again = naru__now();
    return 0;
}

static bool end_ready(struct naru_handle *h, int events)
{
    struct shm_end *e = of_handle(h);
    if (!atomic_load_explicit(&e->met, memory_order_acquire))
        return false;
    if (atomic_load_explicit(&e->gone, memory_order_relaxed))
        return true;
    if (events & NARU_IN &&
        (atomic_load_explicit(&e->has_ready, memory_order_relaxed) || come(e, NARU_IN)))
        return true;
    return events & NARU_OUT && (e->finished || naru__shm_has_room(e));
}

/* ---- life ---- */

/* The next byte that nobody has; 0 where there is no /proc to open the file by. */
static int take_lock(struct shm_end *e, uint64_t *ret_lock)
{
    enum { TRIES = 100 };
    uint64_t lock = atomic_load_explicit(&e->mine->life.lock, memory_order_relaxed);
    int r = -EAGAIN;
    for (int i = 0; i < TRIES && r == -EAGAIN; i++)
        r = naru__os_life_hold(e->memfd, ++lock, &e->life);
    if (r < 0 && r != -ENOENT)
        return naru__fail(r, "%s: no lock that tells the other end that this one lives: %s%s",
                          name_of(e), naru__errno_text(r), naru__limit_of_files(r).text);
    *ret_lock = r < 0 ? 0 : lock;
    return 0;
}

static int claim(struct shm_end *e, uint32_t state)
{
    struct naru_ring_life *life = &e->mine->life;
    uint64_t lock;
    int r = take_lock(e, &lock);
    if (r < 0)
        return r;
    e->registered = naru__os_barrier_register() == 0;
    atomic_store_explicit(&life->registered, e->registered, memory_order_relaxed);
    atomic_store_explicit(&life->pid_namespace, naru__os_pid_namespace(), memory_order_relaxed);
    /* release: pairs with the acquires in holder_died() and watch_holder() */
    atomic_store_explicit(&life->lock, lock, memory_order_release);
    /* release: pairs with the acquire in naru__shm_their_pid */
    atomic_store_explicit(&life->holder, (uint64_t)getpid() << 32 | state, memory_order_release);
    return 0;
}

static int end_adopt(struct naru_handle *h)
{
    struct shm_end *e = of_handle(h);
    if (!e->pair)
        return naru__fail(
            -EOPNOTSUPP,
            "%s is no end of a pair: it has one holder, whom the other end knows; let the "
            "process that is to serve it accept, connect or inherit it",
            name_of(e));
    if (e->socket < 0)
        return naru__fail(-EBUSY, "%s: the parent of this process has this end for its own",
                          name_of(e));
    int r = claim(e, NARU_RING_OPEN);
    if (r < 0)
        return r;
    enlist(e);                          /* this process's now */
    pthread_mutex_init(&e->meet, NULL); /* whoever held it at the fork is not here */
    e->watched_lock = 0;
    e->maker = false;
    return 0;
}

static struct shm_end *other_of(const struct shm_end *e)
{
    return e->pair ? e->pair->end[e->pair->end[0] == e] : NULL;
}

/* What this process's ends of a pair have said to each other, and nobody has heard. */
static void unsay(struct shm_end *e)
{
    int fds[GREETING_FDS];
    while (hear(e, fds) > 0)
        naru__descriptors_close(fds, GREETING_FDS);
    e->greeted = false;
}

/* The program greets for itself, and each end that stays here greets again when it is used. */
static int end_pass(struct naru_handle *h, struct naru_passage *ret_passage)
{
    struct shm_end *e = of_handle(h), *other = other_of(e);
    if (atomic_load_explicit(&e->used, memory_order_relaxed))
        return naru__fail(-EBUSY,
                          "%s: this end has been used already and cannot go to another program",
                          name_of(e));
    if (other) {
        pthread_mutex_lock(&other->meet);
        unsay(e);
        unsay(other);
        pthread_mutex_unlock(&other->meet);
    }
    *ret_passage = (struct naru_passage){"channel", "shm", {e->socket, e->socket}};
    return 0;
}

static void leave_pair(struct shm_end *e)
{
    struct shm_pair *pair = e->pair;
    if (!pair)
        return;
    pair->end[pair->end[1] == e] = NULL;
    if (!pair->end[0] && !pair->end[1])
        free(pair);
}

static void end_free(struct shm_end *e)
{
    delist(e);
    leave_pair(e);
    naru__shm_drop_received(e);
    if (e->reserved.data && e->reserved.own)
        free(e->reserved.data);
    forget_theirs(e);
    if (e->mine)
        naru__os_unmap(e->mine, e->size);
    free(e->ends);
    naru__os_life_drop(&e->life);
    naru__os_close(e->bell_in);
    naru__os_close(e->bell_out);
    naru__os_close(e->memfd);
    naru__os_close(e->socket);
    pthread_mutex_destroy(&e->meet);
    naru__handle_deinit(&e->channel.handle);
    free(e);
}

static void end_passed(struct naru_handle *h)
{
    struct shm_end *e = of_handle(h), *other = other_of(e);
    if (other) {
        pthread_mutex_lock(&other->meet);
        atomic_store_explicit(&other->met, false, memory_order_release);
        forget_theirs(other);
        pthread_mutex_unlock(&other->meet);
    }
    end_free(e);
}

static void end_close(naru_channel *channel, bool owner)
{
    struct shm_end *e = of_channel(channel);
    if (owner) {
        naru__shm_say_state(e, e->maker ? NARU_RING_LEFT : NARU_RING_CLOSED);
        /* a greeting that was not heard yet may be for a child that adopts this end */
        if (atomic_load_explicit(&e->met, memory_order_acquire)) {
            naru__shm_ring_receiver(e);
            naru__shm_ring_sender(e);
        }
    }
    end_free(e);
}

static int end_peer(struct naru_handle *h, struct naru_peer *ret_peer)
{
    struct shm_end *e = of_handle(h);
    int r = naru__socket_peer(h, e->socket, NULL, ret_peer);
    if (r == 0 && e->pair && naru__shm_met(e) == 0) { /* the socket knows who made the pair */
        ret_peer->pid = naru__shm_their_pid(e);
        ret_peer->pidfd = -1;
    }
    return r;
}

static void end_stats(struct naru_handle *h, struct naru_stats *stats)
{
    const struct shm_end *e = of_handle(h);
    stats->capacity = e->mine->header.area;
    stats->capacity_asked = e->capacity;
}

static int end_wait_peers(naru_channel *channel, unsigned n, int64_t deadline)
{
    struct shm_end *e = of_channel(channel);
    struct naru_wait wait = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    int r = n > 1 ? naru__fail(-EOPNOTSUPP, "%s: a connection has one other end", name_of(e)) : 0;
    while (r == 0 && n > 0 && (r = naru__shm_met(e)) == -EAGAIN)
        r = naru__wait_step(&wait);
    return r;
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = end_watch,
    .ready = end_ready,
    .adopt = end_adopt,
    .pass = end_pass,
    .passed = end_passed,
    .peer = end_peer,
    .stats = end_stats,
};

static const struct naru_channel_ops channel_ops = {
    .size = sizeof channel_ops,
    .send = naru__shm_send,
    .send_many = naru__shm_send_many,
    .take = naru__shm_take,
    .take_ready = naru__shm_take_ready,
    .recv = naru__shm_recv,
    .send_fds = naru__shm_send_fds,
    .recv_fds = naru__shm_recv_fds,
    .release = naru__shm_release,
    .give_back = naru__shm_give_back,
    .reserve = naru__shm_reserve,
    .commit = naru__shm_commit,
    .abandon = naru__shm_abandon,
    .flush = naru__shm_flush,
    .shutdown = naru__shm_shutdown,
    .wait_peers = end_wait_peers,
    .close = end_close,
};

/* ---- making one ---- */

static int make_file(struct shm_end *e, size_t capacity)
{
    struct naru_ring_header plan = naru__ring_plan(capacity, e->max_receive);
    void *memory;
    char label[NARU_RING_LABEL];
    const char *rest = strchr(name_of(e), ':'); /* one that was inherited has none */
    snprintf(label, sizeof label, "naru:%s", rest ? rest + 1 : "");
    uint64_t begun = capacity == 0 ? NARU_RING_AREA_FIRST : plan.area; /* of the area */
    int r = e->memfd = naru__os_memfd(label);
    if (r >= 0)
        r = naru__os_may_write_to(plan.file) ? 0 : -ENOSPC;
    if (r == 0)
        r = naru__os_allocate(e->memfd, plan.file - plan.area + begun);
    if (r == 0 && begun < plan.area)
        r = naru__os_truncate(e->memfd, plan.file);
    if (r == 0)
        r = naru__os_map(e->memfd, plan.file, true, &memory);
    if (r < 0)
        return naru__fail(r, "%s: no shared memory of %s: %s%s%s", name_of(e),
                          naru__size_text(plan.file).text, naru__errno_text(r),
                          naru__limit_of_files(r).text, naru__limit_of_memory(r, plan.file).text);
    e->mine = memory;
    e->size = plan.file;
    e->mine->header = plan;
    e->ends = naru__alloc(plan.slots * sizeof *e->ends);
    if (!e->ends)
        return -ENOMEM;
    naru__ring_sender(&e->tx, e->mine, e->ends, &e->mine->cursor.value); /* until they have met */
    e->tx.area_size = begun;
    e->area_most = plan.area;
    /* whoever gets the descriptor can neither cut the file nor write into it */
    r = naru__os_seal(e->memfd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
    if (r == -EINVAL) /* before Linux 5.1 */
        r = naru__os_seal(e->memfd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    return r < 0
               ? naru__fail(r, "%s: sealing its memory failed: %s", name_of(e), naru__errno_text(r))
               : 0;
}

static int make_bells(struct shm_end *e)
{
    e->bell_in = naru__os_eventfd();
    e->bell_out = e->bell_in < 0 ? NARU__NO_FD : naru__os_eventfd();
    int r = e->bell_in < 0 ? e->bell_in : e->bell_out < 0 ? e->bell_out : 0;
    return r < 0 ? naru__fail(r, "%s: no eventfd for waiting: %s%s", name_of(e),
                              naru__errno_text(r), naru__limit_of_files(r).text)
                 : 0;
}

int naru__shm_end(const char *name, int socket, bool pair, const struct naru_channel_options *o,
                  naru_channel **ret_c)
{
    struct shm_end *e = naru__alloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    e->socket = e->memfd = e->bell_in = e->bell_out = NARU__NO_FD;
    e->their_bell_in = e->their_bell_out = e->their_file = e->watched = NARU__NO_FD;
    int r =
        naru__handle_init(&e->channel.handle, NARU__CHANNEL, &handle_ops, name, NARU_IN | NARU_OUT);
    if (r < 0) {
        free(e);
        return r;
    }
    pthread_mutex_init(&e->meet, NULL);
    e->channel.ops = &channel_ops;
    e->channel.selects = true;
    e->channel.max_message = NARU_MESSAGE_MAX;
    e->channel.max_name = "the largest message";
    e->channel.max_taken = o->max_taken ? o->max_taken : 1024;
    e->maker = pair;
    e->max_receive = o->max_message ? o->max_message : NARU_MESSAGE_MAX;
    e->stash = o->stash ? o->stash : 1 << 20;
    e->capacity = o->capacity;
    r = make_bells(e);
    if (r == 0)
        r = make_file(e, o->capacity);
    if (r == 0)
        r = claim(e, pair ? NARU_RING_MADE : NARU_RING_OPEN);
    if (r == 0) {
        e->socket = socket;
        r = greet(e);
    }
    if (r < 0) {
        e->socket = NARU__NO_FD;
        end_free(e);
        return r;
    }
    enlist(e);
    *ret_c = &e->channel;
    return 0;
}

int naru__shm_couple(naru_channel *a, naru_channel *b)
{
    struct shm_pair *pair = naru__alloc(sizeof *pair);
    if (!pair)
        return -ENOMEM;
    pair->end[0] = of_channel(a);
    pair->end[1] = of_channel(b);
    of_channel(a)->pair = of_channel(b)->pair = pair;
    return 0;
}
