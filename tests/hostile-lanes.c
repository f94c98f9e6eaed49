/* SPDX-License-Identifier: MIT */
/* hostile-lanes.c - queues and topics in shared memory in whose files somebody writes anything,
 * before others join and under those who take part: each call gives a whole message or an error
 * with a sentence, and returns; no byte is read outside what the files hold. */
#include "hostile-files.h"

#include "transport/shm/lanes.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST = 60000, STATE = NARU_OBJECT_STATE_AT, MEMBERS = NARU_OBJECT_MEMBERS_AT };
static bool topic;
static char place[] = "/dev/shm/naru-hostile-XXXXXX"; /* a disk would take its time */
static char url[80], directory[60], data[LARGEST], buffer[1 << 17];
static naru_channel *sender[2], *receiver[2];
static unsigned long whole, errors, nothing;

/* ---- the object, and its files as the hostile one sees them ---- */

static int open_one(int role, bool lossy, naru_channel **ret_c)
{
    struct naru_queue_options q = {
        .size = sizeof q, .capacity = 16384, .messages = 15, .max_message = LARGEST};
    struct naru_topic_options t = {.size = sizeof t,
                                   .capacity = 16384,
                                   .max_message = LARGEST,
                                   .history = 4,
                                   .lossy = lossy && role & NARU_RECV};
    return topic ? naru_topic_open(url, role, &t, ret_c) : naru_queue_open(url, role, &q, ret_c);
}

static void make(void)
{
    for (int i = 0; i < 2; i++)
        expect_ok(open_one(NARU_SEND, false, &sender[i]));
    for (int i = 0; i < 2; i++)
        expect_ok(open_one(NARU_RECV, i == 1, &receiver[i]));
    for (int i = 0; i < 2; i++) { /* so that there are segments */
        expect_ok(naru_channel_send(sender[i], 2, data, LARGEST, NARU_NOWAIT));
        expect_ok(naru_channel_send(sender[i], 1, data, 2000, NARU_NOWAIT));
        expect_ok(naru_channel_send(sender[i], 3, data, 20, NARU_NOWAIT));
    }
    map_files(directory);
}

static void unmake(void)
{
    for (int i = 0; i < 2; i++) {
        sender[i] = naru_channel_close(sender[i]);
        receiver[i] = naru_channel_close(receiver[i]);
    }
    unmap_files();
    naru_remove(url);
    delete_all(place);
}

static void begin(bool is_topic)
{
    topic = is_topic;
    delete_all(place); /* of a case that failed */
    snprintf(directory, sizeof directory, "%s/x", place);
    snprintf(url, sizeof url, "shm:%s", directory);
}

/* ---- what comes of it ---- */

