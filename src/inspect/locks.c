/* SPDX-License-Identifier: MIT */
/* locks.c - a look at locks: what is free, who owns how many, who waits, since when, at which place
 * in the queue, and for whom; and what libc and the kernel tell of their own semaphores. */
#include "inspect/snapshot.h"

#include "base/clock.h"
#include "base/error.h"
#include "core/names.h"
#include "object/view.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/semaphore.h"
#include "shm/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct survey {
    const struct naru_object_view *v;
    const struct naru_lock_state *state;
    bool mutex, rwlock, event, barrier, plain;
    uint64_t word, free, flags;
    uint64_t now, wall; /* ms: of the clock that records use, and since 1970 */
};

static uint64_t load(const _Atomic uint64_t *word)
{
    /* relaxed: these are copies */
    return atomic_load_explicit(word, memory_order_relaxed);
}

static uint64_t word_of(const struct survey *q, uint32_t i, int k)
{
    return load(&q->v->members[i].kind[k]);
}

static bool takes_part(const struct survey *q, uint32_t i)
{
    return naru__member_role(load(&q->v->members[i].who)) != 0;
}

static uint64_t owned_by(const struct survey *q, uint32_t i)
{
    uint64_t settle = word_of(q, i, NARU_LOCK_SETTLE) & 15;
    /* revoked, and it has not noticed */
    bool settled = settle == NARU_SETTLE_DONE;
    return q->plain || q->event || settled ? 0 : word_of(q, i, NARU_LOCK_OWNED) & 0xfffff;
}

static uint64_t wanted_by(const struct survey *q, uint32_t i)
{
    return q->mutex ? 1 : word_of(q, i, NARU_LOCK_WANT) & 0xfffff;
}

static uint64_t number_of(const struct survey *q, uint32_t i)
{
    return word_of(q, i, NARU_LOCK_WANT) >> 20 & ((UINT64_C(1) << 43) - 1);
}

static bool queues(const struct survey *q, uint32_t i)
{
    return takes_part(q, i) && number_of(q, i) != 0;
}

/* In the queue; or in the kernel, which lends the owner its priority and knows the order; or until
 * all are told. */
static bool waits(const struct survey *q, uint32_t i)
{
    return queues(q, i) || ((q->mutex || q->event || q->barrier) && takes_part(q, i) &&
                            word_of(q, i, NARU_LOCK_SLEEPS) != 0);
}

static uint64_t place_of(const struct survey *q, uint32_t i)
{
    uint64_t place = 1;
    for (uint32_t k = 0; k < q->v->n; k++)
        place += queues(q, k) && number_of(q, k) < number_of(q, i);
    return queues(q, i) ? place : 0;
}

/* ---- texts ---- */

static uint64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static const char *ms_text(uint64_t ms, char text[40])
{
    char seconds[40];
    naru__time_text(ms > UINT64_MAX / 1000000 ? UINT64_MAX : ms * 1000000, seconds);
    size_t n = strlen(seconds);
    if (n < 2)
        return strcpy(text, "?");
    snprintf(text, 40, "%.*s.%03uZ", (int)(n - 1 < 30 ? n - 1 : 30), seconds,
             (unsigned)(ms % 1000));
    return text;
}

/* A moment of the clock that records use. */
static const char *since_text(const struct survey *q, uint64_t ms, char text[40])
{
    return ms <= q->now ? ms_text(q->wall - (q->now - ms), text) : strcpy(text, "?");
}

/* "2 permits"; of a rwlock what they are for. */
static const char *amount_text(const struct survey *q, uint64_t n, char text[40])
{
    if (q->mutex)
        snprintf(text, 40, "the mutex");
    else if (q->rwlock)
        snprintf(text, 40, n > 1 ? "writing" : "reading");
    else
        snprintf(text, 40, "%" PRIu64 " permit%s", n, n == 1 ? "" : "s");
    return text;
}

