/* SPDX-License-Identifier: MIT */
/* naru/common.h - what every noun shares: results, time, waiting, death, names.
 *
 * Rules for every function of naru, unless its own text says otherwise:
 *
 *   Result   >= 0 is success, a negative errno is failure. naru_why() then gives a sentence.
 *            Out-parameters are named ret_ and stay untouched on failure.
 *   Time     int64_t nanoseconds from now on the monotonic clock; NARU_FOREVER, NARU_NOWAIT.
 *            A wait that ends without its event is -ETIMEDOUT, with NARU_NOWAIT -EAGAIN.
 *   Strings  are UTF-8, borrowed for the length of the call.
 *   Thread   "one each way": one sending and one receiving thread at once.
 *            "any": any number of threads.  "one": one thread at a time.
 *            Closing a handle while another thread is inside it is the caller's error.
 *   Fork     a handle belongs to the process that opened it: in a forked child every call but
 *            close answers -ECHILD, and close frees the child's copy and nothing else.
 *            Ends of a pair may be adopted there (naru_adopt).
 *   Signals  naru never raises SIGPIPE, installs no handler, and goes on after EINTR.
 *   Files    every descriptor is close-on-exec from birth.
 *
 * Errors that any call on a handle may return besides its own:
 *   -EINVAL     the pointer is no naru handle, or one of another noun, or an argument is absurd
 *   -ECHILD     this process is a forked child of the one that opened the handle
 *   -ECANCELED  naru_cancel ended the wait
 *   -ENOMEM, -EMFILE, -ENFILE  memory or descriptors ran out; the sentence names the limit
 */
#ifndef NARU_COMMON_H
#define NARU_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__GNUC__)
#define NARU_API __attribute__((visibility("default")))
#define NARU_CHECKED __attribute__((warn_unused_result))
#else
#define NARU_API
#define NARU_CHECKED
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define NARU_VERSION_MAJOR 0
#define NARU_VERSION_MINOR 1
#define NARU_VERSION_PATCH 0

#define NARU_FOREVER INT64_C(-1)
#define NARU_NOWAIT INT64_C(0)
#define NARU_US INT64_C(1000)
#define NARU_MS INT64_C(1000000)
#define NARU_S INT64_C(1000000000)

/* Directions, for naru_stream_open (mode), naru_want (events) and queues (role). */
#define NARU_READ 1
#define NARU_WRITE 2
#define NARU_IN 1
#define NARU_OUT 2
#define NARU_RECV 1
#define NARU_SEND 2

/* Flags of named objects, in the .flags of every options struct. */
#define NARU_EXCLUSIVE 1u    /* this call must create the object: -EEXIST if it is there */
#define NARU_EXISTING 2u     /* this call must not create it: -ENOENT if it is not there */
#define NARU_UNTIL_HANGUP 4u /* FIFO reader: the last writer's leaving is the end (read gives 0) */
#define NARU_SINGLE 8u       /* FIFO, both directions: O_RDWR on one FIFO instead of a pair */
#define NARU_DELAY 16u       /* TCP: the kernel may gather small writes (Nagle); else it does not */
#define NARU_ANY_USER 32u    /* unix:@abstract: also a peer that is neither this user nor root */
#define NARU_SPIN 64u        /* channels: waits never sleep, at the price of a core each; on a
                              * machine with one processor they do */
#define NARU_SLEEP 128u      /* channels: waits sleep at once; else they look again for about as
                              * long as a wake-up takes (30 us) while that pays, and then sleep */
#define NARU_NO_READ_AHEAD 256u /* receiver of a FIFO queue: takes no record that it was not asked
                                 * for, also when it is alone; what it leaves is the next one's */
#define NARU_CONNECTING 1024u   /* naru_channel_connect: does not wait for the other host; what is
                                 * sent then does, or learns why there is nobody (tcp:). Over tls:
                                 * also naru_stream_open, and neither waits for the handshake */

/* The conditions that callers branch on, one row each: X(errno, short name, meaning). This one
 * table makes naru_strerror, the manual and every binding's exceptions. */
