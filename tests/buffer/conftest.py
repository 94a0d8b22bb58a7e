"""A hand-set clock and a way to open a buffer for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import pytest

from buffer.contract import Gap, Signer
from buffer.policy import BufferConfig
from buffer.store import Buffer

START_NS = 1_790_000_000 * 10**9
BOOT_ID = bytes(range(16))


@dataclass
class HandClock:
    """Time that moves only when a test moves it."""

    wall: int = START_NS
    monotonic: int = 10**9

    def wall_ns(self) -> int:
        return self.wall

    def monotonic_ns(self) -> int:
        return self.monotonic

    def advance(self, seconds: float) -> None:
        self.wall += int(seconds * 1e9)
        self.monotonic += int(seconds * 1e9)


class OpenBuffer(Protocol):
    """Opens the buffer of this test's folder."""

    def __call__(self, **settings: object) -> Buffer: ...


def encode_gap(gap: Gap, time_ns: int) -> bytes:
    """Gap as readable bytes, so that tests can take it apart again."""
    return f"gap {gap.stream.name} {gap.cause} {gap.first} {gap.last} {gap.count}".encode()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def open_buffer(tmp_path: Path, clock: HandClock) -> OpenBuffer:
    def opened(**settings: object) -> Buffer:
        chosen: dict[str, object] = {
            "commit_ms": 1, "reserve_bytes": 0, "rollup_quota_bytes": 0, **settings,
        }  # fmt: skip
        signer = cast(Signer | None, chosen.pop("signer", None))
        config = BufferConfig(**chosen)  # type: ignore[arg-type]  # keyword settings of a test
        return Buffer.open(
            tmp_path / "data", config, clock=clock, boot_id=BOOT_ID, encode_gap=encode_gap,
            signer=signer,
        )  # fmt: skip

    return opened
