/* SPDX-License-Identifier: MIT */
/* sweep.c - the n-th failure, for every n: each system call and each allocation that an operation
 * makes fails with each errno that the call can give, once and from then on.
 *
 * The operation then succeeds, or returns a negative code with a sentence, leaves its
 * out-parameters alone, leaves no file that it made, and whatever it failed on closes without a
 * leak. What failed to be sent does not arrive, and what failed to be received is still there. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sweep-codes.h"

#include <naru/naru.h>

static const int64_t soon = 5 * NARU_MS;
static const char big_text[] = "a message that is long";
enum { BIG = 1 << 20, LONG = 9000 };
static char big[BIG], buffer[BIG];

/* ---- what the operations work on ---- */

static struct {
    naru_stream *s[2];
    naru_channel *c[2];
    naru_child *child;
    bool sleeps;
    struct naru_message m[4];
    size_t taken;
    void *room;
    int raw[4];
    char path[160], url[176];
    bool cancels; /* SIGALRM is to cancel; else it is the end of a hang */
} w;

static long check_kept(long r, const void *out)
{
    wrong_if(r < 0 && out != POISON, "an out-parameter was touched");
    return r;
}
/* The call first, then the pointer: arguments of a function have no order. */
#define kept(call, pointer)                                                                        \
    __extension__({                                                                                \
        long result_ = (call);                                                                     \
        check_kept(result_, (pointer));                                                            \
    })

static void nothing(void)
{
}

static void stream_pair(int direction, size_t capacity)
{
    struct naru_stream_options o = {sizeof o, .direction = direction, .capacity = capacity};
    need(naru_stream_pair("pipe:", &o, &w.s[0], &w.s[1]));
}

static void two_way(void)
{
    stream_pair(NARU_TWO_WAY, 0);
}

static void two_way_with_bytes(void)
{
    two_way();
    need(naru_stream_write(w.s[0], big_text, sizeof big_text, soon));
}

static void channel_pair(void)
{
    need(naru_channel_pair("pipe:", NULL, &w.c[0], &w.c[1]));
}

static void channel_with_message(void)
{
    channel_pair();
    need(naru_channel_send(w.c[0], 1, big_text, sizeof big_text, soon));
}

static void channel_with_long(void)
{
    struct naru_channel_options o = {sizeof o, .capacity = BIG};
    need(naru_channel_pair("pipe:", &o, &w.c[0], &w.c[1]));
    need(naru_channel_send(w.c[0], 1, big, BIG / 2, soon));
}

static void channel_with_taken(void)
{
    channel_with_message();
    need(naru_channel_take(w.c[1], 0, soon, &w.m[0]));
    w.taken = 1;
}

static void channel_with_room(void)
{
    channel_pair();
    need(naru_channel_reserve(w.c[0], 100, soon, &w.room));
    memset(w.room, 'r', 100);
}

static void queue_names(void)
{
    static int number;
    const char *directory = getenv("TMPDIR");
    snprintf(w.path, sizeof w.path, "%s/sweep-%d-%d", directory ? directory : "/tmp", (int)getpid(),
             number++);
    snprintf(w.url, sizeof w.url, "fifo:%s", w.path);
}

static void queue(void)
{
    queue_names();
    need(naru_queue_open(w.url, NARU_RECV, NULL, &w.c[1]));
    need(naru_queue_open(w.url, NARU_SEND, NULL, &w.c[0]));
}

static void queue_with_message(void)
{
    queue();
    need(naru_channel_send(w.c[0], 1, big_text, sizeof big_text, soon));
}

static void queue_with_long(void)
{
    queue();
    need(naru_channel_send(w.c[0], 1, big, LONG, soon));
}

static void queue_with_company(void) /* another receiver holds the lock that says so */
{
    const struct flock here = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
    queue_with_message();
    w.raw[0] = open(w.path, O_RDWR | O_CLOEXEC);
    need(w.raw[0]);
    need(fcntl(w.raw[0], F_OFD_SETLK, &here));
}

