#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# locks.bats - the command on locks: real processes, some killed, some stopped, some in a cycle.

bats_require_minimum_version 1.5.0

setup() {
    NARU=$(realpath "$NARU")
    D=$(mktemp -d)
    cd "$D"
    S=shm:$D/s
}

teardown() {
    for pid in $(jobs -p); do
        kill -KILL $(ps -o pid= --ppid "$pid") "$pid" 2>/dev/null || true
    done
    cd /
    rm -rf "$D"
}

naru() { timeout 30 "$NARU" "$@"; }

until_file() { # until the file is there
    for _ in $(seq 2000); do [ -e "$1" ] && return; sleep 0.01; done
    return 1
}

sees() { # until `naru show` of URL gives this to jq
    for _ in $(seq 2000); do
        naru show --json "$1" 2>/dev/null | jq -se "$2" >/dev/null && return
        sleep 0.01
    done
    naru show --json "$1"
    return 1
}

holds() { # URL FILE [OPTION...]: acquires in the background, until FILE is away again; pid in $!
    url=$1 file=$2
    shift 2
    touch "$file"
    "$NARU" sem acquire "$url" "$@" -- sh -c "touch $file.has; while [ -e $file ]; do sleep 0.01; done" 3>&- &
    until_file "$file.has"
}

@test "sem acquire holds while its command runs, and passes its status on" {
    run naru sem acquire "$S" -- true
    [ "$status" -eq 125 ]
    [[ $output == *"without permits is of no use"* ]]
    [ "$(naru sem acquire "$S" --value 3 -- echo here)" = here ]
    [ "$(naru sem value "$S")" = 3 ]
    [ "$(naru sem acquire "$S" --permits 2 -- "$NARU" sem value "$S")" = 1 ]
    for code in 0 1 42; do
        run naru sem acquire "$S" -- sh -c "exit $code"
        [ "$status" -eq $code ]
    done
    run naru sem acquire "$S" -- sh -c 'kill -KILL $$'
    [ "$status" -eq 137 ]
    run -127 naru sem acquire "$S" -- ./nothing
    touch nothing
    run naru sem acquire "$S" -- ./nothing
    [ "$status" -eq 126 ]
    run naru sem acquire "$S"
    [ "$status" -eq 2 ]
    run naru sem acquire "$S" --value 5 -- true
    [ "$status" -eq 125 ]
    [[ $output == *"made with 3 permits"* ]]
    [ "$(naru sem value "$S" --json | jq -r '[.url,.value]|join(" ")')" = "$S 3" ]
    naru sem acquire "$S" --json -- sh -c 'exit 3' 2>told || true
    [ "$(jq -r '[.program,.permits,.exit,.kept]|join(" ")' told)" = "sh 1 3 true" ]
}

@test "sem acquire waits, gives up in time, and gives back when it is signalled or killed" {
    holds "$S" one --value 1
    holder=$!
    run naru sem acquire "$S" --timeout 0.1 -- true
    [ "$status" -eq 124 ]
    [[ $output == *"process $holder (naru) owns 1"* ]]
    run naru sem acquire "$S" --timeout 0 -- true
    [ "$status" -eq 124 ]
    "$NARU" sem acquire "$S" -- echo got >got 3>&- &
    waiter=$!
    sees "$S" '.[0].waiters == 1'
    [ ! -s got ]
    rm one
    wait $holder $waiter
    [ "$(cat got)" = got ]
    holds "$S" two # by a signal
    holder=$!
    kill -TERM $holder
    wait $holder || true
    [ "$(naru sem value "$S")" = 1 ]
    rm two.has
    holds "$S" two # by death, while the command goes on
    holder=$!
    kill -KILL $holder
    [ "$(naru sem acquire "$S" --timeout 20 -- echo back)" = back ]
    rm two
    naru show --json "$S" | jq -se ".[0].last_dead_owner == $holder and .[0].last_death != \"-\""
    "$NARU" sem acquire "$S" -- sleep 20 3>&- & # a signal ends the wait, too
    sees "$S" '.[0].value == 0'
    "$NARU" sem acquire "$S" -- true 3>&- &
    waiter=$!
    sees "$S" '.[0].waiters == 1'
    kill -INT $waiter || true
    kill -TERM $waiter
    wait $waiter || true
    sees "$S" '.[0].waiters == 0'
}

