/* SPDX-License-Identifier: MIT */
/* naru/protobuf.h - calls with messages of protobuf-c: what the code of protoc-gen-naru is made of.
 *
 * A message is packed straight into the memory that the call reserves, and unpacked from where it
 * lies. naru.h does not include this header: it needs protobuf-c, which the library does not. A
 * program calls the functions that are generated; naru_protobuf_unpack is there for the handlers of
 * events (naru_call_on), which get bytes.
 *
 * protobuf-c unpacks by calling itself, and joins what comes twice by copying it again. So what
 * comes from outside is looked at first: nested deeper than NARU_PROTOBUF_DEPTH, or with one part
 * sent over and over, it is refused before it costs stack or time. */
#ifndef NARU_PROTOBUF_H
#define NARU_PROTOBUF_H

#include <naru/service.h>

#include <errno.h>
#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NARU_PROTOBUF_DEPTH 100   /* messages in messages, as other implementations have it */
#define NARU_PROTOBUF_REPEATS 100 /* of parts that come once, in one message */

/* A varint of at most 64 bits; behind its last byte, or NULL. */
static inline const uint8_t *naru_protobuf_varint_(const uint8_t *at, const uint8_t *end,
                                                   uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
        value |= (uint64_t)(*at & 0x7f) << shift;
        if (*at++ < 0x80) {
            *ret_value = value;
            return at;
        }
    }
    return NULL;
}

/* Whether unpacking costs no more than it should. What is malformed passes: unpacking finds it. */
static inline int naru_protobuf_bounded_(const ProtobufCMessageDescriptor *type, const uint8_t *at,
                                         const uint8_t *end, unsigned depth)
{
    unsigned parts = 0, repeats = 0;
    for (unsigned i = 0; i < type->n_fields; i++)
        parts += type->fields[i].type == PROTOBUF_C_TYPE_MESSAGE;
    if (parts == 0)
        return 1;
    if (depth == 0)
        return 0;
    while (at < end) {
        uint64_t tag, length = 0;
        at = naru_protobuf_varint_(at, end, &tag);
        if (!at)
            return 1;
        switch (tag & 7) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
            at = naru_protobuf_varint_(at, end, &length);
            length = 0;
            break;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
            length = 8;
            break;
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
            at = naru_protobuf_varint_(at, end, &length);
            break;
        case PROTOBUF_C_WIRE_TYPE_32BIT:
            length = 4;
            break;
        default:
            return 1;
        }
        if (!at || length > (uint64_t)(end - at))
            return 1;
        const ProtobufCFieldDescriptor *field =
            (tag & 7) != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED
                ? NULL
                : protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
        if (field && field->type == PROTOBUF_C_TYPE_MESSAGE) {
            if (field->label != PROTOBUF_C_LABEL_REPEATED &&
                ++repeats > parts + NARU_PROTOBUF_REPEATS)
                return 0;
            if (!naru_protobuf_bounded_((const ProtobufCMessageDescriptor *)field->descriptor, at,
                                        at + length, depth - 1))
                return 0;
        }
        at += length;
    }
    return 1;
}

static inline void *naru_protobuf_alloc_(void *failed, size_t size)
{
    void *memory = malloc(size);
    if (!memory)
        *(int *)failed = 1;
    return memory;
}

static inline void naru_protobuf_free_(void *failed, void *memory)
{
    (void)failed;
    free(memory);
}

static inline const char *naru_protobuf_name_(const ProtobufCMessageDescriptor *type)
{
    return type->name ? type->name : "message of its type"; /* optimize_for = CODE_SIZE */
}

/* The message of this type in these bytes. ret_message: freed by its own free_unpacked, with NULL
 * as the allocator. 0; -EPROTO no such message, or one that costs too much; -ENOMEM. */
