/* SPDX-License-Identifier: MIT */
/* call.h - one call: what a client's and a server's have in common. */
#ifndef NARU_RPC_CALL_H
#define NARU_RPC_CALL_H

#include "base/private.h"
#include "rpc/carrier.h"

#include <pthread.h>

/* A thread that waits for something of a call, or of its client. */
struct naru_waiter {
    struct naru_waiter *next, *previous;
    _Atomic uint32_t word; /* raised by whoever wakes it */
};

/* A message that was received and waits for its reader. */
struct naru_received {
    struct naru_received *next;
    size_t size;
    bool compressed; /* it came so */
    uint8_t *owned;  /* where it is, or NULL: at `data` */
    uint8_t data[];
};

enum { CALL_SMALL = 256, CALL_KEEPS = 65536, CALL_SPARE = 1024, CALLS_HOT = 32 };

/* Memory that a call keeps from one use to the next. */
struct naru_buffer {
    uint8_t *data;
    size_t size, used;
};

struct naru_call;

/* What differs between a client's calls and a server's. With the call's lock held, unless said. */
struct naru_call_side {
    size_t size;
    /* Waits until done(call), as the receiving (0) or sending (1) thread. The lock is let go
     * meanwhile. */
    int (*await)(struct naru_call *, int thread, bool (*done)(const struct naru_call *),
                 int64_t deadline);
    /* The carrier does not know the call yet: opens it, with a message if data is not NULL. */
    int (*open)(struct naru_call *, const void *data, size_t size, bool end, int64_t deadline);
    /* Server: what goes ahead of the first message. NULL: nothing does. */
    int (*header)(struct naru_call *);
    /* Something was sent: whoever flushes has to know. */
    void (*sent)(struct naru_call *);
    /* What was accepted goes, as long as the caller may wait; if another thread sees to it, that
     * one does. */
    void (*settle)(struct naru_call *, int64_t deadline);
    int (*cancel)(struct naru_call *, int code);
    /* The message is the answer of a unary call. NULL: there are none. */
    int (*answer)(struct naru_call *, const void *data, size_t size);
    void (*queue_events)(struct naru_call *);
    /* What a function says that can do no more as the call is over. */
    int (*over)(struct naru_call *);
    /* Sending failed by `code`: what to say. */
    int (*broken)(struct naru_call *, int code);
    int (*listens)(struct naru_call *); /* it gets events */
    void (*release)(struct naru_call *, struct naru_payload *);
};

/* What a call is: a handle, so that wrong pointers are found and naru_peer works on it; its flow;
 * its fields, guarded by *lock, the client's or the connection's. */
struct naru_call {
    struct naru_handle handle;
    struct {                                /* memory that stays with it from one use to the next */
        struct naru_buffer received;        /* a message */
        struct naru_buffer answer;          /* server: of a unary method; a reservation of either */
        struct naru_buffer header, trailer; /* to be sent */
        struct naru_buffer their_header, their_trailer; /* received */
    } keeps;
    const struct naru_call_side *side;
    pthread_mutex_t *lock;
    void *owner;                       /* client or connection */
    struct naru_flow flow;             /* from here on: zeroes at the beginning of each use */
    struct naru_carrier *carrier;      /* NULL: not opened, or lost */
    struct naru_call *next, *previous; /* the owner's list of calls in use */
    struct naru_waiter *waiter[2];     /* receiving, sending */
    unsigned method_flags;
    const char *path;
    int64_t begun_at; /* if somebody is told of its end */
    uint64_t bytes_out, bytes_in;
    int64_t deadline; /* NARU__NEVER */
    size_t timer;     /* its place in a heap, 0: none */
    int refs;

    bool out_ended, in_ended; /* half-closed by us, by them */
    bool over;                /* the status is known; at a server: nobody waits for it any more */
    bool cancelled;           /* by this side */
    int code;                 /* of the status; at a server: what naru_call_fail said */
    char *text;               /* owned, NULL: of the code */
    uint8_t *details;
    size_t details_size;

    struct naru_received *first, *last;
    unsigned received;          /* messages */
    bool compressed;            /* the one that was taken last came so */
    bool small_used, kept_used; /* what lies there waits, or was taken and not released */
    unsigned sent;              /* messages accepted */
    bool answered;              /* keeps.answer has a unary method's */
    void *reserved;
    size_t reserved_size;
    bool shut; /* a send said -EAGAIN, and writable has not come */

    struct naru_call_events events;
    bool has_events;
    void *arg;
    bool now_writable, told_end, told_half;
    bool queued, runs; /* for its events; in one of them */
    struct naru_call *next_event;

    struct naru_message in_place; /* kept by the carrier */
    bool has_in_place;
    bool in_place_next; /* and the first message of the list stands for it */

