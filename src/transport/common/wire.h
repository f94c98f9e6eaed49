/* SPDX-License-Identifier: MIT */
/* wire.h - one message as the bytes that carry it: a cursor over frames and payload pieces that
 * survives partial writes. Knows no descriptor. */
#ifndef NARU_TRANSPORT_COMMON_WIRE_H
#define NARU_TRANSPORT_COMMON_WIRE_H

#include "core/transport.h"
#include "transport/common/frame.h"

enum { WIRE_FRAMES = 16, WIRE_VECTOR = 2 * WIRE_FRAMES + 64 };

struct naru_wire {
    struct naru_frame frame;    /* of the current piece; kind END: the last */
    const struct iovec *vector; /* payload: the piece where the current frame's begins */
    size_t n, offset;           /* pieces left; bytes of the first one that are behind us */
    size_t piece;               /* largest payload of a frame */
    size_t at;                  /* bytes of the current frame already written */
    bool whole, done;
    uint8_t headers[WIRE_FRAMES][FRAME_HEADER + 1];
};

enum { WIRE_SMALL = 1024 }; /* up to here one copy is cheaper than a vector */

/* A message of at most WIRE_SMALL bytes as one WHOLE frame. Returns its bytes. */
size_t naru__wire_small(const struct naru_outgoing *, uint32_t sender, uint64_t sequence,
                        uint8_t out[FRAME_HEADER + WIRE_SMALL]);

/* atomic: wire bytes that the medium takes whole or not at all; piece: payload a frame. */
void naru__wire_init(struct naru_wire *, const struct naru_outgoing *, size_t atomic, size_t piece,
                     uint32_t sender, uint64_t sequence);

/* The next bytes to write, at most WIRE_VECTOR pieces and `frames` frames. Returns how many. */
int naru__wire_fill(struct naru_wire *, struct iovec *ret_vector, int frames);
void naru__wire_advance(struct naru_wire *, size_t written);

/* Has any byte gone? */
bool naru__wire_begun(const struct naru_wire *);

/* The sender gives up: the bytes that make the receiver forget the message, at most
 * FRAME_PIECE + 2 headers and a byte. Returns how many. */
size_t naru__wire_abort(struct naru_wire *, uint8_t *out);

enum { WIRE_ABORT_MAX = FRAME_PIECE + 2 * FRAME_HEADER + 1 };

#endif
