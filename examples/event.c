/* SPDX-License-Identifier: MIT */
/* event.c - three workers wait for the start, and one after the other for work, one a set. */
#include <naru/naru.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 3 };

static int failed(void)
{
    fprintf(stderr, "%s\n", naru_why());
    return 1;
}

static int work(const char *start_url, const char *work_url)
{
    naru_event *start, *work;
    if (naru_event_open(start_url, NULL, &start) < 0 || naru_event_open(work_url, NULL, &work) < 0)
        return failed();
    if (naru_event_wait(start, 5 * NARU_S) < 0 || naru_event_wait(work, 5 * NARU_S) < 0)
        return failed();
    naru_event_close(start);
    naru_event_close(work);
    return 0;
}

int main(void)
{
    char start_url[64], work_url[64];
    struct naru_event_options manual = {.size = sizeof manual, .kind = NARU_MANUAL};
    struct naru_event_options automatic = {.size = sizeof automatic, .kind = NARU_AUTOMATIC};
    naru_event *start, *done;
    int status, n = 0;
    snprintf(start_url, sizeof start_url, "shm:example-start-%d", (int)getpid());
    snprintf(work_url, sizeof work_url, "shm:example-work-%d", (int)getpid());
    if (naru_event_open(start_url, &manual, &start) < 0 ||
        naru_event_open(work_url, &automatic, &done) < 0)
        return failed();
    for (int i = 0; i < WORKERS; i++)
        if (fork() == 0)
            _exit(work(start_url, work_url));
    if (naru_event_set(start) < 0) /* all of them, whether they wait already or come later */
        return failed();
    for (int i = 0; i < WORKERS; i++) {
        if (naru_event_set(done) < 0) /* one of them */
            return failed();
        if (wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
            n++;
    }
    printf("%d workers were started at once and ended one by one\n", n);
    naru_event_close(start);
    naru_event_close(done);
    naru_remove(start_url);
    naru_remove(work_url);
    return n == WORKERS ? 0 : 1;
}
