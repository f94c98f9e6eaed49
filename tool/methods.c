/* SPDX-License-Identifier: MIT */
/* methods.c - naru methods: what a server serves; naru describe: what it says of one name. */
#include "tool/certificates.h"
#include "tool/print.h"
#include "tool/reflect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- naru methods ---- */

struct listing {
    struct reflect reflect;
    struct table *table;
    int status;
};

static const char *form_of(const struct schema_method *m)
{
    return m->client_streams   ? m->server_streams ? "both stream" : "client streams"
           : m->server_streams ? "server streams"
                               : "one for one";
}

static void list_method(void *arg, const struct schema_method *m)
{
    struct listing *l = arg;
    struct invocation *in = l->reflect.in;
    const char *row[] = {m->path, m->request, m->reply, form_of(m)};
    if (option_flag(in, "names")) {
        puts(m->path);
    } else if (wants_json(in)) {
        json_t *o = json_pack("{s:s, s:s, s:s, s:b, s:b}", "method", m->path, "request", m->request,
                              "reply", m->reply, "client_streams", m->client_streams,
                              "server_streams", m->server_streams);
        json_line(o);
        json_decref(o);
    } else {
        table_row(l->table, row);
    }
}

/* A service without .proto file has a name and nothing else to tell. */
static void list_unknown(struct listing *l, const char *service)
{
    struct invocation *in = l->reflect.in;
    const char *row[] = {service, "-", "-", "not described"};
    if (option_flag(in, "names"))
        return;
    if (wants_json(in)) {
        json_t *o = json_pack("{s:s, s:b}", "service", service, "described", 0);
        json_line(o);
        json_decref(o);
    } else {
        table_row(l->table, row);
    }
}

static void list_service(void *arg, const char *service)
{
    struct listing *l = arg;
    struct reflect *r = &l->reflect;
    char *why = NULL;
    if (l->status || r->ops->methods(r->schema, service, list_method, l, &why) == 0)
        return;
    if (r->why[0]) {
        l->status = reflect_fail(r, why);
        return;
    }
    free(why);
    list_unknown(l, service);
}

static int run_methods(struct invocation *in)
{
    static const char *const heads[] = {"method", "takes", "gives", "form"};
    struct listing l = {.table = NULL};
    int status = reflect_open(&l.reflect, in);
    if (status)
        return status;
    l.table = table_new(heads, 4);
    status = reflect_services(&l.reflect, list_service, &l);
    status = status ? status : l.status;
    int r = table_end(l.table, status == 0 && !wants_json(in) && !option_flag(in, "names"));
    reflect_close(&l.reflect);
    return status ? status : r;
}

static const struct option_row methods_options[] = {
    {.name = "names", .help = "print the methods' names alone, one a line"},
    REFLECT_DEADLINE,
    REFLECT_WAIT,
    CERTIFICATE_OPTIONS,
    {0},
};

const struct command methods_command = {
    "methods",
    "lists the methods that a server has",
    "URL",
    "The server tells them by its reflection (naru_reflection_new in C; servers of gRPC have the "
    "same). Of a service without .proto file it tells the name alone.",
    1,
    1,
    methods_options,
    run_methods,
};

/* ---- naru describe ---- */

static int describe(struct reflect *r, const char *symbol)
{
    char *why = NULL;
    char *text = r->ops->describe(r->schema, symbol, wants_json(r->in), &why);
    if (!text)
        return reflect_fail(r, why);
    size_t n = strlen(text);
    fwrite(text, 1, n, stdout);
    if (n == 0 || text[n - 1] != '\n')
        putchar('\n');
    free(text);
    return 0;
}

static int run_describe(struct invocation *in)
{
    struct reflect r;
    int status = reflect_open(&r, in);
    if (status)
        return status;
    for (int i = 1; i < in->n_arguments && status == 0; i++)
        status = describe(&r, in->arguments[i]);
    reflect_close(&r);
    return status;
}

static const struct option_row describe_options[] = {
    REFLECT_DEADLINE,
    REFLECT_WAIT,
    CERTIFICATE_OPTIONS,
    {0},
};

const struct command describe_command = {
    "describe",
    "tells what a server says of a service, method or message",
    "URL SYMBOL...",
    "SYMBOL is a full name: example.Store, example.Store/Get, example.Entry, example.Entry.key. It "
    "is printed as a .proto file has it; with --json as protobuf's own message for it.",
    2,
    -1,
    describe_options,
    run_describe,
};
