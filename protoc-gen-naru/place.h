/* SPDX-License-Identifier: MIT */
/* place.h - where in a .proto file something stands, and sentences about it. */
#ifndef PROTOC_GEN_NARU_PLACE_H
#define PROTOC_GEN_NARU_PLACE_H

#include <google/protobuf/compiler/plugin.pb-c.h>

typedef Google__Protobuf__FileDescriptorProto File;

/* A path as google.protobuf.SourceCodeInfo has it: field number, index, field number, ... */
enum { PLACE_STEPS = 32 };
struct place {
    const File *file;
    int steps[PLACE_STEPS];
    unsigned n;
};

/* An element of this one; deeper than PLACE_STEPS it is this one. */
struct place inside(struct place p, int field, int index);

/* NULL if protoc did not tell. */
const Google__Protobuf__SourceCodeInfo__Location *location(struct place p);

/* "store.proto:12" */
const char *where(struct place p);

/* Refuses: one line "file:line: sentence". All that was refused, or NULL. */
void refuse(struct place p, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *refused(void);

/* A string of a message: never NULL. */
const char *str(const char *s);

#endif
