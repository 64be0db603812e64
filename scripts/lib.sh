# shellcheck shell=bash
# shellcheck disable=SC2034 # variables used by those who source this
# What all scripts share: messages, paths, the toolchain, and processes that are ended by their own id.
#
# To be sourced first. It changes into no directory and starts nothing. Everything that a script makes
# lies below $TARGET, which is `target/` of the workspace unless CARGO_TARGET_DIR says otherwise.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
[[ $TARGET == /* ]] || TARGET=$ROOT/$TARGET

# The Rust target of the image; it has no precompiled standard library anywhere, so core and alloc are built along.
IMAGE_TARGET=s390x-unknown-none-softfloat
IMAGE_ELF=$TARGET/image/stellwerk.elf
TEST_IMAGE_ELF=$TARGET/test-image/stellwerk.elf # the same with its tests and benchmarks in it
HOST_PROGRAM=$TARGET/release/stellwerk

# ---- messages -----------------------------------------------------------------------------------------------------

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

# needs FILE|PROGRAM…: what a script cannot do without: what scripts/build.sh makes, by its path, and programs.
needs() {
    local one
    for one; do
        case $one in
            /*) [[ -f $one ]] || die "there is no $one; scripts/build.sh image test-image host makes it" ;;
            *) command -v "$one" >/dev/null || die "$one is missing" ;;
        esac
    done
}

# help_asked ARGUMENT…: if the first asks for help, print what the script says at its top, and end.
help_asked() {
    case ${1:-} in
        -h | --help)
            sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
            exit
            ;;
    esac
}

# quietly LOG COMMAND…: run a long step with its output in LOG, and show that it goes on; show the end of the output
# when the step fails.
quietly() {
    local log=$1 status=0 ticker
    shift
    mkdir -p "$(dirname "$log")"
    tick "$log" &
    ticker=$!
    "$@" >"$log" 2>&1 || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    [[ ! -t 1 ]] || printf '\r\e[K'
    if ((status)); then
        warn "failed ($status): $*"
        tail -n 25 "$log" | sed 's/^/    /' >&2
        warn "the whole output is in $log"
    fi
    return "$status"
}

# tick LOG: on a terminal the seconds gone and the last line of LOG, else a line every half minute.
tick() {
    local log=$1 start=$SECONDS every=30
    trap 'kill $! 2>/dev/null; exit 0' TERM
    [[ ! -t 1 ]] || every=1
    while alive $$; do
        sleep "$every" >/dev/null 2>&1 &
        wait $!
        if [[ -t 1 ]]; then
            printf '\r\e[K    %d s  %.90s' $((SECONDS - start)) "$(tail -n 1 "$log" 2>/dev/null | tr -dc '[:print:]')"
        else
            printf '    … %d s\n' $((SECONDS - start))
        fi
    done
}

now_ms() { local t=${EPOCHREALTIME/[.,]/}; printf '%s\n' $((t / 1000)); }

# ---- toolchain ----------------------------------------------------------------------------------------------------

# use_toolchain LEVEL: make sure that everything for LEVEL (run, test, bench) is there and take it over.
use_toolchain() {
    "$ROOT/scripts/setup.sh" "$1"
    # shellcheck source=/dev/null
    source "$TARGET/toolchain.env"
}

# image_cargo COMMAND ARGUMENT…: cargo for the image's target, for which no standard library comes precompiled. Building
# one is still called unstable; the variable lets a stable toolchain do it. The libraries' small variants are taken: the
# appliance sorts and searches nothing large. Where the libraries' sources lie on this
# machine is nobody's business: their paths in messages are those that the compiler's makers see.
image_cargo() {
    local command=$1 sysroot
    sysroot=$("$RUSTC" --print sysroot)
    shift
    RUSTC_BOOTSTRAP=1 "$CARGO" "$command" --target "$IMAGE_TARGET" -Zbuild-std=core,alloc -Zbuild-std-features=optimize_for_size \
        --config "target.$IMAGE_TARGET.rustflags=['--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rust', '--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/crates']" "$@"
}

# linux_cargo COMMAND ARGUMENT…: cargo for programs that run in an s390x Linux; LINUX_CROSS is in front of the names of its compiler's
# tools. The standard library is built along, since none for it has to be there.
LINUX_TARGET=s390x-unknown-linux-gnu
LINUX_CROSS=s390x-linux-gnu-
[[ $(uname -m) != s390x ]] || LINUX_CROSS=
linux_cargo() {
    local command=$1
    shift
    RUSTC_BOOTSTRAP=1 "$CARGO" "$command" --target "$LINUX_TARGET" --release -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size \
        --config 'profile.release.panic="abort"' --config "target.$LINUX_TARGET.linker='${LINUX_CROSS}gcc'" "$@"
}

# version_at_least HAVE WANT: compare two dotted version numbers.
version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# ---- processes ----------------------------------------------------------------------------------------------------

# Every process that outlives one command is started by `spawn` and leads a group of its own, so that it, and what it
# started, can be ended by id and by nothing else.
SPAWNED=()

# spawn LOG COMMAND…: start COMMAND in the background with its output in LOG, which is there from now on; its id is in $REPLY.
spawn() {
    local log=$1
    shift
    : >"$log"
    setsid "$@" >>"$log" 2>&1 </dev/null &
    REPLY=$!
    SPAWNED+=("$REPLY")
}

alive() { kill -0 "$1" 2>/dev/null; }

# wait_gone PID SECONDS: wait until the process has ended; its exit status is in $REPLY. Fails when the time is over.
wait_gone() {
    local pid=$1 deadline=$((SECONDS + $2)) rc=0
    while alive "$pid"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
    wait "$pid" 2>/dev/null || rc=$?
    REPLY=$rc
    forget "$pid"
}

forget() {
    local pid kept=()
    for pid in "${SPAWNED[@]}"; do
        [[ $pid == "$1" ]] || kept+=("$pid")
    done
    SPAWNED=("${kept[@]}")
}

# end_all: the exit trap of every script that spawns.
end_all() {
    local pid i
    for ((i = ${#SPAWNED[@]} - 1; i >= 0; i--)); do
        pid=${SPAWNED[i]}
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${SPAWNED[@]}"; do
        wait_gone "$pid" 5 || true
        kill -KILL -- "-$pid" 2>/dev/null || true
    done
}

# wait_line LOG PATTERN SECONDS: wait until a line of LOG matches the extended regular expression; fails when the time is over.
wait_line() {
    local deadline=$((SECONDS + $3))
    until grep -qE -- "$2" "$1" 2>/dev/null; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}
