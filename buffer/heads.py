"""Signed heads: the newest record of each stream, signed with the gateway's key.

A signature of a head vouches for every record before it, because each carries the hash of its
predecessor. A head is signed with the first record of a run, then hourly while there is something
new; and before an eviction, the record that becomes the predecessor of all that is held: what is
left can then be verified from that signature on. A signature is written in the transaction of its
record: it costs no sync of its own, but for the last records before a stream falls silent.

The key is not the buffer's: `Signer` is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable

from buffer.contract import Record, SignedHead, Signer, Stream, head_message
from buffer.database import Database, signed_heads

SIGNING_FAILS = (OSError, ValueError)
"""What a Signer may raise; the stream goes on unsigned, and health says so."""
RETRY_NS = 60 * 10**9


class HeadSigning:
    """Which head of one database is signed next, and which was last. One thread at a time."""

    def __init__(self, database: Database, signer: Signer | None, every_ns: int) -> None:
        self._database = database
        self._signer = signer
        self._every_ns = every_ns
        self._next_ns: dict[Stream, int] = {}
        self.newest = _newest(database)
        self.failure = ""

    def due_ns(self) -> int | None:
        """When a head that stands unsigned is to be signed, in monotonic time; None if none is."""
        waiting = [self._next_ns.get(stream, 0) for stream in self._unsigned()]
        return min(waiting, default=None)

    def due_heads(self, now_ns: int) -> list[SignedHead]:
        """Heads that stand unsigned and are due, signed; to be written by `write`."""
        heads = self._database.heads
        return [
            signed
            for stream in self._unsigned()
            if now_ns >= self._next_ns.get(stream, 0)
            for signed in self._sign(
                stream, heads[stream].next_id - 1 - heads[stream].base, heads[stream].hash, now_ns
            )
        ]

    def of(self, records: Iterable[Record], now_ns: int) -> list[SignedHead]:
        """Signatures that are due with these records, the newest of each stream."""
        last = {record.stream: record for record in records}
        return [
            signed
            for stream, record in last.items()
            if now_ns >= self._next_ns.get(stream, 0)
            for signed in self._sign(stream, record.sequence, record.hash, now_ns)
        ]

    def write(self, heads: Iterable[SignedHead]) -> None:
        """Write signatures in the running transaction."""
        for head in heads:
            base = self._database.heads[head.stream].base
            self._database.connection.execute(
                "INSERT OR REPLACE INTO signed_head VALUES (?, ?, ?, ?, ?)",
                (int(head.stream), head.sequence + base, head.hash, head.key_id, head.signature),
            )

    def written(self, heads: Iterable[SignedHead], now_ns: int) -> None:
        """The transaction of `write` is durable."""
        for head in heads:
            self._next_ns[head.stream] = now_ns + self._every_ns
            self.newest[head.stream] = head

    def sign_anchor(self, stream: Stream, last_id: int) -> None:
        """Sign the newest row up to `last_id`, which is about to go; forget what was before it.

        In the running transaction. Rows of a former log id have no sequence and are not signed.
        """
        connection, base = self._database.connection, self._database.heads[stream].base
        row = connection.execute(
            f"SELECT id, hash FROM {stream.name.lower()} WHERE id <= ? ORDER BY id DESC LIMIT 1",
            (last_id,),
        ).fetchone()
        if row is None:
            return
        if row[0] > base:
            self.write(self._signature(stream, int(row[0]) - base, bytes(row[1])))
        connection.execute(
            "DELETE FROM signed_head WHERE stream = ? AND id < ?", (int(stream), row[0])
        )

    def forget(self) -> None:
        """The log id is new: nothing is signed under it."""
        self._next_ns.clear()
        self.newest.clear()

    def _unsigned(self) -> list[Stream]:
        if self._signer is None:
            return []
        signed = {stream: head.sequence for stream, head in self.newest.items()}
        return [
            stream
            for stream, head in self._database.heads.items()
            if signed.get(stream, 0) < head.next_id - 1 - head.base
        ]

    def _sign(self, stream: Stream, sequence: int, digest: bytes, now_ns: int) -> list[SignedHead]:
        """A signature that is due; asked for again after RETRY_NS unless it was `written`."""
        self._next_ns[stream] = now_ns + RETRY_NS
        return self._signature(stream, sequence, digest)

    def _signature(self, stream: Stream, sequence: int, digest: bytes) -> list[SignedHead]:
        if self._signer is None:
            return []
        log_id = bytes(self._database.meta("log_id", b""))
        try:
            signature = self._signer.sign(head_message(log_id, stream, sequence, digest))
        except SIGNING_FAILS as failure:
            self.failure = f"heads are not signed: {failure}"
            return []
        self.failure = ""
        return [SignedHead(log_id, stream, sequence, digest, self._signer.key_id, signature)]


def _newest(database: Database) -> dict[Stream, SignedHead]:
    log_id = bytes(database.meta("log_id", b""))
    found = {}
    for stream, head in database.heads.items():
        heads = signed_heads(database.connection, log_id, stream, head.base)
        if heads:
            found[stream] = heads[-1]
    return found
