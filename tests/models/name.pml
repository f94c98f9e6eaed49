/* SPDX-License-Identifier: MIT */
/* name.pml - the life of a named object: made aside, given its name, removed, and swept; by two
 * openers and a remover, each of which may die or be stopped between any two steps. Then one more
 * opener comes.
 *
 * A name leads to a whole object or to nothing; nobody removes an object but the one that it found;
 * in the end nothing lies about. With -D one of the mutants the model must fail.
 *   IN_PLACE         it is made under its name
 *   REPLACES         the rename replaces what stands there
 *   REMOVES_BLINDLY  the remover does not look whether the name still leads to its object
 *   NOT_SWEPT        what the dead have left stays */
#define OBJECTS 4 /* directories that may ever be made */
#define NOBODY 9
#define NOTHING 0
#define ASIDE 1  /* .new-XXXX */
#define NAMED 2
#define DEAD 3   /* .dead-XXXX */
#define GONE 4

byte where[OBJECTS];       /* and whether the file meta is there */
bool meta[OBJECTS], whole[OBJECTS], removed[OBJECTS];
byte making[OBJECTS] = NOBODY, removing[OBJECTS] = NOBODY; /* whose locks */
byte made, ended;

#define DIE if :: true -> goto dead :: true -> skip fi
#define NAMES ((where[0] == NAMED) + (where[1] == NAMED) + (where[2] == NAMED) + (where[3] == NAMED))

inline find(k) /* open_there */
{
    atomic {
        if
        :: where[0] == NAMED -> k = 0
        :: where[1] == NAMED -> k = 1
        :: where[2] == NAMED -> k = 2
        :: where[3] == NAMED -> k = 3
        :: else -> k = NOBODY
        fi;
        assert(k == NOBODY || whole[k])
    }
}

inline sweep(i) /* naru__object_sweep: sweep_one */
{
    i = 0;
    do
    :: i == OBJECTS -> break
    :: i < OBJECTS ->
        if
        :: atomic { where[i] == ASIDE && !meta[i] -> where[i] = GONE } /* empty: nobody's */
        :: atomic { where[i] == ASIDE && meta[i] && making[i] == NOBODY -> making[i] = me };
            DIE;
            if
            :: atomic { where[i] == ASIDE -> where[i] = GONE } /* leads_to, delete_directory */
            :: else -> skip /* it has got its name meanwhile */
            fi;
            making[i] = NOBODY
        :: atomic { where[i] == DEAD && removing[i] == NOBODY -> removing[i] = me };
            DIE;
            where[i] = GONE;
            removing[i] = NOBODY
        :: else -> skip
        fi;
        i++
    od
}

inline remove_it(k) /* remove_open, under hold_for_removal */
{
    removed[k] = true;
    DIE;
#ifdef REMOVES_BLINDLY
    find(k2);
    if
    :: k2 != NOBODY -> assert(removed[k2]); where[k2] = DEAD
#else
    if
    :: atomic { where[k] == NAMED -> where[k] = DEAD } /* leads_to, naru__os_rename_at */
#endif
    :: else -> skip
    fi;
    DIE;
#ifdef REMOVES_BLINDLY
    if :: k2 != NOBODY -> where[k2] = GONE :: else -> skip fi;
#else
    if :: where[k] == DEAD -> where[k] = GONE :: else -> skip fi; /* delete_directory */
#endif
    removing[k] = NOBODY
}

proctype opener(byte me)
{
    byte k, i, n, k2;
    do
    :: find(k);
        if
        :: k != NOBODY && !removed[k] -> break /* joined */
        :: k != NOBODY && removed[k] -> /* its remover may have died at it */
            if
            :: atomic { removing[k] == NOBODY -> removing[k] = me }; remove_it(k)
            :: removing[k] != NOBODY -> break /* that may take time: -EBUSY in the end */
            fi
        :: k == NOBODY ->
#ifndef NOT_SWEPT
            sweep(i);
#endif
            if
            :: atomic { made < OBJECTS - 1 -> n = made; made++ } /* random_name */
            :: made == OBJECTS - 1 -> break
            fi;
#ifdef IN_PLACE
            where[n] = NAMED;
#else
            where[n] = ASIDE; /* make */
#endif
            DIE;
            if
            :: where[n] == GONE -> goto again
            :: else -> meta[n] = true /* naru__object_file */
            fi;
            DIE;
            if
            :: atomic { where[n] != GONE && making[n] == NOBODY -> making[n] = me } /* fill */
            :: else -> goto again /* a sweeper was faster */
            fi;
            DIE;
            whole[n] = true;
            DIE;
            atomic { /* naru__os_rename_at, which never replaces */
                if
                :: where[n] == ASIDE && NAMES == 0 -> where[n] = NAMED
#ifdef REPLACES
                :: where[n] == ASIDE && NAMES != 0 -> where[n] = NAMED
#endif
#ifndef REPLACES
                :: where[n] == ASIDE && NAMES != 0 -> where[n] = GONE /* another was first */
#endif
#ifdef IN_PLACE
                :: else -> skip
#endif
                fi;
                assert(NAMES <= 1)
            };
            DIE;
            making[n] = NOBODY
        fi;
again:
        skip
    od;
dead:
    atomic { /* its locks fall */
        for (i : 0 .. OBJECTS - 1) {
            if :: making[i] == me -> making[i] = NOBODY :: else -> skip fi;
            if :: removing[i] == me -> removing[i] = NOBODY :: else -> skip fi
        }
    };
    ended++
}

proctype remover(byte me)
{
    byte k, k2, i;
    find(k); /* naru__object_remove */
    if
    :: k == NOBODY -> skip
    :: else ->
        if
        :: atomic { removing[k] == NOBODY -> removing[k] = me }; remove_it(k)
        :: removing[k] != NOBODY -> skip
        fi
    fi;
dead:
    atomic {
        for (i : 0 .. OBJECTS - 1) {
            if :: removing[i] == me -> removing[i] = NOBODY :: else -> skip fi
        }
    };
    ended++
}

/* Whoever comes when all of these are gone: it can do what they left half done, and finds nothing
 * that cannot be swept. */
init
{
    byte i, me = 3;
    for (i : 0 .. OBJECTS - 1) {
        making[i] = NOBODY;
        removing[i] = NOBODY
    }
    if /* there is one at first, or there is none */
    :: atomic { where[0] = NAMED; meta[0] = true; whole[0] = true; made = 1 }
    :: skip
    fi;
    atomic { run opener(0); run opener(1); run remover(2) };
    ended == 3;
    atomic {
        for (i : 0 .. OBJECTS - 1) {
            assert(making[i] == NOBODY && removing[i] == NOBODY);
#ifndef NOT_SWEPT
            if
            :: where[i] == ASIDE || where[i] == DEAD -> where[i] = GONE /* naru__object_sweep */
            :: else -> skip
            fi;
#endif
            assert(where[i] != ASIDE && where[i] != DEAD);
            assert(where[i] != NAMED || whole[i])
        }
    }
}
