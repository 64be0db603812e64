# shellcheck shell=bash
# What the runners below tests/ share: cases that run one after the other, each in a process of its own, with one line
# each for the reader and a last line that counts them: passed, failed, and skipped because something is missing here.
#
# To be sourced after scripts/lib.sh, by a script that defines `run_case NAME`. That runs with every failing command
# ending it and named; its output is kept and shown when the case fails. Statements of a case are none of them a condition
# of another one, where a failure would be none. What starts processes sets its own EXIT trap.

# says LOG PATTERN: some line of LOG, carriage returns apart, matches the extended regular expression.
says() {
    grep -qE -- "$2" <(tr -d '\r' <"$1") && return
    warn "nothing says: $2"
    grep -E '^FAIL' "$1" || tail -n 5 "$1"
    return 1
}

# silent LOG PATTERN: no line does.
silent() { ! grep -E -- "$2" "$1" || { warn "something says: $2"; return 1; }; }

# cases_of SCRIPT…: "NAME WHAT" for each function `case_NAME() { # WHAT` of scripts.
cases_of() { sed -nE 's/^case_([a-z_]+)\(\) \{ # (.*)/\1 \2/p' "$@"; }

# skip WHY: end a case that cannot run here, and why. It is counted as skipped, not as passed.
SKIPPED=77
skip() {
    warn "skipped: $1"
    exit "$SKIPPED"
}

# run_cases OUT [CASE…]: run the cases that standard input names, a line "NAME WHAT" each, or of these the ones asked
# for. Output goes to OUT/NAME.log. Fails if a case does, or if there is none of that name.
run_cases() {
    local out=$1 name what started ms verdict passed=0 failed=() skipped=() status left
    shift
    left=" $* "
    mkdir -p "$out"
    # In a condition, or before `||`, nothing that fails within a case would end it.
    (
        set -e
        false
        true
    ) &
    if wait $!; then die "run_cases is called where failures go unnoticed"; fi
    CASE_RUNNING=''
    trap '[[ -z $CASE_RUNNING ]] || { kill -TERM "$CASE_RUNNING" && wait "$CASE_RUNNING"; } 2>/dev/null || true' EXIT
    while read -r name what; do
        (($# == 0)) || [[ $left == *" $name "* ]] || continue
        left=${left/ $name / }
        started=$(now_ms)
        (
            set -eEuo pipefail
            trap 'warn "$(basename "${BASH_SOURCE[0]}"), line $LINENO: $BASH_COMMAND"' ERR
            run_case "$name"
        ) >"$out/$name.log" 2>&1 </dev/null &
        CASE_RUNNING=$!
        status=0
        wait "$CASE_RUNNING" || status=$?
        case $status in
            0) passed=$((passed + 1)) verdict=ok ;;
            "$SKIPPED") skipped+=("$name") verdict=skipped ;;
            *) failed+=("$name") verdict=FAILED ;;
        esac
        CASE_RUNNING=''
        ms=$(($(now_ms) - started))
        printf '%-7s %-26s %3d.%d s  %s\n' "$verdict" "$name" $((ms / 1000)) $((ms % 1000 / 100)) "$what"
        [[ $verdict != skipped ]] || grep -a 'skipped: ' "$out/$name.log" | sed 's/^/        /' || true
        [[ $verdict != FAILED ]] || tail -n 30 "$out/$name.log" | sed 's/^/        /'
    done
    trap - EXIT
    [[ -z ${left// /} ]] || { warn "there is no case$left"; failed+=("$left"); }
    ((${#failed[@]} == 0)) || say "failed: ${failed[*]} (logs in $out)"
    ((${#skipped[@]} == 0)) || say "skipped: ${skipped[*]}"
    say "$passed passed, ${#failed[@]} failed, ${#skipped[@]} skipped"
    ((${#failed[@]} == 0))
}
