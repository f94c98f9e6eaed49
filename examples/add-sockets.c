/* SPDX-License-Identifier: MIT */
/* add-sockets.c - what add.c does, with sockets: one call at a time, one client, no deadline, and
 * no word of why when it fails. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* snippet */
static int read_all(int fd, void *data, size_t size)
{
    for (size_t got = 0; got < size;) {
        ssize_t n = read(fd, (char *)data + got, size - got);
        if (n <= 0)
            return -1;
        got += (size_t)n;
    }
    return 0;
}

static int serve(int listener)
{
    int fd = accept(listener, NULL, NULL), n[2];
    if (fd < 0)
        return 1;
    while (read_all(fd, n, sizeof n) == 0) {
        int sum = n[0] + n[1];
        if (send(fd, &sum, sizeof sum, MSG_NOSIGNAL) != sizeof sum)
            break;
    }
    return close(fd);
}

static int call(int fd, int a, int b)
{
    int n[2] = {a, b}, sum;
    if (send(fd, n, sizeof n, MSG_NOSIGNAL) != sizeof n || read_all(fd, &sum, sizeof sum) < 0)
        return -1;
    return sum;
}
/* end */

static int listen_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 5) < 0)
        return -1;
    return fd;
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
        return -1;
    return fd;
}

int main(void)
{
    char path[64];
    snprintf(path, sizeof path, "add-%d.sock", (int)getpid());
    int listener = listen_at(path);
    if (listener < 0)
        return perror(path), 1;
    pid_t child = fork();
    if (child == 0)
        return serve(listener);
    close(listener);
    int fd = connect_to(path), sum = call(fd, 2, 3);
    printf("2 + 3 = %d\n", sum);
    close(fd);
    waitpid(child, NULL, 0);
    unlink(path);
    return sum == 5 ? 0 : 1;
}
