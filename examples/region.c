/* SPDX-License-Identifier: MIT */
/* region.c - memory with a name: what one process writes, the other sees at once. Nothing is copied
 * and nobody is asked, so the two agree by an atomic word who has written what. */
/* snippet */
#include <naru/naru.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct chart {
    _Atomic int ready;
    char course[60];
};

int main(void)
{
    char url[64];
    naru_region *mine, *theirs;
    snprintf(url, sizeof url, "shm:example-%d", (int)getpid());
    if (naru_region_create(url, sizeof(struct chart), NULL, &mine) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    if (fork() == 0) { /* any process of this user that knows the name may open it */
        if (naru_region_open(url, NARU_READ | NARU_WRITE, NULL, &theirs) < 0)
            return fprintf(stderr, "%s\n", naru_why()), 1;
        struct chart *chart = naru_region_data(theirs);
        snprintf(chart->course, sizeof chart->course, "north by north-east");
        atomic_store(&chart->ready, 1); /* whoever sees this sees the course, too */
        return 0;
    }
    struct chart *chart = naru_region_data(mine);
    while (!atomic_load(&chart->ready))
        usleep(1000);
    printf("course: %s\n", chart->course);
    wait(NULL);
    naru_region_close(mine);
    return naru_remove(url) < 0;
}
/* end */
