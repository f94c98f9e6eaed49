/* SPDX-License-Identifier: MIT */
/* naru/kinds.h - the table of kinds, and of what each URL can be opened as, as data.
 *
 * `naru kinds`, the manual and the tests are made from these two tables, and every opening call
 * asks them first: a cell that says no answers -EOPNOTSUPP with the schemes that say yes. */
#ifndef NARU_KINDS_H
#define NARU_KINDS_H

#include <naru/common.h>

#ifdef __cplusplus
extern "C" {
#endif

enum naru_noun {
    NARU_NOUN_STREAM,
    NARU_NOUN_CONNECTION,
    NARU_NOUN_QUEUE,
    NARU_NOUN_TOPIC,
    NARU_NOUN_REGION,
    NARU_NOUN_LOCK,
    NARU_NOUN_SERVICE,
    NARU_NOUN_COUNT
};

enum naru_cell {
    NARU_CELL_NO,   /* the kind cannot: -EOPNOTSUPP */
    NARU_CELL_YES,  /* it works in this build */
    NARU_CELL_LATER /* the kind can, this build does not: -EOPNOTSUPP, "not in this build" */
};

/* What a medium promises about its messages. Each text is a few words. */
struct naru_promise {
    const char *order;      /* in which order messages arrive */
    const char *types;      /* the range of message types */
    const char *largest;    /* the largest message, and the limit's name */
    const char *outlives;   /* do messages outlive their participants? */
    const char *redelivers; /* does a message taken by a receiver that dies come back? */
    const char *may_lose;   /* may a message be lost, and when? */
};

struct naru_kind {
    const char *name;      /* "anonymous-pipe" */
    const char *title;     /* "anonymous pipe" */
    const char *when;      /* what it is for */
    const char *medium;    /* what carries it */
    const char *unit;      /* stream, struct, page, call, count */
    const char *direction; /* one-way, two-way */
    const char *reach;     /* which processes it joins */
    struct naru_promise promise;
};

struct naru_url_form {
    const char *scheme;                  /* "fifo" */
    const char *form;                    /* "fifo:/path" */
    const char *kind;                    /* name of its naru_kind */
    unsigned char cell[NARU_NOUN_COUNT]; /* enum naru_cell */
    const char *note[NARU_NOUN_COUNT];   /* "typed select by the kernel"; NULL if there is none */
    struct naru_promise promise;
    const char *domain;   /* of sockets, as socket(2) names them: "AF_UNIX" */
    const char *type;     /* "SOCK_STREAM" */
    const char *protocol; /* "IPPROTO_TCP"; NULL, all three: no socket */
};

/* naru_kinds - the eight kinds
 *
 * ret_kinds: receives a static array.
 *
 * Returns: how many there are.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API size_t naru_kinds(const struct naru_kind **ret_kinds);

/* naru_url_forms - every URL form and what it can be opened as
 *
 * ret_forms: receives a static array.
 *
 * Returns: how many there are.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API size_t naru_url_forms(const struct naru_url_form **ret_forms);

/* naru_noun_name - "stream", "connection", "queue", "topic", "region", "lock", "service"
 *
 * Returns: a static string; NULL for a number that is no noun.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API const char *naru_noun_name(int noun);

/* naru_can - can this URL be opened as this noun, in this build?
 *
 * Looks at the URL's form and the table alone: the object need not exist.
 *
 * Returns: 0 if it can.
 * Errors: -EOPNOTSUPP the kind cannot (the sentence names those that can) or this build does not
 * yet (it says "not in this build"); -EINVAL a malformed URL or an unknown scheme.
 * Thread: any. Fork: works. Blocks: never. */
NARU_API int naru_can(const char *url, int noun);

#ifdef __cplusplus
}
#endif
#endif
