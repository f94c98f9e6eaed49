/* SPDX-License-Identifier: MIT */
/* rwlock.c - a text that one process writes and three read; none sees it half written. */
#include <naru/naru.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failed(void)
{
    fprintf(stderr, "%s\n", naru_why());
    return 1;
}

static int read_it(naru_region *region)
{
    naru_rwlock *w;
    if (naru_adopt(region) < 0 || naru_rwlock_at(region, 0, NULL, &w) < 0)
        return failed();
    const char *text = (const char *)naru_region_data(region) + naru_lock_bytes(0);
    for (int last = 0; last < 100;) {
        char copy[40];
        int n = 0, again = 0;
        if (naru_rwlock_read(w, 5 * NARU_S) < 0) /* with others that read, too */
            return failed();
        memcpy(copy, text, sizeof copy);
        if (naru_rwlock_unlock(w) < 0)
            return failed();
        if (sscanf(copy, "ferry %d leaves, ferry %d", &n, &again) != 2 || n != again || n < last)
            return fprintf(stderr, "read \"%s\"\n", copy), 1;
        last = n;
    }
    naru_rwlock_close(w);
    naru_region_close(region);
    return 0;
}

int main(void)
{
    naru_region *region; /* the lock, and behind it what it guards */
    naru_rwlock *w;
    int status, wrong = 0;
    if (naru_region_create(NULL, naru_lock_bytes(0) + 40, NULL, &region) < 0 ||
        naru_rwlock_at(region, 0, NULL, &w) < 0)
        return failed();
    char *text = (char *)naru_region_data(region) + naru_lock_bytes(0);
    snprintf(text, 40, "ferry 0 leaves, ferry 0");
    for (int i = 0; i < 3; i++)
        if (fork() == 0)
            _exit(read_it(region));
    for (int n = 1; n <= 100; n++) {
        if (naru_rwlock_write(w, 5 * NARU_S) < 0) /* goes before readers that come later */
            return failed();
        snprintf(text, 40, "ferry %d leaves, ferry %d", n, n);
        if (naru_rwlock_unlock(w) < 0)
            return failed();
    }
    while (wait(&status) > 0)
        wrong += status != 0;
    printf("3 readers, %d of them saw it half written\n", wrong);
    naru_rwlock_close(w);
    naru_region_close(region);
    return wrong;
}
