"""Starts a child process of our own over one socketpair, and makes sure of its end.

Guarantees: `ended` leaves no child: a farewell on the socket, then SIGTERM, then SIGKILL, in at
most 3 s. If the gateway itself is killed its end of the socket closes, which ends the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path

_GRACE_S = 1.0
_FOLDER = str(Path(__file__).resolve().parents[2])


async def started(
    module: str, theirs: socket.socket, environment: Mapping[str, str] | None = None
) -> Process:
    """Start `python -m module --fd N`, in a session of its own; raises OSError."""
    path = os.pathsep.join(filter(None, (_FOLDER, os.environ.get("PYTHONPATH"))))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", module, "--fd", str(theirs.fileno())),
        stdin=asyncio.subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        start_new_session=True,
    )


async def ended(process: Process, writer: asyncio.StreamWriter | None, farewell: bytes) -> None:
    """Make sure that the child is gone, in at most 3 s; a second cancellation kills at once."""
    try:
        if process.returncode is None and writer is not None:
            writer.write(farewell)
        for signal_child in (process.terminate, process.kill):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await process.wait()
                return
            with contextlib.suppress(ProcessLookupError):
                signal_child()
        await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
