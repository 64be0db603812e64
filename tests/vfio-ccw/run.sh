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
# In the case `laid` that QEMU has in it what is loaded into the appliance's QEMU. For it Rust's standard library is built along (a minute
# or two, once), since none for s390x has to be there.
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

# What is loaded into QEMU there, and what starts it so, for s390x.
use_toolchain test
(cd "$ROOT" && quietly "$TARGET/log/lay" linux_cargo build -p stellwerk-test-lay -p stellwerk-overlay)

# What of ours is in the middle machine; the image without its symbols for the debugger.
tree=$TARGET/vfio-ccw/tree made=$TARGET/$LINUX_TARGET/release
rm -rf "$tree"
mkdir -p "$tree"/{bin,lib}
"${LINUX_CROSS}strip" -o "$tree/image" "$TEST_IMAGE_ELF" 2>/dev/null || cp "$TEST_IMAGE_ELF" "$tree/image"
cp "$made/lay" "$tree/bin/"
cp "$made/libstellwerk_overlay.so" "$("${LINUX_CROSS}gcc" -print-file-name=libgcc_s.so.1)" "$tree/lib/"
(cd "$tree" && find . | LC_ALL=C sort | cpio --create --format=newc --quiet) >"$TARGET/vfio-ccw/ours.cpio"

exec python3 "$ROOT/tests/run.py" vfio-ccw --backend ccw --limit 1200 "$@"
