#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# journal.bats - journals from the shell: show, ls, peek, verify; real processes.

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

naru() { timeout 30 "$NARU" "$@"; }

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
    for _ in $(seq 2000); do
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

@test "verify tells what is whole, torn, damaged" {
    for i in 1 2 3; do naru send "$J" "message $i"; done
    [ "$(naru verify "$J")" = "3 messages (1 to 3) of 27 B in 1 segments" ]
    printf half | dd of=journal/segment-0000000001 bs=1 seek=5000 conv=notrunc status=none
    run naru verify "$J"
    [ "$status" -eq 0 ]
    [[ "$output" = *"torn tail of"* ]]
    naru verify --json "$J" | jq -e '.whole and .torn > 0 and .damaged == 0'
    printf X | dd of=journal/segment-0000000001 bs=1 seek=4136 conv=notrunc status=none
    run naru verify "$J"
    [ "$status" -eq 1 ]
    [[ "$output" = *"message 1, segment-0000000001, byte 4096; 2 messages behind it are readable"* ]]
    naru verify --json "$J" >said || [ $? -eq 1 ]
    jq -e '(.whole | not) and .damaged == 1 and .bad_offset == 4096 and .readable == 2' said
}

@test "verify tells of a segment that was being made when the power went" {
    naru send "$J" one two
    : >journal/segment-0000000002
    dd if=/dev/zero of=journal/meta bs=8 seek=564 count=1 conv=notrunc status=none # another start
    run naru verify "$J"
    [ "$status" -eq 0 ]
    [[ "$output" = "2 messages (1 to 2)"*"1 segments hold nothing: they were not synced"* ]]
    naru verify --json "$J" | jq -e '.whole and .unbegun == 1 and .torn == 0'
    [ "$(naru recv "$J" --count 2)" = "one
two" ]
    naru verify --json "$J" | jq -e '.whole and .unbegun == 0'
}
