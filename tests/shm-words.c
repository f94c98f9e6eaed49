/* SPDX-License-Identifier: MIT */
/* shm-words.c - one side of a connection, region, queue or topic in shared memory, or of a journal,
 * for a partner of another word size or processor:
 *
 *   shm-words listen URL    takes one connection, and gives back each message as it came
 *   shm-words connect URL   sends messages of every kind of size up to 256 MiB, and compares
 *   shm-words make URL      makes a region, writes into it, and waits until it has been answered
 *   shm-words find URL      opens it when it is there, reads, grows it, and answers in what is new
 *
 *   shm-words make KIND URL              makes the queue or topic
 *   shm-words send KIND URL [FROM TO]    sends messages of such sizes until they are received
 *   shm-words die KIND URL [FROM TO]     sends them, and is killed
 *   shm-words recv KIND URL [FROM TO]    receives and compares them
 *   shm-words remove KIND URL
 *   shm-words kept URL                   is it what tests/kept/make has made?
 *
 * The exit status is 0 if all was as it should be. tests/words runs such pairs. */
#include <errno.h>
#include <naru/naru.h>
#include <naru/typed.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MIB = 1 << 20 };
static const int64_t soon = 20 * NARU_S;

struct point { /* the same for every word size, but that 32 bits may align an int64_t less */
    _Alignas(8) int64_t x, y;
    uint32_t color, layer;
};
NARU_STRUCT(point, 7, struct point)

static int failed(const char *what, long code)
{
    fprintf(stderr, "%d bits, pid %d: %s gave %ld: %s\n", (int)sizeof(void *) * 8, (int)getpid(),
            what, code, naru_why());
    return 1;
}

static void fill(unsigned char *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i<n; i += n> MIB ? 4093 : 1)
        p[i] = (unsigned char)(seed + i * 31);
}

static int listen_once(const char *url)
{
    naru_channel_listener *l;
    naru_channel *c;
    struct naru_message m;
    int r = naru_channel_listen(url, NULL, &l);
    if (r < 0)
        return failed("listen", r);
    r = naru_channel_accept(l, soon, &c);
    naru_channel_listener_close(l);
    if (r < 0)
        return failed("accept", r);
    struct point p;
    if ((r = point_recv(c, &p, NULL, soon)) < 0 || p.x != -5 || p.color != 9)
        return failed("point_recv", r);
    p.x = 6;
    if ((r = point_send(c, &p, soon)) < 0)
        return failed("point_send", r);
    while ((r = naru_channel_take(c, 0, soon, &m)) == 0) {
        r = naru_channel_send(c, m.info.type, m.data, m.size, soon);
        if (r < 0)
            return failed("send back", r);
        naru_channel_release(c, &m, 1);
    }
    naru_channel_close(c);
    return r == -EPIPE ? 0 : failed("take", r);
}

static int compare(naru_channel *c, size_t n, unsigned seed, unsigned char *out, unsigned char *in)
{
    struct naru_info info;
    uint32_t type = 1 + seed % 1000;
    fill(out, n, seed);
    int r = naru_channel_send(c, type, out, n, soon);
    if (r < 0)
        return failed("send", r);
    ssize_t got = naru_channel_recv(c, 0, in, 256 * MIB, &info, soon);
    if (got != (ssize_t)n || info.type != type || memcmp(in, out, n) != 0)
        return failed("recv", (long)got);
    return 0;
}

static int connect_to(const char *url)
{
    naru_channel *c;
    int r = -ENOENT;
    for (int i = 0; r == -ENOENT || r == -ECONNREFUSED; i++) { /* till the other listens */
        r = naru_channel_connect(url, NULL, soon, &c);
        if (r < 0 && i < 1000)
            usleep(10000);
        else if (r < 0)
            break;
    }
    if (r < 0)
        return failed("connect", r);
    unsigned char *out = calloc(1, 256 * MIB), *in = calloc(1, 256 * MIB);
    struct point p = {.x = -5, .y = INT64_MAX, .color = 9, .layer = 1};
    if (!out || !in)
        return failed("memory", 0);
    if ((r = point_send(c, &p, soon)) < 0 || (r = point_recv(c, &p, NULL, soon)) < 0)
        return failed("point", r);
    if (p.x != 6 || p.y != INT64_MAX || p.layer != 1)
        return failed("the point", p.x);
    unsigned seed = 1;
    for (size_t n = 0; n <= 300; n++)
        if (compare(c, n, seed++, out, in))
            return 1;
    for (size_t n = 512; n <= (size_t)256 * MIB; n *= 2)
        for (int d = -1; d <= 1; d++)
            if (n + (size_t)d <= (size_t)256 * MIB && compare(c, n + (size_t)d, seed++, out, in))
                return 1;
    naru_channel_close(c);
    free(out);
    free(in);
    return 0;
}

