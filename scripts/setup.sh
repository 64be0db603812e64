#!/usr/bin/env bash
# Finds everything that the other scripts need, installs what is missing when it may, and says what to install when not.
#
#   scripts/setup.sh [run|hercules|test|bench]      run: the main job; the others need more
#
# What it looks for and takes: a Rust toolchain with the sources of the standard library (a rustup toolchain with the
# component rust-src, or Debian's rustc-web, cargo-web and rust-web-src), a linker for s390x, QEMU 9.2 or newer for s390x,
# and small tools. It checks the things themselves each time, trusts no stamp, and takes a fraction of a second when all
# is there. The toolchain it chose goes to target/toolchain.env, one for the host programs and the image alike.
#
# Installing is done with apt on Debian 12 and 13, as root or where sudo asks no password. On bookworm, whose QEMU is
# too old, the suite bookworm-backports is added to apt's sources. Other systems get the list.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

RUST_MIN=1.89
# The clients' arguments have reconnect-ms. The appliance alone is content with 8.1.
QEMU_MIN=9.2

help_asked "$@"
LEVEL=${1:-run}
case $LEVEL in
    run | hercules | test | bench) ;;
    *) die "usage: scripts/setup.sh [run|hercules|test|bench]" ;;
esac
NATIVE=
[[ $(uname -m) != s390x ]] || NATIVE=yes

# ---- what is needed -----------------------------------------------------------------------------------------------

# What is missing, in words, and the packages that have it; those from backports apart.
missing=() packages=() backports=()

# lacks WHAT PACKAGE…
lacks() {
    missing+=("$1")
    shift
    packages+=("$@")
}

# tool COMMAND PACKAGE [WHAT]: COMMAND has to be there. Administrators' directories count: nothing here needs root.
tool() {
    PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || lacks "${3:-$1}" "$2"
}

check_small_tools() {
    tool cc gcc "a C compiler for the host (cc)"
    [[ -e /usr/include/stdlib.h || -n ${NIX_CC:-} ]] || lacks "the C library's headers for the host" libc6-dev
    tool dpkg-deb dpkg
    tool apt-get apt
    tool cpio cpio
    tool xz xz-utils
    tool readelf binutils
    tool debugfs e2fsprogs "debugfs, e2fsck"
    tool partx util-linux
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg || -e /usr/share/keyrings/debian-archive-keyring.pgp ]] ||
        lacks "Debian's archive keys, for the client's packages" debian-archive-keyring
    [[ -e /etc/ssl/certs/ca-certificates.crt || -e /etc/pki/tls/certs/ca-bundle.crt || -e /etc/ssl/cert.pem ]] ||
        lacks "certificates, for fetching crates" ca-certificates
    tool python3 python3
    [[ $LEVEL == run ]] && return
    [[ $LEVEL == bench ]] || tool hercules hercules
    [[ $LEVEL == hercules ]] && return
    tool make make
    [[ -n $NATIVE ]] || tool s390x-linux-gnu-gcc gcc-s390x-linux-gnu "a C compiler for s390x, to build the client's fio"
    [[ -n $NATIVE || -e /usr/s390x-linux-gnu/include/stdlib.h ]] ||
        lacks "the C library's headers for s390x" libc6-dev-s390x-cross
    [[ $LEVEL == bench ]] && return
    tool shellcheck shellcheck
    tool libvirtd "libvirt-daemon libvirt-daemon-driver-qemu" "libvirt's daemon"
    tool virsh libvirt-clients
}

# GNU ld or LLVM's, whichever there is; an lld older than 18 knows no s390x.
find_linker() {
    local ld
    for ld in s390x-linux-gnu-ld ${NATIVE:+ld} ld.lld rust-lld; do
        command -v "$ld" >/dev/null || continue
        [[ $ld != *lld ]] || "$ld" -flavor gnu -V 2>/dev/null | grep -qE 'LLD (1[89]|[2-9][0-9])' || continue
        linker=$ld
        return
    done
    lacks "a linker for s390x (s390x-linux-gnu-ld, or lld 18 or newer)" binutils-s390x-linux-gnu
}

