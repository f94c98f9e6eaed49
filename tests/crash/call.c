/* SPDX-License-Identifier: MIT */
/* call.c - a client and a server, over a connection in shared memory. Either is the subject.
 *
 * What both have to say to each other lies in the connection, so a state is what was said of calls
 * before: one held by its handler, a stream in the middle, one whose window is empty, one that is
 * half-closed, a connection that is full. Messages of the client have ids below HALF, those of the
 * server the others; each arrives at most once, whole, and in its call in order.
 *
 * The client dies: each handler that has begun learns of it, and the server serves the next client.
 * The server dies: each call ends UNAVAILABLE, after all that the server had said before. One that
 * only sleeps is not taken for dead. */
#include "rig.h"

#include <errno.h>
#include <naru/naru.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HALF = MESSAGES_MAX / 2, COUNTED = 300, N_COUNTED = 150, ANSWERS = 460, PROBE = 290 };
/* Longer than the rig's hang, as in connection.c. */
#define PATIENCE (10 * NARU_S)
enum { SMALL = 24, MIDDLE = 700, LARGE = 40000, CAPACITY = 32768, WINDOW = 65536 };
enum { QUARTER = 24 }; /* so many MIDDLE ones use that of the window up: it is opened again */

enum operation {
    INVOKE,
    SEND,
    SEND_LARGE,
    TAKE,
    EVENTS,
    CANCEL,
    CLIENT_CLOSE,
    SERVE, /* from here on the subject is the server */
    ANSWER_LARGE,
    CANCELLED,
    CONSUME,
    FINISH,
    SHUTDOWN,
    SERVER_CLOSE,
};
static const char *const operations[] = {
    "invoke",  "send",         "send-large", "take",         "events",
    "cancel",  "client-close", "serve",      "answer",       "be-cancelled",
    "consume", "finish",       "shutdown",   "server-close", NULL};

/* flight: two calls are held, and a stream is open. full: so is the connection, of what the subject
 * sends. window: a stream whose receiver takes nothing. half-closed: the client has. */
enum state { IDLE, FLIGHT, FULL, WRAPPED, NO_WINDOW, HALF_CLOSED };
static const char *const states[] = {"idle",   "flight",      "full", "wrapped",
                                     "window", "half-closed", NULL};

/* log.own: how far both are before it begins; what the server has ended, by kind; what it was told
 * so of; the client gives calls up; one of both closes. */
enum { STOP, STOPPED, HANDLED, BLOCKED, DONE, TOLD, GIVES_UP, CLOSES };

enum kind { ECHO, HOLD, CHAT, COUNT, STUCK, BIG, KINDS };

enum { CALLS_MAX = 12 };

struct served { /* a call that its handler finishes later */
    struct served *next;
    naru_call *call;
    struct world *w;
    enum kind kind;
    int last; /* message */
    unsigned number;
};

struct mine { /* of the client's */
    naru_call *call;
    enum kind kind;
    unsigned number;
    int last;
    bool ended;
};

struct ends {
    struct world *w;
    naru_channel *a, *b; /* client, server */
    naru_client *client;
    struct mine calls[CALLS_MAX];
    unsigned n, next; /* ids */
    naru_server *server;
    struct served *served;
    unsigned n_held, n_counted, n_answers;
    bool releases; /* calls are held no more */
    bool got_probe;
};

static char buffer[LARGE];
static struct ends *mine; /* this process's, for handlers */

static bool serves(const struct world *w, int who)
{
    return (who == 0) == (w->operation >= SERVE);
}

static void give_up(struct world *w, const char *what, int code)
{
    failed(w, "%s gave %d: %s", what, code, naru_why());
}

static size_t size_of(const struct world *w, unsigned id)
{
    uint64_t seed = (w->seed >> 3) + id;
    return SMALL + pseudo_random(&seed) % (id % 3 && w->state != WRAPPED ? 100 : MIDDLE);
}

