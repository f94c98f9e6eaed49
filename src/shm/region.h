/* SPDX-License-Identifier: MIT */
/* region.h - what regions state about themselves: in the meta of a named object, and in the name of
 * memory that has no other. */
#ifndef NARU_SHM_REGION_H
#define NARU_SHM_REGION_H

#include <stdint.h>

enum { NARU_REGION_LAYOUT = 1 }; /* signature of the object */

/* Its options: of what lies in it; the size that it was made with; how long it may become, 0: it
 * keeps its size. The bytes are the file `data`. */
enum { NARU_REGION_SIGNATURE, NARU_REGION_SIZE, NARU_REGION_RESERVE };

/* The label: the name of a memfd, which nobody can change:
 *
 *   naru-region:1:SIGNATURE:RESERVE     version 1; 8 and 16 hexadecimal digits
 *
 * So the descriptor carries the region's bytes and nothing else, and any program can map it. Of a
 * file on disk it is the value of the attribute user.naru, for the same reason. */
#define NARU_REGION_ATTRIBUTE "user.naru"
struct naru_region_label {
    uint32_t signature;
    uint64_t reserve;
};

enum { NARU_REGION_LABEL_ROOM = 64 };
void naru__region_label_write(char text[NARU_REGION_LABEL_ROOM], const struct naru_region_label *);

/* text: as written. 0, or -EPROTO. */
int naru__region_label_parse(const char *text, struct naru_region_label *ret_label);
/* link: what /proc says of the descriptor. 0; -ENOENT another program's; -EPROTO another version's,
 * or damaged. */
int naru__region_label_read(const char *link, struct naru_region_label *ret_label);

#endif
