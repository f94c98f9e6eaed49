/* SPDX-License-Identifier: MIT */
/* modes.c - what is done at a point: an image, a kill, a pause, a cleaner's death. */
#include "rig.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const mode_names[MODES] = {"images", "kills", "pauses", "cleaner"};

/* ---- images ---- */

struct sweep {
    struct job *job;
    int who;                  /* the survivor that is copied */
    const struct point *only; /* a replay's */
    struct points *record;
    enum mode mode;
    struct point at; /* of the failure */
    uint64_t stride, phase; /* an image at each so manieth change only, 0: at all */
    uint64_t checked;
    bool stale; /* memory is not as in the last image */
};

static bool make_image(struct world *w, struct job *job, int who)
{
    job->tally.copies++;
    command(w, who, IMAGE, DIED, false);
    if (!finished(w, who, 8000))
        note_failure(w, "the image of survivor %d took more than 8 s", who);
    return !w->control->failed;
}

static bool in_time(const struct world *w, const struct sweep *sweep)
{
    return !w->control->failed && (sweep->mode == IMAGES || clock_now() < w->until);
}

static bool replay_stop(struct world *w, struct point point, bool changed, struct sweep *sweep)
{
    bool here = sweep->only->pc == point.pc && sweep->only->time == point.time;
    bool often = point.time > TIMES_MAX;
    if (here && (changed || !often))
        make_image(w, sweep->job, sweep->who);
    return !here || (often && !w->control->failed);
}

static bool image_stop(struct world *w, struct point point, bool stored, void *context)
{
    struct sweep *sweep = context;
    bool changed = (stored || w->doubts) && shared_changed(w), often = point.time > TIMES_MAX;
    if (changed && !stored) {
        note_failure(w, "memory has changed behind an instruction that stores nothing");
        sweep->at = point;
    }
    if (sweep->only)
        return replay_stop(w, point, changed, sweep);
    if (often && !changed) /* no point, but another image is worth it */
        return in_time(w, sweep);
    if (sweep->record && code_swept(point.pc) && !often)
        points_add(sweep->record, point);
    if (sweep->record == &sweep->job->points && changed && code_swept(point.pc) && !often)
        points_add(&sweep->job->changes, point);
    if (changed && sweep->stride && ++sweep->phase % sweep->stride != 0) {
        sweep->stale = true;
        return in_time(w, sweep);
    }
    sweep->stale &= !changed;
    if (!sweep->stale) {
        sweep->checked += !often;
        sweep->job->tally.total[sweep->mode]++;
    }
    /* unchanged memory is the image that was checked at the stop before */
    if (changed && !make_image(w, sweep->job, sweep->who))
        sweep->at = point;
    return in_time(w, sweep);
}

static bool ended(struct world *w, struct job *job, enum mode mode, struct point point,
                  const struct point *second, bool good)
{
    good &= world_end(w);
    if (!good)
        report_failure(w, job, mode, point, second);
    return good;
}

bool run_images(struct world *w, struct job *job, const struct point *only)
{
    struct points again = {0};
    struct points *record = job->points.n ? &again : &job->points;
    struct sweep sweep = {.job = job,
                          .who = 1,
                          .only = only,
                          .record = record,
                          .mode = IMAGES,
                          .at = only ? *only : NO_POINT};
    world_start(w, false, sweep.who);
    bool good = !w->control->failed && trace_begin(w, 0, OPERATE, LIVES) &&
                trace_steps(w, 0, image_stop, &sweep) && !w->control->failed;
    if (record == &job->points)
        job->tally.distinct[IMAGES] += record->n;
    free(again.list);
    return ended(w, job, IMAGES, sweep.at, NULL, good);
}

/* ---- kills ---- */

/* Within the bound for a hang, for which does not count that others had the processors. */
static bool finished_in_time(struct world *w, int who)
{
    int64_t kept = kept_waiting(w), rest = HANG_MS;
    for (int i = 0; i <= MORE_ROUNDS && rest > 0; i++) {
        if (finished(w, who, (int)rest))
            return true;
        if (w->control->failed)
            break;
        int64_t now = kept_waiting(w);
        rest = now - kept < HANG_MS ? now - kept : HANG_MS;
        kept = now;
    }
    return false;
}

static bool all_finished(struct world *w, int first)
{
    for (int i = first; i < w->scenario->participants; i++) {
        if (w->control->seat[i].pid && !finished_in_time(w, i)) {
            note_failure(w, "survivor %d still waits %d ms later", i, (int)HANG_MS);
            return false;
        }
    }
    return true;
}

static bool settle(struct world *w, int first, int64_t since)
{
    if (!all_finished(w, first))
        return false;
    for (int i = first; since && !w->scenario->no_delays && i < w->scenario->participants; i++)
        if (w->control->seat[i].on_at)
            report_delay(w->control->seat[i].on_at - since);
    return !w->control->failed;
}

