/* SPDX-License-Identifier: MIT */
/* services.h - the server that the suites of calls talk to, in a process of its own: a service
 * with a method for each thing that is asked, and what it has seen in memory that both share. */
#ifndef NARU_TESTS_SERVICES_H
#define NARU_TESTS_SERVICES_H

#include "certificates.h"
#include "harness.h"

#include <naru/service.h>
#include <stdatomic.h>

struct seen { /* by the server, since its start */
    _Atomic int ready, cancelled, running, ended, sent, taken, workers;
    _Atomic long peer;
    _Atomic int64_t left; /* of the time for the last Sleep */
    char url[256];
    struct told {
        _Atomic int n; /* records */
        int code;
        int64_t took;
        uint64_t sent, received, pid;
        char method[64], message[128], trace[64];
    } told; /* by the hook of the one who is asked */
};

struct carrier {
    const char *name, *url; /* of a pair: its kind */
    bool pair, local;
    bool grpc; /* HTTP/2: a side's limits are not known to the other before they are met */
};

/* What the case's server is to be like; all zeroes: as usual. */
struct setup {
    struct naru_server_options options;
    const char *url; /* NULL: the carrier's, in the case's directory */
    const char *also; /* and this one */
    bool foreign_loop;
    int late_ms; /* it comes so much later, and is not waited for */
};

extern const struct carrier carriers[];
extern const struct carrier *carrier; /* of the running case */
extern struct seen *seen;

/* Starts the server and waits until it listens; pair: `ret_channel` is the client's end. */
pid_t start_server(const struct setup *, naru_channel **ret_channel);
void await_server(void);
void end_server(pid_t); /* asks it to end, and checks that it did in order */
void kill_server(pid_t);

/* The usual: a server, and a client of it. */
struct world {
    pid_t server;
    naru_client *client;
};
const struct naru_client_options *usual_options(void); /* of a client: defaults, certificates */
struct world begin_world(const struct setup *, const struct naru_client_options *);
void end_world(struct world *);

/* Waits until the count in `seen` is so; with a client, which gets on meanwhile. */
void await_count(const _Atomic int *count, int value);
void drive_until(naru_client *, const _Atomic int *count, int value);

enum {
    CLIENT_STREAMS = NARU_CLIENT_STREAMS,
    SERVER_STREAMS = NARU_SERVER_STREAMS,
    BOTH = CLIENT_STREAMS | SERVER_STREAMS
};

struct numbers { /* what most methods take */
    int64_t a, b;
};

extern const naru_route r_add, r_echo, r_status, r_sleep, r_count, r_tell, r_sum, r_chat, r_hold,
    r_meta, r_nested, r_left, r_nothing, r_twice, r_stuck, r_pause, r_errno, r_again, r_none,
    r_typed, r_wrong;

#endif
