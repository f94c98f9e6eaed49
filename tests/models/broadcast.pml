/* SPDX-License-Identifier: MIT */
/* broadcast.pml - who waits for what releases all (lock/broadcast.c), as of a manual event: three
 * waiters, two of them threads of one handle, which share its bit and its bell; one who sets it and
 * resets it at once, and may die or stop between any two steps. Then, and only then, whoever sleeps
 * looks again by itself.
 *
 * Whoever waited at the set is released. With -D one of the mutants the model must fail.
 *   ONLY_SET        a waiter looks whether it is set, not whether it was
 *   NO_SECOND_LOOK  asleep without another look
 *   LEAVER_CLEARS   a waiter that leaves takes the bit away, which another thread shares
 *   NO_TICK         nobody looks again after a death */
#define WAITERS 3
#define HANDLE(me) (me / 2)

byte sets; /* the word: how often it was set, whether it is, and WAITED */
bool is_set, waited;
bool marked[2];
byte bell[2];
bool hurt;
byte before[WAITERS]; /* sets when it began to wait, and 1 */
bool passed[WAITERS];

#define HURT                                                                                       \
    if                                                                                             \
    :: hurt = true; goto gone                                                                      \
    :: true -> skip                                                                                \
    fi

active proctype setter()
{
    byte i;
    bool was, mine;
    d_step {
        sets++;
        is_set = true;
        was = waited;
        waited = false
    };
    HURT;
    if
    :: was -> /* naru__lock_tell_all */
        for (i : 0 .. 1) {
            atomic { mine = marked[i]; marked[i] = false }; /* naru__lock_take_bit */
            HURT;
            if
            :: mine -> bell[i]++ /* naru__lock_ring */
            :: !mine -> skip
            fi
        }
    :: !was -> skip
    fi;
    HURT;
    is_set = false;
gone:
    skip
}

#ifdef ONLY_SET
#define OVER (is_set)
#else
#define OVER (is_set || sets != since)
#endif

proctype waiter(byte me)
{
    byte since, value, ticks;
    atomic { since = sets; before[me] = sets + 1 };
    do
    :: OVER -> break /* naru__lock_await */
    :: else ->
        value = bell[HANDLE(me)]; /* sleep_once */
        marked[HANDLE(me)] = true; /* naru__lock_set_bit */
        waited = true; /* naru__permits_flag */
        if
#ifndef NO_SECOND_LOOK
        :: OVER -> break
        :: else ->
#else
        :: true ->
#endif
end:
            if
            :: bell[HANDLE(me)] != value -> skip
#ifndef NO_TICK
            :: hurt && ticks == 0 -> ticks++ /* naru__lock_tick */
#endif
            fi
        fi
    od;
#ifdef LEAVER_CLEARS
    marked[HANDLE(me)] = false;
#endif
    passed[me] = true
}

init
{
    byte i;
    atomic { run waiter(0); run waiter(1); run waiter(2) };
    timeout; /* nobody can go on */
    for (i : 0 .. WAITERS - 1) {
        assert(before[i] != 1 || sets == 0 || passed[i])
    }
}
