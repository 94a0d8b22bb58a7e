"""Telemetry blocks: every batch of one commit interval as bytes, and back. Pure.

Guarantees:

- `BlockDecoder` gives back what `BlockEncoder` was given, bit for bit, batch by batch, in order;
  only a NaN may come back as the canonical NaN.
- A key block decodes alone. A delta block decodes after its key and every delta between, which
  it checks (tag of the key, index in the group): out of order is a `BlockError`, never nonsense.
- Hostile bytes raise `BlockError` only. At most `MAX_SAMPLES` samples come out of one block,
  `MAX_BODY_BYTES` out of its decompression, and a group holds at most `MAX_GROUP_POINTS` points.

Format: buffer/README.md has the byte diagram. `buffer/columns.py` packs integer columns,
`buffer/scaling.py` turns float64 into integers, `buffer/group_state.py` is what both sides remember
of a group.

How it works: samples of one block are handled in waves. Wave k holds the (k+1)-th occurrence of
each array of points in the block, so that (nearly always) one wave holds a whole block and numpy
works once over all of its batches, however small they are. Each value is a difference to the newest
value of its point before the wave.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from buffer import times
from buffer.columns import (
    BlockError,
    Cursor,
    pack_few,
    pack_signed,
    pack_varint,
)
from buffer.contract import Columns
from buffer.group_state import ANONYMOUS, NEW, GroupState, Layout, plan_waves
from buffer.scaling import quiet
from buffer.wave_decode import decode_wave
from buffer.wave_encode import encode_wave

VERSION = 1
FLAG_KEY = 0x10
FLAG_PLAIN = 0x20
MAX_SAMPLES = 1 << 20
MAX_BATCHES = 1 << 16
MAX_BODY_BYTES = 64 << 20
MAX_GROUP_POINTS = 1 << 22
CATALOGUE_BYTES = 32
FLOAT, INT, UINT, TEXT = range(4)
_DTYPES = frozenset(map(np.dtype, ("f8", "i8", "u8")))
_HEAD = struct.Struct("<BHq")  # version and flags, tag of the key, first gateway time


@dataclass(slots=True, eq=False)
class ColumnBatch:
    """Columns of one batch, as `Log.add_batch` takes them; never changed (frozen costs 1 µs)."""

    points: npt.NDArray[np.int32]
    values: Columns
    quality: npt.NDArray[np.uint16]
    source_time_ns: npt.NDArray[np.int64] | int
    gateway_time_ns: int

    def __len__(self) -> int:
        """Count of samples."""
        return len(self.points)


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """What a block says without being decompressed.

    catalogue: 32 bytes on a key, empty on a delta.  index: position in its group, 0 for the key.
    first_ns, last_ns: least and greatest gateway time inside.
    """

    is_key: bool
    catalogue: bytes
    index: int
    samples: int
    first_ns: int
    last_ns: int


def block_header(block: bytes) -> BlockHeader:
    """Read the header of a block; raises BlockError."""
    return _read_header(block)[0]


def check_batch(batch: ColumnBatch) -> None:
    """Raise ValueError where a batch cannot be encoded: lengths, types or size are wrong."""
    count = len(batch.points)
    values = batch.values
    if batch.points.dtype != np.int32 or batch.quality.dtype != np.uint16:
        raise ValueError("points must be int32 and quality uint16")
    if isinstance(values, tuple):
        if sum(map(len, values)) > MAX_BODY_BYTES >> 4:
            raise ValueError("texts of one batch exceed 4 M characters")
    elif values.dtype not in _DTYPES:
        raise ValueError(f"values must be float64, int64, uint64 or text, not {values.dtype}")
    if len(values) != count or len(batch.quality) != count or count > MAX_SAMPLES:
        raise ValueError(f"columns differ in length, or hold more than {MAX_SAMPLES} samples")
    times.check_times(batch.source_time_ns, batch.gateway_time_ns, count)


class BlockEncoder:
    """Writes the blocks of one log in order; remembers the group that is being written.

    After any exception, and after a block that was not stored, the next block must be a key.
    """

    def __init__(self) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            1, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=0, window_log=20
        )
        self._compressor = zstandard.ZstdCompressor(compression_params=parameters)
        self._state = GroupState(MAX_GROUP_POINTS)
        self._index = 0
        self._tag = 0
        self._ready = False

    def encode(self, batches: Sequence[ColumnBatch], *, key: bool, catalogue: bytes) -> bytes:
        """Write 1 to 65,536 batches with at most `MAX_SAMPLES` samples as one block.

        `key` starts a group; it is forced for the first block. `catalogue` (32 bytes, or empty
        for none) is written in keys only. Raises BlockError where a limit is exceeded.
        """
        samples = sum(len(batch) for batch in batches)
        if not 0 < len(batches) <= MAX_BATCHES or samples > MAX_SAMPLES:
            raise BlockError(f"{len(batches)} batches of {samples} samples exceed one block")
        key = key or not self._ready
        self._ready = False
        if key:
            self._state.start_group()
            self._index = 0
        with quiet():
            body = b"".join(self._body(batches))
        if len(body) > MAX_BODY_BYTES:
            raise BlockError(f"block of {len(body)} bytes exceeds {MAX_BODY_BYTES}")
        block = self._frame(batches, body, samples, catalogue if key else None)
        if key:
            self._tag = _tag(block)
        self._index += 1
        self._ready = True
        return block

    def _frame(
        self, batches: Sequence[ColumnBatch], body: bytes, samples: int, catalogue: bytes | None
    ) -> bytes:
        packed = self._compressor.compress(body)
        plain = len(packed) >= len(body)
        first_ns = min(batch.gateway_time_ns for batch in batches)
        last_ns = max(batch.gateway_time_ns for batch in batches)
        flags = VERSION | (FLAG_KEY if catalogue is not None else 0) | (FLAG_PLAIN if plain else 0)
        head = [
            _HEAD.pack(flags, 0 if catalogue is not None else self._tag, first_ns),
            pack_varint(last_ns - first_ns),
            pack_varint(self._index),
            pack_varint(samples),
            pack_varint(len(body)),
        ]
        if catalogue is not None:
            head.append((catalogue or bytes(CATALOGUE_BYTES)).ljust(CATALOGUE_BYTES, b"\0"))
        return b"".join((*head, body if plain else packed))

    def _body(self, batches: Sequence[ColumnBatch]) -> list[bytes]:
        state = self._state
        refs: list[int] = []
        layouts: list[Layout] = []
        defined: list[bytes] = []
        for batch in batches:
            ref, layout = state.find_layout(batch.points)
            refs.append(ref)
            layouts.append(layout)
            if ref in (NEW, ANONYMOUS):
                defined.append(_pack_layout(layout))
        forms = [times.form_of(batch.source_time_ns, batch.gateway_time_ns) for batch in batches]
        kinds = [
            _kind(batch.values) | form << 2 for batch, form in zip(batches, forms, strict=True)
        ]
        out = [
            pack_varint(len(batches)),
            pack_few(refs),
            pack_few(kinds),
            *defined,
            times.pack_gateway([batch.gateway_time_ns for batch in batches]),
            times.pack_source(batches, layouts, forms, state),
        ]
        for wave in plan_waves(refs, layouts):
            encode_wave(state, wave, batches, out, fresh=bool(defined))
        return out


class BlockDecoder:
    """Reads blocks in order: a key, then its deltas. After a BlockError only a key is accepted."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(
            format=zstandard.FORMAT_ZSTD1_MAGICLESS, max_window_size=1 << 23
        )
        self._state = GroupState(MAX_GROUP_POINTS)
        self._index = -1
        self._tag = 0

    def feed(self, block: bytes) -> list[ColumnBatch]:
        """Decode one block. The same array of points comes back as the same object in a group."""
        header, tag, plain, at, body_bytes = _read_header(block)
        expected = self._index
        self._index = -1
        if header.is_key:
            self._state.start_group()
            self._tag = _tag(block)
        elif header.index != expected or tag != self._tag:
            raise BlockError(f"delta {header.index} does not follow: its group is not at hand")
        body = self._body(block[at:], body_bytes, plain=plain)
        with quiet():
            batches = self._decode(Cursor(body), header)
        self._index = header.index + 1
        return batches

    def _body(self, packed: bytes, count: int, *, plain: bool) -> bytes:
        if not plain:
            try:
                packed = self._decompressor.decompress(
                    packed, max_output_size=count + 1, allow_extra_data=False
                )
            except (zstandard.ZstdError, MemoryError) as error:
                raise BlockError(f"body does not decompress: {error}") from error
        if len(packed) != count:
            raise BlockError(f"body has {len(packed)} bytes, not {count}")
        return packed

    def _decode(self, cursor: Cursor, header: BlockHeader) -> list[ColumnBatch]:
        state = self._state
        count = cursor.varint(MAX_BATCHES)
        refs = cursor.unsigned_column(count).tolist()
        kinds = cursor.unsigned_column(count).tolist()
        if any(kind >> 2 > times.LAST_FORM for kind in kinds):
            raise BlockError("unknown form of source times")
        layouts = [self._layout(ref, cursor) for ref in refs]
        if sum(len(layout.points) for layout in layouts) != header.samples or not count:
            raise BlockError("count of samples disagrees with the header")
        gateway = times.read_gateway(cursor, count)
        if (min(gateway), max(gateway)) != (header.first_ns, header.last_ns):
            raise BlockError("gateway times disagree with the header")
        source = times.read_source(cursor, [kind >> 2 for kind in kinds], layouts, gateway, state)
        values: list[Columns] = [()] * count
        quality: list[npt.NDArray[np.uint16]] = [np.empty(0, np.uint16)] * count
        for wave in plan_waves(refs, layouts):
            decode_wave(state, wave, [kind & 3 for kind in kinds], cursor, values, quality)
        cursor.end()
        return [
            ColumnBatch(layout.points, values[at], quality[at], source[at], gateway[at])
            for at, layout in enumerate(layouts)
        ]

    def _layout(self, ref: int, cursor: Cursor) -> Layout:
        if ref not in (NEW, ANONYMOUS):
            return self._state.known_layout(ref)
        count = cursor.varint(MAX_SAMPLES)
        steps = cursor.signed_column(count)
        points = np.cumsum(steps, dtype=np.int64).astype(np.int32)
        points.setflags(write=False)
        return self._state.add_layout(points, remember=ref == NEW)


