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
# shellcheck source=scripts/cases.sh
source "$here/../../scripts/cases.sh"

IMAGE=$TEST_IMAGE_ELF
for file in "$IMAGE_ELF" "$IMAGE" "$HOST_PROGRAM"; do [[ -f $file ]] || die "there is no $file; scripts/build.sh makes it"; done
for tool in qemu-system-s390x python3; do command -v "$tool" >/dev/null || die "$tool is missing"; done
SCENE=$TARGET/guest
PATIENCE=40 # seconds for one machine

# ---- what a case is written with ----------------------------------------------------------------------------------

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

case_no_tests() { # the image that is installed has no tests, and says so
    product
    boot selftest=disk </dev/null
    says "$LOG" 'ERROR .*selftest= and bench= are for the image with the tests'
    silent "$LOG" '(passed|bench:)'
    stopped E21
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
    says "$LOG" '^  [0-9]+ +[0-9a-f]{16} stellwerk_appliance::boot::entry::enter\+0x'
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
    crash panic panic E01 '^panicked at src/selftest/crash\.rs:' 'a panic with the console in use'
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
    crash jump 'program interruption' E02 '^code 0006 specification exception' '^last branch .*crash::run'
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
    ends exit FFF says "$LOG" 'selftest: Exit'
}
case_restart() { # the operator's restart, while the CPU waits
    host_wants inject-nmi
    says_report 'restart interruption' E06
    stopped E06
    says "$LOG" 's390x::idle::.*wait'
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
}

