/* SPDX-License-Identifier: MIT */
/* sweep-lanes.c - the n-th failure, for every n, of queues and topics in shared memory: as sweep.c,
 * each system call and each allocation of an operation fails with each errno that it can give, once
 * and from then on.
 *
 * The operation then succeeds, or returns a negative code with a sentence, and leaves its
 * out-parameters alone. What failed to be sent does not arrive, what failed to be received is still
 * there; the object serves whoever comes next, and once it is removed no file, no mapping and no
 * descriptor is left. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sweep-codes.h"

#include <naru/naru.h>

enum { QUEUE = 1, TOPIC = 2, BOTH = QUEUE | TOPIC };
enum { SMALL = 50, MEDIUM = 3000, LARGE = 100000 };
static const int64_t soon = 2 * NARU_MS;
static char directory[] = "/dev/shm/naru-sweep-XXXXXX", url[80];
static char large[LARGE], buffer[LARGE];

/* ---- what the operations work on ---- */

static struct {
    int form;
    naru_channel *c[2]; /* sends, receives */
    struct naru_message m[4];
    size_t taken;
} w;

/* A file that is said not to be there has gone with the object, and with it what it held. */
static bool gone(void)
{
    enum { NUMBER = 6 }; /* ENOENT among those of open */
    return strcmp(hook->call, "open") == 0 && hook->code == NUMBER;
}

static int open_it(int role, naru_channel **ret_c)
{
    const struct naru_queue_options q = {.size = sizeof q, .capacity = 16384, .messages = 15};
    const struct naru_topic_options t = {.size = sizeof t, .capacity = 16384, .history = 2};
    return w.form == QUEUE ? naru_queue_open(url, role, &q, ret_c)
                           : naru_topic_open(url, role, &t, ret_c);
}

static void nothing(void)
{
}

static void made(void) /* and left */
{
    naru_channel *c;
    need(open_it(NARU_RECV, &c));
    naru_channel_close(c);
}

static void ends(void) /* each knows the other's files */
{
    need(open_it(NARU_RECV, &w.c[1]));
    need(open_it(NARU_SEND, &w.c[0]));
    for (int i = 0; i < 2; i++) { /* the second is not overtaken any more, so it is not copied */
        need(naru_channel_send(w.c[0], 1, "x", 1, PATIENCE));
        need(naru_channel_recv(w.c[1], 0, buffer, 1, NULL, PATIENCE));
    }
}

static void with(size_t size)
{
    ends();
    need(naru_channel_send(w.c[0], 1, large, size, PATIENCE));
}

static void with_small(void)
{
    with(SMALL);
}
static void with_medium(void)
{
    with(MEDIUM);
}
static void with_large(void)
{
    with(LARGE);
}

static void with_taken(void)
{
    with(LARGE);
    need(naru_channel_take(w.c[1], 0, PATIENCE, &w.m[0]));
    w.taken = 1;
}

static void full(void)
{
    ends();
    while (naru_channel_send(w.c[0], 1, large, SMALL, NARU_NOWAIT) == 0)
        ;
}

static void not_met(void) /* the receiver has to map the lane */
{
    need(open_it(NARU_RECV, &w.c[1]));
    need(open_it(NARU_SEND, &w.c[0]));
    need(naru_channel_send(w.c[0], 1, large, SMALL, PATIENCE));
}

static void lane_left(void) /* with a message in a segment */
{
    with(LARGE);
    w.c[0] = naru_channel_close(w.c[0]);
}

static void empty_left(void) /* and a receiver has it mapped */
{
    with(LARGE);
    need(naru_channel_recv(w.c[1], 0, buffer, LARGE, NULL, PATIENCE));
    w.c[0] = naru_channel_close(w.c[0]);
}

