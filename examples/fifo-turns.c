/* SPDX-License-Identifier: MIT */
/* fifo-turns.c - both directions over a single FIFO, opened O_RDWR, by taking turns.
 *
 * A FIFO is one queue of bytes. Whoever reads gets what lies in front, also what it wrote itself a
 * moment ago: the kernel does not know who is who, and main shows that first. So each side must be
 * sure that the other has read before it reads itself. The FIFO cannot tell it: whether what lies
 * there is one's own word unread or the other's answer, it looks the same (naru_stream_flush would
 * wait for a quick answer to go away). The turn must pass by another way, here a pair of pipes. A
 * pair of FIFOs (fifo-two-way.c) or a socket needs no turns. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct naru_stream_options single = {.size = sizeof single, .flags = NARU_SINGLE};

int main(void)
{
    char url[64], own[5] = "", word[5] = "", turn = 0;
    naru_stream *fifo, *mine, *theirs;
    snprintf(url, sizeof url, "fifo:/tmp/naru-example-%d", (int)getpid());
    if (naru_stream_pair("pipe:", NULL, &mine, &theirs) < 0 ||
        naru_stream_open(url, NARU_READ | NARU_WRITE, &single, NARU_NOWAIT, &fifo) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    naru_stream_write_all(fifo, "oops", 4, NARU_S, NULL);
    naru_stream_read_all(fifo, own, 4, NARU_S, NULL); /* no turns: its own word comes back */
    if (fork() == 0) {
        naru_adopt(theirs);
        naru_stream_close(mine);
        naru_stream_close(fifo); /* this process opens the name itself */
        if (naru_stream_open(url, NARU_READ | NARU_WRITE, &single, NARU_NOWAIT, &fifo) < 0)
            return 1;
        naru_stream_read_all(theirs, &turn, 1, NARU_S, NULL); /* your turn to read */
        naru_stream_read_all(fifo, word, 4, NARU_S, NULL);
        naru_stream_write_all(fifo, "pong", 4, NARU_S, NULL);
        naru_stream_write_all(theirs, &turn, 1, NARU_S, NULL); /* yours */
        naru_stream_read_all(theirs, &turn, 1, NARU_S, NULL);  /* stay until it was read */
        naru_stream_close(fifo);
        naru_stream_close(theirs);
        return strcmp(word, "ping") != 0;
    }
    naru_stream_close(theirs);
    naru_stream_write_all(fifo, "ping", 4, NARU_S, NULL);
    naru_stream_write_all(mine, &turn, 1, NARU_S, NULL);
    naru_stream_read_all(mine, &turn, 1, NARU_S, NULL); /* reading earlier would eat our "ping" */
    naru_stream_read_all(fifo, word, 4, NARU_S, NULL);
    naru_stream_write_all(mine, &turn, 1, NARU_S, NULL);
    printf("without turns: \"oops\", \"%s\"; with turns: \"ping\", \"%s\"\n", own, word);
    int status = 1;
    wait(&status);
    naru_stream_close(fifo);
    naru_stream_close(mine);
    naru_remove(url);
    return strcmp(own, "oops") != 0 || strcmp(word, "pong") != 0 || status != 0;
}
