/* SPDX-License-Identifier: MIT */
/* read.c - the receiving half of a journal: cursors, and messages in place.
 *
 * A cursor's entries say what became of each message from `base` to `next`; receivers that share it
 * take turns by its lock. Every step is one store that counts: an entry's place comes before its
 * word, the word before `next`, so a receiver that dies anywhere leaves a cursor that is right.
 * What it had taken is returned by whoever cleans up after it. A cursor without a name is the same
 * in this process's own memory.
 *
 * Only the receiving thread comes here, but to naru__journal_come, which reads words alone. */
#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/map.h"
#include "os/socket.h"
#include "os/sync.h"
#include "transport/map/map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    FIND_TRIES = 100, /* while others trim */
    STREAM_LOOKS = 4  /* after one that found several messages */
};

static const char prefix[] = NARU_CURSOR_PREFIX;

/* ---- entries ---- */

static uint64_t word_of(uint64_t sequence, uint32_t member, enum naru_claim claim)
{
    return sequence << 16 | (uint64_t)member << 4 | claim;
}

static struct naru_cursor_entry *entry_of(struct naru_cursor_file *c, uint64_t sequence)
{
    return &c->entry[sequence % NARU_CURSOR_WINDOW];
}

/* What became of it; what the entries do not tell has been trimmed. */
static enum naru_claim claim_of(struct naru_cursor_file *c, uint64_t sequence)
{
    uint64_t word = atomic_load(&entry_of(c, sequence)->word);
    return word >> 16 == sequence ? (enum naru_claim)(word & 15) : NARU_CLAIM_DONE;
}

static void advance(struct naru_cursor_file *c)
{
    uint64_t was = atomic_load(&c->base), base = was;
    uint64_t next = atomic_load(&c->next), lowest = next;
    if (next - base > NARU_CURSOR_WINDOW) { /* it went far: only what entries tell is left */
        for (uint32_t i = 0; i < NARU_CURSOR_WINDOW; i++) {
            uint64_t word = atomic_load(&c->entry[i].word), s = word >> 16;
            if (s >= base && s < lowest && (word & 15) != NARU_CLAIM_DONE &&
                entry_of(c, s) == &c->entry[i])
                lowest = s;
        }
        base = lowest;
    } else {
        while (base < next && claim_of(c, base) == NARU_CLAIM_DONE)
            base++;
    }
    if (base != was)
        atomic_store(&c->base, base);
}

/* On to that sequence. Whoever dies at it leaves none or the right place. */
static void seek(struct naru_cursor_file *c, uint64_t sequence, uint64_t place)
{
    atomic_store(&c->place, 0);
    atomic_store(&c->next, sequence);
    atomic_store(&c->place, place);
}

/* ... and nothing before it is waited for. */
static void begin_at(struct naru_cursor_file *c, uint64_t sequence, uint64_t place)
{
    seek(c, sequence, place);
    atomic_store(&c->base, sequence);
}

/* How many of that member's came back. */
static uint64_t give_up(struct naru_cursor_file *c, uint32_t member)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < NARU_CURSOR_WINDOW; i++) {
        uint64_t word = atomic_load(&c->entry[i].word);
        if ((word & 0xffff) != (word_of(0, member, NARU_CLAIM_TAKEN) & 0xffff))
            continue;
        if (word >> 16 >= atomic_load(&c->next)) { /* died at taking it: it never left */
            atomic_compare_exchange_strong(&c->entry[i].word, &word, 0);
            continue;
        }
        atomic_fetch_add(&c->open, 1); /* before it is: the count is never too small */
        if (atomic_compare_exchange_strong(&c->entry[i].word, &word,
                                           word_of(word >> 16, 0, NARU_CLAIM_RETURNED)))
            n++;
        else
            atomic_fetch_sub(&c->open, 1);
    }
    if (n)
        atomic_fetch_add(&c->returned, n);
    return n;
}

/* ---- files ---- */

