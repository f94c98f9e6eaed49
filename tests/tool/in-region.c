/* SPDX-License-Identifier: MIT */
/* in-region.c - in-region URL OFFSET OTHER OFFSET: has the mutex at that place of a region on a
 * file, and once the file `go` is there waits for the other one, for locks.bats. */
#include <naru/naru.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static naru_region *region[2];
static naru_mutex *mutex[2];

static void open_both(char **places)
{
    for (int i = 0; i < 2; i++)
        if (naru_region_create(places[2 * i], 1 << 20, NULL, &region[i]) < 0 ||
            naru_mutex_at(region[i], strtoul(places[2 * i + 1], NULL, 10), NULL, &mutex[i]) < 0) {
            fprintf(stderr, "in-region: %s\n", naru_why());
            exit(1);
        }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    open_both(argv + 1);
    if (naru_mutex_lock(mutex[0], NARU_S) < 0)
        return 1;
    puts("has it");
    fflush(stdout);
    while (access("go", F_OK) != 0)
        usleep(1000);
    int r = naru_mutex_lock(mutex[1], NARU_FOREVER); /* whose owner may have died */
    for (int i = 0; i < 2; i++) {
        naru_mutex_close(mutex[i]);
        naru_region_close(region[i]);
    }
    return r != 0 && r != -EOWNERDEAD;
}
