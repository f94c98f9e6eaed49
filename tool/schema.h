/* SPDX-License-Identifier: MIT */
/* schema.h - what a server tells of its .proto files, and JSON of messages by it.
 *
 * schema.cpp does it with protobuf's own library, of C++: a module that the command loads when it
 * is needed, so that no other subcommand waits for that library, or needs it. */
#ifndef NARU_TOOL_SCHEMA_H
#define NARU_TOOL_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct schema;

enum schema_asks { SCHEMA_FILE, SCHEMA_SYMBOL, SCHEMA_EXTENSION, SCHEMA_EXTENSIONS };

/* Where the files come from: `got` is called with each packed FileDescriptorProto, and for
 * SCHEMA_EXTENSIONS with each number. 0; 1: there is none; negative: it cannot be asked. One thread
 * at a time. */
struct schema_source {
    int (*ask)(void *arg, enum schema_asks, const char *name, int number,
               void (*got)(void *to, const void *data, size_t size, int number), void *to);
    void *arg;
};

struct schema_method {
    const char *path;            /* "example.Store/Get" */
    const char *request, *reply; /* "example.Key" */
    bool client_streams, server_streams;
};

/* Strings that are given are freed by the caller; *ret_why tells why there is none. Any thread. */
struct schema_ops {
    size_t size;
    struct schema *(*open)(const struct schema_source *); /* copied */
    void (*close)(struct schema *);
    /* The methods of a service in their order. 0; -1: see *ret_why. */
    int (*methods)(struct schema *, const char *service,
                   void (*each)(void *arg, const struct schema_method *), void *arg,
                   char **ret_why);
    /* A definition as a .proto file has it, or one object of JSON. */
    char *(*describe)(struct schema *, const char *symbol, bool json, char **ret_why);
    void *(*pack)(struct schema *, const char *type, const char *json, size_t n, size_t *ret_size,
                  char **ret_why);
    char *(*print)(struct schema *, const char *type, const void *data, size_t n, char **ret_why);
};

extern __attribute__((visibility("default"))) const struct schema_ops naru_schema_ops;

#ifdef __cplusplus
}
#endif
#endif
