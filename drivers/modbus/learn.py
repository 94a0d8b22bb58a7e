"""What a device refuses: found once by bisection, remembered, asked again rarely.

Guarantees:

- a block refused twice with exception 2, 3 or 4 is halved until each refused value stands alone;
  only values that were refused alone are called illegal, all others stay in the plan;
- where two halves are read but their union is refused (an illegal register in a gap, or a device
  that takes fewer registers a request), a cut is remembered and the planner joins them no more;
- each cut is tried again after a minute, then twice as late each time, at last each hour: what the
  plan would read together without it is asked once, beside the halves, which the same poll reads
  as ever. If that is read the cut is gone; one that comes back goes on where its pause had been;
- a value refused with exception 4 (device failure) beside good neighbours is cut off from them and
  still read at each poll, so it recovers at once; illegal ones (2, 3) leave the plan and are asked
  again after 10 s, then ever more rarely, at last each 10 minutes;
- a block in which every value is refused with exception 4 is a failed device, not a lesson: it
  stays whole, and is not halved again for 10 minutes;
- a search that meets a busy or senseless answer is begun anew; where that has happened
  `PATIENCE` times, such an answer counts like exception 4, so that one register that is always
  busy, or answered wrongly, cannot keep the illegal one beside it from being found.

Pure: the shell sends what `Search.read` asks for and tells what came back.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from drivers.modbus.codec import Area
from drivers.modbus.plan import Block, Span, Spans

ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
DEVICE_FAILURE = 4
SUSPECT = frozenset({ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE})
"""Exceptions that may be about one register of the block (3 and 4: seen on some devices)."""

FIRST_PROBE_NS = 10 * 10**9
LAST_PROBE_NS = 600 * 10**9
"""An illegal value is asked again after 10 s, then twice as late each time, up to 10 minutes."""
HOLD_NS = 600 * 10**9
PATIENCE = 3
"""Searches of a block that may end at a busy or senseless answer before it counts as lasting."""
_ILLEGAL = frozenset({ILLEGAL_ADDRESS, ILLEGAL_VALUE})
_NEVER = 1 << 63
FIRST_JOIN_NS = 60 * 10**9
LAST_JOIN_NS = 3600 * 10**9
"""A cut is tried again after a minute, then twice as late each time, up to an hour."""
PROBES_A_POLL = 8
"""Illegal values asked again in one poll, so that a long list never delays the others."""


@dataclass(slots=True)
class Findings:
    """Result of one search. refused: value and the exception it got when read alone."""

    refused: list[tuple[Span, int]] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)


@dataclass(slots=True)
class _Probe:
    due_ns: int
    pause_ns: int = FIRST_PROBE_NS

    def later(self, now_ns: int, most_ns: int) -> None:
        """Ask again twice as late as this time."""
        self.pause_ns = min(2 * self.pause_ns, most_ns)
        self.due_ns = now_ns + self.pause_ns


class Cut(NamedTuple):
    """Address that no block may reach from below, because what it would join was refused."""

    area: Area
    address: int


class Search:
    """Bisection of one refused block, one read at a time.

    `read` is the next block to read, None at the end; `answer` takes its exception code, 0 if it
    was read. A search without an answer (time-out) is simply dropped and begun again later.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self.findings = Findings()
        self._steps = _confirm(block, self.findings)
        self.read: Block | None = next(self._steps)

    def answer(self, code: int) -> None:
        """Tell how the device answered `read`."""
        try:
            self.read = self._steps.send(code)
        except StopIteration:
            self.read = None


