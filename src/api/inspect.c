/* SPDX-License-Identifier: MIT */
/* inspect.c - naru/inspect.h: the URL is checked, then src/inspect looks. */
#include "base/error.h"
#include "base/url.h"
#include "core/kinds.h"
#include "core/transport.h"
#include "inspect/peek.h"
#include "inspect/snapshot.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static int parse(const char *text, struct naru_url *ret_url)
{
    int r = naru__url_parse(text, ret_url);
    return r < 0 ? r : naru__url_form(ret_url->scheme) ? 0 : -EINVAL;
}

int naru_snapshot_take(const char *text, naru_snapshot **ret_snapshot)
{
    struct naru_url url;
    int r = parse(text, &url);
    return r < 0 ? r : naru__snapshot_take(&url, ret_snapshot);
}

int naru_snapshot_list(const char *text, naru_snapshot **ret_snapshot)
{
    struct naru_url url;
    int r = parse(text, &url);
    return r < 0 ? r : naru__snapshot_list(&url, ret_snapshot);
}

int naru_snapshot_waits(naru_snapshot **ret_snapshot)
{
    return naru__snapshot_waits(ret_snapshot);
}

int naru_peek_open(const char *text, naru_peek **ret_peek)
{
    struct naru_url url;
    int r = parse(text, &url);
    bool seen = r == 0 && (strcmp(url.scheme, "shm") == 0 || strcmp(url.scheme, "map") == 0);
    if (r == 0 && !seen)
        r = naru__cell_check(naru__url_form(url.scheme), NARU_NOUN_QUEUE, text);
    if (r < 0)
        return r;
    if (!seen)
        return naru__fail(-EOPNOTSUPP,
                          "%s: messages of this kind cannot be seen without taking them; those of "
                          "shm: and map: queues and topics can",
                          text);
    return naru__peek_open(&url, ret_peek);
}

int naru_peek_next(naru_peek *peek, int64_t select, struct naru_message *ret_message)
{
    if (!peek || !ret_message)
        return naru__fail_static(-EINVAL, "naru_peek_next: an argument is NULL");
    int r = naru__select_check(select);
    return r < 0 ? r : naru__peek_next(peek, select, ret_message);
}

naru_peek *naru_peek_close(naru_peek *peek)
{
    if (peek)
        naru__peek_close(peek);
    return NULL;
}
