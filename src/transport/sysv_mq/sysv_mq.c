/* SPDX-License-Identifier: MIT */
/* sysv_mq.c - `sysv-mq:`: messages as they are, the type as mtype, selected by the kernel.
 *
 * The kernel waits for such a queue in msgrcv(2) and msgsnd(2) alone: without a time limit, and no
 * descriptor tells. So a wait for ever is that one call, unless the opener wants to be able to
 * cancel; every other wait looks again after 1 ms, rising to 10 ms, and naru_fd is a timer of that
 * period, which each -EAGAIN arms. */
#include "transport/sysv_mq/sysv_mq.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "core/names.h"
#include "os/limit.h"
#include "os/poll.h"
#include "os/sysv.h"
#include "transport/common/mq.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/ipc.h>
#include <time.h>
#include <unistd.h>

enum { PERIOD_MIN_NS = 1000000, PERIOD_MAX_NS = 10000000, ROOM_AT_FIRST = 8192 };

/* When naru_fd is to look again, for one direction. Written by its thread, read by both. */
struct again {
    _Atomic int64_t due; /* 0: at once */
    int64_t period;
};

struct sysv_mq {
    struct naru_mq mq;
    int id;
    struct again again[2]; /* in, out */
};

/* What a URL says: a key, and how it was written. */
struct place {
    const char *name;
    key_t key;
};

static const char *name_of(const struct sysv_mq *q)
{
    return q->mq.channel.handle.name;
}

/* ---- looking again ---- */

static void look_later(struct again *a)
{
    a->period = a->period == 0 ? PERIOD_MIN_NS : a->period * 2;
    if (a->period > PERIOD_MAX_NS)
        a->period = PERIOD_MAX_NS;
    atomic_store(&a->due, naru__now() + a->period);
}

static void look_at_once(struct again *a)
{
    if (a->period == 0)
        return;
    a->period = 0;
    atomic_store(&a->due, 0);
}

static int step(struct naru_wait *wait)
{
    if (wait->tick == 0)
        wait->tick = PERIOD_MIN_NS / 2; /* which the first step doubles */
    return naru__wait_tick(wait);
}

static int queue_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct sysv_mq *q = (struct sysv_mq *)h;
    for (int d = 0; d < 2; d++) {
        int64_t due = atomic_load(&q->again[d].due);
        if (events & (d ? NARU_OUT : NARU_IN) && due < ret_watch->again)
            ret_watch->again = due;
    }
    return 0;
}

/* ---- messages ---- */

/* EINVAL of a queue that was there means that it is not any more: the number is used once. */
static int failed(const struct sysv_mq *q, const char *what, int code)
{
    if (code == -EIDRM || code == -EINVAL)
        return naru__fail(-EIDRM, "%s was removed while it was open here", name_of(q));
    return naru__fail(code, "%s: %s failed: %s", name_of(q), what, naru__errno_text(code));
}

/* naru's select as msgrcv has it. */
static long kernel_select(int64_t select, int *flags)
{
    if (select > 0 && select != (int64_t)(uint32_t)select) {
        *flags |= MSG_EXCEPT;
        return (long)(select & NARU_TYPE_MAX);
    }
    return (long)select;
}

static int got(struct sysv_mq *q, struct naru_parcel *p, long type, size_t size)
{
    look_at_once(&q->again[0]);
    if (type > NARU_TYPE_MAX) {
        naru__count(&q->mq.channel.handle.counts.dropped, 1);
        return naru__fail(-EPROTO,
                          "%s: a message of type %ld came, beyond naru's largest, %d; it is "
                          "skipped",
                          name_of(q), type, NARU_TYPE_MAX);
    }
    p->type = (uint32_t)type;
    p->size = size;
    return 0;
}

