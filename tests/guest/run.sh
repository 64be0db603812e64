#!/usr/bin/env bash
# The image alone in a machine: boot, console, crash reports, and its own tests.
#
#   tests/guest/run.sh [CASE…]
#
# It boots the image that is installed and the one with the tests in it. Beside them are the files for a list-directed IPL. Each
# case is a function below and boots a machine of its own, in QEMU and, where that is installed, in Hercules; what the machine
# printed stays in target/guest/. The last line counts the cases; what the image's own tests count is in their logs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$here/../../scripts/lib.sh"

IMAGE=$TEST_IMAGE_ELF
OUT=$TARGET/guest
SCENE='' # what a case makes is below this
PATIENCE=40 # seconds for one machine
# What is true of QEMU and of Hercules.
NO_WORD='^PASS: .*to ask for an extended-measurement word is an operand exception'

# ---- what a case is written with ----------------------------------------------------------------------------------

# A case runs with every failing command ending it and named. Its statements are none of them a condition of another one, where a
# failure would be none.

# says LOG PATTERN: some line of LOG, carriage returns apart, matches the extended regular expression. If none does, it shows the
# tests that failed, or else the head of the crash report, or else how far the machine came.
says() {
    grep -qE -- "$2" <(tr -d '\r' <"$1") && return
    warn "nothing says: $2"
    [[ ${STATUS:-} != 124 ]] || warn "the machine had not ended after $PATIENCE s; the last that it said:"
    grep -E '^FAIL' "$1" || grep -E -A 4 '^==== .* stopped: ' "$1" || tail -n 5 "$1"
    return 1
}

# silent LOG PATTERN: no line does.
silent() { ! grep -E -- "$2" "$1" || { warn "something says: $2"; return 1; }; }

# skip WHY: end a case that cannot run here, and why. It is counted as skipped, not as passed.
skip() {
    warn "skipped: $1"
    exit 77
}

# Within a case: the console's output, and QEMU's own complaints about the guest.
LOG='' GUEST_ERRORS=''

# product: the case is about the image that is installed.
product() { IMAGE=$IMAGE_ELF; }

# machine OPTION…: run QEMU to its end; its exit status is in $STATUS.
machine() {
    STATUS=0
    timeout --kill-after=5 "$PATIENCE" qemu-system-s390x -accel tcg -m 16M -nodefaults -nographic -no-reboot \
        -action panic=exit-failure -d guest_errors -D "$GUEST_ERRORS" -kernel "$IMAGE" "$@" || STATUS=$?
}

# boot APPEND [OPTION…]: the same with the console on standard input and output, which is kept in $LOG.
boot() {
    local append=$1
    shift
    machine -append "$append" -chardev stdio,id=console -device "${CONSOLE:-sclpconsole},chardev=console" "$@" \
        >"$LOG"
    # The line-mode console begins lines with a line end, others end them with two.
    sed -i 's/\r//g' "$LOG"
}

# hercules CODE COMMAND-LINE [OPTION…]: list-directed IPL with two 3390, up to the disabled wait CODE.
hercules() {
    local code=$1 line=$2
    shift 2
    timeout --kill-after=5 "$PATIENCE" python3 "$here/hercules.py" "$(dirname "$IMAGE")" "$SCENE/hercules" \
        --append "$line" "$@" >"$LOG"
    says "$LOG" "^hercules: disabled wait $code\$"
}

# shut_down: the machine has ended in order, and QEMU found no fault with the guest.
shut_down() {
    [[ $STATUS == 0 ]] || { warn "exit status $STATUS"; return 1; }
    [[ ! -s $GUEST_ERRORS ]] || { cat "$GUEST_ERRORS"; return 1; }
}

# stopped CODE: it has ended in the disabled wait CODE, which is a failure to QEMU.
stopped() {
    [[ $STATUS == 1 ]] || { warn "exit status $STATUS, not 1"; return 1; }
    grep -qi "^PSW: 0x0002000180000000 0x0*$1\$" "$GUEST_ERRORS" || { cat "$GUEST_ERRORS"; return 1; }
}

