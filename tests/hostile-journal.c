/* SPDX-License-Identifier: MIT */
/* hostile-journal.c - a journal, map:/dir, in whose files somebody writes anything, before others
 * join and under those who take part: in the memory by which they agree, in cursors, in segments.
 * Each call gives a whole message or an error with a sentence, and returns; no byte is read outside
 * what the files hold. */
#include "hostile-files.h"

#include "transport/map/map.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    SEGMENT = 64 << 10,
    LARGEST = 9000,
    RECORDS = 24, /* in three segments */
    STATE = NARU_OBJECT_STATE_AT,
    KIND = STATE + offsetof(struct naru_object_state, kind),
    MEMBERS = NARU_OBJECT_MEMBERS_AT,
    META = offsetof(struct naru_object_meta, option) + (NARU_JOURNAL_SEED + 1) * sizeof(uint64_t),
    CURSOR_HEADER = offsetof(struct naru_cursor_file, reserved)
};
static char place[] = "/dev/shm/naru-hostile-XXXXXX"; /* a disk would take its time */
static char url[80], directory[60], data[LARGEST], buffer[1 << 17];
static naru_channel *sender, *receiver, *subscriber;
static unsigned long whole, errors, nothing;
static uint64_t first = NARU_FROM_OLDEST; /* a new subscriber begins there */
static const char *thorough;              /* FLIP_ROUNDS: the long form */

/* ---- the journal, and its files as the hostile one sees them ---- */

static void know_files(void)
{
    map_files(directory);
    for (size_t i = 0; i < n_files; i++) {
        files[i].before = malloc(files[i].size);
        expect(files[i].before);
        memcpy(files[i].before, files[i].bytes, files[i].size);
    }
}

static int open_queue(int role, naru_channel **ret_c)
{
    struct naru_journal_options j = {.size = sizeof j};
    struct naru_queue_options o = {
        .size = sizeof o, .capacity = SEGMENT, .flags = NARU_SLEEP, .journal = &j};
    return naru_queue_open(url, role, &o, ret_c);
}

/* Each second one passes over what is damaged. */
static int open_topic(const char *cursor, naru_channel **ret_c)
{
    static unsigned n;
    struct naru_journal_options j = {
        .size = sizeof j, .cursor = cursor, .from = first, .skip = n++ % 2 == 0};
    struct naru_topic_options o = {.size = sizeof o, .flags = NARU_SLEEP, .journal = &j};
    return naru_topic_open(url, NARU_RECV, &o, ret_c);
}

static void fill(naru_channel *c)
{
    for (unsigned i = 0; i < RECORDS; i++)
        expect_ok(naru_channel_send(c, 1 + i % 5, data, i % 3 ? LARGEST - i : i, NARU_S));
}

static void make(bool with_others)
{
    delete_all(place); /* of a case that failed */
    snprintf(directory, sizeof directory, "%s/x", place);
    snprintf(url, sizeof url, "map:%s", directory);
    expect_ok(open_queue(NARU_SEND, &sender));
    expect_ok(open_queue(NARU_RECV, &receiver));
    expect_ok(open_topic("sub", &subscriber));
    fill(sender);
    for (int i = 0; i < 3; i++)
        expect_ok(naru_channel_recv(receiver, 0, buffer, sizeof buffer, NULL, NARU_S));
    if (!with_others) {
        sender = naru_channel_close(sender);
        receiver = naru_channel_close(receiver);
        subscriber = naru_channel_close(subscriber);
    }
    know_files();
}

static void unmake(void)
{
    sender = naru_channel_close(sender);
    receiver = naru_channel_close(receiver);
    subscriber = naru_channel_close(subscriber);
    unmap_files();
    naru_remove(url);
    delete_all(place);
}

/* ---- what comes of it ---- */

