/* SPDX-License-Identifier: MIT */
/* naru/stream.h - streams: bytes, as any program speaks them.
 *
 * A stream carries exactly the bytes written, without frames, so that the other end may be any
 * program: `cat`, `dd`, a script. Boundaries between writes are not kept.
 *
 *   naru_stream *s;
 *   if (naru_stream_open("fifo:/tmp/f", NARU_READ, NULL, NARU_NOWAIT, &s) < 0)
 *       fprintf(stderr, "%s\n", naru_why());
 *
 * Thread: one reading and one writing thread at once, and naru_cancel from anywhere. */
#ifndef NARU_STREAM_H
#define NARU_STREAM_H

#include <naru/common.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct naru_stream naru_stream;
typedef struct naru_stream_listener naru_stream_listener;

#define NARU_TWO_WAY 0
#define NARU_ONE_WAY 1 /* a reads, b writes */

struct naru_stream_options {
    size_t size;      /* sizeof(struct naru_stream_options) */
    size_t capacity;  /* bytes each direction should hold in the kernel, 0: its default */
    int direction;    /* pairs: NARU_TWO_WAY or NARU_ONE_WAY */
    unsigned flags;   /* NARU_EXCLUSIVE, NARU_EXISTING, NARU_UNTIL_HANGUP, NARU_SINGLE;
                       * NARU_DELAY, NARU_ANY_USER */
    mode_t mode;      /* of a FIFO that this call creates; 0: 0600 */
    int64_t owner;    /* uid of a FIFO that this call creates; 0: this user (root needs nothing) */
    int64_t group;    /* gid of it; 0: this user's */
    int64_t keepalive;    /* TCP: a silent peer that vanished is known after so many ns, in whole
                           * seconds from 2; 0: 10 s, NARU_FOREVER: never */
    int64_t user_timeout; /* TCP: so many ns without acknowledgement end it; 0: the kernel's time
                           * (net.ipv4.tcp_retries2, about 15 minutes) */
    const struct naru_tls_options *tls; /* of tls:, NULL: the system's authorities */
};

/* naru_stream_pair - two connected ends in this process
 *
 * kind: "pipe:" or "unix:". Two-way pipes are two behind each handle, a socket is one. For a fork:
 * make the pair, fork, adopt one end in the child, close the other on each side. For another
 * program: naru_spawn. .capacity is a wish: naru_stats tells what was granted and which limit stood
 * in the way.
 *
 * ret_a, ret_b: the ends; with NARU_ONE_WAY a reads and b writes. Each is closed on its own.
 * Returns: 0.
 * Errors: -EOPNOTSUPP the kind makes no pairs of streams; -EMFILE, -ENFILE, -ENOMEM.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_stream_pair(const char *kind, const struct naru_stream_options *options,
                              naru_stream **ret_a, naru_stream **ret_b);

/* naru_stream_open - opens, or creates and opens, a named stream
 *
 * unix:, tcp: connects to whoever listens there; mode is NARU_READ | NARU_WRITE; timeout is for
 * connecting (looking up a host's name takes as long as the resolver takes). NARU_NOWAIT: over unix
 * it connects if there is room in the backlog; over TCP it is -EAGAIN unless it is done at once.
 *
 * url: "fifo:/path", "unix:/path", "unix:@abstract", "unix:name", "tcp://host:port",
 * "tls://host:port" (naru/tls.h). mode:
 * NARU_READ, NARU_WRITE, or both. The first opener creates the FIFO.
 * timeout: how long to wait for the other end. NARU_NOWAIT does not wait: the stream is open, a
 * writer's first write waits for a reader within its own timeout.
 * Both directions: a pair of FIFOs, path and path.back; the first opener writes into path, the
 * second reads from it, a third gets -EBUSY. With NARU_SINGLE: O_RDWR on one FIFO, where an end
 * may read its own bytes back (see naru-fifo(7)).
 * A reader keeps the FIFO alive while writers come and go, unless NARU_UNTIL_HANGUP.
 *
 * ret_s: owned by the caller, naru_stream_close.
 * Returns: 0.
 * Errors: -EAGAIN, -ETIMEDOUT no other end came in time; -EINVAL the path is something else than a
 * FIFO (the sentence says what); -EACCES owner and mode in the sentence; -EEXIST, -ENOENT as the
 * flags ask; -EBUSY both sides of a two-way pair are taken; -ECONNREFUSED nobody listens there;
 * -EHOSTUNREACH, -EADDRNOTAVAIL no way to that host, or no such host; -EPERM an abstract name is
 * another user's; -EOPNOTSUPP the kind has no streams.
 * Thread: any. Fork: works. Blocks: up to timeout. */
