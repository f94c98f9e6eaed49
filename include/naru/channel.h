/* SPDX-License-Identifier: MIT */
/* naru/channel.h - channels: messages {type, bytes} in three shapes.
 *
 *   connection  one to one, two-way       naru_channel_pair, naru_channel_connect
 *   queue       N senders, M receivers    naru_queue_open
 *   topic       every subscriber sees all naru_topic_open
 *
 * A message is whole or absent. On pipes, FIFOs and message queues it is in the kernel when send
 * returns.
 *
 * Selecting: every receiving call takes `select`: 0 any message; t exactly type t; -t the lowest
 * type <= t; NARU_EXCEPT(t) any type but t. What is passed over waits in the handle's stash
 * (.stash bytes) and keeps its place. On sysv-mq: the kernel selects, and it waits there; posix-mq:
 * cannot select.
 *
 * Thread: one sending and one receiving thread at once, and naru_cancel from anywhere. */
#ifndef NARU_CHANNEL_H
#define NARU_CHANNEL_H

#include <naru/common.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct naru_channel naru_channel;
typedef struct naru_channel_listener naru_channel_listener;
struct naru_journal_options; /* naru/journal.h */

#define NARU_TYPE_MAX INT32_MAX
#define NARU_MESSAGE_MAX (UINT64_C(1) << 30) /* 1 GiB on pipes, FIFOs and shm: */
#define NARU_EXCEPT(t) ((int64_t)(t) | (INT64_C(1) << 40))

/* naru_info.flags */
#define NARU_REDELIVERED 1u /* an earlier receiver died with it, or gave it back */

struct naru_info {
    uint32_t type, flags;
    uint64_t size;      /* of the message; on -EMSGSIZE the size needed */
    uint64_t sequence;  /* per sender on queues, per direction on connections; from 1; 0 unknown */
    uint64_t sender;    /* which sender: its own number while it has the channel open; 0 unknown */
    uint64_t missed;    /* messages a lossy subscriber did not get before this one */
    uint64_t time;      /* ns since 1970 when it was sent, 0 unknown */
    uint64_t reserved[2];
};

/* A message in place. Valid until released, returned, or its channel is closed. */
struct naru_message {
    void *data;
    size_t size;
    struct naru_info info;
    uint64_t internal[4]; /* naru's own */
};

struct naru_channel_options {
    size_t size;         /* sizeof(struct naru_channel_options) */
    size_t capacity;     /* bytes each direction should hold in the kernel, 0: its default */
    size_t max_message;  /* largest message this end takes, told to the other; 0: 1 GiB */
    size_t stash;        /* bytes that select may pass over and keep, 0: 1 MiB */
    unsigned max_taken;  /* messages taken and not yet released, 0: 1024 */
    unsigned flags;      /* NARU_DELAY, NARU_ANY_USER; NARU_SPIN, NARU_SLEEP */
    int64_t keepalive;   /* TCP, as struct naru_stream_options says */
    int64_t user_timeout;
    const struct naru_tls_options *tls; /* of tls:, NULL: the system's authorities */
};

struct naru_queue_options {
    size_t size;         /* sizeof(struct naru_queue_options) */
    size_t capacity;     /* bytes the queue should hold, 0: the medium's default */
    size_t max_message;  /* largest message this end takes or sends, 0: the medium's */
    size_t stash;        /* as above */
    unsigned max_taken;  /* as above */
    unsigned flags;      /* NARU_EXCLUSIVE, NARU_EXISTING, NARU_ANY_USER; NARU_SPIN, NARU_SLEEP;
                          * NARU_NO_READ_AHEAD */
    mode_t mode;         /* of an object that this call creates, 0: 0600 */
    unsigned messages;   /* messages the queue should hold, shm: of each sender, 0: as capacity
                          * says; posix-mq: and shm: only, other kinds refuse it */
    int cancellable;     /* sysv-mq: every wait can be cancelled, at the cost of looking again
                          * after 1 ms, rising to 10 ms; other kinds always can */
    unsigned receivers;  /* shm: 1: never more than one receiver, who then claims messages without
                          * a compare-and-swap; 0: any number; other kinds refuse it */
    const struct naru_journal_options *journal; /* of map:, or NULL; other kinds refuse it */
};

struct naru_topic_options {
    size_t size;         /* sizeof(struct naru_topic_options) */
    size_t capacity;
    size_t max_message;
    size_t stash;
    unsigned max_taken;
    unsigned flags;
    mode_t mode;
    unsigned history;    /* messages kept for late subscribers */
    int lossy;           /* this subscriber never holds a publisher back */
    const struct naru_journal_options *journal; /* of map:, or NULL; other kinds refuse it */
};

