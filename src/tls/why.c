/* SPDX-License-Identifier: MIT */
/* why.c - why a certificate, or a handshake, was refused, in a sentence. */
#include "tls/inside.h"

#include <errno.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

const char *naru__tls_reason(char *buf, size_t n)
{
    unsigned long e = ERR_peek_last_error();
    const char *text = e ? ERR_reason_error_string(e) : NULL;
    if (text)
        snprintf(buf, n, "%s", text);
    else if (e)
        ERR_error_string_n(e, buf, n);
    else
        snprintf(buf, n, "memory ran out");
    ERR_clear_error();
    return buf;
}

/* ---- what is in a certificate ---- */

/* What was written into memory, cut to fit. */
static void take_text(BIO *bio, char *buf, size_t n)
{
    char *text = NULL;
    long length = bio ? BIO_get_mem_data(bio, &text) : 0;
    snprintf(buf, n, "%.*s", length > 0 ? (int)length : 0, text ? text : "");
    BIO_free(bio);
}

void naru__tls_subject(const X509 *x, bool issuer, char *buf, size_t n)
{
    X509_NAME *name = issuer ? X509_get_issuer_name(x) : X509_get_subject_name(x);
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio)
        X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
    take_text(bio, buf, n);
    ERR_clear_error();
}

static void time_text(const ASN1_TIME *time, char *buf, size_t n)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio)
        ASN1_TIME_print(bio, time);
    take_text(bio, buf, n);
}

/* "a.example, b.example": the names that it is for. */
static void names_text(const X509 *x, char *buf, size_t n)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    size_t at = 0;
    buf[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && at < n; i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        const char *comma = at ? ", " : "";
        if (g->type == GEN_DNS)
            at += (size_t)snprintf(buf + at, n - at, "%s%.*s", comma, g->d.dNSName->length,
                                   (const char *)g->d.dNSName->data);
        else if (g->type == GEN_IPADD && g->d.iPAddress->length == 4)
            at += (size_t)snprintf(buf + at, n - at, "%s%u.%u.%u.%u", comma,
                                   g->d.iPAddress->data[0], g->d.iPAddress->data[1],
                                   g->d.iPAddress->data[2], g->d.iPAddress->data[3]);
    }
    GENERAL_NAMES_free(names);
    if (!buf[0])
        snprintf(buf, n, "no name");
}

static void list_ended(X509_STORE_CTX *c, char *buf, size_t n)
{
    const X509_CRL *list = X509_STORE_CTX_get0_current_crl(c);
    const ASN1_TIME *until = list ? X509_CRL_get0_nextUpdate(list) : NULL;
    buf[0] = '\0';
    if (until)
        time_text(until, buf, n);
}

/* ---- verification ---- */

static void refuse(X509_STORE_CTX *c, const struct tls_session *s, int error, char *why, size_t n)
{
    const X509 *x = X509_STORE_CTX_get_current_cert(c);
    char whose[100] = "", by[100] = "", more[100] = "";
    if (x) {
        naru__tls_subject(x, false, whose, sizeof whose);
        naru__tls_subject(x, true, by, sizeof by);
    }
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        time_text(X509_get0_notAfter(x), more, sizeof more);
        snprintf(why, n, "the certificate of %s expired on %s", whose, more);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        time_text(X509_get0_notBefore(x), more, sizeof more);
        snprintf(why, n, "the certificate of %s is not valid before %s: is the clock right?", whose,
                 more);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        names_text(x, more, sizeof more);
        snprintf(why, n,
                 "the certificate of %s is for %s and not for the server's name %.80s "
                 "(.tls.server_name, or the URL's host)",
                 whose, more, naru__tls_session_wants(s));
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        snprintf(why, n,
                 "the certificate of %s is self-signed: no authority vouches for it; give it as "
                 ".tls.authority if it is to be believed",
                 whose);
        break;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        snprintf(why, n,
                 "the certificate of %s was issued by an unknown authority, %s: give that one's "
                 "certificate as .tls.authority if it is to be believed",
                 whose, by);
        break;
    case X509_V_ERR_CERT_REVOKED:
        snprintf(why, n, "the certificate of %s was revoked by %s", whose, by);
        break;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
        snprintf(why, n,
                 "whether the certificate of %s was revoked is not known: .tls.revoked has no list "
                 "of %s",
                 whose, by);
        break;
    case X509_V_ERR_CRL_HAS_EXPIRED:
        list_ended(c, more, sizeof more);
        snprintf(why, n,
                 "whether the certificate of %s was revoked is not known: the list of %s ran out "
                 "on %s; get a newer one for .tls.revoked",
                 whose, by, more);
        break;
    default:
        snprintf(why, n, "the certificate of %s is refused: %s", whose[0] ? whose : "nobody",
                 X509_verify_cert_error_string(error));
    }
    ERR_clear_error();
}

int naru__tls_verify(int ok, X509_STORE_CTX *c)
{
    char why[400];
    const SSL *ssl = X509_STORE_CTX_get_ex_data(c, SSL_get_ex_data_X509_STORE_CTX_idx());
    int error = X509_STORE_CTX_get_error(c);
    if (ok)
        return 1;
    if (error == X509_V_ERR_UNABLE_TO_GET_CRL && X509_STORE_CTX_get_error_depth(c) > 0) {
        X509_STORE_CTX_set_error(c, X509_V_OK); /* lists of those who issue for authorities may
                                                 * be given and need not */
        return 1;
    }
    struct tls_session *s = naru__tls_session_of(ssl);
    refuse(c, s, error, why, sizeof why);
    naru__tls_session_refused(s, why);
    return 0;
}

/* ---- what the other end says ---- */

static const struct {
    int alert, code;
    const char *text;
} alerts[] = {
    {SSL_AD_CERTIFICATE_REQUIRED, -EPERM,
     "the other end demands a certificate, and this one has shown none (.tls.certificate)"},
    {SSL_AD_CERTIFICATE_EXPIRED, -EPERM, "the other end says that this one's certificate expired"},
    {SSL_AD_CERTIFICATE_REVOKED, -EPERM,
     "the other end says that this one's certificate was revoked"},
    {SSL_AD_UNKNOWN_CA, -EPERM,
     "the other end does not know the authority that issued this one's certificate"},
    {SSL_AD_BAD_CERTIFICATE, -EPERM, "the other end refuses this one's certificate"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, -EPERM,
     "the other end refuses the kind of this one's certificate"},
    {SSL_AD_CERTIFICATE_UNKNOWN, -EPERM, "the other end refuses this one's certificate"},
    {SSL_AD_ACCESS_DENIED, -EPERM, "the other end does not let this one in"},
    {SSL_AD_UNRECOGNIZED_NAME, -EPERM,
     "the other end is not called as it was asked for (.tls.server_name, or the URL's host)"},
    {SSL_AD_HANDSHAKE_FAILURE, -EPERM,
     "the other end refuses the handshake: it demands a certificate, or the two have no cipher in "
     "common"},
    {SSL_AD_PROTOCOL_VERSION, -EPROTO,
     "the two ends have no version of TLS in common: naru speaks 1.2 and 1.3"},
    {SSL_AD_NO_APPLICATION_PROTOCOL, -EPROTO,
     "the other end speaks another protocol inside TLS (ALPN)"},
};

const char *naru__tls_alert(int alert, int *ret_code)
{
    for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++)
        if (alerts[i].alert == alert) {
            *ret_code = alerts[i].code;
            return alerts[i].text;
        }
    *ret_code = -EPROTO;
    return NULL;
}
