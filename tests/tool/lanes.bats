#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# lanes.bats - the command on queues and topics in shared memory: real processes, some killed.

setup() {
    NARU=$(realpath "$NARU")
    D=$(mktemp -d)
    cd "$D"
    Q=shm:$D/queue
    T=shm:$D/topic
}

teardown() {
    for pid in $(jobs -p); do kill -KILL "$pid" 2>/dev/null || true; done
    cd /
    rm -rf "$D"
}

naru() { timeout 30 "$NARU" "$@"; }

sees() { # until `naru show` of URL gives this to jq
    for _ in $(seq 2000); do
        naru show --json "$1" 2>/dev/null | jq -se "$2" >/dev/null && return
        sleep 0.01
    done
    naru show --json "$1"
    return 1
}

@test "what was sent waits, and is received by type" {
    naru send "$Q" --type 1 one two
    naru send "$Q" --type 2 three
    [ "$(naru recv "$Q" --type 2 --count 1)" = three ]
    [ "$(naru recv "$Q" --count 2)" = "one
two" ]
    naru rm "$Q"
    [ -z "$(ls -A)" ]
    run naru rm "$Q"
    [ "$status" -eq 1 ]
    [[ $output == *"not there"* ]]
}

@test "a new name becomes a queue, --topic makes a topic, and what is there decides" {
    naru send "$T" --topic --history 3 a b c d
    naru send "$T" e
    [ "$(naru recv "$T" --count 3)" = "c
d
e" ]
    naru send "$Q" x
    run naru recv "$Q" --topic --timeout 0.1
    [ "$status" -eq 1 ]
    [[ $output == *"is a queue, and a topic was asked for"* ]]
    run naru send "$Q" x --capacity 1g
    [ "$status" -eq 1 ]
    [[ $output == *"capacity"* ]]
}

@test "ls, show and peek see what is there, and change nothing" {
    [ -z "$(naru ls "shm:$D")" ]
    naru send "$Q" --type 5 five
    naru send "$Q" --type 6 six
    naru send "$T" --topic --history 2 a b
    [ "$(naru ls --names "shm:$D" | sort)" = "$Q
$T" ]
    naru ls "shm:$D" | grep -q "topic"
    [ "$(naru ls --json "$Q" | jq -r '[.noun,.waiting,.participants,.dead]|join(" ")')" = "queue 2 0 0" ]
    [ "$(naru ls --json "$T" | jq -r '[.noun,.kept,.history]|join(" ")')" = "topic 2 2" ]
    before=$(cat queue/* topic/* | sha256sum)
    [ "$(naru peek "$Q")" = "five
six" ]
    [ "$(naru peek "$Q" --select 6)" = six ]
    [ "$(naru peek "$Q" --select '!6')" = five ]
    [ "$(naru peek "$Q" --count 1 --json | jq -r .type)" = 5 ]
    [ "$(naru peek "$T")" = "a
b" ]
    naru show "$Q" "$T" | grep -q "a queue of uid"
    [ "$(naru show --json "$Q" | jq -r '.parts[0].life, .parts[0].lane')" = "-
2" ]
    [ "$(cat queue/* topic/* | sha256sum)" = "$before" ]
    [ "$(naru recv "$Q" --count 2)" = "five
six" ]
    [ -z "$(naru peek "$Q")" ]
}

@test "show tells who sends, receives, sleeps, is stopped, and whom a sender waits for" {
    "$NARU" recv "$Q" >out 3>&- &
    receiver=$!
    sees "$Q" ".[0].parts[]|select(.pid==$receiver and .role==\"receives\" and .life==\"lives\"
        and .asleep==\"receiving\" and .waits_for==\"a message\" and .program==\"naru\")"
    kill -STOP $receiver
    sees "$Q" ".[0].parts[]|select(.pid==$receiver and .stopped==\"yes\")"
    seq 1 1000 | "$NARU" send "$Q" --messages 0 2>/dev/null 3>&- || true # 0 is refused
    seq 1 1000 | "$NARU" send "$Q" 3>&- &
    sees "$Q" '.[0].parts[]|select(.role=="sends" and .asleep=="sending" and .fill==100 and
        .waiting==256 and .waits_for=="a receiver" and .high_water>=128)'
    kill -CONT $receiver
    wait %2 || true
    sees "$Q" ".[0].parts[]|select(.pid==$receiver and .received==1000 and .asleep==\"receiving\")"
    kill -TERM $receiver
    wait $receiver || true
    [ "$(wc -l <out)" = 1000 ]
}

@test "show tells how far subscribers are, and whom a publisher waits for" {
    "$NARU" recv --topic "$T" >out 3>&- &
    slow=$!
    sees "$T" '.[0].parts|length==1'
    "$NARU" recv "$T" --lossy >lossy 3>&- &
    sees "$T" '.[0].parts[]|select(.role=="receives, lossy")'
    kill -STOP $slow
    sees "$T" ".[0].parts[]|select(.pid==$slow and .stopped==\"yes\")"
    seq 1 1000 | "$NARU" send "$T" 3>&- &
    sees "$T" ".[0].parts[]|select(.asleep==\"sending\" and (.waits_for|startswith(\"$slow, \")))"
    sees "$T" ".[0].parts[]|select(.pid==$slow and .behind>=255)"
    kill -KILL $slow # a dead subscriber holds nobody back
    wait $slow || true
    sees "$T" '.[0].parts[]|select(.role=="receives, lossy" and .received+.missed==1000)'
}

@test "what a killed receiver had taken comes back, marked; it is seen as taken before" {
    # standard output is a full pipe: what it has taken is not written, and so not released
    mkfifo pipe
    sleep 100 <pipe 3>&- &
    holder=$!
    "$NARU" recv "$Q" --format raw >pipe 3>&- &
    victim=$!
    head -c 200000 /dev/zero | naru send "$Q" --format raw
    sees "$Q" ".[0].parts[]|select(.pid==$victim and .holds==1)"
    [ -z "$(naru peek "$Q" --json)" ]
    kill -KILL $victim
    wait $victim || true
    sees "$Q" '.[0].dead==1'
    [ "$(naru recv "$Q" --count 1 --json | jq -r '[.size,.redelivered]|join(" ")')" = "200000 true" ]
    kill -KILL $holder
    wait $holder || true
    sees "$Q" '.[0].dead==0'
}

@test "nothing is lost while receivers and senders are killed" {
    for i in 1 2 3 4; do
        (while :; do
            "$NARU" recv "$Q" --timeout 20 --json >>"out$i" 2>/dev/null || break
        done) 3>&- &
    done
    seq 1 3000 | "$NARU" send "$Q" 3>&- &
    sender=$!
    for _ in 1 2 3 4 5; do
        victim=$(naru show --json "$Q" 2>/dev/null |
            jq -r 'first(.parts[]|select(.role=="receives" and .life=="lives")).pid' || true)
        [ -z "$victim" ] || kill -KILL "$victim" 2>/dev/null || true
        sleep 0.05
    done
    wait $sender
    sees "$Q" '.[0]|.waiting==0 and .taken==0'
    for pid in $(jobs -p); do kill -KILL "$pid" 2>/dev/null || true; done
    for victim in $(naru show --json "$Q" | jq -r '.parts[]|select(.life=="lives").pid'); do
        kill -KILL "$victim"
    done
    # a line cut by a kill is that message's first delivery; the second is whole
    cat out? | jq -rR 'fromjson? | .text' | sort -n | uniq >got
    seq 1 3000 | cmp - got
}

@test "damaged memory is an error with its sentence, never a crash" {
    naru send "$Q" one two
    cp -r queue good
    for at in 128 8 4 0; do # sizes that cannot be
        rm -rf queue
        cp -r good queue
        printf '\377\377\377\377\377\377\377\377' | dd of=queue/lane-0 bs=1 seek=$at conv=notrunc status=none
        for command in show peek ls; do
            run naru $command "$Q"
            [ "$status" -le 1 ]
        done
    done
    [[ $output == *"no lane of naru's"* ]]
    for cut in 0 100 5000; do
        rm -rf queue
        cp -r good queue
        truncate -s $cut queue/lane-0
        run naru peek "$Q"
        [ "$status" -eq 1 ]
        [[ $output == *"cannot be read"* ]]
        run naru ls "shm:$D"
        [ "$status" -eq 0 ]
        [[ $output == *"cannot be read"* ]]
    done
    rm -rf queue
    cp -r good queue
    printf '\377\377\377\377' | dd of=queue/lane-0 bs=1 seek=$((4096 + 20)) conv=notrunc status=none
    run naru peek "$Q"
    [ "$status" -eq 1 ]
    [[ $output == *"cannot be true"* && $output == *two* ]]
    printf 'x' >queue/meta
    for command in show peek ls recv; do
        run naru $command "$Q"
        [ "$status" -eq 1 ]
        [[ $output == *"too short"* ]]
    done
}

@test "gc cleans up after the dead, says what, and leaves the living alone" {
    mkfifo pipe
    sleep 100 <pipe 3>&- &
    holder=$!
    "$NARU" recv "$Q" --format raw >pipe 3>&- &
    victim=$!
    head -c 200000 /dev/zero | naru send "$Q" --format raw
    sees "$Q" ".[0].parts[]|select(.pid==$victim and .holds==1)"
    run naru gc "shm:$D"
    [ "$status" -eq 0 ]
    [ -z "$output" ] # nobody is dead
    kill -KILL $victim $holder
    wait $victim $holder || true
    mkdir .new-0123456789abcdef # a maker that died before it had written anything
    for _ in 1 2; do
        run naru gc --dry-run "shm:$D"
        [ "$status" -eq 0 ]
        [[ $output == *"queue: 1 dead participants would be cleaned up, 1 messages"* ]]
        [[ $output == *"1 directories of makers"*"would be removed"* ]]
    done
    [ "$(naru ls --json "$Q" | jq .dead)" = 1 ]
    [ "$(naru gc --json "shm:$D" | jq -sr '.[]|[.participants,.messages,.leftovers]|join(" ")')" = "1 1 0
0 0 1" ]
    [ "$(naru ls --json "$Q" | jq -r '[.dead,.waiting]|join(" ")')" = "0 1" ]
    [ ! -e .new-0123456789abcdef ]
    [ "$(naru peek "$Q" --json | jq .redelivered)" = true ]
    naru recv "$Q" --format raw --count 1 >got # and then nothing is in the sender's lane
    cmp -n 200000 got /dev/zero
    for how in --dry-run "" --dry-run; do
        run naru gc $how "$Q"
        [ "$status" -eq 0 ]
        case $how:$output in
        --dry-run:) [ ! -e queue/lane-1 ] ;;
        --dry-run:*) [[ $output == *"1 empty lanes of senders that have left, and "*" would be removed"* ]] ;;
        *) [[ $output == *"1 empty lanes of senders that have left, and "*" were removed"* ]] ;;
        esac
    done
    naru send "$Q" again
    [ "$(naru recv "$Q" --count 1)" = again ]
    run naru gc "shm:$D/none"
    [ "$status" -eq 1 ]
    run naru gc fifo:/x
    [ "$status" -eq 1 ]
}
