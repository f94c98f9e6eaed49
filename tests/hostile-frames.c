/* SPDX-License-Identifier: MIT */
/* hostile-frames.c - a writer that is no naru, at the other end of a pipe and on a queue's FIFO.
 * Whatever it sends is a message, or an error with a sentence; never a crash, a hang, memory that
 * somebody announced. A queue goes on afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "transport/common/frame.h"

#include <naru/naru.h>

/* ---- bytes to send ---- */

static uint8_t wire[1 << 17];
static size_t n_wire;

static void put(const void *bytes, size_t n)
{
    memcpy(wire + n_wire, bytes, n);
    n_wire += n;
}

static void put_frame(struct naru_frame f, const void *payload)
{
    uint8_t header[FRAME_HEADER];
    naru__frame_encode(&f, header);
    put(header, sizeof header);
    if (payload)
        put(payload, f.size);
}

static void put_hello(void)
{
    uint8_t bytes[FRAME_HEADER + FRAME_HELLO_SIZE];
    naru__hello_encode(&(struct naru_hello){FRAME_VERSION, FRAME_HEADER, 1, 0, 1 << 20}, bytes);
    put(bytes, sizeof bytes);
}

static void put_whole(const char *text)
{
    put_frame((struct naru_frame){FRAME_WHOLE, 1, (uint32_t)strlen(text), 0, 0, 5, 1}, text);
}

/* HELLO, a short message, a long one of three pieces, BYE. */
static void put_conversation(bool greeting)
{
    static const char piece[50] = "a piece";
    if (greeting)
        put_hello();
    put_whole("short");
    put_frame((struct naru_frame){FRAME_FIRST, 2, 50, 100, 0, 5, 2}, piece);
    put_frame((struct naru_frame){FRAME_MORE, 2, 50, 50, 0, 5, 2}, piece);
    put_frame((struct naru_frame){FRAME_MORE, 2, 50, 0, 0, 5, 2}, piece);
    put_frame((struct naru_frame){FRAME_END, 2, 1, 0, 0, 5, 2}, "");
    put_whole("last");
    if (greeting)
        put_frame((struct naru_frame){FRAME_BYE, 0, 0, 0, 0, 1, 0}, NULL);
}

/* ---- victims ---- */

static naru_channel *victim;
static int to_victim = -1, from_victim = -1;
static char path[160], url[176];
static size_t queue_max = 1 << 20;

static void connection(size_t max_message)
{
    int to[2], from[2];
    char text[64];
    struct naru_channel_options o = {sizeof o, .max_message = max_message};
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    snprintf(text, sizeof text, "channel:pipe:%d:%d", to[0], from[1]);
    setenv("NARU_FD_raw", text, 1);
    assert_int_equal(naru_channel_inherit("raw", &o, &victim), 0);
    to_victim = to[1];
    from_victim = from[0];
    n_wire = 0;
}

static void queue(void)
{
    const char *directory = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/hostile-%d", directory ? directory : "/tmp", (int)getpid());
    snprintf(url, sizeof url, "fifo:%s", path);
    struct naru_queue_options o = {sizeof o, .max_message = queue_max};
    assert_int_equal(naru_queue_open(url, NARU_RECV, &o, &victim), 0);
    to_victim = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(to_victim >= 0);
    n_wire = 0;
}

static void hang_up(void)
{
    close(to_victim);
    to_victim = -1;
}

static void end(void)
{
    victim = naru_channel_close(victim);
    if (to_victim >= 0)
        close(to_victim);
    if (from_victim >= 0)
        close(from_victim);
    to_victim = from_victim = -1;
    if (path[0])
        assert_int_equal(naru_remove(url), 0);
    path[0] = '\0';
}

static void send_wire(void)
{
    assert_int_equal(write(to_victim, wire, n_wire), n_wire);
    n_wire = 0;
}

static ssize_t receive(int64_t timeout)
{
    static char buf[200000];
    return naru_channel_recv(victim, 0, buf, sizeof buf, NULL, timeout);
}

static void answers(int code)
{
    ssize_t r = receive(NARU_S);
    if (r != code)
        print_message("# %zd instead of %d: %s\n", r, code, naru_why());
    assert_int_equal(r, code);
    assert_true(*naru_why());
}

/* What was sent ends the connection, now and for every later call. */
static void is_refused(const char *word)
{
    send_wire();
    answers(-EPROTO);
    if (word && !strstr(naru_why(), word))
        print_message("# no \"%s\" in: %s\n", word, naru_why());
    assert_true(!word || strstr(naru_why(), word));
    answers(-EPROTO);
    end();
}

