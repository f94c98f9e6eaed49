/* SPDX-License-Identifier: MIT */
/* naru/service.h - services: calls of functions in another process.
 *
 *   server   naru_server_new, naru_server_add (what), naru_server_listen (where), naru_server_run
 *   client   naru_client_open (where), naru_invoke and naru_call_begin (what)
 *   call     naru_call: one call, the same handle at both ends
 *
 * A method takes one message or a stream of them and answers with one or a stream: the four forms.
 * Messages are bytes here. What protoc-gen-naru makes from a .proto file calls this with packed
 * messages, and NARU_METHOD_STRUCT with a flat struct; over shm: neither is copied on its way.
 *
 * A call ends with a status: one of 17 codes, a text, and details if the server gave any. On the
 * client's side each function returns the negative errno that fits it: -ETIMEDOUT for
 * DEADLINE_EXCEEDED, -ECANCELED for CANCELLED by this side, -ECONNRESET for UNAVAILABLE, else
 * -EREMOTEIO; naru_client_status tells the status itself.
 *
 * URLs: shm:, unix:, tcp:; over pipe: (or any connection there is) naru_server_attach and
 * naru_client_attach. The wire form is in naru-service(7).
 *
 * Thread: a client may be used by any number of threads, a call by one sending and one receiving
 * thread at once, a server by one; naru_call_cancel, naru_cancel and naru_server_shutdown from
 * anywhere. */
#ifndef NARU_SERVICE_H
#define NARU_SERVICE_H

#include <naru/channel.h>
#include <stdarg.h>

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

/* Serves one call. request: the one message of a method without NARU_CLIENT_STREAMS, in place until
 * the handler returns, and if it returns NARU_LATER until the call is finished; else NULL, and the
 * messages come by naru_call_take or naru_call_on. An answer is sent by naru_call_send, or reserved
 * and committed: exactly one of a method without NARU_SERVER_STREAMS.
 *
 * Returns: NARU_STATUS_OK; another status code, its text given by naru_call_fail; a negative errno,
 * which becomes the status that fits, with naru_why's sentence; or NARU_LATER. */
typedef int naru_handler(naru_call *call, void *self, const void *request, size_t size);

typedef struct naru_method {
    const char *name; /* "Add" */
    unsigned flags;
    naru_handler *serve;
    const void *more; /* of generated code */
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
    int64_t keepalive;       /* of silent clients on tcp:, as struct naru_channel_options */
    const int64_t *uids;     /* who may call, by uid, ended by -1; NULL: this user and root */
    const int64_t *gids;     /* or by gid, ended by -1; NULL: none */
    mode_t mode;             /* of a socket file made for it, 0: 0600 */
    unsigned flags;          /* NARU_ANY_USER, NARU_SPIN, NARU_SLEEP */
};

/* ---- clients and calls ---- */

struct naru_client_options {
    size_t size;           /* sizeof(struct naru_client_options) */
    size_t max_message;    /* of an answer, 0: 4 MiB */
    size_t window;         /* bytes of a stream that may wait for its reader, 0: 256 KiB */
    unsigned max_calls;    /* in flight, 0: 10 000 */
    int64_t first_backoff; /* before the second attempt to connect, 0: 50 ms; doubles, with jitter */
    int64_t max_backoff;   /* 0: 5 s */
    int64_t keepalive;     /* of a silent server on tcp:, as struct naru_channel_options */
    int64_t user_timeout;
    unsigned flags;        /* NARU_WAIT_FOR_READY for each call; NARU_DELAY, NARU_ANY_USER, NARU_SPIN,
                            * NARU_SLEEP */
};

#define NARU_WAIT_FOR_READY 512u /* a call waits for a server that is not there, up to its deadline */

struct naru_call_options {
    size_t size;          /* sizeof(struct naru_call_options) */
    int64_t timeout;      /* the deadline, from now; 0: none (or the parent's) */
    unsigned flags;       /* NARU_WAIT_FOR_READY */
    unsigned retries;     /* of an NARU_IDEMPOTENT method that ended UNAVAILABLE, at most */
    const struct naru_metadata *metadata; /* sent along; borrowed for the call */
    size_t n_metadata;
    naru_call *parent;    /* the call being served for which this one is made: its deadline and its
                           * cancellation are this one's, too */
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
} naru_route;

