#!/bin/sh
# Makes or updates a virtual environment from a hashed lock, then installs this project
# into it in editable form, without network access for the build.
#
#   scripts/venv.sh .venv requirements.lock
#
# PYTHON names the interpreter (default python3). What is missing on the machine gets one
# line that says what to install.
set -eu

venv=$1
lock=$2
python=${PYTHON:-python3}

fail() {
    echo "setup: $1" >&2
    exit 1
}

if ! command -v "$python" >/dev/null 2>&1; then
    fail "'$python' was not found; install Python 3.11 or later (Debian: apt-get install python3 python3-venv) or name one: make setup PYTHON=/path/to/python3"
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    fail "'$python' is Python $version, but 3.11 or later is needed; install one and name it: make setup PYTHON=python3.11"
fi
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    fail "'$python' has no venv module; install it (Debian: apt-get install python3-venv)"
fi

# A venv whose interpreter was removed or replaced by an older one is made anew.
if ! "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    echo "setup: making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

echo "setup: installing $lock into $venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
