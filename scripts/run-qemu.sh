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
# shellcheck source=scripts/scene.sh
source "$ROOT/scripts/scene.sh"

FILES=32 # that the client writes when it checks, besides one of random bytes

# ---- the image alone ----------------------------------------------------------------------------------------------

run_image() {
    local image=$1 disks=() name
    shift
    [[ ${1:-} != -- ]] || shift
    use_toolchain run
    mkdir -p "$TARGET/scratch"
    for name in one two; do
        [[ -e $TARGET/scratch/$name.img ]] || truncate -s 64M "$TARGET/scratch/$name.img"
        disks+=(-blockdev "driver=file,node-name=$name,filename=$TARGET/scratch/$name.img"
            -device "virtio-blk-ccw,drive=$name")
    done
    exec qemu-system-s390x -accel "$ACCEL" -m 16M -nodefaults -nographic -no-reboot -action panic=exit-failure \
        -chardev stdio,id=console,mux=on,signal=off -mon console -device "sclpconsole,chardev=console" \
        "${disks[@]}" -kernel "$image" "$@"
}

# ---- the main job -------------------------------------------------------------------------------------------------

prepare() {
    use_toolchain run
    if [[ $BACKEND == stellwerk ]]; then "$ROOT/scripts/build.sh"; fi
    "$ROOT/scripts/client.sh"
    scene "$DEMO"
    client linux 256M
}

serve() {
    gives linux data
    step "starting $BACKEND"
    APPLIANCE_ARGS=("$@")
    backend_start
}

interactive() {
    if [[ -e $(image_of data) ]]; then old_disk data; else disk data 256M; fi
    serve "$@"
    client_command linux
    cat <<TEXT

    Stellwerk is up and serves $(image_of data).

    the appliance's console   tail -f $RUN/console.log
    its state                 $HOST_PROGRAM status $CONFIG
    the daemon's log          $BACKEND_LOG

    Now the client boots; its disk is /dev/vda. To try it:
        mkfs.ext4 -F /dev/vda && mount -t ext4 /dev/vda /mnt
    Leave with "poweroff -f" or Ctrl-A X; then Stellwerk is stopped, too.

TEXT
    "${COMMAND[@]}" -chardev stdio,id=console,mux=on,signal=off -mon console || true
    step "stopping $BACKEND"
    backend_stop
}

# The file that the client has grown from the same seed; see tests/e2e/client/demo.sh.
grow() { # SEED FILE
    { seq $(($1 * 1000 + $2)) $(($1 * 1000 + $2 + 60000)) || true; } | head -c $(($2 * $2 * 700 + $2))
}

# compare SEED: the client's sums, the files in the image, and, where the seed tells them, the files as they should be.
compare() {
    local seed=$1 partition=$DEMO/partition.img start sectors file theirs ours want differences=0
    read -r start sectors < <(partx --noheadings --raw --output START,SECTORS "$(image_of data)" | head -n 1)
    [[ -n ${sectors:-} ]] || { warn "the image has no partition"; return 1; }
    rm -rf "$partition" "$DEMO/files"
    mkdir "$DEMO/files"
    dd if="$(image_of data)" of="$partition" bs=512 skip="$start" count="$sectors" conv=sparse status=none
    e2fsck -fn "$partition" >"$DEMO/e2fsck.log" 2>&1 || { warn "the file system is damaged, see $DEMO/e2fsck.log"; return 1; }
    debugfs -R "rdump / $DEMO/files" "$partition" >"$DEMO/debugfs.log" 2>&1
    for file in $(seq -f 'file-%g' "$FILES") random; do
        theirs=$(client_says linux "^SUM $file " | cut -d' ' -f3) || true
        ours=$(sha256sum 2>/dev/null <"$DEMO/files/$file" | cut -d' ' -f1) || true
        want=$ours
        [[ $file == random ]] || want=$(grow "$seed" "${file#file-}" | sha256sum | cut -d' ' -f1)
        [[ -n $theirs && $theirs == "$ours" && $ours == "$want" ]] && continue
        warn "$file: the client read ${theirs:-nothing}, the host sees ${ours:-nothing}, it should be $want"
        differences=$((differences + 1))
    done
    ((differences == 0)) || return 1
    SUMMARY="$((FILES + 1)) files, $(du -sm "$DEMO/files" | cut -f1) MiB: the client's checksums and the image on the host agree"
}

check() {
    local seed=$RANDOM follower
    disk data 256M
    serve "$@"
    step "starting the client"
    client_start linux "script=$ROOT/tests/e2e/client/demo.sh" seed=$seed files=$FILES
    # What it says, as it says it, until it is off.
    tail --pid="${CLIENT_PID[linux]}" -n +1 -f "${CLIENT_LOG[linux]}" |
        sed -un 's/\r$//; s/^MARK up/client: up,/; s/^client: /    client: /p' &
    follower=$!
    client_wait linux 180
    wait "$follower"
    if [[ $BACKEND == stellwerk ]]; then
        "$HOST_PROGRAM" status "$CONFIG" | sed 's/^/    /'
    fi
    step "the client is off; stopping $BACKEND"
    backend_stop
    step "comparing with what the host sees in the image"
    compare "$seed"
}

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

# The last line says how it went, whatever it was that went wrong.
at_exit() {
    local status=$?
    scene_end
    [[ $mode == check ]] || exit "$status"
    if ((status)); then
        say "run-qemu: FAILED (logs in $DEMO)"
    else
        say "run-qemu: passed: $SUMMARY"
    fi
}

# The disk of the shell stays from one run to the next; the check begins with a new one each time.
DEMO=$TARGET/demo
[[ $mode == interactive ]] || DEMO=$TARGET/demo/check
SUMMARY=
trap at_exit EXIT
prepare
"$mode" "$@"
