/* SPDX-License-Identifier: MIT */
/* server.c - servers: listeners and connections in one loop. What is done with calls is served.c's.
 *
 * One thread is in naru_server_process; what it alone touches needs no lock: listeners, the list
 * of connections, what is armed. A connection's lock guards its carrier and its calls, for workers
 * and naru_call_finish send from other threads. The server's lock guards the list of connections
 * that such a thread has touched. Order: connection, then server; a connection, then a client's.
 *
 * Connections lie in one epoll set, so idle ones cost nothing. Those in shared memory that were
 * active lately are `hot`: they are looked at in memory, and armed only before the loop sleeps. */
#include "rpc/server-inside.h"

#include "base/error.h"
#include "base/memory.h"
#include "core/cover.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/limit.h"
#include "os/poll.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* ---- methods ---- */

static size_t hash(const char *path)
{
    size_t h = 1469598103u;
    for (; *path; path++)
        h = (h ^ (unsigned char)*path) * 16777619u;
    return h;
}

struct entry *naru__find_method(const struct naru_server *s, const char *path)
{
    if (*path == '/')
        path++;
    struct entry *e = s->table_size ? s->table[hash(path) & (s->table_size - 1)] : NULL;
    while (e && strcmp(e->path, path) != 0)
        e = e->next;
    return e;
}

static int grow_table(struct naru_server *s)
{
    size_t size = s->table_size ? s->table_size * 2 : 16;
    struct entry **table = naru__alloc(size * sizeof *table);
    if (!table)
        return -ENOMEM;
    for (size_t i = 0; i < s->table_size; i++)
        for (struct entry *e = s->table[i], *next; e; e = next) {
            next = e->next;
            e->next = table[hash(e->path) & (size - 1)];
            table[hash(e->path) & (size - 1)] = e;
        }
    free(s->table);
    s->table = table;
    s->table_size = size;
    return 0;
}

static int add_method(struct naru_server *s, const naru_service *service, const naru_method *method,
                      void *self)
{
    char path[RPC_PATH_MAX + 1];
    int n = snprintf(path, sizeof path, "%s/%s", service->name, method->name);
    if (n < 0 || n > RPC_PATH_MAX || !method->serve)
        return naru__fail(-EINVAL, "the method %s/%s has %s", service->name, method->name,
                          method->serve ? "a name that is too long" : "no handler");
    if (naru__find_method(s, path))
        return naru__fail(-EEXIST, "the method %s is served already", path);
    int r = s->n_entries >= s->table_size ? grow_table(s) : 0;
    struct entry *e = r < 0 ? NULL : naru__alloc(sizeof *e + (size_t)n + 1);
    if (!e)
        return -ENOMEM;
    e->service = service;
    e->method = method;
    e->self = self;
    e->signature = naru__layout_signature(method->layout);
    memcpy(e->path, path, (size_t)n + 1);
    struct entry **at = &s->table[hash(path) & (s->table_size - 1)];
    e->next = *at;
    *at = e;
    s->n_entries++;
    return 0;
}

/* A worker may be looking at the list. */
static int list_service(naru_server *s, const naru_service *service)
{
    const naru_service **grown = naru__alloc((s->n_services + 1) * sizeof *grown), **old;
    if (!grown)
        return -ENOMEM;
    pthread_mutex_lock(&s->lock);
    old = s->services;
    if (s->n_services)
        memcpy(grown, old, s->n_services * sizeof *grown);
    grown[s->n_services++] = service;
    s->services = grown;
    pthread_mutex_unlock(&s->lock);
    free(old);
    return 0;
}

/* Nobody has called it yet. */
static void remove_method(struct naru_server *s, const naru_service *service,
                          const naru_method *method)
{
    for (size_t i = 0; i < s->table_size; i++)
        for (struct entry **at = &s->table[i]; *at; at = &(*at)->next)
            if ((*at)->service == service && (*at)->method == method) {
                struct entry *gone = *at;
                *at = gone->next;
                free(gone);
                s->n_entries--;
                return;
            }
}

/* All of its methods, or none: its owner frees what could not be added. */
int naru__server_add(naru_server *s, const naru_service *service, void *self)
{
    size_t added = 0;
    int r = 0;
    while (r == 0 && added < service->n) {
        r = add_method(s, service, &service->methods[added], self);
        added += r == 0;
    }
    if (r == 0)
        r = list_service(s, service);
    while (r < 0 && added > 0)
        remove_method(s, service, &service->methods[--added]);
    return r;
}

const naru_service *naru__server_service(naru_server *s, size_t i)
{
    pthread_mutex_lock(&s->lock);
    const naru_service *service = i < s->n_services ? s->services[i] : NULL;
    pthread_mutex_unlock(&s->lock);
    return service;
}