/* The queue takes good records after it, each of them. */
static void queue_goes_on(void)
{
    put_whole("good");
    put_whole("again");
    send_wire();
    int good = 0;
    for (int i = 0; i < 10000 && good < 2; i++) {
        ssize_t r = receive(NARU_S);
        assert_true(r >= 0 || r == -EPROTO);
        good += r == 4 || r == 5;
    }
    assert_int_equal(good, 2);
    ssize_t r = receive(NARU_NOWAIT); /* what was skipped is told of behind the good ones */
    assert_true(r == -EPROTO || r == -EAGAIN);
    assert_int_equal(receive(NARU_NOWAIT), -EAGAIN);
    end();
}

static long resident_kib(void)
{
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &size, &resident), 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* ---- the tests ---- */

static const struct naru_frame bad_frames[] = {
    {9, 1, 1, 0, 0, 5, 1},
    {FRAME_WHOLE, 1, UINT32_MAX, 0, 0, 5, 1},
    {FRAME_WHOLE, 1, FRAME_PIECE + 1, 0, 0, 5, 1},
    {FRAME_WHOLE, 0, 1, 0, 0, 5, 1},
    {FRAME_WHOLE, 1, 1, 7, 0, 5, 1},
    {FRAME_FIRST, 1, 65536, UINT32_MAX - 65535, 0, 5, 1},
    {FRAME_FIRST, 1, 1, UINT32_MAX, 0, 5, 1},
    {FRAME_FIRST, 1, 0, 9, 0, 5, 1},
    {FRAME_MORE, 1, 1, 0, 0, 5, 1},
    {FRAME_END, 1, 1, 0, 0, 5, 1},
    {FRAME_END, 1, 3, 0, 0, 5, 1},
    {FRAME_HELLO, 0, 4000, 0, 0, 5, 1},
};

static void bad_frames_end_a_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_frames / sizeof *bad_frames; i++) {
        connection(0);
        put_hello();
        put_frame(bad_frames[i], NULL);
        put("xxxx", 4);
        is_refused(NULL);
    }
    connection(0);
    put("GET / HTTP/1.1\r\nHost: naru\r\n\r\n...", 34);
    is_refused(NULL);
    connection(0);
    put_hello();
    /* the greeting is good; the next header is not */
    put_whole("x");
    wire[FRAME_HEADER + FRAME_HELLO_SIZE + 3] ^= 1;
    is_refused(NULL);
    connection(0);
    put_hello();
    put_frame((struct naru_frame){FRAME_FIRST, 1, 10, 10, 0, 5, 1}, "0123456789");
    put_whole("inside");
    is_refused("inside");
    connection(0);
    put_hello();
    put_frame((struct naru_frame){FRAME_FIRST, 1, 10, 10, 0, 5, 1}, "0123456789");
    put_frame((struct naru_frame){FRAME_MORE, 1, 9, 0, 0, 5, 1}, "012345678");
    is_refused("length");
}

/* Once, and never instead of a good record. */
static void queue_tells_of_garbage(void **state)
{
    (void)state;
    queue();
    put_whole("good");
    send_wire();
    assert_int_equal(receive(NARU_S), 4);
    put("garbage, and a record in the same write", 39);
    put_whole("again");
    send_wire();
    assert_int_equal(receive(NARU_S), 5);
    assert_int_equal(receive(NARU_NOWAIT), -EPROTO);
    assert_non_null(strstr(naru_why(), "no naru frame"));
    assert_int_equal(receive(NARU_NOWAIT), -EAGAIN);
    end();
}

static void bad_frames_do_not_end_a_queue(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_frames / sizeof *bad_frames; i++) {
        queue();
        put_frame(bad_frames[i], NULL);
        if (bad_frames[i].size < 5) /* what it says comes, so that it swallows nothing else */
            put("xxxxx", bad_frames[i].size);
        queue_goes_on();
    }
    queue();
    for (int i = 0; i < 1000; i++)
        put("printf says hello\n", 18);
    queue_goes_on();
}

static void queue_receivers_with_company_go_on_too(void **state)
{
    (void)state;
    naru_channel *other;
    queue();
    assert_int_equal(naru_queue_open(url, NARU_RECV, NULL, &other), 0);
    put("somebody wrote this with echo\n", 30);
    queue_goes_on();
    naru_channel_close(other);
}

