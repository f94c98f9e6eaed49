/* SPDX-License-Identifier: MIT */
/* adapters.c - naru beside the raw system calls of the same kind. A further kind is a few functions
 * and a row of the table at the end. */
#include "bench/harness.h"

#include <naru/naru.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- raw pipes and FIFOs ---- */

static int raw[2][2]; /* [side] = {reading, writing} */
static int in, out;

static int raw_pipe_setup(void)
{
    int a[2], b[2];
    if (pipe(a) < 0 || pipe(b) < 0)
        return bench_say("pipe: %s", strerror(errno));
    raw[0][0] = a[0], raw[1][1] = a[1], raw[1][0] = b[0], raw[0][1] = b[1];
    return 0;
}

static void fifo_path(char *path, size_t n, int i)
{
    const char *base = getenv("TMPDIR");
    snprintf(path, n, "%s/naru-bench-%d-%d", base ? base : "/tmp", (int)getpid(), i);
}

static int raw_fifo_setup(void)
{
    for (int i = 0; i < 2; i++) {
        char path[256];
        fifo_path(path, sizeof path, i);
        if (mkfifo(path, 0600) < 0)
            return bench_say("%s: %s", path, strerror(errno));
        raw[i][0] = open(path, O_RDONLY | O_NONBLOCK);
        raw[!i][1] = open(path, O_WRONLY);
        unlink(path);
        if (raw[i][0] < 0 || raw[!i][1] < 0)
            return bench_say("%s: %s", path, strerror(errno));
        fcntl(raw[i][0], F_SETFL, 0);
    }
    return 0;
}

static int raw_attach(int side)
{
    in = raw[side][0];
    out = raw[side][1];
    return 0;
}

