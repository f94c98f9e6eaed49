/* SPDX-License-Identifier: MIT */
/* pipe.h - anonymous pipes: `pipe:` pairs of streams and connections. */
#ifndef NARU_TRANSPORT_PIPE_PIPE_H
#define NARU_TRANSPORT_PIPE_PIPE_H

#include "core/transport.h"

extern const struct naru_transport naru__pipe_transport;

#endif
