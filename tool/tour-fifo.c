/* SPDX-License-Identifier: MIT */
/* tour-fifo.c - the tour's scenes on `fifo:`: unrelated processes, which share a name alone, and
 * programs that have never heard of naru. */
#include "tool/tour.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static bool open_stream(struct part *p, int mode, unsigned flags, naru_stream **ret_s)
{
    struct naru_stream_options o = {.size = sizeof o, .flags = flags};
    return part_naru(p, "opening", naru_stream_open(p->url, mode, &o, TOUR_TIMEOUT, ret_s));
}

/* ---- streams ---- */

static void writer(struct part *p)
{
    naru_stream *s;
    if (!open_stream(p, NARU_WRITE, 0, &s))
        return;
    if (stamps_send(p, s, NULL))
        send_stream(p, s, 0, p->input.size);
    naru_stream_close(s);
}

static void reader(struct part *p)
{
    naru_stream *s;
    if (!open_stream(p, NARU_READ, NARU_UNTIL_HANGUP, &s))
        return;
    if (stamps_recv(p, s, NULL))
        recv_stream(p, s, 0);
    naru_stream_close(s);
}

static void two_way_pings(struct part *p)
{
    naru_stream *s;
    if (!open_stream(p, NARU_READ | NARU_WRITE, NARU_UNTIL_HANGUP, &s))
        return;
    if (ping(p, s, NULL) && send_stream(p, s, 0, p->input.size))
        part_naru(p, "shutting down", naru_stream_shutdown(s, NARU_WRITE));
    naru_stream_close(s);
}

static void two_way_pongs(struct part *p)
{
    naru_stream *s;
    if (!open_stream(p, NARU_READ | NARU_WRITE, NARU_UNTIL_HANGUP, &s))
        return;
    if (pong(p, s, NULL))
        recv_stream(p, s, 0);
    naru_stream_close(s);
}

/* ---- the shell at the other end ---- */

/* Starts sh; what it prints comes out of *ret_out. */
static naru_child *shell(struct part *p, const char *script, int input, naru_stream **ret_out)
{
    struct naru_stream_options o = {.size = sizeof o, .direction = NARU_ONE_WAY};
    naru_stream *out, *theirs;
    naru_child *child = NULL;
    if (!part_naru(p, "making a pipe", naru_stream_pair("pipe:", &o, &out, &theirs)))
        return NULL;
    char *argv[] = {"sh", "-c", (char *)script, "sh", (char *)strchr(p->url, ':') + 1, NULL};
    struct naru_spawn_end ends[] = {{"stdout", theirs, -1}, {"stdin", NULL, input}};
    struct naru_spawn_options spawn = {.size = sizeof spawn, .ends = ends, .n_ends = 2};
    if (!part_naru(p, "sh", naru_spawn(argv, &spawn, &child))) {
        naru_stream_close(theirs);
        naru_stream_close(out);
        return NULL;
    }
    *ret_out = out;
    return child;
}

/* The digest that sha256sum printed, and the shell's end. */
static void shell_ends(struct part *p, naru_child *child, naru_stream *out, uint8_t digest[DIGEST])
{
    char text[2 * DIGEST + 1] = "";
    struct naru_exit e = {-1, 0};
    bool ok = part_naru(p, "reading what sha256sum printed",
                        naru_stream_read_all(out, text, 2 * DIGEST, TOUR_TIMEOUT, NULL)) &&
              part_naru(p, "waiting for sh", naru_child_wait(child, TOUR_TIMEOUT, &e));
    if (ok && (e.code != 0 || !digest_parse(text, digest)))
        part_failed(p, "sh ended with status %d, signal %d, and said %s", e.code, e.signal, text);
    naru_stream_close(out);
    naru_child_close(child);
}

/* This part is the guard of the program at the other end, and reports for it. */
static void shell_reads(struct part *p)
{
    naru_stream *out;
    naru_child *child =
        shell(p, "mkfifo -m 600 \"$1\" 2>/dev/null; cat \"$1\" | sha256sum", p->input.fd, &out);
    if (!child)
        return;
    shell_ends(p, child, out, p->report.digest);
    p->report.side = SIDE_RECEIVER;
    p->report.has_digest = p->report.ok;
}

