/* SPDX-License-Identifier: MIT */
/* history.c [--seconds N] [--seed N] [--threads] [--gentle] [--json FILE] - senders and receivers
 * of a queue, and of a topic, in shared memory, killed, paused, leaving and coming back at random,
 * while the dead and what they left is collected; and whether what happened can be. TAP.
 *
 * A sender's life is a stream; its messages are numbered. What was started, acknowledged and
 * received is written into memory that all share. Of a queue: what was acknowledged is received;
 * nothing twice that is not marked; of one stream nobody receives an earlier message after a later
 * one, but what is marked. Of a topic: from where a subscriber begins it misses nothing. Each
 * message is whole. That the checker sees such things is shown by receivers that lose one, see one
 * twice, or swap two.
 *
 * Every other life rests now and then, with --gentle each: so it is killed at work, not after its
 * last message, sleeps more, and runs beside other tests. */
#include <naru/naru.h>

#include "patience.h"

#include "base/fault.h"
#include "os/map.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SEATS_MAX = 8, STREAMS = 16384, EACH = 8192, LARGEST = 300000, EMPTY_TYPE = 7 };
enum { STARTED = 1, ACKNOWLEDGED = 2, GOT = 4, AGAIN = 8 };
enum flaw { SOUND, LOSES, DOUBLES, SWAPS, FLAWS };

static const char *const flaw_names[] = {"nothing", "one lost", "one doubled", "two swapped"};

struct seat {
    pid_t pid;
    bool sends;
    _Atomic bool leave;   /* it is to end by itself */
    _Atomic int unsure;   /* messages that its call may be done with and that are not logged */
    _Atomic uint64_t did; /* messages */
};

static struct shared {
    _Atomic uint32_t streams;
    _Atomic bool stop, failed, over; /* stop: no new messages; over: no more will come */
    _Atomic uint64_t started_empty, sent_empty, got_empty, again_empty, sent, got, again;
    _Atomic int planted; /* flaws still to be made */
    char why[300];
    struct seat seat[SEATS_MAX];
    _Atomic uint32_t sent_of[STREAMS]; /* acknowledged; of a topic */
    _Atomic bool whole[STREAMS];       /* the sender has ended by itself */
    _Atomic uint8_t state[STREAMS][EACH];
} * all;

static char url[64];
static bool topic, threads, gentle;
static int n_senders, n_receivers;
static enum flaw flaw;
static uint64_t seed, kills, pauses, leaves, unsure, unseen, taken_away;

static void failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void failed(const char *format, ...)
{
    va_list list;
    if (atomic_exchange(&all->failed, true))
        return;
    va_start(list, format);
    vsnprintf(all->why, sizeof all->why, format, list);
    va_end(list);
}

static uint64_t random_number(uint64_t *s)
{
    uint64_t x = (*s += 0x9e3779b97f4a7c15u);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* ---- messages ---- */

struct head {
    uint32_t stream, number;
    uint64_t sum;
};

static uint64_t sum_of(const uint8_t *p, size_t n, uint64_t sum)
{
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ p[i]) * 0x100000001b3u;
    return sum;
}

static size_t fill(uint8_t *p, struct head *h, uint64_t *s)
{
    uint64_t kind = random_number(s) % 400;
    size_t most = kind == 0 ? LARGEST : kind < 8 ? 30000 : kind < 100 ? 3000 : 90;
    size_t n = sizeof *h + (size_t)(random_number(s) % (most - sizeof *h));
    memset(p + sizeof *h, (int)(kind + h->number), n - sizeof *h);
    h->sum = sum_of(p + sizeof *h, n - sizeof *h, (uint64_t)h->stream << 32 | h->number);
    memcpy(p, h, sizeof *h);
    return n;
}

static bool is_whole(const uint8_t *p, size_t n, struct head *h)
{
    if (n < sizeof *h)
        return false;
    memcpy(h, p, sizeof *h);
    return h->stream < STREAMS && h->number < EACH &&
           h->sum == sum_of(p + sizeof *h, n - sizeof *h, (uint64_t)h->stream << 32 | h->number);
}