    /* client */
    const naru_route *route;
    unsigned flags; /* of its options */
    struct naru_call *next_held;
    bool held, held_end; /* an async call that cannot be opened yet, and its message */
    uint8_t *held_data;  /* owned, NULL: none */
    size_t held_size;
    bool unbegun; /* lost, and the server has never begun with it */
    bool closed;  /* by its user, while its events run */
    struct naru_call *parent, *children, *next_child; /* guarded by the parent's lock */
    /* server */
    const naru_service *service;
    const naru_method *method;
    void *self;
    const uint8_t *request; /* copied for a worker, or in place */
    size_t request_size;
    struct naru_payload request_payload;
    bool finished, running, header_sent, has_request, began;

    _Alignas(16) uint8_t small[sizeof(struct naru_received) + CALL_SMALL];
};

/* ---- call.c; all with the lock held unless said ---- */

struct naru_call *naru__call_new(const struct naru_handle_ops *, const struct naru_call_side *,
                                 pthread_mutex_t *lock, void *owner, const char *name);
void naru__call_free(struct naru_call *);

/* Calls that wait for their next use. The next CALLS_HOT keep buffers up to CALL_KEEPS, the others
 * up to CALL_SPARE, or a moment of many large calls would cost their memory for ever. */
struct naru_spares {
    struct naru_call *hot, *cold;
    unsigned n_hot, n_cold;
};

struct naru_call *naru__spares_take(struct naru_spares *); /* NULL: none */
void naru__spares_give(struct naru_spares *, struct naru_call *, unsigned most);
void naru__spares_free(struct naru_spares *);

NARU__EXPORTED int naru__buffer_need(struct naru_buffer *, size_t size); /* contents are kept */
/* Before `size` bytes are put behind those that are there, of which the first `gone` are done with:
 * these give their room back, once it is the larger part. */
NARU__EXPORTED void naru__buffer_slide(struct naru_buffer *, size_t *gone, size_t size);
int naru__buffer_set(struct naru_buffer *, const void *data, size_t size);
void naru__buffer_trim(struct naru_buffer *, size_t most);

/* Takes the arrival. -ENOMEM: it is lost. */
int naru__call_receive(struct naru_call *, const struct naru_arrival *);
/* The next message: 1; 0: none now. */
int naru__call_next(struct naru_call *, struct naru_payload *ret_payload);
void naru__call_drop(struct naru_call *, struct naru_payload *); /* is released */

/* Tells the hook that the call is over; text as in a status. */
void naru__call_tell(const struct naru_call *, naru_call_hook *, void *arg, int code,
                     struct naru_span text);
/* The metadata by which a trace goes on, of the call that is served for this one. */
int naru__call_pass_trace(struct naru_call *, const struct naru_call *parent);

void naru__call_set_status(struct naru_call *, int code, const char *text, size_t size);
int naru__call_set_details(struct naru_call *, const void *details, size_t size);

int naru__call_add_metadata(struct naru_call *, struct naru_buffer *list,
                            const struct naru_metadata *, size_t limit, const char *what);

void naru__waiter_wake(struct naru_waiter *);

/* ---- exchange.c: what both sides' functions do, after their arguments are checked; without the
 * lock, which they take ---- */

int naru__call_send(struct naru_call *, const void *data, size_t size, bool end, int64_t deadline);
int naru__call_reserve(struct naru_call *, size_t size, void **ret_data);
int naru__call_commit(struct naru_call *, size_t size);
int naru__call_flush(struct naru_call *, int64_t deadline);
int naru__call_shutdown(struct naru_call *);
int naru__call_take(struct naru_call *, int64_t deadline, struct naru_payload *ret_payload);
int naru__call_on(struct naru_call *, const struct naru_call_events *, void *arg);
int naru__call_find(const struct naru_call *, bool trailer, const char *key, unsigned i,
                    struct naru_metadata *ret_entry);
/* Runs what has happened to a call, letting the lock go around each event. False: nothing did. */
bool naru__call_run_events(struct naru_call *);
/* Events that a carrier's upcalls raise, alike on both sides. */
void naru__call_on_message(struct naru_call *, const struct naru_arrival *);
void naru__call_on_half_close(struct naru_call *);
void naru__call_on_writable(struct naru_call *);
bool naru__call_is_over(const struct naru_call *);
bool naru__call_can_take(const struct naru_call *);
bool naru__call_can_send(const struct naru_call *);

/* ---- a heap of deadlines ---- */

struct naru_timers {
    struct naru_call **heap; /* from 1 on */
    size_t n, room;
};

int naru__timers_add(struct naru_timers *, struct naru_call *);
void naru__timers_remove(struct naru_timers *, struct naru_call *);
/* The earliest, NULL. */
struct naru_call *naru__timers_first(const struct naru_timers *);
void naru__timers_free(struct naru_timers *);

/* ---- status.c ---- */

const char *naru__status_name(int code); /* "NOT_FOUND" */
/* What a client's function returns for a status; what a handler's negative errno becomes. */
int naru__status_to_errno(int code);
int naru__status_from_errno(int code);
/* This thread's last status. */
void naru__status_keep(int code, const char *text, const void *details, size_t size);
void naru__status_last(struct naru_status *ret_status);

#endif
