"""Checks of the size of a job 作业规模: height, load, depth. Pure.

GB 30871-2022 grades work at height by metres (8) and lifting by tonnes (9), and calls work from 2 m
up work at height and digging from 0.5 m down earth work, whatever permit it goes on under. What a
permit does not say (`height_m`, `load_t`, `depth_m`) is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.work.check_cross import linked
from gateway.work.permit import Kind
from gateway.work.situation import Finding, Situation
from gateway.work.words import number

HEIGHT_RULES = ("height.grade.first", "height.grade.second", "height.grade.third")
"""Most metres of the grades Ⅰ, Ⅱ, Ⅲ; above the last it is Ⅳ."""
ROMAN = ("Ⅰ", "Ⅱ", "Ⅲ", "Ⅳ")
LIFTING_ZH = ("一级", "二级", "三级")
_HEIGHT_WORDS = (
    ("ⅰ", "i", "1", "一级", "first"), ("ⅱ", "ii", "2", "二级", "second"),
    ("ⅲ", "iii", "3", "三级", "third"), ("ⅳ", "iv", "4", "四级", "fourth"),
)  # fmt: skip
_LIFTING_WORDS = _HEIGHT_WORDS[:3]


def height_grade(situation: Situation) -> Iterator[Finding]:
    """Work at height under a grade that is lower than its height and surroundings ask for (8)."""
    permit, height_m = situation.permit, situation.permit.number("height_m")
    if situation.kind is not Kind.HEIGHT or permit.state.over or height_m is None:
        return
    grade, factors = _read(permit.text("level"), _HEIGHT_WORDS), _given(situation)
    limits = [situation.rule(rule_id) for rule_id in HEIGHT_RULES]
    by_height = sum(not limit.holds(height_m) for limit in limits)
    needed = min(by_height + factors, len(ROMAN) - 1)
    if grade is None:
        yield Finding(
            "level_unknown", situation.rule("height.grade.factors" if factors else HEIGHT_RULES[0]),
            f"the grade {permit.text('level')!r} is none of I to IV: {number(height_m)} m need"
            f" {ROMAN[needed]}", f"高处作业级别“{permit.text('level')}”无法识别,"
            f"{number(height_m)}米应为{ROMAN[needed]}级", priority=3,
        )  # fmt: skip
    elif grade < needed:
        rule = limits[grade] if grade < by_height else situation.rule("height.grade.factors")
        why, zh = (" with class B factors", "且存在B类因素") if factors else ("", "")
        yield Finding(
            "level_too_low", rule,
            f"{number(height_m)} m{why} need grade {ROMAN[needed]}, the permit has {ROMAN[grade]}",
            f"作业高度{number(height_m)}米{zh},应为{ROMAN[needed]}级,作业票为{ROMAN[grade]}级",
            value=height_m, limit=rule.value, unit="m",
        )  # fmt: skip


def communication(situation: Situation) -> Iterator[Finding]:
    """Above 30 m people need a means to talk to each other (8); the permit says whether they do."""
    permit, height_m = situation.permit, situation.permit.number("height_m")
    rule = situation.rule("height.communication")
    if situation.kind is not Kind.HEIGHT or permit.state.over or height_m is None:
        return
    if not rule.holds(height_m) and permit.said.get("communication") is not True:
        yield Finding(
            "communication_missing", rule,
            f"work at {number(height_m)} m, and the permit names no means of communication",
            f"作业高度{number(height_m)}米,作业票未注明通讯联络工具",
            value=height_m, limit=rule.value, unit="m",
        )  # fmt: skip


def lifting_grade(situation: Situation) -> Iterator[Finding]:
    """Lifting under a grade that is lower than its load asks for (9); the first is the highest."""
    permit, load_t = situation.permit, situation.permit.number("load_t")
    if situation.kind is not Kind.LIFTING or permit.state.over or load_t is None:
        return
    second, first = (situation.rule(f"lifting.grade.{name}") for name in ("second", "first"))
    needed = 0 if not first.holds(load_t) else 1 if not second.holds(load_t) else 2
    grade = _read(permit.text("level"), _LIFTING_WORDS)
    if grade is None:
        yield Finding(
            "level_unknown", first,
            f"the grade {permit.text('level')!r} is none of first, second, third: {number(load_t)}"
            f" t need the {('first', 'second', 'third')[needed]}",
            f"吊装作业级别“{permit.text('level')}”无法识别,{number(load_t)}吨应为{LIFTING_ZH[needed]}",
            priority=3,
        )  # fmt: skip
    elif grade > needed:
        rule = second if grade == len(LIFTING_ZH) - 1 else first
        yield Finding(
            "level_too_low", rule,
            f"{number(load_t)} t need the {('first', 'second')[needed]} grade, the permit has the"
            f" {('first', 'second', 'third')[grade]}",
            f"吊物质量{number(load_t)}吨,应为{LIFTING_ZH[needed]},作业票为{LIFTING_ZH[grade]}",
            value=load_t, limit=rule.value, unit="t",
        )  # fmt: skip


_KINDS: Mapping[Kind, tuple[str, str]] = {
    Kind.HEIGHT: ("height_m", "height.applies"),
    Kind.EARTH: ("depth_m", "earth.depth"),
}
"""Kinds that a job is of by its size alone."""


def other_permit(situation: Situation) -> Iterator[Finding]:
    """Work that is at height, or earth work, by its size and goes on without such a permit."""
    permit = situation.permit
    if not permit.state.working:
        return
    for kind, (field, rule_id) in _KINDS.items():
        size_m, rule = permit.number(field), situation.rule(rule_id)
        if kind is situation.kind or size_m is None or rule.holds(size_m):
            continue
        if not any(other.kind is kind and linked(permit, other) for other in situation.others):
            what = "above the level of a fall" if kind is Kind.HEIGHT else "deep"
            yield Finding(
                "permit_missing", rule,
                f"{number(size_m)} m {what}, and no permit for {kind.value} work that is at work is"
                " related to this one",
                f"{'作业高度' if kind is Kind.HEIGHT else '挖掘深度'}{number(size_m)}米,"
                f"未关联作业中的{kind.zh}作业票",
                value=size_m, limit=rule.value, unit="m", subject=kind.value,
            )  # fmt: skip


def one_plate(situation: Situation) -> Iterator[Finding]:
    """Two blind plates of one pipe are never worked on at the same time (7)."""
    permit, pipe = situation.permit, situation.permit.text("pipe").casefold()
    if situation.kind is not Kind.BLIND_PLATE or not permit.state.working or not pipe:
        return
    for other in situation.others:
        same = other.kind is Kind.BLIND_PLATE and other.text("pipe").casefold() == pipe
        if same and permit.ticket < other.ticket:  # told once
            yield Finding(
                "two_on_one_pipe", situation.rule("blind_plate.single"),
                f"permit {other.ticket} is at work on another blind plate of pipe"
                f" {permit.text('pipe')}",
                f"同一管道{permit.text('pipe')}上另有盲板抽堵作业{other.ticket}",
                subject=other.ticket, stop=True,
            )  # fmt: skip


def _given(situation: Situation) -> bool:
    """Tell whether the permit names a class B factor."""
    return situation.permit.said.get("height_factors") is True


def _read(text: str, words: tuple[tuple[str, ...], ...]) -> int | None:
    """Place of a grade in its list; None for a word that is none of them."""
    said = text.strip().casefold().removesuffix("级")
    for place, known in enumerate(words):
        if said in {word.removesuffix("级") for word in known}:
            return place
    return None
