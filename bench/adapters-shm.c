/* SPDX-License-Identifier: MIT */
/* adapters-shm.c - naru in shared memory beside a bare ring: fixed slots with a stamp, copied in
 * and out, no types, no sizes, no sleep, no death. It is the floor that such a ring can reach here.
 */
#include "bench/adapters.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- the bare ring ---- */

enum { SLOTS = 1024, ROOM = 16 << 20, LINE = 64, PIECE = 65536 };
/* What is no larger than a piece lies in less than the caches hold: the fastest ring there is. */
enum { ROOM_FOR_PIECES = 1200 << 10 };

struct slot {
    _Atomic uint64_t stamp; /* the payload lies behind it, at payload_at() */
};

struct direction {
    _Alignas(128) _Atomic uint64_t consumed;
    _Alignas(128) char bytes[ROOM];
};

static struct direction *rings; /* two */
static struct direction *out, *in;
static uint64_t sent, got, known;
static uint64_t slots;
static size_t stride, payload;

/* A small payload shares its stamp's line, 8 bytes take a quarter of one; a large one has its own.
 */
static size_t payload_at(size_t size)
{
    return size <= LINE - sizeof(uint64_t) ? sizeof(uint64_t) : LINE;
}

static size_t stride_of(size_t size)
{
    return size <= 8 ? 16 : (size + payload_at(size) + LINE - 1) / LINE * LINE;
}

/* As many as there is room for: large messages lie whole in it. */
static uint64_t slots_of(size_t size)
{
    uint64_t n = SLOTS, room = size <= PIECE ? ROOM_FOR_PIECES : ROOM;
    while (n * stride_of(size) > room)
        n /= 2;
    return n;
}

static inline struct slot *slot_of(struct direction *d, uint64_t n)
{
    return (struct slot *)(void *)(d->bytes + (n & (slots - 1)) * stride);
}

