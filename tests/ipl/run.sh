#!/usr/bin/env bash
# IPL: a stock domain of libvirt's that boots from the disk that Stellwerk serves, and from nothing else.
#
#   tests/ipl/run.sh [CASE…]
#
# Firmware that can IPL from a virtio disk on PCI came with QEMU 11. Where the machine's own QEMU is older, one from Debian's archive is
# taken (tests/ipl/qemu.sh), for the client only; if there is none, the case is skipped. What failed stays in target/ipl/.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

needs "$IMAGE_ELF" "$HOST_PROGRAM" qemu-system-s390x python3
use_toolchain test
"$ROOT/scripts/client.sh" --with-zipl
"$ROOT/tests/ipl/qemu.sh" || (($? == 75)) # the case says that it is skipped
exec python3 "$ROOT/tests/run.py" ipl "$@"
