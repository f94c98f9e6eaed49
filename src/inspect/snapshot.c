/* SPDX-License-Identifier: MIT */
/* snapshot.c - views are put together, handed out, and freed. */
#include "inspect/snapshot.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/proc.h"
#include "os/socket.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which functions look, by the scheme: a name may be one thing or another. */
static const struct {
    const char *scheme;
    int (*look)(naru_snapshot *, const struct naru_url *);
    int (*list)(naru_snapshot *, const struct naru_url *);
} kinds[] = {
    {"shm", naru__look_at_object, naru__list_objects},
    {"shm", naru__look_at_connections, NULL},
    {"shm", naru__look_at_regions, NULL},
    {"posix-shm", naru__look_at_regions, NULL},
    {"sysv-shm", naru__look_at_regions, NULL},
    {"posix-sem", naru__look_at_posix_sem, NULL},
    {"sysv-sem", naru__look_at_sysv_sem, NULL},
    {"map", naru__look_at_object, naru__list_objects},
    {"map", naru__look_at_regions, NULL},
};

struct facts {
    struct naru_fact *list;
    size_t n;
};

struct snapshot_part {
    struct naru_view_part public; /* first */
    struct facts facts;
    struct naru_view_wait *waits;
    size_t n_waits;
    char *wants;
    char program[64];
};

struct snapshot_view {
    struct naru_view public; /* first */
    struct facts facts;
    struct snapshot_part **parts;
    size_t n_parts;
    char *url;
};

struct naru_snapshot {
    struct snapshot_view **views;
    size_t n, hidden;
    bool poor; /* there was no memory for something */
};

/* Room for one more pointer, and what it is to point at. */
static void *add(naru_snapshot *s, void *list, size_t *n, size_t size)
{
    void ***pointers = list;
    void *item = naru__alloc(size);
    void **more = item ? naru__alloc((*n + 1) * sizeof *more) : NULL;
    if (!more) {
        free(item);
        s->poor = true;
        return NULL;
    }
    if (*n > 0)
        memcpy(more, *pointers, *n * sizeof *more);
    free(*pointers);
    *pointers = more;
    more[(*n)++] = item;
    return item;
}

struct snapshot_view *naru__snapshot_add(naru_snapshot *s, const char *url, const char *noun)
{
    struct snapshot_view *v = add(s, &s->views, &s->n, sizeof *v);
    if (!v)
        return NULL;
    v->url = naru__copy_text(url, strlen(url));
    s->poor |= !v->url;
    v->public = (struct naru_view){.url = v->url, .noun = noun, .owner = -1};
    return v;
}

void naru__snapshot_size(struct snapshot_view *v, int64_t owner, uint64_t bytes)
{
    if (!v)
        return;
    v->public.owner = owner;
    v->public.bytes = bytes;
}

struct snapshot_part *naru__snapshot_part(naru_snapshot *s, struct snapshot_view *v, pid_t pid)
{
    struct snapshot_part *p = v ? add(s, &v->parts, &v->n_parts, sizeof *p) : NULL;
    if (!p)
        return NULL;
    snprintf(p->program, sizeof p->program, "?");
    if (pid > 0)
        naru__os_program_of(pid, p->program, sizeof p->program);
    p->public = (struct naru_view_part){
        .pid = pid, .uid = pid > 0 ? naru__os_proc_uid(pid) : -1, .program = p->program};
    return p;
}

void naru__snapshot_who(struct snapshot_part *p, int64_t pid, int64_t uid)
{
    if (!p)
        return;
    p->public.pid = pid;
    p->public.uid = uid;
}

static void add_fact(naru_snapshot *s, struct snapshot_view *v, struct snapshot_part *p,
                     struct naru_fact fact)
{
    struct facts *facts = p ? &p->facts : v ? &v->facts : NULL;
    struct naru_fact *more = facts ? naru__alloc((facts->n + 1) * sizeof *more) : NULL;
    if (!more) {
        free((void *)(uintptr_t)fact.text);
        s->poor = true;
        return;
    }
    if (facts->n > 0)
        memcpy(more, facts->list, facts->n * sizeof *more);
    free(facts->list);
    more[facts->n++] = fact;
    facts->list = more;
}

void naru__snapshot_number(naru_snapshot *s, struct snapshot_view *v, struct snapshot_part *p,
                           const char *name, const char *unit, uint64_t number)
{
    add_fact(s, v, p, (struct naru_fact){.name = name, .unit = unit, .number = number});
}

void naru__snapshot_word(naru_snapshot *s, struct snapshot_view *v, struct snapshot_part *p,
                         const char *name, const char *text)
{
    char *copy = naru__copy_text(text, strlen(text));
    if (copy)
        add_fact(s, v, p, (struct naru_fact){.name = name, .text = copy});
    else
        s->poor = true;
}

