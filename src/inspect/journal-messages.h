/* SPDX-License-Identifier: MIT */
/* journal-messages.h - the messages of a journal, read without taking them. */
#ifndef NARU_INSPECT_JOURNAL_MESSAGES_H
#define NARU_INSPECT_JOURNAL_MESSAGES_H

#include "naru/channel.h"
#include "object/view.h"

/* The messages that wait: those that the cursor of the queue has not passed, and that nobody has
 * taken; where there is no such cursor, all. */
struct journal_messages;

int naru__journal_messages_open(const struct naru_object_view *, struct journal_messages **ret);
int naru__journal_messages_next(struct journal_messages *, int64_t select,
                                struct naru_message *ret_message);
void naru__journal_messages_close(struct journal_messages *);

#endif
