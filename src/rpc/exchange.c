/* SPDX-License-Identifier: MIT */
/* exchange.c - what is done with a call by those who have it, at either side: sending, taking,
 * waiting, events. How one waits and who carries is the side's (client.c, server.c). */
#include "base/error.h"
#include "rpc/call.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void lock(const struct naru_call *call)
{
    pthread_mutex_lock(call->lock);
}

static int unlock(const struct naru_call *call, int r)
{
    pthread_mutex_unlock(call->lock);
    return r;
}

bool naru__call_is_over(const struct naru_call *call)
{
    return call->over;
}

bool naru__call_can_take(const struct naru_call *call)
{
    return call->first || call->in_ended || call->over;
}

bool naru__call_can_send(const struct naru_call *call)
{
    return call->over || !call->shut;
}

static bool is_client(const struct naru_call *call)
{
    return call->route != NULL;
}

static bool streams_out(const struct naru_call *call)
{
    return call->method_flags & (is_client(call) ? NARU_CLIENT_STREAMS : NARU_SERVER_STREAMS);
}

/* ---- sending ---- */

static int check_sending(const struct naru_call *call)
{
    if (call->out_ended)
        return naru__fail(-EPIPE, "%s: this side of the call has sent its last message",
                          call->handle.name);
    if (!streams_out(call) && call->sent > 0)
        return naru__fail(-EPIPE, "%s: the method takes one message, and it was sent already",
                          call->handle.name);
    return 0;
}

static int send_once(struct naru_call *call, const void *data, size_t size, bool end,
                     int64_t deadline)
{
    if (!call->flow.opened) {
        if (call->side->open)
            return call->side->open(call, data, size, end, deadline);
        return call->side->over(call);
    }
    struct naru_carrier *carrier = call->carrier;
    carrier->gather |= call->has_events && is_client(call); /* until naru_client_process */
    int r = carrier->ops->message(carrier, call, data, size, end);
    if (is_client(call))
        carrier->gather = false;
    if (r >= 0)
        call->bytes_out += size;
    return r;
}

static int send_locked(struct naru_call *call, const void *data, size_t size, bool end,
                       int64_t deadline)
{
    int r = call->over ? call->side->over(call) : check_sending(call);
    if (r < 0)
        return r;
    if (is_client(call) && !streams_out(call))
        end = true;
    if (call->side->header && call->flow.opened)
        (void)call->side->header(call); /* what fails there fails here, too */
    while ((r = send_once(call, data, size, end, deadline)) == -EAGAIN) {
        call->shut = true;
        r = call->side->await(call, 1, naru__call_can_send, deadline);
        if (r == -EAGAIN || r == -ETIMEDOUT)
            naru__fail(r, "%s: the other side, or the connection, takes no more of the call now",
                       call->handle.name);
        if (r < 0)
            return r;
        if (call->over)
            return call->side->over(call);
    }
    if (r < 0)
        return call->over ? r : call->side->broken(call, r);
    call->sent++;
    call->out_ended = end;
    call->side->sent(call);
    if (!call->has_events && deadline != NARU__AT_ONCE)
        call->side->settle(call, deadline);
    return 0;
}

int naru__call_send(struct naru_call *call, const void *data, size_t size, bool end,
                    int64_t deadline)
{
    if (call->side->answer && !streams_out(call)) { /* the handler's alone, until it returns */
        int r = check_sending(call);
        if (r == 0)
            r = call->side->answer(call, data, size);
        call->sent += r == 0;
        return r;
    }
    lock(call);
    return unlock(call, send_locked(call, data ? data : "", size, end, deadline));
}

/* A buffer that the call keeps. */
int naru__call_reserve(struct naru_call *call, size_t size, void **ret_data)
{
    lock(call);
    int r = call->over ? call->side->over(call) : check_sending(call);
    if (r == 0 && call->reserved)
        r = naru__fail(-EBUSY, "%s: a reservation of %zu bytes is open: commit or abandon it first",
                       call->handle.name, call->reserved_size);
    if (r == 0)
        r = naru__buffer_need(&call->keeps.answer, size ? size : 1);
    if (r == 0) {
        call->reserved = *ret_data = call->keeps.answer.data;
        call->reserved_size = size;
    }
    return unlock(call, r);
}

int naru__call_commit(struct naru_call *call, size_t size)
{
    void *data = call->reserved;
    call->reserved = NULL;
    return naru__call_send(call, data, size, false, NARU__NEVER);
}

/* Opens a client's call without a message, once the connection takes it. */
static int open_empty(struct naru_call *call, bool end, int64_t deadline)
{
    int r;
    while ((r = call->side->open(call, NULL, 0, end, deadline)) == -EAGAIN) {
        call->shut = true;
        r = call->side->await(call, 1, naru__call_can_send, deadline);
        if (r < 0 || call->over)
            break;
    }
    return r == 0 && call->over ? call->side->over(call) : r;
}

int naru__call_flush(struct naru_call *call, int64_t deadline)
{
    lock(call);
    int r = 0;
    if (call->over)
        r = call->side->over(call);
    else if (!call->flow.opened && call->side->open)
        r = open_empty(call, call->out_ended, deadline);
    if (r == 0)
        call->side->sent(call);
    return unlock(call, r);
}

