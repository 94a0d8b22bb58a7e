"""Checks of the paper: approval, validity, grade, changes after approval. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.rules.rulebook import Rule
from gateway.work.permit import Kind, Level
from gateway.work.situation import DAY_NS, HOUR_NS, Finding, Situation
from gateway.work.words import local, number

_UNIT_NS = {"h": HOUR_NS, "d": DAY_NS}


def validity_rule(situation: Situation) -> Rule | None:
    """Rule of how long such a permit may be valid, None where the standard has none."""
    kind, level = situation.kind, situation.level
    if kind is Kind.HOT_WORK:
        return situation.rule(f"hot_work.validity.{(level or Level.FIRST).word}")
    if kind is Kind.TEMPORARY_POWER:
        special = situation.permit.level is Level.SPECIAL
        return situation.rule(f"temporary_power.validity{'_special' if special else ''}")
    if kind in {Kind.CONFINED_SPACE, Kind.HEIGHT}:
        return situation.rule(f"{kind.value}.validity")
    return None


def approval(situation: Situation) -> Iterator[Finding]:
    """Work that goes on under a permit that nobody approved (4.11)."""
    if situation.permit.state.working and not situation.permit.approved:
        yield Finding(
            "not_approved",
            situation.rule("work.approver"),
            "work goes on although the permit was not approved",
            "作业票未审批即开始作业",
            stop=True,
            gate=True,
        )


def validity(situation: Situation) -> Iterator[Finding]:
    """Work beyond the time for which the permit is valid, or a plan that is too long."""
    permit, rule = situation.permit, validity_rule(situation)
    from_ns, plan_end_ns = permit.plan_ns
    if rule is None or not from_ns:
        until_ns, rule_used = permit.time_ns("plan_end"), situation.rule("work.validity")
    else:
        most_ns = round(rule.value * _UNIT_NS[rule.unit])
        planned_ns = plan_end_ns - from_ns
        if planned_ns > most_ns:
            unit_ns = _UNIT_NS[rule.unit]
            yield Finding(
                "validity_too_long",
                rule,
                f"the permit is planned for {number(planned_ns / unit_ns)} {rule.unit}, more than"
                f" {number(rule.value)} {rule.unit}",
                f"作业票有效期{number(planned_ns / unit_ns)}{_zh(rule.unit)},超过"
                f"{number(rule.value)}{_zh(rule.unit)}",
                value=planned_ns / unit_ns,
                limit=rule.value,
                unit=rule.unit,
            )
        until_ns = from_ns + (min(planned_ns, most_ns) if planned_ns else most_ns)
        rule_used = rule
    if permit.state.working and until_ns:
        yield Finding(
            "permit_expired",
            rule_used,
            f"work goes on although the permit ended at {local(until_ns)}",
            f"作业票已于{local(until_ns)}到期,作业仍在进行",
            left_ns=until_ns - situation.now_ns + 1,
            stop=True,
        )


def change(situation: Situation) -> Iterator[Finding]:
    """Content, people or place changed after the approval: a new permit is needed (4.16–4.17)."""
    fields = situation.permit.changed_after_approval()
    if fields and not situation.permit.state.over:
        yield Finding(
            "changed_after_approval",
            situation.rule("work.change"),
            f"{', '.join(fields)} changed after the approval: a new permit is needed",
            f"审批后变更({'、'.join(fields)}),应重新办理作业票",
            priority=3,
        )


def grade(situation: Situation) -> Iterator[Finding]:
    """Hot work whose grade cannot be read: it is judged as first grade, and that is said."""
    permit = situation.permit
    if situation.kind is Kind.HOT_WORK and permit.level is None and not permit.state.over:
        yield Finding(
            "level_unknown",
            situation.rule("hot_work.level"),
            f"the grade {permit.text('level')!r} is none of special, first, second: times are"
            " judged as first grade, nothing else by grade",
            f"动火级别“{permit.text('level')}”无法识别,时限按一级判定",
            priority=3,
        )


def _zh(unit: str) -> str:
    return {"h": "小时", "d": "天"}.get(unit, unit)
