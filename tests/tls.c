/* SPDX-License-Identifier: MIT */
/* tls.c - who is let in over tls: and who is not, and that the refusal says why on both sides;
 * slow, silent, dying and babbling peers; certificates that change while all goes on. */
#include "certificates.h"
#include "harness.h"

#include <naru/naru.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BOTH = NARU_READ | NARU_WRITE };

/* ---- files ---- */

/* A path for each name, which stays as long as the case. */
static const char *file(const char *name)
{
    static char path[24][200];
    char wanted[200];
    unsigned i = 0;
    snprintf(wanted, sizeof wanted, "%s/%s.pem", test_directory, name);
    while (path[i][0] && strcmp(path[i], wanted) != 0)
        i++;
    memcpy(path[i], wanted, sizeof wanted);
    return path[i];
}

static void remove_files(void)
{
    char command[200];
    snprintf(command, sizeof command, "rm -f %s/*.pem", test_directory);
    expect(system(command) == 0);
}

/* ---- a server: what it is sent it sends back, each client in a thread of its own ---- */

static struct {
    naru_stream_listener *listener;
    pthread_t thread;
    _Atomic bool stop;
    pthread_mutex_t lock;
    _Atomic int over; /* clients */
    int code;         /* how the last one ended */
    char why[600], subject[256];
} server = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *echo(void *of)
{
    naru_stream *s = of;
    static _Thread_local char block[65536];
    struct naru_peer peer = {.size = sizeof peer};
    ssize_t n, r = 0;
    while ((n = naru_stream_read(s, block, sizeof block, PATIENCE)) > 0 && r >= 0) {
        expect_ok(naru_peer(s, &peer));
        r = naru_stream_write_all(s, block, (size_t)n, PATIENCE, NULL);
    }
    pthread_mutex_lock(&server.lock);
    server.code = (int)n;
    snprintf(server.why, sizeof server.why, "%s", n < 0 ? naru_why() : "");
    snprintf(server.subject, sizeof server.subject, "%s", peer.subject);
    pthread_mutex_unlock(&server.lock);
    naru_stream_close(s);
    server.over++;
    return NULL;
}

static void *accept_all(void *unused)
{
    (void)unused;
    while (!server.stop) {
        naru_stream *s;
        pthread_t thread;
        if (naru_stream_accept(server.listener, 20 * NARU_MS, &s) < 0)
            continue;
        expect(pthread_create(&thread, NULL, echo, s) == 0);
        pthread_detach(thread);
    }
    return NULL;
}

static const char *start(const struct naru_tls_options *tls)
{
    const struct naru_listen_options o = {.size = sizeof o, .tls = tls};
    server.stop = false;
    expect_ok(naru_stream_listen("tls://127.0.0.1:0", &o, &server.listener));
    expect(pthread_create(&server.thread, NULL, accept_all, NULL) == 0);
    return naru_url(server.listener);
}

static void await_over(int n)
{
    for (int64_t end = test_now() + PATIENCE; server.over < n && test_now() < end;)
        usleep(500);
    expect(server.over >= n);
}

static void stop(void)
{
    server.stop = true;
    pthread_join(server.thread, NULL);
    naru_stream_listener_close(server.listener);
}

/* How the server's side of the last client ended. */
static void expect_served(int code, const char *says)
{
    pthread_mutex_lock(&server.lock);
    if (server.code != code || !strstr(server.why, says))
        test_failed(__FILE__, __LINE__, "the server had %d and \"%s\", not %d and \"%s\"",
                    server.code, server.why, code, says);
    pthread_mutex_unlock(&server.lock);
}

/* ---- clients ---- */

static int dial(const struct naru_tls_options *tls, naru_stream **ret_s)
{
    const struct naru_stream_options o = {.size = sizeof o, .tls = tls};
    return naru_stream_open(naru_url(server.listener), BOTH, &o, PATIENCE, ret_s);
}

static void expect_echo(naru_stream *s)
{
    char got[6] = "";
    expect_ok(naru_stream_write_all(s, "hello", 5, PATIENCE, NULL));
    expect_ok(naru_stream_read_all(s, got, 5, PATIENCE, NULL));
    expect(strcmp(got, "hello") == 0);
}

static void expect_good(const struct naru_tls_options *tls)
{
    naru_stream *s;
    int before = server.over;
    expect_ok(dial(tls, &s));
    expect_echo(s);
    naru_stream_close(s);
    await_over(before + 1);
    expect_served(0, "");
}

/* This end does not believe the server, which is told so. */
static void expect_refused(const struct naru_tls_options *tls, const char *says,
                           const char *server_says)
{
    naru_stream *s = NULL;
    int before = server.over;
    expect_code(-EPERM, dial(tls, &s));
    expect_says(says);
    expect_says("tls://127.0.0.1:");
    expect(s == NULL);
    await_over(before + 1);
    expect_served(-EPERM, server_says);
}

