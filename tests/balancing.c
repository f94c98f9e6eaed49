/* SPDX-License-Identifier: MIT */
/* balancing.c - a name with several addresses, a server at each: which of them a client's calls go
 * to. The name is in /etc/hosts, as the case's own mount namespace has it. */
#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SERVERS = 3, CALLS = 99 };

static struct server {
    pid_t pid;
    _Atomic int ready;
    char url[64];
} * server; /* shared */
static int port;
static naru_server *running;

static const naru_route r_which = {"test.Which/Which", NARU_IDEMPOTENT, NULL};

/* ---- servers ---- */

static int which(naru_call *call, void *self, const void *request, size_t size)
{
    (void)request, (void)size;
    return naru_call_send(call, self, sizeof(int), NARU_FOREVER);
}

static void on_term(int signal)
{
    (void)signal;
    naru_server_shutdown(running, PATIENCE);
}

static void serve(int i)
{
    static const naru_method methods[] = {{"Which", NARU_IDEMPOTENT, which, NULL, NULL}};
    static const naru_service service = {
        .size = sizeof service, .name = "test.Which", .methods = methods, .n = 1};
    expect_ok(naru_server_new(NULL, &running));
    expect_ok(naru_server_add(running, &service, &i));
    char url[64];
    snprintf(url, sizeof url, "grpc://127.0.0.%d:%d", i + 1, port);
    expect_ok(naru_server_listen(running, url));
    snprintf(server[i].url, sizeof server[i].url, "%s", naru_url(running));
    signal(SIGTERM, on_term);
    server[i].ready = 1;
    expect_ok(naru_server_run(running));
    naru_server_close(running);
}

static void start(int i)
{
    server[i].ready = 0;
    pid_t pid = fork();
    expect(pid >= 0);
    if (pid == 0) {
        serve(i);
        _exit(0);
    }
    server[i].pid = pid;
    int64_t end = test_now() + PATIENCE;
    while (!server[i].ready && test_now() < end)
        usleep(1000);
    expect(server[i].ready);
}

static void stop(int i, int with)
{
    int status;
    kill(server[i].pid, with);
    expect(waitpid(server[i].pid, &status, 0) == server[i].pid);
    expect(with == SIGKILL || status == 0);
    server[i].pid = 0;
}

/* The servers, and a client of the name that all of them have. */
static naru_client *begin(unsigned flags)
{
    char path[160], url[64];
    const struct naru_client_options o = {
        .size = sizeof o, .flags = flags, .max_backoff = 200 * NARU_MS};
    naru_client *c;
    server = mmap(NULL, SERVERS * sizeof *server, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(server != MAP_FAILED);
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        test_skip("only root has an /etc/hosts of its own");
    snprintf(path, sizeof path, "%s/hosts", test_directory);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < SERVERS; i++)
        fprintf(f, "127.0.0.%d ferries\n", i + 1);
    expect(f && fclose(f) == 0 && mount(path, "/etc/hosts", NULL, MS_BIND, NULL) == 0);
    port = 0;
    for (int i = 0; i < SERVERS; i++) {
        start(i);
        port = atoi(strrchr(server[i].url, ':') + 1); /* the others take the first one's */
    }
    snprintf(url, sizeof url, "grpc://ferries:%d", port);
    expect_ok(naru_client_open(url, &o, &c));
    return c;
}

static void end(naru_client *c)
{
    char path[160];
    naru_client_close(c);
    for (int i = 0; i < SERVERS; i++)
        if (server[i].pid)
            stop(i, SIGTERM);
    expect(umount("/etc/hosts") == 0);
    snprintf(path, sizeof path, "%s/hosts", test_directory);
    unlink(path);
    munmap(server, SERVERS * sizeof *server);
}

/* Whom a call reaches, or the error. */
static int asks(naru_client *c)
{
    const struct naru_call_options o = {
        .size = sizeof o, .timeout = PATIENCE, .flags = NARU_WAIT_FOR_READY};
    struct naru_payload p;
    int i, r = naru_client_invoke(c, &r_which, "", 0, &o, &p);
    if (r < 0)
        return r;
    expect(p.size == sizeof i);
    memcpy(&i, p.data, sizeof i);
    expect_ok(naru_client_release(c, &p));
    return i;
}

