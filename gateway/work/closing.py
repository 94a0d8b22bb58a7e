"""Closing loop 消警: what became of an alarm of vision or special work, by whom and when. Pure.

Guarantees: each step is one of life.CLOSING, with person and time, or is refused with one sentence
and changes nothing; a step is an event `work.handling`, and the state is stored with it. An alarm
that returns by itself stays open until a person has closed it. Alarms found false are kept, with
the name of who said so: they train and audit.

State: JSON, one object an alarm. The oldest closed ones go beyond MOST_KEPT.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.open_alarm import StateError
from gateway.work.life import CLOSING, Action, Handling, step

MOST_KEPT = 1000
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One step: who did what, when, and why."""

    time_ns: int
    action: str
    state: str
    person: str
    note: str = ""


@dataclass(slots=True)
class Case:
    """The handling of one alarm. returned: its condition is gone."""

    alarm_id: str
    source: str
    condition: str
    raised_ns: int
    state: Handling = Handling.NEW
    returned: bool = False
    steps: list[Step] = field(default_factory=list)


class Closing:
    """Cases of all alarms that need a person's word. Raises StateError for a bad `restored`."""

    def __init__(self, restored: bytes = b"") -> None:
        self._cases: dict[str, Case] = {}
        if restored:
            self._restore(restored)

    def feed(self, change: AlarmChange) -> None:
        """Open a case when an alarm is raised; note its return."""
        name = change.alarm_id.hex()
        case = self._cases.get(name)
        if case is None and change.state is AlarmState.UNACKNOWLEDGED_ACTIVE:
            self._cases[name] = Case(name, change.source, change.condition, change.gateway_time_ns)
            self._forget()
        elif case is not None and change.state is AlarmState.RETURNED_UNACKNOWLEDGED:
            case.returned = True

    def act(self, alarm: str, action: Action, step_by: Step) -> Case:
        """Take one step; `step_by` gives time, person and note.

        alarm: id in hex, or its beginning.  Raises TransitionError or ValueError, changing nothing.
        """
        case = self._find(alarm)
        state = step(CLOSING, case.state, action)
        if not step_by.person.strip():
            raise ValueError("who does it must be said")
        if action in {Action.REJECT, Action.CLOSE} and not step_by.note.strip():
            raise ValueError(f"to {action.value} needs a word of why or how: it goes on record")
        case.state = state
        case.steps.append(
            Step(step_by.time_ns, action.value, state.value, step_by.person, step_by.note)
        )
        return case

    def pushed(self, alarm: str, step_by: Step) -> Case | None:
        """Note that a person was told of an alarm (id in hex); None where that is no step."""
        case = self._cases.get(alarm)
        if case is None or Action.PUSH not in CLOSING[case.state]:
            return None
        return self.act(alarm, Action.PUSH, step_by)

    def case(self, alarm: str) -> Case | None:
        """The case of one alarm (id in hex); None where it has none."""
        return self._cases.get(alarm)

    def cases(self) -> list[Case]:
        """All cases, oldest first."""
        return list(self._cases.values())

    def state(self) -> bytes:
        """Encode everything that must survive a restart."""
        rows = [asdict(case) | {"state": case.state.value} for case in self._cases.values()]
        return json.dumps({"version": _VERSION, "cases": rows}, ensure_ascii=False).encode()

    def _find(self, alarm: str) -> Case:
        found = [case for name, case in self._cases.items() if alarm and name.startswith(alarm)]
        if len(found) != 1:
            many = "several alarms begin" if found else "no alarm of vision or work begins"
            raise ValueError(f"{many} with {alarm!r}: plantgate handling list shows them")
        return found[0]

    def _forget(self) -> None:
        spare = len(self._cases) - MOST_KEPT
        for name in [n for n, c in self._cases.items() if c.state is Handling.CLOSED][:spare]:
            if spare > 0:
                del self._cases[name]

    def _restore(self, restored: bytes) -> None:
        try:
            state: Mapping[str, Any] = json.loads(restored)
            if state["version"] != _VERSION:
                raise StateError(f"handling is of version {state['version']}, not {_VERSION}")
            for row in state["cases"]:
                steps = [Step(**one) for one in row["steps"]]
                case = Case(**{**row, "state": Handling(row["state"]), "steps": steps})
                self._cases[case.alarm_id] = case
        except (ValueError, KeyError, TypeError) as error:
            self._cases = {}
            raise StateError(f"the stored handling of alarms cannot be read: {error}") from error
