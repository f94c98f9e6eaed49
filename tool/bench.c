/* SPDX-License-Identifier: MIT */
/* bench.c - naru bench: naru beside the raw system calls of the same kind, in one interleaved run.
 * The measuring is in bench/. */
#include "bench/harness.h"
#include "tool/command.h"
#include "tool/plot.h"
#include "tool/print.h"

#include <naru/naru.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { SIZES_MAX = 16 };
static const char *const mode_name[BENCH_MODES] = {"latency", "stream", "batch"};

struct run {
    struct invocation *in;
    struct cell *cells;
    size_t n;
    size_t sizes[SIZES_MAX];
    size_t n_sizes;
};

static size_t figure_of(enum bench_mode mode)
{
    return mode == BENCH_LATENCY ? offsetof(struct sample, p50) : offsetof(struct sample, rate);
}

static int parse_sizes(struct run *run, const char *text)
{
    while (*text) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);
        if (*end == 'k' || *end == 'm')
            n <<= *end++ == 'k' ? 10 : 20;
        if (end == text || (*end && *end != ',') || n < 8 || n > 64 << 20 ||
            run->n_sizes == SIZES_MAX)
            return usage(run->in,
                         "--sizes wants up to %d sizes from 8 to 64m such as 8,1k,1m, not \"%s\"",
                         SIZES_MAX, text);
        run->sizes[run->n_sizes++] = n;
        text = *end ? end + 1 : end;
    }
    return 0;
}

static bool wanted(const struct invocation *in, const struct adapter *a)
{
    for (int i = 0; i < in->n_arguments; i++)
        if (strncmp(in->arguments[i], a->url, strlen(a->url)) == 0)
            return true;
    return in->n_arguments == 0;
}

static int check_urls(struct invocation *in)
{
    for (int i = 0; i < in->n_arguments; i++) {
        bool known = false;
        for (const struct adapter *const *a = bench_adapters; *a; a++)
            known |= strncmp(in->arguments[i], (*a)->url, strlen((*a)->url)) == 0;
        if (!known)
            return usage(in, "%s cannot be measured in this build; pipe: and fifo: can",
                         in->arguments[i]);
    }
    return 0;
}

static int make_cells(struct run *run)
{
    run->cells = calloc(16 * BENCH_MODES * SIZES_MAX, sizeof *run->cells);
    if (!run->cells)
        return fail(run->in, "no memory");
    for (int mode = 0; mode < BENCH_MODES; mode++)
        for (size_t s = 0; s < run->n_sizes; s++)
            for (const struct adapter *const *a = bench_adapters; *a; a++) {
                bool batch = mode != BENCH_BATCH || !(*a)->reference || (*a)->send_batch;
                bool fits = mode != BENCH_BATCH || run->sizes[s] <= 65536;
                if (wanted(run->in, *a) && batch && fits)
                    run->cells[run->n++] = (struct cell){
                        .adapter = *a, .size = run->sizes[s], .mode = (enum bench_mode)mode};
            }
    return 0;
}

static const struct cell *reference_of(const struct run *run, const struct cell *cell)
{
    for (size_t i = 0; i < run->n; i++) {
        const struct cell *c = &run->cells[i];
        if (cell->adapter->reference && c->mode == cell->mode && c->size == cell->size &&
            strcmp(c->adapter->name, cell->adapter->reference) == 0)
            return c;
    }
    return NULL;
}

/* ---- printing ---- */

static void size_text(char *buf, size_t n, size_t bytes)
{
    if (bytes >= 1 << 20)
        snprintf(buf, n, "%zu MiB", bytes >> 20);
    else if (bytes >= 1024)
        snprintf(buf, n, "%zu KiB", bytes >> 10);
    else
        snprintf(buf, n, "%zu B", bytes);
}

