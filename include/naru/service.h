/* SPDX-License-Identifier: MIT */
/* naru/service.h - services: calls of functions in another process.
 *
 *   server   naru_server_new, naru_server_add (what), naru_server_listen (where), naru_server_run
 *   client   naru_client_open (where), naru_client_invoke and naru_call_begin (what)
 *   call     naru_call: one call, the same handle at both ends
 *
 * A method takes one message or a stream of them and answers with one or a stream: the four forms.
 * Messages are bytes here. What protoc-gen-naru makes from a .proto file calls this with packed
 * messages, and NARU_METHOD_STRUCT with a flat struct. Over shm: a message is copied once, into
 * memory that both sides have; a handler reads it there.
 *
 * A call ends with a status: one of 17 codes, a text, and details if the server gave any. On the
 * client's side each function returns the negative errno that fits it: -ETIMEDOUT for
 * DEADLINE_EXCEEDED, -ECANCELED for CANCELLED by this side, -ECONNRESET for UNAVAILABLE, else
 * -EREMOTEIO; naru_client_status tells the status itself.
 *
 * URLs: shm:, unix:, tcp:, tls:, and on gRPC's wire grpc:, grpcs:, grpc+unix: (naru-grpc(7)); over
 * pipe: (or any connection there is) naru_server_attach and naru_client_attach. naru's own wire
 * form is in naru-service(7).
 *
 * Thread: a client may be used by any number of threads, a call by one sending and one receiving
 * thread at once, a server by one; naru_call_cancel, naru_cancel and naru_server_shutdown from
 * anywhere. */
#ifndef NARU_SERVICE_H
#define NARU_SERVICE_H

#include <errno.h>
#include <naru/typed.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct naru_server naru_server;
typedef struct naru_client naru_client;
typedef struct naru_call naru_call;

/* Status codes, of gRPC (https://grpc.github.io/grpc/core/md_doc_statuscodes.html): X(NAME, number,
 * what it says). */
#define NARU_STATUS_CODES(X)                                                                       \
    X(OK, 0, "done")                                                                               \
    X(CANCELLED, 1, "cancelled by the caller")                                                     \
    X(UNKNOWN, 2, "failed without a known reason")                                                 \
    X(INVALID_ARGUMENT, 3, "an argument that is wrong whatever the state")                         \
    X(DEADLINE_EXCEEDED, 4, "the time given passed")                                               \
    X(NOT_FOUND, 5, "what was asked for is not there")                                             \
    X(ALREADY_EXISTS, 6, "what was to be made is there already")                                   \
    X(PERMISSION_DENIED, 7, "this caller may not")                                                 \
    X(RESOURCE_EXHAUSTED, 8, "a limit is reached")                                                 \
    X(FAILED_PRECONDITION, 9, "the state does not allow it")                                       \
    X(ABORTED, 10, "a conflict with another call")                                                 \
    X(OUT_OF_RANGE, 11, "past the end")                                                            \
    X(UNIMPLEMENTED, 12, "no such method, or not supported")                                       \
    X(INTERNAL, 13, "broken inside")                                                               \
    X(UNAVAILABLE, 14, "the server is not there")                                                  \
    X(DATA_LOSS, 15, "data is lost or damaged")                                                    \
    X(UNAUTHENTICATED, 16, "the caller did not say who it is")

enum naru_status_code {
#define NARU_STATUS_ENUM_(name, number, text) NARU_STATUS_##name = number,
    NARU_STATUS_CODES(NARU_STATUS_ENUM_)
#undef NARU_STATUS_ENUM_
};

struct naru_status {
    int code;
    const char *message; /* never NULL */
    const void *details; /* google.rpc.Status, or what the server gave; NULL if none */
    size_t details_size;
};

/* One of a call's metadata. Keys: a-z 0-9 - _ . ; a key that ends in "-bin" has any bytes, another
 * printable ASCII. A key may come more than once. */
struct naru_metadata {
    const char *key;
    const void *value;
    size_t size;
};

/* Bytes in place, which came: valid until naru_call_release. */
struct naru_payload {
    const void *data;
    size_t size;
    uint64_t internal[8]; /* naru's own */
};