void naru__snapshot_wants(naru_snapshot *s, struct snapshot_part *p, const char *wants,
                          uint64_t needs, bool others)
{
    if (!p || p->wants)
        return;
    p->wants = naru__copy_text(wants, strlen(wants));
    s->poor |= !p->wants;
    p->public.wants = p->wants;
    p->public.needs = needs;
    p->public.others = others;
}

void naru__snapshot_waits_for(naru_snapshot *s, struct snapshot_part *p, int64_t pid,
                              uint64_t gives, const char *why)
{
    if (!p)
        return;
    char *copy = naru__copy_text(why, strlen(why));
    struct naru_view_wait *more = copy ? naru__alloc((p->n_waits + 1) * sizeof *more) : NULL;
    if (!more) {
        free(copy);
        s->poor = true;
        return;
    }
    if (p->n_waits > 0)
        memcpy(more, p->waits, p->n_waits * sizeof *more);
    free(p->waits);
    more[p->n_waits++] = (struct naru_view_wait){.pid = pid, .why = copy, .gives = gives};
    p->waits = more;
}

void naru__snapshot_hide(naru_snapshot *s, size_t processes)
{
    s->hidden = processes > s->hidden ? processes : s->hidden;
}

/* What grew is shown in its public form. */
static void finish(naru_snapshot *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct snapshot_view *v = s->views[i];
        v->public.facts = v->facts.list;
        v->public.n_facts = v->facts.n;
        v->public.n_parts = v->n_parts;
        v->public.parts = (const struct naru_view_part *const *)(void *)v->parts;
        for (size_t k = 0; k < v->n_parts; k++) {
            v->parts[k]->public.facts = v->parts[k]->facts.list;
            v->parts[k]->public.n_facts = v->parts[k]->facts.n;
            v->parts[k]->public.waits = v->parts[k]->waits;
            v->parts[k]->public.n_waits = v->parts[k]->n_waits;
        }
    }
}

static int finished(naru_snapshot *s, int r, const char *what, naru_snapshot **ret_snapshot)
{
    if (r >= 0 && s->poor)
        r = naru__fail(-ENOMEM, "%s: no memory for what is seen there", what);
    if (r < 0) {
        naru_snapshot_free(s);
        return r;
    }
    finish(s);
    *ret_snapshot = s;
    return 0;
}

static int look(const struct naru_url *url, bool list, naru_snapshot **ret_snapshot)
{
    int r = 0;
    bool any = false;
    naru_snapshot *s = naru__alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && r == 0; i++) {
        int (*one)(naru_snapshot *, const struct naru_url *) =
            list ? kinds[i].list : kinds[i].look;
        if (!one || strcmp(kinds[i].scheme, url->scheme) != 0)
            continue;
        r = one(s, url);
        any = true;
    }
    if (!any)
        r = naru__fail(-EOPNOTSUPP, "%s: nothing of this kind can be %s in this build", url->text,
                       list ? "listed" : "looked at");
    return finished(s, r, url->text, ret_snapshot);
}

int naru__snapshot_waits(naru_snapshot **ret_snapshot)
{
    naru_snapshot *s = naru__alloc(sizeof *s);
    return s ? finished(s, naru__look_at_objects_in_use(s), "naru_snapshot_waits", ret_snapshot)
             : -ENOMEM;
}

int naru__snapshot_take(const struct naru_url *url, naru_snapshot **ret_snapshot)
{
    return look(url, false, ret_snapshot);
}

int naru__snapshot_list(const struct naru_url *url, naru_snapshot **ret_snapshot)
{
    return look(url, true, ret_snapshot);
}

const struct naru_view *naru_snapshot_view(const naru_snapshot *s, size_t i)
{
    return s && i < s->n ? &s->views[i]->public : NULL;
}

size_t naru_snapshot_hidden(const naru_snapshot *s)
{
    return s ? s->hidden : 0;
}

static void free_facts(struct facts *facts)
{
    for (size_t i = 0; i < facts->n; i++)
        free((void *)(uintptr_t)facts->list[i].text);
    free(facts->list);
}

naru_snapshot *naru_snapshot_free(naru_snapshot *s)
{
    for (size_t i = 0; s && i < s->n; i++) {
        struct snapshot_view *v = s->views[i];
        for (size_t k = 0; k < v->n_parts; k++) {
            for (size_t w = 0; w < v->parts[k]->n_waits; w++)
                free((void *)(uintptr_t)v->parts[k]->waits[w].why);
            free(v->parts[k]->waits);
            free(v->parts[k]->wants);
            free_facts(&v->parts[k]->facts);
            free(v->parts[k]);
        }
        free_facts(&v->facts);
        free(v->parts);
        free(v->url);
        free(v);
    }
    if (s)
        free(s->views);
    free(s);
    return NULL;
}
