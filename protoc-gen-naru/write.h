/* SPDX-License-Identifier: MIT */
/* write.h - the header and the source of a file's services. */
#ifndef PROTOC_GEN_NARU_WRITE_H
#define PROTOC_GEN_NARU_WRITE_H

#include "protoc-gen-naru/model.h"

char *header_of(const struct unit *unit);
char *source_of(const struct unit *unit, const Request *request);

#endif
