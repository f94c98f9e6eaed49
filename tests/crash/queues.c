/* SPDX-License-Identifier: MIT */
/* queues.c - a queue, and a topic, of several in shared memory.
 *
 * The subject sends, receives, opens, closes, removes or cleans up; two survivors send and receive.
 * A stream of ids is a sender's: 0 the one before all others, who has left its lane; 2, 3, 4 the
 * participants'; 5, 6, 7 theirs in the object that comes after a removal. In a queue each message
 * that was acknowledged arrives once, or again, marked; in a topic, once at each survivor. In the
 * end no message of a queue is anybody's any more. */
#include "rig.h"

#include "transport/shm/lanes.h"

#include "os/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <naru/naru.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define URL "shm:object"

enum { STREAM = MESSAGES_MAX / STREAMS_MAX, OPERATED = 64 };
enum { SMALL = 24, MIDDLE = 700, LARGE = 5000, HISTORY = 8 };

enum operation {
    SEND,
    SEND_LARGE,
    SEND_MANY,
    RESERVE,
    RECV,
    RECV_SELECT,
    TAKE,
    GIVE_BACK,
    OPEN_SEND,
    OPEN_RECV,
    CREATE,
    CLOSE,
    REMOVE,
    COLLECT,
    TAKE_AWAY,
    RECV_LOSSY, /* a topic's */
};
static const char *const queue_operations[] = {
    "send",         "send-large",  "send-many", "reserve",   "recv",   "recv-select",
    "take-release", "take-return", "open-send", "open-recv", "create", "close",
    "remove",       "collect",     "take-away", NULL};
static const char *const topic_operations[] = {
    "publish",      "publish-large", "publish-many", "reserve",    "recv",   "recv-select",
    "take-release", "take-return",   "open-publish", "subscribe",  "create", "close",
    "remove",       "collect",       "take-away",    "recv-lossy", NULL};

/* contended: survivor 1 holds a message. dead: a dead receiver does, and nobody has cleaned up.
 * back: some were given back. large: one lies in a segment. held: the sender has gone round past
 * one that is held. history: of a topic that keeps some. */
enum state { EMPTY, FULL, WRAPPED, CONTENDED, DEAD, BACK, BIG, HELD };
static const char *const queue_states[] = {"empty", "full",  "wrapped", "contended", "dead",
                                           "back",  "large", "held",    NULL};
static const char *const topic_states[] = {"empty", "full",    "wrapped", "contended",
                                           "dead",  "history", "large",   NULL};

/* log.own: whose turn it is to attach; has the lane gone round; which directory each survivor had
 * in the end. */
enum { TURN, ROUND, DIRECTORY };

struct party {
    naru_channel *mine;
    struct naru_message held[2];
    int held_id[2], n_held;
    unsigned next;
    bool before[MESSAGES_MAX]; /* of a topic: sent, or on their way, before this one came */
    bool again;                /* in the object that came after a removal */
};

static char buffer[2 * LARGE];

static bool is_topic(const struct world *w)
{
    return strcmp(w->scenario->name, "topic") == 0;
}

static bool sends(const struct world *w)
{
    return w->operation <= RESERVE || w->operation == CLOSE;
}

static void give_up(struct world *w, const char *what, int code)
{
    failed(w, "%s gave %d: %s", what, code, naru_why());
}

static int open_role(const struct world *w, int role, bool lossy, naru_channel **ret_c)
{
    if (is_topic(w)) {
        struct naru_topic_options o = {.size = sizeof o,
                                       .capacity = 4096,
                                       .history = w->state == BACK ? HISTORY : 0,
                                       .lossy = lossy};
        return naru_topic_open(URL, role, &o, ret_c);
    }
    struct naru_queue_options o = {.size = sizeof o, .capacity = 4096};
    return naru_queue_open(URL, role, &o, ret_c);
}

static naru_channel *opened(struct world *w, int role, bool lossy)
{
    naru_channel *c;
    int r = open_role(w, role, lossy, &c);
    if (r < 0)
        give_up(w, "to open", r);
    return c;
}

