/* SPDX-License-Identifier: MIT */
/* inbox.c - frames to messages.
 *
 * Bytes arrive at the end of a block. A message that lies whole in the block is an item in place:
 * the item holds a reference, and a block is used again from its start once nobody else refers to
 * it. A message of several frames is joined in a block of its own; while that goes on, the current
 * frame's payload is read straight to where it belongs, together with the next header, so that a
 * long message costs one copy out of the kernel and no more. */
#include "transport/common/inbox.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "core/transport.h"
#include "transport/common/descriptors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A whole frame of the largest piece with its END, and as much again to read ahead into. */
enum { BLOCK_SIZE = 2 * FRAME_PIECE - 256, END_FRAME = FRAME_HEADER + 1, ITEM_COST = 64 };

struct naru_block {
    unsigned refs;
    size_t size;
    _Alignas(16) uint8_t data[];
};

static struct naru_block *block_new(size_t size)
{
    struct naru_block *b = naru__alloc_raw(sizeof *b + size);
    if (b) {
        b->refs = 1;
        b->size = size;
    }
    return b;
}

static void block_unref(struct naru_inbox *in, struct naru_block *b)
{
    if (!b || --b->refs > 0)
        return;
    if (b->size == BLOCK_SIZE && !in->spare) {
        in->spare = b;
        return;
    }
    free(b);
}

void naru__inbox_init(struct naru_inbox *in, bool shared, size_t max_message,
                      int (*control)(void *, const struct naru_frame *, const uint8_t *),
                      void *context)
{
    *in = (struct naru_inbox){.shared = shared,
                              .greeted = shared,
                              .max_message = max_message,
                              .control = control,
                              .context = context};
}

void naru__inbox_deinit(struct naru_inbox *in)
{
    for (size_t i = 0; i < in->count; i++) {
        const struct naru_item *item = &in->items[(in->head + i) & (in->room - 1)];
        block_unref(in, item->block);
        naru__parcel_free(item->parcel);
    }
    free(in->items);
    naru__parcel_free(in->parcel);
    naru__parcel_free(in->join.parcel);
    block_unref(in, in->join.block);
    block_unref(in, in->block);
    free(in->spare);
    *in = (struct naru_inbox){0};
}

/* ---- items ---- */

static struct naru_item *item_at(const struct naru_inbox *in, size_t i)
{
    return &in->items[(in->head + i) & (in->room - 1)];
}

static int grow_items(struct naru_inbox *in)
{
    if (in->count < in->room)
        return 0;
    size_t room = in->room ? in->room * 2 : 64;
    struct naru_item *items = naru__alloc_raw(room * sizeof *items);
    if (!items)
        return -ENOMEM;
    for (size_t i = 0; i < in->count; i++)
        items[i] = *item_at(in, i);
    free(in->items);
    in->items = items;
    in->room = room;
    in->head = 0;
    return 0;
}

static struct naru_item item_of(const struct naru_inbox *in, const struct naru_frame *f)
{
    return (struct naru_item){.type = f->type,
                              .signature = f->signature,
                              .sender = f->sender,
                              .sequence = f->sequence,
                              .order = in->order};
}

/* What it counts for in the stash. */
static size_t cost_of(const struct naru_item *item)
{
    return item->size + ITEM_COST + (item->parcel ? (size_t)item->parcel->n * NARU__FD_COST : 0);
}

/* The descriptors that were announced for the message that comes now. */
static struct naru_parcel *parcel_of(struct naru_inbox *in)
{
    struct naru_parcel *parcel = in->parcel;
    in->parcel = NULL;
    return parcel;
}

/* Takes over one reference to block, and the parcel. Room was made by grow_items. The fields are
 * stored in place: a struct that is built and then copied waits for its own small stores. */
static void push(struct naru_inbox *in, const struct naru_frame *f, struct naru_block *block,
                 uint8_t *data, size_t size, struct naru_parcel *parcel)
{
    struct naru_item *item = item_at(in, in->count++);
    item->block = block;
    item->data = data;
    item->size = size;
    item->type = f->type;
    item->flags = 0;
    item->signature = f->signature;
    item->sender = f->sender;
    item->sequence = f->sequence;
    item->order = in->order++;
    item->parcel = parcel;
    in->held += cost_of(item);
}

