/* SPDX-License-Identifier: MIT */
/* in.c - what comes: header lists to calls and statuses, DATA to messages.
 *
 * All of it may be hostile. nghttp2 has checked the frames and that header lists are HTTP's; what
 * is gRPC's is checked here, and what it costs: a header list is gathered up to a limit, a
 * message's memory grows with what has come of it, and frames that are no call's are counted. */
#include "rpc/grpc/session.h"

#include "base/error.h"
#include "base/memory.h"
#include "naru/service.h"
#include "rpc/grpc/fields.h"
#include "rpc/grpc/gzip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct naru_carrier_events *events_of(const struct grpc_session *s)
{
    return s->carrier.events;
}

static struct grpc_line *line_of(struct grpc_session *s, int32_t id)
{
    return nghttp2_session_get_stream_user_data(s->h2, id);
}

/* ---- windows ---- */

void naru__grpc_open_connection(struct grpc_session *s)
{
    if (s->unopened == 0 || s->held > GRPC_IN_MANY || s->waiting > s->carrier.here.max_unread)
        return;
    (void)nghttp2_session_consume_connection(s->h2, s->unopened);
    s->unopened = 0;
}

void naru__grpc_open_window(struct grpc_session *s, struct grpc_line *line, size_t size)
{
    line->in.held -= size;
    s->held -= size;
    (void)nghttp2_session_consume_stream(s->h2, line->id, size);
    naru__grpc_open_connection(s);
}

/* Bytes have come. The connection's window opens at once, or a call that nobody reads would hold
 * the others up; unless the calls hold too much of memory together. */
static void count_in(struct grpc_session *s, struct grpc_line *line, size_t size)
{
    line->in.held += size;
    s->held += size;
    s->unopened += size;
    naru__grpc_open_connection(s);
}

void naru__grpc_drop_incoming(struct grpc_session *s, struct grpc_line *line)
{
    naru__large_free(line->in.data);
    s->joining -= line->in.room;
    s->held -= line->in.held;
    line->in.data = NULL;
    line->in.room = line->in.got = line->in.held = 0;
}

/* ---- messages ---- */

/* No more of the call is wanted, as what came is wrong. */
static void fault(struct grpc_session *s, struct grpc_line *line, int code, const char *text)
{
    line->in.deaf = true;
    if (line->call)
        events_of(s)->on_fault(line->call, code, text);
}

/* Inflates a message; false: it was a fault. */
static bool inflate_message(struct grpc_session *s, struct grpc_line *line,
                            struct naru_arrival *arrival)
{
    const size_t most = s->carrier.here.max_message;
    uint8_t *data;
    size_t size;
    char text[128];
    int r = naru__gunzip(arrival->data, arrival->size, most, &data, &size);
    naru__large_free(arrival->owned);
    if (r == 0) {
        *arrival = (struct naru_arrival){data, size, data, true};
        return true;
    }
    snprintf(text, sizeof text, "a message of more than %zu bytes when inflated (.max_message)",
             most);
    if (r == -EMSGSIZE)
        fault(s, line, NARU_STATUS_RESOURCE_EXHAUSTED, text);
    else if (r == -ENOMEM)
        fault(s, line, NARU_STATUS_RESOURCE_EXHAUSTED, "no memory for a message");
    else
        fault(s, line, NARU_STATUS_INTERNAL, "a compressed message that cannot be inflated");
    return false;
}

static void deliver(struct grpc_session *s, struct grpc_line *line, const void *data, size_t size,
                    uint8_t *owned)
{
    struct naru_arrival arrival = {data, size, owned, line->in.compressed};
    line->in.head_got = 0;
    if (!line->call) {
        naru__large_free(owned);
        return;
    }
    if (line->in.compressed && !inflate_message(s, line, &arrival))
        return;
    if (line->call->flow.counted)
        line->in.untaken++;
    events_of(s)->on_message(line->call, &arrival);
}