/* A survivor opens it: of a topic it has to see what is sent from here on. */
static void come(struct world *w, struct party *p)
{
    p->mine = opened(w, NARU_SEND | NARU_RECV, false);
    for (int id = 0; id < MESSAGES_MAX; id++)
        p->before[id] = is_topic(w) && w->state != BACK && w->log->message[id].sending;
}

/* ---- messages ---- */

static uint32_t type_of(unsigned id)
{
    return 1 + id % 2;
}

static int send_logged(struct world *w, naru_channel *c, unsigned id, size_t size, int64_t timeout)
{
    message_fill(buffer, size, id);
    log_sending(w, id);
    int r = naru_channel_send(c, type_of(id), buffer, size, timeout);
    if (r == 0)
        log_sent(w, id);
    return r;
}

static void got(struct world *w, const void *data, size_t size, const struct naru_info *info)
{
    int id = message_id(data, size);
    if (id < 0)
        failed(w, "a message of %zu bytes is garbled", size);
    if (info->type != type_of((unsigned)id))
        failed(w, "message %d has the type %u", id, info->type);
    if (!is_topic(w))
        log_got(w, (unsigned)id, info->flags & NARU_REDELIVERED);
    else if (!(info->flags & NARU_REDELIVERED))
        log_got_by(w, (unsigned)id);
}

/* More of a queue that this process may be done with and has not logged. */
static void consuming(struct world *w, int more)
{
    if (!is_topic(w))
        w->log->consuming += more;
}

static int recv_logged(struct world *w, naru_channel *c, int64_t select, int64_t timeout)
{
    struct naru_info info;
    consuming(w, 1);
    ssize_t n = naru_channel_recv(c, select, buffer, sizeof buffer, &info, timeout);
    if (n >= 0)
        got(w, buffer, (size_t)n, &info);
    consuming(w, -1);
    return n < 0 ? (int)n : 0;
}

static unsigned fill_up(struct world *w, naru_channel *c, unsigned id, unsigned most)
{
    for (unsigned n = 0; n < most; n++, id++) {
        message_fill(buffer, SMALL, id);
        log_sending(w, id);
        int r = naru_channel_send(c, type_of(id), buffer, SMALL, NARU_NOWAIT);
        if (r == -EAGAIN) {
            w->log->message[id].sending = 0;
            break;
        }
        if (r < 0)
            give_up(w, "to prepare", r);
        log_sent(w, id);
    }
    return id;
}

/* ---- before ---- */

/* In a child that dies, or leaves. */
static void in_child(struct world *w, void (*what)(struct world *))
{
    pid_t pid = fork();
    if (pid == 0) {
        what(w);
        _exit(0);
    }
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        failed(w, "to prepare: status %d", status);
}

static void former(struct world *w)
{
    static const unsigned n_of[] = {[CONTENDED] = 6, [DEAD] = 6, [BACK] = HISTORY};
    naru_channel *c = opened(w, NARU_SEND | (is_topic(w) ? 0 : NARU_RECV), false);
    unsigned id = 0;
    if (w->state == BIG) {
        send_logged(w, c, id++, LARGE, NARU_NOWAIT);
        send_logged(w, c, id++, MIDDLE, NARU_NOWAIT);
    }
    if (w->state == FULL)
        id = fill_up(w, c, id, 100);
    else if ((size_t)w->state < sizeof n_of / sizeof *n_of)
        id = fill_up(w, c, id, n_of[w->state]);
    for (int i = 0; w->state == WRAPPED && i < 40; i++) {
        id = fill_up(w, c, id, i < 5 ? 2 : 1);
        if (!is_topic(w))
            recv_logged(w, c, 0, NARU_NOWAIT);
    }
    memset(w->log->last_got, 0, sizeof w->log->last_got); /* a receiver of its own */
    if (w->state != DEAD)
        naru_channel_close(c);
}

static void stale(struct world *w)
{
    in_child(w, former);
    naru_remove(URL);
    char path[64];
    static const char *const left[] = {".new-1", ".dead-1", ".dead-1/meta"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/dev/shm/naru-%u/%s", geteuid(), left[i]);
        if (i < 2)
            mkdir(path, 0700);
        else
            close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    }
}

