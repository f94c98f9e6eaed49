/* SPDX-License-Identifier: MIT */
/* journal.c - a queue that survives a restart: each message is on the medium when its send returns,
 * and a receiver goes on where its cursor is. */
/* snippet */
#include <naru/naru.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    char url[64], text[64];
    const struct naru_journal_options j = {
        .size = sizeof j, .sync = NARU_SYNC_EACH, .cursor = "clerk"};
    const struct naru_queue_options o = {.size = sizeof o, .journal = &j};
    naru_channel *log;
    ssize_t n = 0;
    snprintf(url, sizeof url, "map:/tmp/naru-example-log-%d", (int)getpid());
    if (naru_queue_open(url, NARU_SEND, &o, &log) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    naru_channel_send(log, 1, "cast off", 8, 10 * NARU_S);
    naru_channel_send(log, 1, "anchor", 6, 10 * NARU_S);
    naru_channel_close(log);
    for (int i = 0; i < 2 && n >= 0; i++) { /* as if this program ran twice: one message each */
        if (naru_queue_open(url, NARU_RECV, &o, &log) < 0)
            return fprintf(stderr, "%s\n", naru_why()), 1;
        n = naru_channel_recv(log, 0, text, sizeof text, NULL, NARU_S);
        printf("%.*s\n", n < 0 ? 0 : (int)n, text);
        naru_channel_close(log);
    }
    return naru_remove(url) < 0 || n != 6;
}
/* end */
