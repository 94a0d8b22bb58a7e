"""Declared tests and outages 申报: span gas 标气测试, calibration 校准, maintenance 停用检修.

Guarantees:

- While a declaration runs, values of its points go on being judged, stored and sent; good ones
  carry the quality uncertain:under_test, calibrating or inhibited. Bad and uncertain ones keep
  theirs.
- An alarm raised meanwhile is recorded with the declaration's id and counted apart: it is no real
  alarm, and it is not hidden. One that stands at the end is announced again without it.
- A declaration names person, reason, beginning and end. It ends by itself, at most `MOST_NS` of its
  kind after its beginning; a restart keeps it by the wall clock, a clock step does not move it. One
  that ran at the stop runs on where the clock was set back meanwhile, for its whole time at most.
- Every beginning and end is a note, to be stored as an event together with `encode()`.

Pure; not thread-safe.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from drivers.contract import SEVERITY_MASK, Batch, Quality
from gateway.model.directory import Directory
from gateway.model.point import Point

STATE = "declarations"
HOUR_NS = 3600 * 10**9


class DeclarationError(ValueError):
    """A declaration cannot be taken; one clear sentence."""


class DeclarationKind(enum.Enum):
    """What is declared."""

    SPAN_GAS = "span_gas"
    CALIBRATION = "calibration"
    MAINTENANCE = "maintenance"


QUALITY: Mapping[DeclarationKind, Quality] = {
    DeclarationKind.SPAN_GAS: Quality.UNCERTAIN_UNDER_TEST,
    DeclarationKind.CALIBRATION: Quality.UNCERTAIN_CALIBRATING,
    DeclarationKind.MAINTENANCE: Quality.UNCERTAIN_INHIBITED,
}
MOST_NS: Mapping[DeclarationKind, int] = {
    DeclarationKind.SPAN_GAS: 8 * HOUR_NS,
    DeclarationKind.CALIBRATION: 24 * HOUR_NS,
    DeclarationKind.MAINTENANCE: 30 * 24 * HOUR_NS,
}
"""Longest declaration of a kind: a shift, a day, a month."""
SCOPES = ("point", "device", "place")
_COUNTED = frozenset({"values", "alarms", "begun"})


@dataclass(frozen=True, slots=True)
class Declaration:
    """One test or outage. scope: point, device or place, called `name`. Times: wall clock, ns."""

    id: str
    kind: DeclarationKind
    scope: str
    name: str
    person: str
    reason: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Note:
    """A beginning or an end, as an event."""

    kind: str
    source: str
    text: str
    attributes: Mapping[str, str]


@dataclass(slots=True)
class _Held:
    """A declaration with monotonic times and what was counted under it."""

    declaration: Declaration
    starts_ns: int = 0
    ends_ns: int = 0
    running: bool = False
    values: int = 0
    alarms: int = 0


class Declarations:
    """All declarations that have not ended."""

    def __init__(self, points: Sequence[Point], *, new_id: Callable[[], bytes]) -> None:
        self._directory = Directory(points)
        self._new_id = new_id
        self._held: dict[str, _Held] = {}
        self._notes: list[Note] = []
        self._code = np.zeros(1 + max((p.id for p in points), default=0), np.uint16)
        self._number = np.zeros(len(self._code), np.intp)  # 1 + place in _order, 0 for none
        self._order: list[str] = []
        self._by_point: dict[str, str] = {}
        self._running = False

    # -- the flow --------------------------------------------------------------------------

    def mark(self, batch: Batch) -> Batch:
        """Give the batch with the qualities of what is declared."""
        if not self._running:
            return batch
        inside = (batch.points >= 0) & (batch.points < len(self._code))
        ids = np.where(inside, batch.points, 0)
        code = np.where(inside, self._code[ids], 0)
        if not np.count_nonzero(code):
            return batch
        marked = (code != 0) & ((batch.quality & SEVERITY_MASK) == 0)
        self._count_values(np.where(inside, self._number[ids], 0))
        return replace(batch, quality=np.where(marked, code, batch.quality).astype(np.uint16))

    def of(self, source: str) -> str:
        """Give the id of the declaration that an alarm of a source happens under, or empty."""
        return self._by_point.get(source, "") if self._running else ""

    def count_alarm(self, declaration: str) -> None:
        """Count an alarm that was raised under a declaration."""
        if declaration in self._held:
            self._held[declaration].alarms += 1

    # -- people ----------------------------------------------------------------------------

    def declare(self, wanted: Declaration, *, now_ns: int, wall_ns: int) -> Declaration:
        """Take a declaration (its id is given here). Raises DeclarationError."""
        self._check(wanted, wall_ns)
        made = replace(wanted, id=self._new_id().hex()[:12])
        held = _Held(made)
        self._held[made.id] = held
        self._time(held, now_ns=now_ns, wall_ns=wall_ns)
        self._note("declaration.taken", held, f"declared by {made.person}")
        self.tick(now_ns)
        return made

    def end(self, declaration: str, person: str, *, now_ns: int) -> None:
        """End a declaration early. Raises DeclarationError."""
        held = self._held.get(declaration)
        if held is None:
            raise DeclarationError(f"there is no declaration {declaration}")
        if not person.strip():
            raise DeclarationError("the name of the person is missing")
        held.starts_ns = min(held.starts_ns, now_ns)
        held.ends_ns = now_ns
        self._note("declaration.ended_early", held, f"ended early by {person}")

    def _check(self, wanted: Declaration, wall_ns: int) -> None:
        if wanted.scope not in SCOPES:
            raise DeclarationError(f"a declaration is of a point, a device or a place,"
                                   f" not {wanted.scope}")  # fmt: skip
        if not len(self._directory.ids(wanted.scope, wanted.name)):
            raise DeclarationError(f"there is no {wanted.scope} {wanted.name}")
        if not wanted.person.strip() or not wanted.reason.strip():
            raise DeclarationError("a declaration needs the name of a person and a reason")
        most_ns = MOST_NS[wanted.kind]
        if wanted.end_ns <= max(wanted.start_ns, wall_ns):
            raise DeclarationError("a declaration must end after it begins, and in the future")
        if wanted.end_ns - wanted.start_ns > most_ns:
            raise DeclarationError(
                f"a declaration of {wanted.kind.value} lasts at most {most_ns // HOUR_NS} h"
            )

    # -- time ------------------------------------------------------------------------------

    def next_deadline_ns(self) -> int | None:
        """Monotonic time of the next beginning or end, or None."""
        found = [h.ends_ns if h.running else h.starts_ns for h in self._held.values()]
        return min(found, default=None)

    def tick(self, now_ns: int) -> list[str]:
        """Begin and end what is due by `now_ns` (monotonic); gives the ids that ended."""
        ended = []
        changed = False
        for held in list(self._held.values()):
            if not held.running and held.starts_ns <= now_ns < held.ends_ns:
                held.running = changed = True
                self._note("declaration.begun", held, "begins")
            if held.ends_ns <= now_ns:
                del self._held[held.declaration.id]
                ended.append(held.declaration.id)
                changed = True
                self._note("declaration.ended", held, "has ended")
        if changed:
            self._plan()
        return ended

    def notes(self) -> list[Note]:
        """Hand over the notes since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def listed(self) -> list[tuple[Declaration, bool, int, int]]:
        """Each declaration, whether it runs, and the values and alarms counted under it."""
        return [(h.declaration, h.running, h.values, h.alarms) for h in self._held.values()]

    # -- state -----------------------------------------------------------------------------

    def encode(self) -> bytes:
        """Encode for the log's state; empty where nothing is declared."""
        rows = [
            asdict(held.declaration)
            | {
                "kind": held.declaration.kind.value,
                "values": held.values,
                "alarms": held.alarms,
                "begun": held.running,
            }
            for held in self._held.values()
        ]
        return json.dumps(rows, ensure_ascii=False).encode() if rows else b""

    def restore(self, encoded: bytes, *, now_ns: int, wall_ns: int) -> None:
        """Go on from a stored state; raises DeclarationError if it cannot be read."""
        try:
            rows = json.loads(encoded or b"[]")
            held = [
                _Held(
                    Declaration(**{k: v for k, v in row.items() if k not in _COUNTED}
                                | {"kind": DeclarationKind(row["kind"])}),
                    running=row.get("begun") is True,  # older states do not say
                    values=int(row["values"]),
                    alarms=int(row["alarms"]),
                )
                for row in rows
            ]  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise DeclarationError(f"stored declarations cannot be read: {error}") from error
        self._held = {one.declaration.id: one for one in held}
        for one in held:
            self._time(one, now_ns=now_ns, wall_ns=wall_ns)
            if one.running:  # whatever the clock says now, it had begun and lasts no longer anew
                whole_ns = one.declaration.end_ns - one.declaration.start_ns
                one.starts_ns = min(one.starts_ns, now_ns)
                one.ends_ns = min(one.ends_ns, now_ns + whole_ns)
            one.running = one.starts_ns <= now_ns < one.ends_ns
        self._plan()

    def adopt(self, other: Declarations) -> None:
        """Take over from the declarations of an earlier configuration."""
        self._held = other._held  # same class, which is not used any more
        self._notes = other._notes
        self._plan()

    # -- inside ----------------------------------------------------------------------------

    @staticmethod
    def _time(held: _Held, *, now_ns: int, wall_ns: int) -> None:
        held.starts_ns = now_ns + held.declaration.start_ns - wall_ns
        held.ends_ns = now_ns + held.declaration.end_ns - wall_ns

    def _plan(self) -> None:
        """Lay down which point is under which declaration; the latest one wins."""
        self._code[:] = 0
        self._number[:] = 0
        self._by_point = {}
        running = [held.declaration for held in self._held.values() if held.running]
        self._running = bool(running)
        self._order = [one.id for one in running]
        for number, one in enumerate(running, 1):
            ids = self._directory.ids(one.scope, one.name)
            self._code[ids] = QUALITY[one.kind]
            self._number[ids] = number
            self._by_point |= dict.fromkeys(self._directory.names(ids), one.id)

    def _count_values(self, numbers: npt.NDArray[np.intp]) -> None:
        counts = np.bincount(numbers, minlength=1 + len(self._order))
        for declaration, count in zip(self._order, counts[1:].tolist(), strict=True):
            self._held[declaration].values += count

    def _note(self, kind: str, held: _Held, words: str) -> None:
        one = held.declaration
        self._notes.append(
            Note(
                kind,
                one.name,
                f"Declaration {one.id} ({one.kind.value} of {one.scope} {one.name}, {one.person}:"
                f" {one.reason}) {words}; {held.alarms} alarms and {held.values} values so far.",
                {
                    "declaration": one.id,
                    "kind": one.kind.value,
                    "scope": one.scope,
                    "name": one.name,
                    "person": one.person,
                    "reason": one.reason,
                    "start_ns": str(one.start_ns),
                    "end_ns": str(one.end_ns),
                    "values": str(held.values),
                    "alarms": str(held.alarms),
                },
            )
        )
