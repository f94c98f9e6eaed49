/* SPDX-License-Identifier: MIT */
/* certificates.h - authorities, certificates and revocation lists, made as a test runs. */
#ifndef NARU_TESTS_CERTIFICATES_H
#define NARU_TESTS_CERTIFICATES_H

#include <naru/tls.h>
#include <stdbool.h>
#include <stddef.h>

struct authority; /* a key and its certificate */

struct authority *make_authority(const char *name);
/* Under another one, which signs it. */
struct authority *make_authority_under(struct authority *, const char *name);
void free_authority(struct authority *);
void write_authority(struct authority *, const char *path);

struct wanted {
    const char *subject;    /* its CN */
    const char *names;      /* "DNS:a.example,IP:127.0.0.1"; NULL: those of this host */
    int from_days, to_days; /* from now; both 0: -1 to 30 */
    bool self;              /* signed by itself */
    const char *behind;     /* the file of a certificate to be written behind it; NULL */
    const char *password;   /* of the key; NULL: none */
};

/* Writes the certificate and its key; returns the serial number. */
long write_certificate(struct authority *, const struct wanted *, const char *certificate,
                       const char *key);
/* The list of the certificates revoked: serial, or 0: none. to_days: how long it is good. */
void write_revoked(struct authority *, long serial, int to_days, const char *path);

/* Of this process and its children, without a file: an authority, a server and a client that it has
 * issued. Descriptors are held until the process ends; so before a harness counts them. */
const struct naru_tls_options *usual_server(void), *usual_client(void);
void make_usual(void);

#endif
