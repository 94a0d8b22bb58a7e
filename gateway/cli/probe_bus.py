"""`plantgate probe bus /dev/TTY | HOST:PORT`: listen to an RS-485 line before a gateway joins it.

Transmits nothing while it listens: finds baud rate and parity by what decodes, and says whether a
master is there already, whether two are, who answers, what is garbled, and what to write into the
site file. With --ask, and only where no master was heard, one read of one register follows.
Exit 0 when the line is understood or silent, 1 when it cannot be opened or understood, 2 when the
question was wrong.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

import click
from pydantic import ValidationError

from drivers.modbus.config import ModbusConfig
from drivers.modbus.line_verdict import (
    USUAL,
    Finding,
    Parity,
    Row,
    Setting,
    answer_ms,
    busy_ratio,
    judge,
    rows,
)
from drivers.modbus.link import LinkLostError
from drivers.modbus.listen_once import Asking, Listening, ask_once, listen
from drivers.serial_names import stable_name
from drivers.wording import sentence
from gateway.cli.output import print_json
from gateway.runtime.clock import SystemClock

EXAMPLE = """\b
Examples:
  plantgate probe bus /dev/serial/by-id/usb-FTDI_USB-RS485-if00-port0
  plantgate probe bus /dev/ttyUSB0 --baud 9600 --parity even --seconds 60
  plantgate probe bus 192.0.2.20:4001 --json
