/* SPDX-License-Identifier: MIT */
/* tour-socket.c - the tour's scenes on sockets: client and server, on this host and on two.
 *
 * A server tells the guide where it listens (port 0 became a real one); the guide then starts the
 * client. Two hosts are two network namespaces joined by a veth pair: they and it go with the last
 * process in them. */
#include "tool/tour.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BOTH = NARU_READ | NARU_WRITE, BEFORE_DEATH = 100 };

/* ---- meeting ---- */

static void listening(struct part *p, const void *listener)
{
    snprintf(p->report.url, sizeof p->report.url, "%s", naru_url(listener));
    part_say(p, REPORT_READY);
}

static naru_stream *accept_stream(struct part *p)
{
    const struct naru_listen_options o = {.size = sizeof o, .tls = part_tls(p, true)};
    naru_stream_listener *l = NULL;
    naru_stream *s = NULL;
    if (part_naru(p, "listening", naru_stream_listen(p->url, &o, &l))) {
        listening(p, l);
        part_naru(p, "accepting", naru_stream_accept(l, TOUR_TIMEOUT, &s));
    }
    naru_stream_listener_close(l);
    return s;
}

static naru_channel *accept_channel(struct part *p)
{
    const struct naru_listen_options o = {.size = sizeof o, .tls = part_tls(p, true)};
    naru_channel_listener *l = NULL;
    naru_channel *c = NULL;
    if (part_naru(p, "listening", naru_channel_listen(p->url, &o, &l))) {
        listening(p, l);
        part_naru(p, "accepting", naru_channel_accept(l, TOUR_TIMEOUT, &c));
    }
    naru_channel_listener_close(l);
    return c;
}

static naru_stream *connect_stream(struct part *p)
{
    const struct naru_stream_options o = {.size = sizeof o, .tls = part_tls(p, false)};
    naru_stream *s = NULL;
    part_naru(p, "connecting", naru_stream_open(p->url, BOTH, &o, TOUR_TIMEOUT, &s));
    return s;
}

static naru_channel *connect_channel(struct part *p)
{
    const struct naru_channel_options o = {.size = sizeof o, .tls = part_tls(p, false)};
    naru_channel *c = NULL;
    part_naru(p, "connecting", naru_channel_connect(p->url, &o, TOUR_TIMEOUT, &c));
    return c;
}

/* ---- client and server ---- */

static void serve_stream(struct part *p, naru_stream *s)
{
    if (s && pong(p, s, NULL))
        recv_stream(p, s, 0);
    naru_stream_close(s);
}

static void use_stream(struct part *p, naru_stream *s)
{
    char more;
    if (s && ping(p, s, NULL) && send_stream(p, s, 0, p->input.size) &&
        part_naru(p, "half-closing", naru_stream_shutdown(s, NARU_WRITE)) &&
        naru_stream_read(s, &more, 1, TOUR_TIMEOUT) != 0)
        part_failed(p, "the server did not end in order");
    naru_stream_close(s);
}

static void serve_messages(struct part *p, naru_channel *c)
{
    if (c && pong(p, NULL, c))
        recv_messages(p, c, -EPIPE);
    naru_channel_close(c);
}

static void use_messages(struct part *p, naru_channel *c)
{
    if (c && ping(p, NULL, c))
        send_messages(p, c);
    naru_channel_close(c);
}

static void stream_server(struct part *p)
{
    serve_stream(p, accept_stream(p));
}

static void stream_client(struct part *p)
{
    use_stream(p, connect_stream(p));
}

static void server(struct part *p)
{
    serve_messages(p, accept_channel(p));
}

static void client(struct part *p)
{
    use_messages(p, connect_channel(p));
}

/* ---- a program that knows only socket(2) ---- */

static int plain_connect(struct part *p)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in host = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool is_unix = strncmp(p->url, "unix:", 5) == 0;
    if (is_unix)
        snprintf(local.sun_path, sizeof local.sun_path, "%s", p->url + 5);
    else
        host.sin_port = htons((uint16_t)atoi(strrchr(p->url, ':') + 1));
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = is_unix ? connect(fd, (struct sockaddr *)&local, sizeof local)
                    : connect(fd, (struct sockaddr *)&host, sizeof host);
    if (r < 0)
        part_failed(p, "connect: %s", strerror(errno));
    return r < 0 ? -1 : fd;
}

