"""Bad input ends in exactly one clear line for each mistake, exit code 2, and never a traceback.

The site is a good one with one mistake made (bad_input.py).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import main
from tests.e2e.bad_input import MISTAKES, SITE, Mistake, write_good
from tests.e2e.watched import Watched
from tests.e2e.world import PLANTGATE, ROOT, free_port, stop, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    write_good(folder)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "site"))


def told(text: str, folder: Path) -> list[str]:
    """Lines, with FOLDER for the site's folder and without warnings."""
    lines = text.replace(str(folder), "FOLDER").splitlines()
    return [line for line in lines if not line.startswith("warning: ")]


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    """`plantgate run` as a process, to its end."""
    return subprocess.run(
        [*PLANTGATE, "run", str(folder / "site.toml")],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip


def check(folder: Path) -> Result:
    """`plantgate check`, in this process."""
    return CliRunner().invoke(main, ["check", str(folder / "site.toml")])


def test_the_good_site_passes(folder: Path) -> None:
    result = check(folder)
    assert result.exit_code == 0
    assert "OK: 1 device, 4 points, 1 camera, 1 uplink" in result.output


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_one_line(mistake: Mistake, folder: Path) -> None:
    mistake.make(folder)
    before = sorted(folder.rglob("*"))
    ran, checked = run(folder), check(folder)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert told(ran.stderr, folder) == [mistake.line]
    assert isinstance(checked.exception, SystemExit)
    assert (checked.exit_code, checked.stderr) == (2, "")
    said = told(checked.stdout, folder)
    assert said == [mistake.line, "FAILED: 1 problem in FOLDER/site.toml"]
    assert sorted(folder.rglob("*")) == before


def test_several_mistakes_are_all_said_at_once(folder: Path) -> None:
    for mistake in MISTAKES:
        if mistake.name in {"duplicate point", "file in place of the data directory"}:
            mistake.make(folder)
    (folder / "site.toml").write_text(
        SITE.replace("port = 1", "pord = 1").replace("[0.9, 0.9]", "[1.9, 0.9]"), encoding="utf-8"
    )
    ran = run(folder)
    assert ran.returncode == 2
    places = [line.split(" ")[0] for line in told(ran.stderr, folder)]
    assert places == ["FOLDER/site.toml:4:", "FOLDER/site.toml:13:", "FOLDER/site.toml:21:",
                      "gds-1.csv:3:name:"]  # fmt: skip


def test_a_second_gateway_names_the_port_or_the_folder_that_is_taken(tmp_path: Path) -> None:
    with Watched(tmp_path) as world:
        world.write_site("")
        first = world.start_gateway()
        world.wait_until_running()

        second = world.plantgate("run", str(world.site), check=False)
        assert second.returncode == 2
        assert told(second.stderr, tmp_path) == [
            "Data directory FOLDER/data is in use by another process."
        ]

        elsewhere = tmp_path / "elsewhere.toml"
        text = world.site.read_text(encoding="utf-8")
        elsewhere.write_text(text.replace(str(world.data), str(tmp_path / "data-2")), "utf-8")
        third = world.plantgate("run", str(elsewhere), check=False)
        assert third.returncode == 1
        assert told(third.stderr, tmp_path) == [
            "FOLDER/elsewhere.toml: [metrics] listen: cannot listen on"
            f" 127.0.0.1:{world.metrics_port}: another program listens there; give another port,"
            " or 0 for any free one"
        ]
        assert world.running()
        assert stop(first) == 0


def test_a_receiver_that_does_not_exist_is_said_and_the_gateway_keeps_running(
    tmp_path: Path,
) -> None:
    with Watched(tmp_path) as world:
        port = free_port()
        world.start_modbus(port, 2)
        world.write_device(port, "n0,holding,0,u32,,")
        text = world.site.read_text(encoding="utf-8")
        bad = text.replace(f"localhost:{world.uplink_port}", "no-such-host.invalid:50051")
        world.site.write_text(bad, encoding="utf-8")
        gateway = world.start_gateway()
        until(lambda: world.metric("flow_values") > 3, what="values flow")
        until(lambda: "no-such-host.invalid:50051 cannot be reached" in str(world.health()[1]),
              what="health says it")  # fmt: skip
        until(lambda: "Uplink province is down" in world.log("gateway"), what="the log says it")
        assert world.log("gateway").count("Uplink province is down") == 1
        assert world.health()[0] == 200
        assert stop(gateway) == 0
        assert "Traceback" not in world.log("gateway")
