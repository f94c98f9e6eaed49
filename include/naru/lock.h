/* SPDX-License-Identifier: MIT */
/* naru/lock.h - locks between processes, each of which outlives its holder.
 *
 *   struct naru_semaphore_options o = {sizeof o, .value = 4};
 *   naru_semaphore *s;
 *   naru_semaphore_open("shm:gpu", &o, &s);
 *   naru_semaphore_acquire(s, 1, NARU_FOREVER);      // one of four
 *   ...                                              // killed here: it comes back by itself
 *   naru_semaphore_release(s, 1);
 *
 * A semaphore is one of two kinds, chosen when it is made. Owned permits belong to the handle that
 * acquired them: closing it, and the death of its process, give them back, exactly those that it
 * had, within 100 ms of the kernel's report of the death, and at once to whoever opens it next.
 * Plain ones belong to nobody: what one process posts another waits for, as with POSIX's.
 *
 *   URL                         what it is
 *   shm:name, shm:/dir          as fast as a futex; both kinds; until naru_remove
 *   a place in a region         the same (naru_semaphore_at), as long as the region lasts
 *   map:/file                   the same in a file; free again after a restart of the machine
 *   posix-sem:/name             what sem_open opens; plain. Neither a descriptor nor naru_cancel
 *   sysv-sem:/path#id, 0xKEY    what semget finds, its first semaphore. Owned: with SEM_UNDO
 *
 * A mutex is had by one, a rwlock by any number of readers or one writer; both are shm:, map: or in
 * a region. If a mutex's owner or a writer dies, what it guarded may be half changed: so every next
 * owner is told, by -EOWNERDEAD, until one has made it whole and recovers the lock, or gives it up.
 * A reader that dies just reads no more.
 *
 * Death is what the kernel says, never a guess: a process that is stopped keeps what it has, and
 * others wait for it until their time passes; the sentence names it. What hangs for ever can lose
 * its permits by name (naru_semaphore_revoke); its release is -EPERM then, and no surplus.
 *
 * Any number of threads may use one handle. As regards death and closing the handle is the owner;
 * of a mutex and a rwlock the thread besides: threads of one handle keep each other out, and only
 * who has it unlocks it. A lock in memory that a hostile process may write protects nobody: naru
 * checks what it reads there, and answers -EPROTO. */
#ifndef NARU_LOCK_H
#define NARU_LOCK_H

#include <naru/common.h>
#include <naru/region.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct naru_semaphore naru_semaphore;
typedef struct naru_mutex naru_mutex;
typedef struct naru_rwlock naru_rwlock;
typedef struct naru_event naru_event;
typedef struct naru_barrier naru_barrier;

enum naru_semaphore_kind {
    NARU_OWNED, /* acquire and release */
    NARU_PLAIN  /* post and wait */
};

/* .flags besides NARU_EXCLUSIVE, NARU_EXISTING, NARU_SPIN and NARU_SLEEP */
#define NARU_FAIR                                                                                  \
    2048u /* who came first is served first, at the price of a wake-up each time; else             \
           * whoever is awake may be, and nobody is overtaken for ever */
#define NARU_PRIO_INHERIT                                                                          \
    4096u /* mutexes: while others wait, its owner runs at the highest of                          \
           * their priorities; for real-time threads */

struct naru_semaphore_options {
    size_t size;    /* sizeof(struct naru_semaphore_options) */
    int kind;       /* NARU_OWNED, NARU_PLAIN; one that is there keeps its own */
    unsigned value; /* permits at creation: owned 1 ... 1048575, plain 0 ... 2147483647. 0,
                     * opening: as it is */
    unsigned flags;
    mode_t mode;           /* of what this call creates, 0: 0600 */
    unsigned participants; /* handles at once, of a new one: up to 4095; 0: 1024, in a region 64 */
};

