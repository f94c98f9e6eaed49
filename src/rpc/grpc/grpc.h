/* SPDX-License-Identifier: MIT */
/* grpc.h - the carriers that speak gRPC's wire. */
#ifndef NARU_RPC_GRPC_GRPC_H
#define NARU_RPC_GRPC_GRPC_H

#include "rpc/carrier.h"

extern const struct naru_carrier_kind naru__grpc_carrier, naru__grpcs_carrier,
    naru__grpc_unix_carrier;

#endif
