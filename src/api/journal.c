/* SPDX-License-Identifier: MIT */
/* journal.c - naru/journal.h: what is done to a journal as a whole. */
#include "naru/journal.h"

#include "api/transports.h"
#include "base/error.h"
#include "object/object.h"
#include "transport/map/map.h"

#include <errno.h>
#include <string.h>

static int parse(const char *text, struct naru_url *ret_url)
{
    int r = naru__url_parse(text, ret_url);
    if (r == 0 && (strcmp(ret_url->scheme, "map") != 0 || ret_url->rest[0] != '/'))
        r = naru__fail(-EINVAL, "%s names no journal: those are map:/dir", text);
    return r;
}

int naru_journal_sync(naru_channel *channel, int64_t timeout)
{
    int r = naru__enter(channel, NARU__CHANNEL);
    if (r == 0 && channel->ops->flush != naru__journal_flush)
        r = naru__fail(-EOPNOTSUPP, "%s keeps no journal; map: does", channel->handle.name);
    if (r == 0)
        r = naru__check_direction(&channel->handle, NARU_OUT);
    if (r < 0)
        return r;
    r = naru__journal_sync(channel, naru__deadline(timeout));
    naru__leave(&channel->handle);
    return r;
}

int naru_journal_trim(const char *text, uint64_t before, uint64_t *ret_bytes)
{
    const struct naru_topic_options o = {.size = sizeof o, .flags = NARU_EXISTING};
    struct naru_url url;
    naru_channel *c;
    uint64_t bytes = 0;
    int r = parse(text, &url);
    if (r == 0)
        r = naru_topic_open(text, NARU_SEND, &o, &c);
    if (r < 0)
        return r;
    r = naru__journal_trim(c, before, &bytes);
    naru_channel_close(c);
    if (r == 0 && ret_bytes)
        *ret_bytes = bytes;
    return r;
}

int naru_journal_verify(const char *text, struct naru_journal_report *ret_report,
                        int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
    const struct naru_object_want want = {
        .what = NARU_OBJECT_JOURNAL, .signature = NARU_JOURNAL_VERSION, .flags = NARU_EXISTING};
    struct naru_url url;
    struct naru_object o;
    int r = parse(text, &url);
    if (r == 0)
        r = naru__check_options(ret_report, sizeof *ret_report, "naru_journal_report");
    if (r == 0)
        r = naru__object_open(&url, &want, &o);
    if (r < 0)
        return r;
    r = naru__journal_verify(&o, ret_report, progress, arg);
    naru__object_close(&o);
    return r;
}
