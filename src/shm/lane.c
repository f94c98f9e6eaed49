/* SPDX-License-Identifier: MIT */
/* lane.c - a lane: room, publication, claims, looking. No system calls, no waiting.
 *
 * Kept true: a slot is written only while nobody can have claimed what it holds (DONE, or never
 * published), and its stamp is stored last. A claim's word changes only from what its writer has
 * seen to what names its writer, so a receiver that was stopped in between loses the race and
 * harms nothing. */
#include "shm/lane.h"

#include <string.h>

enum { PAGE = 4096, LINE = 64 };

#ifdef __SANITIZE_THREAD__
__attribute__((no_sanitize("thread"))) void naru__lane_peek(void *to, const void *from, size_t n)
{
    const volatile uint8_t *source = from; /* bytes: memcpy would be watched */
    for (uint8_t *target = to; n > 0; n--)
        *target++ = *source++;
}
#endif

static uint64_t up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* ---- files ---- */

static uint64_t area_at(const struct naru_lane_header *h)
{
    return h->file - h->area;
}

struct naru_lane_header naru__lane_plan(uint64_t capacity, uint64_t messages)
{
    enum { USUAL = 64 << 10, LEAST = 8 << 10, BYTES_A_SLOT = 256 };
    uint64_t bytes = capacity ? capacity : USUAL;
    uint64_t area = up(bytes < LEAST ? LEAST : bytes, PAGE);
    uint64_t wanted = messages ? messages + 1 : bytes / BYTES_A_SLOT;
    if (area > NARU_LANE_AREA_MAX)
        area = NARU_LANE_AREA_MAX;
    uint32_t slots = NARU_LANE_SLOTS_MIN;
    while (slots < wanted && slots < NARU_LANE_SLOTS_MAX)
        slots *= 2;
    return (struct naru_lane_header){
        .magic = NARU_LANE_MAGIC,
        .version = NARU_LANE_VERSION,
        .slots = slots,
        .area = area,
        .file =
            up(NARU_LANE_SLOTS_AT + (uint64_t)slots * sizeof(struct naru_lane_slot), PAGE) + area,
    };
}

const char *naru__lane_check(const struct naru_lane_header *h, uint64_t file_size)
{
    if (h->magic != NARU_LANE_MAGIC)
        return "it is no lane of naru's";
    if (h->version != NARU_LANE_VERSION)
        return "its layout has another version";
    if (h->slots < NARU_LANE_SLOTS_MIN || h->slots > NARU_LANE_SLOTS_MAX ||
        (h->slots & (h->slots - 1)) != 0)
        return "its number of slots is none";
    if (h->area < PAGE || h->area > NARU_LANE_AREA_MAX || h->area % PAGE != 0)
        return "its area's size is none";
    if (h->file !=
        up(NARU_LANE_SLOTS_AT + (uint64_t)h->slots * sizeof(struct naru_lane_slot), PAGE) + h->area)
        return "its sizes do not add up";
    if (h->file != file_size)
        return "its file has another size than it says";
    return NULL;
}

/* Once: it may change under us. */
static uint32_t once(const uint32_t *field)
{
    return *(const volatile uint32_t *)field;
}

/* A slot's message as it was published: anything, for another has written it. */
static bool read_slot(const struct naru_lane_slot *slot, const uint8_t *area, uint64_t area_size,
                      struct naru_lane_item *item)
{
    struct naru_lane_outside out;
    uint32_t type = once(&slot->type);
    item->type = type & INT32_MAX;
    item->sequence = slot->sequence;
    item->sender = slot->sender;
    item->signature = slot->signature;
    item->segment = 0;
    if (!(type & (uint32_t)NARU_LANE_OUTSIDE)) {
        item->size = once(&slot->size);
        item->data = slot->data;
        return item->type != 0 && item->size <= NARU_LANE_INLINE;
    }
    memcpy(&out, slot->data, sizeof out);
    item->size = out.size;
    item->segment = out.segment;
    item->data = NULL;
    if (item->type == 0 || out.size > UINT64_C(1) << 40)
        return false;
    if (out.segment)
        return true;
    if (out.at >= area_size || out.size > area_size - out.at || out.at % LINE != 0)
        return false;
    item->data = area + out.at;
    return true;
}

/* ---- sending: what is free ---- */

