/* SPDX-License-Identifier: MIT */
/* sockets.h - what the transports over sockets share: streams, listeners, peers, options, sockets
 * that the environment hands over. The transport makes addresses. */
#ifndef NARU_TRANSPORT_COMMON_SOCKETS_H
#define NARU_TRANSPORT_COMMON_SOCKETS_H

#include "base/private.h"
#include "core/transport.h"
#include "os/socket.h"
#include "transport/common/connection.h"

/* What an end is to be like, from whichever options the caller gave. */
struct naru_socket_wish {
    size_t capacity;
    unsigned flags;
    int64_t keepalive, user_timeout;
};

/* What differs between the domains. */
struct naru_socket_kind {
    const struct naru_medium *medium; /* of its framed connections */
    /* Sets a connected socket up. NULL: nothing to do. */
    void (*prepare)(int fd, const struct naru_socket_wish *);
    /* May this peer come in? -EPERM with a sentence that begins with the name. NULL: anybody. */
    int (*admit)(int fd, const char *name, unsigned flags);
    /* A connection whose medium keeps messages apart. NULL: naru frames them. Takes the descriptor
     * over on success only. */
    int (*packets)(const char *name, int fd, const struct naru_channel_options *,
                   naru_channel **ret_c);
    /* The accepted end's URL. NULL: the listener's. */
    void (*describe)(int fd, char *buf, size_t n);
};

/* Asks for buffers of that many bytes each way. */
void naru__socket_capacity(int fd, size_t bytes);

/* Before the last close: what the other end sent and nobody will read is taken away, as far as it
 * goes quickly, for a TCP socket that is closed on unread bytes resets the connection, and what was
 * sent last with it. */
void naru__socket_last_word(int fd);

/* What the kernel holds for it, of what is sent or received, and why less than was asked. */
void naru__socket_stats(int fd, bool receives, size_t asked, struct naru_stats *stats);

/* Takes the descriptor, and the cover (or NULL), over on success only. capacity: what was asked. */
NARU__EXPORTED int naru__socket_stream(const struct naru_socket_kind *, const char *name, int fd,
                                       struct naru_cover *cover, int directions, size_t capacity,
                                       naru_stream **ret_s);

/* Fills in what this domain tells; the handle keeps the pidfd. cover: the end's, or NULL. */
int naru__socket_peer(struct naru_handle *, int fd, struct naru_cover *cover,
                      struct naru_peer *ret_peer);
/* "unix:/path", "unix:@name", "tcp://1.2.3.4:5", "tcp://[::1]:5"; "" if there is none. */
NARU__EXPORTED void naru__socket_address_text(const struct naru_address *, const char *scheme,
                                              char *buf, size_t n);

/* Connects within the deadline. Sentences begin with the name. */
int naru__socket_connect(int fd, const char *name, const struct naru_address *, int64_t deadline);

/* The file of a listening socket, removed when its maker closes it. */
struct naru_socket_file {
    int directory; /* NARU__NO_FD: no file */
    char name[256];
    uint64_t device, inode;
};

/* The name goes if it still means that socket. */
void naru__socket_remove_file(const struct naru_socket_file *);

/* Takes fd, file->directory and covers over on success only. file, covers: NULL if there is none.
 */
NARU__EXPORTED int naru__socket_listener(const struct naru_socket_kind *, enum naru_handle_noun,
                                         const char *name, int fd,
                                         const struct naru_listen_options *,
                                         const struct naru_socket_file *file,
                                         struct naru_cover_maker *covers,
                                         struct naru_listener **ret_l);

/* Listens; the sentence has the limit. */
int naru__socket_listen(int fd, const char *name, int backlog);

/* A listening socket for that address that the environment hands over (LISTEN_FDS), as a copy;
 * -ENOENT if there is none. */
int naru__socket_activated(const struct naru_address *, int type);

#endif
