"""`plantgate demo` as somebody meets it on the first day, in a pipe and with a wrong file."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.clips import clip_or_fail
from tests.e2e.watched import assert_gone, family
from tests.e2e.world import PATIENCE_S, PLANTGATE, ROOT, until

pytestmark = pytest.mark.e2e
LINE = re.compile(
    r"^([\d,]+) values/s, [\d,]+ values, \d+ alarms \(\d+ standing\), headcount unit1-east/yard"
    r" \d+, [\d.]+ bytes a value, backlog \d+ records, link up$"
)


def start_demo(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The demo with its output in out.txt."""
    with (folder / "out.txt").open("wb") as out:
        return subprocess.Popen(
            [*PLANTGATE, "demo", "--dir", str(folder / "demo"), *arguments],
            cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip


def lines(folder: Path) -> list[str]:
    return (folder / "out.txt").read_text(encoding="utf-8").splitlines()


def rate(demo: subprocess.Popen[bytes], folder: Path) -> int:
    """The highest rate that the demo has told, in values a second."""
    assert demo.poll() is None, f"the demo ended with {demo.returncode}: {lines(folder)[-5:]}"
    found = (LINE.match(line) for line in lines(folder))
    return max((int(one[1].replace(",", "")) for one in found if one), default=0)


def test_the_demo_says_what_flows_and_leaves_nothing_running(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, "--camera", str(clip_or_fail()))
    try:
        until(lambda: rate(demo, tmp_path) > 500, what="a line says what flows")
        members = family(demo)
        assert len(members) == 6  # itself, plant, receiver, gateway, camera, console
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(timeout=PATIENCE_S) == 0
    finally:
        demo.kill()
        demo.wait()
    assert_gone(members)
    said = lines(tmp_path)
    assert said[0].startswith("camera: ")
    assert re.match(r"console 控制台: http://127\.0\.0\.1:\d+/  user demo  password \S+$", said[1])
    assert said[-1] == "stopped"
    for log in (tmp_path / "demo").glob("*.log"):
        text = log.read_text(encoding="utf-8")
        assert "Traceback" not in text, log.name
        assert "part failed" not in text, log.name


def test_it_stops_by_itself_after_the_seconds_asked_for(tmp_path: Path) -> None:
    (tmp_path / "no.avi").write_bytes(b"no film")
    demo = start_demo(tmp_path, "--seconds", "1", "--camera", str(tmp_path / "no.avi"))
    try:
        assert demo.wait(timeout=PATIENCE_S) == 0
    finally:
        demo.kill()
        demo.wait()
    assert lines(tmp_path)[-1] == "stopped"


@pytest.mark.parametrize(
    ("number", "second"), [(signal.SIGINT, signal.SIGTERM), (signal.SIGHUP, signal.SIGINT)]
)
def test_a_signal_even_twice_ends_all_parts(
    tmp_path: Path, number: signal.Signals, second: signal.Signals
) -> None:
    (tmp_path / "no.avi").write_bytes(b"no film")
    demo = start_demo(tmp_path, "--camera", str(tmp_path / "no.avi"))
    try:
        gateway_log = tmp_path / "demo" / "gateway.log"
        until(lambda: gateway_log.is_file() and "running" in gateway_log.read_text("utf-8"),
              what="the gateway runs")  # fmt: skip
        members = family(demo)
        demo.send_signal(number)
        until(lambda: "stopping" in lines(tmp_path), what="it says that it stops")
        demo.send_signal(second)
        assert demo.wait(timeout=PATIENCE_S) == 0
    finally:
        demo.kill()
        demo.wait()
    assert_gone(members)
    assert lines(tmp_path)[-1] == "stopped"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--camera", "/nowhere/no.avi"), "--camera: there is no file /nowhere/no.avi"),
        (("--dir", "/proc/no"), "--dir /proc/no: No such file or directory"),
        (("--seconds", "0"), "Invalid value for '--seconds'"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(arguments: tuple[str, ...], said: str) -> None:
    ran = subprocess.run(
        [*PLANTGATE, "demo", "--camera", __file__, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert ran.returncode == 2
    assert said in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
