#!/usr/bin/env bash
# Builds the appliance image and the host program.
#
#   scripts/build.sh [image|test-image|host]…       image and host, when nothing is named
#
#   target/image/stellwerk.{elf,bin,ins}            the image: for QEMU's -kernel, raw, and for list-directed IPL
#   target/test-image/stellwerk.{elf,bin,ins}       the image with its tests and benchmarks in it
#   target/release/stellwerk                        the host program, and libstellwerk_overlay.so beside it, which is loaded into QEMU
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
use_toolchain run
cd "$ROOT"

# loadable PACKAGE OUT [LIMIT]: what QEMU and IPL load, at most LIMIT KiB of it.
loadable() {
    image_cargo build --profile appliance -p "$1" --features image
    "$CARGO" run -q --release -p xtask -- image "$TARGET/$IMAGE_TARGET/appliance/$1" "${@:2}"
}

build_image() {
    step "build: the appliance image"
    loadable stellwerk-appliance "$(dirname "$IMAGE_ELF")" 512
}

build_test-image() {
    step "build: the image with its tests"
    loadable stellwerk-test-image "$(dirname "$TEST_IMAGE_ELF")"
}

build_host() {
    step "build: the host program"
    "$CARGO" build --release -p stellwerk -p stellwerk-overlay
}

help_asked "$@"
parts=("$@")
((${#parts[@]})) || parts=(image host)
for part in "${parts[@]}"; do
    declare -F "build_$part" >/dev/null || die "usage: scripts/build.sh [image|test-image|host]…"
done
for part in "${parts[@]}"; do "build_$part"; done