/* "owns 2 permits" */
static const char *owns_text(const struct survey *q, uint64_t n, char text[60])
{
    char amount[40];
    if (q->rwlock)
        snprintf(text, 60, n == q->v->meta.option[NARU_LOCK_VALUE] ? "writes" : "reads");
    else
        snprintf(text, 60, "owns %s", amount_text(q, n, amount));
    return text;
}

/* ---- who waits for whom ---- */

static void owners(naru_snapshot *s, struct snapshot_part *p, const struct survey *q)
{
    char why[96], text[60];
    for (uint32_t k = 0; k < q->v->n; k++) {
        uint64_t owned = takes_part(q, k) ? owned_by(q, k) : 0;
        if (owned == 0)
            continue;
        pid_t pid = naru__member_pid(q->v, k);
        bool dead = naru__object_view_lives(q->v, k) == 0; /* and the pid may be another's by now */
        owns_text(q, owned, text);
        if (dead)
            snprintf(why, sizeof why, "process %d, which has died, %s", (int)pid, text);
        else
            snprintf(why, sizeof why, "%s", text);
        naru__snapshot_waits_for(s, p, dead ? 0 : pid, owned, why);
    }
}

/* With enough of them free, it waits for its turn. */
static void before_it(naru_snapshot *s, struct snapshot_part *p, const struct survey *q, uint32_t i)
{
    char why[96], n[40];
    for (uint32_t k = 0; k < q->v->n; k++) {
        if (!queues(q, k) || number_of(q, k) >= number_of(q, i))
            continue;
        snprintf(why, sizeof why, "is before it in the queue, for %s",
                 amount_text(q, wanted_by(q, k), n));
        naru__snapshot_waits_for(s, p, naru__member_pid(q->v, k), 1, why);
    }
}

static uint64_t arrived_at(const struct survey *q)
{
    return q->word >> NARU_BARRIER_NUMBER_SHIFT & NARU_BARRIER_NUMBER;
}

/* Those that do not wait there: who has arrived without waiting is not told apart. */
static void parties(naru_snapshot *s, struct snapshot_part *p, const struct survey *q)
{
    uint64_t all = q->v->meta.option[NARU_LOCK_VALUE], n = 0, arrived = arrived_at(q);
    for (uint32_t k = 0; k < q->v->n; k++)
        n += takes_part(q, k);
    naru__snapshot_wants(s, p, "the other parties", arrived < all ? all - arrived : 0, n < all);
    for (uint32_t k = 0; k < q->v->n; k++)
        if (takes_part(q, k) && !waits(q, k))
            naru__snapshot_waits_for(s, p, naru__member_pid(q->v, k), 1, "does not wait there");
}

static void waits_for(naru_snapshot *s, struct snapshot_part *p, const struct survey *q, uint32_t i)
{
    char text[40];
    uint64_t want = wanted_by(q, i);
    if (!waits(q, i))
        return;
    if (q->event) { /* anybody may set it */
        naru__snapshot_wants(s, p, "its setting", 1, true);
        return;
    }
    if (q->barrier) {
        parties(s, p, q);
        return;
    }
    if (q->free < want) {
        naru__snapshot_wants(s, p, amount_text(q, want, text), want - q->free, q->plain);
        owners(s, p, q);
    } else if (place_of(q, i) > 1) {
        naru__snapshot_wants(s, p, amount_text(q, want, text), place_of(q, i) - 1, false);
        before_it(s, p, q, i);
    } else { /* it is being woken */
        naru__snapshot_wants(s, p, amount_text(q, want, text), 0, false);
    }
}

/* ---- parts ---- */