/* ---- what is served ---- */

#define NARU_CLIENT_STREAMS 1u /* the request is a stream */
#define NARU_SERVER_STREAMS 2u /* the answer is a stream */
#define NARU_IDEMPOTENT 4u     /* may be done twice: only such a call is ever retried */

/* What a handler returns for a call that it will finish later (naru_call_finish). */
#define NARU_LATER 1000

/* Serves one call. request: the one message of a method without NARU_CLIENT_STREAMS, in place and
 * valid until the handler returns, also if it returns NARU_LATER: what is held in shared memory
 * keeps what comes behind it away; else NULL, and the messages come by naru_call_take or
 * naru_call_on. An answer is sent by naru_call_send, or reserved
 * and committed: exactly one of a method without NARU_SERVER_STREAMS.
 *
 * Returns: NARU_STATUS_OK; another status code, its text given by naru_call_fail; a negative errno,
 * which becomes the status that fits, with naru_why's sentence; or NARU_LATER. */
typedef int naru_handler(naru_call *call, void *self, const void *request, size_t size);

/* What flat structs a method takes and gives; both sides compare it (NARU_METHOD_STRUCT). */
struct naru_layout {
    const char *request, *reply; /* the types' names */
    size_t request_size, request_alignment, reply_size, reply_alignment;
};

typedef struct naru_method {
    const char *name; /* "Add" */
    unsigned flags;
    naru_handler *serve;
    const void *more; /* of generated code */
    const struct naru_layout *layout; /* or NULL */
} naru_method;

/* The .proto file of a service, first, and all that it imports, as protoc describes them: bytes of
 * google.protobuf.FileDescriptorProto. Of generated code, for reflection. */
struct naru_schema_file {
    const char *name; /* "example/calculator.proto" */
    const void *data;
    size_t size;
};

struct naru_schema {
    const struct naru_schema_file *files;
    size_t n;
};

typedef struct naru_service {
    size_t size;      /* sizeof(struct naru_service) */
    const char *name; /* "example.Calculator" */
    const naru_method *methods;
    size_t n;
    const void *handlers; /* of generated code: the table of typed handlers */
    const struct naru_schema *schema; /* for reflection, or NULL: raw */
} naru_service;

/* What a call was, for those who count and trace: told once, when it is over; each attempt of one
 * that is retried by itself. All in it is borrowed until the hook returns. */
struct naru_call_record {
    size_t size;        /* sizeof(struct naru_call_record) */
    const char *method; /* "example.Calculator/Add" */
    const char *url;    /* of the client; at a server of what it listens on, or a name */
    const struct naru_peer *peer;     /* who is at the other side; NULL: gone, or never reached */
    const struct naru_status *status; /* without details */
    int64_t began;                    /* CLOCK_MONOTONIC, ns */
    int64_t took;                     /* ns; at a server until the status goes, or the caller */
    uint64_t bytes_sent;              /* of messages, as this side gave and got them */
    uint64_t bytes_received;
    const char *traceparent; /* the call's metadata of that name (W3C Trace Context); NULL: none */
};

/* It runs in whatever thread ends the call, under a lock of the client or connection: so it is
 * quick, and calls no function on them or on their calls. Calls that a server refuses before it has
 * looked at them (no such method, .max_calls, who may not call) are told at the client alone. */
typedef void naru_call_hook(void *arg, const struct naru_call_record *record);

/* ---- servers ---- */

