/* SPDX-License-Identifier: MIT */
#include "protoc-gen-naru/name.h"

#include "protoc-gen-naru/text.h"

#include <ctype.h>
#include <string.h>

enum { C_OPTIONS = 1019, C_PACKAGE = 6 }; /* of protobuf-c/protobuf-c.proto */

/* Those that protobuf-c knows, and those that it does not. */
static const char known[] =
    " and and_eq asm auto bitand bitor bool break case catch char class compl const "
    "const_cast continue default delete do double dynamic_cast else enum explicit extern "
    "false float for friend goto if inline int long mutable namespace new not not_eq "
    "operator or or_eq private protected public register reinterpret_cast return short "
    "signed sizeof static static_cast struct switch template this throw true try typedef "
    "typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq ";

static const char unknown[] =
    " alignas alignof char16_t char32_t char8_t co_await co_return co_yield concept "
    "consteval constexpr constinit decltype errno export i386 linux noexcept nullptr "
    "requires restrict static_assert thread_local typeof unix ";

/* The locale is not asked: what is a letter does not depend on it. */
static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static char to_lower(char c)
{
    return is_upper(c) ? (char)(c - 'A' + 'a') : c;
}

static char to_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static bool is_in(const char *words, const char *name)
{
    return !strchr(name, ' ') && strstr(words, print(" %s ", name));
}

bool is_keyword(const char *name)
{
    return is_in(known, name) || is_in(unknown, name);
}

bool is_identifier(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return *name && strspn(name, letters) == strlen(name) && !(*name >= '0' && *name <= '9');
}

/* An underscore goes before an upper-case letter that follows another kind, as protobuf-c has it:
 * GetURL is get_url, URLGet urlget. */
static void spell_part(FILE *out, enum spelling how, const char *part, size_t n)
{
    bool begins = true;
    for (size_t i = 0; i < n; i++) {
        if (how == CAMEL) {
            if (part[i] != '_')
                fputc(begins ? to_upper(part[i]) : part[i], out);
            begins = part[i] == '_';
        } else {
            if (is_upper(part[i]) && i > 0 && !is_upper(part[i - 1]))
                fputc('_', out);
            fputc(how == LOWER ? to_lower(part[i]) : to_upper(part[i]), out);
        }
    }
}

char *spell(enum spelling how, const char *name, const char *between)
{
    struct text t;
    bool first = true;
    begin_text(&t);
    while (*name) {
        size_t n = strcspn(name, ".");
        if (n > 0) {
            fputs(first ? "" : between, t.out);
            spell_part(t.out, how, name, n);
            first = false;
        }
        name += n + (name[n] == '.');
    }
    return end_text(&t);
}

static char *lower_case(const char *name)
{
    char *lower = print("%s", name);
    for (char *c = lower; *c; c++)
        *c = to_lower(*c);
    return lower;
}

char *field_name(const char *name)
{
    char *lower = lower_case(name);
    return is_keyword(lower) ? print("%s_", lower) : lower;
}

char *eased_name(const char *name)
{
    return print("%s%s", name, is_in(unknown, lower_case(name)) ? "_" : "");
}

char *member_name(const char *name)
{
    char *lower = spell(LOWER, name, "_");
    return is_keyword(lower) ? print("%s_", lower) : lower;
}

char *without_suffix(const char *file_name)
{
    static const char *const suffixes[] = {".protodevel", ".proto"};
    size_t n = strlen(file_name);
    for (size_t i = 0; i < 2; i++) {
        size_t m = strlen(suffixes[i]);
        if (n > m && strcmp(file_name + n - m, suffixes[i]) == 0)
            return print("%.*s", (int)(n - m), file_name);
    }
    return print("%s", file_name);
}

/* The length of a length-prefixed field's value, and where it begins. */
static const uint8_t *value(const uint8_t *at, const uint8_t *end, size_t *ret_size)
{
    uint64_t size = 0;
    for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
        size |= (uint64_t)(*at & 0x7f) << shift;
        if (*at++ < 0x80) {
            if (size > (uint64_t)(end - at))
                return NULL;
            *ret_size = (size_t)size;
            return at;
        }
    }
    return NULL;
}

/* What is not known of options stays in them as bytes. Those of protobuf-c's are booleans and
 * strings in order of their numbers, each tag one byte. */
char *c_option(const ProtobufCMessage *options, unsigned field)
{
    for (unsigned i = 0; options && i < options->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *f = &options->unknown_fields[i];
        if (f->tag != C_OPTIONS || f->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
            continue;
        size_t size;
        const uint8_t *end = f->data + f->len, *at = value(f->data, end, &size);
        while (at && at < end) {
            unsigned tag = *at++;
            if ((tag & 7) == PROTOBUF_C_WIRE_TYPE_VARINT) {
                while (at < end && *at++ >= 0x80)
                    ;
            } else if ((tag & 7) == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
                at = value(at, end, &size);
                if (at && tag >> 3 == field)
                    return print("%.*s", (int)size, (const char *)at);
                at = at ? at + size : NULL;
            } else {
                break;
            }
        }
    }
    return NULL;
}

const char *with_c_package(const File *file, const char *full_name)
{
    const char *package = str(file->package);
    const char *c_package =
        file->options ? c_option((const ProtobufCMessage *)file->options, C_PACKAGE) : NULL;
    if (!c_package)
        return full_name;
    full_name += *full_name == '.';
    return print("%s%s%s", c_package, *package ? "" : ".", full_name + strlen(package));
}
