#!/usr/bin/env bash
# Every way in which the image can end, in a guest: the report and the disabled-wait code of each.
#
#   tests/images/reports.sh [IMAGE-DIRECTORY]      default: target/image
#
# Runs each `selftest=` in QEMU, with both kinds of console, and under Hercules by list-directed IPL (when there is a
# Hercules). A crash on purpose must print its report, name the function it came from, and end in its own wait code.
set -euo pipefail
IMAGE=$(realpath "${1:-$(dirname "${BASH_SOURCE[0]}")/../../target/image}")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# name | wait code | what the report must say
TABLE='
panic       | E01 | a panic with the console in use
nested      | E0F | stopped: panic
oom         | E01 | memory allocation of [0-9]+ bytes failed
pgm         | E02 | 0001 operation exception
wild        | E02 | 0004 protection exception
jump        | E02 | 0006 specification exception
stack       | E03 | recurse_small\+0x[0-9a-f]+, [0-9]{3} times
stack-large | E03 | recurse_large
mcck        | E04 | INSTRUCTION_PROCESSING_DAMAGE
damage      | E04 | SYSTEM_DAMAGE
clock       | FFF | Deadline after [0-9]+ us
exit        | FFF | selftest: Exit
'

failures=0

# expect NAME STATUS WANTED-STATUS CODE TEXT OUTPUT-FILE
expect() {
    local name=$1 status=$2 wanted=$3 code=$4 text=$5 output=$6 why=''
    [[ $status == "$wanted" ]] || why="exit status $status, not $wanted"
    grep -qaE -- "$text" "$output" || why="${why:+$why; }no \"$text\""
    # A crash within a report ends it where it is.
    if [[ $code != FFF && $code != E0F ]]; then
        grep -qa "disabled wait $code ====" "$output" || why="${why:+$why; }no disabled wait $code"
        grep -qaE ' _start\+0x' "$output" || why="${why:+$why; }the call chain does not lead to the start"
    fi
    if [[ -z $why ]]; then
        printf 'ok    %s\n' "$name"
    else
        printf 'FAIL  %s: %s\n' "$name" "$why"
        sed 's/^/      /' "$output"
        failures=$((failures + 1))
    fi
}

in_qemu() {
    local console=$1 name=$2 code=$3 text=$4 status=0 wanted=1
    [[ $code != FFF ]] || wanted=0
    timeout 60 qemu-system-s390x -nodefaults -nographic -m 16 -no-reboot -action panic=exit-failure \
        -chardev stdio,id=c -device "$console,chardev=c" \
        -kernel "$IMAGE/stellwerk.elf" -append "selftest=$name" >"$WORK/out" 2>&1 </dev/null || status=$?
    expect "$name in QEMU, $console" "$status" "$wanted" "$code" "$text" "$WORK/out"
}

# Hercules ends when it is told to: here as soon as the CPU is in a disabled wait.
in_hercules() {
    local name=$1 code=$2 text=$3 log=$WORK/out status=timeout i
    cp "$IMAGE"/stellwerk.bin "$IMAGE"/ipl-psw.bin "$WORK"
    printf 'selftest=%s\0' "$name" >"$WORK/parm"
    { cat "$IMAGE/stellwerk.ins" && echo 'parm 0x00010480'; } >"$WORK/test.ins"
    rm -f "$WORK/in" && mkfifo "$WORK/in"
    (cd "$WORK" && HERCULES_RC=/nonexistent exec timeout 60 hercules -f hercules.cnf EXTERNALGUI <in >"$log" 2>/dev/null) &
    local pid=$!
    exec 9>"$WORK/in"
    for ((i = 0; i < 300; i++)); do
        if grep -qa HHCPN995E "$log" 2>/dev/null; then break; fi
        sleep 0.1
    done
    echo 'ipl test.ins' >&9
    for ((i = 0; i < 300; i++)); do
        if grep -qa "PSW=00020001 80000000 0000000000000$code" "$log"; then
            status=$code
            break
        fi
        sleep 0.1
    done
    echo quit >&9
    exec 9>&-
    wait "$pid" || true
    expect "$name in Hercules" "$status" "$code" "$code" "$text" "$log"
}

cat >"$WORK/hercules.cnf" <<'CNF'
ARCHMODE z/Arch
CPUMODEL 2827
MAINSIZE 16
NUMCPU 1
MAXCPU 1
OSTAILOR QUIET
LOGOPT NOTIMESTAMP
001F 3270
CNF

while IFS='|' read -r name code text; do
    name=${name// /} code=${code// /} text=${text# }
    [[ -n $name ]] || continue
    in_qemu sclpconsole "$name" "$code" "$text"
    in_qemu sclplmconsole "$name" "$code" "$text"
    if command -v hercules >/dev/null; then in_hercules "$name" "$code" "$text"; fi
done <<<"$TABLE"

((failures == 0)) || { printf '%d failed\n' "$failures"; exit 1; }
