/* SPDX-License-Identifier: MIT */
/* netns.c - two hosts: network namespaces of the case and of a child of its own, joined by a veth
 * pair. They, the pair and its addresses go with the last process in them. */
#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEAR "192.0.2.1" /* of RFC 5737, which no real host has */
#define FAR "192.0.2.2"
enum { BOTH = NARU_READ | NARU_WRITE, MIB = 1 << 20 };
static const int64_t given_up = 2 * NARU_S;

/* ---- hosts ---- */

static int ip(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int ip(const char *format, ...)
{
    char command[256] = "ip ";
    va_list list;
    va_start(list, format);
    vsnprintf(command + 3, sizeof command - 3, format, list);
    va_end(list);
    return system(command);
}

static int words[2]; /* the parent's and the child's end, a word a packet */
static pid_t far_host;

static void tell(const char *word)
{
    int fd = words[far_host == 0];
    expect(send(fd, word, strlen(word) + 1, MSG_NOSIGNAL) > 0);
}

static const char *told(void)
{
    static char word[256];
    ssize_t n = recv(words[far_host == 0], word, sizeof word, 0);
    if (n <= 0)
        test_failed(__FILE__, __LINE__, "the other host has gone");
    return word;
}

static void await(const char *word)
{
    const char *got = told();
    if (strcmp(got, word) != 0)
        test_failed(__FILE__, __LINE__, "the other host said \"%s\", not \"%s\"", got, word);
}

/* The child's namespace, then `play` in it. */
static void far_main(void *play)
{
    close(words[0]);
    if (unshare(CLONE_NEWNET) < 0)
        _exit(1);
    tell("apart");
    await("cable");
    expect(ip("addr add " FAR "/24 dev far") == 0 && ip("link set lo up") == 0 &&
           ip("-6 addr add fd00:6e61::2/64 dev far nodad") == 0 && ip("link set far up") == 0);
    tell("up");
    (*(void (**)(void))play)();
}

static void two_hosts(void (*play)(void))
{
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        test_skip("a network namespace is not allowed here");
    if (ip("link set lo up 2>/dev/null") != 0)
        test_skip("a network interface cannot be set up here (is iproute2 there?)");
    expect(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, words) == 0);
    far_host = 0;
    pid_t child = start_child(far_main, &play);
    far_host = child;
    close(words[1]);
    await("apart");
    if (ip("link add near type veth peer name far netns %d 2>/dev/null", (int)child) != 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        close(words[0]);
        test_skip("this kernel has no veth");
    }
    expect(ip("addr add " NEAR "/24 dev near") == 0 &&
           ip("-6 addr add fd00:6e61::1/64 dev near nodad") == 0 && ip("link set near up") == 0);
    tell("cable");
    await("up");
}

static void back_home(void)
{
    end_child(far_host);
    close(words[0]);
}

/* ---- carrying ---- */

static void fill(unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i * 2654435761u >> 11);
}

static void far_echo(void)
{
    static unsigned char block[MIB];
    for (int i = 0; i < 2; i++) {
        naru_stream *s;
        naru_channel *c;
        expect_ok(naru_stream_open(told(), BOTH, NULL, PATIENCE, &s));
        expect_ok(naru_stream_read_all(s, block, MIB, PATIENCE, NULL));
        expect_ok(naru_stream_write_all(s, block, MIB, PATIENCE, NULL));
        naru_stream_close(s);
        expect_ok(naru_channel_connect(told(), NULL, PATIENCE, &c));
        for (int k = 0; k < 3; k++) {
            struct naru_message m;
            expect_ok(naru_channel_take(c, 0, PATIENCE, &m));
            expect_ok(naru_channel_send(c, m.info.type + 1, m.data, m.size, PATIENCE));
            expect_ok(naru_channel_release(c, &m, 1));
        }
        naru_channel_close(c);
    }
}

