/* SPDX-License-Identifier: MIT */
/* outgoing.c - a message on its way out: its pieces, copied to where it goes. */
#include "core/transport.h"

#include <string.h>

void naru__gather(const struct naru_outgoing *out, uint64_t from, uint8_t *to, uint64_t n)
{
    for (size_t i = 0; n > 0 && i < out->n; i++) {
        size_t have = out->vector[i].iov_len;
        if (from >= have) {
            from -= have;
            continue;
        }
        size_t m = have - from < n ? have - (size_t)from : (size_t)n;
        memcpy(to, (const uint8_t *)out->vector[i].iov_base + from, m);
        to += m;
        n -= m;
        from = 0;
    }
}
