/* SPDX-License-Identifier: MIT */
/* table.c - every URL form as every noun: yes carries something, no says who can, later says so.
 * The expected matrix stands here by hand, so that the table in the code cannot drift. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* stream connection queue topic region lock service: y yes, l later, - no */
static const struct {
    const char *scheme, *cells, *url;
} expected[] = {
    {"pipe", "yy----y", "pipe:"},
    {"fifo", "y-y----", "fifo:/tmp/naru-no-such"},
    {"posix-mq", "--y----", "posix-mq:/name"},
    {"sysv-mq", "--y----", "sysv-mq:0x1234"},
    {"posix-shm", "----y--", "posix-shm:/name"},
    {"sysv-shm", "----y--", "sysv-shm:/tmp#1"},
    {"posix-sem", "-----y-", "posix-sem:/name"},
    {"sysv-sem", "-----y-", "sysv-sem:/tmp#1"},
    {"shm", "-yyyyyy", "shm:name"},
    {"map", "--yyyy-", "map:/tmp/file"},
    {"unix", "yy----y", "unix:/tmp/naru-no-such"},
    {"unix+seqpacket", "-y-----", "unix+seqpacket:/tmp/socket"},
    {"unix+dgram", "--y----", "unix+dgram:/tmp/socket"},
    {"tcp", "yy----y", "tcp://localhost:1"},
    {"tls", "yy----y", "tls://localhost:1"},
    {"udp", "--yy---", "udp://localhost:1"},
    {"grpc", "------y", "grpc://localhost:1"},
    {"grpcs", "------y", "grpcs://localhost:1"},
    {"grpc+unix", "------y", "grpc+unix:/tmp/socket"},
    {"nats", "--ll--l", "nats://localhost/subject"},
};
enum { ROWS = sizeof expected / sizeof *expected };

static void same_table(void)
{
    const struct naru_url_form *forms;
    expect_code(ROWS, naru_url_forms(&forms));
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < NARU_NOUN_COUNT; k++) {
            char c = "-yl"[forms[i].cell[k]];
            expect(strcmp(forms[i].scheme, expected[i].scheme) == 0);
            if (c != expected[i].cells[k])
                test_failed(__FILE__, __LINE__, "%s as %s is %c in the code", forms[i].form,
                            naru_noun_name(k), c);
        }
    const struct naru_kind *kinds;
    expect_code(8, naru_kinds(&kinds));
}

/* The opening call of a noun, where there is one. */
static int try_open(const char *url, int noun)
{
    naru_stream *s = NULL;
    naru_channel *c = NULL;
    naru_region *region = NULL;
    int r = -EOPNOTSUPP;
    if (noun == NARU_NOUN_STREAM)
        r = naru_stream_open(url, NARU_READ, NULL, NARU_NOWAIT, &s);
    else if (noun == NARU_NOUN_CONNECTION)
        r = naru_channel_connect(url, NULL, NARU_NOWAIT, &c);
    else if (noun == NARU_NOUN_QUEUE)
        r = naru_queue_open(url, NARU_RECV, NULL, &c);
    else if (noun == NARU_NOUN_TOPIC)
        r = naru_topic_open(url, NARU_RECV, NULL, &c);
    else if (noun == NARU_NOUN_REGION)
        r = naru_region_create(url, 1, NULL, &region);
    else
        r = naru_can(url, noun);
    naru_stream_close(s);
    naru_channel_close(c);
    naru_region_close(region);
    return r;
}

static void refused_cells(void)
{
    int tried = 0;
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < NARU_NOUN_COUNT; k++) {
            char cell = expected[i].cells[k];
            if (cell == 'y') {
                expect_code(0, naru_can(expected[i].url, k));
                continue;
            }
            tried++;
            expect_code(-EOPNOTSUPP, naru_can(expected[i].url, k));
            expect_code(-EOPNOTSUPP, try_open(expected[i].url, k));
            if (cell == 'l') {
                expect_says("not in this build");
            } else {
                expect_says("cannot be");
                expect_says("these can");
                expect(!strstr(strstr(naru_why(), "these can"), expected[i].url));
            }
        }
    expect(tried == 20 * 7 - 37);
}

static void stream_cells(void)
{
    naru_stream *a, *b;
    char byte = 0;
    expect_ok(naru_stream_pair("pipe:", NULL, &a, &b));
    expect_ok(naru_stream_write_all(a, "p", 1, PATIENCE, NULL));
    expect_ok(naru_stream_read_all(b, &byte, 1, PATIENCE, NULL));
    expect(byte == 'p');
    naru_stream_close(a);
    naru_stream_close(b);
    const char *url = test_url("fifo:%s/f");
    expect_ok(naru_stream_open(url, NARU_READ, NULL, NARU_NOWAIT, &a));
    expect_ok(naru_stream_open(url, NARU_WRITE, NULL, NARU_NOWAIT, &b));
    expect_ok(naru_stream_write_all(b, "f", 1, PATIENCE, NULL));
    expect_ok(naru_stream_read_all(a, &byte, 1, PATIENCE, NULL));
    expect(byte == 'f');
    naru_stream_close(a);
    naru_stream_close(b);
    expect_ok(naru_remove(url));
    expect_code(-EOPNOTSUPP, naru_stream_open("pipe:", NARU_READ, NULL, NARU_NOWAIT, &a));
    expect_says("naru_stream_pair");
    expect_code(-EOPNOTSUPP, naru_stream_pair(url, NULL, &a, &b));
    expect_code(-EOPNOTSUPP, naru_remove("pipe:"));
}

