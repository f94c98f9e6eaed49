/* SPDX-License-Identifier: MIT */
/* curves-call.c - calls as they grow: what a payload costs, and how many processes may call at
 * once.
 *
 * Payload: one client and one server on a processor each, one call after the other, whose request
 * and reply are the same bytes; medians of rounds that take turns. Clients: each is a process with
 * a connection of its own and one call at a time, all of one server with one thread, on however
 * many processors there are; the processor time a call is that of all processes together.
 * Connections: what a server's memory (Pss) grows by for each of them, idle and after one call;
 * what the kernel keeps for their sockets is not in it. */
#include "bench/curves.h"

#include <naru/naru.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 5, SAMPLES = 20000, LARGEST = 1 << 20, BINS = 8 * 40 };

static struct calling {
    char url[128];               /* where the server listens; empty: not yet */
    _Atomic int ready, go, stop; /* ready: the server, and each client */
    _Atomic uint64_t calls, cpu; /* ns, of the clients */
    _Atomic uint64_t bins[BINS]; /* how long calls took: eight bins an octave of ns */
} * shared;

static const char *const kinds[] = {"shm", "unix", "tcp", "pipe"};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int echo(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self;
    return naru_call_send(call, request, size, NARU_FOREVER);
}

static const naru_method methods[] = {{"Echo", 0, echo, NULL, NULL}};
static const naru_service service = {
    .size = sizeof service, .name = "bench.Echoes", .methods = methods, .n = 1};
static const naru_route route = {"bench.Echoes/Echo", 0, NULL};

/* ---- a server in a process of its own ---- */

static naru_server *server;

static void stop_server(int signal)
{
    (void)signal;
    naru_server_shutdown(server, NARU_S);
}

static void serve(const char *url, naru_channel *end)
{
    curves_must(naru_server_new(NULL, &server));
    curves_must(naru_server_add(server, &service, NULL));
    if (end)
        curves_must(naru_server_attach(server, end));
    else
        curves_must(naru_server_listen(server, url));
    signal(SIGTERM, stop_server);
    snprintf(shared->url, sizeof shared->url, "%s", end ? url : naru_url(server));
    atomic_store(&shared->ready, 1);
    curves_must(naru_server_run(server));
    naru_server_close(server);
    exit(0);
}

/* pinned: to the second processor. ret_end: of a kind that no name is made for, the client's end.
 */
static pid_t start_server(const char *kind, bool pinned, naru_channel **ret_end)
{
    naru_channel *ends[2] = {NULL, NULL};
    char url[64];
    bool pair = strcmp(kind, "pipe") == 0;
    memset(shared, 0, sizeof *shared);
    snprintf(url, sizeof url,
             strcmp(kind, "tcp") == 0    ? "%s://127.0.0.1:0"
             : strcmp(kind, "unix") == 0 ? "%s:/tmp/curves-%d"
                                         : "%s:curves-%d",
             kind, (int)getpid());
    if (pair)
        curves_must(naru_channel_pair("pipe:", NULL, &ends[0], &ends[1]));
    fflush(stdout);
    pid_t pid = fork();
    curves_must(pid < 0 ? naru_fail(-errno, "fork failed") : 0);
    if (pid == 0) {
        if (pinned)
            curves_keep_to(false);
        if (pair) {
            curves_must(naru_adopt(ends[1]));
            naru_channel_close(ends[0]);
        }
        serve(url, ends[1]);
    }
    if (pair)
        naru_channel_close(ends[1]);
    while (!atomic_load(&shared->ready) && waitpid(pid, NULL, WNOHANG) == 0)
        usleep(1000);
    curves_must(atomic_load(&shared->ready) ? 0 : naru_fail(-EPIPE, "there is no server"));
    *ret_end = ends[0];
    return pid;
}

static void end_server(pid_t pid)
{
    int status = -1;
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    curves_must(status == 0 ? 0 : naru_fail(-EPIPE, "the server failed"));
    if (strncmp(shared->url, "unix:", 5) == 0 || strncmp(shared->url, "shm:", 4) == 0)
        (void)naru_remove(shared->url); /* which ends with its server, or stays */
}

static naru_client *connected(naru_channel *end)
{
    const struct naru_client_options o = {.size = sizeof o, .flags = NARU_WAIT_FOR_READY};
    naru_client *client;
    curves_must(end ? naru_client_attach(end, &o, &client)
                    : naru_client_open(shared->url, &o, &client));
    curves_must(naru_client_wait_ready(client, 60 * NARU_S));
    return client;
}

