/* SPDX-License-Identifier: MIT */
/* context.c - certificates, keys, authorities and revocation lists: read from files, and read again
 * when these have changed.
 *
 * OpenSSL's context is never changed: new files make a new one, and sessions keep the one they
 * began with. Its ticket keys are made with it, so no client resumes by what an older one allowed.
 */
#include "tls/inside.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { FILE_MAX = 16 << 20, TICKET_SECONDS = 600, READ_AHEAD = 32768 };

static const char *const purpose[TLS_FILES] = {"certificate", "key", "authority", "revoked"};

/* ---- files ---- */

static int file_failed(const struct naru_tls *t, int which, int code)
{
    return naru__fail(code, "%s: .tls.%s: %s cannot be read: %s", t->name, purpose[which],
                      t->file[which],
                      code == -EINVAL ? "it is no regular file" : naru__errno_text(code));
}

/* The whole file, in memory of OpenSSL's kind. */
static int read_file(const struct naru_tls *t, int which, BIO **ret_bio)
{
    struct stat st;
    int fd = naru__os_open_file(t->file[which], O_RDONLY, &st);
    if (fd < 0)
        return file_failed(t, which, fd);
    int r = st.st_size > FILE_MAX ? -EFBIG : 0;
    BIO *bio = r == 0 ? BIO_new(BIO_s_mem()) : NULL;
    if (r == 0 && !bio)
        r = -ENOMEM;
    for (ssize_t n = 1; r == 0 && n > 0;) {
        char block[8192];
        n = naru__os_read(fd, block, sizeof block);
        if (n < 0)
            r = (int)n;
        else if (n > 0 && BIO_write(bio, block, (int)n) != n)
            r = -ENOMEM;
    }
    naru__os_close(fd);
    if (r < 0) {
        BIO_free(bio);
        return file_failed(t, which, r);
    }
    *ret_bio = bio;
    return 0;
}

/* OpenSSL would ask at the terminal. */
static int no_password(char *buf, int size, int writing, void *asked)
{
    (void)buf, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

/* Nothing more in the file, or something that is none? */
static int end_of_file(const struct naru_tls *t, int which, unsigned found, const char *what)
{
    char reason[200];
    unsigned long e = ERR_peek_last_error();
    bool ended = (ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE) ||
                 ERR_GET_REASON(e) == ERR_R_UNSUPPORTED; /* what a file without a key gives */
    naru__tls_reason(reason, sizeof reason);
    if (ended && found)
        return 0;
    if (ended)
        return naru__fail(-EINVAL, "%s: .tls.%s: there is no %s in %s, which has to be a PEM file",
                          t->name, purpose[which], what, t->file[which]);
    return naru__fail(-EINVAL, "%s: .tls.%s: the %s number %u in %s cannot be used: %s", t->name,
                      purpose[which], what, found + 1, t->file[which], reason);
}

static int use_failed(const struct naru_tls *t, int which)
{
    char reason[200];
    return naru__fail(-EINVAL, "%s: .tls.%s: %s cannot be used: %s", t->name, purpose[which],
                      t->file[which], naru__tls_reason(reason, sizeof reason));
}

/* Asks now for what OpenSSL else finds out in the first handshake: it remembers that it could not,
 * though memory may have run out for a moment only. */
static bool is_whole(X509 *x)
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    if (X509_check_purpose(x, -1, 0) != 1 || !key || EVP_PKEY_get_security_bits(key) <= 0)
        return false;
    uint32_t flags = X509_get_extension_flags(x);
    return !(flags & EXFLAG_SI) || flags & EXFLAG_SS || X509_verify(x, key) != 1;
}

/* Each certificate of the file; `use` keeps a reference of its own, 0 fails. */
static int each_certificate(const struct naru_tls *t, int which, SSL_CTX *c,
                            int (*use)(SSL_CTX *, X509 *, unsigned i, bool server))
{
    BIO *bio;
    bool asked = false;
    unsigned n = 0;
    int r = read_file(t, which, &bio);
    if (r < 0)
        return r;
    for (X509 *x; r == 0 && (x = PEM_read_bio_X509(bio, NULL, no_password, &asked)); n++) {
        if (!is_whole(x) || !use(c, x, n, t->server))
            r = use_failed(t, which);
        X509_free(x);
    }
    if (r == 0)
        r = end_of_file(t, which, n, "certificate");
    BIO_free(bio);
    return r;
}

