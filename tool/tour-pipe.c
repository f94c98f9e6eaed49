/* SPDX-License-Identifier: MIT */
/* tour-pipe.c - the tour's scenes on `pipe:`: related processes, by fork and by naru_spawn. The
 * roles take the part's URL, so that other kinds' pairs run them too. */
#include "tool/tour.h"

#include <naru/typed.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct ends { /* as the pair was made, before the fork */
    naru_stream *a, *b;
    naru_channel *ca, *cb;
};

/* The child's: adopts what it keeps and closes the other. */
static bool child_keeps(struct part *p, struct ends *e, bool first)
{
    void *mine = e->a ? (void *)(first ? e->a : e->b) : (void *)(first ? e->ca : e->cb);
    if (!part_naru(p, "adopting the end", naru_adopt(mine)))
        return false;
    naru_stream_close(first ? e->b : e->a);
    naru_channel_close(first ? e->cb : e->ca);
    return true;
}

static bool stream_pair(struct part *p, int direction, struct ends *e)
{
    struct naru_stream_options o = {.size = sizeof o, .direction = direction};
    *e = (struct ends){0};
    return part_naru(p, "making the pair", naru_stream_pair(p->url, &o, &e->a, &e->b));
}

static bool channel_pair(struct part *p, struct ends *e)
{
    *e = (struct ends){0};
    return part_naru(p, "making the pair", naru_channel_pair(p->url, NULL, &e->ca, &e->cb));
}

/* ---- stream: parent and child ---- */

static void child_reads(struct part *p, void *ends)
{
    struct ends *e = ends;
    if (child_keeps(p, e, true) && stamps_recv(p, e->a, NULL))
        recv_stream(p, e->a, 0);
    naru_stream_close(e->a);
}

static void parent_writes(struct part *p)
{
    struct ends e;
    if (!stream_pair(p, NARU_ONE_WAY, &e))
        return;
    pid_t child = part_fork(p, 1, child_reads, &e);
    naru_stream_close(e.a);
    if (child > 0 && stamps_send(p, e.b, NULL))
        send_stream(p, e.b, 0, p->input.size);
    naru_stream_close(e.b);
    waitpid(child, NULL, 0);
}

/* ---- stream: siblings a | b | c ---- */

static void first_of_pipeline(struct part *p)
{
    naru_stream *out;
    if (part_naru(p, "naru_stream_inherit", naru_stream_inherit("out", &out)))
        send_stream(p, out, 0, p->input.size);
}

static void last_of_pipeline(struct part *p)
{
    naru_stream *in;
    if (part_naru(p, "naru_stream_inherit", naru_stream_inherit("in", &in)))
        recv_stream(p, in, 0);
}

static bool wait_for(struct part *p, const char *name, naru_child *child)
{
    struct naru_exit e = {-1, 0};
    int r = child ? naru_child_wait(child, TOUR_TIMEOUT, &e) : -ESRCH;
    naru_child_close(child);
    if (!child || !part_naru(p, name, r))
        return false;
    return e.code == 0 ||
           part_failed(p, "%s ended with status %d, signal %d", name, e.code, e.signal);
}

static void pipeline(struct part *p)
{
    struct ends left,
        right; /* a writes left.b, cat reads left.a and writes right.b, c reads right.a */
    if (!stream_pair(p, NARU_ONE_WAY, &left) || !stream_pair(p, NARU_ONE_WAY, &right))
        return;
    naru_child *c = part_spawn(p, 2, "pipe-last", &(struct naru_spawn_end){"in", right.a, -1}, 1);
    struct naru_spawn_end ends[] = {{"stdin", left.a, -1}, {"stdout", right.b, -1}};
    struct naru_spawn_options o = {.size = sizeof o, .ends = ends, .n_ends = 2};
    naru_child *cat = NULL;
    part_naru(p, "cat", naru_spawn((char *[]){"cat", NULL}, &o, &cat));
    naru_child *a = part_spawn(p, 1, "pipe-first", &(struct naru_spawn_end){"out", left.b, -1}, 1);
    wait_for(p, "the sender", a);
    wait_for(p, "cat", cat);
    wait_for(p, "the receiver", c);
}

/* ---- stream: a program with a named end, two-way ---- */

static void program(struct part *p)
{
    naru_stream *talk;
    if (part_naru(p, "naru_stream_inherit", naru_stream_inherit("talk", &talk)) &&
        pong(p, talk, NULL))
        recv_stream(p, talk, 0);
}

