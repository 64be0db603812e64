#!/usr/bin/env bash
# Builds the appliance image and the host program.
#
#   scripts/build.sh [image|host]          both, when nothing is named
#
#   target/image/stellwerk.{elf,bin,ins}   the image: for QEMU's -kernel, raw, and for list-directed IPL
#   target/release/stellwerk               the host program
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
use_toolchain run
cd "$ROOT"

build_image() {
    step "build: the appliance image"
    image_cargo build --profile appliance -p stellwerk-appliance --bin stellwerk-appliance
    "$CARGO" run -q --release -p xtask -- image "$TARGET/$IMAGE_TARGET/appliance/stellwerk-appliance" --out "$TARGET/image"
}

build_host() {
    step "build: the host program"
    "$CARGO" build --release -p stellwerk
}

case ${1:-all} in
    image) build_image ;;
    host) build_host ;;
    all)
        build_image
        build_host
        ;;
    *) die "usage: scripts/build.sh [image|host]" ;;
esac
