/* SPDX-License-Identifier: MIT */
/* hostile-looking.c - naru/inspect.h on objects in whose files somebody writes anything, before a
 * look and during it: each call gives an answer or an error with a sentence, and returns. What it
 * reads is copied, so that a byte read too far is one that AddressSanitizer knows of.
 *
 * Every byte of every header and record takes each of 256 values with --all, else those at which
 * something could turn and 8 others; every 32 and 64-bit field its boundary values. */
#include "harness.h"

#include "shm/lane.h"
#include "shm/lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool all_values;
static unsigned long answers, errors;

/* ---- looking ---- */

static void count(int r)
{
    if (r >= 0)
        answers++;
    else
        errors++;
    expect(r >= 0 || r == -EPROTO || r == -EIO || r == -EOPNOTSUPP || r == -EACCES || r == -ENOENT);
    expect(r >= 0 || naru_why()[0]);
}

static void read_view(const struct naru_view *v)
{
    size_t n = strlen(v->url) + strlen(v->noun);
    uint64_t value = 0, permits = UINT64_MAX;
    for (size_t i = 0; i < v->n_facts; i++) {
        value = strcmp(v->facts[i].name, "value") == 0 ? v->facts[i].number : value;
        permits = strcmp(v->facts[i].name, "permits") == 0 ? v->facts[i].number : permits;
        n += strlen(v->facts[i].name) + (v->facts[i].text ? strlen(v->facts[i].text) : 0);
    }
    expect(value <= permits); /* or it is no answer */
    for (size_t k = 0; k < v->n_parts; k++) {
        const struct naru_view_part *p = v->parts[k];
        n += strlen(p->program) + (p->wants ? strlen(p->wants) : 0);
        for (size_t i = 0; i < p->n_facts; i++)
            n += strlen(p->facts[i].name) + (p->facts[i].text ? strlen(p->facts[i].text) : 0);
        for (size_t i = 0; i < p->n_waits; i++)
            n += strlen(p->waits[i].why);
        expect(k == 0 || p->n_facts == v->parts[0]->n_facts); /* the tool's tables rely on it */
    }
    expect(n > 0);
}

static void look(const char *url)
{
    naru_snapshot *s;
    naru_peek *p;
    struct naru_message m;
    struct naru_collected c = {.size = sizeof c};
    const struct naru_view *v;
    int r = naru_snapshot_take(url, &s);
    count(r);
    for (size_t i = 0; r == 0 && (v = naru_snapshot_view(s, i)); i++)
        read_view(v);
    if (r == 0)
        naru_snapshot_free(s);
    r = naru_snapshot_list(url, &s);
    count(r);
    if (r == 0)
        naru_snapshot_free(s);
    count(naru_collect(url, NARU_DRY_RUN, &c));
    r = naru_peek_open(url, &p);
    count(r);
    if (r < 0)
        return;
    for (int i = 0; i < 1000 && (r = naru_peek_next(p, 0, &m)) != 0; i++) {
        count(r);
        for (size_t k = 0; r > 0 && k < m.size; k += 64)
            (void)*(volatile char *)((char *)m.data + k);
        if (r > 0 && m.size)
            (void)*(volatile char *)((char *)m.data + m.size - 1);
    }
    naru_peek_close(p);
}

/* ---- damaging ---- */

struct range {
    const char *file;
    size_t at, n;
};

static int open_file(const char *url, const char *file)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", strchr(url, ':') + 1, file);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    expect(fd >= 0);
    return fd;
}

static void put(int fd, const void *data, size_t n, size_t at)
{
    expect(pwrite(fd, data, n, (off_t)at) == (ssize_t)n);
}

static void each_byte(const char *url, int fd, size_t at, size_t n)
{
    unsigned seed = (unsigned)at;
    for (size_t i = at; i < at + n; i++) {
        uint8_t was;
        expect(pread(fd, &was, 1, (off_t)i) == 1);
        const uint8_t few[] = {0,
                               1,
                               2,
                               0x7f,
                               0x80,
                               0xff,
                               was ^ 1,
                               was ^ 0x80,
                               was + 1,
                               was - 1,
                               rand_r(&seed) & 255,
                               rand_r(&seed) & 255};
        for (size_t k = 0; k < (all_values ? 256 : sizeof few); k++) {
            uint8_t value = all_values ? (uint8_t)k : few[k];
            if (value == was)
                continue;
            put(fd, &value, 1, i);
            look(url);
        }
        put(fd, &was, 1, i);
    }
}

