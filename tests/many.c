/* SPDX-License-Identifier: MIT */
/* many.c - queues and topics in shared memory: what a name keeps, who gets what, what comes back,
 * who holds whom back, and what is left. */
#include "harness.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *here(void)
{
    return test_url("shm:%s/x");
}

static naru_channel *queue(int role)
{
    naru_channel *c;
    expect_ok(naru_queue_open(here(), role, NULL, &c));
    return c;
}

static naru_channel *topic(int role, unsigned history, int lossy)
{
    naru_channel *c;
    struct naru_topic_options o = {.size = sizeof o, .history = history, .lossy = lossy};
    expect_ok(naru_topic_open(here(), role, &o, &c));
    return c;
}

static void send_number(naru_channel *c, uint32_t n)
{
    expect_ok(naru_channel_send(c, 1 + n % 3, &n, sizeof n, PATIENCE));
}

static uint32_t recv_number(naru_channel *c, struct naru_info *ret_info)
{
    uint32_t n = UINT32_MAX;
    expect_code(sizeof n, naru_channel_recv(c, 0, &n, sizeof n, ret_info, PATIENCE));
    return n;
}

static int files_like(const char *prefix)
{
    char path[256];
    int n = 0;
    snprintf(path, sizeof path, "%s/x", test_directory);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    if (d)
        closedir(d);
    return n;
}

/* ---- queues ---- */

static void waits_without_participants(void)
{
    struct naru_info info;
    naru_channel *s = queue(NARU_SEND);
    for (uint32_t i = 0; i < 100; i++)
        send_number(s, i);
    naru_channel_close(s);
    naru_channel *r = queue(NARU_RECV);
    for (uint32_t i = 0; i < 100; i++) {
        expect(recv_number(r, &info) == i);
        expect(info.sequence == i + 1 && info.flags == 0 && info.sender != 0);
    }
    expect_code(-EAGAIN, naru_channel_recv(r, 0, &info, 4, NULL, NARU_NOWAIT));
    naru_channel_close(r);
    expect_ok(naru_remove(here()));
}

static uint32_t senders(uint32_t usual)
{
    const char *wish = getenv("MANY_SENDERS"); /* the long suite's */
    return wish ? (uint32_t)strtoul(wish, NULL, 10) : usual;
}

static void one_lane_for_many_senders(void)
{
    naru_channel *r = queue(NARU_RECV);
    for (uint32_t i = 0, n = senders(3000); i < n; i++) {
        naru_channel *s = queue(NARU_SEND);
        send_number(s, i);
        naru_channel_close(s);
        expect(recv_number(r, NULL) == i);
    }
    expect_code(1, files_like("lane-"));
    naru_channel_close(r);
    expect_ok(naru_remove(here()));
}

/* One sends all the time, seven have something now and then: it comes among its next few. */
static void none_starves(void)
{
    enum { SENDERS = 8, ROUNDS = 50, FEW = 16 * SENDERS };
    naru_channel *s[SENDERS], *r = queue(NARU_RECV);
    for (int i = 0; i < SENDERS; i++)
        s[i] = queue(NARU_SEND);
    uint32_t sent = SENDERS;
    for (int i = 0; i < 200; i++)
        send_number(s[0], sent++);
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 1; i < SENDERS; i++)
            send_number(s[i], i);
        int others = 0;
        for (int n = 0; n < FEW && others < SENDERS - 1; n++) {
            bool other = recv_number(r, NULL) < SENDERS;
            others += other;
            if (!other)
                send_number(s[0], sent++);
        }
        expect_code(SENDERS - 1, others);
    }
    for (int i = 0; i < SENDERS; i++)
        naru_channel_close(s[i]);
    naru_channel_close(r);
    expect_ok(naru_remove(here()));
}

