#!/usr/bin/env bash
# Versions: a daemon of an earlier version and the present one follow each other, under load.
#
#   tests/versions/run.sh [CASE…]
#
# The earlier version is the first of this history that leaves records of the present versions to its successor; STELLWERK_EARLIER=COMMIT
# names another one. It is built once, in target/versions/. Without a history, and where the present version is the first, the case is
# skipped. What failed stays in target/versions/.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

needs "$IMAGE_ELF" "$HOST_PROGRAM" qemu-system-s390x python3 git
use_toolchain run
cd "$ROOT"
OUT=$TARGET/versions/earlier

# first_with FILE: the first commit since which the version that FILE writes is the present one.
first_with() {
    local line
    line=$(grep -h 'const VERSION: u32 =' "$1")
    git log --format='%ct %H' -S"$line" -- "$1" | head -n 1
}

earlier() {
    if [[ -n ${STELLWERK_EARLIER:-} ]]; then
        git rev-parse --verify "$STELLWERK_EARLIER^{commit}"
    else
        { first_with host/src/daemon/handover.rs && first_with host/src/vhost/state.rs; } | sort -n | tail -n 1 | cut -d' ' -f 2
    fi
}

build() {
    [[ $(cat "$OUT/commit" 2>/dev/null) != "$1" ]] || return 0
    step "versions: building the daemon of $(git log -1 --format='%h, %as' "$1")"
    rm -rf "$OUT"
    mkdir -p "$OUT/source"
    git archive "$1" | tar -x -C "$OUT/source"
    (cd "$OUT/source" && CARGO_TARGET_DIR=$OUT/build "$CARGO" build -q --release -p stellwerk -p stellwerk-overlay)
    echo "$1" >"$OUT/commit"
}

commit=$(earlier 2>/dev/null || true)
if [[ -z $commit ]]; then
    warn "there is no history here in which an earlier version could be found"
elif git diff --quiet "$commit" HEAD -- host crates overlay; then
    warn "no earlier version leaves what the present one understands"
else
    build "$commit"
    export STELLWERK_EARLIER_PROGRAM=$OUT/build/release/stellwerk
fi
exec python3 "$ROOT/tests/run.py" versions "$@"
