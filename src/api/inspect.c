/* SPDX-License-Identifier: MIT */
/* inspect.c - naru/inspect.h: the URL is checked, then src/inspect looks. */
#include "base/error.h"
#include "base/url.h"
#include "core/kinds.h"
#include "inspect/snapshot.h"

#include <errno.h>

int naru_snapshot_take(const char *text, naru_snapshot **ret_snapshot)
{
    struct naru_url url;
    int r = naru__url_parse(text, &url);
    if (r < 0)
        return r;
    if (!naru__url_form(url.scheme))
        return -EINVAL;
    return naru__snapshot_take(&url, ret_snapshot);
}
