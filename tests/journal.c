/* SPDX-License-Identifier: MIT */
/* journal.c - durable queues and topics: what a restart, a death, a truncated or damaged file
 * leave. What the loss of power leaves is power.c's. */
#include "harness.h"

#include "base/crc32c.h"
#include "base/fault.h"
#include "os/map.h"
#include "transport/map/map.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEGMENT = 64 << 10 };

static char elsewhere[64]; /* memory, where syncing takes no time; "": the case's own directory */

static const char *here(void)
{
    static char url[96];
    if (!*elsewhere)
        return test_url("map:%s/j");
    snprintf(url, sizeof url, "map:%s/j", elsewhere);
    return url;
}

static naru_channel *queue(int role, const char *cursor, int64_t sync)
{
    struct naru_journal_options j = {.size = sizeof j, .cursor = cursor, .sync = sync};
    struct naru_queue_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    naru_channel *c;
    expect_ok(naru_queue_open(here(), role, &o, &c));
    return c;
}

static naru_channel *topic(const struct naru_journal_options *j)
{
    struct naru_topic_options o = {.size = sizeof o, .journal = j};
    naru_channel *c;
    expect_ok(naru_topic_open(here(), NARU_RECV, &o, &c));
    return c;
}

static void send_n(naru_channel *c, uint64_t from, uint64_t n, size_t size)
{
    char buf[4096];
    memset(buf, 'x', sizeof buf);
    for (uint64_t i = from; i < from + n; i++) {
        memcpy(buf, &i, sizeof i);
        expect_ok(naru_channel_send(c, (uint32_t)(1 + i % 5), buf, size, PATIENCE));
    }
}

static uint64_t recv_1(naru_channel *c, struct naru_info *info)
{
    char buf[4096];
    uint64_t got;
    expect_ok(naru_channel_recv(c, 0, buf, sizeof buf, info, PATIENCE));
    memcpy(&got, buf, sizeof got);
    return got;
}

static struct naru_journal_report verify(int expected)
{
    struct naru_journal_report r = {.size = sizeof r};
    expect_code(expected, naru_journal_verify(here(), &r, NULL, NULL));
    return r;
}

/* RFC 3720, B.4; and all ways of computing it agree at every length and place. */
static void check_sums(void)
{
    static uint8_t bytes[5000];
    memset(bytes, 0, 32);
    expect(naru__crc32c(0, bytes, 32) == 0x8a9136aa);
    memset(bytes, 0xff, 32);
    expect(naru__crc32c(0, bytes, 32) == 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    expect(naru__crc32c(0, bytes, 32) == 0x46dd794e);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t at = 0; at < 9; at++)
        for (size_t n = 0; n + at <= sizeof bytes; n += n < 300 ? 1 : 97) {
            for (unsigned way = 0; way < 3; way++)
                expect(naru__crc32c(5, bytes + at, n) == naru__crc32c_by(way, 5, bytes + at, n));
            expect(naru__crc32c(naru__crc32c(0, bytes, at), bytes + at, n) ==
                   naru__crc32c(0, bytes, at + n));
        }
}

static void restart(void)
{
    struct naru_info info;
    naru_channel *c = queue(NARU_SEND | NARU_RECV, NULL, 0);
    send_n(c, 0, 5000, 100); /* ten segments */
    for (uint64_t i = 0; i < 2000; i++)
        expect(recv_1(c, &info) == i && info.sequence == i + 1 && !info.flags);
    naru_channel_close(c);
    c = queue(NARU_SEND | NARU_RECV, NULL, 0);
    send_n(c, 5000, 10, 100);
    for (uint64_t i = 2000; i < 5010; i++)
        expect(recv_1(c, &info) == i && info.sequence == i + 1 && !info.flags);
    expect_code(-EAGAIN, naru_channel_recv(c, 0, NULL, 0, NULL, NARU_NOWAIT));
    naru_channel_close(c);
    struct naru_journal_report r = verify(0);
    expect(r.records == 5010 && r.first == 1 && r.last == 5010 && r.torn == 0 && r.segments > 8);
    expect_ok(naru_remove(here()));
}