static bool count(const char *what, long r)
{
    static const int codes[] = {EAGAIN, ETIMEDOUT, EPROTO, EIDRM, EMSGSIZE, ENOBUFS,
                                ENOMEM, EEXIST,    ENOSPC, EBUSY, ENOENT,   EIO};
    bool known = r >= 0;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        known |= r == -codes[i];
    if (!known || (r < 0 && !naru_why()[0]))
        test_failed(__FILE__, __LINE__, "%s gave %ld: %s", what, r, naru_why());
    whole += r >= 0;
    nothing += r == -EAGAIN || r == -ETIMEDOUT;
    errors += r < 0 && r != -EAGAIN && r != -ETIMEDOUT;
    return r != -EIDRM;
}

/* No call takes more of the processors than that, however busy the machine is. */
static void limit(void)
{
    const struct itimerval end = {.it_value.tv_sec = 3};
    setitimer(ITIMER_PROF, &end, NULL); /* SIGPROF ends it */
}

/* All of it can be read, and lies within one segment. */
static void read_all(naru_channel *c, const struct naru_message *m)
{
    const struct map_journal *e = journal_of(c);
    const uint8_t *p = m->data;
    bool inside = false;
    expect(m->info.type != 0 && m->info.type <= NARU_TYPE_MAX && m->size == m->info.size);
    for (unsigned i = 0; i < MAP_SEGMENTS; i++)
        inside |= e->in[i].number && p >= e->in[i].memory &&
                  m->size <= (size_t)(e->in[i].memory + e->in[i].size - p);
    expect(inside);
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < m->size; i++)
        sum = (uint8_t)(sum + p[i]);
}

static long take(naru_channel *c, unsigned n, int64_t timeout)
{
    struct naru_message m[4];
    long r = naru_channel_take_many(c, n % 8 ? 0 : -3, m, 4, timeout);
    for (long i = 0; i < r; i++)
        read_all(c, &m[i]);
    if (r > 0 && n % 16 == 3)
        naru_channel_return(c, m, (size_t)r);
    else if (r > 0)
        naru_channel_release(c, m, (size_t)r);
    return r;
}

static long receive(naru_channel *c, int64_t select, size_t cap, int64_t timeout)
{
    struct naru_info info = {0};
    long r = naru_channel_recv(c, select, buffer, cap, &info, timeout);
    expect(r < 0 || ((size_t)r == info.size && info.size <= cap && info.type != 0));
    return r;
}

static long verified(void)
{
    struct naru_journal_report r = {.size = sizeof r};
    return naru_journal_verify(url, &r, NULL, NULL);
}

/* What step n does; false: it has been removed, as somebody wrote there. */
static bool use(unsigned n)
{
    int64_t timeout = n % 64 == 5 ? 100 * NARU_US : NARU_NOWAIT;
    naru_channel *c = n % 2 ? receiver : subscriber;
    struct naru_message batch[3];
    limit();
    switch (n % 9) {
    case 0:
        return count("take", take(c, n, timeout));
    case 1:
    case 6:
        return count("recv", receive(c, 0, sizeof buffer, timeout));
    case 2:
        return count("recv", receive(c, n % 3 ? 2 : -4, sizeof buffer, timeout));
    case 3:
        return count("recv", receive(c, 0, 8, timeout));
    case 4:
        for (size_t i = 0; i < 3; i++)
            batch[i] = (struct naru_message){.data = data, .size = n % 90, .info.type = 1 + n % 5};
        return count("send_many", naru_channel_send_many(sender, batch, 3, timeout));
    case 5:
        return n % 2 ? count("sync", naru_journal_sync(sender, NARU_NOWAIT))
                     : count("flush", naru_channel_flush(sender, NARU_NOWAIT));
    case 7:
        return n % 7 ? count("send", naru_channel_send(sender, 2, data, LARGEST, timeout))
                     : count("verify", verified());
    default:
        return count("send", naru_channel_send(sender, 1 + n % 5, data, n % 300, timeout));
    }
}

