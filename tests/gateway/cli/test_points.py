"""`plantgate points` as an integrator meets it: a line a mistake, exit codes, files."""

from __future__ import annotations

import json
from pathlib import Path

import openpyxl
import pytest
from click.testing import CliRunner, Result

from drivers import registry
from drivers.modbus import DRIVER
from drivers.point_table import read
from gateway.cli.points import command

SITE = """
[gateway]
id = "SD-1"
enterprise = "91350100M000100Y43"
data_dir = "data"
[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
points = "gds.csv"
"""


def points(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.mark.parametrize("driver", ["modbus", "opcua", "serial_line", "intake_http"])
def test_a_template_imports_and_names_its_driver_by_its_headings(
    tmp_path: Path, driver: str
) -> None:
    book, out = tmp_path / "t.xlsx", tmp_path / "t.csv"
    assert points("template", book, "--driver", driver).exit_code == 0
    result = points("import", book, out)
    assert (result.exit_code, result.output) == (
        0,
        f"OK: 2 points for {driver} from {book} to {out}\n",
    )
    assert out.read_bytes().startswith(b"\xef\xbb\xbfname,")


@pytest.mark.parametrize("driver", registry.names())
def test_every_driver_has_a_template_that_imports_under_its_name(
    tmp_path: Path, driver: str
) -> None:
    book, out = tmp_path / "t.xlsx", tmp_path / "t.csv"
    assert points("template", book, "--driver", driver).exit_code == 0
    result = points("import", book, out, "--driver", driver)
    assert result.output == f"OK: 2 points for {driver} from {book} to {out}\n"
    notes = openpyxl.load_workbook(book)["columns 说明"]
    said = {row[0]: row[5] for row in notes.iter_rows(min_row=2, values_only=True)}
    assert set(registry.find(driver).address.model_fields) <= set(said)
    assert all(said.values()), "every column says what it means"


def test_every_mistake_is_a_line_with_its_cell(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = "点表"
    for row in (
        ["罐区点表"],
        ["序号", "位号", "区域", "地址", "类型", "高报"],
        [1, "AT-1", "holding", 0, "f32", 25],
        [2, "AT-2", "holding", 1, "f32", "x"],
        [3, "AT-3", "holding", 3, "f32", None],
        [4, "AT-4", "holding", 4, "f32", None],
    ):
        sheet.append(row)
    path, out = tmp_path / "v.xlsx", tmp_path / "o.csv"
    book.save(path)
    result = points("import", path, out, "--map", "编号=")
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert lines[0].startswith(f"{path}: --map: has no column '编号'; known are:")
    assert lines[1].startswith(f"{path}!点表!A2: 序号: unknown column;")
    assert lines[2] == f"{path}!点表!F4: high: must be a number, not 'x'"
    assert lines[3] == f"{path}!点表!D6: address: AT-4 begins inside AT-3 (row 5)"
    assert lines[4].startswith("say what a column means by --map")
    assert not out.exists()


def test_a_vendors_headings_are_mapped(tmp_path: Path) -> None:
    path, out = tmp_path / "v.csv", tmp_path / "o.xlsx"
    text = "序号,KKS,地址,数据类型,名称\n1,AT-1,40001,FLOAT,东罐\n2,AT-2,40003,f32,西罐\n"
    path.write_bytes(text.encode("gb18030"))
    result = points("import", path, out, "--map", "序号=,kks=name", "--map", "名称=description")
    assert result.exit_code == 0, result.output
    assert 'set base = "modicon"' in result.output
    first, second = read(out, DRIVER.address).rows
    assert (first.tag, first.address.type, first.settings.description) == ("AT-1", "f32", "东罐")
    assert second.address.address == "40003"


def test_a_json_result(tmp_path: Path) -> None:
    path, out = tmp_path / "v.csv", tmp_path / "o.csv"
    path.write_text("name,area,address,type\nA,holding,0,u16\nA,holding,1,f33\n", "utf-8")
    result = points("import", path, out, "--json")
    said = json.loads(result.output)
    assert result.exit_code == 2
    assert [(p["line"], p["key"]) for p in said["problems"]] == [(3, "type"), (3, "name")]
    path.write_text("name,area,address,type\nA,holding,0,u16\n", "utf-8")
    said = json.loads(points("import", path, out, "--json").output)
    assert (said["ok"], said["points"], said["driver"]) == (True, 1, "modbus")


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_export_gives_what_is_configured(tmp_path: Path, kind: str) -> None:
    (tmp_path / "gds.csv").write_text(
        "名称,区域,地址,类型,高报,描述\n'-A,保持寄存器,0x10,float,5,'=1\nB,input,3,u16,,\n", "utf-8"
    )
    site, out, again = tmp_path / "s.toml", tmp_path / f"o.{kind}", tmp_path / "again.csv"
    site.write_text(SITE, "utf-8")
    result = points("export", site, out, "--device", "gds-1")
    assert (result.exit_code, result.output) == (0, f"OK: 2 points of gds-1 to {out}\n")
    assert points("import", out, again).exit_code == 0
    wanted = read(tmp_path / "gds.csv", DRIVER.address).rows
    for path in (out, again):
        assert read(path, DRIVER.address).rows == wanted


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["template", "t.csv", "--driver", "modbus"], "name it .xlsx"),
        (["template", "old.xlsx", "--driver", "modbus"], "exists; name another file, or"),
        (["template", "no/t.xlsx", "--driver", "modbus"], "cannot be written: No such file"),
        (["import", "none.csv", "o.csv"], "there is no such file"),
        (["import", "good.csv", "good.csv"], "is the file that is read"),
        (["import", "good.csv", "o.txt"], "must end with .csv or .xlsx"),
        (["import", "good.csv", "o.csv", "--map", "x"], "'x' is not like THEIRS=OURS"),
        (["import", "good.csv", "o.csv", "--sheet", "x"], "so it has no sheet 'x'"),
        (["import", "good.csv", "o.csv", "--map", "name=nmae"], "did you mean name?"),
        (["export", "none.toml", "o.csv", "--device", "x"], "there is no such file"),
        (["export", "s.toml", "o.csv", "--device", "gds"], "did you mean gds-1?"),
    ],
)
def test_mistakes_end_with_2_and_say_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text("name,area,address,type\nA,holding,0,u16\n", "utf-8")
    Path("gds.csv").write_text("name,area,address,type\nA,holding,0,u16\n", "utf-8")
    Path("old.xlsx").write_text("x")
    Path("s.toml").write_text(SITE, "utf-8")
    result = points(*arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert Path("old.xlsx").read_text() == "x"
    assert not Path("o.csv").exists()
