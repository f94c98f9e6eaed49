/* SPDX-License-Identifier: MIT */
/* posix_mq.c - `posix-mq:/name`: messages as they are, the type as priority + 1.
 *
 * The kernel's queue is a descriptor that poll knows, so it is waited for as any other. What the
 * sizes of a queue are, its creator says; every later opener's options must agree. */
#include "transport/posix_mq/posix_mq.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "core/names.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/mqueue.h"
#include "os/poll.h"
#include "transport/common/mq.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <unistd.h>

enum { TYPE_MAX = 32768 }; /* MQ_PRIO_MAX of the kernel */

struct posix_mq {
    struct naru_mq mq;
    int fd;
    struct mq_attr attributes;
};

/* What was asked for when a queue is created, or must agree when it is there. */
struct wish {
    const char *name; /* the URL */
    const char *path; /* "/name" */
    int access;
    const struct naru_queue_options *o;
};

static const char *name_of(const struct posix_mq *q)
{
    return q->mq.channel.handle.name;
}

/* ---- messages ---- */

static int mq_get(struct naru_mq *mq, int64_t select, struct naru_parcel *p, bool block)
{
    struct posix_mq *q = (struct posix_mq *)mq;
    unsigned priority;
    (void)select, (void)block;
    ssize_t n = naru__os_mq_receive(q->fd, p->data, p->room, &priority);
    if (n == -EAGAIN)
        return -EAGAIN;
    if (n < 0)
        return naru__fail((int)n, "%s: receiving failed: %s", name_of(q), naru__errno_text((int)n));
    p->size = (size_t)n;
    p->type = priority + 1;
    return 0;
}

static int mq_put(struct naru_mq *mq, const struct naru_outgoing *out, bool block)
{
    struct posix_mq *q = (struct posix_mq *)mq;
    (void)block;
    if (out->type > TYPE_MAX)
        return naru__fail(-EINVAL,
                          "%s: the message type %" PRIu32
                          " is above %d: here a type is a priority + 1, and MQ_PRIO_MAX is %d",
                          name_of(q), out->type, TYPE_MAX, TYPE_MAX);
    const void *data = out->n == 1 ? out->vector->iov_base : naru__mq_gather(mq, out, 0);
    if (!data && out->n != 1)
        return -ENOMEM;
    int r = naru__os_mq_send(q->fd, out->size ? data : "", out->size, out->type - 1);
    if (r == 0 || r == -EAGAIN)
        return r;
    return naru__fail(r, "%s: sending failed: %s", name_of(q), naru__errno_text(r));
}

static long mq_unread(struct naru_mq *mq)
{
    struct posix_mq *q = (struct posix_mq *)mq;
    struct mq_attr now;
    int r = naru__os_mq_attributes(q->fd, &now);
    if (r < 0)
        return naru__fail(r, "%s: asking what is in it failed: %s", name_of(q),
                          naru__errno_text(r));
    return now.mq_curmsgs;
}

static int mq_full(struct naru_mq *mq, int code)
{
    const struct posix_mq *q = (struct posix_mq *)mq;
    struct mq_attr now;
    if (naru__os_mq_attributes(q->fd, &now) < 0)
        return code;
    return naru__fail(
        code,
        "%s: the time given passed and there was no room: mq_maxmsg is %ld, %ld "
        "messages are in it; receive some, or make it anew with more .messages, "
        "bounded by fs.mqueue.msg_max, %" PRId64 " (`sysctl -w fs.mqueue.msg_max=N` raises it)",
        name_of(q), now.mq_maxmsg, now.mq_curmsgs, naru__limit_sysctl("fs/mqueue/msg_max"));
}

static void mq_close_fd(struct naru_mq *mq)
{
    naru__os_close(((struct posix_mq *)mq)->fd);
}

static const struct naru_mq_ops mq_ops = {.get = mq_get,
                                          .put = mq_put,
                                          .step = naru__wait_step,
                                          .unread = mq_unread,
                                          .full = mq_full,
                                          .close = mq_close_fd};

static int queue_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    const struct posix_mq *q = (struct posix_mq *)h;
    ret_watch->fds[0] = (struct pollfd){
        .fd = q->fd,
        .events = (short)((events & NARU_IN ? POLLIN : 0) | (events & NARU_OUT ? POLLOUT : 0))};
    ret_watch->n = 1;
    return 0;
}

