/* SPDX-License-Identifier: MIT */
/* connection.c - both ends of a connection, made as a pair, over each kind that has them.
 *
 * The subject has end a. Messages from it have ids below HALF, those to it the others. A survivor
 * gets all that the dead one had sent, then hears of the death, and then can neither send nor wait;
 * what it had sent itself is lost with the dead. */
#include "rig.h"

#include <errno.h>
#include <naru/naru.h>
#include <stdlib.h>
#include <string.h>

/* A probe is sent only to hear whether the other end lives: not logged. */
enum { HALF = MESSAGES_MAX / 2, PREPARED_MAX = 300, FIRST = 400, PROBE = MESSAGES_MAX - 1 };
/* Longer than the rig's hang: a wake-up that is missed must not be hidden by the time's end. */
#define PATIENCE (10 * NARU_S)
enum { SMALL = 24, MIDDLE = 3000, LARGE = 200000 };

enum operation {
    SEND,
    SEND_LARGE,
    SEND_MANY,
    RESERVE,
    RECV,
    RECV_LARGE,
    TAKE,
    GIVE_BACK,
    SHUTDOWN,
    CLOSE,
};

static const char *const operations[] = {
    "send",         "send-large",  "send-many", "reserve", "recv", "recv-large",
    "take-release", "take-return", "shutdown",  "close",   NULL};

/* contended: the other end holds a message that it has taken. */
enum state { EMPTY, FULL, WRAPPED, CONTENDED };
static const char *const states[] = {"empty", "full", "wrapped", "contended", NULL};

struct ends {
    naru_channel *a, *b, *mine;
    struct naru_message held;
    bool holds;
    unsigned next; /* id of the survivor's own messages */
};

static char buffer[LARGE];

static bool receives(int operation)
{
    return operation >= RECV && operation <= GIVE_BACK;
}

/* Sizes differ by the seed, so that the ring is left at different places. */
static size_t size_of(const struct world *w, unsigned id)
{
    uint64_t seed = (w->seed >> 3) + id;
    return SMALL + pseudo_random(&seed) % (id % 5 ? 100 : MIDDLE);
}

static int send_logged(struct world *w, naru_channel *c, unsigned id, size_t size, int64_t timeout)
{
    message_fill(buffer, size, id);
    log_sending(w, id);
    int r = naru_channel_send(c, 1, buffer, size, timeout);
    if (r == 0)
        log_sent(w, id);
    return r;
}

static void got(struct world *w, const void *data, size_t size, const struct naru_info *info)
{
    int id = message_id(data, size);
    if (id < 0)
        failed(w, "a message of %zu bytes is garbled", size);
    if (id != PROBE)
        log_got(w, (unsigned)id, info->flags & NARU_REDELIVERED);
}

static int recv_logged(struct world *w, naru_channel *c, int64_t timeout)
{
    struct naru_info info;
    log_consuming(w, 1);
    ssize_t n = naru_channel_recv(c, 0, buffer, sizeof buffer, &info, timeout);
    if (n >= 0)
        got(w, buffer, (size_t)n, &info);
    log_consuming(w, 0);
    return n < 0 ? (int)n : 0;
}

static void give_up(struct world *w, const char *what, int code)
{
    failed(w, "%s gave %d: %s", what, code, naru_why());
}

/* ---- before ---- */

