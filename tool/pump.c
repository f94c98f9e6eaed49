/* SPDX-License-Identifier: MIT */
/* pump.c - bytes into messages and back. A message of size 0 is the end of the bytes, for a queue
 * has none of its own. */
#include "tool/pump.h"

#include "tool/command.h"
#include "tool/print.h"

#include <naru/naru.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 65536, TYPE = 1 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int failed(const char *link)
{
    fprintf(stderr, "naru run: link %s: %s\n", link, naru_why());
    return EXIT_FAILED;
}

/* Throughput of the link on a terminal, four times a second. */
static void progress(const char *link, uint64_t bytes, bool end)
{
    static double began, shown;
    double now = seconds();
    if (!is_live(STDERR_FILENO))
        return;
    if (began == 0)
        began = shown = now;
    if (!end && now - shown < 0.25)
        return;
    shown = now;
    fprintf(stderr, "\rlink %s: %.1f MB, %.1f MB/s%s", link, (double)bytes / 1e6,
            now > began ? (double)bytes / 1e6 / (now - began) : 0.0, end ? "\n" : "   ");
}

static int pump_in(naru_stream *s, naru_channel *c, const char *link)
{
    static char buf[CHUNK];
    uint64_t bytes = 0;
    ssize_t n;
    while ((n = naru_stream_read(s, buf, sizeof buf, NARU_FOREVER)) > 0) {
        if (naru_channel_send(c, TYPE, buf, (size_t)n, NARU_FOREVER) < 0)
            return failed(link);
        progress(link, bytes += (uint64_t)n, false);
    }
    progress(link, bytes, true);
    if (n < 0 || naru_channel_send(c, TYPE, NULL, 0, NARU_FOREVER) < 0 ||
        naru_channel_flush(c, NARU_FOREVER) < 0)
        return failed(link);
    return 0;
}

static int pump_out(naru_channel *c, naru_stream *s, const char *link)
{
    for (;;) {
        struct naru_message m;
        if (naru_channel_take(c, 0, NARU_FOREVER, &m) < 0)
            return failed(link);
        size_t size = m.size;
        int r = size ? naru_stream_write_all(s, m.data, size, NARU_FOREVER, NULL) : 0;
        naru_channel_release(c, &m, 1);
        if (r == -EPIPE)
            return 0; /* the next program wants no more, as in any pipeline */
        if (r < 0)
            return failed(link);
        if (size == 0)
            return 0;
    }
}

int pump_main(int argc, char **argv)
{
    naru_stream *s;
    naru_channel *c;
    if (argc != 5)
        return EXIT_USAGE;
    bool in = strcmp(argv[2], "in") == 0;
    const char *link = argv[3], *url = argv[4];
    int r = naru_stream_inherit("stream", &s);
    if (r == 0)
        r = strcmp(url, "-") == 0 ? naru_channel_inherit("channel", NULL, &c)
                                  : naru_queue_open(url, in ? NARU_SEND : NARU_RECV, NULL, &c);
    if (r < 0)
        return failed(link);
    int status = in ? pump_in(s, c, link) : pump_out(c, s, link);
    naru_channel_close(c);
    naru_stream_close(s);
    return status;
}
