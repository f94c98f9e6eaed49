/* SPDX-License-Identifier: MIT */
/* channel.c - naru/channel.h and naru/typed.h: checks, then the transport; and what every transport
 * would else do alike: reservations in a buffer, receiving by take and copy, many by one. */
#include "api/inherit.h"
#include "api/transports.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "naru/journal.h"
#include "naru/typed.h"
#include "transport/common/descriptors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

static int check_bounds(size_t max_message, unsigned flags)
{
    if (max_message > NARU_MESSAGE_MAX)
        return naru__fail(-EINVAL, ".max_message is %s and the largest message is 1 GiB",
                          naru__size_text(max_message).text);
    return naru__check_waiting(flags);
}

/* r: what opening gave. */
static int opened(int r, naru_channel **ret_c, unsigned flags)
{
    if (r == 0)
        naru__set_waiting(&(*ret_c)->handle, flags);
    return r;
}

int naru_channel_pair(const char *kind, const struct naru_channel_options *options,
                      naru_channel **ret_a, naru_channel **ret_b)
{
    struct naru_url url;
    const struct naru_transport *transport;
    int r = naru__check_options(options, sizeof *options, "naru_channel_options");
    if (r == 0)
        r = naru__find_transport(kind, NARU_NOUN_CONNECTION, &url, &transport);
    if (r < 0)
        return r;
    if (!transport->channel_pair || url.rest[0])
        return naru__fail(-EOPNOTSUPP, "%s makes no pairs of channels; \"pipe:\" does", kind);
    options = NARU_OPTIONS(naru_channel_options, options);
    r = check_bounds(options->max_message, options->flags);
    if (r == 0)
        r = transport->channel_pair(options, ret_a, ret_b);
    return opened(opened(r, ret_a, options->flags), ret_b, options->flags);
}

int naru_channel_connect(const char *text, const struct naru_channel_options *options,
                         int64_t timeout, naru_channel **ret_c)
{
    struct naru_url url;
    const struct naru_transport *transport;
    int r = naru__check_options(options, sizeof *options, "naru_channel_options");
    if (r == 0)
        r = naru__find_transport(text, NARU_NOUN_CONNECTION, &url, &transport);
    if (r < 0)
        return r;
    if (!transport->channel_connect)
        return naru__fail(-EOPNOTSUPP,
                          "%s has no name to connect to: make a pair (naru_channel_pair)", text);
    options = NARU_OPTIONS(naru_channel_options, options);
    r = check_bounds(options->max_message, options->flags);
    if (r == 0)
        r = transport->channel_connect(&url, options, naru__deadline(timeout), ret_c);
    return opened(r, ret_c, options->flags);
}

int naru_channel_listen(const char *text, const struct naru_listen_options *options,
                        naru_channel_listener **ret_l)
{
    struct naru_url url;
    const struct naru_transport *transport;
    struct naru_listener *listener;
    int r = naru__check_options(options, sizeof *options, "naru_listen_options");
    if (r == 0)
        r = naru__find_transport(text, NARU_NOUN_CONNECTION, &url, &transport);
    if (r < 0)
        return r;
    if (!transport->channel_listen)
        return naru__fail(-EOPNOTSUPP, "%s does not listen; unix: and tcp: do", text);
    options = NARU_OPTIONS(naru_listen_options, options);
    r = check_bounds(options->max_message, options->flags);
    if (r == 0)
        r = transport->channel_listen(&url, options, &listener);
    if (r == 0)
        *ret_l = (naru_channel_listener *)(void *)listener;
    return r;
}

int naru_channel_accept(naru_channel_listener *handle, int64_t timeout, naru_channel **ret_c)
{
    struct naru_listener *listener = (void *)handle;
    int r = naru__enter(listener, NARU__CHANNEL_LISTENER);
    if (r < 0)
        return r;
    r = listener->ops->accept_channel(listener, naru__deadline(timeout), ret_c);
    naru__leave(&listener->handle);
    return r;
}

naru_channel_listener *naru_channel_listener_close(naru_channel_listener *handle)
{
    struct naru_listener *listener = (void *)handle;
    if (listener)
        listener->ops->close(listener, naru__is_owner(&listener->handle));
    return NULL;
}

