"""What the links of one uplink work with, and what they tell the Uplink that owns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from buffer.contract import Record
from drivers.contract import Clock
from gateway.model.clock import ServerTime
from gateway.uplink.channel import Destination
from gateway.uplink.encode import GatewayIdentity, Moment
from gateway.uplink.file_policy import FilePolicy
from gateway.uplink.outputs import Lane, LogForked, SessionSettings
from gateway.uplink.pictures import Answer
from gateway.uplink.sent_log import SentLog
from gateway.wire.v1 import uplink_pb2 as wire


class Hub(Protocol):
    """What a link needs of the Uplink that owns it: the other lane, and the world."""

    def opened(self, lane: Lane) -> None:
        """The receiver welcomed this lane."""
        ...

    def acknowledged(self) -> None:
        """The cursor moved."""
        ...

    def relay(self, lane: Lane, message: wire.ReceiverMessage) -> None:
        """Give a message to the lane that is not this one."""
        ...

    def catalogue_wanted(self, catalogue: bytes) -> None:
        """Have the priority lane deliver the event that announces this catalogue."""
        ...

    def catalogue_delivered(self, catalogue: bytes) -> None:
        """Tell the bulk lane that the receiver has a catalogue."""
        ...

    def long_line(self) -> None:
        """The round trip is long enough for a lane of copies."""
        ...

    def copy(self, records: Sequence[Record]) -> None:
        """Send alarms once more on that lane, if it is open."""
        ...

    def log_forked(self, lane: Lane, found: LogForked) -> None:
        """Give the log a new id; every connection must then be made anew."""
        ...

    def report(self, kind: str, text: str, attributes: dict[str, Any]) -> None:
        """Record an event."""
        ...

    def picture_wanted(self, camera: str, answer: Answer) -> None:
        """Have a camera's picture taken, and say what came of it."""
        ...

    def unthinned_wanted(self, period: wire.ResendPeriod, answer: Answer) -> None:
        """Have a period sent with every sample, and say whether that can be."""
        ...

    def status(self, ping: int, moment: Moment) -> wire.GatewayMessage:
        """Make the heartbeat."""
        ...

    def heard_time(self, said: ServerTime) -> None:
        """The receiver told what time it is."""
        ...

    def volatile_stored(self, keys: Sequence[bytes]) -> None:
        """The receiver has stored alarms that are in memory only here."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every link of one uplink works with."""

    destination: Destination
    identity: GatewayIdentity
    log: SentLog
    clock: Clock
    settings: SessionSettings
    policy: FilePolicy = field(default_factory=FilePolicy)
