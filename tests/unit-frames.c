/* SPDX-License-Identifier: MIT */
/* unit-frames.c - the bytes of messages, without any descriptor: headers, greetings, the sender's
 * cursor (wire.h), the receiver's inbox (inbox.h). What one makes the other takes, at any cut. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/fault.h"
#include "transport/common/inbox.h"
#include "transport/common/wire.h"

enum { STREAM_MAX = 1 << 20 };
static uint8_t stream[STREAM_MAX], pattern[STREAM_MAX];

static void fill_pattern(void)
{
    uint32_t x = 2463534242u;
    for (size_t i = 0; i < sizeof pattern; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        pattern[i] = (uint8_t)x;
    }
}

/* Appends the frames of one message; returns the new length. */
static size_t put_message(size_t at, uint32_t type, size_t size, size_t atomic, size_t piece,
                          uint64_t sequence, size_t give_up_after)
{
    struct naru_wire wire;
    struct iovec one = {pattern, size}, vector[WIRE_VECTOR];
    naru__wire_init(&wire, &(struct naru_outgoing){type, 7, &one, 1, size}, atomic, piece, 99,
                    sequence);
    size_t from = at;
    while (!wire.done) {
        int n = naru__wire_fill(&wire, vector, WIRE_FRAMES);
        size_t step = 0;
        for (int i = 0; i < n; i++) {
            memcpy(stream + at + step, vector[i].iov_base, vector[i].iov_len);
            step += vector[i].iov_len;
        }
        if (at - from + step > give_up_after) {
            step = give_up_after - (at - from);
            naru__wire_advance(&wire, step);
            at += step;
            return wire.done ? at : at + naru__wire_abort(&wire, stream + at);
        }
        naru__wire_advance(&wire, step);
        at += step;
    }
    return at;
}

static int greet(void *context, const struct naru_frame *frame, const uint8_t *payload)
{
    struct naru_hello hello;
    if (frame->kind != FRAME_HELLO)
        return 0;
    int r = naru__hello_decode(payload, frame->size, &hello);
    ((struct naru_inbox *)context)->greeted |= r == 0;
    return r;
}

static void init(struct naru_inbox *in, bool shared)
{
    naru__inbox_init(in, shared, NARU_MESSAGE_MAX, greet, in);
    in->greeted = true;
}

/* Gives the inbox n bytes, at most `step` at a time. */
static int feed(struct naru_inbox *in, const uint8_t *bytes, size_t n, size_t step)
{
    int worst = 0;
    while (n > 0) {
        struct iovec room[2];
        int pieces = naru__inbox_room(in, room, 0);
        if (pieces <= 0)
            return pieces;
        size_t fed = 0;
        for (int i = 0; i < pieces; i++) {
            size_t some = room[i].iov_len < n ? room[i].iov_len : n;
            some = some < step - fed ? some : step - fed;
            memcpy(room[i].iov_base, bytes, some);
            bytes += some;
            n -= some;
            fed += some;
            if (some < room[i].iov_len)
                break;
        }
        int r = naru__inbox_fed(in, fed);
        if (r < 0 && !in->shared)
            return r;
        worst = r < 0 ? r : worst;
    }
    return worst;
}

static void takes(struct naru_inbox *in, int64_t select, uint32_t type, size_t size,
                  uint64_t sequence)
{
    struct naru_item item;
    assert_true(naru__inbox_take(in, select, &item));
    assert_int_equal(item.type, type);
    assert_int_equal(item.size, size);
    assert_int_equal(item.sequence, sequence);
    assert_memory_equal(item.data, pattern, size);
    naru__item_release(in, &item);
}

static void header_survives_the_wire(void **state)
{
    (void)state;
    uint8_t bytes[FRAME_HEADER];
    const struct naru_frame f = {FRAME_FIRST, 7, 65536, 1000, 0xdeadbeef, 4711, UINT64_MAX};
    struct naru_frame g;
    naru__frame_encode(&f, bytes);
    assert_int_equal(naru__frame_decode(bytes, &g), 0);
    assert_true(f.kind == g.kind && f.type == g.type && f.size == g.size && f.left == g.left &&
                f.signature == g.signature && f.sender == g.sender && f.sequence == g.sequence);
    static const uint8_t pinned[8] = {0x6e, 0x72, FRAME_FIRST};
    assert_memory_equal(bytes, pinned, 3); /* little-endian on every machine */
}