struct naru_server_options {
    size_t size;             /* sizeof(struct naru_server_options) */
    unsigned workers;        /* threads that run handlers; 0: the thread in naru_server_process */
    unsigned max_clients;    /* connections at once, 0: 10 000 */
    unsigned max_calls;      /* calls in flight in all, 0: 100 000 */
    unsigned max_calls_each; /* and of one client, 0: 10 000 */
    size_t max_message;      /* of a request, 0: 4 MiB */
    size_t max_metadata;     /* bytes of a call's metadata, 0: 16 KiB */
    size_t window;           /* bytes of a stream that may wait for the handler, 0: 256 KiB */
    int64_t max_idle;        /* a connection without a call is told to go after it, 0: never */
    int64_t max_age;         /* a connection is told to go after it, 0: never */
    int64_t keepalive;       /* of silent clients on tcp: and the like, as struct
                              * naru_channel_options; if it is given, also by PING on grpc: */
    const int64_t *uids;     /* who may call, by uid, ended by -1; NULL: this user and root */
    const int64_t *gids;     /* or by gid, ended by -1; NULL: none */
    mode_t mode;             /* of a socket file made for it, 0: 0600 */
    unsigned flags;          /* NARU_ANY_USER, NARU_SPIN, NARU_SLEEP */
    naru_call_hook *on_call; /* told of each call that is over, or NULL */
    void *on_call_arg;
    const struct naru_tls_options *tls; /* of tls: and grpcs:; copied */
    /* of grpc:, grpcs: and grpc+unix: */
    size_t max_unread;     /* bytes of answers that a client leaves unread before no other handler
                            * of it begins, and four times that no other call; 0: 16 MiB */
    size_t max_unfinished; /* bytes of a connection's messages that came in part, 0: 512 MiB */
    int64_t ping_interval; /* a client may ask so often (PING) while nothing is sent to it; who
                            * asks more often is sent away; 0: 5 minutes, as gRPC's servers */
};

/* ---- clients and calls ---- */

struct naru_client_options {
    size_t size;           /* sizeof(struct naru_client_options) */
    size_t max_message;    /* of an answer, 0: 4 MiB */
    size_t window;         /* bytes of a stream that may wait for its reader, 0: 256 KiB */
    unsigned max_calls;    /* in flight, 0: 10 000 */
    int64_t first_backoff; /* between two attempts to connect, 0: 50 ms; doubles, with jitter */
    int64_t max_backoff;   /* 0: 5 s */
    int64_t keepalive;     /* of a silent server on tcp: and the like, as struct
                            * naru_channel_options; if it is given, also by PING on grpc: */
    int64_t user_timeout;
    unsigned flags;        /* NARU_WAIT_FOR_READY for each call; NARU_DELAY, NARU_SPIN,
                            * NARU_SLEEP */
    naru_call_hook *on_call; /* told of each call that is over, or NULL */
    void *on_call_arg;
    const struct naru_tls_options *tls; /* of tls: and grpcs:; copied */
};

#define NARU_WAIT_FOR_READY 512u /* a call waits for a server that is not there */
#define NARU_IN_PLACE 2048u /* a reply over shm: is where it came until it is released, and nothing
                             * much can come behind it meanwhile; else it is copied */
#define NARU_ROUND_ROBIN                                                                           \
    8192u /* a client of grpc: or grpcs: has a connection to each of up to 8 addresses of the      \
           * name, and calls go by turns to those that are there; else to one, and another if it   \
           * is lost. Names are asked for again at each attempt, and every 30 s */
#define NARU_COMPRESS                                                                              \
    4096u /* messages go compressed, over grpc:, grpcs:, grpc+unix: (gzip); other                  \
           * carriers are near, or have what they carry compressed by its owner */

struct naru_call_options {
    size_t size;          /* sizeof(struct naru_call_options) */
    int64_t timeout;      /* the deadline, from now; 0: none (or the parent's) */
    unsigned flags;       /* NARU_WAIT_FOR_READY, NARU_IN_PLACE, NARU_COMPRESS */
    unsigned retries;     /* of an NARU_IDEMPOTENT method that ended UNAVAILABLE, at most */
    const struct naru_metadata *metadata; /* sent along; borrowed for the call */
    size_t n_metadata;
    naru_call *parent;    /* the call being served for which this one is made: its deadline and its
                           * cancellation are this one's, too, and its `traceparent` and
                           * `tracestate`, unless .metadata has a `traceparent` */
};

/* What a call tells who does not wait for it, in naru_client_process or naru_server_process. Any
 * may be NULL. None may close the call but end. */
struct naru_call_events {
    size_t size; /* sizeof(struct naru_call_events) */
    void (*message)(naru_call *, void *arg, const void *data, size_t size); /* one came */
    void (*half_closed)(naru_call *, void *arg); /* the other side sends no more */
    void (*writable)(naru_call *, void *arg);    /* a send that said -EAGAIN may be tried again */
    void (*end)(naru_call *, void *arg, const struct naru_status *status); /* the last event; at a
                                      * server: the caller cancelled, died, or the time passed */
};

