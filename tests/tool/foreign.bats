#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# foreign.bats - the command with programs at the other end that have never heard of naru: nc, socat,
# python's socket and sysv_ipc; both directions.

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
    for _ in $(seq 500); do [ -S "$1" ] && return; sleep 0.01; done
    return 1
}

said() { # FILE: until naru told where it is; prints the port
    for _ in $(seq 500); do grep -q 'at .*:[0-9]' "$1" && break; sleep 0.01; done
    sed -n 's/.*:\([0-9][0-9]*\)$/\1/p' "$1"
}

bound() { # PROTOCOL PORT: until somebody has it
    for _ in $(seq 500); do ss -Hln"$1" "sport = :$2" | grep -q . && return; sleep 0.01; done
    return 1
}

free_port() {
    /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

@test "nc at the other end of TCP, both ways round" {
    head -c 500001 /dev/urandom >data
    timeout 20 "$NARU" listen tcp://127.0.0.1:0 </dev/null >got 2>where 3>&- &
    port=$(said where)
    timeout 20 nc -N 127.0.0.1 "$port" <data
    wait $!
    cmp data got
    port=$(free_port)
    timeout 20 nc -l 127.0.0.1 "$port" >got 3>&- </dev/null &
    bound t "$port"
    timeout 20 "$NARU" connect "tcp://127.0.0.1:$port" <data
    wait $!
    cmp data got
}

@test "socat at the other end of TCP over IPv6, both ways round" {
    head -c 500001 /dev/urandom >data
    timeout 20 "$NARU" listen 'tcp://[::1]:0' </dev/null >got 2>where 3>&- &
    port=$(said where)
    timeout 20 socat -u OPEN:data "TCP6:[::1]:$port"
    wait $!
    cmp data got
    port=$(free_port)
    timeout 20 socat -u "TCP6-LISTEN:$port,bind=[::1]" CREATE:got 3>&- &
    bound t "$port"
    timeout 20 "$NARU" connect "tcp://[::1]:$port" <data
    wait $!
    cmp data got
}

@test "packets: socat and python, both ways round" {
    printf 'one\ntwo\n' >lines
    timeout 20 "$NARU" listen "unix+seqpacket:$D/p" --messages <lines >got 3>&- &
    here p
    answer=$(printf 'from afar' | timeout 20 socat -t 5 - "UNIX-CONNECT:$D/p,type=5")
    wait $!
    [ "$answer" = onetwo ]
    [ "$(cat got)" = "from afar" ]
    timeout 20 /usr/bin/python3 -c "
import socket
l = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
l.bind('$D/q'); l.listen(); c = l.accept()[0]
c.send(b'heard ' + c.recv(99)); c.send(b'and ' + c.recv(99))" 3>&- &
    here q
    timeout 20 "$NARU" connect "unix+seqpacket:$D/q" --messages <lines >got
    wait $!
    [ "$(cat got)" = "heard one
and two" ]
}

@test "unix datagrams: socat and python, both ways round" {
    timeout 20 "$NARU" recv "unix+dgram:$D/d" --count 2 >got 3>&- &
    here d
    printf 'by socat' | socat -u - "UNIX-SENDTO:$D/d"
    /usr/bin/python3 -c "
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'by python', '$D/d')"
    wait $!
    [ "$(cat got)" = "by socat
by python" ]
    [ ! -e d ]
    timeout 20 /usr/bin/python3 -c "
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('$D/e')
assert s.recv(99) == b'by naru'" 3>&- &
    here e
    timeout 20 "$NARU" send "unix+dgram:$D/e" "by naru"
    wait $!
    rm e
    run timeout 20 "$NARU" send "unix+dgram:$D/e" --timeout 0.1 "to nobody"
    [ "$status" -eq 1 ]
    [[ $output == *"nobody receives there"*"0 messages were accepted"* ]]
    run timeout 20 "$NARU" send "unix+dgram:$D/e" --type 3 "x"
    [ "$status" -eq 1 ]
    [[ $output == *"type 1"* ]]
}

@test "UDP: nc and socat, both ways round" {
    timeout 20 "$NARU" recv udp://127.0.0.1:0 --count 2 >got 2>where 3>&- &
    port=$(said where)
    printf 'by nc' | nc -u -w 1 127.0.0.1 "$port"
    printf 'by socat' | socat -u - "UDP:127.0.0.1:$port"
    wait $!
    [ "$(cat got)" = "by nc
by socat" ]
    port=$(free_port)
    timeout 20 socat -u "UDP-RECV:$port,bind=127.0.0.1" - >got 3>&- &
    catcher=$!
    bound u "$port"
    timeout 20 "$NARU" send "udp://127.0.0.1:$port" "by naru"
    for _ in $(seq 500); do [ -s got ] && break; sleep 0.01; done
    kill $catcher
    [ "$(cat got)" = "by naru" ]
}

@test "multicast: two naru subscribers and a python publisher" {
    port=$(free_port)
    url="udp://239.255.77.8%lo:$port"
    timeout 20 "$NARU" recv --topic "$url" --count 1 >one 3>&- &
    first=$!
    timeout 20 "$NARU" recv --topic "$url" --count 1 >two 3>&- &
    second=$!
    for _ in $(seq 500); do
        [ "$(ss -Hlnu "sport = :$port" | wc -l)" = 2 ] && break
        sleep 0.01
    done
    sleep 0.1
    /usr/bin/python3 -c "
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton('127.0.0.1'))
s.sendto(b'news', ('239.255.77.8', $port))"
    wait $first
    wait $second
    [ "$(cat one)" = news ]
    [ "$(cat two)" = news ]
    timeout 20 "$NARU" send --topic "$url" "for nobody"
}

@test "System V queue: python's sysv_ipc, both ways round, selecting by type" {
    touch key
    key=$(/usr/bin/python3 -c "import sysv_ipc; print(sysv_ipc.ftok('$D/key', 9, silence_warning=True))")
    timeout 20 "$NARU" send "sysv-mq:$D/key#9" --type 2 "second"
    timeout 20 "$NARU" send "sysv-mq:$D/key#9" --type 1 "first"
    /usr/bin/python3 -c "
import sysv_ipc
q = sysv_ipc.MessageQueue($key)
assert q.receive(type=1) == (b'first', 1) and q.receive() == (b'second', 2)
q.send(b'from python', type=5); q.send(b'other', type=6)"
    run timeout 20 "$NARU" recv "sysv-mq:$D/key#9" --type 6 --count 1
    [ "$output" = other ]
    run timeout 20 "$NARU" recv "sysv-mq:$D/key#9" --count 1 --format json
    [ "$(jq -r .type <<<"$output")" = 5 ]
    "$NARU" rm "sysv-mq:$D/key#9"
}

@test "naru kinds --sockets says domain, type and protocol" {
    run "$NARU" kinds --sockets --json
    [ "$(jq -r 'select(.url == "udp://host:port") | .type' <<<"$output")" = SOCK_DGRAM ]
    [ "$(jq -r 'select(.url | startswith("unix+seq")) | .domain + .type' <<<"$output")" = \
        AF_UNIXSOCK_SEQPACKET ]
    [ "$(jq -rs 'map(select(.may_lose | startswith("yes"))) | length' <<<"$output")" = 1 ]
}
