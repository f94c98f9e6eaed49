/* SPDX-License-Identifier: MIT */
/* stream.c - `fifo:` as a stream.
 *
 * Reader: O_RDONLY. The kernel's read says 0 both before the first writer and after the last; poll
 * tells them apart (POLLHUP: one was there). After the last writer's leaving the FIFO is opened
 * afresh before the old descriptor goes, because only a fresh description forgets the hang-up and
 * can be slept on; nothing written meanwhile is lost, for the FIFO is never without an opener.
 *
 * Two-way: a pair of FIFOs. Which side this is, is decided by claiming (flock) the FIFO that the
 * side reads; the claim has a descriptor of its own, as the reading one may be opened afresh. */
#include "transport/fifo/fifo.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/poll.h"
#include "transport/common/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fifo_stream {
    struct naru_stream stream;
    char *in_path, *out_path; /* NULL: no such direction */
    _Atomic int in, out;      /* the same descriptor with NARU_SINGLE */
    int claim;                /* two-way: holds this side */
    _Atomic int watch;        /* inotify while the writer waits for a reader */
    bool until_hangup, single;
    bool made_back; /* two-way: this handle created the second FIFO */
    _Atomic bool ended, out_finished;
    _Atomic int held_byte; /* a byte read while looking whether a writer is there; -1: none */
    struct naru_capacity capacity;
};

static struct fifo_stream *of_stream(naru_stream *s)
{
    return (struct fifo_stream *)s;
}

static struct fifo_stream *of_handle(struct naru_handle *h)
{
    return (struct fifo_stream *)h;
}

static const char *name_of(const struct fifo_stream *f)
{
    return f->stream.handle.name;
}

/* ---- reading ---- */

/* The last writer has gone. 0: the stream has ended; -EAGAIN: there will be another. */
static int last_has_gone(struct fifo_stream *f)
{
    if (f->until_hangup) {
        f->ended = true;
        return 0;
    }
    int fd = naru__fifo_open(name_of(f), f->in_path, O_RDONLY);
    if (fd == -ENOENT)
        return naru__fail(-EIDRM, "%s was removed, and the last writer has gone", name_of(f));
    if (fd < 0)
        return fd;
    naru__replace_fd(&f->stream.handle, &f->in, fd);
    return -EAGAIN;
}

static ssize_t try_read(struct fifo_stream *f, void *buf, size_t n)
{
    if (f->ended)
        return 0;
    if (f->held_byte >= 0) {
        *(unsigned char *)buf = (unsigned char)f->held_byte;
        f->held_byte = -1;
        return 1;
    }
    ssize_t r = naru__os_read(f->in, buf, n);
    if (r == 0 && !naru__os_hung_up(f->in))
        return -EAGAIN; /* nobody has come yet */
    if (r == 0)         /* or somebody has come, written and gone since the look */
        r = naru__os_read(f->in, buf, n);
    if (r > 0 || r == -EAGAIN)
        return r;
    return r == 0
               ? last_has_gone(f)
               : naru__fail((int)r, "%s: reading failed: %s", name_of(f), naru__errno_text((int)r));
}

static ssize_t fifo_read(naru_stream *stream, void *buf, size_t n, int64_t deadline)
{
    struct fifo_stream *f = of_stream(stream);
    struct naru_handle *h = &stream->handle;
    struct naru_wait wait = naru__wait_begin(h, NARU_IN, deadline);
    ssize_t r;
    while ((r = try_read(f, buf, n)) == -EAGAIN) {
        r = naru__wait_step(&wait);
        if (r < 0)
            break;
    }
    naru__wait_done(&wait);
    if (r >= 0) {
        naru__count(&h->counts.calls[0], 1);
        naru__count(&h->counts.bytes_received, (uint64_t)r);
    }
    return r;
}

/* Waits until a writer has opened. */
static int await_writer(struct fifo_stream *f, int64_t deadline)
{
    struct naru_wait wait = naru__wait_begin(&f->stream.handle, NARU_IN, deadline);
    for (;;) {
        unsigned char byte;
        ssize_t r = naru__os_read(f->in, &byte, 1);
        if (r > 0)
            f->held_byte = byte;
        if (r > 0 || r == -EAGAIN || (r == 0 && naru__os_hung_up(f->in)))
            return 0;
        if (r < 0)
            return naru__fail((int)r, "%s: reading failed: %s", name_of(f),
                              naru__errno_text((int)r));
        /* the kernel tells a reader of bytes, not of openers: look again soon */
        int w = naru__wait_tick(&wait);
        if (w == -ETIMEDOUT)
            return naru__fail(w, "%s: nobody has opened it for writing", name_of(f));
        if (w < 0)
            return w;
    }
}

/* ---- writing ---- */

