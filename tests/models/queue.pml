/* SPDX-License-Identifier: MIT */
/* queue.pml - the queue in which locks are waited for (lock/lock.c): two waiters, one permit each,
 * and one who gives two, one after the other. Each waiter may stop waiting, and one of all may die,
 * or stop for good without dying, or wake up though nobody rang, between any two steps. While all
 * run, no clock is needed; after a death or a stop whoever sleeps looks again up to twice.
 *
 * Nobody sleeps while there is a permit for it. With -D one of the mutants the model must fail.
 *   NO_SECOND_LOOK   asleep without another look
 *   ASLEEP_LATE      ... and says that it is asleep after its last look
 *   NO_FLAG_AGAIN    the last one in the queue clears WAITED and does not look again
 *   NOT_PASSED_ON    who leaves the queue wakes nobody
 *   NO_TICK          nobody looks for the dead, or again
 *   NOT_PASSED_OVER  the first one, which does not run, is waited for
 *   RUNG_BEFORE      who gives rings, and takes WAITED away after that
 *   WHO_WAS_FIRST    ... and rings for who was first before it took that away
 *   NOT_SEEN_GONE    asleep though WAITED has gone */
#define WAITERS 2
#define TICKS 2

byte count; /* the word: free permits, and flags */
bool waited, queued;
byte numbers; /* handed out */
byte want[WAITERS]; /* its number in the queue */
bool marked[WAITERS], asleep[WAITERS], sleeps[WAITERS];
byte bell[WAITERS];
bool hurt, dead[WAITERS], stopped[WAITERS]; /* one dies or stops */
bool signal; /* ... or wakes up though nobody rang */
#define UNHURT (!hurt && !signal)

/* first_in. NONE: nobody */
#define NONE 9
#ifdef WHO_WAS_FIRST
#define WAS_FIRST true
#else
#define WAS_FIRST false
#endif
#define WAITS(i, but) (marked[i] && want[i] != 0 && want[i] != but)
inline first_in(but)
{
    d_step {
        if
        :: WAITS(0, but) && (!WAITS(1, but) || want[0] < want[1]) -> first = 0; number = want[0]
        :: WAITS(1, but) && (!WAITS(0, but) || want[1] < want[0]) -> first = 1; number = want[1]
        :: else -> first = NONE; number = 0
        fi
    }
}

/* naru__lock_wake */
inline wake()
{
    first_in(0);
    if
    :: first != NONE && count > 0 && asleep[first] ->
#ifdef RUNG_BEFORE
        bell[first]++;
#endif
        waited = false;
#ifndef RUNG_BEFORE
        atomic {
#ifndef WHO_WAS_FIRST
        first_in(0);
#endif
        number = (first == NONE -> 0 : first);
        bell[number] = bell[number] + (first == NONE -> 0 : asleep[number] || WAS_FIRST)
        }
#endif
    :: else -> skip
    fi;
    d_step { first = 0; number = 0 }
}

/* queue_flags */
inline flags()
{
    first_in(0);
    d_step { waited = waited && first != NONE; queued = false };
#ifndef NO_FLAG_AGAIN
    if
    :: marked[0] || marked[1] -> waited = true
    :: else -> skip
    fi
#else
    skip
#endif
}

#define HURT                                                                                       \
    if                                                                                             \
    :: atomic { UNHURT && me == 0 -> hurt = true; dead[me] = true }; goto gone                      \
    :: atomic { UNHURT && me == 0 -> hurt = true; stopped[me] = true }; goto gone                   \
    :: true -> skip                                                                                \
    fi

active proctype giver()
{
    byte first, number, n;
    bool was;
    do
    :: n == 2 -> break
    :: n < 2 ->
        atomic { count++; was = waited };
        if
        :: atomic { UNHURT -> hurt = true }; goto gone /* dead or stopped: it owns nothing */
        :: atomic { UNHURT && was -> hurt = true; waited = false }; goto gone /* before it rings */
        :: true -> skip
        fi;
        if
        :: was -> wake()
        :: !was -> skip
        fi;
        n++
    od;
gone:
    skip
}

/* try_take. `open`: the word does not say that this one waits */
#define TAKE(mine) atomic { count > 0 && (!queued || mine) -> count--; got = true }
#define LOOK(mine)                                                                                 \
    atomic {                                                                                       \
        if                                                                                         \
        :: count > 0 && (!queued || mine) -> count--; got = true                                   \
        :: else -> open = !waited || (impatient && !queued)                                        \
        fi                                                                                         \
    }

proctype waiter(byte me; bool impatient)
{
    byte first, number, mine, value, ticks, passed, suspect, other;
    bool got, open, late;
    other = 1 - me;
    if
    :: TAKE(false); goto done
    :: else -> skip
    fi;
    atomic { numbers++; mine = numbers }; /* queue_up */
    want[me] = mine;
    HURT;
    marked[me] = true; /* naru__lock_set_bit */
    HURT;
again:
    do
    :: d_step { waited = true; queued = queued || impatient }; /* naru__permits_flag */
        HURT;
        first_in(passed);
        if
        :: TAKE(number == mine); break
        :: else -> skip
        fi;
        value = bell[me]; /* sleep_once */
#ifndef ASLEEP_LATE
        asleep[me] = true;
#endif
#ifndef NO_SECOND_LOOK
        first_in(passed);
        LOOK(number == mine);
#endif
#ifdef ASLEEP_LATE
        asleep[me] = true;
#endif
        if
        :: got -> break
#ifndef NOT_SEEN_GONE
        :: !got && open -> open = false; asleep[me] = false; goto again
#endif
        :: else -> skip
        fi;
        HURT;
        sleeps[me] = true;
end:
        if /* naru__wait_futex */
        :: bell[me] != value -> sleeps[me] = false
        :: me == 0 -> sleeps[me] = false; late = true /* its time has passed */
        :: atomic { me == 0 && UNHURT -> sleeps[me] = false; signal = true }
#ifndef NO_TICK
        :: hurt && count > 0 && ticks < TICKS -> /* before that a look changes nothing */
            sleeps[me] = false;
            ticks++;
            if /* naru__lock_look_for_dead, naru__lock_clean */
            :: dead[other] ->
                want[other] = 0;
                marked[other] = false;
                queued = false; /* queue_flags: this one itself is in the queue */
                wake()
            :: else -> skip
            fi;
#ifndef NOT_PASSED_OVER
            first_in(passed); /* suspect */
            if
            :: number == 0 || number == mine || count == 0 -> suspect = 0
            :: else ->
                if
                :: suspect == number -> passed = number; suspect = 0
                :: else -> suspect = number
                fi
            fi
#endif
#endif
        fi;
        HURT;
        asleep[me] = false;
        impatient = true; /* overdue */
        if
        :: late -> break
        :: !late -> skip
        fi
    od;
    asleep[me] = false;
    HURT;
    want[me] = 0; /* leave_queue */
    HURT;
    marked[me] = false; /* naru__lock_take_bit */
    HURT;
    flags();
    HURT;
#ifndef NOT_PASSED_ON
    wake();
#endif
done:
    skip;
gone:
    skip
}

init
{
    atomic { run waiter(0, false); run waiter(1, false) };
    timeout; /* nobody can go on */
    assert(count == 0 || !(sleeps[0] && !dead[0] && !stopped[0]));
    assert(count == 0 || !(sleeps[1] && !dead[1] && !stopped[1]))
}
