/* SPDX-License-Identifier: MIT */
/* sockets.c - what is a socket's own: names, stale and live files, foreign peers, descriptors,
 * other users, resets, and a listener with no descriptor left. */
#include "harness.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BOTH = NARU_READ | NARU_WRITE };

/* ---- helpers ---- */

static naru_stream_listener *listen_at(const char *url)
{
    naru_stream_listener *l;
    expect_ok(naru_stream_listen(url, NULL, &l));
    return l;
}

static naru_stream *open_at(const char *url)
{
    naru_stream *s;
    expect_ok(naru_stream_open(url, BOTH, NULL, PATIENCE, &s));
    return s;
}

static naru_stream *accept_from(naru_stream_listener *l)
{
    naru_stream *s;
    expect_ok(naru_stream_accept(l, PATIENCE, &s));
    return s;
}

static void say(naru_stream *s, const char *text)
{
    expect_ok(naru_stream_write_all(s, text, strlen(text), PATIENCE, NULL));
}

static void hear(naru_stream *s, const char *text)
{
    char buf[256];
    memset(buf, 0, sizeof buf);
    expect_ok(naru_stream_read_all(s, buf, strlen(text), PATIENCE, NULL));
    if (strcmp(buf, text) != 0)
        test_failed(__FILE__, __LINE__, "\"%s\" came, not \"%s\"", buf, text);
}

static void hear_end(naru_stream *s)
{
    char byte;
    expect_code(0, naru_stream_read(s, &byte, 1, PATIENCE));
}

/* A foreign program, run by sh; "%s" is `argument`. */
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

static const char *after(const char *text, const char *prefix)
{
    const char *found = strstr(text, prefix);
    return found ? found + strlen(prefix) : text;
}

/* ---- names ---- */

static void talk(const char *listen_url)
{
    naru_stream_listener *l = listen_at(listen_url);
    naru_stream *a = open_at(naru_url(l)), *b = accept_from(l);
    say(a, "over");
    hear(b, "over");
    say(b, "and back");
    expect_ok(naru_stream_shutdown(b, NARU_WRITE));
    hear(a, "and back");
    hear_end(a);
    say(a, "half"); /* the other half goes on */
    hear(b, "half");
    naru_stream_close(a);
    hear_end(b);
    naru_stream_close(b);
    naru_stream_listener_close(l);
}

static void all_names(void)
{
    char url[128];
    talk(test_url("unix:%s/s"));
    snprintf(url, sizeof url, "unix:@naru-test-%d", (int)getpid());
    talk(url);
    talk("tcp://127.0.0.1:0");
    talk("tcp://[::1]:0");
    talk("tcp://localhost:0");
    talk("tcp://:0");
    talk("tcp://*:0");
    expect(chdir(test_directory) == 0);
    talk("unix:./relative");
}

static void own_names(void)
{
    char directory[64], path[128];
    struct stat st;
    snprintf(directory, sizeof directory, "/tmp/naru-%u", geteuid());
    snprintf(path, sizeof path, "/run/user/%u", geteuid());
    if (stat(path, &st) == 0 || (stat(directory, &st) == 0 && rmdir(directory) < 0))
        return; /* of somebody who works here */
    talk("unix:naru-test-name");
    expect(stat(directory, &st) == 0 && (st.st_mode & 07777) == 0700);
    expect(chmod(directory, 0755) == 0);
    naru_stream *s;
    expect_code(-EACCES, naru_stream_open("unix:naru-test-name", BOTH, NULL, NARU_NOWAIT, &s));
    expect_says("mode 0755");
    expect_says("uid");
    expect(rmdir(directory) == 0);
    if (geteuid() == 0) {
        expect(mkdir(directory, 0700) == 0 && chown(directory, 65534, 65534) == 0);
        naru_stream_listener *l;
        expect_code(-EACCES, naru_stream_listen("unix:naru-test-name", NULL, &l));
        expect_says("of uid 65534");
        expect(rmdir(directory) == 0);
    }
}

static void long_paths(void)
{
    char directory[300], url[700];
    snprintf(directory, sizeof directory, "%s/%0120d", test_directory, 7);
    expect(mkdir(directory, 0700) == 0);
    snprintf(url, sizeof url, "unix:%s/short", directory);
    talk(url);
    snprintf(url, sizeof url, "unix:%s/%0100d", directory, 8);
    naru_stream_listener *l;
    expect_code(-ENAMETOOLONG, naru_stream_listen(url, NULL, &l));
    expect_says("sun_path");
    expect(rmdir(directory) == 0);
}

static void bad_names(void)
{
    naru_stream *s;
    static const char *const bad[] = {
        "unix:",        "unix:@",           "tcp:host:1", "tcp://host", "tcp://host:http",
        "tcp://[::1:5", "tcp://host:70000", "unix:/tmp/", "tcp://h:1x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int r = naru_stream_open(bad[i], BOTH, NULL, NARU_NOWAIT, &s);
        if (r != -EINVAL && r != -ENAMETOOLONG)
            test_failed(__FILE__, __LINE__, "%s gave %d", bad[i], r);
    }
    expect_code(-EINVAL, naru_stream_open("tcp://:80", BOTH, NULL, NARU_NOWAIT, &s));
    expect_code(-EADDRNOTAVAIL,
                naru_stream_open("tcp://no.such.host.invalid:1", BOTH, NULL, PATIENCE, &s));
    expect_code(-ENOENT, naru_stream_open(test_url("unix:%s/no"), BOTH, NULL, PATIENCE, &s));
    expect_says("is not there");
    expect_code(-ECONNREFUSED, naru_stream_open("unix:@naru-no", BOTH, NULL, PATIENCE, &s));
    expect_code(-ECONNREFUSED, naru_stream_open("tcp://127.0.0.1:1", BOTH, NULL, PATIENCE, &s));
    expect_says("nobody listens");
    naru_stream_listener *l;
    expect_code(-EADDRNOTAVAIL, naru_stream_listen("tcp://192.0.2.1:0", NULL, &l));
    expect_says("no address of this host");
}

