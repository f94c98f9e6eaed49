/* SPDX-License-Identifier: MIT */
/* source.c - the functions behind the header: each a few lines on those of naru/protobuf.h. */
#include "protoc-gen-naru/comment.h"
#include "protoc-gen-naru/text.h"
#include "protoc-gen-naru/write.h"

#include <string.h>

#define CLIENT "naru_client *client"
#define OPTIONS "const struct naru_call_options *options"
#define TIMEOUT "int64_t timeout"

static void define(FILE *out, const char *name, const char *const *parameters)
{
    print_list(out, print("int %s", name), parameters, "\n{\n");
}

#define DEFINE(out, name, ...) define(out, name, (const char *const[]){__VA_ARGS__, NULL})
#define CALL(out, head, ...) print_list(out, head, (const char *const[]){__VA_ARGS__, NULL}, ";\n")

/* A result leaves by its own type. */
static void print_result(FILE *out, const char *good, const char *name, const char *type)
{
    fprintf(out, "    if (r %s)\n        *%s = (%s *)message;\n    return r;\n}\n\n", good, name,
            type);
}

/* ---- the client's ---- */

static void print_async(FILE *out, const struct method *m)
{
    print_list(out, print("static void end_%s", m->c),
               (const char *const[]){"naru_call *call", "void *arg",
                                     "const struct naru_status *status", NULL},
               "\n{\n");
    fprintf(out,
            "    struct naru_protobuf_later *later = (struct naru_protobuf_later *)arg;\n"
            "    %s_done *done = (%s_done *)later->done;\n"
            "    struct naru_status told;\n"
            "    if (naru_protobuf_ending(later, status, &told))\n"
            "        done(later->arg, &told, (%s *)later->reply);\n"
            "    naru_protobuf_ended(later, call);\n}\n\n",
            m->c, m->c, m->reply->c);
    DEFINE(out, print("%s_async", m->c), CLIENT, print("const %s *request", m->request->c), OPTIONS,
           print("%s_done *done", m->c), "void *arg", "naru_call **ret_call");
    CALL(out, "    return naru_protobuf_later", "client", print("&route_%s", m->c), "request",
         "options", print("&%s__descriptor", m->reply->lower), print("end_%s", m->c),
         "(void (*)(void))done", "arg", "ret_call");
    fprintf(out, "}\n\n");
}

static void print_unary(FILE *out, const struct method *m)
{
    DEFINE(out, m->c, CLIENT, print("const %s *request", m->request->c), OPTIONS,
           print("%s **ret_reply", m->reply->c));
    fprintf(out, "    void *message = NULL;\n");
    CALL(out, "    int r = naru_protobuf_invoke", "client", print("&route_%s", m->c), "request",
         "options", print("&%s__descriptor", m->reply->lower), "&message");
    print_result(out, ">= 0", "ret_reply", m->reply->c);
    print_async(out, m);
}

static void print_take(FILE *out, const char *function, const char *by, const char *handle,
                       const char *call, const struct type *type)
{
    DEFINE(out, function, handle, TIMEOUT, print("%s **ret_message", type->c));
    fprintf(out, "    void *message = NULL;\n");
    CALL(out, print("    int r = %s", by), call, print("&%s__descriptor", type->lower), "timeout",
         "&message");
    print_result(out, "> 0", "ret_message", type->c);
}

static void print_finish(FILE *out, const struct method *m, const char *stream)
{
    char *name = print("%s_finish", m->c);
    if (m->server_streams)
        DEFINE(out, name, stream, TIMEOUT);
    else
        DEFINE(out, name, stream, TIMEOUT, print("%s **ret_reply", m->reply->c));
    if (!m->server_streams)
        fprintf(out, "    void *message = NULL;\n");
    fprintf(out, "    naru_call *call = stream->call;\n    stream->call = NULL;\n");
    if (m->client_streams)
        fprintf(out, "    naru_call_shutdown(call);\n");
    if (m->server_streams) {
        fprintf(out, "    return naru_protobuf_finish(call, NULL, timeout, NULL);\n}\n\n");
    } else {
        CALL(out, "    int r = naru_protobuf_finish", "call",
             print("&%s__descriptor", m->reply->lower), "timeout", "&message");
        print_result(out, ">= 0", "ret_reply", m->reply->c);
    }
}

