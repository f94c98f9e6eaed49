/* SPDX-License-Identifier: MIT */
/* inherit.c - NARU_FD_x holds anything. Descriptors named there are real: a pipe at 90 and 91. */
#include <naru/naru.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pipe_at(int in, int out)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
        abort();
    dup3(p[0], in, O_CLOEXEC);
    dup3(p[1], out, O_CLOEXEC);
    close(p[0]);
    close(p[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[128];
    naru_stream *s = NULL;
    naru_channel *c = NULL;
    size = size < sizeof text ? size : sizeof text - 1;
    memcpy(text, data, size);
    text[size] = '\0';
    for (int i = 0; i < 2; i++) {
        pipe_at(90, 91);
        setenv("NARU_FD_x", text, 1);
        int r = i ? naru_channel_inherit("x", NULL, &c) : naru_stream_inherit("x", &s);
        if ((r == 0) != (i ? c != NULL : s != NULL) || (r < 0 && !*naru_why()))
            abort();
        if (r < 0 && (fcntl(90, F_GETFD) < 0 || fcntl(91, F_GETFD) < 0))
            abort(); /* what was refused stays the caller's */
    }
    naru_stream_close(s);
    naru_channel_close(c);
    return 0;
}
