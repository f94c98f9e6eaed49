/* SPDX-License-Identifier: MIT */
/* open.h - opening a queue or topic, for naru send and naru recv. */
#ifndef NARU_TOOL_OPEN_H
#define NARU_TOOL_OPEN_H

#include "tool/command.h"

#include <naru/naru.h>

/* --topic opens a topic; else what is under the name decides, and a new name becomes a queue. role:
 * NARU_SEND or NARU_RECV. The exit status, after a sentence. */
int open_channel(struct invocation *, int role, naru_channel **ret_c);

/* "3", "-3", "!3" of --select. The exit status. */
int parse_select(struct invocation *, int64_t *ret_select);

/* The options of both commands. */
#define OPEN_OPTIONS OPEN_TOPIC, OPEN_HISTORY, OPEN_CAPACITY, OPEN_MESSAGES
#define OPEN_SYNC                                                                                  \
    {.name = "sync",                                                                               \
     .argument = "WHEN",                                                                           \
     .kind = OPTION_TEXT,                                                                          \
     .help = "of map: none (default), each, or milliseconds after which the medium has it"}
#define OPEN_CURSOR                                                                                \
    {.name = "cursor",                                                                             \
     .argument = "NAME",                                                                           \
     .kind = OPTION_TEXT,                                                                          \
     .help = "of map: go on where that cursor is, and move it"}
#define OPEN_TOPIC                                                                                 \
    {.name = "topic", .help = "open a topic; else what is there decides, and a new one is a queue"}
#define OPEN_HISTORY                                                                               \
    {.name = "history",                                                                            \
     .argument = "N",                                                                              \
     .kind = OPTION_NUMBER,                                                                        \
     .min = 1,                                                                                     \
     .max = 16777214,                                                                              \
     .help = "of a new topic: messages of each publisher kept for late subscribers"}
#define OPEN_CAPACITY                                                                              \
    {.name = "capacity",                                                                           \
     .argument = "BYTES",                                                                          \
     .kind = OPTION_SIZE,                                                                          \
     .min = 1,                                                                                     \
     .max = INT64_C(1) << 35,                                                                      \
     .help = "of a new one: bytes that it should hold (default: the kind's)"}
#define OPEN_MESSAGES                                                                              \
    {.name = "messages",                                                                           \
     .argument = "N",                                                                              \
     .kind = OPTION_NUMBER,                                                                        \
     .min = 1,                                                                                     \
     .max = 16777214,                                                                              \
     .help = "of a new queue: messages that it should hold (default: the kind's)"}
#define SELECT_OPTION                                                                              \
    {.name = "select",                                                                             \
     .argument = "S",                                                                              \
     .kind = OPTION_TEXT,                                                                          \
     .help = "T, -T (the lowest type up to T) or !T (any but T); 0 any (default)"}

#endif
