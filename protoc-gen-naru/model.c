/* SPDX-License-Identifier: MIT */
#include "protoc-gen-naru/model.h"

#include "protoc-gen-naru/name.h"
#include "protoc-gen-naru/text.h"

#include <stdlib.h>
#include <string.h>

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

static void add_type(struct model *model, const File *file, const char *full_name)
{
    const char *named = with_c_package(file, full_name);
    model->types = grow(model->types, model->n_types, sizeof *model->types);
    model->types[model->n_types++] =
        (struct type){full_name, spell(CAMEL, named, "__"), spell(LOWER, named, "__")};
}

static void add_enums(struct model *model, const File *file, const char *scope, size_t n,
                      Enum *const *enums)
{
    for (size_t i = 0; i < n; i++)
        add_type(model, file, print("%s.%s", scope, str(enums[i]->name)));
}

static void add_messages(struct model *model, const File *file, const char *scope, size_t n,
                         Message *const *messages)
{
    for (size_t i = 0; i < n; i++) {
        const Message *m = messages[i];
        char *full_name = print("%s.%s", scope, str(m->name));
        add_type(model, file, full_name);
        add_enums(model, file, full_name, m->n_enum_type, m->enum_type);
        add_messages(model, file, full_name, m->n_nested_type, m->nested_type);
    }
}

static void add_types(struct model *model)
{
    for (size_t i = 0; i < model->request->n_proto_file; i++) {
        const File *file = model->request->proto_file[i];
        const char *scope = *str(file->package) ? print(".%s", file->package) : "";
        add_enums(model, file, scope, file->n_enum_type, file->enum_type);
        add_messages(model, file, scope, file->n_message_type, file->message_type);
    }
}

static int by_name(const void *a, const void *b)
{
    const struct type *x = a, *y = b;
    return strcmp(x->full_name, y->full_name);
}

const struct type *type_named(const struct model *model, const char *full_name)
{
    const struct type key = {.full_name = str(full_name)};
    if (model->n_types == 0)
        return NULL;
    return bsearch(&key, model->types, model->n_types, sizeof key, by_name);
}

static const struct type *find_type(const struct model *model, struct place p, const char *name)
{
    static const struct type none = {"", "", ""};
    const struct type *found = type_named(model, name);
    if (!found)
        refuse(p, "the message \"%s\" is in none of the files that protoc described", str(name));
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

static struct method method_of(const struct model *model, struct place p,
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
        .request = find_type(model, p, m->input_type),
        .reply = find_type(model, p, m->output_type),
    };
}

static struct service service_of(const struct model *model, struct place p,
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
            method_of(model, inside(p, SERVICE_METHOD, (int)i), &service, s->method[i]);
    return service;
}

static struct unit unit_of(const struct model *model, const File *file)
{
    struct unit unit = {
        .file = file,
        .stem = without_suffix(str(file->name)),
        .services = make(file->n_service * sizeof *unit.services),
        .n = file->n_service,
    };
    for (size_t i = 0; i < unit.n; i++)
        unit.services[i] = service_of(
            model, inside((struct place){.file = file}, FILE_SERVICE, (int)i), file->service[i]);
    return unit;
}

struct model model_of(const Request *request)
{
    struct model model = {.request = request};
    add_types(&model);
    if (model.n_types)
        qsort(model.types, model.n_types, sizeof *model.types, by_name);
    model.units = make(request->n_file_to_generate * sizeof *model.units);
    for (size_t i = 0; i < request->n_file_to_generate; i++) {
        const File *file = file_named(request, request->file_to_generate[i]);
        File nowhere = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
        nowhere.name = request->file_to_generate[i];
        if (file)
            model.units[model.n++] = unit_of(&model, file);
        else
            refuse((struct place){.file = &nowhere},
                   "protoc wants it made and did not describe it");
    }
    return model;
}
