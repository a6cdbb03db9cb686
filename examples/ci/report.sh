#!/usr/bin/env bash
# Writes a diagnosis and a comparison into the summary of the job; `action.yml` says what the
# variables mean. Exit codes: 2 something is wrong, else that of the comparison, else of the diagnosis.
set -uo pipefail
export TELEMETRY_STORE="$STORE"
markdown=$(mktemp)

report() { # output, title, then the command; its exit code becomes an output of the step
    local output="$1" title="$2" code=0
    shift 2
    "$@" > "$markdown" || code=$?
    echo "$output=$code" >> "$GITHUB_OUTPUT"
    {
        echo "### $title"
        echo
        if [ "$code" -eq 2 ]; then echo "It could not be made; the log of the job says why."; fi
        cat "$markdown"
        echo
    } >> "$GITHUB_STEP_SUMMARY"
    return "$code"
}

diagnosed=0
report diagnose-exit-code Diagnosis \
    telemetry diagnose --md "--fail-on=$FAIL_ON_FINDING" -- "$RUN" || diagnosed=$?

compared=0
if [ -n "$BASE$BASELINE_FILE" ]; then
    report diff-exit-code Comparison \
        telemetry diff --md ${BASE:+"--base=$BASE"} ${BASELINE_FILE:+"--baseline-file=$BASELINE_FILE"} \
        "--candidate=${CANDIDATE:-$RUN}" ${METRIC:+"--metric=$METRIC"} "--margin=$MARGIN" \
        "--fail-on=$FAIL_ON_VERDICT" || compared=$?
fi

if [ "$diagnosed" -eq 2 ] || [ "$compared" -eq 2 ]; then exit 2; fi
if [ "$compared" -ne 0 ]; then exit "$compared"; fi
exit "$diagnosed"