static void got(struct world *w, const void *data, size_t size, int *last, bool of_client)
{
    int id = message_id(data, size);
    if (id < 0 || (id < HALF) != of_client)
        failed(w, "a message of %zu bytes is garbled: %d", size, id);
    if (id <= *last)
        failed(w, "of one call message %d arrived after message %d", id, *last);
    *last = id;
    log_got(w, (unsigned)id, false);
}

/* ---- the server ---- */

/* When the connection is full what was accepted may still wait at its sender. */
static bool delivers(const struct world *w)
{
    return w->state != FULL && w->operation != ANSWER_LARGE;
}

static int reply(struct world *w, naru_call *call, unsigned id, size_t size, bool streams)
{
    message_fill(buffer, size, id);
    log_sending(w, id);
    int r = naru_call_send(call, buffer, size, NARU_NOWAIT);
    if (r < 0)
        w->log->message[id].sending = 0;
    else if (streams && delivers(w))
        log_sent(w, id);
    return r;
}

static void end(struct world *w, struct served *s, int code)
{
    struct served **at = &mine->served;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    naru_call *call = s->call;
    w->log->own[DONE] |= 1u << s->kind;
    unsigned bit = s->kind == HOLD ? 1u << s->number : 0;
    free(s);
    int r = naru_call_finish(call, code);
    if (r < 0)
        give_up(w, "naru_call_finish", r);
    w->log->own[TOLD] |= bit;
}

static void on_message(naru_call *call, void *arg, const void *data, size_t size)
{
    struct served *s = arg;
    got(s->w, data, size, &s->last, true);
    if (s->kind == CHAT)
        (void)reply(s->w, call, (unsigned)(HALF + s->last), size, true);
}

static void on_half_closed(naru_call *call, void *arg)
{
    struct served *s = arg;
    if (s->kind == STUCK)
        (void)reply(s->w, call, HALF + ANSWERS + mine->n_answers++, SMALL, false);
    if (s->kind == STUCK || s->kind == CHAT)
        end(s->w, s, NARU_STATUS_OK);
}

static void count(struct served *s)
{
    int r = 0;
    while (mine->n_counted < N_COUNTED &&
           (r = reply(s->w, s->call, HALF + COUNTED + mine->n_counted, MIDDLE, true)) == 0)
        mine->n_counted++;
    s->w->log->own[BLOCKED] |= r == -EAGAIN;
    if (mine->n_counted == N_COUNTED)
        end(s->w, s, NARU_STATUS_OK);
}

static void on_writable(naru_call *call, void *arg)
{
    struct served *s = arg;
    (void)call;
    if (s->kind == COUNT)
        count(s);
}

static void on_end(naru_call *call, void *arg, const struct naru_status *status)
{
    struct served *s = arg;
    struct world *w = s->w;
    (void)call;
    if (status->code == NARU_STATUS_OK)
        return;
    bool ours = w->log->own[GIVES_UP] || w->log->own[CLOSES];
    if (!ours && !subject_dies(w))
        failed(w, "a handler learns that its client has gone (%d), and it has not", status->code);
    end(w, s, NARU_STATUS_CANCELLED);
}

static const struct naru_call_events served_events = {
    .size = sizeof served_events,
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .end = on_end,
};

static int echo(naru_call *call, void *self, const void *request, size_t size)
{
    struct world *w = self;
    int last = -1;
    got(w, request, size, &last, true);
    w->log->own[DONE] |= 1 << ECHO;
    w->log->own[HANDLED]++;
    mine->got_probe |= last == PROBE;
    return reply(w, call, (unsigned)(HALF + last), size, false);
}

static int big(naru_call *call, void *self, const void *request, size_t size)
{
    struct world *w = self;
    int last = -1;
    got(w, request, size, &last, true);
    w->log->own[DONE] |= 1 << BIG;
    return reply(w, call, (unsigned)(HALF + last), LARGE, false);
}

static int answer_held(struct world *w, naru_call *call)
{
    return reply(w, call, HALF + ANSWERS + mine->n_answers++, SMALL, false);
}

