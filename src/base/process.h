/* SPDX-License-Identifier: MIT */
/* process.h - which process is this? Told by a page that the kernel wipes in every forked child,
 * so that asking costs one load instead of a system call. */
#ifndef NARU_BASE_PROCESS_H
#define NARU_BASE_PROCESS_H

#include <stdint.h>

/* A number that is the same as long as this is the same process, and another in each forked
 * child, also by raw clone(). Never 0. */
uint64_t naru__process(void);

#endif
