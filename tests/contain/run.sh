#!/usr/bin/env bash
# Containment: what is wrong with one disk, client, file or peer stays there. Faults on purpose, beside somebody who must
# not notice.
#
#   tests/contain/run.sh [CASE…]
#
# The clients are no VMs but vhost-user front ends and drivers of areas in Python (front.py, area.py), against the real
# daemon and the real appliance in QEMU, so a case takes seconds. The cases are the functions `case_…` of whatever files are here.
# Each runs in a mount namespace of its own, with a time limit. They need unshare(1) that works, and for
# files that hang /dev/fuse: what cannot run is said before it starts, and counted as skipped. What failed stays in target/contain/.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$here/../../scripts/lib.sh"
# shellcheck source=scripts/cases.sh
source "$here/../../scripts/cases.sh"

needs "$IMAGE_ELF" "$HOST_PROGRAM" qemu-system-s390x qemu-storage-daemon qemu-img python3 unshare
CASE_LIMIT=200
NAMESPACE=(unshare --mount)
[[ $EUID -eq 0 ]] || NAMESPACE+=(--map-root-user)
"${NAMESPACE[@]}" true || die "each case runs in a mount namespace of its own, which is not to be had here: run this as root, allow user \
namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), or give the container CAP_SYS_ADMIN"
[[ -r /dev/fuse && -w /dev/fuse ]] ||
    warn "there is no /dev/fuse that may be used: cases with a file system that hangs will be skipped (modprobe fuse; --device /dev/fuse)"
export PYTHONDONTWRITEBYTECODE=1

run_case() {
    "${NAMESPACE[@]}" timeout --kill-after=20 180 python3 "$here/contain.py" "$1" "$TARGET/contain/$1"
}

run_cases "$TARGET/contain" "$@" < <(python3 "$here/contain.py" --list)
