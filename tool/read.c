/* SPDX-License-Identifier: MIT */
/* read.c - naru read: a stream to standard output. */
#include "tool/certificates.h"
#include "tool/command.h"
#include "tool/print.h"
#include "tool/stop.h"

#include <naru/naru.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void summary(int64_t bytes)
{
    json_t *object = json_pack("{s:I}", "bytes", (json_int_t)bytes);
    json_dumpf(object, stderr, JSON_COMPACT); /* standard output is the data's */
    fputc('\n', stderr);
    json_decref(object);
}

static int copy(struct invocation *in, naru_stream *s, int64_t *bytes)
{
    static char buf[1 << 16];
    int64_t most = option_number(in, "count", INT64_MAX);
    while (*bytes < most) {
        size_t want = most - *bytes < (int64_t)sizeof buf ? (size_t)(most - *bytes) : sizeof buf;
        ssize_t n = naru_stream_read(s, buf, want, option_number(in, "timeout", NARU_FOREVER));
        if (n == 0)
            return most == INT64_MAX
                       ? 0
                       : fail(in, "the stream ended after %lld bytes", (long long)*bytes);
        if (n == -ECANCELED && stopped())
            return 128 + stopped();
        if (n < 0)
            return fail_naru(in);
        int r = write_all(STDOUT_FILENO, buf, (size_t)n);
        if (r < 0)
            return fail(in, "standard output: %s; %lld bytes were copied, %zd more read",
                        strerror(-r), (long long)*bytes, n);
        *bytes += n;
    }
    return 0;
}

static int run(struct invocation *in)
{
    naru_stream *s;
    int64_t bytes = 0;
    struct naru_stream_options o = {.size = sizeof o,
                                    .flags = (option_flag(in, "follow") ? 0 : NARU_UNTIL_HANGUP) |
                                             connecting(in->arguments[0]),
                                    .tls = certificates(in, false)};
    if (naru_stream_open(in->arguments[0], NARU_READ, &o, NARU_NOWAIT, &s) < 0)
        return fail_naru(in);
    stop_on_signals(s);
    int status = copy(in, s, &bytes);
    stop_on_signals(NULL);
    naru_stream_close(s);
    if (wants_json(in))
        summary(bytes);
    return status;
}

static const struct option_row options[] = {
    {.name = "follow", .help = "stay when the last writer leaves a FIFO"},
    {.name = "count",
     .argument = "BYTES",
     .kind = OPTION_SIZE,
     .min = 0,
     .max = INT64_MAX,
     .help = "end after so many bytes"},
    {.name = "timeout",
     .argument = "SECONDS",
     .kind = OPTION_SECONDS,
     .help = "give up when nothing comes for so long (default: never)"},
    CERTIFICATE_OPTIONS,
    {0},
};

const struct command read_command = {
    "read",
    "copies a stream to standard output",
    "URL",
    "Creates the FIFO if it is not there, and reads until the last writer has left. With --json a "
    "summary goes to standard error at the end.",
    1,
    1,
    options,
    run,
};