static struct naru_lane_block *block_of(const struct naru_lane_sender *s, uint64_t number)
{
    return &s->blocks[(number - 1) & s->mask];
}

static uint64_t word_of(const struct naru_lane_sender *s, uint64_t number)
{
    /* acquire: pairs with the release of naru__lane_done: the receiver has read the message */
    return atomic_load_explicit(&s->claims->word[(number - 1) & s->mask], memory_order_acquire);
}

static bool is(uint64_t word, uint64_t number, unsigned state)
{
    return naru__claim_is_of(word, number) && naru__claim_state(word) == state;
}

static void free_block(struct naru_lane_sender *s, const struct naru_lane_block *b)
{
    if (b->segment && s->free_segment)
        s->free_segment(s->arg, b->segment);
}

/* Message `freed + 1` is passed: done with, or kept apart as held. */
static void pass(struct naru_lane_sender *s)
{
    s->freed++;
    s->tail = block_of(s, s->freed)->end;
    if (s->freed + 1 == s->next)
        s->tail = s->head;
    /* relaxed: a hint, for whoever comes later */
    atomic_store_explicit(&s->file->hints.freed, s->freed, memory_order_relaxed);
}

static bool advance_topic(struct naru_lane_sender *s)
{
    if (s->freed + 1 >= s->next || s->freed >= s->limit)
        return false;
    free_block(s, block_of(s, s->freed + 1));
    pass(s);
    atomic_store_explicit(&s->file->hints.oldest, s->freed + 1, memory_order_relaxed);
    /* release: what is overwritten next is so after `oldest` says it; pairs with the acquire fence
     * in naru__lane_whole */
    atomic_thread_fence(memory_order_release);
    return true;
}

static bool can_hold(const struct naru_lane_sender *s)
{
    return s->n_held < NARU_LANE_HELD_MAX && s->n_held < s->mask / 2;
}

/* One more message that is no longer in the way? */
static bool advance(struct naru_lane_sender *s)
{
    if (!s->claims)
        return advance_topic(s);
    uint64_t number = s->freed + 1;
    if (number >= s->next)
        return false;
    struct naru_lane_block *b = block_of(s, number);
    if (!b->skip) {
        uint64_t word = word_of(s, number);
        if (is(word, number, NARU_CLAIM_DONE))
            free_block(s, b);
        else if (is(word, number, NARU_CLAIM_TAKEN) && can_hold(s))
            s->held[s->n_held++] = (struct naru_lane_held){number, *b};
        else
            return false;
    }
    pass(s);
    return true;
}

/* Those held that are done with by now. */
static void let_go(struct naru_lane_sender *s)
{
    for (unsigned i = 0; i < s->n_held;) {
        struct naru_lane_held *h = &s->held[i];
        if (is(word_of(s, h->number), h->number, NARU_CLAIM_DONE)) {
            free_block(s, &h->block);
            *h = s->held[--s->n_held];
        } else {
            i++;
        }
    }
}

static bool slot_is_held(const struct naru_lane_sender *s)
{
    for (unsigned i = 0; i < s->n_held; i++)
        if (((s->held[i].number ^ s->next) & s->mask) == 0)
            return true;
    return false;
}

/* The next number is no message: its slot has one that a receiver holds. */
static void skip(struct naru_lane_sender *s)
{
    *block_of(s, s->next) = (struct naru_lane_block){.end = s->head, .skip = true};
    /* release: as a publication, which it is for the receivers' counting */
    atomic_store_explicit(&naru__lane_slot(s)->stamp, s->next | NARU_LANE_SKIP,
                          memory_order_release);
    s->next++;
}

/* How far one must go from `at` to get past what is held there; 0: it is free. */
static uint64_t in_the_way(const struct naru_lane_sender *s, uint64_t at, uint64_t size)
{
    for (unsigned i = 0; i < s->n_held; i++) {
        const struct naru_lane_block *b = &s->held[i].block;
        if (b->size && at < b->at + b->size && b->at < at + size)
            return b->at + b->size - at;
    }
    return 0;
}