/* A message's head has come. False: it cannot be true. */
static bool begin_message(struct grpc_session *s, struct grpc_line *line)
{
    const uint8_t *head = line->in.head;
    const size_t most = s->carrier.here.max_message;
    const size_t size =
        (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
    char text[128];
    line->in.compressed = head[0] == 1;
    line->in.size = size;
    if (head[0] > 1) {
        fault(s, line, NARU_STATUS_INTERNAL, "a message's first byte is neither 0 nor 1");
    } else if (head[0] == 1 && !line->in.gzip) {
        fault(s, line, NARU_STATUS_INTERNAL,
              "a message says that it is compressed, and no grpc-encoding says how");
    } else if (size > most) {
        snprintf(text, sizeof text, "a message of %zu bytes, and .max_message is %zu", size, most);
        fault(s, line, NARU_STATUS_RESOURCE_EXHAUSTED, text);
    } else {
        return true;
    }
    return false;
}

/* Room for `need` bytes of the message. */
static bool more_room(struct grpc_session *s, struct grpc_line *line, size_t need)
{
    enum { FIRST_ROOM = 65536 }; /* who announces much and sends little gets no more memory */
    size_t room = line->in.room * 2 > FIRST_ROOM ? line->in.room * 2 : FIRST_ROOM;
    room = room < need ? need : room;
    room = room < line->in.size ? room : line->in.size;
    if (s->joining - line->in.room + room > s->carrier.here.max_unfinished) {
        fault(s, line, NARU_STATUS_RESOURCE_EXHAUSTED,
              "the connection's unfinished messages are more than it may have (.max_unfinished)");
        return false;
    }
    uint8_t *data = naru__large_alloc(room);
    if (!data) {
        fault(s, line, NARU_STATUS_RESOURCE_EXHAUSTED, "no memory for a message");
        return false;
    }
    if (line->in.got)
        memcpy(data, line->in.data, line->in.got);
    naru__large_free(line->in.data);
    s->joining += room - line->in.room;
    line->in.data = data;
    line->in.room = room;
    return true;
}

static bool join(struct grpc_session *s, struct grpc_line *line, const uint8_t *data, size_t n)
{
    if (line->in.got + n > line->in.room && !more_room(s, line, line->in.got + n))
        return false;
    memcpy(line->in.data + line->in.got, data, n);
    line->in.got += n;
    if (line->in.got < line->in.size)
        return true;
    uint8_t *owned = line->in.data;
    s->joining -= line->in.room;
    line->in.data = NULL;
    line->in.room = line->in.got = 0;
    deliver(s, line, owned, line->in.size, owned);
    return true;
}

/* A message may begin and end anywhere. */
static void take_data(struct grpc_session *s, struct grpc_line *line, const uint8_t *data, size_t n)
{
    while (!line->in.deaf && line->call && (n > 0 || line->in.head_got == GRPC_HEAD)) {
        if (line->in.head_got < GRPC_HEAD) {
            line->in.head[line->in.head_got++] = *data++;
            n--;
            if (line->in.head_got == GRPC_HEAD && !begin_message(s, line))
                return;
            continue;
        }
        size_t left = line->in.size - line->in.got, part = n < left ? n : left;
        if (line->in.got == 0 && part == left)
            deliver(s, line, data, part, NULL);
        else if (part == 0 || !join(s, line, data, part))
            return;
        data += part;
        n -= part;
    }
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                   void *arg)
{
    struct grpc_session *s = arg;
    struct grpc_line *line = line_of(s, id);
    (void)flags;
    if (!line) {
        (void)nghttp2_session_consume(h2, id, n);
        return 0;
    }
    count_in(s, line, n);
    take_data(s, line, data, n);
    bool counted = line->call && line->call->flow.counted && !line->in.deaf;
    /* who reads gets all of a message that is longer than the window */
    bool starved = line->in.untaken == 0 && line->in.held >= s->carrier.here.window / 2;
    if (!counted || starved)
        naru__grpc_open_window(s, line, line->in.held);
    return 0;
}

/* ---- header lists ---- */

static void forget_list(struct grpc_gathered *g)
{
    struct naru_buffer kept[] = {g->metadata, g->message, g->details};
    memset(g, 0, sizeof *g);
    g->metadata = kept[0];
    g->message = kept[1];
    g->details = kept[2];
    g->metadata.used = g->message.used = g->details.used = 0;
    g->code = -1;
    g->time = NARU_FOREVER;
}

struct text {
    const char *at;
    size_t n;
};

static bool is(struct text t, const char *what)
{
    return t.n == strlen(what) && memcmp(t.at, what, t.n) == 0;
}

static bool begins(struct text t, const char *what)
{
    size_t n = strlen(what);
    return t.n >= n && memcmp(t.at, what, n) == 0;
}

static struct text trimmed(struct text t)
{
    for (; t.n && (*t.at == ' ' || *t.at == '\t'); t.n--)
        t.at++;
    while (t.n && (t.at[t.n - 1] == ' ' || t.at[t.n - 1] == '\t'))
        t.n--;
    return t;
}

/* The next of a list with commas. */
static struct text part_of(struct text *rest)
{
    const char *comma = memchr(rest->at, ',', rest->n);
    size_t n = comma ? (size_t)(comma - rest->at) : rest->n;
    const struct text part = {rest->at, n};
    rest->at += comma ? n + 1 : n;
    rest->n -= comma ? n + 1 : n;
    return trimmed(part);
}

/* "application/grpc", and what may follow it. */
static bool is_grpc(struct text t)
{
    static const char type[] = "application/grpc";
    size_t n = sizeof type - 1;
    return begins(t, type) && (t.n == n || t.at[n] == '+' || t.at[n] == ';');
}

static void set(struct grpc_gathered *g, struct naru_buffer *b, struct text value, bool escaped)
{
    if (naru__buffer_need(b, value.n ? value.n : 1) < 0) {
        g->no_memory = true;
        return;
    }
    if (escaped) {
        b->used = naru__grpc_unescape(value.at, value.n, (char *)b->data);
        return;
    }
    int64_t n = naru__base64_decode(value.at, value.n, b->data);
    b->used = n < 0 ? 0 : (size_t)n;
    g->broken |= n < 0;
}

static void add_entry(struct grpc_gathered *g, const char *key, const void *value, size_t size)
{
    const struct naru_metadata m = {key, value, size};
    size_t n = naru__metadata_size(&m);
    if (naru__metadata_fault(&m)) {
        g->broken = true;
    } else if (naru__buffer_need(&g->metadata, g->metadata.used + n) < 0) {
        g->no_memory = true;
    } else {
        g->metadata.used += naru__metadata_put(&m, g->metadata.data + g->metadata.used);
    }
}

/* One of the application's. A key of bytes may have several values in one field. */
static void add_metadata(struct grpc_session *s, struct text name, struct text value)
{
    struct grpc_gathered *g = &s->gathered;
    char key[257];
    if (name.n >= sizeof key) {
        g->broken = true;
        return;
    }
    memcpy(key, name.at, name.n);
    key[name.n] = '\0';
    if (name.n < 4 || memcmp(key + name.n - 4, "-bin", 4) != 0) {
        add_entry(g, key, value.at, value.n);
        return;
    }
    do {
        struct text part = part_of(&value);
        if (naru__buffer_need(&s->scratch, part.n + 1) < 0) {
            g->no_memory = true;
            return;
        }
        int64_t n = naru__base64_decode(part.at, part.n, s->scratch.data);
        if (n < 0)
            g->broken = true;
        else
            add_entry(g, key, s->scratch.data, (size_t)n);
    } while (value.n > 0);
}

static void take_encoding(struct grpc_gathered *g, struct text value)
{
    g->has_encoding = true;
    g->gzip = is(value, "gzip") || is(value, "deflate");
    g->strange_encoding = !g->gzip && !is(value, "identity");
}

static void take_accepted(struct grpc_gathered *g, struct text value)
{
    while (value.n > 0)
        g->takes_gzip |= is(part_of(&value), "gzip");
}

static void take_pseudo(struct grpc_gathered *g, struct text name, struct text value)
{
    if (is(name, ":path")) {
        g->has_path = true; /* what is too long names no method */
        size_t n = value.n < RPC_PATH_MAX ? value.n : 0;
        memcpy(g->path, value.at, n);
        g->path[n] = '\0';
    } else if (is(name, ":method")) {
        g->post = is(value, "POST");
    } else if (is(name, ":status")) {
        g->http = naru__grpc_code(value.at, value.n);
    }
}

static void take_signature(struct grpc_gathered *g, struct text value)
{
    char text[17] = "";
    if (value.n < sizeof text)
        memcpy(text, value.at, value.n);
    g->signature = strtoull(text, NULL, 16);
}

/* Those that are no metadata. */
static bool take_own(struct grpc_gathered *g, struct text name, struct text value)
{
    if (begins(name, ":")) {
        take_pseudo(g, name, value);
    } else if (is(name, "content-type")) {
        g->has_type = true;
        g->grpc = is_grpc(value);
    } else if (is(name, "grpc-timeout")) {
        g->time = naru__grpc_timeout(value.at, value.n);
        g->bad_time = g->time < 0;
    } else if (is(name, "grpc-encoding")) {
        take_encoding(g, value);
    } else if (is(name, "grpc-accept-encoding")) {
        take_accepted(g, value);
    } else if (is(name, "grpc-status")) {
        int code = naru__grpc_code(value.at, value.n);
        g->code = code < 0 || code > NARU_STATUS_UNAUTHENTICATED ? NARU_STATUS_UNKNOWN : code;
    } else if (is(name, "grpc-message")) {
        set(g, &g->message, value, true);
    } else if (is(name, "grpc-status-details-bin")) {
        set(g, &g->details, value, false);
    } else if (is(name, "naru-signature")) {
        take_signature(g, value);
    } else {
        return is(name, "te") || is(name, "user-agent") || is(name, "accept-encoding") ||
               is(name, "grpc-message-type");
    }
    return true;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *arg)
{
    enum { ENTRY = 32, OWN = 8192, BOMB = 4 }; /* RFC 9113, 6.5.2; what is not metadata */
    struct grpc_session *s = arg;
    struct grpc_gathered *g = &s->gathered;
    (void)h2;
    (void)frame;
    (void)flags;
    g->size += name_size + value_size + ENTRY;
    const size_t most = s->carrier.here.max_metadata + OWN;
    if (g->size > most) {
        g->too_large = true;
        if (g->size > most * BOMB) /* some bytes can stand for very many */
            naru__grpc_end(s, NGHTTP2_ENHANCE_YOUR_CALM, "a header list beyond all limits");
        return s->refused ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    }
    const struct text n = {(const char *)name, name_size};
    const struct text v = trimmed((struct text){(const char *)value, value_size});
    if (!take_own(g, n, v))
        add_metadata(s, n, v);
    return 0;
}

/* What nghttp2 finds no header field is ignored by it, but a call is not to miss anything. */
static int on_invalid_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_size, const uint8_t *value, size_t value_size,
                             uint8_t flags, void *arg)
{
    (void)h2;
    (void)frame;
    (void)name;
    (void)name_size;
    (void)value;
    (void)value_size;
    (void)flags;
    struct grpc_gathered *g = &((struct grpc_session *)arg)->gathered;
    g->broken = g->malformed = true;
    return 0;
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
    struct grpc_session *s = arg;
    forget_list(&s->gathered);
    if (!s->carrier.server || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct grpc_line *line = naru__grpc_line_new(s, frame->hd.stream_id);
    if (!line)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    (void)nghttp2_session_set_stream_user_data(h2, line->id, line);
    return 0;
}

static struct naru_span metadata_of(const struct grpc_gathered *g)
{
    return (struct naru_span){g->metadata.data, g->metadata.used};
}

/* ---- a server's calls ---- */

/* What is wrong with a request that is gRPC's: a code and its text; 0. */
static int request_fault(const struct grpc_session *s, const char **ret_text)
{
    const struct grpc_gathered *g = &s->gathered;
    if (g->too_large || g->metadata.used > s->carrier.here.max_metadata) {
        *ret_text = "more metadata than the server takes (.max_metadata)";
        return NARU_STATUS_RESOURCE_EXHAUSTED;
    }
    if (g->no_memory || s->waiting / 4 > s->carrier.here.max_unread) {
        *ret_text = g->no_memory ? "no memory for the metadata"
                                 : "the client leaves too much of its answers unread (.max_unread)";
        return NARU_STATUS_RESOURCE_EXHAUSTED;
    }
    if (g->strange_encoding) {
        *ret_text = "the server knows no such grpc-encoding; it takes gzip and deflate";
        return NARU_STATUS_UNIMPLEMENTED;
    }
    *ret_text = g->bad_time ? "grpc-timeout is no time" : "the metadata is none";
    return g->bad_time || g->broken ? NARU_STATUS_INTERNAL : NARU_STATUS_OK;
}

static void open_call(struct grpc_session *s, struct grpc_line *line)
{
    struct grpc_gathered *g = &s->gathered;
    const struct naru_carrier_events *events = events_of(s);
    struct naru_call *call = NULL;
    const char *text;
    line->in.gzip = g->gzip;
    line->takes_gzip = g->takes_gzip;
    if (g->malformed) {
        line->in.deaf = true;
        (void)nghttp2_submit_rst_stream(s->h2, NGHTTP2_FLAG_NONE, line->id, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    if (!g->too_large && !g->post) {
        naru__grpc_refuse_http(s, line, "405");
        return;
    }
    if (!g->too_large && !g->grpc) {
        naru__grpc_refuse_http(s, line, "415");
        return;
    }
    int r = request_fault(s, &text);
    if (r != 0) {
        naru__grpc_refuse(s, line, r, text);
        return;
    }
    const struct naru_call_request request = {.method = events->resolve(&s->carrier, g->path),
                                              .time = g->time,
                                              .signature = g->signature,
                                              .metadata = metadata_of(g)};
    r = events->on_open(&s->carrier, &request, &call);
    if (r == NARU_STATUS_UNAVAILABLE && s->goes) { /* nothing was done: it can go elsewhere */
        line->in.deaf = true;
        (void)nghttp2_submit_rst_stream(s->h2, NGHTTP2_FLAG_NONE, line->id, NGHTTP2_REFUSED_STREAM);
        return;
    }
    if (r != 0) {
        naru__grpc_refuse(s, line, r, naru__why());
        return;
    }
    line->call = call;
    call->flow.stream = line;
    call->flow.id = (uint64_t)line->id;
    call->flow.opened = true;
}

static void end_of_stream(struct grpc_session *s, struct grpc_line *line);

static void on_request(struct grpc_session *s, struct grpc_line *line, const nghttp2_frame *frame)
{
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        open_call(s, line);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        end_of_stream(s, line);
}

/* ---- a client's ---- */

/* The call is over. What this side still could send is not wanted any more. */
static void end_call(struct grpc_session *s, struct grpc_line *line, const struct naru_ending *e)
{
    struct naru_call *call = line->call;
    if (!call)
        return;
    if (!line->out.ends || line->out.bytes.used > line->out.gone)
        (void)nghttp2_submit_rst_stream(s->h2, NGHTTP2_FLAG_NONE, line->id, NGHTTP2_NO_ERROR);
    line->in.deaf = true;
    naru__grpc_part(line);
    events_of(s)->on_end(call, e);
}

static void end_with(struct grpc_session *s, struct grpc_line *line, int code, const char *text)
{
    end_call(s, line, &(struct naru_ending){.code = code, .text = {text, strlen(text)}});
}

/* A status in a header list that ends the stream. */
static void take_status(struct grpc_session *s, struct grpc_line *line)
{
    const struct grpc_gathered *g = &s->gathered;
    const struct naru_ending e = {
        .code = g->code,
        .text = {g->message.data, g->message.used < RPC_TEXT_MAX ? g->message.used : RPC_TEXT_MAX},
        .metadata = metadata_of(g),
        .details = {g->details.data, g->details.used <= RPC_DETAILS_MAX ? g->details.used : 0},
    };
    if (g->too_large)
        end_with(s, line, NARU_STATUS_RESOURCE_EXHAUSTED,
                 "the server's metadata is more than this side takes");
    else if (g->no_memory)
        end_with(s, line, NARU_STATUS_RESOURCE_EXHAUSTED, "no memory for the server's metadata");
    else if (g->broken)
        end_with(s, line, NARU_STATUS_INTERNAL, "the server's metadata is none");
    else
        end_call(s, line, &e);
}

/* The first header list that is final: metadata, or all there is. */
static void take_header(struct grpc_session *s, struct grpc_line *line)
{
    const struct grpc_gathered *g = &s->gathered;
    line->headed = true;
    line->in.gzip = g->gzip;
    line->takes_gzip = g->takes_gzip;
    if (g->http != 200 || !g->grpc) {
        line->http = g->http;
        line->in.deaf = true;
    } else if (g->strange_encoding) {
        end_with(s, line, NARU_STATUS_INTERNAL,
                 "the server answers in a grpc-encoding that it was not told of");
    } else if (g->too_large || g->no_memory || g->broken) {
        take_status(s, line);
    } else {
        events_of(s)->on_header(line->call, metadata_of(g));
    }
}

static void on_response(struct grpc_session *s, struct grpc_line *line, const nghttp2_frame *frame)
{
    const struct grpc_gathered *g = &s->gathered;
    bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (!line->call || (!line->headed && g->http >= 100 && g->http < 200))
        return;
    if (last && g->code >= 0) {
        take_status(s, line);
        return;
    }
    if (!line->headed)
        take_header(s, line);
    if (last)
        end_of_stream(s, line);
}

/* The other side sends no more. At a client a status had to come. */
static void end_of_stream(struct grpc_session *s, struct grpc_line *line)
{
    bool cut = line->in.head_got > 0; /* and a message is not whole */
    char text[96];
    line->in.ended = true;
    if (!line->call || (line->in.deaf && s->carrier.server))
        return;
    if (s->carrier.server && cut) {
        fault(s, line, NARU_STATUS_INTERNAL, "the stream ends within a message");
    } else if (s->carrier.server) {
        events_of(s)->on_half_close(line->call);
    } else if (line->http != 0) {
        snprintf(text, sizeof text, "the server speaks HTTP, but not gRPC: it answers %d",
                 line->http);
        end_with(s, line, naru__grpc_of_http(line->http), text);
    } else {
        end_with(s, line, NARU_STATUS_UNKNOWN, "the server ended the call without a status");
    }
}

/* ---- frames ---- */

/* gRPC's own measure (its proposal A8): pings that come more often than .ping_interval, while
 * nothing was sent to the client, are strikes; a third one ends the connection. */
static void on_ping(struct grpc_session *s)
{
    enum { STRIKES = 2 };
    int64_t now = naru__now();
    if (!s->carrier.server)
        return;
    if (s->flood.pinged != 0 && now - s->flood.pinged < s->carrier.here.ping_interval &&
        ++s->flood.strikes > STRIKES)
        naru__grpc_end(s, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
    s->flood.pinged = now;
}

/* Calls that are opened and given up are no calls in flight, so their limit does not bound them
 * (CVE-2023-44487). One costs what any call does, about 1 us: so many that clients of a server that
 * is too slow for their deadlines stay below. */
static void on_reset(struct grpc_session *s)
{
    enum { MOST = 20000, A_SECOND = 10000 };
    if (!s->carrier.server)
        return;
    int64_t now = naru__now(), forgiven = (now - s->flood.reset_at) / ((int64_t)NARU_S / A_SECOND);
    if (forgiven > 0) {
        s->flood.resets = s->flood.resets > forgiven ? s->flood.resets - forgiven : 0;
        s->flood.reset_at = now;
    }
    if (++s->flood.resets > MOST)
        naru__grpc_end(s, NGHTTP2_ENHANCE_YOUR_CALM, "too many calls were given up");
}

/* The second of the two: calls that came after the first are not taken here. */
static void on_pong(struct grpc_session *s)
{
    if (s->goes)
        (void)nghttp2_submit_goaway(s->h2, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(s->h2),
                                    NGHTTP2_NO_ERROR, NULL, 0);
}

static void on_goaway(struct grpc_session *s, const nghttp2_goaway *g)
{
    if (!s->carrier.server)
        events_of(s)->on_goaway(&s->carrier, NARU_STATUS_UNAVAILABLE);
    if (g->error_code == NGHTTP2_NO_ERROR)
        return;
    int n = g->opaque_data_len < 100 ? (int)g->opaque_data_len : 100;
    snprintf(s->sent_away, sizeof s->sent_away, "the other side ends the connection: %.*s%s(%s)", n,
             (const char *)g->opaque_data, n ? " " : "", nghttp2_http2_strerror(g->error_code));
    naru__fail(-ECONNRESET, "%s: %s", s->stream->handle.name, s->sent_away);
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
    struct grpc_session *s = arg;
    struct grpc_line *line = frame->hd.stream_id ? line_of(s, frame->hd.stream_id) : NULL;
    (void)h2;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (line)
            (s->carrier.server ? on_request : on_response)(s, line, frame);
        break;
    case NGHTTP2_DATA:
        if (line && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
            end_of_stream(s, line);
        break;
    case NGHTTP2_SETTINGS:
        s->met |= !(frame->hd.flags & NGHTTP2_FLAG_ACK);
        break;
    case NGHTTP2_RST_STREAM:
        on_reset(s);
        break;
    case NGHTTP2_PING:
        (frame->hd.flags & NGHTTP2_FLAG_ACK ? on_pong : on_ping)(s);
        break;
    case NGHTTP2_GOAWAY:
        on_goaway(s, &frame->goaway);
        break;
    default:
        break;
    }
    return s->refused ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* It costs whoever reads it as much as one that does. */
void naru__grpc_count_empty(struct grpc_session *s)
{
    enum { MOST = 10000 }; /* in a second */
    int64_t now = naru__now();
    if (now - s->flood.since > (int64_t)NARU_S) {
        s->flood.since = now;
        s->flood.frames = 0;
    }
    if (++s->flood.frames > MOST)
        naru__grpc_end(s, NGHTTP2_ENHANCE_YOUR_CALM, "too many frames that carry nothing");
}

static int on_begin_frame(nghttp2_session *h2, const nghttp2_frame_hd *hd, void *arg)
{
    struct grpc_session *s = arg;
    bool last = hd->type == NGHTTP2_HEADERS && hd->flags & NGHTTP2_FLAG_END_STREAM;
    if (last && !s->carrier.server && !line_of(s, hd->stream_id))
        events_of(s)->on_late(&s->carrier); /* to a call that was given up */
    bool empty =
        hd->type == NGHTTP2_DATA && hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM);
    (void)h2;
    if (empty || hd->type == NGHTTP2_PING || hd->type == NGHTTP2_SETTINGS ||
        hd->type == NGHTTP2_PRIORITY || hd->type == NGHTTP2_CONTINUATION || hd->type > 9)
        naru__grpc_count_empty(s);
    return s->refused ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_sent(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
    struct grpc_session *s = arg;
    struct grpc_line *line = frame->hd.stream_id ? line_of(s, frame->hd.stream_id) : NULL;
    if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)
        s->flood.strikes = 0;
    bool last = frame->hd.type == NGHTTP2_HEADERS && frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (line && s->carrier.server && last && !line->in.ended) /* RFC 9113, 8.1: it need not go on */
        (void)nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, line->id, NGHTTP2_NO_ERROR);
    return 0;
}

/* A call that could not even be opened, for the server takes no more. */
static int on_not_sent(nghttp2_session *h2, const nghttp2_frame *frame, int code, void *arg)
{
    struct grpc_session *s = arg;
    (void)h2;
    (void)code;
    if (s->carrier.server || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct grpc_line *line = s->lines;
    while (line && line->id != frame->hd.stream_id)
        line = line->next;
    if (!line || line_of(s, line->id)) /* a stream that there is is closed next */
        return 0;
    if (line->call) {
        line->call->unbegun = true;
        line->out.ends = true;
        naru__grpc_drop_outgoing(s, line);
        end_with(s, line, NARU_STATUS_UNAVAILABLE, "the server takes no more calls");
    }
    naru__grpc_line_free(s, line);
    return 0;
}

static void closed_at_server(struct grpc_session *s, struct grpc_line *line)
{
    struct naru_call *call = line->call;
    bool leaves = call->flow.leaves;
    naru__grpc_part(line);
    if (line->settles) /* by who waits for this */
        return;
    if (leaves)
        events_of(s)->on_gone(call);
    else
        events_of(s)->on_end(call, &(struct naru_ending){.code = NARU_STATUS_CANCELLED});
}

static int on_closed(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
    struct grpc_session *s = arg;
    struct grpc_line *line = line_of(s, id);
    char text[sizeof s->sent_away];
    (void)h2;
    if (!line)
        return 0;
    if (line->call && s->carrier.server) {
        closed_at_server(s, line);
    } else if (line->call) {
        if (code == NGHTTP2_REFUSED_STREAM && s->sent_away[0])
            snprintf(text, sizeof text, "%s", s->sent_away);
        else
            snprintf(text, sizeof text, "the server ended the call: %s",
                     nghttp2_http2_strerror(code));
        line->call->unbegun = code == NGHTTP2_REFUSED_STREAM;
        line->out.ends = true;
        naru__grpc_drop_outgoing(s, line);
        end_with(s, line, naru__grpc_of_reset(code), text);
    }
    (void)nghttp2_session_set_stream_user_data(h2, id, NULL);
    naru__grpc_line_free(s, line);
    return 0;
}

int naru__grpc_callbacks(nghttp2_session_callbacks **ret_callbacks)
{
    nghttp2_session_callbacks *c;
    int r = nghttp2_session_callbacks_new(&c);
    if (r != 0)
        return r;
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(c, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_send_data_callback(c, naru__grpc_put_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(c, on_not_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_closed);
    *ret_callbacks = c;
    return 0;
}
