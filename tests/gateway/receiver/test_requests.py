"""Requests from a person at the platform, through the receiver, to a gateway and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path

import pytest

from buffer.contract import Stream
from gateway.control.client import ask
from gateway.control.server import ControlServer
from gateway.receiver.requests import request_of
from gateway.receiver.service import Receiver
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import SmallLog, payloads
from tests.gateway.receiver.conftest import RunReceiver
from tests.gateway.uplink.test_client import PATIENT, Destination, running
from tests.waiting import until


@dataclass
class Said:
    """What the command printed, and how it ended."""

    exit_code: int
    stdout: str
    stderr: str


async def asked(folder: Path, *arguments: str) -> Said:
    """Run `plantgate request` as a person would."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli.main", "request", *arguments, "--store", str(folder),
        "--gateway", "SD-1", stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    stdout, stderr = await process.communicate()
    return Said(process.returncode or 0, stdout.decode(), stderr.decode())


def served(folder: Path, receiver: Receiver) -> ControlServer:
    return ControlServer(folder, {"request": receiver.requests.ask})


async def test_a_gateway_sends_again_what_is_asked_for_and_says_so(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    log = SmallLog()
    log.put(Stream.ALARM, *[wire.Alarm(source=f"a{n}").SerializeToString() for n in range(9)])
    async with contextlib.AsyncExitStack() as stack:
        receiving = await stack.enter_async_context(run_receiver(tmp_path / "store"))
        folder = receiving.folder
        await stack.enter_async_context(served(folder, receiving.receiver))
        gateway = await stack.enter_async_context(
            running(Destination(receiving.target), log, PATIENT)
        )
        await until(lambda: 9 in log.cursor("province", Stream.ALARM))
        sent = gateway.uplink.statistics()["sent_records"]

        one = await asked(folder, "resend", "alarm", "3", "5", "--json")
        assert one.exit_code == 0, one.stderr
        assert json.loads(one.stdout) == {
            "accepted": True, "message": "3 records will be sent again"
        }  # fmt: skip
        await until(lambda: gateway.uplink.statistics()["sent_records"] == sent + 3)
        status = await asked(folder, "status")
        assert (status.exit_code, status.stdout) == (0, "status sent\n")
        other = await asked(folder, "evidence", "0" * 64)
        assert other.exit_code == 1
        assert "the gateway refused" in other.stderr
        assert gateway.kinds().count("uplink.request") == 3, "each is an event at the gateway"
        log.put(Stream.TELEMETRY, *payloads(1))
        nobody = await asked(folder, "status", "--destination", "county")
        assert nobody.stderr == (
            "plantgate request: gateway SD-1 (destination county) is not connected to this"
            " receiver\n"
        )
        status_of = {"ask": "request", "what": "status", "gateway": "SD-1"}
        many = [await asyncio.to_thread(ask, folder, status_of) for _ in range(11)]
        assert "more than 10 requests a minute" in many[-1]["message"]
    absent = await asked(folder, "status")
    assert (absent.exit_code, absent.stderr) == (
        1, f"plantgate request: no receiver is running over {folder}\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked_for", "said"),
    [
        ({"what": "resend", "stream": "alarm", "first": 5, "last": 4}, "no sequences"),
        ({"what": "resend", "stream": "pump", "first": 1, "last": 4}, "no stream 'pump'"),
        ({"what": "period", "stream": "alarm", "from_ns": 5, "to_ns": 4}, "ends before"),
        ({"what": "catalogue", "sha256": "abc"}, "64 hexadecimal"),
        ({"what": "write"}, "no request 'write'"),
    ],
)
def test_what_cannot_be_asked_is_explained(asked_for: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        request_of(asked_for)


def test_the_wire_has_no_request_that_could_write() -> None:
    """Each kind was looked at: all of them read. A new one has to be added here, by a person."""
    assert {one.name for one in wire.Request.DESCRIPTOR.oneofs_by_name["what"].fields} == {
        "resend", "resend_period", "catalogue", "status", "snapshot", "evidence", "unthinned"
    }  # fmt: skip


def test_nothing_that_answers_requests_knows_a_driver() -> None:
    """The uplink imports of drivers their contract, and what loopback is: it can reach none."""
    allowed = ("from drivers.contract import ", "from drivers.loopback import ")
    folder = Path(__file__).parents[3] / "gateway" / "uplink"
    for path in sorted(folder.glob("*.py")):
        for line in path.read_text("utf-8").splitlines():
            if line.strip().startswith(("from drivers", "import drivers")):
                assert line.startswith(allowed), f"{path}: {line}"