/* Index of the message that select wants: the first; with -t the first of the lowest type. */
static size_t find(const struct naru_inbox *in, int64_t select)
{
    size_t best = in->count;
    if (select == 0)
        return in->count ? 0 : best;
    for (size_t i = 0; i < in->count; i++) {
        uint32_t type = item_at(in, i)->type;
        if (!naru__select_wants(select, type))
            continue;
        if (select > 0)
            return i;
        if (best == in->count || type < item_at(in, best)->type)
            best = i;
    }
    return best;
}

static void forget(struct naru_inbox *in, size_t i)
{
    in->held -= cost_of(item_at(in, i));
    for (; i > 0; i--)
        *item_at(in, i) = *item_at(in, i - 1);
    in->head = (in->head + 1) & (in->room - 1);
    in->count--;
}

bool naru__inbox_take(struct naru_inbox *in, int64_t select, struct naru_item *ret_item)
{
    size_t i = find(in, select);
    if (i == in->count)
        return false;
    *ret_item = *item_at(in, i);
    forget(in, i);
    return true;
}

const struct naru_item *naru__inbox_peek(const struct naru_inbox *in, int64_t select)
{
    size_t i = find(in, select);
    return i == in->count ? NULL : item_at(in, i);
}

bool naru__inbox_has(const struct naru_inbox *in, int64_t select)
{
    return naru__inbox_peek(in, select) != NULL;
}

void naru__item_release(struct naru_inbox *in, struct naru_item *item)
{
    block_unref(in, item->block);
    item->block = NULL;
    item->parcel = naru__parcel_free(item->parcel);
}

int naru__inbox_return(struct naru_inbox *in, struct naru_item *item, bool marked)
{
    int r = grow_items(in);
    if (r < 0)
        return r;
    size_t i = in->count++;
    for (; i > 0 && item_at(in, i - 1)->order > item->order; i--)
        *item_at(in, i) = *item_at(in, i - 1);
    item->flags |= marked ? NARU_REDELIVERED : 0;
    *item_at(in, i) = *item;
    in->held += cost_of(item);
    return 0;
}

/* ---- room ---- */

/* Small messages that wait in a block which is otherwise done with get memory of their own size:
 * else a sender could make each byte of the stash keep a block. */
static void move_out(struct naru_inbox *in, const struct naru_block *old)
{
    size_t bytes = 0;
    for (size_t i = 0; i < in->count; i++)
        bytes += item_at(in, i)->block == old ? item_at(in, i)->size + ITEM_COST : 0;
    for (size_t i = 0; i < in->count && bytes < BLOCK_SIZE / 4; i++) {
        struct naru_item *item = item_at(in, i);
        struct naru_block *own = item->block == old ? block_new(item->size) : NULL;
        if (!own) /* without memory it stays where it is */
            continue;
        if (item->size)
            memcpy(own->data, item->data, item->size);
        block_unref(in, item->block);
        item->block = own;
        item->data = own->data;
    }
}

/* A block whose unparsed bytes begin at its start and which has room for a whole frame. */
static int fresh_block(struct naru_inbox *in)
{
    size_t rest = in->end - in->start;
    struct naru_block *old = in->block;
    if (old && old->refs == 1) {
        memmove(old->data, old->data + in->start, rest);
    } else {
        struct naru_block *b = in->spare ? in->spare : block_new(BLOCK_SIZE);
        if (!b)
            return -ENOMEM;
        in->spare = NULL;
        b->refs = 1;
        if (rest)
            memcpy(b->data, old->data + in->start, rest);
        in->block = b;
        if (old)
            move_out(in, old);
        block_unref(in, old);
    }
    in->start = 0;
    in->end = rest;
    return 0;
}

size_t naru__inbox_need(const struct naru_inbox *in)
{
    if (in->join.piece_left)
        return in->join.piece_left;
    size_t have = in->end - in->start;
    struct naru_frame f;
    if (have < FRAME_HEADER)
        return FRAME_HEADER - have;
    if (naru__frame_decode(in->block->data + in->start, &f) < 0)
        return FRAME_HEADER;
    size_t whole = FRAME_HEADER + (size_t)f.size;
    return have < whole ? whole - have : 1;
}

