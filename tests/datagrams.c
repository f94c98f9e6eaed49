/* SPDX-License-Identifier: MIT */
/* datagrams.c - what is a datagram's own: names, receivers that come and go, loss that is counted,
 * packets and their ends, multicast, foreign peers, other users. */
#include "base/fault.h"
#include "harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- helpers ---- */

static naru_channel *queue(const char *url, int role)
{
    naru_channel *c;
    expect_ok(naru_queue_open(url, role, NULL, &c));
    return c;
}

static void say(naru_channel *c, const char *text)
{
    expect_ok(naru_channel_send(c, 1, text, strlen(text), PATIENCE));
}

static void hear(naru_channel *c, const char *text)
{
    char buf[256];
    struct naru_info info;
    ssize_t n = naru_channel_recv(c, 0, buf, sizeof buf - 1, &info, PATIENCE);
    expect_ok(n);
    buf[n] = '\0';
    if (strcmp(buf, text) != 0 || info.type != 1)
        test_failed(__FILE__, __LINE__, "\"%s\" came, not \"%s\"", buf, text);
}

static void hear_nothing(naru_channel *c)
{
    char byte;
    expect_code(-EAGAIN, naru_channel_recv(c, 0, &byte, 1, NULL, NARU_NOWAIT));
}

/* A foreign program, run by sh; "%1$s" is `argument`. */
static pid_t run_foreign(const char *command, const char *argument)
{
    static char line[1024];
    snprintf(line, sizeof line, command, argument);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void end_foreign(pid_t pid)
{
    int status;
    expect(waitpid(pid, &status, 0) == pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        test_failed(__FILE__, __LINE__, "the foreign program ended with %d", status);
}

static const char *path_of(const char *url)
{
    return strchr(url, ':') + 1;
}

static const char *port_of(const char *url)
{
    return strrchr(url, ':') + 1;
}

static const char *abstract_name(const char *scheme)
{
    static char url[64];
    snprintf(url, sizeof url, "%s:@naru-test-%d", scheme, (int)getpid());
    return url;
}

static void become_nobody(void)
{
    expect(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
}

/* ---- packets ---- */

static void packet_pair(naru_channel **a, naru_channel **b, size_t max_message)
{
    struct naru_channel_options o = {.size = sizeof o, .max_message = max_message};
    expect_ok(naru_channel_pair("unix+seqpacket:", &o, a, b));
}

static void empty_and_end(void)
{
    naru_channel *a, *b;
    char byte;
    packet_pair(&a, &b, 0);
    expect_ok(naru_channel_send(a, 1, NULL, 0, PATIENCE));
    say(a, "one");
    expect_ok(naru_channel_send(a, 1, NULL, 0, PATIENCE));
    expect_ok(naru_channel_shutdown(a));
    expect_code(0, naru_channel_recv(b, 0, &byte, 1, NULL, PATIENCE));
    hear(b, "one");
    expect_code(0, naru_channel_recv(b, 0, &byte, 1, NULL, PATIENCE));
    for (int i = 0; i < 3; i++) {
        expect_code(-EPIPE, naru_channel_recv(b, 0, &byte, 1, NULL, PATIENCE));
        expect_says("finished");
    }
    say(b, "the other half goes on");
    hear(a, "the other half goes on");
    naru_channel_close(a);
    naru_channel_close(b);
}

/* The kernel tells of a reset before it gives what came ahead. */
static void reset_comes_last(void)
{
    naru_channel *a, *b;
    char byte;
    packet_pair(&a, &b, 0);
    say(b, "never read");
    say(a, "first");
    say(a, "second");
    naru_channel_close(a);
    hear(b, "first");
    hear(b, "second");
    expect_code(-ECONNRESET, naru_channel_recv(b, 0, &byte, 1, NULL, PATIENCE));
    expect_says("unread");
    expect_code(-EPIPE, naru_channel_send(b, 1, "x", 1, PATIENCE));
    naru_channel_close(b);
}

static void packet_sizes(void)
{
    enum { MORE = 3000000 };
    static char block[MORE + 1];
    naru_channel *a, *b;
    struct naru_stats stats = {.size = sizeof stats};
    size_t limit = 1 << 20;
    packet_pair(&a, &b, 0);
    while (naru_channel_send(a, 1, block, limit, NARU_NOWAIT) == -EMSGSIZE)
        limit -= limit > 200000 ? 1000 : 1;
    expect_code((long)limit, naru_channel_recv(b, 0, block, sizeof block, NULL, PATIENCE));
    expect_code(-EMSGSIZE, naru_channel_send(a, 1, block, limit + 1000, PATIENCE));
    expect_says("net.core.wmem_max");
    expect_ok(naru_channel_send(a, 1, "on", 2, PATIENCE));
    hear(b, "on");
    expect_ok(naru_stats(a, &stats));
    expect(stats.capacity > 0);
    naru_channel_close(a);
    naru_channel_close(b);
    struct naru_channel_options o = {.size = sizeof o, .max_message = 400000};
    int r = naru_channel_pair("unix+seqpacket:", &o, &a, &b);
    if (r == 0) { /* net.core.wmem_max has been raised here, or is half as large */
        expect_ok(naru_channel_send(a, 1, block, 400000, PATIENCE));
        expect_code(400000, naru_channel_recv(b, 0, block, sizeof block, NULL, PATIENCE));
        expect_code(-EMSGSIZE, naru_channel_send(a, 1, block, 400001, PATIENCE));
        expect_says(".max_message");
        naru_channel_close(a);
        naru_channel_close(b);
    }
    o.max_message = MORE;
    r = naru_channel_pair("unix+seqpacket:", &o, &a, &b);
    if (r == 0) {
        naru_channel_close(a);
        naru_channel_close(b);
    } else {
        expect_code(-EINVAL, r);
        expect_says("net.core.wmem_max");
    }
}

static void packet_spawn(void)
{
    naru_channel *a, *b;
    naru_child *child;
    struct naru_exit ended;
    packet_pair(&a, &b, 0);
    struct naru_spawn_end ends[] = {{"talk", b, -1}};
    struct naru_spawn_options o = {sizeof o, .ends = ends, .n_ends = 1};
    expect_ok(naru_spawn((char *[]){"python3", "-c",
                                    "import os, re, socket; at = os.environ['NARU_FD_talk']\n"
                                    "s=socket.socket(fileno=int(re.findall('[0-9]+', at)[0]))\n"
                                    "s.send(s.recv(100)[::-1]); s.send(b''); s.send(b'end')",
                                    NULL},
                         &o, &child));
    say(a, "abc");
    hear(a, "cba");
    char byte;
    expect_code(0, naru_channel_recv(a, 0, &byte, 1, NULL, PATIENCE));
    hear(a, "end");
    expect_code(-EPIPE, naru_channel_recv(a, 0, &byte, 1, NULL, PATIENCE));
    expect_ok(naru_child_wait(child, PATIENCE, &ended));
    expect(ended.code == 0);
    naru_child_close(child);
    naru_channel_close(a);
}

#define PYTHON_PACKETS                                                                             \
    "exec python3 -c \"import socket; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"

static void packet_foreign(void)
{
    const char *url = test_url("unix+seqpacket:%s/p");
    naru_channel_listener *l;
    naru_channel *c;
    struct naru_peer peer = {.size = sizeof peer};
    char byte;
    expect_ok(naru_channel_listen(url, NULL, &l));
    static const char *const clients[] = {
        PYTHON_PACKETS "s.connect('%s'); s.send(b'from afar'); s.send(b'')\n"
                       "assert s.recv(99) == b'heard' and s.recv(99) == b'twice'\"",
        "r=$(printf 'from afar' | socat -t 10 - UNIX-CONNECT:%s,type=5) && [ \"$r\" = heardtwice "
        "]"};
    for (int i = 0; i < 2; i++) {
        pid_t pid = run_foreign(clients[i], path_of(url));
        expect_ok(naru_channel_accept(l, PATIENCE, &c));
        expect_ok(naru_peer(c, &peer));
        expect(peer.uid == geteuid());
        hear(c, "from afar");
        if (i == 0)
            expect_code(0, naru_channel_recv(c, 0, &byte, 1, NULL, PATIENCE));
        say(c, "heard");
        say(c, "twice");
        expect_ok(naru_channel_shutdown(c));
        end_foreign(pid);
        expect_code(-EPIPE, naru_channel_recv(c, 0, &byte, 1, NULL, PATIENCE));
        naru_channel_close(c);
    }
    naru_channel_listener_close(l);
    pid_t pid = run_foreign(PYTHON_PACKETS "s.bind('%s'); s.listen(); c=s.accept()[0]\n"
                                           "c.send(c.recv(99)[::-1]); c.recv(99)\"",
                            path_of(url));
    int r;
    for (int64_t end = test_now() + PATIENCE;
         (r = naru_channel_connect(url, NULL, PATIENCE, &c)) < 0 && test_now() < end;)
        usleep(10000);
    expect_ok(r);
    say(c, "abc");
    hear(c, "cba");
    naru_channel_close(c);
    end_foreign(pid);
    expect_ok(naru_remove(url));
}

/* A look at who is there must not use up what a listener accepts. */
static void look_leaves_alone(void)
{
    static const char *const urls[] = {"unix+seqpacket:%s/p", "unix:%s/s"};
    for (int i = 0; i < 2; i++) {
        const char *url = test_url(urls[i]);
        naru_channel_listener *l, *second;
        naru_channel *c;
        char who[64];
        expect_ok(naru_channel_listen(url, NULL, &l));
        expect_code(-EBUSY, naru_channel_listen(url, NULL, &second));
        snprintf(who, sizeof who, "process %d (datagrams)", (int)getpid());
        expect_says(who);
        expect_code(-ETIMEDOUT, naru_channel_accept(l, 20 * NARU_MS, &c));
        naru_channel_listener_close(l);
    }
    naru_channel *c;
    naru_channel_listener *l;
    const char *url = test_url("unix+dgram:%s/s");
    c = queue(url, NARU_RECV);
    expect_code(-EBUSY, naru_channel_listen(test_url("unix:%s/s"), NULL, &l));
    expect_says("another type");
    naru_channel_close(c);
}

/* ---- queues of this host ---- */

static void receivers_come_and_go(void)
{
    const char *url = test_url("unix+dgram:%s/d");
    struct naru_queue_options existing = {.size = sizeof existing, .flags = NARU_EXISTING};
    naru_channel *out, *in, *other;
    struct stat st;
    expect_code(-ENOENT, naru_queue_open(url, NARU_SEND, &existing, &out));
    expect_code(-ENOENT, naru_queue_open(url, NARU_RECV, &existing, &out));
    out = queue(url, NARU_SEND);
    expect_code(-EAGAIN, naru_channel_send(out, 1, "x", 1, NARU_NOWAIT));
    int64_t before = test_now();
    expect_code(-ETIMEDOUT, naru_channel_send(out, 1, "x", 1, 30 * NARU_MS));
    expect(test_now() - before >= 30 * NARU_MS);
    expect_says("nobody receives");
    in = queue(url, NARU_RECV);
    expect(stat(path_of(url), &st) == 0 && (st.st_mode & 07777) == 0600);
    say(out, "found");
    hear(in, "found");
    expect_code(-EBUSY, naru_queue_open(url, NARU_RECV, NULL, &other));
    char who[64];
    snprintf(who, sizeof who, "process %d (datagrams)", (int)getpid());
    expect_says(who);
    naru_channel_close(in);
    expect(stat(path_of(url), &st) < 0);
    expect_code(-ECONNREFUSED, naru_channel_send(out, 1, "x", 1, PATIENCE)); /* told, once */
    expect_says("gone");
    expect_code(-EAGAIN, naru_channel_send(out, 1, "x", 1, NARU_NOWAIT));
    in = queue(url, NARU_RECV);
    say(out, "found again");
    hear(in, "found again");
    naru_channel_close(out);
    expect_code(-ENOENT, naru_remove(test_url("unix+dgram:%s/other")));
    expect_ok(naru_remove(url));
    naru_channel_close(in);
}

static char born[128];
static mode_t born_with;
static int look_before_chmod(const char *call)
{
    struct stat st;
    if (strcmp(call, "chmod") == 0 && stat(born, &st) == 0)
        born_with = st.st_mode & 0777;
    return 0;
}

/* No moment in which more users may send than were meant to. */
static void born_with_its_mode(void)
{
    const struct naru_queue_options o = {.size = sizeof o, .mode = 0620};
    const char *url = test_url("unix+dgram:%s/d");
    naru_channel *in;
    snprintf(born, sizeof born, "%s", path_of(url));
    umask(0);
    naru__fault = look_before_chmod;
    expect_ok(naru_queue_open(url, NARU_RECV, &o, &in));
    naru__fault = NULL;
    expect_code(0620, born_with);
    naru_channel_close(in);
}

static void receive_once(void *url)
{
    naru_channel *in = queue(url, NARU_RECV);
    hear(in, "to the first");
    pause();
}

/* A killed receiver leaves its file: senders are told, the next receiver takes it over. */
static void receiver_killed(void)
{
    const char *url = test_url("unix+dgram:%s/d");
    pid_t child = start_child(receive_once, (void *)(uintptr_t)url);
    naru_channel *out = queue(url, NARU_SEND), *in;
    static char block[4096];
    say(out, "to the first");
    int r;
    while ((r = naru_channel_send(out, 1, block, sizeof block, 50 * NARU_MS)) == 0)
        ;
    expect_code(-ETIMEDOUT, r); /* full */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    expect_code(-ECONNREFUSED, naru_channel_send(out, 1, "x", 1, PATIENCE));
    in = queue(url, NARU_RECV);
    say(out, "to the second");
    hear(in, "to the second");
    naru_channel_close(in);
    naru_channel_close(out);
}

/* Asleep in a send when the receiver dies. */
static void *kill_soon(void *pid)
{
    usleep(50000);
    kill(*(pid_t *)pid, SIGKILL);
    return NULL;
}

static void sleeping_sender(void)
{
    const char *url = test_url("unix+dgram:%s/d");
    pid_t child = start_child(receive_once, (void *)(uintptr_t)url);
    naru_channel *out = queue(url, NARU_SEND);
    static char block[4096];
    pthread_t thread;
    say(out, "to the first");
    while (naru_channel_send(out, 1, block, sizeof block, 50 * NARU_MS) == 0)
        ;
    expect(pthread_create(&thread, NULL, kill_soon, &child) == 0);
    expect_code(-ECONNREFUSED, naru_channel_send(out, 1, "x", 1, PATIENCE));
    pthread_join(thread, NULL);
    waitpid(child, NULL, 0);
    naru_channel_close(out);
    expect_ok(naru_remove(url));
}

/* A sender without a receiver in a foreign loop: a timer, until it finds one. */
static void apart_in_a_loop(void)
{
    const char *url = test_url("unix+dgram:%s/d");
    naru_channel *out = queue(url, NARU_SEND), *in;
    struct pollfd p = {naru_fd(out), POLLIN, 0};
    expect(p.fd >= 0);
    expect_ok(naru_want(out, NARU_OUT));
    expect_code(-EAGAIN, naru_channel_send(out, 1, "x", 1, NARU_NOWAIT));
    int woken = 0;
    for (int64_t end = test_now() + 100 * NARU_MS; test_now() < end;) {
        woken += poll(&p, 1, 100);
        expect_code(-EAGAIN, naru_channel_send(out, 1, "x", 1, NARU_NOWAIT));
    }
    expect(woken >= 1 && woken <= 12); /* a busy machine lets it look less often, never more */
    in = queue(url, NARU_RECV);
    expect_code(1, poll(&p, 1, PATIENCE_MS));
    expect_ok(naru_channel_send(out, 1, "x", 1, NARU_NOWAIT));
    expect_code(1, poll(&p, 1, PATIENCE_MS)); /* there is room */
    hear(in, "x");
    naru_channel_close(in);
    naru_channel_close(out);
}

/* ---- what a stranger sends along ---- */

static void send_with_descriptors(int fd)
{
    enum { MANY = 200 };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(MANY * sizeof(int))];
    } control;
    struct iovec one = {"x", 1};
    struct msghdr m = {.msg_iov = &one,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    memset(&control, 0, sizeof control); /* descriptor 0, many times */
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(MANY * sizeof(int));
    expect(sendmsg(fd, &m, MSG_NOSIGNAL) == 1);
}

static int dial(const char *url, int type)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(path_of(url));
    memcpy(to.sun_path, path_of(url), n);
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, type, 0);
    expect(connect(fd, (struct sockaddr *)&to,
                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == 0);
    return fd;
}

/* Descriptors that nobody asked for stay out; what came with them does not. */
static void strangers_descriptors(void)
{
    const char *const urls[] = {test_url("unix+dgram:%s/d"), abstract_name("unix+dgram"),
                                test_url("unix+seqpacket:%s/p")};
    for (int i = 0; i < 3; i++) {
        naru_channel *in;
        naru_channel_listener *l = NULL;
        int fd;
        if (i < 2) {
            in = queue(urls[i], NARU_RECV);
            fd = dial(urls[i], SOCK_DGRAM);
        } else {
            expect_ok(naru_channel_listen(urls[i], NULL, &l));
            fd = dial(urls[i], SOCK_SEQPACKET);
            expect_ok(naru_channel_accept(l, PATIENCE, &in));
        }
        int before = open_descriptors();
        for (int k = 0; k < 3; k++) {
            send_with_descriptors(fd);
            hear(in, "x");
            expect_code(before, open_descriptors());
        }
        close(fd);
        naru_channel_close(in);
        naru_channel_listener_close(l);
    }
}

struct numbered {
    int sender, number;
};

static void send_numbers(void *context)
{
    const struct numbered *from = context;
    naru_channel *out = queue(test_url("unix+dgram:%s/d"), NARU_SEND);
    for (int i = 0; i < 5000; i++) {
        struct numbered m = {from->sender, i};
        expect_ok(naru_channel_send(out, 1, &m, sizeof m, PATIENCE));
    }
    naru_channel_close(out);
}

static void many_senders(void)
{
    naru_channel *in = queue(test_url("unix+dgram:%s/d"), NARU_RECV);
    int next[3] = {0, 0, 0};
    pid_t child[3];
    for (int i = 0; i < 3; i++)
        child[i] = start_child(send_numbers, &(struct numbered){i, 0});
    for (int i = 0; i < 15000; i++) {
        struct numbered m;
        expect_code(sizeof m, naru_channel_recv(in, 0, &m, sizeof m, NULL, PATIENCE));
        expect(m.number == next[m.sender]++);
    }
    for (int i = 0; i < 3; i++)
        end_child(child[i]);
    hear_nothing(in);
    naru_channel_close(in);
}

static void both_roles(void)
{
    static const char *const urls[] = {"unix+dgram:%s/d", "udp://127.0.0.1:0", "udp://[::1]:0",
                                       "udp://*:0"};
    for (int i = 0; i < 4; i++) {
        naru_channel *c = queue(test_url(urls[i]), NARU_SEND | NARU_RECV);
        say(c, "to myself");
        hear(c, "to myself");
        naru_channel *out = queue(naru_url(c), NARU_SEND);
        say(out, "from another");
        hear(c, "from another");
        naru_channel_close(out);
        naru_channel_close(c);
    }
    naru_channel *c = queue(abstract_name("unix+dgram"), NARU_SEND | NARU_RECV);
    say(c, "abstract");
    hear(c, "abstract");
    naru_channel_close(c);
}

#define PYTHON_DATAGRAMS                                                                           \
    "exec python3 -c \"import socket; s=socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"

static void dgram_foreign(void)
{
    const char *url = test_url("unix+dgram:%s/d");
    naru_channel *in = queue(url, NARU_RECV);
    char byte;
    end_foreign(run_foreign(PYTHON_DATAGRAMS "s.sendto(b'by python', '%1$s')\n"
                                             "s.sendto(b'', '%1$s')\"",
                            path_of(url)));
    hear(in, "by python");
    expect_code(0, naru_channel_recv(in, 0, &byte, 1, NULL, PATIENCE));
    end_foreign(run_foreign("printf 'by socat' | socat -u - UNIX-SENDTO:%s", path_of(url)));
    hear(in, "by socat");
    naru_channel_close(in);
    static const char *const receivers[] = {
        PYTHON_DATAGRAMS "s.bind('%s'); assert s.recv(99) == b'from naru'\"",
        "r=$(timeout 20 socat -u UNIX-RECV:%s - | head -c 9); [ \"$r\" = 'from naru' ]"};
    for (int i = 0; i < 2; i++) {
        pid_t pid = run_foreign(receivers[i], path_of(url));
        naru_channel *out = queue(url, NARU_SEND);
        int status = 0;
        say(out, "from naru"); /* waits until it is there */
        for (int64_t end = test_now() + PATIENCE; /* socat ends when its pipe's reader has left */
             waitpid(pid, &status, WNOHANG) == 0 && test_now() < end; usleep(5000))
            (void)naru_channel_send(out, 1, "\n", 1, NARU_NOWAIT);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        naru_channel_close(out);
        (void)naru_remove(url);
    }
}

/* ---- another user ---- */

static void as_nobody(void *url)
{
    naru_channel *c;
    become_nobody();
    expect_code(-EACCES, naru_queue_open(test_url("unix+dgram:%s/d"), NARU_SEND, NULL, &c));
    expect_says("mode 0600");
    expect_code(-EACCES, naru_queue_open(test_url("unix+dgram:%s/mine"), NARU_RECV, NULL, &c));
    expect_code(-EBUSY, naru_queue_open(url, NARU_RECV, NULL, &c));
    c = queue(test_url("unix+dgram:%s/open"), NARU_SEND);
    say(c, "by the mode");
    naru_channel_close(c);
    c = queue(url, NARU_SEND); /* root's: the kernel lets it in, the receiver does not */
    say(c, "by a stranger");
    naru_channel_close(c);
}

static void imposter(void *url)
{
    become_nobody();
    naru_channel *c = queue(url, NARU_RECV);
    char byte;
    (void)naru_channel_recv(c, 0, &byte, 1, NULL, PATIENCE);
    naru_channel_close(c);
}

static void second_user(void)
{
    const char *url = abstract_name("unix+dgram");
    struct naru_queue_options open = {.size = sizeof open, .mode = 0666};
    struct naru_queue_options any = {.size = sizeof any, .flags = NARU_ANY_USER};
    struct naru_stats stats = {.size = sizeof stats};
    naru_channel *closed, *opened, *abstract, *out;
    if (geteuid() != 0)
        test_skip("only root can become another user");
    expect(chmod(test_directory, 0755) == 0);
    closed = queue(test_url("unix+dgram:%s/d"), NARU_RECV);
    expect_ok(naru_queue_open(test_url("unix+dgram:%s/open"), NARU_RECV, &open, &opened));
    abstract = queue(url, NARU_RECV);
    end_child(start_child(as_nobody, (void *)(uintptr_t)url));
    hear(opened, "by the mode");
    out = queue(url, NARU_SEND);
    say(out, "by a friend");
    hear(abstract, "by a friend"); /* the stranger's came before */
    expect_ok(naru_stats(abstract, &stats));
    expect(stats.dropped == 1);
    naru_channel_close(out);
    naru_channel_close(closed);
    naru_channel_close(opened);
    naru_channel_close(abstract);
    pid_t child = start_child(imposter, (void *)(uintptr_t)url);
    int r;
    for (int64_t end = test_now() + PATIENCE;
         (r = naru_queue_open(url, NARU_SEND, NULL, &out)) == 0 && test_now() < end; usleep(5000))
        naru_channel_close(out);
    expect_code(-EPERM, r);
    expect_says("uid 65534");
    expect_ok(naru_queue_open(url, NARU_SEND, &any, &out));
    say(out, "never mind");
    end_child(child);
    naru_channel_close(out);
}

static void flood(void *url)
{
    become_nobody();
    int fd = dial(url, SOCK_DGRAM);
    while (send(fd, "flood", 5, MSG_NOSIGNAL) > 0)
        ;
}

static void befriend(void *url)
{
    naru_channel *out = queue(url, NARU_SEND);
    say(out, "a friend");
    naru_channel_close(out);
}

/* However many a stranger sends, the receiver keeps its time and hears its friends. */
static void flooded(void)
{
    const char *url = abstract_name("unix+dgram");
    struct naru_stats stats = {.size = sizeof stats};
    naru_channel *in;
    pid_t child[3];
    char byte;
    if (geteuid() != 0)
        test_skip("only root can become another user");
    in = queue(url, NARU_RECV);
    for (int i = 0; i < 3; i++)
        child[i] = start_child(flood, (void *)(uintptr_t)url);
    for (int64_t end = test_now() + PATIENCE; stats.dropped < 1000 && test_now() < end;) {
        expect_code(-ETIMEDOUT, naru_channel_recv(in, 0, &byte, 1, NULL, 10 * NARU_MS));
        expect_ok(naru_stats(in, &stats)); /* until they have begun */
    }
    int64_t before = test_now();
    expect_code(-ETIMEDOUT, naru_channel_recv(in, 0, &byte, 1, NULL, 100 * NARU_MS));
    expect(test_now() - before < PATIENCE);
    for (before = test_now(); test_now() < before + NARU_S;) { /* no call takes all of them */
        expect_ok(naru_stats(in, &stats));
        uint64_t dropped = stats.dropped;
        expect_code(-EAGAIN, naru_channel_recv(in, 0, &byte, 1, NULL, NARU_NOWAIT));
        expect_ok(naru_stats(in, &stats));
        expect(stats.dropped - dropped <= 64);
    }
    pid_t friend = start_child(befriend, (void *)(uintptr_t)url);
    hear(in, "a friend");
    end_child(friend);
    for (int i = 0; i < 3; i++) {
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
    }
    naru_channel_close(in);
}

static void packets_as_nobody(void *url)
{
    const char *const shut = test_url("unix+seqpacket:%s/shut");
    naru_channel_listener *l;
    naru_channel *c;
    char byte;
    become_nobody();
    expect_code(-EACCES, naru_channel_connect(shut, NULL, PATIENCE, &c));
    expect_says("uid 0, gid 0, mode 0600");
    expect_code(-EACCES, naru_remove(shut));
    expect_says("belongs to uid 0");
    expect_code(-EACCES, naru_channel_listen(test_url("unix+seqpacket:%s/mine"), NULL, &l));
    expect_code(-EBUSY, naru_channel_listen(url, NULL, &l));
    expect_ok(naru_channel_connect(test_url("unix+seqpacket:%s/open"), NULL, PATIENCE, &c));
    say(c, "by the mode");
    naru_channel_close(c);
    expect_ok(naru_channel_connect(url, NULL, PATIENCE, &c)); /* and is not let in */
    expect_code(-EPIPE, naru_channel_recv(c, 0, &byte, 1, NULL, PATIENCE));
    naru_channel_close(c);
}

static void packets_second_user(void)
{
    const char *url = abstract_name("unix+seqpacket");
    struct naru_listen_options mode = {.size = sizeof mode, .mode = 0666};
    struct naru_peer peer = {.size = sizeof peer};
    struct naru_stats stats = {.size = sizeof stats};
    naru_channel_listener *shut, *open, *abstract;
    naru_channel *c;
    if (geteuid() != 0)
        test_skip("only root can become another user");
    expect(chmod(test_directory, 0755) == 0);
    expect_ok(naru_channel_listen(test_url("unix+seqpacket:%s/shut"), NULL, &shut));
    expect_ok(naru_channel_listen(test_url("unix+seqpacket:%s/open"), &mode, &open));
    expect_ok(naru_channel_listen(url, NULL, &abstract));
    pid_t child = start_child(packets_as_nobody, (void *)(uintptr_t)url);
    expect_ok(naru_channel_accept(open, PATIENCE, &c));
    expect_ok(naru_peer(c, &peer));
    expect(peer.uid == 65534 && peer.pid == child);
    hear(c, "by the mode");
    naru_channel_close(c);
    for (int64_t end = test_now() + PATIENCE; stats.dropped == 0 && test_now() < end;) {
        expect_code(-ETIMEDOUT, naru_channel_accept(abstract, 100 * NARU_MS, &c));
        expect_ok(naru_stats(abstract, &stats));
    }
    expect(stats.dropped == 1 && strstr(stats.note, "uid 65534"));
    end_child(child);
    naru_channel_listener_close(shut);
    naru_channel_listener_close(open);
    naru_channel_listener_close(abstract);
}

/* ---- UDP ---- */

static void udp_as_nobody(void *urls)
{
    char *(*at)[2] = urls;
    naru_channel *c;
    become_nobody();
    c = queue((*at)[0], NARU_SEND); /* a port has no owner and no mode */
    say(c, "by nobody");
    naru_channel_close(c);
    expect_ok(naru_topic_open((*at)[1], NARU_SEND, NULL, &c));
    say(c, "news by nobody");
    naru_channel_close(c);
    expect_code(-EBUSY, naru_queue_open((*at)[0], NARU_RECV, NULL, &c));
    int r = naru_queue_open("udp://127.0.0.1:9", NARU_RECV, NULL, &c);
    if (r < 0) { /* else this host lets everybody have it */
        expect_code(-EACCES, r);
        expect_says("net.ipv4.ip_unprivileged_port_start, ");
    } else {
        naru_channel_close(c);
    }
}

static void udp_second_user(void)
{
    char group[64];
    naru_channel *in, *topic;
    if (geteuid() != 0)
        test_skip("only root can become another user");
    in = queue("udp://127.0.0.1:0", NARU_RECV);
    snprintf(group, sizeof group, "udp://239.255.77.6%%lo:%s", port_of(naru_url(in)));
    expect_ok(naru_topic_open(group, NARU_RECV, NULL, &topic));
    end_child(start_child(udp_as_nobody, &(char *[2]){(char *)(uintptr_t)naru_url(in), group}));
    hear(in, "by nobody");
    hear(topic, "news by nobody");
    naru_channel_close(in);
    naru_channel_close(topic);
}

static void udp_names(void)
{
    static const struct {
        const char *url;
        int code;
        const char *says;
    } bad[] = {{"udp:x", -EINVAL, "write udp://host:port"},
               {"udp://:5000", -EINVAL, "names no host"},
               {"udp://127.0.0.1:0", -EINVAL, "names no port"},
               {"udp://127.0.0.1:70000", -EINVAL, "65535"},
               {"udp://239.1.2.3:5000", -EINVAL, "as a topic"},
               {"udp://127.0.0.1%lo:5000", -EINVAL, "interface"},
               {"udp://239.1.2.3%nosuch:5000", -EADDRNOTAVAIL, "no interface nosuch"},
               {"udp://no.such.host.invalid:5000", -EADDRNOTAVAIL, "no.such.host"}};
    naru_channel *c, *d;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expect_code(bad[i].code, naru_queue_open(bad[i].url, NARU_SEND, NULL, &c));
        expect_says(bad[i].says);
    }
    c = queue("udp://127.0.0.1:0", NARU_RECV);
    expect(strcmp(port_of(naru_url(c)), "0") != 0);
    expect_code(-EBUSY, naru_queue_open(naru_url(c), NARU_RECV, NULL, &d));
    expect_says("ss -lunp");
    expect_code(-EOPNOTSUPP, naru_remove(naru_url(c)));
    naru_channel_close(c);
    expect_code(-EADDRNOTAVAIL, naru_queue_open("udp://203.0.113.77:0", NARU_RECV, NULL, &c));
    expect_says("no address of this host");
    struct naru_queue_options o = {.size = sizeof o, .messages = 5};
    expect_code(-EOPNOTSUPP, naru_queue_open("udp://127.0.0.1:0", NARU_RECV, &o, &c));
    o = (struct naru_queue_options){.size = sizeof o, .max_message = 70000};
    expect_code(-EINVAL, naru_queue_open("udp://127.0.0.1:0", NARU_RECV, &o, &c));
    expect_says("65507 B");
}

