/* SPDX-License-Identifier: MIT */
/* interop_client.c - the client of gRPC's public interoperability tests, for servers in any
 * language:
 *
 *   interop_client --server_host H --server_port P --test_case CASE [--use_tls true|false]
 *                  [--use_test_ca true|false] [--server_host_override NAME] [--unix PATH]
 *
 * CASE: one of the table below, or "all". With --use_test_ca the server's certificate is to be of
 * the authority in INTEROP_AUTHORITY, from the environment; else of one of the system's. */
#include <getopt.h>
#include <naru/protobuf.h>
#include <naru/tls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interop.naru.h"

#define SERVICE "grpc.testing.TestService/"
#define PATIENCE (20 * NARU_S)

typedef Grpc__Testing__Empty Empty;
typedef Grpc__Testing__BoolValue BoolValue;
typedef Grpc__Testing__Payload Payload;
typedef Grpc__Testing__ResponseParameters Parameters;
typedef Grpc__Testing__SimpleRequest SimpleRequest;
typedef Grpc__Testing__SimpleResponse SimpleResponse;
typedef Grpc__Testing__StreamingOutputCallRequest OutputRequest;
typedef Grpc__Testing__StreamingOutputCallResponse OutputResponse;
typedef Grpc__Testing__StreamingInputCallRequest InputRequest;
typedef Grpc__Testing__StreamingInputCallResponse InputResponse;

enum { LARGE_REQUEST = 271828, LARGE_ANSWER = 314159 };
static const int request_sizes[] = {27182, 8, 1828, 45904};
static const int answer_sizes[] = {31415, 9, 2653, 58979};
static uint8_t zeroes[LARGE_ANSWER];
static naru_client *client;

/* Each case returns whether all was as it has to be; `expect` says what was not. */
#define expect(what)                                                                               \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "line %d: not so: %s (%s)\n", __LINE__, #what, naru_why());            \
            return 0;                                                                              \
        }                                                                                          \
    } while (0)

static int last_code(void)
{
    struct naru_status status;
    return naru_client_status(&status);
}

static int last_text_is(const char *text)
{
    struct naru_status status;
    naru_client_status(&status);
    return strcmp(status.message, text) == 0;
}

static Payload payload_of(int size)
{
    Payload p = GRPC__TESTING__PAYLOAD__INIT;
    p.body.data = zeroes;
    p.body.len = (size_t)size;
    return p;
}

static int all_zeroes(const Payload *p, int size)
{
    return p && p->body.len == (size_t)size && memcmp(p->body.data, zeroes, p->body.len) == 0;
}

/* ---- unary ---- */

static int empty_unary(void)
{
    const Empty request = GRPC__TESTING__EMPTY__INIT;
    Empty *reply;
    expect(grpc_testing_test_service_empty_call(client, &request, NULL, &reply) == 0);
    naru_protobuf_free(reply);
    return 1;
}

static int large(const struct naru_call_options *options)
{
    SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    SimpleResponse *reply;
    Payload payload = payload_of(LARGE_REQUEST);
    request.payload = &payload;
    request.response_size = LARGE_ANSWER;
    expect(grpc_testing_test_service_unary_call(client, &request, options, &reply) == 0);
    expect(all_zeroes(reply->payload, LARGE_ANSWER));
    naru_protobuf_free(reply);
    return 1;
}

static int large_unary(void)
{
    return large(NULL);
}

/* The server looks whether the message came so. */
static int says_compressed(int says, int is, int *ret_code)
{
    SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    SimpleResponse *reply;
    Payload payload = payload_of(LARGE_REQUEST);
    BoolValue value = GRPC__TESTING__BOOL_VALUE__INIT;
    const struct naru_call_options options = {.size = sizeof options,
                                              .flags = is ? NARU_COMPRESS : 0};
    value.value = says;
    request.payload = &payload;
    request.expect_compressed = &value;
    request.response_size = LARGE_ANSWER;
    int r = grpc_testing_test_service_unary_call(client, &request, &options, &reply);
    *ret_code = r == 0 ? 0 : last_code();
    if (r != 0)
        return 1;
    expect(all_zeroes(reply->payload, LARGE_ANSWER));
    naru_protobuf_free(reply);
    return 1;
}

static int client_compressed_unary(void)
{
    int code;
    expect(says_compressed(1, 0, &code) && code == NARU_STATUS_INVALID_ARGUMENT);
    expect(says_compressed(1, 1, &code) && code == 0);
    expect(says_compressed(0, 0, &code) && code == 0);
    return 1;
}

