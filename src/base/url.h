/* SPDX-License-Identifier: MIT */
/* url.h - splits a URL into its scheme and what follows; looks at nothing outside the text. */
#ifndef NARU_BASE_URL_H
#define NARU_BASE_URL_H

#include <stddef.h>

struct naru_url {
    const char *text; /* the whole, borrowed */
    char scheme[24];  /* "fifo" */
    const char *rest; /* what follows "fifo:", borrowed from text */
};

/* Fails with -EINVAL and a sentence: no scheme, a scheme too long, control characters, not UTF-8,
 * longer than 4096 bytes. */
int naru__url_parse(const char *text, struct naru_url *ret_url);

#endif
