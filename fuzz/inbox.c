/* SPDX-License-Identifier: MIT */
/* inbox.c - bytes from anybody into the inbox: cut anywhere, with and without limits, selecting,
 * giving back and receiving straight into a buffer on the way.
 *
 * Input: a byte of flags, a byte that decides the cuts, then what the other end sends. */
#include "transport/common/inbox.h"

#include "base/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    SHARED = 1,
    GREETED = 2,
    SMALL = 4,
    LIMIT = 8,
    SELECT = 16,
    DIRECT = 32,
    HOLD = 64,
    POOR = 128
};

static int allocations;
static int some_fail(const char *call)
{
    return strcmp(call, "alloc") == 0 && ++allocations % 5 == 0 ? -ENOMEM : 0;
}

static int greet(void *context, const struct naru_frame *frame, const uint8_t *payload)
{
    struct naru_hello hello;
    if (frame->kind != FRAME_HELLO)
        return 0;
    int r = naru__hello_decode(payload, frame->size, &hello);
    ((struct naru_inbox *)context)->greeted |= r == 0;
    return r;
}

static void touch(const struct naru_item *item)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < item->size; i++)
        sum = (uint8_t)(sum + item->data[i]);
    struct naru_info info;
    struct naru_message message;
    naru__item_info(item, &info);
    naru__item_to_message(item, item, &message);
    struct naru_item back = naru__item_of_message(&message);
    if (back.size != item->size || back.order != item->order || info.size != item->size)
        abort();
}

static void take_some(struct naru_inbox *in, int64_t select, bool give_back)
{
    struct naru_message m[3];
    size_t sum = 0, bytes, n = naru__inbox_take_messages(in, select, in, m, 3, &bytes);
    for (size_t i = 0; i < n; i++)
        sum += m[i].size;
    if (sum != bytes)
        abort();
    naru__inbox_end_messages(in, m, n, give_back);
}

static void look(struct naru_inbox *in, unsigned flags, unsigned x)
{
    static const int64_t selects[] = {0, 1, 2, -2, -1000, NARU_EXCEPT(1)};
    struct naru_item item;
    int64_t select = flags & SELECT ? selects[x % 6] : 0;
    if (naru__inbox_has(in, select) != (naru__inbox_peek(in, select) != NULL))
        abort();
    if (x % 7 == 0)
        take_some(in, select, x % 2);
    if ((flags & HOLD && x % 3) || !naru__inbox_take(in, select, &item))
        return;
    touch(&item);
    if (x % 4 || naru__inbox_return(in, &item, x % 8 == 0) < 0)
        naru__item_release(in, &item);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buffer[4096];
    struct naru_inbox in;
    struct naru_item item;
    if (size < 2)
        return 0;
    unsigned flags = data[0], x = data[1] + 1u;
    naru__inbox_init(&in, flags & SHARED, flags & SMALL ? 300 : 1 << 20, greet, &in);
    in.greeted |= (flags & GREETED) != 0;
    allocations = 0;
    naru__fault = flags & POOR ? some_fail : NULL;
    size_t at = 2;
    for (int stuck = 0; at < size && stuck < 100;) {
        struct iovec room[2];
        x = x * 1103515245u + 12345u;
        size_t limit = flags & LIMIT ? naru__inbox_need(&in) : 0;
        int n = naru__inbox_room(&in, room, limit);
        size_t some = 1 + (x >> 16) % (data[1] % 2 ? 7 : 5000), fed = 0;
        for (int i = 0; i < n; i++) {
            size_t step = room[i].iov_len < size - at ? room[i].iov_len : size - at;
            step = step < some - fed ? step : some - fed;
            memcpy(room[i].iov_base, data + at, step);
            at += step;
            fed += step;
            if (step < room[i].iov_len)
                break;
        }
        stuck = fed ? 0 : stuck + 1;
        int r = n < 0 ? n : naru__inbox_fed(&in, fed);
        if (r == -EPROTO && !in.shared)
            break;
        if (flags & DIRECT) {
            if (x % 2)
                (void)naru__inbox_direct(&in, 0, buffer, sizeof buffer);
            if (x % 5 == 0)
                naru__inbox_direct_leave(&in);
            if (naru__inbox_direct_done(&in, &item))
                (void)naru__inbox_fed(&in, 0);
        }
        look(&in, flags, x >> 8);
        if (x % 97 == 0 && naru__inbox_midway(&in) && in.shared)
            naru__inbox_drop(&in);
    }
    naru__inbox_direct_leave(&in);
    naru__inbox_deinit(&in);
    naru__fault = NULL;
    return 0;
}
