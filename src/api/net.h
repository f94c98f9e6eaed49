/* SPDX-License-Identifier: MIT */
/* net.h - the module: kinds that libnaru has when libnaru-net is there. */
#ifndef NARU_API_NET_H
#define NARU_API_NET_H

#include "net/module.h"

/* Is a scheme one of libnaru-net's? */
bool naru__net_has(const char *scheme);
/* The module, loaded if need be; NULL with a sentence: it cannot be. url: for which one. */
const struct naru_net *naru__net(const char *url);

#endif
