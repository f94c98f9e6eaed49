/* SPDX-License-Identifier: MIT */
/* journal.c - commits to a journal beside a loop of write(2) and fdatasync(2) and SQLite's inserts
 * in WAL mode, by one sender and by eight, synced and not; and replay beside read(2) of the same
 * bytes. All take turns, round by round. One line of JSON a figure: its median, lowest and highest.
 *
 *   journal [-s SECONDS a point] [-r ROUNDS] [-m MiB to replay] [-d DIRECTORY]
 *
 * The directory has to lie on the medium in question: $TMPDIR, else /var/tmp. SQLite is there in a
 * build with -Dpeers=true. */
#include <naru/naru.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef NARU_BENCH_PEERS
#include <sqlite3.h>
#endif

enum { SENDERS_MAX = 8, ROUNDS_MAX = 31, LARGEST = 65536 };

static struct {
    _Atomic int ready, go, stop, failed;
    struct {
        _Alignas(128) _Atomic uint64_t n;
    } done[SENDERS_MAX];
} * shared;
static char directory[200], url[256];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "journal: %s: %s\n", what, why);
    if (shared)
        shared->failed = 1;
    exit(1);
}

static void must(int r)
{
    if (r < 0)
        give_up("naru", naru_why());
}

/* ---- ways to commit ---- */

static naru_channel *channel;
static int file;

static void naru_begin(bool sync)
{
    const struct naru_journal_options j = {
        .size = sizeof j, .sync = sync ? NARU_SYNC_EACH : 0, .keep_bytes = 256 << 20};
    const struct naru_queue_options o = {.size = sizeof o, .journal = &j};
    must(naru_queue_open(url, NARU_SEND, &o, &channel));
}

static void naru_commit(const void *data, size_t n, bool sync)
{
    (void)sync;
    must(naru_channel_send(channel, 1, data, n, NARU_FOREVER));
}

static void naru_end(void)
{
    channel = naru_channel_close(channel);
}

static void write_begin(bool sync)
{
    char path[256];
    (void)sync;
    snprintf(path, sizeof path, "%s/log", directory);
    file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0)
        give_up(path, strerror(errno));
}

static void write_commit(const void *data, size_t n, bool sync)
{
    if (write(file, data, n) != (ssize_t)n || (sync && fdatasync(file) < 0))
        give_up("write", strerror(errno));
}

static void write_end(void)
{
    close(file);
}

#ifdef NARU_BENCH_PEERS
static sqlite3 *base;
static sqlite3_stmt *insert;

static void ask(const char *sql)
{
    if (sqlite3_exec(base, sql, NULL, NULL, NULL) != SQLITE_OK)
        give_up(sql, sqlite3_errmsg(base));
}

static void sqlite_begin(bool sync)
{
    char path[256];
    snprintf(path, sizeof path, "%s/base", directory);
    if (sqlite3_open(path, &base) != SQLITE_OK)
        give_up(path, sqlite3_errmsg(base));
    sqlite3_busy_timeout(base, 60000);
    ask("PRAGMA journal_mode=WAL");
    ask(sync ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF");
    ask("CREATE TABLE IF NOT EXISTS log (sequence INTEGER PRIMARY KEY, data BLOB)");
    if (sqlite3_prepare_v2(base, "INSERT INTO log (data) VALUES (?)", -1, &insert, NULL) !=
        SQLITE_OK)
        give_up("INSERT", sqlite3_errmsg(base));
}

static void sqlite_commit(const void *data, size_t n, bool sync)
{
    (void)sync;
    sqlite3_bind_blob(insert, 1, data, (int)n, SQLITE_STATIC);
    if (sqlite3_step(insert) != SQLITE_DONE)
        give_up("INSERT", sqlite3_errmsg(base));
    sqlite3_reset(insert);
}

static void sqlite_end(void)
{
    sqlite3_finalize(insert);
    sqlite3_close(base);
}
#endif

static const struct way {
    const char *name;
    void (*begin)(bool sync);
    void (*commit)(const void *data, size_t n, bool sync);
    void (*end)(void);
} ways[] = {
    {"naru journal", naru_begin, naru_commit, naru_end},
    {"write, fdatasync", write_begin, write_commit, write_end},
#ifdef NARU_BENCH_PEERS
    {"SQLite, WAL", sqlite_begin, sqlite_commit, sqlite_end},
#endif
};
enum { WAYS = sizeof ways / sizeof *ways };

static void send_on(const struct way *way, int i, size_t size, bool sync)
{
    static char data[LARGEST];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    way->begin(sync);
    atomic_fetch_add(&shared->ready, 1);
    while (!shared->go && !shared->failed)
        usleep(100);
    while (!shared->stop) {
        way->commit(data, size, sync);
        atomic_fetch_add_explicit(&shared->done[i].n, 1, memory_order_relaxed);
    }
    way->end();
    exit(0);
}

static void empty(void)
{
    char path[512];
    DIR *d = opendir(directory);
    naru_remove(url);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
            unlink(path);
        }
    if (d)
        closedir(d);
}

