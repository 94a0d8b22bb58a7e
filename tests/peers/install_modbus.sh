#!/bin/sh
# Install modbus-serial for tests/peers/modbus_serial where it is missing, as its lock file says.
set -eu
cd "$(dirname "$0")/modbus_serial"
stamp=node_modules/.plantgate-lock
if [ -f "$stamp" ] && cmp -s package-lock.json "$stamp"; then
    exit 0
fi
echo "peers: installing modbus-serial"
npm ci --omit=optional --no-audit --no-fund --ignore-scripts --silent
cp package-lock.json "$stamp"
