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
# tested, and a line says so. The cases are in nested.py; what the machines of one that failed printed stays in target/vfio-ccw/.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

needs "$TEST_IMAGE_ELF" qemu-system-s390x python3 cpio
status=0
"$ROOT/scripts/client.sh" --with-vfio-ccw || status=$?
if ((status == 75)); then
    say "SKIPPED: vfio-ccw is NOT tested: the packages for the middle machine cannot be had"
    say "0 passed, 0 failed"
    exit 0
fi
((status == 0)) || exit "$status"

# The image in the middle machine: /image, without its symbols for the debugger.
tree=$TARGET/vfio-ccw/tree
mkdir -p "$tree"
"${CROSS:-s390x-linux-gnu-}strip" -o "$tree/image" "$TEST_IMAGE_ELF" 2>/dev/null || cp "$TEST_IMAGE_ELF" "$tree/image"
(cd "$tree" && echo image | cpio --create --format=newc --quiet) >"$TARGET/vfio-ccw/image.cpio"

exec python3 "$ROOT/tests/run.py" vfio-ccw --backend ccw --limit 1200 "$@"
