/* SPDX-License-Identifier: MIT */
/* mq.c - message queues of the kernel's: foreign programs that know mq_* and msg* alone at the
 * other end, limits and who is named for them, removal, cancelling, a second user. */
#include "base/fault.h"
#include "harness.h"

#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define POSIX "posix-mq:/%s-q"
#define SYSV "sysv-mq:%s#1"
enum { NOBODY = 65534 };

/* ---- the foreign side ---- */

static const char *queue_name(void)
{
    return strchr(test_url(POSIX), '/');
}

static mqd_t foreign_mq(int flags)
{
    mqd_t q = mq_open(queue_name(), flags);
    expect(q >= 0);
    return q;
}

static int foreign_id(void)
{
    int id = msgget(ftok(test_directory, 1), 0);
    expect(id >= 0);
    return id;
}

struct letter {
    long type;
    char text[20000];
};

static void foreign_send(long type, const void *data, size_t size)
{
    static struct letter m;
    m.type = type;
    memcpy(m.text, data, size);
    expect(msgsnd(foreign_id(), &m, size, 0) == 0);
}

/* The type that came; its bytes are in *m. */
static long foreign_receive(struct letter *m, long type, int flags, ssize_t *ret_size)
{
    *ret_size = msgrcv(foreign_id(), m, sizeof m->text, type, flags);
    expect(*ret_size >= 0);
    return m->type;
}

/* A program of tests/foreign, run by sh: whether it ended well and what it printed. "%s": whose. */
static void expect_foreign(const char *command, const char *whose, const char *prints)
{
    char line[600], own[300] = "", got[600] = "";
    bool posix = whose[0] == '/' && !strchr(whose + 1, '/');
    expect(readlink("/proc/self/exe", own, sizeof own - 1) > 0);
    *strrchr(own, '/') = '\0';
    int n = snprintf(line, sizeof line, "%s/%s ", own, posix ? "mq-posix" : "mq-sysv");
    snprintf(line + n, sizeof line - (size_t)n, command, whose);
    FILE *f = popen(line, "re");
    expect(f);
    (void)!fread(got, 1, sizeof got - 1, f);
    expect_code(0, pclose(f));
    if (strcmp(got, prints) != 0)
        test_failed(__FILE__, __LINE__, "%s printed \"%s\"", command, got);
}

static naru_channel *open_end(const char *form, int role, const struct naru_queue_options *o)
{
    naru_channel *c;
    expect_ok(naru_queue_open(test_url(form), role, o, &c));
    return c;
}

static void send_text(naru_channel *c, uint32_t type, const char *text)
{
    expect_ok(naru_channel_send(c, type, text, strlen(text), PATIENCE));
}

static void expect_text(naru_channel *c, int64_t select, uint32_t type, const char *text)
{
    struct naru_info info;
    char buf[100];
    ssize_t n = naru_channel_recv(c, select, buf, sizeof buf, &info, PATIENCE);
    expect_code((long)strlen(text), n);
    if (info.type != type || memcmp(buf, text, (size_t)n) != 0)
        test_failed(__FILE__, __LINE__, "%u \"%.*s\" came, not %u \"%s\"", info.type, (int)n, buf,
                    type, text);
}

/* Of a forked child: a namespace of its own, where limits and mounts can be changed. */
static void own_namespace(int kinds)
{
    expect(unshare(kinds) == 0);
}

static bool may_have_namespaces(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(geteuid() == 0 && unshare(CLONE_NEWIPC | CLONE_NEWNS) == 0 ? 0 : 1);
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static void set_limit(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY);
    expect(fd >= 0);
    expect(write(fd, value, strlen(value)) == (ssize_t)strlen(value));
    close(fd);
}

static void become_nobody(void)
{
    expect(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
}

/* ---- POSIX ---- */

static void foreign_mq_receives(void)
{
    naru_channel *c = open_end(POSIX, NARU_SEND, NULL);
    send_text(c, 1, "one");
    send_text(c, 7, "seven");
    send_text(c, 32768, "highest");
    send_text(c, 7, "seven again");
    expect_foreign("recv %s 4", queue_name(), "32767 highest\n6 seven\n6 seven again\n0 one\n");
    expect_ok(naru_channel_flush(c, NARU_NOWAIT));
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(POSIX)));
}

static void foreign_mq_sends(void)
{
    naru_channel *c = open_end(POSIX, NARU_RECV, NULL);
    expect_foreign("send %s 0 low 32767 high 41 ''", queue_name(), "");
    expect_text(c, 0, 32768, "high");
    expect_text(c, 0, 42, "");
    expect_text(c, 0, 1, "low");
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(POSIX)));
}

