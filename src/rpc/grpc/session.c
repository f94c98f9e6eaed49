/* SPDX-License-Identifier: MIT */
/* session.c - a connection of gRPC's: its life, and the bytes between nghttp2 and the stream.
 *
 * nghttp2 is never asked to go on from within one of its callbacks (`inside`), which is where most
 * upcalls come from. What they submit goes when it has returned. */
#include "rpc/grpc/session.h"

#include "base/error.h"
#include "base/memory.h"
#include "rpc/grpc/grpc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *name_of(const struct grpc_session *s)
{
    return s->stream->handle.name;
}

int naru__grpc_lose(struct grpc_session *s, int code)
{
    if (s->lost == 0)
        s->lost = code;
    return code;
}

static int lose_out(struct grpc_session *s, int code)
{
    if (s->out_lost == 0)
        s->out_lost = code;
    return code;
}

/* ---- lines ---- */

struct grpc_line *naru__grpc_line_new(struct grpc_session *s, int32_t id)
{
    struct grpc_line *line = naru__alloc(sizeof *line);
    if (!line)
        return NULL;
    line->id = id;
    line->server = s->carrier.server;
    if (!s->lines && s->carrier.here.keepalive) { /* from here on it is to say something */
        s->heard = naru__now();
        s->asked = false;
    }
    line->next = s->lines;
    if (line->next)
        line->next->previous = line;
    s->lines = line;
    return line;
}

void naru__grpc_part(struct grpc_line *line)
{
    if (!line->call)
        return;
    line->call->flow.stream = NULL;
    line->call->flow.opened = line->call->flow.leaves = false;
    line->call = NULL;
}

void naru__grpc_line_free(struct grpc_session *s, struct grpc_line *line)
{
    naru__grpc_part(line);
    if (line->next)
        line->next->previous = line->previous;
    if (line->previous)
        line->previous->next = line->next;
    else
        s->lines = line->next;
    naru__grpc_drop_outgoing(s, line);
    naru__grpc_drop_incoming(s, line);
    free(line->out.trailers.at.data);
    free(line->out.trailers.text.data);
    free(line);
}

/* ---- bytes out ---- */

static bool something_goes(const struct grpc_session *s)
{
    return s->out.used > s->out_gone;
}

static int write_out(struct grpc_session *s)
{
    while (something_goes(s)) {
        ssize_t n = s->stream->ops->write(s->stream, s->out.data + s->out_gone,
                                          s->out.used - s->out_gone, NARU__AT_ONCE);
        if (n < 0)
            return n == -EAGAIN ? -EAGAIN : lose_out(s, (int)n);
        s->out_gone += (size_t)n;
    }
    /* an idle connection has no buffers */
    naru__large_free(s->out.data);
    s->out = (struct naru_buffer){NULL, 0, 0};
    s->out_gone = 0;
    return 0;
}

int naru__grpc_put(struct grpc_session *s, const uint8_t *data, size_t n)
{
    if (!s->out.data) {
        s->out.data = naru__large_alloc(GRPC_BLOCK);
        if (!s->out.data)
            return naru__grpc_lose(s, -ENOMEM);
        s->out.size = GRPC_BLOCK;
    }
    naru__buffer_slide(&s->out, &s->out_gone, n);
    if (naru__buffer_need(&s->out, s->out.used + n) < 0)
        return naru__grpc_lose(s, -ENOMEM); /* a frame is missing */
    memcpy(s->out.data + s->out.used, data, n);
    s->out.used += n;
    return 0;
}

bool naru__grpc_has_room(const struct grpc_session *s)
{
    enum { A_FRAME = 16384 + 9 };
    return s->out.used - s->out_gone < GRPC_BLOCK - A_FRAME;
}

void naru__grpc_pump(struct grpc_session *s)
{
    const uint8_t *data;
    if (s->inside || s->lost || s->out_lost)
        return;
    s->inside = true;
    while (naru__grpc_has_room(s)) {
        ssize_t n = nghttp2_session_mem_send(s->h2, &data);
        if (n < 0 && !s->lost)
            naru__grpc_lose(s, naru__fail(n == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO,
                                          "%s: HTTP/2: %s", name_of(s), nghttp2_strerror((int)n)));
        if (n <= 0 || naru__grpc_put(s, data, (size_t)n) < 0)
            break;
    }
    s->inside = false;
}

