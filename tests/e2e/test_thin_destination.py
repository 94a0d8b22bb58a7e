"""Two destinations, one whole and one thinned, over an outage and two SIGKILLs.

The county's receiver must hold exactly what follows from the records that the province's holds: the
same derivation, run over the whole log, is compared with what arrived, byte by byte.
"""

from __future__ import annotations

import contextlib
import csv
import io
import signal
import subprocess
from pathlib import Path

import pytest

from buffer.block import block_header
from buffer.contract import Record, Stream
from gateway.receiver.contract import Log, Reader, StoredRecord
from gateway.receiver.stores import open_reader
from gateway.uplink.derive import Deriver
from gateway.uplink.thin import Choice, Chosen
from gateway.wire.v1 import uplink_pb2 as wire
from tests.e2e.watched import Watched, stop_when_sent
from tests.e2e.world import PLANTGATE, World, free_port, listens, stop, until

POINTS = 40
CHOICE = Choice(points=("counter/n1*",), on_change=True, every_ns=2 * 10**9)
FILTER = """
[uplink.filter]
points = ["counter/n1*"]
on_change = true
every_s = 2
"""

pytestmark = pytest.mark.e2e


def write_points(world: World, port: int, county_port: int) -> None:
    lines = ["name,area,address,type,deadband,high"]
    lines += [f"n{i},holding,{2 * i},u32,3,30" for i in range(POINTS)]
    (world.folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    world.write_site(
        f"""
[[uplink]]
name = "county"
target = "localhost:{county_port}"
ca = "certs/ca.pem"
certificate = "certs/gateway.pem"
key = "certs/gateway.key"
{FILTER}
[[device]]
name = "counter"
driver = "modbus"
host = "127.0.0.1"
port = {port}
unit = 1
poll_ms = 200
timeout_ms = 20000
points = "points.csv"
"""
    )


def start_county(world: World, port: int) -> subprocess.Popen[bytes]:
    certs = world.folder / "certs"
    process = world.start(
        "county",
        [*PLANTGATE, "receive", "--listen", f"127.0.0.1:{port}",
         "--store", str(world.folder / "county"), "--ca", str(certs / "ca.pem"),
         "--certificate", str(certs / "receiver.pem"), "--key", str(certs / "receiver.key")],
    )  # fmt: skip
    world.until_ready(process, lambda: listens(port), "the county's receiver listens")
    return process


def stored(reader: Reader, stream: Stream) -> tuple[Log, list[StoredRecord]]:
    [log] = reader.logs()
    return log, list(reader.records(log, stream))


def as_record(one: StoredRecord, catalogue: bytes) -> Record:
    """Return a stored record of the whole log as the gateway had it, as far as deriving goes."""
    header = block_header(one.payload)
    return Record(
        Stream.TELEMETRY, one.sequence, one.time_ns, one.monotonic_ns, one.boot_id, 0, True, b"",
        b"", one.payload, one.group, catalogue, header.first_ns, header.last_ns, one.samples,
    )  # fmt: skip


def expected(world: World) -> dict[int, bytes]:
    """Derived payloads by sequence, from what the province's receiver holds."""
    with contextlib.closing(open_reader(str(world.store))) as reader:
        log, records = stored(reader, Stream.TELEMETRY)
        events = [wire.Event.FromString(one.payload) for one in reader.records(log, Stream.EVENT)]
        tables = {
            one.catalogue: Chosen(
                CHOICE, next(e.catalogue.points for e in events if e.HasField("catalogue"))
            )
            for one in records
            if one.catalogue
        }
        deriver, catalogue = Deriver(tables), b""
        out: dict[int, bytes] = {}
        for one in records:
            catalogue = one.catalogue or catalogue
            out |= {made.sequence: made.payload for made in deriver.feed(as_record(one, catalogue))}
        return out


def at_county(world: World) -> list[StoredRecord]:
    folder = world.folder / "county"
    if not (folder / "receiver.db").exists():
        return []
    with contextlib.closing(open_reader(str(folder))) as reader:
        return stored(reader, Stream.TELEMETRY)[1] if reader.logs() else []


@pytest.mark.timeout(600)
def test_the_thinned_one_holds_all_it_was_promised_after_an_outage_and_kills(
    tmp_path: Path,
) -> None:
    with Watched(tmp_path) as world:
        port, county_port = free_port(), free_port()
        world.start_modbus(port, 2 * POINTS)
        write_points(world, port, county_port)
        world.start_receiver()
        county = start_county(world, county_port)
        gateway = world.start_gateway()
        until(lambda: len(at_county(world)) >= 3, what="the thinned stream arrives")
        stop(county, signal.SIGKILL)
        before = len(expected(world))
        until(lambda: len(expected(world)) >= before + 3, what="more is derived")
        stop(gateway, signal.SIGKILL)
        gateway = world.start_gateway()
        start_county(world, county_port)
        whole = len(expected(world))
        until(lambda: len(at_county(world)) >= whole + 2, what="the past and more")
        stop_when_sent(world, gateway)

        there, made = at_county(world), expected(world)
        following = 1
        for one in there:
            assert one.first == following, "derived records join without a gap"
            following = one.sequence + 1
        newest = there[-1].sequence
        assert {one.sequence: one.payload for one in there} == {
            at: payload for at, payload in made.items() if at <= newest
        }, "nothing promised is missing, nothing else is there"
        assert len(made) - len(there) <= 1
        with contextlib.closing(open_reader(str(world.folder / "county"))) as reader:
            [log] = reader.logs()
            assert log.derived.destination == "county"
            assert not reader.faults(log)
            county_alarms = len(stored(reader, Stream.ALARM)[1])
        assert county_alarms == sum(
            row["source"].startswith("counter/n1") for row in world.alarms()
        )

        hours = world.plantgate("completeness", "--store", str(world.folder / "county"))
        rows = [
            row
            for row in csv.DictReader(io.StringIO(hours.stdout))
            if row["stream"] in ("telemetry", "alarm")
        ]
        assert rows
        assert all(row["gaps_unexplained"] == "0" and row["score"] == "1.0" for row in rows), rows
        assert any(int(row["withheld"]) > 0 for row in rows)
        share = sum(len(one.payload) for one in there)
        print(f"\n{len(there)} derived of {newest} records, {share} bytes, {county_alarms} alarms")