/* ---- files ---- */

static void *try_to_listen(void *url)
{
    naru_stream_listener *l = NULL;
    int r = naru_stream_listen(url, NULL, &l);
    return r == 0 ? (void *)l : NULL;
}

static void stale_and_live(void)
{
    const char *url = test_url("unix:%s/s");
    naru_stream_listener *l, *second;
    int old = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", after(url, "unix:"));
    expect(bind(old, (struct sockaddr *)&address, sizeof address) == 0);
    close(old); /* the file stays */
    naru_stream *s;
    expect_code(-ECONNREFUSED, naru_stream_open(url, BOTH, NULL, PATIENCE, &s));
    expect_code(-EINVAL, naru_stream_open(test_url("unix:%s"), BOTH, NULL, PATIENCE, &s));
    expect_says("a directory stands there");
    l = listen_at(url);
    struct stat st;
    expect(stat(address.sun_path, &st) == 0 && (st.st_mode & 07777) == 0600);
    expect_code(-EBUSY, naru_stream_listen(url, NULL, &second));
    char pid[32];
    snprintf(pid, sizeof pid, "process %d (sockets)", (int)getpid());
    expect_says(pid);
    naru_stream_listener_close(l);
    expect(stat(address.sun_path, &st) < 0); /* closing removed it */
    close(open(address.sun_path, O_CREAT | O_WRONLY, 0600));
    expect_code(-EINVAL, naru_stream_listen(url, NULL, &l));
    expect_says("a regular file");
    expect_code(-EINVAL, naru_remove(url));
    expect(unlink(address.sun_path) == 0);
    expect_code(-ENOENT, naru_remove(url));
    /* of many that find it stale at once, one gets it */
    for (int round = 0; round < 20; round++) {
        pthread_t thread[8];
        naru_stream_listener *got = NULL;
        int winners = 0;
        old = socket(AF_UNIX, SOCK_STREAM, 0);
        expect(bind(old, (struct sockaddr *)&address, sizeof address) == 0);
        close(old);
        for (int i = 0; i < 8; i++)
            pthread_create(&thread[i], NULL, try_to_listen, (void *)(uintptr_t)url);
        for (int i = 0; i < 8; i++) {
            void *result;
            pthread_join(thread[i], &result);
            winners += result != NULL;
            got = result ? result : got;
        }
        expect_code(1, winners);
        naru_stream_close(open_at(url));
        naru_stream_listener_close(got);
    }
    /* a listener that was killed leaves a stale file; one whose name was taken leaves it alone */
    l = listen_at(url);
    expect_ok(naru_remove(url));
    second = listen_at(url);
    naru_stream_listener_close(l);
    naru_stream_close(open_at(url));
    naru_stream_listener_close(second);
}

/* ---- foreign peers ---- */

static void foreign_clients(const char *listen_url, const char *prefix, const char *const *commands)
{
    for (; *commands; commands++) {
        naru_stream_listener *l = listen_at(listen_url);
        pid_t pid = run_foreign(*commands, after(naru_url(l), prefix));
        naru_stream *s = accept_from(l);
        hear(s, "from afar\n");
        hear_end(s);
        say(s, "heard\n");
        naru_stream_close(s);
        end_foreign(pid);
        naru_stream_listener_close(l);
    }
}

#define PYTHON_CLIENT(address)                                                                     \
    "python3 -c \"import socket,sys; s=socket.create_connection(" address ")\n"                    \
    "s.sendall(b'from afar\\n'); s.shutdown(1); assert s.makefile().read() == 'heard\\n'\""

static void foreign_connect(void)
{
    static const char *const at_unix[] = {
        "r=$(echo from afar | socat -t 10 - UNIX-CONNECT:%s) && [ \"$r\" = heard ]",
        "python3 -c \"import socket; s=socket.socket(socket.AF_UNIX); s.connect('%s')\n"
        "s.sendall(b'from afar\\n'); s.shutdown(1); assert s.makefile().read() == 'heard\\n'\"",
        NULL};
    foreign_clients(test_url("unix:%s/s"), "unix:", at_unix);
    static const char *const at_tcp[] = {
        "r=$(echo from afar | socat -t 10 - TCP:127.0.0.1:%s) && [ \"$r\" = heard ]",
        PYTHON_CLIENT("('127.0.0.1', %s)"), NULL};
    foreign_clients("tcp://127.0.0.1:0", "127.0.0.1:", at_tcp);
}

/* Opens a foreign server, which needs a moment. */
static naru_stream *open_soon(const char *url)
{
    naru_stream *s;
    int64_t end = test_now() + PATIENCE;
    int r;
    while ((r = naru_stream_open(url, BOTH, NULL, PATIENCE, &s)) < 0 && test_now() < end)
        usleep(10000);
    expect_ok(r);
    return s;
}