static const naru_route unary_route = {SERVICE "UnaryCall", 0, NULL};

/* A call of one message for one, whose handle is here. */
static naru_call *begin_unary(const naru_route *route, const ProtobufCMessage *request,
                              const struct naru_call_options *options)
{
    naru_call *call;
    if (naru_call_begin(client, route, options, &call) < 0)
        return NULL;
    if (naru_protobuf_send(call, request, PATIENCE) == 0)
        return call;
    naru_call_close(call);
    return NULL;
}

static int server_compressed_unary(void)
{
    for (int compressed = 1; compressed >= 0; compressed--) {
        SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
        BoolValue value = GRPC__TESTING__BOOL_VALUE__INIT;
        struct naru_payload p;
        value.value = compressed;
        request.response_compressed = &value;
        request.response_size = LARGE_ANSWER;
        naru_call *call = begin_unary(&unary_route, &request.base, NULL);
        expect(call);
        expect(naru_call_take(call, PATIENCE, &p) == 1);
        expect(naru_call_compressed(call) == compressed);
        expect(p.size > LARGE_ANSWER);
        expect(naru_call_release(call, &p) == 0);
        expect(naru_call_wait(call, PATIENCE) == 0);
        naru_call_close(call);
    }
    return 1;
}

/* ---- streams ---- */

static int client_streaming(void)
{
    struct grpc_testing_test_service_streaming_input_call stream;
    InputResponse *reply;
    expect(grpc_testing_test_service_streaming_input_call_begin(client, NULL, &stream) == 0);
    for (int i = 0; i < 4; i++) {
        InputRequest request = GRPC__TESTING__STREAMING_INPUT_CALL_REQUEST__INIT;
        Payload payload = payload_of(request_sizes[i]);
        request.payload = &payload;
        expect(grpc_testing_test_service_streaming_input_call_send(&stream, &request, PATIENCE) ==
               0);
    }
    expect(grpc_testing_test_service_streaming_input_call_finish(&stream, PATIENCE, &reply) == 0);
    expect(reply->aggregated_payload_size == 74922);
    naru_protobuf_free(reply);
    return 1;
}

/* Sends one that says that it is compressed, and is not or is. */
static int send_input(struct grpc_testing_test_service_streaming_input_call *stream, int size,
                      int says, int is)
{
    InputRequest request = GRPC__TESTING__STREAMING_INPUT_CALL_REQUEST__INIT;
    Payload payload = payload_of(size);
    BoolValue value = GRPC__TESTING__BOOL_VALUE__INIT;
    value.value = says;
    request.payload = &payload;
    request.expect_compressed = &value;
    naru_call_compress(stream->call, is);
    return grpc_testing_test_service_streaming_input_call_send(stream, &request, PATIENCE);
}

static int client_compressed_streaming(void)
{
    const struct naru_call_options compress = {.size = sizeof compress, .flags = NARU_COMPRESS};
    struct grpc_testing_test_service_streaming_input_call stream;
    InputResponse *reply;
    expect(grpc_testing_test_service_streaming_input_call_begin(client, NULL, &stream) == 0);
    send_input(&stream, 27182, 1, 0); /* the call may be over before it has gone */
    expect(grpc_testing_test_service_streaming_input_call_finish(&stream, PATIENCE, &reply) < 0);
    expect(last_code() == NARU_STATUS_INVALID_ARGUMENT);
    expect(grpc_testing_test_service_streaming_input_call_begin(client, &compress, &stream) == 0);
    expect(send_input(&stream, 27182, 1, 1) == 0);
    expect(send_input(&stream, 45904, 0, 0) == 0);
    expect(grpc_testing_test_service_streaming_input_call_finish(&stream, PATIENCE, &reply) == 0);
    expect(reply->aggregated_payload_size == 73086);
    naru_protobuf_free(reply);
    return 1;
}

static int take_answer(naru_call *call, int size)
{
    OutputResponse *reply;
    int r = naru_protobuf_take(call, &grpc__testing__streaming_output_call_response__descriptor,
                               PATIENCE, (void **)&reply);
    if (r != 1)
        return r;
    r = all_zeroes(reply->payload, size) ? 1 : -1;
    naru_protobuf_free(reply);
    return r;
}

