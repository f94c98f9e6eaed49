/* SPDX-License-Identifier: MIT */
/* session.c - one connection: OpenSSL between a socket and its owner, as a cover.
 *
 * OpenSSL reads from the socket by itself, and what it writes is written, or kept in `out` where
 * the socket takes no more. So to OpenSSL a write always succeeds, and what it has made of bytes is
 * never to be made again. A record is made only when the socket has room for all of it, so `out`
 * is empty but for rare moments, and what `write` has taken is in the kernel, as with a bare
 * socket.
 *
 * Both directions' threads come here: `lock` is held through each slot, and nothing waits in it. */
#include "tls/inside.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/poll.h"
#include "os/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RECORD = 16384,      /* the largest */
    RECORD_LEAST = 1024, /* where the socket has little room */
    CHARGE = 4096,       /* what the kernel needs beside a record, at most */
    OUT_MAX = 131072,    /* kept for a socket that takes nothing */
    BARREN_MAX = 131072  /* bytes of records that bring none to the owner, one after the other */
};

struct tls_session {
    struct naru_cover cover;
    struct naru_tls *tls;
    SSL *ssl;
    int fd;
    pthread_mutex_t lock;             /* guards what follows, and ssl */
    bool met, finishing, shut, ended; /* said: no more comes */
    int lost;                         /* 0, or why nothing more comes or goes */
    char why[400];
    char refused[400]; /* by this end, while OpenSSL verifies: the sentence */
    int alert;         /* by the other end; 0: none */
    bool again;        /* the other end has begun another handshake */
    int64_t deadline;  /* of the handshake */
    const char *name;  /* that the server must have */
    char host[256];
    bool dry, end_of_file; /* the last read of the socket */
    int in_error, out_error;
    bool more; /* OpenSSL may have bytes that were not handed out */
    size_t barren; /* that came since the owner last got some */
    int64_t room;  /* bytes that the socket takes, at least, before it has to be asked again */
    size_t record; /* of the size for that room */
    struct {
        uint8_t *bytes; /* of what OpenSSL made */
        size_t start, end, size;
    } out;
    uint8_t *first; /* owned */
    size_t first_size;
};

static struct tls_session *of(struct naru_cover *cover)
{
    return (struct tls_session *)cover;
}

struct tls_session *naru__tls_session_of(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

const char *naru__tls_session_wants(const struct tls_session *s)
{
    return s->name;
}

void naru__tls_session_refused(struct tls_session *s, const char *why)
{
    if (!s->refused[0]) /* the first is the cause */
        snprintf(s->refused, sizeof s->refused, "%s", why);
}

/* ---- the socket, as OpenSSL sees it ---- */

static int keep_out(struct tls_session *s, const char *bytes, size_t n)
{
    if (s->out.start == s->out.end)
        s->out.start = s->out.end = 0;
    if (s->out.end + n > s->out.size) {
        size_t size = s->out.end + n + RECORD;
        uint8_t *grown = size > OUT_MAX ? NULL : naru__alloc_raw(size);
        if (!grown)
            return -ENOBUFS;
        if (s->out.end)
            memcpy(grown, s->out.bytes, s->out.end);
        free(s->out.bytes);
        s->out.bytes = grown;
        s->out.size = size;
    }
    memcpy(s->out.bytes + s->out.end, bytes, n);
    s->out.end += n;
    return 0;
}

static ssize_t put(struct tls_session *s, const void *bytes, size_t n)
{
    const struct iovec one = {(void *)(uintptr_t)bytes, n};
    ssize_t r = naru__os_send_vector(s->fd, &one, 1);
    naru__count(&s->cover.handle->counts.calls[1], 1);
    return r;
}

/* It is this host's, and passes. */
static bool passes(ssize_t code)
{
    return code == -EAGAIN || code == -ENOBUFS || code == -ENOMEM;
}

/* Always takes all: after an error there is nothing to go on with, and OpenSSL is to be able to
 * read what the other end said last. */
static int socket_write(BIO *bio, const char *bytes, int n)
{
    struct tls_session *s = BIO_get_data(bio);
    size_t gone = 0, size = (size_t)n;
    BIO_clear_retry_flags(bio);
    if (s->out_error == 0 && s->out.start == s->out.end) {
        ssize_t r = put(s, bytes, size);
        if (r < 0 && !passes(r))
            s->out_error = (int)r;
        gone = r > 0 ? (size_t)r : 0;
    }
    if (s->out_error == 0 && gone < size) {
        s->room = 0;
        s->out_error = keep_out(s, bytes + gone, size - gone);
    }
    return n;
}

static int socket_read(BIO *bio, char *buf, int n)
{
    struct tls_session *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t r = naru__os_receive_bytes(s->fd, buf, (size_t)n, 0);
    naru__count(&s->cover.handle->counts.calls[0], 1);
    s->dry = r == -EAGAIN;
    s->end_of_file = r == 0;
    if (s->dry)
        BIO_set_retry_read(bio);
    else if (r < 0)
        s->in_error = (int)r;
    else
        s->barren += (size_t)r;
    return r < 0 ? -1 : (int)r;
}

static long socket_control(BIO *bio, int what, long n, void *p)
{
    const struct tls_session *s = BIO_get_data(bio);
    (void)n, (void)p;
    return what == BIO_CTRL_FLUSH ? 1 : what == BIO_CTRL_EOF ? s->end_of_file : 0;
}

static BIO_METHOD *method;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "naru");
    if (method)
        (void)(BIO_meth_set_write(method, socket_write) && BIO_meth_set_read(method, socket_read) &&
               BIO_meth_set_ctrl(method, socket_control));
}

