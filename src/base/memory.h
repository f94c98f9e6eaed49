/* SPDX-License-Identifier: MIT */
/* memory.h - allocation that can be made to fail. Frees go through free(3). */
#ifndef NARU_BASE_MEMORY_H
#define NARU_BASE_MEMORY_H

#include "base/private.h"

#include <stddef.h>

/* Zeroed memory of size bytes; NULL with naru_why() set when there is none. */
NARU__EXPORTED void *naru__alloc(size_t size);

/* As naru__alloc, with undefined contents. */
NARU__EXPORTED void *naru__alloc_raw(size_t size);

/* As realloc(3). */
NARU__EXPORTED void *naru__realloc(void *memory, size_t size);

/* The same for what is large, needed again and again, and soon free: a fresh page costs more than
 * its copy, so this process keeps a few freed ones, of 4 MiB together at most. free(3) does as
 * well. */
NARU__EXPORTED void *naru__large_alloc(size_t size);
NARU__EXPORTED void naru__large_free(void *memory);

/* A copy of n bytes and a NUL after them; NULL with naru_why() set. */
NARU__EXPORTED char *naru__copy_text(const char *text, size_t n);

#endif
