/* SPDX-License-Identifier: MIT */
/* adapters.c - naru beside the raw system calls of the same kind. A further kind is a few functions
 * and a row of the table at the end. */
#include "bench/adapters.h"
#include "bench/peers/peers.h"

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
    bench_in = raw[side][0];
    bench_out = raw[side][1];
    return 0;
}

static int spin_attach(int side)
{
    raw_attach(side);
    return bench_no_sleep();
}

/* ---- naru ---- */

static naru_channel *ends[2];
static naru_stream *streams[2];
static char urls[2][300]; /* [i]: read by side i */

static int connection_setup(void)
{
    return naru_channel_pair("pipe:", NULL, &ends[0], &ends[1]) < 0 ? bench_naru_failed() : 0;
}

static int connection_attach(int side)
{
    bench_sender = bench_receiver = ends[side];
    if (naru_adopt(ends[side]) < 0)
        return bench_naru_failed();
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
    if (naru_queue_open(urls[side], NARU_RECV, NULL, &bench_receiver) < 0 ||
        naru_queue_open(urls[!side], NARU_SEND, NULL, &bench_sender) < 0 ||
        naru_channel_wait_peers(bench_sender, 1, 5 * NARU_S) < 0)
        return bench_naru_failed();
    return 0;
}

static void connection_detach(int side)
{
    (void)side;
    naru_channel_close(bench_sender);
}

static void queue_detach(int side)
{
    naru_channel_close(bench_sender);
    naru_channel_close(bench_receiver);
    naru_remove(urls[side]);
}

static int stream_setup(void)
{
    return naru_stream_pair("pipe:", NULL, &streams[0], &streams[1]) < 0 ? bench_naru_failed() : 0;
}

static int stream_attach(int side)
{
    bench_reader = bench_writer = streams[side];
    if (naru_adopt(streams[side]) < 0)
        return bench_naru_failed();
    naru_stream_close(streams[!side]);
    return 0;
}

static int fifo_stream_attach(int side)
{
    if (naru_stream_open(urls[side], NARU_READ, NULL, NARU_NOWAIT, &bench_reader) < 0 ||
        naru_stream_open(urls[!side], NARU_WRITE, NULL, 5 * NARU_S, &bench_writer) < 0)
        return bench_naru_failed();
    return 0;
}

static void stream_detach(int side)
{
    (void)side;
    naru_stream_close(bench_writer);
}

static void fifo_stream_detach(int side)
{
    naru_stream_close(bench_writer);
    naru_stream_close(bench_reader);
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
                                        .send = bench_raw_send,
                                        .recv = bench_raw_recv,
                                        .detach = bench_raw_detach};
static const struct adapter spinning_pipe = {.name = "raw pipe, spinning",
                                             .url = "pipe:",
                                             .setup = raw_pipe_setup,
                                             .attach = spin_attach,
                                             .send = bench_raw_send,
                                             .recv = bench_spin_recv,
                                             .detach = bench_raw_detach,
                                             .modes = 1u << BENCH_LATENCY};
static const struct adapter gathered_pipe = {.name = "raw pipe, gathered",
                                             .url = "pipe:",
                                             .setup = raw_pipe_setup,
                                             .attach = raw_attach,
                                             .send = bench_raw_send,
                                             .recv = bench_raw_recv,
                                             .send_batch = bench_raw_send_batch,
                                             .recv_batch = bench_raw_recv_batch,
                                             .detach = bench_raw_detach,
                                             .modes = 1u << BENCH_BATCH};
static const struct adapter raw_fifo = {.name = "raw FIFO",
                                        .url = "fifo:",
                                        .setup = raw_fifo_setup,
                                        .attach = raw_attach,
                                        .send = bench_raw_send,
                                        .recv = bench_raw_recv,
                                        .detach = bench_raw_detach};
static const struct adapter spinning_fifo = {.name = "raw FIFO, spinning",
                                             .url = "fifo:",
                                             .setup = raw_fifo_setup,
                                             .attach = spin_attach,
                                             .send = bench_raw_send,
                                             .recv = bench_spin_recv,
                                             .detach = bench_raw_detach,
                                             .modes = 1u << BENCH_LATENCY};
static const struct adapter gathered_fifo = {.name = "raw FIFO, gathered",
                                             .url = "fifo:",
                                             .setup = raw_fifo_setup,
                                             .attach = raw_attach,
                                             .send = bench_raw_send,
                                             .recv = bench_raw_recv,
                                             .send_batch = bench_raw_send_batch,
                                             .recv_batch = bench_raw_recv_batch,
                                             .detach = bench_raw_detach,
                                             .modes = 1u << BENCH_BATCH};
static const struct adapter naru_connection = {.name = "naru connection",
                                               .url = "pipe:",
                                               .reference = "raw pipe",
                                               .setup = connection_setup,
                                               .attach = connection_attach,
                                               .send = bench_channel_send,
                                               .recv = bench_channel_recv,
                                               .send_batch = bench_channel_send_batch,
                                               .recv_batch = bench_channel_recv_batch,
                                               .detach = connection_detach};