static void any_flipped_bit_of_a_header_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[FRAME_HEADER];
    struct naru_frame g;
    naru__frame_encode(&(struct naru_frame){FRAME_WHOLE, 7, 100, 0, 1, 2, 3}, bytes);
    for (int bit = 0; bit < 8 * FRAME_HEADER; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(naru__frame_decode(bytes, &g), -EPROTO);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void impossible_headers_are_refused(void **state)
{
    (void)state;
    static const struct naru_frame bad[] = {
        {FRAME_WHOLE, 0, 1, 0, 0, 0, 0},
        {FRAME_WHOLE, 0x80000000u, 1, 0, 0, 0, 0},
        {FRAME_WHOLE, 1, FRAME_PIECE + 1, 0, 0, 0, 0},
        {FRAME_WHOLE, 1, UINT32_MAX, 0, 0, 0, 0},
        {FRAME_WHOLE, 1, 1, 1, 0, 0, 0},
        {FRAME_FIRST, 1, 0, 1, 0, 0, 0},
        {FRAME_FIRST, 1, 1, UINT32_MAX, 0, 0, 0},
        {FRAME_FIRST, 1, 1, 1u << 30, 0, 0, 0},
        {FRAME_MORE, 1, 0, 5, 0, 0, 0},
        {FRAME_END, 1, 0, 0, 0, 0, 0},
        {FRAME_END, 1, 2, 0, 0, 0, 0},
        {FRAME_END, 1, 1, 1, 0, 0, 0},
        {FRAME_HELLO, 0, 1025, 0, 0, 0, 0},
        {FRAME_HELLO, 0, 32, 1, 0, 0, 0},
        {FRAME_BYE, 0, 1025, 0, 0, 0, 0},
        {0, 1, 1, 0, 0, 0, 0},
        {7, 1, 1, 0, 0, 0, 0},
        {255, 1, 1, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t bytes[FRAME_HEADER];
        struct naru_frame g;
        naru__frame_encode(&bad[i], bytes);
        assert_int_equal(naru__frame_decode(bytes, &g), -EPROTO);
    }
}

static void another_version_is_named(void **state)
{
    (void)state;
    uint8_t bytes[FRAME_HEADER + FRAME_HELLO_SIZE];
    struct naru_hello back = {0};
    naru__hello_encode(&(struct naru_hello){7, 48, 1, 2, 3}, bytes);
    assert_int_equal(naru__hello_decode(bytes + FRAME_HEADER, FRAME_HELLO_SIZE, &back), -EPROTO);
    assert_non_null(strstr(naru__why(), "version 7"));
    assert_non_null(strstr(naru__why(), "version 1"));
    assert_int_equal(back.version, 0);
    naru__hello_encode(&(struct naru_hello){1, 32, 1, 2, 3}, bytes);
    assert_int_equal(naru__hello_decode(bytes + FRAME_HEADER, FRAME_HELLO_SIZE - 1, &back),
                     -EPROTO);
    assert_int_equal(naru__hello_decode(bytes + FRAME_HEADER, FRAME_HELLO_SIZE, &back), 0);
    assert_true(back.pid == 1 && back.flags == 2 && back.max_message == 3);
}

static void every_size_arrives_at_every_cut(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 31, 32, 4063, 4064, 4065, 65535, 65536, 65537, 200000};
    static const size_t steps[] = {1, 7, 33, 4096, 65536, STREAM_MAX};
    for (int medium = 0; medium < 2; medium++) {
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
            struct naru_inbox in;
            size_t n = 0;
            init(&in, medium == 1);
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                n = put_message(n, (uint32_t)i + 1, sizes[i], 4096, medium ? 4064 : FRAME_PIECE, i,
                                SIZE_MAX);
            assert_int_equal(feed(&in, stream, n, steps[s]), 0);
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                takes(&in, 0, (uint32_t)i + 1, sizes[i], i);
            assert_int_equal(in.held, 0);
            assert_false(naru__inbox_midway(&in));
            naru__inbox_deinit(&in);
        }
    }
}