/* ---- queues and topics ---- */

enum { SMALL = 301, ALL = SMALL + 3 * 20 - 1 }; /* sizes 0 to 300, then 512 to 256 MiB, +- 1 */

static size_t size_of(unsigned i)
{
    return i < SMALL ? i : ((size_t)512 << (i - SMALL) / 3) + (i - SMALL) % 3 - 1;
}

static int open_named(const char *kind, const char *url, int role, size_t capacity,
                      naru_channel **ret_c)
{
    const struct naru_queue_options q = {.size = sizeof q, .capacity = capacity};
    const struct naru_topic_options t = {.size = sizeof t, .capacity = capacity};
    return strcmp(kind, "topic") == 0 ? naru_topic_open(url, role, &t, ret_c)
                                      : naru_queue_open(url, role, &q, ret_c);
}

static int make_named(const char *kind, const char *url)
{
    naru_channel *c;
    int r = open_named(kind, url, NARU_SEND, 4 * MIB, &c);
    if (r < 0)
        return failed("open", r);
    naru_channel_close(c);
    return 0;
}

static int send_named(const char *kind, const char *url, unsigned from, unsigned to, int dies)
{
    naru_channel *c;
    unsigned char *out = calloc(1, 256 * MIB);
    int r = out ? open_named(kind, url, NARU_SEND, 0, &c) : -ENOMEM;
    if (r == 0 && strcmp(kind, "topic") == 0)
        r = naru_channel_wait_peers(c, 1, soon);
    for (unsigned i = from; r == 0 && i < to; i++) {
        fill(out, size_of(i), i);
        struct point p = {.x = -(int64_t)i, .y = INT64_MAX, .color = i, .layer = 1};
        r = i % 50 == 7 ? point_send(c, &p, soon)
                        : naru_channel_send(c, 8 + i % 1000, out, size_of(i), soon);
    }
    if (r < 0)
        return failed("send", r);
    if (dies)
        kill(getpid(), SIGKILL);
    r = naru_channel_flush(c, soon);
    if (r < 0)
        return failed("flush", r);
    naru_channel_close(c);
    free(out);
    return 0;
}

static int recv_named(const char *kind, const char *url, unsigned from, unsigned to)
{
    naru_channel *c;
    struct naru_message m;
    unsigned char *want = calloc(1, 256 * MIB);
    int r = want ? open_named(kind, url, NARU_RECV, 0, &c) : -ENOMEM;
    for (unsigned i = from; r == 0 && i < to; i++) {
        struct point p;
        if (i % 50 == 7) {
            r = point_recv(c, &p, NULL, soon);
            if (r < 0 || p.x != -(int64_t)i || p.y != INT64_MAX || p.color != i)
                return failed("point_recv", r);
            r = 0;
            continue;
        }
        r = naru_channel_take(c, 0, soon, &m);
        if (r < 0)
            break;
        fill(want, m.size, i);
        if (m.size != size_of(i) || m.info.type != 8 + i % 1000 ||
            memcmp(m.data, want, m.size) != 0)
            return failed("what came", (long)m.size * 1000 + i);
        naru_channel_release(c, &m, 1);
    }
    if (r < 0)
        return failed("take", r);
    naru_channel_close(c);
    free(want);
    return 0;
}

/* ---- the kept journal ---- */

enum { KEPT = 2100, KEPT_SYNCED = 2000, KEPT_RECEIVED = 100 };

static int is_kept(const struct naru_message *m, unsigned i)
{
    char text[64];
    int n = snprintf(text, sizeof text, "message %u of the kept journal", i);
    return m->size == (size_t)n && memcmp(m->data, text, m->size) == 0 && m->info.sequence == i &&
           m->info.type == (i <= KEPT_SYNCED ? 7 : 8) && m->info.time != 0;
}

static int kept(const char *url)
{
    struct naru_journal_report report = {.size = sizeof report};
    struct naru_journal_options j = {.size = sizeof j, .from = NARU_FROM_OLDEST};
    struct naru_topic_options t = {.size = sizeof t, .journal = &j};
    struct naru_queue_options q = {.size = sizeof q, .journal = &j};
    struct naru_message m;
    naru_channel *c;
    int r = naru_topic_open(url, NARU_RECV, &t, &c);
    for (unsigned i = 1; r == 0 && i <= KEPT; i++) {
        r = naru_channel_take(c, 0, NARU_NOWAIT, &m);
        if (r == 0 && !is_kept(&m, i))
            return failed("a kept message", i);
        if (r == 0)
            naru_channel_release(c, &m, 1);
    }
    if (r < 0 || naru_channel_take(c, 0, NARU_NOWAIT, &m) != -EAGAIN)
        return failed("take", r);
    naru_channel_close(c);
    j.cursor = "billing";
    if ((r = naru_queue_open(url, NARU_SEND | NARU_RECV, &q, &c)) < 0 ||
        (r = naru_channel_take(c, 0, NARU_NOWAIT, &m)) < 0 || !is_kept(&m, KEPT_RECEIVED + 1))
        return failed("the kept cursor", r);
    naru_channel_release(c, &m, 1);
    if ((r = naru_channel_send(c, 9, "more", 4, soon)) < 0)
        return failed("send", r);
    naru_channel_close(c);
    r = naru_journal_verify(url, &report, NULL, NULL);
    return r == 0 && report.records == KEPT + 1 && report.segments == 3 && report.torn == 0
               ? 0
               : failed("verify", r);
}

