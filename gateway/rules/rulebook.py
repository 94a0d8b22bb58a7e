"""Rule books 规则库: every legal number as data, with its clause, its source and when it applies.

Guarantees:

- A number reaches a judgement only through a `Rule`, which names document, clause, state of its
  source, unit, and the two texts that a person reads. An alarm or event names `Rule.name`.
- `RuleBooks.get(id, on=DATE)` gives the one version in force on that local date, or raises
  RuleError, which says which versions there are. Two versions never overlap.
- A site may tighten a number. Loosening it needs a reason; without one it is a RuleError. Either is
  kept beside the number of the book (`Rule.book_value`, `Rule.reason`), so that it can be shown.

A book is a TOML text:

    [book]
    id = "gb30871-2022"
    document = "GB 30871-2022 危险化学品企业特殊作业安全规范"
    state = "secondary"               # of its rules, unless a rule says otherwise
    note = "..."                      # what the reader of a rule must know of the source

    [[rule]]
    id = "hot_work.special.validity"  # dotted, unique over all books but for its versions
    version = 1                       # optional, 1
    value = 8                         # absent where bound = "duty"
    unit = "h"
    bound = "at_most"                 # see Bound
    clause = "5.1.5"
    from = 2022-10-01                 # optional local dates: first day in force
    until = 2026-07-01                # first day no longer in force
    zh = "特级动火作业票有效期不超过8小时"
    en = "A special-grade hot-work permit is valid for at most 8 h"

Pure.
"""

from __future__ import annotations

import datetime as dt
import enum
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Any, TypeVar

from drivers.wording import shown, suggestion

PLANT_TIME = dt.timezone(dt.timedelta(hours=8), "UTC+8")
"""Legal time of the whole of China; rules change at its midnight."""

_ID = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
_BOOK_KEYS = {"id", "document", "state", "note"}
_RULE_KEYS = {
    "id", "version", "value", "unit", "bound", "clause", "from", "until", "zh", "en",
    "document", "state", "note",
}  # fmt: skip


class RuleError(ValueError):
    """A rule book or a site's own value is wrong; the message names book, rule and key."""


class Bound(enum.Enum):
    """What a number bounds; `value` is the number of the rule.

    AT_MOST: right while x <= value.  BELOW: right while x < value.  AT_LEAST: right while
    x >= value.  ABOVE: right while x > value.  DUTY: no number, a duty in words.
    """

    AT_MOST = "at_most"
    BELOW = "below"
    AT_LEAST = "at_least"
    ABOVE = "above"
    DUTY = "duty"


class SourceState(enum.Enum):
    """How well the text behind a rule was read.

    VERIFIED: read in the document itself.  SECONDARY: read in a copy, a page that quotes it, or
    public code.  UNREAD: practice or general knowledge, no document was read.
    """

    VERIFIED = "verified"
    SECONDARY = "secondary"
    UNREAD = "unread"

    @property
    def words(self) -> str:
        """For a person, in both languages."""
        return _STATE_WORDS[self]


_STATE_WORDS = {
    SourceState.VERIFIED: "read in the document 已核对原文",
    SourceState.SECONDARY: "secondary source, not compared with the text 二手来源，未核对原文",
    SourceState.UNREAD: "practice, no document read 经验值，未见原文",
}
ChoiceT = TypeVar("ChoiceT", bound=enum.Enum)
_TIGHTER_IS_LESS = (Bound.AT_MOST, Bound.BELOW)


@dataclass(frozen=True, slots=True)
class Rule:
    """One number or duty in force.

    value: in `unit`; NaN for a duty.  book_value: what the book says, where the site has another.
    reason: the site's, empty where it gave none.
    """

    id: str
    version: int
    value: float
    unit: str
    bound: Bound
    clause: str
    document: str
    state: SourceState
    zh: str
    en: str
    note: str = ""
    since: dt.date | None = None
    until: dt.date | None = None
    book_value: float | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """What an alarm or event carries: id/version, with +site where the site's value rules."""
        return f"{self.id}/{self.version}" + ("+site" if self.book_value is not None else "")

    @property
    def citation(self) -> str:
        """Document and clause, for a person."""
        return f"{self.document} {self.clause}".strip()

    @property
    def loosened(self) -> bool:
        """Tell whether the site allows what the book does not."""
        return self.book_value is not None and not _tighter(self.bound, self.value, self.book_value)

    def holds(self, measured: float) -> bool:
        """Tell whether a measured number keeps the rule; NaN keeps none.

        Raises RuleError for a duty, which no number can be held against.
        """
        if self.bound is Bound.AT_MOST:
            return measured <= self.value
        if self.bound is Bound.BELOW:
            return measured < self.value
        if self.bound is Bound.AT_LEAST:
            return measured >= self.value
        if self.bound is Bound.ABOVE:
            return measured > self.value
        raise RuleError(f"rule {self.id} is a duty without a number")

    def in_force(self, on: dt.date) -> bool:
        """Tell whether the rule applies on a local date."""
        return (self.since is None or self.since <= on) and (self.until is None or on < self.until)


