/* SPDX-License-Identifier: MIT */
/* main.c - crash [options]: sweeps scenarios, or replays one point, or tests the rig itself. TAP.
 *
 * A job is an operation in a state. The drivers, one a core and pinned to it with the participants,
 * share the jobs; what they found lies in memory that all see. */
#include "rig.h"

#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern const struct scenario sample_scenario, named_scenario, pipe_scenario, unix_meeting,
    shm_scenario, queue_scenario, topic_scenario, region_scenario, semaphore_scenario,
    plain_semaphore_scenario, revoke_scenario, mutex_scenario, rwlock_scenario, event_scenario,
    manual_event_scenario, barrier_scenario, made_scenario, journal_scenario, disk_region_scenario,
    call_scenario;
static const struct scenario *const scenarios[] = {
    &sample_scenario,    &named_scenario,           &pipe_scenario,         &unix_meeting,
    &shm_scenario,       &queue_scenario,           &topic_scenario,        &region_scenario,
    &semaphore_scenario, &plain_semaphore_scenario, &revoke_scenario,       &mutex_scenario,
    &rwlock_scenario,    &event_scenario,           &manual_event_scenario, &barrier_scenario,
    &made_scenario,      &journal_scenario,         &disk_region_scenario,  &call_scenario};
static const char *missing[sizeof scenarios / sizeof *scenarios];

enum { N_SCENARIOS = sizeof scenarios / sizeof *scenarios, JOBS_MAX = 1024 };

static struct options {
    const char *scenario, *medium, *mode, *replay, *json, *flaw;
    unsigned long ask[MODES]; /* points in all */
    unsigned long budget;     /* seconds */
    uint64_t seed;
    bool self_test, all, first; /* first: one failure is enough */
    unsigned modes;             /* the self-test's */
} options = {.budget = 60, .ask = {300000, 3000, 1000, 300}};

static struct jobs {
    unsigned n;
    struct job job[JOBS_MAX];
} * jobs;

static int64_t started, deadline;

static bool wanted(enum mode mode, const struct scenario *s)
{
    if (mode == IMAGES && s->no_images)
        return false;
    if (mode == PAUSES && s->no_pauses)
        return false;
    if (mode == CLEANER && s->participants < 3)
        return false;
    if (options.self_test && !(options.modes >> mode & 1))
        return false;
    return !options.mode || strcmp(options.mode, mode_names[mode]) == 0;
}

/* ---- one job ---- */

/* How many are still to be made for what is asked. */
static uint64_t left(enum mode mode)
{
    uint64_t done = 0;
    for (unsigned i = 0; i < jobs->n; i++)
        done += jobs->job[i].tally.total[mode] - jobs->job[i].tally.missed[mode];
    return options.ask[mode] > done ? options.ask[mode] - done : 0;
}

/* The share of each job that has this mode. */
static uint64_t quota(enum mode mode, uint64_t all)
{
    unsigned with = 0;
    for (unsigned i = 0; i < jobs->n; i++)
        with += wanted(mode, jobs->job[i].scenario);
    return with ? (all + with - 1) / with : 0;
}

static bool stopped(const struct job *job, enum mode mode)
{
    for (unsigned i = 0; i < jobs->n; i++) /* found is found, by whichever job */
        for (int m = 0; m < MODES; m++)
            if (jobs->job[i].tally.failures[m] &&
                (options.first || (options.self_test && m == (int)mode)))
                return true;
    return clock_now() > deadline || job->tally.failures[mode] >= 3;
}

/* In an order by the seed. */
static struct points shuffled(const struct points *points, const struct points *more)
{
    struct points list = {0};
    for (size_t i = 0; i < points->n; i++)
        points_add(&list, points->list[i]);
    for (size_t i = 0; more && i < more->n; i++)
        points_add(&list, more->list[i]);
    uint64_t seed = options.seed;
    for (size_t i = list.n; i > 1; i--) {
        size_t k = pseudo_random(&seed) % i;
        struct point p = list.list[i - 1];
        list.list[i - 1] = list.list[k];
        list.list[k] = p;
    }
    return list;
}