/* A client's. A call that was not opened is opened without a message. */
int naru__call_shutdown(struct naru_call *call)
{
    lock(call);
    int r = 0;
    if (call->over)
        r = call->side->over(call);
    else if (!call->out_ended && call->held)
        call->held_end = true;
    else if (!call->out_ended && call->flow.opened)
        r = call->carrier->ops->half_close(call->carrier, call);
    else if (!call->out_ended) /* with events, writable tells when to try again */
        r = open_empty(call, true, call->has_events ? NARU__AT_ONCE : NARU__NEVER);
    if (r == 0)
        call->out_ended = true;
    if (r == 0)
        call->side->sent(call);
    return unlock(call, r);
}

/* ---- taking ---- */

int naru__call_take(struct naru_call *call, int64_t deadline, struct naru_payload *ret_payload)
{
    lock(call);
    int r =
        naru__call_can_take(call) ? 0 : call->side->await(call, 0, naru__call_can_take, deadline);
    if (call->first) {
        r = naru__call_next(call, ret_payload);
        if (call->carrier && call->flow.opened)
            call->carrier->ops->consumed(call->carrier, call, ret_payload->size);
        call->side->sent(call);
    } else if (r == 0 && call->over) {
        r = call->side->over(call);
        r = r == -EPIPE ? 0 : r; /* it ended well: the end of the messages */
    }
    return unlock(call, r);
}

int naru__call_find(const struct naru_call *call, bool trailer, const char *key, unsigned i,
                    struct naru_metadata *ret_entry)
{
    lock(call);
    const struct naru_buffer *list =
        trailer ? &call->keeps.their_trailer : &call->keeps.their_header;
    bool found = naru__metadata_find((struct naru_span){list->data, list->used}, key, i, ret_entry);
    return unlock(call, found ? 0 : naru__fail_static(-ENOENT, "there is no such metadata"));
}

/* ---- events ---- */

int naru__call_on(struct naru_call *call, const struct naru_call_events *events, void *arg)
{
    lock(call);
    int r = call->side->listens(call);
    if (r < 0)
        return unlock(call, r);
    call->events = *events;
    call->has_events = true;
    call->arg = arg;
    if (call->first || call->in_ended || call->over)
        call->side->queue_events(call);
    return unlock(call, 0);
}

void naru__call_on_message(struct naru_call *call, const struct naru_arrival *arrival)
{
    call->received++;
    call->bytes_in += arrival->size;
    if (naru__call_receive(call, arrival) < 0) {
        (void)call->side->cancel(call, NARU_STATUS_RESOURCE_EXHAUSTED);
        return;
    }
    naru__waiter_wake(call->waiter[0]);
    if (call->has_events)
        call->side->queue_events(call);
}

void naru__call_on_half_close(struct naru_call *call)
{
    call->in_ended = true;
    naru__waiter_wake(call->waiter[0]);
    if (call->has_events)
        call->side->queue_events(call);
}

void naru__call_on_writable(struct naru_call *call)
{
    if (!call->shut)
        return;
    call->shut = false;
    naru__waiter_wake(call->waiter[1]);
    call->now_writable = true;
    if (call->has_events)
        call->side->queue_events(call);
}

/* One thing that happened. */
static bool run_event(struct naru_call *call)
{
    const struct naru_call_events *e = &call->events;
    if (call->first && e->message) {
        struct naru_payload p;
        (void)naru__call_next(call, &p);
        if (call->carrier && call->flow.opened)
            call->carrier->ops->consumed(call->carrier, call, p.size);
        pthread_mutex_unlock(call->lock);
        e->message(call, call->arg, p.data, p.size);
        pthread_mutex_lock(call->lock);
        call->side->release(call, &p);
        return true;
    }
    if (call->in_ended && !call->told_half && !call->first) {
        call->told_half = true;
        if (!e->half_closed)
            return true;
        pthread_mutex_unlock(call->lock);
        e->half_closed(call, call->arg);
        pthread_mutex_lock(call->lock);
        return true;
    }
    if (call->now_writable && !call->over) {
        call->now_writable = false;
        if (!e->writable)
            return true;
        pthread_mutex_unlock(call->lock);
        e->writable(call, call->arg);
        pthread_mutex_lock(call->lock);
        return true;
    }
    if (call->over && !call->told_end && (!call->first || !e->message)) {
        const struct naru_status status = {
            .code = call->code,
            .message = call->text ? call->text : "",
            .details = call->details,
            .details_size = call->details_size,
        };
        call->told_end = true;
        if (!e->end)
            return true;
        pthread_mutex_unlock(call->lock);
        e->end(call, call->arg, &status);
        pthread_mutex_lock(call->lock);
        return true;
    }
    return false;
}

bool naru__call_run_events(struct naru_call *call)
{
    bool any = false;
    call->runs = true;
    while (!call->closed && !call->finished && call->has_events && run_event(call))
        any = true;
    call->runs = false;
    return any;
}
