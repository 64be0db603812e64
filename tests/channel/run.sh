#!/usr/bin/env bash
# Channel I/O for clients, end to end: `stellwerk up` with subchannels to pass through, a second VM that drives some of
# them over its own area, and the host that drives the others.
#
#   tests/channel/run.sh [CASE…]
#
# The client is the image itself, with selftest=channel (the tests of subchannels, over the area) or selftest=attention. The
# device is an x-terminal3270 with tests/guest/peer.py behind it: of those that QEMU emulates, the only one that anybody gets. Each
# case is a function below; what the machines printed stays in target/channel/.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$here/../../scripts/lib.sh"
# shellcheck source=scripts/cases.sh
source "$here/../../scripts/cases.sh"
# shellcheck source=scripts/scene.sh
source "$ROOT/scripts/scene.sh"

needs "$IMAGE_ELF" "$TEST_IMAGE_ELF" "$HOST_PROGRAM" qemu-system-s390x python3 jq
PATIENCE=60 # seconds for one client

# ---- what a case is written with ----------------------------------------------------------------------------------

# up TERMINAL-PEER TERMINAL-OWNER: the daemon with two subchannels: the terminal 0.0.3270, which is the client's (as 0.0.1000) or the
# host's, and the virtio device 0.0.0300, which nobody gets. What the client "bare" is given as 0.0.1002 never comes. (QEMU plugs no
# other device than virtio ones in while it runs; what becomes of such a device is shown by the unit tests of event loop and proxy.)
up() {
    local peer=$1 owner=$2
    disk data 1M
    subchannel balloon 0300 qemu=virtio-balloon-ccw
    terminal nobody
    subchannel never 0400 plugged=true
    client bare 16M
    passes bare never 1002
    [[ $owner == host ]] || passes bare terminal 1000
    APPLIANCE_ARGS+=(-qmp "unix:$RUN/qmp,server=on,wait=off")
    backend_start
    spawn "$SCENE/peer.log" python3 "$here/../guest/peer.py" "$peer" "$RUN/terminal"
}

# boot_client LOG TEST: boot the client in the background; its process is $REPLY.
boot_client() {
    local arguments
    # Printed ready for a shell, so a shell takes it apart.
    eval "arguments=($("$HOST_PROGRAM" client-args "$CONFIG" bare --append "selftest=$2"))"
    spawn "$1" qemu-system-s390x "${arguments[@]}" -nodefaults -nographic -no-reboot -action panic=exit-failure \
        -kernel "$TEST_IMAGE_ELF" -chardev stdio,id=console,signal=off -device sclpconsole,chardev=console
}

# client_passes TEST: boot the client; all its tests pass.
client_passes() {
    local log=$SCENE/client.$1.log
    boot_client "$log" "$1"
    wait_gone "$REPLY" "$PATIENCE" || { tail -n 5 "$log"; return 1; }
    # What led to a failure is in the trace.
    "$HOST_PROGRAM" trace --once "$CONFIG" >"$SCENE/trace"
    silent "$log" '^FAIL'
    says "$log" '^[1-9][0-9]* passed, 0 failed'
    [[ $REPLY == 0 ]]
}

# host COMMAND ARGUMENT…: a command of the host's, with its output in $SCENE/out.
host() {
    local command=$1
    shift
    "$HOST_PROGRAM" "$command" "$CONFIG" "$@" >"$SCENE/out" 2>&1 || { cat "$SCENE/out"; return 1; }
}

# refused PATTERN COMMAND ARGUMENT…: it fails, and says why.
refused() {
    local pattern=$1
    shift
    ! host "$@" >/dev/null || { warn "$* is done"; return 1; }
    says "$SCENE/out" "$pattern"
}

# json FILTER: the filter holds for the output of the last command.
json() { jq -e "$1" "$SCENE/out" >/dev/null || { warn "not so: $1"; cat "$SCENE/out"; return 1; }; }

