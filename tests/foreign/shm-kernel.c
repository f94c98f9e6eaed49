/* SPDX-License-Identifier: MIT */
/* shm-kernel.c - shared memory as any program uses it: shm_open or shmget, and nothing of naru's.
 *
 *   shm-kernel posix make NAME BYTES TEXT     shm_open, ftruncate, mmap; TEXT at the beginning
 *   shm-kernel posix read NAME                prints "BYTES TEXT"
 *   shm-kernel posix write NAME TEXT
 *   shm-kernel posix cut NAME BYTES           ftruncate alone
 *   shm-kernel posix remove NAME
 *   shm-kernel sysv ...                       the same by shmget, but cut; NAME is PATH#ID */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

static void need(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static void use(const char *verb, char *memory, size_t size, const char *text)
{
    if (strcmp(verb, "read") == 0)
        printf("%zu %.*s\n", size, (int)size, memory);
    else
        memcpy(memory, text, strlen(text) + 1);
}

static void posix(const char *verb, char *name, char **rest)
{
    struct stat st;
    int make = strcmp(verb, "make") == 0, cut = strcmp(verb, "cut") == 0;
    if (strcmp(verb, "remove") == 0) {
        need(shm_unlink(name) == 0, "shm_unlink");
        return;
    }
    int fd = shm_open(name, make ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
    need(fd >= 0, "shm_open");
    if (make || cut)
        need(ftruncate(fd, atol(rest[0])) == 0, "ftruncate");
    if (cut)
        return;
    need(fstat(fd, &st) == 0, "fstat");
    char *memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    need(memory != MAP_FAILED, "mmap");
    use(verb, memory, (size_t)st.st_size, make ? rest[1] : rest[0]);
}

static void sysv(const char *verb, char *name, char **rest)
{
    struct shmid_ds ds;
    int make = strcmp(verb, "make") == 0;
    char *mark = strrchr(name, '#');
    *mark = '\0';
    key_t key = ftok(name, atoi(mark + 1));
    int id = shmget(key, make ? (size_t)atol(rest[0]) : 0, make ? IPC_CREAT | IPC_EXCL | 0600 : 0);
    need(id >= 0, "shmget");
    if (strcmp(verb, "remove") == 0) {
        need(shmctl(id, IPC_RMID, NULL) == 0, "IPC_RMID");
        return;
    }
    need(shmctl(id, IPC_STAT, &ds) == 0, "IPC_STAT");
    char *memory = shmat(id, NULL, 0);
    need(memory != (char *)-1, "shmat");
    use(verb, memory, ds.shm_segsz, make ? rest[1] : rest[0]);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    (strcmp(argv[1], "posix") == 0 ? posix : sysv)(argv[2], argv[3], argv + 4);
    return 0;
}