static void count(naru_client *c, int n, int ret_counts[SERVERS])
{
    memset(ret_counts, 0, SERVERS * sizeof *ret_counts);
    for (int k = 0; k < n; k++) {
        int i = asks(c);
        expect(i >= 0 && i < SERVERS);
        ret_counts[i]++;
    }
}

/* Until the server has been asked. */
static void await_server(naru_client *c, int i)
{
    int64_t end = test_now() + PATIENCE;
    while (asks(c) != i)
        expect(test_now() < end);
}

/* ---- cases ---- */

static void by_turns(void)
{
    int n[SERVERS];
    naru_client *c = begin(NARU_ROUND_ROBIN);
    for (int i = 0; i < SERVERS; i++)
        await_server(c, i);
    count(c, CALLS, n);
    for (int i = 0; i < SERVERS; i++)
        expect(n[i] == CALLS / SERVERS);
    end(c);
}

static void one_dies(void)
{
    int n[SERVERS], failed = 0;
    naru_client *c = begin(NARU_ROUND_ROBIN);
    for (int i = 0; i < SERVERS; i++)
        await_server(c, i);
    stop(1, SIGKILL);
    for (int k = 0; k < CALLS; k++)
        failed += asks(c) < 0;
    expect(failed <= 1); /* one that was on its way to it */
    count(c, CALLS + 1, n);
    expect(n[0] == (CALLS + 1) / 2 && n[1] == 0 && n[2] == (CALLS + 1) / 2);
    start(1);
    await_server(c, 1); /* it is there again */
    end(c);
}

static void one_goes(void)
{
    naru_client *c = begin(NARU_ROUND_ROBIN);
    for (int i = 0; i < SERVERS; i++)
        await_server(c, i);
    for (int i = 0; i < SERVERS; i++) { /* a rolling restart: no call fails */
        kill(server[i].pid, SIGTERM);
        for (int k = 0; k < CALLS; k++)
            expect(asks(c) >= 0);
        stop(i, SIGTERM);
        start(i);
        await_server(c, i);
    }
    end(c);
}

static void all_die(void)
{
    const struct naru_call_options o = {.size = sizeof o, .timeout = PATIENCE};
    naru_client *c = begin(NARU_ROUND_ROBIN);
    await_server(c, 0);
    for (int i = 0; i < SERVERS; i++)
        stop(i, SIGKILL);
    int64_t since = test_now();
    for (int k = 0; k < 5; k++)
        expect_code(-ECONNRESET, naru_client_invoke(c, &r_which, "", 0, &o, NULL));
    expect(test_now() - since < PATIENCE / 2); /* at once, not at the deadline */
    start(2);
    expect(asks(c) == 2);
    end(c);
}

static void one_first(void)
{
    int n[SERVERS], first = -1;
    naru_client *c = begin(0);
    count(c, CALLS, n);
    for (int i = 0; i < SERVERS; i++)
        if (n[i] == CALLS)
            first = i;
    expect(first >= 0); /* all went to one */
    stop(first, SIGKILL);
    int next = asks(c);
    if (next < 0)
        next = asks(c); /* the first was on its way to the dead */
    expect(next >= 0 && next != first);
    count(c, CALLS, n);
    expect(n[next] == CALLS);
    end(c);
}

static void refused_elsewhere(void)
{
    const struct naru_client_options o = {.size = sizeof o, .flags = NARU_ROUND_ROBIN};
    naru_client *c;
    expect_code(-EOPNOTSUPP, naru_client_open("unix:@ferries", &o, &c));
    expect_says("NARU_ROUND_ROBIN");
    expect_code(-EOPNOTSUPP, naru_client_open("grpc+unix:/tmp/ferries", &o, &c));
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"calls go by turns", by_turns},
        {"one of the servers dies", one_dies},
        {"one after the other restarts", one_goes},
        {"all die", all_die},
        {"without turns all go to one, and to another after its death", one_first},
        {"turns are for names with addresses", refused_elsewhere},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
