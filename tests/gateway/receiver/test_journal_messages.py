"""The pure half of the journal: addresses, messages there and back, the fold against a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffer.contract import NO_HASH, Stream, chain_hash
from buffer.ranges import RangeSet
from gateway.receiver.check import Entry, Fault
from gateway.receiver.contract import Entries, Gaps, Seen, StorePathError
from gateway.receiver.journal.address import parse_journal
from gateway.receiver.journal.fold import Fold
from gateway.receiver.journal.message import (
    BULK,
    Batch,
    DamagedError,
    Speaker,
    index_of,
    works_of,
)
from gateway.wire.v1 import uplink_pb2 as wire

SPEAKERS = [Speaker(f"G-{n}", "91370800TEST", "test/1", bytes([n]) * 16) for n in range(3)]


def test_addresses_are_read() -> None:
    address = parse_journal("nats://u:p%40@n1:4222,n2:4222,n3:4222/COUNTY?max_bytes=5")
    assert address.servers == ("nats://n1:4222", "nats://n2:4222", "nats://n3:4222")
    assert (address.stream, address.replicas, address.max_bytes) == ("COUNTY", 3, 5)
    assert (address.user, address.password) == ("u", "p@")
    assert parse_journal("nats://n1").replicas == 1
    assert parse_journal("tls://n1?replicas=3&ca=ca.pem").ca is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n1:4222", "is no nats://"),
        ("http://n1", "is no nats://"),
        ("nats://", "is no nats://"),
        ("nats://n1/A.B", "only letters"),
        ("nats://n1?age=1", "'age' is none of"),
        ("nats://n1?replicas=x", "is no number"),
        ("nats://n1?key=k", "go together"),
    ],
)
def test_a_wrong_address_is_explained(text: str, said: str) -> None:
    with pytest.raises(StorePathError, match=said):
        parse_journal(text)


def alarms(first: int, sizes: list[int]) -> list[Entry]:
    """Proven alarm records of these text lengths, numbered on from `first`."""
    entries, previous = [], NO_HASH if first == 1 else bytes(32)
    for sequence, size in enumerate(sizes, first):
        payload = wire.Alarm(alarm_id=b"a" * 16, text="x" * size).SerializeToString()
        digest = chain_hash(previous, Stream.ALARM, sequence, payload)
        entries.append(
            Entry(sequence, digest, previous, -5, 7, b"b" * 16, -3, True, False, sequence, b"", 1,
                  payload)
        )  # fmt: skip
        previous = digest
    return entries


@given(
    st.lists(
        st.tuples(st.sampled_from(SPEAKERS), st.integers(1, 1 << 39),
                  st.lists(st.integers(0, 3000), max_size=12), st.booleans()),
        max_size=6,
    )
)  # fmt: skip
def test_what_goes_in_comes_out(
    pushes: list[tuple[Speaker, int, list[int], bool]],
) -> None:
    batch = Batch(BULK, 5000)
    sent: list[tuple[Speaker, Entry]] = []
    faults: list[Fault] = []
    for speaker, first, sizes, faulty in pushes:
        entries = alarms(first, sizes)
        noted = [Fault(first, "damaged", b"h", "why")] if faulty else []
        batch.add_entries(speaker, Entries(1, Stream.ALARM, entries, faults=noted), entries)
        sent += [(speaker, entry) for entry in entries]
        faults += noted
    messages = batch.messages()
    received: list[tuple[Speaker, Entry]] = []
    told: list[Fault] = []
    indexed: set[tuple[str, int]] = set()
    for message in messages:
        assert len(message.body) <= 5000
        for item in works_of(message.body):
            assert isinstance(item.work, Entries)
            received += [(item.speaker, entry) for entry in item.work.entries]
            told += item.work.faults
        for line in index_of(message.header).lines:
            indexed |= {
                (line.gateway_id, number)
                for one in line.ranges
                for number in range(one.start, one.stop)
            }
    assert received == sent
    assert told == faults
    assert indexed == {(speaker.gateway, entry.sequence) for speaker, entry in sent}
    assert len({message.name for message in messages}) == len({one.body for one in messages})


def test_gaps_and_statuses_come_out() -> None:
    batch = Batch(BULK, 5000)
    gaps, seen = Gaps(1, Stream.TELEMETRY, [(3, 9)]), Seen(1, b"\x3a\x02ok")
    batch.add_gaps(SPEAKERS[0], gaps)
    batch.add_status(SPEAKERS[1], seen)
    [message] = batch.messages()
    items = list(works_of(message.body))
    assert [item.speaker for item in items] == SPEAKERS[:2]
    assert [item.work for item in items] == [
        Gaps(0, Stream.TELEMETRY, [(3, 9)]),
        Seen(0, b"\x3a\x02ok"),
    ]


def test_a_message_that_was_damaged_is_not_taken() -> None:
    batch = Batch(BULK, 5000)
    batch.add_entries(SPEAKERS[0], Entries(1, Stream.ALARM, ()), alarms(1, [10]))
    [message] = batch.messages()
    with pytest.raises(DamagedError):
        list(works_of(message.body[:-3]))
    changed = message.body.replace(b"xxxxx", b"xxyxx")
    [item] = works_of(changed)
    assert isinstance(item.work, Entries)
    assert (len(item.work.entries), [one.kind for one in item.work.faults]) == (0, ["damaged"])
    with pytest.raises(DamagedError):
        index_of("no base64!")


def _index(identity: int, stream: Stream, start: int, stop: int) -> wire.JournalIndex:
    speaker = SPEAKERS[identity]
    return wire.JournalIndex(
        lines=[
            wire.JournalLine(
                gateway_id=speaker.gateway,
                log_id=speaker.log_id,
                stream=wire.Stream.ValueType(int(stream)),
                ranges=[wire.Range(start=start, stop=stop)],
                head_sequence=stop - 1,
                head_hash=bytes([stop % 256]),
            )
        ]
    )


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(Stream), st.integers(1, 400),
                       st.integers(1, 9)), max_size=200),
    st.lists(st.integers(0, 200), max_size=5),
)  # fmt: skip
def test_the_fold_names_what_the_journal_holds(
    pushes: list[tuple[int, Stream, int, int]], purges: list[int]
) -> None:
    """Against all messages: nothing that waits is missing; with what has left, nothing is extra."""
    fold = Fold()
    first = 1
    for number, (identity, stream, start, count) in enumerate(pushes, 1):
        fold.feed(number, _index(identity, stream, start, start + count))
        fold.feed(number - 1, _index(identity, stream, 1 << 30, 1 << 31))  # an old one: passed over
    for purge in sorted(purges):
        first = max(first, min(purge, len(pushes)) + 1)
        assert not fold.advance(first, len(pushes), fold.next)
    assert fold.next == len(pushes) + 1
    for identity, speaker in enumerate(SPEAKERS):
        tail = fold.of((speaker.gateway, speaker.log_id))
        for stream in Stream:
            every, waits = RangeSet(), RangeSet()
            for number, (whose, which, start, count) in enumerate(pushes, 1):
                if (whose, which) == (identity, stream):
                    every.add(start, start + count)
                    if number >= first:
                        waits.add(start, start + count)
            found = tail.ranges.get(stream, RangeSet())
            assert not any(found.missing(*one) for one in waits)
            assert not any(every.missing(*one) for one in found)
            found.update(tail.left.get(stream, RangeSet()))
            assert found == every


def test_another_journal_of_the_same_name_forgets_everything() -> None:
    fold = Fold()
    fold.feed(1, _index(0, Stream.ALARM, 1, 5))
    fold.feed(2, wire.JournalIndex(catalogues=[b"c"]))
    assert not fold.advance(1, 2, asked=3)
    assert (len(fold), fold.catalogues()) == (1, frozenset([b"c"]))
    assert fold.advance(1, 0, asked=3), "made anew"
    assert (len(fold), fold.catalogues(), fold.next, fold.holes) == (0, frozenset(), 1, 1)
    fold.feed(1, _index(0, Stream.ALARM, 7, 8))
    assert list(fold.of((SPEAKERS[0].gateway, SPEAKERS[0].log_id)).ranges[Stream.ALARM]) == [(7, 8)]


def test_a_record_that_speaks_for_a_range_is_indexed_whole_and_comes_out_as_it_was() -> None:
    [entry] = alarms(9, [3])
    entry = entry._replace(source_first=4)
    batch = Batch(BULK, 5000)
    batch.add_entries(SPEAKERS[0], Entries(1, Stream.ALARM, [entry]), [entry])
    [message] = batch.messages()
    [line] = index_of(message.header).lines
    assert [(one.start, one.stop) for one in line.ranges] == [(4, 10)]
    [item] = works_of(message.body)
    assert isinstance(item.work, Entries)
    assert item.work.entries == [entry]


def test_what_left_before_it_was_read_is_a_hole() -> None:
    fold = Fold()
    fold.feed(1, _index(0, Stream.ALARM, 1, 5))
    fold.advance(2, 2, asked=2)
    assert (fold.next, fold.holes) == (2, 0)
    fold.advance(4, 6, asked=2)
    assert (fold.next, fold.holes) == (4, 1)
    fold.feed(6, _index(0, Stream.ALARM, 9, 10))
    assert (fold.next, fold.holes) == (7, 2)


def test_what_is_read_while_the_journal_is_asked_is_no_sign_of_another_one() -> None:
    """The answer was on its way while messages 2 and 3 came: nothing of it may be forgotten."""
    fold = Fold()
    fold.feed(1, _index(0, Stream.ALARM, 1, 5))
    asked = fold.next
    fold.feed(2, _index(0, Stream.ALARM, 5, 6))
    fold.feed(3, _index(0, Stream.ALARM, 6, 7))
    assert not fold.advance(1, 1, asked)
    tail = fold.of((SPEAKERS[0].gateway, SPEAKERS[0].log_id))
    assert list(tail.ranges[Stream.ALARM]) == [(1, 7)]
    assert (fold.next, fold.holes) == (4, 0)


def test_an_index_never_outgrows_its_header() -> None:
    """Many gateways in one commit, and many ranges of one: nats-server takes 64 KB of headers."""
    batch = Batch(BULK, 500_000)
    speakers = [Speaker(f"SD-370800-{n:06d}-01", "91370800TEST", "t/1", bytes([n % 256]) * 16)
                for n in range(1500)]  # fmt: skip
    for speaker in speakers:
        entries = alarms(1 << 39, [5])
        batch.add_entries(speaker, Entries(1, Stream.ALARM, entries), entries)
    scattered = [one for one in alarms(1 << 39, [0] * 4000) if one.sequence % 2]
    batch.add_entries(speakers[0], Entries(1, Stream.ALARM, scattered), scattered)
    gaps = [((1 << 39) + 2 * n, (1 << 39) + 2 * n + 1) for n in range(10_000)]
    batch.add_gaps(speakers[1], Gaps(1, Stream.TELEMETRY, gaps))
    messages = batch.messages()
    assert all(len(message.header) < 62_000 for message in messages)
    told = [line for message in messages for line in index_of(message.header).lines]
    assert {line.gateway_id for line in told} == {speaker.gateway for speaker in speakers}
    assert sum(len(line.ranges) for line in told) == 1500 + 2000 + 10_000
    found = [item.work for message in messages for item in works_of(message.body)]
    assert sum(len(work.entries) for work in found if isinstance(work, Entries)) == 3500
    declared = [one for work in found if isinstance(work, Gaps) for one in work.ranges]
    assert declared == gaps
