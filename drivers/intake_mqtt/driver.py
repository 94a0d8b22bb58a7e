"""The MQTT intake as the gateway sees it: connections one after another, and what is told between.

Guarantees:

- A message is acknowledged only after everything of it is durable: its right rows, and an event
  `intake.rejected` with the reasons and the content for those that are not, as nobody waits for an
  answer. Acknowledgements leave in the order of arrival (MQTT 3.1.1, MQTT-4.6.0-2).
- If something cannot be stored, nothing of that message is acknowledged and the connection ends;
  the broker sends it again.
- A message that can never be read is acknowledged and told as `intake.rejected`: it must not block
  those behind it for ever.
- A broker that has forgotten our session (`mqtt.session_lost`) may have lost what came while we
  were away; a message published at QoS 0 may be lost with us (counted, told once a connection).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from drivers.contract import Clock, DeviceError, DriverPoint, Emit, SourceEvent
from drivers.intake.aside import aside
from drivers.intake.counted_log import CountedLog
from drivers.intake.desk import Desk, NotDurableError
from drivers.intake.document import DocumentError, read_json
from drivers.intake.mapping import load
from drivers.intake.rows import Rejected, RowReader
from drivers.intake.settings import ExternalAddress
from drivers.intake_mqtt.client import Link, Message, connect, not_mqtt
from drivers.intake_mqtt.config import MqttIntakeConfig
from drivers.intake_mqtt.topics import TopicTables

MAX_UNDER_WAY = 256
"""Messages being stored at once; brokers send some 20 of QoS 1 before they wait."""

_Work = tuple[Message, asyncio.Task[None]]


class MqttIntake:
    """One MQTT intake."""

    def __init__(
        self,
        name: str,
        config: MqttIntakeConfig,
        points: Sequence[DriverPoint[ExternalAddress]],
        clock: Clock,
    ) -> None:
        self._name = name
        self._config = config
        self._clock = clock
        self._topics = TopicTables(config.topics)
        self._reader = RowReader(name, load(config.mapping, name))
        self._desk = Desk(name, points, clock, config.stale_after_s)
        self._counts = {"messages": 0.0, "acknowledged": 0.0, "qos0_messages": 0.0,
                        "connections": 0.0, "sessions_lost": 0.0}  # fmt: skip
        self._told_qos0 = False
        self._log = CountedLog(f"intake_mqtt.{name}", not_mqtt, clock)

    def statistics(self) -> Mapping[str, float]:
        """Counts since start."""
        rubbish = {"not_mqtt": float(self._log.total)}
        return {**self._desk.statistics(), **self._counts, **rubbish}

    async def run(self, emit: Emit) -> None:
        """Receive until cancelled; raises DeviceError when the broker or the buffer fails."""
        try:
            async with connect(self._config, self._log) as link:
                await self._begin(link, emit)
                await self._serve(link, emit)
        except* DeviceError as errors:
            why = f"{self._name}: {next(_leaves(errors))}"
        except* NotDurableError as errors:
            why = f"{self._name}: not stored ({next(_leaves(errors))}); the broker sends it again"
        else:
            why = f"{self._name}: the connection ended"
        await self._desk.tell_down(emit, why)
        raise DeviceError(why)

    async def _begin(self, link: Link, emit: Emit) -> None:
        counts = self._counts
        kept = link.session_present
        if counts["connections"] and not kept:
            counts["sessions_lost"] += 1
            text = (
                "The broker has forgotten our session: what was published while we were away may"
                " be lost."
            )
            await emit(self._event("mqtt.session_lost", text))
        counts["connections"] += 1
        self._told_qos0 = False
        where = f"{self._config.host}:{self._config.port}"
        text = f"Connected to {where}; the session was {'kept' if kept else 'new'}."
        await self._desk.tell_up(emit, text, {"session_present": str(kept).lower()})

    async def _serve(self, link: Link, emit: Emit) -> None:
        work: asyncio.Queue[_Work] = asyncio.Queue(MAX_UNDER_WAY)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._acknowledge(link, work))
            group.create_task(self._desk.watch(emit))
            async for message in link.messages():
                self._counts["messages"] += 1
                await work.put((message, group.create_task(self._take(message, emit))))

    async def _acknowledge(self, link: Link, work: asyncio.Queue[_Work]) -> None:
        """Acknowledge in order; a message that failed ends the connection by its own task."""
        while True:
            message, task = await work.get()
            await asyncio.wait([task])
            if task.cancelled() or task.exception() is not None:
                return
            link.acknowledge(message)
            self._counts["acknowledged"] += 1

    async def _take(self, message: Message, emit: Emit) -> None:
        """Store one message; durable on return."""
        topic, payload = str(message.topic), bytes(message.payload)
        if message.qos == 0:
            await self._note_qos0(topic, emit)
        try:
            rejected = await self._store(topic, payload, emit)
        except DocumentError as error:
            rejected = [Rejected("message", f"the document {error}")]
            self._desk.counters.refused_documents += 1
        await self._desk.tell_rejected(emit, topic, rejected, payload)

    async def _store(self, topic: str, payload: bytes, emit: Emit) -> Sequence[Rejected]:
        """Store the right rows; gives the wrong ones. Raises DocumentError."""
        name = self._topics.table(topic)
        table = self._reader.mapping.table(name) if name else None
        if table is None:
            raise DocumentError("came on a topic that no filter names")
        if len(payload) > self._config.max_message_kb << 10:
            raise DocumentError(f"is larger than {self._config.max_message_kb} KB")
        document = await aside(len(payload), partial(read_json, payload))
        if table.record is None:
            samples = await aside(len(payload), partial(self._desk.samples.read, table, document))
            digest = hashlib.sha256(topic.encode() + b"\0" + payload).digest()
            await self._desk.hand_in_samples(emit, samples, digest)
            return samples.rejected
        envelope = {"topic": topic.split("/")}
        now_ns = self._clock.wall_ns()
        read = partial(self._reader.read, table, document, topic, now_ns, envelope=envelope)
        rows = await aside(len(payload), read)
        await self._desk.hand_in(emit, rows)
        return [row for row in rows if isinstance(row, Rejected)]

    async def _note_qos0(self, topic: str, emit: Emit) -> None:
        self._counts["qos0_messages"] += 1
        if self._told_qos0:
            return
        self._told_qos0 = True
        text = (
            f"{topic} is published at QoS 0: what comes while we are away is lost. Ask for QoS 1."
        )
        await emit(self._event("device.warning", text))

    def _event(self, kind: str, text: str) -> SourceEvent:
        return SourceEvent(kind, self._name, self._clock.wall_ns(), text)


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """Flatten an exception group."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


__all__ = ["MqttIntake"]