static void rest(uint64_t how)
{
    if (how % 8 == 0)
        usleep((useconds_t)(how / 8 % 4000));
}

/* ---- senders ---- */

static int open_it(int role, naru_channel **ret_c)
{
    struct naru_queue_options q = {.size = sizeof q, .capacity = 16384};
    struct naru_topic_options t = {.size = sizeof t, .capacity = 16384};
    return topic ? naru_topic_open(url, role, &t, ret_c) : naru_queue_open(url, role, &q, ret_c);
}

static int send_at(naru_channel *c, uint8_t *p, size_t n, uint64_t how)
{
    void *memory;
    if (how % 4 != 0)
        return naru_channel_send(c, 1 + (uint32_t)(n % 2), p, n, 20 * NARU_MS);
    int r = naru_channel_reserve(c, n, 20 * NARU_MS, &memory);
    if (r < 0)
        return r;
    memcpy(memory, p, n);
    return naru_channel_commit(c, memory, n, 1 + (uint32_t)(n % 2));
}

static void send_empty(naru_channel *c)
{
    all->started_empty++;
    int r = naru_channel_send(c, EMPTY_TYPE, NULL, 0, 20 * NARU_MS);
    if (r == 0)
        all->sent_empty++;
}

static void sender(struct seat *me, uint64_t s)
{
    naru_channel *c;
    uint8_t *p = malloc(LARGEST);
    bool rests = gentle || random_number(&s) % 2;
    struct head h = {.stream = all->streams++};
    int r = h.stream < STREAMS ? open_it(NARU_SEND, &c) : -ENOSPC;
    if (r == -ENOSPC)
        return;
    if (r < 0) {
        failed("a sender cannot open it: %s", naru_why());
        return;
    }
    while (!all->stop && !me->leave && h.number < EACH) {
        uint64_t how = random_number(&s);
        if (!topic && how % 50 == 0) {
            send_empty(c);
            continue;
        }
        size_t n = fill(p, &h, &s);
        atomic_fetch_or(&all->state[h.stream][h.number], STARTED);
        while ((r = send_at(c, p, n, how >> 8)) == -ETIMEDOUT && !me->leave && !all->failed)
            if (all->over)
                break;
        if (r == -ETIMEDOUT)
            break;
        if (r < 0) {
            failed("sending gave %d: %s", r, naru_why());
            break;
        }
        atomic_fetch_or(&all->state[h.stream][h.number], ACKNOWLEDGED);
        all->sent_of[h.stream] = ++h.number;
        all->sent++;
        me->did++;
        if (rests)
            rest(how >> 32);
    }
    all->whole[h.stream] = true;
    naru_channel_close(c);
    free(p);
}

/* ---- receivers ---- */

struct view {
    int32_t last[STREAMS];   /* number + 1 of the last that was not marked */
    uint32_t there[STREAMS]; /* of a topic: what was acknowledged before this one came */
    struct head kept;        /* of two to swap */
    bool keeps;
};

static void log_queue(struct view *v, const struct head *h, bool again)
{
    uint8_t was = atomic_fetch_or(&all->state[h->stream][h->number], again ? AGAIN : GOT);
    if (!(was & STARTED))
        failed("message %u of sender %u was never sent", h->number, h->stream);
    if (!again && was & (GOT | AGAIN))
        failed("message %u of sender %u came twice, unmarked", h->number, h->stream);
    if (!again && (int32_t)h->number < v->last[h->stream])
        failed("message %u of sender %u came after message %d", h->number, h->stream,
               v->last[h->stream] - 1);
    if (!again)
        v->last[h->stream] = (int32_t)h->number + 1;
}

static void log_topic(struct view *v, const struct head *h)
{
    uint32_t expected = (uint32_t)v->last[h->stream];
    if (expected == 0 && h->number > v->there[h->stream])
        failed("a subscriber's first of publisher %u is %u, and %u were published when it came",
               h->stream, h->number, v->there[h->stream]);
    if (expected != 0 && h->number != expected)
        failed("a subscriber got %u of publisher %u, and it was %u's turn", h->number, h->stream,
               expected);
    v->last[h->stream] = (int32_t)h->number + 1;
}

