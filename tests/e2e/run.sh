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
# shellcheck source=scripts/cases.sh
source "$here/../../scripts/cases.sh"
# shellcheck source=scripts/scene.sh
source "$ROOT/scripts/scene.sh"

# ---- what a case is written with ----------------------------------------------------------------------------------

proves() { :; } # for the reader, and for the harness, which prints it

# start CLIENT SCRIPT [OPTION…]: boot a client that runs client/SCRIPT.sh.
start() { client_start "$1" "script=$here/client/$2.sh" "${@:3}"; }

# checksums, expect HAVE WANT WHAT
expect() { [[ $1 == "$2" ]] || { warn "$3: $1, not $2"; return 1; }; }

# appliance COMMAND [WORD…]: what is done to the appliance, and seen of it; see tests/contain/appliance.py.
appliance() { PYTHONPATH=$ROOT/tests PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/contain/appliance.py" "$1" "$CONFIG" "${@:2}"; }

# kill_often KILLS CLIENT…: kill the appliance so often while the clients work, at instants at which requests are in flight:
# always one, and in half of the cases eight or more.
kill_often() {
    local kills=$1 many=0 kill count
    for ((kill = 1; kill <= kills; kill++)); do
        sleep 0.5
        count=$(appliance kill 8)
        say "kill $kill: $count requests were in flight"
        ((count > 0)) || { warn "kill $kill met no request"; return 1; }
        ((count < 8)) || many=$((many + 1))
    done
    ((2 * many >= kills)) || { warn "only $many of $kills kills met eight requests or more"; return 1; }
}

# ---- running the cases --------------------------------------------------------------------------------------------

run_case() {
    trap scene_end EXIT
    rm -rf "$TARGET/e2e/$BACKEND/$1"
    scene "$TARGET/e2e/$BACKEND/$1"
    # shellcheck source=/dev/null
    source "$here/cases/$1.sh"
    # Nobody is left, and the back end ends in order.
    backend_stop
    rm -f "$SCENE"/*.{img,initrd}
}

if [[ ${1:-} == --backend ]]; then
    BACKEND=$2
    shift 2
fi

[[ $EUID -eq 0 ]] || warn "not root: the case full-file-system mounts a file system, and will be skipped"
use_toolchain test
"$ROOT/scripts/client.sh" --with-fio
run_cases "$TARGET/e2e/$BACKEND" "$@" < <(cases_in "$here/cases")
