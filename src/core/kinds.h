/* SPDX-License-Identifier: MIT */
/* kinds.h - the tables of kinds and URL forms; what naru/kinds.h hands out. */
#ifndef NARU_CORE_KINDS_H
#define NARU_CORE_KINDS_H

#include "base/url.h"
#include "naru/kinds.h"

extern const struct naru_kind naru__kinds[];
extern const size_t naru__kinds_count;
extern const struct naru_url_form naru__url_forms[];
extern const size_t naru__url_forms_count;

const char *naru__noun_name(int noun);

/* The row of a scheme; NULL with a sentence (-EINVAL) if there is none. A scheme with two forms has
 * one row, for its cells are the same. */
const struct naru_url_form *naru__url_form(const char *scheme);

/* 0, or -EOPNOTSUPP with the sentence that names who can. */
int naru__cell_check(const struct naru_url_form *, int noun, const char *url);
/* The parts of a URL that such a noun can have. */
int naru__url_of(const char *text, int noun, struct naru_url *ret_url);

#endif
