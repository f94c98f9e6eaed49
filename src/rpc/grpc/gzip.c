/* SPDX-License-Identifier: MIT */
/* gzip.c - zlib's streams, for whole messages. A message that promises little and holds much is
 * stopped at the limit, before its memory is asked for. */
#include "rpc/grpc/gzip.h"

#include "base/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { WINDOW = 15, GZIP = 16, EITHER = 32 };

static void *take_memory(void *unused, unsigned n, unsigned size)
{
    (void)unused;
    return naru__alloc_raw((size_t)n * size);
}

static void give_memory(void *unused, void *memory)
{
    (void)unused;
    free(memory);
}

int naru__gzip(const void *data, size_t size, struct naru_buffer *to)
{
    z_stream z = {.zalloc = take_memory, .zfree = give_memory};
    int r =
        deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW + GZIP, 8, Z_DEFAULT_STRATEGY);
    if (r != Z_OK)
        return -ENOMEM;
    size_t most = deflateBound(&z, (uLong)size);
    if (naru__buffer_need(to, to->used + most) < 0) {
        (void)deflateEnd(&z);
        return -ENOMEM;
    }
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size; /* at most 1 GiB, as every message */
    z.next_out = to->data + to->used;
    z.avail_out = (uInt)most;
    r = deflate(&z, Z_FINISH);
    to->used += z.total_out;
    (void)deflateEnd(&z);
    return r == Z_STREAM_END ? 0 : -ENOMEM;
}

int naru__gunzip(const void *data, size_t size, size_t most, uint8_t **ret_data, size_t *ret_size)
{
    enum { FIRST = 4096 };
    z_stream z = {.zalloc = take_memory, .zfree = give_memory};
    uint8_t *out = NULL;
    size_t room = 0;
    int r = inflateInit2(&z, WINDOW + EITHER) == Z_OK ? Z_OK : Z_MEM_ERROR;
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    while (r == Z_OK) {
        if (z.total_out == room) { /* one byte more than allowed tells that it is too much */
            size_t more = room ? room * 2 : size > FIRST ? size * 2 : FIRST;
            more = more > most + 1 ? most + 1 : more;
            uint8_t *grown = room > most ? NULL : naru__large_alloc(more);
            if (!grown) {
                r = room > most ? Z_BUF_ERROR : Z_MEM_ERROR;
                break;
            }
            if (room)
                memcpy(grown, out, room);
            naru__large_free(out);
            out = grown;
            room = more;
        }
        z.next_out = out + z.total_out;
        z.avail_out = (uInt)(room - z.total_out);
        r = inflate(&z, Z_NO_FLUSH);
        if (r == Z_BUF_ERROR) /* it ends too early */
            r = Z_DATA_ERROR;
    }
    size_t got = z.total_out;
    bool whole = z.avail_in == 0;
    (void)inflateEnd(&z);
    if (r == Z_STREAM_END && whole && got <= most) {
        *ret_data = out;
        *ret_size = got;
        return 0;
    }
    naru__large_free(out);
    if (r == Z_MEM_ERROR)
        return -ENOMEM;
    return r == Z_BUF_ERROR || got > most ? -EMSGSIZE : -EPROTO;
}
