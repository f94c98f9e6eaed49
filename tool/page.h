/* SPDX-License-Identifier: MIT */
/* page.h - a self-contained HTML page with tables, and plots that gnuplot draws. */
#ifndef NARU_TOOL_PAGE_H
#define NARU_TOOL_PAGE_H

#include "tool/command.h"

#include <stddef.h>

struct page;
struct plot;

struct page *page_new(const char *title);
void page_heading(struct page *, const char *text);
void page_text(struct page *, const char *text);
void page_table(struct page *, const char *const *heads, size_t n);
void page_row(struct page *, const char *const *cells, size_t n);
void page_table_end(struct page *);
/* Writes the page, frees it, and says on stderr when gnuplot was missing; the exit status. */
int page_end(struct page *, const struct invocation *, const char *path);

/* Bars, or lines over a logarithmic size: one of the two in a plot. */
struct plot *plot_new(const char *title, const char *y_label);
void plot_bar(struct plot *, const char *name, double value);
void plot_line(struct plot *, const char *name);
/* low, high: the interval around value; both 0: none. */
void plot_point(struct plot *, double x, double value, double low, double high);
void page_plot(struct page *, struct plot *); /* frees the plot */

#endif
