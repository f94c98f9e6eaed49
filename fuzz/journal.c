/* SPDX-License-Identifier: MIT */
/* journal.c - the records of a journal's segment, and its header, are any bytes. With the first
 * bit of the first byte records are given the check sums and sequences that they need, for a fuzzer
 * does not find them: what lies behind is to be reached. */
#include "shm/journal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEED = 5, FRONT = NARU_SEGMENT_RECORDS_AT };

static void seal(uint8_t *segment, size_t n)
{
    uint64_t sequence = 1;
    for (size_t at = FRONT; n - at >= sizeof(struct naru_record);) {
        struct naru_record *r = (void *)(segment + at);
        if (r->size > n - at - sizeof *r || naru__record_room(r->size) > n - at)
            return;
        r->sequence = sequence++;
        naru__record_seal(r, SEED);
        at += (size_t)naru__record_room(r->size);
    }
}

static void read_segment(const uint8_t *segment, size_t n)
{
    uint64_t at = FRONT, sequence = 1;
    for (;;) {
        struct naru_record r;
        while (naru__record_check(segment, n, at, SEED, sequence)) {
            memcpy(&r, segment + at, sizeof r);
            at += naru__record_room(r.size);
            sequence++;
            if (at > n || r.type > INT32_MAX)
                abort();
        }
        uint64_t end = naru__segment_used(segment, at, n);
        uint64_t next = naru__record_search(segment, n, at, SEED, sequence);
        if (end < at || end > n)
            abort();
        if (next == 0)
            return;
        memcpy(&r, segment + next, sizeof r);
        if (next < at || r.sequence <= sequence ||
            !naru__record_check(segment, n, next, SEED, r.sequence))
            abort();
        at = next;
        sequence = r.sequence;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct naru_segment_header header;
    const char *why = NULL;
    if (size == 0)
        return 0;
    if (size > sizeof header) {
        memcpy(&header, data + 1, sizeof header);
        if (data[0] & 2)
            naru__segment_seal(&header);
        if ((naru__segment_check(&header, 1, size, &why) < 0) != (why != NULL))
            abort();
    }
    size_t n = FRONT + size - 1;
    uint8_t *segment = calloc(1, n); /* no byte more, so that a read behind it is seen */
    if (!segment)
        return 0;
    memcpy(segment + FRONT, data + 1, size - 1);
    if (data[0] & 1)
        seal(segment, n);
    read_segment(segment, n);
    free(segment);
    return 0;
}
