/* SPDX-License-Identifier: MIT */
/* frame.h - the wire form of messages on byte streams, 32 bytes before each piece. naru-frames(7).
 *
 *   offset 0  u16 magic      0x726e, "nr"
 *          2  u8  kind       below
 *          3  u8  check      all 32 bytes add up to 0 modulo 256
 *          4  u32 type       of the message
 *          8  u32 size       payload bytes after this header
 *         12  u32 left       payload bytes of the message in MORE frames still to come
 *         16  u32 signature  of a typed struct, 0: none
 *         20  u32 sender     who: a pid on connections, a random number on queues
 *         24  u64 sequence   of the message, from 1
 *
 * Little-endian. A message that the medium takes in one atomic write is one WHOLE frame. A larger
 * one, and over TCP every one, is FIRST, MORE …, END; the END's one payload byte says at last
 * whether the message counts (0) or was given up (1), so that a sender whose time passes in the
 * middle, even in the middle of the END, still decides. */
#ifndef NARU_TRANSPORT_COMMON_FRAME_H
#define NARU_TRANSPORT_COMMON_FRAME_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    FRAME_HEADER = 32,
    FRAME_MAGIC = 0x726e,
    FRAME_PIECE = 65536, /* largest payload of one frame */
    FRAME_VERSION = 1,
    FRAME_HELLO_SIZE = 32,
    FRAME_PARCEL_SIZE = 4
};

enum naru_frame_kind {
    FRAME_HELLO = 1, /* first on a connection, again by each new holder of the end */
    FRAME_WHOLE,
    FRAME_FIRST,
    FRAME_MORE,
    FRAME_END,
    FRAME_BYE,   /* this holder sends no more */
    FRAME_PARCEL /* the next message has descriptors, which came with the first of these bytes; u32
                  * how many, 0: it has none after all */
};

struct naru_frame {
    uint8_t kind;
    uint32_t type, size, left, signature, sender;
    uint64_t sequence;
};

/* HELLO's payload: 8 bytes "naru/1\0\0", u32 version, u32 header size, u64 largest message this end
 * takes, u32 pid, u32 flags. */
enum { HELLO_INHERITED = 1u };

struct naru_hello {
    uint32_t version, header, pid, flags;
    uint64_t max_message;
};

static inline void naru__frame_put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

/* The sum of the 32 bytes of four words, modulo 256. */
static inline uint8_t naru__frame_sum(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    const uint64_t even = UINT64_C(0x00ff00ff00ff00ff); /* four sums of 16 bits, of 8 bytes each */
    uint64_t sums = (a & even) + (b & even) + (c & even) + (d & even);
    sums += (a >> 8 & even) + (b >> 8 & even) + (c >> 8 & even) + (d >> 8 & even);
    return (uint8_t)(sums * UINT64_C(0x0001000100010001) >> 48);
}

/* Inline, so that the fields stay in registers: those that were just stored one by one cannot be
 * loaded as part of a word without a wait. */
static inline void naru__frame_encode(const struct naru_frame *frame, uint8_t out[FRAME_HEADER])
{
    uint64_t a = FRAME_MAGIC | (uint64_t)frame->kind << 16 | (uint64_t)frame->type << 32;
    uint64_t b = frame->size | (uint64_t)frame->left << 32;
    uint64_t c = frame->signature | (uint64_t)frame->sender << 32;
    uint64_t d = frame->sequence;
    naru__frame_put64(out, a | (uint64_t)(uint8_t)-naru__frame_sum(a, b, c, d) << 24);
    naru__frame_put64(out + 8, b);
    naru__frame_put64(out + 16, c);
    naru__frame_put64(out + 24, d);
}

/* 0, or -EPROTO without a sentence: no magic, a bad check, an unknown kind, sizes that cannot be.
 */
int naru__frame_decode(const uint8_t in[FRAME_HEADER], struct naru_frame *ret_frame);

/* A whole PARCEL frame, and the number in one, whose size is right. */
void naru__frame_parcel(uint32_t n, uint32_t sender, uint8_t out[FRAME_HEADER + FRAME_PARCEL_SIZE]);
uint32_t naru__frame_parcel_count(const uint8_t *payload);

/* A whole HELLO frame. */
void naru__hello_encode(const struct naru_hello *, uint8_t out[FRAME_HEADER + FRAME_HELLO_SIZE]);
/* 0, or -EPROTO with a sentence that names both versions. */
int naru__hello_decode(const uint8_t *payload, size_t size, struct naru_hello *ret_hello);

#endif
