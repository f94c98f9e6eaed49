/* SPDX-License-Identifier: MIT */
/* jobs.c - a job queue of typed structs with three workers, one of which dies with a job in its
 * hands: the next one gets it, marked, and every job is done. */
#include <naru/naru.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS = 30, WORKERS = 3 };

struct job {
    uint64_t id;
    int32_t a, b;
};
struct result {
    uint64_t id;
    int64_t product;
    uint32_t again, reserved; /* again: an earlier worker had died with the job */
};
NARU_STRUCT(job, 1, struct job)
NARU_STRUCT(result, 2, struct result)

static int worker(const char *jobs_url, const char *results_url, int dies)
{
    naru_channel *jobs, *results;
    struct naru_message m;
    if (naru_queue_open(jobs_url, NARU_RECV, NULL, &jobs) < 0 ||
        naru_queue_open(results_url, NARU_SEND, NULL, &results) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    for (;;) { /* a job is released only when its result is out: it cannot be lost */
        if (naru_channel_take(jobs, 1, 20 * NARU_S, &m) < 0)
            return fprintf(stderr, "%s\n", naru_why()), 1;
        const struct job *j = m.data;
        if (j->id == 0)
            break;
        if (dies)
            raise(SIGKILL);
        struct result r = {.id = j->id,
                           .product = (int64_t)j->a * j->b,
                           .again = (m.info.flags & NARU_REDELIVERED) != 0};
        if (result_send(results, &r, 20 * NARU_S) < 0)
            return fprintf(stderr, "%s\n", naru_why()), 1;
        naru_channel_release(jobs, &m, 1);
    }
    naru_channel_release(jobs, &m, 1);
    naru_channel_close(jobs);
    naru_channel_close(results);
    return 0;
}

int main(void)
{
    char jobs_url[64], results_url[64];
    naru_channel *jobs, *results;
    int done[JOBS + 1] = {0}, again = 0, failed = 0;
    snprintf(jobs_url, sizeof jobs_url, "shm:example-jobs-%d", (int)getpid());
    snprintf(results_url, sizeof results_url, "shm:example-results-%d", (int)getpid());
    if (naru_queue_open(jobs_url, NARU_SEND, NULL, &jobs) < 0 ||
        naru_queue_open(results_url, NARU_RECV, NULL, &results) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    for (uint64_t i = 1; i <= JOBS; i++)
        failed |= job_send(jobs, &(struct job){i, (int32_t)i, 7}, NARU_S) < 0;
    pid_t doomed = fork();
    if (doomed == 0)
        _exit(worker(jobs_url, results_url, 1));
    waitpid(doomed, NULL, 0);
    for (int i = 1; i < WORKERS; i++)
        if (fork() == 0)
            _exit(worker(jobs_url, results_url, 0));
    for (int i = 0; i < JOBS && !failed; i++) {
        struct result r;
        if (result_recv(results, &r, NULL, 20 * NARU_S) < 0) {
            fprintf(stderr, "%s\n", naru_why());
            failed = 1;
        } else {
            failed |= r.id > JOBS || r.product != (int64_t)r.id * 7 || done[r.id]++;
            again += r.again != 0;
        }
    }
    for (int i = 1; i < WORKERS; i++)
        job_send(jobs, &(struct job){0}, NARU_S); /* no more */
    int status;
    while (wait(&status) > 0)
        failed |= status;
    printf("%d jobs done, %d of them begun by a worker that died\n", JOBS, again);
    naru_channel_close(jobs);
    naru_channel_close(results);
    naru_remove(jobs_url);
    naru_remove(results_url);
    return failed != 0 || again != 1;
}