static void print_cell(const struct run *run, const struct cell *cell, struct table *table)
{
    const struct cell *reference = reference_of(run, cell);
    struct spread s = bench_spread(cell, figure_of(cell->mode));
    char size[24], main_text[32], range[48], tail[48] = "", ratio[48] = "", placed[24];
    size_text(size, sizeof size, cell->size);
    bool lat = cell->mode == BENCH_LATENCY;
    double unit = lat ? 1e-3 : 1e-6;
    snprintf(main_text, sizeof main_text, "%.3g %s", s.median * unit, lat ? "µs" : "M/s");
    snprintf(range, sizeof range, "%.3g..%.3g", s.low * unit, s.high * unit);
    if (lat)
        snprintf(tail, sizeof tail, "%.3g / %.3g",
                 bench_spread(cell, offsetof(struct sample, p99)).median / 1e3,
                 bench_spread(cell, offsetof(struct sample, p999)).median / 1e3);
    if (reference && reference->n > 0) {
        struct spread r = bench_ratio(cell, reference, figure_of(cell->mode));
        snprintf(ratio, sizeof ratio, "%.2f (%.2f..%.2f)", r.median, r.low, r.high);
    }
    snprintf(placed, sizeof placed, "%s %d/%d", s.placement, s.n, cell->n);
    table_row(table, (const char *[]){mode_name[cell->mode], size, cell->adapter->name,
                                      cell->n ? main_text : cell->error, cell->n ? range : "", tail,
                                      ratio, cell->n ? placed : ""});
}

static json_t *cell_json(const struct run *run, const struct cell *cell)
{
    const struct cell *reference = reference_of(run, cell);
    struct spread s = bench_spread(cell, figure_of(cell->mode));
    json_t *o = json_pack("{s:s, s:I, s:s, s:s}", "mode", mode_name[cell->mode], "size",
                          (json_int_t)cell->size, "adapter", cell->adapter->name, "url",
                          cell->adapter->url);
    if (cell->error[0])
        json_object_set_new(o, "error", json_string(cell->error));
    if (cell->n == 0)
        return o;
    const char *name = cell->mode == BENCH_LATENCY ? "p50_ns" : "messages_s";
    json_object_set_new(o, name, json_real(s.median));
    json_object_set_new(o, "low", json_real(s.low));
    json_object_set_new(o, "high", json_real(s.high));
    json_object_set_new(o, "repetitions", json_integer(cell->n));
    json_object_set_new(o, "counted", json_integer(s.n));
    json_object_set_new(o, "placement", json_string(s.placement));
    json_object_set_new(o, "line_ns",
                        json_real(bench_spread(cell, offsetof(struct sample, line)).median));
    if (cell->mode == BENCH_LATENCY) {
        json_object_set_new(o, "p99_ns",
                            json_real(bench_spread(cell, offsetof(struct sample, p99)).median));
        json_object_set_new(o, "p999_ns",
                            json_real(bench_spread(cell, offsetof(struct sample, p999)).median));
    }
    if (reference && reference->n > 0) {
        struct spread r = bench_ratio(cell, reference, figure_of(cell->mode));
        json_object_set_new(o, "ratio",
                            json_pack("{s:s, s:f, s:f, s:f, s:i}", "to", reference->adapter->name,
                                      "median", r.median, "low", r.low, "high", r.high, "pairs",
                                      r.n));
    }
    return o;
}

static int write_results(const struct run *run, const char *path)
{
    struct utsname u;
    uname(&u);
    json_t *cells = json_array();
    for (size_t i = 0; i < run->n; i++)
        json_array_append_new(cells, cell_json(run, &run->cells[i]));
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:i, s:b, s:o}", "naru", naru_version(), "kernel", u.release,
                  "machine", u.machine, "processors", (int)sysconf(_SC_NPROCESSORS_ONLN), "pinned",
                  bench_pinned(), "cells", cells);
    int r = json_dump_file(all, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    json_decref(all);
    return r ? fail(run->in, "%s: %s", path, strerror(errno)) : 0;
}

static void plot_mode(const struct run *run, FILE *out, enum bench_mode mode)
{
    static char script[1 << 16];
    bool lat = mode == BENCH_LATENCY;
    size_t n = (size_t)snprintf(script, sizeof script,
                                "set terminal svg size 900,480\nset logscale xy\nset key outside\n"
                                "set xlabel 'message size, bytes'\nset title '%s: %s'\nplot ",
                                mode_name[mode], lat ? "one way, µs" : "million messages a second");
    const char *comma = "";
    for (const struct adapter *const *a = bench_adapters; *a; a++)
        for (size_t i = 0; i < run->n; i++)
            if (run->cells[i].adapter == *a && run->cells[i].mode == mode && run->cells[i].n) {
                n += (size_t)snprintf(script + n, sizeof script - n,
                                      "%s'-' with linespoints title '%s'", comma, (*a)->name);
                comma = ", ";
                break;
            }
    n += (size_t)snprintf(script + n, sizeof script - n, "\n");
    for (const struct adapter *const *a = bench_adapters; *a; a++) {
        size_t before = n;
        for (size_t i = 0; i < run->n; i++) {
            const struct cell *c = &run->cells[i];
            if (c->adapter == *a && c->mode == mode && c->n)
                n +=
                    (size_t)snprintf(script + n, sizeof script - n, "%zu %g\n", c->size,
                                     bench_spread(c, figure_of(mode)).median * (lat ? 1e-3 : 1e-6));
        }
        if (n > before)
            n += (size_t)snprintf(script + n, sizeof script - n, "e\n");
    }
    if (*comma)
        html_plot(out, script);
}