/* Whatever byte the sender stops at, what it owes makes the receiver forget; the next arrives. */
static void a_send_given_up_at_any_byte_leaves_nothing(void **state)
{
    (void)state;
    enum { SIZE = 300, PIECE = 100, WIRE = 3 * (FRAME_HEADER + PIECE) + FRAME_HEADER + 1 };
    for (size_t cut = 1; cut < WIRE; cut++) {
        struct naru_inbox in;
        init(&in, false);
        size_t n = put_message(0, 1, SIZE, 0, PIECE, 1, cut);
        n = put_message(n, 2, 10, 4096, PIECE, 2, SIZE_MAX);
        assert_int_equal(feed(&in, stream, n, 64), 0);
        assert_int_equal(in.count, 1);
        assert_int_equal(in.dropped, 1);
        takes(&in, 0, 2, 10, 2);
        naru__inbox_deinit(&in);
    }
}

/* One write cannot take more pieces than a vector has, so such a message is never one frame. */
static void a_message_of_many_pieces_can_be_given_up(void **state)
{
    (void)state;
    enum { PIECES = 300, EACH = 10 };
    struct iovec pieces[PIECES], vector[WIRE_VECTOR];
    for (int i = 0; i < PIECES; i++)
        pieces[i] = (struct iovec){pattern + i * EACH, EACH};
    struct naru_wire wire;
    struct naru_inbox in;
    size_t n = 0;
    init(&in, false);
    naru__wire_init(&wire, &(struct naru_outgoing){1, 0, pieces, PIECES, PIECES * EACH}, 4096,
                    FRAME_PIECE, 1, 1);
    int filled = naru__wire_fill(&wire, vector, WIRE_FRAMES);
    for (int i = 0; i < filled; n += vector[i].iov_len, i++)
        memcpy(stream + n, vector[i].iov_base, vector[i].iov_len);
    naru__wire_advance(&wire, n);
    assert_false(wire.done);
    n += naru__wire_abort(&wire, stream + n);
    n = put_message(n, 2, 10, 4096, FRAME_PIECE, 2, SIZE_MAX);
    assert_int_equal(feed(&in, stream, n, STREAM_MAX), 0);
    assert_int_equal(in.count, 1);
    takes(&in, 0, 2, 10, 2);
    naru__inbox_deinit(&in);
}

static void empty_pieces_are_no_end(void **state)
{
    (void)state;
    struct iovec pieces[] = {
        {NULL, 0}, {pattern, 5}, {pattern + 5, 0}, {pattern + 5, 7}, {NULL, 0}};
    struct iovec vector[WIRE_VECTOR];
    struct naru_wire wire;
    struct naru_inbox in;
    init(&in, false);
    naru__wire_init(&wire, &(struct naru_outgoing){1, 0, pieces, 5, 12}, 4096, FRAME_PIECE, 1, 1);
    int n = naru__wire_fill(&wire, vector, 1);
    size_t bytes = 0;
    for (int i = 0; i < n; bytes += vector[i].iov_len, i++)
        memcpy(stream + bytes, vector[i].iov_base, vector[i].iov_len);
    assert_int_equal(bytes, FRAME_HEADER + 12);
    naru__wire_advance(&wire, bytes);
    assert_true(wire.done);
    assert_int_equal(feed(&in, stream, bytes, 1), 0);
    takes(&in, 1, 1, 12, 1);
    naru__inbox_deinit(&in);
}

static size_t put_frame(size_t at, struct naru_frame f)
{
    naru__frame_encode(&f, stream + at);
    memset(stream + at + FRAME_HEADER, 0, f.size);
    return at + FRAME_HEADER + f.size;
}