static int map_cursor(const struct naru_object *o, const char *name, struct naru_cursor_file **ret)
{
    struct stat st;
    void *memory;
    int fd = naru__os_open_at(o->directory, name, O_RDWR | O_NOFOLLOW);
    if (fd < 0)
        return fd;
    int r = naru__os_fstat(fd, &st);
    if (r == 0 && (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof(struct naru_cursor_file)))
        r = S_ISREG(st.st_mode) ? -ENOENT : -EPROTO; /* too short: it never came to be */
    if (r == 0)
        r = naru__os_map(fd, sizeof(struct naru_cursor_file), true, &memory);
    naru__os_close(fd);
    if (r < 0)
        return r;
    struct naru_cursor_file *c = memory;
    uint64_t magic = __atomic_load_n(&c->magic, __ATOMIC_ACQUIRE); /* it was made whole */
    if (magic != NARU_CURSOR_MAGIC || c->version != NARU_JOURNAL_VERSION ||
        c->window != NARU_CURSOR_WINDOW) {
        naru__os_unmap(memory, sizeof *c);
        return magic == 0 ? -ENOENT : -EPROTO;
    }
    *ret = c;
    return 0;
}

static void unmap_cursor(struct naru_cursor_file *c)
{
    naru__os_unmap(c, sizeof *c);
}

struct each {
    const struct naru_object *o;
    int (*what)(const struct naru_object *, struct naru_cursor_file *, uint64_t arg);
    uint64_t arg;
};

static int one_cursor(void *arg, const char *name)
{
    const struct each *each = arg;
    struct naru_cursor_file *c;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0 || map_cursor(each->o, name, &c) < 0)
        return 0; /* whoever opens it is told what is wrong with it */
    int r = each->what(each->o, c, each->arg);
    unmap_cursor(c);
    return r;
}

static int each_cursor(const struct naru_object *o,
                       int (*what)(const struct naru_object *, struct naru_cursor_file *, uint64_t),
                       uint64_t arg)
{
    struct each each = {o, what, arg};
    return naru__os_list(o->directory, true, one_cursor, &each);
}

static int clean_one(const struct naru_object *o, struct naru_cursor_file *c, uint64_t member)
{
    uint32_t owner = (uint32_t)member + 1, user = owner;
    (void)o;
    (void)give_up(c, (uint32_t)member);
    (void)atomic_compare_exchange_strong(&c->lock, &owner, 0);
    (void)atomic_compare_exchange_strong(&c->user, &user, 0);
    return 0;
}

int naru__cursors_clean(const struct naru_object *o, uint32_t member)
{
    int r = each_cursor(o, clean_one, member);
    return r < 0 ? naru__fail(r, "%s: cleaning up after participant %" PRIu32 ": %s", o->url,
                              member, naru__errno_text(r))
                 : 0;
}

static int recover_one(const struct naru_object *o, struct naru_cursor_file *c, uint64_t last)
{
    uint64_t base = atomic_load(&c->base), place;
    if (base > last + 1)
        base = last + 1;
    if (base == 0)
        base = 1;
    int r = naru__journal_find(o, base, &place, &base);
    if (r < 0)
        return r;
    atomic_store(&c->again, last + 1); /* nobody knows who had what of it */
    for (uint32_t i = 0; i < NARU_CURSOR_WINDOW; i++)
        atomic_store(&c->entry[i].word, 0);
    atomic_store(&c->open, 0);
    atomic_store(&c->lock, 0);
    atomic_store(&c->user, 0);
    begin_at(c, base, place);
    return 0;
}

int naru__cursors_recover(const struct naru_object *o, uint64_t last)
{
    return each_cursor(o, recover_one, last);
}

static int lowest_one(const struct naru_object *o, struct naru_cursor_file *c, uint64_t arg)
{
    uint64_t *lowest = (uint64_t *)(uintptr_t)arg, base = atomic_load(&c->base);
    (void)o;
    *lowest = base < *lowest ? base : *lowest;
    return 0;
}

uint64_t naru__cursors_lowest(const struct naru_object *o)
{
    uint64_t lowest = UINT64_MAX;
    (void)each_cursor(o, lowest_one, (uint64_t)(uintptr_t)&lowest);
    return lowest;
}

/* ---- opening ---- */

/* What nobody else can see is told. */
static void advance_all(struct map_journal *e)
{
    advance(e->cursor);
    if (e->own_cursor) /* release: pairs with the acquire in all_passed() */
        atomic_store_explicit(&e->object.members[e->object.member].kind[MAP_TOLD_BASE],
                              atomic_load(&e->cursor->base), memory_order_release);
}