static void shell_writes(struct part *p)
{
    char path[32];
    naru_stream *out;
    snprintf(path, sizeof path, "/proc/self/fd/%d", p->input.fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC); /* with an offset of its own */
    naru_child *child =
        shell(p, "mkfifo -m 600 \"$1\" 2>/dev/null; sha256sum /proc/self/fd/0; exec cat >\"$1\"",
              fd, &out);
    close(fd);
    if (!child)
        return;
    shell_ends(p, child, out, p->report.digest);
    p->report.side = SIDE_SENDER;
    p->report.has_digest = p->report.ok;
}

static void writes_to_shell(struct part *p)
{
    naru_stream *s;
    if (!open_stream(p, NARU_WRITE, 0, &s))
        return;
    send_stream(p, s, 0, p->input.size);
    naru_stream_close(s);
}

static void reads_from_shell(struct part *p)
{
    naru_stream *s;
    if (!open_stream(p, NARU_READ, NARU_UNTIL_HANGUP, &s))
        return;
    recv_stream(p, s, 0);
    naru_stream_close(s);
}

/* ---- a writer is killed, the next one goes on ---- */

static void dying_writer(struct part *p)
{
    naru_stream *s;
    size_t half = p->input.size / 2;
    if (open_stream(p, NARU_WRITE, 0, &s) && send_stream(p, s, 0, half) &&
        part_naru(p, "flushing", naru_stream_flush(s, TOUR_TIMEOUT))) {
        p->report.side = SIDE_NONE; /* its half is no digest of the whole */
        part_wait_for_death(p);
    }
}

static void next_writer(struct part *p)
{
    naru_stream *s;
    if (!open_stream(p, NARU_WRITE, 0, &s))
        return;
    send_stream(p, s, p->input.size / 2, p->input.size);
    p->report.side = SIDE_NONE;
    naru_stream_close(s);
}

static void patient_reader(struct part *p)
{
    naru_stream *s;
    if (!open_stream(p, NARU_READ, 0, &s))
        return;
    if (recv_stream(p, s, p->input.size))
        snprintf(p->report.saw, sizeof p->report.saw,
                 "the reader saw both halves whole, from two writers");
    naru_stream_close(s);
}

/* ---- queue: one to one ---- */

static bool open_queue(struct part *p, int role, naru_channel **ret_c)
{
    return part_naru(p, "opening", naru_queue_open(p->url, role, NULL, ret_c));
}

static void queue_sends(struct part *p)
{
    naru_channel *c;
    if (!open_queue(p, NARU_SEND, &c))
        return;
    if (stamps_send(p, NULL, c) && send_messages(p, c))
        part_naru(p, "flushing", naru_channel_flush(c, TOUR_TIMEOUT));
    naru_channel_close(c);
}

static void queue_receives(struct part *p)
{
    naru_channel *c;
    if (!open_queue(p, NARU_RECV, &c))
        return;
    if (stamps_recv(p, NULL, c))
        recv_messages(p, c, -EAGAIN);
    naru_channel_close(c);
}

/* ---- queue: three senders, two receivers ----
 *
 * Each message begins with its place in the input. What several receivers got is compared by the
 * sum of its messages' digests, which does not depend on who got which. */

enum { STOP = 9, TAKEN_BEFORE_DEATH = 200 };

/* detail: "0/3" the first of three senders; with "!" killed midway. */
static void one_of_senders(struct part *p)
{
    int index = p->detail[0] - '0', of = p->detail[2] - '0';
    bool dies = p->detail[3] == '!', ok;
    struct cut cut = cut_begin(p->input.size);
    struct piece piece;
    naru_channel *c;
    ok = open_queue(p, NARU_SEND, &c);
    p->report.side = SIDE_SENDER;
    while (ok && cut_next(&cut, &piece)) {
        if (piece.number % (unsigned)of != (unsigned)index)
            continue;
        uint64_t at = piece.at;
        const struct iovec v[] = {{&at, sizeof at}, {(void *)(p->input.data + at), piece.size}};
        ok = part_naru(p, "sending", naru_channel_send_vector(c, piece.type, v, 2, TOUR_TIMEOUT));
        uint8_t digest[DIGEST];
        placed_digest(&p->input, &piece, digest);
        digest_add(p->report.digest, digest);
        p->report.bytes += piece.size;
        p->report.messages++;
        if (dies && p->report.messages == TAKEN_BEFORE_DEATH) {
            p->report.has_digest = true;
            part_wait_for_death(p);
        }
    }
    p->report.has_digest = ok;
    if (ok)
        part_naru(p, "flushing", naru_channel_flush(c, TOUR_TIMEOUT));
    naru_channel_close(c);
}