"""
_MOST_ROWS = 40


@click.command("bus", epilog=EXAMPLE)
@click.argument("target", metavar="/dev/TTY | HOST:PORT")
@click.option("--baud", type=click.IntRange(300, 4_000_000), help="Only this one; else all usual.")
@click.option("--parity", type=click.Choice(["none", "even", "odd"]), help="Only this one.")
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(0.2, 3600),
              help="How long to listen at the right setting.")  # fmt: skip
@click.option("--try-seconds", default=3.0, show_default=True, type=click.FloatRange(0.1, 600),
              help="How long at most at each setting that is tried.")  # fmt: skip
@click.option("--ask", type=click.IntRange(1, 247), metavar="UNIT",
              help="Then, if the line was silent, read one register of this unit.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def command(
    target: str, seconds: float, try_seconds: float, ask: int | None, as_json: bool, **only: Any,  # noqa: ANN401  # click's
) -> None:  # fmt: skip
    """Listen to an RS-485 line: masters, devices, errors, baud rate (先监听,不发送)."""
    clock = SystemClock()
    try:
        config = _config(target, only, ask)
        settings = _settings(config, only)
        found = asyncio.run(listen(config, settings, (try_seconds, seconds), clock))
        findings = judge(found.heard, serial=bool(config.serial))
        asking = None
        if ask is not None and not found.heard.bytes:
            asking = asyncio.run(ask_once(_tuned(config, found.setting or settings[0]), clock))
    except ValueError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except LinkLostError as error:
        click.echo(f"error: {target}: {error}", err=True)
        sys.exit(1)
    if as_json:
        print_json(_facts(target, found, findings, asking))
    else:
        for line in _lines(target, config, found, findings):
            print(line)
        for line in _asked_lines(ask, asking, found):
            print(line)
    sys.exit(0 if found.heard.frames or not found.heard.bytes else 1)


def _config(target: str, only: dict[str, Any], ask: int | None) -> ModbusConfig:
    """Keys of a line; raises ValueError with one sentence."""
    keys: dict[str, Any] = {"unit": ask or 1, "timeout_ms": 2000}
    if target.startswith("/"):
        keys |= {"serial": target, "transport": "rtu"}
    else:
        host, colon, port = target.rpartition(":")
        if not colon or not host or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{target} is neither a serial port like /dev/ttyUSB0 nor HOST:PORT")
        if only["baud"] or only["parity"]:
            raise ValueError("baud and parity of a TCP converter are set at the converter itself")
        keys |= {"host": host.strip("[]"), "port": int(port), "transport": "rtu-tcp"}
    try:
        return ModbusConfig.model_validate(keys)
    except ValidationError as error:
        raise ValueError("; ".join(sentence(found) for found in error.errors())) from error


def _settings(config: ModbusConfig, only: dict[str, Any]) -> Sequence[Setting]:
    """Settings to try, in order."""
    if not config.serial:
        return (Setting(config.baud),)
    baud, parity = only["baud"], only["parity"]
    if baud and baud not in {setting.baud for setting in USUAL}:
        parities = (parity,) if parity else ("none", "even", "odd")
        return [Setting(baud, cast("Parity", one)) for one in parities]
    return [s for s in USUAL if baud in {None, s.baud} and parity in {None, s.parity}]


def _tuned(config: ModbusConfig, setting: Setting) -> ModbusConfig:
    return config.model_copy(update={"baud": setting.baud, "parity": setting.parity})


def _lines(
    target: str, config: ModbusConfig, found: Listening, findings: Sequence[Finding]
) -> Iterator[str]:
    heard, listened_s = found.heard, found.listened_ns / 1e9
    setting = str(found.setting) if found.setting else "no setting decodes"
    tried = f" (of {len(found.trials)} tried)" if len(found.trials) > 1 else ""
    at = f"{setting}{tried}" if config.serial else "the converter's own setting"
    yield f"{target}: {at}, listened {listened_s:.1f} s, nothing transmitted"
    if heard.bytes:
        yield (
            f"bytes {heard.bytes}, {heard.clean_ratio:.1%} in frames; requests {heard.requests},"
            f" answers {heard.answers} ({heard.exceptions} exceptions), other {heard.other}"
        )
    times = answer_ms(heard)
    if times:
        busy = ""
        if config.serial and found.setting:
            busy = f"; line busy {busy_ratio(heard, found.setting, found.listened_ns):.0%}"
        yield f"answers after {times[0]:.0f} ms (median), {times[1]:.0f} ms (longest){busy}"
    table = rows(heard, found.listened_ns)
    if table:
        yield "unit  function  begin  count  asked  unanswered  each"
        yield from (_row(row) for row in table[:_MOST_ROWS])
        if len(table) > _MOST_ROWS:
            yield f"… and {len(table) - _MOST_ROWS} more"
    for finding in findings:
        yield f"{'!' if finding.serious else '-'} {finding.text}"
        yield f"  {finding.chinese}"
    if found.heard.requests:
        yield "site file 配置:"
        yield from (f"    {line}" for line in _site(config, found))


def _row(row: Row) -> str:
    asked = row.asked
    return (
        f"{asked.unit:4}  {asked.function:8}  {asked.begin:5}  {asked.wanted:5}  {row.times:5}"
        f"  {row.unanswered:10}  {row.each_ms:.0f} ms"
    )


def _site(config: ModbusConfig, found: Listening) -> Iterator[str]:
    """What to write for reading along."""
    yield "[[device]]"
    yield 'name = "bus-1"'
    yield 'driver = "modbus"'
    yield f'transport = "{config.transport}"'
    if config.serial:
        yield f'serial = "{stable_name(config.serial)}"'
        setting = found.setting or Setting(config.baud)
        yield f"baud = {setting.baud}"
        yield f'parity = "{setting.parity}"'
    else:
        yield f'host = "{config.host}"'
        yield f"port = {config.port}"
    yield "listen_only = true"
    yield 'points = "points/bus-1.csv"'


def _asked_lines(ask: int | None, asking: Asking | None, found: Listening) -> Iterator[str]:
    if ask is None:
        return
    if asking is None:
        yield f"unit {ask} was not asked: the line is not silent ({found.heard.bytes} bytes heard)"
        return
    said = "did not answer"
    if asking.answered:
        said = f"answers, exception {asking.exception}" if asking.exception else "answers"
    yield f"unit {ask} {said}; {'our own bytes come back (echo)' if asking.echo else 'no echo'}"


def _facts(
    target: str, found: Listening, findings: Sequence[Finding], asking: Asking | None
) -> dict[str, Any]:
    heard, times = found.heard, answer_ms(found.heard)
    counts = ("bytes", "requests", "answers", "exceptions", "writes", "other", "noise_bytes",
              "noise_runs", "marked_bytes", "hasty", "overtaken", "repeated")  # fmt: skip
    setting = found.setting
    return {
        "target": target,
        "baud": setting.baud if setting else None,
        "parity": setting.parity if setting else None,
        "listened_s": round(found.listened_ns / 1e9, 1),
        "transmitted_bytes": 0 if asking is None else 8,
        **{name: getattr(heard, name) for name in counts},
        "clean_ratio": round(heard.clean_ratio, 4),
        "answer_ms": {"median": round(times[0], 1), "longest": round(times[1], 1)}
        if times
        else None,
        "asked": [
            {**row.asked._asdict(), "times": row.times, "unanswered": row.unanswered,
             "each_ms": round(row.each_ms)}
            for row in rows(heard, found.listened_ns)
        ],
        "tried": [
            {"baud": s.baud, "parity": s.parity, "bytes": h.bytes, "frames": h.frames,
             "clean_ratio": round(h.clean_ratio, 4)}
            for s, h in found.trials.items()
        ],
        "findings": [asdict(finding) for finding in findings],
        "ask": None if asking is None else asdict(asking),
    }  # fmt: skip