static void prepare(struct world *w)
{
    struct ends *e = calloc(1, sizeof *e);
    struct naru_channel_options options = {.size = sizeof options};
    char kind[16];
    snprintf(kind, sizeof kind, "%s:", w->scenario->name);
    int r = naru_channel_pair(kind, &options, &e->a, &e->b);
    if (r < 0)
        give_up(w, "naru_channel_pair", r);
    w->object = e;
    naru_channel *from = receives(w->operation) ? e->b : e->a;
    naru_channel *to = receives(w->operation) ? e->a : e->b;
    unsigned id = receives(w->operation) ? HALF : 0, first = id;
    if (w->operation == RECV_LARGE && w->state != FULL)
        send_logged(w, from, id++, 40000, NARU_NOWAIT);
    unsigned most = w->state == EMPTY ? 0 : w->state == CONTENDED ? 3 : PREPARED_MAX;
    while (id - first < most && (r = send_logged(w, from, id, size_of(w, id), NARU_NOWAIT)) == 0)
        id++;
    while (w->state == WRAPPED && id - first < PREPARED_MAX + 60) {
        if ((r = recv_logged(w, to, NARU_NOWAIT)) == 0)
            r = send_logged(w, from, id, size_of(w, id), NARU_NOWAIT);
        if (r < 0 && r != -EAGAIN)
            break;
        id += r == 0;
    }
    while (w->state == WRAPPED && recv_logged(w, to, NARU_NOWAIT) == 0) /* some are left */
        if (w->log->last_got[0][receives(w->operation)] + 4 >= (int)id)
            break;
    if (r < 0 && r != -EAGAIN)
        give_up(w, "to prepare", r);
    e->next = HALF + FIRST;
}

static void attach(struct world *w, int who)
{
    struct ends *e = w->object;
    e->mine = who == 0 ? e->a : e->b;
    naru_channel_close(who == 0 ? e->b : e->a);
    int r = naru_adopt(e->mine);
    if (r < 0)
        give_up(w, "naru_adopt", r);
    /* an image has a copy of the memory, not of the socket: the greeting is heard before */
    r = naru_channel_wait_peers(e->mine, 1, NARU_S);
    if (r < 0)
        give_up(w, "to meet", r);
    if (who == 1 && w->state == CONTENDED && !receives(w->operation)) {
        r = naru_channel_take(e->mine, 0, NARU_S, &e->held);
        if (r < 0)
            give_up(w, "to take beforehand", r);
        e->holds = true;
    }
}

/* ---- the operation ---- */

static void send_many(struct world *w, naru_channel *c)
{
    enum { N = 4 };
    char data[N][SMALL];
    struct naru_message list[N] = {0};
    for (unsigned i = 0; i < N; i++) {
        message_fill(data[i], SMALL, FIRST + i);
        list[i].data = data[i];
        list[i].size = SMALL;
        list[i].info.type = 1;
        log_sending(w, FIRST + i);
    }
    ssize_t n = naru_channel_send_many(c, list, N, 2 * NARU_MS);
    for (ssize_t i = 0; i < n; i++)
        log_sent(w, (unsigned)(FIRST + i));
}

static void reserve(struct world *w, naru_channel *c)
{
    void *data;
    for (unsigned id = FIRST; id < FIRST + 3; id++) {
        size_t size = id % 3 ? SMALL : MIDDLE;
        if (naru_channel_reserve(c, size, 2 * NARU_MS, &data) < 0)
            return;
        message_fill(data, size, id);
        if (id % 3 == 2) {
            naru_channel_abandon(c, data);
            continue;
        }
        log_sending(w, id);
        if (naru_channel_commit(c, data, size, 1) == 0)
            log_sent(w, id);
    }
}

static void take(struct world *w, naru_channel *c, bool back)
{
    struct naru_message list[2];
    log_consuming(w, 2);
    ssize_t n = naru_channel_take_many(c, 0, list, 2, 2 * NARU_MS);
    if (n > 0 && back) {
        naru_channel_return(c, list, (size_t)n);
    } else if (n > 0) {
        for (ssize_t i = 0; i < n; i++)
            got(w, list[i].data, list[i].size, &list[i].info);
        naru_channel_release(c, list, (size_t)n);
    }
    log_consuming(w, 0);
}

static void operate(struct world *w)
{
    struct ends *e = w->object;
    naru_channel *c = e->mine;
    unsigned id = FIRST;
    switch ((enum operation)w->operation) {
    case SEND:
        send_logged(w, c, id, SMALL, 2 * NARU_MS);
        send_logged(w, c, id + 1, MIDDLE, 2 * NARU_MS);
        break;
    case SEND_LARGE:
        send_logged(w, c, id, LARGE, 2 * NARU_MS);
        break;
    case SEND_MANY:
        send_many(w, c);
        break;
    case RESERVE:
        reserve(w, c);
        break;
    case RECV:
    case RECV_LARGE:
        recv_logged(w, c, 2 * NARU_MS);
        recv_logged(w, c, 2 * NARU_MS);
        break;
    case TAKE:
    case GIVE_BACK:
        take(w, c, w->operation == GIVE_BACK);
        break;
    case SHUTDOWN:
        naru_channel_shutdown(c);
        break;
    case CLOSE:
        e->mine = NULL;
        naru_channel_close(c);
        break;
    }
}

