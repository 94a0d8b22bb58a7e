#!/bin/sh
# Renew the locks. They hold hashes and no address, so that any mirror or offline folder serves.
set -eu
bin=$1
for kind in run dev; do
    extras="--extra build --extra postgres --extra nats" # a receiver installs from the bundle too
    [ "$kind" = dev ] && extras="$extras --extra dev --extra expressions"
    # shellcheck disable=SC2086
    "$bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
        --no-header $extras pyproject.toml --output-file "deploy/lock/$kind.txt"
done
