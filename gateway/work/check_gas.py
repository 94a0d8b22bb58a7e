"""Checks of gas: analysis before the start, after a break and every day; limits; continuous gas.

The pass limit of an analysis (GB 30871-2022 5.3.2) also judges the detectors of the area while hot
work goes on: a detector's own alarm set point is no pass limit. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from gateway.rules.rulebook import Rule, local_date
from gateway.work.gases import Gas, GasError
from gateway.work.permit import Analysis, Kind, Level
from gateway.work.situation import MINUTE_NS, S_NS, Finding, Situation, unknown
from gateway.work.words import local, minutes, number

_UNIT_NS = {"min": MINUTE_NS, "h": 60 * MINUTE_NS}
ANALYSED = frozenset({Kind.HOT_WORK, Kind.CONFINED_SPACE})
_OF_DETECTORS = ("over", "low", "not_judged")
COMBUSTIBLE, OXYGEN, TOXIC = "", "oxygen", "toxic"
"""What a sample is of, as the subject of a finding; combustible gas is what goes without saying."""
_WORDS = {COMBUSTIBLE: ("gas", ""), OXYGEN: ("oxygen", "氧气"), TOXIC: ("toxic gas", "有毒气体")}


def timing(situation: Situation) -> Iterator[Finding]:
    """Analysis too old at the start, after a long break, or none of today.

    Combustible gas, oxygen and toxic gas are judged each by itself: a fresh sample of one says
    nothing of the others.
    """
    permit = situation.permit
    if situation.kind not in ANALYSED or not permit.state.working or not permit.started_ns:
        return
    before = [a for a in situation.analyses if a.time_ns <= situation.now_ns]
    near = [a for a in before if not _too_far(situation, a)]
    if before and not near:
        yield _far(situation, before[-1])
        return
    newest: dict[str, int] = {}
    for analysis in near:
        what = _what(situation, analysis)
        newest[what] = max(analysis.time_ns, newest.get(what, 0))
    for what in _wanted(situation, newest):
        yield from _timely(situation, what, newest.get(what, 0))


def _what(situation: Situation, analysis: Analysis) -> str:
    """What a sample is of; a gas that is not in the table is taken for one that may burn."""
    try:
        oxygen = situation.gases.find(analysis.gas).name == OXYGEN
    except GasError:
        oxygen = analysis.gas_type == OXYGEN
    if oxygen:
        return OXYGEN
    return TOXIC if analysis.toxic else COMBUSTIBLE


def _wanted(situation: Situation, analysed: Collection[str]) -> list[str]:
    """What must have been sampled in time.

    For hot work the combustible gas (5.3). In a confined space oxygen (6), and all else that was
    sampled at all: what may be in there is the site's to know.
    """
    if situation.kind is Kind.HOT_WORK:
        return [COMBUSTIBLE]
    return [what for what in (COMBUSTIBLE, OXYGEN, TOXIC)
            if what in analysed or (what == OXYGEN and analysed)] or [COMBUSTIBLE]  # fmt: skip


def _timely(situation: Situation, what: str, newest_ns: int) -> Iterator[Finding]:
    """One kind of sample: there is one, and it is fresh enough."""
    begin_ns, code = _begin(situation)
    age_rule = situation.rule(f"{situation.kind.value}.analysis.age")
    en, zh = _WORDS[what]
    if not newest_ns:
        yield Finding(
            "analysis_missing", age_rule, f"no {en} was analysed before the start",
            f"作业前未进行{zh or '气体'}分析", subject=what, stop=True, gate=True,
        )  # fmt: skip
        return
    age_ns = begin_ns - newest_ns
    if not age_rule.holds(age_ns / _UNIT_NS[age_rule.unit]):
        rule = age_rule if code == "analysis_old" else _break_rule(situation)
        moment = "start" if code == "analysis_old" else "resumption after the break"
        yield Finding(
            code,
            rule,
            f"{en} was sampled {minutes(age_ns)} min before the {moment} at {local(begin_ns)}, at"
            f" most {number(age_rule.value)} {age_rule.unit}: sample again",
            f"{zh}取样距{'作业开始' if code == 'analysis_old' else '中断后恢复作业'}"
            f"{minutes(age_ns)}分钟,不得超过{number(age_rule.value)}分钟,应重新取样分析",
            value=age_ns / MINUTE_NS,
            limit=age_rule.value,
            unit="min",
            subject=what,
            stop=True,
            gate=True,
        )
        return
    if what == COMBUSTIBLE:
        yield from _daily(situation, newest_ns)


def temporary_power(situation: Situation) -> Iterator[Finding]:
    """Temporary power in a place with a danger of fire or explosion without an analysis (10)."""
    area, permit = situation.area, situation.permit
    if situation.kind is not Kind.TEMPORARY_POWER or not permit.state.working:
        return
    if area is not None and area.explosive and not situation.analyses:
        yield Finding(
            "analysis_missing", situation.rule("temporary_power.analysis"),
            "temporary power where fire or explosion threatens, and no gas was analysed",
            "火灾爆炸危险场所临时用电未进行气体分析", stop=True, gate=True,
        )  # fmt: skip


def _too_far(situation: Situation, analysis: Analysis) -> bool:
    if situation.kind is not Kind.HOT_WORK or analysis.distance_m is None:
        return False
    return not situation.rule("hot_work.sampling.radius").holds(analysis.distance_m)


def _far(situation: Situation, analysis: Analysis) -> Finding:
    """Every sample was taken too far from the point of the work to say anything of it."""
    rule, away_m = situation.rule("hot_work.sampling.radius"), analysis.distance_m or math.nan
    return Finding(
        "analysis_far", rule,
        f"gas was sampled {number(away_m)} m from the point of the work, at most"
        f" {number(rule.value)} m: sample there",
        f"取样点距动火点{number(away_m)}米,应在{number(rule.value)}米范围内取样分析",
        value=away_m, limit=rule.value, unit="m", stop=True, gate=True,
    )  # fmt: skip


def _begin(situation: Situation) -> tuple[int, str]:
    """Time that an analysis must precede: the start, or the end of the last long break."""
    permit, rule = situation.permit, _break_rule(situation)
    begin_ns, code = permit.started_ns, "analysis_old"
    for since_ns, until_ns in permit.breaks:
        if until_ns and not rule.holds((until_ns - since_ns) / _UNIT_NS[rule.unit]):
            begin_ns, code = until_ns, "analysis_after_break"
    return begin_ns, code


def _break_rule(situation: Situation) -> Rule:
    if situation.kind is Kind.CONFINED_SPACE:
        return situation.rule("confined_space.interruption")
    return situation.rule(f"hot_work.interruption.{(situation.level or Level.FIRST).word}")


def _daily(situation: Situation, newest_ns: int) -> Iterator[Finding]:
    if situation.kind is not Kind.HOT_WORK:
        return
    today = local_date(situation.now_ns)
    if local_date(situation.permit.started_ns) == today:
        return  # the start itself was judged
    if local_date(newest_ns) != today:
        yield Finding(
            "analysis_daily",
            situation.rule("hot_work.analysis.daily"),
            f"hot work goes on for another day and its last gas analysis is of {local(newest_ns)}",
            f"动火作业跨日,最近一次气体分析为{local(newest_ns)},当日未分析",
            left_ns=situation.almanac.day_begins_ns(situation.now_ns) - situation.now_ns,
            stop=True,
        )


def results(situation: Situation) -> Iterator[Finding]:
    """Newest result of each gas and sampling place against its limit."""
    permit = situation.permit
    if situation.kind not in ANALYSED or permit.state.over:
        return
    newest: dict[tuple[str, str], Analysis] = {}
    for analysis in sorted(situation.analyses, key=lambda a: (a.time_ns, a.digest)):
        newest[analysis.gas.strip().lower(), analysis.place] = analysis
    for (gas, place), analysis in newest.items():
        subject = f"{gas}@{place}" if place else gas
        yield from judge(situation, analysis.gas, analysis.value, analysis.unit,
                         _How("analysis", subject, toxic=analysis.toxic))  # fmt: skip


def detectors(situation: Situation) -> Iterator[Finding]:
    """Values of the detectors while work goes on, and detectors that say nothing.

    A value that is uncertain, as one beyond the detector's range is, may raise and returns nothing;
    one that is bad, missing or not for alarm does neither.
    """
    if not situation.permit.state.working or situation.kind not in ANALYSED:
        return
    points = situation.gas_points
    if situation.continuous and not points:
        yield Finding(
            "continuous_gas", _continuous_rule(situation),
            "gas must be measured without a break, and no gas point is bound to the area or permit",
            "应连续监测气体,但该区域及作业票未绑定气体检测点", stop=True,
        )  # fmt: skip
    for point in points:
        reading = situation.reading(point.name)
        usable = reading is not None and reading.usable
        if reading is not None and reading.alarming:
            yield from judge(situation, point.gas, reading.value, point.unit,
                             _How("gas", point.name, hold_s=situation.holds.gas_s,
                                  since_ns=reading.mono_ns))  # fmt: skip
        if not usable:
            rule = situation.rule("hot_work.gas.lel_boundary")
            yield from (unknown(f"gas_{code}", rule, point.name) for code in _OF_DETECTORS)
        if situation.continuous and not usable:
            yield _silent(situation, point.name)
        newest = situation.facts.values.get(point.name)
        if situation.continuous and reading is not None and reading.usable and newest:
            left_ns = situation.left(newest.mono_ns, situation.holds.silent_s) + 1
            yield _silent(situation, point.name, left_ns)


def _silent(situation: Situation, name: str, left_ns: int | None = None) -> Finding:
    newest = situation.facts.values.get(name)
    begin_ns = situation.watched_since_ns
    if newest is not None:
        age_from = newest.since_ns if not newest.usable else newest.mono_ns
        begin_ns = max(age_from, situation.watched_since_ns)
    return Finding(
        "continuous_gas",
        _continuous_rule(situation),
        f"gas must be measured without a break, and {name} gives no usable value",
        f"应连续监测气体,但{name}无有效数据",
        subject=name,
        left_ns=situation.left(begin_ns, situation.holds.silent_s) if left_ns is None else left_ns,
        stop=True,
    )


def _continuous_rule(situation: Situation) -> Rule:
    if situation.kind is Kind.CONFINED_SPACE:
        return situation.rule("confined_space.record_interval")
    return situation.rule("hot_work.analysis.continuous")


def record(situation: Situation) -> Iterator[Finding]:
    """Gas in a confined space must be written down every two hours; the gateway does it itself.

    It stands only where no record could be made because the detectors give nothing usable.
    """
    if situation.kind is not Kind.CONFINED_SPACE or not situation.permit.state.working:
        return
    rule = situation.rule("confined_space.record_interval")
    written = [a.time_ns for a in situation.analyses if a.time_ns <= situation.now_ns]
    if 0 < situation.last_record_ns <= situation.now_ns:
        last_ns = max([situation.last_record_ns, *written])
    else:  # none yet, or the clock was set back
        last_ns = max([min(situation.permit.started_ns, situation.now_ns), *written])
    yield Finding(
        "record_overdue",
        rule,
        f"no gas value was written down since {local(last_ns)}, at least every"
        f" {number(rule.value)} h",
        f"自{local(last_ns)}以来未记录气体数值,应至少每{number(rule.value)}小时记录一次",
        value=(situation.now_ns - last_ns) / _UNIT_NS[rule.unit],
        limit=rule.value,
        unit=rule.unit,
        left_ns=last_ns + round(rule.value * _UNIT_NS[rule.unit]) - situation.now_ns + 1,
    )


class _How:
    """How a value came about: prefix of the finding's code, its subject, and its hold."""

    def __init__(self, prefix: str, subject: str, *, toxic: bool = False, hold_s: float = 0.0,
                 since_ns: int = 0) -> None:  # fmt: skip
        self.prefix = prefix
        self.subject = subject
        self.toxic = toxic
        self.hold_s = hold_s
        self.since_ns = since_ns