def _read_header(block: bytes) -> tuple[BlockHeader, int, bool, int, int]:
    if len(block) < _HEAD.size:
        raise BlockError("block is shorter than its header")
    flags, tag, first_ns = _HEAD.unpack_from(block)
    if flags & 0x0F != VERSION or flags & 0xC0:
        raise BlockError(f"block version or flags 0x{flags:02X} are unknown")
    cursor = Cursor(block, _HEAD.size)
    last_ns = first_ns + cursor.varint((1 << 64) - 1)
    if last_ns >= 1 << 63:
        raise BlockError("gateway times exceed 64 bits")
    index = cursor.varint(1 << 32)
    samples = cursor.varint(MAX_SAMPLES)
    body_bytes = cursor.varint(MAX_BODY_BYTES)
    is_key = bool(flags & FLAG_KEY)
    if is_key != (index == 0):
        raise BlockError("only a key has index 0")
    catalogue = cursor.take(CATALOGUE_BYTES) if is_key else b""
    if catalogue == bytes(CATALOGUE_BYTES):
        catalogue = b""
    header = BlockHeader(is_key, catalogue, index, samples, first_ns, last_ns)
    return header, tag, bool(flags & FLAG_PLAIN), cursor.at, body_bytes


def _pack_layout(layout: Layout) -> bytes:
    points = layout.points.astype(np.int64)
    steps: npt.NDArray[np.int64] = np.diff(points, prepend=np.zeros(1, np.int64))
    return pack_varint(len(steps)) + pack_signed(steps)


def _kind(values: Columns) -> int:
    if isinstance(values, tuple):
        return TEXT
    return {"f": FLOAT, "i": INT, "u": UINT}[values.dtype.kind]


def _tag(key_block: bytes) -> int:
    return zlib.crc32(key_block) & 0xFFFF


__all__ = [
    "BlockDecoder",
    "BlockEncoder",
    "BlockError",
    "BlockHeader",
    "ColumnBatch",
    "block_header",
    "check_batch",
]
