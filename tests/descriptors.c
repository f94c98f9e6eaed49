/* SPDX-License-Identifier: MIT */
/* descriptors.c - messages with descriptors, over unix: and shm: alike: in order, all or none,
 * counted, and none left behind whatever is done with the message. */
#include "harness.h"

#include "base/fault.h"
#include "transport/common/frame.h"
#include "transport/shm/inside.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 253 };

static naru_channel *a, *b;
static int p[2], many[MOST + 1];
static bool on_shm;

static void begin_with(const char *kind, const struct naru_channel_options *o)
{
    on_shm = strcmp(kind, "shm:") == 0;
    expect_ok(naru_channel_pair(kind, o, &a, &b));
    expect(pipe2(p, O_CLOEXEC) == 0);
    for (int i = 0; i <= MOST; i++)
        many[i] = p[i & 1];
    /* what each end opens when it first meets the other, or sleeps, is open now */
    char x;
    expect_code(-ETIMEDOUT, naru_channel_recv(a, 0, &x, 1, NULL, NARU_MS));
    expect_code(-ETIMEDOUT, naru_channel_recv(b, 0, &x, 1, NULL, NARU_MS));
    expect_ok(naru_channel_send(a, 1, "a", 1, PATIENCE));
    expect_code(1, naru_channel_recv(b, 0, &x, 1, NULL, PATIENCE));
    expect_ok(naru_channel_send(b, 1, "b", 1, PATIENCE));
    expect_code(1, naru_channel_recv(a, 0, &x, 1, NULL, PATIENCE));
}

static void begin(const char *kind)
{
    begin_with(kind, NULL);
}

static void end(void)
{
    a = naru_channel_close(a);
    b = naru_channel_close(b);
    close(p[0]);
    close(p[1]);
}

static void send_with(uint32_t type, const char *text, size_t n)
{
    expect_ok(naru_channel_send_fds(a, type, text, strlen(text), many, n, PATIENCE));
}

static void expect_with(int64_t select, const char *text, size_t n)
{
    char buf[64] = "";
    int fds[MOST];
    size_t got = 77;
    expect_code((long)strlen(text),
                naru_channel_recv_fds(b, select, buf, sizeof buf, NULL, fds, MOST, &got, PATIENCE));
    if (got != n || strcmp(buf, text) != 0)
        test_failed(__FILE__, __LINE__, "\"%s\" with %zu came, not \"%s\" with %zu", buf, got, text,
                    n);
    for (size_t i = 0; i < got; i++) {
        expect(fcntl(fds[i], F_GETFD) == FD_CLOEXEC);
        close(fds[i]);
    }
}

/* ---- what is promised ---- */

static void in_order(const char *kind)
{
    char buf[64] = "";
    struct naru_info info;
    int got[2];
    size_t n = 77;
    begin(kind);
    expect_ok(naru_channel_send(a, 1, "before", 6, PATIENCE));
    expect_ok(naru_channel_send_fds(a, 7, "both ends", 9, p, 2, PATIENCE));
    expect_ok(naru_channel_send(a, 1, "between", 7, PATIENCE));
    send_with(9, "", 1);
    send_with(9, "another", 3);
    expect_ok(naru_channel_send(a, 1, "after", 5, PATIENCE));
    expect_with(0, "before", 0);
    expect_code(-EMSGSIZE, naru_channel_recv_fds(b, 0, buf, 64, &info, got, 1, &n, PATIENCE));
    expect(n == 2 && info.size == 9 && info.type == 7); /* and all of it stays */
    expect_says("9 bytes and 2 descriptors, and there is room for 64 and 1");
    expect_code(-EMSGSIZE, naru_channel_recv_fds(b, 0, buf, 8, &info, got, 2, &n, PATIENCE));
    expect_code(-EMSGSIZE, naru_channel_recv(b, 0, buf, 8, &info, PATIENCE));
    n = 77;
    expect_code(9, naru_channel_recv_fds(b, 0, buf, 64, &info, got, 2, &n, PATIENCE));
    expect(n == 2 && info.type == 7 && memcmp(buf, "both ends", 9) == 0);
    expect(write(got[1], "through", 7) == 7 && read(p[0], buf, 7) == 7);
    close(got[0]);
    close(got[1]);
    expect_with(0, "between", 0);
    expect_with(0, "", 1);
    expect_with(0, "another", 3);
    expect_with(0, "after", 0);
    n = 77;
    expect_code(-EAGAIN, naru_channel_recv_fds(b, 0, buf, 64, NULL, got, 2, &n, NARU_NOWAIT));
    expect_code(-ETIMEDOUT, naru_channel_recv_fds(b, 0, buf, 64, NULL, got, 2, &n, NARU_MS));
    expect(n == 77);
    end();
}

