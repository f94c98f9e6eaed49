/* SPDX-License-Identifier: MIT */
/* log.c - naru log: what a journal holds, from any place on. */
#include "tool/command.h"
#include "tool/format.h"
#include "tool/open.h"
#include "tool/print.h"
#include "tool/stop.h"

#include <naru/naru.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* "1234", a sequence, or a time as 2026-11-25, 2026-11-25T10:30 or 2026-11-25T10:30:00. */
static bool parse_point(const char *text, uint64_t *ret_sequence, int64_t *ret_time)
{
    static const char *const form[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};
    char *end;
    *ret_time = 0;
    *ret_sequence = strtoull(text, &end, 10);
    if (end > text && !*end)
        return text[0] != '-';
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        struct tm t = {.tm_isdst = -1};
        const char *rest = strptime(text, form[i], &t);
        time_t when;
        if (!rest || *rest || (when = mktime(&t)) < 0)
            continue;
        *ret_sequence = 0;
        *ret_time = (int64_t)when * 1000000000;
        return true;
    }
    return false;
}

static int point(struct invocation *in, const char *name, uint64_t *ret_sequence, int64_t *ret_time)
{
    const char *text = option_text(in, name, NULL);
    *ret_sequence = 0;
    *ret_time = 0;
    if (!text || parse_point(text, ret_sequence, ret_time))
        return 0;
    return usage(in,
                 "--%s is a sequence number, or a time such as 2026-11-25T10:30, and not \"%s\"",
                 name, text);
}

/* One line for people: sequence, time, type, size, and the payload if it is text. */
static char *listed(const struct naru_message *m, size_t *ret_n)
{
    char when[40] = "";
    time_t seconds = (time_t)(m->info.time / 1000000000);
    struct tm t;
    if (localtime_r(&seconds, &t))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &t);
    bool text = is_text(m->data, m->size) && !memchr(m->data, '\n', m->size);
    size_t shown = text ? m->size : 0;
    char *line = malloc(128 + shown);
    if (!line)
        return NULL;
    int n = snprintf(line, 128, "%10llu  %s.%06llu  type %u  %zu B  ",
                     (unsigned long long)m->info.sequence, when,
                     (unsigned long long)(m->info.time / 1000 % 1000000), m->info.type, m->size);
    memcpy(line + n, m->data, shown);
    *ret_n = (size_t)n + shown;
    line[(*ret_n)++] = '\n';
    return line;
}

static int print_one(struct invocation *in, const struct naru_message *m)
{
    size_t n;
    char *out = wants_json(in) ? format_message(FORMAT_JSON, m, &n)
                : option(in, "format")->given
                    ? format_message((enum format)option_number(in, "format", 0), m, &n)
                    : listed(m, &n);
    int r = out ? write_all(STDOUT_FILENO, out, n) : -ENOMEM;
    free(out);
    return r == 0 ? 0 : r == -EPIPE ? EXIT_FAILED : fail(in, "standard output: %s", strerror(-r));
}

struct end {
    uint64_t sequence;
    int64_t time;
};

static bool beyond(const struct end *to, const struct naru_info *i)
{
    return (to->sequence && i->sequence > to->sequence) ||
           (to->time && (int64_t)i->time >= to->time);
}

static int print_all(struct invocation *in, naru_channel *c, int64_t select, const struct end *to)
{
    int64_t left = option_number(in, "count", INT64_MAX);
    bool follow = option_flag(in, "follow");
    while (left > 0) {
        struct naru_message m;
        int r = naru_channel_take(c, select, follow ? NARU_FOREVER : NARU_NOWAIT, &m);
        if (r == -EAGAIN)
            return 0;
        if (r == -ECANCELED && stopped())
            return 128 + stopped();
        if (r < 0)
            return fail_naru(in);
        if (m.info.missed)
            fprintf(stderr, "naru log: %llu messages before %llu are damaged or were trimmed\n",
                    (unsigned long long)m.info.missed, (unsigned long long)m.info.sequence);
        if (beyond(to, &m.info))
            return 0;
        r = print_one(in, &m);
        naru_channel_release(c, &m, 1);
        if (r)
            return r;
        left--;
    }
    return 0;
}

static int run(struct invocation *in)
{
    struct naru_journal_options j = {.size = sizeof j, .skip = option_flag(in, "skip-damaged")};
    struct naru_topic_options o = {.size = sizeof o, .flags = NARU_EXISTING, .journal = &j};
    struct end to;
    naru_channel *c;
    int64_t select = 0;
    int status = parse_select(in, &select);
    if (status == 0)
        status = point(in, "from", &j.from, &j.since);
    if (status == 0)
        status = point(in, "to", &to.sequence, &to.time);
    if (status)
        return status;
    if (option(in, "type")->given)
        select = option_number(in, "type", 0);
    if (!j.from && !j.since)
        j.from = NARU_FROM_OLDEST;
    if (naru_topic_open(in->arguments[0], NARU_RECV, &o, &c) < 0)
        return fail_naru(in);
    signal(SIGPIPE, SIG_IGN);
    stop_on_signals(c);
    status = print_all(in, c, select, &to);
    stop_on_signals(NULL);
    naru_channel_close(c);
    return status;
}

static const struct option_row options[] = {
    {.name = "from",
     .argument = "POINT",
     .kind = OPTION_TEXT,
     .help = "begin at a sequence number or a time such as 2026-11-25T10:30 (default: the oldest)"},
    {.name = "to",
     .argument = "POINT",
     .kind = OPTION_TEXT,
     .help = "end after that sequence number, or before that time"},
    {.name = "follow", .help = "wait for what comes"},
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
     .help = "end after N messages (default: all that are there)"},
    {.name = "format",
     .argument = "FORMAT",
     .kind = OPTION_CHOICE,
     .words = FORMAT_WORDS,
     .help = "text: payload and newline; raw: payload; hex, json: a line each; default: a list "
             "with sequence, time and type"},
    {.name = "skip-damaged", .help = "go on behind damaged messages, and say how many they were"},
    {0},
};

const struct command log_command = {
    "log",
    "shows what a journal holds",
    "URL",
    "URL is a queue or topic on map:. Nothing is taken: every cursor stays where it is, and no "
    "sender is held back. Times are those of this machine's zone.",
    1,
    1,
    options,
    run,
};
