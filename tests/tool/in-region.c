/* SPDX-License-Identifier: MIT */
/* in-region.c - in-region URL OFFSET OTHER OFFSET: has the mutex at that place of a region on a
 * file, and once the file `go` is there waits for the other one, for locks.bats. */
#include <naru/naru.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static naru_mutex *mutex_at(const char *url, const char *offset)
{
    naru_region *r;
    naru_mutex *m;
    if (naru_region_create(url, 1 << 20, NULL, &r) < 0 ||
        naru_mutex_at(r, strtoul(offset, NULL, 10), NULL, &m) < 0) {
        fprintf(stderr, "in-region: %s\n", naru_why());
        exit(1);
    }
    return m;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    naru_mutex *own = mutex_at(argv[1], argv[2]), *other = mutex_at(argv[3], argv[4]);
    if (naru_mutex_lock(own, NARU_S) < 0)
        return 1;
    puts("has it");
    fflush(stdout);
    while (access("go", F_OK) != 0)
        usleep(1000);
    int r = naru_mutex_lock(other, NARU_FOREVER); /* whose owner may have died */
    return r != 0 && r != -EOWNERDEAD;
}