static void udp_sizes(void)
{
    static char block[65508], got[65508];
    naru_channel *in = queue("udp://127.0.0.1:0", NARU_RECV), *out = queue(naru_url(in), NARU_SEND);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)(i * 7 >> 3);
    expect_ok(naru_channel_send(out, 1, block, 65507, PATIENCE));
    expect_code(65507, naru_channel_recv(in, 0, got, sizeof got, NULL, PATIENCE));
    expect(memcmp(block, got, 65507) == 0);
    expect_code(-EMSGSIZE, naru_channel_send(out, 1, block, 65508, PATIENCE));
    expect_says("UDP datagram");
    naru_channel_close(in);
    naru_channel_close(out);
}

/* What a full receiver loses is counted, by whom it is told, and where. */
static void udp_loss(void)
{
    struct naru_queue_options o = {.size = sizeof o, .capacity = 65536};
    struct naru_stats stats = {.size = sizeof stats};
    enum { SENT = 20000 };
    naru_channel *in, *out;
    unsigned received = 0, missed = 0;
    struct naru_info info;
    int number, last = -1;
    expect_ok(naru_queue_open("udp://127.0.0.1:0", NARU_RECV, &o, &in));
    out = queue(naru_url(in), NARU_SEND);
    for (int i = 0; i < SENT; i++)
        expect_ok(naru_channel_send(out, 1, &i, sizeof i, PATIENCE));
    for (; naru_channel_recv(in, 0, &number, sizeof number, &info, NARU_NOWAIT) == sizeof number;
         received++, missed += (unsigned)info.missed, last = number)
        expect(number == last + 1 + (int)info.missed);
    expect(received > 0 && received < SENT);
    number = SENT;
    expect_ok(naru_channel_send(out, 1, &number, sizeof number, PATIENCE));
    expect_code(sizeof number, naru_channel_recv(in, 0, &number, sizeof number, &info, PATIENCE));
    missed += (unsigned)info.missed;
    expect(number == SENT && received + missed == SENT);
    expect_ok(naru_stats(in, &stats));
    expect(stats.dropped == missed && stats.received == received + 1);
    o.capacity = UINT32_C(1) << 30; /* a receiver's buffer is bounded by another limit */
    naru_channel_close(in);
    expect_ok(naru_queue_open("udp://127.0.0.1:0", NARU_RECV, &o, &in));
    expect_ok(naru_stats(in, &stats));
    expect(stats.capacity < o.capacity && strstr(stats.note, "net.core.rmem_max is "));
    expect_code(-EOPNOTSUPP, naru_channel_flush(out, PATIENCE));
    naru_channel_close(in);
    naru_channel_close(out);
}

