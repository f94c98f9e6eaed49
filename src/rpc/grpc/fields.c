/* SPDX-License-Identifier: MIT */
/* fields.c - texts of gRPC's header fields. */
#include "rpc/grpc/fields.h"

#include "naru/service.h"

#include <stdio.h>

/* ---- grpc-timeout ---- */

static const struct {
    char unit;
    int64_t ns;
} units[] = {
    {'n', 1},
    {'u', 1000},
    {'m', 1000000},
    {'S', 1000000000},
    {'M', INT64_C(60000000000)},
    {'H', INT64_C(3600000000000)},
};
enum { UNITS = sizeof units / sizeof *units, MOST_DIGITS = 8 };

size_t naru__grpc_timeout_text(int64_t ns, char out[GRPC_TIMEOUT_TEXT])
{
    enum { MOST = 99999999 };
    int64_t value = ns > 0 ? ns : 1; /* 0 is not allowed, and what has passed has passed */
    size_t i = 0;
    while (i + 1 < UNITS && value > MOST) {
        i++;
        value = ns / units[i].ns + (ns % units[i].ns != 0);
    }
    return (size_t)snprintf(out, GRPC_TIMEOUT_TEXT, "%u%c", (unsigned)(value > MOST ? MOST : value),
                            units[i].unit);
}

int64_t naru__grpc_timeout(const char *text, size_t size)
{
    int64_t value = 0;
    if (size < 2 || size > MOST_DIGITS + 1)
        return -1;
    for (size_t i = 0; i + 1 < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    for (size_t i = 0; i < UNITS; i++)
        if (units[i].unit == text[size - 1])
            return value > (INT64_MAX - 1) / units[i].ns ? INT64_MAX - 1 : value * units[i].ns;
    return -1;
}

/* ---- grpc-message ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t naru__grpc_escape(const char *text, size_t size, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c <= 0x7e && c != '%') {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = digits[c >> 4];
        out[n++] = digits[c & 15];
    }
    return n;
}

size_t naru__grpc_unescape(const char *text, size_t size, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        int high = text[i] == '%' && i + 2 < size ? hex(text[i + 1]) : -1;
        int low = high >= 0 ? hex(text[i + 2]) : -1;
        out[n++] = low >= 0 ? (char)(high << 4 | low) : text[i];
        i += low >= 0 ? 2 : 0;
    }
    return n;
}

int naru__grpc_code(const char *text, size_t size)
{
    int code = 0;
    if (size == 0 || size > 5)
        return -1;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        code = code * 10 + (text[i] - '0');
    }
    return code;
}

/* ---- base64 ---- */

size_t naru__base64(const uint8_t *data, size_t size, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t three = (uint32_t)data[i] << 16 | (uint32_t)(left > 1 ? data[i + 1] : 0) << 8 |
                         (uint32_t)(left > 2 ? data[i + 2] : 0);
        for (size_t k = 0; k < (left > 2 ? 4 : left + 1); k++)
            out[n++] = digits[three >> (18 - 6 * k) & 63];
    }
    return n;
}

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int64_t naru__base64_decode(const char *text, size_t size, uint8_t *out)
{
    size_t n = 0;
    uint32_t bits = 0;
    if (size % 4 == 0 && size > 0 && text[size - 1] == '=')
        size -= text[size - 2] == '=' ? 2 : 1;
    if (size % 4 == 1)
        return -1;
    for (size_t i = 0; i < size; i++) {
        int six = sextet(text[i]);
        if (six < 0)
            return -1;
        bits = bits << 6 | (uint32_t)six;
        if (i % 4 != 0)
            out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return (int64_t)n;
}

/* ---- a status where there was none ---- */

int naru__grpc_of_http(int status)
{
    switch (status) {
    case 400:
        return NARU_STATUS_INTERNAL;
    case 401:
        return NARU_STATUS_UNAUTHENTICATED;
    case 403:
        return NARU_STATUS_PERMISSION_DENIED;
    case 404:
        return NARU_STATUS_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return NARU_STATUS_UNAVAILABLE;
    default:
        return NARU_STATUS_UNKNOWN;
    }
}

int naru__grpc_of_reset(uint32_t code)
{
    enum { REFUSED_STREAM = 7, CANCEL = 8, CALM = 11, INADEQUATE = 12, HTTP_1_1 = 13 };
    switch (code) {
    case REFUSED_STREAM:
        return NARU_STATUS_UNAVAILABLE;
    case CANCEL:
        return NARU_STATUS_CANCELLED;
    case CALM:
        return NARU_STATUS_RESOURCE_EXHAUSTED;
    case INADEQUATE:
        return NARU_STATUS_PERMISSION_DENIED;
    case HTTP_1_1:
        return NARU_STATUS_UNKNOWN;
    default:
        return NARU_STATUS_INTERNAL;
    }
}