/* A foreign creator's sizes hold; a foreign opener sees what naru's options made. */
static void foreign_sizes(void)
{
    struct mq_attr a = {.mq_maxmsg = 3, .mq_msgsize = 100};
    mqd_t q = mq_open(queue_name(), O_CREAT | O_EXCL | O_RDWR, 0600, &a);
    char block[101] = "";
    expect(q >= 0);
    naru_channel *c = open_end(POSIX, NARU_SEND, NULL);
    expect_ok(naru_channel_send(c, 1, block, 100, NARU_NOWAIT));
    expect_code(-EMSGSIZE, naru_channel_send(c, 1, block, 101, NARU_NOWAIT));
    expect_says("100 B");
    naru_channel_close(c);
    mq_close(q);
    expect_ok(naru_remove(test_url(POSIX)));
    struct naru_queue_options o = {.size = sizeof o, .messages = 4, .max_message = 50};
    c = open_end(POSIX, NARU_RECV, &o);
    q = foreign_mq(O_RDONLY);
    expect(mq_getattr(q, &a) == 0 && a.mq_maxmsg == 4 && a.mq_msgsize == 50);
    mq_close(q);
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(POSIX)));
    o = (struct naru_queue_options){.size = sizeof o, .capacity = 201, .max_message = 50};
    c = open_end(POSIX, NARU_RECV, &o);
    q = foreign_mq(O_RDONLY);
    expect(mq_getattr(q, &a) == 0 && a.mq_maxmsg == 5 && a.mq_msgsize == 50);
    mq_close(q);
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(POSIX)));
}

static void posix_options_agree(void)
{
    struct naru_queue_options o = {
        .size = sizeof o, .messages = 4, .max_message = 50, .mode = 0622};
    naru_channel *c, *d;
    umask(077); /* the mode is as asked all the same */
    c = open_end(POSIX, NARU_RECV, &o);
    struct stat st;
    mqd_t q = foreign_mq(O_RDONLY);
    expect(fstat(q, &st) == 0 && (st.st_mode & 07777) == 0622);
    mq_close(q);
    d = open_end(POSIX, NARU_SEND, &o); /* the same again */
    naru_channel_close(d);
    naru_channel_close(open_end(POSIX, NARU_SEND, NULL));
    static const struct {
        struct naru_queue_options o;
        const char *has, *asked;
    } other[] = {
        {{.messages = 5}, " 4,", " 5"},
        {{.max_message = 51}, " 50,", " 51"},
        {{.capacity = 251}, " 200,", " 251"},
        {{.mode = 0600}, "0622", "0600"},
    };
    for (int i = 0; i < 4; i++) {
        o = other[i].o;
        o.size = sizeof o;
        expect_code(-EEXIST, naru_queue_open(test_url(POSIX), NARU_SEND, &o, &d));
        expect_says(other[i].has);
        expect_says(other[i].asked);
    }
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(POSIX)));
}

static void posix_cannot(void)
{
    struct naru_queue_options o = {.size = sizeof o};
    naru_channel *c = open_end(POSIX, NARU_SEND | NARU_RECV, &o);
    char byte;
    expect_code(-EOPNOTSUPP, naru_channel_recv(c, 1, &byte, 1, NULL, NARU_NOWAIT));
    expect_says("select");
    expect_code(-EINVAL, naru_channel_send(c, 32769, "x", 1, NARU_NOWAIT));
    expect_says("32768");
    expect_says("MQ_PRIO_MAX");
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(POSIX)));
    char name[300] = "posix-mq:/";
    memset(name + 10, 'n', 256);
    expect_code(-ENAMETOOLONG, naru_queue_open(name, NARU_RECV, NULL, &c));
    expect_says("255");
}

/* A bell, not a clock: one sleep and one wake-up however long it takes, and no thread. */
static void posix_sleeps_once(void)
{
    struct naru_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    struct stat threads, same;
    char byte;
    expect(stat("/proc/self/task", &threads) == 0); /* its links count them */
    naru_channel *c = open_end(POSIX, NARU_RECV, NULL);
    expect_code(-ETIMEDOUT, naru_channel_recv(c, 0, &byte, 1, NULL, NARU_MS));
    expect_ok(naru_stats(c, &before));
    expect_code(-ETIMEDOUT, naru_channel_recv(c, 0, &byte, 1, NULL, 300 * NARU_MS));
    expect_ok(naru_stats(c, &after));
    expect(after.sleeps - before.sleeps <= 2);
    struct pollfd p = {naru_fd(c), POLLIN, 0};
    expect_code(-EAGAIN, naru_channel_recv(c, 0, &byte, 1, NULL, NARU_NOWAIT));
    expect(poll(&p, 1, 200) == 0);
    expect(stat("/proc/self/task", &same) == 0 && same.st_nlink == threads.st_nlink);
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(POSIX)));
}

