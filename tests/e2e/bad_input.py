"""Every kind of bad input as an edit of one good site, and the exact line a person should read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GATEWAY_ID = "SD-370800-000123-01"
SITE = f"""\
[gateway]
id = "{GATEWAY_ID}"
enterprise = "91350100M000100Y43"
data_dir = "data"

[metrics]
listen = "127.0.0.1:0"

[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
port = 1
points = "gds-1.csv"

[[camera]]
name = "east"
source = "clip.avi"
[[camera.zone]]
name = "hot-work"
polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]
max_people = 6

[[uplink]]
name = "province"
target = "localhost:1"
ca = "certs/ca.pem"
certificate = "certs/gateway.pem"
key = "certs/gateway.key"
"""
TABLE = """\
name,area,address,type,high
AT-101,input,0,f32,25
AT-102,input,2,f32,25
"""


def write_good(folder: Path) -> Path:
    """A site that `check` passes; devices and receiver are not there, which is no mistake."""
    site = folder / "site.toml"
    site.write_text(SITE, encoding="utf-8")
    (folder / "gds-1.csv").write_text(TABLE, encoding="utf-8")
    (folder / "clip.avi").write_bytes(b"RIFF no film, but a file")
    subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "cert", "demo", str(folder / "certs"),
         "--gateway", GATEWAY_ID],
        check=True, capture_output=True, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    return site


@dataclass(frozen=True, slots=True)
class Mistake:
    """`make(folder)` turns the good site bad; `line` is what is said, FOLDER being its path."""

    name: str
    make: Callable[[Path], object]
    line: str


def _site(old: str, new: str) -> Callable[[Path], object]:
    assert SITE.count(old) == 1, old
    return lambda folder: (folder / "site.toml").write_text(SITE.replace(old, new), "utf-8")


def _table(old: str, new: str) -> Callable[[Path], object]:
    assert TABLE.count(old) == 1, old
    return lambda folder: (folder / "gds-1.csv").write_text(TABLE.replace(old, new), "utf-8")


def _holds(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "site.toml").write_bytes(content)


def _foreign_key(folder: Path) -> None:
    certs = folder / "certs"
    (certs / "gateway.key").write_bytes((certs / "receiver.key").read_bytes())


def _folder_for_site(folder: Path) -> None:
    (folder / "site.toml").unlink()
    (folder / "site.toml").mkdir()


MISTAKES = (
    Mistake(
        "unknown key",
        _site("port = 1", "pord = 1"),
        "FOLDER/site.toml:13: device.gds-1.pord: unknown key; did you mean port?",
    ),
    Mistake(
        "duplicate point",
        _table("AT-102", "AT-101"),
        "gds-1.csv:3:name: duplicate point 'AT-101', also in row 2",
    ),
    Mistake(
        "overlapping address",
        _table("input,2,", "input,1,"),
        "gds-1.csv:3:address: AT-102 begins inside AT-101 (row 2)",
    ),
    Mistake(
        "malformed address",
        _table("input,2,", "input,2x,"),
        "gds-1.csv:3:address: address '2x' is not a number such as 40, 0x28 or,"
        " with base modicon, 40041",
    ),
    Mistake(
        "polygon outside 0-1",
        _site("[0.9, 0.9]", "[1.9, 0.9]"),
        "FOLDER/site.toml:21: camera.east.zone.hot-work.polygon: corner 3 holds 1.9: coordinates"
        " are fractions of the frame from 0 to 1, not pixels",
    ),
    Mistake(
        "self-crossing polygon",
        _site("[0.9, 0.1], [0.9, 0.9]", "[0.9, 0.9], [0.9, 0.1]"),
        "FOLDER/site.toml:21: camera.east.zone.hot-work.polygon: edge 1-2 meets edge 3-4: list the"
        " corners in order around the zone",
    ),
    Mistake(
        "missing model",
        _site('source = "clip.avi"', 'source = "clip.avi"\nmodel = "none.onnx"'),
        "FOLDER/site.toml:19: camera.east.model: missing model: there is no file none.onnx; leave"
        " the key out for the person model that is shipped",
    ),
    Mistake(
        "certificate that does not fit its key",
        _foreign_key,
        "FOLDER/site.toml:28: uplink.province.certificate: certificate gateway.pem does not fit key"
        " gateway.key: they were not made together",
    ),
    Mistake(
        "file in place of the data directory",
        lambda folder: (folder / "data").write_text("", "utf-8"),
        "FOLDER/site.toml:4: gateway.data_dir: FOLDER/data is not a folder: name a folder for the"
        " buffer",
    ),
    Mistake(
        "no site file",
        lambda folder: (folder / "site.toml").unlink(),
        "FOLDER/site.toml: there is no such file",
    ),
    Mistake(
        "folder in place of the site file",
        _folder_for_site,
        "FOLDER/site.toml: is a folder, not a site file",
    ),
    Mistake(
        "binary garbage",
        _holds(bytes(range(256))),
        "FOLDER/site.toml:2: is not UTF-8 text from here on: save it as UTF-8",
    ),
    Mistake(
        "control characters",
        _holds(b"\0\1\2[[["),
        "FOLDER/site.toml:1: is no TOML: Invalid statement",
    ),
    Mistake(
        "empty file",
        _holds(b""),
        "FOLDER/site.toml: [gateway] is missing: it needs id, enterprise and data_dir",
    ),
)