static int use_own(SSL_CTX *c, X509 *x, unsigned i, bool server)
{
    (void)server;
    return i == 0 ? SSL_CTX_use_certificate(c, x) : (int)SSL_CTX_add1_chain_cert(c, x);
}

static int use_authority(SSL_CTX *c, X509 *x, unsigned i, bool server)
{
    (void)i;
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(c), x) &&
           (!server || SSL_CTX_add_client_CA(c, x));
}

static int use_key(const struct naru_tls *t, SSL_CTX *c)
{
    int which = t->file[TLS_KEY] ? TLS_KEY : TLS_CERTIFICATE;
    bool asked = false;
    BIO *bio;
    int r = read_file(t, which, &bio);
    if (r < 0)
        return r;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, &asked);
    BIO_free(bio);
    if (asked)
        r = naru__fail(-EINVAL,
                       "%s: .tls.%s: the key in %s needs a password: write it without one "
                       "(openssl pkey)",
                       t->name, purpose[which], t->file[which]);
    else if (!key)
        r = end_of_file(t, which, 0, "private key");
    else if (X509_check_private_key(SSL_CTX_get0_certificate(c), key) != 1)
        r = naru__fail(-EINVAL, "%s: the key in %s is not that of the certificate in %s", t->name,
                       t->file[which], t->file[TLS_CERTIFICATE]);
    else if (SSL_CTX_use_PrivateKey(c, key) != 1)
        r = use_failed(t, which);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return r;
}

static int use_lists(const struct naru_tls *t, SSL_CTX *c)
{
    X509_STORE *store = SSL_CTX_get_cert_store(c);
    bool asked = false;
    unsigned n = 0;
    BIO *bio;
    int r = read_file(t, TLS_REVOKED, &bio);
    if (r < 0)
        return r;
    for (X509_CRL *l; r == 0 && (l = PEM_read_bio_X509_CRL(bio, NULL, no_password, &asked)); n++) {
        if (!X509_STORE_add_crl(store, l))
            r = use_failed(t, TLS_REVOKED);
        X509_CRL_free(l);
    }
    if (r == 0)
        r = end_of_file(t, TLS_REVOKED, n, "revocation list");
    BIO_free(bio);
    /* of each in the chain, but naru__tls_verify insists on the lists of the first's issuer only */
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return r;
}

/* ---- the context ---- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n,
                           const unsigned char *offered, unsigned size, void *of)
{
    const struct naru_tls *t = of;
    const size_t length = strlen(t->alpn);
    (void)ssl;
    for (unsigned i = 0; i < size; i += 1u + offered[i])
        if (offered[i] == length && i + length < size &&
            memcmp(offered + i + 1, t->alpn, length) == 0) {
            *out = offered + i + 1;
            *n = offered[i];
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int check_name(SSL *ssl, int *alert, void *of)
{
    const struct naru_tls *t = of;
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (!asked || strcasecmp(asked, t->server_name) == 0)
        return SSL_TLSEXT_ERR_OK;
    char why[300];
    snprintf(why, sizeof why, "the client asks for %.100s, and this is %.100s (.tls.server_name)",
             asked, t->server_name);
    naru__tls_session_refused(naru__tls_session_of(ssl), why);
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int offer_protocol(const struct naru_tls *t, SSL_CTX *c)
{
    unsigned char list[256];
    size_t n = strlen(t->alpn);
    list[0] = (unsigned char)n;
    memcpy(list + 1, t->alpn, n);
    return SSL_CTX_set_alpn_protos(c, list, (unsigned)n + 1); /* 0 is success */
}

