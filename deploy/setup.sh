#!/bin/sh
# Make a virtual environment from a hashed lock: setup.sh PYTHON VENV run|dev
# Says what it does in one line a step, and in one sentence what is missing when it cannot.
set -eu
python=$1 venv=$2 kind=$3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "setup: $python is missing or older than 3.11; install Python 3.11 or later, or say PYTHON=/path/to/python3" >&2
    exit 2
}
if [ ! -x "$venv/bin/python" ]; then
    echo "setup: making $venv"
    "$python" -m venv "$venv" || {
        echo "setup: cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
        exit 2
    }
fi
echo "setup: installing the packages of deploy/lock/$kind.txt"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "deploy/lock/$kind.txt"
PYTHONWARNINGS=ignore "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
touch "$venv/.$kind"
[ "$kind" = dev ] && touch "$venv/.run"
exit 0