case_proxy() { # the same through the proxy, the image being its own client, and operands that are wrong on purpose
    peer terminal
    boot selftest=proxy -device virtio-rng-ccw,devno=fe.0.0100 -device virtio-serial-ccw,devno=fe.0.0200 \
        -chardev "socket,id=terminal,path=$SOCKET,server=on,wait=off,tn3270=on" \
        -device x-terminal3270,chardev=terminal,devno=fe.0.0400 </dev/null
    all_passed
    says "$LOG" '^PASS: .*an ORB with any one bit changed harms nobody'
    says "$LOG" '^PASS: .*a SCHIB with any one bit changed harms nobody'
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

# ---- Hercules -----------------------------------------------------------------------------------------------------

case_hercules_boot() { # list-directed IPL on Hercules: banner and subchannels
    product
    hercules FFF ''
    says "$LOG" 'boot: stellwerk [0-9]'
    says "$LOG" 'boot: 64 MiB of storage'
    says "$LOG" 'css: 0\.0\.0a80 0\.0\.0000 +3990/.. 3390/.. '
    says "$LOG" 'css: 0\.0\.0a81 0\.0\.0001 +3990/'
    says "$LOG" 'nothing to serve'
}

# ipl_dasd OPTION…: IPL from volumes that mkipl has made ready, of either image: from tracks that are in the VTOC, and of a
# volume that has none.
ipl_dasd() {
    local volumes=$SCENE/ipl images
    images=$(dirname "$IMAGE_ELF")
    mkdir -p "$volumes"
    python3 "$here/dasd.py" make-linux "$volumes/listed.3390" LISTED 4
    python3 "$here/dasd.py" make-empty "$volumes/empty.3390" EMPTY1 4
    "$HOST_PROGRAM" mkipl "$images/stellwerk.bin" "$volumes/listed.3390" --append log=debug
    "$HOST_PROGRAM" mkipl "$(dirname "$IMAGE")/stellwerk.bin" "$volumes/empty.3390" --append selftest=exit
    # What is on the command line of list-directed IPL is not for these.
    hercules FFF nothing --volume "$volumes/listed.3390" --ipl 0A80 "$@"
    says "$LOG" 'boot: stellwerk [0-9]'
    says "$LOG" 'boot: command line: log=debug$'
    says "$LOG" 'css: 0\.0\.0a80 0\.0\.0000 +3990/.. 3390/.. '
    says "$LOG" 'disk: 0\.0\.0a80 2784 KiB in blocks of 4096'
    hercules FFF nothing --volume "$volumes/listed.3390" --volume "$volumes/empty.3390" --ipl 0A81 "$@"
    says "$LOG" 'selftest: Exit'
    # Hercules's own tools see the data set.
    dasdls "$volumes/listed.3390" >"$LOG.vtoc" 2>&1
    says "$LOG.vtoc" '^STELLWERK\.IPL *$'
    rm -r "$volumes"
}

case_hercules_ipl() { # IPL from DASD there, the command line included
    ipl_dasd
}
case_hercules_ipl_async() { # the same with programs that run on their own
    ipl_dasd --dasd nosyncio
}
case_hercules_ipl_fixed() { # IPL from a fixed-block disk there
    local volume=$SCENE/ipl.9336
    python3 "$here/dasd.py" make-fixed "$volume" FIXED1 5001
    "$HOST_PROGRAM" mkipl "$(dirname "$IMAGE_ELF")/stellwerk.bin" "$volume" --append log=debug
    hercules FFF nothing --volume "$volume" --ipl 0A80
    says "$LOG" 'boot: command line: log=debug$'
    says "$LOG" 'disk: 0\.0\.0a80 2499 KiB in blocks of 512'
    rm "$volume"
}
case_hercules_input() { # what the operator types there arrives
    hercules FFF selftest=echo --type 'echo: type=>.ready for 42' --type 'echo: ready=>.end'
    says "$LOG" '^echo: ready for 42$'
}
case_hercules_css() { # subchannels of DASD there, whose programs run within START SUBCHANNEL
    hercules FFF selftest=css
    silent "$LOG" '^FAIL'
    says "$LOG" '^[1-9][0-9]* passed, 0 failed'
}
case_hercules_css_async() { # the same with programs that run on their own, and can be busy, halted and cleared
    hercules FFF selftest=css --dasd nosyncio
    silent "$LOG" '^FAIL'
    says "$LOG" '^[1-9][0-9]* passed, 0 failed'
    says "$LOG" '^PASS: .*CSCH ends a running program'
}

# dasd_test OPTION…: the driver of count-key-data disks on volumes of both layouts, 4096 and 1024 bytes a record, and one
# that is not formatted; then what is on them.
dasd_test() {
    local volumes=$SCENE/volumes PATIENCE=80
    mkdir -p "$volumes"
    python3 "$here/dasd.py" make-linux "$volumes/cdl.3390" LINUX1 12
    python3 "$here/dasd.py" make-ldl "$volumes/ldl.3390" LINUX2 10 4096
    python3 "$here/dasd.py" make-ldl "$volumes/small.3390" LINUX3 10 1024
    python3 "$here/dasd.py" make-empty "$volumes/empty.3390" EMPTY1 10
    hercules FFF selftest=dasd "$@" --volume "$volumes/cdl.3390" --volume "$volumes/ldl.3390" \
        --volume "$volumes/small.3390" --volume "$volumes/empty.3390" --patience 70
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^27 passed, 0 failed'
    says "$LOG" 'dasd: 0\.0\.0a80 3390/.. 12 cylinders of 15, VOL1 \(CDL\) LINUX1, 12 records of 4096 a track, 2136 blocks from 24, HRC'
    says "$LOG" 'dasd: 0\.0\.0a81 3390/.. 10 cylinders of 15, LNX1 \(LDL\) LINUX2, 12 records of 4096 a track, 1797 blocks from 3, HRC'
    says "$LOG" 'dasd: 0\.0\.0a82 3390/.. 10 cylinders of 15, LNX1 \(LDL\) LINUX3, 33 records of 1024 a track, 4947 blocks from 3, HRC'
    says "$LOG" 'dasd: 0\.0\.0a83 not formatted: no cylinder 0 head 2 record 1'
    python3 "$here/dasd.py" check "$volumes/cdl.3390" 24 "$LOG" 0.0.0a80
    python3 "$here/dasd.py" check "$volumes/ldl.3390" 3 "$LOG" 0.0.0a81
    python3 "$here/dasd.py" check "$volumes/small.3390" 3 "$LOG" 0.0.0a82
    rm -r "$volumes"
}

case_hercules_dasd() { # 3390 volumes read and written there; the host finds on them what it should
    dasd_test
}
case_hercules_dasd_async() { # the same with programs that run on their own, some of which are halted and cleared
    dasd_test --dasd nosyncio
    says "$LOG" '^dasd: 0\.0\.0a80 .* retries: [1-9]'
}

case_hercules_dasd_partitions() { # the data sets of a VTOC are partitions: those that Linux makes, and those of dasdload
    local linux=$SCENE/linux.3390 zos=$SCENE/zos.3390
    python3 "$here/dasd.py" make-linux "$linux" LINUX1 12
    # In one piece and not; by format 1 and format 8; before the first track that is served, and behind the last.
    python3 "$here/dasd.py" partition "$linux" 1:2-89 8:90-179 1:90-99,110-120 1:1-3 1:170-180 1:179-179
    python3 "$here/dasd.py" make-zos "$zos" ZVOL01 4
    hercules FFF selftest=dasd-errors --dasd ro --volume "$linux" --volume "$zos"
    sed -n 's/^dasd: \(.* partition .*\)/\1/p' "$LOG" >"$LOG.partitions"
    diff - "$LOG.partitions" <<'END'
0.0.0a80 partition 1: 1056 blocks from 0
0.0.0a80 partition 2: 1080 blocks from 1056
0.0.0a80 partition 6: 12 blocks from 2124
0.0.0a81 partition 2: 240 blocks from 132
0.0.0a81 partition 3: 180 blocks from 516
END
    rm "$linux" "$zos"
}

# dasd_served OPTION…: a virtio disk over a volume, read and written by a client in the image; as many requests at random as
# STELLWERK_DASD_REQUESTS says.
dasd_served() {
    local volume=$SCENE/served.3390 requests=${STELLWERK_DASD_REQUESTS:-16384} PATIENCE
    PATIENCE=$((40 + requests / 100))
    python3 "$here/dasd.py" make-linux "$volume" LINUX1 30
    hercules FFF "selftest=dasd-served requests=$requests" "$@" --volume "$volume" --patience $((PATIENCE - 5))
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^4 passed, 0 failed'
    python3 "$here/dasd.py" check "$volume" 24 "$LOG" served
    rm "$volume"
}

case_hercules_dasd_served() { # a virtio disk over a volume, as a client sees it; the host finds its blocks on the volume
    dasd_served
}
case_hercules_dasd_served_async() { # the same with programs that run on their own
    dasd_served --dasd nosyncio
}

# dasd_admin OPTION…: volumes made by dasdinit, which are not formatted, are formatted in the image, in four ways; then all of their
# records are compared with those of other programs, and Hercules' own tools read them.
dasd_admin() {
    local volumes=$SCENE/admin layout block volume made=()
    rm -rf "$volumes"
    mkdir -p "$volumes"
    for volume in {cdl-4096,ldl-4096,cdl-512,ldl-1024}.3390; do
        # The first one is large enough for a mark in the middle.
        python3 "$here/dasd.py" make-empty "$volumes/$volume" EMPTY1 "$([[ $volume == cdl-4096.3390 ]] && echo 25 || echo 10)"
        made+=(--volume "$volumes/$volume")
    done
    hercules FFF selftest=dasd-admin "$@" "${made[@]}"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^28 passed, 0 failed'
    says "$LOG" '^dasd: 0\.0\.0a80 formatted cdl 4096 375 tracks, went on at 3[0-9][0-9]$'
    for volume in {cdl-4096,ldl-4096,cdl-512,ldl-1024}.3390; do
        IFS=- read -r layout block <<<"${volume%.3390}"
        python3 "$here/dasd.py" formatted "$volumes/$volume" "$layout" "$block" LINUX1
    done
    dasdls "$volumes/cdl-4096.3390" >"$LOG.dasdls" 2>&1
    says "$LOG.dasdls" 'VOLSER=LINUX1'
    (cd "$volumes" && dasdseq cdl-4096.3390 -lrecl 4096 -abs 0 2 373 blocks) >"$LOG.dasdseq" 2>&1
    says "$LOG.dasdseq" 'wrote 4476 records'
    cmp -n $((4476 * 4096)) "$volumes/blocks" /dev/zero
    rm -r "$volumes"
}

case_hercules_dasd_admin() { # 3390 volumes formatted there have the records that other programs make
    dasd_admin
}
case_hercules_dasd_admin_async() { # the same with programs that run on their own
    dasd_admin --dasd nosyncio
}

# dasd_lending OPTION…: a volume is lent to a client between the programs of its driver, and formatted by it in the end.
dasd_lending() {
    local volume=$SCENE/lent.3390
    python3 "$here/dasd.py" make-linux "$volume" LINUX1 10
    hercules FFF selftest=dasd-lending "$@" --volume "$volume"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^6 passed, 0 failed'
    says "$LOG" 'given up: it did not come back as it was'
    python3 "$here/dasd.py" formatted "$volume" ldl 1024 LINUX1
    rm "$volume"
}

case_hercules_dasd_lending() { # a volume lent to a client, which reserves, shows and formats it through the proxy
    dasd_lending
}
case_hercules_dasd_lending_async() { # the same with programs that run on their own
    dasd_lending --dasd nosyncio
}

# dasd_copy OPTION…: a file system that the host has put on one volume is copied to another one, through a virtio disk, and is
# taken from there again.
dasd_copy() {
    local to=$SCENE/to.3390 from=$SCENE/from.3390 blocks=$(((40 * 15 - 2) * 12))
    rm -f "$SCENE"/{made,found}.ext4
    mke2fs -q -t ext4 -b 4096 -d "$here/.." "$SCENE/made.ext4" $blocks
    python3 "$here/dasd.py" make-linux "$to" LINUX1 40
    python3 "$here/dasd.py" make-linux "$from" LINUX2 40
    python3 "$here/dasd.py" put "$from" 24 "$SCENE/made.ext4"
    hercules FFF selftest=dasd-copy "$@" --volume "$to" --volume "$from"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^1 passed, 0 failed'
    python3 "$here/dasd.py" get "$to" 24 "$SCENE/found.ext4"
    cmp "$SCENE/made.ext4" "$SCENE/found.ext4"
    e2fsck -fn "$SCENE/found.ext4"
    rm "$to" "$from" "$SCENE"/{made,found}.ext4
}

case_hercules_dasd_copy() { # an ext4 file system of the host's, written through a virtio disk over a volume and taken out again
    dasd_copy
}
case_hercules_dasd_copy_async() { # the same with programs that run on their own
    dasd_copy --dasd nosyncio
}

# dasd_errors DASD-OPTIONS [OPTION…]: damaged records fail alone and with their place.
dasd_errors() {
    local volume=$SCENE/damaged.3390 options=$1 lost
    shift
    python3 "$here/dasd.py" make-linux "$volume" LINUX1 4
    python3 "$here/dasd.py" damage "$volume" 1 2 count
    python3 "$here/dasd.py" damage "$volume" 2 3 length
    python3 "$here/dasd.py" damage "$volume" 3 4 erase
    hercules FFF selftest=dasd-errors --dasd "$options" --volume "$volume" "$@"
    silent "$LOG" '^FAIL'
    says "$LOG" 'no record found at cylinder 1 head 2 record 4,'
    says "$LOG" 'equipment check at cylinder 2 head 3 record 4,'
    says "$LOG" 'no record found at cylinder 3 head 4 record 1,'
    # Records 4 of one track, 4 to 12 of another one, and all of the third; the two first tracks are not served.
    lost=$(sed -nE 's/^dasd: lost ([0-9]+)$/\1/p' "$LOG" | tr '\n' ' ')
    [[ $lost == "183 $(seq -s ' ' 375 383) $(seq -s ' ' 564 575) " ]] || { warn "lost: $lost"; return 1; }
    says "$LOG" '^dasd: lost 3 long requests$'
    rm "$volume"
}

case_hercules_dasd_errors() { # damaged records
    dasd_errors ''
    says "$LOG" '^3 passed, 0 failed'
    says "$LOG" 'dasd: a write ends with Ok'
}
case_hercules_dasd_errors_async() { # the same with programs that run on their own, read-only, unplugged and plugged in again
    dasd_errors 'nosyncio ro' --type 'dasd: may go=>detach 0A80' \
        --type "dasd: may come back=>attach 0A80 3390 $SCENE/damaged.3390 nosyncio ro"
    says "$LOG" '^5 passed, 0 failed'
    says "$LOG" 'write inhibited at cylinder 3 head 14 record 12'
    says "$LOG" 'dasd: a write ends with IoError'
}

case_hercules_fba() { # fixed-block disks of every type that Hercules has; the host finds on them what it should
    local type volumes=()
    for type in 3370 9336 3310 9313 9332 9335 0671; do
        python3 "$here/dasd.py" make-fixed "$SCENE/fixed.$type" FIXED1 5001
        volumes+=(--volume "$SCENE/fixed.$type")
    done
    hercules FFF selftest=dasd "${volumes[@]}"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^63 passed, 0 failed'
    says "$LOG" 'dasd: 0\.0\.0a80 5001 blocks, VOL1 FIXED1, 4999 blocks from 2'
    python3 "$here/dasd.py" check-fixed "$SCENE/fixed.3370" 512 "$LOG" 0.0.0a80
    python3 "$here/dasd.py" check-fixed "$SCENE/fixed.9336" 512 "$LOG" 0.0.0a81
    rm "$SCENE"/fixed.*
}

case_hercules_fba_compressed() { # one in a compressed file, which Hercules's own tool expands for the host
    local volume=$SCENE/packed.9336
    rm -f "$volume"
    dasdinit -z "$volume" 9336 FIXED1 5001
    hercules FFF selftest=dasd --volume "$volume"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^9 passed, 0 failed'
    rm -f "$SCENE/plain.9336"
    dasdcopy -o FBA "$volume" "$SCENE/plain.9336" >"$LOG.copy" 2>&1
    python3 "$here/dasd.py" check-fixed "$SCENE/plain.9336" 512 "$LOG" 0.0.0a80
    rm "$volume" "$SCENE/plain.9336"
}

case_hercules_fba_sync() { # programs that run within START SUBCHANNEL, as far as Hercules gets with them
    local volume=$SCENE/packed.9336
    rm -f "$volume"
    dasdinit -z "$volume" 9336 FIXED1 5001
    # A transfer that goes on in the next group of 120 blocks ends too early there. Short requests get through one by one.
    hercules FFF selftest=dasd-errors --dasd syncio --volume "$volume"
    silent "$LOG" '^FAIL'
    says "$LOG" '^3 passed, 0 failed'
    silent "$LOG" '^dasd: lost [0-9]+$'
    rm "$volume"
}

case_hercules_fba_served() { # a virtio disk over a fixed-block one, as a client sees it
    local volume=$SCENE/served.9336
    python3 "$here/dasd.py" make-fixed "$volume" FIXED1 50001
    hercules FFF "selftest=dasd-served requests=1000" --volume "$volume"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^4 passed, 0 failed'
    python3 "$here/dasd.py" check-fixed "$volume" 4096 "$LOG" served
    rm "$volume"
}

case_hercules_fba_errors() { # one whose file the host cuts off, and which is unplugged, and plugged in again when it is whole
    local volume=$SCENE/cut.9336 lost
    python3 "$here/dasd.py" make-fixed "$volume" FIXED1 4930
    # Hercules reads groups of 120 blocks: of the last one, nothing is there.
    hercules FFF selftest=dasd-errors --volume "$volume" --type "HHCPN995E=>sh truncate -s $((4920 * 512)) $volume" \
        --type 'dasd: may go=>detach 0A80' --type "dasd: may come back=>sh truncate -s $((4930 * 512)) $volume" \
        --type "dasd: may come back=>attach 0A80 9336 $volume"
    silent "$LOG" '^FAIL'
    says "$LOG" '^5 passed, 0 failed'
    says "$LOG" 'equipment check at block 4920 or behind'
    says "$LOG" 'dasd: a write ends with Ok'
    lost=$(sed -nE 's/^dasd: lost ([0-9]+)$/\1/p' "$LOG" | tr '\n' ' ')
    [[ $lost == '4918 4919 4920 4921 4922 4923 4924 4925 4926 4927 ' ]] || { warn "lost: $lost"; return 1; }
    rm "$volume"
}

# proxy_passed: DASD that are passed through to the image itself have done what the hardware does.
proxy_passed() {
    local fact
    silent "$LOG" '^FAIL'
    says "$LOG" '^[1-9][0-9]* passed, 0 failed'
    says "$LOG" '^PASS: .*an ORB with any one bit changed harms nobody'
    says "$LOG" '^PASS: .*a SCHIB with any one bit changed harms nobody'
    says "$LOG" '^PASS: .*a suspended program goes on with RSCH'
    for fact in 'data chaining across pages' 'format-1 IDAWs' 'format-2 IDAWs of 2 KiB' 'format-2 IDAWs of 4 KiB' MIDAWs \
        'READ IPL over the program, whose format-0' 'READ IPL over the program, whose format-1'; do
        says "$LOG" "^PASS: 0\\.0\\.0a80 .*$fact"
    done
}
case_hercules_proxy() { # DASD there, through the proxy to a client in the image
    hercules FFF selftest=proxy
    proxy_passed
}
case_hercules_proxy_async() { # the same with programs that run on their own: endless ones, and one that the CPU changes
    hercules FFF selftest=proxy --dasd nosyncio
    proxy_passed
    says "$LOG" '^PASS: .*HSCH of a running program'
    says "$LOG" '^PASS: .*CSCH ends a running program'
    says "$LOG" '^PASS: .*the CCW that the CPU stores into it'
    says "$LOG" '^PASS: .*an endless program of seeks is halted'
    says "$LOG" '^PASS: .*an endless program of seeks is cleared'
}

# ---- running the cases --------------------------------------------------------------------------------------------

run_case() {
    trap end_all EXIT
    LOG=$SCENE/$1.console GUEST_ERRORS=$SCENE/$1.errors
    "case_$1"
}

mkdir -p "$SCENE"
rm -f "$SCENE"/*.{console,errors,log}
cases=$(cases_of "${BASH_SOURCE[0]}")
if ! command -v hercules >/dev/null; then
    say 'SKIPPED: there is no Hercules, and nothing is tested on it'
    cases=$(sed '/^hercules_/d' <<<"$cases")
fi
run_cases "$SCENE" "$@" <<<"$cases"
rm -f "$SCENE"/*.img
