/* SPDX-License-Identifier: MIT */
/* open.c - taking part in a journal: opening, the owned locks, waiting and waking, repairing after
 * those who died, recovering after a restart.
 *
 * Locks: `append` is the senders', `flush` is whoever makes the medium have it, a cursor's is its
 * receivers'. Each holds its owner's number. A lock whose owner has died stays taken until somebody
 * cleans up after that member; whoever does holds the member's own lock of the kernel's meanwhile,
 * so it acts in the place of the dead one, and if it dies too, the next begins again.
 *
 * A restart: memory that a file backs may come back older than the segments, or newer. So it counts
 * only in the world (boot and mount) in which it was written; the first to open in another world
 * walks the segments from the last place that was surely on the medium. */
#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/futex.h"
#include "os/limit.h"
#include "os/map.h"
#include "os/process.h"
#include "os/sync.h"
#include "transport/map/map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TICK_MS = 50,
    SEGMENT = 16 << 20,       /* bytes of one, unless .capacity says */
    SEGMENT_LEAST = 64 << 10, /* with less, headers would be most of it */
    LOOKS = 100
};

/* ---- sleeping and waking ---- */

static uint64_t bit(uint32_t member)
{
    return UINT64_C(1) << (member % 64);
}

static struct naru_journal_state *state_of(const struct naru_object *o)
{
    return (void *)o->state->kind;
}

static int thread_of(enum naru_journal_sleep set)
{
    return set != NARU_SLEEP_MESSAGE && set != NARU_SLEEP_CURSOR;
}

static void ring(const struct naru_object *o, uint32_t member, int thread)
{
    if (member >= naru__object_members(o))
        return; /* a bit that nobody has set */
    _Atomic uint32_t *bell = &o->members[member].bell[thread];
    atomic_fetch_add(bell, 1);
    (void)naru__os_futex_wake(bell, 1);
    if (atomic_load_explicit(&state_of(o)->by_socket[member / 64], memory_order_relaxed) &
        bit(member))
        naru__object_knock(o, member);
}

/* seq_cst throughout: a sleeper sets its bit, then looks; who has changed something looks at the
 * bits afterwards. Weaker, each could miss the other. */
void naru__journal_wake(const struct naru_object *o, enum naru_journal_sleep set, bool all)
{
    _Atomic uint64_t *words = state_of(o)->asleep[set];
    for (uint32_t w = 0; w < NARU_JOURNAL_MEMBERS / 64; w++) {
        uint64_t asleep = atomic_load(&words[w]);
        for (; asleep; asleep &= asleep - 1) {
            uint32_t member = w * 64 + (uint32_t)__builtin_ctzll(asleep);
            if (!(atomic_fetch_and(&words[w], ~bit(member)) & bit(member)))
                continue;
            ring(o, member, thread_of(set));
            if (!all)
                return;
        }
    }
}

static void repair_append(const struct naru_object *o);

static bool knows(const struct naru_object *o, uint32_t member)
{
    return naru__os_life_held(o->file, NARU_JOURNAL_KNOWS_LOCKS + member) == 1;
}

bool naru__journal_takes_part(const struct map_journal *e, uint32_t member)
{
    return knows(&e->object, member);
}

/* Does somebody take part who knows that the memory is right? By another mount, if not by this. */
static bool others_know(const struct naru_object *o)
{
    uint32_t n = naru__object_members(o);
    for (uint32_t i = 0; i < n; i++)
        if (knows(o, i))
            return true;
    return false;
}

bool naru__journal_is_right(const struct naru_object *o)
{
    return atomic_load(&state_of(o)->world) == naru__os_world(o->file) || others_know(o);
}

/* naru_object_clean: whoever calls it holds that member's lock. */
static int clean(struct naru_object *o, uint32_t member)
{
    struct naru_journal_state *s = state_of(o);
    if (!naru__journal_is_right(o))
        return 0; /* what it says of tail and cursors is not so any more: recover() comes */
    int r = naru__cursors_clean(o, member);
    if (r < 0)
        return r;
    if (atomic_load(&s->append) == member + 1) {
        repair_append(o);
        atomic_store(&s->append, 0);
    }
    if (atomic_load(&s->flush) == member + 1)
        atomic_store(&s->flush, 0);
    naru__spares_clean(o);
    for (int set = 0; set < NARU_SLEEP_SETS; set++) {
        atomic_fetch_and(&s->asleep[set][member / 64], ~bit(member));
        naru__journal_wake(o, set, true); /* who died may have owed it */
    }
    atomic_fetch_and(&s->by_socket[member / 64], ~bit(member));
    naru__object_no_doorbell(o, member);
    return 0;
}

