/* SPDX-License-Identifier: MIT */
/* hostile-locks.c - semaphores, events and barriers whose memory somebody writes: before others
 * join and under those who use them. Each call with a timeout returns, with an errno that it may
 * give and a sentence if it failed; nobody crashes, and once the memory is put right the lock works
 * again or says that it is damaged. */
#include "locks.h"

#include "shm/lock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OWNED, PLAIN, MANUAL, AUTOMATIC, BARRIER, PARTICIPANTS = 3 };
enum { STATE = NARU_OBJECT_STATE_AT, LOCK = STATE + offsetof(struct naru_object_state, kind) };

static int kind;
static naru_region *region;
static uint8_t *memory;
static void *handle[2];
static unsigned long fine, refused, nothing;

static int open_one(void **ret_handle)
{
    struct naru_semaphore_options so = {sizeof so, .kind = kind == PLAIN, .value = 2,
                                        .participants = PARTICIPANTS};
    struct naru_event_options eo = {sizeof eo, .kind = kind == AUTOMATIC,
                                    .participants = PARTICIPANTS};
    struct naru_barrier_options bo = {sizeof bo, .parties = 2, .participants = PARTICIPANTS};
    naru_semaphore *s = NULL;
    naru_event *e = NULL;
    naru_barrier *b = NULL;
    int r = kind <= PLAIN       ? naru_semaphore_at(region, 0, &so, &s)
            : kind <= AUTOMATIC ? naru_event_at(region, 0, &eo, &e)
                                : naru_barrier_at(region, 0, &bo, &b);
    *ret_handle = r < 0               ? NULL
                  : kind <= PLAIN     ? (void *)s
                  : kind <= AUTOMATIC ? (void *)e
                                      : (void *)b;
    return r;
}

static void close_one(void *h)
{
    if (kind <= PLAIN)
        naru_semaphore_close(h);
    else if (kind <= AUTOMATIC)
        naru_event_close(h);
    else
        naru_barrier_close(h);
}

static void make(int of)
{
    kind = of;
    fine = refused = nothing = 0;
    expect_ok(naru_region_create(NULL, naru_lock_bytes(PARTICIPANTS), NULL, &region));
    memory = naru_region_data(region);
    for (int i = 0; i < 2; i++)
        expect_ok(open_one(&handle[i]));
}

static void unmake(void)
{
    for (int i = 0; i < 2; i++)
        close_one(handle[i]);
    region = naru_region_close(region);
    printf("# %lu went well, %lu found nothing, %lu were refused\n", fine, nothing, refused);
    fflush(stdout);
}

static long count(long r)
{
    static const int codes[] = {EAGAIN, ETIMEDOUT, EPROTO, EPERM,  EOVERFLOW, EIDRM,     EOWNERDEAD,
                                EBUSY,  EEXIST,    ENOSPC, EINVAL, ECANCELED, EOPNOTSUPP};
    bool known = r >= 0;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        known |= r == -codes[i];
    if (!known || (r < 0 && !naru_why()[0]))
        test_failed(__FILE__, __LINE__, "%ld: %s", r, naru_why());
    fine += r >= 0;
    nothing += r == -EAGAIN || r == -ETIMEDOUT;
    refused += r < 0 && r != -EAGAIN && r != -ETIMEDOUT;
    return r;
}

static void use(void *h, unsigned n, int64_t timeout)
{
    unsigned value;
    pid_t pid;
    int64_t begin = test_now();
    switch (kind) {
    case OWNED:
        if (count(naru_semaphore_acquire(h, 1 + n % 2, timeout)) == 0)
            (void)count(naru_semaphore_release(h, 1 + n % 2));
        (void)count(naru_semaphore_value(h, &value));
        (void)naru_semaphore_owned(h);
        break;
    case PLAIN:
        if (count(naru_semaphore_wait(h, 1 + n % 2, timeout)) == 0)
            (void)count(naru_semaphore_post(h, 1 + n % 2));
        break;
    case BARRIER:
        (void)count(n % 3 ? naru_barrier_wait(h, timeout) : naru_barrier_reset(h));
        (void)count(naru_barrier_arrived(h));
        (void)count(naru_barrier_dead(h, &pid));
        break;
    default:
        (void)count(n % 2 ? naru_event_set(h) : naru_event_reset(h));
        (void)count(naru_event_wait(h, timeout));
        (void)count(naru_event_is_set(h));
    }
    expect(test_now() - begin < PATIENCE);
}

/* Once all is as it was: it works, or it says that it does not. */
static void put_right(const uint8_t *before)
{
    memcpy(memory + STATE, before, naru_lock_bytes(PARTICIPANTS) - STATE);
}

static const uint64_t bounds[] = {0,
                                  1,
                                  15,
                                  16,
                                  31,
                                  1023,
                                  1024,
                                  4095,
                                  0xfffff,
                                  0x100000,
                                  INT32_MAX,
                                  UINT32_MAX,
                                  UINT64_C(1) << 36,
                                  UINT64_C(0xfff) << 24,
                                  UINT64_C(0x3fffff) << 4,
                                  INT64_MAX,
                                  UINT64_C(1) << 63,
                                  UINT64_MAX};