static void cursors(void)
{
    struct naru_info info;
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    send_n(c, 0, 100, 8);
    struct naru_journal_options a = {.size = sizeof a, .cursor = "a", .from = NARU_FROM_OLDEST};
    struct naru_journal_options from = {.size = sizeof from, .from = 51};
    struct naru_journal_options live = {.size = sizeof live};
    naru_channel *ca = topic(&a), *cf = topic(&from), *cl = topic(&live);
    for (uint64_t i = 0; i < 30; i++)
        expect(recv_1(ca, &info) == i);
    expect(recv_1(cf, &info) == 50 && info.time != 0);
    struct naru_journal_options since = {.size = sizeof since, .since = (int64_t)info.time};
    naru_channel *cs = topic(&since);
    recv_1(cs, &info);
    expect(info.time >= (uint64_t)since.since);
    expect_code(-EAGAIN, naru_channel_recv(cl, 0, NULL, 0, NULL, NARU_NOWAIT));
    send_n(c, 100, 1, 8);
    expect(recv_1(cl, &info) == 100);
    struct naru_topic_options o = {.size = sizeof o, .journal = &a};
    naru_channel *second;
    expect_code(-EBUSY, naru_topic_open(here(), NARU_RECV, &o, &second));
    expect_says("cursor a");
    naru_channel_close(ca);
    ca = topic(&a);
    expect(recv_1(ca, &info) == 30); /* where it was */
    naru_channel_close(ca);
    naru_channel_close(cf);
    naru_channel_close(cl);
    naru_channel_close(cs);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static void die_holding(void *unused)
{
    (void)unused;
    naru_channel *c = queue(NARU_RECV, "group", 0);
    struct naru_message m[3];
    expect_code(3, naru_channel_take_many(c, 0, m, 3, PATIENCE));
    expect_ok(naru_channel_release(c, &m[1], 1));
    kill(getpid(), SIGKILL);
}

/* What a dead receiver had taken comes back, marked, in its place; what it had released does not.
 */
static void redelivery(void)
{
    struct naru_info info;
    naru_channel *c = queue(NARU_SEND | NARU_RECV, "group", 0);
    send_n(c, 0, 5, 8);
    pid_t pid = fork();
    if (pid == 0)
        die_holding(NULL);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < 3; i++) /* it looks, though one time may be over before it can */
        expect_code(-ETIMEDOUT, naru_channel_recv(c, 9, NULL, 0, &info, 70 * NARU_MS));
    expect(recv_1(c, &info) == 0 && info.flags == NARU_REDELIVERED);
    expect(recv_1(c, &info) == 2 && info.flags == NARU_REDELIVERED);
    expect(recv_1(c, &info) == 3 && info.flags == 0);
    struct naru_message m;
    expect_ok(naru_channel_take(c, 0, PATIENCE, &m));
    expect_ok(naru_channel_return(c, &m, 1));
    expect(recv_1(c, &info) == 4 && info.flags == NARU_REDELIVERED);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static void selecting(void)
{
    struct naru_info info;
    char buf[8];
    naru_channel *c = queue(NARU_SEND | NARU_RECV, NULL, 0);
    send_n(c, 0, 20, 8); /* types 1 2 3 4 5 1 2 ... */
    expect_code(8, naru_channel_recv(c, 3, buf, 8, &info, PATIENCE));
    expect(info.sequence == 3);
    expect_code(8, naru_channel_recv(c, -2, buf, 8, &info, PATIENCE));
    expect(info.sequence == 1);
    expect_code(8, naru_channel_recv(c, NARU_EXCEPT(2), buf, 8, &info, PATIENCE));
    expect(info.sequence == 4);
    expect_code(8, naru_channel_recv(c, 0, buf, 8, &info, PATIENCE));
    expect(info.sequence == 2 && info.flags == 0);
    expect_code(-ETIMEDOUT, naru_channel_recv(c, 9, buf, 8, &info, 20 * NARU_MS));
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static void trimming(void)
{
    struct naru_info info;
    uint64_t bytes = 0;
    naru_channel *c = queue(NARU_SEND | NARU_RECV, NULL, 0);
    send_n(c, 0, 3000, 100);
    expect(recv_1(c, &info) == 0);
    expect_ok(naru_journal_trim(here(), 2000, &bytes));
    expect(bytes >= 3 * SEGMENT);
    naru_channel_close(c); /* what it has mapped it could read on */
    c = queue(NARU_SEND | NARU_RECV, NULL, 0);
    uint64_t next = recv_1(c, &info);
    expect(next > 1 && next <= 1999 && info.missed == next - 1 && info.sequence == next + 1);
    expect(verify(0).first == next + 1);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
    struct naru_journal_options j = {.size = sizeof j, .keep_bytes = 2 * SEGMENT};
    struct naru_queue_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    expect_ok(naru_queue_open(here(), NARU_SEND, &o, &c));
    send_n(c, 0, 5000, 100);
    expect(verify(0).segments <= 3);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
    j = (struct naru_journal_options){.size = sizeof j, .keep_unread = 1};
    expect_ok(naru_queue_open(here(), NARU_SEND | NARU_RECV, &o, &c));
    send_n(c, 0, 2000, 100);
    expect(verify(0).first == 1);
    for (uint64_t i = 0; i < 2000; i++)
        expect(recv_1(c, &info) == i);
    send_n(c, 2000, 600, 100);
    expect(verify(0).first > 1000);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static ino_t file_of(uint64_t segment)
{
    char name[128];
    struct stat st;
    snprintf(name, sizeof name, "%s/segment-%010llu", here() + 4, (unsigned long long)segment);
    return stat(name, &st) == 0 ? st.st_ino : 0;
}

static unsigned spares(void)
{
    unsigned n = 0;
    DIR *d = opendir(here() + 4);
    expect(d != NULL);
    for (struct dirent *entry; (entry = readdir(d));)
        n += strncmp(entry->d_name, "spare", 5) == 0;
    closedir(d);
    return n;
}

enum { FILES = 50 };
struct files {
    ino_t inode[FILES];      /* of segments */
    uint64_t went_at[FILES]; /* when they went: the current one */
};

/* Sends, and receives it, until there is a new segment. Is its file one of before? Then the medium
 * has, of a journal that was synced, what came after that. */
static bool roll_on(naru_channel *c, naru_channel *r, uint64_t *next, struct files *f)
{
    struct naru_info info;
    const struct naru_journal_state *s = journal_of(c)->state;
    uint64_t number = naru__place_segment(atomic_load(&s->tail)), synced;
    bool again = false;
    do {
        synced = atomic_load(&s->durable_at);
        send_n(c, *next, 1, 100);
        expect(recv_1(r, &info) == *next && !info.missed);
        ++*next;
    } while (naru__place_segment(atomic_load(&s->tail)) == number);
    expect(++number < FILES);
    f->inode[number] = file_of(number);
    for (uint64_t i = 1; i < number; i++) {
        if (i < atomic_load(&s->oldest) && !f->went_at[i])
            f->went_at[i] = number;
        if (f->inode[i] != f->inode[number])
            continue;
        f->inode[i] = 0;
        again = true;
        expect(atomic_load(&s->durable) == 0 || synced > f->went_at[i]);
    }
    return again;
}

/* A segment's file serves another one, but not while somebody reads in it; and with synced messages
 * not before the medium knows. */
static void used_again(void)
{
    struct files f = {0};
    unsigned again = 0;
    uint64_t next = 1;
    struct naru_journal_options j = {.size = sizeof j, .keep_unread = 1};
    struct naru_queue_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    struct naru_journal_options from = {.size = sizeof from, .from = NARU_FROM_OLDEST};
    naru_channel *c, *r;
    struct naru_message m;
    expect_ok(naru_queue_open(here(), NARU_SEND, &o, &c));
    expect_ok(naru_queue_open(here(), NARU_RECV, NULL, &r));
    send_n(c, 0, 1, 100);
    f.inode[1] = file_of(1);
    naru_channel *held = topic(&from);
    expect_ok(naru_channel_take(held, 0, PATIENCE, &m));
    expect(recv_1(r, NULL) == 0);
    for (int i = 0; i < 12; i++)
        again += roll_on(c, r, &next, &f);
    expect(again > 6);
    expect(f.inode[1] != 0); /* no other had it */
    uint64_t zero = 0;
    expect(m.size == 100 && memcmp(m.data, &zero, 8) == 0 && ((char *)m.data)[99] == 'x');
    naru_channel_close(held);
    expect(verify(0).torn == 0);
    expect_ok(naru_journal_sync(c, PATIENCE));
    again = 0;
    for (int i = 0; i < 12; i++)
        again += roll_on(c, r, &next, &f);
    expect(again > 6);
    naru_channel_close(c);
    naru_channel_close(r);
    expect(verify(0).torn == 0);
    expect(spares() == 0);
    expect_ok(naru_remove(here()));
}

static naru_channel *with_a_spare(void)
{
    struct naru_journal_options j = {.size = sizeof j, .keep_bytes = SEGMENT};
    struct naru_queue_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    naru_channel *c;
    unsigned had = access(here() + 4, F_OK) == 0 ? spares() : 0;
    expect_ok(naru_queue_open(here(), NARU_SEND, &o, &c));
    for (uint64_t i = 0; i < 5000 && spares() == had; i++)
        send_n(c, i, 1, 1000);
    expect(spares() == had + 1);
    return c;
}

/* What a dead sender has set aside goes when somebody cleans up after it, and nobody else's. */
static void dead_spares(void)
{
    naru_channel *mine = with_a_spare();
    pid_t pid = fork();
    if (pid == 0) {
        (void)with_a_spare();
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, NULL, 0);
    expect(spares() == 2);
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    expect(spares() == 1);
    send_n(mine, 0, 200, 1000); /* of it another segment is made */
    expect(spares() == 1 && verify(0).torn == 0);
    naru_channel_close(c);
    naru_channel_close(mine);
    expect(spares() == 0);
    expect_ok(naru_remove(here()));
}

/* The memory that says what counts is of another world, as after a restart. */
static void another_world(uint64_t durable)
{
    struct naru_url url;
    struct naru_object o;
    const struct naru_object_want want = {
        .what = NARU_OBJECT_JOURNAL, .signature = NARU_JOURNAL_VERSION, .flags = NARU_EXISTING};
    expect_ok(naru__url_parse(here(), &url));
    expect_ok(naru__object_open(&url, &want, &o));
    struct naru_journal_state *s = (void *)o.state->kind;
    atomic_store(&s->world, 1);
    atomic_store(&s->committed, 12345); /* as if it were older, or newer */
    atomic_store(&s->durable, durable);
    naru__object_close(&o);
}

/* As the loss of power may leave it: the file has another segment's header, and its old name. */
static void old_name(void)
{
    struct naru_info info;
    char from[128], to[128];
    naru_channel *c = queue(NARU_SEND | NARU_RECV, NULL, 0);
    send_n(c, 0, 1500, 100); /* four segments */
    expect_ok(naru_journal_trim(here(), 1000, NULL));
    uint64_t first = verify(0).first;
    expect(first > 1);
    naru_channel_close(c);
    snprintf(from, sizeof from, "%s/segment-0000000004", here() + 4);
    snprintf(to, sizeof to, "%s/segment-0000000001", here() + 4);
    expect(link(from, to) == 0);
    expect(verify(0).first == first);
    another_world(0);
    expect(verify(0).first == first);
    c = queue(NARU_SEND | NARU_RECV, NULL, 0);
    expect(recv_1(c, &info) == first - 1 && info.sequence == first);
    expect(access(to, F_OK) < 0);
    send_n(c, 1500, 10, 100);
    naru_channel_close(c);
    struct naru_journal_report r = verify(0);
    expect(r.first == first && r.last == 1510 && r.torn == 0);
    expect_ok(naru_remove(here()));
}

/* Every N ms: by the next call, or when the descriptor has fired; an idle sender owes it. */
static void interval(void)
{
    naru_channel *c = queue(NARU_SEND, NULL, 20 * NARU_MS);
    const struct naru_journal_state *s = journal_of(c)->state;
    send_n(c, 0, 1, 8);
    usleep(40000);
    expect(atomic_load(&s->durable) == 0); /* nobody has called */
    send_n(c, 1, 1, 8);
    expect(atomic_load(&s->durable) == 1); /* it was due */
    int fd = naru_fd(c);
    expect_ok(fd);
    struct pollfd p = {fd, POLLIN, 0};
    expect_code(1, poll(&p, 1, PATIENCE_MS));
    expect_ok(naru_journal_sync(c, PATIENCE));
    expect(atomic_load(&s->durable) == 2);
    naru_channel_close(c);
    c = queue(NARU_SEND, NULL, NARU_SYNC_EACH);
    send_n(c, 2, 1, 8);
    expect(atomic_load(&journal_of(c)->state->durable) == 3);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

/* ---- damage, in a copy of the segment ---- */

static char path[256];

static uint8_t *load(size_t *ret_n)
{
    struct stat st;
    snprintf(path, sizeof path, "%s/j/segment-0000000001", *elsewhere ? elsewhere : test_directory);
    int fd = open(path, O_RDWR);
    expect(fd >= 0 && fstat(fd, &st) == 0);
    uint8_t *memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    expect(memory != MAP_FAILED);
    close(fd);
    *ret_n = (size_t)st.st_size;
    return memory;
}

/* A journal cut at every length: what is whole before the cut is there, and nothing else. */
static void torn(void)
{
    enum { N = 100 };
    size_t n, ends[N + 1];
    snprintf(elsewhere, sizeof elsewhere, "/dev/shm/naru-test-XXXXXX");
    expect(mkdtemp(elsewhere));
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    for (uint64_t i = 0; i < N; i++)
        send_n(c, i, 1, 16 + (size_t)(i * 7 % 90));
    naru_channel_close(c);
    uint8_t *memory = load(&n), *copy = malloc(n);
    memcpy(copy, memory, n);
    size_t at = NARU_SEGMENT_RECORDS_AT;
    for (uint64_t i = 0; i < N; i++) {
        ends[i] = at;
        at += (size_t)naru__record_room(16 + (size_t)(i * 7 % 90));
    }
    ends[N] = at;
    for (size_t cut = NARU_SEGMENT_RECORDS_AT; cut <= at; cut++) {
        uint64_t whole = 0;
        struct naru_info info;
        memcpy(memory, copy, n);
        memset(memory + cut, 0, n - cut);
        /* behind the payload there is padding alone, of zeroes */
        while (whole < N && ends[whole] + sizeof(struct naru_record) + 16 + whole * 7 % 90 <= cut)
            whole++;
        another_world(0);
        struct naru_journal_options j = {.size = sizeof j, .from = NARU_FROM_OLDEST};
        c = topic(&j);
        for (uint64_t i = 0; i < whole; i++)
            expect(recv_1(c, &info) == i);
        expect_code(-EAGAIN, naru_channel_recv(c, 0, NULL, 0, NULL, NARU_NOWAIT));
        naru_channel_close(c);
        if (cut % 50 == 0) { /* and it goes on behind them */
            c = queue(NARU_SEND, NULL, 0);
            send_n(c, 1000, 1, 8);
            naru_channel_close(c);
            expect(verify(0).last == whole + 1);
        }
    }
    free(copy);
    munmap(memory, n);
    expect_ok(naru_remove(here()));
    expect(rmdir(elsewhere) == 0);
}

/* Bits flipped: each is detected, located, and the rest is readable. FLIP_ALL: each of 1 MiB. */
static void flipped(void)
{
    bool all = getenv("FLIP_ALL");
    size_t room = (size_t)naru__record_room(100), n;
    unsigned N = all ? (1u << 20) / (unsigned)room : 400;
    const char *rounds = getenv("FLIP_ROUNDS");
    unsigned long count = all ? N * room * 8 : rounds ? strtoul(rounds, NULL, 10) : 20000;
    uint64_t z = 1;
    struct naru_queue_options o = {.size = sizeof o, .capacity = all ? 17 << 16 : SEGMENT};
    naru_channel *c;
    expect_ok(naru_queue_open(here(), NARU_SEND, &o, &c));
    send_n(c, 0, N, 100);
    naru_channel_close(c);
    uint8_t *memory = load(&n);
    for (unsigned long i = 0; i < count; i++) {
        z = z * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        size_t at = NARU_SEGMENT_RECORDS_AT + (all ? i / 8 : (size_t)(z >> 20) % (N * room));
        size_t record = (at - NARU_SEGMENT_RECORDS_AT) / room;
        size_t in = (at - NARU_SEGMENT_RECORDS_AT) % room;
        uint8_t bit = (uint8_t)(1u << (all ? i % 8 : z >> 60 & 7));
        memory[at] ^= bit;
        if (in < sizeof(struct naru_record) + 100) { /* else it is padding, and harms nothing */
            struct naru_journal_report r = verify(1);
            expect(r.damaged == 1 && r.bad_segment == 1 && r.bad_sequence == record + 1);
            expect(r.bad_offset == NARU_SEGMENT_RECORDS_AT + record * room);
            expect(r.records == N - 1 && r.readable == N - 1 - record);
        } else {
            verify(0);
        }
        if (i % 1000 == 0) { /* a reader is told, and goes on if it asked for that */
            struct naru_info info;
            struct naru_journal_options j = {.size = sizeof j, .from = NARU_FROM_OLDEST};
            uint64_t missed = 0, got = 0;
            int r;
            char buf[128];
            c = topic(&j);
            while ((r = (int)naru_channel_recv(c, 0, buf, sizeof buf, &info, NARU_NOWAIT)) >= 0)
                got++;
            if (in < sizeof(struct naru_record) + 100)
                expect(r == -EPROTO && got == record);
            else
                expect(r == -EAGAIN && got == N);
            naru_channel_close(c);
            j.skip = 1;
            c = topic(&j);
            for (got = 0; naru_channel_recv(c, 0, buf, sizeof buf, &info, NARU_NOWAIT) >= 0; got++)
                missed += info.missed;
            expect(got + missed == N || (record == N - 1 && got == N - 1));
            naru_channel_close(c);
        }
        memory[at] ^= bit;
    }
    printf("# %lu bits\n", count);
    munmap(memory, n);
    expect_ok(naru_remove(here()));
}

/* Who begins at a damaged message, be it the oldest, is told; who begins behind it is not. */
static void begun_at_damage(void)
{
    enum { N = 20, BAD = 7 };
    const uint64_t from[] = {NARU_FROM_OLDEST, BAD, BAD + 1};
    size_t n, room = (size_t)naru__record_room(100);
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    send_n(c, 0, N, 100);
    naru_channel_close(c);
    uint8_t *memory = load(&n);
    memory[NARU_SEGMENT_RECORDS_AT + 50] ^= 1;
    memory[NARU_SEGMENT_RECORDS_AT + (BAD - 1) * room + 50] ^= 1;
    munmap(memory, n);
    for (int i = 0; i < 6; i++) {
        struct naru_journal_options j = {.size = sizeof j, .from = from[i % 3], .skip = i >= 3};
        struct naru_info info;
        char buf[128];
        bool bad = i % 3 != 2;
        c = topic(&j);
        long r = naru_channel_recv(c, 0, buf, sizeof buf, &info, NARU_NOWAIT);
        expect_code(bad && !j.skip ? -EPROTO : 100, r);
        expect(r < 0 || (info.sequence == from[i % 3] + bad && info.missed == bad));
        naru_channel_close(c);
    }
    expect_ok(naru_remove(here()));
}

/* A segment whose header is damaged, or which has gone, in the middle: what is before it and behind
 * it is found and read. */
static void gaps(void)
{
    enum { N = 3000 };
    char third[300];
    struct naru_info info;
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    send_n(c, 0, N, 100);
    naru_channel_close(c);
    snprintf(third, sizeof third, "%s/j/segment-0000000003", test_directory);
    for (int gone = 0; gone < 2; gone++) {
        int fd = open(third, O_RDWR);
        expect(fd >= 0 && pwrite(fd, "?", 1, 9) == 1 && close(fd) == 0);
        expect(!gone || unlink(third) == 0);
        struct naru_journal_report r = verify(1);
        expect(r.damaged >= 1 && r.bad_segment == 3 && r.records > N / 2 && r.readable > N / 4);
        for (int skip = 0; skip < 2; skip++) {
            struct naru_journal_options j = {
                .size = sizeof j, .from = NARU_FROM_OLDEST, .skip = (unsigned)skip};
            uint64_t got = 0, missed = 0;
            char buf[128];
            long n;
            c = topic(&j);
            while ((n = naru_channel_recv(c, 0, buf, sizeof buf, &info, NARU_NOWAIT)) >= 0) {
                missed += info.missed;
                expect(info.sequence == ++got + missed);
            }
            expect_code(gone || skip ? -EAGAIN : -EPROTO, n);
            expect(got + missed == (gone || skip ? N : r.bad_sequence - 1));
            naru_channel_close(c);
        }
        struct naru_journal_options late = {.size = sizeof late, .from = N - 10};
        c = topic(&late);
        expect(recv_1(c, &info) == N - 11);
        naru_channel_close(c);
    }
    expect_ok(naru_remove(here()));
}

/* ---- killed at random ---- */

enum { SENDERS = 3, RECEIVERS = 3, EACH = 20000 };

static struct {
    _Atomic uint64_t sent[SENDERS]; /* acknowledged */
    _Atomic uint32_t seen[SENDERS][EACH + 1];
    _Atomic uint32_t wrong;
} * shared;

static void sender(uint64_t me)
{
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    for (;;) {
        uint64_t next = atomic_load(&shared->sent[me]) + 1;
        if (next > EACH)
            break;
        uint64_t m[2] = {me, next};
        if (naru_channel_send(c, 1, m, sizeof m, PATIENCE) < 0)
            abort();
        atomic_store(&shared->sent[me], next);
    }
    naru_channel_close(c);
}

static void receiver(void)
{
    naru_channel *c = queue(NARU_RECV, NULL, 0);
    uint64_t last[SENDERS] = {0};
    struct naru_message m;
    for (;;) {
        int r = naru_channel_take(c, 0, 500 * NARU_MS, &m);
        if (r == -ETIMEDOUT)
            break;
        if (r < 0)
            abort();
        uint64_t x[2];
        memcpy(x, m.data, sizeof x);
        bool again = m.info.flags & NARU_REDELIVERED;
        if (m.size != sizeof x || x[0] >= SENDERS || x[1] > EACH ||
            (!again && x[1] < last[x[0]])) /* a killed sender sends its last again */
            atomic_store(&shared->wrong, 1);
        if (!again)
            last[x[0]] = x[1];
        atomic_fetch_add(&shared->seen[x[0]][x[1]], 1);
        if (naru_channel_release(c, &m, 1) < 0)
            abort();
    }
    naru_channel_close(c);
}

static pid_t start(int i)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (i < SENDERS)
            sender((uint64_t)i);
        else
            receiver();
        _exit(0);
    }
    return pid;
}

static void killed(void)
{
    pid_t pid[SENDERS + RECEIVERS];
    int kills = 0, left = SENDERS + RECEIVERS;
    uint64_t z = (uint64_t)getpid();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(shared != MAP_FAILED);
    naru_channel *c = queue(NARU_SEND | NARU_RECV, NULL, 0); /* the cursor is there */
    naru_channel_close(c);
    for (int i = 0; i < SENDERS + RECEIVERS; i++)
        pid[i] = start(i);
    while (left > 0) {
        z = z * UINT64_C(6364136223846793005) + 1;
        usleep((unsigned)(z >> 40) % 5000);
        int i = (int)((z >> 33) % (SENDERS + RECEIVERS)), status;
        if (pid[i] <= 0)
            continue;
        if (kills < 300 && kill(pid[i], SIGKILL) == 0)
            kills++;
        else if (waitpid(pid[i], &status, WNOHANG) == 0)
            continue;
        else {
            expect(status == 0);
            pid[i] = 0;
            left--;
            continue;
        }
        waitpid(pid[i], &status, 0);
        expect(status == 0 || WTERMSIG(status) == SIGKILL);
        pid[i] = start(i);
    }
    for (int i = 0; i < 2; i++)
        receiver(); /* what the last ones left, and once more in case this one was held up */
    expect(!atomic_load(&shared->wrong));
    for (int s = 0; s < SENDERS; s++)
        for (int i = 1; i <= EACH; i++)
            if (!atomic_load(&shared->seen[s][i]))
                test_failed(__FILE__, __LINE__, "sender %d's message %d was lost", s, i);
    printf("# %d killed\n", kills);
    verify(0);
    munmap(shared, sizeof *shared);
    expect_ok(naru_remove(here()));
}

static bool is_pattern(const uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != (uint8_t)(i * 7 + i / 251 + seed))
            return false;
    return true;
}

/* Small ones are written through the mapping, large ones by write(2), and larger ones in pieces:
 * all sizes where that changes, in several pieces of the caller's, and in batches. */
static void sizes(void)
{
    static const size_t at[] = {0,     1,     8143,  8144,  8152,  8191,   8192,   20000,
                                65488, 65496, 65497, 65536, 65537, 131072, 131073, 200000};
    enum { N = sizeof at / sizeof *at, LARGEST = 200000, ROUNDS = 3, BATCH = 40 };
    static uint8_t data[ROUNDS][LARGEST], got[LARGEST];
    const struct naru_queue_options o = {.size = sizeof o, .capacity = 300000};
    naru_channel *c;
    expect_ok(naru_queue_open(here(), NARU_SEND | NARU_RECV, &o, &c));
    for (unsigned k = 0; k < ROUNDS; k++)
        for (size_t i = 0; i < LARGEST; i++)
            data[k][i] = (uint8_t)(i * 7 + i / 251 + k);
    for (unsigned k = 0; k < ROUNDS; k++)
        for (size_t i = 0; i < N; i++) {
            size_t cut = at[i] / 3;
            struct iovec piece[] = {{data[k], cut}, {NULL, 0}, {data[k] + cut, at[i] - cut}};
            expect_ok(naru_channel_send_vector(c, 1, piece, 3, PATIENCE));
        }
    struct naru_message m[BATCH];
    memset(m, 0, sizeof m);
    for (size_t i = 0; i < BATCH; i++) {
        m[i].data = data[i % ROUNDS];
        m[i].size = i * 997;
        m[i].info.type = 1;
    }
    expect_code(BATCH, (int)naru_channel_send_many(c, m, BATCH, PATIENCE));
    for (unsigned k = 0; k < ROUNDS; k++)
        for (size_t i = 0; i < N; i++) {
            expect((size_t)naru_channel_recv(c, 0, got, sizeof got, NULL, PATIENCE) == at[i]);
            expect(is_pattern(got, at[i], k));
        }
    for (unsigned i = 0; i < BATCH; i++) {
        expect((size_t)naru_channel_recv(c, 0, got, sizeof got, NULL, PATIENCE) == i * 997);
        expect(is_pattern(got, i * 997, i % ROUNDS));
    }
    naru_channel_close(c);
    expect(verify(0).records == ROUNDS * N + BATCH);
    expect_ok(naru_remove(here()));
}

/* A write that the kernel cuts short leaves nothing, and takes nothing else with it. */
static void half_written(void)
{
    static uint8_t data[100000];
    const struct naru_queue_options o = {.size = sizeof o, .capacity = 1 << 20};
    struct rlimit usual, little = {160 << 10, 0};
    naru_channel *c, *second;
    expect_ok(naru_queue_open(here(), NARU_SEND, &o, &c));
    memset(data, 0xee, sizeof data);
    expect_ok(naru_channel_send(c, 1, data, sizeof data, PATIENCE));
    getrlimit(RLIMIT_FSIZE, &usual);
    little.rlim_max = usual.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &little);
    expect(naru_channel_send(c, 1, data, sizeof data, PATIENCE) <
           0); /* the limit is in its middle */
    expect_says("writing");
    expect_ok(naru_channel_send(c, 2, data, 8, PATIENCE));
    signal(SIGXFSZ, SIG_DFL); /* who opens it under such a limit writes by the mapping alone */
    expect_ok(naru_queue_open(here(), NARU_SEND | NARU_RECV, NULL, &second));
    expect_ok(naru_channel_send(second, 3, data, 20000, PATIENCE));
    setrlimit(RLIMIT_FSIZE, &usual);
    expect(naru_channel_recv(second, 1, data, sizeof data, NULL, PATIENCE) == sizeof data);
    expect(naru_channel_recv(second, 2, data, sizeof data, NULL, PATIENCE) == 8);
    expect(naru_channel_recv(second, 3, data, sizeof data, NULL, PATIENCE) == 20000);
    naru_channel_close(second);
    naru_channel_close(c);
    struct naru_journal_report r = verify(0);
    expect(r.records == 3 && r.torn == 0);
    expect_ok(naru_remove(here()));
}

