/* SPDX-License-Identifier: MIT */
/* serve.c - naru serve: the services of the examples, for whoever wants to call something. */
#include "tool/certificates.h"
#include "tool/command.h"
#include "tool/print.h"
#include "tool/stop.h"

#include "examples/store-service.h"

#include "calculator.naru.h"

#include <naru/health.h>
#include <naru/reflection.h>

#include <errno.h>
#include <stdio.h>

static int add(naru_call *call, void *self, Example__AddRequest *request)
{
    Example__AddReply reply = EXAMPLE__ADD_REPLY__INIT;
    (void)self;
    reply.sum = (int32_t)((uint32_t)request->a + (uint32_t)request->b); /* wraps around */
    return example_calculator_add_reply(call, &reply);
}

struct serving {
    struct invocation *in;
    naru_server *server;
    naru_reflection *reflection;
    naru_health *health;
    struct store store;
    naru_service calculator, keeper;
};

static int prepare(struct serving *s)
{
    static const struct example_calculator_handlers handlers = {.add = add};
    const struct naru_server_options o = {.size = sizeof o,
                                          .flags =
                                              option_flag(s->in, "any-user") ? NARU_ANY_USER : 0,
                                          .tls = certificates(s->in, true)};
    s->calculator = example_calculator_service(&handlers);
    s->keeper = store_service();
    int r = naru_server_new(&o, &s->server);
    if (r == 0)
        r = naru_server_add(s->server, &s->calculator, NULL);
    if (r == 0)
        r = naru_server_add(s->server, &s->keeper, &s->store);
    if (r == 0)
        r = naru_reflection_new(s->server, &s->reflection);
    return r == 0 ? naru_health_new(s->server, &s->health) : r;
}

static int listen_all(struct serving *s)
{
    for (int i = 0; i < s->in->n_arguments; i++) {
        int r = naru_server_listen(s->server, s->in->arguments[i]);
        if (r < 0)
            return r;
        const char *url = naru_url(s->server);
        fprintf(stderr, wants_json(s->in) ? "{\"listening\":\"%s\"}\n" : "naru serve: at %s\n",
                url);
    }
    return 0;
}

/* Until a signal comes; then what was begun is finished, for as long as --grace says. */
static int serve(struct serving *s)
{
    int r;
    stop_on_signals(s->server);
    do
        r = naru_server_process(s->server, NARU_FOREVER);
    while (r == 0 && !stopped());
    if (!stopped())
        return fail_naru(s->in);
    stop_on_signals(NULL);
    naru_health_shutdown(s->health);
    naru_server_shutdown(s->server, option_number(s->in, "grace", NARU_S));
    do /* the signal's cancelling may have found nobody who waited */
        r = naru_server_run(s->server);
    while (r == -ECANCELED);
    return r < 0 ? fail_naru(s->in) : 0;
}

static int run(struct invocation *in)
{
    static struct serving s;
    s = (struct serving){.in = in};
    int r = prepare(&s);
    r = r < 0 ? r : listen_all(&s);
    int status = r < 0 ? fail_naru(in) : serve(&s);
    if (wants_json(in) && r == 0) {
        struct naru_stats counts = {.size = sizeof counts};
        naru_stats(s.server, &counts);
        json_t *o = json_pack("{s:I, s:I}", "calls", (json_int_t)counts.received, "answered",
                              (json_int_t)counts.sent);
        json_line(o);
        json_decref(o);
    }
    naru_server_close(s.server);
    naru_reflection_close(s.reflection);
    naru_health_close(s.health);
    store_free(&s.store);
    return status;
}

static const struct option_row options[] = {
    {.name = "grace",
     .argument = "SECONDS",
     .kind = OPTION_SECONDS,
     .help = "how long calls may go on after a signal (default 1)"},
    CERTIFICATE_OPTIONS,
    {.name = "any-user", .help = "let every user of this host call, not only this one and root"},
    {0},
};

const struct command serve_command = {
    "serve",
    "serves the services of the examples",
    "URL...",
    "example.Calculator and example.Store (a key-value store with watch and bulk load, in memory), "
    "with reflection and health, at each URL: shm:name, unix:/path, tcp://host:port. Where it "
    "listens it says on standard error, with port 0 the one that it got. SIGTERM and SIGINT end it "
    "in order, with exit status 0.",
    1,
    -1,
    options,
    run,
};
