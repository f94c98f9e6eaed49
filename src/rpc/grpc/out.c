/* SPDX-License-Identifier: MIT */
/* out.c - what goes: header lists, messages within DATA, statuses as trailers.
 *
 * A message is copied behind those of its call that still wait, and from there into the session's
 * buffer as nghttp2 says that the windows allow (fetch, naru__grpc_put_data). While more than
 * GRPC_OUT_FULL waits, no other message is accepted. */
#include "rpc/grpc/session.h"

#include "base/error.h"
#include "base/memory.h"
#include "rpc/grpc/fields.h"
#include "rpc/grpc/gzip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- fields ---- */

enum { OWN_FIELDS = 12, OWN_TEXT = 64 };

/* Room for gRPC's own fields, `text` bytes more, and the metadata. */
static int begin_fields(struct grpc_fields *f, size_t text, struct naru_span metadata)
{
    struct naru_metadata entry;
    size_t n = OWN_FIELDS;
    text += OWN_TEXT;
    for (struct naru_span rest = metadata; naru__metadata_next(&rest, &entry); n++)
        text += strlen(entry.key) + entry.size * 4 / 3 + 4;
    f->n = 0;
    f->at.used = f->text.used = 0;
    int r = naru__buffer_need(&f->at, n * sizeof(nghttp2_nv));
    return r < 0 ? r : naru__buffer_need(&f->text, text);
}

static char *room_of(struct grpc_fields *f)
{
    return (char *)f->text.data + f->text.used;
}

/* `value` lies where room_of said, or lives on until it is submitted. */
static void add(struct grpc_fields *f, const char *name, const char *value, size_t size)
{
    if (value == room_of(f))
        f->text.used += size;
    ((nghttp2_nv *)(void *)f->at.data)[f->n++] =
        (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), size,
                     NGHTTP2_NV_FLAG_NONE};
}

static void add_text(struct grpc_fields *f, const char *name, const char *value)
{
    add(f, name, value, strlen(value));
}

/* The metadata is copied: the call may leave before it goes. */
static void add_metadata(struct grpc_fields *f, struct naru_span metadata)
{
    struct naru_metadata entry;
    while (naru__metadata_next(&metadata, &entry)) {
        size_t n = strlen(entry.key);
        char *name = memcpy(room_of(f), entry.key, n + 1);
        f->text.used += n + 1;
        if (n >= 4 && memcmp(entry.key + n - 4, "-bin", 4) == 0) {
            add(f, name, room_of(f), naru__base64(entry.value, entry.size, room_of(f)));
        } else {
            if (entry.size)
                memcpy(room_of(f), entry.value, entry.size);
            add(f, name, room_of(f), entry.size);
        }
    }
}

static size_t status_text(const struct naru_ending *e)
{
    return e->text.size * 3 + e->details.size * 4 / 3 + 4;
}

static void add_status(struct grpc_fields *f, const struct naru_ending *e)
{
    add(f, "grpc-status", room_of(f), (size_t)sprintf(room_of(f), "%d", e->code));
    if (e->text.size)
        add(f, "grpc-message", room_of(f),
            naru__grpc_escape(e->text.data, e->text.size, room_of(f)));
    if (e->details.size)
        add(f, "grpc-status-details-bin", room_of(f),
            naru__base64(e->details.data, e->details.size, room_of(f)));
    add_metadata(f, e->metadata);
}

static const nghttp2_nv *list_of(const struct grpc_fields *f)
{
    return (const nghttp2_nv *)(const void *)f->at.data;
}

static int refused(struct grpc_session *s, int code)
{
    return naru__fail(code == NGHTTP2_ERR_NOMEM ? -ENOMEM : -ECONNRESET, "%s: HTTP/2: %s",
                      s->stream->handle.name, nghttp2_strerror(code));
}

/* ---- messages ---- */

static size_t waiting(const struct grpc_line *line)
{
    return line->out.bytes.used - line->out.gone;
}

void naru__grpc_drop_outgoing(struct grpc_session *s, struct grpc_line *line)
{
    s->waiting -= waiting(line);
    naru__large_free(line->out.bytes.data);
    line->out.bytes = (struct naru_buffer){NULL, 0, 0};
    line->out.gone = 0;
}

