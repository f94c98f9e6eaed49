/* SPDX-License-Identifier: MIT */
/* carrier.h - the contract between calls (call.c, client.c, server.c) and what carries them.
 *
 * A carrier is one connection to the other side. It knows calls by their `flow` alone: how they are
 * numbered, framed, held back and opened again is its own. There is one on naru's connections
 * (carrier-channel.c); HTTP/2 fits in its place.
 *
 * Every slot is called with the owner's lock held, and calls back with it held; none waits. Only
 * one thread at a time, the reader, calls process, and only it and the owner's end call close. */
#ifndef NARU_RPC_CARRIER_H
#define NARU_RPC_CARRIER_H

#include "base/private.h"
#include "core/transport.h"
#include "naru/service.h"
#include "rpc/frames.h"

struct naru_call;
struct naru_carrier;

/* A call's side of the wire, embedded in it; the carrier's to use. */
struct naru_flow {
    uint64_t id;
    void *stream;      /* the carrier's own, if it keeps one */
    bool opened;       /* the carrier knows it */
    bool leaves;       /* the status is on its way, and on_gone will tell */
    bool compress;     /* the owner's: messages go compressed, where the carrier can */
    bool limited;      /* what goes out is a stream, and its receiver's window counts */
    bool counted;      /* what comes in is one, and ours does */
    int64_t credit;    /* may still be sent; a message may while it is > 0 */
    int64_t granted;   /* may still come */
    uint64_t consumed; /* taken here since the last WINDOW */
    struct {           /* of a message that could not go at once */
        uint8_t *data; /* owned */
        size_t size, gone;
    } rest;
    bool ends;       /* after the rest: half-closed */
    uint8_t *status; /* owned: and then this frame, the last one */
    size_t status_size;
    struct { /* one that comes in parts */
        uint8_t *data;
        size_t size, got, room;
    } joining;
    bool waits; /* in the carrier's list of those who want the medium */
    struct naru_call *next_waiting;
};

/* What a message costs of a window: an empty one, too. */
static inline int64_t naru__cost(size_t size)
{
    return (int64_t)size + 64;
}

/* A message that has come. In place (whole): valid until the upcall returns, or kept. */
struct naru_arrival {
    const void *data;
    size_t size;
    uint8_t *owned; /* data is allocated, and whoever takes the arrival frees it; or NULL */
    bool compressed; /* on its way */
};

struct naru_opening {
    const naru_route *route;
    int64_t time; /* left until the deadline, NARU_FOREVER */
    struct naru_span metadata;
};

NARU__EXPORTED uint64_t naru__layout_signature(const struct naru_layout *); /* 0: NULL */

struct naru_ending {
    int code;
    struct naru_span text, metadata, details;
};

struct naru_call_request { /* what opens a call at a server */
    void *method;          /* as resolved; NULL: there is no such */
    int64_t time;          /* NARU_FOREVER */
    uint64_t signature;
    struct naru_span metadata; /* copied from the wire, checked; borrowed */
};

struct naru_carrier_limits {
    size_t max_message, max_metadata, window;
    unsigned max_calls;
    size_t max_unread, max_unfinished;
    int64_t ping_interval;
    int64_t keepalive; /* a silent other side is known to be gone after it, 0: it is not asked */
};

struct naru_carrier_ops {
    size_t size;
    /* Handles at most one thing that has come. 1: did; 0: nothing there; negative: it is lost. */
    int (*process)(struct naru_carrier *);
    /* From memory alone, without the lock, by the reader: would process do something? */
    bool (*ready)(struct naru_carrier *);
    /* Does looking (process) cost no system call? */
    bool (*cheap)(struct naru_carrier *);
    /* Adds what tells that process or flush can get on. */
    int (*watch)(struct naru_carrier *, struct naru_watch *watch);
    /* Does something wait to go? Then flush, when watch tells. */
    bool (*owes)(struct naru_carrier *);
    /* Sends what was held together or did not go. 0: all; -EAGAIN: watch tells; else lost. */
    int (*flush)(struct naru_carrier *);
    /* Has the other side's end been reached, so that calls can be opened? 0, -EAGAIN, lost. */
    int (*met)(struct naru_carrier *);