/* A method as a client names it. The library remembers it by its address, so it is static. */
typedef struct naru_route {
    const char *path; /* "example.Calculator/Add" */
    unsigned flags;   /* of the method */
    const struct naru_layout *layout; /* or NULL */
} naru_route;

/* ---- servers ---- */

/* naru_server_new - makes a server
 *
 * It serves nobody before naru_server_listen or naru_server_attach. options: NULL for all defaults;
 * the lists in it are copied.
 *
 * ret_s: owned by the caller, naru_server_close. naru_fd and naru_cancel work on it; naru_stats
 * counts calls: received, answered (sent), and connections refused (dropped).
 * Returns: 0.
 * Errors: -EINVAL an option is out of its range; -EAGAIN not as many threads as .workers asks for
 * can be made; the common ones.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_server_new(const struct naru_server_options *options, naru_server **ret_s);

/* naru_server_add - lets a service's methods be called
 *
 * service: borrowed until naru_server_close. self: what its handlers receive. Before the server
 * processes anything, or between two calls of naru_server_process. All of its methods or none.
 *
 * Returns: 0.
 * Errors: -EINVAL a name is NULL or too long, or a method has no handler; -EEXIST a method of that
 * name is served already; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_server_add(naru_server *server, const naru_service *service, void *self);

/* naru_server_service - the services that a server has
 *
 * i: from 0, in the order in which they were added.
 *
 * Returns: as it was given to naru_server_add; NULL: there are no more, or it is no server of this
 * process.
 * Thread: any. Fork: NULL. Blocks: never. */
NARU_API const naru_service *naru_server_service(naru_server *server, size_t i);

/* naru_server_listen - lets clients connect to a name
 *
 * url: "shm:name", "unix:/path", "tcp://host:port", "grpc://host:port" and their other forms;
 * any number of them, one after the other. naru_url of the server tells the last one, with the port
 * that it got.
 *
 * Returns: 0.
 * Errors: -EOPNOTSUPP the kind carries no calls; those of naru_channel_listen.
 * Thread: one. Fork: -ECHILD. Blocks: never, but for the resolver. */
NARU_API int naru_server_listen(naru_server *server, const char *url);

/* naru_server_attach - serves the other end of a connection that there is
 *
 * channel: an end of a pair, or one that was inherited; nothing was sent over it yet. It is the
 * server's from success on. Who has its other end is not asked.
 *
 * Returns: 0.
 * Errors: -EINVAL it is no connection; -EOPNOTSUPP it goes one way; -EPIPE the server was shut
 * down; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_server_attach(naru_server *server, naru_channel *channel);

/* naru_server_process - does what there is to do, waiting for it
 *
 * Connections, requests, handlers, events, deadlines. A handler that waits in here (naru_call_take,
 * naru_call_send) serves its own connection meanwhile, and no other: use .workers, naru_call_on or
 * NARU_LATER where others must not wait.
 *
 * Returns: 0: it did something.
 * Errors: -EPIPE the server was shut down, and all is done; -EAGAIN, -ETIMEDOUT nothing came;
 * -EDEADLK a handler called it; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_server_process(naru_server *server, int64_t timeout);

/* naru_server_run - processes until the server is shut down
 *
 * Or, if it listens nowhere, until the last of the connections that were attached has ended: a
 * child that serves its parent ends with it.
 *
 * Returns: 0.
 * Errors: -ECANCELED naru_cancel ended it; -EDEADLK a handler called it; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: until naru_server_shutdown. */
NARU_API int naru_server_run(naru_server *server);

/* naru_server_shutdown - takes no more calls, and finishes those there are
 *
 * Listening ends, clients are told to go elsewhere, calls in flight go on. After `grace` those left
 * end UNAVAILABLE, and their handlers see that they are cancelled. It only says so: whoever is in
 * naru_server_process or _run does it. A second one may shorten the grace.
 *
 * Returns: 0.
 * Errors: the common ones.
 * Thread: any, and from a signal handler. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_server_shutdown(naru_server *server, int64_t grace);

/* naru_server_close - ends a server and frees it
 *
 * Calls that are in flight end: their clients see UNAVAILABLE. Waits for handlers that run in
 * workers. A call that was to be finished later is gone: nothing may be done with it any more.
 *
 * Returns: NULL. NULL is allowed.
 * Thread: one. Fork: frees the child's copy. Blocks: for its workers. */
