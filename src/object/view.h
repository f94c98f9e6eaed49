/* SPDX-License-Identifier: MIT */
/* view.h - a named object seen from outside: read, never mapped, so that nothing which others do to
 * its files can raise a signal here; nothing is written, and no lock is taken. */
#ifndef NARU_OBJECT_VIEW_H
#define NARU_OBJECT_VIEW_H

#include "base/url.h"
#include "shm/object.h"

struct naru_object_view {
    const char *url; /* borrowed */
    int directory, file;
    uint32_t owner; /* uid */
    uint64_t at;    /* where in the file it lies */
    uint64_t life_at; /* and the locks of its members */
    struct naru_object_meta meta;
    struct naru_object_state state;
    uint32_t n; /* records that there are */
    struct naru_object_member *members;
};

/* Of map: also a lock that is a file, whose `directory` is none. Errors: -ENOENT it is not there;
 * -ENOTDIR something else stands there, without a sentence; -EACCES, -EPROTO. */
int naru__object_view(const struct naru_url *, struct naru_object_view *ret_view);
/* One that lies in a file, at that place. */
int naru__object_view_at(const char *url, int file, uint64_t at, struct naru_object_view *ret_view);
void naru__object_view_close(struct naru_object_view *);

/* 1: member i lives, 0: it has died, -1: that cannot be known; of a record that is taken. */
int naru__object_view_lives(const struct naru_object_view *, uint32_t i);

/* The directory that objects are listed in: "shm:" is this user's own, "shm:/dir" that one.
 * -ENOENT, -ENOTDIR without a sentence. */
int naru__object_place(const struct naru_url *, char *ret_path, size_t n);

/* How many directories there are that a dead maker or remover has left. */
unsigned naru__object_left_over(int directory);

#endif