/* naru_semaphore_open - opens a semaphore by its name, or makes it
 *
 * The first opener creates; what a later one gives besides 0 must agree.
 *
 * ret_semaphore: owned by the caller, naru_semaphore_close.
 * Returns: 0.
 * Errors: -EEXIST it is there with another noun, kind, value, mode or without NARU_FAIR (both are
 * named), or NARU_EXCLUSIVE was given; -ENOENT NARU_EXISTING; -ENOSPC it has as many participants
 * as it can have, or there is no room; -EACCES owner and mode; -EPROTO another version's, or
 * damaged; -EOPNOTSUPP the kind is no semaphore, or cannot what an option asks for; the common
 * ones.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_semaphore_open(const char *url, const struct naru_semaphore_options *options,
                                 naru_semaphore **ret_semaphore);

/* naru_lock_bytes - how much room a lock in a region takes
 *
 * participants: as in the options, 0: 64.
 *
 * Returns: bytes.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API size_t naru_lock_bytes(unsigned participants);

/* naru_semaphore_at - opens, or makes, the semaphore at that place of a region
 *
 * offset: a multiple of 128, where naru_lock_bytes() are left. Zeroes there become a new one; of
 * several processes that do this at once one makes it. It lies there as long as the region does.
 * Close it before the region. .mode does not count: who may write the region may use it.
 *
 * ret_semaphore: owned by the caller, naru_semaphore_close.
 * Returns: 0.
 * Errors: -EPROTO something else lies there; -ENOSPC it does not fit; -EPERM the region was opened
 * for reading; -EOPNOTSUPP a region of sysv-shm, of whose users the kernel cannot say who lives;
 * else as naru_semaphore_open.
 * Thread: any. Fork: works. Blocks: while another makes it. */
NARU_API int naru_semaphore_at(naru_region *region, size_t offset,
                               const struct naru_semaphore_options *options,
                               naru_semaphore **ret_semaphore);

/* naru_semaphore_acquire - takes n permits at once, which this handle then owns
 *
 * All of them or none; a large request is not starved by small ones.
 *
 * Returns: 0.
 * Errors: -EAGAIN, -ETIMEDOUT so many were not free (after a wait the sentence names the owners);
 * -ECANCELED; -EIDRM it was removed; -EINVAL n is 0 or more than there are; -EOPNOTSUPP it is a
 * plain one; -EPROTO its memory is damaged; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_semaphore_acquire(naru_semaphore *semaphore, unsigned n, int64_t timeout);

/* naru_semaphore_release - gives n permits back
 *
 * Returns: 0.
 * Errors: -EPERM this handle owns fewer, or they were revoked; nothing is given back then; else as
 * naru_semaphore_acquire.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_semaphore_release(naru_semaphore *semaphore, unsigned n);

/* naru_semaphore_post - adds n to a plain semaphore
 *
 * Returns: 0.
 * Errors: -EOVERFLOW it would be more than 2147483647; -EOPNOTSUPP it has owned permits, or it is
 * posix-sem: and n is not 1; -EIDRM; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_semaphore_post(naru_semaphore *semaphore, unsigned n);

/* naru_semaphore_wait - takes n from a plain semaphore, waiting until it has so many
 *
 * Returns: 0.
 * Errors: -EAGAIN, -ETIMEDOUT; -ECANCELED; -EIDRM; -EINVAL n is 0 or more than 1048575;
 * -EOPNOTSUPP as naru_semaphore_post; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_semaphore_wait(naru_semaphore *semaphore, unsigned n, int64_t timeout);

/* naru_semaphore_value - how many are free at this moment
 *
 * ret_value: the number, which others change all the time.
 *
 * Returns: 0.
 * Errors: the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_semaphore_value(naru_semaphore *semaphore, unsigned *ret_value);

/* naru_semaphore_owned - how many this handle owns
 *
 * Returns: the number, 0 of a plain one; or a negative errno.
 * Errors: the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_semaphore_owned(naru_semaphore *semaphore);

/* naru_semaphore_revoke - takes all permits from a process that hangs
 *
 * From every handle that process pid has of it. What it was about to take or release it does not,
 * however far it had come; its next release is -EPERM, its next acquire begins anew.
 *
 * ret_n: how many came back.
 * Returns: 0.
 * Errors: -ESRCH that process does not take part; -ENOENT; -EOPNOTSUPP it is plain, or not shm:;
 * -EBUSY another revokes, and does not go on; the common ones.
 * Thread: any. Fork: works. Blocks: for moments. */