static void frames_out_of_place_are_refused(void **state)
{
    (void)state;
    static const struct naru_frame wrong[][3] = {
        {{FRAME_MORE, 1, 10, 0, 0, 9, 1}},
        {{FRAME_END, 1, 1, 0, 0, 9, 1}},
        {{FRAME_FIRST, 1, 10, 10, 0, 9, 1}, {FRAME_FIRST, 1, 10, 10, 0, 9, 2}},
        {{FRAME_FIRST, 1, 10, 10, 0, 9, 1}, {FRAME_WHOLE, 1, 10, 0, 0, 9, 2}},
        {{FRAME_FIRST, 1, 10, 10, 0, 9, 1}, {FRAME_MORE, 1, 11, 0, 0, 9, 1}},
        {{FRAME_FIRST, 1, 10, 10, 0, 9, 1}, {FRAME_MORE, 1, 5, 6, 0, 9, 1}},
        {{FRAME_FIRST, 1, 10, 10, 0, 9, 1}, {FRAME_MORE, 1, 10, 0, 0, 8, 1}},
        {{FRAME_FIRST, 1, 10, 10, 0, 9, 1}, {FRAME_END, 1, 1, 0, 0, 9, 1}},
        {{FRAME_FIRST, 1, 10, 0, 0, 9, 1}, {FRAME_MORE, 1, 10, 0, 0, 9, 1}},
        {{FRAME_FIRST, 1, 10, 0, 0, 9, 1}, {FRAME_END, 1, 1, 0, 0, 8, 1}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct naru_inbox in;
        size_t n = 0;
        init(&in, false);
        for (int k = 0; k < 3 && wrong[i][k].kind; k++)
            n = put_frame(n, wrong[i][k]);
        assert_int_equal(feed(&in, stream, n, STREAM_MAX), -EPROTO);
        assert_true(*naru__why());
        assert_int_equal(in.count, 0);
        naru__inbox_deinit(&in);

        init(&in, true); /* a queue goes on: the next message arrives */
        n = put_message(n, 2, 10, 4096, 4064, 5, SIZE_MAX);
        (void)feed(&in, stream, n, STREAM_MAX);
        while (in.count > 1) { /* a WHOLE inside another's record is none of these mistakes */
            struct naru_item item;
            assert_true(naru__inbox_take(&in, 1, &item));
            naru__item_release(&in, &item);
        }
        takes(&in, 2, 2, 10, 5);
        naru__inbox_deinit(&in);
    }
}

static void nothing_comes_before_the_greeting(void **state)
{
    (void)state;
    struct naru_inbox in;
    struct naru_item item;
    naru__inbox_init(&in, false, NARU_MESSAGE_MAX, greet, &in);
    size_t n = put_message(0, 1, 10, 4096, FRAME_PIECE, 1, SIZE_MAX);
    assert_int_equal(feed(&in, stream, n, STREAM_MAX), -EPROTO);
    assert_false(naru__inbox_take(&in, 0, &item));
    naru__inbox_deinit(&in);
}

static void nothing_comes_behind_a_foreign_greeting(void **state)
{
    (void)state;
    struct naru_inbox in;
    struct naru_item item;
    naru__inbox_init(&in, false, NARU_MESSAGE_MAX, greet, &in);
    naru__hello_encode(&(struct naru_hello){2, 40, 1, 0, 3}, stream);
    size_t n = put_message(FRAME_HEADER + FRAME_HELLO_SIZE, 1, 10, 4096, FRAME_PIECE, 1, SIZE_MAX);
    assert_int_equal(feed(&in, stream, n, STREAM_MAX), -EPROTO);
    assert_false(naru__inbox_take(&in, 0, &item));
    naru__inbox_deinit(&in);
}

/* Garbage and good records in one read: all of the good ones, and one error. */
static void garbage_takes_no_record_along(void **state)
{
    (void)state;
    for (size_t step = 1; step < 3000; step = step * 3 + 1) {
        struct naru_inbox in;
        init(&in, true);
        memset(stream, 'n', 777); /* the magic's first byte */
        size_t n = put_message(777, 1, 100, 4096, 4064, 1, SIZE_MAX);
        memset(stream + n, 'z', 50);
        n = put_message(n + 50, 2, 100, 4096, 4064, 2, SIZE_MAX);
        assert_int_equal(feed(&in, stream, n, step), -EPROTO);
        takes(&in, 0, 1, 100, 1);
        takes(&in, 0, 2, 100, 2);
        assert_false(naru__inbox_midway(&in));
        naru__inbox_deinit(&in);
    }
}

static void garbage_inside_a_long_record_is_passed_over(void **state)
{
    (void)state;
    struct naru_inbox in;
    init(&in, true);
    size_t whole = put_message(0, 1, 6000, 4096, 4064, 1, SIZE_MAX), first = FRAME_HEADER + 4064;
    memmove(stream + first + 9, stream + first, whole - first);
    memset(stream + first, 'x', 9);
    assert_int_equal(feed(&in, stream, whole + 9, STREAM_MAX), -EPROTO);
    takes(&in, 0, 1, 6000, 1);
    assert_int_equal(in.dropped, 0);
    naru__inbox_deinit(&in);
}

/* A record that is too large here is passed over whole: its payload is not looked at. */
static void payload_never_becomes_frames(void **state)
{
    (void)state;
    static const size_t sizes[] = {3000, 4064, 9000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct naru_inbox in;
        init(&in, true);
        in.max_message = 1000;
        uint8_t keep[FRAME_HEADER];
        memcpy(keep, pattern, sizeof keep);
        naru__frame_encode(&(struct naru_frame){FRAME_WHOLE, 66, 16, 0, 0, 1, 1}, pattern);
        size_t n = put_message(0, 1, sizes[i], 4096, 4064, 1, SIZE_MAX);
        memcpy(pattern, keep, sizeof keep);
        n = put_message(n, 2, 10, 4096, 4064, 2, SIZE_MAX);
        assert_int_equal(feed(&in, stream, n, 100), -EPROTO);
        assert_int_equal(in.count, 1);
        takes(&in, 0, 2, 10, 2);
        naru__inbox_deinit(&in);
    }
}

/* ---- straight into the caller's buffer ---- */

static void a_message_done_when_its_receiver_leaves_is_kept(void **state)
{
    (void)state;
    static uint8_t buf[100000];
    for (int cut = 0; cut < 2; cut++) {
        struct naru_inbox in;
        struct naru_item item;
        init(&in, false);
        size_t n = put_message(0, 3, sizeof buf, 4096, FRAME_PIECE, 1, SIZE_MAX);
        size_t half = cut ? n / 2 : FRAME_HEADER + 10;
        assert_int_equal(feed(&in, stream, half, STREAM_MAX), 0);
        assert_false(naru__inbox_direct(&in, 3, buf, sizeof buf - 1));
        assert_false(naru__inbox_direct(&in, 2, buf, sizeof buf));
        assert_false(naru__inbox_direct(&in, -3, buf, sizeof buf));
        assert_true(naru__inbox_direct(&in, 3, buf, sizeof buf));
        if (cut) { /* leaves in the middle */
            naru__inbox_direct_leave(&in);
            memset(buf, 0, sizeof buf);
        }
        assert_int_equal(feed(&in, stream + half, n - half, 5000), 0);
        if (!cut) /* leaves when all of it is there */
            naru__inbox_direct_leave(&in);
        naru__inbox_direct_leave(&in); /* once more is nothing */
        assert_false(naru__inbox_direct_done(&in, &item));
        takes(&in, 3, 3, sizeof buf, 1);
        naru__inbox_deinit(&in);
    }
}

static void a_direct_message_arrives_and_the_next_behind_it(void **state)
{
    (void)state;
    static uint8_t buf[70000];
    struct naru_inbox in;
    struct naru_item item;
    init(&in, false);
    size_t n = put_message(0, 3, sizeof buf, 4096, FRAME_PIECE, 1, SIZE_MAX);
    n = put_message(n, 4, 20, 4096, FRAME_PIECE, 2, SIZE_MAX);
    assert_int_equal(feed(&in, stream, 4000, STREAM_MAX), 0);
    assert_true(naru__inbox_direct(&in, 0, buf, sizeof buf));
    assert_int_equal(feed(&in, stream + 4000, n - 4000, STREAM_MAX), 0);
    assert_true(naru__inbox_direct_done(&in, &item));
    assert_true(item.type == 3 && item.size == sizeof buf && item.sequence == 1);
    assert_memory_equal(buf, pattern, sizeof buf);
    assert_int_equal(naru__inbox_fed(&in, 0), 0);
    takes(&in, 0, 4, 20, 2);
    naru__inbox_deinit(&in);
}

/* ---- memory ---- */

static int allocations_left;
static int fails_allocations(const char *call)
{
    return strcmp(call, "alloc") == 0 && allocations_left-- <= 0 ? -ENOMEM : 0;
}

static void no_memory_loses_no_byte(void **state)
{
    (void)state;
    for (int round = 0; round < 8; round++) {
        struct naru_inbox in;
        size_t n = 0;
        init(&in, round % 2);
        for (int i = 0; i < 80; i++)
            n = put_message(n, 1, i % 10 ? 10 : 9000, 4096, 4064, (uint64_t)i, SIZE_MAX);
        allocations_left = round / 2;
        naru__fault = fails_allocations;
        size_t at = 0;
        for (int tries = 0; at < n && tries < 100000; tries++) {
            struct iovec room[2];
            if (tries % 3 == 2)
                allocations_left = 1; /* memory comes back now and then */
            int pieces = naru__inbox_room(&in, room, 0);
            if (pieces <= 0)
                continue;
            size_t some = room[0].iov_len < n - at ? room[0].iov_len : n - at;
            memcpy(room[0].iov_base, stream + at, some);
            at += some;
            int r = naru__inbox_fed(&in, some);
            assert_true(r == 0 || r == -ENOMEM);
        }
        naru__fault = NULL;
        struct iovec room[2];
        assert_int_equal(at, n);
        assert_true(naru__inbox_room(&in, room, 0) >= 0);
        for (int i = 0; i < 80; i++)
            takes(&in, 0, 1, i % 10 ? 10 : 9000, (uint64_t)i);
        naru__inbox_deinit(&in);
    }
}

/* A byte in the stash must not keep the block that it came in. */
static void stashed_bytes_keep_no_blocks(void **state)
{
    (void)state;
    enum { ROUNDS = 400, LARGE = 60000 };
    struct naru_inbox in;
    init(&in, false);
    for (int i = 0; i < ROUNDS; i++) {
        size_t n = put_message(0, 2, 1, 4096, FRAME_PIECE, (uint64_t)i, SIZE_MAX);
        n = put_message(n, 1, LARGE, 4096, FRAME_PIECE, (uint64_t)i, SIZE_MAX);
        assert_int_equal(feed(&in, stream, n, STREAM_MAX), 0);
        takes(&in, 1, 1, LARGE, (uint64_t)i);
    }
    assert_int_equal(in.count, ROUNDS);
    /* distinct places far apart would be blocks: memory of the items' own size is close together */
    uintptr_t low = UINTPTR_MAX, high = 0;
    size_t far = 0;
    for (int i = 0; i < ROUNDS; i++) {
        uintptr_t at = (uintptr_t)in.items[(in.head + (size_t)i) & (in.room - 1)].data;
        far += high && at - high > LARGE && at > high;
        low = at < low ? at : low;
        high = at > high ? at : high;
    }
    assert_true(far < 20);
    for (int i = 0; i < ROUNDS; i++)
        takes(&in, 2, 2, 1, (uint64_t)i);
    naru__inbox_deinit(&in);
}

/* ---- order and selecting ---- */

static void given_back_messages_keep_their_place(void **state)
{
    (void)state;
    struct naru_inbox in;
    struct naru_item item[5];
    size_t n = 0;
    init(&in, false);
    for (uint64_t i = 0; i < 5; i++)
        n = put_message(n, 1 + (i % 2), 10, 4096, FRAME_PIECE, i, SIZE_MAX);
    assert_int_equal(feed(&in, stream, n, STREAM_MAX), 0);
    for (int i = 0; i < 5; i++)
        assert_true(naru__inbox_take(&in, 0, &item[i]));
    for (int i = 0; i < 5; i++)
        assert_int_equal(naru__inbox_return(&in, &item[(i * 3) % 5], i % 2), 0);
    takes(&in, 2, 2, 10, 1);
    takes(&in, 0, 1, 10, 0);
    takes(&in, -2, 1, 10, 2);
    takes(&in, NARU_EXCEPT(1), 2, 10, 3);
    assert_false(naru__inbox_has(&in, 2));
    takes(&in, -1, 1, 10, 4);
    naru__inbox_deinit(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_survives_the_wire),
        cmocka_unit_test(any_flipped_bit_of_a_header_is_refused),
        cmocka_unit_test(impossible_headers_are_refused),
        cmocka_unit_test(another_version_is_named),
        cmocka_unit_test(every_size_arrives_at_every_cut),
        cmocka_unit_test(a_send_given_up_at_any_byte_leaves_nothing),
        cmocka_unit_test(a_message_of_many_pieces_can_be_given_up),
        cmocka_unit_test(empty_pieces_are_no_end),
        cmocka_unit_test(frames_out_of_place_are_refused),
        cmocka_unit_test(nothing_comes_before_the_greeting),
        cmocka_unit_test(nothing_comes_behind_a_foreign_greeting),
        cmocka_unit_test(garbage_takes_no_record_along),
        cmocka_unit_test(garbage_inside_a_long_record_is_passed_over),
        cmocka_unit_test(payload_never_becomes_frames),
        cmocka_unit_test(a_message_done_when_its_receiver_leaves_is_kept),
        cmocka_unit_test(a_direct_message_arrives_and_the_next_behind_it),
        cmocka_unit_test(no_memory_loses_no_byte),
        cmocka_unit_test(stashed_bytes_keep_no_blocks),
        cmocka_unit_test(given_back_messages_keep_their_place),
    };
    fill_pattern();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