static unsigned free_port(void)
{
    naru_stream_listener *l = listen_at("tcp://127.0.0.1:0");
    unsigned port = (unsigned)atoi(after(naru_url(l), "127.0.0.1:"));
    naru_stream_listener_close(l);
    return port;
}

static void foreign_listen(void)
{
    char port[16], tcp[64];
    snprintf(port, sizeof port, "%u", free_port());
    snprintf(tcp, sizeof tcp, "tcp://127.0.0.1:%s", port);
    const struct {
        const char *command, *argument, *url;
    } server[] = {
        {"exec socat UNIX-LISTEN:%s EXEC:cat", after(test_url("unix:%s/f"), "unix:"),
         test_url("unix:%s/f")},
        {"exec socat TCP-LISTEN:%s,reuseaddr,bind=127.0.0.1 EXEC:cat", port, tcp},
        {"exec python3 -c \"import socket; l=socket.create_server(('127.0.0.1', %s))\n"
         "s=l.accept()[0]; f=s.makefile('rwb'); f.write(f.readline()); f.flush(); f.read()\"",
         port, tcp},
    };
    for (size_t i = 0; i < sizeof server / sizeof *server; i++) {
        pid_t pid = run_foreign(server[i].command, server[i].argument);
        naru_stream *s = open_soon(server[i].url);
        say(s, "echo\n");
        hear(s, "echo\n");
        expect_ok(naru_stream_shutdown(s, NARU_WRITE));
        hear_end(s);
        naru_stream_close(s);
        end_foreign(pid);
        if (i == 0)
            (void)naru_remove(server[i].url);
    }
}

/* ---- activation ---- */

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

static void activated_host(int domain, const char *form)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const bool is_six = domain == AF_INET6;
    struct sockaddr *address = is_six ? (void *)&six : (void *)&four;
    socklen_t n = is_six ? sizeof six : sizeof four;
    naru_stream_listener *l;
    struct naru_peer peer = {.size = sizeof peer};
    char url[64], port[16];
    int fd = socket(domain, SOCK_STREAM, 0);
    expect(bind(fd, address, n) == 0 && listen(fd, 5) == 0);
    expect(getsockname(fd, address, &n) == 0);
    hand_over(fd);
    snprintf(port, sizeof port, ":%u", ntohs(is_six ? six.sin6_port : four.sin_port));
    snprintf(url, sizeof url, form, atoi(port + 1));
    expect_ok(naru_stream_listen(url, NULL, &l));
    expect_ok(naru_peer(l, &peer)); /* the address that it really has */
    expect(strstr(peer.address, is_six ? "[::1]" : "127.0.0.1") && strstr(peer.address, port));
    naru_stream_listener_close(l);
    talk(url);
}

static void activated(void)
{
    const char *url = test_url("unix:%s/s");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", after(url, "unix:"));
    int was = dup(3); /* whatever the runner has there */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    expect(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 5) == 0);
    hand_over(fd);
    talk(url);
    struct stat st;
    expect(stat(address.sun_path, &st) == 0); /* not ours to remove */
    setenv("LISTEN_PID", "1", 1);
    naru_stream_listener *l;
    expect_code(-EBUSY, naru_stream_listen(url, NULL, &l));
    expect(unlink(address.sun_path) == 0);
    activated_host(AF_INET, "tcp://127.0.0.1:%u");
    activated_host(AF_INET6, "tcp://[::1]:%u");
    activated_host(AF_INET, "tcp://localhost:%u"); /* though it has other addresses, too */
    if (was >= 0) {
        dup2(was, 3);
        close(was);
    } else {
        close(3);
    }
}

/* ---- who is there ---- */

static void peers(void)
{
    struct naru_peer peer = {.size = sizeof peer};
    naru_stream_listener *l = listen_at(test_url("unix:%s/s"));
    naru_stream *a = open_at(naru_url(l)), *b = accept_from(l);
    expect_ok(naru_peer(b, &peer));
    expect(peer.pid == getpid() && peer.uid == geteuid() && peer.gid == getegid());
    int pidfd = peer.pidfd;
    if (pidfd >= 0) {
        expect(fcntl(pidfd, F_GETFD) == FD_CLOEXEC);
        expect_ok(naru_peer(b, &peer));
        expect(peer.pidfd == pidfd); /* lent, not made again */
    }
    expect_ok(naru_peer(a, &peer));
    expect(strcmp(peer.address, naru_url(l)) == 0 && peer.pid == getpid());
    naru_stream_close(a);
    naru_stream_close(b);
    naru_stream_listener_close(l);
    l = listen_at("tcp://127.0.0.1:0");
    a = open_at(naru_url(l));
    b = accept_from(l);
    expect_ok(naru_peer(a, &peer));
    expect(strcmp(peer.address, naru_url(l)) == 0 && peer.pid == 0 && peer.uid == -1);
    expect(peer.pidfd == -1);
    expect_ok(naru_peer(b, &peer));
    expect(strcmp(peer.address, naru_url(b)) == 0);
    expect_ok(naru_peer(l, &peer));
    expect(strcmp(peer.address, naru_url(l)) == 0);
    naru_stream_close(a);
    naru_stream_close(b);
    naru_stream_listener_close(l);
}

