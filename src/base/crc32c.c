/* SPDX-License-Identifier: MIT */
/* crc32c.c - CRC-32C by the processor's instruction where it has one, else by tables of eight bytes
 * a step ("slicing by 8": Kounavis and Berry, A Systematic Approach to Building High Performance
 * Software-based CRC Generators, ISCC 2005). */
#include "base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

enum { POLYNOMIAL = (int)0x82f63b78u }; /* 0x1edc6f41, its bits reversed */

static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool instruction;

static void prepare(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ (uint32_t)POLYNOMIAL : c >> 1;
        table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (uint32_t i = 0; i < 256; i++)
            table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 0xff];
#if defined(__x86_64__)
    instruction = __builtin_cpu_supports("sse4.2");
#elif defined(__aarch64__)
    instruction = getauxval(AT_HWCAP) & 1ul << 7; /* HWCAP_CRC32 */
#endif
}

static uint64_t little(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static uint32_t by_table(uint32_t c, const uint8_t *p, size_t n)
{
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v = little(p) ^ c;
        c = 0;
        for (int t = 0; t < 8; t++)
            c ^= table[7 - t][v >> 8 * t & 0xff];
    }
    for (; n > 0; n--)
        c = c >> 8 ^ table[0][(c ^ *p++) & 0xff];
    return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t c, const uint8_t *p,
                                                                 size_t n)
{
    uint64_t wide = c;
    for (; n >= 8; n -= 8, p += 8)
        wide = __builtin_ia32_crc32di(wide, little(p));
    for (c = (uint32_t)wide; n > 0; n--)
        c = __builtin_ia32_crc32qi(c, *p++);
    return c;
}
#elif defined(__aarch64__)
#ifdef __clang__
#define WITH_CRC "crc"
#else
#define WITH_CRC "+crc"
#endif
__attribute__((target(WITH_CRC))) static uint32_t by_instruction(uint32_t c, const uint8_t *p,
                                                               size_t n)
{
    for (; n >= 8; n -= 8, p += 8)
        __asm__("crc32cx %w0, %w0, %x1" : "+r"(c) : "r"(little(p)));
    for (; n > 0; n--)
        __asm__("crc32cb %w0, %w0, %w1" : "+r"(c) : "r"((uint32_t)*p++));
    return c;
}
#else
static uint32_t by_instruction(uint32_t c, const uint8_t *p, size_t n)
{
    return by_table(c, p, n);
}
#endif

uint32_t naru__crc32c_table(uint32_t crc, const void *data, size_t n)
{
    pthread_once(&once, prepare);
    return ~by_table(~crc, data, n);
}

uint32_t naru__crc32c(uint32_t crc, const void *data, size_t n)
{
    pthread_once(&once, prepare);
    return ~(instruction ? by_instruction : by_table)(~crc, data, n);
}
