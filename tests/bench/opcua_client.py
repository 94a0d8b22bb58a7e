"""CPU per OPC UA value from socket to column: this driver against asyncua's own handler.

    python -m tests.bench.opcua_client [--items 20000] [--seconds 8] [--secure]

A node-opcua server in a process of its own changes every item once a second. Each client runs in a
process of its own; reported are CPU µs of that process per value, the share of a core, the values
that came against those that should have, and the ratios to asyncua's handler and to the limit, the
one-pass decode of the same notifications without socket, session or batches. Not a test: figures
depend on the machine, the ratios much less. Needs tests/peers/install_opcua.sh.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from drivers.contract import DriverPoint
from drivers.opcua import DRIVER
from drivers.opcua.codec import decode_data_change
from drivers.opcua.config import OpcUaAddress, OpcUaConfig
from gateway.runtime.clock import SystemClock
from tests.bench.machine import usage
from tests.fakes.opcua_certificates import make_application

PEERS = Path(__file__).resolve().parent.parent / "peers"
_WARM_SECONDS = 3.0
_MOST_SLICES = 12
_PER_NOTIFICATION = 10_000  # as services.create_subscription asks for


class _Done:
    """A receipt that has completed."""

    def __await__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204  # done at once
        yield from ()


class _Discard:
    """Takes batches as a pipeline would, and forgets them."""

    async def __call__(self, item: object) -> _Done:
        return _Done()


Measured = dict[str, float]


async def _driver(
    endpoint: str, folder: Path, items: int, seconds: float, secure: bool
) -> Measured:
    points = [
        DriverPoint(i + 1, f"D{i}", OpcUaAddress(node=f"nsu=urn:plantgate:peer;s=D{i}"))
        for i in range(items)
    ]
    keys: dict[str, Any] = {"security": "None", "insecure": True}
    if secure:
        keys = {
            "certificate": folder / "client.der",
            "key": folder / "client.pem",
            "server_certificate": folder / "server.der",
        }
    config = OpcUaConfig(endpoint=endpoint, publish_ms=500, sampling_ms=0, **keys)
    driver = DRIVER.open("dcs", config, points, SystemClock())
    task = asyncio.get_running_loop().create_task(driver.run(_Discard()))
    while driver.statistics()["values"] < 2 * items and not task.done():  # noqa: ASYNC110  # a counter, no event
        await asyncio.sleep(0.1)
    await _settled()
    gc.collect()
    before, cpu, wall = driver.statistics()["values"], time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    measured = _result(driver.statistics()["values"] - before, cpu, wall)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        await task
    return measured


async def _settled() -> None:
    """Wait until this process' CPU falls no more: types are compared, histories are asked for."""
    least = math.inf
    for _ in range(_MOST_SLICES):
        begun = time.process_time()
        await asyncio.sleep(_WARM_SECONDS)
        used = time.process_time() - begun
        if used > 0.8 * least:
            return
        least = min(least, used)


class _Handler:
    """What asyncua's documentation shows."""

    def __init__(self) -> None:
        self.count = 0

    def datachange_notification(self, node: object, val: object, data: object) -> None:
        self.count += 1


async def _asyncua(endpoint: str, items: int, seconds: float) -> Measured:
    from asyncua.client.client import Client

    handler = _Handler()
    async with Client(endpoint, timeout=30) as client:
        index = await client.get_namespace_index("urn:plantgate:peer")
        nodes: list[Any] = [client.get_node(f"ns={index};s=D{i}") for i in range(items)]
        subscription: Any = await client.create_subscription(500, handler)
        for at in range(0, items, 1000):
            await subscription.subscribe_data_change(nodes[at : at + 1000], sampling_interval=0)
        while handler.count < 2 * items:  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0.1)
        await _settled()
        gc.collect()
        before, cpu, wall = handler.count, time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        return _result(handler.count - before, cpu, wall)


def _result(values: float, cpu: float, wall: float) -> Measured:
    used, passed = time.process_time() - cpu, time.monotonic() - wall
    return {
        "us_per_value": used * 1e6 / max(values, 1),
        "core_percent": 100 * used / passed,
        "values_per_second": values / passed,
        "resident_mb": usage(os.getpid()).resident_bytes / 1e6,
    }