static int check_role(int role)
{
    if (role == 0 || role & ~(NARU_SEND | NARU_RECV))
        return naru__fail(-EINVAL, "the role %d is neither NARU_SEND, NARU_RECV nor both", role);
    return 0;
}

/* Of what only map: has. */
static int check_journal(const struct naru_transport *t, const char *url,
                         const struct naru_journal_options *journal)
{
    if (!journal)
        return 0;
    if (strcmp(t->scheme, "map") != 0)
        return naru__fail(-EOPNOTSUPP, "%s keeps no journal, so .journal has to be NULL; map: does",
                          url);
    return naru__check_options(journal, sizeof *journal, "naru_journal_options");
}

int naru_queue_open(const char *text, int role, const struct naru_queue_options *options,
                    naru_channel **ret_c)
{
    struct naru_url url;
    const struct naru_transport *transport;
    int r = naru__check_options(options, sizeof *options, "naru_queue_options");
    if (r == 0)
        r = naru__find_transport(text, NARU_NOUN_QUEUE, &url, &transport);
    if (r == 0)
        r = check_role(role);
    if (r < 0)
        return r;
    options = NARU_OPTIONS(naru_queue_options, options);
    r = check_bounds(options->max_message, options->flags);
    if (r == 0)
        r = check_journal(transport, text, options->journal);
    if (r == 0)
        r = transport->queue_open(&url, role, options, ret_c);
    return opened(r, ret_c, options->flags);
}

int naru_topic_open(const char *text, int role, const struct naru_topic_options *options,
                    naru_channel **ret_c)
{
    struct naru_url url;
    const struct naru_transport *transport;
    int r = naru__check_options(options, sizeof *options, "naru_topic_options");
    if (r == 0)
        r = naru__find_transport(text, NARU_NOUN_TOPIC, &url, &transport);
    if (r == 0)
        r = check_role(role);
    if (r < 0)
        return r;
    options = NARU_OPTIONS(naru_topic_options, options);
    r = naru__check_waiting(options->flags);
    if (r == 0)
        r = check_journal(transport, text, options->journal);
    if (r == 0)
        r = transport->topic_open(&url, role, options, ret_c);
    return opened(r, ret_c, options->flags);
}

int naru_channel_inherit(const char *name, const struct naru_channel_options *options,
                         naru_channel **ret_c)
{
    struct naru_inherited end;
    int r = naru__check_options(options, sizeof *options, "naru_channel_options");
    if (r == 0)
        r = naru__inherited(name, "channel", &end);
    if (r < 0)
        return r;
    options = NARU_OPTIONS(naru_channel_options, options);
    r = check_bounds(options->max_message, options->flags);
    if (r == 0 && !end.transport->channel_inherit)
        r = naru__fail(-EPROTO, "%s: this build inherits no channels over %s:", end.variable,
                       end.transport->scheme);
    if (r == 0)
        r = end.transport->channel_inherit(end.variable, end.fds, options, ret_c);
    if (r == 0)
        naru__inherited_done(&end);
    return opened(r, ret_c, options->flags);
}

/* ---- sending ---- */

static inline int enter_send(naru_channel *channel)
{
    int r = naru__enter_fast(channel, NARU__CHANNEL);
    return r < 0 ? r : naru__check_direction_fast(&channel->handle, NARU_OUT);
}

static int reservation_open(const naru_channel *channel)
{
    return naru__fail(-EBUSY, "%s: a reservation of %s is open: commit or abandon it first",
                      channel->handle.name, naru__size_text(channel->reserved_size).text);
}

/* What is reserved may lie where the next message would go. */
static inline int enter_to_send(naru_channel *channel)
{
    int r = enter_send(channel);
    return r == 0 && channel->reserved ? reservation_open(channel) : r;
}

static int refuse_message(const naru_channel *channel, uint32_t type, const void *data, size_t size)
{
    const char *name = channel->handle.name;
    if (type == 0 || type > NARU_TYPE_MAX)
        return naru__fail(-EINVAL, "%s: the message type %" PRIu32 " is not from 1 to %d", name,
                          type, NARU_TYPE_MAX);
    if (!data && size > 0)
        return naru__fail(-EINVAL, "%s: the message's data is NULL", name);
    return naru__fail(-EMSGSIZE, "%s: the message has %s and %s is %s", name,
                      naru__size_text(size).text, channel->max_name,
                      naru__size_text(channel->max_message).text);
}

