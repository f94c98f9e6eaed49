#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# journal.bats - looking at journals from the shell: show, ls, peek; real processes.

setup() {
    NARU=$(realpath "$NARU")
    D=$(mktemp -d)
    cd "$D"
    J=map:$D/journal
}

teardown() {
    for pid in $(jobs -p); do kill -KILL "$pid" 2>/dev/null || true; done
    cd /
    rm -rf "$D"
}

naru() { timeout 20 "$NARU" "$@"; }

@test "show tells what a journal keeps, where cursors are, and who sends with which sync" {
    for i in 1 2 3 4 5; do naru send "$J" --sync each "message $i"; done
    naru recv "$J" --count 2
    naru recv "$J" --cursor audit --count 1
    naru show --json "$J" | jq -e '.noun == "journal" and .kept == 5 and .first == 1 and .last == 5 and
        .synced == 5 and .flushes == 5 and .cursors == 2 and .segments == 1'
    naru show --json "$J" | jq -e '.parts | map({(.cursor): [.position, .lag]}) | add ==
        {"default": [3, 3], "audit": [2, 4]}'
    mkfifo hold
    naru send "$J" --sync 500 <hold >/dev/null 2>&1 &
    exec 8>hold # the sender is there as long as this is open
    for _ in $(seq 300); do
        naru show --json "$J" | jq -e 'any(.parts[]; .role == "sends")' >/dev/null && break
        sleep 0.01
    done
    naru show --json "$J" | jq -e 'any(.parts[]; .role == "sends" and .sync == "within 500 ms")'
    naru show "$J" | grep -q "within 500 ms"
    exec 8>&-
    wait
}

@test "peek shows what waits, and takes nothing; ls lists a directory" {
    naru send "$J" one two three
    naru recv "$J" --count 1
    for _ in 1 2; do
        [ "$(naru peek "$J")" = "two
three" ]
    done
    [ "$(naru peek "$J" --format json | jq -s 'map(.sequence) | join(" ")' -r)" = "2 3" ]
    mkdir other
    : >plain
    [ "$(naru ls --names "map:$D")" = "$J" ]
    naru ls --json "$J" | jq -e '.noun == "journal" and .kept == 3'
    naru rm "$J"
    [ -z "$(naru ls --names "map:$D")" ]
    run naru show "$J"
    [ "$status" -eq 1 ]
}