static bool find_room(struct naru_lane_sender *s, uint64_t n, uint64_t *ret_at, uint64_t *ret_head)
{
    uint64_t size = up(n, LINE), head = s->head;
    while (head + size - s->tail <= s->area_size) {
        uint64_t at = head % s->area_size;
        uint64_t on = at + size > s->area_size ? s->area_size - at : in_the_way(s, at, size);
        if (on == 0) {
            *ret_at = at;
            *ret_head = head + size;
            return true;
        }
        head += on;
    }
    return false;
}

/* A slot's message is passed. Two lines of the receivers' words at once, but no further than half a
 * lap behind, where they still write; and a topic's history stays. */
static bool free_slots(struct naru_lane_sender *s)
{
    enum { AT_ONCE = 16 };
    uint64_t half = s->mask / 2, leave = half > s->keep ? half : s->keep;
    if (s->freed + s->mask + 1 >= s->next)
        return true;
    if (!advance(s))
        return false;
    for (uint64_t n = s->freed + 1, end = n + AT_ONCE; n < end && n + leave < s->next; n++)
        if ((s->claims && !is(word_of(s, n), n, NARU_CLAIM_DONE)) || !advance(s))
            break;
    return true;
}

bool naru__lane_room(struct naru_lane_sender *s, uint64_t n, uint64_t *ret_at)
{
    uint64_t head;
    for (;;) {
        if (!free_slots(s))
            return false;
        if (s->n_held)
            let_go(s);
        if (s->n_held && slot_is_held(s)) {
            skip(s);
            continue;
        }
        if (n == 0 || find_room(s, n, ret_at, &head))
            return true;
        if (!advance(s))
            return false;
    }
}

bool naru__lane_advance(struct naru_lane_sender *s)
{
    unsigned held = s->n_held;
    if (s->claims)
        let_go(s);
    return s->n_held < held || advance(s);
}

bool naru__lane_moved(const struct naru_lane_sender *s)
{
    uint64_t number = s->freed + 1, word = number < s->next ? word_of(s, number) : 0;
    if (is(word, number, NARU_CLAIM_DONE) || (is(word, number, NARU_CLAIM_TAKEN) && can_hold(s)))
        return true;
    for (unsigned i = 0; i < s->n_held; i++)
        if (is(word_of(s, s->held[i].number), s->held[i].number, NARU_CLAIM_DONE))
            return true;
    return false;
}

uint64_t naru__lane_left(struct naru_lane_sender *s)
{
    while (advance(s))
        ;
    let_go(s);
    return s->next - 1 - s->freed + s->n_held;
}

uint64_t naru__lane_waiting(const struct naru_lane_sender *s)
{
    uint64_t low = s->freed, high = s->next - 1; /* all up to low are claimed, those behind not */
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2, word = word_of(s, middle);
        if (naru__claim_is_of(word, middle) && naru__claim_state(word) != NARU_CLAIM_BACK)
            low = middle;
        else
            high = middle - 1;
    }
    return s->next - 1 - low;
}

/* ---- sending: publication ---- */

void naru__lane_publish(struct naru_lane_sender *s, const struct naru_lane_outgoing *m)
{
    struct naru_lane_slot *slot = naru__lane_slot(s);
    uint64_t number = s->next, size = m->segment ? 0 : up(m->size, LINE);
    if (m->segment == 0 && m->size <= NARU_LANE_INLINE) {
        naru__lane_publish_small(s, m->type, m->signature, (uint32_t)m->size);
        return;
    }
    if (size) {
        /* what lies between is left over at the area's end, or held */
        uint64_t at = s->head % s->area_size;
        s->head += m->at >= at ? m->at - at : s->area_size - at + m->at;
        s->head += size;
    }
    struct naru_lane_outside out = {.at = m->at, .size = m->size, .segment = m->segment};
    memcpy(slot->data, &out, sizeof out);
    naru__lane_publish_small(s, m->type | (uint32_t)NARU_LANE_OUTSIDE, m->signature, 0);
    *block_of(s, number) =
        (struct naru_lane_block){m->at, s->head, (uint32_t)size, m->segment, false};
}

/* ---- sending: going on after a former sender ---- */

static uint64_t stamp_of(const struct naru_lane_slot *slots, uint64_t mask, uint64_t number)
{
    /* acquire: pairs with the release of the publication */
    return atomic_load_explicit(&slots[(number - 1) & mask].stamp, memory_order_acquire);
}

