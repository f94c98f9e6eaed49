/* SPDX-License-Identifier: MIT */
/* region-share.c - memory without a name, handed over a unix socket for reading alone: the receiver
 * sees it grow and change, and can by no means write it. It is gone with the last who has it. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, naru_why());
    return 1;
}

static int reader(naru_stream *s)
{
    char word[8];
    int fd;
    size_t n_fds;
    naru_region *r;
    struct naru_region_options o = {.size = sizeof o, .signature = naru_signature("log", 1, 1)};
    if (naru_adopt(s) < 0 ||
        naru_stream_recv_fds(s, word, sizeof word, &fd, 1, &n_fds, 5 * NARU_S) < 0)
        return failed("receiving it");
    if (naru_region_from_fd(fd, NARU_READ | NARU_WRITE, &o, &r) >= 0)
        return 1; /* it may not */
    printf("%s\n", naru_why());
    if (naru_region_from_fd(fd, NARU_READ, &o, &r) < 0)
        return failed("opening it");
    close(fd);
    const char *log = naru_region_data(r);
    printf("%zu bytes: %s\n", naru_region_size(r), log);
    naru_stream_write(s, "seen", 4, NARU_S);
    if (naru_stream_read(s, word, sizeof word, 5 * NARU_S) <= 0)
        return failed("waiting");
    printf("%zu bytes: %s\n", naru_region_size(r), log + PAGE); /* the address has stayed */
    naru_region_close(r);
    naru_stream_close(s);
    return 0;
}

int main(void)
{
    naru_stream *ours, *theirs;
    naru_region *r;
    struct naru_region_options o = {
        .size = sizeof o, .signature = naru_signature("log", 1, 1), .reserve = 16 * PAGE};
    char word[8];
    int fd, status;
    if (naru_stream_pair("unix:", NULL, &ours, &theirs) < 0)
        return failed("making a pair");
    pid_t child = fork();
    if (child == 0)
        return reader(theirs);
    naru_stream_close(theirs);
    if (naru_region_create(NULL, PAGE, &o, &r) < 0)
        return failed("creating it");
    strcpy(naru_region_data(r), "cast off");
    if (naru_region_share(r, NARU_READ, &fd) < 0 ||
        naru_stream_send_fds(ours, "log", 3, &fd, 1, NARU_S) < 0)
        return failed("handing it over");
    close(fd);
    if (naru_stream_read(ours, word, sizeof word, 5 * NARU_S) <= 0)
        return failed("waiting");
    if (naru_region_grow(r, 2 * PAGE) < 0 || naru_region_write(r, PAGE, "landed", 7) < 0)
        return failed("writing on");
    naru_stream_write(ours, "more", 4, NARU_S);
    waitpid(child, &status, 0);
    naru_stream_close(ours);
    naru_region_close(r);
    return status != 0;
}
