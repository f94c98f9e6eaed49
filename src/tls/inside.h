/* SPDX-License-Identifier: MIT */
/* inside.h - what the files of this room share: context.c has certificates, session.c the bytes of
 * one connection, why.c the sentences. */
#ifndef NARU_TLS_INSIDE_H
#define NARU_TLS_INSIDE_H

#include "tls/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum { TLS_CERTIFICATE, TLS_KEY, TLS_AUTHORITY, TLS_REVOKED, TLS_FILES };

struct naru_tls {
    struct naru_cover_maker covers; /* of a listener's */
    _Atomic unsigned refs;
    bool server;
    char
        *text[TLS_FILES + 3]; /* owned: the files, the server's name, alpn, the name in sentences */
    const char *file[TLS_FILES];
    const char *server_name, *alpn, *name;
    int64_t handshake;
    unsigned flags;
    pthread_mutex_t lock; /* guards what follows */
    SSL_CTX *context;
    struct stat stamp[TLS_FILES]; /* of the files when they were last read, well or not */
    char note[240];               /* why they could not be used */
};

/* A session's share of the verification, which goes on inside of OpenSSL. */
struct tls_session;
void naru__tls_session_refused(struct tls_session *, const char *why);
struct tls_session *naru__tls_session_of(const SSL *);
const char *naru__tls_session_wants(const struct tls_session *); /* the server's name; NULL */

/* By the files as they are now; NULL: no memory. */
SSL *naru__tls_session_new(struct naru_tls *);

int naru__tls_verify(int ok, X509_STORE_CTX *); /* SSL_verify_cb */
/* The sentence of the first thing in OpenSSL's queue, which is emptied. */
const char *naru__tls_reason(char *buf, size_t n);
/* What the other end's alert means; *ret_code: whether it is about certificates. */
const char *naru__tls_alert(int alert, int *ret_code);
void naru__tls_subject(const X509 *, bool issuer, char *buf, size_t n);

#endif
