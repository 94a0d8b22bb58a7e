"""The shelf of recordings: the oldest goes, and what cannot be deleted keeps nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vision.shelf import MOST_AGED, Kept, Shelf, what_goes

S_NS = 1_000_000_000
START_NS = 1_790_000_000 * S_NS


kept = st.builds(
    Kept,
    st.integers(0, 99).map(lambda n: Path(f"cam/{n}.mp4")),
    st.integers(0, 100),
    st.integers(0, 50),
)


@given(st.lists(kept, unique_by=lambda one: one.path), st.integers(0, 500), st.integers(0, 100))
def test_what_goes_is_the_oldest_and_no_more_than_must(
    all_kept: list[Kept], quota: int, retention: int
) -> None:
    old, early = what_goes(all_kept, quota, retention, now_ns=100)
    assert all(100 - one.ended_ns > retention for one in old)
    stay = [one for one in all_kept if one not in old and one not in early]
    assert len(old) <= MOST_AGED
    assert len(old) == MOST_AGED or all(100 - one.ended_ns <= retention for one in stay)
    assert sum(one.size for one in stay) <= quota
    if early:
        assert max(one.ended_ns for one in early) <= min((o.ended_ns for o in stay), default=100)
        assert sum(one.size for one in stay) + early[-1].size > quota


def test_a_shelf_names_what_a_crash_left_and_deletes_the_oldest(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, quota_bytes=25, retention_ns=10**18)
    for camera, day, name in (
        ("a", "2026-01-01", "1.mp4"),
        ("b", "2026-01-02", "2.mp4"),
        ("a", "2026-01-03", "3.mp4.part"),
    ):
        path = tmp_path / camera / day / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"0123456789")
    for number, path in enumerate(sorted(tmp_path.glob("*/*/*"), key=lambda one: one.name)):
        os.utime(path, ns=(number * S_NS, number * S_NS))
    assert shelf.adopt("a") == 2 * S_NS
    assert shelf.adopt("a") == 0
    gone, refused = shelf.tidy(now_ns=3 * S_NS)
    assert gone is not None
    assert not refused
    assert (gone.files, gone.bytes, gone.first_ns) == (1, 10, 0)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*/*")) == [
        "a/2026-01-03/3.mp4", "b/2026-01-02/2.mp4",
    ]  # fmt: skip
    assert shelf.tidy(now_ns=3 * S_NS) == (None, "")


def test_a_clock_that_is_wrong_by_a_year_does_not_take_all_recordings(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, quota_bytes=10**9, retention_ns=30 * 86_400 * S_NS)
    folder = tmp_path / "cam" / "2026-01-01"
    folder.mkdir(parents=True)
    for number in range(5 * MOST_AGED):
        (folder / f"{number:03}.mp4").write_bytes(b"0123456789")
    now_ns = (folder / "000.mp4").stat().st_mtime_ns
    assert shelf.tidy(now_ns + 365 * 86_400 * S_NS) == (None, "")
    assert len(list(folder.glob("*.mp4"))) == 4 * MOST_AGED


def test_what_cannot_be_deleted_keeps_nothing_else(tmp_path: Path) -> None:
    """A folder in a recording's place stands for a file of another user, on a worn-out disk."""
    shelf = Shelf(tmp_path, quota_bytes=25, retention_ns=100 * S_NS)
    folder = tmp_path / "cam" / "2026-01-01"
    for number in range(MOST_AGED):
        (folder / f"{number:03}.mp4").mkdir(parents=True)
        os.utime(folder / f"{number:03}.mp4", ns=(number, number))
    later = tmp_path / "cam" / "2026-01-02"
    later.mkdir()
    for number, ended_s in enumerate((2, 3, 990, 991, 992)):
        (later / f"{number}.mp4").write_bytes(b"0123456789")
        os.utime(later / f"{number}.mp4", ns=(ended_s * S_NS, ended_s * S_NS))
    gone, refused = shelf.tidy(now_ns=1000 * S_NS)
    assert refused.startswith(f"{folder / '000.mp4'}: ")
    assert sorted(path.name for path in later.iterdir()) == ["3.mp4", "4.mp4"], "by age, by quota"
    assert gone is not None
    assert gone.files == 1


def test_a_part_that_cannot_be_named_keeps_no_recording_from_beginning(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, quota_bytes=10**9, retention_ns=10**18)
    day = tmp_path / "cam" / "2026-01-01"
    (day / "1.mp4").mkdir(parents=True)  # in the way
    (day / "1.mp4.part").write_bytes(b"x")
    (day / "2.mp4.part").write_bytes(b"x")
    assert shelf.adopt("cam") > 0
    assert (day / "2.mp4").is_file()


def test_what_may_go_for_its_age_still_counts_for_the_quota() -> None:
    kept = [Kept(Path(f"cam/{n:03}.mp4"), n, 10) for n in range(100)]
    old, early = what_goes(kept, 500, 10, now_ns=1000)
    assert len(old) == MOST_AGED
    assert sum(one.size for one in kept if one not in old and one not in early) == 500


def test_a_recording_that_was_broken_off_is_remembered_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, quota_bytes=10**9, retention_ns=10**18)
    shelf.interrupt("cam", START_NS)
    assert shelf.adopt("cam") == START_NS
    assert shelf.adopt("cam") == 0
