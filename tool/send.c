/* SPDX-License-Identifier: MIT */
/* send.c - naru send: messages from arguments or standard input into a queue or topic. */
#include "tool/command.h"
#include "tool/format.h"
#include "tool/open.h"
#include "tool/print.h"
#include "tool/stop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sending {
    struct invocation *in;
    naru_channel *channel;
    int64_t timeout, accepted;
};

static int failed(const struct sending *s)
{
    if (stopped())
        return 128 + stopped();
    return fail(s->in, "%s; %lld messages were accepted", naru_why(), (long long)s->accepted);
}

static int send_line(struct sending *s, const char *line, size_t n)
{
    const char *why;
    size_t size;
    uint32_t type = (uint32_t)option_number(s->in, "type", 1);
    enum format format = (enum format)option_number(s->in, "format", FORMAT_TEXT);
    char *data = parse_message(format, line, n, &size, &type, &why);
    if (!data)
        return fail(s->in, "\"%.*s\": %s; %lld messages were accepted", n < 60 ? (int)n : 60, line,
                    why, (long long)s->accepted);
    int status = 0;
    for (int64_t i = option_number(s->in, "count", 1); i > 0 && status == 0; i--) {
        if (naru_channel_send(s->channel, type, data, size, s->timeout) < 0)
            status = failed(s);
        else
            s->accepted++;
    }
    free(data);
    return status;
}

static int send_lines(struct sending *s)
{
    char *line = NULL;
    size_t room = 0;
    int status = 0;
    ssize_t n;
    while (status == 0 && !stopped() && (n = getline(&line, &room, stdin)) >= 0) {
        n -= n > 0 && line[n - 1] == '\n';
        status = send_line(s, line, (size_t)n);
    }
    if (status == 0 && stopped())
        status = 128 + stopped();
    if (status == 0 && ferror(stdin))
        status = fail(s->in, "standard input: %s", strerror(errno));
    free(line);
    return status;
}

/* All of standard input is one message. */
static int send_whole(struct sending *s)
{
    char *data = NULL;
    size_t n = 0, room = 0;
    for (;;) {
        if (n == room) {
            char *grown = realloc(data, room = room ? room * 2 : 1 << 16);
            if (!grown) {
                free(data);
                return fail(s->in, "no memory for a message of more than %zu bytes", n);
            }
            data = grown;
        }
        ssize_t got = read(STDIN_FILENO, data + n, room - n);
        if (got < 0 && errno == EINTR && !stopped())
            continue;
        if (got <= 0) {
            int status = stopped() ? 128 + stopped()
                         : got < 0 ? fail(s->in, "standard input: %s", strerror(errno))
                                   : send_line(s, data, n);
            free(data);
            return status;
        }
        n += (size_t)got;
    }
}

/* Does a message go with its last holder? Then it is not sent until somebody has it; unless it may
 * be lost anyway, for then nobody can tell. */
static bool must_flush(const char *url)
{
    const struct naru_url_form *forms;
    size_t n = naru_url_forms(&forms), length = strcspn(url, ":");
    for (size_t i = 0; i < n; i++)
        if (strlen(forms[i].scheme) == length && strncmp(forms[i].scheme, url, length) == 0)
            return strncmp(forms[i].promise.outlives, "yes", 3) != 0 &&
                   strncmp(forms[i].promise.may_lose, "yes", 3) != 0;
    return true;
}

static int send_all(struct sending *s)
{
    struct invocation *in = s->in;
    int status = 0;
    for (int i = 1; i < in->n_arguments && status == 0; i++)
        status = send_line(s, in->arguments[i], strlen(in->arguments[i]));
    if (in->n_arguments == 1)
        status =
            option_number(in, "format", FORMAT_TEXT) == FORMAT_RAW ? send_whole(s) : send_lines(s);
    if (status == 0 && must_flush(in->arguments[0]) &&
        naru_channel_flush(s->channel, s->timeout) < 0)
        status = failed(s);
    return status;
}

static int run(struct invocation *in)
{
    struct sending s = {.in = in, .timeout = option_number(in, "timeout", NARU_FOREVER)};
    int r = open_channel(in, NARU_SEND, &s.channel);
    if (r)
        return r;
    stop_on_signals(s.channel);
    int status = send_all(&s);
    stop_on_signals(NULL);
    naru_channel_close(s.channel);
    if (wants_json(in)) {
        json_t *object =
            json_pack("{s:I, s:b}", "accepted", (json_int_t)s.accepted, "ok", status == 0);
        json_line(object);
        json_decref(object);
    }
    return status;
}

static const struct option_row options[] = {
    {.name = "type",
     .argument = "T",
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = NARU_TYPE_MAX,
     .help = "the messages' type (default 1)"},
    {.name = "count",
     .argument = "N",
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = INT64_MAX,
     .help = "send each message N times (default 1)"},
    {.name = "timeout",
     .argument = "SECONDS",
     .kind = OPTION_SECONDS,
     .help = "give up when there is no room, or no receiver, for so long (default: never)"},
    {.name = "format",
     .argument = "FORMAT",
     .kind = OPTION_CHOICE,
     .words = FORMAT_WORDS,
     .help = "text (default), hex, json: one message a line; raw: all of standard input is one"},
    OPEN_OPTIONS,
    OPEN_SYNC,
    {0},
};

const struct command send_command = {
    "send",
    "sends messages into a queue or topic",
    "URL [MESSAGE...]",
    "Without MESSAGE they come from standard input. Ends with 0 only when every message was "
    "accepted; on a FIFO only when a receiver has taken them, for what lies in a FIFO goes with "
    "its last holder. In a shm: queue they wait for receivers; a topic keeps its history for late "
    "subscribers.",
    1,
    -1,
    options,
    run,
};