static inline int check_message(const naru_channel *channel, uint32_t type, const void *data,
                                size_t size)
{
    bool fits = type - 1 < NARU_TYPE_MAX && (data || size == 0) && size <= channel->max_message;
    return __builtin_expect(fits, 1) ? 0 : refuse_message(channel, type, data, size);
}

static int send_signed(naru_channel *channel, uint32_t type, uint32_t signature, const void *data,
                       size_t size, int64_t timeout)
{
    int r = enter_to_send(channel);
    if (r == 0)
        r = check_message(channel, type, data, size);
    if (r < 0)
        return r;
    const struct iovec one = {(void *)(uintptr_t)data, size};
    const struct naru_outgoing out = {type, signature, &one, 1, size};
    r = channel->ops->send(channel, &out, naru__deadline(timeout));
    naru__leave(&channel->handle);
    return r;
}

int naru_channel_send(naru_channel *channel, uint32_t type, const void *data, size_t size,
                      int64_t timeout)
{
    return send_signed(channel, type, 0, data, size, timeout);
}

int naru_channel_send_vector(naru_channel *channel, uint32_t type, const struct iovec *vector,
                             size_t n, int64_t timeout)
{
    size_t size = 0;
    int r = enter_to_send(channel);
    if (r < 0)
        return r;
    if ((!vector && n > 0) || n > 1024)
        return naru__fail(-EINVAL, "%s: a vector of %zu pieces; at most 1024, and not NULL",
                          channel->handle.name, n);
    for (size_t i = 0; i < n; i++) {
        if (!vector[i].iov_base && vector[i].iov_len)
            return naru__fail(-EINVAL, "%s: piece %zu of the vector is NULL", channel->handle.name,
                              i);
        if (__builtin_add_overflow(size, vector[i].iov_len, &size))
            return naru__fail(-EMSGSIZE, "%s: the vector's sizes overflow", channel->handle.name);
    }
    r = check_message(channel, type, "", size);
    if (r < 0)
        return r;
    r = channel->ops->send(channel, &(struct naru_outgoing){type, 0, vector, n, size},
                           naru__deadline(timeout));
    naru__leave(&channel->handle);
    return r;
}

int naru_channel_send_fds(naru_channel *channel, uint32_t type, const void *data, size_t size,
                          const int *fds, size_t n_fds, int64_t timeout)
{
    int r = enter_to_send(channel);
    if (r == 0)
        r = check_message(channel, type, data, size);
    if (r < 0)
        return r;
    if (!channel->ops->send_fds)
        return naru__parcel_unsupported(channel->handle.name);
    if (!fds || n_fds == 0 || n_fds > NARU__FDS_MAX)
        return naru__fail(-EINVAL, "%s: %zu descriptors; a message carries 1 to %d",
                          channel->handle.name, n_fds, NARU__FDS_MAX);
    const struct iovec one = {(void *)(uintptr_t)data, size};
    const struct naru_outgoing out = {type, 0, &one, 1, size};
    r = channel->ops->send_fds(channel, &out, fds, n_fds, naru__deadline(timeout));
    naru__leave(&channel->handle);
    return r;
}

static ssize_t send_one_by_one(naru_channel *channel, const struct naru_message *m, size_t n,
                               int64_t deadline)
{
    for (size_t i = 0; i < n; i++) {
        const struct iovec one = {m[i].data, m[i].size};
        int r = channel->ops->send(
            channel, &(struct naru_outgoing){m[i].info.type, 0, &one, 1, m[i].size}, deadline);
        if (r < 0)
            return i ? (ssize_t)i : r;
    }
    return (ssize_t)n;
}

ssize_t naru_channel_send_many(naru_channel *channel, const struct naru_message *messages, size_t n,
                               int64_t timeout)
{
    int r = enter_to_send(channel);
    if (r == 0 && !messages && n > 0)
        r = naru__fail(-EINVAL, "%s: the messages are NULL", channel->handle.name);
    for (size_t i = 0; i < n && r == 0; i++)
        r = check_message(channel, messages[i].info.type, messages[i].data, messages[i].size);
    if (r < 0 || n == 0)
        return r;
    ssize_t sent = (channel->ops->send_many ? channel->ops->send_many : send_one_by_one)(
        channel, messages, n, naru__deadline(timeout));
    naru__leave(&channel->handle);
    return sent;
}

