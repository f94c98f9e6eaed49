/* SPDX-License-Identifier: MIT */
/* left.c - what senders have left in a queue or topic goes by naru_collect when it is empty; a dry
 * run says the same before; and whoever takes part misses nothing by it. */
#include "harness.h"

#include "base/fault.h"
#include "transport/shm/lanes.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LARGE = 30000 }; /* more than a quarter of a lane: each in a segment */

/* What goes, which a dry run has said twice, and is nothing afterwards. */
static void goes(const char *url, uint64_t lanes, uint64_t files)
{
    struct naru_collected c = {.size = sizeof c};
    for (int i = 0; i < 4; i++) {
        uint64_t more = i < 3;
        expect_ok(naru_collect(url, i < 2 ? NARU_DRY_RUN : 0, &c));
        expect_code((long)(more * lanes), c.lanes);
        expect_code((long)(more * files), c.files);
    }
}

static bool is_there(const char *url, const char *file)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", strchr(url, ':') + 1, file);
    return stat(path, &st) == 0;
}

static naru_channel *queue(const char *url, int role)
{
    naru_channel *c;
    expect_ok(naru_queue_open(url, role, NULL, &c));
    return c;
}

static naru_channel *topic(const char *url, int role, unsigned history, int lossy)
{
    const struct naru_topic_options o = {.size = sizeof o, .history = history, .lossy = lossy};
    naru_channel *c;
    expect_ok(naru_topic_open(url, role, &o, &c));
    return c;
}

static void send_number(naru_channel *c, int n)
{
    expect_ok(naru_channel_send(c, 1, &n, sizeof n, PATIENCE));
}

static void comes(naru_channel *c, int n)
{
    struct naru_info info;
    int got = -1;
    expect_code(sizeof got, naru_channel_recv(c, 0, &got, sizeof got, &info, PATIENCE));
    expect_code(n, got);
    expect_code(0, info.missed);
}

static void nothing_comes(naru_channel *c)
{
    int got;
    expect_code(-EAGAIN, naru_channel_recv(c, 0, &got, sizeof got, NULL, NARU_NOWAIT));
}

/* Record 0 is a receiver's, so the lane of record 1 is every sender's in turn. */
static void an_empty_lane_of_a_queue(void)
{
    const char *url = test_url("shm:%s/queue");
    naru_channel *in = queue(url, NARU_RECV);
    for (int i = 0; i < 300; i += 3) {
        naru_channel *out = queue(url, NARU_SEND);
        send_number(out, i);
        if (i % 2)
            comes(in, i);
        goes(url, 0, 0); /* its sender lives */
        send_number(out, i + 1);
        naru_channel_close(out);
        goes(url, 0, 0); /* there is something in it */
        if (!(i % 2))
            comes(in, i);
        comes(in, i + 1);
        expect(is_there(url, "lane-1"));
        goes(url, 1, 0);
        expect(!is_there(url, "lane-1") && !is_there(url, "claims-1"));
        out = queue(url, NARU_SEND);
        send_number(out, i + 2);
        naru_channel_close(out);
        comes(in, i + 2);
    }
    nothing_comes(in);
    naru_channel_close(in);
    goes(url, 1, 0);
    expect_ok(naru_remove(url));
}

/* Taken, or given back, is not done with. */
static void what_somebody_has_taken(void)
{
    const char *url = test_url("shm:%s/queue");
    struct naru_message m;
    naru_channel *in = queue(url, NARU_RECV), *out = queue(url, NARU_SEND);
    send_number(out, 1);
    naru_channel_close(out);
    expect_ok(naru_channel_take(in, 0, PATIENCE, &m));
    goes(url, 0, 0);
    expect_ok(naru_channel_return(in, &m, 1));
    goes(url, 0, 0);
    comes(in, 1);
    goes(url, 1, 0);
    naru_channel_close(in);
    expect_ok(naru_remove(url));
}

