/* SPDX-License-Identifier: MIT */
/* hostile-waiting.c - wake-ups that must not get lost, and none that never stop: two threads inside
 * one handle, somebody cancelling, a foreign epoll loop. Each test is named after the failure. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "patience.h"

#include "transport/common/frame.h"

#include <naru/naru.h>

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NARU_S + t.tv_nsec;
}

static char *fifo_url(void)
{
    static int number;
    static char url[256];
    const char *directory = getenv("TMPDIR");
    snprintf(url, sizeof url, "fifo:%s/waiting-%d-%d", directory ? directory : "/tmp", getpid(),
             number++);
    return url;
}

/* An end of a connection whose other end is bare descriptors: {what it writes, what it reads}. */
static naru_channel *raw_connection(int ret_raw[2])
{
    int to[2], from[2];
    char text[64];
    naru_channel *c;
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    snprintf(text, sizeof text, "channel:pipe:%d:%d", to[0], from[1]);
    setenv("NARU_FD_raw", text, 1);
    assert_int_equal(naru_channel_inherit("raw", NULL, &c), 0);
    ret_raw[0] = from[0];
    ret_raw[1] = to[1];
    return c;
}

static size_t greeting_and_message(uint8_t *bytes)
{
    const struct naru_hello hello = {FRAME_VERSION, FRAME_HEADER, 1, 0, NARU_MESSAGE_MAX};
    naru__hello_encode(&hello, bytes);
    size_t n = FRAME_HEADER + FRAME_HELLO_SIZE;
    naru__frame_encode(
        &(struct naru_frame){.kind = FRAME_WHOLE, .type = 1, .size = 3, .sequence = 1}, bytes + n);
    memcpy(bytes + n + FRAME_HEADER, "now", 3);
    return n + FRAME_HEADER + 3;
}

static uint64_t sleeps(void *handle)
{
    struct naru_stats stats = {.size = sizeof stats};
    assert_int_equal(naru_stats(handle, &stats), 0);
    return stats.sleeps;
}

static bool readable(int fd, int ms)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, ms) == 1;
}

struct job {
    naru_channel *channel;
    int64_t timeout;
    ssize_t result;
    atomic_int stop;
};

static void *receives(void *context)
{
    struct job *job = context;
    char buf[16];
    job->result = naru_channel_recv(job->channel, 0, buf, sizeof buf, NULL, job->timeout);
    return NULL;
}

static void *sends(void *context)
{
    struct job *job = context;
    job->result = naru_channel_send(job->channel, 1, "x", 1, job->timeout);
    return NULL;
}

/* The sender, looking for the greeting, takes the message out of the kernel that the receiver
 * sleeps for. */
static void sender_takes_what_the_receiver_sleeps_for(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        int raw[2];
        uint8_t bytes[256];
        naru_channel *c = raw_connection(raw);
        struct job in = {.channel = c, .timeout = 2 * PATIENCE}, out = in;
        int64_t start = now();
        pthread_t reader, writer;
        pthread_create(&reader, NULL, receives, &in);
        pthread_create(&writer, NULL, sends, &out);
        usleep(round % 2 ? 300 : 50);
        size_t n = greeting_and_message(bytes);
        assert_int_equal(write(raw[1], bytes, n), n);
        pthread_join(writer, NULL);
        pthread_join(reader, NULL);
        naru_channel_close(c);
        close(raw[0]);
        close(raw[1]);
        assert_int_equal(out.result, 0);
        assert_int_equal(in.result, 3);
        assert_true(now() - start < PATIENCE); /* a lost wake-up is found at the deadline */
    }
}

static void *cancels(void *context)
{
    struct job *job = context;
    while (!atomic_load(&job->stop))
        naru_cancel(job->channel);
    return NULL;
}

/* A cancellation that was noticed before its eventfd was written leaves that readable. */
static void late_signal_of_a_cancel_keeps_waking(void **state)
{
    (void)state;
    naru_channel *a, *b;
    char buf[8];
    struct job job[2] = {{0}};
    pthread_t thread[2];
    assert_int_equal(naru_channel_pair("pipe:", NULL, &a, &b), 0);
    assert_int_equal(naru_channel_recv(b, 0, buf, sizeof buf, NULL, NARU_MS), -ETIMEDOUT);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 2; i++) {
            job[i].channel = b;
            atomic_store(&job[i].stop, 0);
            pthread_create(&thread[i], NULL, cancels, &job[i]);
        }
        for (int i = 0; i < 300; i++) {
            ssize_t r = naru_channel_recv(b, 0, buf, sizeof buf, NULL, 100 * NARU_US);
            assert_true(r == -ECANCELED || r == -ETIMEDOUT);
        }
        for (int i = 0; i < 2; i++) {
            atomic_store(&job[i].stop, 1);
            pthread_join(thread[i], NULL);
        }
        (void)naru_channel_recv(b, 0, buf, sizeof buf, NULL, NARU_US); /* takes the sticky one */
        uint64_t before = sleeps(b);
        assert_int_equal(naru_channel_recv(b, 0, buf, sizeof buf, NULL, 5 * NARU_MS), -ETIMEDOUT);
        assert_true(sleeps(b) - before < 8);
    }
    naru_channel_close(a);
    naru_channel_close(b);
}