static inline int naru_protobuf_unpack(const ProtobufCMessageDescriptor *type, const void *data,
                                       size_t size, void **ret_message)
{
    int failed = 0;
    ProtobufCAllocator memory = {naru_protobuf_alloc_, naru_protobuf_free_, &failed};
    const uint8_t *bytes = (const uint8_t *)data;
    if (size > 0 && !naru_protobuf_bounded_(type, bytes, bytes + size, NARU_PROTOBUF_DEPTH)) {
        naru_fail(-EPROTO,
                  "%zu bytes that are to be a %s go deeper than %d messages, or have a part more "
                  "than %d times that comes once",
                  size, naru_protobuf_name_(type), NARU_PROTOBUF_DEPTH, NARU_PROTOBUF_REPEATS);
        return -EPROTO;
    }
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &memory, size, bytes);
    if (!message && failed) {
        naru_fail(-ENOMEM, "no memory for a %s, packed in %zu bytes", naru_protobuf_name_(type),
                  size);
        return -ENOMEM;
    }
    if (!message) {
        naru_fail(-EPROTO, "%zu bytes are no %s", size, naru_protobuf_name_(type));
        return -EPROTO;
    }
    *ret_message = message;
    return 0;
}

static inline void naru_protobuf_free(void *message)
{
    if (message)
        protobuf_c_message_free_unpacked((ProtobufCMessage *)message, NULL);
}

/* Packs a message into the call's own memory and sends it. As naru_call_send. */
static inline int naru_protobuf_send(naru_call *call, const void *message, int64_t timeout)
{
    const ProtobufCMessage *m = (const ProtobufCMessage *)message;
    size_t size = protobuf_c_message_get_packed_size(m);
    void *room;
    int r = naru_call_reserve(call, size, timeout, &room);
    if (r < 0)
        return r;
    protobuf_c_message_pack(m, (uint8_t *)room);
    return naru_call_commit(call, room, size);
}

/* The next message. 1; 0 there are no more; as naru_call_take, and as naru_protobuf_unpack. */
static inline int naru_protobuf_take(naru_call *call, const ProtobufCMessageDescriptor *type,
                                     int64_t timeout, void **ret_message)
{
    struct naru_payload payload;
    int r = naru_call_take(call, timeout, &payload);
    if (r <= 0)
        return r;
    r = naru_protobuf_unpack(type, payload.data, payload.size, ret_message);
    naru_call_release(call, &payload);
    return r < 0 ? r : 1;
}

/* ---- a server ---- */

/* As naru_protobuf_take, for a handler: what is no message is the client's mistake, -EINVAL, which
 * becomes INVALID_ARGUMENT. */
static inline int naru_protobuf_next(naru_call *call, const ProtobufCMessageDescriptor *type,
                                     int64_t timeout, void **ret_message)
{
    int r = naru_protobuf_take(call, type, timeout, ret_message);
    return r == -EPROTO ? -EINVAL : r;
}

/* What a handler is given. NARU_STATUS_OK; or the status with which the call has failed, and
 * ret_message stays as it is. */
static inline int naru_protobuf_request(naru_call *call, const ProtobufCMessageDescriptor *type,
                                        const void *data, size_t size, void **ret_message)
{
    int r = naru_protobuf_unpack(type, data, size, ret_message);
    if (r == 0)
        return NARU_STATUS_OK;
    return naru_call_fail(
        call, r == -ENOMEM ? NARU_STATUS_RESOURCE_EXHAUSTED : NARU_STATUS_INVALID_ARGUMENT, "%s",
        naru_why());
}

static inline int naru_protobuf_unimplemented(naru_call *call)
{
    return naru_call_fail(call, NARU_STATUS_UNIMPLEMENTED, "%s.%s has no handler here",
                          naru_call_service(call)->name, naru_call_method(call)->name);
}

/* ---- a client ---- */

/* A message packed: in `small` if it fits, else in memory of its own. NULL: no memory. */
enum { NARU_PROTOBUF_SMALL = 1024 };