static void refusals(void)
{
    struct naru_journal_options j = {.size = sizeof j};
    struct naru_queue_options o = {.size = sizeof o, .journal = &j};
    naru_channel *c;
    expect_code(-EOPNOTSUPP, naru_queue_open(test_url("shm:%s/q"), NARU_SEND, &o, &c));
    expect_says(".journal");
    j.size = 1;
    expect_code(-EINVAL, naru_queue_open(here(), NARU_SEND, &o, &c));
    j.size = sizeof j;
    expect_code(-EINVAL, naru_queue_open("map:relative", NARU_SEND, &o, &c));
    o.capacity = 5;
    expect_code(-EINVAL, naru_queue_open(here(), NARU_SEND, &o, &c));
    o.capacity = 0;
    j.cursor = "a/b";
    expect_code(-EINVAL, naru_queue_open(here(), NARU_RECV, &o, &c));
    expect_says("a/b");
    expect_ok(naru_remove(here()));
    expect_code(-ENOENT, naru_journal_trim(here(), 1, NULL));
    struct naru_journal_report r = {.size = sizeof r};
    expect_code(-ENOENT, naru_journal_verify(here(), &r, NULL, NULL));
    expect_code(-EINVAL, naru_journal_verify("shm:x", &r, NULL, NULL));
}