NARU_API int naru_semaphore_revoke(const char *url, pid_t pid, unsigned *ret_n);

/* naru_semaphore_close - closes it; what the handle owns is given back
 *
 * NULL: nothing happens. In a forked child the copy is freed and nothing is given back.
 *
 * Returns: NULL.
 * Thread: none other inside. Fork: works. Blocks: never. */
NARU_API naru_semaphore *naru_semaphore_close(naru_semaphore *semaphore);

/* ---- mutexes ---- */

struct naru_mutex_options {
    size_t size;           /* sizeof(struct naru_mutex_options) */
    unsigned flags;        /* NARU_FAIR or NARU_PRIO_INHERIT; one that is there keeps its own */
    mode_t mode;           /* of what this call creates, 0: 0600 */
    unsigned participants; /* as of semaphores */
};

/* naru_mutex_open - opens a mutex by its name, or makes it
 *
 * The first opener creates; what a later one gives besides 0 must agree.
 *
 * With NARU_PRIO_INHERIT who waits does so in the kernel (FUTEX_LOCK_PI) and lends the owner its
 * priority; all who take part are in one pid namespace, and naru_cancel is noticed within 50 ms.
 *
 * ret_mutex: owned by the caller, naru_mutex_close.
 * Returns: 0.
 * Errors: -EEXIST it is there with another noun, mode, or without a flag asked for (both are
 * named), or NARU_EXCLUSIVE was given; -ENOENT NARU_EXISTING; -ENOSPC it has as many participants
 * as it can have, or there is no room; -EACCES owner and mode; -EPROTO another version's, or
 * damaged; -EOPNOTSUPP the kind has no mutexes, or priorities cannot be lent here; the common ones.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_mutex_open(const char *url, const struct naru_mutex_options *options,
                             naru_mutex **ret_mutex);

/* naru_mutex_at - opens, or makes, the mutex at that place of a region
 *
 * As naru_semaphore_at: offset is a multiple of 128, where naru_lock_bytes() are left.
 *
 * ret_mutex: owned by the caller, naru_mutex_close.
 * Returns: 0.
 * Errors: as naru_semaphore_at and naru_mutex_open.
 * Thread: any. Fork: works. Blocks: while another makes it. */
NARU_API int naru_mutex_at(naru_region *region, size_t offset,
                           const struct naru_mutex_options *options, naru_mutex **ret_mutex);

/* naru_mutex_lock - waits until this thread alone has it
 *
 * With NARU_NOWAIT it is a try. -EOWNERDEAD: this thread has it, and the owner before died holding
 * it; naru_mutex_dead says who. Every next owner is told the same until naru_mutex_recover or
 * naru_mutex_give_up.
 *
 * Returns: 0.
 * Errors: -EOWNERDEAD the same as 0, but for that; -EAGAIN, -ETIMEDOUT another has it (after a wait
 * the sentence names the process); -EDEADLK this thread has it already; -ENOTRECOVERABLE it was
 * given up; -ECANCELED; -EIDRM it was removed; -EPROTO its memory is damaged; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_mutex_lock(naru_mutex *mutex, int64_t timeout);

/* naru_mutex_unlock - lets the next one have it
 *
 * Returns: 0.
 * Errors: -EPERM another thread has it, or nobody; -EIDRM; -EPROTO; the common ones.
 * Thread: the one that has it. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_mutex_unlock(naru_mutex *mutex);

/* naru_mutex_recover - what it guards is whole again: the next owner is told of no death
 *
 * It stays locked.
 *
 * Returns: 0.
 * Errors: -EPERM this thread does not have it; -EINVAL nobody has died holding it; -EIDRM; the
 * common ones.
 * Thread: the one that has it. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_mutex_recover(naru_mutex *mutex);

/* naru_mutex_give_up - what it guards cannot be made whole: unlocks it for good
 *
 * Everybody, those who wait too, gets -ENOTRECOVERABLE from now on; naru_remove, or zeroes in a
 * region, make room for a new one.
 *
 * Returns: 0.
 * Errors: as naru_mutex_recover.
 * Thread: the one that has it. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_mutex_give_up(naru_mutex *mutex);

/* naru_mutex_dead - who died holding it, and was not recovered from
 *
 * ret_pid: that process, in its own pid namespace.
 *
 * Returns: 1, or 0: nobody, and ret_pid is left alone.
 * Errors: -EIDRM; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_mutex_dead(naru_mutex *mutex, pid_t *ret_pid);

/* naru_mutex_close - closes it, and unlocks it if this handle has it
 *
 * NULL: nothing happens. In a forked child the copy is freed and nothing is unlocked.
 *
 * Returns: NULL.
 * Thread: none other inside. Fork: works. Blocks: never. */
