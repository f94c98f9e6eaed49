/* SPDX-License-Identifier: MIT */
/* lanes.c - a look at queues and topics: how many messages wait, who has which, how far subscribers
 * are, and who waits for whom. Memory that somebody damages is told of and read no further. */
#include "inspect/lane-view.h"
#include "inspect/snapshot.h"

#include "base/error.h"
#include "base/memory.h"
#include "os/fd.h"
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct counted {
    bool there;
    uint64_t published; /* numbers used */
    uint64_t ready;     /* of a queue: unclaimed, given back ones included; of a topic: kept */
    uint64_t back, taken;
    uint64_t slots;
    uint32_t by[NARU_LANES_MAX]; /* who has taken them */
};

struct survey {
    const struct naru_object_view *v;
    const struct naru_lanes_state *state;
    bool topic;
    struct counted *lane; /* NARU_LANES_MAX */
    uint64_t (*cursor)[NARU_LANES_MAX]; /* of a topic: [subscriber][lane] */
};

static bool has_bit(const _Atomic uint64_t *words, uint32_t i)
{
    return atomic_load_explicit(&words[i / 64], memory_order_relaxed) >> (i % 64) & 1;
}

static uint64_t who(const struct survey *q, uint32_t i)
{
    return i < q->v->n ? atomic_load_explicit(&q->v->members[i].who, memory_order_relaxed) : 0;
}

static uint64_t word_of(const struct survey *q, uint32_t i, int k)
{
    return i < q->v->n ? atomic_load_explicit(&q->v->members[i].kind[k], memory_order_relaxed) : 0;
}

static uint32_t pid_of(const struct survey *q, uint32_t i)
{
    return i < q->v->n ? atomic_load_explicit(&q->v->members[i].pid, memory_order_relaxed) : 0;
}

/* ---- counting ---- */

enum { CHUNK = 512 };

/* Some slots of a queue's lane, with what their claims say. */
static void count_chunk(const struct lane_view *l, uint64_t at, const uint64_t *words,
                        const struct naru_lane_slot *slots, struct counted *c)
{
    uint64_t mask = l->header.slots - 1;
    for (uint64_t k = 0; k < CHUNK && at + k <= mask; k++) {
        uint64_t number = naru__claim_number(words[k], l->next);
        unsigned state = naru__claim_state(words[k]);
        if (state == NARU_CLAIM_TAKEN && number > 0 && number < l->next) {
            c->taken++;
            c->by[naru__claim_member(words[k])]++;
        } else if (state == NARU_CLAIM_BACK && number > 0 && number < l->next) {
            c->back++;
        }
        uint64_t stamp =
            slots ? atomic_load_explicit(&slots[k].stamp, memory_order_relaxed) : 0;
        if (stamp != 0 && !(stamp & NARU_LANE_SKIP) && stamp >= l->oldest && stamp < l->next &&
            ((stamp - 1) & mask) == at + k && !naru__claim_is_of(words[k], stamp))
            c->ready++;
    }
}

/* Is there a slot among these whose message nobody may have claimed? */
static bool has_candidate(const struct lane_view *l, uint64_t at, const uint64_t *words)
{
    uint64_t slots = l->header.slots, last = l->next - 1;
    for (uint64_t k = 0; k < CHUNK && at + k < slots; k++) {
        uint64_t behind = (last - 1 - (at + k)) & (slots - 1);
        uint64_t number = last - behind; /* the newest that can lie in that slot */
        if (last > behind && number >= l->oldest && !naru__claim_is_of(words[k], number))
            return true;
    }
    return false;
}

static int count_queue(const struct lane_view *l, struct counted *c)
{
    uint64_t words[CHUNK];
    struct naru_lane_slot *slots = naru__alloc_raw(CHUNK * sizeof *slots);
    int r = slots ? 0 : -ENOMEM;
    for (uint64_t at = 0; r == 0 && at < l->header.slots; at += CHUNK) {
        uint64_t n = l->header.slots - at < CHUNK ? l->header.slots - at : CHUNK;
        r = naru__lane_view_words(l, at, n, words);
        bool look = r == 0 && l->next > 1 && has_candidate(l, at, words);
        if (look)
            r = naru__lane_view_slots(l, at, n, slots);
        if (r == 0)
            count_chunk(l, at, words, look ? slots : NULL, c);
    }
    free(slots);
    c->ready += c->back;
    return r;
}

