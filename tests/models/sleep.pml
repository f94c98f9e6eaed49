/* SPDX-License-Identifier: MIT */
/* sleep.pml - going to sleep and waking, on processors that keep stores back (store buffers, as x86
 * has them): a receiver that finds nothing arms its word and sleeps on its bell; a sender publishes
 * and looks at the word, without a fence of its own. The sender may die, which wakes by the pidfd.
 *
 * A wake-up that is missed is a receiver that sleeps for ever: an invalid end state. With -D one of
 * these mutants the model must fail.
 *   NO_BARRIER      no naru__os_barrier: the sender's store may still be held back
 *   NO_SECOND_LOOK  arm without looking once more
 *   DRAIN_LAST      empty the bell after arming
 *   RUNG_FOR_GOOD   the sender rings once, not once a sleep
 *   SAME_SLEEP      a new sleep has the number of the one before
 *   ALWAYS_STILL    the bell is emptied, and the word not armed anew
 *   NO_DEATH        the pidfd is not watched */
#define MESSAGES 3

byte stamp;       /* the newest message in memory */
byte stamp_held;  /* ... and in the sender's store buffer */
byte armed;       /* the receiver's word in memory: odd while it sleeps */
byte armed_held;
byte bell;        /* the eventfd */
bool dead;

inline look_at_word() /* naru__shm_ring_receiver */
{
    value = armed;
    if
#ifdef RUNG_FOR_GOOD
    :: value % 2 == 1 && rung == 0 ->
#else
    :: value % 2 == 1 && value != rung ->
#endif
        bell = 1; /* naru__os_eventfd_signal */
        rung = value;
    :: else -> skip
    fi;
}

active proctype sender()
{
    byte n = 1, value, rung;
    bool killed;
    do
    :: n > MESSAGES -> break
    :: n <= MESSAGES -> /* naru__ring_publish_inline, then the word */
        (stamp_held == 0); /* one store is held back at most, and stores keep their order */
        stamp_held = n;
        look_at_word();
        n++
    :: n <= MESSAGES -> killed = true; break
    od;
    if
    :: killed -> (stamp_held == 0); dead = true /* what was stored is seen before the death */
    :: !killed -> skip /* it lives on and says nothing more */
    fi
}

/* The processors write their buffers out whenever they like. */
active proctype processors()
{
end:
    do
    :: atomic { stamp_held != 0 -> stamp = stamp_held; stamp_held = 0 }
    :: atomic { armed_held != 0 -> armed = armed_held; armed_held = 0 }
    od
}

active proctype receiver()
{
    byte next = 1, generation = 0;
    bool still; /* armed from the sleep before */
    do
    :: stamp >= next -> next++ /* recv_small */
    :: next > MESSAGES -> break
    :: dead && stamp < next -> break /* look_for_end */
    :: next <= MESSAGES && stamp < next && !dead -> /* end_watch: arm */
#ifdef ALWAYS_STILL
        if
        :: still -> bell = 0
#else
        if
        :: still && bell == 0 -> skip /* naru__os_eventfd_take: unrung since it was armed */
#endif
        :: else ->
            generation = generation + 1 + still; /* set_armed: odd, another sleep */
#ifndef DRAIN_LAST
            bell = 0; /* naru__os_eventfd_take */
#endif
            (armed_held == 0);
            armed_held = generation;
#ifndef NO_BARRIER
            atomic { /* naru__os_barrier: this processor's buffer and the sender's */
                if :: armed_held != 0 -> armed = armed_held; armed_held = 0 :: else -> skip fi;
                if :: stamp_held != 0 -> stamp = stamp_held; stamp_held = 0 :: else -> skip fi
            }
#endif
        fi;
#ifdef DRAIN_LAST
        bell = 0;
#endif
        if
#ifndef NO_SECOND_LOOK
        :: stamp >= next -> skip /* come */
        :: stamp < next ->
#else
        :: true ->
#endif
#ifdef NO_DEATH
            (bell == 1) /* naru__os_poll */
#else
            (bell == 1 || dead)
#endif
        fi;
        if
#ifdef SAME_SLEEP
        :: true -> still = false; armed_held = generation + 1; (armed_held == 0); generation--
#else
        :: true -> /* naru__shm_waited */
            still = false; generation++; (armed_held == 0); armed_held = generation
#endif
        :: true -> still = true /* it sleeps again at once, as naru_fd does */
        fi
    od
}
