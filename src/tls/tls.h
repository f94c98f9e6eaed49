/* SPDX-License-Identifier: MIT */
/* tls.h - TLS on OpenSSL 3, the one room that knows it: certificates and their reloading, and a
 * cover (core/cover.h) of a socket. TLS 1.2 and newer; nothing is ever negotiated anew. */
#ifndef NARU_TLS_TLS_H
#define NARU_TLS_TLS_H

#include "core/cover.h"
#include "naru/tls.h"

/* What a listener or a client has: its files, and what was last made of them. Counted: a cover
 * keeps it. */
struct naru_tls;

/* options: checked; NULL: all defaults. alpn: the one protocol that both must speak, NULL: any.
 * Sentences begin with the name. Files are read now. */
int naru__tls_new(const struct naru_tls_options *options, bool server, const char *alpn,
                  const char *name, struct naru_tls **ret_tls);
struct naru_tls *naru__tls_ref(struct naru_tls *);
void naru__tls_unref(struct naru_tls *);

/* Of a connected, or connecting, socket, by the files as they are now. host: of a client's URL. The
 * socket stays the caller's, who closes it after the cover. */
int naru__tls_cover(struct naru_tls *, int fd, const char *host, struct naru_cover **ret_cover);

/* The same of a listener, for those whom it accepts. Its note: why changed files are not in use. */
int naru__tls_covers(const struct naru_tls_options *, const char *alpn, const char *name,
                     struct naru_cover_maker **ret_covers);

#endif