static void queue_stats(struct naru_handle *h, struct naru_stats *stats)
{
    const struct posix_mq *q = (struct posix_mq *)h;
    stats->capacity = (uint64_t)q->attributes.mq_maxmsg * (uint64_t)q->attributes.mq_msgsize;
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = queue_watch,
    .ready = naru__mq_ready,
    .stats = queue_stats,
};

/* ---- opening ---- */

static int forbidden(const char *name, const char *path, const char *what, int code)
{
    struct stat st;
    if (naru__os_mq_look(path, &st) == 0)
        return naru__fail(
            code,
            "%s: %s is forbidden: it belongs to uid %u, gid %u, mode %04o, and this "
            "is uid %u; its owner can chmod it there, or make it anew with another .mode",
            name, what, st.st_uid, st.st_gid, st.st_mode & 07777u, geteuid());
    return naru__fail(code,
                      "%s: %s is forbidden to uid %u; whose it is a mount of mqueue would show "
                      "(`mount -t mqueue none /dev/mqueue`, then `ls -l /dev/mqueue`)",
                      name, what, geteuid());
}

static int cannot(const char *name, const char *path, const char *what, int code)
{
    if (code == -EACCES || code == -EPERM)
        return forbidden(name, path, what, code);
    return naru__fail(code, "%s: %s failed: %s%s", name, what, naru__errno_text(code),
                      naru__limit_of_files(code).text);
}

static int disagree(const struct wish *w, const char *what, uint64_t has, const char *option,
                    uint64_t asked)
{
    return naru__fail(-EEXIST, "%s is there with %s %" PRIu64 ", and %s asks for %" PRIu64, w->name,
                      what, has, option, asked);
}

static int agree_sizes(const struct wish *w, const struct mq_attr *a)
{
    uint64_t messages = (uint64_t)a->mq_maxmsg, size = (uint64_t)a->mq_msgsize;
    if (w->o->messages && w->o->messages != messages)
        return disagree(w, "mq_maxmsg", messages, ".messages", w->o->messages);
    if (w->o->max_message && w->o->max_message != size)
        return disagree(w, "mq_msgsize", size, ".max_message", w->o->max_message);
    if (w->o->capacity && !w->o->messages && (w->o->capacity - 1) / size + 1 != messages)
        return disagree(w, "room for so many bytes:", messages * size, ".capacity", w->o->capacity);
    return 0;
}

/* The umask takes rights away that the maker then gives: with fewer than asked, look again. */
static int agrees(const struct wish *w, int fd, const struct mq_attr *a)
{
    const unsigned asked = w->o->mode & 07777u;
    struct stat st;
    int r;
    for (int tries = 0; tries < NARU__SETTLE_MS; tries++) {
        r = naru__os_fstat(fd, &st);
        if (r < 0)
            return cannot(w->name, w->path, "looking at it", r);
        if ((st.st_mode & 07777u) == asked || st.st_mode & 07777u & ~asked)
            break;
        (void)naru__os_poll(NULL, 0, naru__now() + NARU_MS);
    }
    if (asked && asked != (st.st_mode & 07777u))
        return naru__fail(-EEXIST, "%s is there with mode %04o, and .mode asks for %04o", w->name,
                          st.st_mode & 07777u, asked);
    return agree_sizes(w, a);
}

/* Of what is not asked for, the kernel's defaults. False: all of it. */
static bool attributes_of(const struct naru_queue_options *o, struct mq_attr *ret_a)
{
    int64_t messages = naru__limit_sysctl("fs/mqueue/msg_default");
    int64_t most = naru__limit_sysctl("fs/mqueue/msg_max");
    int64_t size = naru__limit_sysctl("fs/mqueue/msgsize_default");
    int64_t largest = naru__limit_sysctl("fs/mqueue/msgsize_max");
    messages = messages < 1 ? 10 : most > 0 && most < messages ? most : messages;
    size = size < 1 ? 8192 : largest > 0 && largest < size ? largest : size;
    if (o->max_message)
        size = (int64_t)o->max_message;
    if (o->capacity)
        messages = (int64_t)((o->capacity - 1) / (size_t)size + 1);
    if (o->messages)
        messages = o->messages;
    *ret_a = (struct mq_attr){.mq_maxmsg = messages > INT_MAX ? INT_MAX : (long)messages,
                              .mq_msgsize = (long)size};
    return o->max_message || o->capacity || o->messages;
}