static int later(naru_call *call, struct world *w, enum kind kind)
{
    struct served *s = calloc(1, sizeof *s);
    *s = (struct served){mine->served, call, w, kind, -1, kind == HOLD ? mine->n_held++ : 0};
    mine->served = s;
    w->log->own[HANDLED]++;
    if (kind == HOLD && mine->releases) {
        (void)answer_held(w, call);
        end(w, s, NARU_STATUS_OK);
        return NARU_LATER;
    }
    if (kind == STUCK && !mine->releases)
        return NARU_LATER; /* its messages stay where they are */
    int r = naru_call_on(call, &served_events, s);
    if (r < 0)
        end(w, s, NARU_STATUS_CANCELLED);
    else if (kind == COUNT)
        count(s);
    return NARU_LATER;
}

static int hold(naru_call *call, void *self, const void *request, size_t size)
{
    int last = -1;
    got(self, request, size, &last, true);
    return later(call, self, HOLD);
}

static int chat(naru_call *call, void *self, const void *request, size_t size)
{
    (void)request, (void)size;
    return later(call, self, CHAT);
}

static int count_up(naru_call *call, void *self, const void *request, size_t size)
{
    int last = -1;
    got(self, request, size, &last, true);
    return later(call, self, COUNT);
}

static int be_stuck(naru_call *call, void *self, const void *request, size_t size)
{
    (void)request, (void)size;
    return later(call, self, STUCK);
}

static const naru_method methods[] = {
    {"Echo", 0, echo, NULL, NULL},
    {"Hold", 0, hold, NULL, NULL},
    {"Chat", NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, chat, NULL, NULL},
    {"Count", NARU_SERVER_STREAMS, count_up, NULL, NULL},
    {"Stuck", NARU_CLIENT_STREAMS, be_stuck, NULL, NULL},
    {"Big", 0, big, NULL, NULL},
};
static const naru_service service = {
    .size = sizeof service, .name = "c", .methods = methods, .n = KINDS};
static const naru_route routes[KINDS] = {
    {"c/Echo", 0, NULL},
    {"c/Hold", 0, NULL},
    {"c/Chat", NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, NULL},
    {"c/Count", NARU_SERVER_STREAMS, NULL},
    {"c/Stuck", NARU_CLIENT_STREAMS, NULL},
    {"c/Big", 0, NULL},
};

/* Stuck ones go on, and held ones are answered: by the seed with an error. */
static void release(struct world *w, struct ends *e, bool held)
{
    for (struct served *s = e->served, *next; s; s = next) {
        next = s->next;
        if (s->kind == STUCK && naru_call_on(s->call, &served_events, s) < 0)
            end(w, s, NARU_STATUS_CANCELLED);
        else if (s->kind == HOLD && held && s->number % 2) {
            const struct naru_metadata trailer = {"why", "because", 7};
            (void)naru_call_set_trailer(s->call, &trailer);
            end(w, s, naru_call_fail_details(s->call, NARU_STATUS_ABORTED, "d", 1, "as asked"));
        } else if (s->kind == HOLD && held) {
            (void)answer_held(w, s->call);
            end(w, s, NARU_STATUS_OK);
        }
    }
}

static void process(struct world *w, struct ends *e, int rounds, int64_t timeout)
{
    int r = 0;
    for (int i = 0; i < rounds && r == 0; i++)
        r = naru_server_process(e->server, timeout);
    if (r < 0 && r != -EAGAIN && r != -ETIMEDOUT)
        give_up(w, "naru_server_process", r);
}

/* ---- the client ---- */

static struct mine *begin(struct world *w, struct ends *e, enum kind kind, unsigned flags)
{
    const struct naru_call_options o = {.size = sizeof o, .flags = flags};
    struct mine *m = &e->calls[e->n++];
    *m = (struct mine){.kind = kind, .last = -1};
    for (struct mine *other = e->calls; other < m; other++)
        m->number += other->kind == kind;
    int r = naru_call_begin(e->client, &routes[kind], &o, &m->call);
    if (r < 0)
        give_up(w, "naru_call_begin", r);
    return m;
}

