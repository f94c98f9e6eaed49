/* SPDX-License-Identifier: MIT */
/* adapters-lock.c - naru's locks beside those of libc and the kernel, and beside locks on files.
 * Each contender opens its own, or has what was made before the fork. */
#include "bench/adapters.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <unistd.h>

static int code(const char *what, int error)
{
    return error ? bench_say("%s: %s", what, strerror(error)) : 0;
}

static int inherited(int side)
{
    (void)side;
    return 0;
}

static void leave_it(int side)
{
    (void)side; /* it goes with the processes, or is cleaned up */
}

/* ---- libc ---- */

static union {
    sem_t sem;
    pthread_mutex_t mutex;
    pthread_rwlock_t rwlock;
} * libc;

static int map_libc(void)
{
    libc = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return libc == MAP_FAILED ? bench_say("mmap: %s", strerror(errno)) : 0;
}

static int sem_setup(void)
{
    return map_libc() ? -1 : code("sem_init", sem_init(&libc->sem, 1, 1) < 0 ? errno : 0);
}

static int sem_enter(void)
{
    while (sem_wait(&libc->sem) < 0)
        if (errno != EINTR)
            return code("sem_wait", errno);
    return 0;
}

static int sem_leave(void)
{
    return code("sem_post", sem_post(&libc->sem) < 0 ? errno : 0);
}

static int mutex_setup_as(bool robust)
{
    pthread_mutexattr_t a;
    if (map_libc())
        return -1;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&a, robust ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED);
    return code("pthread_mutex_init", pthread_mutex_init(&libc->mutex, &a));
}

static int mutex_setup(void)
{
    return mutex_setup_as(false);
}

static int robust_setup(void)
{
    return mutex_setup_as(true);
}

static int mutex_enter(void)
{
    return code("pthread_mutex_lock", pthread_mutex_lock(&libc->mutex));
}

static int mutex_leave(void)
{
    return code("pthread_mutex_unlock", pthread_mutex_unlock(&libc->mutex));
}

static int rwlock_setup(void)
{
    pthread_rwlockattr_t a;
    if (map_libc())
        return -1;
    pthread_rwlockattr_init(&a);
    pthread_rwlockattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    return code("pthread_rwlock_init", pthread_rwlock_init(&libc->rwlock, &a));
}

static int write_enter(void)
{
    return code("pthread_rwlock_wrlock", pthread_rwlock_wrlock(&libc->rwlock));
}

static int read_enter(void)
{
    return code("pthread_rwlock_rdlock", pthread_rwlock_rdlock(&libc->rwlock));
}

static int rwlock_leave(void)
{
    return code("pthread_rwlock_unlock", pthread_rwlock_unlock(&libc->rwlock));
}

/* ---- System V ---- */

static int set_id = -1;

static key_t set_key(int pid)
{
    return (key_t)(0x6c000000u | (unsigned)pid);
}

static int sysv_setup(void)
{
    struct sembuf up = {.sem_op = 1};
    set_id = semget(set_key(getpid()), 1, IPC_CREAT | IPC_EXCL | 0600);
    return set_id < 0 || semop(set_id, &up, 1) < 0 ? code("semget", errno) : 0;
}

static int change(int op, int flags)
{
    struct sembuf s = {.sem_op = (short)op, .sem_flg = (short)flags};
    while (semop(set_id, &s, 1) < 0)
        if (errno != EINTR)
            return code("semop", errno);
    return 0;
}

static int sysv_enter(void)
{
    return change(-1, 0);
}

static int sysv_leave(void)
{
    return change(1, 0);
}

static int undo_enter(void)
{
    return change(-1, SEM_UNDO);
}

static int undo_leave(void)
{
    return change(1, SEM_UNDO);
}

static void sysv_clean_up(int pid)
{
    int id = semget(set_key(pid), 0, 0);
    if (id >= 0)
        semctl(id, 0, IPC_RMID);
}

/* ---- files ---- */

static int file = -1;

static int file_setup(void)
{
    return 0;
}

static int file_attach(int side)
{
    char path[256];
    (void)side;
    snprintf(path, sizeof path, "%s/lock", bench_directory);
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return file < 0 ? code(path, errno) : 0;
}

static int flock_enter(void)
{
    while (flock(file, LOCK_EX) < 0)
        if (errno != EINTR)
            return code("flock", errno);
    return 0;
}

