/* SPDX-License-Identifier: MIT */
/* fifo.c - moments of a FIFO that chance seldom meets: a writer that comes, writes and goes between
 * two system calls of the reader's. */
#include "base/fault.h"
#include "harness.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const char *path;
static int looks; /* at which whether somebody is there it comes */

static int come_and_go(const char *call)
{
    if (strcmp(call, "ppoll") != 0 || --looks != 0)
        return 0;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    expect(fd >= 0 && write(fd, "brief", 5) == 5);
    close(fd);
    return 0;
}

static void read_from_the_brief(unsigned flags)
{
    const struct naru_stream_options o = {.size = sizeof o, .flags = flags};
    const char *url = test_url("fifo:%s/f");
    naru_stream *s;
    char text[8] = "";
    path = strchr(url, ':') + 1;
    for (int at = 1; at <= 3; at++) {
        expect_ok(naru_stream_open(url, NARU_READ, &o, NARU_NOWAIT, &s));
        looks = at;
        naru__fault = come_and_go;
        ssize_t n = naru_stream_read(s, text, sizeof text, PATIENCE);
        naru__fault = NULL;
        expect_code(5, n);
        expect(memcmp(text, "brief", 5) == 0);
        if (flags & NARU_UNTIL_HANGUP)
            expect_code(0, naru_stream_read(s, text, sizeof text, PATIENCE));
        else
            expect_code(-ETIMEDOUT, naru_stream_read(s, text, sizeof text, 20 * NARU_MS));
        naru_stream_close(s);
    }
    expect_ok(naru_remove(url));
}

static void until_the_last_goes(void)
{
    read_from_the_brief(NARU_UNTIL_HANGUP);
}

static void for_ever(void)
{
    read_from_the_brief(0);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"a brief writer, read until the last one goes", until_the_last_goes},
        {"a brief writer, read for ever", for_ever},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
