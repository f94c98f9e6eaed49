/* SPDX-License-Identifier: MIT */
/* queue-sysv-mq.c - a System V queue: the kernel selects by type, and any program may read it. */
#include <naru/naru.h>
#include <stdio.h>
#include <sys/msg.h>
#include <unistd.h>

static int failed(void)
{
    fprintf(stderr, "%s\n", naru_why());
    return 1;
}

int main(void)
{
    char url[64], text[100];
    struct {
        long type;
        char text[100];
    } foreign;
    naru_channel *queue;
    key_t key = 0x6e000000 + getpid();
    snprintf(url, sizeof url, "sysv-mq:0x%x", (unsigned)key);
    if (naru_queue_open(url, NARU_SEND | NARU_RECV, NULL, &queue) < 0)
        return failed();
    for (uint32_t type = 1; type <= 3; type++) {
        int n = snprintf(text, sizeof text, "a message of type %u", type);
        if (naru_channel_send(queue, type, text, (size_t)n, NARU_S) < 0)
            return failed();
    }
    ssize_t n = naru_channel_recv(queue, 2, text, sizeof text, NULL, NARU_S); /* type 2 */
    printf("naru:   %.*s\n", n < 0 ? 0 : (int)n, text);
    ssize_t m = msgrcv(msgget(key, 0), &foreign, sizeof foreign.text, 3, 0); /* type 3 */
    printf("msgrcv: %.*s\n", m < 0 ? 0 : (int)m, foreign.text);
    naru_channel_close(queue);
    naru_remove(url);
    return n < 0 || m < 0;
}
