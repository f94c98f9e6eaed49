/* SPDX-License-Identifier: MIT */
/* name.h - how a name of a .proto file is spelled in C.
 *
 * Types, enumerators and fields are spelled as protobuf-c does, whose generator makes them. Of
 * services the names begin with package and service, with single underscores between. */
#ifndef PROTOC_GEN_NARU_NAME_H
#define PROTOC_GEN_NARU_NAME_H

#include "protoc-gen-naru/place.h"

#include <stdbool.h>

/* The parts of a full name, ".example.AddRequest" or "example.Calculator", one by one spelled: */
enum spelling { CAMEL, /* AddRequest */ LOWER, /* add_request */ UPPER /* ADD_REQUEST */ };
char *spell(enum spelling how, const char *name, const char *between);

/* With the package that option (pb_c_file).c_package gives. */
const char *with_c_package(const File *file, const char *full_name);

/* A member of a struct: a field in lower case, a keyword with an underscore behind. */
char *field_name(const char *name);
char *member_name(const char *name); /* of a method */

/* The name of a field that protobuf-c's generator is told: its own list of keywords is not whole.
 */
char *eased_name(const char *name);

/* Of C, of C++, or a macro that compilers define. */
bool is_keyword(const char *name);
bool is_identifier(const char *name);

/* A .proto file's own: "example/store" of "example/store.proto". */
char *without_suffix(const char *file_name);

/* The string that an extension by protobuf-c's generator (number 1019 of *Options) has in a field;
 * NULL if it is not there. */
char *c_option(const ProtobufCMessage *options, unsigned field);

#endif