static void posix_limits(void *unused)
{
    struct naru_queue_options o = {.size = sizeof o, .messages = 11};
    naru_channel *c;
    (void)unused;
    own_namespace(CLONE_NEWIPC);
    set_limit("/proc/sys/fs/mqueue/queues_max", "1");
    struct rlimit none = {1000, 1000};
    become_nobody();
    expect_code(-EINVAL, naru_queue_open("posix-mq:/a", NARU_RECV, &o, &c));
    expect_says("fs.mqueue.msg_max is 10 and 11 are asked for");
    expect_says("sysctl -w fs.mqueue.msg_max=11");
    o = (struct naru_queue_options){.size = sizeof o, .max_message = 8193};
    expect_code(-EINVAL, naru_queue_open("posix-mq:/a", NARU_RECV, &o, &c));
    expect_says("fs.mqueue.msgsize_max is 8192 and 8193 are asked for");
    expect_ok(naru_queue_open("posix-mq:/a", NARU_RECV, NULL, &c));
    naru_channel *d;
    expect_code(-ENOSPC, naru_queue_open("posix-mq:/b", NARU_RECV, NULL, &d));
    expect_says("fs.mqueue.queues_max is 1");
    expect_says("sysctl -w fs.mqueue.queues_max");
    naru_channel_close(c);
    expect_ok(naru_queue_open("posix-mq:/a", NARU_SEND, NULL, &c));
    int r;
    while ((r = naru_channel_send(c, 1, "x", 1, 10 * NARU_MS)) == 0)
        ;
    expect_code(-ETIMEDOUT, r);
    expect_says("mq_maxmsg is 10, 10 messages are in it");
    expect_says("fs.mqueue.msg_max, 10 (`sysctl -w fs.mqueue.msg_max=N`");
    naru_channel_close(c);
    expect_ok(naru_remove("posix-mq:/a"));
    expect(setrlimit(RLIMIT_MSGQUEUE, &none) == 0);
    expect_code(-EMFILE, naru_queue_open("posix-mq:/a", NARU_RECV, NULL, &c));
    expect_says("RLIMIT_MSGQUEUE is 1000");
    expect_says("ulimit -q");
    expect_code(-ENOENT, naru_remove("posix-mq:/a"));
}

static void posix_limits_named(void)
{
    end_child(start_child(posix_limits, NULL));
}

static void posix_refused(void *unused)
{
    naru_channel *c;
    (void)unused;
    become_nobody();
    expect_code(-EACCES, naru_queue_open(test_url(POSIX), NARU_RECV, NULL, &c));
    expect_says("uid 65534");
    expect_code(-EACCES, naru_remove(test_url(POSIX)));
}

/* Where mqueue is mounted, owner and mode are in the sentence. */
static void posix_refused_mounted(void *unused)
{
    char place[200];
    naru_channel *c;
    (void)unused;
    own_namespace(CLONE_NEWNS);
    expect(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    snprintf(place, sizeof place, "%s/mq", test_directory);
    expect(mkdir(place, 0755) == 0);
    expect(chmod(test_directory, 0755) == 0);
    expect(mount("none", place, "mqueue", 0, NULL) == 0);
    become_nobody();
    expect_code(-EACCES, naru_queue_open(test_url(POSIX), NARU_RECV, NULL, &c));
    expect_says("belongs to uid 0, gid 0, mode 0640");
    expect_says("this is uid 65534");
}

static void posix_second_user(void)
{
    struct naru_queue_options o = {.size = sizeof o, .mode = 0640};
    naru_channel *c = open_end(POSIX, NARU_SEND, &o);
    end_child(start_child(posix_refused, NULL));
    end_child(start_child(posix_refused_mounted, NULL));
    char place[200];
    snprintf(place, sizeof place, "%s/mq", test_directory);
    rmdir(place);
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(POSIX)));
}

/* ---- both ---- */

static const char *form_of(int i)
{
    return i ? SYSV : POSIX;
}

static int slowly(const char *call)
{
    if (strcmp(call, "fchmod") == 0 || strcmp(call, "IPC_SET") == 0)
        usleep(5000);
    return 0;
}

static void make_slowly(void *options)
{
    naru__fault = slowly;
    umask(077);
    for (int i = 0; i < 2; i++)
        naru_channel_close(open_end(form_of(i), NARU_RECV, options));
}

/* Who comes while a queue is being made does not take it for another. */
static void made_meanwhile(void)
{
    struct naru_queue_options o = {.size = sizeof o, .mode = 0622, .capacity = 8192};
    for (int round = 0; round < 10; round++) {
        pid_t maker = start_child(make_slowly, &o);
        for (int i = 0; i < 2; i++) {
            struct naru_queue_options existing = o;
            naru_channel *c;
            int r;
            existing.flags = NARU_EXISTING;
            do
                r = naru_queue_open(test_url(form_of(i)), NARU_RECV, &existing, &c);
            while (r == -ENOENT);
            expect_ok(r);
            naru_channel_close(c);
        }
        end_child(maker);
        for (int i = 0; i < 2; i++)
            expect_ok(naru_remove(test_url(form_of(i))));
    }
}

