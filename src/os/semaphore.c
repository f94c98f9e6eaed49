/* SPDX-License-Identifier: MIT */
/* semaphore.c - POSIX and System V semaphores. */
#include "os/semaphore.h"

#include "base/clock.h"
#include "base/fault.h"

#include <errno.h>
#include <sys/ipc.h>
#include <time.h>

#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 30)
#define HAS_CLOCKWAIT
#endif
#endif

#define CALL(name, expression)                                                                     \
    do {                                                                                           \
        int r_ = naru__fault_at(name);                                                             \
        if (r_ < 0)                                                                                \
            return r_;                                                                             \
        r_ = (int)(expression);                                                                    \
        return r_ < 0 ? -errno : r_;                                                               \
    } while (0)

union semun {
    int val;
    struct semid_ds *buf;
};

static struct timespec to_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

int naru__os_sem_open(const char *name, int flags, mode_t mode, unsigned value, sem_t **ret_sem)
{
    int fault = naru__fault_at("sem_open");
    if (fault < 0)
        return fault;
    sem_t *s = sem_open(name, flags, mode, value);
    if (s == SEM_FAILED)
        return -errno;
    *ret_sem = s;
    return 0;
}

void naru__os_sem_close(sem_t *s)
{
    if (s)
        sem_close(s);
}

int naru__os_sem_unlink(const char *name)
{
    CALL("sem_unlink", sem_unlink(name));
}

int naru__os_sem_post(sem_t *s)
{
    CALL("sem_post", sem_post(s));
}

static int wait_until(sem_t *s, int64_t deadline)
{
#ifdef HAS_CLOCKWAIT
    struct timespec until = to_timespec(deadline);
    return sem_clockwait(s, CLOCK_MONOTONIC, &until);
#else /* against the wall clock: in pieces, so that its jumps matter little */
    enum { PIECE_MS = 100 };
    int64_t left = deadline - naru__now(), piece = PIECE_MS * INT64_C(1000000);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    left = left < 0 ? 0 : left < piece ? left : piece;
    struct timespec until =
        to_timespec((int64_t)now.tv_sec * 1000000000 + (int64_t)now.tv_nsec + left);
    int r = sem_timedwait(s, &until);
    if (r < 0 && errno == ETIMEDOUT && naru__now() < deadline)
        errno = EINTR;
    return r;
#endif
}

int naru__os_sem_wait(sem_t *s, int64_t deadline)
{
    CALL("sem_wait", deadline == NARU__AT_ONCE ? sem_trywait(s)
                     : deadline == NARU__NEVER ? sem_wait(s)
                                               : wait_until(s, deadline));
}

int naru__os_sem_value(sem_t *s)
{
    int value = 0;
    CALL("sem_getvalue", sem_getvalue(s, &value) < 0 ? -1 : value);
}

int naru__os_sysv_sem_get(key_t key, int n, int flags)
{
    CALL("semget", semget(key, n, flags));
}

int naru__os_sysv_sem_change(int id, int op, int flags, int64_t deadline)
{
    bool at_once = deadline == NARU__AT_ONCE;
    struct sembuf change = {.sem_op = (short)op,
                            .sem_flg = (short)(flags | (at_once ? IPC_NOWAIT : 0))};
    struct timespec left = {0, 0};
    if (!at_once && deadline != NARU__NEVER) {
        int64_t now = naru__now();
        left = to_timespec(deadline > now ? deadline - now : 0);
    }
    CALL("semop", at_once || deadline == NARU__NEVER ? semop(id, &change, 1)
                                                     : semtimedop(id, &change, 1, &left));
}

int naru__os_sysv_sem_begin(int id, int value)
{
    struct sembuf touch[2] = {{.sem_op = 1}, {.sem_op = -1}};
    if (value > 0) { /* never above the value */
        touch[0].sem_op = -1;
        touch[1].sem_op = 1;
    }
    union semun arg = {.val = value};
    int r = naru__fault_at("semctl");
    if (r < 0)
        return r;
    if (semctl(id, 0, SETVAL, arg) < 0)
        return -errno;
    CALL("semop", semop(id, touch, 2));
}

int naru__os_sysv_sem_value(int id)
{
    CALL("semctl", semctl(id, 0, GETVAL));
}

int naru__os_sysv_sem_use(int id, struct naru_sysv_sem_use *ret_use)
{
    static const int what[] = {GETVAL, GETNCNT, GETZCNT, GETPID};
    int answer[4];
    int r = naru__fault_at("semctl");
    if (r < 0)
        return r;
    for (int i = 0; i < 4; i++)
        if ((answer[i] = semctl(id, 0, what[i])) < 0)
            return -errno;
    *ret_use = (struct naru_sysv_sem_use){answer[0], answer[1], answer[2], (pid_t)answer[3]};
    return 0;
}

int naru__os_sysv_sem_stat(int id, struct semid_ds *ret_ds)
{
    union semun arg = {.buf = ret_ds};
    CALL("IPC_STAT", semctl(id, 0, IPC_STAT, arg));
}

int naru__os_sysv_sem_remove(int id)
{
    CALL("IPC_RMID", semctl(id, 0, IPC_RMID));
}