static int grpc_flush(struct naru_carrier *carrier)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    int r = 0;
    do {
        naru__grpc_pump(s);
        r = s->lost ? s->lost : s->out_lost ? s->out_lost : write_out(s);
    } while (r == 0 && !s->inside && nghttp2_session_want_write(s->h2));
    return r;
}

void naru__grpc_submitted(struct grpc_session *s)
{
    enum { GATHERED = 32768 };
    if (s->inside)
        return;
    naru__grpc_pump(s);
    if (!s->carrier.gather || s->out.used - s->out_gone > GATHERED)
        (void)grpc_flush(&s->carrier); /* what is lost, process tells */
}

void naru__grpc_end(struct grpc_session *s, uint32_t code, const char *why)
{
    if (s->refused)
        return;
    s->refused = why;
    (void)nghttp2_submit_goaway(s->h2, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(s->h2), code,
                                (const uint8_t *)why, strlen(why));
}

/* It has been told, as far as the medium takes it. */
static int refuse_peer(struct grpc_session *s)
{
    naru__grpc_pump(s);
    (void)write_out(s);
    return naru__grpc_lose(
        s, naru__fail(-EPROTO, "%s: the other side is refused: %s", name_of(s), s->refused));
}

static bool grpc_owes(struct naru_carrier *carrier)
{
    const struct grpc_session *s = naru__grpc_of(carrier);
    return s->lost || s->out_lost || something_goes(s) || nghttp2_session_want_write(s->h2);
}

/* ---- bytes in ---- */

static void leave_block(struct grpc_block *block)
{
    if (block && --block->refs == 0)
        naru__large_free(block);
}

static bool has_rest(const struct grpc_session *s)
{
    return s->block_at < s->block_used;
}

/* Nothing more comes: -ECONNRESET, with what the other side said last, if it said something. */
static int closed(struct grpc_session *s, const char *how)
{
    return naru__grpc_lose(
        s, naru__fail(-ECONNRESET, "%s: %s", name_of(s), s->sent_away[0] ? s->sent_away : how));
}

/* More bytes: 1; 0: none there; negative. */
static int read_block(struct grpc_session *s)
{
    if (s->block && s->block->refs > 1) { /* what is kept in place keeps it */
        leave_block(s->block);
        s->block = NULL;
    }
    if (!s->block) {
        s->block = naru__large_alloc(sizeof *s->block);
        if (!s->block)
            return naru__grpc_lose(s, -ENOMEM);
        s->block->refs = 1;
    }
    ssize_t n = s->stream->ops->read(s->stream, s->block->bytes, GRPC_BLOCK, NARU__AT_ONCE);
    if (n == 0)
        return closed(s, "the other side closed the connection");
    if (n < 0 && n != -EAGAIN && s->sent_away[0])
        return closed(s, "");
    if (n < 0)
        return n == -EAGAIN ? 0 : naru__grpc_lose(s, (int)n);
    s->block_at = 0;
    s->block_used = (size_t)n;
    if (s->carrier.here.keepalive) {
        s->heard = naru__now();
        s->asked = false;
    }
    return 1;
}

