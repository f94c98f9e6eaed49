/* SPDX-License-Identifier: MIT */
/* curves.h - what the two halves of the program curves share: rows of its output, time, processes.
 */
#ifndef NARU_BENCH_CURVES_H
#define NARU_BENCH_CURVES_H

#include <stdbool.h>
#include <stdint.h>

int64_t curves_now(void);
void curves_must(int r);                          /* a call of naru's, or the program ends */
int curves_compare(const void *a, const void *b); /* of doubles */
/* Where there are two processors, this process keeps to the first, or to the others. */
void curves_keep_to(bool first);
/* One point; format: the rest of its JSON object. */
void curves_row(const char *curve, uint64_t x, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* curves-call.c. A round trip that carries so many bytes there and back; clients that call at once.
 */
void curves_of_payload(double seconds);
void curves_of_clients(double seconds, int most);

#endif
