/* SPDX-License-Identifier: MIT */
/* mutex.c - opening mutexes, and what their misuse is told. */
#include "lock/mutex.h"

#include "base/error.h"

#include <errno.h>

static struct naru_lock_want want_of(const struct naru_mutex_options *o)
{
    return (struct naru_lock_want){.what = NARU_OBJECT_MUTEX,
                                   .noun = NARU__MUTEX,
                                   .fair = o->flags & NARU_FAIR,
                                   .inherit = o->flags & NARU_PRIO_INHERIT,
                                   .value = 1,
                                   .flags = o->flags,
                                   .mode = o->mode,
                                   .participants = o->participants,
                                   .size = sizeof(struct naru_mutex),
                                   .name = "naru_mutex_options"};
}

static int opened(int r, struct naru_lock *l, naru_mutex **ret_mutex)
{
    if (r < 0)
        return r;
    naru_mutex *m = (naru_mutex *)l;
    uint64_t pid_namespace = l->object.meta.option[NARU_LOCK_INHERIT];
    m->inherit = pid_namespace != 0;
    r = m->inherit ? naru__inherit_check(l->handle.name, pid_namespace) : 0;
    if (r < 0)
        naru__lock_free(l);
    else
        *ret_mutex = m;
    return r;
}

int naru__mutex_open(const struct naru_url *url, const struct naru_mutex_options *o,
                     naru_mutex **ret_mutex)
{
    struct naru_lock_want want = want_of(o);
    struct naru_lock *l = NULL;
    int r = naru__lock_open(url, &want, &l);
    return opened(r, l, ret_mutex);
}

int naru__mutex_place(const struct naru_lock_place *at, const struct naru_mutex_options *o,
                      naru_mutex **ret_mutex)
{
    struct naru_lock_want want = want_of(o);
    struct naru_lock *l = NULL;
    int r = naru__lock_place(at, &want, &l);
    return opened(r, l, ret_mutex);
}

int naru__mutex_again(const naru_mutex *m)
{
    return naru__fail(-EDEADLK, "%s: this thread has it already", m->lock.handle.name);
}

int naru__mutex_not_mine(const naru_mutex *m)
{
    return naru__fail(-EPERM, "%s: %s", m->lock.handle.name,
                      atomic_load(&m->thread) ? "another thread of this process has it"
                                              : "this handle does not have it");
}
