"""What listening to an RS-485 line says: its baud rate, who is master, what is wrong, what to do.

Guarantees: settings are taken as right only where frames decode; every finding names the counts
that it rests on. Findings are in English and Chinese, as a fitter on site reads them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

from drivers.modbus.overhear import WRITES, Asked, Heard

Parity = Literal["none", "even", "odd"]


class Setting(NamedTuple):
    """How a serial port is set; 8 data bits, as RTU needs."""

    baud: int
    parity: Parity = "none"

    def __str__(self) -> str:
        return f"{self.baud} 8{self.parity[0].upper()}1"


_BAUDS = (9600, 19200, 4800, 38400, 115200, 57600, 2400, 1200)
_PARITIES: tuple[Parity, ...] = ("none", "even", "odd")
USUAL = tuple(Setting(baud, parity) for baud in _BAUDS for parity in _PARITIES)
"""The order in which settings are tried: what detectors and meters have most often comes first."""
MIN_FRAMES = 3
_CLEAN_RATIO = 0.95
_READABLE_RATIO = 0.5
_ENOUGH_NOISE_BYTES = 64  # four requests with their answers


def decodes(heard: Heard) -> bool:
    """Tell whether the settings are right beyond doubt: frames, and next to no noise."""
    return heard.frames >= MIN_FRAMES and heard.clean_ratio >= _CLEAN_RATIO


def settled(heard: Heard) -> bool:
    """Tell whether listening longer at these settings would say nothing new about them."""
    bad = heard.noise_bytes + heard.marked_bytes
    return decodes(heard) or (bad >= _ENOUGH_NOISE_BYTES and heard.clean_ratio < _READABLE_RATIO)


def best(trials: Mapping[Setting, Heard]) -> Setting | None:
    """Return the settings at which most was understood; None if nothing was."""
    found = [
        (heard.clean_ratio, heard.frames, setting)
        for setting, heard in trials.items()
        if heard.frames and heard.clean_ratio >= _READABLE_RATIO
    ]
    if not found:
        return None
    return max(found, key=lambda one: (one[0], one[1], -USUAL.index(one[2])))[2]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. code: for scripts.  serious: it must be dealt with before reading here."""

    code: str
    text: str
    chinese: str
    serious: bool = False


def judge(heard: Heard, *, serial: bool) -> list[Finding]:
    """Say what was found. serial: baud and parity are ours to choose."""
    if not heard.bytes:
        return [
            Finding(
                "silent",
                "no byte passed: no master is active, or the tap is not on the line (A/B open)",
                "线路上没有任何字节:没有主站在通信,或 A/B 线未接好",
            )
        ]  # fmt: skip
    if not heard.frames:
        return [_undecoded(heard, serial=serial)]
    found = [*_masters(heard), *_errors(heard)]
    silent = sum(heard.unanswered.values())
    if silent:
        units = sorted({one.unit for one in heard.unanswered})
        found.append(
            Finding(
                "unanswered",
                f"{silent} requests had no answer, to units {_list(units)}",
                f"{silent} 个请求无应答,站号 {_list(units)}",
            )
        )
    return found


def _undecoded(heard: Heard, *, serial: bool) -> Finding:
    if heard.text_bytes > 0.9 * heard.bytes:
        return Finding(
            "ascii",
            "this is text, perhaps Modbus ASCII: read it with transport ascii",
            "线路上是文本,可能是 Modbus ASCII:请用 transport = ascii",
            serious=True,
        )
    more = " at any usual baud rate and parity" if serial else "; check the converter's baud rate"
    return Finding(
        "no_frames",
        f"{heard.bytes} bytes passed and no Modbus RTU frame was in them{more}",
        f"收到 {heard.bytes} 字节,但没有可识别的 Modbus RTU 帧",
        serious=True,
    )


def _masters(heard: Heard) -> list[Finding]:
    found: list[Finding] = []
    if heard.requests:
        found.append(
            Finding(
                "master",
                f"a master is on this line already ({heard.requests} requests heard): two would"
                " disturb each other, so read along with listen_only = true",
                f"线路上已有主站(听到 {heard.requests} 个请求):请勿再接主站,用 listen_only = true",
                serious=True,
            )
        )
    elif heard.answers + heard.other:
        found.append(
            Finding(
                "one_way",
                "answers pass without requests: the tap hears one direction of a four-wire line",
                "只听到应答、听不到请求:可能是四线制,只接了一个方向",
                serious=True,
            )
        )  # fmt: skip
    if heard.repeated and heard.repeated >= 0.5 * heard.requests:
        found.append(
            Finding(
                "echo",
                f"echo: {heard.repeated} of {heard.requests} requests are heard twice",
                f"回波:{heard.requests} 个请求中有 {heard.repeated} 个重复出现",
            )
        )
    if heard.overtaken or heard.hasty:
        certain = heard.overtaken > 0
        word = "two masters talk" if certain else "perhaps two masters talk"
        found.append(
            Finding(
                "second_master" if certain else "second_master_suspected",
                f"{word} on this line: {heard.hasty} requests followed another at once,"
                f" {heard.overtaken} answers came after the next request",
                f"{'存在' if certain else '疑似存在'}两个主站:{heard.hasty} 个请求紧跟另一请求,"
                f"{heard.overtaken} 个应答晚于下一请求",
                serious=True,
            )
        )
    if heard.writes:
        units = sorted({one.unit for one in heard.asked if one.function in WRITES})
        found.append(
            Finding(
                "writes",
                f"the master writes: {heard.writes} requests, to units {_list(units)}",
                f"该主站有写操作:{heard.writes} 次,站号 {_list(units)}",
            )
        )
    return found


def _errors(heard: Heard) -> list[Finding]:
    found: list[Finding] = []
    if heard.noise_runs:
        found.append(
            Finding(
                "crc_errors",
                f"{heard.noise_bytes} bytes in {heard.noise_runs} places are in no frame with a"
                " right CRC: collisions, noise, or another protocol",
                f"{heard.noise_runs} 处共 {heard.noise_bytes} 字节 CRC 不符:冲突、干扰或其他协议",
                serious=heard.clean_ratio < _CLEAN_RATIO,
            )
        )
    if heard.marked_bytes:
        found.append(
            Finding(
                "parity_errors",
                f"{heard.marked_bytes} bytes came with an error of parity or framing: check parity,"
                " baud rate, termination and bias",
                f"{heard.marked_bytes} 字节有校验位或帧错误:检查校验位、波特率、终端电阻和偏置",
                serious=True,
            )
        )
    return found


def _list(units: Sequence[int]) -> str:
    shown = ", ".join(str(unit) for unit in units[:20])
    return shown + (" …" if len(units) > 20 else "")


class Row(NamedTuple):
    """One request that a master repeats. each_ms: its period over the time listened."""

    asked: Asked
    times: int
    unanswered: int
    each_ms: float


def rows(heard: Heard, listened_ns: int) -> list[Row]:
    """What is asked on the line, by unit."""
    return [
        Row(asked, count, heard.unanswered[asked], listened_ns / count / 1e6)
        for asked, count in sorted(heard.asked.items())
    ]


def answer_ms(heard: Heard) -> tuple[float, float] | None:
    """Median and longest time from request to answer; None without answers."""
    times = heard.answer_ns
    return (median(times) / 1e6, max(times) / 1e6) if times else None


def busy_ratio(heard: Heard, setting: Setting, listened_ns: int) -> float:
    """Share of the time that bytes were on the line."""
    bits = 10 if setting.parity == "none" else 11
    return heard.bytes * bits * 1e9 / setting.baud / listened_ns if listened_ns else 0.0