static int connected(struct fifo_stream *f, int64_t deadline)
{
    if (f->out_finished)
        return naru__fail(-EPIPE, "%s: this end was shut down for writing", name_of(f));
    if (f->out >= 0)
        return 0;
    struct naru_wait wait = naru__wait_begin(&f->stream.handle, NARU_OUT, deadline);
    int r = naru__fifo_connect(&wait, f->out_path, &f->out, &f->watch);
    if (r == 0 && f->capacity.asked)
        f->capacity = naru__capacity_ask(f->out, f->capacity.asked);
    return r;
}

static ssize_t fifo_write(naru_stream *stream, const void *buf, size_t n, int64_t deadline)
{
    struct fifo_stream *f = of_stream(stream);
    int r = connected(f, deadline);
    return r < 0 ? r : naru__bytes_write(&stream->handle, f->out, buf, n, deadline);
}

static int fifo_flush(naru_stream *stream, int64_t deadline)
{
    struct fifo_stream *f = of_stream(stream);
    if (f->out < 0 && !f->out_finished)
        return 0; /* nothing was ever written */
    int r = connected(f, deadline);
    return r < 0 ? r : naru__bytes_flush(&stream->handle, f->out, deadline);
}

/* ---- the handle ---- */

/* Of O_RDWR on one FIFO both directions have the one descriptor, till the second is finished. */
static void finish(struct fifo_stream *f, _Atomic int *slot, const _Atomic int *other)
{
    if (f->single && *other == *slot)
        *slot = NARU__NO_FD;
    else
        naru__replace_fd(&f->stream.handle, slot, NARU__NO_FD);
}

static int fifo_shutdown(naru_stream *stream, int how)
{
    struct fifo_stream *f = of_stream(stream);
    if (how & NARU_READ) {
        f->ended = true;
        f->claim = naru__os_close(f->claim); /* it reads too, and the writer must see nobody */
        finish(f, &f->in, &f->out);
    }
    if (how & NARU_WRITE) {
        f->out_finished = true;
        finish(f, &f->out, &f->in);
    }
    return 0;
}

static void fifo_free(struct fifo_stream *f)
{
    if (f->out != f->in)
        naru__os_close(f->out);
    naru__os_close(f->in);
    naru__os_close(f->claim);
    naru__os_close(f->watch);
    free(f->in_path);
    free(f->out_path);
    naru__handle_deinit(&f->stream.handle);
    free(f);
}

static void fifo_close(naru_stream *stream, bool owner)
{
    (void)owner;
    fifo_free(of_stream(stream));
}

static int fifo_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    const struct fifo_stream *f = of_handle(h);
    unsigned n = 0;
    if (events & NARU_IN && f->in >= 0)
        ret_watch->fds[n++] = (struct pollfd){.fd = f->in, .events = POLLIN};
    if (events & NARU_OUT && f->out >= 0) {
        if (n && f->out == f->in)
            ret_watch->fds[0].events |= POLLOUT;
        else
            ret_watch->fds[n++] = (struct pollfd){.fd = f->out, .events = POLLOUT};
    } else if (events & NARU_OUT && f->watch >= 0) {
        ret_watch->fds[n++] = (struct pollfd){.fd = f->watch, .events = POLLIN};
        ret_watch->again = naru__now() + FIFO_LOOK_NS;
    }
    ret_watch->n = n;
    return 0;
}

static bool fifo_ready(struct naru_handle *h, int events)
{
    const struct fifo_stream *f = of_handle(h);
    bool in = events & NARU_IN && (f->ended || f->held_byte >= 0);
    /* not connected and not watching: a write would look for a reader */
    bool out = events & NARU_OUT && (f->out_finished || (f->out < 0 && f->watch < 0));
    return in || out;
}

static void fifo_stats(struct naru_handle *h, struct naru_stats *stats)
{
    const struct fifo_stream *f = of_handle(h);
    naru__capacity_stats(&f->capacity, f->out >= 0 ? f->out : f->in, stats);
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = fifo_watch,
    .ready = fifo_ready,
    .stats = fifo_stats,
};

static const struct naru_stream_ops stream_ops = {
    .size = sizeof stream_ops,
    .read = fifo_read,
    .write = fifo_write,
    .flush = fifo_flush,
    .shutdown = fifo_shutdown,
    .close = fifo_close,
};

/* ---- opening ---- */

static int new_stream(const char *name, int mode, const struct naru_stream_options *o,
                      struct fifo_stream **ret_f)
{
    struct fifo_stream *f = naru__alloc(sizeof *f);
    if (!f)
        return -ENOMEM;
    int directions = (mode & NARU_READ ? NARU_IN : 0) | (mode & NARU_WRITE ? NARU_OUT : 0);
    int r = naru__handle_init(&f->stream.handle, NARU__STREAM, &handle_ops, name, directions);
    if (r < 0) {
        free(f);
        return r;
    }
    f->stream.ops = &stream_ops;
    f->in = NARU__NO_FD;
    f->out = NARU__NO_FD;
    f->claim = NARU__NO_FD;
    f->watch = NARU__NO_FD;
    f->held_byte = -1;
    f->until_hangup = o->flags & NARU_UNTIL_HANGUP;
    f->single = o->flags & NARU_SINGLE && mode == (NARU_READ | NARU_WRITE);
    f->capacity.asked = o->capacity;
    *ret_f = f;
    return 0;
}