static void starts_program(struct part *p)
{
    struct ends e;
    if (!stream_pair(p, NARU_TWO_WAY, &e))
        return;
    naru_child *child =
        part_spawn(p, 1, "pipe-program", &(struct naru_spawn_end){"talk", e.b, -1}, 1);
    if (child && ping(p, e.a, NULL))
        send_stream(p, e.a, 0, p->input.size);
    naru_stream_close(e.a);
    wait_for(p, "the program", child);
}

/* ---- connection ---- */

static void child_receives(struct part *p, void *ends)
{
    struct ends *e = ends;
    if (child_keeps(p, e, true) && pong(p, NULL, e->ca))
        recv_messages(p, e->ca, -EPIPE);
    naru_channel_close(e->ca);
}

static void parent_sends(struct part *p)
{
    struct ends e;
    if (!channel_pair(p, &e))
        return;
    pid_t child = part_fork(p, 1, child_receives, &e);
    naru_channel_close(e.ca);
    if (child > 0 && ping(p, NULL, e.cb))
        send_messages(p, e.cb);
    naru_channel_close(e.cb);
    waitpid(child, NULL, 0);
}

/* ---- typed structs: sent 1, 2, 1, 2, received 2, 2, 1, 1 ---- */

enum { STRUCTS = 1000 };
struct point {
    uint32_t id;
    int32_t x, y;
};
struct job {
    uint32_t id;
    char name[28];
};
NARU_STRUCT(point, 1, struct point)
NARU_STRUCT(job, 2, struct job)

struct structs {
    struct job jobs[STRUCTS];
    struct point points[STRUCTS];
};

static void structs_carried(struct part *p, enum side side, const struct structs *all)
{
    p->report.side = (int32_t)side;
    p->report.messages = 2 * STRUCTS;
    p->report.bytes = sizeof all->jobs + sizeof all->points;
    digest_of(all, sizeof *all, p->report.digest);
    p->report.has_digest = true;
}

static void child_selects(struct part *p, void *ends)
{
    static struct structs all;
    struct ends *e = ends;
    bool ok = child_keeps(p, e, true);
    for (int i = 0; ok && i < STRUCTS; i++)
        ok = part_naru(p, "job_recv", job_recv(e->ca, &all.jobs[i], NULL, TOUR_TIMEOUT));
    for (int i = 0; ok && i < STRUCTS; i++)
        ok = part_naru(p, "point_recv", point_recv(e->ca, &all.points[i], NULL, TOUR_TIMEOUT));
    for (uint32_t i = 0; ok && i < STRUCTS; i++)
        if (all.jobs[i].id != i || all.points[i].id != i)
            ok = part_failed(p, "struct %u came out of order", i);
    structs_carried(p, SIDE_RECEIVER, &all);
    naru_channel_close(e->ca);
}

static void parent_sends_structs(struct part *p)
{
    static struct structs all;
    struct ends e;
    if (!channel_pair(p, &e))
        return;
    pid_t child = part_fork(p, 1, child_selects, &e);
    naru_channel_close(e.ca);
    bool ok = child > 0;
    for (uint32_t i = 0; ok && i < STRUCTS; i++) {
        all.points[i] = (struct point){i, (int32_t)i * 3, -(int32_t)i};
        all.jobs[i].id = i;
        memcpy(all.jobs[i].name, p->input.data + 16 * i % (p->input.size - 28), 28);
        ok = part_naru(p, "point_send", point_send(e.cb, &all.points[i], TOUR_TIMEOUT)) &&
             part_naru(p, "job_send", job_send(e.cb, &all.jobs[i], TOUR_TIMEOUT));
    }
    structs_carried(p, SIDE_SENDER, &all);
    naru_channel_close(e.cb);
    waitpid(child, NULL, 0);
}

/* ---- somebody is killed ---- */

enum { BEFORE_DEATH = 100 };

static void dying_reader(struct part *p, void *ends)
{
    struct ends *e = ends;
    char some[BEFORE_DEATH];
    if (child_keeps(p, e, true) &&
        part_naru(p, "reading", naru_stream_read_all(e->a, some, sizeof some, TOUR_TIMEOUT, NULL)))
        part_wait_for_death(p);
}

static void writer_survives(struct part *p)
{
    struct ends e;
    int r;
    if (!stream_pair(p, NARU_ONE_WAY, &e))
        return;
    pid_t child = part_fork(p, 1, dying_reader, &e);
    naru_stream_close(e.a);
    do
        r = naru_stream_write_all(e.b, p->input.data, 4096, TOUR_TIMEOUT, NULL);
    while (r == 0);
    part_saw(p, "writer", r, -EPIPE);
    naru_stream_close(e.b);
    waitpid(child, NULL, 0);
}

