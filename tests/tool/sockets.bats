#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# sockets.bats - naru listen and connect, with naru, socat and python at the other end.

setup() {
    NARU=$(realpath "$NARU")
    D=$(mktemp -d)
    cd "$D"
}

teardown() {
    cd /
    rm -rf "$D"
}

here() { # until somebody listens at the path
    for _ in $(seq 2000); do [ -S "$1" ] && return; sleep 0.01; done
    return 1
}

@test "listen and connect carry both directions and end when both have" {
    head -c 3000001 /dev/urandom >a
    head -c 70001 /dev/urandom >b
    timeout 30 "$NARU" listen "unix:$D/s" <a >got-b 3>&- &
    here s
    timeout 30 "$NARU" connect "unix:$D/s" <b >got-a
    wait $!
    cmp a got-a
    cmp b got-b
    [ ! -e s ]
}

@test "framed connections carry messages with types" {
    printf 'one\ntwo\n' | timeout 30 "$NARU" listen "unix:$D/t" --messages --type 7 \
        >left 3>&- &
    here t
    printf 'three\n' | timeout 30 "$NARU" connect "unix:$D/t" --messages >right
    wait $!
    [ "$(cat right)" = "one
two" ]
    [ "$(cat left)" = three ]
}

@test "socat at the other end of a unix socket, both ways round" {
    head -c 500001 /dev/urandom >data
    timeout 30 socat -u "UNIX-LISTEN:$D/s" CREATE:got 3>&- &
    here s
    timeout 30 "$NARU" connect "unix:$D/s" <data
    wait $!
    cmp data got
    timeout 30 "$NARU" listen "unix:$D/t" </dev/null >got 3>&- &
    here t
    timeout 30 socat -u OPEN:data "UNIX-CONNECT:$D/t"
    wait $!
    cmp data got
}

@test "python at the other end of an abstract name" {
    timeout 30 "$NARU" listen "unix:@naru-test-$$" </dev/null >got 3>&- &
    for _ in $(seq 2000); do
        python3 -c "
import socket
s = socket.socket(socket.AF_UNIX)
s.connect('\\0naru-test-$$')
s.sendall(b'from python')" 2>/dev/null && break
        sleep 0.02
    done
    wait $!
    [ "$(cat got)" = "from python" ]
}

@test "nobody there, somebody there already, and a stale file" {
    run "$NARU" connect "unix:$D/s" </dev/null
    [ "$status" -eq 1 ]
    [[ $output == *"not there"* ]]
    timeout 30 "$NARU" listen "unix:$D/s" </dev/null >got 3>&- &
    here s
    pid=$(pgrep -P $!)
    run "$NARU" listen "unix:$D/s" --timeout 1 </dev/null
    [ "$status" -eq 1 ]
    [[ $output == *" $pid (naru) of uid $(id -u) listens there"* ]]
    echo "looked at, and not used up" | "$NARU" connect "unix:$D/s"
    wait $!
    [ "$(cat got)" = "looked at, and not used up" ]
    "$NARU" listen "unix:$D/s" </dev/null >/dev/null 3>&- &
    here s
    kill -KILL $!
    wait $! || true
    [ -S s ] # a killed process leaves its file
    run "$NARU" connect "unix:$D/s" </dev/null
    [[ $output == *"nobody listens"* ]]
    run "$NARU" listen "unix:$D/s" --timeout 0.1 </dev/null
    [ "$status" -eq 1 ]
    [ ! -e s ]
}

@test "a listener that is told to stop goes, with its file" {
    "$NARU" listen "unix:$D/s" </dev/null 3>&- &
    here s
    kill -TERM $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 143 ]
    [ ! -e s ]
}
