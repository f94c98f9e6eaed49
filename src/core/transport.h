/* SPDX-License-Identifier: MIT */
/* transport.h - the contract between the public functions and the transports.
 *
 * A transport is a directory of src/transport and one row of the table in src/api/transports.c.
 * The public functions have checked handles, options, types, sizes and directions before a slot is
 * called; a slot that is NULL means -EOPNOTSUPP. Deadlines are absolute (base/clock.h). Every
 * failure leaves a sentence. */
#ifndef NARU_CORE_TRANSPORT_H
#define NARU_CORE_TRANSPORT_H

#include "base/url.h"
#include "core/handle.h"
#include "naru/channel.h"
#include "naru/stream.h"

/* ---- streams ---- */

struct naru_stream_ops {
    size_t size;
    /* Bytes, at least one, waiting till the deadline; 0 at the end. Only the reading thread calls.
     */
    ssize_t (*read)(naru_stream *, void *buf, size_t n, int64_t deadline);
    /* Bytes taken by the kernel, at least one. Only the writing thread calls. */
    ssize_t (*write)(naru_stream *, const void *buf, size_t n, int64_t deadline);
    /* Waits until nothing written is unread. Writing thread. */
    int (*flush)(naru_stream *, int64_t deadline);
    /* Never blocks. `how` has only directions that the end has. */
    int (*shutdown)(naru_stream *, int how);
    /* Descriptors with bytes. NULL: the medium carries none. n and n_fds are checked. */
    ssize_t (*send_fds)(naru_stream *, const void *buf, size_t n, const int *fds, size_t n_fds,
                        int64_t deadline);
    ssize_t (*recv_fds)(naru_stream *, void *buf, size_t n, int *ret_fds, size_t max_fds,
                        size_t *ret_n_fds, int64_t deadline);
    /* Frees everything. `owner`: this process opened it; else free the copy alone. */
    void (*close)(naru_stream *, bool owner);
};

enum { NARU__FDS_MAX = 253 }; /* SCM_MAX_FD */

/* Among the flags of naru_stream_options and naru_listen_options, where a carrier (rpc/carrier.h)
 * opens and listens: HTTP/2 is spoken on the stream, so TLS offers "h2" (ALPN) and takes nothing
 * else. Such a stream is asked with NARU__AT_ONCE alone, before it is connected, too
 * (NARU_CONNECTING), and while it still shakes hands: read and write then say -EAGAIN, and `watch`
 * of its handle names what either waits for. */
#define NARU__HTTP2 (1u << 30)
/* Of a client: the name's i-th address and no other; -ENXIO: it has not so many. */
#define NARU__ADDRESS(i) (((unsigned)(i) + 1) << 24)
#define NARU__ADDRESS_OF(flags) ((flags) >> 24 & 15)

/* Embedded first in each transport's own struct. */
struct naru_stream {
    struct naru_handle handle;
    const struct naru_stream_ops *ops;
};

/* ---- channels ---- */

struct naru_outgoing {
    uint32_t type;
    uint32_t signature; /* 0: none */
    const struct iovec *vector;
    size_t n;    /* pieces, at most 1024 */
    size_t size; /* their sum, at most limits.max_message as far as it is known */
};

/* Copies n of its bytes, from byte `from` of the whole on. */
void naru__gather(const struct naru_outgoing *, uint64_t from, uint8_t *to, uint64_t n);

