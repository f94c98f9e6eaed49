/* SPDX-License-Identifier: MIT */
/* Every name that C will see is noted with the place it comes from; then equal ones are neighbours
 * of a sorted list. One list is the program's names, for all files of a request may be linked
 * together; each struct's members are another. */
#include "protoc-gen-naru/check.h"

#include "protoc-gen-naru/name.h"
#include "protoc-gen-naru/text.h"

#include <stdlib.h>
#include <string.h>

enum { BASE_FIELD_NAME = 3 }; /* of ProtobufCMessageOptions */

struct named {
    const char *name; /* in C */
    const char *what; /* 'method "Add"' */
    struct place place;
    size_t order;
    bool hidden; /* within a source: told only if nothing else is */
};

struct list {
    struct named *all;
    size_t n;
};

static void note(struct list *list, struct place p, const char *what, const char *name)
{
    if (!is_identifier(name))
        refuse(p, "%s would be \"%s\" in C, which is no name there", what, name);
    list->all = grow(list->all, list->n, sizeof *list->all);
    list->all[list->n] = (struct named){name, what, p, list->n, false};
    list->n++;
}

static void note_hidden(struct list *list, struct place p, const char *what, const char *name)
{
    note(list, p, what, name);
    list->all[list->n - 1].hidden = true;
}

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

/* Two things have many names in common; one sentence tells of them. */
static bool told(const struct named *first, const struct named *second)
{
    static struct {
        const char *first, *second;
    } pairs[16];
    static size_t n;
    for (size_t i = 0; i < n && i < 16; i++)
        if (pairs[i].first == first->what && pairs[i].second == second->what)
            return true;
    pairs[n % 16].first = first->what;
    pairs[n++ % 16].second = second->what;
    return false;
}

static void refuse_equal(struct list *list)
{
    if (list->n)
        qsort(list->all, list->n, sizeof *list->all, by_name);
    for (int hidden = 0; hidden < 2; hidden++)
        for (size_t i = 1; i < list->n; i++) {
            const struct named *first = &list->all[i - 1], *second = &list->all[i];
            if (strcmp(first->name, second->name) == 0 && second->hidden == hidden &&
                !told(first, second))
                refuse(second->place, "%s would be \"%s\" in C, as %s at %s is: rename one of them",
                       second->what, second->name, first->what, where(first->place));
        }
    free(list->all);
    *list = (struct list){NULL, 0};
}

static bool has_presence(const File *file, const Field *field)
{
    return !is_proto3(file) && !field->has_oneof_index &&
           field->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_OPTIONAL &&
           field->type != GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_STRING &&
           field->type != GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE;
}

static void check_field(struct list *members, struct place p, const Field *field)
{
    char *name = field_name(str(field->name));
    note(members, p, print("field \"%s\"", str(field->name)), name);
    if (field->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED)
        note(members, p, print("the count of field \"%s\"", str(field->name)), print("n_%s", name));
    if (has_presence(p.file, field))
        note(members, p, print("the presence of field \"%s\"", str(field->name)),
             print("has_%s", name));
}

static void check_group(struct place p, const Field *field)
{
    if (field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_GROUP)
        refuse(p,
               "field \"%s\" is a group, which protobuf-c does not have: make it a message and "
               "a field of it",
               str(field->name));
}

static void check_enum(struct list *list, struct place p, const char *scope, const Enum *e)
{
    const char *full_name = with_c_package(p.file, print("%s.%s", scope, str(e->name)));
    note(list, p, print("enum \"%s\"", str(e->name)), spell(CAMEL, full_name, "__"));
    for (size_t i = 0; i < e->n_value; i++)
        note(list, inside(p, ENUM_VALUE, (int)i), print("value \"%s\"", str(e->value[i]->name)),
             print("%s__%s", spell(UPPER, full_name, "__"), str(e->value[i]->name)));
}

/* protobuf-c makes a type and constants of it: which of the fields is there. */
static void check_oneof(struct list *list, struct list *members, struct place p,
                        const char *message, const Message *m, size_t index)
{
    const char *name = str(m->oneof_decl[index]->name);
    const char *named = with_c_package(p.file, message);
    const char *constants = print("%s__%s", spell(UPPER, named, "__"), spell(UPPER, name, "_"));
    const char *what = print("oneof \"%s\"", name);
    note(list, p, what, print("%s__%sCase", spell(CAMEL, named, "__"), spell(CAMEL, name, "_")));
    note(list, p, what, print("%s__NOT_SET", constants));
    for (size_t i = 0; i < m->n_field; i++)
        if (m->field[i]->has_oneof_index && (size_t)m->field[i]->oneof_index == index)
            note(list, p, what,
                 print("%s_%s", constants, spell(UPPER, eased_name(str(m->field[i]->name)), "_")));
    note(members, p, what, print("%s_case", spell(LOWER, name, "_")));
}