static void dying_receiver(struct part *p, void *ends)
{
    struct ends *e = ends;
    bool ok = child_keeps(p, e, true);
    for (int i = 0; ok && i < BEFORE_DEATH; i++) {
        struct naru_message m;
        ok = part_naru(p, "taking", naru_channel_take(e->ca, 0, TOUR_TIMEOUT, &m));
    }
    if (ok)
        part_wait_for_death(p);
}

static void sender_survives(struct part *p)
{
    struct ends e;
    int r;
    if (!channel_pair(p, &e))
        return;
    pid_t child = part_fork(p, 1, dying_receiver, &e);
    naru_channel_close(e.ca);
    do
        r = naru_channel_send(e.cb, 1, p->input.data, 512, TOUR_TIMEOUT);
    while (r == 0);
    part_saw(p, "sender", r, -ECONNRESET);
    naru_channel_close(e.cb);
    waitpid(child, NULL, 0);
}

static void dying_sender(struct part *p, void *ends)
{
    struct ends *e = ends;
    bool ok = child_keeps(p, e, true);
    for (int i = 0; ok && i < BEFORE_DEATH; i++)
        ok = part_naru(p, "sending", naru_channel_send(e->ca, 1, p->input.data, 512, TOUR_TIMEOUT));
    if (ok)
        part_wait_for_death(p);
}

static void receiver_survives(struct part *p)
{
    struct ends e;
    char buf[512];
    ssize_t r;
    int n = 0;
    if (!channel_pair(p, &e))
        return;
    pid_t child = part_fork(p, 1, dying_sender, &e);
    naru_channel_close(e.ca);
    while ((r = naru_channel_recv(e.cb, 0, buf, sizeof buf, NULL, TOUR_TIMEOUT)) == sizeof buf)
        n++;
    part_saw(p, "receiver", r, -ECONNRESET);
    if (p->report.ok && n != BEFORE_DEATH)
        part_failed(p, "%d of %d messages sent before the death came", n, BEFORE_DEATH);
    naru_channel_close(e.cb);
    waitpid(child, NULL, 0);
}

/* ---- tables ---- */

const struct role pipe_roles[] = {
    {"pipe-writer", parent_writes},
    {"pipe-pipeline", pipeline},
    {"pipe-first", first_of_pipeline},
    {"pipe-last", last_of_pipeline},
    {"pipe-starts", starts_program},
    {"pipe-program", program},
    {"pipe-sender", parent_sends},
    {"pipe-structs", parent_sends_structs},
    {"pipe-writer-survives", writer_survives},
    {"pipe-sender-survives", sender_survives},
    {"pipe-receiver-survives", receiver_survives},
    {0},
};

#define STARTER(name, role)                                                                        \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_fork(stage, 0, role, NULL);                                                   \
    }
STARTER(writer, "pipe-writer")
STARTER(pipeline, "pipe-pipeline")
STARTER(program, "pipe-starts")
STARTER(sender, "pipe-sender")
STARTER(structs, "pipe-structs")
STARTER(writer_survives, "pipe-writer-survives")
STARTER(sender_survives, "pipe-sender-survives")
STARTER(receiver_survives, "pipe-receiver-survives")

const struct scene pipe_scenes[] = {
    {"pipe:", NARU_NOUN_STREAM, NULL, "one-way", "parent-child", "fork and adopt", 2, -1,
     start_writer, NULL},
    {"pipe:", NARU_NOUN_STREAM, NULL, "one-way", "siblings", "a | cat | c by naru_spawn", 3, -1,
     start_pipeline, NULL},
    {"pipe:", NARU_NOUN_STREAM, NULL, "two-way", "parent-child", "a program with a named end", 2,
     -1, start_program, NULL},
    {"pipe:", NARU_NOUN_CONNECTION, NULL, "two-way", "parent-child", "messages of three types", 2,
     -1, start_sender, NULL},
    {"pipe:", NARU_NOUN_CONNECTION, "struct", "two-way", "parent-child",
     "sent 1, 2, 1, 2; all 2s fetched first", 2, -1, start_structs, NULL},
    {"pipe:", NARU_NOUN_STREAM, NULL, "one-way", "parent-child", "reader killed", 2, 1,
     start_writer_survives, NULL},
    {"pipe:", NARU_NOUN_CONNECTION, NULL, "two-way", "parent-child", "receiver killed", 2, 1,
     start_sender_survives, NULL},
    {"pipe:", NARU_NOUN_CONNECTION, NULL, "two-way", "parent-child", "sender killed", 2, 1,
     start_receiver_survives, NULL},
    {0},
};
