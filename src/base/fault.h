/* SPDX-License-Identifier: MIT */
/* fault.h - the one place where a test can make a system call or an allocation fail.
 *
 * Every wrapper of src/os and every allocation asks the hook first, by its name. In production it
 * is NULL: one load and one never-taken branch. */
#ifndef NARU_BASE_FAULT_H
#define NARU_BASE_FAULT_H

#include <stddef.h>

/* Returns a negative errno to make the call fail with it, 0 to let it happen. */
extern int (*naru__fault)(const char *call);

static inline int naru__fault_at(const char *call)
{
    return __builtin_expect(naru__fault != NULL, 0) ? naru__fault(call) : 0;
}

#endif
