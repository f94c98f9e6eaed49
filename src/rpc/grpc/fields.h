/* SPDX-License-Identifier: MIT */
/* fields.h - what gRPC writes into HTTP/2's header fields, to bytes and back. Pure functions; the
 * texts come from anybody.
 *
 * Sources: gRPC's PROTOCOL-HTTP2.md and http-grpc-status-mapping.md, RFC 4648. */
#ifndef NARU_RPC_GRPC_FIELDS_H
#define NARU_RPC_GRPC_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GRPC_TIMEOUT_TEXT = 16 };

/* grpc-timeout: at most 8 digits and a unit, rounded up. Returns its length. */
size_t naru__grpc_timeout_text(int64_t ns, char out[GRPC_TIMEOUT_TEXT]);
/* ns; -1: it is none. */
int64_t naru__grpc_timeout(const char *text, size_t size);

/* grpc-message. out: 3 * size bytes. Returns how many. */
size_t naru__grpc_escape(const char *text, size_t size, char *out);
/* What is no escape stays as it is. out: size bytes, may be text itself. */
size_t naru__grpc_unescape(const char *text, size_t size, char *out);

/* grpc-status: a code, or -1: it is no decimal number of at most 5 digits. */
int naru__grpc_code(const char *text, size_t size);

/* Metadata of bytes: without padding. out: 4 bytes for 3, rounded up. */
size_t naru__base64(const uint8_t *data, size_t size, char *out);
/* Padded or not; out: size bytes, may be text itself. How many, or -1: it is none. */
int64_t naru__base64_decode(const char *text, size_t size, uint8_t *out);

/* The status of a call whose answer had none: from HTTP's status, or the code of RST_STREAM. */
int naru__grpc_of_http(int status);
int naru__grpc_of_reset(uint32_t code);

#endif
