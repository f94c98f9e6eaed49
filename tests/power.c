/* SPDX-License-Identifier: MIT */
/* power.c - what the loss of power leaves of a journal: a real ext4 on a loop device, senders at
 * work, then the file system's shutdown without a flush of its log, a new mount, and a look.
 *
 *   power [--rounds N] [--seed S] | CASE
 *
 * Each synced message has to be there; nothing may be there that nobody sent; a torn tail is cut. A
 * sender that syncs after the shutdown is told -EIO, and so is the next. Two of three journals keep
 * their last megabyte alone, so that old segments go, and their files become new ones, while the
 * youngest are in memory alone: then a megabyte has to be there, and what was synced last. In one
 * of these nobody syncs, so nothing need be there; but it opens, and goes on behind all that was
 * sent. In half of the rounds all names are on the medium when the power goes.
 *
 * And a medium that refuses for a while: blocks of an image in memory that is full. */
#include "harness.h"

#include "transport/map/map.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t) /* fs/ext4/ext4.h */
enum { NO_LOG_FLUSH = 2, SENDERS = 3, SEGMENT = 64 << 10, KEEP = 1 << 20, JOURNAL = 20 };

static unsigned long rounds = 200;
static uint64_t seed = 1;
static char image[180], mount_point[160], url[200];
static uint64_t keep; /* bytes, of the journal of these rounds; 0: all */
static bool syncs;    /* does anybody, in these rounds? */
static uint64_t oldest = 1; /* the first sequence after the last loss */

/* What the senders say, in memory that no disk backs. */
static struct {
    _Atomic uint64_t begun[SENDERS], synced[SENDERS], sequence[SENDERS]; /* of that one */
    _Atomic uint64_t last[SENDERS];                                      /* sequence */
    _Atomic uint32_t refused, cut;
    unsigned torn, unbegun, empty; /* how often */
    _Atomic int odd; /* an error that is not the medium's */
    char why[300];
} * said;

