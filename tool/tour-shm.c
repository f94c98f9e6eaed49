/* SPDX-License-Identifier: MIT */
/* tour-shm.c - the tour's scenes in shared memory. The parts of connections are those of pipes and
 * of sockets: a program changes the URL and nothing else. Queues and topics have some of their own,
 * for what only they can do: what a killed worker held comes again, and late subscribers get what
 * a publisher who has gone had said. */
#include "tool/tour.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STOP = 1, WORK = 2 };

static bool send_all(struct part *p, naru_channel *c)
{
    struct walk w = walk_begin(p);
    struct message m;
    bool ok = true;
    int64_t start = now_ns();
    p->report.side = SIDE_SENDER;
    while (ok && walk_next(p, &w, &m)) {
        uint8_t digest[DIGEST];
        ok = part_naru(p, "sending",
                       naru_channel_send(c, WORK, m.data, m.size, TOUR_TIMEOUT));
        digest_of(m.data, m.size, digest);
        digest_add(p->report.digest, digest);
        p->report.bytes += m.size - WALK_HEAD;
        p->report.messages++;
    }
    p->report.ns = now_ns() - start;
    p->report.has_digest = ok;
    return ok && part_naru(p, "flushing", naru_channel_flush(c, TOUR_TIMEOUT));
}

static bool take(struct part *p, naru_channel *c, struct naru_message *taken, struct message *m)
{
    if (!part_naru(p, "taking", naru_channel_take(c, 0, TOUR_TIMEOUT, taken)))
        return false;
    m->type = taken->info.type;
    m->size = taken->size;
    if (m->size > WALK_MESSAGE)
        return part_failed(p, "a message of %zu bytes came that nobody sent", m->size);
    if (m->size)
        memcpy(m->data, taken->data, m->size);
    return true;
}

/* ---- a work queue: four workers, of which one is killed with work in its hands ---- */

enum { WORKERS = 4, DIES_AFTER = 20, IN_HAND = 4, WORK_US = 50 };

static void work_giver(struct part *p)
{
    naru_channel *c;
    if (!part_naru(p, "opening", naru_queue_open(p->url, NARU_SEND, NULL, &c)))
        return;
    send_all(p, c);
    naru_channel_close(c);
}

/* detail "!": is killed. What it has not released is not its: it does not count it. */
static void worker(struct part *p)
{
    struct naru_message taken;
    struct message m;
    struct got g = {0};
    naru_channel *c;
    bool dies = p->detail[0] == '!';
    uint64_t again = 0;
    if (!part_naru(p, "opening", naru_queue_open(p->url, NARU_RECV, NULL, &c)))
        return;
    part_say(p, REPORT_READY);
    p->report.side = SIDE_RECEIVER;
    p->report.has_digest = true;
    for (;;) {
        if (dies && p->report.messages == DIES_AFTER) {
            for (int i = 0; i < IN_HAND; i++)
                if (!take(p, c, &taken, &m))
                    return;
            part_wait_for_death(p);
        }
        if (!take(p, c, &taken, &m))
            return;
        if (m.type == STOP)
            break;
        usleep(WORK_US); /* the work, so that all four get some */
        if (!walk_accept(p, &m, &g))
            return;
        again += (taken.info.flags & NARU_REDELIVERED) != 0;
        naru_channel_release(c, &taken, 1);
    }
    naru_channel_release(c, &taken, 1);
    if (again)
        snprintf(p->report.saw, sizeof p->report.saw,
                 "worker %d got %llu that the killed one had held, marked", p->index,
                 (unsigned long long)again);
    naru_channel_close(c);
}

static uint64_t redelivered(struct part *p)
{
    naru_snapshot *s;
    uint64_t n = 0;
    if (!part_naru(p, "looking", naru_snapshot_take(p->url, &s)))
        return 0;
    const struct naru_view *v = naru_snapshot_view(s, 0);
    for (size_t i = 0; v && i < v->n_parts; i++)
        for (size_t k = 0; k < v->parts[i]->n_facts; k++)
            if (strcmp(v->parts[i]->facts[k].name, "redelivered") == 0)
                n += v->parts[i]->facts[k].number;
    naru_snapshot_free(s);
    return n;
}

