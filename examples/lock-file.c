/* SPDX-License-Identifier: MIT */
/* lock-file.c - a lock that is a file, as of a program that may run once at a time. Who owns it is
 * killed, and the next one is told; after a restart of the machine it is free. So it may stay there
 * for good, and nobody has to guess whether it is stale. */
#include <naru/naru.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int complain(void)
{
    return fprintf(stderr, "%s\n", naru_why()), 1;
}

static int own_and_die(const char *url)
{
    naru_mutex *m;
    if (naru_mutex_open(url, NULL, &m) < 0 || naru_mutex_lock(m, NARU_S) < 0)
        return complain();
    raise(SIGKILL);
    return 1;
}

int main(void)
{
    char url[64];
    naru_mutex *m;
    int status = 0;
    snprintf(url, sizeof url, "map:/tmp/naru-example-lock-%d", (int)getpid());
    pid_t doomed = fork();
    if (doomed == 0)
        _exit(own_and_die(url));
    waitpid(doomed, &status, 0);
    if (naru_mutex_open(url, NULL, &m) < 0)
        return complain();
    int r = naru_mutex_lock(m, 10 * NARU_S);
    if (r != -EOWNERDEAD)
        return complain();
    printf("%s\n", naru_why());
    /* ... whatever it was at is made whole here, and then: */
    if (naru_mutex_recover(m) < 0 || naru_mutex_unlock(m) < 0)
        return complain();
    r = naru_mutex_lock(m, NARU_NOWAIT);
    printf("%s\n", r == 0 ? "recovered, and locked as ever" : naru_why());
    if (r == 0)
        naru_mutex_unlock(m);
    naru_mutex_close(m);
    return naru_remove(url) < 0 || r != 0 || !WIFSIGNALED(status);
}
