/* SPDX-License-Identifier: MIT */
/* naru/tls.h - certificates, for tls: and grpcs:
 *
 * The .tls of the options of a stream, a connection, a listener, a server or a client. Other kinds
 * do not look at it, so that changing the URL is enough. Every file is PEM; when one of a listener
 * or a server has changed, whoever connects from then on meets the new ones, without a restart; new
 * ones that cannot be used leave the old ones in use, and naru_stats has the reason.
 *
 * A server needs .certificate, a client nothing: it then believes the system's authorities. A
 * client always checks the server's certificate, and the name in it.
 *
 *   struct naru_tls_options tls = {.size = sizeof tls, .authority = "ca.pem"};
 *   struct naru_stream_options o = {.size = sizeof o, .tls = &tls};
 *   naru_stream_open("tls://example.org:7000", NARU_READ | NARU_WRITE, &o, NARU_S, &s); */
#ifndef NARU_TLS_H
#define NARU_TLS_H

#include <naru/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A listener: whoever connects must show a certificate that .authority has issued; else it may. */
#define NARU_TLS_CLIENT_CERTIFICATE 1u

struct naru_tls_options {
    size_t size;             /* sizeof(struct naru_tls_options) */
    const char *certificate; /* this end's; behind it in the file those of its issuers, if any */
    const char *key;         /* its private key, without a password; NULL: in .certificate */
    const char *authority;   /* the certificates of those who may issue the other end's; NULL: a
                              * client takes the system's, a listener asks for none */
    const char *revoked;     /* revocation lists: one of each authority that issues; NULL: none */
    const char *server_name; /* a client: the name that the server must have, NULL: the URL's host;
                              * a listener: whoever asks for another is refused, NULL: nobody */
    int64_t handshake;       /* the other end has so many ns for it, 0: 10 s */
    unsigned flags;          /* NARU_TLS_CLIENT_CERTIFICATE */
};

#ifdef __cplusplus
}
#endif

#endif
