/* SPDX-License-Identifier: MIT */
/* tour-carry.c - carrying the input, and measuring it.
 *
 * Receivers take the bytes into memory of their own that was touched before, and look at them when
 * the clock has stopped. So the time is that of the kind, and the digest that of what came. */
#include "tool/tour.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { ROUNDS = 2000, WARM = 200, STAMPS = 1000, PAUSE_NS = 50000, EXTRA = 4096 };

int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NARU_S + t.tv_nsec;
}

static uint8_t *touched(struct part *p, size_t n)
{
    void *m =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (m != MAP_FAILED)
        return m;
    part_failed(p, "no memory for %zu bytes", n);
    return NULL;
}

/* ---- is it what was sent? ---- */

bool judge_bytes(struct part *p, const uint8_t *got, size_t from, size_t n, size_t wanted)
{
    const uint8_t *sent = p->input.data + from;
    size_t both = n < wanted ? n : wanted;
    if (memcmp(got, sent, both) != 0) {
        size_t i = 0;
        while (got[i] == sent[i])
            i++;
        return part_failed(p, "byte %zu of %zu is 0x%02x; 0x%02x was sent", from + i, p->input.size,
                           got[i], sent[i]);
    }
    if (n != wanted)
        return part_failed(p, "%zu bytes came; %zu were sent", n, wanted);
    return true;
}

void conclude(struct part *p, enum side side, const uint8_t *data, size_t n)
{
    p->report.side = (int32_t)side;
    p->report.bytes = n;
    digest_of(data, n, p->report.digest);
    p->report.has_digest = true;
}

/* ---- streams ---- */

bool send_stream(struct part *p, naru_stream *s, size_t from, size_t to)
{
    struct cut cut = cut_begin(p->input.size);
    struct piece piece;
    int64_t start = now_ns();
    while (cut_next(&cut, &piece)) {
        size_t a = piece.at < from ? from : piece.at;
        size_t b = piece.at + piece.size > to ? to : piece.at + piece.size;
        if (a >= b)
            continue;
        int r = naru_stream_write_all(s, p->input.data + a, b - a, TOUR_TIMEOUT, NULL);
        if (!part_naru(p, "writing", r))
            return false;
    }
    p->report.ns = now_ns() - start;
    conclude(p, SIDE_SENDER, p->input.data + from, to - from);
    return true;
}

bool recv_stream(struct part *p, naru_stream *s, size_t limit)
{
    size_t cap = limit ? limit : p->input.size + EXTRA, n = 0;
    uint8_t *buf = touched(p, cap);
    int64_t start = 0;
    while (buf && n < cap) {
        ssize_t got = naru_stream_read(s, buf + n, cap - n, TOUR_TIMEOUT);
        if (!part_naru(p, "reading", got))
            return false;
        if (!start)
            start = now_ns();
        if (got == 0)
            break;
        n += (size_t)got;
    }
    if (!buf)
        return false;
    p->report.ns = now_ns() - start;
    bool ok = judge_bytes(p, buf, 0, n, p->input.size);
    conclude(p, SIDE_RECEIVER, buf, n);
    return ok;
}

/* ---- messages, one sender and one receiver ---- */

bool send_messages(struct part *p, naru_channel *c)
{
    struct cut cut = cut_begin(p->input.size);
    struct piece piece;
    int64_t start = now_ns();
    while (cut_next(&cut, &piece)) {
        int r =
            naru_channel_send(c, piece.type, p->input.data + piece.at, piece.size, TOUR_TIMEOUT);
        if (!part_naru(p, "sending", r))
            return false;
        p->report.messages++;
    }
    p->report.ns = now_ns() - start;
    conclude(p, SIDE_SENDER, p->input.data, p->input.size);
    return true;
}

static bool same_message(struct part *p, const struct piece *piece, const struct naru_info *info)
{
    if (info->size == piece->size && info->type == piece->type)
        return true;
    return part_failed(p,
                       "message %" PRIu64 " has %" PRIu64 " bytes and type %" PRIu32
                       "; %zu and %" PRIu32 " were sent",
                       piece->number, info->size, info->type, piece->size, piece->type);
}

