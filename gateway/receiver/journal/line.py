"""The line to NATS JetStream: a thread with an event loop of its own, and blocking calls into it.

Guarantees: a journal whose stream could drop what was acknowledged (an age limit, a message limit,
discarding the old, in memory only, another retention than by limits) is refused. `publish` returns
once a quorum has the message; it is tried again under one name for PUBLISH_SECONDS, across a change
of leaders. What cannot be published raises StoreFailedError. A server that is reached and has no
leader for ELSEWHERE_SECONDS is left for another: one that is parted from the others has none for
as long as that lasts, and answers all the same.

Not to be seen from here: whether the servers sync before they answer (`sync_interval: always`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

from gateway.observe.log import logger
from gateway.receiver.contract import StoreFailedError, StorePathError
from gateway.receiver.journal.address import JournalAddress
from gateway.receiver.journal.message import INDEX_HEADER, Message

T = TypeVar("T")

CONNECT_SECONDS = 20.0
"""Longer than the election of a leader among servers that have just started (measured 2-5 s)."""
PUBLISH_SECONDS = 15.0
"""Longer than a change of leaders (measured 2-6 s)."""
ANSWER_SECONDS = 3.0
ELSEWHERE_SECONDS = 3.0
"""From a first failure to leaving the server, where nothing succeeds in between: with what a try
and another connection take, a message still gets there within PUBLISH_SECONDS."""
_REST_SECONDS = 0.2
"""Wait for the rest of a page, where another consumer may have taken it."""
RETRY_SECONDS = 0.2
CALL_SECONDS = 60.0
DUPLICATES_SECONDS = 120.0
"""Window of the server's own deduplication: eight times what one message is tried for."""
HEADER_BYTES = 64 * 1024
"""Largest headers of a message, which count into the servers' max_payload."""
MESSAGE_BYTES = 512 * 1024
"""Largest message, half of the server's default limit; less where the server allows less."""

PASSING = (nats.errors.Error, APIError, TimeoutError, asyncio.TimeoutError, OSError)
"""What a change of leaders, a lost server or a full stream look like."""


class Line:
    """One connection. Open it with `Line.open`; blocking methods from any thread."""

    def __init__(self, address: JournalAddress) -> None:
        self.address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="receiver-journal",
                                        daemon=True)  # fmt: skip
        self._thread.start()
        self._client = Client()
        self.jet: JetStreamContext = self._client.jetstream()
        self._failing_since: float | None = None
        self._unfit = ""
        self.name = ""

    @classmethod
    def open(cls, address: JournalAddress, seconds: float = CONNECT_SECONDS) -> Line:
        """Connect, and make the stream where it is missing; raises StorePathError."""
        line = cls(address)
        try:
            line.call(lambda: line._connect(seconds))
        except PASSING as error:
            line.close()
            reason = said(error)
            if isinstance(error, TimeoutError):
                reason = f"no JetStream with a leader answered within {seconds:.0f} s"
            text = f"journal {address.stream} on {', '.join(address.servers)}: {reason}"
            raise StorePathError(text) from error
        except BaseException:
            line.close()
            raise
        return line

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something on the line's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(CALL_SECONDS)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin something on the line's loop; the caller keeps and cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def soon(self, work: Callable[[], object]) -> None:
        """Call something on the line's loop; safe from a signal handler of another loop."""
        self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        """Disconnect and end the thread; may be called twice."""
        if not self._thread.is_alive():
            return
        try:
            self.call(self._end)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CALL_SECONDS)
            self._loop.close()

    @property
    def limit(self) -> int:
        """Most bytes of one message."""
        return min(MESSAGE_BYTES, (self._client.max_payload or MESSAGE_BYTES) // 2)

    @property
    def largest(self) -> int:
        """Most bytes of a message's body: what the servers take, without its headers."""
        return max(self.limit, (self._client.max_payload or 0) - HEADER_BYTES)

    def publish(self, messages: list[Message]) -> None:
        """Publish all; returns when all are replicated. Raises StoreFailedError."""
        self.call(lambda: self._publish_all(messages))

    async def extent(self) -> tuple[int, int]:
        """First and last number that the stream holds now; on the line's loop."""
        info = await self.jet.stream_info(self.address.stream)
        self._failing_since = None
        self._unfit = unfit(info.config)  # somebody may edit a stream that is in use
        state = info.state
        return state.first_seq, state.last_seq

    async def failed(self) -> None:
        """Take note that JetStream did not do what it was asked; on the line's loop.

        Moves on to another server where that has lasted.
        """
        now = self._loop.time()
        if self._failing_since is None:
            self._failing_since = now
        elif now >= self._failing_since + ELSEWHERE_SECONDS:
            self._failing_since = None
            url = self._client.connected_url
            left = f"{url.hostname}:{url.port}" if url else ""  # a login in it is nobody's business
            logger("journal").warning("journal.elsewhere", left=left)
            await self._client.force_reconnect()

    async def _end(self) -> None:
        with contextlib.suppress(*PASSING):
            await self._client.flush(timeout=2)  # acknowledgements among it
        await self._client.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=ANSWER_SECONDS)

    async def _connect(self, seconds: float) -> None:
        address = self.address
        async with asyncio.timeout(seconds):
            await self._client.connect(
                list(address.servers),
                name="plantgate",
                connect_timeout=3,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RETRY_SECONDS,  # type: ignore[arg-type]  # it only sleeps for it
                ping_interval=3,
                max_outstanding_pings=2,
                error_cb=_nothing,
                user=address.user or None,
                password=address.password or None,
                user_credentials=str(address.credentials) if address.credentials else None,
                tls=_tls(address),
            )
            while True:
                try:
                    info = await self._stream()
                    break
                except PASSING:
                    await self.failed()
                    await asyncio.sleep(RETRY_SECONDS)  # no leader yet
        self.name = f"{address.stream}@{info.created:%Y%m%dT%H%M%S.%f}"

    async def _stream(self) -> StreamInfo:
        try:
            info = await self.jet.stream_info(self.address.stream)
        except NotFoundError:
            info = await self.jet.add_stream(_config(self.address))
        kept, asked = info.config.num_replicas or 1, self.address.replicas
        few = f"it keeps {kept} of {asked} copies (nats stream edit, or ?replicas={kept})"
        if fault := unfit(info.config) or (few if kept < asked else ""):
            raise StorePathError(_may_lose(self.address, fault))
        return info

    async def _publish_all(self, messages: list[Message]) -> None:
        if self._unfit:
            with contextlib.suppress(*PASSING):
                await self.extent()
        if self._unfit:
            raise StoreFailedError(_may_lose(self.address, self._unfit))
        try:
            async with asyncio.TaskGroup() as group:
                for message in messages:
                    group.create_task(self._publish(message))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _publish(self, message: Message) -> None:
        headers = {"Nats-Msg-Id": message.name, INDEX_HEADER: message.header}
        end = self._loop.time() + PUBLISH_SECONDS
        while True:
            try:
                await self.jet.publish(
                    self.address.subject(message.lane),
                    message.body,
                    timeout=ANSWER_SECONDS,
                    stream=self.address.stream,
                    headers=dict(headers),
                )
            except PASSING as error:
                if self._loop.time() >= end:
                    text = f"the journal did not take it: {said(error)}"
                    raise StoreFailedError(text) from None
                await self.failed()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._failing_since = None
                return


