/* SPDX-License-Identifier: MIT */
/* connection-inside.h - what the three files of a connection share: receiving.c, sending.c and
 * connection.c, which makes and ends it. */
#ifndef NARU_TRANSPORT_COMMON_CONNECTION_INSIDE_H
#define NARU_TRANSPORT_COMMON_CONNECTION_INSIDE_H

#include "transport/common/bytes.h"
#include "transport/common/connection.h"
#include "transport/common/inbox.h"

/* Who holds each end of a pair, and who has finished with it, in memory that a fork shares. Said
 * here and not in the stream, for two processes that have the same end, the maker and the child
 * that adopted it, may not both write: a word of one would fall into a message of the other. */
struct holders {
    _Atomic uint32_t holder[2], finished[2]; /* pids */
};

struct naru_pair { /* of this process */
    _Atomic int refs;
    _Atomic bool passed[2]; /* this end went to another program, which will greet for itself */
    struct holders *shared;
};

/* Messages copied behind one another for one write. */
struct batch {
    uint8_t *bytes;
    size_t *ends; /* where each message's frames end */
    size_t n;
};

enum { MET_ANYBODY = 1u, MET_HEIR = 2u };

struct connection {
    struct naru_channel channel;
    const struct naru_medium *medium;
    struct naru_cover *cover; /* NULL: bytes go as they are */
    _Atomic int in, out; /* written by their own direction's thread, read by naru_fd and stats */
    size_t max_receive, stash;
    struct naru_capacity capacity;
    struct naru_pair *pair;
    int side;

    pthread_mutex_t rx; /* guards the receiving half */
    struct naru_inbox inbox;
    int rx_end;           /* 0, or what receiving answers once the inbox is empty */
    char rx_why[400];     /* its sentence */
    uint32_t holder, bye; /* pids of the last HELLO and BYE */
    struct {              /* descriptors that came and were not announced yet */
        int fd[NARU__FDS_MAX];
        unsigned n;
        bool cut; /* some could not be opened */
    } arrived;
    int64_t armed_select; /* what naru_fd is to tell of: the last select that found nothing */
    bool armed;

    _Atomic unsigned met;    /* MET_ bits: which HELLOs have come */
    _Atomic size_t peer_max; /* the largest message that the other end takes */
    bool wait_hello;         /* this end was inherited: nothing is sent before a HELLO */

    uint64_t sequence; /* sending half */
    uint32_t sender;
    uint8_t *owed;
    size_t owed_start, owed_end, owed_size;
    struct batch batch; /* one allocation, at ends */
    bool finished;      /* shut down */
    _Atomic bool used; /* relaxed: both threads only ever set it; pass reads it when neither runs */
};

static inline struct connection *of_channel(naru_channel *channel)
{
    return (struct connection *)channel;
}

static inline struct connection *of_handle(struct naru_handle *h)
{
    return (struct connection *)h;
}

static inline const char *name_of(const struct connection *c)
{
    return c->channel.handle.name;
}

/* ---- receiving.c ---- */

/* HELLO and BYE, seen by the inbox. Under rx. */
int naru__connection_control(void *context, const struct naru_frame *, const uint8_t *payload);
/* Takes in what the kernel has, once. > 0: something came; -EAGAIN; else the end. Under rx. */
int naru__connection_pull(struct connection *);
/* The sentence of the end, once more; returns code. */
int naru__connection_say_end(struct connection *, int code);
/* Is the other end another program's, which shares no memory with this one? */
bool naru__peer_is_foreign(const struct connection *);
/* The last holder of the other end: has it finished? Under rx. */
bool naru__peer_finished(struct connection *);

ssize_t naru__connection_recv(naru_channel *, int64_t select, void *buf, size_t cap,
                              struct naru_info *ret_info, int64_t deadline);
ssize_t naru__connection_recv_fds(naru_channel *, int64_t select, void *buf, size_t cap,
                                  struct naru_info *ret_info, int *ret_fds, size_t max_fds,
                                  size_t *ret_n_fds, int64_t deadline);
int naru__connection_take(naru_channel *, int64_t select, int64_t deadline,
                          struct naru_message *ret_message);
size_t naru__connection_take_ready(naru_channel *, int64_t select, struct naru_message *, size_t n);
void naru__connection_release(naru_channel *, struct naru_message *, size_t n);
void naru__connection_give_back(naru_channel *, struct naru_message *, size_t n);

/* ---- sending.c ---- */

/* What goes before anything else is written; and writing it. */
int naru__connection_owe(struct connection *, const void *bytes, size_t n);
int naru__connection_pay(struct connection *);
/* Says BYE if it can be said at once. */
void naru__connection_say_bye(struct connection *);
/* Does this process speak for this end of a pair? Else a child has adopted it. */
bool naru__connection_speaks(const struct connection *);

int naru__connection_send(naru_channel *, const struct naru_outgoing *, int64_t deadline);
int naru__connection_post(naru_channel *, const struct naru_outgoing *);
int naru__connection_settle(naru_channel *);
int naru__connection_send_fds(naru_channel *, const struct naru_outgoing *, const int *fds,
                              size_t n_fds, int64_t deadline);
ssize_t naru__connection_send_many(naru_channel *, const struct naru_message *, size_t n,
                                   int64_t deadline);
int naru__connection_shutdown(naru_channel *);
int naru__connection_flush(naru_channel *, int64_t deadline);
int naru__connection_wait_peers(naru_channel *, unsigned n, int64_t deadline);

#endif