/* In a foreign loop every call is made with NARU_NOWAIT. */
static void cancel_in_a_foreign_loop_is_noticed_once(void **state)
{
    (void)state;
    naru_channel *a, *b;
    char buf[8];
    assert_int_equal(naru_channel_pair("pipe:", NULL, &a, &b), 0);
    while (naru_channel_recv(b, 0, buf, sizeof buf, NULL, NARU_NOWAIT) >= 0)
        ;
    int fd = naru_fd(b);
    assert_true(fd >= 0);
    assert_false(readable(fd, 0));
    assert_int_equal(naru_cancel(b), 0);
    assert_true(readable(fd, 0));
    assert_int_equal(naru_channel_recv(b, 0, buf, sizeof buf, NULL, NARU_NOWAIT), -ECANCELED);
    assert_int_equal(naru_channel_recv(b, 0, buf, sizeof buf, NULL, NARU_NOWAIT), -EAGAIN);
    assert_false(readable(fd, 0));
    naru_channel_close(a);
    naru_channel_close(b);
}

/* Messages lie in memory, naru_fd says so; then the other thread goes to sleep in a full send. */
static void sleeping_sender_silences_the_descriptor(void **state)
{
    (void)state;
    naru_channel *a, *b;
    char buf[8];
    static char full[4000];
    assert_int_equal(naru_channel_pair("pipe:", NULL, &a, &b), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(naru_channel_send(a, 1, "x", 1, NARU_NOWAIT), 0);
    int fd = naru_fd(b);
    assert_int_equal(naru_channel_recv(b, 0, buf, sizeof buf, NULL, NARU_NOWAIT), 1);
    assert_true(readable(fd, 0)); /* two more, which no descriptor of the kernel's knows of */
    while (naru_channel_send(b, 1, full, sizeof full, NARU_NOWAIT) == 0 ||
           naru_channel_send(b, 1, full, 1, NARU_NOWAIT) == 0)
        ;
    struct job out = {.channel = b, .timeout = 200 * NARU_MS};
    pthread_t writer;
    assert_int_equal(naru_channel_recv(b, 0, buf, sizeof buf, NULL, NARU_NOWAIT), 1);
    assert_true(readable(fd, 0));
    pthread_create(&writer, NULL, sends, &out);
    usleep(50000);
    bool told = readable(fd, 0);
    pthread_join(writer, NULL);
    assert_true(told);
    naru_channel_close(a);
    naru_channel_close(b);
}

struct later {
    const char *url;
    naru_channel *receiver;
};

static void *opens_later(void *context)
{
    struct later *later = context;
    usleep(30000);
    assert_int_equal(naru_queue_open(later->url, NARU_RECV, NULL, &later->receiver), 0);
    return NULL;
}

/* A descriptor closed and opened again in one call gets the same number; the epoll set has
 * forgotten it. */
static void reconnected_sender_is_forgotten_by_the_set(void **state)
{
    (void)state;
    const char *url = fifo_url();
    static char record[4000];
    char buf[4096];
    naru_channel *in, *out;
    struct later later = {.url = url};
    pthread_t thread;
    assert_int_equal(naru_queue_open(url, NARU_RECV, NULL, &in), 0);
    assert_int_equal(naru_queue_open(url, NARU_SEND, NULL, &out), 0);
    assert_int_equal(naru_channel_send(out, 1, "x", 1, NARU_NOWAIT), 0);
    int fd = naru_fd(out);
    assert_int_equal(naru_want(out, NARU_OUT), 0);
    naru_channel_close(in);
    pthread_create(&thread, NULL, opens_later, &later);
    assert_int_equal(naru_channel_send(out, 1, "x", 1, PATIENCE), 0);
    pthread_join(thread, NULL);
    while (naru_channel_send(out, 1, record, sizeof record, NARU_NOWAIT) == 0)
        ;
    assert_false(readable(fd, 20));
    while (naru_channel_recv(later.receiver, 0, buf, sizeof buf, NULL, NARU_NOWAIT) >= 0)
        ;
    assert_true(readable(fd, PATIENCE_MS));
    naru_channel_close(out);
    naru_channel_close(later.receiver);
    assert_int_equal(naru_remove(url), 0);
}

static atomic_int has_gone;

static void *comes_and_goes(void *context)
{
    for (int i = 0; i < 4; i++) {
        usleep(20000);
        int fd = open((const char *)context + strlen("fifo:"), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        usleep(5000);
        close(fd);
    }
    atomic_store(&has_gone, 1);
    return NULL;
}

/* The same at the other end: each writer that leaves makes the reader open afresh. */
static void reopened_reader_is_forgotten_by_the_set(void **state)
{
    (void)state;
    char *url = fifo_url();
    char buf[8];
    naru_stream *in, *out;
    pthread_t thread;
    assert_int_equal(naru_stream_open(url, NARU_READ, NULL, NARU_NOWAIT, &in), 0);
    int fd = naru_fd(in);
    pthread_create(&thread, NULL, comes_and_goes, url);
    bool gone;
    do { /* once more when the last one has left */
        gone = atomic_load(&has_gone);
        assert_int_equal(naru_stream_read(in, buf, sizeof buf, 150 * NARU_MS), -ETIMEDOUT);
    } while (!gone);
    pthread_join(thread, NULL);
    assert_int_equal(naru_stream_open(url, NARU_WRITE, NULL, NARU_NOWAIT, &out), 0);
    assert_false(readable(fd, 0));
    assert_int_equal(naru_stream_write(out, "x", 1, NARU_NOWAIT), 1);
    assert_true(readable(fd, PATIENCE_MS));
    naru_stream_close(out);
    naru_stream_close(in);
    assert_int_equal(naru_remove(url), 0);
}

/* Everything at once, for ThreadSanitizer: a handle of both directions, its two threads, somebody
 * who cancels, somebody who asks for counts, and naru_fd armed. */
struct crowd {
    naru_channel *channel;
    atomic_int stop;
    atomic_long sent, got, cancelled;
};

static void *crowd_sends(void *context)
{
    struct crowd *crowd = context;
    static char data[9000];
    for (int i = 0; !atomic_load(&crowd->stop); i++) {
        int r = naru_channel_send(crowd->channel, 1 + (unsigned)i % 3, data,
                                  i % 50 ? (size_t)i % 100 : sizeof data, NARU_MS);
        atomic_fetch_add(r == 0 ? &crowd->sent : &crowd->cancelled, 1);
    }
    return NULL;
}

static void *crowd_receives(void *context)
{
    struct crowd *crowd = context;
    static _Thread_local char data[9000];
    while (!atomic_load(&crowd->stop)) {
        ssize_t r = naru_channel_recv(crowd->channel, 0, data, sizeof data, NULL, NARU_MS);
        atomic_fetch_add(r >= 0 ? &crowd->got : &crowd->cancelled, 1);
    }
    return NULL;
}

static void *crowd_asks(void *context)
{
    struct crowd *crowd = context;
    for (int i = 0; !atomic_load(&crowd->stop); i++) {
        sleeps(crowd->channel);
        if (i % 4 == 0)
            naru_cancel(crowd->channel);
        usleep(200);
    }
    return NULL;
}

static bool all_got_on(struct crowd *crowd)
{
    bool all = true;
    for (int i = 0; i < 2; i++)
        all &= atomic_load(&crowd[i].sent) > 0 && atomic_load(&crowd[i].got) > 0;
    return all;
}

static void run_crowd(naru_channel *one, naru_channel *two)
{
    struct crowd crowd[2] = {{.channel = one}, {.channel = two}};
    void *(*const role[])(void *) = {crowd_sends, crowd_receives, crowd_asks};
    pthread_t threads[6];
    for (int i = 0; i < 2; i++)
        assert_true(naru_fd(crowd[i].channel) >= 0);
    for (int i = 0; i < 6; i++)
        pthread_create(&threads[i], NULL, role[i % 3], &crowd[i / 3]);
    sleep(1);
    for (int64_t end = now() + PATIENCE; !all_got_on(crowd) && now() < end;)
        usleep(1000);
    for (int i = 0; i < 2; i++)
        atomic_store(&crowd[i].stop, 1);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        print_message("# end %d: sent %ld, received %ld, ended otherwise %ld\n", i,
                      atomic_load(&crowd[i].sent), atomic_load(&crowd[i].got),
                      atomic_load(&crowd[i].cancelled));
    }
    assert_true(all_got_on(crowd));
}

static void connection_survives_a_crowd(void **state)
{
    (void)state;
    naru_channel *a, *b;
    assert_int_equal(naru_channel_pair("pipe:", NULL, &a, &b), 0);
    run_crowd(a, b);
    naru_channel_close(a);
    naru_channel_close(b);
}

static void queue_survives_a_crowd(void **state)
{
    (void)state;
    const char *url = fifo_url();
    naru_channel *a, *b;
    assert_int_equal(naru_queue_open(url, NARU_SEND | NARU_RECV, NULL, &a), 0);
    assert_int_equal(naru_queue_open(url, NARU_SEND | NARU_RECV, NULL, &b), 0);
    run_crowd(a, b);
    naru_channel_close(a);
    naru_channel_close(b);
    assert_int_equal(naru_remove(url), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sender_takes_what_the_receiver_sleeps_for),
        cmocka_unit_test(late_signal_of_a_cancel_keeps_waking),
        cmocka_unit_test(cancel_in_a_foreign_loop_is_noticed_once),
        cmocka_unit_test(sleeping_sender_silences_the_descriptor),
        cmocka_unit_test(reconnected_sender_is_forgotten_by_the_set),
        cmocka_unit_test(reopened_reader_is_forgotten_by_the_set),
        cmocka_unit_test(connection_survives_a_crowd),
        cmocka_unit_test(queue_survives_a_crowd),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
