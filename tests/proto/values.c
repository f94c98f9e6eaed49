/* SPDX-License-Identifier: MIT */
/* values.c - messages of values.proto and old.proto, through calls, and what is in them.
 *
 *   values TYPE echo         messages from standard input, each its length (4 bytes) and itself
 *   values TYPE make SEED N  N messages that are made here
 *   values schema            what the services say of their .proto files: names and bytes in turn
 *
 * Each is the request of a call whose handler writes down what it sees, by the names that the
 * fields have in C, and answers with the same. Standard output gets both: the length and the text,
 * a line a value; the length and the answer. tests/proto/run compares them with what Python sees.
 */
#define _GNU_SOURCE
#include "old.naru.h"
#include "values.naru.h"

#include <inttypes.h>
#include <naru/protobuf.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* letter_name: name, NAME, type, how it is written */
#define NUMBERS(X)                                                                                 \
    X(int32, INT32, int32_t, i)                                                                    \
    X(int64, INT64, int64_t, i)                                                                    \
    X(uint32, UINT32, uint32_t, u)                                                                 \
    X(uint64, UINT64, uint64_t, u)                                                                 \
    X(sint32, SINT32, int32_t, i)                                                                  \
    X(sint64, SINT64, int64_t, i)                                                                  \
    X(fixed32, FIXED32, uint32_t, u)                                                               \
    X(fixed64, FIXED64, uint64_t, u)                                                               \
    X(sfixed32, SFIXED32, int32_t, i)                                                              \
    X(sfixed64, SFIXED64, int64_t, i)                                                              \
    X(float, FLOAT, float, f)                                                                      \
    X(double, DOUBLE, double, d)                                                                   \
    X(bool, BOOL, protobuf_c_boolean, b)                                                           \
    X(color, COLOR, Test__Values__Color, e)
#define SCALARS(X) NUMBERS(X) X(string, STRING, char *, s) X(bytes, BYTES, ProtobufCBinaryData, y)

static FILE *out; /* what the handler writes */

static void die(const char *what)
{
    fprintf(stderr, "values: %s: %s\n", what, naru_why());
    exit(1);
}

static void *must(void *memory)
{
    if (!memory)
        die("memory");
    return memory;
}

__attribute__((format(printf, 1, 2))) static const char *text(const char *format, ...)
{
    static char *texts[64]; /* the last of them stay */
    static unsigned next;
    char **t = &texts[next++ % 64];
    va_list arguments;
    va_start(arguments, format);
    free(*t);
    if (vasprintf(t, format, arguments) < 0)
        die("memory");
    va_end(arguments);
    return *t;
}

/* ---- values as text ---- */

static const char *hex(const void *data, size_t size)
{
    static char *texts[4];
    static unsigned next;
    char **t = &texts[next++ % 4];
    *t = must(realloc(*t, 2 * size + 1));
    (*t)[0] = 0;
    for (size_t i = 0; i < size; i++)
        sprintf(*t + 2 * i, "%02x", ((const uint8_t *)data)[i]);
    return *t;
}

static const char *text_i(int64_t v)
{
    return text("%" PRId64, v);
}

static const char *text_e(int v)
{
    return text("%d", v);
}

static const char *text_u(uint64_t v)
{
    return text("%" PRIu64, v);
}

static const char *text_b(protobuf_c_boolean v)
{
    return v ? "true" : "false";
}

static const char *text_f(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return text("%08" PRIx32, bits);
}

static const char *text_d(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return text("%016" PRIx64, bits);
}

static const char *text_s(const char *v)
{
    return hex(v, strlen(v));
}

static const char *text_y(ProtobufCBinaryData v)
{
    return hex(v.data, v.len);
}

