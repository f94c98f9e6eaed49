/* SPDX-License-Identifier: MIT */
/* sample.c - a small shared ring with competing receivers, by which the rig itself is tested.
 *
 * One sender, two receivers. A slot's stamp is its sequence number plus one: the last store of a
 * send. A receiver claims the ring with its number, reads the slot at the cursor, moves the cursor,
 * and lets go. Each participant holds a byte lock of the file for life; a claim whose holder's byte
 * is free is taken over, and the message at the cursor is then marked redelivered.
 *
 * Flaws that can be planted: each is one that a ring without such care would have. */
#include "rig.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOTS = 8, SIZE = 40 };

struct slot {
    _Atomic uint64_t stamp;
    unsigned char data[SIZE];
};

struct ring {
    _Atomic uint64_t cursor; /* receivers' */
    _Atomic uint64_t claim;  /* 0, or the receiver's number plus one */
    _Atomic uint64_t sent;   /* sender's */
    struct slot slot[SLOTS];
};

struct end {
    int fd;
    struct ring *ring;
};

static const char *const operations[] = {"send", "recv", NULL};
static const char *const states[] = {"empty", "full", "wrapped", "contended", NULL};
static const char *const rooms[] = {"/tests/crash/sample.c", NULL};
static const struct flaw flaws[] = {
    {"acknowledge-before-publish", 1 << IMAGES | 1 << KILLS},
    {"publish-before-fill", 1 << IMAGES | 1 << KILLS},
    {"clean-without-check", 1 << PAUSES},
    {"clean-in-two-steps", 1 << CLEANER},
    {"stamp-reused", 1 << IMAGES},
    {"lock-inherited", 1 << KILLS},
    {NULL, 0},
};

static bool has(const struct world *w, const char *flaw)
{
    return w->flaw && strcmp(w->flaw, flaw) == 0;
}

/* ---- the ring ---- */

static bool ring_send(struct world *w, struct end *e, unsigned id)
{
    struct ring *r = e->ring;
    /* pairs with the receivers' store: their reading of the slot is over */
    uint64_t at = atomic_load_explicit(&r->sent, memory_order_relaxed);
    if (at - atomic_load_explicit(&r->cursor, memory_order_acquire) == SLOTS)
        return false;
    struct slot *slot = &r->slot[at % SLOTS];
    uint64_t stamp = has(w, "stamp-reused") ? 1 : at + 1;
    bool early = has(w, "publish-before-fill");
    if (has(w, "acknowledge-before-publish"))
        log_sent(w, id);
    if (early)
        atomic_store_explicit(&slot->stamp, stamp, memory_order_release);
    message_fill(slot->data, SIZE, id);
    if (!early) /* pairs with the load in ring_recv */
        atomic_store_explicit(&slot->stamp, stamp, memory_order_release);
    atomic_store_explicit(&r->sent, at + 1, memory_order_relaxed);
    return true;
}

/* A sender died between stamp and count: what is stamped was sent. */
static void ring_adopt(struct end *e)
{
    uint64_t at = atomic_load_explicit(&e->ring->sent, memory_order_relaxed);
    if (e->ring->slot[at % SLOTS].stamp == at + 1)
        atomic_store_explicit(&e->ring->sent, at + 1, memory_order_relaxed);
}

