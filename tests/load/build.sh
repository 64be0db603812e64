#!/usr/bin/env bash
# Builds what of ours runs in a stock client beside its init script: target/client/load.cpio, to be appended to base.cpio.
#
#   tests/load/build.sh
#
# Rust's standard library is built along (a minute or two, once), since none for s390x has to be there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

needs cpio
use_toolchain test
(cd "$ROOT" && quietly "$TARGET/log/load" linux_cargo build -p stellwerk-test-load)
tree=$TARGET/client/load-tree
rm -rf "$tree"
mkdir -p "$tree"/{bin,lib}
cp "$TARGET/$LINUX_TARGET/release/load" "$tree/bin/"
cp "$("${LINUX_CROSS}gcc" -print-file-name=libgcc_s.so.1)" "$tree/lib/"
(cd "$tree" && find . | LC_ALL=C sort | cpio --create --format=newc --quiet) >"$TARGET/client/load.cpio"
