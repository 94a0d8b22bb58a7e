"""Reads PublishResponse and RepublishResponse, and follows a subscription's sequence numbers. Pure.

Guarantees: a notification body is handed on as the bytes it came in; a message that is missing is
named once; one that comes twice is named as such. Hostile bytes raise CodecError only.

Sequence numbers (OPC 10000-4, 5.14.1.1): 1 for the first notification of a subscription, then one
more each, 1 after 4294967295. A keep-alive carries the number of the next notification and uses
none up, so a number that went missing shows at the latest with the next keep-alive.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.opcua.wire import CodecError, Cursor

PUBLISH_RESPONSE, REPUBLISH_RESPONSE = 829, 835
DATA_CHANGE, STATUS_CHANGE, EVENTS = 811, 820, 916
READ_RESPONSE, HISTORY_READ_RESPONSE, HISTORY_DATA = 634, 667, 658
"""Numbers of the binary encodings in namespace 0 (OPC 10000-6, annex A: NodeIds.csv)."""

_LAST_SEQUENCE = 4_294_967_295


class ServiceFaultError(Exception):
    """The server answered with a StatusCode instead of a result; `status` is all 32 bits."""

    def __init__(self, status: int) -> None:
        super().__init__(f"service fault 0x{status:08X}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Notification:
    """One NotificationMessage.

    subscription: id, 0 in a RepublishResponse.  sequence: see the module.
    published_ticks: PublishTime, when the server first sent it, in ticks of 100 ns since 1601.
    data_changes: bodies for codec.decode_data_change, in order.
    status_change: StatusCode of a StatusChangeNotification, or None; the subscription is over.
    events: bodies of EventNotificationLists.  other: how many bodies of further types it held.
    available: what the server can republish.
    more: the server has further notifications ready.
    """

    subscription: int
    sequence: int
    data_changes: tuple[bytes, ...]
    status_change: int | None
    events: tuple[bytes, ...]
    other: int
    available: tuple[int, ...]
    more: bool
    published_ticks: int = 0

    @property
    def keep_alive(self) -> bool:
        """Tell whether it carries nothing, so that its sequence number is not used up."""
        return not (
            self.data_changes or self.events or self.other or self.status_change is not None
        )


def read_publish_response(body: bytes) -> Notification:
    """Read a whole response body, type id first. Raises CodecError, ServiceFaultError."""
    cursor = Cursor(body)
    _read_header(cursor, PUBLISH_RESPONSE)
    subscription = cursor.u32()
    available = tuple(cursor.u32() for _ in range(cursor.count(4)))
    more = cursor.u8() != 0
    return _read_message(cursor, subscription, available, more)


def read_republish_response(body: bytes) -> Notification:
    """Read a RepublishResponse likewise."""
    cursor = Cursor(body)
    _read_header(cursor, REPUBLISH_RESPONSE)
    return _read_message(cursor, 0, (), more=False)


def _read_header(cursor: Cursor, expected: int) -> None:
    """Read type id and ResponseHeader (OPC 10000-4, 7.33)."""
    namespace, number = cursor.node_id()
    cursor.skip(8 + 4)  # timestamp, request handle
    status = cursor.u32()
    cursor.skip_diagnostic_info()
    for _ in range(cursor.count(4)):
        cursor.span()
    cursor.extension_object()
    if status & 0x8000_0000:
        raise ServiceFaultError(status)
    if (namespace, number) != (0, expected):
        raise CodecError(f"response {expected} expected, ns={namespace};i={number} came")


def _read_message(
    cursor: Cursor, subscription: int, available: tuple[int, ...], more: bool
) -> Notification:
    sequence = cursor.u32()
    published_ticks = cursor.i64()
    data_changes: list[bytes] = []
    events: list[bytes] = []
    status_change: int | None = None
    other = 0
    for _ in range(cursor.count(3)):
        type_id, start, end = cursor.extension_object()
        if type_id == (0, DATA_CHANGE):
            data_changes.append(cursor.content[start:end])
        elif type_id == (0, EVENTS):
            events.append(cursor.content[start:end])
        elif type_id == (0, STATUS_CHANGE):
            status_change = Cursor(cursor.content, start, end).u32()
        else:
            other += 1
    return Notification(
        subscription=subscription,
        sequence=sequence,
        data_changes=tuple(data_changes),
        status_change=status_change,
        events=tuple(events),
        other=other,
        available=available,
        more=more,
        published_ticks=published_ticks,
    )


def read_read_response(body: bytes) -> Cursor:
    """Read the head of a ReadResponse; the cursor stands before its array of DataValues."""
    cursor = Cursor(body)
    _read_header(cursor, READ_RESPONSE)
    return cursor


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """What one node's history answered: StatusCode, continuation point, DataValues if any.

    values stands before the array; None where there is no HistoryData.
    """

    status: int
    continuation: bytes
    values: Cursor | None


def read_history_response(body: bytes) -> list[HistoryPage]:
    """Read a HistoryReadResponse. Raises CodecError, ServiceFaultError."""
    cursor = Cursor(body)
    _read_header(cursor, HISTORY_READ_RESPONSE)
    pages = []
    for _ in range(cursor.count(9)):
        status = cursor.u32()
        first, last = cursor.span()
        type_id, start, end = cursor.extension_object()
        values = Cursor(body, start, end) if type_id == (0, HISTORY_DATA) and end > start else None
        pages.append(HistoryPage(status, body[first:last], values))
    return pages


@dataclass(frozen=True, slots=True)
class Follow:
    """What a sequence number tells.

    missing: numbers first..last inclusive that did not come.  duplicate: it came before.
    restarted: the server has begun to count anew, and how many are missing nobody knows.
    """

    missing: tuple[int, int] | None = None
    duplicate: bool = False
    restarted: bool = False

    @property
    def count(self) -> int:
        """How many are missing."""
        if self.missing is None:
            return 0
        first, last = self.missing
        return (last - first) % _LAST_SEQUENCE + 1


class SequenceFollower:
    """Follows the sequence numbers of one subscription.

    A number of before comes twice, or the server (a stand-by that took over, say) has begun to
    count anew: then it is 1, and published later than all before, which a repeated one never was.
    """

    __slots__ = ("_expected", "_published_ticks")

    def __init__(self, first: int = 1) -> None:
        self._expected = first
        self._published_ticks = 0

    def feed(self, sequence: int, *, keep_alive: bool, published_ticks: int = 0) -> Follow:
        """Take the number and PublishTime of the next message in order of arrival."""
        ahead = (sequence - self._expected) % _LAST_SEQUENCE
        later = 0 < self._published_ticks < published_ticks
        self._published_ticks = max(self._published_ticks, published_ticks)
        if sequence == 0 or ahead > _LAST_SEQUENCE // 2:
            if keep_alive or sequence != 1 or not later:
                return Follow(duplicate=not keep_alive)
            self._expected = following(sequence)
            return Follow(restarted=True)
        follow = Follow()
        if ahead:
            follow = Follow(missing=(self._expected, _before(sequence)))
        self._expected = sequence if keep_alive else following(sequence)
        return follow


def following(sequence: int) -> int:
    """Give the number after this one."""
    return 1 if sequence == _LAST_SEQUENCE else sequence + 1


def _before(sequence: int) -> int:
    return _LAST_SEQUENCE if sequence == 1 else sequence - 1


__all__ = [
    "Follow",
    "HistoryPage",
    "Notification",
    "SequenceFollower",
    "ServiceFaultError",
    "following",
    "read_history_response",
    "read_publish_response",
    "read_read_response",
    "read_republish_response",
]