def judge(
    situation: Situation, gas_name: str, value: float, unit: str, how: _How
) -> Iterator[Finding]:
    """Hold one value against the limits of its gas; what cannot be judged is said."""
    try:
        gas = situation.gases.find(gas_name)
        found = list(_limits(situation, gas, value, unit, toxic=how.toxic))
    except GasError as error:
        yield Finding(
            f"{how.prefix}_not_judged",
            situation.rule("hot_work.gas.lel_boundary"),
            f"{number(value)} {unit}: {error}",
            f"{gas_name} {number(value)} {unit}:气体未知或单位无法换算,不予判定",
            subject=how.subject, priority=3,
        )  # fmt: skip
        return
    for rule, measured in found:
        if rule.holds(measured):
            continue
        low = rule.bound.value in {"at_least", "above"}
        said = f"{number(value)} {unit}"
        if unit != rule.unit:
            said += f" ({number(measured)} {rule.unit})"
        yield Finding(
            f"{how.prefix}_low" if low else f"{how.prefix}_over",
            rule,
            f"{gas.name} is {said} ({how.subject}), {'at least' if low else 'at most'}"
            f" {number(rule.value)} {rule.unit}",
            f"{gas.zh} {said},{'不得低于' if low else '不得超过'}"
            f" {number(rule.value)} {rule.unit}",
            value=measured, limit=rule.value, unit=rule.unit, subject=how.subject, priority=1,
            stop=True, gate=how.prefix == "analysis",
        )  # fmt: skip


