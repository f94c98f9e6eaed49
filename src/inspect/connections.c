/* SPDX-License-Identifier: MIT */
/* connections.c - a look at connections in shared memory: their files have no name, but each end
 * keeps its own open under the name naru:NAME, which /proc shows. Both are mapped read-only. */
#include "inspect/snapshot.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/life.h"
#include "os/map.h"
#include "os/proc.h"
#include "os/sockdiag.h"
#include "shm/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* One end's file, and who has it open for writing: its maker, and forked children. */
struct seen {
    struct seen *next;
    ino_t inode;
    int fd;
    const struct naru_ring_file *file;
    struct naru_ring_header header; /* checked */
    pid_t pid;                      /* the holder's here; 0: not found */
    bool shown;
};

struct search {
    struct seen *list;
    char target[256];
    const char *url;
    bool poor;
};

static void forget(struct search *s)
{
    while (s->list) {
        struct seen *e = s->list;
        s->list = e->next;
        naru__os_unmap(e->file, e->header.file);
        naru__os_close(e->fd);
        free(e);
    }
}

static struct seen *find(const struct search *s, ino_t inode)
{
    struct seen *e = s->list;
    while (e && e->inode != inode)
        e = e->next;
    return e;
}

static uint64_t word(const _Atomic uint64_t *value)
{
    /* acquire: what was published before it may be read after it; a look needs no more */
    return atomic_load_explicit(value, memory_order_acquire);
}

/* Takes in a file that is what it seems to be; takes fd over. */
static struct seen *take_in(struct search *s, int fd, const struct stat *st)
{
    void *memory = NULL;
    uint64_t size = (uint64_t)st->st_size;
    struct seen *e = naru__alloc(sizeof *e);
    s->poor |= !e;
    int seals = naru__os_seals(fd);
    if (e && seals >= 0 && seals & F_SEAL_SHRINK && size >= NARU_RING_SLOTS_AT &&
        naru__os_map(fd, size, false, &memory) == 0) {
        *e = (struct seen){.next = s->list, .inode = st->st_ino, .fd = fd, .file = memory};
        memcpy(&e->header, memory, sizeof e->header);
        if (!naru__ring_check(&e->header, size)) {
            s->list = e;
            return e;
        }
        naru__os_unmap(memory, size);
    }
    free(e);
    naru__os_close(fd);
    return NULL;
}

static int each_file(void *arg, pid_t pid, int fd, const char *target)
{
    struct search *s = arg;
    struct stat st;
    if (strcmp(target, s->target) != 0)
        return 0;
    int file = naru__os_proc_open(pid, fd);
    if (file < 0)
        return file == -EMFILE || file == -ENFILE ? file : 0;
    if (naru__os_fstat(file, &st) < 0) {
        naru__os_close(file);
        return 0;
    }
    struct seen *e = find(s, st.st_ino);
    if (e)
        naru__os_close(file);
    else
        e = take_in(s, file, &st);
    int flags = e ? naru__os_proc_file_flags(pid, fd) : -1;
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) /* the other end reads it */
        return 0;
    pid_t holder = (pid_t)(word(&e->file->life.holder) >> 32);
    if (e->pid == 0 || naru__os_proc_inner_pid(pid) == holder)
        e->pid = pid;
    return 0;
}

/* ---- what is seen of an end ---- */

static const char *state_text(uint64_t holder)
{
    static const char *const text[] = {"made", "open", "left", "finished", "closed"};
    uint32_t state = (uint32_t)holder;
    return state <= NARU_RING_CLOSED ? text[state] : "damaged";
}

static const char *life_text(const struct seen *e)
{
    uint64_t lock = word(&e->file->life.lock);
    int held = lock == 0 ? -1 : naru__os_life_held(e->fd, lock);
    return held < 0 ? "not known" : held ? "lives" : "dead";
}

/* The newest number in its slots. */
static uint64_t published(const struct seen *e)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < e->header.slots; i++) {
        uint64_t stamp = word(&e->file->slots[i].stamp);
        if (stamp > most && (stamp - 1) % e->header.slots == i)
            most = stamp;
    }
    return most;
}

/* Payload of the slots that the other end has not done with. */
static uint64_t bytes_between(const struct seen *e, uint64_t cursor, uint64_t last)
{
    uint64_t bytes = 0, mask = e->header.slots - 1;
    for (uint64_t n = cursor + 1; n <= last; n++) {
        const struct naru_ring_slot *slot = &e->file->slots[(n - 1) & mask];
        uint32_t size = *(const volatile uint32_t *)&slot->size; /* it may change under us */
        bytes += size <= e->header.area ? size : 0;
    }
    return bytes;
}

