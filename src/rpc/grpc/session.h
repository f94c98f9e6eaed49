/* SPDX-License-Identifier: MIT */
/* session.h - gRPC on HTTP/2, one connection: what session.c (its life, bytes in and out), in.c
 * (what comes) and out.c (what goes) share.
 *
 * nghttp2 has the frames, HPACK and both windows of HTTP/2; naru the calls, gRPC's messages within
 * DATA, its fields, and how much memory either side may cost. A call is a stream of HTTP/2, here a
 * `line`: it lives from the first HEADERS until nghttp2 says that the stream is closed, so also
 * when its call has left. */
#ifndef NARU_RPC_GRPC_SESSION_H
#define NARU_RPC_GRPC_SESSION_H

#include "rpc/call.h"

#include <nghttp2/nghttp2.h>

#define GRPC_VERSION "0.1.0"

enum {
    GRPC_HEAD = 5,           /* of a message: compressed or not, its length */
    GRPC_OUT_FULL = 65536,   /* bytes of a call's that wait for its window: no more are accepted */
    GRPC_IN_MANY = 64 << 20, /* bytes that came and nobody took: it may send no more */
    GRPC_WINDOW = 1 << 20,   /* of a connection; that of a call is .window */
    GRPC_BLOCK = 65536       /* one read's, and one write's */
};

/* Where bytes are read to. What is kept in place keeps it. */
struct grpc_block {
    unsigned refs;
    uint8_t bytes[GRPC_BLOCK];
};

/* A list of header fields, and behind it their texts. Its room is asked for before the first. */
struct grpc_fields {
    struct naru_buffer at; /* of nghttp2_nv */
    struct naru_buffer text;
    size_t n;
};

struct grpc_line {
    int32_t id;
    struct naru_call *call;            /* NULL: it has left */
    struct grpc_line *next, *previous; /* of the connection's */

    struct { /* what goes */
        struct naru_buffer bytes;
        size_t gone;
        struct grpc_fields trailers; /* server: behind it */
        bool header;                 /* server: HEADERS went ahead */
        bool ends;                   /* nothing comes behind bytes but the trailers */
        bool idle;                   /* nghttp2 asked, and there was nothing */
        bool shut;                   /* a message was not accepted, and the owner waits */
        bool compresses;
    } out;

    struct { /* what comes */
        uint8_t head[GRPC_HEAD];
        unsigned head_got;
        uint8_t *data; /* of a message that comes in pieces */
        size_t size, got, room;
        size_t held;               /* bytes of DATA that the window was not opened for again */
        unsigned untaken;          /* messages that the application has not taken */
        bool compressed;           /* the message that comes */
        bool knows_encoding, gzip; /* as grpc-encoding says */
        bool deaf;                 /* no more of it is wanted: what comes is dropped */
        bool ended;
    } in;

    bool server;
    bool takes_gzip; /* the other side */
    bool headed;     /* client: the answer's header has come */
    bool settles;    /* its end is met by who calls nghttp2, and not told to the owner */
    int http;        /* client: HTTP's status, if it is not gRPC's */
};

/* The header list that is coming: one at a time, as HTTP/2 has it. */
struct grpc_gathered {
    struct naru_buffer metadata; /* a list, as naru__metadata_check */
    struct naru_buffer message, details;
    size_t size; /* as HTTP/2 counts */
    bool too_large, broken;
    bool malformed; /* as RFC 9113, 8.2.1 has it */
    bool no_memory;
    char path[RPC_PATH_MAX + 1];
    bool has_path, post, te;
    bool grpc; /* content-type */
    bool has_type;
    int http, code; /* -1: none */
    int64_t time;   /* NARU_FOREVER */
    bool bad_time;
    bool has_encoding, gzip; /* grpc-encoding; gzip: it is, or deflate; else identity */
    bool strange_encoding;
    bool takes_gzip;
    uint64_t signature;
};

struct grpc_session {
    struct naru_carrier carrier;
    naru_stream *stream;
    nghttp2_session *h2;
    bool met;
    bool inside;         /* nghttp2, which is not to be asked to go on from within */
    bool goes;           /* server: GOAWAY was announced */
    int lost;            /* it is over */
    const char *refused; /* why the other side is sent away */
    char sent_away[200]; /* client: why it is, as GOAWAY says */
    int out_lost;
    char *authority; /* client */

    struct naru_buffer out; /* bytes that go */
    size_t out_gone;
    size_t waiting;  /* bytes in all lines' out.bytes */
    size_t joining;  /* bytes of room for messages that come in pieces */
    size_t held;     /* in all lines' in.held */
    size_t unopened; /* bytes that the connection's window was not opened for again */

