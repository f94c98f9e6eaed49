/* SPDX-License-Identifier: MIT */
/* pump.c - bytes into messages and back. A message of size 0 is the end of the bytes, for a queue
 * has none of its own. How large a message may be, the medium says when it is too large. */
#include "tool/pump.h"

#include "tool/command.h"

#include <naru/naru.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 65536, TYPE = 1 };

static int failed(const char *link)
{
    fprintf(stderr, "naru run: link %s: %s\n", link, naru_why());
    return EXIT_FAILED;
}

static int send_all(naru_channel *c, const char *data, size_t n)
{
    static size_t most = CHUNK;
    while (n > 0) {
        size_t size = n < most ? n : most;
        int r = naru_channel_send(c, TYPE, data, size, NARU_FOREVER);
        if (r == -EMSGSIZE && size > 1) {
            most = size / 2;
            continue;
        }
        if (r < 0)
            return r;
        data += size;
        n -= size;
    }
    return 0;
}

static int pump_in(naru_stream *s, naru_channel *c, const char *link)
{
    static char buf[CHUNK];
    ssize_t n;
    int r = 0;
    while (r == 0 && (n = naru_stream_read(s, buf, sizeof buf, NARU_FOREVER)) > 0)
        r = send_all(c, buf, (size_t)n);
    if (r == 0 && n == 0)
        r = naru_channel_send(c, TYPE, NULL, 0, NARU_FOREVER);
    if (r == 0 && n == 0)
        r = naru_channel_flush(c, NARU_FOREVER);
    if (r == -EPIPE || r == -ECONNRESET || r == -ECONNREFUSED)
        return 0; /* the other pump has ended: it or naru run knows why */
    return r < 0 || n < 0 ? failed(link) : 0;
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
