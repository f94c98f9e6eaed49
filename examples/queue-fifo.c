/* SPDX-License-Identifier: MIT */
/* queue-fifo.c - several writers, one reader, by a name; records never mix. */
/* snippet */
#include <naru/naru.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    char url[64], text[64];
    naru_channel *queue;
    snprintf(url, sizeof url, "fifo:/tmp/naru-example-%d", (int)getpid());
    if (naru_queue_open(url, NARU_RECV, NULL, &queue) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    for (int i = 1; i <= 3; i++)
        if (fork() == 0) { /* any process that knows the name may send */
            naru_channel *out;
            int n = snprintf(text, sizeof text, "greetings from writer %d", i);
            _exit(naru_queue_open(url, NARU_SEND, NULL, &out) < 0 ||
                  naru_channel_send(out, (uint32_t)i, text, (size_t)n, NARU_S) < 0);
        }
    int left = 3;
    for (; left > 0; left--) {
        ssize_t n = naru_channel_recv(queue, 0, text, sizeof text, NULL, NARU_S);
        if (n < 0) {
            fprintf(stderr, "%s\n", naru_why());
            break;
        }
        printf("%.*s\n", (int)n, text);
    }
    naru_channel_close(queue);
    naru_remove(url);
    while (wait(NULL) > 0)
        ;
    return left;
}
/* end */
