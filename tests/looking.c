/* SPDX-License-Identifier: MIT */
/* looking.c - naru/inspect.h on queues, topics and locks: what is seen is what is there, nothing is
 * changed by it, and damaged memory is an error. */
#include "harness.h"

#include "shm/object.h"

#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t number(const struct naru_fact *facts, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(facts[i].name, name) == 0)
            return facts[i].number;
    test_failed(__FILE__, __LINE__, "there is no fact \"%s\"", name);
}

/* A fact of the whole (part -1), or of a part. */
static uint64_t seen(const char *url, int part, const char *name)
{
    naru_snapshot *s;
    expect_ok(naru_snapshot_take(url, &s));
    const struct naru_view *v = naru_snapshot_view(s, 0);
    expect(v != NULL);
    expect(part < (int)v->n_parts);
    uint64_t n = part < 0 ? number(v->facts, v->n_facts, name)
                          : number(v->parts[part]->facts, v->parts[part]->n_facts, name);
    naru_snapshot_free(s);
    return n;
}

static unsigned peeked(const char *url, int64_t select, char *types)
{
    naru_peek *p;
    struct naru_message m;
    unsigned n = 0;
    int r;
    expect_ok(naru_peek_open(url, &p));
    while ((r = naru_peek_next(p, select, &m)) > 0)
        types[n++] = (char)('0' + m.info.type);
    expect_ok(r);
    types[n] = '\0';
    naru_peek_close(p);
    return n;
}

static void send_types(naru_channel *c, const char *types)
{
    for (; *types; types++)
        expect_ok(naru_channel_send(c, (uint32_t)(*types - '0'), types, 1, PATIENCE));
}

static void a_queue(void)
{
    const char *url = test_url("shm:%s/queue");
    char types[64];
    naru_channel *out, *in;
    struct naru_message m[3];
    expect_ok(naru_queue_open(url, NARU_SEND, NULL, &out));
    send_types(out, "123212");
    expect_ok(naru_queue_open(url, NARU_RECV, NULL, &in));
    for (int i = 0; i < 3; i++)
        expect_ok(naru_channel_take(in, i == 2 ? 2 : 0, PATIENCE, &m[i])); /* 1, 2, and a later 2 */
    expect_ok(naru_channel_release(in, &m[0], 1));
    expect(seen(url, -1, "waiting") == 3);
    expect(seen(url, -1, "taken") == 2);
    expect(seen(url, 0, "sent") == 6);
    expect(seen(url, 0, "done") == 1);
    expect(seen(url, 1, "holds") == 2);
    expect(seen(url, 1, "received") == 3);
    peeked(url, 0, types);
    expect(strcmp(types, "312") == 0);
    peeked(url, 2, types);
    expect(strcmp(types, "2") == 0);
    peeked(url, NARU_EXCEPT(2), types);
    expect(strcmp(types, "31") == 0);
    expect_ok(naru_channel_return(in, &m[1], 2));
    peeked(url, 0, types);
    expect(strcmp(types, "23212") == 0);
    expect(seen(url, -1, "waiting") == 5);
    naru_channel_close(in);
    naru_channel_close(out);
    expect_ok(naru_remove(url));
}

/* A message that a receiver holds while the sender goes round is passed over, lap after lap. */
static void held_while_the_sender_goes_round(void)
{
    const char *url = test_url("shm:%s/queue");
    const struct naru_queue_options o = {.size = sizeof o, .messages = 15};
    char byte, types[64];
    naru_channel *out, *in;
    struct naru_message m;
    expect_ok(naru_queue_open(url, NARU_SEND, &o, &out));
    expect_ok(naru_queue_open(url, NARU_RECV, NULL, &in));
    send_types(out, "1");
    expect_ok(naru_channel_take(in, 0, PATIENCE, &m));
    for (int i = 0; i < 100; i++) {
        send_types(out, "2");
        expect(seen(url, -1, "waiting") == 1);
        expect(seen(url, -1, "taken") == 1);
        expect(peeked(url, 0, types) == 1);
        expect_code(1, naru_channel_recv(in, 0, &byte, 1, NULL, PATIENCE));
    }
    expect(peeked(url, 0, types) == 0);
    expect_ok(naru_channel_return(in, &m, 1));
    peeked(url, 0, types);
    expect(strcmp(types, "1") == 0);
    naru_channel_close(in);
    naru_channel_close(out);
    expect_ok(naru_remove(url));
}

static void a_topic(void)
{
    const char *url = test_url("shm:%s/topic");
    const struct naru_topic_options o = {.size = sizeof o, .history = 4};
    char byte, types[64];
    naru_channel *out, *in;
    expect_ok(naru_topic_open(url, NARU_SEND, &o, &out));
    expect_ok(naru_topic_open(url, NARU_RECV, NULL, &in));
    send_types(out, "12345");
    expect_code(1, naru_channel_recv(in, 0, &byte, 1, NULL, PATIENCE));
    expect(seen(url, 1, "behind") == 4);
    expect(seen(url, 1, "received") == 1);
    expect(seen(url, -1, "history") == 4);
    expect(peeked(url, 0, types) == 5);
    naru_channel_close(in);
    naru_channel_close(out);
    expect_ok(naru_remove(url));
}

