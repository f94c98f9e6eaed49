/* SPDX-License-Identifier: MIT */
/* wire.c - one message as bytes.
 *
 * The cursor stands in a frame: `at` bytes of it (header, then payload) are written. The payload
 * cursor (vector, n, offset) stands where that frame's payload begins, so that both fill and abort
 * walk from there. A long message ends with an END frame whose one payload byte is the verdict; it
 * is part of the stream like any other, so a cut anywhere leaves a decision still to be sent. */
#include "transport/common/wire.h"

#include <string.h>

/* What follows frame f. False: nothing does. */
static bool next_frame(const struct naru_wire *w, struct naru_frame *f)
{
    if (w->whole || f->kind == FRAME_END)
        return false;
    size_t left = f->left;
    f->kind = left == 0 ? FRAME_END : FRAME_MORE;
    f->size = left == 0 ? 1 : (uint32_t)(left < w->piece ? left : w->piece);
    f->left = left == 0 ? 0 : (uint32_t)(left - f->size);
    return true;
}

size_t naru__wire_small(const struct naru_outgoing *m, uint32_t sender, uint64_t sequence,
                        uint8_t out[FRAME_HEADER + WIRE_SMALL])
{
    size_t at = FRAME_HEADER;
    naru__frame_encode(&(struct naru_frame){.kind = FRAME_WHOLE,
                                            .type = m->type,
                                            .size = (uint32_t)m->size,
                                            .signature = m->signature,
                                            .sender = sender,
                                            .sequence = sequence},
                       out);
    for (size_t i = 0; i < m->n; i++) {
        if (m->vector[i].iov_len)
            memcpy(out + at, m->vector[i].iov_base, m->vector[i].iov_len);
        at += m->vector[i].iov_len;
    }
    return at;
}

void naru__wire_init(struct naru_wire *w, const struct naru_outgoing *out, size_t atomic,
                     size_t piece, uint32_t sender, uint64_t sequence)
{
    w->vector = out->vector;
    w->n = out->n;
    w->offset = w->at = 0;
    w->piece = piece;
    w->done = false;
    /* and one vector holds it: else one write does not, and it may have to be given up */
    w->whole = FRAME_HEADER + out->size <= atomic && out->n < WIRE_VECTOR - 1;
    size_t size = out->size < piece ? out->size : piece;
    w->frame = (struct naru_frame){
        .kind = w->whole ? FRAME_WHOLE : FRAME_FIRST,
        .type = out->type,
        .size = (uint32_t)size,
        .left = (uint32_t)(out->size - size),
        .signature = out->signature,
        .sender = sender,
        .sequence = sequence,
    };
}

bool naru__wire_begun(const struct naru_wire *w)
{
    return w->at > 0 || (w->frame.kind != FRAME_WHOLE && w->frame.kind != FRAME_FIRST);
}

/* A place in the payload. */
struct place {
    const struct iovec *v;
    size_t n, offset;
};

/* Moves p on by at most `bytes`, within one piece; returns what it moved over. */
static struct iovec pass(struct place *p, size_t bytes)
{
    size_t here = p->v->iov_len - p->offset;
    size_t step = bytes < here ? bytes : here;
    struct iovec over = {(char *)p->v->iov_base + p->offset, step};
    p->offset += step;
    if (p->offset == p->v->iov_len) {
        p->v++;
        p->n--;
        p->offset = 0;
    }
    return over;
}

static void skip(struct place *p, size_t bytes)
{
    while (bytes > 0 && p->n > 0)
        bytes -= pass(p, bytes).iov_len;
}

int naru__wire_fill(struct naru_wire *w, struct iovec *ret_vector, int frames)
{
    struct naru_frame f = w->frame;
    struct place p = {w->vector, w->n, w->offset};
    size_t at = w->at;
    int n = 0;
    for (int i = 0; i < frames && i < WIRE_FRAMES && n < WIRE_VECTOR - 2; i++, at = 0) {
        uint8_t *header = w->headers[i];
        size_t head = FRAME_HEADER + (f.kind == FRAME_END);
        naru__frame_encode(&f, header);
        header[FRAME_HEADER] = 0; /* END's verdict: it counts */
        if (at < head)
            ret_vector[n++] = (struct iovec){header + at, head - at};
        if (f.kind == FRAME_END)
            break; /* its payload is the verdict, just after the header */
        size_t behind = at > FRAME_HEADER ? at - FRAME_HEADER : 0;
        size_t want = f.size - behind;
        skip(&p, behind);
        while (want > 0 && n < WIRE_VECTOR) {
            struct iovec over = pass(&p, want);
            want -= over.iov_len;
            if (over.iov_len)
                ret_vector[n++] = over;
        }
        if (want > 0) /* the vector is full: the rest comes with the next fill */
            break;
        if (!next_frame(w, &f))
            break;
    }
    return n;
}

void naru__wire_advance(struct naru_wire *w, size_t written)
{
    w->at += written;
    for (;;) {
        size_t length = FRAME_HEADER + (size_t)w->frame.size;
        if (w->done || w->at < length)
            return;
        w->at -= length;
        if (w->frame.kind != FRAME_END) {
            struct place p = {w->vector, w->n, w->offset};
            skip(&p, w->frame.size);
            w->vector = p.v;
            w->n = p.n;
            w->offset = p.offset;
        }
        w->done = !next_frame(w, &w->frame);
    }
}

size_t naru__wire_abort(struct naru_wire *w, uint8_t *out)
{
    size_t n = 0;
    if (w->frame.kind != FRAME_END && w->at > 0) { /* the frame begun must be finished */
        struct iovec vector[WIRE_VECTOR];
        size_t left;
        do {
            int pieces = naru__wire_fill(w, vector, 1);
            size_t step = 0;
            for (int i = 0; i < pieces; i++) {
                memcpy(out + n + step, vector[i].iov_base, vector[i].iov_len);
                step += vector[i].iov_len;
            }
            left = FRAME_HEADER + (size_t)w->frame.size - w->at - step;
            n += step;
            naru__wire_advance(w, step);
        } while (left > 0);
    }
    struct naru_frame end = w->frame;
    uint8_t bytes[FRAME_HEADER + 1];
    size_t at = w->frame.kind == FRAME_END ? w->at : 0;
    end.kind = FRAME_END;
    end.size = 1;
    end.left = 0;
    naru__frame_encode(&end, bytes);
    bytes[FRAME_HEADER] = 1; /* given up */
    memcpy(out + n, bytes + at, sizeof bytes - at);
    w->done = true;
    return n + sizeof bytes - at;
}
