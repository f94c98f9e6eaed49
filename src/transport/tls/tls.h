/* SPDX-License-Identifier: MIT */
/* tls.h - `tls://host:port` streams and connections: TLS over TCP. */
#ifndef NARU_TRANSPORT_TLS_TLS_H
#define NARU_TRANSPORT_TLS_TLS_H

#include "core/transport.h"

extern const struct naru_transport naru__tls_transport;

#endif