/* When all work is done: tells those that live, and counts what came again. */
static void work_ender(struct part *p)
{
    naru_channel *c;
    uint64_t again = redelivered(p);
    if (!p->report.ok ||
        !part_naru(p, "opening", naru_queue_open(p->url, NARU_SEND, NULL, &c)))
        return;
    for (int i = 1; i < WORKERS; i++)
        part_naru(p, "sending", naru_channel_send(c, STOP, NULL, 0, TOUR_TIMEOUT));
    part_naru(p, "flushing", naru_channel_flush(c, TOUR_TIMEOUT));
    naru_channel_close(c);
    if (again != IN_HAND)
        part_failed(p, "%d were in the killed worker's hands, and %llu came again marked", IN_HAND,
                    (unsigned long long)again);
}

static bool start_workers(struct stage *stage)
{
    return stage_exec(stage, 1, "lanes-worker", "") && stage_exec(stage, 2, "lanes-worker", "") &&
           stage_exec(stage, 3, "lanes-worker", "") && stage_exec(stage, 4, "lanes-worker", "!");
}

static bool next_work(struct stage *stage, int ready, int ended)
{
    if (ended == 0 && ready == WORKERS)
        return stage_exec(stage, 0, "lanes-work-giver", NULL);
    return ended != 2 || stage_exec(stage, 5, "lanes-work-ender", NULL);
}

/* ---- a topic: one subscriber from the start, one when the publisher has gone ---- */

enum { HISTORY = 32 };

static void publisher(struct part *p)
{
    const struct naru_topic_options o = {.size = sizeof o,
                                         .capacity = 2 * HISTORY * WALK_MESSAGE,
                                         .history = HISTORY};
    naru_channel *c;
    if (!part_naru(p, "opening", naru_topic_open(p->url, NARU_SEND, &o, &c)))
        return;
    part_say(p, REPORT_READY);
    if (part_naru(p, "waiting for the subscriber", naru_channel_wait_peers(c, 1, TOUR_TIMEOUT)) &&
        stamps_send(p, NULL, c) && send_all(p, c))
        digest_of(p->input.data, p->input.size, p->report.digest);
    naru_channel_close(c);
}

static bool receive(struct part *p, naru_channel *c, uint64_t count, struct got *g)
{
    struct naru_message taken;
    struct message m;
    for (uint64_t i = 0; i < count; i++) {
        if (!take(p, c, &taken, &m) || !walk_accept(p, &m, g))
            return false;
        naru_channel_release(c, &taken, 1);
    }
    return true;
}

static void subscriber(struct part *p)
{
    struct got g = {.whole = calloc(1, p->input.size + 1)};
    naru_channel *c;
    if (!g.whole) {
        part_failed(p, "no memory");
    } else if (part_naru(p, "subscribing", naru_topic_open(p->url, NARU_RECV, NULL, &c))) {
        p->report.side = SIDE_RECEIVER;
        if (stamps_recv(p, NULL, c) && receive(p, c, walk_count(p), &g)) {
            digest_of(g.whole, p->input.size, p->report.digest);
            p->report.has_digest = true;
        }
        naru_channel_close(c);
    }
    free(g.whole);
}