/* Up to so many more of the list in turn, from where it stopped the last time; after the last once
 * more with the next variant. */
static void each_point(struct world *w, struct job *job, enum mode mode, uint64_t most,
                       bool (*run)(struct world *, struct job *, struct point))
{
    struct points list = shuffled(&job->points, mode == KILLS ? &job->calls : NULL);
    uint64_t *i = &job->next[mode], variants = mode == KILLS ? 8 : 2;
    most += job->tally.total[mode] - job->tally.missed[mode];
    for (uint64_t tries = 0;
         list.n && job->tally.total[mode] - job->tally.missed[mode] < most &&
         (options.all ? *i < variants * list.n : tries < 2 * most) && !stopped(job, mode);
         tries++, ++*i) {
        w->seed = options.seed * 8 + (*i % 8 ^ *i / list.n % 8);
        run(w, job, list.list[*i % list.n]);
        if (*i < list.n)
            job->tally.distinct[mode]++;
    }
    free(list.list);
}

/* Between two changes of memory it is the same to a cleaner where the subject died. */
enum { CLEANER_S = 15 }; /* at most, of one that is stepped */

static void each_cleaner(struct world *w, struct job *job)
{
    struct points list = shuffled(&job->changes, NULL);
    uint64_t most = options.all         ? list.n
                    : options.self_test ? 12
                                        : quota(CLEANER, options.ask[CLEANER]);
    for (uint64_t i = 0; i < list.n && i < most && !stopped(job, CLEANER); i++) {
        struct points second = {0};
        w->seed = options.seed * 8 + i % 8;
        w->until = deadline < clock_now() + CLEANER_S * INT64_C(1000000000)
                       ? deadline
                       : clock_now() + CLEANER_S * INT64_C(1000000000);
        w->stride = options.all || options.self_test ? 0 : 8;
        run_cleaner(w, job, list.list[i], NULL, &second);
        uint64_t seed = options.seed + i; /* images at all of them, real kills at some */
        for (int k = 0; k < (options.all ? 8 : 2) && second.n && !stopped(job, CLEANER); k++)
            run_cleaner(w, job, list.list[i], &second.list[pseudo_random(&seed) % second.n], NULL);
        free(second.list);
    }
}

/* The first run, which also says which points there are. */
static void images(struct world *w, struct job *job)
{
    w->seed = options.seed * 8;
    job->scenario->no_images ? record_points(w, job) : run_images(w, job, NULL);
}

/* The same once more, with other seeds. An image of names costs four times one of memory alone: it
 * is made once, and the others fill up the number, if there are any. */
static bool is_repeated(const struct scenario *s)
{
    bool cheap = false;
    for (unsigned i = 0; i < jobs->n; i++)
        cheap |= wanted(IMAGES, jobs->job[i].scenario) && !jobs->job[i].scenario->names;
    return wanted(IMAGES, s) && (options.all || !cheap || !s->names);
}

/* As long as the job may, for the sweeps of some cost a hundred times what others do; with --all
 * with all seeds. */
static void more_images(struct world *w, struct job *job)
{
    enum { SEEDS = 8 };
    for (int n = 1; !stopped(job, IMAGES) && (options.all ? n < SEEDS : left(IMAGES) > 0); n++) {
        w->seed = options.seed * 8 + ++job->next[IMAGES] % SEEDS;
        run_images(w, job, NULL);
    }
}

static void run_mode(struct world *w, struct job *job, enum mode mode, uint64_t most)
{
    if (mode == KILLS && (job->calls.n || record_calls(w, job)))
        each_point(w, job, KILLS, most, run_kill);
    else if (mode == PAUSES)
        each_point(w, job, PAUSES, most, run_pause);
}

