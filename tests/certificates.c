/* SPDX-License-Identifier: MIT */
/* certificates.c - what certificates.h says, by OpenSSL. */
#include "certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct authority {
    EVP_PKEY *key;
    X509 *x;
};

/* There is no way to go on. */
static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "certificates.c: %s\n", what);
    ERR_print_errors_fp(stderr);
    abort();
}

static EVP_PKEY *new_key(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    must(key, "no key");
    return key;
}

static void add(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    must(e && X509_add_ext(x, e, -1), value);
    X509_EXTENSION_free(e);
}

static X509 *new_certificate(const char *subject, EVP_PKEY *key, int from, int to)
{
    static long serial;
    X509 *x = X509_new();
    must(x && X509_set_version(x, 2), "no certificate");
    if (serial == 0)
        serial = (long)getpid() * 100000;
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), from * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(x), to * 86400L);
    X509_set_pubkey(x, key);
    X509_NAME *name = X509_get_subject_name(x);
    must(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"naru", -1, -1,
                                    0) &&
             X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)subject,
                                        -1, -1, 0),
         subject);
    return x;
}

struct authority *make_authority_under(struct authority *above, const char *name)
{
    struct authority *a = calloc(1, sizeof *a);
    a->key = new_key();
    a->x = new_certificate(name, a->key, -1, 365);
    X509 *issuer = above ? above->x : a->x;
    X509_set_issuer_name(a->x, X509_get_subject_name(issuer));
    add(a->x, issuer, NID_basic_constraints, "critical,CA:TRUE");
    add(a->x, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    add(a->x, issuer, NID_subject_key_identifier, "hash");
    must(X509_sign(a->x, above ? above->key : a->key, EVP_sha256()), "not signed");
    return a;
}

struct authority *make_authority(const char *name)
{
    return make_authority_under(NULL, name);
}

void free_authority(struct authority *a)
{
    EVP_PKEY_free(a->key);
    X509_free(a->x);
    free(a);
}

static FILE *open_file(const char *path)
{
    FILE *f = fopen(path, "w");
    must(f, path);
    return f;
}

void write_authority(struct authority *a, const char *path)
{
    FILE *f = open_file(path);
    must(PEM_write_X509(f, a->x), path);
    fclose(f);
}

long write_certificate(struct authority *a, const struct wanted *w, const char *certificate,
                       const char *key_path)
{
    bool usual = w->from_days == 0 && w->to_days == 0;
    EVP_PKEY *key = new_key();
    X509 *x = new_certificate(w->subject, key, usual ? -1 : w->from_days, usual ? 30 : w->to_days);
    X509 *issuer = w->self ? x : a->x;
    X509_set_issuer_name(x, X509_get_subject_name(issuer));
    add(x, issuer, NID_subject_alt_name, w->names ? w->names : "DNS:localhost,IP:127.0.0.1,IP:::1");
    must(X509_sign(x, w->self ? key : a->key, EVP_sha256()), "not signed");
    FILE *f = open_file(certificate);
    must(PEM_write_X509(f, x), certificate);
    if (w->behind) {
        char buf[8192];
        FILE *from = fopen(w->behind, "r");
        must(from, w->behind);
        size_t n = fread(buf, 1, sizeof buf, from);
        must(fwrite(buf, 1, n, f) == n, certificate);
        fclose(from);
    }
    fclose(f);
    f = open_file(key_path);
    must(PEM_write_PrivateKey(f, key, w->password ? EVP_aes_128_cbc() : NULL,
                              (const unsigned char *)w->password,
                              w->password ? (int)strlen(w->password) : 0, NULL, NULL),
         key_path);
    fclose(f);
    long serial = ASN1_INTEGER_get(X509_get_serialNumber(x));
    X509_free(x);
    EVP_PKEY_free(key);
    return serial;
}

void write_revoked(struct authority *a, long serial, int to_days, const char *path)
{
    X509_CRL *list = X509_CRL_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -172800),
              *until = X509_gmtime_adj(NULL, to_days * 86400L);
    must(list && X509_CRL_set_version(list, 1) &&
             X509_CRL_set_issuer_name(list, X509_get_subject_name(a->x)) &&
             X509_CRL_set1_lastUpdate(list, now) && X509_CRL_set1_nextUpdate(list, until),
         "no list");
    if (serial) {
        X509_REVOKED *one = X509_REVOKED_new();
        ASN1_INTEGER *number = ASN1_INTEGER_new();
        ASN1_INTEGER_set(number, serial);
        must(X509_REVOKED_set_serialNumber(one, number) &&
                 X509_REVOKED_set_revocationDate(one, now) && X509_CRL_add0_revoked(list, one),
             "not revoked");
        ASN1_INTEGER_free(number);
    }
    must(X509_CRL_sign(list, a->key, EVP_sha256()), "not signed");
    FILE *f = open_file(path);
    must(PEM_write_X509_CRL(f, list), path);
    fclose(f);
    ASN1_TIME_free(now);
    ASN1_TIME_free(until);
    X509_CRL_free(list);
}

/* ---- the usual ones ---- */

static char paths[5][40];
static struct naru_tls_options server = {.size = sizeof server,
                                         .flags = NARU_TLS_CLIENT_CERTIFICATE},
                               client = {.size = sizeof client};

void make_usual(void)
{
    for (int i = 0; i < 5; i++) {
        int fd = memfd_create("naru-certificates", 0); /* also of those that are executed */
        must(fd >= 0, "memfd_create");
        snprintf(paths[i], sizeof paths[i], "/proc/self/fd/%d", fd);
    }
    struct authority *a = make_authority("the tests' authority");
    write_authority(a, paths[0]);
    write_certificate(a, &(struct wanted){.subject = "the server"}, paths[1], paths[2]);
    write_certificate(a, &(struct wanted){.subject = "the client"}, paths[3], paths[4]);
    free_authority(a);
    server.authority = client.authority = paths[0];
    server.certificate = paths[1];
    server.key = paths[2];
    client.certificate = paths[3];
    client.key = paths[4];
}

const struct naru_tls_options *usual_server(void)
{
    return &server;
}

const struct naru_tls_options *usual_client(void)
{
    return &client;
}