static void show_part(naru_snapshot *s, struct snapshot_view *view, const struct survey *q,
                      uint32_t i)
{
    struct snapshot_part *p = naru__snapshot_member(s, view, q->v, i, NULL);
    uint64_t owned = owned_by(q, i), held = word_of(q, i, NARU_LOCK_HELD);
    uint64_t now = naru__permits_held_ticket(word_of(q, i, NARU_LOCK_OWNED));
    uint64_t began = word_of(q, i, queues(q, i) ? NARU_LOCK_SINCE : NARU_LOCK_SLEEPS) / 1000000;
    uint64_t want = waits(q, i) ? wanted_by(q, i) : 0;
    char text[60] = "-";
    bool owns = !q->plain && !q->event;
    if (q->rwlock)
        naru__snapshot_word(s, view, p, "owns", owned ? owns_text(q, owned, text) : "-");
    else if (owns)
        naru__snapshot_number(s, view, p, "owns", NULL, owned);
    held = owned && held >> 42 == now ? held & ((UINT64_C(1) << 42) - 1) : 0;
    if (owns)
        naru__snapshot_word(s, view, p, "owns_since", held ? since_text(q, held, text) : "-");
    if (q->rwlock)
        naru__snapshot_word(s, view, p, "wants", want ? amount_text(q, want, text) : "-");
    else if (!q->event && !q->barrier)
        naru__snapshot_number(s, view, p, "wants", NULL, want);
    naru__snapshot_word(s, view, p, "waits_since", waits(q, i) ? since_text(q, began, text) : "-");
    naru__snapshot_number(s, view, p, "place", NULL, place_of(q, i));
    bool asleep = queues(q, i) && word_of(q, i, NARU_LOCK_WANT) & NARU_LOCK_ASLEEP;
    bool watches = load(&q->state->watching[i / 64]) >> (i % 64) & 1;
    bool lends = q->mutex && want && !queues(q, i);
    asleep |= waits(q, i) && !queues(q, i);
    naru__snapshot_word(s, view, p, "asleep",
                        lends     ? "in the kernel, lending its priority"
                        : asleep  ? "yes"
                        : watches ? "in a loop"
                                  : "no");
    waits_for(s, p, q, i);
}

/* What only one has at a time. */
static void show_exclusive(naru_snapshot *s, struct snapshot_view *view, const struct survey *q,
                           uint64_t owned)
{
    naru__snapshot_word(s, view, NULL, "condition",
                        q->free == q->v->meta.option[NARU_LOCK_VALUE] ? "free"
                        : q->mutex                                    ? "owned"
                        : q->free                                     ? "read"
                                                                      : "written");
    if (q->rwlock)
        naru__snapshot_number(s, view, NULL, "readers", NULL, q->free ? owned : 0);
    naru__snapshot_word(s, view, NULL, "recovery",
                        q->flags & NARU_LOCK_LOST    ? "given up"
                        : q->flags & NARU_LOCK_DIRTY ? "its owner has died: needed"
                                                     : "not needed");
    if (q->mutex)
        naru__snapshot_word(s, view, NULL, "lends_priority",
                            q->v->meta.option[NARU_LOCK_INHERIT] ? "yes" : "no");
}

static void show_permits(naru_snapshot *s, struct snapshot_view *view, const struct survey *q,
                         uint64_t owned)
{
    naru__snapshot_word(s, view, NULL, "kind", q->plain ? "plain" : "owned");
    naru__snapshot_number(s, view, NULL, "value", NULL, q->free);
    naru__snapshot_number(s, view, NULL, q->plain ? "begun_with" : "permits", NULL,
                          q->v->meta.option[NARU_LOCK_VALUE]);
    if (!q->plain)
        naru__snapshot_number(s, view, NULL, "owned", NULL, owned);
}

static void show_event(naru_snapshot *s, struct snapshot_view *view, const struct survey *q)
{
    naru__snapshot_word(s, view, NULL, "kind", q->plain ? "manual" : "automatic");
    if (q->plain) {
        naru__snapshot_word(s, view, NULL, "set", q->word & NARU_EVENT_SET ? "yes" : "no");
        naru__snapshot_number(s, view, NULL, "times_set", NULL, q->word >> NARU_EVENT_SETS_SHIFT);
    } else {
        naru__snapshot_number(s, view, NULL, "sets_left", NULL, q->free);
    }
}