/* What did not fit stays this end's next, and its size is told. */
static void too_small(void)
{
    struct naru_info info;
    char buf[20];
    for (int i = 0; i < 2; i++) {
        naru_channel *c = open_end(form_of(i), NARU_SEND | NARU_RECV, NULL);
        send_text(c, 5, "sixteen bytes...");
        send_text(c, 3, "next");
        for (int k = 0; k < 3; k++) {
            expect_code(-EMSGSIZE, naru_channel_recv(c, 0, buf, 4, &info, NARU_NOWAIT));
            expect(info.size == 16 && info.type == 5);
            expect_says("16 bytes");
        }
        struct naru_stats stats = {.size = sizeof stats};
        expect_ok(naru_stats(c, &stats));
        expect(stats.held == 16 && stats.received == 0);
        struct pollfd p = {naru_fd(c), POLLIN, 0};
        expect(poll(&p, 1, 0) == 1); /* it lies ready */
        if (i)
            expect_text(c, -9, 3, "next"); /* the lowest is in the kernel */
        expect_text(c, 0, 5, "sixteen bytes...");
        if (!i)
            expect_text(c, 0, 3, "next");
        expect_ok(naru_stats(c, &stats));
        expect(stats.held == 0);
        naru_channel_close(c);
        expect_ok(naru_remove(test_url(form_of(i))));
    }
}

enum { SENDERS = 3, RECEIVERS = 2, EACH = 2000 };
static struct {
    _Atomic int seen[SENDERS][EACH];
    _Atomic int received;
} * shared;

static void many_send(void *which)
{
    int *p = which; /* form, sender */
    naru_channel *c = open_end(form_of(p[0]), NARU_SEND, NULL);
    for (int i = 0; i < EACH; i++) {
        int body[2] = {p[1], i};
        expect_ok(naru_channel_send(c, 1, body, sizeof body, NARU_FOREVER));
    }
    naru_channel_close(c);
}

static void many_receive(void *which)
{
    int *p = which, last[SENDERS] = {-1, -1, -1};
    naru_channel *c = open_end(form_of(p[0]), NARU_RECV, NULL);
    for (;;) {
        int body[2];
        struct naru_info info;
        expect_code(sizeof body, naru_channel_recv(c, 0, body, sizeof body, &info, NARU_FOREVER));
        if (body[0] < 0)
            break;
        expect(body[1] > last[body[0]]); /* of one sender in order */
        last[body[0]] = body[1];
        shared->seen[body[0]][body[1]]++;
        shared->received++;
    }
    naru_channel_close(c);
}

/* Each message to one of two receivers, none lost, none twice. Every wait is for ever. */
static void senders_and_receivers(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int form = 0; form < 2; form++) {
        pid_t receivers[RECEIVERS], senders[SENDERS];
        int which[2] = {form, 0}, end[2] = {-1, 0};
        memset(shared, 0, sizeof *shared);
        naru_channel *c = open_end(form_of(form), NARU_SEND, NULL);
        for (int i = 0; i < RECEIVERS; i++)
            receivers[i] = start_child(many_receive, which);
        for (which[1] = 0; which[1] < SENDERS; which[1]++)
            senders[which[1]] = start_child(many_send, which);
        for (int i = 0; i < SENDERS; i++)
            end_child(senders[i]);
        for (int i = 0; i < RECEIVERS; i++)
            expect_ok(naru_channel_send(c, 1, end, sizeof end, PATIENCE));
        for (int i = 0; i < RECEIVERS; i++)
            end_child(receivers[i]);
        expect(shared->received == SENDERS * EACH);
        for (int i = 0; i < SENDERS; i++)
            for (int k = 0; k < EACH; k++)
                expect(shared->seen[i][k] == 1);
        naru_channel_close(c);
        expect_ok(naru_remove(test_url(form_of(form))));
    }
    munmap(shared, sizeof *shared);
}

/* ---- System V ---- */

struct point {
    int32_t x, y;
};
struct color {
    uint8_t red, green, blue;
};
NARU_STRUCT(point, 1, struct point)
NARU_STRUCT(color, 2, struct color)