static void become_nobody(void)
{
    expect(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
}

static char tcp_url[64];
static void as_nobody(void *url)
{
    naru_stream *s;
    become_nobody();
    expect_code(-EACCES, naru_stream_open(test_url("unix:%s/s"), BOTH, NULL, PATIENCE, &s));
    expect_says("mode 0600");
    s = open_at(test_url("unix:%s/open"));
    hear(s, "welcome");
    naru_stream_close(s);
    s = open_at(url); /* the kernel lets it in, the listener does not */
    char byte;
    expect_code(0, naru_stream_read(s, &byte, 1, PATIENCE));
    naru_stream_close(s);
    naru_stream_listener *l;
    expect_code(-EACCES, naru_stream_listen(test_url("unix:%s/mine"), NULL, &l));
    expect_code(-EBUSY, naru_stream_listen(url, NULL, &l));
    expect_code(-EACCES, naru_remove(test_url("unix:%s/s")));
    expect_says("it belongs to uid 0");
    s = open_at(tcp_url); /* a port has no owner and no mode */
    hear(s, "whoever you are");
    naru_stream_close(s);
    expect_code(-EBUSY, naru_stream_listen(tcp_url, NULL, &l));
    int r = naru_stream_listen("tcp://127.0.0.1:9", NULL, &l);
    if (r < 0) { /* else this host lets everybody have it */
        expect_code(-EACCES, r);
        expect_says("net.ipv4.ip_unprivileged_port_start, ");
    } else {
        naru_stream_listener_close(l);
    }
}

static void imposter(void *url)
{
    become_nobody();
    naru_stream_listener *l = listen_at(url);
    naru_stream *s = NULL;
    (void)naru_stream_accept(l, PATIENCE, &s); /* who connects leaves at once */
    naru_stream_close(s);
    naru_stream_listener_close(l);
}

static void second_user(void)
{
    char url[64];
    struct naru_stats stats = {.size = sizeof stats};
    struct naru_peer peer = {.size = sizeof peer};
    if (geteuid() != 0)
        test_skip("needs root to become another user");
    expect(chmod(test_directory, 0755) == 0);
    snprintf(url, sizeof url, "unix:@naru-test-%d", (int)getpid());
    struct naru_listen_options open = {.size = sizeof open, .mode = 0666};
    naru_stream_listener *closed = listen_at(test_url("unix:%s/s")), *l, *abstract = listen_at(url);
    expect_ok(naru_stream_listen(test_url("unix:%s/open"), &open, &l));
    naru_stream_listener *tcp = listen_at("tcp://127.0.0.1:0");
    snprintf(tcp_url, sizeof tcp_url, "%s", naru_url(tcp));
    pid_t child = start_child(as_nobody, url);
    naru_stream *s = accept_from(l);
    expect_ok(naru_peer(s, &peer));
    expect(peer.uid == 65534 && peer.gid == 65534 && peer.pid == child);
    say(s, "welcome");
    naru_stream_close(s);
    for (int64_t end = test_now() + PATIENCE; stats.dropped == 0 && test_now() < end;) {
        expect_code(-ETIMEDOUT, naru_stream_accept(abstract, 100 * NARU_MS, &s)); /* no error */
        expect_ok(naru_stats(abstract, &stats));
    }
    expect(stats.dropped >= 1 && strstr(stats.note, "uid 65534"));
    s = accept_from(tcp);
    say(s, "whoever you are");
    naru_stream_close(s);
    end_child(child);
    naru_stream_listener_close(tcp);
    naru_stream_listener_close(closed);
    naru_stream_listener_close(l);
    naru_stream_listener_close(abstract);
    /* and the other way round: a name that somebody else has taken first */
    child = start_child(imposter, url);
    int r;
    for (int64_t end = test_now() + PATIENCE;
         (r = naru_stream_open(url, BOTH, NULL, PATIENCE, &s)) == -ECONNREFUSED &&
         test_now() < end;)
        usleep(5000);
    expect_code(-EPERM, r);
    expect_says("of uid 65534");
    end_child(child);
}

/* ---- descriptors ---- */

static void descriptors(void)
{
    naru_stream *a, *b;
    int p[2], got[300];
    size_t n = 77;
    char buf[64];
    expect_ok(naru_stream_pair("unix:", NULL, &a, &b));
    expect(pipe(p) == 0);
    expect_code(-EINVAL, naru_stream_send_fds(a, "x", 1, p, 0, PATIENCE));
    expect_code(-EINVAL, naru_stream_send_fds(a, "x", 1, (int[]){p[0], 9999}, 2, PATIENCE));
    expect_says("9999");
    expect_code(3, naru_stream_send_fds(a, "two", 3, p, 2, PATIENCE));
    say(a, "more");
    expect_code(-EMSGSIZE, naru_stream_recv_fds(b, buf, sizeof buf, got, 1, &n, PATIENCE));
    expect(n == 2); /* and they stay */
    expect_code(3, naru_stream_recv_fds(b, buf, sizeof buf, got, 2, &n, PATIENCE));
    expect(n == 2 && memcmp(buf, "two", 3) == 0 && fcntl(got[0], F_GETFD) == FD_CLOEXEC);
    expect(write(got[1], "through", 7) == 7 && read(p[0], buf, 7) == 7);
    close(got[0]);
    close(got[1]);
    expect_code(4, naru_stream_recv_fds(b, buf, sizeof buf, got, 2, &n, PATIENCE));
    expect(n == 0);
    expect_code(-EAGAIN, naru_stream_recv_fds(b, buf, sizeof buf, got, 2, &n, NARU_NOWAIT));
    /* bytes that were written before keep their place */
    say(a, "before");
    expect_code(5, naru_stream_send_fds(a, "after", 5, p, 1, PATIENCE));
    ssize_t r = naru_stream_recv_fds(b, buf, sizeof buf, got, 2, &n, PATIENCE);
    expect(r == 6 || r == 11);
    if (r == 6)
        expect_code(5, naru_stream_recv_fds(b, buf, sizeof buf, got, 2, &n, PATIENCE));
    expect(n == 1);
    close(got[0]);
    /* as many as the kernel takes; a plain read closes them */
    int many[253];
    for (int i = 0; i < 253; i++)
        many[i] = p[i & 1];
    int before = open_descriptors();
    expect_code(1, naru_stream_send_fds(a, "m", 1, many, 253, PATIENCE));
    expect_code(1, naru_stream_recv_fds(b, buf, 1, got, 300, &n, PATIENCE));
    expect(n == 253 && open_descriptors() == before + 253);
    for (int i = 0; i < 253; i++)
        close(got[i]);
    expect_code(1, naru_stream_send_fds(a, "m", 1, many, 253, PATIENCE));
    hear(b, "m");
    expect(open_descriptors() == before);
    /* no room for all of them: none, and they stay */
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    const struct rlimit few = {(rlim_t)before + 12, limit.rlim_max};
    expect_code(1, naru_stream_send_fds(a, "m", 1, many, 20, PATIENCE));
    setrlimit(RLIMIT_NOFILE, &few);
    expect_code(-EMFILE, naru_stream_recv_fds(b, buf, 1, got, 300, &n, PATIENCE));
    expect_says("RLIMIT_NOFILE");
    setrlimit(RLIMIT_NOFILE, &limit);
    expect(open_descriptors() == before);
    expect_code(1, naru_stream_recv_fds(b, buf, 1, got, 300, &n, PATIENCE));
    expect(n == 20);
    for (int i = 0; i < 20; i++)
        close(got[i]);
    naru_stream_close(a);
    expect_code(0, naru_stream_recv_fds(b, buf, 1, got, 300, &n, PATIENCE));
    naru_stream_close(b);
    close(p[0]);
    close(p[1]);
    naru_stream_listener *l = listen_at("tcp://127.0.0.1:0");
    a = open_at(naru_url(l));
    expect_code(-EOPNOTSUPP, naru_stream_send_fds(a, "x", 1, (int[]){0}, 1, PATIENCE));
    naru_stream_close(a);
    naru_stream_listener_close(l);
}

/* ---- limits ---- */

static void set_limit(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY);
    expect(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value));
    close(fd);
}

