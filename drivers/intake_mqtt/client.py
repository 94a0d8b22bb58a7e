"""One MQTT connection that reads: the only file that imports aiomqtt.

Guarantees:

- A message of QoS 1 is acknowledged by `acknowledge` and by nothing else. paho 2's manual
  acknowledgement is switched on; aiomqtt 2.5 offers it only on its inner client.
- **It cannot publish.** ALLOWED_FRAMES stands at the queue from which paho writes to the socket;
  any other frame raises RefusedFrameError before a byte leaves. There is no will either.
- The session is kept by the broker (clean session off, fixed client id); `session_present` tells
  whether it was.
- `connect` may be cancelled at any time: the library's thread is waited for (at most the time-out
  of a connection) and what it opened is closed. After `close` no task and no socket is left.

Internals used, each with a test in tests/drivers/intake_mqtt: `Client._client`, `_queue`,
`_on_connect`, `_on_message`, `_client_connect`, `_misc_task`, `_wait_for`; of paho `_out_packet`,
`_sock_close`.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import Any, TypeVar, cast

import aiomqtt

from drivers.contract import DeviceError
from drivers.intake.settings import read_secret
from drivers.intake_mqtt.config import MqttIntakeConfig

ALLOWED_FRAMES = {0x10: "CONNECT", 0x40: "PUBACK", 0x80: "SUBSCRIBE", 0xC0: "PINGREQ",
                  0xE0: "DISCONNECT"}  # fmt: skip
"""MQTT 3.1.1, table 2.1: all that a client sends that only reads at QoS 1."""

QOS = 1
MAX_WAITING = 10_000
"""Messages waiting here. Brokers send some 20 of QoS 1 before they wait for us; more is a flood of
QoS 0."""


Message = aiomqtt.Message
T = TypeVar("T")


class RefusedFrameError(Exception):
    """Something tried to send a frame that only a client that writes would send."""


_Packet = dict[str, Any]


class _GuardedPackets(collections.deque[_Packet]):
    """Paho's queue of frames to send; takes only what is allowed."""

    def append(self, packet: _Packet, /) -> None:
        _check(packet)
        super().append(packet)

    def appendleft(self, packet: _Packet, /) -> None:
        _check(packet)
        super().appendleft(packet)

    def extend(self, packets: Iterable[_Packet], /) -> None:
        for packet in packets:
            self.append(packet)

    def insert(self, index: int, packet: _Packet, /) -> None:
        _check(packet)
        super().insert(index, packet)


class _Context(ssl.SSLContext):
    """TLS that verifies the broker, and knows its socket: paho leaves it open if that fails."""

    last: ssl.SSLSocket | None = None

    def wrap_socket(self, *given: Any, **named: Any) -> ssl.SSLSocket:  # noqa: ANN401  # the library's signature
        self.last = super().wrap_socket(*given, **named)
        return self.last

    def close_last(self) -> None:
        if self.last is not None:
            self.last.close()


class _Client(aiomqtt.Client):
    """aiomqtt's client with manual acknowledgement, the guard and two things it does not tell."""

    def __init__(
        self,
        config: MqttIntakeConfig,
        tls: _Context | None,
        password: str | None,
        log: logging.Logger,
    ) -> None:
        super().__init__(
            config.host, config.port, identifier=config.client_id, username=config.user,
            password=password, clean_session=False, tls_context=tls,
            keepalive=config.keep_alive_s, timeout=config.connect_timeout_s, logger=log,
        )  # fmt: skip
        self._client.manual_ack_set(True)
        self._client.connect_timeout = config.connect_timeout_s
        # The guard, see above; paho gives its packets a private type.
        self._client._out_packet = cast("Any", _GuardedPackets())  # noqa: SLF001  # no other way in
        self._tls = tls
        self._thread_done = asyncio.Event()
        self._thread_started = False
        self.session_present = False
        self.overflowed = False

    def acknowledge(self, message: Message) -> None:
        if message.qos == QOS:
            self._client.ack(message.mid, QOS)

    async def end_connecting(self) -> None:
        """After a cancelled connect: wait for the thread, then close what it opened."""
        if self._thread_started:
            await self._thread_done.wait()
        self._client.disconnect()
        await self.settle()

    async def settle(self) -> None:
        """Close the socket if it is still open, and let the library's task end."""
        self._client._sock_close()  # noqa: SLF001  # a frozen broker never lets DISCONNECT out
        for _ in range(3):
            await asyncio.sleep(0)
        if self._misc_task is not None and not self._misc_task.done():
            self._misc_task.cancel()
            await asyncio.wait([self._misc_task])

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109  # the library's
        """As the library's, which waits by asyncio.wait_for.

        That one loses a cancellation that comes as the answer does (Python 3.11), and the run would
        go on as if nothing had been said.
        """
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                return await fut
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None

    def _client_connect(self) -> None:
        """Connect; the library calls this in a thread."""
        self._thread_started = True
        try:
            super()._client_connect()
        except OSError:
            if self._tls is not None:
                self._tls.close_last()
            raise
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is gone
                self._loop.call_soon_threadsafe(self._thread_done.set)

    def _on_connect(self, client: Any, userdata: Any, flags: Any, *rest: Any) -> None:  # noqa: ANN401  # the library's signature
        self.session_present = bool(flags.session_present)
        super()._on_connect(client, userdata, flags, *rest)

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:  # noqa: ANN401  # the library's signature
        if self._queue.qsize() >= MAX_WAITING:
            self.overflowed = True
            return
        super()._on_message(client, userdata, message)


