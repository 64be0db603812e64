#!/usr/bin/env bash
# The appliance on subchannels of the kernel's own vfio-ccw, nested.
#
#   tests/vfio-ccw/run.sh [CASE…]
#
# QEMU runs a stock Debian s390x Linux with spare devices (a terminal with tests/guest/peer.py behind it, virtio control
# units). That gives them to its driver vfio_ccw, and runs Debian's s390x QEMU with `-device vfio-ccw` for each; the image is
# the guest of that one. So the image owns subchannels whose programs go through vfio-ccw's translation, and whose
# status comes from there.
#
# scripts/client.sh makes all that the middle machine consists of. Where Debian's archive cannot be reached, nothing is
# tested, and a line says so. Each case is a function below; what the machines printed stays in target/vfio-ccw/.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$here/../../scripts/lib.sh"
# shellcheck source=scripts/cases.sh
source "$here/../../scripts/cases.sh"
# shellcheck source=scripts/scene.sh
source "$here/../../scripts/scene.sh"

needs "$TEST_IMAGE_ELF" qemu-system-s390x python3 cpio
OUT=$TARGET/vfio-ccw
CASE_LIMIT=1200
PATIENCE=300 # seconds for one machine: three machines, each of them emulated by the one below

# ---- what a case is written with ----------------------------------------------------------------------------------

# The devices that are given away.
TERMINAL=3270 RNG=1111 SERIAL=2222

# image TEST PEER DEVICES [WORD=VALUE…]: the image runs its own TEST on these devices; further words are for l1.sh.
image() {
    local test=$1 peer=$2 devices=$3 socket
    shift 3
    socket=$(mktemp -u "${TMPDIR:-/tmp}/stellwerk-XXXXXX")
    client_command middle script="$here/l1.sh" disk_wait=0 "selftest=$test" "devices=$devices" "$@"
    cat "$TARGET/client/vfio-ccw.cpio" "$OUT/image.cpio" >>"$SCENE/middle.initrd"
    spawn "$SCENE/middle.log" "${COMMAND[@]}" -chardev stdio,id=console,signal=off \
        -chardev "socket,id=terminal,path=$socket,server=on,wait=off,tn3270=on" \
        -device "x-terminal3270,chardev=terminal,devno=fe.0.$TERMINAL" \
        -device "virtio-rng-ccw,devno=fe.0.$RNG" -device "virtio-serial-ccw,devno=fe.0.$SERIAL"
    CLIENT_LOG[middle]=$SCENE/middle.log CLIENT_PID[middle]=$REPLY
    spawn "$SCENE/peer.log" python3 "$here/../guest/peer.py" "$peer" "$socket"
    client_wait middle "$PATIENCE"
    tr -d '\r' <"$SCENE/middle.log" | sed -n '/^MARK running/,/^MARK ended/p' >"$LOG"
    says "$LOG" '^[1-9][0-9]* passed, 0 failed'
    client_says middle '^MARK ended 0$' >/dev/null
    ! client_says middle '^dmesg\| .*(BUG|WARNING|Oops)'
}

# ---- the cases ----------------------------------------------------------------------------------------------------

case_direct() { # condition codes, programs, halt, clear and interruptions; a terminal's attention
    image css terminal "$TERMINAL,$RNG,$SERIAL"
}

case_client() { # the same for a client: over state machine and translation of the appliance
    image proxy terminal "$TERMINAL,$RNG,$SERIAL"
}

case_killed() { # what a machine that is killed at work leaves behind is brought to rest, and the next one finds all in order
    image proxy terminal "$TERMINAL,$RNG" runs=3
    [[ $(client_says middle '^MARK killed after [1-9]' | wc -l) == 2 ]]
}

# ---- running the cases --------------------------------------------------------------------------------------------

run_case() {
    trap scene_end EXIT
    BACKEND=ccw
    scene "$OUT/$1"
    rm -f "$SCENE"/*.log
    client middle 512M
    LOG=$SCENE/image.log
    "case_$1"
}

mkdir -p "$OUT"
status=0
"$ROOT/scripts/client.sh" --with-vfio-ccw || status=$?
if ((status == 75)); then
    say "SKIPPED: vfio-ccw is NOT tested: the packages for the middle machine cannot be had"
    say "0 passed, 0 failed"
    exit 0
fi
((status == 0)) || exit "$status"
mkdir -p "$OUT/tree"
"${CROSS:-s390x-linux-gnu-}strip" -o "$OUT/tree/image" "$TEST_IMAGE_ELF" 2>/dev/null || cp "$TEST_IMAGE_ELF" "$OUT/tree/image"
(cd "$OUT/tree" && echo image | cpio --create --format=newc --quiet) >"$OUT/image.cpio"

run_cases "$OUT" "$@" < <(cases_of "${BASH_SOURCE[0]}")
