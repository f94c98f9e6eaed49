/* SPDX-License-Identifier: MIT */
/* status.c - the codes in which calls end, as errno and back; and each thread's last status. */
#include "base/error.h"
#include "base/memory.h"
#include "naru/typed.h"
#include "rpc/call.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

const char *naru__status_name(int code)
{
    switch (code) {
#define NAME(name, number, text)                                                                   \
    case number:                                                                                   \
        return #name;
        NARU_STATUS_CODES(NAME)
#undef NAME
    default:
        return "UNKNOWN";
    }
}

int naru__status_to_errno(int code)
{
    switch (code) {
    case NARU_STATUS_OK:
        return 0;
    case NARU_STATUS_DEADLINE_EXCEEDED:
        return -ETIMEDOUT;
    case NARU_STATUS_UNAVAILABLE:
        return -ECONNRESET;
    default:
        return -EREMOTEIO;
    }
}

int naru__status_from_errno(int code)
{
    switch (code) {
    case -EINVAL:
        return NARU_STATUS_INVALID_ARGUMENT;
    case -ENOENT:
    case -ESRCH:
    case -ENXIO:
        return NARU_STATUS_NOT_FOUND;
    case -EEXIST:
        return NARU_STATUS_ALREADY_EXISTS;
    case -EACCES:
    case -EPERM:
        return NARU_STATUS_PERMISSION_DENIED;
    case -ENOMEM:
    case -ENOBUFS:
    case -ENOSPC:
    case -EDQUOT:
    case -EMFILE:
    case -ENFILE:
    case -EMSGSIZE:
        return NARU_STATUS_RESOURCE_EXHAUSTED;
    case -EBUSY:
    case -EDEADLK:
        return NARU_STATUS_ABORTED;
    case -EOVERFLOW:
    case -EFBIG:
        return NARU_STATUS_OUT_OF_RANGE;
    case -EOPNOTSUPP:
        return NARU_STATUS_UNIMPLEMENTED;
    case -ETIMEDOUT:
        return NARU_STATUS_DEADLINE_EXCEEDED;
    case -ECANCELED:
        return NARU_STATUS_CANCELLED;
    case -ECONNRESET:
    case -ECONNREFUSED:
    case -EPIPE:
    case -EHOSTUNREACH:
    case -EAGAIN:
        return NARU_STATUS_UNAVAILABLE;
    case -EIO:
    case -EPROTO:
        return NARU_STATUS_DATA_LOSS;
    default:
        return NARU_STATUS_UNKNOWN;
    }
}

uint64_t naru__layout_signature(const struct naru_layout *l)
{
    if (!l)
        return 0;
    return (uint64_t)naru_signature(l->request, l->request_size, l->request_alignment) << 32 |
           naru_signature(l->reply, l->reply_size, l->reply_alignment);
}

/* ---- the last one ---- */

/* One allocation, freed when its thread ends. The code is beside it: what went well costs none. */
struct last {
    int code;
    size_t details_size, text_size;
    char bytes[]; /* details, text, NUL */
};

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool has_key;
static _Thread_local int last_code;

static void make_key(void)
{
    has_key = pthread_key_create(&key, free) == 0;
}

void naru__status_keep(int code, const char *text, const void *details, size_t size)
{
    last_code = code;
    if (code == NARU_STATUS_OK)
        return;
    pthread_once(&once, make_key);
    size_t length = text ? strlen(text) : 0;
    struct last *now = has_key ? naru__alloc_raw(sizeof *now + size + length + 1) : NULL;
    if (!now)
        return; /* naru_client_status says the code */
    *now = (struct last){code, size, length};
    if (size)
        memcpy(now->bytes, details, size);
    if (length)
        memcpy(now->bytes + size, text, length);
    now->bytes[size + length] = '\0';
    struct last *old = pthread_getspecific(key);
    if (pthread_setspecific(key, now) == 0)
        free(old);
    else
        free(now);
}

void naru__status_last(struct naru_status *ret_status)
{
    const struct last *last =
        last_code != NARU_STATUS_OK && has_key ? pthread_getspecific(key) : NULL;
    *ret_status = (struct naru_status){.code = last_code, .message = ""};
    if (!last || last->code != last_code)
        return;
    ret_status->message = last->bytes + last->details_size;
    if (last->details_size) {
        ret_status->details = last->bytes;
        ret_status->details_size = last->details_size;
    }
}
