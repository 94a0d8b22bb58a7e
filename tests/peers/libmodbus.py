"""libmodbus' own unit-test-server as a counterpart: built from Debian's sources, run anywhere.

`apt-get install --no-install-recommends libmodbus-dev mbpoll socat stunnel4 gcc pkg-config` brings
everything: libmodbus-dev ships the source of the upstream test server. It listens on a fixed port
(or opens a fixed serial port) and serves one connection, so the copy that is built here gets port
or path of the caller's, and `serve` starts it again each time it ends. `serve_line` runs it on one
end of a pair of pseudo terminals made by socat, `tunnel` puts stunnel before it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import own_port
from tests.waiting import LONGEST_S

UNIT = 17
"""SERVER_ID of unit-test.h."""

_FILL = """
    for (i = 0; i < UT_REGISTERS_NB_MAX; i++) mb_mapping->tab_registers[i] = 0x4123 + 0x1357 * i;
    for (i = 0; i < UT_BITS_NB; i++) mb_mapping->tab_bits[i] = i % 3 == 0;
    """
"""The server begins with all registers and coils 0, which would hide mistakes."""

_PACKAGES = "libmodbus-dev mbpoll socat stunnel4 gcc pkg-config"


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
    """Build the server in `folder`; it takes PORT or, for rtu, LINE from the environment."""
    sources = source_folder()
    assert sources is not None, "call require first"
    text = (sources / "unit-test-server.c").read_text(encoding="utf-8")
    text, patched = re.subn(r'("127\.0\.0\.1", )1502\b', r'\1atoi(getenv("PORT"))', text)
    text, filled = re.subn(r"(/\* Initialize input values)", _FILL + r"\1", text)
    text, lined = re.subn(r'"/dev/ttyUSB0"', 'getenv("LINE")', text)
    assert patched == filled == lined == 1, (
        "unit-test-server.c has changed; see what build() patches"
    )
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
    """Run the server, again after each connection it ends; it listens when the block begins."""
    server = Server(own_port())

    ending = asyncio.Event()

    async def keep_running() -> None:
        while not ending.is_set():
            process = await asyncio.create_subprocess_exec(
                binary, "tcp",
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PORT": str(server.port)},
            )  # fmt: skip
            server.process = process
            if ending.is_set():
                process.kill()
            await process.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(keep_running())
        try:
            await _until(lambda: _listens(server.port), "unit-test-server does not listen")
            yield server
        finally:
            ending.set()  # no start of a process is ever cut short, which would leave it running
            server.kill()


@dataclass
class SerialPair:
    """Two pseudo terminals joined by socat: `ours` to open, the other one is the server's."""

    ours: Path
    socat: asyncio.subprocess.Process

    def unplug(self) -> None:
        """End socat: both ends hang up."""
        self.socat.kill()


@asynccontextmanager
async def serve_line(binary: Path, folder: Path) -> AsyncIterator[SerialPair]:
    """Run the server in RTU mode on a line, again each time it ends."""
    ours, theirs = folder / "ours", folder / "theirs"
    socat = await asyncio.create_subprocess_exec(
        "socat", f"pty,raw,echo=0,link={theirs}", f"pty,raw,echo=0,link={ours}",
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await _until(lambda: ours.exists() and theirs.exists(), "socat made no pseudo terminals")
    process: list[asyncio.subprocess.Process] = []

    async def keep_running() -> None:
        while theirs.exists():
            server = await asyncio.create_subprocess_exec(
                binary, "rtu", env={**os.environ, "LINE": str(theirs)},
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            process[:] = [server]
            await server.wait()

    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(keep_running())
        try:
            yield SerialPair(ours, socat)
        finally:
            keeper.cancel()
            for running in (*process, socat):
                if running.returncode is None:
                    running.kill()
                await running.wait()


@asynccontextmanager
async def tunnel(
    folder: Path, target_port: int, certificate: Path, key: Path, ca: Path
) -> AsyncIterator[int]:
    """Run stunnel before a TCP port; it asks for a client certificate. Yields its port."""
    port = own_port()
    settings = folder / "stunnel.conf"
    settings.write_text(
        "foreground = yes\npid =\n[mbaps]\n"
        f"accept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{target_port}\n"
        f"cert = {certificate}\nkey = {key}\nCAfile = {ca}\n"
        "verifyChain = yes\nrequireCert = yes\nsslVersionMin = TLSv1.2\n",
        encoding="utf-8",
    )
    process = await asyncio.create_subprocess_exec(
        "stunnel4", settings,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await _until(lambda: _listens(port), "stunnel does not listen")
        yield port
    finally:
        process.kill()
        await process.wait()


def _listens(port: int) -> bool:
    """Tell whether somebody listens, without connecting: the server would serve that and end."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"  # /proc/net/tcp: 127.0.0.1, LISTEN
    return wanted in Path("/proc/net/tcp").read_text(encoding="ascii")


async def _until(condition: Callable[[], bool], message: str) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline, message
        await asyncio.sleep(0.02)


async def mbpoll_line(path: Path, kind: str, address: int, count: int) -> list[str]:
    """As `mbpoll`, over a serial line at 115,200 baud without parity."""
    return await _mbpoll(
        ["-m", "rtu", "-b", "115200", "-P", "none"], str(path), kind, address, count
    )


async def mbpoll(port: int, kind: str, address: int, count: int) -> list[str]:
    """As `_mbpoll`, over TCP."""
    return await _mbpoll(["-m", "tcp", "-p", str(port)], "127.0.0.1", kind, address, count)


async def _mbpoll(how: list[str], where: str, kind: str, address: int, count: int) -> list[str]:
    """Read with mbpoll, wire addresses; returns the values as it prints them.

    kind as mbpoll's -t: 0 coils, 1 discrete inputs, 3 input registers, 4 holding registers. The
    server takes one connection at a time, so an attempt may come too early: it is repeated.
    """
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        process = await asyncio.create_subprocess_exec(
            "mbpoll", *how, "-o", "10", "-a", str(UNIT), "-t", kind, "-0", "-1", "-q",
            "-r", str(address), "-c", str(count), where,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        values = re.findall(r"^\[\d+\]:\s+(\S+)", output.decode(), re.MULTILINE)
        if process.returncode == 0 and len(values) == count:
            return values
        await asyncio.sleep(0.1)
    raise AssertionError(f"mbpoll could not read {count} of {kind} from {address}: {output!r}")
