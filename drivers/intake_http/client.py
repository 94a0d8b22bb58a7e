"""The HTTP server of the intake: the only file that imports aiohttp. It answers and asks nobody.

Guarantees:

- HTTP 200 leaves only after everything that it calls stored is durable; if that fails, or takes
  longer than `store_timeout_s`, the whole request gets 503 with Retry-After and may be sent again.
- A request is judged in this order, and nothing is read of one that falls: sender (401), rate
  (429), room (503), table (404), size (413), Idempotency-Key, JSON (400), rows.
- At most MAX_AT_ONCE requests are in work and each has BODY_S to send its body, so that a slow or
  greedy sender costs bounded memory and delays nobody's acquisition.
- It cannot write to the plant: there is no outgoing connection in this driver.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import os
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NoReturn

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from drivers.contract import Clock, DeviceError, DriverPoint, Emit
from drivers.intake.aside import aside
from drivers.intake.counted_log import CountedLog
from drivers.intake.desk import Desk, NotDurableError
from drivers.intake.document import DocumentError, read_json
from drivers.intake.mapping import SAMPLES, Table, load
from drivers.intake.rows import RowReader
from drivers.intake.settings import ExternalAddress
from drivers.intake_http.config import HttpIntakeConfig
from drivers.intake_http.limits import MAX_KEY, Keys, RateLimit, Turn
from drivers.intake_http.replies import RefusedError, check_picture, receipts, refused, taken
from drivers.intake_http.senders import bearer, read_senders
from drivers.wording import suggestion

MAX_AT_ONCE = 64
BODY_S = 30.0
SHUTDOWN_S = 2.0
KEEP_ALIVE_S = 75.0
RETRY_AFTER_S = 5.0
MAX_PARTS = 64
MAX_FORM_BYTES = 128 << 10

Answer = Callable[[web.Request, Emit, str], Awaitable[bytes]]


class HttpIntake:
    """One HTTP intake as the gateway sees it."""

    def __init__(
        self,
        name: str,
        config: HttpIntakeConfig,
        points: Sequence[DriverPoint[ExternalAddress]],
        clock: Clock,
    ) -> None:
        self._name = name
        self._config = config
        self._clock = clock
        self._reader = RowReader(name, load(config.mapping, name))
        self._senders = read_senders(config.tokens) if config.tokens else None
        self._desk = Desk(name, points, clock, config.stale_after_s)
        self._rate = RateLimit(config.rate_per_s, config.burst)
        self._keys = Keys()
        self._at_once = 0
        self._lingering: set[asyncio.Task[None]] = set()
        self._counts = {"requests": 0.0, "requests_refused": 0.0, "replays": 0.0}
        self._refused: Counter[int] = Counter()
        self._log = CountedLog(f"intake_http.{name}", _malformed, clock, logging.DEBUG)
        self.port = 0
        """Port bound, once `run` listens."""

    def statistics(self) -> Mapping[str, float]:
        """Counts since start; requests_under_way is now."""
        beside = {
            "requests_under_way": float(self._at_once),
            "malformed_requests": float(self._log.total),
        }
        codes = {f"refused_by_status{{status={s}}}": float(n) for s, n in self._refused.items()}
        return {**self._desk.statistics(), **self._counts, **beside, **codes}

    async def run(self, emit: Emit) -> None:
        """Serve until cancelled; raises DeviceError if the address cannot be had."""
        runner = web.AppRunner(
            self._application(emit), access_log=None, keepalive_timeout=KEEP_ALIVE_S,
            lingering_time=SHUTDOWN_S, shutdown_timeout=SHUTDOWN_S, logger=self._log,
        )  # fmt: skip
        try:
            await self._listen(runner, emit)
            host, _ = self._config.address
            text = f"Site systems may hand in at {host}:{self.port}."
            await self._desk.tell_up(emit, text, {})
            await self._desk.watch(emit)
        finally:
            self.port = 0
            await runner.cleanup()
            await self._end_lingering()

    async def _end_lingering(self) -> None:
        """End connections that aiohttp still reads to throw away: it forgets those already lost."""
        lingering = list(self._lingering)
        for task in lingering:
            task.cancel()
        if lingering:
            await asyncio.wait(lingering)

    async def _listen(self, runner: web.AppRunner, emit: Emit) -> None:
        host, port = self._config.address
        try:
            await runner.setup()
            site = web.TCPSite(runner, host, port, ssl_context=self._tls())
            await site.start()
        except OSError as error:
            number = error.errno or 0  # negative for name look-ups
            reason = os.strerror(number) if number > 0 else error.strerror or str(error)
            said = f"{self._name}: cannot listen on {self._config.listen}: {reason}"
            await self._desk.tell_down(emit, said)
            raise DeviceError(said) from error
        self.port = site.port

    def _tls(self) -> ssl.SSLContext | None:
        """TLS 1.2 or later; raises OSError (SSLError) for files that do not fit."""
        config = self._config
        if config.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(config.certificate, config.key)
        if config.client_ca is not None:
            context.load_verify_locations(config.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _application(self, emit: Emit) -> web.Application:
        @web.middleware
        async def noted(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._lingering.add(request.task)
            request.task.add_done_callback(self._lingering.discard)
            return await handler(request)

        app = web.Application(middlewares=[noted])
        routes = {
            "/v1/pictures": self._pictures,
            "/v1/pictures/{table}": self._pictures,
            "/v1/{table}": self._rows,
        }
        for path, answer in routes.items():
            app.router.add_post(path, self._guarded(answer, emit))
        app.router.add_get("/healthz", _healthy)
        return app

    def _guarded(
        self, answer: Answer, emit: Emit
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Wrap an answer: who asks, how often, how many at once; refusals become JSON."""

        async def handle(request: web.Request) -> web.Response:
            self._counts["requests"] += 1
            try:
                sender = self._admit(request)
                if self._at_once >= MAX_AT_ONCE:
                    raise RefusedError(503, "too many requests at once", RETRY_AFTER_S)  # noqa: TRY301  # one place answers all refusals
                self._at_once += 1
                try:
                    async with asyncio.timeout(BODY_S + self._config.store_timeout_s):
                        body = await answer(request, emit, sender)
                finally:
                    self._at_once -= 1
            except RefusedError as error:
                return self._refuse(error)
            except NotDurableError as error:
                return self._refuse(
                    RefusedError(503, f"not stored: {error}; send it again", RETRY_AFTER_S)
                )
            except TimeoutError:
                return self._refuse(
                    RefusedError(503, "took too long; send it again", RETRY_AFTER_S)
                )
            return web.Response(body=body, content_type="application/json", charset="utf-8")

        return handle

    def _refuse(self, error: RefusedError) -> web.Response:
        self._counts["requests_refused"] += 1
        self._refused[error.status] += 1
        headers = {}
        if error.retry_after_s:
            headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if error.status in {401, 413}:
            headers["Connection"] = "close"  # the body was not read
        return web.Response(
            status=error.status, body=refused(error), headers=headers,
            content_type="application/json", charset="utf-8",
        )  # fmt: skip

    def _admit(self, request: web.Request) -> str:
        """Name of the sender; raises RefusedError."""
        now_ns = self._clock.monotonic_ns()
        sender = self._who(request)
        wait_s = self._rate.take(f"={sender}" if sender else f"?{request.remote}", now_ns)
        if wait_s:
            raise RefusedError(429, "too many requests; slow down", wait_s)
        if sender is None:
            raise RefusedError(401, "no valid bearer token")
        return sender

    def _who(self, request: web.Request) -> str | None:
        if self._senders is not None:
            token = bearer(request.headers.get("Authorization"))
            return self._senders.who(token) if token else None
        if self._config.client_ca is not None:
            return _common_name(request)
        return "anybody"

    async def _rows(self, request: web.Request, emit: Emit, sender: str) -> bytes:
        """POST /v1/{table}: JSON, one row or many."""
        table = self._table(request.match_info["table"])
        media = request.content_type
        if "Content-Type" in request.headers and "json" not in media:
            raise RefusedError(415, f"send application/json, not {media:.60}")
        body = await _read(request, self._config.max_body_kb << 10)
        digest = hashlib.sha256(f"{table.name} {sender}\n".encode() + body).digest()

        async def store() -> bytes:
            document = await aside(len(body), partial(_document, body))
            try:
                if table.record is None:
                    read = partial(self._desk.samples.read, table, document)
                    samples = await aside(len(body), read)
                    await self._desk.hand_in_samples(emit, samples, digest)
                    return taken(samples.receipts)
                now_ns = self._clock.wall_ns()
                rows = await aside(
                    len(body), partial(self._reader.read, table, document, sender, now_ns)
                )
            except DocumentError as error:
                raise RefusedError(400, f"the document {error}") from error
            await self._desk.hand_in(emit, rows)
            return taken(receipts(rows))

        return await self._by_key(request, sender, digest, store)

    async def _pictures(self, request: web.Request, emit: Emit, sender: str) -> bytes:
        """POST /v1/pictures: multipart/form-data with `picture` and the fields of the alarm."""
        table = self._table(request.match_info.get("table", "picture"))
        if table.record is None:
            raise RefusedError(404, "pictures belong to records, not to samples")
        if request.content_type != "multipart/form-data":
            raise RefusedError(415, f"send multipart/form-data, not {request.content_type:.60}")
        fields, picture = await self._form(request)
        check_picture(picture)
        said = hashlib.sha256(picture + repr(sorted(fields.items(), key=str)).encode()).digest()

        async def store() -> bytes:
            now_ns = self._clock.wall_ns()
            try:
                rows = self._reader.read(table, fields, sender, now_ns, picture)
            except DocumentError as error:
                raise RefusedError(400, f"the record {error}") from error
            await self._desk.hand_in(emit, rows)
            return taken(receipts(rows))

        return await self._by_key(request, sender, said, store)

    async def _form(self, request: web.Request) -> tuple[dict[str, object], bytes]:
        """Fields and the picture; `record` may hold them as one JSON object."""
        fields: dict[str, object] = {}
        picture, left = b"", MAX_FORM_BYTES
        try:
            async with asyncio.timeout(BODY_S):
                form = await request.multipart()
                for _ in range(MAX_PARTS + 1):
                    part = await form.next()
                    if part is None:
                        break
                    if not isinstance(part, BodyPartReader):
                        _wrong_form("holds a multipart in a part")
                    if part.name == "picture" and not picture:
                        picture = await _part(part, self._config.max_picture_kb << 10)
                        continue
                    value = await _part(part, left)
                    left -= len(value)
                    _add_field(fields, part.name or "", value)
                else:
                    _wrong_form(f"has more than {MAX_PARTS} parts")
        except (ValueError, HttpProcessingError, AssertionError) as error:
            raise RefusedError(400, f"the form cannot be read: {error!s:.100}") from error
        if not picture:
            _wrong_form("has no part `picture`")
        return fields, picture

    async def _by_key(
        self,
        request: web.Request,
        sender: str,
        digest: bytes,
        store: Callable[[], Awaitable[bytes]],
    ) -> bytes:
        """Store once per Idempotency-Key; without one, each time."""
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return await self._in_time(store)
        if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
            raise RefusedError(400, f"Idempotency-Key must have 1 to {MAX_KEY} characters")
        turn, answer = self._keys.begin(sender, key, digest)
        if turn is Turn.REPLAY:
            self._counts["replays"] += 1
            return answer
        if turn is Turn.UNDER_WAY:
            raise RefusedError(409, "the same request is under way", RETRY_AFTER_S)
        if turn is Turn.OTHER_BODY:
            raise RefusedError(422, "this Idempotency-Key was used for another body")
        done: bytes | None = None
        try:
            done = await self._in_time(store)
        finally:
            self._keys.end(sender, key, done)
        return done

    async def _in_time(self, store: Callable[[], Awaitable[bytes]]) -> bytes:
        async with asyncio.timeout(self._config.store_timeout_s):
            return await store()

    def _table(self, name: str) -> Table:
        table = self._reader.mapping.table(name)
        if table is None:
            known = [known for known in self._reader.mapping.tables if known != SAMPLES]
            raise RefusedError(404, f"no table {name!r:.60}; {suggestion(name[:60], known)}")
        return table