/* ---- connections ---- */

void naru__make_due(struct naru_server *s, struct connection *n)
{
    pthread_mutex_lock(&s->lock);
    if (!n->due) {
        n->due = true;
        n->next_due = s->due;
        s->due = n;
        /* relaxed: a hint; the list is read under the lock, and other threads wake the loop */
        atomic_store_explicit(&s->has_due, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s->lock);
}

static int place_for(struct naru_server *s, int fd, struct place **ret_place)
{
    if (fd >= s->n_places) {
        int n = s->n_places ? s->n_places : 64;
        while (n <= fd)
            n *= 2;
        struct place *places = naru__alloc((size_t)n * sizeof *places);
        if (!places)
            return -ENOMEM;
        if (s->n_places)
            memcpy(places, s->places, (size_t)s->n_places * sizeof *places);
        free(s->places);
        s->places = places;
        s->n_places = n;
    }
    *ret_place = &s->places[fd];
    return 0;
}

static bool same_fds(const struct naru_watch *a, const struct naru_watch *b)
{
    for (unsigned i = 0; a->n == b->n && i < a->n; i++)
        if (a->fds[i].fd != b->fds[i].fd || a->fds[i].events != b->fds[i].events)
            return false;
    return a->n == b->n;
}

static void disarm(struct naru_server *s, struct connection *n)
{
    for (unsigned i = 0; i < n->armed.n; i++) {
        int fd = n->armed.fds[i].fd;
        (void)naru__os_epoll_change(s->epoll, EPOLL_CTL_DEL, fd, 0);
        if (fd < s->n_places)
            s->places[fd].connection = NULL;
    }
    n->armed.n = 0;
}

/* The set is told what the connection waits for. True: there is something already. */
static bool arm(struct naru_server *s, struct connection *n)
{
    struct naru_watch now = {.again = NARU__NEVER};
    pthread_mutex_lock(&n->lock);
    int r = n->carrier->ops->watch(n->carrier, &now);
    bool owes = n->carrier->ops->owes(n->carrier);
    pthread_mutex_unlock(&n->lock);
    n->armed_out = owes;
    if (r == 0 && !same_fds(&now, &n->armed)) {
        for (unsigned i = 0; i < n->armed.n; i++)
            if (n->armed.fds[i].fd < s->n_places)
                s->places[n->armed.fds[i].fd].connection = NULL;
        for (unsigned i = 0; i < now.n && r == 0; i++) {
            struct place *p;
            r = place_for(s, now.fds[i].fd, &p);
            if (r == 0)
                *p = (struct place){n, NULL};
        }
        if (r == 0)
            r = naru__watch_arm(s->epoll, &n->armed, &now);
    }
    bool ticks = r < 0 || now.again != NARU__NEVER;
    s->n_ticks += (unsigned)ticks - (unsigned)n->ticks;
    n->ticks = ticks;
    n->armed.again = r < 0 ? naru__now() + 10 * NARU_MS : now.again;
    return r == 0 && now.again != NARU__NEVER && now.again <= naru__now();
}

/* Its calls are over; it goes when the last handler has returned. */
static void close_connection(struct naru_server *s, struct connection *n)
{
    disarm(s, n);
    s->n_ticks -= n->ticks;
    for (struct connection **at = &s->hot; n->hot && *at; at = &(*at)->next_hot)
        if (*at == n) {
            *at = n->next_hot;
            break;
        }
    pthread_mutex_lock(&n->lock);
    if (!n->lost)
        naru__lose_calls(n);
    while (n->run) {
        struct naru_call *call = n->run;
        n->run = call->next_event;
        call->has_request = false;
        naru__drop_unbegun(call);
    }
    naru__run_events(n);
    struct naru_carrier *carrier = n->carrier;
    for (struct naru_call *call = n->calls; call; call = call->next) {
        naru__release_request(call);
        call->carrier = NULL;
    }
    n->carrier = NULL;
    carrier->ops->close(carrier);
    naru__unlist(&s->connections, n);
    pthread_mutex_lock(&s->lock); /* without a carrier it becomes due no more */
    for (struct connection **at = &s->due; n->due && *at; at = &(*at)->next_due)
        if (*at == n) {
            *at = n->next_due;
            break;
        }
    n->due = false;
    naru__list(&s->gone, n);
    pthread_mutex_unlock(&s->lock);
    s->n_connections--;
    s->n_unproven -= !n->proven;
    naru__leave_connection(n);
}

static void make_hot(struct naru_server *s, struct connection *n)
{
    if (n->hot)
        return;
    n->hot = true;
    n->next_hot = s->hot;
    s->hot = n;
}

/* In a forked child: nothing is told, and the set is the parent's. */
static void forget_connection(struct naru_server *s, struct connection *n)
{
    s->connections = n->next;
    n->carrier->ops->close(n->carrier);
    naru__free_connection(n);
}

/* Are the answers to what is handled now to leave together? In shared memory the first one goes at
 * once, so that the other side has something to do, and the last one, for it is waited for: behind
 * those that were gathered, and then nothing that its handler sends has to wait. */
static void choose_gathering(const struct naru_server *s, struct connection *n, bool first)
{
    struct naru_carrier *carrier = n->carrier;
    bool before = carrier->gather;
    if (s->workers || n->ungathered > 0) {
        n->ungathered -= n->ungathered > 0;
        carrier->gather = false;
    } else {
        carrier->gather = !carrier->ops->cheap(carrier) || (!first && carrier->ops->ready(carrier));
    }
    if (before && !carrier->gather)
        (void)carrier->ops->flush(carrier);
}

/* Is the next handler to begin? Not while its client leaves too much unread, which workers can
 * only meet if they do not have all of its calls already. */
static bool runs_next(const struct connection *n)
{
    const struct naru_carrier_ops *ops = n->carrier->ops;
    return n->run &&
           !(ops->full && (ops->full(n->carrier) ||
                           (n->server->workers && n->working >= 2 * n->server->options.workers)));
}

/* What others wait for is not held up by slow handlers: not now, and not by the next ones. */
static void run_handlers(struct connection *n, int64_t *began)
{
    enum { SLOW = 100000, UNGATHERED = 64 };
    struct naru_carrier *carrier = n->carrier;
    while (runs_next(n)) {
        int64_t now = carrier->gather ? naru__now() : 0;
        if (*began == 0) {
            *began = now;
        } else if (now - *began > SLOW) {
            carrier->gather = false;
            n->ungathered = UNGATHERED;
            *began = 0;
            (void)carrier->ops->flush(carrier);
        }
        naru__run_next(n);
    }
}

/* Handles some of what has come. 1: did; 0; negative: it is lost, and was closed. */
static int serve(struct naru_server *s, struct connection *n)
{
    enum { BUDGET = 64 };
    pthread_mutex_lock(&n->lock);
    struct naru_carrier *carrier = n->carrier;
    const bool cheap = carrier->ops->cheap(carrier);
    int64_t began = 0;
    int r = 0, did = 0;
    carrier->gather = !cheap && !s->workers;
    for (int i = 0; i < BUDGET && !n->lost; i++) {
        r = carrier->ops->process(carrier);
        if (r <= 0)
            break;
        did = 1;
        choose_gathering(s, n, i == 0);
        if (!n->proven) {
            n->proven = true;
            n->idle_since = naru__now(); /* a handshake is no idleness */
            s->n_unproven--;
        }
        run_handlers(n, &began);
        if (n->events)
            naru__run_events(n);
        if (!carrier->ops->ready(carrier)) {
            r = 0;
            break;
        }
    }
    carrier->gather = false;
    if (n->events) { /* that another thread raised */
        naru__run_events(n);
        did = 1;
    }
    while (r >= 0 && !n->lost && runs_next(n)) { /* that had to wait */
        naru__run_next(n);
        did = 1;
    }
    const bool owed = r >= 0 && !n->lost && carrier->ops->owes(carrier);
    if (owed) {
        int f = carrier->ops->flush(carrier);
        r = f == 0 || f == -EAGAIN ? r : f;
        while (runs_next(n))
            naru__run_next(n);
        if (n->events)
            naru__run_events(n);
    }
    bool owes = r >= 0 && carrier->ops->owes(carrier);
    /* also what was not looked at while too many answers waited */
    bool more = r >= 0 && !n->lost && (r > 0 || (owed && !owes)) && carrier->ops->ready(carrier);
    bool refused = n->denied && n->told && n->proven && !owes;
    pthread_mutex_unlock(&n->lock);
    if (r < 0 || n->lost || refused) {
        close_connection(s, n);
        return -ECONNRESET;
    }
    if (more) /* in memory already, so no descriptor tells */
        naru__make_due(s, n);
    if (cheap)
        make_hot(s, n);
    else if (owes || n->armed_out)
        (void)arm(s, n);
    return did;
}

/* ---- coming in ---- */

static bool listed(const int64_t *list, int64_t id)
{
    for (; list && *list >= 0; list++)
        if (*list == id)
            return true;
    return false;
}

static bool lets_in(const struct naru_server *s, struct naru_handle *h)
{
    const struct naru_server_options *o = &s->options;
    struct naru_peer peer = {.size = sizeof peer, .uid = -1, .gid = -1};
    bool lists = o->uids || o->gids;
    int r = h->ops->peer ? h->ops->peer(h, &peer) : -EOPNOTSUPP;
    if (r < 0 && r != -EOPNOTSUPP)
        return false;
    if (r < 0 || peer.uid < 0)
        return !lists; /* of a pipe's end, or another host, nobody knows */
    if (lists)
        return listed(o->uids, peer.uid) || listed(o->gids, peer.gid);
    return o->flags & NARU_ANY_USER || peer.uid == 0 || peer.uid == (int64_t)geteuid();
}

/* Takes its end, a channel or a stream, over on success. */
static int take_connection(struct naru_server *s, const struct naru_carrier_kind *kind,
                           struct naru_handle *h, bool checked)
{
    struct connection *n = naru__alloc(sizeof *n);
    if (!n)
        return -ENOMEM;
    n->server = s;
    n->name = naru__copy_text(h->name, strlen(h->name));
    pthread_mutex_init(&n->lock, NULL);
    int r = -ENOMEM;
    if (n->name && kind)
        r = kind->make((naru_stream *)h, true, &s->limits, &naru__served_events, n, &n->carrier);
    else if (n->name)
        r = naru__channel_carrier((naru_channel *)h, true, &s->limits, &naru__served_events, n,
                                  &n->carrier);
    if (r < 0) {
        naru__free_connection(n);
        return r;
    }
    n->armed.again = NARU__NEVER;
    n->born = n->idle_since = naru__now();
    naru__list(&s->connections, n);
    s->n_connections++;
    s->n_unproven++;
    if (!checked) {
        n->told = n->carrier->ops->goaway(n->carrier, NARU_STATUS_PERMISSION_DENIED) <= 0;
        n->denied = n->going = true;
    }
    (void)arm(s, n); /* also so that naru_fd tells */
    naru__make_due(s, n);
    return 0;
}

/* NULL: there is none now. */
static struct naru_handle *accept_one(struct listener *l)
{
    naru_stream *stream;
    naru_channel *channel;
    int r = l->carrier ? l->handle->ops->accept_stream(l->handle, NARU__AT_ONCE, &stream)
                       : l->handle->ops->accept_channel(l->handle, NARU__AT_ONCE, &channel);
    return r < 0 ? NULL : l->carrier ? &stream->handle : &channel->handle;
}

static void accept_some(struct naru_server *s, struct listener *l)
{
    enum { SOME = 16 };
    struct naru_handle *h;
    for (int i = 0; i < SOME && (h = accept_one(l)); i++) {
        bool lets = lets_in(s, h);
        if (s->n_connections >= s->options.max_clients ||
            take_connection(s, l->carrier, h, lets) < 0) {
            naru__count(&s->handle.counts.dropped, 1);
            if (l->carrier)
                (void)naru_stream_close((naru_stream *)h);
            else
                (void)naru_channel_close((naru_channel *)h);
        } else if (!lets) {
            naru__count(&s->handle.counts.dropped, 1);
        }
    }
}

/* ---- time ---- */

static void run_timers(struct naru_server *s)
{
    int64_t now, next = NARU__NEVER;
    if (s->next_timer == NARU__NEVER || (now = naru__now()) < s->next_timer)
        return;
    for (struct connection *n = s->connections; n; n = n->next) {
        pthread_mutex_lock(&n->lock);
        struct naru_call *first;
        while ((first = naru__timers_first(&n->timers)) && first->deadline <= now)
            naru__end_now(first, NARU_STATUS_DEADLINE_EXCEEDED, "the time given passed");
        if (first && first->deadline < next)
            next = first->deadline;
        if (n->events)
            naru__run_events(n);
        bool owes = n->carrier->ops->owes(n->carrier);
        pthread_mutex_unlock(&n->lock);
        if (owes)
            naru__make_due(s, n);
    }
    s->next_timer = next;
}

static void tell_to_go(struct naru_server *s, struct connection *n)
{
    pthread_mutex_lock(&n->lock);
    if (!n->going)
        (void)n->carrier->ops->goaway(n->carrier, NARU_STATUS_UNAVAILABLE);
    n->going = true;
    pthread_mutex_unlock(&n->lock);
    naru__make_due(s, n);
}

/* Once a second, if there is anything to look for. */
static void sweep(struct naru_server *s)
{
    enum { GREETS_IN = 10 };
    const struct naru_server_options *o = &s->options;
    int64_t now;
    bool any = o->max_idle || o->max_age || s->n_unproven;
    if (!any) {
        s->next_sweep = NARU__NEVER;
        return;
    }
    now = naru__now();
    if (s->next_sweep == NARU__NEVER)
        s->next_sweep = now + NARU_S / 4;
    if (now < s->next_sweep)
        return;
    s->next_sweep = now + NARU_S / 4;
    for (struct connection *n = s->connections, *next; n; n = next) {
        next = n->next;
        bool idle = o->max_idle && n->proven && n->n_calls == 0 && n->idle_since > 0 &&
                    now - n->idle_since > o->max_idle;
        bool old = o->max_age && now - n->born > o->max_age;
        if (!n->proven && now - n->born > (int64_t)GREETS_IN * NARU_S) {
            close_connection(s, n);
            continue;
        }
        if ((idle || old) && !n->going) {
            tell_to_go(s, n);
            n->go_at = now + NARU_S;
        } else if (n->going && n->go_at && now > n->go_at && n->n_calls == 0) {
            close_connection(s, n);
        }
    }
}

static void close_listeners(struct naru_server *s)
{
    while (s->listeners) {
        struct listener *l = s->listeners;
        s->listeners = l->next;
        (void)naru__os_epoll_change(s->epoll, EPOLL_CTL_DEL, l->fd, 0);
        if (l->fd < s->n_places)
            s->places[l->fd].listener = NULL;
        l->handle->ops->close(l->handle, naru__is_owner(&l->handle->handle));
        free(l);
    }
}

static void begin_stopping(struct naru_server *s)
{
    s->stopping = true;
    close_listeners(s);
    for (struct connection *n = s->connections; n; n = n->next)
        tell_to_go(s, n);
}

static void end_all(struct naru_server *s)
{
    s->ended = true;
    for (struct connection *n = s->connections; n; n = n->next) {
        pthread_mutex_lock(&n->lock);
        for (struct naru_call *call = n->calls, *next; call; call = next) {
            next = call->next;
            naru__end_now(call, NARU_STATUS_UNAVAILABLE, "the server shuts down");
        }
        if (n->events)
            naru__run_events(n);
        pthread_mutex_unlock(&n->lock);
        naru__make_due(s, n);
    }
}

/* All that was begun is over, or the grace is. */
static bool has_ended(struct naru_server *s)
{
    enum { LAST_WORDS = 1000000000 }; /* ns: for answers that nobody reads */
    int64_t at = atomic_load_explicit(&s->stop_at, memory_order_acquire);
    if (at == 0)
        return false;
    if (!s->stopping)
        begin_stopping(s);
    int64_t now = naru__now();
    if (now >= at && !s->ended)
        end_all(s);
    /* acquire: pairs with the release in drop_call */
    if (!s->ended && atomic_load_explicit(&s->n_calls, memory_order_acquire) > 0)
        return false;
    bool owes = false;
    for (struct connection *n = s->connections; n && !owes; n = n->next) {
        pthread_mutex_lock(&n->lock);
        owes = n->carrier->ops->owes(n->carrier);
        pthread_mutex_unlock(&n->lock);
    }
    return !owes || (s->ended && now > at + LAST_WORDS);
}

/* ---- the loop ---- */

/* What the set tells, without waiting, or until `until`. */
static int look(struct naru_server *s, int64_t until)
{
    enum { MOST = 64 };
    int fds[MOST];
    int n = naru__os_epoll_wait(s->epoll, fds, MOST, until);
    if (n == -EINTR)
        return 0;
    if (n < 0)
        return naru__fail(n, "the server's wait failed: %s", naru__errno_text(n));
    for (int i = 0; i < n; i++) {
        if (fds[i] == s->handle.wake[0]) {
            naru__os_drain(fds[i]);
            continue;
        }
        struct place p = fds[i] < s->n_places ? s->places[fds[i]] : (struct place){NULL, NULL};
        if (p.listener)
            accept_some(s, p.listener);
        else if (p.connection)
            naru__make_due(s, p.connection);
    }
    return n;
}

static bool serve_due(struct naru_server *s)
{
    bool did = false;
    pthread_mutex_lock(&s->lock);
    struct connection *due = s->due, *all = NULL;
    while (due) { /* in the order in which they came */
        struct connection *next = due->next_due;
        due->next_due = all;
        all = due;
        due = next;
    }
    s->due = NULL;
    atomic_store_explicit(&s->has_due, false, memory_order_relaxed);
    pthread_mutex_unlock(&s->lock);
    while (all) {
        struct connection *n = all;
        all = n->next_due;
        pthread_mutex_lock(&s->lock);
        n->due = false;
        pthread_mutex_unlock(&s->lock);
        did |= serve(s, n) != 0;
    }
    return did;
}

/* Those in shared memory that something has come by. */
static bool serve_hot(struct naru_server *s)
{
    bool did = false;
    for (struct connection *n = s->hot, *next; n; n = next) {
        next = n->next_hot;
        if (n->carrier->ops->ready(n->carrier))
            did |= serve(s, n) != 0;
    }
    return did;
}

static bool hot_ready(const struct naru_server *s)
{
    for (const struct connection *n = s->hot; n; n = n->next_hot)
        if (n->carrier->ops->ready(n->carrier))
            return true;
    return false;
}

/* Before sleeping. True: there is something, and it is not to sleep. ret_again: how long it may. */
static bool arm_hot(struct naru_server *s, int64_t *ret_again)
{
    struct connection *all = s->hot;
    bool ready = false;
    s->hot = NULL;
    while (all) {
        struct connection *n = all;
        all = n->next_hot;
        n->hot = false;
        if (arm(s, n)) {
            naru__make_due(s, n);
            ready = true;
        }
    }
    for (struct connection *n = s->n_ticks ? s->connections : NULL; n; n = n->next)
        if (n->ticks && n->armed.again < *ret_again)
            *ret_again = n->armed.again;
    return ready;
}

static void make_ticking_due(struct naru_server *s)
{
    int64_t now = s->n_ticks ? naru__now() : 0;
    for (struct connection *n = s->n_ticks ? s->connections : NULL; n; n = n->next)
        if (n->ticks && n->armed.again <= now)
            naru__make_due(s, n);
}

static int64_t earliest(const struct naru_server *s)
{
    int64_t t = s->next_timer < s->next_sweep ? s->next_timer : s->next_sweep;
    int64_t stop = atomic_load_explicit(&s->stop_at, memory_order_relaxed);
    if (stop && !s->ended && stop < t)
        t = stop;
    return stop && s->ended ? naru__now() + 10 * NARU_MS : t;
}

static int sleep_once(struct naru_server *s, struct naru_wait *wait)
{
    int64_t until = earliest(s);
    if (wait->deadline < until)
        until = wait->deadline;
    if (arm_hot(s, &until))
        return 0;
    if (until != NARU__NEVER && until < naru__now())
        until = NARU__AT_ONCE;
    int r = look(s, until);
    wait->slept = true;
    naru__count(&s->handle.counts.sleeps[0], 1);
    make_ticking_due(s);
    return r < 0 ? r : 0;
}

/* Nothing to do: looks for a while, then sleeps. */
static int pause_loop(struct naru_server *s, struct naru_wait *wait)
{
    enum { FIRST_LOOKS = 4000, LOOKS = 200, LOOK_EVERY = 16 };
    if (s->hot && s->handle.can_spin && wait->deadline != NARU__AT_ONCE) {
        if (wait->spin_until == 0 && s->handle.spin[0].credit > 0)
            for (int i = 0; i < FIRST_LOOKS; i++) /* without pauses, as the next call comes soon */
                if (hot_ready(s))
                    return 0;
        for (int i = 0; i < LOOKS && naru__wait_spins(wait); i++) {
            if (hot_ready(s))
                return 0;
            naru__relax();
        }
        wait->looks = true;
    }
    int r = naru__wait_spin(wait);
    if (r < 0)
        return r;
    if (r == 0)
        return sleep_once(s, wait);
    if (s->hot && ++s->rounds % LOOK_EVERY != 0)
        return 0;
    r = look(s, NARU__AT_ONCE);
    return r < 0 ? r : 0;
}

/* Nobody is there any more, and nobody can come. */
static bool is_alone(struct naru_server *s)
{
    /* acquire: as in has_ended */
    return s->runs && s->attached && !s->listeners && !s->connections &&
           atomic_load_explicit(&s->n_calls, memory_order_acquire) == 0;
}

int naru__server_run(naru_server *s)
{
    int r;
    s->runs = true;
    do
        r = naru__server_process(s, NARU__NEVER);
    while (r == 0);
    s->runs = false;
    return r == -EPIPE ? 0 : r;
}

int naru__server_process(naru_server *s, int64_t deadline)
{
    enum { LOOK_EVERY = 64 };
    struct naru_wait wait = naru__wait_begin(&s->handle, NARU_IN, deadline);
    int r = 0;
    if (naru__in_loop(s))
        return naru__fail(-EDEADLK,
                          "the server is in naru_server_process already: a handler, or an "
                          "event, called it");
    atomic_store_explicit(&s->thread, naru__thread(), memory_order_relaxed);
    for (bool first = true; r == 0; first = false) {
        bool did = false;
        if ((first && deadline == NARU__AT_ONCE) || ++s->rounds % LOOK_EVERY == 0) {
            r = look(s, NARU__AT_ONCE);
            r = r < 0 ? r : 0;
            make_ticking_due(s);
        }
        did |= serve_hot(s);
        /* relaxed: as in make_due */
        if (atomic_load_explicit(&s->has_due, memory_order_relaxed))
            did |= serve_due(s);
        run_timers(s);
        sweep(s);
        if (is_alone(s))
            r = naru__fail(-EPIPE, "the server's connections have ended, and it listens nowhere");
        if (r == -EPIPE)
            break;
        if (has_ended(s)) {
            while (s->connections)
                close_connection(s, s->connections);
            r = naru__fail(-EPIPE, "the server was shut down");
            break;
        }
        if (did)
            break;
        if (r == 0)
            r = pause_loop(s, &wait);
    }
    naru__wait_done(&wait);
    if (s->handle.epoll >= 0) { /* who sleeps elsewhere has to be told */
        int64_t again = NARU__NEVER;
        (void)arm_hot(s, &again);
    }
    atomic_store_explicit(&s->thread, 0, memory_order_relaxed);
    return r;
}

/* ---- the handle ---- */

static int server_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct naru_server *s = (struct naru_server *)h;
    (void)events;
    ret_watch->n = 1;
    ret_watch->fds[0] = (struct pollfd){.fd = s->epoll, .events = POLLIN};
    ret_watch->again = earliest(s);
    for (struct connection *n = s->n_ticks ? s->connections : NULL; n; n = n->next)
        if (n->ticks && n->armed.again < ret_watch->again)
            ret_watch->again = n->armed.again;
    return 0;
}

