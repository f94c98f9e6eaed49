/* SPDX-License-Identifier: MIT */
/* inherit.h - how a named end crosses exec: NARU_FD_<name>=noun:scheme:reading:writing, "-" where
 * there is no descriptor. Written by spawn.c, read here. */
#ifndef NARU_API_INHERIT_H
#define NARU_API_INHERIT_H

#include "core/transport.h"

enum { NARU__END_NAME_MAX = 32 };

struct naru_inherited {
    char variable[NARU__END_NAME_MAX + 16]; /* "NARU_FD_talk" */
    int fds[2];
    const struct naru_transport *transport;
};

/* Finds and checks the end; its descriptors are made non-blocking and close-on-exec. */
int naru__inherited(const char *name, const char *noun, struct naru_inherited *ret_end);

/* The handle owns the descriptors now: the variable goes. */
void naru__inherited_done(const struct naru_inherited *);

/* 1-32 of [A-Za-z0-9_]. */
bool naru__end_name_ok(const char *name);

#endif
