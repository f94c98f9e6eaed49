/* SPDX-License-Identifier: MIT */
/* stop.h - SIGINT and SIGTERM end a command in order: the handle it waits on is cancelled. */
#ifndef NARU_TOOL_STOP_H
#define NARU_TOOL_STOP_H

#include <stdbool.h>

/* From now on a signal cancels the waits of `handle` (NULL: of none) and is remembered. */
void stop_on_signals(void *handle);
int stopped(void); /* the signal, 0 if none came */

#endif
