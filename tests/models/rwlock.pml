/* SPDX-License-Identifier: MIT */
/* rwlock.pml - readers and writers in the queue (src/lock/lock.c): who finds too few permits queues
 * up and sleeps; who gives back wakes the first, who passes it on; a writer that finds readers closes
 * the queue; one of them may die anywhere, and is cleaned up after by somebody who may die at it.
 * (That exactly what was owned comes back: permits.pml.)
 *
 * A writer is alone; while one sleeps, and readers read, the queue is closed to those who come, once
 * the first who was woken has looked; nobody sleeps for good; in the end everything is there and the
 * queue open.
 *
 * With -D one of these mutants the model must fail.
 *   NO_QUEUED       a writer does not close the queue
 *   NO_SECOND_LOOK  it is not looked once more between saying that one sleeps and sleeping
 *   OPENS           a reader that leaves opens it though a writer is behind the next reader
 *   NO_PUT_BACK     who came between the look and the opening is forgotten
 *   CLEAN_CLOSED    who died waiting to write leaves the queue closed
 *   CLEAN_SILENT    ... or nobody is woken for what the dead one owned
 *   LEFT_OPEN       a writer for whom there are too few is not woken to close the queue
 *   SEEN_OPEN       ... or sleeps though it saw it open */
#define ALL 3 /* permits: readers at once are fewer; a writer's */
#define N 3   /* participants 0 and 1 read, 2 writes; another is writing when all begins */
#define NONE 9

byte count = ALL;
bool waited, queued;
byte want[N], owns[N];
bool asleep[N], rung[N], dead[N], cleaned[N];
byte inside, leaving, giving, deaths;
bool sleeps; /* the writer, after its last look */
bool looked; /* whoever left the queue last did it while some were free */

/* One look: the queue is a list here, in the order of the numbers. */
byte queue[N], length;

inline first_in()
{
    next = (length > 0 -> queue[0] : NONE);
#ifdef OPENS
    several = (next == NONE -> false : want[next] > 1) && count > 0
#else
    several = want[2] > 0 && count > 0
#endif
}

inline come(me)
{
    queue[length] = me; length++; want[me] = n
}

inline go(me)
{
    d_step {
        want[me] = 0;
        i = 0;
        do
        :: i == length -> break
        :: i < length && queue[i] == me ->
            do
            :: i + 1 < length -> queue[i] = queue[i + 1]; i++
            :: i + 1 == length -> length--; queue[length] = 0; break
            od;
            i = length
        :: i < length && queue[i] != me -> i++
        od;
        i = 0
    }
}

inline ring_first() /* naru__lock_wake */
{
    atomic {
        first_in();
        slept = (next != NONE -> asleep[next] : false);
#ifdef LEFT_OPEN
        slept = slept && (next != NONE -> want[next] <= count : false);
#else
        slept = slept && ((next != NONE -> want[next] <= count : false) || (count > 0 && !queued))
#endif
    };
    atomic {
        first_in();
        waited = waited && !slept;
        if
        :: slept && next != NONE && asleep[next] -> rung[next] = true
        :: else -> skip
        fi;
        slept = false; next = 0; several = false
    }
}

inline open_queue() /* queue_flags: what the word says of the queue */
{
    atomic { first_in(); slept = next == NONE };
    atomic { waited = waited && !slept; queued = queued && several };
#ifndef NO_PUT_BACK
    atomic {
        first_in();
        waited = waited || next != NONE;
        queued = queued || several;
        looked = count > 0
    };
#else
    looked = count > 0;
#endif
    atomic { slept = false; next = 0; several = false }
}

/* reader 1 is as reader 0 */
#define MAY_DIE                                                                                    \
    if                                                                                             \
    :: true -> skip                                                                                \
    :: atomic { deaths == 0 && me != 1 -> deaths++; dead[me] = true; goto out }                    \
    fi

