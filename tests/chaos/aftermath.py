"""What a log must be after any fault: compares what was said with what is there.

Guarantees of `problems`: an empty list means that every batch and alarm said to be durable is held,
or older than everything held and counted in gap records of cause quota, or counted in one of cause
corruption, where that may be; nothing is there twice; every refusal is either counted once in gap
records and not there, or (alarms only) there and not counted; chains and sequences are whole; state
does not disagree with the alarms; the log opens again, stores, and closes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from buffer.block import BlockDecoder, BlockError
from buffer.contract import NotStoredError, Record, Stream, chain_hash
from buffer.inspection import Inspection
from buffer.store import Buffer
from tests.chaos.short_run import GOOD, POINTS, StepClock, opened

REFUSED = ("disk_full", "io_error")
DAMAGED = "corruption"
AFTER = 10_000
"""Clock step of the aftermath, later than any run."""


@dataclass
class Said:
    """What runs said about one directory, in order."""

    batches: list[int] = field(default_factory=list)
    alarms: list[int] = field(default_factory=list)
    refused_batches: list[int] = field(default_factory=list)
    refused_alarms: list[int] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    acknowledged: int = 0
    ended: bool = False

    def take(self, text: str) -> None:
        """Take in the lines of one run; the last one only if it is whole."""
        lists = {"t": self.batches, "a": self.alarms, "ft": self.refused_batches,
                 "fa": self.refused_alarms}  # fmt: skip
        for line in text[: text.rfind("\n") + 1].splitlines():
            kind, _, rest = line.partition(" ")
            if kind in lists:
                lists[kind].append(int(rest))
            elif kind == "log":
                self.logs.append(rest)
            elif kind == "ack":
                self.acknowledged = int(rest)
            elif kind == "end":
                self.ended = True
            else:
                self.words.append(line)

    def copy(self) -> Said:
        """Independent copy."""
        return Said(
            self.batches.copy(),
            self.alarms.copy(),
            self.refused_batches.copy(),
            self.refused_alarms.copy(),
            self.logs.copy(),
            self.words.copy(),
            self.acknowledged,
        )


@dataclass
class There:
    """What a log holds. gaps: (stream, cause) to count. lost: problems met while reading."""

    batches: list[int]
    alarms: list[int]
    gaps: Counter[tuple[str, str]]
    state: bytes
    notes: list[str]
    log_id: str
    former: int
    wrong: list[str]


async def records_of(log: Buffer, stream: Stream, wrong: list[str]) -> list[bytes]:
    """Payloads of all that is held of a stream; adds to `wrong` where chain or numbers break."""
    bounds = log.bounds(stream)
    records: list[Record] = []
    while bounds.first + len(records) < bounds.next:
        first = bounds.first + len(records)
        more = await log.read(stream, first, last=bounds.next - 1, max_bytes=1 << 20)
        if not more:
            break
        records += more
    wrong += _unchained(records, bounds.first, bounds.next)
    wrong += ["a forged record is held" for record in records if record.payload == b"\0"]
    return [record.payload for record in records]


def gaps_of(events: list[bytes]) -> Counter[tuple[str, str]]:
    """Counts of all gap records among events, by stream and cause."""
    gaps: Counter[tuple[str, str]] = Counter()
    for payload in events:
        words = payload.decode().split()
        if words[0] == "gap":
            gaps[words[1], words[2]] += int(words[5])
    return gaps


async def _everything(folder: Path) -> There:
    clock = StepClock(AFTER)
    async with opened(folder, clock):
        pass  # reports what was not yet reported
    async with opened(folder, clock) as log:
        wrong: list[str] = []
        found = {stream: await records_of(log, stream, wrong) for stream in Stream}
        gaps = gaps_of(found[Stream.EVENT])
        with Inspection(folder) as inspection:
            former = inspection.held(Stream.TELEMETRY).former
        return There(
            _numbers(found[Stream.TELEMETRY], wrong),
            [int(payload) for payload in found[Stream.ALARM] if payload != b"\0"],
            gaps,
            log.state("alarm"),
            list(log.notes),
            log.log_id.hex(),
            former,
            wrong,
        )


def _numbers(blocks: list[bytes], wrong: list[str]) -> list[int]:
    """Which batches blocks hold."""
    decoder, found = BlockDecoder(), list[int]()
    for block in blocks:
        try:
            found += [int(batch.values[0]) for batch in decoder.feed(block)]
        except BlockError as failure:
            wrong.append(f"a record is not intact: {failure}")
    return found


def _unchained(records: list[Record], first: int, stop: int) -> list[str]:
    wrong = []
    sequences = [record.sequence for record in records]
    if sequences != list(range(first, stop)):
        wrong.append(f"sequences {sequences} of {first}..{stop - 1}")
    for before, record in zip([None, *records], records, strict=False):
        if before is not None and record.previous_hash != before.hash:
            wrong.append(f"{record.stream.name} {record.sequence} does not follow")
        expected = chain_hash(record.previous_hash, record.stream, record.sequence, record.payload)
        if record.hash != expected:
            wrong.append(f"{record.stream.name} {record.sequence} is not intact")
    return wrong


async def _stores(folder: Path) -> list[str]:
    clock = StepClock(AFTER + 1)
    try:
        async with opened(folder, clock) as log:
            values = np.zeros(len(POINTS))
            await log.add_batch(POINTS, values, GOOD, clock.wall_ns(), clock.wall_ns())
            await log.add_record(Stream.ALARM, b"0")
    except NotStoredError as failure:
        return [f"does not store afterwards: {failure}"]
    return []


def look(folder: Path) -> There:
    """What a directory holds, after all that waited has been reported."""
    return asyncio.run(_everything(folder))


def problems(
    folder: Path, said: Said, *, log_stays: bool, may_be_damaged: bool = False
) -> list[str]:
    """Everything that is not as promised. log_stays: the log id must be the one said last.

    may_be_damaged: what gap records of cause corruption count may be gone; else there are none.
    """
    there = look(folder)
    wrong = [*there.wrong, *_lost_or_doubled(said, there)]
    if not there.gaps["EVENT", DAMAGED]:  # else gap records are gone themselves, as one says
        wrong += _miscounted(said, there)
    if not may_be_damaged:
        wrong += [f"{stream} is damaged" for stream, cause in there.gaps if cause == DAMAGED]
    if there.notes:
        wrong.append(f"the second start had to repair: {there.notes}")
    if log_stays and said.logs and there.log_id != said.logs[-1]:
        wrong.append("the log id is new")
    state = int(there.state or b"0")
    if there.alarms and state != there.alarms[-1]:
        wrong.append(f"state says {state}, the newest alarm is {there.alarms[-1]}")
    wrong += [word for word in said.words if word.startswith("stuck")]
    return wrong + asyncio.run(_stores(folder))


def _lost_or_doubled(said: Said, there: There) -> list[str]:
    wrong = []
    oldest = min(there.batches, default=1 << 62)
    lost = [number for number in said.batches if number >= oldest and number not in there.batches]
    if len(lost) > there.gaps["TELEMETRY", DAMAGED]:
        wrong.append(f"batches {lost} were durable and are not there")
    if there.batches != sorted(set(there.batches)):
        wrong.append(f"batches are doubled or out of order: {there.batches}")
    lost = [number for number in said.alarms if number not in there.alarms]
    if len(lost) > there.gaps["ALARM", DAMAGED]:
        wrong.append(f"alarms {lost} were durable and are not there")
    if there.alarms != sorted(set(there.alarms)):
        wrong.append(f"alarms are doubled or out of order: {there.alarms}")
    doubled = set(said.refused_batches) & set(there.batches)
    if doubled:
        wrong.append(f"refused, and there all the same: {sorted(doubled)}")
    return wrong


def _miscounted(said: Said, there: There) -> list[str]:
    wrong = []
    oldest = min(there.batches, default=1 << 62)
    gone = [number for number in said.batches if number not in there.batches]
    counted = there.gaps["TELEMETRY", "quota"] + there.gaps["TELEMETRY", DAMAGED]
    if len(gone) != counted + there.former:
        wrong.append(
            f"{len(gone)} batches are gone, gap records say {counted},"
            f" {there.former} are of a former log id"
        )
    former = [number for number in gone if said.acknowledged < number < oldest]
    if there.former and len(former) > there.gaps["TELEMETRY", DAMAGED]:
        wrong.append(f"{former} are of a former log id, {said.acknowledged} was acknowledged")
    refused = len(said.refused_batches) * len(POINTS)
    counted = sum(there.gaps["TELEMETRY", cause] for cause in REFUSED)
    if refused != counted:
        wrong.append(f"{refused} of TELEMETRY were refused, gap records say {counted}")
    given = {*said.alarms, *said.refused_alarms}  # one that was refused may be stored later
    counted = sum(there.gaps["ALARM", cause] for cause in (*REFUSED, DAMAGED))
    if len(given - set(there.alarms)) != counted:
        gone = sorted(given - set(there.alarms))
        wrong.append(f"alarms {gone} are not there, gap records say {counted}")
    return wrong


__all__ = ["Said", "There", "gaps_of", "look", "problems", "records_of"]
