/* SPDX-License-Identifier: MIT */
/* tour-mq.c - the tour's scenes on `posix-mq:` and `sysv-mq:`, also with programs that know the
 * kernel's own calls alone.
 *
 * Messages are small, for the kernel's limits are, and begin with their place in the input. With
 * one receiver the input is put together again; what several receivers got is compared by the sum
 * of its messages' digests. Waits are for ever, as that is one system call on a System V queue; the
 * guide ends a scene that hangs. */
#include "tool/tour.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <unistd.h>

enum { ROOM = 8192, DIES_AFTER = 200 };
enum { STOP = 1, FIRST_TYPE = 2 }; /* the lowest type comes last on a POSIX queue */

static bool is_posix(const struct part *p)
{
    return strncmp(p->url, "posix-mq:", 9) == 0;
}

/* ---- an end: naru's, or a foreign program's ---- */

struct end {
    naru_channel *channel; /* NULL: foreign */
    int queue;
    int64_t select;
};

static bool part_errno(struct part *p, const char *call, long r)
{
    return r >= 0 || part_failed(p, "%s: %s", call, strerror(errno));
}

static key_t key_of(const struct part *p)
{
    char path[200];
    snprintf(path, sizeof path, "%.*s", (int)strcspn(p->url + 8, "#"), p->url + 8);
    return ftok(path, atoi(strchr(p->url, '#') + 1));
}

/* The scene's naru part has made the queue. */
static bool open_foreign(struct part *p, int flags, struct end *e)
{
    *e = (struct end){0};
    if (is_posix(p))
        return part_errno(p, "mq_open", e->queue = mq_open(strchr(p->url, '/'), flags));
    return part_errno(p, "msgget", e->queue = msgget(key_of(p), 0));
}

static bool open_naru(struct part *p, int role, struct end *e)
{
    *e = (struct end){0};
    p->timeout = NARU_FOREVER;
    return part_naru(p, "opening", naru_queue_open(p->url, role, NULL, &e->channel));
}

static bool put(struct part *p, const struct end *e, const struct message *m)
{
    struct {
        long type;
        uint8_t data[WALK_MESSAGE];
    } foreign = {.type = (long)m->type};
    if (e->channel)
        return part_naru(p, "sending",
                         naru_channel_send(e->channel, m->type, m->data, m->size, NARU_FOREVER));
    if (is_posix(p))
        return part_errno(p, "mq_send",
                          mq_send(e->queue, (const char *)m->data, m->size, m->type - 1));
    memcpy(foreign.data, m->data, m->size);
    return part_errno(p, "msgsnd", msgsnd(e->queue, &foreign, m->size, 0));
}

static bool get(struct part *p, const struct end *e, struct message *m)
{
    static struct {
        long type;
        char data[ROOM];
    } foreign;
    struct naru_info info = {0};
    unsigned priority = 0;
    ssize_t n;
    bool ok;
    if (e->channel) {
        n = naru_channel_recv(e->channel, e->select, m->data, WALK_MESSAGE, &info, NARU_FOREVER);
        ok = part_naru(p, "receiving", n);
        m->type = info.type;
    } else if (is_posix(p)) {
        n = mq_receive(e->queue, foreign.data, ROOM, &priority);
        ok = part_errno(p, "mq_receive", n);
        m->type = priority + 1;
    } else {
        n = msgrcv(e->queue, &foreign, ROOM, 0, 0);
        ok = part_errno(p, "msgrcv", n);
        m->type = (uint32_t)foreign.type;
    }
    if (ok && !e->channel && n <= WALK_MESSAGE)
        memcpy(m->data, foreign.data, (size_t)n);
    if (ok && n > WALK_MESSAGE)
        return part_failed(p, "a message of %zd bytes came that nobody sent", n);
    m->size = ok ? (size_t)n : 0;
    return ok;
}

static void close_end(const struct part *p, struct end *e)
{
    if (e->channel)
        naru_channel_close(e->channel);
    else if (is_posix(p))
        mq_close(e->queue);
}

/* ---- sending ---- */

/* The messages whose number is index modulo of. */
static bool send_share(struct part *p, struct end *e, unsigned index, unsigned of, bool dies)
{
    struct walk w = walk_begin(p);
    struct message m;
    bool ok = true;
    int64_t start = now_ns();
    p->report.side = SIDE_SENDER;
    while (ok && walk_next(p, &w, &m)) {
        m.type = FIRST_TYPE + (uint32_t)(m.number % 2);
        if (m.number % of != index)
            continue;
        uint8_t digest[DIGEST];
        ok = put(p, e, &m);
        digest_of(m.data, m.size, digest);
        digest_add(p->report.digest, digest);
        p->report.bytes += m.size - WALK_HEAD;
        p->report.messages++;
        if (dies && p->report.messages == DIES_AFTER) {
            p->report.has_digest = true;
            part_wait_for_death(p);
        }
    }
    p->report.ns = now_ns() - start;
    p->report.has_digest = ok;
    return ok;
}