# all_passed: the image's own tests were run, and none failed.
all_passed() {
    silent "$LOG" '^FAIL'
    says "$LOG" '^[1-9][0-9]* passed, 0 failed'
    shut_down
}

# peer ROLE: the other end of a device, on the socket $SOCKET, until the case ends.
peer() {
    SOCKET=$(mktemp -u "${TMPDIR:-/tmp}/stellwerk-XXXXXX")
    spawn "$LOG.peer" python3 "$here/peer.py" "$1" "$SOCKET"
}

# ---- boot and console ---------------------------------------------------------------------------------------------

DEVICES=(-device "virtio-rng-ccw,devno=fe.0.0100" -device "virtio-serial-ccw,devno=fe.0.0200"
    -device "virtio-balloon-ccw,devno=fe.1.0300")

lists_devices() {
    says "$LOG" 'boot: stellwerk [0-9]'
    says "$LOG" 'boot: 16 MiB of storage, 1 CPU'
    says "$LOG" 'css: Device +Subchan\. +CU Type'
    says "$LOG" 'css: 0\.0\.0100 0\.0\.0000 +3832/04 0000/00 80 '
    says "$LOG" 'css: 0\.0\.0200 0\.0\.0001 +3832/03 '
    says "$LOG" 'css: 0\.1\.0300 0\.1\.0000 +3832/05 '
    says "$LOG" 'boot: no control area: nothing to serve'
}

case_boot_ascii() { # banner and subchannels of all sets, on the ASCII console
    product
    boot '' "${DEVICES[@]}" </dev/null
    lists_devices
    shut_down
}

case_boot_line() { # the same, on the line-mode console
    product
    CONSOLE=sclplmconsole boot '' "${DEVICES[@]}" </dev/null
    lists_devices
    shut_down
}

case_boot_alone() { # without any device, and without a console
    product
    boot '' </dev/null
    says "$LOG" 'nothing to serve'
    shut_down
    machine -append '' >"$LOG" </dev/null
    shut_down
}

case_memory() { # storage above 2 GiB is there, and the heap below
    product
    boot '' -m 4G </dev/null
    says "$LOG" 'boot: 4096 MiB of storage'
    says "$LOG" 'boot: heap 209[0-9]{4} KiB'
    shut_down
}

case_command_line() { # -append is honoured, and what it does not know is named and harmless
    product
    boot 'log=debug heap=1M bogus=1 linger_us=x' </dev/null
    says "$LOG" 'command line: log=debug heap=1M'
    says "$LOG" 'DEBUG'
    says "$LOG" 'heap 1024 KiB'
    says "$LOG" 'WARN .*unknown key "bogus"'
    says "$LOG" 'WARN .*linger_us=x'
    shut_down
    boot 'log=warn bogus=1' </dev/null
    says "$LOG" 'WARN .*unknown key "bogus"'
    silent "$LOG" 'INFO'
    shut_down
    boot 'log=off' </dev/null
    silent "$LOG" .
    shut_down
}

# Types two lines, the second one when the first has come back.
type_lines() { # END-OF-LINE
    wait_line "$LOG" 'echo: type' 10 || return 0
    printf 'ready, [x] = 42?%b' "$1"
    wait_line "$LOG" 'echo: ready' 10 || return 0
    printf 'end%b' "$1"
    # Standard input stays open until the machine has ended.
    wait_line "$LOG" 'passed' 10 || true
}

case_input_ascii() { # what is typed at the ASCII console arrives
    : >"$LOG"
    boot selftest=echo < <(type_lines '\r')
    says "$LOG" '^echo: ready, \[x\] = 42\?$'
    all_passed
}

