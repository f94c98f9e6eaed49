/* SPDX-License-Identifier: MIT */
/* crc32c.h - the check sum of journals: CRC-32C (Castagnoli), as RFC 3720 appendix B.4 has it. */
#ifndef NARU_BASE_CRC32C_H
#define NARU_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of n bytes more. crc: what they follow; 0: nothing. */
uint32_t naru__crc32c(uint32_t crc, const void *data, size_t n);
/* The same by tables (0), by an instruction (1), by vectors (2), or by the fastest way before that
 * which the processor has: for a test that compares them. */
uint32_t naru__crc32c_by(unsigned way, uint32_t crc, const void *data, size_t n);

#endif
