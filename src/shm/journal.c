/* SPDX-License-Identifier: MIT */
/* journal.c - what is a whole record, and a segment's whole header. Whatever stands in the file is
 * read once, and believed when it is in bounds and its check sum is right. */
#include "shm/journal.h"

#include "base/crc32c.h"

#include <errno.h>
#include <string.h>

enum { CRC = sizeof(uint32_t) }; /* the field in front, which the sum does not cover */

static uint32_t sum_of(const struct naru_record *r, uint32_t seed, uint32_t size)
{
    return naru__crc32c(seed, (const char *)r + CRC, sizeof *r - CRC + size);
}

uint32_t naru__record_sum(const struct naru_record *header, uint32_t seed)
{
    return sum_of(header, seed, 0);
}

void naru__record_seal(struct naru_record *r, uint32_t seed)
{
    r->crc = sum_of(r, seed, r->size);
}

static bool whole(const void *segment, uint64_t n, uint64_t at, uint32_t seed, uint64_t *sequence,
                  bool exactly)
{
    const struct naru_record *r = (const void *)((const char *)segment + at);
    struct naru_record header;
    if (at % 8 || at < NARU_SEGMENT_RECORDS_AT || at > n || n - at < sizeof *r)
        return false;
    memcpy(&header, r, sizeof header);
    if (exactly ? header.sequence != *sequence : header.sequence <= *sequence)
        return false;
    if (header.type > INT32_MAX || header.size > n - at - sizeof *r ||
        naru__record_room(header.size) > n - at)
        return false;
    if (sum_of(r, seed, header.size) != header.crc)
        return false;
    *sequence = header.sequence;
    return true;
}

bool naru__record_check(const void *segment, uint64_t n, uint64_t at, uint32_t seed,
                        uint64_t sequence)
{
    return whole(segment, n, at, seed, &sequence, true);
}

uint64_t naru__record_search(const void *segment, uint64_t n, uint64_t at, uint32_t seed,
                             uint64_t after)
{
    /* bytes that are summed up in vain: each place could claim to be a record as long as the rest,
     * and who wrote that would keep its readers busy for hours. Short ones are always tried. */
    enum { TIMES = 16, SHORT = 4096 };
    uint64_t work = n * TIMES;
    /* a segment has no more records than that, so a sequence far above is none */
    uint64_t most = after + n / sizeof(struct naru_record) + 1;
    for (at = (at + 7) & ~UINT64_C(7); at + sizeof(struct naru_record) <= n; at += 8) {
        uint64_t sequence = after;
        struct naru_record r;
        memcpy(&r, (const char *)segment + at, sizeof r);
        if (r.sequence <= after || r.sequence > most || (r.size > SHORT && r.size > work))
            continue;
        if (whole(segment, n, at, seed, &sequence, false))
            return at;
        if (r.size <= n - at)
            work -= work < r.size ? work : r.size;
    }
    return 0;
}

uint64_t naru__segment_used(const void *segment, uint64_t at, uint64_t n)
{
    static const uint8_t zeroes[512];
    const uint8_t *bytes = segment;
    while (n > at && n - at >= sizeof zeroes &&
           memcmp(bytes + n - sizeof zeroes, zeroes, sizeof zeroes) == 0)
        n -= sizeof zeroes;
    while (n > at && bytes[n - 1] == 0)
        n--;
    return n > at ? n : at;
}

void naru__segment_seal(struct naru_segment_header *h)
{
    h->crc = naru__crc32c(0, h, offsetof(struct naru_segment_header, crc));
}

int naru__segment_check(const struct naru_segment_header *h, uint64_t number, uint64_t file,
                        const char **ret_why)
{
    const char *why = NULL;
    if (h->magic != NARU_JOURNAL_MAGIC)
        why = "it has another magic";
    else if (h->version != NARU_JOURNAL_VERSION)
        why = "it has the layout of another version";
    else if (h->crc != naru__crc32c(0, h, offsetof(struct naru_segment_header, crc)))
        why = "the check sum of its header is wrong";
    else if (h->bytes > file)
        why = "it was made shorter";
    int r = why ? -EPROTO : 0;
    if (r == 0 && h->number != number) {
        why = "it is another segment's now";
        r = -ENOENT;
    }
    *ret_why = why;
    return r;
}