static bool server_ready(struct naru_handle *h, int events)
{
    struct naru_server *s = (struct naru_server *)h;
    (void)events;
    pthread_mutex_lock(&s->lock);
    bool ready = s->due != NULL;
    pthread_mutex_unlock(&s->lock);
    return ready;
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = server_watch,
    .ready = server_ready,
};

static unsigned or_default(unsigned value, unsigned otherwise)
{
    return value ? value : otherwise;
}

static int64_t *copy_list(const int64_t *list)
{
    size_t n = 1;
    while (list[n - 1] >= 0)
        n++;
    int64_t *copy = naru__alloc(n * sizeof *copy);
    if (copy)
        memcpy(copy, list, n * sizeof *copy);
    return copy;
}

static int make_epoll(struct naru_server *s)
{
    int r = s->epoll = naru__os_epoll();
    int wake = r < 0 ? r : naru__os_eventfd();
    if (wake >= 0)
        s->handle.wake[0] = wake;
    r = wake < 0 ? wake : naru__os_epoll_change(s->epoll, EPOLL_CTL_ADD, wake, EPOLLIN);
    return r < 0 ? naru__fail(r, "a server needs an epoll set and an eventfd: %s%s",
                              naru__errno_text(r), naru__limit_of_files(r).text)
                 : 0;
}