static int flock_leave(void)
{
    return code("flock", flock(file, LOCK_UN) < 0 ? errno : 0);
}

static int record(short type)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};
    while (fcntl(file, F_SETLKW, &l) < 0)
        if (errno != EINTR)
            return code("fcntl", errno);
    return 0;
}

static int record_enter(void)
{
    return record(F_WRLCK);
}

static int record_leave(void)
{
    return record(F_UNLCK);
}

/* ---- naru ---- */

static naru_semaphore *semaphore;
static naru_mutex *naru_m;
static naru_rwlock *naru_w;
static char url[64];

static void name_it(const char *form, int pid)
{
    snprintf(url, sizeof url, form, pid);
}

static int open_semaphore(int kind, unsigned flags)
{
    struct naru_semaphore_options o = {.size = sizeof o, .kind = kind, .value = 1, .flags = flags};
    return naru_semaphore_open(url, &o, &semaphore) < 0 ? bench_naru_failed() : 0;
}

/* Makes it; each contender opens it by its name. */
static int make(const char *form, int kind, unsigned flags)
{
    name_it(form, getpid());
    int r = open_semaphore(kind, flags);
    semaphore = naru_semaphore_close(semaphore);
    return r;
}

static int owned_setup(void)
{
    return make("shm:bench-lock-%d", NARU_OWNED, 0);
}

static int fair_setup(void)
{
    return make("shm:bench-lock-%d", NARU_OWNED, NARU_FAIR);
}

static int plain_setup(void)
{
    return make("shm:bench-lock-%d", NARU_PLAIN, 0);
}

static int posix_setup(void)
{
    return make("posix-sem:/bench-lock-%d", NARU_PLAIN, 0);
}

static int undo_setup(void)
{
    name_it("sysv-sem:0x6b%06x", getpid());
    return open_semaphore(NARU_OWNED, 0);
}

static int attach_owned(int side)
{
    (void)side;
    return open_semaphore(NARU_OWNED, 0);
}

static int attach_plain(int side)
{
    (void)side;
    return open_semaphore(NARU_PLAIN, 0);
}

static int acquire(void)
{
    return naru_semaphore_acquire(semaphore, 1, NARU_FOREVER) < 0 ? bench_naru_failed() : 0;
}

static int release(void)
{
    return naru_semaphore_release(semaphore, 1) < 0 ? bench_naru_failed() : 0;
}

static int wait_plain(void)
{
    return naru_semaphore_wait(semaphore, 1, NARU_FOREVER) < 0 ? bench_naru_failed() : 0;
}

static int post_plain(void)
{
    return naru_semaphore_post(semaphore, 1) < 0 ? bench_naru_failed() : 0;
}

static int named_setup(void)
{
    name_it("shm:bench-lock-%d", getpid());
    return 0;
}

static int attach_mutex(int side)
{
    (void)side;
    return naru_mutex_open(url, NULL, &naru_m) < 0 ? bench_naru_failed() : 0;
}

static int lock_mutex(void)
{
    return naru_mutex_lock(naru_m, NARU_FOREVER) < 0 ? bench_naru_failed() : 0;
}

static int unlock_mutex(void)
{
    return naru_mutex_unlock(naru_m) < 0 ? bench_naru_failed() : 0;
}

static int attach_fair_mutex(int side)
{
    struct naru_mutex_options o = {.size = sizeof o, .flags = NARU_FAIR};
    (void)side;
    return naru_mutex_open(url, &o, &naru_m) < 0 ? bench_naru_failed() : 0;
}

static int attach_rwlock(int side)
{
    (void)side;
    return naru_rwlock_open(url, NULL, &naru_w) < 0 ? bench_naru_failed() : 0;
}

static int write_rwlock(void)
{
    return naru_rwlock_write(naru_w, NARU_FOREVER) < 0 ? bench_naru_failed() : 0;
}

static int read_rwlock(void)
{
    return naru_rwlock_read(naru_w, NARU_FOREVER) < 0 ? bench_naru_failed() : 0;
}

static int unlock_rwlock(void)
{
    return naru_rwlock_unlock(naru_w) < 0 ? bench_naru_failed() : 0;
}

static void detach_naru(int side)
{
    (void)side;
    semaphore = naru_semaphore_close(semaphore);
    naru_m = naru_mutex_close(naru_m);
    naru_w = naru_rwlock_close(naru_w);
}

