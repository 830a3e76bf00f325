#!/usr/bin/env bash
# Runs the whole pipeline on this machine, on real parts: Pub/Sub, partners, DirectRunner.
#   ./run_local.sh          ends by itself with a table of what became of every event
#   ./run_local.sh --keep   publishes events until Ctrl-C; its page shows the run and has switches
#                           to make partners fail
set -euo pipefail
cd "$(dirname "$0")"
currents_extra=sandbox
source ./venv.sh
exec .venv/bin/python -m sandbox.run_local "$@"