/* The server does not believe this end, which learns it by its first read, or when it opens. */
static void expect_not_let_in(const struct naru_tls_options *tls, const char *says,
                              const char *server_says)
{
    naru_stream *s;
    char byte;
    int before = server.over, r = dial(tls, &s);
    if (r == 0) {
        r = (int)naru_stream_read(s, &byte, 1, PATIENCE);
        naru_stream_close(s);
    }
    expect_code(-EPERM, r);
    await_over(before + 1);
    expect_served(-EPERM, server_says);
    expect_says(says);
}

/* ---- the usual, and each refusal ---- */

static struct authority *ca;
static struct naru_tls_options ours, theirs; /* the server's, the client's */

static void begin_with(const struct wanted *w)
{
    ca = make_authority("Authority");
    write_authority(ca, file("ca"));
    write_certificate(ca, w, file("server"), file("server-key"));
    ours = (struct naru_tls_options){
        .size = sizeof ours, .certificate = file("server"), .key = file("server-key")};
    theirs = (struct naru_tls_options){.size = sizeof theirs, .authority = file("ca")};
}

static void begin(void)
{
    begin_with(&(struct wanted){.subject = "server"});
}

static void finish(void)
{
    free_authority(ca);
    remove_files();
}

static void both_show_who_they_are(void)
{
    struct naru_peer peer = {.size = sizeof peer};
    naru_stream *s;
    begin();
    write_certificate(ca, &(struct wanted){.subject = "Zo\xc3\xab, the client"}, file("client"),
                      file("client-key"));
    ours.authority = file("ca");
    start(&ours);
    expect_good(&theirs); /* it may show one, and need not */
    expect(server.subject[0] == '\0');
    theirs.certificate = file("client");
    theirs.key = file("client-key");
    expect_ok(dial(&theirs, &s));
    expect_echo(s);
    expect_ok(naru_peer(s, &peer));
    expect(strcmp(peer.subject, "CN=server,O=naru") == 0);
    expect(strcmp(peer.address, naru_url(server.listener)) == 0);
    naru_stream_close(s);
    await_over(2);
    if (strcmp(server.subject, "CN=Zo\xc3\xab\\, the client,O=naru") != 0)
        test_failed(__FILE__, __LINE__, "the subject is \"%s\"", server.subject);
    stop();
    finish();
}

static void expired(void)
{
    begin_with(&(struct wanted){.subject = "server", .from_days = -9, .to_days = -2});
    start(&ours);
    expect_refused(&theirs, "CN=server,O=naru expired on ", "expired");
    stop();
    write_certificate(ca, &(struct wanted){.subject = "early", .from_days = 3, .to_days = 9},
                      file("server"), file("server-key"));
    start(&ours);
    expect_refused(&theirs, "is not valid before ", "refuses this one's certificate");
    stop();
    finish();
}

static void wrong_name(void)
{
    begin_with(&(struct wanted){.subject = "server", .names = "DNS:a.example,DNS:b.example"});
    start(&ours);
    expect_refused(&theirs, "is for a.example, b.example and not for the server's name 127.0.0.1",
                   "refuses this one's certificate");
    theirs.server_name = "b.example";
    expect_good(&theirs);
    theirs.server_name = "c.example";
    expect_refused(&theirs, "not for the server's name c.example", "");
    stop();
    finish();
}

static void self_signed(void)
{
    begin_with(&(struct wanted){.subject = "alone", .self = true});
    start(&ours);
    expect_refused(&theirs, "CN=alone,O=naru is self-signed",
                   "does not know the authority that issued");
    theirs.authority = file("server"); /* unless it is believed */
    expect_good(&theirs);
    stop();
    finish();
}

static void unknown_authority(void)
{
    begin();
    struct authority *other = make_authority("Other");
    write_authority(other, file("other"));
    start(&ours);
    theirs.authority = file("other");
    expect_refused(&theirs, "unknown authority, CN=Authority,O=naru",
                   "does not know the authority");
    theirs.authority = NULL; /* the system's do not know it either */
    expect_refused(&theirs, "unknown authority", "does not know the authority");
    stop();
    free_authority(other);
    finish();
}

static void revoked(void)
{
    begin();
    long serial = write_certificate(ca, &(struct wanted){.subject = "server"}, file("server"),
                                    file("server-key"));
    start(&ours);
    theirs.revoked = file("list");
    write_revoked(ca, serial + 1, 5, theirs.revoked);
    expect_good(&theirs);
    write_revoked(ca, serial, 5, theirs.revoked);
    expect_refused(&theirs, "CN=server,O=naru was revoked by CN=Authority,O=naru", "was revoked");
    write_revoked(ca, 0, -1, theirs.revoked);
    expect_refused(&theirs, "the list of CN=Authority,O=naru ran out on ", "expired");
    struct authority *other = make_authority("Other");
    write_revoked(other, 0, 5, theirs.revoked);
    expect_refused(&theirs, "has no list of CN=Authority,O=naru", "");
    free_authority(other);
    stop();
    finish();
}