struct naru_channel_ops {
    size_t size;
    /* Sends one message whole, or nothing of it. Sending thread. */
    int (*send)(naru_channel *, const struct naru_outgoing *, int64_t deadline);
    /* How many went, at least one, else the error. NULL: a loop over send. Sending thread. */
    ssize_t (*send_many)(naru_channel *, const struct naru_message *, size_t n, int64_t deadline);
    /* The next message that `select` wants, in place. The caller has checked max_taken. Leaves
     * .internal for its own use; internal[3] is the signature. Receiving thread, as all below. */
    int (*take)(naru_channel *, int64_t select, int64_t deadline, struct naru_message *ret_message);
    /* As take, of what lies in memory already, up to n, without a system call. How many; NULL: the
     * medium keeps nothing here. */
    size_t (*take_ready)(naru_channel *, int64_t select, struct naru_message *ret_messages,
                         size_t n);
    /* Copies the next message out at once; as take, and -EMSGSIZE with ret_info->size. NULL: take,
     * copy, release. ret_info is never NULL here. */
    ssize_t (*recv)(naru_channel *, int64_t select, void *buf, size_t cap,
                    struct naru_info *ret_info, int64_t deadline);
    /* End taken messages: acknowledged, or given back to their places and marked. */
    void (*release)(naru_channel *, struct naru_message *, size_t n);
    void (*give_back)(naru_channel *, struct naru_message *, size_t n);
    /* Memory to fill in place. NULL: a buffer of the handle's (core/channel.c). Sending thread. */
    int (*reserve)(naru_channel *, size_t size, int64_t deadline, void **ret_data);
    int (*commit)(naru_channel *, void *data, size_t size, uint32_t type);
    void (*abandon)(naru_channel *, void *data);
    /* Descriptors with a message. NULL: the medium carries none. n_fds is checked; ret_info and
     * ret_n_fds are never NULL, and are set with -EMSGSIZE, too. recv and take close those that
     * came with what they hand out. */
    int (*send_fds)(naru_channel *, const struct naru_outgoing *, const int *fds, size_t n_fds,
                    int64_t deadline);
    ssize_t (*recv_fds)(naru_channel *, int64_t select, void *buf, size_t cap,
                        struct naru_info *ret_info, int *ret_fds, size_t max_fds, size_t *ret_n_fds,
                        int64_t deadline);
    /* A small message, without waiting: 0 also if only a part of it could be written; the rest then
     * goes first with the next post, send or settle. -EAGAIN: nothing of it went. NULL: send never
     * takes a part. Sending thread. */
    int (*post)(naru_channel *, const struct naru_outgoing *);
    int (*settle)(naru_channel *); /* 0: no rest of a post is left; -EAGAIN. NULL: never one */
    int (*flush)(naru_channel *, int64_t deadline);
    int (*shutdown)(naru_channel *);
    int (*wait_peers)(naru_channel *, unsigned n, int64_t deadline);
    void (*close)(naru_channel *, bool owner);
};

struct naru_channel {
    struct naru_handle handle;
    const struct naru_channel_ops *ops;
    bool selects;         /* the medium, or naru for it, can select by type */
    size_t max_message;   /* the medium's and this end's limit for sending */
    const char *max_name; /* that limit's name, for the sentence */
    unsigned max_taken;
    unsigned taken; /* receiving thread's */
    void *reserved; /* sending thread's: the open reservation */
    size_t reserved_size;
};

/* ---- listeners, of streams and of channels ---- */

struct naru_listener;

struct naru_listener_ops {
    size_t size;
    /* Exactly one of the two, as the handle's noun says. */
    int (*accept_stream)(struct naru_listener *, int64_t deadline, naru_stream **ret_s);
    int (*accept_channel)(struct naru_listener *, int64_t deadline, naru_channel **ret_c);
    void (*close)(struct naru_listener *, bool owner);
};

/* naru_stream_listener and naru_channel_listener alike. */
struct naru_listener {
    struct naru_handle handle;
    const struct naru_listener_ops *ops;
};

/* ---- the table's rows ---- */

struct naru_transport {
    size_t size;
    const char *scheme;
    bool one_descriptor; /* an end that is passed on is one descriptor for both directions */
    int (*stream_pair)(const struct naru_stream_options *, naru_stream **ret_a,
                       naru_stream **ret_b);
    int (*stream_open)(const struct naru_url *, int mode, const struct naru_stream_options *,
                       int64_t deadline, naru_stream **ret_s);
    int (*stream_listen)(const struct naru_url *, const struct naru_listen_options *,
                         struct naru_listener **ret_l);
    int (*stream_inherit)(const char *name, const int fds[2], naru_stream **ret_s);
    int (*channel_pair)(const struct naru_channel_options *, naru_channel **ret_a,
                        naru_channel **ret_b);
    int (*channel_connect)(const struct naru_url *, const struct naru_channel_options *,
                           int64_t deadline, naru_channel **ret_c);
    int (*channel_listen)(const struct naru_url *, const struct naru_listen_options *,
                          struct naru_listener **ret_l);
    int (*channel_inherit)(const char *name, const int fds[2], const struct naru_channel_options *,
                           naru_channel **ret_c);
    int (*queue_open)(const struct naru_url *, int role, const struct naru_queue_options *,
                      naru_channel **ret_c);
    int (*topic_open)(const struct naru_url *, int role, const struct naru_topic_options *,
                      naru_channel **ret_c);
    int (*remove)(const struct naru_url *);
};

/* A transport's ends take ownership of descriptors given to *_inherit only on success. */

/* Does `select` want a message of this type? With -t the lowest such type comes first. */
bool naru__select_wants(int64_t select, uint32_t type);
int naru__select_check(int64_t select);

#endif