@test "sem post and wait signal, on naru's, libc's and the kernel's semaphores" {
    p=posix-sem:/naru-bats-$$
    v=sysv-sem:$D#7
    for url in "$S" "$p" "$v"; do
        run naru sem wait "$url" --timeout 0.05
        [ "$status" -eq 124 ]
        naru sem post "$url"
        naru sem post "$url" --json | jq -e '.posted == 1'
        [ "$(naru sem value "$url")" = 2 ]
        naru sem wait "$url" --timeout 20
        naru sem wait "$url" --timeout 20 --json | jq -e '.taken == 1'
        "$NARU" sem wait "$url" 3>&- &
        waiter=$!
        sleep 0.1
        naru sem post "$url"
        wait $waiter
        "$NARU" sem wait "$url" 3>&- &
        waiter=$!
        sleep 0.1
        kill -TERM $waiter
        status=0
        wait $waiter || status=$?
        [ "$status" -eq 143 ]
        [ "$(naru sem value "$url")" = 0 ]
        naru show "$url" | grep -q "a semaphore of uid"
        naru rm "$url"
    done
    naru sem post "$p" # what libc's users do for as long as a command runs
    [ "$(naru sem acquire "$p" -- "$NARU" sem value "$p")" = 0 ]
    [ "$(naru sem value "$p")" = 1 ]
    naru show --json "$p" | jq -se '.[0].value == 1 and (.[0].owners | contains("nobody knows"))'
    naru rm "$p"
    holds "$v" one --value 2 # with SEM_UNDO
    naru show --json "$v" | jq -se ".[0].value == 1 and .[0].last_changed_by == $!"
    kill -KILL $!
    wait $! || true
    rm one
    [ "$(naru sem value "$v")" = 2 ]
    naru rm "$v"
    run naru show "$v"
    [ "$status" -eq 1 ]
    [[ $output == *"not there"* ]]
}

@test "sem revoke takes from one that hangs, whose release is an error and no surplus" {
    holds "$S" one --value 4 --permits 3
    holder=$!
    kill -STOP $holder
    run naru sem revoke "$S" 1
    [ "$status" -eq 1 ]
    [[ $output == *"process 1 does not take part"* ]]
    run naru sem revoke "$S" $holder
    [ "$status" -eq 0 ]
    [ "$output" = "3 permits of process $holder are free now" ]
    naru sem revoke "$S" $holder --json | jq -e ".revoked == 0 and .pid == $holder"
    [ "$(naru sem value "$S")" = 4 ]
    naru show --json "$S" | jq -se ".[0].owned == 0"
    rm one
    kill -CONT $holder
    status=0
    wait $holder || status=$?
    [ "$status" -eq 125 ]
    [ "$(naru sem value "$S")" = 4 ]
    for arguments in "" x -5 0; do
        run naru sem revoke "$S" $arguments
        [ "$status" -eq 2 ]
    done
    naru sem post "$S-plain"
    run naru sem revoke "$S-plain" $$
    [ "$status" -eq 1 ]
    [[ $output == *"plain"* ]]
    run naru sem revoke posix-sem:/x 1
    [[ $output == *"does not say who owns"* ]]
    run naru sem dance "$S"
    [ "$status" -eq 2 ]
    [[ $output == *"none of acquire"* ]]
}