/* What this process has mapped of the object, and may write: names that begin so. */
static int may_write(const char *prefix)
{
    char line[512], mode[8], path[400];
    int n = 0, seen = 0;
    FILE *f = fopen("/proc/self/maps", "re");
    expect(f != NULL);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*s %7s %*s %*s %*s %399s", mode, path) != 2 || !strrchr(path, '/') ||
            strncmp(strrchr(path, '/') + 1, prefix, strlen(prefix)) != 0)
            continue;
        seen++;
        n += mode[1] == 'w';
    }
    fclose(f);
    return seen ? n : -1;
}

static void write_there(void *data)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would tell of it */
    *(volatile char *)data = 0;
}

static void send_both(void *of_topic)
{
    static char large[100000];
    naru_channel *s = of_topic ? topic(NARU_SEND, 0, 0) : queue(NARU_SEND);
    send_number(s, 1);
    expect_ok(naru_channel_send(s, 1, large, sizeof large, PATIENCE));
    naru_channel_close(s);
}

static void reads_only(void *of_topic)
{
    naru_channel *c = of_topic ? topic(NARU_RECV, 0, 0) : queue(NARU_RECV);
    struct naru_message m;
    int status = 0;
    end_child(start_child(send_both, of_topic));
    for (int i = 0; i < 2; i++) { /* in the lane, in a segment */
        expect_ok(naru_channel_take(c, 0, PATIENCE, &m));
        expect_code(0, may_write("lane-"));
        expect_code(i ? 0 : -1, may_write("segment-"));
        waitpid(start_child(write_there, m.data), &status, 0);
        expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
        expect_ok(naru_channel_release(c, &m, 1));
    }
    naru_channel_close(c);
}

static void mapped_for_reading(void)
{
    for (int of_topic = 0; of_topic < 2; of_topic++) {
        end_child(start_child(reads_only, of_topic ? &of_topic : NULL));
        expect_ok(naru_remove(here()));
    }
}

static void killed_sender(void *n)
{
    naru_channel *s = queue(NARU_SEND);
    send_number(s, *(uint32_t *)n);
    kill(getpid(), SIGKILL);
}

/* Senders that are killed leave their message, and one lane. */
static void one_lane_for_killed_senders(void)
{
    enum { WAIT = 100 };
    for (uint32_t first = 0, n = senders(WAIT); first < n; first += WAIT) {
        for (uint32_t i = first; i < first + WAIT; i++) {
            pid_t pid = fork();
            if (pid == 0)
                killed_sender(&i);
            waitpid(pid, NULL, 0);
        }
        expect_code(1, files_like("lane-"));
        naru_channel *r = queue(NARU_RECV);
        for (uint32_t i = first; i < first + WAIT; i++)
            expect(recv_number(r, NULL) == i);
        expect_code(-EAGAIN, naru_channel_recv(r, 0, &n, 4, NULL, NARU_NOWAIT));
        naru_channel_close(r);
    }
    expect_ok(naru_remove(here()));
}

/* A message that one receiver holds is in nobody's way, lap after lap; given back, it comes first.
 */
static void held_is_passed_over(void)
{
    struct naru_message held, more;
    struct naru_info info;
    naru_channel *s = queue(NARU_SEND), *slow = queue(NARU_RECV), *fast = queue(NARU_RECV);
    send_number(s, 1000000);
    expect_ok(naru_channel_take(slow, 0, PATIENCE, &held));
    for (uint32_t i = 0; i < 3000; i++) {
        send_number(s, i);
        expect(recv_number(fast, &info) == i);
        expect(info.sequence == i + 2); /* passing over costs no number */
    }
    send_number(s, 7);
    expect_ok(naru_channel_take(fast, 0, PATIENCE, &more));
    send_number(s, 8);
    expect(*(uint32_t *)held.data == 1000000);
    expect_ok(naru_channel_return(slow, &held, 1));
    expect(recv_number(fast, &info) == 1000000); /* in its place, before 8 */
    expect(info.flags == NARU_REDELIVERED && info.sequence == 1);
    expect(recv_number(fast, &info) == 8 && info.flags == 0);
    expect_ok(naru_channel_release(fast, &more, 1));
    naru_channel_close(s);
    naru_channel_close(slow);
    naru_channel_close(fast);
    expect_ok(naru_remove(here()));
}