int naru__inbox_room(struct naru_inbox *in, struct iovec ret_room[2], size_t limit)
{
    int n = 0;
    size_t ahead = BLOCK_SIZE;
    if (in->stalled) /* what it holds may be whole messages, behind which nothing more may come */
        return naru__inbox_fed(in, 0);
    if (in->join.piece_left) {
        size_t piece = limit && limit < in->join.piece_left ? limit : in->join.piece_left;
        ret_room[n++] = (struct iovec){in->join.data + in->join.got, piece};
        if (limit)
            return n;
        if (in->join.announced && !in->shared) /* large pieces: the next header only, so that its
                                                * payload need not be moved */
            ahead = FRAME_HEADER;
    }
    /* half a block is enough for what one system call brings */
    if (!in->block || in->block->size - in->end < BLOCK_SIZE / 2 ||
        (in->start == in->end && in->block->refs == 1)) {
        int r = fresh_block(in);
        if (r < 0)
            return r;
    }
    size_t space = in->block->size - in->end;
    if (space == 0)
        return n;
    if (limit && limit < space)
        space = limit;
    ret_room[n++] = (struct iovec){in->block->data + in->end, space < ahead ? space : ahead};
    return n;
}

/* ---- joining long messages ---- */

static int too_large(const struct naru_inbox *in, size_t size)
{
    return naru__fail(-EPROTO, "a message of %s came, and this end takes at most %s (.max_message)",
                      naru__size_text(size).text, naru__size_text(in->max_message).text);
}

static void join_end(struct naru_inbox *in)
{
    block_unref(in, in->join.block);
    naru__parcel_free(in->join.parcel);
    memset(&in->join, 0, sizeof in->join);
}

static void join_drop(struct naru_inbox *in)
{
    in->dropped += in->join.active || in->join.direct;
    join_end(in);
}

void naru__inbox_drop(struct naru_inbox *in)
{
    join_drop(in);
    in->start = in->end; /* a part of a frame that will not be finished */
}

bool naru__inbox_midway(const struct naru_inbox *in)
{
    return in->join.active || in->end > in->start;
}

static int join_begin(struct naru_inbox *in, const struct naru_frame *f)
{
    size_t total = (size_t)f->size + f->left;
    join_drop(in); /* shared: the one before was cut off by its sender's death */
    if (total > in->max_message)
        return too_large(in, total);
    in->join.block = block_new(total);
    if (!in->join.block)
        return -ENOMEM;
    in->join.active = true;
    in->join.parcel = parcel_of(in);
    in->join.first = *f;
    in->join.data = in->join.block->data;
    in->join.total = total;
    return 0;
}

static bool join_matches(const struct naru_inbox *in, const struct naru_frame *f)
{
    return in->join.active && in->join.first.sender == f->sender &&
           in->join.first.sequence == f->sequence;
}

/* The payload of a FIRST or MORE frame begins at `payload`, `have` bytes of it are here. */
static size_t join_feed(struct naru_inbox *in, const struct naru_frame *f, const uint8_t *payload,
                        size_t have)
{
    size_t n = have < f->size ? have : f->size;
    if (n)
        memcpy(in->join.data + in->join.got, payload, n);
    in->join.got += n;
    in->join.piece_left = f->size - n;
    in->join.announced = f->left;
    return n;
}

static void push_joined(struct naru_inbox *in)
{
    push(in, &in->join.first, in->join.block, in->join.data, in->join.total, in->join.parcel);
    in->join.block = NULL;
    in->join.parcel = NULL;
    join_end(in);
}

/* END has come: 0 keeps the message. */
static int join_finish(struct naru_inbox *in, uint8_t verdict)
{
    bool whole = in->join.got == in->join.total && in->join.announced == 0;
    if (verdict != 0) {
        join_drop(in);
        return 0;
    }
    if (!whole)
        return naru__fail(-EPROTO, "a message ended after %zu of its %zu bytes", in->join.got,
                          in->join.total);
    if (in->join.direct) {
        in->join.active = false; /* naru__inbox_direct_done sees it */
        return 0;
    }
    push_joined(in);
    return 0;
}

/* ---- parsing ---- */

static int bad_bytes(struct naru_inbox *in, const char *what)
{
    const uint8_t *p = in->block->data + in->start;
    return naru__fail(
        -EPROTO,
        "%s came instead of a naru frame (%02x %02x %02x %02x …): the other side does not "
        "send messages of naru's, or the stream is damaged",
        what, p[0], p[1], p[2], p[3]);
}

/* Shared media go on after garbage: at the next header that checks, or at the last bytes that may
 * be the beginning of one. */
