/* SPDX-License-Identifier: MIT */
/* hostile-shm.c - a connection in shared memory whose other end writes anything, before the two
 * meet and while they talk: each call gives a whole message or an error with a sentence, and
 * returns; no byte is read outside what the other end's file holds. Under AddressSanitizer. */
#include "harness.h"

#include "transport/shm/inside.h"
#include "transport/shm/shm.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static naru_channel *hostile,
    *victim; /* the hostile end is naru's too, but its file is written to */
static const struct naru_channel_options small = {
    .size = sizeof small, .capacity = 16384, .max_message = 1 << 20};
static char buffer[1 << 20];
static unsigned long whole, errors, nothing;

static uint8_t *file_of(naru_channel *c)
{
    return (uint8_t *)of_channel(c)->mine;
}

static size_t file_size(naru_channel *c)
{
    return (size_t)of_channel(c)->tx.area_size + NARU_RING_SLOTS_AT +
           (of_channel(c)->tx.mask + 1) * sizeof(struct naru_ring_slot);
}

static void make(void)
{
    expect_ok(naru_channel_pair("shm:", &small, &hostile, &victim));
}

static void unmake(void)
{
    naru_channel_close(hostile);
    naru_channel_close(victim);
}

/* Is it a code that a damaged connection may give? -ENOBUFS: types that nobody asked for. */
static bool is_told(long r)
{
    if (r >= 0)
        return true;
    if (!naru_why()[0])
        test_failed(__FILE__, __LINE__, "%ld without a sentence", r);
    return r == -EAGAIN || r == -ETIMEDOUT || r == -EPROTO || r == -EPIPE || r == -ECONNRESET ||
           r == -EMSGSIZE || r == -ENOBUFS || r == -ENOMEM;
}

static bool count(long r)
{
    if (!is_told(r))
        test_failed(__FILE__, __LINE__, "a call gave %ld: %s", r, naru_why());
    whole += r >= 0;
    nothing += r == -EAGAIN || r == -ETIMEDOUT;
    errors += r < 0 && r != -EAGAIN && r != -ETIMEDOUT;
    return r >= 0 || r == -EAGAIN || r == -ETIMEDOUT;
}

/* All of a message that was taken can be read, and lies in the other's file or in this memory. */
static void read_all(const struct naru_message *m)
{
    const uint8_t *begin = (const uint8_t *)of_channel(victim)->theirs, *p = m->data;
    size_t size = (size_t)of_channel(victim)->other.file;
    expect(m->size <= sizeof buffer && m->info.type != 0 && m->info.type <= NARU_TYPE_MAX);
    if (p >= begin && p <= begin + size)
        expect(m->size <= (size_t)(begin + size - p));
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < m->size; i++)
        sum = (uint8_t)(sum + p[i]);
}

/* What a victim does; false: the connection has ended. */
static bool use(unsigned n)
{
    struct naru_message m[4];
    struct naru_info info = {0};
    int64_t timeout = n % 64 == 5 ? 100 * NARU_US : NARU_NOWAIT;
    long r;
    switch (n % 4) {
    case 0:
        r = naru_channel_take_many(victim, n % 8 ? 0 : -3, m, 4, timeout);
        for (long i = 0; i < r; i++)
            read_all(&m[i]);
        if (r > 0 && n % 16 == 0)
            naru_channel_return(victim, m, (size_t)r);
        else if (r > 0)
            naru_channel_release(victim, m, (size_t)r);
        break;
    case 1:
        r = naru_channel_recv(victim, n % 24 == 1 ? 2 : 0, buffer, sizeof buffer, &info, timeout);
        expect(r < 0 || (size_t)r == info.size);
        break;
    case 2:
        r = naru_channel_send(victim, 1 + n % 5, buffer,
                              n % 3   ? 20
                              : n % 7 ? 3000
                                      : 40000,
                              timeout);
        break;
    default:
        r = naru_channel_recv(victim, 0, buffer, 8, &info, timeout);
        expect(r != -EMSGSIZE || info.size > 8);
        if (r == -EMSGSIZE)
            r = 0;
    }
    return count(r);
}

/* The hostile end's own calls, so that there is something to damage. */
static void feed(unsigned n)
{
    static char data[60000];
    naru_channel_send(hostile, 1 + n % 5, data,
                      n % 5    ? n % 112
                      : n % 11 ? 2000
                               : sizeof data,
                      NARU_NOWAIT);
    if (n % 3 == 0)
        naru_channel_recv(hostile, 0, data, sizeof data, NULL, NARU_NOWAIT);
}

