/* SPDX-License-Identifier: MIT */
/* comment.h - the comments of a .proto file in C. */
#ifndef PROTOC_GEN_NARU_COMMENT_H
#define PROTOC_GEN_NARU_COMMENT_H

#include "protoc-gen-naru/place.h"

#include <stdio.h>

/* A comment of what stands there: before it and behind it, then more (may be NULL). Nothing if
 * there is none. */
void print_comment(FILE *out, struct place p, const char *more);

/* A text that a comment can hold: it neither ends nor begins one, and has no control characters. */
char *harmless(const char *text, size_t n);

#endif
