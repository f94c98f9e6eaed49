/* SPDX-License-Identifier: MIT */
/* mq-posix.c - a program that has never heard of naru: POSIX message queues, mq_overview(7).
 *
 *   mq-posix send /NAME PRIORITY TEXT [PRIORITY TEXT ...]
 *   mq-posix recv /NAME N         prints "PRIORITY TEXT" of each
 *
 * The queue is made if it is not there. */
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(const char *what)
{
    perror(what);
    return 1;
}

static int send_all(mqd_t q, char **words)
{
    for (; words[0] && words[1]; words += 2)
        if (mq_send(q, words[1], strlen(words[1]), (unsigned)atoi(words[0])) < 0)
            return failed("mq_send");
    return 0;
}

static int receive(mqd_t q, int n)
{
    struct mq_attr a;
    if (mq_getattr(q, &a) < 0)
        return failed("mq_getattr");
    char *text = malloc((size_t)a.mq_msgsize);
    for (int i = 0; text && i < n; i++) {
        unsigned priority;
        ssize_t size = mq_receive(q, text, (size_t)a.mq_msgsize, &priority);
        if (size < 0) {
            free(text);
            return failed("mq_receive");
        }
        printf("%u %.*s\n", priority, (int)size, text);
    }
    free(text);
    return text ? 0 : failed("malloc");
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    mqd_t q = mq_open(argv[2], O_RDWR | O_CREAT, 0600, NULL);
    if (q < 0)
        return failed("mq_open");
    int status = strcmp(argv[1], "send") == 0 ? send_all(q, argv + 3) : receive(q, atoi(argv[3]));
    mq_close(q);
    return status;
}
