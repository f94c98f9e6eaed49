/* SPDX-License-Identifier: MIT */
/* posix_sem.c - `posix-sem:`: what sem_open(3) opens, for living with existing programs.
 *
 * A count that belongs to nobody: it waits in a call of libc's, one permit at a time, and who dies
 * with one has taken it along. */
#include "base/error.h"
#include "base/memory.h"
#include "core/names.h"
#include "lock/semaphore.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/semaphore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static const char why_not[] =
    "posix-sem: is a count that libc waits for in a call of its own, which neither a descriptor "
    "nor naru_cancel reaches; wait with a timeout, or use shm:";

struct posix_sem {
    struct naru_semaphore s;
    sem_t *sem;
};

static int one(const naru_semaphore *s, unsigned n)
{
    return n == 1 ? 0
                  : naru__fail(n ? -EOPNOTSUPP : -EINVAL,
                               "%s: %u at once; sem_t takes one at a time, and several by and by "
                               "could be half of them; shm: takes them together",
                               s->lock.handle.name, n);
}

static int take(naru_semaphore *s, unsigned n, int64_t timeout)
{
    struct posix_sem *p = (struct posix_sem *)s;
    int64_t deadline = naru__deadline(timeout);
    int r = one(s, n);
    if (r < 0)
        return r;
    do
        r = naru__os_sem_wait(p->sem, deadline);
    while (r == -EINTR);
    if (r == -EAGAIN)
        return naru__fail_static(r, "nothing is free, and NARU_NOWAIT was given");
    return r < 0 ? naru__fail(r, "%s: waiting: %s; nobody says who has its permits",
                              s->lock.handle.name, naru__errno_text(r))
                 : 0;
}

static int give(naru_semaphore *s, unsigned n)
{
    struct posix_sem *p = (struct posix_sem *)s;
    int r = one(s, n);
    if (r == 0)
        r = naru__os_sem_post(p->sem);
    if (r == -EOVERFLOW)
        naru__fail(r, "%s: it has the most that it can have, SEM_VALUE_MAX, %d",
                   s->lock.handle.name, SEM_VALUE_MAX);
    else if (r < 0 && n == 1)
        naru__fail(r, "%s: posting: %s", s->lock.handle.name, naru__errno_text(r));
    return r;
}

static int value(naru_semaphore *s, unsigned *ret_value)
{
    int r = naru__os_sem_value(((struct posix_sem *)s)->sem);
    if (r < 0)
        return naru__fail(r, "%s: its value: %s", s->lock.handle.name, naru__errno_text(r));
    *ret_value = (unsigned)r;
    return 0;
}

static int owned(naru_semaphore *s)
{
    (void)s;
    return 0;
}

static void posix_close(naru_semaphore *s)
{
    naru__os_sem_close(((struct posix_sem *)s)->sem);
    naru__handle_deinit(&s->lock.handle);
    free(s);
}

static const struct naru_semaphore_ops ops = {
    .size = sizeof ops,
    .take = take,
    .give = give,
    .value = value,
    .owned = owned,
    .close = posix_close,
};

static const struct naru_handle_ops handle_ops = {.size = sizeof handle_ops};

/* Where glibc and musl keep it. */
static void path_of(const char *name, char path[NAME_MAX + 32])
{
    snprintf(path, NAME_MAX + 32, "/dev/shm/sem.%s", name + 1);
}

static int cannot(const struct naru_url *url, const char *name, const char *what, int code)
{
    char path[NAME_MAX + 32];
    struct stat st;
    path_of(name, path);
    if ((code == -EACCES || code == -EPERM) && naru__os_stat(path, &st) == 0)
        return naru__fail(code, "%s: %s is forbidden: it belongs to uid %u, gid %u, mode %04o",
                          url->text, what, st.st_uid, st.st_gid, st.st_mode & 07777u);
    if (code == -EINVAL)
        return naru__fail(-EPROTO, "%s: %s: what stands at %s is no semaphore", url->text, what,
                          path);
    return naru__fail(code, "%s: %s failed: %s%s", url->text, what, naru__errno_text(code),
                      naru__limit_of_files(code).text);
}

