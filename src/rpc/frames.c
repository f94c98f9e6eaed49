/* SPDX-License-Identifier: MIT */
/* frames.c - frames to bytes and back. What comes is read once, into locals, and each length is
 * checked against what is left before it is used. */
#include "rpc/frames.h"

#include "naru/service.h"

#include <endian.h>
#include <string.h>

static uint16_t get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

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

static void put16(uint8_t *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof v);
}

static void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

/* ---- frames ---- */

static bool has_head(uint32_t kind)
{
    return kind == RPC_OPEN || kind == RPC_MESSAGE || kind == RPC_STATUS || kind == RPC_HEADER;
}

static size_t padded(size_t n)
{
    return (n + 4 + 7) & ~(size_t)7;
}

size_t naru__rpc_size(const struct naru_rpc_frame *f)
{
    size_t n = RPC_HEAD;
    if (!has_head(f->kind) || !(f->flags & RPC_EXTRAS))
        return n;
    n += f->flags & RPC_TIME ? 8 : 0;
    n += f->flags & RPC_TOTAL ? 8 : 0;
    n += f->flags & RPC_SIGNATURE ? 8 : 0;
    n += f->flags & RPC_TEXT ? padded(f->text.size) : 0;
    n += f->flags & RPC_METADATA ? padded(f->metadata.size) : 0;
    n += f->flags & RPC_DETAILS ? padded(f->details.size) : 0;
    return n;
}

static uint8_t *put_number(uint8_t *at, uint64_t v)
{
    put64(at, v);
    return at + 8;
}

static uint8_t *put_span(uint8_t *at, struct naru_span s)
{
    size_t whole = padded(s.size);
    put32(at, (uint32_t)s.size);
    if (s.size)
        memcpy(at + 4, s.data, s.size);
    memset(at + 4 + s.size, 0, whole - 4 - s.size);
    return at + whole;
}

size_t naru__rpc_encode(const struct naru_rpc_frame *f, uint8_t *out)
{
    put64(out, f->id);
    if (!has_head(f->kind)) {
        put64(out + 8, f->kind == RPC_CANCEL || f->kind == RPC_GOAWAY ? f->number : f->value);
        return RPC_HEAD;
    }
    uint8_t *at = out + RPC_HEAD;
    if (f->flags & RPC_TIME)
        at = put_number(at, (uint64_t)f->time);
    if (f->flags & RPC_TOTAL)
        at = put_number(at, f->total);
    if (f->flags & RPC_SIGNATURE)
        at = put_number(at, f->signature);
    if (f->flags & RPC_TEXT)
        at = put_span(at, f->text);
    if (f->flags & RPC_METADATA)
        at = put_span(at, f->metadata);
    if (f->flags & RPC_DETAILS)
        at = put_span(at, f->details);
    put32(out + 8, f->number);
    put16(out + 12, (uint16_t)f->flags);
    put16(out + 14, (uint16_t)((at - out - RPC_HEAD) / 8));
    return (size_t)(at - out);
}

/* What lies between head and message; moves on. */
struct cursor {
    const uint8_t *at;
    size_t left;
    bool short_of;
};

static uint64_t take_number(struct cursor *c)
{
    if (c->left < 8) {
        c->short_of = true;
        return 0;
    }
    uint64_t v = get64(c->at);
    c->at += 8;
    c->left -= 8;
    return v;
}

static struct naru_span take_span(struct cursor *c)
{
    size_t size = c->left < 8 ? SIZE_MAX : get32(c->at);
    if (size > RPC_EXTRA_MAX || padded(size) > c->left) {
        c->short_of = true;
        return (struct naru_span){NULL, 0};
    }
    struct naru_span s = {c->at + 4, size};
    c->at += padded(size);
    c->left -= padded(size);
    return s;
}

