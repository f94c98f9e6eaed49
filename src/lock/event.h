/* SPDX-License-Identifier: MIT */
/* event.h - the handle of an event. */
#ifndef NARU_LOCK_EVENT_H
#define NARU_LOCK_EVENT_H

#include "lock/lock.h"
#include "naru/lock.h"

struct naru_event {
    struct naru_lock lock;
    bool manual;
    _Atomic uint64_t since; /* manual, with a descriptor: the word that the last call has seen */
};

int naru__event_open(const struct naru_url *, const struct naru_event_options *,
                     naru_event **ret_e);
int naru__event_place(const struct naru_lock_place *, const struct naru_event_options *,
                      naru_event **ret_e);
int naru__event_set(naru_event *);
int naru__event_reset(naru_event *);
int naru__event_wait(naru_event *, int64_t timeout);
bool naru__event_is_set(naru_event *);

#endif
