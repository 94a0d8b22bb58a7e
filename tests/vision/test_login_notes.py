"""Logins that cameras share by files, and the doors that keep to them, on the real wire."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.rtsp_camera import RtspCamera
from vision.config import CameraConfig
from vision.login_notes import LOOK_S, SALT_BYTES, TURN_S, LoginNotes, SharedLogin
from vision.opening import Door
from vision.refusals import AGAIN_NS, FRESH_NS, LOCKOUT_NS, NOTE_BYTES, Place

PLACE = Place("nvr.plant", 554, "admin")
NOW_NS = 1_800_000_000_000_000_000
LOOKS = round(TURN_S / LOOK_S)
RUNNING = threading.Event()


class Naps(threading.Event):
    """Counts naps, and takes none. after: called with each."""

    def __init__(self, after: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        self.count, self._after = 0, after

    def wait(self, timeout: float | None = None) -> bool:
        """Wait no time."""
        self.count += 1
        self._after(self.count)
        return self.is_set()


class Clock:
    """A clock that the test sets; monotonic and wall in one."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


def lives() -> None:
    """Nobody is told."""


def shared(
    folder: Path, clock: Clock, password: str | None = None, place: Place = PLACE
) -> SharedLogin:
    """What another process sees of a login."""
    found = LoginNotes(folder, clock).of(place, password or "secret")
    assert found is not None
    return found


def is_held(login: SharedLogin, stop: threading.Event = RUNNING) -> bool:
    with login.turn(stop, lives) as held:
        return held is not None


def test_a_refusal_is_known_to_every_process_and_to_the_next_gateway(tmp_path: Path) -> None:
    clock = Clock()
    folder = tmp_path / "state" / "logins"
    held = shared(folder, clock).refused("gate", "401 Unauthorized", known=False)
    assert held is not None
    assert held.left_ns == LOCKOUT_NS
    clock.now_ns += LOCKOUT_NS - 1
    with shared(folder, clock).turn(RUNNING, lives) as found:
        assert found is not None
        assert (found.note.camera, found.left_ns) == ("gate", 1)
        assert found.holds(known=False)
        clock.now_ns += 1
        assert not found.holds(known=False)
    assert not is_held(shared(folder, clock))


@pytest.mark.parametrize("step_ns", [-1, -LOCKOUT_NS, LOCKOUT_NS])
def test_a_clock_that_was_set_holds_nobody_back(tmp_path: Path, step_ns: int) -> None:
    clock = Clock()
    shared(tmp_path, clock).refused("gate", "401", known=False)
    clock.now_ns += step_ns
    assert not is_held(shared(tmp_path, clock))


def test_another_password_user_or_recorder_is_another_login(tmp_path: Path) -> None:
    clock = Clock()
    shared(tmp_path, clock).refused("gate", "401", known=False)
    assert is_held(shared(tmp_path, clock))
    assert not is_held(shared(tmp_path, clock, "another"))
    for place in (Place("nvr2", 554, "admin"), Place("nvr.plant", 8554, "admin"),
                  Place("nvr.plant", 554, "guest")):  # fmt: skip
        assert not is_held(shared(tmp_path, clock, place=place))


def test_no_file_holds_or_is_named_by_password_user_or_host(tmp_path: Path) -> None:
    clock = Clock()
    shared(tmp_path, clock, "p@ss 密码").refused("gate", "401", known=False)
    shared(tmp_path, clock).taken()
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0
        said = path.name.encode() + path.read_bytes()
        for word in ("p@ss", "密码", "secret", "admin", "nvr.plant"):
            assert word.encode() not in said


def test_another_folder_names_the_same_login_otherwise(tmp_path: Path) -> None:
    names = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        shared(folder, Clock()).taken()
        names.append({path.name for path in folder.iterdir()})
    assert names[0] & names[1] == {"salt"}


def test_one_at_a_time_and_the_others_go_as_soon_as_it_was_taken(tmp_path: Path) -> None:
    clock, told = Clock(), []
    first, second = shared(tmp_path, clock), shared(tmp_path, clock)
    naps = Naps(lambda count: first.taken() if count == 3 else None)
    with (
        first.turn(RUNNING, lives) as held,
        second.turn(naps, lambda: told.append(1)) as also_held,
    ):
        assert held is also_held is None
    assert naps.count == 3
    assert len(told) == 3, "whoever watches the reader sees it alive"