static BIO *new_socket(struct tls_session *s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    BIO *bio = method ? BIO_new(method) : NULL;
    if (!bio)
        return NULL;
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    return bio;
}

/* ---- ends ---- */

static int lose(struct tls_session *s, int code, const char *why)
{
    if (s->lost == 0) {
        s->lost = code;
        snprintf(s->why, sizeof s->why, "%s", why);
        naru__nudge(s->cover.handle, 0); /* what they sleep for does not come */
        naru__nudge(s->cover.handle, 1);
    }
    return s->lost;
}

static int say_lost(struct tls_session *s)
{
    return naru__fail(s->lost, "%s", s->why);
}

/* What came is no TLS, or this end cannot go on with it. */
static int broken(struct tls_session *s)
{
    char reason[200], why[400];
    unsigned long e = ERR_peek_last_error();
    int what = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
    naru__tls_reason(reason, sizeof reason);
    if (ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE || e == 0)
        return lose(s, -ECONNRESET, "memory ran out, and the connection with it");
    if (what == SSL_R_NO_SHARED_CIPHER || what == SSL_R_UNSUPPORTED_PROTOCOL)
        snprintf(why, sizeof why, "the two ends have nothing of TLS in common: %s", reason);
    else if (what == SSL_R_NO_APPLICATION_PROTOCOL)
        snprintf(why, sizeof why, "the other end does not speak %.40s inside TLS (ALPN)",
                 s->tls->alpn);
    else
        snprintf(why, sizeof why, "what came is no TLS, or is damaged: %s", reason);
    return lose(s, -EPROTO, why);
}

