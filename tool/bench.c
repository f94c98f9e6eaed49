/* SPDX-License-Identifier: MIT */
/* bench.c - naru bench: naru beside the raw system calls of the same kind, in one interleaved run.
 * The measuring is in bench/. */
#include "bench/goals.h"
#include "bench/harness.h"
#include "tool/command.h"
#include "tool/page.h"
#include "tool/print.h"
#include "tool/stop.h"

#include <naru/naru.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { SIZES_MAX = 16, COLUMNS = 8 };
static const char *const mode_name[BENCH_MODES] = {"latency", "stream", "batch",
                                                   "lock",    "call",   "call-stream"};

struct run {
    struct invocation *in;
    struct cell *cells;
    size_t n;
    size_t sizes[SIZES_MAX];
    size_t n_sizes;
    size_t contenders[SIZES_MAX];
    size_t n_contenders;
    size_t in_flight[SIZES_MAX];
    size_t n_in_flight;
    bool modes[BENCH_MODES];
    bool goals; /* the cells that goals name, and what stands beside them */
    bool curve; /* connections in shared memory over all sizes */
};

/* Does the figure fall as it gets better: a time, and no rate? */
static bool is_time(enum bench_mode mode, size_t size)
{
    return mode == BENCH_LATENCY || ((mode == BENCH_LOCK || mode == BENCH_CALL) && size == 1);
}

static size_t figure_of(const struct cell *cell)
{
    return is_time(cell->mode, cell->size) ? offsetof(struct sample, p50)
                                           : offsetof(struct sample, rate);
}

static int parse_sizes(struct run *run, const char *text)
{
    while (*text) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);
        if (*end == 'k' || *end == 'm')
            n <<= *end++ == 'k' ? 10 : 20;
        if (end == text || (*end && *end != ',') || n < 8 || n > 1 << 30 ||
            run->n_sizes == SIZES_MAX)
            return usage(run->in,
                         "--sizes wants up to %d sizes from 8 to 1024m such as 8,1k,1m, not \"%s\"",
                         SIZES_MAX, text);
        run->sizes[run->n_sizes++] = n;
        text = *end ? end + 1 : end;
    }
    return 0;
}

static int parse_modes(struct run *run, const char *text)
{
    while (*text) {
        size_t length = strcspn(text, ",");
        int mode = 0;
        while (mode < BENCH_MODES &&
               (strncmp(text, mode_name[mode], length) != 0 || strlen(mode_name[mode]) != length))
            mode++;
        if (mode == BENCH_MODES)
            return usage(run->in,
                         "--modes wants some of latency,stream,batch,lock,call,call-stream, not "
                         "\"%s\"",
                         text);
        run->modes[mode] = true;
        text += length + (text[length] == ',');
    }
    return 0;
}

/* Up to SIZES_MAX numbers from 1 to `most`. */
static int parse_counts(struct run *run, const char *option, const char *text, size_t most,
                        size_t *ret_counts, size_t *ret_n)
{
    while (*text) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);
        if (end == text || (*end && *end != ',') || n < 1 || n > most || *ret_n == SIZES_MAX)
            return usage(run->in,
                         "--%s wants up to %d numbers from 1 to %zu such as 1,2,4, not \"%s\"",
                         option, SIZES_MAX, most, text);
        ret_counts[(*ret_n)++] = n;
        text = *end ? end + 1 : end;
    }
    return 0;
}

static bool is_named(const struct invocation *in, const struct adapter *a)
{
    for (int i = 0; i < in->n_arguments; i++)
        if (a->url && strncmp(in->arguments[i], a->url, strlen(a->url)) == 0)
            return true;
    return in->n_arguments == 0;
}

/* Also what one that is named is beside, if that is of another kind. */
static bool wanted(const struct invocation *in, const struct adapter *a)
{
    bool named = is_named(in, a);
    for (const struct adapter *const *b = bench_adapters; *b && !named; b++)
        named = (*b)->reference && strcmp((*b)->reference, a->name) == 0 && is_named(in, *b);
    return named;
}

static int unknown_url(struct invocation *in, const char *url)
{
    char list[256] = "";
    for (const struct adapter *const *a = bench_adapters; *a; a++)
        if ((*a)->url && !strstr(list, (*a)->url))
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? ", " : "",
                     (*a)->url);
    return usage(in, "%s cannot be measured in this build; these can: %s", url, list);
}

