"""How a gateway that runs here sees its devices, cameras and receivers, in place of a second look.

A second connection beside the gateway's can cost plant data: many devices take one client and drop
the other, a serial port has one user, a recorder counts logins. So while it runs it is asked.

Guarantees: nothing but questions on the control socket; every wait is bounded.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.config.site import Site
from gateway.control.client import NotAnsweredError, RefusedError, ask
from gateway.doctor.causes import cause_of
from gateway.doctor.finding import MACHINE, About, Finding, State

_PAGE = 500
_WAIT_S = 0.5
_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class View:
    """The gateway's own picture. quality: words by point, of those that it has heard.

    mute: why it does not answer, where one listens and does not.
    """

    sections: Mapping[str, Any]
    site: Mapping[str, Any]
    quality: Mapping[str, str] = field(default_factory=dict)
    mute: str = ""


async def view(site: Site) -> View | None:
    """Ask the gateway that runs on the site's data directory; None where none runs."""
    data_dir = site.gateway.data_dir
    try:
        state = await asyncio.to_thread(ask, data_dir, {"ask": "state"})
        names = [name for device in site.devices for name in device.names()]
        quality: dict[str, str] = {}
        for _ in range(_ROUNDS):
            await asyncio.to_thread(_ask_values, data_dir, names, quality)
            if len(quality) >= len(names):
                break
            await asyncio.sleep(_WAIT_S)  # values count from the first question on
    except NotAnsweredError as error:
        return View({}, {}, mute=str(error)) if error.listens else None
    except RefusedError as error:
        return View({}, {}, mute=str(error))
    return View(state["sections"], state["site"], quality)


def _ask_values(data_dir: Path, names: list[str], quality: dict[str, str]) -> None:
    missing = [name for name in names if name not in quality]
    for start in range(0, len(missing), _PAGE):
        request = {"ask": "values", "names": missing[start : start + _PAGE]}
        for row in ask(data_dir, request)["rows"]:
            if row["quality"]:
                quality[row["name"]] = row["quality"]


def findings_of(seen: View, site: Site) -> list[Finding]:
    """Say how the gateway sees what the site file names."""
    if seen.mute:
        return [Finding(
            MACHINE, About.GATEWAY, State.NOT_TRIED,
            f"a gateway runs here and does not answer ({seen.mute}): nothing was tried beside it",
            f"本机网关在运行但不应答({seen.mute}):未试连任何设备",
            "run this as the gateway's user (sudo -u plantgate plantgate check …), or stop the"
            " gateway first; --beside connects all the same",
            "用网关的运行用户执行(sudo -u plantgate …),或先停止网关;--beside 可强制试连",
        )]  # fmt: skip
    software = seen.site.get("software", "")
    found = [Finding(
        MACHINE, About.GATEWAY, State.GOOD,
        f"a gateway ({software}) runs on {site.gateway.data_dir}; it was asked for its devices,"
        " cameras and receivers, since a second connection may disturb the first",
        f"网关({software})正在运行:设备、摄像机和上传状态取自网关本身,未另建连接",
    )]  # fmt: skip
    sources, cameras = seen.sections.get("sources", {}), seen.sections.get("cameras", {})
    for device in site.devices:
        found += _source(device.name, sources.get(device.name))
        found += _values(device.name, device.names(), seen.quality)
    for camera in site.cameras:
        found += _source(camera.name, cameras.get(camera.name))
    uplinks = seen.sections.get("uplinks", {})
    for uplink in site.uplinks:
        found += _uplink(uplink.name, uplinks.get(uplink.name))
    return found


def _source(part: str, link: Mapping[str, Any] | None) -> Iterator[Finding]:
    if link is None:
        yield Finding(
            part, About.LINK, State.NOT_TRIED, "the running gateway does not know it",
            "正在运行的网关没有这一项",
            "the site file has changed since: apply it (systemctl reload plantgate)",
            "配置文件已更改:请先重新加载(systemctl reload plantgate)",
        )  # fmt: skip
        return
    trouble = str(link.get("text") or link.get("view") or "")
    if link["connected"] is None:
        yield Finding(
            part, About.LINK, State.NOT_TRIED, "the gateway has not heard of it since its start",
            "网关启动后尚无消息", "wait a minute and try again", "稍候再试",
        )  # fmt: skip
    elif not link["connected"] or trouble:
        cause = cause_of(trouble)
        yield Finding(
            part, About.LINK, State.DOUBTFUL if link["connected"] else State.FAULT,
            trouble or "not connected", cause.chinese or trouble or "未连接",
            cause.advice, cause.chinese_advice,
        )  # fmt: skip
    else:
        yield Finding(part, About.LINK, State.GOOD, "connected", "已连接")


def _values(part: str, names: list[str], quality: Mapping[str, str]) -> Iterator[Finding]:
    if not names:
        return
    words = Counter(quality.get(name, "no value yet") for name in names)
    good = sum(count for word, count in words.items() if word.startswith("good"))
    rest = {word: count for word, count in words.items() if not word.startswith("good")}
    named = [name.partition("/")[2] for name in names
             if not quality.get(name, "").startswith("good")][:5]  # fmt: skip
    shown = ", ".join(f"{count} {word}" for word, count in sorted(rest.items()))
    yield Finding(
        part, About.POINTS, State.DOUBTFUL if rest else State.GOOD,
        f"{good} of {len(names)} points good" + (f"; {shown}: {', '.join(named)}" if rest else ""),
        f"{len(names)} 个点位中 {good} 个良好" + (f";{shown}:{', '.join(named)}" if rest else ""),
        "" if not rest else "the console shows each with its reason; stop the gateway and run this"
        " again to have each register tried",
        "" if not rest else "控制台逐点显示原因;停止网关后再运行本命令可逐个试读",
    )  # fmt: skip


def _uplink(part: str, link: Mapping[str, Any] | None) -> Iterator[Finding]:
    if link is None:
        yield from _source(part, None)
        return
    if link["connected"]:
        waiting = link["backlog_records"] or 0
        yield Finding(
            part, About.LINK, State.GOOD,
            f"connected to {link['target']}, {waiting:.0f} records wait",
            f"已连接 {link['target']},待传 {waiting:.0f} 条记录",
        )  # fmt: skip
        return
    why = str(link["text"] or "not connected")
    cause = cause_of(why)
    yield Finding(
        part, About.LINK, State.FAULT, why, cause.chinese or why, cause.advice, cause.chinese_advice
    )


__all__ = ["View", "findings_of", "view"]