/* OpenSSL has failed: why. */
static int failed(struct tls_session *s, int error)
{
    int code;
    char why[400];
    const char *text = s->alert ? naru__tls_alert(s->alert, &code) : NULL;
    if (s->alert && !text) {
        snprintf(why, sizeof why, "the other end ended it: %s",
                 SSL_alert_desc_string_long(s->alert));
        text = why;
    }
    unsigned long e = ERR_peek_last_error();
    bool cut = s->end_of_file || (ERR_GET_LIB(e) == ERR_LIB_SSL &&
                                  ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING);
    bool none = ERR_GET_LIB(e) == ERR_LIB_SSL &&
                ERR_GET_REASON(e) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE;
    if (s->refused[0] || none || text || cut || s->in_error)
        ERR_clear_error();
    if (s->refused[0])
        return lose(s, -EPERM, s->refused);
    if (none)
        return lose(s, -EPERM, "the client has shown no certificate, and one is demanded");
    if (text)
        return lose(s, code, text);
    if (s->in_error) {
        snprintf(why, sizeof why, "the other end vanished%s: %s", s->met ? "" : " in the handshake",
                 naru__errno_text(s->in_error));
        return lose(s, -ECONNRESET, why);
    }
    if (cut || error == SSL_ERROR_ZERO_RETURN)
        return lose(s, -ECONNRESET,
                    s->met ? "the other end vanished without saying that it has finished"
                           : "the other end left in the handshake");
    return broken(s);
}

/* Alerts that come, and handshakes that the other end begins. */
static void on_event(const SSL *ssl, int where, int value)
{
    struct tls_session *s = SSL_get_app_data(ssl);
    if (where == SSL_CB_READ_ALERT && value >> 8 == SSL3_AL_FATAL)
        s->alert = value & 0xff;
    if (where == SSL_CB_HANDSHAKE_START && s->met)
        s->again = true;
}

/* ---- out ---- */

static int flush_out(struct tls_session *s)
{
    while (s->out_error == 0 && s->out.start < s->out.end) {
        ssize_t r = put(s, s->out.bytes + s->out.start, s->out.end - s->out.start);
        if (passes(r))
            return -EAGAIN;
        if (r < 0)
            s->out_error = (int)r;
        else
            s->out.start += (size_t)r;
    }
    if (s->out.bytes) {
        free(s->out.bytes);
        memset(&s->out, 0, sizeof s->out);
    }
    if (s->finishing && !s->shut && s->out_error == 0 && (s->met || s->lost)) {
        s->shut = true;
        (void)naru__os_shutdown(s->fd, SHUT_WR);
    }
    return s->out_error;
}

/* Is there room for a whole record? A socket is writable when a third of its buffer is free. */
static bool has_room(struct tls_session *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};
    if (s->room >= (int64_t)s->record + CHARGE)
        return true;
    if (naru__os_poll(&p, 1, NARU__AT_ONCE) <= 0)
        return false;
    int holds = naru__os_get_number(s->fd, SOL_SOCKET, SO_SNDBUF);
    int64_t most = holds / 3 - CHARGE;
    s->record = most < RECORD_LEAST ? RECORD_LEAST : most > RECORD ? RECORD : (size_t)most;
    s->room = most < (int64_t)s->record + CHARGE ? (int64_t)s->record + CHARGE : most;
    return true;
}

/* The next record's bytes: in place where one piece has them, else together in `block`. */
static const uint8_t *next_bytes(const struct iovec *v, int n, size_t most, uint8_t *block, int *at,
                                 size_t *offset, size_t *ret_size)
{
    size_t size = 0;
    while (*at < n && v[*at].iov_len == *offset) {
        ++*at;
        *offset = 0;
    }
    *ret_size = 0;
    if (*at == n)
        return NULL;
    if (v[*at].iov_len - *offset >= most || *at == n - 1) {
        const uint8_t *in_place = (const uint8_t *)v[*at].iov_base + *offset;
        size = v[*at].iov_len - *offset;
        *ret_size = size < most ? size : most;
        *offset += *ret_size;
        return in_place;
    }
    while (*at < n && size < most) {
        size_t left = v[*at].iov_len - *offset, take = left < most - size ? left : most - size;
        if (take)
            memcpy(block + size, (const uint8_t *)v[*at].iov_base + *offset, take);
        size += take;
        *offset += take;
        if (*offset == v[*at].iov_len) {
            ++*at;
            *offset = 0;
        }
    }
    *ret_size = size;
    return block;
}

static int make_record(struct tls_session *s, const void *bytes, size_t n)
{
    size_t gone;
    ERR_clear_error();
    int r = SSL_write_ex(s->ssl, bytes, n, &gone);
    s->room -= (int64_t)n + CHARGE;
    if (r != 1)
        return failed(s, SSL_get_error(s->ssl, r));
    return s->out_error;
}

