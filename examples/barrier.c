/* SPDX-License-Identifier: MIT */
/* barrier.c - three processes meet after each step; then one is killed, and the others are told. */
#include <errno.h>
#include <naru/naru.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTIES = 3, STEPS = 4 };

static int failed(void)
{
    fprintf(stderr, "%s\n", naru_why());
    return 1;
}

static int party(const char *url, int i)
{
    naru_barrier *b;
    pid_t pid = 0;
    if (naru_barrier_open(url, NULL, &b) < 0)
        return failed();
    for (int step = 0; step < STEPS; step++) {
        int r = naru_barrier_wait(b, 5 * NARU_S);
        if (r < 0)
            return failed();
        if (r == 1) { /* one of the three */
            printf("step %d is done by all\n", step);
            fflush(stdout);
        }
    }
    if (i == 0)
        kill(getpid(), SIGKILL);
    /* the others are told, and do not wait for it */
    if (naru_barrier_wait(b, 5 * NARU_S) != -EOWNERDEAD || naru_barrier_dead(b, &pid) != 1)
        return failed();
    printf("%s\n", "a party has died");
    fflush(stdout);
    naru_barrier_close(b);
    return 0;
}

int main(void)
{
    char url[64];
    struct naru_barrier_options options = {.size = sizeof options, .parties = PARTIES};
    naru_barrier *b;
    int status, killed = 0, ended = 0;
    snprintf(url, sizeof url, "shm:example-barrier-%d", (int)getpid());
    if (naru_barrier_open(url, &options, &b) < 0)
        return failed();
    naru_barrier_close(b); /* this process is no party */
    for (int i = 0; i < PARTIES; i++)
        if (fork() == 0)
            _exit(party(url, i));
    while (wait(&status) > 0) {
        killed += WIFSIGNALED(status);
        ended += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    printf("%d killed, %d ended well\n", killed, ended);
    naru_remove(url);
    return killed == 1 && ended == PARTIES - 1 ? 0 : 1;
}