static void each_field(const char *url, int fd, size_t at, size_t n)
{
    static const uint64_t wide[] = {0,
                                    1,
                                    4096,
                                    INT32_MAX,
                                    UINT32_MAX,
                                    INT64_MAX,
                                    UINT64_C(1) << 63,
                                    UINT64_MAX,
                                    UINT64_MAX - 4095};
    static const uint32_t narrow[] = {0,         1, 256, 4095, 4096, INT32_MAX, UINT32_C(1) << 31,
                                      UINT32_MAX};
    uint64_t was;
    for (size_t i = at; i + 8 <= at + n; i += 8) {
        expect(pread(fd, &was, 8, (off_t)i) == 8);
        for (size_t k = 0; k < sizeof wide / sizeof *wide; k++) {
            put(fd, &wide[k], 8, i);
            look(url);
        }
        put(fd, &was, 8, i);
        for (size_t k = 0; k < 2 * sizeof narrow / sizeof *narrow; k++) {
            put(fd, &narrow[k / 2], 4, i + k % 2 * 4);
            look(url);
            put(fd, &was, 8, i);
        }
    }
}

static void cut_short(const char *url, int fd, size_t at)
{
    struct stat st;
    static char rest[1 << 20];
    expect(fstat(fd, &st) == 0);
    ssize_t n = pread(fd, rest, sizeof rest, (off_t)at);
    expect(n >= 0);
    expect(ftruncate(fd, (off_t)at) == 0);
    look(url);
    expect(ftruncate(fd, st.st_size) == 0);
    put(fd, rest, (size_t)n, at);
}

/* Somebody who does not rest, while others look; the object is of no use afterwards. What says that
 * it is one, at the head of each file, stays. */
static void never_rests(const char *url, const struct range *ranges)
{
    enum { MS = 1500 };
    int fds[8];
    size_t n = 0;
    struct range live[8];
    for (; ranges->file; ranges++)
        if (ranges->at > 0) {
            fds[n] = open_file(url, ranges->file);
            live[n++] = *ranges;
        }
    pid_t parent = getpid(), child = fork();
    expect(child >= 0);
    if (child == 0) {
        unsigned seed = 7;
        for (unsigned k = 0; getppid() == parent; k++) {
            const struct range *r = &live[(size_t)rand_r(&seed) % n];
            off_t at = (off_t)(r->at + (size_t)rand_r(&seed) % r->n);
            uint8_t value = (uint8_t)rand_r(&seed), was;
            if (pread(fds[r - live], &was, 1, at) != 1 || pwrite(fds[r - live], &value, 1, at) != 1)
                _exit(1);
            for (int i = rand_r(&seed) % 20000; i > 0; i--)
                __asm__ volatile("" ::: "memory");
            if (k % 4096 && pwrite(fds[r - live], &was, 1, at) != 1) /* some stay */
                _exit(1);
        }
        _exit(0);
    }
    for (int64_t end = test_now() + MS * NARU_MS; test_now() < end;)
        look(url);
    kill(child, SIGKILL);
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

static void delete_it(const char *url)
{
    char path[600];
    const char *directory = strchr(url, ':') + 1;
    DIR *d = opendir(directory);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%.255s", directory, e->d_name);
        unlink(path);
    }
    if (d)
        closedir(d);
    expect(rmdir(directory) == 0);
}

static void damage(const char *url, const struct range *ranges)
{
    size_t n = 0;
    look(url);
    expect(errors <= 1); /* a lock cannot be peeked into */
    for (; ranges[n].file; n++) {
        int fd = open_file(url, ranges[n].file);
        each_byte(url, fd, ranges[n].at, ranges[n].n);
        each_field(url, fd, ranges[n].at, ranges[n].n);
        cut_short(url, fd, ranges[n].at);
        cut_short(url, fd, ranges[n].at + ranges[n].n / 2);
        cut_short(url, fd, 0);
        close(fd);
    }
    look(url);
    printf("# %lu answers, %lu errors", answers, errors);
    never_rests(url, ranges);
    printf("; with one who never rests %lu and %lu\n", answers, errors);
    fflush(stdout);
    expect(answers > 1000 && errors > 100);
    delete_it(url);
}