static void udp_receiver_gone(void)
{
    naru_channel *in = queue("udp://127.0.0.1:0", NARU_RECV), *out = queue(naru_url(in), NARU_SEND);
    char url[64];
    snprintf(url, sizeof url, "%s", naru_url(in));
    say(out, "there");
    hear(in, "there");
    naru_channel_close(in);
    say(out, "into the void");
    int r = 0;
    for (int64_t end = test_now() + PATIENCE; r == 0 && test_now() < end;)
        r = naru_channel_send(out, 1, "x", 1, PATIENCE);
    expect_code(-ECONNREFUSED, r);
    expect_says("an earlier message was refused");
    in = queue(url, NARU_RECV);
    while (naru_channel_send(out, 1, "back", 4, PATIENCE) <
           0) /* an older refusal may be on its way */
        ;
    hear(in, "back");
    naru_channel_close(in);
    naru_channel_close(out);
}

#define PYTHON_UDP "exec python3 -c \"import socket; s=socket.socket(type=socket.SOCK_DGRAM)\n"

static void udp_foreign(void)
{
    naru_channel *in = queue("udp://127.0.0.1:0", NARU_RECV), *out;
    static const char *const senders[] = {PYTHON_UDP "s.sendto(b'hello', ('127.0.0.1', %s))\"",
                                          "printf hello | socat -u - UDP:127.0.0.1:%s",
                                          "printf hello | nc -u -w 1 127.0.0.1 %s"};
    for (int i = 0; i < 3; i++) {
        pid_t pid = run_foreign(senders[i], port_of(naru_url(in)));
        hear(in, "hello");
        end_foreign(pid);
    }
    char port[16], url[64];
    snprintf(port, sizeof port, "%s", port_of(naru_url(in)));
    snprintf(url, sizeof url, "%s", naru_url(in));
    naru_channel_close(in);
    static const char *const receivers[] = {
        PYTHON_UDP "s.bind(('127.0.0.1', %s)); assert s.recv(99) == b'hello'\"",
        "r=$(timeout 20 socat -u UDP-RECV:%s,bind=127.0.0.1 - | head -c 5); [ \"$r\" = hello ]",
        "r=$(timeout 20 nc -u -l 127.0.0.1 %s | head -c 5); [ \"$r\" = hello ]"};
    for (int i = 0; i < 3; i++) {
        pid_t pid = run_foreign(receivers[i], port);
        out = queue(url, NARU_SEND);
        int status;
        for (int64_t end = test_now() + PATIENCE;
             waitpid(pid, &status, WNOHANG) == 0 && test_now() < end; usleep(20000))
            (void)naru_channel_send(out, 1, "hello", 5, PATIENCE); /* until it is there */
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            test_failed(__FILE__, __LINE__, "receiver %d ended with %d", i, status);
        naru_channel_close(out);
    }
}