static int mq_get(struct naru_mq *mq, int64_t select, struct naru_parcel *p, bool block)
{
    struct sysv_mq *q = (struct sysv_mq *)mq;
    int flags = block ? 0 : IPC_NOWAIT;
    long type = kernel_select(select, &flags);
    uint8_t *message = p->data - sizeof type;
    ssize_t n = naru__os_msg_receive(q->id, message, p->room, type, flags);
    if (n >= 0) {
        memcpy(&type, message, sizeof type);
        return got(q, p, type, (size_t)n);
    }
    if (n == -ENOMSG && !block) {
        look_later(&q->again[0]);
        return -EAGAIN;
    }
    if (n == -E2BIG && mq->room < INT_MAX / 2) {
        mq->room *= 2;
        return -E2BIG;
    }
    return n == -EINTR ? (int)n : failed(q, "receiving", (int)n);
}

/* A send was refused: for its size, or because the queue has gone? */
static int refused(struct sysv_mq *q, size_t size)
{
    struct msqid_ds ds;
    struct naru_msg_use use;
    if (naru__os_msg_stat(q->id, &ds) == 0 && naru__os_msg_use(&use) == 0)
        return naru__fail(-EMSGSIZE,
                          "%s: the message has %zu bytes and kernel.msgmax is %" PRId64
                          " now; raise it with `sysctl -w kernel.msgmax=%zu`",
                          name_of(q), size, use.msgmax, size);
    return failed(q, "sending", -EIDRM);
}

static int mq_put(struct naru_mq *mq, const struct naru_outgoing *out, bool block)
{
    struct sysv_mq *q = (struct sysv_mq *)mq;
    long type = (long)out->type;
    uint8_t *message = naru__mq_gather(mq, out, sizeof type);
    if (!message)
        return -ENOMEM;
    memcpy(message, &type, sizeof type);
    int r = naru__os_msg_send(q->id, message, out->size, block ? 0 : IPC_NOWAIT);
    if (r == 0)
        look_at_once(&q->again[1]);
    else if (r == -EAGAIN && !block)
        look_later(&q->again[1]);
    else if (r == -EINVAL)
        return refused(q, out->size);
    else if (r != -EINTR)
        return failed(q, "sending", r);
    return r;
}

static long mq_unread(struct naru_mq *mq)
{
    struct sysv_mq *q = (struct sysv_mq *)mq;
    struct msqid_ds ds;
    int r = naru__os_msg_stat(q->id, &ds);
    return r < 0 ? failed(q, "asking what is in it", r) : (long)ds.msg_qnum;
}

static int mq_full(struct naru_mq *mq, int code)
{
    const struct sysv_mq *q = (struct sysv_mq *)mq;
    struct naru_msg_use use;
    struct msqid_ds ds;
    if (naru__os_msg_stat(q->id, &ds) < 0 || naru__os_msg_use(&use) < 0)
        return code;
    return naru__fail(code,
                      "%s: the time given passed and there was no room: msg_qbytes is %lu, %lu "
                      "bytes in %lu messages are in it; receive some, or make it anew with more "
                      ".capacity, bounded by kernel.msgmnb, %" PRId64
                      " (`sysctl -w kernel.msgmnb=N` raises it)",
                      name_of(q), (unsigned long)ds.msg_qbytes, (unsigned long)ds.__msg_cbytes,
                      (unsigned long)ds.msg_qnum, use.msgmnb);
}

static void mq_close(struct naru_mq *mq)
{
    (void)mq; /* the kernel does not know who uses a queue */
}

static const struct naru_mq_ops mq_ops = {.get = mq_get,
                                          .put = mq_put,
                                          .step = step,
                                          .unread = mq_unread,
                                          .full = mq_full,
                                          .close = mq_close};

static void queue_stats(struct naru_handle *h, struct naru_stats *stats)
{
    struct msqid_ds ds;
    if (naru__os_msg_stat(((struct sysv_mq *)h)->id, &ds) == 0)
        stats->capacity = ds.msg_qbytes;
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = queue_watch,
    .ready = naru__mq_ready,
    .stats = queue_stats,
};

static int place_of(const struct naru_url *url, struct place *ret_place)
{
    ret_place->name = url->text;
    return naru__sysv_key(url, "queue", &ret_place->key);
}

