/* SPDX-License-Identifier: MIT */
/* names.h - how URLs name the kernel's own objects, which have no place in a directory. */
#ifndef NARU_CORE_NAMES_H
#define NARU_CORE_NAMES_H

#include "base/url.h"

#include <sys/types.h>

/* "/path#id" or "0xKEY" of System V IPC. what: "queue", for the sentence. */
int naru__sysv_key(const struct naru_url *, const char *what, key_t *ret_key);

/* "/name" of POSIX IPC, borrowed from the URL. */
int naru__posix_name(const struct naru_url *, const char *what, const char **ret_name);

#endif
