/* SPDX-License-Identifier: MIT */
/* mutex.pml - what the death of an exclusive owner leaves (src/lock/recover.c, shm/lock.c). Owners
 * lock, and are told of a death or not; they recover, give up, or just unlock, and die anywhere.
 * The dead are settled by anybody, who may die at it and is followed by another (the exchange by
 * which all comes back is one step here: permits.pml shows why it may be).
 *
 * What is guarded is `whole` again once an owner has recovered it, and is not when one died. Who
 * locks must be told if it is not whole, must not be told if it is, and must be told of the process
 * that was the last to die holding it.
 *
 * With -D one of these mutants the model must fail.
 *   NO_MARK      what comes back is not marked
 *   MARK_ANY     ... nor is it looked at whether the dead one owned
 *   DEAD_LATE    the pid is noted after the exchange
 *   DEAD_AGAIN   ... whether or not the exchange was made before
 *   RECOVER_LATE the mark is taken away after unlocking
 *   LOSE_LATE    given back before it is marked as given up
 *   ONCE         the mark is taken away by telling */
#define N 4      /* participants; each locks once, and all but one may die */
#define NOBODY 7

bool taken, dirty, lost;   /* the word */
byte by = NOBODY;          /* who owns, by all records */
byte dead = NOBODY;        /* the pid in `dead` */
bool died[N], settled[N];
bool planned[N];           /* a settler's note in the record */
bool owned[N];             /* ... so many come back */
bool whole = true;
byte last = NOBODY;        /* who really was the last to die holding it */
bool given_up;
byte alive = N;

inline die(me)
{
    atomic {
        last = (by == me && !given_up -> me : last);
        whole = (by == me && !given_up -> false : whole);
        died[me] = true;
        alive--;
        goto out
    }
}

/* Of m: naru__permits_settle, naru__lock_clean. One at a time, for there is a lock of the kernel's;
 * whoever holds it and dies is one of the participants. */
bool settling[N];

inline settle(m)
{
    if
    :: !planned[m] -> atomic { owned[m] = (by == m); planned[m] = true }
    :: else -> skip
    fi;
    if :: true -> skip :: alive > 1 -> settling[m] = false; die(me) fi;
#ifdef DEAD_AGAIN
    if :: owned[m] -> dead = m :: else -> skip fi;
#endif
    if
    :: owned[m] && by == m -> /* carry_out: it has not happened */
#if !defined(DEAD_LATE) && !defined(DEAD_AGAIN)
        dead = m;
#endif
        if :: true -> skip :: alive > 1 -> settling[m] = false; die(me) fi;
        atomic {
            by = NOBODY;
            taken = false;
#ifndef NO_MARK
            dirty = true
#endif
        }
#ifdef DEAD_LATE
        dead = m
#endif
    :: else ->
#ifdef MARK_ANY
        dead = m; dirty = true
#else
        skip
#endif
    fi;
    if :: true -> skip :: alive > 1 -> settling[m] = false; die(me) fi;
    settled[m] = true;
    settling[m] = false
}

proctype participant(byte me)
{
    bool told;
    byte m;
    do /* look_for_dead */
    :: m == N -> break
    :: m < N ->
        if
        :: atomic { died[m] && !settled[m] && !settling[m] -> settling[m] = true };
            settle(m)
        :: !died[m] || settled[m] || settling[m] -> skip
        fi;
        m++
    od;
    /* naru__permits_take */
    atomic {
        if
        :: !taken && !lost ->
            taken = true;
            by = me;
            told = dirty;
            assert(!given_up);
            assert(told || whole);   /* who must be told is */
            assert(!told || !whole); /* and nobody else */
            assert(!told || dead == last)
#ifdef ONCE
            ; dirty = false
#endif
        :: else -> goto out
        fi
    };
    if :: true -> skip :: alive > 1 -> die(me) fi;
    if
    :: told -> /* naru__lock_recover */
        whole = true;
#ifndef RECOVER_LATE
        dirty = false;
#endif
        if :: true -> skip :: alive > 1 -> die(me) fi;
#ifdef RECOVER_LATE
        atomic { by = NOBODY; taken = false };
        dirty = false;
        goto out
#endif
    :: told -> /* naru__lock_lose */
        given_up = true;
#ifndef LOSE_LATE
        lost = true;
#endif
        if :: true -> skip :: alive > 1 -> die(me) fi
    :: true -> skip /* to be told to the next one, too */
    fi;
    atomic { by = NOBODY; taken = false }; /* naru__permits_give */
#ifdef LOSE_LATE
    if :: given_up -> lost = true :: else -> skip fi;
#endif
out:
    skip
}

init {
    atomic { run participant(0); run participant(1); run participant(2); run participant(3) };
    (_nr_pr == 1);
    assert(!given_up || lost || by != NOBODY)
}
