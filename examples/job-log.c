/* SPDX-License-Identifier: MIT */
/* job-log.c - a durable log of jobs: each is on the medium when its submission returns. The worker
 * is killed in the middle, which for a journal is as good as a restart, and the next one goes on
 * where its cursor is; a job that was begun comes again, marked. */
#include <naru/naru.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS = 10, HALF = 4 };

struct job {
    uint64_t id;
    int32_t amount, reserved;
};
NARU_STRUCT(job, 1, struct job)

static int complain(void)
{
    return fprintf(stderr, "%s\n", naru_why()), 1;
}

/* Jobs in their order, each released when it is done; how many were begun by somebody before. */
static int work(const char *url, int dies_at)
{
    const struct naru_journal_options j = {.size = sizeof j, .cursor = "billing"};
    const struct naru_queue_options o = {.size = sizeof o, .journal = &j};
    struct naru_message m;
    naru_channel *jobs;
    int again = 0;
    if (naru_queue_open(url, NARU_RECV, &o, &jobs) < 0)
        return -complain();
    for (int done = 0; naru_channel_take(jobs, 1, NARU_NOWAIT, &m) == 0; done++) {
        const struct job *job = m.data;
        if (done == dies_at)
            raise(SIGKILL); /* with a job in its hands */
        again += (m.info.flags & NARU_REDELIVERED) != 0;
        printf("job %" PRIu64 ": %d%s\n", job->id, job->amount,
               m.info.flags & NARU_REDELIVERED ? ", which somebody had begun" : "");
        fflush(stdout);
        naru_channel_release(jobs, &m, 1);
    }
    naru_channel_close(jobs);
    return again;
}

int main(void)
{
    char url[64];
    const struct naru_journal_options each = {.size = sizeof each, .sync = NARU_SYNC_EACH};
    const struct naru_queue_options o = {.size = sizeof o, .journal = &each};
    struct naru_journal_report report = {.size = sizeof report};
    naru_channel *jobs;
    int status = 0;
    snprintf(url, sizeof url, "map:/tmp/naru-example-jobs-%d", (int)getpid());
    if (naru_queue_open(url, NARU_SEND, &o, &jobs) < 0)
        return complain();
    for (uint64_t i = 1; i <= JOBS; i++)
        if (job_send(jobs, &(struct job){.id = i, .amount = (int32_t)i * 10}, 10 * NARU_S) < 0)
            return complain();
    naru_channel_close(jobs); /* nobody has it open any more, and all of it is there */

    pid_t doomed = fork();
    if (doomed == 0)
        _exit(work(url, HALF) < 0);
    waitpid(doomed, &status, 0);
    int again = work(url, -1);
    /* what was done stays in the log until it is trimmed */
    if (naru_journal_verify(url, &report, NULL, NULL) < 0)
        return complain();
    printf("%" PRIu64 " jobs in the log, %d of them begun twice\n", report.records, again);
    return naru_remove(url) < 0 || !WIFSIGNALED(status) || report.records != JOBS || again != 1;
}