static void prepare(struct world *w)
{
    struct party *p = calloc(1, sizeof *p);
    w->object = p;
    w->log->no_order = w->operation == RECV_SELECT;
    if (w->operation != CREATE)
        in_child(w, former);
    else if (w->state == DEAD)
        in_child(w, stale);
    if (is_topic(w) && w->state != BACK) /* nobody was there */
        w->log->none_left[0] = true;
    if (w->operation == CREATE)
        w->log->none_left[0] = true;
}

/* A receiver that takes two and dies, or gives them back. */
static void another(struct world *w)
{
    struct naru_message m[2];
    naru_channel *c = opened(w, NARU_RECV, false);
    ssize_t n = naru_channel_take_many(c, 0, m, 2, NARU_NOWAIT);
    if (n > 0 && w->state == BACK)
        naru_channel_return(c, m, (size_t)n);
    if (w->state == BACK)
        naru_channel_close(c);
}

/* Received, and held: if the holder dies they come again, marked. */
static void take_held(struct world *w, struct party *p, size_t most)
{
    ssize_t n = naru_channel_take_many(p->mine, 0, p->held, most, NARU_NOWAIT);
    p->n_held = n > 0 ? (int)n : 0;
    for (int i = 0; i < p->n_held; i++) {
        got(w, p->held[i].data, p->held[i].size, &p->held[i].info);
        p->held_id[i] = message_id(p->held[i].data, p->held[i].size);
    }
}

/* A sender whose lane is empty, and who dies with a segment that it has not sent. */
static void passer_by(struct world *w)
{
    void *data;
    naru_channel *c = opened(w, NARU_SEND, false);
    if (naru_channel_reserve(c, LARGE, NARU_NOWAIT, &data) < 0)
        failed(w, "to reserve: %s", naru_why());
}

/* The subject sends until survivor 1 has taken two and has received enough of the others: its lane
 * has gone round past those that are held. */
static void go_round(struct world *w, struct party *p)
{
    send_logged(w, p->mine, p->next++, MIDDLE, NARU_NOWAIT);
    p->next = fill_up(w, p->mine, p->next, 2);
    w->log->own[TURN]++;
    while (!w->log->own[ROUND] && !w->control->failed) {
        if (p->next < 2 * STREAM + OPERATED)
            p->next = fill_up(w, p->mine, p->next, 1);
        usleep(20);
    }
}

static void attach_subject(struct world *w, struct party *p)
{
    static const int role_of[] = {[RECV] = NARU_RECV,
                                  [RECV_SELECT] = NARU_RECV,
                                  [TAKE] = NARU_RECV,
                                  [GIVE_BACK] = NARU_RECV,
                                  [OPEN_SEND] = 0,
                                  [OPEN_RECV] = 0,
                                  [CREATE] = 0,
                                  [REMOVE] = 0,
                                  [COLLECT] = NARU_RECV,
                                  [TAKE_AWAY] = NARU_RECV,
                                  [RECV_LOSSY] = NARU_RECV,
                                  [CLOSE] = NARU_SEND | NARU_RECV};
    int role = w->operation <= RESERVE ? NARU_SEND : role_of[w->operation];
    if (role)
        p->mine = opened(w, role, w->operation == RECV_LOSSY);
    if (w->operation == TAKE_AWAY) {
        in_child(w, passer_by);
        naru__lanes_collect(lanes_of(p->mine));
    }
    if (p->mine && is_topic(w) && w->state == DEAD)
        in_child(w, another); /* holds publishers back until somebody cleans up */
    if (w->state == FULL && sends(w))
        p->next = fill_up(w, p->mine, p->next, OPERATED);
    if (w->state == BIG && sends(w))
        send_logged(w, p->mine, p->next++, LARGE, NARU_NOWAIT);
    if (w->state == HELD)
        go_round(w, p);
    if (!is_topic(w) && (w->state == DEAD || w->state == BACK))
        in_child(w, another);
}

