/* SPDX-License-Identifier: MIT */
/* cover.h - what may lie between an end and its socket and makes other bytes of its bytes: TLS
 * (src/tls). Without one (NULL) bytes go as they are.
 *
 * Every slot is called without waiting and from either direction's thread. Results are those of
 * os/fd.h; -EPERM, -EPROTO and -ECONNRESET are its own as well, with a sentence that does not name
 * the object: whoever knows it puts the name before it. The socket stays its owner's. */
#ifndef NARU_CORE_COVER_H
#define NARU_CORE_COVER_H

#include "base/private.h"
#include "core/handle.h"
#include "naru/tls.h"

#include <errno.h>
#include <sys/uio.h>

struct naru_cover;

struct naru_cover_ops {
    size_t size;
    /* The two ends agree on keys, as far as it goes now: 0 done, -EAGAIN, or why they never will.
     * Every other slot that reads or writes does it, too. */
    int (*meet)(struct naru_cover *);
    /* 0: the other end has said that no more comes. */
    ssize_t (*read)(struct naru_cover *, const struct iovec *room, int n);
    /* How many bytes it has taken; those of them that found no room go first with what follows. */
    ssize_t (*write)(struct naru_cover *, const struct iovec *, int n);
    /* 0: all that it has taken is in the kernel; -EAGAIN. */
    int (*flush)(struct naru_cover *);
    /* Copies what is to go before all else, as soon as they have met: few bytes, once. */
    int (*first)(struct naru_cover *, const void *bytes, size_t n);
    /* No more goes out: it says so to the other end, then the socket does. */
    void (*finish)(struct naru_cover *);
    /* Sets what tells that `events` may be possible. */
    void (*watch)(struct naru_cover *, int events, struct naru_watch *ret_watch);
    /* Would a read find something that no descriptor tells of? */
    bool (*ready)(struct naru_cover *);
    /* Who the other end has shown itself to be: the certificate's subject; "": nobody. */
    void (*subject)(struct naru_cover *, char *buf, size_t n);
    void (*close)(struct naru_cover *);
};

struct naru_cover {
    const struct naru_cover_ops *ops;
    struct naru_handle *handle; /* the end's: its threads are woken when the two have met */
};

/* What a listener makes the covers of whom it accepts with. */
struct naru_cover_maker {
    /* The socket stays the caller's, who closes it after the cover. */
    int (*make)(struct naru_cover_maker *, int fd, struct naru_cover **ret_cover);
    /* What its owner ought to know, for naru_stats; "": nothing. */
    void (*note)(struct naru_cover_maker *, char *buf, size_t n);
    void (*free)(struct naru_cover_maker *);
};

/* A copy, in one piece of memory, for who opens or listens later; of NULL none. */
int naru__tls_keep(const struct naru_tls_options *, const struct naru_tls_options **ret_copy);

/* Waits until the two ends have met; else the sentence, with the end's name. */
NARU__EXPORTED int naru__cover_meet(struct naru_handle *, struct naru_cover *, int64_t deadline);
/* A cover's error, of which it has left the sentence: with the end's name. */
int naru__cover_failed(const struct naru_handle *, int code);
/* Was it one of those? */
static inline bool naru__cover_tells(const struct naru_cover *cover, int code)
{
    return cover && (code == -EPERM || code == -EPROTO || code == -ECONNRESET);
}

#endif
