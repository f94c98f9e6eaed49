/* SPDX-License-Identifier: MIT */
/* error.h - results: a negative errno, and beside it a sentence a thread.
 *
 * Inside naru a negative result is forwarded unchanged. The place that knows what was tried, on
 * which object, writes the sentence; others leave it alone. */
#ifndef NARU_BASE_ERROR_H
#define NARU_BASE_ERROR_H

#include "base/private.h"

/* Writes this thread's sentence and returns code, so that `return naru__fail(-EINVAL, …)`. */
NARU__EXPORTED int naru__fail(int code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same for a constant sentence on a path that must stay cheap. text must live for ever. */
NARU__EXPORTED int naru__fail_static(int code, const char *text);

/* This thread's sentence. */
NARU__EXPORTED const char *naru__why(void);

/* The C library's text of an errno, without its locale's surprises in threads. */
NARU__EXPORTED const char *naru__errno_text(int code);

#endif