static int send_logged(struct world *w, struct ends *e, struct mine *m, size_t size)
{
    unsigned id = e->next;
    message_fill(buffer, size, id);
    log_sending(w, id);
    int r = naru_call_send(m->call, buffer, size, NARU_NOWAIT);
    if (r < 0)
        w->log->message[id].sending = 0;
    else if (size <= MIDDLE + SMALL)
        log_sent(w, id);
    e->next += r == 0;
    return r;
}

static struct mine *ask(struct world *w, struct ends *e, enum kind kind, unsigned flags)
{
    struct mine *m = begin(w, e, kind, flags);
    int r = kind == CHAT || kind == STUCK ? naru_call_flush(m->call, NARU_NOWAIT)
                                          : send_logged(w, e, m, size_of(w, e->next));
    if (r < 0)
        give_up(w, "to ask", r);
    return m;
}

static int take_some(struct world *w, struct mine *m, int most, int64_t timeout)
{
    struct naru_payload p;
    int r = 1;
    for (int i = 0; i < most && (r = naru_call_take(m->call, timeout, &p)) == 1; i++) {
        got(w, p.data, p.size, &m->last, false);
        naru_call_release(m->call, &p);
    }
    m->ended |= r == 0;
    return r;
}

static void finish_call(struct world *w, struct mine *m)
{
    int r = take_some(w, m, MESSAGES_MAX, PATIENCE);
    if (r != 0)
        give_up(w, "to the end of a call", r);
    m->call = naru_call_close(m->call);
}

static struct mine *of_kind(struct ends *e, enum kind kind)
{
    for (unsigned i = 0; i < e->n; i++)
        if (e->calls[i].kind == kind && e->calls[i].call)
            return &e->calls[i];
    return NULL;
}

/* ---- before ---- */

static void prepare(struct world *w)
{
    const struct naru_channel_options o = {.size = sizeof o, .capacity = CAPACITY};
    struct ends *e = mine = calloc(1, sizeof *e);
    int r = naru_channel_pair("shm:", &o, &e->a, &e->b);
    if (r < 0)
        give_up(w, "naru_channel_pair", r);
    e->w = w;
    w->object = e;
    w->log->no_order = true; /* of all calls together */
}

/* client: gets on meanwhile, as what it has accepted may still wait in it; or NULL. */
static void await_own(struct world *w, int which, unsigned value, naru_client *client)
{
    int64_t until = clock_now() + PATIENCE;
    while (w->log->own[which] < value && !w->control->failed) {
        if (client)
            naru_client_process(client, NARU_MS / 10);
        else
            usleep(20);
        if (clock_now() > until)
            failed(w, "to prepare: %d stays %u", which, w->log->own[which]);
    }
}

/* So many calls as there are by now have reached their handlers. */
static void await_handlers(struct world *w, struct ends *e, unsigned before)
{
    await_own(w, HANDLED, before + e->n, e->client);
}

static void full_of_requests(struct world *w, struct ends *e, struct mine *m)
{
    while (send_logged(w, e, m, MIDDLE) == 0)
        ;
}

/* With the server's help, which goes on until it is told to stop. */
static unsigned fill_state(struct world *w, struct ends *e)
{
    unsigned rounds = w->state == WRAPPED ? 100 : 1, handled = 0;
    bool serving = w->operation >= SERVE;
    for (; handled < rounds; handled++) {
        finish_call(w, ask(w, e, ECHO, 0));
        e->n--;
    }
    if (w->state == IDLE)
        return handled;
    ask(w, e, HOLD, 0);
    ask(w, e, HOLD, 0);
    struct mine *m = ask(w, e, w->state == HALF_CLOSED ? STUCK : CHAT, 0);
    for (int i = 0; i < 3; i++)
        send_logged(w, e, m, size_of(w, e->next));
    if (w->state == HALF_CLOSED)
        naru_call_shutdown(m->call);
    else if (take_some(w, m, 2, PATIENCE) != 1)
        give_up(w, "to chat", -1);
    if (w->state == NO_WINDOW && !serving)
        full_of_requests(w, e, ask(w, e, STUCK, 0));
    if (w->state == NO_WINDOW && serving) {
        ask(w, e, COUNT, 0);
        await_own(w, BLOCKED, 1, e->client); /* and all that it let through is here: */
        finish_call(w, ask(w, e, ECHO, 0));
        e->n--;
        handled++;
    }
    await_handlers(w, e, handled);
    return handled;
}

