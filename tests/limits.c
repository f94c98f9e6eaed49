/* SPDX-License-Identifier: MIT */
/* limits.c - the kernel's limits on pipes, FIFOs and programs, each really met: the sentence has
 * its name, its value, what is used, and the command that raises it. And naru's own: 1 GiB. */
#include "harness.h"

#include <naru/naru.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { USER = 64123, MANY = 1000 }; /* a user whom nothing else belongs to */

static void become_user(void)
{
    if (geteuid() != 0)
        test_skip("limits of a user are met as another user, which takes root");
    expect(setgid(USER) == 0 && setuid(USER) == 0);
}

static void limit_files(rlim_t most)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = most;
    expect(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static long number_in(const char *path)
{
    long n = -1;
    FILE *f = fopen(path, "r");
    expect(f && fscanf(f, "%ld", &n) == 1);
    fclose(f);
    return n;
}

static struct naru_stats stats_of(void *handle)
{
    struct naru_stats stats = {.size = sizeof stats};
    expect_ok(naru_stats(handle, &stats));
    return stats;
}

static void expect_note(const struct naru_stats *stats, const char *text)
{
    if (!strstr(stats->note, text))
        test_failed(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", stats->note, text);
}

static void expect_out_of_files(void)
{
    expect_says("RLIMIT_NOFILE is 40");
    expect_says("40 in use");
    expect_says("ulimit -n");
}

static void no_descriptors(void)
{
    static naru_stream *ends[2 * MANY];
    naru_stream *more;
    naru_channel *c, *d;
    naru_child *child;
    char byte;
    int n = 0, r;
    limit_files(40);
    while ((r = naru_stream_pair("pipe:", NULL, &ends[n], &ends[n + 1])) == 0)
        n += 2;
    int spare[2], spares = 0;
    while (spares < 2 && (spare[spares] = dup(0)) >= 0)
        spares++;
    expect_code(-EMFILE, r);
    expect(n > 10);
    expect_code(-EMFILE, naru_stream_pair("pipe:", NULL, &ends[n], &ends[n + 1]));
    expect_out_of_files();
    expect_code(-EMFILE, naru_channel_pair("pipe:", NULL, &c, &d));
    expect_out_of_files();
    expect_code(-EMFILE, naru_stream_open(test_url("fifo:%s/f"), NARU_READ, NULL, 0, &more));
    expect_out_of_files();
    expect_code(-EMFILE, naru_queue_open(test_url("fifo:%s/f"), NARU_RECV, NULL, &c));
    expect_out_of_files();
    expect_code(-EMFILE, naru_fd(ends[0]));
    expect_out_of_files();
    expect_code(-EMFILE, naru_stream_read(ends[0], &byte, 1, PATIENCE)); /* before it sleeps */
    expect_out_of_files();
    expect_ok(naru_stream_write(ends[1], "x", 1, PATIENCE)); /* what needs none goes on */
    expect_code(1, naru_stream_read(ends[0], &byte, 1, PATIENCE));
    r = naru_spawn((char *[]){"true", NULL}, NULL, &child);
    if (r < 0) {
        expect_code(-EMFILE, r);
        expect_out_of_files();
    }
    for (int i = 0; i < n; i++)
        naru_stream_close(ends[i]);
    if (r == 0) { /* waiting takes an eventfd */
        expect_ok(naru_child_wait(child, PATIENCE, NULL));
        naru_child_close(child);
    }
    while (spares > 0)
        close(spare[--spares]);
}

static void larger_than_allowed(void)
{
    naru_stream *a, *b;
    struct naru_stream_options o = {.size = sizeof o};
    long most = number_in("/proc/sys/fs/pipe-max-size");
    char value[64];
    become_user();
    o.capacity = 4 * (size_t)most;
    expect_ok(naru_stream_pair("pipe:", &o, &a, &b));
    struct naru_stats stats = stats_of(b);
    expect(stats.capacity_asked == o.capacity);
    expect(stats.capacity == (uint64_t)most); /* all that may be */
    snprintf(value, sizeof value, "fs.pipe-max-size is %ld", most);
    expect_note(&stats, value);
    snprintf(value, sizeof value, "sysctl -w fs.pipe-max-size=%zu", o.capacity);
    expect_note(&stats, value);
    naru_stream_close(a);
    naru_stream_close(b);
}

static void pages_used_up(void)
{
    static naru_stream *ends[2 * MANY];
    struct naru_stream_options o = {.size = sizeof o, .direction = NARU_ONE_WAY};
    long soft = number_in("/proc/sys/fs/pipe-user-pages-soft");
    long most = number_in("/proc/sys/fs/pipe-max-size");
    struct naru_stats stats = {.size = sizeof stats};
    char value[64];
    int n = 0;
    if (soft <= 0 || soft / (most / 4096) > MANY / 2)
        test_skip("fs.pipe-user-pages-soft is off, or more than this test can use up");
    become_user();
    o.capacity = (size_t)most;
    snprintf(value, sizeof value, "fs.pipe-user-pages-soft, %ld pages", soft);
    for (; n < 2 * MANY && !stats.note[0]; n += 2) {
        expect_ok(naru_stream_pair("pipe:", &o, &ends[n], &ends[n + 1]));
        stats = stats_of(ends[n]);
    }
    expect(stats.capacity < o.capacity);
    expect_note(&stats, value);
    expect_note(&stats, "sysctl -w fs.pipe-user-pages-soft=");
    o.capacity = 0; /* also one that asks for nothing gets less, and is told */
    expect_ok(naru_stream_pair("pipe:", &o, &ends[n], &ends[n + 1]));
    stats = stats_of(ends[n]);
    expect(stats.capacity < 65536);
    expect_note(&stats, value);
    for (int i = 0; i < n + 2; i++)
        naru_stream_close(ends[i]);
}

static void no_inotify(void)
{
    static int fds[20000];
    naru_stream *s;
    long most = number_in("/proc/sys/fs/inotify/max_user_instances");
    char value[64];
    int n = 0;
    if (most >= 19000)
        test_skip("fs.inotify.max_user_instances is more than this test can use up");
    limit_files(20000);
    if (geteuid() == 0)
        expect(chown(test_directory, USER, USER) == 0);
    become_user();
    expect_ok(naru_stream_open(test_url("fifo:%s/f"), NARU_WRITE, NULL, NARU_NOWAIT, &s));
    while ((fds[n] = inotify_init1(IN_CLOEXEC)) >= 0)
        n++;
    expect_code(-EMFILE, naru_stream_write(s, "x", 1, PATIENCE));
    snprintf(value, sizeof value, "fs.inotify.max_user_instances is %ld", most);
    expect_says(value);
    expect_says("sysctl -w fs.inotify.max_user_instances=");
    for (int i = 0; i < n; i++)
        close(fds[i]);
    expect_code(-ETIMEDOUT, naru_stream_write(s, "x", 1, 20 * NARU_MS));
    naru_stream_close(s);
    expect_ok(naru_remove(test_url("fifo:%s/f")));
}

static void no_processes(void)
{
    naru_child *child;
    struct rlimit one = {1, 1};
    become_user();
    expect(setrlimit(RLIMIT_NPROC, &one) == 0);
    expect_code(-EAGAIN, naru_spawn((char *[]){"true", NULL}, NULL, &child));
    expect_says("RLIMIT_NPROC is 1");
    expect_says("1 of uid 64123 seen");
    expect_says("ulimit -u");
}

static naru_channel *out, *in;

/* Mostly zeros that nobody has touched, so that only the receiver's copy takes memory. */
static void send_largest(void *fifo)
{
    char *m =
        mmap(NULL, NARU_MESSAGE_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(m != MAP_FAILED);
    if (fifo)
        expect_ok(naru_queue_open(fifo, NARU_SEND, NULL, &out));
    else
        expect_ok(naru_adopt(out));
    m[0] = 1;
    m[NARU_MESSAGE_MAX / 2 + 4097] = 2;
    m[NARU_MESSAGE_MAX - 1] = 3;
    expect_ok(naru_channel_send(out, 5, m, NARU_MESSAGE_MAX, NARU_FOREVER));
    expect_ok(naru_channel_flush(out, NARU_FOREVER));
}

static void largest(const char *fifo)
{
    struct naru_message m;
    if (sysconf(_SC_AVPHYS_PAGES) / 256 < 3 * 1024)
        test_skip("less than 3 GiB of memory are free");
    if (fifo)
        expect_ok(naru_queue_open(fifo, NARU_RECV, NULL, &in));
    else
        expect_ok(naru_channel_pair("pipe:", NULL, &out, &in));
    pid_t child = start_child(send_largest, (void *)(uintptr_t)fifo);
    out = fifo ? NULL : naru_channel_close(out);
    expect_ok(naru_channel_take(in, 5, NARU_FOREVER, &m));
    const char *p = m.data;
    expect(m.size == NARU_MESSAGE_MAX);
    expect(p[0] == 1 && p[m.size / 2 + 4097] == 2 && p[m.size - 1] == 3);
    expect(p[1] == 0 && memcmp(p + 1, p + 2, m.size / 2 + 4094) == 0); /* all zeros between */
    expect_ok(naru_channel_release(in, &m, 1));
    end_child(child);
    naru_channel_close(in);
    if (fifo)
        expect_ok(naru_remove(fifo));
}

static void largest_on_pipe(void)
{
    largest(NULL);
}

static void largest_on_fifo(void)
{
    largest(test_url("fifo:%s/f"));
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"RLIMIT_NOFILE", no_descriptors},
        {"fs.pipe-max-size", larger_than_allowed},
        {"fs.pipe-user-pages-soft", pages_used_up},
        {"fs.inotify.max_user_instances", no_inotify},
        {"RLIMIT_NPROC", no_processes},
        {"the largest message, 1 GiB, on pipe:", largest_on_pipe},
        {"the largest message, 1 GiB, on fifo:", largest_on_fifo},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
