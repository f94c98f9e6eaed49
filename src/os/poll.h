/* SPDX-License-Identifier: MIT */
/* poll.h - waiting for descriptors: poll, epoll, eventfd, timerfd. Results as in os/fd.h. */
#ifndef NARU_OS_POLL_H
#define NARU_OS_POLL_H

#include "base/private.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/* Sleeps until something is ready or the deadline (base/clock.h) has come. Returns how many are
 * ready; -EINTR is returned, for the caller knows the time that is left. */
NARU__EXPORTED int naru__os_poll(struct pollfd *fds, unsigned n, int64_t deadline);

/* 1 if the other side of a pipe's writing end is gone. */
int naru__os_closed(int fd);

/* 1 if a reading end has had writers and has none now. */
int naru__os_hung_up(int fd);

int naru__os_epoll(void);
int naru__os_epoll_change(int epoll, int operation, int fd, uint32_t events);
/* Descriptors of the set that are ready, at most n. -EINTR is returned. */
int naru__os_epoll_wait(int epoll, int *ret_fds, int n, int64_t deadline);
int naru__os_eventfd(void);                         /* non-blocking */
void naru__os_eventfd_signal(int fd);               /* async-signal-safe, keeps errno */
bool naru__os_eventfd_take(int fd);                 /* was it signalled since the last time? */
int naru__os_timerfd(void);                         /* monotonic, non-blocking */
int naru__os_timerfd_set(int fd, int64_t deadline); /* NARU__NEVER: off */

/* How many cores there are: those of the peer count too, so not this process's affinity. */
int naru__os_cores(void);

#endif