/* What the operation finds to do. */
static void fill_operation(struct world *w, struct ends *e)
{
    struct mine *m = of_kind(e, CHAT);
    switch ((enum operation)w->operation) {
    case TAKE:
    case EVENTS:
    case SERVE:
        ask(w, e, ECHO, NARU_IN_PLACE);
        ask(w, e, ECHO, NARU_IN_PLACE);
        m = m ? m : ask(w, e, CHAT, 0);
        send_logged(w, e, m, SMALL);
        send_logged(w, e, m, MIDDLE);
        if (w->operation == SERVE)
            naru_call_shutdown(m->call);
        break;
    case ANSWER_LARGE:
        ask(w, e, BIG, 0);
        break;
    case CANCELLED:
        w->log->own[GIVES_UP] = 1;
        for (unsigned i = 0; i < e->n; i++)
            e->calls[i].call = naru_call_close(e->calls[i].call);
        e->n = 0;
        break;
    case CONSUME:
        m = of_kind(e, STUCK);
        m = m && w->state != HALF_CLOSED ? m : ask(w, e, STUCK, 0);
        for (int i = 0; i < QUARTER; i++)
            send_logged(w, e, m, MIDDLE);
        break;
    default:
        break;
    }
}

static void attach_client(struct world *w, struct ends *e)
{
    const struct naru_client_options o = {
        .size = sizeof o, .window = WINDOW, .flags = w->seed & 4 ? NARU_SLEEP : 0};
    int r = naru_client_attach(e->a, &o, &e->client);
    if (r == 0)
        r = naru_client_wait_ready(e->client, PATIENCE);
    if (r < 0)
        give_up(w, "a client", r);
    unsigned handled = fill_state(w, e);
    bool answered = w->operation == TAKE || w->operation == EVENTS;
    if (answered) { /* and nobody has read it */
        fill_operation(w, e);
        await_handlers(w, e, handled);
    }
    if (w->state == FULL && w->operation >= SERVE) { /* of what nobody reads */
        ask(w, e, COUNT, 0);
        await_own(w, BLOCKED, 1, NULL);
    }
    w->log->own[STOP] = 1;
    await_own(w, STOPPED, 1, NULL);
    if (!answered)
        fill_operation(w, e);
    if (w->state == NO_WINDOW && w->operation >= SERVE && of_kind(e, COUNT))
        take_some(w, of_kind(e, COUNT), QUARTER, NARU_NOWAIT); /* which opens it a little */
    if (w->state == FULL && w->operation < SERVE)
        full_of_requests(w, e, ask(w, e, STUCK, 0));
}

static void attach_server(struct world *w, struct ends *e)
{
    const struct naru_server_options o = {
        .size = sizeof o, .window = WINDOW, .flags = w->seed & 4 ? NARU_SLEEP : 0};
    int r = naru_server_new(&o, &e->server);
    if (r == 0)
        r = naru_server_add(e->server, &service, w);
    if (r == 0)
        r = naru_server_attach(e->server, e->b);
    if (r < 0)
        give_up(w, "a server", r);
    while (!w->log->own[STOP] && !w->control->failed)
        process(w, e, 1, NARU_MS / 5);
    w->log->own[STOPPED] = 1;
}

