/* SPDX-License-Identifier: MIT */
/* call.c - naru call: a method of a server, with messages in JSON.
 *
 * A stream of requests is sent by a thread of its own, so that answers are printed as they come.
 * Where it waits for standard input at the end, it goes with the process. */
#include "tool/certificates.h"
#include "tool/print.h"
#include "tool/reflect.h"

#include <naru/protobuf.h>
#include <nettle/base64.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { METADATA_MAX = 64 };

struct calling {
    struct reflect reflect;
    struct invocation *in;
    naru_route route;
    char *path, *request, *reply; /* names of the method and its messages */
    bool found;
    naru_call *call;
    struct naru_metadata metadata[METADATA_MAX];
    size_t n_metadata;
    char *texts;             /* --metadata, cut into its parts */
    _Atomic int send_status; /* of the sending thread: the exit status */
};

/* ---- the method ---- */

static char *duplicate(const char *text)
{
    char *result = strdup(text);
    if (!result) {
        fputs("naru: no memory\n", stderr);
        exit(EXIT_FAILED);
    }
    return result;
}

static void compare(void *arg, const struct schema_method *m)
{
    struct calling *c = arg;
    if (strcmp(m->path, c->path) != 0)
        return;
    c->found = true;
    c->request = duplicate(m->request);
    c->reply = duplicate(m->reply);
    c->route.flags = (m->client_streams ? NARU_CLIENT_STREAMS : 0) |
                     (m->server_streams ? NARU_SERVER_STREAMS : 0);
}

static int find_method(struct calling *c)
{
    const char *given = c->in->arguments[1];
    c->path = duplicate(given + (given[0] == '/'));
    char *slash = strchr(c->path, '/'), *why = NULL;
    slash = slash ? slash : strrchr(c->path, '.');
    if (!slash || slash == c->path || !slash[1])
        return usage(c->in, "\"%s\" is no method: they are named as example.Store/Get", given);
    char *service = duplicate(c->path);
    service[slash - c->path] = '\0';
    *slash = '/';
    int r = c->reflect.ops->methods(c->reflect.schema, service, compare, c, &why);
    if (r == 0 && !c->found)
        fail(c->in, "%s has no method \"%s\"; naru methods lists what the server has", service,
             slash + 1);
    free(service);
    if (r < 0)
        return reflect_fail(&c->reflect, why);
    c->route.path = c->path;
    return c->found ? 0 : EXIT_FAILED;
}

/* ---- metadata ---- */

/* The value of a key that ends in -bin is base64. */
static int decode(struct calling *c, struct naru_metadata *m, char *value)
{
    struct base64_decode_ctx context;
    size_t n = strlen(value), size = n;
    base64_decode_init(&context);
    if (!base64_decode_update(&context, &size, (uint8_t *)value, n, value) ||
        !base64_decode_final(&context))
        return usage(c->in, "--metadata %s: the value of a key that ends in -bin is base64",
                     m->key);
    m->size = size;
    return 0;
}

static int parse_metadata(struct calling *c)
{
    const char *given = option_text(c->in, "metadata", NULL);
    c->texts = given ? duplicate(given) : NULL;
    for (char *line = c->texts, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        char *value = strchr(line, '=');
        if (!value)
            return usage(c->in, "--metadata is KEY=VALUE, not \"%s\"", line);
        if (c->n_metadata == METADATA_MAX)
            return usage(c->in, "--metadata can be given %d times", METADATA_MAX);
        *value++ = '\0';
        struct naru_metadata *m = &c->metadata[c->n_metadata++];
        *m = (struct naru_metadata){line, value, strlen(value)};
        size_t n = strlen(line);
        int status = n > 4 && strcmp(line + n - 4, "-bin") == 0 ? decode(c, m, value) : 0;
        if (status)
            return status;
    }
    return 0;
}

/* ---- requests ---- */

/* what: "argument 1", "line 7". The exit status. */
static int send_json(struct calling *c, const char *what, long number, const char *json, size_t n)
{
    char *why = NULL;
    size_t size;
    void *data = c->reflect.ops->pack(c->reflect.schema, c->request, json, n, &size, &why);
    if (!data) {
        int status = fail(c->in, "%s %ld: %s", what, number, why ? why : "no memory");
        free(why);
        return status;
    }
    int r = naru_call_send(c->call, data, size, NARU_FOREVER);
    free(data);
    return r < 0 ? -1 : 0; /* the call has ended: its status tells why */
}

static int send_lines(struct calling *c)
{
    char *line = NULL;
    size_t room = 0;
    long number = 0;
    int status = 0;
    ssize_t n;
    while (status == 0 && (n = getline(&line, &room, stdin)) >= 0) {
        number++;
        if (strspn(line, " \t\r\n") < (size_t)n)
            status = send_json(c, "line", number, line, (size_t)n);
    }
    free(line);
    if (status == 0 && ferror(stdin))
        status = fail(c->in, "standard input: %s", strerror(errno));
    return status;
}

static bool takes_input(const struct calling *c)
{
    return c->in->n_arguments == 3
               ? strcmp(c->in->arguments[2], "-") == 0
               : c->in->n_arguments == 2 && c->route.flags & NARU_CLIENT_STREAMS;
}

static void *send_stream(void *arg)
{
    struct calling *c = arg;
    int status = takes_input(c) ? send_lines(c) : 0;
    for (int i = 2; i < c->in->n_arguments && status == 0 && !takes_input(c); i++)
        status = send_json(c, "message", i - 1, c->in->arguments[i], strlen(c->in->arguments[i]));
    if (status == 0)
        (void)naru_call_shutdown(c->call);
    if (status > 0) {
        atomic_store(&c->send_status, status);
        naru_call_cancel(c->call); /* the receiving side sees it, and asks for the status above */
    }
    return NULL;
}