static void backlog_is_full(void)
{
    struct naru_listen_options many = {.size = sizeof many, .backlog = 100};
    struct naru_stats stats = {.size = sizeof stats};
    const char *const urls[] = {test_url("unix:%s/s"), "unix:@naru-test-full", "tcp://127.0.0.1:0"};
    set_limit("/proc/sys/net/core/somaxconn", "2");
    for (int i = 0; i < 3; i++) {
        naru_stream *s[8];
        naru_stream_listener *l;
        int n = 0, r;
        expect_ok(naru_stream_listen(urls[i], &many, &l));
        expect_ok(naru_stats(l, &stats));
        expect(stats.capacity == 2 && strstr(stats.note, "net.core.somaxconn=100"));
        while ((r = naru_stream_open(naru_url(l), BOTH, NULL, 100 * NARU_MS, &s[n])) == 0)
            expect(++n < 8);
        expect_code(-ETIMEDOUT, r);
        if (i < 2) { /* of another host's nobody tells */
            expect_says("its backlog is full, 3 wait where 2 may");
            expect_says("net.core.somaxconn, 2; `sysctl -w net.core.somaxconn=N`");
        } else {
            expect_says("net.core.somaxconn");
        }
        while (n > 0)
            naru_stream_close(s[--n]);
        naru_stream_listener_close(l);
    }
}

static void ports_run_out(void)
{
    naru_stream_listener *l[3];
    naru_stream *s[3];
    naru_channel *in, *out[3];
    set_limit("/proc/sys/net/ipv4/ip_local_port_range", "40000 40001");
    for (int i = 0; i < 2; i++)
        expect_ok(naru_stream_listen("tcp://127.0.0.1:0", NULL, &l[i]));
    expect_code(-EADDRNOTAVAIL, naru_stream_listen("tcp://127.0.0.1:0", NULL, &l[2]));
    expect_says("net.ipv4.ip_local_port_range is 40000 40001");
    expect_says("sysctl -w net.ipv4.ip_local_port_range=");
    for (int i = 0; i < 2; i++)
        naru_stream_listener_close(l[i]);
    expect_ok(naru_stream_listen("tcp://127.0.0.1:50000", NULL, &l[0]));
    for (int i = 0; i < 2; i++)
        s[i] = open_at(naru_url(l[0]));
    expect_code(-EADDRNOTAVAIL, naru_stream_open(naru_url(l[0]), BOTH, NULL, PATIENCE, &s[2]));
    expect_says("net.ipv4.ip_local_port_range is 40000 40001");
    expect_ok(naru_queue_open("udp://127.0.0.1:50000", NARU_RECV, NULL, &in));
    for (int i = 0; i < 2; i++)
        expect_ok(naru_queue_open(naru_url(in), NARU_SEND, NULL, &out[i]));
    expect_code(-EADDRNOTAVAIL, naru_queue_open(naru_url(in), NARU_SEND, NULL, &out[2]));
    expect_says("net.ipv4.ip_local_port_range is 40000 40001");
    for (int i = 0; i < 2; i++) {
        naru_stream_close(s[i]);
        naru_channel_close(out[i]);
    }
    naru_channel_close(in);
    naru_stream_listener_close(l[0]);
}

