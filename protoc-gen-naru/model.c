/* SPDX-License-Identifier: MIT */
#include "protoc-gen-naru/model.h"

#include "protoc-gen-naru/name.h"
#include "protoc-gen-naru/text.h"

#include <stdlib.h>
#include <string.h>

struct types {
    struct type *all;
    size_t n;
};

bool is_proto3(const File *file)
{
    return strcmp(str(file->syntax), "proto3") == 0;
}

const File *file_named(const Request *request, const char *name)
{
    for (size_t i = 0; i < request->n_proto_file; i++)
        if (strcmp(str(request->proto_file[i]->name), name) == 0)
            return request->proto_file[i];
    return NULL;
}

static void add_types(struct types *types, const File *file, const char *scope, size_t n,
                      Message *const *messages)
{
    for (size_t i = 0; i < n; i++) {
        char *full_name = print("%s.%s", scope, str(messages[i]->name));
        const char *named = with_c_package(file, full_name);
        types->all = grow(types->all, types->n, sizeof *types->all);
        types->all[types->n++] =
            (struct type){full_name, spell(CAMEL, named, "__"), spell(LOWER, named, "__")};
        add_types(types, file, full_name, messages[i]->n_nested_type, messages[i]->nested_type);
    }
}

static int by_name(const void *a, const void *b)
{
    const struct type *x = a, *y = b;
    return strcmp(x->full_name, y->full_name);
}

static const struct type *find_type(const struct types *types, struct place p, const char *name)
{
    static const struct type none = {"", "", ""};
    const struct type key = {.full_name = str(name)};
    const struct type *found =
        types->n ? bsearch(&key, types->all, types->n, sizeof key, by_name) : NULL;
    if (!found)
        refuse(p, "the message \"%s\" is in none of the files that protoc named", str(name));
    return found ? found : &none;
}

static const char *flags_of(const Google__Protobuf__MethodDescriptorProto *m)
{
    bool again = m->options && m->options->idempotency_level != 0; /* IDEMPOTENCY_UNKNOWN */
    char *flags = print("%s%s%s", m->client_streaming ? " | NARU_CLIENT_STREAMS" : "",
                        m->server_streaming ? " | NARU_SERVER_STREAMS" : "",
                        again ? " | NARU_IDEMPOTENT" : "");
    return *flags ? flags + 3 : "0";
}

static struct method method_of(const struct types *types, struct place p,
                               const struct service *service,
                               const Google__Protobuf__MethodDescriptorProto *m)
{
    return (struct method){
        .place = p,
        .name = str(m->name),
        .c = print("%s_%s", service->c, spell(LOWER, str(m->name), "_")),
        .member = member_name(str(m->name)),
        .flags = flags_of(m),
        .client_streams = m->client_streaming,
        .server_streams = m->server_streaming,
        .deprecated = m->options && m->options->deprecated,
        .request = find_type(types, p, m->input_type),
        .reply = find_type(types, p, m->output_type),
    };
}

static struct service service_of(const struct types *types, struct place p,
                                 const Google__Protobuf__ServiceDescriptorProto *s)
{
    const char *package = str(p.file->package);
    char *name = print("%s%s%s", package, *package ? "." : "", str(s->name));
    struct service service = {
        .place = p,
        .name = name,
        .c = spell(LOWER, with_c_package(p.file, name), "_"),
        .methods = make(s->n_method * sizeof *service.methods),
        .n = s->n_method,
    };
    for (size_t i = 0; i < s->n_method; i++)
        service.methods[i] =
            method_of(types, inside(p, SERVICE_METHOD, (int)i), &service, s->method[i]);
    return service;
}

struct unit *units_of(const Request *request, size_t *ret_n)
{
    struct types types = {NULL, 0};
    for (size_t i = 0; i < request->n_proto_file; i++) {
        const File *file = request->proto_file[i];
        const char *package = str(file->package);
        add_types(&types, file, *package ? print(".%s", package) : "", file->n_message_type,
                  file->message_type);
    }
    if (types.n)
        qsort(types.all, types.n, sizeof *types.all, by_name);
    struct unit *units = make(request->n_file_to_generate * sizeof *units);
    size_t n = 0;
    for (size_t i = 0; i < request->n_file_to_generate; i++) {
        const File *file = file_named(request, request->file_to_generate[i]);
        if (!file) {
            File nowhere = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
            nowhere.name = request->file_to_generate[i];
            refuse((struct place){.file = &nowhere},
                   "protoc wants it made and did not describe it");
            continue;
        }
        struct unit *unit = &units[n++];
        unit->file = file;
        unit->stem = without_suffix(str(file->name));
        unit->n = file->n_service;
        unit->services = make(unit->n * sizeof *unit->services);
        for (size_t j = 0; j < unit->n; j++)
            unit->services[j] =
                service_of(&types, inside((struct place){.file = file}, FILE_SERVICE, (int)j),
                           file->service[j]);
    }
    *ret_n = n;
    return units;
}
