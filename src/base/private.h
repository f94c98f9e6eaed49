/* SPDX-License-Identifier: MIT */
/* private.h - what libnaru exports for its own module (libnaru-net) alone: under the version node
 * NARU_PRIVATE, and to a module of the very same version. */
#ifndef NARU_BASE_PRIVATE_H
#define NARU_BASE_PRIVATE_H

#define NARU__EXPORTED __attribute__((visibility("default")))

/* An address that is another one in each copy of the library. */
NARU__EXPORTED const void *naru__core(void);

#endif
