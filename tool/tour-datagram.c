/* SPDX-License-Identifier: MIT */
/* tour-datagram.c - the tour's scenes on sockets that keep messages apart: unix packets and
 * datagrams, UDP, multicast.
 *
 * What may be lost is counted: each message that came is of the input, and those that did not are
 * as many as the kernel says. A sender on `udp:` ends with a word of no bytes, after a pause in
 * which the receiver's buffer runs empty. */
#include "tool/tour.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BEFORE_DEATH = 100 };

static void says_where(struct part *p, const void *handle)
{
    snprintf(p->report.url, sizeof p->report.url, "%s", naru_url(handle));
    part_say(p, REPORT_READY);
}

/* ---- sending ---- */

/* A naru end, or a socket of a program that knows only socket(2). */
static bool put(struct part *p, naru_channel *c, int fd, const void *data, size_t n)
{
    if (c)
        return part_naru(p, "sending", naru_channel_send(c, 1, data, n, TOUR_TIMEOUT));
    return send(fd, data, n, 0) == (ssize_t)n || part_failed(p, "send: %s", strerror(errno));
}

static void send_all(struct part *p, naru_channel *c, int fd)
{
    struct walk w = walk_begin(p);
    struct message m;
    bool ok = true;
    int64_t start = now_ns();
    while (ok && walk_next(p, &w, &m)) {
        ok = put(p, c, fd, m.data, m.size);
        p->report.messages++;
        p->report.bytes += m.size - WALK_HEAD;
    }
    p->report.ns = now_ns() - start;
    p->report.side = SIDE_SENDER;
    if (may_lose(p)) {
        usleep(EMPTY_US);
        put(p, c, fd, "", 0);
    } else {
        digest_of(p->input.data, p->input.size, p->report.digest);
        p->report.has_digest = ok;
    }
}

static naru_channel *open_end(struct part *p, int role)
{
    bool topic = strcmp(p->detail, "topic") == 0;
    naru_channel *c = NULL;
    part_naru(p, "opening",
              topic ? naru_topic_open(p->url, role, NULL, &c)
                    : naru_queue_open(p->url, role, NULL, &c));
    return c;
}

static void sender(struct part *p)
{
    naru_channel *c = open_end(p, NARU_SEND);
    if (c && stamps_send(p, NULL, c))
        send_all(p, c, -1);
    naru_channel_close(c);
}

/* ---- receiving ---- */

static bool get(struct part *p, naru_channel *c, int fd, struct message *m)
{
    struct naru_info info = {0};
    ssize_t n = c ? naru_channel_recv(c, 0, m->data, WALK_MESSAGE, &info, TOUR_TIMEOUT)
                  : recv(fd, m->data, WALK_MESSAGE, 0);
    p->report.lost += info.missed;
    m->type = 1;
    m->size = n < 0 ? 0 : (size_t)n;
    return c ? part_naru(p, "receiving", n) : n >= 0 || part_failed(p, "recv: %s", strerror(errno));
}

static void judge_lossy(struct part *p, uint64_t count, bool counted)
{
    uint64_t came = p->report.messages, lost = p->report.lost;
    p->report.lossy = true;
    p->report.has_digest = false;
    if (counted && came + lost != count)
        part_failed(p, "%llu messages were sent, %llu came, %llu were counted as lost",
                    (unsigned long long)count, (unsigned long long)came, (unsigned long long)lost);
    else
        snprintf(p->report.saw, sizeof p->report.saw, "%llu of %llu came whole, %llu lost%s",
                 (unsigned long long)came, (unsigned long long)count,
                 (unsigned long long)(count - came), counted ? ", as the kernel counted" : "");
}

