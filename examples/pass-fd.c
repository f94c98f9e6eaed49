/* SPDX-License-Identifier: MIT */
/* pass-fd.c - an open file handed to another process over a unix socket. The receiver may use it
 * though it could not open it itself; it arrives close-on-exec, and all of a call's descriptors
 * come or none does. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, naru_why());
    return 1;
}

static int receiver(naru_stream *s)
{
    char name[32], text[32];
    int fd;
    size_t n_fds;
    if (naru_adopt(s) < 0)
        return failed("adopting");
    ssize_t n = naru_stream_recv_fds(s, name, sizeof name, &fd, 1, &n_fds, 5 * NARU_S);
    if (n < 0 || n_fds != 1)
        return failed("receiving the descriptor");
    ssize_t m = pread(fd, text, sizeof text, 0);
    printf("%.*s holds: %.*s\n", (int)n, name, m > 0 ? (int)m : 0, text);
    close(fd); /* ours now */
    naru_stream_close(s);
    return m != 9;
}

int main(void)
{
    naru_stream *ours, *theirs;
    FILE *file = tmpfile(); /* which has no name that the other process could open */
    if (!file || fputs("ferryman\n", file) < 0 || fflush(file) != 0)
        return perror("tmpfile"), 1;
    if (naru_stream_pair("unix:", NULL, &ours, &theirs) < 0)
        return failed("making a pair");
    pid_t child = fork();
    if (child == 0)
        return receiver(theirs);
    naru_stream_close(theirs);
    int fd = fileno(file), status;
    if (naru_stream_send_fds(ours, "the file", 8, &fd, 1, 5 * NARU_S) < 0)
        return failed("sending the descriptor");
    naru_stream_close(ours);
    fclose(file); /* the receiver has its own copy, on the way or there */
    waitpid(child, &status, 0);
    return status != 0;
}
