/* SPDX-License-Identifier: MIT */
/* listen.c - naru listen: waits for one that connects, and talks to it. */
#include "tool/certificates.h"
#include "tool/format.h"
#include "tool/print.h"
#include "tool/stop.h"
#include "tool/talk.h"

#include <errno.h>
#include <string.h>

static int failed(const struct invocation *in)
{
    return stopped() ? 128 + stopped() : fail_naru(in);
}

static int listen_bytes(struct invocation *in, int64_t timeout)
{
    const struct naru_listen_options o = {.size = sizeof o, .tls = certificates(in, true)};
    naru_stream_listener *l;
    naru_stream *s;
    stop_on_signals(NULL); /* from before there is a name that a signal could leave behind */
    if (naru_stream_listen(in->arguments[0], &o, &l) < 0)
        return fail_naru(in);
    tell_where(in, naru_url(l));
    stop_on_signals(l);
    int r = stopped() ? -ECANCELED : naru_stream_accept(l, timeout, &s);
    int status = r < 0 ? failed(in) : 0;
    stop_on_signals(NULL);
    naru_stream_listener_close(l); /* one connection, and the name is free */
    return status ? status : talk(in, s, NULL);
}

static int listen_messages(struct invocation *in, int64_t timeout)
{
    const struct naru_listen_options o = {.size = sizeof o, .tls = certificates(in, true)};
    naru_channel_listener *l;
    naru_channel *c;
    stop_on_signals(NULL); /* from before there is a name that a signal could leave behind */
    if (naru_channel_listen(in->arguments[0], &o, &l) < 0)
        return fail_naru(in);
    tell_where(in, naru_url(l));
    stop_on_signals(l);
    int r = stopped() ? -ECANCELED : naru_channel_accept(l, timeout, &c);
    int status = r < 0 ? failed(in) : 0;
    stop_on_signals(NULL);
    naru_channel_listener_close(l);
    return status ? status : talk(in, NULL, c);
}

static int run(struct invocation *in)
{
    int64_t timeout = option_number(in, "timeout", NARU_FOREVER);
    return option_flag(in, "messages") ? listen_messages(in, timeout) : listen_bytes(in, timeout);
}

static const struct option_row options[] = {TALK_OPTIONS, CERTIFICATE_OPTIONS, {0}};

const struct command listen_command = {
    "listen",
    "waits for one that connects, and talks to it",
    "URL",
    "Takes one connection. Standard input goes in, what comes goes to standard output. At the end "
    "of input this direction is finished (half-closed); the command ends when both are. With port "
    "0 the address is told on standard error.",
    1,
    1,
    options,
    run,
};
