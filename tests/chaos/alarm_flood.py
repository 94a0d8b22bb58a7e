"""A flood of alarms 报警泛滥 through a whole gateway: nothing lost, and people are still answered.

    python -m tests.chaos.alarm_flood [--alarms 10000 --seconds 60] [--json]     (`make flood`)

A Modbus device of N points with a limit each, a second one with the marker, `plantgate run` with
its web console and `plantgate receive` (mutual TLS) as processes. Four phases of one run:

- `alone`: only the marker's alarm comes and goes, and nobody is at the console.
- `quiet`: the same with browsers at the console (flood_browsers.py), who stay to the end.
- `spread`: every point raises its alarm, evenly over the time given.
- `trip`: all of them return in one poll, and are raised again together a moment later, as in a
  plant trip.

People are told by a webhook all the while: the alarms of a flood as one call, none of them one by
one beyond those before it was declared, and no message twice.

In each phase, from outside: the marker's register changes every 300 ms, its lag is the receiver's
commit less that moment (wall clock of one machine); a person lists alarms, acknowledges the marker,
and /healthz is asked. Compared are the figures of a flood with those of `quiet` in the same run.

In the end the receiver must hold each raise and each return of every point once, under its own
id, in order of sequence without a hole, and the flood must be declared. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import json
import math
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.cli.demo_view import parse_metrics
from gateway.control.client import NotAnsweredError, RefusedError, ask
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.wire.v1 import uplink_pb2 as wire
from tests.bench.machine import describe, usage
from tests.chaos.flood_browsers import Crowd
from tests.e2e.plant import Plant
from tests.e2e.world import World, free_port, listens, stop, until
from tests.fakes.hook_server import hooks_beside

HIGH = 500
MARKER = "marker/m"
MARKER_S = 0.3  # no multiple of the poll period
ASK_S = 0.2
WHOLE = "marker to receiver"
PER_REQUEST = 125  # registers a Modbus read brings at most
STEPS_PER_S = 10
DECLARED_AT = 10
"""Alarms in ten minutes that are a flood. Beside those up to the read that brought the tenth, so
many more may be told one by one: what came in the same poll of others."""
ARRIVE_S = 240  # everything must have arrived by then; a limit of the test, no figure


@dataclass(frozen=True, slots=True)
class Scale:
    """How much: points that raise an alarm, over how long; how long `alone` and `quiet` are."""

    alarms: int = 10_000
    seconds: float = 60.0
    quiet_s: float = 30.0


@dataclass(slots=True)
class Felt:
    """What was felt from outside in one phase, ms. marked: when the marker was set, wall clock."""

    answers_ms: dict[str, list[float]] = field(default_factory=dict)
    marked_ns: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of the table. Times in ms; ratio: p99 over that of the quiet phase."""

    phase: str
    what: str
    count: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    ratio_p99: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found. wrong: what should not be, a sentence each."""

    raised: int
    returned: int
    floods_declared: int
    table: list[Figures]
    cpu_shares: dict[str, float]
    resident_mb: float
    told: dict[str, int]
    console: dict[str, float]
    wrong: list[str]


@dataclass(frozen=True, slots=True)
class Arrived:
    """An alarm record at the receiver. Wall clock of one machine, ns.

    stored_ns: its commit at the gateway began.  received_ns: its commit at the receiver began.
    """

    change: AlarmChange
    stored_ns: int
    received_ns: int


class _Person:
    """Asks as people and monitors do, from threads of its own, until told to stop."""

    def __init__(self, world: World, marker: Plant) -> None:
        self._world = world
        self._marker = marker
        self._stop = threading.Event()
        self.felt = Felt()

    @contextmanager
    def at_work(self) -> Iterator[Felt]:
        """Ask during the block."""
        self.felt = Felt()
        self._stop.clear()
        threads = [threading.Thread(target=run) for run in (self._mark, self._ask)]
        for thread in threads:
            thread.start()
        try:
            yield self.felt
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _mark(self) -> None:
        value = 0
        while not self._stop.is_set():
            value = HIGH + 1 - value
            self._set(value)
            self._stop.wait(MARKER_S)
        if value:  # every phase ends with the marker at rest
            self._set(0)

    def _set(self, value: int) -> None:
        """Set the marker, and leave it so until it has been read."""
        self.felt.marked_ns.append(time.time_ns())
        self._marker.set(0, value)
        _polled(self._marker, 1)

    def _ask(self) -> None:
        data = self._world.data
        asks: dict[str, Callable[[], object]] = {
            "list of alarms": lambda: ask(data, {"ask": "alarm.list", "most": 100}),
            "acknowledge": lambda: ask(
                data,
                {"ask": "alarm.command", "verb": "ack", "source": MARKER, "condition": "high",
                 "operator": "王芳"},
            ),
            "health": self._health,
        }  # fmt: skip
        while not self._stop.is_set():
            for name, call in asks.items():
                began = time.perf_counter()
                try:
                    call()
                except RefusedError as error:
                    if name != "acknowledge":  # nothing to acknowledge just now is an answer too
                        self.felt.refused.append(f"{name}: {error}")
                except (NotAnsweredError, OSError) as error:
                    self.felt.refused.append(f"{name}: {error}")
                taken_ms = (time.perf_counter() - began) * 1e3
                self.felt.answers_ms.setdefault(name, []).append(taken_ms)
            self._stop.wait(ASK_S)

    def _health(self) -> None:
        url = f"http://127.0.0.1:{self._world.metrics_port}/healthz"
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()


def run(folder: Path, scale: Scale) -> Outcome:
    """Run the three phases once."""
    with (
        World(folder) as world, Plant(scale.alarms) as plant, Plant(1) as marker,
        hooks_beside() as hooks,
    ):  # fmt: skip
        console_port = free_port()
        _write_site(world, plant.port, marker.port, scale.alarms, hooks.url)
        with world.site.open("a", encoding="utf-8") as site:
            site.write(f'[console]\nlisten = "127.0.0.1:{console_port}"\n')
        receiver = world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: plant.connections and marker.connections, limit_s=120, what="it polls")
        until((world.data / "control.sock").exists, what="commands are taken")
        until(lambda: listens(console_port), what="the console listens")
        time.sleep(2)
        person = _Person(world, marker)
        felt: dict[str, Felt] = {}

        crowd: Crowd | None = None

        def phase(name: str, work: Callable[[], None]) -> None:
            before, began = usage(gateway.pid).cpu_s, time.monotonic()
            with person.at_work() as felt[name], crowd.at_work(name) if crowd else nullcontext():
                work()
            felt[name].cpu_s = usage(gateway.pid).cpu_s - before
            felt[name].took_s = time.monotonic() - began
            time.sleep(1)

        phase("alone", lambda: time.sleep(scale.quiet_s))
        crowd = Crowd(world.data, console_port, f"{MARKER}|high")
        try:
            phase("quiet", lambda: time.sleep(scale.quiet_s))
            phase("spread", lambda: _raise_all(plant, scale))
            phase("trip", lambda: _trip(plant, scale))
            markers = sum(len(one.marked_ns) for one in felt.values())
            expected = 3 * scale.alarms + markers
            until(lambda: _count(world) >= expected, limit_s=ARRIVE_S, what="every alarm arrives")
            console, trouble = _console(world)
            at_browsers, ended = crowd.end()
        finally:
            crowd.kill()
        for name, one in at_browsers.items():
            felt[name].answers_ms |= one.answers_ms
            felt[name].refused += one.refused
        trouble += [f"a browser's connection ended: {one}" for one in ended]
        resident = usage(gateway.pid).resident_bytes / 1e6
        stop(gateway)
        stop(receiver)
        records, holes = _records(world)
        floods, messages = _floods(world), [hook.json for hook in hooks.hooks]
    outcome = _judge(scale, felt, records, holes, floods, resident)
    told, wrong = _told(messages, _most_single(records))
    wrong = [*outcome.wrong, *wrong, *trouble]
    return replace(outcome, told=told, console=console, wrong=wrong)


def _console(world: World) -> tuple[dict[str, float], list[str]]:
    """What the console's process says of itself; and what should not be."""
    url = f"http://127.0.0.1:{world.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        metrics = parse_metrics(answer.read().decode())
    own = {
        name: metrics.get((f"plantgate_console_{name}", ""), 0.0)
        for name in ("starts", "resident_bytes", "streams", "pieces_sent", "requests")
    }
    wrong = [] if own["starts"] == 1 else [f"the console was started {own['starts']:g} times"]
    return own, wrong


