"""A TCP proxy on loopback that keeps every byte a client sends and spoils what it is answered.

    async with Wiretap(port, Spoiler(seed)) as tap:      # the client connects to tap.port
        ... tap.sent: one bytearray for each connection ...

With `tls` the client's side is encrypted; what is kept is what was inside.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fakes.listening import ListeningFake
from tests.fakes.spoil import spoilt


@dataclass
class Spoiler:
    """Changes answers at random: bits, bytes, cuts, additions, repeats. share: of them.

    rules: how many are left as they are first, so that a session comes to be.
    """

    seed: int
    share: float = 0.3
    spare: int = 0
    spoilt: int = 0
    seen: int = 0
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def __call__(self, chunk: bytes) -> bytes:
        """Return an answer as it came, or spoilt."""
        rng = self._rng
        self.seen += 1
        if not chunk or self.seen <= self.spare or rng.random() >= self.share:
            return chunk
        self.spoilt += 1
        return spoilt(chunk, rng, changes=(1, 4), most_added=12, most_cut=8)


class Wiretap(ListeningFake):
    """Async context manager; see `port` and `sent`."""

    def __init__(
        self, target: int, spoil: Callable[[bytes], bytes], tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(tls)
        self.sent: list[bytearray] = []
        self._target = target
        self._spoil = spoil

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = bytearray()
        self.sent.append(sent)
        back: asyncio.StreamWriter | None = None
        try:
            answers, back = await asyncio.open_connection("127.0.0.1", self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep(reader, back, sent))
                group.create_task(self._answer(answers, writer))
        except* OSError:
            pass
        finally:
            if back is not None:
                back.transport.abort()

    async def _keep(
        self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, sent: bytearray
    ) -> None:
        while chunk := await reader.read(65_536):
            sent += chunk
            back.write(chunk)
        back.transport.abort()

    async def _answer(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await answers.read(65_536):
            writer.write(self._spoil(chunk))
        writer.transport.abort()
