/* SPDX-License-Identifier: MIT */
/* peers.h - other libraries as adapters of the same harness. Built by `tools/build peers` alone:
 * neither naru nor its command needs any of them otherwise. */
#ifndef NARU_BENCH_PEERS_H
#define NARU_BENCH_PEERS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct adapter;
extern const struct adapter bench_zmq, bench_nng;
extern const struct adapter bench_iceoryx, bench_iceoryx_in_place, bench_iceoryx_asleep;
extern const struct adapter bench_boost;

/* boost.cpp, a C++ header library behind C functions; -1 with bench_say. */
int bench_boost_setup(void);
int bench_boost_attach(int side);
int bench_boost_send(const void *buf, size_t n);
int bench_boost_recv(void *buf, size_t n);
void bench_boost_detach(int side);
void bench_boost_clean_up(int pid);

#ifdef __cplusplus
}
#endif
#endif
