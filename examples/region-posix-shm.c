/* SPDX-License-Identifier: MIT */
/* region-posix-shm.c - a POSIX shared memory object with a program at the other end that knows
 * shm_open alone: the bytes are the same, and nothing of naru's is among them. */
#include <naru/naru.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* This might be any program, of any age. */
static int foreign(const char *name)
{
    int fd = shm_open(name, O_RDWR, 0);
    char *p = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return perror("shm_open"), 1;
    printf("the other program reads: %s\n", p);
    strcpy(p + 100, "and writes");
    return 0;
}

int main(void)
{
    char url[64], text[16];
    int status;
    naru_region *r;
    snprintf(url, sizeof url, "posix-shm:/naru-example-%d", (int)getpid());
    if (naru_region_create(url, 4096, NULL, &r) < 0)
        return fprintf(stderr, "%s\n", naru_why()), 1;
    strcpy(naru_region_data(r), "written by naru");
    if (fork() == 0)
        return foreign(strchr(url, '/'));
    wait(&status);
    if (naru_region_read(r, 100, text, sizeof text) < 0) /* never a signal, whatever it has done */
        return fprintf(stderr, "%s\n", naru_why()), 1;
    printf("naru reads: %s\n", text);
    naru_region_close(r);
    return naru_remove(url) < 0 || status != 0;
}
