/* SPDX-License-Identifier: MIT */
/* stop.c - ending in order on SIGINT, SIGTERM and SIGHUP. */
#include "tool/stop.h"

#include <naru/naru.h>

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

static void *_Atomic waiting;
static volatile sig_atomic_t came;

static void on_signal(int signal)
{
    came = signal;
    void *handle = atomic_load(&waiting);
    if (handle)
        naru_cancel(handle);
}

void stop_on_signals(void *handle)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    atomic_store(&waiting, handle);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction action = {.sa_handler = on_signal}, old;
        sigaction(signals[i], NULL, &old);
        if (old.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
    if (came && handle)
        naru_cancel(handle);
}

int stopped(void)
{
    return came;
}
