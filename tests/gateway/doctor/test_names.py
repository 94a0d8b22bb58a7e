"""A site without name servers: the name is the cause that is told, and not the address."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gateway.doctor.causes import cause_of
from gateway.doctor.names import addresses_of

ROOT = Path(__file__).resolve().parents[3]
SILENT = """
import asyncio, os, socket, subprocess, sys
from gateway.doctor.names import addresses_of

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for name in ("resolv.conf", "nsswitch.conf"):
    subprocess.run(["mount", "--bind", f"{sys.argv[1]}/{name}", f"/etc/{name}"], check=True)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", 53))

    async def told():
        print(await addresses_of("receiver.example", 50051, 0.5), flush=True)
        os._exit(0)  # the system's resolver waits longer

    asyncio.run(told())
"""


async def test_an_address_needs_nobody_and_a_name_that_is_none_is_told() -> None:
    assert await addresses_of("127.0.0.1", 1) == ["127.0.0.1"]
    assert await addresses_of("::1", 1) == ["::1"]
    told = await addresses_of("a..b", 1)
    assert isinstance(told, str)
    assert cause_of(told).chinese == "主机名无法解析"


def test_name_servers_that_are_silent_are_the_cause(tmp_path: Path) -> None:
    servers = "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n"
    (tmp_path / "resolv.conf").write_text(servers, encoding="ascii")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\n", encoding="ascii")
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *own, "--mount", "--net", sys.executable, "-c", SILENT, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = ended.stdout.strip()
    assert told == "no name server answers for receiver.example within 0.5 s (name resolution)"
    assert cause_of(f"receiver.example:50051: {told}").chinese == "主机名无法解析"
