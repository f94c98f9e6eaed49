/* SPDX-License-Identifier: MIT */
/* looking.c - naru/inspect.h on queues and topics: what is seen is what is there, nothing is
 * changed by it, and damaged memory is an error. */
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t number(const struct naru_fact *facts, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(facts[i].name, name) == 0)
            return facts[i].number;
    test_failed(__FILE__, __LINE__, "there is no fact \"%s\"", name);
}

/* A fact of the whole (part -1), or of a part. */
static uint64_t seen(const char *url, int part, const char *name)
{
    naru_snapshot *s;
    expect_ok(naru_snapshot_take(url, &s));
    const struct naru_view *v = naru_snapshot_view(s, 0);
    expect(v != NULL);
    expect(part < (int)v->n_parts);
    uint64_t n = part < 0 ? number(v->facts, v->n_facts, name)
                          : number(v->parts[part]->facts, v->parts[part]->n_facts, name);
    naru_snapshot_free(s);
    return n;
}

static unsigned peeked(const char *url, int64_t select, char *types)
{
    naru_peek *p;
    struct naru_message m;
    unsigned n = 0;
    int r;
    expect_ok(naru_peek_open(url, &p));
    while ((r = naru_peek_next(p, select, &m)) > 0)
        types[n++] = (char)('0' + m.info.type);
    expect_ok(r);
    types[n] = '\0';
    naru_peek_close(p);
    return n;
}

static void send_types(naru_channel *c, const char *types)
{
    for (; *types; types++)
        expect_ok(naru_channel_send(c, (uint32_t)(*types - '0'), types, 1, NARU_S));
}

static void a_queue(void)
{
    const char *url = test_url("shm:%s/queue");
    char types[64];
    naru_channel *out, *in;
    struct naru_message m[3];
    expect_ok(naru_queue_open(url, NARU_SEND, NULL, &out));
    send_types(out, "123212");
    expect_ok(naru_queue_open(url, NARU_RECV, NULL, &in));
    for (int i = 0; i < 3; i++)
        expect_ok(naru_channel_take(in, i == 2 ? 2 : 0, NARU_S, &m[i])); /* 1, 2, and a later 2 */
    expect_ok(naru_channel_release(in, &m[0], 1));
    expect(seen(url, -1, "waiting") == 3);
    expect(seen(url, -1, "taken") == 2);
    expect(seen(url, 0, "sent") == 6);
    expect(seen(url, 0, "done") == 1);
    expect(seen(url, 1, "holds") == 2);
    expect(seen(url, 1, "received") == 3);
    peeked(url, 0, types);
    expect(strcmp(types, "312") == 0);
    peeked(url, 2, types);
    expect(strcmp(types, "2") == 0);
    peeked(url, NARU_EXCEPT(2), types);
    expect(strcmp(types, "31") == 0);
    expect_ok(naru_channel_return(in, &m[1], 2));
    peeked(url, 0, types);
    expect(strcmp(types, "23212") == 0);
    expect(seen(url, -1, "waiting") == 5);
    naru_channel_close(in);
    naru_channel_close(out);
    expect_ok(naru_remove(url));
}

/* A message that a receiver holds while the sender goes round is passed over, lap after lap. */
static void held_while_the_sender_goes_round(void)
{
    const char *url = test_url("shm:%s/queue");
    const struct naru_queue_options o = {.size = sizeof o, .messages = 15};
    char byte, types[64];
    naru_channel *out, *in;
    struct naru_message m;
    expect_ok(naru_queue_open(url, NARU_SEND, &o, &out));
    expect_ok(naru_queue_open(url, NARU_RECV, NULL, &in));
    send_types(out, "1");
    expect_ok(naru_channel_take(in, 0, NARU_S, &m));
    for (int i = 0; i < 100; i++) {
        send_types(out, "2");
        expect(seen(url, -1, "waiting") == 1);
        expect(seen(url, -1, "taken") == 1);
        expect(peeked(url, 0, types) == 1);
        expect_code(1, naru_channel_recv(in, 0, &byte, 1, NULL, NARU_S));
    }
    expect(peeked(url, 0, types) == 0);
    expect_ok(naru_channel_return(in, &m, 1));
    peeked(url, 0, types);
    expect(strcmp(types, "1") == 0);
    naru_channel_close(in);
    naru_channel_close(out);
    expect_ok(naru_remove(url));
}

static void a_topic(void)
{
    const char *url = test_url("shm:%s/topic");
    const struct naru_topic_options o = {.size = sizeof o, .history = 4};
    char byte, types[64];
    naru_channel *out, *in;
    expect_ok(naru_topic_open(url, NARU_SEND, &o, &out));
    expect_ok(naru_topic_open(url, NARU_RECV, NULL, &in));
    send_types(out, "12345");
    expect_code(1, naru_channel_recv(in, 0, &byte, 1, NULL, NARU_S));
    expect(seen(url, 1, "behind") == 4);
    expect(seen(url, 1, "received") == 1);
    expect(seen(url, -1, "history") == 4);
    expect(peeked(url, 0, types) == 5);
    naru_channel_close(in);
    naru_channel_close(out);
    expect_ok(naru_remove(url));
}

