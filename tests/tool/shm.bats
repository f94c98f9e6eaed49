#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shm.bats - the command on connections in shared memory.

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

sees() { # until `naru show` of URL gives this to jq
    for _ in $(seq 2000); do
        "$NARU" show --json "$1" 2>/dev/null | jq -se "$2" >/dev/null && return
        sleep 0.01
    done
    "$NARU" show --json "$1"
    return 1
}

@test "listen and connect carry messages, by a path and by a name" {
    name=bats-$$
    for url in "shm:$D/door" "shm:$name"; do
        path=${url#shm:}
        [[ $path == /* ]] || path=/dev/shm/naru-$(id -u)/$name
        printf 'one\ntwo\n' | timeout 30 "$NARU" listen "$url" --messages --type 7 >left 3>&- &
        here "$path"
        printf 'three\n' | timeout 30 "$NARU" connect "$url" --messages >right
        wait $!
        [ "$(cat right)" = "one
two" ]
        [ "$(cat left)" = three ]
        [ ! -e "$path" ]
    done
}

@test "rm removes what a killed listener left, and a live one's name" {
    for how in KILL none; do
        "$NARU" listen "shm:$D/door" --messages </dev/null 3>&- &
        pid=$!
        here door
        [ $how = none ] || kill -$how $pid
        [ $how = none ] || wait $pid || true
        "$NARU" rm "shm:$D/door"
        [ ! -e door ]
        kill $pid 2>/dev/null || true
        wait $pid || true
    done
    run "$NARU" rm "shm:$D/door"
    [ "$status" -eq 1 ]
    [[ $output == *"not there"* ]]
    run "$NARU" rm shm:
    [[ $output == *"a name"* || $output == *"no name"* ]]
}

@test "kinds knows what shm: can be" {
    "$NARU" kinds --urls --json | jq -se '.[] | select(.scheme == "shm") | .connection == "yes"'
}

@test "show tells both ends, what waits, and who sleeps" {
    mkfifo silent says
    exec 8<>silent 9<>says
    "$NARU" listen "shm:$D/door" --messages <silent >got 3>&- 8>&- 9>&- &
    here door
    "$NARU" show --json "shm:$D/door" | jq -se 'length == 1 and .[0].noun == "listener" and
        .[0].parts[0].program == "naru"'
    printf 'a\nbc\n' >&9
    "$NARU" connect "shm:$D/door" --messages <says 3>&- 8>&- 9>&- &
    sees "shm:$D/door" 'length == 1 and .[0].noun == "connection" and (.[0].parts | length) == 2 and
        ([.[0].parts[] | .sent] | max) == 2 and ([.[0].parts[] | .received] | max) == 2 and
        all(.[0].parts[]; .waiting == 0 and .program == "naru" and .life == "lives" and
            .capacity == 2097152) and
        any(.[0].parts[]; .asleep == "receiving")'
    run "$NARU" show "shm:$D/door"
    [[ $output == *connection*pid*program*asleep* ]]
    "$NARU" show --watch 0.2 "shm:$D/door" >seen 3>&- &
    watcher=$!
    for _ in $(seq 2000); do
        [ "$(grep -c connection seen)" -lt 2 ] || break
        sleep 0.05
    done
    kill $watcher # a background job ignores INT
    wait $watcher || true
    [ "$(grep -c connection seen)" -ge 2 ]
    pid=$("$NARU" show --json "shm:$D/door" | jq '.parts[] | select(.sent == 2) | .pid')
    kill -STOP "$pid" # not dead
    sees "shm:$D/door" 'all(.[0].parts[]; .life == "lives")'
    kill -KILL "$pid"
    exec 8>&- 9>&-
    wait
    run "$NARU" show "shm:$D/door"
    [ "$status" -eq 1 ]
    [[ $output == *nobody* ]]
}

@test "show says what it may not look at" {
    [ "$(id -u)" -eq 0 ] || skip "needs root to become another user"
    chmod 755 "$D"
    cp "$NARU" "$(dirname "$NARU")"/../s*/libnaru*.so.0 . # the checkout may be closed to others
    run setpriv --reuid 65534 --regid 65534 --clear-groups env \
        LD_LIBRARY_PATH=. ./naru show shm:nothing
    [ "$status" -eq 1 ]
    [[ $output == *"may not be looked at"* ]]
    run "$NARU" show "fifo:$D/x"
    [[ $output == *"not in this build"* || $output == *"in this build"* ]]
}
