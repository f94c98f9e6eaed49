/* SPDX-License-Identifier: MIT */
/* naru/naru.h - all of naru. Each header below is readable alone. */
#ifndef NARU_NARU_H
#define NARU_NARU_H

#include <naru/common.h>
#include <naru/journal.h>
#include <naru/kinds.h>
#include <naru/lock.h>
#include <naru/stream.h>
#include <naru/tls.h>
#include <naru/channel.h>
#include <naru/region.h>
#include <naru/service.h>
#include <naru/spawn.h>
#include <naru/inspect.h>
#include <naru/typed.h>

#endif
