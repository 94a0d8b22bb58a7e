#!/bin/sh
# Install PostgreSQL for the receiver's store, without the cluster that the package would make.
set -eu
[ -x /usr/lib/postgresql/15/bin/initdb ] && exit 0
[ "$(id -u)" = 0 ] || { echo "peers: not root, so tests of PostgreSQL may be left out; an administrator can run: apt-get install --no-install-recommends postgresql-15" >&2; exit 0; }
echo "peers: installing postgresql-15"
mkdir -p /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/plantgate.conf
apt-get -qq update >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends postgresql-15 >/dev/null
