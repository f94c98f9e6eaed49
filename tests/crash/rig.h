/* SPDX-License-Identifier: MIT */
/* rig.h - kills the participants of a shared-memory object at every instruction.
 *
 * A world is one object with its participants, each a process: the subject (0) carries out the
 * operation under test and dies, or sleeps, at a point; the survivors (1, 2, ...) go on. A point is
 * (operation, role, state, instruction, n-th time it ran).
 *
 *   images   the subject is single-stepped. Whenever shared memory has changed, a copy of a
 *            survivor is made that has copies of all shared memory and sees the subject as dead.
 *   kills    SIGKILL at a breakpoint, and at, behind and inside system calls. Real survivors.
 *   pauses   SIGSTOP there; the others go on; SIGCONT; the subject ends its operation.
 *   cleaner  the subject is dead, survivor 1 cleans up and dies in the middle, survivor 2 goes on.
 *
 * A new scenario, in its own file, with a line in scenarios[] of main.c:
 *
 *   static const char *const operations[] = {"send", NULL}, *const states[] = {"empty", NULL};
 *   static const char *const rooms[] = {"/src/shm/", NULL};     // sources that are swept
 *   static void prepare(struct world *w) { w->object = make(w->state); }
 *   static void attach(struct world *w, int who) { join(w->object, who); }
 *   static void operate(struct world *w)
 *   {
 *       log_sending(w, 7);                                      // before, and after: what a
 *       if (send(w->object, message(7)) == 0)                   // death leaves is exact
 *           log_sent(w, 7);
 *   }
 *   static void survive(struct world *w, int who, enum fate fate)
 *   {
 *       while (recv(w->object, &id) == 0)
 *           log_got(w, id, false);
 *       close(w->object);                                       // nothing may be left
 *   }
 *   const struct scenario x_scenario = {.name = "x", .participants = 2, ...};
 *
 * The log has its own mapping; the rules that hold for any channel are check_log(). */
#ifndef NARU_TESTS_CRASH_RIG_H
#define NARU_TESTS_CRASH_RIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/user.h>

typedef struct naru_region naru_region;

enum { PARTICIPANTS_MAX = 4, MESSAGES_MAX = 1024, STREAMS_MAX = 8 };
enum { HANG_MS = 2000 }; /* a promise is 100 ms; this, of time to run in, is the bound for a hang */

enum mode { IMAGES, KILLS, PAUSES, CLEANER, MODES };

/* What survive() is told of the subject. */
enum fate {
    DIED,   /* dead, or dying while survive() runs: nobody may wait for it for ever */
    PAUSED, /* stopped: try for a short time, in vain if need be, and return attached */
    LIVES,  /* it has ended its operation; also called for the subject itself */
};

/* ---- what a scenario sees ---- */

struct log {
    struct {
        _Atomic uint8_t sending, sent, got, got_again; /* got_again: marked redelivered */
    } message[MESSAGES_MAX];
    _Atomic int consuming;   /* messages that the subject's call may be consuming just now */
    /* By streams: ids below and from MESSAGES_MAX / 2 on, or, of a scenario with .streams, eight.
     */
    _Atomic bool none_left[STREAMS_MAX]; /* nobody receives these any more: nothing has to arrive */
    _Atomic int last_got[PARTICIPANTS_MAX]
                        [STREAMS_MAX];                  /* each receiver's order, or, else, all's */
    _Atomic bool no_order;                              /* what is received is chosen */
    _Atomic uint8_t by[PARTICIPANTS_MAX][MESSAGES_MAX]; /* got by each, where all get all */
    _Atomic uint32_t own[8]; /* the scenario's */
};

struct world {
    const struct scenario *scenario;
    int operation, state, medium;
    const char *flaw; /* planted, or NULL */
    uint64_t seed;
    bool image; /* this process is an image's */
    bool doubts; /* looks at memory also where nothing was stored; with --all */
    int64_t until;   /* a cleaner's images stop then */
    uint64_t stride; /* and are made at each so manieth change; 0: each */
    int who;         /* and this participant, once it attaches */
    void *object;
    struct log *log;
    struct control *control;
};

/* What must find it: 1 << mode, together. */
struct flaw {
    const char *name;
    unsigned by;
};