static void channel_cells(void)
{
    naru_channel *a, *b;
    char byte = 0;
    expect_ok(naru_channel_pair("pipe:", NULL, &a, &b));
    expect_ok(naru_channel_send(a, 7, "c", 1, PATIENCE));
    expect_code(1, naru_channel_recv(b, 7, &byte, 1, NULL, PATIENCE));
    naru_channel_close(a);
    naru_channel_close(b);
    static const char *const forms[] = {"fifo:%s/q", "posix-mq:/%s-q", "sysv-mq:%s#1", "shm:%s/q"};
    for (int i = 0; i < 4; i++) {
        const char *url = test_url(forms[i]);
        expect_ok(naru_queue_open(url, NARU_SEND | NARU_RECV, NULL, &a)); /* both in one handle */
        expect_ok(naru_channel_send(a, 7, "q", 1, PATIENCE));
        expect_code(1, naru_channel_recv(a, i == 1 ? 0 : 7, &byte, 1, NULL, PATIENCE));
        expect(byte == 'q');
        naru_channel_close(a);
        expect_ok(naru_remove(url));
        expect_code(-ENOENT, naru_remove(url));
    }
    expect_code(-EOPNOTSUPP, naru_channel_connect("pipe:", NULL, NARU_NOWAIT, &a));
    expect_says("naru_channel_pair");
    const char *url = test_url("shm:%s/t");
    expect_ok(naru_topic_open(url, NARU_RECV, NULL, &a));
    expect_ok(naru_topic_open(url, NARU_SEND, NULL, &b));
    expect_ok(naru_channel_send(b, 7, "t", 1, PATIENCE));
    expect_code(1, naru_channel_recv(a, 7, &byte, 1, NULL, PATIENCE));
    naru_channel_close(a);
    naru_channel_close(b);
    expect_code(-EEXIST, naru_queue_open(url, NARU_SEND, NULL, &a)); /* a name holds one object */
    expect_says("is a topic, and a queue was asked for");
    expect_ok(naru_remove(url));
}

static void region_cells(void)
{
    naru_region *r, *other;
    static const char *const forms[] = {"shm:%s/r", "posix-shm:/%s-r", "sysv-shm:%s#3",
                                        "map:%s/file"};
    for (int i = 0; i < 4; i++) {
        const char *url = test_url(forms[i]);
        char byte = 0;
        expect_ok(naru_region_create(url, 10, NULL, &r));
        expect_ok(naru_region_open(url, NARU_READ, NULL, &other));
        expect_ok(naru_region_write(r, 9, "r", 1));
        expect_ok(naru_region_read(other, 9, &byte, 1));
        expect(byte == 'r');
        naru_region_close(r);
        naru_region_close(other);
        expect_ok(naru_remove(url));
        expect_code(-ENOENT, naru_remove(url));
    }
}

static void lock_cells(void)
{
    naru_semaphore *s;
    struct naru_semaphore_options o = {sizeof o, .kind = NARU_PLAIN, .value = 1};
    static const char *const forms[] = {"shm:%s/l", "map:%s/l", "posix-sem:/%s-l", "sysv-sem:%s#4"};
    for (int i = 0; i < 4; i++) {
        const char *url = test_url(forms[i]);
        expect_ok(naru_semaphore_open(url, &o, &s));
        expect_ok(naru_semaphore_wait(s, 1, NARU_NOWAIT));
        expect_code(-EAGAIN, naru_semaphore_wait(s, 1, NARU_NOWAIT));
        expect_ok(naru_semaphore_post(s, 1));
        naru_semaphore_close(s);
        expect_ok(naru_remove(url));
        expect_code(-ENOENT, naru_remove(url));
    }
}