/* detail: "0/3" the first of three senders; with "!" killed midway. */
static void sender(struct part *p)
{
    struct end e;
    if (!open_naru(p, NARU_SEND, &e))
        return;
    send_share(p, &e, (unsigned)(p->detail[0] - '0'), (unsigned)(p->detail[2] - '0'),
               p->detail[3] == '!');
    close_end(p, &e);
}

static void sends_all(struct part *p, struct end *e)
{
    if (send_share(p, e, 0, 1, false))
        digest_of(p->input.data, p->input.size, p->report.digest);
    close_end(p, e);
}

static void sole_sender(struct part *p)
{
    struct end e;
    if (open_naru(p, NARU_SEND, &e) && stamps_send(p, NULL, e.channel) &&
        part_naru(p, "flushing", naru_channel_flush(e.channel, TOUR_TIMEOUT)))
        sends_all(p, &e);
}

static void foreign_sender(struct part *p)
{
    struct end e;
    if (open_foreign(p, O_WRONLY, &e))
        sends_all(p, &e);
}

/* When every sender has ended: one word to each receiver that lives. detail: how many. */
static void closer(struct part *p)
{
    struct end e;
    const struct message m = {.type = STOP};
    if (!open_naru(p, NARU_SEND, &e))
        return;
    for (int i = 0; i < p->detail[0] - '0'; i++)
        put(p, &e, &m);
    part_naru(p, "flushing", naru_channel_flush(e.channel, TOUR_TIMEOUT));
    close_end(p, &e);
}

/* ---- receiving ---- */

/* Up to `count` messages, or to STOP. */
static bool receive(struct part *p, struct end *e, uint64_t count, struct got *g)
{
    struct message m;
    p->report.side = SIDE_RECEIVER;
    while (p->report.messages < count) {
        if (!get(p, e, &m))
            return false;
        if (m.type == STOP && m.size == 0)
            break;
        if (!walk_accept(p, &m, g))
            return false;
    }
    p->report.has_digest = true;
    return true;
}

static void receives_all(struct part *p, struct end *e)
{
    struct got g = {.whole = calloc(1, p->input.size + 1)};
    if (!g.whole)
        part_failed(p, "no memory");
    else if (receive(p, e, walk_count(p), &g) &&
             judge_bytes(p, g.whole, 0, p->report.bytes, p->input.size))
        digest_of(g.whole, p->input.size, p->report.digest);
    free(g.whole);
    close_end(p, e);
}

static void sole_receiver(struct part *p)
{
    struct end e;
    if (open_naru(p, NARU_RECV, &e) && stamps_recv(p, NULL, e.channel))
        receives_all(p, &e);
}

static void reads_foreign(struct part *p)
{
    struct end e;
    if (!open_naru(p, NARU_RECV, &e))
        return;
    part_say(p, REPORT_READY);
    receives_all(p, &e);
}

/* Makes the queue, so that a foreign program finds it; then sends. */
static void sends_to_foreign(struct part *p)
{
    struct end e;
    if (!open_naru(p, NARU_SEND, &e))
        return;
    part_say(p, REPORT_READY);
    sends_all(p, &e);
}

static void foreign_receiver(struct part *p)
{
    struct end e;
    if (open_foreign(p, O_RDONLY, &e))
        receives_all(p, &e);
}

/* detail: "!" is killed after some messages. */
static void receiver(struct part *p)
{
    struct end e;
    struct got g = {0};
    bool dies = p->detail[0] == '!';
    if (!open_naru(p, NARU_RECV, &e))
        return;
    part_say(p, REPORT_READY);
    if (receive(p, &e, dies ? DIES_AFTER : UINT64_MAX, &g) && dies)
        part_wait_for_death(p);
    close_end(p, &e);
}

/* detail: the type that it selects. The kernel hands it no other, whoever else receives. */
static void selecting_receiver(struct part *p)
{
    struct end e;
    struct got g = {0};
    uint32_t type = (uint32_t)(p->detail[0] - '0');
    if (!open_naru(p, NARU_RECV, &e))
        return;
    e.select = type;
    uint64_t all = walk_count(p);
    if (receive(p, &e, all / 2 + (type == FIRST_TYPE ? all % 2 : 0), &g)) {
        for (int i = 0; i < 8; i++)
            if (g.last[i] && i != (int)type)
                part_failed(p, "type %d came, and %u was selected", i, type);
        snprintf(p->report.saw, sizeof p->report.saw,
                 "each receiver got its own type, selected by the kernel");
    }
    close_end(p, &e);
}

