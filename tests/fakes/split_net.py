"""Network namespaces on one bridge, between any two of which packets can be dropped.

Needs root. Nothing of it touches the machine's own network; leaving it removes everything.

    with SplitNet("pg-1", 4) as net:
        subprocess.Popen([*net.within(0), "server", "--listen", net.address(0)])
        net.part({0}, {1, 2})           # 3 still speaks to all of them
        net.heal()

A packet that is dropped is answered by nothing, as on a line that is cut: connections stay open
at both ends until somebody's patience ends.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from typing import Self

_CHAIN = "PARTED"


class SplitNet:
    """`count` namespaces named after `prefix` (at most 8 characters), numbered from 0."""

    def __init__(self, prefix: str, count: int) -> None:
        self._prefix, self._count = prefix, count

    def address(self, number: int) -> str:
        """Address of one namespace; others reach it by that."""
        return f"10.78.0.{number + 1}"

    def within(self, number: int) -> list[str]:
        """Start of a command that runs in one namespace."""
        return ["ip", "netns", "exec", self._name(number)]

    def part(self, some: Collection[int], others: Collection[int]) -> None:
        """Drop every packet between these."""
        for one in some:
            for other in others:
                for way, end in (("-s", "INPUT"), ("-d", "OUTPUT")):
                    self._iptables(one, "-A", f"{_CHAIN}-{end}", way, self.address(other),
                                   "-j", "DROP")  # fmt: skip

    def heal(self) -> None:
        """Let everything through again."""
        for number in range(self._count):
            for end in ("INPUT", "OUTPUT"):
                self._iptables(number, "-F", f"{_CHAIN}-{end}")

    def __enter__(self) -> Self:
        try:
            hub = f"{self._prefix}-hub"
            _run("ip", "netns", "add", hub)
            _run("ip", "-n", hub, "link", "add", "bridge", "type", "bridge")
            _run("ip", "-n", hub, "link", "set", "bridge", "up")
            for number in range(self._count):
                self._make(hub, number)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _make(self, hub: str, number: int) -> None:
        name, port = self._name(number), f"port{number}"
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", "line", "netns", name, "type", "veth",
             "peer", "name", port, "netns", hub)  # fmt: skip
        _run("ip", "-n", hub, "link", "set", port, "master", "bridge", "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "line")
        _run("ip", "-n", name, "link", "set", "line", "up")
        for end in ("INPUT", "OUTPUT"):
            self._iptables(number, "-N", f"{_CHAIN}-{end}")
            self._iptables(number, "-A", end, "-j", f"{_CHAIN}-{end}")

    def _remove(self) -> None:
        for name in (*map(self._name, range(self._count)), f"{self._prefix}-hub"):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def _name(self, number: int) -> str:
        return f"{self._prefix}-{number}"

    def _iptables(self, number: int, *rule: str) -> None:
        _run(*self.within(number), "iptables", "--wait", *rule)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