/* The rules are looked at by a process that a failure may end. */
static bool rules(struct world *w)
{
    pid_t pid = fork();
    if (pid == 0) {
        w->scenario->check ? w->scenario->check(w) : check_log(w);
        _exit(0);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status == 0 && !w->control->failed;
}

static void survivors(struct world *w, int first, enum fate fate)
{
    for (int i = first; i < w->scenario->participants; i++)
        if (w->control->seat[i].pid)
            command(w, i, SURVIVE, fate, false);
}

static bool record_stop(struct world *w, struct point point, bool stored, void *context)
{
    (void)w, (void)stored;
    if (code_swept(point.pc) && point.time <= TIMES_MAX)
        points_add(context, point);
    return true;
}

bool record_points(struct world *w, struct job *job)
{
    world_start(w, false, 0);
    bool good = !w->control->failed && trace_begin(w, 0, OPERATE, LIVES) &&
                trace_steps(w, 0, record_stop, &job->points);
    return ended(w, job, KILLS, NO_POINT, NULL, good);
}

bool record_calls(struct world *w, struct job *job)
{
    world_start(w, false, 0);
    bool good = !w->control->failed && trace_begin(w, 0, OPERATE, LIVES) &&
                trace_calls(w, 0, &job->calls);
    return ended(w, job, KILLS, NO_POINT, NULL, good);
}

/* By the seed: survivors that wait already or that come later; a subject that leaves a child. */
bool run_kill(struct world *w, struct job *job, struct point point)
{
    bool early = w->seed & 1, there = false;
    world_start(w, w->seed & 2 && !w->scenario->no_child, 0);
    bool good = !w->control->failed && trace_begin(w, 0, OPERATE, LIVES);
    if (good && early) {
        survivors(w, 1, DIED);
        if (w->seed & 4)
            usleep(200); /* to fall asleep */
    }
    good = good && trace_to(w, 0, point, &there);
    if (good && !there)
        job->tally.missed[KILLS]++;
    int64_t now = 0;
    if (good) {
        w->control->killed_at = now = clock_now();
        trace_kill(w, 0, point);
        w->control->dead = true;
        if (!early)
            survivors(w, 1, DIED);
    }
    good = good && settle(w, 1, now) && rules(w);
    job->tally.total[KILLS]++;
    return ended(w, job, KILLS, point, NULL, good);
}

/* ---- pauses ---- */

bool run_pause(struct world *w, struct job *job, struct point point)
{
    bool there = false;
    world_start(w, false, 0);
    bool good = !w->control->failed && trace_begin(w, 0, OPERATE, LIVES) &&
                trace_to(w, 0, point, &there);
    if (good && !there)
        job->tally.missed[PAUSES]++;
    if (good) {
        trace_stop(w, 0);
        survivors(w, 1, PAUSED);
        good = all_finished(w, 1);
        kill(w->control->seat[0].pid, SIGCONT);
    }
    good = good && finished_in_time(w, 0);
    if (good)
        survivors(w, 0, LIVES);
    good = good && settle(w, 0, 0) && rules(w);
    job->tally.total[PAUSES]++;
    return ended(w, job, PAUSES, point, NULL, good);
}

/* ---- the cleaner ---- */

/* The subject dies at `first`. Survivor 1 is stepped as it goes on, with images of survivor 2 where
 * memory changes; or, with `second`, it is killed there. */
bool run_cleaner(struct world *w, struct job *job, struct point first, const struct point *second,
                 struct points *ret_second)
{
    bool there = false;
    struct sweep sweep = {.job = job,
                          .who = 2,
                          .record = ret_second,
                          .mode = CLEANER,
                          .at = NO_POINT,
                          .stride = w->stride,
                          .phase = w->seed};
    world_start(w, false, second ? 0 : sweep.who);
    bool good = !w->control->failed && trace_begin(w, 0, OPERATE, LIVES) &&
                trace_to(w, 0, first, &there);
    if (good) {
        trace_kill(w, 0, first);
        w->control->dead = true;
        good = trace_begin(w, 1, SURVIVE, DIED);
    }
    if (good && second) {
        good = trace_to(w, 1, *second, &there);
        if (good) {
            trace_kill(w, 1, *second);
            survivors(w, 2, DIED);
        }
        good = good && settle(w, 2, 0) && rules(w);
        job->tally.total[CLEANER]++;
        return ended(w, job, CLEANER, first, second, good);
    }
    good = good && trace_steps(w, 1, image_stop, &sweep) && !w->control->failed;
    job->tally.distinct[CLEANER] += sweep.checked;
    return ended(w, job, CLEANER, first, &sweep.at, good);
}
