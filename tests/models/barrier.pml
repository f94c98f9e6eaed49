/* SPDX-License-Identifier: MIT */
/* barrier.pml - a barrier for two (lock/barrier.c), three who meet at it, of which one may die
 * between any two steps or stop for good, and a fourth that did nothing and has died. Whoever is
 * told of a death resets it and goes on; whoever waits may give up. The word changes as a whole.
 *
 * Who is told that its round was completed: it was; who is told of a death: it was not, unless two
 * resets have passed. With -D one of these mutants the model must fail.
 *   NO_NOTE         a reset does not note which round was the last
 *   NOTE_LATE       ... or behind the exchange
 *   WITHDRAW_BLIND  who gives up does not look whether its round is over
 *   ARRIVES_BROKEN  who arrives does not look whether it is broken
 *   ROUNDS_ALONE    who waits does not look at resets */
#define PARTIES 2
#define ALL 3
#define TRIES 2
#define ROUND(r, s) (r + 5 * s)

byte n, rounds, resets; /* the word */
bool broken;
byte note_rounds[2], note_resets[2]; /* what the resets have noted, in turn: last_of */
bool done[20];                 /* what really became of each round */
bool dead[2], cleaned[2];      /* one of the three, and the fourth */
bool hurt;

#define OVER (broken || rounds != since_rounds || resets != since_resets)
#define HURT                                                                                       \
    if                                                                                             \
    :: atomic { !hurt -> hurt = true; dead[0] = true }; goto gone                                  \
    :: atomic { !hurt -> hurt = true }; goto gone                                                  \
    :: true -> skip                                                                                \
    fi

/* naru__barrier_clean, by whoever looks */
inline clean(i)
{
    d_step {
        if
        :: dead[i] && !cleaned[i] -> broken = true; cleaned[i] = true
        :: else -> skip
        fi
    }
}

#define COMPLETED assert(done[ROUND(since_rounds, since_resets)])
#define DEAD assert(resets > since_resets + 1 || !done[ROUND(since_rounds, since_resets)])

proctype party()
{
    byte tries, since_rounds, since_resets, r, s;
    bool was_broken, told, completed, first;
    do
    :: tries == TRIES -> break
    :: tries < TRIES ->
        tries++;
        told = false;
        completed = false;
        d_step { /* arrive */
            since_rounds = rounds;
            since_resets = resets;
            if
#ifndef ARRIVES_BROKEN
            :: broken -> told = true
            :: !broken && n + 1 == PARTIES ->
#else
            :: n + 1 == PARTIES ->
#endif
                assert(!broken);
                done[ROUND(rounds, resets)] = true;
                rounds++;
                n = 0;
                completed = true
            :: else -> n++
            fi
        };
        HURT;
        do
        :: told || completed -> break
        :: !told && !completed && OVER -> /* naru__barrier_wait: outcome */
            d_step { r = rounds; s = resets };
            if
#ifdef ROUNDS_ALONE
            :: true ->
#else
            :: s == since_resets ->
#endif
                if
                :: r == since_rounds -> told = true; DEAD
                :: r != since_rounds -> completed = true; COMPLETED
                fi
#ifndef ROUNDS_ALONE
            :: s != since_resets ->
                if
                :: note_resets[since_resets % 2] == since_resets &&
                   note_rounds[since_resets % 2] != since_rounds ->
                    completed = true;
                    COMPLETED
                :: else -> told = true; DEAD
                fi
#endif
            fi
        :: !told && !completed -> clean(0) /* naru__lock_look_for_dead */
        :: !told && !completed -> clean(1)
        :: !told && !completed -> /* withdraw */
            d_step {
                if
#ifndef WITHDRAW_BLIND
                :: OVER -> skip
                :: else ->
#else
                :: true ->
#endif
                    assert(n > 0);
                    n--;
                    tries = TRIES;
                    completed = true
                fi
            }
        od;
        HURT;
        if
        :: told -> /* naru__barrier_reset */
            clean(0);
            clean(1);
            d_step { was_broken = broken; r = rounds; s = resets };
#if !defined(NO_NOTE) && !defined(NOTE_LATE)
            d_step {
                if
                :: was_broken && broken && r == rounds && s == resets ->
                    note_rounds[s % 2] = r;
                    note_resets[s % 2] = s
                :: else -> skip
                fi
            };
            HURT;
#endif
            d_step {
                first = was_broken && broken && r == rounds && s == resets;
                if
                :: first -> broken = false; n = 0; resets++
                :: else -> skip
                fi
            };
#ifdef NOTE_LATE
            HURT;
            d_step {
                if
                :: first -> note_rounds[s % 2] = r; note_resets[s % 2] = s
                :: else -> skip
                fi
            }
#endif
        :: !told -> skip
        fi
    od;
gone:
    skip
}

init
{
    atomic { dead[1] = true; run party(); run party(); run party() }
}
