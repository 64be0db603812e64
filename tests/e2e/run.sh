#!/usr/bin/env bash
# End to end: stock Debian clients on disks that Stellwerk serves.
#
#   tests/e2e/run.sh [--backend stellwerk|qsd] [CASE…]
#
# A case is a function `case_…` of whatever files are here: the host's side, a story told with a scene (tests/fixture/scene.py). The
# client's side is in client/, one file for each thing that a client does; it becomes /t.sh in the client's initramfs.
#
# With --backend qsd the same cases run against qemu-storage-daemon: the control group. What fails there is not
# Stellwerk's fault, and what is about the appliance is skipped. What failed stays in target/e2e/.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

[[ $EUID -eq 0 ]] || warn "not root: the case full_file_system mounts a file system, and will be skipped"
use_toolchain test
"$ROOT/scripts/client.sh" --with-fio
"$ROOT/tests/load/build.sh"
exec python3 "$ROOT/tests/run.py" e2e "$@"