static int write_html(const struct run *run, const char *path)
{
    FILE *out = fopen(path, "w");
    if (!out)
        return fail(run->in, "%s: %s", path, strerror(errno));
    html_begin(out, "naru bench");
    for (int mode = 0; mode < BENCH_MODES; mode++)
        plot_mode(run, out, (enum bench_mode)mode);
    fputs(
        "<table><tr><th>mode</th><th>size</th><th>adapter</th><th>median</th><th>ratio to raw</th>"
        "<th>placement</th></tr>\n",
        out);
    for (size_t i = 0; i < run->n; i++) {
        const struct cell *c = &run->cells[i], *reference = reference_of(run, c);
        struct spread s = bench_spread(c, figure_of(c->mode));
        bool lat = c->mode == BENCH_LATENCY;
        fprintf(
            out,
            "<tr><td>%s</td><td class=n>%zu</td><td>%s</td><td class=n>%.4g %s</td><td class=n>",
            mode_name[c->mode], c->size, c->adapter->name, s.median * (lat ? 1e-3 : 1e-6),
            lat ? "µs" : "M/s");
        if (reference && reference->n)
            fprintf(out, "%.2f", bench_ratio(c, reference, figure_of(c->mode)).median);
        fprintf(out, "</td><td>%s</td></tr>\n", s.placement);
    }
    fputs("</table>\n", out);
    return html_end(out) < 0 ? fail(run->in, "%s: it could not be written whole", path) : 0;
}

static int print_run(struct run *run)
{
    static const char *const heads[] = {"mode",   "size",        "adapter",       "median",
                                        "spread", "p99 / p99.9", "to raw (95 %)", "placed"};
    struct table *table = table_new(heads, sizeof heads / sizeof *heads);
    int status = 0;
    for (size_t i = 0; i < run->n; i++) {
        if (wants_json(run->in)) {
            json_t *o = cell_json(run, &run->cells[i]);
            json_line(o);
            json_decref(o);
        } else {
            print_cell(run, &run->cells[i], table);
        }
        if (run->cells[i].error[0])
            status = fail(run->in, "%s, %zu bytes: %s", run->cells[i].adapter->name,
                          run->cells[i].size, run->cells[i].error);
    }
    table_end(table, !wants_json(run->in));
    return status;
}

static int run_bench(struct invocation *in)
{
    struct run run = {.in = in};
    bool quick = option_flag(in, "quick");
    const struct bench_times times = {quick ? 0.05 : 0.25, quick ? 0.05 : 0.15};
    int repetitions = (int)option_number(in, "repetitions", quick ? 3 : 15);
    int status = check_urls(in);
    if (status == 0)
        status =
            parse_sizes(&run, option_text(in, "sizes", quick ? "8,1k,64k" : "8,64,1k,16k,64k,1m"));
    if (status == 0)
        status = make_cells(&run);
    for (int r = 0; r < repetitions && status == 0; r++)
        for (size_t i = 0; i < run.n; i++) {
            if (is_live(STDERR_FILENO))
                fprintf(stderr, "\r\033[K%d/%d %s %s %zu", r + 1, repetitions,
                        mode_name[run.cells[i].mode], run.cells[i].adapter->name,
                        run.cells[i].size);
            bench_repeat(&run.cells[i], &times);
        }
    if (is_live(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (status == 0)
        status = print_run(&run);
    const char *html = option_text(in, "html", NULL), *output = option_text(in, "output", NULL);
    if (run.n && output && status == 0)
        status = write_results(&run, output);
    if (run.n && html && status == 0)
        status = write_html(&run, html);
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
    "latency, above 1 for streams and batches. A URL such as pipe: restricts the run.",
    0,
    16,
    options,
    run_bench,
};
