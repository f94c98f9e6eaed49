/* SPDX-License-Identifier: MIT */
/* adapters.h - the adapters of each kind (rows of the table in adapters.c), and what they share. */
#ifndef NARU_BENCH_ADAPTERS_H
#define NARU_BENCH_ADAPTERS_H

#include "bench/harness.h"

#include <naru/naru.h>

extern const struct adapter bench_raw_posix_mq, bench_naru_posix_mq;
extern const struct adapter bench_raw_sysv_mq, bench_naru_sysv_mq;
extern const struct adapter bench_raw_unix, bench_spinning_unix, bench_gathered_unix;
extern const struct adapter bench_naru_unix, bench_naru_unix_stream;
extern const struct adapter bench_raw_tcp, bench_spinning_tcp, bench_gathered_tcp;
extern const struct adapter bench_naru_tcp, bench_naru_tcp_stream;
extern const struct adapter bench_naru_shm_queue, bench_naru_shm_topic;
extern const struct adapter bench_raw_packet, bench_naru_packet, bench_raw_dgram, bench_naru_dgram;
extern const struct adapter bench_raw_udp, bench_naru_udp;
extern const struct adapter bench_one_line, bench_two_lines, bench_bare_futex, bench_bare_eventfd;
extern const struct adapter bench_bare_ring, bench_bare_pieces, bench_naru_shm, bench_spinning_shm;
extern const struct adapter bench_bare_in_place, bench_in_place_shm;
extern const struct adapter bench_sleeping_shm, bench_polled_shm;
extern const struct adapter bench_naru_journal;
extern const struct adapter bench_raw_memfd, bench_naru_region, bench_naru_copied_region;
extern const struct adapter bench_raw_posix_shm, bench_naru_posix_shm;
extern const struct adapter bench_raw_sysv_shm, bench_naru_sysv_shm;

extern const struct adapter bench_sem, bench_mutex, bench_robust, bench_write, bench_read;
extern const struct adapter bench_sysv, bench_undo, bench_flock, bench_record;
extern const struct adapter bench_naru_owned, bench_naru_fair, bench_naru_plain;
extern const struct adapter bench_naru_mutex, bench_naru_fair_mutex;
extern const struct adapter bench_naru_write, bench_naru_read;
extern const struct adapter bench_naru_posix_sem, bench_naru_sysv_sem;

extern const struct adapter bench_raw_call, bench_naru_shm_call, bench_naru_unix_call;
extern const struct adapter bench_naru_tcp_call, bench_naru_pipe_call;
extern const struct adapter bench_naru_grpc_call, bench_naru_grpc_unix_call;
extern const struct adapter bench_naru_shm_echo, bench_naru_unix_echo;
extern const struct adapter bench_naru_tcp_echo, bench_naru_pipe_echo;
extern const struct adapter bench_naru_shm_up, bench_naru_shm_down, bench_naru_shm_both;
extern const struct adapter bench_naru_unix_up, bench_naru_unix_down, bench_naru_unix_both;
extern const struct adapter bench_naru_grpc_unix_up, bench_naru_grpc_unix_down;
extern const struct adapter bench_naru_grpc_unix_both;
extern const struct adapter bench_naru_grpc_up, bench_naru_grpc_down, bench_naru_grpc_both;

/* ---- adapters-common.c ---- */

/* What the raw calls read and write. */
extern int bench_in, bench_out;
int bench_no_sleep(void); /* in an attach: bench_spin_recv looks again instead of sleeping */
int bench_spin_recv(void *buf, size_t n);
int bench_raw_send(const void *buf, size_t n);
int bench_raw_recv(void *buf, size_t n);
int bench_raw_send_batch(const void *buf, size_t n, int count);
int bench_raw_recv_batch(void *buf, size_t n, int most);
void bench_raw_detach(int side);

/* What naru's calls send to and receive from; one may be both. */
extern naru_channel *bench_sender, *bench_receiver;
extern naru_stream *bench_reader, *bench_writer;
int bench_naru_failed(void); /* says naru_why() */
int bench_channel_send(const void *buf, size_t n);
int bench_channel_recv(void *buf, size_t n);
int bench_channel_send_batch(const void *buf, size_t n, int count);
int bench_channel_recv_batch(void *buf, size_t n, int most);
int bench_stream_send(const void *buf, size_t n);
int bench_stream_recv(void *buf, size_t n);

#endif