find_qemu() {
    local program version
    [[ $LEVEL != hercules ]] || return 0
    for program in qemu-system-s390x qemu-storage-daemon; do
        [[ $program == qemu-system-s390x || $LEVEL == test || $LEVEL == bench ]] || continue
        version=$("$program" --version 2>/dev/null | sed -n '1s/.*version \([0-9.]*\).*/\1/p') || version=
        [[ -n $version ]] && version_at_least "$version" "$QEMU_MIN" && continue
        missing+=("$program $QEMU_MIN or newer${version:+ (there is $version)}")
        if [[ $program == qemu-system-s390x ]]; then backports+=(qemu-system-s390x); else backports+=(qemu-utils); fi
    done
}

# ---- the Rust toolchain -------------------------------------------------------------------------------------------

# use_rust CARGO RUSTC: take this toolchain when it is complete; otherwise say in $why what it lacks.
use_rust() {
    local bin version sysroot
    bin=$(dirname "$2")
    [[ -x $1 && -x $2 ]] || { why="no cargo and rustc"; return 1; }
    version=$("$2" --version | cut -d' ' -f2)
    version_at_least "$version" "$RUST_MIN" || { why="$2 is $version, older than $RUST_MIN"; return 1; }
    sysroot=$("$2" --print sysroot)
    [[ -e $sysroot/lib/rustlib/src/rust/library/core/src/lib.rs ]] || { why="$2 has no rust-src"; return 1; }
    [[ $LEVEL != test || -x $bin/cargo-clippy && -x $bin/clippy-driver ]] || { why="$2 has no clippy"; return 1; }
    cargo=$1 rustc=$2
}

# The toolchain that comes first in PATH, as real files: rustup's proxies would look at the directory they are run in.
first_rust() {
    if command -v rustup >/dev/null; then
        cd "$ROOT" && cargo=$(rustup which cargo 2>/dev/null) && rustc=$(rustup which rustc 2>/dev/null)
    else
        cargo=$(command -v cargo) && rustc=$(command -v rustc)
    fi
}

find_rust() {
    local cargo_first='' rustc_first=''
    if first_rust; then
        cargo_first=$cargo rustc_first=$rustc
        use_rust "$cargo_first" "$rustc_first" && return
    fi
    use_rust /usr/bin/cargo /usr/bin/rustc && return
    if [[ -n $cargo_first && ! -x /usr/bin/cargo ]] && command -v rustup >/dev/null; then
        step "setup: adding rust-src to the rustup toolchain"
        quietly "$TARGET/log/rustup" timeout 60 rustup component add rust-src clippy rustfmt || true
        use_rust "$cargo_first" "$rustc_first" && return
    fi
    lacks "a Rust toolchain, $RUST_MIN or newer, with rust-src${why:+ ($why)}" rustc-web cargo-web rust-web-src
    if [[ $LEVEL == test ]]; then packages+=(rust-web-clippy); fi
    cargo='' rustc=''
}

# Any rustfmt will do, the toolchain's own first.
find_rustfmt() {
    local bin
    for bin in "$(dirname "$rustc")" /usr/bin "$(dirname "$(command -v rustfmt || echo /)")"; do
        [[ -x $bin/rustfmt && -x $bin/cargo-fmt ]] || continue
        rustfmt=$bin/rustfmt
        return
    done
    [[ $LEVEL != test ]] || lacks "rustfmt" rustfmt-web
}

# ---- looking, installing, reporting -------------------------------------------------------------------------------

look() {
    missing=() packages=() backports=()
    cargo='' rustc='' rustfmt='' linker='' why=''
    find_rust
    find_rustfmt
    find_linker
    find_qemu
    check_small_tools
}

release() { . /etc/os-release 2>/dev/null && printf '%s' "${ID:-}-${VERSION_CODENAME:-}"; }