def test_who_waits_learns_that_the_other_was_refused(tmp_path: Path) -> None:
    clock = Clock()
    first, second = shared(tmp_path, clock), shared(tmp_path, clock)

    def refuse(_: int) -> None:
        first.refused("gate", "401", known=False)

    naps = Naps(refuse)
    with first.turn(RUNNING, lives), second.turn(naps, lives) as held:
        assert held is not None
        assert held.note.camera == "gate"
    assert naps.count == 1


def test_who_waits_goes_after_ten_seconds(tmp_path: Path) -> None:
    first, second, naps = shared(tmp_path, Clock()), shared(tmp_path, Clock()), Naps()
    with first.turn(RUNNING, lives), second.turn(naps, lives) as held:
        assert held is None
    assert naps.count == LOOKS


def test_who_is_to_stop_waits_no_longer(tmp_path: Path) -> None:
    first, second = shared(tmp_path, Clock()), shared(tmp_path, Clock())
    naps = Naps(lambda _: naps.set())
    with first.turn(RUNNING, lives), second.turn(naps, lives):
        assert naps.count == 1


def test_the_turn_is_over_with_the_block(tmp_path: Path) -> None:
    naps = Naps()
    for _ in range(3):
        with pytest.raises(KeyError), shared(tmp_path, Clock()).turn(naps, lives):
            raise KeyError
    assert naps.count == 0


def test_what_nobody_uses_any_more_is_forgotten_when_another_password_is_taken(
    tmp_path: Path,
) -> None:
    clock = Clock()
    shared(tmp_path, clock, "old").refused("gate", "401", known=False)
    shared(tmp_path, clock, "elsewhere", Place("nvr2", 554, "admin")).taken()
    shared(tmp_path, clock, "new").taken()
    assert len(list(tmp_path.glob("*.json"))) == 3
    clock.now_ns += LOCKOUT_NS
    shared(tmp_path, clock, "new").taken()
    assert len(list(tmp_path.glob("*.json"))) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * NOTE_BYTES, b"\xff" * 10_000, b"[1]"])
def test_a_damaged_note_counts_as_none_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    clock = Clock()
    shared(tmp_path, clock).refused("gate", "401", known=False)
    (note,) = tmp_path.glob("*.json")
    note.write_bytes(content)
    assert not is_held(shared(tmp_path, clock))
    shared(tmp_path, clock).refused("gate", "401", known=False)
    assert is_held(shared(tmp_path, clock))


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 100])
def test_a_damaged_salt_is_made_anew(tmp_path: Path, content: bytes) -> None:
    clock = Clock()
    (tmp_path / "salt").write_bytes(content)
    shared(tmp_path, clock).refused("gate", "401", known=False)
    assert len((tmp_path / "salt").read_bytes()) == SALT_BYTES
    assert is_held(shared(tmp_path, clock))


def test_what_is_no_file_stops_nobody(tmp_path: Path) -> None:
    """Neither a folder nor a pipe, of which opening one waits for ever."""
    clock = Clock()
    (tmp_path / "file").write_text("in the way")
    assert LoginNotes(tmp_path / "file", clock).of(PLACE, "secret") is None
    (tmp_path / "s" / "salt").mkdir(parents=True)
    assert LoginNotes(tmp_path / "s", clock).of(PLACE, "secret") is None
    login = shared(tmp_path / "logins", clock)
    login.refused("gate", "401", known=False)
    (note,) = (tmp_path / "logins").glob("*.json")
    (lock,) = [*(tmp_path / "logins").glob("*.lock")] or [note.with_name(f"{note.name[:32]}.lock")]
    note.unlink()
    os.mkfifo(note)
    assert not is_held(login)
    assert login.refused("gate", "401", known=False) is None
    lock.unlink(missing_ok=True)
    lock.mkdir()
    assert not is_held(login)
    assert not is_held(shared(tmp_path / "logins", clock))


def test_a_folder_that_is_taken_away_leaves_each_camera_to_itself(tmp_path: Path) -> None:
    clock, folder = Clock(), tmp_path / "logins"
    login = shared(folder, clock)
    held = login.refused("gate", "401", known=False)
    assert held is not None
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert not held.holds(known=False)
    assert not is_held(login)
    login.taken()
    assert login.refused("gate", "401", known=False) is None


