/* SPDX-License-Identifier: MIT */
/* journal.c - a durable queue and topic, map:/dir, on the rig's own /dev/shm.
 *
 * The subject appends, commits, rolls, receives, moves a cursor, trims, opens or recovers; two
 * survivors send and receive. A stream of ids is a sender's: 0 the one before all others; 2, 3, 4
 * the participants'. Each message that was acknowledged is in the journal, whole, once, behind its
 * sender's former ones; and it arrives by the queue's cursor once, or again, marked, and never
 * after its receiver was done with it. A topic's cursor, "sub", goes on where the dead one was.
 *
 * An image's /dev/shm is another mount, which a journal takes for another world (shm/journal.h);
 * so that a death is told from a restart, what was right there is said to be right in the copy. */
#include "rig.h"

#include "os/sync.h"
#include "transport/map/map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <naru/naru.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACE "/dev/shm/journal"
#define URL "map:" PLACE

enum { STREAM = MESSAGES_MAX / STREAMS_MAX, OPERATED = 64 };
enum { SMALL = 24, MIDDLE = 700, LARGE = 5000, SEGMENT = 64 << 10 };

enum operation {
    APPEND,
    APPEND_MANY,
    COMMIT,
    GROUP_COMMIT, /* the others commit, too */
    ROLL,
    RECV,
    RECV_SELECT,
    TAKE,
    GIVE_BACK,
    CURSOR, /* a topic's with a name: it moves */
    SUBSCRIBE,
    TRIM,
    OPEN_SEND,
    OPEN_RECV,
    CLOSE,
    CREATE,
    RECOVER
};
static const char *const operations[] = {
    "append",      "append-many",  "commit",      "group-commit", "roll",      "recv",
    "recv-select", "take-release", "take-return", "cursor",       "subscribe", "trim",
    "open-send",   "open-recv",    "close",       "create",       "recover",   NULL};

/* segments: three, of which two were received. contended: survivor 1 holds two messages, and the
 * right to flush. dead: so does a dead one. half: a sender died at making the next segment. kept:
 * only what is unread is kept. trimmed: the cursor's next message has gone. */
enum state { EMPTY, SEGMENTS, CONTENDED, DEAD, HALF, KEPT, TRIMMED };
static const char *const states[] = {"empty", "segments", "contended", "dead",
                                     "half",  "kept",     "trimmed",   NULL};

/* log.own: whose turn it is to attach; in which world the memory is right; what the subject may
 * just be consuming by "sub". log.by: got by "sub" (0), in the journal, as a survivor saw it (1,
 * 2), done with, by the queue's cursor (3). */
enum { TURN, WORLD, CONSUMING = WORLD + 2 };
enum { BY_SUB, BY_QUEUE = 3 };

struct party {
    naru_channel *mine;
    struct naru_message held[2];
    int n_held;
    unsigned next;
    bool flushing;
};

static char buffer[2 * LARGE];

static void give_up(struct world *w, const char *what, long code)
{
    failed(w, "%s gave %ld: %s", what, code, naru_why());
}

static struct naru_journal_options options_of(const struct world *w, int64_t sync)
{
    return (struct naru_journal_options){
        .size = sizeof(struct naru_journal_options), .sync = sync, .keep_unread = w->state == KEPT};
}

static naru_channel *opened(struct world *w, int role, int64_t sync)
{
    struct naru_journal_options j = options_of(w, sync);
    struct naru_queue_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    naru_channel *c;
    int r = naru_queue_open(URL, role, &o, &c);
    if (r < 0)
        give_up(w, "to open", r);
    return c;
}

/* cursor: NULL is one's own. From the oldest on. */
static naru_channel *subscribed(struct world *w, const char *cursor)
{
    struct naru_journal_options j = options_of(w, 0);
    struct naru_topic_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    naru_channel *c;
    j.cursor = cursor;
    j.from = NARU_FROM_OLDEST;
    int r = naru_topic_open(URL, NARU_RECV, &o, &c);
    if (r < 0)
        give_up(w, "to subscribe", r);
    return c;
}