/* Part -1 is the whole; its first parts are the cursors that have names. */
static void a_journal(void)
{
    const char *url = test_url("map:%s/journal");
    const struct naru_journal_options each = {.size = sizeof each, .sync = NARU_SYNC_EACH};
    const struct naru_queue_options o = {.size = sizeof o, .capacity = 64 << 10, .journal = &each};
    static char data[30000];
    char types[64];
    naru_channel *out, *in, *live;
    struct naru_message m[3];
    expect_ok(naru_queue_open(url, NARU_SEND, &o, &out));
    expect_ok(naru_topic_open(url, NARU_RECV, NULL, &live));
    expect(peeked(url, 0, types) == 0);
    send_types(out, "123212");
    expect(peeked(url, 0, types) == 6); /* nobody has received yet: all wait */
    expect_ok(naru_queue_open(url, NARU_RECV, NULL, &in));
    for (int i = 0; i < 3; i++)
        expect_ok(naru_channel_take(in, i == 2 ? 2 : 0, PATIENCE, &m[i])); /* 1, 2, and a later 2 */
    expect_ok(naru_channel_release(in, &m[0], 1));
    expect(seen(url, -1, "kept") == 6);
    expect(seen(url, -1, "first") == 1);
    expect(seen(url, -1, "last") == 6);
    expect(seen(url, -1, "synced") == 6);
    expect(seen(url, -1, "flushes") == 6);
    expect(seen(url, -1, "cursors") == 1);
    expect(seen(url, 0, "position") == 2);
    expect(seen(url, 0, "lag") == 5);
    expect(seen(url, 0, "holds") == 2);
    expect(seen(url, 1, "sent_last") == 6);
    expect(seen(url, 2, "position") == 1); /* of the subscriber without a name */
    expect(seen(url, 2, "lag") == 6);
    expect(seen(url, 3, "holds") == 2);
    peeked(url, 0, types);
    expect(strcmp(types, "312") == 0);
    peeked(url, NARU_EXCEPT(2), types);
    expect(strcmp(types, "31") == 0);
    expect_ok(naru_channel_return(in, &m[1], 2));
    peeked(url, 0, types);
    expect(strcmp(types, "23212") == 0);
    expect(seen(url, 0, "returned") == 2);
    for (int i = 0; i < 5; i++)
        expect_ok(naru_channel_send(out, 4, data, sizeof data, PATIENCE));
    expect(seen(url, -1, "segments") == 3);
    expect(seen(url, -1, "fill") > 40);
    expect(peeked(url, 0, types) == 10);
    naru_channel_close(live);
    naru_channel_close(in);
    naru_channel_close(out);
    expect(seen(url, -1, "participants") == 0);
    expect_ok(naru_remove(url));
}

static unsigned listed(const char *url, const char *noun)
{
    naru_snapshot *s;
    const struct naru_view *v;
    unsigned n = 0;
    expect_ok(naru_snapshot_list(url, &s));
    for (size_t i = 0; (v = naru_snapshot_view(s, i)); i++) {
        n += strcmp(v->noun, noun) == 0;
        expect(strncmp(v->url, strcmp(noun, "queue") == 0 ? "shm:" : "map:", 4) == 0);
    }
    naru_snapshot_free(s);
    return n;
}

/* Of a directory: journals, locks, and files that state something. The rest are others' files. */
static void files(void)
{
    char directory[256];
    snprintf(directory, sizeof directory, "%s", test_url("map:%s"));
    const char *file = test_url("map:%s/lock"), *stated = test_url("map:%s/stated");
    const char *plain = test_url("map:%s/plain"), *journal = test_url("map:%s/journal");
    const struct naru_region_options o = {.size = sizeof o, .reserve = 1 << 20};
    naru_semaphore *lock;
    naru_region *r;
    naru_channel *c;
    const struct naru_semaphore_options two = {.size = sizeof two, .value = 2};
    expect_ok(naru_semaphore_open(file, &two, &lock));
    expect_ok(naru_semaphore_acquire(lock, 1, PATIENCE));
    expect(seen(file, -1, "owned") == 1);
    expect(seen(file, 0, "owns") == 1);
    expect(seen(file, -1, "participants") == 1);
    expect_ok(naru_region_create(stated, 100, &o, &r));
    naru_region_close(r);
    expect_ok(naru_region_create(plain, 100, NULL, &r));
    naru_region_close(r);
    expect_ok(naru_queue_open(journal, NARU_SEND, NULL, &c));
    expect(listed(directory, "semaphore") == 1);
    expect(listed(directory, "journal") == 1);
    expect(listed(directory, "region") == 1);
    expect(listed(plain, "region") == 1);
    expect(listed(file, "semaphore") == 1);
    naru_semaphore_close(lock);
    expect(seen(file, -1, "participants") == 0);
    naru_channel_close(c);
    expect_ok(naru_remove(file));
    expect_ok(naru_remove(stated));
    expect_ok(naru_remove(plain));
    expect_ok(naru_remove(journal));
}

static void take_and_die(void *url)
{
    naru_channel *in;
    struct naru_message m;
    expect_ok(naru_queue_open(url, NARU_RECV, NULL, &in));
    for (int i = 0; i < 2; i++)
        expect_ok(naru_channel_take(in, 0, PATIENCE, &m));
    raise(SIGKILL);
}

static void the_dead_are_collected(void)
{
    const char *url = test_url("shm:%s/queue");
    struct naru_collected c = {.size = sizeof c};
    char types[64];
    naru_channel *out;
    int status;
    expect_ok(naru_queue_open(url, NARU_SEND, NULL, &out));
    send_types(out, "123");
    naru_channel_close(out);
    waitpid(start_child(take_and_die, (void *)(uintptr_t)url), &status, 0);
    expect(seen(url, -1, "dead") == 1);
    for (int i = 0; i < 2; i++) { /* looking changes nothing */
        expect_ok(naru_collect(url, NARU_DRY_RUN, &c));
        expect(c.participants == 1 && c.messages == 2);
        expect(peeked(url, 0, types) == 1);
    }
    expect_ok(naru_collect(url, 0, &c));
    expect(c.participants == 1 && c.messages == 2 && c.leftovers == 0);
    peeked(url, 0, types);
    expect(strcmp(types, "123") == 0);
    expect_ok(naru_collect(url, 0, &c));
    expect(c.participants == 0 && c.messages == 0);
    expect_ok(naru_remove(url));
    expect_code(-ENOENT, naru_collect(url, 0, &c));
}

