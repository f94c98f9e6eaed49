/* SPDX-License-Identifier: MIT */
/* permit.c - a permit comes back by itself when its owner is killed. */
/* snippet */
#include <naru/naru.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    char url[64];
    const struct naru_semaphore_options one = {.size = sizeof one, .value = 1};
    naru_semaphore *berth;
    snprintf(url, sizeof url, "shm:example-permit-%d", (int)getpid());
    if (naru_semaphore_open(url, &one, &berth) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    if (fork() == 0) {
        naru_semaphore_open(url, NULL, &berth);
        naru_semaphore_acquire(berth, 1, NARU_S);
        kill(getpid(), SIGKILL); /* and never releases it */
    }
    wait(NULL);
    int r = naru_semaphore_acquire(berth, 1, NARU_S);
    printf("%s\n", r == 0 ? "the berth is free again" : naru_why());
    if (r == 0)
        naru_semaphore_release(berth, 1);
    naru_semaphore_close(berth);
    return naru_remove(url) < 0 || r < 0;
}
/* end */
