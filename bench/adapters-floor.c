/* SPDX-License-Identifier: MIT */
/* adapters-floor.c - what no message can be faster than: cache lines that travel, and bare ways to
 * sleep and to wake. Nothing is around them: no types, no sizes, no death. */
#include "bench/adapters.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { IN_LINE = 56 };

/* One message each way; the stamp's line has the first bytes. */
struct lines {
    _Alignas(128) _Atomic uint64_t stamp;
    char first[IN_LINE];
    char second[64];
    _Alignas(128) _Atomic uint32_t bell;
};

static struct lines *all, *out, *in; /* two */
static uint64_t sent, got;
static int event[2];

static int setup(void)
{
    all = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return all == MAP_FAILED ? bench_say("mmap: %s", strerror(errno)) : 0;
}

static int attach(int side)
{
    out = &all[side];
    in = &all[!side];
    sent = got = 0;
    return 0;
}

static void detach(int side)
{
    (void)side;
    munmap(all, 4096);
}

/* Of a message that is larger only its ends travel, as if the rest lay there already. */
static void put(const char *buf, size_t n)
{
    if (n <= IN_LINE) {
        memcpy(out->first, buf, n);
        return;
    }
    memcpy(out->first, buf, IN_LINE);
    if (n <= IN_LINE + sizeof out->second)
        memcpy(out->second, buf + IN_LINE, n - IN_LINE);
    else
        out->second[0] = buf[n - 1];
}

static void get(char *buf, size_t n)
{
    if (n <= IN_LINE) {
        memcpy(buf, in->first, n);
        return;
    }
    memcpy(buf, in->first, IN_LINE);
    if (n <= IN_LINE + sizeof in->second)
        memcpy(buf + IN_LINE, in->second, n - IN_LINE);
    else
        buf[n - 1] = in->second[0];
}

static int line_send(const void *buf, size_t n)
{
    put(buf, n);
    atomic_store_explicit(&out->stamp, ++sent, memory_order_release);
    return 0;
}

static int line_recv(void *buf, size_t n)
{
    while (atomic_load_explicit(&in->stamp, memory_order_acquire) != got + 1)
        ;
    got++;
    get(buf, n);
    return 0;
}

/* ---- asleep ---- */

static int futex_send(const void *buf, size_t n)
{
    line_send(buf, n);
    atomic_store(&out->bell, (uint32_t)sent);
    return syscall(SYS_futex, &out->bell, FUTEX_WAKE, 1, NULL, NULL, 0) < 0
               ? bench_say("futex: %s", strerror(errno))
               : 0;
}

static int futex_recv(void *buf, size_t n)
{
    while (atomic_load(&in->bell) != (uint32_t)got + 1)
        syscall(SYS_futex, &in->bell, FUTEX_WAIT, (uint32_t)got, NULL, NULL, 0);
    return line_recv(buf, n);
}

static int event_setup(void)
{
    for (int i = 0; i < 2; i++)
        if ((event[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
            return bench_say("eventfd: %s", strerror(errno));
    return setup();
}

static void event_detach(int side)
{
    close(event[0]);
    close(event[1]);
    detach(side);
}

static int event_send(const void *buf, size_t n)
{
    const uint64_t one = 1;
    line_send(buf, n);
    return write(event[out - all], &one, sizeof one) == sizeof one
               ? 0
               : bench_say("write: %s", strerror(errno));
}

static int event_recv(void *buf, size_t n)
{
    struct pollfd p = {.fd = event[in - all], .events = POLLIN};
    uint64_t count;
    while (read(p.fd, &count, sizeof count) < 0)
        if (poll(&p, 1, -1) < 0)
            return bench_say("poll: %s", strerror(errno));
    return line_recv(buf, n);
}

const struct adapter bench_one_line = {.name = "a line each way",
                                       .url = "shm:",
                                       .setup = setup,
                                       .attach = attach,
                                       .send = line_send,
                                       .recv = line_recv,
                                       .detach = detach,
                                       .max_size = IN_LINE,
                                       .modes = 1u << BENCH_LATENCY};
const struct adapter bench_two_lines = {.name = "two lines each way",
                                        .url = "shm:",
                                        .setup = setup,
                                        .attach = attach,
                                        .send = line_send,
                                        .recv = line_recv,
                                        .detach = detach,
                                        .min_size = IN_LINE + 1,
                                        .modes = 1u << BENCH_LATENCY};
const struct adapter bench_bare_futex = {.name = "bare futex",
                                         .url = "shm:",
                                         .setup = setup,
                                         .attach = attach,
                                         .send = futex_send,
                                         .recv = futex_recv,
                                         .detach = detach,
                                         .max_size = 64,
                                         .modes = 1u << BENCH_LATENCY};
const struct adapter bench_bare_eventfd = {.name = "bare eventfd",
                                           .url = "shm:",
                                           .setup = event_setup,
                                           .attach = attach,
                                           .send = event_send,
                                           .recv = event_recv,
                                           .detach = event_detach,
                                           .max_size = 64,
                                           .modes = 1u << BENCH_LATENCY};