static void greeting_of_another_version_names_both(void **state)
{
    (void)state;
    uint8_t bytes[FRAME_HEADER + FRAME_HELLO_SIZE];
    connection(0);
    naru__hello_encode(&(struct naru_hello){3, 64, 1, 0, 1 << 20}, bytes);
    put(bytes, sizeof bytes);
    put_whole("must not be seen");
    send_wire();
    answers(-EPROTO);
    assert_non_null(strstr(naru_why(), "version 3"));
    assert_non_null(strstr(naru_why(), "version 1"));
    answers(-EPROTO);
    assert_int_equal(naru_channel_send(victim, 1, "x", 1, 100 * NARU_MS), -EPROTO);
    end();
}

static void greeting_that_never_ends_is_waited_for_no_longer_than_asked(void **state)
{
    (void)state;
    connection(0);
    put_hello();
    n_wire -= 1;
    send_wire();
    assert_int_equal(receive(20 * NARU_MS), -ETIMEDOUT);
    assert_int_equal(naru_channel_send(victim, 1, "x", 1, 20 * NARU_MS), -ETIMEDOUT);
    assert_int_equal(receive(NARU_NOWAIT), -EAGAIN);
    hang_up();
    answers(-ECONNRESET);
    end();
}

static void message_before_the_greeting_is_refused(void **state)
{
    (void)state;
    connection(0);
    put_whole("too early");
    put_hello();
    is_refused("greeting");
}

static void every_frame_cut_at_every_byte(void **state)
{
    (void)state;
    n_wire = 0;
    put_conversation(true);
    size_t whole = n_wire;
    for (size_t cut = 0; cut < whole; cut++) {
        connection(0);
        put_conversation(true);
        n_wire = cut;
        send_wire();
        hang_up();
        int messages = 0;
        ssize_t r;
        while ((r = receive(NARU_S)) >= 0)
            messages++;
        assert_true(messages <= 3);
        assert_int_equal(r, -ECONNRESET); /* never in order: its BYE is missing */
        end();
    }
    connection(0);
    put_conversation(true);
    send_wire();
    hang_up();
    for (int i = 0; i < 3; i++)
        assert_true(receive(NARU_S) > 0);
    answers(-EPIPE);
    end();
}

static void every_record_cut_at_every_byte(void **state)
{
    (void)state;
    n_wire = 0;
    put_conversation(false);
    size_t whole = n_wire;
    for (size_t cut = 0; cut < whole; cut++) {
        queue();
        put_conversation(false);
        n_wire = cut;
        send_wire();
        for (int i = 0; i < 10; i++) /* the part is given up, so that a good record is seen */
            if (receive(NARU_NOWAIT) == -EAGAIN)
                break;
        queue_goes_on();
    }
}

static void announced_memory_is_not_taken(void **state)
{
    (void)state;
    static const uint8_t zeroes[100];
    long before = resident_kib();
    for (int i = 0; i < 5; i++) {
        connection(0);
        put_hello();
        put_frame((struct naru_frame){FRAME_FIRST, 1, 100, NARU_MESSAGE_MAX - 100, 0, 5, 1},
                  zeroes);
        send_wire();
        ssize_t r = receive(NARU_MS);
        assert_true(r == -ETIMEDOUT || r == -ENOMEM);
        assert_true(resident_kib() - before < 16384);
        end();
        queue_max = 0;
        queue();
        queue_max = 1 << 20;
        for (uint64_t k = 0; k < 10; k++)
            put_frame((struct naru_frame){FRAME_FIRST, 1, 100, NARU_MESSAGE_MAX - 100, 0, 5, k},
                      zeroes);
        send_wire();
        (void)receive(NARU_MS);
        assert_true(resident_kib() - before < 16384);
        end();
    }
    connection(1000);
    put_hello();
    put_frame((struct naru_frame){FRAME_FIRST, 1, 100, 1000, 0, 5, 1}, zeroes);
    is_refused(".max_message");
}

static void a_flood_of_greetings_is_only_that(void **state)
{
    (void)state;
    connection(0);
    for (int i = 0; i < 500; i++) {
        put_hello();
        put_frame((struct naru_frame){FRAME_BYE, 0, 0, 0, 0, 1, 0}, NULL);
    }
    send_wire();
    put_whole("after it");
    send_wire();
    long before = resident_kib();
    assert_int_equal(receive(NARU_S), 8);
    assert_true(resident_kib() - before < 4096);
    end();
}

