/* SPDX-License-Identifier: MIT */
/* ring.pml - the ring of a shared-memory connection: two slots, five messages, a sender that may die
 * or be paused between any two steps. A message is two cells, so that half of one could be seen.
 *
 * Each step names the C function that it stands for. With -D one of the mutants at the end of this
 * comment, the model must fail.
 *   STAMP_FIRST     publish before the payload is there
 *   CURSOR_FIRST    give the slot back before it was copied
 *   ROOM_UNCHECKED  write without looking for room
 *   STAMP_IS_FLAG   the stamp says only that something is there */
#define SLOTS 2
#define MESSAGES 5

byte stamp[SLOTS], left[SLOTS], right[SLOTS]; /* struct naru_ring_slot */
byte cursor;                                  /* the receiver's word */
bool dead;                                    /* the sender's process */

#ifdef STAMP_IS_FLAG
#define STAMP(n) 1
#else
#define STAMP(n) (n)
#endif

inline die()
{
    if
    :: dead = true; goto ended
    :: skip
    fi
}

active proctype sender()
{
    byte n = 1, consumed = 0;
    do
    :: n > MESSAGES -> break
    :: else ->
#ifndef ROOM_UNCHECKED
        do /* await_room: naru__ring_has_slot, naru__ring_refresh */
        :: n - 1 - consumed < SLOTS -> break
        :: else -> consumed = cursor
        od;
#endif
        die();
#ifdef STAMP_FIRST
        stamp[(n - 1) % SLOTS] = STAMP(n);
        die();
#endif
        left[(n - 1) % SLOTS] = n; /* naru__ring_inline */
        die();
        right[(n - 1) % SLOTS] = n;
        die();
#ifndef STAMP_FIRST
        stamp[(n - 1) % SLOTS] = STAMP(n); /* naru__ring_publish_inline */
        die();
#endif
        n++
    od;
ended:
    skip
}

active proctype receiver()
{
    byte seen = 1, a, b;
    do
    :: stamp[(seen - 1) % SLOTS] == STAMP(seen) -> /* naru__ring_ready */
#ifdef CURSOR_FIRST
        cursor = seen;
#endif
        a = left[(seen - 1) % SLOTS]; /* recv_small */
        b = right[(seen - 1) % SLOTS];
        assert(a == seen && b == seen); /* whole, in order, once */
#ifndef CURSOR_FIRST
        cursor = seen; /* naru__ring_advance */
#endif
        seen++;
        if
        :: seen > MESSAGES -> break
        :: else -> skip
        fi
    :: dead && stamp[(seen - 1) % SLOTS] != STAMP(seen) -> break /* look_for_end */
    od
}