static const char *sleep_text(const struct seen *e)
{
    bool in = word(&e->file->armed_in.value) & 1, out = word(&e->file->armed_out.value) & 1;
    return in && out ? "both" : in ? "receiving" : out ? "sending" : "no";
}

static void show_end(naru_snapshot *s, struct snapshot_view *v, const struct seen *e,
                     const struct seen *other)
{
    struct snapshot_part *p = naru__snapshot_part(s, v, e->pid);
    uint64_t last = published(e), cursor = other ? word(&other->file->cursor.value) : last;
    bool sane = cursor <= last && last - cursor <= e->header.slots;
    naru__snapshot_word(s, v, p, "state", state_text(word(&e->file->life.holder)));
    naru__snapshot_word(s, v, p, "life", life_text(e));
    naru__snapshot_number(s, v, p, "sent", "slots", last);
    naru__snapshot_number(s, v, p, "received", "slots", word(&e->file->cursor.value));
    naru__snapshot_number(s, v, p, "waiting", "slots", sane ? last - cursor : 0);
    naru__snapshot_number(s, v, p, "waiting_bytes", "bytes",
                          sane ? bytes_between(e, cursor, last) : 0);
    naru__snapshot_number(s, v, p, "slots", NULL, e->header.slots);
    naru__snapshot_number(s, v, p, "capacity", "bytes", e->header.area);
    naru__snapshot_number(s, v, p, "max_message", "bytes", e->header.max_message);
    naru__snapshot_word(s, v, p, "asleep", sleep_text(e));
}

static void show(naru_snapshot *s, const struct search *search, struct seen *e)
{
    struct seen *other = find(search, (ino_t)word(&e->file->life.other));
    if (other && (other == e || other->shown || word(&other->file->life.other) != e->inode))
        other = NULL;
    struct snapshot_view *v = naru__snapshot_add(s, search->url, "connection");
    struct stat st;
    int64_t owner = naru__os_fstat(e->fd, &st) < 0 ? -1 : (int64_t)st.st_uid;
    naru__snapshot_size(v, owner, e->header.file + (other ? other->header.file : 0));
    show_end(s, v, e, other);
    if (other)
        show_end(s, v, other, e);
    e->shown = true;
    if (other)
        other->shown = true;
}

/* ---- who listens ---- */

void naru__look_at_listener(naru_snapshot *s, const struct naru_url *url)
{
    struct naru_address address = {.length = sizeof(sa_family_t)};
    struct naru_unix_seen seen;
    struct stat st;
    char path[300];
    if (strchr(url->rest, '/'))
        snprintf(path, sizeof path, "%.250s", url->rest);
    else
        snprintf(path, sizeof path, "/dev/shm/naru-%u/%.64s", geteuid(), url->rest);
    if (!url->rest[0] || naru__os_stat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    bool listens = naru__os_unix_find(&address, &st, &seen) == 0;
    struct snapshot_view *v = naru__snapshot_add(s, url->text, "listener");
    naru__snapshot_size(v, st.st_uid, 0);
    naru__snapshot_word(s, v, NULL, "path", path);
    naru__snapshot_word(s, v, NULL, "state", listens ? "listens" : "stale");
    if (listens)
        naru__snapshot_part(s, v, naru__os_socket_holder(seen.inode));
}

int naru__look_at_connections(naru_snapshot *s, const struct naru_url *url)
{
    struct search search = {.url = url->text};
    char label[NARU_RING_LABEL];
    size_t hidden;
    naru__look_at_listener(s, url);
    snprintf(label, sizeof label, "naru:%s", url->rest);
    snprintf(search.target, sizeof search.target, "/memfd:%s (deleted)", label);
    int r = naru__os_proc_files(each_file, &search, &hidden);
    if (r < 0 || search.poor) {
        r = naru__fail(r < 0 ? r : -ENOMEM, "%s: looking through /proc failed: %s", url->text,
                       naru__errno_text(r < 0 ? r : -ENOMEM));
        forget(&search);
        return r;
    }
    naru__snapshot_hide(s, hidden);
    for (struct seen *e = search.list; e; e = e->next)
        if (!e->shown)
            show(s, &search, e);
    forget(&search);
    return 0;
}
