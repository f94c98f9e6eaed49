/* SPDX-License-Identifier: MIT */
/* mq.h - a channel whose medium keeps messages whole, as the kernel's message queues and datagram
 * sockets do: receiving into memory of naru's, keeping what did not fit the caller's buffer or was
 * given back. */
#ifndef NARU_TRANSPORT_COMMON_MQ_H
#define NARU_TRANSPORT_COMMON_MQ_H

#include "core/transport.h"

struct naru_mq;

/* One message in memory. The medium may write its own header just before data. */
struct naru_parcel {
    struct naru_parcel *next;
    size_t room, size;
    uint32_t type, flags;
    uint64_t order;  /* of arrival at this handle */
    uint64_t missed; /* messages that the medium lost before this one */
    _Alignas(16) uint8_t head[16];
    uint8_t data[];
};

struct naru_mq_ops {
    /* One message into parcel: its type and size. `block`: wait for ever if there is none. -EAGAIN;
     * to be tried again: -EINTR; -E2BIG after raising mq->room, with so large a parcel. */
    int (*get)(struct naru_mq *, int64_t select, struct naru_parcel *, bool block);
    int (*put)(struct naru_mq *, const struct naru_outgoing *, bool block);
    /* A step of the wait after -EAGAIN. */
    int (*step)(struct naru_wait *);
    /* Messages (or bytes) in the medium, or a negative errno with a sentence. */
    long (*unread)(struct naru_mq *);
    /* A send found no room in time: the sentence, with the limit; returns `code`. */
    int (*full)(struct naru_mq *, int code);
    /* NULL: the medium has no end. */
    int (*shutdown)(struct naru_mq *);
    /* Closes what the transport has opened. */
    void (*close)(struct naru_mq *);
};

/* Embedded first in each such transport's own struct. */
struct naru_mq {
    struct naru_channel channel;
    const struct naru_mq_ops *ops;
    bool blocks;       /* a wait for ever is one system call, which naru_cancel cannot end */
    bool copy;         /* a forked child's: only memory and descriptors are freed */
    bool counts_bytes; /* what `unread` gives */
    bool by_priority;  /* of what is kept the highest type goes first */
    size_t room;       /* what a parcel must hold for the next message; receiving thread's */
    struct naru_parcel *spare; /* receiving thread's */
    uint64_t order;
    uint8_t *out; /* sending thread's, where pieces are gathered */
    size_t out_room;

    pthread_mutex_t
        lock; /* guards what follows: the sending thread's naru__leave looks there too */
    struct naru_parcel *kept;
    int64_t armed_select; /* of the last receive that found nothing */
};

/* The kernel makes a queue in two steps, and another opener may see it between them: if what it has
 * may still become what was asked for, look again for so long before it counts as another. */
enum { NARU__SETTLE_MS = 100 };

/* Zeroed memory is a naru_mq that naru__mq_free takes. */
int naru__mq_init(struct naru_mq *, const struct naru_mq_ops *, const struct naru_handle_ops *,
                  const char *name, int role, unsigned max_taken);
void naru__mq_free(struct naru_mq *);

/* handle_ops.ready: a kept message that the receiver wants. */
bool naru__mq_ready(struct naru_handle *, int events);

/* The parcel of a `get` with more room and the bytes that it has; NULL: no memory, and it stays. */
struct naru_parcel *naru__mq_enlarge(struct naru_mq *, size_t room);

/* All pieces behind `lead` bytes of room, in one buffer of the handle's. NULL: no memory. */
uint8_t *naru__mq_gather(struct naru_mq *, const struct naru_outgoing *, size_t lead);

#endif