static void receiver_is_full(void)
{
    static char block[20000];
    naru_channel *in, *out, *a, *b;
    int r;
    set_limit("/proc/sys/net/unix/max_dgram_qlen", "3");
    expect_ok(naru_queue_open(test_url("unix+dgram:%s/d"), NARU_RECV, NULL, &in));
    expect_ok(naru_queue_open(test_url("unix+dgram:%s/d"), NARU_SEND, NULL, &out));
    while ((r = naru_channel_send(out, 1, "x", 1, 20 * NARU_MS)) == 0)
        ;
    expect_code(-ETIMEDOUT, r);
    expect_says("net.unix.max_dgram_qlen, 3,");
    expect_says("sysctl -w net.unix.max_dgram_qlen=N");
    naru_channel_close(out);
    naru_channel_close(in);
    expect_ok(naru_channel_pair("unix+seqpacket:", NULL, &a, &b));
    while ((r = naru_channel_send(a, 1, block, sizeof block, 20 * NARU_MS)) == 0)
        ;
    expect_code(-ETIMEDOUT, r);
    expect_says("bytes of this end's buffer of ");
    expect_says("net.core.wmem_max, ");
    naru_channel_close(a);
    naru_channel_close(b);
}

/* The descriptors that a user has on their way are as many as one process may have open. */
static void too_many_on_their_way(void)
{
    const struct rlimit few = {40, 40};
    naru_stream *a, *b;
    int many[20] = {0}, r, sent = 0;
    become_nobody();
    expect_ok(naru_stream_pair("unix:", NULL, &a, &b));
    expect(setrlimit(RLIMIT_NOFILE, &few) == 0);
    while ((r = naru_stream_send_fds(a, "x", 1, many, 20, PATIENCE)) == 1)
        expect((sent += 20) < 200);
    expect_code(-EMFILE, r);
    expect_says("on their way");
    expect_says("RLIMIT_NOFILE is 40");
    naru_stream_close(a);
    naru_stream_close(b);
}

static void limits_named(void)
{
    if (unshare(CLONE_NEWNET) < 0 || system("ip link set lo up 2>/dev/null") != 0)
        test_skip("needs a network namespace of its own");
    backlog_is_full();
    receiver_is_full();
    ports_run_out();
    too_many_on_their_way();
}

/* ---- connections ---- */

static naru_channel_listener *channels_at(const char *url)
{
    naru_channel_listener *l;
    expect_ok(naru_channel_listen(url, NULL, &l));
    return l;
}

static naru_channel *connect_at(const char *url)
{
    naru_channel *c;
    expect_ok(naru_channel_connect(url, NULL, PATIENCE, &c));
    return c;
}

static naru_channel *channel_from(naru_channel_listener *l)
{
    naru_channel *c;
    expect_ok(naru_channel_accept(l, PATIENCE, &c));
    return c;
}

static const char *const places[] = {"unix:%s/c", "tcp://127.0.0.1:0"};

/* A peer that never greets, and one that is no naru, keep nobody else waiting. */
static void slow_greeting(void)
{
    char buf[16];
    for (int i = 0; i < 2; i++) {
        naru_channel_listener *l = channels_at(test_url(places[i]));
        naru_stream *mute = open_at(naru_url(l));
        naru_channel *slow = channel_from(l), *a = connect_at(naru_url(l)), *b = channel_from(l);
        expect_ok(naru_channel_send(a, 1, "hello", 5, PATIENCE));
        expect_code(5, naru_channel_recv(b, 0, buf, sizeof buf, NULL, PATIENCE));
        expect_code(-ETIMEDOUT, naru_channel_recv(slow, 0, buf, sizeof buf, NULL, 30 * NARU_MS));
        expect_code(-ETIMEDOUT, naru_channel_send(slow, 1, "x", 1, 30 * NARU_MS));
        expect_says("not greeted");
        say(mute, "GET / HTTP/1.0\r\n\r\n0123456789abcdef");
        expect_code(-EPROTO, naru_channel_recv(slow, 0, buf, sizeof buf, NULL, PATIENCE));
        naru_stream_close(mute);
        naru_channel_close(slow);
        naru_channel_close(a);
        expect_code(-EPIPE, naru_channel_recv(b, 0, buf, sizeof buf, NULL, PATIENCE));
        naru_channel_close(b);
        naru_channel_listener_close(l);
    }
}