/* naru_channel_pair - two ends of a connection in this process
 *
 * kind: "pipe:", "unix:", "unix+seqpacket:" or "shm:". For a fork (naru_adopt) or for another
 * program (naru_spawn). Over shm: each direction is a ring in memory that its sender alone can
 * write; .capacity is the bytes of payload that one holds (0: 256 KiB, and 2 MiB from the first
 * message of 4 KiB on), naru-shm(7) the layout.
 *
 * ret_a, ret_b: each closed on its own.
 * Returns: 0.
 * Errors: -EOPNOTSUPP the kind makes no pairs of channels; -EMFILE, -ENFILE, -ENOMEM.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_channel_pair(const char *kind, const struct naru_channel_options *options,
                               naru_channel **ret_a, naru_channel **ret_b);

/* naru_channel_connect - opens a connection to whoever listens at a URL
 *
 * url: "unix:/path", "unix:@abstract", "unix:name", "tcp://host:port", as naru_stream_open. The
 * first message waits, within its own timeout, until the other end has greeted.
 *
 * "unix+seqpacket:", named as unix:, is raw: no greeting, so that any program can be the other end;
 * one message a packet, of type 1, at most as large as the socket's buffer (.capacity,
 * .max_message); and an end that died is told like one that finished, with -EPIPE.
 *
 * ret_c: owned by the caller.
 * Returns: 0.
 * Errors: -ECONNREFUSED nobody listens there; -ENOENT no such socket; -EAGAIN, -ETIMEDOUT; -EACCES,
 * -EPERM, -EHOSTUNREACH, -EADDRNOTAVAIL as naru_stream_open; -EOPNOTSUPP the kind has no named
 * connections, or not in this build; the common ones.
 * Thread: any. Fork: works. Blocks: up to timeout. */
NARU_API int naru_channel_connect(const char *url, const struct naru_channel_options *options,
                                  int64_t timeout, naru_channel **ret_c);

/* naru_channel_listen - lets others connect to a name
 *
 * url and options: as naru_stream_listen.
 *
 * ret_l: owned by the caller, naru_channel_listener_close. naru_fd on it tells of connections.
 * Returns: 0.
 * Errors: those of naru_stream_listen.
 * Thread: any. Fork: works. Blocks: never, but for the resolver. */
NARU_API int naru_channel_listen(const char *url, const struct naru_listen_options *options,
                                 naru_channel_listener **ret_l);

/* naru_channel_accept - takes the next connection
 *
 * It does not wait for the greeting: a peer that is slow with it, or no naru at all, keeps nobody
 * waiting but who receives from it or sends to it (-EPROTO when something else comes).
 *
 * ret_c: owned by the caller, naru_channel_close.
 * Returns: 0.
 * Errors: those of naru_stream_accept.
 * Thread: one. Fork: -ECHILD, but see naru_adopt. Blocks: up to timeout. */
NARU_API int naru_channel_accept(naru_channel_listener *listener, int64_t timeout,
                                 naru_channel **ret_c);

/* naru_channel_listener_close - stops listening and frees the handle
 *
 * As naru_stream_listener_close.
 *
 * Returns: NULL. NULL is allowed.
 * Thread: one. Fork: frees the child's copy. Blocks: never. */
NARU_API naru_channel_listener *naru_channel_listener_close(naru_channel_listener *listener);

