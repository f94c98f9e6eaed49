/* SPDX-License-Identifier: MIT */
/* tour.c - naru tour: carries a real input through every kind in this build, between real
 * processes, and tells what came out. */
#include "tool/command.h"
#include "tool/page.h"
#include "tool/print.h"
#include "tool/stop.h"
#include "tool/tour-guide.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct scene *const all_scenes[] = {pipe_scenes,   fifo_scenes,     mq_scenes,
                                                 socket_scenes, datagram_scenes, shm_scenes,
                                                 region_scenes, journal_scenes,  rpc_scenes,
                                                 lock_scenes};
static const struct role *const all_roles[] = {pipe_roles,   fifo_roles,     mq_roles,
                                               socket_roles, datagram_roles, region_roles,
                                               shm_roles,    journal_roles,  rpc_roles,
                                               lock_roles};

enum {
    KINDS = sizeof all_scenes / sizeof *all_scenes,
    ROWS_MAX = 128,
    CELLS = 13,
    GENERATED = 64 << 20
};

static const char *const heads[CELLS] = {"kind",     "url", "unit", "direction", "relation", "what",
                                         "messages", "MB",  "MB/s", "p50 us",    "lost",     "ns",
                                         "ok"};

const struct role *find_role(const char *name)
{
    for (size_t k = 0; k < sizeof all_roles / sizeof *all_roles; k++)
        for (const struct role *r = all_roles[k]; r->name; r++)
            if (strcmp(r->name, name) == 0)
                return r;
    return NULL;
}

/* ---- output ---- */

static const char *unit_of(const struct row *row)
{
    bool stream = row->scene->noun == NARU_NOUN_STREAM;
    return row->scene->unit ? row->scene->unit : stream ? row->kind->unit : "message";
}

/* The URL without the tour's own directory, or port. */
static const char *short_url(const struct row *row, char *buf, size_t n)
{
    const char *form = row->scene->url, *place = strstr(form, "%s");
    place = place ? place : strstr(form, "%p");
    snprintf(buf, n, "%.*s%s%s", (int)(place ? place - form : (long)strlen(form)), form,
             place ? "..." : "", place ? place + 2 : "");
    return buf;
}

static void set_digest(json_t *o, const char *key, bool has, const uint8_t digest[DIGEST])
{
    char text[2 * DIGEST + 1];
    digest_hex(digest, text);
    if (has)
        json_object_set_new(o, key, json_string(text));
}

static json_t *row_json(const struct row *row)
{
    json_t *pids = json_array();
    for (int i = 0; i < row->n_pids; i++)
        json_array_append_new(pids, json_integer(row->pids[i]));
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "kind", row->kind->name,
                          "url", row->url, "noun", naru_noun_name(row->scene->noun), "unit",
                          unit_of(row), "direction", row->scene->direction, "relation",
                          row->scene->relation, "what", row->scene->shows, "pids", pids);
    if (row->bytes)
        json_object_set_new(o, "bytes", json_integer((json_int_t)row->bytes));
    if (row->messages)
        json_object_set_new(o, "messages", json_integer((json_int_t)row->messages));
    set_digest(o, "sha256_sent", row->has_sent, row->sent);
    set_digest(o, "sha256_received", row->has_received, row->received);
    json_object_set_new(o, row->skipped ? "skipped" : "ok", json_boolean(row->skipped || row->ok));
    if (row->p50_ns)
        json_object_set_new(o, "p50_ns", json_integer(row->p50_ns));
    if (row->mb_s > 0)
        json_object_set_new(o, "mb_s", json_real(row->mb_s));
    if (row->added) {
        json_object_set_new(o, "added", json_integer((json_int_t)row->added));
        json_object_set_new(o, "lost", json_integer((json_int_t)row->lost));
        json_object_set_new(o, "ns", json_real((double)row->cost_ps / 1e3));
    }
    if (row->saw[0])
        json_object_set_new(o, "saw", json_string(row->saw));
    return o;
}

struct cells {
    char text[CELLS][64];
    const char *at[CELLS];
};

