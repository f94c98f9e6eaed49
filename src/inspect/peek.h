/* SPDX-License-Identifier: MIT */
/* peek.h - messages of a queue or topic, read without taking them. */
#ifndef NARU_INSPECT_PEEK_H
#define NARU_INSPECT_PEEK_H

#include "base/url.h"
#include "naru/inspect.h"

int naru__peek_open(const struct naru_url *, naru_peek **ret_peek);
int naru__peek_next(naru_peek *, int64_t select, struct naru_message *ret_message);
void naru__peek_close(naru_peek *);

#endif