static uint64_t find_next(const struct naru_lane_file *file, uint64_t mask)
{
    uint64_t n = atomic_load_explicit(&file->hints.next, memory_order_relaxed), stamp;
    if (n == 0)
        n = 1;
    /* the hint may be laps behind; a later number says that all before it are out */
    while ((stamp = stamp_of(file->slots, mask, n) & ~NARU_LANE_SKIP) >= n)
        n = stamp + 1;
    return n;
}

/* The block of a message that a former sender has published. */
static struct naru_lane_block block_in(const struct naru_lane_sender *s, uint64_t number)
{
    const struct naru_lane_slot *slot = &s->slots[(number - 1) & s->mask];
    struct naru_lane_block b = {.end = s->head};
    struct naru_lane_outside out;
    if (!(once(&slot->type) & (uint32_t)NARU_LANE_OUTSIDE))
        return b;
    memcpy(&out, slot->data, sizeof out);
    b.segment = out.segment;
    if (!out.segment && out.at < s->area_size && out.size <= s->area_size - out.at &&
        out.at % LINE == 0) {
        b.at = out.at;
        b.size = (uint32_t)up(out.size, LINE);
    }
    return b;
}

/* What receivers hold of the laps before. */
static void adopt_held(struct naru_lane_sender *s, void (*in_use)(void *, uint32_t))
{
    for (uint64_t i = 0; s->claims && i <= s->mask && can_hold(s); i++) {
        uint64_t word = atomic_load_explicit(&s->claims->word[i], memory_order_acquire);
        uint64_t number = naru__claim_number(word, s->freed);
        if (naru__claim_state(word) == NARU_CLAIM_DONE || number > s->freed)
            continue;
        struct naru_lane_block b = block_in(s, number);
        s->held[s->n_held++] = (struct naru_lane_held){number, b};
        if (b.segment && in_use)
            in_use(s->arg, b.segment);
    }
}

static void adopt_blocks(struct naru_lane_sender *s, void (*in_use)(void *, uint32_t))
{
    for (uint64_t n = s->freed + 1; n < s->next; n++) {
        struct naru_lane_block *b = block_of(s, n);
        if (stamp_of(s->slots, s->mask, n) & NARU_LANE_SKIP) {
            *b = (struct naru_lane_block){.end = s->head, .skip = true};
            continue;
        }
        *b = block_in(s, n);
        if (b->segment && in_use)
            in_use(s->arg, b->segment);
        if (b->size) {
            uint64_t at = s->head % s->area_size;
            s->head += b->at >= at ? b->at - at : s->area_size - at + b->at;
            if (n == s->freed + 1)
                s->tail = s->head;
            s->head += b->size;
        }
        b->end = s->head;
    }
}

void naru__lane_begin(struct naru_lane_file *file, const struct naru_lane_header *plan,
                      struct naru_lane_claims *claims, uint64_t next)
{
    file->header = *plan;
    if (next <= 1 || next >= NARU_LANE_SKIP / 2)
        return;
    /* relaxed, all: nobody sees the file yet */
    atomic_store_explicit(&file->hints.next, next, memory_order_relaxed);
    atomic_store_explicit(&file->hints.freed, next - 1, memory_order_relaxed);
    atomic_store_explicit(&file->hints.oldest, next, memory_order_relaxed);
    uint64_t lap = next - 1 < plan->slots ? next - 1 : plan->slots;
    /* a word of 0 may be half of 2^38 away, and then tells of a later message */
    for (uint64_t n = next - lap; claims && n < next; n++)
        atomic_store_explicit(&claims->word[(n - 1) & (plan->slots - 1)],
                              naru__claim(n, NARU_CLAIM_DONE, 0, 0), memory_order_relaxed);
}

