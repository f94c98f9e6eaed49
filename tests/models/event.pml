/* SPDX-License-Identifier: MIT */
/* event.pml - the sets of an automatic event (lock/event.c): one who sets it twice, two who wait, one of
 * which may die between any two steps, or stop for good, and a cleaner. A set looks at the records
 * one after the other, and then exchanges the word; it must have counted what is true just then.
 *
 * What the word has is what is proper: one for each wait that is released, and one that is kept. No
 * set is lost that a wait had which did not return, and none is there twice. With -D one of these
 * mutants the model must fail.
 *   NO_TICKET      the exchange compares the number alone
 *   NO_HAPPENED    an exchange whose record is not yet written is not counted
 *   JOIN_ASIDE     a wait is written into the record without an exchange
 *   SPENT_EARLY    a set is spent when it is taken, and not as the last thing
 *   LEAVE_BEHIND   a wait that ends with nothing leaves more than one behind */
#define WAITERS 2
#define SETS 2

byte count, by, ticket; /* the word; by: WAITERS is the one that sets, 9 a settler */
byte intent_ticket[WAITERS], intent_waits[WAITERS], intent_got[WAITERS];
byte own_ticket[WAITERS], own_waits[WAITERS], own_got[WAITERS];
byte set_ticket[1];                     /* of the one that sets */
byte really_waits, really_got[WAITERS]; /* as of the exchanges */
byte added, returned, merged;
bool hurt, dead[WAITERS], halted, settled;

#define SAME(c, b, t) (count == c && by == b && ticket == t)
#ifdef NO_TICKET
#define UNCHANGED (count == was)
#else
#define UNCHANGED SAME(was, was_by, was_ticket)
#endif

#define HURT                                                                                       \
    if                                                                                             \
    :: atomic { !hurt && me == 0 -> hurt = true; dead[me] = true }; goto gone                      \
    :: atomic { !hurt && me == 0 -> hurt = true; halted = true }; goto gone                       \
    :: true -> skip                                                                                \
    fi

/* A ticket that was replaced: naru__permits_note, here together with the exchange. */
byte seen[WAITERS];
inline note()
{
    if
    :: by < WAITERS -> seen[by] = ticket
    :: else -> skip
    fi
}

/* naru__permits_waits: intent first */
inline waits_of(m)
{
    d_step { it = intent_ticket[m]; iw = intent_waits[m]; ig = intent_got[m] };
    d_step { ot = own_ticket[m]; ow = own_waits[m]; og = own_got[m] };
#ifndef NO_HAPPENED
    d_step {
        if /* happened: the word, or that it was replaced since */
        :: it != ot && (was_by == m && was_ticket == it) -> ow = iw; og = ig
        :: it != ot && seen[m] == it -> ow = iw; og = ig
        :: else -> skip
        fi
    };
#endif
    d_step { waits = waits + ow - og; it = 0; iw = 0; ig = 0; ot = 0; ow = 0; og = 0 }
}

proctype setter(byte me)
{
    byte was, was_by, was_ticket, waits, it, iw, ig, ot, ow, og, to;
    byte n;
    do
    :: n == SETS -> break
    :: n < SETS ->
        d_step { was = count; was_by = by; was_ticket = ticket }; /* naru__permits_look */
        waits = 0;
        if
        :: was > 0 -> waits_of(0); waits_of(1)
        :: was == 0 -> skip
        fi;
        to = (was > 0 && was > waits -> was : was + 1);
        atomic { /* naru__permits_change */
            if
            :: UNCHANGED ->
                assert(settled || to == (count > really_waits -> count : count + 1));
                note();
                added = added + to - was;
                merged = merged + 1 - (to - was);
                set_ticket[me]++;
                count = to; by = WAITERS + me; ticket = set_ticket[me];
                n++
            :: else -> skip
            fi
        }
    od
}

/* One exchange of a waiter: what its record has afterwards. */
inline intend(w, g)
{
    d_step {
        intent_ticket[me] = own_ticket[me] + 1;
        intent_waits[me] = w;
        intent_got[me] = g
    }
}
inline exchange(to, w, g)
{
    atomic {
        if
        :: SAME(was, was_by, was_ticket) ->
            note();
            really_waits = really_waits + (w - g) - (own_waits[me] - own_got[me]);
            really_got[me] = g;
            count = to; by = me; ticket = intent_ticket[me];
            done = true
        :: else -> done = false
        fi
    }
}
inline record(w, g)
{
    if
    :: done ->
        d_step { own_ticket[me] = intent_ticket[me]; own_waits[me] = w; own_got[me] = g }
    :: !done -> skip
    fi
}
inline change(to, w, g)
{
    intend(w, g);
    HURT;
    exchange(to, w, g);
    HURT;
    record(w, g)
}

proctype waiter(byte me)
{
    byte was, was_by, was_ticket, waits, it, iw, ig, ot, ow, og;
    byte new;
    bool done;
#ifdef JOIN_ASIDE
    atomic { own_waits[me] = 1; really_waits++ };
#else
    do
    :: done -> break
    :: !done ->
        d_step { was = count; was_by = by; was_ticket = ticket };
        new = was;
        change(new, 1, 0)
    od;
#endif
    done = false;
    do
    :: done -> break
    :: !done ->
        d_step { was = count; was_by = by; was_ticket = ticket };
        HURT;
        if
        :: was > 0 -> /* naru__permits_take */
            new = was - 1;
            change(new, 1, 1)
        :: was == 0 -> skip
        :: me == 1 -> /* its time has passed */
            do
            :: done -> goto gone
            :: !done ->
                d_step { was = count; was_by = by; was_ticket = ticket };
                waits = 0;
                if
                :: was > 0 -> waits_of(0); waits_of(1)
                :: was == 0 -> skip
                fi;
#ifdef LEAVE_BEHIND
                waits = 9;
#endif
                merged = merged + (was > waits -> was - waits : 0);
                new = (was > waits -> waits : was);
                intend(0, 0);
                exchange(new, 0, 0);
                record(0, 0);
                if
                :: !done -> merged = merged - (was > waits -> was - waits : 0)
                :: done -> assert(settled || hurt || count <= really_waits + 1)
                fi
            od
        fi
    od;
#ifdef SPENT_EARLY
    atomic { own_waits[me] = 0; own_got[me] = 0; really_got[me] = 0 };
    HURT;
    returned++;
#else
    HURT;
    atomic { own_waits[me] = 0; own_got[me] = 0; really_got[me] = 0; returned++ }; /* naru__permits_spend */
#endif
gone:
    skip
}

/* naru__lock_clean: as permits.pml has it, here in two steps */
active proctype cleaner()
{
    byte g;
end:
    dead[0];
    settled = true;
    d_step {
        note(); /* the word is another one: fence */
        by = 9; ticket = 1;
        g = (intent_ticket[0] != own_ticket[0] && seen[0] == intent_ticket[0] -> intent_got[0] : own_got[0]);
        really_waits = really_waits - (intent_ticket[0] != own_ticket[0] && seen[0] == intent_ticket[0] -> intent_waits[0] - intent_got[0] : own_waits[0] - own_got[0])
    };
    d_step {
        note();
        count = count + g; by = 9; ticket = 2;
        really_got[0] = 0;
        intent_ticket[0] = own_ticket[0];
        own_waits[0] = 0; own_got[0] = 0
    }
}

init
{
    byte had;
    atomic { by = 9; run setter(0); run waiter(0); run waiter(1) };
    timeout; /* nobody can go on */
    had = returned + count + really_got[0] + really_got[1];
    assert(had <= added && (had == added || merged > 0))
}
