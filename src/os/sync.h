/* SPDX-License-Identifier: MIT */
/* sync.h - how far what was written has come. Results as in os/fd.h. */
#ifndef NARU_OS_SYNC_H
#define NARU_OS_SYNC_H

#include <stdint.h>

/* The file's bytes, those written through mappings too, and what is needed to read them again, are
 * on the medium. -EIO: they may not be, and trying again would not tell. */
int naru__os_sync_data(int fd);
/* The same, and all that the file system notes: also a directory's entries. */
int naru__os_sync_all(int fd);
/* A number of this boot of the kernel and this mount of the file system; never 0. */
uint64_t naru__os_world(int fd);

#endif