case_input_line() { # what is typed at the line-mode console arrives
    : >"$LOG"
    CONSOLE=sclplmconsole boot selftest=echo < <(type_lines '\n')
    says "$LOG" '^echo: ready, \[x\] = 42\?' # behind which QEMU shows what is typed next
    all_passed
}

# Types commands for the operator's console, each when the answer to the one before has begun.
operate() { # END-OF-LINE
    local step
    for step in 'monitor: type=>devs' 'STW0103I=>sch 100' 'STW0105I=>mem 10008,8' 'STW0113I=>stac' 'STW0116I=>bogus' 'STW0002E=>log off'; do
        wait_line "$LOG" "${step%%=>*}" 10 || return 0
        printf '%s%b' "${step#*=>}" "$1"
    done
    wait_line "$LOG" 'passed' 10 || true
}

# What the commands have said, on whatever machine with a device 0.0.$1.
operated() {
    says "$LOG" 'STW0103I [1-9][0-9]* device'
    says "$LOG" "^0\.0\.$1 0\.0\.0000  "
    says "$LOG" "STW0105I device 0\.0\.$1, subchannel 0\.0\.0000"
    says "$LOG" '^00010000 .*S390EP'
    says "$LOG" 'STW0116I [1-9][0-9]* of 57344 bytes were used at most'
    says "$LOG" 'STW0002E no command bogus; type help'
    says "$LOG" 'STW0300I log=OFF'
}

case_monitor_ascii() { # the operator's commands are answered at the ASCII console
    : >"$LOG"
    boot selftest=monitor -device virtio-rng-ccw,devno=fe.0.0100 < <(operate '\r')
    operated 0100
    says "$LOG" '^stw> bogus$'
    all_passed
}

case_monitor_line() { # the same at the line-mode console
    : >"$LOG"
    CONSOLE=sclplmconsole boot selftest=monitor -device virtio-rng-ccw,devno=fe.0.0100 < <(operate '\n')
    operated 0100
    all_passed
}

case_monitor_hercules() { # the same at Hercules's panel, where an operator's command begins with a dot
    command -v hercules >/dev/null || skip 'Hercules is not installed'
    hercules FFF selftest=monitor --type 'monitor: type=>.devs' --type 'STW0103I=>.sch a80' --type 'STW0105I=>.mem 10008,8' \
        --type 'STW0113I=>.stac' --type 'STW0116I=>.bogus' --type 'STW0002E=>.log off'
    operated 0a80
    silent "$LOG" '^FAIL'
}

# monitor COMMAND…: give the machine's monitor commands while the guest waits for input.
monitor() {
    wait_line "$LOG" 'echo: type' 10 || return 0
    printf '{"execute": "%s"}\n' qmp_capabilities "$@"
    wait_line "$LOG" ' passed, |====.*disabled wait' 10 || true
}

# host_wants COMMAND…: boot, and do that.
host_wants() {
    : >"$LOG"
    machine -append selftest=echo -chardev "file,id=console,path=$LOG" -device sclpconsole,chardev=console \
        -qmp stdio >"$LOG.qmp" < <(monitor "$@")
    sed -i 's/\r//g' "$LOG"
}

case_power_down() { # the host's wish for an end arrives
    host_wants system_powerdown
    says "$LOG" '^echo: the host wants an end'
    all_passed
}

case_no_tests() { # the image that is installed has no tests: the word is none that it knows
    product
    boot 'selftest=disk bench=read4k' </dev/null
    says "$LOG" 'WARN .*command line: unknown key "selftest" ignored'
    says "$LOG" 'WARN .*command line: unknown key "bench" ignored'
    silent "$LOG" '(passed|bench:)'
    shut_down
}

# ---- crashes ------------------------------------------------------------------------------------------------------

