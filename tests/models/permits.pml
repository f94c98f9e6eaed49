/* SPDX-License-Identifier: MIT */
/* permits.pml - taking, giving back and settling permits (shm/lock.h): two participants change one
 * word, and one of them is settled at any moment, dead, paused or running, by a settler that may die
 * and be followed by another. What each really owns is counted with the exchanges; the settler must
 * find just that, and the settled one must succeed with nothing afterwards.
 *
 * With -D one of these mutants the model must fail.
 *   NO_NOTE      a word of another's is replaced without noting that it was
 *   NO_SECOND_LOOK  a note is written whatever the word is meanwhile
 *   NO_FENCE     the word is not changed before it is planned what comes back
 *   NO_LOOK      a participant does not look whether it was settled
 *   LOOK_FIRST   ... or looks before it reads the word
 *   TWICE        a second settler gives back again */
#define VALUE 2
#define NOBODY 2
#define OPERATIONS 1 /* of the other one; the settled one does one more */

byte count = VALUE, by = NOBODY, ticket; /* the word */
byte fences;
byte intent_ticket[2], intent[2], owned_ticket[2], owned[2], seen[2];
byte settle;          /* participant 0's: 0 none, 1 fenced, 2 planned, 3 done */
byte planned_ticket, planned;
byte really[2];       /* what each owns */
bool settling;        /* the kernel's lock for it */
bool settled;

/* The word as it was: naru__permits_note */
inline note()
{
#ifndef NO_NOTE
    do
    :: was_by == NOBODY -> break
    :: was_by != NOBODY ->
        is = seen[was_by];
        if
        :: is == was_ticket -> break
#ifndef NO_SECOND_LOOK
        :: is != was_ticket && (count != was || by != was_by || ticket != was_ticket) -> break
        :: is != was_ticket && count == was && by == was_by && ticket == was_ticket -> skip
#else
        :: is != was_ticket -> skip
#endif
        fi;
        /* the exchange; whether it was done, the next round sees */
        atomic { seen[was_by] = (seen[was_by] == is -> was_ticket : seen[was_by]) }
    od
#else
    skip
#endif
}

proctype participant(byte me)
{
    byte n, was, was_by, was_ticket, is;
    byte last, last_ticket; /* the word as this one has left it */
    bool taking, done, kept;
    do
    :: n == OPERATIONS + 1 - me -> break
    :: n < OPERATIONS + 1 - me ->
        n++;
        taking = owned[me] == 0;
        done = false;
        do
        :: done -> break
        :: !done -> /* naru__permits_take, naru__permits_give */
            if
            :: kept && !(taking && last == 0) -> /* naru__permits_fast, once */
                atomic { was = last; was_by = me; was_ticket = last_ticket; kept = false }
            :: true ->
#ifdef LOOK_FIRST
                if :: me == 0 && settle != 0 -> goto out :: else -> skip fi;
#endif
                atomic { was = count; was_by = by; was_ticket = ticket };
#if !defined(NO_LOOK) && !defined(LOOK_FIRST)
                if :: me == 0 && settle != 0 -> goto out :: else -> skip fi;
#endif
                if :: taking && was == 0 -> break :: else -> skip fi
            fi;
            atomic {
                intent_ticket[me] = owned_ticket[me] + 1;
                intent[me] = (taking -> owned[me] + 1 : owned[me] - 1)
            };
            if :: was_by != me -> note() :: else -> skip fi;
            atomic {
                if
                :: count == was && by == was_by && ticket == was_ticket ->
                    count = (taking -> was - 1 : was + 1);
                    by = me;
                    ticket = intent_ticket[me];
                    really[me] = intent[me];
                    last = count;
                    last_ticket = ticket;
                    kept = true;
                    assert(me != 0 || !settled);
                    done = true
                :: else -> skip
                fi
            };
            if
            :: done -> atomic { owned_ticket[me] = intent_ticket[me]; owned[me] = intent[me] }
            :: else -> skip
            fi
        od
    od;
out:
    skip
}

/* Of participant 0: naru__permits_settle. The first may die anywhere. */
proctype settler(bool mortal)
{
    byte was, was_by, was_ticket, is, i_ticket, i, o_ticket, o;
    bool happened, done;
    atomic { !settling -> settling = true };
    if :: mortal -> goto dead :: true -> skip fi;
    if
    :: settle <= 1 ->
        settle = 1;
        if :: mortal -> goto dead :: true -> skip fi;
#ifndef NO_FENCE
        do /* fence */
        :: atomic { was = count; was_by = by; was_ticket = ticket };
            note();
            fences++;
            atomic {
                if
                :: count == was && by == was_by && ticket == was_ticket ->
                    by = NOBODY; ticket = fences; break
                :: else -> skip
                fi
            }
        od;
#endif
        if :: mortal -> goto dead :: true -> skip fi;
        atomic { i_ticket = intent_ticket[0]; i = intent[0] }; /* plan */
        atomic { o_ticket = owned_ticket[0]; o = owned[0] };
        if
        :: i_ticket == o_ticket + 1 ->
            if /* happened: the word is NOBODY's since the fence */
            :: seen[0] == i_ticket -> o_ticket = i_ticket; o = i
            :: else -> skip
            fi
        :: else -> skip
        fi;
        atomic {
            planned = o;
            planned_ticket = o_ticket + 1;
            settle = (o == 0 -> 3 : 2)
        }
    :: settle > 1 -> skip
    fi;
    if :: mortal -> goto dead :: true -> skip fi;
    do
    :: settle != 2 -> break
    :: settle == 2 && !done -> /* carry_out */
        atomic { was = count; was_by = by; was_ticket = ticket };
#ifndef TWICE
        if /* happened: the word first, then what was noted */
        :: was_by == 0 && was_ticket == planned_ticket -> happened = true
        :: else -> happened = seen[0] == planned_ticket
        fi;
#endif
        if
        :: happened -> done = true
        :: !happened ->
            note();
            atomic {
                if
                :: count == was && by == was_by && ticket == was_ticket ->
                    count = was + planned;
                    by = 0;
                    ticket = planned_ticket;
                    assert(really[0] == planned);
                    really[0] = 0;
                    done = true
                :: else -> skip
                fi
            }
        fi
    :: settle == 2 && done ->
        if :: mortal -> goto dead :: true -> skip fi;
        settle = 3
    od;
    assert(really[0] == 0);
    settled = true;
dead:
    settling = false
}

init {
    atomic { run participant(0); run participant(1); run settler(true); run settler(false) };
    (_nr_pr == 1);
    assert(settled);
    assert(count + really[0] + really[1] == VALUE)
}
