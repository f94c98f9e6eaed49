#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# command.bats - the command, with foreign programs and real processes at the other end.

KINDS="pipe fifo pipe:messages fifo:messages unix:messages tcp:messages unix+seqpacket unix+dgram posix-mq sysv-mq shm shm:queue"

setup() {
    NARU=$(realpath "$NARU")
    D=$(mktemp -d)
    cd "$D"
}

teardown() {
    "$NARU" rm "shm:naru-test-$$" 2>/dev/null || true # of a test that failed before it did
    cd /
    rm -rf "$D"
}

@test "send and recv carry messages with types" {
    timeout 30 "$NARU" recv "fifo:$D/q" --count 3 --format json >out 3>&- &
    "$NARU" send "fifo:$D/q" --type 7 one two --timeout 20
    printf 'three\n' | "$NARU" send "fifo:$D/q" --timeout 20
    wait $!
    [ "$(jq -r '[.type,.text]|join(" ")' out)" = "7 one
7 two
1 three" ]
}

@test "hex, json and raw formats go both ways" {
    timeout 30 "$NARU" recv "fifo:$D/q" --count 3 --format hex >out 3>&- &
    printf '00ff10\n' | "$NARU" send "fifo:$D/q" --format hex --timeout 20
    printf '{"type":3,"text":"hi"}\n' | "$NARU" send "fifo:$D/q" --format json --timeout 20
    printf 'a\nb' | "$NARU" send "fifo:$D/q" --format raw --timeout 20
    wait $!
    [ "$(cat out)" = "00ff10
6869
610a62" ]
}

@test "select picks by type" {
    timeout 30 "$NARU" recv "fifo:$D/q" --type 2 --count 1 >out 3>&- &
    "$NARU" send "fifo:$D/q" --format json --timeout 20 <<<'{"type":1,"text":"no"}
{"type":2,"text":"yes"}'
    wait $!
    [ "$(cat out)" = yes ]
}

@test "a send without receiver times out with its sentence" {
    run "$NARU" send "fifo:$D/q" x --timeout 0.1
    [ "$status" -eq 1 ]
    [[ $output == *"nobody has it open for reading"*"0 messages were accepted"* ]]
}

@test "dd at the other end of FIFOs and of pipes, in blocks that fit nothing" {
    head -c 1000003 /dev/urandom >data
    mkfifo f
    timeout 30 dd if=f of=out bs=777 2>/dev/null 3>&- &
    "$NARU" write "fifo:$D/f" --timeout 20 <data
    wait $!
    cmp data out
    timeout 30 "$NARU" read "fifo:$D/f" >out 3>&- &
    timeout 30 dd if=data of=f bs=4097 2>/dev/null
    wait $!
    cmp data out
    "$NARU" run --via pipe "dd if=data bs=5000 status=none" "dd bs=4093 status=none" >out
    cmp data out
    dd if=data bs=3 status=none | "$NARU" run --via fifo "cat" "dd bs=65537 status=none" >out
    cmp data out
}

@test "cat and printf at the other end of streams" {
    timeout 30 "$NARU" read "fifo:$D/f" >out 3>&- &
    while [ ! -p f ]; do sleep 0.01; done
    printf 'from the shell\n' >f
    wait $!
    [ "$(cat out)" = "from the shell" ]
    timeout 30 cat f >out2 3>&- &
    echo "to the shell" | "$NARU" write "fifo:$D/f" --timeout 20
    wait $!
    [ "$(cat out2)" = "to the shell" ]
}

@test "a killed receiver: the sender goes on with the next" {
    timeout 30 "$NARU" recv "fifo:$D/q" >/dev/null 3>&- &
    victim=$!
    seq 1 200000 | "$NARU" send "fifo:$D/q" --timeout 20 3>&- &
    sender=$!
    sleep 0.05
    until pkill -KILL -P $victim; do sleep 0.01; done
    timeout 30 "$NARU" recv "fifo:$D/q" >out 3>&- &
    next=$!
    wait $sender
    for _ in $(seq 2000); do [ "$(tail -1 out)" != 200000 ] || break; sleep 0.01; done
    kill $next
    wait $next || true
    [ "$(tail -1 out)" = 200000 ]
    sort -n -c out
}

@test "recv --count leaves the rest to the next one" { # it went with what was read ahead
    timeout 30 "$NARU" send "fifo:$D/q" one two three --timeout 20 3>&- &
    while [ ! -p q ]; do sleep 0.01; done
    sleep 0.1
    run timeout 30 "$NARU" recv "fifo:$D/q" --count 1 --timeout 20
    [ "$output" = one ]
    run timeout 30 "$NARU" recv "fifo:$D/q" --count 2 --timeout 20
    [ "$output" = "two
three" ]
    wait $!
}

@test "run joins programs over every kind, and reports failures" {
    export TMPDIR=$D/a-directory-with-a-name-that-is-longer-than-a-short-one
    mkdir "$TMPDIR"
    for via in $KINDS; do
        run "$NARU" run --via $via 'seq 1 50000' 'cat' 'tail -1'
        [ "$status" -eq 0 ]
        [ "$output" = 50000 ]
        run "$NARU" run --via $via 'echo a' 'cat; exit 3' 'cat'
        [ "$status" -eq 3 ]
    done
    [ -z "$(ls "$TMPDIR")" ]
}

@test "run: a reader that has had enough ends the pipeline, over every kind" {
    for via in $KINDS; do
        run timeout 30 "$NARU" run --via $via 'yes' 'head -1' # over a queue it hung
        [ "$status" -eq 0 ]
        [ "$output" = y ] # and nobody complains
    done
}

# The pumps are the children of naru whose command line says so.
@test "run: a pump killed ends the pipeline with 1 and a sentence" {
    for way in in out; do
        for via in pipe:messages fifo:messages unix:messages posix-mq sysv-mq shm; do
            timeout 30 "$NARU" run --via $via 'yes' 'cat >/dev/null' 2>said 3>&- &
            for try in $(seq 1000); do
                pump=$(pgrep -P "$(pgrep -P $!)" -f "pump $way 1" || true) # timeout's naru's
                [ -z "$pump" ] || break
                sleep 0.02
            done
            kill -KILL "$pump"
            status=0
            wait $! || status=$?
            [ "$status" -eq 1 ]
            grep -q "link 1: .* ended by signal 9" said
        done
    done
}

@test "run shows on a terminal what each program writes, over every kind" {
    for via in pipe fifo pipe:messages; do
        out=$(TERM=xterm script -qec "'$NARU' run --via $via 'head -c 5000000 /dev/zero; sleep 0.5' \
            'cat >/dev/null'" /dev/null 2>&1)
        [[ $out == *"1: 5.0 MB, "*" MB/s"* ]]
        out=$(NO_COLOR=1 TERM=xterm script -qec "'$NARU' run --via $via 'echo hi' cat" /dev/null)
        [ "$out" = $'hi\r' ]
    done
}

@test "run passes a signal on and leaves nothing" {
    TMPDIR=$D "$NARU" run --via fifo 'sleep 60' 'cat' 3>&- &
    for _ in $(seq 2000); do [ "$(pgrep -cP $!)" -lt 2 ] || break; sleep 0.01; done
    kill -TERM $!
    wait $! || true
    [ -z "$(ls "$D")" ]
}

@test "kinds as tables and JSON" {
    [ "$("$NARU" kinds --json | jq -s length)" -eq 8 ]
    [ "$("$NARU" kinds --urls --json | jq -s length)" -eq 20 ]
    [ "$("$NARU" kinds --promises --json | jq -s length)" -eq 20 ]
    "$NARU" kinds | grep -q 'anonymous pipe'
}

@test "rm removes FIFOs and nothing else" {
    mkfifo p
    "$NARU" rm "fifo:$D/p"
    [ ! -e p ]
    echo precious >f
    run "$NARU" rm "fifo:$D/f"
    [ "$status" -eq 1 ]
    [[ $output == *"a regular file"* ]]
    [ "$(cat f)" = precious ]
}

@test "wrong usage is status 2 and a sentence on stderr" {
    for args in 'frobnicate' 'send' 'send --type 0 fifo:/x a' 'recv fifo:/x --select a' \
        'recv fifo:/x --timeout soon' 'run --via pigeon true' 'kinds extra' 'read --no-such fifo:/x'; do
        # shellcheck disable=SC2086
        run bash -c "'$NARU' $args 2>&1 >/dev/null"
        [ "$status" -eq 2 ]
        [ -n "$output" ]
    done
}

@test "a full disk under standard output is status 1 and a sentence, whatever is printed" {
    "$NARU" send "shm:naru-test-$$" x # for ls to have something to print
    for command in --help --version help "help run" "help --man" "run --help" kinds "kinds --json" \
        "completion bash" "completion zsh" "tour --help" ls "ls --json"; do
        # shellcheck disable=SC2086
        run sh -c '"$@" 2>&1 >/dev/full' - "$NARU" $command
        [ "$status" = 1 ] || { echo "$command: status $status"; return 1; }
        [[ $output == *"standard output: No space left on device"* ]] ||
            { echo "$command says: $output"; return 1; }
    done
    "$NARU" rm "shm:naru-test-$$"
}

@test "what is not in this build says so" {
    run "$NARU" recv tcp://localhost:1
    [ "$status" -eq 1 ]
    [[ $output == *"cannot be a queue"* ]]
    run "$NARU" recv nats://localhost/x
    [[ $output == *"not in this build"* ]]
}

@test "a second user is refused with owner and mode" {
    [ "$(id -u)" -eq 0 ] || skip "needs root to become another user"
    chmod 755 "$D"
    mkfifo -m 600 p
    cp "$NARU" "$(dirname "$NARU")"/../s*/libnaru*.so.0 . # the checkout may be closed to others
    run setpriv --reuid 65534 --regid 65534 --clear-groups env \
        LD_LIBRARY_PATH=. ./naru read "fifo:$D/p" --timeout 1
    [ "$status" -eq 1 ]
    [[ $output == *"uid 0"*"0600"*"uid 65534"* ]]
}

@test "POSIX message queue: what was sent waits, the highest type first; rm removes it" {
    q=posix-mq:/naru-test-$$
    "$NARU" send "$q" --type 1 low
    "$NARU" send "$q" --type 9 high
    run timeout 30 "$NARU" recv "$q" --count 2
    [ "$output" = "high
low" ]
    run "$NARU" recv "$q" --select 3 --timeout 0.1
    [ "$status" != 0 ]
    [[ $output == *"select"* ]]
    "$NARU" rm "$q"
    run "$NARU" rm "$q"
    [ "$status" != 0 ]
}

@test "System V message queue: by type, and a signal ends a wait for ever" {
    q=sysv-mq:$D#9
    "$NARU" send "$q" --type 1 first
    "$NARU" send "$q" --type 2 second
    run timeout 30 "$NARU" recv "$q" --type 2 --count 1
    [ "$output" = second ]
    run timeout 30 "$NARU" recv "$q" --count 1
    [ "$output" = first ]
    "$NARU" recv "$q" >/dev/null 3>&- &
    sleep 0.2
    kill -TERM $!
    status=0
    wait $! || status=$?
    [ "$status" = 143 ]
    "$NARU" rm "$q"
}
