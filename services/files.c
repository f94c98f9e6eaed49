/* SPDX-License-Identifier: MIT */
/* files.c - the .proto files of a server's services, unpacked once, and what is defined in them.
 *
 * Finding looks through all of them: a server has a few, and is seldom asked. Whoever has a struct
 * files locks it. The bytes are the program's own; what nobody can unpack is the program's mistake,
 * and reported. */
#include "files.h"

#include <naru/protobuf.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__DescriptorProto Message;
typedef Google__Protobuf__EnumDescriptorProto Enum;
typedef Google__Protobuf__FieldDescriptorProto Field;
typedef Google__Protobuf__ServiceDescriptorProto Service;

/* ---- gathering ---- */

int file_by_name(const struct files *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->all[i].packed->name, name) == 0)
            return (int)i;
    return -1;
}

static int add_file(struct files *f, const struct naru_schema_file *packed)
{
    if (file_by_name(f, packed->name) >= 0)
        return 0;
    struct file *grown = realloc(f->all, (f->n + 1) * sizeof *grown);
    if (!grown)
        return naru_fail(-ENOMEM, "no memory for %zu .proto files", f->n + 1);
    f->all = grown;
    void *file;
    int r = naru_protobuf_unpack(&google__protobuf__file_descriptor_proto__descriptor, packed->data,
                                 packed->size, &file);
    if (r == -EPROTO)
        naru_fail(r, "%s: the %zu bytes of its schema are no FileDescriptorProto", packed->name,
                  packed->size);
    if (r < 0)
        return r;
    f->all[f->n++] = (struct file){packed, file};
    return 0;
}

int files_update(struct files *f, naru_server *server)
{
    const naru_service *service;
    for (; (service = naru_server_service(server, f->services)); f->services++)
        for (size_t i = 0; service->schema && i < service->schema->n; i++) {
            int r = add_file(f, &service->schema->files[i]);
            if (r < 0)
                return r;
        }
    return 0;
}

void files_free(struct files *f)
{
    while (f->n > 0)
        google__protobuf__file_descriptor_proto__free_unpacked(f->all[--f->n].file, NULL);
    free(f->all);
}

/* ---- symbols ---- */

/* What is left of a name behind `scope` and a dot; NULL: it lies elsewhere. */
static const char *behind(const char *name, const char *scope)
{
    size_t n = scope ? strlen(scope) : 0;
    if (n == 0)
        return name;
    return strncmp(name, scope, n) == 0 && name[n] == '.' ? name + n + 1 : NULL;
}

static bool is(const char *name, const char *rest)
{
    return name && rest && strcmp(name, rest) == 0;
}

static bool among_fields(Field *const *fields, size_t n, const char *rest)
{
    for (size_t i = 0; i < n; i++)
        if (is(fields[i]->name, rest))
            return true;
    return false;
}

/* The values of an enum are its neighbours. */
static bool among_enums(Enum *const *enums, size_t n, const char *rest)
{
    for (size_t i = 0; i < n; i++) {
        if (is(enums[i]->name, rest))
            return true;
        for (size_t k = 0; k < enums[i]->n_value; k++)
            if (is(enums[i]->value[k]->name, rest))
                return true;
    }
    return false;
}

static bool among_messages(Message *const *messages, size_t n, const char *rest)
{
    for (size_t i = 0; i < n; i++) {
        const Message *m = messages[i];
        const char *inner = m->name ? behind(rest, m->name) : NULL;
        if (is(m->name, rest))
            return true;
        if (!inner)
            continue;
        for (size_t k = 0; k < m->n_oneof_decl; k++)
            if (is(m->oneof_decl[k]->name, inner))
                return true;
        if (among_fields(m->field, m->n_field, inner) ||
            among_fields(m->extension, m->n_extension, inner) ||
            among_enums(m->enum_type, m->n_enum_type, inner) ||
            among_messages(m->nested_type, m->n_nested_type, inner))
            return true;
    }
    return false;
}

static bool among_services(Service *const *services, size_t n, const char *rest)
{
    for (size_t i = 0; i < n; i++) {
        const Service *s = services[i];
        const char *inner = s->name ? behind(rest, s->name) : NULL;
        if (is(s->name, rest))
            return true;
        for (size_t k = 0; inner && k < s->n_method; k++)
            if (is(s->method[k]->name, inner))
                return true;
    }
    return false;
}

int file_of_symbol(const struct files *f, const char *symbol)
{
    for (size_t i = 0; i < f->n; i++) {
        const File *file = f->all[i].file;
        const char *rest = behind(symbol, file->package);
        if (rest && (among_services(file->service, file->n_service, rest) ||
                     among_messages(file->message_type, file->n_message_type, rest) ||
                     among_enums(file->enum_type, file->n_enum_type, rest) ||
                     among_fields(file->extension, file->n_extension, rest)))
            return (int)i;
    }
    return -1;
}

/* ---- extensions ---- */

/* Each extension of the type: 1 ends the walk. */
typedef int visit(void *arg, const Field *);

static int walk_fields(Field *const *fields, size_t n, const char *type, visit *visit, void *arg)
{
    for (size_t i = 0; i < n; i++) {
        const char *extendee = fields[i]->extendee;
        if (extendee && is(extendee + (extendee[0] == '.'), type) && visit(arg, fields[i]))
            return 1;
    }
    return 0;
}

static int walk_messages(Message *const *messages, size_t n, const char *type, visit *visit,
                         void *arg)
{
    for (size_t i = 0; i < n; i++)
        if (walk_fields(messages[i]->extension, messages[i]->n_extension, type, visit, arg) ||
            walk_messages(messages[i]->nested_type, messages[i]->n_nested_type, type, visit, arg))
            return 1;
    return 0;
}

static int walk_file(const File *file, const char *type, visit *visit, void *arg)
{
    return walk_fields(file->extension, file->n_extension, type, visit, arg) ||
           walk_messages(file->message_type, file->n_message_type, type, visit, arg);
}

static int has_number(void *arg, const Field *field)
{
    return field->number == *(const int32_t *)arg;
}

int file_of_extension(const struct files *f, const char *type, int32_t number)
{
    for (size_t i = 0; i < f->n; i++)
        if (walk_file(f->all[i].file, type, has_number, &number))
            return (int)i;
    return -1;
}

struct numbers {
    int32_t *all;
    size_t n;
    bool short_of_memory;
};

static int add_number(void *arg, const Field *field)
{
    struct numbers *numbers = arg;
    int32_t *grown = realloc(numbers->all, (numbers->n + 1) * sizeof *grown);
    if (!grown) {
        numbers->short_of_memory = true;
        return 1;
    }
    numbers->all = grown;
    grown[numbers->n++] = field->number;
    return 0;
}

int extensions_of(const struct files *f, const char *type, int32_t **ret_numbers, size_t *ret_n)
{
    struct numbers numbers = {NULL, 0, false};
    for (size_t i = 0; i < f->n && !numbers.short_of_memory; i++)
        walk_file(f->all[i].file, type, add_number, &numbers);
    if (numbers.short_of_memory) {
        free(numbers.all);
        return -ENOMEM;
    }
    *ret_numbers = numbers.all;
    *ret_n = numbers.n;
    return 0;
}

/* ---- imports ---- */

void file_mark(const struct files *f, size_t i, bool *marks)
{
    const File *file = f->all[i].file;
    if (marks[i])
        return;
    marks[i] = true;
    for (size_t k = 0; k < file->n_dependency; k++) {
        int imported = file_by_name(f, file->dependency[k]);
        if (imported >= 0)
            file_mark(f, (size_t)imported, marks);
    }
}
