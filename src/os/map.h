/* SPDX-License-Identifier: MIT */
/* map.h - memory that processes share: files without a name, seals, mappings, barriers. Results as
 * in os/fd.h. */
#ifndef NARU_OS_MAP_H
#define NARU_OS_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

#ifndef MADV_COLD
#define MADV_COLD 20 /* include/uapi/asm-generic/mman-common.h, Linux 5.4 */
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

int naru__os_memfd(const char *name);         /* close-on-exec, may be sealed, never executable */
int naru__os_allocate(int fd, uint64_t size); /* that long, its pages really there: -ENOSPC */
int naru__os_seal(int fd, int seals);         /* F_SEAL_... */
int naru__os_seals(int fd);                   /* those that it has */
int naru__os_map(int fd, uint64_t size, bool writable, void **ret_memory);
int naru__os_map_at(int fd, uint64_t at, uint64_t size, bool writable, void **ret_memory);
/* The same at an address that is a multiple of `align`, where the file may also be shorter. */
int naru__os_map_aligned(int fd, uint64_t size, bool writable, uint64_t align, void **ret_memory);
/* What is written there stays this process's own. */
int naru__os_map_private(int fd, uint64_t size, bool writable, void **ret_memory);
/* The file's bytes from `at` on, in place of what is mapped there. */
int naru__os_map_over(void *memory, int fd, uint64_t at, uint64_t size, bool writable);
/* Zeroes of this process's own in place of that. For signal handlers: no test can make it fail. */
bool naru__os_cover(void *memory, uint64_t size, bool writable);
/* Address space at such a multiple, and nothing in it. */
int naru__os_map_nothing(uint64_t size, uint64_t align, void **ret_memory);
/* As it is now, and what is written there nobody else sees. */
int naru__os_map_copy(int fd, uint64_t size, void **ret_memory);
void naru__os_unmap(const void *memory, uint64_t size);
/* A test's, NULL in production: the memory of a shared mapping, the same for all of a file's, so
 * that a race detector, which goes by addresses, sees them. naru__unmap_at: one of them has no more
 * use for it; false: it is no such memory. */
extern void *(*naru__map_at)(int fd, uint64_t at, uint64_t size);
extern bool (*naru__unmap_at)(const void *memory);
int naru__os_advise(void *memory, uint64_t size, int advice); /* MADV_... */
int naru__os_lock_memory(void *memory, uint64_t size);
int naru__os_sync_memory(void *memory, uint64_t size); /* msync: a shared mapping's to the medium */
/* Copies between memory and a buffer; what has gone from under it is -EFAULT, no signal. */
int naru__os_copy_out(const void *memory, void *buf, size_t n);
int naru__os_copy_in(void *memory, const void *buf, size_t n);

/* membarrier(2), expedited and for all: this process takes part from now on, and its forked
 * children; a program that it execs does not. */
int naru__os_barrier_register(void);
/* Every thread of a process that takes part has issued a full fence since the call began. */
int naru__os_barrier(void);

/* Which pid namespace this process is in, 0 if it cannot be known. */
uint64_t naru__os_pid_namespace(void);

#endif