/* Which flags a kind may have. */
static uint32_t flags_of(uint32_t kind)
{
    switch (kind) {
    case RPC_OPEN:
        return RPC_END | RPC_HAS | RPC_MORE | RPC_TIME | RPC_TOTAL | RPC_SIGNATURE | RPC_TEXT |
               RPC_METADATA;
    case RPC_MESSAGE:
        return RPC_END | RPC_HAS | RPC_MORE | RPC_TOTAL;
    case RPC_STATUS:
        return RPC_HAS | RPC_TEXT | RPC_METADATA | RPC_DETAILS;
    default:
        return RPC_METADATA;
    }
}

static const char *check(const struct naru_rpc_frame *f)
{
    uint32_t part = f->flags & (RPC_HAS | RPC_MORE | RPC_TOTAL | RPC_END);
    if (!(f->flags & RPC_HAS) && (f->message.size > 0 || f->flags & (RPC_MORE | RPC_TOTAL)))
        return "a frame without a message carries some of one";
    if ((part & (RPC_MORE | RPC_END)) == (RPC_MORE | RPC_END))
        return "a message has more parts, and no more comes";
    if (f->flags & RPC_TOTAL &&
        (!(f->flags & RPC_MORE) || f->total == 0 || f->total < f->message.size))
        return "a message's first part is larger than the whole";
    if (f->message.size > RPC_PART)
        return "a part of a message is too large";
    if (f->kind == RPC_OPEN && f->text.size > RPC_PATH_MAX)
        return "a method's path is too long";
    if (f->kind == RPC_OPEN && f->number >= RPC_METHODS)
        return "a method has a number out of range";
    return NULL;
}

/* What lies between head and message. False: it is not what the flags say. */
static bool read_extra(struct naru_rpc_frame *f, const uint8_t *in, size_t extra)
{
    struct cursor c = {in, extra, false};
    if (f->flags & RPC_TIME)
        f->time = (int64_t)take_number(&c);
    if (f->flags & RPC_TOTAL)
        f->total = take_number(&c);
    if (f->flags & RPC_SIGNATURE)
        f->signature = take_number(&c);
    if (f->flags & RPC_TEXT)
        f->text = take_span(&c);
    if (f->flags & RPC_METADATA)
        f->metadata = take_span(&c);
    if (f->flags & RPC_DETAILS)
        f->details = take_span(&c);
    return !c.short_of && c.left == 0 && f->time >= 0;
}

const char *naru__rpc_decode(uint32_t kind, const void *data, size_t size, struct naru_rpc_frame *f)
{
    const uint8_t *in = data;
    if (kind <= RPC_HELLO || kind >= RPC_KINDS)
        return "a frame is of no kind";
    if (size < RPC_HEAD)
        return "a frame is shorter than its head";
    *f = (struct naru_rpc_frame){.kind = kind, .id = get64(in)};
    if (!has_head(kind)) {
        f->value = get64(in + 8);
        f->number = (uint32_t)f->value;
        return size == RPC_HEAD ? NULL : "a frame is longer than its kind is";
    }
    f->number = get32(in + 8);
    f->flags = get16(in + 12);
    size_t extra = (size_t)get16(in + 14) * 8;
    if (f->flags & ~flags_of(kind))
        return "a frame has flags that its kind has not";
    if (extra > RPC_EXTRA_MAX || extra > size - RPC_HEAD)
        return "a frame is shorter than it says";
    if ((extra || f->flags & RPC_EXTRAS) && !read_extra(f, in + RPC_HEAD, extra))
        return "a frame's fields are not what its flags say";
    f->message = (struct naru_span){in + RPC_HEAD + extra, size - RPC_HEAD - extra};
    return check(f);
}

/* ---- HELLO ---- */

void naru__rpc_hello_encode(const struct naru_rpc_hello *h, uint8_t out[RPC_HELLO_SIZE])
{
    memset(out, 0, RPC_HELLO_SIZE);
    put64(out, RPC_MAGIC);
    put32(out + 8, h->version);
    put32(out + 12, h->max_calls);
    put64(out + 16, h->max_message);
    put64(out + 24, h->window);
    put32(out + 32, h->max_metadata);
}