static void call_once(naru_client *client, const char *data, size_t size)
{
    const struct naru_call_options o = {.size = sizeof o, .flags = NARU_IN_PLACE};
    struct naru_payload reply;
    curves_must(naru_client_invoke(client, &route, data, size, &o, &reply));
    if (reply.size != size || (size && ((const char *)reply.data)[size - 1] != data[size - 1]))
        curves_must(naru_fail(-EPROTO, "a wrong reply"));
    curves_must(naru_client_release(client, &reply));
}

/* ---- what a payload costs ---- */

struct tail {
    double p50, p99;
};

static struct tail round_trips(naru_client *client, const char *data, size_t size, double seconds)
{
    static double took[SAMPLES];
    size_t n = 0;
    int64_t end = curves_now() + (int64_t)(seconds / 4 * 1e9);
    while (curves_now() < end)
        call_once(client, data, size);
    int64_t before = curves_now();
    for (end = before + (int64_t)(seconds * 1e9); n < SAMPLES && before < end; n++) {
        call_once(client, data, size);
        int64_t after = curves_now();
        took[n] = (double)(after - before);
        before = after;
    }
    qsort(took, n, sizeof *took, curves_compare);
    return (struct tail){took[n / 2], took[n * 99 / 100]};
}

/* In a process of its own, for it keeps to a processor. */
static void measure_payload(const char *kind, const size_t *sizes, size_t n, double seconds,
                            struct tail *ret_tails)
{
    static char data[LARGEST];
    naru_channel *end;
    pid_t pid = start_server(kind, true, &end);
    memset(data, 0x5a, sizeof data);
    naru_client *client = connected(end);
    for (size_t i = 0; i < n; i++)
        ret_tails[i] = round_trips(client, data, sizes[i], seconds);
    naru_client_close(client);
    end_server(pid);
}