enum { META = sizeof(struct naru_object_meta), RECORDS = 2 * sizeof(struct naru_object_member) };

static void lanes(bool topic)
{
    const char *url = test_url("shm:%s/x");
    static const char zeros[70000];
    const struct range ranges[] = {
        {"meta", 0, META},
        {"meta", NARU_OBJECT_STATE_AT, 256},
        {"meta", NARU_OBJECT_MEMBERS_AT, RECORDS},
        {"lane-0", 0, 192},
        {"lane-0", NARU_LANE_SLOTS_AT, 2 * sizeof(struct naru_lane_slot)},
        {topic ? "cursor-0" : "claims-0", 0, 64},
        {topic ? "cursor-0" : "claims-0", NARU_LANE_WORDS_AT, 32},
        {NULL, 0, 0}};
    naru_channel *both;
    struct naru_queue_options q = {
        .size = sizeof q, .messages = 15, .capacity = 16384, .max_message = sizeof zeros};
    struct naru_topic_options t = {
        .size = sizeof t, .history = 4, .capacity = 16384, .max_message = sizeof zeros};
    expect_ok(topic ? naru_topic_open(url, NARU_SEND | NARU_RECV, &t, &both)
                    : naru_queue_open(url, NARU_SEND | NARU_RECV, &q, &both));
    expect_ok(naru_channel_send(both, 1, zeros, 20, PATIENCE));
    expect_ok(naru_channel_send(both, 2, zeros, 3000, PATIENCE));
    expect_ok(naru_channel_send(both, 3, zeros, sizeof zeros, PATIENCE));
    damage(url, ranges);
    _exit(0); /* what it has mapped is not to be believed any more */
}

static void a_queue(void)
{
    lanes(false);
}

static void a_topic(void)
{
    lanes(true);
}

static void sleep_for_it(void *context)
{
    naru_semaphore *s;
    naru_rwlock *w;
    if (naru_semaphore_open(context, NULL, &s) == 0)
        (void)naru_semaphore_acquire(s, 1, NARU_FOREVER);
    else if (naru_rwlock_open(context, NULL, &w) == 0)
        (void)naru_rwlock_write(w, NARU_FOREVER);
    pause();
}

static void permits(int kind, bool rwlock)
{
    const char *url = test_url("shm:%s/x");
    const struct range ranges[] = {
        {"meta", 0, META},
        {"meta", NARU_OBJECT_STATE_AT, 128 + 16},
        {"meta", NARU_OBJECT_STATE_AT + 128 + offsetof(struct naru_lock_state, queue), 48},
        {"meta", NARU_OBJECT_STATE_AT + 128 + offsetof(struct naru_lock_state, death), 24},
        {"meta", NARU_OBJECT_STATE_AT + 128 + offsetof(struct naru_lock_state, watching), 16},
        {"meta", NARU_OBJECT_MEMBERS_AT, RECORDS},
        {NULL, 0, 0}};
    struct naru_semaphore_options o = {sizeof o, .kind = kind, .value = 5};
    naru_semaphore *s;
    naru_rwlock *w;
    if (rwlock) {
        expect_ok(naru_rwlock_open(url, NULL, &w));
        expect_ok(naru_rwlock_read(w, NARU_NOWAIT));
    } else {
        expect_ok(naru_semaphore_open(url, &o, &s));
        if (kind == NARU_OWNED)
            expect_ok(naru_semaphore_acquire(s, 5, NARU_NOWAIT));
    }
    pid_t waiter = kind == NARU_OWNED ? start_child(sleep_for_it, (void *)(uintptr_t)url) : 0;
    usleep(waiter ? 200000 : 0);
    if (waiter)
        kill(waiter, SIGSTOP); /* it would mend, or complain */
    damage(url, ranges);
    if (waiter)
        kill(waiter, SIGKILL);
    _exit(0);
}

