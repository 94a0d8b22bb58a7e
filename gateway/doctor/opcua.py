"""What an OPC UA server is asked beside its values: way in, certificate, state, units, ranges.

Guarantees: one session after another, each closed; a login is tried once more than the driver does,
and not at all where the driver's was refused. Nothing is trusted or written.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from drivers.contract import Clock, DeviceError
from drivers.point_table import PointRow
from gateway.config.site import Device
from gateway.doctor.causes import cause_of
from gateway.doctor.finding import About, Finding, State

_SOON_DAYS = 60
_ALIKE = {
    "°c": "c", "℃": "c", "degc": "c", "deg c": "c", "celsius": "c", "kpa(g)": "kpag",
    "m³/h": "m3/h", "m^3/h": "m3/h", "㎥/h": "m3/h", "%vol": "vol%", "%(v/v)": "vol%",
    "percent": "%", "mm h2o": "mmh2o", "μm": "um", "µm": "um",
}  # fmt: skip
"""Spellings of one unit, in small letters."""
_NAMED = 5


async def way_in(device: Device, clock: Clock) -> tuple[list[Finding], bool]:
    """Look at the server from outside and inside; also whether the points are worth asking for."""
    from drivers.opcua.inspect import probe

    config: Any = device.config
    now_ns = clock.wall_ns()
    found: list[Finding] = []
    enters = False
    for server in config.servers:
        one = config.model_copy(update={"endpoint": server, "endpoints": []})
        try:
            told = await probe(one, now_ns)
        except DeviceError as error:
            found.append(_refused(device.name, str(error), About.LINK))
            continue
        found += _security(device.name, config, told, now_ns)
        if told.refused:
            found.append(_refused(device.name, told.refused, About.SECURITY))
            continue
        enters = True
        well = told.state == "running" and (told.service_level or 255) >= 200
        found.append(Finding(
            device.name, About.DEVICE, State.GOOD if well else State.DOUBTFUL,
            f"{server}: {told.state}, service level {told.service_level},"
            f" {len(told.namespaces)} namespaces",
            f"{server}:状态 {told.state},服务级别 {told.service_level},"
            f"{len(told.namespaces)} 个命名空间",
            "" if well else "ask whoever runs the server why it is not at its best",
            "" if well else "询问服务器维护人员",
        ))  # fmt: skip
        found += _namespaces(device, told.namespaces)
    return found, enters


async def units(device: Device, clock: Clock) -> list[Finding]:
    """Compare units and ranges of the point table with the server's own."""
    from drivers.opcua.described import described

    ids = {name: at for at, name in enumerate(device.names(), start=1)}
    try:
        told = await described(device.config, device.driver_points(ids), clock)  # type: ignore[arg-type]  # this driver's
    except DeviceError as error:
        return [Finding(
            device.name, About.UNITS, State.NOT_TRIED, f"units were not asked for: {error}",
            "未能读取工程单位", "see the faults of this server", "先处理该服务器的故障",
        )]  # fmt: skip
    rows = list(device.rows)
    pairs = [(rows[at], one.unit) for at, one in told.items() if one.unit]
    different = [(row, unit) for row, unit in pairs if not same_unit(row.settings.unit, unit)]
    ranges = [
        (rows[at], one.low, one.high)
        for at, one in told.items()
        if one.low is not None
        and one.high is not None
        and _other_range(rows[at], one.low, one.high)
    ]
    return [*_unit_findings(device.name, pairs, different), *_range_findings(device.name, ranges)]


def same_unit(ours: str, theirs: str) -> bool:
    """Tell whether two spellings are one unit, or ours is left out."""
    return not ours or _plain(ours) == _plain(theirs)


def _plain(unit: str) -> str:
    small = unit.strip().casefold()
    return _ALIKE.get(small, small).replace(" ", "")


def _other_range(row: PointRow[Any], low: float, high: float) -> bool:
    """Tell whether the table's measuring range is another than the server's, beyond rounding."""
    settings = row.settings
    if settings.scale != 1.0 or settings.offset != 0.0:
        return False  # the server's is of the raw value
    slack = 0.01 * abs(high - low)
    return any(
        ours is not None and abs(ours - theirs) > slack
        for ours, theirs in ((settings.range_low, low), (settings.range_high, high))
    )