int naru__server_new(const struct naru_server_options *options, naru_server **ret_s)
{
    naru_server *s = naru__alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    int r = naru__handle_init(&s->handle, NARU__SERVER, &handle_ops, "server:", NARU_IN);
    if (r < 0) {
        free(s);
        return r;
    }
    naru__set_waiting(&s->handle, options->flags);
    pthread_mutex_init(&s->lock, NULL);
    s->epoll = NARU__NO_FD;
    s->next_timer = s->next_sweep = NARU__NEVER;
    s->options = *options;
    s->options.uids = s->options.gids = NULL;
    s->options.tls = NULL;
    s->options.max_clients = or_default(options->max_clients, 10000);
    s->options.max_calls = or_default(options->max_calls, 100000);
    s->options.max_calls_each = or_default(options->max_calls_each, 10000);
    s->limits = (struct naru_carrier_limits){
        .max_message = options->max_message ? options->max_message : 4 << 20,
        .max_metadata = options->max_metadata ? options->max_metadata : 16384,
        .window = options->window ? options->window : 256 << 10,
        .max_calls = s->options.max_calls_each,
        .max_unread = options->max_unread ? options->max_unread : 16 << 20,
        .max_unfinished = options->max_unfinished ? options->max_unfinished : 512 << 20,
        .ping_interval = options->ping_interval ? options->ping_interval : 300 * NARU_S,
        .keepalive = options->keepalive > 0 ? options->keepalive : 0,
    };
    if (options->uids && !(s->options.uids = copy_list(options->uids)))
        r = -ENOMEM;
    if (options->gids && !(s->options.gids = copy_list(options->gids)))
        r = -ENOMEM;
    if (r == 0)
        r = naru__tls_keep(options->tls, &s->options.tls);
    if (r == 0)
        r = make_epoll(s);
    if (r == 0 && options->workers)
        r = naru__workers_new(options->workers, naru__run_in_worker, &s->workers);
    if (r < 0) {
        naru__server_close(s, true);
        return r;
    }
    *ret_s = s;
    return 0;
}

