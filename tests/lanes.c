/* SPDX-License-Identifier: MIT */
/* lanes.c - queues and topics in shared memory, where something has gone wrong before: what a dead
 * one leaves at a certain step, and numbers at their limits. The crash rig looks for such steps;
 * here are those that were found, or that it cannot reach. */
#include "harness.h"

#include "transport/shm/lanes.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *here(void)
{
    return test_url("shm:%s/x");
}

static naru_channel *queue(int role)
{
    struct naru_queue_options o = {.size = sizeof o, .capacity = 4096};
    naru_channel *c;
    expect_ok(naru_queue_open(here(), role, &o, &c));
    return c;
}

static naru_channel *topic(int role)
{
    struct naru_topic_options o = {.size = sizeof o, .capacity = 4096};
    naru_channel *c;
    expect_ok(naru_topic_open(here(), role, &o, &c));
    return c;
}

static void send_one(naru_channel *c, uint32_t type, uint64_t value)
{
    expect_ok(naru_channel_send(c, type, &value, sizeof value, PATIENCE));
}

static void recv_one(naru_channel *c, uint64_t value, int64_t timeout)
{
    uint64_t got = 0;
    expect_code(sizeof got, naru_channel_recv(c, 0, &got, sizeof got, NULL, timeout));
    expect(got == value);
}

/* How often it has gone to sleep; -1: it does not sleep. */
static long times_asleep(pid_t pid)
{
    char path[40], line[128];
    bool asleep = false;
    long n = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        asleep |= strncmp(line, "State:\tS", 8) == 0;
        if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
            n = atol(line + 24);
    }
    if (f)
        fclose(f);
    return asleep ? n : -1;
}

/* By its record, too: not only on the way there. */
static bool says_so(pid_t pid)
{
    naru_snapshot *s;
    bool asleep = false;
    if (naru_snapshot_take(here(), &s) < 0)
        return false;
    const struct naru_view *v = naru_snapshot_view(s, 0);
    for (size_t i = 0; v && i < v->n_parts; i++)
        for (size_t k = 0; v->parts[i]->pid == pid && k < v->parts[i]->n_facts; k++)
            asleep |= strcmp(v->parts[i]->facts[k].name, "asleep") == 0 &&
                      strcmp(v->parts[i]->facts[k].text, "receiving") == 0;
    naru_snapshot_free(s);
    return asleep;
}

/* How often that was then. */
static long until_asleep(pid_t pid, long more_often_than)
{
    int64_t end = test_now() + PATIENCE;
    long n;
    while (!says_so(pid) || (n = times_asleep(pid)) <= more_often_than) {
        expect(test_now() < end);
        usleep(500);
    }
    return n;
}

