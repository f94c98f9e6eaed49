/* SPDX-License-Identifier: MIT */
/* model.h - the services of the files that protoc wants generated, with their names in C. */
#ifndef PROTOC_GEN_NARU_MODEL_H
#define PROTOC_GEN_NARU_MODEL_H

#include "protoc-gen-naru/place.h"

#include <stdbool.h>

typedef Google__Protobuf__Compiler__CodeGeneratorRequest Request;
typedef Google__Protobuf__DescriptorProto Message;
typedef Google__Protobuf__EnumDescriptorProto Enum;
typedef Google__Protobuf__FieldDescriptorProto Field;

/* Field numbers of descriptor.proto, which places are made of. */
enum {
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    FILE_EXTENSION = 7,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    MESSAGE_EXTENSION = 6,
    MESSAGE_ONEOF = 8,
    ENUM_VALUE = 2,
    SERVICE_METHOD = 2,
};

/* A message or an enum. */
struct type {
    const char *full_name; /* ".example.AddRequest" */
    const char *c;         /* Example__AddRequest */
    const char *lower;     /* example__add_request */
};

struct method {
    struct place place;
    const char *name;   /* "Add" */
    const char *c;      /* example_calculator_add */
    const char *member; /* add: of the table of handlers */
    const char *flags;  /* "NARU_SERVER_STREAMS | NARU_IDEMPOTENT", "0" */
    bool client_streams, server_streams, deprecated;
    const struct type *request, *reply;
};

struct service {
    struct place place;
    const char *name; /* "example.Calculator" */
    const char *c;    /* example_calculator */
    struct method *methods;
    size_t n;
};

struct unit {
    const File *file;
    const char *stem; /* "example/calculator" */
    struct service *services;
    size_t n;
};

struct model {
    const Request *request;
    struct type *types; /* of all files, sorted */
    size_t n_types;
    struct unit *units; /* of request->file_to_generate, in its order */
    size_t n;
};

/* What cannot be found is refused. */
struct model model_of(const Request *request);

/* NULL if it is in none of the files. */
const struct type *type_named(const struct model *model, const char *full_name);

/* The file of this name, NULL if the request has none. */
const File *file_named(const Request *request, const char *name);

/* Whether the file has proto3's rules. */
bool is_proto3(const File *file);

#endif