static int first_place(struct map_journal *e, const struct naru_journal_options *j,
                       struct naru_cursor_file *c)
{
    uint64_t place, sequence;
    int r = -EAGAIN;
    for (int tries = 0; tries < FIND_TRIES && r == -EAGAIN; tries++) {
        if (j->since)
            r = naru__journal_find_time(&e->object, j->since, &place, &sequence);
        else
            r = naru__journal_find(&e->object,
                                   j->from    ? j->from
                                   : e->topic ? atomic_load(&e->state->committed) + 1
                                              : NARU_FROM_OLDEST,
                                   &place, &sequence);
    }
    if (r == 0)
        begin_at(c, sequence, place);
    return r;
}

static void describe(const struct map_journal *e, struct naru_cursor_file *c)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    c->version = NARU_JOURNAL_VERSION;
    c->window = NARU_CURSOR_WINDOW;
    c->topic = e->topic;
    c->created = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    /* release: pairs with the acquire in map_cursor() */
    __atomic_store_n(&c->magic, NARU_CURSOR_MAGIC, __ATOMIC_RELEASE);
}

/* Under the senders' lock: so nobody else makes it meanwhile. */
static int make_cursor(struct map_journal *e, const struct naru_journal_options *j)
{
    void *memory;
    int r = naru__os_unlink_at(e->object.directory, e->cursor_name);
    if (r < 0 && r != -ENOENT)
        return naru__fail(r, "%s: removing the half-made %s failed: %s", journal_name(e),
                          e->cursor_name, naru__errno_text(r));
    int fd = naru__object_file(&e->object, e->cursor_name, sizeof(struct naru_cursor_file));
    if (fd < 0)
        return fd;
    r = naru__os_map(fd, sizeof(struct naru_cursor_file), true, &memory);
    if (r == 0) {
        e->cursor = memory;
        r = first_place(e, j, e->cursor);
    } else {
        naru__fail(r, "%s: %s cannot be mapped: %s", journal_name(e), e->cursor_name,
                   naru__errno_text(r));
    }
    if (r == 0) {
        describe(e, e->cursor);
        if ((r = naru__os_sync_all(fd)) < 0 || (r = naru__os_sync_all(e->object.directory)) < 0)
            naru__fail(r, "%s: syncing %s failed: %s", journal_name(e), e->cursor_name,
                       naru__errno_text(r));
    }
    naru__os_close(fd);
    return r;
}

static int named_cursor(struct map_journal *e, const struct naru_journal_options *j)
{
    enum { PATIENCE = 10 };
    struct naru_wait w =
        naru__wait_begin(&e->channel.handle, NARU_OUT, naru__now() + PATIENCE * NARU_S);
    int r = naru__journal_lock(e, &e->state->append, NARU_SLEEP_APPEND, &w);
    if (r < 0)
        return r;
    r = map_cursor(&e->object, e->cursor_name, &e->cursor);
    if (r == -ENOENT)
        r = make_cursor(e, j);
    else if (r < 0)
        naru__fail(r, "%s: %s is refused: %s", journal_name(e), e->cursor_name,
                   r == -EPROTO ? "it is no cursor of this version" : naru__errno_text(r));
    naru__journal_unlock(e, &e->state->append, NARU_SLEEP_APPEND);
    return r;
}

/* A topic's cursor is one subscriber's. Of a dead one, as soon as somebody has cleaned up. */
static int claim_cursor(struct map_journal *e)
{
    struct naru_wait w = naru__wait_begin(&e->channel.handle, NARU_IN, naru__now() + 2 * NARU_S);
    uint32_t user = 0;
    int r = 0;
    if (!e->topic)
        return 0;
    while (r >= 0) {
        user = 0;
        if (atomic_compare_exchange_strong(&e->cursor->user, &user, e->object.member + 1) ||
            naru__journal_take_from_nobody(e, &e->cursor->user, user))
            return 0;
        if (naru__journal_takes_part(e, user - 1))
            break;
        r = naru__journal_collect(e);
        if (r >= 0)
            r = naru__wait_tick(&w);
    }
    char program[32] = "";
    uint32_t pid = naru__journal_pid(e, user);
    naru__os_program_of((pid_t)pid, program, sizeof program);
    return naru__fail(-EBUSY, "%s: the cursor %s is process %" PRIu32 "'s (%s)", journal_name(e),
                      e->cursor_name + sizeof prefix - 1, pid, program);
}

static int check_name(const struct map_journal *e, const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (name[n] == '\0' && n >= 1 && n <= 64)
        return 0;
    return naru__fail(-EINVAL,
                      "%s: the cursor's name \"%.80s\" has not 1 to 64 of A-Z, a-z, 0-9, '.', '_' "
                      "and '-'",
                      journal_name(e), name);
}

