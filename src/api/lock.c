/* SPDX-License-Identifier: MIT */
/* lock.c - naru/lock.h: argument checks, then the lock. */
#include "api/locks.h"
#include "api/transports.h"
#include "base/error.h"
#include "core/kinds.h"
#include "lock/semaphore.h"
#include "region/region.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const struct naru_semaphore_kind_ops *const semaphores[] = {
    &naru__shm_semaphore,
    &naru__map_semaphore,
    &naru__posix_semaphore,
    &naru__sysv_semaphore,
};

const struct naru_semaphore_kind_ops *naru__semaphore_kind(const char *scheme)
{
    for (size_t i = 0; i < sizeof semaphores / sizeof *semaphores; i++)
        if (strcmp(semaphores[i]->scheme, scheme) == 0)
            return semaphores[i];
    return NULL;
}

/* ---- opening ---- */

static int find_kind(const char *text, struct naru_url *ret_url,
                     const struct naru_semaphore_kind_ops **ret_kind)
{
    int r = naru__url_of(text, NARU_NOUN_LOCK, ret_url);
    if (r < 0)
        return r;
    *ret_kind = naru__semaphore_kind(ret_url->scheme);
    return *ret_kind ? 0 : naru__fail(-EOPNOTSUPP, "%s is not in this build", text);
}

static int check_options(const struct naru_semaphore_options *o)
{
    unsigned flags = NARU_EXCLUSIVE | NARU_EXISTING | NARU_SPIN | NARU_SLEEP | NARU_FAIR;
    int r = naru__check_options(o, sizeof *o, "naru_semaphore_options");
    if (r < 0 || !o)
        return r;
    if (o->kind != NARU_OWNED && o->kind != NARU_PLAIN)
        return naru__fail(-EINVAL, "naru_semaphore_options.kind is %d: NARU_OWNED or NARU_PLAIN",
                          o->kind);
    return naru__lock_common("naru_semaphore_options",
                             &(struct naru_lock_common){o->flags, flags, o->mode, o->participants});
}

int naru_semaphore_open(const char *text, const struct naru_semaphore_options *options,
                        naru_semaphore **ret_s)
{
    struct naru_url url;
    const struct naru_semaphore_kind_ops *kind = NULL;
    int r = check_options(options);
    if (r == 0)
        r = find_kind(text, &url, &kind);
    return r < 0 ? r : kind->open(&url, NARU_OPTIONS(naru_semaphore_options, options), ret_s);
}

size_t naru_lock_bytes(unsigned participants)
{
    return (size_t)naru__object_bytes(participants ? participants : 64);
}

int naru__lock_url(const char *text, const char *noun, struct naru_url *ret_url)
{
    int r = naru__url_of(text, NARU_NOUN_LOCK, ret_url);
    if (r == 0 && strcmp(ret_url->scheme, naru__shm_semaphore.scheme) != 0 &&
        strcmp(ret_url->scheme, naru__map_semaphore.scheme) != 0)
        r = naru__fail(-EOPNOTSUPP,
                       "%s: %s: are semaphores alone; %s is shm:name, map:/file, or in a region",
                       text, ret_url->scheme, noun);
    return r;
}

int naru__lock_common(const char *name, const struct naru_lock_common *o)
{
    if (o->flags & ~o->known)
        return naru__fail(-EINVAL, "%s.flags has 0x%x, which it does not know", name,
                          o->flags & ~o->known);
    if (o->mode & ~(mode_t)07777)
        return naru__fail(-EINVAL, "%s.mode is %#o", name, o->mode);
    if (o->participants > NARU_LOCK_MEMBERS_MAX)
        return naru__fail(-EINVAL, "%s.participants is %u, and the most is %d", name,
                          o->participants, NARU_LOCK_MEMBERS_MAX);
    return naru__check_waiting(o->flags);
}

int naru__lock_place_of(const naru_region *r, size_t offset, struct naru_lock_place *ret_place)
{
    int code = naru__enter(r, NARU__REGION);
    if (code < 0)
        return code;
    if (!(r->access & NARU_WRITE))
        return naru__fail(-EPERM, "%s was opened for reading, and a lock is written",
                          r->handle.name);
    if (r->flags & NARU_PRIVATE)
        return naru__fail(-EOPNOTSUPP,
                          "%s was opened with NARU_PRIVATE: nobody else sees what is written there",
                          r->handle.name);
    if (r->fd < 0)
        return naru__fail(-EOPNOTSUPP,
                          "%s: a System V segment has no descriptor, so the kernel cannot say who "
                          "of its users lives; shm:, posix-shm: and map: have",
                          r->handle.name);
    if (offset > r->length)
        return naru__fail(-EINVAL, "%s has %" PRIu64 " bytes, and a lock is asked for at %zu",
                          r->handle.name, r->length, offset);
    *ret_place = (struct naru_lock_place){.region = r->handle.name,
                                          .file = r->fd,
                                          .offset = offset,
                                          .bytes = (size_t)r->length - offset,
                                          .memory = r->data + offset};
    return 0;
}

