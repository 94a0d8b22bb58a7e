"""Times that people read have their offset; a gateway that stops says so."""

from __future__ import annotations

from gateway.cli.running import plant_time


def test_a_moment_has_its_offset() -> None:
    assert plant_time(0) == "1970-01-01 08:00:00+08:00"
    assert plant_time(1_777_622_400_999_999_999) == "2026-05-01 16:00:00+08:00"
