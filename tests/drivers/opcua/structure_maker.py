"""Invents structure types and values of them, and encodes both by itself: no line of the driver's.

Definitions are encoded by asyncua, values by the few lines here after OPC 10000-6, 5.2.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from typing import Any

import asyncua.ua
from asyncua.ua.ua_binary import struct_to_binary

ua: Any = asyncua.ua

FIXED = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 4, 11: 8, 13: 8, 14: 16, 19: 4}
TEXTS = (12, 16, 20, 21)
OTHERS = (15, 17)
ENUM, SUBTYPE = 29, 290  # Enumeration, and Duration, a subtype of Double
Path = tuple[tuple[str, tuple[int, ...]], ...]
ABSENT: tuple[int, bytes] = (0, b"")
NOTHING = None
"""Expected where a field is there, but of a type that gives no value."""


@dataclass
class Made:
    """A type: `number` of the data type, number + 500 of its encoding, both in namespace 3."""

    number: int
    form: int
    fields: list[tuple[str, Any, int, bool]] = field(default_factory=list)
    """(name, built-in id or Made, rank, optional or open to subtypes)."""


@dataclass
class Sample:
    """A value: bytes of its Variant, encoding byte included; what each path must give."""

    variant: bytes = b""
    leaves: dict[Path, Any] = field(default_factory=dict)


def make_types(rng: random.Random, depth: int = 3, *, plain: bool = False) -> Made:
    """Invent a type; the last of all is the root. plain: of what a quick plan may know."""
    count = [0]

    def one(left: int) -> Made:
        count[0] += 1
        made = Made(100 + count[0], 0 if plain else rng.choice((0, 0, 0, 1, 2, 3, 4)))
        for place in range(rng.randint(1, 5)):
            others = (12, 15) if plain else (*TEXTS, *OTHERS, 24, 22)
            kind: Any = rng.choice((*FIXED, *others, ENUM, SUBTYPE))
            if left and rng.random() < 0.35:
                kind = one(left - 1)
            rank = rng.choice((0, 0, 0, 1, 2))
            if plain:
                rank = min(rank, 1) if kind in (*FIXED, ENUM, SUBTYPE) else 0
            made.fields.append((f"f{place}", kind, rank, rng.random() < 0.4))
        return made

    return one(depth)


def every(made: Made) -> list[Made]:
    """Give a type and those of its fields, all generations."""
    found = [made]
    for _, kind, _, _ in made.fields:
        if isinstance(kind, Made):
            found += every(kind)
    return found


def definition_answer(types: list[Made]) -> bytes:
    """An array of DataValues with the definitions, as a ReadResponse brings them."""
    parts = [struct.pack("<i", len(types))]
    for made in types:
        told = ua.StructureDefinition()
        told.DefaultEncodingId = ua.NodeId(made.number + 500, 3)
        told.BaseDataType = ua.NodeId(22)
        told.StructureType = ua.StructureType(made.form)
        for name, kind, rank, optional in made.fields:
            one = ua.StructureField(Name=name, ValueRank=rank or -1, IsOptional=optional)
            one.DataType = ua.NodeId(kind.number, 3) if isinstance(kind, Made) else ua.NodeId(kind)
            one.ArrayDimensions = [0] * rank
            told.Fields.append(one)
        parts.append(bytes(struct_to_binary(ua.DataValue(ua.Variant(told)))))
    return b"".join(parts)


def make_value(made: Made, rng: random.Random) -> Sample:
    """Invent a value of a type, as the only Variant there is."""
    sample = Sample()
    body = _structure(made, rng, (), sample)
    sample.variant = b"\x16" + extension_object(made, body)
    return sample


def extension_object(made: Made, body: bytes) -> bytes:
    """Encode the head of a structure that carries its type, and the structure."""
    return struct.pack("<BBHBi", 1, 3, made.number + 500, 1, len(body)) + body


def _structure(made: Made, rng: random.Random, path: Path, sample: Sample) -> bytes:
    parts, present = [], set(range(len(made.fields)))
    if made.form == 1:
        optional = [place for place, one in enumerate(made.fields) if one[3]]
        left_out = {place for place in optional if rng.random() < 0.5}
        present -= left_out
        mask = sum(1 << bit for bit, place in enumerate(optional) if place not in left_out)
        parts.append(struct.pack("<I", mask))
    elif made.form in (2, 4):
        chosen = rng.randint(0, len(made.fields))
        present = {chosen - 1} if chosen else set()
        parts.append(struct.pack("<I", chosen))
    for place, (name, kind, rank, optional_one) in enumerate(made.fields):
        loose = made.form in (3, 4) and optional_one
        if place not in present:
            index = (0,) * rank
            if not isinstance(kind, Made) and kind != 22:
                sample.leaves[(*path, (name, index))] = ABSENT
            continue
        sizes = tuple(rng.randint(0, 3) for _ in range(rank))
        if rank == 2:
            parts.append(struct.pack("<i", 2))
        parts += [struct.pack("<i", size) for size in sizes]
        for index in _places(sizes):
            parts.append(_one(kind, loose, rng, (*path, (name, index)), sample))
        if rank and not isinstance(kind, Made) and kind != 22:
            beyond = tuple(size for size in sizes)
            sample.leaves[(*path, (name, beyond))] = ABSENT
    return b"".join(parts)


def _places(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    places: list[tuple[int, ...]] = [()]
    for size in sizes:
        places = [(*place, i) for place in places for i in range(size)]
    return places


def _one(kind: Any, loose: bool, rng: random.Random, path: Path, sample: Sample) -> bytes:
    if isinstance(kind, Made):
        body = _structure(kind, rng, path, sample)
        return extension_object(kind, body) if loose else body
    if kind == 22:  # an abstract structure, empty here
        return b"\x00\x00\x00"
    built_in = {ENUM: 6, SUBTYPE: 11}.get(kind, kind)
    if kind == 24 or loose:
        inner = rng.choice((*FIXED, 12)) if kind == 24 else built_in
        octets, expected = _plain(inner, rng)
        sample.leaves[path] = expected
        return bytes((inner,)) + octets
    octets, sample.leaves[path] = _plain(built_in, rng)
    return octets


def _plain(built_in: int, rng: random.Random) -> tuple[bytes, Any]:
    if built_in in FIXED:
        octets = rng.randbytes(FIXED[built_in])
        return octets, (built_in, octets)
    if built_in == 15:
        octets = rng.randbytes(rng.randint(0, 5))
        return struct.pack("<i", len(octets)) + octets, NOTHING
    if built_in == 17:
        return struct.pack("<BBH", 1, 2, rng.randrange(1000)), NOTHING
    text = rng.choice(("", "a", "液位", "x" * 40))
    string = struct.pack("<i", len(text.encode())) + text.encode()
    if built_in == 20:
        string = struct.pack("<H", 4) + string
    if built_in == 21:
        string = rng.choice((b"\x02", b"\x03\x02\x00\x00\x00zh")) + string
    return string, text