/* Its messages are those of the other subscriber once more, so it judges them itself. */
static void late_subscriber(struct part *p)
{
    struct got g = {0};
    struct naru_message more;
    struct walk w = walk_begin(p);
    struct message m;
    naru_channel *c;
    uint64_t count = walk_count(p), first = 0, at = 0;
    while (walk_next(p, &w, &m) && m.number + HISTORY < count)
        ;
    memcpy(&first, m.data, WALK_HEAD);
    if (!part_naru(p, "subscribing", naru_topic_open(p->url, NARU_RECV, NULL, &c)))
        return;
    if (part_naru(p, "taking", naru_channel_take(c, 0, TOUR_TIMEOUT, &more))) {
        memcpy(&at, more.data, more.size < WALK_HEAD ? 0 : WALK_HEAD);
        naru_channel_release(c, &more, 1);
        if (at != first)
            part_failed(p, "the history began at byte %llu, not %llu", (unsigned long long)at,
                        (unsigned long long)first);
        else if (receive(p, c, HISTORY - 1, &g) &&
                 naru_channel_take(c, 0, NARU_NOWAIT, &more) != -EAGAIN)
            part_failed(p, "the late subscriber got more than the history");
        else if (p->report.ok)
            snprintf(p->report.saw, sizeof p->report.saw,
                     "the late subscriber got the last %d of a publisher that had gone", HISTORY);
    }
    p->report.bytes = p->report.messages = 0;
    p->report.ns = 0;
    naru_channel_close(c);
}

static bool start_topic(struct stage *stage)
{
    return stage_exec(stage, 0, "lanes-publisher", NULL);
}

static bool next_topic(struct stage *stage, int ready, int ended)
{
    if (ready == 1 && ended == 0)
        return stage_exec(stage, 1, "lanes-subscriber", NULL);
    return ended != 2 || stage_exec(stage, 2, "lanes-late-subscriber", NULL);
}

const struct role shm_roles[] = {
    {"lanes-work-giver", work_giver}, {"lanes-worker", worker},
    {"lanes-work-ender", work_ender}, {"lanes-publisher", publisher},
    {"lanes-subscriber", subscriber}, {"lanes-late-subscriber", late_subscriber},
    {0},
};

/* ---- connections ---- */

#define FORKED(name, role)                                                                         \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_fork(stage, 0, role, NULL);                                                   \
    }
FORKED(pair, "pipe-sender")
FORKED(structs, "pipe-structs")
FORKED(sender_survives, "pipe-sender-survives")
FORKED(receiver_survives, "pipe-receiver-survives")

/* A server, and when it listens a client. */
#define MEETING(name, first, second)                                                               \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_exec(stage, 0, "socket-" first, NULL);                                        \
    }                                                                                              \
    static bool next_##name(struct stage *stage, int ready, int ended)                             \
    {                                                                                              \
        return ready != 1 || ended != 0 || stage_exec(stage, 1, "socket-" second, NULL);           \
    }
MEETING(messages, "server", "client")
MEETING(client_dies, "surviving-server", "dying-client")
MEETING(server_dies, "dying-server", "surviving-client")

#define CONNECTION(url, relation, shows, victim, start, next)                                      \
    {                                                                                              \
        url, NARU_NOUN_CONNECTION, "message", "two-way", relation, shows, 2, victim, start, next   \
    }

const struct scene shm_scenes[] = {
    CONNECTION("shm:", "parent-child", "messages of three types", -1, start_pair, NULL),
    {"shm:", NARU_NOUN_CONNECTION, "struct", "two-way", "parent-child",
     "sent 1, 2, 1, 2; all 2s fetched first", 2, -1, start_structs, NULL},
    CONNECTION("shm:", "parent-child", "receiver killed", 1, start_sender_survives, NULL),
    CONNECTION("shm:", "parent-child", "sender killed", 1, start_receiver_survives, NULL),
    CONNECTION("shm:%s/meeting", "unrelated", "client and server", -1, start_messages,
               next_messages),
    CONNECTION("shm:%s/meeting", "unrelated", "client killed", 1, start_client_dies,
               next_client_dies),
    CONNECTION("shm:%s/meeting", "unrelated", "server killed", 0, start_server_dies,
               next_server_dies),
    {"shm:%s/work", NARU_NOUN_QUEUE, "message", "one-way", "unrelated",
     "1 sender, 4 workers, one killed", 6, 4, start_workers, next_work},
    {"shm:%s/news", NARU_NOUN_TOPIC, "message", "one-way", "unrelated",
     "a subscriber, and a late one", 3, -1, start_topic, next_topic},
    {0},
};