/* Everything that came before the reset is received; the message that it cut is not. */
static void reset_in_frame(void)
{
    static char block[200000];
    char buf[16];
    naru_channel_listener *l = channels_at("tcp://127.0.0.1:0");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)atoi(after(naru_url(l), "127.0.0.1:")));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    expect(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    naru_channel *b = channel_from(l);
    /* what a real end sends, recorded from a pair */
    naru_channel *x;
    naru_channel_listener *real = channels_at(test_url("unix:%s/r"));
    naru_stream *tap = open_at(naru_url(real));
    x = channel_from(real);
    char hello[64];
    expect_ok(naru_stream_read_all(tap, hello, 64, PATIENCE, NULL));
    expect(write(fd, hello, 64) == 64);
    say(tap, ""); /* greet it with its own greeting */
    expect_ok(naru_stream_write_all(tap, hello, 64, PATIENCE, NULL));
    expect_ok(naru_channel_send(x, 1, "whole", 5, PATIENCE));
    ssize_t n = naru_stream_read(tap, block, sizeof block, PATIENCE);
    expect(n > 0 && write(fd, block, (size_t)n) == n);
    expect_ok(naru_channel_send(x, 1, block, 100000, PATIENCE));
    n = naru_stream_read(tap, block, sizeof block, PATIENCE);
    expect(n > 1000 && write(fd, block, 1000) == 1000);
    usleep(20000);
    const struct linger hard = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd); /* RST */
    expect_code(5, naru_channel_recv(b, 0, buf, sizeof buf, NULL, PATIENCE));
    expect_code(-ECONNRESET, naru_channel_recv(b, 0, buf, sizeof buf, NULL, PATIENCE));
    expect_says("vanished");
    expect_code(-ECONNRESET, naru_channel_send(b, 1, "x", 1, PATIENCE));
    naru_channel_close(b);
    naru_channel_close(x);
    naru_stream_close(tap);
    naru_channel_listener_close(l);
    naru_channel_listener_close(real);
}

/* With no descriptor left one connection is refused at a time, and then it goes on. */
static void no_descriptor_left(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < 2; i++) {
        struct naru_stats stats = {.size = sizeof stats};
        naru_stream_listener *l = listen_at(i == 0 ? test_url("unix:%s/s") : "tcp://127.0.0.1:0");
        naru_stream *client[3], *s;
        for (int k = 0; k < 3; k++)
            client[k] = open_at(naru_url(l));
        struct pollfd p = {.fd = naru_fd(l), .events = POLLIN};
        expect(poll(&p, 1, PATIENCE_MS) == 1);
        int lowest = dup(0);
        close(lowest);
        const struct rlimit none = {(rlim_t)lowest, limit.rlim_max};
        setrlimit(RLIMIT_NOFILE, &none);
        expect_code(-EMFILE, naru_stream_accept(l, PATIENCE, &s));
        expect_says("refused");
        expect_says("RLIMIT_NOFILE");
        setrlimit(RLIMIT_NOFILE, &limit);
        expect_ok(naru_stats(l, &stats));
        expect(stats.dropped == 1);
        s = accept_from(l); /* the others */
        say(s, "served");
        hear(client[1], "served");
        naru_stream_close(s);
        s = accept_from(l);
        naru_stream_close(s);
        expect_code(-EAGAIN, naru_stream_accept(l, NARU_NOWAIT, &s));
        expect(poll(&p, 1, 50) == 0);
        for (int k = 0; k < 3; k++)
            naru_stream_close(client[k]);
        naru_stream_listener_close(l);
    }
}

static void accept_some(void *context)
{
    naru_stream_listener *l = context;
    naru_stream *s;
    int served = 0;
    expect_code(-ECHILD, naru_stream_accept(l, NARU_NOWAIT, &s));
    expect_ok(naru_adopt(l));
    while (naru_stream_accept(l, PATIENCE, &s) == 0) {
        say(s, "served");
        naru_stream_close(s);
        served++;
    }
    expect(served >= 0);
    naru_stream_listener_close(l);
}

/* accept shared by several processes: each connection is served once. */
static void shared_accept(void)
{
    for (int i = 0; i < 2; i++) {
        naru_stream_listener *l = listen_at(i == 0 ? test_url("unix:%s/s") : "tcp://127.0.0.1:0");
        pid_t child[4];
        for (int k = 0; k < 4; k++)
            child[k] = start_child(accept_some, l);
        for (int k = 0; k < 100; k++) {
            naru_stream *s = open_at(naru_url(l));
            hear(s, "served");
            hear_end(s);
            naru_stream_close(s);
        }
        for (int k = 0; k < 4; k++)
            end_child(child[k]);
        naru_stream_close(open_at(naru_url(l))); /* their closing left the file */
        naru_stream_listener_close(l);
    }
}

static void serve_one(void *context)
{
    expect_ok(naru_adopt(context));
    hear(context, "ping");
    say(context, "pong");
    naru_stream_close(context);
}

/* The parent accepts, a child serves. */
static void child_serves(void)
{
    naru_stream_listener *l = listen_at("tcp://[::1]:0");
    naru_stream *a = open_at(naru_url(l)), *b = accept_from(l);
    pid_t child = start_child(serve_one, b);
    naru_stream_close(b);
    say(a, "ping");
    hear(a, "pong");
    hear_end(a);
    end_child(child);
    naru_stream_close(a);
    naru_stream_listener_close(l);
}

static void timeouts(void)
{
    naru_stream_listener *l;
    naru_stream *s, *queued[64];
    struct naru_listen_options one = {.size = sizeof one, .backlog = 1};
    int n = 0, r;
    expect_ok(naru_stream_listen(test_url("unix:%s/s"), &one, &l));
    int64_t before = test_now();
    expect_code(-ETIMEDOUT, naru_stream_accept(l, 50 * NARU_MS, &s));
    expect(test_now() - before >= 50 * NARU_MS);
    expect_ok(naru_cancel(l));
    expect_code(-ECANCELED, naru_stream_accept(l, PATIENCE, &s));
    while ((r = naru_stream_open(naru_url(l), BOTH, NULL, NARU_NOWAIT, &queued[n])) == 0)
        expect(++n < 64);
    expect_code(-EAGAIN, r); /* the backlog is full */
    before = test_now();
    expect_code(-ETIMEDOUT, naru_stream_open(naru_url(l), BOTH, NULL, 50 * NARU_MS, &s));
    expect(test_now() - before >= 50 * NARU_MS && test_now() - before < PATIENCE);
    naru_stream_listener *second;
    expect_code(-EBUSY, naru_stream_listen(naru_url(l), NULL, &second)); /* full is live, too */
    while (n > 0)
        naru_stream_close(queued[--n]);
    naru_stream_listener_close(l);
}