#define NARU_ERRORS(X)                                                                             \
    X(EPIPE, "ended", "the other end has finished in order")                                       \
    X(ECONNRESET, "peer died", "the other end vanished without finishing")                         \
    X(EIDRM, "removed", "the object was removed while it was open")                                \
    X(EPROTO, "protocol", "another layout, version or size than expected, or garbage")             \
    X(EOPNOTSUPP, "kind cannot", "this kind cannot do that; the sentence names those that can")    \
    X(ECHILD, "forked child", "the handle belongs to the parent process")                          \
    X(ECANCELED, "cancelled", "naru_cancel ended the wait")                                        \
    X(EAGAIN, "would wait", "nothing can be done at once, and NARU_NOWAIT was given")              \
    X(ETIMEDOUT, "timed out", "the time given passed without the event")                           \
    X(EINVAL, "bad argument", "an argument or handle is not what the call needs")                  \
    X(EMSGSIZE, "too large", "larger than the buffer, the medium or the other end takes")          \
    X(ENOBUFS, "no room", "a bound of this handle is reached: stash, or messages taken")           \
    X(ENOMEM, "no memory", "memory ran out")                                                       \
    X(EMFILE, "descriptors", "this process has as many descriptors as RLIMIT_NOFILE allows")       \
    X(ENFILE, "system files", "the system has as many open files as fs.file-max allows")           \
    X(EEXIST, "exists", "it is there already, or is there with other options")                     \
    X(ENOENT, "not there", "no such object, and this call was not to create it")                   \
    X(ENXIO, "no peer", "nobody has the other end open")                                           \
    X(ECONNREFUSED, "refused", "nobody listens or receives there")                                 \
    X(EHOSTUNREACH, "unreachable", "no way leads to that host or network")                         \
    X(EADDRNOTAVAIL, "no such address", "the name has no address, or it is not this host's")       \
    X(EACCES, "forbidden", "its owner or mode does not allow this user in")                        \
    X(EPERM, "not permitted", "the operation needs a right or a state that is not there")          \
    X(EBUSY, "busy", "somebody else, or an earlier call, has it")                                  \
    X(E2BIG, "too many", "more pieces or arguments than the kernel takes at once")                 \
    X(EISDIR, "a directory", "a directory stands where something else is needed")                  \
    X(ESRCH, "no process", "the process has ended")                                                \
    X(ENOSPC, "disk full", "the medium has no room left")                                          \
    X(EDQUOT, "quota", "this user's share of the medium is used up")                               \
    X(EFBIG, "file too large", "longer than a file may be there")                                  \
    X(EROFS, "read-only", "the file system is mounted read-only")                                  \
    X(ENOTDIR, "not a directory", "a part of the path is not a directory")                         \
    X(ENAMETOOLONG, "name too long", "a name is longer than the medium takes")                     \
    X(ELOOP, "symbolic link", "a symbolic link stands where none is allowed")                      \
    X(EIO, "input/output", "the kernel reports an input/output error")                             \
    X(EOVERFLOW, "count full", "a count would exceed its largest value")                           \
    X(EDEADLK, "waits for itself", "this thread has it already, and would wait for ever")          \
    X(EOWNERDEAD, "owner died", "the last holder died holding it")                                 \
    X(ENOTRECOVERABLE, "given up", "a holder died and nobody recovered the state")                 \
    X(EREMOTEIO, "call failed", "the other side answered with an error")

struct naru_peer {
    size_t size;        /* sizeof(struct naru_peer), set by the caller */
    int64_t pid;        /* 0 if the kind does not tell */
    int64_t uid, gid;   /* -1 if the kind does not tell */
    int pidfd;          /* borrowed; -1 if there is none */
    char address[128];  /* empty if there is none */
    char subject[256];  /* of the certificate that the other end has shown, as RFC 4514 writes it,
                         * "CN=alice,O=Example"; empty: it has shown none, or not yet, or a longer
                         * one */
};

struct naru_tls_options; /* naru/tls.h */

/* Listening, for streams and for connections. */
struct naru_listen_options {
    size_t size;          /* sizeof(struct naru_listen_options) */
    int backlog;          /* connections that may wait to be accepted, 0: net.core.somaxconn */
    mode_t mode;          /* of a socket file that this call creates, 0: 0600 */
    unsigned flags;       /* NARU_DELAY, NARU_ANY_USER; NARU_SPIN, NARU_SLEEP: what it accepts */
    size_t capacity;      /* of each accepted end, as the options of naru_stream_open and */
    size_t max_message;   /*   naru_channel_connect say; 0: the same defaults */
    size_t stash;
    unsigned max_taken;
    int64_t keepalive;
    int64_t user_timeout;
    const struct naru_tls_options *tls; /* of tls: */
};

/* What a handle has done since it was opened. Counts never fall. */
struct naru_stats {
    size_t size;                /* sizeof(struct naru_stats), set by the caller */
    uint64_t sent, received;    /* messages; 0 on streams */
    uint64_t bytes_sent, bytes_received; /* payload */
    uint64_t sleeps;            /* times a call slept in the kernel */
    uint64_t calls;             /* read and write system calls made */
    uint64_t dropped;           /* messages given up: cut off by a death, or sends timed out */
    uint64_t held;              /* bytes now in this handle's stash */
    uint64_t capacity;          /* bytes that the medium holds for this handle, 0 if unknown; of a
                                 * listener: connections that may wait */
    uint64_t capacity_asked;    /* what .capacity or .backlog asked for, 0 if nothing */
    char note[256];             /* a sentence when less was granted than asked: the limit's name */
};

