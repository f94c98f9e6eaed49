#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# foreign.bats - the command with programs at the other end that have never heard of naru: nc, socat,
# python's socket and sysv_ipc, small C programs; both directions.

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

said() { # FILE: until naru told where it is; prints the port
    for _ in $(seq 2000); do grep -q 'at .*:[0-9]' "$1" && break; sleep 0.01; done
    sed -n 's/.*:\([0-9][0-9]*\)$/\1/p' "$1"
}

bound() { # PROTOCOL PORT: until somebody has it
    for _ in $(seq 2000); do ss -Hln"$1" "sport = :$2" | grep -q . && return; sleep 0.01; done
    return 1
}

free_port() {
    /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

@test "nc at the other end of TCP, both ways round" {
    head -c 500001 /dev/urandom >data
    timeout 30 "$NARU" listen tcp://127.0.0.1:0 </dev/null >got 2>where 3>&- &
    port=$(said where)
    timeout 30 nc -N 127.0.0.1 "$port" <data
    wait $!
    cmp data got
    port=$(free_port)
    timeout 30 nc -l 127.0.0.1 "$port" >got 3>&- </dev/null &
    bound t "$port"
    timeout 30 "$NARU" connect "tcp://127.0.0.1:$port" <data
    wait $!
    cmp data got
}

@test "socat on each form of a stream, both ways round" {
    head -c 300007 /dev/urandom >data
    n=naru-test-$$-s
    p=$(free_port)
    for form in "unix:$D/s UNIX-CONNECT:$D/s UNIX-LISTEN:$D/s" \
        "unix:@$n ABSTRACT-CONNECT:$n ABSTRACT-LISTEN:$n" \
        "tcp://127.0.0.1:$p TCP:127.0.0.1:$p TCP-LISTEN:$p,bind=127.0.0.1,reuseaddr" \
        "tcp://[::1]:$p TCP6:[::1]:$p TCP6-LISTEN:$p,bind=[::1],reuseaddr"; do
        read -r url connect listen <<<"$form"
        timeout 30 "$NARU" listen "$url" <data >got 2>/dev/null 3>&- & # data goes both ways
        timeout 30 socat -t 10 "OPEN:data!!CREATE:back" "$connect,retry=1000,interval=0.02"
        wait $!
        cmp data got
        cmp data back
        timeout 30 socat -t 10 "OPEN:data!!CREATE:back" "$listen" 3>&- &
        until timeout 30 "$NARU" connect "$url" <data >got 2>why; do
            grep -q 'nobody listens\|not there' why # not yet
            sleep 0.02
        done
        wait $!
        cmp data got
        cmp data back
    done
}

@test "socat on each form of packets and datagrams, both ways round" {
    n=naru-test-$$-d
    for form in "unix+seqpacket:$D/p UNIX-CONNECT:$D/p,type=5 UNIX-LISTEN:$D/p,type=5" \
        "unix+seqpacket:@$n ABSTRACT-CONNECT:$n,type=5 ABSTRACT-LISTEN:$n,type=5"; do
        read -r url connect listen <<<"$form"
        echo there | timeout 30 "$NARU" listen "$url" --messages >got 2>/dev/null 3>&- &
        [ "$(echo here | timeout 30 socat -t 10 - "$connect,retry=1000,interval=0.02")" = there ]
        wait $!
        [ "$(cat got)" = here ]
        echo there | timeout 30 socat -t 10 - "$listen" >got 3>&- &
        until echo here | timeout 30 "$NARU" connect "$url" --messages >back 2>why; do
            grep -q 'nobody listens\|not there' why
            sleep 0.02
        done
        wait $!
        [ "$(cat got)" = here ]
        [ "$(cat back)" = there ]
    done
    p=$(free_port)
    for form in "unix+dgram:$D/d UNIX-SENDTO:$D/d UNIX-RECV:$D/d" \
        "unix+dgram:@$n ABSTRACT-SENDTO:$n ABSTRACT-RECV:$n" \
        "udp://127.0.0.1:$p UDP:127.0.0.1:$p UDP-RECV:$p,bind=127.0.0.1" \
        "udp://[::1]:$p UDP6:[::1]:$p UDP6-RECV:$p,bind=[::1]" \
        "--topic udp://239.255.77.5%lo:$p UDP-DATAGRAM:239.255.77.5:$p,ip-multicast-if=127.0.0.1 \
         UDP-RECV:$p,bind=239.255.77.5,ip-add-membership=239.255.77.5:lo"; do
        read -r -d '' url send receive <<<"${form#--topic }" || true
        [ "$url" = "${form%% *}" ] && topic= || topic=--topic
        # shellcheck disable=SC2086
        timeout 30 "$NARU" recv $topic "$url" --count 1 >got 3>&- &
        while kill -0 $! 2>/dev/null; do # a receiver that is not there yet loses what is sent
            printf 'by socat' | socat -u - "$send" 2>/dev/null || true
            sleep 0.02
        done
        [ "$(cat got)" = "by socat" ]
        timeout 30 socat -u "$receive" CREATE:got 3>&- &
        catcher=$!
        for _ in $(seq 2000); do
            # shellcheck disable=SC2086
            timeout 30 "$NARU" send $topic "$url" "by naru" --timeout 1 2>/dev/null || true
            grep -q 'by naru' got && break
            sleep 0.02
        done
        kill $catcher
        wait $catcher || true
        grep -q 'by naru' got
    done
}

@test "packets: socat and python, both ways round" {
    printf 'one\ntwo\n' >lines
    timeout 30 "$NARU" listen "unix+seqpacket:$D/p" --messages <lines >got 3>&- &
    here p
    answer=$(printf 'from afar' | timeout 30 socat -t 5 - "UNIX-CONNECT:$D/p,type=5,retry=1000,interval=0.05") # it may be bound and not listen yet
    wait $!
    [ "$answer" = onetwo ]
    [ "$(cat got)" = "from afar" ]
    timeout 30 /usr/bin/python3 -c "
import os, socket
l = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
l.bind('$D/new'); l.listen(); os.rename('$D/new', '$D/q'); c = l.accept()[0]
c.send(b'heard ' + c.recv(99)); c.send(b'and ' + c.recv(99))" 3>&- &
    here q
    timeout 30 "$NARU" connect "unix+seqpacket:$D/q" --messages <lines >got
    wait $!
    [ "$(cat got)" = "heard one
and two" ]
}

@test "unix datagrams: socat and python, both ways round" {
    timeout 30 "$NARU" recv "unix+dgram:$D/d" --count 2 >got 3>&- &
    here d
    printf 'by socat' | socat -u - "UNIX-SENDTO:$D/d"
    /usr/bin/python3 -c "
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'by python', '$D/d')"
    wait $!
    [ "$(cat got)" = "by socat
by python" ]
    [ ! -e d ]
    timeout 30 /usr/bin/python3 -c "
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('$D/e')
assert s.recv(99) == b'by naru'" 3>&- &
    here e
    timeout 30 "$NARU" send "unix+dgram:$D/e" "by naru"
    wait $!
    rm e
    run timeout 30 "$NARU" send "unix+dgram:$D/e" --timeout 0.1 "to nobody"
    [ "$status" -eq 1 ]
    [[ $output == *"nobody receives there"*"0 messages were accepted"* ]]
    run timeout 30 "$NARU" send "unix+dgram:$D/e" --type 3 "x"
    [ "$status" -eq 1 ]
    [[ $output == *"type 1"* ]]
}

@test "UDP: nc and socat, both ways round" {
    timeout 30 "$NARU" recv udp://127.0.0.1:0 --count 2 >got 2>where 3>&- &
    port=$(said where)
    printf 'by nc' | nc -u -w 1 127.0.0.1 "$port"
    printf 'by socat' | socat -u - "UDP:127.0.0.1:$port"
    wait $!
    [ "$(cat got)" = "by nc
by socat" ]
    port=$(free_port)
    timeout 30 socat -u "UDP-RECV:$port,bind=127.0.0.1" - >got 3>&- &
    catcher=$!
    bound u "$port"
    timeout 30 "$NARU" send "udp://127.0.0.1:$port" "by naru"
    for _ in $(seq 2000); do [ -s got ] && break; sleep 0.01; done
    kill $catcher
    [ "$(cat got)" = "by naru" ]
}

@test "multicast: two naru subscribers and a python publisher" {
    port=$(free_port)
    url="udp://239.255.77.8%lo:$port"
    timeout 30 "$NARU" recv --topic "$url" --count 1 >one 3>&- &
    first=$!
    timeout 30 "$NARU" recv --topic "$url" --count 1 >two 3>&- &
    second=$!
    while kill -0 $first 2>/dev/null || kill -0 $second 2>/dev/null; do # until both have joined
        /usr/bin/python3 -c "
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton('127.0.0.1'))
s.sendto(b'news', ('239.255.77.8', $port))"
    done
    wait $first
    wait $second
    [ "$(cat one)" = news ]
    [ "$(cat two)" = news ]
    timeout 30 "$NARU" send --topic "$url" "for nobody"
}

@test "System V queue: python's sysv_ipc, both ways round, selecting by type" {
    touch key
    key=$(/usr/bin/python3 -c "import sysv_ipc; print(sysv_ipc.ftok('$D/key', 9, silence_warning=True))")
    timeout 30 "$NARU" send "sysv-mq:$D/key#9" --type 2 "second"
    timeout 30 "$NARU" send "sysv-mq:$D/key#9" --type 1 "first"
    /usr/bin/python3 -c "
import sysv_ipc
q = sysv_ipc.MessageQueue($key)
assert q.receive(type=1) == (b'first', 1) and q.receive() == (b'second', 2)
q.send(b'from python', type=5); q.send(b'other', type=6)"
    run timeout 30 "$NARU" recv "sysv-mq:$D/key#9" --type 6 --count 1
    [ "$output" = other ]
    run timeout 30 "$NARU" recv "sysv-mq:$D/key#9" --count 1 --format json
    [ "$(jq -r .type <<<"$output")" = 5 ]
    "$NARU" rm "sysv-mq:$D/key#9"
}

@test "POSIX queue: a C program that knows mq_* alone, both ways round" {
    foreign=$(dirname "$NARU")/../tests/mq-posix
    q=/naru-test-$$-foreign
    "$NARU" send "posix-mq:$q" --type 1 low
    "$NARU" send "posix-mq:$q" --type 32768 high
    run timeout 30 "$foreign" recv "$q" 2
    [ "$output" = "32767 high
0 low" ]
    "$NARU" rm "posix-mq:$q"
    "$foreign" send "$q" 3 "from afar" 9 "of more weight" # makes the queue
    run timeout 30 "$NARU" recv "posix-mq:$q" --count 2 --format json
    [ "$(jq -r '[.type,.text]|join(" ")' <<<"$output")" = "10 of more weight
4 from afar" ]
    "$NARU" rm "posix-mq:$q"
}

@test "System V queue: a C program that knows msg* alone, both ways round" {
    foreign=$(dirname "$NARU")/../tests/mq-sysv
    q="sysv-mq:$D#7"
    "$NARU" send "$q" --type 1 first
    "$NARU" send "$q" --type 2 second
    run timeout 30 "$foreign" recv "$D" 7 2 0
    [ "$output" = "2 second
1 first" ]
    "$NARU" rm "$q"
    "$foreign" send "$D" 7 5 "from afar" 6 "another" # makes the queue
    run timeout 30 "$NARU" recv "$q" --select 6 --count 1
    [ "$output" = another ]
    run timeout 30 "$NARU" recv "$q" --count 1
    [ "$output" = "from afar" ]
    "$NARU" rm "$q"
}

@test "naru kinds --sockets says domain, type and protocol" {
    run "$NARU" kinds --sockets --json
    [ "$(jq -r 'select(.url == "udp://host:port") | .type' <<<"$output")" = SOCK_DGRAM ]
    [ "$(jq -r 'select(.url | startswith("unix+seq")) | .domain + .type' <<<"$output")" = \
        AF_UNIXSOCK_SEQPACKET ]
    [ "$(jq -rs 'map(select(.may_lose | startswith("yes"))) | length' <<<"$output")" = 1 ]
}
