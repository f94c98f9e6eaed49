/* SPDX-License-Identifier: MIT */
/* process.h - starting programs and learning how they end. Results as in os/fd.h. */
#ifndef NARU_OS_PROCESS_H
#define NARU_OS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct naru_launch {
    const char *path; /* program file */
    char *const *argv;
    char *const *environment;
    const char *directory; /* NULL: unchanged */
    const int (*move)[2];  /* {descriptor here, number there}; numbers there are all different */
    size_t n_move;
    bool keep_others;      /* else every descriptor but 0, 1, 2 and those moved is closed */
    const char *failed_at; /* set on failure: "chdir" or "exec" */
};

/* Starts a program, returns its pid. An exec that fails is this call's failure. */
pid_t naru__os_launch(struct naru_launch *launch);

int naru__os_pidfd(pid_t pid); /* -ENOSYS before Linux 5.3 */
int naru__os_pidfd_signal(int pidfd, int signal);

/* 1: ended, ret_code and ret_signal are set, and the zombie is reaped; 0: it still runs. */
int naru__os_reap(pid_t pid, int *ret_code, int *ret_signal);

/* Zeroed memory that this process and its forked children share; NULL if there is none. */
void *naru__os_share(size_t size);
void naru__os_unshare(void *memory, size_t size);

/* Random bytes for names and numbers that must differ between processes. */
int naru__os_random(void *buf, size_t n);

/* The file that `name` means by PATH, as execvp finds it; written to buf. */
int naru__os_find_program(const char *name, char *buf, size_t n);

#endif
