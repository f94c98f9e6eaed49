/* SPDX-License-Identifier: MIT */
/* tcp.h - sockets between hosts: `tcp://host:port` streams and connections. */
#ifndef NARU_TRANSPORT_TCP_TCP_H
#define NARU_TRANSPORT_TCP_TCP_H

#include "core/transport.h"

extern const struct naru_transport naru__tcp_transport;

#endif