/* The last of it has gone: a large buffer is not kept. */
static void all_gone(struct grpc_line *line)
{
    line->out.bytes.used = line->out.gone = 0;
    if (line->out.bytes.size <= GRPC_OUT_FULL)
        return;
    naru__large_free(line->out.bytes.data);
    line->out.bytes = (struct naru_buffer){NULL, 0, 0};
}

/* nghttp2 asks for what may go now, and has it put into the session's buffer next. */
static ssize_t fetch(nghttp2_session *h2, int32_t id, uint8_t *to, size_t most, uint32_t *flags,
                     nghttp2_data_source *source, void *arg)
{
    struct grpc_line *line = source->ptr;
    size_t n = waiting(line) < most ? waiting(line) : most;
    (void)to;
    (void)arg;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == waiting(line) && line->out.ends) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (line->server) {
            const struct grpc_fields *f = &line->out.trailers;
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(h2, id, list_of(f), f->n) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
        return (ssize_t)n;
    }
    if (n > 0)
        return (ssize_t)n;
    line->out.idle = true;
    return NGHTTP2_ERR_DEFERRED;
}

int naru__grpc_put_data(nghttp2_session *h2, nghttp2_frame *frame, const uint8_t *head, size_t n,
                        nghttp2_data_source *source, void *arg)
{
    enum { FRAME_HEAD = 9 };
    struct grpc_session *s = arg;
    struct grpc_line *line = source->ptr;
    (void)h2;
    (void)frame;
    int r = naru__grpc_put(s, head, FRAME_HEAD);
    if (r == 0 && n)
        r = naru__grpc_put(s, line->out.bytes.data + line->out.gone, n);
    if (r < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    line->out.gone += n;
    s->waiting -= n;
    naru__grpc_open_connection(s);
    if (waiting(line) == 0)
        all_gone(line);
    if (line->out.shut && waiting(line) < GRPC_OUT_FULL / 2 && line->call) {
        line->out.shut = false;
        s->carrier.events->on_writable(line->call);
    }
    return naru__grpc_has_room(s) ? 0 : NGHTTP2_ERR_PAUSE;
}

/* Room behind what waits. A message by itself gets what it needs, and not the next power of two. */
static int more_room(struct naru_buffer *b, size_t size)
{
    if (b->used > 0 || b->size >= size || size < GRPC_OUT_FULL)
        return naru__buffer_need(b, b->used + size);
    uint8_t *data = naru__large_alloc(size);
    if (!data)
        return -ENOMEM;
    naru__large_free(b->data);
    *b = (struct naru_buffer){data, size, 0};
    return 0;
}

static int append(struct grpc_session *s, struct grpc_line *line, const void *data, size_t size)
{
    struct naru_buffer *b = &line->out.bytes;
    bool gzip = line->out.compresses && line->call->flow.compress;
    naru__buffer_slide(b, &line->out.gone, GRPC_HEAD + size);
    const size_t before = b->used;
    int r = more_room(b, GRPC_HEAD + size);
    if (r < 0)
        return r;
    b->used += GRPC_HEAD;
    if (gzip)
        r = naru__gzip(data, size, b);
    else if (size)
        memcpy(b->data + b->used, data, size);
    if (r < 0) {
        b->used = before;
        return r;
    }
    b->used += gzip ? 0 : size;
    size = b->used - before - GRPC_HEAD;
    const uint8_t head[GRPC_HEAD] = {gzip, (uint8_t)(size >> 24), (uint8_t)(size >> 16),
                                     (uint8_t)(size >> 8), (uint8_t)size};
    memcpy(b->data + before, head, GRPC_HEAD);
    s->waiting += GRPC_HEAD + size;
    return 0;
}

static int over(const struct grpc_session *s)
{
    return s->lost ? s->lost : s->out_lost;
}

static void resume(struct grpc_session *s, struct grpc_line *line)
{
    if (line->out.idle)
        (void)nghttp2_session_resume_data(s->h2, line->id);
    line->out.idle = false;
    naru__grpc_submitted(s);
}

/* ---- a client's calls ---- */

static int request_fields(struct grpc_session *s, struct naru_call *call,
                          const struct naru_opening *o)
{
    struct grpc_fields *f = &s->fields;
    bool tls = strncmp(s->stream->handle.name, "grpcs", 5) == 0;
    int r = begin_fields(f, RPC_PATH_MAX + 1, o->metadata);
    if (r < 0)
        return r;
    size_t n = strnlen(o->route->path, RPC_PATH_MAX);
    add_text(f, ":method", "POST");
    add_text(f, ":scheme", tls ? "https" : "http");
    room_of(f)[0] = '/';
    memcpy(room_of(f) + 1, o->route->path, n);
    add(f, ":path", room_of(f), n + 1);
    add_text(f, ":authority", s->authority);
    add_text(f, "te", "trailers");
    add_text(f, "content-type", "application/grpc");
    add_text(f, "user-agent", "grpc-naru/" GRPC_VERSION);
    if (call->flow.compress)
        add_text(f, "grpc-encoding", "gzip");
    add_text(f, "grpc-accept-encoding", "identity, gzip, deflate");
    if (o->time >= 0)
        add(f, "grpc-timeout", room_of(f), naru__grpc_timeout_text(o->time, room_of(f)));
    uint64_t signature = naru__layout_signature(o->route->layout);
    if (signature)
        add(f, "naru-signature", room_of(f), (size_t)sprintf(room_of(f), "%016" PRIx64, signature));
    add_metadata(f, o->metadata);
    return 0;
}

int naru__grpc_open(struct naru_carrier *carrier, struct naru_call *call,
                    const struct naru_opening *o, const void *data, size_t size, bool end)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    int r = over(s);
    if (r < 0)
        return r;
    struct grpc_line *line = naru__grpc_line_new(s, 0);
    if (!line)
        return -ENOMEM;
    line->call = call;
    line->out.compresses = call->flow.compress;
    line->out.ends = end;
    r = data ? append(s, line, data, size) : 0;
    if (r == 0)
        r = request_fields(s, call, o);
    const nghttp2_data_provider from = {.source.ptr = line, .read_callback = fetch};
    if (r == 0) {
        r = nghttp2_submit_request(s->h2, NULL, list_of(&s->fields), s->fields.n,
                                   data || !end ? &from : NULL, line);
        if (r > 0)
            line->id = r;
        r = r > 0 ? 0 : refused(s, r);
    }
    if (r < 0) {
        line->call = NULL;
        naru__grpc_line_free(s, line);
        return r;
    }
    call->flow.stream = line;
    call->flow.id = (uint64_t)line->id;
    call->flow.opened = true;
    naru__grpc_submitted(s);
    return 0;
}

