/* SPDX-License-Identifier: MIT */
/* mutex.c - two numbers that are equal, whenever nobody has the mutex; one who has it is killed. */
#include <errno.h>
#include <naru/naru.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct account {
    long in, out; /* equal */
};

static int failed(void)
{
    fprintf(stderr, "%s\n", naru_why());
    return 1;
}

/* Locks; if the owner before died at it, makes whole what it left. */
static int enter(naru_mutex *m, struct account *a)
{
    int r = naru_mutex_lock(m, 5 * NARU_S);
    if (r != -EOWNERDEAD)
        return r;
    a->out = a->in;
    return naru_mutex_recover(m);
}

static int work(naru_region *region, int i)
{
    naru_mutex *m;
    if (naru_adopt(region) < 0 || naru_mutex_at(region, 0, NULL, &m) < 0)
        return failed();
    struct account *a = (struct account *)((char *)naru_region_data(region) + naru_lock_bytes(0));
    for (int k = 0; k < 1000; k++) {
        if (enter(m, a) < 0)
            return failed();
        a->in++;
        if (i == 0 && k == 500)
            kill(getpid(), SIGKILL); /* half done */
        a->out++;
        if (naru_mutex_unlock(m) < 0)
            return failed();
    }
    naru_mutex_close(m);
    naru_region_close(region);
    return 0;
}

int main(void)
{
    naru_region *region; /* the mutex, and behind it what it guards */
    naru_mutex *m;
    int status, killed = 0;
    if (naru_region_create(NULL, naru_lock_bytes(0) + sizeof(struct account), NULL, &region) < 0 ||
        naru_mutex_at(region, 0, NULL, &m) < 0)
        return failed();
    struct account *a = (struct account *)((char *)naru_region_data(region) + naru_lock_bytes(0));
    for (int i = 0; i < 3; i++)
        if (fork() == 0)
            _exit(work(region, i));
    while (wait(&status) > 0)
        killed += WIFSIGNALED(status);
    if (enter(m, a) < 0)
        return failed();
    printf("%d killed, %ld in, %ld out\n", killed, a->in, a->out);
    naru_mutex_close(m);
    naru_region_close(region);
    return 0;
}
