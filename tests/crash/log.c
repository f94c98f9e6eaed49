/* SPDX-License-Identifier: MIT */
/* log.c - what was started, acknowledged and received, and the rules that it must obey. */
#include "rig.h"

#include <string.h>

void log_sending(struct world *w, unsigned id)
{
    w->log->message[id].sending++;
}

void log_sent(struct world *w, unsigned id)
{
    w->log->message[id].sent++;
}

void log_consuming(struct world *w, int n)
{
    w->log->consuming = n;
}

unsigned log_stream(const struct world *w, unsigned id)
{
    return id / (MESSAGES_MAX / (w->scenario->streams ? STREAMS_MAX : 2));
}

static void in_order(struct world *w, unsigned id)
{
    _Atomic int *last = &w->log->last_got[w->scenario->streams ? w->who : 0][log_stream(w, id)];
    if ((int)id < *last && !w->log->no_order)
        failed(w, "message %u arrived after message %d", id, *last);
    *last = (int)id;
}

void log_got(struct world *w, unsigned id, bool redelivered)
{
    if (id >= MESSAGES_MAX || !w->log->message[id].sending)
        failed(w, "message %u arrived, which nobody sent", id);
    if (redelivered)
        w->log->message[id].got_again++;
    else if (w->log->message[id].got++)
        failed(w, "message %u arrived twice and is not marked", id);
    else if (w->log->message[id].got_again)
        failed(w, "message %u arrived again and is not marked", id);
    if (!redelivered)
        in_order(w, id);
}

void log_got_by(struct world *w, unsigned id)
{
    if (id >= MESSAGES_MAX || !w->log->message[id].sending)
        failed(w, "message %u arrived, which nobody sent", id);
    if (w->log->by[w->who][id]++)
        failed(w, "message %u arrived twice", id);
    in_order(w, id);
}

void check_log(struct world *w)
{
    int lost = 0, which = -1;
    for (int id = 0; id < MESSAGES_MAX; id++) {
        bool got = w->log->message[id].got || w->log->message[id].got_again;
        if (w->log->message[id].sent && !got && !w->log->none_left[log_stream(w, (unsigned)id)] &&
            lost++ == 0)
            which = id;
    }
    if (lost > w->log->consuming)
        failed(w, "%d acknowledged messages never arrived, message %d first", lost, which);
}

void message_fill(void *data, size_t size, unsigned id)
{
    unsigned char *p = data;
    for (size_t i = 0; i < size; i++)
        p[i] = (unsigned char)(i < 4 ? id >> 8 * i : id * 31 + i * 7 + (i >> 8));
}

int message_id(const void *data, size_t size)
{
    const unsigned char *p = data;
    unsigned id;
    if (size < sizeof id)
        return -1;
    memcpy(&id, data, sizeof id);
    for (size_t i = 4; i < size; i++)
        if (p[i] != (unsigned char)(id * 31 + i * 7 + (i >> 8)))
            return -1;
    return id < MESSAGES_MAX ? (int)id : -1;
}
