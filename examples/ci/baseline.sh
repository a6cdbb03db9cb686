#!/bin/sh
# Trains the seeds of the main branch and writes what later changes are compared with.
# Run it where the gate runs, look at the difference, and commit it.
#
#   sh examples/ci/baseline.sh baseline.json
set -eu
baseline="$1"
TELEMETRY_STORE=$(mktemp -d)
export TELEMETRY_STORE

python "$(dirname "$0")/train.py" --tag main
telemetry export tag=main --baseline "$baseline"
