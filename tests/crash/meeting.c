/* SPDX-License-Identifier: MIT */
/* meeting.c - how two ends find each other by a name: listening, connecting, accepting.
 *
 * The subject dies as a listener or as a connector. A connector that meets a dead listener hears of
 * it; the next listener can have the name; a listener that meets a dead connector goes on to the
 * next one. Participant 1 is the subject's other side, 2 comes when all is over and needs a
 * working object. */
#include "rig.h"

#include <errno.h>
#include <naru/naru.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LISTEN, ACCEPT, CONNECT };
static const char *const operations[] = {"listen", "accept", "connect", NULL};

/* stale: a listener has died there. waiting: another connector is in the line. full: of them many.
 */
enum { FRESH, STALE, WAITING, FULL };
static const char *const states[] = {"fresh", "stale", "waiting", "full", NULL};

enum { MINE, NEXT }; /* message ids: the subject's, the last connector's */

struct meeting {
    naru_channel_listener *listener;
    naru_channel *line[64];
    int n;
    char url[64];
};

static void give_up(struct world *w, const char *what, int code)
{
    failed(w, "%s gave %d: %s", what, code, naru_why());
}

static void make_stale(struct world *w, const char *url)
{
    naru_channel_listener *l;
    pid_t pid = fork();
    if (pid == 0) {
        if (naru_channel_listen(url, NULL, &l) < 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
        failed(w, "no listener could die");
}

static void prepare(struct world *w)
{
    struct meeting *m = calloc(1, sizeof *m);
    if (w->scenario->names)
        snprintf(m->url, sizeof m->url, "shm:meeting");
    else
        snprintf(m->url, sizeof m->url, "unix:@naru-crash-%d", (int)w->control->driver);
    w->object = m;
    if (w->state == STALE)
        make_stale(w, m->url);
}

/* Who listens at first. */
static int host(const struct world *w)
{
    return w->operation == LISTEN ? -1 : w->operation == ACCEPT ? 0 : 1;
}

static int listen_at(struct meeting *m, int64_t patience)
{
    int r;
    int64_t end = patience ? clock_now() + patience : 0;
    struct naru_listen_options options = {.size = sizeof options, .backlog = 2};
    while ((r = naru_channel_listen(m->url, &options, &m->listener)) < 0 && clock_now() < end)
        usleep(1000);
    return r;
}

static void attach(struct world *w, int who)
{
    struct meeting *m = w->object;
    int r = 0;
    if (who == host(w) && (r = listen_at(m, 0)) < 0)
        give_up(w, "to listen", r);
    /* the line: its ends are the second survivor's */
    if (who != 2 || host(w) < 0 || (w->state != WAITING && w->state != FULL))
        return;
    while (m->n < (w->state == FULL ? 8 : 1)) {
        r = naru_channel_connect(m->url, NULL, 200 * NARU_MS, &m->line[m->n]);
        if (r == 0)
            m->n++;
        else if (r == -EAGAIN || r == -ETIMEDOUT)
            break;
        else if (r != -ECONNREFUSED && r != -ENOENT) /* not there yet */
            give_up(w, "to stand in line", r);
    }
}

static void say_hello(struct world *w, naru_channel *c, unsigned id, int64_t timeout)
{
    char data[32];
    message_fill(data, sizeof data, id);
    log_sending(w, id);
    if (naru_channel_send(c, 1, data, sizeof data, timeout) == 0)
        log_sent(w, id);
}

static void operate(struct world *w)
{
    struct meeting *m = w->object;
    naru_channel *c = NULL;
    if (w->operation == LISTEN)
        listen_at(m, 0);
    if (w->operation == ACCEPT && naru_channel_accept(m->listener, 5 * NARU_MS, &c) == 0)
        naru_channel_close(c);
    if (w->operation == CONNECT && naru_channel_connect(m->url, NULL, 20 * NARU_MS, &c) == 0) {
        say_hello(w, c, MINE, 5 * NARU_MS);
        naru_channel_close(c);
    }
}

static void leave(struct meeting *m)
{
    for (int i = 0; i < m->n; i++)
        naru_channel_close(m->line[i]);
    m->n = 0;
    naru_channel_listener_close(m->listener);
    m->listener = NULL;
}

/* Accepts till the last connector's word has come; what the others leave behind holds nobody up. */
static void serve(struct world *w, struct meeting *m)
{
    char data[64];
    int64_t end = clock_now() + 1800 * NARU_MS;
    while (!w->log->message[NEXT].got) {
        naru_channel *c;
        int r = naru_channel_accept(m->listener, 100 * NARU_MS, &c);
        if (clock_now() > end)
            failed(w, "the next connector is not accepted: %s", naru_why());
        if (r < 0)
            continue;
        ssize_t n = naru_channel_recv(c, 0, data, sizeof data, NULL, 100 * NARU_MS);
        int id = n < 0 ? -1 : message_id(data, (size_t)n);
        if (n >= 0 && id < 0)
            failed(w, "a first message is garbled");
        if (id >= 0)
            log_got(w, (unsigned)id, false);
        naru_channel_close(c);
    }
}

/* The last connector: whoever listens now, it is heard. */
static void be_next(struct world *w, struct meeting *m)
{
    naru_channel *c;
    int r = -1;
    int64_t end = clock_now() + 1700 * NARU_MS;
    while (!w->log->message[NEXT].got && clock_now() < end) {
        if ((r = naru_channel_connect(m->url, NULL, 50 * NARU_MS, &c)) < 0) {
            usleep(500);
            continue;
        }
        if (!w->log->message[NEXT].sending)
            log_sending(w, NEXT);
        char data[32];
        message_fill(data, sizeof data, NEXT);
        naru_channel_send(c, 1, data, sizeof data, 50 * NARU_MS);
        for (int i = 0; i < 100 && !w->log->message[NEXT].got; i++)
            usleep(500);
        naru_channel_close(c);
    }
    if (!w->log->message[NEXT].got)
        give_up(w, "the next connector is not heard; the last connect", r);
}

/* While the subject sleeps: to connect to it may take too long, but gives a true answer. */
static void meanwhile(struct world *w, struct meeting *m, int who)
{
    naru_channel *c;
    if (who == 1 && host(w) != 1) {
        int r = naru_channel_connect(m->url, NULL, 2 * NARU_MS, &c);
        if (r == 0)
            naru_channel_close(c);
        else if (r != -ECONNREFUSED && r != -ENOENT && r != -ETIMEDOUT && r != -EAGAIN)
            give_up(w, "to connect to a sleeper", r);
    }
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct meeting *m = w->object;
    int r;
    if (fate == PAUSED) {
        meanwhile(w, m, who);
        return;
    }
    if (who == 0 || (who == 1 && host(w) != 1)) { /* the old listener goes, the new one comes */
        leave(m);
        if (who == 1 && (r = listen_at(m, 1700 * NARU_MS)) < 0)
            give_up(w, "to listen after the other", r);
    }
    if (who == 1)
        serve(w, m);
    if (who == 2)
        be_next(w, m);
    leave(m);
}

static void check(struct world *w)
{
    w->log->none_left[0] = w->log->message[NEXT].got > 0; /* MINE may have come to a dead one */
    check_log(w);
}

static bool applies(int operation, int state)
{
    return operation != LISTEN || state == FRESH || state == STALE;
}

static const char *const unix_rooms[] = {"/src/transport/unix/", "/common/listener.c",
                                         "/common/sockets.c", NULL};

const struct scenario unix_meeting = {
    .name = "unix-meeting",
    .operations = operations,
    .states = states,
    .rooms = unix_rooms,
    .participants = 3,
    .no_images = true,
    .no_delays = true,
    .no_child = true,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
    .check = check,
    .applies = applies,
};
