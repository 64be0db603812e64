#!/usr/bin/env bash
# Measures Stellwerk, beside the two ways QEMU itself has to serve the same disk to the same client.
#
#   scripts/bench.sh [--json FILE] [--rounds N] [--seconds N] [TARGET…]
#
#   stellwerk   the appliance, through vhost-user-blk-pci
#   qsd         qemu-storage-daemon, through vhost-user-blk-pci
#   ccw         the client's own QEMU, through virtio-blk-ccw
#
# A round boots the stock client once on each target and runs all patterns in it; rounds are interleaved, and each begins
# with another target, so that a noisy machine is noisy for all. The numbers are medians. All three serve one image, with
# the same cache mode and the same kind of asynchronous I/O. With 5 rounds of 3 seconds this takes some 12 minutes.
#
# JSON keys: iops (by target, pattern, depth), ratio_vs_qsd_qd1 and ratio_vs_qsd_qd32 (4 KiB random read, the median of
# the rounds' ratios), image_bytes, private_bytes, boot_ms, insns_per_read_4k (one at a time; with _qd32, 32 at once),
# insns_proxy_1ccw and insns_proxy_64ccw (a channel program that is passed through), insns_trace_record, insns_eckd_4k (a read from a
# count-key-data disk), starts_per_mib and ccws_per_block (of long sequential reads from one), idle_cpu_percent (the daemon and the appliance, beside a client that has a disk and does nothing).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/scene.sh
source "$ROOT/scripts/scene.sh"

help_asked "$@"
json='' rounds=5 seconds=3 targets=()
while (($#)); do
    case $1 in
        --json) json=$2 && shift ;;
        --rounds) rounds=$2 && shift ;;
        --seconds) seconds=$2 && shift ;;
        stellwerk | qsd | ccw) targets+=("$1") ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift
done
((${#targets[@]})) || targets=(stellwerk qsd ccw)

SAMPLES=$TARGET/bench/samples # lines of: target pattern depth round iops
VALUES=$TARGET/bench/values   # lines of: key value

# ---- the rounds ---------------------------------------------------------------------------------------------------

one_round() { # ROUND TARGET
    BACKEND=$2
    backend_start
    client_start linux "script=$ROOT/tests/e2e/client/bench.sh" seconds="$seconds"
    client_wait linux $((120 + 16 * (seconds + 3)))
    client_says linux '^IOPS ' | while read -r _ pattern depth iops; do
        printf '%s %s %s %s %s\n' "$2" "$pattern" "$depth" "$1" "$iops"
    done >>"$SAMPLES"
    backend_stop
}

all_rounds() {
    local round i target
    for ((round = 1; round <= rounds; round++)); do
        for ((i = 0; i < ${#targets[@]}; i++)); do
            target=${targets[$(((i + round) % ${#targets[@]}))]}
            step "bench: round $round of $rounds, $target"
            one_round "$round" "$target"
        done
    done
}

# ---- the other numbers --------------------------------------------------------------------------------------------

value() { printf '%s %s\n' "$1" "$2" >>"$VALUES"; }

# What has to be loaded: the file sizes of the loadable segments.
image_bytes() {
    local size total=0
    while read -r size; do total=$((total + size)); done < <(readelf -lW "$IMAGE_ELF" | awk '$1 == "LOAD" { print $5 }')
    printf '%s\n' "$total"
}

# cpu_ticks PID: user and system time of the process and of those it started, in clock ticks.
cpu_ticks() {
    local pid stat total=0
    # shellcheck disable=SC2013 # the file is one line of words
    for pid in "$1" $(cat /proc/"$1"/task/*/children 2>/dev/null); do
        stat=$(<"/proc/$pid/stat")
        # shellcheck disable=SC2086 # fields, after the command's name in parentheses
        set -- ${stat##*) }
        total=$((total + ${12} + ${13}))
    done
    printf '%s\n' "$total"
}

# With a client that has the disk and does nothing: the daemon and the appliance together, over ten seconds.
idle_and_status() {
    local before after status
    BACKEND=stellwerk
    backend_start
    client_start linux "script=$ROOT/tests/e2e/client/idle.sh" seconds=14
    client_mark linux idle 60
    sleep 2
    before=$(cpu_ticks "$BACKEND_PID")
    sleep 10
    after=$(cpu_ticks "$BACKEND_PID")
    status=$("$HOST_PROGRAM" status --json "$CONFIG")
    client_wait linux 60
    backend_stop
    value idle_cpu_percent "$(awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f", t / hz / 10 * 100 }')"
    value private_bytes "$(jq -r '.appliance.private_bytes // "null"' <<<"$status")"
    value boot_ms "$(jq -r '.appliance.boot_ms // "null"' <<<"$status")"
}

# For each read one at a time, and with 32 at once: see tests/guest/insns.sh.
instructions_per_read() {
    local log=$TARGET/bench/read4k.log
    value insns_per_read_4k "$("$ROOT/tests/guest/insns.sh" "$TEST_IMAGE_ELF" "$log" || echo null)"
    value insns_per_read_4k_qd32 "$(sed -n 's/^bench: read4k depth=32 .*insns=\([0-9]*\)$/\1/p' "$log" | grep . || echo null)"
}

# image_counts BENCH LOG: the image alone, counting instructions; see tests/image/src/bench.rs.
image_counts() {
    timeout 60 qemu-system-s390x -accel tcg -icount shift=1,sleep=off -rtc base=2026-01-01,clock=vm -seed 1 -m 16M \
        -nodefaults -nographic -no-reboot -action panic=exit-failure -chardev stdio,id=console \
        -device "sclpconsole,chardev=console" -device virtio-rng-ccw \
        -kernel "$TEST_IMAGE_ELF" -append "bench=$1" 2>&1 </dev/null | tr -d '\r' >"$2" || true
}

# The same for a channel program that is passed through: one CCW; and 64 CCWs with 256 address words. And for a trace record.
instructions_per_program() {
    local log=$TARGET/bench/proxy.log ccws count
    image_counts proxy "$log"
    for ccws in 1 64; do
        count=$(sed -n "s/.*bench: proxy ccws=$ccws .*insns=\([0-9]*\).*/\1/p" "$log")
        value "insns_proxy_${ccws}ccw" "${count:-null}"
    done
    value insns_trace_record "$(sed -n 's/^bench: trace .*insns=\([0-9]*\)$/\1/p' "$log" | grep . || echo null)"
}

# For each random read of a count-key-data disk; for sequential ones of 512 KiB, its starts and CCWs. See tests/image/src/bench/eckd.rs.
costs_of_eckd() {
    local log=$TARGET/bench/eckd.log long
    image_counts eckd "$log"
    value insns_eckd_4k "$(sed -n 's/^bench: eckd depth=1 .*insns=\([0-9]*\)$/\1/p' "$log" | grep . || echo null)"
    long=$(sed -nE 's/^bench: eckd sequential bytes=([0-9]+) blocks=([0-9]+) starts=([0-9]+) ccws=([0-9]+)$/\1 \2 \3 \4/p' "$log")
    value starts_per_mib "$(awk 'NF == 4 { printf "%.3f", $3 / ($1 / 1048576); next } { print "null" }' <<<"$long")"
    value ccws_per_block "$(awk 'NF == 4 { printf "%.3f", $4 / $2; next } { print "null" }' <<<"$long")"
}

# ---- the results --------------------------------------------------------------------------------------------------

results() {
    jq -n --rawfile samples "$SAMPLES" --rawfile values "$VALUES" '
        def rows($text): $text | split("\n") | map(select(. != "") | split(" "));
        def median: sort | if length == 0 then null
            elif length % 2 == 1 then .[length / 2 | floor]
            else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        rows($samples) | map({target: .[0], pattern: .[1], depth: .[2], round: .[3], iops: (.[4] | tonumber)}) as $all |
        def ratio($depth): [
            $all[] | select(.target == "stellwerk" and .pattern == "randread-4k" and .depth == $depth) as $ours |
            $all[] | select(.target == "qsd" and .pattern == "randread-4k" and .depth == $depth and .round == $ours.round) |
            $ours.iops / .iops] | median | if . then . * 1000 | round / 1000 else null end;
        {
            iops: (reduce ($all | group_by([.target, .pattern, .depth])[]) as $g ({};
                setpath([$g[0].target, $g[0].pattern, $g[0].depth]; [$g[].iops] | median))),
            ratio_vs_qsd_qd1: ratio("1"),
            ratio_vs_qsd_qd32: ratio("32")
        } + (rows($values) | map({key: .[0], value: (.[1] | if . == "null" then null else tonumber end)}) | from_entries)'
}

table() {
    jq -r '
        def cell: tostring | (10 - length) as $n | if $n > 0 then " " * $n + . else . end;
        .iops as $iops | ["stellwerk", "qsd", "ccw"] as $targets |
        "4 KiB and 128 KiB, I/O operations per second (medians)",
        "pattern       depth" + ([$targets[] | cell] | join("")),
        (["randread-4k", "randwrite-4k", "read-128k", "write-128k"][] as $p | ["1", "32"][] as $d |
            ($p + "              ")[0:14] + ("   " + $d)[-5:] + ([$targets[] | $iops[.][$p][$d] // "-" | cell] | join(""))),
        "",
        (del(.iops) | to_entries[] | .key + ": " + (.value | tostring))'
}

use_toolchain bench
[[ " ${targets[*]} " != *" stellwerk "* ]] || "$ROOT/scripts/build.sh" image test-image host
"$ROOT/scripts/client.sh" --with-fio

scene "$TARGET/bench"
trap scene_end EXIT
: >"$SAMPLES"
: >"$VALUES"
# Full of random bytes, so that no read is short of a block, and small enough to stay in the host's memory.
DISK_OPTIONS+=(cache=writeback aio=threads) # as scene.sh gives it to the others
disk data 256M
head -c 256M /dev/urandom >"$(image_of data)"
client linux 256M
gives linux data

if [[ " ${targets[*]} " == *" stellwerk "* ]]; then
    step "bench: image, memory, boot, instructions, idling"
    value image_bytes "$(image_bytes)"
    instructions_per_read
    instructions_per_program
    costs_of_eckd
    idle_and_status
fi
all_rounds
results >"$TARGET/bench/results.json"
table <"$TARGET/bench/results.json"
[[ -z $json ]] || cp "$TARGET/bench/results.json" "$json"