NARU_API naru_server *naru_server_close(naru_server *server);

/* ---- clients ---- */

/* naru_client_open - makes a client of whoever serves, or will serve, at a URL
 *
 * It does not connect yet: calls, naru_client_process and naru_client_wait_ready do, again and
 * again, with growing pauses between attempts in vain. url: as naru_channel_connect. A call that
 * cannot be made since nobody is there ends UNAVAILABLE, or waits with NARU_WAIT_FOR_READY.
 *
 * ret_c: owned by the caller. naru_fd, naru_cancel and naru_peer work on it; naru_stats counts
 * calls begun (sent), ended (received), and answers that came too late (dropped).
 * Returns: 0.
 * Errors: -EOPNOTSUPP the kind carries no calls, or has no names; -EINVAL an option is out of its
 * range; the common ones.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_client_open(const char *url, const struct naru_client_options *options,
                              naru_client **ret_c);

/* naru_client_attach - makes a client of the server at a connection's other end
 *
 * channel: an end of a pair, or one that was inherited; nothing was sent over it yet. It is the
 * client's from success on. When it is lost, so is the client: each call ends UNAVAILABLE.
 *
 * ret_c: owned by the caller.
 * Returns: 0.
 * Errors: -EINVAL it is no connection; -EOPNOTSUPP it goes one way; the common ones.
 * Thread: any. Fork: -ECHILD, for the channel. Blocks: never. */
NARU_API int naru_client_attach(naru_channel *channel, const struct naru_client_options *options,
                                naru_client **ret_c);

/* naru_client_process - runs what has happened to calls with events, waiting for something
 *
 * Sends what was gathered, connects, reads; the events of naru_call_on run in here.
 *
 * Returns: how many events ran.
 * Errors: -EAGAIN, -ETIMEDOUT nothing happened; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_client_process(naru_client *client, int64_t timeout);

/* naru_client_wait_ready - waits until there is a connection
 *
 * Returns: 0.
 * Errors: -ECONNRESET an attempt was in vain, and why; -EAGAIN, -ETIMEDOUT; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_client_wait_ready(naru_client *client, int64_t timeout);

/* naru_client_status - the status in which this thread's last call ended
 *
 * ret_status: its text and details are naru's, until this thread's next call ends.
 *
 * Returns: the code.
 * Errors: -EINVAL ret_status is NULL.
 * Thread: any, each has its own. Fork: works. Blocks: never. */
NARU_API int naru_client_status(struct naru_status *ret_status);

/* naru_client_close - ends a client and frees it, with all its calls
 *
 * Calls in flight are cancelled; those with events are told their end in here.
 *
 * Returns: NULL. NULL is allowed.
 * Thread: one. Fork: frees the child's copy. Blocks: never. */
NARU_API naru_client *naru_client_close(naru_client *client);

/* naru_client_invoke - calls a method: one message there and one back, waiting for it
 *
 * request: borrowed for the call. ret_reply: valid until naru_client_release; NULL: it is of no
 * interest. options: NULL for all defaults, with which it waits as long as it must.
 *
 * Returns: 0: the status is OK.
 * Errors: -ETIMEDOUT DEADLINE_EXCEEDED; -ECONNRESET UNAVAILABLE: no server, or it died; -EREMOTEIO
 * any other status, which naru_client_status tells; -ECANCELED naru_cancel ended the wait;
 * -EMSGSIZE the request is larger than the server takes; -EBUSY .max_calls are in flight; -EINVAL
 * the method streams, or metadata cannot be sent; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: up to .timeout. */
NARU_API int naru_client_invoke(naru_client *client, const naru_route *route, const void *request,
                                size_t size, const struct naru_call_options *options,
                                struct naru_payload *ret_reply);

