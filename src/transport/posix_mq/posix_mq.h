/* SPDX-License-Identifier: MIT */
/* posix_mq.h - POSIX message queues: `posix-mq:/name`. */
#ifndef NARU_TRANSPORT_POSIX_MQ_POSIX_MQ_H
#define NARU_TRANSPORT_POSIX_MQ_POSIX_MQ_H

#include "core/transport.h"

extern const struct naru_transport naru__posix_mq_transport;

#endif