/* The same with payloads in the area, which are as they were. */
static void held_payloads(void)
{
    enum { N = 20, SIZE = 1500 };
    static unsigned char block[SIZE], got[SIZE];
    struct naru_message held[N];
    naru_channel *s = queue(NARU_SEND), *slow = queue(NARU_RECV), *fast = queue(NARU_RECV);
    for (int i = 0; i < N; i++) {
        memset(block, 100 + i, SIZE);
        expect_ok(naru_channel_send(s, 1, block, SIZE, PATIENCE));
        expect_ok(naru_channel_take(slow, 0, PATIENCE, &held[i]));
        for (int k = 0; k < 37; k++) {
            memset(block, k, SIZE);
            expect_ok(naru_channel_send(s, 1, block, SIZE - (size_t)k, PATIENCE));
            expect_code(SIZE - k, naru_channel_recv(fast, 0, got, SIZE, NULL, PATIENCE));
            expect(memcmp(got, block, SIZE - (size_t)k) == 0);
        }
    }
    for (int i = 0; i < N; i++) {
        const unsigned char *p = held[i].data;
        for (int k = 0; k < SIZE; k++)
            expect(p[k] == 100 + i);
    }
    naru_channel_close(slow); /* gives them back */
    for (int i = 0; i < N; i++) {
        struct naru_info info;
        expect_code(SIZE, naru_channel_recv(fast, 0, got, SIZE, &info, PATIENCE));
        expect(got[0] == 100 + i && got[SIZE - 1] == 100 + i && info.flags == NARU_REDELIVERED);
    }
    naru_channel_close(s);
    naru_channel_close(fast);
    expect_ok(naru_remove(here()));
}

/* A new sender goes on in a lane whose messages are held, waiting and given back. */
static void adopted_with_held(void)
{
    static unsigned char block[1500], got[1500];
    struct naru_message held[3];
    naru_channel *s = queue(NARU_SEND), *slow = queue(NARU_RECV), *fast = queue(NARU_RECV);
    for (int i = 0; i < 3; i++) {
        memset(block, 100 + i, sizeof block);
        expect_ok(naru_channel_send(s, 1, block, sizeof block, PATIENCE));
        expect_ok(naru_channel_take(slow, 0, PATIENCE, &held[i]));
    }
    for (int k = 0; k < 400; k++) {
        expect_ok(naru_channel_send(s, 1, block, (size_t)k, PATIENCE));
        if (k < 390)
            expect_code(k, naru_channel_recv(fast, 0, got, sizeof got, NULL, PATIENCE));
    }
    naru_channel_close(s);
    expect_ok(naru_channel_return(slow, &held[1], 1));
    s = queue(NARU_SEND);
    expect_code(1, files_like("lane-"));
    expect_code(sizeof got, naru_channel_recv(fast, 0, got, sizeof got, NULL, PATIENCE));
    expect(got[0] == 101 && got[1499] == 101);
    for (int k = 0; k < 1000; k++) {
        memset(block, k, sizeof block);
        expect_ok(naru_channel_send(s, 1, block, 1000, PATIENCE));
        expect_code(k < 10 ? 390 + k : 1000,
                    naru_channel_recv(fast, 0, got, sizeof got, NULL, PATIENCE));
    }
    for (int i = 0; i < 3; i += 2) {
        const unsigned char *p = held[i].data;
        expect(p[0] == 100 + i && p[1499] == 100 + i);
    }
    naru_channel_close(s);
    naru_channel_close(slow);
    naru_channel_close(fast);
    expect_ok(naru_remove(here()));
}

static void dies_with_messages(void *unused)
{
    struct naru_message m[3];
    naru_channel *r = queue(NARU_RECV);
    (void)unused;
    for (int i = 0; i < 3; i++)
        expect_ok(naru_channel_take(r, 0, PATIENCE, &m[i]));
    kill(getpid(), SIGKILL);
}