static void log_one(struct view *v, const struct head *h, bool again)
{
    if (topic)
        log_topic(v, h);
    else
        log_queue(v, h, again);
}

/* One of the flaws: more are lost than deaths may lose; or every fiftieth message, as a swap
 * needs that this receiver lives until it has another of the same stream. */
static void log_flawed(struct view *v, const struct head *h, bool again)
{
    if (flaw == SOUND || again || h->number < 5) {
        log_one(v, h, again);
    } else if (v->keeps && v->kept.stream == h->stream) {
        log_one(v, h, again);
        log_one(v, &v->kept, false);
        v->keeps = false;
    } else if (flaw == LOSES && all->planted > 0) {
        all->planted--;
    } else if (flaw != LOSES && all->planted-- % 50 == 0) {
        if (flaw == DOUBLES || v->keeps)
            log_one(v, flaw == DOUBLES ? h : &v->kept, false);
        if (flaw == DOUBLES)
            log_one(v, h, false);
        v->kept = *h;
        v->keeps = flaw == SWAPS;
    } else {
        log_one(v, h, again);
    }
}

static void got(struct view *v, const void *data, size_t n, const struct naru_info *info)
{
    struct head h;
    bool again = info->flags & NARU_REDELIVERED;
    if (n == 0 && info->type == EMPTY_TYPE) {
        atomic_fetch_add(again ? &all->again_empty : &all->got_empty, 1);
        return;
    }
    if (!is_whole(data, n, &h)) {
        failed("a message of %zu bytes is not whole", n);
        return;
    }
    if (info->missed)
        failed("%llu were missed", (unsigned long long)info->missed);
    log_flawed(v, &h, again);
    atomic_fetch_add(again ? &all->again : &all->got, 1);
}

static int take_some(struct view *v, naru_channel *c, uint64_t how, int64_t timeout)
{
    struct naru_message m[4];
    ssize_t n = naru_channel_take_many(c, 0, m, 1 + how % 4, timeout);
    if (n <= 0)
        return (int)n;
    if (!topic && how % 64 == 0) {
        naru_channel_return(c, m, (size_t)n);
        return 0;
    }
    for (ssize_t i = 0; i < n; i++) /* and then a death makes them come again */
        got(v, m[i].data, m[i].size, &m[i].info);
    naru_channel_release(c, m, (size_t)n);
    return 0;
}

static int recv_some(struct view *v, struct seat *me, naru_channel *c, uint8_t *p, uint64_t how,
                     int64_t timeout)
{
    struct naru_info info;
    int64_t select = topic || how % 8 ? 0 : how % 16 ? 2 : NARU_EXCEPT(2);
    me->unsure = 1;
    ssize_t n = naru_channel_recv(c, select, p, LARGEST, &info, timeout);
    /* what is selected has an order of its own */
    if (n >= 0 && select)
        for (size_t i = 0; i < all->streams && i < STREAMS; i++)
            v->last[i] = 0;
    if (n >= 0)
        got(v, p, (size_t)n, &info);
    if (n >= 0 && select)
        for (size_t i = 0; i < all->streams && i < STREAMS; i++)
            v->last[i] = 0;
    me->unsure = 0;
    return n < 0 ? (int)n : 0;
}

static bool all_seen(const struct view *v)
{
    for (uint32_t i = 0; i < all->streams && i < STREAMS; i++)
        if (all->sent_of[i] > v->there[i] && (uint32_t)v->last[i] < all->sent_of[i])
            return false;
    return true;
}