/* A participant that has died with a message in hand, one in its lane, and a descriptor in use. */
static void one_dead(void)
{
    ends();
    need(naru_channel_send(w.c[0], 1, large, SMALL, PATIENCE));
    pid_t pid = fork();
    if (pid == 0) {
        naru_channel *c;
        struct naru_message m;
        if (open_it(NARU_SEND | NARU_RECV, &c) < 0 || naru_fd(c) < 0 ||
            naru_channel_take(c, 0, PATIENCE, &m) < 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
}

/* ---- the operations ---- */

static long opens(int role)
{
    naru_channel *c = POISON;
    long r = open_it(role, &c);
    wrong_if(r < 0 && (void *)c != POISON, "an out-parameter was touched");
    if (r < 0)
        return r;
    int place = role & NARU_SEND ? 0 : 1;
    disarm();
    naru_channel_close(w.c[place]);
    w.c[place] = c;
    return r;
}
static long open_recv(void)
{
    return opens(NARU_RECV);
}
static long open_send(void)
{
    return opens(NARU_SEND);
}
static long open_both(void)
{
    return opens(NARU_SEND | NARU_RECV);
}

/* What was sent is there, and in its place; what was not, not. */
static long sent(long r, long n, size_t size)
{
    disarm();
    long got = 0;
    wrong_if(naru_channel_send(w.c[0], 2, "next", 4, PATIENCE) < 0, "the next is not sent");
    for (;;) {
        struct naru_info info;
        long bytes = naru_channel_recv(w.c[1], 0, buffer, LARGE, &info, PATIENCE);
        if (bytes < 0 || info.type == 2) {
            wrong_if(bytes < 0, "the next does not arrive");
            break;
        }
        got++;
        wrong_if((size_t)bytes != size || memcmp(buffer, large, size) != 0, "other bytes came");
    }
    wrong_if(got != (r < 0 ? 0 : n), "more or less came than was said");
    return r;
}
static long send_size(size_t size)
{
    return sent(naru_channel_send(w.c[0], 1, large, size, soon), 1, size);
}
static long send_small(void)
{
    return send_size(SMALL);
}
static long send_medium(void)
{
    return send_size(MEDIUM);
}
static long send_large(void)
{
    return send_size(LARGE);
}
static long send_vector(void)
{
    const struct iovec pieces[] = {{large, 30}, {large + 30, LARGE - 30}};
    return sent(naru_channel_send_vector(w.c[0], 1, pieces, 2, soon), 1, LARGE);
}
static long send_many(void)
{
    struct naru_message m[4];
    for (size_t i = 0; i < 4; i++)
        m[i] = (struct naru_message){.data = large, .size = LARGE, .info.type = 1};
    long r = naru_channel_send_many(w.c[0], m, 4, soon);
    return sent(r, r, LARGE);
}
static long in_place(bool commits)
{
    void *room = POISON;
    long r = naru_channel_reserve(w.c[0], LARGE, soon, &room);
    wrong_if(r < 0 && room != POISON, "an out-parameter was touched");
    if (r < 0)
        return sent(r, 0, LARGE);
    memcpy(room, large, LARGE);
    if (commits)
        r = naru_channel_commit(w.c[0], room, LARGE, 1);
    else
        naru_channel_abandon(w.c[0], room);
    return sent(r, commits, LARGE);
}
static long reserve_and_commit(void)
{
    return in_place(true);
}
static long reserve_and_abandon(void)
{
    return in_place(false);
}
static long send_full(void)
{
    long r = naru_channel_send(w.c[0], 1, large, SMALL, soon);
    wrong_if(r >= 0, "there was no room");
    disarm();
    wrong_if(naru_channel_recv(w.c[1], 0, buffer, LARGE, NULL, PATIENCE) != SMALL ||
                 naru_channel_send(w.c[0], 1, large, SMALL, PATIENCE) < 0,
             "it does not go on");
    return r == -ETIMEDOUT ? 0 : r;
}

static long received(int64_t select, size_t size)
{
    struct naru_info info;
    memset(&info, 0x5a, sizeof info);
    const struct naru_info before = info;
    long r = naru_channel_recv(w.c[1], select, buffer, LARGE, &info, soon);
    wrong_if(r < 0 && memcmp(&info, &before, sizeof info) != 0, "an out-parameter was touched");
    disarm();
    if (r < 0 && gone())
        return r;
    if (r < 0)
        wrong_if(naru_channel_recv(w.c[1], select, buffer, LARGE, &info, PATIENCE) != (long)size,
                 "the message is lost");
    wrong_if(memcmp(buffer, large, size) != 0, "other bytes came");
    return r;
}
static long recv_small(void)
{
    return received(0, SMALL);
}
static long recv_selected(void)
{
    return received(-5, SMALL);
}
static long recv_medium(void)
{
    return received(1, MEDIUM);
}
static long recv_large(void)
{
    return received(0, LARGE);
}
static long recv_nothing(void)
{
    long r = naru_channel_recv(w.c[1], 7, buffer, LARGE, NULL, soon);
    wrong_if(r >= 0, "something came");
    return r == -ETIMEDOUT ? 0 : r;
}
static long take(void)
{
    struct naru_message m = {.data = POISON};
    long r = naru_channel_take(w.c[1], 0, soon, &m);
    wrong_if(r < 0 && m.data != POISON, "an out-parameter was touched");
    disarm();
    if (r < 0) {
        wrong_if(!gone() && naru_channel_recv(w.c[1], 0, buffer, LARGE, NULL, PATIENCE) != LARGE,
                 "the message is lost");
        return r;
    }
    wrong_if(m.size != LARGE || memcmp(m.data, large, LARGE) != 0, "other bytes came");
    need(naru_channel_release(w.c[1], &m, 1));
    return r;
}
static long give_back(void)
{
    long r = naru_channel_return(w.c[1], w.m, 1);
    w.taken = 0;
    disarm();
    /* a subscriber keeps a copy: without memory for it there is none */
    wrong_if(naru_channel_recv(w.c[1], 0, buffer, LARGE, NULL, 20 * NARU_MS) != LARGE &&
                 strcmp(hook->call, "alloc") != 0,
             "the message is lost");
    return r;
}
static long release(void)
{
    w.taken = 0;
    return naru_channel_release(w.c[1], w.m, 1);
}
static long flush(void)
{
    long r = naru_channel_flush(w.c[0], soon); /* nobody takes it */
    return r == -ETIMEDOUT ? 0 : r;
}
static long wait_peers(void)
{
    long r = naru_channel_wait_peers(w.c[0], 5, soon);
    return r == -ETIMEDOUT ? 0 : r;
}
static long descriptor(void)
{
    long r = naru_fd(w.c[1]);
    if (r >= 0)
        r = naru_want(w.c[1], NARU_IN);
    disarm();
    wrong_if(r < 0 && naru_fd(w.c[1]) < 0, "no descriptor afterwards either");
    return r;
}
static long sender_descriptor(void)
{
    long r = naru_fd(w.c[0]);
    return r < 0 ? r : naru_want(w.c[0], NARU_OUT);
}
static long wakes_by_socket(void)
{
    disarm();
    need(naru_fd(w.c[1]));
    need(naru_want(w.c[1], NARU_IN));
    arm();
    return send_size(SMALL);
}
static long stats(void)
{
    struct naru_stats s = {.size = sizeof s};
    return naru_stats(w.c[0], &s);
}
static long close_both(void)
{
    w.c[0] = naru_channel_close(w.c[0]);
    w.c[1] = naru_channel_close(w.c[1]);
    return 0;
}
static long remove_it(void)
{
    long r = naru_remove(url);
    disarm();
    if (r < 0 && !hook->removal_failed)
        wrong_if(naru_remove(url) < 0, "it cannot be removed afterwards either");
    return r;
}
static long remove_open(void)
{
    long r = remove_it();
    if (r >= 0 && !gone())
        wrong_if(naru_channel_send(w.c[0], 1, "x", 1, soon) != -EIDRM ||
                     naru_channel_recv(w.c[1], 0, buffer, 1, NULL, soon) != -EIDRM,
                 "it goes on");
    return r;
}

/* Whatever of it fails, the next sender's message arrives where the lane was known. */
static long collect_as(unsigned flags)
{
    struct naru_collected c = {.size = sizeof c};
    long r = naru_collect(url, flags, &c);
    disarm();
    wrong_if(r < 0 && (c.participants || c.lanes || c.files), "an out-parameter was touched");
    if (w.c[0])
        return r;
    need(open_it(NARU_SEND, &w.c[0]));
    need(naru_channel_send(w.c[0], 3, "next", 4, PATIENCE));
    struct naru_info info = {.type = 0};
    while (info.type != 3 && naru_channel_recv(w.c[1], 0, buffer, LARGE, &info, PATIENCE) >= 0)
        ;
    wrong_if(info.type != 3, "the next does not arrive");
    return r;
}
static long collect(void)
{
    return collect_as(0);
}
static long collect_dry(void)
{
    return collect_as(NARU_DRY_RUN);
}

static const struct operation {
    const char *name;
    void (*prepare)(void);
    long (*run)(void);
    int forms;
    int silent; /* they make no call that could fail: said, so that one that begins to is swept */
} operations[] = {
    {"open recv, creates", nothing, open_recv, BOTH, 0},
    {"open send, creates", nothing, open_send, BOTH, 0},
    {"open both, creates", nothing, open_both, BOTH, 0},
    {"open recv", made, open_recv, BOTH, 0},
    {"open send", made, open_send, BOTH, 0},
    {"open send, a lane was left", lane_left, open_send, BOTH, 0},
    {"open both, one has died", one_dead, open_both, BOTH, 0},
    {"send small", ends, send_small, BOTH, BOTH},
    {"send into the area", ends, send_medium, BOTH, BOTH},
    {"send in a segment", ends, send_large, BOTH, 0},
    {"send vector", ends, send_vector, BOTH, 0},
    {"send many", ends, send_many, BOTH, 0},
    {"send, full", full, send_full, BOTH, 0},
    {"send, to one who polls", ends, wakes_by_socket, BOTH, 0},
    {"reserve and commit", ends, reserve_and_commit, BOTH, 0},
    {"reserve and abandon", ends, reserve_and_abandon, BOTH, 0},
    {"recv small", with_small, recv_small, BOTH, BOTH},
    {"recv by type", with_small, recv_selected, BOTH, QUEUE},
    {"recv from the area", with_medium, recv_medium, BOTH, BOTH},
    {"recv from a segment", with_large, recv_large, BOTH, 0},
    {"recv from a lane not met", not_met, recv_small, BOTH, 0},
    {"recv nothing", ends, recv_nothing, BOTH, 0},
    {"recv what a dead one had", one_dead, recv_small, QUEUE, 0},
    {"take from a segment", with_large, take, BOTH, 0},
    {"return", with_taken, give_back, BOTH, QUEUE},
    {"release", with_taken, release, BOTH, BOTH},
    {"flush", with_small, flush, BOTH, 0},
    {"wait_peers", ends, wait_peers, BOTH, 0},
    {"naru_fd", ends, descriptor, BOTH, 0},
    {"naru_fd of a sender", full, sender_descriptor, BOTH, 0},
    {"stats", ends, stats, BOTH, BOTH},
    {"close", with_large, close_both, BOTH, BOTH},
    {"collect, a lane was left", lane_left, collect, BOTH, 0},
    {"collect, an empty one", empty_left, collect, BOTH, 0},
    {"collect, an empty one, dry", empty_left, collect_dry, BOTH, 0},
    {"collect, one has died", one_dead, collect, BOTH, 0},
    {"remove", made, remove_it, BOTH, 0},
    {"remove, open", with_large, remove_open, BOTH, 0},
};

/* ---- the sweep ---- */

static int names(void)
{
    int n = -2;
    DIR *d = opendir(directory);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static int mapped(void)
{
    int n = 0;
    char line[500];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        n += strstr(line, directory) != NULL;
    if (maps)
        fclose(maps);
    return n;
}

/* It serves whoever comes next, and goes without a trace. */
static void serves(void)
{
    naru_channel *c[2] = {NULL, NULL};
    int r = open_it(NARU_RECV, &c[1]);
    while (r == 0 && naru_channel_recv(c[1], 0, buffer, LARGE, NULL, NARU_NOWAIT) >= 0)
        ; /* so that there is room */
    if (r == 0)
        r = open_it(NARU_SEND, &c[0]);
    wrong_if(r < 0, "it cannot be opened afterwards");
    if (r == 0)
        wrong_if(naru_channel_send(c[0], 99, "last", 4, PATIENCE) < 0 ||
                     naru_channel_recv(c[1], 99, buffer, LARGE, NULL, PATIENCE) != 4,
                 "it does not serve afterwards");
    naru_channel_close(c[0]);
    naru_channel_close(c[1]);
    wrong_if(naru_remove(url) < 0, "it cannot be removed afterwards");
    wrong_if(names() != 0, "files are left");
    wrong_if(mapped() != 0, "mappings are left");
}

static void clean_up(void)
{
    if (w.taken)
        naru_channel_release(w.c[1], w.m, w.taken);
    for (int i = 0; i < 2; i++)
        w.c[i] = naru_channel_close(w.c[i]);
    serves();
}

/* One point. False: there is no such call any more. */
static bool point(const struct operation *o, int form, int at, int code, bool for_ever,
                  long *ret_points)
{
    int before = open_descriptors();
    char why[300];
    memset(&w, 0, sizeof w);
    wrong = NULL;
    w.form = form;
    o->prepare();
    *hook = (struct hook){.at = at, .code = code, .for_ever = for_ever};
    alarm(3 * PATIENCE / NARU_S);
    arm();
    long r = o->run();
    disarm();
    snprintf(why, sizeof why, "%s", naru_why());
    const struct hook seen = *hook;
    wrong_if(r < 0 && !*why, "no sentence");
    wrong_if(r < -4095, "no errno");
    wrong_if(seen.unlisted, "a call that the table has no errno for");
    clean_up();
    alarm(0);
    wrong_if(open_descriptors() != before, "descriptors leaked");
    bool reached = seen.count > at, counts = at >= 0 && reached && !seen.missed;
    *ret_points += counts;
    wrong_if(at < 0 && r < 0, "it fails by itself");
    if (wrong && (counts || at < 0)) {
        print_message("# %s of a %s: call %d (%s), errno number %d%s, result %ld: %s; \"%s\"\n",
                      o->name, form == QUEUE ? "queue" : "topic", at, seen.call, code,
                      for_ever ? ", for ever" : "", r, wrong, why);
        fail();
    }
    return at < 0 ? seen.count > 0 : reached;
}

static void sweep(void **state)
{
    const struct operation *o = *state;
    for (int form = QUEUE; form <= TOPIC; form *= 2) {
        long points = 0;
        if (!(o->forms & form))
            continue;
        bool calls = point(o, form, -1, 0, false, &points);
        /* what takes its time, or is asked to be short, fails once only, and not for ever */
        int modes = o->prepare == one_dead || getenv("ONCE") ? 1 : 2;
        for (int mode = 0; mode < modes && calls; mode++)
            for (int at = 0, reached = 1; reached; at++)
                for (int code = reached = 0; code < CODES_MAX && at < CALLS_MAX;
                     code = next_code(code))
                    reached |= point(o, form, at, code, mode == 1, &points);
        print_message("# %s of a %s: %ld points\n", o->name, form == QUEUE ? "queue" : "topic",
                      points);
        assert_int_equal(points > 0, !(o->silent & form));
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
    if (!mkdtemp(directory))
        return 1;
    snprintf(url, sizeof url, "shm:%s/x", directory);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    return r;
}
