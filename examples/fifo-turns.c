/* SPDX-License-Identifier: MIT */
/* fifo-turns.c - both directions over a single FIFO, opened O_RDWR, by taking turns.
 *
 * A FIFO is one queue of bytes. Whoever reads gets what lies in front, also what it wrote itself a
 * moment ago: the kernel does not know who is who, and main shows that first. So an end that has
 * written must not read before the other has taken all of it: naru_stream_flush waits for just
 * that, an empty FIFO. It holds as long as there are two ends, which speak in turn, in words of a
 * length that both know. A pair of FIFOs (fifo-two-way.c) needs no turns and is faster. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct naru_stream_options single = {.size = sizeof single, .flags = NARU_SINGLE};
static char url[64];

static int say(naru_stream *s, const char *word)
{
    int r = naru_stream_write_all(s, word, 4, NARU_S, NULL);
    return r < 0 ? r : naru_stream_flush(s, NARU_S); /* now the other's turn has come */
}

static int other_end(void)
{
    char word[5] = "";
    naru_stream *s;
    if (naru_stream_open(url, NARU_READ | NARU_WRITE, &single, NARU_NOWAIT, &s) < 0)
        return 1;
    int r = naru_stream_read_all(s, word, 4, NARU_S, NULL);
    r = r < 0 ? r : say(s, "pong");
    naru_stream_close(s);
    return r < 0 || strcmp(word, "ping") != 0;
}

int main(void)
{
    char own[5] = "", word[5] = "";
    naru_stream *s;
    snprintf(url, sizeof url, "fifo:/tmp/naru-example-%d", (int)getpid());
    if (naru_stream_open(url, NARU_READ | NARU_WRITE, &single, NARU_NOWAIT, &s) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    naru_stream_write_all(s, "oops", 4, NARU_S, NULL);
    naru_stream_read_all(s, own, 4, NARU_S, NULL);
    printf("without turns this end reads its own \"%s\"\n", own);
    if (fork() == 0) {
        naru_stream_close(s); /* this process opens the name itself */
        _exit(other_end());
    }
    int r = say(s, "ping"), status = 1;
    r = r < 0 ? r : naru_stream_read_all(s, word, 4, NARU_S, NULL);
    if (r < 0)
        fprintf(stderr, "%s\n", naru_why());
    printf("with turns it says \"ping\" and reads \"%s\"\n", word);
    wait(&status);
    naru_stream_close(s);
    naru_remove(url);
    return r < 0 || strcmp(own, "oops") != 0 || strcmp(word, "pong") != 0 || status != 0;
}
