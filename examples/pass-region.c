/* SPDX-License-Identifier: MIT */
/* pass-region.c - large data beside small messages: a worker gets each picture as memory that it
 * can read, handed over with the message that is about it, and answers over the same connection. */
#include <naru/naru.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PICTURE = 1, SUM, BYTES = 1 << 20 };

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, naru_why());
    return 1;
}

static int worker(naru_channel *c)
{
    char title[32];
    int fd;
    size_t n_fds;
    naru_region *r;
    ssize_t n = -1;
    if (naru_adopt(c) < 0 ||
        (n = naru_channel_recv_fds(c, PICTURE, title, sizeof title, NULL, &fd, 1, &n_fds,
                                   5 * NARU_S)) < 0 ||
        n_fds != 1)
        return failed("receiving a picture");
    struct naru_region_options o = {.size = sizeof o, .bytes = BYTES};
    if (naru_region_from_fd(fd, NARU_READ, &o, &r) < 0)
        return failed("opening it");
    close(fd); /* the region has its own */
    unsigned sum = 0;
    const unsigned char *pixel = naru_region_data(r);
    for (size_t i = 0; i < naru_region_size(r); i++)
        sum += pixel[i];
    printf("%.*s has %zu bytes\n", (int)n, title, naru_region_size(r));
    naru_region_close(r);
    int code = naru_channel_send(c, SUM, &sum, sizeof sum, 5 * NARU_S);
    naru_channel_close(c);
    return code < 0 ? failed("answering") : 0;
}

int main(void)
{
    naru_channel *ours, *theirs;
    naru_region *picture;
    int fd, status;
    unsigned sum = 0;
    if (naru_channel_pair("shm:", NULL, &ours, &theirs) < 0)
        return failed("making a pair"); /* "unix:" would do as well */
    pid_t child = fork();
    if (child == 0)
        return worker(theirs);
    naru_channel_close(theirs);
    if (naru_region_create(NULL, BYTES, NULL, &picture) < 0)
        return failed("making the picture");
    memset(naru_region_data(picture), 3, BYTES);
    if (naru_region_share(picture, NARU_READ, &fd) < 0 ||
        naru_channel_send_fds(ours, PICTURE, "a grey one", 10, &fd, 1, 5 * NARU_S) < 0)
        return failed("handing it over");
    close(fd); /* it is on its way, or there */
    if (naru_channel_recv(ours, SUM, &sum, sizeof sum, NULL, 5 * NARU_S) < 0)
        return failed("waiting for the answer");
    printf("its pixels add up to %u\n", sum);
    naru_region_close(picture);
    naru_channel_close(ours);
    waitpid(child, &status, 0);
    return status != 0 || sum != 3u * BYTES;
}