/* An authority between the two, which the server sends along; and its revocation, if there is a
 * list of those above it. */
static void authorities_between(void)
{
    begin();
    struct authority *below = make_authority_under(ca, "Below");
    write_authority(below, file("below"));
    write_certificate(below, &(struct wanted){.subject = "server", .behind = file("below")},
                      file("server"), file("server-key"));
    start(&ours);
    expect_good(&theirs);
    theirs.revoked = file("list");
    write_revoked(below, 0, 5, theirs.revoked);
    expect_good(&theirs);
    stop();
    write_certificate(below, &(struct wanted){.subject = "server"}, file("server"),
                      file("server-key")); /* without it */
    start(&ours);
    theirs.revoked = NULL;
    expect_refused(&theirs, "unknown authority, CN=Below,O=naru", "");
    stop();
    free_authority(below);
    finish();
}

static void clients_must_show_one(void)
{
    begin();
    struct authority *other = make_authority("Other");
    ours.authority = file("ca");
    ours.flags = NARU_TLS_CLIENT_CERTIFICATE;
    ours.revoked = file("list");
    long serial =
        write_certificate(ca, &(struct wanted){.subject = "bad"}, file("bad"), file("bad-key"));
    write_revoked(ca, serial, 5, ours.revoked);
    start(&ours);
    expect_not_let_in(&theirs, "demands a certificate", "has shown no certificate");
    theirs.certificate = file("client");
    theirs.key = file("client-key");
    write_certificate(ca, &(struct wanted){.subject = "client"}, file("client"),
                      file("client-key"));
    expect_good(&theirs);
    write_certificate(ca, &(struct wanted){.subject = "old", .from_days = -9, .to_days = -1},
                      file("client"), file("client-key"));
    expect_not_let_in(&theirs, "this one's certificate expired", "CN=old,O=naru expired on ");
    write_certificate(other, &(struct wanted){.subject = "strange"}, file("client"),
                      file("client-key"));
    expect_not_let_in(&theirs, "does not know the authority", "unknown authority, CN=Other");
    theirs.certificate = file("bad");
    theirs.key = file("bad-key");
    expect_not_let_in(&theirs, "this one's certificate was revoked", "CN=bad,O=naru was revoked");
    stop();
    free_authority(other);
    finish();
}

static void servers_have_names(void)
{
    begin_with(&(struct wanted){.subject = "server", .names = "DNS:a.example,DNS:b.example"});
    ours.server_name = "a.example";
    start(&ours);
    theirs.server_name = "a.example";
    expect_good(&theirs);
    theirs.server_name = "b.example";
    expect_not_let_in(&theirs, "is not called as it was asked for",
                      "the client asks for b.example, and this is a.example");
    stop();
    finish();
}

/* ---- files that cannot be used ---- */

static void expect_no_listener(int code, const char *says)
{
    const struct naru_listen_options o = {.size = sizeof o, .tls = &ours};
    naru_stream_listener *l = NULL;
    expect_code(code, naru_stream_listen("tls://127.0.0.1:0", &o, &l));
    expect_says(says);
    expect(l == NULL);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    expect(f != NULL);
    fputs(text, f);
    fclose(f);
}

static void bad_files(void)
{
    begin();
    const char *certificate = ours.certificate, *key = ours.key;
    ours.certificate = NULL;
    ours.key = NULL;
    expect_no_listener(-EINVAL, "needs a certificate");
    ours.certificate = file("none");
    expect_no_listener(-ENOENT, "none.pem cannot be read");
    ours.certificate = test_directory;
    expect_no_listener(-EINVAL, "it is no regular file");
    ours.certificate = certificate; /* in which there is no key */
    expect_no_listener(-EINVAL, "there is no private key in");
    ours.key = certificate;
    expect_no_listener(-EINVAL, "there is no private key in");
    ours.certificate = key;
    ours.key = key;
    expect_no_listener(-EINVAL, "there is no certificate in");
    ours.certificate = certificate;
    ours.key = file("other-key");
    write_certificate(ca, &(struct wanted){.subject = "other"}, file("other"), ours.key);
    expect_no_listener(-EINVAL, "is not that of the certificate in");
    ours.key = file("secret-key");
    write_certificate(ca, &(struct wanted){.subject = "other", .password = "secret"}, file("other"),
                      ours.key);
    expect_no_listener(-EINVAL, "needs a password");
    ours.key = key;
    ours.authority = file("text");
    write_text(ours.authority, "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n"
                               "-----END CERTIFICATE-----\n");
    expect_no_listener(-EINVAL, "the certificate number 1 in");
    ours.authority = NULL;
    ours.revoked = certificate;
    expect_no_listener(-EINVAL, "there is no revocation list in");
    ours.revoked = NULL;
    ours.flags = NARU_TLS_CLIENT_CERTIFICATE;
    expect_no_listener(-EINVAL, "needs .tls.authority");
    ours.flags = 64;
    expect_no_listener(-EINVAL, "0x40, which is no flag");
    ours.flags = 0;
    ours.handshake = -1;
    expect_no_listener(-EINVAL, "every handshake has an end");
    ours.size = 3;
    expect_no_listener(-EINVAL, "naru_tls_options.size is 3");
    finish();
}