/* naru_client_release - gives a reply of naru_client_invoke back
 *
 * Returns: 0.
 * Errors: -EINVAL it was released already; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_client_release(naru_client *client, struct naru_payload *reply);

/* ---- calls ---- */

/* naru_call_begin - begins a call of any form
 *
 * Nothing is sent before the first message, or naru_call_flush. The deadline runs from now on.
 *
 * ret_call: owned by the caller, naru_call_close.
 * Returns: 0.
 * Errors: -EBUSY .max_calls are in flight; -EINVAL the route or the metadata; the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_begin(naru_client *client, const naru_route *route,
                             const struct naru_call_options *options, naru_call **ret_call);

/* naru_call_send - sends a message of a call
 *
 * A client's request, of which a method without NARU_CLIENT_STREAMS takes one, the last; a server's
 * answer, of which one without NARU_SERVER_STREAMS gives one, sent with the status when the handler
 * returns. A message is accepted while the other side's window is open, and follows whole. With
 * events (naru_call_on) a client's messages are gathered until naru_client_process, and the first
 * one waits for the connection by itself.
 *
 * Returns: 0.
 * Errors: -EAGAIN, -ETIMEDOUT the other side is behind: an event `writable` tells when to go on;
 * -EPIPE this side has sent its last message; -EMSGSIZE larger than the other side takes; a client:
 * as naru_client_invoke, when the call has ended; a server: -ECANCELED nobody waits for it any
 * more; the common ones.
 * Thread: one each way. Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_call_send(naru_call *call, const void *data, size_t size, int64_t timeout);

/* naru_call_reserve - room for a message of a call, to be filled
 *
 * A buffer that the call keeps, so that its sender needs none. One reservation a call.
 *
 * ret_data: size writable bytes, valid until commit or abandon; 16-byte aligned.
 * Returns: 0.
 * Errors: -EBUSY one is open; those of naru_call_send.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_reserve(naru_call *call, size_t size, int64_t timeout, void **ret_data);

/* naru_call_commit - sends what was reserved, waiting as long as it must
 *
 * size: at most what was reserved. On failure the reservation is gone as well.
 *
 * Returns: 0.
 * Errors: -EINVAL data is not the open reservation, or size is larger; as naru_call_send.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: until there is room. */
NARU_API int naru_call_commit(naru_call *call, void *data, size_t size);

/* naru_call_abandon - gives a reservation up
 *
 * Returns: 0.
 * Errors: -EINVAL data is not the open reservation; the common ones.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_abandon(naru_call *call, void *data);

/* naru_call_flush - sends what was not sent yet; of a call without a message, that it begins
 *
 * Returns: 0.
 * Errors: those of naru_call_send.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_call_flush(naru_call *call, int64_t timeout);

/* naru_call_shutdown - a client sends no more requests, and goes on to take answers
 *
 * Returns: 0; shutting down twice is no error.
 * Errors: -EINVAL it is a server's call; those of naru_call_send.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: until there is a connection with room for
 * it; a call with events does not wait for room, and says -EAGAIN until it is writable. */
NARU_API int naru_call_shutdown(naru_call *call);

/* naru_call_take - takes the next message that the other side has sent
 *
 * ret_payload: valid until naru_call_release.
 * Returns: 1: a message; 0: the other side sends no more, and at a client: the status is OK.
 * Errors: -EAGAIN, -ETIMEDOUT none came; a client: as naru_client_invoke, by the status; a server:
 * -ECANCELED nobody waits for the call any more; the common ones.
 * Thread: one each way (receiving). Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_call_take(naru_call *call, int64_t timeout, struct naru_payload *ret_payload);

/* naru_call_release - gives a message of naru_call_take back
 *
 * Returns: 0.
 * Errors: -EINVAL it was not taken from this call, or is released already; the common ones.
 * Thread: one each way (receiving). Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_release(naru_call *call, struct naru_payload *payload);

/* naru_call_wait - a client waits for the status
 *
 * Messages that came meanwhile can still be taken; a stream longer than .window has to be taken
 * before.
 *
 * Returns: 0: it is OK.
 * Errors: -EAGAIN, -ETIMEDOUT it is not there yet; as naru_client_invoke; -EINVAL it is a server's
 * call.
 * Thread: one each way (receiving). Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_call_wait(naru_call *call, int64_t timeout);

/* naru_call_on - has events run instead of waiting
 *
 * In naru_client_process, or, for a handler that returns NARU_LATER, in naru_server_process. What
 * happened before is told then. events: copied.
 *
 * Returns: 0.
 * Errors: -EINVAL events is NULL; -ECANCELED the client of a server's call is gone: no event comes,
 * and the call is finished by its handler; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_on(naru_call *call, const struct naru_call_events *events, void *arg);

/* naru_call_cancel - gives a call up: the other side learns of it
 *
 * At either side the status is CANCELLED then, unless there was one.
 *
 * Returns: 0.
 * Errors: the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_cancel(naru_call *call);

/* naru_call_close - a client is done with a call; it is cancelled if it has not ended
 *
 * Messages taken from it are gone. Does nothing to a call at a server, which ends with its handler
 * or naru_call_finish.
 *
 * Returns: NULL. NULL is allowed.
 * Thread: one. Fork: does nothing. Blocks: never. */
