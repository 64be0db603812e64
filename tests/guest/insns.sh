#!/usr/bin/env bash
# Prints how many instructions the appliance executes for a 4 KiB read at queue depth 1.
#
#   tests/guest/insns.sh TEST-IMAGE [LOG]
#
# The image counts them itself, with the clock, which QEMU derives from the number of instructions executed; see
# src/bench.rs. The disk answers at once. The number is the same in each run. All that the image prints goes to LOG.
set -euo pipefail
image=${1:?usage: insns.sh TEST-IMAGE [LOG]} log=${2:-/dev/null}
output=$(timeout --kill-after=5 60 qemu-system-s390x -accel tcg -icount shift=0,sleep=off -rtc base=2026-01-01,clock=vm \
    -m 16M -nodefaults -nographic -no-reboot -action panic=exit-failure \
    -chardev stdio,id=console -device sclpconsole,chardev=console \
    -blockdev driver=null-co,node-name=null,size=67108864,read-zeroes=on -device virtio-blk-ccw,drive=null \
    -kernel "$image" -append bench=read4k </dev/null 2>&1 | tr -d '\r') || true
printf '%s\n' "$output" >"$log"
sed -n 's/^bench: read4k depth=1 .*insns=\([0-9]*\)$/\1/p' <<<"$output" | grep .
