"""A camera on loopback that speaks RTSP up to PLAY and then sends no picture.

Enough to see what a client asks of a camera; `received` keeps every byte. spoil: changes answers.
With `login` it asks for a digest login (MD5, RFC 2617) and counts in `logins` what it was given.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable

from tests.fakes.listening import ListeningFake

_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
    "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0IAH5WoFAFuQA==,aM48gA==\r\n"
)


class RtspCamera(ListeningFake):
    """Async context manager; `port` is where it listens."""

    def __init__(
        self, spoil: Callable[[bytes], bytes] = bytes, login: tuple[str, str] | None = None
    ) -> None:
        super().__init__()
        self.login = login
        self.logins: list[bool] = []
        self.lines: list[bytes] = []
        self.received: list[bytearray] = []
        self._spoil = spoil

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = bytearray()
        self.received.append(received)
        try:
            while chunk := await reader.read(4096):
                received += chunk
                if chunk.endswith(b"\r\n\r\n"):
                    writer.write(self._spoil(self._allowed(chunk) or _answer(chunk)))
        except ConnectionError:
            pass

    def _allowed(self, request: bytes) -> bytes:
        """The refusal of a request that is not logged in; nothing if it is."""
        self.lines.append(request.split(b"\r\n", 1)[0])
        if self.login is None or request.startswith(b"OPTIONS"):
            return b""
        text = request.decode("latin-1")
        given = re.search(r"^Authorization: Digest (.*)$", text, re.MULTILINE | re.IGNORECASE)
        if given is not None:
            fields = dict(re.findall(r'(\w+)="([^"]*)"', given[1]))
            secret = _md5(f"{self.login[0]}:camera:{self.login[1]}")
            what = _md5(f"{text.split(' ', 1)[0]}:{fields['uri']}")
            right = fields.get("response") == _md5(f"{secret}:{_NONCE}:{what}")
            self.logins.append(right)
            if right:
                return b""
        challenge = f'WWW-Authenticate: Digest realm="camera", nonce="{_NONCE}"'
        return f"RTSP/1.0 401 Unauthorized\r\n{_number(request)}\r\n{challenge}\r\n\r\n".encode()


_NONCE = "b0rg"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _number(request: bytes) -> str:
    lines = request.decode("latin-1").split("\r\n")
    return next((line for line in lines if line.lower().startswith("cseq:")), "CSeq: 0")


def _answer(request: bytes) -> bytes:
    method = request.split(b" ", 1)[0].decode("ascii", "replace")
    head, body = f"RTSP/1.0 200 OK\r\n{_number(request)}\r\n", ""
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
