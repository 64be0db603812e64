#!/usr/bin/env bash
# The main job: a stock Debian s390x Linux on a disk that Stellwerk serves.
#
#   scripts/run-qemu.sh [--check] [-- QEMU-ARGUMENT…]
#
# Sets up, builds, makes a demo disk, starts Stellwerk (its host daemon and, through it, the appliance) and then the
# client. On a terminal you get the client's shell, with the disk as /dev/vda. With --check, or without a terminal, the
# client partitions, formats, writes, reads back and sums up, and then the host compares that with what is in the image:
# the last line says how it went, and so does the exit status. What follows -- goes to the appliance's QEMU.
#
#   scripts/run-qemu.sh IMAGE [ARGUMENT…]
#
# The runner of cargo for the image's target, and by hand: boots that appliance image alone, with its console on this terminal and two scratch disks.
# Ctrl-A X leaves. The arguments go to QEMU; -append is the way to pass a command line.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# ---- the image alone ----------------------------------------------------------------------------------------------

run_image() {
    local image=$1 disks=() name accel=tcg
    shift
    [[ $(uname -m) != s390x || ! -w /dev/kvm ]] || accel=kvm
    [[ ${1:-} != -- ]] || shift
    use_toolchain run
    mkdir -p "$TARGET/scratch"
    for name in one two; do
        [[ -e $TARGET/scratch/$name.img ]] || truncate -s 64M "$TARGET/scratch/$name.img"
        disks+=(-blockdev "driver=file,node-name=$name,filename=$TARGET/scratch/$name.img"
            -device "virtio-blk-ccw,drive=$name")
    done
    exec qemu-system-s390x -accel "$accel" -m 16M -nodefaults -nographic -no-reboot -action panic=exit-failure \
        -chardev stdio,id=console,mux=on,signal=off -mon console -device "sclpconsole,chardev=console" \
        "${disks[@]}" -kernel "$image" "$@"
}

# ---- the main job -------------------------------------------------------------------------------------------------

if [[ -t 0 && -t 1 ]]; then mode=interactive; else mode=check; fi
while (($#)); do
    case $1 in
        --check) mode=check ;;
        --)
            shift
            break
            ;;
        -h | --help)
            sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
            exit
            ;;
        -*) die "unknown option $1; see --help" ;;
        *) run_image "$@" ;;
    esac
    shift
done

# The last line says how it went, whatever it was that went wrong: also before there is anything to boot.
at_exit() {
    local status=$?
    [[ $status == 0 || $mode != check ]] || say "run-qemu: FAILED (logs in $TARGET/demo/check)"
}
trap at_exit EXIT
use_toolchain run
[[ ${BACKEND:-stellwerk} != stellwerk ]] || "$ROOT/scripts/build.sh"
"$ROOT/scripts/client.sh"
export PYTHONPATH=$ROOT/tests PYTHONDONTWRITEBYTECODE=1
python3 "$ROOT/scripts/demo.py" "$mode" "$@"
