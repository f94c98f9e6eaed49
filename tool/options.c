/* SPDX-License-Identifier: MIT */
/* options.c - from a command's table: parsing (on getopt_long), and the help that --help prints. */
#include "tool/command.h"

#include <naru/naru.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 24 };

static const struct option_row common_rows[] = {
    {.name = "json", .help = "print JSON, one object a line"},
    {.name = "help", .help = "print this help"},
};

static int count_rows(const struct command *c)
{
    int n = 0;
    while (c->options && c->options[n].name)
        n++;
    return n;
}

static const struct option_row *row_at(const struct command *c, int i)
{
    int own = count_rows(c);
    return i < own ? &c->options[i] : i < own + 2 ? &common_rows[i - own] : NULL;
}

static int say(const struct invocation *in, int status, const char *format, va_list arguments)
{
    fprintf(stderr, "naru %s: ", in->command->name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    if (status == EXIT_USAGE)
        fprintf(stderr, "naru %s --help tells more\n", in->command->name);
    return status;
}

int fail(const struct invocation *in, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int status = say(in, EXIT_FAILED, format, arguments);
    va_end(arguments);
    return status;
}

int usage(const struct invocation *in, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int status = say(in, EXIT_USAGE, format, arguments);
    va_end(arguments);
    return status;
}

int fail_naru(const struct invocation *in)
{
    return fail(in, "%s", naru_why());
}

/* ---- values ---- */

const struct option_value *option(const struct invocation *in, const char *name)
{
    const struct option_row *row;
    for (int i = 0; (row = row_at(in->command, i)); i++)
        if (strcmp(row->name, name) == 0)
            return &in->values[i];
    abort(); /* a command asked for an option that its own table lacks */
}

bool option_flag(const struct invocation *in, const char *name)
{
    return option(in, name)->given;
}

int64_t option_number(const struct invocation *in, const char *name, int64_t otherwise)
{
    const struct option_value *v = option(in, name);
    return v->given ? v->number : otherwise;
}

const char *option_text(const struct invocation *in, const char *name, const char *otherwise)
{
    const struct option_value *v = option(in, name);
    return v->given ? v->text : otherwise;
}

bool wants_json(const struct invocation *in)
{
    return option_flag(in, "json");
}

static int parse_number(const struct invocation *in, const struct option_row *row, const char *text,
                        int64_t *ret)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (row->kind == OPTION_SIZE && end != text && *end) {
        static const char suffixes[] = "kmg";
        const char *s = strchr(suffixes, *end | 32);
        if (s && end[1] == '\0' && n <= INT64_MAX >> 30 && n >= 0) {
            n <<= 10 * (s - suffixes + 1);
            end++;
        }
    }
    if (end == text || *end || errno)
        return usage(in, "--%s wants a number%s, not \"%s\"", row->name,
                     row->kind == OPTION_SIZE ? ", perhaps with k, m or g" : "", text);
    if (n < row->min || n > row->max)
        return usage(in, "--%s is %s, and it can be %" PRId64 " to %" PRId64, row->name, text,
                     row->min, row->max);
    *ret = n;
    return 0;
}

static int parse_seconds(const struct invocation *in, const struct option_row *row,
                         const char *text, int64_t *ret)
{
    char *end;
    double s = strtod(text, &end);
    if (end == text || *end || !isfinite(s) || s < 0 || s > 1e9)
        return usage(in, "--%s wants seconds such as 1.5, from 0 to 1000000000, not \"%s\"",
                     row->name, text);
    *ret = (int64_t)(s * 1e9);
    return 0;
}

static int parse_choice(const struct invocation *in, const struct option_row *row, const char *text,
                        int64_t *ret)
{
    size_t n = strlen(text);
    int64_t index = 0;
    for (const char *w = row->words; *w; index++) {
        size_t length = strcspn(w, " ");
        if (length == n && strncmp(w, text, n) == 0) {
            *ret = index;
            return 0;
        }
        w += length + (w[length] == ' ');
    }
    return usage(in, "--%s can be one of: %s; not \"%s\"", row->name, row->words, text);
}

static int join(struct invocation *in, const char *text, struct option_value *value)
{
    char *joined = NULL;
    if (asprintf(&joined, "%s%s%s", value->joined ? value->joined : "", value->joined ? "\n" : "",
                 text) < 0)
        return fail(in, "no memory");
    free(value->joined);
    value->text = value->joined = joined;
    return 0;
}

static int parse_value(struct invocation *in, const struct option_row *row, const char *text,
                       struct option_value *value)
{
    value->given = true;
    value->text = text;
    switch (row->kind) {
    case OPTION_EACH:
        return join(in, text, value);
    case OPTION_NUMBER:
    case OPTION_SIZE:
        return parse_number(in, row, text, &value->number);
    case OPTION_SECONDS:
        return parse_seconds(in, row, text, &value->number);
    case OPTION_CHOICE:
        return parse_choice(in, row, text, &value->number);
    default:
        value->number = 1;
        return 0;
    }
}