static void receiver(struct seat *me, uint64_t s)
{
    naru_channel *c;
    struct view *v = calloc(1, sizeof *v);
    uint8_t *p = malloc(LARGEST);
    bool rests = gentle || random_number(&s) % 2;
    int r = open_it(NARU_RECV, &c);
    if (r < 0) {
        failed("a receiver cannot open it: %s", naru_why());
        return;
    }
    for (size_t i = 0; topic && i < STREAMS; i++) /* and one that is on its way just now */
        v->there[i] = all->sent_of[i] + 1;
    int64_t end = 0;
    while (!me->leave && !all->failed) {
        uint64_t how = random_number(&s);
        int64_t timeout = how % 3 == 0 ? NARU_NOWAIT : how % 3 == 1 ? NARU_MS : 30 * NARU_MS;
        r = how >> 8 & 1 ? take_some(v, c, how >> 16, timeout)
                         : recv_some(v, me, c, p, how >> 16, timeout);
        if (r < 0 && r != -EAGAIN && r != -ETIMEDOUT) {
            failed("receiving gave %d: %s", r, naru_why());
            break;
        }
        me->did += r == 0;
        if (rests && !all->over)
            rest(how >> 32);
        if (!all->over || r == 0)
            continue;
        if (!topic || all_seen(v))
            break;
        end = end ? end : now() + PATIENCE;
        if (now() > end)
            failed("a subscriber has not seen all in the end");
    }
    naru_channel_close(c);
    free(p);
    free(v);
}

/* ---- who takes part ---- */

static void take_part(struct seat *me, uint64_t s)
{
    me->sends ? sender(me, s) : receiver(me, s);
}

static void start(struct seat *seat)
{
    seat->leave = false;
    uint64_t s = random_number(&seed);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        take_part(seat, s);
        _exit(0);
    }
    if (pid < 0) {
        perror("history: fork");
        exit(2);
    }
    seat->pid = pid; /* which the child shares */
}

static void reap(struct seat *seat)
{
    int status = 0;
    if (waitpid(seat->pid, &status, 0) == seat->pid && WIFEXITED(status) && WEXITSTATUS(status))
        failed("a participant ended with status %d", WEXITSTATUS(status));
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        failed("a participant died of signal %d", WTERMSIG(status));
    if (WIFSIGNALED(status)) {
        unsure += (uint64_t)seat->unsure;
        seat->unsure = 0;
    }
}

/* What is dead goes, and what senders have left: which nobody may notice. */
static void collect(void)
{
    struct naru_collected c = {.size = sizeof c};
    int r = naru_collect(url, 0, &c);
    if (r < 0 && r != -ENOENT) /* nobody has made it yet */
        failed("cleaning up gave %d: %s", r, naru_why());
    else if (r == 0)
        taken_away += c.lanes;
}

static void disturb(int64_t end, uint64_t *s)
{
    int64_t last = now();
    uint64_t did = 0;
    while (now() < end && !all->failed) {
        struct seat *seat = &all->seat[random_number(s) % (unsigned)(n_senders + n_receivers)];
        uint64_t what = random_number(s) % 5;
        usleep((useconds_t)(2000 + random_number(s) % 20000));
        if (what == 0) {
            kill(seat->pid, SIGSTOP);
            usleep((useconds_t)(random_number(s) % 80000));
            kill(seat->pid, SIGCONT);
            pauses++;
        } else if (what == 4) {
            collect();
        } else {
            if (what == 1) {
                seat->leave = true;
                leaves++;
            } else {
                kill(seat->pid, SIGKILL);
                kills++;
            }
            reap(seat);
            start(seat);
        }
        if (all->got + all->again != did) {
            did = all->got + all->again;
            last = now();
        } else if (now() - last > PATIENCE) {
            failed("nothing is received any more");
        }
    }
}

static void *thread(void *arg)
{
    struct seat *seat = arg;
    uint64_t s = seed + (uint64_t)(seat - all->seat) * 977;
    do {
        take_part(seat, random_number(&s)); /* leaves, and comes again */
        seat->leave = false;
    } while (!all->over && !all->failed && !(seat->sends && all->stop));
    return NULL;
}

static void check_all(void)
{
    uint64_t lost = 0;
    uint32_t stream = 0, number = 0;
    for (uint32_t i = 0; i < all->streams && i < STREAMS; i++)
        for (uint32_t k = 0; k < EACH; k++) {
            uint8_t state = all->state[i][k];
            if (state & ACKNOWLEDGED && !(state & (GOT | AGAIN)) && lost++ == 0) {
                stream = i;
                number = k;
            }
        }
    uint64_t empty = all->got_empty + all->again_empty;
    if (empty < all->sent_empty)
        lost += all->sent_empty - empty;
    if (all->got_empty > all->started_empty)
        failed("more empty messages came than were sent");
    unseen = lost;
    if (lost > unsure)
        failed("%llu acknowledged messages were lost, %u of sender %u first; %llu may be",
               (unsigned long long)lost, number, stream, (unsigned long long)unsure);
}

