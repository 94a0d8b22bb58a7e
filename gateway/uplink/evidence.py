"""Evidence: one file at a time, in parts, from the offset the receiver names. Pure.

    record pushed ─▶ EvidenceNeed(offset) ─▶ read part ─▶ send part ─▶ ... ─▶ record acknowledged
                                                ▲──────────────┘

The receiver holds what it got when a link breaks, so its next EvidenceNeed resumes there. An
EvidenceNeed at or below the offset asked for before means that it discarded what it had (a wrong
SHA-256): sending starts again there. A larger one reports progress and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from buffer.contract import Record
from gateway.uplink.outputs import FetchPart, SendPart
from gateway.wire.v1 import uplink_pb2 as wire


@dataclass(slots=True)
class _File:
    sequence: int
    sha256: bytes
    total_bytes: int
    asked_offset: int | None = None
    next_offset: int = 0


class EvidenceSender:
    """The file being sent, if any, and its next part."""

    def __init__(self) -> None:
        self._file: _File | None = None
        self._reading = False
        self.staged: SendPart | None = None

    @property
    def sequence(self) -> int | None:
        """Sequence of the record whose file is being sent; None when idle."""
        return self._file.sequence if self._file else None

    @property
    def sha256(self) -> bytes:
        """Name of the file that is being sent; empty when idle."""
        return self._file.sha256 if self._file else b""

    def begin(self, record: Record) -> None:
        """Note that this evidence record was pushed; its file comes next if the receiver asks."""
        try:
            message = wire.EvidenceFile.FromString(record.payload)
        except DecodeError:
            message = wire.EvidenceFile()  # no file that anybody could ask for
        self._file = _File(record.sequence, message.sha256, message.total_bytes)
        self._reading = False
        self.staged = None

    def end(self) -> None:
        """Forget the file: its record is acknowledged or written off."""
        self._file = None
        self._reading = False
        self.staged = None

    def need(self, sha256: bytes, offset: int) -> None:
        """Take the receiver's wish."""
        file = self._file
        if file is None or file.sha256 != sha256:
            return
        if file.asked_offset is None or offset <= file.asked_offset:
            file.next_offset = offset
            self._reading = False
            self.staged = None
        file.asked_offset = offset

    def want(self, length: int) -> FetchPart | None:
        """Read to make for the next part, if one is due and none is under way."""
        file = self._file
        if file is None or file.asked_offset is None or self._reading or self.staged is not None:
            return None
        if file.next_offset >= file.total_bytes:
            return None
        self._reading = True
        return FetchPart(file.sha256, file.next_offset, length)

    def part_read(self, request: FetchPart, content: bytes) -> bool:
        """Stage what was read; False if the file ended before the size its record promises."""
        file = self._file
        if file is None or (file.sha256, file.next_offset) != (request.sha256, request.offset):
            return True  # an answer to a question that no longer stands
        self._reading = False
        if not content:
            return False
        self.staged = SendPart(file.sha256, file.next_offset, file.total_bytes, content)
        return True

    def take(self) -> SendPart | None:
        """Hand out the staged part as sent."""
        part, self.staged = self.staged, None
        if part is not None and self._file is not None:
            self._file.next_offset = part.offset + len(part.content)
        return part
