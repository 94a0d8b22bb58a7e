"""Browsing as the server sees it: one request at a time, and a pause before each."""

from __future__ import annotations

import struct

from drivers.opcua.config import OpcUaConfig
from drivers.opcua.inspect import Walk, browse
from tests.fakes.opcua_server import OpcUaServer
from tests.fakes.wiretap import Spoiler, Wiretap

PAUSE_NS = 50_000_000


def requests(sent: bytes) -> int:
    """Count the requests in what a client has sent: chunks of messages that end one."""
    count = at = 0
    while at + 8 <= len(sent):
        count += sent[at : at + 4] == b"MSGF"
        at += struct.unpack_from("<I", sent, at + 4)[0]
    assert at == len(sent), "half a message"
    return count


class TellingClock:
    """Time that passes only by waiting; notes how many requests the server had at each wait."""

    def __init__(self, tap: Wiretap) -> None:
        self._tap = tap
        self._now_ns = 0
        self.seen: list[int] = []
        self.waited_ns: list[int] = []

    def wall_ns(self) -> int:
        return 1_800_000_000_000_000_000 + self._now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    async def sleep_until(self, monotonic_ns: int) -> None:
        self.waited_ns.append(monotonic_ns - self._now_ns)
        self.seen.append(requests(bytes(self._tap.sent[-1])))
        self._now_ns = monotonic_ns


async def test_each_request_waits_for_the_answer_before_and_for_a_pause() -> None:
    async with (
        OpcUaServer(120) as server,
        Wiretap(server.port, Spoiler(0, share=0)) as tap,
    ):
        endpoint = f"opc.tcp://127.0.0.1:{tap.port}/UA/Fake"
        config = OpcUaConfig.model_validate(
            {"endpoint": endpoint, "security": "None", "insecure": True}
        )
        clock = TellingClock(tap)
        found = await browse(config, Walk(("/Objects/D*",), pause_s=PAUSE_NS / 1e9), clock)
    assert len(found) == 120
    assert len(clock.seen) > 10
    # were two ever on their way together, two waits would see the same number of requests
    assert clock.seen == list(range(clock.seen[0], clock.seen[0] + len(clock.seen)))
    assert set(clock.waited_ns) == {PAUSE_NS}