static void queue_of_nobody(void) /* the sender must look for a receiver */
{
    queue_names();
    need(naru_queue_open(w.url, NARU_SEND, NULL, &w.c[0]));
    need(naru_queue_open(w.url, NARU_RECV, NULL, &w.c[1]));
}

static void fifo_there(void)
{
    queue_names();
    assert_int_equal(mkfifo(w.path, 0600), 0);
}

static void fifo_with_reader(void)
{
    fifo_there();
    w.raw[0] = open(w.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(w.raw[0] >= 0);
}

static void fifo_streams(void)
{
    queue_names();
    need(naru_stream_open(w.url, NARU_READ, NULL, NARU_NOWAIT, &w.s[1]));
    need(naru_stream_open(w.url, NARU_WRITE, NULL, NARU_NOWAIT, &w.s[0]));
    need(naru_stream_write(w.s[0], big_text, sizeof big_text, soon));
}

static void fifo_armed(void)
{
    fifo_streams();
    need(naru_fd(w.s[0]));
}

static void fifo_left(void)
{
    fifo_streams();
    need(naru_stream_read(w.s[1], buffer, sizeof buffer, soon));
    w.s[0] = naru_stream_close(w.s[0]);
}

static void fifo_back(void)
{
    fifo_there();
    char back[192];
    snprintf(back, sizeof back, "%s.back", w.path);
    assert_int_equal(mkfifo(back, 0600), 0);
}

static void inherited(const char *noun)
{
    char text[64];
    assert_int_equal(pipe2(w.raw, O_CLOEXEC), 0);
    assert_int_equal(pipe2(w.raw + 2, O_CLOEXEC), 0);
    snprintf(text, sizeof text, "%s:pipe:%d:%d", noun, w.raw[0], w.raw[3]);
    setenv("NARU_FD_end", text, 1);
}

static void inherited_stream(void)
{
    inherited("stream");
}

static void inherited_channel(void)
{
    inherited("channel");
}

static void inherited_and_open(void)
{
    inherited("channel");
    need(naru_channel_inherit("end", NULL, &w.c[0]));
    w.raw[0] = w.raw[3] = -1;
}

static void pairs(void)
{
    two_way();
    channel_pair();
}

static void a_child(void)
{
    need(naru_spawn((char *[]){"true", NULL}, NULL, &w.child));
}
static void a_living_child(void)
{
    need(naru_spawn((char *[]){"sleep", "600", NULL}, NULL, &w.child));
    w.sleeps = true;
}

/* ---- the operations ---- */

static long run_stream_pair(int direction, size_t capacity)
{
    struct naru_stream_options o = {sizeof o, .direction = direction, .capacity = capacity};
    naru_stream *a = POISON, *b = POISON;
    long r = kept(kept(naru_stream_pair("pipe:", &o, &a, &b), a), b);
    if (r == 0) {
        w.s[0] = a;
        w.s[1] = b;
    }
    return r;
}
static long pair_one_way(void)
{
    return run_stream_pair(NARU_ONE_WAY, 0);
}
static long pair_two_way(void)
{
    return run_stream_pair(NARU_TWO_WAY, 0);
}
static long pair_with_capacity(void)
{
    return run_stream_pair(NARU_TWO_WAY, 1 << 18);
}
static long run_channel_pair(void)
{
    struct naru_channel_options o = {sizeof o, .capacity = 1 << 18};
    naru_channel *a = POISON, *b = POISON;
    long r = kept(kept(naru_channel_pair("pipe:", &o, &a, &b), a), b);
    if (r == 0) {
        w.c[0] = a;
        w.c[1] = b;
    }
    return r;
}
static long open_stream(int mode, unsigned flags, int64_t timeout)
{
    struct naru_stream_options o = {sizeof o, .flags = flags, .capacity = 1 << 17};
    naru_stream *s = POISON;
    long r = kept(naru_stream_open(w.url, mode, &o, timeout, &s), s);
    if (r == 0)
        w.s[0] = s;
    return r;
}
static long open_read(void)
{
    return open_stream(NARU_READ, 0, NARU_NOWAIT);
}
static long open_write(void)
{
    return open_stream(NARU_WRITE, 0, NARU_NOWAIT);
}
static long open_both(void)
{
    return open_stream(NARU_READ | NARU_WRITE, 0, NARU_NOWAIT);
}
static long open_single(void)
{
    return open_stream(NARU_READ | NARU_WRITE, NARU_SINGLE, NARU_NOWAIT);
}
static long open_waiting(void)
{
    long r = open_stream(NARU_WRITE, 0, soon);
    wrong_if(r == 0 && access(w.path, F_OK) != 0, "nothing was opened");
    return r;
}
static long open_owned(void)
{
    struct naru_stream_options o = {sizeof o, .owner = 65534, .group = 65534, .mode = 0640};
    naru_stream *s = POISON;
    long r = kept(naru_stream_open(w.url, NARU_READ, &o, NARU_NOWAIT, &s), s);
    if (r == 0)
        w.s[0] = s;
    return r;
}
static long stream_read(void)
{
    memset(buffer, 'p', sizeof big_text);
    long r = naru_stream_read(w.s[1], buffer, sizeof buffer, soon);
    if (r < 0) { /* the bytes are still there */
        disarm();
        r = naru_stream_read(w.s[1], buffer, sizeof buffer, soon) < 0
                ? (wrong_if(true, "bytes were lost"), r)
                : r;
        return r;
    }
    wrong_if(memcmp(buffer, big_text, sizeof big_text) != 0, "wrong bytes");
    return r;
}
static long stream_read_late(void)
{
    long r = naru_stream_read(w.s[1], buffer, sizeof buffer, soon);
    return r == -ETIMEDOUT ? 0 : r;
}
static long stream_write(void)
{
    return naru_stream_write(w.s[0], big_text, sizeof big_text, soon);
}
static long stream_read_all(void)
{
    size_t done = 77777;
    long r = naru_stream_read_all(w.s[1], buffer, sizeof big_text, soon, &done);
    wrong_if(done > sizeof big_text, "ret_done is not written");
    return r;
}
static long stream_write_all(void)
{
    size_t done = 7777777;
    long r = naru_stream_write_all(w.s[0], big, BIG, soon, &done); /* more than the pipe holds */
    wrong_if(done > BIG, "ret_done is not written");
    return r == -ETIMEDOUT ? 0 : r;
}
static long stream_flush(void)
{
    long r = naru_stream_flush(w.s[0], soon); /* nobody takes it */
    return r == -ETIMEDOUT ? 0 : r;
}
static long stream_shutdown(void)
{
    return naru_stream_shutdown(w.s[0], NARU_READ | NARU_WRITE);
}

static long stream_shutdown_write(void)
{
    return naru_stream_shutdown(w.s[0], NARU_WRITE);
}

/* If it did not go nothing of it arrives; either way the next one does. */
static void check_sent(long r, size_t size)
{
    disarm();
    size_t got = 0;
    if (naru_channel_send(w.c[0], 2, "next", 4, soon) < 0)
        return; /* closed for good: that is a clean end too */
    for (int i = 0; i < 200; i++) {
        struct naru_info info;
        long n = naru_channel_recv(w.c[1], 0, buffer, sizeof buffer, &info, 20 * soon);
        if (n < 0 || info.type == 2) {
            wrong_if(n < 0, "the next message does not arrive");
            break;
        }
        got++;
        wrong_if((size_t)n != size || memcmp(buffer, big, size) != 0,
                 "a part of a message arrived");
    }
    wrong_if(got != (size_t)r,
             r ? "what was sent did not arrive" : "what failed to be sent arrived");
}
static long send_size(size_t size)
{
    long r = naru_channel_send(w.c[0], 1, big, size, soon);
    check_sent(r == 0, size);
    return r == -ETIMEDOUT && size > 65536 ? 0 : r;
}
static long send_small(void)
{
    return send_size(100);
}
static long send_medium(void)
{
    return send_size(3000);
}
static long send_long(void)
{
    return send_size(LONG);
}
static long send_mebibyte(void)
{
    return send_size(BIG);
}
static long send_vector(void)
{
    struct iovec pieces[200];
    for (size_t i = 0; i < 200; i++)
        pieces[i] = (struct iovec){big + 10 * i, 10};
    long r = naru_channel_send_vector(w.c[0], 1, pieces, 200, soon);
    check_sent(r == 0, 2000);
    return r;
}
static long send_many_of(size_t size)
{
    struct naru_message m[40];
    for (size_t i = 0; i < 40; i++)
        m[i] = (struct naru_message){.data = big, .size = size, .info.type = 1};
    long r = naru_channel_send_many(w.c[0], m, 40, soon);
    check_sent(r < 0 ? 0 : r, size);
    return r;
}
static long send_many(void)
{
    return send_many_of(100);
}
static long send_many_long(void)
{
    return send_many_of(1000);
}
static long commit(void)
{
    memcpy(w.room, big, 100);
    struct itimerval later = {.it_value.tv_usec = 20000}, never = {{0, 0}, {0, 0}};
    w.cancels = true;
    setitimer(ITIMER_REAL, &later, NULL); /* commit waits for ever: somebody cancels */
    long r = naru_channel_commit(w.c[0], w.room, 100, 1);
    setitimer(ITIMER_REAL, &never, NULL);
    w.room = NULL;
    check_sent(r == 0, 100);
    return r;
}
static long reserve(void)
{
    void *room = POISON;
    long r = kept(naru_channel_reserve(w.c[0], 100, soon, &room), room);
    if (r == 0)
        naru_channel_abandon(w.c[0], room);
    return r;
}

/* A message that failed to be received is received by the next call. */
static long recv_size(const char *expected, size_t size)
{
    struct naru_info info;
    memset(&info, 0x5a, sizeof info);
    const struct naru_info before = info;
    long r = naru_channel_recv(w.c[1], 1, buffer, sizeof buffer, &info, soon);
    wrong_if(r < 0 && memcmp(&info, &before, sizeof info) != 0, "ret_info was touched");
    disarm();
    long n = r < 0 ? naru_channel_recv(w.c[1], 1, buffer, sizeof buffer, &info, 20 * soon) : r;
    wrong_if(n != (long)size || memcmp(buffer, expected, size) != 0, "the message was lost");
    return r;
}
static long recv_small(void)
{
    return recv_size(big_text, sizeof big_text);
}
static long recv_any(void)
{
    memset(buffer, 0, sizeof big_text);
    long r = naru_channel_recv(w.c[1], 0, buffer, sizeof buffer, NULL, soon);
    disarm();
    long n = r < 0 ? naru_channel_recv(w.c[1], 0, buffer, sizeof buffer, NULL, 20 * soon) : r;
    wrong_if(n != sizeof big_text || memcmp(buffer, big_text, sizeof big_text) != 0,
             "the message was lost");
    return r;
}
static long recv_half(void)
{
    return recv_size(big, BIG / 2);
}
static long recv_long(void)
{
    return recv_size(big, LONG);
}
static long recv_too_small(void)
{
    struct naru_info info;
    long r = naru_channel_recv(w.c[1], 0, buffer, 3, &info, soon);
    wrong_if(r >= 0, "it cannot fit");
    disarm();
    long n = naru_channel_recv(w.c[1], 0, buffer, sizeof buffer, &info, 20 * soon);
    wrong_if(n != sizeof big_text, "the message was lost");
    return r == -EMSGSIZE ? 0 : r;
}
static long recv_nothing(void)
{
    long r = naru_channel_recv(w.c[1], 5, buffer, sizeof buffer, NULL, soon);
    return r == -ETIMEDOUT ? 0 : r;
}
static long take(void)
{
    struct naru_message m = {.data = POISON};
    long r = kept(naru_channel_take(w.c[1], 0, soon, &m), m.data);
    if (r == 0)
        w.m[w.taken++] = m;
    return r;
}
static long take_many(void)
{
    struct naru_message m[4] = {{.data = POISON}};
    long r = kept(naru_channel_take_many(w.c[1], 0, m, 4, soon), m[0].data);
    for (long i = 0; i < r; i++)
        w.m[w.taken++] = m[i];
    return r;
}
static long release(void)
{
    w.taken = 0;
    return naru_channel_release(w.c[1], w.m, 1);
}
static long give_back(void)
{
    w.taken = 0;
    return naru_channel_return(w.c[1], w.m, 1);
}
static long flush(void)
{
    long r = naru_channel_flush(w.c[0], soon);
    return r == -ETIMEDOUT ? 0 : r;
}
static long shutdown_channel(void)
{
    return naru_channel_shutdown(w.c[0]);
}
static long wait_peers(void)
{
    return naru_channel_wait_peers(w.c[0], 1, soon);
}
static long close_channel(void)
{
    w.c[0] = naru_channel_close(w.c[0]);
    return 0;
}
static long close_stream(void)
{
    w.s[0] = naru_stream_close(w.s[0]);
    return 0;
}
static long queue_opens(int role)
{
    struct naru_queue_options o = {sizeof o, .capacity = 1 << 17, .mode = 0620};
    naru_channel *c = POISON;
    long r = kept(naru_queue_open(w.url, role, &o, &c), c);
    if (r == 0)
        w.c[0] = c;
    return r;
}
static long queue_open_recv(void)
{
    return queue_opens(NARU_RECV);
}
static long queue_open_send(void)
{
    return queue_opens(NARU_SEND);
}
static long queue_open_both(void)
{
    return queue_opens(NARU_SEND | NARU_RECV);
}
static long fd_of(void *handle)
{
    long r = naru_fd(handle);
    disarm();
    wrong_if(r < 0 && naru_fd(handle) < 0, "no descriptor afterwards either");
    return r;
}
static long fd_of_channel(void)
{
    return fd_of(w.c[1]);
}
static long fd_of_queue_sender(void)
{
    return fd_of(w.c[0]);
}
static long fd_of_stream(void)
{
    return fd_of(w.s[1]);
}
static long fd_of_child(void)
{
    return fd_of(w.child);
}
static long want(void)
{
    disarm();
    need(naru_fd(w.c[0]));
    arm();
    return naru_want(w.c[0], NARU_IN | NARU_OUT);
}
static long cancelled_wait(void)
{
    long r = naru_cancel(w.c[1]);
    if (r == 0)
        r = naru_channel_recv(w.c[1], 0, buffer, sizeof buffer, NULL, soon);
    wrong_if(r >= 0, "there is nothing to receive");
    return r == -ECANCELED ? 0 : r;
}
static long stats(void)
{
    struct naru_stats s = {.size = sizeof s};
    return naru_stats(w.c[0], &s);
}
static long inherit_stream(void)
{
    naru_stream *s = POISON;
    long r = kept(naru_stream_inherit("end", &s), s);
    if (r == 0) {
        w.s[0] = s;
        w.raw[0] = w.raw[3] = -1;
    }
    return r;
}
static long inherit_channel(void)
{
    naru_channel *c = POISON;
    long r = kept(naru_channel_inherit("end", NULL, &c), c);
    if (r == 0) {
        w.c[0] = c;
        w.raw[0] = w.raw[3] = -1;
    }
    return r;
}
static long spawn(void)
{
    struct naru_spawn_end ends[] = {{"talk", w.c[0], -1}, {"stdin", w.s[0], -1}};
    struct naru_spawn_options o = {sizeof o, .ends = ends, .n_ends = 2};
    naru_child *child = POISON;
    long r = kept(naru_spawn((char *[]){"true", NULL}, &o, &child), child);
    disarm();
    if (r == 0) {
        w.child = child;
        w.c[0] = NULL;
        w.s[0] = NULL;
    } else { /* the ends are as before */
        wrong_if(naru_channel_send(w.c[0], 1, "x", 1, soon) < 0, "the channel was lost");
        if (!hook->for_ever && !hook->gap) /* else the call that makes it so failed as well */
            wrong_if(naru_stream_read(w.s[0], buffer, 1, NARU_NOWAIT) != -EAGAIN, "it blocks now");
    }
    return r;
}
static long child_wait(void)
{
    struct naru_exit e = {77, 77};
    long r = naru_child_wait(w.child, PATIENCE, &e);
    wrong_if(r < 0 ? e.code != 77 : e.code != 0, "ret_exit");
    return r;
}
static long child_signal(void)
{
    return naru_child_signal(w.child, 0);
}
static long remove_fifo(void)
{
    return naru_remove(w.url);
}

/* In a forked child; the point's state is in shared memory. 1: wrong. */
static long adopt_in_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        arm();
        int r = naru_adopt(w.c[1]);
        bool bad = r > 0 || (r < 0 && !*naru_why());
        disarm();
        int again = naru_adopt(w.c[1]);
        bad |= again < 0 || naru_channel_send(w.c[1], 1, "x", 1, soon) < 0;
        naru_channel_close(w.c[0]);
        naru_channel_close(w.c[1]);
        _exit(bad ? 1 : r < 0 ? 2 : 0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    wrong_if(!WIFEXITED(status) || WEXITSTATUS(status) == 1, "adopt in the child");
    naru__fail_static(0, "told by the child");
    return WIFEXITED(status) && WEXITSTATUS(status) == 2 ? -EIO : 0;
}

static const struct operation {
    const char *name;
    void (*prepare)(void);
    long (*run)(void);
    bool creates; /* a failure must leave nothing at the path */
} operations[] = {
    {"stream pair, one-way", nothing, pair_one_way, false},
    {"stream pair, two-way", nothing, pair_two_way, false},
    {"stream pair with capacity", nothing, pair_with_capacity, false},
    {"channel pair", nothing, run_channel_pair, false},
    {"stream open fifo, read, creates", queue_names, open_read, true},
    {"stream open fifo, write, creates", queue_names, open_write, true},
    {"stream open fifo, two-way, creates", queue_names, open_both, true},
    {"stream open fifo, single, creates", queue_names, open_single, true},
    {"stream open fifo, owner and mode", queue_names, open_owned, true},
    {"stream open fifo, read, there", fifo_there, open_read, false},
    {"stream open fifo, write, waits", fifo_with_reader, open_waiting, false},
    {"stream read pipe", two_way_with_bytes, stream_read, false},
    {"stream read pipe, empty", two_way, stream_read_late, false},
    {"stream write pipe", two_way, stream_write, false},
    {"stream read_all", two_way_with_bytes, stream_read_all, false},
    {"stream write_all, full", two_way, stream_write_all, false},
    {"stream flush pipe", two_way_with_bytes, stream_flush, false},
    {"stream read fifo", fifo_streams, stream_read, false},
    {"stream read fifo, writer left", fifo_left, stream_read_late, false},
    {"stream write fifo", fifo_streams, stream_write, false},
    {"stream flush fifo", fifo_streams, stream_flush, false},
    {"stream shutdown fifo, armed", fifo_armed, stream_shutdown_write, false},
    {"channel send small", channel_pair, send_small, false},
    {"channel send 3000", channel_pair, send_medium, false},
    {"channel send 1 MiB", channel_pair, send_mebibyte, false},
    {"channel send_vector", channel_pair, send_vector, false},
    {"channel send_many small", channel_pair, send_many, false},
    {"channel send_many long", channel_pair, send_many_long, false},
    {"channel reserve", channel_pair, reserve, false},
    {"channel commit", channel_with_room, commit, false},
    {"channel recv", channel_with_message, recv_small, false},
    {"channel recv, 512 KiB", channel_with_long, recv_half, false},
    {"channel recv, buffer too small", channel_with_message, recv_too_small, false},
    {"channel recv, nothing", channel_pair, recv_nothing, false},
    {"channel take", channel_with_message, take, false},
    {"channel take_many", channel_with_message, take_many, false},
    {"channel flush", channel_with_message, flush, false},
    {"queue open recv", queue_names, queue_open_recv, true},
    {"queue open send", queue_names, queue_open_send, true},
    {"queue open both", queue_names, queue_open_both, true},
    {"queue send small", queue, send_small, false},
    {"queue send long", queue, send_long, false},
    {"queue send_vector", queue, send_vector, false},
    {"queue send_many", queue, send_many, false},
    {"queue send, receiver sought", queue_of_nobody, send_small, false},
    {"queue recv", queue_with_message, recv_small, false},
    {"queue recv in company", queue_with_company, recv_any, false},
    {"queue recv long", queue_with_long, recv_long, false},
    {"queue recv, nothing", queue, recv_nothing, false},
    {"queue take", queue_with_message, take, false},
    {"queue flush", queue_with_message, flush, false},
    {"queue wait_peers", queue_of_nobody, wait_peers, false},
    {"naru_fd of a channel", channel_pair, fd_of_channel, false},
    {"naru_fd of a queue", queue_with_message, fd_of_channel, false},
    {"naru_fd of a queue's sender", queue_of_nobody, fd_of_queue_sender, false},
    {"naru_fd of a stream", fifo_streams, fd_of_stream, false},
    {"naru_fd of a child", a_child, fd_of_child, false},
    {"naru_want", channel_pair, want, false},
    {"naru_cancel and wait", channel_pair, cancelled_wait, false},
    {"naru_stats", channel_pair, stats, false},
    {"spawn", pairs, spawn, false},
    {"child wait", a_child, child_wait, false},
    {"child signal", a_living_child, child_signal, false},
    {"channel shutdown, inherited", inherited_and_open, shutdown_channel, false},
    {"channel close, inherited", inherited_and_open, close_channel, false},
    {"stream inherit", inherited_stream, inherit_stream, false},
    {"channel inherit", inherited_channel, inherit_channel, false},
    {"remove", fifo_back, remove_fifo, false},
};

/* Operations that make no call which could fail: said here, so that one that begins to is swept. */
static const struct operation silent[] = {
    {"channel release", channel_with_taken, release, false},
    {"channel return", channel_with_taken, give_back, false},
    {"channel wait_peers", channel_pair, wait_peers, false},
    {"stream close pipe", two_way_with_bytes, close_stream, false},
    {"channel shutdown", channel_with_message, shutdown_channel, false},
    {"channel close", channel_with_message, close_channel, false},
    {"adopt in a forked child", channel_pair, adopt_in_child, false},
    {"stream shutdown pipe", two_way, stream_shutdown, false},
};

/* ---- the sweep ---- */

static void clean_up(void)
{
    char back[192];
    naru_channel_release(w.c[1], w.m, w.c[1] ? w.taken : 0);
    for (int i = 0; i < 2; i++) {
        naru_stream_close(w.s[i]);
        naru_channel_close(w.c[i]);
    }
    if (w.child) {
        int pid = naru_child_pid(w.child);
        if (w.sleeps) /* naru may have been told that it is gone */
            kill(pid, SIGKILL);
        naru_child_wait(w.child, PATIENCE, NULL);
        naru_child_close(w.child);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) /* if naru was told it is gone */
            ;
    }
    for (int i = 0; i < 4; i++)
        if (w.raw[i] > 2)
            close(w.raw[i]);
    unsetenv("NARU_FD_end");
    if (w.path[0]) {
        snprintf(back, sizeof back, "%s.back", w.path);
        unlink(back);
        unlink(w.path);
    }
    memset(&w, 0, sizeof w);
}