/* All of standard input is the one message. */
static int send_input(struct calling *c)
{
    char *text = NULL;
    size_t room = 0;
    errno = 0;
    ssize_t n = getdelim(&text, &room, '\0', stdin);
    int status = n < 0 && ferror(stdin)
                     ? fail(c->in, "standard input: %s", strerror(errno))
                     : send_json(c, "message", 1, text ? text : "", n < 0 ? 0 : (size_t)n);
    free(text);
    return status;
}

static int send_one(struct calling *c)
{
    const char *json = c->in->n_arguments > 2 ? c->in->arguments[2] : "{}";
    if (takes_input(c))
        return send_input(c);
    return send_json(c, "message", 1, json, strlen(json));
}

/* ---- answers ---- */

static int print_answer(struct calling *c, const void *data, size_t size)
{
    char *why = NULL;
    char *json = c->reflect.ops->print(c->reflect.schema, c->reply, data, size, &why);
    if (!json) {
        int status = fail(c->in, "%s: %s", c->path, why ? why : "no memory");
        free(why);
        return status;
    }
    printf(wants_json(c->in) ? "{\"message\":%s}\n" : "%s\n", json);
    free(json);
    return fflush(stdout) == 0 ? 0 : EXIT_FAILED; /* each as it comes */
}

static void print_status(const struct naru_status *s)
{
    static const char *const names[] = {
#define NAME(name, number, text) [number] = #name,
        NARU_STATUS_CODES(NAME)
#undef NAME
    };
    bool known = s->code >= 0 && (size_t)s->code < sizeof names / sizeof *names;
    json_t *o =
        json_pack("{s:s, s:i}", "status", known ? names[s->code] : "UNKNOWN", "code", s->code);
    if (s->message[0])
        json_object_set_new(o, "text", json_string(s->message));
    if (s->details_size > 0) {
        char *base64 = malloc(BASE64_ENCODE_RAW_LENGTH(s->details_size) + 1);
        if (base64) {
            base64_encode_raw(base64, s->details_size, s->details);
            json_object_set_new(o, "details",
                                json_stringn(base64, BASE64_ENCODE_RAW_LENGTH(s->details_size)));
        }
        free(base64);
    }
    json_line(o);
    json_decref(o);
}

/* What a function of the call has said. */
static int conclude(struct calling *c, int r)
{
    struct naru_status status = {.code = NARU_STATUS_OK, .message = ""};
    if (atomic_load(&c->send_status))
        return atomic_load(&c->send_status);
    if (r < 0)
        naru_client_status(&status);
    if (wants_json(c->in))
        print_status(&status);
    return r < 0 ? fail_naru(c->in) : 0;
}

static int receive(struct calling *c)
{
    struct naru_payload p;
    int r, status = 0;
    while (status == 0 && (r = naru_call_take(c->call, NARU_FOREVER, &p)) == 1) {
        status = print_answer(c, p.data, p.size);
        naru_call_release(c->call, &p);
    }
    if (status)
        return status;
    return conclude(c, r < 0 ? r : naru_call_wait(c->call, NARU_FOREVER));
}

static int call_streaming(struct calling *c)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, send_stream, c);
    if (error)
        return fail(c->in, "no thread for the sending direction: %s", strerror(error));
    int status = receive(c);
    pthread_detach(thread); /* it may be waiting for input: it goes with the process */
    return status;
}

static int call(struct calling *c)
{
    const struct naru_call_options o = {
        .size = sizeof o,
        .timeout = reflect_left(&c->reflect),
        .flags = option_flag(c->in, "wait") ? NARU_WAIT_FOR_READY : 0,
        .metadata = c->metadata,
        .n_metadata = c->n_metadata,
    };
    if (naru_call_begin(c->reflect.client, &c->route, &o, &c->call) < 0)
        return fail_naru(c->in);
    if (c->route.flags & NARU_CLIENT_STREAMS)
        return call_streaming(c);
    int status = send_one(c);
    if (status > 0)
        return status;
    return receive(c);
}

static int run(struct invocation *in)
{
    static struct calling c; /* a sending thread may outlive this function */
    c = (struct calling){.in = in};
    int status = parse_metadata(&c);
    status = status ? status : reflect_open(&c.reflect, in);
    if (status)
        return status;
    status = find_method(&c);
    if (status == 0 && in->n_arguments > 3 && !(c.route.flags & NARU_CLIENT_STREAMS))
        status = usage(in, "%s takes one message, and %d are given", c.path, in->n_arguments - 2);
    if (status == 0)
        status = call(&c);
    if (!(c.route.flags & NARU_CLIENT_STREAMS)) {
        naru_call_close(c.call);
        reflect_close(&c.reflect);
    }
    return status;
}

static const struct option_row options[] = {
    {.name = "metadata",
     .argument = "KEY=VALUE",
     .kind = OPTION_EACH,
     .help = "send it along; may be given again. Of a key that ends in -bin the value is base64"},
    REFLECT_DEADLINE,
    REFLECT_WAIT,
    CERTIFICATE_OPTIONS,
    {0},
};

const struct command call_command = {
    "call",
    "calls a method of a server",
    "URL SERVICE/METHOD [JSON...]",
    "The server's reflection tells what the messages are (naru describe shows it). JSON is the "
    "request, {} if it is not there, all of standard input if it is -. Of a method that takes a "
    "stream each JSON is a message, or each line of standard input; answers are printed as they "
    "come, one a line. A call that does not end OK is a failure, and its status the sentence; with "
    "--json each answer is {\"message\": ...} and the last line has the status, its code, text and "
    "details (base64).",
    2,
    -1,
    options,
    run,
};
