/* SPDX-License-Identifier: MIT */
/* files.h - the .proto files of a server's services, as their code carries them. */
#ifndef NARU_SERVICES_FILES_H
#define NARU_SERVICES_FILES_H

#include <naru/service.h>

#include <google/protobuf/descriptor.pb-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef Google__Protobuf__FileDescriptorProto File;

struct file {
    const struct naru_schema_file *packed;
    File *file;
};

/* Each file once, whatever services have it. */
struct files {
    struct file *all;
    size_t n;
    size_t services; /* of the server, that were looked at */
};

/* Looks at the services that the server has got since. 0, or a negative errno with its sentence. */
int files_update(struct files *, naru_server *);
void files_free(struct files *);

/* -1: there is none. Symbols and types without a dot in front. */
int file_by_name(const struct files *, const char *name);
int file_of_symbol(const struct files *, const char *symbol);
int file_of_extension(const struct files *, const char *type, int32_t number);

/* The numbers of a message type's extensions, to be freed; NULL: it has none. 0, or -ENOMEM. */
int extensions_of(const struct files *, const char *type, int32_t **ret_numbers, size_t *ret_n);

/* Marks a file and all that it imports. */
void file_mark(const struct files *, size_t i, bool *marks);

#endif
