"""Pipeline, duty desk and notifiers together: what is told, recorded, pushed, and over a kill."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from buffer.memory import MemoryLog
from gateway.duty.desk import STATE, DutyDesk
from gateway.duty.policy import CallPolicy
from gateway.duty.roster import Roster
from gateway.duty.words import Message, shipped_words
from gateway.model.catalogue import Catalogue
from gateway.model.point import Limits, Point
from gateway.normalise.scale import Normaliser
from gateway.notify.contract import Notifier, NotifyError
from gateway.notify.service import DutyService, Enterprise
from gateway.pipeline import Pipeline
from gateway.rules.alarm_states import AlarmEvent
from gateway.rules.declarations import Declaration, DeclarationKind
from gateway.rules.desk import Command
from gateway.rules.judge import Judge
from gateway.rules.metrics import Thresholds
from gateway.rules.rulebook import shipped
from gateway.work.life import Handling
from tests.gateway.duty.duty_rig import ROSTER
from tests.gateway.flow_rig import (
    WALL_NS,
    HandClock,
    alarms,
    batch,
    counting_ids,
    events,
    judge,
    over_count,
    pipeline,
)
from tests.gateway.work_rig import working
from tests.waiting import until

SECOND = 1_000_000_000


@dataclass
class Box:
    """A notifier that keeps what it is given. broken: why it fails.  held: it does not answer."""

    sent: list[Message] = field(default_factory=list)
    broken: str = ""
    held: bool = False

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if self.held:
            await asyncio.Event().wait()
        if self.broken:
            raise NotifyError(self.broken)


class Bench:
    """A pipeline with a service; `restart` is a kill and a start on the same log."""

    def __init__(self, roster: Roster = ROSTER, policy: CallPolicy | None = None) -> None:
        self.clock = HandClock()
        self.log = MemoryLog(clock=self.clock)
        self.boxes = {"horn": Box(), "sms": Box()}
        self.notifiers: dict[str, Notifier] = {}  # real ones, instead of a box
        self.roster, self.policy = roster, policy or CallPolicy()
        self.flow = self.make_again()

    def make_again(self) -> Pipeline:
        """Start on the log as it is."""
        return self.make(lambda: pipeline(self.log, self.clock, judge(self.log.states(""))))

    def make(self, made: Callable[[], Pipeline]) -> Pipeline:
        self.flow = made()
        ids = counting_ids()
        self.service = DutyService(
            DutyDesk(self.roster, self.policy),
            (shipped_words(), Enterprise("某化工", "91370800MA3C000000")),
            {**self.boxes, **self.notifiers}, self.clock, lambda: b"\xbb" + ids()[1:],
        )  # fmt: skip
        self.service.begin(self.flow, self.log.states(STATE))
        self.flow.listener = self.service
        return self.flow

    def told(self) -> list[tuple[str, str]]:
        return [(m.person, m.kind) for box in self.boxes.values() for m in box.sent]

    async def kinds(self) -> list[str]:
        return [event.kind for event in await events(self.log)]

    async def step(self, seconds: float) -> None:
        """Move the clock once the service sleeps."""
        due = self.service.desk.next_deadline_ns
        await until(lambda: due() is None or due() in self.clock.sleeping_to_ns, limit_s=60)
        self.clock.advance(seconds)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.service.run())
            try:
                yield
            finally:
                task.cancel()


async def test_an_alarm_is_told_recorded_and_told_no_more_once_acknowledged() -> None:
    bench = Bench()
    async with bench.running():
        await bench.flow.accept(batch({1: 30.0}))
        await until(lambda: len(bench.told()) == 2, limit_s=60)
        assert bench.told() == [("an", "alarm"), ("bo", "alarm")]
        await bench.step(120)  # priority 3 waits 300 s
        await bench.step(181)
        await until(lambda: len(bench.told()) == 3, limit_s=60)
        bench.flow.command(Command(AlarmEvent.ACKNOWLEDGE, "gds/a", "high", "王芳"))
    (first,) = bench.boxes["horn"].sent
    assert first.zh == (
        "【3级报警】某化工 – gds/a（泵房入口可燃气） 高报:当前值 30 ppm,限值 10 ppm;"
        "依据:limit.high/1。2025-06-15 23:06:40"
    )
    kinds = await bench.kinds()
    assert kinds.count("notify.told") == 3
    assert kinds.count("notify.ended") == 1
    assert bench.service.statistics()["calls"] == 0
    assert not [name for name, value in bench.log.states(STATE).items() if value]


async def test_a_notifier_that_fails_is_an_alarm_told_by_the_others_and_returns() -> None:
    bench = Bench()
    bench.boxes["horn"].broken = "the player ended with 7"
    async with bench.running():
        await bench.flow.accept(batch({1: 30.0}))
        await until(lambda: len(bench.boxes["sms"].sent) == 2, limit_s=60)
        found = [(a.source, a.condition, a.state.name) for a in await alarms(bench.log)]
        assert found == [
            ("gds/a", "high", "UNACKNOWLEDGED_ACTIVE"),
            ("notifier/horn", "notifier_failed", "UNACKNOWLEDGED_ACTIVE"),
        ]
        assert not bench.service.health()[0]
        tags = [message.fields["tag"] for message in bench.boxes["sms"].sent]
        assert sorted(map(str, tags)) == ["gds/a", "notifier/horn"]
        bench.boxes["horn"].broken = ""
        await bench.step(5)
        await until(lambda: len(bench.boxes["horn"].sent) == 2, limit_s=60)
        await until(lambda: bench.service.health()[0], limit_s=60)
    retry = bench.boxes["horn"].sent[1]
    assert (retry.id, retry.fields["attempt"]) == (bench.boxes["horn"].sent[0].id, 2)
    back = [a for a in await alarms(bench.log) if a.source == "notifier/horn"][-1]
    assert back.state.name == "RETURNED_UNACKNOWLEDGED"
    assert (await bench.kinds()).count("notify.failed") == 1


async def test_a_kill_while_a_message_is_under_way_repeats_it_marked_and_nothing_else() -> None:
    bench = Bench()
    bench.boxes["sms"].held = True
    async with bench.running():
        await bench.flow.accept(batch({1: 30.0}))
        await until(lambda: len(bench.told()) == 2, limit_s=60)
        await until(lambda: bench.service.statistics()["told"] == 1, limit_s=60)
    await bench.flow.settled()
    under_way = bench.boxes["sms"].sent[0].id
    bench.boxes = {"horn": Box(), "sms": Box()}
    again = bench.make_again()
    async with bench.running():
        await again.begin()
        await again.accept(batch({1: 31.0}))
        await until(lambda: bench.told() == [("bo", "alarm")], limit_s=60)
        (repeated,) = bench.boxes["sms"].sent
        assert (repeated.id, repeated.fields["repeated"]) == (under_way, True)
        assert repeated.zh.endswith("(可能重复)")
        await until(lambda: bench.service.statistics()["told"] == 1, limit_s=60)
    assert bench.told() == [("bo", "alarm")]
    assert len(await alarms(bench.log)) == 1


async def test_a_declared_test_is_told_to_nobody_and_what_stands_at_its_end_is() -> None:
    bench = Bench()
    async with bench.running():
        wanted = Declaration("", DeclarationKind.SPAN_GAS, "point", "gds/a", "王芳", "标气",
                             WALL_NS, WALL_NS + 60 * SECOND)  # fmt: skip
        made = bench.flow.declare(wanted)
        await bench.flow.accept(batch({1: 30.0}))
        await bench.flow.accept(batch({2: 1.0}))
        (raised,) = await alarms(bench.log)
        assert raised.declaration == made.id
        await asyncio.sleep(0)
        assert bench.told() == []
        bench.flow.end_declaration(made.id, "王芳")
        await until(lambda: len(bench.told()) == 2, limit_s=60)
    assert {kind for _, kind in bench.told()} == {"alarm"}


async def test_what_was_told_is_pushed_in_the_handling_of_the_alarm() -> None:
    bench = Bench()
    flow, work = working(bench.log, bench.clock)
    bench.make(lambda: flow)
    async with bench.running():
        await flow.accept(over_count(active=True))
        await until(lambda: work.closing.cases()[0].state is Handling.PUSHED, limit_s=60)
        await until(lambda: len(bench.told()) == 2, limit_s=60)
    (case,) = work.closing.cases()
    assert [step.person for step in case.steps] == ["an (horn)"]
    handled = [e for e in await events(bench.log) if e.kind == "work.handling"]
    assert [e.attributes["state"] for e in handled] == ["pushed"]


async def test_a_full_disk_does_not_keep_people_from_being_told() -> None:
    bench = Bench()

    async def never() -> None:
        await asyncio.Event().wait()

    async with bench.running():
        bench.flow.settled = never  # type: ignore[method-assign]  # a disk that answers nothing
        await bench.flow.accept(batch({1: 30.0}))
        await until(lambda: len(bench.told()) == 2, limit_s=60)


async def test_a_flood_in_one_batch_is_one_message_to_each_person() -> None:
    bench = Bench()
    points = [Point(i, f"gds/{i}", limits=Limits(high=10.0)) for i in range(1, 61)]
    rules = Judge(points, (), new_id=counting_ids(),
                  thresholds=Thresholds.of(shipped(), dt.date(2026, 11, 28)))  # fmt: skip
    made = Pipeline(bench.log, Catalogue.of(points), Normaliser(points), rules, bench.clock)
    bench.make(lambda: made)
    async with bench.running():
        await bench.flow.accept(batch(dict.fromkeys(range(1, 61), 30.0)))
        await until(lambda: bench.service.statistics()["told"] >= 2, limit_s=60)
        await bench.flow.settled()
    assert sorted(bench.told()) == [("an", "flood"), ("bo", "flood")]
    assert len(await alarms(bench.log)) == 60
