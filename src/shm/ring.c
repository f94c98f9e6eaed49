/* SPDX-License-Identifier: MIT */
/* ring.c - the ring: places, publication, looking. No system calls, no waiting. */
#include "shm/ring.h"

#include <string.h>

/* Of a slot's outside only what is used is written and read: one line travels, not two. */
enum { PAGE = 4096, LINE = 64, OUTSIDE_USED = offsetof(struct naru_ring_outside, reserved) };

static uint64_t up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* ---- files ---- */

struct naru_ring_header naru__ring_plan(uint64_t capacity, uint64_t max_message)
{
    enum { LEAST = 16 << 10, BYTES_A_SLOT = 256 };
    uint64_t area = up(capacity < LEAST ? LEAST : capacity, PAGE);
    if (area > NARU_RING_AREA_MAX)
        area = NARU_RING_AREA_MAX;
    uint32_t slots = NARU_RING_SLOTS_MIN;
    uint64_t small = capacity == 0 ? NARU_RING_AREA_FIRST : area; /* messages have at first */
    while (slots < small / BYTES_A_SLOT && slots < 4096)
        slots *= 2;
    if (capacity == 0)
        area = NARU_RING_AREA;
    return (struct naru_ring_header){
        .magic = NARU_RING_MAGIC,
        .version = NARU_RING_VERSION,
        .slots = slots,
        .area = area,
        .file = up(NARU_RING_SLOTS_AT + slots * sizeof(struct naru_ring_slot), PAGE) + area,
        .max_message = max_message,
    };
}

const char *naru__ring_check(const struct naru_ring_header *h, uint64_t file_size)
{
    if (h->magic != NARU_RING_MAGIC)
        return "it is no ring of naru's";
    if (h->version != NARU_RING_VERSION)
        return "its layout has another version";
    if (h->slots < NARU_RING_SLOTS_MIN || h->slots > NARU_RING_SLOTS_MAX ||
        (h->slots & (h->slots - 1)) != 0)
        return "its number of slots is none";
    if (h->area < PAGE || h->area > NARU_RING_AREA_MAX || h->area % PAGE != 0)
        return "its area's size is none";
    if (h->file !=
        up(NARU_RING_SLOTS_AT + h->slots * sizeof(struct naru_ring_slot), PAGE) + h->area)
        return "its sizes do not add up";
    if (h->file != file_size)
        return "its file has another size than it says";
    return NULL;
}

static uint64_t area_at(const struct naru_ring_header *h)
{
    return h->file - h->area;
}

/* ---- sending ---- */

void naru__ring_sender(struct naru_ring_sender *s, struct naru_ring_file *file, uint64_t *ends,
                       const _Atomic uint64_t *cursor)
{
    *s = (struct naru_ring_sender){
        .slots = file->slots,
        .area = (uint8_t *)file + area_at(&file->header),
        .mask = file->header.slots - 1,
        .area_size = file->header.area,
        .ends = ends,
        .next = 1,
        .cursor = cursor,
    };
}

bool naru__ring_refresh(struct naru_ring_sender *s)
{
    /* acquire: pairs with the release in advance(); the reader's loads of what is now free are over
     */
    uint64_t cursor = atomic_load_explicit(s->cursor, memory_order_acquire);
    if (cursor == s->consumed)
        return true;
    if (cursor < s->consumed || cursor >= s->next)
        return false;
    s->consumed = cursor;
    s->tail = s->ends[(cursor - 1) & s->mask];
    if (cursor == s->next - 1) { /* all is free: begin at the front */
        s->head += s->head_at != 0 ? s->area_size - s->head_at : 0;
        s->head_at = 0;
        s->tail = s->head;
    }
    return true;
}

bool naru__ring_may_widen(const struct naru_ring_sender *s)
{
    return s->head - s->head_at <= s->tail;
}

