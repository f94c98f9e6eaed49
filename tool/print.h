/* SPDX-License-Identifier: MIT */
/* print.h - tables (libsmartcols) and JSON lines (jansson) on standard output. */
#ifndef NARU_TOOL_PRINT_H
#define NARU_TOOL_PRINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct invocation;
struct table;

struct table *table_new(const char *const *heads, size_t n);
void table_row(struct table *, const char *const *cells);
int table_end(struct table *, bool print); /* prints, frees; the exit status */

/* One object on a line of its own. */
void json_line(const json_t *);

struct naru_fact;
void json_facts(json_t *object, const struct naru_fact *, size_t n);
/* "4.5 KiB". Returns buf. */
const char *bytes_text(uint64_t bytes, char *buf, size_t n);

/* All n bytes in as few writes as it takes; 0 or -errno. */
int write_all(int fd, const void *data, size_t n);

/* A directory without directories in it: the files and then itself. */
void empty_directory(const char *path);
void remove_directory(const char *path);

/* Is this text for people to look at, and may it move and glow? */
bool is_live(int fd);

/* Is it valid UTF-8 without control characters but tab and newline? */
bool is_text(const void *data, size_t n);

/* On standard error, if the URL is not the one given: with port 0 nobody knows it otherwise. */
void tell_where(const struct invocation *, const char *url);

#endif
