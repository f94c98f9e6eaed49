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
    if (!redelivered) {
        _Atomic int *last = &w->log->last_got[id >= MESSAGES_MAX / 2];
        if ((int)id < *last)
            failed(w, "message %u arrived after message %d", id, *last);
        *last = (int)id;
    }
}

void check_log(struct world *w)
{
    int lost = 0, which = -1;
    for (int id = 0; id < MESSAGES_MAX; id++) {
        bool got = w->log->message[id].got || w->log->message[id].got_again;
        if (w->log->message[id].sent && !got && !w->log->none_left[id >= MESSAGES_MAX / 2] &&
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
