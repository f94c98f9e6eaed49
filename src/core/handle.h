/* SPDX-License-Identifier: MIT */
/* handle.h - what every public object begins with: who owns it, how it is waited for, its counts.
 *
 * A handle is checked at each public call (naru__enter): a wrong pointer, another noun and a
 * forked child are found there and nowhere else. */
#ifndef NARU_CORE_HANDLE_H
#define NARU_CORE_HANDLE_H

#include "base/private.h"
#include "base/clock.h"
#include "base/private.h"
#include "base/process.h"
#include "naru/common.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum naru_handle_noun {
    NARU__STREAM = 1,
    NARU__CHANNEL,
    NARU__CHILD,
    NARU__STREAM_LISTENER,
    NARU__CHANNEL_LISTENER,
    NARU__REGION,
    NARU__SEMAPHORE,
    NARU__MUTEX,
    NARU__RWLOCK,
    NARU__EVENT,
    NARU__BARRIER,
    NARU__SERVER,
    NARU__CLIENT,
    NARU__CALL
};

enum { NARU__MAGIC = 0x7572616e }; /* "naru" */

enum { NARU__WATCH_MAX = 16 };

/* What a handle waits for at this moment. */
struct naru_watch {
    struct pollfd fds[NARU__WATCH_MAX];
    unsigned n;
    int64_t again; /* look again at this time even if no descriptor tells; NARU__NEVER */
};

/* An end of a pair on its way into another program. */
struct naru_passage {
    const char *noun;   /* "stream", "channel", "region" */
    const char *scheme; /* "pipe" */
    int fds[2];         /* borrowed: reading, writing; NARU__NO_FD where there is none */
};

/* Counts, each written by one thread and read by any. */
struct naru_counts {
    _Atomic uint64_t sent, received, bytes_sent, bytes_received, dropped, held;
    _Atomic uint64_t sleeps[2], calls[2]; /* in, out */
};

/* relaxed: a count tells nothing about other memory; one writer, so no read-modify-write */
static inline void naru__count(_Atomic uint64_t *count, uint64_t n)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

struct naru_handle;

/* One a kind of object. Slots that may be NULL say so. */
struct naru_handle_ops {
    size_t size;
    /* Fills in what tells that `events` (NARU_IN, NARU_OUT) may be possible. Called by the thread
     * that wants to wait, and by naru_fd under handle->arm. Never blocks. Negative errno with a
     * sentence if a descriptor cannot be made. */
    int (*watch)(struct naru_handle *, int events, struct naru_watch *ret_watch);
    /* Can something wanted be done from memory, which no descriptor tells? NULL: never. */
    bool (*ready)(struct naru_handle *, int events);
    /* A forked child takes this end: drop what must not be shared with the parent. NULL: the
     * object is not an end of a pair. */
    int (*adopt)(struct naru_handle *);
    /* Describes this end for another program. NULL: cannot be passed. */
    int (*pass)(struct naru_handle *, struct naru_passage *ret_passage);
    /* The program has it: free this process's copy without telling the peer anything. NULL: this
     * process keeps its own. */
    void (*passed)(struct naru_handle *);
    /* NULL: the kind does not know. */
    int (*peer)(struct naru_handle *, struct naru_peer *ret_peer);
    /* Adds what is not in handle->counts: capacity, note. NULL: nothing. */
    void (*stats)(struct naru_handle *, struct naru_stats *stats);
};

/* How long to look again before sleeping; learns from whether it paid. One a direction. */
struct naru_spin {
    _Atomic int credit;  /* > 0: spinning has paid lately */
    _Atomic int skipped; /* waits since the last try without credit */
};

struct naru_handle {
    uint32_t magic;
    uint32_t noun;
    uint64_t process; /* the owner: base/process.h */
    const struct naru_handle_ops *ops;
    char *name;     /* the URL as given, for sentences; owned */
    int directions; /* NARU_IN, NARU_OUT: what this end can do at all */
    _Atomic int cancelled;
    _Atomic int wake[2];       /* eventfds of the receiving and the sending thread's sleep, made by
                                * the first, else NARU__NO_FD; each drained by its thread alone */
    _Atomic uint32_t *word[2]; /* futexes that the two threads sleep on, NULL: they poll */
    _Atomic int pidfd;         /* what naru_peer lends, else NARU__NO_FD */
    _Atomic int bell;          /* eventfd in the epoll set: look, though no descriptor tells */
    _Atomic bool touched;      /* naru_cancel has written the bell */
    _Atomic bool deaf[2];      /* that thread is in a system call that naru_cancel cannot end */
    struct naru_spin spin[2];  /* in, out */
    bool can_spin;             /* by the two below and the processors */
    const char *kernels; /* it waits in a system call of its own, so it has neither naru_fd nor
                          * naru_cancel: why; NULL: it has */
    bool never_sleeps, never_spins; /* NARU_SPIN where there are two cores, NARU_SLEEP */
    struct naru_counts counts;

    pthread_mutex_t arm; /* guards what follows: both directions' threads re-arm */
    int epoll;           /* NARU__NO_FD until naru_fd */
    int timer;
    int want;
    bool rung; /* the bell is readable on purpose: ready() said so */
    struct naru_watch armed;
};

int naru__handle_init(struct naru_handle *, enum naru_handle_noun, const struct naru_handle_ops *,
                      const char *name, int directions);
