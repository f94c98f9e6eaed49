/* SPDX-License-Identifier: MIT */
/* naru/journal.h - what queues and topics on `map:` have more: they survive everything.
 *
 *   struct naru_journal_options j = {sizeof j, .sync = NARU_SYNC_EACH, .cursor = "billing"};
 *   struct naru_queue_options o = {sizeof o, .journal = &j};
 *   naru_queue_open("map:/var/lib/orders", NARU_SEND | NARU_RECV, &o, &c);
 *
 * map:/dir is a directory with an append-only journal. A queue and a topic of that name are the
 * same journal: a queue's receivers share a cursor, and each message goes to one of them; a topic's
 * subscribers have a cursor each, and see all. A cursor with a name stays when its user has gone,
 * and goes on where that was.
 *
 * What survives what: a message for which send has returned survives the death of any process, at
 * any instruction. It survives the loss of power once it was synced, as .sync says or by
 * naru_journal_sync. A torn tail is cut at the last whole message.
 *
 * No thread runs behind it: what is owed to .sync = N ns is done by the next call on this handle
 * after that time. Its descriptor (naru_fd) fires then, and tells a sender nothing else, for a
 * journal is never full. A sender that neither calls nor watches leaves its last messages unsynced
 * until it closes. */
#ifndef NARU_JOURNAL_H
#define NARU_JOURNAL_H

#include <naru/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NARU_SYNC_EACH INT64_C(-1) /* send returns when the medium has it; who waits, waits
                                    * together: one flush serves all */

/* .from */
#define NARU_FROM_OLDEST UINT64_C(1) /* sequences begin at 1: the oldest that is kept */

struct naru_journal_options {
    size_t size;          /* sizeof(struct naru_journal_options) */
    const char *cursor;   /* receiver's: its name, of 1 to 64 letters, digits, '.', '_', '-'. NULL:
                           * a queue's is "default", a topic's subscriber has none that stays */
    int64_t sync;         /* sender's: 0 never by itself, NARU_SYNC_EACH, or ns after which it is */
    uint64_t from;        /* a new cursor begins at that sequence; 0: a queue's at the oldest, a
                           * topic's behind the last */
    int64_t since;        /* ... or at the first message of that time, ns since 1970; 0: no */
    uint64_t keep_bytes;  /* creator's: so many bytes of whole old segments are kept; 0: all */
    int64_t keep_time;    /* creator's: ns for which they are; 0: for ever */
    unsigned keep_unread; /* creator's: 1: what every named cursor has passed goes */
    unsigned skip;        /* receiver's: 1: damaged messages are passed over, and count as missed */
};

/* naru_journal_sync - waits until the medium has everything that was sent to it so far
 *
 * By anybody. channel: a queue or topic on map:, opened to send.
 *
 * Returns: 0.
 * Errors: -EIO the medium did not take it, now or before: nobody knows what it has; -EAGAIN,
 * -ETIMEDOUT; -EOPNOTSUPP it is no journal, or not opened to send; the common ones.
 * Thread: one each way (sending). Fork: -ECHILD. Blocks: up to timeout. */
NARU_API int naru_journal_sync(naru_channel *channel, int64_t timeout);

/* naru_journal_trim - gives up what is older
 *
 * Whole segments go, so something older may stay; before that what stays is synced, if anything of
 * the journal was. before: the first sequence to keep. Cursors that are behind it go on there, and
 * are told by info.missed.
 *
 * ret_bytes: how much was freed; may be NULL.
 * Returns: 0.
 * Errors: -ENOENT; -EEXIST it is no journal; -EIO the medium does not take what stays; those of
 * naru_queue_open.
 * Thread: any. Fork: works. Blocks: while another sends, and as long as syncing takes. */
NARU_API int naru_journal_trim(const char *url, uint64_t before, uint64_t *ret_bytes);

/* What naru_journal_verify found. */
struct naru_journal_report {
    size_t size;        /* sizeof(struct naru_journal_report), set by the caller */
    uint64_t segments, records, bytes; /* whole ones; bytes of their payload */
    uint64_t first, last;              /* sequences */
    uint64_t torn;      /* bytes at the end that count for nothing: of messages that are not whole;
                         * after a loss of power, all behind the first of those, if not synced */
    uint64_t damaged;   /* places before it where messages are damaged or lost */
    uint64_t bad_segment, bad_offset;  /* of the first one */
    uint64_t bad_sequence, readable;   /* which should be there; whole ones after it */
    uint64_t unbegun; /* segments that were made, and nothing is in them */
    uint64_t behind;  /* messages in the torn bytes that are whole, and go with them */
};

/* naru_journal_verify - reads every byte of it and compares every check sum
 *
 * It takes part in nothing, and writes nothing. progress: called now and then with the bytes done
 * and all of them; may be NULL; other than 0: it ends with -ECANCELED.
 *
 * ret_report: what was found; its .size is set by the caller.
 * Returns: 0: the journal is whole, but for what `torn`, `behind` and `unbegun` say; 1: it is
 * damaged.
 * Errors: -ENOENT; -EEXIST it is no journal; -EACCES; -EIO.
 * Thread: any. Fork: works. Blocks: as long as reading takes. */
NARU_API int naru_journal_verify(const char *url, struct naru_journal_report *ret_report,
                                 int (*progress)(void *arg, uint64_t done, uint64_t all),
                                 void *arg);

#ifdef __cplusplus
}
#endif
#endif