NARU_API naru_mutex *naru_mutex_close(naru_mutex *mutex);

/* ---- rwlocks ---- */

struct naru_rwlock_options {
    size_t size;           /* sizeof(struct naru_rwlock_options) */
    unsigned flags;        /* NARU_FAIR: as of semaphores */
    mode_t mode;           /* of what this call creates, 0: 0600 */
    unsigned participants; /* as of semaphores */
};

/* naru_rwlock_open - opens a lock for readers and writers by its name, or makes it
 *
 * ret_rwlock: owned by the caller, naru_rwlock_close.
 * Returns: 0.
 * Errors: as naru_mutex_open; -EOPNOTSUPP NARU_PRIO_INHERIT, for the kernel lends a priority to one
 * owner, and readers are many.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_rwlock_open(const char *url, const struct naru_rwlock_options *options,
                              naru_rwlock **ret_rwlock);

/* naru_rwlock_at - opens, or makes, the rwlock at that place of a region
 *
 * As naru_semaphore_at: offset is a multiple of 128, where naru_lock_bytes() are left.
 *
 * ret_rwlock: owned by the caller, naru_rwlock_close.
 * Returns: 0.
 * Errors: as naru_semaphore_at and naru_rwlock_open.
 * Thread: any. Fork: works. Blocks: while another makes it. */
NARU_API int naru_rwlock_at(naru_region *region, size_t offset,
                            const struct naru_rwlock_options *options, naru_rwlock **ret_rwlock);

/* naru_rwlock_read - waits until no other writes, and none waits to write that came before
 *
 * A writer that waits goes before readers that come later. A thread reads once at a time.
 * -EOWNERDEAD: this thread reads, and a writer has died; what is guarded may be half changed. Who
 * takes the lock for writing recovers it.
 *
 * Returns: 0.
 * Errors: as naru_mutex_lock; -ENOMEM more threads than ever read by one handle; -EDEADLK this
 * thread reads or writes already.
 * Thread: any. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_rwlock_read(naru_rwlock *rwlock, int64_t timeout);

/* naru_rwlock_write - waits until this thread alone has it
 *
 * Returns: 0.
 * Errors: as naru_mutex_lock; -EDEADLK this thread reads or writes already.
 * Thread: any. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_rwlock_write(naru_rwlock *rwlock, int64_t timeout);

/* naru_rwlock_unlock - this thread reads, or writes, no more
 *
 * Returns: 0.
 * Errors: -EPERM it does neither; else as naru_mutex_unlock.
 * Thread: the one that has it. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_rwlock_unlock(naru_rwlock *rwlock);

/* naru_rwlock_recover - what it guards is whole again: the next are told of no death
 *
 * It stays locked.
 *
 * Returns: 0.
 * Errors: -EPERM this thread does not write; -EINVAL no writer has died; -EIDRM; the common ones.
 * Thread: the one that writes. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_rwlock_recover(naru_rwlock *rwlock);

/* naru_rwlock_give_up - what it guards cannot be made whole: as naru_mutex_give_up
 *
 * Returns: 0.
 * Errors: as naru_rwlock_recover.
 * Thread: the one that writes. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_rwlock_give_up(naru_rwlock *rwlock);

/* naru_rwlock_dead - who died writing, and was not recovered from
 *
 * ret_pid: that process, in its own pid namespace.
 *
 * Returns: 1, or 0: nobody, and ret_pid is left alone.
 * Errors: -EIDRM; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_rwlock_dead(naru_rwlock *rwlock, pid_t *ret_pid);

/* naru_rwlock_close - closes it; this handle's threads have it no more
 *
 * NULL: nothing happens. In a forked child the copy is freed and nothing is unlocked.
 *
 * Returns: NULL.
 * Thread: none other inside. Fork: works. Blocks: never. */
