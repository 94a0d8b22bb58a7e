"""Alarms of the control system as alarm records: OPC UA conditions (OPC 10000-9) mirrored. Pure.

Guarantees:

- The state is the control system's own, in ISA-18.2 words (`state_of`); nothing here ever answers
  it: an operator acknowledges there, and the record follows. One that is disabled there (10000-9,
  5.5.2) is out of service: nobody would see it.
- One condition is one alarm from its raise until it is normal: a repeated word, a refresh at a
  reconnect, a restart of the gateway make no second record; a raise after a return is a new id.
- What was standing and is not said by a whole refresh has ended while nobody listened: it is
  recorded as normal.
- A branch (10000-9, 5.5.2: an earlier state that nobody has acknowledged) is no alarm of its own:
  as long as one is open the condition's alarm, once over, is returned and unacknowledged.
- Severity (1 to 1000) becomes a priority 1 to 4 by PRIORITIES, our own choice: the standard leaves
  it to the site (10000-5, 6.4.2).

Source is device/source name, condition the condition's name; by 10000-9, 5.5.2 the two tell
conditions apart for people. `condition_id` is the condition's node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from drivers.contract import Quality, SourceEvent
from gateway.model.alarm import AlarmChange, AlarmState

ALARM, REFRESH = "opcua.alarm", "opcua.refresh"
KINDS = frozenset({ALARM, REFRESH, "link.up", "link.down"})
RULE = "opcua.condition/1"
PRIORITIES = ((801, 1), (601, 2), (401, 3), (0, 4))
SHELVED = frozenset({"i=2932", "i=2933"})
"""Timed and one-shot shelved, states of ShelvedStateMachineType (NodeIds.csv)."""
NO_BRANCH = frozenset({"", "i=0"})

Key = tuple[str, str]
Said = Mapping[str, str | int | float | bool]


class Mirror:
    """Conditions of all devices. standing: last records of the alarms that are not normal."""

    def __init__(
        self, standing: Callable[[], Iterable[AlarmChange]], new_id: Callable[[], bytes]
    ) -> None:
        self._standing = standing
        self._new_id = new_id
        self._refreshed: dict[str, set[Key]] = {}  # by device, while a refresh goes on
        self._branches: dict[Key, set[str]] = {}  # those that nobody has acknowledged
        self._own: dict[Key, AlarmState] = {}  # without branches, where it is not normal

    def take_over(self, other: Mirror) -> None:
        """Go on where another stopped, which is not to be fed any more; at a reload."""
        self._refreshed, self._branches, self._own = other._refreshed, other._branches, other._own

    def feed(self, event: SourceEvent, known: AlarmChange | None) -> list[AlarmChange]:
        """Take an event of a device; `known`: the last record of its alarm, see `key_of`."""
        if event.kind == ALARM:
            key = key_of(event)
            if key is None:
                return []
            change = self._change(event, key, known)
            if self._may_end(event, change):
                return []  # a branch may be said yet; the end of the refresh knows
            self._refreshed.get(event.source, set()).add(key)
            return [change] if change is not None else []
        if event.kind == REFRESH and event.attributes.get("begins"):
            self._refreshed[event.source] = set()
            self._forget_branches(event.source)
            return []
        said = self._refreshed.pop(event.source, None)  # a lost link breaks a refresh off
        return self._gone(event, said) if event.kind == REFRESH and said is not None else []

    def _change(
        self, event: SourceEvent, key: Key, known: AlarmChange | None
    ) -> AlarmChange | None:
        state = self._state(event, key, known)
        priority = priority_of(event.attributes)
        if branch_of(event) and known is not None:
            priority = known.priority  # of now, not of then
        before = known.state if known is not None else AlarmState.NORMAL
        if state is before and (known is None or known.priority == priority):
            return None
        active = AlarmState.UNACKNOWLEDGED_ACTIVE
        anew = known is None or (state is active and before in _RETURNED)
        return AlarmChange(
            alarm_id=self._new_id() if anew or known is None else known.alarm_id,
            source=key[0],
            condition=key[1],
            state=state,
            previous_state=before,
            priority=priority,
            value=math.nan,
            quality=int(Quality.GOOD),
            limit=math.nan,
            unit="",
            source_time_ns=event.time_ns,
            gateway_time_ns=_received(event),
            rule=RULE,
            text=event.text,
            condition_id=str(event.attributes.get("condition_id", "")),
        )

    def _state(self, event: SourceEvent, key: Key, known: AlarmChange | None) -> AlarmState:
        """State of the condition and its branches together."""
        branch, said = branch_of(event), state_of(event.attributes)
        if not branch:
            self._own[key] = said
            if said is AlarmState.NORMAL:
                del self._own[key]
            over = said in {AlarmState.NORMAL, AlarmState.LATCHED}
            return AlarmState.RETURNED_UNACKNOWLEDGED if over and key in self._branches else said
        unheard = self._branches.setdefault(key, set())
        owed = event.attributes.get("acknowledged", True) is not True
        (unheard.add if owed else unheard.discard)(branch)
        if not unheard:
            del self._branches[key]
        before = known.state if known is not None else AlarmState.NORMAL
        if before not in _RETURNED:
            return before  # the condition's own state says more
        if unheard:
            return AlarmState.RETURNED_UNACKNOWLEDGED
        return self._own.get(key, AlarmState.NORMAL)

    def _may_end(self, event: SourceEvent, change: AlarmChange | None) -> bool:
        if change is None or event.source not in self._refreshed:
            return False
        unheard = change.previous_state is AlarmState.RETURNED_UNACKNOWLEDGED
        return unheard and change.state is AlarmState.NORMAL

    def _forget_branches(self, device: str) -> None:
        """A refresh says all that are open again."""
        prefix = f"{device}/"
        for kept in (self._branches, self._own):
            for key in [key for key in kept if key[0].startswith(prefix)]:
                del kept[key]

    def _gone(self, event: SourceEvent, said: set[Key]) -> list[AlarmChange]:
        prefix = f"{event.source}/"
        return [
            replace(
                one,
                state=AlarmState.NORMAL,
                previous_state=one.state,
                source_time_ns=event.time_ns,
                gateway_time_ns=event.time_ns,
                text=f"{one.source} {one.condition}: ended while the server was not heard.",
            )
            for one in self._standing()
            if one.rule == RULE
            and one.source.startswith(prefix)
            and (one.source, one.condition) not in said
        ]


_RETURNED = frozenset({AlarmState.NORMAL, AlarmState.RETURNED_UNACKNOWLEDGED, AlarmState.LATCHED})


def key_of(event: SourceEvent) -> Key | None:
    """Source and condition of the alarm that an event is about; None where it is no condition."""
    said = event.attributes
    told = "active" in said or said.get("enabled") is False  # disabled, it tells no other state
    if not told or event.kind != ALARM:
        return None
    name = str(said.get("source_name") or said.get("source_node") or "")
    condition = str(said.get("condition") or said.get("condition_id") or "alarm")
    return f"{event.source}/{name}", condition


def branch_of(event: SourceEvent) -> str:
    """Branch of a condition that an event is about; empty for the condition itself."""
    branch = str(event.attributes.get("branch", ""))
    return "" if branch in NO_BRANCH else branch


def state_of(said: Said) -> AlarmState:
    """State of a condition in ISA-18.2 words; what a server leaves out counts as not so."""
    active, acknowledged = bool(said.get("active")), said.get("acknowledged", True) is True
    if said.get("out_of_service") is True or said.get("enabled") is False:
        return AlarmState.OUT_OF_SERVICE
    if said.get("suppressed") is True:
        return AlarmState.SUPPRESSED_BY_DESIGN
    if str(said.get("shelving", "")) in SHELVED:
        return AlarmState.SHELVED
    if active:
        return AlarmState.ACKNOWLEDGED_ACTIVE if acknowledged else AlarmState.UNACKNOWLEDGED_ACTIVE
    if not acknowledged:
        return AlarmState.RETURNED_UNACKNOWLEDGED
    return AlarmState.LATCHED if said.get("latched") is True else AlarmState.NORMAL


def priority_of(said: Said) -> int:
    """Priority 1 to 4 by severity."""
    severity = said.get("severity", 0)
    number = severity if isinstance(severity, int) else 0
    return next(priority for least, priority in PRIORITIES if number >= least)


def _received(event: SourceEvent) -> int:
    received = event.attributes.get("received_ns", event.time_ns)
    return received if isinstance(received, int) else event.time_ns