# says_report TITLE CODE: the report is complete, with names.
says_report() {
    says "$LOG" "^==== stellwerk [0-9.]+ stopped: $1 ===="
    says "$LOG" '^PSW  [0-9a-f]{16} [0-9a-f]{16}$'
    says "$LOG" '^r0   [0-9a-f]{16}  [0-9a-f]{16}'
    says "$LOG" '^r12  [0-9a-f]{16}'
    says "$LOG" '^cr0  [0-9a-f]{16}  cr6 '
    says "$LOG" '^call chain:$'
    says "$LOG" '^  [0-9]+ +[0-9a-f]{16} appliance::boot::entry::enter\+0x'
    says "$LOG" ' _start\+0x'
    says "$LOG" '^last log records:$'
    says "$LOG" '^  \[ .*INFO  boot: stellwerk'
    says "$LOG" "^==== $1: disabled wait $2 ===="
}

# ends KIND CODE FACT…: selftest=KIND ends in the disabled wait CODE with each kind of console, and on Hercules if that is
# installed; FACT is a function that is called each time, with the arguments behind it.
ends() {
    local kind=$1 code=$2 console
    shift 2
    for console in sclpconsole sclplmconsole; do
        say "$kind, $console"
        CONSOLE=$console boot "selftest=$kind" </dev/null
        "$@"
        if [[ $code == FFF ]]; then shut_down; else stopped "$code"; fi
    done
    command -v hercules >/dev/null || return 0
    say "$kind, Hercules"
    hercules "$code" "selftest=$kind"
    "$@"
}

# crashed TITLE CODE [PATTERN…]: there is a report, and it says that.
crashed() {
    local title=$1 code=$2 pattern
    shift 2
    says_report "$title" "$code"
    for pattern in 'selftest::run\+0x' "$@"; do says "$LOG" "$pattern"; done
}

# crash KIND TITLE CODE [PATTERN…]
crash() {
    local kind=$1
    shift
    ends "$kind" "$2" crashed "$@"
}

case_panic() { # a panic while the console is in use
    crash panic panic E01 '^panicked at tests/image/src/selftest/crash\.rs:' 'a panic with the console in use'
}
case_panic_in_report() { # a panic in the report of a panic ends at once
    ends nested E0F says "$LOG" 'stopped: panic'
}
case_out_of_memory() { # more heap than there is
    crash oom panic E01 'memory allocation of [0-9]+ bytes failed' 'handle_alloc_error'
}
case_program_check() { # an invalid operation code
    crash pgm 'program interruption' E02 '^code 0001 operation exception'
}
case_wild_store() { # a store to the lowcore
    crash wild 'program interruption' E02 '^code 0004 protection exception'
}
case_wild_jump() { # a call of nothing
    crash jump 'program interruption' E02 '^code 0006 specification exception' '^last branch .*crash::jump_wild'
}
case_stack() { # the stack's guard, with small frames
    crash stack 'stack overflow' E03 'recurse_small\+0x[0-9a-f]+, [0-9]{3,} times'
}
case_stack_large() { # the stack's guard, with large frames
    crash stack-large 'stack overflow' E03 'recurse_large\+0x'
}
case_machine_check() { # a machine check while an instruction is executed
    crash mcck 'machine check' E04 'INSTRUCTION_PROCESSING_DAMAGE'
}
case_damage() { # a machine check in the wait, after which nothing can be trusted
    crash damage 'machine check' E04 'SYSTEM_DAMAGE' 'fatal_machine_check'
}
case_exit() { # an end in order
    ends exit FFF says "$LOG" 'selftest: exit'
}
case_restart() { # the operator's restart, while the CPU waits
    host_wants inject-nmi
    says_report 'restart interruption' E06
    stopped E06
    says "$LOG" 's390x::idle::.*wait'
}
case_hang() { # a loop, which the machine's own watchdog ends with a report of where it is
    boot selftest=hang -device diag288 -action watchdog=inject-nmi </dev/null
    says_report hang E07
    says "$LOG" '^the event loop has not come round for 1[0-9]{4} ms$'
    says "$LOG" '^  at   [0-9a-f]{16} .*crash::hang\+0x'
    stopped E07
}
case_selftest_failed() { # a test that fails is a failure
    boot selftest=disk </dev/null
    says "$LOG" '^FAIL: there is a disk to test'
    says "$LOG" '^0 passed, 1 failed'
    stopped E20
}