# Prints the source line for backports when apt does not have that suite yet.
backports_source() {
    # shellcheck disable=SC2016 # apt's variables, not the shell's
    local targets uri
    targets=$(apt-get indextargets --format "\$(CODENAME) \$(REPO_URI) \$(SIGNED_BY)" 'Created-By: Packages')
    grep -q '^bookworm-backports ' <<<"$targets" && return
    uri=$(sed -n 's/^bookworm \([^ ]*\).*/\1/p' <<<"$targets" | head -n 1)
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bookworm-backports main\n' "$uri"
}

# The commands that install what is missing, one to a line.
plan() {
    local source suite=''
    if [[ $(release) == debian-bookworm && ${#backports[@]} -gt 0 ]]; then
        suite='-t bookworm-backports'
        source=$(backports_source)
        [[ -z $source ]] ||
            printf "sh -c 'echo \"%s\" > /etc/apt/sources.list.d/stellwerk-backports.list'\n" "$source"
    fi
    printf 'apt-get -q update\n'
    [[ ${#packages[@]} -eq 0 ]] || printf 'apt-get -q -y --no-remove --no-install-recommends install %s\n' "${packages[*]}"
    [[ ${#backports[@]} -eq 0 ]] || printf 'apt-get -q -y --no-remove --no-install-recommends %s install %s\n' "$suite" "${backports[*]}"
}

install_missing() {
    local line
    step "setup: missing: $(printf '%s; ' "${missing[@]}" | sed 's/; $//')"
    while read -r line <&3; do
        step "setup: ${line#sh -c }"
        # shellcheck disable=SC2086 # a line of the plan is words for the shell
        quietly "$TARGET/log/apt" env DEBIAN_FRONTEND=noninteractive "${become[@]}" sh -c "$line" || return
    done 3< <(plan)
}

report() {
    warn "these are missing:"
    printf '    - %s\n' "${missing[@]}" >&2
    case $(release) in
        debian-bookworm | debian-trixie)
            warn "to install them, as root:"
            plan | sed 's/^/    /' >&2
            ;;
        *) warn "install them by the means of this system (only Debian 12 and 13 are set up automatically)" ;;
    esac
    exit 1
}

# What a few cases of the tests need and no package has. Without it they are skipped.
provide_fuse() {
    [[ $LEVEL == test && ! -e /dev/fuse ]] || return 0
    [[ $EUID -ne 0 ]] || modprobe fuse 2>/dev/null || true
    [[ -e /dev/fuse ]] || warn "there is no /dev/fuse (modprobe fuse; --device /dev/fuse): cases with a file system that hangs will be skipped"
}

write_environment() {
    local env new
    env=$TARGET/toolchain.env
    new=$(
        printf '# Written by scripts/setup.sh: the toolchain for the host programs and the image.\n'
        printf 'export CARGO=%q RUSTC=%q RUSTDOC=%q\n' "$cargo" "$rustc" "$(dirname "$rustc")/rustdoc"
        [[ -z $rustfmt ]] || printf 'export RUSTFMT=%q\n' "$rustfmt"
        [[ $linker == s390x-linux-gnu-ld ]] || printf 'export CARGO_TARGET_%s_LINKER=%q\n' S390X_UNKNOWN_NONE_SOFTFLOAT "$linker"
        # cargo finds its subcommands (clippy, fmt) by PATH; administrators' directories have e2fsprogs.
        printf "export PATH=%q:\$PATH:/usr/sbin:/sbin\n" "$(dirname "$rustc")"
    )
    [[ -e $env && $(<"$env") == "$new" ]] && return
    mkdir -p "$TARGET"
    printf '%s\n' "$new" >"$env"
}

look
if ((${#missing[@]})); then
    become=()
    if [[ $EUID -ne 0 ]]; then
        if sudo -n true 2>/dev/null; then become=(sudo); else report; fi
    fi
    case $(release) in
        debian-bookworm | debian-trixie) install_missing || report ;;
        *) report ;;
    esac
    look
    ((${#missing[@]} == 0)) || report
fi
write_environment
provide_fuse
