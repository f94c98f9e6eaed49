/* SPDX-License-Identifier: MIT */
/* client.h - what the public functions on clients do, after their arguments are checked. */
#ifndef NARU_RPC_CLIENT_H
#define NARU_RPC_CLIENT_H

#include "rpc/call.h"

/* Where to, or a channel, which the client takes over on success. */
int naru__client_new(const struct naru_service_at *, naru_channel *,
                     const struct naru_client_options *, naru_client **ret_c);
int naru__client_process(naru_client *, int64_t deadline);
int naru__client_wait_ready(naru_client *, int64_t deadline);
void naru__client_close(naru_client *, bool owner);
int naru__client_invoke(naru_client *, const naru_route *, const void *request, size_t size,
                        const struct naru_call_options *, struct naru_payload *ret_reply);
void naru__client_release(naru_client *, struct naru_payload *);

int naru__client_begin(naru_client *, const naru_route *, const struct naru_call_options *,
                       naru_call **ret_call);
int naru__client_wait(naru_call *, int64_t deadline);
void naru__client_end(naru_call *); /* naru_call_close */

/* Of a call at a server: its children end with it. With its lock held. */
void naru__cancel_children(struct naru_call *parent, int code);

#endif
