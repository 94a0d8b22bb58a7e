#!/bin/sh
# Install node-opcua for tests/peers/opcua where it is missing, exactly as its lock file says.
set -eu
cd "$(dirname "$0")/opcua"
stamp=node_modules/.plantgate-lock
if [ -f "$stamp" ] && cmp -s package-lock.json "$stamp"; then
    exit 0
fi
echo "peers: installing node-opcua"
npm ci --no-audit --no-fund --ignore-scripts --silent
cp package-lock.json "$stamp"
