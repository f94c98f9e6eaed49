/* SPDX-License-Identifier: MIT */
/* journal-view.c - a journal's files and messages, read from outside. */
#include "inspect/journal-view.h"
#include "inspect/journal-messages.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "base/memory.h"
#include "core/transport.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/life.h"
#include "os/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files ---- */

struct listing {
    int directory;
    struct journal_range range;
};

static int add_segment(void *arg, const char *name)
{
    struct listing *l = arg;
    struct stat st;
    char *end;
    const size_t prefix = sizeof NARU_SEGMENT_PREFIX - 1;
    if (strncmp(name, NARU_SEGMENT_PREFIX, prefix) != 0)
        return 0;
    uint64_t number = strtoull(name + prefix, &end, 10);
    if (*end || number == 0 || naru__os_stat_at(l->directory, name, &st) < 0)
        return 0;
    struct journal_range *r = &l->range;
    r->first = r->first && r->first < number ? r->first : number;
    r->last = r->last > number ? r->last : number;
    r->segments++;
    r->bytes += (uint64_t)st.st_size;
    return 0;
}

int naru__journal_view_range(const struct naru_object_view *v, struct journal_range *ret_range)
{
    struct listing l = {.directory = v->directory};
    int r = naru__os_list(v->directory, true, add_segment, &l);
    *ret_range = l.range;
    return r < 0
               ? naru__fail(r, "%s: reading its directory failed: %s", v->url, naru__errno_text(r))
               : 0;
}

/* Its descriptor, or -errno. */
static int open_segment(const struct naru_object_view *v, uint64_t number,
                        struct naru_segment_header *ret_header)
{
    char name[40];
    struct stat st;
    const char *why = "it is too short for a segment";
    snprintf(name, sizeof name, NARU_SEGMENT_NAME, number);
    int fd = naru__os_open_at(v->directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (fd == -ENOENT)
        return fd;
    int r = fd < 0 ? fd : naru__os_fstat(fd, &st);
    bool small = r == 0 && (!S_ISREG(st.st_mode) || st.st_size < NARU_SEGMENT_RECORDS_AT);
    if (r == 0 && !small) /* till it is closed */
        r = naru__os_lock(fd, NARU_SEGMENT_READ, false);
    if (r == -EAGAIN)
        r = -ENOENT; /* its file is just getting another one's */
    if (r == 0 && !small)
        r = naru__os_read_at(fd, ret_header, sizeof *ret_header, 0);
    if (r < 0 && r != -ENOENT)
        naru__fail(r, "%s: reading %s failed: %s", v->url, name, naru__errno_text(r));
    else if (r == 0 && (small || (r = naru__segment_check(ret_header, number, (uint64_t)st.st_size,
                                                          &why)) == -EPROTO))
        r = naru__fail(-EPROTO, "%s: %s is refused: %s", v->url, name, why);
    if (r == 0)
        return fd;
    naru__os_close(fd);
    return r;
}

int naru__journal_view_segment(const struct naru_object_view *v, uint64_t number,
                               struct naru_segment_header *ret_header)
{
    int fd = open_segment(v, number, ret_header);
    if (fd >= 0)
        naru__os_close(fd);
    return fd < 0 ? fd : 0;
}

int naru__journal_view_cursor(const struct naru_object_view *v, const char *file,
                              struct naru_cursor_file **ret_cursor)
{
    int fd = naru__os_open_at(v->directory, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return fd;
    struct naru_cursor_file *c = naru__alloc_raw(sizeof *c);
    int r = c ? naru__os_read_at(fd, c, sizeof *c, 0) : -ENOMEM;
    naru__os_close(fd);
    if (r == 0 && (c->magic != NARU_CURSOR_MAGIC || c->version != NARU_JOURNAL_VERSION ||
                   c->window != NARU_CURSOR_WINDOW))
        r = -EPROTO;
    if (r < 0) {
        free(c);
        return r == -EIO ? -EPROTO : r;
    }
    *ret_cursor = c;
    return 0;
}

bool naru__journal_view_current(const struct naru_object_view *v)
{
    const struct naru_journal_state *s = (const void *)v->state.kind;
    bool current = atomic_load_explicit(&s->world, memory_order_relaxed) == naru__os_world(v->file);
    for (uint32_t i = 0; i < v->n && !current; i++) /* by another mount, whoever takes part knows */
        current = naru__os_life_held(v->file, NARU_JOURNAL_KNOWS_LOCKS + i) == 1;
    return current;
}

/* ---- messages ---- */

struct journal_messages {
    const struct naru_object_view *v;
    struct naru_cursor_file *cursor; /* NULL: none */
    bool begun;
    uint64_t end;    /* the last that counts */
    uint64_t surely; /* up to there what is not whole is damaged, and no end */
    int file;        /* of the segment */
    uint64_t last;   /* number of the newest */
    uint64_t at, sequence;
    struct naru_segment_header segment;
    uint8_t *data;
    size_t room;
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed); /* these are copies */
}

int naru__journal_messages_open(const struct naru_object_view *v, struct journal_messages **ret)
{
    const struct naru_journal_state *s = (const void *)v->state.kind;
    struct journal_messages *m = naru__alloc(sizeof *m);
    if (!m)
        return -ENOMEM;
    m->v = v;
    m->file = NARU__NO_FD;
    bool current = naru__journal_view_current(v);
    m->end = current ? load(&s->committed) : UINT64_MAX;
    m->surely = current ? m->end : load(&s->durable);
    int r = naru__journal_view_cursor(v, NARU_CURSOR_PREFIX "default", &m->cursor);
    if (r == -ENOMEM || r == -EMFILE || r == -ENFILE) {
        naru__journal_messages_close(m);
        return r;
    }
    *ret = m;
    return 0;
}

void naru__journal_messages_close(struct journal_messages *m)
{
    naru__os_close(m->file);
    free(m->cursor);
    free(m->data);
    free(m);
}

static int enter(struct journal_messages *m, uint64_t number)
{
    naru__os_close(m->file);
    m->file = open_segment(m->v, number, &m->segment);
    if (m->file < 0) {
        int r = m->file;
        m->file = NARU__NO_FD;
        return r;
    }
    m->at = NARU_SEGMENT_RECORDS_AT;
    m->sequence = m->segment.first;
    return 0;
}

/* To the last segment that does not begin behind the first message that waits. */
static int begin(struct journal_messages *m)
{
    struct journal_range range;
    uint64_t base = m->cursor ? load(&m->cursor->base) : 1;
    int r = naru__journal_view_range(m->v, &range);
    if (r < 0)
        return r;
    m->last = range.last;
    uint64_t low = range.first, high = range.last;
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        struct naru_segment_header header;
        r = naru__journal_view_segment(m->v, middle, &header);
        if (r < 0 || header.first <= base) /* a damaged one is told of where it is read */
            low = middle;
        else
            high = middle - 1;
    }
    r = range.segments ? enter(m, low) : -ENOENT;
    return r == -ENOENT ? naru__fail(-EPROTO, "%s has no segment that could be read", m->v->url)
                        : r;
}

