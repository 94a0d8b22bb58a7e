"""A child process of our own that is talked to over one socketpair.

Guarantees: it never outlives the block it was opened in: a farewell on the socket, then SIGTERM,
then SIGKILL, in at most 3 s. If the gateway itself is killed its end of the socket closes, which
ends the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_GRACE_S = 1.0
_LIMIT_BYTES = 64 << 10
_FOLDER = str(Path(__file__).resolve().parents[2])


class NotStartedError(Exception):
    """The child cannot be started; the system's reason, without a full stop."""


@dataclass(frozen=True, slots=True)
class Linked:
    """A running child, and the two ways to and from it."""

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@contextlib.asynccontextmanager
async def linked(
    module: str,
    farewell: bytes,
    *,
    environment: Mapping[str, str] | None = None,
    line_bytes: int = _LIMIT_BYTES,
) -> AsyncIterator[Linked]:
    """Start `python -m module --fd N` and make sure of its end; raises NotStartedError.

    farewell: what asks it to end.  line_bytes: longest line that `reader` takes.
    """
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise NotStartedError(f"no socket for it: {error.strerror}") from error
    try:
        process = await started(module, theirs, environment)
    except BaseException as error:
        ours.close()
        if isinstance(error, OSError):
            raise NotStartedError(error.strerror) from error
        raise
    finally:
        theirs.close()
    writer: asyncio.StreamWriter | None = None
    try:
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=line_bytes)
        yield Linked(process.pid, reader, writer)
    finally:
        try:
            await ended(process, writer, farewell)
        finally:
            ours.close() if writer is None else writer.close()


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