static void attach(struct world *w, int who)
{
    struct party *p = w->object;
    /* the subject comes last; or first, so that the others hold messages of its */
    static const unsigned turn[2][3] = {{2, 0, 1}, {0, 1, 2}};
    while (w->log->own[TURN] != turn[w->state == HELD][who] && !w->control->failed)
        usleep(20);
    p->next = STREAM * (2 + (unsigned)who);
    if (who == 0)
        attach_subject(w, p);
    else if (w->operation != CREATE)
        come(w, p);
    if (who == 1 && w->state == CONTENDED && p->mine) {
        take_held(w, p, 1);
    }
    if (who == 1 && w->state == HELD) {
        take_held(w, p, 2);
        for (int i = 0; i < 30; i++)
            recv_logged(w, p->mine, 0, NARU_S);
        w->log->own[ROUND] = 1;
    }
    if (is_topic(w) && who > 0 && w->operation != CREATE) { /* something to receive */
        unsigned n = w->state == EMPTY || w->state == BACK || sends(w) ? 0 : 3;
        n = w->state == FULL && n ? 20 : n;
        p->next = fill_up(w, p->mine, p->next, n);
    }
    if (who > 0 || w->state != HELD)
        w->log->own[TURN]++;
}

/* ---- the operation ---- */

static void send_many(struct world *w, naru_channel *c, unsigned id)
{
    enum { N = 4 };
    static const size_t size[N] = {SMALL, MIDDLE, SMALL, LARGE};
    static char data[N][LARGE];
    struct naru_message list[N] = {0};
    for (unsigned i = 0; i < N; i++) {
        message_fill(data[i], size[i], id + i);
        list[i].data = data[i];
        list[i].size = size[i];
        list[i].info.type = type_of(id + i);
        log_sending(w, id + i);
    }
    ssize_t n = naru_channel_send_many(c, list, N, 2 * NARU_MS);
    for (ssize_t i = 0; i < n; i++)
        log_sent(w, (unsigned)(id + i));
}

static void reserve(struct world *w, naru_channel *c, unsigned id)
{
    static const size_t size[] = {SMALL, MIDDLE, LARGE, LARGE, MIDDLE};
    void *data;
    for (unsigned i = 0; i < sizeof size / sizeof *size; i++) {
        if (naru_channel_reserve(c, size[i], 2 * NARU_MS, &data) < 0)
            return;
        size_t n = i == 4 ? SMALL : size[i]; /* it came out smaller */
        message_fill(data, n, id + i);
        if (i == 3) {
            naru_channel_abandon(c, data);
            continue;
        }
        log_sending(w, id + i);
        if (naru_channel_commit(c, data, n, type_of(id + i)) == 0)
            log_sent(w, id + i);
    }
}

static void take(struct world *w, naru_channel *c, bool back)
{
    struct naru_message list[2];
    ssize_t n = naru_channel_take_many(c, 0, list, 2, 2 * NARU_MS);
    if (n > 0 && back) {
        naru_channel_return(c, list, (size_t)n);
    } else if (n > 0) {
        consuming(w, (int)n);
        for (ssize_t i = 0; i < n; i++)
            got(w, list[i].data, list[i].size, &list[i].info);
        naru_channel_release(c, list, (size_t)n);
        consuming(w, (int)-n);
    }
}

static void recv_some(struct world *w, naru_channel *c, int64_t select)
{
    for (int i = 0; i < 2; i++)
        recv_logged(w, c, i ? select : select > 0 ? -2 : 0, 2 * NARU_MS);
}

static void open_late(struct world *w, struct party *p, int role)
{
    int r = open_role(w, role, false, &p->mine);
    if (r < 0)
        give_up(w, "to open", r);
}