int naru__journal_collect(struct map_journal *e)
{
    return naru__object_collect(&e->object, clean);
}

/* One of all that wait looks, each tick. How many there were. */
static int look_for_dead(struct map_journal *e)
{
    uint64_t now = (uint64_t)naru__now();
    uint64_t last = atomic_load_explicit(&e->state->checked, memory_order_relaxed);
    if (now - last < (TICK_MS - 10) * UINT64_C(1000000) && now > last)
        return 0;
    if (!atomic_compare_exchange_strong(&e->state->checked, &last, now))
        return 0;
    return naru__object_collect(&e->object, clean);
}

static bool alone(const struct map_journal *e)
{
    uint32_t n = naru__object_members(&e->object);
    for (uint32_t i = 0; i < n; i++)
        if (i != e->object.member && naru__member_role(atomic_load_explicit(
                                         &e->object.members[i].who, memory_order_relaxed)))
            return false;
    return true;
}

int naru__journal_wait(struct map_journal *e, struct naru_wait *w, enum naru_journal_sleep set,
                       bool (*ready)(struct map_journal *, uint64_t), uint64_t arg)
{
    uint32_t me = e->object.member;
    _Atomic uint32_t *bell = &e->object.members[me].bell[thread_of(set)];
    _Atomic uint64_t *word = &e->state->asleep[set][me / 64];
    w->looks = true;
    int r = naru__journal_check(e);
    if (r == 0)
        r = naru__wait_spin(w);
    if ((r == -EAGAIN || r == -ETIMEDOUT) && look_for_dead(e) > 0)
        return 0; /* who never waits long enough for a tick is owed what the dead had, too */
    if (r < 0)
        return r;
    if (r > 0) {
        bool streams = set == NARU_SLEEP_MESSAGE && e->streams; /* then the next look waits */
        for (int i = 0; i < LOOKS && !streams && !ready(e, arg); i++)
            naru__relax();
        return 0;
    }
    uint32_t value = atomic_load(bell);
    /* who waits for a message alone is owed nothing, and whoever comes rings */
    bool tick = set != NARU_SLEEP_MESSAGE || !alone(e) || naru__object_going(&e->object);
    atomic_fetch_or(word, bit(me));
    if (!ready(e, arg) && !naru__object_removed(&e->object))
        r = naru__wait_futex(w, bell, value, tick ? naru__now() + TICK_MS * NARU_MS : NARU__NEVER);
    if (atomic_fetch_and(word, ~bit(me)) & bit(me) && r == 0)
        r = look_for_dead(e);
    return r < 0 ? r : 0;
}

/* ---- owned locks ---- */

static bool is_free(struct map_journal *e, uint64_t lock)
{
    (void)e;
    return atomic_load((naru_journal_lock *)(uintptr_t)lock) == 0;
}

uint32_t naru__journal_pid(const struct map_journal *e, uint32_t owner)
{
    return owner > 0 && owner <= naru__object_members(&e->object)
               ? atomic_load(&e->object.members[owner - 1].pid)
               : 0;
}

/* Damage leaves that, and who dies in a recovery. Else who takes part has a role, and whoever
 * cleans up after a dead one frees its locks first. */
bool naru__journal_take_from_nobody(struct map_journal *e, naru_journal_lock *lock, uint32_t owner)
{
    struct naru_object *o = &e->object;
    struct naru_life life = {0};
    uint32_t me = o->member + 1;
    bool record = owner <= naru__object_members(o);
    if (owner == 0 ||
        (record && owner != me && naru__member_role(atomic_load(&o->members[owner - 1].who))))
        return false;
    /* its own number: it has not taken it yet. Another's: while nobody can be that member */
    if (owner != me && owner <= o->meta.members_max && naru__object_hold(o, owner - 1, &life) < 0)
        return false;
    bool taken = atomic_compare_exchange_strong(lock, &owner, me);
    naru__os_life_drop(&life);
    if (taken && lock == &e->state->append && naru__journal_is_right(o))
        repair_append(o);
    return taken;
}