NARU_API int naru_stream_open(const char *url, int mode, const struct naru_stream_options *options,
                              int64_t timeout, naru_stream **ret_s);

/* naru_stream_listen - lets others connect to a name
 *
 * url: "unix:/path", "unix:@abstract", "unix:name" (in /run/user/UID, else in /tmp/naru-UID), or
 * "tcp://host:port"; without a host on every address of this host, port 0: any that is free
 * (naru_url tells which). A socket file that nobody listens to any more is replaced. A socket that
 * the environment hands over for this address (LISTEN_FDS, LISTEN_PID) is taken.
 *
 * ret_l: owned by the caller, naru_stream_listener_close. naru_fd on it tells of connections.
 * Returns: 0.
 * Errors: -EBUSY somebody listens there (the sentence has its pid and program); -EINVAL what stands
 * there is no socket; -EACCES owner and mode in the sentence; -EADDRNOTAVAIL no address of this
 * host; -ENAMETOOLONG; -EOPNOTSUPP the kind has no streams, or none that listen.
 * Thread: any. Fork: works. Blocks: never, but for the resolver. */
NARU_API int naru_stream_listen(const char *url, const struct naru_listen_options *options,
                                naru_stream_listener **ret_l);

/* naru_stream_accept - takes the next connection
 *
 * When descriptors have run out, one waiting connection is closed, and the call says so: the
 * others go on, and the queue does not stand still. naru_stats counts those under dropped.
 *
 * ret_s: owned by the caller, naru_stream_close.
 * Returns: 0.
 * Errors: -EAGAIN, -ETIMEDOUT nobody came; -EMFILE, -ENFILE one was refused, for descriptors have
 * run out (the sentence names the limit); the common ones.
 * Thread: one. Fork: -ECHILD, but see naru_adopt. Blocks: up to timeout. */
NARU_API int naru_stream_accept(naru_stream_listener *listener, int64_t timeout,
                                naru_stream **ret_s);

/* naru_stream_listener_close - stops listening and frees the handle
 *
 * The socket file goes, if this process made it and it is still the same. What was accepted goes
 * on; who waits to be accepted gets a reset.
 *
 * Returns: NULL. NULL is allowed.
 * Thread: one. Fork: frees the child's copy. Blocks: never. */
NARU_API naru_stream_listener *naru_stream_listener_close(naru_stream_listener *listener);

