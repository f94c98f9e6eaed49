/* SPDX-License-Identifier: MIT */
/* bytes.c - bytes through a descriptor: try, and wait while it says -EAGAIN. */
#include "transport/common/bytes.h"

#include "base/error.h"
#include "os/fd.h"
#include "os/limit.h"
#include "os/poll.h"

#include <errno.h>
#include <stdio.h>

static int failed(const struct naru_handle *h, const char *what, int code)
{
    if (code == -EPIPE)
        return naru__fail(code, "%s: nobody has the reading end open any more", h->name);
    return naru__fail(code, "%s: %s failed: %s", h->name, what, naru__errno_text(code));
}

ssize_t naru__bytes_read(struct naru_handle *h, int fd, void *buf, size_t n, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(h, NARU_IN, deadline);
    ssize_t r;
    while ((r = naru__os_read(fd, buf, n)) == -EAGAIN) {
        int w = naru__wait_step(&wait);
        if (w < 0) {
            naru__wait_done(&wait);
            return w;
        }
    }
    naru__wait_done(&wait);
    naru__count(&h->counts.calls[0], 1);
    if (r < 0)
        return failed(h, "reading", (int)r);
    naru__count(&h->counts.bytes_received, (uint64_t)r);
    return r;
}

ssize_t naru__bytes_write(struct naru_handle *h, int fd, const void *buf, size_t n,
                          int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(h, NARU_OUT, deadline);
    ssize_t r;
    while ((r = naru__os_write(fd, buf, n)) == -EAGAIN) {
        int w = naru__wait_step(&wait);
        if (w < 0) {
            naru__wait_done(&wait);
            return w;
        }
    }
    naru__wait_done(&wait);
    naru__count(&h->counts.calls[1], 1);
    if (r < 0)
        return failed(h, "writing", (int)r);
    naru__count(&h->counts.bytes_sent, (uint64_t)r);
    return r;
}

int naru__bytes_flush(struct naru_handle *h, int fd, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(h, NARU_OUT, deadline);
    for (;;) {
        int left = naru__os_unread(fd);
        if (left == 0)
            return 0;
        if (left < 0)
            return failed(h, "asking for unread bytes", left);
        if (naru__os_closed(fd) > 0)
            return naru__fail(-EPIPE, "%s: the last reader left %d bytes unread", h->name, left);
        int r = naru__wait_tick(&wait);
        if (r < 0)
            return r;
    }
}

struct naru_capacity naru__capacity_ask(int fd, size_t bytes)
{
    int r = bytes ? naru__os_set_pipe_capacity(fd, bytes) : 0;
    int64_t most = r == -EPERM ? naru__limit_sysctl("fs/pipe-max-size") : 0;
    if (most > 0 && bytes > (uint64_t)most) /* as much as there may be; the answer stays why */
        (void)naru__os_set_pipe_capacity(fd, (size_t)most);
    return (struct naru_capacity){bytes, r < 0 ? r : 0};
}

void naru__capacity_stats(const struct naru_capacity *capacity, int fd, struct naru_stats *stats)
{
    enum { USUAL = 65536 }; /* what a pipe has unless its user is over fs.pipe-user-pages-soft */
    int holds = fd >= 0 ? naru__os_pipe_capacity(fd) : 0;
    size_t wanted = capacity->asked ? capacity->asked : USUAL;
    stats->capacity = holds > 0 ? (uint64_t)holds : 0;
    stats->capacity_asked = capacity->asked;
    if (holds > 0 && (size_t)holds < wanted)
        snprintf(stats->note, sizeof stats->note, "%s",
                 naru__limit_of_pipe(wanted, (size_t)holds, capacity->error).text);
}
