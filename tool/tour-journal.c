/* SPDX-License-Identifier: MIT */
/* tour-journal.c - the tour's scene of durable queues and topics: a writer is killed in the middle,
 * another goes on where the journal ends, and a reader who comes when both have gone gets all. */
#include "tool/tour.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE = 2 };

/* From the message behind the journal's last one on; detail "!": is killed midway. */
static void writer(struct part *p)
{
    struct naru_journal_report there = {.size = sizeof there};
    struct walk w = walk_begin(p);
    struct message m;
    naru_channel *c;
    bool dies = p->detail[0] == '!';
    uint64_t half = walk_count(p) / 2;
    if (!part_naru(p, "opening", naru_queue_open(p->url, NARU_SEND, NULL, &c)) ||
        !part_naru(p, "verifying", naru_journal_verify(p->url, &there, NULL, NULL)))
        return;
    int64_t start = now_ns();
    while (walk_next(p, &w, &m)) {
        if (dies && m.number == half)
            part_wait_for_death(p);
        if (m.number >= there.last &&
            !part_naru(p, "sending", naru_channel_send(c, MESSAGE, m.data, m.size, TOUR_TIMEOUT)))
            return;
        p->report.bytes += m.size - WALK_HEAD;
        p->report.messages++;
    }
    p->report.side = SIDE_SENDER;
    p->report.ns = now_ns() - start;
    p->report.has_digest = true; /* of what both have sent, as the reader will find it */
    digest_of(p->input.data, p->input.size, p->report.digest);
    part_naru(p, "syncing", naru_journal_sync(c, TOUR_TIMEOUT));
    naru_channel_close(c);
}

static void reader(struct part *p)
{
    struct naru_journal_options j = {.size = sizeof j, .from = NARU_FROM_OLDEST};
    struct naru_topic_options o = {.size = sizeof o, .journal = &j};
    struct got g = {.whole = calloc(1, p->input.size + 1)};
    struct naru_message taken;
    struct message m;
    naru_channel *c;
    uint64_t count = walk_count(p);
    if (!g.whole) {
        part_failed(p, "no memory");
        return;
    }
    p->report.side = SIDE_RECEIVER;
    if (part_naru(p, "opening", naru_topic_open(p->url, NARU_RECV, &o, &c))) {
        uint64_t n = 0;
        for (; n < count && part_naru(p, "taking", naru_channel_take(c, 0, TOUR_TIMEOUT, &taken));
             n++) {
            m.type = taken.info.type;
            m.size = taken.size < WALK_MESSAGE ? taken.size : WALK_MESSAGE;
            memcpy(m.data, taken.data, m.size);
            if (taken.info.sequence != n + 1)
                part_failed(p, "message %llu came as number %llu",
                            (unsigned long long)taken.info.sequence, (unsigned long long)n + 1);
            else
                (void)walk_accept(p, &m, &g);
            naru_channel_release(c, &taken, 1);
        }
        naru_channel_close(c);
        if (n == count) {
            digest_of(g.whole, p->input.size, p->report.digest);
            p->report.has_digest = true;
            snprintf(p->report.saw, sizeof p->report.saw,
                     "all %llu came, in order, when both writers had gone",
                     (unsigned long long)count);
        }
    }
    free(g.whole);
}

static bool start(struct stage *stage)
{
    return stage_exec(stage, 0, "journal-writer", "!");
}

static bool next(struct stage *stage, int ready, int ended)
{
    (void)ready;
    return ended == 1   ? stage_exec(stage, 1, "journal-writer", NULL)
           : ended == 2 ? stage_exec(stage, 2, "journal-reader", NULL)
                        : true;
}

const struct role journal_roles[] = {{"journal-writer", writer}, {"journal-reader", reader}, {0}};

const struct scene journal_scenes[] = {
    {"map:%s/journal", NARU_NOUN_TOPIC, "message", "one-way", "unrelated",
     "writer killed, the next goes on; replay", 3, 0, start, next},
    {0},
};
