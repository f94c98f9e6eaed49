/* SPDX-License-Identifier: MIT */
/* claim.pml - a lane of a queue: a sender, two receivers that claim, give back and clean up after each
 * other; each may die or be stopped between any two steps. Whoever comes last cleans up and receives
 * what is left.
 *
 * Each step names the C function that it stands for. With -D one of the mutants the model must fail.
 *   NO_OWNER       a claim does not say whose it is
 *   STEALS         a word of a later message counts as ready
 *   CLEANS_ALIVE   cleaning up without the dead one's lock
 *   NOT_COUNTED    cleaning up counts only what it gives back itself
 *   DONE_FIRST     done with before it was read */
#define SLOTS 2
#define MESSAGES 3
#define SLOT(n) (((n) - 1) % SLOTS)
#define DONE 0
#define TAKEN 1
#define BACK 2
#define NOBODY 3

#ifdef NO_OWNER
#define MINE NOBODY
#else
#define MINE me
#endif

#ifdef STEALS
#define READY(w, n) ((w) != (n))
#else
#define READY(w, n) ((w) < (n))
#endif

byte stamp[SLOTS], payload[SLOTS];                        /* struct naru_lane_slot */
byte number[SLOTS], state[SLOTS], owner[SLOTS];           /* a word of naru_lane_claims */
byte returned;
bool held[2] = true, role[2] = true;                      /* the lock and the record of a receiver */
byte cleaner[2] = NOBODY;                                 /* who holds the lock of a dead one's */
byte got[4], again[4];
byte ended;
bool given;                                               /* one is given back by hand, at most */

inline deliver(n) /* unmarked: nobody else had it */
{
    atomic { assert(got[n] == 0 && again[n] == 0); got[n] = 1 }
}

active proctype sender()
{
    byte n = 1;
    do
    :: n > MESSAGES -> break
    :: n <= MESSAGES && (n <= SLOTS || (number[SLOT(n)] == n - SLOTS && state[SLOT(n)] == DONE)) ->
        payload[SLOT(n)] = n; /* naru__lane_room, and the payload */
        stamp[SLOT(n)] = n;   /* naru__lane_publish */
        n++
    :: true -> break /* dead, or it has no more */
    od;
    ended++
}

#define DIE if :: true -> goto dead :: true -> skip fi

inline claim_back() /* naru__lane_claim, of what was given back */
{
    count = returned;
    k = 0;
    do
    :: k == SLOTS -> seen = count; break
    :: k < SLOTS ->
        if
        :: atomic { state[k] == BACK -> state[k] = TAKEN; owner[k] = MINE; n = number[k] };
            marked = true;
            goto taken
        :: state[k] != BACK -> k++
        fi
    od
}

inline clean(other) /* naru__object_collect, naru__lanes_clean */
{
    k = 0;
    do
    :: k == SLOTS -> break
    :: k < SLOTS ->
        if
        :: state[k] == TAKEN && owner[k] == other ->
            state[k] = BACK; /* naru__lane_clean */
            DIE;
            returned++
        :: else -> skip
        fi;
        k++
    od;
#ifndef NOT_COUNTED
    returned++;
#endif
    DIE;
    atomic { role[other] = false; cleaner[other] = NOBODY }
}

proctype receiver(byte me)
{
    byte low = 1, seen = 100, count, k, n, p, w, s, o;
    bool marked;
next_one:
    do
    :: atomic { returned != seen -> n = 0; p = 0; w = 0; s = 0; o = 0; k = 0; marked = false };
        claim_back()
    :: returned == seen && low <= MESSAGES && stamp[SLOT(low)] > low -> low++
    :: returned == seen && low <= MESSAGES && stamp[SLOT(low)] == low ->
        /* stopped here for however long */
        atomic { w = number[SLOT(low)]; s = state[SLOT(low)]; o = owner[SLOT(low)] };
        if
        :: READY(w, low) -> /* naru__lane_claim, naru__lane_claim_small: one compare-and-swap */
            atomic {
                if
                :: number[SLOT(low)] == w && state[SLOT(low)] == s && owner[SLOT(low)] == o ->
                    number[SLOT(low)] = low; state[SLOT(low)] = TAKEN; owner[SLOT(low)] = MINE;
                    n = low
                :: else -> n = 0
                fi
            };
            if
            :: n != 0 -> low++; goto taken
            :: else -> skip
            fi
        :: else -> low++
        fi;
        atomic { n = 0; p = 0; w = 0; s = 0; o = 0; marked = false }
#ifdef CLEANS_ALIVE
    :: atomic { role[1 - me] && cleaner[1 - me] == NOBODY -> cleaner[1 - me] = me };
#else
    :: atomic { role[1 - me] && !held[1 - me] && cleaner[1 - me] == NOBODY -> cleaner[1 - me] = me };
#endif
        clean(1 - me);
        k = 0
    :: atomic { returned == seen && !role[1 - me] -> /* what came back is never overlooked */
            assert(state[0] != BACK && state[1] != BACK) };
        break
    :: true -> break
    od;
    goto dead;

taken: /* from here on it is this one's */
#ifdef DONE_FIRST
    atomic { number[SLOT(n)] = n; state[SLOT(n)] = DONE };
#endif
    DIE;
    atomic { p = payload[SLOT(n)]; assert(p == n) };
    if
    :: marked -> again[n] = 1
    :: else -> deliver(n)
    fi;
    DIE;
#ifndef DONE_FIRST
    if
    :: atomic { number[SLOT(n)] = n; state[SLOT(n)] = DONE } /* naru__lane_done */
    :: !given ->
        given = true; /* naru__lane_give_back */
        atomic { number[SLOT(n)] = n; state[SLOT(n)] = BACK };
        DIE;
        returned++
    fi;
#endif
    goto next_one;

dead: atomic { n = 0; p = 0; w = 0; s = 0; o = 0; k = 0; count = 0; low = 0; seen = 0; marked = false };
    atomic { /* all its locks fall */
        held[me] = false;
        if :: cleaner[1 - me] == me -> cleaner[1 - me] = NOBODY :: else -> skip fi
    };
    ended++
}

init
{
    byte i, low, n;
    owner[0] = NOBODY;
    owner[1] = NOBODY;
    atomic { run receiver(0); run receiver(1) };
    ended == 3;
    atomic { /* the next one: naru__object_join, naru__lanes_clean */
        for (i : 0 .. SLOTS - 1) {
            if
            :: state[i] == TAKEN && owner[i] < 2 && role[owner[i]] -> state[i] = BACK; returned++
            :: else -> skip
            fi
        }
        for (i : 0 .. SLOTS - 1) {
            assert(state[i] != TAKEN);
            if
            :: state[i] == BACK -> n = number[i]; again[n] = 1
            :: stamp[i] != 0 && state[i] == DONE && number[i] != stamp[i] -> n = stamp[i]; deliver(n)
            :: else -> skip
            fi
        }
        for (i : 1 .. MESSAGES) {
            if
            :: stamp[SLOT(i)] >= i -> assert(got[i] + again[i] > 0) /* nothing published is lost */
            :: else -> skip
            fi
        }
    }
}