# ---- the image's own tests ----------------------------------------------------------------------------------------

case_css() { # condition codes, status and interruptions of emulated subchannels; a terminal's attention
    peer terminal
    boot selftest=css -device virtio-rng-ccw,devno=fe.0.0100 -device virtio-serial-ccw,devno=fe.0.0200 \
        -blockdev driver=null-co,node-name=disk,size=1048576,read-zeroes=on \
        -device virtio-blk-ccw,drive=disk,devno=fe.0.0300 \
        -chardev "socket,id=terminal,path=$SOCKET,server=on,wait=off,tn3270=on" \
        -device x-terminal3270,chardev=terminal,devno=fe.0.0400 </dev/null
    all_passed
    says "$LOG" '^PASS: 0\.0\.0400 .*a key at the terminal ends the wait'
    says "$LOG" "$NO_WORD"
}

case_proxy() { # the same through the proxy, the image being its own client, and operands that are wrong on purpose
    peer terminal
    boot selftest=proxy -device virtio-rng-ccw,devno=fe.0.0100 -device virtio-serial-ccw,devno=fe.0.0200 \
        -chardev "socket,id=terminal,path=$SOCKET,server=on,wait=off,tn3270=on" \
        -device x-terminal3270,chardev=terminal,devno=fe.0.0400 </dev/null
    all_passed
    says "$LOG" '^PASS: .*an ORB with any one bit changed harms nobody'
    says "$LOG" '^PASS: .*a SCHIB with any one bit changed harms nobody'
    says "$LOG" "$NO_WORD"
}

# disk_test APPEND: the disk driver, and what is on the disk afterwards.
disk_test() {
    python3 "$here/disk.py" make "$SCENE/disk.img"
    python3 "$here/disk.py" make "$SCENE/read-only.img"
    boot "selftest=disk $1" \
        -blockdev "driver=file,filename=$SCENE/disk.img,node-name=disk,discard=unmap" \
        -device virtio-blk-ccw,drive=disk,num-queues=4,serial=stellwerk-selftest \
        -blockdev "driver=file,filename=$SCENE/read-only.img,node-name=other,read-only=on" \
        -device virtio-blk-ccw,drive=other </dev/null
    all_passed
    silent "$LOG" '^SKIP'
    python3 "$here/disk.py" check "$SCENE/disk.img" "$LOG"
    python3 "$here/disk.py" check "$SCENE/read-only.img" /dev/null
}

case_disk() { # the disk driver, with adapter interruptions; the host finds on the disk what it should
    disk_test ''
}
case_disk_classic() { # the same with classic interruptions
    disk_test noadapter
}

# link_test APPEND
link_test() {
    peer link
    boot "selftest=link $1" -device virtio-serial-ccw \
        -chardev "socket,id=link,path=$SOCKET,server=on,wait=off" \
        -device virtserialport,name=org.stellwerk.link,chardev=link </dev/null
    all_passed
    silent "$LOG" '^SKIP'
}

case_link() { # wake-up bytes, with adapter interruptions
    link_test ''
}
case_link_classic() { # the same with classic interruptions
    link_test noadapter
}

case_watchdog() { # the machine's own watchdog, where there is one, and where there is none
    boot selftest=watchdog -device diag288 </dev/null
    all_passed
    silent "$LOG" '^SKIP'
    boot selftest=no-watchdog </dev/null
    all_passed
    command -v hercules >/dev/null || return 0
    say "no-watchdog, Hercules"
    hercules FFF selftest=no-watchdog
    says "$LOG" '^1 passed, 0 failed'
}