static void carries_tcp(void)
{
    static const char *const urls[] = {"tcp://" NEAR ":0", "tcp://[fd00:6e61::1]:0"};
    static unsigned char block[MIB], got[MIB];
    struct naru_info info;
    fill(block, MIB);
    two_hosts(far_echo);
    for (int i = 0; i < 2; i++) {
        naru_stream_listener *sl;
        naru_channel_listener *cl;
        naru_stream *s;
        naru_channel *c;
        expect_ok(naru_stream_listen(urls[i], NULL, &sl));
        tell(naru_url(sl));
        expect_ok(naru_stream_accept(sl, PATIENCE, &s));
        expect_ok(naru_stream_write_all(s, block, MIB, PATIENCE, NULL));
        expect_ok(naru_stream_read_all(s, got, MIB, PATIENCE, NULL));
        expect(memcmp(block, got, MIB) == 0);
        naru_stream_close(s);
        naru_stream_listener_close(sl);
        expect_ok(naru_channel_listen(urls[i], NULL, &cl));
        tell(naru_url(cl));
        expect_ok(naru_channel_accept(cl, PATIENCE, &c));
        static const size_t sizes[] = {0, 100, MIB};
        for (unsigned k = 0; k < 3; k++) {
            expect_ok(naru_channel_send(c, k + 1, block, sizes[k], PATIENCE));
            expect_code((long)sizes[k], naru_channel_recv(c, 0, got, MIB, &info, PATIENCE));
            expect(info.type == k + 2 && memcmp(block, got, sizes[k]) == 0);
        }
        naru_channel_close(c);
        naru_channel_listener_close(cl);
    }
    back_home();
}

static void far_datagrams(void)
{
    naru_channel *out, *topic;
    char url[256];
    for (int k = 0; k < 2; k++) {
        expect_ok(naru_queue_open(told(), NARU_SEND, NULL, &out));
        for (int i = 0; i < 1000; i++) {
            expect_ok(naru_channel_send(out, 1, &i, sizeof i, PATIENCE));
            if (i % 50 == 0)
                usleep(1000);
        }
        /* the last of them may be among the lost, and then only one behind it tells */
        struct pollfd p = {words[1], POLLIN, 0};
        int last = 1000;
        do
            expect_ok(naru_channel_send(out, 1, &last, sizeof last, PATIENCE));
        while (poll(&p, 1, 20) == 0 && last++);
        await("all there");
        tell("sent");
        await("closed"); /* the other host's answer, that nobody has the port, comes by itself */
        int r = 0;
        for (int64_t end = test_now() + PATIENCE; r == 0 && test_now() < end; usleep(1000))
            r = naru_channel_send(out, 1, "x", 1, PATIENCE);
        expect_code(-ECONNREFUSED, r);
        naru_channel_close(out);
    }
    snprintf(url, sizeof url, "%s", told());
    expect_ok(naru_topic_open(url, NARU_SEND, NULL, &topic));
    expect_ok(naru_channel_send(topic, 1, "news", 4, PATIENCE));
    naru_channel_close(topic);
}

static void carries_udp(void)
{
    static const char *const urls[] = {"udp://" NEAR ":0", "udp://[fd00:6e61::1]:0"};
    naru_channel *in, *topic;
    struct naru_info info;
    two_hosts(far_datagrams);
    for (int k = 0; k < 2; k++) {
        expect_ok(naru_queue_open(urls[k], NARU_RECV, NULL, &in));
        tell(naru_url(in));
        /* Between hosts UDP may lose on the way, which nobody counts, and overtake: both are seen
         * when the first ones wait for the neighbour's address. */
        bool came[1000] = {false};
        uint64_t counted = 0;
        for (int got = -1; got < 1000;) {
            expect_code(sizeof got, naru_channel_recv(in, 0, &got, sizeof got, &info, PATIENCE));
            counted += info.missed;
            if (got >= 1000)
                expect(counted <= (uint64_t)got); /* come or lost, none counts twice */
            else
                expect(got >= 0 && !came[got]), came[got] = true, counted++;
        }
        tell("all there");
        await("sent");
        naru_channel_close(in);
        tell("closed");
    }
    expect_ok(naru_topic_open("udp://239.255.77.9%near:5077", NARU_RECV, NULL, &topic));
    tell("udp://239.255.77.9%far:5077");
    char news[4];
    expect_code(4, naru_channel_recv(topic, 0, news, 4, NULL, PATIENCE));
    expect(memcmp(news, "news", 4) == 0);
    naru_channel_close(topic);
    back_home();
}

/* ---- what goes wrong between hosts ---- */

/* Not too early, and not for ever. */
static void learnt(const char *who, ssize_t r, int64_t since)
{
    int64_t took = test_now() - since;
    printf("# %s learnt it after %.2f s, asked for %.0f s: %s\n", who, (double)took / 1e9,
           (double)given_up / 1e9, naru_why());
    fflush(stdout);
    if (r != -ETIMEDOUT && r != -EHOSTUNREACH && r != -ECONNRESET)
        test_failed(__FILE__, __LINE__, "%s got %zd", who, r);
    expect(took >= given_up * 9 / 10 && took < given_up + PATIENCE);
}

static const struct naru_stream_options stream_given_up = {.size = sizeof stream_given_up,
                                                           .user_timeout = 2 * NARU_S};
