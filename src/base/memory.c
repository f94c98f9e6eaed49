/* SPDX-License-Identifier: MIT */
/* memory.c - allocation, and the hook by which tests make calls fail. */
#include "base/memory.h"

#include "base/error.h"
#include "base/fault.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
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

void *naru__realloc(void *memory, size_t size)
{
    return checked(naru__fault_at("alloc") < 0 ? NULL : realloc(memory, size), size);
}

enum { LARGE = 65536, LARGEST = 1 << 20, SPARES = 4 };
static _Atomic(void *) spares[SPARES];

void *naru__large_alloc(size_t size)
{
    bool fails = size >= LARGE && size <= LARGEST && naru__fault_at("alloc") < 0;
    if (size < LARGE || size > LARGEST || fails)
        return fails ? checked(NULL, size) : naru__alloc_raw(size);
    for (int i = 0; i < SPARES; i++) {
        /* acquire: pairs with the release of whoever has freed it */
        void *spare = atomic_exchange_explicit(&spares[i], NULL, memory_order_acquire);
        if (spare && malloc_usable_size(spare) >= size)
            return spare;
        naru__large_free(spare);
    }
    return checked(malloc(size), size);
}

void naru__large_free(void *memory)
{
    size_t size = memory ? malloc_usable_size(memory) : 0;
    /* release: pairs with the acquire above; what the last owner did with it is over */
    for (int i = 0; i < SPARES && size >= LARGE && size <= LARGEST + LARGE; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&spares[i], &none, memory, memory_order_release,
                                                    memory_order_relaxed))
            return;
    }
    free(memory);
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