static bool run(const char *command)
{
    int status = system(command);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool mount_it(void)
{
    char command[400];
    snprintf(command, sizeof command, "mount -o loop '%s' '%s' 2>/dev/null", image, mount_point);
    return run(command);
}

static uint64_t next_random(void)
{
    uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

struct message {
    uint64_t sender, number, check;
    char more[2000];
};

static uint64_t check_of(uint64_t sender, uint64_t number)
{
    return (sender * 1000003 + number) * UINT64_C(0x9e3779b97f4a7c15);
}

static void say(int code)
{
    snprintf(said->why, sizeof said->why, "%s", naru_why());
    atomic_store(&said->odd, code);
}

/* The first syncs each, the second every now and then, the third never. */
static _Noreturn void sender(uint64_t me)
{
    struct naru_journal_options j = {
        .size = sizeof j, .sync = me == 0 && syncs ? NARU_SYNC_EACH : 0, .keep_bytes = keep};
    struct naru_queue_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    struct message m = {.sender = me};
    naru_channel *c;
    signal(SIGBUS, SIG_DFL);
    int opened = naru_queue_open(url, NARU_SEND, &o, &c);
    if (opened < 0) { /* the power went while it did */
        if (opened != -EIO && opened != -EROFS)
            say(opened);
        for (;;)
            pause();
    }
    for (uint64_t n = atomic_load(&said->begun[me]) + 1;; n++) {
        size_t size = 24 + (size_t)(check_of(me, n) % sizeof m.more);
        m.number = n;
        m.check = check_of(me, n);
        memset(m.more, (int)(n & 0xff), sizeof m.more);
        atomic_store(&said->begun[me], n);
        int r = naru_channel_send(c, 1, &m, size, PATIENCE);
        if (r == 0 && me == 1 && syncs && n % 16 == 0)
            r = naru_journal_sync(c, PATIENCE);
        if (r < 0) { /* the medium has gone: said once, and again */
            if (r == -EIO && (me != 0 || naru_channel_send(c, 1, &m, size, PATIENCE) == -EIO))
                atomic_fetch_add(&said->refused, 1);
            if (r != -EIO && r != -EROFS && r != -ENOSPC) /* fast ones fill the small disk */
                say(r);
            for (;;)
                pause();
        }
        atomic_store(&said->last[me], journal_of(c)->last);
        /* with real power, nobody would have seen what returns after the cut has begun */
        if (syncs && (me == 0 || (me == 1 && n % 16 == 0)) && !atomic_load(&said->cut)) {
            atomic_store(&said->sequence[me], journal_of(c)->last);
            atomic_store(&said->synced[me], n);
        }
    }
}

static void look(unsigned long round)
{
    struct naru_journal_options j = {
        .size = sizeof j, .from = NARU_FROM_OLDEST, .keep_bytes = keep};
    struct naru_topic_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    uint64_t last[SENDERS] = {0}, sequence = 0, first = 0;
    struct naru_message m;
    naru_channel *c;
    struct naru_journal_report report = {.size = sizeof report};
    int r = naru_journal_verify(url, &report, NULL, NULL);
    if (r != 0 && r != -ENOENT) /* whatever was not synced is torn, not damaged */
        test_failed(__FILE__, __LINE__, "round %lu: verifying gave %d: segment %llu, byte %llu: %s",
                    round, r, (unsigned long long)report.bad_segment,
                    (unsigned long long)report.bad_offset, r < 0 ? naru_why() : "damaged");
    uint64_t whole = report.segments;
    said->torn += report.torn > 0;
    said->unbegun += report.unbegun > 0;
    if (naru_topic_open(url, NARU_RECV, &o, &c) < 0)
        test_failed(__FILE__, __LINE__, "round %lu: %s", round, naru_why());
    while ((r = naru_channel_take(c, 0, NARU_NOWAIT, &m)) == 0) {
        struct message x;
        expect(m.size >= 24 && m.size <= sizeof x);
        memcpy(&x, m.data, m.size);
        if (!first && keep)
            sequence = m.info.sequence - 1;
        first = first ? first : m.info.sequence;
        expect(m.info.sequence == ++sequence);
        expect(x.sender < SENDERS && x.check == check_of(x.sender, x.number));
        expect(m.size == 24 + x.check % sizeof x.more);
        for (size_t i = 0; i < m.size - 24; i++)
            expect(x.more[i] == (char)(x.number & 0xff));
        /* what a round's senders had begun and the power took, the next ones send anew or not */
        if (x.number <= last[x.sender] || x.number > atomic_load(&said->begun[x.sender]))
            test_failed(__FILE__, __LINE__,
                        "round %lu: sender %llu's message %llu comes after %llu, and %llu was sent",
                        round, (unsigned long long)x.sender, (unsigned long long)x.number,
                        (unsigned long long)last[x.sender],
                        (unsigned long long)atomic_load(&said->begun[x.sender]));
        last[x.sender] = x.number;
        expect_ok(naru_channel_release(c, &m, 1));
    }
    if (r != -EAGAIN)
        test_failed(__FILE__, __LINE__, "round %lu: %s", round, naru_why());
    for (int s = 0; s < SENDERS; s++)
        if (keep ? sequence < atomic_load(&said->sequence[s])
                 : last[s] < atomic_load(&said->synced[s]))
            test_failed(__FILE__, __LINE__,
                        "round %lu: sender %d's message %llu was synced, and %llu is the last",
                        round, s, (unsigned long long)atomic_load(&said->synced[s]),
                        (unsigned long long)last[s]);
    uint64_t committed = atomic_load(&journal_of(c)->state->committed);
    naru_channel_close(c);
    expect_code(0, naru_journal_verify(url, &report, NULL, NULL));
    expect((sequence == 0 || report.records == sequence + 1 - first) && report.torn == 0);
    bool synced = atomic_load(&said->sequence[0]) || atomic_load(&said->sequence[1]);
    if (first > oldest && synced) /* something went: what replaces it was on the medium */
        expect(report.segments > KEEP / SEGMENT);
    oldest = first ? first : committed + 1; /* empty: it goes on behind what was used */
    expect(sequence ? sequence == committed : committed == 0 || !synced);
    for (int s = 0; s < SENDERS && sequence == 0 && committed > 0 && whole == 0; s++)
        expect(committed >= atomic_load(&said->last[s]));
    said->empty += sequence == 0 && committed > 0;
}

static void cut_power(bool names)
{
    uint32_t how = NO_LOG_FLUSH;
    int fd = open(mount_point, O_RDONLY | O_DIRECTORY);
    if (names)
        expect(fd >= 0 && fsync(fd) == 0);
    atomic_store(&said->cut, 1);
    expect(fd >= 0 && ioctl(fd, EXT4_IOC_SHUTDOWN, &how) == 0);
    close(fd);
}

static void one_round(unsigned long round)
{
    pid_t pid[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        pid[i] = fork();
        if (pid[i] == 0)
            sender((uint64_t)i);
    }
    usleep((unsigned)(next_random() % 40000));
    cut_power(next_random() % 2);
    usleep(2000);
    for (int i = 0; i < SENDERS; i++) {
        int status;
        kill(pid[i], SIGKILL);
        waitpid(pid[i], &status, 0);
        /* a page that the medium does not give any more is SIGBUS, as in every mapping */
        expect(WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGBUS));
    }
    if (atomic_load(&said->odd))
        test_failed(__FILE__, __LINE__, "round %lu: %s", round, said->why);
    expect(umount(mount_point) == 0);
    expect(mount_it());
    atomic_store(&said->cut, 0);
    look(round);
}

static void power(void)
{
    char command[400];
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        test_skip("nothing can be mounted here");
    snprintf(image, sizeof image, "%s/image", test_directory);
    snprintf(mount_point, sizeof mount_point, "%s/mounted", test_directory);
    snprintf(url, sizeof url, "map:%s/journal", mount_point);
    int fd = open(image, O_CREAT | O_RDWR, 0600);
    expect(fd >= 0 && ftruncate(fd, 256 << 20) == 0 && mkdir(mount_point, 0700) == 0);
    close(fd);
    snprintf(command, sizeof command, "mkfs.ext4 -q -F '%s' 2>/dev/null", image);
    if (!run(command) || !mount_it()) {
        unlink(image);
        rmdir(mount_point);
        test_skip("no loop device with ext4 can be mounted here");
    }
    unsigned long n;
    for (n = 0; n < rounds; n++) {
        keep = n / JOURNAL % 3 ? KEEP : 0;
        syncs = n / JOURNAL % 3 != 2;
        one_round(n);
        /* a new one now and then: the disk is small; and what was recovered is synced */
        if (n % JOURNAL == JOURNAL - 1 || !syncs) {
            expect_ok(naru_remove(url));
            sync(); /* or it may be there again */
            memset(said->begun, 0, sizeof said->begun);
            memset(said->synced, 0, sizeof said->synced);
            memset(said->sequence, 0, sizeof said->sequence);
            memset(said->last, 0, sizeof said->last);
            oldest = 1;
        }
    }
    printf("# %lu losses of power, %u in a roll, %u left a torn message, %u nothing at all; %u "
           "senders "
           "were told -EIO\n",
           n, said->unbegun, said->torn, said->empty, atomic_load(&said->refused));
    expect(umount(mount_point) == 0);
    unlink(image);
    rmdir(mount_point);
}

/* ---- a medium that refuses for a while ---- */

static int fill_up(const char *path)
{
    static char bytes[4096];
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    while (write(fd, bytes, sizeof bytes) > 0)
        ;
    return close(fd);
}

/* Takes the blocks of that file behind `from` out of the image: who writes them needs new ones. */
static void without_blocks(const char *path, uint64_t from)
{
    union {
        struct fiemap map;
        char room[sizeof(struct fiemap) + 64 * sizeof(struct fiemap_extent)];
    } x = {.map = {.fm_length = FIEMAP_MAX_OFFSET,
                   .fm_flags = FIEMAP_FLAG_SYNC,
                   .fm_extent_count = 64}};
    int fd = open(path, O_RDONLY), medium = open(image, O_RDWR);
    expect(fd >= 0 && medium >= 0 && ioctl(fd, FS_IOC_FIEMAP, &x.map) == 0);
    expect(x.map.fm_mapped_extents > 0);
    for (unsigned i = 0; i < x.map.fm_mapped_extents; i++) {
        const struct fiemap_extent *e = &x.map.fm_extents[i];
        uint64_t skip = e->fe_logical < from ? from - e->fe_logical : 0;
        if (skip < e->fe_length)
            expect(fallocate(medium, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             (off_t)(e->fe_physical + skip), (off_t)(e->fe_length - skip)) == 0);
    }
    close(medium);
    close(fd);
}

static int send_one(naru_channel *c, uint64_t n)
{
    char bytes[5000];
    memset(bytes, (int)n, sizeof bytes);
    return naru_channel_send(c, n, bytes, sizeof bytes, PATIENCE);
}

static void expect_refused(naru_channel *c, uint64_t n)
{
    expect_code(-EIO, send_one(c, n));
    expect(strstr(naru_why(), "open it again"));
}

/* The image lies in memory that is full. What could not be written is there once the journal was
 * opened again, though the kernel has told of it once and forgotten it. */
static void refused(void)
{
    enum { BEFORE = 3, REFUSED, AFTER };
    char memory[160], ballast[200], segment[300], name[32], command[400];
    struct naru_journal_options j = {.size = sizeof j, .sync = NARU_SYNC_EACH};
    struct naru_queue_options o = {.size = sizeof o, .capacity = SEGMENT, .journal = &j};
    naru_channel *c, *other;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        test_skip("nothing can be mounted here");
    snprintf(memory, sizeof memory, "%s/memory", test_directory);
    snprintf(image, sizeof image, "%s/image", memory);
    snprintf(ballast, sizeof ballast, "%s/ballast", memory);
    snprintf(mount_point, sizeof mount_point, "%s/mounted", test_directory);
    snprintf(url, sizeof url, "map:%s/journal", mount_point);
    expect(mkdir(memory, 0700) == 0 && mkdir(mount_point, 0700) == 0);
    expect(mount("naru-test", memory, "tmpfs", 0, "size=24m") == 0);
    snprintf(command, sizeof command,
             "f='%s'; truncate -s 16M \"$f\" && mkfs.ext4 -q -F -b 4096 \"$f\" 2>/dev/null && "
             "fallocate -l 16M \"$f\"",
             image);
    if (!run(command) || !mount_it()) {
        umount(memory);
        rmdir(memory);
        rmdir(mount_point);
        test_skip("no loop device with ext4 can be mounted here");
    }
    expect_ok(naru_queue_open(url, NARU_SEND, &o, &c));
    for (uint64_t n = 1; n <= BEFORE; n++)
        expect_ok(send_one(c, n));
    expect_ok(naru_queue_open(url, NARU_SEND, &o, &other));
    naru__segment_name(name, 1);
    snprintf(segment, sizeof segment, "%s/journal/%s", mount_point, name);
    without_blocks(segment, 16 << 10);
    fill_up(ballast);
    expect_refused(c, REFUSED); /* but for the medium it was sent */
    expect_refused(other, AFTER);
    expect(unlink(ballast) == 0);
    expect_refused(c, AFTER); /* the medium would take it, and lacks what it had refused */
    naru_channel_close(other);
    expect_ok(naru_queue_open(url, NARU_SEND, &o, &other));
    expect_refused(other, AFTER); /* as it was not closed everywhere */
    naru_channel_close(other);
    naru_channel_close(c);
    expect_ok(naru_queue_open(url, NARU_SEND, &o, &c));
    expect_ok(send_one(c, AFTER));
    naru_channel_close(c);
    cut_power(false);
    expect(umount(mount_point) == 0 && mount_it());
    expect_ok(naru_queue_open(url, NARU_RECV, &o, &c));
    for (uint64_t n = 1; n <= AFTER; n++) {
        struct naru_message m;
        expect_ok(naru_channel_take(c, n, NARU_NOWAIT, &m));
        expect(m.info.sequence == n && m.size == 5000 && ((const char *)m.data)[4999] == (char)n);
        expect_ok(naru_channel_release(c, &m, 1));
    }
    naru_channel_close(c);
    expect(umount(mount_point) == 0 && umount(memory) == 0);
    rmdir(mount_point);
    rmdir(memory);
}

int main(int argc, char **argv)
{
    char why[900] = "";
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
    }
    said = mmap(NULL, sizeof *said, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (said == MAP_FAILED)
        return 1;
    if (argc != 2 || strcmp(argv[1], "loss of power") == 0) {
        printf("# seed %llu\n", (unsigned long long)seed);
        bool ok = run_case("loss of power", power, 60 + (int)rounds, why, sizeof why);
        tap_result(ok, "loss of power", why);
    }
    if (argc != 2 || strcmp(argv[1], "refused for a while") == 0) {
        *why = '\0';
        tap_result(run_case("refused for a while", refused, 30, why, sizeof why),
                   "refused for a while", why);
    }
    return tap_end();
}