static bool left_a_file(void)
{
    char back[192];
    snprintf(back, sizeof back, "%s.back", w.path);
    return access(w.path, F_OK) == 0 || access(back, F_OK) == 0;
}

/* One point. False: there is no such call any more. */
static bool point(const struct operation *o, struct hook fails, long *ret_points)
{
    int at = fails.at;
    int before = open_descriptors();
    memset(&w, 0, sizeof w);
    wrong = NULL;
    o->prepare();
    *hook = fails;
    alarm(3 * PATIENCE / NARU_S);
    arm();
    long r = o->run();
    disarm();
    alarm(0);
    struct hook seen = *hook;
    wrong_if(r < 0 && !*naru_why(), "no sentence");
    wrong_if(r < 0 && r != -EIO && r < -4095, "no errno");
    wrong_if(seen.unlisted, "a call that the table has no errno for");
    wrong_if(r < 0 && r != -ETIMEDOUT && o->creates && !seen.removal_failed && left_a_file(),
             "a file that the failed call created is left");
    char why[256];
    snprintf(why, sizeof why, "%s", naru_why());
    clean_up();
    if (!wrong && open_descriptors() != before)
        wrong = "descriptors leaked";
    bool reached = seen.count > at;
    bool counts = at >= 0 && reached && !seen.missed;
    *ret_points += counts;
    if (wrong && (counts || at < 0)) {
        print_message("# %s: call %d (%s), errno number %d%s, again %d later with number %d, "
                      "result %ld: %s; \"%s\"\n",
                      o->name, at, seen.call, fails.code, fails.for_ever ? ", for ever" : "",
                      fails.gap, fails.second, r, wrong, why);
        return fail(), false;
    }
    if (at < 0 && r < 0) {
        print_message("# %s fails by itself: %ld %s\n", o->name, r, why);
        return fail(), false;
    }
    return at < 0 ? seen.count > 0 : reached;
}

