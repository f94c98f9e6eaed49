/* SPDX-License-Identifier: MIT */
/* region-refused.c - regions that cannot be: what strangers hand over, limits, a full and a
 * read-only /dev/shm, other users, damage. Each is a sentence, and nothing half-made. */
#include "regions.h"

#include "shm/object.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

static bool may_have_namespaces(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(geteuid() == 0 && unshare(CLONE_NEWIPC | CLONE_NEWNS) == 0 ? 0 : 1);
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static void become_nobody(void)
{
    expect(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
}

/* ---- what a stranger hands over ---- */

static void refused(int code, int fd, int access, const char *says)
{
    naru_region *r = NULL;
    expect_code(code, naru_region_from_fd(fd, access, NULL, &r));
    expect_says(says);
    expect(r == NULL);
}

static int foreign_memory(const char *name, size_t size, int seals)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    expect(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    expect(fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

static void from_strangers(void)
{
    int pipes[2], sockets[2];
    char path[200];
    naru_region *r;
    expect(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    refused(-EINVAL, pipes[0], NARU_READ, "a FIFO");
    refused(-EINVAL, sockets[0], RW, "a socket");
    refused(-EINVAL, 1000, RW, "descriptor 1000");
    refused(-EINVAL, -1, RW, "descriptor -1");
    for (int i = 0; i < 2; i++) {
        close(pipes[i]);
        close(sockets[i]);
    }
    int fd = open(test_directory, O_RDONLY | O_DIRECTORY);
    refused(-EINVAL, fd, NARU_READ, "a directory");
    close(fd);
    snprintf(path, sizeof path, "%s/file", test_directory);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    expect(ftruncate(fd, PAGE) == 0);
    refused(-EPERM, fd, RW, "F_SEAL_SHRINK");
    close(fd);
    unlink(path);
    fd = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
    expect(ftruncate(fd, PAGE) == 0);
    refused(-EPERM, fd, RW, "F_SEAL_SHRINK");
    close(fd);
    fd = memfd_create("unsealed", MFD_ALLOW_SEALING);
    expect(ftruncate(fd, PAGE) == 0);
    refused(-EPERM, fd, RW, "F_SEAL_SHRINK");
    close(fd);
    fd = foreign_memory("empty", 0, F_SEAL_SHRINK);
    refused(-EPROTO, fd, RW, "0 bytes");
    close(fd);
    fd = foreign_memory("write-sealed", PAGE, F_SEAL_SHRINK | F_SEAL_WRITE);
    refused(-EPERM, fd, RW, "for reading alone");
    expect_ok(naru_region_from_fd(fd, NARU_READ, NULL, &r));
    naru_region_close(r);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int handle = open(path, O_PATH);
    expect(naru_region_from_fd(handle, NARU_READ, NULL, &r) < 0);
    close(handle);
    close(fd);
}

static void other_programs_memory(void)
{
    static const char *const broken[] = {"naru-region:2:00000000:0", "naru-region:",
                                         "naru-region:1:",           "naru-region:1:123456789:0",
                                         "naru-region:1:0000000x:0", "naru-region:1:0:0:0"};
    struct naru_region_options o = {.size = sizeof o};
    naru_region *r;
    int fd = foreign_memory("other", 3 * PAGE, F_SEAL_SHRINK | F_SEAL_GROW);
    expect_ok(naru_region_from_fd(fd, RW, &o, &r));
    strcpy(naru_region_data(r), "foreign");
    char got[8];
    expect(pread(fd, got, 8, 0) == 8 && strcmp(got, "foreign") == 0);
    struct stat st; /* its holes have memory now */
    expect(fstat(fd, &st) == 0 && st.st_blocks * 512 >= 3 * PAGE);
    naru_region_close(r);
    o.signature = 1;
    expect_code(-EPROTO, naru_region_from_fd(fd, RW, &o, &r));
    expect_says("states none");
    close(fd);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        fd = foreign_memory(broken[i], PAGE, F_SEAL_SHRINK);
        expect_code(-EPROTO, naru_region_from_fd(fd, RW, NULL, &r));
        expect_says("another version");
        close(fd);
    }
    /* a lie about growth is address space, and no more */
    fd = foreign_memory("naru-region:1:0:ffffffffffffffff", PAGE, F_SEAL_SHRINK);
    expect_code(-ENOMEM, naru_region_from_fd(fd, RW, NULL, &r));
    close(fd);
    fd = foreign_memory("naru-region:1:0:10000", PAGE, F_SEAL_SHRINK);
    expect_ok(naru_region_from_fd(fd, NARU_READ, NULL, &r));
    expect(ftruncate(fd, 1 << 20) == 0);
    expect(naru_region_size(r) == 0x10000); /* what this handle has address space for */
    naru_region_close(r);
    close(fd);
}

/* ---- limits ---- */

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* A /dev/shm of one's own. */
static void own_dev_shm(const char *options, unsigned long flags)
{
    expect(unshare(CLONE_NEWNS) == 0);
    expect(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    expect(mount("tmpfs", "/dev/shm", "tmpfs", flags, options) == 0);
}

static void full_in_child(void *unused)
{
    (void)unused;
    own_dev_shm("size=1m", 0);
    static const char *const urls[] = {"shm:full", "posix-shm:/full"};
    for (int i = 0; i < 2; i++) {
        naru_region *r = NULL;
        struct naru_region_options o = {.size = sizeof o, .reserve = 8 << 20};
        expect_code(-ENOSPC, naru_region_create(urls[i], 4 << 20, &o, &r));
        expect_says(i ? "/dev/shm holds 1 MiB" : "4 MiB");
        expect(r == NULL && !is_there("/dev/shm/full"));
        expect(entries("/dev/shm/naru-0") <= 0);
        r = create(urls[i], 600 << 10, 8 << 20);
        expect_code(-ENOSPC, naru_region_grow(r, 2 << 20));
        expect(naru_region_size(r) == 600 << 10);
        memset(naru_region_data(r), 1, 600 << 10); /* all of it is there */
        expect_ok(naru_region_grow(r, 700 << 10));
        naru_region_close(r);
        expect_ok(naru_remove(urls[i]));
    }
    /* another program has made one that is longer than the memory there is */
    int fd = shm_open("/sparse", O_CREAT | O_RDWR, 0600);
    expect(fd >= 0 && ftruncate(fd, 4 << 20) == 0);
    naru_region *r;
    expect_code(-ENOSPC, naru_region_open("posix-shm:/sparse", RW, NULL, &r));
    expect_code(-ENOSPC, naru_region_open("posix-shm:/sparse", NARU_READ, NULL, &r));
    expect_says("holes");
    close(fd);
    expect_ok(naru_remove("posix-shm:/sparse"));
}

static void full(void)
{
    if (!may_have_namespaces())
        test_skip("no mount namespace may be made here");
    end_child(start_child(full_in_child, NULL));
}

static void read_only_in_child(void *unused)
{
    naru_region *r;
    (void)unused;
    own_dev_shm("size=1m", 0);
    r = create("posix-shm:/there", 1000, 0);
    naru_region_close(r);
    expect(mount(NULL, "/dev/shm", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
    expect_code(-EROFS, naru_region_create("posix-shm:/x", 1000, NULL, &r));
    expect_code(-EROFS, naru_region_create("shm:x", 1000, NULL, &r));
    expect_says("ead-only");
    expect_code(-EROFS, naru_region_open("posix-shm:/there", RW, NULL, &r));
    r = open_it("posix-shm:/there", NARU_READ);
    expect(naru_region_size(r) == 1000);
    naru_region_close(r);
}

static void read_only_mount(void)
{
    if (!may_have_namespaces())
        test_skip("no mount namespace may be made here");
    end_child(start_child(read_only_in_child, NULL));
}

static void lower(int resource, rlim_t to)
{
    expect(setrlimit(resource, &(struct rlimit){to, to}) == 0);
}

static void limited_in_child(void *unused)
{
    naru_region *r = NULL;
    struct naru_region_options locked = {.size = sizeof locked, .flags = NARU_LOCKED};
    (void)unused;
    if (geteuid() == 0)
        become_nobody();
    lower(RLIMIT_MEMLOCK, 64 << 10);
    expect_ok(naru_region_create(NULL, 32 << 10, &locked, &r));
    naru_region *more = NULL;
    if (!SANITIZED) {
        expect_code(-ENOMEM, naru_region_create(NULL, 1 << 20, &locked, &more));
        expect_says("RLIMIT_MEMLOCK is 65536");
        expect_says("32 KiB locked, 1 MiB more");
    }
    naru_region_close(r);
    lower(RLIMIT_FSIZE, 1 << 20);
    expect_code(-ENOSPC, naru_region_create(NULL, 2 << 20, NULL, &more));
    expect_says("RLIMIT_FSIZE is 1048576");
    expect_code(-ENOSPC, naru_region_create("posix-shm:/naru-too-long", 2 << 20, NULL, &more));
    r = create(NULL, 1 << 20, 4 << 20);
    expect_code(-ENOSPC, naru_region_grow(r, 2 << 20));
    naru_region_close(r);
    lower(RLIMIT_NOFILE, 3);
    expect_code(-EMFILE, naru_region_create(NULL, 100, NULL, &more));
    expect_says("RLIMIT_NOFILE is 3");
    expect(more == NULL);
    _exit(0); /* a leak checker would need descriptors */
}

static void address_space_in_child(void *unused)
{
    naru_region *r = NULL;
    (void)unused;
    lower(RLIMIT_AS, 1 << 30);
    expect_code(-ENOMEM, naru_region_create(NULL, PAGE,
                                            &(struct naru_region_options){
                                                .size = sizeof(struct naru_region_options),
                                                .reserve = (size_t)2 << 30},
                                            &r));
    expect_says("RLIMIT_AS is 1073741824");
    expect_says("2 GiB more");
    expect(r == NULL);
}

static void limits(void)
{
    end_child(start_child(limited_in_child, NULL));
    if (!SANITIZED)
        end_child(start_child(address_space_in_child, NULL));
}

static void set_limit(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY);
    expect(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value));
    close(fd);
}

static void sysv_limits_in_child(void *unused)
{
    naru_region *r = NULL, *other = NULL;
    (void)unused;
    expect(unshare(CLONE_NEWIPC) == 0);
    set_limit("/proc/sys/kernel/shmmax", "1048576");
    expect_code(-EMSGSIZE, naru_region_create("sysv-shm:0x77", 1 << 21, NULL, &r));
    expect_says("kernel.shmmax is 1048576");
    set_limit("/proc/sys/kernel/shmall", "100");
    expect_code(-ENOSPC, naru_region_create("sysv-shm:0x77", 101 * PAGE, NULL, &r));
    expect_says("kernel.shmall is 100 pages, 0 are in use, and 101");
    set_limit("/proc/sys/kernel/shmmni", "1");
    r = create("sysv-shm:0x77", 100, 0);
    expect_code(-ENOSPC, naru_region_create("sysv-shm:0x78", 100, NULL, &other));
    expect_says("kernel.shmmni is 1, 1 segments");
    expect_ok(naru_remove("sysv-shm:0x77"));
    naru_region_close(r);
}

static void sysv_limits(void)
{
    if (!may_have_namespaces())
        test_skip("no IPC namespace may be made here");
    end_child(start_child(sysv_limits_in_child, NULL));
}

/* ---- another user ---- */

static void other_user(void *arg)
{
    naru_region *r = NULL;
    const char *const *urls = arg;
    become_nobody();
    for (int i = 0; i < NAMED; i++) {
        int code = naru_region_open(urls[i], NARU_READ, NULL, &r);
        expect_code(-EACCES, code);
        expect_says("uid 0");
        expect_says(i == 0 ? "0700" : "0600");
        expect_code(-EACCES, naru_region_create(urls[i], 1000, NULL, &r));
        code = naru_remove(urls[i]);
        expect(code == -EACCES || code == -EPERM);
        expect(r == NULL);
    }
}

static void other_user_let_in(void *arg)
{
    const char *const *urls = arg;
    become_nobody();
    for (int i = 0; i < NAMED; i++) {
        naru_region *r = open_it(urls[i], RW);
        expect_ok(naru_region_write(r, 0, "other", 6));
        naru_region_close(r);
    }
}

static void by_another_user(void)
{
    if (geteuid() != 0)
        test_skip("only root can become another user");
    const char *urls[NAMED];
    naru_region *r[NAMED];
    for (int wide = 0; wide < 2; wide++) {
        struct naru_region_options o = {.size = sizeof o, .mode = wide ? 0666 : 0};
        expect(chmod(test_directory, 0755) == 0);
        for (int i = 0; i < NAMED; i++) {
            urls[i] = test_url(named[i]);
            expect_ok(naru_region_create(urls[i], 1000, &o, &r[i]));
        }
        end_child(start_child(wide ? other_user_let_in : other_user, urls));
        for (int i = 0; i < NAMED; i++) {
            expect(!wide || strcmp(naru_region_data(r[i]), "other") == 0);
            naru_region_close(r[i]);
            expect_ok(naru_remove(urls[i]));
        }
    }
}

/* ---- damage ---- */

static void damaged(void)
{
    static const uint64_t values[] = {
        0,         1,          PAGE - 1,          PAGE,      PAGE + 1,
        1 << 20,   UINT32_MAX, (uint64_t)1 << 32, INT64_MAX, (uint64_t)1 << 63,
        UINT64_MAX};
    const char *url = test_url(named[0]);
    char path[200];
    naru_region *r = create(url, PAGE, 64 * PAGE);
    naru_region_close(r);
    snprintf(path, sizeof path, "%s/region/meta", test_directory);
    int fd = open(path, O_RDWR), opened = 0;
    expect(fd >= 0);
    for (size_t k = 0; k < 16; k++) {
        uint64_t right;
        off_t at = (off_t)(offsetof(struct naru_object_meta, option) + k * 8);
        expect(pread(fd, &right, 8, at) == 8);
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            expect(pwrite(fd, &values[v], 8, at) == 8);
            for (int access = NARU_READ; access <= RW; access += NARU_WRITE) {
                int code = naru_region_open(url, access, NULL, &r);
                expect(code == 0 || code == -EPROTO || code == -ENOMEM);
                if (code < 0)
                    continue;
                opened++;
                size_t n = naru_region_size(r);
                char byte = 0;
                expect(n > 0 && n <= PAGE);
                expect_ok(naru_region_read(r, n - 1, &byte, 1));
                byte = ((volatile char *)naru_region_data(r))[n - 1];
                naru_region_close(r);
            }
        }
        expect(pwrite(fd, &right, 8, at) == 8);
    }
    printf("# %d of %zu opened\n", opened, 2 * 16 * sizeof values / sizeof *values);
    close(fd);
    snprintf(path, sizeof path, "%s/region/data", test_directory);
    expect(truncate(path, 100) == 0);
    expect_code(-EPROTO, naru_region_open(url, RW, NULL, &r));
    expect_says("100");
    expect_says("4096");
    expect(unlink(path) == 0 && mkdir(path, 0700) == 0);
    expect(naru_region_open(url, RW, NULL, &r) < 0);
    expect(rmdir(path) == 0 && symlink("/etc/passwd", path) == 0);
    expect_code(-EPROTO, naru_region_open(url, NARU_READ, NULL, &r));
    expect(unlink(path) == 0);
    expect_code(-EPROTO, naru_region_open(url, RW, NULL, &r));
    expect_ok(naru_remove(url));
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"what strangers hand over", from_strangers},
        {"other programs' memory", other_programs_memory},
        {"a full /dev/shm", full},
        {"a /dev/shm that can only be read", read_only_mount},
        {"limits of the process", limits},
        {"limits of System V", sysv_limits},
        {"another user", by_another_user},
        {"damaged", damaged},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