static const struct naru_channel_options channel_given_up = {.size = sizeof channel_given_up,
                                                             .user_timeout = 2 * NARU_S};

static int64_t heard; /* before the last word from the other host: so long ago it was heard of */

static void *read_to_its_end(void *stream)
{
    char byte;
    learnt("a stream's waiting reader", naru_stream_read(stream, &byte, 1, PATIENCE), heard);
    return NULL;
}

/* The far side only waits: for a message, and in a thread for bytes. */
static void far_waits(void)
{
    naru_stream *s;
    naru_channel *c;
    pthread_t thread;
    char byte;
    heard = test_now();
    expect_ok(naru_stream_open(told(), BOTH, &stream_given_up, PATIENCE, &s));
    expect_ok(naru_channel_connect(told(), &channel_given_up, PATIENCE, &c));
    expect_ok(naru_channel_send(c, 1, "x", 1, PATIENCE));
    expect_ok(naru_channel_recv(c, 0, &byte, 1, NULL, PATIENCE));
    pthread_create(&thread, NULL, read_to_its_end, s);
    ssize_t r = naru_channel_recv(c, 0, &byte, 1, NULL, PATIENCE);
    learnt("a connection's waiting receiver", r, heard);
    pthread_join(thread, NULL);
    naru_stream_close(s);
    naru_channel_close(c);
}

static void *write_to_its_end(void *stream)
{
    static char block[65536];
    int64_t since = test_now();
    ssize_t r;
    while ((r = naru_stream_write(stream, block, sizeof block, PATIENCE)) > 0)
        ;
    learnt("a stream's writer", r, since);
    return NULL;
}

struct meeting {
    naru_stream_listener *sl;
    naru_channel_listener *cl;
    naru_stream *s;
    naru_channel *c;
    int64_t last; /* before something came from the other host */
};

static void meet(struct meeting *m)
{
    const struct naru_listen_options o = {.size = sizeof o, .user_timeout = given_up};
    char byte;
    expect_ok(naru_stream_listen("tcp://" NEAR ":0", &o, &m->sl));
    expect_ok(naru_channel_listen("tcp://" NEAR ":0", &o, &m->cl));
    tell(naru_url(m->sl));
    m->last = test_now();
    expect_ok(naru_stream_accept(m->sl, PATIENCE, &m->s));
    tell(naru_url(m->cl));
    expect_ok(naru_channel_accept(m->cl, PATIENCE, &m->c));
    expect_code(1, naru_channel_recv(m->c, 0, &byte, 1, NULL, PATIENCE));
    expect_ok(naru_channel_send(m->c, 1, "x", 1, PATIENCE));
    usleep(200000); /* nothing unacknowledged is left */
}

static void send_to_the_end(struct meeting *m)
{
    static char block[512];
    pthread_t thread;
    int64_t since = test_now();
    int r;
    pthread_create(&thread, NULL, write_to_its_end, m->s);
    while ((r = naru_channel_send(m->c, 1, block, sizeof block, PATIENCE)) == 0)
        ;
    learnt("a connection's sender", r, since);
    pthread_join(thread, NULL);
}

static void part(struct meeting *m)
{
    naru_stream_close(m->s);
    naru_channel_close(m->c);
    naru_stream_listener_close(m->sl);
    naru_channel_listener_close(m->cl);
}

static void cable_pulled(void)
{
    struct meeting m;
    two_hosts(far_waits);
    meet(&m);
    expect(ip("link set near down") == 0);
    send_to_the_end(&m);
    part(&m);
    back_home();
}

static void address_gone(void)
{
    struct meeting m;
    two_hosts(far_waits);
    meet(&m);
    expect(ip("addr del " NEAR "/24 dev near") == 0);
    send_to_the_end(&m);
    part(&m);
    back_home();
}

/* A host of two addresses, of which one does not answer: the other has its share of the time. */
static void far_serves(void)
{
    naru_stream_listener *l;
    naru_stream *s;
    expect_ok(naru_stream_listen("tcp://" FAR ":7", NULL, &l));
    tell("serving");
    expect_ok(naru_stream_accept(l, PATIENCE, &s));
    naru_stream_close(s);
    naru_stream_listener_close(l);
}

