/* SPDX-License-Identifier: MIT */
/* test-abi.c - what a program compiled against this release may rely on: sizes, numbers, names.
 *
 * A size that changes here breaks programs that were compiled before; option structs grow at the
 * end only. Runs with every compiler and C library, and in 32 bits. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <naru/naru.h>

#define WORDS(n64, n32) (sizeof(void *) == 8 ? (n64) : (n32))

static void sizes_are_pinned(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct naru_info), 64);
    assert_int_equal(sizeof(struct naru_message), WORDS(112, 104));
    assert_int_equal(offsetof(struct naru_message, info), WORDS(16, 8));
    assert_int_equal(sizeof(struct naru_exit), 8);
    assert_int_equal(offsetof(struct naru_stats, note), WORDS(88, 84));
    assert_int_equal(offsetof(struct naru_stream_options, size), 0);
    assert_int_equal(offsetof(struct naru_channel_options, size), 0);
    assert_int_equal(offsetof(struct naru_queue_options, size), 0);
    assert_int_equal(offsetof(struct naru_topic_options, size), 0);
    assert_int_equal(offsetof(struct naru_spawn_options, size), 0);
    assert_int_equal(sizeof(struct naru_payload), WORDS(80, 72));
    assert_int_equal(sizeof(struct naru_status), WORDS(32, 16));
    assert_int_equal(offsetof(struct naru_server_options, size), 0);
    assert_int_equal(offsetof(struct naru_client_options, size), 0);
    assert_int_equal(offsetof(struct naru_call_options, size), 0);
    assert_int_equal(offsetof(struct naru_call_events, size), 0);
    assert_int_equal(offsetof(struct naru_peer, size), 0);
}

static void numbers_are_pinned(void **state)
{
    (void)state;
    assert_int_equal(NARU_FOREVER, -1);
    assert_int_equal(NARU_NOWAIT, 0);
    assert_int_equal(NARU_READ | NARU_WRITE, 3);
    assert_int_equal(NARU_RECV | NARU_SEND, 3);
    assert_int_equal(NARU_EXCEPT(7), ((int64_t)1 << 40) + 7);
    assert_int_equal(NARU_NOUN_COUNT, 7);
    assert_int_equal(NARU_STATUS_UNAUTHENTICATED, 16); /* gRPC's */
    assert_int_equal(NARU_LATER, 1000);
    assert_int_equal(naru_signature("struct job", 28, 4), naru_signature("struct job", 28, 4));
    assert_true(naru_signature("struct job", 28, 4) != naru_signature("struct job", 32, 4));
}

static void version_is_the_headers(void **state)
{
    (void)state;
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", NARU_VERSION_MAJOR, NARU_VERSION_MINOR,
             NARU_VERSION_PATCH);
    assert_string_equal(naru_version(), text);
}

static void every_error_has_its_name(void **state)
{
    (void)state;
#define ROW(code, name, meaning) {code, name},
    static const struct {
        int code;
        const char *name;
    } rows[] = {NARU_ERRORS(ROW)};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(naru_strerror(-rows[i].code), rows[i].name);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(rows[i].name, rows[k].name);
    }
    assert_string_equal(naru_strerror(-4000), "error");
}

static void a_message_crosses(void **state)
{
    (void)state;
    naru_channel *a, *b;
    char buf[8];
    struct naru_info info;
    assert_int_equal(naru_channel_pair("pipe:", NULL, &a, &b), 0);
    assert_int_equal(naru_channel_send(a, 3, "ferry", 6, NARU_S), 0);
    assert_int_equal(naru_channel_recv(b, 3, buf, sizeof buf, &info, NARU_S), 6);
    assert_string_equal(buf, "ferry");
    assert_int_equal(info.type, 3);
    naru_channel_close(a);
    naru_channel_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_pinned),         cmocka_unit_test(numbers_are_pinned),
        cmocka_unit_test(version_is_the_headers),   cmocka_unit_test(every_error_has_its_name),
        cmocka_unit_test(a_message_crosses),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
