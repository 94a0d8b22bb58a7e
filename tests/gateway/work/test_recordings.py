"""Recording of work: from the start of a permit to its end, and its gaps in the work record."""

from __future__ import annotations

import pytest

from gateway.work.outputs import WorkRecord
from tests.gateway.work.scene import S, Scene


def test_cameras_are_wanted_from_start_to_end_breaks_included() -> None:
    scene = Scene()
    scene.permit(status="approved", camera="BKQ-7")
    assert scene.monitor.recorded() == frozenset()
    scene.gas()
    scene.all_well()
    scene.permit(status="active", camera="BKQ-7")
    assert scene.monitor.recorded() == {"cam", "ball"}
    scene.wait(60)
    scene.permit(status="suspended", camera="BKQ-7")
    assert scene.monitor.recorded() == {"cam", "ball"}
    scene.restart()
    assert scene.monitor.recorded() == {"cam", "ball"}
    scene.wait(60)
    scene.permit(status="ended", camera="BKQ-7")
    assert scene.monitor.recorded() == frozenset()


def test_a_gap_is_in_the_record_of_every_permit_it_lies_in() -> None:
    scene = Scene()
    scene.gas()
    scene.all_well()
    before_ns = scene.now_ns
    scene.permit(status="active")
    scene.permit(ticket="DH-2", area="vessel", status="active")
    scene.wait(60)
    scene.event("vision.recording_gap", "cam", from_ns=before_ns - 90 * S,
                to_ns=before_ns - 60 * S, reason="before the work")  # fmt: skip
    scene.event("vision.recording_gap", "cam", from_ns=before_ns + 20 * S,
                to_ns=before_ns + 30 * S, reason="the camera stopped delivering")  # fmt: skip
    scene.restart()
    scene.wait(60)
    scene.permit(status="ended")
    scene.permit(ticket="DH-2", area="vessel", status="ended")
    scene.wait(120)
    records = {out.ticket: out.content for out in scene.outputs if isinstance(out, WorkRecord)}
    whys = {
        ticket: [gap["why"] for gap in record["recording_gaps"] if gap["camera"] == "cam"]
        for ticket, record in records.items()
    }
    assert whys == {"DH-1": ["the camera stopped delivering"], "DH-2": []}


def test_a_gap_without_times_is_refused() -> None:
    scene = Scene()
    with pytest.raises(ValueError, match="from_ns"):
        scene.event("vision.recording_gap", "cam", reason="?")


def test_a_gap_that_is_told_after_the_work_record_makes_another_revision() -> None:
    """What is missing up to the end is known seconds after it; the first record is made by then."""
    scene = Scene()
    scene.gas()
    scene.all_well()
    scene.permit(status="active")
    scene.wait(60)
    cut_ns = scene.now_ns
    scene.wait(60)
    scene.permit(status="ended")
    scene.wait(15)
    assert [record.revision for record in scene.records()] == [1]
    scene.event("vision.recording_gap", "cam", from_ns=cut_ns, to_ns=scene.now_ns, reason="cut")
    scene.event("vision.recording_gap", "elsewhere", from_ns=cut_ns, to_ns=scene.now_ns, reason="x")
    assert [record.revision for record in scene.records()] == [1, 2]
    (gap,) = scene.records()[-1].content["recording_gaps"]
    assert gap["why"] == "cut"
