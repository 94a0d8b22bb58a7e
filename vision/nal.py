"""NAL units of H.264 and H.265 as a camera sends them (Annex B), for putting them into MP4. Pure.

Sources: ITU-T H.264 and H.265, Annex B (start codes) and 7.4.1/7.4.2 (types); ISO/IEC 14496-15
(lengths instead of start codes, avcC, hvcC).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

_START = re.compile(b"\x00\x00\x01")
H264, H265, JPEG = "h264", "hevc", "jpeg"
_PARAMETERS = {H264: {7, 8}, H265: {32, 33, 34}}
_KEYS = {H264: {5}, H265: set(range(16, 22))}
_DELIMITER = {H264: 9, H265: 35}


def split(stream: bytes) -> list[bytes]:
    """NAL units between the start codes; what comes before the first is left out."""
    starts = [match.end() for match in _START.finditer(stream)]
    ends = [*(start - 3 for start in starts[1:]), len(stream)]
    found = (stream[start:end].rstrip(b"\x00") for start, end in zip(starts, ends, strict=False))
    return [unit for unit in found if unit]


def kind(codec: str, unit: bytes) -> int:
    """nal_unit_type."""
    return unit[0] & 0x1F if codec == H264 else unit[0] >> 1 & 0x3F


def parameters(codec: str, units: Sequence[bytes]) -> tuple[bytes, ...]:
    """Parameter sets among the units, each once, in order of their type."""
    wanted = _PARAMETERS[codec]
    found = dict.fromkeys(unit for unit in units if kind(codec, unit) in wanted)
    return tuple(sorted(found, key=lambda unit: kind(codec, unit)))


def is_key(codec: str, units: Sequence[bytes]) -> bool:
    """Tell whether a decoder can begin here."""
    return any(kind(codec, unit) in _KEYS[codec] for unit in units)


def sample(codec: str, units: Sequence[bytes]) -> bytes:
    """An MP4 sample: each unit behind its length; parameter sets and delimiters are left out."""
    left_out = _PARAMETERS[codec] | {_DELIMITER[codec]}
    kept = [unit for unit in units if kind(codec, unit) not in left_out]
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in kept)


def complete(codec: str, sets: Sequence[bytes]) -> bool:
    """Tell whether all kinds of parameter sets are there."""
    return {kind(codec, unit) for unit in sets} == _PARAMETERS[codec]


def avc_configuration(sets: Sequence[bytes]) -> bytes:
    """AVCDecoderConfigurationRecord, ISO/IEC 14496-15, 5.3.3.1."""
    sps = [unit for unit in sets if kind(H264, unit) == 7]
    pps = [unit for unit in sets if kind(H264, unit) == 8]
    record = bytes((1, *sps[0][1:4], 0xFF, 0xE0 | len(sps)))
    record += b"".join(struct.pack(">H", len(unit)) + unit for unit in sps)
    return record + bytes((len(pps),)) + b"".join(struct.pack(">H", len(u)) + u for u in pps)


def hevc_configuration(sets: Sequence[bytes]) -> bytes:
    """HEVCDecoderConfigurationRecord, ISO/IEC 14496-15, 8.3.3.1.

    Profile, tier and level are copied from the sequence parameter set, where they stand whole bytes
    behind its head. Chroma format and depth are given as 4:2:0 of 8 bits; decoders read the
    parameter sets themselves.
    """
    sps = next(unit for unit in sets if kind(H265, unit) == 33)
    plain = sps[:2] + re.sub(b"\x00\x00\x03", b"\x00\x00", sps[2:])
    general = plain[3:15]
    record = b"\x01" + general + b"\xf0\x00\xfc\xfd\xf8\xf8\x00\x00\x0f"
    arrays = b""
    for number in (32, 33, 34):
        units = [unit for unit in sets if kind(H265, unit) == number]
        arrays += struct.pack(">BH", 0x80 | number, len(units))
        arrays += b"".join(struct.pack(">H", len(unit)) + unit for unit in units)
    return record + b"\x03" + arrays
