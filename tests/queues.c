/* SPDX-License-Identifier: MIT */
/* queues.c - queues on `fifo:` while their senders and receivers are killed at random: four
 * senders, two receivers, records of 10 bytes to 200 KiB. What was acknowledged comes once, in each
 * sender's order, whole; what a killed one had in hand may be missing, and nothing else. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <naru/naru.h>

enum {
    SENDERS = 4,
    RECEIVERS = 2,
    RECORDS = 400, /* of one sender's life */
    LIVES = 64,    /* of all senders together */
    LARGEST = 200 << 10,
    WAIT_S = 30
};

struct record {
    uint32_t life, number, size, sum;
};

/* What has happened, in memory that outlives any of them. */
struct log {
    _Atomic uint32_t acknowledged[LIVES]; /* records that send has returned for */
    _Atomic uint8_t received[LIVES][RECORDS];
    _Atomic uint32_t last[RECEIVERS][LIVES]; /* 1 + the last number that this receiver got */
    _Atomic uint32_t wrong, disorder;
    _Atomic bool stop;
};

static struct log *log_;
static char url[256];
static unsigned seed;

static unsigned draw(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 8;
}

static uint32_t sum_of(const uint8_t *p, size_t n)
{
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < n; i += 97)
        sum = (sum ^ p[i]) * 16777619u;
    return sum;
}

static void end_with_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static _Noreturn void sender(unsigned life)
{
    static uint8_t bytes[LARGEST];
    naru_channel *c;
    unsigned state = seed + life;
    end_with_parent();
    if (naru_queue_open(url, NARU_SEND, NULL, &c) < 0)
        _exit(2);
    for (uint32_t i = 0; i < RECORDS; i++) {
        size_t most = draw(&state) % 4 ? 2000 : LARGEST - sizeof(struct record);
        struct record r = {life, i, 10 + draw(&state) % (most - 10), 0};
        memset(bytes, (int)(draw(&state) & 255), r.size);
        bytes[r.size - 1] = (uint8_t)i;
        r.sum = sum_of(bytes, r.size);
        const struct iovec v[] = {{&r, sizeof r}, {bytes, r.size}};
        int s = naru_channel_send_vector(c, 1 + i % 3, v, 2, WAIT_S * NARU_S);
        if (s < 0) {
            fprintf(stderr, "# sender: %s\n", naru_why());
            _exit(3);
        }
        log_->acknowledged[life] = i + 1;
    }
    int r = naru_channel_flush(c, WAIT_S * NARU_S); /* what lies in a FIFO goes with its holders */
    naru_channel_close(c);
    _exit(r < 0 ? 4 : 0);
}

static void note(int who, const uint8_t *m, size_t n)
{
    struct record r;
    if (n < sizeof r) {
        log_->wrong++;
        return;
    }
    memcpy(&r, m, sizeof r);
    if (r.life >= LIVES || r.number >= RECORDS || r.size != n - sizeof r ||
        r.sum != sum_of(m + sizeof r, r.size)) {
        log_->wrong++;
        return;
    }
    log_->received[r.life][r.number]++;
    if (log_->last[who][r.life] > r.number)
        log_->disorder++;
    log_->last[who][r.life] = r.number + 1;
}

static _Noreturn void receiver(int who)
{
    static uint8_t bytes[LARGEST + 64];
    naru_channel *c;
    end_with_parent();
    if (naru_queue_open(url, NARU_RECV, NULL, &c) < 0)
        _exit(2);
    for (;;) {
        bool stop = log_->stop; /* looked at before, so that nothing that was sent is left */
        ssize_t n = naru_channel_recv(c, 0, bytes, sizeof bytes, NULL, 20 * NARU_MS);
        if (n == -ETIMEDOUT && stop)
            break;
        if (n == -ETIMEDOUT)
            continue;
        if (n < 0) {
            fprintf(stderr, "# receiver: %s\n", naru_why());
            _exit(3);
        }
        note(who, bytes, (size_t)n);
    }
    naru_channel_close(c);
    _exit(0);
}