static void resynchronise(struct naru_inbox *in)
{
    struct naru_frame f;
    size_t from = in->start;
    do
        in->start++;
    while (in->end - in->start >= FRAME_HEADER &&
           naru__frame_decode(in->block->data + in->start, &f) < 0);
    while (in->end > in->start && in->end - in->start < FRAME_HEADER &&
           in->block->data[in->start] != (FRAME_MAGIC & 0xff))
        in->start++;
    in->garbage += in->start - from;
}

/* A shared inbox passes over the whole of a frame that makes no sense here: its payload may look
 * like frames. 0: it is not all here yet. */
static int pass_over(struct naru_inbox *in, const struct naru_frame *f, int code)
{
    size_t whole = FRAME_HEADER + (size_t)f->size;
    if (!in->shared)
        return code;
    if (in->end - in->start < whole)
        return 0;
    in->start += whole;
    in->garbage += whole;
    return code;
}

/* A long message of one frame and its END. 1, 0 and errors as parse_frame. */
static int parse_first_alone(struct naru_inbox *in, const struct naru_frame *f, uint8_t *payload,
                             size_t have)
{
    struct naru_frame end;
    if (f->size > in->max_message)
        return pass_over(in, f, too_large(in, f->size));
    if (have < (size_t)f->size + END_FRAME)
        return 0;
    if (naru__frame_decode(payload + f->size, &end) < 0 || end.kind != FRAME_END ||
        end.sender != f->sender || end.sequence != f->sequence)
        return pass_over(in, f, bad_bytes(in, "a message without its end"));
    if (payload[f->size + FRAME_HEADER] == 0) {
        in->block->refs++;
        push(in, f, in->block, payload, f->size, parcel_of(in));
    } else {
        naru__parcel_free(parcel_of(in));
        in->dropped++;
    }
    in->start += FRAME_HEADER + f->size + END_FRAME;
    return 1;
}

/* One frame, f, whose header lies at start. 1: consumed; 0: more bytes are needed; else an error.
 */
static int parse_frame(struct naru_inbox *in, const struct naru_frame *f)
{
    uint8_t *payload = in->block->data + in->start + FRAME_HEADER;
    size_t have = in->end - in->start - FRAME_HEADER;
    int r = grow_items(in);
    if (r < 0)
        return r;
    if (!in->greeted && f->kind != FRAME_HELLO)
        return naru__fail_static(
            -EPROTO, "a message came before the greeting: the other side is not naru's");
    switch (f->kind) {
    case FRAME_WHOLE:
        if (have < f->size)
            return 0;
        if (f->size > in->max_message)
            return pass_over(in, f, too_large(in, f->size));
        if (in->join.active && !in->shared)
            return bad_bytes(in, "a message inside another");
        in->block->refs++;
        push(in, f, in->block, payload, f->size, parcel_of(in));
        break;
    case FRAME_FIRST:
        if (in->join.active && !in->shared)
            return bad_bytes(in, "a message inside another");
        if (f->left == 0) /* one frame: it can stay in place once its END is here */
            return parse_first_alone(in, f, payload, have);
        r = join_begin(in, f);
        if (r < 0)
            return r == -EPROTO ? pass_over(in, f, r) : r;
        in->start += FRAME_HEADER + join_feed(in, f, payload, have);
        return 1;
    case FRAME_MORE:
        if (!join_matches(in, f)) { /* the beginning went to a receiver that died, or was skipped */
            if (!in->shared)
                return bad_bytes(in, "the rest of an unknown message");
            if (have < f->size)
                return 0;
            break;
        }
        if ((size_t)f->size + f->left != in->join.announced) {
            r = pass_over(in, f, bad_bytes(in, "a piece of another length than announced"));
            if (r < 0)
                join_drop(in);
            return r;
        }
        in->start += FRAME_HEADER + join_feed(in, f, payload, have);
        return 1;
    case FRAME_END:
        if (have < 1)
            return 0;
        if (join_matches(in, f)) {
            r = join_finish(in, payload[0]);
            if (r < 0) {
                join_drop(in);
                return pass_over(in, f, r);
            }
            in->start += END_FRAME;
            return 1;
        }
        if (!in->shared)
            return bad_bytes(in, "the end of an unknown message");
        break;
    default:
        if (have < f->size)
            return 0;
        r = in->control ? in->control(in->context, f, payload) : 0;
        if (r < 0)
            return pass_over(in, f, r);
        break;
    }
    in->start += FRAME_HEADER + f->size;
    return 1;
}

/* A message in the caller's buffer is whole and waits to be noticed; `join` is still its own. */
static bool direct_done(const struct naru_inbox *in)
{
    return in->join.direct && !in->join.active;
}