/* Connect, send, close, again and again: no descriptor and no memory stays. */
static void churn(void)
{
    char buf[8];
    for (int i = 0; i < 2; i++) {
        naru_channel_listener *l = channels_at(test_url(places[i]));
        int before = open_descriptors();
        for (int k = 0; k < 2000; k++) {
            naru_channel *a = connect_at(naru_url(l)), *b = channel_from(l);
            /* a message needs the other end's greeting, which is there already */
            expect_ok(naru_channel_send(a, 7, "abc", 3, PATIENCE));
            naru_channel_close(a);
            expect_code(3, naru_channel_recv(b, 7, buf, sizeof buf, NULL, PATIENCE));
            expect_code(-EPIPE, naru_channel_recv(b, 0, buf, sizeof buf, NULL, PATIENCE));
            naru_channel_close(b);
        }
        expect(open_descriptors() == before);
        naru_channel_listener_close(l);
    }
}

static void *receive_to_the_end(void *c)
{
    char buf[8];
    expect_code(3, naru_channel_recv(c, 0, buf, sizeof buf, NULL, PATIENCE));
    expect_code(-EPIPE, naru_channel_recv(c, 0, buf, sizeof buf, NULL, PATIENCE));
    return NULL;
}

/* The other direction stays open, also to one that greeted, spoke and finished in one breath, while
 * this end's sender waited for the greeting and its receiver met the end. */
static void half_closed(void)
{
    char buf[8];
    naru_channel_listener *l = channels_at(test_url(places[0]));
    for (int k = 0; k < 1000; k++) {
        pthread_t thread;
        naru_channel *a = connect_at(naru_url(l)), *b = channel_from(l);
        pthread_create(&thread, NULL, receive_to_the_end, b);
        if (k % 2)
            usleep((unsigned)k % 60);
        expect_ok(naru_channel_send(a, 7, "abc", 3, PATIENCE));
        expect_ok(naru_channel_shutdown(a));
        expect_ok(naru_channel_send(b, 7, "back", 4, PATIENCE));
        expect_code(4, naru_channel_recv(a, 0, buf, sizeof buf, NULL, PATIENCE));
        pthread_join(thread, NULL);
        naru_channel_close(a);
        naru_channel_close(b);
    }
    naru_channel_listener_close(l);
}

static void options(void)
{
    int value;
    socklen_t n = sizeof value;
    struct naru_stats stats = {.size = sizeof stats};
    struct naru_stream_options o = {.size = sizeof o,
                                    .keepalive = 20 * NARU_S,
                                    .user_timeout = 60 * NARU_S,
                                    .capacity = UINT32_C(1) << 31};
    naru_stream_listener *l = listen_at("tcp://127.0.0.1:0");
    naru_stream *s;
    int fd = dup(0); /* the socket gets the number after those of the listener */
    close(fd);
    expect_ok(naru_stream_open(naru_url(l), BOTH, &o, PATIENCE, &s));
#define OPTION(level, name) (getsockopt(fd, level, name, &value, &n) == 0 ? value : -1)
    expect_code(1, OPTION(IPPROTO_TCP, 1 /* TCP_NODELAY */));
    expect_code(1, OPTION(SOL_SOCKET, SO_KEEPALIVE));
    expect_code(10, OPTION(IPPROTO_TCP, 4 /* TCP_KEEPIDLE */));
    expect_code(2, OPTION(IPPROTO_TCP, 5 /* TCP_KEEPINTVL */));
    expect_code(5, OPTION(IPPROTO_TCP, 6 /* TCP_KEEPCNT */));
    expect_code(60000 - 250, OPTION(IPPROTO_TCP, 18 /* TCP_USER_TIMEOUT */));
    expect(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    expect_ok(naru_stats(s, &stats));
    expect(stats.capacity < stats.capacity_asked && strstr(stats.note, "net.core.wmem_max"));
    naru_stream_close(s);
    naru_stream_listener_close(l);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"every form of name", all_names},
        {"names of this user's", own_names},
        {"paths longer than sun_path", long_paths},
        {"names that are none", bad_names},
        {"stale and live socket files", stale_and_live},
        {"foreign programs connect", foreign_connect},
        {"foreign programs listen", foreign_listen},
        {"socket activation", activated},
        {"who is at the other end", peers},
        {"a second user", second_user},
        {"descriptors, all or none", descriptors},
        {"limits are named", limits_named},
        {"a greeting that does not come", slow_greeting},
        {"a reset in the middle of a frame", reset_in_frame},
        {"no descriptor left", no_descriptor_left},
        {"accept in several processes", shared_accept},
        {"a child serves what its parent accepted", child_serves},
        {"timeouts and a full backlog", timeouts},
        {"connect, send, close", churn},
        {"sending to one that has finished", half_closed},
        {"options", options},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