static void operate(struct world *w)
{
    struct party *p = w->object;
    unsigned id = 2 * STREAM + OPERATED;
    switch ((enum operation)w->operation) {
    case SEND:
        send_logged(w, p->mine, id, SMALL, 2 * NARU_MS);
        send_logged(w, p->mine, id + 1, MIDDLE, 2 * NARU_MS);
        break;
    case SEND_LARGE:
        send_logged(w, p->mine, id, LARGE, 2 * NARU_MS);
        send_logged(w, p->mine, id + 1, LARGE, 2 * NARU_MS);
        break;
    case SEND_MANY:
        send_many(w, p->mine, id);
        break;
    case RESERVE:
        reserve(w, p->mine, id);
        break;
    case RECV:
    case RECV_LOSSY:
        recv_some(w, p->mine, 0);
        break;
    case RECV_SELECT:
        recv_some(w, p->mine, 2);
        break;
    case TAKE:
    case GIVE_BACK:
        take(w, p->mine, w->operation == GIVE_BACK);
        break;
    case OPEN_SEND:
        open_late(w, p, NARU_SEND);
        send_logged(w, p->mine, id, SMALL, 2 * NARU_MS);
        break;
    case OPEN_RECV:
        open_late(w, p, NARU_RECV);
        recv_some(w, p->mine, 0);
        break;
    case CREATE:
        open_late(w, p, NARU_SEND | NARU_RECV);
        send_logged(w, p->mine, id, SMALL, 2 * NARU_MS);
        break;
    case CLOSE: {
        naru_channel *c = p->mine;
        p->mine = NULL;
        naru_channel_close(c);
        break;
    }
    case REMOVE:
        if (naru_remove(URL) < 0)
            give_up(w, "to remove", -1);
        break;
    case COLLECT:
        naru__lanes_collect(lanes_of(p->mine));
        break;
    case TAKE_AWAY: {
        struct lanes_left left;
        int r = naru__lanes_take_away(&lanes_of(p->mine)->object, false, &left);
        if (r < 0)
            give_up(w, "to take away", r);
        break;
    }
    }
}

/* ---- after ---- */

static void release(struct world *w, struct party *p)
{
    for (int i = 0; i < p->n_held; i++)
        if (message_id(p->held[i].data, p->held[i].size) != p->held_id[i])
            failed(w, "message %d was overwritten while it was held", p->held_id[i]);
    if (p->n_held)
        naru_channel_release(p->mine, p->held, (size_t)p->n_held);
    p->n_held = 0;
}

/* The object was removed: what was in it has gone with it. */
static void reopen(struct world *w, struct party *p)
{
    if (w->operation != REMOVE || p->again)
        failed(w, "it was removed, and nobody did that: %s", naru_why());
    for (int i = 0; i < 5; i++)
        w->log->none_left[i] = true;
    release(w, p);
    naru_channel_close(p->mine);
    come(w, p);
    p->again = true;
    p->next = STREAM * (5 + ((unsigned)w->who + 2) % 3);
}

/* Stepped it is slow. */
static int64_t patience(const struct world *w)
{
    return w->control->seat[w->who].gated ? 30 * NARU_S : 1700 * NARU_MS;
}

static bool is_removed(struct world *w, struct party *p, int code)
{
    if (code == -EIDRM)
        reopen(w, p);
    return code == -EIDRM;
}

static int recv_next(struct world *w, struct party *p, int64_t timeout)
{
    int r = recv_logged(w, p->mine, 0, timeout);
    if (r < 0 && r != -EAGAIN && r != -ETIMEDOUT && !is_removed(w, p, r))
        give_up(w, "to receive", r);
    return r;
}

static void send_next(struct world *w, struct party *p, int64_t timeout)
{
    unsigned id = p->next++;
    int64_t end = clock_now() + timeout;
    int r;
    while ((r = send_logged(w, p->mine, id, id % 3 ? SMALL : MIDDLE, NARU_NOWAIT)) == -EAGAIN &&
           clock_now() < end)
        recv_next(w, p, NARU_MS);
    if (r == -EAGAIN && timeout > NARU_S)
        failed(w, "there is no room for message %u: %s", id, naru_why());
    if (r < 0 && r != -EAGAIN && !is_removed(w, p, r))
        give_up(w, "to send", r);
    if (r == 0)
        going_on(w, w->who);
}

