"""Evidence files: what a policy withholds, small pictures, and files sent on request over a cut."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from buffer.contract import Stream
from gateway.receiver.evidence import EvidenceFiles
from gateway.uplink.client import FILES_STATE
from gateway.uplink.file_policy import THUMBNAIL_BYTES, FilePolicy
from gateway.uplink.thumbnail import thumbnail
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import SmallLog
from tests.gateway.receiver.conftest import RunReceiver, run_receiver
from tests.gateway.uplink.test_client import PATIENT, Destination, running
from tests.waiting import until
from vision.clip import AVI, Picture, avi, middle_picture

__all__ = ["run_receiver"]
DAY_NS = 86_400 * 1_000_000_000


def photo(seed: int = 1) -> bytes:
    """A JPEG of some 300 kB: noise compresses badly."""
    rng = np.random.default_rng(seed)
    done, encoded = cv2.imencode(".jpg", rng.integers(0, 255, (480, 640, 3), np.uint8))
    assert done
    return encoded.tobytes()


async def put(log: SmallLog, content: bytes, media_type: str) -> bytes:
    name = await log.put_file(content)
    file = wire.EvidenceFile(sha256=name, total_bytes=len(content), media_type=media_type)
    log.put(Stream.EVIDENCE, file.SerializeToString())
    return name


@pytest.mark.parametrize(
    ("kind", "withheld"),
    [
        ("none", [True, True]),
        ("thumbnail", [True, True]),
        ("picture", [False, True]),
        ("clip", [False, False]),
    ],
)
async def test_each_kind_sends_what_the_one_before_does(kind: str, withheld: list[bool]) -> None:
    log = SmallLog()
    await put(log, b"p" * 1000, "image/jpeg")
    await put(log, b"c" * 9000, "video/mp4")
    records = list(log.records[Stream.EVIDENCE].values())
    policy = FilePolicy(kind)
    assert [policy.withholds(one, 0) for one in records] == withheld
    policy.grant(2)
    assert not policy.withholds(records[1], 0), "what was asked for goes"
    policy.arrived(2)
    assert policy.withholds(records[1], 0) == withheld[1]


async def test_the_bytes_of_a_day_bound_what_goes_unasked_and_no_file_counts_twice() -> None:
    log = SmallLog()
    for letter in (b"a", b"b", b"c"):
        await put(log, letter * 1000, "image/jpeg")
    first, second, third = log.records[Stream.EVIDENCE].values()
    policy = FilePolicy("clip", 2000)
    assert not policy.withholds(first, 0)
    assert not policy.withholds(first, 0), "sent again after a cut"
    assert not policy.withholds(second, 0)
    assert policy.withholds(third, 0)
    assert not policy.withholds(third, DAY_NS), "another day"


class Restarted:
    """A policy of 1000 bytes a day whose gateway starts anew; time is the wall clock's."""

    def __init__(self) -> None:
        self.kept = b""
        self.restart(0)

    def restart(self, wall_ns: int) -> None:
        self._began_ns = wall_ns
        self.policy = FilePolicy(
            "clip",
            1000,
            wall_less_monotonic_ns=wall_ns,
            saved=self.kept,
            save=self._keep,
        )

    def sends(self, size: int, wall_ns: int) -> bool:
        """Whether a picture that is asked for has room in this day's bytes."""
        return self.policy.expect(b"n" * 32, size, wall_ns - self._began_ns) == ""

    def _keep(self, counted: bytes) -> None:
        self.kept = counted


def test_the_bytes_of_a_day_outlive_a_restart_and_end_with_the_day() -> None:
    gateway = Restarted()
    noon = 20_000 * DAY_NS + DAY_NS // 2
    gateway.restart(noon)
    assert gateway.sends(700, noon)
    gateway.restart(noon + 60)
    assert not gateway.sends(700, noon + 60)
    assert gateway.sends(300, noon + 60)
    gateway.restart(noon - 3 * DAY_NS)  # the clock was lost: nothing is given away
    assert not gateway.sends(1, noon - 3 * DAY_NS)
    gateway.restart(noon + DAY_NS)
    assert gateway.sends(1000, noon + DAY_NS)
    assert not gateway.sends(1, noon + DAY_NS)


@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.integers(0, 400), st.integers(0, DAY_NS // 3)), max_size=30
    )
)
def test_no_restart_adds_to_the_bytes_of_a_day(steps: list[tuple[bool, int, int]]) -> None:
    gateway = Restarted()
    now_ns = 0
    used: dict[int, int] = {}
    for restarts, size, pause_ns in steps:
        now_ns += pause_ns
        if restarts:
            gateway.restart(now_ns)
        day = now_ns // DAY_NS
        sent = gateway.sends(size, now_ns)
        assert sent == (used.get(day, 0) + size <= 1000)
        used[day] = used.get(day, 0) + size * sent


@given(saved=st.binary(max_size=20))
@example(b"5")
@example(b"0 -7")
@example(b"\xb2 1")
def test_a_count_that_cannot_be_read_costs_no_start(saved: bytes) -> None:
    assert FilePolicy("clip", 1000, saved=saved).expect(b"n" * 32, 1001, 0) != ""


