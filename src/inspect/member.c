/* SPDX-License-Identifier: MIT */
/* member.c - what the record of a participant tells, and the kernel of its process. */
#include "inspect/snapshot.h"

#include "object/view.h"
#include "os/map.h"
#include "os/socket.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

const char *naru__time_text(uint64_t ns, char text[40])
{
    struct tm tm;
    time_t seconds = (time_t)(ns / 1000000000);
    if (!gmtime_r(&seconds, &tm) || strftime(text, 40, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(text, 40, "?");
    return text;
}

pid_t naru__member_pid(const struct naru_object_view *v, uint32_t i)
{
    uint32_t pid = atomic_load_explicit(&v->members[i].pid, memory_order_relaxed);
    uint64_t space = atomic_load_explicit(&v->members[i].pid_namespace, memory_order_relaxed);
    return pid <= INT32_MAX && space == naru__os_pid_namespace() ? (pid_t)pid : 0;
}

struct snapshot_part *naru__snapshot_member(naru_snapshot *s, struct snapshot_view *view,
                                            const struct naru_object_view *v, uint32_t i,
                                            const char *role)
{
    const struct naru_object_member *m = &v->members[i];
    uint32_t pid = atomic_load_explicit(&m->pid, memory_order_relaxed);
    bool taken = naru__member_role(atomic_load_explicit(&m->who, memory_order_relaxed)) != 0;
    int lives = taken ? naru__object_view_lives(v, i) : 0;
    /* a dead one's pid may be another's by now, and one of another namespace means nothing here */
    bool here = lives == 1 && naru__member_pid(v, i) > 0;
    struct snapshot_part *p = naru__snapshot_part(s, view, here ? (pid_t)pid : 0);
    char text[40] = "-";
    if (taken)
        naru__snapshot_who(p, pid, atomic_load_explicit(&m->uid, memory_order_relaxed));
    naru__snapshot_number(s, view, p, "record", NULL, i);
    if (role)
        naru__snapshot_word(s, view, p, "role", role);
    if (taken)
        naru__time_text(atomic_load_explicit(&m->since, memory_order_relaxed), text);
    naru__snapshot_word(s, view, p, "since", text);
    naru__snapshot_word(s, view, p, "life",
                        !taken       ? "-"
                        : lives == 1 ? "lives"
                        : lives == 0 ? "dead"
                                     : "not known");
    naru__snapshot_word(s, view, p, "stopped",
                        !here                                ? "-"
                        : naru__os_is_stopped((pid_t)pid) ? "yes"
                                                             : "no");
    return p;
}