/* What protobuf-c makes of a message besides its struct. */
static void note_functions(struct list *list, struct place p, const char *what, const char *lower)
{
    static const char *const suffixes[] = {
        "descriptor", "free_unpacked",  "get_packed_size", "init",
        "pack",       "pack_to_buffer", "unpack",          NULL};
    for (size_t i = 0; suffixes[i]; i++)
        note(list, p, what, print("%s__%s", lower, suffixes[i]));
}

static void check_message(struct list *list, struct place p, const char *scope, const Message *m)
{
    char *full_name = print("%s.%s", scope, str(m->name));
    const char *named = with_c_package(p.file, full_name);
    const char *what = print("message \"%s\"", str(m->name));
    const char *base =
        m->options ? c_option((const ProtobufCMessage *)m->options, BASE_FIELD_NAME) : NULL;
    struct list members = {NULL, 0};
    note(list, p, what, spell(CAMEL, named, "__"));
    note_functions(list, p, what, spell(LOWER, named, "__"));
    note(&members, p, "what protobuf-c begins each message with", base ? base : "base");
    for (size_t i = 0; i < m->n_field; i++) {
        check_field(&members, inside(p, MESSAGE_FIELD, (int)i), m->field[i]);
        check_group(inside(p, MESSAGE_FIELD, (int)i), m->field[i]);
    }
    for (size_t i = 0; i < m->n_oneof_decl; i++)
        check_oneof(list, &members, inside(p, MESSAGE_ONEOF, (int)i), full_name, m, i);
    refuse_equal(&members);
    for (size_t i = 0; i < m->n_extension; i++)
        check_group(inside(p, MESSAGE_EXTENSION, (int)i), m->extension[i]);
    for (size_t i = 0; i < m->n_enum_type; i++)
        check_enum(list, inside(p, MESSAGE_ENUM, (int)i), full_name, m->enum_type[i]);
    for (size_t i = 0; i < m->n_nested_type; i++)
        check_message(list, inside(p, MESSAGE_NESTED, (int)i), full_name, m->nested_type[i]);
}

static void check_file(struct list *list, const File *file)
{
    struct place p = {.file = file};
    const char *package = str(file->package);
    const char *scope = *package ? print(".%s", package) : "";
    if (strpbrk(str(file->name), "\"\\\n") || !*str(file->name))
        refuse(p, "a file of this name cannot be included: rename it");
    for (size_t i = 0; i < file->n_message_type; i++)
        check_message(list, inside(p, FILE_MESSAGE, (int)i), scope, file->message_type[i]);
    for (size_t i = 0; i < file->n_enum_type; i++)
        check_enum(list, inside(p, FILE_ENUM, (int)i), scope, file->enum_type[i]);
    for (size_t i = 0; i < file->n_extension; i++)
        check_group(inside(p, FILE_EXTENSION, (int)i), file->extension[i]);
}

/* The names that header.c and source.c make of a method. */
static void check_method(struct list *list, const struct method *m)
{
    static const char *const of_streams[] = {"",        "_begin", "_send",  "_take",
                                             "_finish", "_next",  "_reply", NULL};
    static const char *const of_unary[] = {"", "_async", "_done", "_reply", NULL};
    const char *what = print("method \"%s\"", m->name);
    const char *const *suffixes = m->client_streams || m->server_streams ? of_streams : of_unary;
    for (size_t i = 0; suffixes[i]; i++)
        note(list, m->place, what, print("%s%s", m->c, suffixes[i]));
    note_hidden(list, m->place, what, print("route_%s", m->c));
    note_hidden(list, m->place, what, print("serve_%s", m->c));
    note_hidden(list, m->place, what, print("end_%s", m->c));
    if (is_keyword(m->c))
        refuse(m->place, "%s would be \"%s\" in C, which is a keyword: put it into a package", what,
               m->c);
}

static void check_service(struct list *list, const struct service *s)
{
    const char *what = print("service \"%s\"", s->name);
    struct list members = {NULL, 0};
    note(list, s->place, what, print("%s_handlers", s->c));
    note(list, s->place, what, print("%s_service", s->c));
    note_hidden(list, s->place, what, print("%s_methods", s->c));
    if (strncmp(s->c, "naru_", 5) == 0 || strcmp(s->c, "naru") == 0)
        refuse(s->place,
               "%s would have functions \"%s_...\", and naru_ is the library's own: "
               "rename the service or its package",
               what, s->c);
    for (size_t i = 0; i < s->n; i++) {
        check_method(list, &s->methods[i]);
        note(&members, s->methods[i].place, print("method \"%s\"", s->methods[i].name),
             s->methods[i].member);
    }
    refuse_equal(&members);
}

void check(const struct model *model)
{
    struct list list = {NULL, 0};
    for (size_t i = 0; i < model->request->n_proto_file; i++)
        check_file(&list, model->request->proto_file[i]);
    for (size_t i = 0; i < model->n; i++)
        for (size_t j = 0; j < model->units[i].n; j++)
            check_service(&list, &model->units[i].services[j]);
    refuse_equal(&list);
}
