/* SPDX-License-Identifier: MIT */
/* naru/health.h - whether a server can do its work: the service grpc.health.v1.Health.
 *
 * A part of libnaru-services (pkg-config naru-services), which needs protobuf-c; naru.h does not
 * include it. Whoever chooses between servers asks one (Check) or is told of changes (Watch).
 *
 *   naru_health_new(server, &health);
 *   naru_health_set(health, "example.Store", NARU_HEALTH_NOT_SERVING);
 *
 * The server as a whole, "", and each service that it has are SERVING until something else is set;
 * any other service is unknown. */
#ifndef NARU_HEALTH_H
#define NARU_HEALTH_H

#include <naru/service.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct naru_health naru_health;

/* The numbers are those of grpc.health.v1. */
enum naru_health_status {
    NARU_HEALTH_UNKNOWN = 0,
    NARU_HEALTH_SERVING = 1,
    NARU_HEALTH_NOT_SERVING = 2,
};

/* naru_health_new - lets a server be asked whether it can do its work
 *
 * Adds grpc.health.v1.Health to it. As naru_server_add, before the server processes anything or
 * between two calls of naru_server_process.
 *
 * ret_health: owned by the caller, naru_health_close, after the server's.
 * Returns: 0.
 * Errors: -EEXIST the server has such a service already; those of naru_server_add.
 * Thread: one. Fork: -ECHILD, for the server. Blocks: never. */
NARU_API int naru_health_new(naru_server *server, naru_health **ret_health);

/* naru_health_set - says whether a service can do its work
 *
 * Those who watch it are told, if that is a change; of many changes one that reads slowly sees the
 * last. service: its name, "" the server as a whole; it need not be one that the server has, and it
 * is known from now on. status: enum naru_health_status. While the server is there.
 *
 * Returns: 0.
 * Errors: -EINVAL the name is NULL or longer than 1024 bytes, or there is no such status; -EPIPE
 * after naru_health_shutdown; -ENOMEM.
 * Thread: any. Fork: as naru_call_send. Blocks: never. */
NARU_API int naru_health_set(naru_health *health, const char *service, int status);

/* naru_health_shutdown - says that nothing can do its work any more
 *
 * Everything known is NOT_SERVING, and stays so. Who watches is told, and its call ends
 * UNAVAILABLE: a server that finishes its calls (naru_server_shutdown) would wait for it in vain.
 * It comes before that, while the server is there.
 *
 * Returns: 0.
 * Errors: -EINVAL health is NULL.
 * Thread: any. Fork: as naru_call_send. Blocks: never. */
NARU_API int naru_health_shutdown(naru_health *health);

/* naru_health_close - frees it, after the server has been closed
 *
 * Returns: NULL. NULL is allowed.
 * Thread: one. Fork: frees the child's copy. Blocks: never. */
NARU_API naru_health *naru_health_close(naru_health *health);

#ifdef __cplusplus
}
#endif
#endif