void naru__handle_deinit(struct naru_handle *); /* any state that init or zeroes left */
/* How it is to wait: NARU_SPIN, NARU_SLEEP among other flags; both: -EINVAL. */
int naru__check_waiting(unsigned flags);
void naru__set_waiting(struct naru_handle *, unsigned flags);

/* The check that begins each public call. */
int naru__enter(const void *handle, enum naru_handle_noun noun);
int naru__enter_any(const void *handle);
/* The same where every nanosecond counts. entered: true, or naru__enter tells. */
static inline bool naru__entered(const void *handle, enum naru_handle_noun noun)
{
    const struct naru_handle *h = (const struct naru_handle *)handle;
    return __builtin_expect(h && (uintptr_t)h % _Alignof(struct naru_handle) == 0 &&
                                h->magic == NARU__MAGIC && h->noun == (uint32_t)noun &&
                                h->process == naru__process_known(),
                            1);
}
static inline int naru__enter_fast(const void *handle, enum naru_handle_noun noun)
{
    return naru__entered(handle, noun) ? 0 : naru__enter(handle, noun);
}
NARU__EXPORTED bool naru__is_owner(const struct naru_handle *);

/* The options' .size against what this library knows: -EINVAL with both. NULL options are fine. */
NARU__EXPORTED int naru__check_options(const void *options, size_t size, const char *name);

/* After a call that may have changed what naru_fd must tell. Free when it was never asked. */
void naru__rearm(struct naru_handle *);
static inline void naru__leave(struct naru_handle *h)
{
    if (__builtin_expect(h->epoll >= 0, 0))
        naru__rearm(h);
}

/* Makes an epoll set equal to `now`; *armed is what it has, and becomes that. */
int naru__watch_arm(int epoll, struct naru_watch *armed, const struct naru_watch *now);

/* A descriptor that watch() names is closed, and *slot becomes fd: only so does the epoll set, and
 * the other direction's thread, learn of it. */
void naru__replace_fd(struct naru_handle *, _Atomic int *slot, int fd);

/* One direction's thread has met what the other (0 receiving, 1 sending) may be asleep for. */
NARU__EXPORTED void naru__nudge(struct naru_handle *, int thread);

/* A direction that this end does not have: -EOPNOTSUPP. */
int naru__check_direction(const struct naru_handle *, int direction);
static inline int naru__check_direction_fast(const struct naru_handle *h, int direction)
{
    return __builtin_expect(h->directions & direction, 1) ? 0 : naru__check_direction(h, direction);
}

/* Between two looks at memory that another core writes. */
#if defined(__x86_64__) || defined(__i386__)
#define naru__relax() __builtin_ia32_pause()
#else
#define naru__relax() atomic_signal_fence(memory_order_seq_cst)
#endif

/* How many processors there are, asked once. */
int naru__cores(void);

/* A wait in steps: try, and while it says -EAGAIN take a step. */
struct naru_wait {
    struct naru_handle *handle;
    int events; /* NARU_IN or NARU_OUT */
    int thread; /* 0 the receiving, 1 the sending one */
    int64_t deadline;
    int64_t spin_until; /* 0: not begun */
    int64_t tick;       /* of naru__wait_tick */
    bool slept;
    bool looks; /* the caller looks again by itself between spinning steps */
};

static inline struct naru_wait naru__wait_begin(struct naru_handle *h, int events, int64_t deadline)
{
    return (struct naru_wait){h, events, events == NARU_OUT, deadline, 0, 0, false, false};
}

/* Is the next step a spinning one? */
static inline bool naru__wait_spins(const struct naru_wait *w)
{
    return w->spin_until > 1 && !w->slept;
}

static inline bool naru__wait_never_sleeps(const struct naru_wait *w)
{
    return w->handle->never_sleeps;
}

/* 0: try again. -EAGAIN, -ETIMEDOUT, -ECANCELED with a sentence, or what watch() answered. */
int naru__wait_step(struct naru_wait *);
/* The same without spinning: for what takes long, or costs much to look at. */
int naru__wait_sleep(struct naru_wait *);
/* The same where the kernel tells nobody: sleeps 0.1 ms, rising to 10 ms. */
int naru__wait_tick(struct naru_wait *);
/* The two halves of a step, for who sleeps on a word of shared memory: 1 look again, 0 sleep now,
 * or as naru__wait_step. */
int naru__wait_spin(struct naru_wait *);
/* Sleeps while the word has that value, until it is `again` at the latest: 0, or as above. The
 * handle's `word[thread]` must lead to it, so that naru_cancel can end the sleep. */
int naru__wait_futex(struct naru_wait *, _Atomic uint32_t *word, uint32_t value, int64_t again);
/* Around one system call that waits for ever and that nothing of naru's can end: naru_cancel says
 * so meanwhile. 0, or -ECANCELED: it was told before. */
int naru__wait_deaf(struct naru_wait *);
void naru__wait_hearing(struct naru_wait *);
/* The wait is over: learn whether spinning paid. */
void naru__wait_done(struct naru_wait *);

/* The public calls on any handle, after naru__enter_any (adopt: without). */
int naru__handle_fd(struct naru_handle *);
int naru__handle_want(struct naru_handle *, int events);
int naru__handle_cancel(struct naru_handle *); /* async-signal-safe */
int naru__handle_adopt(struct naru_handle *);
void naru__handle_stats(struct naru_handle *, struct naru_stats *ret_stats);

#endif
