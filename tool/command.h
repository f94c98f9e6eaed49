/* SPDX-License-Identifier: MIT */
/* command.h - what a subcommand is: a row that names it, its table of options, and its function.
 * Parsing, --help, completion and the manual page all come from the table. */
#ifndef NARU_TOOL_COMMAND_H
#define NARU_TOOL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG, /* no argument */
    OPTION_TEXT,
    OPTION_EACH,    /* text, any number of times; they come one a line */
    OPTION_NUMBER,  /* min ... max */
    OPTION_SIZE,    /* bytes, with k, m, g; min ... max */
    OPTION_SECONDS, /* decimal; becomes nanoseconds */
    OPTION_CHOICE   /* one of .words */
};

struct option_row {
    const char *name;     /* "timeout": --timeout */
    const char *argument; /* "SECONDS"; NULL for a flag */
    enum option_kind kind;
    int64_t min, max;
    const char *words; /* "raw text hex json" */
    const char *help;
};

struct option_value {
    bool given;
    int64_t number; /* flag, number, size, nanoseconds, index of the choice */
    const char *text;
    char *joined; /* owned, of OPTION_EACH */
};

struct invocation {
    const struct command *command;
    struct option_value *values; /* one a row of the table */
    char **arguments;            /* what is not an option */
    int n_arguments;
};

struct command {
    const char *name;
    const char *summary;              /* one line */
    const char *usage;                /* "URL [MESSAGE...]" */
    const char *description;          /* paragraphs, for --help and the manual */
    int min_arguments, max_arguments; /* max -1: any number */
    const struct option_row
        *options; /* ends with a row without name; --json and --help are added */
    int (*run)(struct invocation *);
};

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

extern const struct command bench_command, call_command, completion_command, connect_command,
    describe_command, gc_command, help_command, kinds_command, listen_command, log_command,
    ls_command, methods_command, peek_command, read_command, recv_command, rm_command, run_command,
    sem_command, send_command, serve_command, show_command, tour_command, trim_command,
    verify_command, why_command, write_command;
extern const struct command *const commands[]; /* by name, NULL at the end */

const struct command *find_command(const char *name);

/* Parses argv (argv[0]: the subcommand) and runs it. Returns the exit status. */
int run_invocation(const struct command *, int argc, char **argv);

/* Option values by the long name; they must be in the command's table. */
const struct option_value *option(const struct invocation *, const char *name);
bool option_flag(const struct invocation *, const char *name);
int64_t option_number(const struct invocation *, const char *name, int64_t otherwise);
const char *option_text(const struct invocation *, const char *name, const char *otherwise);
bool wants_json(const struct invocation *);

/* The texts made from the table. */
void print_help(const struct command *);
void print_man(const struct command *);
void print_man_all(void);
int print_completion(const char *shell);

/* The exit status; EXIT_FAILED with a sentence if not all of standard output could be written. */
int output_ends(const char *command, int status);

/* "naru send: ..." on stderr. */
int fail(const struct invocation *, const char *format, ...) __attribute__((format(printf, 2, 3)));
int usage(const struct invocation *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with naru_why(). */
int fail_naru(const struct invocation *);

#endif