static void attach(struct world *w, int who)
{
    struct ends *e = mine = w->object;
    bool server = serves(w, who);
    naru_channel *own = server ? e->b : e->a;
    naru_channel_close(server ? e->a : e->b);
    int r = naru_adopt(own);
    /* as in connection.c: an image has no copy of what is in a socket */
    if (r == 0)
        r = naru_channel_wait_peers(own, 1, PATIENCE);
    if (r < 0)
        give_up(w, "to meet", r);
    server ? attach_server(w, e) : attach_client(w, e);
}

/* ---- the operation ---- */

static void invoke(struct world *w, struct ends *e)
{
    static const size_t sizes[] = {SMALL, MIDDLE};
    const struct naru_call_options o = {.size = sizeof o, .timeout = 2 * NARU_MS};
    w->log->own[GIVES_UP] = 1;
    for (int i = 0; i < 2; i++) {
        struct naru_payload p;
        int last = -1;
        message_fill(buffer, sizes[i], e->next);
        log_sending(w, e->next);
        if (naru_client_invoke(e->client, &routes[ECHO], buffer, sizes[i], &o, &p) == 0) {
            got(w, p.data, p.size, &last, false);
            naru_client_release(e->client, &p);
        }
        e->next++;
    }
}

static void send_stream(struct world *w, struct ends *e)
{
    struct mine *m = of_kind(e, CHAT);
    if (!m) {
        m = begin(w, e, CHAT, 0);
        (void)naru_call_flush(m->call, 2 * NARU_MS);
    }
    send_logged(w, e, m, SMALL);
    send_logged(w, e, m, MIDDLE);
    if (naru_call_shutdown(m->call) == 0)
        (void)send_logged(w, e, begin(w, e, ECHO, 0), SMALL);
}

static void take(struct world *w, struct ends *e)
{
    struct naru_payload p[2] = {{.data = NULL}};
    struct mine *echoes[2], *m = of_kind(e, ECHO);
    echoes[0] = m;
    echoes[1] = m + 1;
    take_some(w, of_kind(e, CHAT), 4, 2 * NARU_MS);
    for (int i = 0; i < 2; i++)
        if (naru_call_take(echoes[i]->call, 2 * NARU_MS, &p[i]) == 1)
            got(w, p[i].data, p[i].size, &echoes[i]->last, false);
        else
            p[i].data = NULL;
    for (int i = 2; i-- > 0;)
        if (p[i].data)
            naru_call_release(echoes[i]->call, &p[i]);
}

static void on_answer(naru_call *call, void *arg, const void *data, size_t size)
{
    (void)call;
    got(mine->w, data, size, &((struct mine *)arg)->last, false);
}

static void on_answered(naru_call *call, void *arg, const struct naru_status *status)
{
    (void)status;
    ((struct mine *)arg)->call = naru_call_close(call);
}

static void events(struct world *w, struct ends *e)
{
    static const struct naru_call_events asked_events = {
        .size = sizeof asked_events, .message = on_answer, .end = on_answered};
    for (unsigned i = 0; i < e->n; i++)
        if (e->calls[i].kind == ECHO || e->calls[i].kind == CHAT)
            (void)naru_call_on(e->calls[i].call, &asked_events, &e->calls[i]);
    (void)naru_client_process(e->client, 2 * NARU_MS);
    struct mine *m = begin(w, e, ECHO, 0); /* what is sent now is gathered */
    (void)naru_call_on(m->call, &asked_events, m);
    (void)send_logged(w, e, m, SMALL);
    (void)naru_client_process(e->client, 2 * NARU_MS);
}

