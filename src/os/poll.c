/* SPDX-License-Identifier: MIT */
/* poll.c - waiting for descriptors. */
#include "os/poll.h"

#include "base/clock.h"
#include "base/fault.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static struct timespec to_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

int naru__os_poll(struct pollfd *fds, unsigned n, int64_t deadline)
{
    int r = naru__fault_at("ppoll");
    if (r < 0)
        return r;
    struct timespec left = {0, 0};
    if (deadline != NARU__NEVER && deadline != NARU__AT_ONCE) {
        int64_t now = naru__now();
        left = to_timespec(deadline > now ? deadline - now : 0);
    }
    r = ppoll(fds, n, deadline == NARU__NEVER ? NULL : &left, NULL);
    return r < 0 ? -errno : r;
}

static int has_event(int fd, short events)
{
    struct pollfd one = {.fd = fd};
    int r;
    do /* a pending signal interrupts even a look that does not wait */
        r = naru__os_poll(&one, 1, NARU__AT_ONCE);
    while (r == -EINTR);
    return r < 0 ? r : (one.revents & events) != 0;
}

int naru__os_closed(int fd)
{
    return has_event(fd, POLLERR | POLLNVAL);
}

int naru__os_hung_up(int fd)
{
    return has_event(fd, POLLHUP) > 0;
}

int naru__os_epoll(void)
{
    int r = naru__fault_at("epoll_create1");
    if (r < 0)
        return r;
    r = epoll_create1(EPOLL_CLOEXEC);
    return r < 0 ? -errno : r;
}

int naru__os_epoll_change(int epoll, int operation, int fd, uint32_t events)
{
    int r = naru__fault_at("epoll_ctl");
    if (r < 0)
        return r;
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(epoll, operation, fd, &event) < 0 ? -errno : 0;
}

int naru__os_epoll_wait(int epoll, int *ret_fds, int n, int64_t deadline)
{
    enum { MOST = 64 };
    struct epoll_event events[MOST];
    int r = naru__fault_at("epoll_wait");
    if (r < 0)
        return r;
    int ms = deadline == NARU__NEVER ? -1 : 0;
    if (deadline != NARU__NEVER && deadline != NARU__AT_ONCE) {
        int64_t left = deadline - naru__now(); /* never too early: up to the next millisecond */
        ms = left <= 0 ? 0 : left / 1000000 >= INT_MAX ? INT_MAX : (int)((left + 999999) / 1000000);
    }
    r = epoll_wait(epoll, events, n < MOST ? n : MOST, ms);
    for (int i = 0; i < r; i++)
        ret_fds[i] = events[i].data.fd;
    return r < 0 ? -errno : r;
}

int naru__os_eventfd(void)
{
    int r = naru__fault_at("eventfd");
    if (r < 0)
        return r;
    r = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return r < 0 ? -errno : r;
}

void naru__os_eventfd_signal(int fd)
{
    int error = errno;
    const uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ; /* -EAGAIN: it is readable as it is */
    errno = error;
}

bool naru__os_eventfd_take(int fd)
{
    uint64_t count;
    ssize_t r;
    do
        r = read(fd, &count, sizeof count);
    while (r < 0 && errno == EINTR);
    return r == sizeof count;
}

int naru__os_timerfd(void)
{
    int r = naru__fault_at("timerfd_create");
    if (r < 0)
        return r;
    r = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return r < 0 ? -errno : r;
}

int naru__os_timerfd_set(int fd, int64_t deadline)
{
    int r = naru__fault_at("timerfd_settime");
    if (r < 0)
        return r;
    struct itimerspec when = {{0, 0}, {0, 0}};
    if (deadline != NARU__NEVER)
        when.it_value = to_timespec(deadline > 0 ? deadline : 1);
    return timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL) < 0 ? -errno : 0;
}

int naru__os_cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}
