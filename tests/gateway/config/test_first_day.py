"""Mistakes of a first day on site that only the files or the tables show."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from gateway.config.load import ConfigError, load

SITE = """\
[gateway]
id = "SD-1"
enterprise = "91350100M000100Y43"
data_dir = "数据 目录"
[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
points = "点表.csv"
"""
CAMERA = """\
[[camera]]
name = "east"
source = "rtsp://192.0.2.1/1"
user = "admin"
password_file = "密码.txt"
"""
NOBODY = 65534
HEADINGS = "位号,区域,地址,类型,单位,高报,高高报,气体"


def said(folder: Path, site: str, *rows: str) -> list[str]:
    """What is said of a site with a table of these rows, problems before warnings."""
    path = folder / "site.toml"
    path.write_text(site, encoding="utf-8")
    (folder / "点表.csv").write_text("\n".join(rows), encoding="utf-8")
    try:
        warnings = load(path).warnings
    except ConfigError as error:
        return [str(problem).replace(f"{folder}/", "") for problem in error.problems]
    return [f"warning: {one}".replace(f"{folder}/", "") for one in warnings]


def table(folder: Path, *rows: str) -> list[str]:
    return said(folder, SITE, HEADINGS, *rows)


def test_a_good_table_says_nothing(tmp_path: Path) -> None:
    assert table(tmp_path, "AT-101,input,0,f32,%LEL,20,40,CH4") == []


def test_a_row_with_full_width_commas(tmp_path: Path) -> None:
    good = "AT-102,input,4,f32,%LEL,20,40,CH4"
    assert table(tmp_path, "AT-101，input，0，f32，%LEL，20，40，CH4", good) == [
        "点表.csv:2: has full-width commas ， between its cells: type , instead"
    ]


def test_full_width_digits(tmp_path: Path) -> None:
    assert table(tmp_path, "AT-101,input,0,f32,%LEL,２０,40,CH4") == [
        "点表.csv:2:high: is in full-width characters 全角: write 20, not '２０'"
    ]


@pytest.mark.parametrize("area", ["3", "04", "4x"])
def test_a_number_for_the_area_is_never_guessed(area: str, tmp_path: Path) -> None:
    assert table(tmp_path, f"AT-101,{area},0,f32,%LEL,20,40,CH4") == [
        f"点表.csv:2:area: '{area}' may be a function code (01 coil, 02 discrete, 03 holding,"
        " 04 input) or a digit of 4xxxx notation (0 coil, 1 discrete, 3 input, 4 holding): write"
        " the word"
    ]


def test_addresses_that_look_like_4xxxx_notation(tmp_path: Path) -> None:
    rows = ("AT-101,input,30001,f32,%LEL,20,40,CH4", "AT-102,input,30003,f32,%LEL,20,40,CH4")
    [warning] = table(tmp_path, *rows)
    assert warning.startswith("warning: site.toml:5: device.gds-1.base: all addresses, as 30001,")
    assert 'base = "modicon"' in warning
    assert table(tmp_path, *rows, "AT-103,input,7,f32,%LEL,20,40,CH4") == []
    assert said(tmp_path, SITE + 'base = "modicon"\n', HEADINGS, *rows) == []


def test_a_heading_in_chinese_is_suggested_in_chinese(tmp_path: Path) -> None:
    row = "AT-101,input,0,f32,%LEL,20,40,CH4"
    assert said(tmp_path, SITE, HEADINGS.replace("高高报", "高高报值"), row) == [
        "点表.csv:1:高高报值: unknown column; did you mean 高高报?"
    ]


def test_limits_without_a_unit_and_a_detector_without_a_gas(tmp_path: Path) -> None:
    rows = ("TI-1,input,0,f32,,20,40,", "TI-2,input,2,f32,,20,40,", "AT-1,input,4,f32,%LEL,20,40,",
            "XA-1,input,6,bit0,,1,,", "TI-3,input,8,f32,,,,")  # fmt: skip
    warnings = table(tmp_path, *rows)
    assert [one.partition(" 单位")[0].partition(" 气体")[0] for one in warnings] == [
        "warning: 点表.csv:2:unit: TI-1 and 1 more: alarm limits without a unit",
        "warning: 点表.csv:4:unit: AT-1: a gas detector without a gas",
    ]


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (b"s3cret\n", 0o600, []),
        (b"s3cret\n", 0o644, ["warning: site.toml:14: camera.east.password_file: every user can"
                              " read 密码.txt: chmod o= it"]),
        (b"\n", 0o600, ["site.toml:14: camera.east.password_file: 密码.txt is empty: it holds the"
                        " secret in one line, and nothing else"]),
        (b"admin\ns3cret\n", 0o600, ["site.toml:14: camera.east.password_file: 密码.txt is more"
                                     " than one line: it holds the secret in one line, and nothing"
                                     " else"]),
        ("密码".encode("gbk"), 0o600, ["site.toml:14: camera.east.password_file: 密码.txt is not"
                                       " UTF-8 text: it holds the secret in one line"]),
        (None, 0, ["site.toml:14: camera.east.password_file: there is no file 密码.txt"]),
    ],
)  # fmt: skip
def test_a_password_file(
    content: bytes | None, mode: int, expected: list[str], tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "密码.txt").write_bytes(content)
        (tmp_path / "密码.txt").chmod(mode)
    assert said(tmp_path, SITE + CAMERA, HEADINGS, "A,input,0,f32,%LEL,20,40,CH4") == expected


def test_a_receivers_store_is_no_data_directory(tmp_path: Path) -> None:
    folder = tmp_path / "数据 目录"
    folder.mkdir()
    (folder / "receiver.db").touch()
    assert table(tmp_path, "A,input,0,f32,%LEL,20,40,CH4") == [
        "site.toml:4: gateway.data_dir: 数据 目录 is a receiver's store: name another folder"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_files_of_another_user_in_the_data_directory_are_named() -> None:
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are root's alone
        site = Path(made)
        site.chmod(0o755)
        folder = site / "数据 目录"
        folder.mkdir()
        for name in ("lock", "records.db", "telemetry.db"):
            (folder / name).touch(mode=0o600)
        row = "A,input,0,f32,%LEL,20,40,CH4"
        assert table(site, row) == []
        for one in (folder, folder / "telemetry.db"):
            os.chown(one, NOBODY, NOBODY)
        site.chmod(0o777)  # the files of the test are written by nobody, too
        for written in ("site.toml", "点表.csv"):
            (site / written).chmod(0o666)
        os.seteuid(NOBODY)
        try:
            told = table(site, row)
        finally:
            os.seteuid(0)
    assert told == [
        "site.toml:4: gateway.data_dir: 数据 目录 holds lock and 1 more of root, which this user"
        " may not use (was the gateway run as root once?): as root, chown -R USER 数据 目录"
    ]