/* ---- multicast ---- */

static void subscribe(void *url)
{
    naru_channel *in, *ready = queue(test_url("fifo:%s/ready"), NARU_SEND);
    expect_ok(naru_topic_open(url, NARU_RECV, NULL, &in));
    say(ready, "there");
    naru_channel_close(ready);
    for (int i = 0; i < 100; i++) {
        char text[32];
        snprintf(text, sizeof text, "news %d", i);
        hear(in, text);
    }
    naru_channel_close(in);
}

static void publish(const char *url)
{
    naru_channel *out, *ready = queue(test_url("fifo:%s/ready"), NARU_RECV);
    int r = naru_topic_open(url, NARU_SEND, NULL, &out);
    if (r == -EADDRNOTAVAIL || r == -EHOSTUNREACH)
        test_skip(naru_why());
    expect_ok(r);
    pid_t child[2];
    for (int i = 0; i < 2; i++)
        child[i] = start_child(subscribe, (void *)(uintptr_t)url);
    naru_channel *own;
    expect_ok(naru_topic_open(url, NARU_RECV, NULL, &own));
    for (int i = 0; i < 2; i++)
        hear(ready, "there");
    for (int i = 0; i < 100; i++) {
        char text[32];
        snprintf(text, sizeof text, "news %d", i);
        say(out, text);
        hear(own, text);
    }
    for (int i = 0; i < 2; i++)
        end_child(child[i]);
    naru_channel_close(own);
    naru_channel_close(out);
    naru_channel_close(ready);
    expect_ok(naru_remove(test_url("fifo:%s/ready")));
}