void naru__lane_sender(struct naru_lane_sender *s, struct naru_lane_file *file,
                       const struct naru_lane_header *checked,
                       const struct naru_lane_claims *claims, struct naru_lane_block *blocks,
                       void (*in_use)(void *arg, uint32_t segment), void *arg)
{
    *s = (struct naru_lane_sender){.file = file,
                                   .slots = file->slots,
                                   .area = (uint8_t *)file + area_at(checked),
                                   .mask = checked->slots - 1,
                                   .area_size = checked->area,
                                   .claims = claims,
                                   .blocks = blocks,
                                   .arg = arg};
    s->next = find_next(file, s->mask);
    s->freed = atomic_load_explicit(&file->hints.freed, memory_order_relaxed);
    if (s->freed >= s->next)
        s->freed = s->next - 1;
    if (s->next - 1 - s->freed > s->mask + 1) /* it had gone on past its hint */
        s->freed = s->next - 1 - (s->mask + 1);
    if (!claims)
        atomic_store_explicit(&file->hints.oldest, s->freed + 1, memory_order_relaxed);
    adopt_held(s, in_use);
    adopt_blocks(s, in_use);
    if (s->freed + 1 == s->next)
        s->tail = s->head;
}

/* ---- receiving ---- */

void naru__lane_receiver(struct naru_lane_receiver *r, const struct naru_lane_file *file,
                         const struct naru_lane_header *checked, struct naru_lane_claims *claims)
{
    *r = (struct naru_lane_receiver){.file = file,
                                     .slots = file->slots,
                                     .area = (const uint8_t *)file + area_at(checked),
                                     .mask = checked->slots - 1,
                                     .area_size = checked->area,
                                     .claims = claims};
    r->low = atomic_load_explicit(&file->hints.freed, memory_order_relaxed) + 1;
    /* some may have been given back before: not what the counter says */
    r->returned = claims ? atomic_load_explicit(&claims->returned, memory_order_relaxed) - 1 : 0;
}

static const struct naru_lane_slot *slot_of(const struct naru_lane_receiver *r, uint64_t number)
{
    return &r->slots[(number - 1) & r->mask];
}

static _Atomic uint64_t *claim_of(const struct naru_lane_receiver *r, uint64_t number)
{
    return &r->claims->word[(number - 1) & r->mask];
}

/* The same of one that may be overwritten meanwhile. */
static bool peek_slot(const struct naru_lane_receiver *r, uint64_t number,
                      struct naru_lane_item *item)
{
    struct naru_lane_slot slot;
    naru__lane_peek(&slot, slot_of(r, number), sizeof slot);
    bool sound = read_slot(&slot, r->area, r->area_size, item);
    if (item->data == slot.data)
        item->data = slot_of(r, number)->data;
    return sound;
}

static bool wanted(const struct naru_lane_wish *w, uint32_t type)
{
    return !w->wants || w->wants(w->select, type & INT32_MAX);
}

/* 1: it is this member's now. */
static bool take(const struct naru_lane_receiver *r, uint64_t number, uint64_t seen,
                 const struct naru_lane_claimer *who)
{
    uint64_t mine = naru__claim(number, NARU_CLAIM_TAKEN, who->member, who->generation);
    _Atomic uint64_t *word = claim_of(r, number);
    if (who->alone) {
        /* relaxed: the sender looks for DONE alone, and cleaners come after this one's death */
        atomic_store_explicit(word, mine, memory_order_relaxed);
        return true;
    }
    /* acquire: pairs with the release in naru__lane_give_back, of what was read there; relaxed for
     * the rest, as above */
    return atomic_compare_exchange_strong_explicit(word, &seen, mine, memory_order_acquire,
                                                   memory_order_relaxed);
}

static int taken(struct naru_lane_receiver *r, uint64_t number, bool back,
                 struct naru_lane_item *ret_item)
{
    ret_item->number = number;
    ret_item->back = back;
    if (read_slot(slot_of(r, number), r->area, r->area_size, ret_item))
        return 1;
    naru__lane_done(r, number);
    return -1;
}

static uint64_t size_in(const struct naru_lane_slot *slot)
{
    struct naru_lane_outside out;
    if (!(naru__lane_peek_word(&slot->type) & (uint32_t)NARU_LANE_OUTSIDE))
        return naru__lane_peek_word(&slot->size);
    naru__lane_peek(&out, slot->data, sizeof out);
    return out.size;
}

/* It is larger than is wanted, and stays: what it is was read while nobody had claimed it. */
static bool too_large(const struct naru_lane_receiver *r, uint64_t number, uint64_t seen,
                      const struct naru_lane_wish *wish, struct naru_lane_item *ret_item)
{
    if (__builtin_expect(size_in(slot_of(r, number)) <= wish->most, 1) ||
        !peek_slot(r, number, ret_item) || ret_item->size <= wish->most)
        return false;
    ret_item->number = number;
    ret_item->back = naru__claim_state(seen) == NARU_CLAIM_BACK;
    /* acquire: the reads above come before this look */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(claim_of(r, number), memory_order_relaxed) == seen;
}

