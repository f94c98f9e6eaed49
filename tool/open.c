/* SPDX-License-Identifier: MIT */
/* open.c - opening a queue or topic, whichever is there. */
#include "tool/open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_topic(struct invocation *in, int role, unsigned flags, naru_channel **ret_c)
{
    const struct naru_topic_options o = {
        .size = sizeof o,
        .capacity = (size_t)option_number(in, "capacity", 0),
        .flags = flags,
        .history = (unsigned)option_number(in, "history", 0),
        .lossy = role == NARU_RECV && option_flag(in, "lossy"),
    };
    return naru_topic_open(in->arguments[0], role, &o, ret_c);
}

int open_channel(struct invocation *in, int role, naru_channel **ret_c)
{
    const struct naru_queue_options o = {
        .size = sizeof o,
        .capacity = (size_t)option_number(in, "capacity", 0),
        .messages = (unsigned)option_number(in, "messages", 0),
        .flags = NARU_NO_READ_AHEAD, /* what --count or a signal leaves is the next one's */
        .cancellable = true,         /* for signals */
    };
    char why[1024];
    bool lossy = role == NARU_RECV && option_flag(in, "lossy");
    if (option_flag(in, "topic") || option(in, "history")->given || lossy)
        return open_topic(in, role, 0, ret_c) < 0 ? fail_naru(in) : 0;
    int r = naru_queue_open(in->arguments[0], role, &o, ret_c);
    if (r >= 0)
        return 0;
    snprintf(why, sizeof why, "%s", naru_why());
    if (r == -EEXIST && open_topic(in, role, NARU_EXISTING, ret_c) >= 0)
        return 0;
    return fail(in, "%s", why);
}

int parse_select(struct invocation *in, int64_t *ret)
{
    const char *text = option_text(in, "select", "0");
    bool except = text[0] == '!';
    char *end;
    long long n = strtoll(text + except, &end, 10);
    if (end == text + except || *end || n < -(long long)NARU_TYPE_MAX || n > NARU_TYPE_MAX ||
        (except && n < 1))
        return usage(
            in, "--select is T, -T (the lowest type up to T) or !T (any but T), not \"%s\"", text);
    *ret = except ? NARU_EXCEPT(n) : n;
    return 0;
}
