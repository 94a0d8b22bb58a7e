"""A camera on loopback that speaks RTSP up to PLAY and then sends no picture.

Enough to see what a client asks of a camera; `received` keeps every byte. spoil: changes answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.fakes.listening import Listener

_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
    "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0IAH5WoFAFuQA==,aM48gA==\r\n"
)


class RtspCamera:
    """Async context manager; `port` is where it listens."""

    def __init__(self, spoil: Callable[[bytes], bytes]) -> None:
        self.port = 0
        self.received: list[bytearray] = []
        self._spoil = spoil
        self._listener = Listener(self._serve)

    async def __aenter__(self) -> Self:
        self.port = await self._listener.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = bytearray()
        self.received.append(received)
        try:
            while chunk := await reader.read(4096):
                received += chunk
                if chunk.endswith(b"\r\n\r\n"):
                    writer.write(self._spoil(_answer(chunk)))
        except ConnectionError:
            pass


def _answer(request: bytes) -> bytes:
    method = request.split(b" ", 1)[0].decode("ascii", "replace")
    number = next(
        (line[5:].strip() for line in request.decode("latin-1").split("\r\n")
         if line.lower().startswith("cseq:")), "0",
    )  # fmt: skip
    head, body = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n", ""
    if method == "OPTIONS":
        head += ("Public: OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, RECORD, PAUSE, TEARDOWN,"
                 " GET_PARAMETER, SET_PARAMETER\r\n")  # fmt: skip
    elif method == "DESCRIBE":
        body = _SDP
        head += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
    elif method == "SETUP":
        head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 7;timeout=2\r\n"
    else:
        head += "Session: 7\r\n"
    return f"{head}\r\n{body}".encode()
