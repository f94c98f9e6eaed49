/* SPDX-License-Identifier: MIT */
/* write.c - naru write: arguments or standard input into a stream. */
#include "tool/certificates.h"
#include "tool/command.h"
#include "tool/print.h"
#include "tool/stop.h"

#include <naru/naru.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int put(struct invocation *in, naru_stream *s, const void *data, size_t n, int64_t *bytes)
{
    size_t done;
    int r = naru_stream_write_all(s, data, n, option_number(in, "timeout", NARU_FOREVER), &done);
    *bytes += (int64_t)done;
    if (r == -ECANCELED && stopped())
        return 128 + stopped();
    if (r < 0)
        return fail(in, "%s; %lld bytes were written", naru_why(), (long long)*bytes);
    return 0;
}

static int copy_input(struct invocation *in, naru_stream *s, int64_t *bytes)
{
    static char buf[1 << 16];
    for (;;) {
        ssize_t n = read(STDIN_FILENO, buf, sizeof buf);
        if (n < 0 && errno == EINTR && !stopped())
            continue;
        if (stopped())
            return 128 + stopped();
        if (n < 0)
            return fail(in, "standard input: %s", strerror(errno));
        if (n == 0)
            return 0;
        int r = put(in, s, buf, (size_t)n, bytes);
        if (r)
            return r;
    }
}

static int run(struct invocation *in)
{
    naru_stream *s;
    int64_t bytes = 0, timeout = option_number(in, "timeout", NARU_FOREVER);
    int status = 0;
    const struct naru_stream_options o = {
        .size = sizeof o, .flags = connecting(in->arguments[0]), .tls = certificates(in, false)};
    if (naru_stream_open(in->arguments[0], NARU_WRITE, &o, NARU_NOWAIT, &s) < 0)
        return fail_naru(in);
    stop_on_signals(s);
    for (int i = 1; i < in->n_arguments && status == 0; i++) {
        status = put(in, s, in->arguments[i], strlen(in->arguments[i]), &bytes);
        if (status == 0)
            status = put(in, s, "\n", 1, &bytes);
    }
    if (in->n_arguments == 1)
        status = copy_input(in, s, &bytes);
    if (status == 0 && naru_stream_flush(s, timeout) < 0)
        status = stopped() ? 128 + stopped() : fail_naru(in);
    stop_on_signals(NULL);
    naru_stream_close(s);
    if (wants_json(in)) {
        json_t *object = json_pack("{s:I, s:b}", "bytes", (json_int_t)bytes, "taken", status == 0);
        json_line(object);
        json_decref(object);
    }
    return status;
}

static const struct option_row options[] = {
    {.name = "timeout",
     .argument = "SECONDS",
     .kind = OPTION_SECONDS,
     .help = "give up when nobody reads for so long (default: never)"},
    CERTIFICATE_OPTIONS,
    {0},
};

const struct command write_command = {
    "write",
    "writes arguments, or standard input, into a stream",
    "URL [TEXT...]",
    "Each TEXT is a line. Waits for a reader, and ends only when one has taken every byte.",
    1,
    -1,
    options,
    run,
};