int naru_semaphore_at(naru_region *region, size_t offset,
                      const struct naru_semaphore_options *options, naru_semaphore **ret_s)
{
    struct naru_lock_place at;
    int r = check_options(options);
    if (r == 0)
        r = naru__lock_place_of(region, offset, &at);
    return r < 0 ? r
                 : naru__semaphore_place(&at, NARU_OPTIONS(naru_semaphore_options, options), ret_s);
}

int naru_semaphore_revoke(const char *text, pid_t pid, unsigned *ret_n)
{
    struct naru_url url;
    const struct naru_semaphore_kind_ops *kind;
    int r = find_kind(text, &url, &kind);
    if (r < 0)
        return r;
    if (kind != &naru__shm_semaphore && kind != &naru__map_semaphore)
        return naru__fail(-EOPNOTSUPP,
                          "%s: the kernel does not say who owns its permits; of shm: naru does",
                          text);
    return naru__lock_revoke(&url, pid, ret_n);
}

/* ---- using ---- */

static int wrong_kind(const naru_semaphore *s)
{
    return naru__fail(-EOPNOTSUPP,
                      s->plain ? "%s is plain: post and wait are its calls"
                               : "%s has owned permits: acquire and release are its calls",
                      s->lock.handle.name);
}

static int bad_number(const naru_semaphore *s, unsigned n)
{
    uint64_t most = s->lock.permits.plain ? NARU_PERMITS_OWNED_MAX : s->lock.permits.max;
    return naru__fail(-EINVAL, "%s: %u permits at once; 1 to %" PRIu64 " can be",
                      s->lock.handle.name, n, most);
}

/* Out of line, so that the usual way saves no registers for it. */
static __attribute__((noinline)) int acquire(naru_semaphore *s, unsigned n, int64_t timeout)
{
    int r = naru__enter_fast(s, NARU__SEMAPHORE);
    if (r < 0)
        return r;
    if (s->plain)
        return wrong_kind(s);
    if (s->ops)
        return s->ops->take(s, n, timeout);
    if (n - 1 >= s->lock.permits.max)
        return bad_number(s, n);
    r = naru__lock_take(&s->lock, n, timeout);
    naru__leave(&s->lock.handle);
    return r;
}

static __attribute__((noinline)) int release(naru_semaphore *s, unsigned n)
{
    int r = naru__enter_fast(s, NARU__SEMAPHORE);
    if (r < 0)
        return r;
    if (s->plain)
        return wrong_kind(s);
    if (s->ops)
        return s->ops->give(s, n);
    if (n == 0)
        return bad_number(s, n);
    r = naru__lock_give(&s->lock, n);
    naru__leave(&s->lock.handle);
    return r;
}

int naru_semaphore_acquire(naru_semaphore *s, unsigned n, int64_t timeout)
{
    if (__builtin_expect(naru__entered(s, NARU__SEMAPHORE) && s->owned && n > 0 &&
                             naru__lock_fast(&s->lock, n, NARU_LOCK_NOT_TAKEN),
                         1))
        return 0;
    return acquire(s, n, timeout);
}

int naru_semaphore_release(naru_semaphore *s, unsigned n)
{
    if (__builtin_expect(naru__entered(s, NARU__SEMAPHORE) && s->owned && n > 0 &&
                             naru__lock_fast(&s->lock, -(int64_t)n, NARU_LOCK_WAITED),
                         1))
        return 0;
    return release(s, n);
}

int naru_semaphore_wait(naru_semaphore *s, unsigned n, int64_t timeout)
{
    int r = naru__enter_fast(s, NARU__SEMAPHORE);
    if (r < 0)
        return r;
    if (!s->plain)
        return wrong_kind(s);
    if (s->ops)
        return s->ops->take(s, n, timeout);
    if (n - 1 >= NARU_PERMITS_OWNED_MAX)
        return bad_number(s, n);
    r = naru__lock_wait(&s->lock, n, timeout);
    naru__leave(&s->lock.handle);
    return r;
}

int naru_semaphore_post(naru_semaphore *s, unsigned n)
{
    int r = naru__enter_fast(s, NARU__SEMAPHORE);
    if (r < 0)
        return r;
    if (!s->plain)
        return wrong_kind(s);
    if (s->ops)
        return s->ops->give(s, n);
    r = naru__lock_post(&s->lock, n);
    naru__leave(&s->lock.handle);
    return r;
}

int naru_semaphore_value(naru_semaphore *s, unsigned *ret_value)
{
    int r = naru__enter(s, NARU__SEMAPHORE);
    if (r < 0)
        return r;
    if (s->ops)
        return s->ops->value(s, ret_value);
    const struct naru_permits *p = &s->lock.permits;
    r = naru__lock_check(&s->lock);
    if (r == 0)
        *ret_value = (unsigned)naru__permits_count(p, atomic_load(&p->state->word));
    return r;
}

int naru_semaphore_owned(naru_semaphore *s)
{
    int r = naru__enter(s, NARU__SEMAPHORE);
    if (r < 0)
        return r;
    if (s->ops)
        return s->ops->owned(s);
    const struct naru_permits *p = &s->lock.permits;
    return s->plain || naru__permits_settled(p) ? 0 : (int)naru__permits_owned(p);
}

naru_semaphore *naru_semaphore_close(naru_semaphore *s)
{
    if (s && s->ops)
        s->ops->close(s);
    else if (s)
        naru__lock_free(&s->lock);
    return NULL;
}
