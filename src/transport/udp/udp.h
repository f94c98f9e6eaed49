/* SPDX-License-Identifier: MIT */
/* udp.h - `udp://host:port` queues, and topics where the host is a multicast group. */
#ifndef NARU_TRANSPORT_UDP_UDP_H
#define NARU_TRANSPORT_UDP_UDP_H

#include "core/transport.h"

extern const struct naru_transport naru__udp_transport;

#endif