static bool set_up(struct naru_tls *t, SSL_CTX *c)
{
    int verify = SSL_VERIFY_PEER;
    if (t->server && t->flags & NARU_TLS_CLIENT_CERTIFICATE)
        verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    if (t->server && !t->file[TLS_AUTHORITY])
        verify = SSL_VERIFY_NONE;
    SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_clear_mode(c, SSL_MODE_AUTO_RETRY); /* what brings no bytes is counted (session.c) */
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(c, 1);
    SSL_CTX_set_default_read_buffer_len(c, READ_AHEAD);
    SSL_CTX_set_verify(c, verify, naru__tls_verify);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    if (t->server) {
        /* HTTP/2's ends always read. Another client may write and close without, and what comes in
         * then makes its kernel throw away what it has not sent yet: it gets no ticket. */
        SSL_CTX_set_num_tickets(c, t->alpn ? 1 : 0);
        SSL_CTX_set_timeout(c, TICKET_SECONDS);
        if (!t->alpn)
            SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
    }
    if (t->server && t->server_name) {
        SSL_CTX_set_tlsext_servername_callback(c, check_name);
        SSL_CTX_set_tlsext_servername_arg(c, t);
    }
    if (t->server && t->alpn)
        SSL_CTX_set_alpn_select_cb(c, choose_protocol, t);
    return SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_session_id_context(c, (const unsigned char *)"naru", 4) == 1 &&
           (t->server || !t->alpn || offer_protocol(t, c) == 0) &&
           (t->server || t->file[TLS_AUTHORITY] || SSL_CTX_set_default_verify_paths(c) == 1);
}

/* What the files make. */
static int load(struct naru_tls *t, SSL_CTX **ret_context)
{
    char reason[200];
    int r = 0;
    ERR_clear_error();
    SSL_CTX *c = SSL_CTX_new(t->server ? TLS_server_method() : TLS_client_method());
    if (!c || !set_up(t, c))
        r = naru__fail(-ENOMEM, "%s: TLS cannot be set up: %s", t->name,
                       naru__tls_reason(reason, sizeof reason));
    if (r == 0 && t->file[TLS_CERTIFICATE])
        r = each_certificate(t, TLS_CERTIFICATE, c, use_own);
    if (r == 0 && t->file[TLS_CERTIFICATE])
        r = use_key(t, c);
    if (r == 0 && t->file[TLS_AUTHORITY])
        r = each_certificate(t, TLS_AUTHORITY, c, use_authority);
    if (r == 0 && t->file[TLS_REVOKED])
        r = use_lists(t, c);
    ERR_clear_error();
    if (r < 0)
        SSL_CTX_free(c);
    else
        *ret_context = c;
    return r;
}

