/* SPDX-License-Identifier: MIT */
/* object.c - named objects: made once, whole, by however many at once; joined, left, cleaned up
 * after; removed under those who have them open; and what the dead have left is finished. */
#include "harness.h"

#include "object/object.h"
#include "os/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int made(struct naru_object *o, void *arg)
{
    int fd = naru__object_file(o, "data", 4096);
    (void)arg;
    naru__os_close(fd);
    return fd < 0 ? fd : 0;
}

static const struct naru_object_want region = {
    .what = NARU_OBJECT_REGION, .signature = 7, .members_max = 8, .make = made};

static int open_it(const char *text, const struct naru_object_want *want, struct naru_object *o)
{
    struct naru_url url;
    int r = naru__url_parse(text, &url);
    return r < 0 ? r : naru__object_open(&url, want, o);
}

static int remove_it(const char *text)
{
    struct naru_url url;
    int r = naru__url_parse(text, &url);
    return r < 0 ? r : naru__object_remove(&url);
}

static int entries(const char *directory)
{
    int n = 0;
    DIR *d = opendir(directory);
    for (struct dirent *e; d && (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d)
        closedir(d);
    return n;
}

static const char *here(void)
{
    return test_url("shm:%s/x");
}

/* ---- opening ---- */

static void opens_one(void)
{
    struct naru_object a, b;
    expect_code(0, open_it(here(), &region, &a));
    expect(a.created);
    expect_code(0, open_it(here(), &region, &b));
    expect(!b.created);
    expect(b.meta.created == a.meta.created);
    naru__object_close(&a);
    naru__object_close(&b);
    expect_code(0, remove_it(here()));
    expect_code(-ENOENT, remove_it(here()));
    expect(entries(test_directory) == 0);
}

static void refuses(void)
{
    struct naru_object a, b;
    struct naru_object_want want = region;
    expect_code(0, open_it(here(), &region, &a));
    want.what = NARU_OBJECT_QUEUE;
    expect_code(-EEXIST, open_it(here(), &want, &b));
    expect_says("is a region, and a queue was asked for");
    want = region;
    want.signature = 8;
    expect_code(-EPROTO, open_it(here(), &want, &b));
    want = region;
    want.mode = 0644;
    expect_code(-EEXIST, open_it(here(), &want, &b));
    expect_says("0600");
    want = region;
    want.flags = NARU_EXCLUSIVE;
    expect_code(-EEXIST, open_it(here(), &want, &b));
    naru__object_close(&a);
    expect_code(0, remove_it(here()));
    want.flags = NARU_EXISTING;
    expect_code(-ENOENT, open_it(here(), &want, &b));
    expect_code(-EINVAL, open_it("shm:.x", &region, &b));
    expect_code(-EINVAL, open_it("shm:", &region, &b));
    expect_code(-ENOENT, open_it("shm:/not/there/x", &region, &b));
    expect(entries(test_directory) == 0);
}

static void other_things(void)
{
    struct naru_object o;
    char path[256];
    snprintf(path, sizeof path, "%s/x", test_directory);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    expect_code(-EINVAL, open_it(here(), &region, &o));
    expect_says("a regular file stands there");
    expect_ok(unlink(path));
    expect_ok(mkdir(path, 0700));
    expect_code(-EPROTO, open_it(here(), &region, &o));
    expect_code(-EPROTO, remove_it(here()));
    expect_ok(rmdir(path));
    expect_ok(symlink("/tmp", path));
    expect(open_it(here(), &region, &o) < 0);
    expect_ok(unlink(path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    expect_ok(bind(fd, (void *)&address, sizeof address));
    expect_code(-EEXIST, open_it(here(), &region, &o));
    expect_says("listener");
    close(fd);
    expect_ok(unlink(path));
}

/* Each byte of the constant page, each value: an object, or a refusal, and nothing else. */
static void damaged_meta(void)
{
    struct naru_object o;
    char path[256];
    expect_code(0, open_it(here(), &region, &o));
    naru__object_close(&o);
    snprintf(path, sizeof path, "%s/x/meta", test_directory);
    int fd = open(path, O_RDWR);
    for (int at = 0; at < (int)sizeof(struct naru_object_meta); at++) {
        uint8_t right;
        expect(pread(fd, &right, 1, at) == 1);
        for (int v = 0; v < 256; v += at < 28 ? 1 : 51) {
            uint8_t wrong = (uint8_t)v;
            expect(pwrite(fd, &wrong, 1, at) == 1);
            int r = open_it(here(), &region, &o);
            expect(r == 0 || r == -EPROTO || r == -EEXIST);
            if (r == 0)
                naru__object_close(&o);
        }
        expect(pwrite(fd, &right, 1, at) == 1);
    }
    expect_ok(ftruncate(fd, 5000));
    expect_code(-EPROTO, open_it(here(), &region, &o));
    expect_says("too short");
    expect_ok(ftruncate(fd, 8192));
    close(fd);
    expect_code(0, remove_it(here()));
}

/* ---- members ---- */

static unsigned cleaned;

static int clean(struct naru_object *o, uint32_t i)
{
    (void)o;
    cleaned |= 1u << i;
    return 0;
}

static void members(void)
{
    struct naru_object o[9];
    for (int i = 0; i < 8; i++) {
        expect_code(0, open_it(here(), &region, &o[i]));
        expect_code(0, naru__object_join(&o[i], clean));
        naru__object_appear(&o[i], 1);
        expect(o[i].member == (uint32_t)i);
    }
    expect_code(0, open_it(here(), &region, &o[8]));
    expect_code(-ENOSPC, naru__object_join(&o[8], clean));
    expect_says("8");
    naru__object_leave(&o[3]);
    expect_code(0, naru__object_join(&o[8], clean));
    expect(o[8].member == 3 && o[8].generation == 2);
    naru__object_appear(&o[8], 2);
    expect_code(0, naru__object_collect(&o[8], clean));
    expect(cleaned == 0);
    for (int i = 0; i < 9; i++)
        naru__object_close(&o[i]);
    /* five of them had not left: they are dead now */
    expect_code(0, open_it(here(), &region, &o[0]));
    expect_code(8, naru__object_collect(&o[0], clean));
    expect(cleaned == 0xff);
    naru__object_close(&o[0]);
    expect_code(0, remove_it(here()));
}

static void dies_joined(void *arg)
{
    struct naru_object o;
    (void)arg;
    if (open_it(here(), &region, &o) < 0 || naru__object_join(&o, clean) < 0)
        _exit(1);
    naru__object_appear(&o, 1);
    if (fork() == 0) { /* it keeps every descriptor, and not the life */
        pause();
        _exit(0);
    }
    kill(getpid(), SIGKILL);
}

static void killed_with_a_child(void)
{
    struct naru_object o;
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        dies_joined(NULL);
    }
    waitpid(pid, NULL, 0);
    expect_code(0, open_it(here(), &region, &o));
    int64_t end = test_now() + PATIENCE;
    while (!naru__object_died(&o, 0))
        expect(test_now() < end);
    cleaned = 0;
    expect_code(0, naru__object_join(&o, clean));
    expect(cleaned == 1 && o.member == 0);
    naru__object_appear(&o, 1);
    expect(!naru__object_died(&o, 0));
    naru__object_leave(&o);
    naru__object_close(&o);
    kill(-pid, SIGKILL);
    expect_code(0, remove_it(here()));
}

/* ---- removing ---- */

static void removed_while_open(void)
{
    struct naru_object a, b;
    expect_code(0, open_it(here(), &region, &a));
    expect_code(0, naru__object_join(&a, clean));
    naru__object_appear(&a, 1);
    uint32_t bell = atomic_load(&a.members[0].bell[0]);
    expect_code(0, remove_it(here()));
    expect(naru__object_removed(&a));
    expect(atomic_load(&a.members[0].bell[0]) > bell);
    expect_code(0, open_it(here(), &region, &b));
    expect(b.created);
    expect(!naru__object_removed(&b));
    naru__object_close(&a);
    naru__object_close(&b);
    expect_code(0, remove_it(here()));
    expect(entries(test_directory) == 0);
}

/* What makers and removers have left when they were killed. */
static void swept(void)
{
    struct naru_object o;
    char path[256], to[256];
    snprintf(path, sizeof path, "%s/.new-0123456789abcdef", test_directory);
    expect_ok(mkdir(path, 0700));
    expect_code(0, open_it(here(), &region, &o));
    expect(entries(test_directory) == 1);
    naru__object_close(&o);
    snprintf(path, sizeof path, "%s/x", test_directory);
    snprintf(to, sizeof to, "%s/.dead-0123456789abcdef", test_directory);
    expect_ok(rename(path, to));
    expect_code(0, open_it(here(), &region, &o));
    expect(o.created);
    expect(entries(test_directory) == 1);
    /* marked, and the remover was killed before the rename */
    atomic_store(&o.state->removed, 1);
    naru__object_close(&o);
    expect_code(0, open_it(here(), &region, &o));
    expect(o.created);
    naru__object_close(&o);
    expect_code(0, remove_it(here()));
}

/* ---- many at once ---- */

struct shared {
    _Atomic int opened, removed, wrong;
};

static void went_wrong(struct shared *s, const char *what, int code)
{
    printf("# %s: %d (%s)\n", what, code, naru_why());
    fflush(stdout);
    atomic_fetch_add(&s->wrong, 1);
}

static void opens_and_removes(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < 300; i++) {
        struct naru_object o;
        int r = open_it(here(), &region, &o);
        if (r == 0) {
            struct stat st;
            char name[64];
            /* it is whole: what `make` made is there, unless it has been removed */
            snprintf(name, sizeof name, "/proc/self/fd/%d/data", o.directory);
            if (stat(name, &st) < 0 && !naru__object_removed(&o))
                went_wrong(s, "not whole", r);
            r = naru__object_join(&o, clean);
            if (r == 0)
                naru__object_appear(&o, 1);
            else if (r != -ENOSPC && r != -EIDRM)
                went_wrong(s, "join", r);
            naru__object_leave(&o);
            naru__object_close(&o);
            atomic_fetch_add(&s->opened, 1);
        } else {
            went_wrong(s, "open", r);
        }
        if (i % 3 == 0) {
            r = remove_it(here());
            if (r == 0)
                atomic_fetch_add(&s->removed, 1);
            else if (r != -ENOENT)
                went_wrong(s, "remove", r);
        }
    }
}

static void many_at_once(void)
{
    struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child[4];
    for (int i = 0; i < 4; i++)
        child[i] = start_child(opens_and_removes, s);
    for (int i = 0; i < 4; i++)
        end_child(child[i]);
    printf("# %d opened, %d removed\n", s->opened, s->removed);
    expect(s->wrong == 0 && s->opened > 300 && s->removed > 50);
    (void)remove_it(here());
    expect(entries(test_directory) == 0);
    munmap(s, 4096);
}

static void one_maker(void *arg)
{
    struct shared *s = arg;
    struct naru_object o;
    struct naru_object_want want = region;
    want.flags = NARU_EXCLUSIVE;
    int r = open_it(here(), &want, &o);
    if (r == 0) {
        atomic_fetch_add(&s->opened, 1);
        naru__object_close(&o);
    } else if (r != -EEXIST) {
        went_wrong(s, "open", r);
    }
}

static void exactly_one(void)
{
    struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int round = 0; round < 40; round++) {
        pid_t child[4];
        atomic_store(&s->opened, 0);
        for (int i = 0; i < 4; i++)
            child[i] = start_child(one_maker, s);
        for (int i = 0; i < 4; i++)
            end_child(child[i]);
        expect(s->wrong == 0 && s->opened == 1);
        expect_code(0, remove_it(here()));
    }
    expect(entries(test_directory) == 0);
    munmap(s, 4096);
}

/* Makers and removers that are killed at any time leave nothing that stands in the way. */
static void killed_makers(void)
{
    for (int i = 0; i < 150; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (;;) {
                struct naru_object o;
                if (open_it(here(), &region, &o) == 0)
                    naru__object_close(&o);
                (void)remove_it(here());
            }
        }
        usleep((unsigned)(500 + i * 17));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        struct naru_object o;
        expect_code(0, open_it(here(), &region, &o));
        naru__object_close(&o);
    }
    expect_code(0, remove_it(here()));
    expect(entries(test_directory) == 0);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"opens one", opens_one},
        {"refuses what does not agree", refuses},
        {"other things at the name", other_things},
        {"a damaged meta", damaged_meta},
        {"members", members},
        {"killed, with a child that lives on", killed_with_a_child},
        {"removed while it is open", removed_while_open},
        {"what the dead have left", swept},
        {"exactly one maker", exactly_one},
        {"opened and removed by many", many_at_once},
        {"killed makers and removers", killed_makers},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
