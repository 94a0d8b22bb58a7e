r"""Alarm desk 报警台: the life of every alarm between the rule that finds it and the log.

Guarantees:

- What state follows is alarm_states.TABLE's to say. A command that has no place is refused with one
  sentence and changes nothing; nothing here ever reaches the control system.
- Every change is a record, also while an alarm is shelved, suppressed or out of service: nothing is
  hidden, it only calls nobody.
- A raise under an alarm that stands, and a return of one that does not, change nothing; so an alarm
  is never raised twice.
- The id of an alarm is the same from a raise to its return and through all commands; a new raise is
  a new id.
- A shelf 搁置 and an outage 停用 end by themselves, at most `most_aside_ns` after the command; a
  clock step moves neither, a restart keeps the wall-clock time, or `most_aside_ns` where the clock
  is wrong by then.
- What is suppressed by design is so only while a cause of it stands that the policy of now names,
  and that is no test: an alarm under a declaration suppresses nothing.
- An alarm of the control system is never moved, only kept as it was said.
- `state_of(change)` is the state to store with that very change; `AlarmDesk.restored` goes on from
  it. An entry that cannot be read is named in `complaints` and left out.

State: name PREFIX + source + "\x1f" + condition; value empty once normal, else JSON of `active`,
`until_ns` and the last change. Pure; not thread-safe.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from google.protobuf.message import DecodeError

from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.alarm_states import (
    ASIDE,
    AlarmEvent,
    Owed,
    TransitionError,
    following,
    owes,
)
from gateway.rules.desk_policy import DeskPolicy
from gateway.rules.mirror import RULE as MIRRORED

PREFIX = "alarm.desk/"
_JOIN = "\x1f"
Key = tuple[str, str]

_NEEDS_END = {AlarmEvent.SHELVE, AlarmEvent.REMOVE}
_BACK = {
    AlarmState.SHELVED: AlarmEvent.UNSHELVE,
    AlarmState.SUPPRESSED_BY_DESIGN: AlarmEvent.UNSUPPRESS,
    AlarmState.OUT_OF_SERVICE: AlarmEvent.RESTORE,
}


class CommandError(ValueError):
    """A person's command cannot be carried out; one clear sentence."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a person asks for.

    verb: ACKNOWLEDGE, RESET, SHELVE, UNSHELVE, REMOVE or RESTORE.  operator: name of the person.
    until_ns: wall clock at which a shelf or an outage ends, ns since 1970 UTC.
    alarm_id: the alarm that the person saw, or empty: a new one is never acknowledged unseen.
    """

    verb: AlarmEvent
    source: str
    condition: str
    operator: str
    reason: str = ""
    until_ns: int = 0
    alarm_id: bytes = b""


@dataclass(slots=True)
class Entry:
    """An alarm that is not plainly normal. `ends_ns` is `until_ns` as monotonic time.

    owed: what people still have to do about a latching alarm that is put aside.
    """

    last: AlarmChange
    active: bool
    until_ns: int = 0
    owed: Owed = Owed.NOTHING
    ends_ns: int = field(default=0, compare=False)

    @property
    def key(self) -> Key:
        """Source and condition."""
        return self.last.source, self.last.condition


class AlarmDesk:
    """State of all alarms that are not normal."""

    def __init__(self, policy: DeskPolicy, *, new_id: Callable[[], bytes]) -> None:
        self._policy = policy
        self._new_id = new_id
        self._entries: dict[Key, Entry] = {}
        self._standing: Counter[str] = Counter()  # conditions that stand, by source and by group
        self._tests: Counter[str] = Counter()  # of these, raised under a declaration
        self._aside: set[Key] = set()  # those whose shelf or outage ends by itself
        self.complaints: list[str] = []
        self._owed = Owed.NOTHING  # by the step that is being taken

    # -- the plant -------------------------------------------------------------------------

    def feed(
        self, found: Iterable[AlarmChange], declared: Callable[[str], str] = lambda _source: ""
    ) -> list[AlarmChange]:
        """Take what the rules found (raised or returned) and give what becomes of it.

        declared: id of the declared test or outage that a source is under, or empty.
        """
        changes: list[AlarmChange] = []
        for one in found:
            raised = one.state is AlarmState.UNACKNOWLEDGED_ACTIVE
            event = AlarmEvent.RAISE if raised else AlarmEvent.CLEAR
            change = self._happens(one, event, declared(one.source) if raised else "")
            if change is not None:
                changes.append(change)
                changes += self._suppress(change, raised=raised)
        return changes

    def _happens(
        self, found: AlarmChange, event: AlarmEvent, declaration: str
    ) -> AlarmChange | None:
        key = found.source, found.condition
        entry = self._entries.get(key)
        raised = event is AlarmEvent.RAISE
        if (entry is not None and entry.active) == raised:
            return None  # it stands already, or never stood
        previous = entry.last.state if entry is not None else AlarmState.NORMAL
        state = self._following(key, previous, event, active=raised)
        keeps_id = entry is not None and not raised
        change = replace(
            found,
            alarm_id=entry.last.alarm_id if entry is not None and keeps_id else found.alarm_id,
            state=state,
            previous_state=previous,
            first_out=raised and self._first_out(key),
            reason=entry.last.reason if entry is not None and state in ASIDE else "",
            operator="",
            declaration=entry.last.declaration if entry is not None and not raised else declaration,
        )
        self._keep(key, change, active=raised)
        self._count(key, 1 if raised else -1, test=bool(change.declaration))
        return change

    def _first_out(self, key: Key) -> bool:
        group = self._policy.group_of(key)
        return bool(group) and not self._standing[_JOIN + group]

    def _count(self, key: Key, step: int, *, test: bool = False) -> None:
        self._standing[key[0]] += step
        if test:
            self._tests[key[0]] += step
        self._standing[_JOIN + self._policy.group_of(key)] += step

    def _suppress(self, cause: AlarmChange, *, raised: bool) -> list[AlarmChange]:
        """Suppress by design what the policy names for a cause that stands, or end it."""
        changes: list[AlarmChange] = []
        times = cause.source_time_ns, cause.gateway_time_ns
        for rule in self._policy.suppressed_by(cause.source):
            for key in [k for k in self._entries if rule.covers(k)]:
                changes += self._settled(key, times)
        if raised and cause.state is AlarmState.UNACKNOWLEDGED_ACTIVE:
            changes += self._settled((cause.source, cause.condition), times)
        return changes

    def settle(self, wall_ns: int) -> list[AlarmChange]:
        """Let the policy of now decide what is suppressed: it may be another than before."""
        times = wall_ns, wall_ns
        return [change for key in list(self._entries) for change in self._settled(key, times)]

    def _settled(self, key: Key, times: tuple[int, int]) -> list[AlarmChange]:
        """Suppress an alarm that a standing cause covers, bring back one that none covers."""
        entry = self._entries.get(key)
        if entry is None or entry.last.rule == MIRRORED:
            return []
        reason = self._standing_cause(key)
        if (reason is not None) == (entry.last.state is AlarmState.SUPPRESSED_BY_DESIGN):
            return []
        event = AlarmEvent.UNSUPPRESS if reason is None else AlarmEvent.SUPPRESS
        change = self._moved(key, event, times, entry.last.reason if reason is None else reason)
        return [change] if change is not None else []

    def _standing_cause(self, key: Key) -> str | None:
        """Reason of a suppression that covers an alarm and whose cause stands now."""
        for rule in self._policy.suppressions:
            real = self._standing[rule.cause] - self._tests[rule.cause]
            if real > 0 and rule.covers(key):
                return rule.reason
        return None

    def _moved(
        self, key: Key, event: AlarmEvent, times: tuple[int, int], reason: str
    ) -> AlarmChange | None:
        entry = self._entries[key]
        try:
            state = self._following(key, entry.last.state, event, active=entry.active)
        except TransitionError:
            return None  # out of service already, or never suppressed
        change = replace(
            entry.last,
            state=state,
            previous_state=entry.last.state,
            source_time_ns=times[0],
            gateway_time_ns=times[1],
            operator="",
            reason=reason,
            first_out=False,
            text=f"{entry.last.source} {entry.last.condition}: {_words(state)} ({reason}).",
        )
        self._keep(key, change, active=entry.active)
        return change

    def end_declaration(self, declaration: str, wall_ns: int) -> list[AlarmChange]:
        """Announce what was raised under a declaration and still stands: from now on it is real.

        One that was acknowledged as a test is an alarm of its own now, that nobody has heard of.
        """
        changes = []
        for key, entry in list(self._entries.items()):
            if not entry.active or entry.last.declaration != declaration:
                continue
            acknowledged = entry.last.state is AlarmState.ACKNOWLEDGED_ACTIVE
            state = AlarmState.UNACKNOWLEDGED_ACTIVE if acknowledged else entry.last.state
            change = replace(
                entry.last,
                alarm_id=self._new_id() if acknowledged else entry.last.alarm_id,
                state=state,
                previous_state=entry.last.state,
                gateway_time_ns=wall_ns,
                declaration="",
                operator="",
                reason="",
                text=f"{key[0]} {key[1]} still stands after the declared test or outage"
                f" {declaration} has ended.",
            )
            entry.last = change
            self._tests[key[0]] -= 1
            changes += [change, *self._suppress(change, raised=True)]
        return changes

    # -- the control system --------------------------------------------------------------------

    def mirror(self, change: AlarmChange) -> list[AlarmChange]:
        """Keep a record of an alarm of the control system as it is: its state is not ours.

        Gives what becomes of alarms of ours that it suppresses by design, or did.
        """
        key = change.source, change.condition
        active = change.state in {
            AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.ACKNOWLEDGED_ACTIVE,
        }  # fmt: skip
        entry = self._entries.get(key)
        before = entry is not None and entry.active
        self._owed = Owed.NOTHING
        self._keep(key, change, active=active)
        if active == before:
            return []
        self._count(key, 1 if active else -1)
        return self._suppress(change, raised=active)

    # -- people ----------------------------------------------------------------------------

    def command(
        self, command: Command, known: AlarmChange | None, *, now_ns: int, wall_ns: int
    ) -> AlarmChange:
        """Carry out a command; `now_ns` is monotonic. Raises CommandError, changing nothing.

        known: what a normal alarm of that source and condition would look like, or None where
        nothing can raise it: only such alarms may be shelved or taken out of service.
        """
        self._check(command, wall_ns)
        key = command.source, command.condition
        entry = self._entries.get(key)
        last = entry.last if entry is not None else known
        if last is None:
            raise CommandError(f"there is no alarm {command.condition} of {command.source}")
        if last.rule == MIRRORED:
            raise CommandError(
                f"{command.source} {command.condition} is an alarm of the control system:"
                f" {command.verb.value} it there; this gateway never does"
            )
        if command.alarm_id and entry is not None and command.alarm_id != last.alarm_id:
            raise CommandError(
                f"{command.source} {command.condition} has been raised anew since it was looked at:"
                f" look again before you {command.verb.value} it 报警已再次触发，请重新查看"
            )
        active = entry.active if entry is not None else False
        try:
            state = self._following(key, last.state, command.verb, active=active)
        except TransitionError as error:
            raise CommandError(f"{command.source} {command.condition}: {error}") from error
        change = replace(
            last,
            alarm_id=last.alarm_id or self._new_id(),
            state=state,
            previous_state=last.state,
            gateway_time_ns=wall_ns,
            operator=command.operator,
            reason=command.reason,
            first_out=False,
            text=f"{command.source} {command.condition}: {_words(state)} by {command.operator}"
            + (f" ({command.reason})" if command.reason else "")
            + ".",
        )
        until_ns = command.until_ns if command.verb in _NEEDS_END else 0
        self._keep(key, change, active=active, until_ns=until_ns)
        if until_ns and key in self._entries:
            self._entries[key].ends_ns = now_ns + until_ns - wall_ns
        return change

    def _check(self, command: Command, wall_ns: int) -> None:
        if not command.operator.strip():
            raise CommandError("the name of the person is missing")
        if command.verb not in _NEEDS_END:
            return
        if not command.reason.strip():
            raise CommandError(f"to {command.verb.value} an alarm needs a reason")
        most_ns = self._policy.most_aside_ns
        if not wall_ns < command.until_ns <= wall_ns + most_ns:
            raise CommandError(
                f"to {command.verb.value} an alarm needs an end in the future, at most"
                f" {most_ns / 3.6e12:g} h from now"
            )

    # -- time ------------------------------------------------------------------------------

    def next_deadline_ns(self) -> int | None:
        """Monotonic time of the next end of a shelf or outage, or None."""
        return min((self._entries[key].ends_ns for key in self._aside), default=None)

    def tick(self, now_ns: int, *, wall_ns: int) -> list[AlarmChange]:
        """End the shelves and outages that ran out by `now_ns` (monotonic)."""
        due = [key for key in self._aside if self._entries[key].ends_ns <= now_ns]
        changes = []
        for key in due:
            entry = self._entries[key]
            last = entry.last
            if last.state is AlarmState.SUPPRESSED_BY_DESIGN:  # the shelf before it is over
                entry.until_ns = 0
                self._aside.discard(key)
                continue
            state = self._following(key, last.state, _BACK[last.state], active=entry.active)
            change = replace(
                last,
                state=state,
                previous_state=last.state,
                gateway_time_ns=wall_ns,
                operator="",
                text=f"{last.source} {last.condition}: {_words(last.state)} has ended,"
                f" now {_words(state)}.",
            )
            self._keep(key, change, active=entry.active)
            changes += [change, *self._settled(key, (wall_ns, wall_ns))]
        return changes

    # -- state -----------------------------------------------------------------------------

    def _following(
        self, key: Key, state: AlarmState, event: AlarmEvent, *, active: bool
    ) -> AlarmState:
        """Give the state that follows; raises TransitionError. What is owed is kept by `_keep`."""
        entry = self._entries.get(key)
        owed = entry.owed if entry is not None else Owed.NOTHING
        latching = self._policy.latches(key)
        found = following(state, event, active=active, latching=latching, owed=owed)
        self._owed = owes(owed, state, event, latching=latching)
        return found

    def _keep(self, key: Key, change: AlarmChange, *, active: bool, until_ns: int = 0) -> None:
        entry = self._entries.get(key)
        if change.state is AlarmState.NORMAL:
            self._entries.pop(key, None)
        elif entry is None:
            self._entries[key] = Entry(change, active, until_ns)
        else:
            entry.last, entry.active = change, active
            if until_ns or change.state not in ASIDE:
                entry.until_ns = until_ns
        held = self._entries.get(key)
        if held is not None:
            held.owed = self._owed if change.state in ASIDE else Owed.NOTHING
        (self._aside.add if held is not None and held.until_ns else self._aside.discard)(key)

    def entries(self) -> list[Entry]:
        """All alarms that are not plainly normal."""
        return list(self._entries.values())

    def entry(self, source: str, condition: str) -> Entry | None:
        """One alarm, or None while it is plainly normal."""
        return self._entries.get((source, condition))

    def state_of(self, change: AlarmChange, encoded: bytes = b"") -> Mapping[str, bytes]:
        """Encode what must be stored with a change; `encoded`: the change, if at hand."""
        key = change.source, change.condition
        entry = self._entries.get(key)
        if entry is None:
            return {PREFIX + _JOIN.join(key): b""}
        last = encoded if encoded and entry.last is change else entry.last.encode(b"")
        return {PREFIX + _JOIN.join(key): encode(entry, last)}

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Go on from stored states; once, before anything else, and `set_ends` after it."""
        for name, encoded in states.items():
            try:
                entry = _decode(encoded)
            except (ValueError, KeyError, TypeError, DecodeError) as error:
                said = name.removeprefix(PREFIX).replace(_JOIN, " ")
                self.complaints.append(f"The alarm {said} is not known any more: {error}")
                continue
            self._entries[entry.key] = entry
        self._recount()

    def set_ends(self, *, now_ns: int, wall_ns: int) -> None:
        """Say what monotonic time it is at a wall-clock time: shelves end by the former."""
        most_ns = self._policy.most_aside_ns
        for entry in self._entries.values():
            entry.ends_ns = now_ns + min(entry.until_ns - wall_ns, most_ns)

    def adopt(self, entries: Iterable[Entry]) -> None:
        """Take over all alarms of another desk, which is not to be used any more."""
        self._entries = {entry.key: entry for entry in entries}
        self._recount()

    def _recount(self) -> None:
        self._aside = {key for key, entry in self._entries.items() if entry.until_ns}
        self._standing.clear()
        self._tests.clear()
        for key, entry in self._entries.items():
            if entry.active:
                self._count(key, 1, test=bool(entry.last.declaration))


def encode(entry: Entry, last: bytes) -> bytes:
    """Write an entry for the log's state: JSON, by hand, because a flood writes thousands.

    last: its last change, encoded.
    """
    active = b"true" if entry.active else b"false"
    owed = b'"owed":"%s",' % entry.owed.value.encode() if entry.owed.value else b""
    return b'{"active":%s,"until_ns":%d,%s"last":"%s"}' % (
        active, entry.until_ns, owed, base64.b64encode(last),
    )  # fmt: skip


def _decode(encoded: bytes) -> Entry:
    fields = json.loads(encoded)
    last = AlarmChange.decode(base64.b64decode(fields["last"]))
    owed = Owed(fields.get("owed", ""))
    return Entry(last, bool(fields["active"]), int(fields["until_ns"]), owed)


def active_of(entries: Sequence[Entry], rule: str) -> list[AlarmChange]:
    """Last changes of the alarms whose condition stands and whose rule begins so."""
    return [e.last for e in entries if e.active and e.last.rule.startswith(rule)]


def _words(state: AlarmState) -> str:
    return state.name.lower().replace("_", " ")