/* DRAFT: the texts of what follows are to be written in the form of CONTRIBUTING.md */
NARU_API int naru_server_new(const struct naru_server_options *options, naru_server **ret_s);
NARU_API int naru_server_add(naru_server *server, const naru_service *service, void *self);
NARU_API int naru_server_listen(naru_server *server, const char *url);
NARU_API int naru_server_attach(naru_server *server, naru_channel *channel); /* the server's then */
NARU_API int naru_server_process(naru_server *server, int64_t timeout);
NARU_API int naru_server_run(naru_server *server);                     /* until shut down */
NARU_API int naru_server_shutdown(naru_server *server, int64_t grace); /* any thread, signal handler */
NARU_API naru_server *naru_server_close(naru_server *server);

NARU_API int naru_client_open(const char *url, const struct naru_client_options *options,
                              naru_client **ret_c); /* does not wait for the server */
NARU_API int naru_client_attach(naru_channel *channel, const struct naru_client_options *options,
                                naru_client **ret_c);
NARU_API int naru_client_process(naru_client *client, int64_t timeout); /* events run in here */
NARU_API int naru_client_wait_ready(naru_client *client, int64_t timeout);
NARU_API int naru_client_status(struct naru_status *ret_status); /* of this thread's last call */
NARU_API naru_client *naru_client_close(naru_client *client);

/* One message to and one back, waiting for it. ret_reply: naru_client_release. */
NARU_API int naru_client_invoke(naru_client *client, const naru_route *route, const void *request,
                                size_t size, const struct naru_call_options *options,
                                struct naru_payload *ret_reply);
NARU_API int naru_client_release(naru_client *client, struct naru_payload *reply);

/* Any form. Nothing is sent before the first message, or naru_call_flush. */
NARU_API int naru_call_begin(naru_client *client, const naru_route *route,
                             const struct naru_call_options *options, naru_call **ret_call);
NARU_API int naru_call_send(naru_call *call, const void *data, size_t size, int64_t timeout);
NARU_API int naru_call_reserve(naru_call *call, size_t size, int64_t timeout, void **ret_data);
NARU_API int naru_call_commit(naru_call *call, void *data, size_t size);
NARU_API int naru_call_abandon(naru_call *call, void *data);
NARU_API int naru_call_flush(naru_call *call, int64_t timeout);    /* the call without a message yet */
NARU_API int naru_call_shutdown(naru_call *call);                  /* a client: no more requests */
/* 1: a message; 0: the other side sends no more; negative errno */
NARU_API int naru_call_take(naru_call *call, int64_t timeout, struct naru_payload *ret_payload);
NARU_API int naru_call_release(naru_call *call, struct naru_payload *payload);
NARU_API int naru_call_wait(naru_call *call, int64_t timeout);     /* a client: for the status */
NARU_API int naru_call_on(naru_call *call, const struct naru_call_events *events, void *arg);
NARU_API int naru_call_cancel(naru_call *call);                    /* any thread, either side */
NARU_API naru_call *naru_call_close(naru_call *call);              /* a client; cancels what is not done */

/* A handler's */
NARU_API int naru_call_fail(naru_call *call, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));                         /* returns code */
NARU_API int naru_call_fail_details(naru_call *call, int code, const void *details, size_t size,
                                    const char *format, ...) __attribute__((format(printf, 5, 6)));
NARU_API int naru_call_finish(naru_call *call, int code);          /* after NARU_LATER; any thread */
NARU_API int naru_call_set_header(naru_call *call, const struct naru_metadata *entry);
NARU_API int naru_call_set_trailer(naru_call *call, const struct naru_metadata *entry);
NARU_API const naru_service *naru_call_service(const naru_call *call);
NARU_API const naru_method *naru_call_method(const naru_call *call);
NARU_API int naru_call_cancelled(const naru_call *call);           /* 1: nobody waits for it */

/* Both sides': what the other sent. The i-th value of a key, from 0; -ENOENT. */
NARU_API int naru_call_header(const naru_call *call, const char *key, unsigned i,
                              struct naru_metadata *ret_entry);
NARU_API int naru_call_trailer(const naru_call *call, const char *key, unsigned i,
                               struct naru_metadata *ret_entry);
NARU_API int64_t naru_call_time_left(const naru_call *call);       /* NARU_FOREVER without a deadline */

#ifdef __cplusplus
}
#endif
#endif
