#!/bin/sh
# Trains the same seeds with the code of a change and compares them with the baseline in git.
# Exit codes: 0 not worse, 1 val_loss is worse by more than the margin, 2 something is wrong.
#
#   sh examples/ci/gate.sh baseline.json [options of train.py]
set -eu
baseline="$1"
shift
TELEMETRY_STORE=$(mktemp -d)
export TELEMETRY_STORE

python "$(dirname "$0")/train.py" --tag candidate "$@" || exit 2  # a crash is no regression
telemetry diff --baseline-file "$baseline" --candidate tag=candidate \
    --metric val_loss --margin 0.5% --fail-on regression \
    --github --junit telemetry-diff.xml
