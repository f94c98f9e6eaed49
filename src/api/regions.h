/* SPDX-License-Identifier: MIT */
/* regions.h - the static table of the kinds of regions. */
#ifndef NARU_API_REGIONS_H
#define NARU_API_REGIONS_H

#include "region/region.h"

/* The row of a scheme, NULL if it is no region in this build. */
const struct naru_region_kind *naru__region_kind(const char *scheme);

#endif
