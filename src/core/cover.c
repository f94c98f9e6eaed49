/* SPDX-License-Identifier: MIT */
/* cover.c - waiting for a cover's two ends to meet, and its sentences. */
#include "core/cover.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

int naru__tls_keep(const struct naru_tls_options *o, const struct naru_tls_options **ret_copy)
{
    *ret_copy = NULL;
    if (!o)
        return 0;
    const char *const text[] = {o->certificate, o->key, o->authority, o->revoked, o->server_name};
    enum { TEXTS = sizeof text / sizeof *text };
    size_t size = sizeof *o;
    for (size_t i = 0; i < TEXTS; i++)
        size += text[i] ? strlen(text[i]) + 1 : 0;
    struct naru_tls_options *copy = naru__alloc(size);
    if (!copy)
        return -ENOMEM;
    *copy = *o;
    const char **const to[TEXTS] = {&copy->certificate, &copy->key, &copy->authority,
                                    &copy->revoked, &copy->server_name};
    char *at = (char *)(copy + 1);
    for (size_t i = 0; i < TEXTS; i++) {
        if (!text[i])
            continue;
        *to[i] = strcpy(at, text[i]);
        at += strlen(at) + 1;
    }
    *ret_copy = copy;
    return 0;
}

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
