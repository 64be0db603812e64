#!/usr/bin/env bash
# Containment: what is wrong with one disk, client, file or peer stays there. Faults on purpose, beside somebody who must
# not notice.
#
#   tests/contain/run.sh [CASE…]
#
# The clients are no VMs but vhost-user front ends and drivers of areas in Python (tests/fixture/front.py, area.py), against the real
# daemon and the real appliance in QEMU, so a case takes seconds. The cases are the functions `case_…` of whatever files are here.
# Each runs in a mount namespace of its own, with a time limit. They need unshare(1) that works, and for
# files that hang /dev/fuse: what cannot run is said before it starts, and counted as skipped. What failed stays in target/contain/.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

needs "$IMAGE_ELF" "$HOST_PROGRAM" qemu-system-s390x qemu-storage-daemon qemu-img python3 unshare
namespace=(unshare --mount)
[[ $EUID -eq 0 ]] || namespace+=(--map-root-user)
"${namespace[@]}" true || die "each case runs in a mount namespace of its own, which is not to be had here: run this as root, allow user \
namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), or give the container CAP_SYS_ADMIN"
[[ -r /dev/fuse && -w /dev/fuse ]] ||
    warn "there is no /dev/fuse that may be used: cases with a file system that hangs will be skipped (modprobe fuse; --device /dev/fuse)"
exec python3 "$ROOT/tests/run.py" contain --namespace --limit 180 "$@"