/* An empty cell: does not apply. */
static void fill_cells(struct cells *c, const struct row *row)
{
    *c = (struct cells){.at = {row->kind->title, c->text[1], unit_of(row), row->scene->direction,
                               row->scene->relation, row->scene->shows, c->text[6], c->text[7],
                               c->text[8], c->text[9], c->text[10], c->text[11],
                               row->skipped ? "skipped"
                               : row->ok    ? "yes"
                                            : "NO"}};
    short_url(row, c->text[1], sizeof c->text[1]);
    if (row->messages)
        snprintf(c->text[6], sizeof c->text[6], "%llu", (unsigned long long)row->messages);
    if (row->bytes)
        snprintf(c->text[7], sizeof c->text[7], "%.3g", (double)row->bytes / 1e6);
    if (row->mb_s > 0)
        snprintf(c->text[8], sizeof c->text[8], "%.0f", row->mb_s);
    if (row->added) {
        snprintf(c->text[10], sizeof c->text[10], "%llu", (unsigned long long)row->lost);
        snprintf(c->text[11], sizeof c->text[11], "%.1f", (double)row->cost_ps / 1e3);
    }
    if (row->p50_ns)
        snprintf(c->text[9], sizeof c->text[9], "%.1f", (double)row->p50_ns / 1e3);
}

static bool toured(const struct row *rows, int n, const struct naru_kind *kind)
{
    for (int i = 0; i < n; i++)
        if (rows[i].kind == kind)
            return true;
    return false;
}

static void each_cells(const struct row *rows, int n, void (*put)(void *, const char *const *cells),
                       void *to)
{
    const struct naru_kind *kinds;
    size_t m = naru_kinds(&kinds);
    struct cells c;
    for (int i = 0; i < n; i++) {
        fill_cells(&c, &rows[i]);
        put(to, c.at);
    }
    for (size_t k = 0; k < m; k++) {
        const char *const later[CELLS] = {kinds[k].title,
                                          "",
                                          kinds[k].unit,
                                          kinds[k].direction,
                                          "",
                                          "not in this build",
                                          "",
                                          "",
                                          "",
                                          "",
                                          "",
                                          "",
                                          ""};
        if (!toured(rows, n, &kinds[k]))
            put(to, later);
    }
}

static void put_row(void *table, const char *const *cells)
{
    table_row(table, cells);
}

static int print_table(const struct tour *tour, const struct row *rows, int n)
{
    struct table *table = table_new(heads, CELLS);
    each_cells(rows, n, put_row, table);
    printf("each row carries %s and generated bytes: %.1f MB in messages of mixed sizes\n\n",
           tour->input.name, (double)tour->input.size / 1e6);
    int status = table_end(table, true);
    bool any = false;
    for (int i = 0; i < n; i++) {
        char url[64];
        if (!rows[i].saw[0])
            continue;
        printf("%s%s, %s: %s%s\n", any ? "" : "\n", short_url(&rows[i], url, sizeof url),
               rows[i].scene->shows,
               rows[i].skipped ? "skipped: "
               : rows[i].ok    ? ""
                               : "FAILED: ",
               rows[i].saw);
        any = true;
    }
    return status;
}

/* ---- page ---- */

static void put_cells(void *page, const char *const *cells)
{
    page_row(page, cells, CELLS);
}

static void plot(struct page *page, const char *title, const char *label, const struct row *rows,
                 int n, double (*value)(const struct row *))
{
    struct plot *p = plot_new(title, label);
    for (int i = 0; i < n; i++) {
        char name[160], url[64];
        snprintf(name, sizeof name, "%s %s", short_url(&rows[i], url, sizeof url),
                 rows[i].scene->shows);
        if (value(&rows[i]) > 0)
            plot_bar(p, name, value(&rows[i]));
    }
    page_plot(page, p);
}

static double speed(const struct row *row)
{
    return row->mb_s;
}

static double latency(const struct row *row)
{
    return (double)row->p50_ns / 1e3;
}

static int write_page(const struct invocation *in, const struct row *rows, int n)
{
    const char *path = option_text(in, "html", NULL);
    struct page *page = path ? page_new("naru tour") : NULL;
    if (!path)
        return 0;
    page_text(page, "Each row was carried between the processes that its relation names; an empty "
                    "cell does not apply. p50: one way, 64 bytes.");
    page_table(page, heads, CELLS);
    each_cells(rows, n, put_cells, page);
    page_table_end(page);
    plot(page, "throughput", "MB/s", rows, n, speed);
    plot(page, "latency, one way, p50", "µs", rows, n, latency);
    return page_end(page, in, path);
}