/* ---- opening ---- */

static int cannot(const char *name, int id, const char *what, int code)
{
    struct msqid_ds ds;
    if ((code == -EACCES || code == -EPERM) && id >= 0 && naru__os_msg_stat(id, &ds) == 0)
        return naru__fail(code,
                          "%s: %s is forbidden: it belongs to uid %u, gid %u, mode %04o, and this "
                          "is uid %u",
                          name, what, ds.msg_perm.uid, ds.msg_perm.gid,
                          (unsigned)ds.msg_perm.mode & 0777u, geteuid());
    return naru__fail(code, "%s: %s failed: %s%s", name, what, naru__errno_text(code),
                      naru__limit_of_msg(code, 0).text);
}

/* A queue that is new and unused may be about to get its room. */
static int stat_settled(int id, size_t capacity, struct msqid_ds *ret_ds)
{
    for (int tries = 0;; tries++) {
        int r = naru__os_msg_stat(id, ret_ds);
        if (r < 0 || !capacity || ret_ds->msg_qbytes == capacity || ret_ds->msg_stime ||
            ret_ds->msg_rtime || time(NULL) > ret_ds->msg_ctime + 1 || tries == NARU__SETTLE_MS)
            return r;
        (void)naru__os_poll(NULL, 0, naru__now() + NARU_MS);
    }
}

static int agrees(const struct place *at, int id, const struct naru_queue_options *o)
{
    struct msqid_ds ds;
    if (!o->mode && !o->capacity)
        return 0;
    int r = stat_settled(id, o->capacity, &ds);
    if (r < 0)
        return cannot(at->name, id, "looking at it", r);
    unsigned mode = (unsigned)ds.msg_perm.mode & 0777u;
    if (o->mode && (o->mode & 0777u) != mode)
        return naru__fail(-EEXIST, "%s is there with mode %04o, and .mode asks for %04o", at->name,
                          mode, o->mode & 0777u);
    if (o->capacity && o->capacity != ds.msg_qbytes)
        return naru__fail(-EEXIST, "%s is there with msg_qbytes %lu, and .capacity asks for %zu",
                          at->name, (unsigned long)ds.msg_qbytes, o->capacity);
    return 0;
}

/* The queue that is there, if this user may do with it what the role is. */
static int find(const struct place *at, int role, const struct naru_queue_options *o)
{
    int id = naru__os_msg_get(at->key, 0);
    if (id == -ENOENT)
        return id;
    if (id < 0)
        return cannot(at->name, -1, "opening the queue", id);
    if (o->flags & NARU_EXCLUSIVE)
        return naru__fail(-EEXIST, "%s is there already, and NARU_EXCLUSIVE was given", at->name);
    int r =
        naru__os_msg_get(at->key, (role & NARU_RECV ? 0400 : 0) | (role & NARU_SEND ? 0200 : 0));
    if (r == -ENOENT)
        return r;
    if (r < 0)
        return cannot(at->name, id, "opening the queue", r);
    id = r;
    r = agrees(at, id, o);
    return r < 0 ? r : id;
}

static int set_capacity(const struct place *at, int id, size_t bytes)
{
    struct msqid_ds ds;
    int r = naru__os_msg_stat(id, &ds);
    if (r < 0)
        return cannot(at->name, id, "looking at it", r);
    ds.msg_qbytes = bytes;
    r = naru__os_msg_set(id, &ds);
    if (r < 0)
        return naru__fail(r, "%s: giving it room for %zu bytes failed: %s%s", at->name, bytes,
                          naru__errno_text(r), naru__limit_of_msg(r, bytes).text);
    return 0;
}

static int create(const struct place *at, const struct naru_queue_options *o)
{
    int mode = o->mode ? (int)(o->mode & 0777) : 0600;
    int id = naru__os_msg_get(at->key, IPC_CREAT | IPC_EXCL | mode);
    if (id == -EEXIST)
        return id;
    if (id < 0)
        return cannot(at->name, -1, "creating the queue", id);
    int r = o->capacity ? set_capacity(at, id, o->capacity) : 0;
    if (r < 0) {
        (void)naru__os_msg_remove(id);
        return r;
    }
    return id;
}

