/* SPDX-License-Identifier: MIT */
/* recv.c - naru recv: messages of a queue or topic to standard output. */
#include "tool/command.h"
#include "tool/format.h"
#include "tool/open.h"
#include "tool/print.h"
#include "tool/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One message: out in one write, and only then acknowledged. */
static int deliver(struct invocation *in, naru_channel *c, struct naru_message *m)
{
    size_t n;
    enum format format = (enum format)option_number(in, "format", FORMAT_TEXT);
    char *out = format_message(wants_json(in) ? FORMAT_JSON : format, m, &n);
    int r = out ? write_all(STDOUT_FILENO, out, n) : -ENOMEM;
    free(out);
    if (r == 0) {
        naru_channel_release(c, m, 1);
        return 0;
    }
    naru_channel_return(c, m, 1);
    return r == -EPIPE ? EXIT_FAILED : fail(in, "standard output: %s", strerror(-r));
}

static int receive(struct invocation *in, naru_channel *c, int64_t select)
{
    int64_t count = option_number(in, "count", INT64_MAX);
    int64_t timeout = option_number(in, "timeout", NARU_FOREVER);
    for (int64_t i = 0; i < count; i++) {
        struct naru_message m;
        int r = naru_channel_take(c, select, timeout, &m);
        if (r == -ECANCELED && stopped())
            return 128 + stopped();
        if (r == -EPIPE && count == INT64_MAX)
            return 0;
        if (r < 0)
            return fail(in, "%s; %lld messages were received", naru_why(), (long long)i);
        r = deliver(in, c, &m);
        if (r)
            return r;
    }
    return 0;
}

static int run(struct invocation *in)
{
    naru_channel *c;
    int64_t select = 0;
    int r = parse_select(in, &select);
    if (r)
        return r;
    if (option(in, "type")->given)
        select = option_number(in, "type", 0);
    r = open_channel(in, NARU_RECV, &c);
    if (r)
        return r;
    if (strcmp(naru_url(c), in->arguments[0]) != 0)
        tell_where(in, naru_url(c));
    signal(SIGPIPE, SIG_IGN);
    stop_on_signals(c);
    int status = receive(in, c, select);
    stop_on_signals(NULL);
    naru_channel_close(c);
    return status;
}

static const struct option_row options[] = {
    {.name = "type",
     .argument = "T",
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = NARU_TYPE_MAX,
     .help = "only messages of this type"},
    SELECT_OPTION,
    {.name = "count",
     .argument = "N",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = INT64_MAX,
     .help = "end after N messages (default: never)"},
    {.name = "timeout",
     .argument = "SECONDS",
     .kind = OPTION_SECONDS,
     .help = "give up when nothing comes for so long (default: never)"},
    {.name = "format",
     .argument = "FORMAT",
     .kind = OPTION_CHOICE,
     .words = FORMAT_WORDS,
     .help = "text (default): payload and newline; raw: payload; hex, json: a line each"},
    OPEN_OPTIONS,
    OPEN_CURSOR,
    {.name = "lossy", .help = "of a topic: hold no publisher back, and be told what is missed"},
    {0},
};

const struct command recv_command = {
    "recv",
    "receives messages from a queue or topic",
    "URL",
    "Waits for ever unless told otherwise. Each message leaves in one write, and is released only "
    "after it was written whole: what standard output did not take stays for another receiver "
    "where the kind gives messages back. Of a shm: queue a receiver that is killed loses nothing: "
    "the next one gets what it had taken. If that was printed already, it is printed twice, and "
    "only then: so what must not be done twice reads --format json, where it is marked "
    "\"redelivered\": true. The last line of a receiver that was killed may be cut; that message "
    "comes again. A lossy subscriber's \"missed\" is how many it did not get before that one.",
    1,
    1,
    options,
    run,
};