static int take_block(struct grpc_session *s)
{
    s->inside = true;
    int r = naru__grpc_feed(s, s->block->bytes + s->block_at, s->block_used - s->block_at);
    s->inside = false;
    if (s->refused)
        return refuse_peer(s);
    if (r < 0) {
        const char *why = nghttp2_strerror(r);
        if (r == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
            why = "what came is no HTTP/2 with prior knowledge";
        if (s->lost == 0)
            naru__grpc_lose(s, naru__fail(r == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO,
                                          "%s: what came is refused: %s", name_of(s), why));
        (void)write_out(s);
        return s->lost;
    }
    s->block_at = s->block_used;
    return 1;
}

/* With calls in flight a silent other side is asked after half of the time (PING), and is gone when
 * it has not said anything by its end. When that is to be looked at. */
static int64_t keepalive_at(const struct grpc_session *s)
{
    int64_t whole = s->carrier.here.keepalive;
    if (whole == 0 || !s->met || !s->lines)
        return NARU__NEVER;
    return s->heard + (s->asked ? whole : whole / 2);
}

static int keep_alive(struct grpc_session *s)
{
    static const uint8_t token[8] = "naru:ka";
    if (naru__now() < keepalive_at(s))
        return 0;
    if (s->asked)
        return naru__grpc_lose(s, naru__fail(-ECONNRESET,
                                             "%s: the other side vanished: it does not answer PING",
                                             name_of(s)));
    s->asked = true;
    (void)nghttp2_submit_ping(s->h2, NGHTTP2_FLAG_NONE, token);
    naru__grpc_submitted(s);
    return 0;
}

static int grpc_process(struct naru_carrier *carrier)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    if (s->lost)
        return s->lost;
    int r = has_rest(s) ? 1 : read_block(s);
    if (r > 0)
        r = take_block(s);
    else if (r == 0 && s->carrier.here.keepalive)
        r = keep_alive(s);
    if (s->lost)
        return s->lost;
    if (r == 0 && s->out_lost)
        return naru__grpc_lose(s, s->out_lost);
    if (!has_rest(s) && s->block) { /* back to where others take it from */
        leave_block(s->block);
        s->block = NULL;
    }
    if (r > 0)
        naru__grpc_submitted(s);
    if (r > 0 && !nghttp2_session_want_read(s->h2) && !nghttp2_session_want_write(s->h2)) {
        (void)write_out(s);
        return closed(s, "the connection was ended in HTTP/2");
    }
    return r;
}

static void grpc_keep(struct naru_carrier *carrier, struct naru_message *ret_message)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    s->block->refs++;
    ret_message->internal[0] = (uint64_t)(uintptr_t)s->block;
}

static void grpc_release(struct naru_carrier *carrier, struct naru_message *m)
{
    (void)carrier;
    leave_block((struct grpc_block *)(uintptr_t)m->internal[0]);
}

/* ---- waiting ---- */

static bool grpc_ready(struct naru_carrier *carrier)
{
    const struct grpc_session *s = naru__grpc_of(carrier);
    struct naru_handle *h = &s->stream->handle;
    return has_rest(s) || (h->ops->ready && h->ops->ready(h, NARU_IN));
}

static bool grpc_cheap(struct naru_carrier *carrier)
{
    (void)carrier;
    return false;
}

static int grpc_watch(struct naru_carrier *carrier, struct naru_watch *watch)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    struct naru_handle *h = &s->stream->handle;
    struct naru_watch own = {.again = NARU__NEVER};
    if (s->lost || s->out_lost || has_rest(s)) {
        watch->again = NARU__AT_ONCE + 1;
        if (s->lost || s->out_lost)
            return 0;
    }
    int r = h->ops->watch(h, NARU_IN | (grpc_owes(carrier) ? NARU_OUT : 0), &own);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < own.n && watch->n < NARU__WATCH_MAX; i++)
        watch->fds[watch->n++] = own.fds[i];
    if (keepalive_at(s) < own.again)
        own.again = keepalive_at(s);
    if (own.again < watch->again)
        watch->again = own.again;
    return 0;
}

/* A server that has not sent its SETTINGS may be none of HTTP/2. */
static int grpc_met(struct naru_carrier *carrier)
{
    const struct grpc_session *s = naru__grpc_of(carrier);
    if (s->lost || s->out_lost)
        return s->lost ? s->lost : s->out_lost;
    return s->met ? 0 : naru__fail_static(-EAGAIN, "the server has not greeted yet");
}

/* ---- calls ---- */

static void grpc_forget(struct naru_carrier *carrier, struct naru_call *call)
{
    struct grpc_line *line = naru__grpc_line(call);
    if (!line)
        return;
    naru__grpc_open_window(naru__grpc_of(carrier), line, line->in.held);
    line->in.deaf = true;
    naru__grpc_part(line);
}