static void run_phase(struct world *w, struct job *job, enum mode mode, bool again)
{
    w->scenario = job->scenario;
    w->operation = job->operation;
    w->state = job->state;
    w->medium = job->medium;
    w->flaw = options.flaw;
    w->doubts = options.all || options.self_test;
    code_choose(job->scenario->rooms);
    names_choose(job->scenario->disk);
    if (options.first && stopped(job, mode))
        return;
    if (mode == IMAGES && !again)
        images(w, job);
    else if (!wanted(mode, job->scenario))
        return;
    else if (mode == IMAGES)
        more_images(w, job);
    else if (mode == CLEANER)
        each_cleaner(w, job);
    else
        run_mode(w, job, mode,
                 again         ? quota(mode, left(mode))
                 : options.all ? UINT64_MAX / 4
                               : quota(mode, options.ask[mode]));
}

/* ---- drivers ---- */

enum { DRIVERS = 2 }; /* a core: while survivors of one wait, another works */

static void pin(long core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    sched_setaffinity(0, sizeof set, &set);
}

/* What part of the budget is used up when a phase ends; one that took longer takes of all that
 * follow, and leaves them what it did not need. Again: images with other seeds, then what those
 * jobs for which the time was short are behind with, until as many as asked for are made. What is
 * left is the cleaner's. */
static const struct {
    enum mode mode;
    bool again;
    double until;
} phases[] = {
    {IMAGES, false, 0.25}, {KILLS, false, 0.55}, {PAUSES, false, 0.68}, {IMAGES, true, 0.82},
    {PAUSES, true, 0.84},  {KILLS, true, 0.9},   {CLEANER, false, 1},
};
enum { PHASES = sizeof phases / sizeof *phases };

static void begin_driver(void)
{
    if (!disk_begin()) {
        perror("crash: a directory in $TMPDIR");
        _exit(2);
    }
    names_choose(false);
    names_own();
}

static bool takes_part(const struct scenario *s, enum mode mode, bool again)
{
    return mode != IMAGES ? wanted(mode, s) : !again || is_repeated(s);
}

static void drive(long driver, long drivers)
{
    pin(driver % sysconf(_SC_NPROCESSORS_ONLN));
    begin_driver();
    struct world *w = world_new();
    int64_t end = deadline;
    double used = 0;
    for (int p = 0; p < PHASES; used = phases[p++].until) {
        int64_t begin = clock_now();
        enum mode mode = phases[p].mode;
        bool fills = phases[p].again && !(options.all && mode == IMAGES);
        double time = (double)(end - begin) * (phases[p].until - used) / (1 - used);
        uint64_t before = UINT64_MAX;
        do { /* as long as that brings any */
            if (fills && (options.self_test || left(mode) == 0 || left(mode) == before))
                break;
            before = left(mode);
            int64_t rest = 0;
            for (unsigned i = (unsigned)driver; i < jobs->n; i += (unsigned)drivers)
                rest += takes_part(jobs->job[i].scenario, mode, phases[p].again);
            for (unsigned i = (unsigned)driver; i < jobs->n; i += (unsigned)drivers) {
                if (!takes_part(jobs->job[i].scenario, mode, phases[p].again))
                    continue;
                int64_t now = clock_now(), last = begin + (int64_t)time;
                deadline = now < last ? now + (last - now) / rest : last;
                rest--;
                run_phase(w, &jobs->job[i], mode, phases[p].again);
            }
        } while (fills && clock_now() < begin + (int64_t)time);
    }
    disk_end();
    fflush(stdout);
    _exit(0);
}

static bool run_jobs(void)
{
    long n = DRIVERS * sysconf(_SC_NPROCESSORS_ONLN), started = 0;
    fflush(stdout);
    for (long i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0)
            drive(i, n);
        started += pid > 0;
    }
    bool good = started == n;
    for (int status; started > 0; started--)
        good &= wait(&status) > 0 && status == 0;
    return good;
}

/* "name", "name.operation", or several with commas; else all but those by which the rig is tested.
 */
static bool chosen(const struct scenario *s, const char *operation)
{
    size_t n = strlen(s->name);
    for (const char *p = options.scenario, *end; p && *p; p = end + (*end == ',')) {
        end = strchrnul(p, ',');
        size_t rest = (size_t)(end - p) - n;
        if ((size_t)(end - p) >= n && strncmp(p, s->name, n) == 0 &&
            (rest == 0 || (p[n] == '.' && strlen(operation) == rest - 1 &&
                           strncmp(p + n + 1, operation, rest - 1) == 0)))
            return true;
    }
    return !options.scenario && !s->flaws;
}