static int server_streaming(void)
{
    OutputRequest request = GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    struct grpc_testing_test_service_streaming_output_call stream;
    Parameters four[4], *list[4];
    for (int i = 0; i < 4; i++) {
        four[i] = (Parameters)GRPC__TESTING__RESPONSE_PARAMETERS__INIT;
        four[i].size = answer_sizes[i];
        list[i] = &four[i];
    }
    request.n_response_parameters = 4;
    request.response_parameters = list;
    expect(grpc_testing_test_service_streaming_output_call_begin(client, &request, NULL, &stream) ==
           0);
    for (int i = 0; i < 4; i++)
        expect(take_answer(stream.call, answer_sizes[i]) == 1);
    expect(take_answer(stream.call, 0) == 0);
    expect(grpc_testing_test_service_streaming_output_call_finish(&stream, PATIENCE) == 0);
    return 1;
}

static int server_compressed_streaming(void)
{
    OutputRequest request = GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    struct grpc_testing_test_service_streaming_output_call stream;
    Parameters two[2], *list[2] = {&two[0], &two[1]};
    BoolValue value[2];
    static const int sizes[] = {31415, 92653};
    for (int i = 0; i < 2; i++) {
        two[i] = (Parameters)GRPC__TESTING__RESPONSE_PARAMETERS__INIT;
        value[i] = (BoolValue)GRPC__TESTING__BOOL_VALUE__INIT;
        value[i].value = i == 0;
        two[i].size = sizes[i];
        two[i].compressed = &value[i];
    }
    request.n_response_parameters = 2;
    request.response_parameters = list;
    expect(grpc_testing_test_service_streaming_output_call_begin(client, &request, NULL, &stream) ==
           0);
    for (int i = 0; i < 2; i++) {
        expect(take_answer(stream.call, sizes[i]) == 1);
        expect(naru_call_compressed(stream.call) == (i == 0));
    }
    expect(grpc_testing_test_service_streaming_output_call_finish(&stream, PATIENCE) == 0);
    return 1;
}

/* One request of a duplex call, with one answer of a size. */
static int send_ping(struct grpc_testing_test_service_full_duplex_call *stream, int request_size,
                     int answer_size, int interval)
{
    OutputRequest request = GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    Parameters one = GRPC__TESTING__RESPONSE_PARAMETERS__INIT, *list = &one;
    Payload payload = payload_of(request_size);
    one.size = answer_size;
    one.interval_us = interval;
    request.payload = &payload;
    request.n_response_parameters = 1;
    request.response_parameters = &list;
    return grpc_testing_test_service_full_duplex_call_send(stream, &request, PATIENCE);
}

static int ping_pong(void)
{
    struct grpc_testing_test_service_full_duplex_call stream;
    expect(grpc_testing_test_service_full_duplex_call_begin(client, NULL, &stream) == 0);
    for (int i = 0; i < 4; i++) {
        expect(send_ping(&stream, request_sizes[i], answer_sizes[i], 0) == 0);
        expect(take_answer(stream.call, answer_sizes[i]) == 1);
    }
    expect(naru_call_shutdown(stream.call) == 0);
    expect(take_answer(stream.call, 0) == 0);
    expect(grpc_testing_test_service_full_duplex_call_finish(&stream, PATIENCE) == 0);
    return 1;
}

static int empty_stream(void)
{
    struct grpc_testing_test_service_full_duplex_call stream;
    expect(grpc_testing_test_service_full_duplex_call_begin(client, NULL, &stream) == 0);
    expect(naru_call_shutdown(stream.call) == 0);
    expect(take_answer(stream.call, 0) == 0);
    expect(grpc_testing_test_service_full_duplex_call_finish(&stream, PATIENCE) == 0);
    return 1;
}

/* ---- metadata and statuses ---- */

static const struct naru_metadata sent[] = {
    {"x-grpc-test-echo-initial", "test_initial_metadata_value", 27},
    {"x-grpc-test-echo-trailing-bin", "\xab\xab\xab", 3},
};

static int echoed(naru_call *call)
{
    struct naru_metadata m;
    expect(naru_call_header(call, sent[0].key, 0, &m) == 0);
    expect(m.size == sent[0].size && memcmp(m.value, sent[0].value, m.size) == 0);
    expect(naru_call_trailer(call, sent[1].key, 0, &m) == 0);
    expect(m.size == sent[1].size && memcmp(m.value, sent[1].value, m.size) == 0);
    return 1;
}