int naru__cursor_open(struct map_journal *e, const struct naru_journal_options *j)
{
    const char *name = j->cursor ? j->cursor : e->topic ? NULL : "default";
    if (!name) {
        e->own_cursor = true;
        e->cursor = naru__alloc(sizeof *e->cursor);
        if (!e->cursor)
            return -ENOMEM;
        describe(e, e->cursor);
        int r = first_place(e, j, e->cursor);
        if (r == 0)
            advance_all(e);
        return r;
    }
    int r = check_name(e, name);
    if (r < 0)
        return r;
    snprintf(e->cursor_name, sizeof e->cursor_name, "%s%s", prefix, name);
    r = named_cursor(e, j);
    return r < 0 ? r : claim_cursor(e);
}

void naru__cursor_close(struct map_journal *e, bool owner)
{
    if (e->cursor && e->own_cursor)
        free(e->cursor);
    else if (e->cursor) {
        uint32_t user = e->object.member + 1;
        if (owner && e->object.generation) {
            uint64_t back = give_up(e->cursor, e->object.member);
            (void)atomic_compare_exchange_strong(&e->cursor->user, &user, 0);
            if (back)
                naru__journal_wake(&e->object, NARU_SLEEP_MESSAGE, true);
        }
        unmap_cursor(e->cursor);
    }
    e->cursor = NULL;
    for (unsigned i = 0; i < MAP_SEGMENTS; i++)
        naru__segment_close(&e->in[i]);
}

/* ---- finding a record ---- */

/* What lies before the cursor's base nobody looks at again, and a sender may have the file. (By a
 * wrong guess, where others move the cursor, it is opened again.) */
static void let_go(struct map_journal *e)
{
    struct naru_cursor_file *c = e->cursor;
    uint64_t base = atomic_load(&c->base), place = 0, current = naru__place_segment(e->hint_place);
    struct naru_cursor_entry *entry = entry_of(c, base);
    if (atomic_load(&entry->word) >> 16 == base)
        place = atomic_load(&entry->place);
    else if (e->hint_next == base)
        place = e->hint_place;
    e->behind = false;
    for (unsigned i = 0; i < MAP_SEGMENTS; i++) {
        struct map_segment *s = &e->in[i];
        if (!s->number || s->number == MAP_LET_GO)
            continue;
        if (s->number < naru__place_segment(place) && s->users == 0) {
            (void)naru__os_unlock(s->fd, NARU_SEGMENT_READ);
            s->fd = naru__os_close(s->fd);
            s->number = MAP_LET_GO;
        } else if (s->number < current) {
            e->behind = true;
        }
    }
}

/* -ENOENT without a sentence: it has been trimmed. */
static int see_segment(struct map_journal *e, uint64_t number, struct map_segment **ret_s)
{
    struct map_segment *oldest = NULL, opened = {.fd = NARU__NO_FD};
    for (unsigned i = 0; i < MAP_SEGMENTS; i++) {
        struct map_segment *s = &e->in[i];
        if (s->number == number) {
            s->used = ++e->takes;
            *ret_s = s;
            return 0;
        }
        if (s->users == 0 && (!oldest || s->used < oldest->used))
            oldest = s;
    }
    if (!oldest)
        return naru__fail(-ENOBUFS, "%s: messages of %d segments are not released yet",
                          journal_name(e), MAP_SEGMENTS);
    int r = naru__segment_open(&e->object, number, false, &opened);
    if (r < 0)
        return r;
    naru__segment_adopt(&opened, e->in, MAP_SEGMENTS);
    naru__segment_close(oldest);
    *oldest = opened;
    oldest->used = ++e->takes;
    e->behind = true;
    *ret_s = oldest;
    return 0;
}

struct found {
    struct map_segment *segment;
    const struct naru_record *record;
    uint64_t place;
    uint32_t size, type; /* read once: what the record says may change under hostile hands */
};

static int damaged(const struct map_journal *e, uint64_t sequence, uint64_t place)
{
    return naru__fail(-EPROTO,
                      "%s: message %" PRIu64 " is damaged, in segment %" PRIu64 " at byte %" PRIu64
                      "; naru verify tells what is readable behind it, and .skip passes over it",
                      journal_name(e), sequence, naru__place_segment(place),
                      naru__place_offset(place));
}