static bool same_stamp(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void look_at(const struct naru_tls *t, struct stat *ret_stamps)
{
    memset(ret_stamps, 0, TLS_FILES * sizeof *ret_stamps);
    for (int i = 0; i < TLS_FILES; i++)
        if (t->file[i] && naru__os_stat_target(t->file[i], &ret_stamps[i]) < 0)
            memset(&ret_stamps[i], 0, sizeof ret_stamps[i]);
}

/* Under lock. Files that changed are tried once; as long as they cannot be used, the last good ones
 * are. Which they were is asked before they are read, so what changes meanwhile is read again. */
static void renew(struct naru_tls *t)
{
    struct stat now[TLS_FILES];
    SSL_CTX *made;
    bool same = true;
    look_at(t, now);
    for (int i = 0; i < TLS_FILES; i++)
        same = same && same_stamp(&now[i], &t->stamp[i]);
    if (same)
        return;
    int r = load(t, &made);
    memcpy(t->stamp, now, sizeof now);
    t->note[0] = '\0';
    if (r < 0) {
        snprintf(t->note, sizeof t->note, "the files have changed and the old ones are used on: %s",
                 naru__why());
        return;
    }
    SSL_CTX_free(t->context);
    t->context = made;
}

/* ---- life ---- */

static int check(const struct naru_tls_options *o, bool server, const char *name)
{
    if (server && !o->certificate)
        return naru__fail(-EINVAL,
                          "%s: who listens over TLS needs a certificate: give .tls.certificate and "
                          ".tls.key",
                          name);
    if (o->key && !o->certificate)
        return naru__fail(-EINVAL, "%s: .tls.key is given without .tls.certificate", name);
    if (server && o->flags & NARU_TLS_CLIENT_CERTIFICATE && !o->authority)
        return naru__fail(-EINVAL,
                          "%s: NARU_TLS_CLIENT_CERTIFICATE needs .tls.authority: who issues the "
                          "certificates that clients show",
                          name);
    if (o->flags & ~NARU_TLS_CLIENT_CERTIFICATE)
        return naru__fail(-EINVAL, "%s: .tls.flags has 0x%x, which is no flag", name,
                          o->flags & ~NARU_TLS_CLIENT_CERTIFICATE);
    if (o->handshake < 0)
        return naru__fail(-EINVAL, "%s: .tls.handshake is negative: every handshake has an end",
                          name);
    return 0;
}

/* *ret_slot: a copy, NULL of NULL. */
static bool keep(struct naru_tls *t, unsigned i, const char *given, const char **ret_slot)
{
    if (given)
        t->text[i] = naru__copy_text(given, strlen(given));
    *ret_slot = t->text[i];
    return !given || t->text[i];
}

void naru__tls_unref(struct naru_tls *t)
{
    /* acq_rel: the last one sees what the others did */
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
        return;
    SSL_CTX_free(t->context);
    for (size_t i = 0; i < sizeof t->text / sizeof *t->text; i++)
        free(t->text[i]);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

struct naru_tls *naru__tls_ref(struct naru_tls *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed); /* the caller has one already */
    return t;
}

int naru__tls_new(const struct naru_tls_options *o, bool server, const char *alpn, const char *name,
                  struct naru_tls **ret_tls)
{
    static const struct naru_tls_options none = {.size = sizeof none};
    int r = naru__check_options(o, sizeof *o, "naru_tls_options");
    o = o ? o : &none;
    if (r == 0)
        r = check(o, server, name);
    struct naru_tls *t = r < 0 ? NULL : naru__alloc(sizeof *t);
    if (!t)
        return r < 0 ? r : -ENOMEM;
    t->refs = 1;
    t->server = server;
    t->handshake = o->handshake ? o->handshake : 10 * NARU_S;
    t->flags = o->flags;
    pthread_mutex_init(&t->lock, NULL);
    bool kept = keep(t, TLS_CERTIFICATE, o->certificate, &t->file[TLS_CERTIFICATE]) &&
                keep(t, TLS_KEY, o->key, &t->file[TLS_KEY]) &&
                keep(t, TLS_AUTHORITY, o->authority, &t->file[TLS_AUTHORITY]) &&
                keep(t, TLS_REVOKED, o->revoked, &t->file[TLS_REVOKED]) &&
                keep(t, TLS_FILES, o->server_name, &t->server_name) &&
                keep(t, TLS_FILES + 1, alpn, &t->alpn) && keep(t, TLS_FILES + 2, name, &t->name);
    look_at(t, t->stamp);
    r = kept ? load(t, &t->context) : -ENOMEM;
    if (r < 0)
        naru__tls_unref(t);
    else
        *ret_tls = t;
    return r;
}

SSL *naru__tls_session_new(struct naru_tls *t)
{
    pthread_mutex_lock(&t->lock);
    if (t->server)
        renew(t);
    SSL *ssl = SSL_new(t->context);
    pthread_mutex_unlock(&t->lock);
    return ssl;
}

/* ---- of a listener ---- */

static int make_cover(struct naru_cover_maker *covers, int fd, struct naru_cover **ret_cover)
{
    return naru__tls_cover((struct naru_tls *)covers, fd, NULL, ret_cover);
}

static void tell_note(struct naru_cover_maker *covers, char *buf, size_t n)
{
    struct naru_tls *t = (struct naru_tls *)covers;
    pthread_mutex_lock(&t->lock);
    snprintf(buf, n, "%s", t->note);
    pthread_mutex_unlock(&t->lock);
}

static void forget_covers(struct naru_cover_maker *covers)
{
    naru__tls_unref((struct naru_tls *)covers);
}

int naru__tls_covers(const struct naru_tls_options *o, const char *alpn, const char *name,
                     struct naru_cover_maker **ret_covers)
{
    struct naru_tls *t;
    int r = naru__tls_new(o, true, alpn, name, &t);
    if (r < 0)
        return r;
    t->covers = (struct naru_cover_maker){make_cover, tell_note, forget_covers};
    *ret_covers = &t->covers;
    return 0;
}