/* ---- reservations ---- */

int naru_channel_reserve(naru_channel *channel, size_t size, int64_t timeout, void **ret_data)
{
    int r = enter_send(channel);
    if (r == 0)
        r = check_message(channel, 1, "", size);
    if (r < 0)
        return r;
    if (channel->reserved)
        return reservation_open(channel);
    void *data;
    if (channel->ops->reserve)
        r = channel->ops->reserve(channel, size, naru__deadline(timeout), &data);
    else
        r = (data = naru__alloc_raw(size ? size : 1)) ? 0 : -ENOMEM;
    if (r == 0) {
        channel->reserved = *ret_data = data;
        channel->reserved_size = size;
    }
    naru__leave(&channel->handle);
    return r;
}

static int enter_reserved(naru_channel *channel, const void *data)
{
    int r = enter_send(channel);
    if (r == 0 && (!data || data != channel->reserved))
        r = naru__fail(-EINVAL, "%s: the pointer is not this handle's open reservation",
                       channel->handle.name);
    return r;
}

int naru_channel_commit(naru_channel *channel, void *data, size_t size, uint32_t type)
{
    int r = enter_reserved(channel, data);
    if (r < 0)
        return r;
    if (size > channel->reserved_size)
        return naru__fail(-EINVAL, "%s: %zu bytes committed and %zu reserved", channel->handle.name,
                          size, channel->reserved_size);
    r = check_message(channel, type, data, size);
    if (r < 0)
        return r;
    channel->reserved = NULL;
    if (channel->ops->commit) {
        r = channel->ops->commit(channel, data, size, type);
    } else {
        const struct iovec one = {data, size};
        r = channel->ops->send(channel, &(struct naru_outgoing){type, 0, &one, 1, size},
                               NARU__NEVER);
        free(data);
    }
    naru__leave(&channel->handle);
    return r;
}

int naru_channel_abandon(naru_channel *channel, void *data)
{
    int r = enter_reserved(channel, data);
    if (r < 0)
        return r;
    channel->reserved = NULL;
    if (channel->ops->abandon)
        channel->ops->abandon(channel, data);
    else
        free(data);
    naru__leave(&channel->handle);
    return 0;
}

/* ---- receiving ---- */

static inline int enter_recv(naru_channel *channel, int64_t select)
{
    int r = naru__enter_fast(channel, NARU__CHANNEL);
    if (r == 0)
        r = naru__check_direction_fast(&channel->handle, NARU_IN);
    if (r == 0 && select != 0)
        r = naru__select_check(select);
    if (r == 0 && select != 0 && !channel->selects)
        r = naru__fail(-EOPNOTSUPP, "%s cannot select by type: receive with select 0",
                       channel->handle.name);
    return r;
}

static int take(naru_channel *channel, int64_t select, int64_t deadline,
                struct naru_message *ret_message)
{
    if (channel->taken >= channel->max_taken)
        return naru__fail(-ENOBUFS,
                          "%s: %u messages are taken and not released, and .max_taken is %u",
                          channel->handle.name, channel->taken, channel->max_taken);
    int r = channel->ops->take(channel, select, deadline, ret_message);
    channel->taken += r == 0;
    return r;
}

/* Only what lies in memory already: no system call to be told of nothing. */
static size_t take_ready(naru_channel *channel, int64_t select, struct naru_message *ret_messages,
                         size_t n)
{
    unsigned room = channel->max_taken - channel->taken;
    n = n < room ? n : room;
    if (n == 0 || !channel->ops->take_ready)
        return 0;
    n = channel->ops->take_ready(channel, select, ret_messages, n);
    channel->taken += (unsigned)n;
    return n;
}

static void release(naru_channel *channel, struct naru_message *m, size_t n, bool back)
{
    (back ? channel->ops->give_back : channel->ops->release)(channel, m, n);
    channel->taken -= (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        m[i].data = NULL;
        m[i].internal[2] = 0;
    }
}

