/* SPDX-License-Identifier: MIT */
/* unix.h - sockets of this host: `unix:` streams and connections, `unix+seqpacket:` connections,
 * `unix+dgram:` queues. */
#ifndef NARU_TRANSPORT_UNIX_UNIX_H
#define NARU_TRANSPORT_UNIX_UNIX_H

#include "core/transport.h"
#include "transport/common/place.h"

extern const struct naru_transport naru__unix_transport;
extern const struct naru_transport naru__unix_packet_transport;
extern const struct naru_transport naru__unix_datagram_transport;

#endif
