"""A child process that is talked to in the messages of vision/events.py.

Guarantees: the child never outlives the block it was opened in (gateway/runtime/children.py). What
a child does wrong is one DeviceError.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drivers.contract import DeviceError
from gateway.runtime.children import NotStartedError, linked
from vision.events import AnyMessage, Failed, MessageDecoder, ProtocolError, Stop, encode

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Of processes of cameras: numpy takes no more than that."""


class DiedError(DeviceError):
    """The child ended without saying why: it crashed or was killed."""


class FrozenError(DeviceError):
    """The child is there and says nothing."""


class Child:
    """A running child."""

    def __init__(
        self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid = pid
        self._reader = reader
        self._writer = writer
        self._decoder = MessageDecoder()
        self._reason = ""

    @property
    def closing(self) -> bool:
        """Tell whether nothing can be sent any more."""
        return self._writer.is_closing()

    def send(self, message: AnyMessage) -> None:
        """Send one message, in the background."""
        self._writer.write(encode(message))

    async def receive(self, patience_s: float) -> list[AnyMessage]:
        """Messages as they come, after at most patience_s; DeviceError once the child is lost."""
        try:
            async with asyncio.timeout(patience_s):
                received = await self._reader.read(65536)
        except TimeoutError:
            raise FrozenError(f"it was silent for {patience_s:g} s.") from None
        except OSError:
            received = b""
        if not received and not self._reason:
            raise DiedError("it ended without a word.")
        if not received:
            raise DeviceError(f"{self._reason}.")
        try:
            messages = self._decoder.feed(received)
        except ProtocolError as error:
            raise DeviceError(f"it sent {error}.") from error
        for message in messages:
            if isinstance(message, Failed):
                self._reason = message.text.rstrip(".")
        return [message for message in messages if not isinstance(message, Failed)]


@asynccontextmanager
async def child(module: str, order: AnyMessage) -> AsyncIterator[Child]:
    """Start `python -m module --fd N`, give it its order, and make sure of its end."""
    try:
        async with linked(module, encode(Stop()), environment=ONE_THREAD) as link:
            link.writer.write(encode(order))
            yield Child(link.pid, link.reader, link.writer)
    except NotStartedError as error:
        raise DeviceError(f"it cannot be started: {error}.") from error