static void tell(void)
{
    printf("# %lu went well, %lu found nothing, %lu were refused\n", whole, nothing, errors);
    fflush(stdout);
}

static const uint64_t bounds[] = {0,
                                  1,
                                  2,
                                  39,
                                  40,
                                  41,
                                  255,
                                  256,
                                  1023,
                                  1024,
                                  1025,
                                  4095,
                                  4096,
                                  65536,
                                  1 << 24,
                                  INT32_MAX,
                                  UINT64_C(0x80000000),
                                  UINT32_MAX,
                                  UINT64_C(1) << 32,
                                  UINT64_C(1) << 40,
                                  (UINT64_C(1) << 40) + 4096,
                                  (UINT64_C(2) << 40) + 65535,
                                  (UINT64_C(3) << 40) + 65536,
                                  UINT64_C(9) << 40,
                                  (UINT64_C(1) << 48) - 1,
                                  INT64_MAX,
                                  UINT64_C(1) << 63,
                                  UINT64_MAX - 39,
                                  UINT64_MAX};
enum { BOUNDS = sizeof bounds / sizeof *bounds };

/* ---- before they join ---- */

enum { VERIFY = 1, QUEUE = 2, TOPIC = 4, ALL = 7 };

static void join_queue(void)
{
    naru_channel *c;
    int r = open_queue(NARU_SEND | NARU_RECV, &c);
    count("open", r);
    if (r < 0)
        return;
    count("recv", receive(c, 0, sizeof buffer, NARU_NOWAIT));
    count("send", naru_channel_send(c, 1, data, 50, NARU_NOWAIT));
    naru_channel_close(c);
}

static void join_topic(const char *cursor)
{
    naru_channel *c;
    int r = open_topic(cursor, &c);
    count("open", r);
    if (r < 0)
        return;
    for (int i = 0; i < 3; i++)
        count("recv", receive(c, 0, sizeof buffer, NARU_NOWAIT));
    naru_channel_close(c);
}

/* As it was: a recovery writes, too, and takes segments away. */
static void restore(void)
{
    bool there = true;
    for (size_t i = 0; i < n_files; i++) {
        char path[120];
        memcpy(files[i].bytes, files[i].before, files[i].size);
        snprintf(path, sizeof path, "%s/%.39s", directory, files[i].name);
        there &= access(path, F_OK) == 0;
    }
    if (!there) {
        unmake();
        make(false);
    }
}

static bool other_world; /* what lies there is recovered from */

/* Those come who meet bytes that somebody has written, and use what they can. */
static void join_with(const char *name, size_t at, const void *value, size_t n, int who)
{
    if (other_world) {
        struct naru_journal_state *s = (void *)(file_of("meta")->bytes + KIND);
        atomic_store(&s->world, 1);
    }
    memcpy(file_of(name)->bytes + at, value, n);
    limit();
    if (who & VERIFY)
        count("verify", verified());
    if (who & QUEUE)
        join_queue();
    if (who & TOPIC)
        join_topic(strcmp(name, "cursor-sub") == 0 ? "sub" : NULL);
    restore();
}

/* Every byte x 256, or, where that is too many for a short run, each so manieth value; of those who
 * may come one comes then, in turn. */
static void each_byte(const char *name, size_t from, size_t to, int step, int who)
{
    for (size_t at = from; at < to; at++)
        for (int v = 0; v < 256; v += thorough ? 1 : step) {
            int one = at % 16 == (size_t)v / 16 % 16        ? who & VERIFY
                      : (at + (size_t)v / (size_t)step) % 2 ? who & QUEUE
                                                            : who & TOPIC;
            join_with(name, at, &(uint8_t){(uint8_t)v}, 1, thorough || !one ? who : one);
        }
}

static void each_field(const char *name, size_t from, size_t to, int who)
{
    for (size_t at = from; at < to; at += 4)
        for (int i = 0; i < BOUNDS; i++) {
            join_with(name, at, &(uint32_t){(uint32_t)bounds[i]}, 4, who);
            if (at % 8 == 0 && bounds[i] > UINT32_MAX)
                join_with(name, at, &bounds[i], 8, who);
        }
}

