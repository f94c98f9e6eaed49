/* SPDX-License-Identifier: MIT */
/* talk.c - one thread a direction, as a handle of naru's allows. */
#include "tool/talk.h"

#include "tool/format.h"
#include "tool/print.h"
#include "tool/stop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct talk {
    struct invocation *in;
    naru_stream *stream;
    naru_channel *channel;
    int64_t bytes_out, bytes_in, messages_out, messages_in;
    int status; /* of the sending thread */
};

static void *handle_of(const struct talk *t)
{
    return t->stream ? (void *)t->stream : (void *)t->channel;
}

/* A signal ends one wait: the other direction's is ended by this one. */
static int cannot(const struct talk *t)
{
    if (!stopped())
        return fail_naru(t->in);
    naru_cancel(handle_of(t));
    return 128 + stopped();
}

/* ---- standard input goes in ---- */

static int send_bytes(struct talk *t)
{
    static char buf[1 << 16];
    for (;;) {
        ssize_t n = read(STDIN_FILENO, buf, sizeof buf);
        if (n < 0 && errno == EINTR && !stopped())
            continue;
        if (n < 0)
            return stopped() ? 128 + stopped() : fail(t->in, "standard input: %s", strerror(errno));
        if (n == 0)
            return naru_stream_shutdown(t->stream, NARU_WRITE) < 0 ? cannot(t) : 0;
        int r = naru_stream_write_all(t->stream, buf, (size_t)n, NARU_FOREVER, NULL);
        if (r == -EPIPE || r == -ECONNRESET)
            return 0; /* the other side wants no more; what it sends tells how it ended */
        if (r < 0)
            return cannot(t);
        t->bytes_out += n;
    }
}

static int send_line(struct talk *t, const char *line, size_t n)
{
    const char *why;
    size_t size;
    uint32_t type = (uint32_t)option_number(t->in, "type", 1);
    enum format format = (enum format)option_number(t->in, "format", FORMAT_TEXT);
    char *data = parse_message(format, line, n, &size, &type, &why);
    if (!data)
        return fail(t->in, "\"%.*s\": %s", n < 60 ? (int)n : 60, line, why);
    int r = naru_channel_send(t->channel, type, data, size, NARU_FOREVER);
    free(data);
    if (r < 0)
        return cannot(t);
    t->messages_out++;
    t->bytes_out += (int64_t)size;
    return 0;
}

static int send_messages(struct talk *t)
{
    char *line = NULL;
    size_t room = 0;
    int status = 0;
    ssize_t n;
    while (status == 0 && !stopped() && (n = getline(&line, &room, stdin)) >= 0) {
        n -= n > 0 && line[n - 1] == '\n';
        status = send_line(t, line, (size_t)n);
    }
    free(line);
    if (status == 0 && stopped())
        return 128 + stopped();
    if (status == 0 && ferror(stdin))
        return fail(t->in, "standard input: %s", strerror(errno));
    if (status == 0 && naru_channel_shutdown(t->channel) < 0)
        return cannot(t);
    return status;
}

static void *sending(void *context)
{
    struct talk *t = context;
    t->status = t->stream ? send_bytes(t) : send_messages(t);
    return NULL;
}

/* ---- what comes goes out ---- */

static int put_out(struct talk *t, const void *data, size_t n)
{
    int r = write_all(STDOUT_FILENO, data, n);
    if (r == 0 || r == -EPIPE)
        return r == 0 ? 0 : EXIT_FAILED;
    return fail(t->in, "standard output: %s", strerror(-r));
}

static int receive_bytes(struct talk *t)
{
    static char buf[1 << 16];
    for (;;) {
        ssize_t n = naru_stream_read(t->stream, buf, sizeof buf, NARU_FOREVER);
        if (n <= 0)
            return n < 0 ? cannot(t) : 0;
        t->bytes_in += n;
        int status = put_out(t, buf, (size_t)n);
        if (status)
            return status;
    }
}

static int receive_messages(struct talk *t)
{
    enum format format = (enum format)option_number(t->in, "format", FORMAT_TEXT);
    for (;;) {
        struct naru_message m;
        size_t n;
        int r = naru_channel_take(t->channel, 0, NARU_FOREVER, &m);
        if (r < 0)
            return r == -EPIPE ? 0 : cannot(t);
        char *out = format_message(wants_json(t->in) ? FORMAT_JSON : format, &m, &n);
        int status = out ? put_out(t, out, n) : fail(t->in, "no memory for %zu bytes", m.size);
        free(out);
        t->messages_in++;
        t->bytes_in += (int64_t)m.size;
        naru_channel_release(t->channel, &m, 1);
        if (status)
            return status;
    }
}

/* ---- both ---- */

static void summary(const struct talk *t)
{
    json_t *o = json_pack("{s:I, s:I}", "bytes_sent", (json_int_t)t->bytes_out, "bytes_received",
                          (json_int_t)t->bytes_in);
    if (t->channel) {
        json_object_set_new(o, "messages_sent", json_integer((json_int_t)t->messages_out));
        json_object_set_new(o, "messages_received", json_integer((json_int_t)t->messages_in));
    }
    json_dumpf(o, stderr, JSON_COMPACT); /* standard output is the data's */
    fputc('\n', stderr);
    json_decref(o);
}

int talk(struct invocation *in, naru_stream *stream, naru_channel *channel)
{
    struct talk t = {.in = in, .stream = stream, .channel = channel};
    pthread_t thread;
    signal(SIGPIPE, SIG_IGN);
    stop_on_signals(handle_of(&t));
    int error = pthread_create(&thread, NULL, sending, &t);
    if (error)
        return fail(in, "no thread for the sending direction: %s", strerror(error));
    int status = stream ? receive_bytes(&t) : receive_messages(&t);
    if (status)
        return status; /* the sending thread may be waiting for input: it goes with the process */
    pthread_join(thread, NULL);
    stop_on_signals(NULL);
    naru_stream_close(stream);
    naru_channel_close(channel);
    if (wants_json(in))
        summary(&t);
    return t.status;
}