class Link:
    """One connection; made by `connect`, ended by leaving it."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    @property
    def session_present(self) -> bool:
        """Tell whether the broker had kept our session."""
        return self._client.session_present

    async def messages(self) -> AsyncIterator[Message]:
        """Messages until the link is lost; raises DeviceError."""
        try:
            async for message in self._client.messages:
                if self._client.overflowed:
                    raise DeviceError(f"more than {MAX_WAITING} messages are waiting (QoS 0?)")
                yield message
        except aiomqtt.MqttError as error:
            raise DeviceError(f"the broker is lost: {_words(error)}") from error

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that the message is ours now; QoS 0 takes none."""
        self._client.acknowledge(message)


@contextlib.asynccontextmanager
async def connect(config: MqttIntakeConfig, log: logging.Logger) -> AsyncIterator[Link]:
    """Connect and subscribe; raises DeviceError in plain words. log: where the library writes."""
    where = f"{config.host}:{config.port}"
    try:
        password = read_secret(config.password_file) if config.password_file else None
        client = _Client(config, _tls(config), password, log)
    except (OSError, ValueError) as error:
        raise DeviceError(f"{where}: {error}") from error
    try:
        await client.__aenter__()
    except aiomqtt.MqttError as error:
        await client.end_connecting()
        raise DeviceError(f"{where} cannot be reached: {_words(error)}") from error
    except BaseException:
        await client.end_connecting()
        raise
    try:
        await _subscribe(client, config)
        yield Link(client)
    finally:
        with contextlib.suppress(aiomqtt.MqttError):
            await client.__aexit__(None, None, None)
        await client.settle()


async def _subscribe(client: _Client, config: MqttIntakeConfig) -> None:
    topics = list(config.topics)
    try:
        codes = await client.subscribe([(topic, QOS) for topic in topics])
    except aiomqtt.MqttError as error:
        raise DeviceError(f"the broker did not take the subscription: {_words(error)}") from error
    numbers = [code if isinstance(code, int) else code.value for code in codes]
    refused = [topic for topic, code in zip(topics, numbers, strict=True) if code >= 0x80]
    if refused:
        raise DeviceError(f"the broker refuses topic {refused[0]}: ask for the right to read it")


def _tls(config: MqttIntakeConfig) -> _Context | None:
    if config.ca is None:
        return None
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.load_verify_locations(config.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.certificate is not None:
        context.load_cert_chain(config.certificate, config.key)
    return context


def not_mqtt(record: logging.LogRecord) -> str:
    """Say in a clause what paho tells of bytes that are no MQTT; nothing of all else."""
    if record.msg != "Error: Unrecognised command %s" or not isinstance(record.args, tuple):
        return ""
    return f"the broker sent what is not MQTT (command {record.args[0]})"


def _check(packet: _Packet) -> None:
    frame = packet["packet"][0] & 0xF0
    if frame not in ALLOWED_FRAMES or packet["command"] & 0xF0 != frame:
        raise RefusedFrameError(f"an MQTT frame 0x{frame:02X} is refused: this driver only reads")


def _words(error: Exception) -> str:
    said = str(error).splitlines()
    return said[0][:200] if said and said[0] else type(error).__name__


__all__ = ["ALLOWED_FRAMES", "Link", "Message", "RefusedFrameError", "connect", "not_mqtt"]