static uint64_t fact(const char *name)
{
    naru_snapshot *s;
    uint64_t number = 0;
    if (naru_snapshot_take(url, &s) < 0)
        return 0;
    const struct naru_view *v = naru_snapshot_view(s, 0);
    for (size_t i = 0; v && i < v->n_facts; i++)
        if (strcmp(v->facts[i].name, name) == 0)
            number = v->facts[i].number;
    naru_snapshot_free(s);
    return number;
}

static uint64_t committed(int senders)
{
    uint64_t n = 0;
    for (int i = 0; i < senders; i++)
        n += shared->done[i].n;
    return n;
}

static double point(const struct way *way, int senders, size_t size, bool sync, double seconds,
                    double *ret_a_flush)
{
    memset(shared, 0, sizeof *shared);
    fflush(stdout);
    for (int i = 0; i < senders; i++) {
        pid_t pid = fork();
        if (pid == 0)
            send_on(way, i, size, sync);
        if (pid < 0)
            shared->failed = 1;
        while (i == 0 && !shared->ready && !shared->failed) /* who makes it is alone */
            usleep(100);
    }
    while (shared->ready < senders && !shared->failed)
        usleep(100);
    shared->go = 1;
    usleep(100000);
    uint64_t first = committed(senders), flushes = fact("flushes");
    double start = now();
    usleep((useconds_t)(seconds * 1e6));
    uint64_t n = committed(senders) - first;
    double took = now() - start;
    flushes = fact("flushes") - flushes;
    shared->stop = 1;
    int status, failed = shared->failed;
    while (wait(&status) > 0)
        failed |= status;
    empty();
    if (failed)
        exit(1);
    *ret_a_flush = flushes ? (double)n / (double)flushes : 0;
    return (double)n / took;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_spread(const char *name, double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    printf(", \"%s\": %.6g, \"low\": %.6g, \"high\": %.6g", name, values[n / 2], values[0],
           values[n - 1]);
}

static void commits(double seconds, int rounds)
{
    static const struct {
        int senders;
        size_t size;
        bool sync;
    } points[] = {{1, 64, true},  {2, 64, true},  {4, 64, true},   {8, 64, true},
                  {1, 64, false}, {8, 64, false}, {1, 4096, true}, {8, 4096, true},
                  {1, 65536, false}};
    enum { POINTS = sizeof points / sizeof *points };
    static double rate[POINTS][WAYS][ROUNDS_MAX], a_flush[POINTS][WAYS][ROUNDS_MAX];
    for (int k = 0; k < rounds; k++)
        for (int p = 0; p < POINTS; p++)
            for (int i = 0; i < WAYS; i++) {
                int w = (i + k) % WAYS;
                rate[p][w][k] = point(&ways[w], points[p].senders, points[p].size, points[p].sync,
                                      seconds, &a_flush[p][w][k]);
            }
    for (int p = 0; p < POINTS; p++)
        for (int w = 0; w < WAYS; w++) {
            double *flush = a_flush[p][w];
            printf("{\"mode\": \"commit\", \"adapter\": \"%s\", \"senders\": %d, \"size\": %zu, "
                   "\"sync\": %s, \"repetitions\": %d",
                   ways[w].name, points[p].senders, points[p].size,
                   points[p].sync ? "true" : "false", rounds);
            print_spread("commits_s", rate[p][w], rounds);
            qsort(flush, (size_t)rounds, sizeof *flush, compare);
            if (flush[0] > 0)
                printf(", \"commits_a_flush\": %.2f", flush[rounds / 2]);
            printf("}\n");
        }
}

/* ---- replay ---- */

static void fill(size_t size, uint64_t bytes)
{
    static char data[LARGEST];
    naru_channel *c;
    must(naru_queue_open(url, NARU_SEND, NULL, &c));
    for (uint64_t i = 0; i < bytes / (size + 40); i++) {
        memcpy(data, &i, sizeof i);
        must(naru_channel_send(c, 1, data, size, NARU_FOREVER));
    }
    must(naru_journal_sync(c, NARU_FOREVER));
    naru_channel_close(c);
}

/* Each file of the journal; forget: from the kernel's memory. Bytes that were read. */
static uint64_t each_segment(bool forget)
{
    static char data[1 << 20];
    char path[600];
    uint64_t bytes = 0;
    DIR *d = opendir(url + 4);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, "segment-", 8) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", url + 4, e->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;
        if (fd < 0)
            give_up(path, strerror(errno));
        if (forget)
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        else
            while ((n = read(fd, data, sizeof data)) > 0)
                bytes += (uint64_t)n;
        close(fd);
    }
    if (d)
        closedir(d);
    return bytes;
}