int naru__grpc_message(struct naru_carrier *carrier, struct naru_call *call, const void *data,
                       size_t size, bool end)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    struct grpc_line *line = naru__grpc_line(call);
    int r = over(s);
    if (r < 0 || !line)
        return r < 0 ? r : naru__fail_static(-EPIPE, "the call is over");
    if (waiting(line) > 0 && waiting(line) + size > GRPC_OUT_FULL) {
        line->out.shut = true;
        return -EAGAIN;
    }
    if (line->server && !line->out.header) {
        r = naru__grpc_header(carrier, call, (struct naru_span){NULL, 0});
        if (r < 0)
            return r;
        line = naru__grpc_line(call);
        if (!line)
            return naru__fail_static(-EPIPE, "the call is over");
    }
    r = append(s, line, data, size);
    if (r < 0)
        return r;
    line->out.ends = end;
    resume(s, line);
    return 0;
}

int naru__grpc_half_close(struct naru_carrier *carrier, struct naru_call *call)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    struct grpc_line *line = naru__grpc_line(call);
    int r = over(s);
    if (r == 0 && line) {
        line->out.ends = true;
        resume(s, line);
    }
    return r;
}

int naru__grpc_cancel(struct naru_carrier *carrier, struct naru_call *call, int code)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    struct grpc_line *line = naru__grpc_line(call);
    (void)code; /* HTTP/2 knows one way */
    if (!line || over(s) < 0)
        return over(s);
    naru__grpc_drop_outgoing(s, line);
    carrier->ops->forget(carrier, call);
    (void)nghttp2_submit_rst_stream(s->h2, NGHTTP2_FLAG_NONE, line->id, NGHTTP2_CANCEL);
    naru__grpc_submitted(s);
    return 0;
}

