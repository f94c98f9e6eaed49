/* SPDX-License-Identifier: MIT */
/* tour-stops.h - a stop of the tour: one kind, in the relation it is for, between real processes.
 */
#ifndef NARU_TOOL_TOUR_STOPS_H
#define NARU_TOOL_TOUR_STOPS_H

#include <naru/naru.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOUR_PIDS = 8, TOUR_HEX = 65, TOUR_ROUNDS = 2000 };

/* What is carried: the file, then messages of mixed sizes cut from `data`. */
struct cargo {
    const uint8_t *data;
    size_t size;
    const uint32_t *cuts; /* message sizes; they add up to size */
    size_t n_cuts;
};

struct result {
    int64_t pids[TOUR_PIDS];
    size_t n_pids;
    uint64_t bytes, messages;
    char sent[TOUR_HEX], received[TOUR_HEX]; /* SHA-256; empty if it does not apply */
    double seconds;
    double p50_ns; /* one way, 0 if it was not measured */
    bool ok;
    char note[256]; /* what was seen, or what went wrong */
};

struct stop {
    const char *kind; /* name of its naru_kind */
    const char *url;
    const char *noun;
    const char *relation; /* which processes */
    /* result->sent holds the cargo's digest; a stop that carries something else replaces it. */
    void (*run)(const struct cargo *, const char *directory, struct result *);
};

extern const struct stop tour_stops[];
extern const size_t tour_stops_count;

/* ---- for the stops ---- */

double tour_now(void);

/* SHA-256 as it goes along. */
struct digest;
struct digest *digest_new(void);
void digest_add(struct digest *, const void *data, size_t n);
void digest_end(struct digest *, char hex[TOUR_HEX]); /* frees */

/* What a worker found, told by another way than the one under test. */
struct report {
    uint64_t bytes, messages;
    double p50_ns, began, ended;
    char sha256[TOUR_HEX];
    int error; /* negative errno of the first failure */
    char why[160];
};

/* A process of this tour: `body` runs in a fork and reports through a pipe of its own. */
struct worker;
struct worker *worker_start(void (*body)(void *context, struct report *), void *context);
int64_t worker_pid(const struct worker *);
void worker_kill(struct worker *);
/* Waits at most 60 s. False: it failed, died, or never came back. Frees. */
bool worker_join(struct worker *, struct report *);

/* Notes the first failure in the report. Returns false if r is one. */
bool tour_check(struct report *, long r);

/* Median of n durations. */
double tour_median(double *values, size_t n);

#endif
