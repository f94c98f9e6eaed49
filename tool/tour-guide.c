/* SPDX-License-Identifier: MIT */
/* tour-guide.c - runs a scene: starts its parts, hears their reports, kills the victim, collects
 * every process, and judges.
 *
 * The guide is a process of its own to which every orphan of its descendants comes (subreaper), so
 * that its children are all that the tour started, and nothing that it did not. */
#include "tool/tour-guide.h"

#include "tool/print.h"
#include "tool/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCENE_TIMEOUT (30 * NARU_S)
#define LAST_WORDS (2 * NARU_S) /* that the others have when one has failed */

struct stage {
    struct tour *tour;
    const struct scene *scene;
    struct row *row;
    int reports[2];
    struct report last[PARTS_MAX];
    bool begun[PARTS_MAX], over[PARTS_MAX];
    int ready, ended;
    bool failed;
    int64_t deadline;
};

static bool stage_failed(struct stage *st, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (!st->failed) {
        vsnprintf(st->row->saw, sizeof st->row->saw, format, arguments);
        st->deadline = now_ns() + LAST_WORDS;
    }
    va_end(arguments);
    st->failed = true;
    return false;
}

/* Of one part or more: a failure is often another part's doing, which may be heard later. */
static void part_has_failed(struct stage *st, const char *said)
{
    size_t n = strlen(st->row->saw);
    if (!st->failed)
        stage_failed(st, "%s", said);
    else
        snprintf(st->row->saw + n, sizeof st->row->saw - n, "; %s", said);
}

/* ---- starting parts ---- */

const char *stage_directory(const struct stage *st)
{
    return st->tour->directory;
}

bool stage_fork(struct stage *st, int index, const char *name, const char *detail)
{
    pid_t pid = fork();
    if (pid < 0)
        return stage_failed(st, "fork: %s", strerror(errno));
    if (pid > 0)
        return true;
    struct part part = {.index = index,
                        .url = st->row->url,
                        .detail = detail ? detail : "",
                        .report_fd = st->reports[1],
                        .input = st->tour->input};
    part_run(&part, find_role(name)->run);
}

/* A session of its own, no parent but the one that orphans get, and a fresh program. */
bool stage_exec(struct stage *st, int index, const char *name, const char *detail)
{
    char number[3][16];
    snprintf(number[0], sizeof number[0], "%d", index);
    snprintf(number[1], sizeof number[1], "%d", st->reports[1]);
    snprintf(number[2], sizeof number[2], "%d", st->tour->input.fd);
    char *argv[] = {"naru",    TOUR_ARGUMENT, (char *)name, number[0],
                    number[1], number[2],     st->row->url, (char *)(detail ? detail : ""),
                    NULL};
    pid_t pid = fork();
    if (pid < 0)
        return stage_failed(st, "fork: %s", strerror(errno));
    if (pid == 0) {
        if (fork() != 0)
            _exit(0);
        setsid();
        fcntl(st->reports[1], F_SETFD, 0);
        fcntl(st->tour->input.fd, F_SETFD, 0);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    return true;
}

/* ---- hearing them ---- */

static void one_more_ended(struct stage *st, int index)
{
    st->over[index] = true;
    st->ended++;
    if (st->scene->next && !st->failed)
        st->scene->next(st, st->ready, st->ended);
}

static void hear(struct stage *st, const struct report *r)
{
    if (r->index < 0 || r->index >= st->scene->parts || r->index >= PARTS_MAX) {
        stage_failed(st, "a report came from a part that does not exist");
        return;
    }
    if (!st->begun[r->index])
        st->row->pids[st->row->n_pids++] = r->pid;
    st->begun[r->index] = true;
    st->last[r->index] = *r;
    if (r->url[0])
        snprintf(st->row->url, sizeof st->row->url, "%s", r->url);
    if (r->kind == REPORT_READY) {
        st->ready++;
        if (st->scene->next && !st->failed)
            st->scene->next(st, st->ready, st->ended);
    } else if (r->kind == REPORT_MIDWAY && r->index == st->scene->victim) {
        kill(r->pid, SIGKILL);
        one_more_ended(st, r->index);
    } else if (r->kind == REPORT_DONE) {
        if (r->skipped && !st->failed) {
            st->row->skipped = true;
            snprintf(st->row->saw, sizeof st->row->saw, "%s", r->saw);
        } else if (r->skipped || !r->ok)
            part_has_failed(st, r->saw);
        one_more_ended(st, r->index);
    }
}

/* A part that ended without a word. */
static void missed(struct stage *st, pid_t pid, int status)
{
    char said[100];
    for (int i = 0; i < st->scene->parts; i++) {
        if (!st->begun[i] || st->over[i] || st->last[i].pid != pid)
            continue;
        snprintf(said, sizeof said, "part %d (pid %d) ended without a report, by %s %d", i, pid,
                 WIFSIGNALED(status) ? "signal" : "exit status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        part_has_failed(st, said);
    }
}

/* Everything that has been said so far. false: nothing came. */
static bool hear_all(struct stage *st, int timeout_ms)
{
    struct pollfd fd = {st->reports[0], POLLIN, 0};
    struct report r;
    bool any = false;
    while (poll(&fd, 1, any ? 0 : timeout_ms) > 0 && read(fd.fd, &r, sizeof r) == sizeof r) {
        hear(st, &r);
        any = true;
    }
    return any;
}

static void attend(struct stage *st)
{
    st->deadline = now_ns() + SCENE_TIMEOUT; /* sooner, once a part has failed */
    bool nobody = false;
    while (st->ended < st->scene->parts && !st->row->skipped && !stopped()) {
        if (!hear_all(st, 100) && nobody) {
            stage_failed(st, "only %d of %d parts ended in order", st->ended, st->scene->parts);
            return;
        }
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            hear_all(st, 0); /* its last words, before it is missed */
            missed(st, pid, status);
        }
        nobody = pid < 0 && errno == ECHILD;
        if (now_ns() > st->deadline) {
            stage_failed(st, "%d of %d parts had ended after %d s", st->ended, st->scene->parts,
                         (int)(SCENE_TIMEOUT / NARU_S));
            return;
        }
    }
}

/* ---- cleaning up ---- */

static void kill_children(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE *f = fopen(path, "re");
    int pid;
    while (f && fscanf(f, "%d", &pid) == 1)
        kill(pid, SIGKILL);
    if (f)
        fclose(f);
}

/* All children of this process are gone when it returns; they get 2 s to end by themselves, or
 * none. What is in their places then has come from them. */
static void collect(bool at_once)
{
    int64_t deadline = now_ns() + (at_once ? 0 : 2 * NARU_S);
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0 && errno == ECHILD)
            return;
        if (pid > 0)
            continue;
        if (now_ns() >= deadline)
            kill_children();
        usleep(1000);
    }
}

