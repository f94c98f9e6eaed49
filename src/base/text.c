/* SPDX-License-Identifier: MIT */
/* text.c - sizes as people write them. */
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

struct naru_text naru__size_text(uint64_t bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    struct naru_text out;
    unsigned u = 0;
    uint64_t whole = bytes, rest = 0;
    while (whole >= 1024 && u < 6) {
        rest |= (whole % 1024) != 0;
        whole /= 1024;
        u++;
    }
    if (rest && bytes < 65536 * 16) /* an exact figure explains a limit better than a round one */
        snprintf(out.text, sizeof out.text, "%" PRIu64 " B", bytes);
    else if (rest)
        snprintf(out.text, sizeof out.text, "%.1f %s",
                 (double)bytes / (double)(UINT64_C(1) << (10 * u)), unit[u]);
    else
        snprintf(out.text, sizeof out.text, "%" PRIu64 " %s", whole, unit[u]);
    return out;
}
