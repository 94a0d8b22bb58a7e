"""Which alarms that are in memory only a destination still has to be sent. Pure.

Guarantees: what was told is sent over each new connection until the destination has it stored or it
is durable here, when it goes as a record like any other; never again after that.
"""

from __future__ import annotations

from collections.abc import Sequence

from buffer.contract import VolatileRecord
from gateway.wire.v1 import uplink_pb2 as wire

IN_A_MESSAGE = 100
"""Alarms of some 300 bytes: 30 kB, less than the largest message of a slow line."""


class VolatileOutbox:
    """Of one destination, over all its connections."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, VolatileRecord] = {}

    def add(self, records: Sequence[VolatileRecord]) -> list[wire.GatewayMessage]:
        """Take alarms that have just been told; messages to send if a connection stands."""
        self._waiting |= {one.key: one for one in records}
        return _messages(records)

    def durable(self, records: Sequence[VolatileRecord]) -> None:
        """Take that alarms are durable now."""
        self.stored([one.key for one in records])

    def stored(self, keys: Sequence[bytes]) -> None:
        """Take that the destination has stored them."""
        for key in keys:
            self._waiting.pop(key, None)

    def all(self) -> list[wire.GatewayMessage]:
        """Everything that waits, for a connection that has just been made."""
        return _messages(list(self._waiting.values()))


def _messages(records: Sequence[VolatileRecord]) -> list[wire.GatewayMessage]:
    return [
        wire.GatewayMessage(
            volatile_alarms=wire.VolatileAlarms(
                alarms=[
                    wire.VolatileAlarm(
                        payload=one.payload, time_ns=one.time_ns, monotonic_ns=one.monotonic_ns
                    )
                    for one in records[start : start + IN_A_MESSAGE]
                ]
            )
        )
        for start in range(0, len(records), IN_A_MESSAGE)
    ]
