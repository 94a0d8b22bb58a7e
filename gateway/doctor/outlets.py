"""Tries what people are told by, and what site systems hand in by: reached or not. Nothing is sent.

Guarantees: no message leaves; of a broker only its TCP and TLS door is tried, without a login,
because a session with the same client id would throw the gateway out and take its messages.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.config.notify import Notifier, SoundNotifier
from gateway.config.site import Device
from gateway.doctor.causes import cause_of, why_not
from gateway.doctor.finding import About, Finding, State
from gateway.doctor.names import addresses_of

_STEP_S = 8.0


async def try_notifier(one: Notifier) -> list[Finding]:
    """Tell whether a message could leave."""
    if isinstance(one, SoundNotifier):
        return [_sound(one)]
    found = []
    secure = not getattr(one, "insecure", False) or getattr(one, "ca", None) is not None
    if (url := str(getattr(one, "url", ""))).startswith("http://"):
        secure = False
    elif url.startswith("https://"):
        secure = True
    for host, port in one.addresses():
        why = await reach(host, port, getattr(one, "ca", None) if secure else None, tls=secure)
        if why:
            found.append(_fault(one.name, f"{host}:{port}: {why}"))
            continue
        found.append(Finding(
            one.name, About.LINK, State.GOOD,
            f"{host}:{port} is reached{' by TLS' if secure else ''}; no message was sent"
            f" (`plantgate notify test` sends one)",
            f"{host}:{port} 可达,未发送消息(plantgate notify test 可试发)",
        ))  # fmt: skip
    return found


async def try_intake(device: Device) -> list[Finding]:
    """Tell whether a site system could hand in."""
    config: Any = device.config
    match device.driver.name:
        case "intake_mqtt":
            why = await reach(config.host, config.port, config.ca, tls=config.ca is not None)
            if why:
                return [_fault(device.name, f"{config.host}:{config.port}: {why}")]
            return [Finding(
                device.name, About.LINK, State.GOOD,
                f"the broker {config.host}:{config.port} is reached; its login is not tried, since"
                " that would take messages",
                f"消息服务器 {config.host}:{config.port} 可达;未试登录,以免取走消息",
            )]  # fmt: skip
        case "intake_folder":
            good = os.access(config.folder, os.R_OK | os.W_OK | os.X_OK)
            return [Finding(
                device.name, About.LINK, State.GOOD if good else State.FAULT,
                f"{config.folder} {'can' if good else 'cannot'} be read and written",
                f"{config.folder} {'可读写' if good else '不可读写'}",
                "" if good else "give the gateway's user rights to the folder",
                "" if good else "授予网关用户读写权限",
            )]  # fmt: skip
        case _:
            host, port = config.address
            return [await asyncio.to_thread(_listens, device.name, host, port)]


def _listens(part: str, host: str, port: int) -> Finding:
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, port))
        except OSError as error:
            return Finding(
                part, About.LINK, State.FAULT, f"{host}:{port} cannot be listened on:"
                f" {error.strerror}", f"{host}:{port} 无法监听:{error.strerror}",
                "take an address of this machine and a port that is free (ss -ltnp)",
                "使用本机地址和空闲端口(ss -ltnp 查看占用)",
            )  # fmt: skip
    return Finding(
        part,
        About.LINK,
        State.GOOD,
        f"{host}:{port} is free for senders",
        f"{host}:{port} 端口空闲",
    )


async def reach(host: str, port: int, ca: Path | None, *, tls: bool) -> str:
    """Connect, and shake hands with TLS; why that failed, or nothing."""
    if isinstance(why := await addresses_of(host, port), str):
        return why
    try:
        context = None
        if tls:
            context = await asyncio.to_thread(ssl.create_default_context, cafile=ca)
        async with asyncio.timeout(_STEP_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.close()
        with suppress(OSError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(1.0):
                await writer.wait_closed()
    except TimeoutError:
        return f"no TCP connection within {_STEP_S:g} s"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not accepted: {error.verify_message}"
    except ssl.SSLError as error:
        return f"no TLS connection: {error.reason or error}"
    except OSError as error:
        return why_not(error)
    return ""


def _sound(one: SoundNotifier) -> Finding:
    program = one.command[0] if one.command else "aplay"
    there = shutil.which(program) is not None
    return Finding(
        one.name, About.LINK, State.GOOD if there else State.FAULT,
        f"{program} is {'there' if there else 'not installed'}; no tone was played"
        " (`plantgate notify test` plays one)",
        f"{program} {'已安装' if there else '未安装'};未发声(plantgate notify test 可试听)",
        "" if there else f"install {program} (aplay is in Debian's alsa-utils), or give a command",
        "" if there else "安装 alsa-utils 或改用其他命令",
    )  # fmt: skip


def _fault(part: str, why: str) -> Finding:
    cause = cause_of(why)
    return Finding(part, About.LINK, State.FAULT, why, f"未连通:{cause.chinese or why}",
                   cause.advice, cause.chinese_advice)  # fmt: skip


__all__ = ["reach", "try_intake", "try_notifier"]