static int keep_path(char **slot, const char *path)
{
    *slot = naru__copy_text(path, strlen(path));
    return *slot ? 0 : -ENOMEM;
}

static int open_reader(struct fifo_stream *f, const char *path)
{
    int r = keep_path(&f->in_path, path);
    if (r < 0)
        return r;
    r = naru__fifo_open(name_of(f), path, O_RDONLY);
    if (r < 0)
        return r;
    f->in = r;
    if (f->capacity.asked)
        f->capacity = naru__capacity_ask(f->in, f->capacity.asked);
    return 0;
}

/* Takes the side that reads `path`. -EAGAIN: somebody has it. */
static int claim_side(struct fifo_stream *f, const char *path)
{
    int fd = naru__fifo_open(name_of(f), path, O_RDONLY);
    if (fd < 0)
        return fd;
    int r = naru__os_claim(fd);
    if (r < 0) {
        naru__os_close(fd);
        return r == -EAGAIN ? r
                            : naru__fail(r, "%s: its side cannot be claimed: %s", name_of(f),
                                         naru__errno_text(r));
    }
    f->claim = fd;
    return 0;
}

static int open_two_way(struct fifo_stream *f, const char *path, const struct fifo_wish *wish)
{
    char back[PATH_MAX];
    snprintf(back, sizeof back, "%s" FIFO_BACK, path);
    int r = naru__fifo_ensure(name_of(f), back, wish);
    if (r < 0)
        return r;
    f->made_back = r > 0;
    const char *in = back, *out = path; /* the first opener writes into path */
    r = claim_side(f, back);
    if (r == -EAGAIN) {
        in = path;
        out = back;
        r = claim_side(f, path);
    }
    if (r == -EAGAIN)
        return naru__fail(-EBUSY, "%s: both sides of this two-way pair are taken", name_of(f));
    if (r == 0)
        r = keep_path(&f->out_path, out);
    return r < 0 ? r : open_reader(f, in);
}

static int open_single(struct fifo_stream *f, const char *path)
{
    int r = keep_path(&f->in_path, path);
    if (r == 0)
        r = keep_path(&f->out_path, path);
    if (r == 0)
        r = naru__fifo_open(name_of(f), path, O_RDWR);
    if (r < 0)
        return r;
    f->in = f->out = r;
    if (f->capacity.asked)
        f->capacity = naru__capacity_ask(f->in, f->capacity.asked);
    return 0;
}

static int open_ends(struct fifo_stream *f, int mode, const char *path,
                     const struct fifo_wish *wish)
{
    if (f->single)
        return open_single(f, path);
    if (mode == (NARU_READ | NARU_WRITE))
        return open_two_way(f, path, wish);
    if (mode == NARU_READ)
        return open_reader(f, path);
    int r = keep_path(&f->out_path, path);
    if (r < 0)
        return r;
    r = naru__fifo_open(name_of(f), path, O_WRONLY); /* says at once if it is forbidden */
    if (r < 0)
        return r == -ENXIO ? 0 : r;
    f->out = r;
    if (f->capacity.asked)
        f->capacity = naru__capacity_ask(f->out, f->capacity.asked);
    return 0;
}

/* An opening that fails takes along what it created. */
static void unmake(const char *path, bool made, bool made_back)
{
    char back[PATH_MAX];
    snprintf(back, sizeof back, "%s" FIFO_BACK, path);
    if (made)
        (void)naru__os_unlink(path);
    if (made_back)
        (void)naru__os_unlink(back);
}

int naru__fifo_stream_open(const struct naru_url *url, int mode,
                           const struct naru_stream_options *o, int64_t deadline,
                           naru_stream **ret_s)
{
    const struct fifo_wish wish = {o->flags, o->mode, o->owner, o->group};
    struct fifo_stream *f;
    const char *path;
    int r = naru__fifo_path(url, &path);
    if (r < 0)
        return r;
    int created = naru__fifo_ensure(url->text, path, &wish);
    if (created < 0)
        return created;
    r = new_stream(url->text, mode, o, &f);
    if (r < 0) {
        unmake(path, created, false);
        return r;
    }
    r = open_ends(f, mode, path, &wish);
    if (r == 0 && deadline != NARU__AT_ONCE && f->out_path && f->out < 0)
        r = connected(f, deadline);
    /* whoever reads what this end writes is there: no need to see it write, too */
    if (r == 0 && deadline != NARU__AT_ONCE && mode == NARU_READ)
        r = await_writer(f, deadline);
    if (r < 0) {
        bool waited = r == -ETIMEDOUT || r == -ECANCELED; /* the FIFO stays for who comes later */
        if (!waited)
            unmake(path, created, f->made_back);
        fifo_free(f);
        return r;
    }
    *ret_s = &f->stream;
    return 0;
}
