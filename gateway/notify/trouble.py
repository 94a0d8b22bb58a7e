"""Alarms about notifiers: one that fails is an alarm itself. Pure.

The alarm desk knows whether it stands: a raise of one that stands and a return of one that does not
change nothing, so this only says what is so.
"""

from __future__ import annotations

import math

from drivers.contract import Quality
from gateway.duty.desk import NOTIFIER
from gateway.model.alarm import AlarmChange, AlarmState

CONDITION = "notifier_failed"
RULE = "notify.failed/1"
PRIORITY = 2


def change(name: str, why: str, alarm_id: bytes, wall_ns: int) -> AlarmChange:
    """Say that a notifier failed (`why`), or works again (empty)."""
    raised = bool(why)
    active, returned = AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED
    return AlarmChange(
        alarm_id=alarm_id,
        source=f"{NOTIFIER}{name}",
        condition=CONDITION,
        state=active if raised else returned,
        previous_state=AlarmState.NORMAL if raised else active,
        priority=PRIORITY,
        value=math.nan,
        quality=int(Quality.GOOD),
        limit=math.nan,
        unit="",
        source_time_ns=wall_ns,
        gateway_time_ns=wall_ns,
        rule=RULE,
        text=f"Notifier {name} does not deliver: {why} 通知方式故障。" if raised
        else f"Notifier {name} delivers again 通知方式已恢复。",
    )  # fmt: skip