static unsigned some_port(void)
{
    naru_channel *c = queue("udp://127.0.0.1:0", NARU_RECV);
    unsigned port = (unsigned)atoi(port_of(naru_url(c)));
    naru_channel_close(c);
    return port;
}

static void multicast(void)
{
    char url[64];
    snprintf(url, sizeof url, "udp://239.255.77.1%%lo:%u", some_port());
    publish(url);
}

/* The loopback interface has no route for IPv6 groups. */
static void multicast_six(void)
{
    char url[64], interface[IF_NAMESIZE] = "";
    struct ifaddrs *all;
    expect(getifaddrs(&all) == 0);
    for (struct ifaddrs *a = all; a; a = a->ifa_next)
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET6 && a->ifa_flags & IFF_MULTICAST &&
            a->ifa_flags & IFF_UP)
            snprintf(interface, sizeof interface, "%s", a->ifa_name);
    freeifaddrs(all);
    if (!interface[0])
        test_skip("no interface here has IPv6 and multicast");
    snprintf(url, sizeof url, "udp://[ff02::4e61%%%s]:%u", interface, some_port());
    publish(url);
}

static void groups_apart(void)
{
    char url[64], other[64];
    unsigned port = some_port();
    naru_channel *in, *in_other, *out;
    snprintf(url, sizeof url, "udp://239.255.77.1%%lo:%u", port);
    snprintf(other, sizeof other, "udp://239.255.77.2%%lo:%u", port);
    expect_ok(naru_topic_open(url, NARU_RECV, NULL, &in));
    expect_ok(naru_topic_open(other, NARU_RECV, NULL, &in_other));
    expect_ok(naru_topic_open(url, NARU_SEND, NULL, &out));
    say(out, "for one group");
    hear(in, "for one group");
    hear_nothing(in_other);
    naru_channel_close(in);
    say(out, "for nobody"); /* a publisher needs no subscriber */
    say(out, "for nobody");
    naru_channel_close(in_other);
    naru_channel_close(out);
    struct naru_topic_options o = {.size = sizeof o, .history = 3};
    expect_code(-EOPNOTSUPP, naru_topic_open(url, NARU_RECV, &o, &in));
    expect_says("history");
    expect_code(-EINVAL, naru_topic_open("udp://127.0.0.1:5000", NARU_SEND, NULL, &in));
    expect_says("224.0.0.0");
    expect_code(-EOPNOTSUPP, naru_topic_open("unix+dgram:/x", NARU_SEND, NULL, &in));
}

