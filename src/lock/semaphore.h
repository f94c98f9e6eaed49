/* SPDX-License-Identifier: MIT */
/* semaphore.h - a semaphore's handle: naru's own, or one of the kernel's. */
#ifndef NARU_LOCK_SEMAPHORE_H
#define NARU_LOCK_SEMAPHORE_H

#include "lock/lock.h"
#include "naru/lock.h"

/* What a semaphore of the kernel's fills in. Every failure leaves a sentence. */
struct naru_semaphore_ops {
    size_t size;
    int (*take)(naru_semaphore *, unsigned n, int64_t timeout);
    int (*give)(naru_semaphore *, unsigned n);
    int (*value)(naru_semaphore *, unsigned *ret_value);
    int (*owned)(naru_semaphore *);
    void (*close)(naru_semaphore *); /* frees the whole */
};

struct naru_semaphore {
    struct naru_lock lock;                /* of a kernel's, the handle alone */
    const struct naru_semaphore_ops *ops; /* of a kernel's; NULL: naru's own */
    bool plain;
    bool owned; /* naru's own, not plain */
};

/* One a URL scheme. */
struct naru_semaphore_kind_ops {
    size_t size;
    const char *scheme;
    int (*open)(const struct naru_url *, const struct naru_semaphore_options *,
                naru_semaphore **ret_s);
    int (*remove)(const struct naru_url *); /* NULL: the transport of that scheme does it */
};

extern const struct naru_semaphore_kind_ops naru__shm_semaphore;
extern const struct naru_semaphore_kind_ops naru__map_semaphore;
extern const struct naru_semaphore_kind_ops naru__posix_semaphore;
extern const struct naru_semaphore_kind_ops naru__sysv_semaphore;

int naru__semaphore_place(const struct naru_lock_place *, const struct naru_semaphore_options *,
                          naru_semaphore **ret_s);

#endif
