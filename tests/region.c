/* SPDX-License-Identifier: MIT */
/* region.c - regions of every kind: what two processes see of one, how it is handed over, how it
 * grows, and what becomes of its name. */
#include "regions.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>

static const char *self; /* this program, started again as a child */

/* ---- what two processes see ---- */

static _Atomic uint32_t *words(naru_region *r)
{
    return naru_region_data(r);
}

static void answers(void *url)
{
    naru_region *r = open_it(url, RW);
    char text[8];
    expect_code(0, naru_region_read(r, 100, text, 8));
    expect(memcmp(text, "written", 8) == 0);
    atomic_store(words(r) + 1, 7);
    while (atomic_load(words(r)) != 8)
        sched_yield();
    naru_region_close(r);
}

static void seen_by_another(void)
{
    for (int i = 0; i < NAMED; i++) {
        const char *url = test_url(named[i]);
        naru_region *r = create(url, 10000, 0);
        expect(naru_region_size(r) == 10000);
        expect((uintptr_t)naru_region_data(r) % PAGE == 0);
        expect(zeroes(naru_region_data(r), 10000));
        expect_code(0, naru_region_write(r, 100, "written", 8));
        expect(memcmp((char *)naru_region_data(r) + 100, "written", 8) == 0);
        pid_t pid = start_child(answers, (void *)(uintptr_t)url);
        while (atomic_load(words(r) + 1) != 7)
            sched_yield();
        atomic_store(words(r), 8);
        end_child(pid);
        naru_region *again = create(url, 10000, 0);
        expect(atomic_load(words(again)) == 8);
        naru_region_close(again);
        naru_region_close(r);
        expect_code(0, naru_remove(url));
        expect_code(-ENOENT, naru_remove(url));
        expect_code(-ENOENT, naru_region_open(url, RW, NULL, &r));
    }
}

static void bounds(void)
{
    char buf[200];
    for (int i = -1; i < NAMED; i++) {
        const char *url = i < 0 ? NULL : test_url(named[i]);
        naru_region *r = create(url, 5000, 0), *reader = NULL;
        expect_code(0, naru_region_write(r, 4900, buf, 100));
        expect_code(-EINVAL, naru_region_write(r, 4901, buf, 100));
        expect_says("100 bytes at 4901, and it has 5000");
        expect_code(-EINVAL, naru_region_read(r, 5001, buf, 0));
        expect_code(-EINVAL, naru_region_read(r, SIZE_MAX - 10, buf, 100));
        expect_code(0, naru_region_read(r, 5000, buf, 0));
        expect(naru_region_size(r) == 5000);
        if (url) {
            expect_ok(naru_region_open(url, NARU_READ, NULL, &reader));
            expect_code(-EPERM, naru_region_write(reader, 0, buf, 1));
            expect_code(-EPERM, naru_region_advise(reader, 0, 5000, NARU_ADVICE_FREE));
            expect_code(0, naru_region_read(reader, 0, buf, 1));
            expect(mprotect(naru_region_data(reader), PAGE, PROT_READ | PROT_WRITE) < 0);
            naru_region_close(reader);
            expect_ok(naru_remove(url));
        }
        naru_region_close(r);
    }
}

static void what_memory_cannot(void)
{
    naru_region *r = create(NULL, 4 * PAGE, 0);
    expect_code(-EOPNOTSUPP, naru_region_shrink(r, 100));
    expect_code(-EOPNOTSUPP, naru_region_grow(r, 5 * PAGE));
    expect_says(".reserve");
    expect_code(-EOPNOTSUPP, naru_region_sync(r, 0, PAGE, NARU_SYNC_FULL));
    expect_says("map:");
    expect_code(-EINVAL, naru_region_sync(r, 0, PAGE, 17));
    expect_code(-EINVAL, naru_region_advise(r, 0, PAGE, 99));
    expect_code(-EINVAL, naru_region_advise(r, 0, 5 * PAGE, NARU_ADVICE_NORMAL));
    for (int advice = NARU_ADVICE_NORMAL; advice < NARU_ADVICE_FREE; advice++)
        expect_code(0, naru_region_advise(r, 100, PAGE, advice));
    memset(naru_region_data(r), 'x', 4 * PAGE);
    expect_code(0, naru_region_advise(r, 100, 2 * PAGE, NARU_ADVICE_FREE));
    const char *p = naru_region_data(r);
    expect(p[PAGE - 1] == 'x' && zeroes(p + PAGE, PAGE) && p[2 * PAGE] == 'x');
    expect_code(-EOPNOTSUPP, naru_fd(r));
    expect_code(-EINVAL, naru_region_grow((naru_region *)(uintptr_t)p, 1));
    naru_region_close(r);
    expect(naru_region_close(NULL) == NULL);
}

