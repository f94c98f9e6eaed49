/* SPDX-License-Identifier: MIT */
/* errors.c - what naru says when something is wrong: a negative errno, and a sentence. */
#include <naru/naru.h>

#include <errno.h>
#include <stdio.h>

static int expect(int code, int got)
{
    printf("%-14s %s\n", naru_strerror(got), naru_why());
    return got == code ? 0 : 1;
}

int main(void)
{
    naru_channel *a, *b;
    naru_stream *s;
    naru_child *child;
    char byte;
    int wrong = 0;
    wrong += expect(-EINVAL, naru_stream_open("ferry:/x", NARU_READ, NULL, NARU_NOWAIT, &s));
    wrong += expect(-EOPNOTSUPP, naru_topic_open("pipe:", NARU_SEND, NULL, &a));
    wrong += expect(-EOPNOTSUPP, naru_queue_open("nats://localhost/x", NARU_SEND, NULL, &a));
    wrong += expect(-ECONNREFUSED, naru_stream_open("tcp://127.0.0.1:1", NARU_READ | NARU_WRITE,
                                                    NULL, NARU_S, &s));
    wrong +=
        expect(-EINVAL, naru_stream_open("fifo:/etc/passwd", NARU_READ, NULL, NARU_NOWAIT, &s));
    wrong += expect(-ENOENT, naru_spawn((char *[]){"no-such-ferry", NULL}, NULL, &child));
    if (naru_channel_pair("pipe:", NULL, &a, &b) < 0)
        return 1;
    wrong += expect(-EAGAIN, (int)naru_channel_recv(b, 0, &byte, 1, NULL, NARU_NOWAIT));
    wrong += expect(-EINVAL, naru_channel_send(a, 0, "x", 1, NARU_NOWAIT));
    naru_channel_send(a, 1, "too long for one byte", 21, NARU_S);
    wrong += expect(-EMSGSIZE, (int)naru_channel_recv(b, 0, &byte, 1, NULL, NARU_S));
    naru_channel_close(a);
    naru_channel_close(b);
    return wrong;
}