static void print_streams(FILE *out, const struct method *m)
{
    char *stream = print("struct %s *stream", m->c), *begun = print("struct %s *ret_stream", m->c);
    char *begin = print("%s_begin", m->c), *route = print("&route_%s", m->c);
    if (m->client_streams) {
        DEFINE(out, begin, CLIENT, OPTIONS, begun);
        CALL(out, "    return naru_call_begin", "client", route, "options", "&ret_stream->call");
        fprintf(out, "}\n\n");
        DEFINE(out, print("%s_send", m->c), stream, print("const %s *message", m->request->c),
               TIMEOUT);
        fprintf(out, "    return naru_protobuf_send(stream->call, message, timeout);\n}\n\n");
    } else {
        DEFINE(out, begin, CLIENT, print("const %s *request", m->request->c), OPTIONS, begun);
        CALL(out, "    return naru_protobuf_begin", "client", route, "request", "options",
             "&ret_stream->call");
        fprintf(out, "}\n\n");
    }
    if (m->server_streams)
        print_take(out, print("%s_take", m->c), "naru_protobuf_take", stream, "stream->call",
                   m->reply);
    print_finish(out, m, stream);
}

/* ---- the server's ---- */

static void print_serve(FILE *out, const struct service *s, const struct method *m)
{
    print_list(out, print("static int serve_%s", m->c),
               (const char *const[]){"naru_call *call", "void *self", "const void *data",
                                     "size_t size", NULL},
               "\n{\n");
    fprintf(out,
            "    const struct %s_handlers *handlers =\n"
            "        (const struct %s_handlers *)naru_call_service(call)->handlers;\n",
            s->c, s->c);
    if (m->client_streams) {
        fprintf(out,
                "    (void)data;\n    (void)size;\n"
                "    if (!handlers->%s)\n"
                "        return naru_protobuf_unimplemented(call);\n"
                "    return handlers->%s(call, self);\n}\n\n",
                m->member, m->member);
        return;
    }
    fprintf(out,
            "    void *request = NULL;\n"
            "    if (!handlers->%s)\n"
            "        return naru_protobuf_unimplemented(call);\n",
            m->member);
    CALL(out, "    int r = naru_protobuf_request", "call",
         print("&%s__descriptor", m->request->lower), "data", "size", "&request");
    fprintf(out,
            "    if (!request)\n"
            "        return r;\n"
            "    r = handlers->%s(call, self, (%s *)request);\n"
            "    if (r != NARU_LATER)\n"
            "        naru_protobuf_free(request);\n"
            "    return r;\n}\n\n",
            m->member, m->request->c);
}

static void print_serving(FILE *out, const struct service *s, const struct method *m)
{
    if (m->client_streams)
        print_take(out, print("%s_next", m->c), "naru_protobuf_next", "naru_call *call", "call",
                   m->request);
    DEFINE(out, print("%s_reply", m->c), "naru_call *call", print("const %s *reply", m->reply->c),
           m->server_streams ? TIMEOUT : NULL);
    fprintf(out, "    return naru_protobuf_send(call, reply, %s);\n}\n\n",
            m->server_streams ? "timeout" : "NARU_FOREVER");
    print_serve(out, s, m);
}