static void tell(void)
{
    printf("# %lu went well, %lu found nothing, %lu were refused\n", whole, nothing, errors);
    whole = nothing = errors = 0;
}

/* ---- before they meet ---- */

static void meet_with(size_t at, const void *value, size_t n)
{
    make();
    memcpy(file_of(hostile) + at, value, n);
    for (unsigned i = 0; i < 4; i++)
        feed(i);
    for (unsigned i = 0; i < 8; i++)
        if (!use(i))
            break;
    unmake();
}

static void header_bytes(void)
{
    for (size_t at = 0; at < sizeof(struct naru_ring_header); at++)
        for (int v = 0; v < 256; v++)
            meet_with(at, &(uint8_t){(uint8_t)v}, 1);
    expect(errors > 32 * 200 && whole > 1000);
    tell();
}

static const uint64_t bounds[] = {0,
                                  1,
                                  2,
                                  15,
                                  16,
                                  17,
                                  111,
                                  112,
                                  113,
                                  4095,
                                  4096,
                                  4097,
                                  16384,
                                  65535,
                                  65536,
                                  1 << 20,
                                  INT32_MAX,
                                  UINT64_C(0x80000000),
                                  UINT32_MAX,
                                  UINT64_C(1) << 32,
                                  UINT64_C(1) << 40,
                                  INT64_MAX,
                                  UINT64_C(1) << 63,
                                  UINT64_MAX - 4095,
                                  UINT64_MAX};
enum { BOUNDS = sizeof bounds / sizeof *bounds };

/* Every 32 and every 64 bits of what lies before the slots. */
static void header_fields(void)
{
    for (size_t at = 0; at < sizeof(struct naru_ring_header); at += 4)
        for (int i = 0; i < BOUNDS; i++) {
            meet_with(at, &(uint32_t){(uint32_t)bounds[i]}, 4);
            if (at % 8 == 0)
                meet_with(at, &bounds[i], 8);
        }
    tell();
}

/* ---- while they talk ---- */

enum { WORDS_AT = 128, WORDS_END = 640 };

static void disturb(size_t at, const void *value, size_t n, unsigned *step)
{
    uint8_t before[8];
    bool ends = false;
    memcpy(before, file_of(hostile) + at, n);
    memcpy(file_of(hostile) + at, value, n);
    for (int i = 0; i < 4 && !ends; i++) {
        feed(*step);
        ends = !use((*step)++);
    }
    memcpy(file_of(hostile) + at, before, n);
    if (ends) {
        unmake();
        make();
    }
}

static void words(void)
{
    unsigned step = 0;
    make();
    for (size_t at = WORDS_AT; at < WORDS_END; at++)
        for (int v = 0; v < 256; v++)
            disturb(at, &(uint8_t){(uint8_t)v}, 1, &step);
    for (size_t at = WORDS_AT; at < WORDS_END; at += 8)
        for (int i = 0; i < BOUNDS; i++)
            disturb(at, &bounds[i], 8, &step);
    unmake();
    expect(errors > 100 && whole > 1000);
    tell();
}

/* Each field of a slot, whole ones and those of messages in pieces. */
static void slots(void)
{
    unsigned step = 0;
    for (size_t at = 0; at < 48; at += 4)
        for (int i = 0; i < BOUNDS; i++)
            for (int large = 0; large < 2; large++) {
                static char data[12000];
                make();
                expect_ok(
                    naru_channel_send(hostile, 3, data, large ? sizeof data : 20, NARU_NOWAIT));
                uint8_t *slot = file_of(hostile) + NARU_RING_SLOTS_AT +
                                (large ? sizeof(struct naru_ring_slot) : 0);
                memcpy(slot + at, &bounds[i], at % 8 ? 4 : 8);
                for (int k = 0; k < 12; k++)
                    if (!use(step++))
                        break;
                unmake();
            }
    expect(errors > 100 && whole > 100);
    tell();
}

/* ---- a writer that flips bits all the time ---- */

static _Atomic bool flipping;
static _Atomic unsigned long flips, flips_allowed; /* neither outruns the other */

static void *flip(void *unused)
{
    uint64_t z = (uint64_t)(uintptr_t)unused + 1;
    volatile uint8_t *bytes = file_of(hostile);
    size_t size = file_size(hostile);
    while (flipping) {
        if (flips >= flips_allowed) {
            sched_yield();
            continue;
        }
        z = z * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        size_t at = (size_t)(z >> 16) % (z >> 62 ? size : NARU_RING_SLOTS_AT + 2048);
        bytes[at] ^= (uint8_t)(1 << (z >> 8) % 8);
        flips++;
    }
    return NULL;
}

