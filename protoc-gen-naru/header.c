/* SPDX-License-Identifier: MIT */
/* header.c - what a program includes: calls for the client, a table of handlers for the server. */
#include "protoc-gen-naru/comment.h"
#include "protoc-gen-naru/text.h"
#include "protoc-gen-naru/write.h"

#include <ctype.h>
#include <string.h>

#define CLIENT "naru_client *client"
#define OPTIONS "const struct naru_call_options *options"
#define TIMEOUT "int64_t timeout"

/* One guard a file: two names give two. */
static char *guard_of(const char *stem)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    struct text t;
    begin_text(&t);
    fputs("NARU_", t.out);
    for (const char *c = stem; *c; c++)
        fprintf(t.out, strchr(letters, *c) ? "%c" : "_%02x", (unsigned char)*c);
    fputs("_H", t.out);
    return end_text(&t);
}

static void declare(FILE *out, const char *name, const char *const *parameters)
{
    print_list(out, print("int %s", name), parameters, ";\n");
}

#define DECLARE(out, name, ...) declare(out, name, (const char *const[]){__VA_ARGS__, NULL})

static void print_unary(FILE *out, const struct method *m)
{
    char *request = print("const %s *request", m->request->c);
    DECLARE(out, m->c, CLIENT, request, OPTIONS, print("%s **ret_reply", m->reply->c));
    fprintf(out, "/* The same, not waited for. */\n");
    print_list(out, print("typedef void %s_done", m->c),
               (const char *const[]){"void *arg", "const struct naru_status *status",
                                     print("%s *reply", m->reply->c), NULL},
               ";\n");
    DECLARE(out, print("%s_async", m->c), CLIENT, request, OPTIONS, print("%s_done *done", m->c),
            "void *arg", "naru_call **ret_call");
}

static void print_streams(FILE *out, const struct method *m)
{
    char *stream = print("struct %s *stream", m->c), *begun = print("struct %s *ret_stream", m->c);
    char *begin = print("%s_begin", m->c), *finish = print("%s_finish", m->c);
    fprintf(out, "struct %s {\n    naru_call *call;\n};\n", m->c);
    if (m->client_streams) {
        DECLARE(out, begin, CLIENT, OPTIONS, begun);
        DECLARE(out, print("%s_send", m->c), stream, print("const %s *message", m->request->c),
                TIMEOUT);
    } else {
        DECLARE(out, begin, CLIENT, print("const %s *request", m->request->c), OPTIONS, begun);
    }
    if (m->server_streams) {
        DECLARE(out, print("%s_take", m->c), stream, TIMEOUT,
                print("%s **ret_message", m->reply->c));
        DECLARE(out, finish, stream, TIMEOUT);
    } else {
        DECLARE(out, finish, stream, TIMEOUT, print("%s **ret_reply", m->reply->c));
    }
}

static void print_handler(FILE *out, const struct method *m)
{
    if (m->client_streams)
        fprintf(out, "    int (*%s)(naru_call *call, void *self);\n", m->member);
    else
        print_list(out, print("    int (*%s)", m->member),
                   (const char *const[]){"naru_call *call", "void *self",
                                         print("%s *request", m->request->c), NULL},
                   ";\n");
}

static void print_serving(FILE *out, const struct method *m)
{
    if (m->client_streams)
        DECLARE(out, print("%s_next", m->c), "naru_call *call", TIMEOUT,
                print("%s **ret_message", m->request->c));
    DECLARE(out, print("%s_reply", m->c), "naru_call *call", print("const %s *reply", m->reply->c),
            m->server_streams ? TIMEOUT : NULL);
}

static void print_service(FILE *out, const struct service *s)
{
    fprintf(out, "\n/* ==== %s ==== */\n\n", s->name);
    print_comment(out, s->place, NULL);
    for (size_t i = 0; i < s->n; i++) {
        const struct method *m = &s->methods[i];
        fputc('\n', out);
        print_comment(out, m->place, m->deprecated ? "Deprecated." : NULL);
        if (m->client_streams || m->server_streams)
            print_streams(out, m);
        else
            print_unary(out, m);
    }
    fprintf(out, "\n/* ---- %s, served: a NULL is UNIMPLEMENTED ---- */\n\n", s->name);
    fprintf(out, "struct %s_handlers {\n", s->c);
    for (size_t i = 0; i < s->n; i++)
        print_handler(out, &s->methods[i]);
    if (s->n == 0)
        fprintf(out, "    int none; /* it has no methods */\n");
    fprintf(out, "};\n");
    print_list(out, print("naru_service %s_service", s->c),
               (const char *const[]){print("const struct %s_handlers *handlers", s->c), NULL},
               ";\n");
    for (size_t i = 0; i < s->n; i++)
        print_serving(out, &s->methods[i]);
}

static const char contract[] =
    " *\n"
    " * Functions return 0, or the negative errno that fits the status of the call, which\n"
    " * naru_client_status tells. What they give (ret_...) is freed by its own free_unpacked(x,\n"
    " * NULL).\n"
    " *\n"
    " * Not waited for (_async): naru_client_process calls done once, with the reply, which is\n"
    " * done's to free, or with NULL. ret_call, which may be NULL: to cancel the call by, until\n"
    " * then.\n"
    " *\n"
    " * Streams: _begin; _send each message; _take (1: a message; 0: there are no more); _finish\n"
    " * gives the status, and the reply if there is one, and closes the stream in any case.\n"
    " *\n"
    " * Handlers return NARU_STATUS_OK, what naru_call_fail returns, a negative errno, or\n"
    " * NARU_LATER. A request is freed when its handler returns; with NARU_LATER it is the "
    "handler's\n"
    " * to free. _reply sends the one reply, or each of a stream; _next is a handler's _take. */\n";

char *header_of(const struct unit *unit)
{
    struct text t;
    char *guard = guard_of(unit->stem);
    const char *name = harmless(unit->file->name, strlen(unit->file->name));
    begin_text(&t);
    fprintf(t.out, "/* The services of %s: made by protoc-gen-naru %s, not to be edited.\n%s", name,
            NARU_VERSION_TEXT, contract);
    fprintf(t.out, "#ifndef %s\n#define %s\n\n#include <naru/service.h>\n\n", guard, guard);
    fprintf(t.out, "#include \"%s.pb-c.h\"\n\n", unit->stem);
    fprintf(t.out, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
    for (size_t i = 0; i < unit->n; i++)
        print_service(t.out, &unit->services[i]);
    fprintf(t.out, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
    return end_text(&t);
}
