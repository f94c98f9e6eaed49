/* SPDX-License-Identifier: MIT */
/* grpc.c - a peer of HTTP/2 that says whatever it likes, above nghttp2's frames.
 *
 * The first byte chooses: 1 the subject is a client, else a server; 2 it is not greeted first. Then
 * come frames: a byte each of kind, flags and stream, two of length, the payload. Kind 64 is
 * HEADERS whose payload says its fields: a byte for the name, one of length, the value, or none for
 * the usual one. Kind 65 is bytes without a frame. What texts can be read says the same when it is
 * written again. */
#include "rpc/grpc/fields.h"
#include "rpc/grpc/gzip.h"

#include <naru/naru.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { AS_CLIENT = 1, SILENT = 2, FIELDS = 64, RAW = 65, MOST = 1 << 16 };

/* ---- texts alone ---- */

static void read_and_write(const uint8_t *bytes, size_t n)
{
    static uint8_t out[MOST], back[4 * MOST];
    char text[GRPC_TIMEOUT_TEXT];
    if (n > MOST / 4)
        return;
    int64_t time = naru__grpc_timeout((const char *)bytes, n);
    if (time > 0 && naru__grpc_timeout(text, naru__grpc_timeout_text(time, text)) < time)
        abort(); /* it is rounded up */
    int64_t size = naru__base64_decode((const char *)bytes, n, out);
    if (size >= 0) {
        size_t written = naru__base64(out, (size_t)size, (char *)back);
        if (written > n || naru__base64_decode((char *)back, written, back + MOST) != size ||
            memcmp(back + MOST, out, (size_t)size) != 0)
            abort();
    }
    size_t escaped = naru__grpc_escape((const char *)bytes, n, (char *)back);
    if (naru__grpc_unescape((char *)back, escaped, (char *)back) != n ||
        (n && memcmp(back, bytes, n) != 0))
        abort();
    (void)naru__grpc_unescape((const char *)bytes, n, (char *)out);
    if (naru__grpc_code((const char *)bytes, n) > 99999)
        abort();
    uint8_t *inflated;
    size_t inflated_size;
    if (naru__gunzip(bytes, n, MOST, &inflated, &inflated_size) == 0) {
        if (inflated_size > MOST)
            abort();
        free(inflated);
    }
}

/* ---- a peer ---- */

static int echo(naru_call *call, void *self, const void *request, size_t size)
{
    struct naru_metadata m;
    (void)self;
    if (naru_call_header(call, "echo", 0, &m) == 0 && naru_call_set_trailer(call, &m) < 0)
        abort();
    naru_call_compress(call, size % 2);
    return naru_call_send(call, request, size, NARU_NOWAIT);
}

static int taken(naru_call *call, void *self, const void *request, size_t size)
{
    struct naru_payload p;
    (void)self, (void)request, (void)size;
    while (naru_call_take(call, NARU_NOWAIT, &p) == 1)
        naru_call_release(call, &p);
    return naru_call_send(call, "", 0, NARU_NOWAIT);
}

static const naru_method methods[] = {
    {"A", 0, echo, NULL, NULL},
    {"B", NARU_CLIENT_STREAMS, taken, NULL, NULL},
    {"C", NARU_CLIENT_STREAMS | NARU_SERVER_STREAMS, taken, NULL, NULL},
};
static const naru_service service = {
    .size = sizeof service, .name = "s", .methods = methods, .n = 3};
static const naru_route routes[] = {{"s/A", 0, NULL}, {"s/D", NARU_SERVER_STREAMS, NULL}};

static const struct {
    const char *name, *value;
} fields[] = {
    {":method", "POST"},
    {":scheme", "http"},
    {":path", "/s/A"},
    {":path", "/s/B"},
    {":path", "/s/C"},
    {":authority", "a"},
    {"te", "trailers"},
    {"content-type", "application/grpc"},
    {"grpc-timeout", "1S"},
    {"grpc-encoding", "gzip"},
    {"grpc-accept-encoding", "identity,gzip"},
    {":status", "200"},
    {"grpc-status", "0"},
    {"grpc-message", "a%20b"},
    {"grpc-status-details-bin", "AAAA"},
    {"echo", "x"},
    {"a-bin", "AAA,AAAA"},
    {"naru-signature", "0123456789abcdef"},
};
enum { N_FIELDS = sizeof fields / sizeof *fields };

static size_t put_text(uint8_t *out, const void *text, size_t n)
{
    out[0] = (uint8_t)n; /* less than 127: no Huffman code, one byte of length */
    memcpy(out + 1, text, n);
    return n + 1;
}