static void take_and_die(void *url)
{
    naru_channel *in;
    struct naru_message m;
    expect_ok(naru_queue_open(url, NARU_RECV, NULL, &in));
    for (int i = 0; i < 2; i++)
        expect_ok(naru_channel_take(in, 0, 10 * NARU_S, &m));
    raise(SIGKILL);
}

static void the_dead_are_collected(void)
{
    const char *url = test_url("shm:%s/queue");
    struct naru_collected c = {.size = sizeof c};
    char types[64];
    naru_channel *out;
    int status;
    expect_ok(naru_queue_open(url, NARU_SEND, NULL, &out));
    send_types(out, "123");
    naru_channel_close(out);
    waitpid(start_child(take_and_die, (void *)(uintptr_t)url), &status, 0);
    expect(seen(url, -1, "dead") == 1);
    for (int i = 0; i < 2; i++) { /* looking changes nothing */
        expect_ok(naru_collect(url, NARU_DRY_RUN, &c));
        expect(c.participants == 1 && c.messages == 2);
        expect(peeked(url, 0, types) == 1);
    }
    expect_ok(naru_collect(url, 0, &c));
    expect(c.participants == 1 && c.messages == 2 && c.leftovers == 0);
    peeked(url, 0, types);
    expect(strcmp(types, "123") == 0);
    expect_ok(naru_collect(url, 0, &c));
    expect(c.participants == 0 && c.messages == 0);
    expect_ok(naru_remove(url));
    expect_code(-ENOENT, naru_collect(url, 0, &c));
}

static void look_at_all(const char *url)
{
    naru_snapshot *s;
    naru_peek *p;
    struct naru_message m;
    int r = naru_snapshot_take(url, &s);
    if (r == 0)
        naru_snapshot_free(s);
    expect(r == 0 || r == -EPROTO || r == -EIO);
    r = naru_peek_open(url, &p);
    expect(r == 0 || r == -EPROTO || r == -EIO);
    if (r < 0)
        return;
    for (int i = 0; i < 1000 && (r = naru_peek_next(p, 0, &m)) != 0; i++)
        for (size_t k = 0; r > 0 && k < m.size; k += 64)
            (void)*(volatile char *)((char *)m.data + k);
    naru_peek_close(p);
}

/* Each word of each file's head set to what it must not be. */
static void damaged(const char *form, bool topic, const char *const *files)
{
    static const uint64_t evil[] = {0, 1, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(0x7fffffff),
                                    UINT64_C(0x7fffffff00000001), 4096};
    const char *url = test_url(form);
    char path[300];
    naru_channel *both;
    expect_ok(topic ? naru_topic_open(url, NARU_SEND | NARU_RECV, NULL, &both)
                    : naru_queue_open(url, NARU_SEND | NARU_RECV, NULL, &both));
    send_types(both, "123");
    static const char zeros[200000];
    expect_ok(naru_channel_send(both, 4, zeros, 9000, NARU_S));
    expect_ok(naru_channel_send(both, 5, zeros, sizeof zeros, NARU_S));
    for (; *files; files++) {
        snprintf(path, sizeof path, "%s/%s", strchr(url, ':') + 1, *files);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        expect(fd >= 0);
        for (off_t at = 0; at < 5200; at += at >= 400 && at < 4096 ? 512 : 8)
            for (size_t i = 0; i < sizeof evil / sizeof *evil; i++) {
                uint64_t was;
                if (pread(fd, &was, sizeof was, at) != sizeof was)
                    continue;
                expect(pwrite(fd, &evil[i], sizeof evil[i], at) == sizeof evil[i]);
                look_at_all(url);
                expect(pwrite(fd, &was, sizeof was, at) == sizeof was);
            }
        close(fd);
    }
    naru_channel_close(both);
    expect_ok(naru_remove(url));
}

static void a_damaged_queue(void)
{
    damaged("shm:%s/queue", false, (const char *const[]){"meta", "lane-0", "claims-0", NULL});
}

static void a_damaged_topic(void)
{
    damaged("shm:%s/topic", true, (const char *const[]){"meta", "lane-0", "cursor-0", NULL});
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"what a queue has", a_queue},
        {"held while the sender goes round", held_while_the_sender_goes_round},
        {"what a topic has", a_topic},
        {"the dead are collected", the_dead_are_collected},
        {"a damaged queue", a_damaged_queue},
        {"a damaged topic", a_damaged_topic},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
