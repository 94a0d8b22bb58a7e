"""Grades by height and weight, permits that a size needs: one step either side, and the clause."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.gateway.work.scene import AREA, SITE, Scene
from tests.gateway.work.test_rules import cites

GRADES = ("Ⅰ", "Ⅱ", "Ⅲ", "Ⅳ")


def conditions(**said: Any) -> tuple[Scene, list[str]]:
    scene = Scene()
    scene.permit(status="approved", **said)
    return scene, scene.raised()


@pytest.mark.parametrize(
    ("right", "wrong", "grade", "rule"),
    [(5.0, 5.01, "Ⅰ", "first"), (15.0, 15.01, "Ⅱ", "second"), (30.0, 30.01, "Ⅲ", "third")],
)
def test_height_grade(right: float, wrong: float, grade: str, rule: str) -> None:
    told = {"work": "height", "level": grade, "communication": True}
    assert conditions(height_m=right, **told)[1] == []
    scene, raised = conditions(height_m=wrong, **told)
    assert raised == ["level_too_low"]
    cites(scene, "level_too_low", f"height.grade.{rule}/1", "8")
    higher = GRADES[GRADES.index(grade) + 1]
    assert conditions(height_m=wrong, **told | {"level": higher})[1] == []


@pytest.mark.parametrize(
    ("height_m", "needed"),
    [(5.0, "Ⅱ"), (5.01, "Ⅲ"), (15.0, "Ⅲ"), (15.01, "Ⅳ"), (30.0, "Ⅳ"), (30.01, "Ⅳ")],
)
def test_class_b_factors_raise_the_grade(height_m: float, needed: str) -> None:
    told = {"work": "height", "height_m": height_m, "height_factors": True, "communication": True}
    assert conditions(level=needed, **told)[1] == []
    scene, raised = conditions(level=GRADES[GRADES.index(needed) - 1], **told)
    assert raised == ["level_too_low"]
    assert f"need grade {needed}" in scene.alarm("level_too_low").change.text
    if height_m != 30.01:  # above 30 m the height alone asks for grade IV
        cites(scene, "level_too_low", "height.grade.factors/1", "8")


@pytest.mark.parametrize("word", ["II", "2", "二级", "Ⅱ级", "second"])
def test_words_of_a_grade(word: str) -> None:
    told = {"work": "height", "level": word}
    assert conditions(height_m=15, **told)[1] == []
    assert conditions(height_m=15.1, **told)[1] == ["level_too_low"]


def test_a_grade_that_cannot_be_read_is_said_and_a_height_that_nobody_said_is_not_judged() -> None:
    scene, raised = conditions(work="height", level="special", height_m=12)
    assert raised == ["level_unknown"]
    assert "12 m need Ⅱ" in scene.alarm("level_unknown").change.text
    assert conditions(work="height", level="special")[1] == []


@pytest.mark.parametrize(("height_m", "wrong"), [(30.0, False), (30.01, True)])
def test_above_30_m_people_can_talk_to_each_other(height_m: float, wrong: bool) -> None:
    told = {"work": "height", "level": "Ⅳ", "height_m": height_m}
    scene, raised = conditions(**told)
    assert raised == (["communication_missing"] if wrong else [])
    assert conditions(**told, communication=True)[1] == []
    if wrong:
        cites(scene, "communication_missing", "height.communication/1", "8")


@pytest.mark.parametrize(
    ("right", "wrong", "grade", "higher", "rule"),
    [(100.0, 100.1, "二级", "一级", "first"), (39.9, 40.0, "三级", "二级", "second")],
)
def test_lifting_grade(right: float, wrong: float, grade: str, higher: str, rule: str) -> None:
    assert conditions(work="lifting", level=grade, load_t=right)[1] == []
    scene, raised = conditions(work="lifting", level=grade, load_t=wrong)
    assert raised == ["level_too_low"]
    cites(scene, "level_too_low", f"lifting.grade.{rule}/1", "9")
    assert conditions(work="lifting", level=higher, load_t=wrong)[1] == []
    assert conditions(work="lifting", level="", load_t=wrong)[1] == ["level_unknown"]


@pytest.mark.parametrize(
    ("field", "right", "wrong", "kind", "rule", "clause"),
    [
        ("height_m", 1.99, 2.0, "height", "height.applies/1", "8"),
        ("depth_m", 0.49, 0.5, "earth", "earth.depth/1", "11"),
    ],
)
def test_a_size_that_needs_another_permit(
    field: str, right: float, wrong: float, kind: str, rule: str, clause: str
) -> None:
    for size, over in ((right, False), (wrong, True)):
        scene = Scene()
        said: dict[str, Any] = {field: size}
        scene.start(**said)
        assert scene.raised() == (["permit_missing"] if over else [])
    cites(scene, "permit_missing", rule, clause)
    scene.start("X-1", work=kind, level="Ⅰ", related_tickets="DH-1")
    scene.wait(6)
    assert scene.standing() == set()
    scene.permit("X-1", "ended", work=kind, related_tickets="DH-1")
    assert scene.standing() == {"permit_missing"}


@pytest.mark.parametrize(("other", "wrong"), [("P-102", False), ("p-101", True)])
def test_one_plate_of_a_pipe_at_a_time(other: str, wrong: bool) -> None:
    scene = Scene()
    scene.start("B-1", work="blind_plate", pipe="P-101", related_tickets="B-2")
    scene.start("B-2", work="blind_plate", pipe=other)
    assert scene.raised() == (["two_on_one_pipe"] if wrong else [])
    if wrong:
        cites(scene, "two_on_one_pipe", "blind_plate.single/1", "7")


@pytest.mark.parametrize(("metres", "wrong"), [(10.0, False), (10.01, True)])
def test_a_sample_too_far_from_the_point(metres: float, wrong: bool) -> None:
    scene = Scene()
    scene.permit(status="approved")
    scene.event("intake.gas_analysis", permit="DH-1", gas="methane", value=0.1, unit="%vol", id="g",
                distance_m=metres)  # fmt: skip
    scene.all_well()
    scene.permit(status="active")
    assert scene.raised() == (["analysis_far"] if wrong else [])
    assert scene.state() == ("approved: analysis_far" if wrong else "active")
    if wrong:
        cites(scene, "analysis_far", "hot_work.sampling.radius/1", "5.3.1")
        scene.gas(0)
        scene.wait(6)
        assert scene.standing() == set()


@pytest.mark.parametrize("explosive", [False, True])
def test_temporary_power_where_fire_threatens_needs_an_analysis(explosive: bool) -> None:
    site = replace(SITE, areas=(replace(AREA, explosive=explosive),))
    scene = Scene(site=site)
    scene.permit(status="approved", work="temporary_power")
    scene.all_well()
    scene.permit(status="active", work="temporary_power")
    assert scene.raised() == (["analysis_missing"] if explosive else [])
    if explosive:
        cites(scene, "analysis_missing", "temporary_power.analysis/1", "10")
        scene.gas(5)
        scene.wait(6)
        assert scene.standing() == set()


def test_a_size_survives_a_restart() -> None:
    scene = Scene()
    scene.event("intake.gas_analysis", permit="DH-1", gas="methane", value=0.1, unit="%vol", id="g",
                distance_m=12.0)  # fmt: skip
    scene.permit(status="approved", height_m=3.0)
    scene.restart()
    scene.all_well()
    scene.permit(status="active", height_m=3.0)
    assert scene.raised() == ["analysis_far", "permit_missing"]
