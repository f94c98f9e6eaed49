/* SPDX-License-Identifier: MIT */
/* directory.h - names that are no paths: how they may look, and the directory that they lie in. */
#ifndef NARU_OBJECT_DIRECTORY_H
#define NARU_OBJECT_DIRECTORY_H

#include "base/url.h"

#include <stddef.h>

/* 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', no dot at the front. -EINVAL. */
int naru__name_check(const char *url, const char *name);
/* A directory of this user's that nobody else can enter? -ENOENT; -EACCES with whose it is. */
int naru__directory_check(const char *url, const char *path);
/* base/naru-UID, made if need be and checked. */
int naru__directory_own(const char *url, const char *base, char *ret_path, size_t n);

#endif