static double read_all(void)
{
    double start = now();
    uint64_t bytes = each_segment(false);
    return (double)bytes / 1e9 / (now() - start);
}

/* Every check sum is compared by the library, every number here. */
static double replay(size_t size)
{
    enum { AT_ONCE = 64 };
    const struct naru_journal_options j = {.size = sizeof j, .from = NARU_FROM_OLDEST};
    const struct naru_topic_options o = {.size = sizeof o, .journal = &j};
    struct naru_message m[AT_ONCE];
    naru_channel *c;
    uint64_t next = 0;
    ssize_t n;
    must(naru_topic_open(url, NARU_RECV, &o, &c));
    double start = now();
    while ((n = naru_channel_take_many(c, 0, m, AT_ONCE, NARU_NOWAIT)) > 0) {
        for (ssize_t i = 0; i < n; i++, next++)
            if (m[i].size != size || memcmp(m[i].data, &next, sizeof next) != 0)
                give_up("replay", "a wrong message");
        must(naru_channel_release(c, m, (size_t)n));
    }
    double took = now() - start;
    if (n != -EAGAIN)
        must((int)n);
    naru_channel_close(c);
    return (double)(next * ((size + 47) & ~(size_t)7)) / 1e9 / took;
}

static void replays(int rounds, uint64_t bytes)
{
    static const size_t sizes[] = {64, 1024, 65536};
    static double gb_s[2][2][ROUNDS_MAX]; /* [cold][read] */
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        fill(sizes[s], bytes);
        for (int k = 0; k < rounds; k++)
            for (int i = 0; i < 4; i++) {
                int cold = i / 2, plain = (i + k) % 2;
                if (cold)
                    each_segment(true);
                else if (i == 0)
                    read_all(); /* all of it is in memory */
                gb_s[cold][plain][k] = plain ? read_all() : replay(sizes[s]);
            }
        empty();
        for (int i = 0; i < 4; i++) {
            printf("{\"mode\": \"replay\", \"adapter\": \"%s\", \"size\": %zu, \"cold\": %s, "
                   "\"repetitions\": %d",
                   i % 2 ? "read" : "naru journal", sizes[s], i / 2 ? "true" : "false", rounds);
            print_spread("gb_s", gb_s[i / 2][i % 2], rounds);
            printf("}\n");
        }
    }
}

int main(int argc, char **argv)
{
    double seconds = 1;
    int rounds = 5, c;
    uint64_t mib = 512;
    const char *base_directory = getenv("TMPDIR");
    while ((c = getopt(argc, argv, "s:r:m:d:")) != -1)
        if (c == 's')
            seconds = atof(optarg);
        else if (c == 'r')
            rounds = atoi(optarg);
        else if (c == 'm')
            mib = strtoull(optarg, NULL, 10);
        else if (c == 'd')
            base_directory = optarg;
        else
            return 2;
    if (rounds < 1 || rounds > ROUNDS_MAX || seconds <= 0 || mib < 1)
        return fprintf(stderr, "journal: -r wants 1 to %d, -s and -m more than 0\n", ROUNDS_MAX), 2;
    snprintf(directory, sizeof directory, "%.150s/naru-journal-XXXXXX",
             base_directory ? base_directory : "/var/tmp");
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !mkdtemp(directory))
        return perror(directory), 1;
    snprintf(url, sizeof url, "map:%s/journal", directory);
    /* in a process of its own, so that whatever ends it, this one cleans up */
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        commits(seconds, rounds);
        replays(rounds, mib << 20);
        exit(0);
    }
    signal(SIGINT, SIG_IGN);
    if (pid > 0)
        waitpid(pid, &status, 0);
    shared->stop = shared->failed = 1;
    empty();
    return rmdir(directory) < 0 || status != 0;
}
