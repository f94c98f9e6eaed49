/* SPDX-License-Identifier: MIT */
/* place.c - where the locks of the scenarios lie: in a region without a name, in a region that is a
 * file on disk, or in a file of their own. An image has a copy of each under its descriptors, on
 * which nobody is alive; there survivor 1 joins anew, and everything must come back. */
#include "rig.h"

#include "lock/lock.h"

#include <fcntl.h>
#include <limits.h>
#include <naru/naru.h>
#include <string.h>

const char *const lock_media[] = {"memory", "map-region", "map-file", NULL};

static bool lies_in(const struct world *w, const char *medium)
{
    return strcmp(w->scenario->media[w->medium], medium) == 0;
}

static const char *url_of(const char *directory, const char *name)
{
    static char url[PATH_MAX];
    snprintf(url, sizeof url, "map:%.*s/%s", PATH_MAX - 20, directory, name);
    return url;
}

const char *lock_url(const struct world *w, const void *lock)
{
    char number[16];
    if (!w->image || w->scenario->names)
        return url_of(disk_directory(), "lock");
    snprintf(number, sizeof number, "%d", ((const struct naru_lock *)lock)->object.file);
    return url_of("/proc/self/fd", number);
}

int lock_file(const struct world *w, int64_t *ret_at)
{
    bool region = lies_in(w, "map-region");
    *ret_at = region ? LOCK_AT : 0;
    return open(url_of(disk_directory(), region ? "region" : "lock") + strlen("map:"),
                O_RDWR | O_CLOEXEC);
}

void lock_remove(void)
{
    (void)naru_remove(url_of(disk_directory(), "region"));
    (void)naru_remove(url_of(disk_directory(), "lock"));
}

naru_region *lock_region(struct world *w, unsigned participants)
{
    naru_region *r = NULL;
    const char *url = lies_in(w, "memory") ? NULL : url_of(disk_directory(), "region");
    if (!lies_in(w, "map-file") &&
        naru_region_create(url, LOCK_AT + naru_lock_bytes(participants), NULL, &r) < 0)
        failed(w, "no region: %s", naru_why());
    return r;
}

naru_region *lock_region_again(struct world *w, naru_region *r)
{
    if (lies_in(w, "memory") && naru_adopt(r) < 0)
        failed(w, "the region cannot be adopted: %s", naru_why());
    if (!lies_in(w, "map-region"))
        return r;
    naru_region_close(r); /* its maker's */
    if (naru_region_open(url_of(disk_directory(), "region"), NARU_READ | NARU_WRITE, NULL, &r) < 0)
        failed(w, "the region cannot be opened: %s", naru_why());
    return r;
}
