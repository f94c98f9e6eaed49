/* SPDX-License-Identifier: MIT */
/* sysv_mq.h - System V message queues: `sysv-mq:/path#id`, `sysv-mq:0xKEY`. */
#ifndef NARU_TRANSPORT_SYSV_MQ_SYSV_MQ_H
#define NARU_TRANSPORT_SYSV_MQ_SYSV_MQ_H

#include "core/transport.h"

extern const struct naru_transport naru__sysv_mq_transport;

#endif