static void shm_clean_up(int pid)
{
    name_it("shm:bench-lock-%d", pid);
    naru_remove(url);
}

static void posix_clean_up(int pid)
{
    name_it("posix-sem:/bench-lock-%d", pid);
    naru_remove(url);
}

static void undo_clean_up(int pid)
{
    name_it("sysv-sem:0x6b%06x", pid);
    naru_remove(url);
}

/* ---- tables ---- */

#define LOCK(variable, called, kind, beside, how_setup, how_attach, how_enter, how_leave,          \
             how_detach, how_clean, together)                                                      \
    const struct adapter variable = {.name = called,                                               \
                                     .url = kind,                                                  \
                                     .reference = beside,                                          \
                                     .setup = how_setup,                                           \
                                     .attach = how_attach,                                         \
                                     .enter = how_enter,                                           \
                                     .leave = how_leave,                                           \
                                     .detach = how_detach,                                         \
                                     .clean_up = how_clean,                                        \
                                     .shared = together,                                           \
                                     .modes = 1u << BENCH_LOCK};

LOCK(bench_sem, "sem_t", "posix-sem:", NULL, sem_setup, inherited, sem_enter, sem_leave, leave_it,
     NULL, false)
LOCK(bench_mutex, "pthread mutex", "shm:", NULL, mutex_setup, inherited, mutex_enter, mutex_leave,
     leave_it, NULL, false)
LOCK(bench_robust, "robust mutex", "shm:", NULL, robust_setup, inherited, mutex_enter, mutex_leave,
     leave_it, NULL, false)
LOCK(bench_write, "pthread rwlock, writing", "shm:", NULL, rwlock_setup, inherited, write_enter,
     rwlock_leave, leave_it, NULL, false)
LOCK(bench_read, "pthread rwlock, reading", "shm:", NULL, rwlock_setup, inherited, read_enter,
     rwlock_leave, leave_it, NULL, true)
LOCK(bench_sysv, "semop", "sysv-sem:", NULL, sysv_setup, inherited, sysv_enter, sysv_leave,
     leave_it, sysv_clean_up, false)
LOCK(bench_undo, "semop, SEM_UNDO", "sysv-sem:", NULL, sysv_setup, inherited, undo_enter,
     undo_leave, leave_it, sysv_clean_up, false)
LOCK(bench_flock, "flock", NULL, NULL, file_setup, file_attach, flock_enter, flock_leave, leave_it,
     NULL, false)
LOCK(bench_record, "fcntl record lock", NULL, NULL, file_setup, file_attach, record_enter,
     record_leave, leave_it, NULL, false)
LOCK(bench_naru_owned, "naru semaphore", "shm:", "sem_t", owned_setup, attach_owned, acquire,
     release, detach_naru, shm_clean_up, false)
LOCK(bench_naru_fair, "naru semaphore, fair", "shm:", "sem_t", fair_setup, attach_owned, acquire,
     release, detach_naru, shm_clean_up, false)
LOCK(bench_naru_plain, "naru semaphore, plain", "shm:", "sem_t", plain_setup, attach_plain,
     wait_plain, post_plain, detach_naru, shm_clean_up, false)
LOCK(bench_naru_mutex, "naru mutex", "shm:", "robust mutex", named_setup, attach_mutex, lock_mutex,
     unlock_mutex, detach_naru, shm_clean_up, false)
LOCK(bench_naru_fair_mutex, "naru mutex, fair", "shm:", "robust mutex", named_setup,
     attach_fair_mutex, lock_mutex, unlock_mutex, detach_naru, shm_clean_up, false)
LOCK(bench_naru_write, "naru rwlock, writing", "shm:", "pthread rwlock, writing", named_setup,
     attach_rwlock, write_rwlock, unlock_rwlock, detach_naru, shm_clean_up, false)
LOCK(bench_naru_read, "naru rwlock, reading", "shm:", "pthread rwlock, reading", named_setup,
     attach_rwlock, read_rwlock, unlock_rwlock, detach_naru, shm_clean_up, true)
LOCK(bench_naru_posix_sem, "naru posix-sem", "posix-sem:", "sem_t", posix_setup, attach_plain,
     wait_plain, post_plain, detach_naru, posix_clean_up, false)
LOCK(bench_naru_sysv_sem, "naru sysv-sem", "sysv-sem:", "semop, SEM_UNDO", undo_setup, attach_owned,
     acquire, release, detach_naru, undo_clean_up, false)
