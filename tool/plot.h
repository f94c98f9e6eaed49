/* SPDX-License-Identifier: MIT */
/* plot.h - self-contained HTML pages with plots that gnuplot draws. */
#ifndef NARU_TOOL_PLOT_H
#define NARU_TOOL_PLOT_H

#include <stdio.h>

/* Text with <, > and & made safe. */
void html_text(FILE *out, const char *text);
void html_begin(FILE *out, const char *title);
int html_end(FILE *out); /* closes the file; 0 or -errno */

/* Runs gnuplot on a script that draws to standard output as SVG, and puts the picture into the
 * page; where gnuplot is missing or fails the page says so. */
void html_plot(FILE *out, const char *script);

#endif
