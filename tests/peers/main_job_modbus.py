"""libmodbus's own unit-test-server as a device, and mbpoll as the second opinion on what it holds.

The server is built from the sources in Debian's libmodbus-dev with two changes: it listens on a
port of our choice, and after a connection ends it takes the next one with its registers as they
are (that of libmodbus.py begins anew). So mbpoll can set registers before the gateway comes, and
read afterwards whether the gateway left them alone. Its habits are left as they are:

- holding registers 0x160 to 0x17F, coils 0x130 to 0x154, discrete inputs 0x1C4 to 0x1D9, input
  register 0x108; anything else is answered with exception 2 (illegal data address);
- a read of exactly two holding registers is answered with one, and reads that begin at 0x170 to
  0x173 with an exception, a wrong transaction, late, or byte by byte.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.peers.libmodbus import UNIT, source_folder

FIRST_HOLDING, HOLDINGS = 0x160, 0x20
FIRST_COIL, COILS = 0x130, 0x25
FIRST_DISCRETE, DISCRETES = 0x1C4, 0x16
FIRST_INPUT = 0x108

_CHANGES = (
    ('modbus_new_tcp("127.0.0.1", 1502)', 'modbus_new_tcp("127.0.0.1", atoi(argv[2]))'),
    (
        "            /* Quit */\n            break;",
        "            close(modbus_get_socket(ctx));\n"
        "            if (modbus_tcp_accept(ctx, &s) == -1) break;\n"
        "            continue;",
    ),
)
_TYPES = {"coil": "0", "discrete": "1", "input": "3", "holding": "4"}
_VALUE = re.compile(r"^\[(\d+)\]:\s+(\S+)", re.MULTILINE)


def missing() -> str:
    """Say what to install, or nothing."""
    tools = [name for name in ("gcc", "pkg-config", "mbpoll") if shutil.which(name) is None]
    if not tools and source_folder() is not None:
        return ""
    return "apt-get install gcc libc6-dev pkg-config libmodbus-dev mbpoll"


def build(folder: Path) -> Path:
    """Build the server; gives the program, to be run as PROGRAM tcp PORT."""
    sources = source_folder()
    assert sources is not None
    text = (sources / "unit-test-server.c").read_text(encoding="utf-8")
    for old, new in _CHANGES:
        assert text.count(old) == 1, f"another unit-test-server.c: it has no {old!r}"
        text = text.replace(old, new)
    source, program = folder / "unit-test-server.c", folder / "unit-test-server"
    source.write_text(text, encoding="utf-8")
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libmodbus"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    subprocess.run(["gcc", f"-I{sources}", str(source), "-o", str(program), *flags], check=True)
    return program


def _mbpoll(port: int, area: str, kind: str, *arguments: str) -> str:
    target = ["mbpoll", "-m", "tcp", "-p", str(port), "-a", str(UNIT), "-0", "-1", "-q", "-o", "10"]
    done = subprocess.run(
        [*target, "-t", _TYPES[area] + kind, *arguments],
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write(port: int, area: str, first: int, values: list[int]) -> None:
    """Set registers or coils, as an engineering station of the plant would."""
    _mbpoll(port, area, "", "-r", str(first), "127.0.0.1", *map(str, values))


def read(port: int, area: str, first: int, count: int) -> dict[int, int]:
    """Registers or bits by wire address, as mbpoll reads them."""
    kind = ":hex" if area in {"holding", "input"} else ""
    text = _mbpoll(port, area, kind, "-r", str(first), "-c", str(count), "127.0.0.1")
    values = {int(place): int(value, 0) for place, value in _VALUE.findall(text)}
    assert len(values) == count, text
    return values


def read_floats(port: int, first: int, count: int, *, swapped: bool) -> list[float]:
    """`count` floats of two registers each from wire address `first`; swapped: low word first."""
    order = [] if swapped else ["-B"]
    text = _mbpoll(
        port, "holding", ":float", *order, "-r", str(first), "-c", str(count), "127.0.0.1"
    )
    return [float(value) for _, value in _VALUE.findall(text)]
