/* SPDX-License-Identifier: MIT */
/* descriptors.h - descriptors that travel beside bytes (SCM_RIGHTS), over streams, connections and
 * shared memory alike. All of a message's arrive or none: what cannot be opened here is lost, and
 * whoever asks for them is told once. */
#ifndef NARU_TRANSPORT_COMMON_DESCRIPTORS_H
#define NARU_TRANSPORT_COMMON_DESCRIPTORS_H

#include "core/transport.h"
#include "os/socket.h"

enum { NARU__FD_COST = 4096 }; /* what one that waits counts for in a stash, in bytes */

union naru_ancillary { /* aligned for cmsghdr */
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * NARU__FDS_MAX)];
};

/* Lets them travel with the message. n: 1 to NARU__FDS_MAX. */
void naru__descriptors_attach(struct msghdr *, union naru_ancillary *, const int *fds, size_t n);
/* Makes room for as many as may come. */
void naru__descriptors_expect(struct msghdr *, union naru_ancillary *);
/* Those that came, which are this process's now. How many. */
size_t naru__descriptors_of(struct msghdr *, int fds[NARU__FDS_MAX]);
void naru__descriptors_close(const int *fds, size_t n);

/* -EINVAL with a sentence: one of them is not open. */
int naru__descriptors_check(const char *name, const int *fds, size_t n);

/* The sentences of sending: -EMFILE for the kernel's ETOOMANYREFS, -EOPNOTSUPP. */
int naru__parcel_too_many(const char *name);
int naru__parcel_unsupported(const char *name);

/* Those of one message, while it waits. */
struct naru_parcel {
    struct naru_parcel *next;
    uint64_t sequence; /* of the message, where they travel on another way than it */
    unsigned n, lost;  /* lost: so many could not be opened here, and n is 0 */
    int fd[];
};

/* Takes the descriptors over; -ENOMEM: they stay the caller's. */
int naru__parcel_new(const int *fds, size_t n, size_t lost, struct naru_parcel **ret_parcel);
/* Closes what is in it. Returns NULL. */
struct naru_parcel *naru__parcel_free(struct naru_parcel *);
/* May the caller get all of it? -EMSGSIZE, without a sentence, or -EMFILE: told once, the parcel is
 * empty then. parcel: may be NULL. ret_n: how many are in it. */
int naru__parcel_check(const char *name, struct naru_parcel *, size_t max, size_t *ret_n);
/* They are the caller's; the parcel is freed. Returns NULL. */
struct naru_parcel *naru__parcel_hand_out(struct naru_parcel *, int *ret_fds);

#endif
