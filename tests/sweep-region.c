/* SPDX-License-Identifier: MIT */
/* sweep-region.c - the n-th failure, for every n, of regions: as sweep.c, each system call and each
 * allocation of an operation fails with each errno that it can give, once and from then on.
 *
 * The operation then succeeds, or returns a negative code with a sentence, leaves its
 * out-parameters alone and no region that it made, and closes without a leak. What failed to grow
 * has the size that it had, and the next who makes and removes one leaves nothing behind. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sweep-codes.h"

#include <naru/naru.h>

enum { UNNAMED, SHM, POSIX, SYSV, MAP, FORMS };
enum { RW = NARU_READ | NARU_WRITE, SIZE = 10000, RESERVE = 100000 };

static const char *const form_name[] = {"shm:", "shm:name", "posix-shm:", "sysv-shm:", "map:"};
static char disk[200]; /* where map:'s files lie */
static char directory[] = "/dev/shm/naru-sweep-XXXXXX";

/* ---- what the operations work on ---- */

static struct {
    int form;
    naru_region *r, *made; /* prepared; by the operation */
    int fd, got;           /* shared; by the operation */
    char url[220];
} w;

static void name_it(int form)
{
    w.form = form;
    w.fd = w.got = -1;
    if (form == SHM)
        snprintf(w.url, sizeof w.url, "shm:%s/r", directory);
    else if (form == MAP)
        snprintf(w.url, sizeof w.url, "map:%s/r", disk);
    else if (form == POSIX)
        snprintf(w.url, sizeof w.url, "posix-shm:/%s-r", strrchr(directory, '/') + 1);
    else
        snprintf(w.url, sizeof w.url, form == SYSV ? "sysv-shm:%s#5" : "shm:", directory);
}

static struct naru_region_options options_of(void)
{
    struct naru_region_options o = {.size = sizeof o};
    o.reserve = w.form == SYSV ? 0 : RESERVE;
    o.signature = w.form == POSIX || w.form == SYSV ? 0 : 9;
    return o;
}

static void nothing(void)
{
}

static void opened(void)
{
    struct naru_region_options o = options_of();
    need(naru_region_create(w.url, SIZE, &o, &w.r));
    need(naru_region_write(w.r, 0, "before", 7));
}

static void there(void)
{
    opened();
    w.r = naru_region_close(w.r);
}

static void handed_over(void)
{
    opened();
    need(naru_region_share(w.r, RW, &w.fd));
}

static void handed_for_reading(void)
{
    opened();
    need(naru_region_share(w.r, NARU_READ, &w.fd));
}

/* ---- the operations ---- */

static long made(long r, naru_region *region)
{
    wrong_if(r < 0 && region != POISON, "an out-parameter was touched");
    if (r >= 0)
        w.made = region;
    return r;
}

static long create_with(unsigned flags, mode_t mode)
{
    naru_region *r = POISON;
    struct naru_region_options o = options_of();
    o.flags = flags;
    o.mode = w.form == UNNAMED ? 0 : mode;
    long code = naru_region_create(w.url, SIZE, &o, &r);
    return made(code, r);
}
static long create(void)
{
    return create_with(0, 0);
}
static long create_locked(void)
{
    return create_with(NARU_LOCKED | NARU_PREFAULT, 0640);
}
static long create_huge(void)
{
    naru_region *r = POISON;
    struct naru_region_options o = {.size = sizeof o, .flags = NARU_HUGE};
    long code = naru_region_create(w.url, 3 << 20, &o, &r);
    made(code, r);
    return code == -EOPNOTSUPP && hook->at < 0 ? 0 : code; /* this machine has none */
}
static long create_agreeing(void)
{
    return create_with(0, 0600);
}

static long open_for(int access)
{
    naru_region *r = POISON;
    struct naru_region_options o = options_of();
    o.bytes = SIZE;
    long code = naru_region_open(w.url, access, &o, &r);
    made(code, r);
    disarm();
    wrong_if(code >= 0 && strcmp(naru_region_data(r), "before") != 0, "another one came");
    return code;
}
static long open_to_write(void)
{
    return open_for(RW);
}
static long open_to_read(void)
{
    return open_for(NARU_READ);
}

static long from_fd(int access)
{
    naru_region *r = POISON;
    struct naru_region_options o = options_of();
    long code = naru_region_from_fd(w.fd, access, &o, &r);
    return made(code, r);
}
static long from_fd_to_write(void)
{
    return from_fd(RW);
}
static long from_fd_to_read(void)
{
    return from_fd(NARU_READ);
}

static long share_for(int access)
{
    int fd = -77;
    long r = naru_region_share(w.r, access, &fd);
    wrong_if(r < 0 && fd != -77, "an out-parameter was touched");
    if (r >= 0)
        w.got = fd;
    return r;
}
static long share_to_write(void)
{
    return share_for(RW);
}
static long share_to_read(void)
{
    return share_for(NARU_READ);
}

