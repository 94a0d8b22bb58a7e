"""How findings are said: alarm changes, judgement sheets, notices. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from drivers.contract import Quality
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.work.facts import Scalar
from gateway.work.job import Job, Violation
from gateway.work.outputs import WorkEvent
from gateway.work.situation import Situation
from gateway.work.words import cited, local


def change(job: Job, situation: Situation, violation: Violation, *, raised: bool) -> AlarmChange:
    """Make the alarm record of a violation that was raised or has returned."""
    subject = f"/{violation.subject}" if violation.subject else ""
    permit, area = situation.permit, situation.area
    kind = f"{permit.kind.value} {permit.kind.zh}"
    over = "" if raised else "no longer: "
    return AlarmChange(
        alarm_id=violation.alarm_id,
        source=source(job.ticket) + subject,
        condition=violation.code,
        state=AlarmState.UNACKNOWLEDGED_ACTIVE if raised else AlarmState.RETURNED_UNACKNOWLEDGED,
        previous_state=AlarmState.NORMAL if raised else AlarmState.UNACKNOWLEDGED_ACTIVE,
        priority=violation.priority,
        value=violation.value,
        quality=int(Quality.GOOD),
        limit=violation.limit,
        unit=violation.unit,
        source_time_ns=situation.now_ns,
        gateway_time_ns=situation.now_ns,
        rule=violation.rule,
        text=f"Permit {job.ticket} ({kind}): {over}{violation.en} [{violation.citation}]. "
        f"{'' if raised else '恢复:'}{violation.zh}。",
        hazard=permit.text("hazard"),
        place=area.place or area.name if area else permit.text("area") or permit.text("place"),
    )


def sheet(situation: Situation, violation: Violation) -> dict[str, Any]:
    """Write down what was judged: the evidence of every violation, also without a camera."""
    facts = situation.facts
    names = [*(point.name for point in situation.gas_points)]
    if situation.area is not None:
        names += [*situation.area.counts, situation.area.guardian, situation.area.wind,
                  situation.area.recording]  # fmt: skip
    return {
        "kind": "plantgate.judgement/1",
        "alarm_id": violation.alarm_id.hex(),
        "time": local(situation.now_ns),
        "condition": violation.code,
        "subject": violation.subject,
        "rule": violation.rule,
        "citation": violation.citation,
        "value": plain(violation.value),
        "limit": plain(violation.limit),
        "unit": violation.unit,
        "text_en": violation.en,
        "text_zh": violation.zh,
        "permit": dict(situation.permit.said),
        "level_judged": situation.level.word if situation.level else "",
        "special_time": [reason.value for reason in situation.special],
        "analyses": [
            {"time": local(a.time_ns), "gas": a.gas, "value": a.value, "unit": a.unit,
             "place": a.place, "analyst": a.analyst, "id": a.id}
            for a in situation.analyses
        ],
        "values": {
            name: {"value": plain(found.value), "quality": found.quality,
                   "time": local(found.time_ns)}
            for name in names
            if name and (found := facts.values.get(name)) is not None
        },
        "positioning": {area: people for area, (people, _, _) in facts.people.items()
                        if situation.area is not None and situation.area.called(area)},
        "cameras": {camera: facts.blind[camera][1] if camera in facts.blind else "seen"
                    for camera in situation.cameras},
    }  # fmt: skip


def stop_recommended(job: Job, situation: Situation, violation: Violation) -> WorkEvent:
    """Recommend to stop the work; nothing is commanded."""
    job.say(situation.now_ns, "stop", f"stop recommended: {violation.en}",
            f"建议停止作业:{violation.zh}")  # fmt: skip
    return WorkEvent(
        "work.stop_recommended",
        source(job.ticket),
        f"Permit {job.ticket}: stopping the work is recommended because {violation.en}."
        f" 建议停止作业:{violation.zh}。",
        {"ticket_no": job.ticket, "alarm_id": violation.alarm_id.hex(), "rule": violation.rule,
         "condition": violation.code},
    )  # fmt: skip


def notices(job: Job, situation: Situation) -> Iterator[WorkEvent]:
    """Things that are said once each: refused steps, what cannot be watched, a raised grade."""
    permit = situation.permit
    said: list[tuple[str, str, str]] = [
        ("work.refused", f"Permit {job.ticket}: {line}.", f"不符合流程:{line}")
        for line in permit.refused
    ]
    if permit.unknown_status:
        text = f"status {permit.unknown_status!r} is no word that is understood"
        said.append(("work.not_judged", f"Permit {job.ticket}: {text}.", "作业票状态无法识别"))
    if situation.area is None and not permit.state.over:
        where = permit.text("area") or permit.text("place") or "no place"
        text = f"names {where}, which no [[permit_area]] is called: its place is not watched"
        said.append(("work.not_judged", f"Permit {job.ticket} {text}.", "作业区域未配置,无法监视"))
    zone = situation.area.guardian if situation.area is not None else ""
    if permit.state.working and not permit.text("guardian_card") and not zone:
        text = "names no guardian_card and its area has no guardian zone: whether the guardian is"
        text += " there is known only from an alarm of positioning"
        said.append(("work.not_judged", f"Permit {job.ticket} {text}.", "无法判定监护人在岗"))
    if situation.level != permit.level and situation.level and permit.level:
        said.append(("work.level_raised", *_raised_words(job.ticket, situation)))
    for kind, en, zh in said:
        if en in job.told:
            continue
        job.told.add(en)
        job.say(situation.now_ns, "notice", en, zh)
        rule = situation.rule("hot_work.upgrade").name if kind == "work.level_raised" else ""
        attributes: dict[str, Scalar] = {"ticket_no": job.ticket, "rule": rule}
        yield WorkEvent(kind, source(job.ticket), f"{en} {zh}", attributes)


def _raised_words(ticket: str, situation: Situation) -> tuple[str, str]:
    permit, level = situation.permit, situation.level
    if level is None or permit.level is None:
        return "", ""
    why = ", ".join(reason.value for reason in situation.special)
    rule = situation.rule("hot_work.upgrade")
    return (
        f"Permit {ticket}: its grade {permit.level.word} is judged as {level.word} because of"
        f" {why} [{cited(rule.citation, rule.state)}].",
        f"{'、'.join(reason.zh for reason in situation.special)}期间,动火级别由{permit.level.zh}"
        f"升级为{level.zh}管理。",
    )


def source(ticket: str) -> str:
    """Name of a permit as the source of alarms and events."""
    return f"permit/{ticket}"


def plain(value: float) -> float | None:
    """A number fit for JSON: NaN becomes null."""
    return None if math.isnan(value) else value