/* Bits flipped in a conversation: a message, or an error with a sentence; and an end. */
static void flip(bool on_queue, long flips)
{
    uint32_t x = 88172645u;
    long messages = 0, errors = 0, done = 0;
    while (done < flips) {
        if (on_queue)
            queue();
        else
            connection(1 << 20);       /* AddressSanitizer does touch memory that is announced */
        for (int k = 0; k < 40; k++) { /* many conversations a victim, as long as it lives */
            n_wire = 0;
            put_conversation(!on_queue);
            if (!on_queue)
                n_wire -= FRAME_HEADER; /* its BYE, for more is to come */
            for (int i = 0; i < 3; i++, done++) {
                x ^= x << 13, x ^= x >> 17, x ^= x << 5;
                wire[x / 8 % n_wire] ^= (uint8_t)(1u << x % 8);
            }
            send_wire();
            ssize_t r;
            int calls = 0;
            while ((r = receive(NARU_NOWAIT)) != -EAGAIN && ++calls < 1000) {
                messages += r >= 0;
                errors += r < 0;
                assert_true(r >= 0 || (r == -EPROTO && *naru_why()));
                if (r < 0 && !on_queue)
                    break;
            }
            assert_true(calls < 1000);
            if (r < 0 && r != -EAGAIN)
                break;
        }
        end();
    }
    print_message("# %ld bits flipped: %ld messages, %ld errors\n", done, messages, errors);
    assert_true(messages > 0 && errors > 0);
}

static void flipped_bits_on_a_connection(void **state)
{
    (void)state;
    flip(false, 100000);
}

static void flipped_bits_on_a_queue(void **state)
{
    (void)state;
    flip(true, 100000);
}

static void damaged_inherit_variables_are_refused(void **state)
{
    (void)state;
    int p[2];
    char text[128];
    naru_channel *c;
    naru_stream *s;
    static const char *const forms[] = {
        "",
        ":",
        "channel",
        "channel:pipe",
        "channel:pipe:%d",
        "channel:pipe:%d:",
        "channel:pipe:%d:-",
        "channel:pipe:-:%d",
        "channel:pipe:-:-",
        "channel:pipe:%d:%d",
        "channel:nothing:%d:%d",
        "channel:fifo:%d:%d",
        "stream:pipe:%d:9999999",
        "stream:pipe:99999999999999999999:%d",
        "stream:pipe:1:2",
        "stream:pipe:-1:-1",
        "stream:pipe:%d:%d:more",
        "lock:pipe:%d:%d",
    };
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
        snprintf(text, sizeof text, forms[i], p[0], p[0]);
#pragma GCC diagnostic pop
        setenv("NARU_FD_x", text, 1);
        for (int noun = 0; noun < 2; noun++) {
            int r = noun ? naru_channel_inherit("x", NULL, &c) : naru_stream_inherit("x", &s);
            if (r >= 0 || !*naru_why())
                print_message("# \"%s\": %d %s\n", text, r, naru_why());
            assert_true(r == -EPROTO || r == -EINVAL);
            assert_true(*naru_why());
        }
        assert_true(fcntl(p[0], F_GETFD) >= 0); /* still the caller's */
    }
    unsetenv("NARU_FD_x");
    close(p[0]);
    close(p[1]);
}

/* Ends that came by inheritance are nobody's pair. */
static void an_inherited_end_is_not_adopted(void **state)
{
    (void)state;
    connection(0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(naru_adopt(victim) == -EOPNOTSUPP && *naru_why() ? 0 : 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_frames_end_a_connection),
        cmocka_unit_test(bad_frames_do_not_end_a_queue),
        cmocka_unit_test(queue_tells_of_garbage),
        cmocka_unit_test(queue_receivers_with_company_go_on_too),
        cmocka_unit_test(greeting_of_another_version_names_both),
        cmocka_unit_test(greeting_that_never_ends_is_waited_for_no_longer_than_asked),
        cmocka_unit_test(message_before_the_greeting_is_refused),
        cmocka_unit_test(every_frame_cut_at_every_byte),
        cmocka_unit_test(every_record_cut_at_every_byte),
        cmocka_unit_test(announced_memory_is_not_taken),
        cmocka_unit_test(a_flood_of_greetings_is_only_that),
        cmocka_unit_test(flipped_bits_on_a_connection),
        cmocka_unit_test(flipped_bits_on_a_queue),
        cmocka_unit_test(damaged_inherit_variables_are_refused),
        cmocka_unit_test(an_inherited_end_is_not_adopted),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    alarm(240); /* a hang ends here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