/* ---- the whole ---- */

static int parse_options(struct invocation *in, int argc, char **argv)
{
    struct option longs[OPTIONS_MAX + 1] = {{0}};
    const struct option_row *row;
    int n = 0;
    for (; (row = row_at(in->command, n)) && n < OPTIONS_MAX; n++)
        longs[n] =
            (struct option){row->name, row->argument ? required_argument : no_argument, NULL, n};
    opterr = 0;
    optind = 1;
    int found;
    while (optind < argc) {
        /* a negative number is an argument of the option before it, or a message, never an option
         */
        int before = optind;
        found = getopt_long(argc, argv, "+:h", longs, NULL);
        if (found == -1)
            break;
        if (found == 'h')
            found = n - 1;
        if (found == ':')
            return usage(in, "%s wants an argument", argv[before]);
        if (found == '?')
            return usage(in, "there is no option %s", argv[before]);
        int r = parse_value(in, row_at(in->command, found), optarg, &in->values[found]);
        if (r)
            return r;
    }
    return 0;
}

/* Options may stand anywhere before "--": those behind an argument are moved before it. */
static int parse_all(struct invocation *in, int argc, char **argv)
{
    char **kept = calloc((size_t)argc + 1, sizeof *kept);
    int n = 0;
    if (!kept)
        return fail(in, "no memory");
    char **rest = argv;
    int left = argc;
    for (;;) {
        int r = parse_options(in, left, rest);
        if (r) {
            free(kept);
            return r;
        }
        bool dashes = optind > 1 && strcmp(rest[optind - 1], "--") == 0;
        if (optind >= left)
            break;
        if (dashes) {
            while (optind < left)
                kept[n++] = rest[optind++];
            break;
        }
        kept[n++] = rest[optind];
        rest += optind;
        left -= optind;
    }
    memcpy(argv + 1, kept, (size_t)n * sizeof *kept);
    argv[n + 1] = NULL;
    free(kept);
    in->arguments = argv + 1;
    in->n_arguments = n;
    return 0;
}

int output_ends(const char *command, int status)
{
    errno = EIO; /* some of it may have failed before */
    if ((fflush(stdout) == 0 && !ferror(stdout)) || status)
        return status;
    if (errno == EIO && putchar('\n') != EOF) /* and its reason is gone: one byte more tells it */
        (void)fflush(stdout);
    fprintf(stderr, "naru%s%s: standard output: %s\n", command ? " " : "", command ? command : "",
            strerror(errno));
    return EXIT_FAILED;
}

static int run_parsed(const struct command *command, struct invocation *in)
{
    if (option_flag(in, "help")) {
        print_help(command);
        return 0;
    }
    if (in->n_arguments < command->min_arguments)
        return usage(in, "wants %s", command->usage);
    if (command->max_arguments >= 0 && in->n_arguments > command->max_arguments)
        return usage(in, "\"%s\" is one argument too many; it wants %s",
                     in->arguments[command->max_arguments],
                     command->usage[0] ? command->usage : "options only");
    return command->run(in);
}

int run_invocation(const struct command *command, int argc, char **argv)
{
    struct option_value values[OPTIONS_MAX] = {{0}};
    struct invocation in = {.command = command, .values = values};
    int r = parse_all(&in, argc, argv);
    r = r ? r : output_ends(command->name, run_parsed(command, &in));
    for (int i = 0; i < OPTIONS_MAX; i++)
        free(values[i].joined);
    return r;
}

static void wrap(const char *text, int indent, int at)
{
    while (*text) {
        size_t word = strcspn(text, " \n");
        if (at + (int)word >= 80 && at > indent)
            at = printf("\n%*s", indent, "") - 1;
        at += printf("%.*s", (int)word, text);
        text += word;
        if (*text == '\n')
            at = printf("\n%*s", indent, "") - 1;
        else if (*text && text[1])
            at += printf(" ");
        text += *text != '\0';
    }
    printf("\n");
}

void print_help(const struct command *c)
{
    const struct option_row *row;
    printf("naru %s %s\n\n%s.\n\n", c->name, c->usage, c->summary);
    wrap(c->description, 0, 0);
    printf("\nOptions:\n");
    for (int i = 0; (row = row_at(c, i)); i++) {
        int n = printf("  --%s%s%s", row->name, row->argument ? " " : "",
                       row->argument ? row->argument : "");
        printf("%*s", n < 24 ? 24 - n : 2, "");
        wrap(row->help, 24, n < 24 ? 24 : n + 2);
    }
}