NARU_API naru_rwlock *naru_rwlock_close(naru_rwlock *rwlock);

/* ---- events ---- */

enum naru_event_kind {
    NARU_MANUAL,   /* once set it lets everybody pass until it is reset */
    NARU_AUTOMATIC /* each set lets one pass */
};

struct naru_event_options {
    size_t size;           /* sizeof(struct naru_event_options) */
    int kind;              /* NARU_MANUAL, NARU_AUTOMATIC; one that is there keeps its own */
    int set;               /* it is set at creation */
    unsigned flags;        /* NARU_EXCLUSIVE, NARU_EXISTING, NARU_SPIN, NARU_SLEEP */
    mode_t mode;           /* of what this call creates, 0: 0600 */
    unsigned participants; /* as of semaphores */
};

/* naru_event_open - opens an event by its name, or makes it
 *
 * An event has no owner: whoever has it open may set and reset it, and a death changes nothing.
 *
 * ret_event: owned by the caller, naru_event_close.
 * Returns: 0.
 * Errors: -EEXIST it is there with another noun or mode, or is reset by hand and NARU_AUTOMATIC was
 * asked for (both are named), or NARU_EXCLUSIVE was given; -ENOENT NARU_EXISTING; -ENOSPC it has as
 * many participants as it can have, or there is no room; -EACCES owner and mode; -EPROTO another
 * version's, or damaged; -EOPNOTSUPP the kind has no events; the common ones.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_event_open(const char *url, const struct naru_event_options *options,
                             naru_event **ret_event);

/* naru_event_at - opens, or makes, the event at that place of a region
 *
 * As naru_semaphore_at: offset is a multiple of 128, where naru_lock_bytes() are left.
 *
 * ret_event: owned by the caller, naru_event_close.
 * Returns: 0.
 * Errors: as naru_semaphore_at and naru_event_open.
 * Thread: any. Fork: works. Blocks: while another makes it. */
NARU_API int naru_event_at(naru_region *region, size_t offset,
                           const struct naru_event_options *options, naru_event **ret_event);

/* naru_event_set - lets pass who waits
 *
 * A manual one: everybody who waits now, even if it is reset at once, and everybody who comes until
 * then. An automatic one: one wait for each set. Sets add up to one for each wait that is on; one
 * more is kept for who comes next, and further ones are the same as that. What was written before
 * the set can be read after the wait.
 *
 * Returns: 0.
 * Errors: -EIDRM it was removed; -EPROTO its memory is damaged; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_event_set(naru_event *event);

/* naru_event_reset - whoever comes from now on waits
 *
 * Who waits already and was let pass by a set passes all the same.
 *
 * Returns: 0.
 * Errors: as naru_event_set.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_event_reset(naru_event *event);

/* naru_event_wait - waits until it is set
 *
 * A manual one's wait ends also if it was set and reset meanwhile; with naru_fd, since the last
 * call. The set of an automatic one belongs to a wait once this has returned: if its process is
 * killed before, or its time passes, the set is there for the next.
 *
 * Returns: 0.
 * Errors: -EAGAIN, -ETIMEDOUT nobody has set it; -ECANCELED; -EIDRM it was removed; -ENOSPC 1023
 * threads wait with this handle for an automatic one; -EPROTO its memory is damaged; the common
 * ones.
 * Thread: any. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_event_wait(naru_event *event, int64_t timeout);

/* naru_event_is_set - would somebody who comes now pass?
 *
 * Returns: 1, or 0: not at this moment.
 * Errors: -EIDRM; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_event_is_set(naru_event *event);

/* naru_event_close - closes it
 *
 * NULL: nothing happens.
 *
 * Returns: NULL.
 * Thread: none other inside. Fork: works. Blocks: never. */
NARU_API naru_event *naru_event_close(naru_event *event);

/* ---- barriers ---- */

