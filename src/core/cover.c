/* SPDX-License-Identifier: MIT */
/* cover.c - waiting for a cover's two ends to meet, and its sentences. */
#include "core/cover.h"

#include "base/error.h"

#include <stdio.h>

int naru__cover_failed(const struct naru_handle *h, int code)
{
    char why[400]; /* a copy: the sentence is about to be overwritten */
    snprintf(why, sizeof why, "%s", naru__why());
    return naru__fail(code, "%s: %s", h->name, why);
}

int naru__cover_meet(struct naru_handle *h, struct naru_cover *cover, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(h, NARU_IN, deadline);
    int r;
    wait.spin_until = 1; /* other hosts and their arithmetic take longer than a wake-up */
    while ((r = cover->ops->meet(cover)) == -EAGAIN) {
        r = naru__wait_step(&wait);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: the handshake was not finished in that time", h->name);
        if (r < 0)
            return r;
    }
    return r < 0 ? naru__cover_failed(h, r) : 0;
}