/* Is it BACK, and of a message that slot i can have held? */
static bool is_back(const struct naru_lane_receiver *r, uint64_t word, uint64_t i)
{
    return naru__claim_state(word) == NARU_CLAIM_BACK &&
           ((naru__claim_number(word, r->low) - 1) & r->mask) == i;
}

/* The lowest that was given back and is wanted. */
static int claim_back(struct naru_lane_receiver *r, const struct naru_lane_wish *wish,
                      const struct naru_lane_claimer *who, struct naru_lane_item *ret_item)
{
    for (;;) {
        /* acquire: pairs with the release in naru__lane_give_back: their words are BACK by now */
        uint64_t count = atomic_load_explicit(&r->claims->returned, memory_order_acquire);
        uint64_t best = 0, best_word = 0, any = 0;
        for (uint64_t i = 0; i <= r->mask; i++) {
            uint64_t word = atomic_load_explicit(&r->claims->word[i], memory_order_relaxed);
            if (!is_back(r, word, i))
                continue;
            any++;
            uint64_t number = naru__claim_number(word, r->low);
            if (wanted(wish, naru__lane_peek_word(&r->slots[i].type)) &&
                (best == 0 || number < best)) {
                best = number;
                best_word = word;
            }
        }
        if (any == 0)
            r->returned = count;
        r->refused = count;
        if (best == 0)
            return 0;
        if (too_large(r, best, best_word, wish, ret_item))
            return 2;
        if (take(r, best, best_word, who))
            return taken(r, best, true, ret_item);
    }
}

/* Is message n there, and unclaimed? 1; 0 somebody has it, or it is none; -1 not there yet. What
 * the sender has overwritten was done with: n and `low` go on past it. */
static int look_at(struct naru_lane_receiver *r, uint64_t *n, uint64_t *ret_word)
{
    /* acquire: pairs with the release in naru__lane_publish */
    uint64_t stamp = atomic_load_explicit(&slot_of(r, *n)->stamp, memory_order_acquire);
    uint64_t number = stamp & ~NARU_LANE_SKIP;
    if (number < *n)
        return -1;
    if (number > *n) {
        uint64_t before = number - (r->mask + 1); /* the last that is not there any more */
        *n = number - *n > r->mask ? before : *n;
        r->low = r->low > *n ? r->low : *n;
        return 0;
    }
    if (stamp & NARU_LANE_SKIP)
        return 0;
    *ret_word = atomic_load_explicit(claim_of(r, *n), memory_order_relaxed);
    /* of a later one, if this receiver was stopped since it read the stamp: it is long done with */
    return naru__claim_is_before(*ret_word, *n) ? 1 : 0;
}

/* What was passed over, and what was refused of what came back, is so for one `select`. */
static void choose(struct naru_lane_receiver *r, int64_t select)
{
    if (r->select != select)
        r->refused = r->returned;
    if (r->select != select || r->passed < r->low)
        r->passed = r->low - 1;
    r->select = select;
}

int naru__lane_claim(struct naru_lane_receiver *r, const struct naru_lane_wish *wish,
                     const struct naru_lane_claimer *who, struct naru_lane_item *ret_item)
{
    uint64_t word;
    choose(r, wish->select);
    if (__builtin_expect(naru__lane_given_back(r, !wish->wants), 0)) {
        int got = claim_back(r, wish, who, ret_item);
        if (got)
            return got;
    }
    for (uint64_t n = wish->wants ? r->passed + 1 : r->low;; n++) {
        int state = look_at(r, &n, &word);
        if (state < 0)
            return 0;
        bool mine = state > 0 && wanted(wish, naru__lane_peek_word(&slot_of(r, n)->type));
        if (mine && too_large(r, n, word, wish, ret_item))
            return 2;
        if (mine && !take(r, n, word, who)) {
            n--; /* somebody was faster */
            continue;
        }
        if ((mine || state == 0) && n == r->low)
            r->low++;
        if (wish->wants)
            r->passed = n;
        if (mine)
            return taken(r, n, false, ret_item);
    }
}