/* ---- locks ---- */

static const char *word(const struct naru_fact *facts, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(facts[i].name, name) == 0 && facts[i].text)
            return facts[i].text;
    test_failed(__FILE__, __LINE__, "there is no word \"%s\"", name);
}

/* The part of that process. */
static const struct naru_view_part *part_of(const naru_snapshot *s, pid_t pid)
{
    const struct naru_view *v = naru_snapshot_view(s, 0);
    for (size_t i = 0; i < v->n_parts; i++)
        if (v->parts[i]->pid == pid)
            return v->parts[i];
    test_failed(__FILE__, __LINE__, "process %d has no part", (int)pid);
}

static naru_semaphore *open_lock(const char *url, unsigned value, int kind)
{
    naru_semaphore *s;
    struct naru_semaphore_options o = {sizeof o, .value = value, .kind = kind};
    expect_ok(naru_semaphore_open(url, &o, &s));
    return s;
}

struct wanting {
    const char *url, *second; /* has one of the first, wants n of the second */
    unsigned n;
    _Atomic int has, go;
};

static void want_more(void *context)
{
    struct wanting *w = context;
    naru_semaphore *a = open_lock(w->url, 0, NARU_OWNED);
    naru_semaphore *b = w->second ? open_lock(w->second, 0, NARU_OWNED) : a;
    if (w->second)
        expect_ok(naru_semaphore_acquire(a, 1, PATIENCE));
    w->has++;
    while (w->second && !w->go)
        usleep(1000);
    (void)naru_semaphore_acquire(b, w->n, NARU_FOREVER);
    raise(SIGKILL);
}

static void *shared_memory(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect(p != MAP_FAILED);
    return p;
}

static void until(const char *url, const char *name, uint64_t value)
{
    int64_t end = test_now() + PATIENCE;
    while (seen(url, -1, name) != value) {
        expect(test_now() < end);
        usleep(1000);
    }
}

