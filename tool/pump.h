/* SPDX-License-Identifier: MIT */
/* pump.h - the processes that carry bytes over a message kind for `naru run`: naru itself, started
 * again with this argument. */
#ifndef NARU_TOOL_PUMP_H
#define NARU_TOOL_PUMP_H

#define PUMP_ARGUMENT "--pump"

/* argv: {"naru", PUMP_ARGUMENT, "in" or "out", LINK, URL or "-"}. in: the stream end "stream" into
 * messages; out: back. "-": the channel is the inherited end "channel". Returns the exit status. */
int pump_main(int argc, char **argv);

#endif