static void malformed(void)
{
    naru_stream *s;
    static const char *const urls[] = {
        NULL, "", "nothing", ":x", "ferry:/x", "fifo:", "fifo:/a\x01", "fifo:/\xff\xfe", "FIFO:/x"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        expect_code(-EINVAL, naru_stream_open(urls[i], NARU_READ, NULL, NARU_NOWAIT, &s));
        expect(naru_why()[0]);
    }
    expect_code(-EINVAL, naru_stream_open("fifo:/tmp/x", 0, NULL, NARU_NOWAIT, &s));
    expect_code(-EINVAL, naru_stream_open("fifo:/tmp/x", 8, NULL, NARU_NOWAIT, &s));
    struct naru_stream_options o = {.size = 4};
    expect_code(-EINVAL, naru_stream_open("fifo:/tmp/x", NARU_READ, &o, NARU_NOWAIT, &s));
    expect_says("naru_stream_options.size");
    static const char *const queues[] = {
        "posix-mq:",       "posix-mq:name",    "posix-mq:/",      "posix-mq:/a/b",
        "posix-mq:/..",    "sysv-mq:",         "sysv-mq:/tmp",    "sysv-mq:/tmp#0",
        "sysv-mq:/tmp#01", "sysv-mq:/tmp#256", "sysv-mq:/tmp#1x", "sysv-mq:/tmp#-1",
        "sysv-mq:0x",      "sysv-mq:0x0",      "sysv-mq:0x1g",    "sysv-mq:0x123456789",
        "sysv-mq:tmp#1"};
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++) {
        naru_channel *c;
        expect_code(-EINVAL, naru_queue_open(queues[i], NARU_RECV, NULL, &c));
        expect_says(strchr(queues[i], '.') || strstr(queues[i], "a/b") ? "directories" : "write ");
        expect_code(-EINVAL, naru_remove(queues[i]));
    }
}

static void names(void)
{
    naru_stream *s, *t;
    struct naru_stream_options exclusive = {.size = sizeof exclusive, .flags = NARU_EXCLUSIVE};
    struct naru_stream_options existing = {.size = sizeof existing, .flags = NARU_EXISTING};
    struct naru_stream_options mode = {.size = sizeof mode, .mode = 0640};
    const char *url = test_url("fifo:%s/n");
    expect_code(-ENOENT, naru_stream_open(url, NARU_READ, &existing, NARU_NOWAIT, &s));
    expect_ok(naru_stream_open(url, NARU_READ, &exclusive, NARU_NOWAIT, &s));
    expect_code(-EEXIST, naru_stream_open(url, NARU_READ, &exclusive, NARU_NOWAIT, &t));
    expect_code(-EEXIST, naru_stream_open(url, NARU_READ, &mode, NARU_NOWAIT, &t));
    expect_says("0600");
    expect_says("0640");
    naru_stream_close(s);
    expect_ok(naru_remove(url));
    expect_code(-ENOENT, naru_remove(url));
}

static void queue_names(void)
{
    naru_channel *c, *d;
    struct naru_queue_options exclusive = {.size = sizeof exclusive, .flags = NARU_EXCLUSIVE};
    struct naru_queue_options existing = {.size = sizeof existing, .flags = NARU_EXISTING};
    struct naru_queue_options mode = {.size = sizeof mode, .mode = 0640};
    static const char *const forms[] = {"fifo:%s/n", "posix-mq:/%s-n", "sysv-mq:%s#2", "shm:%s/n"};
    for (int i = 0; i < 4; i++) {
        const char *url = test_url(forms[i]);
        expect_code(-ENOENT, naru_queue_open(url, NARU_RECV, &existing, &c));
        expect_ok(naru_queue_open(url, NARU_RECV, &exclusive, &c));
        expect_code(-EEXIST, naru_queue_open(url, NARU_RECV, &exclusive, &d));
        expect_code(-EEXIST, naru_queue_open(url, NARU_RECV, &mode, &d));
        expect_says("0600");
        expect_says("0640");
        naru_channel_close(c);
        expect_ok(naru_remove(url));
    }
}

/* This program has libnaru.a in it and not libnaru-net.a. What is found by LD_LIBRARY_PATH is bound
 * to another copy of libnaru, and would have two of everything. */
static void without_the_module(void)
{
    static const char *const urls[] = {"grpc://localhost:1", "grpc+unix:/no/such"};
    const char *where = getenv("LD_LIBRARY_PATH");
    naru_server *server;
    naru_client *client;
    expect_ok(naru_server_new(NULL, &server));
    for (int i = 0; i < 2; i++) {
        expect_code(-EOPNOTSUPP, naru_client_open(urls[i], NULL, &client));
        expect_says(where ? "libnaru-net.a" : "libnaru-net");
        expect_code(-EOPNOTSUPP, naru_server_listen(server, urls[i]));
        expect_says(urls[i]);
    }
    naru_stream *s;
    expect_code(-EOPNOTSUPP, naru_stream_open("tls://localhost:1", NARU_READ, NULL, PATIENCE, &s));
    expect_says(where ? "libnaru-net.a" : "libnaru-net");
    naru_server_close(server);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"the code's table is the documented one", same_table},
        {"every cell that is not yes is refused with its reason", refused_cells},
        {"stream cells carry bytes", stream_cells},
        {"channel cells carry messages", channel_cells},
        {"region cells carry bytes", region_cells},
        {"lock cells count", lock_cells},
        {"malformed URLs and options", malformed},
        {"without libnaru-net", without_the_module},
        {"creating, finding, agreeing, removing", names},
        {"creating, finding, agreeing, removing queues", queue_names},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