static inline uint8_t *naru_protobuf_pack_(const void *message, uint8_t *small, size_t *ret_size)
{
    const ProtobufCMessage *m = (const ProtobufCMessage *)message;
    size_t size = protobuf_c_message_get_packed_size(m);
    uint8_t *packed = size <= NARU_PROTOBUF_SMALL ? small : (uint8_t *)malloc(size);
    if (packed)
        *ret_size = protobuf_c_message_pack(m, packed);
    else
        naru_fail(-ENOMEM, "no memory to pack a request of %zu bytes", size);
    return packed;
}

/* One message there and one back. */
static inline int naru_protobuf_invoke(naru_client *client, const naru_route *route,
                                       const void *request, const struct naru_call_options *options,
                                       const ProtobufCMessageDescriptor *type, void **ret_reply)
{
    uint8_t small[NARU_PROTOBUF_SMALL];
    size_t size;
    uint8_t *packed = naru_protobuf_pack_(request, small, &size);
    struct naru_payload reply;
    struct naru_call_options in_place; /* it is given back at once, so it need not be copied */
    if (!packed)
        return -ENOMEM;
    memset(&in_place, 0, sizeof in_place);
    in_place.size = sizeof in_place;
    if (options)
        in_place = *options;
    in_place.flags |= NARU_IN_PLACE;
    int r = naru_client_invoke(client, route, packed, size, &in_place, &reply);
    if (packed != small)
        free(packed);
    if (r < 0)
        return r;
    r = naru_protobuf_unpack(type, reply.data, reply.size, ret_reply);
    naru_client_release(client, &reply);
    return r;
}

/* Begins a call with its one request. */
static inline int naru_protobuf_begin(naru_client *client, const naru_route *route,
                                      const void *request, const struct naru_call_options *options,
                                      naru_call **ret_call)
{
    naru_call *call;
    int r = naru_call_begin(client, route, options, &call);
    if (r < 0)
        return r;
    r = naru_protobuf_send(call, request, NARU_FOREVER);
    if (r < 0) {
        naru_call_close(call);
        return r;
    }
    *ret_call = call;
    return 0;
}

/* The end of a call: its status, and before it the one reply of a method that has one (type is NULL
 * for others). Closes the call in any case. */
static inline int naru_protobuf_finish(naru_call *call, const ProtobufCMessageDescriptor *type,
                                       int64_t timeout, void **ret_reply)
{
    void *reply = NULL;
    int r = type ? naru_protobuf_take(call, type, timeout, &reply) : 0;
    if (r >= 0)
        r = naru_call_wait(call, timeout);
    if (r >= 0 && type && !reply)
        r = naru_fail(-EPROTO, "the call ended well, and without its %s",
                      naru_protobuf_name_(type));
    naru_call_close(call);
    if (r < 0) {
        naru_protobuf_free(reply);
        return r;
    }
    if (type)
        *ret_reply = reply;
    return 0;
}

/* ---- a call that is not waited for ---- */

/* Another thread may be told of a call's end while this one still begins it. Whoever is the last
 * of the two closes the call; and a call that could not begin has no end. */
enum {
    NARU_PROTOBUF_BEGUN = 1,  /* the beginning is over */
    NARU_PROTOBUF_FAILED = 2, /* it failed */
    NARU_PROTOBUF_ENDING = 4, /* the end is told */
    NARU_PROTOBUF_ENDED = 8,  /* it was told */
};

struct naru_protobuf_later {
    const ProtobufCMessageDescriptor *type; /* of the reply */
    void (*done)(void);                     /* of the method's own type */
    void *arg;
    void *reply;
    int unpacked; /* what naru_protobuf_unpack said of it */
    int state;    /* NARU_PROTOBUF_..., atomic */
};

/* Acquire and release, of each the other: who frees has seen all that the other has done. */
static inline int naru_protobuf_mark_(struct naru_protobuf_later *later, int bits)
{
    return __atomic_fetch_or(&later->state, bits, __ATOMIC_ACQ_REL);
}