/* naru_version - the library's version as "0.1.0"
 *
 * Returns: a static string.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API const char *naru_version(void);

/* naru_why - the sentence of this thread's last failure
 *
 * It says what was tried, on which object, which limit or owner stands in the way, its value, and
 * what would help. A success leaves it as it was.
 *
 * Returns: a string owned by naru, valid until this thread's next failure; "" before the first.
 * Thread: any, each has its own. Fork: works. Blocks: never. */
NARU_API const char *naru_why(void);

/* naru_fail - the sentence of a failure in what is built on naru
 *
 * For generated code and layers of one's own, so that they explain as naru does; the handler of a
 * service that returns code has it told to the caller.
 *
 * code: a negative errno. format: as printf's.
 * Returns: code.
 * Errors: none of its own.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* naru_strerror - the short name of a result
 *
 * code: a negative errno as naru returns it; a positive one is taken alike.
 *
 * Returns: a static string such as "peer died"; "error" for a code that naru never returns.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API const char *naru_strerror(int code);

/* naru_url - the URL of a handle
 *
 * As it was opened with; a listener on port 0 says the port that it got. A stream or connection
 * accepted over TCP says the other end's address.
 *
 * Returns: a string that lives as long as the handle; NULL if it is no handle of this process.
 * Thread: any. Fork: NULL. Blocks: never. */
NARU_API const char *naru_url(const void *handle);

/* naru_fd - a descriptor that is readable when the handle is ready
 *
 * Level-triggered, for poll, epoll, libuv, asyncio. Readable exactly when something wanted
 * (naru_want) can be done, or a death or cancellation is to be noticed; it may be spurious and is
 * never missed: a call that returned -EAGAIN has looked again after arming it. Only from the first
 * call on does the handle pay for it. Wait for readability (EPOLLIN) whatever is wanted.
 *
 * Returns: the descriptor, borrowed: it lives as long as the handle; or a negative errno.
 * Errors: -EOPNOTSUPP the kind has nothing to wait for; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_fd(void *handle);

/* naru_want - what the descriptor of naru_fd is to tell
 *
 * events: NARU_IN (the default for whatever can receive), NARU_OUT, or both.
 *
 * Returns: 0.
 * Errors: -EOPNOTSUPP a direction that the handle does not have; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_want(void *handle, int events);

/* naru_cancel - ends one wait on the handle, the one now or the next
 *
 * Sticky: without a wait now, the next call that would wait ends with -ECANCELED.
 *
 * Returns: 0.
 * Errors: -EINVAL no handle; -EOPNOTSUPP a thread waits for ever on a System V queue that was
 * opened without .cancellable: that wait is one system call, which nothing ends.
 * Thread: any, and from a signal handler. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_cancel(void *handle);

/* naru_peer - who has the other end
 *
 * ret_peer: its .size is set by the caller; filled with what the kind tells. unix: uid, gid, pid
 * of whoever connected, listened, or made the pair, at that moment, and a pidfd of it where the
 * kernel has SO_PEERPIDFD (Linux 6.5). tcp: the address. tls: and grpcs: also the subject of its
 * certificate, once the two have met. A listener tells its own address.
 *
 * Returns: 0.
 * Errors: -EOPNOTSUPP the kind does not know (pipes, FIFOs, message queues); the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_peer(void *handle, struct naru_peer *ret_peer);

/* naru_stats - what the handle has done, and what the kernel granted it
 *
 * ret_stats: its .size is set by the caller.
 *
 * Returns: 0.
 * Errors: the common ones.
 * Thread: any; counts of a busy handle may be one call old. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_stats(void *handle, struct naru_stats *ret_stats);

/* naru_adopt - this process, a forked child, takes this end of a pair, stream or listener
 *
 * The child adopts the end that it keeps and closes the other; the parent closes the end it gave
 * away. In the process that made the pair it changes nothing. An end is dead only when no process
 * holds it or could still adopt it. A listener that several processes have adopted hands each
 * connection to one of them. A stream over a socket can be adopted, too, so that a parent accepts
 * and a child serves; and a region without a name, which both have then.
 *
 * Returns: 0.
 * Errors: -EOPNOTSUPP the handle is not an end of a pair: open it by its name instead.
 * Thread: one. Fork: this is the call for it. Blocks: never. */
NARU_API int naru_adopt(void *handle);

/* naru_remove - removes a name and what it holds
 *
 * Whoever has the object open keeps it until it closes. Both FIFOs of a two-way pair go. A socket
 * file goes also while somebody listens there.
 *
 * Returns: 0.
 * Errors: -ENOENT not there; -EACCES, -EPERM not this user's; -EOPNOTSUPP the URL has no name to
 * remove; -EINVAL a malformed URL, or what stands there is of another kind (the sentence says
 * which).
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_remove(const char *url);

#ifdef __cplusplus
}
#endif
#endif