int naru__server_listen(naru_server *s, const struct naru_service_at *at)
{
    const struct naru_server_options *o = &s->options;
    struct naru_listen_options options = {
        .size = sizeof options,
        .mode = o->mode,
        .flags = o->flags | NARU_ANY_USER, /* lets_in decides, and who may not is told so */
        .keepalive = o->keepalive,
        .tls = o->tls,
    };
    options.flags |= at->carrier ? NARU__HTTP2 : 0;
    struct listener *l = naru__alloc(sizeof *l);
    struct place *p;
    if (!l)
        return -ENOMEM;
    int (*listen)(const struct naru_url *, const struct naru_listen_options *,
                  struct naru_listener **) =
        at->carrier ? at->transport->stream_listen : at->transport->channel_listen;
    int r = listen ? listen(&at->url, &options, &l->handle)
                   : naru__fail(-EOPNOTSUPP, "%s does not listen; unix: and tcp: do", at->url.text);
    if (r < 0) {
        free(l);
        return r;
    }
    l->carrier = at->carrier;
    struct naru_handle *h = &l->handle->handle;
    struct naru_watch watch = {.again = NARU__NEVER};
    r = h->ops->watch(h, NARU_IN, &watch);
    l->fd = watch.fds[0].fd;
    if (r == 0)
        r = place_for(s, l->fd, &p);
    if (r == 0)
        r = naru__os_epoll_change(s->epoll, EPOLL_CTL_ADD, l->fd, EPOLLIN);
    if (r < 0) {
        l->handle->ops->close(l->handle, naru__is_owner(&l->handle->handle));
        free(l);
        return naru__fail(r, "%s: it cannot be waited for: %s", at->url.text, naru__errno_text(r));
    }
    char *name = naru__copy_text(h->name, strlen(h->name));
    if (name) { /* naru_url tells it, with the port that it got */
        free(s->handle.name);
        s->handle.name = name;
    }
    *p = (struct place){NULL, l};
    l->next = s->listeners;
    s->listeners = l;
    return 0;
}