def _limits(
    situation: Situation, gas: Gas, value: float, unit: str, *, toxic: bool
) -> Iterator[tuple[Rule, float]]:
    """Rules that apply to a value, each with the value in the rule's unit. Raises GasError."""
    if gas.name == "oxygen":
        yield from _oxygen(situation, gas.vol_percent(value, unit))
        return
    confined = situation.kind is Kind.CONFINED_SPACE
    if gas.combustible and not (toxic and confined):
        boundary = situation.rule("hot_work.gas.lel_boundary")
        high = boundary.holds(gas.lel_least)
        rule = situation.rule(f"hot_work.gas.{'high' if high else 'low'}_lel")
        yield rule, gas.vol_percent(value, unit)
    if confined and not math.isnan(gas.oel_mg_m3):
        yield situation.rule("confined_space.toxic"), gas.oel_percent(value, unit)
    elif toxic or not gas.combustible:
        if not confined:
            return  # GB 30871 sets no limit of toxic gas for hot work
        raise GasError(f"no exposure limit of {gas.name} is in the gas table")


def _oxygen(situation: Situation, percent: float) -> Iterator[tuple[Rule, float]]:
    rich = situation.area is not None and situation.area.oxygen_rich
    if situation.kind is Kind.CONFINED_SPACE:
        yield situation.rule("confined_space.oxygen.least"), percent
        most = "confined_space.oxygen.most_enriched" if rich else "confined_space.oxygen.most"
        yield situation.rule(most), percent
    elif rich:
        yield situation.rule("hot_work.oxygen_equipment"), percent


def auto_record_due(situation: Situation) -> int:
    """Time (ns) until the gateway writes the values down by itself; far away if it need not.

    Five minutes before the limit, so that a short gap of the detectors does no harm.
    """
    for finding in record(situation):
        return finding.left_ns - 300 * S_NS
    return 1 << 62