struct arena { /* messages as they came, one behind the other */
    uint8_t *data;
    size_t cap, used, n;
    size_t *start; /* n + 1 */
};

static bool judge_arena(struct part *p, const struct arena *a)
{
    bool ok = true;
    for (size_t i = 0; ok && i < a->n; i++) {
        const uint8_t *m = a->data + a->start[i];
        size_t size = a->start[i + 1] - a->start[i];
        uint8_t digest[DIGEST];
        uint64_t at;
        memcpy(&at, m, sizeof at);
        if (size <= sizeof at || at > p->input.size || size - sizeof at > p->input.size - at)
            return part_failed(p, "a message of %zu bytes came that nobody sent", size);
        ok = judge_bytes(p, m + sizeof at, at, size - sizeof at, size - sizeof at);
        digest_of(m, size, digest);
        digest_add(p->report.digest, digest);
        p->report.bytes += size - sizeof at;
        p->report.messages++;
    }
    p->report.has_digest = true;
    return ok;
}

static bool make_arena(struct part *p, struct arena *a)
{
    size_t count = p->input.size / 64 + 1024;
    *a = (struct arena){.cap = p->input.size + 8 * count + (1 << 20)};
    a->start = calloc(count + 2, sizeof *a->start);
    a->data = mmap(NULL, a->cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return (a->start && a->data != MAP_FAILED) || part_failed(p, "no memory");
}

static void one_of_receivers(struct part *p)
{
    bool dies = p->detail[0] == '!';
    struct arena a;
    naru_channel *c;
    if (!make_arena(p, &a) || !open_queue(p, NARU_RECV, &c))
        return;
    part_say(p, REPORT_READY);
    p->report.side = SIDE_RECEIVER;
    int64_t begun = 0;
    bool ok = true;
    while (!dies || a.n < TAKEN_BEFORE_DEATH) {
        struct naru_info info;
        ssize_t r = naru_channel_recv(c, 0, a.data + a.used, a.cap - a.used, &info, TOUR_TIMEOUT);
        ok = part_naru(p, "receiving", r);
        if (!ok || info.type == STOP)
            break;
        begun = begun ? begun : now_ns();
        p->report.ns = now_ns() - begun;
        a.used += (size_t)r;
        a.start[++a.n] = a.used;
    }
    ok = judge_arena(p, &a) && ok;
    if (ok && dies)
        part_wait_for_death(p);
    naru_channel_close(c);
}

/* When every sender has ended: one word to each receiver that lives. detail: how many. */
static void closer(struct part *p)
{
    naru_channel *c;
    if (!open_queue(p, NARU_SEND, &c))
        return;
    for (int i = 0; i < p->detail[0] - '0'; i++)
        part_naru(p, "sending the end", naru_channel_send(c, STOP, NULL, 0, TOUR_TIMEOUT));
    part_naru(p, "flushing", naru_channel_flush(c, TOUR_TIMEOUT));
    naru_channel_close(c);
}

/* ---- tables ---- */

const struct role fifo_roles[] = {
    {"fifo-writer", writer},
    {"fifo-reader", reader},
    {"fifo-pings", two_way_pings},
    {"fifo-pongs", two_way_pongs},
    {"fifo-shell-reads", shell_reads},
    {"fifo-shell-writes", shell_writes},
    {"fifo-writes-to-shell", writes_to_shell},
    {"fifo-reads-from-shell", reads_from_shell},
    {"fifo-dying-writer", dying_writer},
    {"fifo-next-writer", next_writer},
    {"fifo-patient-reader", patient_reader},
    {"fifo-queue-sends", queue_sends},
    {"fifo-queue-receives", queue_receives},
    {"fifo-sender", one_of_senders},
    {"fifo-receiver", one_of_receivers},
    {"fifo-closer", closer},
    {0},
};

#define STARTER(name, first, second)                                                               \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_exec(stage, 0, first, NULL) && stage_exec(stage, 1, second, NULL);            \
    }
