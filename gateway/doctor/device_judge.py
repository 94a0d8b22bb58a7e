"""What a device's watch means to the integrator: reached or not, which points lack. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from drivers.contract import SEVERITY_MASK, Quality, quality_word
from drivers.point_table import PointRow
from gateway.doctor.causes import cause_of
from gateway.doctor.device_watch import UNTOLD, DeviceWatch
from gateway.doctor.finding import About, Finding, State
from gateway.doctor.plausible import Reading, judged

_NAMED = 5
_GIVEN_UP = frozenset({"link.up", "link.down", "device.illegal_address", "device.period"})
"""Events that the findings below say themselves."""

_Meaning = tuple[tuple[int, ...], State, str, str, str, str]
_MEANINGS: tuple[_Meaning, ...] = (
    ((Quality.BAD_ILLEGAL_ADDRESS, 0x8033), State.FAULT, "not there (refused by the device)",
     "设备没有这些地址",
     "compare area, address and base (4xxxx counts from 1) or node with the manual; `plantgate"
     " probe` and `plantgate points browse` show what is there",
     "对照手册核对区域、地址、起始基准或节点;用 plantgate probe / points browse 查看实有地址"),
    ((Quality.BAD_DEVICE_EXCEPTION,), State.FAULT, "answered with an error of the device",
     "设备返回故障",
     "look at the device itself: a card, a channel or its own link may have failed",
     "检查设备本身:卡件、通道或其下级通信可能故障"),
    ((Quality.BAD_COMM_FAILURE, Quality.BAD_NOT_CONNECTED), State.FAULT, "without an answer",
     "无应答",
     "compare unit ids with the devices on the line, then wiring and power of those",
     "核对站号,检查对应设备的接线和电源"),
    ((Quality.BAD_CONFIG_ERROR,), State.FAULT, "not of the type in the point table",
     "与点表类型不符",
     "compare column type (and index, field) with what the device says",
     "核对点表的类型(及下标、字段)列"),
    ((Quality.BAD_SENSOR_FAULT, Quality.BAD_OUT_OF_SERVICE), State.DOUBTFUL,
     "said by the device itself to be faulty or out of service", "设备自报传感器故障或停用",
     "look at the detector: a real fault, or a status bit that the profile reads wrongly",
     "检查探测器:真实故障,或状态位配置有误"),
    ((UNTOLD, Quality.BAD_WAITING), State.FAULT, "without any value so far", "尚无任何数值",
     "whoever sends these has not sent yet: look there, and try again with --patience-s",
     "对方尚未发送:检查对方,或加大 --patience-s 再试"),
)  # fmt: skip


def findings_of(
    part: str,
    place: str,
    rows: Sequence[PointRow[Any]],
    watch: DeviceWatch,
    statistics: Mapping[str, float],
) -> list[Finding]:
    """Judge a device that was tried. place: its address, for people."""
    if not _any_told(watch):
        return [_unreachable(part, place, watch.lost or _unheard(place, watch))]
    found = [_link(part, place, len(rows), watch, statistics)]
    found += _points(part, rows, watch)
    found += _events(part, watch)
    good = (watch.quality & SEVERITY_MASK) == 0
    numeric = [i for i in range(len(rows)) if good[i] and i not in watch.texts]
    found += judged(part, [Reading(rows[i], float(watch.values[i])) for i in numeric])
    return found


def _any_told(watch: DeviceWatch) -> bool:
    """Tell whether the device itself was heard: some point is neither unknown nor cut off."""
    silent = {UNTOLD, Quality.BAD_NOT_CONNECTED, Quality.BAD_COMM_FAILURE}
    return bool(set(watch.quality.tolist()) - silent)


def _unheard(place: str, watch: DeviceWatch) -> str:
    """Why nothing is known of a device that its driver has not given up."""
    if (watch.quality == UNTOLD).all():
        return f"{place}: nothing was heard of it before patience ended: silent, or not dialled in"
    return f"{place}: no answer to any request"


def _unreachable(part: str, place: str, why: str) -> Finding:
    cause = cause_of(why)
    why = re.sub(rf"^{re.escape(part)} \((.*?)\): ", r"\1: ", why)
    chinese = f"{place} 未连通:{cause.chinese or why}"
    return Finding(part, About.LINK, State.FAULT, why, chinese, cause.advice, cause.chinese_advice)


def _link(
    part: str, place: str, count: int, watch: DeviceWatch, statistics: Mapping[str, float]
) -> Finding:
    if watch.lost:
        cause = cause_of(watch.lost)
        return Finding(
            part, About.LINK, State.FAULT, f"answered and was then lost: {watch.lost}",
            f"{place} 曾应答后断开:{cause.chinese or watch.lost}",
            cause.advice, cause.chinese_advice,
        )  # fmt: skip
    asked = statistics.get("requests_per_poll", 0)
    each = f", {asked:.0f} request{'s' * (asked > 1)} a poll" if asked else ""
    each_zh = f",每周期 {asked:.0f} 个请求" if asked else ""
    trip_ms = statistics.get("round_trip_ms", 0.0)
    after = f" after {trip_ms:.0f} ms" if trip_ms >= 1 else ""
    after_zh = f",{trip_ms:.0f} 毫秒" if trip_ms >= 1 else ""
    good = int(((watch.quality & SEVERITY_MASK) == 0).sum())
    return Finding(
        part, About.LINK, State.GOOD,
        f"{place} answers{after}; {good} of {count} points good{each}",
        f"{place} 应答正常{after_zh};{count} 个点位中 {good} 个良好{each_zh}",
    )  # fmt: skip


def _points(part: str, rows: Sequence[PointRow[Any]], watch: DeviceWatch) -> Iterator[Finding]:
    """Points that are not good, those of one meaning together."""
    named: set[int] = set()
    for qualities, state, text, chinese, advice, rat in _MEANINGS:
        places = watch.places(qualities)
        named.update(places)
        if places:
            shown = _shown(rows, places)
            yield Finding(
                part, About.POINTS, state, f"{_count(len(places))} {text}: {shown}",
                f"{len(places)} 个点位{chinese}:{shown}", advice, rat,
            )  # fmt: skip
    rest = [
        at
        for at in range(len(rows))
        if at not in named and watch.quality[at] & SEVERITY_MASK
    ]  # fmt: skip
    if rest:
        words = Counter(quality_word(int(watch.quality[at])) for at in rest)
        counted = ", ".join(f"{count} {word}" for word, count in words.most_common())
        yield Finding(
            part, About.POINTS, State.DOUBTFUL, f"not good: {counted}: {_shown(rows, rest)}",
            f"质量不佳:{counted}:{_shown(rows, rest)}",
            "the device or server itself says so: ask whoever runs it",
            "设备或服务器自报:请询问其维护人员",
        )  # fmt: skip


def _events(part: str, watch: DeviceWatch) -> Iterator[Finding]:
    """What the driver told beside values, once each."""
    told: set[str] = set()
    for event in watch.events:
        said_of_server = event.attributes.get("whose") == "the server's"  # by opcua.py
        if event.kind in _GIVEN_UP or event.text in told or said_of_server:
            continue
        told.add(event.text)
        text = event.text.removeprefix(f"{part}: ").rstrip(".")
        yield Finding(
            part, _ABOUT.get(event.kind, About.DEVICE), State.DOUBTFUL, text, "",
            *_TO_DO.get(event.kind, _TO_KNOW),
        )  # fmt: skip


_TO_KNOW = (
    "the driver says this at every start: do what the sentence says, or know that it is so",
    "驱动每次启动都会提示:按说明处理,或确认无碍",
)
_TO_DO = {
    "device.config_error": (
        "compare column type (and index, field) of these points with what the server says",
        "核对这些点位的类型(及下标、字段)列与服务器是否一致",
    ),
    "device.certificate": (
        "renew it in time (`plantgate cert opcua` makes one): after that day nothing is read",
        "及时更换(plantgate cert opcua 可生成):到期后无法采集",
    ),
    "device.clock": (
        'set the server\'s clock and time zone right, or time = "gateway" for this device',
        '校准服务器时钟和时区,或为该设备设置 time = "gateway"',
    ),
}
_ABOUT = {
    "device.clock": About.CLOCK,
    "device.config_error": About.POINTS,
    "device.certificate": About.CERTIFICATE,
}


def _shown(rows: Sequence[PointRow[Any]], places: Sequence[int]) -> str:
    shown = ", ".join(_named(rows[at]) for at in places[:_NAMED])
    return shown + (f" (+{len(places) - _NAMED})" if len(places) > _NAMED else "")


def _named(row: PointRow[Any]) -> str:
    """Tag and where it is read, as the table has it."""
    address = row.address
    words = [
        str(getattr(address, name))
        for name in ("area", "address", "node", "field")
        if getattr(address, name, "")
    ]
    unit = getattr(address, "unit_id", None)
    if unit is not None:
        words.append(f"unit {unit}")
    return f"{row.tag} ({' '.join(words)})" if words else row.tag


def _count(number: int) -> str:
    return "1 point" if number == 1 else f"{number} points"


__all__ = ["findings_of"]
