/* SPDX-License-Identifier: MIT */
/* adapters-mq.c - naru beside mq_send(3), mq_receive(3), msgsnd(2) and msgrcv(2). Two queues, one
 * each way, with the sizes that the kernel gives by itself. */
#include "bench/adapters.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <unistd.h>

enum { LARGEST = 8192 }; /* fs.mqueue.msgsize_default, and kernel.msgmax as it comes */

/* ---- names: queues outlive processes, so whoever started these can remove them ---- */

static void mq_name(char *name, size_t n, int pid, int i)
{
    snprintf(name, n, "/naru-bench-%d-%d", pid, i);
}

static key_t mq_key(int pid, int i)
{
    return (key_t)(0x6e000000u | (unsigned)pid << 1 | (unsigned)i);
}

static void posix_clean_up(int pid)
{
    char name[64];
    for (int i = 0; i < 2; i++) {
        mq_name(name, sizeof name, pid, i);
        mq_unlink(name);
    }
}

static void sysv_clean_up(int pid)
{
    for (int i = 0; i < 2; i++) {
        int id = msgget(mq_key(pid, i), 0);
        if (id >= 0)
            msgctl(id, IPC_RMID, NULL);
    }
}

/* ---- the raw calls ---- */

static int queues[2], in, out; /* queues[i] is read by side i */
static char *room;             /* mq_receive wants room for the largest */

static int raw_posix_setup(void)
{
    char name[64];
    for (int i = 0; i < 2; i++) {
        mq_name(name, sizeof name, getpid(), i);
        queues[i] = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL);
        if (queues[i] < 0)
            return bench_say("mq_open: %s", strerror(errno));
    }
    return 0;
}

static int raw_attach(int side)
{
    in = queues[side];
    out = queues[!side];
    room = malloc(sizeof(long) + LARGEST);
    return room ? 0 : bench_say("no memory");
}

static int raw_posix_send(const void *buf, size_t n)
{
    return mq_send(out, buf, n, 0) < 0 ? bench_say("mq_send: %s", strerror(errno)) : 0;
}

static int raw_posix_recv(void *buf, size_t n)
{
    ssize_t r = mq_receive(in, room, LARGEST, NULL);
    if (r != (ssize_t)n)
        return bench_say("mq_receive: %s", r < 0 ? strerror(errno) : "another size");
    memcpy(buf, room, n);
    return 0;
}

static void raw_posix_detach(int side)
{
    (void)side;
    mq_close(in);
    mq_close(out);
    free(room);
}

static int raw_sysv_setup(void)
{
    for (int i = 0; i < 2; i++) {
        queues[i] = msgget(mq_key(getpid(), i), IPC_CREAT | IPC_EXCL | 0600);
        if (queues[i] < 0)
            return bench_say("msgget: %s", strerror(errno));
    }
    return 0;
}

static int raw_sysv_send(const void *buf, size_t n)
{
    const long type = 1;
    memcpy(room, &type, sizeof type);
    memcpy(room + sizeof type, buf, n);
    return msgsnd(out, room, n, 0) < 0 ? bench_say("msgsnd: %s", strerror(errno)) : 0;
}

static int raw_sysv_recv(void *buf, size_t n)
{
    ssize_t r = msgrcv(in, room, LARGEST, 0, 0);
    if (r != (ssize_t)n)
        return bench_say("msgrcv: %s", r < 0 ? strerror(errno) : "another size");
    memcpy(buf, room + sizeof(long), n);
    return 0;
}

static void raw_sysv_detach(int side)
{
    (void)side;
    free(room);
}

/* ---- naru ---- */

static char urls[2][80];

static int naru_posix_setup(void)
{
    for (int i = 0; i < 2; i++) {
        char name[64];
        mq_name(name, sizeof name, getpid(), i);
        snprintf(urls[i], sizeof urls[i], "posix-mq:%s", name);
    }
    return 0;
}

static int naru_sysv_setup(void)
{
    for (int i = 0; i < 2; i++)
        snprintf(urls[i], sizeof urls[i], "sysv-mq:0x%x", (unsigned)mq_key(getpid(), i));
    return 0;
}

static int naru_attach(int side)
{
    if (naru_queue_open(urls[side], NARU_RECV, NULL, &bench_receiver) < 0 ||
        naru_queue_open(urls[!side], NARU_SEND, NULL, &bench_sender) < 0)
        return bench_naru_failed();
    return 0;
}

static void naru_detach(int side)
{
    (void)side;
    naru_channel_close(bench_sender);
    naru_channel_close(bench_receiver);
}

enum { MODES = 1u << BENCH_LATENCY | 1u << BENCH_STREAM }; /* no call of theirs takes several */

const struct adapter bench_raw_posix_mq = {.name = "raw mq_*",
                                           .url = "posix-mq:",
                                           .setup = raw_posix_setup,
                                           .attach = raw_attach,
                                           .send = raw_posix_send,
                                           .recv = raw_posix_recv,
                                           .detach = raw_posix_detach,
                                           .clean_up = posix_clean_up,
                                           .max_size = LARGEST,
                                           .modes = MODES};
const struct adapter bench_naru_posix_mq = {.name = "naru POSIX queue",
                                            .url = "posix-mq:",
                                            .reference = "raw mq_*",
                                            .setup = naru_posix_setup,
                                            .attach = naru_attach,
                                            .send = bench_channel_send,
                                            .recv = bench_channel_recv,
                                            .detach = naru_detach,
                                            .clean_up = posix_clean_up,
                                            .max_size = LARGEST,
                                            .modes = MODES};
const struct adapter bench_raw_sysv_mq = {.name = "raw msg*",
                                          .url = "sysv-mq:",
                                          .setup = raw_sysv_setup,
                                          .attach = raw_attach,
                                          .send = raw_sysv_send,
                                          .recv = raw_sysv_recv,
                                          .detach = raw_sysv_detach,
                                          .clean_up = sysv_clean_up,
                                          .max_size = LARGEST,
                                          .modes = MODES};
const struct adapter bench_naru_sysv_mq = {.name = "naru System V queue",
                                           .url = "sysv-mq:",
                                           .reference = "raw msg*",
                                           .setup = naru_sysv_setup,
                                           .attach = naru_attach,
                                           .send = bench_channel_send,
                                           .recv = bench_channel_recv,
                                           .detach = naru_detach,
                                           .clean_up = sysv_clean_up,
                                           .max_size = LARGEST,
                                           .modes = MODES};
