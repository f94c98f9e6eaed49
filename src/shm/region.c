/* SPDX-License-Identifier: MIT */
/* region.c - the label of memory without a name. */
#include "shm/region.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL "naru-region"
enum { VERSION = 1 };

void naru__region_label_write(char text[NARU_REGION_LABEL_ROOM],
                              const struct naru_region_label *label)
{
    snprintf(text, NARU_REGION_LABEL_ROOM, LABEL ":%d:%08" PRIx32 ":%016" PRIx64, VERSION,
             label->signature, label->reserve);
}

int naru__region_label_read(const char *link, struct naru_region_label *ret_label)
{
    static const char front[] = "/memfd:" LABEL ":";
    char *end;
    if (strncmp(link, front, sizeof front - 1) != 0)
        return -ENOENT;
    const char *p = link + sizeof front - 1;
    if (strtoul(p, &end, 10) != VERSION || *end != ':')
        return -EPROTO;
    uint64_t signature = strtoull(end + 1, &end, 16);
    if (*end != ':' || signature > UINT32_MAX)
        return -EPROTO;
    uint64_t reserve = strtoull(end + 1, &end, 16);
    if (*end != '\0' && *end != ' ') /* " (deleted)" */
        return -EPROTO;
    *ret_label = (struct naru_region_label){(uint32_t)signature, reserve};
    return 0;
}