static void show_barrier(naru_snapshot *s, struct snapshot_view *view, const struct survey *q)
{
    bool broken = q->word & NARU_BARRIER_BROKEN;
    naru__snapshot_number(s, view, NULL, "parties", NULL, q->v->meta.option[NARU_LOCK_VALUE]);
    naru__snapshot_number(s, view, NULL, "arrived", NULL, broken ? 0 : arrived_at(q));
    naru__snapshot_number(s, view, NULL, "rounds", NULL, q->word >> NARU_BARRIER_ROUNDS_SHIFT);
    naru__snapshot_word(s, view, NULL, "broken", broken ? "yes, by a death" : "no");
    naru__snapshot_number(s, view, NULL, "dead_party", NULL, broken ? arrived_at(q) : 0);
}

static void show_whole(naru_snapshot *s, struct snapshot_view *view, const struct survey *q)
{
    uint64_t owned = 0, waiting = 0, death = load(&q->state->death);
    char text[40];
    for (uint32_t i = 0; i < q->v->n; i++) {
        owned += takes_part(q, i) ? owned_by(q, i) : 0;
        waiting += waits(q, i);
    }
    if (q->event)
        show_event(s, view, q);
    else if (q->barrier)
        show_barrier(s, view, q);
    else if (q->mutex || q->rwlock)
        show_exclusive(s, view, q, owned);
    else
        show_permits(s, view, q, owned);
    if (!q->event && !q->barrier)
        naru__snapshot_word(s, view, NULL, "fair",
                            q->v->meta.option[NARU_LOCK_FAIR] ? "yes" : "no");
    naru__snapshot_number(s, view, NULL, "waiters", NULL, waiting);
    if (q->event || q->barrier)
        return;
    naru__snapshot_word(s, view, NULL, "in_order", q->flags & NARU_LOCK_QUEUED ? "yes" : "no");
    if (q->plain)
        return;
    naru__snapshot_number(s, view, NULL, "last_dead_owner", NULL, death & 0x3fffff);
    naru__snapshot_word(s, view, NULL, "last_death", death ? ms_text(death >> 22, text) : "-");
}

static int damaged(const struct survey *q)
{
    return naru__fail(-EPROTO,
                      "%s: its memory is damaged: the word is %016" PRIx64
                      ", and there are %" PRIu64 " permits",
                      q->v->url, q->word, q->v->meta.option[NARU_LOCK_VALUE]);
}

int naru__look_at_lock(naru_snapshot *s, struct snapshot_view *view,
                       const struct naru_object_view *v, bool brief)
{
    const uint64_t *option = v->meta.option;
    struct survey q = {.v = v,
                       .state = (const void *)v->state.kind,
                       .mutex = v->meta.what == NARU_OBJECT_MUTEX,
                       .rwlock = v->meta.what == NARU_OBJECT_RWLOCK,
                       .event = v->meta.what == NARU_OBJECT_EVENT,
                       .barrier = v->meta.what == NARU_OBJECT_BARRIER,
                       .plain = option[NARU_LOCK_KIND] == 1,
                       .now = (uint64_t)naru__now() / 1000000,
                       .wall = wall_ms()};
    if (!naru__permits_options_can_be(option))
        return naru__fail(-EPROTO, "%s: its meta is damaged", v->url);
    const struct naru_permits kind = {.plain = q.plain};
    bool words = q.barrier || (q.event && q.plain); /* which count nothing that is owned */
    q.word = load(&q.state->word);
    q.free = words ? 0 : naru__permits_count(&kind, q.word);
    q.flags = q.word & NARU_LOCK_FLAGS;
    if (q.free > (q.plain ? (uint64_t)NARU_PERMITS_PLAIN_MAX : option[NARU_LOCK_VALUE]) ||
        (q.barrier && !(q.flags & NARU_BARRIER_BROKEN) && arrived_at(&q) > option[NARU_LOCK_VALUE]))
        return damaged(&q);
    show_whole(s, view, &q);
    for (uint32_t i = 0; !brief && i < v->n; i++)
        if (takes_part(&q, i))
            show_part(s, view, &q, i);
    return 0;
}

