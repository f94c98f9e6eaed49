/* SPDX-License-Identifier: MIT */
#include "protoc-gen-naru/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 100 };

static void *must(void *memory)
{
    if (!memory) {
        fprintf(stderr, "protoc-gen-naru: no memory\n");
        exit(1);
    }
    return memory;
}

void *make(size_t size)
{
    return must(calloc(1, size ? size : 1));
}

void *grow(void *array, size_t n, size_t size)
{
    if (n == 0 || (n & (n - 1)) == 0) { /* a power of two: it is full */
        if (n > SIZE_MAX / 2 / size)
            must(NULL);
        array = must(realloc(array, (n ? n * 2 : 1) * size));
    }
    memset((char *)array + n * size, 0, size);
    return array;
}

char *print(const char *format, ...)
{
    char *result;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&result, format, arguments) < 0)
        must(NULL);
    va_end(arguments);
    return result;
}

void begin_text(struct text *t)
{
    t->out = must(open_memstream(&t->data, &t->size));
}

char *end_text(struct text *t)
{
    if (fclose(t->out) != 0)
        must(NULL);
    return t->data;
}

void print_list(FILE *out, const char *head, const char *const *items, const char *tail)
{
    size_t indent = strlen(head) + 1, column = indent;
    fprintf(out, "%s(", head);
    for (size_t i = 0; items[i]; i++) {
        size_t length = strlen(items[i]) + (items[i + 1] ? 1 : strlen(tail) + 1);
        if (i > 0 && column + 1 + length > COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (i > 0) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%s%s", items[i], items[i + 1] ? "," : "");
        column += length;
    }
    fprintf(out, ")%s", tail);
}