/* A header list of literals (RFC 7541, 6.2.2). */
static size_t put_fields(const uint8_t *bytes, size_t n, uint8_t *out)
{
    size_t used = 0;
    for (size_t at = 0; at + 2 <= n && used < MOST / 2;) {
        unsigned i = bytes[at] % N_FIELDS;
        size_t size = bytes[at + 1] & 63;
        at += 2;
        size = size < n - at ? size : n - at;
        out[used++] = 0;
        used += put_text(out + used, fields[i].name, strlen(fields[i].name));
        used += size ? put_text(out + used, bytes + at, size)
                     : put_text(out + used, fields[i].value, strlen(fields[i].value));
        at += size;
    }
    return used;
}

static void say(int fd, const void *bytes, size_t n)
{
    (void)!send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say_frame(int fd, const uint8_t head[3], const uint8_t *bytes, size_t n)
{
    static uint8_t frame[9 + MOST];
    uint8_t kind = head[0];
    if (kind == RAW) {
        say(fd, bytes, n);
        return;
    }
    if (kind == FIELDS) {
        n = put_fields(bytes, n, frame + 9);
        kind = 1;
    } else {
        n = n < 16384 ? n : 16384;
        if (n)
            memcpy(frame + 9, bytes, n);
    }
    const uint8_t start[9] = {0, (uint8_t)(n >> 8), (uint8_t)n, kind, head[1], 0, 0, 0, head[2]};
    memcpy(frame, start, sizeof start);
    say(fd, frame, 9 + n);
}

static void greet(int fd, bool as_client)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t settings[3] = {4, 0, 0};
    if (!as_client) /* of the subject, so this is one */
        say(fd, preface, sizeof preface - 1);
    say_frame(fd, settings, NULL, 0);
}

static void drain(int fd)
{
    char waste[65536];
    while (recv(fd, waste, sizeof waste, MSG_DONTWAIT) > 0)
        ;
}

static struct sockaddr_un address;
static socklen_t length;

/* The other end of the subject, and for a client, who listens. */
static int meet(bool as_client, int *ret_listens)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        abort();
    *ret_listens = -1;
    if (as_client) {
        if (bind(fd, (const struct sockaddr *)&address, length) < 0 || listen(fd, 8) < 0)
            abort();
        *ret_listens = fd;
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)&address, length) < 0)
        abort();
    return fd;
}

static void ended(naru_call *call, void *arg, const struct naru_status *status)
{
    (void)call;
    if (status->code < 0 || status->code > NARU_STATUS_UNAUTHENTICATED)
        abort();
    *(bool *)arg = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct naru_call_events events = {.size = sizeof events, .end = ended};
    const struct naru_server_options limits = {
        .size = sizeof limits, .max_message = 1 << 20, .max_calls_each = 64, .max_metadata = 4096};
    naru_server *server = NULL;
    naru_client *client = NULL;
    naru_call *calls[3] = {NULL};
    bool over[3] = {false};
    char url[sizeof address.sun_path + 16];
    int listens;
    if (size < 1)
        return 0;
    if (length == 0) {
        address.sun_family = AF_UNIX;
        length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1);
        length += (socklen_t)snprintf(address.sun_path + 1, 40, "naru-fuzz-%d", (int)getpid());
    }
    snprintf(url, sizeof url, "grpc+unix:@%s", address.sun_path + 1);
    bool as_client = data[0] & AS_CLIENT;
    if (!as_client &&
        (naru_server_new(&limits, &server) < 0 || naru_server_add(server, &service, NULL) < 0 ||
         naru_server_listen(server, url) < 0))
        abort();
    int other = meet(as_client, &listens);
    if (as_client) {
        if (naru_client_open(url, NULL, &client) < 0)
            abort();
        for (int i = 0; i < 3; i++)
            if (naru_call_begin(client, &routes[i & 1], NULL, &calls[i]) < 0 ||
                naru_call_on(calls[i], &events, &over[i]) < 0 ||
                naru_call_send(calls[i], "x", 1, NARU_NOWAIT) < 0)
                abort();
        for (int i = 0; i < 4; i++)
            (void)naru_client_process(client, NARU_NOWAIT);
        other = accept4(listens, NULL, NULL, SOCK_CLOEXEC);
    }
    if (!(data[0] & SILENT))
        greet(other, as_client);
    for (size_t at = 1; at + 5 <= size;) {
        const uint8_t *head = data + at;
        size_t n = head[3] | (size_t)head[4] << 8;
        at += 5;
        n = n < size - at ? n : size - at;
        read_and_write(data + at, n);
        say_frame(other, head, data + at, n);
        at += n;
        for (int i = 0; i < 4; i++)
            (void)(as_client ? naru_client_process(client, NARU_NOWAIT)
                             : naru_server_process(server, NARU_NOWAIT));
        drain(other);
    }
    for (int i = 0; i < 3; i++) {
        struct naru_payload p;
        if (calls[i] && naru_call_take(calls[i], NARU_NOWAIT, &p) == 1)
            (void)naru_call_release(calls[i], &p);
        naru_call_close(calls[i]);
    }
    naru_client_close(client);
    naru_server_close(server);
    close(other);
    if (listens >= 0)
        close(listens);
    return 0;
}
