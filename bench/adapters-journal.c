/* SPDX-License-Identifier: MIT */
/* adapters-journal.c - journals as queues beside the queue in shared memory: nothing is synced, and
 * what has been received goes, so that what is compared is the way from one process to the other.
 * What syncing costs, and replaying, bench/journal.c measures. */
#include "bench/adapters.h"

#include <stdio.h>
#include <unistd.h>

static char urls[2][300]; /* [i]: received from by side i */

static void name_urls(int pid)
{
    for (int i = 0; i < 2; i++)
        snprintf(urls[i], sizeof urls[i], "map:%s/journal-%d-%d", bench_directory, pid, i);
}

static int setup(void)
{
    name_urls((int)getpid());
    return 0;
}

static int attach(int side)
{
    const struct naru_journal_options j = {.size = sizeof j, .keep_unread = 1};
    const struct naru_queue_options o = {.size = sizeof o, .journal = &j};
    if (naru_queue_open(urls[side], NARU_RECV, &o, &bench_receiver) < 0 ||
        naru_queue_open(urls[!side], NARU_SEND, &o, &bench_sender) < 0 ||
        naru_channel_wait_peers(bench_sender, 1, 5 * NARU_S) < 0 ||
        naru_channel_wait_peers(bench_receiver, 1, 5 * NARU_S) < 0)
        return bench_naru_failed();
    return 0;
}

static void detach(int side)
{
    (void)side;
    naru_channel_close(bench_sender);
    naru_channel_close(bench_receiver);
}

static void clean_up(int pid)
{
    name_urls(pid);
    for (int i = 0; i < 2; i++)
        (void)naru_remove(urls[i]);
}

const struct adapter bench_naru_journal = {.name = "naru journal",
                                           .url = "map:",
                                           .reference = "naru shm queue",
                                           .setup = setup,
                                           .attach = attach,
                                           .send = bench_channel_send,
                                           .recv = bench_channel_recv,
                                           .send_batch = bench_channel_send_batch,
                                           .recv_batch = bench_channel_recv_batch,
                                           .detach = detach,
                                           .clean_up = clean_up};