static void reserve_and_die(void *url)
{
    static char data[LARGE];
    void *memory;
    naru_channel *out = queue(url, NARU_SEND);
    for (int i = 0; i < 2; i++)
        expect_ok(naru_channel_send(out, 1, data, sizeof data, PATIENCE));
    expect_ok(naru_channel_reserve(out, LARGE, PATIENCE, &memory));
    raise(SIGKILL);
}

/* Three segments: one that was received, one that waits, one that was never sent. */
static void segments_that_nobody_needs(void)
{
    const char *url = test_url("shm:%s/queue");
    struct naru_collected c = {.size = sizeof c};
    static char data[LARGE];
    int status;
    naru_channel *in = queue(url, NARU_RECV);
    waitpid(start_child(reserve_and_die, (void *)(uintptr_t)url), &status, 0);
    expect_code(LARGE, naru_channel_recv(in, 0, data, sizeof data, NULL, PATIENCE));
    expect(is_there(url, "segment-1-1") && is_there(url, "segment-1-2") &&
           is_there(url, "segment-1-3"));
    expect_ok(naru_collect(url, NARU_DRY_RUN, &c));
    expect(c.participants == 1 && c.lanes == 0 && c.files == 2);
    expect_ok(naru_collect(url, 0, &c));
    expect(c.participants == 1 && c.lanes == 0 && c.files == 2);
    expect(!is_there(url, "segment-1-1") && is_there(url, "segment-1-2") &&
           !is_there(url, "segment-1-3"));
    expect_code(LARGE, naru_channel_recv(in, 0, data, sizeof data, NULL, PATIENCE));
    nothing_comes(in);
    naru_channel_close(in);
    expect_ok(naru_remove(url));
}

/* A segment's number comes again in the next lane; what a receiver keeps mapped is not that. */
static void the_same_segment_again(void)
{
    const char *url = test_url("shm:%s/queue");
    static char data[LARGE];
    naru_channel *in = queue(url, NARU_RECV);
    for (int i = 0; i < 4; i++) {
        naru_channel *out = queue(url, NARU_SEND);
        memset(data, 'a' + i, sizeof data);
        expect_ok(naru_channel_send(out, 1, data, sizeof data, PATIENCE));
        memset(data, 0, sizeof data);
        naru_channel_close(out);
        expect_code(LARGE, naru_channel_recv(in, 0, data, sizeof data, NULL, PATIENCE));
        expect(data[0] == 'a' + i && data[LARGE - 1] == 'a' + i);
        goes(url, 1, 0);
    }
    naru_channel_close(in);
    expect_ok(naru_remove(url));
}

/* As many as a lane holds, without anybody looking; and the sentence says who holds it back. */
static int fill_up(naru_channel *c, int n)
{
    int r, most = n + 256;
    while ((r = naru_channel_send(c, 1, &n, sizeof n, NARU_NOWAIT)) == 0)
        n++;
    expect_code(-EAGAIN, r);
    expect_code(most, n);
    return n;
}

static void a_topic_that_all_have_seen(void)
{
    const char *url = test_url("shm:%s/topic");
    naru_channel *fast = topic(url, NARU_RECV, 0, 0), *lossy = topic(url, NARU_RECV, 0, 1);
    int sent = 0, seen = 0;
    for (int round = 0; round < 20; round++) {
        naru_channel *out = topic(url, NARU_SEND, 0, 0);
        naru_channel *late = topic(url, NARU_RECV, 0, 0); /* has not seen the lane before it */
        for (int i = 0; i < 10; i++)
            send_number(out, sent++);
        naru_channel_close(out);
        for (int i = 0; i < 10; i++) {
            goes(url, 0, 0);
            comes(fast, seen + i);
            comes(lossy, seen + i);
            comes(late, seen + i);
        }
        seen += 10;
        naru_channel_close(late);
        goes(url, 1, 1); /* and the cursors of the one that has left */
        nothing_comes(lossy);
        out = topic(url, NARU_SEND, 0, 0);
        int n = fill_up(out, 0);
        naru_channel_close(out);
        for (int i = 0; i < n; i++) {
            comes(fast, i);
            comes(lossy, i);
        }
        goes(url, 1, 0);
    }
    naru_channel_close(fast);
    naru_channel_close(lossy);
    expect_ok(naru_remove(url));
}

