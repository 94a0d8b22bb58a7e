"""An HTTP server with TLS that takes webhooks, answers as told and writes everything down."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.beside import beside
from tests.fakes.certificates import Authority
from tests.ports import own_port


@dataclass
class Hook:
    """One POST."""

    path: str
    headers: dict[str, str]
    body: bytes
    query: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class HookServer:
    """`async with HookServer(authority) as server:`; without an authority it speaks clear text.

    status and answer: what it answers.  held: it takes what comes and does not answer.
    """

    def __init__(self, authority: Authority | None = None) -> None:
        self._authority = authority
        self.port = 0
        self.hooks: list[Hook] = []
        self.status = 200
        self.answer = "{}"
        self.held = False
        self._runner: web.AppRunner | None = None
        self._released = asyncio.Event()

    @property
    def url(self) -> str:
        scheme = "https" if self._authority is not None else "http"
        return f"{scheme}://localhost:{self.port}/hook"

    async def __aenter__(self) -> HookServer:
        """Listen on a free port, or on that of before."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        tls = None
        if self._authority is not None:
            pair = self._authority.issue("hooks")
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(pair.certificate, pair.key)
        port = self.port or own_port()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; what is held is let go."""
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.hooks.append(Hook(request.path, dict(request.headers), body, dict(request.query)))
        if self.held:
            await self._released.wait()
        location = {"Location": self.url} if 300 <= self.status < 400 else {}
        return web.Response(status=self.status, text=self.answer, headers=location)


def hooks_beside(authority: Authority | None = None) -> AbstractContextManager[HookServer]:
    """The same in a thread of its own, for tests that run the gateway as a process."""
    return beside(lambda: HookServer(authority))
