/* SPDX-License-Identifier: MIT */
/* adapters-shm.c - naru in shared memory beside a bare ring: fixed slots with a stamp, copied in
 * and out, no types, no sizes, no sleep, no death. It is the floor that such a ring can reach here.
 */
#include "bench/adapters.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

/* ---- the bare ring ---- */

enum { SLOTS = 1024, ROOM = 16 << 20, LINE = 64 };

struct slot {
    _Atomic uint64_t stamp;
    char data[];
};

struct direction {
    _Alignas(128) _Atomic uint64_t consumed;
    _Alignas(128) char bytes[ROOM];
};

static struct direction *rings; /* two */
static struct direction *out, *in;
static uint64_t sent, got, known;

static size_t stride_of(size_t size)
{
    return (size + sizeof(uint64_t) + LINE - 1) / LINE * LINE;
}

/* As many as there is room for: large messages lie whole in it. */
static uint64_t slots_of(size_t size)
{
    uint64_t n = SLOTS;
    while (n * stride_of(size) > ROOM)
        n /= 2;
    return n;
}

static struct slot *slot_of(struct direction *d, uint64_t n, size_t size)
{
    return (struct slot *)(void *)(d->bytes + (n & (slots_of(size) - 1)) * stride_of(size));
}

static int ring_setup(void)
{
    rings = mmap(NULL, 2 * sizeof *rings, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return rings == MAP_FAILED ? bench_say("mmap: %s", strerror(errno)) : 0;
}

static int ring_attach(int side)
{
    out = &rings[side];
    in = &rings[!side];
    sent = got = known = 0;
    return 0;
}

static int ring_send(const void *buf, size_t n)
{
    while (sent - known >= slots_of(n))
        known = atomic_load_explicit(&out->consumed, memory_order_acquire);
    struct slot *s = slot_of(out, sent, n);
    memcpy(s->data, buf, n);
    atomic_store_explicit(&s->stamp, ++sent, memory_order_release);
    return 0;
}

static int ring_recv(void *buf, size_t n)
{
    struct slot *s = slot_of(in, got, n);
    while (atomic_load_explicit(&s->stamp, memory_order_acquire) != got + 1)
        ;
    memcpy(buf, s->data, n);
    atomic_store_explicit(&in->consumed, ++got, memory_order_release);
    return 0;
}

static void ring_detach(int side)
{
    (void)side;
    munmap(rings, 2 * sizeof *rings);
}

/* ---- naru ---- */

static naru_channel *ends[2];

static int shm_setup(void)
{
    return naru_channel_pair("shm:", NULL, &ends[0], &ends[1]) < 0 ? bench_naru_failed() : 0;
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

const struct adapter bench_bare_ring = {.name = "bare ring",
                                        .url = "shm:",
                                        .setup = ring_setup,
                                        .attach = ring_attach,
                                        .send = ring_send,
                                        .recv = ring_recv,
                                        .detach = ring_detach};
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
