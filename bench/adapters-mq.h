/* SPDX-License-Identifier: MIT */
/* adapters-mq.h - message queues: naru beside mq_* and msg* (rows of the table in adapters.c). */
#ifndef NARU_BENCH_ADAPTERS_MQ_H
#define NARU_BENCH_ADAPTERS_MQ_H

#include "bench/harness.h"

extern const struct adapter bench_raw_posix_mq, bench_naru_posix_mq;
extern const struct adapter bench_raw_sysv_mq, bench_naru_sysv_mq;

#endif