/* What a dead receiver had comes back, marked, in its place, to one that sleeps already. */
static void redelivery(void)
{
    struct naru_info info;
    naru_channel *s = queue(NARU_SEND);
    for (uint32_t i = 0; i < 3; i++)
        send_number(s, i);
    pid_t pid = fork();
    if (pid == 0)
        dies_with_messages(NULL);
    naru_channel *r = queue(NARU_RECV);
    int64_t begun = test_now();
    usleep(20000);
    send_number(s, 3);
    uint32_t first = recv_number(r, &info);
    if (first == 3) /* it was there before the death was noticed */
        first = recv_number(r, &info);
    expect(first == 0 && info.flags == NARU_REDELIVERED);
    for (uint32_t i = 1; i < 3; i++)
        expect(recv_number(r, &info) == i && info.flags == NARU_REDELIVERED);
    expect(test_now() - begun < PATIENCE);
    waitpid(pid, NULL, 0);
    naru_channel_close(s);
    naru_channel_close(r);
    expect_ok(naru_remove(here()));
}

/* Select by type leaves the others, also those given back, to others. */
static void selects(void)
{
    struct naru_message m;
    uint32_t n;
    naru_channel *s = queue(NARU_SEND), *r = queue(NARU_RECV);
    for (uint32_t i = 0; i < 9; i++) /* types 1 2 3 1 2 3 1 2 3 */
        send_number(s, i);
    expect_ok(naru_channel_take(r, 2, PATIENCE, &m));
    expect(*(uint32_t *)m.data == 1);
    expect_ok(naru_channel_return(r, &m, 1));
    expect_code(4, naru_channel_recv(r, 3, &n, 4, NULL, PATIENCE));
    expect(n == 2);
    expect_code(4, naru_channel_recv(r, -2, &n, 4, NULL, PATIENCE));
    expect(n == 0);
    expect_code(4, naru_channel_recv(r, NARU_EXCEPT(1), &n, 4, NULL, PATIENCE));
    expect(n == 1);
    expect_code(-EAGAIN, naru_channel_recv(r, 7, &n, 4, NULL, NARU_NOWAIT));
    expect_code(-ETIMEDOUT, naru_channel_recv(r, 7, &n, 4, NULL, 20 * NARU_MS));
    static const uint32_t rest[] = {3, 4, 5, 6, 7, 8};
    for (int i = 0; i < 6; i++)
        expect(recv_number(r, NULL) == rest[i]);
    naru_channel_close(s);
    naru_channel_close(r);
    expect_ok(naru_remove(here()));
}

static void one_receiver(void)
{
    naru_channel *r, *second, *s = NULL;
    struct naru_queue_options o = {.size = sizeof o, .receivers = 1};
    expect_ok(naru_queue_open(here(), NARU_RECV, &o, &r));
    expect_code(-EBUSY, naru_queue_open(here(), NARU_RECV, NULL, &second));
    expect_says("one receiver");
    s = queue(NARU_SEND);
    for (uint32_t i = 0; i < 1000; i++) {
        send_number(s, i);
        expect(recv_number(r, NULL) == i);
    }
    naru_channel_close(r);
    r = queue(NARU_RECV);
    send_number(s, 5);
    expect(recv_number(r, NULL) == 5);
    naru_channel_close(r);
    naru_channel_close(s);
    expect_ok(naru_remove(here()));
}

/* Larger than the lane: a segment each, used again; none is left when both have gone. */
static void segments(void)
{
    enum { SIZE = 300000 };
    unsigned char *block = malloc(SIZE), *got = malloc(SIZE);
    naru_channel *s = queue(NARU_SEND), *r = queue(NARU_RECV);
    for (int i = 0; i < 200; i++) {
        memset(block, i, SIZE);
        expect_ok(naru_channel_send(s, 1, block, SIZE, PATIENCE));
        expect_code(SIZE, naru_channel_recv(r, 0, got, SIZE, NULL, PATIENCE));
        expect(memcmp(got, block, SIZE) == 0);
    }
    expect(files_like("segment-") <= 2);
    expect_ok(naru_channel_send(s, 1, block, SIZE, PATIENCE));
    naru_channel_close(s);
    expect_code(1, files_like("segment-"));
    expect_code(SIZE, naru_channel_recv(r, 0, got, SIZE, NULL, PATIENCE));
    expect(memcmp(got, block, SIZE) == 0);
    expect_code(0, files_like("segment-"));
    naru_channel_close(r);
    expect_ok(naru_remove(here()));
    free(block);
    free(got);
}