static void structs_for_foreign(void)
{
    naru_channel *c = open_end(SYSV, NARU_SEND, NULL);
    for (int i = 0; i < 2; i++) {
        struct point p = {i, -i};
        struct color k = {(uint8_t)i, 20, 30};
        expect_ok(point_send(c, &p, PATIENCE));
        expect_ok(color_send(c, &k, PATIENCE));
    }
    /* type 2 first, though 1 was sent first */
    expect_foreign("structs %s 1 2 2 0 0", test_directory,
                   "color 0 20 30\ncolor 1 20 30\npoint 0 0\npoint 1 -1\n");
    expect_ok(naru_channel_flush(c, NARU_NOWAIT));
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(SYSV)));
}

static void foreign_msgsnd(void)
{
    struct point p = {8, 9}, got;
    naru_channel *c = open_end(SYSV, NARU_RECV, NULL);
    expect_foreign("send %s 1 3 3 5 5 1 1 2 2 4 4 7 7 3 3 2147483647 ''", test_directory, "");
    expect_text(c, 2, 2, "2");
    expect_text(c, -4, 1, "1");
    expect_text(c, NARU_EXCEPT(3), 5, "5");
    expect_text(c, -4, 3, "3");
    expect_text(c, 0, 4, "4");
    expect_text(c, NARU_TYPE_MAX, NARU_TYPE_MAX, "");
    expect_text(c, NARU_EXCEPT(7), 3, "3");
    char byte;
    expect_code(-EAGAIN, naru_channel_recv(c, 9, &byte, 1, NULL, NARU_NOWAIT));
    expect_text(c, 0, 7, "7");
    foreign_send(1, &p, sizeof p);
    expect_ok(point_recv(c, &got, NULL, PATIENCE));
    expect(got.x == 8 && got.y == 9);
    if (sizeof(long) > 4) { /* a type that naru has no number for */
        foreign_send((long)(INT64_C(1) << 31), "x", 1);
        expect_code(-EPROTO, naru_channel_recv(c, 0, &byte, 1, NULL, NARU_NOWAIT));
        expect_says("2147483648");
        expect_code(-EAGAIN, naru_channel_recv(c, 0, &byte, 1, NULL, NARU_NOWAIT));
    }
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(SYSV)));
}

/* The same queue by its key in figures. */
static void by_key(void)
{
    char url[60];
    snprintf(url, sizeof url, "sysv-mq:0x%x", (unsigned)ftok(test_directory, 1));
    naru_channel *c = open_end(SYSV, NARU_SEND, NULL), *d;
    expect_ok(naru_queue_open(url, NARU_RECV, NULL, &d));
    send_text(c, 6, "by key");
    expect_text(d, 6, 6, "by key");
    naru_channel_close(c);
    naru_channel_close(d);
    expect_ok(naru_remove(url));
    expect_code(-ENOENT, naru_remove(test_url(SYSV)));
    expect_code(-ENOENT, naru_queue_open("sysv-mq:/no/such/file#1", NARU_RECV, NULL, &c));
    expect_says("ftok");
}

static void sysv_options_agree(void)
{
    struct naru_queue_options o = {.size = sizeof o, .capacity = 10000, .mode = 0622};
    naru_channel *c = open_end(SYSV, NARU_RECV, &o), *d;
    struct msqid_ds ds;
    expect(msgctl(foreign_id(), IPC_STAT, &ds) == 0);
    expect(ds.msg_qbytes == 10000 && (ds.msg_perm.mode & 0777) == 0622);
    naru_channel_close(open_end(SYSV, NARU_SEND, &o));
    o = (struct naru_queue_options){.size = sizeof o, .capacity = 9999};
    expect_code(-EEXIST, naru_queue_open(test_url(SYSV), NARU_SEND, &o, &d));
    expect_says("10000");
    expect_says("9999");
    o = (struct naru_queue_options){.size = sizeof o, .mode = 0600};
    expect_code(-EEXIST, naru_queue_open(test_url(SYSV), NARU_SEND, &o, &d));
    expect_says("0622");
    expect_says("0600");
    o = (struct naru_queue_options){.size = sizeof o, .messages = 5};
    expect_code(-EINVAL, naru_queue_open(test_url(SYSV), NARU_SEND, &o, &d));
    expect_says(".capacity");
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(SYSV)));
    o = (struct naru_queue_options){.size = sizeof o, .capacity = 100};
    c = open_end(SYSV, NARU_SEND, &o); /* what can never have room is refused at once */
    expect_code(-EMSGSIZE, naru_channel_send(c, 1, &o, 101, NARU_FOREVER));
    expect_says("msg_qbytes");
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(SYSV)));
}

