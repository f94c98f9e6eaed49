/* SPDX-License-Identifier: MIT */
/* interop_server.c - the server of gRPC's public interoperability tests, for clients in any
 * language:
 *
 *   interop_server --port N [--use_tls true|false] [--unix PATH]
 *
 * With --use_tls its certificate is INTEROP_CERTIFICATE, its key INTEROP_KEY, from the environment;
 * with INTEROP_AUTHORITY clients must show one of that authority's.
 * It prints the URLs at which it listens, and ends with SIGTERM. */
#include <getopt.h>
#include <naru/health.h>
#include <naru/protobuf.h>
#include <naru/reflection.h>
#include <naru/tls.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "interop.naru.h"

typedef Grpc__Testing__Empty Empty;
typedef Grpc__Testing__SimpleRequest SimpleRequest;
typedef Grpc__Testing__SimpleResponse SimpleResponse;
typedef Grpc__Testing__StreamingOutputCallRequest OutputRequest;
typedef Grpc__Testing__StreamingOutputCallResponse OutputResponse;
typedef Grpc__Testing__StreamingInputCallRequest InputRequest;
typedef Grpc__Testing__StreamingInputCallResponse InputResponse;

/* What the client sent under these names comes back: one ahead of the messages, one behind. */
static int echo_metadata(naru_call *call)
{
    static const char initial[] = "x-grpc-test-echo-initial",
                      trailing[] = "x-grpc-test-echo-trailing-bin";
    struct naru_metadata m;
    int r = 0;
    if (naru_call_header(call, initial, 0, &m) == 0)
        r = naru_call_set_header(call, &m);
    if (r == 0 && naru_call_header(call, trailing, 0, &m) == 0)
        r = naru_call_set_trailer(call, &m);
    return r;
}

static int as_asked(naru_call *call, const Grpc__Testing__EchoStatus *status)
{
    return status && status->code ? naru_call_fail(call, status->code, "%s", status->message) : 0;
}

/* Does the message come as the client says that it does? */
static int check_compressed(naru_call *call, const Grpc__Testing__BoolValue *expected)
{
    if (!expected || !expected->value || naru_call_compressed(call) == 1)
        return 0;
    return naru_call_fail(call, NARU_STATUS_INVALID_ARGUMENT, "the message came uncompressed");
}

/* Zeroes, as many as asked for. The body is freed by the caller. */
static int fill(naru_call *call, int size, Grpc__Testing__Payload *ret_payload)
{
    if (size < 0 || size > 64 << 20)
        return naru_call_fail(call, NARU_STATUS_INVALID_ARGUMENT, "no payload has %d bytes", size);
    *ret_payload = (Grpc__Testing__Payload)GRPC__TESTING__PAYLOAD__INIT;
    ret_payload->body.data = calloc(1, size ? (size_t)size : 1);
    ret_payload->body.len = (size_t)size;
    return ret_payload->body.data ? 0 : -ENOMEM;
}

static int empty_call(naru_call *call, void *self, Empty *request)
{
    const Empty reply = GRPC__TESTING__EMPTY__INIT;
    (void)self, (void)request;
    int r = echo_metadata(call);
    return r ? r : grpc_testing_test_service_empty_call_reply(call, &reply);
}

static int unary_call(naru_call *call, void *self, SimpleRequest *request)
{
    SimpleResponse reply = GRPC__TESTING__SIMPLE_RESPONSE__INIT;
    Grpc__Testing__Payload payload;
    (void)self;
    int r = echo_metadata(call);
    if (r == 0)
        r = as_asked(call, request->response_status);
    if (r == 0)
        r = check_compressed(call, request->expect_compressed);
    if (r == 0)
        r = fill(call, request->response_size, &payload);
    if (r != 0)
        return r;
    reply.payload = &payload;
    naru_call_compress(call, request->response_compressed && request->response_compressed->value);
    r = grpc_testing_test_service_unary_call_reply(call, &reply);
    free(payload.body.data);
    return r;
}

/* Waits, unless nobody does any more. */
static void pause_for(naru_call *call, int microseconds)
{
    enum { STEP = 5000 };
    for (int left = microseconds; left > 0 && naru_call_cancelled(call) == 0; left -= STEP) {
        int now = left < STEP ? left : STEP;
        nanosleep(&(struct timespec){0, now * 1000L}, NULL);
    }
}

/* The answers to one request. */
static int answer(naru_call *call, const OutputRequest *request)
{
    int r = as_asked(call, request->response_status);
    for (size_t i = 0; i < request->n_response_parameters && r == 0; i++) {
        const Grpc__Testing__ResponseParameters *p = request->response_parameters[i];
        OutputResponse reply = GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
        Grpc__Testing__Payload payload;
        pause_for(call, p->interval_us);
        r = fill(call, p->size, &payload);
        if (r != 0)
            break;
        reply.payload = &payload;
        naru_call_compress(call, p->compressed && p->compressed->value);
        r = grpc_testing_test_service_streaming_output_call_reply(call, &reply, NARU_FOREVER);
        free(payload.body.data);
    }
    return r;
}