/* The record with that sequence, from that place on. -ENOENT: trimmed; -EPROTO: damaged. */
static int see_record(struct map_journal *e, uint64_t sequence, uint64_t place,
                      struct found *ret_found)
{
    for (;;) {
        struct map_segment *s;
        uint64_t at = naru__place_offset(place);
        int r = see_segment(e, naru__place_segment(place), &s);
        if (r < 0)
            return r;
        if (!naru__record_check(s->memory, s->size, at, s->seed, sequence))
            return damaged(e, sequence, place);
        const struct naru_record *record = (const void *)(s->memory + at);
        struct found f = {s, record, place, __atomic_load_n(&record->size, __ATOMIC_RELAXED),
                          __atomic_load_n(&record->type, __ATOMIC_RELAXED)};
        if (f.type > INT32_MAX || f.size > s->size - at - sizeof *record)
            return damaged(e, sequence, place);
        if (f.type != 0) {
            *ret_found = f;
            return 0;
        }
        place = naru__place(s->number + 1, NARU_SEGMENT_RECORDS_AT);
    }
}

static int place_of_next(struct map_journal *e, uint64_t next, uint64_t *ret_place)
{
    struct naru_cursor_entry *before = entry_of(e->cursor, next - 1);
    struct found f;
    uint64_t sequence;
    bool told = next > 1 && atomic_load(&before->word) >> 16 == next - 1;
    *ret_place = e->hint_next == next ? e->hint_place : told ? 0 : atomic_load(&e->cursor->place);
    if (*ret_place)
        return 0;
    if (told && see_record(e, next - 1, atomic_load(&before->place), &f) == 0) {
        *ret_place = f.place + naru__record_room(f.size);
        return 0;
    }
    int r = naru__journal_find(&e->object, next, ret_place, &sequence); /* trimmed, damaged since */
    return r == -EAGAIN || (r == 0 && sequence != next) ? -ENOENT : r;
}

/* The next whole message behind a damaged one. */
static int pass_over(struct map_journal *e, uint64_t next, uint64_t place)
{
    struct map_segment *s;
    uint64_t number = naru__place_segment(place), at = 0, to, first, last;
    uint64_t sequence = atomic_load(&e->state->committed) + 1;
    uint64_t current = naru__place_segment(atomic_load(&e->state->tail));
    int r = naru__segment_range(e->object.directory, &first, &last);
    if (r < 0)
        return naru__fail(r, "%s: listing its segments failed: %s", journal_name(e),
                          naru__errno_text(r));
    last = last < current ? last : current; /* what is there, whatever the memory says */
    r = see_segment(e, number, &s);
    if (r == 0)
        at = naru__record_search(s->memory, s->size, naru__place_offset(place), s->seed, next);
    to = at ? naru__place(number, at) : 0; /* 0: nothing is, what comes next comes behind */
    if (at)
        sequence = ((const struct naru_record *)(const void *)(s->memory + at))->sequence;
    while (to == 0 && ++number <= last && (r == 0 || r == -EPROTO || r == -ENOENT)) {
        r = see_segment(e, number, &s);
        if (r == 0 && s->first >= next) {
            sequence = s->first;
            to = naru__place(number, NARU_SEGMENT_RECORDS_AT);
        }
    }
    if (r < 0 && r != -EPROTO && r != -ENOENT)
        return r;
    if (sequence < next || (to == 0 && sequence == next))
        return damaged(e, next, place);
    e->missed += sequence - next;
    atomic_fetch_add(&e->cursor->missed, sequence - next);
    seek(e->cursor, sequence, to); /* what is before it may still be with receivers */
    e->hint_next = sequence;       /* though the entry before it leads elsewhere */
    e->hint_place = to;
    return 0;
}

/* Its segment, which it was looked for in, has gone: on to the oldest that is there. */
static int go_on(struct map_journal *e, uint64_t next, uint64_t tried)
{
    uint64_t place = tried, sequence = next;
    int r = -EAGAIN;
    for (int tries = 0; tries < FIND_TRIES && r == -EAGAIN; tries++)
        r = naru__journal_find(&e->object, next, &place, &sequence);
    /* it counts, so what is there ends before it by damage alone; and nobody goes back for ever */
    if (r == -EAGAIN || (r == 0 && (sequence < next || (sequence == next && place == tried))))
        return damaged(e, next, tried); /* it was not trimmed: others before it are there */
    if (r < 0)
        return r;
    e->missed += sequence - next;
    atomic_fetch_add(&e->cursor->missed, sequence - next);
    begin_at(e->cursor, sequence, place);
    e->hint_next = sequence;
    e->hint_place = place;
    return 0;
}