static int raw_send(const void *buf, size_t n)
{
    for (const char *p = buf; n > 0;) {
        ssize_t w = write(out, p, n);
        if (w <= 0)
            return bench_say("write: %s", strerror(errno));
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

static int raw_recv(void *buf, size_t n)
{
    for (char *p = buf; n > 0;) {
        ssize_t r = read(in, p, n);
        if (r <= 0)
            return bench_say("read: %s", r ? strerror(errno) : "the end");
        p += r;
        n -= (size_t)r;
    }
    return 0;
}

static void raw_detach(int side)
{
    (void)side;
    close(in);
    close(out);
}

/* ---- naru ---- */

static naru_channel *ends[2], *sender, *receiver;
static naru_stream *streams[2], *reader, *writer;
static char urls[2][300]; /* [i]: read by side i */

static int failed(void)
{
    return bench_say("%s", naru_why());
}

static int connection_setup(void)
{
    return naru_channel_pair("pipe:", NULL, &ends[0], &ends[1]) < 0 ? failed() : 0;
}

static int connection_attach(int side)
{
    sender = receiver = ends[side];
    if (naru_adopt(ends[side]) < 0)
        return failed();
    naru_channel_close(ends[!side]);
    return 0;
}

static int queue_setup(void)
{
    for (int i = 0; i < 2; i++) {
        char path[256];
        fifo_path(path, sizeof path, i);
        snprintf(urls[i], sizeof urls[i], "fifo:%s", path);
    }
    return 0;
}

static int queue_attach(int side)
{
    if (naru_queue_open(urls[side], NARU_RECV, NULL, &receiver) < 0 ||
        naru_queue_open(urls[!side], NARU_SEND, NULL, &sender) < 0 ||
        naru_channel_wait_peers(sender, 1, 5 * NARU_S) < 0)
        return failed();
    return 0;
}

static int channel_send(const void *buf, size_t n)
{
    return naru_channel_send(sender, 1, buf, n, NARU_FOREVER) < 0 ? failed() : 0;
}

static int channel_recv(void *buf, size_t n)
{
    ssize_t r = naru_channel_recv(receiver, 0, buf, n, NULL, NARU_FOREVER);
    return r < 0 ? failed() : (size_t)r == n ? 0 : bench_say("%zd bytes of %zu", r, n);
}

static int channel_send_batch(const void *buf, size_t n, int count)
{
    static struct naru_message m[BENCH_BATCH_SIZE];
    for (int i = 0; i < count; i++) {
        m[i].data = (char *)(uintptr_t)buf + (size_t)i * n;
        m[i].size = n;
        m[i].info.type = 1;
    }
    return naru_channel_send_many(sender, m, (size_t)count, NARU_FOREVER) == count ? 0 : failed();
}

static int channel_recv_batch(void *buf, size_t n, int most)
{
    static struct naru_message m[BENCH_BATCH_SIZE];
    ssize_t got = naru_channel_take_many(receiver, 0, m, (size_t)most, NARU_FOREVER);
    if (got < 0)
        return failed();
    for (ssize_t i = 0; i < got; i++) { /* to private memory, as the one by one calls do */
        memcpy(buf, m[i].data, m[i].size);
        if (m[i].size != n || bench_check(buf, n))
            return bench_say("a message of %zu bytes, not %zu", m[i].size, n);
    }
    return naru_channel_release(receiver, m, (size_t)got) < 0 ? failed() : (int)got;
}

static void connection_detach(int side)
{
    (void)side;
    naru_channel_close(sender);
}

static void queue_detach(int side)
{
    naru_channel_close(sender);
    naru_channel_close(receiver);
    naru_remove(urls[side]);
}

static int stream_setup(void)
{
    return naru_stream_pair("pipe:", NULL, &streams[0], &streams[1]) < 0 ? failed() : 0;
}

static int stream_attach(int side)
{
    reader = writer = streams[side];
    if (naru_adopt(streams[side]) < 0)
        return failed();
    naru_stream_close(streams[!side]);
    return 0;
}

static int fifo_stream_attach(int side)
{
    if (naru_stream_open(urls[side], NARU_READ, NULL, NARU_NOWAIT, &reader) < 0 ||
        naru_stream_open(urls[!side], NARU_WRITE, NULL, 5 * NARU_S, &writer) < 0)
        return failed();
    return 0;
}

static int stream_send(const void *buf, size_t n)
{
    return naru_stream_write_all(writer, buf, n, NARU_FOREVER, NULL) < 0 ? failed() : 0;
}

static int stream_recv(void *buf, size_t n)
{
    return naru_stream_read_all(reader, buf, n, NARU_FOREVER, NULL) < 0 ? failed() : 0;
}

static void stream_detach(int side)
{
    (void)side;
    naru_stream_close(writer);
}

static void fifo_stream_detach(int side)
{
    naru_stream_close(writer);
    naru_stream_close(reader);
    naru_remove(urls[side]);
}

static const struct adapter raw_pipe = {"raw pipe", "pipe:",  NULL, raw_pipe_setup, raw_attach,
                                        raw_send,   raw_recv, NULL, NULL,           raw_detach};
static const struct adapter naru_connection = {
    "naru connection", "pipe:",      "raw pipe",         connection_setup,   connection_attach,
    channel_send,      channel_recv, channel_send_batch, channel_recv_batch, connection_detach};
static const struct adapter naru_pipe_stream = {
    "naru stream", "pipe:",     "raw pipe", stream_setup, stream_attach,
    stream_send,   stream_recv, NULL,       NULL,         stream_detach};
static const struct adapter raw_fifo = {"raw FIFO", "fifo:",  NULL, raw_fifo_setup, raw_attach,
                                        raw_send,   raw_recv, NULL, NULL,           raw_detach};
static const struct adapter naru_queue = {
    "naru queue", "fifo:",      "raw FIFO",         queue_setup,        queue_attach,
    channel_send, channel_recv, channel_send_batch, channel_recv_batch, queue_detach};
static const struct adapter naru_fifo_stream = {
    "naru FIFO stream", "fifo:",     "raw FIFO", queue_setup, fifo_stream_attach,
    stream_send,        stream_recv, NULL,       NULL,        fifo_stream_detach};

const struct adapter *const bench_adapters[] = {
    &raw_pipe, &naru_connection, &naru_pipe_stream, &raw_fifo, &naru_queue, &naru_fifo_stream, NULL,
};