/* naru_queue_open - opens, or creates and opens, a queue by its name
 *
 * url: "fifo:/path", "posix-mq:/name", "sysv-mq:/path#id" with an id from 1 to 255, or
 * "sysv-mq:0xKEY". role: NARU_SEND, NARU_RECV, or both. The first opener, in either role, creates.
 * Several senders never mix; several receivers take turns record by record. A FIFO's receiver needs
 * the right to read and to write it.
 *
 * posix-mq: bytes as they are; the type, 1 to 32768, is the priority + 1, and the highest comes
 * first. A new queue's mq_msgsize is .max_message, its mq_maxmsg .messages, or what .capacity
 * needs. sysv-mq: bytes as they are; the type is mtype; .capacity is msg_qbytes. Whoever opens a
 * queue that is there gives these as they are, or 0.
 *
 * unix+dgram: and udp: are queues that live in their receiver's socket: it makes the name, and
 * what is unread goes with it. A sender may come first and then waits; when the receiver has gone,
 * one send says -ECONNREFUSED, and the next looks for another. Bytes as they are, of type 1.
 * unix+dgram: is named as unix:, and a full receiver holds its senders back. udp:
 * "udp://host:port"; a receiver may have "*" as host, or port 0, which naru_url tells then; up to
 * 65 507 bytes; what finds no room is lost, and the next message has their number in info.missed.
 *
 * shm: "shm:name" or "shm:/dir": messages of any size to 1 GiB wait in memory until naru_remove,
 * and each goes to one receiver. What a receiver had taken and not released when it died or closed
 * is received again, at its place, marked NARU_REDELIVERED. .capacity (64 KiB) and .messages are
 * each sender's; .receivers = 1 is for one receiver at a time. .max_message, like these, is the
 * creator's: later openers give 0 or the same. naru-shm(7) has the promises and the layout.
 *
 * map: "map:/dir": a journal in segment files of .capacity bytes (16 MiB), which survives restarts;
 * .journal has the rest, and naru-journal(7) the promises. It is never full but of the disk.
 *
 * ret_c: owned by the caller.
 * Returns: 0. On any call: -EIDRM the shm: queue was removed meanwhile: open it again.
 * Errors: -EINVAL something else stands there (the sentence says what), or a size is above a limit
 * of the kernel's; -EACCES owner and mode in the sentence; -EEXIST, -ENOENT as the flags ask;
 * -EEXIST it is there with another mode or size (both values in the sentence); -ENOSPC, -EMFILE,
 * -EPERM a limit on queues, whose name and remedy the sentence has; -ENOSPC also 256 have it open,
 * or no memory is left there (shm:); -EPROTO it is damaged, or another version's; -EBUSY the name
 * or port has a receiver already (who, in the sentence); -EADDRNOTAVAIL, -EHOSTUNREACH no such
 * host, or no way there; -EOPNOTSUPP the kind has no queues.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_queue_open(const char *url, int role, const struct naru_queue_options *options,
                             naru_channel **ret_c);

/* naru_topic_open - opens, or creates and opens, a topic by its name
 *
 * role: NARU_SEND to publish, NARU_RECV to subscribe, or both.
 *
 * url: "udp://group:port" with a multicast group (224.0.0.0 to 239.255.255.255, ff00::/8), and
 * behind it the interface, if the routes do not tell: "udp://239.1.2.3%eth0:5000",
 * "udp://[ff02::1%eth0]:5000". Messages as in a udp: queue. They stay on the link, and reach
 * subscribers of this host too; no history.
 *
 * "shm:name", "shm:/dir": every subscriber gets every message, in place, and holds the publishers
 * back when a lane (.capacity, 64 KiB, each publisher's) is full; a .lossy one never does, gets
 * copies, and is told in info.missed what it did not get. A dead subscriber holds nobody back.
 * .history messages of each publisher are kept for late subscribers, also when it has gone, as far
 * as .capacity has room, until naru_remove. Options are the creator's, as of a queue.
 *
 * "map:/dir": the same journal as of naru_queue_open; a subscriber begins behind the last message,
 * or as .journal says, and holds nobody back.
 *
 * ret_c: owned by the caller.
 * Returns: 0. On any call: -EIDRM the shm: topic was removed meanwhile: open it again.
 * Errors: -EEXIST it is there as something else, or with another option (both in the sentence);
 * -ENOENT as the flags ask; -ENOSPC 256 have it open, or no memory is left there; -EACCES, -EPROTO
 * as of a queue; -EINVAL the address is no group; -EHOSTUNREACH, -EADDRNOTAVAIL no route, no such
 * interface; -EOPNOTSUPP the kind has no topics, or not in this build; the common ones.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_topic_open(const char *url, int role, const struct naru_topic_options *options,
                             naru_channel **ret_c);

/* naru_channel_send - sends one message
 *
 * type: 1 ... NARU_TYPE_MAX. data: borrowed for the call; may be NULL if size is 0.
 * On failure nothing of it arrives: a receiver discards what it saw of a send that timed out.
 *
 * Returns: 0.
 * Errors: -EMSGSIZE larger than the other end or the medium takes (the sentence names the limit);
 * with NARU_NOWAIT also larger than the medium can hold at once; -EPIPE the other end finished;
 * -ECONNRESET it died; -EIDRM the queue was removed; -EAGAIN, -ETIMEDOUT full, or no receiver;
 * -EINVAL type; -EOPNOTSUPP this end only receives; -EBUSY a reservation is open; the common ones.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_channel_send(naru_channel *channel, uint32_t type, const void *data, size_t size,
                               int64_t timeout);

/* naru_channel_send_vector - sends one message gathered from n pieces
 *
 * Result, errors and classes as naru_channel_send.
 * Returns: 0.
 * Errors: as naru_channel_send; -EINVAL more than 1024 pieces.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_channel_send_vector(naru_channel *channel, uint32_t type,
                                      const struct iovec *vector, size_t n, int64_t timeout);

/* naru_channel_send_many - sends n messages with as few system calls as possible
 *
 * Of each message .data, .size and .info.type are read.
 *
 * Returns: how many went, in order: less than n when the time passed or an error came after the
 * first; a negative errno only when none went.
 * Errors: as naru_channel_send.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API ssize_t naru_channel_send_many(naru_channel *channel, const struct naru_message *messages,
                                        size_t n, int64_t timeout);

/* naru_channel_send_fds - sends one message with descriptors beside it
 *
 * For connections over unix: and shm:, to a process on this host. fds: 1 to 253 descriptors (the
 * kernel's SCM_MAX_FD), which stay open here: files, sockets, or memory (naru_region_share). The
 * message keeps its place among the others, and may be of any size, also 0. Over shm: at most 253
 * may be with messages that the other end has not taken; the next then wait, as for room.
 *
 * Returns: 0. Message and descriptors arrive together.
 * Errors: -EINVAL none or too many of them, or one is not open; -EMFILE as many of this user's are
 * on their way as RLIMIT_NOFILE allows; -EOPNOTSUPP neither unix: nor shm:, or no connection;
 * those of naru_channel_send.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_channel_send_fds(naru_channel *channel, uint32_t type, const void *data,
                                   size_t size, const int *fds, size_t n_fds, int64_t timeout);

/* naru_channel_recv_fds - receives one message, and the descriptors that came with it
 *
 * The next message that select wants, with or without descriptors. They are close-on-exec, and the
 * caller's to close. Whoever receives or takes such a message otherwise gets it without: they are
 * closed. One that waits counts for 4 KiB of .stash.
 *
 * ret_fds: room for max_fds. ret_n_fds: how many came. ret_info: may be NULL. With -EMSGSIZE these
 * two tell what is needed, and all of it stays. What cannot be opened here, as this process has no
 * descriptors left, is lost, which -EMFILE tells once; the message stays, without them.
 *
 * Returns: the message's size.
 * Errors: -EMSGSIZE more bytes or descriptors than room; -EMFILE not all of them could be opened;
 * -EOPNOTSUPP neither unix: nor shm:, or no connection; -EPROTO they are not those that were
 * announced; those of naru_channel_recv.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API ssize_t naru_channel_recv_fds(naru_channel *channel, int64_t select, void *buf, size_t cap,
                                       struct naru_info *ret_info, int *ret_fds, size_t max_fds,
                                       size_t *ret_n_fds, int64_t timeout);

/* naru_channel_recv - receives one message into the caller's buffer
 *
 * ret_info: may be NULL; on -EMSGSIZE its .size is the size needed and the message stays.
 *
 * Returns: the message's size.
 * Errors: -EMSGSIZE buffer too small; -EPIPE the other end finished and all was read; -ECONNRESET
 * it died; -EIDRM the queue was removed; -EPROTO what came is not naru's, or another version;
 * -EAGAIN, -ETIMEDOUT; -ENOBUFS the stash is full of other types; -EOPNOTSUPP this end only sends,
 * or the medium cannot select; the common ones.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API ssize_t naru_channel_recv(naru_channel *channel, int64_t select, void *buf, size_t cap,
                                   struct naru_info *ret_info, int64_t timeout);

/* naru_channel_take - receives one message in place
 *
 * ret_message: .data may be read, not written, until naru_channel_release or _return.
 *
 * Returns: 0.
 * Errors: as naru_channel_recv but -EMSGSIZE; -ENOBUFS .max_taken messages are not released yet.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_channel_take(naru_channel *channel, int64_t select, int64_t timeout,
                               struct naru_message *ret_message);

/* naru_channel_take_many - receives up to n messages in place, at least one
 *
 * Waits for the first only.
 *
 * Returns: how many.
 * Errors: as naru_channel_take; -EINVAL n is 0.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API ssize_t naru_channel_take_many(naru_channel *channel, int64_t select,
                                        struct naru_message *ret_messages, size_t n,
                                        int64_t timeout);

/* naru_channel_release - acknowledges messages taken, in any order
 *
 * Their data is gone for the caller; .data becomes NULL.
 *
 * Returns: 0.
 * Errors: -EINVAL one was not taken from this channel; the common ones.
 * Thread: one each way (receiving). Fork: -ECHILD. Blocks: never. */
