/* SPDX-License-Identifier: MIT */
/* queue-shm.c - a queue in shared memory: jobs wait for workers who are not there yet. */
/* snippet */
#include <errno.h>
#include <naru/naru.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    char url[64], text[64];
    naru_channel *queue;
    snprintf(url, sizeof url, "shm:example-%d", (int)getpid());
    if (naru_queue_open(url, NARU_SEND, NULL, &queue) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    for (int i = 1; i <= 6; i++) /* no worker is there, and none need come before this one goes */
        naru_channel_send(queue, 1, text, (size_t)snprintf(text, sizeof text, "job %d", i), NARU_S);
    naru_channel_close(queue);
    for (int worker = 1; worker <= 2; worker++)
        if (fork() == 0) { /* each message goes to one of them */
            ssize_t n;
            naru_queue_open(url, NARU_RECV, NULL, &queue);
            while ((n = naru_channel_recv(queue, 0, text, sizeof text, NULL, NARU_NOWAIT)) >= 0)
                printf("worker %d: %.*s\n", worker, (int)n, text);
            return n != -EAGAIN;
        }
    int status, failed = 0;
    while (wait(&status) > 0)
        failed |= status;
    return naru_remove(url) < 0 || failed;
}
/* end */