def test_threads_that_begin_together_agree_on_one_salt(tmp_path: Path) -> None:
    barrier, found = threading.Barrier(8), []

    def begin() -> None:
        barrier.wait()
        shared(tmp_path, Clock()).taken()
        found.append((tmp_path / "salt").read_bytes())

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(list(tmp_path.glob("*.json"))) == 1
    assert not list(tmp_path.glob("*.partial"))


def busy(answer: bytes) -> bytes:
    """A camera that takes the login and has no room for another stream."""
    return (
        answer.replace(b"200 OK", b"453 Not Enough Bandwidth")
        if b"interleaved" in answer
        else answer
    )


class Doors:
    """Doors of a recorder's channels, each as of a process of its own."""

    def __init__(self, folder: Path, port: int, clock: Clock) -> None:
        self.secret, self.clock = folder / "password", clock
        self._folder, self._port = folder / "logins", port

    def door(self, name: str) -> Door:
        config = CameraConfig(
            name=name, source=f"rtsp://127.0.0.1:{self._port}/{name}", user="admin",
            password_file=str(self.secret),
        )  # fmt: skip
        return Door(config, self.clock, logins=LoginNotes(self._folder, self.clock))


async def opened(door: Door) -> str:
    """Open it; the fake delivers no picture, so that a login which is taken gives another one."""
    said = await asyncio.to_thread(door.open)
    assert isinstance(said, str)
    return said


async def sat_out(door: Door, clock: Clock, step_ns: int) -> int:
    """Sit a refusal out by a clock that makes such steps; how long it took."""
    began_ns = clock.now_ns

    def step() -> None:
        clock.now_ns += step_ns

    await asyncio.to_thread(door.sit_out, Naps(), step)
    return clock.now_ns - began_ns


