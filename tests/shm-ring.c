/* SPDX-License-Identifier: MIT */
/* shm-ring.c - the ring of shared-memory connections: two threads on one mapping, for
 * ThreadSanitizer sees no race between two; and memory that holds anything, for AddressSanitizer.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shm/ring.h"

/* One direction, both halves, in memory of its own size exactly. */
static struct {
    struct naru_ring_file *file;
    struct naru_ring_header header;
    struct naru_ring_sender tx;
    struct naru_ring_receiver rx;
    uint64_t *ends;
    struct naru_ring_item *items;
    _Atomic uint64_t cursor;
} r;

static uint64_t seed = 1;

static uint64_t pseudo_random(void) /* splitmix64: Steele, Lea, Flood, OOPSLA 2014 */
{
    uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void make_ring(uint64_t capacity)
{
    r.header = naru__ring_plan(capacity, 1 << 20);
    r.file = aligned_alloc(4096, (size_t)r.header.file);
    memset(r.file, 0, (size_t)r.header.file);
    r.file->header = r.header;
    r.ends = calloc(r.header.slots, sizeof *r.ends);
    r.items = calloc(r.header.slots, sizeof *r.items);
    atomic_store(&r.cursor, 0);
    naru__ring_sender(&r.tx, r.file, r.ends, &r.cursor);
    naru__ring_receiver(&r.rx, r.file, &r.header, r.items, &r.cursor);
}

static void free_ring(void)
{
    free(r.file);
    free(r.ends);
    free(r.items);
}

static size_t size_of(uint64_t number)
{
    uint64_t z = number * UINT64_C(0x9e3779b97f4a7c15) >> 40;
    return z % 16 ? (size_t)(z % 140) : (size_t)(z % 4000);
}

static void fill(uint8_t *p, size_t n, uint64_t number)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(number + i);
}

/* ---- two threads ---- */

enum { MESSAGES = 200000 };

static bool send_one(uint64_t number)
{
    size_t n = size_of(number);
    uint64_t at;
    uint8_t data[4096];
    if (!naru__ring_has_slot(&r.tx))
        return false;
    fill(data, n, number);
    if (n <= NARU_RING_INLINE) {
        naru__ring_copy(naru__ring_inline(&r.tx), data, n);
        naru__ring_publish_inline(&r.tx, (uint32_t)(number & 0xffff) + 1, (uint32_t)n);
        return true;
    }
    uint8_t *room = naru__ring_room(&r.tx, n, &at);
    if (!room)
        return false;
    memcpy(room, data, n);
    naru__ring_publish(&r.tx, &(struct naru_ring_outgoing){.type = (uint32_t)(number & 0xffff) + 1,
                                                           .size = (uint32_t)n,
                                                           .at = at});
    return true;
}

static void *send_all(void *unused)
{
    for (uint64_t i = 0; i < MESSAGES;) {
        if (send_one(i))
            i++;
        else if (!naru__ring_refresh(&r.tx))
            return "the cursor cannot be true";
    }
    return unused;
}

static void check(const struct naru_ring_item *item, uint64_t number)
{
    uint8_t want[4096];
    size_t n = size_of(number);
    fill(want, n, number);
    assert_int_equal(item->size, n);
    assert_int_equal(item->type, (number & 0xffff) + 1);
    assert_memory_equal(item->data, want, n);
}

/* Several are held, and done with out of order. */
static void race(void **state)
{
    enum { HELD = 7 };
    pthread_t thread;
    void *wrong;
    (void)state;
    make_ring(16384);
    pthread_create(&thread, NULL, send_all, NULL);
    for (uint64_t number = 0; number < MESSAGES;) {
        struct naru_ring_item *held[HELD];
        size_t n = 0;
        while (n < HELD && naru__ring_look(&r.rx) == 1) {
            held[n] = naru__ring_item(&r.rx, r.rx.seen - 1);
            check(held[n++], number++);
        }
        for (size_t i = n; i > 0; i--) {
            naru__ring_done(held[i - 1]);
            naru__ring_advance(&r.rx);
        }
        if (number < MESSAGES &&
            naru__ring_ready(&r.rx)) { /* without an item, as recv_small does */
            struct naru_ring_item item = {.kind = NARU_RING_WHOLE};
            item.data = naru__ring_whole(&r.rx, &item.type, &item.size);
            check(&item, number++);
            r.rx.first = ++r.rx.seen;
            naru__ring_expect(&r.rx, item.data, item.size, number % 2);
            atomic_store_explicit(r.rx.cursor, r.rx.seen - 1, memory_order_release);
        }
        for (uint32_t i = 0, line = 0; i < 20; i++)
            naru__ring_fetch(&r.rx, &line);
    }
    pthread_join(thread, &wrong);
    assert_null(wrong);
    assert_int_equal(atomic_load(&r.cursor), MESSAGES);
    free_ring();
}

