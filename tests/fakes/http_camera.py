"""A camera on loopback that speaks HTTP: Motion JPEG, or an FLV file without an end.

pictures: JPEG, sent round and round at `fps`.  flv: the bytes of an FLV file, sent at once, after
which the line stays open.  With `login` it asks for a digest login (MD5) and counts in `logins`
what it was given.  `silent`: takes connections and answers nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections.abc import Sequence

from tests.fakes.listening import ListeningFake

_NONCE = "n0nce"


class HttpCamera(ListeningFake):
    """Async context manager; `port` is where it listens. Anything but /live is not found."""

    def __init__(
        self,
        pictures: Sequence[bytes] = (),
        flv: bytes = b"",
        login: tuple[str, str] | None = None,
        fps: float = 20.0,
    ) -> None:
        super().__init__()
        self.logins: list[bool] = []
        self.silent = False
        self._pictures, self._flv, self._login, self._fps = pictures, flv, login, fps

    @property
    def url(self) -> str:
        """Where it streams."""
        return f"http://127.0.0.1:{self.port}/live"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                if not self.silent:
                    await self._answer(head, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        target = head.split(" ", 2)[1]
        if not self._allowed(head):
            challenge = f'WWW-Authenticate: Digest realm="cam", nonce="{_NONCE}", qop="auth"'
            writer.write(_head("401 Unauthorized", challenge, "Content-Length: 0"))
        elif target != "/live":
            writer.write(_head("404 Not Found", "Content-Length: 0"))
        elif self._flv:
            writer.write(_head("200 OK", "Content-Type: video/x-flv") + self._flv)
            await writer.drain()
            await asyncio.Event().wait()
        else:
            kind = "Content-Type: multipart/x-mixed-replace; boundary=frame"
            writer.write(_head("200 OK", kind))
            for jpeg in itertools.cycle(self._pictures):
                part = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                writer.write(part.encode() + jpeg + b"\r\n")
                await writer.drain()
                await asyncio.sleep(1 / self._fps)

    def _allowed(self, head: str) -> bool:
        if self._login is None:
            return True
        given = re.search(r"^Authorization: Digest (.*?)\r?$", head, re.MULTILINE | re.IGNORECASE)
        if given is None:
            return False
        said = {m[1]: m[2] or m[3] for m in re.finditer(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', given[1])}
        secret = _md5(f"{self._login[0]}:cam:{self._login[1]}")
        what = _md5(f"GET:{said.get('uri', '')}")
        middle = f"{said.get('nc')}:{said.get('cnonce')}:auth"
        right = said.get("response") == _md5(f"{secret}:{_NONCE}:{middle}:{what}")
        self.logins.append(right)
        return right


def _head(status: str, *lines: str) -> bytes:
    return ("\r\n".join([f"HTTP/1.1 {status}", "Server: fake", *lines]) + "\r\n\r\n").encode()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