/* For transports without a recv of their own. */
static ssize_t recv_by_take(naru_channel *channel, int64_t select, void *buf, size_t cap,
                            struct naru_info *ret_info, int64_t deadline)
{
    struct naru_message m;
    int r = channel->ops->take(channel, select, deadline, &m);
    if (r < 0)
        return r;
    *ret_info = m.info;
    bool fits = m.size <= cap;
    if (fits && m.size)
        memcpy(buf, m.data, m.size);
    (fits ? channel->ops->release : channel->ops->give_back)(channel, &m, 1);
    return fits ? (ssize_t)m.size : -EMSGSIZE;
}

ssize_t naru_channel_recv(naru_channel *channel, int64_t select, void *buf, size_t cap,
                          struct naru_info *ret_info, int64_t timeout)
{
    struct naru_info info;
    ssize_t r = enter_recv(channel, select);
    if (r == 0 && !buf && cap > 0)
        r = naru__fail(-EINVAL, "%s: the buffer is NULL", channel->handle.name);
    if (r < 0)
        return r;
    r = (channel->ops->recv ? channel->ops->recv : recv_by_take)(channel, select, buf, cap, &info,
                                                                 naru__deadline(timeout));
    if (r == -EMSGSIZE)
        naru__fail(-EMSGSIZE,
                   "%s: the next message has %" PRIu64 " bytes and the buffer %zu; it stays",
                   channel->handle.name, info.size, cap);
    if (ret_info && (r >= 0 || r == -EMSGSIZE))
        *ret_info = info;
    naru__leave(&channel->handle);
    return r;
}

ssize_t naru_channel_recv_fds(naru_channel *channel, int64_t select, void *buf, size_t cap,
                              struct naru_info *ret_info, int *ret_fds, size_t max_fds,
                              size_t *ret_n_fds, int64_t timeout)
{
    struct naru_info info;
    size_t n = 0;
    ssize_t r = enter_recv(channel, select);
    if (r == 0 && ((!buf && cap > 0) || (!ret_fds && max_fds > 0) || !ret_n_fds))
        r = naru__fail(-EINVAL, "%s: the buffer, or the room for descriptors, is NULL",
                       channel->handle.name);
    if (r < 0)
        return r;
    if (!channel->ops->recv_fds)
        return naru__parcel_unsupported(channel->handle.name);
    r = channel->ops->recv_fds(channel, select, buf, cap, &info, ret_fds, max_fds, &n,
                               naru__deadline(timeout));
    if (r == -EMSGSIZE)
        naru__fail(-EMSGSIZE,
                   "%s: the next message has %" PRIu64
                   " bytes and %zu descriptors, and there is room for %zu and %zu; it stays",
                   channel->handle.name, info.size, n, cap, max_fds);
    if (r >= 0 || r == -EMSGSIZE) {
        *ret_n_fds = n;
        if (ret_info)
            *ret_info = info;
    }
    naru__leave(&channel->handle);
    return r;
}

int naru_channel_take(naru_channel *channel, int64_t select, int64_t timeout,
                      struct naru_message *ret_message)
{
    struct naru_message m;
    int r = enter_recv(channel, select);
    if (r < 0)
        return r;
    r = take(channel, select, naru__deadline(timeout), &m);
    if (r == 0)
        *ret_message = m;
    naru__leave(&channel->handle);
    return r;
}

ssize_t naru_channel_take_many(naru_channel *channel, int64_t select,
                               struct naru_message *ret_messages, size_t n, int64_t timeout)
{
    struct naru_handle *h = &channel->handle;
    int r = enter_recv(channel, select);
    if (r == 0 && (n == 0 || !ret_messages))
        r = naru__fail(-EINVAL, "%s: room for no messages", h->name);
    if (r < 0)
        return r;
    size_t got = take_ready(channel, select, ret_messages, n);
    if (got == 0) {
        struct naru_message m;
        r = take(channel, select, naru__deadline(timeout), &m);
        if (r == 0) {
            ret_messages[0] = m;
            got = 1 + take_ready(channel, select, ret_messages + 1, n - 1);
        }
    }
    naru__leave(h);
    return got ? (ssize_t)got : r;
}

