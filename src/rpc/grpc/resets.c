/* SPDX-License-Identifier: MIT */
/* resets.c - what comes to a server, on its way to nghttp2: without the resets of calls that never
 * began.
 *
 * gRPC's C core, and so its clients in C++, Python, Ruby and PHP, sends RST_STREAM for a call that
 * was cancelled before its HEADERS went (grpc/grpc#19655, #38758). By RFC 9113, 6.4 that ends the
 * connection, and all other calls of that client with it. As gRPC's own servers do, naru ignores
 * such a frame: there is nothing that it could end. */
#include "rpc/grpc/session.h"

#include <string.h>

enum { HEAD = 9, RESET = 4 }; /* of a frame; the payload of RST_STREAM */

static int hand(struct grpc_session *s, const uint8_t *bytes, size_t n)
{
    ssize_t r = n > 0 ? nghttp2_session_mem_recv(s->h2, bytes, n) : 0;
    return r < 0 ? (int)r : 0;
}

static size_t length(const uint8_t *head)
{
    return (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
}

static uint32_t stream(const uint8_t *head)
{
    return (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 |
           head[8];
}

static bool is_reset(const uint8_t *head)
{
    return head[3] == NGHTTP2_RST_STREAM && length(head) == RESET;
}

/* Puts the head of a frame together, and all of a reset. Returns how many bytes that took. */
static size_t gather(struct grpc_session *s, const uint8_t *bytes, size_t n)
{
    size_t took = 0, whole = HEAD;
    for (;;) {
        if (s->came.got >= HEAD && is_reset(s->came.head))
            whole = HEAD + RESET;
        size_t need = whole - s->came.got, part = need < n - took ? need : n - took;
        if (part == 0)
            break;
        memcpy(s->came.head + s->came.got, bytes + took, part);
        s->came.got += part;
        took += part;
    }
    s->came.whole = s->came.got == whole;
    return took;
}

/* Of the frame that is whole, or whose payload comes next: is it nghttp2's? */
static bool is_let_through(struct grpc_session *s)
{
    const uint8_t *head = s->came.head;
    uint32_t id = stream(head);
    s->came.left = length(head) - (s->came.got - HEAD);
    if (head[3] == NGHTTP2_HEADERS && id > s->came.opened)
        s->came.opened = id;
    return !is_reset(head) || id % 2 == 0 || id <= s->came.opened;
}

int naru__grpc_feed(struct grpc_session *s, const uint8_t *bytes, size_t n)
{
    size_t from = 0, at = 0; /* from: not with nghttp2 yet */
    int r = 0;
    if (!s->carrier.server)
        return hand(s, bytes, n);
    while (at < n && r == 0 && !s->refused) {
        size_t part = s->came.left < n - at ? s->came.left : n - at;
        s->came.left -= part;
        at += part;
        const size_t begin = at, held = s->came.got;
        at += gather(s, bytes + at, n - at);
        if (!s->came.whole) /* the rest is on its way: held */
            return hand(s, bytes + from, begin - from);
        bool passes = is_let_through(s);
        s->came.got = 0;
        if (passes && held > 0) /* the first of this block */
            r = hand(s, s->came.head, held);
        if (passes)
            continue;
        r = hand(s, bytes + from, begin - from);
        from = at;
        naru__grpc_count_empty(s);
    }
    return r < 0 || s->refused ? r : hand(s, bytes + from, n - from);
}