static void arguments(void)
{
    naru_region *r;
    struct naru_region_options o = {.size = 4};
    expect_code(-EINVAL, naru_region_create(NULL, 10, &o, &r));
    expect_says("naru_region_options.size");
    o = (struct naru_region_options){.size = sizeof o, .flags = 0x8000};
    expect_code(-EINVAL, naru_region_create(NULL, 10, &o, &r));
    o = (struct naru_region_options){.size = sizeof o, .reserve = 9};
    expect_code(-EINVAL, naru_region_create(NULL, 10, &o, &r));
    o = (struct naru_region_options){.size = sizeof o, .bytes = 9};
    expect_code(-EINVAL, naru_region_create(NULL, 10, &o, &r));
    o = (struct naru_region_options){.size = sizeof o, .mode = 0600};
    expect_code(-EOPNOTSUPP, naru_region_create(NULL, 10, &o, &r));
    o = (struct naru_region_options){.size = sizeof o, .flags = NARU_EXISTING};
    expect_code(-ENOENT, naru_region_create("shm:", 10, &o, &r));
    expect_code(-EINVAL, naru_region_create(NULL, 0, NULL, &r));
    expect_code(-EINVAL, naru_region_open("shm:", RW, NULL, &r));
    expect_says("naru_region_from_fd");
    expect_code(-EINVAL, naru_region_open("shm:x", NARU_WRITE, NULL, &r));
    expect_code(-EOPNOTSUPP, naru_region_open("pipe:", RW, NULL, &r));
    expect_says("posix-shm:");
    static const char *const bad[] = {
        "posix-shm:x",   "posix-shm:/",     "posix-shm:/a/b", "posix-shm:/..",
        "sysv-shm:/tmp", "sysv-shm:/tmp#0", "sysv-shm:0x0",   "sysv-shm:/tmp#x",
        "shm:.x",        "shm:a b",         "map:",           "map:file",
        "map:/tmp/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expect_code(-EINVAL, naru_region_create(bad[i], 10, NULL, &r));
        expect_code(-EINVAL, naru_remove(bad[i]));
    }
    for (int i = POSIX; i <= SYSV; i++) { /* bytes alone: no place for it */
        o = (struct naru_region_options){.size = sizeof o, .signature = 1};
        expect_code(-EOPNOTSUPP, naru_region_create(test_url(named[i]), 10, &o, &r));
        expect_says("shm:");
    }
    o = (struct naru_region_options){.size = sizeof o, .reserve = 100};
    expect_code(-EOPNOTSUPP, naru_region_create(test_url(named[2]), 10, &o, &r));
}

/* ---- stating size and signature ---- */

static void disagreeing(void)
{
    naru_region *r, *other;
    for (int i = 0; i < NAMED; i++) {
        const char *url = test_url(named[i]);
        struct naru_region_options o = {.size = sizeof o, .mode = 0640};
        o.signature = i == 0 ? 0xabcd0123 : 0;
        expect_ok(naru_region_create(url, 5000, &o, &r));
        expect_code(-EPROTO, naru_region_create(url, 6000, NULL, &other));
        expect_says("5000");
        expect_says("6000");
        struct naru_region_options size = {.size = sizeof size, .bytes = 4999};
        expect_code(-EPROTO, naru_region_open(url, NARU_READ, &size, &other));
        expect_says("5000");
        expect_says("4999");
        struct naru_region_options mode = {.size = sizeof mode, .mode = 0600};
        expect_code(-EEXIST, naru_region_create(url, 5000, &mode, &other));
        expect_says("0640");
        expect_says("0600");
        struct naru_region_options only = {.size = sizeof only, .flags = NARU_EXCLUSIVE};
        expect_code(-EEXIST, naru_region_create(url, 5000, &only, &other));
        if (i == 0) {
            struct naru_region_options wrong = {.size = sizeof wrong, .signature = 0x11};
            expect_code(-EPROTO, naru_region_open(url, RW, &wrong, &other));
            expect_says("abcd0123");
            expect_says("00000011");
            expect_code(-EPROTO, naru_region_create(url, 5000, &wrong, &other));
            wrong = (struct naru_region_options){.size = sizeof wrong, .reserve = 9000};
            expect_code(-EEXIST, naru_region_open(url, RW, &wrong, &other));
            expect_says("9000");
        }
        o.flags = NARU_EXISTING;
        o.bytes = 5000;
        expect_ok(naru_region_create(url, 5000, &o, &other));
        naru_region_close(other);
        naru_region_close(r);
        expect_ok(naru_remove(url));
        expect_code(-ENOENT, naru_region_create(url, 5000, &o, &r));
    }
}

