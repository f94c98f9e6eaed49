/* SPDX-License-Identifier: MIT */
/* main.c - the command `naru`: finds the subcommand. */
#include "tool/command.h"
#include "tool/pump.h"
#include "tool/tour.h"

#include <naru/naru.h>

#include <locale.h>
#include <stdio.h>
#include <string.h>

const struct command *const commands[] = {
    &bench_command,
    &call_command,
    &completion_command,
    &connect_command,
    &describe_command,
    &gc_command,
    &help_command,
    &kinds_command,
    &listen_command,
    &log_command,
    &ls_command,
    &methods_command,
    &peek_command,
    &read_command,
    &recv_command,
    &rm_command,
    &run_command,
    &sem_command,
    &send_command,
    &serve_command,
    &show_command,
    &tour_command,
    &trim_command,
    &verify_command,
    &why_command,
    &write_command,
    NULL,
};

const struct command *find_command(const char *name)
{
    for (const struct command *const *c = commands; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

static void overview(FILE *out)
{
    fprintf(
        out,
        "naru %s: every way for Linux processes to talk\n\nnaru COMMAND [options] [arguments]\n\n",
        naru_version());
    for (const struct command *const *c = commands; *c; c++)
        fprintf(out, "  %-12s%s\n", (*c)->name, (*c)->summary);
    fprintf(out, "\nnaru COMMAND --help tells of one; naru kinds shows what can talk to what.\n");
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* how wide a character of a table is */
    if (argc < 2) {
        overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], PUMP_ARGUMENT) == 0)
        return pump_main(argc, argv);
    if (strcmp(argv[1], TOUR_ARGUMENT) == 0)
        return tour_part_main(argc, argv);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        overview(stdout);
        return output_ends(NULL, 0);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("naru %s\n", naru_version());
        return output_ends(NULL, 0);
    }
    const struct command *command = find_command(argv[1]);
    if (!command) {
        fprintf(stderr, "naru: there is no command \"%s\"; naru --help lists them\n", argv[1]);
        return EXIT_USAGE;
    }
    return run_invocation(command, argc - 1, argv + 1);
}

static int run_help(struct invocation *in)
{
    const char *name = in->n_arguments ? in->arguments[0] : NULL;
    const struct command *command = name ? find_command(name) : NULL;
    if (name && !command)
        return usage(in, "there is no command \"%s\"", name);
    if (option_flag(in, "man"))
        command ? print_man(command) : print_man_all();
    else
        command ? print_help(command) : overview(stdout);
    return 0;
}

static const struct option_row help_options[] = {
    {.name = "man", .help = "print the manual page in man(7) form instead"},
    {0},
};

const struct command help_command = {
    "help",
    "tells of a command",
    "[COMMAND]",
    "Without COMMAND: the list of them. The pages in section 1 of the manual are made by --man.",
    0,
    1,
    help_options,
    run_help,
};

static int run_completion(struct invocation *in)
{
    if (print_completion(in->arguments[0]) < 0)
        return usage(in, "\"%s\" is none of bash, zsh, fish", in->arguments[0]);
    return 0;
}

const struct command completion_command = {
    "completion",
    "prints a completion script for a shell",
    "bash|zsh|fish",
    "For bash: source <(naru completion bash). For zsh and fish: put the output where they look.",
    1,
    1,
    NULL,
    run_completion,
};
