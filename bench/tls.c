/* SPDX-License-Identifier: MIT */
/* tls.c - naru over tls: beside a bare loop of OpenSSL's, in turns, over the loopback device with
 * TCP_NODELAY: round trips, a stream of writes, and handshakes. One line of JSON a cell, the median
 * of the rounds.
 *
 *   bench-tls [-r ROUNDS] [-t MS a cell]
 *
 * Both ends are the same way, in two processes; the certificate is made here, of an elliptic curve,
 * and checked by the client. What naru does besides: it never blocks, waits with a deadline, and a
 * connection's messages are framed. */
#include <arpa/inet.h>
#include <naru/naru.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MAX = 31, MOST = 1 << 20 };
static int rounds = 5, cell_ms = 300;
static char buffer[MOST], certificate[40], key[40];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "bench-tls: %s: %s\n", what, naru_why());
    exit(1);
}

static void must(bool ok, const char *what)
{
    if (!ok)
        fail(what);
}

/* ---- the certificate, in memory files ---- */

static FILE *memory_file(char path[40])
{
    int fd = memfd_create("bench-tls", 0);
    snprintf(path, 40, "/proc/self/fd/%d", fd);
    FILE *f = fopen(path, "w");
    must(fd >= 0 && f, "a memory file");
    return f;
}

static void make_certificate(void)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    must(pair && x, "a key");
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, pair);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"bench", -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    must(X509_sign(x, pair, EVP_sha256()) > 0, "a certificate");
    FILE *f = memory_file(certificate);
    PEM_write_X509(f, x);
    fclose(f);
    f = memory_file(key);
    PEM_write_PrivateKey(f, pair, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(pair);
}

/* ---- ways ---- */

struct way {
    const char *name;
    void (*listen)(void);
    void (*meet)(bool serves); /* with the handshake */
    void (*send)(const void *, size_t);
    void (*receive)(void *, size_t);
    void (*part)(void);
};

static int port;

/* bare OpenSSL */

static SSL_CTX *contexts[2];
static SSL *ssl;
static int listener;

static void bare_listen(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listener, (struct sockaddr *)&a, n) == 0 && listen(listener, 64) == 0 &&
             getsockname(listener, (struct sockaddr *)&a, &n) == 0,
         "listening");
    port = ntohs(a.sin_port);
    contexts[0] = SSL_CTX_new(TLS_client_method());
    contexts[1] = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_verify(contexts[0], SSL_VERIFY_PEER, NULL);
    must(SSL_CTX_load_verify_locations(contexts[0], certificate, NULL) == 1 &&
             SSL_CTX_use_certificate_file(contexts[1], certificate, SSL_FILETYPE_PEM) == 1 &&
             SSL_CTX_use_PrivateKey_file(contexts[1], key, SSL_FILETYPE_PEM) == 1,
         "a context");
    SSL_CTX_set_num_tickets(contexts[1], 0);
}

static void bare_meet(bool serves)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd;
    a.sin_port = htons((uint16_t)port);
    if (serves) {
        fd = accept(listener, NULL, NULL);
    } else {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "connecting");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    ssl = SSL_new(contexts[serves]);
    SSL_set_fd(ssl, fd);
    if (!serves)
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), "127.0.0.1");
    must((serves ? SSL_accept(ssl) : SSL_connect(ssl)) == 1, "shaking hands");
}

static void bare_send(const void *bytes, size_t n)
{
    must(SSL_write(ssl, bytes, (int)n) == (int)n, "writing");
}

static void bare_receive(void *bytes, size_t n)
{
    for (size_t got = 0; got < n;) {
        int r = SSL_read(ssl, (char *)bytes + got, (int)(n - got));
        must(r > 0, "reading");
        got += (size_t)r;
    }
}