async def page_of(
    subscription: JetStreamContext.PullSubscription, most: int, seconds: float
) -> list[Msg]:
    """Messages that are there, at most so many; waits for the first, not for the others.

    Raises TimeoutError if none comes.
    """
    page = await subscription.fetch(1, timeout=seconds)
    if waiting := min(most - 1, page[0].metadata.num_pending or 0):
        with contextlib.suppress(TimeoutError, nats.errors.TimeoutError):
            page += await subscription.fetch(waiting, timeout=_REST_SECONDS)
    return page


def unfit(config: StreamConfig) -> str:
    """Say what of a stream's set-up could lose what was acknowledged, or nothing."""
    if config.retention is not None and config.retention != RetentionPolicy.LIMITS:
        return "its retention is not by limits"
    if config.discard != DiscardPolicy.NEW:
        return "a full stream would discard the old (discard must be new)"
    if config.max_age:
        return "it forgets by age (max_age must be 0)"
    if config.max_msgs_per_subject > 0:
        return "it forgets by count (max_msgs_per_subject must be -1)"
    if config.storage == StorageType.MEMORY:
        return "it is in memory only"
    if config.no_ack:
        return "it does not acknowledge"
    return ""


def _config(address: JournalAddress) -> StreamConfig:
    return StreamConfig(
        name=address.stream,
        description="receive journal of plantgate",
        subjects=[address.subject()],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        max_bytes=address.max_bytes or -1,
        max_age=0,
        storage=StorageType.FILE,
        num_replicas=address.replicas,
        duplicate_window=DUPLICATES_SECONDS,
        allow_direct=False,
    )


def _tls(address: JournalAddress) -> ssl.SSLContext | None:
    if address.ca is None and address.certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(address.ca) if address.ca else None)
        if address.certificate is not None:
            context.load_cert_chain(str(address.certificate), str(address.key))
    except OSError as error:  # ssl.SSLError is one
        raise StorePathError(f"journal certificates: {error.strerror or error}") from None
    return context


def _may_lose(address: JournalAddress, fault: str) -> str:
    return f"journal {address.stream} may lose what was acknowledged: {fault}"


def said(error: BaseException) -> str:
    """What the client said, in one line."""
    text = str(error).strip().partition("\n")[0]
    return text or type(error).__name__


async def _nothing(_error: Exception) -> None:
    """Say nothing: what matters comes back from the call that it fails."""
