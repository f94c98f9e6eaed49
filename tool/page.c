/* SPDX-License-Identifier: MIT */
/* page.c - the page, and the scripts that make gnuplot draw its plots as SVG. Each plot is embedded
 * as an image of its own, so that names inside of two of them cannot meet. */
#include "tool/page.h"

#include <naru/naru.h>

#include <errno.h>
#include <fcntl.h>
#include <nettle/base64.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct text {
    FILE *out;
    char *data;
    size_t size;
};

struct page {
    struct text text;
    bool no_gnuplot, bad_plot;
};

struct plot {
    struct text data;   /* the inline data blocks */
    struct text curves; /* what `plot` is given */
    char title[128], label[64];
    int n;
    bool lines;
};

static void text_open(struct text *t)
{
    t->out = open_memstream(&t->data, &t->size);
    if (!t->out) {
        fputs("naru: no memory\n", stderr);
        exit(EXIT_FAILED);
    }
}

static void text_close(struct text *t)
{
    if (t->out)
        fclose(t->out);
    t->out = NULL;
}

static void escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        const char *entity = *text == '<'   ? "&lt;"
                             : *text == '&' ? "&amp;"
                             : *text == '"' ? "&quot;"
                                            : NULL;
        entity ? fputs(entity, out) : fputc(*text, out);
    }
}

/* ---- the page ---- */

struct page *page_new(const char *title)
{
    struct page *p = calloc(1, sizeof *p);
    if (!p)
        exit(EXIT_FAILED);
    text_open(&p->text);
    fprintf(
        p->text.out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>%s</title>\n"
        "<style>\nbody { font: 15px/1.5 sans-serif; max-width: 72em; margin: 2em auto; "
        "padding: 0 1em; color: #222; background: #fff }\n"
        "table { border-collapse: collapse; display: block; overflow-x: auto }\n"
        "th, td { text-align: left; padding: .2em .8em .2em 0; border-bottom: 1px solid #ddd; "
        "font-variant-numeric: tabular-nums }\nimg { max-width: 100%% }\n</style>\n</head>\n"
        "<body>\n<h1>%s</h1>\n",
        title, title);
    return p;
}

static void element(struct page *p, const char *name, const char *text)
{
    fprintf(p->text.out, "<%s>", name);
    escaped(p->text.out, text);
    fprintf(p->text.out, "</%s>\n", name);
}

void page_heading(struct page *p, const char *text)
{
    element(p, "h2", text);
}

void page_text(struct page *p, const char *text)
{
    element(p, "p", text);
}

static void row(struct page *p, const char *cell, const char *const *cells, size_t n)
{
    fputs("<tr>", p->text.out);
    for (size_t i = 0; i < n; i++)
        element(p, cell, cells[i]);
    fputs("</tr>\n", p->text.out);
}

void page_table(struct page *p, const char *const *heads, size_t n)
{
    fputs("<table>\n", p->text.out);
    row(p, "th", heads, n);
}

void page_row(struct page *p, const char *const *cells, size_t n)
{
    row(p, "td", cells, n);
}

void page_table_end(struct page *p)
{
    fputs("</table>\n", p->text.out);
}

int page_end(struct page *p, const struct invocation *in, const char *path)
{
    fputs("</body>\n</html>\n", p->text.out);
    text_close(&p->text);
    FILE *f = fopen(path, "we");
    bool bad = !f || fwrite(p->text.data, 1, p->text.size, f) != p->text.size;
    int error = errno;
    if (f && fclose(f) != 0 && !bad) {
        bad = true;
        error = errno;
    }
    int status = bad ? fail(in, "%s: %s", path, strerror(error)) : 0;
    if (!bad && p->no_gnuplot)
        fprintf(stderr, "naru %s: gnuplot is not installed, so %s has tables and no plots\n",
                in->command->name, path);
    if (p->bad_plot)
        status = fail(in, "gnuplot could not draw a plot of %s", path);
    free(p->text.data);
    free(p);
    return status;
}

/* ---- plots ---- */

struct plot *plot_new(const char *title, const char *y_label)
{
    struct plot *p = calloc(1, sizeof *p);
    if (!p)
        exit(EXIT_FAILED);
    text_open(&p->data);
    text_open(&p->curves);
    snprintf(p->title, sizeof p->title, "%s", title);
    snprintf(p->label, sizeof p->label, "%s", y_label);
    return p;
}

/* A name in gnuplot's single quotes has none itself. */
static void quoted(FILE *out, const char *name)
{
    fputc('\'', out);
    for (; *name; name++)
        if (*name != '\'' && *name != '\n')
            fputc(*name, out);
    fputc('\'', out);
}

void plot_bar(struct plot *p, const char *name, double value)
{
    if (p->n++ == 0)
        fputs("$d0 << EOD\n", p->data.out);
    fprintf(p->data.out, "%d %.9g ", p->n, value);
    fputc('"', p->data.out);
    for (; *name; name++)
        if (*name != '"' && *name != '\n')
            fputc(*name, p->data.out);
    fputs("\"\n", p->data.out);
}

