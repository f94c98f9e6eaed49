/* SPDX-License-Identifier: MIT */
/* wake.pml - receivers of a queue that sleep, and a sender that comes later and may die between any
 * two steps; its stores may be held back, as those of a processor are. A receiver that is woken and
 * takes one, or none as its time has passed, wakes the next one if there are more. Whoever is not alone looks, when somebody
 * has died, at its next tick; whoever is alone has none.
 *
 * Nobody sleeps while there is something for it. With -D one of the mutants the model must fail.
 *   NO_BARRIER      the sleeper's naru__os_barrier is left out
 *   NO_SECOND_LOOK  armed, and asleep without another look
 *   NOT_PASSED_ON   the woken one wakes nobody
 *   NOT_GREETED     whoever comes does not tell those who sleep alone */
#define MESSAGES 2
#define RECEIVERS 2

byte stamp, stamp_held; /* published; in memory, and still in the sender's store buffer */
byte taken;             /* claimed */
bool armed[RECEIVERS];
byte bell[RECEIVERS];
bool there, dead;       /* the sender's record, its death */
bool asleep[RECEIVERS];

#define FLUSH if :: stamp_held != 0 -> stamp = stamp_held; stamp_held = 0 :: else -> skip fi
#define DIE if :: true -> goto dying :: true -> skip fi

/* The processor writes its buffer out whenever it likes. */
active proctype processor()
{
end:
    do
    :: atomic { stamp_held != 0 -> stamp = stamp_held; stamp_held = 0 }
    od
}

active proctype sender()
{
    byte n = 1, i;
    bool mine;
    there = true; /* naru__object_appear */
    DIE;
#ifndef NOT_GREETED
    for (i : 0 .. RECEIVERS - 1) {
        bell[i]++; /* greet */
        DIE
    }
#endif
    do
    :: true -> break /* it has no more, and lives on */
    :: n <= MESSAGES ->
        (stamp_held == 0); /* one is held back at most, and stores keep their order */
        stamp_held = n; /* naru__lane_publish_small */
        DIE;
        i = 0;
        do /* naru__lanes_wake_receivers */
        :: i == RECEIVERS -> break
        :: i < RECEIVERS && !armed[i] -> i++
        :: i < RECEIVERS && armed[i] ->
            atomic { FLUSH; mine = armed[i]; armed[i] = false }; /* take_bit */
            DIE;
            if
            :: mine -> bell[i]++; break /* ring */
            :: !mine -> i++
            fi
        od;
        n++
    od;
    goto done;
dying:
    (stamp_held == 0);
    dead = true;
done:
    skip
}

proctype receiver(byte me)
{
    byte value, i;
    bool rung, alone, late;
    do
    :: atomic { stamp > taken -> taken++ }; /* naru__lane_claim */
        break
    :: atomic { stamp == taken -> value = bell[me] }; /* sleep_once */
        armed[me] = true; /* set_bit */
#ifndef NO_BARRIER
        atomic { FLUSH }; /* naru__os_barrier */
#endif
        alone = !there; /* alone */
        if
#ifndef NO_SECOND_LOOK
        :: stamp > taken -> skip /* possible */
        :: stamp == taken ->
#else
        :: true ->
#endif
            asleep[me] = true;
end:
            if /* naru__wait_futex */
            :: bell[me] != value
            :: dead && !alone /* look_for_dead */
            :: me == 0 && !late -> late = true /* its time has passed */
            fi;
            asleep[me] = false
        fi;
        if
        :: atomic { armed[me] -> armed[me] = false } /* take_bit */
        :: !armed[me] -> rung = true
        fi;
        if
        :: late -> break
        :: !late && dead && stamp == taken -> goto done /* and nothing will come */
        :: else -> skip
        fi
    od;
#ifndef NOT_PASSED_ON
    if
    :: rung && stamp > taken -> /* pass_on */
        i = 0;
        do
        :: i == RECEIVERS -> break
        :: i < RECEIVERS && !armed[i] -> i++
        :: atomic { i < RECEIVERS && armed[i] -> armed[i] = false }; /* take_bit */
            bell[i]++; /* ring */
            break
        od
    :: else -> skip
    fi;
#endif
done:
    skip
}

init
{
    atomic { run receiver(0); run receiver(1) };
    timeout; /* nobody can go on */
    assert(stamp == taken || !(asleep[0] || asleep[1]))
}