/* Whoever receives otherwise gets the message alone, and nothing stays open. */
static void otherwise(const char *kind)
{
    char x[8];
    struct naru_message m[2];
    begin(kind);
    int before = open_descriptors();
    send_with(1, "recv", 5);
    expect_code(4, naru_channel_recv(b, 0, x, sizeof x, NULL, PATIENCE));
    expect(open_descriptors() == before);
    send_with(1, "take", 5);
    expect_ok(naru_channel_take(b, 0, PATIENCE, m));
    expect(open_descriptors() == before);
    expect_ok(naru_channel_return(b, m, 1));
    expect_with(0, "take", 0);
    send_with(1, "many", 5);
    send_with(1, "more", 5);
    for (int n = 0; n < 2;) {
        ssize_t r = naru_channel_take_many(b, 0, m, 2, PATIENCE);
        expect(r > 0);
        expect_ok(naru_channel_release(b, m, (size_t)r));
        n += (int)r;
    }
    expect_code(-ETIMEDOUT, naru_channel_recv(b, 0, x, sizeof x, NULL, NARU_MS));
    expect(open_descriptors() == before);
    send_with(1, "unread", 5); /* goes with the ends */
    send_with(2, "passed over", 5);
    expect_with(2, "passed over", 5);
    expect_ok(naru_channel_send_fds(b, 1, "the other way", 13, p, 2, PATIENCE));
    end();
}

static void by_type(const char *kind)
{
    struct naru_channel_options o = {.size = sizeof o, .stash = 64 << 10};
    char x[8];
    int fds[4], r = 0;
    size_t n;
    begin_with(kind, &o);
    send_with(1, "one", 1);
    send_with(2, "two", 2);
    send_with(3, "three", 3);
    expect_with(3, "three", 3);
    expect_with(-3, "one", 1);
    expect_with(0, "two", 2);
    /* those that are passed over count for 4 KiB of the stash each */
    for (int i = 0; i < 40 && r >= 0; i++) {
        r = naru_channel_send_fds(a, 1, "x", 1, many, 3, 10 * NARU_MS);
        if (r >= 0)
            r = (int)naru_channel_recv_fds(b, 9, x, 8, NULL, fds, 4, &n, 10 * NARU_MS);
        r = r == -ETIMEDOUT ? 0 : r;
    }
    if (!on_shm) { /* there they wait in the ring, up to 253 of them, and the sender with them */
        expect_code(-ENOBUFS, r);
        expect_says(".stash is");
    }
    end();
}

static void counted(const char *kind)
{
    int before;
    begin(kind);
    expect_code(-EINVAL, naru_channel_send_fds(a, 1, "x", 1, p, 0, PATIENCE));
    expect_code(-EINVAL, naru_channel_send_fds(a, 1, "x", 1, NULL, 1, PATIENCE));
    expect_code(-EINVAL, naru_channel_send_fds(a, 1, "x", 1, many, MOST + 1, PATIENCE));
    expect_says("1 to 253");
    expect_code(-EINVAL, naru_channel_send_fds(a, 1, "x", 1, (int[]){p[0], 9999}, 2, PATIENCE));
    expect_says("9999");
    before = open_descriptors();
    send_with(1, "as many as go", MOST);
    expect_with(0, "as many as go", MOST);
    expect(open_descriptors() == before);
    end();
}