int naru__inbox_fed(struct naru_inbox *in, size_t n)
{
    if (in->join.piece_left) {
        size_t piece = n < in->join.piece_left ? n : in->join.piece_left;
        in->join.got += piece;
        in->join.piece_left -= piece;
        n -= piece;
    }
    in->end += n;
    in->stalled = false;
    int bad = 0;
    while (!in->join.piece_left && !direct_done(in) && in->end - in->start >= FRAME_HEADER) {
        struct naru_frame f;
        int r = naru__frame_decode(in->block->data + in->start, &f);
        if (r < 0) {
            bad = bad_bytes(in, "something else");
            if (!in->shared)
                return bad;
            resynchronise(in);
            continue;
        }
        r = parse_frame(in, &f);
        if (r == 0)
            break;
        if (r == -EPROTO && in->shared)
            bad = r;
        else if (r < 0) {
            in->stalled = r == -ENOMEM;
            return r;
        }
    }
    return bad;
}

/* ---- straight into the caller's buffer ---- */

bool naru__inbox_direct(struct naru_inbox *in, int64_t select, void *buf, size_t cap)
{
    if (!in->join.active || in->join.direct || in->join.total > cap || select < 0 ||
        !naru__select_wants(select, in->join.first.type))
        return false;
    memcpy(buf, in->join.data, in->join.got);
    in->join.data = buf; /* its block stays, so that leaving cannot fail */
    in->join.direct = true;
    return true;
}

bool naru__inbox_direct_done(struct naru_inbox *in, struct naru_item *ret_item)
{
    if (!direct_done(in))
        return false;
    *ret_item = item_of(in, &in->join.first);
    in->order++;
    ret_item->size = in->join.total;
    ret_item->parcel = in->join.parcel;
    in->join.parcel = NULL;
    join_end(in);
    return true;
}

void naru__inbox_direct_leave(struct naru_inbox *in)
{
    if (!in->join.direct)
        return;
    memcpy(in->join.block->data, in->join.data, in->join.got);
    in->join.data = in->join.block->data;
    in->join.direct = false;
    if (in->join.active)
        return;
    push_joined(in); /* END made room */
}

/* ---- items and public messages ---- */

void naru__item_info(const struct naru_item *item, struct naru_info *ret_info)
{
    *ret_info = (struct naru_info){.type = item->type,
                                   .flags = item->flags,
                                   .size = item->size,
                                   .sequence = item->sequence,
                                   .sender = item->sender};
}

void naru__item_to_message(const struct naru_item *item, const void *owner,
                           struct naru_message *ret_message)
{
    ret_message->data = item->data;
    ret_message->size = item->size;
    naru__item_info(item, &ret_message->info);
    ret_message->internal[0] = (uint64_t)(uintptr_t)item->block;
    ret_message->internal[1] = item->order;
    ret_message->internal[2] = (uint64_t)(uintptr_t)owner;
    ret_message->internal[3] = item->signature;
    naru__parcel_free(item->parcel);
}

struct naru_item naru__item_of_message(const struct naru_message *m)
{
    return (struct naru_item){
        .block = (struct naru_block *)(uintptr_t)m->internal[0],
        .data = m->data,
        .size = m->size,
        .type = m->info.type,
        .flags = m->info.flags,
        .signature = (uint32_t)m->internal[3],
        .sender = (uint32_t)m->info.sender,
        .sequence = m->info.sequence,
        .order = m->internal[1],
    };
}

size_t naru__inbox_take_messages(struct naru_inbox *in, int64_t select, const void *owner,
                                 struct naru_message *ret_messages, size_t n, size_t *ret_bytes)
{
    size_t got = 0, bytes = 0, i;
    for (; got < n && (i = find(in, select)) < in->count; got++) {
        const struct naru_item *item = item_at(in, i);
        const struct naru_item taken = *item;
        bytes += item->size;
        forget(in, i);
        naru__item_to_message(&taken, owner, &ret_messages[got]);
    }
    *ret_bytes = bytes;
    return got;
}

void naru__inbox_end_messages(struct naru_inbox *in, const struct naru_message *m, size_t n,
                              bool give_back)
{
    for (size_t i = 0; i < n; i++) {
        struct naru_item item = naru__item_of_message(&m[i]);
        if (!give_back || naru__inbox_return(in, &item, true) < 0)
            naru__item_release(in, &item);
    }
}
