/* SPDX-License-Identifier: MIT */
/* text.h - memory and text. What is made lives until the end of the program, which is short. */
#ifndef PROTOC_GEN_NARU_TEXT_H
#define PROTOC_GEN_NARU_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* Zeroed. No memory ends the program. */
void *make(size_t size);
/* One more element of this size behind n of them, zeroed. */
void *grow(void *array, size_t n, size_t size);

char *print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A text that grows by fprintf(t->out, ...); end_text gives it. */
struct text {
    FILE *out;
    char *data;
    size_t size;
};
void begin_text(struct text *t);
char *end_text(struct text *t);

/* "head(first, second" and so on, then tail; broken at 100 columns behind a comma. */
void print_list(FILE *out, const char *head, const char *const *items, const char *tail);

#endif