/* Messages that this survivor has to see, or anybody in a queue. */
static int outstanding(struct world *w, const struct party *p, int *ret_which)
{
    int n = 0;
    for (int id = 0; id < MESSAGES_MAX; id++) {
        bool there = is_topic(w) ? w->log->by[w->who][id]
                                 : w->log->message[id].got || w->log->message[id].got_again;
        if (w->log->message[id].sent && !there && !p->before[id] &&
            !w->log->none_left[log_stream(w, (unsigned)id)] && n++ == 0)
            *ret_which = id;
    }
    return n;
}

static void drain(struct world *w, struct party *p)
{
    int which = -1, n;
    int64_t end = clock_now() + patience(w);
    while ((n = outstanding(w, p, &which)) > w->log->consuming) {
        recv_next(w, p, 5 * NARU_MS);
        if (clock_now() > end)
            failed(w, "message %d, and %d more, do not arrive", which, n - 1);
    }
    /* and what nobody knows whether it was sent, or received */
    if (naru__lanes_collect(lanes_of(p->mine)) < 0 &&
        !naru__object_removed(&lanes_of(p->mine)->object))
        give_up(w, "to clean up", -1);
    while (recv_next(w, p, NARU_NOWAIT) == 0)
        ;
}

/* The next sender goes on in the subject's lane, if that has died; round past what is held. */
static void inherit(struct world *w, struct party *p)
{
    unsigned first = STREAM, id = first, most = w->state == HELD ? 20 : 3;
    /* the other subscriber stands still in an image, and holds it back */
    bool stuck = is_topic(w) && w->image;
    naru_channel *before = NULL; /* takes the subject's record, so that the passer-by's is free */
    int64_t end = clock_now() + (stuck ? 5 * NARU_MS : patience(w));
    naru_channel *heir = NULL;
    int r = w->operation == TAKE_AWAY ? open_role(w, NARU_SEND, false, &before) : 0;
    if (r == 0)
        r = open_role(w, NARU_SEND, false, &heir);
    while (r == 0 && id < first + most && clock_now() < end) {
        r = send_logged(w, heir, id, id % 4 ? SMALL : MIDDLE, NARU_NOWAIT);
        id += r == 0;
        if (r == -EAGAIN)
            r = recv_next(w, p, NARU_MS);
        r = r == -EAGAIN || r == -ETIMEDOUT ? 0 : r;
    }
    if (r < 0 && r != -EIDRM)
        give_up(w, "the heir's sending", r);
    if (r == 0 && id < first + most && !stuck)
        failed(w, "there is no room for the heir: %s", naru_why());
    naru_channel_close(heir);
    naru_channel_close(before);
}

/* As long as the subject is not known to be dead something else may come. */
static void go_on(struct world *w, struct party *p, enum fate fate)
{
    if (!p->mine)
        come(w, p);
    send_next(w, p, patience(w));
    while (fate == DIED && !subject_dead(w))
        recv_next(w, p, NARU_MS);
    if (w->who == 1)
        inherit(w, p);
    release(w, p);
    send_next(w, p, patience(w));
    drain(w, p);
    struct stat st;
    if (naru__os_fstat(lanes_of(p->mine)->object.directory, &st) == 0 &&
        !naru__object_removed(&lanes_of(p->mine)->object))
        w->log->own[DIRECTORY + w->who] = (uint32_t)st.st_ino;
}

static void linger(struct world *w, struct party *p)
{
    if (!p->mine)
        come(w, p);
    /* what a sleeper is removing cannot be opened: that says -EBUSY, and comes later */
    int n = w->operation == RECV_LOSSY ? 24 : 2; /* to overtake a lossy one */
    for (int i = 0; i < n && !naru__object_removed(&lanes_of(p->mine)->object); i++) {
        send_next(w, p, NARU_MS);
        recv_next(w, p, NARU_MS);
    }
}