def _unit_findings(
    part: str, pairs: Sequence[object], different: Sequence[tuple[PointRow[Any], str]]
) -> Iterator[Finding]:
    if different:
        shown = ", ".join(
            f"{row.tag} {row.settings.unit} / {unit}" for row, unit in different[:_NAMED]
        ) + (f" (+{len(different) - _NAMED})" if len(different) > _NAMED else "")
        yield Finding(
            part, About.UNITS, State.DOUBTFUL,
            f"{len(different)} points have another unit at the server (table / server): {shown}",
            f"{len(different)} 个点位的单位与服务器不同(点表/服务器):{shown}",
            "write the server's unit, or give scale and offset that turn one into the other",
            "改为服务器的单位,或用比例和偏移换算",
        )  # fmt: skip
    elif pairs:
        yield Finding(
            part, About.UNITS, State.GOOD, f"{len(pairs)} units are as in the point table",
            f"{len(pairs)} 个工程单位与点表一致",
        )  # fmt: skip


def _range_findings(
    part: str, ranges: Sequence[tuple[PointRow[Any], float, float]]
) -> Iterator[Finding]:
    if not ranges:
        return
    row, low, high = ranges[0]
    settings = row.settings
    yield Finding(
        part, About.RANGE, State.DOUBTFUL,
        f"{len(ranges)} points have another range at the server: {row.tag}"
        f" {settings.range_low}…{settings.range_high} / {low:g}…{high:g}",
        f"{len(ranges)} 个点位的量程与服务器不同:{row.tag}"
        f" {settings.range_low}…{settings.range_high} / {low:g}…{high:g}",
        "compare with the instrument's data sheet; the table's is what the gateway judges by",
        "与仪表数据表核对;网关按点表的量程判断",
    )  # fmt: skip


def _security(part: str, config: Any, told: Any, now_ns: int) -> Iterator[Finding]:  # noqa: ANN401  # of drivers.opcua
    offered = sorted({f"{one.policy}/{one.mode}" for one in told.endpoints})
    wanted = "None/None" if config.security == "None" else f"{config.security}/{config.mode}"
    fits = wanted in offered
    yield Finding(
        part, About.SECURITY, State.GOOD if fits else State.FAULT,
        f"{wanted} is {'' if fits else 'not '}among what it offers: {', '.join(offered)}",
        f"服务器{'提供' if fits else '不提供'} {wanted};可选:{', '.join(offered)}",
        "" if fits else "set security and mode to one of those, or have the server offer it",
        "" if fits else "把 security/mode 改为其中之一,或请服务器开放",
    )  # fmt: skip
    if config.security == "None":
        strong = [one for one in offered if not one.startswith("None")]
        if strong:
            yield Finding(
                part, About.SECURITY, State.DOUBTFUL,
                "nothing is encrypted or signed, and the server could do better",
                "当前未加密未签名,而服务器支持加密",
                f"use {strong[0]}: `plantgate cert opcua` makes our certificate",
                f"改用 {strong[0]}:plantgate cert opcua 可生成证书",
            )  # fmt: skip
    for print_, subject, until in sorted(
        {(e.thumbprint, e.subject, e.valid_until) for e in told.endpoints if e.thumbprint}
    ):
        left = (dt.date.fromisoformat(until) - _day(now_ns)).days
        good = left > _SOON_DAYS
        yield Finding(
            part, About.CERTIFICATE, State.GOOD if good else State.DOUBTFUL,
            f"{subject}, valid until {until} ({left} days), SHA-256 {print_[:16]}…",
            f"服务器证书 {subject},有效期至 {until}(剩 {left} 天)",
            "" if good else "have the server's certificate renewed, and trust the new one here",
            "" if good else "请服务器更换证书,并在本网关信任新证书",
        )  # fmt: skip


def _namespaces(device: Device, held: Sequence[str]) -> Iterator[Finding]:
    wanted: dict[str, int] = {}
    for row in device.rows:
        node = row.address.target()
        spaces = (
            {step.namespace for step in node.identifier}
            if isinstance(node.identifier, tuple)
            else {node.namespace}
        )
        for space in spaces:
            if isinstance(space, str) and space not in held:
                wanted[space] = wanted.get(space, 0) + 1
    for uri, count in wanted.items():
        yield Finding(
            device.name, About.POINTS, State.FAULT,
            f"{count} points name the namespace {uri}, which the server does not have",
            f"{count} 个点位的命名空间 {uri} 在服务器上不存在",
            f"it has: {', '.join(held[1:]) or 'none of its own'}",
            f"服务器现有:{', '.join(held[1:]) or '无'}",
        )  # fmt: skip


def _refused(part: str, why: str, about: About) -> Finding:
    cause = cause_of(why)
    return Finding(part, about, State.FAULT, why, cause.chinese or why, cause.advice,
                   cause.chinese_advice)  # fmt: skip


def _day(now_ns: int) -> dt.date:
    return dt.datetime.fromtimestamp(now_ns / 1e9, dt.UTC).date()


__all__ = ["same_unit", "units", "way_in"]
