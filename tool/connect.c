/* SPDX-License-Identifier: MIT */
/* connect.c - naru connect: talks to whoever listens. */
#include "tool/certificates.h"
#include "tool/format.h"
#include "tool/talk.h"

static int run(struct invocation *in)
{
    const char *url = in->arguments[0];
    int64_t timeout = option_number(in, "timeout", NARU_FOREVER);
    naru_stream *s = NULL;
    naru_channel *c = NULL;
    const struct naru_tls_options *tls = certificates(in, false);
    const struct naru_channel_options co = {.size = sizeof co, .tls = tls};
    const struct naru_stream_options so = {.size = sizeof so, .tls = tls};
    int r = option_flag(in, "messages")
                ? naru_channel_connect(url, &co, timeout, &c)
                : naru_stream_open(url, NARU_READ | NARU_WRITE, &so, timeout, &s);
    return r < 0 ? fail_naru(in) : talk(in, s, c);
}

static const struct option_row options[] = {TALK_OPTIONS, CERTIFICATE_OPTIONS, {0}};

const struct command connect_command = {
    "connect",
    "talks to whoever listens at a URL",
    "URL",
    "Standard input goes in, what comes goes to standard output. At the end of input this "
    "direction is finished (half-closed); the command ends when both are.",
    1,
    1,
    options,
    run,
};
