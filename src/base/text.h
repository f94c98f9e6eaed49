/* SPDX-License-Identifier: MIT */
/* text.h - small texts for sentences. */
#ifndef NARU_BASE_TEXT_H
#define NARU_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct naru_text {
    char text[32];
};

/* "40 B", "64 KiB", "1.5 MiB": exact or to one decimal. */
struct naru_text naru__size_text(uint64_t bytes);

#endif
