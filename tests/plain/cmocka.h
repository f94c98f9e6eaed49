/* SPDX-License-Identifier: MIT */
/* cmocka.h - the part of cmocka's interface that the core tests use, in one header on libc alone.
 *
 * For musl and 32 bits, where no cmocka is installed. Prints TAP. A failed assertion leaves its
 * test by longjmp, as cmocka does. */
#ifndef NARU_TESTS_PLAIN_CMOCKA_H
#define NARU_TESTS_PLAIN_CMOCKA_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*plain_fixture)(void **state);

struct CMUnitTest {
    const char *name;
    void (*test_func)(void **state);
    plain_fixture setup_func, teardown_func;
    void *initial_state;
};

#define cmocka_unit_test(f) {#f, f, NULL, NULL, NULL}
#define cmocka_unit_test_setup_teardown(f, setup, teardown) {#f, f, setup, teardown, NULL}
#define cmocka_unit_test_setup(f, setup) {#f, f, setup, NULL, NULL}
#define cmocka_unit_test_teardown(f, teardown) {#f, f, NULL, teardown, NULL}
#define cmocka_unit_test_prestate(f, state) {#f, f, NULL, NULL, state}

#define CM_OUTPUT_TAP 0
#define cmocka_set_message_output(output) ((void)(output))
#define cmocka_set_test_filter(name) ((void)(plain_wanted = (name))) /* no pattern: the name */
#define print_message(...) printf(__VA_ARGS__)
#define print_error(...) fprintf(stderr, __VA_ARGS__)

static const char *plain_wanted;
static jmp_buf plain_leave;
enum { PLAIN_FAILED = 1, PLAIN_SKIPPED };

__attribute__((noreturn, unused)) static void plain_fail(const char *what, const char *file,
                                                         int line)
{
    printf("# %s:%d: %s\n", file, line, what);
    longjmp(plain_leave, PLAIN_FAILED);
}

__attribute__((unused)) static void plain_int(int good, const char *what, intmax_t a, intmax_t b,
                                              const char *file, int line)
{
    if (good)
        return;
    printf("# %" PRIdMAX " (%#" PRIxMAX ") beside %" PRIdMAX " (%#" PRIxMAX ")\n", a, (uintmax_t)a,
           b, (uintmax_t)b);
    plain_fail(what, file, line);
}

__attribute__((unused)) static void plain_string(int equal, const char *what, const char *a,
                                                 const char *b, const char *file, int line)
{
    if ((strcmp(a, b) == 0) == equal)
        return;
    printf("# \"%s\" beside \"%s\"\n", a, b);
    plain_fail(what, file, line);
}

#define fail() plain_fail("fail()", __FILE__, __LINE__)
#define fail_msg(...) (printf("# " __VA_ARGS__), printf("\n"), fail())
#define skip() longjmp(plain_leave, PLAIN_SKIPPED)
#define assert_true(c) ((c) ? (void)0 : plain_fail(#c, __FILE__, __LINE__))
#define assert_false(c) assert_true(!(c))
#define assert_null(p) assert_true((p) == NULL)
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_ptr_equal(a, b) assert_true((const void *)(a) == (const void *)(b))
#define assert_ptr_not_equal(a, b) assert_true((const void *)(a) != (const void *)(b))
#define plain_compare(a, op, b)                                                                    \
    do {                                                                                           \
        intmax_t plain_a = (intmax_t)(a), plain_b = (intmax_t)(b);                                 \
        plain_int(plain_a op plain_b, #a " " #op " " #b, plain_a, plain_b, __FILE__, __LINE__);    \
    } while (0)
#define assert_int_equal(a, b) plain_compare(a, ==, b)
#define assert_int_not_equal(a, b) plain_compare(a, !=, b)
#define assert_in_range(v, low, high) assert_true((v) >= (low) && (v) <= (high))
#define assert_return_code(r, error) assert_true((r) >= 0)
#define assert_string_equal(a, b) plain_string(1, #a " == " #b, a, b, __FILE__, __LINE__)
#define assert_string_not_equal(a, b) plain_string(0, #a " != " #b, a, b, __FILE__, __LINE__)
#define assert_memory_equal(a, b, n) assert_true(memcmp(a, b, n) == 0)
#define assert_memory_not_equal(a, b, n) assert_true(memcmp(a, b, n) != 0)

static int plain_wants(const struct CMUnitTest *t)
{
    return plain_wanted == NULL || strcmp(t->name, plain_wanted) == 0;
}

static int plain_run(const struct CMUnitTest *tests, size_t n, plain_fixture setup,
                     plain_fixture teardown)
{
    static void *group;
    volatile int failed = 0;
    size_t wanted = 0;
    for (size_t i = 0; i < n; i++)
        wanted += plain_wants(&tests[i]);
    printf("1..%zu\n", wanted);
    if (setup && setup(&group)) {
        printf("# the group's setup failed\n");
        return 1;
    }
    for (volatile size_t i = 0; i < n; i++) {
        const struct CMUnitTest *t = &tests[i];
        if (!plain_wants(t))
            continue;
        void *state = t->initial_state ? t->initial_state : group;
        void *volatile kept = state;
        int ended = setjmp(plain_leave);
        if (!ended) {
            if (t->setup_func && t->setup_func(&state))
                plain_fail("the test's setup failed", t->name, 0);
            kept = state;
            t->test_func(&state);
            kept = state;
        }
        state = kept;
        if (t->teardown_func && t->teardown_func(&state) && !ended)
            ended = PLAIN_FAILED;
        if (ended == PLAIN_SKIPPED)
            printf("not ok %zu # SKIP %s\n", i + 1, t->name);
        else
            printf("%sok %zu - %s\n", ended ? "not " : "", i + 1, t->name);
        failed += ended == PLAIN_FAILED;
        fflush(stdout);
    }
    if (teardown && teardown(&group)) {
        printf("# the group's teardown failed\n");
        failed++;
    }
    return failed;
}

#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    plain_run(tests, sizeof(tests) / sizeof(tests)[0], setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                  \
    cmocka_run_group_tests(tests, setup, teardown)

#endif
