#!/usr/bin/env bash
# Runs the whole pipeline on this machine, on real parts: Pub/Sub, partners, DirectRunner.
#   ./run_local.sh          ends by itself with a table of what became of every event
#   ./run_local.sh --keep   stays up until Ctrl-C
set -euo pipefail
cd "$(dirname "$0")"
source ./venv.sh
rm -rf .run_local
exec .venv/bin/python -m sandbox.run_local "$@"