static struct naru_journal_state *state_of(const struct party *p)
{
    return journal_of(p->mine)->state;
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

static unsigned check_message(struct world *w, const void *data, size_t size,
                              const struct naru_info *info)
{
    int id = message_id(data, size);
    if (id < 0)
        failed(w, "a message of %zu bytes is garbled", size);
    if (info->type != type_of((unsigned)id))
        failed(w, "message %d has the type %u", id, info->type);
    if (info->missed && w->state != TRIMMED)
        failed(w, "message %d comes after %" PRIu64 " that were missed", id, info->missed);
    return (unsigned)id;
}

static void got(struct world *w, const void *data, size_t size, const struct naru_info *info)
{
    unsigned id = check_message(w, data, size, info);
    if (w->log->by[BY_QUEUE][id])
        failed(w, "message %u came again, and its receiver was done with it", id);
    log_got(w, id, info->flags & NARU_REDELIVERED);
}

/* n that this call may consume; 0: it is over. Counted of those that may be killed at it; what the
 * others are at comes. */
static void consuming(struct world *w, int n)
{
    static int counted;
    bool may_die = w->who == 0 || w->control->seat[w->who].gated;
    w->log->consuming -= counted;
    counted = may_die ? n : 0;
    w->log->consuming += counted;
}

static int recv_logged(struct world *w, naru_channel *c, int64_t select, int64_t timeout)
{
    struct naru_info info;
    consuming(w, 1);
    ssize_t n = naru_channel_recv(c, select, buffer, sizeof buffer, &info, timeout);
    if (n >= 0) {
        got(w, buffer, (size_t)n, &info);
        w->log->by[BY_QUEUE][message_id(buffer, (size_t)n)] = 1;
    }
    consuming(w, 0);
    return n < 0 ? (int)n : 0;
}

static void release(struct world *w, naru_channel *c, struct naru_message *list, size_t n)
{
    int id[2];
    for (size_t i = 0; i < n; i++)
        id[i] = message_id(list[i].data, list[i].size);
    naru_channel_release(c, list, n);
    for (size_t i = 0; i < n; i++)
        w->log->by[BY_QUEUE][id[i]] = 1;
}

/* What nobody has received yet, as far as the log tells. */
static int outstanding(const struct world *w, int *ret_which)
{
    int n = 0;
    for (int id = 0; id < MESSAGES_MAX; id++)
        if (w->log->message[id].sent && !w->log->message[id].got &&
            !w->log->message[id].got_again && !w->log->none_left[log_stream(w, (unsigned)id)] &&
            n++ == 0)
            *ret_which = id;
    return n;
}

/* ---- before ---- */

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

static uint64_t room_left(const naru_channel *c)
{
    const struct naru_journal_state *s = ((const struct map_journal *)(const void *)c)->state;
    return SEGMENT - naru__place_offset(atomic_load(&s->tail));
}

static void must_send(struct world *w, naru_channel *c, unsigned id, size_t size)
{
    int r = send_logged(w, c, id, size, NARU_S);
    if (r < 0)
        give_up(w, "to prepare", r);
}

/* So that nothing fits behind it but the mark of the end. */
static unsigned fill_segment(struct world *w, naru_channel *c, unsigned id)
{
    const size_t ends = 2 * sizeof(struct naru_record);
    do
        must_send(w, c, id++, LARGE);
    while (room_left(c) > 2 * LARGE);
    must_send(w, c, id++, (size_t)(room_left(c) - ends));
    return id;
}

static bool has_segments(const struct world *w)
{
    return w->state == SEGMENTS || w->state == KEPT || w->state == TRIMMED;
}

static void former(struct world *w)
{
    naru_channel *c = opened(w, NARU_SEND | NARU_RECV, w->state == SEGMENTS ? NARU_SYNC_EACH : 0);
    unsigned id = 0, filled = 0;
    if (has_segments(w)) {
        id = fill_segment(w, c, id);
        id = filled = fill_segment(w, c, id);
    }
    for (unsigned n = 0; n < 6 && w->state != EMPTY; n++)
        must_send(w, c, id++, n == 3 ? MIDDLE : SMALL);
    for (unsigned i = 0; i < filled && w->state != TRIMMED; i++)
        recv_logged(w, c, 0, NARU_NOWAIT);
    if (w->state == TRIMMED && naru_journal_trim(URL, filled + 1, NULL) < 0)
        give_up(w, "to trim at first", -1);
    memset(w->log->last_got, 0, sizeof w->log->last_got); /* a receiver of its own */
    naru_channel_close(c);
}

/* A segment that somebody died at making: there is a file, and nothing in it. */
static void half_segment(struct world *w)
{
    int fd = open(PLACE "/segment-0000000002", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, SEGMENT) < 0)
        failed(w, "half a segment: %s", strerror(errno));
    close(fd);
}