static void plain_writer(struct part *p)
{
    int fd = plain_connect(p);
    size_t done = 0;
    int64_t start = now_ns();
    while (fd >= 0 && done < p->input.size) {
        ssize_t n = write(fd, p->input.data + done, p->input.size - done);
        if (n < 0) {
            part_failed(p, "write: %s", strerror(errno));
            break;
        }
        done += (size_t)n;
    }
    p->report.ns = now_ns() - start;
    conclude(p, SIDE_SENDER, p->input.data, done);
    close(fd);
}

static void plain_reader(struct part *p)
{
    int fd = plain_connect(p);
    uint8_t *buf = malloc(p->input.size + 1);
    size_t n = 0;
    ssize_t got = 1;
    int64_t start = now_ns();
    while (fd >= 0 && buf && got > 0 && n <= p->input.size) {
        got = read(fd, buf + n, p->input.size + 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    p->report.ns = now_ns() - start;
    if (got < 0)
        part_failed(p, "read: %s", strerror(errno));
    else if (judge_bytes(p, buf, 0, n, p->input.size))
        conclude(p, SIDE_RECEIVER, buf, n);
    free(buf);
    close(fd);
}

static void reads_plain(struct part *p)
{
    naru_stream *s = accept_stream(p);
    if (s)
        recv_stream(p, s, 0);
    naru_stream_close(s);
}

static void writes_plain(struct part *p)
{
    naru_stream *s = accept_stream(p);
    if (s)
        send_stream(p, s, 0, p->input.size);
    naru_stream_close(s);
}

/* ---- a descriptor, instead of the bytes ---- */

static void gets_descriptor(struct part *p)
{
    naru_stream *s = accept_stream(p);
    struct input got = {.fd = -1};
    size_t n = 0;
    char byte;
    if (!s || !part_naru(p, "receiving the descriptor",
                         naru_stream_recv_fds(s, &byte, 1, &got.fd, 1, &n, TOUR_TIMEOUT)))
        return;
    if (n != 1 || input_map(&got, got.fd) < 0)
        part_failed(p, "%zu descriptors came", n);
    else if (judge_bytes(p, got.data, 0, got.size, p->input.size))
        conclude(p, SIDE_RECEIVER, got.data, got.size);
    close(got.fd);
    naru_stream_close(s);
}

static void passes_descriptor(struct part *p)
{
    naru_stream *s = connect_stream(p);
    if (s && part_naru(p, "passing the descriptor",
                       naru_stream_send_fds(s, "i", 1, &p->input.fd, 1, TOUR_TIMEOUT)))
        conclude(p, SIDE_SENDER, p->input.data, p->input.size);
    naru_stream_close(s);
}

/* ---- somebody is killed ---- */

static void dying_client(struct part *p)
{
    naru_channel *c = connect_channel(p);
    bool ok = c;
    for (int i = 0; ok && i < BEFORE_DEATH; i++)
        ok = part_naru(p, "sending", naru_channel_send(c, 1, p->input.data, 512, TOUR_TIMEOUT));
    if (ok)
        part_wait_for_death(p);
}

static void surviving_server(struct part *p)
{
    naru_channel *c = accept_channel(p);
    char buf[512];
    ssize_t r = sizeof buf;
    int n = 0;
    while (c && (r = naru_channel_recv(c, 0, buf, sizeof buf, NULL, TOUR_TIMEOUT)) == sizeof buf)
        n++;
    if (c)
        part_saw(p, "server", r, -ECONNRESET);
    if (p->report.ok && n != BEFORE_DEATH)
        part_failed(p, "%d of %d messages sent before the death came", n, BEFORE_DEATH);
    naru_channel_close(c);
}

static void dying_server(struct part *p)
{
    naru_channel *c = accept_channel(p);
    char buf[512];
    bool ok = c;
    for (int i = 0; ok && i < BEFORE_DEATH; i++)
        ok =
            part_naru(p, "receiving", naru_channel_recv(c, 0, buf, sizeof buf, NULL, TOUR_TIMEOUT));
    if (ok)
        part_wait_for_death(p);
}

static void surviving_client(struct part *p)
{
    naru_channel *c = connect_channel(p);
    int r = c ? 0 : -1;
    while (r == 0)
        r = naru_channel_send(c, 1, p->input.data, 512, TOUR_TIMEOUT);
    if (c)
        part_saw(p, "client", r, -ECONNRESET);
    naru_channel_close(c);
}

/* ---- two hosts ---- */

#define SERVER_ADDRESS "192.0.2.1" /* of RFC 5737, which no real host has */
#define CLIENT_ADDRESS "192.0.2.2"
enum { GIVEN_UP_S = 3 };

struct hosts {
    int to_client[2], to_server[2];
};

static bool ip(struct part *p, const char *arguments)
{
    char text[128], *argv[16] = {"ip"}, *rest = text;
    struct naru_exit e = {-1, 0};
    naru_child *child = NULL;
    size_t n = 1;
    snprintf(text, sizeof text, "%s", arguments);
    for (char *word; n < 15 && (word = strsep(&rest, " "));)
        argv[n++] = word;
    argv[n] = NULL;
    int r = naru_spawn(argv, NULL, &child);
    if (r == 0)
        r = naru_child_wait(child, TOUR_TIMEOUT, &e);
    naru_child_close(child);
    if (r < 0)
        return part_skipped(p, "%s (of the package iproute2)", naru_why());
    return e.code == 0 || part_skipped(p, "`ip %s` ended with status %d", arguments, e.code);
}

/* The first namespace may need a user namespace to be allowed. */
static bool leave_network(struct part *p)
{
    if (unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
        return true;
    return part_skipped(p, "a network namespace is not allowed here: %s", strerror(errno));
}

/* Word from the other process, by a pipe that is no kind under test. "" when it has gone. */
static void hear_word(int fd, char *word, size_t n)
{
    ssize_t got = read(fd, word, n - 1);
    word[got > 0 ? got : 0] = 0;
}

static bool say_word(int fd, const char *word)
{
    return write(fd, word, strlen(word)) > 0;
}

static void second_host(struct part *p, void *shared)
{
    struct hosts *h = shared;
    static char url[96];
    close(h->to_client[1]);
    close(h->to_server[0]);
    if (!leave_network(p) || !say_word(h->to_server[1], "there"))
        return;
    hear_word(h->to_client[0], url, sizeof url);
    if (strcmp(url, "cable") != 0 || !ip(p, "addr add " CLIENT_ADDRESS "/24 dev naru1") ||
        !ip(p, "link set naru1 up") || !say_word(h->to_server[1], "up"))
        return;
    hear_word(h->to_client[0], url, sizeof url);
    p->url = url;
    if (strcmp(p->detail, "stream") == 0)
        stream_client(p);
    else if (strcmp(p->detail, "messages") == 0)
        client(p);
    else if (strcmp(p->detail, "calls") == 0)
        find_role("rpc-client")->run(p);
    else if (strcmp(p->detail, "datagrams") == 0)
        find_role("datagram-sender")->run(p);
    else
        find_role("socket-cut-client")->run(p);
}

static bool lay_cable(struct part *p, struct hosts *h, pid_t child)
{
    char word[16], command[96];
    hear_word(h->to_server[0], word, sizeof word);
    snprintf(command, sizeof command, "link add naru0 type veth peer name naru1 netns %d", child);
    if (strcmp(word, "there") != 0)
        return part_skipped(p, "a second network namespace is not allowed here");
    if (!ip(p, command) || !ip(p, "addr add " SERVER_ADDRESS "/24 dev naru0") ||
        !ip(p, "link set naru0 up") || !say_word(h->to_client[1], "cable"))
        return false;
    hear_word(h->to_server[0], word, sizeof word);
    return strcmp(word, "up") == 0 || part_skipped(p, "the second host could not take the cable");
}

/* detail: what the two hosts do. */
static void two_hosts(struct part *p, int (*listen)(struct part *, void **ret_l),
                      void (*serve)(struct part *, void *l))
{
    struct hosts h;
    void *l = NULL;
    if (!leave_network(p) || pipe(h.to_client) < 0 || pipe(h.to_server) < 0)
        return;
    pid_t child = part_fork(p, 1, second_host, &h);
    close(h.to_client[0]);
    close(h.to_server[1]);
    if (child > 0 && lay_cable(p, &h, child) && part_naru(p, "listening", listen(p, &l)) &&
        say_word(h.to_client[1], naru_url(l)))
        serve(p, l);
    close(h.to_client[1]);
    close(h.to_server[0]);
    waitpid(child, NULL, 0);
}

static int listen_stream_here(struct part *p, void **ret_l)
{
    (void)p;
    return naru_stream_listen("tcp://" SERVER_ADDRESS ":0", NULL, (naru_stream_listener **)ret_l);
}

static const struct naru_listen_options gives_up = {.size = sizeof gives_up,
                                                    .user_timeout = GIVEN_UP_S * NARU_S};

static int listen_here(struct part *p, void **ret_l)
{
    const struct naru_listen_options *o = strcmp(p->detail, "cut") == 0 ? &gives_up : NULL;
    return naru_channel_listen("tcp://" SERVER_ADDRESS ":0", o, (naru_channel_listener **)ret_l);
}

static void serve_stream_here(struct part *p, void *l)
{
    naru_stream *s = NULL;
    part_naru(p, "accepting", naru_stream_accept(l, TOUR_TIMEOUT, &s));
    serve_stream(p, s);
    naru_stream_listener_close(l);
}

static void serve_here(struct part *p, void *l)
{
    naru_channel *c = NULL;
    part_naru(p, "accepting", naru_channel_accept(l, TOUR_TIMEOUT, &c));
    serve_messages(p, c);
    naru_channel_listener_close(l);
}

static int receive_here(struct part *p, void **ret_c)
{
    (void)p;
    return naru_queue_open("udp://" SERVER_ADDRESS ":0", NARU_RECV, NULL, (naru_channel **)ret_c);
}

static void take_datagrams_here(struct part *p, void *c)
{
    receive_datagrams(p, c);
}

static void hosts_datagrams(struct part *p)
{
    two_hosts(p, receive_here, take_datagrams_here);
}

static void hosts_calls(struct part *p)
{
    two_hosts(p, rpc_listen, rpc_serve);
}

static void hosts_stream(struct part *p)
{
    two_hosts(p, listen_stream_here, serve_stream_here);
}

static void hosts_messages(struct part *p)
{
    two_hosts(p, listen_here, serve_here);
}

/* ---- the cable is pulled: who sends and who only waits both learn of it ---- */

static void learnt(struct part *p, const char *who, ssize_t r, int64_t since)
{
    double seconds = (double)(now_ns() - since) / 1e9;
    if (r != -ETIMEDOUT && r != -ECONNRESET && r != -EHOSTUNREACH)
        part_failed(p, "the %s got %s", who, r < 0 ? naru_why() : "no error");
    else if (seconds > 2.0 * GIVEN_UP_S)
        part_failed(p, "the %s learnt it after %.1f s only", who, seconds);
    else
        snprintf(p->report.saw, sizeof p->report.saw, "the %s knew after %.1f s, asked for %d s",
                 who, seconds, GIVEN_UP_S);
}

static void cut_server(struct part *p, void *l)
{
    naru_channel *c = NULL;
    char byte;
    int r = 0;
    if (part_naru(p, "accepting", naru_channel_accept(l, TOUR_TIMEOUT, &c)) &&
        part_naru(p, "receiving", naru_channel_recv(c, 0, &byte, 1, NULL, TOUR_TIMEOUT)) &&
        part_naru(p, "sending", naru_channel_send(c, 1, "x", 1, TOUR_TIMEOUT)) &&
        ip(p, "link set naru0 down")) {
        int64_t since = now_ns();
        while (r == 0)
            r = naru_channel_send(c, 1, p->input.data, 512, TOUR_TIMEOUT);
        learnt(p, "sender", r, since);
    }
    naru_channel_close(c);
    naru_channel_listener_close(l);
}

static void cut_client(struct part *p)
{
    const struct naru_channel_options o = {.size = sizeof o, .user_timeout = GIVEN_UP_S * NARU_S};
    naru_channel *c = NULL;
    char byte;
    if (part_naru(p, "connecting", naru_channel_connect(p->url, &o, TOUR_TIMEOUT, &c)) &&
        part_naru(p, "sending", naru_channel_send(c, 1, "x", 1, TOUR_TIMEOUT)) &&
        part_naru(p, "receiving", naru_channel_recv(c, 0, &byte, 1, NULL, TOUR_TIMEOUT))) {
        int64_t since = now_ns();
        learnt(p, "waiting receiver", naru_channel_recv(c, 0, &byte, 1, NULL, TOUR_TIMEOUT), since);
    }
    naru_channel_close(c);
}

static void hosts_cut(struct part *p)
{
    two_hosts(p, listen_here, cut_server);
}

/* ---- tables ---- */

const struct role socket_roles[] = {
    {"socket-stream-server", stream_server},
    {"socket-stream-client", stream_client},
    {"socket-server", server},
    {"socket-client", client},
    {"socket-reads-plain", reads_plain},
    {"socket-writes-plain", writes_plain},
    {"socket-plain-writer", plain_writer},
    {"socket-plain-reader", plain_reader},
    {"socket-gets-descriptor", gets_descriptor},
    {"socket-passes-descriptor", passes_descriptor},
    {"socket-dying-client", dying_client},
    {"socket-surviving-server", surviving_server},
    {"socket-dying-server", dying_server},
    {"socket-surviving-client", surviving_client},
    {"socket-hosts-stream", hosts_stream},
    {"socket-hosts-messages", hosts_messages},
    {"socket-hosts-datagrams", hosts_datagrams},
    {"socket-hosts-calls", hosts_calls},
    {"socket-hosts-cut", hosts_cut},
    {"socket-cut-client", cut_client},
    {0},
};

/* A server, and when it listens a client. */
#define MEETING(name, first, second)                                                               \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_exec(stage, 0, "socket-" first, stage_directory(stage));                      \
    }                                                                                              \
    static bool next_##name(struct stage *stage, int ready, int ended)                             \
    {                                                                                              \
        return ready != 1 || ended != 0 ||                                                         \
               stage_exec(stage, 1, "socket-" second, stage_directory(stage));                     \
    }
MEETING(stream, "stream-server", "stream-client")
MEETING(messages, "server", "client")
MEETING(plain_writer, "reads-plain", "plain-writer")
MEETING(plain_reader, "writes-plain", "plain-reader")
MEETING(descriptor, "gets-descriptor", "passes-descriptor")
MEETING(client_dies, "surviving-server", "dying-client")
MEETING(server_dies, "dying-server", "surviving-client")

#define FORKED(name, role, detail)                                                                 \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_fork(stage, 0, role, detail);                                                 \
    }
FORKED(pair_stream, "pipe-starts", NULL)
FORKED(pair_messages, "pipe-sender", NULL)
FORKED(hosts_stream, "socket-hosts-stream", "stream")
FORKED(hosts_messages, "socket-hosts-messages", "messages")
FORKED(hosts_datagrams, "socket-hosts-datagrams", "datagrams")
FORKED(hosts_cut, "socket-hosts-cut", "cut")

#define STREAM(url, relation, shows, start, next)                                                  \
    {                                                                                              \
        url, NARU_NOUN_STREAM, "stream", "two-way", relation, shows, 2, -1, start, next            \
    }
#define CONNECTION(url, relation, shows, victim, start, next)                                      \
    {                                                                                              \
        url, NARU_NOUN_CONNECTION, NULL, "two-way", relation, shows, 2, victim, start, next        \
    }
#define MEETINGS(url)                                                                              \
    STREAM(url, "unrelated", "client and server", start_stream, next_stream),                      \
        STREAM(url, "unrelated", "a plain socket writes", start_plain_writer, next_plain_writer),  \
        STREAM(url, "unrelated", "a plain socket reads", start_plain_reader, next_plain_reader),   \
        CONNECTION(url, "unrelated", "client and server", -1, start_messages, next_messages),      \
        CONNECTION(url, "unrelated", "client killed", 1, start_client_dies, next_client_dies),     \
        CONNECTION(url, "unrelated", "server killed", 0, start_server_dies, next_server_dies)

const struct scene socket_scenes[] = {
    STREAM("unix:", "parent-child", "a program with a named end", start_pair_stream, NULL),
    CONNECTION("unix:", "parent-child", "messages of three types", -1, start_pair_messages, NULL),
    MEETINGS("unix:%s/socket"),
    STREAM("unix:%s/socket", "unrelated", "the descriptor of a file passed", start_descriptor,
           next_descriptor),
    MEETINGS("tcp://127.0.0.1:0"),
    STREAM("tcp://" SERVER_ADDRESS ":0", "two hosts", "client and server", start_hosts_stream,
           NULL),
    CONNECTION("tcp://" SERVER_ADDRESS ":0", "two hosts", "client and server", -1,
               start_hosts_messages, NULL),
    CONNECTION("tcp://" SERVER_ADDRESS ":0", "two hosts", "cable pulled", -1, start_hosts_cut,
               NULL),
    STREAM("tls://127.0.0.1:0", "unrelated", "client and server", start_stream, next_stream),
    CONNECTION("tls://127.0.0.1:0", "unrelated", "client and server", -1, start_messages,
               next_messages),
    CONNECTION("tls://127.0.0.1:0", "unrelated", "client killed", 1, start_client_dies,
               next_client_dies),
    {"udp://" SERVER_ADDRESS ":0", NARU_NOUN_QUEUE, "message", "one-way", "two hosts",
     "1 sender, 1 receiver", 2, -1, start_hosts_datagrams, NULL},
    {0},
};
