/* SPDX-License-Identifier: MIT */
/* semaphore.c - two permits for four processes, one of which is killed while it has one. */
#include <naru/naru.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int failed(void)
{
    fprintf(stderr, "%s\n", naru_why());
    return 1;
}

static int work(const char *url, int i)
{
    naru_semaphore *s;
    if (naru_semaphore_open(url, NULL, &s) < 0 || naru_semaphore_acquire(s, 1, 5 * NARU_S) < 0)
        return failed();
    if (i == 0)
        kill(getpid(), SIGKILL); /* its permit comes back by itself */
    usleep(1000);
    if (naru_semaphore_release(s, 1) < 0)
        return failed();
    naru_semaphore_close(s);
    return 0;
}

int main(void)
{
    char url[64];
    struct naru_semaphore_options options = {.size = sizeof options, .value = 2};
    naru_semaphore *s;
    unsigned free = 0;
    int status, killed = 0;
    snprintf(url, sizeof url, "shm:example-semaphore-%d", (int)getpid());
    if (naru_semaphore_open(url, &options, &s) < 0)
        return failed();
    for (int i = 0; i < 4; i++)
        if (fork() == 0)
            _exit(work(url, i));
    while (wait(&status) > 0)
        killed += WIFSIGNALED(status);
    if (naru_semaphore_acquire(s, 2, NARU_S) < 0 || naru_semaphore_release(s, 2) < 0 ||
        naru_semaphore_value(s, &free) < 0)
        return failed();
    printf("%d killed, %u of 2 permits free\n", killed, free);
    naru_semaphore_close(s);
    naru_remove(url);
    return 0;
}
