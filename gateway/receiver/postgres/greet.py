"""Hellos and last words of gateways, many at once.

Guarantees: a herd costs a handful of statements however large it is. Gateways are locked in the
order of their names, logs and streams after them, so that no two receivers deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.receiver.contract import NEW_LOG, Greeting, Known, Seen
from gateway.receiver.postgres.connect import Connection
from gateway.receiver.postgres.decide import from_multirange

Identity = tuple[str, bytes]


def _rows(db: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    return db.execute(query.encode(), values).fetchall()


def greet(
    db: Connection, greetings: Sequence[Greeting], seen: Sequence[Seen], now_ns: int
) -> dict[Identity, Known]:
    """What the store holds of each log that was greeted, made where it is new; no catalogues.

    Notes who was seen, and each one's last status. Within a transaction.
    """
    said = {work.gateway: work for work in greetings}
    names = dict(_rows(db, "SELECT id, name FROM gateways WHERE name = ANY(%s)", [*said]))
    if len(names) < len(said):  # the first time that somebody comes
        there = set(names.values())
        _make(db, [work for name, work in said.items() if name not in there], now_ns)
    _lock(db, [*said], [work.log for work in seen])
    _note(db, said, seen, now_ns)
    return _known(db, greetings, now_ns) if greetings else {}


def _make(db: Connection, works: Sequence[Greeting], now_ns: int) -> None:
    db.execute(
        "INSERT INTO gateways (name, enterprise, software, last_seen_ns)"
        " SELECT name, enterprise, software, %s FROM unnest(%s::text[], %s::text[], %s::text[])"
        ' AS one (name, enterprise, software) ORDER BY name COLLATE "C" ON CONFLICT DO NOTHING',
        (now_ns, [work.gateway for work in works], [work.enterprise for work in works],
         [work.software for work in works]),
    )  # fmt: skip


def _lock(db: Connection, names: Sequence[str], logs: Sequence[int]) -> None:
    if names or logs:
        db.execute(
            "SELECT 1 FROM gateways WHERE name = ANY(%s) OR id IN"
            " (SELECT gateway FROM logs WHERE id = ANY(%s))"
            ' ORDER BY name COLLATE "C" FOR NO KEY UPDATE',
            (list(names), list(logs)),
        )


def _note(db: Connection, said: dict[str, Greeting], seen: Sequence[Seen], now_ns: int) -> None:
    if said:
        db.execute(
            "UPDATE gateways SET enterprise = one.enterprise, software = one.software,"
            " last_seen_ns = %s FROM unnest(%s::text[], %s::text[], %s::text[])"
            " AS one (name, enterprise, software) WHERE gateways.name = one.name",
            (now_ns, [*said], [work.enterprise for work in said.values()],
             [work.software for work in said.values()]),
        )  # fmt: skip
    statuses = {work.log: work.status for work in seen}
    if statuses:
        db.execute(
            "UPDATE gateways SET last_seen_ns = %s, status = one.status"
            " FROM unnest(%s::bigint[], %s::bytea[]) AS one (log, status)"
            " JOIN logs ON logs.id = one.log WHERE gateways.id = logs.gateway",
            (now_ns, [*statuses], [*statuses.values()]),
        )
        db.execute(
            "UPDATE logs SET status = one.status FROM unnest(%s::bigint[], %s::bytea[])"
            " AS one (log, status) WHERE id = one.log",
            ([*statuses], [*statuses.values()]),
        )


def _known(db: Connection, greetings: Sequence[Greeting], now_ns: int) -> dict[Identity, Known]:
    said = {(work.gateway, work.log_id): work for work in greetings}
    wanted = [said[identity] for identity in sorted(said)]
    asked = ([work.gateway for work in wanted], [work.log_id for work in wanted])
    derived = [work.derived for work in wanted]
    db.execute(
        "INSERT INTO logs (gateway, log_id, first_seen_ns, destination, source_log_id, filter)"
        " SELECT gateways.id, log_id, %s, one.destination, one.source_log_id, one.filter"
        " FROM unnest(%s::text[], %s::bytea[], %s::text[], %s::bytea[], %s::text[])"
        " AS one (name, log_id, destination, source_log_id, filter) JOIN gateways USING (name)"
        ' ORDER BY name COLLATE "C", log_id ON CONFLICT (gateway, log_id) DO UPDATE SET'
        " destination = coalesce(nullif(excluded.destination, ''), logs.destination),"
        " source_log_id = coalesce(nullif(excluded.source_log_id, ''::bytea), logs.source_log_id),"
        " filter = coalesce(nullif(excluded.filter, ''), logs.filter)",
        (now_ns, *asked, [one.destination for one in derived],
         [one.source_log_id for one in derived], [one.filter for one in derived]),
    )  # fmt: skip
    rows = _rows(
        db,
        "SELECT name, one.log_id, logs.id, (SELECT older.log_id FROM logs AS older"
        "  WHERE older.gateway = logs.gateway AND older.id < logs.id"
        "  AND older.destination = one.destination AND NOT EXISTS"
        "  (SELECT 1 FROM faults WHERE faults.gateway = logs.gateway"
        "   AND faults.log_id = logs.log_id AND kind = %s) ORDER BY older.id DESC LIMIT 1)"
        " FROM unnest(%s::text[], %s::bytea[], %s::text[]) AS one (name, log_id, destination)"
        " JOIN gateways USING (name)"
        " JOIN logs ON logs.gateway = gateways.id AND logs.log_id = one.log_id",
        NEW_LOG,
        *asked,
        [one.destination for one in derived],
    )
    known = {
        log: Known(log, {stream: RangeSet() for stream in Stream}, (), {}, previous or b"", {})
        for _, _, log, previous in rows
    }
    db.execute(
        "INSERT INTO streams (stream_key) SELECT log * 4 + number"
        " FROM unnest(%s::bigint[]) AS log, generate_series(0, 3) AS number"
        " ORDER BY 1 ON CONFLICT DO NOTHING",
        ([*known],),
    )
    for key, ranges, sequence, head, boot_id in _rows(
        db,
        "SELECT streams.stream_key, acknowledged::text, head_sequence, head_hash, boot_id"
        " FROM streams LEFT JOIN records"
        " ON records.stream_key = streams.stream_key AND sequence = head_sequence"
        " WHERE streams.stream_key = ANY(%s)",
        [log * 4 + number for log in known for number in range(4)],
    ):
        found, stream = known[key // 4], Stream(key % 4 + 1)
        found.acknowledged[stream] = from_multirange(ranges)
        if sequence:
            found.checkpoints[stream] = [(sequence, bytes(head))]
        if boot_id is not None:
            found.boots[stream] = bytes(boot_id)
    return {(name, bytes(log_id)): known[log] for name, log_id, log, _ in rows}