static void grpc_consumed(struct naru_carrier *carrier, struct naru_call *call, size_t size)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    struct grpc_line *line = naru__grpc_line(call);
    if (!line || !call->flow.counted)
        return;
    if (line->in.untaken > 0)
        line->in.untaken--;
    size_t n = line->in.untaken == 0 ? line->in.held : size + GRPC_HEAD;
    naru__grpc_open_window(s, line, n < line->in.held ? n : line->in.held);
    naru__grpc_submitted(s);
}

/* The first GOAWAY says that there will be one: calls that are on their way are still taken. */
static int grpc_goaway(struct naru_carrier *carrier, int code)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    if (code == NARU_STATUS_PERMISSION_DENIED) /* gRPC says so call by call */
        return 1;
    s->goes = true;
    (void)nghttp2_submit_shutdown_notice(s->h2);
    static const uint8_t token[8] = "naru:go";
    (void)nghttp2_submit_ping(s->h2, NGHTTP2_FLAG_NONE, token);
    naru__grpc_submitted(s);
    return 0;
}

static bool grpc_full(struct naru_carrier *carrier)
{
    return naru__grpc_of(carrier)->waiting > carrier->here.max_unread;
}

static int grpc_peer(struct naru_carrier *carrier, struct naru_peer *ret_peer)
{
    struct naru_handle *h = &naru__grpc_of(carrier)->stream->handle;
    if (!h->ops->peer)
        return naru__fail(-EOPNOTSUPP, "%s: nobody tells who has the other end", h->name);
    return h->ops->peer(h, ret_peer);
}

static const char *grpc_name(struct naru_carrier *carrier)
{
    return name_of(naru__grpc_of(carrier));
}

/* ---- life ---- */

static void free_session(struct grpc_session *s)
{
    nghttp2_session_del(s->h2); /* tells of no stream any more */
    while (s->lines)
        naru__grpc_line_free(s, s->lines);
    leave_block(s->block);
    naru__large_free(s->out.data);
    free(s->gathered.metadata.data);
    free(s->gathered.message.data);
    free(s->gathered.details.data);
    free(s->fields.at.data);
    free(s->fields.text.data);
    free(s->scratch.data);
    free(s->authority);
    free(s);
}

/* Bytes that lie unread would make the kernel reset the connection, and take the last word away. */
static void last_word(struct grpc_session *s)
{
    char waste[4096];
    if (!s->lost && !s->out_lost) {
        (void)nghttp2_submit_goaway(s->h2, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(s->h2),
                                    NGHTTP2_NO_ERROR, NULL, 0);
        (void)grpc_flush(&s->carrier);
    }
    (void)s->stream->ops->shutdown(s->stream, NARU_WRITE);
    for (int i = 0; i < 64; i++)
        if (s->stream->ops->read(s->stream, waste, sizeof waste, NARU__AT_ONCE) <= 0)
            break;
}

static void grpc_close(struct naru_carrier *carrier)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    naru_stream *stream = s->stream;
    if (naru__is_owner(&stream->handle))
        last_word(s);
    free_session(s);
    (void)naru_stream_close(stream);
}

static const struct naru_carrier_ops ops = {
    .size = sizeof ops,
    .process = grpc_process,
    .ready = grpc_ready,
    .cheap = grpc_cheap,
    .watch = grpc_watch,
    .owes = grpc_owes,
    .flush = grpc_flush,
    .met = grpc_met,
    .open = naru__grpc_open,
    .message = naru__grpc_message,
    .half_close = naru__grpc_half_close,
    .cancel = naru__grpc_cancel,
    .header = naru__grpc_header,
    .status = naru__grpc_status,
    .consumed = grpc_consumed,
    .forget = grpc_forget,
    .keep = grpc_keep,
    .release = grpc_release,
    .goaway = grpc_goaway,
    .full = grpc_full,
    .peer = grpc_peer,
    .name = grpc_name,
    .close = grpc_close,
};

/* nghttp2's memory is asked for as all other. */
static void *take_memory(size_t size, void *unused)
{
    (void)unused;
    return naru__alloc_raw(size);
}

