/* SPDX-License-Identifier: MIT */
/* hello.c - a greeting's payload, and a header, each of any length. */
#include "base/error.h"
#include "transport/common/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct naru_hello hello;
    struct naru_frame frame;
    uint8_t again[FRAME_HEADER + FRAME_HELLO_SIZE];
    if (naru__hello_decode(data, size, &hello) < 0) {
        if (!*naru__why())
            abort();
    } else {
        naru__hello_encode(&hello, again);
        if (memcmp(again + FRAME_HEADER, data, FRAME_HELLO_SIZE) != 0)
            abort();
    }
    if (size < FRAME_HEADER)
        return 0;
    uint8_t header[FRAME_HEADER], sum = 0;
    memcpy(header, data, sizeof header);
    for (int i = 0; i < FRAME_HEADER; i++)
        sum = (uint8_t)(sum + (i == 3 ? 0 : header[i]));
    header[3] = (uint8_t)-sum; /* a fuzzer does not find it: what lies behind is to be reached */
    if (naru__frame_decode(header, &frame) == 0) {
        naru__frame_encode(&frame, again);
        if (memcmp(again, header, FRAME_HEADER) != 0)
            abort();
        if (frame.kind == FRAME_PARCEL && size >= FRAME_HEADER + FRAME_PARCEL_SIZE) {
            uint8_t parcel[FRAME_HEADER + FRAME_PARCEL_SIZE];
            uint32_t n = naru__frame_parcel_count(data + FRAME_HEADER);
            naru__frame_parcel(n, frame.sender, parcel);
            if (naru__frame_parcel_count(parcel + FRAME_HEADER) != n ||
                naru__frame_decode(parcel, &frame) < 0 || frame.kind != FRAME_PARCEL)
                abort();
        }
    }
    if (naru__frame_decode(data, &frame) == 0 && data[3] != header[3])
        abort();
    return 0;
}