/* ---- claiming, under the cursor's lock ---- */

static void take_entry(struct map_journal *e, uint64_t sequence, uint64_t place)
{
    struct naru_cursor_entry *entry = entry_of(e->cursor, sequence);
    atomic_store(&entry->place, place);
    atomic_store(&entry->word, word_of(sequence, e->object.member, NARU_CLAIM_TAKEN));
}

/* Of what was passed over or came back, what is wanted; with -t of the lowest type. */
static int find_open(struct map_journal *e, int64_t select, uint64_t *ret_sequence,
                     struct found *ret_found)
{
    struct naru_cursor_file *c = e->cursor;
    uint64_t base = atomic_load(&c->base), next = atomic_load(&c->next);
    bool any = false;
    for (uint64_t s = base; atomic_load(&c->open) && s < next && s - base < NARU_CURSOR_WINDOW;
         s++) {
        enum naru_claim claim = claim_of(c, s);
        struct found f;
        if (claim != NARU_CLAIM_FREE && claim != NARU_CLAIM_RETURNED)
            continue;
        int r = see_record(e, s, atomic_load(&entry_of(c, s)->place), &f);
        if (r == -ENOENT || r == -EPROTO) { /* trimmed, or damaged since */
            atomic_store(&entry_of(c, s)->word, word_of(s, 0, NARU_CLAIM_DONE));
            atomic_fetch_sub(&c->open, 1);
            e->missed++;
            continue;
        }
        if (r < 0)
            return r;
        if (!naru__select_wants(select, f.type) || (any && f.type >= ret_found->type))
            continue;
        *ret_sequence = s;
        *ret_found = f;
        any = true;
        if (select >= 0)
            break;
    }
    return any ? 0 : -EAGAIN;
}

/* Goes on from `next`. -EAGAIN: there is none that is wanted. */
static int find_next(struct map_journal *e, int64_t select, uint64_t *ret_sequence,
                     struct found *ret_found)
{
    struct naru_cursor_file *c = e->cursor;
    for (;;) {
        uint64_t next = atomic_load(&c->next), base = atomic_load(&c->base);
        struct found f;
        if (next > e->known) { /* rarely looked at, see let_come() */
            e->known = e->seen.committed = atomic_load(&e->state->committed);
            e->streams = e->known > next ? STREAM_LOOKS : e->streams - (e->streams > 0);
            if (next > e->known)
                return -EAGAIN;
        }
        if (next - base >= NARU_CURSOR_WINDOW - 1) {
            e->seen.full = true;
            return -EAGAIN;
        }
        uint64_t place;
        int r = place_of_next(e, next, &place);
        if (r == 0)
            r = see_record(e, next, place, &f);
        if (r == -ENOENT && (r = go_on(e, next, place)) == 0)
            continue;
        if (r == -EPROTO && e->skip)
            r = pass_over(e, next, place);
        else if (r == 0) {
            bool wanted = naru__select_wants(select, f.type) && (select >= 0 || f.type == 1);
            struct naru_cursor_entry *entry = entry_of(c, next);
            if (!wanted)
                atomic_fetch_add(&c->open, 1);
            /* release: a death here leaves a cursor in which each was written before the next */
            atomic_store_explicit(&entry->place, f.place, memory_order_release);
            atomic_store_explicit(&entry->word,
                                  word_of(next, wanted ? e->object.member : 0,
                                          wanted ? NARU_CLAIM_TAKEN : NARU_CLAIM_FREE),
                                  memory_order_release);
            atomic_store_explicit(&c->next, next + 1, memory_order_release);
            e->hint_next = next + 1;
            e->hint_place = f.place + naru__record_room(f.size);
            if (wanted) {
                *ret_sequence = next;
                *ret_found = f;
                return 0;
            }
        }
        if (r < 0)
            return r;
    }
}

