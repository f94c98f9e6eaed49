#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# services.bats - naru serve, methods, describe and call, over each carrier and against servers that
# lie; and what shells complete.
bats_require_minimum_version 1.5.0

setup() {
    NARU=$(realpath "$NARU")
    D=$(mktemp -d)
    cd "$D"
    U=unix:$D/s
    pids=
}

teardown() {
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill $pids 2>/dev/null || true
    cd /
    rm -rf "$D"
}

serve() { # URL...
    "$NARU" serve "$@" 2>said 3>&- &
    pids="$pids $!"
    server=$!
    for _ in $(seq 2000); do
        [ "$(grep -c ' at ' said)" -eq $# ] && return
        sleep 0.01
    done
    return 1
}

end() { # the server, in order
    kill "$server"
    wait "$server" || { echo "the server ended with $?"; cat said; return 1; }
}

lies() { # HOW
    "$(dirname "$NARU")/../tests/lying-server" "$U" "$1" 3>&- &
    pids="$pids $!"
    server=$!
    for _ in $(seq 2000); do [ -S s ] && return; sleep 0.01; done
    return 1
}

@test "the same answers over each carrier, of one server" {
    serve "shm:$D/m" "$U" tcp://127.0.0.1:0
    urls=$(sed 's/.* at //' said)
    [ "$(echo "$urls" | wc -l)" -eq 3 ]
    for url in $urls; do
        [ "$("$NARU" call "$url" example.Calculator/Add '{"a":40,"b":2}')" = '{"sum":42}' ]
        [ "$("$NARU" call "$url" example.Store/Put "{\"key\":\"$url\"}")" = '{"replaced":false}' ]
        "$NARU" methods "$url" --names >"names.${url%%:*}"
    done
    cmp names.shm names.unix
    cmp names.shm names.tcp
    grep -qx example.Store/Watch names.shm
    grep -qx grpc.health.v1.Health/Check names.shm
    grep -qx grpc.reflection.v1.ServerReflection/ServerReflectionInfo names.shm
    grep -qx grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo names.shm
    end
    [ ! -e s ]
}

@test "methods: a table, names, JSON; a raw server is told apart" {
    serve "$U"
    run "$NARU" methods "$U"
    [[ $output == *"example.Store/Load"*"example.Entry"*"example.LoadReply"*"client streams"* ]]
    "$NARU" methods "$U" --json | jq -se '
        map(select(.method == "example.Store/Session")) ==
        [{method: "example.Store/Session", request: "example.Command", reply: "example.Answer",
          client_streams: true, server_streams: true}]'
    [ "$("$NARU" methods "$U" --json | wc -l)" -eq "$("$NARU" methods "$U" --names | wc -l)" ]
    end
    run "$NARU" methods "$U"
    [ "$status" -eq 1 ]
    [[ $output == *UNAVAILABLE*"$D/s"* ]]
}

@test "describe: each sort of symbol as a .proto file has it, or JSON; unknown ones" {
    serve "$U"
    [ "$("$NARU" describe "$U" example.Key)" = "message Key {
  string key = 1;
}" ]
    [ "$("$NARU" describe "$U" example.Store/Watch)" = \
        "rpc Watch(.example.WatchRequest) returns (stream .example.Change);" ]
    [ "$("$NARU" describe "$U" example.Store.Watch)" = \
        "$("$NARU" describe "$U" example.Store/Watch)" ]
    run "$NARU" describe "$U" example.Change.Kind example.Change.PUT example.Entry.value
    [ "$status" -eq 0 ]
    [[ $output == *"enum Kind"*"PUT = 0;"*"bytes value = 2;"* ]]
    "$NARU" describe "$U" example.Store --json | jq -e '
        .symbol == "example.Store" and .kind == "service" and .file == "store.proto" and
        (.definition.method | length) == 6'
    run "$NARU" describe "$U" example.Nothing
    [ "$status" -eq 1 ]
    [[ $output == *'nothing named "example.Nothing"'* ]]
    end
}

@test "call: one for one, its status, metadata, deadline" {
    serve "$U"
    [ "$("$NARU" call "$U" example.Calculator/Add)" = '{"sum":0}' ]
    [ "$(echo '{"a": 1}' | "$NARU" call "$U" /example.Calculator/Add -)" = '{"sum":1}' ]
    [ "$("$NARU" call "$U" example.Store/Put '{"key":"k","value":"aGk="}' --metadata a=b \
        --metadata c-bin=AAE= --metadata a=c --deadline 20)" = '{"replaced":false}' ]
    [ "$("$NARU" call "$U" example.Store/Get '{"key":"k"}')" = '{"key":"k","value":"aGk="}' ]
    run "$NARU" call "$U" example.Store/Get '{"key":"none"}'
    [ "$status" -eq 1 ]
    [[ $output == "naru call: "*'NOT_FOUND: there is no key "none"' ]]
    run --separate-stderr "$NARU" call "$U" example.Store/Get '{"key":"none"}' --json
    [ "$status" -eq 1 ]
    [ "$output" = '{"status":"NOT_FOUND","code":5,"text":"there is no key \"none\""}' ]
    run --separate-stderr "$NARU" call "$U" example.Store/Watch --deadline 0.2 --json
    [ "$status" -eq 1 ]
    [[ $output == '{"status":"DEADLINE_EXCEEDED","code":4,'* ]]
    end
}

@test "call: streams of each form, as lines and as arguments" {
    serve "$U"
    "$NARU" call "$U" example.Store/Watch '{"prefix":"w"}' >watched 3>&- &
    watcher=$!
    for _ in $(seq 2000); do # it watches from some moment on
        "$NARU" call "$U" example.Store/Put '{"key":"w"}' >put
        [ -s watched ] && break
    done
    head -n 1 watched | jq -e '.kind == "PUT" and .entry.key == "w"'
    kill "$watcher"
    [ "$(printf '{"key":"a","value":"AAAA"}\n\n{"key":"b"}' | "$NARU" call "$U" \
        example.Store/Load)" = '{"entries":"2","bytes":"3"}' ]
    [ "$("$NARU" call "$U" example.Store/Load '{"key":"c"}' '{"key":"d"}' '{"key":"e"}' --json)" = \
        '{"message":{"entries":"3","bytes":"0"}}
{"status":"OK","code":0}' ]
    # each answer comes before the next question is asked
    coproc asked { exec "$NARU" call "$U" example.Store/Session 3>&-; }
    for i in 1 2 3; do
        echo "{\"id\":$i,\"get\":{\"key\":\"none\"}}" >&"${asked[1]}"
        read -r -t 20 line <&"${asked[0]}"
        [ "$line" = "{\"id\":\"$i\",\"code\":5}" ]
    done
    process=$asked_PID
    eval "exec ${asked[1]}>&-"
    wait "$process"
    # more than any window holds, both ways
    seq 5000 | sed 's/.*/{"id":&,"get":{"key":"none"}}/' >many
    [ "$("$NARU" call "$U" example.Store/Session <many | wc -l)" -eq 5000 ]
    end
}

@test "call: what is wrong with a request is said before, or where it stands" {
    serve "$U"
    run "$NARU" call "$U" example.Calculator/Add '{"a":1,"c":2}'
    [ "$status" -eq 1 ]
    [[ $output == *"no example.AddRequest"*"c: Cannot find field"* ]]
    for json in '{"a":"x"}' '{"a":' '[]' '' '{"a":99999999999}' "$(head -c 5000 /dev/zero | tr '\0' '[')"; do
        run "$NARU" call "$U" example.Calculator/Add "$json"
        [ "$status" -eq 1 ]
        [[ $output == *"message 1: it is no example.AddRequest: "* ]]
    done
    run "$NARU" call "$U" example.Calculator/Add '{}' '{}'
    [ "$status" -eq 2 ]
    [[ $output == *"takes one message, and 2 are given"* ]]
    printf '{"key":"x"}\n{"kye":"y"}\n' >lines
    run "$NARU" call "$U" example.Store/Load <lines
    [ "$status" -eq 1 ]
    [[ $output == *"line 2: it is no example.Entry"* ]]
    [ "$("$NARU" call "$U" example.Store/Get '{"key":"x"}')" ] # what was sent before, was
    run "$NARU" call "$U" example.Store/None
    [ "$status" -eq 1 ]
    [[ $output == *'example.Store has no method "None"'* ]]
    run "$NARU" call "$U" example.None/Get
    [ "$status" -eq 1 ]
    [[ $output == *'a service "example.None"'* ]]
    for method in nothing / a/ /b; do
        run "$NARU" call "$U" "$method"
        [ "$status" -eq 2 ]
    done
    run "$NARU" call "$U" example.Calculator/Add --metadata key
    [ "$status" -eq 2 ]
    run "$NARU" call "$U" example.Calculator/Add --metadata 'x-bin=?'
    [ "$status" -eq 2 ]
    [[ $output == *base64* ]]
    run "$NARU" call "$U" example.Calculator/Add --metadata 'Upper=x'
    [ "$status" -eq 1 ]
    [ "$("$NARU" call "$U" example.Calculator/Add '{"a":1}')" = '{"sum":1}' ]
    end
}

@test "a server that is not there, that comes, that dies" {
    run "$NARU" call "$U" a.B/C
    [ "$status" -eq 1 ]
    [[ $output == *UNAVAILABLE* ]]
    run "$NARU" call "$U" a.B/C --wait --deadline 0.3
    [ "$status" -eq 1 ]
    [[ $output == *DEADLINE_EXCEEDED* ]]
    timeout 30 "$NARU" call "$U" example.Calculator/Add '{"a":5}' --wait >got 3>&- &
    waiting=$!
    sleep 0.1
    serve "$U"
    wait "$waiting"
    [ "$(cat got)" = '{"sum":5}' ]
    timeout 30 "$NARU" call "$U" example.Store/Watch >got 2>why 3>&- &
    waiting=$!
    for _ in $(seq 2000); do
        "$NARU" call "$U" example.Store/Put '{"key":"x"}' >put
        [ -s got ] && break
    done
    kill -9 "$server"
    status=0
    wait "$waiting" || status=$?
    [ "$status" -eq 1 ]
    grep -q UNAVAILABLE why
}

@test "servers that lie are found out" {
    for how in garbage nonsense endless dies silent; do
        lies "$how"
        [ "$how" = silent ] && deadline=1 || deadline=20
        run timeout 30 "$NARU" describe "$U" lie.Service --deadline $deadline
        [ "$status" -eq 1 ]
        [[ $output == "naru describe: "* ]]
        [ "$(echo "$output" | wc -l)" -eq 1 ]
        case $how in
        garbage) [[ $output == *"are no grpc.reflection"* ]] ;;
        nonsense) [[ $output == *"no FileDescriptorProto"* ]] ;;
        endless) [[ $output == *"more than 2000 .proto files"* ]] ;;
        dies) [[ $output == *UNAVAILABLE* ]] ;;
        silent) [[ $output == *DEADLINE_EXCEEDED* ]] ;;
        esac
        if [ "$how" = dies ]; then wait "$server"; rm -f s; else end; fi
    done
    lies answers
    run timeout 30 "$NARU" call "$U" example.Calculator/Add
    [ "$status" -eq 1 ]
    [[ $output == *"6 bytes came that are no example.AddReply"* ]]
    end
}

