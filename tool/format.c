/* SPDX-License-Identifier: MIT */
/* format.c - messages for people and programs. */
#include "tool/format.h"

#include "tool/print.h"

#include <stdlib.h>
#include <string.h>

static char *to_hex(const uint8_t *data, size_t n)
{
    static const char digit[] = "0123456789abcdef";
    char *hex = malloc(2 * n + 2);
    if (!hex)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        hex[2 * i] = digit[data[i] >> 4];
        hex[2 * i + 1] = digit[data[i] & 15];
    }
    hex[2 * n] = '\0';
    return hex;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static char *from_hex(const char *hex, size_t n, size_t *ret_size, const char **ret_why)
{
    char *data = malloc(n / 2 + 1);
    *ret_why = data ? "hex has two digits a byte, 0-9 and a-f" : "no memory";
    for (size_t i = 0; data && i < n; i += 2) {
        int high = nibble(hex[i]), low = i + 1 < n ? nibble(hex[i + 1]) : -1;
        if (high < 0 || low < 0) {
            free(data);
            return NULL;
        }
        data[i / 2] = (char)(high << 4 | low);
    }
    *ret_size = n / 2;
    return data;
}

static char *to_json(const struct naru_message *m)
{
    json_t *o = json_pack("{s:I, s:I, s:I, s:I}", "type", (json_int_t)m->info.type, "size",
                          (json_int_t)m->size, "sequence", (json_int_t)m->info.sequence, "sender",
                          (json_int_t)m->info.sender);
    if (m->info.flags & NARU_REDELIVERED)
        json_object_set_new(o, "redelivered", json_true());
    if (m->info.missed)
        json_object_set_new(o, "missed", json_integer((json_int_t)m->info.missed));
    if (m->info.time)
        json_object_set_new(o, "time_ns", json_integer((json_int_t)m->info.time));
    json_t *text = json_stringn(m->size ? m->data : "", m->size);
    if (text) {
        json_object_set_new(o, "text", text);
    } else {
        char *hex = to_hex(m->data, m->size);
        json_object_set_new(o, "hex", json_string(hex));
        free(hex);
    }
    char *line = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return line;
}

char *format_message(enum format format, const struct naru_message *m, size_t *ret_size)
{
    char *out;
    size_t n = 0;
    if (format == FORMAT_RAW || format == FORMAT_TEXT) {
        n = m->size;
        out = malloc(n + 1);
        if (out && n)
            memcpy(out, m->data, n);
    } else {
        out = format == FORMAT_HEX ? to_hex(m->data, m->size) : to_json(m);
        char *grown = out ? realloc(out, (n = strlen(out)) + 2) : NULL;
        if (!grown)
            free(out);
        out = grown;
    }
    if (out && format != FORMAT_RAW)
        out[n++] = '\n';
    *ret_size = n;
    return out;
}

static char *copy(const char *data, size_t n, size_t *ret_size, const char **ret_why)
{
    char *c = malloc(n + 1);
    *ret_why = "no memory";
    if (c)
        memcpy(c, data, n);
    *ret_size = n;
    return c;
}

static char *from_json(const char *line, size_t n, size_t *ret_size, uint32_t *type,
                       const char **ret_why)
{
    json_t *o = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    const json_t *text = json_object_get(o, "text"), *hex = json_object_get(o, "hex");
    const json_t *t = json_object_get(o, "type");
    char *data = NULL;
    *ret_why =
        "a JSON message is {\"type\": T, \"text\": \"...\"} or with \"hex\" instead of \"text\"";
    if (t &&
        (!json_is_integer(t) || json_integer_value(t) < 1 || json_integer_value(t) > NARU_TYPE_MAX))
        *ret_why = "\"type\" is a number from 1 to 2147483647";
    else if (json_is_string(text) && !hex)
        data = copy(json_string_value(text), json_string_length(text), ret_size, ret_why);
    else if (json_is_string(hex) && !text)
        data = from_hex(json_string_value(hex), json_string_length(hex), ret_size, ret_why);
    if (data && t)
        *type = (uint32_t)json_integer_value(t);
    json_decref(o);
    return data;
}

char *parse_message(enum format format, const char *line, size_t n, size_t *ret_size,
                    uint32_t *type, const char **ret_why)
{
    if (format == FORMAT_HEX)
        return from_hex(line, n, ret_size, ret_why);
    if (format == FORMAT_JSON)
        return from_json(line, n, ret_size, type, ret_why);
    return copy(line, n, ret_size, ret_why);
}
