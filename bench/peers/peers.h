/* SPDX-License-Identifier: MIT */
/* peers.h - other libraries as adapters of the same harness. Built by `tools/build peers` alone:
 * neither naru nor its command needs any of them otherwise. */
#ifndef NARU_BENCH_PEERS_H
#define NARU_BENCH_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct adapter;
extern const struct adapter bench_zmq, bench_nng;
extern const struct adapter bench_iceoryx, bench_iceoryx_in_place, bench_iceoryx_asleep;
extern const struct adapter bench_boost;
/* which call */
extern const struct adapter bench_grpc, bench_grpc_callback, bench_grpc_queue;
extern const struct adapter bench_grpc_tcp, bench_grpc_tcp_callback, bench_grpc_tcp_queue;
extern const struct adapter bench_grpc_up, bench_grpc_down, bench_grpc_both;
extern const struct adapter bench_grpc_tcp_up, bench_grpc_tcp_down, bench_grpc_tcp_both;
extern const struct adapter bench_capnp, bench_sdbus, bench_onc;

/* Of harness.h, for C++. */
extern size_t bench_size;
int bench_say(const char *format, ...);
int bench_called(uint64_t number, uint64_t sum);
bool bench_is_last(const void *message);

/* calls.c: a socket with a name, or a port, where the server listens; waits until it does. */
int bench_socket_setup(void);
int bench_port_setup(void);
const char *bench_socket(void);
int bench_port(void); /* 0: the name */
int bench_await_socket(void);
void bench_socket_clean_up(int pid);

int bench_grpc_attach(int side);
int bench_grpc_start(uint64_t number);
int bench_grpc_harvest(void);
int bench_grpc_callback_attach(int side);
int bench_grpc_callback_start(uint64_t number);
int bench_grpc_callback_harvest(void);
int bench_grpc_queue_attach(int side);
int bench_grpc_queue_serve(void);
int bench_grpc_queue_start(uint64_t number);
int bench_grpc_queue_harvest(void);
void bench_grpc_queue_detach(int side);
int bench_grpc_up_attach(int side);
int bench_grpc_up_within(int side, void (*exchange)(void));
int bench_grpc_down_attach(int side);
int bench_grpc_down_within(int side, void (*exchange)(void));
int bench_grpc_send(const void *buf, size_t n);
int bench_grpc_recv(void *buf, size_t n);
int bench_grpc_both_attach(int side);
int bench_grpc_both_start(uint64_t number);
int bench_grpc_both_harvest(void);
int bench_grpc_both_finish(void);
int bench_grpc_serve(void);
int bench_grpc_finish(void);
void bench_grpc_detach(int side);

int bench_capnp_attach(int side);
int bench_capnp_start(uint64_t number);
int bench_capnp_harvest(void);
int bench_capnp_serve(void);
int bench_capnp_finish(void);
void bench_capnp_detach(int side);

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