NARU_API naru_call *naru_call_close(naru_call *call);

/* ---- a handler's ---- */

/* naru_call_fail - the text with which a call will end
 *
 * code: a status other than OK, which the handler then returns, or gives to naru_call_finish.
 *
 * Returns: code.
 * Errors: -EINVAL code is no such status, or it is a client's call; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_fail(naru_call *call, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* naru_call_fail_details - the text, and details: bytes that the client understands
 *
 * As naru_call_fail. details: up to 8 KiB, copied; with gRPC a packed google.rpc.Status.
 *
 * Returns: code.
 * Errors: -EMSGSIZE the details are larger; -EINVAL; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_fail_details(naru_call *call, int code, const void *details, size_t size,
                                    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* naru_call_finish - ends a call whose handler returned NARU_LATER
 *
 * code: as a handler returns it. Nothing may be done with the call afterwards. It has to be called
 * also when nobody waits for the call any more.
 *
 * Returns: 0.
 * Errors: -EINVAL it is finished already, or a client's call, or code is NARU_LATER.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_finish(naru_call *call, int code);

/* naru_call_set_header - metadata that goes ahead of the first message
 *
 * Returns: 0.
 * Errors: -EBUSY the first message has gone; -EINVAL the entry cannot be sent; -EMSGSIZE more than
 * 32 KiB of it; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_set_header(naru_call *call, const struct naru_metadata *entry);

/* naru_call_set_trailer - metadata that goes with the status
 *
 * Returns: 0.
 * Errors: -EINVAL the entry cannot be sent; -EMSGSIZE more than 32 KiB of it; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_set_trailer(naru_call *call, const struct naru_metadata *entry);

/* naru_call_service - the service that is called
 *
 * Returns: as it was given to naru_server_add; NULL if it is no call of a server in this process.
 * Thread: any. Fork: NULL. Blocks: never. */
NARU_API const naru_service *naru_call_service(const naru_call *call);

/* naru_call_method - the method that is called
 *
 * Returns: a row of its service's methods; NULL if it is no call of a server in this process.
 * Thread: any. Fork: NULL. Blocks: never. */
NARU_API const naru_method *naru_call_method(const naru_call *call);

/* naru_call_compress - are messages to go compressed from now on?
 *
 * As NARU_COMPRESS says it for a whole call, for each message. HTTP/2 tells the other side once,
 * ahead of the first one, that there may be any: at a server before the first message is sent, at a
 * client by NARU_COMPRESS; said later, nothing is compressed. A peer that takes no gzip gets none,
 * and a carrier that cannot takes no notice.
 *
 * Returns: 0.
 * Errors: the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_compress(naru_call *call, int on);

/* naru_call_compressed - did the message come compressed?
 *
 * The one that was taken last; in a handler that takes one, the request.
 *
 * Returns: 1, or 0.
 * Errors: the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_compressed(const naru_call *call);

/* naru_call_cancelled - does nobody wait for the call any more?
 *
 * As its client cancelled it, died, or the time passed; at a client: has it ended?
 *
 * Returns: 1, or 0.
 * Errors: the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_cancelled(const naru_call *call);

/* naru_call_header - the metadata that came first
 *
 * At a server the client's, at a client the server's initial ones, which are there when the first
 * message or the status is. i: which value of that key, from 0.
 *
 * ret_entry: naru's, as long as the call.
 * Returns: 0.
 * Errors: -ENOENT there is none; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_header(const naru_call *call, const char *key, unsigned i,
                              struct naru_metadata *ret_entry);

/* naru_call_trailer - the metadata that came with the status, at a client
 *
 * As naru_call_header.
 * ret_entry: naru's, as long as the call.
 * Returns: 0.
 * Errors: -ENOENT there is none; the common ones.
 * Thread: one. Fork: -ECHILD. Blocks: never. */