static void multicast_foreign(void)
{
    char url[64];
    naru_channel *in, *out;
    snprintf(url, sizeof url, "udp://239.255.77.3%%lo:%u", some_port());
    expect_ok(naru_topic_open(url, NARU_RECV, NULL, &in));
    end_foreign(
        run_foreign("exec python3 -c \"import socket; s=socket.socket(type=socket.SOCK_DGRAM)\n"
                    "s.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton('127.0.0.1'))\n"
                    "s.sendto(b'news', ('239.255.77.3', %s))\"",
                    port_of(url)));
    hear(in, "news");
    naru_channel_close(in);
    pid_t pid = run_foreign(
        "r=$(timeout 20 socat -u UDP-RECV:%s,bind=239.255.77.3,ip-add-membership=239.255.77.3:lo - "
        "| head -c 5); [ \"$r\" = hello ]",
        port_of(url));
    expect_ok(naru_topic_open(url, NARU_SEND, NULL, &out));
    int status = 0;
    for (int64_t end = test_now() + PATIENCE;
         waitpid(pid, &status, WNOHANG) == 0 && test_now() < end; usleep(20000))
        say(out, "hello");
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    naru_channel_close(out);
}

/* ---- sockets that the environment hands over ---- */

/* As descriptor 3, the only one. */
static void hand_over(int fd)
{
    char number[16];
    if (fd != 3) {
        expect(dup2(fd, 3) == 3);
        close(fd);
    }
    snprintf(number, sizeof number, "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
    setenv("LISTEN_FDS", "1", 1);
}

static void activated_packets(void)
{
    const char *url = test_url("unix+seqpacket:%s/p");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    naru_channel_listener *l;
    naru_channel *a, *b;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path_of(url));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    expect(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 5) == 0);
    hand_over(fd);
    expect_ok(naru_channel_connect(url, NULL, PATIENCE, &a)); /* it waits in the backlog */
    say(a, "came first");
    expect_ok(naru_channel_listen(url, NULL, &l));
    expect_ok(naru_channel_accept(l, PATIENCE, &b));
    hear(b, "came first");
    naru_channel_close(a);
    naru_channel_close(b);
    naru_channel_listener_close(l);
    expect(unlink(address.sun_path) == 0);
}