static void *remove_soon(void *url)
{
    usleep(50000);
    expect_ok(naru_remove(url));
    return NULL;
}

static void removed_while_waiting(void)
{
    pthread_t thread;
    char url[256];
    naru_channel *s = queue(NARU_SEND), *r = queue(NARU_RECV), *again;
    snprintf(url, sizeof url, "%s", here());
    pthread_create(&thread, NULL, remove_soon, url);
    int64_t begun = test_now();
    expect_code(-EIDRM, naru_channel_recv(r, 0, url + 200, 8, NULL, PATIENCE));
    expect(test_now() - begun < PATIENCE);
    pthread_join(thread, NULL);
    expect_code(-EIDRM, naru_channel_send(s, 1, "x", 1, PATIENCE));
    again = queue(NARU_RECV); /* another one */
    expect_code(-EAGAIN, naru_channel_recv(again, 0, url + 200, 8, NULL, NARU_NOWAIT));
    naru_channel_close(again);
    naru_channel_close(s);
    naru_channel_close(r);
    expect_ok(naru_remove(here()));
}

static void options_agree(void)
{
    naru_channel *c, *d;
    struct naru_queue_options o = {.size = sizeof o, .capacity = 1 << 20, .max_message = 1000};
    expect_ok(naru_queue_open(here(), NARU_SEND, &o, &c));
    expect_code(-EMSGSIZE, naru_channel_send(c, 1, here(), 1001, NARU_NOWAIT));
    o.capacity = 2 << 20;
    expect_code(-EEXIST, naru_queue_open(here(), NARU_SEND, &o, &d));
    expect_says("1048576");
    expect_says("2097152");
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static void too_many(void)
{
    naru_channel *c[257];
    for (int i = 0; i < 256; i++)
        c[i] = queue(NARU_RECV);
    expect_code(-ENOSPC, naru_queue_open(here(), NARU_SEND, NULL, &c[256]));
    expect_says("256");
    for (int i = 0; i < 256; i++)
        naru_channel_close(c[i]);
    expect_ok(naru_remove(here()));
}

/* ---- topics ---- */

static void everybody_gets_all(void)
{
    naru_channel *p = topic(NARU_SEND, 0, 0), *s[3];
    send_number(p, 99); /* before anybody is there, and no history */
    for (int i = 0; i < 3; i++)
        s[i] = topic(NARU_RECV, 0, 0);
    for (uint32_t n = 0; n < 2000; n++) {
        send_number(p, n);
        for (int i = 0; i < 3; i++)
            expect(recv_number(s[i], NULL) == n);
    }
    for (int i = 0; i < 3; i++)
        naru_channel_close(s[i]);
    naru_channel_close(p);
    expect_ok(naru_remove(here()));
}

static void history(void)
{
    struct naru_info info;
    naru_channel *p = topic(NARU_SEND, 20, 0);
    for (uint32_t n = 0; n < 1000; n++)
        send_number(p, n);
    naru_channel_close(p); /* it has gone, and its last ones are there */
    naru_channel *late = topic(NARU_RECV, 0, 0);
    for (uint32_t n = 980; n < 1000; n++)
        expect(recv_number(late, &info) == n && info.missed == 0);
    expect_code(-EAGAIN, naru_channel_recv(late, 0, &info, 4, NULL, NARU_NOWAIT));
    p = topic(NARU_SEND, 0, 0); /* goes on in the same lane */
    send_number(p, 5);
    expect(recv_number(late, NULL) == 5);
    naru_channel_close(p);
    naru_channel_close(late);
    expect_ok(naru_remove(here()));
}

static void reliable_and_lossy(void)
{
    struct naru_info info;
    naru_channel *p = topic(NARU_SEND, 0, 0), *lossy = topic(NARU_RECV, 0, 1);
    for (uint32_t n = 0; n < 5000; n++) /* it holds nobody back */
        send_number(p, n);
    uint32_t first = recv_number(lossy, &info);
    expect(first > 4000 && info.missed == first);
    for (uint32_t n = first + 1; n < 5000; n++)
        expect(recv_number(lossy, &info) == n && info.missed == 0);
    naru_channel *reliable = topic(NARU_RECV, 0, 0);
    int sent = 0, r;
    while ((r = naru_channel_send(p, 1, &sent, sizeof sent, 20 * NARU_MS)) == 0)
        sent++;
    expect_code(-ETIMEDOUT, r);
    expect_says("subscriber");
    expect(sent > 100);
    naru_channel_close(reliable); /* who has gone holds nobody back */
    expect_ok(naru_channel_send(p, 1, &sent, sizeof sent, PATIENCE));
    naru_channel_close(lossy);
    naru_channel_close(p);
    expect_ok(naru_remove(here()));
}

static void subscribes_and_dies(void *unused)
{
    (void)unused;
    (void)topic(NARU_RECV, 0, 0);
    kill(getpid(), SIGKILL);
}

static void dead_subscriber(void)
{
    naru_channel *p = topic(NARU_SEND, 0, 0);
    pid_t pid = fork();
    if (pid == 0)
        subscribes_and_dies(NULL);
    waitpid(pid, NULL, 0);
    for (uint32_t n = 0; n < 1000; n++)
        send_number(p, n); /* waits for the dead one, and not for ever */
    naru_channel_close(p);
    expect_ok(naru_remove(here()));
}

/* Taken in place and released in any order: the publisher goes on behind the lowest. */
static void taken_in_any_order(void)
{
    struct naru_message m[8];
    naru_channel *p = topic(NARU_SEND, 0, 0), *s = topic(NARU_RECV, 0, 0);
    send_number(p, 0);
    (void)recv_number(s, NULL); /* by now nothing is older than the subscription */
    send_number(p, 1);
    (void)recv_number(s, NULL);
    for (uint32_t round = 0; round < 200; round++) {
        for (uint32_t i = 0; i < 8; i++)
            send_number(p, i);
        expect_code(8, naru_channel_take_many(s, 0, m, 8, PATIENCE));
        for (uint32_t i = 0; i < 8; i++)
            expect(*(uint32_t *)m[i].data == i);
        for (uint32_t i = 0; i < 8; i++)
            expect_ok(naru_channel_release(s, &m[(i * 5 + round) % 8], 1));
    }
    naru_channel_close(s);
    naru_channel_close(p);
    expect_ok(naru_remove(here()));
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"messages wait without participants", waits_without_participants},
        {"many senders, one lane", one_lane_for_many_senders},
        {"killed senders, one lane", one_lane_for_killed_senders},
        {"no sender starves another", none_starves},
        {"receivers map messages for reading alone", mapped_for_reading},
        {"a held message is passed over", held_is_passed_over},
        {"held payloads stay as they were", held_payloads},
        {"a lane adopted with held messages", adopted_with_held},
        {"redelivery", redelivery},
        {"selecting, also among those given back", selects},
        {"a queue of one receiver", one_receiver},
        {"segments", segments},
        {"removed while others wait", removed_while_waiting},
        {"options agree, or both are named", options_agree},
        {"256 participants", too_many},
        {"topic: everybody gets all", everybody_gets_all},
        {"topic: history", history},
        {"topic: reliable and lossy", reliable_and_lossy},
        {"topic: a dead subscriber", dead_subscriber},
        {"topic: taken, released in any order", taken_in_any_order},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
