/* SPDX-License-Identifier: MIT */
/* topic-udp.c - a multicast group as a topic: whoever subscribes gets every message, if it is not
 * lost on the way. Without "%lo" the routes say which interface it is. */
/* snippet */
#include <naru/naru.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    const char *url = "udp://239.255.77.7%lo:50771";
    naru_channel *subscriber, *publisher;
    char text[64];
    if (naru_topic_open(url, NARU_RECV, NULL, &subscriber) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    if (fork() == 0) { /* on this host, or on any that the group reaches */
        _exit(naru_topic_open(url, NARU_SEND, NULL, &publisher) < 0 ||
              naru_channel_send(publisher, 1, "the ferry leaves at ten", 23, NARU_S) < 0);
    }
    struct naru_info info;
    ssize_t n = naru_channel_recv(subscriber, 0, text, sizeof text, &info, 5 * NARU_S);
    if (n < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    printf("%.*s (%llu were lost before it)\n", (int)n, text, (unsigned long long)info.missed);
    naru_channel_close(subscriber);
    wait(NULL);
    return 0;
}
/* end */