static void segment_headers(void)
{
    make(false);
    for (int i = 1; i <= 3; i++) {
        char name[32];
        naru__segment_name(name, (uint64_t)i);
        first = ((const struct naru_segment_header *)(void *)file_of(name)->bytes)->first;
        each_byte(name, 0, sizeof(struct naru_segment_header), i == 2 ? 1 : 17, ALL);
        each_field(name, 0, sizeof(struct naru_segment_header), ALL);
    }
    tell();
    expect(errors > 500 && whole > 5000);
    unmake();
}

static const char first_segment[] = "segment-0000000001";

/* Of the message that comes next to "default". */
static size_t next_record(void)
{
    size_t at = NARU_SEGMENT_RECORDS_AT;
    for (unsigned i = 0; i < 3; i++)
        at += (size_t)naru__record_room(i % 3 ? LARGEST - i : i);
    return at;
}

static void records(void)
{
    size_t at = next_record();
    make(false);
    each_byte(first_segment, at, at + sizeof(struct naru_record), 3, ALL);
    each_field(first_segment, at, at + sizeof(struct naru_record), ALL);
    tell();
    expect(errors > 1000 && whole > 5000);
    unmake();
}

/* A record whose check sum is right, and whose fields are what nobody would write. */
static void sealed(void)
{
    size_t there = next_record();
    make(false);
    for (size_t at = 4; at < sizeof(struct naru_record); at += 4)
        for (int i = 0; i < BOUNDS; i++) {
            struct file *f = file_of(first_segment);
            struct naru_record *r = (void *)(f->bytes + there);
            memcpy((char *)r + at, &bounds[i], at % 8 ? 4 : 8);
            if (r->size <= f->size - there - sizeof *r)
                naru__record_seal(r, ((const struct naru_segment_header *)(void *)f->bytes)->seed);
            struct naru_record made = *r;
            join_with(first_segment, there, &made, sizeof made, ALL);
        }
    tell();
    expect(errors > 50 && whole > 500);
    unmake();
}

static void cursor_bytes(const char *name, int step, int who)
{
    make(false);
    each_byte(name, 0, CURSOR_HEADER, step, who);
    each_field(name, 0, CURSOR_HEADER, who);
    each_field(name, NARU_CURSOR_ENTRIES_AT, NARU_CURSOR_ENTRIES_AT + 5 * 16, who);
    tell();
    expect(errors > 150 && whole > 1000);
    unmake();
}

static void queue_cursor(void)
{
    cursor_bytes("cursor-default", 1, QUEUE);
}

static void topic_cursor(void)
{
    cursor_bytes("cursor-sub", 51, TOPIC);
}

static void meta_bytes(void)
{
    make(false);
    each_byte("meta", 0, META, 1, QUEUE | TOPIC);
    tell();
    expect(errors > 1000 && whole > 5000);
    unmake();
}

static void state(void)
{
    make(false);
    each_byte("meta", META, sizeof(struct naru_object_meta), 51, QUEUE);
    each_field("meta", 0, META, QUEUE);
    each_field("meta", STATE, STATE + 16, QUEUE);
    each_byte("meta", KIND, KIND + sizeof(struct naru_journal_state), 51, QUEUE | TOPIC);
    each_field("meta", KIND, KIND + sizeof(struct naru_journal_state), other_world ? QUEUE : TOPIC);
    tell();
    expect(errors > 100 && whole > 5000);
    unmake();
}

static void recovered_state(void)
{
    other_world = true;
    state();
}

/* ---- while they take part ---- */

static void again(void)
{
    unmake();
    make(true);
}

static void disturb(uint8_t *at, const void *value, size_t n, unsigned *step)
{
    uint8_t before[8];
    memcpy(before, at, n);
    memcpy(at, value, n);
    for (int i = 0; i < 3; i++)
        use((*step)++);
    memcpy(at, before, n);
}

