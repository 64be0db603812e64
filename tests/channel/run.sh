#!/usr/bin/env bash
# Channel I/O for clients, end to end: `stellwerk up` with subchannels to pass through, a second VM that drives some of
# them over its own area, and the host that drives the others.
#
#   tests/channel/run.sh [CASE…]
#
# The client is the image itself, with selftest=channel (the tests of subchannels, over the area) or selftest=attention. The
# device is an x-terminal3270 with tests/guest/peer.py behind it: of those that QEMU emulates, the only one that anybody gets. Cases
# are the functions `case_…` of whatever files are here; what the machines of a case that failed printed stays in target/channel/.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

needs "$IMAGE_ELF" "$TEST_IMAGE_ELF" "$HOST_PROGRAM" qemu-system-s390x python3
exec python3 "$ROOT/tests/run.py" channel "$@"