uint32_t naru__lane_lowest(struct naru_lane_receiver *r, const struct naru_lane_wish *wish)
{
    uint32_t lowest = 0;
    uint64_t word;
    choose(r, wish->select);
    /* acquire: as in claim_back() */
    uint64_t count = atomic_load_explicit(&r->claims->returned, memory_order_acquire);
    for (uint64_t i = 0; i <= r->mask && count != r->returned; i++) {
        word = atomic_load_explicit(&r->claims->word[i], memory_order_relaxed);
        uint32_t type = naru__lane_peek_word(&r->slots[i].type) & INT32_MAX;
        if (is_back(r, word, i) && wanted(wish, type) &&
            (lowest == 0 || type < lowest))
            lowest = type;
    }
    for (uint64_t n = r->low;; n++) {
        int state = look_at(r, &n, &word);
        if (state < 0 && lowest == 0) { /* nothing up to here: so it is no reason to look again */
            r->refused = count;
            r->passed = n - 1;
        }
        if (state < 0)
            return lowest;
        uint32_t type = naru__lane_peek_word(&slot_of(r, n)->type) & INT32_MAX;
        if (state > 0 && type && wanted(wish, type) && (lowest == 0 || type < lowest))
            lowest = type;
    }
}

void naru__lane_done(const struct naru_lane_receiver *r, uint64_t number)
{
    /* release: pairs with the acquire in word_of(): what was read of the message was read before */
    atomic_store_explicit(claim_of(r, number), naru__claim(number, NARU_CLAIM_DONE, 0, 0),
                          memory_order_release);
}

static void give_back(struct naru_lane_claims *claims, _Atomic uint64_t *word, uint64_t number)
{
    /* release: pairs with the acquire of the next claim */
    atomic_store_explicit(word, naru__claim(number, NARU_CLAIM_BACK, 0, 0), memory_order_release);
    /* release: pairs with the acquire in naru__lane_given_back: the word is BACK by then */
    atomic_fetch_add_explicit(&claims->returned, 1, memory_order_release);
}

void naru__lane_give_back(const struct naru_lane_receiver *r, uint64_t number)
{
    give_back(r->claims, claim_of(r, number), number);
}

uint64_t naru__lane_clean(struct naru_lane_claims *claims, uint64_t slots, uint32_t member)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < slots; i++) {
        uint64_t word = atomic_load_explicit(&claims->word[i], memory_order_relaxed);
        if (naru__claim_state(word) != NARU_CLAIM_TAKEN || naru__claim_member(word) != member)
            continue;
        give_back(claims, &claims->word[i], word >> 26);
        n++;
    }
    /* release: as in give_back(), whose caller may have died between its two steps */
    atomic_fetch_add_explicit(&claims->returned, 1, memory_order_release);
    return n;
}

/* ---- topics ---- */

uint64_t naru__lane_next(const struct naru_lane_receiver *r)
{
    return find_next(r->file, r->mask);
}

uint64_t naru__lane_oldest(const struct naru_lane_receiver *r)
{
    uint64_t oldest = atomic_load_explicit(&r->file->hints.oldest, memory_order_acquire);
    return oldest ? oldest : 1;
}

bool naru__lane_whole(const struct naru_lane_receiver *r, uint64_t number)
{
    /* acquire: pairs with the release fence in advance_topic(): whoever has read a byte that was
     * overwritten sees `oldest` behind it */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&r->file->hints.oldest, memory_order_relaxed) <= number;
}

int naru__lane_look(struct naru_lane_receiver *r, struct naru_lane_item *ret_item,
                    uint64_t *ret_next)
{
    uint64_t stamp = stamp_of(r->slots, r->mask, r->low) & ~NARU_LANE_SKIP;
    if (stamp < r->low)
        return 0;
    if (stamp == r->low) {
        ret_item->number = r->low;
        ret_item->back = false;
        bool sound = peek_slot(r, r->low, ret_item);
        if (sound && naru__lane_whole(r, r->low))
            return 1;
    }
    uint64_t oldest = naru__lane_oldest(r);
    if (stamp > oldest + r->mask) /* what is a lap older than that has gone */
        oldest = stamp - r->mask;
    *ret_next = oldest > r->low ? oldest : r->low + 1;
    return -1;
}
