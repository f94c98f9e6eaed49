/* SPDX-License-Identifier: MIT */
/* harness.h - test cases in processes of their own, reported as TAP.
 *
 * Each case runs in a forked process and group with a time limit, starts and ends with the same
 * descriptors open, and gets a directory of its own, empty at the end. A case fails by expect(), by
 * dying, by hanging, by leaking. */
#ifndef NARU_TESTS_HARNESS_H
#define NARU_TESTS_HARNESS_H

#include "patience.h"

#include <errno.h>
#include <naru/naru.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct test_case {
    const char *name;
    void (*run)(void);
};

/* Runs all (or those whose name has argv[1] in it); prints the plan. The exit status. */
int run_cases(const struct test_case *, size_t n, int argc, char **argv);

/* One case, for suites that make their own list. why: what went wrong. */
bool run_case(const char *name, void (*run)(void), int seconds, char *why, size_t size);
int case_seconds(int usual); /* or CASE_SECONDS, which the long suites and planted faults set */
void tap_result(bool ok, const char *name, const char *why);
void tap_skip(const char *name, const char *reason);
int tap_end(void); /* prints the plan; the exit status */

extern char test_directory[128];        /* of the running case */
const char *test_url(const char *form); /* "fifo:%s/x" with the directory; "posix-mq:/%s-x" with
                                         * its last part */

_Noreturn void test_failed(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define expect(condition)                                                                          \
    ((condition) ? (void)0 : test_failed(__FILE__, __LINE__, "%s (%s)", #condition, naru_why()))
#define expect_code(code, call)                                                                    \
    do {                                                                                           \
        long got_ = (long)(call);                                                                  \
        if (got_ != (code))                                                                        \
            test_failed(__FILE__, __LINE__, "%s gave %ld, not %ld (%s)", #call, got_,              \
                        (long)(code), naru_why());                                                 \
    } while (0)
#define expect_ok(call)                                                                            \
    do {                                                                                           \
        long got_ = (long)(call);                                                                  \
        if (got_ < 0)                                                                              \
            test_failed(__FILE__, __LINE__, "%s gave %ld (%s)", #call, got_, naru_why());          \
    } while (0)
#define expect_says(text)                                                                          \
    (strstr(naru_why(), (text))                                                                    \
         ? (void)0                                                                                 \
         : test_failed(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", naru_why(), (text)))

/* In a case: it cannot be shown here, and why. */
_Noreturn void test_skip(const char *why);

/* A child process of a case: runs body, exits 0. end_child fails the case if it did not. */
pid_t start_child(void (*body)(void *), void *context);
void end_child(pid_t);

int64_t test_now(void);
int open_descriptors(void);

#endif