static void operate(struct world *w)
{
    struct ends *e = w->object;
    switch ((enum operation)w->operation) {
    case INVOKE:
        invoke(w, e);
        break;
    case SEND:
        send_stream(w, e);
        break;
    case SEND_LARGE:
        (void)send_logged(w, e, begin(w, e, ECHO, 0), LARGE);
        break;
    case TAKE:
        take(w, e);
        break;
    case EVENTS:
        events(w, e);
        break;
    case CANCEL:
        w->log->own[GIVES_UP] = 1;
        for (unsigned i = 0; i < e->n; i++)
            if (e->calls[i].kind != HOLD || i % 2)
                e->calls[i].call = naru_call_close(e->calls[i].call);
        break;
    case CLIENT_CLOSE:
        w->log->own[CLOSES] = 1;
        memset(e->calls, 0, sizeof e->calls);
        e->client = naru_client_close(e->client);
        break;
    case SERVE:
    case ANSWER_LARGE:
    case CANCELLED:
        process(w, e, 6, NARU_NOWAIT);
        break;
    case CONSUME:
        process(w, e, 3, NARU_NOWAIT);
        release(w, e, false);
        process(w, e, 3, NARU_NOWAIT);
        break;
    case FINISH:
        release(w, e, true);
        process(w, e, 2, NARU_NOWAIT);
        break;
    case SHUTDOWN:
        w->log->own[CLOSES] = 1;
        naru_server_shutdown(e->server, NARU_MS);
        for (int i = 0, r = 0; i < 4 && r == 0; i++)
            r = naru_server_process(e->server, NARU_MS);
        break;
    case SERVER_CLOSE:
        w->log->own[CLOSES] = 1;
        e->server = naru_server_close(e->server);
        break;
    }
}

/* ---- after ---- */

/* Another client, of this process, is served. */
static void goes_on(struct world *w, struct ends *e)
{
    naru_channel *a, *b;
    naru_client *client;
    naru_call *call;
    int r = naru_channel_pair("shm:", NULL, &a, &b);
    if (r == 0)
        r = naru_server_attach(e->server, b);
    if (r == 0)
        r = naru_client_attach(a, NULL, &client);
    if (r == 0)
        r = naru_call_begin(client, &routes[ECHO], NULL, &call);
    if (r < 0)
        give_up(w, "the next client", r);
    char data[SMALL];
    message_fill(data, SMALL, PROBE);
    log_sending(w, PROBE);
    struct naru_payload p;
    int64_t until = clock_now() + PATIENCE;
    for (r = -EAGAIN; r == -EAGAIN && clock_now() < until;) {
        r = naru_call_send(call, data, SMALL, NARU_NOWAIT);
        process(w, e, 1, NARU_NOWAIT);
    }
    for (r = r == 0 ? -EAGAIN : r; r == -EAGAIN && clock_now() < until;) {
        process(w, e, 1, NARU_NOWAIT);
        r = naru_call_take(call, NARU_NOWAIT, &p);
    }
    int last = -1;
    if (r != 1 || !e->got_probe)
        give_up(w, "the server does not serve the next client, which", r);
    got(w, p.data, p.size, &last, false);
    naru_call_release(call, &p);
    naru_call_close(call);
    naru_client_close(client);
}

/* Until nobody is there any more. */
static void serve_to_the_end(struct world *w, struct ends *e)
{
    if (!e->server)
        return;
    int r = naru_server_run(e->server);
    if (r < 0)
        give_up(w, "naru_server_run", r);
    if (e->served && !w->log->own[CLOSES])
        failed(w, "a handler never learns that its call is over");
    e->server = naru_server_close(e->server);
}

static void end_one(struct world *w, struct mine *m, bool died)
{
    struct naru_status status = {.code = 0};
    if (!died && (m->kind == CHAT || m->kind == STUCK))
        (void)naru_call_shutdown(m->call);
    if (died && m->kind == CHAT) /* whether it fails or not, what was said before is heard */
        (void)send_logged(w, mine, m, SMALL);
    int r = m->ended ? 0 : take_some(w, m, MESSAGES_MAX, PATIENCE);
    if (r < 0)
        naru_client_status(&status);
    going_on(w, w->who);
    bool lost = r == -ECONNRESET && status.code == NARU_STATUS_UNAVAILABLE;
    bool aborted = r == -EREMOTEIO && status.code == NARU_STATUS_ABORTED && m->kind == HOLD;
    bool may_be_lost = died || w->log->own[CLOSES];
    bool told = m->kind == HOLD && w->log->own[TOLD] >> m->number & 1 && delivers(w);
    if (r == 0 || aborted ? !(w->log->own[DONE] >> m->kind & 1) : !lost || !may_be_lost)
        failed(w, "%s ended with %d, status %d: %s", routes[m->kind].path, r, status.code,
               naru_why());
    if (told && lost && !w->log->own[CLOSES])
        failed(w, "%s was finished, and its client was not told", routes[m->kind].path);
    m->call = naru_call_close(m->call);
}