uint8_t *naru__ring_room(const struct naru_ring_sender *s, uint64_t n, uint64_t *ret_at)
{
    uint64_t head = s->head, at = s->head_at, left = s->area_size - at;
    if (n > s->area_size)
        return NULL;
    if (n > left) { /* it does not go around the end */
        head += left;
        at = 0;
    }
    if (head + up(n, LINE) - s->tail > s->area_size)
        return NULL;
    *ret_at = at;
    return s->area + at;
}

void naru__ring_publish(struct naru_ring_sender *s, const struct naru_ring_outgoing *o)
{
    struct naru_ring_slot *slot = &s->slots[(s->next - 1) & s->mask];
    const struct naru_ring_outside outside = {
        .at = o->at, .total = o->total, .kind = o->kind, .signature = o->signature};
    if (o->size > 0) {
        uint64_t at = o->at + up(o->size, LINE);
        s->head += at - s->head_at + (o->at < s->head_at ? s->area_size : 0);
        s->head_at = at == s->area_size ? 0 : at;
    }
    slot->type = o->type | (uint32_t)NARU_RING_OUTSIDE;
    slot->size = o->size;
    memcpy(slot->data, &outside, OUTSIDE_USED);
    s->ends[(s->next - 1) & s->mask] = s->head;
    /* release: pairs with the acquire in naru__ring_ready; payload and slot come before it */
    atomic_store_explicit(&slot->stamp, s->next, memory_order_release);
    s->next++;
}

/* ---- receiving ---- */

void naru__ring_receiver(struct naru_ring_receiver *r, const struct naru_ring_file *other,
                         const struct naru_ring_header *checked, struct naru_ring_item *items,
                         _Atomic uint64_t *cursor)
{
    *r = (struct naru_ring_receiver){
        .slots = other->slots,
        .area = (const uint8_t *)other + area_at(checked),
        .mask = checked->slots - 1,
        .area_size = checked->area,
        .items = items,
        .first = 1,
        .seen = 1,
        .cursor = cursor,
    };
}

static bool read_outside(const struct naru_ring_receiver *r, const struct naru_ring_slot *slot,
                         struct naru_ring_item *item)
{
    struct naru_ring_outside o;
    memcpy(&o, slot->data, OUTSIDE_USED);
    if (o.kind > NARU_RING_ABORT || o.at > r->area_size || item->size > r->area_size - o.at)
        return false;
    item->data = r->area + o.at;
    item->total = o.kind == NARU_RING_FIRST ? o.total : item->size;
    item->kind = (uint8_t)o.kind;
    item->signature = o.signature;
    return true;
}

int naru__ring_look(struct naru_ring_receiver *r)
{
    if (r->seen - r->first > r->mask || !naru__ring_ready(r))
        return 0;
    const struct naru_ring_slot *slot = &r->slots[(r->seen - 1) & r->mask];
    struct naru_ring_item *item = naru__ring_item(r, r->seen);
    uint32_t type = *(const volatile uint32_t *)&slot->type; /* once: it may change under us */
    *item = (struct naru_ring_item){
        .size = *(const volatile uint32_t *)&slot->size,
        .type = type & ~(uint32_t)NARU_RING_OUTSIDE,
    };
    if (type & (uint32_t)NARU_RING_OUTSIDE) {
        if (!read_outside(r, slot, item))
            return -1;
    } else {
        if (item->size > NARU_RING_INLINE)
            return -1;
        item->data = slot->data;
        item->total = item->size;
    }
    if (item->type == 0)
        return -1;
    r->seen++;
    return 1;
}

bool naru__ring_advance(struct naru_ring_receiver *r)
{
    uint64_t first = r->first;
    while (first < r->seen && naru__ring_item(r, first)->state == NARU_RING_DONE)
        first++;
    if (first == r->first)
        return false;
    r->first = first;
    /* release: pairs with the acquire in naru__ring_refresh; our loads of the room come before it
     */
    atomic_store_explicit(r->cursor, first - 1, memory_order_release);
    return true;
}