int naru__server_attach(naru_server *s, naru_channel *channel)
{
    if (s->stopping)
        return naru__fail(-EPIPE, "the server was shut down");
    int r = take_connection(s, NULL, &channel->handle, true);
    s->attached |= r == 0;
    return r;
}

/* Async-signal-safe: an atomic store, and a write. */
int naru__server_shutdown(naru_server *s, int64_t grace)
{
    int64_t at = naru__deadline(grace == 0 ? 1 : grace), before = 0;
    /* the first one holds, or an earlier end */
    if (!atomic_compare_exchange_strong(&s->stop_at, &before, at) && at < before)
        atomic_store(&s->stop_at, at);
    naru__nudge(&s->handle, 0);
    return 0;
}

void naru__server_close(naru_server *s, bool owner)
{
    naru__workers_stop(s->workers, owner);
    s->workers = NULL;
    if (owner) {
        atomic_store_explicit(&s->thread, naru__thread(), memory_order_relaxed);
        close_listeners(s);
        for (struct connection *n = s->connections; n; n = n->next) {
            (void)n->carrier->ops->goaway(n->carrier, NARU_STATUS_UNAVAILABLE);
            n->going = true;
        }
    }
    while (s->connections)
        (owner ? close_connection : forget_connection)(s, s->connections);
    while (s->gone) { /* what was not finished is given up */
        struct connection *n = s->gone;
        s->gone = n->next;
        naru__free_connection(n);
    }
    while (s->listeners) {
        struct listener *l = s->listeners;
        s->listeners = l->next;
        l->handle->ops->close(l->handle, naru__is_owner(&l->handle->handle));
        free(l);
    }
    for (size_t i = 0; i < s->table_size; i++)
        while (s->table[i]) {
            struct entry *e = s->table[i];
            s->table[i] = e->next;
            free(e);
        }
    free(s->table);
    free(s->services);
    free(s->places);
    free((void *)(uintptr_t)s->options.tls);
    free((void *)(uintptr_t)s->options.uids);
    free((void *)(uintptr_t)s->options.gids);
    naru__os_close(s->epoll);
    pthread_mutex_destroy(&s->lock);
    naru__handle_deinit(&s->handle);
    free(s);
}