/* path.name=value */
#define LINE(name, how, value) fprintf(out, "%s%s=%s\n", path, name, text_##how(value))
#define EACH(name, how, n, values)                                                                 \
    for (size_t i_ = 0; i_ < (n); i_++)                                                            \
    fprintf(out, "%s%s[%zu]=%s\n", path, name, i_, text_##how((values)[i_]))
#define PART(name, dump, part)                                                                     \
    if (part) {                                                                                    \
        char *path_ = must(strdup(text("%s%s.", path, name)));                                     \
        dump(path_, part);                                                                         \
        free(path_);                                                                               \
    }
#define PARTS(name, dump, n, parts)                                                                \
    for (size_t i_ = 0; i_ < (n); i_++)                                                            \
    PART(text("%s[%zu]", name, i_), dump, (parts)[i_])

static void dump_scalars(const char *path, const Test__Values__Scalars *m)
{
    fprintf(out, "%s\n", path);
#define ONE(name, NAME, type, how) LINE("s_" #name, how, m->s_##name);
    SCALARS(ONE)
#define MANY(name, NAME, type, how) EACH("r_" #name, how, m->n_r_##name, m->r_##name);
    SCALARS(MANY)
#define UNPACKED(name, NAME, type, how) EACH("u_" #name, how, m->n_u_##name, m->u_##name);
    NUMBERS(UNPACKED)
#define OPTIONAL(name, NAME, type, how)                                                            \
    if (m->_o_##name##_case == TEST__VALUES__SCALARS___O_##NAME##_O_##NAME)                        \
        LINE("o_" #name, how, m->o_##name);
    SCALARS(OPTIONAL)
    switch (m->choice_case) {
#define CHOICE(name, NAME, type, how)                                                              \
    case TEST__VALUES__SCALARS__CHOICE_C_##NAME:                                                   \
        LINE("c_" #name, how, m->c_##name);                                                        \
        break;
        SCALARS(CHOICE)
    case TEST__VALUES__SCALARS__CHOICE_C_MESSAGE:
        PART("c_message", dump_scalars, m->c_message);
        break;
    default:
        break;
    }
    LINE("last", i, m->last);
}

static void dump_point(const char *path, const Other__Place__V1__Point *m)
{
    fprintf(out, "%s\n", path);
    LINE("x", i, m->x);
    LINE("y", i, m->y);
}

static void dump_maps(const char *path, const Test__Values__Maps *m)
{
    fprintf(out, "%s\n", path);
#define MAP(name, key_how, how)                                                                    \
    for (size_t i = 0; i < m->n_m_##name; i++)                                                     \
        fprintf(out, "%sm_" #name "[%s]=%s\n", path, text_##key_how(m->m_##name[i]->key),          \
                text_##how(m->m_##name[i]->value));
#define ALIKE(name, NAME, type, how) MAP(name, how, how)
#define MAP_KEYS(X)                                                                                \
    X(int32, INT32, int32_t, i)                                                                    \
    X(int64, INT64, int64_t, i)                                                                    \
    X(uint32, UINT32, uint32_t, u)                                                                 \
    X(uint64, UINT64, uint64_t, u)                                                                 \
    X(sint32, SINT32, int32_t, i)                                                                  \
    X(sint64, SINT64, int64_t, i)                                                                  \
    X(fixed32, FIXED32, uint32_t, u)                                                               \
    X(fixed64, FIXED64, uint64_t, u)                                                               \
    X(sfixed32, SFIXED32, int32_t, i)                                                              \
    X(sfixed64, SFIXED64, int64_t, i)
    MAP_KEYS(ALIKE)
    MAP(bool, b, b)
    MAP(string, s, s)
    MAP(bytes, s, y)
    MAP(color, s, e)
    MAP(float, s, f)
    MAP(double, s, d)
    for (size_t i = 0; i < m->n_m_point; i++)
        PART(text("m_point[%s]", text_s(m->m_point[i]->key)), dump_point, m->m_point[i]->value);
}

static void dump_vein(const char *path, const Test__Values__Tree__Leaf__Vein *m)
{
    fprintf(out, "%s\n", path);
    LINE("name", s, m->name);
}

static void dump_leaf(const char *path, const Test__Values__Tree__Leaf *m)
{
    fprintf(out, "%s\n", path);
    LINE("shade", e, m->shade);
    PARTS("vein", dump_vein, m->n_vein, m->vein);
}

static void dump_name(const char *path, const Other__Place__V1__Point__Name *m)
{
    fprintf(out, "%s\n", path);
    LINE("text", s, m->text);
}

static void dump_tree(const char *path, const Test__Values__Tree *m)
{
    fprintf(out, "%s\n", path);
    LINE("name", s, m->name);
    PART("left", dump_tree, m->left);
    PART("right", dump_tree, m->right);
    PARTS("others", dump_tree, m->n_others, m->others);
    PART("leaf", dump_leaf, m->leaf);
    LINE("kind", e, m->kind);
    PART("point", dump_point, m->point);
    PARTS("names", dump_name, m->n_names, m->names);
    PART("maybe", dump_tree, m->maybe);
    if (m->_number_case)
        LINE("number", i, m->number);
    if (m->either_case == TEST__VALUES__TREE__EITHER_ONE)
        PART("one", dump_leaf, m->one);
    if (m->either_case == TEST__VALUES__TREE__EITHER_OTHER)
        PART("other", dump_point, m->other);
}

static void dump_timestamp(const char *path, const Google__Protobuf__Timestamp *m)
{
    fprintf(out, "%s\n", path);
    LINE("seconds", i, m->seconds);
    LINE("nanos", i, m->nanos);
}

static void dump_duration(const char *path, const Google__Protobuf__Duration *m)
{
    fprintf(out, "%s\n", path);
    LINE("seconds", i, m->seconds);
    LINE("nanos", i, m->nanos);
}

static void dump_any(const char *path, const Google__Protobuf__Any *m)
{
    fprintf(out, "%s\n", path);
    LINE("type_url", s, m->type_url);
    LINE("value", y, m->value);
}

static void dump_empty(const char *path, const Google__Protobuf__Empty *m)
{
    (void)m;
    fprintf(out, "%s\n", path);
}

static void dump_status(const char *path, const Google__Rpc__Status *m)
{
    fprintf(out, "%s\n", path);
    LINE("code", i, m->code);
    LINE("message", s, m->message);
    PARTS("details", dump_any, m->n_details, m->details);
}

static void dump_number(const char *path, const Google__Protobuf__Int32Value *m)
{
    fprintf(out, "%s\n", path);
    LINE("value", i, m->value);
}

static void dump_string(const char *path, const Google__Protobuf__StringValue *m)
{
    fprintf(out, "%s\n", path);
    LINE("value", s, m->value);
}

static void dump_mask(const char *path, const Google__Protobuf__FieldMask *m)
{
    fprintf(out, "%s\n", path);
    EACH("paths", s, m->n_paths, m->paths);
}

static void dump_value(const char *path, const Google__Protobuf__Value *m);

static void dump_object(const char *path, const Google__Protobuf__Struct *m)
{
    fprintf(out, "%s\n", path);
    for (size_t i = 0; i < m->n_fields; i++)
        PART(text("fields[%s]", text_s(m->fields[i]->key)), dump_value, m->fields[i]->value);
}

static void dump_list(const char *path, const Google__Protobuf__ListValue *m)
{
    fprintf(out, "%s\n", path);
    PARTS("values", dump_value, m->n_values, m->values);
}

static void dump_value(const char *path, const Google__Protobuf__Value *m)
{
    fprintf(out, "%s\n", path);
    switch (m->kind_case) {
    case GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE:
        LINE("null_value", e, m->null_value);
        break;
    case GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE:
        LINE("number_value", d, m->number_value);
        break;
    case GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE:
        LINE("string_value", s, m->string_value);
        break;
    case GOOGLE__PROTOBUF__VALUE__KIND_BOOL_VALUE:
        LINE("bool_value", b, m->bool_value);
        break;
    case GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE:
        PART("struct_value", dump_object, m->struct_value);
        break;
    case GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE:
        PART("list_value", dump_list, m->list_value);
        break;
    default:
        break;
    }
}

static void dump_known(const char *path, const Test__Values__Known *m)
{
    fprintf(out, "%s\n", path);
    PART("timestamp", dump_timestamp, m->timestamp);
    PART("duration", dump_duration, m->duration);
    PART("any", dump_any, m->any);
    PART("empty", dump_empty, m->empty);
    PART("status", dump_status, m->status);
    PART("number", dump_number, m->number);
    PART("text", dump_string, m->text);
    PART("mask", dump_mask, m->mask);
    PART("object", dump_object, m->object);
    PARTS("times", dump_timestamp, m->n_times, m->times);
}

static void dump_struct(const char *path, const Test__Values__Names__Struct *m)
{
    fprintf(out, "%s\n", path);
    LINE("union", i, m->union_);
}

static void dump_names(const char *path, const Test__Values__Names *m)
{
    fprintf(out, "%s\n", path);
    LINE("int", i, m->int_);
    LINE("delete", i, m->delete_);
    LINE("restrict", i, m->restrict_);
    LINE("constexpr", i, m->constexpr_);
    LINE("thread_local", i, m->thread_local_);
    LINE("errno", i, m->errno_);
    LINE("unix", i, m->unix_);
    LINE("camelCase", i, m->camelcase);
    LINE("SHOUTING", i, m->shouting);
    LINE("_leading", i, m->_leading);
    if (m->_class_case)
        LINE("class", i, m->class_);
    EACH("typeof", i, m->n_typeof_, m->typeof_);
    if (m->switch_case == TEST__VALUES__NAMES__SWITCH_CASE)
        LINE("case", i, m->case_);
    if (m->switch_case == TEST__VALUES__NAMES__SWITCH_DEFAULT)
        LINE("default", i, m->default_);
    LINE("template", e, m->template_);
    PART("this", dump_struct, m->this_);
    LINE("noexcept", i, m->noexcept_);
    LINE("alignas", i, m->alignas_);
}

static void dump_older(const char *path, const Test__Values__Older *m)
{
    fprintf(out, "%s\n", path);
    LINE("known", i, m->known);
}

static void dump_part(const char *path, const Test__Old__Part *m)
{
    fprintf(out, "%s\n", path);
    LINE("name", s, m->name);
}

static void dump_old(const char *path, const Test__Old__Old *m)
{
    fprintf(out, "%s\n", path);
    LINE("must", i, m->must);
    if (m->has_may)
        LINE("may", i, m->may);
    if (m->has_five)
        LINE("five", i, m->five);
    else if (m->five != 5)
        die("a default of proto2");
    if (m->text)
        LINE("text", s, m->text);
    LINE("hello", s, m->hello);
    if (m->has_raw)
        LINE("raw", y, m->raw);
    if (m->has_third)
        LINE("third", d, m->third);
    EACH("spread", i, m->n_spread, m->spread);
    EACH("packed", i, m->n_packed, m->packed);
    if (m->has_choice)
        LINE("choice", e, m->choice);
    PART("part", dump_part, m->part);
    PARTS("parts", dump_part, m->n_parts, m->parts);
    if (m->one_case == TEST__OLD__OLD__ONE_NUMBER)
        LINE("number", i, m->number);
    if (m->one_case == TEST__OLD__OLD__ONE_OTHER)
        PART("other", dump_part, m->other);
}

/* ---- messages made here ---- */

static uint64_t state;

static uint64_t any(void) /* xorshift64* of S. Vigna */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1d;
}

static uint64_t any_number(void)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     127,
                                     128,
                                     INT32_MAX,
                                     UINT32_MAX,
                                     INT64_MAX,
                                     UINT64_MAX,
                                     (uint64_t)INT32_MIN,
                                     (uint64_t)INT64_MIN,
                                     UINT64_MAX - 1};
    return any() % 3 ? any() >> any() % 64 : edges[any() % (sizeof edges / sizeof *edges)];
}

static char *any_string(void)
{
    static const char *const letters[] = {"a",  "Z",    "0",      " ", "\n",        "\"",
                                          "\\", "\x01", "\x7f",   "é", "ß",         "나",
                                          "루", "漢",   "\u202e", "😀", "\U0010ffff"};
    size_t n = any() % 4 ? any() % 8 : any() % 300;
    char *string = must(calloc(n + 1, 4));
    for (size_t i = 0; i < n; i++)
        strcat(string, letters[any() % (sizeof letters / sizeof *letters)]);
    return string;
}

static ProtobufCBinaryData any_bytes(void)
{
    ProtobufCBinaryData bytes = {any() % 4 ? any() % 8 : any() % 300, NULL};
    bytes.data = bytes.len ? must(malloc(bytes.len)) : NULL;
    for (size_t i = 0; i < bytes.len; i++)
        bytes.data[i] = (uint8_t)any();
    return bytes;
}

#define ANY_i(type) ((type)any_number())
#define ANY_u(type) ((type)any_number())
#define ANY_e(type) ((type)(int32_t)(any() % 2 ? any() % 3 : any_number()))
#define ANY_b(type) ((type)(any() % 2))
#define ANY_f(type) ((type)(int64_t)any_number() / 3)
#define ANY_d(type) ((type)(int64_t)any_number() / 7)
#define ANY_s(type) any_string()
#define ANY_y(type) any_bytes()

#define NEW(message, lower)                                                                        \
    message *m = must(malloc(sizeof *m));                                                          \
    lower##__init(m)

static size_t any_count(void)
{
    return any() % 3 ? 0 : any() % 20;
}

static Test__Values__Scalars *make_scalars_to(unsigned depth)
{
    NEW(Test__Values__Scalars, test__values__scalars);
#define MAKE_ONE(name, NAME, type, how)                                                            \
    if (any() % 2)                                                                                 \
        m->s_##name = ANY_##how(type);
    SCALARS(MAKE_ONE)
#define MAKE_ARRAY(name, type, how)                                                                \
    m->n_##name = any_count();                                                                     \
    m->name = m->n_##name ? must(calloc(m->n_##name, sizeof *m->name)) : NULL;                     \
    for (size_t i = 0; i < m->n_##name; i++)                                                       \
        m->name[i] = ANY_##how(type);
#define MAKE_MANY(name, NAME, type, how) MAKE_ARRAY(r_##name, type, how)
    SCALARS(MAKE_MANY)
#define MAKE_UNPACKED(name, NAME, type, how) MAKE_ARRAY(u_##name, type, how)
    NUMBERS(MAKE_UNPACKED)
#define MAKE_OPTIONAL(name, NAME, type, how)                                                       \
    if (any() % 2) {                                                                               \
        m->_o_##name##_case = TEST__VALUES__SCALARS___O_##NAME##_O_##NAME;                         \
        m->o_##name = any() % 4 ? ANY_##how(type) : m->o_##name;                                   \
    }
    NUMBERS(MAKE_OPTIONAL)
    if (any() % 2) {
        m->_o_string_case = TEST__VALUES__SCALARS___O_STRING_O_STRING;
        m->o_string = any_string();
    }
    if (any() % 2) {
        m->_o_bytes_case = TEST__VALUES__SCALARS___O_BYTES_O_BYTES;
        m->o_bytes = any_bytes();
    }
    unsigned choice = (unsigned)(any() % 20), n = 0;
#define MAKE_CHOICE(name, NAME, type, how)                                                         \
    if (choice == n++) {                                                                           \
        m->choice_case = TEST__VALUES__SCALARS__CHOICE_C_##NAME;                                   \
        m->c_##name = ANY_##how(type);                                                             \
    }
    SCALARS(MAKE_CHOICE)
    if (choice >= n && depth > 0) {
        m->choice_case = TEST__VALUES__SCALARS__CHOICE_C_MESSAGE;
        m->c_message = make_scalars_to(depth - 1);
    }
    m->last = (int32_t)any_number();
    return m;
}

static Test__Values__Scalars *make_scalars(void)
{
    return make_scalars_to(2);
}

static Other__Place__V1__Point *make_point(void)
{
    NEW(Other__Place__V1__Point, other__place__v1__point);
    m->x = (int32_t)any_number();
    m->y = (int32_t)any_number();
    return m;
}

/* Keys that differ: neighbours. */
static Test__Values__Maps *make_maps(void)
{
    NEW(Test__Values__Maps, test__values__maps);
    uint64_t first = any_number();
#define MAKE_MAP(name, Name, NAME, count, new_key, new_value)                                      \
    m->n_m_##name = (count);                                                                       \
    m->m_##name = must(calloc(m->n_m_##name + 1, sizeof *m->m_##name));                            \
    for (size_t i = 0; i < m->n_m_##name; i++) {                                                   \
        m->m_##name[i] = must(malloc(sizeof *m->m_##name[i]));                                     \
        *m->m_##name[i] = (Test__Values__Maps__##Name)TEST__VALUES__MAPS__##NAME##__INIT;          \
        m->m_##name[i]->key = new_key;                                                             \
        m->m_##name[i]->value = new_value;                                                         \
    }
#define NUMBERED(name, Name, NAME, type)                                                           \
    MAKE_MAP(name, Name, NAME, any_count(), (type)(first + i), (type)any_number())
    NUMBERED(int32, MInt32Entry, MINT32_ENTRY, int32_t)
    NUMBERED(int64, MInt64Entry, MINT64_ENTRY, int64_t)
    NUMBERED(uint32, MUint32Entry, MUINT32_ENTRY, uint32_t)
    NUMBERED(uint64, MUint64Entry, MUINT64_ENTRY, uint64_t)
    NUMBERED(sint32, MSint32Entry, MSINT32_ENTRY, int32_t)
    NUMBERED(sint64, MSint64Entry, MSINT64_ENTRY, int64_t)
    NUMBERED(fixed32, MFixed32Entry, MFIXED32_ENTRY, uint32_t)
    NUMBERED(fixed64, MFixed64Entry, MFIXED64_ENTRY, uint64_t)
    NUMBERED(sfixed32, MSfixed32Entry, MSFIXED32_ENTRY, int32_t)
    NUMBERED(sfixed64, MSfixed64Entry, MSFIXED64_ENTRY, int64_t)
    MAKE_MAP(bool, MBoolEntry, MBOOL_ENTRY, any() % 3, i == 1, any() % 2)
#define STRING_KEY must(strdup(text("%s%zu", i % 3 ? "나루" : "", i)))
    MAKE_MAP(string, MStringEntry, MSTRING_ENTRY, any_count(), STRING_KEY, any_string())
    MAKE_MAP(bytes, MBytesEntry, MBYTES_ENTRY, any_count(), STRING_KEY, any_bytes())
    MAKE_MAP(color, MColorEntry, MCOLOR_ENTRY, any_count(), STRING_KEY, ANY_e(Test__Values__Color))
    MAKE_MAP(float, MFloatEntry, MFLOAT_ENTRY, any_count(), STRING_KEY, ANY_f(float))
    MAKE_MAP(double, MDoubleEntry, MDOUBLE_ENTRY, any_count(), STRING_KEY, ANY_d(double))
    MAKE_MAP(point, MPointEntry, MPOINT_ENTRY, any_count(), STRING_KEY, make_point())
    return m;
}

static Test__Values__Tree *make_tree_to(unsigned depth)
{
    NEW(Test__Values__Tree, test__values__tree);
    m->name = any_string();
    if (depth > 0 && any() % 2)
        m->left = make_tree_to(depth - 1);
    if (depth > 0 && any() % 2)
        m->right = make_tree_to(depth - 1);
    m->n_others = depth > 0 ? any() % 3 : 0;
    m->others = must(calloc(m->n_others + 1, sizeof *m->others));
    for (size_t i = 0; i < m->n_others; i++)
        m->others[i] = make_tree_to(depth - 1);
    m->kind = (Other__Place__V1__Kind)(int32_t)any_number();
    if (any() % 2)
        m->point = make_point();
    if (depth > 0 && any() % 2)
        m->maybe = make_tree_to(depth - 1);
    if (any() % 2) {
        m->_number_case = TEST__VALUES__TREE___NUMBER_NUMBER;
        m->number = (int32_t)any_number();
    }
    if (any() % 2) {
        m->either_case = TEST__VALUES__TREE__EITHER_OTHER;
        m->other = make_point();
    }
    return m;
}

static Test__Values__Tree *make_tree(void)
{
    return make_tree_to(4);
}

static Test__Old__Old *make_old(void)
{
    NEW(Test__Old__Old, test__old__old);
    m->must = (int32_t)any_number();
    m->has_may = any() % 2;
    m->may = (int32_t)any_number();
    m->has_five = any() % 2;
    m->five = m->has_five ? (int32_t)any_number() : 5;
    if (any() % 2)
        m->text = any_string();
    if (any() % 2)
        m->hello = any_string();
    m->has_raw = any() % 2;
    if (m->has_raw)
        m->raw = any_bytes();
    m->has_third = any() % 2;
    m->third = ANY_d(double);
    MAKE_ARRAY(spread, int32_t, i)
    MAKE_ARRAY(packed, int32_t, i)
    m->has_choice = any() % 2;
    m->choice = TEST__OLD__OLD__CHOICE__A;
    if (any() % 2) {
        m->one_case = TEST__OLD__OLD__ONE_NUMBER;
        m->number = (int32_t)any_number();
    }
    return m;
}

/* ---- the calls ---- */

/* TYPE, what it is in C, the method */
#define TYPES(X)                                                                                   \
    X(scalars, Test__Values__Scalars, test__values__scalars, test_values_values_echo_scalars)      \
    X(maps, Test__Values__Maps, test__values__maps, test_values_values_echo_maps)                  \
    X(tree, Test__Values__Tree, test__values__tree, test_values_values_echo_tree)                  \
    X(known, Test__Values__Known, test__values__known, test_values_values_echo_known)              \
    X(names, Test__Values__Names, test__values__names, test_values_values_echo_names)              \
    X(older, Test__Values__Older, test__values__older, test_values_values_echo_older)              \
    X(empty, Google__Protobuf__Empty, google__protobuf__empty, test_values_values_echo_empty)      \
    X(any, Google__Protobuf__Any, google__protobuf__any, test_values_values_echo_any)              \
    X(timestamp, Google__Protobuf__Timestamp, google__protobuf__timestamp,                         \
      test_values_values_echo_timestamp)                                                           \
    X(status, Google__Rpc__Status, google__rpc__status, test_values_values_echo_status)            \
    X(point, Other__Place__V1__Point, other__place__v1__point, test_values_values_echo_point)      \
    X(old, Test__Old__Old, test__old__old, test_old_elder_echo)

#define HANDLE(name, type, lower, method)                                                          \
    static int handle_##name(naru_call *call, void *self, type *request)                           \
    {                                                                                              \
        (void)self;                                                                                \
        dump_##name("", request);                                                                  \
        return method##_reply(call, request);                                                      \
    }                                                                                              \
    static void *unpack_##name(size_t size, const uint8_t *data)                                   \
    {                                                                                              \
        return lower##__unpack(NULL, size, data);                                                  \
    }                                                                                              \
    static int call_##name(naru_client *client, const void *request, void **ret_reply)             \
    {                                                                                              \
        type *reply;                                                                               \
        int r = method(client, request, NULL, &reply);                                             \
        if (r >= 0)                                                                                \
            *ret_reply = reply;                                                                    \
        return r;                                                                                  \
    }
TYPES(HANDLE)

static void *make_it_scalars(void)
{
    return make_scalars();
}

static void *make_it_maps(void)
{
    return make_maps();
}

static void *make_it_tree(void)
{
    return make_tree();
}

static void *make_it_old(void)
{
    return make_old();
}

static const struct type {
    const char *name;
    void *(*unpack)(size_t size, const uint8_t *data);
    int (*call)(naru_client *client, const void *request, void **ret_reply);
    void *(*make)(void);
} types[] = {
#define ROW(name, type, lower, method) {#name, unpack_##name, call_##name, NULL},
    TYPES(ROW){"made-scalars", NULL, call_scalars, make_it_scalars},
    {"made-maps", NULL, call_maps, make_it_maps},
    {"made-tree", NULL, call_tree, make_it_tree},
    {"made-old", NULL, call_old, make_it_old},
};

static const struct test_values_values_handlers values_handlers = {
    .echo_scalars = handle_scalars,
    .echo_maps = handle_maps,
    .echo_tree = handle_tree,
    .echo_known = handle_known,
    .echo_names = handle_names,
    .echo_older = handle_older,
    .echo_empty = handle_empty,
    .echo_any = handle_any,
    .echo_timestamp = handle_timestamp,
    .echo_status = handle_status,
    .echo_point = handle_point,
};
static const struct test_old_elder_handlers old_handlers = {.echo = handle_old};

static void *serve(void *server)
{
    if (naru_server_run(server) < 0)
        die("naru_server_run");
    return NULL;
}

static void frame(const void *data, size_t size)
{
    uint32_t length = (uint32_t)size;
    fwrite(&length, sizeof length, 1, stdout);
    fwrite(data, 1, size, stdout);
}

static void print_schema(const naru_service *service)
{
    for (size_t i = 0; i < service->schema->n; i++) {
        const struct naru_schema_file *file = &service->schema->files[i];
        frame(file->name, strlen(file->name));
        frame(file->data, file->size);
    }
}

static void exchange(naru_client *client, const struct type *type, void *request)
{
    char *written = NULL;
    size_t size = 0;
    void *reply;
    if (!request)
        die("a message that Python has made cannot be unpacked");
    out = must(open_memstream(&written, &size));
    if (type->call(client, request, &reply) < 0)
        die("the call");
    fclose(out);
    frame(written, size);
    free(written);
    size = protobuf_c_message_get_packed_size(reply);
    uint8_t *packed = must(malloc(size + 1));
    protobuf_c_message_pack(reply, packed);
    frame(packed, size);
    free(packed);
    naru_protobuf_free(reply);
    naru_protobuf_free(request);
}

static void echo(naru_client *client, const struct type *type)
{
    uint32_t size;
    while (fread(&size, sizeof size, 1, stdin) == 1) {
        uint8_t *data = must(malloc(size + 1));
        if (fread(data, 1, size, stdin) != size)
            die("standard input ends early");
        void *request = type->unpack(size, data);
        free(data);
        exchange(client, type, request);
    }
}

int main(int argc, char **argv)
{
    const struct type *type = NULL;
    naru_server *server;
    naru_client *client;
    pthread_t thread;
    char url[64];
    for (size_t i = 0; argc > 1 && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, argv[1]) == 0)
            type = &types[i];
    /* fewer than calls are made: what is not given back is soon missed */
    const struct naru_client_options options = {.size = sizeof options, .max_calls = 4};
    naru_service values = test_values_values_service(&values_handlers);
    naru_service old = test_old_elder_service(&old_handlers);
    if (argc > 1 && strcmp(argv[1], "schema") == 0) {
        print_schema(&values);
        print_schema(&old);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (!type)
        die("no such type");
    const char *name = getenv("PROTO_NAME"); /* who gave it clears up if this program cannot */
    snprintf(url, sizeof url, "shm:%s", name ? name : "naru-test-values");
    if (naru_server_new(NULL, &server) < 0 || naru_server_add(server, &values, NULL) < 0 ||
        naru_server_add(server, &old, NULL) < 0 || naru_server_listen(server, url) < 0 ||
        naru_client_open(url, &options, &client) < 0)
        die(url);
    pthread_create(&thread, NULL, serve, server);
    if (type->make) {
        state = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
        for (unsigned long n = argc > 4 ? strtoul(argv[4], NULL, 10) : 1; n > 0; n--)
            exchange(client, type, type->make());
    } else {
        echo(client, type);
    }
    naru_client_close(client);
    naru_server_shutdown(server, 0);
    pthread_join(thread, NULL);
    naru_server_close(server);
    for (int i = 0; i < 64; i++)
        text(" ");
    return fflush(stdout) == 0 ? 0 : 1;
}
