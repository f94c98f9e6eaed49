/* SPDX-License-Identifier: MIT */
/* talk.h - both directions of a connection at once, for naru listen and naru connect. */
#ifndef NARU_TOOL_TALK_H
#define NARU_TOOL_TALK_H

#include "tool/command.h"

#include <naru/naru.h>

/* Standard input goes in, what comes goes to standard output. At the end of input this direction is
 * finished; it is over when both are. One of the two is NULL. Closes it. The exit status. */
int talk(struct invocation *, naru_stream *, naru_channel *);

/* The options of both commands. */
#define TALK_OPTIONS TALK_MESSAGES, TALK_TYPE, TALK_FORMAT, TALK_TIMEOUT
#define TALK_MESSAGES                                                                              \
    {.name = "messages", .help = "a framed connection: one message a line, both ways"}
#define TALK_TYPE                                                                                  \
    {.name = "type",                                                                               \
     .argument = "T",                                                                              \
     .kind = OPTION_NUMBER,                                                                        \
     .min = 1,                                                                                     \
     .max = NARU_TYPE_MAX,                                                                         \
     .help = "the type of the messages sent (default 1)"}
#define TALK_FORMAT                                                                                \
    {.name = "format",                                                                             \
     .argument = "FORMAT",                                                                         \
     .kind = OPTION_CHOICE,                                                                        \
     .words = FORMAT_WORDS,                                                                        \
     .help = "of messages: text (default), hex, json: a line each; raw: no newlines"}
#define TALK_TIMEOUT                                                                               \
    {.name = "timeout",                                                                            \
     .argument = "SECONDS",                                                                        \
     .kind = OPTION_SECONDS,                                                                       \
     .help = "give up when nobody is there for so long (default: never)"}

#endif