struct scenario {
    const char *name;
    const char *const *operations, *const *states, *const *rooms;
    const struct flaw *flaws; /* that can be planted into it; ends with a NULL name */
    int participants;
    bool no_images; /* what matters lies in the kernel */
    bool streams;   /* several senders and receivers, each with an order of its own */
    bool names; /* in /dev/shm: needs the right to mount one of its own */
    bool disk;  /* with names: in disk_directory() instead */
    bool no_pauses;
    bool no_delays; /* survivors wait for each other, too: their time says nothing */
    bool no_child; /* what a forked child has inherited is not dead */
    const char *(*missing)(void); /* why this build cannot; NULL, or it gives NULL: it can */
    /* In a process of its own that is gone when operate() begins. */
    void (*prepare)(struct world *);
    void (*attach)(struct world *, int who); /* in each participant */
    void (*operate)(struct world *);         /* in the subject */
    void (*survive)(struct world *, int who, enum fate);
    /* In an image of survivor `who`, which holds no locks, as it has copies of all files: takes
     * those of itself and of the participants behind it, who live. How many descriptors that needs.
     */
    int (*forged)(struct world *, int who);
    void (*check)(struct world *); /* NULL: check_log() */
    /* In a process of its own, when all have ended: the next opener, who leaves nothing. May be
     * NULL: nothing is left then, either. */
    void (*sweep)(struct world *);
    /* Where it may lie, for world.medium; NULL: in one place. Each operation in each state is swept
     * in one of them, by the seed, or in all with --all and --first. */
    const char *const *media;
    int one_in; /* so many states an operation is swept, by the seed, or in all; 0: in all */
    /* Operations that do not apply in a state. NULL: all do. */
    bool (*applies)(int operation, int state);
};

void log_sending(struct world *, unsigned id);
void log_sent(struct world *, unsigned id);
void log_got(struct world *, unsigned id, bool redelivered);
void log_got_by(struct world *, unsigned id); /* by this participant, of what all get */
unsigned log_stream(const struct world *, unsigned id);
void log_consuming(struct world *, int n); /* before the call that may take them; 0 after it */
void check_log(struct world *);

/* Payloads that show what they are. message_id: -1 if garbled. */
void message_fill(void *data, size_t size, unsigned id);
int message_id(const void *data, size_t size);

