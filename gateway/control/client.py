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
    """No gateway answers at that data directory; one sentence.

    listens: one seems to run there all the same: it is silent, or we may not ask it.
    """

    def __init__(self, said: str, *, listens: bool = False) -> None:
        super().__init__(said)
        self.listens = listens


class RefusedError(Exception):
    """The gateway refused; its sentence."""


def ask(data_dir: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Send one request and give the answer. Raises NotAnsweredError or RefusedError."""
    with _connected(data_dir) as link:
        try:
            link.sendall(json.dumps(request).encode() + b"\n")
            with link.makefile("rb") as stream:
                line = stream.readline()
        except OSError as error:
            said = f"{data_dir}: the gateway does not answer: {error}"
            raise NotAnsweredError(said, listens=True) from error
    if not line.endswith(b"\n"):
        said = f"{data_dir}: the gateway ended before it answered"
        raise NotAnsweredError(said, listens=True)
    answer: dict[str, Any] = json.loads(line)
    if not answer.pop("ok"):
        raise RefusedError(str(answer["error"]))
    return answer


def _connected(data_dir: Path) -> socket.socket:
    """A connection to the gateway of a data directory, on its disk or in memory.

    In memory it listens while the disk takes nothing (buffer/memory_folder.py): a socket that lies
    on the disk then is one that a gateway before it left, and nobody answers there.
    """
    try:
        return _opened(data_dir)
    except OSError as error:
        with suppress(OSError):
            return _in_memory(data_dir)
        listens = not isinstance(error, FileNotFoundError | ConnectionRefusedError)
        if listens:
            text = f"{data_dir}: the gateway does not answer: {error.strerror or error}"
        elif not os.access(data_dir, os.F_OK):
            text = f"{data_dir}: no data directory: {error.strerror}"
        else:
            text = f"{data_dir}: no gateway is running there"
        raise NotAnsweredError(text, listens=listens) from error


def _in_memory(data_dir: Path) -> socket.socket:
    """The same, of a gateway that is in memory; OSError where there is none that can be trusted."""
    from buffer.memory_folder import places

    owners = {os.geteuid()}
    with suppress(OSError):
        owners.add(data_dir.stat().st_uid)
    for place in places(data_dir):
        with suppress(OSError):
            if place.lstat().st_uid in owners:
                return _opened(place)
    raise FileNotFoundError(data_dir)


def _opened(folder: Path) -> socket.socket:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    link = socket.socket(socket.AF_UNIX)
    try:
        link.settimeout(TIMEOUT_S)
        link.connect(f"/proc/self/fd/{handle}/{SOCKET}")  # whose path may be longer than one
    except BaseException:
        link.close()
        raise
    finally:
        os.close(handle)
    return link
