/* SPDX-License-Identifier: MIT */
/* event.c - the events of naru/lock.h: argument checks, then lock/event.c. */
#include "lock/event.h"
#include "api/locks.h"
#include "api/transports.h"
#include "base/error.h"

#include <errno.h>

static int check_options(const struct naru_event_options *o)
{
    unsigned flags = NARU_EXCLUSIVE | NARU_EXISTING | NARU_SPIN | NARU_SLEEP;
    int r = naru__check_options(o, sizeof *o, "naru_event_options");
    if (r < 0 || !o)
        return r;
    if (o->kind != NARU_MANUAL && o->kind != NARU_AUTOMATIC)
        return naru__fail(-EINVAL, "naru_event_options.kind is %d: NARU_MANUAL or NARU_AUTOMATIC",
                          o->kind);
    return naru__lock_common("naru_event_options",
                             &(struct naru_lock_common){o->flags, flags, o->mode, o->participants});
}

int naru_event_open(const char *text, const struct naru_event_options *options, naru_event **ret_e)
{
    struct naru_url url;
    int r = check_options(options);
    if (r == 0)
        r = naru__lock_url(text, "an event", &url);
    return r < 0 ? r : naru__event_open(&url, NARU_OPTIONS(naru_event_options, options), ret_e);
}

int naru_event_at(naru_region *region, size_t offset, const struct naru_event_options *options,
                  naru_event **ret_e)
{
    struct naru_lock_place at;
    int r = check_options(options);
    if (r == 0)
        r = naru__lock_place_of(region, offset, &at);
    return r < 0 ? r : naru__event_place(&at, NARU_OPTIONS(naru_event_options, options), ret_e);
}

int naru_event_set(naru_event *e)
{
    int r = naru__enter_fast(e, NARU__EVENT);
    if (r == 0) {
        r = naru__event_set(e);
        naru__leave(&e->lock.handle);
    }
    return r;
}

int naru_event_reset(naru_event *e)
{
    int r = naru__enter_fast(e, NARU__EVENT);
    if (r == 0) {
        r = naru__event_reset(e);
        naru__leave(&e->lock.handle);
    }
    return r;
}

int naru_event_wait(naru_event *e, int64_t timeout)
{
    int r = naru__enter_fast(e, NARU__EVENT);
    if (r == 0) {
        r = naru__event_wait(e, timeout);
        naru__leave(&e->lock.handle);
    }
    return r;
}

int naru_event_is_set(naru_event *e)
{
    int r = naru__enter(e, NARU__EVENT);
    if (r == 0)
        r = naru__lock_check(&e->lock);
    return r == 0 ? naru__event_is_set(e) : r;
}

naru_event *naru_event_close(naru_event *e)
{
    if (e)
        naru__lock_free(&e->lock);
    return NULL;
}
