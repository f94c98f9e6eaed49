/* SPDX-License-Identifier: MIT */
/* gzip.h - compressed messages: whole ones, at once. */
#ifndef NARU_RPC_GRPC_GZIP_H
#define NARU_RPC_GRPC_GZIP_H

#include "rpc/call.h"

/* Puts the compressed bytes behind what the buffer has. 0, or -ENOMEM. */
int naru__gzip(const void *data, size_t size, struct naru_buffer *to);
/* gzip's or zlib's form, which its head tells apart. ret_data: allocated, free(3).
 * 0; -EMSGSIZE: more than `most` come out; -EPROTO: it is none; -ENOMEM. */
int naru__gunzip(const void *data, size_t size, size_t most, uint8_t **ret_data, size_t *ret_size);

#endif
