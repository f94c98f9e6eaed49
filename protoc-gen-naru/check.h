/* SPDX-License-Identifier: MIT */
/* check.h - refuses what would not compile: names that collide in C, and what protobuf-c cannot. */
#ifndef PROTOC_GEN_NARU_CHECK_H
#define PROTOC_GEN_NARU_CHECK_H

#include "protoc-gen-naru/model.h"

void check(const struct model *model);

#endif