static inline void naru_protobuf_later_message_(naru_call *call, void *arg, const void *data,
                                                size_t size)
{
    struct naru_protobuf_later *later = (struct naru_protobuf_later *)arg;
    (void)call;
    if (!later->reply)
        later->unpacked = naru_protobuf_unpack(later->type, data, size, &later->reply);
}

static inline void naru_protobuf_later_close_(struct naru_protobuf_later *later, naru_call *call)
{
    naru_call_close(call);
    free(later);
}

static inline int naru_protobuf_later_send_(naru_call *call, const void *request)
{
    uint8_t small[NARU_PROTOBUF_SMALL];
    size_t size;
    uint8_t *packed = naru_protobuf_pack_(request, small, &size);
    if (!packed)
        return -ENOMEM;
    int r = naru_call_send(call, packed, size, NARU_NOWAIT);
    if (packed != small)
        free(packed);
    return r;
}

/* Begins a call whose end is told by naru_client_process. ret_call may be NULL. */
static inline int naru_protobuf_later(naru_client *client, const naru_route *route,
                                      const void *request, const struct naru_call_options *options,
                                      const ProtobufCMessageDescriptor *type,
                                      void (*end)(naru_call *, void *, const struct naru_status *),
                                      void (*done)(void), void *arg, naru_call **ret_call)
{
    struct naru_call_events events = {sizeof(struct naru_call_events), naru_protobuf_later_message_,
                                      NULL, NULL, end};
    naru_call *call;
    int r = naru_call_begin(client, route, options, &call);
    if (r < 0)
        return r;
    struct naru_protobuf_later *later = (struct naru_protobuf_later *)calloc(1, sizeof *later);
    if (later) {
        later->type = type;
        later->done = done;
        later->arg = arg;
    }
    r = later ? naru_call_on(call, &events, later)
              : naru_fail(-ENOMEM, "%s: no memory for a call that is not waited for", route->path);
    if (r < 0) {
        naru_protobuf_later_close_(later, call);
        return r;
    }
    r = naru_protobuf_later_send_(call, request);
    if (r < 0)
        naru_call_cancel(call); /* so it has an end, which closes it */
    int state =
        naru_protobuf_mark_(later, NARU_PROTOBUF_BEGUN | (r < 0 ? NARU_PROTOBUF_FAILED : 0));
    if (state & NARU_PROTOBUF_ENDED)
        naru_protobuf_later_close_(later, call);
    if (r < 0 && !(state & NARU_PROTOBUF_ENDING))
        return r;
    if (ret_call)
        *ret_call = call;
    return 0;
}

/* The end has come. 1: done is told of it, with this status; 0: it is not, as beginning failed. A
 * call that ended well without a reply did not end well. */
static inline int naru_protobuf_ending(struct naru_protobuf_later *later,
                                       const struct naru_status *status,
                                       struct naru_status *ret_status)
{
    int failed = naru_protobuf_mark_(later, NARU_PROTOBUF_ENDING) & NARU_PROTOBUF_FAILED;
    *ret_status = *status;
    if (status->code == NARU_STATUS_OK && !later->reply) {
        int memory = later->unpacked == -ENOMEM;
        ret_status->code = memory ? NARU_STATUS_RESOURCE_EXHAUSTED : NARU_STATUS_INTERNAL;
        ret_status->message = memory                ? "no memory for the reply"
                              : later->unpacked < 0 ? "the reply is no message of its type"
                                                    : "there was no reply";
    }
    if (status->code != NARU_STATUS_OK || failed) {
        naru_protobuf_free(later->reply);
        later->reply = NULL;
    }
    return !failed;
}

static inline void naru_protobuf_ended(struct naru_protobuf_later *later, naru_call *call)
{
    if (naru_protobuf_mark_(later, NARU_PROTOBUF_ENDED) & NARU_PROTOBUF_BEGUN)
        naru_protobuf_later_close_(later, call);
}

#ifdef __cplusplus
}
#endif
#endif