/* One that dies with two messages, and with the right to flush. */
static void dying(struct world *w)
{
    struct naru_message m[2];
    naru_channel *c = opened(w, NARU_SEND | NARU_RECV, 0);
    struct map_journal *e = journal_of(c);
    if (naru_channel_take_many(c, 0, m, 2, NARU_NOWAIT) != 2)
        failed(w, "there is nothing to die with: %s", naru_why());
    atomic_store(&e->state->flush, e->object.member + 1);
}

/* As the loss of power may leave it: the memory by which processes agree is of before, or of
 * behind, and what was not synced is torn. */
static void power_lost(struct world *w)
{
    naru_channel *c = opened(w, NARU_SEND, 0);
    struct map_journal *e = journal_of(c);
    if (w->state == CONTENDED || w->state == HALF) {
        unsigned id = STREAM - 1; /* whole but for its end */
        uint64_t tail = atomic_load(&e->state->tail);
        if (send_logged(w, c, id, MIDDLE, NARU_S) < 0)
            failed(w, "to tear: %s", naru_why());
        w->log->message[id].sent = 0;
        memset(e->out.memory + naru__place_offset(tail) + 500, 0, 100);
    }
    atomic_store(&e->state->committed, w->state == EMPTY ? 12345 : 0);
    atomic_store(&e->state->tail,
                 naru__place(1, w->state == DEAD ? 60000 : NARU_SEGMENT_RECORDS_AT));
    atomic_store(&e->state->intent, naru__place(1, SEGMENT));
    if (w->state == DEAD || w->state == KEPT)
        atomic_store(&e->state->append, w->state == DEAD ? 1 : 200);
    atomic_store(&e->state->world, 1);
    _exit(0); /* with it */
}

static void note_world(struct world *w)
{
    int fd = open(PLACE "/meta", O_RDWR | O_CLOEXEC);
    uint64_t world = fd < 0 ? 0 : naru__os_world(fd);
    w->log->own[WORLD] = (uint32_t)world;
    w->log->own[WORLD + 1] = (uint32_t)(world >> 32);
    close(fd);
}

static void prepare(struct world *w)
{
    w->object = calloc(1, sizeof(struct party));
    w->log->no_order = w->operation == RECV_SELECT;
    in_child(w, former);
    note_world(w);
    if (w->state == TRIMMED)
        w->log->none_left[0] = true;
    if (w->operation == CREATE) { /* another mount's number is not known before: the same place's */
        naru_remove(URL);
        w->log->none_left[0] = true;
        if (w->state == HALF && (mkdir("/dev/shm/.new-1", 0700) || mkdir("/dev/shm/.dead-1", 0700)))
            failed(w, "nothing half-made: %s", strerror(errno));
        return;
    }
    if (w->state == HALF)
        half_segment(w);
    if (w->operation == RECOVER)
        in_child(w, power_lost);
}

static void hold_two(struct world *w, struct party *p)
{
    ssize_t n = naru_channel_take_many(p->mine, 0, p->held, 2, NARU_NOWAIT);
    for (ssize_t i = 0; i < n; i++)
        got(w, p->held[i].data, p->held[i].size, &p->held[i].info);
    p->n_held = n > 0 ? (int)n : 0;
    atomic_store(&state_of(p)->flush, journal_of(p->mine)->object.member + 1);
    p->flushing = true;
}

static bool comes_late(const struct world *w)
{
    return w->operation == CREATE || w->operation == RECOVER;
}

static int64_t sync_of(const struct world *w, int who)
{
    return w->operation == GROUP_COMMIT || (w->operation == COMMIT && who == 0) ? NARU_SYNC_EACH
                                                                                : 0;
}

/* All has been received, and one segment has gone: its file waits to be the next one. */
static void leave_spare(struct world *w, struct party *p)
{
    naru_channel *c = opened(w, NARU_RECV, 0);
    while (recv_logged(w, c, 0, NARU_NOWAIT) == 0)
        ;
    naru_channel_close(c);
    p->next = fill_segment(w, p->mine, p->next);
    if (access(PLACE "/spare-0", F_OK) < 0)
        failed(w, "there is no spare: %s", strerror(errno));
}

