"""publish.py against asyncua's own encoder, hostile bytes, and every order of sequence numbers."""

from __future__ import annotations

import contextlib
from typing import Any

import asyncua.ua
import pytest
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.opcua.publish import (
    Follow,
    SequenceFollower,
    ServiceFaultError,
    following,
    read_publish_response,
    read_republish_response,
)
from drivers.opcua.wire import CodecError

ua: Any = asyncua.ua
LAST = 4_294_967_295


def response(*notifications: object, sequence: int = 7) -> bytes:
    message = ua.PublishResponse()
    message.ResponseHeader.StringTable = ["a", None, "b"]
    result = message.Parameters
    result.SubscriptionId = 42
    result.AvailableSequenceNumbers = [5, 6, 7]
    result.MoreNotifications = True
    result.NotificationMessage.SequenceNumber = sequence
    result.NotificationMessage.NotificationData = list(notifications)
    result.Results = [ua.StatusCode(0)]
    return bytes(struct_to_binary(message))


def data_change() -> object:
    notification = ua.DataChangeNotification()
    notification.MonitoredItems = [
        ua.MonitoredItemNotification(3, ua.DataValue(ua.Variant(1.5, ua.VariantType.Double)))
    ]
    return notification


def test_bodies_come_as_they_were_written() -> None:
    change = data_change()
    events = ua.EventNotificationList()
    found = read_publish_response(response(change, events, change))
    assert (found.subscription, found.sequence) == (42, 7)
    assert found.available == (5, 6, 7)
    assert found.more
    assert found.data_changes == (struct_to_binary(change),) * 2
    assert len(found.events) == 1
    assert found.other == 0
    assert found.status_change is None
    assert not found.keep_alive


def test_a_keep_alive_and_a_status_change() -> None:
    assert read_publish_response(response()).keep_alive
    over = ua.StatusChangeNotification()
    over.Status = ua.StatusCode(0x800A_0000)
    found = read_publish_response(response(over))
    assert found.status_change == 0x800A_0000
    assert not found.keep_alive


def test_republish_response() -> None:
    message = ua.RepublishResponse()
    message.NotificationMessage.SequenceNumber = 9
    message.NotificationMessage.NotificationData = [data_change()]
    found = read_republish_response(bytes(struct_to_binary(message)))
    assert found.sequence == 9
    assert len(found.data_changes) == 1


def test_a_fault_and_a_wrong_type_are_told_apart() -> None:
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(0x8079_0000)
    with pytest.raises(ServiceFaultError) as caught:
        read_publish_response(bytes(struct_to_binary(fault)))
    assert caught.value.status == 0x8079_0000
    with pytest.raises(CodecError):
        read_republish_response(response())


@given(st.binary(max_size=120))
def test_hostile_bytes(body: bytes) -> None:
    with contextlib.suppress(CodecError, ServiceFaultError):
        read_publish_response(body)


@given(st.data())
def test_bent_bytes(data: st.DataObject) -> None:
    body = bytearray(response(data_change()))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]
    with contextlib.suppress(CodecError, ServiceFaultError):
        read_publish_response(bytes(body))


@given(
    st.integers(LAST - 50, LAST) | st.integers(1, 50),
    st.lists(st.sampled_from(["data", "lost", "keep-alive", "twice"]), max_size=60),
)
@example(LAST, ["lost", "data"])
@example(LAST, ["data", "data"])
def test_exactly_the_lost_numbers_are_named(start: int, happenings: list[str]) -> None:
    follower = SequenceFollower(start)
    sequence, last = start, None
    named: list[int] = []
    lost: list[int] = []
    for happening in happenings:
        if happening == "lost":
            lost.append(sequence)
        elif happening == "twice":
            assert last is None or follower.feed(last, keep_alive=False).duplicate
        else:
            named += numbers(follower.feed(sequence, keep_alive=happening == "keep-alive"))
        if happening == "data":
            last = sequence
        if happening in ("data", "lost"):
            sequence = following(sequence)
    named += numbers(follower.feed(sequence, keep_alive=True))
    assert named == lost


def numbers(follow: Follow) -> list[int]:
    """All numbers that a Follow names as missing."""
    assert not follow.duplicate
    if follow.missing is None:
        return []
    found = [follow.missing[0]]
    while len(found) < follow.count:
        found.append(following(found[-1]))
    assert found[-1] == follow.missing[1]
    return found


def test_a_server_that_counts_anew_is_followed_and_a_repeated_message_is_not() -> None:
    follower = SequenceFollower(500)
    assert follower.feed(500, keep_alive=False, published_ticks=10) == Follow()
    assert follower.feed(501, keep_alive=False, published_ticks=20) == Follow()
    assert follower.feed(500, keep_alive=False, published_ticks=10) == Follow(duplicate=True)
    assert follower.feed(1, keep_alive=True, published_ticks=30) == Follow()
    assert follower.feed(1, keep_alive=False, published_ticks=40) == Follow(restarted=True)
    assert follower.feed(2, keep_alive=False, published_ticks=50) == Follow()
    assert follower.feed(2, keep_alive=False) == Follow(duplicate=True)