static const struct adapter naru_pipe_stream = {.name = "naru stream",
                                                .url = "pipe:",
                                                .reference = "raw pipe",
                                                .setup = stream_setup,
                                                .attach = stream_attach,
                                                .send = bench_stream_send,
                                                .recv = bench_stream_recv,
                                                .detach = stream_detach};
static const struct adapter naru_queue = {.name = "naru queue",
                                          .url = "fifo:",
                                          .reference = "raw FIFO",
                                          .setup = queue_setup,
                                          .attach = queue_attach,
                                          .send = bench_channel_send,
                                          .recv = bench_channel_recv,
                                          .send_batch = bench_channel_send_batch,
                                          .recv_batch = bench_channel_recv_batch,
                                          .detach = queue_detach};
static const struct adapter naru_fifo_stream = {.name = "naru FIFO stream",
                                                .url = "fifo:",
                                                .reference = "raw FIFO",
                                                .setup = queue_setup,
                                                .attach = fifo_stream_attach,
                                                .send = bench_stream_send,
                                                .recv = bench_stream_recv,
                                                .detach = fifo_stream_detach};

const struct adapter *const bench_adapters[] = {
    &cache_line,
    /* pipes */
    &raw_pipe,
    &spinning_pipe,
    &gathered_pipe,
    &naru_connection,
    &naru_pipe_stream,
    &raw_fifo,
    &spinning_fifo,
    &gathered_fifo,
    &naru_queue,
    &naru_fifo_stream,
    /* message queues */
    &bench_raw_posix_mq,
    &bench_naru_posix_mq,
    &bench_raw_sysv_mq,
    &bench_naru_sysv_mq,
    /* sockets */
    &bench_raw_unix,
    &bench_spinning_unix,
    &bench_gathered_unix,
    &bench_naru_unix,
    &bench_naru_unix_stream,
    &bench_raw_tcp,
    &bench_spinning_tcp,
    &bench_gathered_tcp,
    &bench_naru_tcp,
    &bench_naru_tcp_stream,
    /* datagrams */
    &bench_raw_packet,
    &bench_naru_packet,
    &bench_raw_dgram,
    &bench_naru_dgram,
    &bench_raw_udp,
    &bench_naru_udp,
    /* shared memory */
    &bench_one_line,
    &bench_two_lines,
    &bench_bare_ring,
    &bench_bare_pieces,
    &bench_bare_in_place,
    &bench_naru_shm,
    &bench_naru_shm_queue,
    &bench_naru_shm_topic,
    &bench_spinning_shm,
    &bench_in_place_shm,
    &bench_bare_futex,
    &bench_sleeping_shm,
    &bench_bare_eventfd,
    &bench_polled_shm,
#ifdef NARU_BENCH_PEERS
    &bench_zmq,
    &bench_nng,
    &bench_iceoryx,
    &bench_iceoryx_in_place,
    &bench_iceoryx_asleep,
    &bench_boost,
#endif
    /* journals */
    &bench_naru_journal,
    /* regions */
    &bench_raw_memfd,
    &bench_naru_region,
    &bench_naru_copied_region,
    &bench_raw_posix_shm,
    &bench_naru_posix_shm,
    &bench_raw_sysv_shm,
    &bench_naru_sysv_shm,
    /* locks */
    &bench_sem,
    &bench_naru_owned,
    &bench_naru_fair,
    &bench_naru_plain,
    &bench_naru_posix_sem,
    &bench_mutex,
    &bench_robust,
    &bench_naru_mutex,
    &bench_naru_fair_mutex,
    &bench_write,
    &bench_naru_write,
    &bench_read,
    &bench_naru_read,
    &bench_sysv,
    &bench_undo,
    &bench_naru_sysv_sem,
    &bench_flock,
    &bench_record,
    /* calls */
    &bench_raw_call,
    &bench_naru_shm_call,
    &bench_naru_unix_call,
    &bench_naru_tcp_call,
    &bench_naru_pipe_call,
    &bench_naru_grpc_call,
    &bench_naru_grpc_unix_call,
#ifdef NARU_BENCH_PEERS
    &bench_grpc,
    &bench_grpc_callback,
    &bench_grpc_queue,
    &bench_grpc_tcp,
    &bench_grpc_tcp_callback,
    &bench_grpc_tcp_queue,
    &bench_capnp,
    &bench_sdbus,
    &bench_onc,
#endif
    &bench_naru_shm_echo,
    &bench_naru_unix_echo,
    &bench_naru_tcp_echo,
    &bench_naru_pipe_echo,
    /* streams within calls */
    &bench_naru_shm_up,
    &bench_naru_shm_down,
    &bench_naru_shm_both,
    &bench_naru_unix_up,
    &bench_naru_unix_down,
    &bench_naru_unix_both,
    &bench_naru_grpc_unix_up,
    &bench_naru_grpc_unix_down,
    &bench_naru_grpc_unix_both,
    &bench_naru_grpc_up,
    &bench_naru_grpc_down,
    &bench_naru_grpc_both,
#ifdef NARU_BENCH_PEERS
    &bench_grpc_up,
    &bench_grpc_down,
    &bench_grpc_both,
    &bench_grpc_tcp_up,
    &bench_grpc_tcp_down,
    &bench_grpc_tcp_both,
#endif
    NULL,
};
