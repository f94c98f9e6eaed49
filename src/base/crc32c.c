/* SPDX-License-Identifier: MIT */
/* crc32c.c - CRC-32C by the processor's instruction where it has one, else by tables of eight bytes
 * a step ("slicing by 8": Kounavis and Berry, A Systematic Approach to Building High Performance
 * Software-based CRC Generators, ISCC 2005). Long runs go by multiplying vectors. */
#include "base/crc32c.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

enum {
    POLYNOMIAL = (int)0x82f63b78u, /* 0x1edc6f41, its bits reversed */
    LANE = 512                     /* bytes */
};

static uint32_t table[8][256];
static uint32_t moved[4][256]; /* a sum's byte, after LANE zeroes more */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned best; /* the fastest of naru__crc32c_by's ways that this processor has */

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
enum { BLOCK = 256 };                   /* bytes: four vectors */
static uint64_t by_block[2], by_one[2]; /* what takes a sum so many bits on: a block, a vector */

/* x^n modulo the polynomial, bits reversed, as carry-less multiplication wants it */
static uint64_t power(unsigned n)
{
    uint32_t v = UINT32_C(1) << 31;
    for (; n > 0; n--)
        v = v & 1 ? v >> 1 ^ (uint32_t)POLYNOMIAL : v >> 1;
    return (uint64_t)v << 1;
}

static void prepare_folding(void)
{
    const unsigned block = 8 * BLOCK, one = 8 * sizeof(__m512i);
    by_block[0] = power(block + 32);
    by_block[1] = power(block - 32);
    by_one[0] = power(one + 32);
    by_one[1] = power(one - 32);
}
#endif

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
    static const uint8_t zeroes[LANE];
    for (int bit = 0; bit < 32; bit++) { /* all is linear: a byte's is that of its bits */
        uint32_t c = by_table(UINT32_C(1) << bit, zeroes, LANE);
        for (int i = 0; i < 256; i++)
            if (i >> bit % 8 & 1)
                moved[bit / 8][i] ^= c;
    }
#if defined(__x86_64__)
    prepare_folding();
    best = __builtin_cpu_supports("sse4.2");
    if (best && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq"))
        best = 2;
#elif defined(__aarch64__)
    best = getauxval(AT_HWCAP) >> 7 & 1; /* HWCAP_CRC32 */
#endif
}

#if defined(__x86_64__)
#define INSTRUCTION __attribute__((target("sse4.2")))
#define STEP8(c, p) __builtin_ia32_crc32di(c, little(p))
#define STEP1(c, p) __builtin_ia32_crc32qi(c, *(p))
#elif defined(__aarch64__)
#ifdef __clang__
#define INSTRUCTION __attribute__((target("crc")))
#else
#define INSTRUCTION __attribute__((target("+crc")))
#endif
static inline INSTRUCTION uint64_t step8(uint64_t c, const uint8_t *p)
{
    uint32_t sum = (uint32_t)c;
    __asm__("crc32cx %w0, %w0, %x1" : "+r"(sum) : "r"(little(p)));
    return sum;
}
static inline INSTRUCTION uint32_t step1(uint32_t c, const uint8_t *p)
{
    __asm__("crc32cb %w0, %w0, %w1" : "+r"(c) : "r"((uint32_t)*p));
    return c;
}
#define STEP8(c, p) step8(c, p)
#define STEP1(c, p) step1(c, p)
#endif

#ifdef INSTRUCTION
static uint32_t moved_on(uint64_t c)
{
    return moved[0][c & 0xff] ^ moved[1][c >> 8 & 0xff] ^ moved[2][c >> 16 & 0xff] ^
           moved[3][c >> 24 & 0xff];
}

/* One sum after the other the instruction gives a third of what it can: each waits for the last
 * one's result. So long runs go in three lanes, whose sums are joined (Gopal et al., Fast CRC
 * Computation for iSCSI Polynomial Using CRC32 Instruction, Intel 2011). */
INSTRUCTION static uint32_t by_instruction(uint32_t c, const uint8_t *p, size_t n)
{
    uint64_t first = c, second, third;
    for (; n >= 3 * (size_t)LANE; n -= 3 * (size_t)LANE, p += 3 * LANE) {
        second = third = 0;
        for (size_t i = 0; i < LANE; i += 8) {
            first = STEP8(first, p + i);
            second = STEP8(second, p + LANE + i);
            third = STEP8(third, p + 2 * LANE + i);
        }
        first = moved_on(moved_on(first) ^ second) ^ third;
    }
    for (; n >= 8; n -= 8, p += 8)
        first = STEP8(first, p);
    for (c = (uint32_t)first; n > 0; n--, p++)
        c = STEP1(c, p);
    return c;
}
#else
static uint32_t by_instruction(uint32_t c, const uint8_t *p, size_t n)
{
    return by_table(c, p, n);
}
#endif

#if defined(__x86_64__)
#define VECTORS __attribute__((target("avx512f,vpclmulqdq,sse4.2")))
VECTORS static inline __m512i on(__m512i sum, __m512i by, const uint8_t *next)
{
    enum { XOR_OF_THREE = 0x96 };
    return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(sum, by, 0x00),
                                     _mm512_clmulepi64_epi128(sum, by, 0x11),
                                     _mm512_loadu_si512(next), XOR_OF_THREE);
}

/* What went before is multiplied until it stands where the next bytes are, and added to them; what
 * is left in the end has the sum of all (Gopal et al., Fast CRC Computation for Generic Polynomials
 * Using PCLMULQDQ Instruction, Intel 2009). Three times as fast as the lanes. */
VECTORS static uint32_t by_vectors(uint32_t c, const uint8_t *p, size_t n)
{
    enum { V = sizeof(__m512i) };
    uint8_t rest[4 * V];
    if (n < BLOCK)
        return by_instruction(c, p, n);
    const __m512i block =
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)by_block));
    const __m512i one =
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)by_one));
    __m512i a =
        _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)c)));
    __m512i b = _mm512_loadu_si512(p + V), d = _mm512_loadu_si512(p + 2 * V);
    __m512i e = _mm512_loadu_si512(p + 3 * V);
    for (p += BLOCK, n -= BLOCK; n >= BLOCK; p += BLOCK, n -= BLOCK) {
        a = on(a, block, p);
        b = on(b, block, p + V);
        d = on(d, block, p + 2 * V);
        e = on(e, block, p + 3 * V);
    }
    _mm512_storeu_si512(rest + V, b);
    _mm512_storeu_si512(rest + 2 * V, d);
    _mm512_storeu_si512(rest + 3 * V, e);
    for (int i = 1; i < 4; i++)
        a = on(a, one, rest + i * V);
    for (; n >= V; n -= V, p += V)
        a = on(a, one, p);
    _mm512_storeu_si512(rest, a);
    return by_instruction(by_instruction(0, rest, V), p, n);
}
#else
static uint32_t by_vectors(uint32_t c, const uint8_t *p, size_t n)
{
    return by_instruction(c, p, n);
}
#endif

static uint32_t (*const ways[])(uint32_t, const uint8_t *, size_t) = {by_table, by_instruction,
                                                                      by_vectors};

uint32_t naru__crc32c_by(unsigned way, uint32_t crc, const void *data, size_t n)
{
    pthread_once(&once, prepare);
    return ~ways[way < best ? way : best](~crc, data, n);
}

uint32_t naru__crc32c(uint32_t crc, const void *data, size_t n)
{
    pthread_once(&once, prepare);
    return ~ways[best](~crc, data, n);
}
