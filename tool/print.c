/* SPDX-License-Identifier: MIT */
/* print.c - tables, JSON lines, bytes. */
#include "tool/print.h"

#include "tool/command.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libsmartcols/libsmartcols.h>
#include <naru/naru.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct table {
    struct libscols_table *scols;
    size_t n;
};

static void out_of_memory(void)
{
    fputs("naru: no memory\n", stderr);
    exit(EXIT_FAILED);
}

struct table *table_new(const char *const *heads, size_t n)
{
    struct table *t = malloc(sizeof *t);
    if (!t || !(t->scols = scols_new_table()))
        out_of_memory();
    t->n = n;
    scols_table_set_termwidth(t->scols, isatty(STDOUT_FILENO) ? 0 : 400);
    if (!isatty(STDOUT_FILENO))
        scols_table_set_termforce(t->scols, SCOLS_TERMFORCE_NEVER);
    scols_table_set_column_separator(t->scols, "  ");
    for (size_t i = 0; i < n; i++)
        if (!scols_table_new_column(t->scols, heads[i], 0, SCOLS_FL_WRAP))
            out_of_memory();
    return t;
}

void table_row(struct table *t, const char *const *cells)
{
    struct libscols_line *line = scols_table_new_line(t->scols, NULL);
    if (!line)
        out_of_memory();
    for (size_t i = 0; i < t->n; i++)
        if (scols_line_set_data(line, i, cells[i]))
            out_of_memory();
}

int table_end(struct table *t, bool print)
{
    int r = print && !scols_table_is_empty(t->scols) ? scols_print_table(t->scols) : 0;
    scols_unref_table(t->scols);
    free(t);
    return r ? EXIT_FAILED : 0;
}

void json_line(const json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
}

void json_facts(json_t *object, const struct naru_fact *facts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_object_set_new(object, facts[i].name,
                            facts[i].text ? json_string(facts[i].text)
                                          : json_integer((json_int_t)facts[i].number));
}

const char *bytes_text(uint64_t bytes, char *buf, size_t n)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    double value = (double)bytes;
    for (; value >= 1024 && u < 4; u++)
        value /= 1024;
    snprintf(buf, n, u == 0 ? "%.0f %s" : "%.4g %s", value, unit[u]);
    return buf;
}

int write_all(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return -errno;
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

bool is_live(int fd)
{
    const char *term = getenv("TERM");
    return isatty(fd) && !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
}

bool is_text(const void *data, size_t n)
{
    const uint8_t *s = data;
    for (size_t i = 0; i < n; i++)
        if ((s[i] < 0x20 && s[i] != '\t' && s[i] != '\n') || s[i] == 0x7f)
            return false;
    json_t *text = json_stringn(data, n); /* refuses what is not UTF-8 */
    json_decref(text);
    return text != NULL;
}

void empty_directory(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

void remove_directory(const char *path)
{
    empty_directory(path);
    rmdir(path);
}

void tell_where(const struct invocation *in, const char *url)
{
    if (wants_json(in))
        fprintf(stderr, "{\"listening\":\"%s\"}\n", url);
    else if (strcmp(url, in->arguments[0]) != 0)
        fprintf(stderr, "naru %s: at %s\n", in->command->name, url);
}