static void print_service(FILE *out, const struct service *s)
{
    fprintf(out, "/* ==== %s ==== */\n\n", s->name);
    for (size_t i = 0; i < s->n; i++)
        fprintf(out, "static const naru_route route_%s = {\n    \"%s/%s\", %s, NULL};\n",
                s->methods[i].c, s->name, s->methods[i].name, s->methods[i].flags);
    fputs(s->n ? "\n" : "", out);
    for (size_t i = 0; i < s->n; i++) {
        const struct method *m = &s->methods[i];
        if (m->client_streams || m->server_streams)
            print_streams(out, m);
        else
            print_unary(out, m);
        print_serving(out, s, m);
    }
    if (s->n) {
        fprintf(out, "static const naru_method %s_methods[] = {\n", s->c);
        for (size_t i = 0; i < s->n; i++)
            fprintf(out, "    {\"%s\", %s, serve_%s, NULL, NULL},\n", s->methods[i].name,
                    s->methods[i].flags, s->methods[i].c);
        fprintf(out, "};\n\n");
    }
    print_list(out, print("naru_service %s_service", s->c),
               (const char *const[]){print("const struct %s_handlers *handlers", s->c), NULL},
               "\n{\n");
    fprintf(out,
            "    naru_service service = {\n"
            "        sizeof(naru_service), \"%s\",\n"
            "        %s, %zu, handlers, schema()};\n"
            "    return service;\n}\n\n",
            s->name, s->n ? print("%s_methods", s->c) : "NULL", s->n);
}

/* ---- the .proto file and what it imports ---- */

static const File **with_imports(const Request *request, const File *file, size_t *ret_n)
{
    const File **all = grow(NULL, 0, sizeof *all);
    size_t n = 0;
    all[n++] = file;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < all[i]->n_dependency; j++) {
            const File *imported = file_named(request, all[i]->dependency[j]);
            size_t k = 0;
            while (k < n && all[k] != imported)
                k++;
            if (!imported || k < n)
                continue;
            all = grow(all, n, sizeof *all);
            all[n++] = imported;
        }
    }
    *ret_n = n;
    return all;
}

/* Without what only protoc and its plugins need: where things stand, and comments. */
static void print_bytes(FILE *out, const File *file, size_t number)
{
    File bare = *file;
    bare.source_code_info = NULL;
    size_t size = google__protobuf__file_descriptor_proto__get_packed_size(&bare);
    uint8_t *bytes = make(size);
    google__protobuf__file_descriptor_proto__pack(&bare, bytes);
    fprintf(out, "/* %s */\nstatic const uint8_t file_%zu[] = {",
            harmless(file->name, strlen(file->name)), number);
    for (size_t i = 0; i < size; i++)
        fprintf(out, "%s%u,", i % 20 ? "" : "\n    ", bytes[i]);
    fprintf(out, "\n};\n\n");
}

static void print_schema(FILE *out, const struct unit *unit, const Request *request)
{
    size_t n;
    const File **files = with_imports(request, unit->file, &n);
    fprintf(out, "/* ==== what reflection tells of %s ==== */\n\n",
            harmless(unit->file->name, strlen(unit->file->name)));
    for (size_t i = 0; i < n; i++)
        print_bytes(out, files[i], i);
    fprintf(out, "static const struct naru_schema *schema(void)\n{\n"
                 "    static const struct naru_schema_file files[] = {\n");
    for (size_t i = 0; i < n; i++)
        fprintf(out, "        {\"%s\", file_%zu, sizeof file_%zu},\n", files[i]->name, i, i);
    fprintf(out,
            "    };\n"
            "    static const struct naru_schema all = {files, sizeof files / sizeof *files};\n"
            "    return &all;\n}\n");
}

char *source_of(const struct unit *unit, const Request *request)
{
    struct text t;
    begin_text(&t);
    fprintf(t.out, "/* The services of %s: made by protoc-gen-naru %s, not to be edited. */\n",
            harmless(unit->file->name, strlen(unit->file->name)), NARU_VERSION_TEXT);
    fprintf(t.out, "#include \"%s.naru.h\"\n\n#include <naru/protobuf.h>\n\n", unit->stem);
    fprintf(t.out, "static const struct naru_schema *schema(void);\n\n");
    for (size_t i = 0; i < unit->n; i++)
        print_service(t.out, &unit->services[i]);
    print_schema(t.out, unit, request);
    return end_text(&t);
}