/* A child that does it and dies, closing nothing. */
static void die_doing(void (*what)(void *), void *arg)
{
    pid_t pid = fork();
    if (pid == 0) {
        what(arg);
        _exit(0);
    }
    int status = 0;
    expect(waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- a lane in plain memory ---- */

static struct lane {
    struct naru_lane_header plan;
    struct naru_lane_file *file;
    struct naru_lane_claims *claims;
    struct naru_lane_block *blocks;
    struct naru_lane_sender tx;
    struct naru_lane_receiver rx;
} make_lane(uint64_t first)
{
    struct lane l = {.plan = naru__lane_plan(4096, 0)};
    l.file = aligned_alloc(4096, l.plan.file);
    l.claims = calloc(1, (size_t)naru__lane_claims_size(l.plan.slots));
    l.blocks = calloc(l.plan.slots, sizeof *l.blocks);
    memset(l.file, 0, l.plan.file);
    l.file->header = l.plan;
    l.file->hints.next = first;
    l.file->hints.freed = first - 1;
    for (uint64_t n = first; first > 1 && n < first + l.plan.slots; n++) /* of the lap before */
        l.claims->word[(n - 1) % l.plan.slots] =
            naru__claim(n - l.plan.slots, NARU_CLAIM_DONE, 0, 0);
    naru__lane_sender(&l.tx, l.file, &l.plan, l.claims, l.blocks, NULL, NULL);
    naru__lane_receiver(&l.rx, l.file, &l.plan, l.claims);
    return l;
}

static void free_lane(struct lane *l)
{
    free(l->file);
    free(l->claims);
    free(l->blocks);
}

static void publish(struct lane *l)
{
    uint64_t at;
    expect(naru__lane_room(&l->tx, 0, &at));
    naru__lane_publish(&l->tx, &(struct naru_lane_outgoing){.type = 1, .size = 8});
}

static uint64_t claim(struct lane *l, bool *ret_back)
{
    const struct naru_lane_wish any = {0, NULL, UINT64_MAX};
    const struct naru_lane_claimer me = {.member = 3, .generation = 9};
    struct naru_lane_item item;
    if (naru__lane_claim(&l->rx, &any, &me, &item) != 1)
        return 0;
    *ret_back = item.back;
    return item.number;
}

/* Where the numbers of the words go round. */
static void numbers_go_round(void)
{
    uint64_t first = (UINT64_C(1) << 38) - 20;
    struct lane l = make_lane(first);
    bool back;
    for (uint64_t n = first; n < first + 60; n++) {
        publish(&l);
        expect(claim(&l, &back) == n && !back);
        if (n % 3 == 0) {
            naru__lane_give_back(&l.rx, n);
            expect(claim(&l, &back) == n && back);
        }
        l.rx.low = n; /* as another receiver looks */
        expect(claim(&l, &back) == 0);
        naru__lane_done(&l.rx, n);
    }
    expect(naru__lane_left(&l.tx) == 0);
    free_lane(&l);
}

/* A receiver that read a stamp, was stopped for a lap, and goes on with the word. */
static void stopped_for_a_lap(void)
{
    struct lane l = make_lane(1);
    bool back;
    publish(&l);
    for (unsigned state = NARU_CLAIM_DONE; state <= NARU_CLAIM_BACK; state++) {
        uint64_t word = naru__claim(1 + l.plan.slots, state, 7, 1);
        l.claims->word[0] = word;
        l.rx.returned = l.claims->returned;
        l.rx.low = 1;
        expect(claim(&l, &back) == 0);
        expect(l.claims->word[0] == word);
    }
    free_lane(&l);
}

/* A receiver that died between the word and the counter of what it gives back. */
static void half_given_back(void)
{
    struct lane l = make_lane(1);
    bool back;
    publish(&l);
    expect(claim(&l, &back) == 1);
    expect(claim(&l, &back) == 0);
    l.claims->word[0] = naru__claim(1, NARU_CLAIM_BACK, 0, 0);
    expect(naru__lane_clean(l.claims, l.plan.slots, 3) == 0);
    expect(claim(&l, &back) == 1 && back);
    free_lane(&l);
}

/* A sender's hint of its next number may be several laps behind. */
static void next_by_the_slots(void)
{
    struct lane l = make_lane(1);
    bool back;
    for (uint64_t n = 1; n <= 200; n++) {
        publish(&l);
        expect(claim(&l, &back) == n);
        naru__lane_done(&l.rx, n);
        struct naru_lane_sender next;
        struct naru_lane_block *blocks = calloc(l.plan.slots, sizeof *blocks);
        l.file->hints.next = n / 64 * 64 > 64 ? n / 64 * 64 - 64 : 0;
        naru__lane_sender(&next, l.file, &l.plan, l.claims, blocks, NULL, NULL);
        expect(next.next == n + 1);
        free(blocks);
    }
    free_lane(&l);
}

/* ---- with processes ---- */

static void takes_and_dies(void *arg)
{
    struct naru_message m;
    (void)arg;
    naru_channel *c = queue(NARU_RECV);
    expect_ok(naru_channel_take(c, 0, PATIENCE, &m));
}

/* One that only polls, and one that comes new, are given what a dead one had. */
static void polls_after_a_death(void)
{
    naru_channel *c = queue(NARU_SEND | NARU_RECV);
    uint64_t got;
    struct naru_info info = {0};
    for (int i = 0; i < 3; i++) {
        send_one(c, 1, (uint64_t)i);
        die_doing(takes_and_dies, NULL);
        int64_t end = test_now() + PATIENCE;
        ssize_t r;
        while ((r = naru_channel_recv(c, 0, &got, sizeof got, &info, NARU_NOWAIT)) == -EAGAIN)
            expect(test_now() < end);
        expect_ok(r);
        expect(got == (uint64_t)i && info.flags & NARU_REDELIVERED);
    }
    send_one(c, 1, 7);
    die_doing(takes_and_dies, NULL);
    naru_channel *late = queue(NARU_RECV);
    recv_one(late, 7, NARU_NOWAIT);
    naru_channel_close(late);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static void subscribes_and_dies(void *arg)
{
    (void)arg;
    (void)topic(NARU_RECV);
}

static void publishes_after_a_death(void)
{
    naru_channel *c = topic(NARU_SEND);
    uint64_t value = 1;
    die_doing(subscribes_and_dies, NULL);
    int64_t end = test_now() + PATIENCE;
    for (int n = 0; n < 100;) {
        int r = naru_channel_send(c, 1, &value, sizeof value, NARU_NOWAIT);
        expect(r == 0 || r == -EAGAIN);
        expect(test_now() < end);
        n += r == 0;
    }
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static void recv_alone(void *arg)
{
    int64_t begin = test_now();
    naru_channel *c = queue(NARU_RECV);
    (void)arg;
    recv_one(c, 5, 2 * PATIENCE);
    expect(test_now() - begin < PATIENCE);
    naru_channel_close(c);
}

static void publishes_and_dies(void *arg)
{
    uint64_t at, value = 5;
    (void)arg;
    struct shm_lanes *e = lanes_of(queue(NARU_SEND));
    expect(naru__lane_room(&e->tx, 0, &at));
    memcpy(naru__lane_slot(&e->tx)->data, &value, sizeof value);
    naru__lane_publish(&e->tx, &(struct naru_lane_outgoing){.type = 1, .size = sizeof value});
}

/* It slept alone, without a tick, when the sender came, who died before it woke anybody. */
static void woken_by_nobody(void)
{
    pid_t pid = start_child(recv_alone, NULL);
    (void)until_asleep(pid, 0);
    die_doing(publishes_and_dies, NULL);
    end_child(pid);
    expect_ok(naru_remove(here()));
}

static void recv_removed(void *arg)
{
    uint64_t got;
    int64_t begin = test_now();
    naru_channel *c = queue(NARU_RECV);
    (void)arg;
    expect_code(-EIDRM, naru_channel_recv(c, 0, &got, sizeof got, NULL, 2 * PATIENCE));
    expect(test_now() - begin < PATIENCE);
    naru_channel_close(c);
}

/* The remover died between its mark and the wake-ups. */
static void removed_by_nobody(void)
{
    struct naru_url url;
    struct naru_object o;
    pid_t pid = start_child(recv_removed, NULL);
    long asleep = until_asleep(pid, 0);
    const struct naru_object_want want = {
        .what = NARU_OBJECT_QUEUE, .signature = NARU_LANE_VERSION, .flags = NARU_EXISTING};
    expect_ok(naru__url_parse(here(), &url));
    expect_ok(naru__object_open(&url, &want, &o));
    o.state->removed = NARU_OBJECT_GOING;
    naru__object_wake(&o);
    (void)until_asleep(pid, asleep);
    o.state->removed = NARU_OBJECT_REMOVED;
    naru__object_close(&o);
    end_child(pid);
    expect_ok(naru_remove(here()));
}

static void large(naru_channel *from, naru_channel *to, char what)
{
    static char data[20000], got[20000];
    memset(data, what, sizeof data);
    expect_ok(naru_channel_send(from, 1, data, sizeof data, PATIENCE));
    expect_code(sizeof got, naru_channel_recv(to, 0, got, sizeof got, NULL, PATIENCE));
    expect(memcmp(data, got, sizeof got) == 0);
}

/* A receiver keeps segments mapped, so their names are never used again. */
static void segments_of_the_next(void)
{
    naru_channel *to = queue(NARU_RECV);
    for (char i = 'a'; i < 'f'; i++) {
        naru_channel *from = queue(NARU_SEND);
        large(from, to, i);
        naru_channel_close(from);
    }
    naru_channel_close(to);
    expect_ok(naru_remove(here()));
}

/* What a subscriber has left who died while it made its file. */
static void half_a_subscriber(void)
{
    char path[256];
    naru_channel *from = topic(NARU_SEND);
    snprintf(path, sizeof path, "%s/x/cursor-1", test_directory);
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    expect(fd >= 0);
    close(fd);
    naru_channel *to = topic(NARU_RECV);
    send_one(from, 1, 3);
    recv_one(to, 3, PATIENCE);
    naru_channel_close(from);
    naru_channel_close(to);
    expect_ok(naru_remove(here()));
}

/* A message that is not wanted is no reason not to sleep. */
static void sleeps_beside_others(void)
{
    naru_channel *c = queue(NARU_SEND | NARU_RECV);
    uint64_t got;
    struct naru_stats stats = {.size = sizeof stats};
    send_one(c, 9, 1);
    expect_code(-ETIMEDOUT, naru_channel_recv(c, -5, &got, sizeof got, NULL, 50 * NARU_MS));
    expect_ok(naru_stats(c, &stats));
    expect(stats.sleeps > 0);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"numbers go round", numbers_go_round},
        {"stopped for a lap", stopped_for_a_lap},
        {"half given back", half_given_back},
        {"the next number by the slots", next_by_the_slots},
        {"polls after a death", polls_after_a_death},
        {"publishes after a death", publishes_after_a_death},
        {"woken by nobody", woken_by_nobody},
        {"removed by nobody", removed_by_nobody},
        {"segments of the next sender", segments_of_the_next},
        {"half a subscriber", half_a_subscriber},
        {"sleeps beside other types", sleeps_beside_others},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
