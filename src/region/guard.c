/* SPDX-License-Identifier: MIT */
/* guard.c - SIGBUS under a raw pointer, made an error of the next call.
 *
 * The instruction that found no file under it is run again when the handler returns, so there has
 * to be something by then: a page of zeroes of this process's own, laid over the hole. The next
 * call on that region tells it, and puts the file back in its place.
 *
 * The handler may interrupt anything, so it reads nothing but a list of slots that are never freed;
 * each is filled and emptied by whoever has taken it, without a lock. */
#include "base/error.h"
#include "base/memory.h"
#include "os/map.h"
#include "region/region.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct naru_region_watch {
    _Atomic uintptr_t from; /* FREE, TAKEN, or an address */
    _Atomic uintptr_t to;
    _Atomic bool writable;
    _Atomic uintptr_t low, high; /* what was covered lies there; high 0: nothing was */
};

enum { FREE, TAKEN, WATCHES = 64 };

struct watches {
    struct naru_region_watch one[WATCHES];
    struct watches *_Atomic next;
};

static struct watches first;

/* ---- the list ---- */

static struct watches *more_after(struct watches *last)
{
    struct watches *next = atomic_load_explicit(&last->next, memory_order_acquire);
    struct watches *made = next ? NULL : naru__alloc(sizeof *made);
    if (next || !made)
        return next;
    /* release: who finds it finds it zeroed; acquire: or what another has put there */
    if (atomic_compare_exchange_strong_explicit(&last->next, &next, made, memory_order_acq_rel,
                                                memory_order_acquire))
        return made;
    free(made);
    return next;
}

int naru__region_watch(naru_region *r)
{
    for (struct watches *w = &first; w; w = more_after(w))
        for (int i = 0; i < WATCHES; i++) {
            struct naru_region_watch *one = &w->one[i];
            uintptr_t free = FREE, from = (uintptr_t)r->data;
            if (!atomic_compare_exchange_strong(&one->from, &free, TAKEN))
                continue;
            atomic_store(&one->low, UINTPTR_MAX);
            atomic_store(&one->high, 0);
            atomic_store(&one->writable, r->access & NARU_WRITE);
            atomic_store(&one->to, from + r->mapped);
            /* release: pairs with the acquire in find(), the rest is before it */
            atomic_store_explicit(&one->from, from, memory_order_release);
            r->watch = one;
            return 0;
        }
    return -ENOMEM;
}

void naru__region_unwatch(naru_region *r)
{
    if (r->watch) /* release: pairs with who takes it anew */
        atomic_store_explicit(&r->watch->from, FREE, memory_order_release);
    r->watch = NULL;
}

static struct naru_region_watch *find(uintptr_t address)
{
    /* acquire: pairs with the releases of those who put them there */
    for (struct watches *w = &first; w; w = atomic_load_explicit(&w->next, memory_order_acquire))
        for (int i = 0; i < WATCHES; i++) {
            uintptr_t from = atomic_load_explicit(&w->one[i].from, memory_order_acquire);
            if (from > TAKEN && from <= address && address < atomic_load(&w->one[i].to))
                return &w->one[i];
        }
    return NULL;
}

/* ---- the signal ---- */

static struct sigaction before; /* written before the handler is there */
static _Atomic bool guarding;
static bool installed; /* it is the handler, or somebody's who came later passes on to it */
static uintptr_t page;

static bool cover(uintptr_t address)
{
    struct naru_region_watch *w = find(address);
    uintptr_t at = address & ~(page - 1), low, high;
    if (!w || !naru__os_cover((void *)at, page, atomic_load(&w->writable)))
        return false;
    for (low = atomic_load(&w->low); at < low && !atomic_compare_exchange_weak(&w->low, &low, at);)
        ;
    for (high = atomic_load(&w->high);
         at + page > high && !atomic_compare_exchange_weak(&w->high, &high, at + page);)
        ;
    return true;
}

/* As if naru's handler were not there. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
    else if (before.sa_handler == SIG_DFL || info->si_code > 0) {
        struct sigaction end = {.sa_handler = SIG_DFL};
        sigaction(number, &end, NULL);
        if (info->si_code <= 0) /* sent by somebody: it does not come again by itself */
            raise(number);
    }
}

/* BUS_ADRERR: there is no file under the address, or it cannot be read or given room. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    int code = errno;
    if (!atomic_load(&guarding) || info->si_code != BUS_ADRERR || !cover((uintptr_t)info->si_addr))
        pass_on(number, info, context);
    errno = code;
}

static int change(bool on)
{
    struct sigaction now, mine = {.sa_sigaction = on_signal};
    if (sigaction(SIGBUS, NULL, &now) < 0)
        return -errno;
    bool last = now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_signal;
    if (on && !installed) {
        before = now;
        mine.sa_mask = now.sa_mask;
        mine.sa_flags = SA_SIGINFO | SA_ONSTACK | (now.sa_flags & (SA_RESTART | SA_NODEFER));
        if (sigaction(SIGBUS, &mine, NULL) < 0)
            return -errno;
        installed = true;
    } else if (!on && last) { /* else it stays and passes everything on */
        if (sigaction(SIGBUS, &before, NULL) < 0)
            return -errno;
        installed = false;
    }
    atomic_store(&guarding, on);
    return 0;
}

int naru__region_guard(bool on)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    page = (uintptr_t)sysconf(_SC_PAGESIZE);
    int r = change(on);
    pthread_mutex_unlock(&mutex);
    return r < 0 ? naru__fail(r, "naru_guard: a handler of SIGBUS: %s", naru__errno_text(r)) : 0;
}

/* ---- telling ---- */

int naru__region_mend(naru_region *r)
{
    uintptr_t from = (uintptr_t)r->data;
    uint64_t length = r->length;
    /* relaxed: the handler ran in this thread before, or in another at the same time */
    if (!r->watch || !atomic_load_explicit(&r->watch->high, memory_order_relaxed))
        return 0;
    uintptr_t high = atomic_exchange(&r->watch->high, 0);
    uintptr_t low = atomic_exchange(&r->watch->low, UINTPTR_MAX);
    if (high == 0)
        return 0;
    if (low >= high)
        low = from;
    int code = r->flags & NARU_PRIVATE ? 0 : naru__region_map_over(r, low - from, high - from);
    if (code == 0 && r->ops->length)
        code = r->ops->length(r, &length);
    if (code < 0)
        return code;
    if (low - from >= naru__whole_pages(length, page))
        return naru__fail(-EPROTO,
                          "%s: somebody has made it shorter, to %" PRIu64 " bytes, and byte "
                          "%" PRIuPTR " was touched: what was read from there was zeroes, and what "
                          "was written there is lost",
                          r->handle.name, length, low - from);
    return naru__fail(-EIO,
                      "%s: the page at byte %" PRIuPTR
                      " was touched, and could not be read, or had "
                      "no room on its medium: what was read from there was zeroes, and what was "
                      "written there is lost",
                      r->handle.name, low - from);
}