static int end_taken(naru_channel *channel, struct naru_message *messages, size_t n, bool back)
{
    int r = naru__enter_fast(channel, NARU__CHANNEL);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        if (messages[i].internal[2] != (uint64_t)(uintptr_t)channel)
            return naru__fail(-EINVAL,
                              "%s: message %zu was not taken from this channel, or is released "
                              "already",
                              channel->handle.name, i);
    if (n)
        release(channel, messages, n, back);
    naru__leave(&channel->handle);
    return 0;
}

int naru_channel_release(naru_channel *channel, struct naru_message *messages, size_t n)
{
    return end_taken(channel, messages, n, false);
}

int naru_channel_return(naru_channel *channel, struct naru_message *messages, size_t n)
{
    return end_taken(channel, messages, n, true);
}

/* ---- the rest ---- */

int naru_channel_flush(naru_channel *channel, int64_t timeout)
{
    int r = enter_send(channel);
    if (r < 0)
        return r;
    r = channel->ops->flush(channel, naru__deadline(timeout));
    naru__leave(&channel->handle);
    return r;
}

int naru_channel_shutdown(naru_channel *channel)
{
    int r = enter_send(channel);
    if (r < 0)
        return r;
    if (!channel->ops->shutdown)
        return naru__fail(-EOPNOTSUPP,
                          "%s is a queue: it has no other end that could be told; close it",
                          channel->handle.name);
    r = channel->ops->shutdown(channel);
    naru__leave(&channel->handle);
    return r;
}

int naru_channel_wait_peers(naru_channel *channel, unsigned n, int64_t timeout)
{
    int r = naru__enter(channel, NARU__CHANNEL);
    if (r < 0)
        return r;
    r = channel->ops->wait_peers(channel, n, naru__deadline(timeout));
    naru__leave(&channel->handle);
    return r;
}

naru_channel *naru_channel_close(naru_channel *channel)
{
    if (!channel)
        return NULL;
    if (channel->reserved && !channel->ops->reserve)
        free(channel->reserved);
    channel->ops->close(channel, naru__is_owner(&channel->handle));
    return NULL;
}

/* ---- typed structs ---- */

uint32_t naru_signature(const char *name, size_t size, size_t alignment)
{
    uint32_t hash = 2166136261u; /* FNV-1a, 32 bit: offset basis and prime, RFC 9923 */
    const uint64_t shape[2] = {size, alignment};
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    for (int i = 0; i < 16; i++)
        hash = (hash ^ (uint8_t)(shape[i / 8] >> (8 * (i % 8)))) * 16777619u;
    return hash ? hash : 1;
}

int naru_channel_send_struct(naru_channel *channel, uint32_t type, uint32_t signature,
                             const void *data, size_t size, int64_t timeout)
{
    int r = enter_send(channel);
    if (r == 0 && signature == 0)
        r = naru__fail(-EINVAL, "%s: a struct's signature is never 0", channel->handle.name);
    return r < 0 ? r : send_signed(channel, type, signature, data, size, timeout);
}

int naru_channel_recv_struct(naru_channel *channel, uint32_t type, uint32_t signature,
                             void *ret_data, size_t size, struct naru_info *ret_info,
                             int64_t timeout)
{
    struct naru_message m;
    int64_t select =
        channel && naru__enter(channel, NARU__CHANNEL) == 0 && channel->selects ? type : 0;
    int r = enter_recv(channel, select);
    if (r == 0 && (type == 0 || signature == 0))
        r = naru__fail(-EINVAL, "%s: a struct has a type and a signature other than 0",
                       channel->handle.name);
    if (r < 0)
        return r;
    r = take(channel, select, naru__deadline(timeout), &m);
    if (r == 0) {
        uint32_t theirs = (uint32_t)m.internal[3];
        bool matches =
            m.info.type == type && m.size == size && (theirs == 0 || theirs == signature);
        if (matches) {
            if (size)
                memcpy(ret_data, m.data, size);
            if (ret_info)
                *ret_info = m.info;
        } else {
            r = naru__fail(
                -EPROTO,
                "%s: a struct of type %" PRIu32 ", %zu bytes, signature %08" PRIx32
                " was expected, and one of type %" PRIu32 ", %zu bytes, signature %08" PRIx32
                " has come: build both sides from one definition; it stays",
                channel->handle.name, type, size, signature, m.info.type, m.size, theirs);
        }
        release(channel, &m, 1, !matches);
    }
    naru__leave(&channel->handle);
    return r;
}
