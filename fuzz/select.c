/* SPDX-License-Identifier: MIT */
/* select.c - 8 bytes of select, 4 of a type: what is refused, and EXCEPT is the opposite. */
#include "base/error.h"
#include "core/transport.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t select;
    uint32_t type;
    if (size < sizeof select + sizeof type)
        return 0;
    memcpy(&select, data, sizeof select);
    memcpy(&type, data + sizeof select, sizeof type);
    if (type == 0 || type > NARU_TYPE_MAX)
        return 0;
    if (naru__select_check(select) < 0) {
        if (!*naru__why())
            abort();
        return 0;
    }
    bool wants = naru__select_wants(select, type);
    if (select > 0 && select <= NARU_TYPE_MAX &&
        (wants != (select == type) || wants == naru__select_wants(NARU_EXCEPT(select), type)))
        abort();
    if (select <= 0 && wants != (select == 0 || type <= (uint64_t)-select))
        abort();
    return 0;
}
