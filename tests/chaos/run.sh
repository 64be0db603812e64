#!/usr/bin/env bash
# Whatever dies, at random, under the load of three stock clients: nobody loses a byte, and a request only takes longer.
#
#   tests/chaos/run.sh [--deaths N] [--seed SEED]      30 deaths, and another seed each time
#
# The kinds of deaths are in deaths.py. What it counted is printed as a table, with the seed, by which the same deaths come again in the
# same order; not at the same instants. What the clients said stays in target/chaos/ if something is wrong. Without /dev/fuse the disks
# are fast, and fewer requests are under way when something dies.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

help_asked "$@"
deaths=30 seed=$RANDOM
while (($#)); do
    case $1 in
        --deaths) deaths=$2 ;;
        --seed) seed=$2 ;;
        *) die "unknown argument $1; see --help" ;;
    esac
    shift 2
done
needs "$IMAGE_ELF" "$HOST_PROGRAM" qemu-system-s390x qemu-storage-daemon qemu-img python3
use_toolchain test
"$ROOT/scripts/client.sh"
"$ROOT/tests/load/build.sh"
status=0
CHAOS_DEATHS=$deaths CHAOS_SEED=$seed python3 "$ROOT/tests/run.py" chaos --limit $((300 + 20 * deaths)) || status=$?
sed -n 's/^TABLE //p' "$TARGET/chaos/deaths.log"
exit "$status"
