/* SPDX-License-Identifier: MIT */
/* shm.h - connections in shared memory. */
#ifndef NARU_TRANSPORT_SHM_SHM_H
#define NARU_TRANSPORT_SHM_SHM_H

#include "core/transport.h"

extern const struct naru_transport naru__shm_transport;

/* An end that meets the other over a unix socket, which it takes over on success only. */
int naru__shm_end(const char *name, int socket, bool pair, const struct naru_channel_options *,
                  naru_channel **ret_c);

/* Two such ends are a pair's. */
int naru__shm_couple(naru_channel *a, naru_channel *b);

#endif