static size_t read_meta(const char *url, char *buf, size_t n)
{
    char path[300];
    snprintf(path, sizeof path, "%s/meta", strchr(url, ':') + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t r = read(fd, buf, n);
    close(fd);
    expect(r > 0);
    return (size_t)r;
}

static void a_semaphore(void)
{
    static char before[16384], after[16384];
    const char *url = test_url("shm:%s/s");
    struct wanting *w = shared_memory(sizeof *w);
    naru_snapshot *s;
    naru_semaphore *mine = open_lock(url, 3, NARU_OWNED);
    expect_ok(naru_semaphore_acquire(mine, 2, NARU_NOWAIT));
    *w = (struct wanting){.url = url, .n = 2};
    pid_t first = start_child(want_more, w);
    until(url, "waiters", 1);
    w->n = 3;
    pid_t second = start_child(want_more, w);
    until(url, "waiters", 2);
    usleep(150000); /* so that they have noted who owns */
    kill(first, SIGSTOP);
    kill(second, SIGSTOP);
    expect(waitpid(first, NULL, WUNTRACED) == first && waitpid(second, NULL, WUNTRACED) == second);
    size_t n = read_meta(url, before, sizeof before);
    expect_ok(naru_snapshot_take(url, &s));
    const struct naru_view *v = naru_snapshot_view(s, 0);
    expect(strcmp(v->noun, "semaphore") == 0);
    expect(strcmp(word(v->facts, v->n_facts, "kind"), "owned") == 0);
    expect(strcmp(word(v->facts, v->n_facts, "fair"), "no") == 0);
    expect(number(v->facts, v->n_facts, "value") == 1);
    expect(number(v->facts, v->n_facts, "permits") == 3);
    expect(number(v->facts, v->n_facts, "owned") == 2);
    const struct naru_view_part *p = part_of(s, getpid());
    expect(number(p->facts, p->n_facts, "owns") == 2 && !p->wants);
    expect(word(p->facts, p->n_facts, "owns_since")[0] == '2'); /* a year */
    p = part_of(s, first);
    expect(number(p->facts, p->n_facts, "wants") == 2);
    expect(number(p->facts, p->n_facts, "place") == 1);
    expect(word(p->facts, p->n_facts, "waits_since")[0] == '2');
    expect(p->wants && strcmp(p->wants, "2 permits") == 0 && p->needs == 1 && !p->others);
    expect(p->n_waits == 1 && p->waits[0].pid == getpid() && p->waits[0].gives == 2);
    expect(strcmp(p->waits[0].why, "owns 2 permits") == 0);
    p = part_of(s, second);
    expect(number(p->facts, p->n_facts, "place") == 2 && p->needs == 2);
    naru_snapshot_free(s);
    expect(read_meta(url, after, sizeof after) == n && memcmp(before, after, n) == 0);
    unsigned revoked;
    expect_ok(naru_semaphore_revoke(url, getpid(), &revoked));
    expect(revoked == 2 && seen(url, -1, "owned") == 0 && seen(url, -1, "value") == 3);
    kill(first, SIGKILL); /* the dead are told of, until somebody cleans up */
    kill(second, SIGKILL);
    waitpid(first, NULL, 0);
    waitpid(second, NULL, 0);
    expect(seen(url, -1, "dead") == 2);
    naru_semaphore_close(mine);
    expect_ok(naru_remove(url));
}

static void own_and_die(void *url)
{
    naru_semaphore *s = open_lock(url, 0, NARU_OWNED);
    expect_ok(naru_semaphore_acquire(s, 3, NARU_NOWAIT));
    raise(SIGKILL);
}

static void a_dead_owner(void)
{
    const char *url = test_url("shm:%s/s");
    struct naru_collected c = {.size = sizeof c};
    naru_semaphore *s = open_lock(url, 4, NARU_OWNED);
    pid_t child = start_child(own_and_die, (void *)(uintptr_t)url);
    waitpid(child, NULL, 0);
    expect(seen(url, -1, "owned") == 3);
    expect(seen(url, 1, "owns") == 3);
    expect(seen(url, -1, "last_dead_owner") == 0); /* nobody has noticed */
    expect_ok(naru_collect(url, NARU_DRY_RUN, &c));
    expect(c.participants == 1 && c.permits == 3);
    expect(seen(url, -1, "value") == 1);
    expect_ok(naru_collect(url, 0, &c));
    expect(c.participants == 1 && c.permits == 3);
    expect(seen(url, -1, "value") == 4);
    expect(seen(url, -1, "last_dead_owner") == (uint64_t)child);
    naru_semaphore_close(s);
    expect_ok(naru_remove(url));
}

struct exclusive {
    const char *url;
    unsigned flags;
    bool rwlock, writes, sleeps; /* sleeps: it has it, and keeps it */
    _Atomic int has;
};

static void take_exclusive(void *context)
{
    struct exclusive *e = context;
    struct naru_mutex_options o = {.size = sizeof o, .flags = e->flags};
    naru_mutex *m;
    naru_rwlock *w;
    if (e->rwlock) {
        expect_ok(naru_rwlock_open(e->url, NULL, &w));
        (void)(e->writes ? naru_rwlock_write(w, NARU_FOREVER) : naru_rwlock_read(w, NARU_FOREVER));
    } else {
        expect_ok(naru_mutex_open(e->url, &o, &m));
        (void)naru_mutex_lock(m, NARU_FOREVER);
    }
    e->has = 1;
    if (e->sleeps)
        for (;;)
            pause();
    raise(SIGKILL);
}

static void word_is(const char *url, const char *name, const char *value)
{
    naru_snapshot *s;
    expect_ok(naru_snapshot_take(url, &s));
    const struct naru_view *v = naru_snapshot_view(s, 0);
    const char *is = word(v->facts, v->n_facts, name);
    if (strcmp(is, value) != 0)
        test_failed(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", name, is, value);
    naru_snapshot_free(s);
}

static pid_t start_exclusive(struct exclusive *e, bool until_it_has)
{
    e->has = 0;
    pid_t child = start_child(take_exclusive, e);
    while (until_it_has && !e->has)
        usleep(1000);
    return child;
}

static void mutexes(void)
{
    for (unsigned flags = 0; flags <= NARU_PRIO_INHERIT; flags += NARU_PRIO_INHERIT) {
        const char *url = test_url(flags ? "shm:%s/lends" : "shm:%s/m");
        struct exclusive *e = shared_memory(sizeof *e);
        struct naru_mutex_options o = {.size = sizeof o, .flags = flags};
        naru_mutex *m;
        naru_snapshot *s;
        *e = (struct exclusive){.url = url, .flags = flags, .sleeps = true};
        expect_ok(naru_mutex_open(url, &o, &m));
        word_is(url, "condition", "free");
        word_is(url, "lends_priority", flags ? "yes" : "no");
        expect_ok(naru_mutex_lock(m, NARU_NOWAIT));
        word_is(url, "condition", "owned");
        pid_t child = start_exclusive(e, false);
        until(url, "waiters", 1);
        expect_ok(naru_snapshot_take(url, &s));
        expect(strcmp(naru_snapshot_view(s, 0)->noun, "mutex") == 0);
        const struct naru_view_part *p = part_of(s, child);
        expect(p->wants && strcmp(p->wants, "the mutex") == 0 && p->needs == 1);
        expect(p->n_waits == 1 && p->waits[0].pid == getpid());
        expect(strcmp(p->waits[0].why, "owns the mutex") == 0);
        expect(word(p->facts, p->n_facts, "waits_since")[0] == '2');
        naru_snapshot_free(s);
        expect_ok(naru_mutex_unlock(m));
        while (!e->has)
            usleep(1000);
        until(url, "waiters", 0);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        expect_code(-EOWNERDEAD, naru_mutex_lock(m, PATIENCE));
        word_is(url, "recovery", "its owner has died: needed");
        expect(seen(url, -1, "last_dead_owner") == (uint64_t)child);
        expect_ok(naru_mutex_recover(m));
        word_is(url, "recovery", "not needed");
        naru_mutex_close(m);
        expect_ok(naru_remove(url));
    }
}

static void rwlocks(void)
{
    const char *url = test_url("shm:%s/w");
    struct exclusive *e = shared_memory(3 * sizeof *e);
    naru_snapshot *s;
    pid_t child[3];
    for (int i = 0; i < 3; i++) { /* reads; wants to write; comes to read after that one */
        e[i] = (struct exclusive){.url = url, .rwlock = true, .writes = i == 1, .sleeps = true};
        child[i] = start_exclusive(&e[i], i == 0);
        until(url, "waiters", (uint64_t)i);
    }
    word_is(url, "condition", "read");
    expect(seen(url, -1, "readers") == 1);
    expect_ok(naru_snapshot_take(url, &s));
    const struct naru_view_part *p = part_of(s, child[0]);
    expect(strcmp(word(p->facts, p->n_facts, "owns"), "reads") == 0 && !p->wants);
    p = part_of(s, child[1]);
    expect(p->wants && strcmp(p->wants, "writing") == 0 && p->n_waits == 1);
    expect(p->waits[0].pid == child[0] && strcmp(p->waits[0].why, "reads") == 0);
    p = part_of(s, child[2]);
    expect(p->wants && strcmp(p->wants, "reading") == 0 && p->n_waits == 1);
    expect(p->waits[0].pid == child[1] && strstr(p->waits[0].why, "before it in the queue"));
    naru_snapshot_free(s);
    kill(child[0], SIGKILL);
    waitpid(child[0], NULL, 0);
    while (!e[1].has)
        usleep(1000);
    word_is(url, "condition", "written");
    expect_ok(naru_snapshot_take(url, &s));
    p = part_of(s, child[2]);
    expect(p->n_waits == 1 && p->waits[0].pid == child[1]);
    expect(strcmp(p->waits[0].why, "writes") == 0);
    naru_snapshot_free(s);
    for (int i = 1; i < 3; i++) {
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
    }
    expect_ok(naru_remove(url));
}

struct releasing {
    const char *url;
    int kind; /* of an event; -1: a barrier */
};

static void wait_for_all(void *context)
{
    struct releasing *e = context;
    struct naru_event_options o = {.size = sizeof o, .kind = e->kind};
    naru_event *event;
    naru_barrier *b;
    if (e->kind < 0) {
        expect_ok(naru_barrier_open(e->url, NULL, &b));
        expect_ok(naru_barrier_wait(b, NARU_FOREVER));
        naru_barrier_close(b);
    } else {
        expect_ok(naru_event_open(e->url, &o, &event));
        expect_ok(naru_event_wait(event, NARU_FOREVER));
        naru_event_close(event);
    }
}

static void events(void)
{
    static const int kinds[] = {NARU_MANUAL, NARU_AUTOMATIC};
    for (int i = 0; i < 2; i++) {
        struct releasing e = {test_url(i ? "shm:%s/automatic" : "shm:%s/manual"), kinds[i]};
        struct naru_event_options o = {.size = sizeof o, .kind = kinds[i]};
        naru_event *event;
        naru_snapshot *s;
        expect_ok(naru_event_open(e.url, &o, &event));
        word_is(e.url, "kind", i ? "automatic" : "manual");
        expect_code(-ETIMEDOUT, naru_event_wait(event, 60 * NARU_MS));
        expect(seen(e.url, -1, "waiters") == 0);
        pid_t child = start_child(wait_for_all, &e);
        until(e.url, "waiters", 1);
        expect_ok(naru_snapshot_take(e.url, &s));
        const struct naru_view_part *p = part_of(s, child);
        expect(p->wants && p->others && p->n_waits == 0);
        expect(word(p->facts, p->n_facts, "waits_since")[0] == '2');
        naru_snapshot_free(s);
        expect_ok(naru_event_set(event));
        end_child(child);
        until(e.url, "waiters", 0);
        if (i == 0)
            word_is(e.url, "set", "yes");
        naru_event_close(event);
        expect_ok(naru_remove(e.url));
    }
}

static void barriers(void)
{
    struct releasing e = {test_url("shm:%s/b"), -1};
    struct naru_barrier_options o = {.size = sizeof o, .parties = 3};
    naru_barrier *b;
    naru_snapshot *s;
    expect_ok(naru_barrier_open(e.url, &o, &b));
    pid_t first = start_child(wait_for_all, &e);
    until(e.url, "waiters", 1);
    expect(seen(e.url, -1, "arrived") == 1 && seen(e.url, -1, "parties") == 3);
    expect_ok(naru_snapshot_take(e.url, &s));
    const struct naru_view_part *p = part_of(s, first);
    expect(p->wants && p->needs == 2 && p->others); /* the third has not opened it yet */
    expect(p->n_waits == 1 && p->waits[0].pid == getpid());
    naru_snapshot_free(s);
    pid_t second = start_child(wait_for_all, &e);
    until(e.url, "waiters", 2);
    expect_ok(naru_snapshot_take(e.url, &s));
    p = part_of(s, second);
    expect(p->needs == 1 && !p->others && p->n_waits == 1);
    naru_snapshot_free(s);
    expect_ok(naru_barrier_wait(b, PATIENCE));
    end_child(first);
    end_child(second);
    until(e.url, "waiters", 0);
    expect(seen(e.url, -1, "rounds") == 1);
    first = start_child(wait_for_all, &e);
    until(e.url, "waiters", 1);
    kill(first, SIGKILL);
    waitpid(first, NULL, 0);
    expect_code(-EOWNERDEAD, naru_barrier_wait(b, PATIENCE));
    word_is(e.url, "broken", "yes, by a death");
    expect(seen(e.url, -1, "dead_party") == (uint64_t)first);
    naru_barrier_close(b);
    expect_ok(naru_remove(e.url));
}

static void wait_plain(void *url)
{
    naru_semaphore *s = open_lock(url, 0, NARU_PLAIN);
    (void)naru_semaphore_wait(s, 1, NARU_FOREVER);
    raise(SIGKILL);
}

static void a_plain_one(void)
{
    const char *url = test_url("shm:%s/s");
    naru_snapshot *snapshot;
    naru_semaphore *s = open_lock(url, 0, NARU_PLAIN);
    pid_t child = start_child(wait_plain, (void *)(uintptr_t)url);
    until(url, "waiters", 1);
    expect_ok(naru_snapshot_take(url, &snapshot));
    const struct naru_view_part *p = part_of(snapshot, child);
    expect(p->wants && p->others && p->n_waits == 0); /* anybody may post */
    naru_snapshot_free(snapshot);
    expect_ok(naru_semaphore_post(s, 1));
    waitpid(child, NULL, 0);
    expect_ok(naru_semaphore_post(s, 5));
    expect(seen(url, -1, "value") == 5);
    naru_semaphore_close(s);
    expect_ok(naru_remove(url));
}

static void others_semaphores(void)
{
    char url[80], name[48];
    naru_snapshot *s;
    snprintf(name, sizeof name, "/naru-test-%d", getpid());
    sem_t *sem = sem_open(name, O_CREAT | O_EXCL, 0600, 7);
    expect(sem != SEM_FAILED);
    snprintf(url, sizeof url, "posix-sem:%s", name);
    expect(seen(url, -1, "value") == 7);
    sem_wait(sem);
    expect(seen(url, -1, "value") == 6);
    sem_unlink(name);
    sem_close(sem);
    expect_code(-ENOENT, naru_snapshot_take(url, &s));
    snprintf(url, sizeof url, "sysv-sem:0x%x", 0x6e000000 + getpid());
    expect_code(-ENOENT, naru_snapshot_take(url, &s));
    naru_semaphore *v = open_lock(url, 2, NARU_OWNED);
    expect(seen(url, -1, "value") == 2);
    expect_ok(naru_semaphore_acquire(v, 2, NARU_NOWAIT));
    expect(seen(url, -1, "last_changed_by") == (uint64_t)getpid());
    pid_t child = start_child(wait_plain, url);
    until(url, "waiters", 1);
    expect(seen(url, -1, "value") == 0);
    expect_ok(naru_semaphore_release(v, 1));
    waitpid(child, NULL, 0);
    naru_semaphore_close(v);
    expect_ok(naru_remove(url));
}

/* Each has one and waits for that of the next. */
static void who_waits_for_whom(void)
{
    enum { N = 3 };
    char url[N][200];
    struct wanting *w = shared_memory(N * sizeof *w);
    naru_semaphore *s[N];
    pid_t child[N];
    naru_snapshot *snapshot;
    for (int i = 0; i < N; i++) {
        snprintf(url[i], sizeof url[i], "%s-%d", test_url("shm:%s/s"), i);
        s[i] = open_lock(url[i], 1, NARU_OWNED);
    }
    for (int i = 0; i < N; i++) {
        w[i] = (struct wanting){.url = url[i], .second = url[(i + 1) % N], .n = 1};
        child[i] = start_child(want_more, &w[i]);
        while (!w[i].has)
            usleep(1000);
    }
    for (int i = 0; i < N; i++)
        w[i].go = 1;
    for (int i = 0; i < N; i++)
        until(url[i], "waiters", 1);
    expect_ok(naru_snapshot_waits(&snapshot));
    unsigned found = 0;
    const struct naru_view *v;
    for (size_t k = 0; (v = naru_snapshot_view(snapshot, k)); k++)
        for (int i = 0; i < N; i++)
            for (size_t p = 0; strcmp(v->url, url[i]) == 0 && p < v->n_parts; p++)
                if (v->parts[p]->wants) {
                    expect(v->parts[p]->pid == child[(i + N - 1) % N]);
                    expect(v->parts[p]->n_waits == 1 && v->parts[p]->waits[0].pid == child[i]);
                    found++;
                }
    expect(found == N);
    naru_snapshot_free(snapshot);
    for (int i = 0; i < N; i++) {
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
        naru_semaphore_close(s[i]);
        expect_ok(naru_remove(url[i]));
    }
}

/* ---- in regions ---- */

enum { GIB = 1 << 30, LOCK_BYTES = NARU_OBJECT_MEMBERS_AT + 64 * 128 };

static naru_region *region_of(const char *url, size_t bytes)
{
    naru_region *r;
    expect_ok(naru_region_create(url, bytes, NULL, &r));
    return r;
}

static const struct naru_view *view_of(const naru_snapshot *s, const char *url)
{
    const struct naru_view *v;
    for (size_t i = 0; (v = naru_snapshot_view(s, i)); i++)
        if (strcmp(v->url, url) == 0)
            return v;
    test_failed(__FILE__, __LINE__, "there is no view \"%s\"", url);
}

static size_t views_of(const char *url)
{
    naru_snapshot *s;
    size_t n = 0;
    expect_ok(naru_snapshot_take(url, &s));
    while (naru_snapshot_view(s, n))
        n++;
    naru_snapshot_free(s);
    return n;
}

static void locks_in_a_region(void)
{
    const char *url = test_url("shm:%s/region");
    char name[300];
    naru_region *r = region_of(url, 1 << 20);
    naru_mutex *m;
    naru_event *e;
    naru_barrier *b;
    naru_snapshot *s;
    char *data = naru_region_data(r);
    struct naru_barrier_options parties = {sizeof parties, .parties = 2};
    expect(views_of(url) == 1);
    expect_ok(naru_mutex_at(r, 384, NULL, &m));
    expect_ok(naru_event_at(r, 384 + LOCK_BYTES, NULL, &e)); /* right behind it */
    expect_ok(naru_barrier_at(r, (1 << 20) - LOCK_BYTES, &parties, &b));
    naru_event_close(e); /* nobody takes part in it any more */
    expect_ok(naru_mutex_lock(m, NARU_NOWAIT));
    memcpy(data + 512 * 1024 + 128, data + 384, 8); /* a header by its first word alone */
    memcpy(data + 600 * 1024 + 8, data + 384, sizeof(struct naru_object_meta)); /* not aligned */
    expect_ok(naru_snapshot_take(url, &s));
    const struct naru_view *v = view_of(s, url);
    expect(number(v->facts, v->n_facts, "locks") == 3);
    expect(v->n_parts == 1 && strcmp(v->noun, "region") == 0);
    snprintf(name, sizeof name, "%s at 384", url);
    v = view_of(s, name);
    expect(strcmp(v->noun, "mutex") == 0 && v->n_parts == 1 && v->parts[0]->pid == getpid());
    expect(number(v->parts[0]->facts, v->parts[0]->n_facts, "owns") == 1);
    snprintf(name, sizeof name, "%s at %d", url, 384 + LOCK_BYTES);
    v = view_of(s, name);
    expect(strcmp(v->noun, "event") == 0 && v->n_parts == 0);
    snprintf(name, sizeof name, "%s at %d", url, (1 << 20) - LOCK_BYTES);
    v = view_of(s, name);
    expect(strcmp(v->noun, "barrier") == 0 && v->n_parts == 1);
    expect(naru_snapshot_view(s, 4) == NULL);
    naru_snapshot_free(s);
    /* a damaged one hides no other */
    memset(data + 384 + NARU_OBJECT_STATE_AT, 0xff, NARU_OBJECT_MEMBERS_AT - NARU_OBJECT_STATE_AT);
    expect(views_of(url) == 4);
    _exit(naru_remove(url) < 0); /* what it has mapped is not to be believed any more */
}

/* Ten GiB in which nearly nothing is: what holds nothing costs nothing. */
static void locks_in_a_large_region(void)
{
    const char *url = test_url("map:%s/large");
    char name[300];
    naru_mutex *m[2];
    naru_snapshot *s;
    int fd = open(strchr(url, ':') + 1, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    expect(fd >= 0 && ftruncate(fd, (off_t)10 * GIB) == 0);
    close(fd);
    naru_region *r;
    expect_ok(naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &r));
    expect_ok(naru_mutex_at(r, 3 * (size_t)GIB, NULL, &m[0]));
    expect_ok(naru_mutex_at(r, 9 * (size_t)GIB + 128, NULL, &m[1]));
    naru_mutex_close(m[0]);
    int64_t begin = test_now();
    expect_ok(naru_snapshot_take(url, &s));
    printf("# a look into 10 GiB with holes: %.1f ms\n", (double)(test_now() - begin) / 1e6);
    const struct naru_view *v = view_of(s, url);
    expect(number(v->facts, v->n_facts, "locks") == 2);
    snprintf(name, sizeof name, "%s at %zu", url, 3 * (size_t)GIB);
    expect(view_of(s, name)->n_parts == 0);
    snprintf(name, sizeof name, "%s at %zu", url, 9 * (size_t)GIB + 128);
    expect(view_of(s, name)->n_parts == 1);
    naru_snapshot_free(s);
    naru_mutex_close(m[1]);
    naru_region_close(r);
    expect_ok(naru_remove(url));
}

struct spot { /* has the semaphore there, and wants the next one's */
    char url[200];
    size_t at;
    naru_region *region;
    struct spot *next;
    _Atomic int has, *go;
};

static naru_semaphore *semaphore_of(struct spot *p)
{
    naru_semaphore *s;
    struct naru_semaphore_options o = {sizeof o, .value = 1};
    naru_region *r = p->region;
    if (!r) {
        expect_ok(naru_semaphore_open(p->url, &o, &s));
        return s;
    }
    if (strcmp(p->url, "shm:") == 0)
        expect_ok(naru_adopt(r));
    else
        expect_ok(naru_region_open(p->url, NARU_READ | NARU_WRITE, NULL, &r));
    expect_ok(naru_semaphore_at(r, p->at, &o, &s));
    return s;
}

static void have_and_want(void *context)
{
    struct spot *p = context;
    naru_semaphore *own = semaphore_of(p), *other = semaphore_of(p->next);
    expect_ok(naru_semaphore_acquire(own, 1, PATIENCE));
    p->has = 1;
    while (!*p->go)
        usleep(1000);
    (void)naru_semaphore_acquire(other, 1, NARU_FOREVER);
    raise(SIGKILL);
}

/* A circle of a region on disk, one in memory with a name, one without, and a file of its own. */
static void who_waits_in_regions(void)
{
    enum { N = 4 };
    struct spot *p = shared_memory((N + 1) * sizeof *p);
    pid_t child[N];
    char name[300];
    snprintf(p[0].url, sizeof p[0].url, "%s", test_url("map:%s/region"));
    snprintf(p[1].url, sizeof p[1].url, "%s", test_url("shm:%s/named"));
    snprintf(p[2].url, sizeof p[2].url, "shm:");
    snprintf(p[3].url, sizeof p[3].url, "%s", test_url("map:%s/file"));
    for (int i = 0; i < N; i++) {
        p[i].at = (size_t)i * 128;
        p[i].region = i < 3 ? region_of(p[i].url, 1 << 20) : NULL;
        p[i].next = &p[(i + 1) % N];
        p[i].go = &p[N].has;
    }
    for (int i = 0; i < N; i++) {
        child[i] = start_child(have_and_want, &p[i]);
        while (!p[i].has)
            usleep(1000);
    }
    p[N].has = 1;
    int64_t end = test_now() + PATIENCE;
    for (unsigned found = 0; found < N;) {
        naru_snapshot *s;
        expect(test_now() < end);
        expect_ok(naru_snapshot_waits(&s));
        found = 0;
        for (int i = 0; i < N; i++) {
            snprintf(name, sizeof name, i < 3 ? "%s at %zu" : "%s", p[i].url, p[i].at);
            const struct naru_view *v = view_of(s, name);
            for (size_t k = 0; k < v->n_parts; k++)
                if (v->parts[k]->wants && v->parts[k]->n_waits) {
                    expect(v->parts[k]->pid == child[(i + N - 1) % N]);
                    expect(v->parts[k]->waits[0].pid == child[i]);
                    found++;
                }
        }
        naru_snapshot_free(s);
    }
    for (int i = 0; i < N; i++) {
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
        naru_region_close(p[i].region);
        if (i != 2)
            expect_ok(naru_remove(p[i].url));
    }
}

static void sender_waits_for_receiver(void)
{
    const char *url = test_url("shm:%s/queue");
    const struct naru_queue_options o = {.size = sizeof o, .messages = 15};
    naru_channel *out, *in;
    naru_snapshot *s;
    expect_ok(naru_queue_open(url, NARU_RECV, &o, &in));
    pid_t child = fork();
    expect(child >= 0);
    if (child == 0) {
        expect_ok(naru_queue_open(url, NARU_SEND, NULL, &out));
        for (;;)
            (void)naru_channel_send(out, 1, "x", 1, NARU_FOREVER);
    }
    int64_t end = test_now() + PATIENCE;
    for (bool found = false; !found;) {
        expect(test_now() < end);
        expect_ok(naru_snapshot_take(url, &s));
        const struct naru_view *v = naru_snapshot_view(s, 0);
        for (size_t i = 0; i < v->n_parts; i++)
            if (v->parts[i]->pid == child && v->parts[i]->wants) {
                found = true;
                expect(strcmp(v->parts[i]->wants, "room for a message") == 0);
                expect(v->parts[i]->n_waits == 1 && v->parts[i]->waits[0].pid == getpid());
            }
        naru_snapshot_free(s);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    naru_channel_close(in);
    expect_ok(naru_remove(url));
}

/* ---- damaged memory (hostile-looking.c goes on with it) ---- */

static void look_at_all(const char *url)
{
    naru_snapshot *s;
    naru_peek *p;
    struct naru_message m;
    int r = naru_snapshot_take(url, &s);
    if (r == 0)
        naru_snapshot_free(s);
    expect(r == 0 || r == -EPROTO || r == -EIO);
    r = naru_peek_open(url, &p);
    expect(r == 0 || r == -EPROTO || r == -EIO);
    if (r < 0)
        return;
    for (int i = 0; i < 1000 && (r = naru_peek_next(p, 0, &m)) != 0; i++)
        for (size_t k = 0; r > 0 && k < m.size; k += 64)
            (void)*(volatile char *)((char *)m.data + k);
    naru_peek_close(p);
}

/* Each word of each file's head set to what it must not be. */
static void damaged(const char *form, bool topic, const char *const *files)
{
    static const uint64_t evil[] = {0, 1, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(0x7fffffff),
                                    UINT64_C(0x7fffffff00000001), 4096};
    const char *url = test_url(form);
    char path[300];
    naru_channel *both;
    expect_ok(topic ? naru_topic_open(url, NARU_SEND | NARU_RECV, NULL, &both)
                    : naru_queue_open(url, NARU_SEND | NARU_RECV, NULL, &both));
    send_types(both, "123");
    static const char zeros[200000];
    expect_ok(naru_channel_send(both, 4, zeros, 9000, PATIENCE));
    expect_ok(naru_channel_send(both, 5, zeros, sizeof zeros, PATIENCE));
    for (; *files; files++) {
        snprintf(path, sizeof path, "%s/%s", strchr(url, ':') + 1, *files);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        expect(fd >= 0);
        for (off_t at = 0; at < 5200; at += at >= 400 && at < 4096 ? 512 : 8)
            for (size_t i = 0; i < sizeof evil / sizeof *evil; i++) {
                uint64_t was;
                if (pread(fd, &was, sizeof was, at) != sizeof was)
                    continue;
                expect(pwrite(fd, &evil[i], sizeof evil[i], at) == sizeof evil[i]);
                look_at_all(url);
                expect(pwrite(fd, &was, sizeof was, at) == sizeof was);
            }
        close(fd);
    }
    naru_channel_close(both);
    expect_ok(naru_remove(url));
}

static void a_damaged_queue(void)
{
    damaged("shm:%s/queue", false, (const char *const[]){"meta", "lane-0", "claims-0", NULL});
}

static void a_damaged_topic(void)
{
    damaged("shm:%s/topic", true, (const char *const[]){"meta", "lane-0", "cursor-0", NULL});
}

static void a_damaged_journal(void)
{
    damaged("map:%s/journal", false,
            (const char *const[]){"meta", "segment-0000000001", "cursor-default", NULL});
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"what a queue has", a_queue},
        {"held while the sender goes round", held_while_the_sender_goes_round},
        {"what a topic has", a_topic},
        {"what a journal has", a_journal},
        {"files on map:", files},
        {"the dead are collected", the_dead_are_collected},
        {"what a semaphore has", a_semaphore},
        {"a dead owner", a_dead_owner},
        {"a plain semaphore", a_plain_one},
        {"mutexes", mutexes},
        {"readers and writers", rwlocks},
        {"events", events},
        {"barriers", barriers},
        {"libc's and the kernel's semaphores", others_semaphores},
        {"who waits for whom", who_waits_for_whom},
        {"locks in a region", locks_in_a_region},
        {"locks in a large region", locks_in_a_large_region},
        {"who waits in regions", who_waits_in_regions},
        {"a sender waits for a receiver", sender_waits_for_receiver},
        {"a damaged queue", a_damaged_queue},
        {"a damaged topic", a_damaged_topic},
        {"a damaged journal", a_damaged_journal},
    };
    return run_cases(cases, sizeof cases / sizeof *cases, argc, argv);
}
