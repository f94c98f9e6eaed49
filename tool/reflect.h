/* SPDX-License-Identifier: MIT */
/* reflect.h - a server and what it tells of itself, for naru methods, describe and call. */
#ifndef NARU_TOOL_REFLECT_H
#define NARU_TOOL_REFLECT_H

#include "tool/command.h"
#include "tool/schema.h"

#include <naru/naru.h>

struct reflect {
    struct invocation *in;
    naru_client *client;
    naru_call *call; /* the stream of questions, NULL before the first */
    bool first_form; /* v1alpha */
    int64_t until;   /* of the clock, NARU_FOREVER */
    const struct schema_ops *ops;
    struct schema *schema;
    char why[512]; /* the last question that could not be asked */
};

/* Opens a client of the first argument's URL, with --deadline and --wait. The exit status. */
int reflect_open(struct reflect *, struct invocation *);
void reflect_close(struct reflect *);
/* Each service that the server names. The exit status, after a sentence. */
int reflect_services(struct reflect *, void (*each)(void *, const char *name), void *arg);
/* What is left of --deadline: of naru_call_options. */
int64_t reflect_left(const struct reflect *);
/* A failure with a sentence of the schema's, which it frees; the exit status. */
int reflect_fail(struct reflect *, char *why);

#define REFLECT_DEADLINE                                                                           \
    {.name = "deadline",                                                                           \
     .argument = "SECONDS",                                                                        \
     .kind = OPTION_SECONDS,                                                                       \
     .help = "give up after so long, all together (default: never)"}
#define REFLECT_WAIT {.name = "wait", .help = "wait for a server that is not there yet"}

#endif