    /* Client: opens a call with its first message (data, may be NULL: none), and half-closes. A
     * message is accepted whole, or -EAGAIN. */
    int (*open)(struct naru_carrier *, struct naru_call *, const struct naru_opening *,
                const void *data, size_t size, bool end);
    /* 0: accepted; -EAGAIN: no window, or too much waits; on_writable tells. */
    int (*message)(struct naru_carrier *, struct naru_call *, const void *data, size_t size,
                   bool end);
    int (*half_close)(struct naru_carrier *, struct naru_call *);
    int (*cancel)(struct naru_carrier *, struct naru_call *, int code);
    /* Server. status: with the answer of a unary call, or NULL. The flow is over then: 0, or 1: it
     * still has to go, and on_gone tells. */
    int (*header)(struct naru_carrier *, struct naru_call *, struct naru_span metadata);
    int (*status)(struct naru_carrier *, struct naru_call *, const struct naru_ending *,
                  const void *data, size_t size);
    /* So many bytes of the stream were taken by the application. */
    void (*consumed)(struct naru_carrier *, struct naru_call *, size_t size);
    /* The call leaves: forget its number. */
    void (*forget)(struct naru_carrier *, struct naru_call *);
    /* The arrival of the upcall that is running stays in place until `release`. */
    void (*keep)(struct naru_carrier *, struct naru_message *ret_message);
    void (*release)(struct naru_carrier *, struct naru_message *);
    /* Server: no more calls. code: why. */
    int (*goaway)(struct naru_carrier *, int code);
    /* Server: so much of what was answered waits that no other handler is to begin. NULL: it reads
     * no more then. */
    bool (*full)(struct naru_carrier *);
    int (*peer)(struct naru_carrier *, struct naru_peer *);
    const char *(*name)(struct naru_carrier *);
    void (*close)(struct naru_carrier *);
};

/* The owner's side. */
struct naru_carrier_events {
    size_t size;
    /* Server: what a path means; NULL: nothing. Asked once for a number. */
    void *(*resolve)(struct naru_carrier *, const char *path);
    /* Server. 0, or the code by which it is refused; naru_why has the text. The call's flow is
     * zeroes but for what the two streams are. */
    int (*on_open)(struct naru_carrier *, const struct naru_call_request *,
                   struct naru_call **ret_call);
    void (*on_header)(struct naru_call *, struct naru_span metadata);
    /* Takes arrival->owned over. */
    void (*on_message)(struct naru_call *, const struct naru_arrival *);
    void (*on_half_close)(struct naru_call *);
    /* The flow is over. Client: the server's status; server: the client gave up. */
    void (*on_end)(struct naru_call *, const struct naru_ending *);
    /* What came for it cannot be true, or is too large: the flow is forgotten by the carrier, and
     * the other side is to be told by its owner (status, cancel) before. */
    void (*on_fault)(struct naru_call *, int code, const char *text);
    void (*on_writable)(struct naru_call *);
    void (*on_gone)(struct naru_call *);
    void (*on_goaway)(struct naru_carrier *, int code);
    /* Client: an answer to a call that is forgotten. */
    void (*on_late)(struct naru_carrier *);
};

struct naru_carrier {
    const struct naru_carrier_ops *ops;
    const struct naru_carrier_events *events;
    void *owner;
    bool server;
    bool going;                /* the owner's: the server has told its clients to go */
    struct naru_carrier *next; /* the owner's: of those that are lost */
    unsigned pins;             /* the owner's: arrivals kept in place */
    bool gather; /* the owner's: frames are put together until flush, if a write costs much */
    struct naru_carrier_limits here;
};

/* A carrier with a protocol of its own on a stream of bytes: a row of net/module.h. */
struct naru_carrier_kind {
    size_t size;
    const char *scheme; /* "grpc" */
    const char *medium; /* the scheme of the transport whose streams it uses: "tcp" */
    /* The stream is the carrier's from success on. */
    int (*make)(naru_stream *, bool server, const struct naru_carrier_limits *,
                const struct naru_carrier_events *, void *owner, struct naru_carrier **ret_carrier);
};

/* Where calls go, as their URL says. */
struct naru_service_at {
    struct naru_url url;
    const struct naru_transport *transport;
    const struct naru_carrier_kind *carrier; /* NULL: naru's frames, on connections */
};

/* Over a connection, which is the carrier's from success on. */
int naru__channel_carrier(naru_channel *, bool server, const struct naru_carrier_limits *,
                          const struct naru_carrier_events *, void *owner,
                          struct naru_carrier **ret_carrier);

#endif