/* Whoever waits for a subscriber sends what it has to see, so it is there only with its place. */
static naru_channel *publisher;
static unsigned looks;
static int nobody_is_there(const char *call)
{
    int (*hook)(const char *) = naru__fault;
    (void)call;
    naru__fault = NULL;
    expect_code(-EAGAIN, naru_channel_wait_peers(publisher, 1, NARU_NOWAIT));
    naru__fault = hook;
    looks++;
    return 0;
}

static void opening(void)
{
    static const char *const cursors[] = {NULL, "new", "new"};
    for (int k = 0; k < 3; k++) {
        struct naru_journal_options j = {.size = sizeof j, .cursor = cursors[k]};
        struct naru_topic_options o = {.size = sizeof o, .journal = &j};
        naru_channel *c;
        expect_ok(naru_topic_open(here(), NARU_SEND, NULL, &publisher));
        naru__fault = nobody_is_there;
        int r = naru_topic_open(here(), NARU_RECV, &o, &c);
        naru__fault = NULL;
        expect_ok(r);
        expect_ok(naru_channel_wait_peers(publisher, 1, NARU_NOWAIT));
        naru_channel_close(c);
        naru_channel_close(publisher);
    }
    expect(looks > 10);
    expect_ok(naru_remove(here()));
}

/* The power went in a roll: the next segment is made, in parts or whole, and holds nothing; mostly
 * the mark that ends the one before it is not on the medium. It is no damage, unless something of
 * it had been synced. */
