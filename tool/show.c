/* SPDX-License-Identifier: MIT */
/* show.c - naru show: what lies in an object, who takes part, who sleeps. It only looks. */
#include "tool/command.h"
#include "tool/print.h"
#include "tool/stop.h"

#include <naru/naru.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { COLUMNS_MAX = 20, CELL = 80, WIDTH = 96 };

/* ---- JSON ---- */

static void print_json(const struct naru_view *v)
{
    json_t *object = json_pack("{s:s, s:s, s:I, s:I}", "url", v->url, "noun", v->noun, "owner",
                               (json_int_t)v->owner, "bytes", (json_int_t)v->bytes);
    json_t *parts = json_array();
    json_facts(object, v->facts, v->n_facts);
    for (size_t i = 0; i < v->n_parts; i++) {
        const struct naru_view_part *p = v->parts[i];
        json_t *part = json_pack("{s:I, s:I, s:s}", "pid", (json_int_t)p->pid, "uid",
                                 (json_int_t)p->uid, "program", p->program);
        json_facts(part, p->facts, p->n_facts);
        json_array_append_new(parts, part);
    }
    json_object_set_new(object, "parts", parts);
    json_line(object);
    json_decref(object);
}

/* ---- for people ---- */

static const char *fact_text(const struct naru_fact *f, char *buf)
{
    if (f->text)
        snprintf(buf, CELL, "%.79s", f->text);
    else if (f->unit && strcmp(f->unit, "bytes") == 0)
        bytes_text(f->number, buf, CELL);
    else
        snprintf(buf, CELL, "%" PRIu64 "%s%s", f->number, f->unit ? " " : "",
                 f->unit ? f->unit : "");
    return buf;
}

/* Row 0 to 2 are what all have. */
static const char *cell(const struct naru_view_part *p, size_t row, char *buf)
{
    if (row == 0)
        snprintf(buf, CELL, p->pid > 0 ? "%" PRId64 : "?", p->pid);
    else if (row == 1)
        snprintf(buf, CELL, "%.60s", p->program);
    else if (row == 2)
        snprintf(buf, CELL, p->uid >= 0 ? "%" PRId64 : "?", p->uid);
    else
        fact_text(&p->facts[row - 3], buf);
    return buf;
}

static const char *head(const struct naru_view_part *p, size_t row)
{
    static const char *const common[] = {"pid", "program", "uid"};
    return row < 3 ? common[row] : p->facts[row - 3].name;
}

/* A column a participant while they fit side by side; else a row each. */
static int print_parts(const struct naru_view *v)
{
    enum { SIDE_BY_SIDE = 4 };
    char buf[COLUMNS_MAX][CELL];
    const char *cells[COLUMNS_MAX] = {NULL};
    if (v->n_parts == 0)
        return 0;
    size_t rows = v->parts[0]->n_facts + 3;
    bool across = v->n_parts <= SIDE_BY_SIDE;
    size_t columns = across ? v->n_parts + 1 : rows > COLUMNS_MAX ? COLUMNS_MAX : rows;
    size_t lines = across ? rows : v->n_parts;
    for (size_t i = 0; i < columns; i++)
        cells[i] = across ? "" : head(v->parts[0], i);
    struct table *table = table_new(cells, columns);
    for (size_t k = 0; k < lines; k++) {
        for (size_t i = 0; i < columns; i++)
            cells[i] = across && i == 0 ? head(v->parts[0], k)
                       : across         ? cell(v->parts[i - 1], k, buf[i])
                                        : cell(v->parts[k], i, buf[i]);
        table_row(table, cells);
    }
    return table_end(table, true);
}

static int print_view(const struct naru_view *v)
{
    char buf[CELL];
    printf("%s: a %s", v->url, v->noun);
    if (v->owner >= 0)
        printf(" of uid %" PRId64, v->owner);
    if (v->bytes > 0)
        printf(", %s in all", bytes_text(v->bytes, buf, sizeof buf));
    int at = WIDTH; /* the facts begin on the next line */
    for (size_t i = 0; i < v->n_facts; i++) {
        const char *text = fact_text(&v->facts[i], buf);
        int n = (int)(strlen(v->facts[i].name) + strlen(text)) + 3;
        at = at + n > WIDTH ? printf("\n ") - 1 + n : at + n;
        printf(" %s %s%s", v->facts[i].name, text, i + 1 < v->n_facts ? "," : "");
    }
    putchar('\n');
    int r = print_parts(v);
    putchar('\n');
    return r;
}

/* How many objects there were; -1: it failed. */
static int show(struct invocation *in, const char *url)
{
    naru_snapshot *s;
    const struct naru_view *v;
    int n = 0;
    if (naru_snapshot_take(url, &s) < 0) {
        fail_naru(in);
        return -1;
    }
    for (; (v = naru_snapshot_view(s, (size_t)n)); n++) {
        if (wants_json(in))
            print_json(v);
        else if (print_view(v))
            n = -2;
        if (n < 0)
            break;
    }
    size_t hidden = naru_snapshot_hidden(s);
    if (hidden > 0)
        fprintf(stderr, "naru show: %zu processes of others may not be looked at\n", hidden);
    naru_snapshot_free(s);
    return n < 0 ? -1 : n;
}

static int run(struct invocation *in)
{
    int64_t every = option_number(in, "watch", 0);
    bool live = every > 0 && !wants_json(in) && is_live(STDOUT_FILENO);
    stop_on_signals(NULL);
    for (;;) {
        int n = 0;
        if (live)
            printf("\033[H\033[J"); /* from the top left on, all of it */
        for (int i = 0; i < in->n_arguments; i++) {
            int m = show(in, in->arguments[i]);
            if (m < 0)
                return EXIT_FAILED;
            if (m == 0 && every == 0)
                fail(in, "%s: nobody who may be looked at has it open here", in->arguments[i]);
            n += m;
        }
        if (every == 0)
            return n > 0 ? 0 : EXIT_FAILED;
        if (fflush(stdout) != 0 || stopped())
            return 0;
        const struct timespec t = {every / NARU_S, every % NARU_S};
        if (nanosleep(&t, NULL) < 0 && stopped())
            return 0;
    }
}

static const struct option_row options[] = {
    {.name = "watch",
     .argument = "SECONDS",
     .kind = OPTION_SECONDS,
     .help = "look again every so often, until interrupted"},
    {0},
};

const struct command show_command = {
    "show",
    "shows what lies in an object and who takes part",
    "URL...",
    "It takes no part, writes nothing, and slows nobody. Of a shm: queue or topic it shows each "
    "participant: its role, whether it lives, sleeps or is stopped and whom it waits for, what it "
    "has sent and received, how many messages wait in its lane and who has taken which, how far "
    "behind a subscriber is, and the most that have waited at once (high_water, looked at now and "
    "then). Of a lock: what is free, who owns how much and since when (at the latest: those who "
    "wait note it), who waits for how much, since when, and at which place in the queue, and which "
    "owner died last. Behind a region follow the locks in it, as URL at OFFSET. Of a map: journal: "
    "its segments, the first and last sequence, how far the medium has it, each cursor that has a "
    "name with its position and lag, and who sends with "
    "which sync. Of posix-sem: and sysv-sem: what libc and the kernel tell. Of a "
    "connection's shm:name it shows the listener and each connection: both ends with their "
    "process, "
    "how much was sent, received and waits, and who sleeps; a message that goes in pieces counts "
    "once a piece. Only processes that this user may "
    "look at are seen.",
    1,
    -1,
    options,
    run,
};