/* ---- tables ---- */

const struct role mq_roles[] = {
    {"mq-sole-sender", sole_sender},
    {"mq-sole-receiver", sole_receiver},
    {"mq-foreign-sender", foreign_sender},
    {"mq-reads-foreign", reads_foreign},
    {"mq-sends-to-foreign", sends_to_foreign},
    {"mq-foreign-receiver", foreign_receiver},
    {"mq-sender", sender},
    {"mq-receiver", receiver},
    {"mq-selecting-receiver", selecting_receiver},
    {"mq-closer", closer},
    {0},
};

static bool start_one_to_one(struct stage *stage)
{
    return stage_exec(stage, 0, "mq-sole-sender", NULL) &&
           stage_exec(stage, 1, "mq-sole-receiver", NULL);
}

static bool start_reads_foreign(struct stage *stage)
{
    return stage_exec(stage, 1, "mq-reads-foreign", NULL);
}

static bool next_foreign_sender(struct stage *stage, int ready, int ended)
{
    return ready != 1 || ended != 0 || stage_exec(stage, 0, "mq-foreign-sender", NULL);
}

static bool start_sends_to_foreign(struct stage *stage)
{
    return stage_exec(stage, 0, "mq-sends-to-foreign", NULL);
}

static bool next_foreign_receiver(struct stage *stage, int ready, int ended)
{
    return ready != 1 || ended != 0 || stage_exec(stage, 1, "mq-foreign-receiver", NULL);
}

static bool start_receivers(struct stage *stage)
{
    return stage_exec(stage, 3, "mq-receiver", "") && stage_exec(stage, 4, "mq-receiver", "");
}

static bool start_receivers_one_dies(struct stage *stage)
{
    return stage_exec(stage, 3, "mq-receiver", "") && stage_exec(stage, 4, "mq-receiver", "!");
}

static bool start_senders(struct stage *stage, const char *second)
{
    return stage_exec(stage, 0, "mq-sender", "0/3") && stage_exec(stage, 1, "mq-sender", second) &&
           stage_exec(stage, 2, "mq-sender", "2/3");
}

static bool next_queue(struct stage *stage, int ready, int ended)
{
    if (ended == 0 && ready == 2)
        return start_senders(stage, "1/3");
    return ended != 3 || stage_exec(stage, 5, "mq-closer", "2");
}

static bool next_receiver_dies(struct stage *stage, int ready, int ended)
{
    if (ended == 0 && ready == 2)
        return start_senders(stage, "1/3");
    return ended != 4 || stage_exec(stage, 5, "mq-closer", "1");
}

static bool next_sender_dies(struct stage *stage, int ready, int ended)
{
    if (ended == 0 && ready == 2)
        return start_senders(stage, "1/3!");
    return ended != 3 || stage_exec(stage, 5, "mq-closer", "2");
}

static bool start_selecting(struct stage *stage)
{
    return stage_exec(stage, 2, "mq-selecting-receiver", "2") &&
           stage_exec(stage, 3, "mq-selecting-receiver", "3") &&
           stage_exec(stage, 0, "mq-sender", "0/2") && stage_exec(stage, 1, "mq-sender", "1/2");
}

#define SCENE(url, shows, parts, victim, start, next)                                              \
    {                                                                                              \
        url, NARU_NOUN_QUEUE, NULL, "one-way", "unrelated", shows, parts, victim, start, next      \
    }
#define SCENES(url, receives, sends)                                                               \
    SCENE(url, "1 sender, 1 receiver", 2, -1, start_one_to_one, NULL),                             \
        SCENE(url, "3 senders, 2 receivers", 6, -1, start_receivers, next_queue),                  \
        SCENE(url, receives " reads", 2, -1, start_sends_to_foreign, next_foreign_receiver),       \
        SCENE(url, sends " writes", 2, -1, start_reads_foreign, next_foreign_sender),              \
        SCENE(url, "one of 2 receivers killed", 6, 4, start_receivers_one_dies,                    \
              next_receiver_dies),                                                                 \
        SCENE(url, "one of 3 senders killed", 6, 1, start_receivers, next_sender_dies)

const struct scene mq_scenes[] = {
    SCENES("posix-mq:/%s-queue", "mq_receive", "mq_send"),
    SCENES("sysv-mq:%s#1", "msgrcv", "msgsnd"),
    SCENE("sysv-mq:%s#1", "2 senders, 2 select by type", 4, -1, start_selecting, NULL),
    {0},
};
