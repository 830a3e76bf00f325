# Makes .venv beside this file and installs the project into it; sourced by the run_*.sh commands.
# What is installed is what development takes, or the extra of setup.py that $currents_extra names.
# It installs again only when setup.py has changed since.

currents_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "currents needs Python 3.10 or newer; set PYTHON to one" >&2
  return 1
}

# What development takes holds all the rest.
currents_installed() {
  cmp -s setup.py .venv/installed-dev.py || cmp -s setup.py ".venv/installed-$1.py"
}

if ! currents_installed "${currents_extra:=dev}"; then
  echo "installing into .venv (a minute or two, once)" >&2
  python=$(currents_python)
  .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$currents_extra]"
  cp setup.py ".venv/installed-$currents_extra.py"
fi