@dataclass(frozen=True, slots=True)
class SiteRule:
    """A site's own value for a rule, of the [[rule]] section of its file."""

    id: str
    value: float
    reason: str = ""


class RuleBooks:
    """All rules there are, by id, and those that a site changed."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Take every version of every rule; raises RuleError where two overlap in time."""
        self._versions: dict[str, tuple[Rule, ...]] = {}
        for rule in rules:
            earlier = self._versions.get(rule.id, ())
            for other in earlier:
                if other.version == rule.version or _overlap(other, rule):
                    raise RuleError(
                        f"rule {rule.id}: versions {other.version} and {rule.version} apply on the"
                        " same day, or have one number: give from and until"
                    )
            self._versions[rule.id] = (*earlier, rule)

    def get(self, rule_id: str, *, on: dt.date) -> Rule:
        """Give the version in force on a local date; raises RuleError if there is none."""
        versions = self._versions.get(rule_id)
        if versions is None:
            raise RuleError(f"there is no rule {shown(rule_id)}; {suggestion(rule_id, self.ids)}")
        for rule in versions:
            if rule.in_force(on):
                return rule
        spans = ", ".join(
            f"version {r.version} from {r.since or 'ever'} until {r.until or 'ever'}"
            for r in versions
        )
        raise RuleError(f"rule {rule_id} is not in force on {on}: there is {spans}")

    def value(self, rule_id: str, *, on: dt.date) -> float:
        """Give the number in force on a local date; raises RuleError if there is none."""
        return self.get(rule_id, on=on).value

    @property
    def ids(self) -> list[str]:
        """Ids of all rules, in the order of the books."""
        return list(self._versions)

    def all(self) -> list[Rule]:
        """Every version of every rule, in the order of the books."""
        return [rule for versions in self._versions.values() for rule in versions]

    def changed(self) -> list[Rule]:
        """Rules for which the site has a value of its own."""
        return [rule for rule in self.all() if rule.book_value is not None]

    def with_site(self, own: Sequence[SiteRule]) -> RuleBooks:
        """Put a site's values in force; raises RuleError that names the first that is not allowed.

        A value applies to every version of its rule. One that is as strict as the book's or
        stricter needs no reason.
        """
        versions = {rule_id: list(rules) for rule_id, rules in self._versions.items()}
        for mine in own:
            if mine.id not in versions:
                raise RuleError(
                    f"there is no rule {shown(mine.id)}; {suggestion(mine.id, self.ids)}"
                )
            versions[mine.id] = [_changed(rule, mine) for rule in versions[mine.id]]
        return RuleBooks(rule for rules in versions.values() for rule in rules)


@lru_cache(maxsize=1)
def shipped() -> RuleBooks:
    """Read the books of this package: rulebooks/*.toml. Raises RuleError."""
    folder = resources.files("gateway.rules") / "rulebooks"
    books = sorted((b for b in folder.iterdir() if b.name.endswith(".toml")), key=lambda b: b.name)
    return RuleBooks(
        rule for book in books for rule in parse_book(book.read_text("utf-8"), book.name)
    )