static long grow(void)
{
    long r = naru_region_grow(w.r, 50000);
    disarm();
    size_t size = naru_region_size(w.r);
    wrong_if(size != (r < 0 ? SIZE : 50000), "it has another size");
    wrong_if(strcmp(naru_region_data(w.r), "before") != 0, "it has other bytes");
    return r;
}

static long read_it(void)
{
    char got[7] = "";
    long r = naru_region_read(w.r, 0, got, 7);
    wrong_if(r >= 0 && strcmp(got, "before") != 0, "other bytes came");
    return r;
}

static long write_it(void)
{
    long r = naru_region_write(w.r, 100, "after", 6);
    wrong_if(r >= 0 && strcmp((char *)naru_region_data(w.r) + 100, "after") != 0,
             "nothing was written");
    return r;
}

static long size_of_it(void)
{
    size_t n = naru_region_size(w.r);
    wrong_if(n != 0 && n != SIZE, "it has another size");
    return n == 0 ? -EIO : 0;
}

static long shrink(void)
{
    long r = naru_region_shrink(w.r, 5000);
    disarm();
    size_t size = naru_region_size(w.r);
    wrong_if(size != (r < 0 ? SIZE : 5000), "it has another size");
    wrong_if(strcmp(naru_region_data(w.r), "before") != 0, "it has other bytes");
    return r;
}

static long sync_it(int how)
{
    long r = naru_region_sync(w.r, 0, SIZE, how);
    return r == -EOPNOTSUPP && hook->at < 0 ? 0 : r; /* these files lie in memory */
}
static long sync_async(void)
{
    return sync_it(NARU_SYNC_ASYNC);
}
static long sync_data(void)
{
    return sync_it(NARU_SYNC_DATA);
}
static long sync_full(void)
{
    return sync_it(NARU_SYNC_FULL);
}

static void opened_private(void)
{
    struct naru_region_options o = {.size = sizeof o, .flags = NARU_PRIVATE};
    there();
    need(naru_region_open(w.url, RW, &o, &w.r));
}

static long open_private(void)
{
    naru_region *r = POISON;
    struct naru_region_options o = {.size = sizeof o, .flags = NARU_PRIVATE};
    long code = naru_region_open(w.url, RW, &o, &r);
    return made(code, r);
}

static long advise(void)
{
    return naru_region_advise(w.r, 0, SIZE, NARU_ADVICE_FREE);
}

static long remove_it(void)
{
    long r = naru_remove(w.url);
    disarm();
    naru_region *again;
    bool told_so = w.form == SHM && strcmp(hook->call, "open") == 0; /* ENOENT: it is gone */
    if (r >= 0 && !told_so) {
        wrong_if(naru_region_open(w.url, NARU_READ, NULL, &again) != -ENOENT, "it is there still");
    } else if (naru_region_open(w.url, NARU_READ, NULL, &again) == 0) {
        wrong_if(strcmp(naru_region_data(again), "before") != 0, "it is there in part");
        naru_region_close(again);
    }
    return r;
}

static long look(void)
{
    naru_snapshot *s = POISON;
    long r = naru_snapshot_take(w.url, &s);
    wrong_if(r < 0 && s != POISON, "an out-parameter was touched");
    if (r >= 0)
        naru_snapshot_free(s);
    return r;
}

enum { ALL = 31, NAMES = 30, FILES = 23, ON_DISK = 1 << MAP };
static const struct operation {
    const char *name;
    void (*prepare)(void);
    long (*run)(void);
    int forms;   /* bits */
    int creates; /* bits */
    int silent;  /* bits: no call that could fail */
    int most;    /* of its calls; 0: all */
} operations[] = {
    {"create", nothing, create, ALL, NAMES, 0, 0},
    {"create locked and prefaulted", nothing, create_locked, ALL, NAMES, 0, 0},
    {"create huge", nothing, create_huge, ALL, NAMES, 0, 0},
    {"create agreeing", there, create_agreeing, NAMES, 0, 0, 0},
    {"open to write", there, open_to_write, NAMES, 0, 0, 0},
    {"open to read", there, open_to_read, NAMES, 0, 0, 0},
    {"from_fd to write", handed_over, from_fd_to_write, 1, 0, 0, 0},
    {"from_fd to read", handed_for_reading, from_fd_to_read, 1, 0, 0, 0},
    {"share to write", opened, share_to_write, FILES, 0, 0, 0},
    {"share to read", opened, share_to_read, 1, 0, 0, 0},
    {"share to read again", handed_for_reading, share_to_read, 1, 0, 0, 0},
    {"grow", opened, grow, FILES, 0, 0, 0},
    {"read", opened, read_it, ALL, 0, 1 << SYSV, 0},
    {"write", opened, write_it, ALL, 0, 1 << SYSV, 0},
    {"write what is sealed for readers", handed_for_reading, write_it, 1, 0, 0, 0},
    {"size", opened, size_of_it, ALL, 0, 1 << SYSV, 0},
    {"advise", opened, advise, ALL, 0, 0, 0},
    {"shrink", opened, shrink, ON_DISK, 0, 0, 0},
    {"sync async", opened, sync_async, ON_DISK, 0, 0, 0},
    {"sync data", opened, sync_data, ON_DISK, 0, 0, 0},
    {"sync full", opened, sync_full, ON_DISK, 0, 0, 0},
    {"open private", there, open_private, ON_DISK, 0, 0, 0},
    {"read private", opened_private, read_it, ON_DISK, 0, 0, 0},
    {"write private", opened_private, write_it, ON_DISK, 0, 0, 0},
    {"look", opened, look, 1 << POSIX | 1 << SYSV | ON_DISK, 0, 0,
     20}, /* then process by process */
    {"remove", there, remove_it, NAMES, 0, 0, 0},
};

