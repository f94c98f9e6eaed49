/* SPDX-License-Identifier: MIT */
/* sweep-mq.c - the n-th failure, for every n, of message queues: as sweep.c, each system call and
 * each allocation of an operation fails with each errno that it can give, once and from then on.
 *
 * The operation then succeeds, or returns a negative code with a sentence, leaves its
 * out-parameters alone and no queue that it made, and closes without a leak. What failed to be sent
 * does not arrive, and what failed to be received is still there. */
#include <errno.h>
#include <mqueue.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <unistd.h>

#include <cmocka.h>

#include "sweep-codes.h"

#include <naru/naru.h>

static const int64_t soon = 5 * NARU_MS;
enum { POSIX, SYSV };

/* ---- what the operations work on ---- */

static struct {
    int form;
    naru_channel *c; /* both roles */
    struct naru_message m;
    bool taken;
    char url[64];
} w;

static void name_it(int form)
{
    w.form = form;
    if (form == POSIX)
        snprintf(w.url, sizeof w.url, "posix-mq:/naru-sweep-%d", (int)getpid());
    else
        snprintf(w.url, sizeof w.url, "sysv-mq:/proc/%d#7", (int)getpid());
}

static key_t key(void)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d", (int)getpid());
    return ftok(path, 7);
}

/* Removes the queue as a foreign program would. False: it was not there. */
static bool remove_it(void)
{
    if (w.form == POSIX)
        return mq_unlink(strchr(w.url, '/')) == 0;
    int id = msgget(key(), 0);
    return id >= 0 && msgctl(id, IPC_RMID, NULL) == 0;
}

static void nothing(void)
{
}

static void there(void)
{
    struct naru_queue_options o = {.size = sizeof o, .capacity = 8192};
    naru_channel *c;
    need(naru_queue_open(w.url, NARU_RECV, &o, &c));
    naru_channel_close(c);
}

static void opened(void)
{
    need(naru_queue_open(w.url, NARU_SEND | NARU_RECV, NULL, &w.c));
}

static void with_message(void)
{
    opened();
    need(naru_channel_send(w.c, 3, "message", 7, soon));
}

static void with_kept(void)
{
    with_message();
    char byte;
    assert_int_equal(naru_channel_recv(w.c, 0, &byte, 1, NULL, soon), -EMSGSIZE);
}

static void with_taken(void)
{
    with_message();
    need(naru_channel_take(w.c, 0, soon, &w.m));
    w.taken = true;
}

static void full(void)
{
    static char block[2000];
    opened();
    while (naru_channel_send(w.c, 1, block, sizeof block, NARU_NOWAIT) == 0)
        ;
}

/* ---- the operations ---- */

static long open_with(int role, struct naru_queue_options o)
{
    naru_channel *c = POISON;
    o.size = sizeof o;
    long r = naru_queue_open(w.url, role, &o, &c);
    wrong_if(r < 0 && c != POISON, "an out-parameter was touched");
    if (r >= 0)
        w.c = c;
    return r;
}
static long open_recv(void)
{
    return open_with(NARU_RECV, (struct naru_queue_options){0});
}
static long open_sized(void)
{
    return open_with(NARU_SEND | NARU_RECV,
                     (struct naru_queue_options){.capacity = 8192, .mode = 0640});
}
static long open_agreeing(void)
{
    return open_with(NARU_SEND, (struct naru_queue_options){.capacity = 8192, .mode = 0600});
}

/* Has it gone, exactly if it was said to? */
static long sent(long r)
{
    char got[100];
    disarm();
    long n = naru_channel_recv(w.c, 0, got, sizeof got, NULL, NARU_NOWAIT);
    wrong_if(r < 0 && n >= 0, "what failed to be sent arrived");
    wrong_if(r >= 0 && (n != 7 || memcmp(got, "message", 7) != 0), "what was sent is not there");
    return r;
}
static long send_timed(void)
{
    return sent(naru_channel_send(w.c, 1, "message", 7, soon));
}
static long send_for_ever(void)
{
    return sent(naru_channel_send(w.c, 1, "message", 7, hook->for_ever ? soon : NARU_FOREVER));
}
static long send_vector(void)
{
    const struct iovec pieces[] = {{"mes", 3}, {"sage", 4}};
    return sent(naru_channel_send_vector(w.c, 1, pieces, 2, soon));
}
static long send_full(void)
{
    long r = naru_channel_send(w.c, 1, "message", 7, soon);
    return r == -ETIMEDOUT ? 0 : r;
}