/* naru_stream_send_fds - writes bytes with descriptors attached to the first of them
 *
 * fds: 1 to 253 descriptors, which stay open here. n is at least 1.
 *
 * Returns: how many bytes the kernel has now, at least 1: all the descriptors went with them.
 * Errors: -EINVAL none or too many, or one that is not open; -EOPNOTSUPP not unix:; -EMFILE as
 * many of this user's are on their way as RLIMIT_NOFILE allows; those of naru_stream_write.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API ssize_t naru_stream_send_fds(naru_stream *stream, const void *buf, size_t n,
                                      const int *fds, size_t n_fds, int64_t timeout);

/* naru_stream_recv_fds - reads bytes, and the descriptors that came with them
 *
 * All of them arrive or none: where they do not fit or cannot be opened here, bytes and descriptors
 * stay. They are close-on-exec, and the caller's to close. naru_stream_read closes those that come
 * with what it reads.
 *
 * ret_fds: room for max_fds. ret_n_fds: how many came; with -EMSGSIZE how many there are.
 * Returns: how many bytes, 0 at the end.
 * Errors: -EMSGSIZE more descriptors than room; -EMFILE they cannot all be opened here; -EOPNOTSUPP
 * not unix:; those of naru_stream_read.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API ssize_t naru_stream_recv_fds(naru_stream *stream, void *buf, size_t n, int *ret_fds,
                                      size_t max_fds, size_t *ret_n_fds, int64_t timeout);

/* naru_stream_read - takes what is there, at most n bytes
 *
 * Waits until at least one byte is there.
 *
 * Returns: how many bytes, 0 at the end of the stream (or if n is 0).
 * Errors: -ECONNRESET a socket's other end vanished, or left without reading all; -EAGAIN,
 * -ETIMEDOUT; -EOPNOTSUPP this end only writes; the common ones.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API ssize_t naru_stream_read(naru_stream *stream, void *buf, size_t n, int64_t timeout);

/* naru_stream_write - hands over what fits, at least one byte
 *
 * Returns: how many bytes the kernel has now.
 * Errors: -EPIPE nobody has the reading end open any more; -ECONNRESET it vanished; -EAGAIN,
 * -ETIMEDOUT full, or a FIFO without a reader; -EOPNOTSUPP this end only reads; the common ones.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API ssize_t naru_stream_write(naru_stream *stream, const void *buf, size_t n, int64_t timeout);

/* naru_stream_read_all - exactly n bytes, or an error and how many
 *
 * ret_done: how many bytes are in buf; written in every case (NULL: not asked).
 * Returns: 0 when all n are there.
 * Errors: -EPIPE the stream ended before; those of naru_stream_read.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout in all. */
NARU_API int naru_stream_read_all(naru_stream *stream, void *buf, size_t n, int64_t timeout,
                                  size_t *ret_done);

/* naru_stream_write_all - exactly n bytes, or an error and how many
 *
 * ret_done: how many bytes the kernel took; written in every case (NULL: not asked).
 * Returns: 0 when all n went.
 * Errors: those of naru_stream_write.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout in all. */
NARU_API int naru_stream_write_all(naru_stream *stream, const void *buf, size_t n, int64_t timeout,
                                   size_t *ret_done);

/* naru_stream_flush - waits until the other side has taken every byte written
 *
 * The kernel tells nobody when a pipe runs empty, so this looks again after 0.1 ms, rising to
 * 10 ms. Over TCP: until the other host has acknowledged all.
 *
 * Returns: 0.
 * Errors: -EPIPE the reader left bytes behind and nobody else has the reading end; -EAGAIN,
 * -ETIMEDOUT; -EOPNOTSUPP this end only reads; the common ones.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_stream_flush(naru_stream *stream, int64_t timeout);

/* naru_stream_shutdown - finishes one direction
 *
 * how: NARU_WRITE: no more from me, the reader reads on to the end; NARU_READ: the writer gets
 * -EPIPE; or both. A direction already finished is no error. A socket's direction is finished for
 * every process that has this end; that this end reads no more, the other one learns over unix:.
 *
 * Returns: 0.
 * Errors: -EOPNOTSUPP a direction that this end does not have; the common ones.
 * Thread: one each way, of the direction that it finishes. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_stream_shutdown(naru_stream *stream, int how);

/* naru_stream_inherit - opens an end that the parent put into this process
 *
 * name: as the parent named it in naru_spawn; the environment says NARU_FD_<name>.
 *
 * ret_s: owned by the caller. A name can be opened once; its variable is removed.
 * Returns: 0.
 * Errors: -ENOENT no such end here; -EINVAL it is a channel; -EPROTO the variable is damaged.
 * Thread: one (it changes the environment). Fork: works. Blocks: never. */
NARU_API int naru_stream_inherit(const char *name, naru_stream **ret_s);

/* naru_stream_close - closes this end and frees the handle
 *
 * What was written stays readable to the other side. Reports nothing.
 *
 * Returns: NULL, so that s = naru_stream_close(s) clears the variable. NULL is allowed.
 * Thread: one. Fork: frees the child's copy. Blocks: never. */
NARU_API naru_stream *naru_stream_close(naru_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