static int custom_metadata(void)
{
    const struct naru_call_options options = {
        .size = sizeof options, .metadata = sent, .n_metadata = 2};
    SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    Payload payload = payload_of(LARGE_REQUEST);
    struct naru_payload p;
    request.payload = &payload;
    request.response_size = LARGE_ANSWER;
    naru_call *call = begin_unary(&unary_route, &request.base, &options);
    expect(call);
    expect(naru_call_take(call, PATIENCE, &p) == 1);
    expect(naru_call_release(call, &p) == 0);
    expect(naru_call_wait(call, PATIENCE) == 0);
    expect(echoed(call));
    naru_call_close(call);

    struct grpc_testing_test_service_full_duplex_call stream;
    expect(grpc_testing_test_service_full_duplex_call_begin(client, &options, &stream) == 0);
    expect(send_ping(&stream, LARGE_REQUEST, LARGE_ANSWER, 0) == 0);
    expect(take_answer(stream.call, LARGE_ANSWER) == 1);
    expect(naru_call_shutdown(stream.call) == 0);
    expect(take_answer(stream.call, 0) == 0);
    expect(naru_call_wait(stream.call, PATIENCE) == 0);
    expect(echoed(stream.call));
    naru_call_close(stream.call);
    return 1;
}

static int status_is(const char *text)
{
    SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    OutputRequest output = GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    SimpleResponse *reply;
    Grpc__Testing__EchoStatus status = GRPC__TESTING__ECHO_STATUS__INIT;
    struct grpc_testing_test_service_full_duplex_call stream;
    status.code = NARU_STATUS_UNKNOWN;
    status.message = (char *)(uintptr_t)text;
    request.response_status = output.response_status = &status;
    expect(grpc_testing_test_service_unary_call(client, &request, NULL, &reply) < 0);
    expect(last_code() == NARU_STATUS_UNKNOWN && last_text_is(text));
    expect(grpc_testing_test_service_full_duplex_call_begin(client, NULL, &stream) == 0);
    expect(grpc_testing_test_service_full_duplex_call_send(&stream, &output, PATIENCE) == 0);
    expect(grpc_testing_test_service_full_duplex_call_finish(&stream, PATIENCE) < 0);
    expect(last_code() == NARU_STATUS_UNKNOWN && last_text_is(text));
    return 1;
}

static int status_code_and_message(void)
{
    return status_is("test status message");
}

static int special_status_message(void)
{
    return status_is("\t\ntest with whitespace\r\nand Unicode BMP \xe2\x98\xba and non-BMP "
                     "\xf0\x9f\x98\x88\t\n");
}

static int is_unimplemented(const char *path)
{
    const naru_route route = {path, 0, NULL};
    struct naru_payload p;
    expect(naru_client_invoke(client, &route, NULL, 0, NULL, &p) < 0);
    expect(last_code() == NARU_STATUS_UNIMPLEMENTED);
    return 1;
}

static int unimplemented_method(void)
{
    return is_unimplemented(SERVICE "UnimplementedCall");
}

static int unimplemented_service(void)
{
    return is_unimplemented("grpc.testing.UnimplementedService/UnimplementedCall");
}

/* ---- ends ---- */

static int cancel_after_begin(void)
{
    struct grpc_testing_test_service_streaming_input_call stream;
    InputResponse *reply;
    expect(grpc_testing_test_service_streaming_input_call_begin(client, NULL, &stream) == 0);
    expect(naru_call_flush(stream.call, PATIENCE) == 0);
    expect(naru_call_cancel(stream.call) == 0);
    expect(grpc_testing_test_service_streaming_input_call_finish(&stream, PATIENCE, &reply) < 0);
    expect(last_code() == NARU_STATUS_CANCELLED);
    return 1;
}

static int cancel_after_first_response(void)
{
    struct grpc_testing_test_service_full_duplex_call stream;
    expect(grpc_testing_test_service_full_duplex_call_begin(client, NULL, &stream) == 0);
    expect(send_ping(&stream, 27182, 31415, 0) == 0);
    expect(take_answer(stream.call, 31415) == 1);
    expect(naru_call_cancel(stream.call) == 0);
    expect(grpc_testing_test_service_full_duplex_call_finish(&stream, PATIENCE) < 0);
    expect(last_code() == NARU_STATUS_CANCELLED);
    return 1;
}

static int timeout_on_sleeping_server(void)
{
    const struct naru_call_options options = {.size = sizeof options, .timeout = NARU_MS};
    struct grpc_testing_test_service_full_duplex_call stream;
    expect(grpc_testing_test_service_full_duplex_call_begin(client, &options, &stream) == 0);
    (void)send_ping(&stream, 27182, 31415, 100000); /* it may be over already */
    expect(grpc_testing_test_service_full_duplex_call_finish(&stream, PATIENCE) < 0);
    expect(last_code() == NARU_STATUS_DEADLINE_EXCEEDED);
    return 1;
}

