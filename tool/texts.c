/* SPDX-License-Identifier: MIT */
/* texts.c - from the tables of options: manual pages (man(7)) and completion for three shells. */
#include "tool/command.h"

#include <naru/naru.h>

#include <stdio.h>
#include <string.h>

/* ---- manual ---- */

/* Text of a page: no line may begin with a control character, and a minus is a minus. */
static void roff(const char *text)
{
    bool start = true;
    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else if (*text == '\n')
            fputs("\n.PP\n", stdout);
        else
            putchar(*text);
        start = *text == '\n';
    }
    putchar('\n');
}

static void man_head(const char *title, const char *name, const char *summary)
{
    printf(".TH %s 1 2026-11-23 \"naru %s\" \"User Commands\"\n.SH NAME\n%s \\- %s\n", title,
           naru_version(), name, summary);
}

static void man_option(const struct option_row *row)
{
    printf(".TP\n\\fB\\-\\-%s\\fR", row->name);
    if (row->argument)
        printf(" \\fI%s\\fR", row->argument);
    putchar('\n');
    roff(row->help);
}

void print_man(const struct command *c)
{
    char title[40], name[40];
    snprintf(title, sizeof title, "NARU-%s", c->name);
    for (char *p = title; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 32);
    snprintf(name, sizeof name, "naru\\-%s", c->name);
    man_head(title, name, c->summary);
    printf(".SH SYNOPSIS\n\\fBnaru %s\\fR [options] ", c->name);
    roff(c->usage);
    printf(".SH DESCRIPTION\n");
    roff(c->description);
    printf(".SH OPTIONS\n");
    for (const struct option_row *row = c->options; row && row->name; row++)
        man_option(row);
    man_option(&(struct option_row){.name = "json", .help = "print JSON, one object a line"});
    man_option(&(struct option_row){.name = "help", .help = "print this help"});
    printf(".SH EXIT STATUS\n0 when all was done, 1 on failure, 2 for wrong usage.\n");
    printf(".SH SEE ALSO\n.BR naru (1),\n.BR naru (7)\n");
}

void print_man_all(void)
{
    man_head("NARU", "naru", "every way for Linux processes to talk");
    printf(".SH SYNOPSIS\n\\fBnaru\\fR \\fICOMMAND\\fR [options] [arguments]\n.SH DESCRIPTION\n"
           "Data goes to standard output, talk to standard error. Every command has\n"
           "\\fB\\-\\-json\\fR and \\fB\\-\\-help\\fR.\n.SH COMMANDS\n");
    for (const struct command *const *c = commands; *c; c++) {
        printf(".TP\n\\fBnaru %s\\fR ", (*c)->name);
        roff((*c)->usage);
        roff((*c)->summary);
    }
    printf(".SH EXIT STATUS\n0 when all was done, 1 on failure, 2 for wrong usage.\n"
           ".SH SEE ALSO\n.BR naru (7)\n");
}

/* ---- completion ---- */

static void each_name(const char *format)
{
    for (const struct command *const *c = commands; *c; c++)
        printf(format, (*c)->name);
}

/* Does it take the name of a method after a URL, whose server can tell it? */
static bool names_methods(const struct command *c)
{
    return strcmp(c->name, "call") == 0 || strcmp(c->name, "describe") == 0;
}

static void bash_options(const struct command *c)
{
    printf("    %s) options=\"", c->name);
    for (const struct option_row *row = c->options; row && row->name; row++)
        printf("--%s ", row->name);
    printf("--json --help\" ;;\n");
}

static void bash_choices(void)
{
    for (const struct command *const *c = commands; *c; c++)
        for (const struct option_row *row = (*c)->options; row && row->name; row++)
            if (row->kind == OPTION_CHOICE)
                printf("    %s/--%s) words=\"%s\" ;;\n", (*c)->name, row->name, row->words);
}