/* Answers in place first: behind them nothing comes. */
static void end_all(struct world *w, struct ends *e, bool died)
{
    for (int others = 0; others < 2; others++)
        for (unsigned i = 0; i < e->n; i++)
            if (e->calls[i].call && (e->calls[i].kind != ECHO) == others)
                end_one(w, &e->calls[i], died);
}

static void client_survives(struct world *w, struct ends *e, bool died)
{
    if (!e->client)
        return;
    end_all(w, e, died);
    if (died && subject_dies(w)) { /* and nothing can be asked any more */
        int r = naru_client_invoke(e->client, &routes[ECHO], buffer, SMALL, NULL, NULL);
        if (r != -ECONNRESET)
            give_up(w, "asking the dead", r);
        r = naru_client_wait_ready(e->client, PATIENCE);
        if (r != -ECONNRESET)
            give_up(w, "waiting for the dead", r);
    }
    e->client = naru_client_close(e->client);
}

/* The other one sleeps, and is not dead. */
static void linger(struct world *w, struct ends *e)
{
    for (int i = 0; e->server && i < 3; i++)
        process(w, e, 1, NARU_MS);
    for (unsigned i = 0; e->client && i < e->n; i++) {
        struct mine *m = &e->calls[i];
        int r = m->ended ? 0 : take_some(w, m, 2, NARU_MS);
        bool over = r != 1 && r != -EAGAIN && r != -ETIMEDOUT;
        if (over && !(w->log->own[DONE] >> m->kind & 1) && !w->log->own[CLOSES])
            give_up(w, "a call to a sleeper", r);
        if (over)
            m->call = naru_call_close(m->call);
    }
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct ends *e = w->object;
    bool ends = w->operation == CLIENT_CLOSE || w->operation == SHUTDOWN ||
                w->operation == SERVER_CLOSE || w->operation == CANCEL || w->operation == CANCELLED;
    (void)who;
    if (fate == PAUSED) {
        linger(w, e);
        return;
    }
    /* who dies takes its calls along; what is given up need not arrive */
    w->log->none_left[0] |= fate == DIED || ends;
    w->log->none_left[1] |= ends || (fate == DIED && w->operation < SERVE);
    if (e->server) {
        e->releases = true;
        if (fate == DIED)
            goes_on(w, e);
        release(w, e, fate == LIVES);
        serve_to_the_end(w, e);
    }
    client_survives(w, e, fate == DIED);
}

static bool applies(int operation, int state)
{
    return !((operation == FINISH || operation == CANCEL || operation == CANCELLED) &&
             state == IDLE) &&
           !(operation == CONSUME && (state == FULL || state == NO_WINDOW)) &&
           !(operation == SEND_LARGE && state == FULL);
}

static const char *call_missing(void)
{
    naru_channel *a, *b;
    if (naru_channel_pair("shm:", NULL, &a, &b) < 0)
        return naru_why();
    naru_channel_close(a);
    naru_channel_close(b);
    return NULL;
}

static const char *const rooms[] = {"/src/rpc/",
                                    "/transport/shm/end.c",
                                    "/transport/shm/inside.h",
                                    "/transport/shm/receiving.c",
                                    "/transport/shm/sending.c",
                                    "/src/shm/ring",
                                    NULL};

const struct scenario call_scenario = {
    .name = "call",
    .operations = operations,
    .states = states,
    .rooms = rooms,
    .participants = 2,
    .missing = call_missing,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .applies = applies,
};