struct counted {
    int ended, good;
};

static void count_end(void *arg, const struct naru_status *status, SimpleResponse *reply)
{
    struct counted *all = arg;
    all->ended++;
    all->good += status->code == NARU_STATUS_OK && all_zeroes(reply->payload, LARGE_ANSWER);
    naru_protobuf_free(reply);
}

static int concurrent_large_unary(void)
{
    enum { MANY = 1000 };
    SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    Payload payload = payload_of(LARGE_REQUEST);
    struct counted all = {0, 0};
    naru_call *call;
    request.payload = &payload;
    request.response_size = LARGE_ANSWER;
    for (int i = 0; i < MANY; i++)
        expect(grpc_testing_test_service_unary_call_async(client, &request, NULL, count_end, &all,
                                                          &call) == 0);
    while (all.ended < MANY)
        expect(naru_client_process(client, PATIENCE) >= 0);
    expect(all.good == MANY);
    return 1;
}

/* ---- the program ---- */

static const struct {
    const char *name;
    int (*run)(void);
} cases[] = {
#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }
    CASE(empty_unary),
    CASE(large_unary),
    CASE(client_compressed_unary),
    CASE(server_compressed_unary),
    CASE(client_streaming),
    CASE(client_compressed_streaming),
    CASE(server_streaming),
    CASE(server_compressed_streaming),
    CASE(ping_pong),
    CASE(empty_stream),
    CASE(custom_metadata),
    CASE(status_code_and_message),
    CASE(special_status_message),
    CASE(unimplemented_method),
    CASE(unimplemented_service),
    CASE(cancel_after_begin),
    CASE(cancel_after_first_response),
    CASE(timeout_on_sleeping_server),
    CASE(concurrent_large_unary),
};

static int run(const char *name)
{
    int ran = 0, failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(name, cases[i].name) != 0 && strcmp(name, "all") != 0)
            continue;
        int good = cases[i].run();
        printf("%s: %s\n", cases[i].name, good ? "passed" : "failed");
        ran++;
        failed += !good;
    }
    if (ran == 0)
        fprintf(stderr, "interop_client: \"%s\" is no case\n", name);
    return ran == 0 || failed > 0;
}

int main(int argc, char **argv)
{
    enum { HOST, PORT, CASE, TLS, CA, NAME, PATH, OPTIONS };
    static const struct option names[] = {{"server_host", required_argument, NULL, HOST},
                                          {"server_port", required_argument, NULL, PORT},
                                          {"test_case", required_argument, NULL, CASE},
                                          {"use_tls", required_argument, NULL, TLS},
                                          {"use_test_ca", required_argument, NULL, CA},
                                          {"server_host_override", required_argument, NULL, NAME},
                                          {"unix", required_argument, NULL, PATH},
                                          {NULL, 0, NULL, 0}};
    const char *given[OPTIONS] = {[HOST] = "localhost",
                                  [PORT] = "8080",
                                  [CASE] = "large_unary",
                                  [TLS] = "false",
                                  [CA] = "false"};
    char url[256];
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (c == '?')
            return 2;
        given[c] = optarg;
    }
    const int secure = strcmp(given[TLS], "true") == 0;
    if (given[PATH])
        snprintf(url, sizeof url, "grpc+unix:%s", given[PATH]);
    else
        snprintf(url, sizeof url, "%s://%s:%s", secure ? "grpcs" : "grpc", given[HOST],
                 given[PORT]);
    const struct naru_tls_options certificates = {
        .size = sizeof certificates,
        .certificate = getenv("INTEROP_CERTIFICATE"), /* if the server asks for one */
        .key = getenv("INTEROP_KEY"),
        .authority = strcmp(given[CA], "true") == 0 ? getenv("INTEROP_AUTHORITY") : NULL,
        .server_name = given[NAME]};
    const struct naru_client_options options = {.size = sizeof options, .tls = &certificates};
    if (naru_client_open(url, &options, &client) < 0 ||
        naru_client_wait_ready(client, PATIENCE) < 0) {
        fprintf(stderr, "interop_client: %s\n", naru_why());
        return 1;
    }
    int r = run(given[CASE]);
    naru_client_close(client);
    return r;
}
