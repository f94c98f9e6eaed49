/* SPDX-License-Identifier: MIT */
/* connection.c - messages with types between parent and child; the receiver picks by type. */
/* snippet */
#include <naru/naru.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    naru_channel *mine, *theirs;
    char text[64];
    if (naru_channel_pair("pipe:", NULL, &mine, &theirs) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    if (fork() == 0) {
        naru_adopt(theirs);
        naru_channel_close(mine);
        naru_channel_send(theirs, 1, "the weather", 11, NARU_FOREVER);
        naru_channel_send(theirs, 9, "man overboard", 13, NARU_FOREVER);
        naru_channel_close(theirs);
        return 0;
    }
    naru_channel_close(theirs);
    for (int type = 9; type > 0; type -= 8) { /* 9 first, though it was sent last */
        ssize_t n = naru_channel_recv(mine, type, text, sizeof text, NULL, NARU_S);
        if (n < 0)
            return fprintf(stderr, "%s\n", naru_why()), 1;
        printf("type %d: %.*s\n", type, (int)n, text);
    }
    naru_channel_close(mine);
    wait(NULL);
    return 0;
}
/* end */