static void set_up(void)
{
    static int number;
    const char *directory = getenv("TMPDIR");
    snprintf(url, sizeof url, "fifo:%s/queues-%d-%d", directory ? directory : "/tmp", getpid(),
             number++);
    log_ = mmap(NULL, sizeof *log_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(log_, MAP_FAILED);
    const char *given = getenv("SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    print_message("SEED=%u\n", seed);
}

static void tear_down(void)
{
    naru_remove(url);
    munmap(log_, sizeof *log_);
}

static pid_t start_sender(unsigned life)
{
    pid_t pid = fork();
    if (pid == 0)
        sender(life);
    return pid;
}

static pid_t start_receiver(int who)
{
    pid_t pid = fork();
    if (pid == 0)
        receiver(who);
    return pid;
}

static void pause_us(unsigned us)
{
    clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, us * 1000L}, NULL);
}

static void kill_one(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void ended_well(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* How many acknowledged records have not come; none comes twice. */
static unsigned missing(unsigned lives)
{
    unsigned n = 0;
    for (unsigned l = 0; l < lives; l++)
        for (uint32_t i = 0; i < RECORDS; i++) {
            assert_true(log_->received[l][i] <= 1);
            n += i < log_->acknowledged[l] && log_->received[l][i] == 0;
        }
    assert_int_equal(log_->wrong, 0);
    assert_int_equal(log_->disorder, 0);
    return n;
}

/* Receiver 0 always lives, so that 1 never reads ahead: it may take with it the record that it is
 * reading, and the one that it has read and not yet noted. */
static void run(unsigned sender_kills, unsigned receiver_kills)
{
    pid_t receivers[RECEIVERS], senders[SENDERS];
    unsigned life = 0, state = seed;
    set_up();
    for (int i = 0; i < RECEIVERS; i++)
        receivers[i] = start_receiver(i);
    for (int i = 0; i < SENDERS; i++)
        senders[i] = start_sender(life++);
    for (unsigned s = 0, r = 0; s < sender_kills || r < receiver_kills;) {
        pause_us(draw(&state) % 15000);
        if (s < sender_kills && (r == receiver_kills || draw(&state) % 2)) {
            int i = (int)(draw(&state) % SENDERS);
            kill_one(senders[i]);
            senders[i] = start_sender(life++);
            s++;
        } else {
            kill_one(receivers[1]);
            receivers[1] = start_receiver(1);
            r++;
        }
    }
    for (int i = 0; i < SENDERS; i++)
        ended_well(senders[i]);
    log_->stop = true;
    for (int i = 0; i < RECEIVERS; i++)
        ended_well(receivers[i]);
    unsigned lost = missing(life);
    print_message("%u senders lived, %u records lost with %u receivers\n", life, lost,
                  receiver_kills);
    assert_true(lost <= 2 * receiver_kills);
    tear_down();
}

static void senders_killed(void **state)
{
    (void)state;
    run(40, 0);
}

static void receivers_killed(void **state)
{
    (void)state;
    run(0, 40);
}

static void anybody_killed(void **state)
{
    (void)state;
    run(40, 40);
}

static void nobody_killed(void **state)
{
    (void)state;
    run(0, 0);
}

/* The last receiver goes without having read: what was acknowledged waits for the next one. */
static void the_next_receiver_gets_it(void **state)
{
    naru_channel *out, *in;
    char text[32];
    (void)state;
    set_up();
    assert_int_equal(naru_queue_open(url, NARU_RECV, NULL, &in), 0);
    assert_int_equal(naru_queue_open(url, NARU_SEND, NULL, &out), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(naru_channel_send(out, 1, &i, sizeof i, NARU_S), 0);
    naru_channel_close(in);
    int ten = 10;
    assert_int_equal(naru_channel_send(out, 1, &ten, sizeof ten, NARU_NOWAIT), -EAGAIN);
    assert_int_equal(naru_channel_flush(out, 10 * NARU_MS), -ETIMEDOUT);
    assert_int_equal(naru_queue_open(url, NARU_RECV, NULL, &in), 0);
    assert_int_equal(naru_channel_send(out, 1, &ten, sizeof ten, NARU_S), 0);
    for (int i = 0; i <= 10; i++) {
        int got = -1;
        assert_int_equal(naru_channel_recv(in, 0, &got, sizeof got, NULL, NARU_S), sizeof got);
        assert_int_equal(got, i);
    }
    assert_int_equal(naru_channel_recv(in, 0, text, sizeof text, NULL, NARU_NOWAIT), -EAGAIN);
    naru_channel_close(in);
    naru_channel_close(out);
    tear_down();
}

/* A receiver that takes one and goes: the rest is the next one's, not lost with what it read. */
static void one_taken_the_rest_stays(void **state)
{
    struct naru_queue_options o = {.size = sizeof o, .flags = NARU_NO_READ_AHEAD};
    static char big[20000];
    naru_channel *out, *in;
    (void)state;
    set_up();
    assert_int_equal(naru_queue_open(url, NARU_RECV, &o, &in), 0);
    assert_int_equal(naru_queue_open(url, NARU_SEND, NULL, &out), 0);
    for (int i = 0; i < 6; i++)
        assert_int_equal(naru_channel_send(out, 1, big, i % 2 ? sizeof big : (size_t)i, NARU_S), 0);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(naru_channel_recv(in, 0, big, sizeof big, NULL, NARU_S),
                         i % 2 ? (long)sizeof big : i);
        naru_channel_close(in);
        assert_int_equal(naru_queue_open(url, NARU_RECV, &o, &in), 0);
    }
    naru_channel_close(in);
    naru_channel_close(out);
    tear_down();
}

/* With another receiver there: a record leaves the FIFO in one read, so that who dies in between
 * leaves no part of it. */
static void a_record_in_one_read(void **state)
{
    enum { MANY = 50 };
    naru_channel *out, *one, *two;
    char small[100] = "", big[3000] = "";
    struct naru_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    (void)state;
    set_up();
    assert_int_equal(naru_queue_open(url, NARU_RECV, NULL, &one), 0);
    assert_int_equal(naru_queue_open(url, NARU_RECV, NULL, &two), 0);
    assert_int_equal(naru_queue_open(url, NARU_SEND, NULL, &out), 0);
    assert_int_equal(naru_stats(one, &before), 0);
    for (int i = 0; i < MANY; i++) {
        size_t n = i % 2 ? sizeof big : sizeof small;
        assert_int_equal(naru_channel_send(out, 1, i % 2 ? big : small, n, NARU_S), 0);
        assert_int_equal(naru_channel_recv(one, 0, big, sizeof big, NULL, NARU_S), (long)n);
    }
    assert_int_equal(naru_stats(one, &after), 0);
    assert_int_equal(after.calls - before.calls, MANY);
    naru_channel_close(two);
    naru_channel_close(one);
    naru_channel_close(out);
    tear_down();
}

/* One that selects would put aside what the others could take. */
static void several_receivers_do_not_select(void **state)
{
    naru_channel *out, *one, *two;
    char byte;
    (void)state;
    set_up();
    assert_int_equal(naru_queue_open(url, NARU_RECV, NULL, &one), 0);
    assert_int_equal(naru_queue_open(url, NARU_RECV, NULL, &two), 0);
    assert_int_equal(naru_queue_open(url, NARU_SEND, NULL, &out), 0);
    assert_int_equal(naru_channel_send(out, 2, "x", 1, NARU_S), 0);
    assert_int_equal(naru_channel_recv(one, 2, &byte, 1, NULL, NARU_S), -EOPNOTSUPP);
    assert_non_null(strstr(naru_why(), "several receivers"));
    assert_int_equal(naru_channel_recv(two, 0, &byte, 1, NULL, NARU_S), 1);
    naru_channel_close(two);
    assert_int_equal(naru_channel_send(out, 2, "y", 1, NARU_S), 0);
    assert_int_equal(naru_channel_recv(one, 2, &byte, 1, NULL, NARU_S), 1);
    naru_channel_close(one);
    naru_channel_close(out);
    tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_receivers_do_not_select),
        cmocka_unit_test(a_record_in_one_read),
        cmocka_unit_test(the_next_receiver_gets_it),
        cmocka_unit_test(one_taken_the_rest_stays),
        cmocka_unit_test(nobody_killed),
        cmocka_unit_test(senders_killed),
        cmocka_unit_test(receivers_killed),
        cmocka_unit_test(anybody_killed),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
