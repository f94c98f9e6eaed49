/* SPDX-License-Identifier: MIT */
/* calls.c - one who calls, or answers, and says whatever it likes.
 *
 * The first byte chooses: 1 the subject is a client, else a server; 2 it is not greeted first. Then
 * come messages: a byte of kind, two of length, the bytes. Each frame that can be read says the
 * same when it is written again. */
#include "rpc/frames.h"

#include <naru/naru.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { AS_CLIENT = 1, SILENT = 2 };

/* ---- frames alone ---- */

static bool same(struct naru_span a, struct naru_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static void read_and_write(uint32_t kind, const uint8_t *bytes, size_t n)
{
    static uint8_t out[RPC_HEAD + RPC_EXTRA_MAX + RPC_PART];
    struct naru_rpc_frame f, again;
    struct naru_rpc_hello hello;
    struct naru_metadata entry;
    if (kind == RPC_HELLO && !naru__rpc_hello_decode(bytes, n, &hello)) {
        naru__rpc_hello_encode(&hello, out);
        if (naru__rpc_hello_decode(out, RPC_HELLO_SIZE, &hello))
            abort();
    }
    if (naru__rpc_decode(kind, bytes, n, &f))
        return;
    size_t head = naru__rpc_encode(&f, out);
    if (head != naru__rpc_size(&f) || head % 8 || head + f.message.size > sizeof out)
        abort();
    if (f.message.size)
        memcpy(out + head, f.message.data, f.message.size);
    if (naru__rpc_decode(kind, out, head + f.message.size, &again) || again.id != f.id ||
        again.number != f.number || again.flags != f.flags || again.time != f.time ||
        again.total != f.total || again.signature != f.signature || !same(again.text, f.text) ||
        !same(again.metadata, f.metadata) || !same(again.details, f.details) ||
        !same(again.message, f.message))
        abort();
    if (naru__metadata_check(f.metadata.data, f.metadata.size) && f.metadata.size) {
        if (naru__metadata_find(f.metadata, "key", 0, &entry) && naru__metadata_fault(&entry))
            abort();
        (void)naru__metadata_find(f.metadata, "a-bin", 1, &entry);
    }
}

/* A byte of length, the key, the value: what can be sent is what is received. */
static void write_metadata(const uint8_t *bytes, size_t n)
{
    static uint8_t out[RPC_PART * 2];
    char key[256 + 1] = "";
    struct naru_metadata found;
    size_t length = n == 0 ? 0 : bytes[0] < n ? bytes[0] : n - 1;
    if (n == 0)
        return;
    memcpy(key, bytes + 1, length);
    const struct naru_metadata m = {key, bytes + 1 + length, n - 1 - length};
    size_t size = naru__metadata_size(&m);
    if (size > sizeof out)
        return;
    if (naru__metadata_put(&m, out) != size || !naru__metadata_fault(NULL))
        abort();
    bool sound = naru__metadata_check(out, size);
    if (sound != (naru__metadata_fault(&m) == NULL) && m.size <= RPC_METADATA_MAX)
        abort();
    if (sound && (!naru__metadata_find((struct naru_span){out, size}, key, 0, &found) ||
                  found.size != m.size || memcmp(found.value, m.value, m.size) != 0 ||
                  naru__metadata_find((struct naru_span){out, size}, key, 1, &found)))
        abort();
}

/* ---- and to a server, or a client ---- */

static int echo(naru_call *call, void *self, const void *request, size_t size)
{
    (void)self;
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

static void greet(naru_channel *channel)
{
    uint8_t bytes[RPC_HELLO_SIZE];
    naru__rpc_hello_encode(&(struct naru_rpc_hello){RPC_VERSION, 100, 65536, 65536, 1000}, bytes);
    (void)naru_channel_send(channel, RPC_HELLO, bytes, sizeof bytes, NARU_NOWAIT);
}

static void drain(naru_channel *channel)
{
    struct naru_message m;
    while (naru_channel_take(channel, 0, NARU_NOWAIT, &m) == 0)
        (void)naru_channel_release(channel, &m, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct naru_server_options limits = {
        .size = sizeof limits, .max_message = 1 << 20, .max_calls_each = 64};
    naru_channel *subject, *other;
    naru_server *server = NULL;
    naru_client *client = NULL;
    naru_call *calls[3] = {NULL};
    if (size < 1 || naru_channel_pair("pipe:", NULL, &subject, &other) < 0)
        return 0;
    bool as_client = data[0] & AS_CLIENT;
    if (as_client) {
        if (naru_client_attach(subject, NULL, &client) < 0)
            abort();
        for (int i = 0; i < 3; i++) {
            if (naru_call_begin(client, &routes[i & 1], NULL, &calls[i]) < 0 ||
                naru_call_send(calls[i], "x", 1, NARU_S) < 0)
                abort();
        }
    } else if (naru_server_new(&limits, &server) < 0 ||
               naru_server_add(server, &service, NULL) < 0 ||
               naru_server_attach(server, subject) < 0) {
        abort();
    }
    if (!(data[0] & SILENT))
        greet(other);
    for (size_t at = 1; at + 3 <= size;) {
        uint32_t kind = data[at];
        size_t n = data[at + 1] | (size_t)data[at + 2] << 8;
        at += 3;
        n = n < size - at ? n : size - at;
        read_and_write(kind, data + at, n);
        write_metadata(data + at, n);
        if (kind)
            (void)naru_channel_send(other, kind, data + at, n, NARU_NOWAIT);
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
    naru_channel_close(other);
    return 0;
}
