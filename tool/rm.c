/* SPDX-License-Identifier: MIT */
/* rm.c - naru rm: removes names. */
#include "tool/command.h"
#include "tool/print.h"

#include <naru/naru.h>

static int run(struct invocation *in)
{
    int status = 0;
    for (int i = 0; i < in->n_arguments; i++) {
        int r = naru_remove(in->arguments[i]);
        if (wants_json(in)) {
            json_t *object = json_pack("{s:s, s:b}", "url", in->arguments[i], "removed", r == 0);
            json_line(object);
            json_decref(object);
        }
        if (r < 0)
            status = fail_naru(in);
    }
    return status;
}

const struct command rm_command = {
    "rm",
    "removes names and what they hold",
    "URL...",
    "Whoever has the object open keeps it until it closes. What is not of the URL's kind is left "
    "alone.",
    1,
    -1,
    NULL,
    run,
};
