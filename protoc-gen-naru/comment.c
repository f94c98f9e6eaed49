/* SPDX-License-Identifier: MIT */
#include "protoc-gen-naru/comment.h"

#include "protoc-gen-naru/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The character of UTF-8 that begins here: its length and number, 1 and 0 if it is none. */
static size_t character(const char *at, size_t n, uint32_t *ret_number)
{
    const uint8_t *b = (const uint8_t *)at;
    size_t length = b[0] < 0x80 ? 1 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    *ret_number = 0;
    if (length > n || (length > 1 && (b[0] < 0xc2 || b[0] > 0xf4)))
        return 1;
    uint32_t number = length == 1 ? b[0] : b[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return 1;
        number = number << 6 | (b[i] & 0x3f);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (number < least[length] || number > 0x10ffff || (number >= 0xd800 && number < 0xe000))
        return 1;
    *ret_number = number;
    return length;
}

/* Marks that turn the direction of writing, which would show other code than is compiled. */
static bool is_direction(uint32_t number)
{
    return (number >= 0x202a && number <= 0x202e) || (number >= 0x2066 && number <= 0x2069);
}

char *harmless(const char *text, size_t n)
{
    struct text t;
    char before = 0;
    begin_text(&t);
    for (size_t i = 0, length; i < n; i += length) {
        uint32_t number;
        length = character(text + i, n - i, &number);
        if (number < 0x20 || number == 0x7f || is_direction(number)) {
            fputc(text[i] == '\t' ? ' ' : '?', t.out);
            before = 0;
            continue;
        }
        bool closes = before == '*' && text[i] == '/', opens = before == '/' && text[i] == '*';
        if (closes || opens || (before == '?' && text[i] == '/')) /* the last: a trigraph */
            fputc(' ', t.out);
        fwrite(text + i, 1, length, t.out);
        before = text[i];
    }
    return end_text(&t);
}

static void add_lines(FILE *out, const char *text, bool *first)
{
    while (*text) {
        size_t line = strcspn(text, "\n"), n = line;
        const char *begin = text;
        if (n > 0 && *begin == ' ') {
            begin++;
            n--;
        }
        while (n > 0 && strchr(" \t\r", begin[n - 1]))
            n--;
        text += line + (text[line] == '\n');
        if (n == 0 && (*first || !*text)) /* none at the beginning, none at the end */
            continue;
        fprintf(out, *first ? "/* %s" : n ? "\n * %s" : "\n *%s", harmless(begin, n));
        *first = false;
    }
}

void print_comment(FILE *out, struct place p, const char *more)
{
    const Google__Protobuf__SourceCodeInfo__Location *l = location(p);
    bool first = true;
    if (l) {
        add_lines(out, str(l->leading_comments), &first);
        add_lines(out, str(l->trailing_comments), &first);
    }
    add_lines(out, str(more), &first);
    if (!first)
        fputs(" */\n", out);
}
