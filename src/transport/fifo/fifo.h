/* SPDX-License-Identifier: MIT */
/* fifo.h - named pipes: `fifo:/path` as stream and as queue. */
#ifndef NARU_TRANSPORT_FIFO_FIFO_H
#define NARU_TRANSPORT_FIFO_FIFO_H

#include "core/transport.h"

extern const struct naru_transport naru__fifo_transport;

/* What a FIFO is to be like when it is created, or must agree with when it is there. */
struct fifo_wish {
    unsigned flags;       /* NARU_EXCLUSIVE, NARU_EXISTING */
    mode_t mode;          /* 0: 0600, or whatever is there */
    int64_t owner, group; /* 0: this user's */
};

/* Path of the URL. -EINVAL with a sentence. */
int naru__fifo_path(const struct naru_url *, const char **ret_path);

/* Makes sure that a FIFO is at path. 1: it was created here; 0: it was there. */
int naru__fifo_ensure(const char *name, const char *path, const struct fifo_wish *);

/* Opens it, non-blocking, and checks that it is a FIFO. -ENXIO without a sentence: no reader. */
int naru__fifo_open(const char *name, const char *path, int flags);

/* The writing end, waiting till somebody reads. *watch: an inotify descriptor made on the way,
 * owned by the caller, NARU__NO_FD at first. probe: also wait when *out is open (its write said
 * EPIPE). */
int naru__fifo_connect(struct naru_wait *, const char *path, _Atomic int *out, _Atomic int *watch);

int naru__fifo_stream_open(const struct naru_url *, int mode, const struct naru_stream_options *,
                           int64_t deadline, naru_stream **ret_s);
int naru__fifo_queue_open(const struct naru_url *, int role, const struct naru_queue_options *,
                          naru_channel **ret_c);

/* A reader that blocks in its open(2) counts as one, but inotify tells of it only when the open has
 * succeeded, which waits for the writer: so a waiting writer also looks again this often. */
enum { FIFO_LOOK_NS = 10000000 };

#define FIFO_BACK ".back" /* path of the other direction of a two-way pair */

#endif