/* ---- a server's ---- */

int naru__grpc_header(struct naru_carrier *carrier, struct naru_call *call,
                      struct naru_span metadata)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    struct grpc_line *line = naru__grpc_line(call);
    struct grpc_fields *f = &s->fields;
    int r = over(s);
    if (r < 0 || !line || line->out.header)
        return r;
    r = begin_fields(f, 0, metadata);
    if (r < 0)
        return r;
    line->out.compresses = call->flow.compress && line->takes_gzip;
    add_text(f, ":status", "200");
    add_text(f, "content-type", "application/grpc");
    add_text(f, "grpc-accept-encoding", "identity, gzip, deflate");
    if (line->out.compresses)
        add_text(f, "grpc-encoding", "gzip");
    add_metadata(f, metadata);
    const nghttp2_data_provider from = {.source.ptr = line, .read_callback = fetch};
    r = nghttp2_submit_response(s->h2, line->id, list_of(f), f->n, &from);
    if (r != 0)
        return refused(s, r);
    line->out.header = true;
    return 0;
}

/* All in one header list: no message went ahead. */
static int trailers_only(struct grpc_session *s, struct grpc_line *line,
                         const struct naru_ending *e)
{
    struct grpc_fields *f = &s->fields;
    int r = begin_fields(f, status_text(e), e->metadata);
    if (r < 0)
        return r;
    add_text(f, ":status", "200");
    add_text(f, "content-type", "application/grpc");
    if (e->code == NARU_STATUS_UNIMPLEMENTED) /* it may be the encoding that is not */
        add_text(f, "grpc-accept-encoding", "identity, gzip, deflate");
    add_status(f, e);
    r = nghttp2_submit_response(s->h2, line->id, list_of(f), f->n, NULL);
    line->out.header = line->out.ends = true;
    return r == 0 ? 0 : refused(s, r);
}

int naru__grpc_status(struct naru_carrier *carrier, struct naru_call *call,
                      const struct naru_ending *e, const void *data, size_t size)
{
    struct grpc_session *s = naru__grpc_of(carrier);
    struct grpc_line *line = naru__grpc_line(call);
    int r = over(s);
    if (r < 0 || !line)
        return r;
    line->in.deaf = true;
    naru__grpc_open_window(s, line, line->in.held);
    if (!line->out.header && !data) {
        r = trailers_only(s, line, e);
    } else {
        r = naru__grpc_header(carrier, call, (struct naru_span){NULL, 0});
        if (r == 0 && data)
            r = append(s, line, data, size);
        struct grpc_fields *f = &line->out.trailers;
        if (r == 0)
            r = begin_fields(f, status_text(e), e->metadata);
        if (r == 0) {
            add_status(f, e);
            line->out.ends = true;
        }
    }
    /* usually it is all with nghttp2 soon, and the stream is closed */
    line->settles = true;
    if (r < 0) { /* what was begun cannot be ended in order */
        (void)nghttp2_submit_rst_stream(s->h2, NGHTTP2_FLAG_NONE, line->id, NGHTTP2_INTERNAL_ERROR);
        naru__grpc_submitted(s);
        return r;
    }
    resume(s, line);
    line = naru__grpc_line(call);
    if (!line)
        return 0;
    line->settles = false;
    call->flow.leaves = true;
    return 1;
}

void naru__grpc_refuse(struct grpc_session *s, struct grpc_line *line, int code, const char *text)
{
    line->in.deaf = true;
    const struct naru_ending e = {.code = code, .text = {text, strnlen(text, RPC_TEXT_MAX)}};
    if (trailers_only(s, line, &e) < 0)
        (void)nghttp2_submit_rst_stream(s->h2, NGHTTP2_FLAG_NONE, line->id, NGHTTP2_REFUSED_STREAM);
}

void naru__grpc_refuse_http(struct grpc_session *s, struct grpc_line *line, const char *status)
{
    const nghttp2_nv field = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t)status, 7, 3,
                              NGHTTP2_NV_FLAG_NONE};
    line->in.deaf = line->out.header = line->out.ends = true;
    (void)nghttp2_submit_response(s->h2, line->id, &field, 1, NULL);
}
