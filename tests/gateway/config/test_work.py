"""[work], [[permit_area]], [[permit_device]]: what is bound, and every mistake at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.config.problems import ConfigError
from gateway.work.site import GasPoint

HEAD = """
[gateway]
id = "GW-1"
enterprise = "91370800MA3C000000"
data_dir = "data"
"""
DEVICE = """
[[place]]
name = "tank-farm"
[[device]]
name = "gds"
driver = "modbus"
host = "127.0.0.1"
port = 1502
unit = 1
points = "gds.csv"
[[camera]]
name = "cam"
source = "clip.avi"
[[camera.zone]]
name = "yard"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
"""
TABLE = (
    "name,area,address,type,unit,gas\nAT-1,holding,0,u16,%LEL,methane\n"
    "WS-1,holding,1,u16,m/s,\nREC,holding,2,u16,,\nAT-2,holding,3,u16,%LEL,phlogiston\n"
)


def site(folder: Path, text: str) -> Path:
    (folder / "gds.csv").write_text(TABLE, encoding="utf-8")
    (folder / "clip.avi").write_bytes(b"")
    path = folder / "site.toml"
    path.write_text(HEAD + DEVICE + text, encoding="utf-8")
    return path


def test_everything_is_bound(tmp_path: Path) -> None:
    (tmp_path / "calendar.toml").write_text("[year.2026]\n[year.2027]\n", encoding="utf-8")
    path = site(
        tmp_path,
        """
[work]
calendar = "calendar.toml"
guardian_s = 45
[[permit_area]]
name = "pump-yard"
place = "tank-farm"
names = ["泵区"]
cameras = ["cam"]
zones = ["cam/yard"]
guardian = "cam/yard"
gas = ["gds/AT-1"]
wind = "gds/WS-1"
recording = "gds/REC"
max_people = 6
[[permit_device]]
code = "BKQ-7"
camera = "cam"
gas = ["gds/AT-1"]
""",
    )
    work = load(path).work
    assert work is not None
    area = work.site.area("泵区")
    assert area is not None
    assert area.gases == (GasPoint("gds/AT-1", "methane", "%LEL"),)
    assert area.counts == ("cam/yard.headcount",)
    assert work.site.holds.guardian_s == 45
    assert "cam/analysed_fps" in work.point_names()
    assert work.site.devices["BKQ-7"].camera == "cam"


def test_every_mistake_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "calendar.toml").write_text('[year.2026]\nholidays = ["soon"]\n', encoding="utf-8")
    path = site(
        tmp_path,
        """
[work]
calendar = "calendar.toml"
gases = "none.toml"
[[permit_area]]
name = "a"
place = "tank-fram"
cameras = ["cma"]
zones = ["cam/yrad"]
gas = ["gds/AT-11", "gds/REC"]
wind = "gds/REC"
[[permit_area]]
name = "a"
gas = ["gds/AT-2"]
[[permit_device]]
code = "BKQ-7"
""",
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    said = "\n".join(map(str, caught.value.problems))
    for part in (
        "'soon' is no date", "none.toml cannot be read", "tank-farm", "cam",
        "cam/yard", "no point is called 'gds/AT-11'", "gds/REC has no gas", "must be m/s",
        "the permit area 'a' is given a second time", "neither a camera nor a gas point",
    ):  # fmt: skip
        assert part in said, (part, said)
    warned = "\n".join(map(str, caught.value.warnings))
    assert "phlogiston" in warned


RECORDED = """
[[camera]]
name = "yard-2"
source = "rtsp://127.0.0.1:8554/yard"
record = "work"
"""


@pytest.mark.parametrize(
    ("bound", "warned"),
    [
        ("", True),
        ('[[permit_area]]\nname = "a"\ncameras = ["cam"]\n', True),
        ('[[permit_area]]\nname = "a"\ncameras = ["cam", "yard-2"]\n', False),
        ('[[permit_device]]\ncode = "BKQ-7"\ncamera = "yard-2"\n', False),
    ],
)
def test_a_camera_recorded_for_work_that_it_never_watches(
    bound: str, warned: bool, tmp_path: Path
) -> None:
    said = [str(one) for one in load(site(tmp_path, RECORDED + bound)).warnings]
    about = [one for one in said if "yard-2" in one]
    assert len(about) == warned, said
    if warned:
        assert (
            "site.toml:26: camera.yard-2.record: no [[permit_area]] or [[permit_device]]"
            in about[0]
        )


def test_without_these_sections_nothing_of_it_is_imported(tmp_path: Path) -> None:
    path = site(tmp_path, "")
    (tmp_path / "gds.csv").write_text("name,area,address,type\nA,holding,0,u16\n", encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; from gateway.config.load import load;"
        f"site = load(Path({str(path)!r})); import gateway.app;"
        "print(site.work, [m for m in sys.modules if m.startswith('gateway.work')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "None []"