STARTER(stream, "fifo-writer", "fifo-reader")
STARTER(two_way, "fifo-pings", "fifo-pongs")
STARTER(to_shell, "fifo-writes-to-shell", "fifo-shell-reads")
STARTER(from_shell, "fifo-shell-writes", "fifo-reads-from-shell")
STARTER(one_to_one, "fifo-queue-sends", "fifo-queue-receives")
STARTER(dying_writer, "fifo-patient-reader", "fifo-dying-writer")

static bool after_dying_writer(struct stage *stage, int ready, int ended)
{
    (void)ready;
    return ended != 1 || stage_exec(stage, 2, "fifo-next-writer", NULL);
}

/* The receivers first, so that neither is alone and reads ahead. */
static bool start_receivers(struct stage *stage)
{
    return stage_exec(stage, 3, "fifo-receiver", "") && stage_exec(stage, 4, "fifo-receiver", "");
}

static bool start_receivers_one_dies(struct stage *stage)
{
    return stage_exec(stage, 3, "fifo-receiver", "") && stage_exec(stage, 4, "fifo-receiver", "!");
}

static bool start_senders(struct stage *stage, const char *second)
{
    return stage_exec(stage, 0, "fifo-sender", "0/3") &&
           stage_exec(stage, 1, "fifo-sender", second) &&
           stage_exec(stage, 2, "fifo-sender", "2/3");
}

static bool next_queue(struct stage *stage, int ready, int ended)
{
    if (ended == 0 && ready == 2)
        return start_senders(stage, "1/3");
    return ended != 3 || stage_exec(stage, 5, "fifo-closer", "2");
}

static bool next_receiver_dies(struct stage *stage, int ready, int ended)
{
    if (ended == 0 && ready == 2)
        return start_senders(stage, "1/3");
    return ended != 4 || stage_exec(stage, 5, "fifo-closer", "1");
}

static bool next_sender_dies(struct stage *stage, int ready, int ended)
{
    if (ended == 0 && ready == 2)
        return start_senders(stage, "1/3!");
    return ended != 3 || stage_exec(stage, 5, "fifo-closer", "2");
}

const struct scene fifo_scenes[] = {
    {"fifo:%s/stream", NARU_NOUN_STREAM, NULL, "one-way", "unrelated", "a name in common", 2, -1,
     start_stream, NULL},
    {"fifo:%s/to-shell", NARU_NOUN_STREAM, NULL, "one-way", "unrelated", "cat reads", 2, -1,
     start_to_shell, NULL},
    {"fifo:%s/from-shell", NARU_NOUN_STREAM, NULL, "one-way", "unrelated", "cat writes", 2, -1,
     start_from_shell, NULL},
    {"fifo:%s/two-way", NARU_NOUN_STREAM, NULL, "two-way", "unrelated", "a pair of FIFOs", 2, -1,
     start_two_way, NULL},
    {"fifo:%s/queue", NARU_NOUN_QUEUE, NULL, "one-way", "unrelated", "1 sender, 1 receiver", 2, -1,
     start_one_to_one, NULL},
    {"fifo:%s/queue32", NARU_NOUN_QUEUE, NULL, "one-way", "unrelated", "3 senders, 2 receivers", 6,
     -1, start_receivers, next_queue},
    {"fifo:%s/dying-writer", NARU_NOUN_STREAM, NULL, "one-way", "unrelated",
     "writer killed, the next goes on", 3, 1, start_dying_writer, after_dying_writer},
    {"fifo:%s/dying-receiver", NARU_NOUN_QUEUE, NULL, "one-way", "unrelated",
     "one of 2 receivers killed", 6, 4, start_receivers_one_dies, next_receiver_dies},
    {"fifo:%s/dying-sender", NARU_NOUN_QUEUE, NULL, "one-way", "unrelated",
     "one of 3 senders killed", 6, 1, start_receivers, next_sender_dies},
    {0},
};
