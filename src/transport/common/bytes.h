/* SPDX-License-Identifier: MIT */
/* bytes.h - reading and writing a non-blocking descriptor of a stream handle, with waiting, counts
 * and sentences. What every stream transport shares. */
#ifndef NARU_TRANSPORT_COMMON_BYTES_H
#define NARU_TRANSPORT_COMMON_BYTES_H

#include "core/handle.h"

/* As naru_stream_read: at least one byte, 0 at the end. */
ssize_t naru__bytes_read(struct naru_handle *, int fd, void *buf, size_t n, int64_t deadline);

/* As naru_stream_write; -EPIPE has a sentence. */
ssize_t naru__bytes_write(struct naru_handle *, int fd, const void *buf, size_t n,
                          int64_t deadline);

/* Waits until the pipe behind fd is empty. */
int naru__bytes_flush(struct naru_handle *, int fd, int64_t deadline);

/* Asks for a pipe's capacity. What less was granted, naru__capacity_stats tells. */
struct naru_capacity {
    size_t asked;
    int error; /* what F_SETPIPE_SZ answered */
};
struct naru_capacity naru__capacity_ask(int fd, size_t bytes);
void naru__capacity_stats(const struct naru_capacity *, int fd, struct naru_stats *stats);

#endif
