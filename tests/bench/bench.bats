#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The form of what naru bench prints. Figures are never asserted.

setup_file() {
    export naru="$B/tool/naru"
    "$naru" bench --quick --repetitions 1 --sizes 8,4096 --json --output "$TMPDIR/results" \
        --html "$TMPDIR/page.html" >"$TMPDIR/cells" 2>"$TMPDIR/said"
    echo $? >"$TMPDIR/status"
}

teardown_file() {
    rm -f "$TMPDIR"/results "$TMPDIR"/page.html "$TMPDIR"/cells "$TMPDIR"/said "$TMPDIR"/status
}

@test "every cell was measured, and none was corrupt" {
    [ "$(cat "$TMPDIR/status")" = 0 ]
    jq -es 'length > 10 and all(has("error") | not) and all(.repetitions == 1)' "$TMPDIR/cells"
}

@test "each naru cell stands beside the raw one of its kind, a journal beside a queue in memory" {
    jq -es '. as $all | map(select(.adapter | startswith("naru"))) | length > 5 and
            all(. as $c | any($all[]; .adapter == $c.ratio.to and .size == $c.size and
                              .mode == $c.mode and
                              .url == (if $c.url == "map:" then "shm:" else $c.url end)))' \
        "$TMPDIR/cells"
}

@test "latency has its tail, and every cell its placement" {
    jq -es 'map(select(.mode == "latency")) |
            all(.p50_ns > 0 and .p99_ns >= .p50_ns and .p999_ns >= .p99_ns)' "$TMPDIR/cells"
    jq -es 'all(.placement | IN("near", "far", "unpinned"))' "$TMPDIR/cells"
}

@test "the results say what was measured, where and when" {
    jq -e '(.command | index("--quick")) and (.date | fromdate > 0) and .kernel and .processors and
           has("pinned") and (.cells | length > 10)' "$TMPDIR/results"
}

@test "the page has plots, and needs nothing from elsewhere" {
    [ "$(grep -c 'data:image/svg+xml;base64,' "$TMPDIR/page.html")" -ge 3 ]
    ! grep -Eq '(src|href)="?(https?:|/)' "$TMPDIR/page.html"
}

@test "a URL restricts, and one that cannot be measured is refused" {
    "$naru" bench --quick --repetitions 1 --sizes 8 --json fifo: |
        jq -es 'length > 2 and all(.url == "fifo:")'
    "$naru" bench --quick --repetitions 1 --sizes 8 --modes stream pipe: | grep -qi 'pinned'
    run "$naru" bench nats:
    [ "$status" = 2 ]
    [[ $output == *"nats:"*"can: "*"pipe:, "*"fifo:"* ]]
}

@test "goals are judged, over enough pairs alone, and what was not measured is not met" {
    "$naru" bench --goals --quick --repetitions 3 --sizes 8 --json --output "$TMPDIR/results" \
        >"$TMPDIR/cells"
    jq -es 'map(select(has("adapter"))) | length > 8 and all(has("error") | not)' "$TMPDIR/cells"
    # a cell that the host moved meanwhile makes no pair
    jq -es 'map(select(has("line"))) | length > 20 and
            all(if (.pairs // 0) == 0 then .verdict == "not measured"
                elif .bound > 0.9 and .bound < 1.1 then .verdict == "too few pairs"
                else .verdict | IN("met", "missed") end) and
            any(.verdict == "too few pairs") and any(.verdict | IN("met", "missed"))' \
        "$TMPDIR/cells"
    jq -e '.goals | map(select(.line | contains("1 GiB"))) | all(.verdict == "not measured")' \
        "$TMPDIR/results"
    run "$naru" bench --goals --curve
    [ "$status" = 2 ]
}

@test "the curve is of connections alone" {
    "$naru" bench --curve --quick --repetitions 1 --sizes 64,4k --json >"$TMPDIR/cells"
    jq -es 'length == 16 and all(has("error") | not) and all(.adapter | test("ring|connection"))' \
        "$TMPDIR/cells"
}

@test "locks: alone and contended, each beside libc's" {
    "$naru" bench --quick --repetitions 1 --modes lock --contenders 1,3 --json >"$TMPDIR/cells"
    jq -es 'length == 36 and all(has("error") | not)' "$TMPDIR/cells"
    jq -es 'map(select(.contenders == 1)) | all(.acquire_release_ns > 0 and .placement == "alone")' \
        "$TMPDIR/cells"
    jq -es 'map(select(.contenders == 3)) | all(.locks_s > 0 and .longest_to_mean >= 0)' \
        "$TMPDIR/cells"
    for one in sem_t "robust mutex" "semop, SEM_UNDO" flock "fcntl record lock" "naru mutex" \
        "naru semaphore" "naru semaphore, fair" "naru semaphore, plain" "naru rwlock, writing"; do
        jq -es --arg one "$one" 'map(select(.adapter == $one)) | length == 2' "$TMPDIR/cells"
    done
    run "$naru" bench --modes lock --contenders 65
    [ "$status" = 2 ]
    [ -z "$(ls /dev/shm/naru-*/bench-lock-* /dev/shm/sem.bench-lock-* 2>/dev/null)" ]
}

@test "a run that is ended leaves nothing" {
    "$naru" bench --json >/dev/null &
    bench=$!
    sleep 0.5
    kill -TERM $bench
    status=0
    wait $bench || status=$?
    [ "$status" -gt 128 ]
    [ -z "$(ls -d "$TMPDIR"/naru-* 2>/dev/null)" ]
}

@test "calls: each carrier beside a bare socket, with as many in flight as asked" {
    "$naru" bench --quick --repetitions 1 --modes call --in-flight 1,32 --json >"$TMPDIR/cells"
    jq -es 'length == 22 and all(has("error") | not) and all(.p99_ns > 0) and
            all(.cpu_ns > .server_cpu_ns and .server_cpu_ns > 0) and (map(.in_flight) | unique) == [1, 32] and
            all(if .in_flight == 1 then .round_trip_ns > 0 else .calls_s > 0 end)' "$TMPDIR/cells"
    jq -es 'map(select(.adapter | endswith(", one stream"))) | length == 8' "$TMPDIR/cells"
    jq -es 'map(select(.adapter | startswith("naru") and endswith("call"))) | length == 12 and
            all(.ratio.to == "bare unix socket, call")' "$TMPDIR/cells"
    run "$naru" bench --modes call --in-flight 0
    [ "$status" = 2 ]
    [[ $output == *"--in-flight wants"*"from 1 to 1000"* ]]
}

@test "streams within calls, of the client and of the server" {
    "$naru" bench --quick --repetitions 1 --modes call-stream --sizes 8,64,64k --json >"$TMPDIR/cells"
    jq -es 'length == 16 and all(has("error") | not) and all(.messages_s > 0) and
            all(.cpu_ns > .receiver_cpu_ns and .receiver_cpu_ns > 0) and
            (map(.size) | unique) == [64, 65536] and (map(.url) | unique | length) == 4' "$TMPDIR/cells"
}

@test "TLS beside a bare loop of OpenSSL's: every cell of each way" {
    "$B/bench/bench-tls" -r 1 -t 5 >"$TMPDIR/tls"
    jq -es 'length == 24 and all(.ns > 0 and .bare > 0) and
            (map(.way) | unique == ["bare OpenSSL", "naru connection", "naru stream"])' "$TMPDIR/tls"
    rm -f "$TMPDIR/tls"
}
