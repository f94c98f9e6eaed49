/* SPDX-License-Identifier: MIT */
/* plot.c - HTML pages; pictures by gnuplot, which naru starts with its standard input and output as
 * streams. */
#include "tool/plot.h"

#include <naru/naru.h>

#include <errno.h>
#include <string.h>

void html_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '>')
            fputs("&gt;", out);
        else if (*text == '&')
            fputs("&amp;", out);
        else
            fputc(*text, out);
    }
}

void html_begin(FILE *out, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>", out);
    html_text(out, title);
    fputs("</title>\n<style>body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;"
          "padding:0 1em}table{border-collapse:collapse}td,th{padding:.25em .8em;text-align:left;"
          "border-bottom:1px solid #ccc}td.n{text-align:right}.bad{color:#b00}svg{max-width:100%;"
          "height:auto}</style></head><body>\n<h1>",
          out);
    html_text(out, title);
    fputs("</h1>\n", out);
}

int html_end(FILE *out)
{
    fputs("</body></html>\n", out);
    int bad = ferror(out);
    return fclose(out) || bad ? -EIO : 0;
}

void html_plot(FILE *out, const char *script)
{
    static char svg[1 << 20];
    struct naru_stream_options one_way = {.size = sizeof one_way, .direction = NARU_ONE_WAY};
    naru_stream *in[2] = {NULL, NULL}, *answer[2] = {NULL, NULL};
    naru_child *child = NULL;
    struct naru_exit e = {-1, 0};
    size_t n = 0;
    int r = naru_stream_pair("pipe:", &one_way, &in[0], &in[1]);
    if (r == 0)
        r = naru_stream_pair("pipe:", &one_way, &answer[0], &answer[1]);
    if (r == 0) {
        struct naru_spawn_end ends[] = {{"stdin", in[0], -1}, {"stdout", answer[1], -1}};
        struct naru_spawn_options o = {.size = sizeof o, .ends = ends, .n_ends = 2};
        r = naru_spawn((char *[]){"gnuplot", NULL}, &o, &child);
        if (r == 0)
            in[0] = answer[1] = NULL;
    }
    if (r == 0)
        r = naru_stream_write_all(in[1], script, strlen(script), 10 * NARU_S, NULL);
    in[1] = naru_stream_close(in[1]);
    if (r == 0) { /* to the end: -EPIPE says that it has come */
        naru_stream_read_all(answer[0], svg, sizeof svg - 1, 30 * NARU_S, &n);
        naru_child_wait(child, 10 * NARU_S, &e);
    }
    const char *why = r < 0 ? naru_why() : "it failed";
    if (e.code == 0 && n > 0) {
        svg[n] = '\0';
        const char *picture = strstr(svg, "<svg");
        fputs(picture ? picture : "", out);
    } else {
        fputs("<p class=\"bad\">No plot: gnuplot: ", out);
        html_text(out, why);
        fputs("</p>\n", out);
    }
    naru_child_close(child);
    naru_stream_close(in[0]);
    naru_stream_close(answer[0]);
    naru_stream_close(answer[1]);
}
