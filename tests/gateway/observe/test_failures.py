"""A failure is said at once, another one too, the same one only now and then."""

from __future__ import annotations

from collections.abc import Mapping

from drivers.contract import DeviceError
from gateway.observe.failures import REPEAT_NS, FailureReport
from tests.gateway.flow_rig import HandClock


def test_the_same_failure_is_said_again_only_after_ten_minutes_with_its_count() -> None:
    said: list[tuple[str, str, str]] = []

    def note(kind: str, source: str, text: str, attributes: Mapping[str, str]) -> None:
        assert (kind, source) == ("part.failed", "gds")
        said.append((text, attributes["failures"], attributes["expected"]))

    clock = HandClock()
    report = FailureReport(clock, note, (DeviceError,))
    for _ in range(59):
        report("gds", DeviceError("refused"), 500.0)
        clock.advance(10.0)
    assert said == [("refused", "1", "true")]
    report("gds", ValueError("broken"), 500.0)
    report("gds", DeviceError("refused"), 500.0)
    assert said[1:] == [("broken", "59", "false"), ("refused", "1", "true")]
    clock.advance(REPEAT_NS / 1e9)
    report("gds", DeviceError("refused"), 500.0)
    assert said[3:] == [("refused", "1", "true")]
