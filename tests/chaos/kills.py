"""SIGKILLs of gateway and receiver at random moments; outages, freezes, cold starts between.

Real processes with mutual TLS on loopback, and a source that counts its reads (counting.py). At
each end of a gateway a copy of its disk is read: of what the source had answered only the group
under way may be missing there. At each checkpoint `plantgate query` must give exactly what was on
the disk: nothing lost, doubled or out of order; what the quota took away before it could be sent
is named by gap records, whose counts add up.

    python -m tests.chaos.kills --kills 1000 --worlds 2 --seed 1

The schedule comes from the seed (schedule.py), so a failing world can be run again with its seed;
only the timing within a process differs. Results as a table; exit 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from buffer.contract import Stream
from tests.chaos.counting import (
    ALARM_POINT,
    COUNTERS,
    RAISED,
    RETURNED,
    Account,
    Change,
    CountingDevice,
    alarm_value,
    gap_of,
    point_rows,
)
from tests.chaos.schedule import KILLS, Kind, Round, draw
from tests.chaos.sync_probe import SyncProbe
from tests.e2e.plant import Plant
from tests.e2e.watched import BACKLOG_STAYS, Watched
from tests.e2e.world import free_ports, stop, until

POLL_MS = 100
DEVICE_TIMEOUT_MS = 1000
"""So that a gateway that was frozen finds answers that are too late."""
GROUP_READS = 3
"""Reads of one group commit: 100 ms of collecting, the poll under way, the commit itself."""
SYNCS_A_COMMIT = 3
"""A commit may sync the WAL, the file, and the WAL's head when that begins anew."""
LONG_S = 40.0
QUOTA_BYTES = 20_000
"""Telemetry kept in a world that has to give some up: less than half of what LONG_S makes."""
CHECK_EVERY_KILLS = 50
DRAINS = 10
Process = subprocess.Popen[bytes]


@dataclass(slots=True)
class Tally:
    """What a campaign did and found. unstored: how many gateway ends missed so many reads."""

    kinds: Counter[str] = field(default_factory=Counter)
    gateway_kills: int = 0
    receiver_kills: int = 0
    lives: int = 0
    reads: int = 0
    rows: int = 0
    alarms: int = 0
    checks: int = 0
    unstored: Counter[int] = field(default_factory=Counter)
    late_alarms: Counter[int] = field(default_factory=Counter)
    slow: Counter[str] = field(default_factory=Counter)
    cut_off: int = 0
    skipped: int = 0
    evicted_unsent: int = 0
    evicted: int = 0
    gaps: int = 0
    wrong: str = ""

    def add(self, other: Tally) -> None:
        """Add up two worlds."""
        for name in self.__dataclass_fields__:
            if name == "wrong":
                self.wrong = "\n".join(filter(None, (self.wrong, other.wrong)))
            else:
                setattr(self, name, getattr(self, name) + getattr(other, name))