static int find_or_create(const struct place *at, int role, const struct naru_queue_options *o,
                          bool *ret_created)
{
    *ret_created = false;
    for (int tries = 0; tries < 100; tries++) { /* others may create and remove it meanwhile */
        int id = find(at, role, o);
        if (id != -ENOENT)
            return id;
        if (o->flags & NARU_EXISTING)
            return naru__fail(id, "%s is not there, and NARU_EXISTING was given", at->name);
        id = create(at, o);
        *ret_created = id >= 0;
        if (id != -EEXIST)
            return id;
    }
    return naru__fail(-EBUSY, "%s is created and removed all the time by somebody else", at->name);
}

/* The largest message: of the kernel, of this queue, of this end. */
static int bound(struct sysv_mq *q, const struct naru_queue_options *o)
{
    struct naru_channel *c = &q->mq.channel;
    struct naru_msg_use use;
    struct msqid_ds ds;
    int r = naru__os_msg_use(&use);
    if (r == 0)
        r = naru__os_msg_stat(q->id, &ds);
    if (r < 0)
        return cannot(name_of(q), q->id, "asking for its limits", r);
    c->max_message = (size_t)use.msgmax;
    c->max_name = "kernel.msgmax (`sysctl -w kernel.msgmax=N` raises it)";
    if (ds.msg_qbytes < c->max_message) {
        c->max_message = ds.msg_qbytes;
        c->max_name = "the queue's msg_qbytes (of a new one: .capacity, or kernel.msgmnb)";
    }
    if (o->max_message && o->max_message < c->max_message) {
        c->max_message = o->max_message;
        c->max_name = "this end's .max_message";
    }
    return 0;
}

static int new_queue(const char *name, int id, int role, const struct naru_queue_options *o,
                     naru_channel **ret_c)
{
    struct sysv_mq *q = naru__alloc(sizeof *q);
    if (!q)
        return -ENOMEM;
    q->id = id;
    q->mq.room = ROOM_AT_FIRST;
    q->mq.blocks = !o->cancellable;
    q->mq.channel.selects = true;
    int r = naru__mq_init(&q->mq, &mq_ops, &handle_ops, name, role, o->max_taken);
    if (r == 0)
        r = bound(q, o);
    if (r < 0) {
        naru__mq_free(&q->mq);
        return r;
    }
    *ret_c = &q->mq.channel;
    return 0;
}

static int open_queue(const struct naru_url *url, int role, const struct naru_queue_options *o,
                      naru_channel **ret_c)
{
    struct place at;
    bool created;
    int r = place_of(url, &at);
    if (r == 0 && o->messages)
        r = naru__fail(-EINVAL,
                       "%s: .messages is %u, and a System V queue counts bytes: use .capacity",
                       url->text, o->messages);
    if (r < 0)
        return r;
    int id = find_or_create(&at, role, o, &created);
    if (id < 0)
        return id;
    r = new_queue(url->text, id, role, o, ret_c);
    if (r < 0 && created)
        (void)naru__os_msg_remove(id);
    return r;
}

static int remove_queue(const struct naru_url *url)
{
    struct place at;
    int r = place_of(url, &at);
    if (r < 0)
        return r;
    int id = naru__os_msg_get(at.key, 0);
    r = id < 0 ? id : naru__os_msg_remove(id);
    if (r == -ENOENT || r == -EIDRM || (id >= 0 && r == -EINVAL))
        return naru__fail(-ENOENT, "%s is not there", url->text);
    return r < 0 ? cannot(url->text, id, "removing", r) : 0;
}

const struct naru_transport naru__sysv_mq_transport = {
    .size = sizeof naru__sysv_mq_transport,
    .scheme = "sysv-mq",
    .queue_open = open_queue,
    .remove = remove_queue,
};