@test "servers without reflection, and without a .proto file" {
    lies bare
    run "$NARU" methods "$U"
    [ "$status" -eq 1 ]
    [[ $output == *"UNIMPLEMENTED"*"the server has no reflection"* ]]
    end
    lies raw
    run "$NARU" methods "$U"
    [ "$status" -eq 0 ]
    [[ $output == *"raw.Lies "*"not described"* ]]
    "$NARU" methods "$U" --json | grep -qx '{"service":"raw.Lies","described":false}'
    [ -z "$("$NARU" methods "$U" --names | grep Lies)" ]
    run "$NARU" call "$U" raw.Lies/Add
    [ "$status" -eq 1 ]
    [[ $output == *'does not describe a service "raw.Lies"'* ]]
    end
}

@test "serve: JSON, what cannot be served, a call in flight at the end" {
    "$NARU" serve tcp://127.0.0.1:0 --json --grace 10 >out 2>where 3>&- &
    server=$!
    pids=$server
    for _ in $(seq 2000); do [ -s where ] && break; sleep 0.01; done
    url=$(jq -r .listening where)
    "$NARU" call "$url" grpc.health.v1.Health/Watch >watched 2>why 3>&- &
    watcher=$!
    for _ in $(seq 2000); do [ -s watched ] && break; sleep 0.01; done
    end
    jq -e '.calls >= 2 and .answered >= 1' out
    status=0
    wait "$watcher" || status=$?
    [ "$status" -eq 1 ]
    [ "$(cat watched)" = '{"status":"SERVING"}
{"status":"NOT_SERVING"}' ]
    grep -q "UNAVAILABLE: the server shuts down" why
    run "$NARU" serve "fifo:$D/f"
    [ "$status" -eq 1 ]
    [[ $output == *"cannot be a service"* ]]
    run "$NARU" serve
    [ "$status" -eq 2 ]
}

@test "bash, zsh and fish complete the methods that a server has" {
    serve "$U"
    PATH=$(dirname "$NARU"):$PATH
    wanted="example.Store/Delete example.Store/Get example.Store/Load example.Store/Put \
example.Store/Session example.Store/Watch"
    # bash divides the line at colons, as readline has it do
    # shellcheck disable=SC2016
    got=$(bash -c 'source <(naru completion bash)
        COMP_LINE="naru call $1 example.S" COMP_POINT=${#COMP_LINE}
        COMP_WORDS=(naru call unix : "${1#unix:}" example.S) COMP_CWORD=5
        _naru; printf "%s\n" "${COMPREPLY[@]}" | sort | tr "\n" " "' - "$U")
    [ "$got" = "$wanted " ]
    # shellcheck disable=SC2016
    got=$(fish --no-config -c 'naru completion fish | source
        complete -C "naru call $argv[1] example.S" | cut -f 1 | sort | string join " "' "$U")
    [ "$got" = "$wanted" ]
    # compadd is the shell's own, and only works at a prompt: it prints here
    # shellcheck disable=SC2016
    got=$(zsh -fc 'compdef() { }; _arguments() { }; compadd() { shift; print -l -- $@ }
        source <(naru completion zsh | sed "\$d")
        words=(naru call $1 example.S) CURRENT=4
        _naru_methods | grep "^example.S" | sort | tr "\n" " "' - "$U")
    [ "$got" = "$wanted " ]
    end
}