static int claim(struct map_journal *e, int64_t select, uint64_t *ret_sequence,
                 struct found *ret_found, bool *ret_again)
{
    struct naru_cursor_file *c = e->cursor;
    e->seen.committed = e->known;
    e->seen.returned = atomic_load(&c->returned);
    e->seen.full = false;
    advance(c);
    e->seen.base = atomic_load(&c->base);
    *ret_again = false;
    int r = find_open(e, select, ret_sequence, ret_found);
    if (r == -EAGAIN || (r == 0 && select < 0 && ret_found->type > 1)) {
        int r2 = find_next(e, select, ret_sequence, ret_found);
        if (r2 != -EAGAIN)
            return r2;
        if (select < 0) /* those that were passed over just now */
            r = find_open(e, select, ret_sequence, ret_found);
    }
    if (r < 0)
        return r;
    *ret_again = claim_of(c, *ret_sequence) == NARU_CLAIM_RETURNED;
    take_entry(e, *ret_sequence, ret_found->place);
    atomic_fetch_sub(&c->open, 1);
    return 0;
}

/* ---- receiving ---- */

static int lock_cursor(struct map_journal *e, struct naru_wait *w)
{
    return e->own_cursor ? 0 : naru__journal_lock(e, &e->cursor->lock, NARU_SLEEP_CURSOR, w);
}

static void unlock_cursor(struct map_journal *e)
{
    if (!e->own_cursor)
        naru__journal_unlock(e, &e->cursor->lock, NARU_SLEEP_CURSOR);
}

static struct map_taken *free_place(struct map_journal *e)
{
    unsigned n = e->channel.max_taken;
    for (unsigned i = 0; i < n; i++) {
        struct map_taken *t = &e->taken[e->taken_at];
        e->taken_at = (e->taken_at + 1) % n;
        if (!t->sequence)
            return t;
    }
    return NULL;
}

static void hand_out(struct map_journal *e, uint64_t sequence, const struct found *f, bool again,
                     struct naru_message *ret_message)
{
    struct map_taken *t = free_place(e); /* the caller has checked max_taken */
    const struct naru_record *record = f->record;
    again |= sequence < atomic_load(&e->cursor->again);
    t->sequence = sequence;
    t->segment = (unsigned)(f->segment - e->in);
    f->segment->users++;
    *ret_message =
        (struct naru_message){.data = (void *)(uintptr_t)record->data,
                              .size = f->size,
                              .info = {.type = f->type,
                                       .flags = again ? NARU_REDELIVERED : 0,
                                       .size = f->size,
                                       .sequence = record->sequence,
                                       .sender = record->sender,
                                       .missed = e->missed,
                                       .time = record->time},
                              .internal = {(uint64_t)(t - e->taken) + 1, 0,
                                           (uint64_t)(uintptr_t)&e->channel, record->signature}};
    e->missed = 0;
    if (again)
        atomic_fetch_add(&e->cursor->redelivered, 1);
    naru__count(&e->channel.handle.counts.received, 1);
    naru__count(&e->channel.handle.counts.bytes_received, f->size);
}

/* Each look at what counts takes the line from the sender, who then waits for it. So when a look
 * has found several messages, the next ones wait a little, that they may find several, too. An
 * answer, or whatever else comes alone, is met at once. */
static void let_come(const struct map_journal *e)
{
    enum { RELAXES = 24 };
    if (!e->streams || atomic_load_explicit(&e->cursor->next, memory_order_relaxed) <= e->known)
        return; /* relaxed: a guess */
    for (int i = 0; i < RELAXES; i++)
        naru__relax();
}

static int take_once(struct map_journal *e, int64_t select, struct naru_wait *w,
                     struct naru_message *ret_message)
{
    struct found f;
    uint64_t sequence;
    bool again;
    let_come(e);
    int r = lock_cursor(e, w);
    if (r < 0)
        return r;
    r = claim(e, select, &sequence, &f, &again);
    unlock_cursor(e);
    if (r == 0)
        hand_out(e, sequence, &f, again, ret_message);
    return r;
}

static bool changed(struct map_journal *e, uint64_t unused)
{
    (void)unused;
    return (!e->seen.full && atomic_load(&e->state->committed) != e->seen.committed) ||
           atomic_load(&e->cursor->returned) != e->seen.returned ||
           (e->seen.full && atomic_load(&e->cursor->base) != e->seen.base);
}