/* Whoever subscribes while there is no lane holds the next publisher back no more than others. */
static void a_subscriber_between_two_lanes(void)
{
    const char *url = test_url("shm:%s/topic");
    naru_channel *first = topic(url, NARU_RECV, 0, 0), *out = topic(url, NARU_SEND, 0, 0);
    for (int i = 0; i < 1000; i++) {
        send_number(out, i);
        comes(first, i);
    }
    naru_channel_close(out);
    goes(url, 1, 0);
    naru_channel *second = topic(url, NARU_RECV, 0, 0); /* record 1, so the publisher gets 2 */
    naru_channel *third = topic(url, NARU_RECV, 0, 0);
    naru_channel_close(second);
    goes(url, 0, 1);
    out = topic(url, NARU_SEND, 0, 0);
    int n = fill_up(out, 0);
    expect_says("has not received the last 256");
    for (int i = 0; i < n; i++) {
        comes(first, i);
        comes(third, i);
    }
    for (int i = 0; i < 1000; i++) { /* several laps */
        send_number(out, i);
        comes(first, i);
        comes(third, i);
    }
    naru_channel_close(out);
    naru_channel_close(first);
    naru_channel_close(third);
    expect_ok(naru_remove(url));
}

/* What a lossy subscriber missed before it first saw a publisher's lane it is told, too. */
static void missed_before_the_first_look(void)
{
    const char *url = test_url("shm:%s/topic");
    naru_channel *lossy = topic(url, NARU_RECV, 0, 1);
    for (int round = 0; round < 3; round++) {
        struct naru_info info;
        int got = -1, n = 1000;
        naru_channel *out = topic(url, NARU_SEND, 0, 0);
        for (int i = 0; i < n; i++)
            send_number(out, i);
        naru_channel_close(out);
        expect_code(sizeof got, naru_channel_recv(lossy, 0, &got, sizeof got, &info, PATIENCE));
        expect(got > 0);
        expect_code(got, info.missed);
        while (got < n - 1)
            comes(lossy, ++got);
        goes(url, 1, 0);
    }
    naru_channel_close(lossy);
    expect_ok(naru_remove(url));
}

static void history_stays(void)
{
    const char *url = test_url("shm:%s/topic");
    naru_channel *out = topic(url, NARU_SEND, 3, 0);
    for (int i = 0; i < 10; i++)
        send_number(out, i);
    naru_channel_close(out);
    goes(url, 0, 0);
    naru_channel *in = topic(url, NARU_RECV, 3, 0);
    for (int i = 7; i < 10; i++)
        comes(in, i);
    naru_channel_close(in);
    expect_ok(naru_remove(url));
}

/* Killed between its steps: the lane says that it is gone, and is there. */
static void is_left_gone(naru_channel *out)
{
    struct lanes_map map;
    expect_ok(naru__lanes_map(&lanes_of(out)->object, "lane-1", 0, true, &map));
    naru_channel_close(out);
    ((struct naru_lane_file *)map.memory)->hints.gone = 1;
    naru__lanes_unmap(&map);
}

static void a_collector_that_died(void)
{
    const char *url = test_url("shm:%s/queue");
    naru_channel *in = queue(url, NARU_RECV);
    for (int i = 0; i < 3; i++) {
        naru_channel *out = queue(url, NARU_SEND);
        send_number(out, i);
        comes(in, i);
        is_left_gone(out);
        if (i == 1)
            goes(url, 1, 0);
    }
    naru_channel_close(in);
    expect_ok(naru_remove(url));
}

static int calls_left, knock[2], answer[2];

static int die_at_a_call(const char *call)
{
    (void)call;
    if (calls_left-- == 0)
        kill(getpid(), SIGKILL);
    return 0;
}