static bool run(double seconds)
{
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return false;
    pthread_t id[SEATS_MAX];
    int n = n_senders + n_receivers;
    uint64_t s = seed;
    enum { PLANTED = 50, PLANTED_A_SECOND = 20 }; /* more than can die in a second */
    kills = pauses = leaves = unsure = unseen = taken_away = 0;
    all->planted = PLANTED + (int)(seconds * PLANTED_A_SECOND);
    int64_t end = now() + (int64_t)(seconds * 1e9);
    for (int i = 0; i < n; i++) {
        all->seat[i].sends = i < n_senders;
        if (threads)
            pthread_create(&id[i], NULL, thread, &all->seat[i]);
        else
            start(&all->seat[i]);
    }
    if (!threads)
        disturb(end, &s);
    while (threads && now() < end && !all->failed) {
        usleep(20000);
        all->seat[random_number(&s) % (unsigned)n].leave = true;
        leaves++;
        if (random_number(&s) % 4 == 0)
            collect();
    }
    all->stop = true;
    for (int i = 0; i < n_senders; i++)
        threads ? (void)pthread_join(id[i], NULL) : reap(&all->seat[i]);
    all->over = true;
    for (int i = n_senders; i < n; i++)
        threads ? (void)pthread_join(id[i], NULL) : reap(&all->seat[i]);
    if (!topic && !all->failed) { /* what the last ones had */
        struct seat last = {0};
        receiver(&last, 1);
        check_all();
    }
    int r = naru_remove(url);
    if (r < 0)
        failed("removing gave %d: %s", r, naru_why());
    return !all->failed;
}

/* ---- one mapping for all threads ---- */

/* The race detector sees addresses: so a file's memory has one in this process, as long as any
 * handle uses it. Those that only read get a mapping that can be written, too. */
static struct {
    dev_t device; /* of the file, whose number is not used again while it is mapped */
    ino_t inode;
    uint64_t at, size;
    void *memory;
    unsigned users; /* 0: nothing is here */
} mapped[4096];
static pthread_mutex_t mapping = PTHREAD_MUTEX_INITIALIZER;

static void *map_new(int fd, uint64_t at, uint64_t size)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_RDWR | O_CLOEXEC);
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, again, (off_t)at);
    close(again);
    return memory == MAP_FAILED ? NULL : memory;
}

static void *same_memory(int fd, uint64_t at, uint64_t size)
{
    enum { NONE = sizeof mapped / sizeof *mapped };
    struct stat st;
    size_t i, is = NONE, room = NONE;
    pthread_mutex_lock(&mapping);
    if (fstat(fd, &st) < 0)
        abort();
    for (i = 0; i < NONE && is == NONE; i++)
        if (mapped[i].users == 0)
            room = i < room ? i : room;
        else if (mapped[i].inode == st.st_ino && mapped[i].device == st.st_dev &&
                 mapped[i].at == at && mapped[i].size >= size)
            is = i;
    if (is == NONE && room != NONE) {
        void *memory = map_new(fd, at, size);
        if (memory) {
            is = room;
            mapped[is].device = st.st_dev;
            mapped[is].inode = st.st_ino;
            mapped[is].at = at;
            mapped[is].size = size;
            mapped[is].memory = memory;
        }
    }
    void *memory = is == NONE ? NULL : mapped[is].memory;
    if (memory)
        mapped[is].users++;
    pthread_mutex_unlock(&mapping);
    return memory;
}

static bool no_more_use(const void *memory)
{
    bool found = false;
    pthread_mutex_lock(&mapping);
    for (size_t i = 0; i < sizeof mapped / sizeof *mapped && !found; i++) {
        found = mapped[i].users > 0 && mapped[i].memory == memory;
        if (found && --mapped[i].users == 0)
            munmap(mapped[i].memory, mapped[i].size);
    }
    pthread_mutex_unlock(&mapping);
    return found;
}