static void one_of_two_addresses(void)
{
    static const char hosts[] = "fd00:6e61::77 two-addresses\n" FAR " two-addresses\n";
    char path[200];
    naru_stream *s;
    two_hosts(far_serves);
    await("serving");
    snprintf(path, sizeof path, "%s/hosts", test_directory);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    expect(write(fd, hosts, sizeof hosts - 1) == sizeof hosts - 1 && close(fd) == 0);
    expect(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    expect(mount(path, "/etc/hosts", NULL, MS_BIND, NULL) == 0);
    int r = -ETIMEDOUT;
    for (int64_t time = NARU_S; r == -ETIMEDOUT && time < PATIENCE; time *= 8) {
        int64_t begun = test_now();
        r = naru_stream_open("tcp://two-addresses:7", BOTH, NULL, time, &s);
        expect(test_now() - begun >= time * 4 / 10); /* the first one had its own */
    }
    expect_ok(r);
    naru_stream_close(s);
    expect(umount("/etc/hosts") == 0 && unlink(path) == 0);
    back_home();
}

/* Killed behind a cable that is out: neither its end nor a reset ever comes. */
static void vanished(void)
{
    struct meeting m;
    two_hosts(far_waits);
    meet(&m);
    expect(ip("link set near down") == 0);
    kill(far_host, SIGKILL);
    waitpid(far_host, NULL, 0);
    char byte;
    learnt("a connection's waiting receiver", naru_channel_recv(m.c, 0, &byte, 1, NULL, PATIENCE),
           m.last);
    learnt("a stream's waiting reader", naru_stream_read(m.s, &byte, 1, PATIENCE), m.last);
    part(&m);
    close(words[0]);
}

static const naru_route wait_route = {"test.T/Wait", 0, NULL};

static void far_calls(void)
{
    const struct naru_client_options o = {.size = sizeof o, .user_timeout = given_up};
    naru_client *c;
    expect_ok(naru_client_open(told(), &o, &c));
    expect_ok(naru_client_wait_ready(c, PATIENCE));
    int64_t since = test_now();
    learnt("a caller", naru_client_invoke(c, &wait_route, "", 0, NULL, NULL), since);
    expect_code(NARU_STATUS_UNAVAILABLE, naru_client_status(&(struct naru_status){0}));
    naru_client_close(c);
}

static int wait_for_ever(naru_call *call, void *self, const void *request, size_t size)
{
    (void)call, (void)request, (void)size;
    *(bool *)self = true;
    return NARU_LATER;
}

/* A call that has no deadline of its own. */
static void called(void)
{
    static const naru_method method = {"Wait", 0, wait_for_ever, NULL, NULL};
    static const naru_service service = {
        .size = sizeof service, .name = "test.T", .methods = &method, .n = 1};
    naru_server *s;
    bool begun = false;
    two_hosts(far_calls);
    expect_ok(naru_server_new(NULL, &s));
    expect_ok(naru_server_add(s, &service, &begun));
    expect_ok(naru_server_listen(s, "tcp://" NEAR ":0"));
    tell(naru_url(s));
    while (!begun)
        expect_ok(naru_server_process(s, PATIENCE));
    expect(ip("link set near down") == 0);
    back_home();
    naru_server_close(s);
}

static void far_idle(void)
{
    await("home");
}

static void nobody_there(void)
{
    naru_stream *s;
    naru_channel *c;
    two_hosts(far_idle);
    expect_code(-ECONNREFUSED, naru_stream_open("tcp://" FAR ":9", BOTH, NULL, PATIENCE, &s));
    int64_t since =
        test_now(); /* no such host: the kernel says so after 3 s, or the timeout does */
    expect_code(-ETIMEDOUT, naru_stream_open("tcp://192.0.2.77:9", BOTH, NULL, 300 * NARU_MS, &s));
    expect(test_now() - since >= 300 * NARU_MS && test_now() - since < PATIENCE);
    expect_code(-EHOSTUNREACH, naru_channel_connect("tcp://198.51.100.1:9", NULL, PATIENCE, &c));
    expect_says("ip route");
    expect_code(-EHOSTUNREACH, naru_queue_open("udp://198.51.100.1:9", NARU_SEND, NULL, &c));
    expect_says("ip route");
    expect_code(-EHOSTUNREACH, naru_topic_open("udp://239.1.2.3:9", NARU_SEND, NULL, &c));
    expect_says("%eth0");
    tell("home");
    back_home();
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"two hosts: streams and connections over TCP, IPv4 and IPv6", carries_tcp},
        {"two hosts: UDP and multicast", carries_udp},
        {"two hosts: the cable is pulled", cable_pulled},
        {"two hosts: the address is gone", address_gone},
        {"two hosts: one of two addresses answers", one_of_two_addresses},
        {"two hosts: the peer vanishes without a word", vanished},
        {"two hosts: the server of a call vanishes", called},
        {"two hosts: nobody is there", nobody_there},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
