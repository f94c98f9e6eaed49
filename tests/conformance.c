/* SPDX-License-Identifier: MIT */
/* conformance.c - one suite over every transport and shape: each row of `shapes` runs every case
 * that its capabilities allow. Prints the matrix at the end. */
#include "harness.h"
#include "shapes.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static bool socket_shape(void)
{
    return shape->can & (CONNECTS | BOUND) || strncmp(shape->url, "unix", 4) == 0;
}

static void begin(size_t max_message, size_t stash, unsigned max_taken)
{
    e = (struct ends){0};
    shape->open(&e, max_message, stash, max_taken);
}

static void close_ends(void)
{
    naru_stream_close(e.s_out);
    naru_stream_close(e.s_in);
    naru_channel_close(e.out);
    naru_channel_close(e.in);
    naru_stream_listener_close(e.s_listener);
    naru_channel_listener_close(e.listener);
}

static void remove_name(void)
{
    if (shape->can & NAMED)
        expect_ok(naru_remove(test_url(shape->url)));
}

static void finish(void)
{
    close_ends();
    remove_name();
}

static void *in_handle(void)
{
    return shape->can & STREAM ? (void *)e.s_in : (void *)e.in;
}

static void fill(unsigned char *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)((i * 2654435761u + seed) >> 13);
}

/* Sends n bytes, as bytes or as one message. */
static int put(const void *p, size_t n, int64_t timeout)
{
    if (shape->can & CHANNEL)
        return naru_channel_send(e.out, 1, p, n, timeout);
    return naru_stream_write_all(e.s_out, p, n, timeout, NULL);
}

/* Of the types that a case would use, datagrams have 1. */
static uint32_t type_of(uint32_t type)
{
    return shape->can & RAW ? 1 : type;
}

static ssize_t get(void *p, size_t n, int64_t timeout)
{
    if (shape->can & CHANNEL)
        return naru_channel_recv(e.in, 0, p, n, NULL, timeout);
    int r = naru_stream_read_all(e.s_in, p, n, timeout, NULL);
    return r < 0 ? r : (ssize_t)n;
}

/* ---- cases for all ---- */

static const size_t sizes[] = {0,    1,    4063,  4064,  4065,  4095,    4096,
                               4097, 8192, 65535, 65536, 65537, 1 << 20, 16 << 20};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* All, or those that a message queue of the kernel's takes with the limits as they come. */
static unsigned size_count(void)
{
    return shape->can & (STREAM | FRAMED) ? SIZES : 9;
}

static void flush(void)
{
    if (shape->can & STREAM)
        expect_ok(naru_stream_flush(e.s_out, PATIENCE));
    else
        expect_code(shape->can & LOSES ? -EOPNOTSUPP : 0, naru_channel_flush(e.out, PATIENCE));
}

static void send_sizes(void *unused)
{
    unsigned char *p = malloc(16 << 20);
    (void)unused;
    open_sender();
    for (unsigned i = 0; i < size_count(); i++) {
        fill(p, sizes[i], i);
        expect_ok(put(p, sizes[i], PATIENCE));
    }
    flush();
    free(p);
}

/* Every size, from another process. */
static void all_sizes(void)
{
    unsigned char *p = malloc(16 << 20), *want = malloc(16 << 20);
    begin(0, 0, 0);
    pid_t child = start_sender(send_sizes, NULL);
    for (unsigned i = 0; i < size_count(); i++) {
        fill(want, sizes[i], i);
        expect_code((long)sizes[i], get(p, sizes[i], PATIENCE));
        expect(memcmp(p, want, sizes[i]) == 0);
    }
    end_child(child);
    finish();
    free(p);
    free(want);
}

static void send_numbers(void *count)
{
    open_sender();
    for (uint32_t i = 0; i < *(uint32_t *)count; i++)
        expect_ok(put(&i, sizeof i, PATIENCE));
    flush();
}