/* Ends this process; the point is a failure. */
_Noreturn void failed(struct world *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool subject_dead(const struct world *); /* the rig has killed it, and said so */
/* It has been killed, though the rig may say so only in a moment; false: it has not. */
bool subject_dies(const struct world *);
void going_on(struct world *, int who);  /* from here on this survivor is not held up any more */
uint64_t pseudo_random(uint64_t *seed);
int64_t clock_now(void); /* nanoseconds */

/* ---- worlds (world.c) ---- */

void *rig_memory(size_t); /* zeroed, shared with all processes of the rig */

enum command { NOTHING, OPERATE, SURVIVE, IMAGE };

struct control {
    struct seat {
        _Atomic int pid, command, done; /* done counts commands carried out */
        _Atomic int fate;
        _Atomic bool gated;     /* stops for the tracer before and after */
        _Atomic int64_t on_at;  /* when it went on */
        _Atomic int descendant; /* a forked child that sleeps */
    } seat[PARTICIPANTS_MAX];
    _Atomic int ready, staged;
    _Atomic bool dead, failed;
    _Atomic bool child; /* the subject forks a child first */
    int copied;         /* the participant of which images are made; 0: none */
    int descriptors;    /* open before the object was made */
    pid_t driver;
    _Atomic int64_t killed_at;
    char why[512];
};

struct world *world_new(void); /* one a driver */
void world_start(struct world *, bool child, int copied);
bool world_end(struct world *); /* kills and reaps all; false: something is left, and noted */
void command(struct world *, int who, enum command, enum fate, bool gated);
bool finished(struct world *, int who, int milliseconds);
/* How many ms this process and the participants were ready to run and had no processor, since they
 * began; 0 where the kernel does not tell. A bound is that much longer, so many times at most. */
enum { MORE_ROUNDS = 5 };
int64_t kept_waiting(const struct world *);
void note_failure(struct world *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- images (image.c) ---- */

void forge(struct world *);                 /* in a raw clone of a survivor */
struct naru_object;
int forge_locks(struct world *, int who, struct naru_object *);
void keep_on_fork(void);                    /* pages that a fork wipes are not wiped */
bool shared_mapped(void);                   /* by this process, and not the rig's */
void shared_look(pid_t);                    /* watch that process's shared memory, and the log */
bool shared_changed(struct world *);        /* since the last call */

/* ---- where files with names lie (names.c) ---- */

bool disk_begin(void);
void disk_clear(void);
void disk_end(void);
const char *disk_directory(void); /* the driver's own, on disk */
bool in_disk_directory(const char *path);
void names_choose(bool disk); /* which directory the following are about: this, or /dev/shm */
const char *names_directory(void);
bool names_own(void);                         /* from here on this process's is empty */
bool names_left(char *ret_name, size_t size); /* something in it, but the directories of users */
void names_clear(void);
bool names_used(void);
uint64_t names_print(void); /* of all names there */

/* ---- where locks lie (place.c) ---- */

extern const char *const lock_media[];
enum { LOCK_AT = 384 };                                          /* in a region */
naru_region *lock_region(struct world *, unsigned participants); /* a new one; NULL: a file is it */
naru_region *lock_region_again(struct world *, naru_region *);   /* a participant's own */
/* "map:…" where it is a file. lock: an image's, whose copy it is; of a scenario with names NULL. */
const char *lock_url(const struct world *, const void *lock);
int lock_file(const struct world *, int64_t *ret_at); /* on disk: opened; and where in it */
void lock_remove(void);                               /* all that is there */
/* ---- what code there is (points.c) ---- */

enum { TIMES_MAX = 3 };

struct point {
    uint64_t pc;  /* 0: a system call */
    uint8_t time; /* n-th time it ran; system calls: 0 entry, 1 exit, 2 inside */
    uint16_t call;
};

#define NO_POINT ((struct point){.pc = 1}) /* before the first one, or behind the last */

struct points {
    struct point *list;
    size_t n, room;
};

bool code_load(void); /* symbols and sources of this program */
void code_choose(const char *const *rooms);
bool code_swept(uint64_t pc); /* in the rooms */
bool code_stepped(uint64_t pc); /* in them, or may get there by another way than a call */
uint64_t code_entry(size_t i);  /* of all functions; 0: no more */
size_t code_index(uint64_t pc); /* of a stepped one, below code_size() */
size_t code_size(void);
const char *point_name(struct point);
bool point_parse(const char *, struct point *ret_point);
void points_add(struct points *, struct point);
void code_reached(uint64_t pc);
/* Of the instructions of all rooms; a line a function to out. */
void code_unreached(unsigned *ret_all, unsigned *ret_missed, FILE *out);

/* ---- stepping (step.c) ---- */

/* Each stop in the swept code, in gated execution of seat `who`, of a time above TIMES_MAX if its
 * instruction has run more often. stored: memory may have changed since the stop before. false ends
 * the run. */
typedef bool on_stop(struct world *, struct point, bool stored, void *context);

bool trace_begin(struct world *, int who, enum command, enum fate);
bool trace_steps(struct world *, int who, on_stop *, void *context); /* false: failure noted */
bool trace_calls(struct world *, int who, struct points *);
bool trace_to(struct world *, int who, struct point, bool *ret_there);
void trace_kill(struct world *, int who, struct point);
void trace_stop(struct world *, int who); /* SIGSTOP, and let it go */
void trace_release(struct world *, int who);

/* ---- the modes (images.c, kills.c) ---- */

extern const char *const mode_names[MODES];

struct tally {
    uint64_t distinct[MODES], total[MODES], missed[MODES], failures[MODES], copies;
};

struct job {
    const struct scenario *scenario;
    int operation, state, medium;
    struct points points, calls; /* of the recorded trace */
    struct points changes;       /* the points at which memory, or the log, had changed */
    uint64_t next[MODES];        /* of the shuffled list */
    struct tally tally;
};

bool run_images(struct world *, struct job *, const struct point *only);
bool record_points(struct world *, struct job *);
bool record_calls(struct world *, struct job *);
bool run_kill(struct world *, struct job *, struct point);
bool run_pause(struct world *, struct job *, struct point);
bool run_cleaner(struct world *, struct job *, struct point first, const struct point *second,
                 struct points *ret_second);

/* ---- what came out (report.c) ---- */

void report_begin(void); /* before the drivers are forked */
void report_failure(struct world *, struct job *, enum mode, struct point,
                    const struct point *second);
void report_delay(int64_t ns);
/* How long survivors were held up. below[k]: how many less than 2^k microseconds, and not less than
 * half of it; the last class has all longer ones, too. */
enum { DELAY_CLASSES = 24 };
struct delays {
    size_t n, below[DELAY_CLASSES];
    unsigned p50, p90, p99, p999, max;
};
struct delays report_delays(void);
void print_delays(void);
void write_delays(FILE *);

#endif