/* ---- files that change ---- */

static void rewrite(const char *subject)
{
    write_certificate(ca, &(struct wanted){.subject = subject}, file("new"), file("new-key"));
    expect(rename(file("new"), file("server")) == 0);
    expect(rename(file("new-key"), file("server-key")) == 0);
}

static void expect_subject(const char *subject, naru_stream *s)
{
    struct naru_peer peer = {.size = sizeof peer};
    char want[64];
    snprintf(want, sizeof want, "CN=%s,O=naru", subject);
    expect_ok(naru_peer(s, &peer));
    if (strcmp(peer.subject, want) != 0)
        test_failed(__FILE__, __LINE__, "the server is %s, not %s", peer.subject, want);
}

static void files_change(void)
{
    naru_stream *old, *s;
    struct naru_stats stats = {.size = sizeof stats};
    begin();
    start(&ours);
    expect_ok(dial(&theirs, &old));
    expect_echo(old);
    rewrite("second");
    expect_ok(dial(&theirs, &s));
    expect_subject("second", s);
    expect_echo(s);
    naru_stream_close(s);
    write_text(file("server"), "half of a certificate"); /* the last good one is used on */
    expect_ok(dial(&theirs, &s));
    expect_subject("second", s);
    naru_stream_close(s);
    expect_ok(naru_stats(server.listener, &stats));
    expect(strstr(stats.note, "the old ones are used on") != NULL);
    rewrite("third");
    expect_ok(dial(&theirs, &s));
    expect_subject("third", s);
    expect_ok(naru_stats(server.listener, &stats));
    expect(stats.note[0] == '\0');
    naru_stream_close(s);
    expect_subject("server", old); /* who was there stays */
    expect_echo(old);
    naru_stream_close(old);
    await_over(4);
    stop();
    finish();
}

/* Whoever connects meets an old one or a new one, and never none. */
static _Atomic bool enough;

static void *connect_on(void *count)
{
    while (!enough) {
        naru_stream *s;
        expect_ok(dial(&theirs, &s));
        expect_echo(s);
        naru_stream_close(s);
        ++*(_Atomic int *)count;
    }
    return NULL;
}

static void files_change_under_load(void)
{
    enum { CLIENTS = 3, CHANGES = 25 };
    pthread_t thread[CLIENTS];
    _Atomic int count = 0;
    begin();
    start(&ours);
    for (int i = 0; i < CLIENTS; i++)
        expect(pthread_create(&thread[i], NULL, connect_on, (void *)&count) == 0);
    for (int i = 0; i < CHANGES; i++) {
        rewrite(i % 2 ? "odd" : "even");
        usleep(10000);
    }
    enough = true;
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(thread[i], NULL);
    printf("# %d handshakes while the files changed %d times\n", count, CHANGES);
    expect(count >= CLIENTS);
    await_over(count);
    stop();
    finish();
}

/* ---- peers that do not speak TLS, or not to the end ---- */

static int raw(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(naru_url(server.listener), ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    expect(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    return fd;
}

/* Waits until the server has ended it, reading away what it said. */
static int64_t await_end(int fd)
{
    char waste[4096];
    int64_t began = test_now();
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, PATIENCE_MS) == 1)
        if (read(fd, waste, sizeof waste) <= 0)
            return test_now() - began;
    test_failed(__FILE__, __LINE__, "the server did not end it");
}