/* ---- */

static FILE *json;

static void one(int n, const char *name, double seconds, int *bad)
{
    snprintf(url, sizeof url, "shm:history-%d-%d", (int)getpid(), n);
    bool good = run(seconds);
    printf("%sok %d - %s\n", good ? "" : "not ", n, name);
    if (!good)
        printf("# %s (seed %llu)\n", all->why, (unsigned long long)seed);
    printf("# %llu sent, %llu received, %llu again; %llu kills, %llu pauses, %llu leave; %u lives; "
           "%llu "
           "empty lanes went; %llu not seen, and deaths amid receiving may have lost %llu\n",
           (unsigned long long)all->sent, (unsigned long long)all->got,
           (unsigned long long)all->again, (unsigned long long)kills, (unsigned long long)pauses,
           (unsigned long long)leaves, (unsigned)all->streams, (unsigned long long)taken_away,
           (unsigned long long)unseen, (unsigned long long)unsure);
    fflush(stdout);
    if (json)
        fprintf(json,
                "%s\n  \"%s\": {\"failures\": %d, \"seconds\": %.0f, \"sent\": %llu, "
                "\"received\": %llu, \"again\": %llu, \"kills\": %llu, \"pauses\": %llu, "
                "\"leave\": %llu, \"lives\": %u, \"lanes_taken_away\": %llu, "
                "\"not_seen\": %llu, \"died_amid_receiving\": %llu}",
                n > 1 ? "," : "", topic ? "topic" : "queue", !good, seconds,
                (unsigned long long)all->sent, (unsigned long long)all->got,
                (unsigned long long)all->again, (unsigned long long)kills,
                (unsigned long long)pauses, (unsigned long long)leaves, (unsigned)all->streams,
                (unsigned long long)taken_away, (unsigned long long)unseen,
                (unsigned long long)unsure);
    *bad += !good;
    munmap(all, sizeof *all);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"seconds", 1, NULL, 's'},
                                          {"seed", 1, NULL, 'S'},
                                          {"threads", 0, NULL, 't'},
                                          {"gentle", 0, NULL, 'g'},
                                          {"json", 1, NULL, 'j'},
                                          {0}};
    double seconds = 10;
    int n = 0, bad = 0;
    seed = (uint64_t)now() % 1000000;
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 's')
            seconds = atof(optarg);
        else if (c == 'S')
            seed = strtoull(optarg, NULL, 10);
        else if (c == 't')
            threads = true;
        else if (c == 'g')
            gentle = true;
        else if (c == 'j')
            json = fopen(optarg, "w");
        else
            return 2;
    }
    if (threads) {
        naru__map_at = same_memory;
        naru__unmap_at = no_more_use;
    }
    if (json)
        fprintf(json, "{\n  \"commit\": \"%s\",\n  \"seed\": %llu",
                getenv("COMMIT") ? getenv("COMMIT") : "", (unsigned long long)seed),
            fputs(",", json);
    n_senders = n_receivers = 4;
    one(++n, "queue: 4 senders, 4 receivers", seconds * 0.6, &bad);
    topic = true;
    n_senders = 2;
    n_receivers = 3;
    one(++n, "topic: 2 publishers, 3 reliable subscribers", seconds * 0.3, &bad);
    for (flaw = LOSES; !threads && flaw < FLAWS; flaw++) {
        for (int k = 0; k < 2; k++) {
            char name[64];
            int found = 0;
            topic = k == 1;
            n_senders = topic ? 2 : 4;
            n_receivers = topic ? 3 : 4;
            snprintf(name, sizeof name, "%s: %s is seen", topic ? "topic" : "queue",
                     flaw_names[flaw]);
            snprintf(url, sizeof url, "shm:history-%d-%d", (int)getpid(), ++n);
            found = !run(seconds * 0.02 + 0.3);
            printf("%sok %d - %s\n# %s\n", found ? "" : "not ", n, name, all->why);
            bad += !found;
            munmap(all, sizeof *all);
        }
    }
    printf("1..%d\n", n);
    if (json)
        fprintf(json, "\n}\n");
    return bad != 0;
}
