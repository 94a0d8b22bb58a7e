#!/bin/sh
# Install the real counterparts that tests/peers uses, where they are missing. Says what it does.
# Without root or npm it says in one line which tests will be left out, and goes on.
set -u
cd "$(dirname "$0")" || exit 1

packages="iproute2 iptables gcc libc6-dev pkg-config libmodbus-dev mbpoll socat stunnel4 ffmpeg python3-gi gir1.2-gst-rtsp-server-1.0
 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
 gstreamer1.0-tools gstreamer1.0-rtsp mosquitto strace chromium"

missing=""
if command -v dpkg-query >/dev/null 2>&1; then
    for p in $packages; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
    done
    if [ -n "$missing" ] && [ "$(id -u)" = 0 ]; then
        echo "peers: installing$missing"
        apt-get -qq update >/dev/null &&
            DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null ||
            echo "peers: apt-get failed; tests of libmodbus, MQTT, RTSP and the console's pages may be left out" >&2
    elif [ -n "$missing" ]; then
        echo "peers: not root, so tests of libmodbus, MQTT, RTSP and the console's pages may be left out; an administrator can run:" >&2
        echo "       apt-get install -y --no-install-recommends$missing" >&2
    fi
else
    echo "peers: no Debian packages on this system: tests of libmodbus, MQTT, RTSP and the console's pages may be left out" >&2
fi

if command -v dpkg-query >/dev/null 2>&1; then
    ./install_postgres.sh || echo "peers: apt-get failed; tests of PostgreSQL will be left out" >&2
    ./install_proxies.sh || echo "peers: nginx or Envoy could not be installed; their tests will be left out" >&2
fi

./install_nats.sh || echo "peers: nats-server could not be installed; its tests will be left out" >&2

if command -v npm >/dev/null 2>&1; then
    ./install_modbus.sh || echo "peers: npm failed; tests of modbus-serial will be left out" >&2
    ./install_opcua.sh || echo "peers: npm failed; tests of node-opcua will be left out" >&2
else
    echo "peers: npm is missing, so tests of node-opcua and modbus-serial will be left out; install Node.js 18 or later" >&2
fi
exit 0
