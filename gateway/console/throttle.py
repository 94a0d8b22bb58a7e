"""Slows down who tries passwords. Pure: time is monotonic and an argument.

Guarantees: after FREE wrong passwords of one name or from one address the next try must wait, twice
as long each time: a name at most MOST_NAME_S (or anybody could lock a person out of the console),
an address at most MOST_ADDRESS_S. Wrong ones are forgotten FORGET_S after the last of them. At most
MOST_KEYS names and addresses are remembered; the one that failed longest ago gives way. IPv6
addresses count by their /64, which one machine owns whole (RFC 6177).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

S = 1_000_000_000
FREE = 5
MOST_NAME_S = 30
MOST_ADDRESS_S = 900
FORGET_S = 3600
MOST_KEYS = 4096


@dataclass(slots=True)
class _Failed:
    count: int
    last_ns: int
    until_ns: int


class Throttle:
    """Failed sign-ins by name and by address."""

    def __init__(self) -> None:
        self._failed: OrderedDict[tuple[str, str], _Failed] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failed)

    def wait_s(self, name: str, address: str, *, now_ns: int) -> int:
        """How long this one must wait before the next try, in whole seconds; 0 for not at all."""
        until_ns = 0
        for key in _keys(name, address):
            found = self._failed.get(key)
            if found is not None and now_ns - found.last_ns < FORGET_S * S:
                until_ns = max(until_ns, found.until_ns)
        return max(0, -(-(until_ns - now_ns) // S))

    def failed(self, name: str, address: str, *, now_ns: int) -> int:
        """Count a wrong password; gives how many this address has had."""
        count = 0
        for key, most_s in zip(_keys(name, address), (MOST_NAME_S, MOST_ADDRESS_S), strict=True):
            found = self._failed.pop(key, None)
            if found is None or now_ns - found.last_ns >= FORGET_S * S:
                found = _Failed(0, now_ns, 0)
            count = found.count = found.count + 1
            found.last_ns = now_ns
            if count >= FREE:
                found.until_ns = now_ns + min(most_s, 1 << min(count - FREE, 20)) * S
            self._failed[key] = found
            while len(self._failed) > MOST_KEYS:
                self._failed.popitem(last=False)
        return count

    def succeeded(self, name: str, address: str) -> None:
        """Forget the wrong ones of a name and an address: the right password came."""
        for key in _keys(name, address):
            self._failed.pop(key, None)


class Allowance:
    """So many at once, and one more each `refill_ns`; what was not allowed is counted."""

    def __init__(self, most: int, refill_ns: int) -> None:
        self._most = most
        self._refill_ns = refill_ns
        self._left = most
        self._since_ns = 0
        self._refused = 0

    def take(self, *, now_ns: int) -> int | None:
        """How many were refused since the last that was allowed; None if this one is refused."""
        gained = (now_ns - self._since_ns) // self._refill_ns
        if gained > 0:
            self._left = min(self._most, self._left + gained)
            self._since_ns += gained * self._refill_ns
        if self._left <= 0:
            self._refused += 1
            return None
        self._left -= 1
        refused, self._refused = self._refused, 0
        return refused


def _keys(name: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("name", name[:64]), ("address", _block(address))


def _block(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