static void rolling(void)
{
    enum { N = 700, HALF_AT = 4200 };
    enum { HEADER, TORN_BEFORE, TORN_IN_IT, ENDED, ZEROES, NO_BYTE, WAYS };
    size_t n, end = NARU_SEGMENT_RECORDS_AT;
    uint64_t in_first = 0;
    struct naru_info info;
    char second[300];
    snprintf(second, sizeof second, "%s/j/segment-0000000002", test_directory);
    for (int way = HEADER; way < WAYS; way++) {
        naru_channel *c = queue(NARU_SEND, NULL, 0);
        send_n(c, 0, N, 100);
        naru_channel_close(c);
        uint8_t *memory = load(&n);
        for (; ((struct naru_record *)(void *)(memory + end))->type; in_first++)
            end += (size_t)naru__record_room(100);
        expect(in_first > 300 && in_first < N - 50);
        expect(truncate(second, way < ZEROES ? NARU_SEGMENT_RECORDS_AT : 0) == 0);
        expect(way == NO_BYTE || truncate(second, SEGMENT) == 0);
        if (way != ENDED && way != NO_BYTE)
            memset(memory + end, 0, n - end);
        if (way == TORN_BEFORE)
            memcpy(memory + end, "half", 4);
        if (way == TORN_IN_IT) {
            int fd = open(second, O_WRONLY);
            expect(fd >= 0 && pwrite(fd, "half", 4, HALF_AT) == 4 && close(fd) == 0);
        }
        another_world(in_first);
        struct naru_journal_report r = verify(0);
        expect(r.records == in_first && r.last == in_first && r.unbegun == 1 && !r.damaged);
        expect(r.torn == (way == TORN_BEFORE  ? 4
                          : way == TORN_IN_IT ? HALF_AT + 4 - NARU_SEGMENT_RECORDS_AT
                                              : 0));
        another_world(in_first + 1); /* a message that was synced is lost */
        r = verify(1);
        expect(r.records == in_first && r.bad_sequence == in_first + 1);
        another_world(in_first);
        c = queue(NARU_SEND | NARU_RECV, NULL, 0); /* whoever opens it cuts that off */
        send_n(c, in_first, 300, 100);
        for (uint64_t i = 0; i < in_first + 300; i++)
            expect(recv_1(c, &info) == i);
        naru_channel_close(c);
        r = verify(0);
        expect(r.last == in_first + 300 && r.torn == 0 && r.unbegun == 0);
        munmap(memory, n);
        expect_ok(naru_remove(here()));
    }
}

