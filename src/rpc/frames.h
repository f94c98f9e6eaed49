/* SPDX-License-Identifier: MIT */
/* frames.h - naru's own wire form of calls: what is in each frame, to bytes and back.
 *
 * A frame is a message of a connection and its kind is the message's type. Fields are
 * little-endian; what OPEN, MESSAGE, STATUS and HEADER carry begins on a multiple of 8 bytes.
 * naru-service(7) has it byte by byte. Pure functions: no call, no connection; bytes come from
 * anybody. */
#ifndef NARU_RPC_FRAMES_H
#define NARU_RPC_FRAMES_H

#include "base/private.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum naru_rpc_kind {
    RPC_HELLO = 1, /* both sides, first: their limits */
    RPC_OPEN,      /* client: a call, and its first message */
    RPC_MESSAGE,   /* a message, or a part of one; or that no more comes */
    RPC_STATUS,    /* server: the call is over; the answer of a unary one is in it */
    RPC_CANCEL,    /* client: nobody waits for it any more */
    RPC_WINDOW,    /* so many more bytes of a stream may come */
    RPC_HEADER,    /* server: metadata, ahead of the first message */
    RPC_PING,
    RPC_PONG,
    RPC_GOAWAY, /* no new calls on this connection */
    RPC_KINDS
};

enum {
    RPC_END = 1,        /* nothing follows from this side but, from a server, the status */
    RPC_HAS = 2,        /* a message, or a part of one, is in the frame */
    RPC_MORE = 4,       /* its next part comes in the call's next MESSAGE frame, or in STATUS */
    RPC_TIME = 8,       /* u64: the deadline, ns from now */
    RPC_TOTAL = 16,     /* u64: the whole message's size; with the first part of one */
    RPC_SIGNATURE = 32, /* u64: of the structs that the client means */
    RPC_TEXT = 64,      /* u32 length, bytes: the method's path, or the status's text */
    RPC_METADATA = 128, /* u32 length, bytes: entries, see naru__metadata_check */
    RPC_DETAILS = 256,  /* u32 length, bytes: of the status */
    RPC_EXTRAS = RPC_TIME | RPC_TOTAL | RPC_SIGNATURE | RPC_TEXT | RPC_METADATA | RPC_DETAILS
};

enum {
    RPC_VERSION = 1,
    RPC_HEAD = 16,         /* id, number, flags, units of 8 bytes that follow */
    RPC_PART = 32768,      /* largest part of a message in a frame */
    RPC_EXTRA_MAX = 65536, /* what may lie between head and message */
    RPC_PATH_MAX = 1024,
    RPC_TEXT_MAX = 8192, /* of a status */
    RPC_DETAILS_MAX = 8192,
    RPC_METADATA_MAX = 32768,
    RPC_FIRST_WINDOW = 65536, /* of a stream before HELLO has told */
    RPC_METHODS = 4096,       /* numbers of methods on a connection */
    RPC_HELLO_SIZE = 48
};
#define RPC_MAGIC UINT64_C(0x316c6c616375726e) /* "nrucall1" */

struct naru_span {
    const void *data;
    size_t size;
};

struct naru_rpc_frame {
    uint32_t kind;
    uint32_t number; /* OPEN: of the method; STATUS, CANCEL, GOAWAY: the code */
    uint64_t id;
    uint32_t flags;
    int64_t time;
    uint64_t total, signature;
    uint64_t value; /* WINDOW: the credit; PING, PONG: the token */
    struct naru_span text, metadata, details;
    struct naru_span message; /* borrowed, as all the spans */
};

struct naru_rpc_hello {
    uint32_t version;
    uint32_t max_calls;
    uint64_t max_message, window;
    uint32_t max_metadata;
};

/* Everything of the frame but its message, whose bytes follow as they are. Returns how many:
 * a multiple of 8, at most RPC_HEAD + RPC_EXTRA_MAX. */
size_t naru__rpc_size(const struct naru_rpc_frame *);
size_t naru__rpc_encode(const struct naru_rpc_frame *, uint8_t *out);
/* Reads a frame of this kind. NULL, or what is wrong with it; ret_frame is then of no use. Metadata
 * is not looked into: it may lie in memory that its sender can still change, so it is copied first.
 */
const char *naru__rpc_decode(uint32_t kind, const void *data, size_t size,
                             struct naru_rpc_frame *ret_frame);

void naru__rpc_hello_encode(const struct naru_rpc_hello *, uint8_t out[RPC_HELLO_SIZE]);
const char *naru__rpc_hello_decode(const void *data, size_t size, struct naru_rpc_hello *);

/* ---- metadata: u16 length of the key, u16 0, u32 length of the value, key, value; and so on ----
 */

struct naru_metadata;

/* NULL, or what is wrong with one. Counts what it adds to the list. */
NARU__EXPORTED const char *naru__metadata_fault(const struct naru_metadata *);
NARU__EXPORTED size_t naru__metadata_size(const struct naru_metadata *);
NARU__EXPORTED size_t naru__metadata_put(const struct naru_metadata *, uint8_t *out);
/* Is it a list of sound entries? */
bool naru__metadata_check(const void *list, size_t size);
/* The first entry of what is left of a checked list; false: none is left. */
NARU__EXPORTED bool naru__metadata_next(struct naru_span *rest, struct naru_metadata *ret_entry);
/* The i-th value of a key in a checked list. */
bool naru__metadata_find(struct naru_span list, const char *key, unsigned i,
                         struct naru_metadata *ret_entry);

#endif
