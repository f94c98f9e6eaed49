/* SPDX-License-Identifier: MIT */
/* collect.c - naru_collect: what dead participants, makers and removers have left. Any participant
 * does the same by itself where that stands in its way; this is for what nobody comes by. */
#include "api/transports.h"
#include "base/error.h"
#include "core/kinds.h"
#include "inspect/snapshot.h"
#include "lock/barrier.h"
#include "object/object.h"
#include "object/view.h"
#include "os/fd.h"
#include "os/file.h"
#include "transport/shm/lanes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

static uint64_t number_of(const struct naru_view_part *p, const char *name)
{
    for (size_t i = 0; i < p->n_facts; i++)
        if (strcmp(p->facts[i].name, name) == 0)
            return p->facts[i].number;
    return 0;
}

static bool is_dead(const struct naru_view_part *p)
{
    for (size_t i = 0; i < p->n_facts; i++)
        if (strcmp(p->facts[i].name, "life") == 0)
            return strcmp(p->facts[i].text, "dead") == 0;
    return false;
}

/* What the dead of an object hold. */
static int survey(const struct naru_url *url, struct naru_collected *c)
{
    naru_snapshot *s;
    const struct naru_view *v;
    int r = naru__snapshot_take(url, &s);
    for (size_t i = 0; r == 0 && (v = naru_snapshot_view(s, i)); i++)
        for (size_t k = 0; k < v->n_parts; k++)
            if (is_dead(v->parts[k])) {
                c->participants++;
                c->messages += number_of(v->parts[k], "holds");
                c->permits += number_of(v->parts[k], "owns");
            }
    if (r == 0)
        naru_snapshot_free(s);
    return r;
}

static naru_object_clean *cleaner_of(uint32_t what)
{
    if (what == NARU_OBJECT_QUEUE || what == NARU_OBJECT_TOPIC)
        return naru__lanes_clean;
    if (what == NARU_OBJECT_BARRIER)
        return naru__barrier_clean;
    return what >= NARU_OBJECT_SEMAPHORE && what <= NARU_OBJECT_EVENT ? naru__lock_clean : NULL;
}

static int collect_object(const struct naru_url *url, const struct naru_object_meta *meta, bool dry,
                          struct naru_collected *c)
{
    const struct naru_object_want want = {.what = (enum naru_object_what)meta->what,
                                          .signature = meta->signature,
                                          .flags = NARU_EXISTING};
    struct naru_object o;
    struct lanes_left left = {0, 0};
    bool lanes = meta->what == NARU_OBJECT_QUEUE || meta->what == NARU_OBJECT_TOPIC;
    int r = naru__object_open(url, &want, &o);
    if (r < 0)
        return r;
    if (!dry)
        r = naru__object_collect(&o, cleaner_of(meta->what));
    if (r >= 0 && !dry)
        c->participants = (uint64_t)r;
    if (r >= 0 && lanes)
        r = naru__lanes_take_away(&o, dry, &left);
    c->lanes = left.lanes;
    c->files = left.files;
    naru__object_close(&o);
    return r;
}

static int collect_leftovers(const struct naru_url *url, bool dry, struct naru_collected *c)
{
    char path[PATH_MAX];
    int r = naru__object_place(url, path, sizeof path);
    if (r < 0)
        return r;
    int directory = naru__os_open(path, O_RDONLY | O_DIRECTORY);
    if (directory == -ENOENT && !url->rest[0])
        return 0;
    if (directory < 0)
        return naru__fail(directory, "%s: the directory %s: %s", url->text, path,
                          naru__errno_text(directory));
    c->leftovers = naru__object_left_over(directory);
    if (!dry && c->leftovers > 0) {
        naru__object_sweep(directory);
        uint64_t still = naru__object_left_over(directory);
        c->leftovers -= still < c->leftovers ? still : c->leftovers;
    }
    naru__os_close(directory);
    return 0;
}

int naru_collect(const char *text, unsigned flags, struct naru_collected *ret_collected)
{
    struct naru_collected c = {.size = sizeof c};
    struct naru_object_view v;
    struct naru_url url;
    bool dry = flags & NARU_DRY_RUN;
    int r = naru__url_parse(text, &url);
    if (r < 0)
        return r;
    if (!ret_collected || flags & ~NARU_DRY_RUN)
        return naru__fail_static(-EINVAL, "naru_collect: ret_collected is NULL, or unknown flags");
    r = naru__check_options(ret_collected, sizeof c, "naru_collect");
    if (r < 0)
        return r;
    if (!naru__url_form(url.scheme))
        return -EINVAL;
    if (strcmp(url.scheme, "shm") != 0)
        return naru__fail(-EOPNOTSUPP, "%s: nothing of the dead stays there: only shm: has it",
                          text);
    r = url.rest[0] ? naru__object_view(&url, &v) : -ENOTDIR;
    if (r == -ENOTDIR) {
        r = collect_leftovers(&url, dry, &c);
    } else if (r == 0) {
        const struct naru_object_meta meta = v.meta;
        bool removed = atomic_load(&v.state.removed) != 0;
        naru__object_view_close(&v);
        r = survey(&url, &c);
        if (r == 0 && !(dry && removed)) /* opening finishes what a dead remover has begun */
            r = collect_object(&url, &meta, dry, &c);
    }
    if (r < 0)
        return r;
    c.size = ret_collected->size < sizeof c ? ret_collected->size : sizeof c;
    memcpy(ret_collected, &c, c.size);
    return 0;
}