def _malformed(record: logging.LogRecord) -> str:
    """Say in a clause what aiohttp tells of a request that is no HTTP; nothing of all else."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError):
        return ""
    sender = record.args[0] if isinstance(record.args, tuple) and record.args else "somebody"
    said = " ".join(str(error.message).split())
    return f"{sender} sent what is not HTTP and got {error.code}: {said[:100]}"


async def _healthy(_request: web.Request) -> web.Response:
    return web.json_response({"success": True})


async def _read(request: web.Request, limit_bytes: int) -> bytes:
    """Read a body of at most limit_bytes, also after decompression."""
    said = f"the body is larger than {limit_bytes >> 10} KB: send fewer rows at once"
    if (request.content_length or 0) > limit_bytes:
        raise RefusedError(413, said)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit_bytes:
                    raise RefusedError(413, said)
    except TimeoutError:
        raise RefusedError(408, f"the body did not come within {BODY_S:g} s") from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise RefusedError(400, f"the body cannot be read: {error!s:.100}") from error
    return bytes(body)


async def _part(part: BodyPartReader, limit_bytes: int) -> bytes:
    content = bytearray()
    while chunk := await part.read_chunk():
        content += chunk
        if len(content) > limit_bytes:
            raise RefusedError(413, f"part {part.name!r:.40} is larger than {limit_bytes} bytes")
    return bytes(content)


def _add_field(fields: dict[str, object], name: str, value: bytes) -> None:
    if name == "record":
        found = _document(value)
        if not isinstance(found, dict):
            raise RefusedError(400, "the part `record` must hold one JSON object")
        fields.update(found)
        return
    try:
        fields[name] = value.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError(400, f"part {name!r:.40} is not UTF-8 text") from None


def _document(body: bytes) -> object:
    try:
        return read_json(body)
    except DocumentError as error:
        raise RefusedError(400, f"the document {error}") from error


def _wrong_form(said: str) -> NoReturn:
    raise RefusedError(400, f"the form {said}")


def _common_name(request: web.Request) -> str | None:
    """Common name of the sender's certificate, which TLS has verified."""
    certificate = request.get_extra_info("peercert") or {}
    for part in certificate.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None


__all__ = ["HttpIntake"]
