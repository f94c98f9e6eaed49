/* SPDX-License-Identifier: MIT */
/* health.c - whoever chooses between servers asks one whether it can work, and is told of changes:
 * gRPC's own service, which any server can have beside its own. Compile with what protoc makes of
 * PREFIX/share/naru/proto/grpc/health/v1/health.proto, and with naru-services. */
#include "grpc/health/v1/health.naru.h"

#include <naru/health.h>
#include <naru/naru.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define STORE "example.Store"

/* snippet */
static int next(struct grpc_health_v1_health_watch *watching)
{
    Grpc__Health__V1__HealthCheckResponse *health;
    int r = grpc_health_v1_health_watch_take(watching, 5 * NARU_S, &health);
    if (r <= 0)
        return r < 0 ? r : -EPIPE;
    int status = (int)health->status;
    grpc__health__v1__health_check_response__free_unpacked(health, NULL);
    return status;
}

static int watch(naru_client *client)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct grpc_health_v1_health_watch watching;
    int status, seen = 0;
    request.service = STORE;
    int r = grpc_health_v1_health_watch_begin(client, &request, NULL, &watching);
    if (r < 0)
        return r;
    while ((status = next(&watching)) == NARU_HEALTH_NOT_SERVING) {
        printf("%s: not yet\n", STORE);
        seen++;
    }
    naru_call_close(watching.call);
    if (status == NARU_HEALTH_SERVING)
        printf("%s: it can work now\n", STORE);
    return status == NARU_HEALTH_SERVING && seen == 1 ? 0 : -1;
}
/* end */

static int client_main(const char *url)
{
    naru_client *client;
    if (naru_client_open(url, NULL, &client) < 0 || watch(client) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    naru_client_close(client);
    return 0;
}

int main(void)
{
    char url[64];
    naru_server *server;
    naru_health *health;
    struct naru_stats stats = {.size = sizeof stats};
    snprintf(url, sizeof url, "shm:example-health-%d", (int)getpid());
    if (naru_server_new(NULL, &server) < 0 || naru_health_new(server, &health) < 0 ||
        naru_health_set(health, STORE, NARU_HEALTH_NOT_SERVING) < 0 ||
        naru_server_listen(server, url) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    pid_t child = fork();
    if (child == 0) {
        int failed = client_main(url);
        naru_server_close(server); /* this process's copy */
        naru_health_close(health);
        return failed;
    }
    int status = 1;
    while (waitpid(child, &status, WNOHANG) == 0) {
        naru_server_process(server, 20 * NARU_MS);
        if (naru_stats(server, &stats) == 0 && stats.received > 0) /* who watches is there */
            naru_health_set(health, STORE, NARU_HEALTH_SERVING);
    }
    naru_server_close(server);
    naru_health_close(health);
    return status != 0;
}
