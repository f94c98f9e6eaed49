/* SPDX-License-Identifier: MIT */
/* error.c - the sentence of a thread's last failure.
 *
 * Two thread-local words and a buffer. The pointer is separate from the buffer so that a hot path
 * (-EAGAIN in somebody's polling loop) can name a constant without formatting anything. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char buffer[768];
static _Thread_local const char *sentence;

int naru__fail(int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    sentence = buffer;
    return code;
}

int naru__fail_static(int code, const char *text)
{
    sentence = text;
    return code;
}

const char *naru__why(void)
{
    return sentence ? sentence : "";
}

const char *naru__errno_text(int code)
{
#ifdef __GLIBC__
    const char *text = strerrordesc_np(code < 0 ? -code : code);
    return text ? text : "unknown error";
#else
    return strerror(code < 0 ? -code : code); /* musl's is a constant of the thread's locale */
#endif
}
