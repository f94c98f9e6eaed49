#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# tls.bats - the command over tls: and grpcs:, with certificates of the openssl command, and that
# command at the other end.
bats_require_minimum_version 1.5.0

setup() {
    NARU=$(realpath "$NARU")
    D=$(mktemp -d)
    cd "$D" || return
    pids=
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
        -subj /CN=ca -days 2 2>/dev/null
    issue server localhost
    issue alice alice
}

teardown() {
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill $pids 2>/dev/null || true
    cd /
    rm -rf "$D"
}

issue() { # NAME DNS
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out csr \
        -subj "/CN=$1" 2>/dev/null
    printf 'subjectAltName=DNS:%s' "$2" >extension
    openssl x509 -req -in csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 \
        -extfile extension -out "$1.pem" 2>/dev/null
}

listening() { # FILE: where, once it is told there
    for _ in $(seq 2000); do
        where=$(sed -n 's/.* at //p' "$1" 2>/dev/null || true)
        [ -n "$where" ] && return
        sleep 0.01
    done
    return 1
}

@test "listen and connect carry both directions" {
    head -c 3000001 /dev/urandom >a
    head -c 70001 /dev/urandom >b
    timeout 30 "$NARU" listen tls://127.0.0.1:0 --cert server.pem --key server.key <a >got-b 2>said 3>&- &
    pids=$!
    listening said
    timeout 30 "$NARU" connect "$where" --ca ca.pem --server-name localhost <b >got-a
    wait "$pids"
    cmp a got-a
    cmp b got-b
}

@test "whoever has no certificate is not let in where --ca demands one, and is told" {
    timeout 30 "$NARU" serve tls://127.0.0.1:0 --cert server.pem --key server.key --ca ca.pem 2>said 3>&- &
    pids=$!
    listening said
    run -1 timeout 30 "$NARU" methods "$where" --ca ca.pem --server-name localhost
    [[ "$output" == *"demands a certificate"* ]]
    run -0 timeout 30 "$NARU" methods "$where" --ca ca.pem --server-name localhost --cert alice.pem \
        --key alice.key
    [[ "$output" == *example.Calculator* ]]
    run -1 timeout 30 "$NARU" methods "$where" --ca ca.pem --cert alice.pem --key alice.key
    [[ "$output" == *"is for localhost and not for the server's name 127.0.0.1"* ]]
}

@test "who was revoked is not let in, nor believed" {
    printf '%s\n' '[ca]' 'default_ca=it' '[it]' 'database=index' 'default_md=sha256' >ca.conf
    touch index
    openssl ca -config ca.conf -keyfile ca.key -cert ca.pem -revoke alice.pem 2>/dev/null
    openssl ca -config ca.conf -keyfile ca.key -cert ca.pem -gencrl -crldays 1 -out alice-out 2>/dev/null
    openssl ca -config ca.conf -keyfile ca.key -cert ca.pem -revoke server.pem 2>/dev/null
    openssl ca -config ca.conf -keyfile ca.key -cert ca.pem -gencrl -crldays 1 -out both-out 2>/dev/null
    issue bob bob
    timeout 20 "$NARU" serve tls://127.0.0.1:0 --cert server.pem --key server.key --ca ca.pem \
        --revoked alice-out 2>said 3>&- &
    pids=$!
    listening said
    run -1 timeout 20 "$NARU" methods "$where" --ca ca.pem --server-name localhost --cert alice.pem \
        --key alice.key
    [[ "$output" == *"this one's certificate was revoked"* ]]
    run -0 timeout 20 "$NARU" methods "$where" --ca ca.pem --server-name localhost --cert bob.pem \
        --key bob.key --revoked alice-out
    run -1 timeout 20 "$NARU" methods "$where" --ca ca.pem --server-name localhost --cert bob.pem \
        --key bob.key --revoked both-out
    [[ "$output" == *"the certificate of CN=server was revoked by CN=ca"* ]]
}

@test "calls over grpcs: and tls: have the same answers" {
    timeout 30 "$NARU" serve tls://127.0.0.1:0 --cert server.pem --key server.key 2>one 3>&- &
    pids=$!
    timeout 30 "$NARU" serve grpcs://127.0.0.1:0 --cert server.pem --key server.key 2>two 3>&- &
    pids="$pids $!"
    for said in one two; do
        listening $said
        run -0 timeout 30 "$NARU" call "$where" example.Calculator/Add '{"a":2,"b":40}' --ca ca.pem \
            --server-name localhost
        [ "$output" = '{"sum":42}' ]
    done
}

@test "openssl at the other end, both ways round" {
    od -An -tx1 -v /dev/urandom | tr -d " \n" | head -c 500001 >data # a line of R would be a command
    timeout 30 "$NARU" listen tls://127.0.0.1:0 --cert server.pem --key server.key \
        < <(for _ in $(seq 600); do ! cmp -s data got || break; sleep 0.05; done) \
        >got 2>said 3>&- & # s_client leaves when the other end has finished
    pids=$!
    listening said
    timeout 30 openssl s_client -quiet -no_ign_eof -CAfile ca.pem -connect "${where#tls://}" <data >out 2>&1 || true
    wait "$pids"
    cmp data got
    timeout 30 openssl s_server -accept 127.0.0.1:0 -naccept 1 -rev -cert server.pem -key server.key \
        </dev/null >heard 2>&1 3>&- &
    pids=$!
    for _ in $(seq 2000); do grep -q ACCEPT heard && break; sleep 0.01; done
    port=$(sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' heard)
    printf 'hello there\n' | timeout 30 "$NARU" connect "tls://localhost:$port" --ca ca.pem >got
    [ "$(cat got)" = "ereht olleh" ]
}

@test "read and write over tls:" {
    timeout 30 "$NARU" listen tls://127.0.0.1:0 --cert server.pem --key server.key <ca.pem >got 2>said 3>&- &
    pids=$!
    listening said
    timeout 30 "$NARU" read "$where" --ca ca.pem --server-name localhost --count 20 >bytes
    wait "$pids" || true
    cmp bytes <(head -c 20 ca.pem)
    timeout 30 "$NARU" listen tls://127.0.0.1:0 --cert server.pem --key server.key </dev/null >got 2>told 3>&- &
    pids=$!
    listening told
    timeout 30 "$NARU" write "$where" --ca ca.pem --server-name localhost one two
    wait "$pids"
    [ "$(cat got)" = "one
two" ]
}

@test "files that cannot be used are said by name" {
    run -1 timeout 30 "$NARU" listen tls://127.0.0.1:0
    [[ "$output" == *"needs a certificate"* ]]
    run -1 timeout 30 "$NARU" listen tls://127.0.0.1:0 --cert server.pem --key alice.key
    [[ "$output" == *"alice.key is not that of the certificate in server.pem"* ]]
    run -1 timeout 30 "$NARU" connect tls://127.0.0.1:1 --ca none.pem
    [[ "$output" == *"none.pem cannot be read: No such file"* ]]
}