static void receive_all(struct part *p, naru_channel *c, int fd)
{
    struct got g = {.whole = may_lose(p) ? NULL : calloc(1, p->input.size + 1)};
    uint64_t count = walk_count(p);
    struct message m;
    bool ok = true;
    p->report.side = SIDE_RECEIVER;
    while (ok && (may_lose(p) || p->report.messages < count)) {
        ok = get(p, c, fd, &m);
        if (ok && m.size == 0)
            break;
        ok = ok && walk_accept(p, &m, &g);
    }
    if (ok && may_lose(p))
        judge_lossy(p, count, c);
    else if (ok && judge_bytes(p, g.whole, 0, p->report.bytes, p->input.size)) {
        digest_of(g.whole, p->input.size, p->report.digest);
        p->report.has_digest = true;
    }
    free(g.whole);
}

void receive_datagrams(struct part *p, naru_channel *c)
{
    if (stamps_recv(p, NULL, c))
        receive_all(p, c, -1);
    naru_channel_close(c);
}

static void receiver(struct part *p)
{
    naru_channel *c = open_end(p, NARU_RECV);
    if (!c)
        return;
    says_where(p, c);
    receive_datagrams(p, c);
}

static void reads_plain(struct part *p)
{
    naru_channel *c = open_end(p, NARU_RECV);
    if (!c)
        return;
    says_where(p, c);
    receive_all(p, c, -1);
    naru_channel_close(c);
}

static void writes_plain(struct part *p)
{
    naru_channel *c = open_end(p, NARU_SEND);
    if (c)
        send_all(p, c, -1);
    naru_channel_close(c);
}

/* ---- a program that knows only socket(2) ---- */

static int plain_socket(struct part *p, bool binds)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in host = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool is_unix = !may_lose(p);
    socklen_t n = is_unix ? sizeof local : sizeof host;
    struct sockaddr *a = is_unix ? (struct sockaddr *)&local : (struct sockaddr *)&host;
    if (is_unix)
        snprintf(local.sun_path, sizeof local.sun_path, "%s", strchr(p->url, '/'));
    else
        host.sin_port = htons((uint16_t)atoi(strrchr(p->url, ':') + 1));
    int fd = socket(a->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if ((binds ? bind(fd, a, n) : connect(fd, a, n)) < 0)
        part_failed(p, "%s: %s", binds ? "bind" : "connect", strerror(errno));
    else if (binds) {
        if (!is_unix && getsockname(fd, a, &n) == 0)
            snprintf(p->report.url, sizeof p->report.url, "udp://127.0.0.1:%d",
                     ntohs(host.sin_port));
        part_say(p, REPORT_READY);
    }
    return fd;
}

static void plain_sender(struct part *p)
{
    int fd = plain_socket(p, false);
    if (p->report.ok)
        send_all(p, NULL, fd);
    close(fd);
}

static void plain_receiver(struct part *p)
{
    int fd = plain_socket(p, true);
    if (p->report.ok)
        receive_all(p, NULL, fd);
    close(fd);
}

/* ---- unix+seqpacket: connections ---- */

static void packet_server(struct part *p)
{
    naru_channel_listener *l = NULL;
    naru_channel *c = NULL;
    if (part_naru(p, "listening", naru_channel_listen(p->url, NULL, &l))) {
        part_say(p, REPORT_READY);
        part_naru(p, "accepting", naru_channel_accept(l, TOUR_TIMEOUT, &c));
    }
    if (c && pong(p, NULL, c))
        receive_all(p, c, -1);
    naru_channel_close(c);
    naru_channel_listener_close(l);
}

static void packet_client(struct part *p)
{
    naru_channel *c = NULL;
    if (part_naru(p, "connecting", naru_channel_connect(p->url, NULL, TOUR_TIMEOUT, &c)) &&
        ping(p, NULL, c))
        send_all(p, c, -1);
    naru_channel_close(c);
}

/* ---- the receiver is killed ---- */