bool recv_messages(struct part *p, naru_channel *c, int end)
{
    size_t cap = p->input.size + EXTRA, n = 0;
    uint8_t *buf = touched(p, cap);
    struct cut cut = cut_begin(p->input.size);
    struct piece piece;
    struct naru_info info;
    int64_t start = 0;
    while (buf && cut_next(&cut, &piece)) {
        ssize_t got = naru_channel_recv(c, 0, buf + n, cap - n, &info, TOUR_TIMEOUT);
        if (!part_naru(p, "receiving", got) || !same_message(p, &piece, &info))
            return false;
        if (!start)
            start = now_ns();
        n += (size_t)got;
        p->report.messages++;
    }
    if (!buf)
        return false;
    p->report.ns = now_ns() - start;
    bool ok = judge_bytes(p, buf, 0, n, p->input.size);
    conclude(p, SIDE_RECEIVER, buf, n);
    ssize_t more =
        naru_channel_recv(c, 0, buf, cap, &info, end == -EPIPE ? TOUR_TIMEOUT : NARU_NOWAIT);
    if (ok && more != end)
        ok = part_failed(p, "after the last message came %s, not the end",
                         more < 0 ? naru_why() : "another message");
    return ok;
}

/* ---- latency ---- */

bool may_lose(const struct part *p)
{
    return strncmp(p->url, "udp:", 4) == 0;
}

static int64_t patience(const struct part *p)
{
    return p->timeout ? p->timeout : TOUR_TIMEOUT;
}

static bool give(struct part *p, naru_stream *s, naru_channel *c, const void *data)
{
    int r = s ? naru_stream_write_all(s, data, SMALL, patience(p), NULL)
              : naru_channel_send(c, 1, data, SMALL, patience(p));
    return part_naru(p, "sending a small message", r);
}

static bool get(struct part *p, naru_stream *s, naru_channel *c, void *data)
{
    ssize_t r = s ? naru_stream_read_all(s, data, SMALL, patience(p), NULL)
                  : naru_channel_recv(c, 0, data, SMALL, NULL, patience(p));
    return part_naru(p, "receiving a small message", r);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t median(int64_t *v, size_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return v[n / 2];
}

bool ping(struct part *p, naru_stream *s, naru_channel *c)
{
    static int64_t took[ROUNDS];
    uint8_t out[SMALL] = {0}, in[SMALL];
    for (int i = -WARM; i < ROUNDS; i++) {
        int64_t start = now_ns();
        memcpy(out, &i, sizeof i);
        if (!give(p, s, c, out) || !get(p, s, c, in))
            return false;
        if (memcmp(in, out, SMALL) != 0)
            return part_failed(p, "round trip %d came back with other bytes", i);
        if (i >= 0)
            took[i] = now_ns() - start;
    }
    p->report.p50_ns = median(took, ROUNDS) / 2;
    return true;
}

bool pong(struct part *p, naru_stream *s, naru_channel *c)
{
    uint8_t data[SMALL];
    for (int i = -WARM; i < ROUNDS; i++)
        if (!get(p, s, c, data) || !give(p, s, c, data))
            return false;
    return true;
}

/* On a medium that may lose, the last comes when the receiver's buffer has run empty. */
bool stamps_send(struct part *p, naru_stream *s, naru_channel *c)
{
    int64_t stamp[SMALL / 8] = {0};
    for (int i = 0; i < STAMPS; i++) {
        int64_t pause = may_lose(p) && i == STAMPS - 1 ? EMPTY_US * INT64_C(1000) : PAUSE_NS;
        clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, pause}, NULL);
        stamp[0] = now_ns();
        stamp[1] = i;
        if (!give(p, s, c, stamp))
            return false;
    }
    return true;
}

bool stamps_recv(struct part *p, naru_stream *s, naru_channel *c)
{
    static int64_t took[STAMPS];
    int64_t stamp[SMALL / 8];
    int came = 0;
    do {
        if (!get(p, s, c, stamp))
            return false;
        took[came++] = now_ns() - stamp[0];
    } while (stamp[1] < STAMPS - 1 && came < STAMPS);
    p->report.p50_ns = median(took, (size_t)came);
    return true;
}
