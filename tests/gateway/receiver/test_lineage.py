"""Doubts about a Hello: what does not fit what is stored, and what only looks so."""

from __future__ import annotations

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.contract import Known
from gateway.receiver.lineage import doubts
from gateway.wire.v1 import uplink_pb2 as wire

BOOT = b"B" * 16


def known(**stops: int) -> Known:
    """A store that holds each named stream from its beginning up to, without, `stop`."""
    held = {stream: RangeSet() for stream in Stream}
    for name, stop in stops.items():
        held[Stream[name.upper()]].add(1, stop)
    return Known(1, held, (), boots=dict.fromkeys(Stream, BOOT))


def hello(lane: wire.Lane.ValueType, **nexts: int) -> wire.Hello:
    streams = [
        wire.StreamState(
            stream=wire.Stream.ValueType(int(Stream[name.upper()])),
            first_sequence=1,
            next_sequence=stop,
            acknowledged_stop=1,
        )
        for name, stop in nexts.items()
    ]
    return wire.Hello(lane=lane, streams=streams, boot_id=BOOT)


def kinds(said: wire.Hello, held: Known) -> dict[Stream, list[str]]:
    return {stream: [one.kind for one in faults] for stream, faults in doubts(said, held).items()}


def test_a_log_that_ends_before_what_was_received_is_behind() -> None:
    said = hello(wire.LANE_PRIORITY, alarm=784, event=504, telemetry=9)
    assert kinds(said, known(alarm=785, event=504, telemetry=9)) == {Stream.ALARM: ["log_behind"]}


def test_a_hello_that_waited_for_the_line_is_not_held_against_the_other_lane() -> None:
    """The bulk lane's Hello was made before alarm 784, which the priority lane has delivered."""
    said = hello(wire.LANE_BULK, alarm=784, event=504, telemetry=9)
    held = known(alarm=785, event=505, telemetry=9)
    assert kinds(said, held) == {}
    assert kinds(said, known(telemetry=10)) == {Stream.TELEMETRY: ["log_behind"]}


def test_a_log_of_another_boot_is_found_out_by_the_first_lane_that_speaks() -> None:
    said = hello(wire.LANE_BULK, alarm=784, telemetry=9)
    said.boot_id = b"R" * 16
    assert kinds(said, known(alarm=785, telemetry=9)) == {Stream.ALARM: ["log_behind"]}


def test_a_gateway_that_names_no_lane_speaks_for_all_streams() -> None:
    said = hello(wire.LANE_UNSPECIFIED, alarm=2, telemetry=2)
    assert set(kinds(said, known(alarm=3, telemetry=3))) == {Stream.ALARM, Stream.TELEMETRY}


def test_acknowledged_records_that_are_not_here_mean_a_restored_store() -> None:
    said = hello(wire.LANE_PRIORITY, alarm=10)
    said.streams[0].acknowledged_stop = 8
    assert kinds(said, known(alarm=5)) == {Stream.ALARM: ["restored_store"]}