def _most_single(records: list[Arrived]) -> int:
    """How many alarms of the flood may be told one by one: those before it is declared."""
    raised = [one.change for one in records if one.change.source != MARKER]
    if len(raised) < DECLARED_AT:
        return len(raised)
    tenth_ns = raised[DECLARED_AT - 1].gateway_time_ns
    return DECLARED_AT + sum(change.gateway_time_ns <= tenth_ns for change in raised)


def _told(messages: list[dict[str, Any]], most_single: int) -> tuple[dict[str, int], list[str]]:
    """Messages to people by kind, the marker's apart; and what should not be."""
    told = Counter("marker" if one.get("tag") == MARKER else str(one["kind"]) for one in messages)
    wrong = []
    twice = len(messages) - len({one["id"] for one in messages})
    if twice:
        wrong.append(f"{twice} messages were told twice")
    if told["alarm"] > most_single:
        wrong.append(f"{told['alarm']} alarms of the flood were told one by one, not {most_single}")
    if not told["flood"]:
        wrong.append("nobody was told of the flood")
    return dict(told), wrong


def _write_site(world: World, plant: int, marker: int, points: int, hook: str) -> None:
    head = "name,area,address,type,high"
    lines = [head, *(f"r{i},holding,{i},u16,{HIGH}" for i in range(points))]
    (world.folder / "plant.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (world.folder / "marker.csv").write_text(f"{head}\nm,holding,0,u16,{HIGH}\n", encoding="utf-8")
    (world.folder / "roster.csv").write_text("级别,姓名,通知方式\n1,张三,sms\n", encoding="utf-8")
    world.write_site(
        f"""
[notify]
roster = "roster.csv"
[[notifier]]
name = "sms"
type = "webhook"
url = "{hook}"
"""
        + "".join(
            f"""
[[device]]
name = "{name}"
driver = "modbus"
host = "127.0.0.1"
port = {port}
unit = 1
poll_ms = {poll_ms}
timeout_ms = 20000
points = "{name}.csv"
"""
            for name, port, poll_ms in (("plant", plant, 500), ("marker", marker, 100))
        )
    )


def _raise_all(plant: Plant, scale: Scale) -> None:
    steps = max(1, round(scale.seconds * STEPS_PER_S))
    began = time.monotonic()
    for step in range(steps):
        for point in range(scale.alarms * step // steps, scale.alarms * (step + 1) // steps):
            plant.set(point, HIGH + 1)
        time.sleep(max(0.0, began + (step + 1) / STEPS_PER_S - time.monotonic()))


def _trip(plant: Plant, scale: Scale) -> None:
    """Everything returns within one poll, then comes again; after a whole sweep of reads."""
    for value in (0, HIGH + 1):
        for point in range(scale.alarms):
            plant.set(point, value)
        _polled(plant, 2 * math.ceil(scale.alarms / PER_REQUEST))


def _polled(plant: Plant, requests: int) -> None:
    """Wait until the device has answered so many more requests."""
    wanted = plant.requests + requests
    until(lambda: plant.requests >= wanted, limit_s=ARRIVE_S, what="the device is read")


# -- what the receiver holds -------------------------------------------------------------------


ALARM, EVENT = 0, 1


def _read(world: World, stream: int) -> list[tuple[int, int, int, bytes]]:
    """Key, times and payload of the records of a stream, in order."""
    connection = sqlite3.connect(f"file:{world.store / 'receiver.db'}?mode=ro", uri=True)
    query = "SELECT id, time_ns, received_ns, payload FROM records WHERE (id >> 40) % 4 = ?"
    try:
        return connection.execute(f"{query} ORDER BY id", (stream,)).fetchall()
    finally:
        connection.close()


def _count(world: World) -> int:
    """Raises and returns at the receiver; what people did is an alarm record too."""
    return sum(not AlarmChange.decode(row[3]).operator for row in _read(world, ALARM))


def _records(world: World) -> tuple[list[Arrived], int]:
    """Alarm records in order, and how many sequences are missing."""
    rows = _read(world, ALARM)
    span = rows[-1][0] - rows[0][0] + 1
    found = [Arrived(AlarmChange.decode(row[3]), row[1], row[2]) for row in rows]
    return found, span - len(rows)


def _floods(world: World) -> int:
    events = [wire.Event.FromString(row[3]) for row in _read(world, EVENT)]
    return sum(event.kind == "alarm.flood" for event in events)


def _judge(
    scale: Scale, felt: dict[str, Felt], records: list[Arrived], holes: int, floods: int,
    resident_mb: float,
) -> Outcome:  # fmt: skip
    found = [one for one in records if not one.change.operator]
    raised = [o.change for o in found if o.change.state is AlarmState.UNACKNOWLEDGED_ACTIVE]
    wrong = _wrong_of_points(scale, [one.change for one in found])
    if holes:
        wrong.append(f"{holes} sequences of the alarm stream are missing")
    if len({change.alarm_id for change in raised}) != len(raised):
        wrong.append("two raises have one id")
    if floods != 1:
        wrong.append(f"the flood was declared {floods} times, not once")
    marked = sum(len(one.marked_ns) for one in felt.values())
    arrived = [one for one in found if one.change.source == MARKER]
    if len(arrived) != marked:
        wrong.append(f"the marker changed {marked} times, {len(arrived)} arrived")
    wrong += [f"{name}: not answered: {said}" for name, one in felt.items() for said in one.refused]
    in_order = iter(arrived)
    measured = {
        name: _stages(one.marked_ns, in_order) | one.answers_ms for name, one in felt.items()
    }
    return Outcome(
        raised=len(raised),
        returned=len(found) - len(raised),
        floods_declared=floods,
        table=_table(measured),
        cpu_shares={name: round(one.cpu_s / one.took_s, 3) for name, one in felt.items()},
        resident_mb=round(resident_mb, 1),
        told={},
        console={},
        wrong=wrong,
    )


def _stages(marked_ns: list[int], arrived: Iterator[Arrived]) -> dict[str, list[float]]:
    """How long each change of the marker took, in whole and by stage, ms."""
    pairs = list(zip(marked_ns, arrived, strict=False))
    return {
        WHOLE: [(one.received_ns - set_ns) / 1e6 for set_ns, one in pairs],
        "  set to read": [(one.change.gateway_time_ns - set_ns) / 1e6 for set_ns, one in pairs],
        "  read to commit": [
            (one.stored_ns - one.change.gateway_time_ns) / 1e6 for _, one in pairs
        ],
        "  commit to receiver": [(one.received_ns - one.stored_ns) / 1e6 for _, one in pairs],
    }


def _wrong_of_points(scale: Scale, found: list[AlarmChange]) -> list[str]:
    """Each point must have been raised, returned, raised, and nothing else."""
    active, back = AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED
    seen: dict[str, list[AlarmState]] = {f"plant/r{i}": [] for i in range(scale.alarms)}
    for change in found:
        if change.source != MARKER:
            seen.setdefault(change.source, []).append(change.state)
    kinds = Counter(tuple(states) for states in seen.values() if states != [active, back, active])
    return [
        f"{count} points have {[state.name.lower() for state in states]}"
        for states, count in kinds.items()
    ]


def _table(measured: dict[str, dict[str, list[float]]]) -> list[Figures]:
    rows = []
    for phase, answers in measured.items():
        for what, times_ms in answers.items():
            quiet = _p99(measured["quiet"].get(what, []))
            rows.append(
                Figures(
                    phase, what, len(times_ms),
                    round(statistics.median(times_ms), 1) if times_ms else 0.0,
                    round(_p99(times_ms), 1), round(max(times_ms, default=0.0), 1),
                    round(_p99(times_ms) / quiet, 2) if quiet else 0.0,
                )
            )  # fmt: skip
    return rows


def _p99(times_ms: list[float]) -> float:
    ordered = sorted(times_ms)
    return ordered[round(0.99 * (len(ordered) - 1))] if ordered else 0.0


def main() -> None:
    """Run, print the table, exit 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alarms", type=int, default=Scale().alarms)
    parser.add_argument("--seconds", type=float, default=Scale().seconds)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plantgate-flood-") as folder:
        outcome = run(Path(folder) / "world", Scale(given.alarms, given.seconds))
    machine = describe()
    if given.json:
        print(json.dumps({"machine": machine, **asdict(outcome)}, indent=2, ensure_ascii=False))
    else:
        print("machine: " + ", ".join(f"{key} {value}" for key, value in machine.items()))
        print(f"{outcome.raised} raised, {outcome.returned} returned, at the receiver;"
              f" flood declared {outcome.floods_declared} time(s); gateway"
              f" {outcome.resident_mb:.0f} MB, cores by phase {outcome.cpu_shares}")  # fmt: skip
        print(f"{'phase':<8} {'what':<20} {'count':>6} {'p50 ms':>8} {'p99 ms':>8} {'most':>8}"
              f" {'p99/quiet':>10}")  # fmt: skip
        for row in outcome.table:
            print(f"{row.phase:<8} {row.what:<20} {row.count:>6} {row.p50_ms:>8} {row.p99_ms:>8}"
                  f" {row.most_ms:>8} {row.ratio_p99:>10}")  # fmt: skip
        print(f"told by webhook: {outcome.told}")
        print(f"console: {outcome.console}")
        for line in outcome.wrong:
            print(f"WRONG: {line}")
    sys.exit(1 if outcome.wrong else 0)


if __name__ == "__main__":
    main()