static void disturb_fields(const char *name, size_t from, size_t to, unsigned *step)
{
    for (size_t at = from; at < to; at += 4)
        for (int i = 0; i < BOUNDS; i++) {
            disturb(file_of(name)->bytes + at, &(uint32_t){(uint32_t)bounds[i]}, 4, step);
            if (at % 8 == 0 && bounds[i] > UINT32_MAX)
                disturb(file_of(name)->bytes + at, &bounds[i], 8, step);
            if (*step % 300 < 5)
                again(); /* so that there is something to read */
        }
}

static void words(void)
{
    unsigned step = 0;
    make(true);
    disturb_fields("meta", KIND, KIND + sizeof(struct naru_journal_state), &step);
    disturb_fields("meta", MEMBERS, MEMBERS + 3 * 128, &step);
    disturb_fields("cursor-default", 0, CURSOR_HEADER, &step);
    disturb_fields("cursor-sub", 0, CURSOR_HEADER, &step);
    disturb_fields("cursor-sub", NARU_CURSOR_ENTRIES_AT, NARU_CURSOR_ENTRIES_AT + 8 * 16, &step);
    disturb_fields(first_segment, 0, sizeof(struct naru_segment_header), &step);
    disturb_fields("segment-0000000002", NARU_SEGMENT_RECORDS_AT,
                   NARU_SEGMENT_RECORDS_AT + 2 * sizeof(struct naru_record), &step);
    tell();
    expect(errors > 100 && whole > 1000);
    unmake();
}

/* ---- a writer that flips bits all the time ---- */

static _Atomic bool flipping;
static _Atomic unsigned long flips, flips_allowed; /* neither outruns the other */

static size_t draw(uint64_t *z, size_t n)
{
    *z = *z * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(*z >> 24) % n;
}

/* Mostly where something lies that is looked at. */
static uint8_t *somewhere(uint64_t *z)
{
    struct file *f = &files[draw(z, n_files)];
    bool meta = strcmp(f->name, "meta") == 0;
    if (draw(z, 4) == 0)
        return f->bytes + (meta ? KIND : 0) + draw(z, f->size - (meta ? KIND : 0));
    if (meta) /* not so often what says that it was removed: then it is over */
        return f->bytes + (draw(z, 4)   ? KIND + draw(z, sizeof(struct naru_journal_state))
                           : draw(z, 4) ? MEMBERS + draw(z, 3 * 128)
                                        : STATE + draw(z, 12));
    if (strncmp(f->name, "cursor-", 7) == 0)
        return f->bytes +
               (draw(z, 2) ? NARU_CURSOR_ENTRIES_AT + draw(z, 32 * 16) : draw(z, CURSOR_HEADER));
    return f->bytes + (draw(z, 8) ? NARU_SEGMENT_RECORDS_AT + draw(z, 300)
                                  : draw(z, sizeof(struct naru_segment_header)));
}

static void *flip(void *seed)
{
    uint64_t z = (uint64_t)(uintptr_t)seed * 2654435761u + 1;
    while (flipping) {
        if (flips >= flips_allowed) {
            sched_yield();
            continue;
        }
        volatile uint8_t *byte = somewhere(&z);
        *byte ^= (uint8_t)(1 << draw(&z, 8));
        flips++;
    }
    return NULL;
}

/* When the receiver comes to read this page of its own, the size of the record becomes another. */
static struct {
    uint8_t *page;
    volatile uint32_t *size;
    uint32_t value;
    int met;
} trap;

static void change_size(int number, siginfo_t *info, void *context)
{
    uint8_t *at = info->si_addr;
    (void)context;
    if (at < trap.page || at >= trap.page + PAGE || mprotect(trap.page, PAGE, PROT_READ) < 0)
        signal(number, SIG_DFL); /* it happens again, and is another matter */
    *trap.size = trap.value;
    trap.met++;
}

