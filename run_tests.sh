#!/usr/bin/env bash
# Installs into .venv, then runs every check: format, lint, types, import rules, tests.
#   ./run_tests.sh             all of it
#   ./run_tests.sh tests/sinks only these tests, with pytest's own arguments
#   ./run_tests.sh --faults    only the matrix of faults, all of it: it takes minutes
#   ./run_tests.sh --flink     only the whole pipeline on a Flink cluster, which it starts: it takes
#                              minutes, Java 17 and Maven (deploy/flink/README.md)
#   ./run_tests.sh --fuzz      only hostile inputs, millions of them, counted: some 20 minutes; with the
#                              arguments of `python -m tests.hostile`
#   ./run_tests.sh --mutants   only mutation testing, of all modules or of those that are named, such as
#                              sinks.segment: it takes an hour; the arguments of `python -m tests.mutants`
#   ./run_tests.sh --crashes   only the crashes: kill -9 at 50 moments and more, full disks, outages
set -euo pipefail
cd "$(dirname "$0")"
source ./venv.sh

if [ "${1:-}" = --flink ]; then
  CURRENTS_FLINK=1 exec .venv/bin/python -m pytest tests/flink \
    --override-ini log_cli=true --log-cli-level=INFO "${@:2}"
fi
if [ "${1:-}" = --fuzz ]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]' ||
    echo "atheris cannot be installed here: no inputs will be guided by coverage" >&2
  exec .venv/bin/python -m tests.hostile "${@:2}"
fi
if [ "${1:-}" = --mutants ]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[mutants]'
  exec .venv/bin/python -m tests.mutants "${@:2}"
fi
if [ "${1:-}" = --crashes ]; then
  CURRENTS_CRASHES=1 exec .venv/bin/python -m pytest tests/crashes "${@:2}"
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
