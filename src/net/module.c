/* SPDX-License-Identifier: MIT */
/* module.c - what libnaru-net has. */
#include "net/module.h"

#include "rpc/grpc/grpc.h"
#include "transport/tls/tls.h"

static const struct naru_transport *const transports[] = {&naru__tls_transport, NULL};

static const struct naru_carrier_kind *const carriers[] = {
    &naru__grpc_carrier, &naru__grpcs_carrier, &naru__grpc_unix_carrier, NULL};

const struct naru_net naru__net_module = {
    .size = sizeof naru__net_module,
    .version = NARU__VERSION,
    .core = naru__core,
    .transports = transports,
    .carriers = carriers,
};