static int check_urls(struct invocation *in)
{
    for (int i = 0; i < in->n_arguments; i++) {
        bool known = false;
        for (const struct adapter *const *a = bench_adapters; *a; a++)
            known |= (*a)->url && strncmp(in->arguments[i], (*a)->url, strlen((*a)->url)) == 0;
        if (!known)
            return unknown_url(in, in->arguments[i]);
    }
    return 0;
}

static struct cell *cell_of(const struct run *run, const struct goal_cell *named)
{
    for (size_t i = 0; i < run->n; i++)
        if (run->cells[i].mode == named->mode && run->cells[i].size == named->size &&
            strcmp(run->cells[i].adapter->name, named->adapter) == 0)
            return &run->cells[i];
    return NULL;
}

static bool for_goals(const struct run *run, const struct adapter *a, enum bench_mode mode,
                      size_t size)
{
    return bench_in_goal(&(struct goal_cell){a->name, mode, size}, run->modes) ||
           (run->modes[mode] && bench_beside_goal(a, mode, size, run->modes));
}

static bool on_curve(const struct adapter *a)
{
    static const char *const names[] = {"bare ring", "bare ring, pieces of 64 KiB",
                                        "bare ring, in place", "naru shm connection",
                                        "naru shm connection, in place"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(a->name, names[i]) == 0)
            return true;
    return false;
}

static int make_cells(struct run *run)
{
    size_t adapters = 0;
    while (bench_adapters[adapters])
        adapters++;
    run->cells = calloc(adapters * BENCH_MODES * SIZES_MAX, sizeof *run->cells);
    if (!run->cells)
        return fail(run->in, "no memory");
    for (int mode = 0; mode < BENCH_MODES; mode++) {
        const size_t *sizes = mode == BENCH_LOCK   ? run->contenders
                              : mode == BENCH_CALL ? run->in_flight
                                                   : run->sizes;
        size_t n = mode == BENCH_LOCK   ? run->n_contenders
                   : mode == BENCH_CALL ? run->n_in_flight
                                        : run->n_sizes;
        for (size_t s = 0; s < n; s++)
            for (const struct adapter *const *a = bench_adapters; *a; a++)
                if (bench_can(*a, (enum bench_mode)mode, sizes[s]) &&
                    (run->goals ? for_goals(run, *a, (enum bench_mode)mode, sizes[s])
                                : run->modes[mode] && wanted(run->in, *a)) &&
                    (!run->curve || on_curve(*a)))
                    run->cells[run->n++] = (struct cell){
                        .adapter = *a, .size = sizes[s], .mode = (enum bench_mode)mode};
    }
    return 0;
}

static const struct cell *reference_of(const struct run *run, const struct cell *cell)
{
    const char *name = cell->adapter->reference;
    return name ? cell_of(run, &(struct goal_cell){name, cell->mode, cell->size}) : NULL;
}

/* ---- printing ---- */

static void size_text(char *buf, size_t n, const struct cell *cell)
{
    size_t bytes = cell->size;
    if (cell->mode == BENCH_CALL)
        snprintf(buf, n, "%zu in flight", bytes);
    else if (cell->mode == BENCH_LOCK && bytes == 1)
        snprintf(buf, n, "alone");
    else if (cell->mode == BENCH_LOCK)
        snprintf(buf, n, "%zu contend", bytes);
    else if (bytes >= 1 << 20)
        snprintf(buf, n, "%zu MiB", bytes >> 20);
    else if (bytes >= 1024)
        snprintf(buf, n, "%zu KiB", bytes >> 10);
    else
        snprintf(buf, n, "%zu B", bytes);
}

static const char *const heads[COLUMNS] = {"mode",   "size",        "adapter",       "median",
                                           "spread", "tail",        "to raw (95 %)", "placed"};

