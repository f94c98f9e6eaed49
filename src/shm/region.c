/* SPDX-License-Identifier: MIT */
/* region.c - the label of memory without a name, and of files. */
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

int naru__region_label_parse(const char *text, struct naru_region_label *ret_label)
{
    static const char front[] = LABEL ":";
    char *end;
    if (strncmp(text, front, sizeof front - 1) != 0 ||
        strtoul(text + sizeof front - 1, &end, 10) != VERSION || *end != ':')
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

int naru__region_label_read(const char *link, struct naru_region_label *ret_label)
{
    static const char front[] = "/memfd:", label[] = LABEL ":";
    if (strncmp(link, front, sizeof front - 1) != 0 ||
        strncmp(link + sizeof front - 1, label, sizeof label - 1) != 0)
        return -ENOENT;
    return naru__region_label_parse(link + sizeof front - 1, ret_label);
}
