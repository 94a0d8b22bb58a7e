"""Stands before every request: who asks, from where, how much and for how long.

Guarantees: nothing but PUBLIC and the static files is reached without a session or a display's
token; nothing is changed by a request that a page of another origin could have sent (the cookie is
SameSite=Strict, a header that only scripts of our own origin can set is asked for, and Origin and
Sec-Fetch-Site must not say otherwise); a body has at most MOST_BODY_BYTES and BODY_S to arrive; an
answer begins within ANSWER_S; every answer carries the headers that bind the browser.
"""

from __future__ import annotations

import asyncio
import json
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.console.people import Caller, Door
from gateway.console.rights import PUBLIC, PUBLIC_FOLDER

MOST_BODY_BYTES = 64 << 10
"""As much as the control socket takes in one line."""
TOO_LARGE = f"a request has at most {MOST_BODY_BYTES} bytes"
BODY_S = 15.0
ANSWER_S = 30.0
METHODS = ("GET", "POST")
OURS = "plantgate"
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
        " media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Cookies:
    """Names of the console's cookies. Over TLS they are bound to this host (`__Host-`)."""

    def __init__(self, secure: bool) -> None:
        self.secure = secure
        prefix = "__Host-" if secure else ""
        self.session, self.wall = f"{prefix}plantgate", f"{prefix}plantgate-wall"


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, door: Door, cookies: Cookies) -> None:
        self._app = app
        self._door = door
        self._cookies = cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(receive, send)
        headers = Headers(scope=scope)
        caller = self._caller(headers)
        refusal = self._refusal(scope, headers, caller)
        if refusal is not None:
            await exchange.refuse(*refusal, close=scope["method"] != "GET")
            return
        scope["plantgate.caller"] = caller
        try:
            async with asyncio.timeout(ANSWER_S) as limit:
                exchange.limit = limit
                await self._app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            if exchange.began:
                raise
            await exchange.refuse(503, "the answer took too long; try again", close=True)

    def _caller(self, headers: Headers) -> Caller | None:
        cookies = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return None
        held = {name: morsel.value for name, morsel in cookies.items()}
        session, wall = held.get(self._cookies.session, ""), held.get(self._cookies.wall, "")
        return self._door.caller(session, wall)

    def _refusal(
        self, scope: Scope, headers: Headers, caller: Caller | None
    ) -> tuple[int, str] | None:
        method, path = scope["method"], scope["path"]
        if method not in METHODS:
            return 405, "only GET and POST are served"
        if method == "POST":
            if not _from_our_pages(headers):
                return 403, "a command comes from the console's own pages (X-Requested-With)"
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
                return 413, TOO_LARGE
        public = (method, path) in PUBLIC or (method == "GET" and path.startswith(PUBLIC_FOLDER))
        if caller is None and not public:
            return 401, "sign in first"
        return None


class _Exchange:
    """Receive and send of one request, with what the guard adds."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._taken = 0
        self._ended = False
        self.began = False
        self.limit: asyncio.Timeout | None = None

    async def receive(self) -> Message:
        """Take a piece of the body."""
        if self._ended:
            return await self._receive()  # waits for the end of the connection
        async with asyncio.timeout(BODY_S):
            message = await self._receive()
        self._taken += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._taken > MOST_BODY_BYTES:
            raise HTTPException(413, TOO_LARGE)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.began = True
            if self.limit is not None:
                self.limit.reschedule(None)  # from here on the connection's limits hold
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)

    async def refuse(self, status: int, text: str, *, close: bool = False) -> None:
        """Answer with one sentence. close: where the rest of a body may still come."""
        body = json.dumps({"error": text}, ensure_ascii=False).encode()
        headers = [(b"content-type", b"application/json"),
                   (b"content-length", str(len(body)).encode())]  # fmt: skip
        if close:
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _from_our_pages(headers: Headers) -> bool:
    if headers.get("x-requested-with") != OURS:
        return False
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