/* All of them arrive or none, and that is told once; the message stays. */
static void none_left(const char *kind)
{
    struct rlimit limit;
    char buf[32];
    int fds[MOST];
    size_t n = 77;
    begin(kind);
    int before = open_descriptors();
    getrlimit(RLIMIT_NOFILE, &limit);
    const struct rlimit few = {(rlim_t)before + 12, limit.rlim_max};
    send_with(1, "too many", 20);
    setrlimit(RLIMIT_NOFILE, &few);
    expect_code(-EMFILE, naru_channel_recv_fds(b, 0, buf, 32, NULL, fds, MOST, &n, PATIENCE));
    expect_says("the 20 descriptors of this message could not all be opened here");
    expect_says("RLIMIT_NOFILE");
    expect(n == 77 && open_descriptors() == before);
    expect_with(0, "too many", 0);
    send_with(2, "few enough", 2);
    expect_with(0, "few enough", 2);
    setrlimit(RLIMIT_NOFILE, &limit);
    send_with(1, "again", 20);
    expect_with(0, "again", 20);
    expect(open_descriptors() == before);
    end();
}

static void fill(void *context)
{
    (void)context;
    static char bytes[3 << 20];
    expect_ok(naru_adopt(a));
    memset(bytes, 'y', sizeof bytes);
    expect_ok(naru_channel_send_fds(a, 5, bytes, sizeof bytes, p, 2, PATIENCE));
    expect_ok(naru_channel_send(a, 5, "end", 3, PATIENCE));
    naru_channel_close(a);
}

static void large(const char *kind)
{
    static char bytes[4 << 20];
    int fds[2];
    size_t n;
    expect_ok(naru_channel_pair(kind, NULL, &a, &b));
    expect(pipe2(p, O_CLOEXEC) == 0);
    pid_t child = start_child(fill, NULL);
    a = naru_channel_close(a);
    expect_code(3 << 20,
                naru_channel_recv_fds(b, 0, bytes, sizeof bytes, NULL, fds, 2, &n, PATIENCE));
    expect(n == 2 && bytes[0] == 'y' && bytes[(3 << 20) - 1] == 'y');
    close(fds[0]);
    close(fds[1]);
    expect_with(0, "end", 0);
    end_child(child);
    b = naru_channel_close(b);
    /* straight into the buffer of one who does not ask for them */
    expect_ok(naru_channel_pair(kind, NULL, &a, &b));
    child = start_child(fill, NULL);
    a = naru_channel_close(a);
    expect_code(3 << 20, naru_channel_recv(b, 0, bytes, sizeof bytes, NULL, PATIENCE));
    expect_with(0, "end", 0);
    end_child(child);
    end(); /* and the harness counts */
}

/* Where a send fails nothing of it arrives, and its descriptors come with no other message. */
static void without_room(const char *kind)
{
    static char bytes[100000];
    char buf[32];
    int fds[4], sent = 0, r;
    size_t n;
    begin(kind);
    while ((r = naru_channel_send_fds(a, 3, bytes, sizeof bytes, p, 1, 5 * NARU_MS)) == 0)
        expect(++sent < 200);
    expect_code(-ETIMEDOUT, r);
    r = naru_channel_send_fds(a, 3, bytes, sizeof bytes, p, 1, NARU_NOWAIT);
    expect(r == -EAGAIN || r == -EMSGSIZE);
    expect_code(-ETIMEDOUT, naru_channel_send_fds(a, 3, bytes, sizeof bytes, p, 2, 5 * NARU_MS));
    for (int i = 0; i < sent; i++) {
        static char got[sizeof bytes];
        expect_code(sizeof bytes,
                    naru_channel_recv_fds(b, 0, got, sizeof got, NULL, fds, 4, &n, PATIENCE));
        expect(n == 1);
        close(fds[0]);
    }
    expect_code(-EAGAIN, naru_channel_recv_fds(b, 0, buf, 32, NULL, fds, 4, &n, NARU_NOWAIT));
    expect_ok(naru_channel_send(a, 1, "alone", 5, PATIENCE));
    send_with(1, "not alone", 1);
    expect_with(0, "alone", 0);
    expect_with(0, "not alone", 1);
    end();
}