NARU_API int naru_channel_release(naru_channel *channel, struct naru_message *messages, size_t n);

/* naru_channel_return - gives messages back: they are received again, at their place, marked
 *
 * On pipes, FIFOs and message queues they wait in this handle; on kinds that redeliver anybody may
 * get them.
 *
 * Returns: 0.
 * Errors: -EINVAL one was not taken from this channel; the common ones.
 * Thread: one each way (receiving). Fork: -ECHILD. Blocks: never. */
NARU_API int naru_channel_return(naru_channel *channel, struct naru_message *messages, size_t n);

/* naru_channel_reserve - room for one message, to be filled in place
 *
 * One reservation a handle. On a medium without memory of its own it is a buffer of the handle's.
 *
 * ret_data: size writable bytes, valid until commit or abandon; 16-byte aligned.
 * Returns: 0.
 * Errors: -EBUSY one is open; -EMSGSIZE; -EAGAIN, -ETIMEDOUT; the common ones.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_channel_reserve(naru_channel *channel, size_t size, int64_t timeout,
                                  void **ret_data);

/* naru_channel_commit - sends what was reserved
 *
 * size: at most what was reserved. Waits as long as it must for room (media without memory of
 * their own; naru_cancel ends it). On failure the reservation is gone as well.
 *
 * Returns: 0.
 * Errors: -EINVAL data is not the open reservation, or size is larger; as naru_channel_send.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: until there is room. */
