/* SPDX-License-Identifier: MIT */
/* open.c - opening a queue or topic, whichever is there. */
#include "tool/open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What map: has more: *ret_given, or nothing of it was asked for. The exit status. */
static int journal_options(struct invocation *in, int role, struct naru_journal_options *ret_j,
                           bool *ret_given)
{
    const char *sync = role == NARU_SEND ? option_text(in, "sync", NULL) : NULL;
    char *end;
    *ret_j = (struct naru_journal_options){.size = sizeof *ret_j};
    ret_j->cursor = role == NARU_RECV ? option_text(in, "cursor", NULL) : NULL;
    *ret_given = sync || ret_j->cursor;
    if (!sync || strcmp(sync, "none") == 0)
        return 0;
    if (strcmp(sync, "each") == 0) {
        ret_j->sync = NARU_SYNC_EACH;
        return 0;
    }
    long ms = strtol(sync, &end, 10);
    if (end == sync || *end || ms < 1 || ms > 86400000)
        return usage(in, "--sync is none, each, or from 1 to 86400000 milliseconds, not \"%s\"",
                     sync);
    ret_j->sync = ms * NARU_MS;
    return 0;
}

static int open_topic(struct invocation *in, int role, unsigned flags,
                      const struct naru_journal_options *journal, naru_channel **ret_c)
{
    const struct naru_topic_options o = {
        .size = sizeof o,
        .capacity = (size_t)option_number(in, "capacity", 0),
        .flags = flags,
        .history = (unsigned)option_number(in, "history", 0),
        .lossy = role == NARU_RECV && option_flag(in, "lossy"),
        .journal = journal,
    };
    return naru_topic_open(in->arguments[0], role, &o, ret_c);
}

int open_channel(struct invocation *in, int role, naru_channel **ret_c)
{
    struct naru_journal_options journal;
    bool given;
    int status = journal_options(in, role, &journal, &given);
    if (status)
        return status;
    const struct naru_queue_options o = {
        .size = sizeof o,
        .journal = given ? &journal : NULL,
        .capacity = (size_t)option_number(in, "capacity", 0),
        .messages = (unsigned)option_number(in, "messages", 0),
        .flags = NARU_NO_READ_AHEAD, /* what --count or a signal leaves is the next one's */
        .cancellable = true,         /* for signals */
    };
    char why[1024];
    bool lossy = role == NARU_RECV && option_flag(in, "lossy");
    if (option_flag(in, "topic") || option(in, "history")->given || lossy)
        return open_topic(in, role, 0, o.journal, ret_c) < 0 ? fail_naru(in) : 0;
    int r = naru_queue_open(in->arguments[0], role, &o, ret_c);
    if (r >= 0)
        return 0;
    snprintf(why, sizeof why, "%s", naru_why());
    if (r == -EEXIST && open_topic(in, role, NARU_EXISTING, o.journal, ret_c) >= 0)
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