/* A record lock is the process's alone; one on the description stays with a forked child. */
static bool alive(const struct world *w, const struct end *e, int who)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = who, .l_len = 1};
    int how = has(w, "lock-inherited") ? F_OFD_GETLK : F_GETLK;
    return fcntl(e->fd, how, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool holder_dead(const struct world *w, const struct end *e, uint64_t holder)
{
    return has(w, "clean-without-check") || !alive(w, e, (int)holder - 1);
}

/* The claim: 1 taken, 2 taken over from the dead, 0 another's. */
static int ring_claim(struct world *w, struct end *e, int who)
{
    uint64_t held = 0, mine = (uint64_t)who + 1;
    if (atomic_compare_exchange_strong(&e->ring->claim, &held, mine))
        return 1;
    if (!holder_dead(w, e, held))
        return 0;
    if (has(w, "clean-in-two-steps")) {
        atomic_store(&e->ring->claim, 0);
        held = 0;
    }
    return atomic_compare_exchange_strong(&e->ring->claim, &held, mine) ? 2 : 0;
}

/* 1 a message, 0 nothing there, -1 another has the claim. */
static int ring_recv(struct world *w, struct end *e, int who)
{
    struct ring *r = e->ring;
    int how = ring_claim(w, e, who), got = 0;
    if (how == 0)
        return -1;
    uint64_t at = atomic_load_explicit(&r->cursor, memory_order_relaxed); /* the claim's holder's */
    struct slot *slot = &r->slot[at % SLOTS];
    bool reused = has(w, "stamp-reused");
    /* pairs with the store in ring_send */
    if (atomic_load_explicit(&slot->stamp, memory_order_acquire) == (reused ? 1 : at + 1)) {
        int id = message_id(slot->data, SIZE);
        if (id < 0)
            failed(w, "the message at %llu is garbled", (unsigned long long)at);
        log_got(w, (unsigned)id, how == 2);
        atomic_store_explicit(&r->cursor, at + 1, memory_order_release);
        if (reused)
            atomic_store_explicit(&slot->stamp, 0, memory_order_relaxed);
        got = 1;
    }
    atomic_store_explicit(&r->claim, 0, memory_order_release);
    return got;
}

/* ---- the scenario ---- */

static void send_logged(struct world *w, struct end *e, unsigned id)
{
    log_sending(w, id);
    if (ring_send(w, e, id))
        log_sent(w, id);
}

static void prepare(struct world *w)
{
    struct end *e = calloc(1, sizeof *e);
    e->fd = memfd_create("crash-sample", MFD_CLOEXEC);
    if (ftruncate(e->fd, sizeof *e->ring) != 0)
        failed(w, "no memory for the ring");
    e->ring = mmap(NULL, sizeof *e->ring, PROT_READ | PROT_WRITE, MAP_SHARED, e->fd, 0);
    w->object = e;
    unsigned n = w->state == 0 ? 0 : w->state == 1 ? SLOTS : w->state == 2 ? SLOTS + 3 : 3;
    for (unsigned id = 0; id < n; id++) {
        send_logged(w, e, id);
        if (w->state == 2)
            ring_recv(w, e, 1);
    }
    for (unsigned id = n; w->state == 2 && id < n + 3; id++)
        send_logged(w, e, id);
    if (w->state == 3)
        e->ring->claim = 100; /* whoever that was is gone */
}

static void attach(struct world *w, int who)
{
    struct end *e = w->object;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", e->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    close(e->fd);
    e->fd = fd;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = who, .l_len = 1};
    if (fcntl(fd, has(w, "lock-inherited") ? F_OFD_SETLK : F_SETLK, &lock) != 0)
        failed(w, "no lock");
}

static void operate(struct world *w)
{
    struct end *e = w->object;
    if (w->operation == 0) {
        for (unsigned id = 100; id < 102; id++)
            send_logged(w, e, id);
        return;
    }
    for (int i = 0; i < 2; i++) {
        log_consuming(w, 1);
        ring_recv(w, e, 0);
        log_consuming(w, 0);
    }
}

/* Till nothing is left and nobody is there who could bring anything: the subject, and of two
 * receivers the one that may still hold a message. */
static void drain(struct world *w, struct end *e, int who)
{
    for (int got;;) {
        bool others = !w->image && (alive(w, e, 0) || (who == 2 && alive(w, e, 1)));
        while ((got = ring_recv(w, e, who)) == 1)
            going_on(w, who);
        if (got == 0 && !others)
            return;
        usleep(100);
    }
}

static void survive(struct world *w, int who, enum fate fate)
{
    struct end *e = w->object;
    if (fate == PAUSED) {
        for (int i = 0; i < 2 * SLOTS; i++)
            if (ring_recv(w, e, who) < 0)
                usleep(10);
        return;
    }
    if (who != 0) {
        ring_adopt(e);
        drain(w, e, who);
    }
    munmap(e->ring, sizeof *e->ring);
    close(e->fd);
}

const struct scenario sample_scenario = {
    .name = "sample",
    .operations = operations,
    .states = states,
    .rooms = rooms,
    .flaws = flaws,
    .participants = 3,
    .prepare = prepare,
    .attach = attach,
    .operate = operate,
    .survive = survive,
};