async def test_a_restart_of_the_uplink_does_not_begin_the_days_bytes_anew(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    log = SmallLog()
    files = EvidenceFiles(tmp_path / "store" / "evidence")
    async with contextlib.AsyncExitStack() as stack:
        receiving = await stack.enter_async_context(run_receiver(tmp_path / "store"))
        limited = Destination(receiving.target, evidence="clip", evidence_bytes_per_day=1500)
        first = await put(log, b"a" * 1000, "video/mp4")
        async with running(limited, log):
            await until(lambda: not log.cursor("province", Stream.EVIDENCE).missing(1, 2))
        assert files.complete(first)
        day, _, used_bytes = log.state(FILES_STATE + "province").partition(b" ")
        assert (int(day) > 20_000, used_bytes) == (True, b"1000")
        # A later day: midnight changes nothing.
        log.save_state({FILES_STATE + "province": b"999999999 1000"})
        second = await put(log, b"b" * 1000, "video/mp4")
        async with running(limited, log):
            await until(lambda: not log.cursor("province", Stream.EVIDENCE).missing(1, 3))
    assert not files.complete(second)


def test_a_small_picture_is_small_and_a_picture() -> None:
    small = thumbnail(photo(), THUMBNAIL_BYTES)
    assert 0 < len(small) <= THUMBNAIL_BYTES
    assert cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR) is not None
    assert thumbnail(b"no picture", THUMBNAIL_BYTES) == b""
    assert thumbnail(b"", THUMBNAIL_BYTES) == b""


def filmed(count: int = 9) -> bytes:
    """A clip whose pictures grow brighter, from black to white."""
    pictures = []
    for number in range(count):
        grey = np.full((480, 640, 3), 255 * number // (count - 1), np.uint8)
        done, encoded = cv2.imencode(".jpg", grey)
        assert done
        pictures.append(Picture(encoded.tobytes(), number * 500_000_000, 640, 480))
    return avi(pictures)


def test_the_small_picture_of_a_clip_is_the_one_in_its_middle() -> None:
    small = thumbnail(filmed(), THUMBNAIL_BYTES)
    assert 0 < len(small) <= THUMBNAIL_BYTES
    shown = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert abs(int(np.asarray(shown).mean()) - 127) <= 2
    assert thumbnail(filmed()[:300], THUMBNAIL_BYTES) == b"", "torn before its first picture"


SHORT_CLIP = filmed(3)


@given(cut=st.integers(0, 60_000), at=st.integers(0, 60_000), value=st.binary(max_size=12))
def test_no_bytes_break_the_reader_of_clips(cut: int, at: int, value: bytes) -> None:
    spoiled = (SHORT_CLIP[:at] + value + SHORT_CLIP[at + len(value) :])[: cut or None]
    assert middle_picture(spoiled) in spoiled


async def test_a_withheld_clip_leaves_a_small_picture_at_the_receiver(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    log = SmallLog()
    name = await put(log, filmed(), AVI)
    async with contextlib.AsyncExitStack() as stack:
        receiving = await stack.enter_async_context(run_receiver(tmp_path / "store"))
        policy = Destination(receiving.target, evidence="picture")
        await stack.enter_async_context(running(policy, log))
        await until(lambda: not log.cursor("province", Stream.EVIDENCE).missing(1, 2))
    files = EvidenceFiles(tmp_path / "store" / "evidence")
    assert 0 < len(files.thumbnail(name).read_bytes()) <= THUMBNAIL_BYTES
    assert not files.complete(name)


async def test_a_withheld_picture_comes_on_request_though_the_line_is_cut_in_between(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    log = SmallLog()
    content = photo()
    name = await put(log, content, "image/jpeg")
    clip = await put(log, b"c" * 5000, "video/mp4")
    folder = tmp_path / "store"
    files = EvidenceFiles(folder / "evidence")
    asked = {"what": "evidence", "sha256": name.hex(), "gateway": "SD-1"}
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(run_receiver(folder))
        # 100 kB/s: the picture takes seconds, so that the cut comes in its middle.
        thin = Destination(first.target, evidence="thumbnail", rate_bytes_per_s=100_000)
        await stack.enter_async_context(running(thin, log, PATIENT))
        await until(lambda: not log.cursor("province", Stream.EVIDENCE).missing(1, 3))
        assert 0 < len(files.thumbnail(name).read_bytes()) <= THUMBNAIL_BYTES
        assert not files.complete(name)
        assert not files.complete(clip)
        answer = await first.receiver.requests.ask(asked)
        assert answer == {"accepted": True, "message": "1 records will be sent again"}
        await until(lambda: files.held(name, 1) > 0)
        for lane in first.receiver._lines("SD-1", ""):
            lane.end(grpc.StatusCode.UNAVAILABLE, "cut")
        await until(lambda: files.complete(name))
        assert files.path(name).read_bytes() == content
        unknown = await first.receiver.requests.ask({**asked, "sha256": "00" * 32})
        assert unknown == {"accepted": False, "message": "no record of this file is held here"}
    assert not files.complete(clip), "nobody asked for the clip"
    await asyncio.sleep(0)