/* More of the area is used from some message on, whatever lies in it then. */
static void widened(void **state)
{
    enum { ROUNDS = 2000, SENDS = 200, FIRST = 16384, WHOLE = 65536 };
    unsigned went_around = 0, wide = 0;
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t sent = 0, got = 0, when = pseudo_random() % SENDS;
        make_ring(WHOLE);
        r.tx.area_size = FIRST;
        while (got < SENDS) {
            if (sent >= when && r.tx.area_size == FIRST) {
                if (naru__ring_may_widen(&r.tx))
                    r.tx.area_size = WHOLE;
                else
                    went_around++;
            }
            if (sent < SENDS && pseudo_random() % 2 && send_one(sent)) {
                sent++;
            } else if (naru__ring_look(&r.rx) == 1) {
                check(naru__ring_item(&r.rx, r.rx.seen - 1), got++);
                naru__ring_done(naru__ring_item(&r.rx, r.rx.seen - 1));
                naru__ring_advance(&r.rx);
                assert_true(naru__ring_refresh(&r.tx));
            }
        }
        wide += r.tx.area_size == WHOLE;
        free_ring();
    }
    assert_true(went_around > 100 && wide > ROUNDS / 2);
}

/* ---- memory that holds anything ---- */

static void within(const struct naru_ring_item *item)
{
    const uint8_t *begin = (const uint8_t *)r.file, *end = begin + r.header.file;
    assert_true(item->data >= begin && item->data <= end);
    assert_true(item->size <= (size_t)(end - item->data));
    assert_true(item->type > 0 && item->kind <= NARU_RING_ABORT);
    uint8_t sum = 0; /* under AddressSanitizer: all of it can be read */
    for (uint32_t i = 0; i < item->size; i++)
        sum = (uint8_t)(sum + item->data[i]);
    *(volatile uint8_t *)&r.items[0].flags = (uint8_t)(sum & 0);
}

/* Every byte of the header with every value: refused, or the same ring. */
static void header_bytes(void **state)
{
    unsigned refused = 0;
    (void)state;
    make_ring(0);
    for (size_t i = 0; i < sizeof r.header; i++)
        for (int value = 0; value < 256; value++) {
            struct naru_ring_header h = r.header;
            ((uint8_t *)&h)[i] = (uint8_t)value;
            if (naru__ring_check(&h, r.header.file)) {
                refused++;
                continue;
            }
            assert_true(h.magic == r.header.magic && h.version == r.header.version &&
                        h.slots == r.header.slots && h.area == r.header.area &&
                        h.file == r.header.file);
        }
    assert_int_equal(refused, 32 * 255); /* magic, version, slots, area, file: 32 bytes */
    free_ring();
}

static const uint64_t bounds[] = {0,
                                  1,
                                  47,
                                  48,
                                  111,
                                  112,
                                  113,
                                  4095,
                                  4096,
                                  16383,
                                  16384,
                                  16385,
                                  INT32_MAX,
                                  UINT64_C(0x80000000),
                                  UINT32_MAX,
                                  UINT64_C(0x100000000),
                                  INT64_MAX,
                                  UINT64_C(0x8000000000000000),
                                  UINT64_MAX - 16384,
                                  UINT64_MAX};
enum { BOUNDS = sizeof bounds / sizeof *bounds };

/* A slot's fields with their boundary values, in all combinations of two. */
static void slot_fields(void **state)
{
    unsigned long accepted = 0, refused = 0;
    (void)state;
    for (unsigned one = 0; one < 5; one++)
        for (unsigned two = 0; two < 5; two++)
            for (unsigned i = 0; i < BOUNDS * BOUNDS; i++) {
                struct naru_ring_outside o = {.at = 64, .total = 500};
                uint64_t type = 5 | (i & 1 ? (uint32_t)NARU_RING_OUTSIDE : 0), size = 100;
                uint64_t kind = 0;
                uint64_t *field[] = {&type, &size, &o.at, &o.total, &kind};
                *field[one] = bounds[i % BOUNDS];
                *field[two] = bounds[i / BOUNDS];
                make_ring(16384);
                o.kind = (uint32_t)kind;
                struct naru_ring_slot *slot = &r.file->slots[0];
                slot->type = (uint32_t)type;
                slot->size = (uint32_t)size;
                memcpy(slot->data, &o, sizeof o);
                atomic_store(&slot->stamp, 1);
                uint32_t whole_type, whole_size;
                const uint8_t *whole = naru__ring_whole(&r.rx, &whole_type, &whole_size);
                int seen = naru__ring_look(&r.rx);
                const struct naru_ring_item *item = naru__ring_item(&r.rx, 1);
                assert_int_not_equal(seen, 0);
                if (seen > 0)
                    within(item);
                if (whole) /* without an item the same is accepted, and no more */
                    assert_true(seen > 0 && whole == item->data && whole_size == item->size &&
                                whole_type == item->type);
                else
                    assert_true(seen < 0 || item->kind != NARU_RING_WHOLE);
                accepted += seen > 0;
                refused += seen < 0;
                free_ring();
            }
    assert_true(accepted > 1000 && refused > 1000);
}

