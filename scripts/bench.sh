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

help_asked "$@"
use_toolchain bench
export PYTHONPATH=$ROOT/tests PYTHONDONTWRITEBYTECODE=1
targets=$(python3 "$ROOT/scripts/bench.py" --say-targets "$@")
[[ " $targets " != *" stellwerk "* ]] || "$ROOT/scripts/build.sh" image test-image host
"$ROOT/scripts/client.sh" --with-fio
exec python3 "$ROOT/scripts/bench.py" "$@"
