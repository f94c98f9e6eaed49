/* SPDX-License-Identifier: MIT */
/* queue-posix-mq.c - a POSIX message queue: the highest type first, and any program may read it. */
#include <fcntl.h>
#include <mqueue.h>
#include <naru/naru.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int failed(void)
{
    fprintf(stderr, "%s\n", naru_why());
    return 1;
}

int main(void)
{
    char url[64], text[100];
    struct naru_queue_options options = {.size = sizeof options, .max_message = sizeof text};
    naru_channel *queue;
    snprintf(url, sizeof url, "posix-mq:/naru-example-%d", (int)getpid());
    if (naru_queue_open(url, NARU_SEND | NARU_RECV, &options, &queue) < 0)
        return failed();
    for (uint32_t type = 1; type <= 3; type++) { /* the type is the priority + 1 */
        int n = snprintf(text, sizeof text, "a message of type %u", type);
        if (naru_channel_send(queue, type, text, (size_t)n, NARU_S) < 0)
            return failed();
    }
    ssize_t n = naru_channel_recv(queue, 0, text, sizeof text, NULL, NARU_S);
    printf("naru:       %.*s\n", n < 0 ? 0 : (int)n, text);
    mqd_t foreign = mq_open(strchr(url, '/'), O_RDONLY); /* a program that knows no naru */
    ssize_t m = mq_receive(foreign, text, sizeof text, NULL);
    printf("mq_receive: %.*s\n", m < 0 ? 0 : (int)m, text);
    mq_close(foreign);
    naru_channel_close(queue);
    naru_remove(url);
    return n < 0 || m < 0;
}
