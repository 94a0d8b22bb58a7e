"""A process that several cameras share.

Guarantees:

- The process of a group runs while one of its cameras does; cameras come and go without a restart
  of the others. Each talks over a socket of its own, so to a CameraSource it is a child like any.
- A camera that is silent for too long hangs in a way that only the end of the process cures: the
  whole group is killed, and each of its cameras comes back by its own supervisor.
- The process never outlives its cameras, nor the gateway.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from drivers.contract import DeviceError
from gateway.runtime.children import ended, started
from gateway.sources.child import ONE_THREAD, Child, FrozenError
from vision.events import AnyMessage, Stop, encode


class CameraGroup:
    """`member` is used by a camera as `child` is by one that has a process alone."""

    def __init__(self) -> None:
        self._changing = asyncio.Lock()
        self._members = 0
        self._process: Process | None = None
        self._control: socket.socket | None = None

    @asynccontextmanager
    async def member(self, order: AnyMessage) -> AsyncIterator[Child]:
        """Have the group's process attend a camera, and make sure that it stops."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise DeviceError(f"no socket for it: {error.strerror}.") from error
        try:
            pid = await self._hand_over(theirs)
        except OSError as error:
            ours.close()
            reason = error.strerror or str(error)
            raise DeviceError(f"its group's process cannot be had: {reason}.") from error
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            try:
                writer.write(encode(order))
                yield Child(pid, reader, writer)
            except FrozenError:
                self._kill()
                raise
            finally:
                with suppress(OSError):
                    writer.write(encode(Stop()))
                writer.close()
        finally:
            await self._leave()

    async def _hand_over(self, theirs: socket.socket) -> int:
        """Give the process a camera's socket; starts it if there is none. Raises OSError."""
        async with self._changing:
            if self._process is not None and self._process.returncode is not None:
                self._forget()
            if self._process is None or self._control is None:
                self._control, inherited = socket.socketpair()
                try:
                    self._process = await started("vision.group", inherited, ONE_THREAD)
                finally:
                    inherited.close()
            socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            self._members += 1
            return self._process.pid

    async def _leave(self) -> None:
        async with self._changing:
            self._members -= 1
            if self._members or self._process is None:
                return
            process = self._process
            self._forget()  # closes the socket, which ends it
            await ended(process, None, b"")

    def _forget(self) -> None:
        if self._control is not None:
            self._control.close()
        self._control = self._process = None

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


__all__ = ["CameraGroup"]