void curves_of_payload(double seconds)
{
    static const size_t sizes[] = {0, 8, 64, 512, 4096, 32768, 262144, LARGEST};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    struct tail(*tails)[KINDS][SIZES] = mmap(NULL, sizeof *tails * ROUNDS, PROT_READ | PROT_WRITE,
                                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    curves_must(tails == MAP_FAILED || shared == MAP_FAILED ? naru_fail(-ENOMEM, "no memory") : 0);
    for (int round = 0; round < ROUNDS; round++)
        for (int k = 0; k < KINDS; k++) {
            int status = -1;
            fflush(stdout);
            pid_t pid = fork();
            if (pid == 0) {
                curves_keep_to(true);
                measure_payload(kinds[k], sizes, SIZES, seconds, tails[round][k]);
                exit(0);
            }
            waitpid(pid, &status, 0);
            curves_must(status == 0 ? 0 : naru_fail(-EPIPE, "a client failed"));
        }
    for (int k = 0; k < KINDS; k++)
        for (int i = 0; i < SIZES; i++) {
            double p50[ROUNDS], p99[ROUNDS];
            char name[32];
            for (int round = 0; round < ROUNDS; round++) {
                p50[round] = tails[round][k][i].p50;
                p99[round] = tails[round][k][i].p99;
            }
            qsort(p50, ROUNDS, sizeof *p50, curves_compare);
            qsort(p99, ROUNDS, sizeof *p99, curves_compare);
            snprintf(name, sizeof name, "payload, %s", kinds[k]);
            curves_row(name, sizes[i],
                       "\"p50_ns\": %.0f, \"low\": %.0f, \"high\": %.0f, \"p99_ns\": %.0f",
                       p50[ROUNDS / 2], p50[0], p50[ROUNDS - 1], p99[ROUNDS / 2]);
        }
}

/* ---- many clients ---- */

static unsigned bin_of(uint64_t ns)
{
    if (ns < 8)
        return (unsigned)ns;
    unsigned octave = 63u - (unsigned)__builtin_clzll(ns);
    unsigned bin = (octave - 2) * 8 + (unsigned)(ns >> (octave - 3) & 7);
    return bin < BINS ? bin : BINS - 1;
}

/* The least that falls into it. */
static double from_bin(unsigned bin)
{
    return bin < 8 ? bin : (double)((uint64_t)(8 + bin % 8) << (bin / 8 - 1));
}

static double cpu_of(pid_t pid)
{
    clockid_t clock;
    struct timespec t = {0, 0};
    if (clock_getcpuclockid(pid, &clock) == 0)
        clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void be_a_client(void)
{
    static uint64_t bins[BINS];
    uint64_t n = 0;
    naru_client *client = connected(NULL);
    call_once(client, "before", 7);
    atomic_fetch_add(&shared->ready, 1);
    while (!atomic_load(&shared->go))
        usleep(2000);
    double cpu = cpu_of(0);
    for (int64_t before = curves_now();; n++) {
        call_once(client, "8 bytes", 8);
        if (atomic_load(&shared->stop)) /* the last one is not counted */
            break;
        int64_t after = curves_now();
        bins[bin_of((uint64_t)(after - before))]++;
        before = after;
    }
    atomic_fetch_add(&shared->cpu, (uint64_t)(cpu_of(0) - cpu));
    atomic_fetch_add(&shared->calls, n);
    for (unsigned i = 0; i < BINS; i++)
        if (bins[i])
            atomic_fetch_add(&shared->bins[i], bins[i]);
    naru_client_close(client);
    exit(0);
}

static double quantile(double part)
{
    uint64_t seen = 0;
    for (unsigned i = 0; i < BINS; i++) {
        seen += atomic_load(&shared->bins[i]);
        if ((double)seen >= part * (double)atomic_load(&shared->calls))
            return from_bin(i);
    }
    return 0;
}

static void clients_at_once(const char *kind, int n, double seconds)
{
    naru_channel *none;
    char name[32];
    int status = 0, failed = 0;
    pid_t pid = start_server(kind, false, &none);
    for (int i = 0; i < n; i++) {
        pid_t client = fork();
        if (client == 0)
            be_a_client();
        curves_must(client < 0 ? naru_fail(-errno, "fork failed") : 0);
    }
    while (atomic_load(&shared->ready) < n + 1) /* the server is one */
        usleep(2000);
    double cpu = cpu_of(pid);
    int64_t start = curves_now();
    atomic_store(&shared->go, 1);
    usleep((useconds_t)(seconds * 1e6));
    double took = (double)(curves_now() - start) / 1e9;
    atomic_store(&shared->stop, 1);
    for (int i = 0; i < n; i++) {
        wait(&status);
        failed |= status;
    }
    cpu = cpu_of(pid) - cpu + (double)atomic_load(&shared->cpu);
    end_server(pid);
    curves_must(failed ? naru_fail(-EPIPE, "a client failed") : 0);
    double calls = (double)atomic_load(&shared->calls);
    snprintf(name, sizeof name, "clients, %s", kind);
    curves_row(name, (uint64_t)n,
               "\"calls_s\": %.0f, \"cpu_ns\": %.0f, \"p50_ns\": %.0f, \"p99_ns\": %.0f",
               calls / took, cpu / calls, quantile(0.50), quantile(0.99));
}

static void make_shared(void)
{
    struct rlimit files;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    curves_must(shared == MAP_FAILED ? naru_fail(-ENOMEM, "no memory") : 0);
    getrlimit(RLIMIT_NOFILE, &files); /* the server has some of each client */
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

void curves_of_clients(double seconds, int most)
{
    static const int counts[] = {1, 4, 16, 64, 256, 1000};
    make_shared();
    for (int k = 0; k < KINDS - 1; k++) /* a pipe has one client */
        for (size_t i = 0; i < sizeof counts / sizeof *counts && counts[i] <= most; i++)
            clients_at_once(kinds[k], counts[i], seconds);
}

/* ---- memory a connection ---- */

enum { CONNECTIONS_MAX = 10000 };

static const struct server_kind {
    const char *name;    /* "grpc+unix" */
    const char *address; /* at which it listens, of gRPC C++ as that is told; %s: a path */
    const char *url;     /* of gRPC C++: where it is called, with the path or the port */
    bool tls;
} server_kinds[] = {
    {"unix", "unix:%s", NULL, false},
    {"tcp", "tcp://127.0.0.1:0", NULL, false},
    {"grpc+unix", "grpc+unix:%s", NULL, false},
    {"grpc", "grpc://127.0.0.1:0", NULL, false},
    {"grpcs", "grpcs://127.0.0.1:0", NULL, true},
    {"gRPC C++, unix socket", "unix:%s", "grpc+unix:%s", false},
    {"gRPC C++, TCP", "127.0.0.1:0", "grpc://127.0.0.1:%d", false},
    {"gRPC C++, TLS", "127.0.0.1:0", "grpcs://127.0.0.1:%d", true},
};

static char certificate[256], key[256];

static void look_for(const char *certificates)
{
    snprintf(certificate, sizeof certificate, "%s/cert.pem", certificates ? certificates : "");
    snprintf(key, sizeof key, "%s/key.pem", certificates ? certificates : "");
}

/* Bytes. */
static double pss_of(pid_t pid)
{
    char path[64], line[128];
    double pss = -1;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "Pss:", 4) == 0)
            pss = atof(line + 4) * 1024;
    if (f)
        fclose(f);
    curves_must(pss < 0 ? naru_fail(-ENOENT, "%s tells no Pss", path) : 0);
    return pss;
}

void curves_serve(const char *url, const char *certificates)
{
    look_for(certificates);
    const struct naru_tls_options tls = {
        .size = sizeof tls, .certificate = certificate, .key = key};
    const struct naru_server_options o = {.size = sizeof o, .tls = certificates ? &tls : NULL};
    curves_must(naru_server_new(&o, &server));
    curves_must(naru_server_add(server, &service, NULL));
    curves_must(naru_server_listen(server, url));
    printf("%s\n", naru_url(server));
    fflush(stdout);
    curves_must(naru_server_run(server));
}

/* A program of its own, which shares nothing with its clients' process, until it is killed. */
static pid_t start_program(const struct server_kind *k, const char *path, const char *certificates,
                           const char *grpc_server)
{
    char address[128], line[128] = "";
    int out[2];
    snprintf(address, sizeof address, k->address, path);
    fflush(stdout);
    curves_must(pipe(out) < 0 ? naru_fail(-errno, "pipe failed") : 0);
    pid_t pid = fork();
    curves_must(pid < 0 ? naru_fail(-errno, "fork failed") : 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        if (k->url)
            execl(grpc_server, grpc_server, address, k->tls ? certificate : NULL, key, NULL);
        else
            execl("/proc/self/exe", "curves", "-c", "serve", "-u", address, k->tls ? "-t" : NULL,
                  certificates, NULL);
        _exit(1);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    curves_must(f && fgets(line, sizeof line, f) ? 0 : naru_fail(-EPIPE, "no %s", k->name));
    fclose(f);
    line[strcspn(line, "\n")] = '\0';
    if (!k->url)
        snprintf(shared->url, sizeof shared->url, "%s", line);
    else if (strstr(k->url, "%s"))
        snprintf(shared->url, sizeof shared->url, k->url, path);
    else
        snprintf(shared->url, sizeof shared->url, k->url, atoi(line));
    return pid;
}

static naru_client *connected_to(const struct server_kind *k)
{
    const struct naru_tls_options tls = {.size = sizeof tls, .authority = certificate};
    const struct naru_client_options o = {
        .size = sizeof o, .flags = NARU_WAIT_FOR_READY, .tls = k->tls ? &tls : NULL};
    naru_client *client;
    curves_must(naru_client_open(shared->url, &o, &client));
    curves_must(naru_client_wait_ready(client, 60 * NARU_S));
    return client;
}

static void memory_of(const struct server_kind *k, int n, const char *certificates,
                      const char *grpc_server)
{
    static naru_client *clients[CONNECTIONS_MAX + 1];
    char path[64], name[64];
    snprintf(path, sizeof path, "/tmp/curves-%d", (int)getpid());
    pid_t pid = start_program(k, path, certificates, grpc_server);
    for (int i = 0; i <= n && i < 2; i++) { /* what a first one needs is not counted */
        clients[0] = connected_to(k);
        call_once(clients[0], "8 bytes", 8);
        if (i == 0)
            naru_client_close(clients[0]);
    }
    double before = pss_of(pid);
    for (int i = 1; i <= n; i++)
        clients[i] = connected_to(k);
    double idle = pss_of(pid);
    for (int i = 1; i <= n; i++)
        call_once(clients[i], "8 bytes", 8);
    double called = pss_of(pid);
    for (int i = 0; i <= n; i++)
        naru_client_close(clients[i]);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    unlink(path);
    snprintf(name, sizeof name, "connections, %s", k->name);
    curves_row(
        name, (uint64_t)n, "\"idle_bytes\": %.0f, \"called_bytes\": %.0f, \"in_1_gib\": %.0f",
        (idle - before) / n, (called - before) / n, ((1 << 30) - before) / ((called - before) / n));
}

void curves_of_connections(int n, const char *grpc_server, const char *certificates)
{
    curves_must(n > CONNECTIONS_MAX ? naru_fail(-EINVAL, "too many") : 0);
    look_for(certificates);
    make_shared();
    for (size_t i = 0; i < sizeof server_kinds / sizeof *server_kinds; i++)
        if ((!server_kinds[i].url || grpc_server) && (!server_kinds[i].tls || certificates))
            memory_of(&server_kinds[i], n, certificates, grpc_server);
}