/* Asked in a process of its own, whose sentence lies in `text`. */
static void ask_missing(char (*text)[300])
{
    for (int i = 0; i < N_SCENARIOS; i++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            const char *why = scenarios[i]->missing ? scenarios[i]->missing() : NULL;
            if (scenarios[i]->names && !names_own())
                why = "no right to mount a /dev/shm of one's own";
            snprintf(text[i], sizeof *text, "%s", why ? why : "");
            _exit(0);
        }
        waitpid(pid, NULL, 0);
        missing[i] = text[i][0] ? text[i] : NULL;
    }
}

/* In one medium, by the seed, so that in all about as many cells have each; or in all. */
static void make_cell(const struct scenario *s, int operation, int state)
{
    static unsigned next;
    int media = 0, wanted = -1;
    bool every = options.all || options.first || options.replay;
    if (s->one_in && !every &&
        ((uint64_t)(operation + state) + options.seed) % (uint64_t)s->one_in != 0)
        return;
    for (; s->media && s->media[media]; media++)
        if (options.medium && strcmp(s->media[media], options.medium) == 0)
            wanted = media;
    if (options.medium && wanted < 0)
        return;
    bool all = !options.medium && every;
    int medium = options.medium  ? wanted
                 : media && !all ? (int)((options.seed + next++) % (unsigned)media)
                                 : 0;
    do {
        if (jobs->n < JOBS_MAX)
            jobs->job[jobs->n++] = (struct job){
                .scenario = s, .operation = operation, .state = state, .medium = medium};
    } while (all && ++medium < media);
}

static void make_jobs(void)
{
    memset(jobs, 0, sizeof *jobs);
    for (int i = 0; i < N_SCENARIOS; i++) {
        const struct scenario *s = scenarios[i];
        for (int o = 0; s->operations[o]; o++)
            for (int k = 0; s->states[k] && !missing[i] && chosen(s, s->operations[o]); k++)
                if (!s->applies || s->applies(o, k))
                    make_cell(s, o, k);
    }
}

/* ---- what it prints ---- */

static struct tally sum(const struct scenario *s, int operation)
{
    struct tally t = {0};
    for (unsigned i = 0; i < jobs->n; i++) {
        const struct job *job = &jobs->job[i];
        if ((s && job->scenario != s) || (operation >= 0 && job->operation != operation))
            continue;
        for (int m = 0; m < MODES; m++) {
            t.distinct[m] += job->tally.distinct[m];
            t.total[m] += job->tally.total[m];
            t.missed[m] += job->tally.missed[m];
            t.failures[m] += job->tally.failures[m];
        }
        t.copies += job->tally.copies;
    }
    return t;
}

static uint64_t failures(const struct tally *t)
{
    uint64_t n = 0;
    for (int m = 0; m < MODES; m++)
        n += t->failures[m];
    return n;
}

static int print_operation(int n, const struct scenario *s, int operation)
{
    struct tally t = sum(s, operation);
    bool good = failures(&t) == 0 && t.total[IMAGES] + t.total[KILLS] + t.total[PAUSES] > 0;
    printf("%sok %d - %s.%s\n#  ", good ? "" : "not ", n, s->name, s->operations[operation]);
    for (int m = 0; m < MODES; m++)
        printf(" %s %llu distinct of %llu%s", mode_names[m], (unsigned long long)t.distinct[m],
               (unsigned long long)t.total[m], m == MODES - 1 ? "\n" : ",");
    return good;
}