static void attach_subject(struct world *w, struct party *p)
{
    bool receives = w->operation >= RECV && w->operation <= GIVE_BACK;
    if (w->operation <= ROLL)
        p->mine = opened(w, NARU_SEND, sync_of(w, 0));
    else if (receives)
        p->mine = opened(w, NARU_RECV, 0);
    else if (w->operation == CURSOR)
        p->mine = subscribed(w, "sub");
    else if (w->operation == CLOSE)
        p->mine = opened(w, NARU_SEND | NARU_RECV, NARU_S);
    if (w->operation == ROLL)
        p->next = fill_segment(w, p->mine, p->next);
    if (w->operation == ROLL && w->state == KEPT)
        leave_spare(w, p);
    if (w->operation == CLOSE) { /* it owes a sync, and holds messages */
        must_send(w, p->mine, p->next++, SMALL);
        (void)naru_channel_take_many(p->mine, 0, p->held, 2, NARU_NOWAIT);
    }
    if (w->state == DEAD && !comes_late(w))
        in_child(w, dying);
}

static void attach(struct world *w, int who)
{
    struct party *p = w->object;
    static const unsigned turn[] = {2, 0, 1}; /* the subject comes last */
    while (w->log->own[TURN] != turn[who] && !w->control->failed)
        usleep(20);
    p->next = STREAM * (2 + (unsigned)who);
    if (who == 0)
        attach_subject(w, p);
    else if (!comes_late(w))
        p->mine = opened(w, NARU_SEND | NARU_RECV, sync_of(w, who));
    if (who == 1 && w->state == CONTENDED && p->mine)
        hold_two(w, p);
    w->log->own[TURN]++;
}

/* ---- the operation ---- */

static void append_many(struct world *w, naru_channel *c, unsigned id)
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
        log_sent(w, id + (unsigned)i);
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
        release(w, c, list, (size_t)n);
        consuming(w, 0);
    }
}

/* By the topic's cursor. */
static void move_cursor(struct world *w, naru_channel *c)
{
    for (int i = 0; i < 2; i++) {
        struct naru_info info;
        w->log->own[CONSUMING] = 1;
        ssize_t n = naru_channel_recv(c, 0, buffer, sizeof buffer, &info, 2 * NARU_MS);
        if (n >= 0)
            w->log->by[BY_SUB][check_message(w, buffer, (size_t)n, &info)] = 1;
        w->log->own[CONSUMING] = 0;
    }
}

/* Everything before the first message that nobody has received. */
static void trim(struct world *w)
{
    int which = 0;
    uint64_t before = 1;
    naru_channel *c = subscribed(w, NULL);
    struct naru_message m;
    if (outstanding(w, &which) == 0)
        which = -1;
    for (int id = -1; id != which && naru_channel_take(c, 0, NARU_NOWAIT, &m) == 0;) {
        id = message_id(m.data, m.size);
        before = m.info.sequence;
        naru_channel_release(c, &m, 1);
    }
    naru_channel_close(c);
    if (naru_journal_trim(URL, before, NULL) < 0)
        give_up(w, "to trim", -1);
}

static void operate(struct world *w)
{
    struct party *p = w->object;
    unsigned id = 2 * STREAM + OPERATED;
    switch ((enum operation)w->operation) {
    case APPEND:
    case COMMIT:
    case GROUP_COMMIT:
    case ROLL:
        send_logged(w, p->mine, id, SMALL, 2 * NARU_MS);
        send_logged(w, p->mine, id + 1, MIDDLE, 2 * NARU_MS);
        break;
    case APPEND_MANY:
        append_many(w, p->mine, id);
        break;
    case RECV:
    case RECV_SELECT:
        for (int i = 0; i < 2; i++)
            recv_logged(w, p->mine, w->operation == RECV ? 0 : i ? 2 : -2, 2 * NARU_MS);
        break;
    case TAKE:
    case GIVE_BACK:
        take(w, p->mine, w->operation == GIVE_BACK);
        break;
    case SUBSCRIBE:
        p->mine = subscribed(w, "sub");
        move_cursor(w, p->mine);
        break;
    case CURSOR:
        move_cursor(w, p->mine);
        break;
    case TRIM:
        trim(w);
        break;
    case OPEN_SEND:
    case CREATE:
    case RECOVER:
        p->mine = opened(w, NARU_SEND, 0);
        send_logged(w, p->mine, id, SMALL, 2 * NARU_MS);
        break;
    case OPEN_RECV:
        p->mine = opened(w, NARU_RECV, 0);
        recv_logged(w, p->mine, 0, 2 * NARU_MS);
        break;
    case CLOSE:
        p->mine = naru_channel_close(p->mine);
        break;
    }
}