# plug NUMBER DRIVER [PROPERTY=VALUE…], unplug NUMBER: at the running appliance, as an administrator does it.
plug() {
    local number=$1 driver=$2
    shift 2
    python3 "$here/qmp.py" "$RUN/qmp" device_add "driver=$driver" "id=d$number" "devno=fe.0.$number" "$@"
}
unplug() { python3 "$here/qmp.py" "$RUN/qmp" device_del "id=d$1"; }

# listed PATTERN [no]: lscss shows a device within 10 s, or does not.
listed() {
    local deadline=$((SECONDS + 10)) wanted=${2:-yes} is
    while :; do
        host lscss
        is=no
        ! grep -qE -- "$1" "$SCENE/out" || is=yes
        [[ $is != "$wanted" ]] || return 0
        ((SECONDS < deadline)) || { warn "listed: $is, not $wanted: $1"; cat "$SCENE/out"; return 1; }
        sleep 0.1
    done
}

status() { "$HOST_PROGRAM" status --json "$CONFIG" | jq -r "$1"; }

# connected DEVICE: the terminal has said so.
connected() {
    local deadline=$((SECONDS + 10))
    until host schib "$1" --json && jq -e '.scsw.device_status == ["device end"]' "$SCENE/out" >/dev/null; do
        ((SECONDS < deadline)) || { warn 'the terminal is not connected'; cat "$SCENE/out"; return 1; }
        sleep 0.05
    done
}

# suspending_program DEVICE [OPTION…]: a program that is to be suspended before its only CCW, in the background; $REPLY.
suspending_program() {
    local device=$1
    shift
    spawn "$SCENE/program.json" "$HOST_PROGRAM" ccw "$CONFIG" "$device" --json --suspend --no-prefetch "$@" e422000700000000
}

# suspended_program DEVICE: the same, and it is suspended.
suspended_program() {
    local device=$1
    suspending_program "$device"
    local program=$REPLY deadline=$((SECONDS + 10))
    until host schib "$device" --json && jq -e '.scsw.activity == ["suspended"]' "$SCENE/out" >/dev/null; do
        ((SECONDS < deadline)) || { warn 'it is not suspended'; cat "$SCENE/out" "$SCENE/program.json"; return 1; }
        sleep 0.05
    done
    REPLY=$program
}

# ended PID STATUS PATTERN: the program has ended with that status, and says so.
ended() {
    wait_gone "$1" 20
    [[ $REPLY == "$2" ]] || { warn "exit status $REPLY"; cat "$SCENE/program.json"; return 1; }
    says "$SCENE/program.json" "$3"
}

# ---- a client of its own ------------------------------------------------------------------------------------------

case_client() { # condition codes, programs, wrong operands, halt, clear, suspend and interruptions over an area
    up terminal client
    client_passes channel
    says "$SCENE/client.channel.log" 'PASS: 0\.0\.1000 3270/00 .*: SENSE ID by a format-1 CCW'
    refused 'belongs to client "bare"' ccw 0.0.3270 nop
    says "$SCENE/client.channel.log" 'PASS: 0\.0\.1000 3270/00 .*: a key at the terminal ends the wait'
    # Every request was announced: what the slow timers find is what a wake-up got lost for.
    (($(status '.appliance.healed + .daemon.healed') <= 2)) || { status .; return 1; }
    backend_stop
}

case_attention() { # ATTENTION before, while and after starts, halts and clears
    up nervous client
    client_passes attention
    silent "$SCENE/client.attention.log" '^SKIP'
    backend_stop
}

case_killed() { # a client that is killed at work is quiesced, and the next one finds all in order
    up terminal client
    local victim
    for count in 5 20; do
        boot_client "$SCENE/victim.log" channel
        victim=$REPLY
        wait_count "$SCENE/victim.log" '^PASS' "$count"
        kill -KILL "$victim"
        wait_gone "$victim" 5
    done
    client_passes channel
    host trace --once --json
    says "$SCENE/out" '"event":"reset"'
    backend_stop
}

