# shellcheck shell=bash
# What the runners below tests/ share: cases that run one after the other, each in a process of its own and for a limited time, with
# one line each for the reader and a last line that counts them: passed, failed, and skipped because something is missing here.
# Nobody has to be told of a case: those in files of shell are found by `cases_of` and `cases_in`.
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
cases_of() {
    local stray
    if stray=$(grep -hE '^ *(function +)?case_' "$@" | grep -vE '^case_[a-z0-9_]+\(\) \{ # .'); then
        die "not written as case_NAME() { # what it proves: $stray"
    fi
    sed -nE 's/^case_([a-z0-9_]+)\(\) \{ # (.*)/\1 \2/p' "$@"
}

# cases_in DIRECTORY: the same for each file NAME.sh with a line `proves "WHAT"`.
cases_in() {
    local file
    for file in "$1"/*.sh; do
        printf '%s %s\n' "$(basename "$file" .sh)" "$(sed -n 's/^proves "\(.*\)"$/\1/p' "$file")"
    done
}

# skip WHY: end a case that cannot run here, and why. It is counted as skipped, not as passed.
SKIPPED=77
skip() {
    warn "skipped: $1"
    exit "$SKIPPED"
}

# Seconds that a case may take, unless its runner says something else. It is there for what hangs, so it is more than any needs.
CASE_LIMIT=600

# end_case PID: the case, and what it waits for, end; what it has started is ended by its own trap.
end_case() {
    local children
    mapfile -t children < <(pgrep -P "$1")
    kill -TERM "$1" "${children[@]}" 2>/dev/null || true
    wait_gone "$1" 60 || kill -KILL "$1" "${children[@]}" 2>/dev/null || true
}

# run_cases OUT [CASE…]: run the cases that standard input names, a line "NAME WHAT" each, or of these the ones asked
# for; with --help, say which there are. Output goes to OUT/NAME.log. Fails if a case does, or if there is none of that name.
run_cases() {
    local out=$1 name what started ms verdict passed=0 failed=() skipped=() status left
    shift
    if [[ ${1:-} == --help ]]; then
        while read -r name what; do printf '%-26s %s\n' "$name" "$what"; done
        return
    fi
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
    trap '[[ -z $CASE_RUNNING ]] || end_case "$CASE_RUNNING"' EXIT
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
        if wait_gone "$CASE_RUNNING" "$CASE_LIMIT"; then
            status=$REPLY
        else
            end_case "$CASE_RUNNING"
            printf 'it has not ended within %s s\n' "$CASE_LIMIT" >>"$out/$name.log"
            status=124
        fi
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
    ((passed + ${#failed[@]} + ${#skipped[@]} > 0)) || [[ -n ${left// /} ]] || left=' at all'
    [[ -z ${left// /} ]] || { warn "there is no case$left"; failed+=("$left"); }
    ((${#failed[@]} == 0)) || say "failed: ${failed[*]} (logs in $out)"
    ((${#skipped[@]} == 0)) || say "skipped: ${skipped[*]}"
    say "$passed passed, ${#failed[@]} failed, ${#skipped[@]} skipped"
    ((${#failed[@]} == 0))
}
