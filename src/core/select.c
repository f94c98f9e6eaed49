/* SPDX-License-Identifier: MIT */
/* select.c - which message types a receiver asks for, as msgrcv(2) has it. */
#include "base/error.h"
#include "core/transport.h"

#include <errno.h>
#include <inttypes.h>

#define EXCEPT_BIT (INT64_C(1) << 40)

int naru__select_check(int64_t select)
{
    uint64_t t = select < 0 ? 0 - (uint64_t)select : (uint64_t)(select & ~EXCEPT_BIT);
    if (t > NARU_TYPE_MAX || (select & EXCEPT_BIT && select > 0 && t == 0))
        return naru__fail(-EINVAL,
                          "select %" PRId64 " is none of 0, t, -t, NARU_EXCEPT(t) with t from 1 "
                          "to %d",
                          select, NARU_TYPE_MAX);
    return 0;
}

bool naru__select_wants(int64_t select, uint32_t type)
{
    if (select == 0)
        return true;
    if (select < 0)
        return type <= (uint64_t)-select;
    if (select & EXCEPT_BIT)
        return type != (uint32_t)(select & ~EXCEPT_BIT);
    return type == (uint64_t)select;
}