/* ---- judging ---- */

static void add_digest(const struct report *r, bool *has, uint8_t sum[DIGEST])
{
    if (!r->has_digest)
        return;
    *has = true;
    digest_add(sum, r->digest);
}

static void judge_digests(struct stage *st, uint64_t sent)
{
    struct row *row = st->row;
    if (row->has_received && !row->has_sent) { /* several senders, each a part of the input */
        memcpy(row->sent, st->tour->input.digest, DIGEST);
        row->has_sent = true;
    }
    if (row->has_received && memcmp(row->received, row->sent, DIGEST) != 0)
        stage_failed(st, "the digests differ");
    if (sent && row->bytes && sent != row->bytes)
        stage_failed(st, "%llu bytes were sent, %llu came", (unsigned long long)sent,
                     (unsigned long long)row->bytes);
    if (!row->bytes)
        row->bytes = sent;
}

/* A receiver that is killed while it reads a record takes that one with it: the kernel has handed
 * out its beginning. Exactly one may be missing, and it must be one that was sent. */
static bool died_reading(struct stage *st, uint64_t sent, uint64_t sent_messages)
{
    struct row *row = st->row;
    struct cut cut = cut_begin(st->tour->input.size);
    struct piece piece;
    int victim = st->scene->victim;
    if (victim < 0 || st->last[victim].side != SIDE_RECEIVER || sent_messages != row->messages + 1)
        return false;
    while (cut_next(&cut, &piece)) {
        uint8_t sum[DIGEST], digest[DIGEST];
        if (row->bytes + piece.size != sent)
            continue;
        memcpy(sum, row->received, DIGEST);
        placed_digest(&st->tour->input, &piece, digest);
        digest_add(sum, digest);
        if (memcmp(sum, row->sent, DIGEST) != 0)
            continue;
        snprintf(row->saw, sizeof row->saw,
                 "the survivors went on; each of the %llu messages sent came once, but number "
                 "%llu, which the killed receiver had begun to read",
                 (unsigned long long)sent_messages, (unsigned long long)piece.number);
        return true;
    }
    return false;
}

