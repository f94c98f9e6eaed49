/* SPDX-License-Identifier: MIT */
/* unpack.c - bytes as a message: a FileDescriptorProto, which has every kind of field and messages
 * in messages. What can be unpacked is packed, and what is unpacked of that packs to the same. (A
 * field that is not known and has the number 0, written in two bytes, comes in and not out.) */
#include <google/protobuf/descriptor.pb-c.h>
#include <naru/protobuf.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *pack(const void *message, size_t *ret_size)
{
    *ret_size = protobuf_c_message_get_packed_size((const ProtobufCMessage *)message);
    uint8_t *packed = malloc(*ret_size + 1);
    if (!packed || protobuf_c_message_pack((const ProtobufCMessage *)message, packed) != *ret_size)
        abort();
    return packed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const ProtobufCMessageDescriptor *type = &google__protobuf__file_descriptor_proto__descriptor;
    void *message, *again;
    size_t first_size, second_size;
    int r = naru_protobuf_unpack(type, data, size, &message);
    if (r == -EPROTO)
        return 0;
    if (r != 0)
        abort();
    uint8_t *first = pack(message, &first_size);
    r = naru_protobuf_unpack(type, first, first_size, &again);
    if (r == 0) {
        uint8_t *second = pack(again, &second_size);
        if (first_size != second_size || memcmp(first, second, first_size) != 0)
            abort();
        free(second);
        naru_protobuf_free(again);
    } else if (r != -EPROTO) {
        abort();
    }
    free(first);
    naru_protobuf_free(message);
    return 0;
}
