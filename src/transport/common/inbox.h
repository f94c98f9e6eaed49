/* SPDX-License-Identifier: MIT */
/* inbox.h - from bytes to messages: parses frames, joins long messages, keeps what nobody asked for
 * yet. Knows no descriptor: the owner reads into the room it offers and says how much came.
 *
 * Messages lie in reference-counted blocks and are handed out in place. One thread at a time. */
#ifndef NARU_TRANSPORT_COMMON_INBOX_H
#define NARU_TRANSPORT_COMMON_INBOX_H

#include "naru/channel.h"
#include "transport/common/frame.h"

#include <stdbool.h>
#include <sys/uio.h>

struct naru_block;
struct naru_parcel;

struct naru_item {
    struct naru_block *block;
    uint8_t *data;
    size_t size;
    uint32_t type, flags, signature, sender;
    uint64_t sequence;
    uint64_t order; /* of arrival in this inbox */
    struct naru_parcel *parcel; /* NULL: no descriptors came with it */
};

struct naru_inbox {
    /* given at init */
    bool shared;        /* many senders, and others read too: orphans and garbage are skipped */
    size_t max_message; /* a longer one is -EPROTO: its sender was told */
    int (*control)(void *context, const struct naru_frame *, const uint8_t *payload);
    void *context;
    bool greeted; /* the owner has seen a HELLO: before it no message is let in; shared: always */
    bool stalled; /* -ENOMEM left frames unparsed: they come before more bytes */

    struct naru_block *block; /* where bytes arrive */
    struct naru_block *spare; /* kept for the next */
    size_t start, end;        /* of what is not parsed yet */

    struct naru_parcel *parcel; /* the next message's: the owner has seen it announced */

    struct { /* the long message being joined */
        struct naru_frame first;
        struct naru_block *block; /* NULL: none */
        uint8_t *data;            /* where it goes */
        size_t total, got;
        size_t piece_left; /* of the current frame */
        size_t announced;  /* bytes in frames after the current one */
        bool active, direct;
        struct naru_parcel *parcel;
    } join;

    struct naru_item *items; /* a ring, power of two */
    size_t room, head, count;
    uint64_t order;
    size_t held;      /* bytes in items */
    uint64_t dropped; /* long messages given up or cut off by their sender's death */
    uint64_t garbage; /* bytes skipped */
};

void naru__inbox_init(struct naru_inbox *, bool shared, size_t max_message,
                      int (*control)(void *, const struct naru_frame *, const uint8_t *),
                      void *context);
void naru__inbox_deinit(struct naru_inbox *);

/* Where the next bytes go: one or two pieces. Returns how many, 0 when what is here has to be
 * looked at first, or as naru__inbox_fed. limit: read at most so many bytes (0: what fits). */
int naru__inbox_room(struct naru_inbox *, struct iovec ret_room[2], size_t limit);

/* n bytes have come. 0, -ENOMEM, what control answered, or -EPROTO with a sentence: on a shared
 * inbox what was garbage is skipped and all that is good is here, else it must not be fed again. */
int naru__inbox_fed(struct naru_inbox *, size_t n);

/* The next message that select wants, taken out. False: none yet. */
bool naru__inbox_take(struct naru_inbox *, int64_t select, struct naru_item *ret_item);
bool naru__inbox_has(const struct naru_inbox *, int64_t select);
const struct naru_item *naru__inbox_peek(const struct naru_inbox *, int64_t select);
void naru__item_release(struct naru_inbox *, struct naru_item *);
/* Back to its place; given back by a receiver: marked. -ENOMEM: it stays the caller's. */
int naru__inbox_return(struct naru_inbox *, struct naru_item *, bool marked);

/* Bytes that must come until anything more can be parsed: how much a reader that shares the medium
 * may read without taking another's record. */
size_t naru__inbox_need(const struct naru_inbox *);
/* A long message has begun and is not whole yet, or a part of a frame is here. */
bool naru__inbox_midway(const struct naru_inbox *);
/* Its sender is dead: forget what of it is here. */
void naru__inbox_drop(struct naru_inbox *);

/* The long message under way, if select wants it and nothing wanted lies before it, goes straight
 * into buf from now on. False: there is none, or cap is too small. */
bool naru__inbox_direct(struct naru_inbox *, int64_t select, void *buf, size_t cap);
/* True once it is whole: ret_item describes it, without data. What came behind it is parsed by the
 * next naru__inbox_fed, which the caller owes (n may be 0). */
bool naru__inbox_direct_done(struct naru_inbox *, struct naru_item *ret_item);
/* The caller leaves: what came, be it the whole, moves to memory of the inbox's. */
void naru__inbox_direct_leave(struct naru_inbox *);

/* ---- items and public messages ---- */

void naru__item_info(const struct naru_item *, struct naru_info *ret_info);
/* Whoever takes a message gets no descriptors: they are closed. */
void naru__item_to_message(const struct naru_item *, const void *owner,
                           struct naru_message *ret_message);
struct naru_item naru__item_of_message(const struct naru_message *);

/* Up to n of the messages that are here and that select wants. How many, and their bytes. */
size_t naru__inbox_take_messages(struct naru_inbox *, int64_t select, const void *owner,
                                 struct naru_message *ret_messages, size_t n, size_t *ret_bytes);
void naru__inbox_end_messages(struct naru_inbox *, const struct naru_message *, size_t n,
                              bool give_back);

#endif