async def test_sixteen_cameras_send_a_wrong_password_once(tmp_path: Path) -> None:
    async with RtspCamera(busy, login=("admin", "right")) as recorder:
        clock = Clock()
        doors = Doors(tmp_path, recorder.port, clock)
        doors.secret.write_text("wrong", encoding="utf-8")
        all_ = [doors.door(f"ch{number}") for number in range(16)]
        said = await asyncio.to_thread(_at_once, all_)
        assert recorder.logins == [False]
        assert all(door.refused for door in all_)
        (own,) = [text for text in said if "another camera" not in text]
        assert own == (
            f"rtsp://127.0.0.1:{recorder.port}/{_name(own)} refuses the login of admin (401"
            f" Unauthorized); the next attempt is in 30 minutes or when {doors.secret} changes,"
            " because recorders lock out whoever goes on trying"
        )
        other = next(text for text in said if text != own)
        assert other == (
            f"rtsp://127.0.0.1:{recorder.port}/{_name(other)} refuses the login of admin: it"
            f" refused it to another camera of this recorder, {_name(own)} (401 Unauthorized), so"
            f" it is not tried here; the next attempt is within 30 minutes or when {doors.secret}"
            " changes, because recorders lock out whoever goes on trying"
        )
        clock.now_ns += LOCKOUT_NS // 2
        again = doors.door(_name(own))  # the gateway was started anew
        assert "it refused it before (401 Unauthorized)" in await opened(again)
        assert await sat_out(again, clock, LOCKOUT_NS // 8) == LOCKOUT_NS // 2
        assert not again.refused
        assert recorder.logins == [False]
        said = await asyncio.to_thread(_at_once, all_)
        assert recorder.logins == [False, False], "half an hour later, one of them"
        doors.secret.write_text("right", encoding="utf-8")
        await asyncio.to_thread(_at_once, all_)
        assert recorder.logins.count(False) == 2
        assert recorder.logins.count(True) >= 16


def _at_once(doors: list[Door]) -> list[str]:
    said: list[str] = []

    def one(door: Door) -> None:
        found = door.open()
        assert isinstance(found, str)
        said.append(found)

    threads = [threading.Thread(target=one, args=[door]) for door in doors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == len(doors)
    return said


def _name(said: str) -> str:
    return said.split(" ", 1)[0].rpartition("/")[2]


async def test_a_login_that_is_taken_after_all_lets_the_others_in_at_once(tmp_path: Path) -> None:
    """A power cut: the recorder is just coming up, and refuses what it took all the time."""
    async with RtspCamera(busy, login=("admin", "right")) as recorder:
        clock = Clock()
        doors = Doors(tmp_path, recorder.port, clock)
        doors.secret.write_text("right", encoding="utf-8")
        await opened(doors.door("ch1"))
        clock.now_ns += 10 * LOCKOUT_NS
        recorder.login = ("admin", "not there yet")
        first, second, third = (doors.door(f"ch{number}") for number in (1, 2, 3))
        recorder.logins.clear()
        assert "which it took before: attempt 1 of 3" in await opened(first)
        assert "another camera of this recorder, ch1" in await opened(second)
        assert await sat_out(second, clock, AGAIN_NS) == AGAIN_NS
        assert "attempt 2 of 3" in await opened(second)
        assert "another camera of this recorder, ch1" in await opened(third)
        assert recorder.logins == [False, False]
        recorder.login = ("admin", "right")
        await sat_out(third, clock, AGAIN_NS)
        assert "does not deliver it" in await opened(third)
        for door in (first, second):
            assert await sat_out(door, clock, 1) == 1
            assert "does not deliver it" in await opened(door)
        assert recorder.logins.count(False) == 2


async def test_a_password_that_was_changed_on_the_recorder_is_sent_three_times_by_all(
    tmp_path: Path,
) -> None:
    async with RtspCamera(busy, login=("admin", "right")) as recorder:
        clock = Clock()
        doors = Doors(tmp_path, recorder.port, clock)
        doors.secret.write_text("right", encoding="utf-8")
        all_ = [doors.door(f"ch{number}") for number in range(6)]
        await asyncio.to_thread(_at_once, all_)
        assert all(recorder.logins)
        recorder.login = ("admin", "another")
        recorder.logins.clear()
        clock.now_ns += FRESH_NS
        for _ in range(5):
            await asyncio.to_thread(_at_once, all_)
            clock.now_ns += AGAIN_NS
        assert recorder.logins == [False] * 3


async def test_a_stream_that_is_not_for_this_user_holds_no_other_camera_back(
    tmp_path: Path,
) -> None:
    def forbid(answer: bytes) -> bytes:
        return answer.replace(b"200 OK", b"403 Forbidden") if b"sdp" in answer else answer

    async with RtspCamera(forbid, login=("admin", "right")) as recorder:
        clock = Clock()
        doors = Doors(tmp_path, recorder.port, clock)
        doors.secret.write_text("right", encoding="utf-8")
        first, second = doors.door("ch1"), doors.door("ch2")
        for door in (first, second):
            assert "refuses the login of admin (403 Forbidden)" in await opened(door)
        assert await sat_out(first, clock, LOCKOUT_NS // 4) == LOCKOUT_NS


async def test_a_door_without_notes_that_can_be_written_behaves_as_one_alone(
    tmp_path: Path,
) -> None:
    async with RtspCamera(busy, login=("admin", "right")) as recorder:
        (tmp_path / "logins").write_text("in the way", encoding="utf-8")
        clock = Clock()
        doors = Doors(tmp_path, recorder.port, clock)
        doors.secret.write_text("wrong", encoding="utf-8")
        for name in ("ch1", "ch2"):
            door = doors.door(name)
            assert "refuses the login of admin (401 Unauthorized)" in await opened(door)
            assert await sat_out(door, clock, LOCKOUT_NS // 4) == LOCKOUT_NS
        assert recorder.logins == [False, False]


async def test_a_reader_that_is_to_end_sends_no_password(tmp_path: Path) -> None:
    async with RtspCamera(busy, login=("admin", "right")) as recorder:
        clock = Clock()
        doors = Doors(tmp_path, recorder.port, clock)
        doors.secret.write_text("wrong", encoding="utf-8")
        stop = threading.Event()
        stop.set()
        said = await asyncio.to_thread(doors.door("ch1").open, stop)
        assert said == f"rtsp://127.0.0.1:{recorder.port}/ch1 was not asked: its reader ends"
        assert recorder.logins == []


def test_the_clock_of_a_process_is_that_of_the_wall(tmp_path: Path) -> None:
    login = LoginNotes(tmp_path, time.time_ns).of(PLACE, "secret")
    assert login is not None
    login.refused("gate", "401", known=False)
    assert is_held(login)
