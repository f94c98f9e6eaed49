/* SPDX-License-Identifier: MIT */
/* sysv_sem.c - `sysv-sem:`: the first semaphore of a System V set, for living with existing
 * programs. NARU_OWNED is semop with SEM_UNDO, by which the kernel gives back what a dead process
 * has; NARU_PLAIN without.
 *
 * A set comes to be with the value 0, and is given its own a moment later. Whether that was done,
 * sem_otime tells, which the first operation sets; its maker makes one at once. */
#include "base/error.h"
#include "base/memory.h"
#include "core/names.h"
#include "lock/semaphore.h"
#include "os/limit.h"
#include "os/poll.h"
#include "os/semaphore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/ipc.h>

enum { SYSV_MAX = 32767 }; /* SEMVMX, include/uapi/linux/sem.h */

static const char why_not[] =
    "sysv-sem: is waited for in a system call of its own, which neither a descriptor nor "
    "naru_cancel reaches; wait with a timeout, or use shm:";

struct sysv_sem {
    struct naru_semaphore s;
    int id;
    bool owned;
    _Atomic int owns;
};

static int failed(const naru_semaphore *s, const char *what, int code)
{
    const char *name = s->lock.handle.name;
    if (code == -EIDRM || code == -EINVAL)
        return naru__fail(-EIDRM, "%s was removed while it was open: open it again", name);
    if (code == -EAGAIN)
        return naru__fail_static(code, "nothing is free, and NARU_NOWAIT was given");
    if (code == -ERANGE)
        return naru__fail(-EOVERFLOW, "%s: it would be more than the most, SEMVMX, %d", name,
                          SYSV_MAX);
    if (code == -ENOSPC)
        return naru__fail(
            code, "%s: %s: no room for one more process to be undone for (kernel.sem)", name, what);
    return naru__fail(code, "%s: %s: %s", name, what, naru__errno_text(code));
}

static int check(const naru_semaphore *s, unsigned n)
{
    return n > 0 && n <= SYSV_MAX ? 0
                                  : naru__fail(-EINVAL, "%s: %u at once; 1 to SEMVMX, %d, can be",
                                               s->lock.handle.name, n, SYSV_MAX);
}

static int take(naru_semaphore *s, unsigned n, int64_t timeout)
{
    struct sysv_sem *v = (struct sysv_sem *)s;
    int64_t deadline = naru__deadline(timeout);
    int r = check(s, n);
    if (r < 0)
        return r;
    do
        r = naru__os_sysv_sem_change(v->id, -(int)n, v->owned ? SEM_UNDO : 0, deadline);
    while (r == -EINTR);
    if (r == -EAGAIN && timeout != NARU_NOWAIT)
        r = -ETIMEDOUT;
    if (r == 0 && v->owned)
        atomic_fetch_add(&v->owns, (int)n);
    return r < 0 ? failed(s, "waiting", r) : 0;
}

static int give(naru_semaphore *s, unsigned n)
{
    struct sysv_sem *v = (struct sysv_sem *)s;
    int r = check(s, n);
    if (r < 0)
        return r;
    if (v->owned && atomic_fetch_sub(&v->owns, (int)n) < (int)n) {
        int owns = atomic_fetch_add(&v->owns, (int)n) + (int)n;
        return naru__fail(-EPERM, "%s: %u to be released, and this handle owns %d",
                          s->lock.handle.name, n, owns);
    }
    r = naru__os_sysv_sem_change(v->id, (int)n, v->owned ? SEM_UNDO : 0, NARU__NEVER);
    if (r < 0 && v->owned)
        atomic_fetch_add(&v->owns, (int)n);
    return r < 0 ? failed(s, "giving back", r) : 0;
}

static int value(naru_semaphore *s, unsigned *ret_value)
{
    int r = naru__os_sysv_sem_value(((struct sysv_sem *)s)->id);
    if (r < 0)
        return failed(s, "its value", r);
    *ret_value = (unsigned)r;
    return 0;
}

static int owned(naru_semaphore *s)
{
    return atomic_load(&((struct sysv_sem *)s)->owns);
}

static void sysv_close(naru_semaphore *s)
{
    struct sysv_sem *v = (struct sysv_sem *)s;
    int n = atomic_load(&v->owns);
    if (n > 0 && naru__is_owner(&s->lock.handle))
        (void)naru__os_sysv_sem_change(v->id, n, SEM_UNDO, NARU__NEVER);
    naru__handle_deinit(&s->lock.handle);
    free(s);
}

static const struct naru_semaphore_ops ops = {
    .size = sizeof ops,
    .take = take,
    .give = give,
    .value = value,
    .owned = owned,
    .close = sysv_close,
};

static const struct naru_handle_ops handle_ops = {.size = sizeof handle_ops};

/* ---- opening ---- */