@test "show, ls, peek and gc on a lock: owners, waiters, places; nothing is changed" {
    holds "$S" one --value 3 --permits 2 --fair
    holder=$!
    "$NARU" sem acquire "$S" --permits 2 -- true 3>&- &
    first=$!
    sees "$S" '.[0].waiters == 1'
    "$NARU" sem acquire "$S" --permits 3 -- true 3>&- &
    second=$!
    sees "$S" '.[0].waiters == 2'
    sees "$S" "any(.[0].parts[]; .pid == $holder and .owns_since != \"-\")"
    kill -STOP $holder $first $second
    before=$(sha256sum <s/meta)
    naru show --json "$S" | jq -se ".[0] | .kind == \"owned\" and .fair == \"yes\" and .value == 1 and
        .permits == 3 and .owned == 2 and .in_order == \"yes\" and
        any(.parts[]; .pid == $holder and .owns == 2 and .stopped == \"yes\" and .wants == 0) and
        any(.parts[]; .pid == $first and .wants == 2 and .place == 1 and .waits_since != \"-\") and
        any(.parts[]; .pid == $second and .wants == 3 and .place == 2 and .program == \"naru\")"
    run naru show "$S"
    [[ $output == *"a semaphore of uid"*"kind owned"*"owns_since"*"place"* ]]
    "$NARU" show --watch 0.2 "$S" >seen 3>&- &
    watcher=$!
    for _ in $(seq 2000); do
        [ "$(grep -c "a semaphore" seen)" -lt 2 ] || break
        sleep 0.05
    done
    kill $watcher # a background job ignores INT
    wait $watcher || true
    [ "$(grep -c "a semaphore" seen)" -ge 2 ]
    [ "$(naru ls --json "$S" | jq -r '[.noun,.value,.waiters,.participants]|join(" ")')" = "semaphore 1 2 3" ]
    run naru peek "$S"
    [ "$status" -eq 1 ]
    [[ $output == *"is a semaphore, and only queues and topics have messages"* ]]
    run naru peek posix-sem:/x
    [[ $output == *"cannot be a queue"* ]]
    [ "$(sha256sum <s/meta)" = "$before" ]
    kill -KILL $holder
    wait $holder || true
    rm one
    sees "$S" '.[0].dead == 1'
    run naru gc --dry-run "$S"
    [ "$output" = "$S: 1 dead participants would be cleaned up, 2 permits that they owned are free again" ]
    naru gc --json "$S" | jq -e '.participants == 1 and .permits == 2 and .messages == 0'
    [ "$(naru sem value "$S")" = 3 ]
    kill -CONT $first $second
    wait $first $second
}

@test "why tells who waits for whom" {
    run naru why 999999999
    [ "$status" -eq 1 ]
    [[ $output == *"there is no process"* ]]
    run naru why x
    [ "$status" -eq 2 ]
    run naru why $$
    [ "$status" -eq 0 ]
    [[ $output == *"takes part in nothing"* ]]
    holds "$S" one --value 1
    holder=$!
    [[ $(naru why $holder) == "process $holder (naru) waits for nobody in naru"* ]]
    "$NARU" sem acquire "$S" -- true 3>&- &
    waiter=$!
    sees "$S" '.[0].waiters == 1'
    kill -STOP $holder
    run naru why $waiter
    [[ $output == *"process $waiter (naru) waits for 1 permit of $S, since 20"* ]]
    [[ $output == *"process $holder (naru), which is stopped owns 1 permit"* ]]
    [[ $output != *deadlock* && $output != *"for ever"* ]]
    [[ $(naru why $holder) == *"process $waiter (naru) waits for it, which owns 1 permit of $S"* ]]
    naru why --json $waiter | jq -se ".[0] | .pid == $waiter and .url == \"$S\" and .wants == \"1 permit\" and
        .needs == 1 and .for_ever == false and .waits_for[0].pid == $holder"
    rm one
    kill -CONT $holder
    wait $holder $waiter
}

chain() { # N: each of N scripts has its own and waits for the next one's
    for i in $(seq 0 $(($1 - 1))); do
        "$NARU" sem acquire "$S$i" $([ -e s$i ] || echo --value 1) -- sh -c \
            "touch has$i; while [ ! -e go ]; do sleep 0.01; done; exec '$NARU' sem acquire '$S$((($i + 1) % $1))' -- true" 3>&- &
        pids[i]=$!
    done
    for i in $(seq 0 $(($1 - 1))); do until_file has$i; done
    touch go
    for i in $(seq 0 $(($1 - 1))); do sees "$S$i" '.[0].waiters == 1'; done
}

@test "why finds a deadlock of two, and of three, also between scripts" {
    for n in 2 3; do
        rm -rf has* go s?
        chain $n
        run naru why ${pids[0]}
        [ "$status" -eq 0 ]
        [[ $output == *"waits for ever"* ]]
        [ "$(grep -c "^deadlock: " <<<"$output")" -eq 1 ]
        for i in $(seq 0 $((n - 1))); do
            [[ $(grep "^deadlock: " <<<"$output") == *"${pids[i]} (naru)"*"$S"* ]]
        done
        naru why --json | jq -se "[.[] | select(.cycle) | select(.cycle | index(${pids[1]}))] |
            length == 1 and .[0].deadlock and (.[0].cycle | length) == 2 * $n"
        naru why --dot ${pids[0]} >graph
        [ "$(grep -c "color=red" graph)" -eq $((2 * n)) ]
        grep -q "^digraph" graph
        naru sem revoke "${S}0" "${pids[0]}" # what resolves it
        status=0
        wait ${pids[0]} || status=$?
        [ "$status" -eq 125 ] # it was told that it had lost its own
        wait ${pids[@]:1}
        for i in $(seq 0 $((n - 1))); do [ "$(naru sem value "$S$i")" = 1 ]; done
    done
}

@test "why follows locks in regions and in files, and show lists them" {
    one=map:$D/one two=shm:$D/two
    "$(dirname "$NARU")/../tests/in-region" $one 384 $two 65536 >first 3>&- &
    first=$!
    until grep -qs has first; do sleep 0.01; done
    "$(dirname "$NARU")/../tests/in-region" $two 65536 $one 384 >second 3>&- &
    second=$!
    until grep -qs has second; do sleep 0.01; done
    run naru show $one
    [[ $output == *"$one: a region "*"locks 1"* ]]
    [[ $output == *"$one at 384: a mutex "*"condition owned"*"$first"* ]]
    touch go
    sees $one ".[]|select(.url==\"$one at 384\").waiters == 1"
    sees $two ".[]|select(.url==\"$two at 65536\").waiters == 1"
    run naru why $first
    [ "$status" -eq 0 ]
    [[ $output == *"process $first (in-region) waits for the mutex of $two at 65536"* ]]
    [[ $output == *"process $second (in-region) owns the mutex"* ]]
    [[ $(grep "^deadlock: " <<<"$output") == *"$one at 384"* ]]
    [[ $(grep "^deadlock: " <<<"$output") == *"$two at 65536"* ]]
    kill $first
    wait $second
    wait $first || true
    "$NARU" sem acquire map:$D/file --value 1 -- sh -c "touch has; while [ ! -e gone ]; do sleep 0.01; done" 3>&- &
    first=$!
    until_file has
    "$NARU" sem acquire map:$D/file -- true 3>&- &
    second=$!
    sees map:$D/file '.[0].waiters == 1'
    [[ $(naru why $second) == *"waits for 1 permit of map:$D/file, since"*"process $first (naru) owns 1 permit"* ]]
    touch gone
    wait $first $second
    naru rm $two
}

@test "a cycle that somebody from outside can end is no deadlock" {
    # two permits: one is in the cycle, the other with somebody who goes on
    holds "${S}1" free --value 2
    free=$!
    chain 2
    run naru why ${pids[0]}
    [[ $output != *deadlock* && $output != *"for ever"* ]]
    [[ $output == *"cycle, which others can end: "* ]]
    rm free
    wait $free ${pids[@]}
}

@test "why on queues: a sender waits for a receiver that is stopped" {
    "$NARU" recv "$S" >/dev/null 3>&- &
    receiver=$!
    sees "$S" ".[0].parts[]|select(.pid==$receiver)"
    [[ $(naru why $receiver) == *"waits for a message of $S, from anybody"* ]]
    kill -STOP $receiver
    seq 1 2000 | "$NARU" send "$S" 3>&- &
    sees "$S" '.[0].parts[]|select(.role=="sends" and .asleep=="sending")'
    sender=$(naru show --json "$S" | jq '.parts[]|select(.role=="sends").pid')
    run naru why "$sender"
    [[ $output == *"waits for room for a message of $S"* ]]
    [[ $output == *"process $receiver (naru), which is stopped receives there"* ]]
    kill -CONT $receiver
    wait %2
    kill -TERM $receiver
    wait $receiver || true
}