/* What the queue's receivers have made of it: is it one that waits? */
static bool waits(const struct journal_messages *m, uint64_t sequence, bool *ret_again)
{
    const struct naru_cursor_file *c = m->cursor;
    *ret_again = false;
    if (!c)
        return true;
    uint64_t word = load(&c->entry[sequence % NARU_CURSOR_WINDOW].word);
    *ret_again = sequence < load(&c->again);
    if (sequence < load(&c->base))
        return false;
    if (sequence >= load(&c->next))
        return true;
    bool told = word >> 16 == sequence;
    *ret_again |= told && (word & 15) == NARU_CLAIM_RETURNED;
    return told && ((word & 15) == NARU_CLAIM_RETURNED || (word & 15) == NARU_CLAIM_FREE);
}

/* 1: a header that may be a record's; 0: none; -errno. */
static int read_header(const struct journal_messages *m, struct naru_record *ret)
{
    if (m->at > m->segment.bytes || m->segment.bytes - m->at < sizeof *ret)
        return 0;
    int r = naru__os_read_at(m->file, ret, sizeof *ret, m->at);
    if (r < 0)
        return naru__fail(r, "%s: segment %" PRIu64 ", byte %" PRIu64 ": %s", m->v->url,
                          m->segment.number, m->at, naru__errno_text(r));
    return ret->sequence == m->sequence && ret->type <= INT32_MAX &&
           ret->size <= m->segment.bytes - m->at - sizeof *ret;
}

static int read_payload(struct journal_messages *m, const struct naru_record *record)
{
    if (record->size > m->room || !m->data) {
        free(m->data);
        m->room = record->size < 4096 ? 4096 : record->size;
        m->data = naru__alloc_raw(m->room);
    }
    if (!m->data)
        return -ENOMEM;
    int r =
        record->size ? naru__os_read_at(m->file, m->data, record->size, m->at + sizeof *record) : 0;
    if (r < 0)
        return naru__fail(r, "%s: message %" PRIu64 ": %s", m->v->url, record->sequence,
                          naru__errno_text(r));
    uint32_t crc = naru__crc32c(m->segment.seed, (const char *)record + sizeof record->crc,
                                sizeof *record - sizeof record->crc);
    return naru__crc32c(crc, m->data, record->size) == record->crc ? 1 : 0;
}

/* Behind what is damaged, at the next segment. */
static int damaged(struct journal_messages *m)
{
    int r = naru__fail(-EPROTO,
                       "%s: message %" PRIu64 " is damaged, in segment %" PRIu64 " at byte %" PRIu64
                       "; naru verify tells what is readable behind it",
                       m->v->url, m->sequence, m->segment.number, m->at);
    m->at = m->segment.bytes;
    m->sequence = m->segment.number < m->last ? m->sequence : UINT64_MAX;
    return r;
}

int naru__journal_messages_next(struct journal_messages *m, int64_t select,
                                struct naru_message *ret_message)
{
    int r = m->begun ? 0 : begin(m);
    m->begun = true;
    if (r < 0)
        m->sequence = UINT64_MAX;
    while (r == 0 && m->sequence <= m->end && m->sequence != UINT64_MAX) {
        struct naru_record record;
        bool again, skipped = m->at >= m->segment.bytes; /* by damaged() */
        r = skipped ? 0 : read_header(m, &record);
        if (r < 0)
            break;
        if (skipped || (r == 1 && record.type == 0)) {
            r = enter(m, m->segment.number + 1);
            if (r == -ENOENT)
                return 0;
            continue;
        }
        if (r == 0) {
            if (m->sequence > m->surely)
                return 0;
            return damaged(m);
        }
        bool wanted = naru__select_wants(select, record.type) && waits(m, m->sequence, &again);
        r = wanted ? read_payload(m, &record) : 1;
        if (r == 0)
            return m->sequence > m->surely ? 0 : damaged(m);
        if (r < 0)
            break;
        m->at += naru__record_room(record.size);
        m->sequence++;
        r = 0;
        if (!wanted)
            continue;
        *ret_message = (struct naru_message){.data = m->data,
                                             .size = record.size,
                                             .info = {.type = record.type,
                                                      .flags = again ? NARU_REDELIVERED : 0,
                                                      .size = record.size,
                                                      .sequence = record.sequence,
                                                      .sender = record.sender,
                                                      .time = record.time}};
        return 1;
    }
    return r;
}