static int no_room_for_it(const char *call)
{
    static int sent; /* the first sendmsg, which announces, goes */
    return strcmp(call, "send") == 0 || (strcmp(call, "sendmsg") == 0 && sent++) ? -EAGAIN : 0;
}

static void announced_in_vain(void)
{
    begin("unix:");
    naru__fault = no_room_for_it;
    expect_code(-EAGAIN, naru_channel_send_fds(a, 1, "x", 1, p, 2, NARU_NOWAIT));
    naru__fault = NULL;
    expect_ok(naru_channel_send(a, 1, "alone", 5, PATIENCE));
    expect_with(0, "alone", 0);
    end();
}

/* ---- death ---- */

static void send_and_die(void *context)
{
    (void)context;
    expect_ok(naru_adopt(a));
    expect_ok(naru_channel_send_fds(a, 1, "the last", 8, p, 2, PATIENCE));
    kill(getpid(), SIGKILL);
}

static void adopt_and_die(void *context)
{
    (void)context;
    expect_ok(naru_adopt(a));
    expect_ok(naru_channel_send(a, 1, "here", 4, PATIENCE));
    kill(getpid(), SIGKILL);
}

static void death(const char *kind)
{
    char buf[8];
    int fds[2], r, status;
    size_t n;
    expect_ok(naru_channel_pair(kind, NULL, &a, &b));
    expect(pipe2(p, O_CLOEXEC) == 0);
    pid_t child = start_child(send_and_die, NULL);
    a = naru_channel_close(a);
    expect(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    many[0] = p[0];
    expect_with(0, "the last", 2); /* what the dead one has sent is received */
    expect_code(-ECONNRESET, naru_channel_recv_fds(b, 0, buf, 8, NULL, fds, 2, &n, PATIENCE));
    b = naru_channel_close(b);
    expect_ok(naru_channel_pair(kind, NULL, &a, &b));
    child = start_child(adopt_and_die, NULL);
    a = naru_channel_close(a);
    expect(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    do
        r = naru_channel_send_fds(b, 1, "whoever", 7, p, 2, 100 * NARU_MS);
    while (r == 0 || r == -ETIMEDOUT);
    expect(r == -ECONNRESET || r == -EPIPE);
    expect_with(0, "here", 0);
    end();
}

/* ---- both ---- */

#define OVER_BOTH(name)                                                                            \
    static void name##_unix(void)                                                                  \
    {                                                                                              \
        name("unix:");                                                                             \
    }                                                                                              \
    static void name##_shm(void)                                                                   \
    {                                                                                              \
        name("shm:");                                                                              \
    }
OVER_BOTH(in_order)
OVER_BOTH(otherwise)
OVER_BOTH(by_type)
OVER_BOTH(counted)
OVER_BOTH(none_left)
OVER_BOTH(large)
OVER_BOTH(without_room)
OVER_BOTH(death)

/* Over shm: they have gone ahead of their messages, so only so many may be out. */
static void at_most_so_many_out(void)
{
    begin("shm:");
    send_with(1, "most of them", 200);
    expect_code(-EAGAIN, naru_channel_send_fds(a, 1, "x", 1, many, 54, NARU_NOWAIT));
    expect_code(-ETIMEDOUT, naru_channel_send_fds(a, 1, "x", 1, many, 54, 5 * NARU_MS));
    send_with(1, "the rest", 53);
    expect_with(0, "most of them", 200);
    expect_code(-EAGAIN, naru_channel_send_fds(a, 1, "x", 1, many, 1, NARU_NOWAIT));
    expect_with(0, "the rest", 53);
    send_with(1, "again", MOST);
    expect_with(0, "again", MOST);
    end();
}

/* ---- memory, between strangers ---- */

static void hand_over_region(void *context)
{
    naru_channel *c;
    naru_region *r;
    int fd;
    expect_ok(naru_channel_connect(context, NULL, PATIENCE, &c));
    expect_ok(naru_region_create(NULL, 8192, NULL, &r));
    expect_ok(naru_region_write(r, 0, "for you", 8));
    expect_ok(naru_region_share(r, NARU_READ, &fd));
    expect_ok(naru_channel_send_fds(c, 1, "region", 6, &fd, 1, PATIENCE));
    expect_ok(naru_channel_flush(c, PATIENCE));
    close(fd);
    naru_region_close(r);
    naru_channel_close(c);
}

static void region(const char *url)
{
    char word[16], text[8];
    naru_channel_listener *l;
    naru_channel *c;
    naru_region *r;
    int fd;
    size_t n;
    expect_ok(naru_channel_listen(url, NULL, &l));
    pid_t child = start_child(hand_over_region, (void *)(uintptr_t)url);
    expect_ok(naru_channel_accept(l, PATIENCE, &c));
    expect_code(6, naru_channel_recv_fds(c, 0, word, sizeof word, NULL, &fd, 1, &n, PATIENCE));
    expect(n == 1);
    expect_ok(naru_region_from_fd(fd, NARU_READ, NULL, &r));
    expect_ok(naru_region_read(r, 0, text, sizeof text));
    expect(strcmp(text, "for you") == 0);
    close(fd);
    end_child(child);
    naru_region_close(r);
    naru_channel_close(c);
    naru_channel_listener_close(l);
}

static void a_region(void)
{
    char url[64];
    region(test_url("unix:%s/x"));
    snprintf(url, sizeof url, "shm:descriptors-%d", getpid());
    region(url);
}

/* ---- hostile ---- */

static void send_raw(int fd, const void *bytes, size_t n, size_t n_fds)
{
    union naru_ancillary ancillary;
    struct iovec one = {(void *)(uintptr_t)bytes, n};
    struct msghdr m = {.msg_iov = &one, .msg_iovlen = 1};
    if (n_fds)
        naru__descriptors_attach(&m, &ancillary, many, n_fds);
    expect(sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)n);
}

/* A stranger that greets and then attaches what it likes. */
static void stuff(const uint8_t *bytes, size_t size, size_t n_fds, int times, const char *why)
{
    const struct naru_hello hello = {FRAME_VERSION, FRAME_HEADER, 1, 0, 1000};
    uint8_t greeting[FRAME_HEADER + FRAME_HELLO_SIZE];
    int fds[2], got[MOST], r;
    char x[64], value[64];
    size_t n;
    expect(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    snprintf(value, sizeof value, "channel:unix:%d:%d", fds[0], fds[0]);
    setenv("NARU_FD_stranger", value, 1);
    expect_ok(naru_channel_inherit("stranger", NULL, &b));
    int before = open_descriptors();
    naru__hello_encode(&hello, greeting);
    send_raw(fds[1], greeting, sizeof greeting, 0);
    for (int i = 0; i < times; i++)
        send_raw(fds[1], bytes, size, n_fds);
    while ((r = (int)naru_channel_recv_fds(b, 0, x, sizeof x, NULL, got, MOST, &n, PATIENCE)) >= 0)
        expect(n == 0);
    expect_code(-EPROTO, r);
    expect_says(why);
    expect(open_descriptors() <= before + MOST);
    b = naru_channel_close(b);
    expect(open_descriptors() == before - 1);
    close(fds[1]);
}

static void stuffed_stream(void)
{
    uint8_t bytes[2 * FRAME_HEADER + FRAME_PARCEL_SIZE];
    const struct naru_frame whole = {.kind = FRAME_WHOLE, .type = 1, .sender = 1, .sequence = 1};
    expect(pipe2(p, O_CLOEXEC) == 0);
    for (int i = 0; i <= MOST; i++)
        many[i] = p[i & 1];
    naru__frame_encode(&whole, bytes);
    stuff(bytes, FRAME_HEADER, MOST, 1, "no message announces");
    stuff(bytes, FRAME_HEADER - 1, MOST, 2, "no message announces"); /* a frame that never ends */
    naru__frame_parcel(7, 1, bytes);
    stuff(bytes, FRAME_HEADER + FRAME_PARCEL_SIZE, 6, 1, "7 descriptors are announced, and 6 came");
    stuff(bytes, FRAME_HEADER + FRAME_PARCEL_SIZE, 0, 1, "7 descriptors are announced, and 0 came");
    stuff(bytes, FRAME_HEADER + FRAME_PARCEL_SIZE, 7, 2, "7 descriptors are announced");
    naru__frame_parcel(UINT32_MAX, 1, bytes);
    stuff(bytes, FRAME_HEADER + FRAME_PARCEL_SIZE, 9, 1, "are announced, and 9 came");
    close(p[0]);
    close(p[1]);
}

static void stuffed_memory(void)
{
    struct {
        uint64_t magic, sequence;
        uint32_t n, reserved;
    } parcel = {UINT64_C(0x316c65637261706e), 1000, MOST, 0};
    char x;
    int got[MOST], before, r = -ETIMEDOUT;
    size_t n;
    begin("shm:");
    before = open_descriptors();
    for (int i = 0; i < 8; i++) {
        send_raw(of_channel(a)->socket, &parcel, sizeof parcel, MOST);
        parcel.sequence++;
        r = (int)naru_channel_recv(b, 0, &x, 1, NULL, NARU_MS);
        if (r != -ETIMEDOUT && r != -EPROTO)
            test_failed(__FILE__, __LINE__, "parcel %d gave %d (%s)", i, r, naru_why());
    }
    expect_code(-EPROTO, r);
    expect(open_descriptors() <= before + SHM_PARCELS_MAX);
    end();
    /* a message that says it has some, and has none */
    begin("shm:");
    parcel.sequence = 77;
    send_raw(of_channel(a)->socket, &parcel, sizeof parcel, 0);
    expect_code(-EPROTO, naru_channel_recv_fds(b, 0, &x, 1, NULL, got, MOST, &n, PATIENCE));
    end();
}

/* ---- elsewhere ---- */

static void refuse(void)
{
    char x;
    int fd;
    size_t n;
    expect_code(-EOPNOTSUPP, naru_channel_send_fds(a, 1, "x", 1, (int[]){0}, 1, PATIENCE));
    expect_says("connections over unix: and shm: do");
    expect_code(-EOPNOTSUPP, naru_channel_recv_fds(a, 0, &x, 1, NULL, &fd, 1, &n, PATIENCE));
    expect_says("connections over unix: and shm: do");
    a = naru_channel_close(a);
}

static void elsewhere(void)
{
    char url[64];
    naru_channel_listener *l;
    const char *const pairs[] = {"pipe:", "unix+seqpacket:"};
    for (int i = 0; i < 2; i++) {
        expect_ok(naru_channel_pair(pairs[i], NULL, &a, &b));
        refuse();
        naru_channel_close(b);
    }
    expect_ok(naru_channel_listen("tcp://127.0.0.1:0", NULL, &l));
    expect_ok(naru_channel_connect(naru_url(l), NULL, PATIENCE, &a));
    refuse();
    naru_channel_listener_close(l);
    snprintf(url, sizeof url, "shm:descriptors-%d", getpid());
    expect_ok(naru_queue_open(url, NARU_SEND | NARU_RECV, NULL, &a));
    refuse();
    expect_ok(naru_remove(url));
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"unix: together, and in order", in_order_unix},
        {"shm: together, and in order", in_order_shm},
        {"unix: closed where nobody asks for them", otherwise_unix},
        {"shm: closed where nobody asks for them", otherwise_shm},
        {"unix: by type", by_type_unix},
        {"shm: by type", by_type_shm},
        {"unix: 1 to 253", counted_unix},
        {"shm: 1 to 253", counted_shm},
        {"unix: no descriptor left", none_left_unix},
        {"shm: no descriptor left", none_left_shm},
        {"unix: with 3 MiB", large_unix},
        {"shm: with 3 MiB", large_shm},
        {"unix: no room", without_room_unix},
        {"shm: no room", without_room_shm},
        {"unix: announced, and not sent", announced_in_vain},
        {"unix: death", death_unix},
        {"shm: death", death_shm},
        {"shm: 253 ahead at most", at_most_so_many_out},
        {"a region between strangers", a_region},
        {"unix: stuffed", stuffed_stream},
        {"shm: stuffed", stuffed_memory},
        {"not over other kinds", elsewhere},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
