/* SPDX-License-Identifier: MIT */
/* patience.h - how long what must come about may take.
 *
 * A busy machine holds a process back for seconds, so no shorter time tells that something hangs;
 * and what does hang, hangs until its case is ended. A time-out that a test waits for on purpose is
 * another matter, and short. */
#ifndef NARU_TESTS_PATIENCE_H
#define NARU_TESTS_PATIENCE_H

#include <naru/naru.h>

#define PATIENCE (20 * NARU_S)
enum { PATIENCE_MS = 20000 };

#endif
