/* SPDX-License-Identifier: MIT */
/* descriptors.c - descriptors beside bytes. */
#include "transport/common/descriptors.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/limit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void naru__descriptors_attach(struct msghdr *message, union naru_ancillary *ancillary,
                              const int *fds, size_t n)
{
    memset(ancillary, 0, sizeof *ancillary);
    message->msg_control = ancillary;
    message->msg_controllen = (__typeof__(message->msg_controllen))CMSG_SPACE(sizeof(int) * n);
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = (__typeof__(c->cmsg_len))CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
}

void naru__descriptors_expect(struct msghdr *message, union naru_ancillary *ancillary)
{
    message->msg_control = ancillary;
    message->msg_controllen = sizeof *ancillary;
}

size_t naru__descriptors_of(struct msghdr *message, int fds[NARU__FDS_MAX])
{
    size_t n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds + n, CMSG_DATA(c), here * sizeof(int));
        n += here;
    }
    return n;
}

void naru__descriptors_close(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        naru__os_close(fds[i]);
}

int naru__descriptors_check(const char *name, const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i] < 0 || naru__os_flags(fds[i]) < 0)
            return naru__fail(-EINVAL, "%s: descriptor %zu of %zu, %d, is not open", name, i + 1, n,
                              fds[i]);
    return 0;
}

int naru__parcel_too_many(const char *name)
{
    return naru__fail(-EMFILE,
                      "%s: as many descriptors of this user are on their way as may be: wait "
                      "until they have been received%s",
                      name, naru__limit_of_passing().text);
}

int naru__parcel_unsupported(const char *name)
{
    return naru__fail(-EOPNOTSUPP, "%s carries no descriptors: connections over unix: and shm: do",
                      name);
}

/* ---- parcels ---- */

int naru__parcel_new(const int *fds, size_t n, size_t lost, struct naru_parcel **ret_parcel)
{
    struct naru_parcel *p = naru__alloc(sizeof *p + n * sizeof *fds);
    if (!p)
        return -ENOMEM;
    p->n = (unsigned)n;
    p->lost = (unsigned)lost;
    if (n)
        memcpy(p->fd, fds, n * sizeof *fds);
    *ret_parcel = p;
    return 0;
}

struct naru_parcel *naru__parcel_free(struct naru_parcel *p)
{
    if (p)
        naru__descriptors_close(p->fd, p->n);
    free(p);
    return NULL;
}

int naru__parcel_check(const char *name, struct naru_parcel *p, size_t max, size_t *ret_n)
{
    *ret_n = p ? p->n : 0;
    if (p && p->lost) {
        unsigned lost = p->lost;
        p->lost = 0;
        return naru__fail(-EMFILE,
                          "%s: the %u descriptors of this message could not all be opened here, "
                          "and are lost%s; the message stays, and is received without them",
                          name, lost, naru__limit_of_files(-EMFILE).text);
    }
    return *ret_n > max ? -EMSGSIZE : 0;
}

struct naru_parcel *naru__parcel_hand_out(struct naru_parcel *p, int *ret_fds)
{
    if (p && p->n)
        memcpy(ret_fds, p->fd, p->n * sizeof *ret_fds);
    free(p);
    return NULL;
}
