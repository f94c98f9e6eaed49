/* SPDX-License-Identifier: MIT */
/* adapters.c - naru beside the raw system calls of the same kind. A further kind is a few functions
 * and a row of the table at the end. */
#include "bench/adapters-mq.h"
#include "bench/harness.h"

#include <naru/naru.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *bench_directory = "/tmp";

/* ---- the floor: one cache line travels, and its 8 bytes are the message ---- */

static _Atomic uint64_t *line; /* [side]: written by that side; both in one line */
static uint64_t last_seen;
static int own;

static int line_setup(void)
{
    line = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (line == MAP_FAILED)
        return bench_say("mmap: %s", strerror(errno));
    atomic_store(&line[0], UINT64_MAX); /* no message's number */
    atomic_store(&line[1], UINT64_MAX);
    return 0;
}

static int line_attach(int side)
{
    own = side;
    last_seen = UINT64_MAX;
    return 0;
}

static int line_send(const void *buf, size_t n)
{
    uint64_t number;
    memcpy(&number, buf, n);
    atomic_store_explicit(&line[own], number, memory_order_release); /* pairs with line_recv */
    return 0;
}

static int line_recv(void *buf, size_t n)
{
    uint64_t number;
    do /* acquire: pairs with line_send */
        number = atomic_load_explicit(&line[!own], memory_order_acquire);
    while (number == last_seen);
    last_seen = number;
    memcpy(buf, &number, n);
    return 0;
}

static void line_detach(int side)
{
    (void)side;
    munmap((void *)line, 4096);
}

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
    snprintf(path, n, "%s/%d-%d", bench_directory, (int)getpid(), i);
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

/* Looks again instead of sleeping, as naru does first: what is left of naru's cost beside this is
 * its own. */
static int spin_attach(int side)
{
    raw_attach(side);
    return fcntl(in, F_SETFL, O_NONBLOCK) < 0 ? bench_say("fcntl: %s", strerror(errno)) : 0;
}

static int spin_recv(void *buf, size_t n)
{
    for (char *p = buf; n > 0;) {
        ssize_t r = read(in, p, n);
        if (r < 0 && errno == EAGAIN)
            continue;
        if (r <= 0)
            return bench_say("read: %s", r ? strerror(errno) : "the end");
        p += r;
        n -= (size_t)r;
    }
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

/* What gathering alone brings: one write a batch, reads of what there is, no frames. Not what
 * naru's batches are beside, but as much as they could reach. */
static int raw_send_batch(const void *buf, size_t n, int count)
{
    return raw_send(buf, n * (size_t)count);
}

static int raw_recv_batch(void *buf, size_t n, int most)
{
    char *p = buf;
    size_t got = 0;
    do { /* to a message's end */
        ssize_t r = read(in, p + got, n * (size_t)most - got);
        if (r <= 0)
            return bench_say("read: %s", r ? strerror(errno) : "the end");
        got += (size_t)r;
    } while (got % n);
    for (size_t i = 0; i < got; i += n)
        if (bench_check(p + i, n))
            return -1;
    return (int)(got / n);
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

static const struct adapter cache_line = {.name = "cache line",
                                          .setup = line_setup,
                                          .attach = line_attach,
                                          .send = line_send,
                                          .recv = line_recv,
                                          .detach = line_detach,
                                          .max_size = 8,
                                          .modes = 1u << BENCH_LATENCY};
static const struct adapter raw_pipe = {.name = "raw pipe",
                                        .url = "pipe:",
                                        .setup = raw_pipe_setup,
                                        .attach = raw_attach,
                                        .send = raw_send,
                                        .recv = raw_recv,
                                        .detach = raw_detach};
static const struct adapter spinning_pipe = {.name = "raw pipe, spinning",
                                             .url = "pipe:",
                                             .setup = raw_pipe_setup,
                                             .attach = spin_attach,
                                             .send = raw_send,
                                             .recv = spin_recv,
                                             .detach = raw_detach,
                                             .modes = 1u << BENCH_LATENCY};
static const struct adapter gathered_pipe = {.name = "raw pipe, gathered",
                                             .url = "pipe:",
                                             .setup = raw_pipe_setup,
                                             .attach = raw_attach,
                                             .send = raw_send,
                                             .recv = raw_recv,
                                             .send_batch = raw_send_batch,
                                             .recv_batch = raw_recv_batch,
                                             .detach = raw_detach,
                                             .modes = 1u << BENCH_BATCH};
static const struct adapter raw_fifo = {.name = "raw FIFO",
                                        .url = "fifo:",
                                        .setup = raw_fifo_setup,
                                        .attach = raw_attach,
                                        .send = raw_send,
                                        .recv = raw_recv,
                                        .detach = raw_detach};
static const struct adapter spinning_fifo = {.name = "raw FIFO, spinning",
                                             .url = "fifo:",
                                             .setup = raw_fifo_setup,
                                             .attach = spin_attach,
                                             .send = raw_send,
                                             .recv = spin_recv,
                                             .detach = raw_detach,
                                             .modes = 1u << BENCH_LATENCY};
static const struct adapter gathered_fifo = {.name = "raw FIFO, gathered",
                                             .url = "fifo:",
                                             .setup = raw_fifo_setup,
                                             .attach = raw_attach,
                                             .send = raw_send,
                                             .recv = raw_recv,
                                             .send_batch = raw_send_batch,
                                             .recv_batch = raw_recv_batch,
                                             .detach = raw_detach,
                                             .modes = 1u << BENCH_BATCH};
static const struct adapter naru_connection = {.name = "naru connection",
                                               .url = "pipe:",
                                               .reference = "raw pipe",
                                               .setup = connection_setup,
                                               .attach = connection_attach,
                                               .send = channel_send,
                                               .recv = channel_recv,
                                               .send_batch = channel_send_batch,
                                               .recv_batch = channel_recv_batch,
                                               .detach = connection_detach};
static const struct adapter naru_pipe_stream = {.name = "naru stream",
                                                .url = "pipe:",
                                                .reference = "raw pipe",
                                                .setup = stream_setup,
                                                .attach = stream_attach,
                                                .send = stream_send,
                                                .recv = stream_recv,
                                                .detach = stream_detach};
static const struct adapter naru_queue = {.name = "naru queue",
                                          .url = "fifo:",
                                          .reference = "raw FIFO",
                                          .setup = queue_setup,
                                          .attach = queue_attach,
                                          .send = channel_send,
                                          .recv = channel_recv,
                                          .send_batch = channel_send_batch,
                                          .recv_batch = channel_recv_batch,
                                          .detach = queue_detach};
static const struct adapter naru_fifo_stream = {.name = "naru FIFO stream",
                                                .url = "fifo:",
                                                .reference = "raw FIFO",
                                                .setup = queue_setup,
                                                .attach = fifo_stream_attach,
                                                .send = stream_send,
                                                .recv = stream_recv,
                                                .detach = fifo_stream_detach};

const struct adapter *const bench_adapters[] = {
    &cache_line,          &raw_pipe,          &spinning_pipe,      &gathered_pipe,
    &naru_connection,     &naru_pipe_stream,  &raw_fifo,           &spinning_fifo,
    &gathered_fifo,       &naru_queue,        &naru_fifo_stream,   &bench_raw_posix_mq,
    &bench_naru_posix_mq, &bench_raw_sysv_mq, &bench_naru_sysv_mq, NULL,
};