class Campaign:
    """One world under a schedule; `run` raises AssertionError at the first thing wrong."""

    def __init__(
        self, folder: Path, rounds: list[Round], ports: Sequence[int], *, quota: bool = False
    ) -> None:
        self.tally = Tally()
        self._rounds = rounds
        self._world = Watched(folder)
        self._world.uplink_port, self._world.metrics_port = ports
        self._device = CountingDevice()
        self._plant = Plant(1, self._device)
        self._account = Account()
        self._probe = SyncProbe(folder)
        self._quota = quota
        self._gateway: Process | None = None
        self._receiver: Process | None = None

    def __enter__(self) -> Campaign:
        self._plant.__enter__()
        self._world.__enter__()
        self._probe.__enter__()
        self._world.write_device(
            self._plant.port, *point_rows(), poll_ms=POLL_MS, timeout_ms=DEVICE_TIMEOUT_MS
        )
        if self._quota:
            with self._world.site.open("a", encoding="utf-8") as site:
                site.write(f"\n[buffer]\ntelemetry_quota_gb = {QUOTA_BYTES / (1 << 30):.12f}\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._probe.__exit__(kind, error, trace)
        self._world.__exit__(None, None, None)
        self._plant.__exit__(kind, error, trace)

    def run(self, progress: Callable[[str], None]) -> None:
        """Do all rounds, with a checkpoint every CHECK_EVERY_KILLS kills and at the end."""
        self._start_receiver()
        self._start_gateway()
        self._wait_for_reads()
        done = checked = 0
        for number, one in enumerate(self._rounds, start=1):
            try:
                self._round(one)
                done += KILLS[one.kind]
                if done - checked >= CHECK_EVERY_KILLS or number == len(self._rounds):
                    self._check()
                    checked = done
                    progress(f"round {number} of {len(self._rounds)}, {done} kills: all there")
            except AssertionError as error:
                raise AssertionError(f"round {number}, {one}: {error}") from error

    # ---- rounds -------------------------------------------------------------------------------

    def _round(self, one: Round) -> None:
        self.tally.kinds[one.kind] += 1
        time.sleep(one.run_s)
        match one.kind:
            case Kind.GATEWAY:
                self._kill_gateway()
                self._start_gateway()
            case Kind.RECEIVER:
                self._kill_receiver()
                time.sleep(one.within_s)
                self._start_receiver()
            case Kind.BOTH:
                self._both(one)
            case Kind.STARTING:
                self._kill_gateway()
                self._start_gateway()
                time.sleep(one.within_s)
                self._kill_gateway()
                self._start_gateway()
            case Kind.OUTAGE | Kind.LONG_OUTAGE:
                self._outage(one)
            case _:
                self._freeze(one)

    def _both(self, one: Round) -> None:
        acts = [
            (self._kill_gateway, self._start_gateway),
            (self._kill_receiver, self._start_receiver),
        ]
        if not one.gateway_first:
            acts.reverse()
        for kill, _ in acts:
            kill()
            time.sleep(one.within_s / 4)
        for _, start in acts:
            start()
            time.sleep(one.within_s / 4)

    def _outage(self, one: Round) -> None:
        self._kill_receiver()
        lives = KILLS[one.kind] - 1
        for _ in range(lives):
            long = one.kind is Kind.LONG_OUTAGE
            time.sleep(LONG_S / lives if long else one.away_s)
            self._kill_gateway()
            self._start_gateway()
            time.sleep(one.within_s)
        self._start_receiver()

    def _freeze(self, one: Round) -> None:
        receiver = one.kind in {
            Kind.FREEZE_RECEIVER, Kind.FREEZE_RECEIVER_KILL, Kind.FREEZE_RECEIVER_KILL_GATEWAY,
        }  # fmt: skip
        frozen = self._receiver if receiver else self._gateway
        assert frozen is not None
        frozen.send_signal(signal.SIGSTOP)
        time.sleep(one.away_s)
        match one.kind:
            case Kind.FREEZE_RECEIVER_KILL:
                self._kill_receiver()
                self._start_receiver()
            case Kind.FREEZE_GATEWAY_KILL:
                self._kill_gateway()
                self._start_gateway()
            case Kind.FREEZE_RECEIVER_KILL_GATEWAY:
                self._kill_gateway()
                self._start_gateway()
                time.sleep(one.within_s)
                frozen.send_signal(signal.SIGCONT)
            case _:
                frozen.send_signal(signal.SIGCONT)

    # ---- processes ----------------------------------------------------------------------------

    def _start_gateway(self) -> None:
        self._gateway = self._world.start_gateway()

    def _start_receiver(self) -> None:
        self._receiver = self._world.start_receiver(wait=False)

    def _kill_gateway(self) -> None:
        self.tally.gateway_kills += 1
        self._end_gateway(signal.SIGKILL)

    def _kill_receiver(self) -> None:
        assert self._receiver is not None
        assert self._receiver.poll() is None, "the receiver has ended by itself"
        self.tally.receiver_kills += 1
        stop(self._receiver, signal.SIGKILL)

    def _end_gateway(self, how: signal.Signals) -> None:
        gateway = self._gateway
        assert gateway is not None
        assert gateway.poll() is None, "the gateway has ended by itself"
        code = stop(gateway, how)
        killed = how is signal.SIGKILL
        assert killed or code == 0, f"the gateway ended with {code}"
        until(lambda: not self._plant.connections, what="its connection is closed")
        self._account.close_life(self._world.data, self._device.reads, killed=killed)
        life = self._account.lives[-1]
        self.tally.lives += 1
        self.tally.skipped += life.skipped
        if killed:
            self.tally.unstored[life.unstored] += 1
            self.tally.late_alarms[life.late_alarms] += 1
            self._judge_unstored(life.unstored, "reads")
            self._judge_unstored(life.alarms_behind, "reads of alarms")
        else:
            self._account.check_gaps()
            self.tally.cut_off += life.unstored
            assert life.unstored <= 1, f"{life.unstored} reads were not on disk after SIGTERM"

    def _judge_unstored(self, unstored: int, what: str) -> None:
        """More than one group may only be missing where the disk itself was that slow."""
        if unstored <= GROUP_READS:
            return
        last_s = self._device.last_read_s
        slow_ms = self._probe.busy_ms(last_s - (unstored + 1) * POLL_MS / 1e3, last_s)
        self.tally.slow[f"{unstored} {what}, disk busy {slow_ms:.0f} ms"] += 1
        most = GROUP_READS + SYNCS_A_COMMIT * slow_ms / POLL_MS
        assert unstored <= most, f"{unstored} {what} were not on disk; it was busy {slow_ms:.0f} ms"

    def _wait_for_reads(self) -> None:
        before = self._device.reads
        until(lambda: self._device.reads > before + 3, what="the source is read")

    # ---- proof --------------------------------------------------------------------------------

    def _check(self) -> None:
        """Stop in good order, let everything be sent, and compare what `query` says."""
        self._wait_for_reads()
        self._end_gateway(signal.SIGTERM)  # reports every gap that is still open
        gaps_to_see = len(self._account.gaps)
        for _ in range(DRAINS):
            self._start_gateway()
            self._wait_until_sent()
            self._end_gateway(signal.SIGTERM)
            if BACKLOG_STAYS not in self._world.newest_log("gateway"):
                break
        self._compare(gaps_to_see)
        self.tally.checks += 1
        self._start_gateway()

    def _wait_until_sent(self) -> None:
        def sent() -> bool:
            metric = self._world.metric
            return (
                metric("uplink_connected", "province") > 0
                and metric("uplink_backlog_records", "province") <= 2
            )

        self._wait_for_reads()
        until(sent, limit_s=120, what="the backlog is sent")

    def _compare(self, gaps_to_see: int) -> None:
        account = self._account
        assert not self._world.notices("faults"), self._world.notices("faults")
        gaps = [
            gap_of(one["attributes"])
            for one in self._world.notices("events")
            if one["kind"] == "gap"
        ]
        assert gaps_to_see <= len(gaps), f"{gaps_to_see - len(gaps)} gap records did not arrive"
        assert gaps[: len(account.gaps)] == account.gaps[: len(gaps)], "gap records differ"
        found, changes = self._queried_reads(), self._queried_alarms()
        wanted = [read for _, reads in sorted(account.telemetry.items()) for read in reads]
        self.tally.evicted_unsent = compare_lists(found, wanted, "reads")
        excused = {
            read
            for sequence in account.named(Stream.TELEMETRY)
            for read in account.telemetry.get(sequence, ())
        }
        missing = set(wanted) - set(found)
        assert missing <= excused, f"lost, without a gap record: {sorted(missing - excused)[:20]}"
        stored = [change for _, change in sorted(account.alarms.items())]
        assert changes == stored, f"{len(changes)} alarms at the receiver, {len(stored)} on disk"
        self.tally.reads = account.lives[-1].last
        self.tally.gaps = len(account.gaps)
        self.tally.evicted = account.evicted.get(Stream.TELEMETRY, 0)

    def _queried_reads(self) -> list[int]:
        by_point: dict[str, list[float]] = {}
        rows = 0
        for row in self._world.query():
            rows += 1
            if row.quality == "good":
                by_point.setdefault(row.point, []).append(row.value)
        self.tally.rows = rows
        reads = [int(value) for value in by_point["gds/n0"]]
        for number in range(1, COUNTERS):
            assert by_point[f"gds/n{number}"] == reads, f"n{number} differs from n0"
        assert by_point[ALARM_POINT] == [alarm_value(read) for read in reads]
        return reads

    def _queried_alarms(self) -> list[Change]:
        states = {"unacknowledged_active": RAISED, "returned_unacknowledged": RETURNED}
        alarms = [(states[one["state"]], one["value"]) for one in self._world.notices("alarms")]
        self.tally.alarms = len(alarms)
        return alarms


def compare_lists(found: list[int], wanted: list[int], what: str) -> int:
    """`found` must be `wanted` in its order, each once, some left out; how many are left out."""
    wanted_in_turn = iter(wanted)
    for position, one in enumerate(found):
        assert any(other == one for other in wanted_in_turn), (
            f"{what}: {one} at place {position} is doubled, out of order or was never stored"
        )
    return len(wanted) - len(found)


def run_world(folder: Path, seed: int, kills: int, ports: Sequence[int], *, quota: bool) -> Tally:
    """Run one world; what is wrong is in the Tally. ports: two free ones, for it alone.

    quota: telemetry has so little room that long outages, which come with it, cost some.
    """
    rounds = draw(seed, kills, long_outages=quota)
    with Campaign(folder, rounds, ports, quota=quota) as campaign:
        try:
            campaign.run(lambda text: _say(f"seed {seed}: {text}"))
        except (AssertionError, OSError, subprocess.SubprocessError):
            campaign.tally.wrong = f"seed {seed} in {folder}:\n{traceback.format_exc()}"
            _say(campaign.tally.wrong)
    return campaign.tally


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def table(tally: Tally, seconds: float) -> str:
    """Table of a campaign, in Markdown."""
    kills = tally.gateway_kills + tally.receiver_kills
    spread = ", ".join(f"{n}: {tally.unstored[n]}" for n in sorted(tally.unstored))
    late = ", ".join(f"{n}: {tally.late_alarms[n]}" for n in sorted(tally.late_alarms))
    rows = [
        ("SIGKILLs", f"{kills} ({tally.gateway_kills} gateway, {tally.receiver_kills} receiver)"),
        ("rounds", ", ".join(f"{kind} {count}" for kind, count in sorted(tally.kinds.items()))),
        ("checkpoints, each compares all", str(tally.checks)),
        ("reads answered by the source", str(tally.reads)),
        ("rows of `plantgate query`", str(tally.rows)),
        ("alarm records of `plantgate query`", str(tally.alarms)),
        ("reads not on disk at a kill: how often", spread),
        ("of these, more than 3: reads, and how long the disk took to sync meanwhile",
         "; ".join(tally.slow) or "–"),
        ("alarms of these reads not on disk: how often", late),
        ("polls under way at a stop in good order", str(tally.cut_off)),
        ("answers not taken by a frozen gateway", str(tally.skipped)),
        ("records evicted by quota", str(tally.evicted)),
        ("reads evicted before they were sent, each named by a gap record",
         str(tally.evicted_unsent)),
        ("gap records", str(tally.gaps)),
        ("lost otherwise, doubled, out of order", "0" if not tally.wrong else "SEE BELOW"),
        ("took", f"{seconds / 60:.0f} min"),
    ]  # fmt: skip
    lines = ["| what | count |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)


def main() -> int:
    """Run the campaign; exit code 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--worlds", type=int, default=2, help="independent worlds at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quota", action="store_true", help="little room in every world")
    parser.add_argument("--json", type=Path, help="write the result there too")
    options = parser.parse_args()
    began = time.monotonic()
    base = Path(tempfile.mkdtemp(prefix="plantgate-kills-"))
    each = -(-options.kills // options.worlds)
    ports = free_ports(2 * options.worlds)
    total = Tally()
    with ProcessPoolExecutor(options.worlds) as pool:
        jobs = [
            pool.submit(
                run_world, base / str(n), options.seed + n, each, ports[2 * n : 2 * n + 2],
                quota=options.quota or n % 2 == 1,
            )
            for n in range(options.worlds)
        ]  # fmt: skip
        for job in jobs:
            total.add(job.result())
    print(table(total, time.monotonic() - began))
    if options.json:
        options.json.write_text(json.dumps({"wrong": total.wrong, "reads": total.reads}))
    if total.wrong:
        print(total.wrong)
        return 1
    shutil.rmtree(base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