/* The socket takes nothing more: why, as far as what came last tells. -EPIPE: it does not. */
static int out_failed(struct tls_session *s)
{
    char byte;
    size_t got;
    if (s->lost)
        return say_lost(s);
    ERR_clear_error();
    int r = s->met ? SSL_peek_ex(s->ssl, &byte, 1, &got) : 1;
    int error = r == 1 ? SSL_ERROR_NONE : SSL_get_error(s->ssl, r);
    if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL)
        (void)failed(s, error);
    ERR_clear_error();
    if (s->lost == 0 && s->met && s->out_error == -EPIPE)
        return -EPIPE;
    char why[100];
    snprintf(why, sizeof why, "nothing more can be sent%s: %s", s->met ? "" : " in the handshake",
             naru__errno_text(s->out_error));
    (void)lose(s, -ECONNRESET, why); /* unless it is already */
    return say_lost(s);
}

/* ---- the handshake ---- */

static void say_finished(struct tls_session *s)
{
    ERR_clear_error();
    (void)SSL_shutdown(s->ssl);
    ERR_clear_error();
    (void)flush_out(s);
}

/* Both threads may be asleep for something else than what they now need. */
static int now_met(struct tls_session *s)
{
    const unsigned char *spoken;
    unsigned n;
    SSL_get0_alpn_selected(s->ssl, &spoken, &n);
    if (s->tls->alpn && (n != strlen(s->tls->alpn) || memcmp(spoken, s->tls->alpn, n) != 0)) {
        char why[100];
        snprintf(why, sizeof why, "the other end does not speak %.40s inside TLS (ALPN)",
                 s->tls->alpn);
        return lose(s, -EPROTO, why);
    }
    s->met = true;
    s->barren = 0;
    s->more = SSL_has_pending(s->ssl);
    int r = s->first_size ? make_record(s, s->first, s->first_size) : 0;
    free(s->first);
    s->first = NULL;
    s->first_size = 0;
    if (s->finishing)
        say_finished(s);
    naru__nudge(s->cover.handle, 0);
    naru__nudge(s->cover.handle, 1);
    if (r < 0 && out_failed(s) == -EPIPE) /* else why is known already */
        (void)lose(s, -ECONNRESET, "the other end left in the handshake");
    return s->lost;
}

static int meet(struct tls_session *s)
{
    if (s->lost)
        return say_lost(s);
    if (s->met)
        return 0;
    (void)flush_out(s); /* its failure: what came last may tell why */
    ERR_clear_error();
    int done = SSL_do_handshake(s->ssl), r = -EAGAIN;
    int error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(s->ssl, done);
    bool waits = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
    if (done == 1)
        r = now_met(s);
    else if (!waits)
        r = failed(s, error);
    else if (s->out_error)
        r = out_failed(s);
    else if (naru__now() >= s->deadline)
        r = lose(s, -ECONNRESET,
                 "the other end has not finished the handshake in time (.tls.handshake)");
    return s->lost ? say_lost(s) : r;
}

/* ---- the slots ---- */

static int session_meet(struct naru_cover *cover)
{
    struct tls_session *s = of(cover);
    pthread_mutex_lock(&s->lock);
    int r = meet(s);
    pthread_mutex_unlock(&s->lock);
    return r;
}

/* One read of OpenSSL's: > 0 bytes, 0 the end, -EAGAIN, or lost. */
static ssize_t read_some(struct tls_session *s, void *buf, size_t n)
{
    size_t got = 0;
    for (;;) {
        ERR_clear_error();
        s->dry = false;
        int r = SSL_read_ex(s->ssl, buf, n, &got);
        if (s->again) {
            ERR_clear_error();
            return lose(s, -EPROTO, "the other end wants to negotiate anew, which naru never does");
        }
        if (r == 1)
            break;
        int error = SSL_get_error(s->ssl, r);
        if (error == SSL_ERROR_ZERO_RETURN) {
            s->ended = true;
            return 0;
        }
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return failed(s, error);
        if (s->barren > BARREN_MAX)
            return lose(s, -EPROTO, "the other end sends records that bring nothing");
        if (s->dry || error == SSL_ERROR_WANT_WRITE)
            return -EAGAIN;
    }
    s->barren = 0;
    return (ssize_t)got;
}