bool naru__journal_come(struct map_journal *e)
{
    struct naru_cursor_file *c = e->cursor;
    if (!c)
        return false;
    uint64_t s = atomic_load(&c->base), next = atomic_load(&c->next);
    if (atomic_load(&e->state->committed) >= next)
        return true;
    if (atomic_load(&c->open) == 0)
        return false;
    /* somebody may have died between an entry and the count */
    for (unsigned n = 0; s < next && n < NARU_CURSOR_WINDOW; s++, n++) {
        enum naru_claim claim = claim_of(c, s);
        if (claim == NARU_CLAIM_FREE || claim == NARU_CLAIM_RETURNED)
            return true;
    }
    return false;
}

int naru__journal_take(naru_channel *channel, int64_t select, int64_t deadline,
                       struct naru_message *ret_message)
{
    struct map_journal *e = journal_of(channel);
    struct naru_wait w = naru__wait_begin(&channel->handle, NARU_IN, deadline);
    int r = naru__journal_check(e);
    if (r == 0 && e->due && naru__now() >= e->due)
        r = naru__journal_pay(e, deadline);
    while (r == 0) {
        r = take_once(e, select, &w, ret_message);
        if (r != -EAGAIN)
            break;
        r = naru__journal_wait(e, &w, NARU_SLEEP_MESSAGE, changed, 0);
        if (r < 0 && e->seen.full && (r == -ETIMEDOUT || r == -EAGAIN))
            naru__fail(r,
                       "%s: %d messages are with receivers or passed over, the most that a "
                       "cursor keeps, and none is what is wanted",
                       journal_name(e), NARU_CURSOR_WINDOW - 1);
    }
    naru__wait_done(&w);
    return r;
}

size_t naru__journal_take_ready(naru_channel *channel, int64_t select,
                                struct naru_message *ret_messages, size_t n)
{
    struct map_journal *e = journal_of(channel);
    struct naru_wait w = naru__wait_begin(&channel->handle, NARU_IN, NARU__AT_ONCE);
    size_t got = 0;
    if (naru__journal_come(e))
        while (got < n && take_once(e, select, &w, &ret_messages[got]) == 0)
            got++;
    return got;
}

/* ---- being done ---- */

/* claim: DONE, RETURNED, or FREE: as if it had not been looked at. */
static void end(struct map_journal *e, const struct naru_message *m, size_t n,
                enum naru_claim claim)
{
    bool back = claim != NARU_CLAIM_DONE;
    struct naru_cursor_file *c = e->cursor;
    for (size_t i = 0; i < n; i++) {
        struct map_taken *t = &e->taken[m[i].internal[0] - 1];
        uint64_t word = word_of(t->sequence, e->object.member, NARU_CLAIM_TAKEN);
        if (back)
            atomic_fetch_add(&c->open, 1);
        if (!atomic_compare_exchange_strong(&entry_of(c, t->sequence)->word, &word,
                                            word_of(t->sequence, 0, claim)) &&
            back)
            atomic_fetch_sub(&c->open, 1);
        e->in[t->segment].users--;
        t->sequence = 0;
    }
    if (back)
        atomic_fetch_add(&c->returned, n);
    uint32_t free = 0; /* who has the lock sees to it when it comes back */
    if (e->own_cursor) {
        advance_all(e);
    } else if (atomic_compare_exchange_strong(&c->lock, &free, e->object.member + 1)) {
        advance(c);
        unlock_cursor(e);
    }
    if (e->behind)
        let_go(e);
    if (back)
        naru__journal_wake(&e->object, NARU_SLEEP_MESSAGE, true);
}

void naru__journal_release(naru_channel *channel, struct naru_message *m, size_t n)
{
    end(journal_of(channel), m, n, NARU_CLAIM_DONE);
}

void naru__journal_give_back(naru_channel *channel, struct naru_message *m, size_t n)
{
    end(journal_of(channel), m, n, NARU_CLAIM_RETURNED);
}

ssize_t naru__journal_recv(naru_channel *channel, int64_t select, void *buf, size_t cap,
                           struct naru_info *ret_info, int64_t deadline)
{
    struct map_journal *e = journal_of(channel);
    struct naru_message m;
    int r = naru__journal_take(channel, select, deadline, &m);
    if (r < 0)
        return r;
    *ret_info = m.info;
    if (m.size > cap) {
        e->missed = m.info.missed;
        end(e, &m, 1, m.info.flags & NARU_REDELIVERED ? NARU_CLAIM_RETURNED : NARU_CLAIM_FREE);
        return -EMSGSIZE;
    }
    if (m.size)
        memcpy(buf, m.data, m.size);
    end(e, &m, 1, NARU_CLAIM_DONE);
    return (ssize_t)m.size;
}