case_twice() { # a client that is started twice: the second VM ends at once, in words, and the first one goes on
    up terminal client
    local first
    boot_client "$SCENE/first.log" channel
    first=$REPLY
    wait_count "$SCENE/first.log" '^PASS' 3
    boot_client "$SCENE/second.log" channel
    wait_gone "$REPLY" 20
    [[ $REPLY == 1 ]] || { cat "$SCENE/second.log"; return 1; }
    says "$SCENE/second.log" 'Cannot lock pid file'
    silent "$SCENE/second.log" 'PASS|FAIL'
    wait_gone "$first" "$PATIENCE" || { tail -n 5 "$SCENE/first.log"; return 1; }
    [[ $REPLY == 0 ]]
    silent "$SCENE/first.log" '^FAIL'
    says "$SCENE/first.log" '^[1-9][0-9]* passed, 0 failed'
    # One that was killed keeps nobody from being started again.
    boot_client "$SCENE/victim.log" channel
    first=$REPLY
    wait_count "$SCENE/victim.log" '^PASS' 3
    kill -KILL "$first"
    wait_gone "$first" 5
    client_passes channel
    backend_stop
}

wait_count() { # LOG PATTERN COUNT
    local deadline=$((SECONDS + 30))
    until (($(grep -cE -- "$2" "$1" || true) >= $3)); do
        ((SECONDS < deadline)) || { warn "not $3 times: $2"; return 1; }
        sleep 0.02
    done
}

# ---- the host -----------------------------------------------------------------------------------------------------

case_host() { # lscss, ccw, schib and trace, and what they say when they cannot
    up terminal host
    # What the terminal says when it gets connected would be pending later on.
    connected 0.0.3270
    host lscss
    says "$SCENE/out" '^0\.0\.3270  0\.0\.....  0000/00  3270/00  yes  80   80   ff   [0-9a-f]{8} 00000000  host$'
    says "$SCENE/out" '^0\.0\.0002 .* appliance$'
    host ccw 0.0.3270 --json sense-id
    json '.data[0].bytes | startswith("ff327000")'
    json '.irb.scsw.device_status == ["channel end", "device end"]'
    host ccw 0.0.3270 nop nop sense-id
    says "$SCENE/out" '^CCW 2 \(e4\)'
    says "$SCENE/out" '0000  ff327000'
    host ccw 0.0.3270 0360000100000000 0800000000000018 f320000100000000 e420000700000000
    says "$SCENE/out" '^CCW 3 \(e4\): 7 bytes'
    refused 'ended with unit check' ccw 0.0.3270 write:F3:00
    says "$SCENE/out" 'sense: +80'
    refused 'program check' ccw 0.0.3270 0800000000000000
    host schib 0.0.3270 --json
    json '.device == "0.0.3270" and .pim == "80" and (.flags | index("device number valid") and index("concurrent sense"))'
    refused 'the appliance uses it itself' schib 0.0.0002
    refused 'has no device 0\.0\.4711; it has 0\.0\.0002' halt 0.0.4711
    refused 'resume 0\.0\.3270: busy \(cc 2\)' resume 0.0.3270
    host trace --once
    says "$SCENE/out" '0\.0\.3270  host +start +cc 0  idle > busy'
    backend_stop
}

case_disks() { # what is no DASD is not administered, and says so
    up terminal host
    local command
    for command in reserve release 'steal --yes' dasdview 'dasdfmt --yes'; do
        # shellcheck disable=SC2086 # a command and its option
        refused 'disk "data" is no DASD' $command data
    done
    refused '"dta" is no disk of the configuration, nor a device that is free' dasdview dta
    refused '0\.0\.0100 is disk "data".*name it "data"' ccw 0.0.0100 nop
    refused 'READ DEVICE CHARACTERISTICS: unit check, command reject, sense 80' dasdview 0.0.3270
    refused 'dasdfmt destroys everything on "data".*add --yes' dasdfmt data
    refused "'xdl' for '--layout" dasdfmt data --layout xdl
    # It was not lent, and serves as before.
    [[ $(status '.devices[] | select(.disk == "data").state') == online ]]
    backend_stop
}