/* Each bit of the word, and each field of state and records to its bounds. */
static void fields(int of)
{
    make(of);
    size_t all = naru_lock_bytes(PARTICIPANTS);
    uint8_t *before = malloc(all);
    expect(before != NULL);
    memcpy(before, memory + STATE, all - STATE);
    _Atomic uint64_t *word = (void *)(memory + LOCK);
    unsigned n = 0;
    for (int bit = 0; bit < 64; bit++)
        for (int i = 0; i < 4; i++, n++) {
            atomic_store(word, atomic_load(word) ^ UINT64_C(1) << bit);
            use(handle[i % 2], n, i < 2 ? NARU_NOWAIT : NARU_MS);
            put_right(before);
        }
    size_t step = getenv("FLIP_ROUNDS") ? 4 : 8;
    for (size_t at = STATE; at < all; at += at < LOCK + sizeof(struct naru_lock_state) ? 4 : step) {
        if (at >= LOCK + sizeof(struct naru_lock_state) && at < NARU_OBJECT_MEMBERS_AT)
            continue; /* nothing lies there */
        for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++, n++) {
            memcpy(memory + at, &bounds[i], at % 8 ? 4 : 8);
            use(handle[n % 2], n, n % 64 ? NARU_NOWAIT : NARU_MS);
            put_right(before);
        }
    }
    use(handle[0], 1, 10 * NARU_MS);
    expect(fine > 1000 && refused > 0);
    free(before);
    unmake();
}

/* Who joins meets what somebody has written, in what is constant and in what is not. */
static void joining(int of)
{
    make(of);
    size_t all = naru_lock_bytes(PARTICIPANTS);
    uint8_t *before = malloc(all);
    expect(before != NULL);
    memcpy(before, memory, all);
    unsigned n = 0;
    for (size_t at = 0; at < sizeof(struct naru_object_meta); at++)
        for (int v = 1; v < 256; v += at < 48 ? 17 : 85, n++) {
            void *h;
            if (at < 8 && memory[at] == v) /* no magic is room for a new one */
                continue;
            memory[at] ^= (uint8_t)v;
            if (count(open_one(&h)) == 0) {
                use(h, n, NARU_NOWAIT);
                close_one(h);
            }
            memcpy(memory, before, all);
        }
    for (size_t at = STATE; at < all; at += 8)
        for (size_t i = n % 3; i < sizeof bounds / sizeof *bounds; i += 3, n++) {
            void *h;
            if (at >= LOCK + sizeof(struct naru_lock_state) && at < NARU_OBJECT_MEMBERS_AT)
                break;
            memcpy(memory + at, &bounds[i], 8);
            if (count(open_one(&h)) == 0) {
                use(h, n, NARU_NOWAIT);
                close_one(h);
            }
            memcpy(memory, before, all);
        }
    expect(fine > 500 && refused > 100);
    free(before);
    unmake();
}

/* Somebody writes all the time, while two use it. */
static _Atomic int stop;

static void *flip(void *seed)
{
    unsigned random = *(unsigned *)seed;
    size_t all = naru_lock_bytes(PARTICIPANTS);
    while (!atomic_load(&stop)) {
        size_t at = rand_r(&random) % 3 ? LOCK + (size_t)rand_r(&random) % 160
                                        : STATE + (size_t)rand_r(&random) % (all - STATE);
        __atomic_fetch_xor(&memory[at], (uint8_t)(1 << rand_r(&random) % 8), __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *use_all_the_time(void *h)
{
    for (unsigned n = 0; !atomic_load(&stop); n++)
        use(h, n, n % 16 ? NARU_NOWAIT : NARU_MS);
    return NULL;
}

static void flipping(int of)
{
    unsigned seed = 1;
    pthread_t flipper, user;
    const char *rounds = getenv("FLIP_ROUNDS");
    int64_t end = test_now() + (rounds ? 20 * NARU_S : NARU_S);
    make(of);
    atomic_store(&stop, 0);
    pthread_create(&flipper, NULL, flip, &seed);
    pthread_create(&user, NULL, use_all_the_time, handle[1]);
    for (unsigned n = 0; test_now() < end; n++)
        use(handle[0], n, n % 16 ? NARU_NOWAIT : NARU_MS);
    atomic_store(&stop, 1);
    pthread_join(flipper, NULL);
    pthread_join(user, NULL);
    expect(fine + refused + nothing > 100);
    unmake();
}

#define CASES(name, of)                                                                            \
    static void name##_fields(void)                                                                \
    {                                                                                              \
        fields(of);                                                                                \
    }                                                                                              \
    static void name##_joining(void)                                                               \
    {                                                                                              \
        joining(of);                                                                               \
    }                                                                                              \
    static void name##_flipping(void)                                                              \
    {                                                                                              \
        flipping(of);                                                                              \
    }
CASES(owned, OWNED)
CASES(plain, PLAIN)
CASES(manual, MANUAL)
CASES(automatic, AUTOMATIC)
CASES(barrier, BARRIER)

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"semaphore: fields", owned_fields},
        {"semaphore: joining", owned_joining},
        {"semaphore: flipping", owned_flipping},
        {"plain semaphore: fields", plain_fields},
        {"plain semaphore: joining", plain_joining},
        {"plain semaphore: flipping", plain_flipping},
        {"manual event: fields", manual_fields},
        {"manual event: joining", manual_joining},
        {"manual event: flipping", manual_flipping},
        {"automatic event: fields", automatic_fields},
        {"automatic event: joining", automatic_joining},
        {"automatic event: flipping", automatic_flipping},
        {"barrier: fields", barrier_fields},
        {"barrier: joining", barrier_joining},
        {"barrier: flipping", barrier_flipping},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
