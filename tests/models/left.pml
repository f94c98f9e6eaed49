/* SPDX-License-Identifier: MIT */
/* left.pml - a lane that is taken away once it is empty, and made anew: three senders that have
 * the same record one after the other, two collectors, and a receiver that may be stopped between any
 * two steps. Senders and collectors may die between any two; then the record's lock falls.
 *
 * Each step names the C function that it stands for. With -D one of the mutants the model must fail.
 *   WITHOUT_LOCK   the collector does not take the record's lock
 *   NOT_EMPTY      it takes a lane away that has messages in it
 *   NO_NUMBER      it does not say where the numbers go on
 *   GONE_ADOPTED   a sender goes on in a lane that is gone
 *   GONE_KEPT      a receiver keeps a lane that is gone
 *   BELIEVES_BIT   a sender takes a lane without its bit for none
 *   NAMED_EARLY    the lane has its name before its claims have theirs
 *   CLAIMS_FIRST   a receiver opens the claims before the lane
 *   LOOKS_EARLY    it looks whether the lane is gone before it opens the claims */
#define MESSAGES 2
#define FILES 9
#define NONE 0

bool there;                           /* naru_lanes_state.lanes */
byte next = 1, epoch;                 /* naru_lanes_state.next, naru_object_state.epoch */
byte lane, claims;                    /* the files that the names lead to */
byte files;
bool gone[FILES];                     /* of a lane: hints.gone */
byte published[FILES], pair[FILES];   /* its last stamp; the claims made with it */
byte done[FILES];                     /* of claims: what was received */
bool held;                            /* the record's lock */
byte last, ended;

#define DIE if :: true -> goto dead :: true -> skip fi

proctype sender()
{
    byte l, c;
    atomic { !held -> held = true }; /* naru__object_join */
#ifdef BELIEVES_BIT
    if
    :: !there -> goto new
    :: there -> skip
    fi;
#endif
    l = lane; /* map_left */
    c = claims;
    assert(!there || (l != NONE && c != NONE)); /* naru__lanes_exists */
    if
#ifdef GONE_ADOPTED
    :: l == NONE || c == NONE -> skip
#else
    :: l == NONE || gone[l] || c == NONE -> skip
#endif
    :: else -> goto whole
    fi;
new: /* make_lane */
    atomic { /* naru__lane_begin: nobody sees the files yet */
        l = files + 1;
        c = files + 2;
        files = c;
        published[l] = next - 1;
        done[c] = next - 1;
        pair[l] = c
    };
#ifdef NAMED_EARLY
    lane = l;
    DIE;
#endif
    claims = c; /* naru__lanes_name */
    DIE;
#ifndef NAMED_EARLY
    lane = l;
    DIE;
#endif
whole:
    there = true;
    DIE;
    atomic { assert(pair[l] == c); epoch++ }; /* naru__object_appear */
    DIE;
    atomic { /* naru__lane_publish */
        if
        :: last < MESSAGES ->
            published[l]++;
            last++;
            assert(published[l] == last) /* each number once, in order */
        :: else -> skip
        fi
    };
dead:
    atomic { l = 0; c = 0; held = false; ended++ }
}

proctype collector()
{
    byte l, c;
    bool stays;
#ifndef WITHOUT_LOCK
    atomic { !held -> held = true }; /* hold */
#endif
    l = lane; /* take_from */
    c = claims;
    if
    :: l == NONE || c == NONE -> assert(!there)
#ifndef NOT_EMPTY
    :: l != NONE && c != NONE && done[c] < published[l] -> stays = true
    :: l != NONE && c != NONE && done[c] >= published[l] ->
#else
    :: l != NONE && c != NONE ->
#endif
#ifndef NO_NUMBER
        next = published[l] + 1; /* empty_lane */
        DIE;
#endif
        gone[l] = true;
        DIE;
        there = false;
        DIE;
        epoch++
    fi;
    DIE;
    if
    :: !stays -> /* take_file */
        if
        :: lane = NONE; DIE; claims = NONE
        :: claims = NONE; DIE; lane = NONE
        fi
    :: stays -> skip
    fi;
dead:
    atomic {
        l = 0;
        c = 0;
#ifndef WITHOUT_LOCK
        held = false;
#endif
        ended++
    }
}

active proctype receiver()
{
    byte in, with, l, c, seen = 100, now, got;
    do
    :: epoch != seen -> /* find_lanes */
        now = epoch;
#ifndef GONE_KEPT
        if :: in != NONE && gone[in] -> in = NONE :: else -> skip fi; /* drop_gone */
#endif
        if
        :: there && in == NONE -> /* open_lane */
#ifdef CLAIMS_FIRST
            c = claims;
#endif
            l = lane;
#ifdef LOOKS_EARLY
            if
            :: l == NONE || gone[l] -> goto looked
            :: else -> skip
            fi;
#endif
#ifndef CLAIMS_FIRST
            c = claims;
#endif
            if
#ifdef LOOKS_EARLY
            :: c == NONE -> skip
#else
            :: l == NONE || c == NONE || gone[l] -> skip
#endif
            :: else ->
                in = l;
                with = c;
                assert(pair[l] == c)
            fi
        :: else -> skip
        fi;
looked: atomic { l = 0; c = 0; seen = now; now = 0 }
    :: atomic { in != NONE && done[with] < published[in] -> /* naru__lane_claim, naru__lane_done */
            done[with]++;
            got++;
            assert(done[with] == got) } /* nothing twice, nothing passed over */
    :: atomic { ended == 5 && epoch == seen && (in == NONE || done[with] == published[in]) ->
            assert(got == last) }; /* nothing that was sent waits where nobody looks */
        break
    od
}

init
{
    atomic { run sender(); run sender(); run sender(); run collector(); run collector() }
}