#ifdef NO_QUEUED
#define CLOSES false
#else
#define CLOSES (n > 1 && count > 0)
#endif
inline try_take(is_first)
{
    atomic {
        if
        :: count >= n && (!queued || is_first) ->
            count = count - n;
            owns[me] = n;
            got = true;
            looked = looked && count > 0;
            inside = inside + n;
            assert(inside <= ALL)
        :: else -> open = !waited || (CLOSES && !queued)
        fi
    }
}

proctype participant(byte me; byte n)
{
    byte next, i;
    bool got, several, slept, open;
    atomic { come(me) }; /* queue_up; to look before, or before it sleeps, is the look below */
again:
    do
    :: true ->
        atomic {
            waited = true;
            queued = queued || CLOSES
        };
#ifndef NO_SECOND_LOOK
        atomic { rung[me] = false; asleep[me] = true }; /* sleep_once: the bell is read before */
#endif
        atomic {
            first_in(); try_take(next == me); next = 0; several = false;
#ifdef SEEN_OPEN
            open = false;
#endif
            sleeps = (me == 2 -> !got && !open : sleeps)
        };
        if
        :: got -> break
        :: !got && open -> asleep[me] = false; open = false; goto again
        :: else -> skip
        fi;
#ifdef NO_SECOND_LOOK
        atomic { rung[me] = false; asleep[me] = true };
#endif
        MAY_DIE;
        atomic {
            rung[me] -> rung[me] = false; asleep[me] = false;
            sleeps = sleeps && me != 2
        }
    od;
    asleep[me] = false;
    MAY_DIE;
    atomic { leaving++; go(me) }; /* leave_queue */
    open_queue();
    atomic { leaving--; giving++ };
    ring_first();
    giving--;
    atomic { /* naru__permits_give */
        count = count + n;
        inside = inside - n;
        owns[me] = 0;
        giving++;
        slept = waited
    };
    if :: slept -> slept = false; ring_first() :: else -> skip fi;
    atomic { giving--; cleaned[me] = true };
out:
    skip
}

proctype writer()
{
    byte next;
    bool several, slept;
    atomic { count = ALL; inside = 0; giving++; slept = waited };
    if :: slept -> slept = false; ring_first() :: else -> skip fi;
    giving--
}

/* naru__lock_clean, of whoever has died; begun again if it dies at it. */
proctype cleaner()
{
    byte me, next, i;
    bool several, slept;
    do
    :: cleaned[0] && cleaned[1] && cleaned[2] -> break
    :: atomic { dead[0] && !cleaned[0] -> me = 0; leaving++ } -> goto clean
    :: atomic { dead[2] && !cleaned[2] -> me = 2; leaving++ } -> goto clean
    od;
    goto out;
clean:
    atomic { count = count + owns[me]; inside = inside - owns[me]; owns[me] = 0 }; /* settled */
    atomic { go(me) };
#ifndef CLEAN_CLOSED
    open_queue();
#endif
    if :: true -> skip :: deaths == 1 -> deaths++; goto clean fi;
#ifndef CLEAN_SILENT
    ring_first();
#endif
    atomic { cleaned[me] = true; leaving-- };
    (cleaned[0] && cleaned[1] && cleaned[2]);
out:
    skip
}

/* Whenever the writer sleeps, some are free, and nobody is just leaving. */
#define SLEEPS (sleeps && !rung[2] && !dead[2] && count > 0 && leaving == 0)
active proctype watcher()
{
end:
    if
    :: atomic { SLEEPS && looked -> assert(queued) }
    :: atomic { SLEEPS && queue[0] == 2 && giving == 0 -> assert(queued) }
    fi
}

init {
    atomic {
        count = 0; inside = ALL;
        run participant(0, 1);
        run participant(1, 1);
        run participant(2, ALL);
        run writer();
        run cleaner()
    };
    (cleaned[0] && cleaned[1] && cleaned[2]);
    assert(count == ALL && inside == 0 && !queued)
}