static void each_cell(const struct run *run, const struct cell *cell,
                      void (*put)(void *, const char *const *cells), void *to)
{
    const struct cell *reference = reference_of(run, cell);
    struct spread s = bench_spread(cell, figure_of(cell));
    char size[24], main_text[32], range[48], tail[48] = "", ratio[48] = "", placed[24];
    size_text(size, sizeof size, cell);
    bool call = cell->mode == BENCH_CALL;
    bool lat = cell->mode == BENCH_LATENCY || (call && cell->size == 1);
    bool alone = is_time(cell->mode, cell->size) && !lat;
    double unit = lat ? 1e-3 : alone ? 1 : 1e-6;
    snprintf(main_text, sizeof main_text, "%.3g %s", s.median * unit,
             lat     ? "µs"
             : alone ? "ns"
                     : "M/s");
    snprintf(range, sizeof range, "%.3g..%.3g", s.low * unit, s.high * unit);
    if (lat || call) /* of calls there and back */
        snprintf(tail, sizeof tail, "p99 %.3g, p99.9 %.3g%s",
                 bench_spread(cell, offsetof(struct sample, p99)).median / 1e3,
                 bench_spread(cell, offsetof(struct sample, p999)).median / 1e3,
                 lat ? "" : " µs");
    else if (cell->mode == BENCH_LOCK && !alone)
        snprintf(tail, sizeof tail, "longest wait %.3g x mean",
                 bench_spread(cell, offsetof(struct sample, longest)).median);
    if (reference && reference->n > 0) {
        struct spread r = bench_ratio(cell, reference, figure_of(cell));
        if (r.n > 0)
            snprintf(ratio, sizeof ratio, "%.2f (%.2f..%.2f)", r.median, r.low, r.high);
        else
            snprintf(ratio, sizeof ratio, "no pair of one placement");
    }
    snprintf(placed, sizeof placed, "%s %d/%d", alone ? "alone" : s.placement, s.n, cell->n);
    put(to, (const char *[]){mode_name[cell->mode], size, cell->adapter->name,
                             cell->n ? main_text : cell->error, cell->n ? range : "", tail, ratio,
                             cell->n ? placed : ""});
}

static json_t *cell_json(const struct run *run, const struct cell *cell)
{
    const struct cell *reference = reference_of(run, cell);
    struct spread s = bench_spread(cell, figure_of(cell));
    json_t *o = json_pack("{s:s, s:I, s:s}", "mode", mode_name[cell->mode], "size",
                          (json_int_t)cell->size, "adapter", cell->adapter->name);
    if (cell->adapter->url)
        json_object_set_new(o, "url", json_string(cell->adapter->url));
    if (cell->mode == BENCH_LOCK) {
        json_object_del(o, "size");
        json_object_set_new(o, "contenders", json_integer((json_int_t)cell->size));
    }
    if (cell->mode == BENCH_CALL) {
        json_object_del(o, "size");
        json_object_set_new(o, "in_flight", json_integer((json_int_t)cell->size));
    }
    if (cell->error[0])
        json_object_set_new(o, "error", json_string(cell->error));
    if (cell->n == 0)
        return o;
    bool alone = is_time(cell->mode, cell->size) && cell->mode == BENCH_LOCK;
    bool call = cell->mode == BENCH_CALL;
    const char *name = cell->mode == BENCH_LATENCY  ? "p50_ns"
                       : call && cell->size == 1    ? "round_trip_ns"
                       : call                       ? "calls_s"
                       : alone                     ? "acquire_release_ns"
                       : cell->mode == BENCH_LOCK  ? "locks_s"
                                                   : "messages_s";
    json_object_set_new(o, name, json_real(s.median));
    json_object_set_new(o, "low", json_real(s.low));
    json_object_set_new(o, "high", json_real(s.high));
    json_object_set_new(o, "repetitions", json_integer(cell->n));
    json_object_set_new(o, "counted", json_integer(s.n));
    json_object_set_new(o, "placement", json_string(alone ? "alone" : s.placement));
    if (!alone)
        json_object_set_new(o, "line_ns",
                            json_real(bench_spread(cell, offsetof(struct sample, line)).median));
    if (cell->mode == BENCH_LOCK && !alone) {
        struct spread longest = bench_spread(cell, offsetof(struct sample, longest));
        json_object_set_new(o, "wait_ns",
                            json_real(bench_spread(cell, offsetof(struct sample, wait)).median));
        json_object_set_new(o, "longest_to_mean", json_real(longest.median));
        json_object_set_new(o, "longest_to_mean_low", json_real(longest.low));
        json_object_set_new(o, "longest_to_mean_high", json_real(longest.high));
    }
    if (cell->mode == BENCH_LATENCY || call) {
        json_object_set_new(o, "p99_ns",
                            json_real(bench_spread(cell, offsetof(struct sample, p99)).median));
        json_object_set_new(o, "p999_ns",
                            json_real(bench_spread(cell, offsetof(struct sample, p999)).median));
    }
    if (call || cell->mode == BENCH_CALL_STREAM) {
        json_object_set_new(o, "cpu_ns",
                            json_real(bench_spread(cell, offsetof(struct sample, cpu)).median));
        json_object_set_new(
            o, call ? "server_cpu_ns" : "receiver_cpu_ns",
            json_real(bench_spread(cell, offsetof(struct sample, cpu_of_1)).median));
    }
    if (reference && reference->n > 0) {
        struct spread r = bench_ratio(cell, reference, figure_of(cell));
        json_t *ratio = json_pack("{s:s, s:i}", "to", reference->adapter->name, "pairs", r.n);
        if (r.n > 0)
            json_object_update_new(ratio, json_pack("{s:f, s:f, s:f}", "median", r.median, "low",
                                                    r.low, "high", r.high));
        json_object_set_new(o, "ratio", ratio);
    }
    return o;
}