static int named(char **a, int n)
{
    unsigned from = n == 5 ? (unsigned)atoi(a[3]) : 0, to = n == 5 ? (unsigned)atoi(a[4]) : ALL;
    if (strcmp(a[0], "make") == 0)
        return make_named(a[1], a[2]);
    if (strcmp(a[0], "send") == 0)
        return send_named(a[1], a[2], from, to, 0);
    if (strcmp(a[0], "die") == 0)
        return send_named(a[1], a[2], from, to, 1);
    if (strcmp(a[0], "recv") == 0)
        return recv_named(a[1], a[2], from, to);
    return strcmp(a[0], "remove") == 0 ? naru_remove(a[2]) < 0 : 2;
}

/* ---- regions ---- */

enum { SIZE = 5000, GROWN = 700001 };

struct chart {
    _Atomic uint32_t turn; /* 1: made, 2: answered */
    struct point point;
};

static struct naru_region_options stated(const char *url)
{
    struct naru_region_options o = {.size = sizeof o, .reserve = MIB};
    if (strncmp(url, "shm:", 4) == 0)
        o.signature = naru_signature("struct chart", sizeof(struct chart), 8);
    if (strncmp(url, "sysv", 4) == 0)
        o.reserve = 0;
    return o;
}

static bool reaches(const struct chart *chart, uint32_t turn)
{
    for (int i = 0; i < 20000 && chart->turn != turn; i++)
        usleep(1000);
    return chart->turn == turn;
}

static int make(const char *url)
{
    struct naru_region_options o = stated(url);
    naru_region *r;
    int code = naru_region_create(url, SIZE, &o, &r);
    if (code < 0)
        return failed("create", code);
    struct chart *chart = naru_region_data(r);
    chart->point = (struct point){.x = -5, .y = INT64_MAX, .color = 9, .layer = 1};
    chart->turn = 1;
    bool answered = reaches(chart, 2);
    unsigned char last = 0;
    size_t size = naru_region_size(r);
    code = naru_region_read(r, size - 1, &last, 1);
    naru_remove(url);
    naru_region_close(r);
    return answered && code == 0 && last == 77 && size == (o.reserve ? GROWN : SIZE)
               ? 0
               : failed("the answer", (long)size);
}

static int find(const char *url)
{
    struct naru_region_options o = stated(url);
    naru_region *r = NULL;
    o.bytes = SIZE;
    int code = -ENOENT;
    for (int i = 0; code == -ENOENT && i < 2000; i++) {
        code = naru_region_open(url, NARU_READ | NARU_WRITE, &o, &r);
        if (code == -ENOENT)
            usleep(10000);
    }
    if (code < 0)
        return failed("open", code);
    struct chart *chart = naru_region_data(r);
    if (!reaches(chart, 1) || chart->point.x != -5 || chart->point.y != INT64_MAX ||
        chart->point.layer != 1)
        return failed("what was written", 0);
    if (o.reserve && (code = naru_region_grow(r, GROWN)) < 0)
        return failed("grow", code);
    code = naru_region_write(r, naru_region_size(r) - 1, "\x4d", 1);
    chart->turn = 2;
    naru_region_close(r);
    return code < 0 ? failed("write", code) : 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "kept") == 0)
        return kept(argv[2]);
    if (argc == 3 && strcmp(argv[1], "make") == 0)
        return make(argv[2]);
    if (argc == 3 && strcmp(argv[1], "find") == 0)
        return find(argv[2]);
    if (argc == 3 && strcmp(argv[1], "listen") == 0)
        return listen_once(argv[2]);
    if (argc == 3 && strcmp(argv[1], "connect") == 0)
        return connect_to(argv[2]);
    if (argc == 4 || argc == 6)
        return named(argv + 1, argc - 1);
    fprintf(stderr, "shm-words listen|connect|make|find|kept URL, "
                    "make|send|die|recv|remove KIND URL [FROM TO]\n");
    return 2;
}
