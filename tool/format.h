/* SPDX-License-Identifier: MIT */
/* format.h - messages as text, hex, JSON or raw bytes, both ways. */
#ifndef NARU_TOOL_FORMAT_H
#define NARU_TOOL_FORMAT_H

#include <naru/naru.h>

#include <stdint.h>
#include <stdio.h>

enum format { FORMAT_RAW, FORMAT_TEXT, FORMAT_HEX, FORMAT_JSON };
#define FORMAT_WORDS "raw text hex json"

/* A message as the bytes that go to standard output in one write. NULL: no memory. */
char *format_message(enum format, const struct naru_message *, size_t *ret_size);

/* One line of input as a message: its data is allocated. type: changed by JSON alone. NULL with an
 * explanation in *ret_why. */
char *parse_message(enum format, const char *line, size_t n, size_t *ret_size, uint32_t *type,
                    const char **ret_why);

#endif
