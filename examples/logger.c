/* SPDX-License-Identifier: MIT */
/* logger.c - a log that 32 programs write into, as one queue in shared memory. No client waits for
 * the disk, none mixes its lines with another's, and one that is killed loses no line it has sent.
 */
#include <naru/naru.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 32, LINES = 50, LINE = 1 };

static int client(const char *url, int number)
{
    naru_channel *log;
    char line[80];
    if (naru_queue_open(url, NARU_SEND, NULL, &log) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    for (int i = 1; i <= LINES; i++) {
        int n = snprintf(line, sizeof line, "client %d line %d", number, i);
        if (naru_channel_send(log, LINE, line, (size_t)n, 10 * NARU_S) < 0)
            return fprintf(stderr, "%s\n", naru_why()), 1;
    }
    naru_channel_close(log);
    return 0;
}

int main(void)
{
    char url[64];
    naru_channel *log;
    struct naru_message batch[64];
    int last[CLIENTS] = {0}, lines = 0, status, failed = 0;
    snprintf(url, sizeof url, "shm:example-log-%d", (int)getpid());
    if (naru_queue_open(url, NARU_RECV, NULL, &log) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    for (int i = 0; i < CLIENTS; i++)
        if (fork() == 0)
            _exit(client(url, i));
    while (lines < CLIENTS * LINES) { /* many at once, written where they lie */
        ssize_t n = naru_channel_take_many(log, 0, batch, 64, 10 * NARU_S);
        if (n < 0) {
            fprintf(stderr, "%s\n", naru_why());
            failed = 1;
            break;
        }
        for (ssize_t k = 0; k < n; k++) {
            char line[80] = "";
            int from = 0, number = 0;
            memcpy(line, batch[k].data, batch[k].size < 79 ? batch[k].size : 79);
            sscanf(line, "client %d line %d", &from, &number);
            failed |= number != ++last[from % CLIENTS]; /* each client's lines in its order */
        }
        naru_channel_release(log, batch, (size_t)n);
        lines += (int)n;
    }
    printf("%d lines of %d clients\n", lines, CLIENTS);
    naru_channel_close(log);
    naru_remove(url);
    while (wait(&status) > 0)
        failed |= status;
    return failed != 0;
}
