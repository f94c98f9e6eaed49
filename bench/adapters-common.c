/* SPDX-License-Identifier: MIT */
/* adapters-common.c - what adapters of several kinds share: reading and writing descriptors, and
 * naru's own calls on whatever the adapter has opened. */
#include "bench/adapters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

int bench_in, bench_out;
naru_channel *bench_sender, *bench_receiver;
naru_stream *bench_reader, *bench_writer;

/* Looks again instead of sleeping, as naru does first: what is left of naru's cost beside this is
 * its own. */
int bench_no_sleep(void)
{
    return fcntl(bench_in, F_SETFL, O_NONBLOCK) < 0 ? bench_say("fcntl: %s", strerror(errno)) : 0;
}

int bench_spin_recv(void *buf, size_t n)
{
    for (char *p = buf; n > 0;) {
        ssize_t r = read(bench_in, p, n);
        if (r < 0 && errno == EAGAIN)
            continue;
        if (r <= 0)
            return bench_say("read: %s", r ? strerror(errno) : "the end");
        p += r;
        n -= (size_t)r;
    }
    return 0;
}

int bench_raw_send(const void *buf, size_t n)
{
    for (const char *p = buf; n > 0;) {
        ssize_t w = write(bench_out, p, n);
        if (w <= 0)
            return bench_say("write: %s", strerror(errno));
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

int bench_raw_recv(void *buf, size_t n)
{
    for (char *p = buf; n > 0;) {
        ssize_t r = read(bench_in, p, n);
        if (r <= 0)
            return bench_say("read: %s", r ? strerror(errno) : "the end");
        p += r;
        n -= (size_t)r;
    }
    return 0;
}

/* What gathering alone brings: one write a batch, reads of what there is, no frames. Not what
 * naru's batches are beside, but as much as they could reach. */
int bench_raw_send_batch(const void *buf, size_t n, int count)
{
    return bench_raw_send(buf, n * (size_t)count);
}

int bench_raw_recv_batch(void *buf, size_t n, int most)
{
    char *p = buf;
    size_t got = 0;
    do { /* to a message's end */
        ssize_t r = read(bench_in, p + got, n * (size_t)most - got);
        if (r <= 0)
            return bench_say("read: %s", r ? strerror(errno) : "the end");
        got += (size_t)r;
    } while (got % n);
    for (size_t i = 0; i < got; i += n)
        if (bench_check(p + i, n))
            return -1;
    return (int)(got / n);
}

void bench_raw_detach(int side)
{
    (void)side;
    close(bench_in);
    close(bench_out);
}

int bench_naru_failed(void)
{
    return bench_say("%s", naru_why());
}

int bench_channel_send(const void *buf, size_t n)
{
    return naru_channel_send(bench_sender, 1, buf, n, NARU_FOREVER) < 0 ? bench_naru_failed() : 0;
}

int bench_channel_recv(void *buf, size_t n)
{
    ssize_t r = naru_channel_recv(bench_receiver, 0, buf, n, NULL, NARU_FOREVER);
    return r < 0 ? bench_naru_failed() : (size_t)r == n ? 0 : bench_say("%zd bytes of %zu", r, n);
}

int bench_channel_send_batch(const void *buf, size_t n, int count)
{
    static struct naru_message m[BENCH_BATCH_SIZE];
    for (int i = 0; i < count; i++) {
        m[i].data = (char *)(uintptr_t)buf + (size_t)i * n;
        m[i].size = n;
        m[i].info.type = 1;
    }
    return naru_channel_send_many(bench_sender, m, (size_t)count, NARU_FOREVER) == count
               ? 0
               : bench_naru_failed();
}

int bench_channel_recv_batch(void *buf, size_t n, int most)
{
    static struct naru_message m[BENCH_BATCH_SIZE];
    ssize_t got = naru_channel_take_many(bench_receiver, 0, m, (size_t)most, NARU_FOREVER);
    if (got < 0)
        return bench_naru_failed();
    for (ssize_t i = 0; i < got; i++) { /* to private memory, as the one by one calls do */
        memcpy(buf, m[i].data, m[i].size);
        if (m[i].size != n || bench_check(buf, n))
            return bench_say("a message of %zu bytes, not %zu", m[i].size, n);
    }
    return naru_channel_release(bench_receiver, m, (size_t)got) < 0 ? bench_naru_failed()
                                                                    : (int)got;
}

int bench_stream_send(const void *buf, size_t n)
{
    return naru_stream_write_all(bench_writer, buf, n, NARU_FOREVER, NULL) < 0 ? bench_naru_failed()
                                                                               : 0;
}

int bench_stream_recv(void *buf, size_t n)
{
    return naru_stream_read_all(bench_reader, buf, n, NARU_FOREVER, NULL) < 0 ? bench_naru_failed()
                                                                              : 0;
}
