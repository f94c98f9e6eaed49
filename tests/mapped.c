/* SPDX-License-Identifier: MIT */
/* mapped.c - map:/file: what a region is as a file on disk. Files of other programs, growing and
 * shrinking under others, strangers that truncate, what survives what, full and failing media. What
 * all regions have in common is in region.c. */
#include "regions.h"

#include "base/fault.h"
#include "shm/object.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/xattr.h>

static const char form[] = "map:%s/file";

static const char *path_of(const char *url)
{
    return strchr(url, '/');
}

static void cut(const char *url, off_t to)
{
    expect(truncate(path_of(url), to) == 0);
}

static void make_file(const char *path, const void *bytes, size_t n)
{
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    expect(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

/* ---- a file as any program has it ---- */

static void of_another_program(void)
{
    const char *url = test_url(form);
    char got[32] = "";
    make_file(path_of(url), "made by another", 16);
    naru_region *r = open_it(url, RW);
    expect(naru_region_size(r) == 16 && strcmp(naru_region_data(r), "made by another") == 0);
    memcpy(naru_region_data(r), "edit", 4);
    expect_ok(naru_region_write(r, 5, "in", 2));
    int fd = open(path_of(url), O_RDWR | O_CLOEXEC);
    expect(read(fd, got, sizeof got) == 16 && strcmp(got, "edit in another") == 0);
    expect(pwrite(fd, "another's", 10, 0) == 10);
    expect(strcmp(naru_region_data(r), "another's") == 0);
    close(fd);
    naru_region_close(r);
    struct stat st; /* and nothing else came to be */
    expect(stat(path_of(url), &st) == 0 && st.st_size == 16 && entries(test_directory) == 1);
    r = create(url, 16, 0); /* it agrees with what is there */
    expect(strcmp(naru_region_data(r), "another's") == 0);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

static void states_in_an_attribute(void)
{
    struct naru_region_options o = {.size = sizeof o, .signature = 0xabcd, .reserve = 9 * PAGE};
    const char *url = test_url(form);
    char text[64] = "";
    naru_region *r, *other;
    expect_ok(naru_region_create(url, 100, &o, &r));
    if (getxattr(path_of(url), "user.naru", text, sizeof text) < 0)
        test_failed(__FILE__, __LINE__, "no attribute (%s)", strerror(errno));
    expect(strcmp(text, "naru-region:1:0000abcd:0000000000009000") == 0);
    other = open_it(url, NARU_READ); /* grows with it, as its maker said */
    expect_ok(naru_region_grow(r, 8 * PAGE));
    expect(naru_region_size(other) == 8 * PAGE);
    naru_region_close(other);
    o.signature = 0xabce;
    expect_code(-EPROTO, naru_region_open(url, RW, &o, &other));
    expect_says("0000abcd");
    expect_says("0000abce");
    o.signature = 0xabcd;
    o.reserve = 20 * PAGE; /* each handle's own */
    expect_ok(naru_region_open(url, RW, &o, &other));
    expect_ok(naru_region_grow(other, 20 * PAGE));
    expect(naru_region_size(r) == 9 * PAGE);
    naru_region_close(other);
    naru_region_close(r);
    static const char *const broken[] = {"", "naru-region:2:0:0", "x", "naru-region:1:0:0:"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        expect(setxattr(path_of(url), "user.naru", broken[i], strlen(broken[i]), 0) == 0);
        expect_code(-EPROTO, naru_region_open(url, RW, NULL, &r));
        expect_says("another version");
    }
    expect(removexattr(path_of(url), "user.naru") == 0); /* as a copy may lack it */
    expect_code(-EPROTO, naru_region_open(url, RW, &o, &r));
    expect_says("states none");
    expect_ok(naru_remove(url));
}

static void special_files(void)
{
    naru_region *r;
    char path[200];
    snprintf(path, sizeof path, "%s/fifo", test_directory);
    expect(mkfifo(path, 0600) == 0);
    expect_code(-EINVAL, naru_region_open(test_url("map:%s/fifo"), RW, NULL, &r));
    expect_says("a FIFO stands there");
    expect_code(-EINVAL, naru_region_create(test_url("map:%s/fifo"), 10, NULL, &r));
    expect_code(-EINVAL, naru_remove(test_url("map:%s/fifo")));
    expect(unlink(path) == 0);
    expect_code(-EISDIR, naru_region_open(test_url("map:%s"), RW, NULL, &r));
    expect_code(-EISDIR, naru_region_create(test_url("map:%s"), 10, NULL, &r));
    expect_says("a directory");
    expect_code(-EINVAL, naru_region_open("map:/dev/null", RW, NULL, &r));
    expect_says("a character device");
    expect_code(-EINVAL, naru_region_create("map:/dev/null", 10, NULL, &r));
    expect_code(-EINVAL, naru_remove("map:/dev/null"));
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%.90s/socket", test_directory);
    expect(bind(s, (struct sockaddr *)&a, sizeof a) == 0);
    expect_code(-EINVAL, naru_region_open(test_url("map:%s/socket"), RW, NULL, &r));
    expect_says("a socket");
    close(s);
    expect(unlink(a.sun_path) == 0);
    snprintf(path, sizeof path, "%s/link", test_directory);
    expect(symlink("nowhere", path) == 0);
    expect_code(-EINVAL, naru_region_create(test_url("map:%s/link"), 10, NULL, &r));
    expect_says("a symbolic link to nowhere");
    expect_code(-EINVAL, naru_region_open(test_url("map:%s/link"), RW, NULL, &r));
    expect(unlink(path) == 0 && symlink("file", path) == 0);
    make_file(path_of(test_url(form)), "linked", 7);
    r = open_it(test_url("map:%s/link"), RW); /* as any program follows one */
    expect(strcmp(naru_region_data(r), "linked") == 0);
    naru_region_close(r);
    expect(unlink(path) == 0);
    cut(test_url(form), 0);
    expect_code(-EPROTO, naru_region_open(test_url(form), RW, NULL, &r));
    expect_says("0 bytes");
    expect_ok(naru_remove(test_url(form)));
    expect_code(-ENOENT, naru_region_create(test_url("map:%s/none/x"), 10, NULL, &r));
}

static void named_file_systems(void)
{
    naru_region *r;
    int code = naru_region_open("map:/proc/version", NARU_READ, NULL, &r);
    expect(code == -EPROTO); /* it has no length */
    code = naru_region_open("map:/sys/kernel/mm/transparent_hugepage/enabled", NARU_READ, NULL, &r);
    if (code == -ENOENT)
        test_skip("no sysfs file of that name");
    expect_code(-EOPNOTSUPP, code);
    expect_says("sysfs, which has no mappings");
}

/* ---- growing and shrinking ---- */

static void foreign_growth(void)
{
    const char *url = test_url(form);
    make_file(path_of(url), "start", 6);
    struct naru_region_options o = {.size = sizeof o, .reserve = 64 * PAGE};
    naru_region *r, *fixed = open_it(url, NARU_READ);
    expect_ok(naru_region_open(url, RW, &o, &r));
    const char *at = naru_region_data(r);
    int fd = open(path_of(url), O_WRONLY | O_APPEND | O_CLOEXEC);
    static char page[PAGE];
    memset(page, 'f', PAGE);
    for (size_t n = 1; n <= 10; n++) {
        expect(write(fd, page, PAGE) == PAGE);
        expect(naru_region_size(r) == 6 + n * PAGE && at[5 + n * PAGE] == 'f');
        expect(naru_region_size(fixed) == 6);
    }
    close(fd);
    naru_region_close(fixed);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

static void has_it(void *arg)
{
    naru_region *r = open_it(arg, NARU_READ);
    raise(SIGSTOP);
    naru_region_close(r);
}

static void has_it_by_mmap(void *arg)
{
    int fd = open(path_of(arg), O_RDONLY | O_CLOEXEC);
    expect(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
    close(fd); /* the mapping alone */
    raise(SIGSTOP);
}

static void has_what_its_parent_had(void *unused)
{
    (void)unused;
    raise(SIGSTOP);
}

static void shrinks(void)
{
    const char *url = test_url(form);
    naru_region *r = create(url, 10 * PAGE, 20 * PAGE), *other;
    char *at = naru_region_data(r);
    memset(at, 'x', 10 * PAGE);
    expect_ok(naru_region_shrink(r, 5 * PAGE + 7));
    expect(naru_region_size(r) == 5 * PAGE + 7 && naru_region_data(r) == at && at[5 * PAGE] == 'x');
    expect_ok(naru_region_grow(r, 8 * PAGE));
    expect(zeroes(at + 5 * PAGE + 7, 3 * PAGE - 7)); /* what was cut off does not come back */
    expect_code(-EINVAL, naru_region_shrink(r, 0));
    expect_code(-EINVAL, naru_region_shrink(r, 9 * PAGE));
    expect_ok(naru_region_shrink(r, 8 * PAGE));
    static void (*const holders[])(void *) = {has_it, has_it_by_mmap, has_what_its_parent_had};
    for (int i = 0; i < 3; i++) {
        int status;
        pid_t pid = start_child(holders[i], (void *)(uintptr_t)url);
        expect(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
        expect_code(-EBUSY, naru_region_shrink(r, PAGE));
        char who[40];
        snprintf(who, sizeof who, "process %d (", (int)pid);
        expect_says(who);
        expect(naru_region_size(r) == 8 * PAGE && at[0] == 'x');
        kill(pid, SIGCONT);
        end_child(pid);
    }
    other = open_it(url, NARU_READ);
    expect_code(-EBUSY, naru_region_shrink(r, PAGE));
    expect_says("elsewhere");
    expect_code(-EPERM, naru_region_shrink(other, PAGE));
    naru_region_close(other);
    int fd;
    expect_ok(naru_region_share(r, RW, &fd));
    expect_code(-EBUSY, naru_region_shrink(r, PAGE));
    close(fd);
    expect_ok(naru_region_shrink(r, PAGE));
    expect(naru_region_size(r) == PAGE && at[PAGE - 1] == 'x');
    at[0] = 'y'; /* still the file */
    char got = 0;
    expect_ok(naru_region_read(r, 0, &got, 1));
    expect(got == 'y');
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

struct race {
    _Atomic int shrunk, refused, opened, wrong;
    _Atomic bool over;
};

static const char *race_url;

static void opens_and_touches(void *arg)
{
    struct race *s = arg;
    unsigned seed = (unsigned)getpid();
    while (!atomic_load(&s->over)) {
        naru_region *r;
        if (naru_region_open(race_url, NARU_READ, NULL, &r) < 0) {
            printf("# %s\n", naru_why());
            atomic_fetch_add(&s->wrong, 1);
            return;
        }
        size_t n = naru_region_size(r);
        if (n == 0 || ((volatile char *)naru_region_data(r))[n - 1] == 1)
            atomic_fetch_add(&s->wrong, 1);
        naru_region_close(r);
        atomic_fetch_add(&s->opened, 1);
        usleep((useconds_t)(rand_r(&seed) % 1000));
    }
}

/* Who opens it while it is cut waits, touches nothing that goes, and sends no signal. */
static void opened_while_cut(void)
{
    enum { ROUNDS = 300 };
    struct race *s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    race_url = test_url(form);
    naru_region_close(create(race_url, 16 * PAGE, 16 * PAGE));
    pid_t child[2];
    for (int i = 0; i < 2; i++) /* before this one has it, or they had it as well */
        child[i] = start_child(opens_and_touches, s);
    naru_region *r = open_it(race_url, RW);
    for (int i = 0; i < ROUNDS; i++) {
        int code = naru_region_shrink(r, PAGE + (size_t)i % PAGE);
        expect(code == 0 || code == -EBUSY);
        atomic_fetch_add(code == 0 ? &s->shrunk : &s->refused, 1);
        expect_ok(naru_region_grow(r, 16 * PAGE));
    }
    atomic_store(&s->over, true);
    for (int i = 0; i < 2; i++)
        end_child(child[i]);
    printf("# cut %d times, refused %d times, opened %d times\n", s->shrunk, s->refused, s->opened);
    fflush(stdout);
    expect(s->wrong == 0 && s->shrunk > 0 && s->refused > 0);
    naru_region_close(r);
    expect_ok(naru_remove(race_url));
    munmap(s, PAGE);
}

static const char break_time[] = "/proc/sys/fs/lease-break-time";

static bool write_break_time(const char *text)
{
    int fd = open(break_time, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return good;
}

static int stops_at_the_lease(const char *call)
{
    if (strcmp(call, "F_GETLEASE") == 0) {
        naru__fault = NULL;
        raise(SIGSTOP);
    }
    return 0;
}

static void stops_while_it_cuts(void *arg)
{
    naru_region *r = open_it(arg, RW);
    naru__fault = stops_at_the_lease;
    expect_code(-EBUSY, naru_region_shrink(r, PAGE));
    expect(naru__fault == NULL && naru_region_size(r) == 16 * PAGE);
    naru_region_close(r);
}

/* Who is stopped at shrinking loses its lease after some time; then it does not cut any more. */
static void stopped_while_cutting(void)
{
    const char *url = test_url(form);
    char usual[16] = "";
    int status;
    for (int i = 0; i < PATIENCE_MS / 50 && atoi(usual) <= 1;
         i++) { /* another run of this test lowers it */
        FILE *f = fopen(break_time, "r");
        expect(f && fgets(usual, sizeof usual, f));
        fclose(f);
        usleep(atoi(usual) <= 1 ? 50000 : 0);
    }
    naru_region_close(create(url, 16 * PAGE, 16 * PAGE));
    pid_t pid = start_child(stops_while_it_cuts, (void *)(uintptr_t)url);
    expect(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    bool lowered = write_break_time("1"); /* of the whole machine, for a second */
    int fd = lowered ? open(path_of(url), O_RDONLY | O_CLOEXEC) : -1;
    write_break_time(usual);
    if (!lowered) {
        kill(pid, SIGCONT);
        waitpid(pid, &status, 0);
        test_skip("/proc/sys/fs/lease-break-time may not be lowered here, and is long");
    }
    expect(fd >= 0);
    volatile char *at = mmap(NULL, 16 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    expect(at != MAP_FAILED);
    kill(pid, SIGCONT);
    end_child(pid);
    expect(at[15 * PAGE] == 0); /* or it is SIGBUS */
    munmap((void *)(uintptr_t)at, 16 * PAGE);
    close(fd);
    expect_ok(naru_remove(url));
}

static void grows_by_turns(void *arg)
{
    struct naru_region_options o = {.size = sizeof o, .reserve = 400 * PAGE};
    naru_region *r;
    (void)arg;
    expect_ok(naru_region_open(race_url, RW, &o, &r));
    for (size_t n = 2; n <= 400; n++) {
        expect_ok(naru_region_grow(r, n * PAGE));
        ((volatile char *)naru_region_data(r))[n * PAGE - 1] = 'g';
        expect(naru_region_size(r) >= n * PAGE);
    }
    naru_region_close(r);
}

static void grown_by_many(void)
{
    pid_t child[4];
    struct stat st;
    race_url = test_url(form);
    naru_region *r = create(race_url, PAGE, 0);
    for (int i = 0; i < 4; i++)
        child[i] = start_child(grows_by_turns, NULL);
    for (int i = 0; i < 4; i++)
        end_child(child[i]);
    expect(stat(path_of(race_url), &st) == 0 && st.st_size == 400 * PAGE);
    naru_region_close(r);
    expect_ok(naru_remove(race_url));
}

/* ---- strangers that truncate ---- */

static void cuts(void *arg)
{
    for (int i = 0; i < 20000; i++)
        cut(arg, i % 2 ? 1 : 8 * PAGE);
}

static void cut_under_copies(void)
{
    static char buf[8 * PAGE];
    const char *url = test_url(form);
    naru_region *r = create(url, 8 * PAGE, 0), *private;
    struct naru_region_options o = {.size = sizeof o, .flags = NARU_PRIVATE};
    expect_ok(naru_region_open(url, RW, &o, &private));
    pid_t pid = start_child(cuts, (void *)(uintptr_t)url);
    int whole = 0, refusals = 0;
    for (int i = 0; i < 30000; i++) {
        int code = i % 3 == 0   ? naru_region_read(r, 0, buf, sizeof buf)
                   : i % 3 == 1 ? naru_region_write(r, 7 * PAGE, buf, PAGE)
                                : naru_region_read(private, 0, buf, sizeof buf);
        expect(code == 0 || code == -EPROTO || code == -EINVAL);
        *(code == 0 ? &whole : &refusals) += 1;
    }
    printf("# %d copies, %d refusals\n", whole, refusals);
    end_child(pid);
    naru_region_close(r);
    naru_region_close(private);
    expect_ok(naru_remove(url));
}

static void touches_nothing_there(void *arg)
{
    naru_region *r = open_it(arg, RW);
    cut(arg, PAGE);
    ((volatile char *)naru_region_data(r))[2 * PAGE] = 1;
}

static void guarded_once(void *arg)
{
    expect_ok(naru_guard(true));
    expect_ok(naru_guard(true)); /* not counted */
    expect_ok(naru_guard(false));
    touches_nothing_there(arg);
}

static int how_it_ends(void (*body)(void *), const char *url)
{
    int status;
    pid_t pid = start_child(body, (void *)(uintptr_t)url);
    expect(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void guards(void)
{
    const char *url = test_url(form);
    naru_region *r = create(url, 16 * PAGE, 32 * PAGE), *other = create(url, 16 * PAGE, 16 * PAGE);
    volatile char *at = naru_region_data(r);
    char got;
    memset(naru_region_data(r), 'x', 16 * PAGE);
    expect_ok(naru_guard(true));
    cut(url, 4 * PAGE);
    expect(at[6 * PAGE + 9] == 0); /* goes on, with zeroes */
    at[9 * PAGE] = 'w';
    expect(at[9 * PAGE] == 'w' && at[3 * PAGE] == 'x');
    expect(naru_region_size(r) == 4 * PAGE);
    expect_code(-EPROTO, naru_region_read(r, 0, &got, 1));
    expect_says("shorter, to 16384 bytes, and byte 24576");
    expect_ok(naru_region_read(r, 0, &got, 1));     /* told once */
    expect_ok(naru_region_read(other, 0, &got, 1)); /* and it was not touched by this handle */
    cut(url, 16 * PAGE);
    at[9 * PAGE + 1] = 'n'; /* the file again, for everybody */
    expect(at[9 * PAGE] == 0 && ((char *)naru_region_data(other))[9 * PAGE + 1] == 'n');
    for (int i = 0; i < 6; i++) { /* each call tells it */
        int fd;
        cut(url, PAGE);
        at[8 * PAGE] = 1;
        expect_code(-EPROTO, i == 0   ? naru_region_write(r, 0, "x", 1)
                             : i == 1 ? naru_region_grow(r, 2 * PAGE)
                             : i == 2 ? naru_region_shrink(r, 1)
                             : i == 3 ? naru_region_sync(r, 0, PAGE, NARU_SYNC_DATA)
                             : i == 4 ? naru_region_advise(r, 0, PAGE, NARU_ADVICE_NORMAL)
                                      : naru_region_share(r, RW, &fd));
        cut(url, 16 * PAGE);
    }
    naru_region_close(other);
    expect_ok(naru_guard(false));
    naru_region_close(r);
    if (!SANITIZED) { /* which has a handler of its own */
        expect_code(SIGBUS, how_it_ends(touches_nothing_there, url));
        cut(url, 16 * PAGE);
        expect_code(SIGBUS, how_it_ends(guarded_once, url));
    }
    expect_ok(naru_remove(url));
}

static sigjmp_buf back;
static _Atomic int seen, code_seen;

static void mine(int number, siginfo_t *info, void *context)
{
    (void)context;
    seen += number == SIGBUS;
    code_seen = info->si_code;
    if (info->si_code > 0)
        siglongjmp(back, 1);
}

static void of_others_to_the_old_handler(void)
{
    const char *url = test_url(form);
    naru_region *r = create(url, 4 * PAGE, 0);
    struct sigaction a = {.sa_sigaction = mine, .sa_flags = SA_SIGINFO}, now;
    int fd = open(path_of(url), O_RDWR | O_CLOEXEC);
    volatile char *foreign = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    expect(sigaction(SIGBUS, &a, NULL) == 0);
    expect_ok(naru_guard(true));
    cut(url, PAGE);
    if (sigsetjmp(back, 1) == 0)
        (void)foreign[2 * PAGE];
    expect(seen == 1 && code_seen == BUS_ADRERR); /* not naru's */
    (void)((volatile char *)naru_region_data(r))[2 * PAGE];
    expect(seen == 1);
    expect_code(-EPROTO, naru_region_advise(r, 0, 1, NARU_ADVICE_NORMAL));
    raise(SIGBUS);
    expect(seen == 2 && code_seen <= 0);
    struct sigaction later = {.sa_sigaction = mine, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, NULL, &now);
    expect(sigaction(SIGBUS, &later, NULL) == 0); /* somebody on top, who passes nothing on */
    expect_ok(naru_guard(false));
    expect(sigaction(SIGBUS, &now, NULL) == 0); /* and gone again: naru's passes all on */
    if (sigsetjmp(back, 1) == 0)
        (void)((volatile char *)naru_region_data(r))[2 * PAGE];
    expect(seen == 3);
    expect_ok(naru_guard(true));
    (void)((volatile char *)naru_region_data(r))[2 * PAGE];
    expect(seen == 3);
    expect_ok(naru_guard(false));
    sigaction(SIGBUS, NULL, &now);
    expect(now.sa_sigaction == mine);
    munmap((void *)(uintptr_t)foreign, 4 * PAGE);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

static void touches_all_the_time(void *arg)
{
    naru_region *r[70]; /* more than one page of watches holds */
    for (int i = 0; i < 70; i++)
        r[i] = open_it(arg, RW);
    volatile char *at = naru_region_data(r[69]);
    int told = 0;
    char byte;
    expect_ok(naru_guard(true));
    pid_t pid = start_child(cuts, arg);
    int64_t end = test_now() + PATIENCE; /* the other one may be late */
    for (int i = 0; i < 20000 || (told == 0 && test_now() < end); i++) {
        at[(size_t)i % 8 * PAGE] += 1;
        int code = naru_region_read(r[69], 0, &byte, 1);
        expect(code == 0 || code == -EPROTO || code == -EIO);
        told += code < 0;
    }
    end_child(pid);
    printf("# told %d times\n", told);
    expect(told > 0);
    for (int i = 0; i < 70; i++)
        naru_region_close(r[i]);
    expect_ok(naru_guard(false));
}

static void guarded_all_the_time(void)
{
    const char *url = test_url(form);
    naru_region_close(create(url, 8 * PAGE, 0));
    touches_all_the_time((void *)(uintptr_t)url);
    expect_ok(naru_remove(url));
}

/* ---- private, by offset, larger than memory ---- */

static void private_copies(void)
{
    const char *url = test_url(form);
    struct naru_region_options o = {.size = sizeof o, .flags = NARU_PRIVATE};
    naru_region *r = create(url, 3 * PAGE, 0), *p;
    char text[8];
    int fd;
    strcpy(naru_region_data(r), "shared");
    expect(chmod(path_of(url), 0400) == 0);
    expect_ok(naru_region_open(url, RW, &o, &p));
    expect(strcmp(naru_region_data(p), "shared") == 0);
    strcpy(naru_region_data(r), "SHARED"); /* a page not written yet shows the file */
    expect(strcmp(naru_region_data(p), "SHARED") == 0);
    strcpy(naru_region_data(p), "own");
    expect_ok(naru_region_write(p, PAGE + 1, "copy", 5));
    expect(strcmp((char *)naru_region_data(p) + PAGE + 1, "copy") == 0);
    expect_ok(naru_region_read(p, 0, text, 4));
    expect(strcmp(text, "own") == 0 && strcmp(naru_region_data(r), "SHARED") == 0);
    expect(zeroes((char *)naru_region_data(r) + PAGE, PAGE));
    expect_code(-EINVAL, naru_region_read(p, 3 * PAGE, text, 1));
    expect_code(-EOPNOTSUPP, naru_region_sync(p, 0, PAGE, NARU_SYNC_FULL));
    expect_says("NARU_PRIVATE");
    expect_code(-EOPNOTSUPP, naru_region_grow(p, 5 * PAGE));
    expect_code(-EOPNOTSUPP, naru_region_shrink(p, PAGE));
    expect_code(-EOPNOTSUPP, naru_region_share(p, RW, &fd));
    expect_says("NARU_PRIVATE");
    expect_ok(naru_guard(true));
    cut(url, PAGE);
    expect(((volatile char *)naru_region_data(p))[2 * PAGE] == 0);
    expect_code(-EPROTO, naru_region_advise(p, 0, 1, NARU_ADVICE_NORMAL));
    expect(strcmp(naru_region_data(p), "own") == 0); /* its copies stay */
    expect_ok(naru_guard(false));
    naru_region_close(p);
    naru_region_close(r);
    expect_ok(naru_remove(url));
    o.flags |= NARU_HUGE;
    expect_code(-EOPNOTSUPP, naru_region_open(url, RW, &o, &p));
    o.flags = NARU_PRIVATE;
    expect_code(-EOPNOTSUPP, naru_region_open(test_url("shm:%s/x"), RW, &o, &p));
    expect_code(-EINVAL, naru_region_create(url, PAGE, &o, &p));
}

struct node {
    naru_off next;
    uint64_t value;
};

static void by_offset(void)
{
    const char *url = test_url(form);
    naru_region *r = create(url, PAGE, 4 * PAGE), *other = open_it(url, NARU_READ);
    naru_off *head = naru_region_data(r), last = NARU_OFF_NONE;
    expect(*head == NARU_OFF_NONE); /* a new one is zeroes */
    for (uint64_t i = 1; i <= 10; i++) {
        struct node *n = NARU_AT(r, struct node, 64 * i);
        expect(n && naru_region_off(r, n) == 64 * i);
        *n = (struct node){.next = last, .value = i};
        last = naru_region_off(r, n);
    }
    *head = last;
    uint64_t sum = 0;
    for (naru_off at = *(naru_off *)naru_region_data(other); at != NARU_OFF_NONE;) {
        const struct node *n = NARU_AT(other, struct node, at);
        expect(n);
        sum += n->value;
        at = n->next;
    }
    expect(sum == 55);
    expect(!naru_region_at(r, NARU_OFF_NONE, 1, 1));
    expect_says("offset 0 is none");
    expect(!naru_region_at(r, PAGE - 7, 8, 1) && !naru_region_at(r, UINT64_MAX - 3, 8, 1));
    expect(!naru_region_at(r, 8, SIZE_MAX, 1));
    expect_says("it has 4096");
    expect(!naru_region_at(r, 65, 8, 8));
    expect_says("no multiple of 8");
    expect(naru_region_at(r, PAGE - 8, 8, 8) && naru_region_at(r, PAGE, 0, 0));
    expect_ok(naru_region_grow(r, 4 * PAGE)); /* known by the other at once */
    expect(naru_region_at(other, 4 * PAGE - 8, 8, 8) != NULL);
    expect(naru_region_off(r, &sum) == NARU_OFF_NONE && naru_region_off(r, NULL) == NARU_OFF_NONE);
    naru_region_close(other);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

static void larger_than_memory(void)
{
    static const uint64_t size = UINT64_C(1) << 37; /* 128 GiB, with holes */
    const char *url = test_url(form);
    if (sizeof(size_t) < 8 || SANITIZED)
        test_skip("the address space is smaller");
    make_file(path_of(url), "first", 6);
    if (truncate(path_of(url), (off_t)size) < 0) {
        expect_ok(naru_remove(url));
        test_skip("this file system has no files of 128 GiB");
    }
    naru_region *r = open_it(url, RW);
    char *at = naru_region_data(r), got[6];
    expect(naru_region_size(r) == size && strcmp(at, "first") == 0);
    for (uint64_t k = 1; k <= 100; k++)
        at[size / 100 * k - 1] = (char)k;
    expect_ok(naru_region_write(r, size - 6, "last", 5));
    expect_ok(naru_region_read(r, size - 6, got, 6));
    expect(strcmp(got, "last") == 0);
    struct stat st; /* its holes stay holes */
    expect(stat(path_of(url), &st) == 0 && st.st_blocks * 512 < 8 << 20);
    for (int advice = NARU_ADVICE_NORMAL; advice < NARU_ADVICE_FREE; advice++)
        if (advice != NARU_ADVICE_NEEDED)
            expect_ok(naru_region_advise(r, 0, size, advice));
    expect_ok(naru_region_advise(r, 0, 1 << 20, NARU_ADVICE_NEEDED));
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

/* ---- media of one's own ---- */

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *format, ...)
{
    char command[900];
    va_list list;
    va_start(list, format);
    vsnprintf(command, sizeof command, format, list);
    va_end(list);
    return system(command);
}

static void own_mounts(void)
{
    expect(unshare(CLONE_NEWNS) == 0);
    expect(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
}

/* An ext4 of its own in a file, on a loop device that goes with its mount. */
static void mount_ext4(const char *image, const char *how, const char *mkfs, unsigned mib)
{
    char at[200];
    snprintf(at, sizeof at, "%s/disk", test_directory);
    expect(run("PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F %s '%s' %um >/dev/null 2>&1", mkfs,
               image, mib) == 0);
    expect(mkdir(at, 0700) == 0);
    expect(run("mount -o loop%s '%s' '%s' 2>/dev/null", how, image, at) == 0);
}

static void unmount(void)
{
    char at[200];
    snprintf(at, sizeof at, "%s/disk", test_directory);
    expect(umount(at) == 0 && rmdir(at) == 0);
}

static const char *image_path(void)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/image", test_directory);
    return path;
}

static void tries_a_loop(void *unused)
{
    (void)unused;
    if (geteuid() != 0)
        _exit(1);
    own_mounts();
    mount_ext4(image_path(), "", "", 4);
    unmount();
    unlink(image_path());
}

static void in_child_with_loop(void (*body)(void *))
{
    static const char on_disk[] = "map:%s/disk/file";
    int status;
    pid_t pid = start_child(tries_a_loop, NULL);
    expect(waitpid(pid, &status, 0) == pid);
    if (status != 0) {
        (void)run("rm -rf '%s/disk' '%s/image'", test_directory, test_directory);
        test_skip("no ext4 may be mounted on a loop device here");
    }
    end_child(start_child(body, (void *)(uintptr_t)test_url(on_disk)));
}

static uint64_t free_blocks(const char *url)
{
    char path[200];
    struct statvfs room;
    snprintf(path, sizeof path, "%.*s", (int)(strrchr(url, '/') - path_of(url)), path_of(url));
    expect(statvfs(path, &room) == 0);
    return room.f_bfree;
}

static void fills_a_disk(void *arg)
{
    const char *url = arg;
    static const char *const kinds[] = {"", "-O ^extent,^64bit,^has_journal"}; /* no fallocate */
    own_mounts();
    for (int i = 0; i < 2; i++) {
        naru_region *r = NULL;
        struct naru_region_options o = {.size = sizeof o, .reserve = 64 << 20};
        char in[200];
        mount_ext4(image_path(), "", kinds[i], 16);
        uint64_t before = free_blocks(url);
        expect_code(-ENOSPC, naru_region_create(url, 32 << 20, &o, &r));
        expect_says("32 MiB are asked for");
        expect_says("/disk holds");
        expect(r == NULL && free_blocks(url) == before);
        r = create(url, 1 << 20, 64 << 20);
        memset(naru_region_data(r), 1, 1 << 20);
        expect_ok(naru_region_sync(r, 0, 1 << 20, NARU_SYNC_FULL));
        before = free_blocks(url);
        expect_code(-ENOSPC, naru_region_grow(r, 40 << 20));
        expect(naru_region_size(r) == 1 << 20);
        snprintf(in, sizeof in, "free blocks: %lu before, %lu after", (unsigned long)before,
                 (unsigned long)free_blocks(url));
        printf("# %s\n", in);
        fflush(stdout);
        expect(free_blocks(url) + 2 >= before); /* what there was is given back */
        expect_ok(naru_region_grow(r, 3 << 20));
        expect(zeroes((char *)naru_region_data(r) + (1 << 20), 2 << 20));
        /* a hole, and nothing to fill it with */
        expect(truncate(path_of(url), 32 << 20) == 0);
        snprintf(in, sizeof in, "%.150s-filler", path_of(url));
        (void)run("cat /dev/zero > '%s' 2>/dev/null", in);
        static char much[1 << 20];
        expect_code(-ENOSPC, naru_region_write(r, 16 << 20, much, sizeof much));
        expect_ok(naru_guard(true));
        volatile char *at = naru_region_data(r);
        for (size_t k = 0; k < 256; k++)
            at[(20 << 20) + k * PAGE] = 'h';
        int code = naru_region_sync(r, 0, 32 << 20, NARU_SYNC_DATA);
        expect(code == -EIO || code == -ENOSPC); /* by the page, or when it was to be written */
        expect_ok(naru_guard(false));
        naru_region_close(r);
        expect(unlink(in) == 0);
        expect_ok(naru_remove(url));
        unmount();
        expect(unlink(image_path()) == 0);
    }
}

static void full_disk(void)
{
    in_child_with_loop(fills_a_disk);
}

/* ext4 on a file in a tmpfs that is full: what is written back finds no medium. */
static void loses_its_medium(void *arg)
{
    const char *url = arg;
    char thin[160], image[200];
    own_mounts();
    snprintf(thin, sizeof thin, "%s/thin", test_directory);
    snprintf(image, sizeof image, "%s/image", thin);
    expect(mkdir(thin, 0700) == 0 && mount("tmpfs", thin, "tmpfs", 0, "size=12m") == 0);
    mount_ext4(image, "", "-O ^has_journal -E lazy_itable_init=0", 32);
    naru_region *a = create(url, 4 << 20, 0), *b = open_it(url, RW), *c = open_it(url, NARU_READ);
    expect_ok(naru_region_sync(a, 0, 4 << 20, NARU_SYNC_FULL));
    (void)run("cat /dev/zero > '%s/filler' 2>/dev/null", thin);
    memset(naru_region_data(a), 'a', 4 << 20);
    expect_ok(naru_region_sync(a, 0, 4 << 20, NARU_SYNC_ASYNC));
    (void)run("sync -f '%s' 2>/dev/null", path_of(url)); /* another process, which is told, too */
    /* each handle, whoever was told before, whatever part it asks for, and by whatever call */
    int code = naru_region_sync(a, 0, 10, NARU_SYNC_DATA);
    expect(code == -EIO || code == -ENOSPC);
    expect_says("did not reach its medium (ext4)");
    expect_ok(naru_region_sync(a, 0, 0, NARU_SYNC_DATA));
    code = naru_region_sync(b, 2 << 20, 10, NARU_SYNC_FULL);
    expect(code == -EIO || code == -ENOSPC);
    code = naru_region_sync(c, 0, 4 << 20, NARU_SYNC_DATA);
    expect(code == -EIO || code == -ENOSPC);
    snprintf(image, sizeof image, "%s/filler", thin);
    expect(unlink(image) == 0); /* there is room again */
    (void)run("sync -f '%s' 2>/dev/null", path_of(url));
    for (int i = 0; i < 2; i++) { /* what failed meanwhile was told, or is now; then no more */
        (void)naru_region_sync(a, 0, 4 << 20, NARU_SYNC_DATA);
        (void)naru_region_sync(b, 0, 4 << 20, NARU_SYNC_DATA);
        (void)naru_region_sync(c, 0, 4 << 20, NARU_SYNC_DATA);
    }
    memset(naru_region_data(a), 'b', 4 << 20);
    expect_ok(naru_region_sync(a, 0, 4 << 20, NARU_SYNC_FULL));
    expect_ok(naru_region_sync(b, 0, 4 << 20, NARU_SYNC_DATA));
    expect_ok(naru_region_sync(c, 0, 4 << 20, NARU_SYNC_DATA));
    naru_region_close(a);
    naru_region_close(b);
    naru_region_close(c);
    expect_ok(naru_remove(url));
    unmount();
    expect(umount(thin) == 0 && rmdir(thin) == 0);
}

static void write_back_fails(void)
{
    in_child_with_loop(loses_its_medium);
}

#ifndef EXT4_IOC_SHUTDOWN
#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t) /* fs/ext4/ext4.h */
#endif

static void power_fails(void *arg)
{
    enum { NO_LOG_FLUSH = 2, ROUNDS = 12, SIZE = 64 * PAGE };
    const char *url = arg;
    char at[200];
    unsigned seed = 1;
    own_mounts();
    snprintf(at, sizeof at, "%s/disk", test_directory);
    mount_ext4(image_path(), "", "", 16);
    for (int round = 0; round < ROUNDS; round++) {
        naru_region *r = create(url, SIZE, 0);
        int how = round % 2 ? NARU_SYNC_DATA : NARU_SYNC_FULL;
        size_t part = (size_t)(1 + rand_r(&seed) % 63) * PAGE;
        char fill = (char)('a' + round);
        if (how == NARU_SYNC_DATA) /* which says nothing about the entry */
            expect_ok(naru_region_sync(r, 0, 0, NARU_SYNC_FULL));
        memset(naru_region_data(r), fill, SIZE);
        expect_ok(naru_region_sync(r, 0, part, how));
        memset((char *)naru_region_data(r) + part, '?', SIZE - part); /* not synced */
        int fd = open(at, O_RDONLY | O_CLOEXEC);
        expect(ioctl(fd, EXT4_IOC_SHUTDOWN, &(uint32_t){NO_LOG_FLUSH}) == 0);
        close(fd);
        expect_code(-EIO, naru_region_sync(r, 0, SIZE, NARU_SYNC_DATA));
        expect_code(-EIO, naru_region_sync(r, 0, SIZE, NARU_SYNC_FULL));
        naru_region_close(r);
        expect(umount(at) == 0);
        expect(run("mount -o loop '%s' '%s'", image_path(), at) == 0);
        struct naru_region_options o = {.size = sizeof o, .bytes = SIZE};
        expect_ok(naru_region_open(url, RW, &o, &r));
        const char *p = naru_region_data(r);
        for (size_t i = 0; i < part; i++)
            expect(p[i] == fill);
        naru_region_close(r);
        expect_ok(naru_remove(url));
    }
    unmount();
    expect(unlink(image_path()) == 0);
}

static void power_loss(void)
{
    in_child_with_loop(power_fails);
}

/* A file system with neither attributes nor fallocate: ramfs. */
static void on_ramfs(void *arg)
{
    const char *url = arg;
    struct naru_region_options o = {.size = sizeof o, .signature = 7, .reserve = 10 * PAGE};
    naru_region *r, *other;
    char at[200];
    own_mounts();
    snprintf(at, sizeof at, "%s/disk", test_directory);
    expect(mkdir(at, 0700) == 0 && mount("ramfs", at, "ramfs", 0, NULL) == 0);
    expect_code(-EOPNOTSUPP, naru_region_create(url, PAGE, &o, &r));
    expect_says("ramfs, which keeps no attributes");
    expect(entries(at) == 0);
    o.signature = 0;
    expect_ok(naru_region_create(url, PAGE, &o, &r));
    expect_ok(naru_region_open(url, NARU_READ, &o, &other));
    expect_ok(naru_region_grow(r, 9 * PAGE + 1));
    expect(naru_region_size(other) == 9 * PAGE + 1);
    expect(zeroes(naru_region_data(other), 9 * PAGE + 1));
    naru_region_close(other);
    other = open_it(url, NARU_READ); /* nothing says how far it may grow */
    expect_ok(naru_region_grow(r, 10 * PAGE));
    expect(naru_region_size(other) == 9 * PAGE + 1);
    naru_region_close(other);
    naru_region_close(r);
    expect_ok(naru_remove(url));
    expect(umount(at) == 0 && rmdir(at) == 0);
}

static void may_mount(void *unused)
{
    (void)unused;
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
        _exit(1);
}

static void no_attributes(void)
{
    static const char on_disk[] = "map:%s/disk/file";
    int status;
    pid_t pid = start_child(may_mount, NULL);
    expect(waitpid(pid, &status, 0) == pid);
    if (status != 0)
        test_skip("nothing may be mounted here");
    end_child(start_child(on_ramfs, (void *)(uintptr_t)test_url(on_disk)));
}

static void what_survives(void)
{
    const char *url = test_url(form);
    naru_region *r = create(url, 4 * PAGE, 0), *reader = open_it(url, NARU_READ);
    memset(naru_region_data(r), 's', 4 * PAGE);
    int code = naru_region_sync(r, 0, 4 * PAGE, NARU_SYNC_ASYNC);
    if (code == -EOPNOTSUPP)
        expect_says("in memory"); /* the suite runs in a tmpfs */
    else
        for (int how = NARU_SYNC_ASYNC; how <= NARU_SYNC_FULL; how++) {
            expect_ok(naru_region_sync(r, 100, PAGE, how));
            expect_ok(naru_region_sync(reader, 0, 4 * PAGE, how));
            expect_ok(naru_region_sync(r, 0, 0, how));
            expect_code(-EINVAL, naru_region_sync(r, 1, 4 * PAGE, how));
        }
    char moved[200];
    snprintf(moved, sizeof moved, "%s-moved", path_of(url));
    expect(rename(path_of(url), moved) == 0);
    expect(naru_region_sync(r, 0, PAGE, NARU_SYNC_FULL) == (code ? code : 0)); /* wherever it is */
    expect(unlink(moved) == 0);
    expect_code(code ? code : -EIDRM, naru_region_sync(r, 0, PAGE, NARU_SYNC_FULL));
    expect(code || naru_region_sync(r, 0, PAGE, NARU_SYNC_DATA) == 0);
    naru_region_close(r);
    naru_region_close(reader);
    char memory[80];
    snprintf(memory, sizeof memory, "map:/dev/shm/naru-mapped-%d", (int)getpid());
    r = create(memory, PAGE, 0);
    expect_code(-EOPNOTSUPP, naru_region_sync(r, 0, PAGE, NARU_SYNC_FULL));
    expect_says("tmpfs, in memory");
    naru_region_close(r);
    expect_ok(naru_remove(memory));
}

/* ---- locks in it ---- */

enum { SEMAPHORE_AT = 0, MUTEX_AT = 65536, EVENT_AT = 2 * 65536, ALL = 3 * 65536 };

static void takes_all(void *arg)
{
    naru_region *r = open_it(arg, RW);
    naru_semaphore *s;
    naru_mutex *m;
    struct naru_semaphore_options o = {.size = sizeof o, .value = 3};
    expect_ok(naru_semaphore_at(r, SEMAPHORE_AT, &o, &s));
    expect_ok(naru_mutex_at(r, MUTEX_AT, NULL, &m));
    expect_ok(naru_semaphore_acquire(s, 3, NARU_NOWAIT));
    expect_ok(naru_mutex_lock(m, NARU_NOWAIT));
    raise(SIGSTOP);
    raise(SIGKILL);
}

static unsigned value_in(naru_region *r)
{
    naru_semaphore *s;
    unsigned value;
    struct naru_semaphore_options any = {.size = sizeof any};
    expect_ok(naru_semaphore_at(r, SEMAPHORE_AT, &any, &s));
    expect_ok(naru_semaphore_acquire(s, 1, PATIENCE));
    expect_ok(naru_semaphore_release(s, 1));
    expect_ok(naru_semaphore_value(s, &value));
    naru_semaphore_close(s);
    return value;
}

/* The file as a loss of power leaves it while all is held, some of it older than the rest. */
static void after_a_restart(void)
{
    const char *url = test_url(form);
    char copy[200], copy_url[220];
    int status;
    naru_region *r = create(url, ALL, 0);
    pid_t pid = start_child(takes_all, (void *)(uintptr_t)url);
    expect(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    naru_semaphore *s;
    struct naru_semaphore_options any = {.size = sizeof any};
    expect_ok(naru_semaphore_at(r, SEMAPHORE_AT, &any, &s));
    expect_code(-EAGAIN, naru_semaphore_acquire(s, 1, NARU_NOWAIT)); /* its owner is stopped */
    naru_semaphore_close(s);
    snprintf(copy, sizeof copy, "%s-copy", path_of(url));
    snprintf(copy_url, sizeof copy_url, "map:%s", copy);
    expect(run("cp '%s' '%s'", path_of(url), copy) == 0);
    kill(pid, SIGKILL);
    kill(pid, SIGCONT);
    expect(waitpid(pid, &status, 0) == pid);
    expect_code(3, value_in(r)); /* the owner died here: they come back */
    naru_region_close(r);
    expect_ok(naru_remove(url));

    r = open_it(copy_url, RW);
    unsigned char *at = naru_region_data(r);
    const int lock[] = {SEMAPHORE_AT, MUTEX_AT};
    for (int i = 0; i < 2; i++) {
        struct naru_object_meta *meta = (void *)(at + lock[i]);
        expect(meta->magic == NARU_OBJECT_MAGIC && meta->boot != 0);
        meta->boot++;                                                 /* another start */
        memset(at + lock[i] + NARU_OBJECT_STATE_AT + 128, 0xa5, 64); /* torn */
    }
    expect_code(3, value_in(r));
    naru_mutex *m;
    expect_ok(naru_mutex_at(r, MUTEX_AT, NULL, &m));
    expect_code(0, naru_mutex_lock(m, NARU_NOWAIT)); /* free, and nobody died in this world */
    expect_ok(naru_mutex_unlock(m));
    naru_mutex_close(m);
    naru_region_close(r);
    r = open_it(copy_url, RW);
    expect_code(3, value_in(r)); /* once is enough */
    naru_region_close(r);
    expect_ok(naru_remove(copy_url));
}

static void locks_and_length(void)
{
    const char *url = test_url(form);
    naru_region *r = create(url, 2 * ALL, 0), *private;
    struct naru_semaphore_options o = {.size = sizeof o, .value = 2};
    struct naru_region_options own = {.size = sizeof own, .flags = NARU_PRIVATE};
    naru_semaphore *s;
    expect_ok(naru_semaphore_at(r, SEMAPHORE_AT, &o, &s));
    expect_code(-EBUSY, naru_region_shrink(r, ALL)); /* the lock in it has it open */
    expect_ok(naru_semaphore_acquire(s, 2, NARU_NOWAIT)); /* and is as it was */
    expect_ok(naru_semaphore_release(s, 2));
    naru_semaphore_close(s);
    expect_ok(naru_region_shrink(r, ALL));
    expect_code(2, value_in(r));
    expect_ok(naru_region_open(url, RW, &own, &private));
    expect_code(-EOPNOTSUPP, naru_semaphore_at(private, SEMAPHORE_AT, &o, &s));
    expect_says("NARU_PRIVATE");
    naru_region_close(private);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

/* ---- a lock that is a file ---- */

static void owns_and_dies(void *arg)
{
    naru_semaphore *s;
    struct naru_semaphore_options o = {.size = sizeof o, .value = 2};
    expect_ok(naru_semaphore_open(arg, &o, &s));
    expect_ok(naru_semaphore_acquire(s, 2, PATIENCE));
    raise(SIGKILL);
}

static int opened[2]; /* a pipe */

static void waits_for_it(void *arg)
{
    naru_semaphore *s;
    struct naru_semaphore_options o = {.size = sizeof o, .flags = NARU_EXISTING};
    expect_ok(naru_semaphore_open(arg, &o, &s));
    expect(write(opened[1], "o", 1) == 1);
    expect_code(-EIDRM, naru_semaphore_acquire(s, 1, PATIENCE));
    naru_semaphore_close(s);
}

static void files_of_their_own(void)
{
    const char *url = test_url(form);
    struct naru_semaphore_options o = {.size = sizeof o, .value = 2, .mode = 0640};
    struct naru_semaphore_options there = {.size = sizeof there, .flags = NARU_EXISTING};
    naru_semaphore *s, *other;
    naru_region *r;
    naru_mutex *m;
    struct stat st;
    int status;
    unsigned n;
    expect_code(-ENOENT, naru_semaphore_open(url, &there, &s));
    expect_ok(naru_semaphore_open(url, &o, &s));
    expect(stat(path_of(url), &st) == 0 && (st.st_mode & 0777) == 0640);
    pid_t pid = start_child(owns_and_dies, (void *)(uintptr_t)url);
    expect(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    expect_ok(naru_semaphore_acquire(s, 2, PATIENCE)); /* they come back */
    expect_ok(naru_semaphore_open(url, &there, &other));
    expect_code(-EAGAIN, naru_semaphore_acquire(other, 1, NARU_NOWAIT));
    expect_ok(naru_semaphore_revoke(url, getpid(), &n));
    expect(n == 2);
    expect_ok(naru_semaphore_acquire(other, 2, PATIENCE));
    naru_semaphore_close(other);
    expect_code(-EEXIST, naru_region_open(url, RW, NULL, &r));
    expect_says("is a semaphore, and a region was asked for");
    expect_code(-EEXIST, naru_mutex_open(url, NULL, &m));
    expect_says("is a semaphore, and a mutex was asked for");
    there.flags = NARU_EXCLUSIVE;
    expect_code(-EEXIST, naru_semaphore_open(url, &there, &other));
    there.flags = 0;
    there.value = 3;
    expect_code(-EEXIST, naru_semaphore_open(url, &there, &other));
    expect_ok(naru_semaphore_acquire(s, 2, PATIENCE));
    char byte;
    expect(pipe(opened) == 0);
    pid = start_child(waits_for_it, (void *)(uintptr_t)url);
    close(opened[1]);
    expect(read(opened[0], &byte, 1) == 1);
    close(opened[0]);
    usleep(50000);
    expect_ok(naru_remove(url)); /* whoever waits is told */
    end_child(pid);
    expect_code(-EIDRM, naru_semaphore_release(s, 1));
    naru_semaphore_close(s);
    expect_code(-ENOENT, naru_remove(url));
    r = create(url, 1 << 20, 0); /* zeroes, and yet somebody's */
    expect_code(-EEXIST, naru_semaphore_open(url, &o, &s));
    expect_says("a file that is no lock");
    naru_region_close(r);
    expect_ok(naru_remove(url));
    expect_ok(naru_mutex_open(url, NULL, &m));
    expect_ok(naru_mutex_lock(m, PATIENCE));
    expect_ok(naru_mutex_unlock(m));
    naru_mutex_close(m);
    int fd = open(path_of(url), O_RDWR | O_CLOEXEC); /* another start of the machine */
    struct naru_object_meta meta;
    expect(pread(fd, &meta, sizeof meta, 0) == sizeof meta && meta.boot != 0);
    meta.boot++;
    expect(pwrite(fd, &meta, sizeof meta, 0) == sizeof meta);
    expect(pwrite(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, NARU_OBJECT_STATE_AT + 128) == 8);
    close(fd);
    expect_ok(naru_mutex_open(url, NULL, &m));
    expect_code(0, naru_mutex_lock(m, NARU_NOWAIT));
    naru_mutex_close(m);
    expect_ok(naru_remove(url));
    naru_rwlock *w;
    expect_ok(naru_rwlock_open(url, NULL, &w));
    expect_ok(naru_rwlock_read(w, PATIENCE));
    naru_rwlock_close(w);
    expect_ok(naru_remove(url));
    naru_event *e;
    expect_ok(naru_event_open(url, NULL, &e));
    expect_ok(naru_event_set(e));
    expect_ok(naru_event_wait(e, PATIENCE));
    naru_event_close(e);
    expect_ok(naru_remove(url));
    naru_barrier *b;
    struct naru_barrier_options one = {.size = sizeof one, .parties = 1};
    expect_ok(naru_barrier_open(url, &one, &b));
    expect(naru_barrier_wait(b, PATIENCE) >= 0);
    naru_barrier_close(b);
    expect_ok(naru_remove(url));
}

static void makes_and_uses(void *arg)
{
    for (int i = 0; i < 100; i++) {
        naru_semaphore *s;
        struct naru_semaphore_options o = {.size = sizeof o, .value = 4, .participants = 16};
        expect_ok(naru_semaphore_open(race_url, &o, &s));
        int code = naru_semaphore_acquire(s, 1, PATIENCE);
        expect(code == 0 || code == -EIDRM);
        if (code == 0) {
            code = naru_semaphore_release(s, 1);
            expect(code == 0 || code == -EIDRM);
        }
        naru_semaphore_close(s);
        if (i % 5 == 0 && arg) {
            code = naru_remove(race_url);
            expect(code == 0 || code == -ENOENT);
        }
    }
}

static void files_made_at_once(void)
{
    pid_t child[4];
    race_url = test_url(form);
    for (int i = 0; i < 4; i++)
        child[i] = start_child(makes_and_uses, i % 2 ? child : NULL);
    for (int i = 0; i < 4; i++)
        end_child(child[i]);
    (void)naru_remove(race_url);
    expect(entries(test_directory) == 0);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"of another program", of_another_program},
        {"states its signature in an attribute", states_in_an_attribute},
        {"special files", special_files},
        {"file systems by name", named_file_systems},
        {"grown by other programs", foreign_growth},
        {"shrinks when nobody else has it", shrinks},
        {"opened while it is cut", opened_while_cut},
        {"stopped while cutting", stopped_while_cutting},
        {"grown by many", grown_by_many},
        {"cut under copies", cut_under_copies},
        {"guarded", guards},
        {"signals of others", of_others_to_the_old_handler},
        {"guarded all the time", guarded_all_the_time},
        {"private copies", private_copies},
        {"by offset", by_offset},
        {"larger than memory", larger_than_memory},
        {"what survives", what_survives},
        {"a full disk", full_disk},
        {"write-back fails", write_back_fails},
        {"power loss", power_loss},
        {"a file system with less", no_attributes},
        {"locks after a restart", after_a_restart},
        {"locks and its length", locks_and_length},
        {"locks that are files", files_of_their_own},
        {"locks made and removed at once", files_made_at_once},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
