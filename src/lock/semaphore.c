/* SPDX-License-Identifier: MIT */
/* semaphore.c - naru's own semaphores, in an object of their own or in a region. */
#include "lock/semaphore.h"

#include "base/error.h"

#include <errno.h>

static struct naru_lock_want want_of(const struct naru_semaphore_options *o)
{
    return (struct naru_lock_want){.what = NARU_OBJECT_SEMAPHORE,
                                   .noun = NARU__SEMAPHORE,
                                   .plain = o->kind == NARU_PLAIN,
                                   .fair = o->flags & NARU_FAIR,
                                   .value = o->value,
                                   .flags = o->flags,
                                   .mode = o->mode,
                                   .participants = o->participants,
                                   .size = sizeof(struct naru_semaphore),
                                   .name = "naru_semaphore_options"};
}

static int check(const char *name, const struct naru_semaphore_options *o)
{
    unsigned most = o->kind == NARU_PLAIN ? NARU_PERMITS_PLAIN_MAX : NARU_PERMITS_OWNED_MAX;
    if (o->value > most)
        return naru__fail(-EINVAL, "%s: .value is %u, and the most is %u", name, o->value, most);
    return 0;
}

static int opened(int r, struct naru_lock *l, naru_semaphore **ret_s)
{
    if (r < 0)
        return r;
    naru_semaphore *s = (naru_semaphore *)l;
    s->plain = l->permits.plain;
    s->owned = !s->plain;
    *ret_s = s;
    return 0;
}

static int open_semaphore(const struct naru_url *url, const struct naru_semaphore_options *o,
                          naru_semaphore **ret_s)
{
    struct naru_lock_want want = want_of(o);
    struct naru_lock *l = NULL;
    int r = check(url->text, o);
    if (r == 0)
        r = naru__lock_open(url, &want, &l);
    return opened(r, l, ret_s);
}

int naru__semaphore_place(const struct naru_lock_place *at, const struct naru_semaphore_options *o,
                          naru_semaphore **ret_s)
{
    struct naru_lock_want want = want_of(o);
    struct naru_lock *l = NULL;
    int r = check(at->region, o);
    if (r == 0)
        r = naru__lock_place(at, &want, &l);
    return opened(r, l, ret_s);
}

const struct naru_semaphore_kind_ops naru__shm_semaphore = {
    .size = sizeof naru__shm_semaphore,
    .scheme = "shm",
    .open = open_semaphore,
};

const struct naru_semaphore_kind_ops naru__map_semaphore = {
    .size = sizeof naru__map_semaphore,
    .scheme = "map",
    .open = open_semaphore,
};