/* ---- the sweep ---- */

static int left_in(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static int left_behind(void)
{
    return left_in(directory) + left_in(disk);
}

static void clean_up(bool failed, const struct operation *o)
{
    naru_region *again;
    naru_region_close(w.made);
    naru_region_close(w.r);
    if (w.fd >= 0)
        close(w.fd);
    if (w.got >= 0)
        close(w.got);
    if (w.form == UNNAMED)
        return;
    /* taking an object back takes a dozen calls: not where one fails for ever */
    bool taken_back = !hook->removal_failed && !(w.form == SHM && hook->for_ever);
    if (failed && o->creates >> w.form & 1 && taken_back &&
        naru_region_open(w.url, NARU_READ, NULL, &again) == 0) {
        wrong_if(true, "a region that the failed call made is left");
        naru_region_close(again);
    }
    (void)naru_remove(w.url);
    /* who was stopped on the way is cleaned up after by the next */
    need(naru_region_create(w.url, SIZE, NULL, &again));
    naru_region_close(again);
    need(naru_remove(w.url));
    wrong_if(left_behind() > 0, "files are left");
}

/* One point. False: there is no such call any more. */
static bool point(const struct operation *o, int form, int at, int code, bool for_ever,
                  long *ret_points)
{
    int before = open_descriptors();
    char why[300];
    memset(&w, 0, sizeof w);
    wrong = NULL;
    name_it(form);
    o->prepare();
    *hook = (struct hook){.at = at, .code = code, .for_ever = for_ever};
    alarm(3 * PATIENCE / NARU_S);
    arm();
    long r = o->run();
    disarm();
    alarm(0);
    snprintf(why, sizeof why, "%s", naru_why());
    wrong_if(r < 0 && !*why, "no sentence");
    wrong_if(r < -4095, "no errno");
    wrong_if(hook->unlisted, "a call that the table has no errno for");
    clean_up(r < 0, o);
    wrong_if(open_descriptors() != before, "descriptors leaked");
    bool reached = hook->count > at, counts = at >= 0 && reached && !hook->missed;
    *ret_points += counts;
    wrong_if(at < 0 && r < 0, "it fails by itself");
    if (wrong && (counts || at < 0)) {
        print_message("# %s %s: call %d (%s), errno number %d%s, result %ld: %s; \"%s\"\n", w.url,
                      o->name, at, hook->call, code, for_ever ? ", for ever" : "", r, wrong, why);
        fail();
    }
    return at < 0 ? hook->count > 0 : reached;
}

static void sweep(void **state)
{
    const struct operation *o = *state;
    for (int form = 0; form < FORMS; form++) {
        long points = 0;
        if (!(o->forms >> form & 1))
            continue;
        int most = o->most ? o->most : CALLS_MAX;
        bool calls = point(o, form, -1, 0, false, &points);
        for (int mode = 0; mode < 2 && calls; mode++)
            for (int at = 0, reached = 1; reached; at++)
                for (int code = reached = 0; code < CODES_MAX && at < most; code = next_code(code))
                    reached |= point(o, form, at, code, mode == 1, &points);
        print_message("# %s %s: %ld points\n", form_name[form], o->name, points);
        assert_int_equal(points > 0, !(o->silent >> form & 1));
    }
}

int main(void)
{
    enum { N = sizeof operations / sizeof *operations };
    static struct CMUnitTest tests[N];
    const char *base = getenv("TMPDIR");
    snprintf(disk, sizeof disk, "%.150s/naru-sweep-XXXXXX", base ? base : "/var/tmp");
    if (!mkdtemp(directory) || !mkdtemp(disk))
        return 1;
    for (size_t i = 0; i < N; i++) {
        const struct operation *o = &operations[i];
        tests[i] = (struct CMUnitTest){o->name, sweep, NULL, NULL, (void *)(uintptr_t)o};
    }
    cmocka_set_message_output(CM_OUTPUT_TAP);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    rmdir(disk);
    return failed;
}