void plot_line(struct plot *p, const char *name)
{
    if (p->n)
        fputs("EOD\n", p->data.out);
    fprintf(p->data.out, "$d%d << EOD\n", p->n);
    fprintf(p->curves.out, "%s$d%d using 1:2:3:4 with yerrorlines pt 7 ps .5 title ",
            p->n ? ", " : "", p->n);
    quoted(p->curves.out, name);
    p->lines = true;
    p->n++;
}

void plot_point(struct plot *p, double x, double value, double low, double high)
{
    bool interval = low > 0 || high > 0;
    fprintf(p->data.out, "%.9g %.9g %.9g %.9g\n", x, value, interval ? low : value,
            interval ? high : value);
}

static void write_script(struct plot *p, FILE *out)
{
    fprintf(out,
            "set terminal svg size 860,%d font 'sans-serif,12' background '#ffffff' noenhanced\n",
            p->lines ? 480 : 120 + 28 * p->n);
    fwrite(p->data.data, 1, p->data.size, out);
    fputs("EOD\nset title ", out);
    quoted(out, p->title);
    fputs(p->lines ? "\nset ylabel " : "\nset xlabel ", out);
    quoted(out, p->label);
    if (p->lines) {
        fprintf(out,
                "\nset logscale xy\nset grid\nset key outside right top\nset linetype 5 lc rgb "
                "'#8c510a'\n"
                "set xtics (8, 64, '1 KiB' 1024, '16 KiB' 16384, '64 KiB' 65536, '1 MiB' 1048576, "
                "'16 MiB' "
                "16777216, '1 GiB' 1073741824)\n"
                "plot %s\n",
                p->curves.data);
        return;
    }
    fprintf(out,
            "\nset grid x\nset yrange [%d.5:0.5]\nset xrange [0:*]\nset offsets 0, graph 0.12, 0, "
            "0\nset style fill solid 0.7\n"
            "plot $d0 using ($2/2):1:($2/2):(0.35):ytic(3) with boxxyerror lc 3 notitle, "
            "$d0 using 2:1:(sprintf($2 < 100 ? '%%.3g' : '%%.0f', $2)) with labels left offset "
            "0.5,0 notitle\n",
            p->n);
}

/* Runs gnuplot over a script; NULL when there is none. *ret_bad: it ran and failed. */
static char *draw(struct plot *p, size_t *ret_size, bool *ret_bad)
{
    int script = memfd_create("script", MFD_CLOEXEC), svg = memfd_create("svg", MFD_CLOEXEC);
    FILE *out = fdopen(dup(script), "w");
    write_script(p, out);
    fclose(out);
    lseek(script, 0, SEEK_SET);
    int none = open("/dev/null", O_WRONLY | O_CLOEXEC); /* it warns of ranges with one point */
    struct naru_spawn_end ends[] = {
        {"stdin", NULL, script}, {"stdout", NULL, svg}, {"stderr", NULL, none}};
    struct naru_spawn_options o = {.size = sizeof o, .ends = ends, .n_ends = 3};
    struct naru_exit e = {-1, 0};
    naru_child *child;
    char *image = NULL;
    int r = naru_spawn((char *[]){"gnuplot", NULL}, &o, &child);
    *ret_bad = r < 0 && r != -ENOENT;
    if (r == 0) {
        naru_child_wait(child, 30 * NARU_S, &e);
        naru_child_close(child);
        off_t size = lseek(svg, 0, SEEK_END);
        *ret_bad = e.code != 0 || size <= 0 || !(image = malloc((size_t)size)) ||
                   pread(svg, image, (size_t)size, 0) != size;
        *ret_size = size > 0 ? (size_t)size : 0;
    }
    close(script);
    close(svg);
    close(none);
    return image;
}

void page_plot(struct page *page, struct plot *p)
{
    if (p->n == 0)
        fputs("$d0 << EOD\n", p->data.out);
    text_close(&p->data);
    text_close(&p->curves);
    size_t size = 0;
    bool bad = false;
    char *svg = p->n && !page->no_gnuplot ? draw(p, &size, &bad) : NULL;
    page->bad_plot |= bad;
    page->no_gnuplot |= p->n && !svg && !bad;
    char *base64 = svg && !bad ? malloc(BASE64_ENCODE_RAW_LENGTH(size) + 1) : NULL;
    if (base64) {
        base64_encode_raw(base64, size, (const uint8_t *)svg);
        fprintf(page->text.out, "<p><img alt=\"%s\" src=\"data:image/svg+xml;base64,%.*s\"></p>\n",
                p->title, (int)BASE64_ENCODE_RAW_LENGTH(size), base64);
    }
    free(base64);
    free(svg);
    free(p->data.data);
    free(p->curves.data);
    free(p);
}
