"""Catalogue of points: ids that are never reused, and a name by content.

Pure. A catalogue is named by the SHA-256 of its deterministic wire encoding, so two gateways with
equal points name it equally, and any change of a limit or unit makes a new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.model.point import Limits, Point
from gateway.wire.v1 import uplink_pb2 as wire

_OPTIONAL = ("range_low", "range_high")
_LIMITS = ("low_low", "low", "high", "high_high")
_PLAIN = ("unit", "description", "priority", "gas", "place", "hazard", "equipment", "indicator",
          "operator_position", "alarm_source")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Points in id order, how many they are, their encoding and its SHA-256."""

    points: tuple[Point, ...]
    count: int
    encoded: bytes
    hash: bytes

    @classmethod
    def of(cls, points: Iterable[Point]) -> Catalogue:
        """Build from points in any order; ids must be unique (ValueError otherwise)."""
        ordered = tuple(sorted(points, key=lambda point: point.id))
        ids = [point.id for point in ordered]
        if len(set(ids)) != len(ids):
            raise ValueError("two points of a catalogue have one id")
        # Encoded one by one: messages that stand behind each other are one (protobuf, "last one
        # wins", repeated fields add up), and 100,000 points in one message take 110 MB meanwhile.
        encoded = b"".join(
            wire.Catalogue(points=[_to_wire(point)]).SerializeToString(deterministic=True)
            for point in ordered
        )
        return cls(ordered, len(ordered), encoded, hashlib.sha256(encoded).digest())

    def without_points(self) -> Catalogue:
        """Return the same catalogue without its points, once everything is planned from them."""
        return Catalogue((), self.count, self.encoded, self.hash)


def assign_ids(known: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """Give each name its known id, or the next unused one. Result holds every name ever known.

    Ids start at 1; the id of a removed point stays taken, so it is never reused.
    """
    ids = dict(known)
    following = max(ids.values(), default=0) + 1
    for name in names:
        if name not in ids:
            ids[name] = following
            following += 1
    return ids


def encode_ids(ids: Mapping[str, int]) -> bytes:
    """Encode an id table for the log's state."""
    return json.dumps(ids, ensure_ascii=False, sort_keys=True).encode()


def decode_ids(encoded: bytes) -> dict[str, int]:
    """Read an id table back; empty bytes give an empty table."""
    table = json.loads(encoded or b"{}")
    return {str(name): int(number) for name, number in table.items()}


def _to_wire(point: Point) -> wire.Point:
    message = wire.Point(id=point.id, name=point.name, kind=int(point.kind))
    for name in _PLAIN:
        setattr(message, name, getattr(point, name))
    for name in _OPTIONAL:
        if getattr(point, name) is not None:
            setattr(message, name, getattr(point, name))
    for name in _LIMITS:
        if getattr(point.limits, name) is not None:
            setattr(message, name, getattr(point.limits, name))
    message.deadband = point.limits.deadband
    return message


__all__ = ["Catalogue", "Limits", "Point", "assign_ids", "decode_ids", "encode_ids"]
