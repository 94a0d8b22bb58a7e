"""libmodbus' own unit-test-server as a counterpart: built from Debian's sources, run on any port.

`apt-get install --no-install-recommends libmodbus-dev mbpoll gcc pkg-config` brings everything:
libmodbus-dev ships the source of the upstream test server. It listens on a fixed port and serves
one connection, so the copy that is built here gets a port of the caller's, and `serve` starts it
again each time it ends.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

UNIT = 17
"""SERVER_ID of unit-test.h."""

_FILL = """
    for (i = 0; i < UT_REGISTERS_NB_MAX; i++) mb_mapping->tab_registers[i] = 0x4123 + 0x1357 * i;
    for (i = 0; i < UT_BITS_NB; i++) mb_mapping->tab_bits[i] = i % 3 == 0;
    """
"""The server begins with all registers and coils 0, which would hide mistakes."""

_PACKAGES = "libmodbus-dev mbpoll gcc pkg-config"


def require(*tools: str) -> None:
    """Skip, or fail where CI=true, if a tool or the sources are missing; says what to install."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if not missing and source_folder() is None:
        missing = ["unit-test-server.c"]
    if missing:
        message = f"{', '.join(missing)} missing; apt-get install {_PACKAGES}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def source_folder() -> Path | None:
    """Where Debian puts the sources of the test server."""
    folder = Path("/usr/share/doc/libmodbus-dev/examples")
    return folder if (folder / "unit-test-server.c").exists() else None


def build(folder: Path) -> Path:
    """Build the server in `folder`; port from the environment variable PORT."""
    sources = source_folder()
    assert sources is not None, "call require first"
    text = (sources / "unit-test-server.c").read_text(encoding="utf-8")
    text, patched = re.subn(r'("127\.0\.0\.1", )1502\b', r'\1atoi(getenv("PORT"))', text)
    text, filled = re.subn(r"(/\* Initialize input values)", _FILL + r"\1", text)
    assert patched == filled == 1, "unit-test-server.c has changed; see what build() patches"
    (folder / "server.c").write_text(text, encoding="utf-8")
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libmodbus"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    binary = folder / "unit-test-server"
    subprocess.run(
        ["gcc", f"-I{sources}", str(folder / "server.c"), "-o", str(binary), *flags],
        check=True, capture_output=True,
    )  # fmt: skip
    return binary


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A running server: where it is, and its present process."""

    port: int
    process: asyncio.subprocess.Process | None = None

    def kill(self) -> None:
        """End the present process; `serve` starts another."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()


@asynccontextmanager
async def serve(binary: Path) -> AsyncIterator[Server]:
    """Run the server, again after each connection it ends."""
    server = Server(free_port())

    async def keep_running() -> None:
        while True:
            process = await asyncio.create_subprocess_exec(
                binary, "tcp",
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PORT": str(server.port)},
            )  # fmt: skip
            server.process = process
            await process.wait()

    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(keep_running())
        try:
            yield server
        finally:
            keeper.cancel()
            server.kill()
            if server.process is not None:
                await server.process.wait()


async def mbpoll(port: int, kind: str, address: int, count: int) -> list[str]:
    """Read with mbpoll, wire addresses; returns the values as it prints them.

    kind as mbpoll's -t: 0 coils, 1 discrete inputs, 3 input registers, 4 holding registers. The
    server takes one connection at a time, so an attempt may come too early: it is repeated.
    """
    for _ in range(50):
        process = await asyncio.create_subprocess_exec(
            "mbpoll", "-m", "tcp", "-p", str(port), "-a", str(UNIT), "-t", kind, "-0", "-1", "-q",
            "-r", str(address), "-c", str(count), "127.0.0.1",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        output, _ = await process.communicate()
        values = re.findall(r"^\[\d+\]:\s+(\S+)", output.decode(), re.MULTILINE)
        if process.returncode == 0 and len(values) == count:
            return values
        await asyncio.sleep(0.1)
    raise AssertionError(f"mbpoll could not read {count} of {kind} from {address}")
