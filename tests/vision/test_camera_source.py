"""The camera's real process, over its real socket, on a real clip."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.contract import Quality
from gateway.model.sight import NoPictureError, Sight
from gateway.runtime.clock import SystemClock
from gateway.sources.camera import CameraSource, camera_tags
from tests.clips import drawn_clip
from tests.fakes.rtsp_camera import RtspCamera
from tests.vision.recorder import Recorder, camera, points_of, running
from tests.waiting import ended
from vision.config import DEFAULT_MODEL
from vision.events import Failed, MessageDecoder, Stop, encode

ROOT = Path(__file__).resolve().parents[2]


def shortened(clip: Path, target: Path, count: int) -> Path:
    """Write the first frames of a clip to a file of its own."""
    capture = cv2.VideoCapture(str(clip))
    first = np.asarray(capture.read()[1])
    size = (first.shape[1], first.shape[0])
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, size)
    writer.write(first)
    for _ in range(count - 1):
        writer.write(np.asarray(capture.read()[1]))
    writer.release()
    capture.release()
    return target


async def looked(source: CameraSource, count: int = 1) -> list[Sight]:
    """Pictures for so many who ask at once; asked again where a machine that stalls has none."""

    async def one() -> Sight | None:
        try:
            return await source.look()
        except NoPictureError as error:
            if "gives no picture: no frame came" in str(error) or "not answered" in str(error):
                return None
            raise

    for _ in range(20):
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(one()) for _ in range(count)]
        found = [sight for sight in (task.result() for task in asked) if sight is not None]
        if len(found) == count:
            return found
    raise AssertionError("there is no picture, however often one asks")


async def test_a_picture_that_is_asked_for_is_of_now(tmp_path: Path) -> None:
    source = camera(str(drawn_clip(tmp_path / "yard.avi")), analyse_fps=4)
    async with running(source) as seen:
        with pytest.raises(NoPictureError, match="camera cam is not being read"):
            await seen.source.look()
        await seen.until(lambda: seen.source.statistics().get("frames_decoded", 0) > 0)
        newest_ns = seen.batches[-1].source_time_ns
        first, second = await looked(seen.source, 2)
        [after] = await looked(seen.source)
    assert first.camera == "cam"
    assert first.content == second.content, "both are shown the next frame"
    assert isinstance(newest_ns, int)
    assert newest_ns < first.wall_ns < after.wall_ns
    shown = cv2.imdecode(np.frombuffer(first.content, np.uint8), cv2.IMREAD_COLOR)
    assert np.asarray(shown).shape == (240, 320, 3)
    with pytest.raises(NoPictureError, match="camera cam is not being read"):
        await seen.source.look()


async def test_a_camera_without_frames_says_why_there_is_no_picture(tmp_path: Path) -> None:
    async with running(camera(str(tmp_path / "nothing.avi"))) as seen:
        await seen.until(lambda: len(seen.batches) > 0)
        for _ in range(20):  # a machine that stalls may not answer in time
            with pytest.raises(NoPictureError) as refused:
                await seen.source.look()
            if "has not answered" not in str(refused.value):
                break
    assert str(refused.value).startswith("camera cam gives no picture: no frame came for 4 s: ")
    assert "nothing.avi" in str(refused.value)


async def test_a_frozen_or_dying_process_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with running(camera(str(drawn_clip(tmp_path / "yard.avi"))), silence_s=60.0) as seen:
        await seen.until(lambda: len(seen.batches) > 0)
        pid = seen.source.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(NoPictureError, match="has not answered within 6 s"):
            await seen.source.look()
        asyncio.get_running_loop().call_soon(os.kill, pid, signal.SIGKILL)
        with pytest.raises(NoPictureError, match="its process has ended"):
            await seen.source.look()
        await seen.until(lambda: seen.error is not None)


async def test_counts_arrive_as_batches_and_too_many_people_as_an_event(vtest: Path) -> None:
    async with running(camera(str(vtest))) as seen:
        await seen.until(lambda: "vision.over_count" in seen.kinds() and len(seen.batches) >= 3)
        pid = seen.source.pid
    assert pid is not None
    assert ended(pid)
    good = [batch for batch in seen.batches if batch.quality[0] == Quality.GOOD]
    assert good
    assert all(batch.points is seen.batches[0].points for batch in seen.batches)
    assert seen.batches[0].points.tolist() == [10, 11]
    assert [batch.sequence for batch in seen.batches] == list(range(len(seen.batches)))
    assert all(isinstance(batch.values, np.ndarray) for batch in good)
    assert 2 <= float(good[-1].values[0]) <= 12
    event = seen.event("vision.over_count")
    assert event.picture[:3] == b"\xff\xd8\xff"
    assert len(event.picture) <= 200_000
    assert event.attributes["zone"] == "all"
    assert event.attributes["active"] is True
    assert event.attributes["limit"] == 2
    assert int(event.attributes["people"]) > 2
    assert len(str(event.attributes["track_ids"]).split(",")) == event.attributes["people"]
    assert (
        event.attributes["model_sha256"] == hashlib.sha256(DEFAULT_MODEL.read_bytes()).hexdigest()
    )
    assert seen.source.statistics()["frames_decoded"] > 0


async def test_a_frozen_process_is_killed_and_reported(vtest: Path) -> None:
    async with running(camera(str(vtest)), silence_s=8.0) as seen:
        await seen.until(lambda: Quality.GOOD in seen.qualities())
        pid = seen.source.pid or 0
        os.kill(pid, signal.SIGSTOP)
        await seen.until(lambda: seen.error is not None)
    assert "silent for 8 s" in str(seen.error)
    assert ended(pid)


async def test_a_killed_process_is_reported_and_what_stood_still_stands_in_the_next(
    vtest: Path,
) -> None:
    config = camera(str(vtest))
    source = CameraSource(config, points_of(config), SystemClock())
    seen = Recorder(source)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(seen.run())
        await seen.until(lambda: "vision.over_count" in seen.kinds())
        os.kill(source.pid or 0, signal.SIGKILL)
        await task
    assert seen.batches[-1].quality.tolist() == [Quality.BAD_NOT_CONNECTED] * 2
    assert np.isnan(np.asarray(seen.batches[-1].values, np.float64)).all()
    assert seen.kinds()[-1] == "vision.worker_lost"
    assert "ended without a word" in str(seen.error)
    again = Recorder(source)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(again.run())
        await again.until(lambda: Quality.GOOD in again.qualities() and len(again.batches) > 2)
        task.cancel()
    # The zone is still too full, and its alarm still stands: nothing is raised a second time.
    assert "vision.over_count" not in again.kinds()
    assert again.batches[0].sequence == seen.batches[-1].sequence + 1


async def test_a_missing_file_is_bad_quality_and_an_event_not_an_end(tmp_path: Path) -> None:
    async with running(camera(str(tmp_path / "none.avi"))) as seen:
        await seen.until(lambda: len(seen.batches) >= 2)
    assert set(seen.qualities()) == {Quality.BAD_NOT_CONNECTED}
    lost = seen.event("vision.camera_lost")
    assert "No such file" in lost.text
    assert seen.error is None


async def test_why_a_camera_stays_lost_is_told_when_it_has_changed(tmp_path: Path) -> None:
    """It comes up again with another password: without a word it would be missing for good."""
    secret = tmp_path / "password"
    secret.write_text("of-before", encoding="utf-8")
    rebooting = asyncio.Event()

    def spoil(answer: bytes) -> bytes:
        return answer if rebooting.is_set() else b"starting\r\n\r\n"

    async with RtspCamera(spoil, login=("admin", "of-now")) as fake:
        url = f"rtsp://127.0.0.1:{fake.port}/live"
        config = camera(url, user="admin", password_file=str(secret))
        async with running(config) as seen:
            await seen.until(lambda: "vision.camera_lost" in seen.kinds())
            rebooting.set()
            await seen.until(lambda: seen.kinds().count("vision.camera_lost") == 2)
    first, second = (event for event in seen.events if event.kind == "vision.camera_lost")
    said = f"Camera cam is lost: {url} gives no stream: what answers is no RTSP server."
    assert first.text == said
    assert second.text.startswith(f"Camera cam is still lost: {url} refuses the login of admin")
    assert fake.logins == [False]
    assert seen.error is None


async def test_a_clip_begins_again_at_its_end(vtest: Path, tmp_path: Path) -> None:
    short = shortened(vtest, tmp_path / "short.avi", 8)
    async with running(camera(str(short), analyse_fps=10)) as seen:
        await seen.until(lambda: seen.source.statistics().get("reopened", 0) >= 2)
    assert set(seen.qualities()) <= {int(Quality.GOOD), int(Quality.BAD_WAITING)}
    assert "vision.camera_lost" not in seen.kinds()


async def test_a_model_that_is_missing_is_one_sentence(vtest: Path, tmp_path: Path) -> None:
    async with running(camera(str(vtest), model=str(tmp_path / "none.onnx"))) as seen:
        await seen.until(lambda: seen.error is not None)
    assert "none.onnx cannot be read: No such file or directory" in str(seen.error)


async def test_equipment_is_judged_and_what_is_not_told_apart_is_said(vtest: Path) -> None:
    zone = {"name": "z", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "require": ["helmet", "vest"]}
    config = camera(str(vtest), zone=[zone])
    async with running(config) as seen:
        await seen.until(lambda: "vision.not_judged" in seen.kinds())
        await seen.until(lambda: any(batch.quality[0] == 0 for batch in seen.batches))
    assert "judged as workwear" in seen.event("vision.not_judged").text
    values = next(batch for batch in seen.batches if batch.quality[0] == 0).values
    assert camera_tags(config) == [
        "z.headcount", "z.no_helmet", "z.helmet_undecided",
        "z.no_workwear", "z.workwear_undecided", "analysed_fps",
    ]  # fmt: skip
    assert len(values) == 6
    assert np.nan_to_num(values[1]) + np.nan_to_num(values[2]) <= values[0]


async def test_the_process_ends_when_the_gateway_is_killed(vtest: Path, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys\n"
        "from tests.vision.recorder import camera, running\n"
        "async def main():\n"
        "    async with running(camera(sys.argv[1])) as seen:\n"
        "        await seen.until(lambda: len(seen.batches) > 0)\n"
        "        print(seen.source.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n",
        encoding="utf-8",
    )
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), str(vtest)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    assert await asyncio.to_thread(ended, pid, 120.0)


async def test_a_first_message_that_is_no_configuration_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vision.worker", "--fd", str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        ours.sendall(encode(Stop()))
        assert await process.wait() == 1
        (answer,) = MessageDecoder().feed(ours.recv(65536))
        assert isinstance(answer, Failed)
        assert "not configure" in answer.text


def test_tags_and_unknown_points() -> None:
    config = camera("clip.avi")
    assert camera_tags(config) == ["all.headcount", "analysed_fps"]
    with pytest.raises(ValueError, match="no point 'x'"):
        CameraSource(config, {"x": 1}, SystemClock())


async def test_a_provider_that_is_not_there_is_one_sentence(vtest: Path) -> None:
    async with running(camera(str(vtest), provider="cuda")) as seen:
        await seen.until(lambda: seen.error is not None)
    assert "onnxruntime has no CUDAExecutionProvider on this machine" in str(seen.error)
    assert 'install onnxruntime-gpu in place of onnxruntime, or leave provider = "cpu"' in str(
        seen.error
    )


async def test_a_camera_runs_with_more_threads_and_before_others_for_the_killer(
    vtest: Path,
) -> None:
    async with running(camera(str(vtest), threads=2)) as seen:
        await seen.until(lambda: Quality.GOOD in seen.qualities())
        scored = Path(f"/proc/{seen.source.pid}/oom_score_adj")
        score = await asyncio.to_thread(scored.read_text, "ascii")
    assert int(score) >= 500


async def test_people_who_gather_come_from_the_process_with_their_places(vtest: Path) -> None:
    ground = json.loads((Path(__file__).with_name("vtest_ground.json")).read_text("utf-8"))
    gathering = {"people": 2, "radius_m": 20.0, "hold_s": 0.0}
    zone = {"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "gathering": gathering}
    config = camera(str(vtest), zone=[zone], ground={"points": ground["points"]})
    async with running(config) as seen:
        await seen.until(lambda: "vision.gathering" in seen.kinds())
        await seen.until(lambda: "ways_untimed" in seen.source.statistics())
    event = seen.event("vision.gathering")
    assert event.picture[:3] == b"\xff\xd8\xff"
    assert event.attributes["active"] is True
    assert len(str(event.attributes["at_m"]).split(";")) == event.attributes["people"]