/* ---- libc's and the kernel's ---- */

static void mode_fact(naru_snapshot *s, struct snapshot_view *view, unsigned mode)
{
    char text[8];
    snprintf(text, sizeof text, "%04o", mode & 0777u);
    naru__snapshot_word(s, view, NULL, "mode", text);
}

/* Its file, which both glibc and musl keep there; sem_open would map it for writing. */
int naru__look_at_posix_sem(naru_snapshot *s, const struct naru_url *url)
{
    const char *name;
    char path[NAME_MAX + 32];
    union {
        sem_t sem;
        char bytes[sizeof(sem_t)];
    } copy;
    struct stat st;
    int r = naru__posix_name(url, "semaphore", &name);
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "/dev/shm/sem.%s", name + 1);
    int fd = naru__os_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    r = fd < 0 ? fd : naru__os_fstat(fd, &st);
    if (r == 0 && (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof copy))
        r = -EPROTO;
    if (r == 0)
        r = naru__os_read_at(fd, &copy, sizeof copy, 0);
    naru__os_close(fd);
    if (r == -ENOENT)
        return naru__fail(r, "%s is not there", url->text);
    if (r == -EPROTO)
        return naru__fail(r, "%s: what stands at %s is no semaphore", url->text, path);
    if (r < 0)
        return naru__fail(r, "%s: reading %s: %s", url->text, path, naru__errno_text(r));
    int value = naru__os_sem_value(&copy.sem);
    struct snapshot_view *view = naru__snapshot_add(s, url->text, "semaphore");
    naru__snapshot_size(view, st.st_uid, (uint64_t)st.st_size);
    naru__snapshot_word(s, view, NULL, "kind", "plain");
    naru__snapshot_number(s, view, NULL, "value", NULL, value < 0 ? 0 : (uint64_t)value);
    mode_fact(s, view, st.st_mode);
    naru__snapshot_word(s, view, NULL, "owners", "nobody knows: a sem_t has none");
    naru__snapshot_word(s, view, NULL, "waiters", "libc does not tell");
    return 1;
}

int naru__look_at_sysv_sem(naru_snapshot *s, const struct naru_url *url)
{
    key_t key;
    struct semid_ds ds;
    struct naru_sysv_sem_use use;
    char text[40];
    int r = naru__sysv_key(url, "semaphore", &key);
    if (r < 0)
        return r;
    int id = naru__os_sysv_sem_get(key, 0, 0);
    if (id == -ENOENT)
        return naru__fail(id, "%s is not there", url->text);
    r = id < 0 ? id : naru__os_sysv_sem_stat(id, &ds);
    if (r == 0)
        r = naru__os_sysv_sem_use(id, &use);
    if (r < 0)
        return naru__fail(r, "%s: looking at it: %s", url->text, naru__errno_text(r));
    struct snapshot_view *view = naru__snapshot_add(s, url->text, "semaphore");
    naru__snapshot_size(view, ds.sem_perm.uid, 0);
    naru__snapshot_number(s, view, NULL, "id", NULL, (uint64_t)id);
    naru__snapshot_number(s, view, NULL, "value", NULL, (uint64_t)use.value);
    naru__snapshot_number(s, view, NULL, "of_the_set", "semaphores", ds.sem_nsems);
    mode_fact(s, view, (unsigned)ds.sem_perm.mode);
    naru__snapshot_number(s, view, NULL, "waiters", NULL, (uint64_t)use.waiting);
    naru__snapshot_number(s, view, NULL, "waiters_for_zero", NULL, (uint64_t)use.waiting_for_zero);
    naru__snapshot_number(s, view, NULL, "last_changed_by", NULL, (uint64_t)use.pid);
    naru__snapshot_word(s, view, NULL, "last_changed",
                        ds.sem_otime ? naru__time_text((uint64_t)ds.sem_otime * 1000000000, text)
                                     : "never");
    naru__snapshot_word(s, view, NULL, "owners", "the kernel does not tell who will be undone for");
    return 1;
}