/* ---- running ---- */

static void progress(const struct scene *scene, int done)
{
    if (!is_live(STDERR_FILENO))
        return;
    fprintf(stderr, "\r\033[K");
    if (scene)
        fprintf(stderr, "%d  %.*s: %s, %s", done + 1, (int)strcspn(scene->url, ":"), scene->url,
                scene->relation, scene->shows);
}

/* -1: interrupted. */
static int run_scenes(struct tour *tour, struct row *rows, bool json)
{
    int n = 0;
    for (size_t k = 0; k < KINDS; k++) {
        for (const struct scene *s = all_scenes[k]; s->url && n < ROWS_MAX; s++) {
            progress(s, n);
            if (!guide_run(tour, s, &rows[n]))
                return -1;
            if (json) {
                json_t *o = row_json(&rows[n]);
                json_line(o);
                json_decref(o);
                fflush(stdout);
            }
            n++;
        }
    }
    progress(NULL, n);
    return n;
}

static int guide(struct invocation *in)
{
    static struct row rows[ROWS_MAX];
    struct tour tour;
    int64_t generated = option_number(in, "generated", GENERATED);
    if (guide_begin(&tour, in->n_arguments ? in->arguments[0] : NULL, (size_t)generated) < 0)
        return stopped() ? 128 + stopped() : EXIT_FAILED;
    int n = run_scenes(&tour, rows, wants_json(in));
    guide_end(&tour);
    if (n < 0)
        return 128 + stopped();
    int status = wants_json(in) ? 0 : print_table(&tour, rows, n);
    if (status == 0)
        status = write_page(in, rows, n);
    for (int i = 0; i < n; i++)
        if (!rows[i].ok && !rows[i].skipped)
            status = EXIT_FAILED;
    return status;
}

/* This process stays behind only to pass signals on; the guide's children are the tour's alone. */
_Noreturn static void stand_by(pid_t child, const sigset_t *set)
{
    int status, signal;
    for (;;) {
        if (sigwait(set, &signal) != 0)
            continue;
        if (signal != SIGCHLD)
            kill(child, signal);
        else if (waitpid(child, &status, WNOHANG) == child)
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
}

static int run(struct invocation *in)
{
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, &before);
    signal(SIGCHLD, SIG_DFL);
    pid_t child = fork();
    if (child < 0)
        return fail(in, "fork: %s", strerror(errno));
    if (child > 0)
        stand_by(child, &set);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    stop_on_signals(NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return guide(in);
}

static const struct option_row options[] = {
    {.name = "generated",
     .argument = "BYTES",
     .kind = OPTION_SIZE,
     .min = 16 << 20, /* what is killed midway must have something left */
     .max = 1 << 30,
     .help = "how much to generate beside FILE (default 64m)"},
    {.name = "html",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .help = "write a self-contained page with the table and plots"},
    {0},
};

const struct command tour_command = {
    "tour",
    "carries real data through every kind in this build",
    "[FILE]",
    "For each kind it starts sender and receiver as processes in the relation that the kind is "
    "for, "
    "carries FILE (without it: the project's own largest text) and 64 MiB of generated messages of "
    "mixed sizes across, compares SHA-256 digests of what was sent and what came, and measures.\n"
    "The receiver computes its digest in its own process. Where several receivers share the "
    "messages, a digest is the sum, modulo 2 to the 256th, of the digests of the single messages. "
    "The latency is one way for 64 bytes: half a round trip, or where there is no way back the "
    "time "
    "by the clock of both processes. Some rows kill a process; they are ok when the survivors saw "
    "what the kind promises. On locks two processes add to one counter, a million times each: "
    "\"lost\" is how many of the additions were, without a lock and with it, and \"ns\" what one "
    "took. A failed row tells what each of its failed parts said. Exit status 1 when "
    "anything was not as expected.",
    0,
    1,
    options,
    run,
};