static void damage(uint64_t segment, size_t at)
{
    char name[300], byte;
    snprintf(name, sizeof name, "%s/j/segment-%010llu", test_directory,
             (unsigned long long)segment);
    int fd = open(name, O_RDWR);
    expect(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
    byte ^= 1;
    expect(pwrite(fd, &byte, 1, (off_t)at) == 1 && close(fd) == 0);
}

/* A message that is not whole, with whole ones behind it, here and in later segments: behind what
 * was synced it is the torn tail of a loss of power, and before that, or without one, damage. */
static void holes(void)
{
    enum { N = 1200, BAD = 60 };
    struct naru_info info;
    size_t at = NARU_SEGMENT_RECORDS_AT + (BAD - 1) * (size_t)naru__record_room(100) + 50;
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    send_n(c, 0, N, 100);
    naru_channel_close(c);
    damage(1, at);
    struct naru_journal_report r = verify(1);
    expect(r.damaged == 1 && r.bad_sequence == BAD && r.readable == N - BAD);
    another_world(BAD); /* that was synced */
    r = verify(1);
    expect(r.damaged == 1 && r.bad_sequence == BAD && r.records == N - 1 && !r.behind);
    another_world(BAD - 1);
    r = verify(0);
    expect(r.records == BAD - 1 && r.last == BAD - 1 && !r.damaged && !r.readable && !r.unbegun);
    expect(r.behind == N - BAD && r.torn > (N - BAD) * 100 && r.segments == 1);
    c = queue(NARU_SEND | NARU_RECV, NULL, 0); /* who opens it cuts that off */
    send_n(c, BAD - 1, 1, 100);
    for (uint64_t i = 0; i < BAD; i++)
        expect(recv_1(c, &info) == i && info.sequence == i + 1);
    naru_channel_close(c);
    r = verify(0);
    expect(r.records == BAD && !r.torn && !r.behind && r.segments == 1);
    expect_ok(naru_remove(here()));
}

static uint64_t oldest_of(const naru_channel *c)
{
    return atomic_load(&((const struct map_journal *)(const void *)c)->state->oldest);
}

/* What was synced goes when the medium has what replaces it, however much comes after it. */
static void replaced_first(void)
{
    enum { KEEP = 4 };
    struct naru_journal_options j = {.size = sizeof j, .keep_bytes = KEEP * SEGMENT};
    struct naru_queue_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    naru_channel *c, *flusher;
    expect_ok(naru_queue_open(here(), NARU_SEND, &o, &c));
    struct naru_journal_state *s = journal_of(c)->state;
    expect_ok(naru_queue_open(here(), NARU_SEND, &o, &flusher));
    uint32_t other = journal_of(flusher)->object.member + 1;
    send_n(c, 0, 3000, 100);
    expect(oldest_of(c) > 1); /* nothing is promised yet */
    expect_ok(naru_journal_sync(c, PATIENCE));
    uint64_t synced_at = atomic_load(&s->durable_at), oldest = oldest_of(c);
    atomic_store(&s->flush, other); /* it takes long */
    send_n(c, 3000, 9000, 100);
    expect(oldest_of(c) <= synced_at - KEEP && atomic_load(&s->durable_at) == synced_at);
    expect(verify(0).segments >= 19);
    atomic_store(&s->flush, 0);
    uint64_t flushes = atomic_load(&s->flushes);
    send_n(c, 12000, 2000, 100);
    expect(oldest_of(c) > oldest + 10 && atomic_load(&s->durable_at) > synced_at);
    expect(atomic_load(&s->flushes) - flushes <= 5); /* one a roll */
    expect(oldest_of(c) + KEEP <= atomic_load(&s->durable_at));
    atomic_store(&s->flush, other);
    send_n(c, 14000, 3000, 100);
    atomic_store(&s->flush, 0);
    expect_ok(naru_journal_trim(here(), 16900, NULL));
    expect(verify(0).first > 16000 && oldest_of(c) <= atomic_load(&s->durable_at));
    naru_channel_close(flusher);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static void empty_segments(uint64_t first, uint64_t last, const char *header)
{
    char name[300];
    for (uint64_t n = first; n <= last; n++) {
        snprintf(name, sizeof name, "%s/j/segment-%010llu", test_directory, (unsigned long long)n);
        int fd = open(name, O_RDWR);
        expect(fd >= 0 && ftruncate(fd, 0) == 0 &&
               ftruncate(fd, *header || n % 2 ? SEGMENT : 100) == 0);
        expect(pwrite(fd, header, strlen(header), 0) == (ssize_t)strlen(header));
        close(fd);
    }
}

/* Nobody has synced, old segments went, and nothing of the others came to the medium: it goes on
 * behind all that was ever sent. Not where a header is damaged, or something was synced. */
static void all_lost(void)
{
    enum { N = 3000 };
    struct naru_info info;
    struct naru_journal_options j = {.size = sizeof j, .keep_bytes = 2 * SEGMENT};
    struct naru_queue_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    naru_channel *c;
    expect_ok(naru_queue_open(here(), NARU_SEND | NARU_RECV, &o, &c));
    send_n(c, 0, N, 100);
    uint64_t first = oldest_of(c);
    uint64_t last = naru__place_segment(atomic_load(&journal_of(c)->state->tail));
    expect(first > 1 && last > first);
    naru_channel_close(c);
    another_world(0);
    empty_segments(first, last, "?");
    expect(verify(1).records == 0);
    expect_code(-EPROTO, naru_queue_open(here(), NARU_SEND, &o, &c));
    empty_segments(first, last, "");
    another_world(N - 10);
    expect(verify(1).records == 0);
    expect_code(-EPROTO, naru_queue_open(here(), NARU_SEND, &o, &c));
    another_world(0);
    struct naru_journal_report r = verify(0);
    expect(r.segments == 0 && r.records == 0 && r.unbegun == last + 1 - first && !r.damaged);
    expect_ok(naru_queue_open(here(), NARU_SEND | NARU_RECV, &o, &c));
    expect(atomic_load(&journal_of(c)->state->cut) > 0);
    expect_code(-EAGAIN, naru_channel_recv(c, 0, NULL, 0, NULL, NARU_NOWAIT));
    send_n(c, N, 2000, 100);
    uint64_t next = recv_1(c, &info);
    expect(next >= N && info.sequence > NARU_JOURNAL_CEILING);
    naru_channel_close(c);
    r = verify(0);
    expect(r.first > NARU_JOURNAL_CEILING && r.records > 300 && !r.torn && !r.unbegun);
    expect_ok(naru_remove(here()));
}

/* ---- memory that somebody has written, or that a death has left ---- */

static _Atomic int *shared_word; /* of a case and its child */

/* Not by the clock: the machine may be busy. What counts for ever ends by SIGPROF. */
static void expect_an_end(void)
{
    const struct itimerval end = {.it_value.tv_sec = 1};
    setitimer(ITIMER_PROF, &end, NULL);
}

/* A tail where no record can be: nothing is written there, and the sentence says why. */
static void wrong_tail(void)
{
    static const uint64_t at[] = {0,
                                  8,
                                  NARU_SEGMENT_RECORDS_AT - 8,
                                  NARU_SEGMENT_RECORDS_AT + 4,
                                  SEGMENT - 32,
                                  SEGMENT,
                                  SEGMENT + 8,
                                  (UINT64_C(1) << 40) - 8};
    size_t n;
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    struct naru_journal_state *s = journal_of(c)->state;
    send_n(c, 0, 3, 8);
    uint8_t *memory = load(&n), *before = malloc(n);
    memcpy(before, memory, n);
    uint64_t tail = atomic_load(&s->tail);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        atomic_store(&s->tail, naru__place(1, at[i]));
        expect_code(-EPROTO, naru_channel_send(c, 1, "12345678", 8, PATIENCE));
        expect_says("its meta is damaged");
        expect(memcmp(memory, before, n) == 0);
    }
    atomic_store(&s->tail, tail);
    send_n(c, 3, 1, 8);
    expect(verify(0).records == 4);
    free(before);
    munmap(memory, n);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static void die_appending(void *context)
{
    const uint64_t *at = context;
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    struct map_journal *e = journal_of(c);
    atomic_store(&e->state->append, e->object.member + 1);
    atomic_store(&e->state->tail, naru__place(1, at[0]));
    atomic_store(&e->state->intent, naru__place(1, at[1]));
    kill(getpid(), SIGKILL);
}

/* Whoever repairs after a dead sender whose tail and intent are wrong harms nothing. */
static void wrong_repair(void)
{
    static uint64_t at[][2] = {{0, NARU_SEGMENT_RECORDS_AT},
                               {8, SEGMENT},
                               {NARU_SEGMENT_RECORDS_AT + 4, SEGMENT},
                               {SEGMENT - 8, SEGMENT},
                               {NARU_SEGMENT_RECORDS_AT, SEGMENT + 4096}};
    size_t n;
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    send_n(c, 0, 3, 8);
    uint64_t tail = atomic_load(&journal_of(c)->state->tail);
    naru_channel_close(c);
    uint8_t *memory = load(&n), *before = malloc(n);
    memcpy(before, memory, n);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        pid_t pid = fork();
        if (pid == 0)
            die_appending(at[i]);
        waitpid(pid, NULL, 0);
        c = queue(NARU_SEND, NULL, 0);
        expect(atomic_load(&journal_of(c)->state->append) == 0);
        expect(memcmp(memory, before, n) == 0);
        atomic_store(&journal_of(c)->state->tail, tail);
        naru_channel_close(c);
    }
    free(before);
    munmap(memory, n);
    expect_ok(naru_remove(here()));
}

static const uint64_t far = UINT64_C(1) << 47;

static void far_cursor(void)
{
    char buf[8];
    struct naru_info info;
    struct naru_message m;
    naru_channel *c = queue(NARU_SEND | NARU_RECV, NULL, 0);
    struct naru_cursor_file *cursor = journal_of(c)->cursor;
    send_n(c, 0, 10, 8);
    expect_an_end();
    atomic_store(&cursor->next, far); /* from `base` on nothing is told */
    expect_code(-EAGAIN, naru_channel_recv(c, 0, buf, sizeof buf, &info, NARU_NOWAIT));
    expect(atomic_load(&cursor->base) == far);
    atomic_store(&cursor->base, 1);
    atomic_store(&cursor->next, 1);
    expect_ok(naru_channel_take(c, 0, PATIENCE, &m)); /* so `base` stays where it is */
    expect_an_end();
    atomic_store(&cursor->next, far);
    atomic_store(&cursor->open, 1);
    expect_code(-EAGAIN, naru_channel_recv(c, 0, buf, sizeof buf, &info, NARU_NOWAIT));
    atomic_store(&cursor->next, 2);
    atomic_store(&cursor->open, 0);
    expect_ok(naru_channel_release(c, &m, 1));
    for (uint64_t i = 1; i < 10; i++)
        expect(recv_1(c, &info) == i);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

/* Of more than there is: of all segments that the memory tells of one is, and of the messages. */
static void far_flush(void)
{
    naru_channel *c = queue(NARU_SEND, NULL, NARU_MS);
    struct naru_journal_state *s = journal_of(c)->state;
    send_n(c, 0, 1, 8);
    uint64_t tail = atomic_load(&s->tail);
    expect_an_end();
    atomic_store(&s->durable_at, 0);
    atomic_store(&s->tail, naru__place((1 << 24) - 1, NARU_SEGMENT_RECORDS_AT));
    expect_ok(naru_journal_sync(c, PATIENCE));
    atomic_store(&s->tail, tail);
    expect_an_end();
    atomic_store(&s->committed, far);
    send_n(c, 1, 1, 8);
    atomic_store(&s->committed, 1); /* so it owes the medium more than counts */
    atomic_store(&s->durable, 1);
    usleep(2000);
    send_n(c, 2, 1, 8); /* which pays first */
    expect(atomic_load(&s->durable) == 1 && atomic_load(&s->committed) == 2);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static void far_end(void)
{
    char buf[8];
    struct naru_info info;
    struct naru_journal_options j = {.size = sizeof j, .from = NARU_FROM_OLDEST, .skip = 1};
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    send_n(c, 0, 10, 8);
    naru_channel_close(c);
    for (int segments = 0; segments < 2; segments++) {
        c = topic(&j);
        struct naru_journal_state *s = journal_of(c)->state;
        atomic_store(&s->committed, 10);
        for (uint64_t i = 0; i < 10; i++)
            expect(recv_1(c, &info) == i);
        expect_an_end();
        if (segments) {
            atomic_store(&s->tail, naru__place((1 << 24) - 1, NARU_SEGMENT_RECORDS_AT));
            atomic_store(&s->committed, 11);
        } else {
            atomic_store(&s->committed, UINT64_MAX);
            expect_code(-EPROTO, naru_channel_recv(c, 0, buf, sizeof buf, &info, NARU_NOWAIT));
            atomic_store(&s->committed, far * 4 + 10); /* what it knows by now is more */
            expect_code(-EAGAIN, naru_channel_recv(c, 0, buf, sizeof buf, &info, NARU_NOWAIT));
        }
        expect_code(segments ? -EAGAIN : -EPROTO,
                    naru_channel_recv(c, 0, buf, sizeof buf, &info, NARU_NOWAIT));
        naru_channel_close(c);
    }
    expect_ok(naru_remove(here()));
}

/* The end of a segment is damaged: whoever passes over it goes on with the next. */
static void damaged_end(void)
{
    enum { N = 1000 };
    struct naru_info info;
    size_t n, at = NARU_SEGMENT_RECORDS_AT;
    uint64_t got = 0, missed = 0, in_first = 0;
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    send_n(c, 0, N, 100);
    naru_channel_close(c);
    uint8_t *memory = load(&n);
    for (struct naru_record *r = (void *)(memory + at); r->type; r = (void *)(memory + at)) {
        at += (size_t)naru__record_room(r->size);
        in_first++;
    }
    memory[at] ^= 1;
    expect(naru__segment_used(memory, n + 8, n) == n + 8); /* as a size that changes may lead to */
    munmap(memory, n);
    expect(in_first > 100 && in_first < N - 100);
    struct naru_journal_options j = {.size = sizeof j, .from = NARU_FROM_OLDEST};
    c = topic(&j);
    for (uint64_t i = 0; i < in_first; i++)
        expect(recv_1(c, &info) == i);
    expect_code(-EPROTO, naru_channel_recv(c, 0, NULL, 0, &info, NARU_NOWAIT));
    naru_channel_close(c);
    j.skip = 1;
    c = topic(&j);
    expect_an_end();
    for (; got < N; got++, missed += info.missed)
        expect(recv_1(c, &info) == got);
    expect(missed == 0);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

/* A payload in which each place claims to be a record as long as the rest. */
static void led_astray(void)
{
    enum { LARGE = 3 << 20 };
    const struct naru_queue_options o = {.size = sizeof o, .capacity = 4 << 20};
    static struct {
        uint32_t crc, size;
        uint64_t sequence;
    } claim[LARGE / 16];
    naru_channel *c;
    for (size_t i = 0; i < LARGE / 16; i++) {
        claim[i].size = (uint32_t)(LARGE - i * 16) / 8 * 8;
        claim[i].sequence = 2 + i % 1000;
    }
    expect_ok(naru_queue_open(here(), NARU_SEND, &o, &c));
    send_n(c, 0, 1, 100);
    expect_ok(naru_channel_send(c, 1, claim, sizeof claim, PATIENCE));
    send_n(c, 2, 3, 1000);
    naru_channel_close(c);
    damage(1, NARU_SEGMENT_RECORDS_AT + (size_t)naru__record_room(100) + 8);
    expect_an_end();
    struct naru_journal_report r = verify(1);
    expect(r.damaged == 1 && r.bad_sequence == 2 && r.readable == 3);
    expect_ok(naru_remove(here()));
}

/* The words of locks that name no member are taken at once. */
static void nobody(void)
{
    static const uint32_t who[] = {
        2, 5, 100, NARU_JOURNAL_MEMBERS, NARU_JOURNAL_MEMBERS + 1, UINT32_MAX};
    struct naru_info info;
    naru_channel *c = queue(NARU_SEND | NARU_RECV, NULL, 0), *other;
    struct naru_journal_state *s = journal_of(c)->state;
    struct naru_cursor_file *cursor = journal_of(c)->cursor;
    for (size_t i = 0; i < sizeof who / sizeof *who; i++) {
        atomic_store(&s->append, who[i]);
        expect_ok(naru_channel_send(c, 1, &i, sizeof i, PATIENCE));
        atomic_store(&cursor->lock, who[i]);
        expect(recv_1(c, &info) == i);
        atomic_store(&s->flush, who[i]);
        expect_ok(naru_journal_sync(c, PATIENCE));
        atomic_store(&s->append, who[i]); /* 2: that is the opener's own */
        other = queue(NARU_SEND | NARU_RECV, NULL, 0);
        naru_channel_close(other);
        struct naru_journal_options j = {.size = sizeof j, .cursor = "a"};
        other = topic(&j);
        struct naru_cursor_file *a = journal_of(other)->cursor;
        atomic_store(&a->user, who[i]); /* of the owner that leaves, the next is another's */
        naru_channel_close(other);
        other = topic(&j);
        naru_channel_close(other);
    }
    other = queue(NARU_SEND, NULL, 0); /* who lives is waited for, though its record says nothing */
    uint32_t member = journal_of(other)->object.member;
    struct naru_object_member *record = &journal_of(c)->object.members[member];
    uint64_t was = atomic_load(&record->who);
    for (int silent = 0; silent < 2; silent++) {
        atomic_store(&s->append, member + 1);
        atomic_store(&record->who, silent ? was & ~UINT64_C(0xffff) : was);
        expect_code(-ETIMEDOUT, naru_channel_send(c, 1, "", 0, 100 * NARU_MS));
        expect(atomic_load(&s->append) == member + 1);
    }
    atomic_store(&record->who, was);
    atomic_store(&s->append, 0);
    naru_channel_close(other);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

/* A count of open messages that a death has left too high wakes nobody. */
static void open_count(void)
{
    naru_channel *c = queue(NARU_SEND | NARU_RECV, NULL, 0);
    struct naru_info info;
    struct naru_message m;
    struct pollfd p = {naru_fd(c), POLLIN, 0};
    send_n(c, 0, 3, 8);
    for (uint64_t i = 0; i < 2; i++)
        expect(recv_1(c, &info) == i);
    expect_ok(naru_channel_take(c, 0, PATIENCE, &m));
    atomic_fetch_add(&journal_of(c)->cursor->open, 2);
    expect_ok(naru_want(c, NARU_IN));
    expect_code(0, poll(&p, 1, 50));
    expect_ok(naru_channel_return(c, &m, 1)); /* and one that is true does */
    expect_code(1, poll(&p, 1, PATIENCE_MS));
    expect(recv_1(c, &info) == 2 && info.flags == NARU_REDELIVERED);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static void die_subscribed(void *unused)
{
    struct naru_journal_options j = {.size = sizeof j, .cursor = "a", .from = NARU_FROM_OLDEST};
    (void)unused;
    (void)topic(&j);
    kill(getpid(), SIGKILL);
}

static void clean_slowly(void *context)
{
    naru_channel *c = context; /* a fork's copy: its numbers alone */
    struct naru_life life = {0};
    const struct map_journal *e = journal_of(c);
    expect_ok(naru__os_life_hold(e->object.file, e->object.member + 1, &life));
    atomic_store(&shared_word[0], 1);
    while (!atomic_load(&shared_word[1]))
        usleep(1000);
    usleep(100000);
}

/* A dead subscriber's cursor is waited for, while another cleans up after it. */
static void busy(void)
{
    struct naru_info info;
    struct naru_journal_options j = {.size = sizeof j, .cursor = "a"};
    shared_word = mmap(NULL, sizeof *shared_word * 2, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(shared_word != MAP_FAILED);
    naru_channel *c = queue(NARU_SEND, NULL, 0);
    send_n(c, 0, 2, 8);
    pid_t pid = fork();
    if (pid == 0)
        die_subscribed(NULL);
    waitpid(pid, NULL, 0);
    pid = start_child(clean_slowly, c);
    while (!atomic_load(&shared_word[0]))
        usleep(1000);
    atomic_store(&shared_word[1], 1);
    naru_channel *sub = topic(&j); /* or it fails with -EBUSY */
    expect(recv_1(sub, &info) == 0);
    naru_channel_close(sub);
    end_child(pid);
    naru_channel_close(c);
    munmap(shared_word, sizeof *shared_word * 2);
    expect_ok(naru_remove(here()));
}

/* What goes, goes from the oldest on: so a death in it leaves no hole. */
static void retained_in_order(void)
{
    enum { N = 3000 };
    _Alignas(struct inotify_event) char events[4096];
    struct naru_info info;
    struct naru_journal_options j = {.size = sizeof j, .keep_unread = 1};
    struct naru_queue_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    uint64_t gone = 0, number;
    char directory[200];
    naru_channel *c;
    expect_ok(naru_queue_open(here(), NARU_SEND | NARU_RECV, &o, &c));
    send_n(c, 0, N, 100);
    for (uint64_t i = 0; i < N; i++)
        expect(recv_1(c, &info) == i);
    snprintf(directory, sizeof directory, "%s/j", test_directory);
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    expect(fd >= 0 && inotify_add_watch(fd, directory, IN_DELETE | IN_MOVED_FROM) >= 0);
    send_n(c, N, 600, 100); /* so that it rolls */
    for (ssize_t n; (n = read(fd, events, sizeof events)) > 0;)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const void *)(events + at);
            if (sscanf(event->name, "segment-%" SCNu64, &number) == 1)
                expect(number == ++gone); /* the oldest first */
            at += (ssize_t)(sizeof *event + event->len);
        }
    close(fd);
    expect(gone > 3 && verify(0).first > N / 2);
    naru_channel_close(c);
    expect_ok(naru_remove(here()));
}

static struct {
    naru_channel *sender;
    uint8_t *hidden; /* of the segment as verifying sees it: what is not read yet */
    size_t n;
} growing;

static void *all_but_two_pages(int fd, uint64_t at, uint64_t size)
{
    uint8_t *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)at);
    expect(p != MAP_FAILED);
    if (size == SEGMENT) {
        growing.hidden = p + 8192;
        growing.n = size - 8192;
        expect(mprotect(growing.hidden, growing.n, PROT_NONE) == 0);
    }
    return p;
}

static void goes_on(int signal)
{
    (void)signal;
    naru__map_at = NULL;
    expect(growing.n > 0 && mprotect(growing.hidden, growing.n, PROT_READ) == 0);
    growing.n = 0;
    send_n(growing.sender, 2, 2, 100);
}

/* Verifying has seen that nothing is at the end yet, and looks for what is behind it; then two
 * messages are sent, the first of which begins there. */
static void verified_meanwhile(void)
{
    size_t size = 0;
    while (naru__record_room((uint32_t)size) < 4096 - sizeof(struct naru_record))
        size++;
    growing.sender = queue(NARU_SEND, NULL, 0);
    send_n(growing.sender, 1, 1, size);
    signal(SIGSEGV, goes_on);
    naru__map_at = all_but_two_pages;
    struct naru_journal_report r = verify(0);
    signal(SIGSEGV, SIG_DFL);
    expect(growing.hidden && growing.n == 0 && r.damaged == 0 && r.records == 3 && r.torn == 0);
    naru_channel_close(growing.sender);
    expect_ok(naru_remove(here()));
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"check sums", check_sums},
        {"restart", restart},
        {"opening", opening},
        {"cursors", cursors},
        {"redelivery", redelivery},
        {"selecting", selecting},
        {"trimming and retention", trimming},
        {"files used again", used_again},
        {"spares of the dead", dead_spares},
        {"a file with its old name", old_name},
        {"sync every N ms", interval},
        {"torn at every length", torn},
        {"bits flipped", flipped},
        {"begun at damage", begun_at_damage},
        {"killed at random", killed},
        {"refusals", refusals},
        {"a segment in the middle", gaps},
        {"messages of all sizes", sizes},
        {"half written", half_written},
        {"the power goes in a roll", rolling},
        {"a hole behind what was synced", holes},
        {"replaced on the medium first", replaced_first},
        {"nothing came to the medium", all_lost},
        {"a tail that leads outside", wrong_tail},
        {"a repair that leads outside", wrong_repair},
        {"a cursor whose words are far apart", far_cursor},
        {"a flush of more than there is", far_flush},
        {"an end beyond what there is", far_end},
        {"a damaged end of a segment", damaged_end},
        {"a search that is led astray", led_astray},
        {"locks that name nobody", nobody},
        {"a count that is too high", open_count},
        {"a cursor being cleaned up", busy},
        {"retention in order", retained_in_order},
        {"verified while it grows", verified_meanwhile},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
