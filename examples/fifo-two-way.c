/* SPDX-License-Identifier: MIT */
/* fifo-two-way.c - a conversation behind one URL: a pair of FIFOs, path and path.back. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    char url[64], word[5] = "";
    naru_stream *s;
    snprintf(url, sizeof url, "fifo:/tmp/naru-example-%d", (int)getpid());
    if (fork() == 0) { /* both sides open the same URL in the same way */
        if (naru_stream_open(url, NARU_READ | NARU_WRITE, NULL, NARU_S, &s) < 0)
            return 1;
        naru_stream_read_all(s, word, 4, NARU_S, NULL);
        naru_stream_write_all(s, "pong", 4, NARU_S, NULL);
        naru_stream_flush(s, NARU_S); /* what lies in a FIFO goes with its last holder */
        naru_stream_close(s);
        return 0;
    }
    int r = naru_stream_open(url, NARU_READ | NARU_WRITE, NULL, NARU_S, &s);
    if (r == 0) {
        naru_stream_write_all(s, "ping", 4, NARU_S, NULL);
        r = naru_stream_read_all(s, word, 4, NARU_S, NULL);
        naru_stream_close(s);
    }
    if (r < 0)
        fprintf(stderr, "%s\n", naru_why());
    printf("ping? %s!\n", word);
    wait(NULL);
    naru_remove(url);
    return strcmp(word, "pong") != 0;
}