static void flipped(void)
{
    const char *wish = getenv("FLIP_ROUNDS");
    unsigned long wanted = wish ? strtoul(wish, NULL, 10) : 50000, connections = 0;
    flips = flips_allowed = 0;
    for (unsigned step = 0; flips < wanted; connections++) {
        pthread_t thread;
        make();
        use(step++); /* they meet, mostly */
        flipping = true;
        expect(pthread_create(&thread, NULL, flip, (void *)(uintptr_t)step) == 0);
        for (int i = 0; i < 2000; i++) {
            flips_allowed += 4;
            feed(step);
            if (!use(step++))
                break;
        }
        flipping = false;
        pthread_join(thread, NULL);
        unmake();
    }
    printf("# %lu flips, %lu connections\n", flips, connections);
    expect(errors > 10 && whole > 1000);
    tell();
}

/* ---- greetings ---- */

struct hello {
    uint64_t magic;
    uint32_t version, pid;
};

static void send_with(int fd, const void *data, size_t size, const int *fds, size_t n)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 32)] = {0};
    struct iovec bytes = {(void *)(uintptr_t)data, size};
    struct msghdr m = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (n > 0) {
        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
    }
    expect(sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)size);
}

/* The victim is greeted by hand; what it says. */
static int greeted(const void *data, size_t size, const int *fds, size_t n)
{
    int socket[2];
    char text[200];
    struct naru_channel_options o = small;
    expect(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, socket) == 0);
    expect_ok(naru__shm_end("shm:hostile", socket[0], false, &o, &victim));
    send_with(socket[1], data, size, fds, n);
    int r = (int)naru_channel_recv(victim, 0, text, sizeof text, NULL, NARU_NOWAIT);
    count(r);
    count(naru_channel_send(victim, 1, "x", 1, NARU_NOWAIT));
    naru_channel_close(victim);
    close(socket[1]);
    return r;
}

static int file_with(size_t size, int seals)
{
    int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct naru_ring_header plan = naru__ring_plan(16384, 1000);
    expect(fd >= 0 && ftruncate(fd, (off_t)(size ? size : plan.file)) == 0);
    expect(pwrite(fd, &plan, sizeof plan, 0) == sizeof plan);
    expect(fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

static void greetings(void)
{
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), pipes[2];
    int good = file_with(0, F_SEAL_SHRINK | F_SEAL_GROW), fds[20];
    struct hello hello = {UINT64_C(0x316f6c6c6568616e), NARU_RING_VERSION, 1};
    expect(pipe2(pipes, O_CLOEXEC) == 0);
    fds[0] = good;
    for (int i = 1; i < 20; i++)
        fds[i] = event;
    expect_code(-EAGAIN, greeted(&hello, sizeof hello, fds, 3));
    for (size_t at = 0; at < 12; at++) /* the pid may be any */
        for (int v = 0; v < 256; v++) {
            struct hello h = hello;
            ((uint8_t *)&h)[at] = (uint8_t)v;
            bool same = memcmp(&h, &hello, sizeof h) == 0;
            expect_code(same ? -EAGAIN : -EPROTO, greeted(&h, sizeof h, fds, 3));
        }
    for (size_t n = 0; n <= 20; n++)
        if (n != 3)
            expect(greeted(&hello, sizeof hello, fds, n) != -EAGAIN);
    for (size_t size = 1; size < sizeof hello; size++)
        expect_code(-EPROTO, greeted(&hello, size, fds, 3));
    char longer[64] = {0};
    memcpy(longer, &hello, sizeof hello);
    expect(greeted(longer, sizeof longer, fds, 3) == -EAGAIN); /* what is behind is cut off */
    const int bad[] = {file_with(0, 0),                        /* could be cut under the reader */
                       file_with(100, F_SEAL_SHRINK),
                       file_with(4096, F_SEAL_SHRINK),
                       file_with(1 << 20, F_SEAL_SHRINK),
                       event,
                       pipes[0],
                       pipes[1]};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fds[0] = bad[i];
        expect_code(-EPROTO, greeted(&hello, sizeof hello, fds, 3));
    }
    for (size_t i = 0; i < 4; i++)
        close(bad[i]);
    close(good);
    close(event);
    close(pipes[0]);
    close(pipes[1]);
    tell();
}

int main(int argc, char **argv)
{
    const struct test_case cases[] = {
        {"every byte of the header", header_bytes},   {"every field of the header", header_fields},
        {"every byte and field that changes", words}, {"every field of a slot", slots},
        {"bits flip while they talk", flipped},       {"greetings", greetings},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