struct naru_barrier_options {
    size_t size;           /* sizeof(struct naru_barrier_options) */
    unsigned parties;      /* how many wait for each other, 1 ... 4095; 0, opening: as it is */
    unsigned flags;        /* NARU_EXCLUSIVE, NARU_EXISTING, NARU_SPIN, NARU_SLEEP */
    mode_t mode;           /* of what this call creates, 0: 0600 */
    unsigned participants; /* as of semaphores */
};

/* naru_barrier_open - opens a barrier by its name, or makes it
 *
 * Whoever has it open is a party: if its process dies, or ends without closing it, the barrier is
 * broken until it is reset. Who closes it is none any more.
 *
 * ret_barrier: owned by the caller, naru_barrier_close.
 * Returns: 0.
 * Errors: -EEXIST it is there with another noun, mode or number of parties (both are named), or
 * NARU_EXCLUSIVE was given; -EINVAL it is not there, and .parties is 0; -ENOENT NARU_EXISTING;
 * -ENOSPC it has as many participants as it can have, or there is no room; -EACCES owner and mode;
 * -EPROTO another version's, or damaged; -EOPNOTSUPP the kind has no barriers; the common ones.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_barrier_open(const char *url, const struct naru_barrier_options *options,
                               naru_barrier **ret_barrier);

/* naru_barrier_at - opens, or makes, the barrier at that place of a region
 *
 * As naru_semaphore_at: offset is a multiple of 128, where naru_lock_bytes() are left.
 *
 * ret_barrier: owned by the caller, naru_barrier_close.
 * Returns: 0.
 * Errors: as naru_semaphore_at and naru_barrier_open.
 * Thread: any. Fork: works. Blocks: while another makes it. */
NARU_API int naru_barrier_at(naru_region *region, size_t offset,
                             const struct naru_barrier_options *options,
                             naru_barrier **ret_barrier);

/* naru_barrier_wait - arrives, and waits until as many have arrived as there are parties
 *
 * Threads that share a handle arrive each for itself. Who gives up (its time passes, or it is
 * cancelled) has not arrived; the others go on waiting.
 *
 * Returns: 1 to the one that arrived last, 0 to the others.
 * Errors: -EOWNERDEAD a party has died (naru_barrier_dead says which): all who wait, and who
 * arrives from now on, until naru_barrier_reset; -EAGAIN, -ETIMEDOUT the others are not there;
 * -ECANCELED; -EIDRM it was removed; -EPROTO its memory is damaged; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_barrier_wait(naru_barrier *barrier, int64_t timeout);

/* naru_barrier_arrive - arrives without waiting
 *
 * The handle's next naru_barrier_wait waits for that round to end; until it has, giving up changes
 * nothing, and naru_fd tells when it would not wait.
 *
 * Returns: 1: it was the last, and there is nothing to wait for; else 0.
 * Errors: -EBUSY this handle has arrived and not waited since; else as naru_barrier_wait.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_barrier_arrive(naru_barrier *barrier);

/* naru_barrier_reset - a broken barrier begins anew; one that is whole is left alone
 *
 * Still as many parties are needed: somebody takes the dead one's place. Deaths up to now are
 * forgotten.
 *
 * Returns: 0.
 * Errors: -EIDRM; -EPROTO its memory is damaged; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_barrier_reset(naru_barrier *barrier);

/* naru_barrier_arrived - how many have arrived in this round
 *
 * Returns: the number; of a broken one 0.
 * Errors: -EIDRM; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_barrier_arrived(naru_barrier *barrier);

/* naru_barrier_dead - whose death has broken it
 *
 * ret_pid: that process, in its own pid namespace.
 *
 * Returns: 1, or 0: it is not broken, and ret_pid is left alone.
 * Errors: -EIDRM; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_barrier_dead(naru_barrier *barrier, pid_t *ret_pid);

/* naru_barrier_close - closes it; the handle is no party any more, and has not arrived
 *
 * NULL: nothing happens.
 *
 * Returns: NULL.
 * Thread: none other inside. Fork: works. Blocks: never. */
NARU_API naru_barrier *naru_barrier_close(naru_barrier *barrier);

#ifdef __cplusplus
}
#endif
#endif
