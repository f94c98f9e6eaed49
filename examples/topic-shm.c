/* SPDX-License-Identifier: MIT */
/* topic-shm.c - a topic in shared memory: a late subscriber gets the history, also of a publisher
 * that has gone. */
/* snippet */
#include <naru/naru.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    char url[64], text[64];
    naru_channel *publisher, *subscriber;
    const struct naru_topic_options keep = {.size = sizeof keep, .history = 3};
    snprintf(url, sizeof url, "shm:example-%d", (int)getpid());
    if (naru_topic_open(url, NARU_SEND, &keep, &publisher) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    for (int i = 1; i <= 5; i++)
        naru_channel_send(publisher, 1, text, (size_t)snprintf(text, sizeof text, "news %d", i), 0);
    naru_channel_close(publisher);
    if (naru_topic_open(url, NARU_RECV, NULL, &subscriber) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    for (int i = 3; i <= 5; i++) { /* the last three; every subscriber gets each of them */
        ssize_t n = naru_channel_recv(subscriber, 0, text, sizeof text, NULL, NARU_S);
        printf("%.*s\n", (int)n, text);
    }
    naru_channel_close(subscriber);
    return naru_remove(url) < 0;
}
/* end */