int naru__journal_lock(struct map_journal *e, naru_journal_lock *lock, enum naru_journal_sleep set,
                       struct naru_wait *w)
{
    for (;;) {
        uint32_t owner = 0;
        if (atomic_compare_exchange_strong(lock, &owner, e->object.member + 1) ||
            naru__journal_take_from_nobody(e, lock, owner))
            return 0;
        int r = naru__journal_wait(e, w, set, is_free, (uint64_t)(uintptr_t)lock);
        if (r < 0) {
            if (r == -ETIMEDOUT)
                naru__fail(r, "%s: the time given passed; process %" PRIu32 " is in the way",
                           journal_name(e), naru__journal_pid(e, owner));
            return r;
        }
    }
}

void naru__journal_unlock(struct map_journal *e, naru_journal_lock *lock,
                          enum naru_journal_sleep set)
{
    /* release: pairs with taking it. Fence: what was written under it comes before the look at who
     * sleeps, for the lock and for what it protects; a sleeper sets its bit before its last look */
    atomic_store_explicit(lock, 0, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    naru__journal_wake(&e->object, set, false);
}

/* ---- repair: a sender died ---- */

/* Did what lies between tail and intent come to count? */
static void repair_append(const struct naru_object *o)
{
    struct naru_journal_state *s = state_of(o);
    struct map_segment segment = {.fd = NARU__NO_FD};
    uint64_t tail = atomic_load(&s->tail), intent = atomic_load(&s->intent);
    uint64_t at = naru__place_offset(tail), end = naru__place_offset(intent);
    if (intent <= tail || naru__place_segment(intent) != naru__place_segment(tail)) {
        atomic_store(&s->intent, 0);
        return;
    }
    if (naru__segment_open(o, naru__place_segment(tail), true, &segment) < 0)
        return; /* whoever sends next meets it and says so */
    if (end <= segment.size && at < end && at % 8 == 0 && at >= NARU_SEGMENT_RECORDS_AT &&
        end - at >= sizeof(struct naru_record)) {
        const struct naru_record *r = (const void *)(segment.memory + at);
        uint64_t sequence = r->sequence;
        if (sequence <= atomic_load(&s->committed) &&
            naru__record_check(segment.memory, segment.size, at, segment.seed, sequence))
            atomic_store(&s->tail, intent);
        else
            memset(segment.memory + at, 0, end - at);
    }
    atomic_store(&s->intent, 0);
    naru__segment_close(&segment);
}

/* ---- recovery: the world is another ---- */

struct recovery {
    const struct naru_object *o;
    uint64_t surely;   /* sequence up to which the medium had all */
    uint64_t sequence; /* of the next record */
    uint64_t from;     /* the first segment that is whole */
    uint64_t segment, at;
    uint64_t cut;
    bool refused; /* the medium refused something, and may lack it */
    int synced;   /* 0: what it came by is on the medium */
};

/* Walks one segment. 1: on to the next; 0: the end is here. What had been synced and is damaged is
 * passed over: nothing of it is cut, and readers are told where they meet it. */
static int walk_segment(struct recovery *c, const struct map_segment *s, bool last)
{
    uint64_t at = NARU_SEGMENT_RECORDS_AT;
    c->segment = s->number;
    for (;;) {
        while (naru__record_check(s->memory, s->size, at, s->seed, c->sequence)) {
            const struct naru_record *r = (const void *)(s->memory + at);
            c->at = at;
            if (r->type == 0)
                return 1;
            at += naru__record_room(r->size);
            c->sequence++;
        }
        c->at = at;
        if (c->sequence > c->surely)
            return 0;
        uint64_t next = naru__record_search(s->memory, s->size, at, s->seed, c->sequence - 1);
        if (next == 0)
            return !last;
        at = next;
        c->sequence = ((const struct naru_record *)(const void *)(s->memory + at))->sequence;
    }
}

/* The bytes behind the end, which have to be zeroes again. */
static uint64_t cut_off(struct map_segment *s, uint64_t at)
{
    uint64_t end = naru__segment_used(s->memory, at, s->size);
    if (end > at)
        memset(s->memory + at, 0, end - at);
    return end - at;
}

static void note_sync(struct recovery *c, int code)
{
    if (c->synced == 0)
        c->synced = code;
}

/* 1: there is nothing, and nothing has to be. */
static int walk_all(struct recovery *c, uint64_t from, uint64_t last)
{
    struct map_segment s = {.fd = NARU__NO_FD};
    int r = 1;
    uint64_t number = from;
    for (; r == 1 && number <= last; number++) {
        r = naru__segment_open(c->o, number, true, &s);
        if (r < 0 && c->segment == 0 && (number < last || c->surely == 0) &&
            naru__segment_lost(c->o, number, c->surely, r)) {
            char name[32];
            naru__segment_name(name, number);
            c->cut += naru__os_unlink_at(c->o->directory, name) == 0;
            from = number + 1;
            r = 1;
            continue;
        }
        if (r == -ENOENT || r == -EPROTO) { /* it never came to the medium whole */
            r = 0;
            break;
        }
        if (r < 0)
            return r;
        if (number == from) {
            c->sequence = s.first;
            c->from = from;
        }
        if (s.first > c->sequence && c->sequence <= c->surely)
            c->sequence = s.first; /* what is between is damaged */
        if (s.first != c->sequence) {
            naru__segment_close(&s);
            r = 0;
            break;
        }
        r = walk_segment(c, &s, number == last);
        if (r == 0)
            c->cut += cut_off(&s, c->at);
        note_sync(c, c->refused ? naru__segment_copy(c->o, &s) : naru__os_sync_data(s.fd));
        naru__segment_close(&s);
    }
    if (c->segment == 0 && number > last)
        return 1;
    for (; number <= last && c->segment; number++) { /* what would follow a hole */
        char name[32];
        if (number == c->segment)
            continue;
        naru__segment_name(name, number);
        if (naru__os_unlink_at(c->o->directory, name) == 0)
            c->cut++;
    }
    return 0;
}

/* Nothing of it came to the medium. It goes on, empty, behind every sequence that was used. */
static int begin_anew(struct recovery *c, uint64_t number)
{
    enum { SEQUENCE_BITS = 48 }; /* see naru_cursor_entry */
    struct naru_journal_state *s = state_of(c->o);
    struct map_segment segment = {.fd = NARU__NO_FD};
    uint64_t used = atomic_load(&s->ceiling), committed = atomic_load(&s->committed);
    used = committed > used ? committed : used;
    if (used + 1 >= UINT64_C(1) << SEQUENCE_BITS)
        return naru__fail(-EPROTO,
                          "%s: nothing of it came to the medium, and it would go on with message "
                          "%" PRIu64 ", which is too high: its meta is damaged",
                          c->o->url, used + 1);
    int r = naru__segment_make(c->o, number, used + 1, c->o->meta.option[NARU_JOURNAL_SEGMENT],
                               &segment);
    if (r < 0)
        return r;
    note_sync(c, naru__os_sync_all(segment.fd));
    naru__segment_close(&segment);
    c->segment = c->from = number;
    c->at = NARU_SEGMENT_RECORDS_AT;
    c->sequence = used + 1;
    return 0;
}

static int recover(struct map_journal *e)
{
    struct naru_journal_state *s = e->state;
    uint64_t first = 1, last = 0;
    int r = naru__segment_range(e->object.directory, &first, &last);
    if (r < 0 && (r != -ENOENT || atomic_load(&s->durable)))
        return naru__fail(-EPROTO, "%s has no segments: %s", e->object.url, naru__errno_text(r));
    uint64_t from = atomic_load(&s->durable_at);
    struct recovery c = {.o = &e->object,
                         .surely = atomic_load(&s->durable),
                         .refused = atomic_load(&s->failed) != 0};
    if (c.surely == 0 || from < first || from > last)
        from = first;
    r = walk_all(&c, from, last);
    if (r == 1)
        r = begin_anew(&c, last + 1);
    if (r < 0)
        return r;
    if (c.segment == 0)
        return naru__fail(-EPROTO, "%s: the segment %" PRIu64 " is damaged; naru verify tells",
                          e->object.url, from);
    uint64_t committed = c.sequence - 1;
    atomic_store(&s->tail, naru__place(c.segment, c.at));
    atomic_store(&s->intent, 0);
    atomic_store(&s->oldest, c.from > from ? c.from : first);
    atomic_store(&s->committed, committed);
    naru__spares_clean(&e->object);
    note_sync(&c, naru__os_sync_all(e->object.directory));
    if (c.synced < 0) /* nobody knows more than before */
        atomic_store(&s->durable, c.surely < committed ? c.surely : committed);
    else
        atomic_store(&s->durable, committed);
    atomic_store(&s->durable_at, c.synced < 0 ? from : c.segment);
    uint64_t failures = (atomic_load(&s->failed) >> 16) + 1;
    atomic_store(&s->failed, c.synced < 0 ? failures << 16 | (uint64_t)-c.synced : 0);
    atomic_store(&s->flush, 0);
    atomic_store(&s->cut, c.cut);
    atomic_store(&s->cut_at, naru__place(c.segment, c.at));
    atomic_fetch_add(&s->recoveries, 1);
    return naru__cursors_recover(&e->object, committed);
}

/* Of a process that dies the kernel frees the member's lock first, and this one a moment later. */
static int take_part(struct map_journal *e, struct naru_wait *w)
{
    int r;
    do
        r = naru__object_hold(&e->object, NARU_JOURNAL_KNOWS_LOCKS + e->object.member, &e->knows);
    while (r == -EAGAIN && (r = naru__wait_tick(w)) == 0);
    if (r == -ENOENT)
        return naru__object_removed_fail(&e->object);
    return r < 0 ? naru__fail(r, "%s: taking part failed: %s%s", journal_name(e),
                              naru__errno_text(r), naru__limit_of_files(r).text)
                 : 0;
}

static int settle(struct map_journal *e)
{
    enum { PATIENCE = 10 };
    struct naru_wait w =
        naru__wait_begin(&e->channel.handle, NARU_OUT, naru__now() + PATIENCE * NARU_S);
    int r = naru__journal_lock(e, &e->state->append, NARU_SLEEP_APPEND, &w);
    if (r < 0)
        return r;
    bool refused = atomic_load(&e->state->failed) && !others_know(&e->object);
    if (refused || !naru__journal_is_right(&e->object)) {
        r = recover(e);
        if (r == 0)
            atomic_store(&e->state->world, naru__os_world(e->object.file));
    }
    if (r == 0)
        r = take_part(e, &w);
    naru__journal_unlock(e, &e->state->append, NARU_SLEEP_APPEND);
    return r;
}

/* ---- naru_fd ---- */

static int make_doorbell(struct map_journal *e)
{
    int r = naru__object_doorbell(&e->object, &e->doorbell);
    if (r < 0)
        return r;
    e->deaths = naru__os_watch_closes(e->object.file); /* or none: then it looks by itself */
    atomic_fetch_or(&e->state->by_socket[e->object.member / 64], bit(e->object.member));
    return 0;
}

static int journal_watch(struct naru_handle *h, int events, struct naru_watch *ret_watch)
{
    struct map_journal *e = (struct map_journal *)h;
    _Atomic uint64_t *word = &e->state->asleep[NARU_SLEEP_MESSAGE][e->object.member / 64];
    unsigned n = 0;
    if (e->doorbell < 0) {
        int r = make_doorbell(e);
        if (r < 0)
            return r;
    }
    if (events & NARU_IN && !(atomic_load(word) & bit(e->object.member))) {
        naru__os_drain(e->doorbell);
        atomic_fetch_or(word, bit(e->object.member));
    }
    ret_watch->fds[n++] = (struct pollfd){.fd = e->doorbell, .events = POLLIN};
    if (e->deaths >= 0) {
        naru__os_drain(e->deaths);
        ret_watch->fds[n++] = (struct pollfd){.fd = e->deaths, .events = POLLIN};
    } else if (!alone(e)) {
        ret_watch->again = naru__now() + TICK_MS * NARU_MS;
    }
    ret_watch->n = n;
    if (e->due && (ret_watch->again == NARU__NEVER || e->due < ret_watch->again))
        ret_watch->again = e->due;
    return 0;
}

/* Of a sender that syncs every so often, only that it is due. */
static bool journal_ready(struct naru_handle *h, int events)
{
    struct map_journal *e = (struct map_journal *)h;
    if (naru__object_removed(&e->object))
        return true;
    if (e->due && naru__now() >= e->due)
        return true; /* the next call pays */
    if (events & NARU_OUT && e->sync <= 0)
        return true; /* a journal is never full */
    return events & NARU_IN && naru__journal_come(e);
}

static void journal_stats(struct naru_handle *h, struct naru_stats *stats)
{
    const struct map_journal *e = (const struct map_journal *)h;
    stats->capacity = e->object.meta.option[NARU_JOURNAL_SEGMENT];
}

/* ---- the handle ---- */

static int journal_wait_peers(naru_channel *channel, unsigned n, int64_t deadline)
{
    struct map_journal *e = journal_of(channel);
    struct naru_wait w = naru__wait_begin(&channel->handle, NARU_OUT, deadline);
    uint32_t role = channel->handle.directions & NARU_OUT ? MAP_RECV : MAP_SEND;
    for (;;) {
        unsigned there = 0;
        uint32_t records = naru__object_members(&e->object);
        int r = naru__journal_check(e);
        for (uint32_t i = 0; i < records; i++)
            there += i != e->object.member &&
                     naru__member_role(atomic_load(&e->object.members[i].who)) & role &&
                     !naru__object_died(&e->object, i);
        if (r < 0 || there >= n)
            return r;
        r = naru__wait_tick(&w);
        if (r == -ETIMEDOUT || r == -EAGAIN)
            return naru__fail(r, "%s: %u of %u %s are there", journal_name(e), there, n,
                              role == MAP_RECV ? "receivers" : "senders");
        if (r < 0)
            return r;
    }
}

static void journal_free(struct map_journal *e)
{
    bool owner = naru__is_owner(&e->channel.handle);
    if (owner && e->joined && e->due)
        (void)naru__journal_pay(e, naru__now());
    naru__cursor_close(e, owner);
    naru__out_close(e, owner);
    if (e->object.generation && owner) {
        uint32_t me = e->object.member;
        for (int set = 0; set < NARU_SLEEP_SETS; set++)
            atomic_fetch_and(&e->state->asleep[set][me / 64], ~bit(me));
        if (e->doorbell >= 0) {
            atomic_fetch_and(&e->state->by_socket[me / 64], ~bit(me));
            naru__object_no_doorbell(&e->object, me);
        }
    }
    naru__os_life_drop(&e->knows); /* first: who comes next as this member takes both */
    if (owner)
        naru__object_leave(&e->object);
    naru__os_close(e->doorbell);
    naru__os_close(e->deaths);
    naru__object_close(&e->object);
    naru__handle_deinit(&e->channel.handle);
    free(e->taken);
    free(e->stage);
    free(e);
}

static void journal_close(naru_channel *channel, bool owner)
{
    (void)owner;
    journal_free(journal_of(channel));
}

static const struct naru_handle_ops handle_ops = {
    .size = sizeof handle_ops,
    .watch = journal_watch,
    .ready = journal_ready,
    .stats = journal_stats,
};

static const struct naru_channel_ops channel_ops = {
    .size = sizeof channel_ops,
    .send = naru__journal_send,
    .send_many = naru__journal_send_many,
    .take = naru__journal_take,
    .take_ready = naru__journal_take_ready,
    .recv = naru__journal_recv,
    .release = naru__journal_release,
    .give_back = naru__journal_give_back,
    .flush = naru__journal_flush,
    .wait_peers = journal_wait_peers,
    .close = journal_close,
};

/* ---- opening ---- */

struct options {
    bool topic;
    int role;
    unsigned flags, max_taken;
    mode_t mode;
    const struct naru_journal_options *journal;
    uint64_t option[16];
};

static int agree(const struct naru_object *o, void *arg)
{
    static const char *const name[] = {[NARU_JOURNAL_SEGMENT] = "capacity",
                                       [NARU_JOURNAL_MAX_MESSAGE] = "max_message",
                                       [NARU_JOURNAL_KEEP_BYTES] = "keep_bytes",
                                       [NARU_JOURNAL_KEEP_TIME] = "keep_time",
                                       [NARU_JOURNAL_KEEP_READ] = "keep_unread"};
    const struct options *want = arg;
    for (size_t i = NARU_JOURNAL_SEGMENT; i <= NARU_JOURNAL_KEEP_READ; i++)
        if (want->option[i] && want->option[i] != o->meta.option[i])
            return naru__fail(-EEXIST,
                              "%s was made with .%s = %" PRIu64 ", and %" PRIu64
                              " is asked for: leave it 0 to take it as it is",
                              o->url, name[i], o->meta.option[i], want->option[i]);
    return 0;
}

static int make(struct naru_object *o, void *arg)
{
    struct naru_journal_state *s = state_of(o);
    struct map_segment first = {.fd = NARU__NO_FD};
    (void)arg;
    int r = naru__segment_make(o, 1, 1, o->meta.option[NARU_JOURNAL_SEGMENT], &first);
    if (r < 0)
        return r;
    atomic_store(&s->tail, naru__place(1, NARU_SEGMENT_RECORDS_AT));
    atomic_store(&s->durable_at, 1);
    atomic_store(&s->oldest, 1);
    atomic_store(&s->world, naru__os_world(o->file));
    atomic_store(&s->ceiling, NARU_JOURNAL_CEILING);
    atomic_store(&s->ceiling_kept, NARU_JOURNAL_CEILING);
    /* all of it is on the medium before it has a name: so no loss of power leaves half of one */
    r = naru__os_sync_all(first.fd);
    naru__segment_close(&first);
    if (r == 0)
        r = naru__os_sync_all(o->file);
    if (r == 0)
        r = naru__os_sync_all(o->directory);
    return r < 0 ? naru__fail(r, "%s: syncing it, new as it is, failed: %s", o->url,
                              naru__errno_text(r))
                 : 0;
}

static int join(struct map_journal *e, const struct options *o)
{
    uint32_t role = (o->role & NARU_RECV ? MAP_RECV : 0u) | (o->role & NARU_SEND ? MAP_SEND : 0u);
    int r = naru__object_join(&e->object, clean);
    if (r < 0)
        return r;
    e->channel.handle.word[0] = &e->object.members[e->object.member].bell[0];
    e->channel.handle.word[1] = &e->object.members[e->object.member].bell[1];
    naru__object_appear(&e->object, MAP_OPENING); /* so that a death here is cleaned up after */
    r = naru__object_collect(&e->object, clean);
    if (r >= 0)
        r = settle(e);
    if (r == 0) {
        e->joined = true;
        e->failures = atomic_load(&e->state->failed) >> 16;
        if (o->role & NARU_SEND) /* relaxed: it is for looking at alone */
            atomic_store_explicit(&e->object.members[e->object.member].kind[MAP_TOLD_SYNC],
                                  (uint64_t)e->sync, memory_order_relaxed);
        if (o->role & NARU_RECV)
            r = naru__cursor_open(e, o->journal);
    }
    if (r == 0) /* now: who waits for a receiver sends what this one has to see */
        naru__object_appear(&e->object, role);
    if (r == 0 && naru__object_removed(&e->object))
        r = -EAGAIN; /* between finding it and joining it: find the next */
    if (r == 0)      /* whoever sleeps alone is alone no more */
        for (uint32_t i = 0; i < naru__object_members(&e->object); i++)
            if (i != e->object.member)
                ring(&e->object, i, 0);
    return r;
}

static int open_once(const struct naru_url *url, const struct options *o, naru_channel **ret_c)
{
    struct naru_object_want want = {.what = NARU_OBJECT_JOURNAL,
                                    .signature = NARU_JOURNAL_VERSION,
                                    .members_max = NARU_JOURNAL_MEMBERS,
                                    .flags = o->flags,
                                    .mode = o->mode,
                                    .make = make,
                                    .agree = agree,
                                    .arg = (void *)(uintptr_t)o};
    memcpy(want.option, o->option, sizeof want.option);
    if (!want.option[NARU_JOURNAL_SEGMENT])
        want.option[NARU_JOURNAL_SEGMENT] = SEGMENT;
    (void)naru__os_random(&want.option[NARU_JOURNAL_SEED], sizeof want.option[0]);
    struct map_journal *e = naru__alloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    e->object = NARU_OBJECT_NONE;
    e->doorbell = e->deaths = e->out.fd = NARU__NO_FD;
    int r = naru__handle_init(&e->channel.handle, NARU__CHANNEL, &handle_ops, url->text,
                              (o->role & NARU_RECV ? NARU_IN : 0) |
                                  (o->role & NARU_SEND ? NARU_OUT : 0));
    if (r < 0) {
        free(e);
        return r;
    }
    e->channel.ops = &channel_ops;
    e->channel.selects = true;
    e->channel.max_name = ".max_message of the journal";
    e->channel.max_taken = o->max_taken ? o->max_taken : NARU_CURSOR_WINDOW / 2;
    if (e->channel.max_taken > NARU_CURSOR_WINDOW / 2)
        e->channel.max_taken = NARU_CURSOR_WINDOW / 2;
    e->topic = o->topic;
    e->sync = o->journal->sync;
    e->skip = o->journal->skip;
    e->taken = naru__alloc(e->channel.max_taken * sizeof *e->taken);
    r = e->taken ? naru__object_open(url, &want, &e->object) : -ENOMEM;
    if (r == 0) {
        e->object.url = e->channel.handle.name;
        e->state = state_of(&e->object);
        e->new_directory = e->object.created;
        e->channel.max_message = e->object.meta.option[NARU_JOURNAL_MAX_MESSAGE]
                                     ? e->object.meta.option[NARU_JOURNAL_MAX_MESSAGE]
                                     : NARU_MESSAGE_MAX;
        r = join(e, o);
    }
    if (r < 0) {
        journal_free(e);
        return r;
    }
    *ret_c = &e->channel;
    return 0;
}

static int check(const struct naru_url *url, const struct options *o)
{
    uint64_t segment = o->option[NARU_JOURNAL_SEGMENT];
    if (url->rest[0] != '/')
        return naru__fail(-EINVAL, "%s: a journal is named by an absolute path, as map:/dir",
                          url->text);
    if (segment && (segment < SEGMENT_LEAST || segment > NARU_MESSAGE_MAX))
        return naru__fail(-EINVAL,
                          "%s: .capacity, a segment's bytes, is %s, and has to be from 64 KiB to "
                          "1 GiB",
                          url->text, naru__size_text(segment).text);
    if (o->journal->sync < NARU_SYNC_EACH || o->journal->keep_time < 0 || o->journal->since < 0)
        return naru__fail(-EINVAL, "%s: .sync, .keep_time or .since is below 0", url->text);
    return 0;
}

static int open_journal(const struct naru_url *url, const struct options *o, naru_channel **ret_c)
{
    enum { TRIES = 100 };
    int r = check(url, o);
    if (r < 0)
        return r;
    r = -EAGAIN;
    for (int i = 0; i < TRIES && (r == -EAGAIN || r == -EIDRM); i++)
        r = open_once(url, o, ret_c);
    return r == -EAGAIN || r == -EIDRM
               ? naru__fail(-EBUSY, "%s is made and removed all the time by others", url->text)
               : r;
}

static const struct naru_journal_options none = {.size = sizeof none};

static void take_options(struct options *o, const struct naru_journal_options *j, size_t segment,
                         size_t max_message)
{
    o->journal = j ? j : &none;
    o->option[NARU_JOURNAL_SEGMENT] = (segment + 4095) / 4096 * 4096;
    o->option[NARU_JOURNAL_MAX_MESSAGE] = max_message;
    o->option[NARU_JOURNAL_KEEP_BYTES] = o->journal->keep_bytes;
    o->option[NARU_JOURNAL_KEEP_TIME] = (uint64_t)o->journal->keep_time;
    o->option[NARU_JOURNAL_KEEP_READ] = o->journal->keep_unread != 0;
}

static int queue_open(const struct naru_url *url, int role, const struct naru_queue_options *o,
                      naru_channel **ret_c)
{
    struct options want = {
        .role = role, .flags = o->flags, .max_taken = o->max_taken, .mode = o->mode};
    if (o->messages || o->receivers)
        return naru__fail(-EOPNOTSUPP, "%s: a journal has no bound on .messages or .receivers",
                          url->text);
    take_options(&want, o->journal, o->capacity, o->max_message);
    return open_journal(url, &want, ret_c);
}

static int topic_open(const struct naru_url *url, int role, const struct naru_topic_options *o,
                      naru_channel **ret_c)
{
    struct options want = {
        .topic = true, .role = role, .flags = o->flags, .max_taken = o->max_taken, .mode = o->mode};
    if (o->history || o->lossy)
        return naru__fail(-EOPNOTSUPP,
                          "%s: a journal keeps all, and holds no publisher back: .history and "
                          ".lossy have no meaning; see .from of naru_journal_options",
                          url->text);
    take_options(&want, o->journal, o->capacity, o->max_message);
    return open_journal(url, &want, ret_c);
}

const struct naru_transport naru__map_transport = {
    .size = sizeof naru__map_transport,
    .scheme = "map",
    .queue_open = queue_open,
    .topic_open = topic_open,
    .remove = naru__object_remove,
};
