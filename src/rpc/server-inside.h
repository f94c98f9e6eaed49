/* SPDX-License-Identifier: MIT */
/* server-inside.h - what the two files of a server share: server.c has listeners, connections and
 * the loop, served.c calls and their handlers. */
#ifndef NARU_RPC_SERVER_INSIDE_H
#define NARU_RPC_SERVER_INSIDE_H

#include "rpc/server.h"

struct entry { /* a method that is served */
    struct entry *next;
    const naru_service *service;
    const naru_method *method;
    void *self;
    uint64_t signature;
    char path[];
};

struct connection {
    struct naru_server *server;
    pthread_mutex_t lock;
    struct naru_carrier *carrier; /* NULL: it is gone, and its last calls are being finished */
    struct naru_call *calls;
    struct naru_spares spares;
    unsigned n_calls;
    struct naru_call *run, *run_last; /* calls whose handler is to run, by next_event */
    struct naru_call *events, *events_last;
    struct naru_timers timers;
    char *name;
    bool lost, going, proven;
    unsigned depth;      /* of handlers that run in the loop's thread */
    unsigned working;    /* calls that workers have */
    unsigned ungathered; /* so many answers go one by one, for a handler was slow */

    struct connection *next, *previous; /* the loop's list */
    struct connection *next_due, *next_hot;
    bool due, hot, ticks, armed_out; /* due: guarded by the server's lock */
    bool denied;                     /* whoever it is may not call */
    bool told;                       /* and knows it */
    struct naru_watch armed;
    int64_t born, idle_since, go_at;
};

struct listener {
    struct listener *next;
    struct naru_listener *handle;
    const struct naru_carrier_kind *carrier; /* NULL: naru's frames, on connections */
    int fd;
};

struct place { /* whose a descriptor in the set is */
    struct connection *connection;
    struct listener *listener;
};

struct naru_server {
    struct naru_handle handle;
    struct naru_server_options options;
    struct naru_carrier_limits limits;
    int epoll;
    struct place *places; /* by descriptor */
    int n_places;
    struct listener *listeners;
    struct connection *connections;
    unsigned n_connections, n_unproven;
    struct entry **table; /* methods by the hash of their path */
    size_t table_size, n_entries;
    const naru_service **services; /* as they were added; guarded by the lock */
    size_t n_services;
    struct naru_workers *workers;

    pthread_mutex_t lock;
    struct connection *due, *gone; /* gone: closed, and calls of theirs are not finished yet */
    _Atomic bool has_due;
    struct connection *hot; /* the loop's */
    unsigned n_ticks;
    _Atomic unsigned n_calls;
    _Atomic uintptr_t thread; /* in naru_server_process now */

    int64_t next_timer, next_sweep;
    unsigned rounds;
    _Atomic int64_t stop_at; /* 0: it runs; else when calls are ended */
    bool stopping, ended;
    bool attached, runs; /* it had connections that it did not accept; naru_server_run is in */
};

/* Is this the thread that is in naru_server_process? */
static inline bool naru__in_loop(struct naru_server *s)
{
    /* relaxed: a thread finds its own number, or another one */
    return atomic_load_explicit(&s->thread, memory_order_relaxed) == naru__thread();
}

/* ---- server.c ---- */

struct entry *naru__find_method(const struct naru_server *, const char *path);
/* The loop is to look at the connection. Any thread, with or without its lock. */
void naru__make_due(struct naru_server *, struct connection *);

/* ---- served.c; all with the connection's lock held ---- */

extern const struct naru_carrier_events naru__served_events;

/* Runs the next handler of those that are to run, or gives it to a worker, and what has happened
 * to calls with events; the lock is let go meanwhile. */
void naru__run_next(struct connection *);
void naru__run_events(struct connection *);
void naru__run_in_worker(struct naru_call *); /* without the lock */
/* The server ends the call, before its handler does. */
void naru__end_now(struct naru_call *, int code, const char *text);
/* One that no handler has begun with is gone then. */
void naru__drop_unbegun(struct naru_call *);
void naru__release_request(struct naru_call *);
/* The client is gone: its calls are over. */
void naru__lose_calls(struct connection *);
/* Lets the lock go, and frees the connection if it is gone and this was the last of its calls. */
void naru__leave_connection(struct connection *);
void naru__free_connection(struct connection *); /* without the lock */

static inline void naru__list(struct connection **list, struct connection *n)
{
    n->next = *list;
    n->previous = NULL;
    if (n->next)
        n->next->previous = n;
    *list = n;
}

static inline void naru__unlist(struct connection **list, struct connection *n)
{
    if (n->next)
        n->next->previous = n->previous;
    if (n->previous)
        n->previous->next = n->next;
    else
        *list = n->next;
}

#endif