static uint8_t *memory_of(const struct map_journal *e, uint64_t number)
{
    for (unsigned i = 0; i < MAP_SEGMENTS; i++)
        if (e->in[i].number == number)
            return (uint8_t *)(uintptr_t)e->in[i].memory;
    test_failed(__FILE__, __LINE__, "segment %d is not mapped", (int)number);
}

/* It is read before the check sum is made, and a wrong one afterwards is not believed. */
static void changing_size(void)
{
    enum { LARGE = 1 << 20, PAGES = LARGE / PAGE };
    static char large[LARGE];
    static const int when[] = {1, PAGES / 2, PAGES - 1};
    const struct sigaction changes = {.sa_sigaction = change_size, .sa_flags = SA_SIGINFO};
    make(true);
    for (int i = 3; i < RECORDS; i++)
        expect_ok(receive(receiver, 0, sizeof buffer, NARU_NOWAIT));
    expect_ok(naru_channel_send(sender, 1, large, LARGE, PATIENCE)); /* in a segment of its own */
    unmap_files();
    know_files();
    struct naru_cursor_file *c = (void *)file_of("cursor-default")->bytes;
    struct naru_record *record =
        (void *)(file_of("segment-0000000004")->bytes + NARU_SEGMENT_RECORDS_AT);
    const uint64_t next = c->next;
    const uint32_t right = record->size;
    trap.size = &record->size;
    expect(sigaction(SIGSEGV, &changes, NULL) == 0);
    limit();
    expect_ok(take(receiver, 1, NARU_NOWAIT));
    for (int i = 0; i < 6; i++) {
        trap.page = memory_of(journal_of(receiver), 4) +
                    (NARU_SEGMENT_RECORDS_AT / PAGE + when[i / 2]) * PAGE;
        trap.value = i % 2 ? right / 2 : UINT32_MAX - 100;
        c->next = c->base = next; /* again */
        expect(mprotect(trap.page, PAGE, PROT_NONE) == 0);
        long r = take(receiver, 1, NARU_NOWAIT);
        expect(trap.met == i + 1);
        *trap.size = right;
        if (i % 2)
            expect_ok(r); /* all of it can be read */
        else
            expect_code(-EPROTO, r);
    }
    signal(SIGSEGV, SIG_DFL);
    unmake();
}

static void flipped(void)
{
    enum { STEPS = 100 };
    unsigned long wanted = thorough ? strtoul(thorough, NULL, 10) : 50000, objects = 0;
    flips = flips_allowed = 0;
    for (unsigned step = 0; flips < wanted; objects++) {
        pthread_t thread;
        make(true);
        flipping = true;
        expect(pthread_create(&thread, NULL, flip, (void *)(uintptr_t)(step + 1)) == 0);
        for (int i = 0; i < STEPS; i++) {
            flips_allowed += 4;
            if (!use(step++))
                break;
        }
        flipping = false;
        pthread_join(thread, NULL);
        unmake();
    }
    printf("# %lu flips, %lu journals\n", flips, objects);
    tell();
    expect(errors > 10 && whole > 1000);
}

int main(int argc, char **argv)
{
    const struct test_case cases[] = {
        {"every byte and field of segments' headers", segment_headers},
        {"every byte and field of a record", records},
        {"every field of a sealed record", sealed},
        {"every byte and field of a queue's cursor", queue_cursor},
        {"every field of a topic's cursor", topic_cursor},
        {"every byte of meta", meta_bytes},
        {"every field of meta and its state", state},
        {"every field of what is recovered from", recovered_state},
        {"every field while they take part", words},
        {"a size that changes under a reader", changing_size},
        {"bits flip while they take part", flipped},
    };
    thorough = getenv("FLIP_ROUNDS");
    if (!mkdtemp(place))
        return 1;
    int r = run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
    delete_all(place);
    rmdir(place);
    return r;
}
