"""Tells of a second gateway of one id on this machine that sends to the same receiver.

Each replaces the other's connections there without end, since to the receiver they are one box that
began anew; so it is said here, where the kernel knows.

Guarantees: a name in the kernel for each receiver, gone with the process; nothing is refused, and a
name that cannot be had for another reason costs nothing. Once the other has ended, all is well.
Constraint: gateways in network namespaces of their own do not see each other.
"""

from __future__ import annotations

import errno
import hashlib
import socket
from collections.abc import Callable, Iterable
from typing import Self


class Sole:
    """Of one gateway, as a context manager. targets: its receivers; tell: takes a sentence."""

    def __init__(
        self, gateway: str, targets: Iterable[str], tell: Callable[[str], object] = bool
    ) -> None:
        self._gateway = gateway
        self._tell = tell
        self._names = {
            target: f"\0plantgate/{hashlib.sha256(f'{gateway} {target}'.encode()).hexdigest()}"
            for target in targets
        }
        self._held: dict[str, socket.socket] = {}

    def __enter__(self) -> Self:
        """Take the names, and tell of another gateway."""
        if said := self.taken():
            self._tell(said)
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of all names."""
        for found in self._held.values():
            found.close()
        self._held.clear()

    def taken(self) -> str:
        """Take the names that are not held yet; a sentence where another gateway has one."""
        for target, name in self._names.items():
            if target in self._held:
                continue
            found = socket.socket(socket.AF_UNIX)
            try:
                found.bind(name)
            except OSError as error:
                found.close()
                if error.errno == errno.EADDRINUSE:
                    return self._said(target)
                continue
            self._held[target] = found
        return ""

    def _said(self, target: str) -> str:
        return (
            f"Another gateway with the id {self._gateway} runs on this machine and sends to"
            f" {target}: each replaces the other's connections, and all is late. End one of them."
            " 本机另有同一编号的网关在向同一接收端上传，两者互相顶替连接，请停止其中之一。"
        )


__all__ = ["Sole"]