static ssize_t session_read(struct naru_cover *cover, const struct iovec *room, int n)
{
    struct tls_session *s = of(cover);
    ssize_t r = 0;
    size_t all = 0;
    pthread_mutex_lock(&s->lock);
    r = meet(s);
    (void)flush_out(s); /* of what waited for room: whoever comes by moves it on */
    for (int i = 0; r >= 0 && i < n && !s->ended; i++)
        for (size_t at = 0; at < room[i].iov_len;) {
            r = read_some(s, (uint8_t *)room[i].iov_base + at, room[i].iov_len - at);
            if (r <= 0)
                break;
            at += (size_t)r;
            all += (size_t)r;
        }
    s->more = s->lost == 0 && !s->ended && r != -EAGAIN && s->met && SSL_has_pending(s->ssl);
    if (all > 0)
        r = (ssize_t)all; /* how it ended is the next one's */
    else if (s->ended && s->lost == 0)
        r = 0;
    else if (r < 0 && s->lost)
        r = say_lost(s);
    pthread_mutex_unlock(&s->lock);
    return r;
}

static ssize_t session_write(struct naru_cover *cover, const struct iovec *v, int n)
{
    struct tls_session *s = of(cover);
    uint8_t block[RECORD];
    size_t taken = 0, offset = 0, size;
    int at = 0;
    pthread_mutex_lock(&s->lock);
    int r = meet(s);
    if (r == 0 && s->finishing)
        r = -EPIPE;
    if (r == 0)
        r = flush_out(s);
    while (r == 0) {
        if (!has_room(s)) {
            r = -EAGAIN;
            break;
        }
        const uint8_t *bytes = next_bytes(v, n, s->record, block, &at, &offset, &size);
        if (size == 0)
            break;
        r = make_record(s, bytes, size);
        if (r == 0)
            taken += size;
        if (s->out.start < s->out.end)
            break;
    }
    if (r < 0 && taken == 0 && (s->lost || s->out_error))
        r = out_failed(s);
    pthread_mutex_unlock(&s->lock);
    return taken ? (ssize_t)taken : r;
}

/* What is lost says why to whoever asks otherwise, and to nobody who closes. */
static int session_flush(struct naru_cover *cover)
{
    struct tls_session *s = of(cover);
    pthread_mutex_lock(&s->lock);
    int r = s->lost ? s->lost : meet(s);
    if (r == 0)
        r = flush_out(s);
    if (r < 0 && r != -EAGAIN && s->lost == 0)
        r = out_failed(s);
    pthread_mutex_unlock(&s->lock);
    return r;
}

static int session_first(struct naru_cover *cover, const void *bytes, size_t n)
{
    struct tls_session *s = of(cover);
    uint8_t *copy = naru__alloc_raw(n);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, bytes, n);
    pthread_mutex_lock(&s->lock);
    free(s->first);
    s->first = copy;
    s->first_size = n;
    (void)meet(s); /* a client begins; why it could not, whoever reads learns */
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static void session_finish(struct naru_cover *cover)
{
    struct tls_session *s = of(cover);
    pthread_mutex_lock(&s->lock);
    if (!s->finishing && s->met && s->lost == 0)
        say_finished(s);
    s->finishing = true; /* else as soon as they have met */
    (void)flush_out(s);
    pthread_mutex_unlock(&s->lock);
}