static void *take_zeroes(size_t n, size_t size, void *unused)
{
    (void)unused;
    return size > 0 && n > SIZE_MAX / size ? NULL : naru__alloc(n * size);
}

static void *take_more(void *memory, size_t size, void *unused)
{
    (void)unused;
    return naru__realloc(memory, size);
}

static void give_memory(void *memory, void *unused)
{
    (void)unused;
    free(memory);
}

static int settings(struct grpc_session *s)
{
    const struct naru_carrier_limits *l = &s->carrier.here;
    enum { FIELDS = 8192 }; /* what gRPC itself needs beside the metadata, as HTTP/2 counts */
    const nghttp2_settings_entry all[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)l->window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)l->max_metadata + FIELDS},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, l->max_calls},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    size_t n = sizeof all / sizeof *all - 1; /* the last one is a client's alone */
    /* a client takes no streams of the server's, so it says nothing of how many */
    nghttp2_settings_entry clients[] = {all[0], all[1], all[3]};
    int r = s->carrier.server ? nghttp2_submit_settings(s->h2, NGHTTP2_FLAG_NONE, all, n)
                              : nghttp2_submit_settings(s->h2, NGHTTP2_FLAG_NONE, clients, n);
    if (r == 0)
        r = nghttp2_session_set_local_window_size(s->h2, NGHTTP2_FLAG_NONE, 0, GRPC_WINDOW);
    return r;
}

static int make_h2(struct grpc_session *s)
{
    enum { CONTINUATIONS = 8, SETTINGS = 32, UNLIMITED = 1 << 30 };
    nghttp2_mem memory = {NULL, take_memory, give_memory, take_zeroes, take_more};
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int r = naru__grpc_callbacks(&callbacks);
    if (r == 0)
        r = nghttp2_option_new(&option);
    if (r == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(option, 1);
        /* its own limit would not say why (on_reset) */
        nghttp2_option_set_stream_reset_rate_limit(option, UNLIMITED, UNLIMITED);
        nghttp2_option_set_max_continuations(option, CONTINUATIONS);
        nghttp2_option_set_max_settings(option, SETTINGS);
        r = s->carrier.server ? nghttp2_session_server_new3(&s->h2, callbacks, s, option, &memory)
                              : nghttp2_session_client_new3(&s->h2, callbacks, s, option, &memory);
    }
    if (r == 0)
        r = settings(s);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return r == 0 ? 0 : naru__fail(-ENOMEM, "%s: HTTP/2: %s", name_of(s), nghttp2_strerror(r));
}

/* :authority is what the URL names; a path names none. */
static int name_authority(struct grpc_session *s)
{
    const char *host = strstr(name_of(s), "://");
    const char *text = host ? host + 3 : "localhost";
    s->authority = naru__copy_text(text, strlen(text));
    return s->authority ? 0 : -ENOMEM;
}

static int make(naru_stream *stream, bool server, const struct naru_carrier_limits *limits,
                const struct naru_carrier_events *events, void *owner,
                struct naru_carrier **ret_carrier)
{
    struct grpc_session *s = naru__alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    s->carrier = (struct naru_carrier){
        .ops = &ops, .events = events, .owner = owner, .server = server, .here = *limits};
    s->stream = stream;
    s->came.left = server ? NGHTTP2_CLIENT_MAGIC_LEN : 0;
    int r = server ? 0 : name_authority(s);
    if (r == 0)
        r = make_h2(s);
    if (r < 0) {
        free_session(s);
        return r;
    }
    *ret_carrier = &s->carrier;
    return 0;
}

const struct naru_carrier_kind naru__grpc_carrier = {
    .size = sizeof naru__grpc_carrier,
    .scheme = "grpc",
    .medium = "tcp",
    .make = make,
};

const struct naru_carrier_kind naru__grpcs_carrier = {
    .size = sizeof naru__grpcs_carrier,
    .scheme = "grpcs",
    .medium = "tls",
    .make = make,
};

const struct naru_carrier_kind naru__grpc_unix_carrier = {
    .size = sizeof naru__grpc_unix_carrier,
    .scheme = "grpc+unix",
    .medium = "unix",
    .make = make,
};