static void bare_part(void)
{
    int fd = SSL_get_fd(ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

/* naru */

static struct naru_tls_options server_tls = {.size = sizeof server_tls},
                               client_tls = {.size = sizeof client_tls};
static naru_stream_listener *stream_listener;
static naru_channel_listener *channel_listener;
static naru_stream *stream;
static naru_channel *channel;

static void stream_listen(void)
{
    const struct naru_listen_options o = {.size = sizeof o, .tls = &server_tls};
    must(naru_stream_listen("tls://127.0.0.1:0", &o, &stream_listener) == 0, "listening");
}

static void stream_meet(bool serves)
{
    const struct naru_stream_options o = {.size = sizeof o, .tls = &client_tls};
    must((serves ? naru_stream_accept(stream_listener, NARU_FOREVER, &stream)
                 : naru_stream_open(naru_url(stream_listener), NARU_READ | NARU_WRITE, &o,
                                    NARU_FOREVER, &stream)) == 0,
         "meeting");
}

static void stream_send(const void *bytes, size_t n)
{
    must(naru_stream_write_all(stream, bytes, n, NARU_FOREVER, NULL) == 0, "writing");
}

static void stream_receive(void *bytes, size_t n)
{
    must(naru_stream_read_all(stream, bytes, n, NARU_FOREVER, NULL) == 0, "reading");
}

static void stream_part(void)
{
    naru_stream_close(stream);
}

static void channel_listen(void)
{
    const struct naru_listen_options o = {.size = sizeof o, .tls = &server_tls};
    must(naru_channel_listen("tls://127.0.0.1:0", &o, &channel_listener) == 0, "listening");
}

static void channel_meet(bool serves)
{
    const struct naru_channel_options o = {.size = sizeof o, .tls = &client_tls};
    must((serves
              ? naru_channel_accept(channel_listener, NARU_FOREVER, &channel)
              : naru_channel_connect(naru_url(channel_listener), &o, NARU_FOREVER, &channel)) == 0,
         "meeting");
}

static void channel_send(const void *bytes, size_t n)
{
    must(naru_channel_send(channel, 1, bytes, n, NARU_FOREVER) == 0, "sending");
}

static void channel_receive(void *bytes, size_t n)
{
    must(naru_channel_recv(channel, 0, bytes, n, NULL, NARU_FOREVER) == (ssize_t)n, "receiving");
}

static void channel_part(void)
{
    naru_channel_close(channel);
}

static const struct way ways[] = {
    {"bare OpenSSL", bare_listen, bare_meet, bare_send, bare_receive, bare_part},
    {"naru stream", stream_listen, stream_meet, stream_send, stream_receive, stream_part},
    {"naru connection", channel_listen, channel_meet, channel_send, channel_receive, channel_part},
};
enum { WAYS = sizeof ways / sizeof *ways };

/* ---- cells: the child serves ---- */

enum what { LATENCY, STREAM, HANDSHAKES };
static const struct cell {
    const char *name;
    enum what what;
    size_t size;
} cells[] = {{"latency", LATENCY, 64},    {"latency", LATENCY, 1024},
             {"latency", LATENCY, 16384}, {"stream", STREAM, 64},
             {"stream", STREAM, 1024},    {"stream", STREAM, 16384},
             {"stream", STREAM, 1 << 20}, {"handshakes", HANDSHAKES, 64}};
enum { CELLS = sizeof cells / sizeof *cells };

/* A message that says whether another one comes. */
static void serve(const struct way *w, const struct cell *c)
{
    must(!stream_listener || naru_adopt(stream_listener) == 0, "adopting");
    must(!channel_listener || naru_adopt(channel_listener) == 0, "adopting");
    do {
        w->meet(true);
        for (;;) {
            w->receive(buffer, c->size);
            if (c->what != STREAM || buffer[0])
                w->send(buffer, c->size);
            if (buffer[0])
                break;
        }
        w->part();
    } while (buffer[0] != 2);
}

/* ns a message, or a handshake with one round trip. */
static double run(const struct way *w, const struct cell *c)
{
    double began, end, last = cell_ms * 1e6;
    long n = 0;
    w->listen();
    pid_t child = fork();
    if (child == 0) {
        serve(w, c);
        _exit(0);
    }
    began = now();
    if (c->what == HANDSHAKES) {
        for (end = began; end - began < last; n++) {
            w->meet(false);
            buffer[0] = now() - began < last ? 1 : 2;
            w->send(buffer, c->size);
            w->receive(buffer, c->size);
            w->part();
            end = buffer[0] == 2 ? began + last : began;
        }
        end = now();
    } else {
        w->meet(false);
        for (began = end = now(); end - began < last; n++) {
            buffer[0] = 0;
            w->send(buffer, c->size);
            if (c->what == LATENCY)
                w->receive(buffer, c->size);
            if (n % 16 == 0)
                end = now();
        }
        buffer[0] = 2;
        w->send(buffer, c->size);
        w->receive(buffer, c->size); /* all have been taken */
        end = now();
        w->part();
    }
    int status;
    waitpid(child, &status, 0);
    must(status == 0, "the other end");
    stream_listener = naru_stream_listener_close(stream_listener);
    channel_listener = naru_channel_listener_close(channel_listener);
    if (listener > 0)
        close(listener);
    listener = 0;
    SSL_CTX_free(contexts[0]);
    SSL_CTX_free(contexts[1]);
    contexts[0] = contexts[1] = NULL;
    return (end - began) / (double)n;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static double ns[CELLS][WAYS][ROUNDS_MAX];
    for (int c; (c = getopt(argc, argv, "r:t:")) != -1;) {
        if (c == '?')
            return 2;
        *(c == 'r' ? &rounds : &cell_ms) = atoi(optarg);
    }
    if (rounds < 1 || rounds > ROUNDS_MAX || cell_ms < 1)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    make_certificate();
    server_tls.certificate = client_tls.authority = certificate;
    server_tls.key = key;
    for (int r = 0; r < rounds; r++)
        for (int c = 0; c < CELLS; c++)
            for (int w = 0; w < WAYS; w++)
                ns[c][w][r] = run(&ways[w], &cells[c]);
    for (int c = 0; c < CELLS; c++)
        for (int w = 0; w < WAYS; w++) {
            qsort(ns[c][w], (size_t)rounds, sizeof **ns[c], compare);
            double median = ns[c][w][rounds / 2];
            printf("{\"what\":\"%s\",\"bytes\":%zu,\"way\":\"%s\",\"ns\":%.0f,\"bare\":%.3f}\n",
                   cells[c].name, cells[c].size, ways[w].name, median,
                   median / ns[c][0][rounds / 2]);
        }
    return 0;
}
