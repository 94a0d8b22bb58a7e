"""`plantgate probe modbus HOST[:PORT] | /dev/TTY`: read one device once and show what it says.

With a profile: each point's value, state and raw registers side by side, and whether the addresses
are off by one, with the evidence. Without: registers and what they could be. Every request is made
once, with a pause between two; nothing can be written. A device that cannot be reached is one line.
Exit 0 when it was read, 1 when it did not answer, 2 when the question was wrong.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from drivers.contract import DriverPoint, quality_word
from drivers.modbus.codec import Area
from drivers.modbus.config import AddressError, ModbusAddress, ModbusConfig, resolve
from drivers.modbus.evidence import (
    Guess,
    Sample,
    Verdict,
    guesses,
    interpret,
    is_sensible,
    judge_base,
    spans,
)
from drivers.modbus.link import LinkLostError
from drivers.modbus.once import Reading, identify, read_once
from drivers.modbus.plan import Span
from drivers.modbus.profile import Profile, bits, code_number
from drivers.modbus.profile_files import load
from drivers.modbus.state_words import words
from drivers.point_table import PointRow
from drivers.wording import sentence
from gateway.cli.output import print_json
from gateway.runtime.clock import SystemClock

EXAMPLE = """\b
Examples:
  plantgate probe modbus 192.0.2.10 --unit 17 --profile honeywell-sensepoint-xcd
  plantgate probe modbus 192.0.2.10:1502 --area holding --from 0 --count 20
  plantgate probe modbus /dev/ttyUSB0 --unit 126 --parity even --profile draeger-polytron-8000