static void sysv_limits(void *unused)
{
    static char block[20000], got[20000];
    naru_channel *in, *out, *c;
    (void)unused;
    own_namespace(CLONE_NEWIPC);
    expect_ok(naru_queue_open("sysv-mq:0x77", NARU_RECV, NULL, &in));
    expect_ok(naru_queue_open("sysv-mq:0x77", NARU_SEND, NULL, &out));
    expect_code(-EMSGSIZE, naru_channel_send(out, 1, block, 8193, NARU_NOWAIT));
    expect_says("kernel.msgmax");
    expect_says("8 KiB");
    expect_says("sysctl -w kernel.msgmax");
    expect_ok(naru_channel_send(out, 1, block, 8000, NARU_NOWAIT));
    expect_ok(naru_channel_send(out, 1, block, 8000, NARU_NOWAIT));
    expect_code(-ETIMEDOUT, naru_channel_send(out, 1, block, 8000, 10 * NARU_MS));
    expect_says("msg_qbytes is 16384, 16000 bytes in 2 messages are in it");
    expect_says("kernel.msgmnb, 16384 (`sysctl -w kernel.msgmnb=N`");
    naru_channel_close(out);
    set_limit("/proc/sys/kernel/msgmax", "20000"); /* the receiver opened before */
    set_limit("/proc/sys/kernel/msgmnb", "60000");
    expect_ok(naru_remove("sysv-mq:0x77"));
    expect_code(-EIDRM, naru_channel_recv(in, 0, got, 1, NULL, NARU_NOWAIT));
    naru_channel_close(in);
    expect_ok(naru_queue_open("sysv-mq:0x77", NARU_RECV, NULL, &in));
    expect_ok(naru_queue_open("sysv-mq:0x77", NARU_SEND, NULL, &out));
    memset(block, 'b', sizeof block);
    expect_ok(naru_channel_send(out, 1, block, sizeof block, NARU_NOWAIT));
    expect_code(sizeof block, naru_channel_recv(in, 0, got, sizeof got, NULL, NARU_FOREVER));
    expect(memcmp(block, got, sizeof got) == 0);
    set_limit("/proc/sys/kernel/msgmax", "10000"); /* lowered while it is open */
    expect_code(-EMSGSIZE, naru_channel_send(out, 1, block, 10001, NARU_NOWAIT));
    expect_says("kernel.msgmax is 10000 now");
    set_limit("/proc/sys/kernel/msgmni", "1");
    become_nobody();
    expect_code(-ENOSPC, naru_queue_open("sysv-mq:0x78", NARU_RECV, NULL, &c));
    expect_says("kernel.msgmni is 1, 1 queues are there");
    expect_says("sysctl -w kernel.msgmni");
    naru_channel_close(in);
    naru_channel_close(out);
}

/* More than kernel.msgmnb is for the privileged. */
static void sysv_capacity(void *unused)
{
    struct naru_queue_options o = {.size = sizeof o, .capacity = 70000};
    naru_channel *c;
    (void)unused;
    own_namespace(CLONE_NEWIPC);
    become_nobody();
    expect_code(-EPERM, naru_queue_open("sysv-mq:0x79", NARU_RECV, &o, &c));
    expect_says("kernel.msgmnb is 16384 and 70000 bytes are asked for");
    expect_code(-ENOENT, naru_remove("sysv-mq:0x79")); /* what it created is gone again */
}

static void sysv_limits_named(void)
{
    end_child(start_child(sysv_limits, NULL));
    end_child(start_child(sysv_capacity, NULL));
}

static void sysv_refused(void *url)
{
    naru_channel *c;
    become_nobody();
    for (int role = 1; role < 4; role += 2) { /* receiving, and both */
        expect_code(-EACCES, naru_queue_open(url, role, NULL, &c));
        expect_says("belongs to uid 0, gid 0, mode 0622");
        expect_says("this is uid 65534");
    }
    expect_code(-EPERM, naru_remove(url));
    expect_says("belongs to uid 0");
    expect_ok(naru_queue_open(url, NARU_SEND, NULL, &c)); /* its mode allows that */
    send_text(c, 1, "from nobody");
    expect_code(-ETIMEDOUT, naru_channel_flush(c, 10 * NARU_MS)); /* looks without reading */
    naru_channel_close(c);
}

static void sysv_second_user(void)
{
    struct naru_queue_options o = {.size = sizeof o, .mode = 0622};
    char url[60];
    snprintf(url, sizeof url, "sysv-mq:0x%x", (unsigned)ftok(test_directory, 1));
    naru_channel *c = open_end(SYSV, NARU_RECV, &o);
    end_child(start_child(sysv_refused, url));
    expect_text(c, 0, 1, "from nobody");
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(SYSV)));
}

/* ---- System V: waiting ---- */

struct waiting {
    naru_channel *c;
    int64_t timeout;
    bool sends;
    int result, why_says;
    const char *says;
};

