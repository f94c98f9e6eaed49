/* SPDX-License-Identifier: MIT */
/* server.h - what the public functions on servers do, after their arguments are checked. */
#ifndef NARU_RPC_SERVER_H
#define NARU_RPC_SERVER_H

#include "rpc/call.h"

int naru__server_new(const struct naru_server_options *, naru_server **ret_s);
int naru__server_add(naru_server *, const naru_service *, void *self);
const naru_service *naru__server_service(naru_server *, size_t i); /* NULL: no more */
int naru__server_listen(naru_server *, const struct naru_service_at *);
int naru__server_attach(naru_server *, naru_channel *);
int naru__server_process(naru_server *, int64_t deadline);
int naru__server_run(naru_server *);
int naru__server_shutdown(naru_server *, int64_t grace); /* async-signal-safe */
void naru__server_close(naru_server *, bool owner);

/* Of a call at a server. */
int naru__server_fail(naru_call *, int code, const void *details, size_t size, const char *text);
int naru__server_finish(naru_call *, int code);
int naru__server_send_header(naru_call *, const struct naru_metadata *entry);
int naru__server_set_trailer(naru_call *, const struct naru_metadata *entry);

/* ---- workers.c: threads that run handlers ---- */

struct naru_workers;

int naru__workers_new(unsigned n, void (*run)(struct naru_call *), struct naru_workers **ret_w);
void naru__workers_give(struct naru_workers *, struct naru_call *);
void naru__workers_stop(struct naru_workers *, bool owner); /* waits for what they run */

#endif
