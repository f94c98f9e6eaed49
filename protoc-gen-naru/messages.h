/* SPDX-License-Identifier: MIT */
/* messages.h - the C of the messages, which protobuf-c's own plugin makes. */
#ifndef PROTOC_GEN_NARU_MESSAGES_H
#define PROTOC_GEN_NARU_MESSAGES_H

#include "protoc-gen-naru/model.h"

typedef Google__Protobuf__Compiler__CodeGeneratorResponse Response;

/* Adds its files to the response, or its error. Changes the request: protoc-gen-c is asked for what
 * it can. */
void add_messages(Request *request, const struct model *model, Response *response);

#endif