/* ---- after ---- */

/* Stepped it is slow. The subject may still be stepped, with what others wait for; from its death
 * on the rig counts. */
static int64_t patience(const struct world *w)
{
    return w->control->seat[w->who].gated || !subject_dead(w) ? 30 * NARU_S : 1700 * NARU_MS;
}

static int recv_next(struct world *w, struct party *p, int64_t timeout)
{
    int r = recv_logged(w, p->mine, 0, timeout);
    if (r < 0 && r != -EAGAIN && r != -ETIMEDOUT)
        give_up(w, "to receive", r);
    return r;
}

static void send_next(struct world *w, struct party *p, size_t size, int64_t timeout)
{
    int r = send_logged(w, p->mine, p->next++, size, timeout);
    if (r < 0 && (timeout > NARU_S || (r != -EAGAIN && r != -ETIMEDOUT)))
        give_up(w, "to send", r);
    if (r == 0)
        going_on(w, w->who);
}

static void drain(struct world *w, struct party *p)
{
    int which = -1, n;
    int64_t end = clock_now() + patience(w);
    while ((n = outstanding(w, &which)) > w->log->consuming) {
        recv_next(w, p, 5 * NARU_MS);
        if (clock_now() > end)
            failed(w, "message %d, and %d more, do not arrive", which, n - 1);
    }
    while (recv_next(w, p, NARU_NOWAIT) == 0) /* and what nobody knows whether it was sent */
        ;
}

/* All that is there, from the front: what was acknowledged before has to be. */
static void replay(struct world *w)
{
    static bool sent[MESSAGES_MAX];
    bool trims = w->operation == TRIM || w->state == KEPT || w->state == TRIMMED;
    struct naru_message m;
    uint64_t last = 0;
    int r;
    for (int id = 0; id < MESSAGES_MAX; id++)
        sent[id] = w->log->message[id].sent;
    memset(w->log->last_got[w->who], 0, sizeof w->log->last_got[0]);
    naru_channel *c = subscribed(w, NULL);
    while ((r = naru_channel_take(c, 0, NARU_NOWAIT, &m)) == 0) {
        log_got_by(w, check_message(w, m.data, m.size, &m.info));
        if (last && m.info.sequence != last + 1)
            failed(w, "sequence %" PRIu64 " comes after %" PRIu64, m.info.sequence, last);
        if (!last && m.info.sequence != 1 && !trims)
            failed(w, "the journal begins with %" PRIu64, m.info.sequence);
        last = m.info.sequence;
        naru_channel_release(c, &m, 1);
    }
    if (r != -EAGAIN)
        give_up(w, "to read all of it", r);
    naru_channel_close(c);
    for (int id = 0; id < MESSAGES_MAX; id++)
        if (sent[id] && !w->log->by[w->who][id] &&
            !w->log->none_left[log_stream(w, (unsigned)id)] &&
            !(trims && (w->log->message[id].got || w->log->message[id].got_again)))
            failed(w, "message %d was acknowledged, and is not in the journal", id);
}

/* The dead subscriber's cursor goes on where it was. */
static void go_on_as_subscriber(struct world *w)
{
    bool seen[MESSAGES_MAX] = {false};
    struct naru_info info;
    unsigned missed = 0;
    ssize_t n;
    naru_channel *c = subscribed(w, "sub");
    while ((n = naru_channel_recv(c, 0, buffer, sizeof buffer, &info, NARU_NOWAIT)) >= 0) {
        unsigned id = check_message(w, buffer, (size_t)n, &info);
        if (w->log->by[BY_SUB][id] || seen[id])
            failed(w, "the cursor went back to message %u", id);
        seen[id] = true;
    }
    if (n != -EAGAIN)
        give_up(w, "to go on as the subscriber", n);
    naru_channel_close(c);
    for (int id = 0; id < STREAM; id++)
        if (w->log->message[id].sent && !w->log->none_left[0] && !w->log->by[BY_SUB][id] &&
            !seen[id] && missed++ >= w->log->own[CONSUMING])
            failed(w, "the cursor has skipped message %d", id);
}

