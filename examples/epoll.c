/* SPDX-License-Identifier: MIT */
/* epoll.c - naru inside somebody else's loop: each handle gives a level-triggered descriptor, which
 * stands in the set beside descriptors that naru knows nothing of (here a timer). */
#include <naru/naru.h>

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { CHANNELS = 3 };

static int watch(int loop, int fd, uint32_t number)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = number};
    return epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e);
}

int main(void)
{
    naru_channel *in[CHANNELS], *out[CHANNELS];
    int loop = epoll_create1(EPOLL_CLOEXEC), seen = 0;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    timerfd_settime(timer, 0, &(struct itimerspec){.it_value.tv_sec = 5}, NULL);
    if (watch(loop, timer, CHANNELS) < 0)
        return 1;
    for (uint32_t i = 0; i < CHANNELS; i++) {
        if (naru_channel_pair("pipe:", NULL, &in[i], &out[i]) < 0 ||
            watch(loop, naru_fd(in[i]), i) < 0 ||
            naru_channel_send(out[i], 1, "wave", 4, NARU_S) < 0)
            return fprintf(stderr, "%s\n", naru_why()), 1;
    }
    while (seen < CHANNELS) {
        struct epoll_event e;
        char text[8];
        ssize_t n;
        if (epoll_wait(loop, &e, 1, -1) != 1 || e.data.u32 == CHANNELS)
            return 1; /* the timer: too late */
        /* until -EAGAIN, which also arms the descriptor again; it may be readable for nothing */
        naru_channel *ready = in[e.data.u32];
        while ((n = naru_channel_recv(ready, 0, text, sizeof text, NULL, NARU_NOWAIT)) >= 0)
            printf("channel %u: %.*s, %d of %d\n", e.data.u32, (int)n, text, ++seen, CHANNELS);
        if (n != -EAGAIN)
            return fprintf(stderr, "%s\n", naru_why()), 1;
    }
    for (int i = 0; i < CHANNELS; i++) {
        naru_channel_close(in[i]);
        naru_channel_close(out[i]);
    }
    close(timer);
    close(loop);
    return 0;
}