static void order(void)
{
    uint32_t count = 100000, got;
    begin(0, 0, 0);
    pid_t child = start_sender(send_numbers, &count);
    for (uint32_t i = 0; i < count; i++) {
        expect_code(4, get(&got, sizeof got, PATIENCE));
        expect(got == i);
    }
    end_child(child);
    finish();
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void start_storm(void)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    struct itimerval every = {{0, 100}, {0, 100}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

static void send_numbers_in_storm(void *count)
{
    start_storm(); /* a timer is not inherited */
    send_numbers(count);
}

static void eintr_storm(void)
{
    struct itimerval never = {{0, 0}, {0, 0}};
    uint32_t count = 5000, got;
    begin(0, 0, 0);
    start_storm();
    pid_t child = start_sender(send_numbers_in_storm, &count);
    for (uint32_t i = 0; i < count; i++) {
        expect_code(4, get(&got, sizeof got, PATIENCE));
        expect(got == i);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    end_child(child);
    finish();
}

static void timeouts(void)
{
    char byte;
    begin(0, 0, 0);
    expect_code(-EAGAIN, get(&byte, 1, NARU_NOWAIT));
    int64_t before = test_now();
    expect_code(-ETIMEDOUT, get(&byte, 1, 50 * NARU_MS));
    int64_t took = test_now() - before;
    expect(took >= 50 * NARU_MS && took < PATIENCE);
    expect_ok(put("x", 1, PATIENCE));
    expect_code(1, get(&byte, 1, PATIENCE));
    expect(byte == 'x');
    finish();
}

/* A full medium: the send ends in time, and nothing of it arrives. */
static void full(void)
{
    static unsigned char block[3000];
    uint32_t sent = 0, got = 0;
    begin(0, 0, 0);
    int r;
    int64_t before;
    do { /* again, if the kernel moves some on meanwhile, from buffer to buffer */
        do {
            memcpy(block, &sent, sizeof sent);
            r = shape->can & CHANNEL
                    ? put(block, sizeof block, NARU_NOWAIT)
                    : (int)naru_stream_write(e.s_out, block, sizeof block, NARU_NOWAIT);
            sent += r >= 0;
        } while (r >= 0);
        expect_code(-EAGAIN, r);
        before = test_now();
        r = shape->can & CHANNEL
                ? put(block, sizeof block, 30 * NARU_MS)
                : (int)naru_stream_write(e.s_out, block, sizeof block, 30 * NARU_MS);
        sent += r >= 0;
    } while (r >= 0);
    expect_code(-ETIMEDOUT, r);
    expect(test_now() - before >= 30 * NARU_MS);
    if (shape->can & CHANNEL) {
        for (; got < sent; got++) {
            uint32_t number;
            expect_code((long)sizeof block, get(block, sizeof block, PATIENCE));
            memcpy(&number, block, sizeof number);
            expect(number == got);
        }
        expect_code(-EAGAIN, get(block, sizeof block, NARU_NOWAIT));
        expect_ok(put("on", 2, PATIENCE));
        expect_code(2, get(block, sizeof block, PATIENCE));
    }
    finish();
}

static void *cancel_soon(void *handle)
{
    usleep(30000);
    naru_cancel(handle);
    return NULL;
}

static void on_signal_cancel(int signal)
{
    (void)signal;
    naru_cancel(in_handle());
}

static void cancel(void)
{
    pthread_t thread;
    char byte;
    begin(0, 0, 0);
    expect(pthread_create(&thread, NULL, cancel_soon, in_handle()) == 0);
    expect_code(-ECANCELED, get(&byte, 1, PATIENCE));
    pthread_join(thread, NULL);
    expect_ok(naru_cancel(in_handle())); /* sticky: the next wait ends */
    expect_code(-ECANCELED, get(&byte, 1, PATIENCE));
    expect_code(-ETIMEDOUT, get(&byte, 1, 10 * NARU_MS)); /* and only one */
    struct sigaction action = {.sa_handler = on_signal_cancel};
    struct itimerval once = {{0, 0}, {0, 30000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &once, NULL);
    expect_code(-ECANCELED, get(&byte, 1, PATIENCE));
    expect_ok(put("x", 1, PATIENCE));
    expect_code(1, get(&byte, 1, PATIENCE));
    finish();
}

static char wide_block[3000];

static int readable(void *handle, int ms)
{
    struct pollfd p = {naru_fd(handle), POLLIN, 0};
    expect(p.fd >= 0);
    return poll(&p, 1, ms);
}

static long put_block(void)
{
    return shape->can & CHANNEL
               ? put(wide_block, sizeof wide_block, NARU_NOWAIT)
               : naru_stream_write(e.s_out, wide_block, sizeof wide_block, NARU_NOWAIT);
}

/* Nothing to do: the descriptor does not tell, or is a timer that each -EAGAIN sets again, to 1 ms
 * and rising to 10. */
static void expect_quiet(void *handle)
{
    int woken = 0;
    char byte;
    if (shape->can & WATCHED) {
        expect_code(0, readable(handle, 50));
        return;
    }
    for (int64_t end = test_now() + 100 * NARU_MS; test_now() < end;) {
        woken += readable(handle, 100);
        expect_code(-EAGAIN, handle == in_handle() ? get(&byte, 1, NARU_NOWAIT) : put_block());
    }
    expect(woken >= 1 && woken <= 16); /* a busy machine lets it look less often */
}

static void send_bursts(void *count)
{
    uint32_t total = *(uint32_t *)count;
    open_sender();
    for (uint32_t i = 0; i < total; i++) {
        if (i % 97 == 0)
            usleep(i % 5 * 100);
        expect_ok(put(&i, sizeof i, PATIENCE));
    }
    flush();
}

/* Inside a foreign epoll loop nothing is missed, and nothing turns while there is nothing. */
static void poll_readiness(void)
{
    uint32_t count = 10000, i = 0, got;
    begin(0, 0, 0);
    (void)readable(in_handle(), 0);
    expect_code(-EAGAIN, get(&got, 4, NARU_NOWAIT));
    expect_quiet(in_handle());
    expect_ok(put("abcd", 4, PATIENCE));
    expect_code(1, readable(in_handle(), PATIENCE_MS));
    expect_code(4, get(&got, 4, NARU_NOWAIT));
    expect_code(-EAGAIN, get(&got, 4, NARU_NOWAIT));
    expect_quiet(in_handle());
    pid_t child = start_sender(send_bursts, &count);
    while (i < count) {
        expect_code(1, readable(in_handle(), PATIENCE_MS));
        while (i < count) {
            ssize_t r = get(&got, 4, NARU_NOWAIT);
            if (r == -EAGAIN)
                break;
            expect_code(4, r);
            expect(got == i);
            i++;
        }
    }
    end_child(child);
    finish();
}

static void poll_writing(void)
{
    int went;
    begin(0, 0, 0);
    do { /* TCP makes room again by and by, as acknowledgements come */
        for (went = 0; put_block() >= 0;)
            went++;
        usleep(shape->can & CONNECTS ? 300000 : 0);
    } while (went > 0 && shape->can & CONNECTS);
    expect_ok(naru_want(out_handle(), NARU_OUT));
    (void)readable(out_handle(), 0);
    expect_code(-EAGAIN, put_block());
    expect_quiet(out_handle());
    if (socket_shape()) /* which the kernel calls writable when three quarters are free */
        while (get(wide_block, sizeof wide_block, NARU_NOWAIT) >= 0)
            ;
    else
        for (int i = 0; i < (shape->can & (STREAM | FRAMED) ? 15 : 3); i++)
            expect_code((long)sizeof wide_block, get(wide_block, sizeof wide_block, PATIENCE));
    expect_code(1, readable(out_handle(), PATIENCE_MS));
    if (!(shape->can & BOTH_WAYS))
        expect_code(-EOPNOTSUPP, naru_want(out_handle(), NARU_IN));
    finish();
}

/* Everything answers -ECHILD in a forked child, and closing there hurts nobody. */
static void use_in_child(void *unused)
{
    char byte;
    struct naru_stats stats = {.size = sizeof stats};
    (void)unused;
    expect_code(-ECHILD, get(&byte, 1, NARU_NOWAIT));
    expect_code(-ECHILD, put("x", 1, NARU_NOWAIT));
    expect_code(-ECHILD, naru_fd(in_handle()));
    expect_code(-ECHILD, naru_want(in_handle(), NARU_IN));
    expect_code(-ECHILD, naru_cancel(in_handle()));
    expect_code(-ECHILD, naru_stats(in_handle(), &stats));
    if (shape->can & (NAMED | BOUND))
        expect_code(-EOPNOTSUPP, naru_adopt(in_handle()));
    naru_stream_close(e.s_out);
    naru_stream_close(e.s_in);
    naru_channel_close(e.out);
    naru_channel_close(e.in);
}

static void fork_use(void)
{
    char byte = 0;
    begin(0, 0, 0);
    (void)readable(in_handle(), 0);
    end_child(start_child(use_in_child, NULL));
    expect_code(shape->can & (NAMED | BOUND) ? -EOPNOTSUPP : 0, naru_adopt(in_handle()));
    expect_ok(put("x", 1, PATIENCE));
    expect_code(1, get(&byte, 1, PATIENCE));
    expect(byte == 'x');
    finish();
}

static size_t long_size(void)
{
    return shape->can & (STREAM | FRAMED) ? 100000 : 8000;
}

static void send_for_ever(void *unused)
{
    static unsigned char block[100000];
    (void)unused;
    open_sender();
    if (shape->can & PAIR) {
        naru_stream_close(e.s_in);
        naru_channel_close(e.in);
    }
    for (uint32_t i = 0;; i++) {
        memset(block, (int)(i & 0xff), sizeof block);
        if (put(block, i % 7 ? 100 : long_size(), PATIENCE) < 0)
            return;
    }
}

/* How often what is done again and again is done: a handshake is milliseconds of arithmetic, and
 * under ASan, which looks at memory and not at chance, each time takes longer. */
static int share(int times)
{
#ifdef __SANITIZE_ADDRESS__
    times /= 4;
#endif
    return strncmp(shape->url, "tls:", 4) == 0 ? times / 10 : times;
}

/* The peer is killed at random moments; whole messages, then the end, soon. */
static void killed_peer(void)
{
    static unsigned char block[100000];
    for (int round = 0; round < share(200); round++) {
        begin(0, 0, 0);
        pid_t child = start_sender(send_for_ever, NULL);
        /* from the first bytes on, which say that the child has taken its end */
        int64_t kill_at = 0, killed = 0;
        for (;;) {
            if (!killed && kill_at && test_now() > kill_at) {
                kill(child, SIGKILL);
                waitpid(child, NULL, 0);
                killed = test_now();
            }
            int64_t wait = !killed ? NARU_MS : shape->can & TELLS_DEATH ? PATIENCE : 20 * NARU_MS;
            ssize_t r = shape->can & CHANNEL ? get(block, sizeof block, wait)
                                             : naru_stream_read(e.s_in, block, sizeof block, wait);
            if (killed && r <= 0) {
                expect(test_now() - killed < PATIENCE);
                if (shape->can & CHANNEL)
                    expect_code(!(shape->can & TELLS_DEATH) ? -ETIMEDOUT
                                : shape->can & RAW          ? -EPIPE
                                                            : -ECONNRESET,
                                r);
                else
                    expect_code(strncmp(shape->url, "tls:", 4) == 0 ? -ECONNRESET
                                : shape->can & TELLS_DEATH          ? 0
                                                                    : -ETIMEDOUT,
                                r); /* bytes alone do not tell; TLS says when it has finished */
                break;
            }
            if (r < 0)
                expect_code(-ETIMEDOUT, r);
            else if (!kill_at)
                kill_at = test_now() + (round * 331 % 1000) * INT64_C(10000);
            if (killed) /* it sent that before: the end comes soon after the last */
                killed = test_now();
            if (shape->can & CHANNEL && r > 0) {
                expect(r == 100 || r == (ssize_t)long_size());
                expect(block[0] == block[r - 1] && block[r / 2] == block[0]);
            }
        }
        if (shape->can & (NAMED | BOUND) && shape->can & CHANNEL) { /* the next goes through */
            open_sender();
            expect_ok(put("next", 4, PATIENCE));
            expect_code(4, get(block, sizeof block, PATIENCE));
        }
        finish();
    }
}

/* The two sides of a two-way FIFO are two handles: each such pair has a directory of its own. */
static bool begin_in(int number)
{
    char saved[sizeof test_directory];
    bool own = shape->open == open_two_way || shape->can & LANES; /* which have 256 members */
    memcpy(saved, test_directory, sizeof saved);
    if (own) {
        snprintf(test_directory, sizeof test_directory, "%.100s/%d", saved, number);
        expect(mkdir(test_directory, 0700) == 0);
    }
    begin(0, 0, 0);
    memcpy(test_directory, saved, sizeof saved);
    return own;
}

static void finish_in(int number, bool own)
{
    char saved[sizeof test_directory];
    memcpy(saved, test_directory, sizeof saved);
    if (own)
        snprintf(test_directory, sizeof test_directory, "%.100s/%d", saved, number);
    close_ends();
    if (own) {
        remove_name();
        expect(rmdir(test_directory) == 0);
    }
    memcpy(test_directory, saved, sizeof saved);
}

static void many_handles(void)
{
    enum { N = 500 }; /* pairs: 1 000 handles at once, of up to two descriptors each */
    static struct ends all[N];
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    char saved[sizeof test_directory];
    memcpy(saved, test_directory, sizeof saved);
    if (shape->can & ENDLESS) { /* a journal is synced as it is made: 1 500 wait long for a disk */
        snprintf(test_directory, sizeof test_directory, "/dev/shm/naru-test-XXXXXX");
        expect(mkdtemp(test_directory) != NULL);
        journal_segment = 65536;
    }
    for (int i = 0; i < share(1000); i++) { /* one after the other */
        begin(0, 0, 0);
        finish();
    }
    bool own = false;
    char byte;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < share(N); i++) {
            if (round == 0)
                own = begin_in(i);
            else
                e = all[i];
            all[i] = e;
            expect_ok(put("x", 1, PATIENCE));
            expect_code(1, get(&byte, 1, PATIENCE));
        }
    }
    for (int i = 0; i < share(N); i++) {
        e = all[i];
        finish_in(i, own);
    }
    if (!own)
        remove_name();
    if (shape->can & ENDLESS)
        expect(rmdir(test_directory) == 0);
    memcpy(test_directory, saved, sizeof saved);
    journal_segment = 0;
}

static void bad_arguments(void)
{
    struct naru_stats stats = {.size = 3};
    int number = 0;
    begin(0, 0, 0);
    expect_code(-EINVAL, naru_stats(in_handle(), &stats));
    expect_code(-EINVAL, naru_stats(NULL, &stats));
    expect_code(-EINVAL, naru_fd(&number));
    if (shape->can & STREAM)
        expect_code(-EINVAL,
                    naru_channel_send((naru_channel *)(void *)e.s_out, 1, "x", 1, NARU_NOWAIT));
    else
        expect_code(-EINVAL, naru_stream_write((naru_stream *)(void *)e.out, "x", 1, NARU_NOWAIT));
    expect_code(-EINVAL, put(NULL, 1, NARU_NOWAIT));
    expect_code(-EINVAL, naru_want(in_handle(), 8));
    if (!(shape->can & BOTH_WAYS)) { /* the wrong direction is an error, not undefined */
        struct ends right = e;
        char byte;
        e = (struct ends){
            .s_out = right.s_in, .s_in = right.s_out, .out = right.in, .in = right.out};
        expect_code(-EOPNOTSUPP, put("x", 1, NARU_NOWAIT));
        expect_code(-EOPNOTSUPP, get(&byte, 1, NARU_NOWAIT));
        e = right;
    }
    struct naru_peer peer = {.size = sizeof peer};
    bool tells = socket_shape() || (shape->can & SHARED && !(shape->can & LANES));
    expect_code(tells ? 0 : -EOPNOTSUPP, naru_peer(in_handle(), &peer));
    finish();
}

static void close_in_flight(void)
{
    static unsigned char block[4000];
    int count = shape->can & (STREAM | FRAMED) ? 10 : 4;
    begin(0, 0, 0);
    for (int i = 0; i < count; i++)
        expect_ok(put(block, sizeof block, PATIENCE));
    give_away();
    for (int i = 0; i < count; i++)
        expect_code((long)sizeof block, get(block, sizeof block, PATIENCE));
    if (shape->can & TELLS_DEATH && shape->can & CHANNEL)
        expect_code(-EPIPE, get(block, sizeof block, PATIENCE));
    if (shape->can & TELLS_DEATH && shape->can & STREAM)
        expect_code(0, naru_stream_read(e.s_in, block, sizeof block, PATIENCE));
    if (!(shape->can & TELLS_DEATH)) /* a FIFO's reader survives its writers, as a queue its own */
        expect_code(-ETIMEDOUT, get(block, 1, 10 * NARU_MS));
    finish();
}

/* The reader leaves: an error, never SIGPIPE. */
static void no_reader(void)
{
    char byte;
    begin(0, 0, 0);
    expect_ok(put("x", 1, PATIENCE));
    expect_code(1, get(&byte, 1, PATIENCE));
    naru_stream_close(e.s_in);
    naru_channel_close(e.in);
    e.s_in = NULL;
    e.in = NULL;
    int r = put("x", 1, 50 * NARU_MS);
    for (int64_t end = test_now() + PATIENCE; r == 0 && shape->can & CONNECTS && test_now() < end;)
        r = put("x", 1, 50 * NARU_MS); /* TCP: the first is sent, and answered with a reset */
    if (shape->can & LOSES)            /* the first is answered, the second told */
        r = put("x", 1, 50 * NARU_MS);
    bool keeps = shape->can & CHANNEL && (shape->can & LANES || !(shape->can & (FRAMED | RAW)));
    expect_code(keeps                                        ? 0
                : shape->can & NAMED && shape->can & CHANNEL ? -ETIMEDOUT
                : shape->can & BOUND                         ? -ECONNREFUSED
                                                             : -EPIPE,
                r);
    finish();
}

/* In a child: the receiving end, and the URL where it is to be found. */
static void hold_receiver(void *url)
{
    if (shape->can & PAIR) {
        expect_ok(naru_adopt(in_handle()));
        give_away();
    } else {
        begin(0, 0, 0);
        give_away();
        bool connects = shape->can & CONNECTS;
        const char *where = naru_url(!connects      ? in_handle()
                                     : e.s_listener ? (void *)e.s_listener
                                                    : (void *)e.listener);
        expect(write(*(int *)url, where, strlen(where)) > 0);
        if (connects && shape->can & STREAM) {
            naru_stream_close(e.s_in);
            expect_ok(naru_stream_accept(e.s_listener, PATIENCE, &e.s_in));
        } else if (connects) {
            naru_channel_close(e.in);
            expect_ok(naru_channel_accept(e.listener, PATIENCE, &e.in));
        }
        char byte; /* TLS: whoever is accepted shakes hands in its first calls */
        if (strncmp(shape->url, "tls:", 4) == 0)
            expect((shape->can & STREAM ? get(&byte, 1, PATIENCE) : get(&byte, 0, PATIENCE)) != 0);
    }
    pause();
}

static pid_t start_receiver(void)
{
    int url[2];
    if (shape->can & PAIR)
        begin(0, 0, 0);
    else
        e = (struct ends){0};
    expect(pipe(url) == 0);
    pid_t child = start_child(hold_receiver, &url[1]);
    close(url[1]);
    if (shape->can & PAIR) {
        naru_stream_close(e.s_in);
        naru_channel_close(e.in);
        e.s_in = NULL;
        e.in = NULL;
    } else {
        ssize_t n = read(url[0], listening, sizeof listening - 1);
        expect(n > 0);
        listening[n] = '\0';
        open_sender();
    }
    close(url[0]);
    return child;
}

static _Atomic int64_t killed_at;

static void *kill_soon(void *pid)
{
    usleep(50000);
    killed_at = test_now();
    kill(*(pid_t *)pid, SIGKILL);
    return NULL;
}

/* A sender that waits for room learns of the receiver's death; where messages wait for whoever
 * comes, it waits out its time, and another receiver gets them. */
static void killed_receiver(void)
{
    static char block[3000];
    pthread_t thread;
    pid_t child = start_receiver();
    bool queues = shape->can & NAMED && shape->can & CHANNEL;
    expect(pthread_create(&thread, NULL, kill_soon, &child) == 0);
    int r, after = 0;
    do { /* its time may be over before the other is killed */
        while ((r = put(block, sizeof block, queues ? 200 * NARU_MS : PATIENCE)) == 0 &&
               (after += killed_at != 0) < 1000)
            ;
    } while (r == -ETIMEDOUT && queues && killed_at == 0);
    expect(test_now() - killed_at < PATIENCE);
    pthread_join(thread, NULL);
    waitpid(child, NULL, 0);
    if (shape->can & TOPIC) { /* a dead subscriber holds nobody back */
        expect_code(0, r);
        finish();
        return;
    }
    bool either =
        r == -ECONNRESET && (shape->can & RAW || (shape->can & CONNECTS && shape->can & STREAM));
    expect_code(queues                                        ? -ETIMEDOUT
                : shape->can & BOUND                          ? -ECONNREFUSED
                : shape->can & CHANNEL && !(shape->can & RAW) ? -ECONNRESET
                                                              : -EPIPE,
                either ? -EPIPE : r); /* what was unread makes a socket say reset */
    if (queues) {
        expect_ok(naru_queue_open(test_url(shape->url), NARU_RECV, NULL, &e.in));
        expect_code((long)sizeof block, get(block, sizeof block, PATIENCE));
    } else if (shape->can & (CONNECTS | BOUND) && strchr(shape->url, '%')) {
        expect_ok(naru_remove(listening)); /* the file of one that was killed */
    }
    finish();
}

/* ---- channels ---- */

static void types(void)
{
    struct naru_info info;
    char buf[8];
    begin(0, 0, 0);
    expect_code(-EINVAL, naru_channel_send(e.out, 0, "x", 1, PATIENCE));
    expect_code(-EINVAL, naru_channel_send(e.out, UINT32_C(1) << 31, "x", 1, PATIENCE));
    if (shape->can & RAW) {
        expect_code(-EINVAL, naru_channel_send(e.out, 2, "x", 1, PATIENCE));
        expect_says("type 1");
    }
    uint32_t most = type_of(shape->can & PRIORITY ? 32768 : NARU_TYPE_MAX);
    bool framed = shape->can & FRAMED;
    expect_ok(naru_channel_send(e.out, most, "x", 1, PATIENCE));
    expect_ok(naru_channel_send(e.out, 1, NULL, 0, PATIENCE));
    expect_code(1, naru_channel_recv(e.in, 0, buf, 8, &info, PATIENCE));
    expect(info.type == most && info.sequence == framed && !info.sender == !framed);
    expect_code(0, naru_channel_recv(e.in, 0, NULL, 0, &info, PATIENCE));
    expect(info.type == 1 && info.sequence == (framed ? 2 : 0) && info.size == 0);
    expect_code(-EINVAL, naru_channel_recv(e.in, INT64_C(1) << 41, buf, 8, &info, NARU_NOWAIT));
    finish();
}

static void send_typed_bytes(const char *sequence)
{
    for (const char *p = sequence; *p; p++)
        expect_ok(naru_channel_send(e.out, type_of((uint32_t)(*p - '0')), p, 1, PATIENCE));
}

static void expect_next(int64_t select, uint32_t type)
{
    struct naru_info info;
    char byte;
    expect_code(1, naru_channel_recv(e.in, select, &byte, 1, &info, PATIENCE));
    if (info.type != type || byte != (char)('0' + type))
        test_failed(__FILE__, __LINE__, "type %u came, not %u", info.type, type);
}

static void select_by_type(void)
{
    char byte;
    begin(0, 0, 0);
    if (!(shape->can & SELECT)) {
        expect_ok(put("x", 1, PATIENCE));
        expect_code(-EOPNOTSUPP, naru_channel_recv(e.in, 2, &byte, 1, NULL, PATIENCE));
        expect_says("cannot select by type");
        expect_code(1, get(&byte, 1, PATIENCE)); /* and it stayed */
        finish();
        return;
    }
    send_typed_bytes("3512473");
    expect_next(2, 2);
    expect_next(-4, 1); /* the lowest */
    expect_next(NARU_EXCEPT(3), 5);
    expect_next(-4, 3); /* 3 and 4 and 3 are left of those: the first 3 */
    expect_next(0, 4);
    expect_code(-EAGAIN, naru_channel_recv(e.in, 9, &byte, 1, NULL, NARU_NOWAIT));
    expect_next(3, 3);
    expect_next(0, 7);
    finish();
}

static void stash_bound(void)
{
    static char block[1000];
    char byte[1000];
    begin(0, 4000, 0);
    for (int i = 0; i < 10; i++)
        expect_ok(naru_channel_send(e.out, 1, block, sizeof block, PATIENCE));
    expect_ok(naru_channel_send(e.out, 2, "x", 1, PATIENCE));
    ssize_t r = naru_channel_recv(e.in, 3, byte, 1000, NULL, PATIENCE);
    expect_code(-ENOBUFS, r);
    expect(strstr(naru_why(), ".stash") != NULL);
    for (int i = 0; i < 10; i++)
        expect_code(1000, naru_channel_recv(e.in, 1, byte, 1000, NULL, PATIENCE));
    expect_code(1, naru_channel_recv(e.in, 2, byte, 1000, NULL, PATIENCE));
    finish();
}

static void small_buffer(void)
{
    struct naru_info info;
    char buf[100];
    begin(0, 0, 0);
    expect_ok(naru_channel_send(e.out, type_of(4), "twelve bytes", 12, PATIENCE));
    expect_code(-EMSGSIZE, naru_channel_recv(e.in, 0, buf, 5, &info, PATIENCE));
    expect(info.size == 12);
    expect_code(12,
                naru_channel_recv(e.in, shape->can & SELECT ? 4 : 0, buf, 100, &info, PATIENCE));
    expect(!(info.flags & NARU_REDELIVERED) && memcmp(buf, "twelve bytes", 12) == 0);
    finish();
}

static void take_and_release(void)
{
    struct naru_message m[4], many[8];
    begin(0, 0, 3);
    send_typed_bytes("1234");
    char first = shape->can & PRIORITY ? '4' : '1', step = shape->can & PRIORITY ? -1 : 1;
    for (int i = 0; i < 3; i++)
        expect_ok(naru_channel_take(e.in, 0, PATIENCE, &m[i]));
    expect_code(-ENOBUFS, naru_channel_take(e.in, 0, NARU_NOWAIT, &m[3]));
    expect_ok(naru_channel_release(e.in, &m[1], 1)); /* in any order */
    expect(m[1].data == NULL && *(char *)m[0].data == first &&
           *(char *)m[2].data == first + 2 * step);
    expect_code(-EINVAL, naru_channel_release(e.in, &m[1], 1)); /* twice */
    expect_ok(naru_channel_return(e.in, &m[2], 1));
    expect_ok(naru_channel_return(e.in, &m[0], 1));
    ssize_t n = naru_channel_take_many(e.in, 0, many, 8, PATIENCE);
    if (!(shape->can & FRAMED)) { /* the last is in the kernel still */
        expect_code(2, n);
        expect_ok(naru_channel_take(e.in, 0, PATIENCE, &many[n++]));
    }
    expect_code(3, n);
    expect(*(char *)many[0].data == first && many[0].info.flags & NARU_REDELIVERED);
    expect(*(char *)many[1].data == first + 2 * step && *(char *)many[2].data == first + 3 * step);
    expect(!(many[2].info.flags & NARU_REDELIVERED));
    expect_ok(naru_channel_release(e.in, many, 3));
    finish();
}

static void reservations(void)
{
    void *p, *q;
    char buf[100];
    begin(0, 0, 0);
    expect_ok(naru_channel_reserve(e.out, 50, PATIENCE, &p));
    expect((uintptr_t)p % 16 == 0);
    expect_code(-EBUSY, naru_channel_reserve(e.out, 50, PATIENCE, &q));
    /* it may lie where the next message would go */
    struct naru_message one = {.data = "x", .size = 1, .info.type = 1};
    expect_code(-EBUSY, naru_channel_send(e.out, 1, "x", 1, PATIENCE));
    expect_code(-EBUSY, naru_channel_send_many(e.out, &one, 1, PATIENCE));
    expect_code(-EINVAL, naru_channel_commit(e.out, buf, 5, 1));
    expect_code(-EINVAL, naru_channel_commit(e.out, p, 51, 1));
    memcpy(p, "in place", 8);
    expect_ok(naru_channel_commit(e.out, p, 8, type_of(3)));
    expect_code(
        8, naru_channel_recv(e.in, shape->can & SELECT ? 3 : 0, buf, sizeof buf, NULL, PATIENCE));
    expect_ok(naru_channel_reserve(e.out, shape->can & FRAMED ? 1 << 20 : 8000, PATIENCE, &p));
    expect_ok(naru_channel_abandon(e.out, p));
    expect_code(-EINVAL, naru_channel_abandon(e.out, p));
    expect_code(-EAGAIN, naru_channel_recv(e.in, 0, buf, sizeof buf, NULL, NARU_NOWAIT));
    expect_ok(naru_channel_reserve(e.out, 10, PATIENCE, &p)); /* close frees it */
    finish();
}

static void batches(void)
{
    static struct naru_message m[64], got[64];
    static char data[64][600];
    struct iovec pieces[3] = {{"one ", 4}, {NULL, 0}, {"two", 3}};
    char buf[100];
    bool framed = shape->can & FRAMED;
    unsigned count = framed ? 64 : 10; /* as many as a message queue holds */
    begin(0, 0, 0);
    for (unsigned i = 0; i < count; i++) { /* small and large, mixed */
        memset(data[i], (int)i, sizeof data[i]);
        m[i] = (struct naru_message){
            .data = data[i], .size = i % 3 ? i : 500 + i, .info.type = type_of(100 - i)};
    }
    expect_code(count, naru_channel_send_many(e.out, m, count, PATIENCE));
    for (unsigned i = 0; i < count;) {
        ssize_t n = naru_channel_take_many(e.in, 0, got, 64, PATIENCE);
        expect(n > 0);
        for (ssize_t k = 0; k < n; k++, i++) {
            expect(got[k].size == m[i].size && got[k].info.type == type_of(100 - i) &&
                   got[k].info.sequence == (framed ? i + 1 : 0));
            expect(memcmp(got[k].data, data[i], got[k].size) == 0);
        }
        expect_ok(naru_channel_release(e.in, got, (size_t)n));
    }
    expect_ok(naru_channel_send_vector(e.out, type_of(2), pieces, 3, PATIENCE));
    expect_code(7, naru_channel_recv(e.in, 0, buf, sizeof buf, NULL, PATIENCE));
    expect(memcmp(buf, "one two", 7) == 0);
    static struct iovec many[1000];
    for (int i = 0; i < 1000; i++)
        many[i] = (struct iovec){data[i % 64], 8};
    static char whole[8000];
    expect_ok(naru_channel_send_vector(e.out, type_of(2), many, 1000, PATIENCE));
    expect_code(8000, naru_channel_recv(e.in, 0, whole, sizeof whole, NULL, PATIENCE));
    for (int i = 0; i < 1000; i++)
        expect(memcmp(whole + 8 * i, data[i % 64], 8) == 0);
    finish();
}

static void batch_on_full(void)
{
    static struct naru_message m[1000];
    static char data[600];
    size_t sent = 0, got = 0;
    begin(0, 0, 0);
    for (int i = 0; i < 1000; i++)
        m[i] = (struct naru_message){.data = data, .size = 600, .info.type = 1};
    ssize_t r = naru_channel_send_many(e.out, m, 1000, NARU_NOWAIT);
    expect(r > 0 && r < 1000);
    sent = (size_t)r;
    expect_code(-EAGAIN, naru_channel_send_many(e.out, m, 10, NARU_NOWAIT));
    while (naru_channel_recv(e.in, 0, data, sizeof data, NULL, NARU_NOWAIT) == 600)
        got++;
    expect(got == sent); /* those cut off were given up */
    expect_ok(naru_channel_send(e.out, type_of(7), "after", 5, PATIENCE));
    expect_code(5, naru_channel_recv(e.in, 0, data, sizeof data, NULL, PATIENCE));
    finish();
}

/* A long message given up in the middle leaves nothing; the next ones come whole. */
static void abandoned_long(void)
{
    static unsigned char block[3000000], got[3000000]; /* more than a medium holds */
    const size_t size = shape->can & LANES ? 300000 : sizeof block;
    struct naru_stats stats = {.size = sizeof stats};
    begin(0, 0, 0);
    fill(block, size, 1);
    if (shape->can & LANES) { /* each is whole or was never begun */
        int r, n = 0;
        while ((r = put(block, size, 5 * NARU_MS)) == 0 && n < 100)
            n++;
        expect_code(-ETIMEDOUT, r);
        expect(n >= 2);
        while (n-- > 0) {
            expect_code((long)size, get(got, sizeof got, PATIENCE));
            expect(memcmp(got, block, size) == 0);
        }
        expect_code(-EAGAIN, get(got, sizeof got, NARU_NOWAIT));
        finish();
        return;
    }
    for (int i = 0; i < 5; i++) {
        expect_code(-ETIMEDOUT, put(block, size, 5 * NARU_MS));
        expect_code(-EAGAIN, get(got, sizeof got, NARU_NOWAIT));
        expect_ok(put("short", 5, PATIENCE));
        expect_code(5, get(got, sizeof got, PATIENCE));
    }
    expect_ok(naru_stats(out_handle(), &stats));
    expect(stats.dropped == 5 && stats.sent == 5 && stats.bytes_sent == 25);
    finish();
}

static void too_large(void)
{
    static char block[2000];
    begin(1000, 0, 0);
    expect_code(-EMSGSIZE, put(block, 1001, PATIENCE));
    expect(strstr(naru_why(), "max_message") != NULL);
    expect_ok(put(block, 1000, PATIENCE));
    expect_code(1000, get(block, sizeof block, PATIENCE));
    expect_code(-EMSGSIZE, naru_channel_send(e.out, 1, block, (UINT64_C(1) << 30) + 1, PATIENCE));
    finish();
    begin(50, 0, 0); /* also behind one that is not, in a batch of small ones */
    struct naru_message batch[] = {{.data = block, .size = 50, .info.type = 1},
                                   {.data = block, .size = 51, .info.type = 1}};
    ssize_t went = naru_channel_send_many(e.out, batch, 2, PATIENCE);
    expect(went == 1 || went == -EMSGSIZE); /* by who knows of the limit */
    expect_code(-EMSGSIZE, naru_channel_send_many(e.out, batch + 1, 1, PATIENCE));
    if (went == 1)
        expect_code(50, get(block, sizeof block, PATIENCE));
    expect_ok(put(block, 50, PATIENCE));
    expect_code(50, get(block, sizeof block, PATIENCE));
    if (!(shape->can & FRAMED)) { /* the medium's own limit has a name */
        finish();
        begin(0, 0, 0);
        expect_code(-EMSGSIZE, put(block, 16 << 20, PATIENCE));
        expect_says(shape->can & PRIORITY ? "mq_msgsize"
                    : shape->can & LOSES  ? "UDP datagram"
                    : shape->can & RAW    ? "net.core.wmem_max"
                                          : "kernel.msgmax");
    }
    finish();
}

struct point {
    int32_t x, y;
};
struct place {
    int64_t x;
};
struct wide {
    int32_t x, y, z;
};
NARU_STRUCT(point, 1, struct point)
NARU_STRUCT(place, 1, struct place) /* the same size, another struct */
NARU_STRUCT(wide, 1, struct wide)

static void typed_structs(void)
{
    struct point p = {1, 2}, got = {0, 0};
    struct place other;
    struct wide wide;
    begin(0, 0, 0);
    expect_ok(point_send(e.out, &p, PATIENCE));
    if (shape->can & FRAMED) { /* else bytes as they are: no signature goes with them */
        expect_code(-EPROTO, place_recv(e.in, &other, NULL, PATIENCE));
        expect(strstr(naru_why(), "signature") != NULL);
    }
    expect_code(-EPROTO, wide_recv(e.in, &wide, NULL, PATIENCE));
    expect(strstr(naru_why(), "12 bytes") && strstr(naru_why(), "8 bytes"));
    expect_ok(point_recv(e.in, &got, NULL, PATIENCE)); /* it stayed */
    expect(got.x == 1 && got.y == 2);
    finish();
}

static void flush_and_peers(void)
{
    char byte;
    begin(0, 0, 0);
    expect_code(shape->can & FRAMED ? 0 : -EOPNOTSUPP, naru_channel_wait_peers(e.out, 1, PATIENCE));
    expect_code(shape->can & LANES ? -ETIMEDOUT : -EOPNOTSUPP,
                naru_channel_wait_peers(e.out, 2, 20 * NARU_MS));
    expect_ok(put("x", 1, PATIENCE));
    if (!(shape->can & LOSES))
        expect_code(-ETIMEDOUT, naru_channel_flush(e.out, 20 * NARU_MS));
    expect_code(1, get(&byte, 1, PATIENCE));
    flush();
    int r = naru_channel_shutdown(e.out);
    expect_code(shape->can & (NAMED | BOUND) ? -EOPNOTSUPP : 0, r);
    if (r == 0) {
        expect_code(-EPIPE, get(&byte, 1, PATIENCE));
        expect_code(-EPIPE, put("x", 1, PATIENCE));
    }
    finish();
}

#define LOSS "what is sent too fast is lost"
#define NO_END "a journal is never full"

/* What a case is about it is for: it does not exist for a shape without that. Where it is about
 * something that the shape has, and yet cannot be run, it is skipped, for a reason. */
static const struct {
    const char *name;
    void (*run)(void);
    int about, not_for;
    const char *reason; /* of the skip */
} cases[] = {
    {"sizes", all_sizes, 0, 0, ""},
    {"order of 100 000", order, 0, LOSES, LOSS},
    {"EINTR storm", eintr_storm, 0, LOSES, LOSS},
    {"timeouts", timeouts, 0, 0, ""},
    {"a full medium", full, 0, LOSES | ENDLESS, LOSS},
    {"cancel", cancel, 0, 0, ""},
    {"readiness in a foreign loop", poll_readiness, 0, LOSES, LOSS},
    {"readiness for writing", poll_writing, 0, LOSES | ENDLESS, LOSS},
    {"fork and use in the child", fork_use, 0, 0, ""},
    {"peer killed at random", killed_peer, 0, LOSES, LOSS},
    {"many handles", many_handles, 0, 0, ""},
    {"bad arguments", bad_arguments, 0, 0, ""},
    {"close with data in flight", close_in_flight, 0, 0, ""},
    {"no reader", no_reader, 0, 0, ""},
    {"receiver killed, sender waits", killed_receiver, 0, LOSES | ENDLESS, LOSS},
    {"types", types, CHANNEL, 0, ""},
    {"select by type", select_by_type, CHANNEL, 0, ""},
    {"bounded stash", stash_bound, SELECT | FRAMED, SHARED, "what waits is met late"},
    {"a buffer too small", small_buffer, CHANNEL, 0, ""},
    {"take, release, return", take_and_release, CHANNEL, 0, ""},
    {"reserve, commit, abandon", reservations, CHANNEL, 0, ""},
    {"batches and vectors", batches, CHANNEL, 0, ""},
    {"a batch on a full medium", batch_on_full, CHANNEL, LOSES | ENDLESS, LOSS},
    {"a long message given up", abandoned_long, FRAMED, ENDLESS, ""},
    {"larger than agreed", too_large, CHANNEL, 0, ""},
    {"typed structs", typed_structs, CHANNEL, 0, ""},
    {"flush, peers, shutdown", flush_and_peers, CHANNEL, 0, ""},
};
enum { CASES = sizeof cases / sizeof *cases, SHAPES = sizeof shapes / sizeof *shapes };

int main(int argc, char **argv)
{
    char matrix[CASES][SHAPES];
    make_usual();
    for (int k = 0; k < SHAPES; k++)
        for (int i = 0; i < CASES; i++) {
            char name[160], why[900] = "";
            shape = &shapes[k];
            snprintf(name, sizeof name, "%s: %s", shape->name, cases[i].name);
            matrix[i][k] = ' ';
            if (argc > 1 && !strstr(name, argv[1]))
                continue;
            if ((shape->can & cases[i].about) != cases[i].about)
                continue;
            if (shape->can & cases[i].not_for) {
                tap_skip(name, shape->can & cases[i].not_for & ENDLESS ? NO_END : cases[i].reason);
                matrix[i][k] = '-';
                continue;
            }
            bool ok = run_case(name, cases[i].run, case_seconds(60), why, sizeof why);
            tap_result(ok, name, why);
            matrix[i][k] = ok ? '+' : '!';
        }
    for (int k = 0; k < SHAPES; k++)
        printf("# column %d: %s\n", k + 1, shapes[k].name);
    for (int i = 0; i < CASES; i++) {
        printf("# ");
        for (int k = 0; k < SHAPES; k++)
            printf("%c ", matrix[i][k]);
        printf("%s%s%s\n", cases[i].name, cases[i].reason[0] ? "; - is: " : "", cases[i].reason);
    }
    printf(
        "# + passed, ! failed, - skipped; blank: the shape has nothing that the case is about\n");
    return tap_end();
}