NARU_API int naru_call_trailer(const naru_call *call, const char *key, unsigned i,
                               struct naru_metadata *ret_entry);

/* naru_call_time_left - how long until the deadline
 *
 * Returns: nanoseconds, 0 if it has passed; NARU_FOREVER without one.
 * Errors: the common ones.
 * Thread: any. Fork: -ECHILD. Blocks: never. */
NARU_API int64_t naru_call_time_left(const naru_call *call);

/* ---- flat structs as arguments ---- */

/* NARU_METHOD_STRUCT - declares a method that takes one struct and gives one, and yields
 *
 *   const naru_route name_route;
 *   int name(naru_client *, const request_type *, reply_type *ret_reply,
 *            const struct naru_call_options *);
 *
 * path: "example.Calculator/Add". The reply is written on success alone. Both sides must mean the
 * same structs, or the call ends FAILED_PRECONDITION with both signatures; a struct for other
 * processes has fixed-width fields and no pointers. */
#define NARU_METHOD_STRUCT(name, path, request_type, reply_type)                                   \
    NARU_MAYBE_UNUSED_ static const struct naru_layout name##_layout = {                           \
        #request_type, #reply_type, sizeof(request_type), NARU_ALIGNOF_(request_type),             \
        sizeof(reply_type), NARU_ALIGNOF_(reply_type)};                                            \
    NARU_MAYBE_UNUSED_ static const naru_route name##_route = {path, 0, &name##_layout};           \
    NARU_MAYBE_UNUSED_ static inline int name(naru_client *client, const request_type *request,    \
                                              reply_type *ret_reply,                               \
                                              const struct naru_call_options *options)             \
    {                                                                                              \
        struct naru_payload reply;                                                                 \
        reply.data = NULL;                                                                         \
        int r = naru_client_invoke(client, &name##_route, request, sizeof *request, options,       \
                                   &reply);                                                        \
        if (r == 0 && reply.size == sizeof *ret_reply)                                             \
            memcpy(ret_reply, reply.data, sizeof *ret_reply);                                      \
        else if (r == 0)                                                                           \
            r = -EPROTO;                                                                           \
        if (reply.data)                                                                            \
            (void)naru_client_release(client, &reply);                                             \
        return r;                                                                                  \
    }

/* NARU_SERVE_STRUCT - makes a function the handler of such a method, as name_serve
 *
 *   static int function(naru_call *, void *self, const request_type *, reply_type *ret_reply);
 *
 * which returns as a handler does; its row is {"Add", 0, name_serve, NULL, &name_layout}. */
#define NARU_SERVE_STRUCT(name, function, request_type, reply_type)                                \
    static int name##_serve(naru_call *call, void *self, const void *request, size_t size)         \
    {                                                                                              \
        request_type is;                                                                           \
        reply_type reply;                                                                          \
        if (size != sizeof is)                                                                     \
            return naru_call_fail(call, NARU_STATUS_INVALID_ARGUMENT,                              \
                                  "a " #request_type " has %zu bytes and %zu came", sizeof is,     \
                                  size);                                                           \
        memcpy(&is, request, sizeof is);                                                           \
        memset(&reply, 0, sizeof reply);                                                           \
        int r = function(call, self, &is, &reply);                                                 \
        return r == 0 ? naru_call_send(call, &reply, sizeof reply, NARU_FOREVER) : r;              \
    }

#ifdef __cplusplus
}
#endif
#endif