static void activated_udp(const char *host, const char *form, bool group)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t n = sizeof address;
    naru_channel *in, *out;
    char url[64];
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    expect(inet_pton(AF_INET, host, &address.sin_addr) == 1);
    expect(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    expect(getsockname(fd, (struct sockaddr *)&address, &n) == 0);
    hand_over(fd);
    snprintf(url, sizeof url, form, ntohs(address.sin_port));
    if (group)
        expect_ok(naru_topic_open(url, NARU_RECV, NULL, &in)); /* it joins the group */
    else
        in = queue(url, NARU_RECV);
    setenv("LISTEN_FDS", "0", 1);
    snprintf(url, sizeof url, group ? "udp://%s%%lo:%u" : "udp://%s:%u", host,
             ntohs(address.sin_port));
    if (group)
        expect_ok(naru_topic_open(url, NARU_SEND, NULL, &out));
    else
        out = queue(url, NARU_SEND);
    say(out, "handed over");
    hear(in, "handed over");
    naru_channel_close(in);
    naru_channel_close(out);
}

static void activated(void)
{
    const char *url = test_url("unix+dgram:%s/d");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path_of(url));
    int was = dup(3); /* whatever the runner has there */
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    expect(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    hand_over(fd);
    naru_channel *out = queue(url, NARU_SEND), *in;
    say(out, "came first");
    in = queue(url, NARU_RECV);
    hear(in, "came first");
    naru_channel_close(in);
    naru_channel_close(out);
    expect(stat(address.sun_path, &st) == 0); /* not ours to remove */
    expect(unlink(address.sun_path) == 0);
    activated_packets();
    activated_udp("127.0.0.1", "udp://127.0.0.1:%u", false);
    activated_udp("127.0.0.1", "udp://localhost:%u", false);
    activated_udp("239.255.77.4", "udp://239.255.77.4%%lo:%u", true);
    if (was >= 0) {
        dup2(was, 3);
        close(was);
    } else {
        close(3);
    }
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"packets: an empty one is not the end", empty_and_end},
        {"packets: a reset comes after what was sent before it", reset_comes_last},
        {"packets: sizes and their limit", packet_sizes},
        {"packets: an end for another program", packet_spawn},
        {"packets: foreign peers", packet_foreign},
        {"a look leaves a listener alone", look_leaves_alone},
        {"datagrams: receivers come and go", receivers_come_and_go},
        {"datagrams: the name is born with its mode", born_with_its_mode},
        {"datagrams: the receiver is killed", receiver_killed},
        {"datagrams: a sleeping sender's receiver is killed", sleeping_sender},
        {"datagrams: a sender without receiver in a foreign loop", apart_in_a_loop},
        {"packets and datagrams: descriptors that nobody asked for", strangers_descriptors},
        {"datagrams: many senders", many_senders},
        {"both roles in one handle", both_roles},
        {"datagrams: foreign peers", dgram_foreign},
        {"datagrams: a second user", second_user},
        {"datagrams: a stranger's flood", flooded},
        {"packets: a second user", packets_second_user},
        {"udp: a second user", udp_second_user},
        {"udp: names", udp_names},
        {"udp: sizes", udp_sizes},
        {"udp: what is lost is counted", udp_loss},
        {"udp: the receiver has gone", udp_receiver_gone},
        {"udp: foreign peers", udp_foreign},
        {"multicast, IPv4", multicast},
        {"multicast, IPv6", multicast_six},
        {"multicast: groups and what is no group", groups_apart},
        {"multicast: foreign peers", multicast_foreign},
        {"datagrams: socket activation", activated},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
