"""Words the driver's SourceEvents, and counts values that a server's queues dropped. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from drivers.contract import SourceEvent, quality_word
from drivers.opcua.alarms import AlarmEvent
from drivers.opcua.expiry import OURS, SERVERS, USERS

_NAMED_POINTS = 5
_CERTIFICATES: Mapping[str, tuple[str, str, str]] = {
    OURS: (
        "本网关", "renew it and have the server trust the new one", "请更换并让服务器信任新证书",
    ),
    USERS: ("登录用户", "renew it and have the server know the new one", "请更换并在服务器登记"),
    SERVERS: (
        "服务器", "have it renewed and trust the new one here",
        "请服务器更换，并在本网关信任新证书",
    ),
}  # fmt: skip
_OVERFLOW_PERIOD_NS = 60 * 10**9

Attributes = Mapping[str, str | int | float | bool]


class EventMaker:
    """Makes the events of one device."""

    def __init__(self, device: str, endpoint: str) -> None:
        self._device = device
        self._endpoint = endpoint

    def link_up(
        self, now_ns: int, endpoint: str, *, publishing_ms: float, points: int, resumed: bool
    ) -> SourceEvent:
        """The session and subscription stand; resumed: they are those of before."""
        return self._event(
            "link.up",
            now_ns,
            f"{self._device}: connected to {endpoint}, {points} points subscribed every"
            f" {publishing_ms:g} ms{', subscription resumed' if resumed else ''}.",
            {
                "publishing_ms": publishing_ms,
                "points": points,
                "endpoint": endpoint,
                "resumed": resumed,
            },
        )

    def link_down(self, now_ns: int, why: str) -> SourceEvent:
        """The server cannot be reached, or is lost."""
        return self._event("link.down", now_ns, f"{self._device}: {why}.", {})

    def gap(
        self, now_ns: int, from_ns: int, *, cause: str, count: int = 0, points: int = 0
    ) -> SourceEvent:
        """Values from `from_ns` to now may be missing; count and points 0 where nobody knows."""
        seconds = (now_ns - from_ns) / 1e9
        counted = f"{count} notifications" if count else "values"
        return self._event(
            "opcua.gap",
            now_ns,
            f"{self._device}: {counted} of {seconds:.1f} s may be missing"
            f"{f' on {points} points' if points else ''} ({cause}).",
            {
                "from_ns": from_ns,
                "to_ns": now_ns,
                "cause": cause,
                "count": count,
                "points": points,
            },
        )

    def backfill(
        self, now_ns: int, span_ns: tuple[int, int], *, values: int, points: int
    ) -> SourceEvent:
        """History of an outage was read back; its batches came before this."""
        seconds = (span_ns[1] - span_ns[0]) / 1e9
        return self._event(
            "opcua.backfill",
            now_ns,
            f"{self._device}: {values} values of {points} points read back from the server's"
            f" history for an outage of {seconds:.1f} s.",
            {"from_ns": span_ns[0], "to_ns": span_ns[1], "values": values, "points": points},
        )

    def overflow(self, now_ns: int, from_ns: int, count: int) -> SourceEvent:
        """The server's item queues ran over."""
        return self._event(
            "opcua.gap",
            now_ns,
            f"{self._device}: the server dropped values of its own queues {count} times; raise"
            " queue_size or sampling_ms.",
            {"from_ns": from_ns, "to_ns": now_ns, "cause": "queue_overflow", "count": count},
        )

    def events_lost(self, now_ns: int) -> SourceEvent:
        """The server's queue of events ran over."""
        return self._event(
            "opcua.gap",
            now_ns,
            f"{self._device}: the server dropped events of its own queue, perhaps alarms among"
            " them; the standing ones are asked for again.",
            {"from_ns": now_ns, "to_ns": now_ns, "cause": "event_queue_overflow", "count": 0},
        )

    def deaf(self, now_ns: int, why: str) -> SourceEvent:
        """The server goes on publishing, but does not answer what it is asked."""
        return self._event(
            "device.warning",
            now_ns,
            f"{self._device}: the server publishes, but answers no reads in time ({why}): values"
            " that do not change are not confirmed, and its state is not known.",
            {},
        )

    def refused(self, now_ns: int, tags: Mapping[str, int], retry_s: int) -> SourceEvent:
        """The server refused to watch these tags; `tags` gives each one's quality."""
        words = Counter(quality_word(quality) for quality in tags.values())
        counted = ", ".join(f"{count} {word}" for word, count in words.most_common())
        return self._event(
            "device.illegal_address",
            now_ns,
            f"{self._device}: the server refused {len(tags)} points ({counted}):"
            f" {_named(list(tags))}; asked again every {retry_s} s.",
            {"points": len(tags)},
        )

    def slower(
        self, now_ns: int, tags: Sequence[str], asked_ms: float, granted_ms: float
    ) -> SourceEvent:
        """The server samples these tags more slowly than asked."""
        return self._event(
            "device.warning",
            now_ns,
            f"{self._device}: the server samples {len(tags)} points only every {granted_ms:g} ms"
            f" instead of {asked_ms:g} ms: {_named(tags)}; what is shorter is not seen, and alarms"
            " come so much later.",
            {"points": len(tags), "asked_ms": asked_ms, "granted_ms": granted_ms},
        )

    def shorter(self, now_ns: int, tags: Sequence[str], granted: int) -> SourceEvent:
        """The server keeps fewer values of these tags than come between two notifications."""
        return self._event(
            "device.warning",
            now_ns,
            f"{self._device}: the server keeps only {granted} of the values of {len(tags)} points"
            f" between two notifications: {_named(tags)}; the others are lost without a word: lower"
            " publish_ms, or raise sampling_ms.",
            {"points": len(tags), "granted": granted},
        )

    def unpublished(self, now_ns: int, tags: Sequence[str]) -> SourceEvent:
        """Values of these tags had changed, and the server had not said so."""
        return self._event(
            "device.warning",
            now_ns,
            f"{self._device}: {len(tags)} points had changed, but the server did not publish it:"
            f" {_named(tags)}; they are watched anew.",
            {"points": len(tags)},
        )

    def certificate(self, now_ns: int, whose: str, end_ns: int) -> SourceEvent:
        """A certificate ends soon, or has ended: nothing is read any more at the next connect."""
        day = f"{datetime.fromtimestamp(end_ns // 10**9, UTC):%Y-%m-%d}"
        days = (end_ns - now_ns) // (86_400 * 10**9)
        chinese, todo, zh = _CERTIFICATES[whose]
        when, then = f"ends on {day}, in {days} days", f"将于{day}到期，剩余{days}天"
        if days < 0:
            when, then = f"ended on {day}", f"已于{day}过期"
        text = (
            f"{self._device}: {whose} certificate {when}: {todo}, else nothing is read after the"
            f" next connect {chinese}证书{then}：{zh}，否则重新连接后无法采集."
        )
        said: Attributes = {"whose": whose, "until": day, "days": days}
        return self._event("device.certificate", now_ns, text, said)

    def unsaved(self, now_ns: int, why: str) -> SourceEvent:
        """What has to survive our own end cannot be written; why empty: it can again."""
        text = "what has to survive a restart is written again 状态文件已恢复写入."
        if why:
            text = (
                f"what has to survive a restart of the gateway cannot be written ({why}): values go"
                " on; after a restart some may come twice, and some not be read back"
                " 状态文件无法写入，采集继续，重启后可能重复或缺少补采."
            )
        return self._event("device.warning", now_ns, f"{self._device}: {text}", {})

    def server_state(self, now_ns: int, word: str) -> SourceEvent:
        """The server says of itself that it does not run, or runs again."""
        return self._event(
            "device.warning",
            now_ns,
            f"{self._device}: the server says that it is {word}.",
            {},
        )

    def misfits(self, now_ns: int, tags: Sequence[str]) -> SourceEvent:
        """Values that do not fit the declared type."""
        return self._event(
            "device.config_error",
            now_ns,
            f"{self._device}: values of {len(tags)} points do not fit their type:"
            f" {_named(tags)}; compare column `type` with the server.",
            {"points": len(tags)},
        )

    def unread(self, now_ns: int, tags: Sequence[str], node: str, why: str) -> SourceEvent:
        """Fields of a structure, or an element of an array, that cannot be read."""
        return self._event(
            "device.config_error",
            now_ns,
            f"{self._device}: no value for {_named(tags)} at {node}: {why}.",
            {"points": len(tags)},
        )

    def alarm(self, now_ns: int, event: AlarmEvent, *, refreshed: bool) -> SourceEvent:
        """An alarm of the plant's own, as the server says it; refreshed: it stood before."""
        found = event.attributes
        words = []
        if "active" in found:
            words.append("active" if found["active"] else "not active")
        if "acknowledged" in found:
            words.append("acknowledged" if found["acknowledged"] else "not acknowledged")
        if found.get("enabled") is False:
            words.append("disabled")
        state = f" ({', '.join(words)})" if words else ""
        source = found.get("source_name") or found.get("source_node", "")
        return self._event(
            "opcua.alarm",
            event.time_ns or now_ns,
            f"{self._device}: {source}: {found.get('message', '')}{state}.",
            dict(found) | {"refreshed": refreshed, "received_ns": now_ns},
        )

    def refresh(self, now_ns: int, *, begins: bool) -> SourceEvent:
        """The server begins or has ended to say once more which alarms stand."""
        words = "says once more which alarms stand" if begins else "has said which alarms stand"
        return self._event(
            "opcua.refresh", now_ns, f"{self._device}: the server {words}.", {"begins": begins}
        )

    def no_alarms(self, now_ns: int, why: str) -> SourceEvent:
        """The server offers no events, or will not say which alarms stand."""
        return self._event(
            "device.warning", now_ns, f"{self._device}: no alarms from this server: {why}.", {}
        )

    def shifted(self, now_ns: int, hours: int) -> SourceEvent:
        """The server's clock is wrong by whole hours; 0: no longer."""
        if hours:
            text = (
                f"{self._device}: the server's time stamps are {abs(hours)} h"
                f" {'ahead of' if hours > 0 else 'behind'} UTC, as if local time were sent as UTC;"
                ' set its clock or time zone right, or time = "gateway" for this device.'
            )
        else:
            text = f"{self._device}: the server's time stamps are right again."
        return self._event("device.clock", now_ns, text, {"hours": hours})

    def clock_apart(self, now_ns: int, apart_s: int) -> SourceEvent:
        """The server's own clock is not ours; 0: it is again."""
        text = f"{self._device}: the server's clock and the gateway's agree again."
        if apart_s:
            text = (
                f"{self._device}: the server's clock is {_span(abs(apart_s))}"
                f" {'ahead of' if apart_s > 0 else 'behind'} the gateway's; set the wrong one"
                ' right, or time = "gateway" for this device.'
            )
        return self._event("device.clock", now_ns, text, {"apart_s": apart_s})

    def type_mismatch(self, now_ns: int, tags: Sequence[str], complaint: str) -> SourceEvent:
        """What the point table says does not fit what the server says."""
        return self._event(
            "device.config_error",
            now_ns,
            f"{self._device}: {len(tags)} points {complaint}: {_named(tags)}.",
            {"points": len(tags)},
        )

    def failover(self, now_ns: int, endpoint: str, why: str) -> SourceEvent:
        """Another server of the redundant set takes over."""
        return self._event(
            "opcua.failover",
            now_ns,
            f"{self._device}: changed to {endpoint}, because {why}.",
            {"endpoint": endpoint},
        )

    def no_deadband(self, now_ns: int, tags: Sequence[str]) -> SourceEvent:
        """The server refused the deadband of these tags; they are watched without."""
        return self._event(
            "device.warning",
            now_ns,
            f"{self._device}: the server refused the deadband of {len(tags)} points:"
            f" {_named(tags)}; every change is taken instead (percent needs an EURange).",
            {"points": len(tags)},
        )

    def renumbered(self, now_ns: int, moved: Mapping[int, str], tags: Sequence[str]) -> SourceEvent:
        """The server has numbered its namespaces anew, and points are named by their number."""
        named = ", ".join(f"ns={old} was {uri}" for old, uri in moved.items())
        return self._event(
            "device.warning",
            now_ns,
            f"{self._device}: the server numbers its namespaces anew: {named}. The points that name"
            f" only the number are read in the namespace that was meant: {_named(tags)}; write"
            " nsu=<URI> instead.",
            {"points": len(tags)},
        )

    def bare_index(self, now_ns: int, tags: Sequence[str]) -> SourceEvent:
        """Points named by a namespace index, which a server may change at any restart."""
        return self._event(
            "device.warning",
            now_ns,
            f"{self._device}: {len(tags)} points use a bare ns= index: {_named(tags)}; write"
            " nsu=<URI> instead, since a server may number its namespaces anew.",
            {"points": len(tags)},
        )

    def _event(self, kind: str, now_ns: int, text: str, attributes: Attributes) -> SourceEvent:
        return SourceEvent(kind, self._device, now_ns, text, attributes)


