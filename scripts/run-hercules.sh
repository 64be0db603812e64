#!/usr/bin/env bash
# The image on Hercules, which emulates a whole machine with count-key-data disks and was written by others.
#
#   scripts/run-hercules.sh [OPTION…]
#
# Sets up, builds, makes a 3390 volume by Hercules's dasdinit, and boots the image by list-directed IPL (ipl FILE.ins). The console
# is shown; the image lists subchannels and disks, and ends, since nobody wants to be served. With --check it is the image with
# the tests that boots: it writes the volume through its driver, reads it back, and then the host looks into the volume for
# each block: the last line says how it went, and so does the exit status.
#
#   --check           write, read, and compare
#   --ipl dasd        boot from a volume that `stellwerk mkipl` has made ready, and not from files
#   --nosyncio        channel programs run on their own, and not within START SUBCHANNEL
#   --append LINE     the command line, without --check
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CYLINDERS=20
PATIENCE=90 # seconds for the machine
SCENE=$TARGET/hercules
VOLUME=$SCENE/linux.3390
LOG=$SCENE/console.log

check='' ipl='' options='' line=''
while (($#)); do
    case $1 in
        --check) check=yes ;;
        --nosyncio) options=nosyncio ;;
        --ipl | --append)
            (($# > 1)) || die "$1 wants a value; see --help"
            if [[ $1 == --ipl ]]; then ipl=$2; else line=$2; fi
            shift
            ;;
        -h | --help)
            sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
            exit
            ;;
        *) die "unknown option $1; see --help" ;;
    esac
    shift
done
[[ -z $ipl || $ipl == dasd ]] || die "--ipl $ipl: only dasd; see --help"
[[ -z $check || -z $line ]] || die "--check has a command line of its own"

# The last line says how it went, whatever it was that went wrong.
SUMMARY=
at_exit() {
    local status=$?
    [[ -n $check ]] || exit "$status"
    if ((status)); then
        say "run-hercules: FAILED (the console is in $LOG)"
    else
        say "run-hercules: passed: $SUMMARY"
    fi
}
trap at_exit EXIT

# volume FILE SERIAL [OPTION…]
volume() {
    rm -f "$1"
    quietly "$SCENE/dasdinit.log" dasdinit "${@:3}" "$1" 3390 "$2" "$CYLINDERS"
}

use_toolchain hercules
image=$IMAGE_ELF parts=(image)
if [[ -n $check ]]; then
    image=$TEST_IMAGE_ELF parts=(test-image) line=selftest=dasd
fi
[[ -z $ipl ]] || parts+=(host)
"$ROOT/scripts/build.sh" "${parts[@]}"

mkdir -p "$SCENE"
step "making a 3390 volume of $CYLINDERS cylinders"
volume "$VOLUME" LINUX1 -linux
arguments=("$(dirname "$image")" "$SCENE" --dasd "$options" --volume "$VOLUME")
if [[ -n $ipl ]]; then
    # Its tracks have no records, but for those that are booted from: it is not served.
    step "making a volume to boot from"
    volume "$SCENE/ipl.3390" IPLVOL
    "$HOST_PROGRAM" mkipl "$(dirname "$image")/stellwerk.bin" "$SCENE/ipl.3390" --append "$line" | sed 's/^/    /'
    arguments+=(--volume "$SCENE/ipl.3390" --ipl 0A81)
else
    arguments+=(--append "$line")
fi

step "starting Hercules"
timeout --kill-after=5 "$PATIENCE" python3 "$ROOT/tests/guest/hercules.py" "${arguments[@]}" | tee "$LOG" | sed -u 's/^/    /'
grep -q '^hercules: disabled wait FFF$' "$LOG" || die "the image did not end in order"

if [[ -n $check ]]; then
    tests=$(sed -nE 's/^([1-9][0-9]*) passed, 0 failed.*/\1/p' "$LOG")
    [[ -n $tests ]] || die "not all tests have passed"
    step "comparing with what the host sees in the volume"
    compared=$(python3 "$ROOT/tests/guest/dasd.py" check "$VOLUME" 24 "$LOG" 0.0.0a80)
    SUMMARY="$tests tests; ${compared#*: }"
fi
