/* SPDX-License-Identifier: MIT */
/* tcp.h - sockets between hosts, for the transports on them: tcp and tls. */
#ifndef NARU_TRANSPORT_COMMON_TCP_H
#define NARU_TRANSPORT_COMMON_TCP_H

#include "base/url.h"
#include "transport/common/sockets.h"

/* Sets a connected socket up. One that the other end has reset already refuses it, and tells when
 * it is used. */
NARU__EXPORTED void naru__tcp_prepare(int fd, const struct naru_socket_wish *);
/* To each address of the URL's host in turn: a descriptor. */
NARU__EXPORTED int naru__tcp_connect(const struct naru_url *, const struct naru_socket_wish *,
                                     int64_t deadline);
/* A listening descriptor. buf: the URL with the port that it got. */
NARU__EXPORTED int naru__tcp_listen(const struct naru_url *, const struct naru_listen_options *,
                                    char *buf, size_t n);

#endif
