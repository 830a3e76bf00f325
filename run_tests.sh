#!/usr/bin/env bash
# Installs into .venv, then runs every check: format, lint, types, import rules, tests.
#   ./run_tests.sh             all of it
#   ./run_tests.sh tests/sinks only these tests, with pytest's own arguments
set -euo pipefail
cd "$(dirname "$0")"
source ./venv.sh

if [ $# -gt 0 ]; then
  exec .venv/bin/python -m pytest "$@"
fi
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy .
.venv/bin/lint-imports
exec .venv/bin/python -m pytest