class OverflowTally:
    """Gathers overflow marks: the first is told at once, further ones once a minute."""

    __slots__ = ("_count", "_from_ns", "_told_ns")

    def __init__(self) -> None:
        self._count = 0
        self._from_ns = 0
        self._told_ns: int | None = None

    def add(self, count: int, now_ns: int) -> None:
        """Note overflowed values. now_ns: wall clock."""
        if count and not self._count:
            self._from_ns = now_ns
        self._count += count

    def due(self, now_ns: int, monotonic_ns: int) -> tuple[int, int] | None:
        """Give (since when, how many) if it is time to tell, and begin anew."""
        if not self._count:
            return None
        if self._told_ns is not None and monotonic_ns - self._told_ns < _OVERFLOW_PERIOD_NS:
            return None
        told = (min(self._from_ns, now_ns), self._count)
        self._count = 0
        self._told_ns = monotonic_ns
        return told


def _span(seconds: int) -> str:
    """Write a time as people say it."""
    for unit, least in (("days", 172_800), ("h", 7_200), ("min", 120)):
        if seconds >= least:
            return f"{seconds / {'days': 86_400, 'h': 3_600, 'min': 60}[unit]:.1f} {unit}"
    return f"{seconds} s"


def _named(tags: Sequence[str]) -> str:
    more = ", …" if len(tags) > _NAMED_POINTS else ""
    return ", ".join(tags[:_NAMED_POINTS]) + more


__all__ = ["EventMaker", "OverflowTally"]