static void *wait_there(void *context)
{
    struct waiting *w = context;
    char buf[100];
    static char block[8000];
    w->result = w->sends ? naru_channel_send(w->c, 1, block, sizeof block, w->timeout)
                         : (int)naru_channel_recv(w->c, 0, buf, sizeof buf, NULL, w->timeout);
    w->why_says = w->says && strstr(naru_why(), w->says);
    return NULL;
}

static pthread_t start_waiting(struct waiting *w)
{
    struct naru_stats stats = {.size = sizeof stats};
    pthread_t thread;
    expect_ok(naru_stats(w->c, &stats));
    const uint64_t before = stats.sleeps;
    int64_t end = test_now() + PATIENCE;
    expect(pthread_create(&thread, NULL, wait_there, w) == 0);
    for (; stats.sleeps == before && test_now() < end; usleep(1000))
        expect_ok(naru_stats(w->c, &stats));
    usleep(50000);
    return thread;
}

static void removed_while_waiting(void)
{
    for (int i = 0; i < 4; i++) {
        naru_channel *c = open_end(SYSV, NARU_SEND | NARU_RECV, NULL);
        struct waiting w = {
            .c = c, .timeout = i % 2 ? PATIENCE : NARU_FOREVER, .sends = i > 1, .says = "removed"};
        static char block[8000];
        while (w.sends && naru_channel_send(c, 1, block, sizeof block, NARU_NOWAIT) == 0)
            ;
        pthread_t thread = start_waiting(&w);
        expect(msgctl(foreign_id(), IPC_RMID, NULL) == 0);
        pthread_join(thread, NULL);
        expect_code(-EIDRM, w.result);
        expect(w.why_says);
        expect_code(-EIDRM, naru_channel_recv(c, 0, block, 1, NULL, NARU_FOREVER));
        expect_code(-EIDRM, naru_channel_send(c, 1, block, 1, NARU_FOREVER));
        expect_code(-EIDRM, naru_channel_flush(c, NARU_NOWAIT));
        naru_channel_close(c);
    }
}

/* For ever: one system call, which cannot be cancelled; naru_cancel says so and leaves no trace. */
static void cancel_for_ever(void)
{
    naru_channel *c = open_end(SYSV, NARU_SEND | NARU_RECV, NULL);
    struct waiting w = {.c = c, .timeout = NARU_FOREVER};
    struct naru_stats stats = {.size = sizeof stats};
    char byte;
    pthread_t thread = start_waiting(&w);
    expect_code(-EOPNOTSUPP, naru_cancel(c));
    expect_says(".cancellable");
    foreign_send(1, "let go", 6);
    pthread_join(thread, NULL);
    expect_code(6, w.result);
    expect_ok(naru_stats(c, &stats));
    expect(stats.calls == 1 && stats.sleeps == 1);
    expect_code(-ETIMEDOUT, naru_channel_recv(c, 0, &byte, 1, NULL, 5 * NARU_MS));
    expect_ok(naru_cancel(c)); /* nobody waits: the next wait ends, also one for ever */
    expect_code(-ECANCELED, naru_channel_recv(c, 0, &byte, 1, NULL, NARU_FOREVER));
    w = (struct waiting){.c = c, .timeout = PATIENCE, .says = "cancelled"};
    thread = start_waiting(&w);
    expect_ok(naru_cancel(c));
    pthread_join(thread, NULL);
    expect_code(-ECANCELED, w.result);
    expect(w.why_says);
    naru_channel_close(c);
    struct naru_queue_options o = {.size = sizeof o, .cancellable = true};
    c = open_end(SYSV, NARU_RECV, &o);
    w = (struct waiting){.c = c, .timeout = NARU_FOREVER};
    thread = start_waiting(&w);
    int64_t before = test_now();
    expect_ok(naru_cancel(c));
    pthread_join(thread, NULL);
    expect_code(-ECANCELED, w.result);
    expect(test_now() - before < PATIENCE);
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(SYSV)));
}

/* naru_fd is a timer that each -EAGAIN sets: 1 ms, rising to 10, and from 1 again after a success;
 * who makes no call is not woken again. */
static void timer_descriptor(void)
{
    naru_channel *c = open_end(SYSV, NARU_SEND | NARU_RECV, NULL);
    struct pollfd p = {naru_fd(c), POLLIN, 0};
    struct naru_stats before = {.size = sizeof before}, after = before;
    char buf[10];
    for (int round = 0; round < 2; round++) {
        int woken = 0;
        int64_t start = test_now(), first = 0;
        expect_code(-EAGAIN, naru_channel_recv(c, 0, buf, sizeof buf, NULL, NARU_NOWAIT));
        while (test_now() < start + 300 * NARU_MS) {
            expect_code(1, poll(&p, 1, PATIENCE_MS));
            first = first ? first : test_now() - start;
            woken++;
            expect_code(-EAGAIN, naru_channel_recv(c, 0, buf, sizeof buf, NULL, NARU_NOWAIT));
        }
        expect(first >= NARU_MS && first < PATIENCE);
        expect(woken <= 34); /* 1 + 2 + 4 + 8 + 10 + 10 ... ms; fewer under load */
        send_text(c, 1, "here");
        expect_code(1, poll(&p, 1, PATIENCE_MS)); /* late by one period at most */
        expect_text(c, 0, 1, "here");
        expect_code(1, poll(&p, 1, 0)); /* a success: look again at once */
    }
    expect_ok(naru_stats(c, &before));
    usleep(100000);
    expect_ok(naru_stats(c, &after));
    expect(after.calls == before.calls && after.sleeps == before.sleeps);
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(SYSV)));
}

