#!/bin/sh
# Install etcd and Patroni for `make cluster`, without services of their own.
set -eu
command -v patroni >/dev/null 2>&1 && command -v etcd >/dev/null 2>&1 && exit 0
[ "$(id -u)" = 0 ] || { echo "cluster: not root; an administrator can run: apt-get install --no-install-recommends patroni etcd-server python3-etcd python3-psycopg2" >&2; exit 1; }
echo "cluster: installing patroni and etcd-server"
apt-get -qq update >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends patroni etcd-server python3-etcd python3-psycopg2 >/dev/null
