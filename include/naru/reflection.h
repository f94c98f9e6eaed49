/* SPDX-License-Identifier: MIT */
/* naru/reflection.h - what a server tells of its services: grpc.reflection.v1.ServerReflection, and
 * v1alpha, its first form.
 *
 * A part of libnaru-services (pkg-config naru-services), which needs protobuf-c; naru.h does not
 * include it. With it `naru methods`, `naru describe` and `naru call`, and tools of gRPC, need no
 * .proto file: the code of protoc-gen-naru carries what protoc knows of it. */
#ifndef NARU_REFLECTION_H
#define NARU_REFLECTION_H

#include <naru/service.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct naru_reflection naru_reflection;

/* naru_reflection_new - lets a server be asked what it serves
 *
 * Adds both forms of the service to it, which tell of all that naru_server_add was given before and
 * is given afterwards; of a service without .proto file (naru_service.schema is NULL) its name
 * alone. As naru_server_add, before the server processes anything or between two calls of
 * naru_server_process.
 *
 * ret_reflection: owned by the caller, naru_reflection_close, after the server's.
 * Returns: 0.
 * Errors: -EEXIST the server has such a service already; those of naru_server_add.
 * Thread: one. Fork: -ECHILD, for the server. Blocks: never. */
NARU_API int naru_reflection_new(naru_server *server, naru_reflection **ret_reflection);

/* naru_reflection_close - frees it, after the server has been closed
 *
 * Returns: NULL. NULL is allowed.
 * Thread: one. Fork: frees the child's copy. Blocks: never. */
NARU_API naru_reflection *naru_reflection_close(naru_reflection *reflection);

#ifdef __cplusplus
}
#endif
#endif