static void session_watch(struct naru_cover *cover, int events, struct naru_watch *ret_watch)
{
    struct tls_session *s = of(cover);
    short want = 0;
    pthread_mutex_lock(&s->lock);
    bool meeting = !s->met && s->lost == 0;
    if (meeting || events & NARU_IN)
        want |= POLLIN;
    if (s->out.start < s->out.end || (!meeting && events & NARU_OUT))
        want |= POLLOUT;
    if (meeting && s->deadline < ret_watch->again)
        ret_watch->again = s->deadline;
    pthread_mutex_unlock(&s->lock);
    ret_watch->n = 1;
    ret_watch->fds[0] = (struct pollfd){.fd = s->fd, .events = want};
}

static bool session_ready(struct naru_cover *cover)
{
    struct tls_session *s = of(cover);
    pthread_mutex_lock(&s->lock);
    bool ready = s->more || s->lost || s->ended;
    pthread_mutex_unlock(&s->lock);
    return ready;
}

static void session_subject(struct naru_cover *cover, char *buf, size_t n)
{
    struct tls_session *s = of(cover);
    char subject[512];
    buf[0] = '\0';
    pthread_mutex_lock(&s->lock);
    const X509 *x = s->met ? SSL_get0_peer_certificate(s->ssl) : NULL;
    if (x) {
        naru__tls_subject(x, false, subject, sizeof subject);
        if (strlen(subject) < n) /* a part of a name would be another's */
            snprintf(buf, n, "%s", subject);
    }
    pthread_mutex_unlock(&s->lock);
}

static void session_close(struct naru_cover *cover)
{
    struct tls_session *s = of(cover);
    SSL_free(s->ssl);
    naru__tls_unref(s->tls);
    pthread_mutex_destroy(&s->lock);
    free(s->out.bytes);
    free(s->first);
    free(s);
}

static const struct naru_cover_ops session_ops = {
    .size = sizeof session_ops,
    .meet = session_meet,
    .read = session_read,
    .write = session_write,
    .flush = session_flush,
    .first = session_first,
    .finish = session_finish,
    .watch = session_watch,
    .ready = session_ready,
    .subject = session_subject,
    .close = session_close,
};

/* ---- making one ---- */

static bool is_address(const char *host)
{
    unsigned char address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* The name that the server must have, and that it is asked for by. */
static bool name_server(struct tls_session *s)
{
    if (is_address(s->name))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), s->name) == 1;
    SSL_set_hostflags(s->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(s->ssl, s->name) == 1 && SSL_set_tlsext_host_name(s->ssl, s->name) == 1;
}

int naru__tls_cover(struct naru_tls *t, int fd, const char *host, struct naru_cover **ret_cover)
{
    struct tls_session *s = naru__alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    ERR_clear_error();
    s->cover.ops = &session_ops;
    s->fd = fd;
    s->record = RECORD;
    s->deadline = naru__deadline(t->handshake);
    pthread_mutex_init(&s->lock, NULL);
    s->tls = naru__tls_ref(t);
    snprintf(s->host, sizeof s->host, "%s", host ? host : "");
    s->name = t->server_name ? t->server_name : s->host;
    s->ssl = naru__tls_session_new(t);
    BIO *socket = s->ssl ? new_socket(s) : NULL;
    if (socket)
        SSL_set_bio(s->ssl, socket, socket);
    int r = socket && SSL_set_app_data(s->ssl, s) == 1 ? 0 : -ENOMEM;
    if (r == 0 && !t->server && !s->name[0])
        r = naru__fail(-EINVAL, "%s: the server has no name to be checked: give .tls.server_name",
                       t->name);
    else if (r == 0 && !t->server && !name_server(s))
        r = naru__fail(-EINVAL, "%s: \"%s\" is no name of a server", t->name, s->name);
    else if (r < 0)
        naru__fail(r, "%s: no memory for TLS", t->name);
    ERR_clear_error();
    if (r < 0) {
        session_close(&s->cover);
        return r;
    }
    SSL_set_info_callback(s->ssl, on_event);
    if (t->server)
        SSL_set_accept_state(s->ssl);
    else
        SSL_set_connect_state(s->ssl);
    *ret_cover = &s->cover;
    return 0;
}