static int count_lane(const struct survey *q, uint32_t i)
{
    struct lane_view l;
    struct counted *c = &q->lane[i];
    int r = naru__lane_view(q->v, i, &l);
    if (r != 0)
        return r < 0 ? r : 0;
    *c = (struct counted){.there = true, .published = l.next - 1, .slots = l.header.slots};
    if (q->topic)
        c->ready = l.next - l.oldest;
    else
        r = count_queue(&l, c);
    naru__lane_view_close(&l);
    return r < 0 ? naru__fail(r, "%s: the lane of participant %" PRIu32 " cannot be read: %s",
                              q->v->url, i, naru__errno_text(r))
                 : r;
}

/* Has member i's record become another's since it was read? Whoever has it now may be making its
 * cursors, which are nothing yet. */
static bool changed_hands(const struct survey *q, uint32_t i)
{
    uint64_t now, at = NARU_OBJECT_MEMBERS_AT + (uint64_t)i * sizeof(struct naru_object_member);
    return naru__os_read_at(q->v->file, &now, sizeof now,
                            at + offsetof(struct naru_object_member, who)) == 0 &&
           now != who(q, i);
}

static int read_cursors(const struct survey *q, uint32_t i)
{
    char name[24];
    snprintf(name, sizeof name, "cursor-%" PRIu32, i);
    int fd = naru__os_open_at(q->v->directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (fd == -ENOENT) /* it has just gone */
        return 0;
    int r = fd < 0 ? fd
                   : naru__os_read_at(fd, q->cursor[i], sizeof q->cursor[i], NARU_LANE_WORDS_AT);
    naru__os_close(fd);
    if (r == -EIO && changed_hands(q, i))
        return 0;
    return r < 0 ? naru__fail(r, "%s: the cursors of participant %" PRIu32 " cannot be read: %s",
                              q->v->url, i, naru__errno_text(r))
                 : 0;
}

static int count_all(struct survey *q)
{
    int r = 0;
    for (uint32_t i = 0; i < NARU_LANES_MAX && r == 0; i++)
        if (has_bit(q->state->lanes, i))
            r = count_lane(q, i);
    for (uint32_t i = 0; i < q->v->n && i < NARU_LANES_MAX && r == 0 && q->topic; i++)
        if (naru__member_role(who(q, i)) & LANES_RECV)
            r = read_cursors(q, i);
    return r;
}

/* ---- texts ---- */

struct list {
    char text[512];
    size_t n;
};

/* "17:5 23:1"; "..." when there are too many. */
static void item(struct list *l, const char *format, ...)
{
    va_list arguments;
    if (l->n + 48 > sizeof l->text) {
        if (l->n + 4 < sizeof l->text && l->text[l->n - 1] != '.')
            l->n += (size_t)snprintf(l->text + l->n, sizeof l->text - l->n, " ...");
        return;
    }
    if (l->n)
        l->text[l->n++] = ' ';
    va_start(arguments, format);
    l->n += (size_t)vsnprintf(l->text + l->n, sizeof l->text - l->n, format, arguments);
    va_end(arguments);
}

static const char *text_of(const struct list *l)
{
    return l->n ? l->text : "-";
}

static const char *role_text(uint32_t role)
{
    if ((role & (LANES_RECV | LANES_SEND)) == (LANES_RECV | LANES_SEND))
        return role & LANES_LOSSY ? "both, lossy" : "both";
    return role & LANES_SEND ? "sends" : !(role & LANES_RECV) ? "-" : role & LANES_LOSSY
        ? "receives, lossy" : "receives";
}

static const char *asleep_text(const struct survey *q, uint32_t i)
{
    bool in = has_bit(q->state->armed_any, i) || has_bit(q->state->armed_select, i);
    bool out = has_bit(q->state->armed_out, i);
    if (has_bit(q->state->by_socket, i))
        return "in a loop";
    return in && out ? "both" : in ? "receiving" : out ? "sending" : "no";
}

/* ---- who waits for whom ---- */

static bool holds_back(const struct survey *q, uint32_t i)
{
    uint32_t role = naru__member_role(who(q, i));
    return role & LANES_RECV && !(role & LANES_LOSSY);
}

static uint64_t behind(const struct survey *q, uint32_t subscriber, uint32_t lane)
{
    uint64_t done = q->cursor[subscriber][lane], published = q->lane[lane].published;
    return q->lane[lane].there && done < published ? published - done : 0;
}

/* Those that a sender without room waits for: whoever is furthest behind, or has most of them. */
static void waits_for(const struct survey *q, uint32_t i, struct list *l)
{
    uint64_t most = 0;
    uint32_t worst = 0;
    if (has_bit(q->state->armed_select, i))
        item(l, "a message of its types");
    else if (has_bit(q->state->armed_any, i))
        item(l, "a message");
    if (!has_bit(q->state->armed_out, i))
        return;
    for (uint32_t k = 0; k < q->v->n && k < NARU_LANES_MAX; k++) {
        uint64_t n = !q->topic ? q->lane[i].by[k] : holds_back(q, k) ? behind(q, k, i) : 0;
        if (n > most) {
            most = n;
            worst = k;
        }
    }
    if (q->topic && most)
        item(l, "%" PRIu32 ", %" PRIu64 " behind", pid_of(q, worst), most);
    else if (most && q->lane[i].ready == 0)
        item(l, "%" PRIu32 ", who has %" PRIu64, pid_of(q, worst), most);
    else if (!q->topic)
        item(l, "a receiver");
}

/* The same for programs to follow. Who sleeps in a loop waits for anything, and for nobody. */
static void wants_room(naru_snapshot *s, struct snapshot_part *p, const struct survey *q,
                       uint32_t i)
{
    char why[64];
    uint64_t most = 0, slowest = 0;
    for (uint32_t k = 0; k < q->v->n && k < NARU_LANES_MAX && q->topic; k++) {
        uint64_t n = holds_back(q, k) ? behind(q, k, i) : 0;
        slowest = n > most ? 1 : slowest + (n == most && n > 0);
        most = n > most ? n : most;
    }
    naru__snapshot_wants(s, p, "room for a message", q->topic ? slowest : 1,
                         !q->topic && q->lane[i].ready > 0);
    for (uint32_t k = 0; k < q->v->n && k < NARU_LANES_MAX; k++) {
        uint32_t taken = q->lane[i].by[k];
        if (q->topic ? !most || !holds_back(q, k) || behind(q, k, i) != most
                     : !(naru__member_role(who(q, k)) & LANES_RECV))
            continue;
        if (q->topic)
            snprintf(why, sizeof why, "is %" PRIu64 " messages behind", most);
        else if (taken)
            snprintf(why, sizeof why, "receives there, and holds %" PRIu32, taken);
        else
            snprintf(why, sizeof why, "receives there");
        naru__snapshot_waits_for(s, p, naru__member_pid(q->v, k), 1, why);
    }
}

static void wants(naru_snapshot *s, struct snapshot_part *p, const struct survey *q, uint32_t i)
{
    bool chooses = has_bit(q->state->armed_select, i);
    if (has_bit(q->state->by_socket, i))
        return;
    if (has_bit(q->state->armed_out, i)) {
        wants_room(s, p, q, i);
    } else if (chooses || has_bit(q->state->armed_any, i)) {
        naru__snapshot_wants(s, p, chooses ? "a message of its types" : "a message", 1, true);
        for (uint32_t k = 0; k < q->v->n; k++)
            if (k != i && naru__member_role(who(q, k)) & LANES_SEND)
                naru__snapshot_waits_for(s, p, naru__member_pid(q->v, k), 1, "sends there");
    }
}

/* ---- parts ---- */

static uint64_t percent(uint64_t n, uint64_t of)
{
    return of ? n * 100 / of : 0;
}

/* How full a lane is: of a topic, of messages that some subscriber still needs. */
static uint64_t in_use(const struct survey *q, uint32_t i)
{
    const struct counted *c = &q->lane[i];
    uint64_t most = 0;
    if (!q->topic)
        return c->ready + c->taken;
    for (uint32_t k = 0; k < q->v->n && k < NARU_LANES_MAX; k++)
        if (holds_back(q, k) && behind(q, k, i) > most)
            most = behind(q, k, i);
    return most < c->slots ? most : c->slots;
}

static void show_received(naru_snapshot *s, struct snapshot_view *view, struct snapshot_part *p,
                          const struct survey *q, uint32_t i)
{
    struct list cursors = {.n = 0};
    uint64_t all = 0, holds = 0;
    bool receives = naru__member_role(who(q, i)) & LANES_RECV;
    naru__snapshot_number(s, view, p, "received", NULL, word_of(q, i, LANES_COUNT_RECEIVED));
    for (uint32_t lane = 0; lane < NARU_LANES_MAX; lane++) {
        holds += q->lane[lane].by[i];
        if (!q->topic || !receives || !q->lane[lane].there)
            continue;
        all += behind(q, i, lane);
        item(&cursors, "%" PRIu32 ":%" PRIu64, lane, q->cursor[i][lane]);
    }
    if (!q->topic) {
        naru__snapshot_number(s, view, p, "redelivered", NULL,
                              word_of(q, i, LANES_COUNT_REDELIVERED));
        naru__snapshot_number(s, view, p, "holds", NULL, holds);
        return;
    }
    naru__snapshot_number(s, view, p, "missed", NULL, word_of(q, i, LANES_COUNT_MISSED));
    naru__snapshot_number(s, view, p, "behind", NULL, all);
    naru__snapshot_word(s, view, p, "cursors", text_of(&cursors));
}

static void show_lane(naru_snapshot *s, struct snapshot_view *view, struct snapshot_part *p,
                      const struct survey *q, uint32_t i)
{
    const struct counted *c = &q->lane[i];
    struct list by = {.n = 0};
    for (uint32_t k = 0; k < NARU_LANES_MAX; k++)
        if (c->by[k])
            item(&by, "%" PRIu32 ":%" PRIu32, pid_of(q, k), c->by[k]);
    naru__snapshot_number(s, view, p, "lane", NULL, c->published);
    naru__snapshot_number(s, view, p, q->topic ? "kept" : "waiting", NULL, c->ready);
    if (!q->topic) {
        naru__snapshot_number(s, view, p, "taken", NULL, c->taken);
        naru__snapshot_word(s, view, p, "taken_by", text_of(&by));
        naru__snapshot_number(s, view, p, "done", NULL,
                              c->published > c->ready + c->taken
                                  ? c->published - c->ready - c->taken
                                  : 0);
    }
    naru__snapshot_number(s, view, p, "fill", "%", percent(in_use(q, i), c->slots));
    naru__snapshot_number(s, view, p, "high_water", NULL, word_of(q, i, LANES_COUNT_HIGH_WATER));
}

static void show_part(naru_snapshot *s, struct snapshot_view *view, const struct survey *q,
                      uint32_t i)
{
    struct list waits = {.n = 0};
    struct snapshot_part *p =
        naru__snapshot_member(s, view, q->v, i, role_text(naru__member_role(who(q, i))));
    naru__snapshot_word(s, view, p, "asleep", asleep_text(q, i));
    waits_for(q, i, &waits);
    naru__snapshot_word(s, view, p, "waits_for", text_of(&waits));
    wants(s, p, q, i);
    naru__snapshot_number(s, view, p, "sent", NULL, word_of(q, i, LANES_COUNT_SENT));
    show_received(s, view, p, q, i);
    show_lane(s, view, p, q, i);
}

/* ---- the whole ---- */

static void show_whole(naru_snapshot *s, struct snapshot_view *view, const struct survey *q)
{
    const uint64_t *option = q->v->meta.option;
    uint64_t waiting = 0, taken = 0, lanes = 0;
    for (uint32_t i = 0; i < NARU_LANES_MAX; i++) {
        waiting += q->lane[i].ready;
        taken += q->lane[i].taken;
        lanes += q->lane[i].there;
    }
    naru__snapshot_number(s, view, NULL, q->topic ? "kept" : "waiting", "messages", waiting);
    if (!q->topic)
        naru__snapshot_number(s, view, NULL, "taken", "messages", taken);
    naru__snapshot_number(s, view, NULL, "lanes", NULL, lanes);
    naru__snapshot_number(s, view, NULL, "slots", NULL, option[LANES_SLOTS]);
    naru__snapshot_number(s, view, NULL, "capacity", "bytes", option[LANES_AREA]);
    naru__snapshot_number(s, view, NULL, "max_message", "bytes", option[LANES_MAX_MESSAGE]);
    naru__snapshot_number(s, view, NULL, q->topic ? "history" : "receivers", NULL,
                          option[q->topic ? LANES_HISTORY : LANES_RECEIVERS]);
}

int naru__look_at_lanes(naru_snapshot *s, struct snapshot_view *view,
                        const struct naru_object_view *v, bool brief)
{
    struct survey q = {.v = v,
                       .state = (const void *)v->state.kind,
                       .topic = v->meta.what == NARU_OBJECT_TOPIC,
                       .lane = naru__alloc(NARU_LANES_MAX * sizeof *q.lane),
                       .cursor = naru__alloc(NARU_LANES_MAX * sizeof *q.cursor)};
    int r = q.lane && q.cursor ? count_all(&q) : -ENOMEM;
    if (r == 0)
        show_whole(s, view, &q);
    for (uint32_t i = 0; r == 0 && !brief && i < v->n && i < NARU_LANES_MAX; i++)
        if (naru__member_role(who(&q, i)) || q.lane[i].there)
            show_part(s, view, &q, i);
    free(q.lane);
    free(q.cursor);
    return r;
}