"""
_CHUNK = 100  # registers of one request without a profile
_WARNING = "warning: "


@click.command("modbus", epilog=EXAMPLE)
@click.argument("target", metavar="HOST[:PORT] | /dev/TTY")
@click.option("--unit", default=1, show_default=True, type=click.IntRange(0, 255))
@click.option("--profile", default="", help="Profile of the device, or a file .toml.")
@click.option("--loop", default=1, show_default=True, type=click.IntRange(1, 2048))
@click.option("--offset", default=0, show_default=True, help="As profile_offset in the site file.")
@click.option("--decimals", default=None, type=click.IntRange(0, 6), help="As in the site file.")
@click.option("--gas-unit", default="", help="As in the site file.")
@click.option("--at", "places", multiple=True, metavar="TAG=ADDRESS", help="As profile_addresses.")
@click.option("--area", default="holding", show_default=True, help="Without a profile.",
              type=click.Choice(["coil", "discrete", "input", "holding"]))  # fmt: skip
@click.option("--from", "first", default="0", show_default=True, help="First wire address.")
@click.option("--count", default=16, show_default=True, type=click.IntRange(1, 2000))
@click.option(
    "--transport",
    type=click.Choice(["tcp", "udp", "rtu-tcp", "ascii-tcp", "rtu", "ascii"]),
    help="Default tcp, or rtu for a serial port.",
)
@click.option("--baud", default=9600, show_default=True, type=click.IntRange(300, 4_000_000))
@click.option("--parity", default="none", show_default=True,
              type=click.Choice(["none", "even", "odd"]))  # fmt: skip
@click.option("--identify/--no-identify", "who", default=True, help="Ask who it is (43/14, 17).")
@click.option("--timeout-ms", default=2000, show_default=True, type=click.IntRange(10, 60_000))
@click.option("--pause-ms", default=200, show_default=True, type=click.IntRange(0, 10_000),
              help="Between two requests.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def command(target: str, who: bool, as_json: bool, **options: Any) -> None:  # noqa: ANN401  # click's
    """Read a Modbus device once: values, states, raw registers, address base."""
    try:
        config = _config(target, options)
        shown = _ProfileView.make(config) if config.profile_source else _RegisterView.make(options)
        wanted = shown.wanted(config)
        reading = asyncio.run(read_once(config, wanted, SystemClock()))
        identity = asyncio.run(identify(config)) if who else ""
    except _WrongQuestionError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except LinkLostError as error:
        click.echo(f"error: {target} unit {options['unit']}: {error}", err=True)
        sys.exit(1)
    if as_json:
        facts = {"target": target, "unit": config.unit, "requests": reading.requests}
        print_json({**facts, "identity": identity, **shown.facts(reading)})
    else:
        for line in shown.lines(reading):
            print(line)
        if who:
            print(f"identity: {identity or 'it does not say (43/14, 17)'}")
    if not reading.memory:
        sys.exit(1)


class _WrongQuestionError(Exception):
    """What was asked for cannot be; one clear sentence."""


@dataclass(frozen=True)
class _RegisterView:
    """Registers as they are, and what they could be."""

    area: Area
    first: int
    count: int

    @classmethod
    def make(cls, options: dict[str, Any]) -> _RegisterView:
        try:
            kind = "bool" if options["area"] in {"coil", "discrete"} else "u16"
            address = ModbusAddress(area=options["area"], address=options["first"], type=kind)
            span = resolve(address, "zero").span
        except (ValidationError, AddressError) as error:
            raise _WrongQuestionError(_said(error)) from error
        if span.start + options["count"] > 65536:
            raise _WrongQuestionError(f"{options['count']} from {span.start} leave 0..65535")
        return cls(span.area, span.start, options["count"])

    def wanted(self, config: ModbusConfig) -> list[Span]:
        return [Span(self.area, at, 1) for at in range(self.first, self.first + self.count)]

    def lines(self, reading: Reading) -> list[str]:
        rows: list[tuple[str, ...]]
        if self.area.bits:
            rows = [("wire", "bit")]
            rows += [(str(at), str(bit)) for (_, at), bit in sorted(reading.memory.items())]
        else:
            rows = [("wire", "hex", "u16", "s16", "f32 ABCD", "CDAB", "BADC", "DCBA")]
            rows += [_guess_row(guess) for guess in self._guesses(reading)]
        return [*_table(rows), *_refusals(reading)]

    def facts(self, reading: Reading) -> dict[str, Any]:
        return {
            "registers": [
                {
                    "area": area.name.lower(),
                    "wire": at,
                    "value": word,
                }
                for (area, at), word in sorted(reading.memory.items())
            ],
            "refused": _refusals(reading),
        }

    def _guesses(self, reading: Reading) -> list[Guess]:
        found: list[Guess] = []
        run: list[int] = []
        for at in range(self.first, self.first + self.count + 1):
            word = reading.memory.get((self.area, at))
            if word is not None:
                run.append(word)
            elif run:
                found += guesses(run, at - len(run))
                run = []
        return found


@dataclass(frozen=True)
class _ProfileView:
    """Points of one loop of a profile, and the evidence for its addresses."""

    profile: Profile
    offset: int
    rows: Sequence[PointRow[Any]]
    points: Sequence[DriverPoint[Any]]

    @classmethod
    def make(cls, config: ModbusConfig) -> _ProfileView:
        rows, problems = config.own_rows(())
        wrong = [
            problem.message
            for problem in problems
            if not problem.message.startswith(_WARNING) and problem.column != "decimals"
        ]
        if wrong:
            raise _WrongQuestionError("; ".join(wrong))
        points = [DriverPoint(at, row.tag, row.address) for at, row in enumerate(rows, start=1)]
        if not points:
            raise _WrongQuestionError(
                f"no document at hand places the registers of {config.profile_source}: say --at"
                f" {load(config.profile_source).asked()[0]}=ADDRESS"
            )
        return cls(load(config.profile_source), config.profile_offset, rows, points)

    def wanted(self, config: ModbusConfig) -> list[Span]:
        return spans(self.points, config.limits())

    def verdict(self, reading: Reading) -> Verdict:
        return judge_base(self.points, reading.memory, self.offset)

    def lines(self, reading: Reading) -> list[str]:
        head = self.profile.profile
        rows = [("point", "value", "unit", "state", "raw", "printed", "wire")]
        for row, sample in self._samples(reading):
            rows.append(
                (
                    row.tag,
                    self._value(row, sample),
                    self._unit(row, reading),
                    quality_word(sample.quality),
                    " ".join(f"{word:04X}" for word in sample.words) or "–",
                    self._printed(row),
                    f"{sample.span.area.name.lower()} {sample.span.start}",
                )
            )
        verdict = self.verdict(reading)
        lines = [f"{head.name}: {head.maker} {head.model}, {head.origin}", *_table(rows)]
        lines.append(f"address base: {verdict.text}")
        lines += [
            f"  {case.shift:+d}: {case.points:+d}  {'; '.join(case.reasons) or 'nothing'}"
            for case in verdict.cases
        ]
        return lines

    def facts(self, reading: Reading) -> dict[str, Any]:
        verdict = self.verdict(reading)
        return {
            "profile": self.profile.profile.name,
            "origin": self.profile.profile.origin,
            "points": [
                {
                    "tag": row.tag,
                    "value": None if math.isnan(sample.value) else self._scaled(row, sample),
                    "says": self._says(row, sample),
                    "unit": self._unit(row, reading),
                    "quality": quality_word(sample.quality),
                    "raw": [f"{word:04X}" for word in sample.words],
                    "printed": self._printed(row),
                    "area": sample.span.area.name.lower(),
                    "wire": sample.span.start,
                }
                for row, sample in self._samples(reading)
            ],
            "base": {
                "offset": verdict.shift,
                "text": verdict.text,
                "evidence": {
                    f"{case.shift:+d}": {"points": case.points, "reasons": case.reasons}
                    for case in verdict.cases
                },
            },
        }

    def _samples(self, reading: Reading) -> list[tuple[PointRow[Any], Sample]]:
        samples = interpret(self.points, reading.memory)
        return list(zip(self.rows, samples, strict=True))

    def _scaled(self, row: PointRow[Any], sample: Sample) -> float:
        return round(sample.value * row.settings.scale + row.settings.offset, 9)

    def _value(self, row: PointRow[Any], sample: Sample) -> str:
        if math.isnan(sample.value):
            return "–"
        return f"{self._scaled(row, sample):g} {self._says(row, sample)}".rstrip()

    def _says(self, row: PointRow[Any], sample: Sample) -> str:
        """What a register of states says, in words."""
        if math.isnan(sample.value):
            return ""
        return words(self.profile, row.address.item, sample.value)

    def _unit(self, row: PointRow[Any], reading: Reading) -> str:
        """Unit by the device itself where it says one, else by the profile."""
        said = {sample.tag: sample for _, sample in self._samples(reading)}
        tags = {
            other.address.item: other.tag
            for other in self.rows
            if other.address.loop == row.address.loop
        }
        for rule in self.profile.units:
            sample = said.get(tags.get(rule.by, ""))
            if row.address.item in rule.of and sample is not None and sample.words:
                shift, mask = bits(rule.bits)
                code = (int(sample.value) >> shift) & mask
                names = {code_number(text): word for text, word in rule.codes.items()}
                return names.get(code, f"code {code}?")
        return row.settings.unit

    def _printed(self, row: PointRow[Any]) -> str:
        """Address as the document has it, for the first loop."""
        found = next((i for i in self.profile.items if i.tag == row.address.item), None)
        return found.address if found and found.address else "given"


def _config(target: str, options: dict[str, Any]) -> ModbusConfig:
    keys: dict[str, Any] = {
        **_place_keys(target, options), "unit": options["unit"],
        "timeout_ms": options["timeout_ms"], "pause_between_requests_ms": options["pause_ms"],
    }  # fmt: skip
    if not options["profile"]:
        keys["max_registers"] = _CHUNK
    else:
        keys |= {
            **_profile_key(options["profile"]), "first": options["loop"],
            "profile_offset": options["offset"], "gas_unit": options["gas_unit"],
            "decimals": options["decimals"],
            "profile_addresses": dict(_place(text) for text in options["places"]),
        }  # fmt: skip
    try:
        return ModbusConfig.model_validate(keys)
    except ValidationError as error:
        raise _WrongQuestionError(_said(error)) from error


def _profile_key(given: str) -> dict[str, Any]:
    return {"profile_file": Path(given)} if given.endswith(".toml") else {"profile": given}


def _place_keys(target: str, options: dict[str, Any]) -> dict[str, Any]:
    """Keys that say where the device is."""
    if target.startswith("/"):
        transport = options["transport"] or "rtu"
        return {"serial": target, "transport": transport, "baud": options["baud"],
                "parity": options["parity"]}  # fmt: skip
    host, port = _target(target)
    return {"host": host, "port": port, "transport": options["transport"] or "tcp"}


def _target(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "502"
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise _WrongQuestionError(f"{text} is not HOST or HOST:PORT")
    return host.strip("[]"), int(port)


def _place(text: str) -> tuple[str, str]:
    tag, equals, address = text.partition("=")
    if not (tag and equals and address):
        raise _WrongQuestionError(f"--at {text} is not like value=300001")
    return tag, address


def _said(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(str(part) for part in found['loc'])} {sentence(found)}".strip()
            for found in error.errors()
        )
    return str(error)


def _refusals(reading: Reading) -> list[str]:
    """Say what was not read, spans with one reason together."""
    by_reason: dict[str, list[str]] = {}
    for span, reason in sorted(reading.refused.items()):
        by_reason.setdefault(reason, []).append(f"{span.area.name.lower()} {span.start}")
    return [f"not read ({reason}): {', '.join(places)}" for reason, places in by_reason.items()]


def _guess_row(guess: Guess) -> tuple[str, ...]:
    floats = [
        f"{value:g}" if is_sensible(value) and value else "·" for value in guess.floats.values()
    ]
    floats += [""] * (4 - len(floats))
    return (
        str(guess.address), f"{guess.word:04X}", str(guess.word), str(guess.signed), *floats,
    )  # fmt: skip


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