def local_date(wall_ns: int) -> dt.date:
    """Local date in the plant of a wall-clock time (ns since 1970 UTC)."""
    return dt.datetime.fromtimestamp(wall_ns // 1_000_000_000, PLANT_TIME).date()


def parse_book(text: str, name: str) -> list[Rule]:
    """Read one book; `name` is its file, for messages. Raises RuleError."""
    try:
        raw = tomllib.loads(text)
    except ValueError as error:
        raise RuleError(f"{name}: is no TOML: {error}") from error
    book, rules = raw.get("book"), raw.get("rule", [])
    if not isinstance(book, dict) or not isinstance(rules, list) or set(raw) - {"book", "rule"}:
        raise RuleError(f"{name}: a rule book has one [book] and its [[rule]] tables")
    _known_keys(book, _BOOK_KEYS, f"{name}: [book]")
    return [_rule(rule, book, f"{name}: rule {rule.get('id', number)}")
            for number, rule in enumerate(rules, 1)]  # fmt: skip


def _rule(raw: Mapping[str, Any], book: Mapping[str, Any], where: str) -> Rule:
    _known_keys(raw, _RULE_KEYS, where)
    rule_id, version = _text(raw, "id", where), raw.get("version", 1)
    if not _ID.fullmatch(rule_id):
        raise RuleError(f"{where}: id must be dotted words of a-z, 0-9 and _, not {shown(rule_id)}")
    if not isinstance(version, int) or version < 1:
        raise RuleError(f"{where}: version must be 1 or more, not {version!r}")
    bound = _choice(Bound, raw.get("bound"), f"{where}: bound")
    rule = Rule(
        id=rule_id,
        version=version,
        value=_value(raw, bound, where),
        unit=_text(raw, "unit", where, needed=bound is not Bound.DUTY),
        bound=bound,
        clause=_text(raw, "clause", where),
        document=_text(raw if "document" in raw else book, "document", where),
        state=_choice(SourceState, raw.get("state", book.get("state")), f"{where}: state"),
        zh=_text(raw, "zh", where),
        en=_text(raw, "en", where),
        note=_text(raw if "note" in raw else book, "note", where, needed=False),
        since=_date(raw, "from", where),
        until=_date(raw, "until", where),
    )
    if rule.since is not None and rule.until is not None and rule.since >= rule.until:
        raise RuleError(f"{where}: until must be after from: it is the first day without the rule")
    return rule


def _changed(rule: Rule, mine: SiteRule) -> Rule:
    if rule.bound is Bound.DUTY:
        raise RuleError(f"rule {rule.id} is a duty without a number: a site cannot change it")
    if not math.isfinite(mine.value):
        raise RuleError(f"rule {rule.id}: the site's value must be a finite number")
    looser = not _tighter(rule.bound, mine.value, rule.value)
    if looser and not mine.reason.strip():
        raise RuleError(
            f"rule {rule.id}: {mine.value:g} {rule.unit} is looser than the {rule.value:g}"
            f" {rule.unit} of {rule.citation}: a stricter value needs nothing more, a looser one"
            " needs a reason, which is recorded and shown"
        )
    return replace(rule, value=mine.value, book_value=rule.value, reason=mine.reason.strip())


def _tighter(bound: Bound, value: float, book: float) -> bool:
    return value <= book if bound in _TIGHTER_IS_LESS else value >= book


def _overlap(one: Rule, two: Rule) -> bool:
    starts_late = one.since is not None and two.until is not None and two.until <= one.since
    ends_early = one.until is not None and two.since is not None and one.until <= two.since
    return not (starts_late or ends_early)


def _known_keys(raw: object, known: set[str], where: str) -> None:
    if not isinstance(raw, dict):
        raise RuleError(f"{where}: must be a table")
    for key in raw:
        if key not in known:
            raise RuleError(f"{where}: unknown key {shown(key)}; {suggestion(key, sorted(known))}")


def _text(raw: Mapping[str, Any], key: str, where: str, *, needed: bool = True) -> str:
    found = raw.get(key, "")
    if not isinstance(found, str) or (needed and not found.strip()):
        raise RuleError(f"{where}: {key} must be a text that is not empty")
    return found.strip()


def _value(raw: Mapping[str, Any], bound: Bound, where: str) -> float:
    value = raw.get("value")
    if bound is Bound.DUTY:
        if value is not None:
            raise RuleError(f"{where}: a duty has no value")
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RuleError(f"{where}: value must be a finite number, not {value!r}")
    return float(value)


def _date(raw: Mapping[str, Any], key: str, where: str) -> dt.date | None:
    found = raw.get(key)
    if found is None or (isinstance(found, dt.date) and not isinstance(found, dt.datetime)):
        return found
    raise RuleError(f"{where}: {key} must be a date such as 2026-07-01 without quotes")


def _choice(kind: type[ChoiceT], found: object, where: str) -> ChoiceT:
    for member in kind:
        if member.value == found:
            return member
    words = ", ".join(str(member.value) for member in kind)
    raise RuleError(f"{where} must be one of {words}, not {found!r}")