static bool count(const char *what, long r)
{
    static const int codes[] = {EAGAIN, ETIMEDOUT, EPROTO, EIDRM, EMSGSIZE, ENOBUFS,
                                ENOMEM, EEXIST,    ENOSPC, EBUSY, ENOENT};
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

/* All of it can be read, and lies within one file, or in memory of this process's own. */
static void read_all(naru_channel *c, const struct naru_message *m)
{
    const struct shm_lanes *e = lanes_of(c);
    const uint8_t *p = m->data;
    const struct lanes_map *in = NULL;
    expect(m->info.type != 0 && m->info.type <= NARU_TYPE_MAX && m->size == m->info.size);
    for (unsigned i = 0; i < e->n_in && !in; i++) {
        const struct lanes_map *map = &e->in[e->order[i]]->lane;
        in = p >= (uint8_t *)map->memory && p < (uint8_t *)map->memory + map->size ? map : NULL;
    }
    for (unsigned i = 0; i < LANES_SEGMENTS && !in; i++) {
        const struct lanes_map *map = &e->segment[i].map;
        in = p >= (uint8_t *)map->memory && p < (uint8_t *)map->memory + map->size ? map : NULL;
    }
    if (in)
        expect(m->size <= (size_t)((uint8_t *)in->memory + in->size - p));
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
    if (r > 0 && n % 32 == 3)
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
    expect(r != -EMSGSIZE || info.size > cap);
    return r;
}

/* One that leaves and comes back goes on in its former lane. */
static bool come_back(unsigned n)
{
    naru_channel **c = n % 3 ? &sender[1] : &receiver[1];
    *c = naru_channel_close(*c);
    return count("open", open_one(n % 3 ? NARU_SEND : NARU_RECV, true, c));
}

/* What participant n does; false: the object has gone. */
static bool use(unsigned n)
{
    naru_channel *s = sender[n % 2] ? sender[n % 2] : sender[0];
    naru_channel *r = receiver[n / 2 % 2] ? receiver[n / 2 % 2] : receiver[0];
    int64_t timeout = n % 256 == 5 ? 500 * NARU_US : n % 64 == 5 ? 100 * NARU_US : NARU_NOWAIT;
    size_t size = n % 5 ? n % 112 : n % 11 ? 2000 : LARGEST;
    struct naru_message batch[3];
    switch (n % 13) {
    case 0:
    case 5:
        return count("take", take(r, n, timeout));
    case 1:
    case 6:
        return count("recv", receive(r, 0, sizeof buffer, timeout));
    case 2:
        return count("recv", receive(r, n % 3 ? 2 : -4, sizeof buffer, timeout));
    case 3:
        return count("recv", receive(r, 0, 8, timeout));
    case 4:
        for (size_t i = 0; i < 3; i++)
            batch[i] = (struct naru_message){.data = data, .size = size, .info.type = 1 + n % 5};
        return count("send_many", naru_channel_send_many(s, batch, 3, timeout));
    case 7:
        return n % 2 ? count("flush", naru_channel_flush(s, NARU_NOWAIT))
                     : count("wait_peers", naru_channel_wait_peers(s, 3, NARU_NOWAIT));
    case 8:
        return n % 4 ? true : come_back(n);
    default:
        return count("send", naru_channel_send(s, 1 + n % 5, data, size, timeout));
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
                                  15,
                                  16,
                                  17,
                                  95,
                                  96,
                                  97,
                                  255,
                                  256,
                                  4095,
                                  4096,
                                  16384,
                                  65536,
                                  1 << 24,
                                  INT32_MAX,
                                  UINT64_C(0x80000000),
                                  UINT32_MAX,
                                  UINT64_C(1) << 32,
                                  (UINT64_C(1) << 38) - 1,
                                  UINT64_C(1) << 38,
                                  UINT64_C(1) << 40,
                                  INT64_MAX,
                                  UINT64_C(1) << 63,
                                  UINT64_MAX - 4095,
                                  UINT64_MAX - 64,
                                  UINT64_MAX - 63,
                                  UINT64_MAX};
enum { BOUNDS = sizeof bounds / sizeof *bounds };

/* ---- before they join ---- */

/* One who comes meets bytes that somebody has written, and uses what it can. */
static void join_with(uint8_t *place, const void *value, size_t n, int role)
{
    uint8_t before[8];
    naru_channel *c = NULL;
    memcpy(before, place, n);
    memcpy(place, value, n);
    int r = open_one(role, false, &c);
    count("open", r);
    if (r == 0 && role & NARU_SEND)
        count("send", naru_channel_send(c, 1, data, 50, NARU_NOWAIT));
    if (r == 0 && role & NARU_RECV)
        count("recv", receive(c, 0, sizeof buffer, NARU_NOWAIT));
    naru_channel_close(c);
    memcpy(place, before, n);
}

/* Every byte of what is constant; of what nobody reads some values, in the long suite all. */
static void constant_bytes(uint8_t *bytes, size_t meaning, size_t all, int role)
{
    for (size_t at = 0; at < all; at++)
        for (int v = 0; v < 256; v += at < meaning || getenv("FLIP_ROUNDS") ? 1 : 51)
            join_with(bytes + at, &(uint8_t){(uint8_t)v}, 1, role);
}

static void constant_fields(uint8_t *bytes, size_t all, int role)
{
    for (size_t at = 0; at < all; at += 4)
        for (int i = 0; i < BOUNDS; i++) {
            join_with(bytes + at, &(uint32_t){(uint32_t)bounds[i]}, 4, role);
            if (at % 8 == 0)
                join_with(bytes + at, &bounds[i], 8, role);
        }
}

static void made_for_joining(bool is_topic)
{
    begin(is_topic);
    make();
    for (int i = 0; i < 2; i++)
        receiver[i] = naru_channel_close(receiver[i]);
    sender[1] = naru_channel_close(sender[1]); /* its lane waits for whoever goes on in it */
}

enum { META = offsetof(struct naru_object_meta, option) + (LANES_HISTORY + 1) * sizeof(uint64_t) };

static void meta_bytes(bool is_topic)
{
    made_for_joining(is_topic);
    constant_bytes(file_of("meta")->bytes, META, sizeof(struct naru_object_meta), NARU_RECV);
    constant_fields(file_of("meta")->bytes, META, NARU_RECV);
    expect(errors > 5000 && whole > 1000);
    tell();
    unmake();
}

static void lane_bytes(bool is_topic)
{
    enum { HEADER = sizeof(struct naru_lane_header) };
    const size_t meaning = is_topic ? offsetof(struct naru_lane_header, reserved) : HEADER;
    made_for_joining(is_topic);
    uint8_t *in_use = file_of("lane-0")->bytes, *left = file_of("lane-1")->bytes;
    constant_bytes(in_use, meaning, HEADER, NARU_RECV);
    constant_bytes(left, meaning, HEADER, NARU_SEND);
    constant_fields(left, HEADER, NARU_SEND);
    tell();
    expect(errors > 2 * meaning * 250 && whole > 100);
    unmake();
}

static void fill(uint8_t *from, size_t step, size_t n, uint64_t value)
{
    for (size_t i = 0; i < n; i++)
        memcpy(from + i * step, &value, 8);
}

/* A lane that a former sender has left, with anything in its hints, its slots and the claims. */
static void adopted(bool is_topic)
{
    enum { PLACES = 7 };
    for (int place = 0; place < PLACES; place++)
        for (int i = 0; i < BOUNDS; i++)
            for (int all = 0; all < 2; all++) {
                made_for_joining(is_topic);
                uint8_t *lane = file_of("lane-1")->bytes, *slot = lane + NARU_LANE_SLOTS_AT;
                size_t n = all ? ((struct naru_lane_header *)(void *)lane)->slots : 1;
                if (place < 3)
                    memcpy(lane + 128 + place * 8, &bounds[i], 8);
                else if (place < 6)
                    fill(slot + (place == 3 ? 0 : place * 8), 128, n, bounds[i]);
                else if (!topic)
                    for (size_t w = 0; w <= n; w++)
                        memcpy(file_of("claims-1")->bytes + 128 * (w > 0) + (w ? w - 1 : 0) * 8,
                               &(uint64_t){naru__claim(w + 16 * (i % 3), i % 4, 9, 0)}, 8);
                if (all && place == 6) /* as if it had gone on for long */
                    memcpy(lane + 136, &(uint64_t){1000}, 8);
                int r = open_one(NARU_SEND, false, &sender[1]);
                if (count("open", r) && r == 0)
                    for (unsigned k = 0; k < 40; k++)
                        count("send", naru_channel_send(sender[1], 1, data, k % 7 ? 60 : 3000,
                                                        NARU_NOWAIT));
                if (open_one(NARU_RECV, i % 2, &receiver[0]) == 0)
                    for (unsigned k = 0; k < 20; k++)
                        count("recv",
                              receive(receiver[0], k % 3 ? 0 : -9, sizeof buffer, NARU_NOWAIT));
                unmake();
            }
    tell();
    expect(whole > 1000);
}

/* ---- while they take part ---- */

static void disturb(uint8_t *place, const void *value, size_t n, unsigned *step)
{
    uint8_t before[8];
    memcpy(before, place, n);
    memcpy(place, value, n);
    for (int i = 0; i < 3; i++)
        use((*step)++);
    memcpy(place, before, n);
}

static void disturb_bytes(uint8_t *from, size_t n, unsigned *step)
{
    for (size_t at = 0; at < n; at++)
        for (int v = 0; v < 256; v++)
            disturb(from + at, &(uint8_t){(uint8_t)v}, 1, step);
}

static void disturb_fields(uint8_t *from, size_t n, size_t step_bytes, unsigned *step)
{
    for (size_t at = 0; at < n; at += step_bytes)
        for (int i = 0; i < BOUNDS; i++) {
            disturb(from + at, &(uint32_t){(uint32_t)bounds[i]}, 4, step);
            if (at % 8 == 0)
                disturb(from + at, &bounds[i], 8, step);
        }
}

static void again(void)
{
    unmake();
    make();
}

/* Every byte that changes, and every field: who takes part, who sleeps, hints, claims, cursors. */
static void words(bool is_topic)
{
    unsigned step = 0;
    begin(is_topic);
    make();
    disturb_bytes(file_of("meta")->bytes + STATE, 12, &step);
    disturb_fields(file_of("meta")->bytes + STATE, 12, 4, &step);
    again();
    disturb_bytes(file_of("meta")->bytes + STATE + 128, 320, &step);
    disturb_fields(file_of("meta")->bytes + STATE + 128, 512, 4, &step);
    again();
    disturb_bytes(file_of("meta")->bytes + MEMBERS + 128, 128, &step);
    disturb_fields(file_of("meta")->bytes + MEMBERS, 5 * 128, 4, &step);
    again();
    disturb_bytes(file_of("lane-0")->bytes + 128, 24, &step);
    disturb_fields(file_of("lane-0")->bytes + 128, 24, 4, &step);
    again();
    const char *name = topic ? "cursor-2" : "claims-0";
    disturb_bytes(file_of(name)->bytes, topic ? 0 : 8, &step);
    disturb_bytes(file_of(name)->bytes + 128, 8, &step);
    again();
    disturb_fields(file_of(name)->bytes + (topic ? 128 : 0), 8 * 17, 4, &step);
    expect(errors > 100 && whole > 1000);
    tell();
    unmake();
}

/* Each field of a slot, of small messages, of those in the area, and of those in segments; and of
 * all slots at once. */
static void slots(bool is_topic)
{
    unsigned step = 0;
    begin(is_topic);
    for (size_t at = 0; at < 56; at += 4)
        for (int i = 0; i < BOUNDS; i++) {
            make();
            struct file *lane = file_of("lane-0");
            for (size_t which = 0; which < 3; which++)
                memcpy(lane->bytes + NARU_LANE_SLOTS_AT + which * 128 + at, &bounds[i],
                       at % 8 ? 4 : 8);
            for (int k = 0; k < 26; k++)
                use(step++);
            if (at % 8 == 0)
                fill(lane->bytes + NARU_LANE_SLOTS_AT + at, 128,
                     ((struct naru_lane_header *)(void *)lane->bytes)->slots, bounds[i]);
            for (int k = 0; k < 26; k++)
                use(step++);
            unmake();
        }
    expect(errors > 100 && whole > 1000);
    tell();
}

/* What receivers have said of messages, as none could. */
static void claims(void)
{
    static const uint64_t number[] = {0, 1, 2, 3, 16, 17, 1000, (UINT64_C(1) << 38) - 1};
    static const uint32_t member[] = {0, 1, 3, 200, 255};
    unsigned step = 0;
    begin(false);
    make();
    struct naru_lane_claims *c = (void *)file_of("claims-0")->bytes;
    for (size_t w = 0; w < 4; w++)
        for (size_t n = 0; n < sizeof number / sizeof *number; n++)
            for (unsigned state = 0; state < 4; state++)
                for (size_t m = 0; m < sizeof member / sizeof *member; m++) {
                    c->word[w] = naru__claim(number[n], state, member[m], n);
                    c->returned++;
                    for (int i = 0; i < 5; i++)
                        use(step++);
                }
    expect(whole > 100);
    tell();
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
        return f->bytes + (meta ? STATE : 0) + draw(z, f->size - (meta ? STATE : 0));
    if (meta) /* not so often what says that it was removed: then it is over */
        return f->bytes + (draw(z, 4)   ? STATE + 128 + draw(z, 512)
                           : draw(z, 4) ? MEMBERS + draw(z, 640)
                                        : STATE + draw(z, 12));
    if (strncmp(f->name, "lane-", 5) == 0)
        return f->bytes + (draw(z, 4) ? NARU_LANE_SLOTS_AT + draw(z, 16) * 128 + draw(z, 64)
                                      : 128 + draw(z, 24));
    return f->bytes + draw(z, f->size < 400 ? f->size : 400);
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

static void flipped(bool is_topic)
{
    enum { STEPS = 100 };
    const char *wish = getenv("FLIP_ROUNDS");
    unsigned long wanted = (wish ? strtoul(wish, NULL, 10) : 50000) / 2, objects = 0;
    begin(is_topic);
    flips = flips_allowed = 0;
    for (unsigned step = 0; flips < wanted; objects++) {
        pthread_t thread;
        make();
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
    printf("# %lu flips, %lu objects\n", flips, objects);
    expect(errors > 10 && whole > 1000);
    tell();
}

/* ---- */

static void meta_of_queue(void)
{
    meta_bytes(false);
}
static void meta_of_topic(void)
{
    meta_bytes(true);
}
static void lane_of_queue(void)
{
    lane_bytes(false);
}
static void lane_of_topic(void)
{
    lane_bytes(true);
}
static void adopted_in_queue(void)
{
    adopted(false);
}
static void adopted_in_topic(void)
{
    adopted(true);
}
static void words_of_queue(void)
{
    words(false);
}
static void words_of_topic(void)
{
    words(true);
}
static void slots_of_queue(void)
{
    slots(false);
}
static void slots_of_topic(void)
{
    slots(true);
}
static void flipped_queue(void)
{
    flipped(false);
}
static void flipped_topic(void)
{
    flipped(true);
}

int main(int argc, char **argv)
{
    const struct test_case cases[] = {
        {"queue: every byte and field of meta", meta_of_queue},
        {"topic: every byte and field of meta", meta_of_topic},
        {"queue: every byte and field of a lane's header", lane_of_queue},
        {"topic: every byte and field of a lane's header", lane_of_topic},
        {"queue: a damaged lane is adopted", adopted_in_queue},
        {"topic: a damaged lane is adopted", adopted_in_topic},
        {"queue: every byte and field that changes", words_of_queue},
        {"topic: every byte and field that changes", words_of_topic},
        {"queue: every field of slots", slots_of_queue},
        {"topic: every field of slots", slots_of_topic},
        {"queue: claims", claims},
        {"queue: bits flip while they talk", flipped_queue},
        {"topic: bits flip while they talk", flipped_topic},
    };
    if (!mkdtemp(place))
        return 1;
    int r = run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
    delete_all(place);
    rmdir(place);
    return r;
}
