/* SPDX-License-Identifier: MIT */
/* workers.c - the pool that a server has if it was asked for: threads that run handlers, with all
 * signals blocked, so that the program's own threads get them. */
#include "base/error.h"
#include "base/fault.h"
#include "base/memory.h"
#include "rpc/server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

struct naru_workers {
    pthread_mutex_t lock;
    pthread_cond_t come;
    struct naru_call *first, *last; /* by next_event: a call that is not run yet has no events */
    void (*run)(struct naru_call *);
    bool quit;
    unsigned n;
    pthread_t thread[];
};

static void *work(void *context)
{
    struct naru_workers *w = context;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->first && !w->quit)
            pthread_cond_wait(&w->come, &w->lock);
        struct naru_call *call = w->first;
        if (!call)
            break;
        w->first = call->next_event;
        pthread_mutex_unlock(&w->lock);
        w->run(call);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

void naru__workers_give(struct naru_workers *w, struct naru_call *call)
{
    pthread_mutex_lock(&w->lock);
    call->next_event = NULL;
    if (w->first)
        w->last->next_event = call;
    else
        w->first = call;
    w->last = call;
    pthread_cond_signal(&w->come);
    pthread_mutex_unlock(&w->lock);
}

void naru__workers_stop(struct naru_workers *w, bool owner)
{
    if (!w)
        return;
    if (owner) { /* a forked child has the memory, and no thread */
        pthread_mutex_lock(&w->lock);
        w->quit = true;
        pthread_cond_broadcast(&w->come);
        pthread_mutex_unlock(&w->lock);
        for (unsigned i = 0; i < w->n; i++)
            pthread_join(w->thread[i], NULL);
        pthread_cond_destroy(&w->come);
        pthread_mutex_destroy(&w->lock);
    }
    free(w);
}

int naru__workers_new(unsigned n, void (*run)(struct naru_call *), struct naru_workers **ret_w)
{
    struct naru_workers *w = naru__alloc(sizeof *w + n * sizeof *w->thread);
    sigset_t all, before;
    int r = 0;
    if (!w)
        return -ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->come, NULL);
    w->run = run;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; w->n < n && r == 0; w->n += r == 0) {
        r = naru__fault_at("pthread_create");
        if (r == 0)
            r = -pthread_create(&w->thread[w->n], NULL, work, w);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r < 0) {
        unsigned made = w->n;
        naru__workers_stop(w, true);
        return naru__fail(r, "%u of %u worker threads could be made: %s (ulimit -u, or memory)",
                          made, n, naru__errno_text(r));
    }
    *ret_w = w;
    return 0;
}