    struct grpc_block *block; /* last read to; NULL: none */
    size_t block_at, block_used;
    const void *current; /* the arrival of the upcall that is running, in block */

    struct grpc_line *lines;
    struct grpc_gathered gathered;
    struct grpc_fields fields; /* of what is submitted now */
    struct naru_buffer scratch;

    int64_t heard; /* from the other side, if limits.keepalive asks */
    bool asked;    /* and a PING is on its way */

    struct { /* server: where in the frames that come nghttp2 is (resets.c) */
        uint8_t head[16];
        size_t got; /* of the head, and not with nghttp2 yet when a block ends within it */
        bool whole;
        size_t left;     /* of the frame's payload, at first of what a client says ahead of all */
        uint32_t opened; /* the last stream of HEADERS */
    } came;

    struct {           /* what a peer does that is no call (in.c) */
        int64_t since; /* the second that is counted */
        unsigned frames;
        int64_t pinged;
        unsigned strikes;
        int64_t reset_at;
        int64_t resets; /* that time has not forgiven yet */
    } flood;
};

static inline struct grpc_session *naru__grpc_of(struct naru_carrier *carrier)
{
    return (struct grpc_session *)carrier;
}

static inline struct grpc_line *naru__grpc_line(const struct naru_call *call)
{
    return (struct grpc_line *)call->flow.stream;
}

/* ---- session.c ---- */

/* The connection is over by `code`, whose sentence is written. Returns the code. */
int naru__grpc_lose(struct grpc_session *, int code);
struct grpc_line *naru__grpc_line_new(struct grpc_session *, int32_t id);
void naru__grpc_line_free(struct grpc_session *, struct grpc_line *);
/* The line has a call no more. */
void naru__grpc_part(struct grpc_line *);
/* Bytes into the buffer of what goes. 0, or the connection is lost. */
int naru__grpc_put(struct grpc_session *, const uint8_t *data, size_t n);
/* Another frame's room is there, for this write. */
bool naru__grpc_has_room(const struct grpc_session *);
/* What nghttp2 has ready goes into the buffer, and if there is much, to the medium. */
void naru__grpc_pump(struct grpc_session *);
/* Something was submitted: it goes, unless more is to be gathered. */
void naru__grpc_submitted(struct grpc_session *);
/* From a callback, which then fails: the peer is told why, and the connection ends. why: lives. */
void naru__grpc_end(struct grpc_session *, uint32_t code, const char *why);

/* ---- in.c ---- */

int naru__grpc_callbacks(nghttp2_session_callbacks **ret_callbacks);
/* So many bytes of the line's stream were dealt with: the window opens. */
void naru__grpc_open_window(struct grpc_session *, struct grpc_line *, size_t size);
/* The connection's window opens, if the calls together leave room for more. */
void naru__grpc_open_connection(struct grpc_session *);
void naru__grpc_drop_incoming(struct grpc_session *, struct grpc_line *);
/* A frame has come that carries nothing of a call: too many end the connection. */
void naru__grpc_count_empty(struct grpc_session *);

/* ---- resets.c ---- */

/* 0, or nghttp2's error. */
int naru__grpc_feed(struct grpc_session *, const uint8_t *bytes, size_t n);

/* ---- out.c ---- */

/* nghttp2's send_data callback: one frame of DATA. */
int naru__grpc_put_data(nghttp2_session *, nghttp2_frame *, const uint8_t *head, size_t n,
                        nghttp2_data_source *, void *arg);
int naru__grpc_open(struct naru_carrier *, struct naru_call *, const struct naru_opening *,
                    const void *data, size_t size, bool end);
int naru__grpc_message(struct naru_carrier *, struct naru_call *, const void *data, size_t size,
                       bool end);
int naru__grpc_half_close(struct naru_carrier *, struct naru_call *);
int naru__grpc_cancel(struct naru_carrier *, struct naru_call *, int code);
int naru__grpc_header(struct naru_carrier *, struct naru_call *, struct naru_span metadata);
int naru__grpc_status(struct naru_carrier *, struct naru_call *, const struct naru_ending *,
                      const void *data, size_t size);
void naru__grpc_drop_outgoing(struct grpc_session *, struct grpc_line *);
/* Server: refuses a line that has no call. */
void naru__grpc_refuse(struct grpc_session *, struct grpc_line *, int code, const char *text);
void naru__grpc_refuse_http(struct grpc_session *, struct grpc_line *, const char *status);

#endif