/* ---- goals ---- */

enum { GOAL_COLUMNS = 6 };
static const char *const goal_heads[GOAL_COLUMNS] = {"what, beside what", "figures", "goal",
                                                     "ratio (95 %)",      "pairs",   "verdict"};

static struct judgement judge(const struct run *run, const struct goal *g)
{
    const struct cell *what = cell_of(run, &g->what), *beside = cell_of(run, &g->beside);
    return what && beside ? bench_judge(g, what, beside)
                          : (struct judgement){.bound = g->bound, .verdict = "not measured"};
}

/* "0.09 µs", "12 M/s", "31 GB/s". */
static void figure_text(char *buf, size_t n, const struct run *run, const struct goal_cell *named,
                        size_t figure)
{
    const struct cell *cell = cell_of(run, named);
    double value = cell && cell->n ? bench_spread(cell, figure).median : 0;
    if (figure != offsetof(struct sample, rate))
        snprintf(buf, n, "%.3g µs", value / 1e3);
    else if (named->size >= 1024)
        snprintf(buf, n, "%.3g GB/s", value * (double)named->size / 1e9);
    else
        snprintf(buf, n, "%.3g M/s", value / 1e6);
}

static void each_goal(const struct run *run, const struct goal *g,
                      void (*put)(void *, const char *const *cells), void *to)
{
    struct judgement j = judge(run, g);
    char what[32], beside[32], figures[80], bound[32], ratio[64], pairs[32];
    figure_text(what, sizeof what, run, &g->what, g->figure);
    figure_text(beside, sizeof beside, run, &g->beside, g->figure);
    snprintf(figures, sizeof figures, "%s, %s", what, beside);
    snprintf(bound, sizeof bound, "%s %.3g", g->least ? "≥" : "≤", j.bound);
    snprintf(ratio, sizeof ratio, "%.3g (%.3g..%.3g)", j.ratio.median, j.ratio.low, j.ratio.high);
    snprintf(pairs, sizeof pairs, "%d %s", j.ratio.n, j.ratio.placement ? j.ratio.placement : "");
    put(to, (const char *[]){g->line, figures, bound, ratio, pairs, j.verdict});
}

static json_t *goal_json(const struct run *run, const struct goal *g)
{
    struct judgement j = judge(run, g);
    char what[32], beside[32];
    figure_text(what, sizeof what, run, &g->what, g->figure);
    figure_text(beside, sizeof beside, run, &g->beside, g->figure);
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:i, s:s, s:s}", "line", g->line,
                     "what", what, "beside", beside, "bound_is", g->least ? "least" : "most",
                     "bound", j.bound, "ratio", j.ratio.median, "low", j.ratio.low, "high",
                     j.ratio.high, "pairs", j.ratio.n, "placement",
                     j.ratio.placement ? j.ratio.placement : "", "verdict", j.verdict);
}

/* What git says in the directory of the sources; NULL if there is no git, or they are no checkout.
 */
