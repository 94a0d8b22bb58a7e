"""One unit of a bus: its points, its plan, what it refuses, and whether it answers.

Guarantees:

- every poll emits every point of the unit once, in at most one Batch per column kind, with quality
  for what could not be read; the `points` arrays are the same objects for ever;
- on a bus with several units, one that does not answer ends its turn at the first time-out, and
  after `lost_after` such turns is asked at most every 2 s, 4 s … 60 s; its points stay bad;
- a block that never answers while others of the same unit do is read last and backs off by itself.

What is sent is codec's, when it is given up exchange's, what is read together plan's, what it means
decode's, what is illegal learn's, when a silent unit is asked again silence's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from drivers.contract import Clock, DriverPoint, Quality
from drivers.modbus.codec import read
from drivers.modbus.config import ModbusAddress, ModbusConfig, resolve
from drivers.modbus.decode import Column, Decoder, Layout, Value
from drivers.modbus.exchange import Exchanging, Outcome
from drivers.modbus.learn import Lessons, Search, bridging, covering
from drivers.modbus.link import Link, LinkLostError
from drivers.modbus.outlet import Attributes, Outlet
from drivers.modbus.plan import Block, Span, aligned, plan
from drivers.modbus.silence import Silence
from drivers.modbus.status import Judge
from drivers.modbus.tags import Tags

_BUSY = frozenset({5, 6})  # acknowledge, server device busy: specification §7
_NO_ANSWER = frozenset({Outcome.UNANSWERED, Outcome.TIMED_OUT})
_ANSWER_MAY_COME = frozenset({Outcome.TIMED_OUT, Outcome.MALFORMED})
_GATEWAY_FAILED = frozenset({10, 11})
_COMM_FAILURE = frozenset({*_NO_ANSWER, Outcome.MALFORMED, *_GATEWAY_FAILED})
"""10 and 11: a gateway in between could not reach the unit; it is the line that failed."""
_BUSY_PAUSE_NS = 50 * 10**6
_FREE_READS = 16  # reads of a search that are made even when the period is over
_ROUNDS = 4  # times that one poll is read anew after lessons
_NOTHING_FAILED: Mapping[int, Quality] = {}
_TAGS_IN_TEXT = 20
_TAGS_IN_ATTRIBUTES = 200


class Unit:
    """One unit id behind a link. where: how people know it.

    heard: the last poll got an answer of some kind.  turns: polls in which it was asked.
    shared: there are other units on the link, which must not wait for this one.
    """

    def __init__(
        self,
        number: int,
        where: str,
        config: ModbusConfig,
        points: Sequence[DriverPoint[ModbusAddress]],
        collaborators: tuple[Clock, Exchanging, Outlet],
        *,
        shared: bool,
    ) -> None:
        self.number = number
        self.where = where
        self.heard = False
        self.turns = 0
        self.silent_turns = 0
        self.achieved_ns = 0.0
        self.lessons = Lessons()
        settle_ns = config.timeout_ms * 10**6 if config.is_line else 0
        self.silence = Silence(config.lost_after, settle_ns)
        self.told_down = False
        self._clock, self._exchange, self._outlet = collaborators
        self._config = config
        self._shared = shared
        self._silent_words = _NO_ANSWER | (_GATEWAY_FAILED if shared else frozenset())
        self._tags = Tags(points)
        self.layout = Layout(_value(point, config) for point in points)
        self._judge = Judge.of(points, self.layout.points)
        self._searches: list[Search] = []
        self._found: list[Search] = []
        self._outcomes: list[int] = []  # of the running poll's plan
        self._mute: dict[int, Silence] = {}  # blocks that stay silent while others answer
        self._unsure: Block | None = None  # whose answer may still come, on a line without ids
        self._begun_ns = 0
        self.replan()

    def restart(self) -> None:
        """Begin on a new connection; what was learned stays."""
        self._searches.clear()
        self._found.clear()
        self._mute.clear()
        self._unsure = None
        self.silence.ask_again()
        self.lessons.probe_all(self._clock.monotonic_ns())

    def replan(self) -> None:
        """Plan anew from the points and the lessons."""
        lessons, number = self.lessons, self.number
        self.blocks = plan(
            self.layout.spans(), self._config.limits(), lessons.illegal, lessons.cuts()
        )
        self._requests = [read(b.area, number, b.start, b.count) for b in self.blocks]
        self._decoder = Decoder(self.layout, self.blocks)
        self._mute.clear()

    async def poll(self, link: Link, end_ns: int) -> None:
        """Read and emit every point once, learning from what the device refuses.

        end_ns: when the period ends, for searches that could take longer. Raises LinkLostError.
        """
        silence = self.silence
        if silence.retry_at_ns and not silence.due(self._clock.monotonic_ns()):
            await self.all_bad(Quality.BAD_COMM_FAILURE)
            return
        if self.lessons.probing and not silence.count:
            await self._probe(link)
            await self._rejoin(link)
        if self._shared:
            self._note_turn()
        decoder = self._decoder
        self._outcomes = []
        try:
            if self._mute or self._unsure is not None:
                self._outcomes = await self._read_in_turn(link)
            else:
                self._outcomes = await link.exchange(
                    self._requests, decoder.buffer, decoder.offsets
                )
            all_read = not any(self._outcomes)
            if not all_read:
                await self._mend(link, end_ns)
        except LinkLostError:
            # Values that were read before the link went are values; the rest is said to be bad.
            outcomes = self._outcomes or self._exchange.outcomes
            if len(outcomes) == len(self.blocks) and Outcome.READ in outcomes:
                await self.emit(self._decoder, _failed(outcomes))
            raise
        self.heard = True
        if all_read and not silence.count and not silence.retry_at_ns:
            await self.emit(decoder, _NOTHING_FAILED)
            return
        outcomes = self._outcomes
        if any(outcomes):
            self.heard = not self._silent_words.issuperset(outcomes)
        self._note_silence()
        await self.emit(self._decoder, _failed(outcomes))

    async def all_bad(self, quality: Quality) -> None:
        """Emit every point without a value."""
        await self._outlet.columns(self.layout.all_bad(quality))

    def statistics(self) -> Mapping[str, float]:
        """Counters of this unit on a shared bus, each under its unit id."""
        of = f"{{unit={self.number}}}"
        return {
            f"unit_polls{of}": self.turns,
            f"unit_silent_polls{of}": self.silent_turns,
            f"unit_down{of}": float(self.silence.down),
            f"unit_achieved_period_ms{of}": self.achieved_ns / 1e6,
        }

    # One poll.

    def emit(self, decoder: Decoder, failed: Mapping[int, Quality]) -> Awaitable[object]:
        """Emit by `await` what was decoded, judged by what the device says about itself."""
        columns = decoder.decode(failed)
        if self._judge is None:
            return self._outlet.columns(columns)
        return self._emit_judged(self._judge, columns)

    async def _emit_judged(self, judge: Judge, columns: Sequence[Column]) -> None:
        await self._outlet.columns(judge.judged(columns, self._clock.monotonic_ns()))
        for notice in judge.notices():
            tags = ",".join(self._tags.of(notice.ids[:_TAGS_IN_ATTRIBUTES]))
            about: Attributes = {"tags": tags, "count": len(notice.ids)}
            await self._outlet.say(notice.kind, f"{self.where}: {notice.text}.", about)

    async def _read_in_turn(self, link: Link) -> list[int]:
        """Read, where some blocks stay silent, those whose turn it is and those last."""
        decoder = self._decoder
        if self._unsure is not None and (code := await self._realign(link, self._unsure)):
            return [code] * len(self.blocks)
        now_ns, mute = self._clock.monotonic_ns(), self._mute
        order = [at for at in range(len(self.blocks)) if at not in mute]
        order += sorted(
            (at for at, silence in mute.items() if silence.due(now_ns)),
            key=lambda at: mute[at].count,
        )
        wanted = [self._requests[at] for at in order]
        codes = await link.exchange(wanted, decoder.buffer, [decoder.offsets[at] for at in order])
        outcomes = [int(Outcome.UNANSWERED)] * len(self.blocks)
        for at, code in zip(order, codes, strict=True):
            outcomes[at] = code
        return outcomes

    async def _realign(self, link: Link, unsure: Block) -> int:
        """Make sure, on a line, that no answer to an earlier request is still to come.

        Reads something whose answer has another length than that of the block that went wrong, so
        the two cannot be mistaken. Returns 0 if the line is aligned, or why nothing can be read.
        Where all blocks are alike, the pause after a time-out is all there is.
        """
        before = (unsure.area, unsure.payload_bytes)
        quiet_first = sorted(range(len(self.blocks)), key=lambda at: at in self._mute)
        choices = [covering([self.blocks[at].spans[0]]) for at in quiet_first]
        choices += [self.blocks[at] for at in quiet_first]
        other = next((b for b in choices if (b.area, b.payload_bytes) != before), None)
        if other is not None:
            code = await self._read_one(link, other)
            if code in _NO_ANSWER or code == Outcome.MALFORMED:
                return code
        self._unsure = None
        return 0

    def _note_turn(self) -> None:
        """Count a turn, and smooth the time from turn to turn over about eight of them."""
        now_ns = self._clock.monotonic_ns()
        if self._begun_ns:
            taken_ns = now_ns - self._begun_ns
            self.achieved_ns += (taken_ns - self.achieved_ns) / (8 if self.achieved_ns else 1)
        self._begun_ns = now_ns
        self.turns += 1

    def _note_silence(self) -> None:
        """Judge after a poll with gaps whether the unit, or one block of it, is silent."""
        now_ns = self._clock.monotonic_ns()
        if self.heard:
            self.silence.answered()
        else:
            self.silent_turns += 1
            self.silence.silent(now_ns)
        if self._config.is_line and self._unsure is None:
            for block, code in zip(self.blocks, self._outcomes, strict=True):
                if code in _ANSWER_MAY_COME:
                    self._unsure = block
                if code == Outcome.TIMED_OUT:
                    self.silence.settle(now_ns)
        if not (self._shared or self._config.is_line) or len(self.blocks) == 1:
            return
        for at, code in enumerate(self._outcomes):
            if code in {Outcome.TIMED_OUT, *_GATEWAY_FAILED}:
                patience = self._config.lost_after
                self._mute.setdefault(at, Silence(patience)).silent(now_ns)
            elif code != Outcome.UNANSWERED:
                self._mute.pop(at, None)

    async def _mend(self, link: Link, end_ns: int) -> None:
        """Within a poll: read busy blocks again; learn from refused ones and read all anew."""
        for _ in range(_ROUNDS):
            if self._exchange.lost:
                return
            await self._retry_busy(link)
            if not await self._search(link, end_ns):
                return
            decoder = self._decoder
            self._outcomes = []  # they were of the old plan
            self._outcomes = await link.exchange(self._requests, decoder.buffer, decoder.offsets)
            if not any(self._outcomes):
                return

    async def _retry_busy(self, link: Link) -> None:
        """Ask blocks again whose device was busy."""
        buffer, offsets, outcomes = self._decoder.buffer, self._decoder.offsets, self._outcomes
        for _ in range(self._config.busy_retries):
            busy = [index for index, code in enumerate(outcomes) if code in _BUSY]
            if not busy:
                return
            await self._clock.sleep_until(self._clock.monotonic_ns() + _BUSY_PAUSE_NS)
            again = [self._requests[index] for index in busy]
            codes = await link.exchange(again, buffer, [offsets[index] for index in busy])
            for index, code in zip(busy, codes, strict=True):
                outcomes[index] = code

    # Illegal addresses.

    async def _search(self, link: Link, end_ns: int) -> bool:
        """Look for illegal addresses in refused blocks; returns whether the plan has changed.

        A search that the period leaves no time for goes on in the next poll; the plan changes
        when the last one has ended, so that no search works on an outdated plan.
        """
        self._begin_searches()
        reads = 0
        while self._searches:
            search = self._searches[0]
            while search.read is not None:
                reads += 1
                if reads > _FREE_READS and self._clock.monotonic_ns() > end_ns:
                    return False
                code = await self._read_one(link, search.read)
                if self._exchange.lost:
                    return False
                if not _is_firm(code) and (
                    code in _NO_ANSWER or not self.lessons.is_lasting(search.block)
                ):
                    break
                search.answer(code)
            self._searches.pop(0)
            if search.read is None:
                self._found.append(search)
        return await self._learn()

    def _begin_searches(self) -> None:
        """Queue a search for each refused block that has none; drop those that are read by now."""
        now_ns = self._clock.monotonic_ns()
        refused = [
            block
            for block, code in zip(self.blocks, self._outcomes, strict=True)
            if self.lessons.may_search(block, code, now_ns)
        ]
        self._searches = [search for search in self._searches if search.block in refused]
        begun = [search.block for search in (*self._searches, *self._found)]
        self._searches += [Search(block) for block in refused if block not in begun]

    async def _learn(self) -> bool:
        """Take over what the finished searches found."""
        finished, self._found = self._found, []
        before = self.lessons.version
        illegal: list[Span] = []
        for search in finished:
            illegal += self.lessons.learn(search, self._clock.monotonic_ns())
        if illegal:
            await self._say_addresses("device.illegal_address", "does not have", illegal)
        if self.lessons.version == before:
            return False
        self.replan()
        return True

    async def _probe(self, link: Link) -> None:
        """Ask illegal values again whose time has come."""
        legal: list[Span] = []
        for span in self.lessons.due(self._clock.monotonic_ns()):
            code = await self._read_one(link, covering([span]))
            if self._exchange.lost:
                break
            if _is_firm(code) and self.lessons.probed(span, code, self._clock.monotonic_ns()):
                legal.append(span)
        if legal:
            self.replan()
            await self._say_addresses("device.legal_address", "has by now", legal)

    async def _rejoin(self, link: Link) -> None:
        """Try once what a cut keeps apart, if its time has come; its parts are read as ever."""
        lessons = self.lessons
        cut = lessons.due_cut(self._clock.monotonic_ns())
        if cut is None:
            return
        limits, but_one = self._config.limits(), lessons.cuts(but=cut)
        joined = bridging(plan(self.layout.spans(), limits, lessons.illegal, but_one), cut)
        code = int(Outcome.READ)  # a cut that nothing would reach over is of no use
        if joined is not None:
            code = await self._read_one(link, joined)
            if self._config.is_line and code in _ANSWER_MAY_COME:
                self._unsure = joined
        if lessons.tried(cut, code, self._clock.monotonic_ns(), firm=_is_firm(code)):
            self.replan()

    async def _read_one(self, link: Link, block: Block) -> int:
        """Read a block for its outcome alone."""
        request = read(block.area, self.number, block.start, block.count)
        return (await link.exchange([request], bytearray(block.payload_bytes), [0]))[0]

    async def _say_addresses(self, kind: str, verb: str, spans: list[Span]) -> None:
        tags = self._tags.of(self.layout.ids_of(spans))
        shown = ", ".join(tags[:_TAGS_IN_TEXT])
        more = f" and {len(tags) - _TAGS_IN_TEXT} more" if len(tags) > _TAGS_IN_TEXT else ""
        attributes: Attributes = {"tags": ",".join(tags[:_TAGS_IN_ATTRIBUTES]), "count": len(tags)}
        if self._shared:
            attributes = {**attributes, "unit": self.number}
        text = f"{self.where} {verb} the addresses of {shown}{more}."
        await self._outlet.say(kind, text, attributes)


def _value(point: DriverPoint[ModbusAddress], config: ModbusConfig) -> Value:
    target = resolve(point.address, config.base)
    cell = aligned(target.span, config.align)
    return Value(point.id, target.span, target.type, target.order, cell)


def _is_firm(code: int) -> bool:
    """Tell whether an outcome says something about the address, not about line or load."""
    return code not in _BUSY and code not in _COMM_FAILURE


def _failed(outcomes: Sequence[int]) -> dict[int, Quality]:
    """Quality of each block that was not read."""
    if not any(outcomes):
        return {}
    return {
        index: Quality.BAD_COMM_FAILURE if code in _COMM_FAILURE else Quality.BAD_DEVICE_EXCEPTION
        for index, code in enumerate(outcomes)
        if code
    }
