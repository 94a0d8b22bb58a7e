#!/bin/sh
# Install or renew plantgate from the folder this script lies in, without internet.
#   install.sh              as root: /opt/plantgate, /etc/plantgate, user plantgate, the services
#   install.sh --root DIR   the same files below DIR; no user, no service (to look at it first)
# Guarantees: nothing is switched over before the new release is complete and the services' user can
# run it, whatever umask root has; site file, data and the releases before stay; a second run changes
# nothing; a gateway that runs goes on with its release. PYTHON=… chooses the interpreter.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
root=
if [ "${1:-}" = --root ] && [ -n "${2:-}" ]; then
    mkdir -p "$2"
    root=$(cd "$2" && pwd)
elif [ $# -gt 0 ]; then
    echo "install: I know no '$1'; use: install.sh [--root DIR]" >&2
    exit 2
elif [ "$(id -u)" != 0 ]; then
    echo "install: run it as root (sudo $0), or with --root DIR to look at what it makes" >&2
    exit 2
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "install: $python is missing or older than 3.11; say PYTHON=/path/to/python3.11" >&2
    exit 2
}
(cd "$here" && sha256sum --quiet --check SHA256SUMS) || {
    echo "install: a file is damaged or missing (above): copy the bundle to this machine again" >&2
    exit 2
}
wheel=$(ls "$here"/wheels/plantgate-*.whl)
version=$(basename "$wheel" | cut -d- -f2)
release=$version-$(sha256sum < "$here/SHA256SUMS" | cut -c1-8)
place=$root/opt/plantgate/releases/$release
if [ ! -e "$place/complete" ]; then
    rm -rf "$place" # of an install that was cut off: it was never used
    mkdir -p "$root/opt/plantgate/releases"
    echo "install: making $place"
    "$python" -m venv "$place" || {
        echo "install: cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
        exit 2
    }
    (cd "$here" && "$place/bin/python" -m pip --quiet --disable-pip-version-check install --no-index \
        --find-links wheels --require-hashes -r run.txt) || {
        echo "install: the bundle is for another Python or architecture: $(basename "$here"); this is $("$python" -V), $(uname -m)" >&2
        exit 2
    }
    "$place/bin/python" -m pip --quiet --disable-pip-version-check install --no-index --no-deps "$wheel"
    mkdir -p "$place/share"
    cp "$here"/share/* "$place/share/"
    : > "$place/complete"
fi
if [ -z "$root" ]; then
    id plantgate >/dev/null 2>&1 || useradd --system --user-group --home-dir /var/lib/plantgate --shell /usr/sbin/nologin plantgate
    runuser -u plantgate -- "$place/bin/plantgate" --version >/dev/null 2>&1 || {
        echo "install: user plantgate cannot run $place/bin/plantgate: is $python below somebody's home? PYTHON=/usr/bin/python3 says another; rm -r $place first; what ran before stays in use" >&2
        exit 2
    }
fi
ln -sfn "releases/$release" "$root/opt/plantgate/current"
mkdir -p "$root/usr/local/bin" "$root/etc/systemd/system" "$root/etc/plantgate"
ln -sfn /opt/plantgate/current/bin/plantgate "$root/usr/local/bin/plantgate"
cp "$here"/*.service "$root/etc/systemd/system/"
cp "$here/share/sample.toml" "$root/etc/plantgate/sample.toml"
cp "$here/receiver.env" "$root/etc/plantgate/receiver.env.sample"
echo "install: plantgate $release is in $root/opt/plantgate/current"
[ -z "$root" ] || exit 0
chown root:plantgate /etc/plantgate
chmod 0750 /etc/plantgate
systemctl daemon-reload 2>/dev/null || echo "install: systemd does not run here: start plantgate your own way"
cat <<'NEXT'
A receiver 接收端: RECEIVER.md beside this script. A gateway 网关, next 下一步:
  1. write /etc/plantgate/site.toml (sample.toml beside it explains every key); data_dir = "/var/lib/plantgate"
  2. sudo -u plantgate plantgate check /etc/plantgate/site.toml
  3. systemctl enable --now plantgate; journalctl -u plantgate -f
After an upgrade 升级后: systemctl restart plantgate (plantgate-receiver)
NEXT