class Lessons:
    """Everything learned about one device; input of the planner.

    version: changes whenever a plan made before is outdated.  news: whenever there is something
    new to remember.  probing: there is something that is to be asked again some time.
    """

    def __init__(self) -> None:
        self.version = self.news = 0
        self.probing = False
        self._illegal: dict[Span, _Probe] = {}
        self._cuts: dict[Cut, _Probe] = {}
        self._joined: dict[Cut, int] = {}  # pauses of cuts that are gone, should they come back
        self._next_join_ns = _NEVER
        self._held: dict[tuple[Area, int, int], int] = {}
        self._disturbed: dict[tuple[Area, int, int], int] = {}

    @property
    def illegal(self) -> frozenset[Span]:
        """Values that the device does not have."""
        return frozenset(self._illegal)

    @property
    def pauses_ns(self) -> Mapping[Cut, int]:
        """How long each cut waits between tries."""
        return {cut: probe.pause_ns for cut, probe in self._cuts.items()}

    def cuts(self, but: Cut | None = None) -> dict[Area, set[int]]:
        """Where blocks are kept apart, for the planner; as if there were no cut `but`."""
        found: dict[Area, set[int]] = {}
        for cut in self._cuts:
            if cut != but:
                found.setdefault(cut.area, set()).add(cut.address)
        return found

    def may_search(self, block: Block, code: int, now_ns: int) -> bool:
        """Tell whether halving this refused block can teach anything new."""
        if code not in SUSPECT or (code == DEVICE_FAILURE and len(block.spans) == 1):
            return False
        return now_ns >= self._held.get((block.area, block.start, block.count), now_ns)

    def is_lasting(self, block: Block) -> bool:
        """Count a busy or senseless answer to a search of this block; True: halve on with it."""
        key = (block.area, block.start, block.count)
        self._disturbed[key] = self._disturbed.get(key, 0) + 1
        return self._disturbed[key] > PATIENCE

    def learn(self, search: Search, now_ns: int) -> list[Span]:
        """Take over the result of a finished search; returns what is newly illegal."""
        refused, block = search.findings.refused, search.block
        self._disturbed.pop((block.area, block.start, block.count), None)
        if len(refused) == len(block.spans) and not any(code in _ILLEGAL for _, code in refused):
            self._held[(block.area, block.start, block.count)] = now_ns + HOLD_NS
            return []
        for cut in search.findings.cuts:
            self._cut(cut, now_ns)
        found: list[Span] = []
        for span, code in refused:
            if code in _ILLEGAL:
                self._illegal[span] = _Probe(now_ns + FIRST_PROBE_NS)
                found.append(span)
            else:
                self._cut(Cut(span.area, span.start), now_ns)
                self._cut(Cut(span.area, span.end), now_ns)
        if refused or search.findings.cuts:
            self._changed()
        return found

    def due(self, now_ns: int) -> list[Span]:
        """Illegal values to be asked again now, longest waiting first."""
        if not self._illegal:
            return []
        due = [(probe.due_ns, span) for span, probe in self._illegal.items()
               if probe.due_ns <= now_ns]  # fmt: skip
        return [span for _, span in sorted(due)[:PROBES_A_POLL]]

    def probed(self, span: Span, code: int, now_ns: int) -> bool:
        """Tell how a probe went; returns whether the value is legal now and the plan outdated."""
        if code == 0:
            del self._illegal[span]
            self._changed()
            return True
        self._illegal[span].later(now_ns, LAST_PROBE_NS)
        return False

    def due_cut(self, now_ns: int) -> Cut | None:
        """A cut to be tried again now, the longest waiting; one a poll."""
        if now_ns < self._next_join_ns:
            return None
        return min(self._cuts, key=lambda cut: self._cuts[cut].due_ns)

    def tried(self, cut: Cut, code: int, now_ns: int, *, firm: bool = True) -> bool:
        """Tell how the joined read went; returns whether the cut is gone and the plan outdated.

        Not firm: the answer says nothing about the addresses (busy, none); asked again, no later.
        """
        if firm and code == 0:
            self._joined[cut] = self._cuts.pop(cut).pause_ns
            self._changed()
            return True
        probe, pause_ns = self._cuts[cut], self._cuts[cut].pause_ns
        if firm:
            probe.later(now_ns, LAST_JOIN_NS)
        else:
            probe.due_ns = now_ns + pause_ns
        self.news += probe.pause_ns != pause_ns
        self._schedule()
        return False

    def recall(self, illegal: Iterable[Span], cuts: Mapping[Cut, int], now_ns: int) -> None:
        """Take over what an earlier run learned; illegal values are asked again soon.

        cuts: with the pause of each in ns.
        """
        for span in illegal:
            self._illegal.setdefault(span, _Probe(now_ns + FIRST_PROBE_NS))
        for cut, known_ns in cuts.items():
            pause_ns = min(max(known_ns, FIRST_JOIN_NS), LAST_JOIN_NS)
            self._cuts.setdefault(cut, _Probe(now_ns + pause_ns, pause_ns))
        if self._illegal or self._cuts:
            self._changed()

    def probe_all(self, now_ns: int) -> None:
        """Ask every illegal value again soon: the device may have been replaced."""
        self._held.clear()
        self._disturbed.clear()
        for probe in self._illegal.values():
            probe.due_ns, probe.pause_ns = now_ns, FIRST_PROBE_NS

    def _cut(self, cut: Cut, now_ns: int) -> None:
        if cut not in self._cuts:
            before_ns = self._joined.pop(cut, FIRST_JOIN_NS // 2)
            pause_ns = min(2 * before_ns, LAST_JOIN_NS)
            self._cuts[cut] = _Probe(now_ns + pause_ns, pause_ns)

    def _changed(self) -> None:
        self.version += 1
        self.news += 1
        self.probing = bool(self._illegal or self._cuts)
        self._schedule()

    def _schedule(self) -> None:
        self._next_join_ns = min((probe.due_ns for probe in self._cuts.values()), default=_NEVER)


def covering(spans: Iterable[Span]) -> Block:
    """Block that reads these spans of one area and whatever lies between."""
    ordered = tuple(sorted(spans))
    start = ordered[0].start
    end = max(span.end for span in ordered)
    return Block(ordered[0].area, start, end - start, Spans(ordered))


def bridging(blocks: Iterable[Block], cut: Cut) -> Block | None:
    """The block that joins what lies on both sides of a cut, or None."""
    for block in blocks:
        if block.area is cut.area and block.start < cut.address <= block.spans[-1].start:
            return block
    return None


def _confirm(block: Block, findings: Findings) -> Generator[Block, int, None]:
    """Read the whole block once more, so that a passing fault teaches nothing; then halve it."""
    code = yield block
    if code:
        yield from _halve(block.spans, code, findings)


def _halve(spans: Sequence[Span], code: int, findings: Findings) -> Generator[Block, int, None]:
    """Search spans that were refused together with `code`; yields reads, is sent their codes."""
    if len(spans) == 1:
        findings.refused.append((spans[0], code))
        return
    middle = len(spans) // 2
    halves = (spans[:middle], spans[middle:])
    codes = []
    for half in halves:
        codes.append((yield covering(half)))
    if not any(codes):
        findings.cuts.append(Cut(spans[0].area, spans[middle].start))
    for half, half_code in zip(halves, codes, strict=True):
        if half_code:
            yield from _halve(half, half_code, findings)
