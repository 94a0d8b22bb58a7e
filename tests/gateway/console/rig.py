"""The real console process beside a fake gateway, and browsers that talk to it over TLS.

`with console(folder) as rig:` starts what the gateway starts, with three people and one display; a
`Browser` is one of them, or nobody.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gateway.config import users
from gateway.config.console import ConsoleConfig
from gateway.config.users import Role
from gateway.console.process import SILENCE_S, ConsoleProcess
from gateway.runtime.clock import SystemClock
from gateway.sources.keep import end, keep_running
from tests.fakes.beside import beside
from tests.fakes.control_gateway import ControlGateway

PASSWORD = "a long enough one"
PEOPLE = {"viewer": Role.VIEWER, "operator": Role.OPERATOR, "issuer": Role.ISSUER}
LIMIT_S = 120.0
T = TypeVar("T")


def until(condition: Callable[[], T], what: str) -> T:
    """Poll a condition until it is true."""
    deadline = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {LIMIT_S} s: {what}"
        time.sleep(0.05)
    return found


class Place(Protocol):
    """Where a console is: its address, the data directory with its certificate."""

    @property
    def address(self) -> tuple[str, int]: ...

    @property
    def data(self) -> Path: ...

    @property
    def insecure(self) -> bool: ...


@dataclass
class Rig:
    """What runs; methods are for the test's own thread."""

    data: Path
    config: ConsoleConfig
    gateway: ControlGateway
    process: ConsoleProcess
    loop: asyncio.AbstractEventLoop
    wall_token: str
    notes: list[tuple[str, str, str, Mapping[str, str]]] = field(default_factory=list)

    def call(self, what: Coroutine[Any, Any, T]) -> T:
        """Run something on the rig's loop."""
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(LIMIT_S)

    @property
    def insecure(self) -> bool:
        """Whether it speaks plain HTTP."""
        return self.config.insecure

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; waits until it does."""
        url = until(lambda: self.process.address, "the console listens")
        host, _, port = url.removeprefix("https://").removeprefix("http://").rpartition(":")
        return host, int(port.rstrip("/"))

    def push(self, line: Mapping[str, Any]) -> None:
        """Have the gateway tell a change."""
        self.call(self.gateway.push(line))

    def wait_watching(self) -> None:
        """Wait until the console has the gateway's state."""
        until(lambda: self.process.statistics().get("watching"), "the console watches")

    def said(self, word: str) -> bool:
        """Whether a note holds a word."""
        return any(word in text for _, _, text, _ in list(self.notes))


@dataclass(frozen=True)
class Reply:
    """Status, headers and content."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Browser:
    """Keeps its cookies; checks the console's certificate."""

    def __init__(self, place: Place) -> None:
        self._rig = place
        self.cookies: dict[str, str] = {}

    def ask(
        self,
        method: str,
        path: str,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request as the pages do; `headers` come on top, None of one leaves it out."""
        connection = self.connect()
        try:
            body = None if content is None else json.dumps(content).encode()
            connection.request(method, path, body, self._headers(method, headers or {}))
            answer = connection.getresponse()
            self._take_cookies(answer)
            return Reply(answer.status, dict(answer.headers.items()), answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        return self.ask("GET", path)

    def post(self, path: str, content: Any) -> Reply:
        return self.ask("POST", path, content)

    def sign_in(self, name: str, password: str = PASSWORD) -> Reply:
        return self.post("/api/sign-in", {"user": name, "password": password})

    def connect(self, *, receive_bytes: int = 0) -> http.client.HTTPConnection:
        """A connection; receive_bytes: of its kernel buffer, so that it is stalled soon."""
        host, port = self._rig.address
        made = socket.socket()
        if receive_bytes:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        made.settimeout(LIMIT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
        made.connect((host, port))
        connection = http.client.HTTPConnection(host, port)
        connection.sock = made
        if not self._rig.insecure:
            context = ssl.create_default_context(cafile=self._rig.data / "console" / "console.pem")
            connection.sock = context.wrap_socket(made, server_hostname=host)
        return connection

    @contextmanager
    def live(self, last_id: str = "", *, receive_bytes: int = 0) -> Iterator[Stream]:
        """Open the live stream."""
        connection = self.connect(receive_bytes=receive_bytes)
        try:
            more = {"Last-Event-ID": last_id} if last_id else {}
            connection.request("GET", "/api/live", headers=self._headers("GET", more))
            yield Stream(connection.getresponse())
        finally:
            connection.close()

    def _headers(self, method: str, more: Mapping[str, str | None]) -> dict[str, str]:
        made: dict[str, str | None] = {}
        if self.cookies:
            made["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method == "POST":
            made |= {"X-Requested-With": "plantgate", "Content-Type": "application/json"}
        return {name: value for name, value in {**made, **more}.items() if value is not None}

    def _take_cookies(self, answer: http.client.HTTPResponse) -> None:
        for header in answer.headers.get_all("Set-Cookie") or ():
            name, _, rest = header.partition("=")
            value = rest.partition(";")[0].strip('"')
            self.cookies[name] = value
            if not value:
                del self.cookies[name]


class Stream:
    """Server-sent events."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.answer = answer
        self.last_id = ""

    def next(self) -> tuple[str, Any]:
        """Event and data of the next one."""
        event, data = "", ""
        while True:
            line = self.answer.readline()
            assert line, "the stream has ended"
            name, _, value = line.decode().rstrip("\n").partition(": ")
            match name:
                case "event":
                    event = value
                case "id":
                    self.last_id = value
                case "data":
                    data = value
                case "" if event:
                    return event, json.loads(data)

    def until(self, event: str) -> Any:
        """Data of the next event of a kind; others are passed over."""
        while True:
            found, data = self.next()
            if found == event:
                return data


@contextmanager
def console(
    folder: Path, people: Mapping[str, Role] = PEOPLE, *, silence_s: float = SILENCE_S,
    **settings: Any,
) -> Iterator[Rig]:  # fmt: skip
    """Run it; `settings` are those of [console]."""
    data = folder / "data"
    data.mkdir()
    for name, role in people.items():
        users.add_user(data, name, role, PASSWORD, 1)
    token = users.add_wall(data, "control-room", 1) if people else ""
    config = ConsoleConfig(**{"listen": "127.0.0.1:0", **settings})

    def make() -> AbstractAsyncContextManager[Rig]:
        return _running(data, config, token, silence_s)

    with beside(make) as rig:
        yield rig


@asynccontextmanager
async def _running(
    data: Path, config: ConsoleConfig, token: str, silence_s: float
) -> AsyncIterator[Rig]:
    notes: list[tuple[str, str, str, Mapping[str, str]]] = []

    def note(kind: str, source: str, text: str, attributes: Mapping[str, str]) -> None:
        notes.append((kind, source, text, attributes))

    clock = SystemClock()
    async with ControlGateway(data) as gateway, asyncio.TaskGroup() as group:
        process = ConsoleProcess(config, data, note, clock, silence_s=silence_s)
        task = group.create_task(keep_running("console", process.run, note=note, clock=clock))
        try:
            loop = asyncio.get_running_loop()
            yield Rig(data, config, gateway, process, loop, token, notes)
        finally:
            await end([task])