static void print_bash(void)
{
    fputs("# bash completion for naru; made by `naru completion bash`\n"
          "# Sets url to the first URL before the word under the cursor.\n"
          "_naru_url()\n{\n"
          "    local line=${COMP_LINE:0:COMP_POINT} one all\n"
          "    read -ra all <<<\"$line\"\n"
          "    [[ $line == *[[:space:]] ]] || unset 'all[-1]'\n"
          "    for one in \"${all[@]:2}\"; do\n"
          "        [[ $one == -* || $one != *:* ]] || { url=$one; return 0; }\n"
          "    done\n    return 1\n}\n", stdout);
    printf("_naru()\n{\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    local command=${COMP_WORDS[1]} options=\"\" words=\"\" url=\"\"\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words=\"");
    each_name("%s ");
    printf(
        "\"\n        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n        return\n"
        "    fi\n    case $command in\n");
    for (const struct command *const *c = commands; *c; c++)
        bash_options(*c);
    printf("    esac\n    case $command/$before in\n");
    bash_choices();
    printf(
        "    esac\n    if [ -n \"$words\" ]; then\n"
        "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
        "    elif [[ $word == -* ]]; then\n"
        "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\")\n"
        "    elif [[ $command == call || $command == describe ]] && _naru_url; then\n"
        "        words=$(command naru methods \"$url\" --names --deadline 1 2>/dev/null)\n"
        "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
        "    else\n"
        "        # a colon divides words: what is behind it is completed alone\n"
        "        local names=\"pipe: fifo: shm:\"\n"
        "        [[ $before == : ]] && before=${COMP_WORDS[COMP_CWORD-2]}\n"
        "        [[ $word == : ]] && before=${COMP_WORDS[COMP_CWORD-1]} word=\"\"\n"
        "        [[ $before == shm ]] && names=$(command naru ls --names 2>/dev/null |\n"
        "            sed s/^shm://)\n"
        "        mapfile -t COMPREPLY < <(compgen -W \"$names\" -f -- \"$word\")\n"
        "    fi\n}\ncomplete -o nospace -F _naru naru\n");
}

static void quoted(const char *text, const char *avoid)
{
    for (; *text; text++)
        if (!strchr(avoid, *text))
            putchar(*text);
}

static void print_zsh(void)
{
    printf("#compdef naru\n# zsh completion for naru; made by `naru completion zsh`\n"
           "_naru_urls() {\n  local -a urls\n"
           "  urls=(${(f)\"$(command naru ls --names 2>/dev/null)\"} pipe: fifo: shm:)\n"
           "  compadd -- $urls\n  _files\n}\n"
           "_naru_methods() {\n  local url one\n  for one in ${words[3,CURRENT-1]}; do\n"
           "    [[ $one != -* && $one == *:* ]] && { url=$one; break; }\n  done\n"
           "  [[ -n $url ]] || { _naru_urls; return; }\n"
           "  compadd -- ${(f)\"$(command naru methods $url --names --deadline 1 2>/dev/null)\"}\n"
           "}\n_naru() {\n"
           "  local -a names\n  if (( CURRENT == 2 )); then\n    names=(\n");
    for (const struct command *const *c = commands; *c; c++) {
        printf("      '%s:", (*c)->name);
        quoted((*c)->summary, "':");
        printf("'\n");
    }
    printf("    )\n    _describe command names\n    return\n  fi\n  case $words[2] in\n");
    for (const struct command *const *c = commands; *c; c++) {
        printf("  %s) _arguments '*:argument:%s' \\\n", (*c)->name,
               names_methods(*c) ? "_naru_methods" : "_naru_urls");
        for (const struct option_row *row = (*c)->options; row && row->name; row++) {
            printf("    '--%s[", row->name);
            quoted(row->help, "'[]");
            printf("]");
            if (row->kind == OPTION_CHOICE)
                printf(":%s:(%s)", row->argument, row->words);
            else if (row->argument)
                printf(":%s:_files", row->argument);
            printf("' \\\n");
        }
        printf("    '--json[print JSON]' '--help[print help]' ;;\n");
    }
    printf("  esac\n}\n_naru \"$@\"\n");
}

static void print_fish(void)
{
    printf("# fish completion for naru; made by `naru completion fish`\n"
           "complete -c naru -n 'not __fish_use_subcommand' -a '(naru ls --names 2>/dev/null)'\n"
           "function __naru_methods\n    for one in (commandline -opc)[3..-1]\n"
           "        if string match -qr '^[^-].*:' -- $one\n"
           "            command naru methods $one --names --deadline 1 2>/dev/null\n"
           "            return\n        end\n    end\nend\n");
    for (const struct command *const *c = commands; *c; c++)
        if (names_methods(*c))
            printf("complete -c naru -n '__fish_seen_subcommand_from %s' -f -a "
                   "'(__naru_methods)'\n",
                   (*c)->name);
    for (const struct command *const *c = commands; *c; c++) {
        printf("complete -c naru -n __fish_use_subcommand -f -a %s -d '", (*c)->name);
        quoted((*c)->summary, "'");
        printf("'\n");
        for (const struct option_row *row = (*c)->options; row && row->name; row++) {
            printf("complete -c naru -n '__fish_seen_subcommand_from %s' -l %s", (*c)->name,
                   row->name);
            if (row->kind == OPTION_CHOICE)
                printf(" -x -a '%s'", row->words);
            else if (row->argument)
                printf(" -r");
            printf(" -d '");
            quoted(row->help, "'");
            printf("'\n");
        }
        printf("complete -c naru -n '__fish_seen_subcommand_from %s' -l json -d 'print JSON'\n",
               (*c)->name);
    }
}

int print_completion(const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        print_bash();
    else if (strcmp(shell, "zsh") == 0)
        print_zsh();
    else if (strcmp(shell, "fish") == 0)
        print_fish();
    else
        return -1;
    return 0;
}
