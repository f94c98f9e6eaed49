/* SPDX-License-Identifier: MIT */
/* memory.c - allocation, and the hook by which tests make calls fail. */
#include "base/memory.h"

#include "base/error.h"
#include "base/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int (*naru__fault)(const char *call);

static void *checked(void *memory, size_t size)
{
    if (!memory)
        naru__fail(-ENOMEM, "no memory for %zu bytes", size);
    return memory;
}

void *naru__alloc(size_t size)
{
    return checked(naru__fault_at("alloc") < 0 ? NULL : calloc(1, size), size);
}

void *naru__alloc_raw(size_t size)
{
    return checked(naru__fault_at("alloc") < 0 ? NULL : malloc(size), size);
}

char *naru__copy_text(const char *text, size_t n)
{
    char *copy = naru__alloc_raw(n + 1);
    if (copy) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}
