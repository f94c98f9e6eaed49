/* SPDX-License-Identifier: MIT */
/* harness.c - see harness.h. */
#include "harness.h"

#include <dirent.h>
#include <mqueue.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

char test_directory[128];

static char *reason; /* shared with the case: why it failed */
static int results, failures;

int64_t test_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void test_failed(const char *file, int line, const char *format, ...)
{
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (reason && !reason[0])
        snprintf(reason, 800, "%s:%d: %s", file, line, text);
    _exit(1);
}

int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

const char *test_url(const char *form)
{
    static char urls[4][256];
    static int next;
    char *url = urls[next++ & 3];
    /* the names of POSIX IPC have no directory */
    const char *base = strncmp(form, "posix-", 6) == 0 ? strrchr(test_directory, '/') + 1 : NULL;
    snprintf(url, sizeof urls[0], form, base ? base : test_directory);
    return url;
}

pid_t start_child(void (*body)(void *), void *context)
{
    pid_t pid = fork();
    if (pid == 0) {
        body(context);
        exit(0);
    }
    expect(pid > 0);
    return pid;
}

void end_child(pid_t pid)
{
    int status = -1;
    expect(waitpid(pid, &status, 0) == pid);
    if (status != 0)
        test_failed("child", 0, "a child ended with status 0x%x", status);
}

static int empty_directory(void)
{
    int n = 0;
    DIR *d = opendir(test_directory);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char path[512];
        if (e->d_name[0] == '.' && (!e->d_name[1] || e->d_name[1] == '.'))
            continue;
        snprintf(path, sizeof path, "%s/%s", test_directory, e->d_name);
        unlink(path);
        n++;
    }
    if (d)
        closedir(d);
    rmdir(test_directory);
    return n;
}

/* Files in a directory whose names begin so. */
static int remove_files(const char *directory, const char *front)
{
    char path[600];
    int n = 0;
    DIR *d = opendir(directory);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
        n += strncmp(e->d_name, front, strlen(front)) == 0 && unlink(path) == 0;
    }
    if (d)
        closedir(d);
    return n;
}

/* Queues and memory of the kernel's under the names that a case may use: "posix-mq:/%s-a" to z,
 * "posix-shm:/%s-anything", "sysv-mq:%s#1" to 9, "sysv-shm:%s#1" to 9. */
static int remove_names(void)
{
    char name[300];
    int n = 0;
    for (char c = 'a'; c <= 'z'; c++) {
        snprintf(name, sizeof name, "%s-%c", strrchr(test_directory, '/'), c);
        n += mq_unlink(name) == 0;
    }
    for (int i = 1; i <= 9; i++) {
        int id = msgget(ftok(test_directory, i), 0);
        n += id >= 0 && msgctl(id, IPC_RMID, NULL) == 0;
        id = shmget(ftok(test_directory, i), 0, 0);
        n += id >= 0 && shmctl(id, IPC_RMID, NULL) == 0;
    }
    snprintf(name, sizeof name, "%s-", strrchr(test_directory, '/') + 1);
    return n + remove_files("/dev/shm", name);
}

static _Noreturn void in_child(void (*run)(void))
{
    setpgid(0, 0);
    int before = open_descriptors();
    run();
    int after = open_descriptors();
    if (before != after)
        test_failed("harness", 0, "%d descriptors before, %d after", before, after);
    fflush(stdout);
    exit(0); /* so that the leak checker looks */
}

#define SKIPPED "skipped: "

bool run_case(const char *name, void (*run)(void), int seconds, char *why, size_t size)
{
    const char *base = getenv("TMPDIR");
    snprintf(test_directory, sizeof test_directory, "%.90s/naru-test-XXXXXX", base ? base : "/tmp");
    if (!reason)
        reason = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reason == MAP_FAILED || !mkdtemp(test_directory)) {
        snprintf(why, size, "no memory or no directory");
        return false;
    }
    memset(reason, 0, 4096);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        in_child(run);
    setpgid(pid, pid);
    int status = -1;
    bool ended = false;
    for (int64_t end = test_now() + seconds * INT64_C(1000000000); !ended && test_now() < end;) {
        ended = waitpid(pid, &status, WNOHANG) == pid;
        if (!ended)
            usleep(1000);
    }
    kill(-pid, SIGKILL); /* whatever of this case's group is left */
    if (!ended)
        waitpid(pid, NULL, 0);
    int names = remove_names();
    int left = empty_directory();
    if (!ended)
        snprintf(why, size, "no end after %d s", seconds);
    else if (reason[0])
        snprintf(why, size, "%s", reason);
    else if (status != 0)
        snprintf(why, size, "ended with status 0x%x", status);
    else if (left)
        snprintf(why, size, "%d files were left behind", left);
    else if (names)
        snprintf(why, size, "%d queues or segments were left behind", names);
    else
        return true;
    (void)name;
    return false;
}

_Noreturn void test_skip(const char *why)
{
    snprintf(reason, 4096, "%s%s", SKIPPED, why);
    _exit(0);
}

void tap_result(bool ok, const char *name, const char *why)
{
    if (strncmp(why, SKIPPED, strlen(SKIPPED)) == 0) {
        tap_skip(name, why + strlen(SKIPPED));
        return;
    }
    printf("%sok %d - %s\n", ok ? "" : "not ", ++results, name);
    if (!ok) {
        printf("# %s\n", why);
        failures++;
    }
}

void tap_skip(const char *name, const char *reason_text)
{
    printf("ok %d - %s # SKIP %s\n", ++results, name, reason_text);
}

int tap_end(void)
{
    printf("1..%d\n", results);
    return failures ? 1 : 0;
}

int case_seconds(int usual)
{
    const char *wish = getenv("CASE_SECONDS");
    return wish ? atoi(wish) : usual;
}

int run_cases(const struct test_case *cases, size_t n, int argc, char **argv)
{
    for (size_t i = 0; i < n; i++) {
        char why[900] = "";
        if (argc > 1 && !strstr(cases[i].name, argv[1]))
            continue;
        bool ok = run_case(cases[i].name, cases[i].run, case_seconds(60), why, sizeof why);
        tap_result(ok, cases[i].name, why);
    }
    return tap_end();
}
