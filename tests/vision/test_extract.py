"""What is on the shelf of recordings, and a span of it for a person: whole, in time, as it was."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from buffer.contract import Stream
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.cli.main import main
from gateway.model.event import event, gap_event
from gateway.runtime.clock import SystemClock
from tests.vision.test_recording import FPS, S_NS, START_NS, files, packet, pictures, record
from vision.extract import extract, missing, recorded
from vision.nal import H264

SITE = """
[gateway]
id = "SD-370800-000123-01"
enterprise = "91370800MA3C0000XC"
data_dir = "data"

[[camera]]
name = "yard"
source = "rtsp://192.0.2.7/live"
record = "work"
[[camera.zone]]
name = "hot"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]

[[place]]
name = "tank-farm-north"

[work]
[[permit_area]]
name = "pump-yard"
place = "tank-farm-north"
cameras = ["yard"]
"""


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Twelve seconds of H.264, a key picture every two seconds."""
    target = tmp_path_factory.mktemp("stream") / "stream.h264"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc=size=160x120:rate={FPS}",
         "-t", "12", "-pix_fmt", "yuv420p", "-g", str(2 * FPS), "-c:v", "libx264", "-bf", "0",
         "-x264-params", "aud=1:scenecut=0", "-f", "h264", str(target)],
        check=True,
    )  # fmt: skip
    return pictures(H264, target.read_bytes())


@pytest.fixture
def shelf(tmp_path: Path, stream: list[bytes]) -> Path:
    """Recordings of a camera: ten seconds, a gap of nine, and a file that is being written."""
    folder = tmp_path / "data" / "recordings"
    for start_s, count, suffix in ((0, 10, ""), (19, 6, ".part")):
        packets = [
            packet(one, n, START_NS + start_s * S_NS) for n, one in enumerate(stream[: count * FPS])
        ]
        ((name, content),) = files(record(H264, packets)).items()
        path = folder / "yard" / (name + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + (content[-4000:-2000] if suffix else b""))  # a torn end
    return folder


def frames(path: Path) -> int:
    """Pictures of a file that decode without an error."""
    asked = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames",
         "-of", "csv=p=0", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert asked.stderr == ""
    return int(asked.stdout.strip().strip(","))


def test_the_shelf_is_listed_with_times_and_what_is_missing(shelf: Path) -> None:
    first, second = recorded(shelf, ["yard", "nowhere"])
    assert (first.from_ns, first.complete, second.complete) == (START_NS, True, False)
    assert first.to_ns == pytest.approx(START_NS + 10 * S_NS, abs=S_NS / 5)
    assert second.from_ns == START_NS + 19 * S_NS
    (gap,) = missing([first, second])
    assert (gap.from_ns, gap.to_ns) == (first.to_ns, second.from_ns)
    assert recorded(shelf, ["yard"], 0, START_NS) == []
    assert recorded(shelf, ["yard"], second.to_ns) == []
    assert [one.path for one in recorded(shelf, ["yard"], START_NS + 12 * S_NS)] == [second.path]


def test_a_span_begins_with_a_picture_that_stands_for_itself(shelf: Path, tmp_path: Path) -> None:
    first, second = recorded(shelf, ["yard"])
    copy = extract(first, tmp_path / "out", START_NS + 5 * S_NS, START_NS + 7 * S_NS)
    assert copy is not None
    assert START_NS + 2 * S_NS <= copy.from_ns <= START_NS + 5 * S_NS
    assert START_NS + 7 * S_NS <= copy.to_ns <= START_NS + 10 * S_NS
    count = frames(copy.path)
    assert count == pytest.approx((copy.to_ns - copy.from_ns) / S_NS * FPS, abs=1)
    assert copy.sha256 == hashlib.sha256(copy.path.read_bytes()).hexdigest()
    assert extract(first, tmp_path / "out", START_NS + 11 * S_NS, START_NS + 12 * S_NS) is None
    whole = extract(second, tmp_path / "out", 0, 1 << 62)
    assert whole is not None
    assert frames(whole.path) == 6 * FPS, "what is whole of a torn file"


async def test_an_investigator_lists_and_takes_a_span(shelf: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE, encoding="utf-8")
    permit: dict[str, str | int | float | bool] = {
        "ticket_no": "DH-7", "work": "hot_work", "area": "pump-yard", "place": "tank-farm-north",
        "deleted": False,
    }  # fmt: skip
    gap: dict[str, str | int | float | bool] = {
        "from_ns": START_NS + 10 * S_NS, "to_ns": START_NS + 19 * S_NS, "reason": "no picture yet",
    }  # fmt: skip
    async with Buffer.open(
        tmp_path / "data", BufferConfig(), clock=SystemClock(), boot_id=b"b" * 16,
        encode_gap=gap_event,
    ) as log:  # fmt: skip
        for at_s, status in ((-60, "approved"), (-10, "active"), (12, "ended")):
            said = {**permit, "status": status}
            payload = event("intake.permit", "tickets", START_NS + at_s * S_NS, "", said)
            await log.add_record(Stream.EVENT, payload)
        await log.add_record(
            Stream.EVENT, event("vision.recording_gap", "yard", START_NS + 19 * S_NS, "", gap)
        )

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["recordings", *arguments])
        return done.exit_code, done.output

    code, said_text = run("list", str(site))
    assert code == 0, said_text
    lines = said_text.splitlines()
    assert lines[0].startswith("yard  2026-09-21T22:13:20+08:00 to 2026-09-21T22:13:29+08:00  ")
    assert lines[0].endswith("MB  DH-7")
    assert "GAP 缺失 9" in lines[1]
    assert lines[1].endswith(": no picture yet")
    assert lines[2].endswith("MB  being written"), "the permit had ended"
    assert lines[3].startswith("2 recordings, ")
    code, text = run("list", str(site), "--json", "--from", "2026-09-21T14:13:39Z")
    assert [row["permits"] for row in json.loads(text)["recordings"]] == [[]]

    span = ("--from", "2026-09-21T14:13:25Z", "--to", "2026-09-21T14:13:41Z")
    out = tmp_path / "case-7"
    code, text = run("export", str(site), "--camera", "yard", *span, "--out", str(out), "--json")
    assert code == 0, text
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert json.loads(text) == manifest
    assert [round(row["seconds"]) for row in manifest["gaps"]] == [9]
    for row in manifest["files"]:
        content = (out / row["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        assert frames(out / row["file"]) > 0
    assert len(manifest["files"]) == 2
    code, text = run("export", str(site), *span, "--out", str(out))
    assert (code, "is there already" in text) == (2, True)
    code, text = run("list", str(site), "--camera", "north")
    assert (code, "the site has no camera 'north': yard" in text) == (2, True)
    away = ("--from", "2020-01-01", "--to", "2020-01-02", "--out", str(tmp_path / "no"))
    code, text = run("export", str(site), *away)
    assert (code, "nothing was recorded then" in text) == (1, True)
