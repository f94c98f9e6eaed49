/* SPDX-License-Identifier: MIT */
/* stream-pair.c - bytes between parent and child: a pair made before the fork. */
/* snippet */
#include <naru/naru.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    naru_stream *mine, *theirs;
    char line[64] = "";
    if (naru_stream_pair("pipe:", NULL, &mine, &theirs) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    if (fork() == 0) { /* the child adopts the end that it keeps */
        naru_adopt(theirs);
        naru_stream_close(mine);
        naru_stream_write_all(theirs, "ahoy", 4, NARU_FOREVER, NULL);
        naru_stream_close(theirs);
        return 0;
    }
    naru_stream_close(theirs); /* the parent gave it away */
    ssize_t n = naru_stream_read(mine, line, sizeof line - 1, NARU_S);
    printf("%zd bytes: %s\n", n, line);
    naru_stream_close(mine);
    wait(NULL);
    return n == 4 ? 0 : 1;
}
/* end */
