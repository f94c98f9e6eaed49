/* SPDX-License-Identifier: MIT */
/* journal.c - naru verify and naru trim. */
#include "tool/command.h"
#include "tool/print.h"
#include "tool/stop.h"

#include <naru/naru.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- verify ---- */

static int progress(void *arg, uint64_t done, uint64_t all)
{
    char a[32], b[32];
    (void)arg;
    if (is_live(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%s of %s", bytes_text(done, a, sizeof a),
                bytes_text(all, b, sizeof b));
    return stopped();
}

static void tell(const struct naru_journal_report *r)
{
    char size[32];
    printf("%llu messages (%llu to %llu) of %s in %llu segments\n", (unsigned long long)r->records,
           (unsigned long long)r->first, (unsigned long long)r->last,
           bytes_text(r->bytes, size, sizeof size), (unsigned long long)r->segments);
    if (r->torn)
        printf(
            "a torn tail of %llu bytes, which nobody was promised; the next sender cuts it off\n",
            (unsigned long long)r->torn);
    if (r->behind)
        printf("%llu messages in it are whole, behind one that is not: they were not synced when "
               "the power went, and go with it\n",
               (unsigned long long)r->behind);
    if (r->unbegun)
        printf("%llu segments hold nothing: they were not synced when the power went\n",
               (unsigned long long)r->unbegun);
    if (r->damaged)
        printf("DAMAGED in %llu places; the first: message %llu, segment-%010llu, byte %llu; %llu "
               "messages behind it are readable\n",
               (unsigned long long)r->damaged, (unsigned long long)r->bad_sequence,
               (unsigned long long)r->bad_segment, (unsigned long long)r->bad_offset,
               (unsigned long long)r->readable);
}

static int run_verify(struct invocation *in)
{
    struct naru_journal_report r = {.size = sizeof r};
    stop_on_signals(NULL);
    int code = naru_journal_verify(in->arguments[0], &r, progress, NULL);
    if (is_live(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (stopped())
        return 128 + stopped();
    if (code < 0)
        return fail_naru(in);
    if (wants_json(in)) {
        json_t *o = json_pack(
            "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "whole",
            code == 0, "segments", (json_int_t)r.segments, "records", (json_int_t)r.records,
            "bytes", (json_int_t)r.bytes, "first", (json_int_t)r.first, "last", (json_int_t)r.last,
            "torn", (json_int_t)r.torn, "damaged", (json_int_t)r.damaged, "bad_segment",
            (json_int_t)r.bad_segment, "bad_offset", (json_int_t)r.bad_offset, "bad_sequence",
            (json_int_t)r.bad_sequence, "readable", (json_int_t)r.readable, "unbegun",
            (json_int_t)r.unbegun, "behind", (json_int_t)r.behind);
        json_line(o);
        json_decref(o);
    } else {
        tell(&r);
    }
    return code ? EXIT_FAILED : 0;
}

static const struct option_row verify_options[] = {{0}};

const struct command verify_command = {
    "verify",
    "reads a journal from end to end and compares every check sum",
    "URL",
    "URL is a queue or topic on map:. A torn tail, what a sender that died or lost power had "
    "begun, also a segment in which nothing is yet, is told and is no damage. After a loss of "
    "power it begins at the first message that is not whole and was not synced, and what is whole "
    "behind that goes with it. Damage before it is: exit status 1, with the first bad byte and how "
    "much is readable behind it. Nothing is written.",
    1,
    1,
    verify_options,
    run_verify,
};

/* ---- trim ---- */

static int run_trim(struct invocation *in)
{
    uint64_t bytes = 0;
    char size[32];
    if (!option(in, "before")->given)
        return usage(in, "what is to be kept? --before SEQUENCE is the first message to keep");
    if (naru_journal_trim(in->arguments[0], (uint64_t)option_number(in, "before", 0), &bytes) < 0)
        return fail_naru(in);
    if (wants_json(in)) {
        json_t *o = json_pack("{s:I}", "freed", (json_int_t)bytes);
        json_line(o);
        json_decref(o);
    } else {
        printf("%s freed\n", bytes_text(bytes, size, sizeof size));
    }
    return 0;
}

static const struct option_row trim_options[] = {
    {.name = "before",
     .argument = "SEQUENCE",
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = INT64_MAX,
     .help = "the first message to keep; naru log tells which has which"},
    {0},
};

const struct command trim_command = {
    "trim",
    "gives up the oldest messages of a journal",
    "URL --before SEQUENCE",
    "URL is a queue or topic on map:. Whole segments go, so something older may stay. A cursor "
    "that "
    "is behind goes on there, and its receiver is told how many it missed.",
    1,
    1,
    trim_options,
    run_trim,
};
