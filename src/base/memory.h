/* SPDX-License-Identifier: MIT */
/* memory.h - allocation that can be made to fail. Frees go through free(3). */
#ifndef NARU_BASE_MEMORY_H
#define NARU_BASE_MEMORY_H

#include <stddef.h>

/* Zeroed memory of size bytes; NULL with naru_why() set when there is none. */
void *naru__alloc(size_t size);

/* As naru__alloc, with undefined contents. */
void *naru__alloc_raw(size_t size);

/* A copy of n bytes and a NUL after them; NULL with naru_why() set. */
char *naru__copy_text(const char *text, size_t n);

#endif