static json_t *commit_of_sources(void)
{
    char *argv[] = {"git",     "-C",          NARU_SOURCE_DIR, "describe", "--always",
                    "--dirty", "--abbrev=40", "--exclude=*",   NULL};
    char line[80] = "";
    int out = memfd_create("git", MFD_CLOEXEC), none = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct naru_spawn_end ends[] = {
        {"stdin", NULL, none}, {"stdout", NULL, out}, {"stderr", NULL, none}};
    struct naru_spawn_options o = {.size = sizeof o, .ends = ends, .n_ends = 3};
    struct naru_exit e = {-1, 0};
    naru_child *git = NULL;
    if (naru_spawn(argv, &o, &git) == 0)
        naru_child_wait(git, 10 * NARU_S, &e);
    naru_child_close(git);
    ssize_t n = e.code == 0 ? pread(out, line, sizeof line - 1, 0) : -1;
    line[strcspn(line, "\n")] = '\0';
    close(out);
    close(none);
    return n > 0 ? json_string(line) : NULL;
}

static json_t *command_line(void)
{
    char text[4096];
    FILE *f = fopen("/proc/self/cmdline", "re");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    if (f)
        fclose(f);
    json_t *words = json_array();
    for (size_t at = 0; at < n; at += strnlen(text + at, n - at) + 1)
        json_array_append_new(words, json_stringn(text + at, strnlen(text + at, n - at)));
    return words;
}

static json_t *processor(void)
{
    char line[256];
    json_t *name = NULL;
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && !name && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        line[strcspn(line, "\n")] = '\0';
        if (colon && strncmp(line, "model name", 10) == 0)
            name = json_string(colon + 2);
    }
    if (f)
        fclose(f);
    return name;
}