const char *naru__rpc_hello_decode(const void *data, size_t size, struct naru_rpc_hello *ret_hello)
{
    const uint8_t *in = data;
    if (size < RPC_HELLO_SIZE || get64(in) != RPC_MAGIC)
        return "it speaks no calls of naru's";
    const struct naru_rpc_hello h = {get32(in + 8), get32(in + 12), get64(in + 16), get64(in + 24),
                                     get32(in + 32)};
    if (h.version != RPC_VERSION)
        return "its version of calls is another one";
    if (h.window < RPC_FIRST_WINDOW || h.window > INT32_MAX)
        return "its window is none";
    *ret_hello = h;
    return NULL;
}

/* ---- metadata ---- */

enum { ENTRY = 8, KEY_MAX = 256 };

static bool is_binary(const char *key, size_t n)
{
    return n >= 4 && memcmp(key + n - 4, "-bin", 4) == 0;
}

static bool sound_key(const char *key, size_t n)
{
    if (n == 0 || n > KEY_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = key[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
            return false;
    }
    return true;
}

static bool sound_value(const char *key, size_t n, const uint8_t *value, size_t size)
{
    for (size_t i = 0; i < size && !is_binary(key, n); i++)
        if (value[i] < 0x20 || value[i] > 0x7e)
            return false;
    return true;
}

const char *naru__metadata_fault(const struct naru_metadata *m)
{
    if (!m || !m->key || (!m->value && m->size > 0))
        return "it is NULL";
    if (!sound_key(m->key, strnlen(m->key, KEY_MAX + 1)))
        return "its key is not 1 to 256 of a-z 0-9 - _ .";
    if (m->size > RPC_METADATA_MAX)
        return "its value is longer than 32 KiB";
    if (!sound_value(m->key, strlen(m->key), m->value, m->size))
        return "its value is not printable ASCII, which only a key that ends in -bin may have";
    return NULL;
}

size_t naru__metadata_size(const struct naru_metadata *m)
{
    return ENTRY + strlen(m->key) + 1 + m->size;
}

/* The key ends with a NUL, so that it can be handed out in place. */
size_t naru__metadata_put(const struct naru_metadata *m, uint8_t *out)
{
    size_t n = strlen(m->key) + 1;
    put16(out, (uint16_t)n);
    put16(out + 2, 0);
    put32(out + 4, (uint32_t)m->size);
    memcpy(out + ENTRY, m->key, n);
    if (m->size)
        memcpy(out + ENTRY + n, m->value, m->size);
    return ENTRY + n + m->size;
}

bool naru__metadata_check(const void *list, size_t size)
{
    const uint8_t *at = list;
    while (size > 0) {
        if (size < ENTRY)
            return false;
        size_t key = get16(at), value = get32(at + 4);
        if (key < 2 || key - 1 > KEY_MAX || key > size - ENTRY || value > size - ENTRY - key)
            return false;
        const char *text = (const char *)at + ENTRY;
        if (text[key - 1] != '\0' || !sound_key(text, key - 1) ||
            !sound_value(text, key - 1, at + ENTRY + key, value))
            return false;
        at += ENTRY + key + value;
        size -= ENTRY + key + value;
    }
    return true;
}

bool naru__metadata_next(struct naru_span *rest, struct naru_metadata *ret_entry)
{
    const uint8_t *at = rest->data;
    if (rest->size == 0)
        return false;
    size_t n = get16(at), value = get32(at + 4);
    *ret_entry = (struct naru_metadata){(const char *)at + ENTRY, at + ENTRY + n, value};
    *rest = (struct naru_span){at + ENTRY + n + value, rest->size - ENTRY - n - value};
    return true;
}

bool naru__metadata_find(struct naru_span list, const char *key, unsigned i,
                         struct naru_metadata *ret_entry)
{
    struct naru_metadata entry;
    while (naru__metadata_next(&list, &entry))
        if (strcmp(entry.key, key) == 0 && i-- == 0) {
            *ret_entry = entry;
            return true;
        }
    return false;
}
