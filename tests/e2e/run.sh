#!/usr/bin/env bash
# End to end: stock Debian clients on disks that Stellwerk serves.
#
#   tests/e2e/run.sh [--backend stellwerk|qsd] [CASE…]
#
# Each case is one file in cases/: the host's side, a story told with scripts/scene.sh. Its first line of code says what
# it proves. The client's side is in client/, one file for each thing that a client does; it becomes /t.sh in the
# client's initramfs. A case runs in a process of its own and fails with the first command that fails.
#
# With --backend qsd the same cases run against qemu-storage-daemon: the control group. What fails there is not
# Stellwerk's fault. Logs stay below target/e2e/.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$here/../../scripts/lib.sh"
# shellcheck source=scripts/scene.sh
source "$ROOT/scripts/scene.sh"

# ---- what a case is written with ----------------------------------------------------------------------------------

proves() { :; } # for the reader, and for the harness, which prints it

# start CLIENT SCRIPT [OPTION…]: boot a client that runs client/SCRIPT.sh.
start() { client_start "$1" "script=$here/client/$2.sh" "${@:3}"; }

# checksums, expect HAVE WANT WHAT
expect() { [[ $1 == "$2" ]] || { warn "$3: $1, not $2"; return 1; }; }

# ---- running the cases --------------------------------------------------------------------------------------------

run_case() {
    set -eEuo pipefail
    trap scene_end EXIT
    trap 'warn "$(basename "${BASH_SOURCE[0]}"), line $LINENO: $BASH_COMMAND"' ERR
    scene "$TARGET/e2e/$BACKEND/$(basename "$1" .sh)"
    # shellcheck source=/dev/null
    source "$1"
    # Nobody is left, and the back end ends in order.
    backend_stop
}

cases=()
while (($#)); do
    case $1 in
        --backend)
            BACKEND=$2
            shift
            ;;
        -*) die "unknown option $1" ;;
        *) cases+=("$here/cases/$1.sh") ;;
    esac
    shift
done
((${#cases[@]})) || cases=("$here"/cases/*.sh)

use_toolchain test
"$ROOT/scripts/client.sh" --with-fio

passed=0 failed=() running=
trap '[[ -z $running ]] || { kill -TERM "$running" && wait "$running"; } 2>/dev/null || true' EXIT
for file in "${cases[@]}"; do
    name=$(basename "$file" .sh)
    what=$(sed -n 's/^proves "\(.*\)"$/\1/p' "$file")
    started=$SECONDS
    mkdir -p "$TARGET/e2e/$BACKEND"
    log=$TARGET/e2e/$BACKEND/$name.log
    rm -rf "$TARGET/e2e/$BACKEND/$name"
    (run_case "$file") >"$log" 2>&1 &
    running=$!
    if wait "$running"; then
        running=
        passed=$((passed + 1))
        printf 'ok      %-18s %3d s  %s\n' "$name" $((SECONDS - started)) "$what"
        rm -f "$TARGET/e2e/$BACKEND/$name"/*.{img,initrd}
    else
        running=
        failed+=("$name")
        printf 'FAILED  %-18s %3d s  %s\n' "$name" $((SECONDS - started)) "$what"
        tail -n 30 "$log" | sed 's/^/        /'
    fi
done
((${#failed[@]} == 0)) || say "failed: ${failed[*]} (logs in $TARGET/e2e/$BACKEND)"
say "$passed passed, ${#failed[@]} failed"
((${#failed[@]} == 0))