/* It dies before each of its calls in turn; the collector before it had died, too, or has not. */
static void a_maker_that_died(void)
{
    for (int n = 0, status = 1; status != 0; n++)
        for (int gone = 0; gone < 2; gone++) {
            const char *url = test_url("shm:%s/queue");
            naru_channel *in = queue(url, NARU_RECV), *out = queue(url, NARU_SEND);
            send_number(out, n);
            comes(in, n);
            if (gone)
                is_left_gone(out);
            else
                naru_channel_close(out);
            if (!gone)
                goes(url, 1, 0);
            pid_t pid = fork();
            if (pid == 0) {
                calls_left = n;
                naru__fault = die_at_a_call;
                _exit(naru_queue_open(url, NARU_SEND, NULL, &out) < 0);
            }
            waitpid(pid, &status, 0);
            expect(status == 0 || WIFSIGNALED(status));
            naru_channel *other = queue(url, NARU_RECV);
            out = queue(url, NARU_SEND);
            naru_channel_close(other);
            send_number(out, n + 1);
            comes(in, n + 1);
            naru_channel_close(out);
            struct naru_collected c = {.size = sizeof c};
            expect_ok(naru_collect(url, 0, &c));
            expect(!is_there(url, "lane-1") && !is_there(url, "claims-1") &&
                   !is_there(url, "new-lane-1") && !is_there(url, "new-claims-1"));
            naru_channel_close(in);
            expect_ok(naru_remove(url));
        }
}

static int wait_at_a_call(const char *call)
{
    char c = 0;
    (void)call;
    if (calls_left-- == 0)
        expect(write(knock[1], &c, 1) == 1 && read(answer[0], &c, 1) == 1);
    return 0;
}

/* Between any two calls of its maker. It is said to be there, for the collector before has died. */
static void a_lane_is_looked_at_while_it_is_made(void)
{
    expect(pipe(knock) == 0 && pipe(answer) == 0);
    calls_left = -1;
    for (int n = 0; calls_left < 0; n++) {
        const char *url = test_url("shm:%s/queue");
        naru_channel *in = queue(url, NARU_RECV), *out = queue(url, NARU_SEND);
        int status;
        char c = 0;
        send_number(out, n);
        comes(in, n);
        is_left_gone(out);
        pid_t pid = fork();
        if (pid == 0) {
            if (read(knock[0], &c, 1) != 1 || naru_queue_open(url, NARU_RECV, NULL, &in) < 0) {
                fprintf(stderr, "before call %d: %s\n", n, naru_why());
                in = NULL;
            }
            c = in ? 0 : 1;
            if (write(answer[1], &c, 1) != 1 || !in)
                _exit(1);
            _exit(naru_channel_recv(in, 0, &status, sizeof status, NULL, PATIENCE) < 0);
        }
        calls_left = n;
        naru__fault = wait_at_a_call;
        out = queue(url, NARU_SEND);
        naru__fault = NULL;
        if (calls_left >= 0) /* there is no such call any more */
            expect(write(knock[1], &c, 1) == 1 && read(answer[0], &c, 1) == 1);
        send_number(out, n + 1);
        expect(waitpid(pid, &status, 0) == pid && status == 0);
        naru_channel_close(out);
        naru_channel_close(in);
        expect_ok(naru_remove(url));
    }
    for (int i = 0; i < 2; i++) {
        close(knock[i]);
        close(answer[i]);
    }
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"an empty lane of a queue", an_empty_lane_of_a_queue},
        {"what somebody has taken", what_somebody_has_taken},
        {"segments that nobody needs", segments_that_nobody_needs},
        {"the same segment again", the_same_segment_again},
        {"a topic that all have seen", a_topic_that_all_have_seen},
        {"a subscriber between two lanes", a_subscriber_between_two_lanes},
        {"missed before the first look", missed_before_the_first_look},
        {"history stays", history_stays},
        {"a collector that died", a_collector_that_died},
        {"a maker that died", a_maker_that_died},
        {"a lane is looked at while it is made", a_lane_is_looked_at_while_it_is_made},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