static _Atomic int *alarms; /* shared with the child */
static void on_alarm(int number)
{
    (void)number;
    ++*alarms;
}

static void send_later(void *unused)
{
    struct letter m;
    ssize_t n;
    (void)unused;
    while (*alarms <= 10)
        usleep(1000);
    foreign_send(1, "late", 4);
    usleep(100000);
    for (int i = 0; i < 2; i++) /* and room for a sender that waits */
        foreign_receive(&m, 9, 0, &n);
}

/* Signals come all the while; both waits for ever go on, and the timed one keeps its time. */
static void waits_and_signals(void)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    naru_channel *c = open_end(SYSV, NARU_SEND | NARU_RECV, NULL);
    static char block[7000];
    char buf[10];
    alarms = mmap(NULL, sizeof *alarms, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(alarms != MAP_FAILED);
    pid_t child = start_child(send_later, NULL);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    expect_code(4, naru_channel_recv(c, 0, buf, sizeof buf, NULL, NARU_FOREVER));
    expect(*alarms > 10);
    while (naru_channel_send(c, 9, block, sizeof block, NARU_NOWAIT) == 0)
        ;
    expect_ok(naru_channel_send(c, 8, block, sizeof block, NARU_FOREVER));
    expect_code(sizeof block, naru_channel_recv(c, 8, block, sizeof block, NULL, NARU_FOREVER));
    setitimer(ITIMER_REAL, &never, NULL);
    end_child(child);
    setitimer(ITIMER_REAL, &every, NULL);
    while (naru_channel_recv(c, 9, block, sizeof block, NULL, NARU_NOWAIT) >= 0)
        ; /* what was sent while the child received */
    int64_t before = test_now();
    expect_code(-ETIMEDOUT, naru_channel_recv(c, 0, buf, 1, NULL, 100 * NARU_MS));
    int64_t took = test_now() - before;
    expect(took >= 100 * NARU_MS && took < PATIENCE);
    setitimer(ITIMER_REAL, &never, NULL);
    munmap(alarms, sizeof *alarms);
    naru_channel_close(c);
    expect_ok(naru_remove(test_url(SYSV)));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
        bool privileged;
    } cases[] = {
        {"posix: a foreign mq_receive gets the highest first", foreign_mq_receives, false},
        {"posix: a foreign mq_send", foreign_mq_sends, false},
        {"posix: sizes of foreign and of own making", foreign_sizes, false},
        {"posix: a later opener's options agree", posix_options_agree, false},
        {"posix: what it cannot", posix_cannot, false},
        {"posix: sleeps once", posix_sleeps_once, false},
        {"posix: limits are named", posix_limits_named, true},
        {"posix: a second user", posix_second_user, true},
        {"opened while it is made", made_meanwhile, false},
        {"a buffer too small", too_small, false},
        {"3 senders, 2 receivers", senders_and_receivers, false},
        {"sysv: a foreign msgrcv fetches structs 1 2 1 2 by type", structs_for_foreign, false},
        {"sysv: a foreign msgsnd, selected by the kernel", foreign_msgsnd, false},
        {"sysv: by key", by_key, false},
        {"sysv: a later opener's options agree", sysv_options_agree, false},
        {"sysv: limits are named", sysv_limits_named, true},
        {"sysv: a second user", sysv_second_user, true},
        {"sysv: removed while waiting", removed_while_waiting, false},
        {"sysv: cancelling", cancel_for_ever, false},
        {"sysv: the descriptor is a timer", timer_descriptor, false},
        {"sysv: waits and signals", waits_and_signals, false},
    };
    bool privileged = may_have_namespaces();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[900] = "";
        if (argc > 1 && !strstr(cases[i].name, argv[1]))
            continue;
        if (cases[i].privileged && !privileged)
            tap_skip(cases[i].name, "needs root and namespaces of its own");
        else
            tap_result(run_case(cases[i].name, cases[i].run, case_seconds(60), why, sizeof why),
                       cases[i].name, why);
    }
    return tap_end();
}
