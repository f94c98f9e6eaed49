/* SPDX-License-Identifier: MIT */
/* peek.c - naru peek: the messages of a queue or topic, without taking them. */
#include "tool/command.h"
#include "tool/format.h"
#include "tool/open.h"
#include "tool/print.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int print_message(struct invocation *in, const struct naru_message *m)
{
    size_t n;
    enum format format = (enum format)option_number(in, "format", FORMAT_TEXT);
    char *out = format_message(wants_json(in) ? FORMAT_JSON : format, m, &n);
    int r = out ? write_all(STDOUT_FILENO, out, n) : -ENOMEM;
    free(out);
    return r == 0 ? 0 : fail(in, "standard output: %s", strerror(-r));
}

/* What cannot be read is told of, and does not hide the rest. */
static int run(struct invocation *in)
{
    naru_peek *peek;
    struct naru_message m;
    int64_t select = 0, left = option_number(in, "count", INT64_MAX);
    int status = parse_select(in, &select);
    if (status)
        return status;
    if (naru_peek_open(in->arguments[0], &peek) < 0)
        return fail_naru(in);
    for (int damaged = 0; left > 0 && damaged < 1000;) {
        int r = naru_peek_next(peek, select, &m);
        if (r < 0) {
            status = fail_naru(in);
            damaged++;
            if (r != -EPROTO)
                break;
        } else if (r == 0 || (r = print_message(in, &m)) != 0) {
            status = r ? r : status;
            break;
        } else {
            left--;
        }
    }
    naru_peek_close(peek);
    return status;
}

static const struct option_row options[] = {
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
     .help = "text (default): payload and newline; raw: payload; hex, json: a line each"},
    {0},
};

const struct command peek_command = {
    "peek",
    "shows the messages of a queue or topic without taking them",
    "URL",
    "Of a shm: queue those that wait, of a topic those that are kept; sender by sender, each in "
    "its order. Of a map: journal what the receivers of its queue have not taken, or all if there "
    "never was any; naru log shows what was there before. Nobody is slowed, and nothing is written "
    "there. What comes or goes meanwhile may "
    "be shown or not. --select -T shows all types up to T.",
    1,
    1,
    options,
    run,
};
