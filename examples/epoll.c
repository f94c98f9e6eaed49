/* SPDX-License-Identifier: MIT */
/* epoll.c - naru inside somebody else's loop: each handle gives a level-triggered descriptor. */
#include <naru/naru.h>

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { CHANNELS = 3 };

int main(void)
{
    naru_channel *in[CHANNELS], *out[CHANNELS];
    int loop = epoll_create1(EPOLL_CLOEXEC), seen = 0;
    for (int i = 0; i < CHANNELS; i++) {
        if (naru_channel_pair("pipe:", NULL, &in[i], &out[i]) < 0)
            return 1;
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        if (epoll_ctl(loop, EPOLL_CTL_ADD, naru_fd(in[i]), &e) < 0)
            return 1;
        naru_channel_send(out[i], 1, "wave", 4, NARU_S);
    }
    while (seen < CHANNELS) {
        struct epoll_event e;
        char text[8];
        if (epoll_wait(loop, &e, 1, 1000) != 1)
            return 1;
        /* until -EAGAIN: the descriptor may also be readable for nothing */
        while (naru_channel_recv(in[e.data.u32], 0, text, sizeof text, NULL, NARU_NOWAIT) > 0)
            printf("channel %u: %.4s, %d of %d\n", e.data.u32, text, ++seen, CHANNELS);
    }
    for (int i = 0; i < CHANNELS; i++) {
        naru_channel_close(in[i]);
        naru_channel_close(out[i]);
    }
    close(loop);
    return 0;
}