static void dying_receiver(struct part *p)
{
    naru_channel *c = open_end(p, NARU_RECV);
    struct message m;
    if (!c)
        return;
    says_where(p, c);
    for (int i = 0; i < BEFORE_DEATH; i++)
        if (!get(p, c, -1, &m))
            return;
    part_wait_for_death(p);
}

static void surviving_sender(struct part *p)
{
    naru_channel *c = open_end(p, NARU_SEND);
    int r = c ? 0 : -1;
    while (r == 0)
        r = naru_channel_send(c, 1, p->input.data, 512, TOUR_TIMEOUT);
    if (c)
        part_saw(p, "sender", r, -ECONNREFUSED);
    naru_channel_close(c);
}

/* ---- tables ---- */

const struct role datagram_roles[] = {
    {"datagram-sender", sender},
    {"datagram-receiver", receiver},
    {"datagram-reads-plain", reads_plain},
    {"datagram-writes-plain", writes_plain},
    {"datagram-plain-sender", plain_sender},
    {"datagram-plain-receiver", plain_receiver},
    {"datagram-packet-server", packet_server},
    {"datagram-packet-client", packet_client},
    {"datagram-dying-receiver", dying_receiver},
    {"datagram-surviving-sender", surviving_sender},
    {0},
};

/* A receiver, and when it is there a sender. */
#define MEETING(name, first, second)                                                               \
    static bool start_##name(struct stage *stage)                                                  \
    {                                                                                              \
        return stage_exec(stage, 1, "datagram-" first, NULL);                                      \
    }                                                                                              \
    static bool next_##name(struct stage *stage, int ready, int ended)                             \
    {                                                                                              \
        return ready != 1 || ended != 0 || stage_exec(stage, 0, "datagram-" second, NULL);         \
    }
MEETING(one, "receiver", "sender")
MEETING(plain_sender, "reads-plain", "plain-sender")
MEETING(plain_receiver, "plain-receiver", "writes-plain")
MEETING(packets, "packet-server", "packet-client")
MEETING(dies, "dying-receiver", "surviving-sender")

static bool start_topic(struct stage *stage)
{
    return stage_exec(stage, 1, "datagram-receiver", "topic") &&
           stage_exec(stage, 2, "datagram-receiver", "topic");
}

static bool next_topic(struct stage *stage, int ready, int ended)
{
    return ready != 2 || ended != 0 || stage_exec(stage, 0, "datagram-sender", "topic");
}

#define SCENE(url, noun, direction, shows, parts, victim, start, next)                             \
    {                                                                                              \
        url, noun, "message", direction, "unrelated", shows, parts, victim, start, next            \
    }
#define QUEUE(url, shows, victim, name)                                                            \
    SCENE(url, NARU_NOUN_QUEUE, "one-way", shows, 2, victim, start_##name, next_##name)

const struct scene datagram_scenes[] = {
    SCENE("unix+seqpacket:%s/packets", NARU_NOUN_CONNECTION, "two-way", "client and server", 2, -1,
          start_packets, next_packets),
    QUEUE("unix+dgram:%s/datagrams", "1 sender, 1 receiver", -1, one),
    QUEUE("unix+dgram:%s/datagrams", "a plain socket writes", -1, plain_sender),
    QUEUE("unix+dgram:%s/datagrams", "a plain socket reads", -1, plain_receiver),
    QUEUE("unix+dgram:%s/datagrams", "receiver killed", 1, dies),
    QUEUE("udp://127.0.0.1:0", "1 sender, 1 receiver", -1, one),
    QUEUE("udp://127.0.0.1:0", "a plain socket writes", -1, plain_sender),
    QUEUE("udp://127.0.0.1:0", "a plain socket reads", -1, plain_receiver),
    QUEUE("udp://127.0.0.1:0", "receiver killed", 1, dies),
    SCENE("udp://239.255.77.1%lo:%p", NARU_NOUN_TOPIC, "one-way", "1 publisher, 2 subscribers",
          3, -1, start_topic, next_topic),
    {0},
};
