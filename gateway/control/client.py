"""Asks a running gateway on this machine, for the command line."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.control.server import SOCKET

TIMEOUT_S = 10.0


class NotAnsweredError(Exception):
    """No gateway answers at that data directory; one sentence."""


class RefusedError(Exception):
    """The gateway refused; its sentence."""


def ask(data_dir: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Send one request and give the answer. Raises NotAnsweredError or RefusedError."""
    try:
        folder = os.open(_folder(data_dir), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NotAnsweredError(f"{data_dir}: no data directory: {error.strerror}") from error
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(TIMEOUT_S)
            link.connect(f"/proc/self/fd/{folder}/{SOCKET}")
            link.sendall(json.dumps(request).encode() + b"\n")
            with link.makefile("rb") as stream:
                line = stream.readline()
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotAnsweredError(f"{data_dir}: no gateway is running there") from error
    except OSError as error:
        raise NotAnsweredError(f"{data_dir}: the gateway does not answer: {error}") from error
    finally:
        os.close(folder)
    if not line.endswith(b"\n"):
        raise NotAnsweredError(f"{data_dir}: the gateway ended before it answered")
    answer: dict[str, Any] = json.loads(line)
    if not answer.pop("ok"):
        raise RefusedError(str(answer["error"]))
    return answer


def _folder(data_dir: Path) -> Path:
    """Where the gateway listens: elsewhere while its disk takes nothing (buffer/stand_in.py)."""
    with suppress(OSError):
        if os.statvfs(data_dir).f_flag & os.ST_RDONLY or not (data_dir / SOCKET).exists():
            from buffer.stand_in import places

            owners = {data_dir.stat().st_uid, os.geteuid()}
            for place in places(data_dir):
                with suppress(OSError):
                    if place.lstat().st_uid in owners and (place / SOCKET).exists():
                        return place
    return data_dir