/* Each call, with each of its errnos. */
static void each_call(const struct operation *o, struct hook fails, long *ret_points)
{
    for (int reached = 1; reached && fails.at < CALLS_MAX; fails.at++)
        for (fails.code = reached = 0; fails.code < CODES_MAX; fails.code = next_code(fails.code))
            reached |= point(o, fails, ret_points);
}

/* SWEEP_GAPS, the long form: each failure followed by a second one, up to so many calls later. What
 * cleans up after the first must stand it too. */
static void sweep(void **state)
{
    const struct operation *o = *state;
    const char *gaps = getenv("SWEEP_GAPS");
    long points = 0;
    if (point(o, (struct hook){.at = -1}, &points)) {
        each_call(o, (struct hook){0}, &points);
        each_call(o, (struct hook){.for_ever = true}, &points);
        for (int gap = 1; gaps && gap <= atoi(gaps); gap++)
            for (int second = 0; second < SECONDS_MAX; second++)
                each_call(o, (struct hook){.gap = gap, .second = second}, &points);
    }
    print_message("# %s: %ld points\n", o->name, points);
    bool expected = !(o >= silent && o < silent + sizeof silent / sizeof *silent);
    assert_int_equal(points > 0, expected);
}

static void cancel_it(int number)
{
    (void)number;
    if (!w.cancels)
        abort();
    naru_cancel(w.c[0]);
}

int main(int argc, char **argv) /* all operations, or those whose name fits the pattern given */
{
    enum { N = sizeof operations / sizeof *operations, M = sizeof silent / sizeof *silent };
    static struct CMUnitTest tests[N + M];
    for (size_t i = 0; i < N + M; i++) {
        const struct operation *o = i < N ? &operations[i] : &silent[i - N];
        tests[i] = (struct CMUnitTest){o->name, sweep, NULL, NULL, (void *)(uintptr_t)o};
    }
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)(i * 2654435761u >> 13);
    hook = mmap(NULL, sizeof *hook, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = {.sa_handler = cancel_it};
    sigaction(SIGALRM, &action, NULL);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
