"""What a Hello says about a gateway's log that does not fit what is stored of it. Pure.

Each doubt becomes a fault in the store and a Notice to the gateway: an event at both ends.

- new_log: this gateway used another log before (a new disk, a renewed log, another box);
- log_behind: the log ends before what was received of it (a restored backup, a second box);
- forked: the record at its head is another one here (likewise, after it had gone on alone);
- restored_store: it was told that records are stored which are not here (this store was restored).

A Hello speaks for the streams of its own lane. What it says of the others may be overtaken by their
own connection: it is made when connecting begins and may wait for the line, while the other lane
delivers what was committed since. So it counts for those only where what is stored was not made by
the boot that speaks.

Nothing is lost by any of them: the gateway takes a new log id, or sends again (gateway/uplink).
"""

from __future__ import annotations

from buffer.contract import Stream
from gateway.receiver.check import Fault
from gateway.receiver.contract import NEW_LOG, Known
from gateway.wire.v1 import uplink_pb2 as wire

_LANES = {
    wire.LANE_PRIORITY: (Stream.ALARM, Stream.EVENT),
    wire.LANE_BULK: (Stream.TELEMETRY, Stream.EVIDENCE),
    wire.LANE_COPY: (),  # it repeats what another lane has said
}


def doubts(hello: wire.Hello, known: Known) -> dict[Stream, list[Fault]]:
    """Faults by stream; `known` is what the store holds of Hello's log."""
    found: dict[Stream, list[Fault]] = {}
    if known.previous_log:
        text = (
            f"log {hello.log_id.hex()} is new; the gateway used {known.previous_log.hex()} before"
        )
        found[Stream.EVENT] = [Fault(0, NEW_LOG, b"", text)]
    spoken_for = {int(stream) for stream in _LANES.get(hello.lane, tuple(Stream))}
    for state in hello.streams:
        if not Stream.ALARM <= state.stream <= Stream.EVIDENCE:
            continue
        stream = Stream(state.stream)
        counts = state.stream in spoken_for or known.boots.get(stream) != hello.boot_id
        if counts and (faults := _stream_doubts(stream, state, known)):
            found.setdefault(stream, []).extend(faults)
    return found


def _stream_doubts(stream: Stream, state: wire.StreamState, known: Known) -> list[Fault]:
    ranges = known.acknowledged[stream]
    name = stream.name.lower()
    top = max((stop for _, stop in ranges), default=1)
    head = state.next_sequence - 1
    if top > state.next_sequence:
        text = f"the gateway's {name} log ends with {head}, {top - 1} was received of it"
        return [Fault(head, "log_behind", state.head_hash[:32], text)]
    stored = dict(known.checkpoints.get(stream, ())).get(head)
    if stored is not None and state.head_hash and stored != state.head_hash:
        text = f"{name} record {head} of the gateway is another one than was received"
        return [Fault(head, "forked", state.head_hash[:32], text)]
    missing = ranges.missing(state.first_sequence, state.acknowledged_stop)
    if state.acknowledged_stop > state.first_sequence and missing:
        first = next(iter(missing))[0]
        text = f"{len(missing)} {name} records were acknowledged and are not here; sent again"
        return [Fault(first, "restored_store", b"", text)]
    return []
