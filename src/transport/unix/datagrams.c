/* SPDX-License-Identifier: MIT */
/* datagrams.c - `unix+dgram:`: a queue that lives in its receiver's socket. The receiver binds the
 * name; senders connect to it, each when it first has something to send. */
#include "transport/unix/unix.h"

#include "base/error.h"
#include "os/fd.h"
#include "os/file.h"
#include "transport/common/datagram.h"

#include <errno.h>

static int join(struct naru_datagram *d)
{
    struct unix_place place;
    struct naru_url url;
    int r = naru__url_parse(d->mq.channel.handle.name, &url);
    if (r == 0)
        r = naru__unix_place(&url, &place);
    if (r < 0)
        return r;
    r = naru__unix_join(d->out, url.text, &place, d->flags);
    naru__unix_leave(&place);
    return r;
}

static const struct naru_datagram_kind datagrams = {.scheme = "unix+dgram", .join = join};

static int make_socket(const char *name, const struct naru_queue_options *o)
{
    int fd = naru__os_socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0)
        return naru__unix_no_socket(name, fd);
    int r = naru__datagram_prepare(fd, name, o->capacity, o->max_message);
    if (r < 0)
        naru__os_close(fd);
    return r < 0 ? r : fd;
}

/* The receiver's, with its name. */
static int bind_here(const char *name, struct unix_place *place, const struct naru_queue_options *o,
                     struct naru_socket_file *ret_file)
{
    int fd = naru__socket_activated(&place->address, SOCK_DGRAM);
    bool ours = fd < 0;
    int r = 0;
    if (!ours) {
        r = naru__datagram_prepare(fd, name, o->capacity, o->max_message);
    } else if (o->flags & NARU_EXISTING) {
        return naru__fail(-ENOENT, "%s: its receiver makes it, and NARU_EXISTING was given to one",
                          name);
    } else if ((fd = make_socket(name, o)) < 0) {
        return fd;
    }
    if (r == 0 && place->abstract && !(o->flags & NARU_ANY_USER)) { /* before anything can come */
        r = naru__os_set_number(fd, SOL_SOCKET, SO_PASSCRED, 1);
        if (r < 0)
            naru__fail(r, "%s: credentials cannot be asked for: %s", name, naru__errno_text(r));
    }
    if (r == 0 && ours)
        r = naru__unix_bind(fd, SOCK_DGRAM, name, o->mode, place, ret_file);
    if (r == 0 && ours && !place->abstract)
        place->directory = NARU__NO_FD; /* the file's now */
    if (r < 0)
        naru__os_close(fd);
    return r < 0 ? r : fd;
}

/* A sender needs nobody yet, unless it was told to. */
static int join_first(struct naru_datagram *d, unsigned flags)
{
    int r = join(d);
    if (r == -ECONNREFUSED && flags & NARU_EXISTING)
        return -ENOENT;
    if ((r == -ECONNREFUSED || r == -ENOENT) && !(flags & NARU_EXISTING)) {
        atomic_store_explicit(&d->apart, true, memory_order_relaxed);
        return 0;
    }
    return r;
}

static int open_at(const struct naru_url *url, struct unix_place *place, int role,
                   const struct naru_queue_options *o, naru_channel **ret_c)
{
    struct naru_datagram_parts p = {.name = url->text,
                                    .role = role,
                                    .in = NARU__NO_FD,
                                    .out = NARU__NO_FD,
                                    .capacity = o->capacity,
                                    .max_message = o->max_message,
                                    .max_taken = o->max_taken,
                                    .own_users = place->abstract && role & NARU_RECV &&
                                                 !(o->flags & NARU_ANY_USER),
                                    .flags = o->flags,
                                    .file = {.directory = NARU__NO_FD}};
    struct naru_datagram *d;
    int r = 0;
    if (role & NARU_RECV)
        r = p.in = bind_here(url->text, place, o, &p.file);
    if (r >= 0 && role & NARU_SEND)
        r = p.out = make_socket(url->text, o);
    if (r >= 0)
        r = naru__datagram_new(&datagrams, &p, &d);
    if (r < 0) {
        if (p.file.directory >= 0) /* this call's own, under the directory's lock */
            (void)naru__os_unlink_at(p.file.directory, p.file.name);
        naru__os_close(p.file.directory);
        naru__os_close(p.in);
        naru__os_close(p.out);
        return r;
    }
    if (role & NARU_SEND)
        r = join_first(d, o->flags);
    if (r < 0) {
        if (d->file.directory >= 0)
            (void)naru__os_unlink_at(d->file.directory, d->file.name);
        d->mq.channel.ops->close(&d->mq.channel, true);
        return r;
    }
    *ret_c = &d->mq.channel;
    return 0;
}

static int datagram_open(const struct naru_url *url, int role, const struct naru_queue_options *o,
                         naru_channel **ret_c)
{
    struct unix_place place;
    if (o->messages)
        return naru__fail(-EOPNOTSUPP,
                          "%s: .messages cannot be asked for: net.unix.max_dgram_qlen says how "
                          "many a socket holds",
                          url->text);
    int r = naru__unix_place(url, &place);
    if (r < 0)
        return r;
    r = open_at(url, &place, role, o, ret_c);
    naru__unix_leave(&place);
    return r;
}

const struct naru_transport naru__unix_datagram_transport = {
    .size = sizeof naru__unix_datagram_transport,
    .scheme = "unix+dgram",
    .queue_open = datagram_open,
    .remove = naru__unix_remove,
};