/* Of what may lie in several places: how much was done in which. */
static void print_media(void)
{
    const char *medium[JOBS_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < jobs->n; i++) {
        const struct job *job = &jobs->job[i];
        const char *is = job->scenario->media ? job->scenario->media[job->medium] : NULL;
        unsigned k = 0;
        while (is && k < n && strcmp(medium[k], is) != 0)
            k++;
        if (is && k == n)
            medium[n++] = is;
    }
    for (unsigned k = 0; k < n; k++) {
        unsigned long long cells = 0, total[MODES] = {0};
        for (unsigned i = 0; i < jobs->n; i++) {
            const struct job *job = &jobs->job[i];
            if (!job->scenario->media || strcmp(job->scenario->media[job->medium], medium[k]) != 0)
                continue;
            cells++;
            for (int m = 0; m < MODES; m++)
                total[m] += job->tally.total[m];
        }
        printf("# in %s: %llu cells, images %llu, kills %llu, pauses %llu, cleaner %llu\n",
               medium[k], cells, total[IMAGES], total[KILLS], total[PAUSES], total[CLEANER]);
    }
}

static void write_json(int argc, char **argv, unsigned all, unsigned missed)
{
    FILE *f = fopen(options.json, "w");
    struct tally t = sum(NULL, -1);
    if (!f) {
        perror(options.json);
        exit(2);
    }
    fprintf(f, "{\n  \"command\": \"");
    for (int i = 0; i < argc; i++)
        fprintf(f, "%s%s", i ? " " : "", i ? argv[i] : "crash");
    fprintf(f, "\",\n  \"commit\": \"%s\",\n  \"seed\": %llu,\n  \"seconds\": %lld,\n",
            getenv("COMMIT") ? getenv("COMMIT") : "", (unsigned long long)options.seed,
            (long long)((clock_now() - started) / 1000000000));
    for (int m = 0; m < MODES; m++)
        fprintf(f, "  \"%s\": {\"distinct\": %llu, \"total\": %llu, \"failures\": %llu},\n",
                mode_names[m], (unsigned long long)t.distinct[m], (unsigned long long)t.total[m],
                (unsigned long long)t.failures[m]);
    fprintf(f, "  \"copies\": %llu,\n", (unsigned long long)t.copies);
    write_delays(f);
    fprintf(f, "  \"instructions\": {\"all\": %u, \"unreached\": %u},\n  \"operations\": [", all,
            missed);
    const char *comma = "";
    for (int i = 0; i < N_SCENARIOS; i++)
        for (int o = 0; scenarios[i]->operations[o]; o++) {
            t = sum(scenarios[i], o);
            fprintf(f, "%s\n    {\"name\": \"%s.%s\", \"images\": %llu, \"kills\": %llu, ", comma,
                    scenarios[i]->name, scenarios[i]->operations[o],
                    (unsigned long long)t.distinct[IMAGES], (unsigned long long)t.total[KILLS]);
            fprintf(f, "\"pauses\": %llu, \"cleaner\": %llu, \"failures\": %llu}",
                    (unsigned long long)t.total[PAUSES], (unsigned long long)t.total[CLEANER],
                    (unsigned long long)failures(&t));
            comma = ",";
        }
    fprintf(f, "\n  ]\n}\n");
    fclose(f);
}

static bool any_missing(void)
{
    bool any = false;
    for (int i = 0; i < N_SCENARIOS; i++)
        any |= missing[i] && chosen(scenarios[i], "");
    return any;
}

