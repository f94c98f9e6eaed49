/* SPDX-License-Identifier: MIT */
/* ls.c - naru ls: the objects that there are. */
#include "tool/command.h"
#include "tool/print.h"

#include <naru/naru.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct naru_fact *fact(const struct naru_view *v, const char *name)
{
    for (size_t i = 0; i < v->n_facts; i++)
        if (strcmp(v->facts[i].name, name) == 0)
            return &v->facts[i];
    return NULL;
}

static void number_text(char *buf, size_t n, const struct naru_fact *f)
{
    if (f)
        snprintf(buf, n, "%" PRIu64, f->number);
    else
        snprintf(buf, n, "-");
}

static void print_json(const struct naru_view *v)
{
    json_t *o = json_pack("{s:s, s:s, s:I, s:I}", "url", v->url, "noun", v->noun, "owner",
                          (json_int_t)v->owner, "bytes", (json_int_t)v->bytes);
    json_facts(o, v->facts, v->n_facts);
    json_line(o);
    json_decref(o);
}

static void print_row(struct table *t, const struct naru_view *v)
{
    char owner[24], size[32], participants[24], dead[24], waiting[24];
    const struct naru_fact *kept = fact(v, "kept"), *waiters = fact(v, "waiters"),
                           *state = fact(v, "state");
    const struct naru_fact *problem = fact(v, "problem");
    snprintf(owner, sizeof owner, "%" PRId64, v->owner);
    bytes_text(v->bytes, size, sizeof size);
    number_text(participants, sizeof participants, fact(v, "participants"));
    number_text(dead, sizeof dead, fact(v, "dead"));
    number_text(waiting, sizeof waiting, kept ? kept : waiters ? waiters : fact(v, "waiting"));
    const char *cells[] = {v->url,       v->noun, owner,   size,
                           participants, dead,    waiting, problem ? problem->text
                                                           : state ? state->text
                                                                   : ""};
    table_row(t, cells);
}

/* How many there were; -1 after a sentence. */
static int list(struct invocation *in, const char *url, struct table *t)
{
    naru_snapshot *s;
    const struct naru_view *v;
    int n = 0;
    if (naru_snapshot_list(url, &s) < 0) {
        fail_naru(in);
        return -1;
    }
    for (; (v = naru_snapshot_view(s, (size_t)n)); n++) {
        if (option_flag(in, "names"))
            puts(v->url);
        else if (wants_json(in))
            print_json(v);
        else
            print_row(t, v);
    }
    naru_snapshot_free(s);
    return n;
}

static int run(struct invocation *in)
{
    static const char *const heads[] = {"url",          "noun", "uid",     "memory",
                                        "participants", "dead", "waiting", "state"};
    struct table *t = table_new(heads, sizeof heads / sizeof *heads);
    int status = 0;
    for (int i = 0; i < in->n_arguments || i == 0; i++)
        if (list(in, in->n_arguments ? in->arguments[i] : "shm:", t) < 0)
            status = EXIT_FAILED;
    int r = table_end(t, !wants_json(in) && !option_flag(in, "names"));
    return status ? status : r;
}

static const struct option_row options[] = {
    {.name = "names", .help = "print the URLs alone, one a line"},
    {0},
};

const struct command ls_command = {
    "ls",
    "lists the objects that there are",
    "[URL...]",
    "Without URL, or with shm:, those of this user; shm:/dir lists the objects in that directory, "
    "and shm:name shows one alone. map:/dir lists the journals and locks there, and the files that "
    "state that they are regions. Waiting are a queue's messages that nobody has taken, or those "
    "that a topic or journal keeps, or who waits for a lock; dead are participants that nobody has "
    "cleaned up after (naru gc does). Nothing is written, and nobody is slowed.",
    0,
    -1,
    options,
    run,
};
