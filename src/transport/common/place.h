/* SPDX-License-Identifier: MIT */
/* place.h - the names of unix sockets: reading them, binding to them, connecting to them. */
#ifndef NARU_TRANSPORT_COMMON_PLACE_H
#define NARU_TRANSPORT_COMMON_PLACE_H

#include "transport/common/sockets.h"

/* Where a name lies. */
struct unix_place {
    bool abstract;
    int directory;  /* of the file, O_PATH; NARU__NO_FD if it is abstract */
    int lock;       /* held while binding, else NARU__NO_FD */
    char file[256]; /* its name there */
    struct naru_address address;
};

/* Reads "/path", "@abstract" or "name": which lies in /run/user/UID or /tmp/naru-UID, and of shm:
 * in /dev/shm/naru-UID. Opens the directory; naru__unix_leave closes it. */
int naru__unix_place(const struct naru_url *, struct unix_place *ret_place);
void naru__unix_leave(struct unix_place *);

/* Binds a socket of that type there, with mode: what is stale there is replaced, a live one is
 * -EBUSY. ret_file takes the directory over. */
int naru__unix_bind(int fd, int type, const char *name, mode_t mode, struct unix_place *,
                    struct naru_socket_file *ret_file);
/* Takes away what this process has bound. */
void naru__unix_unbind(const struct unix_place *);

/* As naru__socket_connect, and the peer's uid is checked where the name is abstract. */
int naru__unix_connect(int fd, const char *name, const struct unix_place *, unsigned flags,
                       int64_t deadline);
/* The same for a socket of datagrams, at once. -ECONNREFUSED, -ENOENT: nobody receives there. */
int naru__unix_join(int fd, const char *name, const struct unix_place *, unsigned flags);
/* -EPERM unless the peer is this user or root. */
int naru__unix_admit(int fd, const char *name, unsigned flags);

int naru__unix_no_socket(const char *name, int code); /* the sentence of socket(2) */

/* A connected socket of that type, or why not. */
int naru__unix_connected(const struct naru_url *, int type, size_t capacity, unsigned flags,
                         int64_t deadline);
int naru__unix_listen(const struct naru_socket_kind *, int type, enum naru_handle_noun,
                      const struct naru_url *, const struct naru_listen_options *,
                      struct naru_listener **ret_l);

int naru__unix_remove(const struct naru_url *);

#endif