static void verify(struct world *w, bool quiet)
{
    struct naru_journal_report r = {.size = sizeof r};
    int code = naru_journal_verify(URL, &r, NULL, NULL);
    if (code != 0)
        failed(w, "verifying gave %d: segment %" PRIu64 ", byte %" PRIu64 ": %s", code,
               r.bad_segment, r.bad_offset, code < 0 ? naru_why() : "damaged");
    if (quiet && r.torn)
        failed(w, "%" PRIu64 " bytes are torn", r.torn);
}

static void give_back_flush(struct party *p)
{
    if (p->flushing) {
        atomic_store(&state_of(p)->flush, 0);
        naru__journal_wake(&journal_of(p->mine)->object, NARU_SLEEP_DURABLE, true);
    }
    p->flushing = false;
}

static void go_on(struct world *w, struct party *p, enum fate fate)
{
    if (!p->mine)
        p->mine = opened(w, NARU_SEND | NARU_RECV, sync_of(w, w->who));
    else if (w->image) /* whoever comes cleans up; real survivors have to wait for a tick */
        naru_channel_close(opened(w, NARU_SEND, 0));
    give_back_flush(p);
    send_next(w, p, SMALL, patience(w));
    while (fate == DIED && !subject_dead(w))
        recv_next(w, p, NARU_MS);
    if (p->n_held)
        release(w, p->mine, p->held, (size_t)p->n_held);
    p->n_held = 0;
    send_next(w, p, MIDDLE, patience(w));
    drain(w, p);
    replay(w);
    if (w->who == 1 && (w->operation == CURSOR || w->operation == SUBSCRIBE) && fate == DIED)
        go_on_as_subscriber(w);
    verify(w, false);
}

/* Nobody opens what a sleeper may be at opening: that waits for it. */
static void linger(struct world *w, struct party *p)
{
    if (!p->mine)
        return;
    give_back_flush(p);
    for (int i = 0; i < 2; i++) {
        send_next(w, p, SMALL, NARU_MS);
        recv_next(w, p, NARU_MS);
    }
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct party *p = w->object;
    if (fate == PAUSED) {
        linger(w, p);
        return;
    }
    if (who != 0)
        go_on(w, p, fate);
    p->mine = naru_channel_close(p->mine);
}

/* ---- images ---- */

static void say_that_world_is_right(const struct world *w)
{
    const off_t at = NARU_OBJECT_STATE_AT + (off_t)offsetof(struct naru_object_state, kind) +
                     (off_t)offsetof(struct naru_journal_state, world);
    uint64_t world = 0, right = (uint64_t)w->log->own[WORLD + 1] << 32 | w->log->own[WORLD];
    int fd = open(PLACE "/meta", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    uint64_t now = naru__os_world(fd);
    if (pread(fd, &world, sizeof world, at) == sizeof world && world == right &&
        pwrite(fd, &now, sizeof now, at) != sizeof now)
        perror("crash: an image's world");
    close(fd);
}

static int forged(struct world *w, int who)
{
    struct party *p = w->object;
    say_that_world_is_right(w);
    return p->mine ? forge_locks(w, who, &journal_of(p->mine)->object) : 0;
}

static void sweep(struct world *w)
{
    for (int i = 0; i < 2; i++) { /* what is there; and a new one, whose maker sweeps */
        naru_channel_close(opened(w, NARU_SEND, 0));
        verify(w, true);
        int code = naru_remove(URL);
        if (code < 0)
            give_up(w, "to remove it in the end", code);
    }
}

static bool applies(int operation, int state)
{
    if (operation == CREATE)
        return state == EMPTY || state == SEGMENTS || state == HALF || state == KEPT;
    return operation != RECOVER || state != TRIMMED;
}

static const char *const rooms[] = {"/transport/map/", "/src/shm/journal.", "/src/object/",
                                    "/src/os/life.c", NULL};

const struct scenario journal_scenario = {
    .name = "journal",
    .operations = operations,
    .states = states,
    .rooms = rooms,
    .participants = 3,
    .streams = true,
    .names = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .forged = forged,
    .sweep = sweep,
    .applies = applies,
};
