#!/usr/bin/env bash
# Installs into .venv, then runs every check: format, lint, types, import rules, tests.
#   ./run_tests.sh             all of it
#   ./run_tests.sh tests/sinks only these tests, with pytest's own arguments
#   ./run_tests.sh --faults    only the matrix of faults, all of it: it takes minutes
#   ./run_tests.sh --flink     only the whole pipeline on a Flink cluster, which it starts: it takes
#                              minutes, Java 17 and Maven (deploy/flink/README.md)
set -euo pipefail
cd "$(dirname "$0")"
source ./venv.sh

if [ "${1:-}" = --flink ]; then
  CURRENTS_FLINK=1 exec .venv/bin/python -m pytest tests/flink \
    --override-ini log_cli=true --log-cli-level=INFO "${@:2}"
fi
if [ "${1:-}" = --faults ]; then
  exec .venv/bin/python -m tests.faults "${@:2}"
fi
if [ $# -gt 0 ]; then
  exec .venv/bin/python -m pytest "$@"
fi
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy .
.venv/bin/lint-imports
exec .venv/bin/python -m pytest
