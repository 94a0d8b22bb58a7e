"""How many requests of a receiver are taken, and the answers that need no session. Pure."""

from __future__ import annotations

from collections import deque

from gateway.uplink.outputs import (
    FindCatalogue,
    FindEvidence,
    Output,
    SendResult,
    SendUnthinned,
    TakePicture,
)
from gateway.wire.v1 import uplink_pb2 as wire

REQUESTS_PER_MINUTE = 10
"""An operator's hand, not a program's loop."""
_MINUTE_NS = 60_000_000_000


class RequestLimit:
    """Counts requests of the last minute."""

    def __init__(self) -> None:
        self._taken: deque[int] = deque()

    def takes(self, now_ns: int) -> bool:
        """Tell whether one more is taken now, and count it."""
        while self._taken and now_ns - self._taken[0] > _MINUTE_NS:
            self._taken.popleft()
        if len(self._taken) >= REQUESTS_PER_MINUTE:
            return False
        self._taken.append(now_ns)
        return True


def asked_for(request: wire.Request) -> dict[str, str | int]:
    """Attributes of the event that puts a request on record."""
    attributes: dict[str, str | int] = {"request_id": request.request_id}
    if request.HasField("snapshot"):
        attributes["camera"] = request.snapshot[:64]
    return attributes


def plain_answer(request: wire.Request) -> list[Output]:
    """Answer what needs no look at a stream, or refuse it."""
    number = request.request_id
    match request.WhichOneof("what"):
        case "catalogue":
            done = SendResult(number, accepted=True, message="the catalogue will be sent again")
            return [FindCatalogue(request.catalogue), done]
        case "evidence":
            return [FindEvidence(number, request.evidence)]
        case "snapshot":
            return [TakePicture(number, request.snapshot)]
        case "unthinned":
            return [SendUnthinned(number, request.unthinned)]
        case _:
            return [SendResult(number, accepted=False, message="no such request")]
