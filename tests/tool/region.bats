#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The command on regions that programs made which have never heard of naru: it shows and removes
# them.

setup() {
    D=$(mktemp -d "$TMPDIR/region.XXXXXX")
    foreign=$(dirname "$NARU")/../tests/shm-kernel
    name=naru-bats-$$-$BATS_TEST_NUMBER
}

teardown() {
    rm -rf "$D"
}

shows_and_removes() { # URL, the foreign program's form and name
    run "$NARU" rm "$1"
    [ "$status" -eq 1 ]
    [[ $output == *"not there"* ]]
    "$foreign" "$2" make "$3" 70000 ahoy
    "$NARU" show --json "$1" | jq -e '.noun == "region" and .bytes == 70000 and .mode == "0600" and
        .parts == []'
    run "$NARU" show "$1"
    [[ $output == *"a region of uid $(id -u), 68.36 KiB"* ]]
    "$NARU" rm "$1"
    ! "$foreign" "$2" read "$3" 2>&1
    run "$NARU" show "$1"
    [ "$status" -eq 1 ]
}

@test "show and rm a POSIX object" {
    shows_and_removes "posix-shm:/$name" posix "/$name"
}

@test "show and rm a System V segment" {
    shows_and_removes "sysv-shm:$D#3" sysv "$D#3"
}

@test "show tells who has a region mapped" {
    "$foreign" posix make "/$name" 4096 ahoy
    # the shell itself cannot map: a program that sleeps over the mapping
    python3 -c 'import mmap, sys, time
f = open(sys.argv[1], "r+b"); m = mmap.mmap(f.fileno(), 0); f.close(); print(flush=True); time.sleep(20)' \
        "/dev/shm/$name" >"$D/ready" 3>&- &
    pid=$!
    for _ in $(seq 2000); do [ -s "$D/ready" ] && break; sleep 0.05; done
    "$NARU" show --json "posix-shm:/$name" |
        jq -e --argjson pid $pid '.parts | length == 1 and .[0].pid == $pid and .[0].access == "write"'
    kill $pid
    "$NARU" rm "posix-shm:/$name"
}

@test "kinds knows what can be a region" {
    "$NARU" kinds --urls --json |
        jq -se 'map(select(.region == "yes") | .scheme) == ["posix-shm", "sysv-shm", "shm", "map"]'
}

@test "a mapped file: shown with what it states, and removed" {
    command -v jq python3 || skip "no jq or python3"
    head -c 10000 /dev/urandom >"$D/file"
    setfattr -n user.naru -v naru-region:1:0000002a:0000000000005000 \
        "$D/file" 2>/dev/null || python3 -c 'import os, sys
os.setxattr(sys.argv[1], "user.naru", b"naru-region:1:0000002a:0000000000005000")' \
        "$D/file" || skip "no attributes in this file system"
    output=$("$NARU" show --json "map:$D/file" 2>"$D/said")
    [ "$(jq -r '[.noun,.bytes,.signature,.reserve]|join(" ")' <<<"$output")" = "region 10000 0000002a 20480" ]
    "$NARU" rm "map:$D/file"
    [ ! -e "$D/file" ]
    run "$NARU" rm "map:$D/file"
    [ "$status" != 0 ]
    [[ $output == *"is not there"* ]]
}