/* What the other end says that it has consumed. */
static void cursors(void **state)
{
    (void)state;
    make_ring(16384);
    for (uint64_t i = 0; i < 20; i++)
        assert_true(send_one(i));
    for (unsigned i = 0; i < BOUNDS; i++) {
        atomic_store(&r.cursor, bounds[i]);
        bool can_be = bounds[i] >= r.tx.consumed && bounds[i] <= 20;
        assert_int_equal(naru__ring_refresh(&r.tx), can_be);
        assert_true(r.tx.tail <= r.tx.head && r.tx.head - r.tx.tail <= r.tx.area_size);
    }
    free_ring();
}

static _Atomic bool flipping;
/* So that neither thread outruns the other, whatever the scheduler does. */
static _Atomic unsigned long flips_allowed, flips_done;

__attribute__((no_sanitize("thread"))) static void *flip(void *unused)
{
    uint64_t z = 7;
    unsigned long flips = 0;
    volatile uint8_t *bytes = (volatile uint8_t *)r.file;
    while (atomic_load_explicit(&flipping, memory_order_relaxed)) {
        if (flips >= atomic_load_explicit(&flips_allowed, memory_order_relaxed)) {
            sched_yield();
            continue;
        }
        flips++;
        z = z * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        size_t at = NARU_RING_SLOTS_AT + (size_t)((z >> 20) % (r.header.file - NARU_RING_SLOTS_AT));
        bytes[at] ^= (uint8_t)(z >> 56);
        atomic_store_explicit(&flips_done, flips, memory_order_relaxed);
    }
    return unused;
}

/* A writer turns bits everywhere under a live reader and a live sender. */
static void flipped(void **state)
{
    const char *rounds = getenv("FLIP_ROUNDS");
    unsigned long n = rounds ? strtoul(rounds, NULL, 10) : 50000, came = 0, refused = 0;
    pthread_t thread;
    (void)state;
    make_ring(16384);
    atomic_store(&flips_allowed, 0);
    atomic_store(&flips_done, 0);
    atomic_store(&flipping, true);
    pthread_create(&thread, NULL, flip, NULL);
    for (unsigned long i = 0; i < n; i++) {
        atomic_store_explicit(&flips_allowed, 4 * i, memory_order_relaxed);
        while (atomic_load_explicit(&flips_done, memory_order_relaxed) + 400 < 4 * i)
            sched_yield();
        for (int k = 0; i % 40 == 0 && k < 40; k++) /* they lie there for a while */
            (void)send_one(pseudo_random());
        int seen = naru__ring_look(&r.rx);
        if (seen < 0) { /* the connection would end; here it begins again behind the slot */
            refused++;
            naru__ring_item(&r.rx, r.rx.seen)->state = NARU_RING_DONE;
            r.rx.seen++;
            naru__ring_done(naru__ring_item(&r.rx, r.rx.seen - 1));
            naru__ring_advance(&r.rx);
        } else if (seen > 0) {
            came++;
            within(naru__ring_item(&r.rx, r.rx.seen - 1));
            naru__ring_done(naru__ring_item(&r.rx, r.rx.seen - 1));
            naru__ring_advance(&r.rx);
        } else { /* a stamp was hit: it will not come */
            struct naru_ring_slot *slot = &r.file->slots[(r.rx.seen - 1) & r.rx.mask];
            atomic_store(&slot->stamp, r.rx.seen);
            if (r.tx.next <= r.rx.seen)
                r.tx.next = r.rx.seen + 1;
        }
        assert_true(naru__ring_refresh(&r.tx));
    }
    atomic_store(&flipping, false);
    pthread_join(thread, NULL);
    print_message("# %lu came, %lu were refused\n", came, refused);
    assert_true(came > 100 && refused > 0);
    free_ring();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(race),    cmocka_unit_test(header_bytes), cmocka_unit_test(slot_fields),
        cmocka_unit_test(cursors), cmocka_unit_test(flipped),      cmocka_unit_test(widened),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("shm-ring", tests, NULL, NULL);
}
