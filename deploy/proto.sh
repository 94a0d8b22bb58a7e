#!/bin/sh
# Generate gateway/wire/v1 from proto/: proto.sh BIN write|check
# check fails when the committed code is not what the schema gives.
set -eu
bin=$1 mode=$2
out=gateway/wire/v1
[ "$mode" = check ] && out=$(mktemp -d)
"$bin/python" -m grpc_tools.protoc -Iproto/plantgate/wire/v1 --python_out="$out" --mypy_out=quiet:"$out" \
    --plugin=protoc-gen-mypy="$bin/protoc-gen-mypy" proto/plantgate/wire/v1/uplink.proto
if [ "$mode" = check ]; then
    for f in uplink_pb2.py uplink_pb2.pyi; do
        cmp -s "$out/$f" "gateway/wire/v1/$f" || { echo "gateway/wire/v1/$f is stale: run make proto" >&2; exit 1; }
    done
    rm -r "$out"
fi