static void garbage(void)
{
    static const char *const words[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\xff\xff zzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        "naru naru naru naru naru naru naru", "\x80\x2e\x01\x00\x02 an ancient greeting, SSL 2.0",
        "\x15\x03\x01\x00\x02\x02\x28 an alert in place of a greeting"};
    enum { WORDS = sizeof words / sizeof *words, ROUNDS = 60 };
    begin();
    start(&ours);
    for (int i = 0; i < ROUNDS; i++) {
        char random[600];
        int fd = raw(), before = server.over;
        unsigned seed = (unsigned)i;
        for (size_t k = 0; k < sizeof random; k++)
            random[k] = (char)rand_r(&seed);
        if (i % 3 == 0) /* looks like a record, to get further in */
            memcpy(random, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
        size_t n = i < WORDS ? strlen(words[i]) : sizeof random;
        expect(write(fd, i < WORDS ? words[i] : random, n) > 0);
        shutdown(fd, SHUT_WR);
        expect(await_end(fd) < PATIENCE);
        close(fd);
        await_over(before + 1);
        pthread_mutex_lock(&server.lock);
        expect(server.code == -EPROTO || server.code == -ECONNRESET || server.code == -EPERM);
        expect(server.why[0] != '\0');
        pthread_mutex_unlock(&server.lock);
    }
    expect_good(&theirs);
    stop();
    finish();
}

/* A greeting, as a client of OpenSSL's says it. */
static size_t greeting(unsigned char *buf, size_t n)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    expect(SSL_do_handshake(ssl) < 0);
    int length = BIO_read(out, buf, (int)n);
    expect(length > 100);
    SSL_free(ssl);
    SSL_CTX_free(context);
    return (size_t)length;
}