/* What failed to be received is there still. */
static long received(long r, const char *got, const struct naru_info *info)
{
    char again[100];
    disarm();
    wrong_if(r >= 0 && (r != 7 || memcmp(got, "message", 7) != 0), "another message came");
    wrong_if(r < 0 && r != -EMSGSIZE && info->type != 77, "an out-parameter was touched");
    if (r < 0)
        wrong_if(naru_channel_recv(w.c, 0, again, sizeof again, NULL, NARU_NOWAIT) != 7,
                 "a message is lost");
    return r;
}
static long recv_timed(void)
{
    char got[100];
    struct naru_info info = {.type = 77};
    return received(naru_channel_recv(w.c, 0, got, sizeof got, &info, soon), got, &info);
}
static long recv_for_ever(void)
{
    char got[100];
    struct naru_info info = {.type = 77};
    return received(
        naru_channel_recv(w.c, 0, got, sizeof got, &info, hook->for_ever ? soon : NARU_FOREVER),
        got, &info);
}
static long recv_too_small(void)
{
    char got[3];
    struct naru_info info = {.type = 77};
    long r = received(naru_channel_recv(w.c, 0, got, sizeof got, &info, soon), got, &info);
    return r == -EMSGSIZE ? 0 : r;
}
static long recv_lower(void) /* with one kept: the kernel is asked for a lower one first */
{
    char got[100];
    struct naru_info info = {.type = 77};
    return received(naru_channel_recv(w.c, w.form == SYSV ? -9 : 0, got, sizeof got, &info, soon),
                    got, &info);
}
static long recv_nothing(void)
{
    char byte;
    long r = naru_channel_recv(w.c, 0, &byte, 1, NULL, soon);
    wrong_if(r >= 0, "something came");
    return r == -ETIMEDOUT ? 0 : r;
}
static long take(void)
{
    struct naru_message m = {.data = POISON};
    long r = naru_channel_take(w.c, 0, soon, &m);
    wrong_if(r < 0 && m.data != POISON, "an out-parameter was touched");
    if (r >= 0) {
        w.m = m;
        w.taken = true;
        return received((long)m.size, m.data, &m.info);
    }
    return received(r, NULL, &(struct naru_info){.type = 77});
}
static long give_back(void)
{
    long r = naru_channel_return(w.c, &w.m, 1);
    w.taken = r < 0;
    return r;
}
static long flush(void)
{
    return naru_channel_flush(w.c, soon);
}
static long flush_unread(void)
{
    long r = naru_channel_flush(w.c, soon);
    wrong_if(r >= 0, "it was flushed");
    return r == -ETIMEDOUT ? 0 : r;
}
static long descriptor(void)
{
    long fd = naru_fd(w.c);
    char byte;
    if (fd < 0)
        return fd;
    long r = naru_channel_recv(w.c, 0, &byte, 1, NULL, NARU_NOWAIT);
    return r == -EAGAIN ? 0 : r;
}
static long count(void)
{
    struct naru_stats stats = {.size = sizeof stats};
    return naru_stats(w.c, &stats);
}
static long remove_queue(void)
{
    long r = naru_remove(w.url);
    disarm();
    wrong_if(r >= 0 && remove_it(), "it is there still");
    return r;
}

static const struct operation {
    const char *name;
    void (*prepare)(void);
    long (*run)(void);
    bool creates;
    bool silent[2]; /* of each form: no call that could fail */
} operations[] = {
    {"open recv", nothing, open_recv, true, {0, 0}},
    {"open with sizes", nothing, open_sized, true, {0, 0}},
    {"open agreeing", there, open_agreeing, false, {0, 0}},
    {"send", opened, send_timed, false, {0, 0}},
    {"send for ever", opened, send_for_ever, false, {0, 0}},
    {"send vector", opened, send_vector, false, {0, 0}},
    {"send, full", full, send_full, false, {0, 0}},
    {"recv", with_message, recv_timed, false, {0, 0}},
    {"recv for ever", with_message, recv_for_ever, false, {0, 0}},
    {"recv, buffer too small", with_message, recv_too_small, false, {0, 0}},
    {"recv with one kept", with_kept, recv_lower, false, {true, false}},
    {"recv, nothing", opened, recv_nothing, false, {0, 0}},
    {"take", with_message, take, false, {0, 0}},
    {"return", with_taken, give_back, false, {true, true}},
    {"flush", opened, flush, false, {0, 0}},
    {"flush, unread", with_message, flush_unread, false, {0, 0}},
    {"naru_fd", opened, descriptor, false, {0, 0}},
    {"naru_stats", opened, count, false, {true, false}},
    {"remove", there, remove_queue, false, {0, 0}},
};

/* ---- the sweep ---- */

static void clean_up(void)
{
    if (w.taken)
        naru_channel_release(w.c, &w.m, 1);
    naru_channel_close(w.c);
    remove_it();
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
    wrong_if(r < 0 && o->creates && !hook->removal_failed && remove_it(),
             "a queue that the failed call created is left");
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

static void sweep(const struct operation *o, int form)
{
    long points = 0;
    bool calls = point(o, form, -1, 0, false, &points);
    for (int mode = 0; mode < 2 && calls; mode++)
        for (int at = 0, reached = 1; reached; at++)
            for (int code = reached = 0; code < CODES_MAX && at < CALLS_MAX; code = next_code(code))
                reached |= point(o, form, at, code, mode == 1, &points);
    print_message("# %s %s: %ld points\n", form == POSIX ? "posix-mq:" : "sysv-mq:", o->name,
                  points);
    assert_int_equal(points > 0, !o->silent[form]);
}

static void sweep_posix(void **state)
{
    sweep(*state, POSIX);
}

static void sweep_sysv(void **state)
{
    sweep(*state, SYSV);
}

int main(void)
{
    enum { N = sizeof operations / sizeof *operations };
    static struct CMUnitTest tests[2 * N];
    static char names[2 * N][60];
    for (size_t i = 0; i < 2 * N; i++) {
        const struct operation *o = &operations[i / 2];
        snprintf(names[i], sizeof names[i], "%s %s", i % 2 ? "sysv-mq:" : "posix-mq:", o->name);
        tests[i] = (struct CMUnitTest){names[i], i % 2 ? sweep_sysv : sweep_posix, NULL, NULL,
                                       (void *)(uintptr_t)o};
    }
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