case_idle() { # waiting takes no processor time
    local TIMEFORMAT='%3U %3S' started user system
    started=$(now_ms)
    { time boot selftest=idle </dev/null; } 2>"$LOG.time"
    all_passed
    (($(now_ms) - started >= 2000))
    read -r user system < <(tail -n 1 "$LOG.time")
    awk -v u="$user" -v s="$system" 'BEGIN { printf "%.3f s of processor time\n", u + s; exit u + s > 0.7 }'
}

case_instructions() { # the number of instructions for a read is the same twice
    local first second
    first=$("$here/insns.sh" "$IMAGE")
    second=$("$here/insns.sh" "$IMAGE")
    printf '%s instructions for a read of 4 KiB\n' "$first"
    [[ $first == "$second" && $first -gt 0 ]]
}

case_costs_of_eckd() { # a count-key-data disk costs no more than it may: instructions, starts, CCWs
    local read bytes blocks starts ccws
    boot bench=eckd -icount shift=0,sleep=off -rtc base=2026-01-01,clock=vm </dev/null
    shut_down
    read=$(sed -nE 's/^bench: eckd depth=1 .*insns=([0-9]+)$/\1/p' "$LOG")
    read -r bytes blocks starts ccws < <(sed -nE '/^bench: eckd sequential /{ s///; s/[a-z]+=//gp }' "$LOG")
    printf '%s instructions for a read of 4 KiB; %s bytes, %s blocks: %s starts, %s CCWs\n' "$read" "$bytes" "$blocks" "$starts" "$ccws"
    ((read > 0 && read <= 4000))
    ((starts > 0 && starts * 1048576 <= 2 * bytes))
    ((blocks > 0 && ccws * 10 <= blocks * 11))
}

case_costs_of_channel_programs() { # a program that is passed through, and a trace record, cost no more than they may
    local short long record
    boot bench=proxy -device virtio-rng-ccw -icount shift=1,sleep=off -rtc base=2026-01-01,clock=vm </dev/null
    shut_down
    short=$(sed -nE 's/^bench: proxy ccws=1 .*insns=([0-9]+)$/\1/p' "$LOG")
    long=$(sed -nE 's/^bench: proxy ccws=64 .*insns=([0-9]+)$/\1/p' "$LOG")
    record=$(sed -nE 's/^bench: trace .*insns=([0-9]+)$/\1/p' "$LOG")
    printf '%s instructions for a program of one CCW, %s for 64 and 256 IDAWs, %s for a trace record\n' "$short" "$long" "$record"
    ((short > 0 && short <= 3000))
    ((long > short && long <= 15760))
    ((record > 0 && record <= 30))
}

# ---- running the cases --------------------------------------------------------------------------------------------

# shellcheck source=tests/guest/on-hercules.sh
source "$here/on-hercules.sh"

run_case() {
    set -E
    trap 'warn "$(basename "${BASH_SOURCE[0]}"), line $LINENO: $BASH_COMMAND"' ERR
    trap end_all EXIT
    [[ $1 != hercules_* ]] || command -v hercules >/dev/null || skip "there is no Hercules"
    LOG=$OUT/$1.console GUEST_ERRORS=$OUT/$1.errors SCENE=$OUT/$1
    rm -rf "$SCENE"
    mkdir -p "$SCENE"
    "case_$1"
    rm -r "$SCENE"
}

run_cases() {
    needs "$IMAGE_ELF" "$TEST_IMAGE_ELF" "$HOST_PROGRAM" qemu-system-s390x python3
    mkdir -p "$OUT"
    rm -f "$OUT"/*.{console,errors,log}
    exec python3 "$ROOT/tests/run.py" guest "$@"
}

# tests/run.py finds the cases, and has each of them run by --case NAME.
if [[ ${1:-} == --case ]]; then run_case "$2"; else run_cases "$@"; fi