/* Whether there will be a compressed one is told ahead of the first. */
static int streaming_output_call(naru_call *call, void *self, OutputRequest *request)
{
    (void)self;
    int r = echo_metadata(call);
    return r ? r : answer(call, request);
}

static int streaming_input_call(naru_call *call, void *self)
{
    InputResponse reply = GRPC__TESTING__STREAMING_INPUT_CALL_RESPONSE__INIT;
    InputRequest *request;
    int r;
    (void)self;
    while ((r = grpc_testing_test_service_streaming_input_call_next(call, NARU_FOREVER,
                                                                    &request)) == 1) {
        reply.aggregated_payload_size += request->payload ? (int)request->payload->body.len : 0;
        r = check_compressed(call, request->expect_compressed);
        naru_protobuf_free(request);
        if (r != 0)
            return r;
    }
    return r < 0 ? r : grpc_testing_test_service_streaming_input_call_reply(call, &reply);
}

static int full_duplex_call(naru_call *call, void *self)
{
    OutputRequest *request;
    (void)self;
    int r = echo_metadata(call), took = 0;
    while (r == 0 && (took = grpc_testing_test_service_full_duplex_call_next(call, NARU_FOREVER,
                                                                             &request)) == 1) {
        r = answer(call, request);
        naru_protobuf_free(request);
    }
    return took < 0 ? took : r;
}

static int half_duplex_call(naru_call *call, void *self)
{
    enum { MOST = 1024 };
    OutputRequest *all[MOST];
    size_t n = 0;
    int r = 0;
    (void)self;
    while (n < MOST &&
           (r = grpc_testing_test_service_half_duplex_call_next(call, NARU_FOREVER, &all[n])) == 1)
        n++;
    for (size_t i = 0; i < n; i++) {
        r = r == 0 ? answer(call, all[i]) : r;
        naru_protobuf_free(all[i]);
    }
    return n == MOST ? naru_call_fail(call, NARU_STATUS_RESOURCE_EXHAUSTED, "too many requests")
                     : r;
}

static const struct grpc_testing_test_service_handlers handlers = {
    .empty_call = empty_call,
    .unary_call = unary_call,
    .cacheable_unary_call = unary_call,
    .streaming_output_call = streaming_output_call,
    .streaming_input_call = streaming_input_call,
    .full_duplex_call = full_duplex_call,
    .half_duplex_call = half_duplex_call,
};

/* ---- the program ---- */

static naru_server *server;

static void stop(int number)
{
    (void)number;
    naru_server_shutdown(server, NARU_S);
}

static int fail(void)
{
    fprintf(stderr, "interop_server: %s\n", naru_why());
    return 1;
}

static int listen_at(const char *url)
{
    if (naru_server_listen(server, url) < 0)
        return fail();
    printf("%s\n", naru_url(server));
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"port", required_argument, NULL, 'p'},
                                          {"unix", required_argument, NULL, 'u'},
                                          {"use_tls", required_argument, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    const char *port = NULL, *path = NULL, *tls = "false";
    char url[256];
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (c == '?')
            return 2;
        *(c == 'p' ? &port : c == 'u' ? &path : &tls) = optarg;
    }
    const int secure = strcmp(tls, "true") == 0;
    const struct naru_tls_options certificates = {
        .size = sizeof certificates,
        .certificate = getenv("INTEROP_CERTIFICATE"),
        .key = getenv("INTEROP_KEY"),
        .authority = getenv("INTEROP_AUTHORITY"),
        .flags = getenv("INTEROP_AUTHORITY") ? NARU_TLS_CLIENT_CERTIFICATE : 0};
    const struct naru_server_options options = {.size = sizeof options,
                                                .tls = &certificates,
                                                .workers = 8, /* some cases sleep in a handler */
                                                .max_message = 64 << 20};
    const naru_service service = grpc_testing_test_service_service(&handlers);
    naru_reflection *reflection = NULL;
    naru_health *health = NULL;
    if (naru_server_new(&options, &server) < 0 || naru_server_add(server, &service, NULL) < 0 ||
        naru_reflection_new(server, &reflection) < 0 || naru_health_new(server, &health) < 0)
        return fail();
    signal(SIGTERM, stop);
    snprintf(url, sizeof url, "%s://*:%s", secure ? "grpcs" : "grpc", port ? port : "");
    int r = port ? listen_at(url) : 0;
    snprintf(url, sizeof url, "grpc+unix:%s", path ? path : "");
    if (r == 0 && path)
        r = listen_at(url);
    if (r == 0 && naru_server_run(server) < 0)
        r = fail();
    naru_health_close(health);
    naru_server_close(server);
    naru_reflection_close(reflection);
    return r;
}