/* The subject has ended its operation: it receives, if it can, and goes. */
static void end(struct world *w, struct party *p)
{
    if (p->mine && p->mine->handle.directions & NARU_IN && !is_topic(w))
        while (recv_logged(w, p->mine, 0, NARU_NOWAIT) == 0)
            ;
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct party *p = w->object;
    if (fate == PAUSED) {
        linger(w, p);
        return;
    }
    if (who == 0)
        end(w, p);
    else
        go_on(w, p, fate);
    if (p->mine)
        naru_channel_close(p->mine);
    p->mine = NULL;
}

/* An image has copies of the files, with no locks on them. */
static int forged(struct world *w, int who)
{
    struct party *p = w->object;
    return p->mine ? forge_locks(w, who, &lanes_of(p->mine)->object) : 0;
}

/* ---- rules ---- */

static void *map_whole(int directory, const char *name, size_t *ret_size)
{
    struct stat st;
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    void *memory = NULL;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 && (memory = malloc((size_t)st.st_size)) &&
        pread(fd, memory, (size_t)st.st_size, 0) != st.st_size)
        memory = NULL;
    if (fd >= 0)
        close(fd);
    *ret_size = memory ? (size_t)st.st_size : 0;
    return memory;
}

/* In the end somebody was done with each message. */
static void check_claims(struct world *w, DIR *d)
{
    char name[32];
    size_t size;
    unsigned i;
    int directory = dirfd(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (sscanf(e->d_name, "lane-%u", &i) != 1)
            continue;
        snprintf(name, sizeof name, "lane-%u", i);
        const struct naru_lane_file *lane = map_whole(directory, name, &size);
        snprintf(name, sizeof name, "claims-%u", i);
        const struct naru_lane_claims *claims = map_whole(directory, name, &size);
        for (unsigned k = 0; lane && claims && lane->header.magic && k < lane->header.slots; k++) {
            uint64_t stamp = lane->slots[k].stamp, word = claims->word[k];
            if (naru__claim_state(word) == NARU_CLAIM_TAKEN ||
                naru__claim_state(word) == NARU_CLAIM_BACK)
                failed(w, "slot %u of lane %u is still %s", k, i,
                       naru__claim_state(word) == NARU_CLAIM_BACK ? "given back" : "taken");
            if (stamp && !(stamp & NARU_LANE_SKIP) && !naru__claim_is_of(word, stamp))
                failed(w, "message %" PRIu64 " of lane %u was received by nobody", stamp, i);
        }
    }
}

static void check(struct world *w)
{
    uint32_t one = w->log->own[DIRECTORY + 1], two = w->log->own[DIRECTORY + 2];
    if (!w->image && one && two && one != two) /* an image has others */
        failed(w, "two objects had the name at once");
    if (is_topic(w))
        return;
    check_log(w);
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/naru-%u/object", geteuid());
    DIR *d = opendir(path);
    if (d && !w->control->failed)
        check_claims(w, d);
    if (d)
        closedir(d);
}

static void sweep(struct world *w)
{
    int r = naru_remove(URL);
    if (r < 0 && r != -ENOENT)
        give_up(w, "to remove it in the end", r);
}

static bool queue_applies(int operation, int state)
{
    if (operation == CREATE)
        return state == EMPTY || state == CONTENDED || state == DEAD;
    return !(state == HELD && operation > RESERVE && operation != CLOSE);
}

static bool topic_applies(int operation, int state)
{
    return operation != CREATE || state == EMPTY || state == CONTENDED || state == DEAD;
}

static const char *const rooms[] = {"/src/shm/lane", "/transport/shm/lanes", "/shm/segments.c",
                                    "/src/object/",  "/src/os/life.c",       NULL};

const struct scenario queue_scenario = {
    .name = "queue",
    .operations = queue_operations,
    .states = queue_states,
    .rooms = rooms,
    .participants = 3,
    .streams = true,
    .names = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .forged = forged,
    .check = check,
    .sweep = sweep,
    .applies = queue_applies,
};

const struct scenario topic_scenario = {
    .name = "topic",
    .operations = topic_operations,
    .states = topic_states,
    .rooms = rooms,
    .participants = 3,
    .streams = true,
    .names = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .forged = forged,
    .check = check,
    .sweep = sweep,
    .applies = topic_applies,
};
