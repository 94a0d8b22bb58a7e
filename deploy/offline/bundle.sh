#!/bin/sh
# Make one file that installs plantgate on a machine without internet: bundle.sh BIN [OUT]
# Holds the wheels of deploy/lock/run.txt (for this machine's Python and architecture), plantgate's
# own, the lock with its hashes, the units and install.sh. Needs a package index, once, here.
set -eu
bin=$1
out=${2:-build/offline}
version=$("$bin/python" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
tag=$("$bin/python" -c 'import platform, sys; print(f"py{sys.version_info[0]}.{sys.version_info[1]}-{platform.machine()}")')
name=plantgate-$version-$tag
rm -rf "${out:?}/$name" "$out/$name.tar.gz"
mkdir -p "$out/$name/wheels" "$out/$name/share"
echo "bundle: fetching the packages of deploy/lock/run.txt"
"$bin/python" -m pip download --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    --dest "$out/$name/wheels" -r deploy/lock/run.txt
echo "bundle: building plantgate $version"
"$bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$out/$name/wheels" .
cp deploy/lock/run.txt deploy/systemd/*.service deploy/systemd/receiver.env deploy/offline/install.sh "$out/$name/"
cp README.md CHANGELOG.md LICENSE NOTICE gateway/config/sample.toml "$out/$name/share/"
cp deploy/README.md "$out/$name/INSTALL.md"
cp deploy/RECEIVER.md "$out/$name/"
cp deploy/RECEIVER.md "$out/$name/share/"
(cd "$out/$name" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum > SHA256SUMS)
tar -C "$out" --owner=0 --group=0 -czf "$out/$name.tar.gz" "$name"
rm -rf "${out:?}/$name"
echo "bundle: $out/$name.tar.gz ($(du -h "$out/$name.tar.gz" | cut -f1)); on the plant: tar xzf it, then ./$name/install.sh as root"
