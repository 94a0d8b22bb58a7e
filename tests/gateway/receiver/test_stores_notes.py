"""Every store: chains, catalogues, evidence, faults, and what is known of a gateway."""

from __future__ import annotations

from buffer.contract import Stream
from gateway.receiver.check import Attachment, Fault
from gateway.receiver.contract import (
    NEW_LOG,
    Entries,
    Seen,
    Store,
)
from tests.gateway.receiver.places import (
    LOG_ID,
    NOW_NS,
    Place,
    chained,
    entry,
    greet,
    kinds,
    place,
    put,
    store,
)
from tests.gateway.receiver.telemetry import CATALOGUE

__all__ = ["place", "store"]


def test_a_log_is_told_the_newest_hash_and_the_log_before_it(place: Place, store: Store) -> None:
    first = greet(store)
    assert (first.previous_log, first.checkpoints.get(Stream.ALARM, [])) == (b"", [])
    put(store, Entries(first.log, Stream.ALARM, chained(*range(1, 30))))
    again = greet(store)
    assert again.previous_log == b""
    newest, *others = again.checkpoints[Stream.ALARM]
    assert newest == (29, bytes([29]) * 32)
    assert all(hashed == bytes([sequence]) * 32 for sequence, hashed in others)
    other = greet(store, "G-1", b"M" * 16)
    assert other.previous_log == LOG_ID
    cut = greet(store, "G-1", b"M" * 16)
    assert cut.previous_log == LOG_ID, "a connection that ended before it was noted hid nothing"
    fault = Fault(0, NEW_LOG, b"", "log M is new")
    put(store, Entries(other.log, Stream.EVENT, (), faults=[fault]))
    assert greet(store, "G-1", b"M" * 16).previous_log == b"", "once"
    assert greet(store).previous_log == b"", "the older log is not new"
    assert greet(store, "G-2", b"N" * 16).previous_log == b""


def test_a_broken_chain_is_stored_and_noted(place: Place, store: Store) -> None:
    log = greet(store).log
    put(store, Entries(log, Stream.ALARM, chained(1, 2)))
    stored = put(store, Entries(log, Stream.ALARM, [entry(3, 3)]))
    assert list(stored.acknowledged) == [(3, 4)]
    assert kinds(place) == [("chain", 3, 1)]
    late = chained(1, 2, 3, 4, 5, 6)
    put(store, Entries(log, Stream.ALARM, late[4:5]))  # 4 is not here: nothing to compare with
    put(store, Entries(log, Stream.ALARM, late[3:4]))  # 3 is, and is the one 4 names
    put(store, Entries(log, Stream.ALARM, late[5:]))
    assert kinds(place) == [("chain", 3, 1)]


def test_deltas_of_a_group_that_waits_for_its_catalogue_wait_too(
    place: Place, store: Store
) -> None:
    name, encoded = CATALOGUE.hash, CATALOGUE.encoded
    log = greet(store, "G-1", LOG_ID, name).log
    key, delta = entry(1, 1, 1, name), entry(2, 2, 1)
    for item in (key, delta):
        stored = put(store, Entries(log, Stream.TELEMETRY, [item]))
        assert stored.needed == [name]
        assert not stored.acknowledged
    other = put(store, Entries(log, Stream.TELEMETRY, [entry(9, 9, 8)]))
    assert list(other.acknowledged) == [(9, 10)]  # its key may come later
    put(store, Entries(log, Stream.EVENT, [], catalogues=[(name, encoded)] * 2))
    stored = put(store, Entries(log, Stream.TELEMETRY, [key, delta]))
    assert list(stored.acknowledged) == [(1, 3)]
    assert greet(store, "G-2", LOG_ID, b"?" * 32, name).catalogues == (name,)
    with place.reading() as reader:
        points = reader.points(name)
        assert points is not None
        assert points.names[1] == "gds-1/AT-101"
        assert reader.points(b"?" * 32) is None


def test_evidence_is_attached_to_its_alarm_once(place: Place, store: Store) -> None:
    log = greet(store).log
    files = [
        Attachment(b"a" * 16, b"s" * 32, "image/jpeg"),
        Attachment(b"a" * 16, b"t" * 32, "video/mp4"),
    ]
    for _ in range(2):
        put(store, Entries(log, Stream.EVENT, [entry(1)], attachments=files))
    with place.reading() as reader:
        assert reader.attachments("G-1") == {b"a" * 16: [(b"s" * 32).hex(), (b"t" * 32).hex()]}
        assert reader.attachments("G-2") == {}


def test_faults_are_counted_and_cut(place: Place, store: Store) -> None:
    log = greet(store).log
    fault = Fault(7, "damaged", b"h" * 32, "x\0" * 1000)
    for step in range(3):
        refused = put(store, Entries(log, Stream.EVIDENCE, [], faults=[fault]), NOW_NS + step)
        assert refused.refused == [fault]
    with place.reading() as reader:
        [noted] = reader.faults(reader.logs()[0])
        assert (noted.count, noted.last_ns, len(noted.reason) <= 500) == (3, NOW_NS + 2, True)
        assert (noted.stream, noted.hash) == (Stream.EVIDENCE, b"h" * 32)


def test_a_gateway_is_known_by_what_it_said_last(place: Place, store: Store) -> None:
    log = greet(store).log
    put(store, Seen(log, b"\x3a\x02ok"), NOW_NS + 5)
    greet(store, "G-0")
    with place.reading() as reader:
        assert [one.gateway for one in reader.logs()] == ["G-0", "G-1"]
        assert [one.log_id for one in reader.logs("G-1")] == [LOG_ID]
        assert reader.logs("G-9") == []
        said = reader.gateway(reader.logs("G-1")[0])
        assert said.status == b"\x3a\x02ok"
        assert (said.enterprise, said.last_seen_ns) == ("91370800TEST", NOW_NS + 5)