def _decode(items: int, seconds: float) -> Measured:
    """Decode notifications as node-opcua sends them, 10,000 values each, and nothing else."""
    at = 0x01DB_0000_0000_0000
    record = struct.Struct("<IBBdqq")
    parts = []
    for begin in range(0, items, _PER_NOTIFICATION):
        count = min(_PER_NOTIFICATION, items - begin)
        body = b"".join(
            record.pack(begin + i, 0x0D, 11, i / 7, at + i, at + i) for i in range(count)
        )
        parts.append(struct.pack("<i", count) + body + struct.pack("<i", -1))
    kinds = np.zeros(items, np.uint8)
    values, cpu, wall = 0, time.process_time(), time.monotonic()
    while time.monotonic() - wall < seconds:
        for part in parts:
            values += len(decode_data_change(part, kinds, 1))
    return _result(values, cpu, wall)


def _worker(arguments: str) -> None:
    client, endpoint, folder, items, seconds, secure = json.loads(arguments)
    if client == "decode":
        measured = _decode(items, min(seconds, 2.0))
    elif client == "asyncua":
        measured = asyncio.run(_asyncua(endpoint, items, seconds))
    else:
        import uvloop

        run = uvloop.run if client == "driver, uvloop" else asyncio.run
        measured = run(_driver(endpoint, Path(folder), items, seconds, secure))
    print(json.dumps(measured))


def _serve(folder: Path, items: int) -> tuple[subprocess.Popen[str], str]:
    server = make_application(folder, "server", uri="urn:plantgate:peer:server")
    client = make_application(folder, "client")
    trusted = folder / "pki" / "trusted" / "certs"
    trusted.mkdir(parents=True)
    shutil.copy(client.certificate, trusted)
    subprocess.run(
        ["openssl", "x509", "-inform", "der", "-in", server.certificate, "-out",
         folder / "server.crt"], check=True,
    )  # fmt: skip
    options = {
        "port": 0, "folder": str(folder), "certificate": str(folder / "server.crt"),
        "key": str(server.key), "uri": "urn:plantgate:peer:server", "period": 1000,
        "items": items, "perCall": 1000, "anonymous": True,
    }  # fmt: skip
    process = subprocess.Popen(
        ["node", str(PEERS / "opcua" / "server.js"), json.dumps(options)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            return process, json.loads(line)["endpoint"]
    raise RuntimeError("node-opcua did not start")


CLIENTS = ("decode", "asyncua", "driver", "driver, uvloop")


def compare(folder: Path, items: int, seconds: float, *, secure: bool) -> dict[str, Measured]:
    """Measure every client, each in a process of its own, against one server."""
    subprocess.run([PEERS / "install_opcua.sh"], check=True)
    process, endpoint = _serve(folder, items)
    try:
        found: dict[str, Measured] = {}
        for client in CLIENTS:
            arguments = [client, endpoint, str(folder), items, seconds, secure]
            ran = subprocess.run(
                [sys.executable, "-m", "tests.bench.opcua_client", "--worker",
                 json.dumps(arguments)], check=True, capture_output=True, text=True,
            )  # fmt: skip
            found[client] = json.loads(ran.stdout.splitlines()[-1])
        return found
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description="CPU per OPC UA value, against asyncua's own.")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--secure", action="store_true", help="the driver over Basic256Sha256")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _worker(options.worker)
        return
    with tempfile.TemporaryDirectory(prefix="plantgate-bench-") as name:
        found = compare(Path(name), options.items, options.seconds, secure=options.secure)
    base = found["asyncua"]["us_per_value"]
    print(f"{'client':<16}{'µs CPU/value':>14}{'of asyncua':>12}{'core %':>8}{'values/s':>10}"
          f"{'MB':>6}")  # fmt: skip
    for client, row in found.items():
        print(
            f"{client:<16}{row['us_per_value']:>14.3f}{row['us_per_value'] / base:>12.3f}"
            f"{row['core_percent']:>8.1f}{row['values_per_second']:>10.0f}"
            f"{row['resident_mb']:>6.0f}"
        )


if __name__ == "__main__":
    main()