static void judge(struct stage *st)
{
    struct row *row = st->row;
    uint64_t sent = 0, sent_messages = 0;
    int64_t sender_ns = 0, receiver_ns = 0;
    bool excused = false;
    for (int i = 0; i < st->scene->parts; i++) {
        const struct report *r = &st->last[i];
        excused = excused || r->lossy;
        if (r->p50_ns)
            row->p50_ns = r->p50_ns;
        if (r->added) {
            row->added = r->added;
            row->lost = r->lost;
            row->cost_ps = r->cost_ps;
        }
        if (r->saw[0] && !st->failed && strcmp(row->saw, r->saw) != 0) {
            size_t n = strlen(row->saw);
            snprintf(row->saw + n, sizeof row->saw - n, "%s%s", n ? "; " : "", r->saw);
        }
        if (r->side == SIDE_SENDER) {
            sent += r->bytes;
            sent_messages += r->messages;
            sender_ns = r->ns > sender_ns ? r->ns : sender_ns;
            add_digest(r, &row->has_sent, row->sent);
        } else if (r->side == SIDE_RECEIVER) {
            row->bytes += r->bytes;
            row->messages += r->messages;
            receiver_ns = r->ns > receiver_ns ? r->ns : receiver_ns;
            add_digest(r, &row->has_received, row->received);
        }
    }
    excused = excused || (!st->failed && died_reading(st, sent, sent_messages));
    if (!st->failed && !excused)
        judge_digests(st, sent);
    if (!st->failed && !excused && sent_messages && sent_messages != row->messages)
        stage_failed(st, "%llu messages were sent, %llu came", (unsigned long long)sent_messages,
                     (unsigned long long)row->messages);
    int64_t ns = receiver_ns ? receiver_ns : sender_ns;
    if (ns && st->scene->victim < 0)
        row->mb_s = (double)row->bytes * 1e3 / (double)ns;
    row->ok = !st->failed;
    if (row->ok && st->scene->victim >= 0 && !row->saw[0])
        snprintf(row->saw, sizeof row->saw,
                 "the survivors went on; each of the %llu messages sent came once",
                 (unsigned long long)row->messages);
}

/* ---- the whole ---- */

static const struct naru_kind *kind_named(const char *name)
{
    const struct naru_kind *kinds;
    size_t n = naru_kinds(&kinds);
    for (size_t i = 0; i < n; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

/* Calls are a kind of their own over the others. */
static const struct naru_kind *kind_of(const struct scene *scene)
{
    const struct naru_url_form *forms;
    size_t n = naru_url_forms(&forms), length = strcspn(scene->url, ":");
    if (scene->noun == NARU_NOUN_SERVICE)
        return kind_named("rpc");
    for (size_t i = 0; i < n; i++)
        if (strlen(forms[i].scheme) == length && strncmp(forms[i].scheme, scene->url, length) == 0)
            return kind_named(forms[i].kind);
    return NULL;
}

static void name_url(const struct tour *tour, const struct scene *scene, struct row *row)
{
    const char *place = strstr(scene->url, "%s"); /* the tour's directory stands there */
    const char *name = tour->directory;
    char port[16];
    if (place && place[2] == '-') /* a name without a directory */
        name = strrchr(name, '/') + 1;
    if (!place && (place = strstr(scene->url, "%p"))) { /* a port that no other tour has */
        snprintf(port, sizeof port, "%d", 20000 + (int)getpid() % 12000);
        name = port;
    }
    snprintf(row->url, sizeof row->url, "%.*s%s%s",
             (int)(place ? place - scene->url : (long)strlen(scene->url)), scene->url,
             place ? name : "", place ? place + 2 : "");
}

bool guide_run(struct tour *tour, const struct scene *scene, struct row *ret_row)
{
    struct stage st = {.tour = tour, .scene = scene, .row = ret_row};
    *ret_row = (struct row){.scene = scene, .kind = kind_of(scene)};
    name_url(tour, scene, ret_row);
    if (pipe2(st.reports, O_CLOEXEC) < 0)
        stage_failed(&st, "pipe: %s", strerror(errno));
    else if (scene->start(&st))
        attend(&st);
    collect(st.failed || ret_row->skipped || stopped());
    close(st.reports[0]);
    close(st.reports[1]);
    if (strstr(scene->url, "%s")) /* what a killed part, or a kind that outlives it, has left */
        (void)naru_remove(ret_row->url);
    empty_directory(tour->directory);
    if (!ret_row->skipped)
        judge(&st);
    return !stopped();
}

int guide_begin(struct tour *tour, const char *file, size_t generated)
{
    const char *base = getenv("TMPDIR");
    *tour = (struct tour){.directory = ""};
    if (input_make(&tour->input, file, generated) < 0)
        return -1;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
        fprintf(stderr, "naru tour: prctl: %s\n", strerror(errno));
        return -1;
    }
    snprintf(tour->directory, sizeof tour->directory, "%.64s/naru-tour-XXXXXX",
             base ? base : "/tmp");
    if (mkdtemp(tour->directory)) /* mode 0700 */
        return 0;
    fprintf(stderr, "naru tour: no directory in %s: %s\n", base ? base : "/tmp", strerror(errno));
    return -1;
}

void guide_end(struct tour *tour)
{
    remove_directory(tour->directory);
}
