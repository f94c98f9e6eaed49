/* SPDX-License-Identifier: MIT */
/* sweep-sockets.c - the n-th failure, for every n, of sockets and of shared memory that meets by
 * one: as sweep.c, each system call and each allocation of an operation fails with each errno that
 * it can give, once and from then on.
 *
 * The operation then succeeds, or returns a negative code with a sentence, leaves its
 * out-parameters alone and no file that it made, and closes without a leak. What failed to be sent
 * as a message does not arrive, and what failed to be received is still there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "sweep-codes.h"

#include <naru/naru.h>

static const int64_t in_vain = 2 * NARU_MS;
static int64_t soon; /* all that is needed where nothing fails */
enum { BOTH = NARU_READ | NARU_WRITE, LARGE = 100000 };
static char large[LARGE], buffer[LARGE];

/* The forms of a name; an operation runs over those that its row allows. */
enum { UNIX = 1, ABSTRACT = 2, TCP = 4, PACKET = 8, DGRAM = 16, UDP = 32, SHM = 64 };
enum { STREAMS = UNIX | ABSTRACT | TCP, CONNECTIONS = UNIX | TCP | PACKET | SHM };

/* ---- what the operations work on ---- */

static struct {
    int form;
    naru_stream_listener *sl;
    naru_channel_listener *cl;
    naru_stream *s[2];  /* client or pair's first, server or second */
    naru_channel *c[2]; /* sends, receives */
    char path[100], url[192];
} w;

static void name_it(int form)
{
    static int count;
    w.form = form;
    if (form & (UNIX | PACKET | DGRAM | SHM)) {
        snprintf(w.path, sizeof w.path, "%s/sweep-%d-%d",
                 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid(), ++count);
        snprintf(w.url, sizeof w.url, "%s:%s",
                 form == UNIX     ? "unix"
                 : form == SHM    ? "shm"
                 : form == PACKET ? "unix+seqpacket"
                                  : "unix+dgram",
                 w.path);
    } else if (form == ABSTRACT) {
        snprintf(w.url, sizeof w.url, "unix:@naru-sweep-%d-%d", (int)getpid(), ++count);
    } else {
        snprintf(w.url, sizeof w.url, "%s://127.0.0.1:0", form == TCP ? "tcp" : "udp");
    }
}

static void nothing(void)
{
}