static void an_owned_semaphore(void)
{
    permits(NARU_OWNED, false);
}

static void a_rwlock(void)
{
    permits(NARU_OWNED, true);
}

static void a_plain_semaphore(void)
{
    permits(NARU_PLAIN, false);
}

static void a_posix_semaphore(void)
{
    char url[64], path[64];
    naru_snapshot *s;
    snprintf(url, sizeof url, "posix-sem:/naru-test-%d", getpid());
    snprintf(path, sizeof path, "/dev/shm/sem.naru-test-%d", getpid());
    for (int n = 0; n <= 64; n += 4) {
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        for (int i = 0; i < n; i++)
            put(fd, "\xff", 1, (size_t)i);
        close(fd);
        int r = naru_snapshot_take(url, &s);
        expect(r == 0 || r == -EPROTO);
        if (r == 0)
            naru_snapshot_free(s);
    }
    unlink(path);
}

static struct naru_fact fact_of(const char *url, const char *name)
{
    naru_snapshot *s;
    struct naru_fact f = {0};
    expect_ok(naru_snapshot_take(url, &s));
    const struct naru_view *v = naru_snapshot_view(s, 0);
    for (size_t i = 0; i < v->n_facts; i++)
        if (strcmp(v->facts[i].name, name) == 0)
            f = v->facts[i];
    f.text = f.text ? name : NULL;
    naru_snapshot_free(s);
    return f;
}

/* One of each at a place, then as many headers as there is room for, then as many locks on bytes
 * where participants have theirs: a bound for each. */
static void locks_in_a_region(void)
{
    enum { SIZE = 24 << 20, EACH = NARU_OBJECT_MEMBERS_AT + 128, LOCKS = 5000 };
    const char *url = test_url("map:%s/region");
    naru_region *r;
    naru_semaphore *s;
    expect_ok(naru_region_create(url, SIZE, NULL, &r));
    struct naru_semaphore_options o = {sizeof o, .value = 5, .participants = 1};
    expect_ok(naru_semaphore_at(r, 128, &o, &s));
    expect_ok(naru_semaphore_acquire(s, 2, NARU_NOWAIT));
    int fd = open(strchr(url, ':') + 1, O_RDWR | O_CLOEXEC);
    each_field(url, fd, 128, 64); /* what says that it is one; the rest is as in other objects */
    char *data = naru_region_data(r), *one = malloc(EACH);
    memcpy(one, data + 128, EACH);
    int64_t begin = test_now();
    for (size_t at = 128; at + EACH <= SIZE; at += EACH / 128 * 128)
        memcpy(data + at, one, EACH);
    look(url);
    expect(fact_of(url, "locks").number == 1024 && fact_of(url, "locks_searched").text);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    memset(data, 0, SIZE);
    for (int i = 0; i < LOCKS; i++) {
        lock.l_start = (off_t)NARU_OBJECT_REGION_LIFE_AT + i * 1000;
        expect(fcntl(fd, F_OFD_SETLK, &lock) == 0);
    }
    look(url);
    expect(fact_of(url, "locks").number == 0 && fact_of(url, "locks_searched").text);
    naru_snapshot *all;
    expect_ok(naru_snapshot_waits(&all));
    naru_snapshot_free(all);
    printf("# %lu answers, %lu errors; with bounds %.1f s\n", answers, errors,
           (double)(test_now() - begin) / 1e9);
    fflush(stdout);
    expect_ok(naru_remove(url));
    _exit(0);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"a queue", a_queue},
        {"a topic", a_topic},
        {"an owned semaphore", an_owned_semaphore},
        {"a plain semaphore", a_plain_semaphore},
        {"a rwlock", a_rwlock},
        {"a POSIX semaphore", a_posix_semaphore},
        {"locks in a region", locks_in_a_region},
    };
    char why[256];
    all_values = argc > 1 && strcmp(argv[1], "--all") == 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (!all_values && argc > 1 && !strstr(cases[i].name, argv[1]))
            continue;
        bool ok = run_case(cases[i].name, cases[i].run, all_values ? 1200 : 300, why, sizeof why);
        tap_result(ok, cases[i].name, why);
    }
    return tap_end();
}