static int cannot(const struct naru_url *url, int id, const char *what, int code)
{
    struct semid_ds ds;
    if ((code == -EACCES || code == -EPERM) && id >= 0 && naru__os_sysv_sem_stat(id, &ds) == 0)
        return naru__fail(code, "%s: %s is forbidden: it belongs to uid %u, gid %u, mode %04o",
                          url->text, what, ds.sem_perm.uid, ds.sem_perm.gid,
                          (unsigned)ds.sem_perm.mode & 0777u);
    return naru__fail(code, "%s: %s failed: %s%s", url->text, what, naru__errno_text(code),
                      code == -ENOSPC ? " (kernel.sem: SEMMNI sets, SEMMNS semaphores)" : "");
}

/* The id of one that is there and has its value; -ENOENT without a sentence. */
static int find(const struct naru_url *url, key_t key, const struct naru_semaphore_options *o)
{
    enum { PATIENCE = 100 };
    struct semid_ds ds;
    int id = naru__os_sysv_sem_get(key, 0, 0);
    if (id == -ENOENT)
        return id;
    if (id < 0)
        return cannot(url, -1, "finding it", id);
    for (int i = 0;; i++) {
        int r = naru__os_sysv_sem_stat(id, &ds);
        if (r == -EIDRM || r == -EINVAL)
            return -ENOENT;
        if (r < 0)
            return cannot(url, -1, "opening it", r);
        if (ds.sem_otime != 0 || i == PATIENCE) /* a foreign one may never have been used */
            break;
        (void)naru__os_poll(NULL, 0, naru__now() + NARU_MS);
    }
    if (o->mode && ((unsigned)ds.sem_perm.mode & 0777u) != (o->mode & 0777u))
        return naru__fail(-EEXIST, "%s is there with mode %04o, and .mode asks for %04o", url->text,
                          (unsigned)ds.sem_perm.mode & 0777u, o->mode & 0777u);
    return id;
}

static int get(const struct naru_url *url, key_t key, const struct naru_semaphore_options *o)
{
    enum { TRIES = 100 };
    int mode = o->mode ? (int)(o->mode & 0777) : 0600;
    for (int i = 0; i < TRIES; i++) {
        int id = o->flags & NARU_EXCLUSIVE ? -ENOENT : find(url, key, o);
        if (id != -ENOENT)
            return id;
        if (o->flags & NARU_EXISTING)
            return naru__fail(id, "%s is not there, and NARU_EXISTING was given", url->text);
        id = naru__os_sysv_sem_get(key, 1, IPC_CREAT | IPC_EXCL | mode);
        if (id == -EEXIST && o->flags & NARU_EXCLUSIVE)
            return naru__fail(id, "%s is there already, and NARU_EXCLUSIVE was given", url->text);
        if (id == -EEXIST)
            continue;
        if (id < 0)
            return cannot(url, -1, "making it", id);
        int r = naru__os_sysv_sem_begin(id, (int)o->value);
        if (r == 0)
            return id;
        (void)naru__os_sysv_sem_remove(id);
        return cannot(url, id, "setting its value", r);
    }
    return naru__fail(-EBUSY, "%s is made and removed all the time by others", url->text);
}

static int open_semaphore(const struct naru_url *url, const struct naru_semaphore_options *o,
                          naru_semaphore **ret_s)
{
    key_t key;
    int r = naru__sysv_key(url, "semaphore", &key);
    if (r == 0 && o->flags & NARU_FAIR)
        r = naru__fail(-EOPNOTSUPP, "%s: the kernel's semaphores know no order; shm: does",
                       url->text);
    if (r == 0 && o->value > SYSV_MAX)
        r = naru__fail(-EINVAL, "%s: .value is %u, and the most is SEMVMX, %d", url->text, o->value,
                       SYSV_MAX);
    if (r < 0)
        return r;
    int id = get(url, key, o);
    if (id < 0)
        return id;
    struct sysv_sem *v = naru__alloc(sizeof *v);
    r = v ? naru__handle_init(&v->s.lock.handle, NARU__SEMAPHORE, &handle_ops, url->text, NARU_IN)
          : -ENOMEM;
    if (r < 0) {
        free(v);
        return r;
    }
    v->s.lock.handle.kernels = why_not;
    v->s.ops = &ops;
    v->s.plain = o->kind == NARU_PLAIN;
    v->owned = !v->s.plain;
    v->id = id;
    *ret_s = &v->s;
    return 0;
}

static int remove_semaphore(const struct naru_url *url)
{
    key_t key;
    int r = naru__sysv_key(url, "semaphore", &key);
    if (r < 0)
        return r;
    int id = naru__os_sysv_sem_get(key, 0, 0);
    r = id < 0 ? id : naru__os_sysv_sem_remove(id);
    if (r == -ENOENT || r == -EIDRM || (id >= 0 && r == -EINVAL))
        return naru__fail(-ENOENT, "%s is not there", url->text);
    return r < 0 ? cannot(url, id, "removing it", r) : 0;
}

const struct naru_semaphore_kind_ops naru__sysv_semaphore = {
    .size = sizeof naru__sysv_semaphore,
    .scheme = "sysv-sem",
    .open = open_semaphore,
    .remove = remove_semaphore,
};
