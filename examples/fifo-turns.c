/* SPDX-License-Identifier: MIT */
/* fifo-turns.c - both directions over a single FIFO, opened O_RDWR, by taking turns.
 *
 * A FIFO is one queue of bytes. Whoever reads gets what lies in front, also what it wrote itself a
 * moment ago: the kernel does not know who is who. So each side must be sure that the other has
 * read before it reads itself. Here a pair of pipes passes the turn. A pair of FIFOs
 * (fifo-two-way.c) or a socket needs no turns. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct naru_stream_options single = {.size = sizeof single, .flags = NARU_SINGLE};

int main(void)
{
    char url[64], word[5] = "", turn = 0;
    naru_stream *fifo, *mine, *theirs;
    snprintf(url, sizeof url, "fifo:/tmp/naru-example-%d", (int)getpid());
    if (naru_stream_pair("pipe:", NULL, &mine, &theirs) < 0 ||
        naru_stream_open(url, NARU_READ | NARU_WRITE, &single, NARU_NOWAIT, &fifo) < 0)
        return 1;
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
        return strcmp(word, "ping") != 0;
    }
    naru_stream_close(theirs);
    naru_stream_write_all(fifo, "ping", 4, NARU_S, NULL);
    naru_stream_write_all(mine, &turn, 1, NARU_S, NULL);
    naru_stream_read_all(mine, &turn, 1, NARU_S, NULL); /* reading earlier would eat our "ping" */
    naru_stream_read_all(fifo, word, 4, NARU_S, NULL);
    naru_stream_write_all(mine, &turn, 1, NARU_S, NULL);
    printf("%s\n", word);
    int status = 1;
    wait(&status);
    naru_stream_close(fifo);
    naru_stream_close(mine);
    naru_remove(url);
    return strcmp(word, "pong") != 0 || status != 0;
}