static int ring_setup(void)
{
    rings = mmap(NULL, 2 * sizeof *rings, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return rings == MAP_FAILED ? bench_say("mmap: %s", strerror(errno)) : 0;
}

static void attach_for(int side, size_t size)
{
    out = &rings[side];
    in = &rings[!side];
    sent = got = known = 0;
    slots = slots_of(size);
    stride = stride_of(size);
    payload = payload_at(size);
}

static int ring_attach(int side)
{
    attach_for(side, bench_size);
    return 0;
}

static int pieces_attach(int side)
{
    attach_for(side, PIECE);
    return 0;
}

/* Of a message in place only the ends are written and read. */
static inline void carry(char *to, const char *from, size_t n, bool in_place)
{
    memcpy(to, from, in_place ? 8 : n);
    if (in_place)
        to[n - 1] = from[n - 1];
}

static inline int ring_send_by(const void *buf, size_t n, bool in_place)
{
    while (sent - known >= slots)
        known = atomic_load_explicit(&out->consumed, memory_order_acquire);
    struct slot *s = slot_of(out, sent);
    carry((char *)s + payload, buf, n, in_place);
    atomic_store_explicit(&s->stamp, ++sent, memory_order_release);
    return 0;
}

static inline int ring_recv_by(void *buf, size_t n, bool in_place)
{
    struct slot *s = slot_of(in, got);
    while (atomic_load_explicit(&s->stamp, memory_order_acquire) != got + 1)
        ;
    carry(buf, (char *)s + payload, n, in_place);
    atomic_store_explicit(&in->consumed, ++got, memory_order_release);
    return 0;
}

static int ring_send(const void *buf, size_t n)
{
    return ring_send_by(buf, n, false);
}

static int ring_recv(void *buf, size_t n)
{
    return ring_recv_by(buf, n, false);
}

static int ring_send_in_place(const void *buf, size_t n)
{
    return ring_send_by(buf, n, true);
}

static int ring_recv_in_place(void *buf, size_t n)
{
    return ring_recv_by(buf, n, true);
}

static void ring_detach(int side)
{
    (void)side;
    munmap(rings, 2 * sizeof *rings);
}

/* The same for large messages, in pieces: the receiver copies one while the next is written. */
static int pieces_send(const void *buf, size_t n)
{
    for (size_t at = 0; at < n; at += PIECE)
        if (ring_send((const char *)buf + at, n - at < PIECE ? n - at : PIECE))
            return -1;
    return 0;
}

static int pieces_recv(void *buf, size_t n)
{
    for (size_t at = 0; at < n; at += PIECE)
        if (ring_recv((char *)buf + at, n - at < PIECE ? n - at : PIECE))
            return -1;
    return 0;
}

/* ---- naru ---- */

static naru_channel *ends[2];

static int setup_with(unsigned flags, size_t capacity)
{
    const struct naru_channel_options o = {.size = sizeof o, .flags = flags, .capacity = capacity};
    return naru_channel_pair("shm:", &o, &ends[0], &ends[1]) < 0 ? bench_naru_failed() : 0;
}

static int shm_setup(void)
{
    return setup_with(0, 0);
}

static int spinning_setup(void)
{
    return setup_with(NARU_SPIN, 0);
}

static int sleeping_setup(void)
{
    return setup_with(NARU_SLEEP, 0);
}

/* In place a message needs room for itself, in one piece. */
static int in_place_setup(void)
{
    return setup_with(0, bench_size <= 65536 ? 0 : 2 * bench_size);
}

static int shm_attach(int side)
{
    bench_sender = bench_receiver = ends[side];
    if (naru_adopt(ends[side]) < 0)
        return bench_naru_failed();
    naru_channel_close(ends[!side]);
    return 0;
}

static void shm_detach(int side)
{
    (void)side;
    naru_channel_close(bench_sender);
}

/* Only a message's ends are written and read, as if it had been made where it lies. */
static int in_place_send(const void *buf, size_t n)
{
    void *data;
    if (naru_channel_reserve(bench_sender, n, NARU_FOREVER, &data) < 0)
        return bench_naru_failed();
    memcpy(data, buf, 8);
    ((char *)data)[n - 1] = ((const char *)buf)[n - 1];
    return naru_channel_commit(bench_sender, data, n, 1) < 0 ? bench_naru_failed() : 0;
}

static int in_place_recv(void *buf, size_t n)
{
    struct naru_message m;
    if (naru_channel_take(bench_receiver, 0, NARU_FOREVER, &m) < 0)
        return bench_naru_failed();
    if (m.size != n)
        return bench_say("%zu bytes of %zu", m.size, n);
    memcpy(buf, m.data, 8);
    ((char *)buf)[n - 1] = ((const char *)m.data)[n - 1];
    return naru_channel_release(bench_receiver, &m, 1) < 0 ? bench_naru_failed() : 0;
}

/* A foreign loop's way: sleep in poll on the descriptor. */
static int polled_recv(void *buf, size_t n)
{
    struct pollfd p = {.fd = naru_fd(bench_receiver), .events = POLLIN};
    ssize_t r;
    if (p.fd < 0)
        return bench_naru_failed();
    while ((r = naru_channel_recv(bench_receiver, 0, buf, n, NULL, NARU_NOWAIT)) == -EAGAIN)
        poll(&p, 1, -1);
    return r < 0 ? bench_naru_failed() : (size_t)r == n ? 0 : bench_say("%zd bytes of %zu", r, n);
}

const struct adapter bench_bare_ring = {.name = "bare ring",
                                        .url = "shm:",
                                        .setup = ring_setup,
                                        .attach = ring_attach,
                                        .send = ring_send,
                                        .recv = ring_recv,
                                        .detach = ring_detach,
                                        .max_size = ROOM / 2};
const struct adapter bench_bare_pieces = {.name = "bare ring, pieces of 64 KiB",
                                          .url = "shm:",
                                          .setup = ring_setup,
                                          .attach = pieces_attach,
                                          .send = pieces_send,
                                          .recv = pieces_recv,
                                          .detach = ring_detach,
                                          .min_size = PIECE + 1};
const struct adapter bench_bare_in_place = {.name = "bare ring, in place",
                                            .url = "shm:",
                                            .setup = ring_setup,
                                            .attach = ring_attach,
                                            .send = ring_send_in_place,
                                            .recv = ring_recv_in_place,
                                            .detach = ring_detach,
                                            .min_size = 16,
                                            .max_size = ROOM / 2,
                                            .modes = 1u << BENCH_LATENCY | 1u << BENCH_STREAM};

/* ---- queues and topics: one a direction ---- */

static char urls[2][64]; /* [i]: received from by side i */

static void name_urls(int pid)
{
    for (int i = 0; i < 2; i++)
        snprintf(urls[i], sizeof urls[i], "shm:bench-%d-%d", pid, i);
}

static int lanes_setup(void)
{
    name_urls((int)getpid());
    return 0;
}

static int both_there(int r)
{
    return r < 0 || naru_channel_wait_peers(bench_sender, 1, 5 * NARU_S) < 0 ||
                   naru_channel_wait_peers(bench_receiver, 1, 5 * NARU_S) < 0
               ? bench_naru_failed()
               : 0;
}

static int queue_attach(int side)
{
    int r = naru_queue_open(urls[side], NARU_RECV, NULL, &bench_receiver);
    return both_there(r < 0 ? r : naru_queue_open(urls[!side], NARU_SEND, NULL, &bench_sender));
}

static int topic_attach(int side)
{
    int r = naru_topic_open(urls[side], NARU_RECV, NULL, &bench_receiver);
    return both_there(r < 0 ? r : naru_topic_open(urls[!side], NARU_SEND, NULL, &bench_sender));
}

static void lanes_detach(int side)
{
    (void)side;
    naru_channel_close(bench_sender);
    naru_channel_close(bench_receiver);
}

static void lanes_clean_up(int pid)
{
    name_urls(pid);
    for (int i = 0; i < 2; i++)
        (void)naru_remove(urls[i]);
}

const struct adapter bench_naru_shm = {.name = "naru shm connection",
                                       .url = "shm:",
                                       .reference = "bare ring",
                                       .setup = shm_setup,
                                       .attach = shm_attach,
                                       .send = bench_channel_send,
                                       .recv = bench_channel_recv,
                                       .send_batch = bench_channel_send_batch,
                                       .recv_batch = bench_channel_recv_batch,
                                       .detach = shm_detach};
const struct adapter bench_spinning_shm = {.name = "naru shm connection, NARU_SPIN",
                                           .url = "shm:",
                                           .reference = "naru shm connection",
                                           .setup = spinning_setup,
                                           .attach = shm_attach,
                                           .send = bench_channel_send,
                                           .recv = bench_channel_recv,
                                           .detach = shm_detach,
                                           .max_size = 65536};
const struct adapter bench_in_place_shm = {.name = "naru shm connection, in place",
                                           .url = "shm:",
                                           .reference = "bare ring, in place",
                                           .setup = in_place_setup,
                                           .attach = shm_attach,
                                           .send = in_place_send,
                                           .recv = in_place_recv,
                                           .detach = shm_detach,
                                           .min_size = 16,
                                           .modes = 1u << BENCH_LATENCY | 1u << BENCH_STREAM};
const struct adapter bench_sleeping_shm = {.name = "naru shm connection, NARU_SLEEP",
                                           .url = "shm:",
                                           .reference = "bare futex",
                                           .setup = sleeping_setup,
                                           .attach = shm_attach,
                                           .send = bench_channel_send,
                                           .recv = bench_channel_recv,
                                           .detach = shm_detach,
                                           .max_size = 64,
                                           .modes = 1u << BENCH_LATENCY};
const struct adapter bench_polled_shm = {.name = "naru shm connection, in poll",
                                         .url = "shm:",
                                         .reference = "bare eventfd",
                                         .setup = sleeping_setup,
                                         .attach = shm_attach,
                                         .send = bench_channel_send,
                                         .recv = polled_recv,
                                         .detach = shm_detach,
                                         .max_size = 64,
                                         .modes = 1u << BENCH_LATENCY};
const struct adapter bench_naru_shm_queue = {.name = "naru shm queue",
                                             .url = "shm:",
                                             .reference = "naru shm connection",
                                             .setup = lanes_setup,
                                             .attach = queue_attach,
                                             .send = bench_channel_send,
                                             .recv = bench_channel_recv,
                                             .send_batch = bench_channel_send_batch,
                                             .recv_batch = bench_channel_recv_batch,
                                             .detach = lanes_detach,
                                             .clean_up = lanes_clean_up};
const struct adapter bench_naru_shm_topic = {.name = "naru shm topic",
                                             .url = "shm:",
                                             .reference = "naru shm connection",
                                             .setup = lanes_setup,
                                             .attach = topic_attach,
                                             .send = bench_channel_send,
                                             .recv = bench_channel_recv,
                                             .send_batch = bench_channel_send_batch,
                                             .recv_batch = bench_channel_recv_batch,
                                             .detach = lanes_detach,
                                             .clean_up = lanes_clean_up};