/* ---- after ---- */

static bool may_end(const struct world *w)
{
    return w->operation == SHUTDOWN || w->operation == CLOSE;
}

/* Sends until told that nobody is there; that must be said, in time, even when there is room. */
static void probe(struct world *w, struct ends *e)
{
    char data[SMALL];
    int r;
    message_fill(data, sizeof data, PROBE);
    while ((r = naru_channel_send(e->mine, 1, data, sizeof data, PATIENCE)) == 0)
        going_on(w, 1);
    if (r != -ECONNRESET && r != -EPIPE)
        give_up(w, "sending to the dead", r);
}

/* All that the dead had sent, then the death. */
static void outlive(struct world *w, struct ends *e)
{
    w->log->none_left[1] = true;
    if (receives(w->operation))
        probe(w, e);
    int r;
    while ((r = recv_logged(w, e->mine, PATIENCE)) == 0)
        going_on(w, 1);
    if (r != -ECONNRESET && !(r == -EPIPE && may_end(w)))
        give_up(w, "receiving from the dead", r);
    going_on(w, 1);
    probe(w, e);
}

static void linger(struct world *w, struct ends *e)
{
    for (int i = 0; i < 3; i++) {
        int r = send_logged(w, e->mine, e->next, SMALL, NARU_MS);
        e->next += r == 0 || r != -EAGAIN;
        r = recv_logged(w, e->mine, NARU_MS);
        if (r < 0 && r != -ETIMEDOUT && r != -EAGAIN && !(r == -EPIPE && may_end(w)))
            give_up(w, "receiving from a sleeper", r);
    }
}

/* Both say that no more comes, and take what there is. */
static void part(struct world *w, struct ends *e)
{
    if (w->operation == CLOSE)
        w->log->none_left[1] = true;
    if (!e->mine)
        return;
    naru_channel_shutdown(e->mine);
    int r;
    while ((r = recv_logged(w, e->mine, PATIENCE)) == 0)
        ;
    /* a pipe may have had no room for the word that a message was given up */
    if (r != -EPIPE && !(w->scenario->no_images && w->operation == SEND_LARGE))
        give_up(w, "receiving to the end", r);
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct ends *e = w->object;
    (void)who;
    if (e->holds) {
        got(w, e->held.data, e->held.size, &e->held.info);
        naru_channel_release(e->mine, &e->held, 1);
        e->holds = false;
    }
    if (fate == PAUSED) {
        linger(w, e);
        return;
    }
    if (fate == DIED)
        outlive(w, e);
    else
        part(w, e);
    naru_channel_close(e->mine);
}

static bool applies(int operation, int state)
{
    return !(receives(operation) && state == CONTENDED) &&
           !(operation == RECV_LARGE && state == FULL) &&
           !(operation == RESERVE && state == FULL); /* commit waits there, without a limit */
}

static const char *const pipe_rooms[] = {"/src/transport/pipe/", "/common/receiving.c",
                                         "/common/sending.c", "/common/inbox.c", NULL};

const struct scenario pipe_scenario = {
    .name = "pipe",
    .operations = operations,
    .states = states,
    .rooms = pipe_rooms,
    .participants = 2,
    .no_images = true,
    .no_child = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .applies = applies,
};

static const char *shm_missing(void)
{
    naru_channel *a, *b;
    if (naru_channel_pair("shm:", NULL, &a, &b) < 0)
        return naru_why();
    naru_channel_close(a);
    naru_channel_close(b);
    return NULL;
}

static const char *const shm_rooms[] = {"/src/shm/", "/src/transport/shm/", NULL};

const struct scenario shm_scenario = {
    .name = "shm",
    .operations = operations,
    .states = states,
    .rooms = shm_rooms,
    .participants = 2,
    .missing = shm_missing,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .applies = applies,
};