static int agrees(const struct naru_url *url, const char *name,
                  const struct naru_semaphore_options *o)
{
    char path[NAME_MAX + 32];
    struct stat st;
    path_of(name, path);
    if (!o->mode || naru__os_stat(path, &st) < 0 || (st.st_mode & 0777u) == (o->mode & 0777u))
        return 0;
    return naru__fail(-EEXIST, "%s is there with mode %04o, and .mode asks for %04o", url->text,
                      st.st_mode & 0777u, o->mode & 0777u);
}

/* -ENOENT, -EEXIST without a sentence: others were faster. */
static int find(const struct naru_url *url, const char *name, bool make,
                const struct naru_semaphore_options *o, sem_t **ret_sem)
{
    mode_t mode = o->mode ? o->mode & 0777 : 0600;
    char path[NAME_MAX + 32];
    int r = naru__os_sem_open(name, make ? O_CREAT | O_EXCL : 0, mode, o->value, ret_sem);
    if (r == -ENOENT || r == -EEXIST)
        return r;
    if (r < 0)
        return cannot(url, name, make ? "making it" : "opening it", r);
    path_of(name, path);
    if (make && o->mode)
        (void)naru__os_chmod_at(AT_FDCWD, path, mode); /* umask has taken some away */
    return 0;
}

static int open_semaphore(const struct naru_url *url, const struct naru_semaphore_options *o,
                          naru_semaphore **ret_s)
{
    enum { TRIES = 100 };
    const char *name;
    sem_t *sem = NULL;
    int r = naru__posix_name(url, "semaphore", &name);
    if (r == 0 && o->flags & NARU_FAIR)
        r = naru__fail(-EOPNOTSUPP, "%s: libc's semaphores know no order; shm: does (NARU_FAIR)",
                       url->text);
    if (r == 0 && o->value > SEM_VALUE_MAX)
        r = naru__fail(-EINVAL, "%s: .value is %u, and the most is SEM_VALUE_MAX, %d", url->text,
                       o->value, SEM_VALUE_MAX);
    if (r < 0)
        return r;
    for (int i = 0; i < TRIES; i++) {
        r = o->flags & NARU_EXCLUSIVE ? -ENOENT : find(url, name, false, o, &sem);
        if (r != -ENOENT)
            break;
        if (o->flags & NARU_EXISTING)
            return naru__fail(r, "%s is not there, and NARU_EXISTING was given", url->text);
        r = find(url, name, true, o, &sem);
        if (r == -EEXIST && o->flags & NARU_EXCLUSIVE)
            return naru__fail(r, "%s is there already, and NARU_EXCLUSIVE was given", url->text);
        if (r != -EEXIST)
            break;
    }
    if (r == -EEXIST || r == -ENOENT)
        return naru__fail(-EBUSY, "%s is made and removed all the time by others", url->text);
    if (r == 0)
        r = agrees(url, name, o);
    if (r < 0) {
        naru__os_sem_close(sem);
        return r;
    }
    struct posix_sem *p = naru__alloc(sizeof *p);
    r = p ? naru__handle_init(&p->s.lock.handle, NARU__SEMAPHORE, &handle_ops, url->text, NARU_IN)
          : -ENOMEM;
    if (r < 0) {
        naru__os_sem_close(sem);
        free(p);
        return r;
    }
    p->s.lock.handle.kernels = why_not;
    p->s.ops = &ops;
    p->s.plain = true;
    p->sem = sem;
    *ret_s = &p->s;
    return 0;
}

static int remove_semaphore(const struct naru_url *url)
{
    const char *name;
    int r = naru__posix_name(url, "semaphore", &name);
    if (r < 0)
        return r;
    r = naru__os_sem_unlink(name);
    if (r == -ENOENT)
        return naru__fail(r, "%s is not there", url->text);
    return r < 0 ? cannot(url, name, "removing it", r) : 0;
}

const struct naru_semaphore_kind_ops naru__posix_semaphore = {
    .size = sizeof naru__posix_semaphore,
    .scheme = "posix-sem",
    .open = open_semaphore,
    .remove = remove_semaphore,
};