static int create(const struct wish *w)
{
    struct mq_attr a;
    bool asked = attributes_of(w->o, &a);
    int fd = naru__os_mq_create(w->path, w->access, w->o->mode ? w->o->mode & 07777 : 0600,
                                asked ? &a : NULL);
    if (fd >= 0 || fd == -EEXIST)
        return fd;
    if (fd == -EACCES || fd == -EPERM)
        return cannot(w->name, w->path, "creating the queue", fd);
    return naru__fail(fd, "%s: creating the queue failed: %s%s", w->name, naru__errno_text(fd),
                      naru__limit_of_mqueue(fd, a.mq_maxmsg, a.mq_msgsize).text);
}

static int open_existing(const struct wish *w)
{
    int fd = naru__os_mq_open(w->path, w->access);
    if (fd >= 0 && w->o->flags & NARU_EXCLUSIVE) {
        naru__os_close(fd);
        fd = -EEXIST;
    }
    if (w->o->flags & NARU_EXCLUSIVE && (fd == -EEXIST || fd == -EACCES))
        return naru__fail(-EEXIST, "%s is there already, and NARU_EXCLUSIVE was given", w->name);
    if (fd < 0 && fd != -ENOENT)
        return cannot(w->name, w->path, "opening the queue", fd);
    return fd;
}

/* The descriptor. *ret_created: this call made the queue. */
static int open_or_create(const struct wish *w, bool *ret_created)
{
    *ret_created = false;
    for (int tries = 0; tries < 100; tries++) { /* others may create and remove it meanwhile */
        int fd = open_existing(w);
        if (fd != -ENOENT)
            return fd;
        if (w->o->flags & NARU_EXISTING)
            return naru__fail(fd, "%s is not there, and NARU_EXISTING was given", w->name);
        fd = create(w);
        *ret_created = fd >= 0;
        if (fd != -EEXIST)
            return fd;
    }
    return naru__fail(-EBUSY, "%s is created and removed all the time by somebody else", w->name);
}

static int attach(struct posix_mq *q, const struct wish *w, bool *ret_created)
{
    q->fd = open_or_create(w, ret_created);
    if (q->fd < 0)
        return q->fd;
    int r = naru__os_mq_attributes(q->fd, &q->attributes);
    if (r < 0)
        return cannot(w->name, w->path, "asking for its sizes", r);
    q->mq.room = (size_t)q->attributes.mq_msgsize;
    q->mq.channel.max_message = q->mq.room;
    q->mq.channel.max_name = w->o->max_message
                                 ? ".max_message, the queue's mq_msgsize,"
                                 : "the queue's mq_msgsize (of a new one: .max_message, bounded by "
                                   "fs.mqueue.msgsize_max)";
    return *ret_created ? 0 : agrees(w, q->fd, &q->attributes);
}

static int open_queue(const struct naru_url *url, int role, const struct naru_queue_options *o,
                      naru_channel **ret_c)
{
    static const int access[] = {0, O_WRONLY, O_RDONLY, O_RDWR};
    bool created = false;
    struct wish w = {.name = url->text,
                     .access = access[(role & NARU_SEND ? 1 : 0) | (role & NARU_RECV ? 2 : 0)],
                     .o = o};
    int r = naru__posix_name(url, "queue", &w.path);
    if (r < 0)
        return r;
    struct posix_mq *q = naru__alloc(sizeof *q);
    if (!q)
        return -ENOMEM;
    q->fd = NARU__NO_FD;
    q->mq.by_priority = true;
    r = naru__mq_init(&q->mq, &mq_ops, &handle_ops, url->text, role, o->max_taken);
    if (r == 0)
        r = attach(q, &w, &created);
    if (r < 0) {
        naru__mq_free(&q->mq);
        if (created)
            (void)naru__os_mq_unlink(w.path);
        return r;
    }
    *ret_c = &q->mq.channel;
    return 0;
}

static int remove_queue(const struct naru_url *url)
{
    const char *path;
    int r = naru__posix_name(url, "queue", &path);
    if (r < 0)
        return r;
    r = naru__os_mq_unlink(path);
    if (r == -ENOENT)
        return naru__fail(r, "%s is not there", url->text);
    return r < 0 ? cannot(url->text, path, "removing", r) : 0;
}

const struct naru_transport naru__posix_mq_transport = {
    .size = sizeof naru__posix_mq_transport,
    .scheme = "posix-mq",
    .queue_open = open_queue,
    .remove = remove_queue,
};
