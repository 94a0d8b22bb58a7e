"""When certificates end, said while there is still time: a gateway runs for years.

Guarantees: from SOON_DAYS before its end an event a day names the certificate and the days left;
once it has ended, an event a day says so; a renewed one with more time falls silent. Wall-clock
time judges, as at a receiver; a clock that stepped back says nothing twice within a day.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

SOON_DAYS = 30
"""As `plantgate check` warns: time enough for an order to an authority."""

_DAY_NS = 86_400_000_000_000


@dataclass(slots=True)
class ExpiryWatch:
    """`feed` with what is used now, as often as one likes; it answers at most once a day a file."""

    _told_ns: dict[str, int] = field(default_factory=dict)

    def feed(self, ends: dict[str, int], *, wall_ns: int) -> list[tuple[str, str]]:
        """Give events (kind, text) that are due. `ends`: file → end of validity, ns since 1970."""
        due = []
        for file, end_ns in ends.items():
            left_ns = end_ns - wall_ns
            if left_ns > SOON_DAYS * _DAY_NS:
                self._told_ns.pop(file, None)
                continue
            told_ns = self._told_ns.get(file)
            if told_ns is not None and abs(wall_ns - told_ns) < _DAY_NS:
                continue
            self._told_ns[file] = wall_ns
            due.append(_said(file, end_ns, left_ns))
        return due


def _said(file: str, end_ns: int, left_ns: int) -> tuple[str, str]:
    day = f"{dt.datetime.fromtimestamp(end_ns // 1_000_000_000, dt.UTC):%Y-%m-%d}"
    if left_ns <= 0:
        return "uplink.certificate_expired", (
            f"{file} expired on {day}: a receiver refuses it until it is renewed."
            f" 证书已于{day}过期，更换前上级平台会拒绝连接。"
        )
    days = left_ns // _DAY_NS
    return "uplink.certificate_expires", (
        f"{file} expires on {day}, in {days} days: renew it."
        f" 证书将于{day}到期，剩余{days}天，请更换。"
    )


__all__ = ["SOON_DAYS", "ExpiryWatch"]