static void stale(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", w.path);
    int fd = socket(AF_UNIX,
                    w.form == DGRAM    ? SOCK_DGRAM
                    : w.form == PACKET ? SOCK_SEQPACKET
                                       : SOCK_STREAM,
                    0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
}

static void listening(void)
{
    need(naru_stream_listen(w.url, NULL, &w.sl));
}

static void dialled(void)
{
    listening();
    need(naru_stream_open(naru_url(w.sl), BOTH, NULL, PATIENCE, &w.s[0]));
}

static void streams(void)
{
    dialled();
    need(naru_stream_accept(w.sl, PATIENCE, &w.s[1]));
}

static void stream_pair_made(void)
{
    need(naru_stream_pair("unix:", NULL, &w.s[0], &w.s[1]));
}

static void streams_with_bytes(void)
{
    streams();
    need(naru_stream_write_all(w.s[0], "message", 7, soon, NULL));
}

static void channel_listening(void)
{
    need(naru_channel_listen(w.url, NULL, &w.cl));
}

static void channel_dialled(void)
{
    channel_listening();
    need(naru_channel_connect(naru_url(w.cl), NULL, PATIENCE, &w.c[0]));
}

static void greeted(void) /* neither waits for the other's hello any more */
{
    if (w.form == PACKET)
        return;
    char got[8];
    need(naru_channel_send(w.c[0], 1, "a", 1, PATIENCE));
    need(naru_channel_recv(w.c[1], 0, got, 8, NULL, PATIENCE));
    need(naru_channel_send(w.c[1], 1, "b", 1, PATIENCE));
    need(naru_channel_recv(w.c[0], 0, got, 8, NULL, PATIENCE));
}

static void channels(void)
{
    channel_dialled();
    need(naru_channel_accept(w.cl, PATIENCE, &w.c[1]));
    greeted();
}

static void queue_receives(void)
{
    need(naru_queue_open(w.url, NARU_RECV, NULL, &w.c[1]));
}

static void queues(void)
{
    queue_receives();
    need(naru_queue_open(naru_url(w.c[1]), NARU_SEND, NULL, &w.c[0]));
}

static void ends(void)
{
    (w.form & (DGRAM | UDP) ? queues : channels)();
}

static void ends_with_message(void)
{
    ends();
    need(naru_channel_send(w.c[0], 1, "message", 7, PATIENCE));
}

static void ends_with_descriptors(void)
{
    ends();
    need(naru_channel_send_fds(w.c[0], 1, "message", 7, (int[]){0, 1}, 2, PATIENCE));
}

static void ends_with_large(void)
{
    ends();
    need(naru_channel_send(w.c[0], 1, large, LARGE, PATIENCE));
}

static void receiver_gone(void)
{
    ends();
    w.c[1] = naru_channel_close(w.c[1]);
}

static void sender_apart(void)
{
    need(naru_queue_open(w.url, NARU_SEND, NULL, &w.c[0]));
}

/* ---- the operations ---- */

#define KEPT(call, pointer, slot)                                                                  \
    __extension__({                                                                                \
        long r_ = (call);                                                                          \
        wrong_if(r_ < 0 && (void *)(pointer) != POISON, "an out-parameter was touched");           \
        if (r_ >= 0)                                                                               \
            (slot) = (pointer);                                                                    \
        r_;                                                                                        \
    })

static long listen_stream(void)
{
    naru_stream_listener *l = POISON;
    return KEPT(naru_stream_listen(w.url, NULL, &l), l, w.sl);
}
static long open_stream(void)
{
    naru_stream *s = POISON;
    return KEPT(naru_stream_open(naru_url(w.sl), BOTH, NULL, 10 * soon, &s), s, w.s[0]);
}
static long accept_stream(void)
{
    naru_stream *s = POISON;
    return KEPT(naru_stream_accept(w.sl, soon, &s), s, w.s[1]);
}
static long accept_nobody(void)
{
    naru_stream *s = POISON;
    long r = KEPT(naru_stream_accept(w.sl, in_vain, &s), s, w.s[1]);
    wrong_if(r >= 0, "somebody was accepted");
    return r == -ETIMEDOUT ? 0 : r;
}
static long pair_stream(void)
{
    naru_stream *a = POISON, *b = POISON;
    long r = naru_stream_pair("unix:", NULL, &a, &b);
    wrong_if(r < 0 && ((void *)a != POISON || (void *)b != POISON), "an out-parameter was touched");
    if (r >= 0) {
        w.s[0] = a;
        w.s[1] = b;
    }
    return r;
}
static long pair_channel(void)
{
    naru_channel *a = POISON, *b = POISON;
    long r = naru_channel_pair(w.form == PACKET ? "unix+seqpacket:"
                               : w.form == SHM  ? "shm:"
                                                : "unix:",
                               NULL, &a, &b);
    wrong_if(r < 0 && ((void *)a != POISON || (void *)b != POISON), "an out-parameter was touched");
    if (r >= 0) {
        w.c[0] = a;
        w.c[1] = b;
    }
    return r;
}
static long write_stream(void)
{
    size_t done = 0;
    long r = naru_stream_write_all(w.s[0], "message", 7, soon, &done);
    disarm();
    size_t got = 0;
    (void)naru_stream_read_all(w.s[1], buffer, 7, r < 0 ? NARU_NOWAIT : PATIENCE, &got);
    wrong_if(r >= 0 && got != 7, "what was written is not there");
    wrong_if(got != done, "more or less was written than was said");
    return r;
}
static long read_stream(void)
{
    char got[8] = "";
    long r = naru_stream_read(w.s[1], got, 7, soon);
    disarm();
    wrong_if(r >= 0 && (r != 7 || memcmp(got, "message", 7) != 0), "other bytes came");
    if (r < 0)
        wrong_if(naru_stream_read(w.s[1], got, 7, PATIENCE) != 7, "bytes are lost");
    return r;
}
static long flush_stream(void)
{
    return naru_stream_flush(w.s[0], PATIENCE);
}
static long shutdown_stream(void)
{
    return naru_stream_shutdown(w.s[0], NARU_WRITE);
}
static long pass_descriptor(void)
{
    int fd = 0, got = -1;
    size_t n = 0;
    long r = naru_stream_send_fds(w.s[0], "x", 1, &fd, 1, soon);
    disarm();
    long m = naru_stream_recv_fds(w.s[1], buffer, 1, &got, 1, &n, NARU_NOWAIT);
    wrong_if(r < 0 && m > 0, "what failed to be passed arrived");
    wrong_if(r >= 0 && (m != 1 || n != 1), "what was passed is not there");
    if (m > 0 && n == 1)
        close(got);
    return r;
}
static void expect_both(long r, size_t n, const int *fds)
{
    wrong_if(r >= 0 && (r != 7 || n != 2), "what was passed is not there");
    for (size_t i = 0; r >= 0 && i < n; i++)
        close(fds[i]);
}
static long send_descriptors(void)
{
    int got[2];
    size_t n = 0;
    long r = naru_channel_send_fds(w.c[0], 1, "message", 7, (int[]){0, 1}, 2, soon);
    disarm();
    long m = naru_channel_recv_fds(w.c[1], 0, buffer, 8, NULL, got, 2, &n,
                                   r < 0 ? NARU_NOWAIT : PATIENCE);
    expect_both(m, n, got);
    wrong_if(r < 0 && m >= 0, "what failed to be passed arrived");
    wrong_if(r >= 0 && m < 0, "what was passed is not there");
    /* what failed leaves nothing to the next one */
    long next = naru_channel_send(w.c[0], 1, "next", 4, PATIENCE);
    m = naru_channel_recv_fds(w.c[1], 0, buffer, 8, NULL, got, 2, &n, PATIENCE);
    wrong_if(next >= 0 && (m != 4 || n != 0), "the next message has the descriptors");
    return r;
}
static long recv_descriptors(void)
{
    int got[2];
    size_t n = 77;
    long r = naru_channel_recv_fds(w.c[1], 0, buffer, 8, NULL, got, 2, &n, soon);
    disarm();
    wrong_if(r < 0 && n != 77, "an out-parameter was touched");
    expect_both(r, n, got);
    return r;
}
static long recv_without_descriptors(void)
{
    return naru_channel_recv(w.c[1], 0, buffer, 8, NULL, soon);
}
static long peer(void)
{
    struct naru_peer p = {.size = sizeof p};
    return naru_peer(w.s[1], &p);
}
static long stream_stats(void)
{
    struct naru_stats stats = {.size = sizeof stats};
    return naru_stats(w.s[0], &stats);
}
static long stream_descriptor(void)
{
    long fd = naru_fd(w.s[1]);
    if (fd < 0)
        return fd;
    long r = naru_stream_read(w.s[1], buffer, 1, NARU_NOWAIT);
    return r == -EAGAIN ? 0 : r;
}

static long listen_channel(void)
{
    naru_channel_listener *l = POISON;
    return KEPT(naru_channel_listen(w.url, NULL, &l), l, w.cl);
}
static long connect_channel(void)
{
    naru_channel *c = POISON;
    return KEPT(naru_channel_connect(naru_url(w.cl), NULL, 10 * soon, &c), c, w.c[0]);
}
static long accept_channel(void)
{
    naru_channel *c = POISON;
    return KEPT(naru_channel_accept(w.cl, soon, &c), c, w.c[1]);
}
static long open_queue(int role)
{
    naru_channel *c = POISON;
    return KEPT(naru_queue_open(w.url, role, NULL, &c), c, w.c[1]);
}
static long open_receiver(void)
{
    return open_queue(NARU_RECV);
}
static long open_both(void)
{
    return open_queue(NARU_RECV | NARU_SEND);
}
static long open_sender(void)
{
    naru_channel *c = POISON;
    return KEPT(naru_queue_open(naru_url(w.c[1]), NARU_SEND, NULL, &c), c, w.c[0]);
}
static long open_topic(void)
{
    naru_channel *c = POISON;
    return KEPT(naru_topic_open("udp://239.255.77.4%lo:50774", NARU_SEND | NARU_RECV, NULL, &c), c,
                w.c[1]);
}

static long sent(long r, const char *data, long size)
{
    disarm();
    long n = naru_channel_recv(w.c[1], 0, buffer, LARGE, NULL, r < 0 ? NARU_NOWAIT : PATIENCE);
    wrong_if(r < 0 && n >= 0, "what failed to be sent arrived");
    wrong_if(r >= 0 && (n != size || memcmp(buffer, data, (size_t)n) != 0),
             "what was sent is not there");
    return r;
}
static long send_small(void)
{
    return sent(naru_channel_send(w.c[0], 1, "message", 7, soon), "message", 7);
}
static long send_vector(void)
{
    const struct iovec pieces[] = {{"mes", 3}, {"sage", 4}};
    return sent(naru_channel_send_vector(w.c[0], 1, pieces, 2, soon), "message", 7);
}
static long send_to_nobody(void)
{
    long r = naru_channel_send(w.c[0], 1, "message", 7, in_vain);
    wrong_if(r >= 0 && w.form != UDP && w.form != TCP, "it was sent");
    return r == -ECONNREFUSED || r == -EPIPE || r == -ETIMEDOUT ? 0 : r;
}

static long received(long r, const char *got, const char *data, long size)
{
    disarm();
    wrong_if(r >= 0 && (r != size || memcmp(got, data, (size_t)size) != 0), "another message came");
    int64_t timeout = w.form & (TCP | UDP) ? PATIENCE : NARU_NOWAIT; /* else it is there by now */
    if (r < 0 && r != -EMSGSIZE)
        wrong_if(naru_channel_recv(w.c[1], 0, buffer, LARGE, NULL, timeout) != size ||
                     memcmp(buffer, data, (size_t)size) != 0,
                 "a message is lost");
    return r;
}
static long recv_small(void)
{
    static char got[100];
    return received(naru_channel_recv(w.c[1], 0, got, sizeof got, NULL, soon), got, "message", 7);
}
static long recv_large(void)
{
    static char got[LARGE];
    return received(naru_channel_recv(w.c[1], 0, got, LARGE, NULL, PATIENCE), got, large, LARGE);
}
static long recv_nothing(void)
{
    char byte;
    long r = naru_channel_recv(w.c[1], 0, &byte, 1, NULL, in_vain);
    wrong_if(r >= 0, "something came");
    return r == -ETIMEDOUT ? 0 : r;
}
static long take_message(void)
{
    struct naru_message m = {.data = POISON};
    long r = naru_channel_take(w.c[1], 0, soon, &m);
    wrong_if(r < 0 && m.data != POISON, "an out-parameter was touched");
    if (r < 0)
        return received(r, NULL, "message", 7);
    disarm();
    wrong_if(m.size != 7 || memcmp(m.data, "message", 7) != 0, "another message came");
    need(naru_channel_release(w.c[1], &m, 1));
    return r;
}
static long flush_channel(void)
{
    long r = naru_channel_flush(w.c[0], soon);
    return r == (w.form == UDP ? -EOPNOTSUPP : -1) ? 0 : r;
}
static long shutdown_channel(void)
{
    return naru_channel_shutdown(w.c[0]);
}
static long channel_descriptor(void)
{
    long fd = naru_fd(w.c[1]);
    if (fd < 0)
        return fd;
    long r = naru_channel_recv(w.c[1], 0, buffer, 1, NULL, NARU_NOWAIT);
    return r == -EAGAIN ? 0 : r;
}
static long sender_descriptor(void)
{
    long fd = naru_fd(w.c[0]);
    return fd < 0 ? fd : naru_want(w.c[0], NARU_OUT);
}
static long remove_name(void)
{
    long r = naru_remove(w.url);
    disarm();
    wrong_if(r >= 0 && access(w.path, F_OK) == 0, "it is there still");
    return r;
}

static const struct operation {
    const char *name;
    void (*prepare)(void);
    long (*run)(void);
    int forms;
    bool creates; /* a file, if the form has one */
} operations[] = {
    {"stream listen", nothing, listen_stream, STREAMS, true},
    {"stream listen, stale file", stale, listen_stream, UNIX, false},
    {"stream open", listening, open_stream, STREAMS, false},
    {"stream accept", dialled, accept_stream, STREAMS, false},
    {"stream accept, nobody", listening, accept_nobody, STREAMS, false},
    {"stream pair", nothing, pair_stream, UNIX, false},
    {"stream write", streams, write_stream, STREAMS, false},
    {"stream read", streams_with_bytes, read_stream, STREAMS, false},
    {"stream flush", streams, flush_stream, STREAMS, false},
    {"stream shutdown", streams, shutdown_stream, STREAMS, false},
    {"stream send_fds", stream_pair_made, pass_descriptor, UNIX, false},
    {"stream peer", streams, peer, STREAMS, false},
    {"stream stats", streams, stream_stats, STREAMS, false},
    {"stream naru_fd", streams, stream_descriptor, STREAMS, false},
    {"channel listen", nothing, listen_channel, CONNECTIONS, true},
    {"channel listen, stale file", stale, listen_channel, PACKET, false},
    {"channel connect", channel_listening, connect_channel, CONNECTIONS, false},
    {"channel accept", channel_dialled, accept_channel, CONNECTIONS, false},
    {"channel pair", nothing, pair_channel, UNIX | PACKET | SHM, false},
    {"queue open recv", nothing, open_receiver, DGRAM | UDP, true},
    {"queue open recv, stale file", stale, open_receiver, DGRAM, false},
    {"queue open send", queue_receives, open_sender, DGRAM | UDP, false},
    {"queue open both", nothing, open_both, DGRAM | UDP, true},
    {"topic open", nothing, open_topic, UDP, false},
    {"send", ends, send_small, CONNECTIONS | DGRAM | UDP, false},
    {"send vector", ends, send_vector, CONNECTIONS | DGRAM | UDP, false},
    {"send, receiver gone", receiver_gone, send_to_nobody, CONNECTIONS | DGRAM | UDP, false},
    {"send, nobody yet", sender_apart, send_to_nobody, DGRAM, false},
    {"recv", ends_with_message, recv_small, CONNECTIONS | DGRAM | UDP, false},
    {"recv large", ends_with_large, recv_large, CONNECTIONS | DGRAM, false},
    {"recv, nothing", ends, recv_nothing, CONNECTIONS | DGRAM | UDP, false},
    {"take", ends_with_message, take_message, CONNECTIONS | DGRAM | UDP, false},
    {"send_fds", ends, send_descriptors, UNIX | SHM, false},
    {"recv_fds", ends_with_descriptors, recv_descriptors, UNIX | SHM, false},
    {"recv of one with descriptors", ends_with_descriptors, recv_without_descriptors, UNIX | SHM,
     false},
    {"flush", ends, flush_channel, CONNECTIONS | DGRAM, false},
    {"shutdown", ends, shutdown_channel, CONNECTIONS, false},
    {"naru_fd", ends, channel_descriptor, CONNECTIONS | DGRAM | UDP, false},
    {"naru_fd of a sender apart", sender_apart, sender_descriptor, DGRAM, false},
    {"remove", stale, remove_name, UNIX | PACKET | DGRAM, false},
};

/* ---- the sweep ---- */

static void clean_up(void)
{
    for (int i = 0; i < 2; i++) {
        naru_stream_close(w.s[i]);
        naru_channel_close(w.c[i]);
    }
    naru_stream_listener_close(w.sl);
    naru_channel_listener_close(w.cl);
    if (w.path[0])
        unlink(w.path);
}

/* One point. False: there is no such call any more. */
static bool point(const struct operation *o, int form, int at, int code, bool for_ever,
                  long *ret_points)
{
    int before = open_descriptors();
    char why[300];
    memset(&w, 0, sizeof w);
    wrong = NULL;
    name_it(form);
    o->prepare();
    soon = at < 0 ? PATIENCE : 2 * NARU_MS;
    *hook = (struct hook){.at = at, .code = code, .for_ever = for_ever};
    alarm(3 * PATIENCE / NARU_S);
    arm();
    long r = o->run();
    disarm();
    alarm(0);
    snprintf(why, sizeof why, "%s", naru_why());
    wrong_if(r < 0 && !*why, "no sentence");
    wrong_if(r < -4095, "no errno");
    wrong_if(hook->unlisted, "a call that the table has no errno for");
    wrong_if(r < 0 && o->creates && w.path[0] && !hook->removal_failed && access(w.path, F_OK) == 0,
             "a file that the failed call created is left");
    clean_up();
    wrong_if(open_descriptors() != before, "descriptors leaked");
    bool reached = hook->count > at, counts = at >= 0 && reached && !hook->missed;
    *ret_points += counts;
    wrong_if(at < 0 && r < 0, "it fails by itself");
    if (wrong && (counts || at < 0)) {
        print_message("# %s %s: call %d (%s), errno number %d%s, result %ld: %s; \"%s\"\n", w.url,
                      o->name, at, hook->call, code, for_ever ? ", for ever" : "", r, wrong, why);
        fail();
    }
    return at < 0 ? hook->count > 0 : reached;
}

static void sweep(void **state)
{
    const struct operation *o = *state;
    for (int form = UNIX; form <= SHM; form *= 2) {
        long points = 0;
        if (!(o->forms & form))
            continue;
        bool calls = point(o, form, -1, 0, false, &points);
        for (int mode = 0; mode < 2 && calls; mode++)
            for (int at = 0, reached = 1; reached; at++)
                for (int code = reached = 0; code < CODES_MAX && at < CALLS_MAX;
                     code = next_code(code))
                    reached |= point(o, form, at, code, mode == 1, &points);
        print_message("# %.20s %s: %ld points\n", w.url, o->name, points);
        assert_true(points > 0 || form == SHM); /* which needs no call to send or receive */
    }
}

int main(int argc, char **argv) /* all operations, or those whose name fits the pattern given */
{
    enum { N = sizeof operations / sizeof *operations };
    static struct CMUnitTest tests[N];
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (char)(i * 2654435761u >> 13);
    for (size_t i = 0; i < N; i++) {
        const struct operation *o = &operations[i];
        tests[i] = (struct CMUnitTest){o->name, sweep, NULL, NULL, (void *)(uintptr_t)o};
    }
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
