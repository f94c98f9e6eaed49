/* SPDX-License-Identifier: MIT */
/* stream-fifo.c - a FIFO as a stream, with the shell at the other end. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    char url[64], command[96], line[64] = "";
    naru_stream *s;
    naru_child *shell;
    snprintf(url, sizeof url, "fifo:/tmp/naru-example-%d", (int)getpid());
    snprintf(command, sizeof command, "printf 'hello from sh' > %s", strchr(url, '/'));
    struct naru_stream_options end = {.size = sizeof end, .flags = NARU_UNTIL_HANGUP};
    if (naru_stream_open(url, NARU_READ, &end, NARU_NOWAIT, &s) < 0 ||
        naru_spawn((char *[]){"sh", "-c", command, NULL}, NULL, &shell) < 0) {
        fprintf(stderr, "%s\n", naru_why());
        return 1;
    }
    size_t n = 0;
    ssize_t got;
    while ((got = naru_stream_read(s, line + n, sizeof line - 1 - n, NARU_S)) > 0)
        n += (size_t)got; /* 0: the last writer has left */
    printf("%s\n", line);
    naru_child_wait(shell, NARU_S, NULL);
    naru_child_close(shell);
    naru_stream_close(s);
    naru_remove(url);
    return strcmp(line, "hello from sh") != 0;
}
