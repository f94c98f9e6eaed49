/* SPDX-License-Identifier: MIT */
/* shared-file.c - two processes have a file as memory, each at an address of its own: a list in it
 * is linked by offsets, naru_off, and a mutex that lies in the file as well keeps them apart. */
#include <naru/naru.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOCK_AT = 64 << 10, PLACES = 200, EACH = 100 };

struct shelf {
    naru_off first; /* 0: none; the last that was put there */
    uint64_t used;  /* of the places behind */
};

struct book {
    naru_off next;
    int32_t number, by;
};

static int complain(void)
{
    return fprintf(stderr, "%s\n", naru_why()), 1;
}

static int put(naru_region *r, naru_mutex *m, int32_t number, int32_t by)
{
    struct shelf *shelf = naru_region_data(r);
    if (naru_mutex_lock(m, 10 * NARU_S) < 0)
        return -1;
    struct book *book = NARU_AT(r, struct book, sizeof *shelf + shelf->used * sizeof *book);
    if (book) {
        *book = (struct book){shelf->first, number, by};
        shelf->first = naru_region_off(r, book); /* the same for all, wherever they have it */
        shelf->used++;
    }
    return naru_mutex_unlock(m) < 0 || !book ? -1 : 0;
}

static int fill(const char *url, int32_t by)
{
    naru_region *r;
    naru_mutex *m;
    if (naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &r) < 0 ||
        naru_mutex_at(r, LOCK_AT, NULL, &m) < 0)
        return complain();
    for (int32_t i = 0; i < EACH; i++)
        if (put(r, m, i, by) < 0)
            return complain();
    naru_mutex_close(m);
    naru_region_close(r);
    return 0;
}

int main(void)
{
    char url[64];
    naru_region *r;
    int seen[2] = {0}, status = 0, failed = 0;
    snprintf(url, sizeof url, "map:/tmp/naru-example-shelf-%d", (int)getpid());
    if (naru_region_create(url, LOCK_AT + naru_lock_bytes(0), NULL, &r) < 0)
        return complain();
    pid_t other = fork();
    if (other == 0)
        _exit(fill(url, 1));
    failed |= fill(url, 0);
    waitpid(other, &status, 0);

    naru_off at = ((struct shelf *)naru_region_data(r))->first;
    for (int i = 0; at != NARU_OFF_NONE && i < PLACES; i++) {
        const struct book *book = NARU_AT(r, struct book, at);
        if (!book) /* whatever others have written there: bounds are checked */
            return complain();
        seen[book->by != 0]++;
        at = book->next;
    }
    printf("%d books of one process, %d of the other\n", seen[0], seen[1]);
    naru_region_close(r);
    return naru_remove(url) < 0 || failed || status || seen[0] != EACH || seen[1] != EACH;
}
