/* SPDX-License-Identifier: MIT */
/* gc.c - naru gc: cleans up after the dead. */
#include "tool/command.h"
#include "tool/print.h"

#include <naru/naru.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int collect(struct invocation *in, const char *url)
{
    struct naru_collected c = {.size = sizeof c};
    bool dry = option_flag(in, "dry-run");
    if (naru_collect(url, dry ? NARU_DRY_RUN : 0, &c) < 0)
        return fail_naru(in);
    if (wants_json(in)) {
        json_t *o = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "url", url, "dry_run",
                              dry, "participants", (json_int_t)c.participants, "messages",
                              (json_int_t)c.messages, "permits", (json_int_t)c.permits, "leftovers",
                              (json_int_t)c.leftovers, "lanes", (json_int_t)c.lanes, "files",
                              (json_int_t)c.files);
        json_line(o);
        json_decref(o);
        return 0;
    }
    const char *done = dry ? "would be" : "were";
    if (c.participants)
        printf("%s: %" PRIu64 " dead participants %s cleaned up", url, c.participants, done);
    if (c.participants && c.messages)
        printf(", %" PRIu64 " messages that they had taken can be received again", c.messages);
    if (c.participants && c.permits)
        printf(", %" PRIu64 " permits that they owned are free again", c.permits);
    if (c.participants)
        putchar('\n');
    if (c.lanes || c.files)
        printf("%s: %" PRIu64 " empty lanes of senders that have left, and %" PRIu64
               " files that nobody needs, %s removed\n",
               url, c.lanes, c.files, done);
    if (c.leftovers)
        printf("%s: %" PRIu64 " directories of makers and removers that died %s removed\n", url,
               c.leftovers, done);
    return 0;
}

/* A directory: the objects in it, and then what lies between them. */
static int collect_all(struct invocation *in, const char *url)
{
    naru_snapshot *s;
    const struct naru_view *v;
    int status = 0;
    bool itself = false;
    if (naru_snapshot_list(url, &s) < 0)
        return fail_naru(in);
    for (size_t i = 0; (v = naru_snapshot_view(s, i)); i++) {
        if (strcmp(v->noun, "listener") == 0) /* its own successor replaces it */
            continue;
        itself |= strcmp(v->url, url) == 0;
        int r = collect(in, v->url);
        status = r ? r : status;
    }
    naru_snapshot_free(s);
    int r = itself ? 0 : collect(in, url);
    return r ? r : status;
}

static int run(struct invocation *in)
{
    int status = 0;
    for (int i = 0; i < in->n_arguments || i == 0; i++) {
        int r = collect_all(in, in->n_arguments ? in->arguments[i] : "shm:");
        status = r ? r : status;
    }
    return status;
}

static const struct option_row options[] = {
    {.name = "dry-run", .help = "say what would be done, and do nothing"},
    {0},
};

const struct command gc_command = {
    "gc",
    "cleans up after the dead",
    "[URL...]",
    "Without URL, or with shm:, all objects of this user; shm:/dir those in that directory. The "
    "records and claims of dead participants go, and what they had taken can be received again; "
    "so do lanes that senders have left and that are empty, files of theirs that nobody needs, "
    "and the directories that makers and removers who were killed have left. What lives stays, "
    "and no object is removed: naru rm does that. Whoever takes part does the same where the dead "
    "stand in its way, so this is for what nobody comes by.",
    0,
    -1,
    options,
    run,
};