static int sweep(int argc, char **argv)
{
    int n = 0, bad = 0;
    make_jobs();
    if (jobs->n == 0 && !any_missing()) {
        fprintf(stderr, "crash: no scenario is called \"%s\"\n", options.scenario);
        return 2;
    }
    bool ran = run_jobs();
    for (int i = 0; i < N_SCENARIOS; i++)
        if (missing[i] && chosen(scenarios[i], ""))
            printf("ok %d - %s # SKIP %s\n", ++n, scenarios[i]->name, missing[i]);
    for (int i = 0; i < N_SCENARIOS; i++)
        for (int o = 0; scenarios[i]->operations[o]; o++)
            if (!missing[i] && chosen(scenarios[i], scenarios[i]->operations[o]))
                bad += !print_operation(++n, scenarios[i], o);
    printf("%sok %d - the drivers ended well\n1..%d\n", ran ? "" : "not ", n + 1, n + 1);
    struct tally t = sum(NULL, -1);
    unsigned all, missed;
    for (int m = 0; m < MODES; m++)
        printf("# %s: %llu distinct points, %llu in all, %llu missed, %llu failures\n",
               mode_names[m], (unsigned long long)t.distinct[m], (unsigned long long)t.total[m],
               (unsigned long long)t.missed[m], (unsigned long long)t.failures[m]);
    print_media();
    print_delays();
    if (!options.first) {
        code_unreached(&all, &missed,
                       options.all || (options.scenario && !strchr(options.scenario, ',')) ? stdout
                                                                                           : NULL);
        printf("# swept instructions never reached: %u of %u\n", missed, all);
    }
    printf("# seed %llu\n", (unsigned long long)options.seed);
    if (options.json && !options.first)
        write_json(argc, argv, all, missed);
    return bad || !ran;
}

/* ---- the rig itself ---- */

/* The modes that must find the flaw do; without a flaw nothing is found. */
static bool finds(const struct scenario *s, const struct flaw *flaw)
{
    options.scenario = s->name;
    options.flaw = flaw->name;
    options.modes = flaw->name ? flaw->by : (1 << MODES) - 1;
    for (int m = 0; m < MODES; m++)
        options.ask[m] = 1200;
    make_jobs();
    deadline = clock_now() + 20 * INT64_C(1000000000);
    bool good = run_jobs();
    struct tally t = sum(NULL, -1);
    for (int m = 0; m < MODES; m++)
        good &= flaw->name ? t.failures[m] > 0 || !(flaw->by >> m & 1) : t.failures[m] == 0;
    return good;
}

static int self_test(void)
{
    static const struct flaw none = {NULL, 0};
    int n = 0, bad = 0;
    for (int i = 0; i < N_SCENARIOS; i++) {
        const struct scenario *s = scenarios[i];
        if (s->flaws && missing[i])
            printf("ok %d - %s # SKIP %s\n", ++n, s->name, missing[i]);
        if (!s->flaws || missing[i])
            continue;
        bool good = finds(s, &none);
        bad += !good;
        printf("%sok %d - %s: nothing is found without a flaw\n", good ? "" : "not ", ++n, s->name);
        for (const struct flaw *flaw = s->flaws; flaw->name; flaw++) {
            bad += !(good = finds(s, flaw));
            printf("%sok %d - %s: %s is found by", good ? "" : "not ", ++n, s->name, flaw->name);
            for (int m = 0; m < MODES; m++)
                if (flaw->by >> m & 1)
                    printf(" %s", mode_names[m]);
            printf("\n");
        }
    }
    printf("1..%d\n", n);
    return bad != 0;
}

static bool is_called(const struct job *job, const char *state, const char *medium)
{
    return strcmp(job->scenario->states[job->state], state) == 0 &&
           (!medium ||
            (job->scenario->media && strcmp(job->scenario->media[job->medium], medium) == 0));
}