static void one_name_one_object(void)
{
    naru_region *r;
    naru_channel_listener *l;
    const char *url = test_url("shm:%s/both");
    expect_ok(naru_channel_listen(url, NULL, &l));
    expect_code(-EEXIST, naru_region_create(url, 100, NULL, &r));
    expect_says("listener");
    naru_channel_listener_close(l);
    r = create(url, 100, 0);
    expect(naru_channel_listen(url, NULL, &l) < 0);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

/* ---- growing ---- */

static void grown(naru_region *a, naru_region *b)
{
    char *at = naru_region_data(a), *there = naru_region_data(b);
    expect(naru_region_size(a) == 1000 && naru_region_size(b) == 1000);
    at[999] = '1';
    expect_code(0, naru_region_grow(a, 3 * PAGE + 5));
    expect(naru_region_data(a) == at && naru_region_data(b) == there);
    expect(naru_region_size(a) == 3 * PAGE + 5 && naru_region_size(b) == 3 * PAGE + 5);
    expect(zeroes(at + 1000, 3 * PAGE + 5 - 1000));
    at[3 * PAGE + 4] = 'x'; /* by the pointers that were there before */
    expect(there[3 * PAGE + 4] == 'x' && there[999] == '1');
    char got;
    expect_code(0, naru_region_read(b, 3 * PAGE + 4, &got, 1));
    expect(got == 'x');
    expect_code(0, naru_region_grow(b, 64 * PAGE));
    expect_code(0, naru_region_grow(a, 2 * PAGE)); /* it has more already */
    expect(naru_region_size(a) == 64 * PAGE);
    there[64 * PAGE - 1] = 'y';
    expect(at[64 * PAGE - 1] == 'y');
    expect_code(-EMSGSIZE, naru_region_grow(a, 64 * PAGE + 1));
    expect_says(".reserve is 262144");
    expect(naru_region_size(a) == 64 * PAGE);
}

static void grows(void)
{
    naru_region *a = create(NULL, 1000, 64 * PAGE), *b;
    struct naru_region_options o = {.size = sizeof o, .reserve = 64 * PAGE};
    int fd;
    expect_ok(naru_region_share(a, RW, &fd));
    expect_ok(naru_region_from_fd(fd, RW, NULL, &b));
    close(fd);
    grown(a, b);
    naru_region_close(a);
    naru_region_close(b);
    for (int i = 0; i < NAMED; i++) {
        const char *url = test_url(named[i]);
        if (i == SYSV)
            continue;
        a = create(url, 1000, 64 * PAGE);
        expect_ok(naru_region_open(url, RW, &o, &b));
        grown(a, b);
        naru_region_close(b);
        o.bytes = 1000; /* at least */
        expect_ok(naru_region_open(url, NARU_READ, &o, &b));
        expect(naru_region_size(b) == 64 * PAGE);
        expect_code(-EPERM, naru_region_grow(b, 64 * PAGE));
        naru_region_close(b);
        o.bytes = 64 * PAGE + 1;
        expect_code(-EPROTO, naru_region_open(url, NARU_READ, &o, &b));
        o.bytes = 0;
        b = create(url, 1000, 64 * PAGE); /* as its maker would again */
        naru_region_close(b);
        naru_region_close(a);
        expect_ok(naru_remove(url));
    }
}

static void grows_and_tells(void *arg)
{
    naru_region *r = open_it(arg, RW);
    for (size_t n = 2; n <= 2000; n++) {
        expect_code(0, naru_region_grow(r, n * PAGE));
        ((uint32_t *)naru_region_data(r))[(n - 1) * PAGE / 4] = (uint32_t)n;
        atomic_store(words(r), (uint32_t)n);
    }
    naru_region_close(r);
}

/* A peer that only looks, while another grows it. */
static void grown_under_a_reader(const char *url)
{
    naru_region *r = create(url, PAGE, 2000 * PAGE);
    const uint32_t *at = naru_region_data(r);
    pid_t pid = start_child(grows_and_tells, (void *)(uintptr_t)url);
    uint32_t n = 0, seen = 0;
    while (n < 2000) {
        n = atomic_load(words(r));
        if (n < 2)
            continue;
        expect(naru_region_size(r) >= (size_t)n * PAGE);
        expect(at[(n - 1) * PAGE / 4] == n);
        seen++;
    }
    printf("# looked %u times\n", seen);
    end_child(pid);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

static void grows_under_a_reader(void)
{
    grown_under_a_reader(test_url(named[SHM]));
    grown_under_a_reader(test_url(named[MAP]));
}

/* ---- handing over ---- */

static void over_a_socket(void)
{
    naru_stream *a, *b;
    int fd, got;
    size_t n;
    char byte;
    struct naru_region_options o = {.size = sizeof o, .signature = 77};
    naru_region *r, *other;
    expect_ok(naru_stream_pair("unix:", NULL, &a, &b));
    expect_ok(naru_region_create("shm:", 3000, &o, &r));
    expect_ok(naru_region_share(r, RW, &fd));
    expect_code(1, naru_stream_send_fds(a, "r", 1, &fd, 1, PATIENCE));
    close(fd);
    expect_code(1, naru_stream_recv_fds(b, &byte, 1, &got, 1, &n, PATIENCE));
    o.signature = 78;
    expect_code(-EPROTO, naru_region_from_fd(got, RW, &o, &other));
    expect_says("0000004d");
    expect_says("0000004e");
    o.signature = 77;
    o.bytes = 3001;
    expect_code(-EPROTO, naru_region_from_fd(got, RW, &o, &other));
    expect_says("3001");
    o.bytes = 3000;
    expect_ok(naru_region_from_fd(got, RW, &o, &other));
    close(got);
    naru_stream_close(a);
    naru_stream_close(b);
    expect_ok(naru_region_write(r, 10, "over", 5));
    naru_region_close(r);
    expect(strcmp((char *)naru_region_data(other) + 10, "over") == 0);
    naru_region_close(other);
}

static int child_region(void)
{
    struct naru_region_options o = {.size = sizeof o, .signature = 5, .bytes = 4000};
    naru_region *r;
    if (naru_region_inherit("memory", RW, &o, &r) < 0 || getenv("NARU_FD_memory"))
        return 2;
    bool right = strcmp(naru_region_data(r), "from the parent") == 0;
    strcpy((char *)naru_region_data(r) + 100, "from the program");
    naru_region_close(r);
    return right ? 0 : 3;
}

static void to_a_program(void)
{
    struct naru_region_options o = {.size = sizeof o, .signature = 5};
    struct naru_exit how;
    naru_region *r, *named_one = create(test_url(named[0]), 100, 0);
    naru_child *child;
    expect_ok(naru_region_create(NULL, 4000, &o, &r));
    strcpy(naru_region_data(r), "from the parent");
    struct naru_spawn_end ends[] = {{"memory", r, -1}};
    struct naru_spawn_options spawn = {sizeof spawn, .ends = ends, .n_ends = 1};
    for (int i = 0; i < 2; i++) { /* the parent keeps it, and can hand it on again */
        expect_ok(naru_spawn((char *[]){(char *)(uintptr_t)self, "region", NULL}, &spawn, &child));
        expect_ok(naru_child_wait(child, PATIENCE, &how));
        naru_child_close(child);
        expect_code(0, how.code);
        expect(strcmp((char *)naru_region_data(r) + 100, "from the program") == 0);
    }
    expect_code(-ENOENT, naru_region_inherit("memory", RW, NULL, &r));
    ends[0].handle = named_one;
    expect_code(-EINVAL,
                naru_spawn((char *[]){(char *)(uintptr_t)self, "region", NULL}, &spawn, &child));
    expect_says("by name");
    naru_region_close(r);
    naru_region_close(named_one);
    expect_ok(naru_remove(test_url(named[0])));
}

static void across_a_fork(void)
{
    naru_region *r = create(NULL, PAGE, 4 * PAGE), *n = create(test_url(named[0]), PAGE, 0);
    char *p = naru_region_data(r);
    pid_t pid = fork();
    if (pid == 0) {
        char byte = 'c';
        expect_code(-ECHILD, naru_region_write(r, 0, &byte, 1));
        expect_code(-ECHILD, naru_region_grow(r, 2 * PAGE));
        expect(naru_region_data(r) == NULL && naru_region_size(r) == 0);
        p[0] = 'c'; /* the memory itself is shared */
        expect_ok(naru_adopt(r));
        expect(naru_region_data(r) == p);
        expect_ok(naru_region_write(r, 1, &byte, 1));
        expect_ok(naru_region_grow(r, 2 * PAGE));
        expect_code(-EOPNOTSUPP, naru_adopt(n));
        expect_code(-ECHILD, naru_region_write(n, 0, &byte, 1));
        naru_region_close(n); /* its copy alone */
        naru_region_close(r);
        _exit(0);
    }
    end_child(pid);
    expect(p[0] == 'c' && p[1] == 'c' && naru_region_size(r) == 2 * PAGE);
    expect_ok(naru_region_write(n, 0, "p", 1));
    naru_region_close(n);
    naru_region_close(r);
    expect_ok(naru_remove(test_url(named[0])));
}

/* ---- for reading alone ---- */

static void cannot_write(int fd)
{
    char link[40];
    expect(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    void *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    expect(p != MAP_FAILED && mprotect(p, PAGE, PROT_READ | PROT_WRITE) < 0);
    munmap(p, PAGE);
    expect(pwrite(fd, "x", 1, 0) < 0 && ftruncate(fd, 0) < 0 && ftruncate(fd, 1 << 20) < 0);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int again = open(link, O_RDWR | O_CLOEXEC);
    if (again < 0)
        return;
    expect(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED);
    p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, again, 0);
    expect(p == MAP_FAILED || mprotect(p, PAGE, PROT_READ | PROT_WRITE) < 0);
    expect(pwrite(again, "x", 1, 0) < 0 && ftruncate(again, 0) < 0);
    expect(fallocate(again, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) < 0);
    close(again);
}

static void for_reading_alone(void)
{
    naru_region *r = create(NULL, 2 * PAGE, 8 * PAGE), *reader, *other;
    int fd, again;
    expect_ok(naru_region_advise(r, PAGE, PAGE, NARU_ADVICE_FREE)); /* a hole, made before */
    expect_ok(naru_region_write(r, 0, "before", 7));
    expect_ok(naru_region_share(r, NARU_READ, &fd));
    cannot_write(fd);
    expect_code(-EPERM, naru_region_from_fd(fd, RW, NULL, &other));
    expect_says("for reading alone");
    expect_ok(naru_region_from_fd(fd, NARU_READ, NULL, &reader));
    expect(strcmp(naru_region_data(reader), "before") == 0);
    expect(mprotect(naru_region_data(reader), PAGE, PROT_READ | PROT_WRITE) < 0);
    expect_ok(naru_region_write(r, 0, "after!", 7)); /* who had it mapped goes on */
    ((char *)naru_region_data(r))[PAGE] = 'p';
    char text[7];
    expect_ok(naru_region_read(reader, 0, text, 7));
    expect(strcmp(text, "after!") == 0 && ((char *)naru_region_data(reader))[PAGE] == 'p');
    expect_ok(naru_region_grow(r, 5 * PAGE)); /* and grows it, with pages to write */
    expect_ok(naru_region_write(r, 5 * PAGE - 7, "beyond", 7));
    expect(naru_region_size(reader) == 5 * PAGE);
    expect(strcmp((char *)naru_region_data(reader) + 5 * PAGE - 7, "beyond") == 0);
    expect_code(-EPERM, naru_region_share(r, RW, &again));
    expect_says("F_SEAL_FUTURE_WRITE");
    expect_ok(naru_region_share(r, NARU_READ, &again)); /* once more, and on from the reader */
    close(again);
    expect_ok(naru_region_share(reader, NARU_READ, &again));
    cannot_write(again);
    close(again);
    expect_code(-EPERM, naru_region_share(reader, RW, &again));
    close(fd);
    naru_region_close(reader);
    naru_region_close(r);
    for (int i = 0; i < NAMED; i++) {
        const char *url = test_url(named[i]);
        r = create(url, PAGE, 0);
        expect_code(-EOPNOTSUPP, naru_region_share(r, NARU_READ, &fd));
        if (i != SYSV) {
            expect_ok(naru_region_share(r, RW, &fd));
            expect_code(-EPERM, naru_region_from_fd(fd, RW, NULL, &other));
            expect_says("F_SEAL_SHRINK");
            close(fd);
        } else {
            expect_code(-EOPNOTSUPP, naru_region_share(r, RW, &fd));
        }
        naru_region_close(r);
        expect_ok(naru_remove(url));
    }
}

/* ---- foreign programs ---- */

/* Runs shm-kernel, which lies beside this program; its output, or NULL if it failed. */
static const char *foreign(const char *arguments)
{
    static char line[300];
    char command[700];
    const char *slash = strrchr(self, '/');
    snprintf(command, sizeof command, "%.*s/shm-kernel %s", (int)(slash - self), self, arguments);
    FILE *f = popen(command, "re");
    expect(f);
    line[0] = '\0';
    if (!fgets(line, sizeof line, f))
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return pclose(f) == 0 ? line : NULL;
}

static const char *foreign_do(const char *form, const char *verb, const char *name,
                              const char *rest)
{
    char arguments[400];
    snprintf(arguments, sizeof arguments, "%s %s '%s' %s", form, verb, name, rest);
    const char *said = foreign(arguments);
    if (!said)
        test_failed(__FILE__, __LINE__, "shm-kernel %s failed", arguments);
    return said;
}

static void with_foreign_programs(void)
{
    for (int i = POSIX; i <= SYSV; i++) {
        const char *url = test_url(named[i]), *name = strchr(url, '/');
        const char *form = i == 1 ? "posix" : "sysv";
        naru_region *r = create(url, 5000, 0);
        strcpy(naru_region_data(r), "by naru");
        expect(strcmp(foreign_do(form, "read", name, ""), "5000 by naru") == 0);
        foreign_do(form, "write", name, "changed");
        expect(strcmp(naru_region_data(r), "changed") == 0);
        foreign_do(form, "remove", name, "");
        expect(strcmp(naru_region_data(r), "changed") == 0);
        expect_code(-ENOENT, naru_remove(url));
        naru_region_close(r);

        foreign_do(form, "make", name, "7000 foreign");
        r = open_it(url, RW);
        expect(naru_region_size(r) == 7000);
        expect(strcmp(naru_region_data(r), "foreign") == 0);
        expect_ok(naru_region_write(r, 0, "naru's", 7));
        expect(strcmp(foreign_do(form, "read", name, ""), "7000 naru's") == 0);
        naru_region_close(r);
        r = create(url, 7000, 0);
        naru_region_close(r);
        expect_ok(naru_remove(url));
        char arguments[300];
        snprintf(arguments, sizeof arguments, "%s read '%s' 2>&1", form, name);
        expect(foreign(arguments) == NULL);
    }
}

/* What another program may do to a file, and copying survives. */
static void cut_by_another(void)
{
    static char buf[5 * PAGE];
    const char *url = test_url(named[1]), *name = strchr(url, '/');
    naru_region *r = create(url, 5 * PAGE, 0);
    expect_ok(naru_region_write(r, 4 * PAGE, "there", 6));
    foreign_do("posix", "cut", name, "4096");
    expect_code(-EINVAL, naru_region_read(r, 4 * PAGE, buf, 6));
    expect_code(-EINVAL, naru_region_write(r, 4 * PAGE, buf, 6));
    expect_says("it has 4096");
    expect(naru_region_size(r) == PAGE);
    expect_ok(naru_region_read(r, 0, buf, PAGE));
    struct stat st;
    char path[300];
    snprintf(path, sizeof path, "/dev/shm%s", name);
    expect(stat(path, &st) == 0 && st.st_size == PAGE); /* no write has made it longer */
    foreign_do("posix", "cut", name, "0");
    naru_region *other;
    expect_code(-EPROTO, naru_region_open(url, RW, NULL, &other));
    expect_says("ftruncate");
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

static void cuts(void *arg)
{
    int fd = shm_open(arg, O_RDWR, 0);
    expect(fd >= 0);
    for (int i = 0;; i++) /* until it is killed */
        expect(ftruncate(fd, i % 2 ? 0 : 8 * PAGE) == 0);
}

static void cut_all_the_time(void)
{
    static char buf[8 * PAGE];
    const char *url = test_url(named[1]);
    naru_region *r = create(url, 8 * PAGE, 0);
    pid_t pid = start_child(cuts, strchr(url, '/'));
    int whole = 0, refusals = 0, turns = 0, before = 0; /* turns: both run side by side */
    for (int i = 0; i < 20000 || (turns < 400 && waitpid(pid, NULL, WNOHANG) == 0); i++) {
        int code = i % 2 ? naru_region_read(r, 0, buf, sizeof buf)
                         : naru_region_write(r, 7 * PAGE, buf, PAGE);
        expect(code == 0 || code == -EPROTO || code == -EINVAL);
        *(code == 0 ? &whole : &refusals) += 1;
        turns += (code == 0) != before;
        before = code == 0;
    }
    printf("# %d copies, %d refusals, %d turns\n", whole, refusals, turns);
    expect_ok(kill(pid, SIGKILL));
    expect(waitpid(pid, NULL, 0) == pid);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

/* ---- pages ---- */

/* A field of this process's mapping at p, in /proc/self/smaps, in KiB; -1: there is none. */
static long mapped(const void *p, const char *field)
{
    char line[300];
    unsigned long from, to;
    bool here = false;
    long value = -1;
    FILE *f = fopen("/proc/self/smaps", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = from <= (uintptr_t)p && (uintptr_t)p < to;
        else if (here && strncmp(line, field, strlen(field)) == 0)
            value = atol(line + strlen(field));
    }
    fclose(f);
    return value;
}

static void locked_and_prefaulted(void)
{
    enum { SIZE = 1 << 20 };
    for (int i = -1; i < NAMED; i++) {
        const char *url = i < 0 ? NULL : test_url(named[i]);
        struct naru_region_options o = {.size = sizeof o, .reserve = i == SYSV ? 0 : 2 * SIZE};
        naru_region *r;
        o.flags = NARU_PREFAULT;
        expect_ok(naru_region_create(url, SIZE, &o, &r));
        expect_code(SIZE >> 10, mapped(naru_region_data(r), "Rss:"));
        expect_code(0, mapped(naru_region_data(r), "Locked:"));
        if (o.reserve) {
            expect_ok(naru_region_grow(r, SIZE + 8 * PAGE));
            expect_code((SIZE >> 10) + 32, mapped(naru_region_data(r), "Rss:"));
        }
        naru_region_close(r);
        if (url)
            expect_ok(naru_remove(url));
        o.flags = NARU_LOCKED;
        expect_ok(naru_region_create(url, SIZE, &o, &r));
        expect_code(SANITIZED ? 0 : SIZE >> 10, mapped(naru_region_data(r), "Locked:"));
        naru_region_close(r);
        if (url)
            expect_ok(naru_remove(url));
    }
}

static void huge(void)
{
    enum { SIZE = 9 << 20, WHOLE = 8 << 10 };
    struct naru_region_options o = {.size = sizeof o, .flags = NARU_HUGE};
    naru_region *r = NULL;
    int code = naru_region_create(NULL, SIZE, &o, &r);
    if (code == -EOPNOTSUPP || code == -ENOMEM) {
        expect(strstr(naru_why(), "huge page"));
        test_skip(naru_why());
    }
    expect_code(0, code);
    naru_region_close(r);
    char own[40];
    snprintf(own, sizeof own, "shm:test-region-%d", (int)getpid()); /* that is a tmpfs for sure */
    for (int i = -1; i < MAP; i++) {
        const char *url = i < 0 ? NULL : i == 0 ? own : test_url(named[i]);
        code = naru_region_create(url, SIZE, &o, &r);
        if (code == -ENOMEM && strstr(naru_why(), "lie together"))
            test_skip(naru_why()); /* other suites may have them all */
        expect_code(0, code);
        expect((uintptr_t)naru_region_data(r) % (2 << 20) == 0);
        memset(naru_region_data(r), 1, SIZE);
        expect_code(WHOLE, mapped(naru_region_data(r), "ShmemPmdMapped:"));
        naru_region_close(r);
        if (url)
            expect_ok(naru_remove(url));
        expect_code(-EINVAL, naru_region_create(url, 1 << 20, &o, &r));
        expect_says("huge page");
        if (url)
            expect_code(-ENOENT, naru_remove(url));
    }
}

/* ---- life of a name ---- */

static void removed_under_its_users(void)
{
    for (int i = 0; i < NAMED; i++) {
        const char *url = test_url(named[i]);
        naru_region *a = create(url, 1000, 0), *b = open_it(url, RW);
        expect_ok(naru_region_write(a, 0, "old", 4));
        expect_ok(naru_remove(url));
        expect(strcmp(naru_region_data(b), "old") == 0); /* who has it keeps it */
        expect_ok(naru_region_write(b, 0, "OLD", 4));
        expect(strcmp(naru_region_data(a), "OLD") == 0);
        naru_region *c = create(url, 2000, 0); /* another one */
        expect(zeroes(naru_region_data(c), 2000));
        naru_region_close(a);
        naru_region_close(b);
        naru_region_close(c);
        expect_ok(naru_remove(url));
    }
    expect(entries(test_directory) == 0);
}

static void sysv_is_gone_with_the_last(void)
{
    const char *url = test_url(named[2]);
    naru_region *r = create(url, 1000, 0);
    struct shmid_ds ds;
    int id = shmget(ftok(test_directory, 7), 0, 0);
    expect(id >= 0);
    expect_ok(naru_remove(url));
    expect(shmctl(id, IPC_STAT, &ds) == 0 && ds.shm_nattch == 1);
    naru_region_close(r);
    expect(shmctl(id, IPC_STAT, &ds) < 0);
}

/* ---- looking ---- */

static const struct naru_view_part *part_of(const struct naru_view *v, pid_t pid)
{
    for (size_t i = 0; i < v->n_parts; i++)
        if (v->parts[i]->pid == pid)
            return v->parts[i];
    return NULL;
}

static bool says(const struct naru_view *v, const char *name, const char *text, uint64_t number)
{
    for (size_t i = 0; i < v->n_facts; i++)
        if (strcmp(v->facts[i].name, name) == 0)
            return text ? strcmp(v->facts[i].text, text) == 0 : v->facts[i].number == number;
    return false;
}

static void stays_until_told(void *r)
{
    atomic_store(words(r), 1);
    while (atomic_load(words(r)) != 2)
        usleep(100);
}

static void opens_and_stays(void *url)
{
    naru_region *r = open_it(url, RW);
    stays_until_told(r);
    naru_region_close(r);
}

static void adopts_and_stays(void *r)
{
    expect_ok(naru_adopt(r));
    stays_until_told(r);
    naru_region_close(r);
}

static void looked_at(void)
{
    for (int i = -1; i < NAMED; i++) {
        const char *url = i < 0 ? "shm:" : test_url(named[i]);
        struct naru_region_options o = {.size = sizeof o};
        naru_region *r;
        naru_snapshot *s;
        o.signature = i < 1 ? 0x1234 : 0;
        o.reserve = i < 1 ? 10 * PAGE : 0;
        expect_ok(naru_region_create(url, 5000, &o, &r));
        pid_t pid = i < 0 ? start_child(adopts_and_stays, r)
                          : start_child(opens_and_stays, (void *)(uintptr_t)url);
        while (atomic_load(words(r)) != 1)
            usleep(100);
        expect_ok(naru_snapshot_take(url, &s));
        const struct naru_view *v;
        size_t k = 0; /* other processes may have some without a name, too */
        while ((v = naru_snapshot_view(s, k)) &&
               (strcmp(v->noun, "region") != 0 || !part_of(v, getpid())))
            k++;
        expect(v && part_of(v, pid));
        expect(v->n_parts == 2 && v->bytes == 5000 && v->owner == geteuid());
        const struct naru_view_part *p = part_of(v, pid);
        expect(strcmp(p->facts[0].name, "access") == 0 && strcmp(p->facts[0].text, "write") == 0);
        expect(i > 0 || (says(v, "signature", "00001234", 0) && says(v, "reserve", NULL, 40960)));
        expect(i < 0 || says(v, "mode", "0600", 0));
        naru_snapshot_free(s);
        atomic_store(words(r), 2);
        end_child(pid);
        naru_region_close(r);
        if (i < 0)
            continue;
        expect_ok(naru_snapshot_take(url, &s)); /* it is there, and nobody has it */
        v = naru_snapshot_view(s, 0);
        expect(v && v->n_parts == 0);
        naru_snapshot_free(s);
        expect_ok(naru_remove(url));
        expect_ok(naru_snapshot_take(url, &s));
        expect(!naru_snapshot_view(s, 0));
        naru_snapshot_free(s);
    }
}

/* ---- many at once ---- */

struct shared {
    _Atomic int made, opened, removed, wrong;
};

static const char *race_url;

static void makes(void *arg)
{
    struct shared *s = arg;
    struct naru_region_options o = {.size = sizeof o, .flags = NARU_EXCLUSIVE};
    naru_region *r;
    int code = naru_region_create(race_url, 1000, &o, &r);
    if (code == 0) {
        atomic_fetch_add(&s->made, 1);
        naru_region_close(r);
    } else if (code != -EEXIST) {
        printf("# %d %s\n", code, naru_why());
        atomic_fetch_add(&s->wrong, 1);
    }
}

static struct shared *share_counts(void)
{
    void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(p != MAP_FAILED);
    return p;
}

static void exactly_one(void)
{
    struct shared *s = share_counts();
    for (int round = 0; round < 30; round++) {
        pid_t child[4];
        race_url = test_url(named[round % NAMED]);
        atomic_store(&s->made, 0);
        for (int i = 0; i < 4; i++)
            child[i] = start_child(makes, s);
        for (int i = 0; i < 4; i++)
            end_child(child[i]);
        expect(s->made == 1 && s->wrong == 0);
        expect_ok(naru_remove(race_url));
    }
    munmap(s, PAGE);
}

/* What is found is whole: of its size, and zeroes or what somebody has written. */
static void makes_and_removes(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < 200; i++) {
        naru_region *r;
        int code = naru_region_create(race_url, 3000, NULL, &r);
        if (code == 0) {
            const unsigned char *p = naru_region_data(r);
            if (naru_region_size(r) != 3000 || (p[2999] != 0 && p[2999] != 9))
                atomic_fetch_add(&s->wrong, 1);
            if (naru_region_write(r, 2999, "\x09", 1) < 0)
                atomic_fetch_add(&s->wrong, 1);
            naru_region_close(r);
            atomic_fetch_add(&s->opened, 1);
        } else {
            printf("# create: %d %s\n", code, naru_why());
            atomic_fetch_add(&s->wrong, 1);
        }
        if (i % 3 == 0) {
            code = naru_remove(race_url);
            if (code == 0)
                atomic_fetch_add(&s->removed, 1);
            else if (code != -ENOENT)
                atomic_fetch_add(&s->wrong, 1);
        }
    }
}

static void made_and_removed_at_once(void)
{
    struct shared *s = share_counts();
    for (int k = 0; k < NAMED; k++) {
        pid_t child[4];
        race_url = test_url(named[k]);
        for (int i = 0; i < 4; i++)
            child[i] = start_child(makes_and_removes, s);
        for (int i = 0; i < 4; i++)
            end_child(child[i]);
        (void)naru_remove(race_url);
    }
    printf("# %d opened, %d removed\n", s->opened, s->removed);
    expect(s->wrong == 0 && s->opened == NAMED * 800 && s->removed > 100);
    expect(entries(test_directory) == 0);
    munmap(s, PAGE);
}

static void makes_for_ever(void *unused)
{
    struct naru_region_options o = {.size = sizeof o, .reserve = 1 << 20};
    (void)unused;
    for (;;) {
        naru_region *r;
        o.reserve = strncmp(race_url, "sysv", 4) == 0 ? 0 : 1 << 20;
        if (naru_region_create(race_url, 1 << 19, &o, &r) < 0)
            _exit(1);
        (void)naru_region_grow(r, 1 << 20);
        naru_region_close(r);
        if (naru_remove(race_url) < 0)
            _exit(1);
    }
}

/* Killed anywhere in making, growing and removing: what has the name is whole, and the next who
 * comes by finishes the rest. */
static void killed_at_it(void)
{
    int there = 0;
    unsigned seed = 1;
    for (int round = 0; round < 90; round++) {
        race_url = test_url(named[round % NAMED]);
        pid_t pid = fork();
        if (pid == 0)
            makes_for_ever(NULL);
        usleep(300 + (useconds_t)(rand_r(&seed) % 4000));
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        expect(WIFSIGNALED(status));
        naru_region *r;
        int code = naru_region_open(race_url, RW, NULL, &r);
        expect(code == 0 || code == -ENOENT || code == -EIDRM);
        if (code == 0) {
            size_t size = naru_region_size(r);
            expect(size == 1 << 19 || size == 1 << 20);
            memset(naru_region_data(r), 1, size);
            naru_region_close(r);
            there++;
        }
        r = create(race_url, 1 << 19, round % NAMED == 2 ? 0 : 1 << 20);
        naru_region_close(r);
        expect_ok(naru_remove(race_url));
        expect(entries(test_directory) == 0);
    }
    printf("# %d of 90 left a whole one\n", there);
}

static void a_thousand(void)
{
    enum { N = 1000, NAMES = 100 };
    static naru_region *r[N];
    struct rlimit limit = {4096, 4096};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < N; i++) {
        r[i] = create(NULL, 5000, 0);
        ((int *)naru_region_data(r[i]))[1000] = i;
    }
    for (int i = 0; i < N; i++) {
        int got;
        expect_ok(naru_region_read(r[i], 4000, &got, sizeof got));
        expect(got == i);
        naru_region_close(r[i]);
    }
    for (int i = 0; i < NAMES; i++) {
        char form[40];
        snprintf(form, sizeof form, i % 2 ? "posix-shm:/%%s-%d" : "shm:%%s/%d", i);
        r[i] = create(test_url(form), 5000, 0);
        r[NAMES + i] = open_it(test_url(form), RW);
    }
    for (int i = 0; i < NAMES; i++) {
        expect_ok(naru_remove(naru_url(r[i])));
        naru_region_close(r[i]);
        naru_region_close(r[NAMES + i]);
    }
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"seen by another process", seen_by_another},
        {"bounds, and reading alone", bounds},
        {"what memory cannot do", what_memory_cannot},
        {"arguments", arguments},
        {"size, signature, mode and flags disagree", disagreeing},
        {"one name, one object", one_name_one_object},
        {"grows, and everybody sees it", grows},
        {"grows under a reader", grows_under_a_reader},
        {"handed over a unix socket", over_a_socket},
        {"handed to a program", to_a_program},
        {"across a fork", across_a_fork},
        {"shared for reading alone", for_reading_alone},
        {"with foreign programs", with_foreign_programs},
        {"cut by another program", cut_by_another},
        {"cut all the time", cut_all_the_time},
        {"locked and mapped in advance", locked_and_prefaulted},
        {"huge pages", huge},
        {"looked at", looked_at},
        {"removed under its users", removed_under_its_users},
        {"a segment goes with its last user", sysv_is_gone_with_the_last},
        {"made by many at once", exactly_one},
        {"made and removed at once", made_and_removed_at_once},
        {"killed at making, growing, removing", killed_at_it},
        {"a thousand", a_thousand},
    };
    self = argv[0];
    if (argc == 2 && strcmp(argv[1], "region") == 0)
        return child_region();
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
