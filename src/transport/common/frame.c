/* SPDX-License-Identifier: MIT */
/* frame.c - headers to bytes and back. Bytes come from anybody: each field is read once, into a
 * local, and checked before it is used. */
#include "transport/common/frame.h"

#include "base/error.h"
#include "naru/channel.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}
static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static bool plausible(const struct naru_frame *f)
{
    bool message = f->kind >= FRAME_WHOLE && f->kind <= FRAME_END;
    if (message && (f->type == 0 || f->type > NARU_TYPE_MAX))
        return false;
    if (f->size > FRAME_PIECE || f->left > NARU_MESSAGE_MAX ||
        (uint64_t)f->size + f->left > NARU_MESSAGE_MAX)
        return false;
    switch (f->kind) {
    case FRAME_HELLO:
    case FRAME_BYE:
        return f->size <= 1024 && f->left == 0;
    case FRAME_WHOLE:
        return f->left == 0;
    case FRAME_FIRST: /* 0: an empty message, where no write is atomic */
        return f->size > 0 || f->left == 0;
    case FRAME_MORE:
        return f->size > 0;
    case FRAME_END:
        return f->size == 1 && f->left == 0;
    case FRAME_PARCEL:
        return f->size == FRAME_PARCEL_SIZE && f->left == 0;
    default:
        return false;
    }
}

int naru__frame_decode(const uint8_t in[FRAME_HEADER], struct naru_frame *ret_frame)
{
    uint64_t a = get64(in), b = get64(in + 8), c = get64(in + 16), d = get64(in + 24);
    if ((a & 0xffff) != FRAME_MAGIC || naru__frame_sum(a, b, c, d) != 0)
        return -EPROTO;
    const struct naru_frame frame = {
        .kind = (uint8_t)(a >> 16),
        .type = (uint32_t)(a >> 32),
        .size = (uint32_t)b,
        .left = (uint32_t)(b >> 32),
        .signature = (uint32_t)c,
        .sender = (uint32_t)(c >> 32),
        .sequence = d,
    };
    if (!plausible(&frame))
        return -EPROTO;
    *ret_frame = frame;
    return 0;
}

void naru__frame_parcel(uint32_t n, uint32_t sender, uint8_t out[FRAME_HEADER + FRAME_PARCEL_SIZE])
{
    const struct naru_frame frame = {
        .kind = FRAME_PARCEL, .size = FRAME_PARCEL_SIZE, .sender = sender};
    naru__frame_encode(&frame, out);
    n = htole32(n);
    memcpy(out + FRAME_HEADER, &n, sizeof n);
}

uint32_t naru__frame_parcel_count(const uint8_t *payload)
{
    return get32(payload);
}

static const char hello_magic[8] = "naru/1\0";

void naru__hello_encode(const struct naru_hello *hello,
                        uint8_t out[FRAME_HEADER + FRAME_HELLO_SIZE])
{
    const struct naru_frame frame = {
        .kind = FRAME_HELLO, .size = FRAME_HELLO_SIZE, .sender = hello->pid};
    uint8_t *p = out + FRAME_HEADER;
    naru__frame_encode(&frame, out);
    memcpy(p, hello_magic, sizeof hello_magic);
    naru__frame_put64(p + 8, hello->version | (uint64_t)hello->header << 32);
    naru__frame_put64(p + 16, hello->max_message);
    naru__frame_put64(p + 24, hello->pid | (uint64_t)hello->flags << 32);
}

int naru__hello_decode(const uint8_t *payload, size_t size, struct naru_hello *ret_hello)
{
    if (size < FRAME_HELLO_SIZE || memcmp(payload, hello_magic, sizeof hello_magic) != 0)
        return naru__fail(-EPROTO, "the other end's greeting is not naru's");
    const struct naru_hello hello = {
        .version = get32(payload + 8),
        .header = get32(payload + 12),
        .max_message = get64(payload + 16),
        .pid = get32(payload + 24),
        .flags = get32(payload + 28),
    };
    if (hello.version != FRAME_VERSION || hello.header != FRAME_HEADER)
        return naru__fail(-EPROTO,
                          "the other end speaks version %" PRIu32 " with headers of %" PRIu32
                          " bytes, this library version %d with %d: bring both to one release",
                          hello.version, hello.header, FRAME_VERSION, FRAME_HEADER);
    *ret_hello = hello;
    return 0;
}
