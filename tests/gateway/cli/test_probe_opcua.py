"""`plantgate probe opcua` and `plantgate points browse` against asyncua's server, as processes."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from pathlib import Path

from gateway.cli.points_browse import command as browse_command
from gateway.cli.probe_opcua import command as probe_command
from tests.fakes.opcua_server import NAMESPACE, OpcUaServer

CALL = "import sys; from {module} import command; command(sys.argv[1:])"


async def call(module: str, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALL.format(module=module), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_probe_lists_endpoints_state_and_namespaces() -> None:
    async with OpcUaServer(1) as server:
        code, out, err = await call("gateway.cli.probe_opcua", server.endpoint, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [(e["policy"], e["mode"]) for e in found["endpoints"]] == [("None", "None")]
    assert "anonymous" in found["endpoints"][0]["logins"]
    assert found["state"] == "running"
    assert NAMESPACE in found["namespaces"]
    assert "items_per_call" in found["limits"]


async def test_probe_says_that_nobody_listens() -> None:
    code, _, err = await call("gateway.cli.probe_opcua", "opc.tcp://127.0.0.1:1/UA")
    assert code == 1
    assert "nobody listens there" in err


async def test_browse_writes_a_table_that_the_driver_reads(tmp_path: Path) -> None:
    out = tmp_path / "dcs.csv"
    async with OpcUaServer(3) as server:
        code, text, err = await call(
            "gateway.cli.points_browse", server.endpoint, str(out), "--glob", "/Objects/D*",
            "--glob", "*/UInt",
        )  # fmt: skip
        assert (code, err) == (0, "")
        assert "wrote 4 points" in text
        again, _, complaint = await call("gateway.cli.points_browse", server.endpoint, str(out))
    assert again == 2
    assert "--force" in complaint
    rows = list(csv.DictReader(out.read_text(encoding="utf-8-sig").splitlines()))
    assert {row["name"]: (row["node"], row["type"]) for row in rows} == {
        "D0": (f"nsu={NAMESPACE};s=D0", "float"),
        "D1": (f"nsu={NAMESPACE};s=D1", "float"),
        "D2": (f"nsu={NAMESPACE};s=D2", "float"),
        "UInt": (f"nsu={NAMESPACE};s=UInt", "uint"),
    }


def test_every_command_has_help_with_an_example() -> None:
    for command in (probe_command, browse_command):
        assert "Example" in (command.epilog or "")
