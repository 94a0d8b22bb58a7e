"""The hash that chains the records of one stream, byte for byte. Pure.

    SHA-256( previous_hash[32] ‖ stream uint8 ‖ sequence uint64 big-endian ‖ payload )

The first record of a stream is chained to 32 zero bytes. Whoever holds one trusted hash can
verify every record before it; a record cannot be changed, moved or left out unnoticed.
"""

from __future__ import annotations

import hashlib
import struct

HASH_BYTES = 32
FIRST_HASH = bytes(HASH_BYTES)
"""Previous hash of sequence 1."""

_IDENTITY = struct.Struct(">BQ")


def chain_hash(previous_hash: bytes, stream: int, sequence: int, payload: bytes) -> bytes:
    """Hash of a record (32 bytes), given that of its predecessor in the stream.

    Raises ValueError if `previous_hash` is not 32 bytes long: a shorter one would let bytes move
    between the fields unnoticed.
    """
    if len(previous_hash) != HASH_BYTES:
        raise ValueError(f"a previous hash has {HASH_BYTES} bytes, not {len(previous_hash)}")
    digest = hashlib.sha256(previous_hash + _IDENTITY.pack(stream, sequence))
    digest.update(payload)
    return digest.digest()