/* SCENARIO.OPERATION:STATE[@MEDIUM]:MODE:POINT[/POINT]:SEED */
static int replay(void)
{
    char name[64], state[64], mode[16], first[300], *second;
    unsigned long long seed;
    if (sscanf(options.replay, "%63[^:]:%63[^:]:%15[^:]:%299[^:]:%llu", name, state, mode, first,
               &seed) != 5) {
        fprintf(stderr, "crash: --replay SCENARIO.OPERATION:STATE:MODE:POINT:SEED\n");
        return 2;
    }
    options.scenario = name;
    options.seed = seed / 8;
    make_jobs();
    char *medium = strchr(state, '@');
    if (medium)
        *medium++ = 0;
    struct job *job = NULL;
    for (unsigned i = 0; i < jobs->n && !job; i++)
        if (is_called(&jobs->job[i], state, medium))
            job = &jobs->job[i];
    if (!job) {
        fprintf(stderr, "crash: no job is called %s:%s\n", name, state);
        return 2;
    }
    code_choose(job->scenario->rooms);
    if ((second = strchr(first, '/')))
        *second++ = 0;
    struct point p, q;
    if (!point_parse(first, &p) || (second && !point_parse(second, &q))) {
        fprintf(stderr, "crash: this program has no point %s\n", first);
        return 2;
    }
    pin(0);
    begin_driver();
    names_choose(job->scenario->disk);
    struct world *w = world_new();
    w->scenario = job->scenario;
    w->operation = job->operation;
    w->state = job->state;
    w->medium = job->medium;
    w->flaw = options.flaw;
    w->seed = seed;
    w->until = INT64_MAX;
    w->doubts = true;
    bool good = true;
    /* Where real survivors race with each other it may take more than one attempt. */
    for (int i = 0; good && i < 100; i++) {
        struct points points = {0};
        if (strcmp(mode, mode_names[IMAGES]) == 0)
            good = run_images(w, job, &p);
        else if (strcmp(mode, mode_names[KILLS]) == 0)
            good = run_kill(w, job, p);
        else if (strcmp(mode, mode_names[PAUSES]) == 0)
            good = run_pause(w, job, p);
        else
            good = run_cleaner(w, job, p, second ? &q : NULL, &points);
        free(points.list);
    }
    disk_end();
    printf("%sok 1 - %s\n1..1\n", good ? "" : "not ", options.replay);
    return !good;
}

static int usage(void)
{
    fprintf(stderr,
            "crash [--scenario NAME[.OPERATION],...] [--mode images|kills|pauses|cleaner] [--all]\n"
            "      [--medium NAME] [--ask IMAGES,KILLS,PAUSES] [--budget SECONDS] [--seed N] "
            "[--json FILE]\n"
            "      [--flaw NAME] [--replay SCENARIO.OPERATION:STATE[@MEDIUM]:MODE:POINT:SEED]\n"
            "      [--self-test] [--first]\n");
    return 2;
}

static bool parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"scenario", 1, NULL, 's'},  {"mode", 1, NULL, 'm'},   {"ask", 1, NULL, 'p'},
        {"medium", 1, NULL, 'M'},    {"budget", 1, NULL, 'b'}, {"seed", 1, NULL, 'S'},
        {"json", 1, NULL, 'j'},      {"replay", 1, NULL, 'r'}, {"flaw", 1, NULL, 'f'},
        {"self-test", 0, NULL, 't'}, {"all", 0, NULL, 'a'},    {"first", 0, NULL, 'F'},
        {NULL, 0, NULL, 0},
    };
    options.seed = (uint64_t)clock_now() % 1000000;
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 's':
            options.scenario = optarg;
            break;
        case 'm':
            options.mode = optarg;
            break;
        case 'M':
            options.medium = optarg;
            break;
        case 'p':
            if (sscanf(optarg, "%lu,%lu,%lu", &options.ask[IMAGES], &options.ask[KILLS],
                       &options.ask[PAUSES]) != 3)
                return false;
            break;
        case 'b':
            options.budget = strtoul(optarg, NULL, 10);
            break;
        case 'S':
            options.seed = strtoull(optarg, NULL, 10);
            break;
        case 'j':
            options.json = optarg;
            break;
        case 'r':
            options.replay = optarg;
            break;
        case 'f':
            options.flaw = optarg;
            break;
        case 't':
            options.self_test = true;
            break;
        case 'F':
            options.first = true;
            break;
        case 'a':
            options.all = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    if (!parse(argc, argv))
        return usage();
#ifndef __x86_64__
    printf("1..0 # SKIP the rig steps x86-64 processes only\n");
    return 0;
#endif
    if (!code_load()) {
        printf("1..0 # SKIP addr2line knows no sources of this program\n");
        return 0;
    }
    report_begin();
    jobs = rig_memory(sizeof *jobs);
    started = clock_now();
    deadline = started + (int64_t)options.budget * 1000000000;
    char(*text)[300] = rig_memory(N_SCENARIOS * sizeof *text);
    ask_missing(text);
    if (options.replay)
        return replay();
    return options.self_test ? self_test() : sweep(argc, argv);
}