case_functions() { # a suspended program is resumed, halted, cleared, cancelled, or found to take too long
    up terminal host
    local device=0.0.3270
    # What the terminal says when it gets connected would end the program.
    connected "$device"
    host ccw "$device" sense-id
    suspended_program "$device"
    refused 'a program runs' ccw "$device" nop
    local program=$REPLY
    host resume "$device"
    ended "$program" 0 '"bytes": "ff3'
    suspended_program "$device"
    program=$REPLY
    host halt "$device"
    ended "$program" 1 'the program ended with .*halt'
    suspended_program "$device"
    program=$REPLY
    host clear "$device"
    ended "$program" 1 'the program ended with .*clear'
    suspended_program "$device"
    program=$REPLY
    host cancel "$device"
    ended "$program" 1 'the program was cancelled'
    suspending_program "$device" --timeout 1
    ended "$REPLY" 1 'did not end within 1 s and was cleared'
    host ccw "$device" sense-id
    backend_stop
}

case_restart() { # an appliance that is killed is started again, and the host goes on
    up terminal host
    connected 0.0.3270
    suspended_program 0.0.3270
    local program=$REPLY
    kill -KILL "$(status .appliance.pid)"
    ended "$program" 1 'the appliance was started anew while the program ran'
    wait_restarts 1
    host ccw 0.0.3270 sense-id
    backend_stop
}

case_restart_client() { # so does a client
    up terminal client
    client_passes channel
    kill -KILL "$(status .appliance.pid)"
    wait_restarts 1
    client_passes channel
    backend_stop
}

case_endless() { # a program that nothing ends is a program check, and stops nobody
    up terminal host
    local flags
    for flags in '' --no-prefetch; do
        # shellcheck disable=SC2086 # an option or none
        refused 'program check' ccw 0.0.3270 $flags 0360000100000000 0800000000000000
        host ccw 0.0.3270 sense-id
    done
    # NOP, transfer in channel to the second one, and from there back.
    refused 'program check' ccw 0.0.3270 0360000100000000 0360000100000000 0800000000000008
    host ccw 0.0.3270 sense-id
    [[ $(status .appliance.restarts) == 0 ]]
    backend_stop
}

case_paths() { # a program over a path that is not there ends at once, and later ones are not touched by that
    up terminal host
    refused 'ended with|not operational|no path' ccw 0.0.3270 --lpm 40 nop
    silent "$SCENE/out" 'did not end within'
    host ccw 0.0.3270 sense-id
    host ccw 0.0.3270 nop
    backend_stop
}

case_withheld() { # a virtio device is nobody's, not even the host's: its data are addresses
    up terminal host
    host lscss
    says "$SCENE/out" '^0\.0\.0300 .* appliance$'
    refused 'is not passed through' ccw 0.0.0300 sense-id
    plug 0500 virtio-rng-ccw
    listed '^0\.0\.0500 .* appliance$'
    refused 'is not passed through' ccw 0.0.0500 sense-id
    says "$RUN/console.log" '0\.0\.0500 is not passed through: a virtio device'
    unplug 0500
    listed '^0\.0\.0500 ' no
    backend_stop
}

wait_restarts() { # COUNT
    local deadline=$((SECONDS + 30))
    until [[ $(status .appliance.restarts) == "$1" && $(status .appliance.life) == serving ]]; do
        ((SECONDS < deadline))
        sleep 0.1
    done
}

# ---- running the cases --------------------------------------------------------------------------------------------

run_case() {
    trap scene_end EXIT
    rm -rf "$TARGET/channel/$1"
    scene "$TARGET/channel/$1"
    "case_$1"
}

run_cases "$TARGET/channel" "$@" < <(cases_of "${BASH_SOURCE[0]}")