/* The peer is gone after each part of its greeting, in order or not. */
static void gone_in_the_handshake(void)
{
    unsigned char bytes[2048];
    size_t n = greeting(bytes, sizeof bytes);
    begin();
    start(&ours);
    for (size_t cut = 0; cut <= n; cut += cut < n && n - cut < 23 ? n - cut : 23) {
        int fd = raw(), before = server.over;
        const struct linger hard = {1, 0};
        if (cut)
            expect(write(fd, bytes, cut) == (ssize_t)cut);
        if (cut % 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(fd);
        await_over(before + 1);
        expect_served(-ECONNRESET, "in the handshake");
        if (cut == n)
            break;
    }
    expect_good(&theirs);
    stop();
    finish();
}

/* And a process of a real client is killed at random moments of it. */
static void dial_for_ever(void *unused)
{
    (void)unused;
    for (;;) {
        naru_stream *s;
        if (dial(&theirs, &s) == 0)
            naru_stream_close(s);
    }
}

static void killed_in_the_handshake(void)
{
    begin();
    start(&ours);
    for (int i = 0; i < 20; i++) {
        pid_t child = start_child(dial_for_ever, NULL);
        usleep(3000 + (useconds_t)(i * 331 % 10) * 700);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    expect_good(&theirs);
    usleep(100000); /* those that were in the backlog */
    stop();
    for (int last = -1; last != server.over; usleep(100000))
        last = server.over;
    finish();
}

/* ---- slow ones: a server that is one thread serves others on, and ends them in time ---- */

static int add(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self;
    return naru_call_send(call, request, size, NARU_FOREVER);
}

static int who(naru_call *call, void *self, const void *request, size_t size)
{
    struct naru_peer peer = {.size = sizeof peer};
    (void)self, (void)request, (void)size;
    int r = naru_peer(call, &peer);
    return r < 0 ? r : naru_call_send(call, peer.subject, strlen(peer.subject), NARU_FOREVER);
}

static const naru_method methods[] = {{"Echo", 0, add, NULL, NULL}, {"Who", 0, who, NULL, NULL}};
static const naru_service service = {sizeof service, "test.S", methods, 2, NULL, NULL};
static const naru_route route = {"test.S/Echo", 0, NULL}, who_route = {"test.S/Who", 0, NULL};
static const char *serves_at = "tls://127.0.0.1:0";
static char serving[128];

static void serve(void *ready)
{
    const struct naru_server_options o = {.size = sizeof o, .tls = &ours};
    naru_server *s;
    expect_ok(naru_server_new(&o, &s));
    expect_ok(naru_server_add(s, &service, NULL));
    expect_ok(naru_server_listen(s, serves_at));
    expect(write(*(int *)ready, naru_url(s), strlen(naru_url(s)) + 1) > 0);
    naru_server_run(s);
}

static int raw_to(const char *url)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    expect(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    return fd;
}

static pid_t start_serving(void)
{
    int ready[2];
    expect(pipe(ready) == 0);
    pid_t child = start_child(serve, &ready[1]);
    close(ready[1]);
    expect(read(ready[0], serving, sizeof serving) > 0);
    close(ready[0]);
    return child;
}

/* A handler knows by its certificate who calls, whatever carries the call. */
static void callers_are_known(void)
{
    static const char *const urls[] = {"tls://127.0.0.1:0", "grpcs://127.0.0.1:0"};
    begin();
    write_certificate(ca, &(struct wanted){.subject = "alice"}, file("client"), file("client-key"));
    ours.authority = file("ca");
    ours.flags = NARU_TLS_CLIENT_CERTIFICATE;
    for (int i = 0; i < 2; i++) {
        serves_at = urls[i];
        pid_t child = start_serving();
        struct naru_peer peer = {.size = sizeof peer};
        struct naru_payload reply;
        naru_client *c;
        theirs.certificate = file("client");
        theirs.key = file("client-key");
        const struct naru_client_options o = {.size = sizeof o, .tls = &theirs};
        const struct naru_call_options once = {.size = sizeof once, .timeout = PATIENCE};
        expect_ok(naru_client_open(serving, &o, &c));
        expect_ok(naru_client_invoke(c, &who_route, "", 0, &once, &reply));
        expect(reply.size == strlen("CN=alice,O=naru") &&
               memcmp(reply.data, "CN=alice,O=naru", reply.size) == 0);
        expect_ok(naru_client_release(c, &reply));
        expect_ok(naru_peer(c, &peer)); /* and the client knows who serves */
        expect(strcmp(peer.subject, "CN=server,O=naru") == 0);
        naru_client_close(c);
        theirs.certificate = theirs.key = NULL; /* refused, and told why */
        expect_ok(naru_client_open(serving, &o, &c));
        expect_code(-ECONNRESET, naru_client_invoke(c, &who_route, "", 0, &once, &reply));
        expect_says("demands a certificate");
        naru_client_close(c);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    finish();
}

static void slow_handshakes(void)
{
    enum { SILENT = 50 };
    int fd[SILENT];
    unsigned char bytes[2048];
    size_t n = greeting(bytes, sizeof bytes), said = 0;
    begin();
    ours.handshake = 500 * NARU_MS;
    pid_t child = start_serving();
    const struct naru_client_options o = {.size = sizeof o, .tls = &theirs};
    naru_client *c;
    expect_ok(naru_client_open(serving, &o, &c));
    expect_ok(naru_client_wait_ready(c, PATIENCE));
    int64_t began = test_now();
    for (int i = 0; i < SILENT; i++)
        fd[i] = raw_to(serving);
    /* the last one says a byte each 20 ms */
    struct pollfd p = {.fd = fd[SILENT - 1], .events = POLLIN};
    int calls = 0;
    while (poll(&p, 1, 20) == 0) {
        struct naru_payload reply;
        expect(test_now() - began < PATIENCE && said < n);
        (void)send(p.fd, bytes + said++, 1, MSG_NOSIGNAL);
        for (int i = 0; i < 5; i++, calls++) {
            int64_t before = test_now();
            expect_ok(naru_client_invoke(c, &route, "x", 1, NULL, &reply));
            expect_ok(naru_client_release(c, &reply));
            expect(test_now() - before < PATIENCE / 2); /* one by one they take longer */
        }
    }
    int64_t took = test_now() - began;
    printf("# %d calls went on; a byte each 20 ms ended after %.0f ms\n", calls,
           (double)took / 1e6);
    expect(took >= 500 * NARU_MS && (calls >= 5 || took > NARU_S)); /* or it was held back */
    for (int i = 0; i < SILENT; i++) {
        (void)await_end(fd[i]);
        close(fd[i]);
    }
    expect(test_now() - began < PATIENCE);
    naru_client_close(c);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    finish();
}

/* A server that takes the connection and says nothing. */
static void silent_server(void)
{
    naru_stream_listener *l;
    naru_stream *s = NULL;
    char url[128];
    begin();
    expect_ok(naru_stream_listen("tcp://127.0.0.1:0", NULL, &l));
    snprintf(url, sizeof url, "tls%s", naru_url(l) + 3);
    struct naru_stream_options o = {.size = sizeof o, .tls = &theirs};
    expect_code(-EAGAIN, naru_stream_open(url, BOTH, &o, NARU_NOWAIT, &s));
    expect_says("NARU_CONNECTING");
    int64_t before = test_now();
    expect_code(-ETIMEDOUT, naru_stream_open(url, BOTH, &o, 50 * NARU_MS, &s));
    expect_says("the handshake was not finished in that time");
    expect(test_now() - before >= 50 * NARU_MS && test_now() - before < PATIENCE);
    theirs.handshake = 50 * NARU_MS;
    expect_code(-ECONNRESET, naru_stream_open(url, BOTH, &o, PATIENCE, &s));
    expect_says("has not finished the handshake in time");
    expect(s == NULL);
    o.flags = NARU_CONNECTING; /* and then it is the first call's */
    char byte;
    before = test_now();
    expect_ok(naru_stream_open(url, BOTH, &o, NARU_NOWAIT, &s));
    ssize_t r = naru_stream_read(s, &byte, 1, NARU_NOWAIT);
    expect(r == -EAGAIN || test_now() - before > theirs.handshake);
    expect_code(-ECONNRESET, naru_stream_read(s, &byte, 1, PATIENCE));
    naru_stream_close(s);
    naru_stream_listener_close(l);
    finish();
}

/* ---- what a peer of OpenSSL's can do ---- */

static SSL_CTX *context;

static SSL *foreign(int version)
{
    context = SSL_CTX_new(TLS_client_method());
    expect(SSL_CTX_load_verify_locations(context, file("ca"), NULL) == 1);
    SSL_CTX_set_security_level(context, 0);
    expect(SSL_CTX_set_min_proto_version(context, version) == 1 &&
           SSL_CTX_set_max_proto_version(context, version) == 1);
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, raw());
    return ssl;
}

static void forget_foreign(SSL *ssl)
{
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
    SSL_CTX_free(context);
}

static void expect_foreign_echo(SSL *ssl)
{
    char got[3] = "";
    expect(SSL_write(ssl, "ab", 2) == 2);
    expect(SSL_read(ssl, got, 2) == 2 && strcmp(got, "ab") == 0);
}

static void versions(void)
{
    begin();
    start(&ours);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL *ssl = foreign(version);
        int before = server.over;
        expect(SSL_connect(ssl) == 1);
        expect_foreign_echo(ssl);
        expect(SSL_shutdown(ssl) == 0);
        forget_foreign(ssl);
        await_over(before + 1);
        expect_served(0, "");
    }
    SSL *ssl = foreign(TLS1_1_VERSION);
    int before = server.over;
    expect(SSL_connect(ssl) != 1);
    forget_foreign(ssl);
    await_over(before + 1);
    expect_served(-EPROTO, "nothing of TLS in common");
    expect_good(&theirs);
    stop();
    finish();
}

static void negotiating_anew(void)
{
    begin();
    start(&ours);
    SSL *ssl = foreign(TLS1_2_VERSION);
    int before = server.over;
    char byte;
    expect(SSL_connect(ssl) == 1);
    expect_foreign_echo(ssl);
    expect(SSL_renegotiate(ssl) == 1);
    (void)SSL_do_handshake(ssl);
    expect(SSL_read(ssl, &byte, 1) <= 0);
    await_over(before + 1);
    expect_served(-EPROTO, "wants to negotiate anew, which naru never does");
    forget_foreign(ssl);
    expect_good(&theirs);
    stop();
    finish();
}

/* Records without bytes: new keys, again and again. Some are everyday, thousands are an attack. */
static void records_that_bring_nothing(void)
{
    begin();
    start(&ours);
    SSL *ssl = foreign(TLS1_3_VERSION);
    int before = server.over, sent = 0;
    expect(SSL_connect(ssl) == 1);
    for (int i = 0; i < 20; i++) {
        expect(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1);
        expect_foreign_echo(ssl);
    }
    signal(SIGPIPE, SIG_IGN);
    while (sent < 100000 && SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
           SSL_do_handshake(ssl) == 1)
        sent++;
    await_over(before + 1);
    expect_served(-EPROTO, "records that bring nothing");
    forget_foreign(ssl);
    expect_good(&theirs);
    stop();
    finish();
}

/* Bytes alone do not tell the end of a stream from its being cut off; TLS does. */
static void cut_off(void)
{
    begin();
    start(&ours);
    SSL *ssl = foreign(TLS1_3_VERSION);
    int before = server.over;
    expect(SSL_connect(ssl) == 1);
    expect_foreign_echo(ssl);
    forget_foreign(ssl); /* without a word */
    await_over(before + 1);
    expect_served(-ECONNRESET, "without saying that it has finished");
    stop();
    finish();
}

/* ---- bytes ---- */

enum { LONG = 3000000 };

static void *write_long(void *s)
{
    unsigned char *bytes = malloc(LONG);
    for (size_t i = 0; i < LONG; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    for (size_t at = 0, step = 1; at < LONG; at += step, step = step * 7 % 100003) {
        step = step < LONG - at ? step : LONG - at;
        expect_ok(naru_stream_write_all(s, bytes + at, step, PATIENCE, NULL));
    }
    free(bytes);
    return NULL;
}

/* Two threads, one each way, on one handle. */
static void both_ways_at_once(void)
{
    unsigned char *got = malloc(LONG);
    pthread_t thread;
    naru_stream *s;
    begin();
    start(&ours);
    expect_ok(dial(&theirs, &s));
    expect(pthread_create(&thread, NULL, write_long, s) == 0);
    expect_ok(naru_stream_read_all(s, got, LONG, PATIENCE, NULL));
    for (size_t i = 0; i < LONG; i++)
        expect(got[i] == (unsigned char)(i * 2654435761u >> 13));
    pthread_join(thread, NULL);
    expect_ok(naru_stream_shutdown(s, NARU_WRITE)); /* half of it is open */
    expect_code(0, naru_stream_read(s, got, 1, PATIENCE));
    naru_stream_close(s);
    await_over(1);
    expect_served(0, "");
    stop();
    free(got);
    finish();
}

static _Atomic size_t counted;

static void *count_bytes(void *l)
{
    static char block[65536];
    naru_stream *s;
    ssize_t n;
    expect_ok(naru_stream_accept(l, PATIENCE, &s));
    while ((n = naru_stream_read(s, block, sizeof block, PATIENCE)) > 0) {
        counted += (size_t)n;
        usleep(200); /* the writer is done long before */
    }
    expect_code(0, n);
    naru_stream_close(s);
    return NULL;
}

/* Whoever writes and closes at once, without having read, loses nothing. */
static void written_and_closed(void)
{
    naru_stream_listener *l;
    naru_stream *s;
    pthread_t thread;
    begin();
    const struct naru_listen_options lo = {.size = sizeof lo, .tls = &ours};
    const struct naru_stream_options o = {.size = sizeof o, .tls = &theirs};
    expect_ok(naru_stream_listen("tls://127.0.0.1:0", &lo, &l));
    expect(pthread_create(&thread, NULL, count_bytes, l) == 0);
    expect_ok(naru_stream_open(naru_url(l), NARU_WRITE, &o, PATIENCE, &s));
    write_long(s);
    naru_stream_close(s);
    pthread_join(thread, NULL);
    expect(counted == LONG);
    naru_stream_listener_close(l);
    finish();
}

static void adopt_it(void *s)
{
    expect_code(-EOPNOTSUPP, naru_adopt(s));
    expect_says("keys");
    naru_stream_close(s);
    _exit(0); /* what the threads have is the parent's, and no leak */
}

static void of_one_process(void)
{
    naru_stream *s;
    naru_child *child;
    begin();
    start(&ours);
    expect_ok(dial(&theirs, &s));
    end_child(start_child(adopt_it, s));
    char *const argv[] = {"true", NULL};
    const struct naru_spawn_end end = {"talk", s, -1};
    const struct naru_spawn_options o = {.size = sizeof o, .ends = &end, .n_ends = 1};
    expect_code(-EOPNOTSUPP, naru_spawn(argv, &o, &child));
    expect_says("its keys are in this one's memory");
    expect_echo(s);
    naru_stream_close(s);
    await_over(1);
    stop();
    finish();
}

/* An end that has nothing to say finishes at once, and the two meet nevertheless. */
static void half_closed_early(void)
{
    struct naru_stream_options o = {.size = sizeof o, .flags = NARU_CONNECTING, .tls = &theirs};
    naru_stream *s;
    char byte;
    begin();
    start(&ours);
    expect_ok(naru_stream_open(naru_url(server.listener), BOTH, &o, PATIENCE, &s));
    expect_ok(naru_stream_shutdown(s, NARU_WRITE));
    expect_code(0, naru_stream_read(s, &byte, 1, PATIENCE));
    naru_stream_close(s);
    await_over(1);
    expect_served(0, "");
    stop();
    finish();
}

/* The command of OpenSSL's at the other end. */
static void openssl_at_the_other_end(void)
{
    char command[900], got[64] = "";
    begin();
    start(&ours);
    snprintf(command, sizeof command,
             "(printf 'hello\\n'; sleep 0.3) | timeout 20 openssl s_client -quiet -no_ign_eof "
             "-verify_return_error -verify_ip 127.0.0.1 -CAfile %s -connect %s 2>/dev/null",
             file("ca"), strrchr(naru_url(server.listener), '/') + 1);
    FILE *f = popen(command, "r");
    expect(f && fgets(got, sizeof got, f) && strcmp(got, "hello\n") == 0);
    pclose(f);
    await_over(1);
    stop();
    finish();
}

static const struct test_case cases[] = {
    {"both show who they are", both_show_who_they_are},
    {"an expired certificate, and an early one", expired},
    {"a certificate of another name", wrong_name},
    {"a self-signed certificate", self_signed},
    {"an unknown authority", unknown_authority},
    {"a revoked certificate", revoked},
    {"authorities between", authorities_between},
    {"clients that must show one", clients_must_show_one},
    {"a server that is asked for by another name", servers_have_names},
    {"files that cannot be used", bad_files},
    {"files that change", files_change},
    {"files that change, and many clients at once", files_change_under_load},
    {"garbage in place of a handshake", garbage},
    {"gone in the handshake", gone_in_the_handshake},
    {"killed in the handshake", killed_in_the_handshake},
    {"callers are known", callers_are_known},
    {"slow handshakes", slow_handshakes},
    {"a silent server", silent_server},
    {"versions of TLS", versions},
    {"negotiating anew", negotiating_anew},
    {"records that bring nothing", records_that_bring_nothing},
    {"cut off", cut_off},
    {"both ways at once", both_ways_at_once},
    {"written and closed", written_and_closed},
    {"half-closed before they have met", half_closed_early},
    {"of one process", of_one_process},
    {"openssl at the other end", openssl_at_the_other_end},
};

int main(int argc, char **argv)
{
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