NARU_API int naru_channel_commit(naru_channel *channel, void *data, size_t size, uint32_t type);

/* naru_channel_abandon - gives a reservation up
 *
 * Returns: 0.
 * Errors: -EINVAL data is not the open reservation; the common ones.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: never. */
NARU_API int naru_channel_abandon(naru_channel *channel, void *data);

/* naru_channel_flush - waits until the receivers have taken everything sent
 *
 * On pipes, FIFOs and message queues: until the kernel holds nothing (looked at after 0.1 ms,
 * rising to 10 ms, for the kernel tells nobody). On shm: queues until all are released, on topics
 * until every subscriber that is not lossy is done with them.
 *
 * Returns: 0.
 * Errors: -EPIPE, -ECONNRESET the receiver left some behind; -EAGAIN, -ETIMEDOUT; the common ones.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_channel_flush(naru_channel *channel, int64_t timeout);

/* naru_channel_shutdown - no more from this end; the other reads on to -EPIPE
 *
 * Returns: 0; shutting down twice is no error.
 * Errors: -EOPNOTSUPP a queue has no end to send to; the common ones.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: never. */
NARU_API int naru_channel_shutdown(naru_channel *channel);

/* naru_channel_wait_peers - waits until n participants are at the other side
 *
 * Connections have one. A FIFO queue's sender knows whether there is a receiver, not how many; its
 * receiver knows nothing of senders. Message queues tell nobody. Queues and topics on shm: count
 * those who are there and live.
 *
 * Returns: 0.
 * Errors: -EAGAIN, -ETIMEDOUT; -EOPNOTSUPP more than the kind can count; the common ones.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_channel_wait_peers(naru_channel *channel, unsigned n, int64_t timeout);

/* naru_channel_inherit - opens a connection's end that the parent put into this process
 *
 * name, ret_c, result and errors as naru_stream_inherit. options: .max_message, .stash, .max_taken.
 * Returns: 0.
 * Errors: -ENOENT no such end here; -EINVAL it is a stream; -EPROTO the variable is damaged.
 * Thread: one (it changes the environment). Fork: works. Blocks: never. */
NARU_API int naru_channel_inherit(const char *name, const struct naru_channel_options *options,
                                  naru_channel **ret_c);

/* naru_channel_close - closes this end and frees the handle
 *
 * The other end reads what was sent and then -EPIPE (-ECONNRESET if this process dies instead).
 * Messages taken and not released are given up. Reports nothing.
 *
 * Returns: NULL. NULL is allowed.
 * Thread: one. Fork: frees the child's copy. Blocks: never. */
NARU_API naru_channel *naru_channel_close(naru_channel *channel);

#ifdef __cplusplus
}
#endif
#endif