static int write_results(const struct run *run, const char *path)
{
    struct utsname u;
    char date[32];
    time_t t = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
    uname(&u);
    json_t *cells = json_array();
    for (size_t i = 0; i < run->n; i++)
        json_array_append_new(cells, cell_json(run, &run->cells[i]));
    json_t *all =
        json_pack("{s:s, s:o*, s:o, s:s, s:s, s:s, s:o*, s:i, s:b, s:o}", "naru", naru_version(),
                  "commit", commit_of_sources(), "command", command_line(), "date", date, "kernel",
                  u.release, "machine", u.machine, "processor", processor(), "processors",
                  (int)sysconf(_SC_NPROCESSORS_ONLN), "pinned", bench_pinned(), "cells", cells);
    if (run->goals) {
        json_t *goals = json_array();
        for (const struct goal *g = bench_goals; g->line; g++)
            if (bench_goal_wanted(g, run->modes))
                json_array_append_new(goals, goal_json(run, g));
        json_object_set_new(all, "goals", goals);
    }
    int r = json_dump_file(all, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    json_decref(all);
    return r ? fail(run->in, "%s: %s", path, strerror(errno)) : 0;
}

/* One line an adapter: its figure, or its ratio to raw, over the sizes. */
static void plot_mode(const struct run *run, struct page *page, enum bench_mode mode, bool ratios)
{
    bool lat = mode == BENCH_LATENCY, lock = mode == BENCH_LOCK || mode == BENCH_CALL;
    char title[80];
    snprintf(title, sizeof title, "%s%s", mode_name[mode], ratios ? ", naru over raw" : "");
    struct plot *plot = plot_new(title, ratios ? "ratio"
                                        : lat  ? "µs one way"
                                        : lock ? "million times/s"
                                               : "million messages/s");
    for (const struct adapter *const *a = bench_adapters; *a; a++) {
        bool named = false;
        for (size_t i = 0; i < run->n; i++) {
            const struct cell *c = &run->cells[i], *reference = reference_of(run, c);
            if (c->adapter != *a || c->mode != mode || !c->n || (lock && c->size == 1) ||
                (ratios && (!reference || !reference->n)))
                continue;
            struct spread s = ratios ? bench_ratio(c, reference, figure_of(c))
                                     : bench_spread(c, figure_of(c));
            if (s.n == 0)
                continue;
            double unit = ratios ? 1 : lat ? 1e-3 : 1e-6;
            if (!named)
                plot_line(plot, (*a)->name);
            named = true;
            plot_point(plot, (double)c->size, s.median * unit, s.low * unit, s.high * unit);
        }
    }
    page_plot(page, plot);
}

static void put_cells(void *page, const char *const *cells)
{
    page_row(page, cells, COLUMNS);
}

static void put_goal(void *page, const char *const *cells)
{
    page_row(page, cells, GOAL_COLUMNS);
}

static const char *pinning(void)
{
    return bench_pinned() ? "Each side is pinned to a processor of its own, 0 and 1; near and far "
                            "is how long a cache line takes between them."
                          : "Nothing is pinned: there is one processor.";
}

static int write_html(const struct run *run, const char *path)
{
    struct page *page = page_new("naru bench");
    page_text(page,
              "One way, between two fresh processes a repetition; naru and the raw system calls "
              "take turns. Ratios are naru over raw, pair by pair: below 1 is better for "
              "latency, above 1 for streams and batches. Bars: latency and rate, the whole "
              "spread; ratios, the 95 % interval of the median.");
    page_text(page, pinning());
    for (int mode = 0; mode < BENCH_MODES; mode++) {
        plot_mode(run, page, (enum bench_mode)mode, false);
        plot_mode(run, page, (enum bench_mode)mode, true);
    }
    if (run->goals) {
        page_table(page, goal_heads, GOAL_COLUMNS);
        for (const struct goal *g = bench_goals; g->line; g++)
            if (bench_goal_wanted(g, run->modes))
                each_goal(run, g, put_goal, page);
        page_table_end(page);
    }
    page_table(page, heads, COLUMNS);
    for (size_t i = 0; i < run->n; i++)
        each_cell(run, &run->cells[i], put_cells, page);
    page_table_end(page);
    return page_end(page, run->in, path);
}

static void put_row(void *table, const char *const *cells)
{
    table_row(table, cells);
}

static int print_run(struct run *run)
{
    struct table *table = table_new(heads, COLUMNS);
    int status = 0;
    for (size_t i = 0; i < run->n; i++) {
        if (wants_json(run->in)) {
            json_t *o = cell_json(run, &run->cells[i]);
            json_line(o);
            json_decref(o);
        } else {
            each_cell(run, &run->cells[i], put_row, table);
        }
        if (run->cells[i].error[0])
            status = fail(run->in, "%s, %zu: %s", run->cells[i].adapter->name,
                          run->cells[i].size, run->cells[i].error);
    }
    table_end(table, !wants_json(run->in));
    if (!wants_json(run->in))
        printf("\n%s\n", pinning());
    table = table_new(goal_heads, GOAL_COLUMNS);
    for (const struct goal *g = bench_goals; run->goals && g->line; g++) {
        if (!bench_goal_wanted(g, run->modes))
            continue;
        json_t *o = goal_json(run, g);
        if (wants_json(run->in))
            json_line(o);
        else
            each_goal(run, g, put_row, table);
        json_decref(o);
    }
    table_end(table, run->goals && !wants_json(run->in));
    return status;
}

static bool judged(const struct run *run, const struct cell *c)
{
    return bench_in_goal(&(struct goal_cell){c->adapter->name, c->mode, c->size}, run->modes);
}

static void repeat_all(struct run *run, const struct bench_times *times, int repetitions)
{
    for (int r = 0; r < repetitions; r++)
        for (size_t k = 0; k < run->n && !stopped(); k++) {
            size_t i = r % 2 ? run->n - 1 - k : k; /* both directions, against drift */
            if (run->goals && r % 3 && !judged(run, &run->cells[i]))
                continue;
            if (is_live(STDERR_FILENO))
                fprintf(stderr, "\r\033[K%d/%d %s %s %zu", r + 1, repetitions,
                        mode_name[run->cells[i].mode], run->cells[i].adapter->name,
                        run->cells[i].size);
            bench_repeat(&run->cells[i], times);
        }
}

/* In a directory of its own, which is gone afterwards, whatever was in it. */
static int measure(struct run *run, const struct bench_times *times, int repetitions)
{
    const char *base = getenv("TMPDIR");
    char path[96];
    snprintf(path, sizeof path, "%.64s/naru-bench-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(path))
        return fail(run->in, "no directory in %s: %s", base ? base : "/tmp", strerror(errno));
    bench_directory = path;
    stop_on_signals(NULL);
    repeat_all(run, times, repetitions);
    remove_directory(path);
    return stopped() ? 128 + stopped() : 0;
}

static const char *sizes_of(const struct run *run, bool quick)
{
    return run->goals   ? "8,48,64,1k,16k,64k,1m,1024m"
           : run->curve ? "8,64,512,4k,32k,256k,2m,16m,128m,1024m"
           : quick      ? "8,1k,64k"
                        : "8,64,1k,16k,64k,1m";
}

static int run_bench(struct invocation *in)
{
    struct run run = {.in = in};
    bool quick = option_flag(in, "quick");
    const struct bench_times times = {quick ? 0.05 : 0.25, quick ? 0.05 : 0.15,
                                      quick ? 0.05 : 0.2};
    int repetitions = (int)option_number(in, "repetitions", quick ? 3 : 15);
    int status = check_urls(in);
    run.goals = option_flag(in, "goals");
    run.curve = option_flag(in, "curve");
    if (status == 0 && run.goals + run.curve + (in->n_arguments > 0) > 1)
        status = usage(in, "--goals and --curve say themselves what is measured");
    if (status == 0)
        status = parse_sizes(&run, option_text(in, "sizes", sizes_of(&run, quick)));
    if (status == 0)
        status = parse_modes(&run, option_text(in, "modes",
                                               run.curve   ? "latency,stream"
                                               : run.goals ? "latency,stream,batch,call"
                                                           : "latency,stream,batch"));
    if (status == 0)
        status = parse_counts(
            &run, "contenders", option_text(in, "contenders", quick ? "1,2,8" : "1,2,4,16,64"),
            BENCH_CONTENDERS_MAX, run.contenders, &run.n_contenders);
    if (status == 0)
        status = parse_counts(&run, "in-flight", option_text(in, "in-flight", "1,32,1000"),
                              BENCH_IN_FLIGHT_MAX, run.in_flight, &run.n_in_flight);
    if (status == 0)
        status = make_cells(&run);
    if (status == 0)
        status = measure(&run, &times, repetitions);
    if (is_live(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    const char *html = option_text(in, "html", NULL), *output = option_text(in, "output", NULL);
    if (status == 0 && run.n) { /* written also if a cell has failed: it says why */
        int printed = print_run(&run);
        if (output)
            status = write_results(&run, output);
        if (html && status == 0)
            status = write_html(&run, html);
        status = status ? status : printed;
    }
    free(run.cells);
    return status;
}

static const struct option_row options[] = {
    {.name = "quick", .help = "fewer sizes, shorter and fewer repetitions"},
    {.name = "repetitions",
     .argument = "N",
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = BENCH_REPETITIONS_MAX,
     .help = "of each cell (default 15, quick 3)"},
    {.name = "sizes",
     .argument = "LIST",
     .kind = OPTION_TEXT,
     .help = "message sizes such as 8,64,1k,1m"},
    {.name = "modes",
     .argument = "LIST",
     .kind = OPTION_TEXT,
     .help = "some of latency,stream,batch (default these three),lock,call,call-stream"},
    {.name = "contenders",
     .argument = "LIST",
     .kind = OPTION_TEXT,
     .help = "how many processes want a lock at once (default 1,2,4,16,64)"},
    {.name = "in-flight",
     .argument = "LIST",
     .kind = OPTION_TEXT,
     .help = "how many calls are on their way at once (default 1,32,1000)"},
    {.name = "goals",
     .help = "connections in shared memory, and calls, against what they are to reach, judged; "
             "with --modes call these alone"},
    {.name = "curve",
     .help = "connections in shared memory, copying and in place, from 8 bytes to 1 GiB"},
    {.name = "output",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     .help = "also write all figures as JSON"},
    {.name = "html",
     .argument = "PAGE",
     .kind = OPTION_TEXT,
     .help = "also write a self-contained page with plots"},
    {0},
};

const struct command bench_command = {
    "bench",
    "measures naru beside the raw system calls",
    "[URL...]",
    "One-way latency (half a round trip), streams one by one, and batches of 32, between two "
    "pinned "
    "processes, naru and raw taking turns in one run. Ratios are naru over raw: below 1 is better "
    "for "
    "latency, above 1 for streams and batches. A URL such as pipe: restricts the run. --modes lock "
    "measures locks: the time to acquire and release one alone, and under contention how often it "
    "is had and the longest wait against the mean. --modes call measures calls of a sum of two "
    "integers over each carrier, beside the same over a bare unix socket: the round trip of one, "
    "and how many a second with more in flight; --modes call --goals also judges them. --modes "
    "call-stream measures streams of messages within a call, in both directions.",
    0,
    16,
    options,
    run_bench,
};
